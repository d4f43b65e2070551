/*
 * What a file system, a pipe or a socket may know of its caller: identity, where paths start, how to sleep and how to reach
 * guest memory. A task embeds one; tests make one of their own. It is the calling task's alone: only `pending` and `parker` are
 * touched by others.
 */
#pragma once

#include "sentry/base/types.h"
#include "sentry/base/wait.h"

struct cred;      /* sentry/base/cred.h */
struct fs_struct; /* fs/fs_struct.h: root, cwd, umask */
struct fdtable;   /* fs/fdtable.h */
struct mnt_ns;    /* fs/mount.h */
struct netns;     /* net/netstack.h */
struct ctx;

/* Guest memory. Results: what was copied before a fault, or -EFAULT if nothing was. */
struct uaccess_ops {
	ssize_t (*read)(struct ctx *c, void *dst, uaddr_t src, size_t size);
	ssize_t (*write)(struct ctx *c, uaddr_t dst, const void *src, size_t size);
};

enum {
	CTX_SIGNAL = 1, /* an unblocked signal (or job control, or a kick) is pending: sleeps return -ERESTARTSYS */
	CTX_KILL = 2,   /* the task is being killed */
};

struct ctx {
	struct parker parker;
	_Atomic uint32_t pending;          /* CTX_*; set by ctx_interrupt() from anywhere */
	const struct uaccess_ops *uaccess; /* constant */
	const struct cred *cred;           /* a reference; replaced whole, by the task itself only */
	struct fs_struct *fs;              /* a reference; shared by CLONE_FS */
	struct fdtable *fdt;               /* a reference; shared by CLONE_FILES */
	struct mnt_ns *mnt_ns;             /* a reference */
	const char *comm;                  /* 16 bytes, the caller's own to read; NULL: it has no name */
	struct netns *net;                 /* a reference; NULL: the initial one */
	int32_t tid, tgid;                 /* in the root pid namespace; for lock owners and SO_PEERCRED */
	uint64_t rlimit_fsize;             /* copies of the limits that file code needs; kept current by setrlimit */
	uint64_t rlimit_nofile;
	/*
	 * For SIGPIPE, SIGXFSZ, SIGTTOU and SIGIO: sends signo to the calling task, by the task's own code. Never NULL.
	 */
	void (*raise)(struct ctx *c, int signo);
};

static inline uint32_t ctx_interrupts(struct ctx *c)
{
	return __atomic_load_n((uint32_t *)&c->pending, __ATOMIC_SEQ_CST);
}

/* Makes c's sleep end; `why` is CTX_*. From any thread. The bit stays until ctx_interrupt_clear(). */
static inline void ctx_interrupt(struct ctx *c, uint32_t why)
{
	__atomic_fetch_or((uint32_t *)&c->pending, why, __ATOMIC_SEQ_CST);
	unpark(&c->parker);
}

static inline void ctx_interrupt_clear(struct ctx *c, uint32_t why)
{
	__atomic_fetch_and((uint32_t *)&c->pending, ~why, __ATOMIC_SEQ_CST);
}

/*
 * Guest memory, all or nothing: 0 or -EFAULT. copy_in() once, check the copy, use the copy; copy_out() last. Never while
 * holding L_MM or a lock ordered after it.
 */
int __must_check copy_in(struct ctx *c, void *dst, uaddr_t src, size_t size);
int __must_check copy_out(struct ctx *c, uaddr_t dst, const void *src, size_t size);
/* A NUL-terminated string of at most `size` bytes with its NUL; its length, -EFAULT or -ENAMETOOLONG. */
ssize_t __must_check copy_in_string(struct ctx *c, char *dst, uaddr_t src, size_t size);
int __must_check copy_out_zero(struct ctx *c, uaddr_t dst, size_t size);
/* copy_in of an extensible struct (clone3, openat2...): -E2BIG if bytes beyond `size` are not zero, shorter ones are
 * zero-filled (Linux's copy_struct_from_user). */
int __must_check copy_in_struct(struct ctx *c, void *dst, size_t size, uaddr_t src, size_t usize);
