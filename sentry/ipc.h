/*
 * System V IPC: sysvipc(7). What shared memory, semaphores and message queues have in common: namespaces, ids with sequence numbers, keys,
 * permissions, limits. The three are in sysvshm.c, sysvsem.c and sysvmsg.c; system calls in syscalls/sys_ipc.c.
 *
 * Structures that a guest sees are glibc's: on x86-64 they are the kernel's own.
 */
#pragma once

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "fs/nsfs.h"
#include "sentry/base/list.h"
#include "sentry/base/lock.h"
#include "sentry/base/ref.h"

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif
#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif
#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif

_Static_assert(sizeof(struct shmid_ds) == 112 && sizeof(struct semid_ds) == 104 && sizeof(struct msqid_ds) == 120,
	       "ABI");
_Static_assert(sizeof(struct ipc_perm) == 48 && sizeof(struct sembuf) == 6, "ABI");

struct cred;
struct ctx;
struct file_ops;
struct task;

#define IPC_INDEX_BITS 15
#define IPC_MAX_OBJECTS (1 << IPC_INDEX_BITS) /* what a limit may be set to */
#define IPC_KEY_BUCKETS 64
/* Kernel memory for messages, semaphores and undo lists of the whole sandbox: more is ENOMEM, as by Linux's memory cgroups. */
#define IPC_MEMORY_MAX (128ul << 20)

#define SEM_VALUE_MAX_ 32767
#define SEM_OPS_MAX 65536 /* of one call, whatever the limit is set to */

enum ipc_kind { IPC_SHM, IPC_SEM, IPC_MSG, IPC_KINDS };

/* What an object begins with. All of it L_IPC of its namespace. */
struct kern_ipc_perm {
	int32_t key, id;
	uint32_t uid, gid, cuid, cgid;
	uint32_t mode; /* permission bits, SHM_DEST, SHM_LOCKED */
	uint16_t seq;
	bool deleted;     /* the id is gone */
	struct list link; /* in ipc_ids.keys, unless the key is IPC_PRIVATE */
};

/* The objects of one kind. L_IPC. */
struct ipc_ids {
	struct kern_ipc_perm **table; /* by index */
	unsigned room, in_use, next;
	int last_index; /* that was given out, -1 none */
	uint16_t seq;
	struct list keys[IPC_KEY_BUCKETS];
};

/* sysctls: /proc/sys/kernel. Changed under L_IPC, the ints atomically: ipc_limit() reads one without. */
struct ipc_limits {
	uint64_t shmmax, shmall;
	int shmmni, msgmax, msgmnb, msgmni;
	int sem[4]; /* SEMMSL, SEMMNS, SEMOPM, SEMMNI */
};
enum { SEM_MSL, SEM_MNS, SEM_OPM, SEM_MNI };

struct ipc_namespace {
	struct ns ns;                    /* first member */
	struct ipc_namespace *dead_next; /* ipc_ns_put()'s own */
	struct mutex lock;               /* L_IPC: everything below, and all objects */
	struct ipc_ids ids[IPC_KINDS];
	struct ipc_limits limits;
	uint64_t shm_pages;              /* of all segments */
	int used_sems;                   /* in all arrays */
	uint64_t msg_bytes, msg_headers; /* in all queues */
};

/* Empty, count 1. NULL: there is no room for more. */
struct ipc_namespace *ipc_ns_create(void);
struct ipc_namespace *ipc_ns_get(struct ipc_namespace *ns);
/* The last one destroys all objects. No lock held; NULL-safe. */
void ipc_ns_put(struct ipc_namespace *ns) EXCLUDES(L_IPC);
/* The namespace behind a descriptor of /proc/PID/ns/ipc, a reference; NULL: it is another file. */
struct ipc_namespace *ipc_ns_of_file(const struct file *f);
/* That of t, a reference; NULL: it has exited. */
struct ipc_namespace *task_get_ipc(struct task *t);
/* t enters ns, whose reference it takes over, and leaves its undo list. */
void task_set_ipc(struct task *t, struct ipc_namespace *ns) EXCLUDES(L_IPC);
/* Removes every object, as IPC_RMID does. */
void ipc_ns_clear(struct ipc_namespace *ns) EXCLUDES(L_IPC);

static inline int ipc_limit(const int *limit)
{
	return __atomic_load_n(limit, __ATOMIC_RELAXED);
}

static inline void ipc_lock(struct ipc_namespace *ns) ACQUIRE(L_IPC)
{
	mutex_lock(&ns->lock, L_IPC);
}
static inline void ipc_unlock(struct ipc_namespace *ns) RELEASE(L_IPC)
{
	mutex_unlock(&ns->lock, L_IPC);
}

/* Takes bytes of IPC_MEMORY_MAX; false: there are not so many. Any lock may be held. */
bool __must_check ipc_charge(size_t bytes);
void ipc_uncharge(size_t bytes);
/* kalloc() and kfree() of what is charged. */
void *ipc_alloc(size_t size);
void ipc_free(void *p, size_t size);

/* The object of an id. -EINVAL: there is none. */
struct kern_ipc_perm *ipc_find(struct ipc_ids *ids, int id, int *ret_err) REQUIRES(L_IPC);
/* That of an index; NULL: none. */
struct kern_ipc_perm *ipc_at(struct ipc_ids *ids, int index) REQUIRES(L_IPC);
/* The highest index in use, -1: none. */
int ipc_max_index(const struct ipc_ids *ids) REQUIRES(L_IPC);
/* Gives p, whose key and mode are set, an id and the caller as owner. The id, -ENOSPC (there are `limit`), -ENOMEM. */
int ipc_add(struct ipc_ids *ids, struct kern_ipc_perm *p, const struct cred *cred, int limit) REQUIRES(L_IPC);
void ipc_remove(struct ipc_ids *ids, struct kern_ipc_perm *p) REQUIRES(L_IPC);
/* It is not found by its key any more. */
void ipc_forget_key(struct kern_ipc_perm *p) REQUIRES(L_IPC);

/* flags: S_IRUGO, S_IWUGO...; only the permission bits count. 0 or -EACCES. */
int ipc_permits(const struct kern_ipc_perm *p, const struct cred *cred, unsigned flags) REQUIRES(L_IPC);
/* For IPC_SET and IPC_RMID: 0 or -EPERM. */
int ipc_owned(const struct kern_ipc_perm *p, const struct cred *cred) REQUIRES(L_IPC);
#define IPC_READ 0444u
#define IPC_WRITE 0222u

/* What the three get calls have in common: params is the caller's. */
struct ipc_get_request {
	int32_t key;
	int flags;
	const struct cred *cred;
	void *params;
	/* Makes one: its id or -errno. With L_IPC. */
	int (*create)(struct ipc_namespace *ns, const struct ipc_get_request *r);
	/* Whether what exists is large enough. 0 or -EINVAL. NULL: always. With L_IPC. */
	int (*check)(const struct kern_ipc_perm *p, const struct ipc_get_request *r);
};
int ipc_get(struct ipc_namespace *ns, enum ipc_kind kind, const struct ipc_get_request *r) EXCLUDES(L_IPC);

void ipc_perm_show(const struct kern_ipc_perm *p, struct ipc_perm *ret) REQUIRES(L_IPC);
/* IPC_SET: -EINVAL. */
int ipc_perm_set(struct kern_ipc_perm *p, const struct ipc_perm *to) REQUIRES(L_IPC);
/*
 * IPC_STAT, and by index the kind's _STAT and _STAT_ANY: the object that the caller may look at. `any`: whatever its permissions.
 */
struct kern_ipc_perm *ipc_stat_find(struct ipc_namespace *ns, enum ipc_kind kind, int id, bool by_index, bool any,
				    const struct cred *cred, int *ret_err) REQUIRES(L_IPC);
/* The object that the caller may change: -EINVAL, -EPERM. */
struct kern_ipc_perm *ipc_control_find(struct ipc_ids *ids, int id, const struct cred *cred, int *ret_err)
    REQUIRES(L_IPC);

/* CLOCK_REALTIME in seconds. */
int64_t ipc_now(void);
/* The process whose event this thread handles: who is to be named where a mapping goes without a call. sentry/run.c sets it. */
extern __thread int32_t ipc_current_tgid;

/* ---- shared memory: sysvshm.c ---- */

sysret_t shm_get(struct task *t, int32_t key, size_t size, int flags);
sysret_t shm_attach(struct task *t, int id, uint64_t addr, int flags);
sysret_t shm_detach(struct task *t, uint64_t addr);
/* The id. nattch, size and times as shmctl(2) has them. *ret_rss: bytes in memory; may be NULL. */
sysret_t shm_stat(struct ipc_namespace *ns, const struct cred *cred, int id, bool by_index, bool any,
		  struct shmid_ds *ret, uint64_t *ret_rss);
sysret_t shm_set(struct task *t, int id, const struct ipc_perm *to);
sysret_t shm_remove(struct task *t, int id);
sysret_t shm_set_locked(struct task *t, int id, bool lock);
/* The highest index in use. */
int shm_info(struct ipc_namespace *ns, struct shminfo *ret);
int shm_usage(struct ipc_namespace *ns, struct shm_info *ret);
void shm_clear(struct ipc_namespace *ns) EXCLUDES(L_IPC);

/* ---- semaphores: sysvsem.c ---- */

struct sem_undo_list;

sysret_t sem_get(struct task *t, int32_t key, int count, int flags);
/* ops are the caller's, for the time of the call. deadline: TIME_NEVER or CLOCK_MONOTONIC. */
sysret_t sem_op(struct task *t, int id, struct sembuf *ops, unsigned count, int64_t deadline);
sysret_t sem_stat(struct ipc_namespace *ns, const struct cred *cred, int id, bool by_index, bool any,
		  struct semid_ds *ret);
sysret_t sem_set(struct task *t, int id, const struct ipc_perm *to);
sysret_t sem_remove(struct task *t, int id);
int sem_info(struct ipc_namespace *ns, bool usage, struct seminfo *ret);
/* How many semaphores there are, for who has those permissions. */
sysret_t sem_count(struct task *t, int id, unsigned permission);
/* values: count of them. -EIDRM: the array has gone, or is another one. */
sysret_t sem_get_all(struct task *t, int id, uint16_t *values, int count);
sysret_t sem_set_all(struct task *t, int id, const uint16_t *values, int count);
/* GETVAL, GETPID, GETNCNT, GETZCNT. */
sysret_t sem_get_one(struct task *t, int id, int number, int cmd);
sysret_t sem_set_value(struct task *t, int id, int number, int value);
void sem_clear(struct ipc_namespace *ns) EXCLUDES(L_IPC);

/* clone(CLONE_SYSVSEM): the child has the caller's list. -ENOMEM. */
int __must_check sem_undo_share(struct task *t, struct task *child);
/* The task leaves its list; the last one's adjustments are made. Exit, unshare(CLONE_SYSVSEM). */
void sem_undo_leave(struct task *t) EXCLUDES(L_IPC);

/* ---- message queues: sysvmsg.c ---- */

struct sysv_msg;

/* A message of that size; its text is to be filled in. NULL: no memory. */
struct sysv_msg *msg_alloc(size_t size);
void msg_free(struct sysv_msg *m);
char *msg_text(struct sysv_msg *m);
long msg_type(const struct sysv_msg *m);
size_t msg_size(const struct sysv_msg *m);

sysret_t msg_get(struct task *t, int32_t key, int flags);
/* *m: taken over if it was sent (NULL then). -ERESTARTNOHAND. */
sysret_t msg_send(struct task *t, int id, long type, struct sysv_msg **m, int flags);
/* *ret: the message, the caller's. max: what its buffer has room for. */
sysret_t msg_receive(struct task *t, int id, size_t max, long type, int flags, struct sysv_msg **ret);
sysret_t msg_stat(struct ipc_namespace *ns, const struct cred *cred, int id, bool by_index, bool any,
		  struct msqid_ds *ret);
sysret_t msg_set(struct task *t, int id, const struct msqid_ds *to);
sysret_t msg_remove(struct task *t, int id);
int msg_info(struct ipc_namespace *ns, bool usage, struct msginfo *ret);
void msg_clear(struct ipc_namespace *ns) EXCLUDES(L_IPC);
