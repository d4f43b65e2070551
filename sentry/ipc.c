/*
 * System V IPC: namespaces, ids, keys and permissions. See ipc.h.
 *
 * One lock (L_IPC) guards a namespace with all of its objects. Nothing is copied from or to guests, no file is released and nothing is
 * waited for under it. Calls are short: the longest walk a list of waiters, or of objects with one key's hash.
 *
 * An id is an index and a sequence number, so that the id of an object that has gone is not soon another's. Indices are given out in a circle over
 * at least 64 (or half as many again as there are objects), and the sequence number grows where the circle closes, as on Linux: guests see the
 * same ids in the same order.
 *
 * A namespace's last reference may be an open file's, and go with any lock held. So it is put on a list, and its objects are released by the next who
 * gives a reference back with none.
 */
#include "sentry/ipc.h"

#include <linux/capability.h>
#include <linux/sched.h>

#include "sentry/base/clock.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"
#include "sentry/task.h"

#define MIN_CYCLE 64
#define SEQ_MAX_ID (INT32_MAX >> IPC_INDEX_BITS)

__thread int32_t ipc_current_tgid;

static struct slab ns_slab = SLAB_INIT(struct ipc_namespace);
static _Atomic uint64_t memory_used;
static struct ipc_namespace *dead; /* a stack, by dead_next; atomic */

#define FIRST_INUM 4026531835u
static _Atomic bool first_made;

static const struct ipc_limits default_limits = {
    .shmmax = UINT64_MAX - (1ul << 24),
    .shmall = UINT64_MAX - (1ul << 24),
    .shmmni = 4096,
    .msgmax = 8192,
    .msgmnb = 16384,
    .msgmni = 32000,
    .sem = {32000, 1024000000, 500, 32000},
};

static void ns_died(struct ns *n)
{
	struct ipc_namespace *ns = container_of(n, struct ipc_namespace, ns);

	ns->dead_next = __atomic_load_n(&dead, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&dead, &ns->dead_next, ns, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

static const struct ns_ops ipc_ns_ops = {.name = "ipc", .type = CLONE_NEWIPC, .destroy = ns_died};

struct ipc_namespace *ipc_ns_create(void)
{
	struct ipc_namespace *ns = ipc_charge(sizeof(*ns)) ? slab_alloc(&ns_slab) : NULL;

	if (!ns)
		return NULL;
	ref_init(&ns->ns.ref);
	ns->ns.ops = &ipc_ns_ops;
	ns->ns.inum = __atomic_exchange_n((bool *)&first_made, true, __ATOMIC_RELAXED) ? ns_alloc_inum() : FIRST_INUM;
	mutex_init(&ns->lock);
	for (int kind = 0; kind < IPC_KINDS; kind++) {
		ns->ids[kind].last_index = -1;
		for (int i = 0; i < IPC_KEY_BUCKETS; i++)
			list_init(&ns->ids[kind].keys[i]);
	}
	ns->limits = default_limits;
	return ns;
}

struct ipc_namespace *ipc_ns_get(struct ipc_namespace *ns)
{
	ns_get(&ns->ns);
	return ns;
}

void ipc_ns_clear(struct ipc_namespace *ns)
{
	shm_clear(ns);
	sem_clear(ns);
	msg_clear(ns);
}

static void ns_free(struct ipc_namespace *ns)
{
	ipc_ns_clear(ns);
	for (int kind = 0; kind < IPC_KINDS; kind++)
		kfree(ns->ids[kind].table, ns->ids[kind].room * sizeof(ns->ids[kind].table[0]));
	slab_free(&ns_slab, ns);
	ipc_uncharge(sizeof(*ns));
}

void ipc_ns_put(struct ipc_namespace *ns)
{
	if (!ns)
		return;
	ns_put(&ns->ns);
	if (likely(!__atomic_load_n(&dead, __ATOMIC_RELAXED)))
		return;
	ns = __atomic_exchange_n(&dead, NULL, __ATOMIC_ACQUIRE);
	while (ns) {
		struct ipc_namespace *next = ns->dead_next;

		ns_free(ns);
		ns = next;
	}
}

struct ipc_namespace *ipc_ns_of_file(const struct file *f)
{
	struct ns *ns = nsfs_of(f);

	return ns && ns->ops == &ipc_ns_ops ? ipc_ns_get(container_of(ns, struct ipc_namespace, ns)) : NULL;
}

struct ipc_namespace *task_get_ipc(struct task *t)
{
	struct ipc_namespace *ns;

	mutex_lock(&t->tg->lock, L_TASK);
	ns = t->ipc_ns ? ipc_ns_get(t->ipc_ns) : NULL;
	mutex_unlock(&t->tg->lock, L_TASK);
	return ns;
}

void task_set_ipc(struct task *t, struct ipc_namespace *ns)
{
	struct ipc_namespace *old = t->ipc_ns;

	sem_undo_leave(t);
	mutex_lock(&t->tg->lock, L_TASK);
	t->ipc_ns = ns;
	mutex_unlock(&t->tg->lock, L_TASK);
	ipc_ns_put(old);
}

bool ipc_charge(size_t bytes)
{
	uint64_t used = memory_used;

	do {
		if (bytes > IPC_MEMORY_MAX - used)
			return false;
	} while (!__atomic_compare_exchange_n((uint64_t *)&memory_used, &used, used + bytes, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return true;
}

void ipc_uncharge(size_t bytes)
{
	__atomic_fetch_sub((uint64_t *)&memory_used, bytes, __ATOMIC_RELAXED);
}

/* kalloc() rounds up to a power of two. */
static size_t rounded(size_t size)
{
	return size <= 64 ? 64 : 1ul << (64 - __builtin_clzl(size - 1));
}

void *ipc_alloc(size_t size)
{
	void *p;

	if (!ipc_charge(rounded(size)))
		return NULL;
	p = kalloc(size);
	if (!p)
		ipc_uncharge(rounded(size));
	return p;
}

void ipc_free(void *p, size_t size)
{
	if (!p)
		return;
	kfree(p, size);
	ipc_uncharge(rounded(size));
}

int64_t ipc_now(void)
{
	return clock_now(CLOCK_REALTIME) / NSEC_PER_SEC;
}

/* ---- ids ---- */

static unsigned index_of(int id)
{
	return (unsigned)id & (IPC_MAX_OBJECTS - 1);
}

struct kern_ipc_perm *ipc_at(struct ipc_ids *ids, int index)
{
	return index >= 0 && (unsigned)index < ids->room ? ids->table[index] : NULL;
}

struct kern_ipc_perm *ipc_find(struct ipc_ids *ids, int id, int *ret_err)
{
	struct kern_ipc_perm *p = ipc_at(ids, (int)index_of(id));

	*ret_err = !p || p->seq != (uint16_t)(id >> IPC_INDEX_BITS) ? -EINVAL : 0;
	return *ret_err ? NULL : p;
}

int ipc_max_index(const struct ipc_ids *ids)
{
	int i = (int)ids->room - 1;

	while (i >= 0 && !ids->table[i])
		i--;
	return ids->in_use ? i : -1;
}

static struct list *bucket_of(struct ipc_ids *ids, int32_t key)
{
	return &ids->keys[((uint32_t)key * 0x9e3779b9u) >> 26];
}

static struct kern_ipc_perm *find_key(struct ipc_ids *ids, int32_t key) REQUIRES(L_IPC)
{
	struct kern_ipc_perm *p;

	list_for_each(p, bucket_of(ids, key), link)
		if (p->key == key)
			return p;
	return NULL;
}

static int grow_table(struct ipc_ids *ids) REQUIRES(L_IPC)
{
	unsigned room = ids->room ? 2 * ids->room : MIN_CYCLE;
	void *table = krealloc(ids->table, ids->room * sizeof(ids->table[0]), room * sizeof(ids->table[0]));

	if (!table)
		return -ENOMEM;
	ids->table = table;
	ids->room = room;
	return 0;
}

/* The next free index of the circle; one is. */
static int free_index(struct ipc_ids *ids, int limit) REQUIRES(L_IPC)
{
	unsigned circle = MIN(MAX(ids->in_use * 3 / 2, (unsigned)MIN_CYCLE), (unsigned)limit);
	unsigned i = ids->next < circle ? ids->next : 0;

	for (unsigned tries = 0; tries < circle; tries++) {
		if (i >= ids->room || !ids->table[i])
			break;
		i = i + 1 < circle ? i + 1 : 0;
	}
	while (i >= ids->room)
		if (grow_table(ids))
			return -ENOMEM;
	return ids->table[i] ? -ENOSPC : (int)i;
}

int ipc_add(struct ipc_ids *ids, struct kern_ipc_perm *p, const struct cred *cred, int limit)
{
	int i;

	if ((int)ids->in_use >= limit)
		return -ENOSPC;
	i = free_index(ids, limit);
	if (i < 0)
		return i;
	if (i <= ids->last_index && ++ids->seq >= SEQ_MAX_ID)
		ids->seq = 0;
	ids->last_index = i;
	ids->next = (unsigned)i + 1;
	ids->in_use++;
	ids->table[i] = p;
	p->seq = ids->seq;
	p->id = ids->seq << IPC_INDEX_BITS | i;
	p->uid = p->cuid = cred->euid;
	p->gid = p->cgid = cred->egid;
	list_init(&p->link);
	if (p->key != IPC_PRIVATE)
		list_push(bucket_of(ids, p->key), &p->link);
	return p->id;
}

void ipc_forget_key(struct kern_ipc_perm *p)
{
	list_remove(&p->link);
	p->key = IPC_PRIVATE;
}

void ipc_remove(struct ipc_ids *ids, struct kern_ipc_perm *p)
{
	list_remove(&p->link);
	ids->table[index_of(p->id)] = NULL;
	ids->in_use--;
	p->deleted = true;
}

/* ---- permissions ---- */

static bool is_owner(const struct kern_ipc_perm *p, const struct cred *cred)
{
	return cred->euid == p->uid || cred->euid == p->cuid;
}

int ipc_permits(const struct kern_ipc_perm *p, const struct cred *cred, unsigned flags)
{
	unsigned wanted = (flags >> 6 | flags >> 3 | flags) & 7;
	unsigned granted = p->mode;

	if (is_owner(p, cred))
		granted >>= 6;
	else if (cred_in_group(cred, p->cgid) || cred_in_group(cred, p->gid))
		granted >>= 3;
	return wanted & ~granted && !cred_capable(cred, CAP_IPC_OWNER) ? -EACCES : 0;
}

int ipc_owned(const struct kern_ipc_perm *p, const struct cred *cred)
{
	return is_owner(p, cred) || cred_capable(cred, CAP_SYS_ADMIN) ? 0 : -EPERM;
}

static int get_locked(struct ipc_namespace *ns, struct ipc_ids *ids, const struct ipc_get_request *r) REQUIRES(L_IPC)
{
	struct kern_ipc_perm *p;
	int err;

	if (r->key == IPC_PRIVATE)
		return r->create(ns, r);
	p = find_key(ids, r->key);
	if (!p)
		return r->flags & IPC_CREAT ? r->create(ns, r) : -ENOENT;
	if ((r->flags & (IPC_CREAT | IPC_EXCL)) == (IPC_CREAT | IPC_EXCL))
		return -EEXIST;
	if (r->check && (err = r->check(p, r)))
		return err;
	err = ipc_permits(p, r->cred, (unsigned)r->flags);
	return err ? err : p->id;
}

int ipc_get(struct ipc_namespace *ns, enum ipc_kind kind, const struct ipc_get_request *r)
{
	int ret;

	ipc_lock(ns);
	ret = get_locked(ns, &ns->ids[kind], r);
	ipc_unlock(ns);
	return ret;
}

void ipc_perm_show(const struct kern_ipc_perm *p, struct ipc_perm *ret)
{
	*ret = (struct ipc_perm){
	    .__key = p->key,
	    .uid = p->uid,
	    .gid = p->gid,
	    .cuid = p->cuid,
	    .cgid = p->cgid,
	    .mode = p->mode,
	    .__seq = p->seq,
	};
}

int ipc_perm_set(struct kern_ipc_perm *p, const struct ipc_perm *to)
{
	if (to->uid == UINT32_MAX || to->gid == UINT32_MAX)
		return -EINVAL;
	p->uid = to->uid;
	p->gid = to->gid;
	p->mode = (p->mode & ~0777u) | (to->mode & 0777);
	return 0;
}

struct kern_ipc_perm *ipc_stat_find(struct ipc_namespace *ns, enum ipc_kind kind, int id, bool by_index, bool any,
				    const struct cred *cred, int *ret_err)
{
	struct ipc_ids *ids = &ns->ids[kind];
	struct kern_ipc_perm *p;

	if (by_index) {
		p = ipc_at(ids, (int)index_of(id));
		*ret_err = p ? 0 : -EINVAL;
	} else {
		p = ipc_find(ids, id, ret_err);
	}
	if (p && !any && (*ret_err = ipc_permits(p, cred, IPC_READ)))
		return NULL;
	return p;
}

struct kern_ipc_perm *ipc_control_find(struct ipc_ids *ids, int id, const struct cred *cred, int *ret_err)
{
	struct kern_ipc_perm *p = ipc_find(ids, id, ret_err);

	if (p && (*ret_err = ipc_owned(p, cred)))
		return NULL;
	return p;
}
