/*
 * System V semaphores: semget(2), semop(2), semctl(2).
 *
 * A call's operations are tried one after the other on the values themselves and taken back if one of them cannot be done. Who has to wait keeps his
 * operations in his own stack frame, in the array's line, under the namespace's lock; whoever changes a value tries them for him: first those that only wait
 * for zeros, then the others, first come first served, from the front again after each that went through. A waiter notes which semaphore it
 * was that stopped him, and at what value: as long as that has not changed nothing is tried. So a change costs a look at each waiter of the
 * array, and the operations (at most SEMOPM) of those that it may concern.
 *
 * SEM_UNDO: a process (or those that share by CLONE_SYSVSEM) has a list with the adjustments of each array, which are made when the last one leaves. They are
 * under the namespace's lock, too. An array that goes takes them along.
 *
 * A signal ends a wait with EINTR, always: it is never restarted.
 */
#include <linux/capability.h>

#include "sentry/base/clock.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"
#include "sentry/ipc.h"
#include "sentry/task.h"

struct sem {
	int32_t value, pid;
};

struct sem_array {
	struct kern_ipc_perm perm; /* first member */
	int64_t otime, ctime;
	int count;
	struct sem *sems;
	struct list waiters, undos;
};

struct sem_undo {
	struct list of_list, of_array;
	int id, count;
	struct sem_array *array;
	int16_t adjust[]; /* count */
};

struct sem_undo_list {
	struct ref ref;
	struct ipc_namespace *ns; /* a reference */
	struct list undos;        /* L_IPC */
};

/* Somebody in an array's line. L_IPC. */
struct sem_waiter {
	struct list link;
	struct ctx *c;
	const struct sembuf *ops;
	unsigned count;
	struct sem_undo *undo; /* NULL: without SEM_UNDO */
	int32_t pid;
	bool alters;
	unsigned blocked;      /* the operation that could not be done... */
	int32_t blocked_value; /* ...and the value of its semaphore then */
	int result;            /* -EINPROGRESS: stands in the line */
};

#define WOULD_BLOCK 1

static struct slab array_slab = SLAB_INIT(struct sem_array);
static struct slab list_slab = SLAB_INIT(struct sem_undo_list);

static struct sem_array *array_of(struct kern_ipc_perm *p)
{
	return p ? container_of(p, struct sem_array, perm) : NULL;
}

/* ---- operations ---- */

static int do_op(struct sem_array *a, const struct sem_waiter *w, const struct sembuf *op) REQUIRES(L_IPC)
{
	struct sem *s = &a->sems[op->sem_num];
	int value = s->value + op->sem_op;

	if ((!op->sem_op && s->value) || value < 0)
		return op->sem_flg & IPC_NOWAIT ? -EAGAIN : WOULD_BLOCK;
	if (value > SEM_VALUE_MAX_)
		return -ERANGE;
	if (op->sem_flg & SEM_UNDO) {
		int adjust = w->undo->adjust[op->sem_num] - op->sem_op;

		if (adjust < -SEM_VALUE_MAX_ - 1 || adjust > SEM_VALUE_MAX_)
			return -ERANGE;
		w->undo->adjust[op->sem_num] = (int16_t)adjust;
	}
	s->value = value;
	return 0;
}

static void take_back(struct sem_array *a, const struct sem_waiter *w, unsigned done) REQUIRES(L_IPC)
{
	while (done--) {
		const struct sembuf *op = &w->ops[done];

		a->sems[op->sem_num].value -= op->sem_op;
		if (op->sem_flg & SEM_UNDO)
			w->undo->adjust[op->sem_num] = (int16_t)(w->undo->adjust[op->sem_num] + op->sem_op);
	}
}

/* All or nothing: 0, WOULD_BLOCK, -EAGAIN, -ERANGE. */
static int try_ops(struct sem_array *a, struct sem_waiter *w) REQUIRES(L_IPC)
{
	unsigned i = 0;
	int ret = 0;

	while (i < w->count && !ret)
		ret = do_op(a, w, &w->ops[i++]);
	if (ret) {
		take_back(a, w, i - 1);
		w->blocked = i - 1;
		w->blocked_value = a->sems[w->ops[i - 1].sem_num].value;
		return ret;
	}
	for (i = 0; i < w->count; i++)
		a->sems[w->ops[i].sem_num].pid = w->pid;
	return 0;
}

static void waiter_wake(struct sem_waiter *w, int result) REQUIRES(L_IPC)
{
	list_remove(&w->link);
	w->result = result;
	unpark(&w->c->parker);
}

static bool concerned(const struct sem_array *a, const struct sem_waiter *w)
{
	return a->sems[w->ops[w->blocked].sem_num].value != w->blocked_value;
}

/* Those that change something (or not). True: values have changed, and who was passed over may go now. */
static bool wake_some(struct sem_array *a, bool alters) REQUIRES(L_IPC)
{
	struct sem_waiter *w, *next;
	int ret;

	list_for_each_safe(w, next, &a->waiters, link) {
		if (w->alters != alters || !concerned(a, w))
			continue;
		ret = try_ops(a, w);
		if (ret == WOULD_BLOCK)
			continue;
		waiter_wake(w, ret);
		if (ret)
			continue;
		a->otime = ipc_now();
		if (alters)
			return true;
	}
	return false;
}

/* Values have changed. */
static void array_changed(struct sem_array *a) REQUIRES(L_IPC)
{
	do
		wake_some(a, false);
	while (wake_some(a, true));
}

/* ---- undo ---- */

static struct sem_undo_list *undo_list(struct task *t)
{
	struct sem_undo_list *l = t->sem_undo;

	if (l)
		return l;
	l = slab_alloc(&list_slab);
	if (!l)
		return NULL;
	ref_init(&l->ref);
	list_init(&l->undos);
	l->ns = ipc_ns_get(t->ipc_ns);
	t->sem_undo = l;
	return l;
}

int sem_undo_share(struct task *t, struct task *child)
{
	struct sem_undo_list *l = undo_list(t);

	if (!l)
		return -ENOMEM;
	ref_get(&l->ref);
	child->sem_undo = l;
	return 0;
}

static size_t undo_size(int count)
{
	return sizeof(struct sem_undo) + (size_t)count * sizeof(int16_t);
}

static void undo_free(struct sem_undo *u) REQUIRES(L_IPC)
{
	list_remove(&u->of_list);
	list_remove(&u->of_array);
	ipc_free(u, undo_size(u->count));
}

static struct sem_undo *undo_for(struct sem_undo_list *l, struct sem_array *a) REQUIRES(L_IPC)
{
	struct sem_undo *u;

	list_for_each(u, &l->undos, of_list) {
		if (u->array == a)
			return u;
	}
	u = ipc_alloc(undo_size(a->count));
	if (!u)
		return NULL;
	u->id = a->perm.id;
	u->count = a->count;
	u->array = a;
	list_push(&l->undos, &u->of_list);
	list_push(&a->undos, &u->of_array);
	return u;
}

static void undo_apply(struct sem_undo *u) REQUIRES(L_IPC)
{
	struct sem_array *a = u->array;

	for (int i = 0; i < u->count; i++) {
		if (!u->adjust[i])
			continue;
		a->sems[i].value = MIN(MAX(a->sems[i].value + u->adjust[i], 0), SEM_VALUE_MAX_);
		a->sems[i].pid = ipc_current_tgid;
	}
	undo_free(u);
	array_changed(a);
}

void sem_undo_leave(struct task *t)
{
	struct sem_undo_list *l = t->sem_undo;
	struct sem_undo *u;

	t->sem_undo = NULL;
	if (!l || !ref_put(&l->ref))
		return;
	ipc_lock(l->ns);
	while ((u = list_first(&l->undos, struct sem_undo, of_list)))
		undo_apply(u);
	ipc_unlock(l->ns);
	ipc_ns_put(l->ns);
	slab_free(&list_slab, l);
}

/* ---- life ---- */

static void array_free(struct sem_array *a)
{
	ipc_free(a->sems, (size_t)a->count * sizeof(a->sems[0]));
	slab_free(&array_slab, a);
	ipc_uncharge(sizeof(*a));
}

static struct sem_array *array_alloc(int count)
{
	struct sem_array *a = ipc_charge(sizeof(*a)) ? slab_alloc(&array_slab) : NULL;

	if (!a)
		return NULL;
	a->count = count;
	list_init(&a->waiters);
	list_init(&a->undos);
	a->sems = ipc_alloc((size_t)count * sizeof(a->sems[0]));
	if (a->sems)
		return a;
	array_free(a);
	return NULL;
}

static int array_create(struct ipc_namespace *ns, const struct ipc_get_request *r) REQUIRES(L_IPC)
{
	int count = *(const int *)r->params;
	struct sem_array *a;
	int id;

	if (!count)
		return -EINVAL;
	if ((int64_t)ns->used_sems + count > ns->limits.sem[SEM_MNS])
		return -ENOSPC;
	a = array_alloc(count);
	if (!a)
		return -ENOMEM;
	a->perm.key = r->key;
	a->perm.mode = (uint32_t)r->flags & 0777;
	a->ctime = ipc_now();
	id = ipc_add(&ns->ids[IPC_SEM], &a->perm, r->cred, ns->limits.sem[SEM_MNI]);
	if (id < 0)
		array_free(a);
	else
		ns->used_sems += count;
	return id;
}

static int array_check(const struct kern_ipc_perm *p, const struct ipc_get_request *r) REQUIRES(L_IPC)
{
	return *(const int *)r->params > container_of(p, const struct sem_array, perm)->count ? -EINVAL : 0;
}

sysret_t sem_get(struct task *t, int32_t key, int count, int flags)
{
	struct ipc_get_request r = {
	    .key = key,
	    .flags = flags,
	    .cred = t->ctx.cred,
	    .params = &count,
	    .create = array_create,
	    .check = array_check,
	};

	if (count < 0 || count > ipc_limit(&t->ipc_ns->limits.sem[SEM_MSL]))
		return -EINVAL;
	return ipc_get(t->ipc_ns, IPC_SEM, &r);
}

static void array_destroy(struct ipc_namespace *ns, struct sem_array *a) REQUIRES(L_IPC)
{
	struct sem_waiter *w;
	struct sem_undo *u;

	ipc_remove(&ns->ids[IPC_SEM], &a->perm);
	while ((u = list_first(&a->undos, struct sem_undo, of_array)))
		undo_free(u);
	while ((w = list_first(&a->waiters, struct sem_waiter, link)))
		waiter_wake(w, -EIDRM);
	ns->used_sems -= a->count;
	array_free(a);
}

void sem_clear(struct ipc_namespace *ns)
{
	struct ipc_ids *ids = &ns->ids[IPC_SEM];

	ipc_lock(ns);
	for (unsigned i = 0; i < ids->room; i++)
		if (ids->table[i])
			array_destroy(ns, array_of(ids->table[i]));
	ipc_unlock(ns);
}

/* ---- semop ---- */

/* The array goes, the time is over, a signal comes, or somebody else did the operations: w->result. */
static int sleep_in_line(struct ipc_namespace *ns, struct sem_array *a, struct sem_waiter *w, int64_t deadline)
    REQUIRES(L_IPC)
{
	int err = 0;

	w->result = -EINPROGRESS;
	list_append(&a->waiters, &w->link);
	while (w->result == -EINPROGRESS && !err) {
		ipc_unlock(ns);
		err = park(w->c, deadline);
		ipc_lock(ns);
	}
	if (w->result != -EINPROGRESS)
		return w->result;
	list_remove(&w->link);
	return err == -ETIMEDOUT ? -EAGAIN : -EINTR;
}

struct sem_summary {
	unsigned highest;
	bool undoes, alters;
};

static struct sem_summary summary(const struct sembuf *ops, unsigned count)
{
	struct sem_summary s = {0};

	for (unsigned i = 0; i < count; i++) {
		s.highest = MAX(s.highest, (unsigned)ops[i].sem_num);
		s.undoes |= (ops[i].sem_flg & SEM_UNDO) != 0;
		s.alters |= ops[i].sem_op != 0;
	}
	return s;
}

static int op_locked(struct ipc_namespace *ns, int id, struct sem_waiter *w, const struct sem_summary *s,
		     struct sem_undo_list *undos, int64_t deadline) REQUIRES(L_IPC)
{
	struct sem_array *a;
	int ret;

	a = array_of(ipc_find(&ns->ids[IPC_SEM], id, &ret));
	if (!a)
		return ret;
	if (undos && !(w->undo = undo_for(undos, a)))
		return -ENOMEM;
	if (s->highest >= (unsigned)a->count)
		return -EFBIG;
	if ((ret = ipc_permits(&a->perm, w->c->cred, s->alters ? IPC_WRITE : IPC_READ)))
		return ret;
	ret = try_ops(a, w);
	if (ret == WOULD_BLOCK)
		return sleep_in_line(ns, a, w, deadline);
	if (ret)
		return ret;
	a->otime = ipc_now();
	if (s->alters)
		array_changed(a);
	return 0;
}

sysret_t sem_op(struct task *t, int id, struct sembuf *ops, unsigned count, int64_t deadline)
{
	struct sem_summary s = summary(ops, count);
	struct sem_undo_list *undos = NULL;
	struct sem_waiter w = {
	    .c = &t->ctx,
	    .ops = ops,
	    .count = count,
	    .pid = t->ctx.tgid,
	    .alters = s.alters,
	};
	int ret;

	if (s.undoes && !(undos = undo_list(t)))
		return -ENOMEM;
	ipc_lock(t->ipc_ns);
	ret = op_locked(t->ipc_ns, id, &w, &s, undos, deadline);
	ipc_unlock(t->ipc_ns);
	return ret;
}

/* ---- control ---- */

sysret_t sem_stat(struct ipc_namespace *ns, const struct cred *cred, int id, bool by_index, bool any,
		  struct semid_ds *ret)
{
	struct sem_array *a;
	int err;

	ipc_lock(ns);
	a = array_of(ipc_stat_find(ns, IPC_SEM, id, by_index, any, cred, &err));
	if (a) {
		*ret = (struct semid_ds){
		    .sem_otime = a->otime,
		    .sem_ctime = a->ctime,
		    .sem_nsems = (unsigned long)a->count,
		};
		ipc_perm_show(&a->perm, &ret->sem_perm);
		err = a->perm.id;
	}
	ipc_unlock(ns);
	return err;
}

sysret_t sem_set(struct task *t, int id, const struct ipc_perm *to)
{
	struct ipc_namespace *ns = t->ipc_ns;
	struct sem_array *a;
	int err;

	ipc_lock(ns);
	a = array_of(ipc_control_find(&ns->ids[IPC_SEM], id, t->ctx.cred, &err));
	if (a && !(err = ipc_perm_set(&a->perm, to)))
		a->ctime = ipc_now();
	ipc_unlock(ns);
	return err;
}

sysret_t sem_remove(struct task *t, int id)
{
	struct ipc_namespace *ns = t->ipc_ns;
	struct sem_array *a;
	int err;

	ipc_lock(ns);
	a = array_of(ipc_control_find(&ns->ids[IPC_SEM], id, t->ctx.cred, &err));
	if (a)
		array_destroy(ns, a);
	ipc_unlock(ns);
	return err;
}

int sem_info(struct ipc_namespace *ns, bool usage, struct seminfo *ret)
{
	int max;

	ipc_lock(ns);
	*ret = (struct seminfo){
	    .semmap = 1024000000,
	    .semmni = ns->limits.sem[SEM_MNI],
	    .semmns = ns->limits.sem[SEM_MNS],
	    .semmnu = 1024000000,
	    .semmsl = ns->limits.sem[SEM_MSL],
	    .semopm = ns->limits.sem[SEM_OPM],
	    .semume = 500,
	    .semusz = usage ? (int)ns->ids[IPC_SEM].in_use : 20,
	    .semvmx = SEM_VALUE_MAX_,
	    .semaem = usage ? ns->used_sems : SEM_VALUE_MAX_,
	};
	max = ipc_max_index(&ns->ids[IPC_SEM]);
	ipc_unlock(ns);
	return MAX(max, 0);
}

/* The array that the caller may look at or change. */
static struct sem_array *array_for(struct task *t, int id, unsigned permission, int *ret_err) REQUIRES(L_IPC)
{
	struct sem_array *a = array_of(ipc_find(&t->ipc_ns->ids[IPC_SEM], id, ret_err));

	return a && (*ret_err = ipc_permits(&a->perm, t->ctx.cred, permission)) ? NULL : a;
}

sysret_t sem_count(struct task *t, int id, unsigned permission)
{
	struct sem_array *a;
	int ret;

	ipc_lock(t->ipc_ns);
	a = array_for(t, id, permission, &ret);
	if (a)
		ret = a->count;
	ipc_unlock(t->ipc_ns);
	return ret;
}

sysret_t sem_get_all(struct task *t, int id, uint16_t *values, int count)
{
	struct sem_array *a;
	int err;

	ipc_lock(t->ipc_ns);
	a = array_of(ipc_find(&t->ipc_ns->ids[IPC_SEM], id, &err));
	err = a && a->count == count ? 0 : -EIDRM;
	for (int i = 0; i < count && !err; i++)
		values[i] = (uint16_t)a->sems[i].value;
	ipc_unlock(t->ipc_ns);
	return err;
}

sysret_t sem_set_all(struct task *t, int id, const uint16_t *values, int count)
{
	struct sem_array *a;
	struct sem_undo *u;
	int err;

	for (int i = 0; i < count; i++)
		if (values[i] > SEM_VALUE_MAX_)
			return -ERANGE;
	ipc_lock(t->ipc_ns);
	a = array_of(ipc_find(&t->ipc_ns->ids[IPC_SEM], id, &err));
	err = a && a->count == count ? 0 : -EIDRM;
	if (!err) {
		for (int i = 0; i < count; i++)
			a->sems[i] = (struct sem){values[i], t->ctx.tgid};
		list_for_each(u, &a->undos, of_array)
			__builtin_memset(u->adjust, 0, (size_t)count * sizeof(u->adjust[0]));
		a->ctime = ipc_now();
		array_changed(a);
	}
	ipc_unlock(t->ipc_ns);
	return err;
}

/* Who waits for the semaphore: for more, or for zero. */
static int count_waiters(const struct sem_array *a, int number, bool zero) REQUIRES(L_IPC)
{
	const struct sem_waiter *w;
	int n = 0;

	list_for_each(w, &a->waiters, link) {
		const struct sembuf *op = &w->ops[w->blocked];

		n += op->sem_num == number && (zero ? op->sem_op == 0 : op->sem_op < 0);
	}
	return n;
}

sysret_t sem_get_one(struct task *t, int id, int number, int cmd)
{
	struct sem_array *a;
	int ret;

	ipc_lock(t->ipc_ns);
	a = array_for(t, id, IPC_READ, &ret);
	if (a && (number < 0 || number >= a->count))
		ret = -EINVAL;
	else if (a)
		ret = cmd == GETVAL   ? a->sems[number].value
		      : cmd == GETPID ? a->sems[number].pid
				      : count_waiters(a, number, cmd == GETZCNT);
	ipc_unlock(t->ipc_ns);
	return ret;
}

static int set_value_locked(struct task *t, int id, int number, int value) REQUIRES(L_IPC)
{
	struct sem_array *a;
	struct sem_undo *u;
	int err;

	a = array_of(ipc_find(&t->ipc_ns->ids[IPC_SEM], id, &err));
	if (!a)
		return err;
	if (number < 0 || number >= a->count)
		return -EINVAL;
	if ((err = ipc_permits(&a->perm, t->ctx.cred, IPC_WRITE)))
		return err;
	list_for_each(u, &a->undos, of_array)
		u->adjust[number] = 0;
	a->sems[number] = (struct sem){value, t->ctx.tgid};
	a->ctime = ipc_now();
	array_changed(a);
	return 0;
}

sysret_t sem_set_value(struct task *t, int id, int number, int value)
{
	int err;

	if (value < 0 || value > SEM_VALUE_MAX_)
		return -ERANGE;
	ipc_lock(t->ipc_ns);
	err = set_value_locked(t, id, number, value);
	ipc_unlock(t->ipc_ns);
	return err;
}
