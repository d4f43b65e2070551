/*
 * System V message queues: msgget(2), msgop(2), msgctl(2).
 *
 * A queue is a list of messages in the order they came. Who finds it empty (or full) stands in a line of its own under the namespace's lock, in its own stack frame,
 * and sleeps. A sender hands his message to the first receiver in the line that takes it, so that nobody can be faster; one whose buffer is too small
 * gets E2BIG and the next is tried. Receivers wake the first sender whose message fits, and he asks again. Who removes a queue, or changes its permissions,
 * takes all out of the lines and leaves each a result: a sleeper never looks at a queue that has gone.
 *
 * A signal makes a call that sleeps fail with EINTR if it has a handler, and restart otherwise (ERESTARTNOHAND), as Linux has it.
 */
#include <limits.h>
#include <linux/capability.h>
#include <stddef.h>

#include "sentry/base/clock.h"
#include "sentry/base/cred.h"
#include "sentry/base/restart.h"
#include "sentry/base/slab.h"
#include "sentry/ipc.h"
#include "sentry/task.h"

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

#define MSG_SEGMENT_SIZE 16 /* MSGSSZ */

struct sysv_msg {
	struct list link; /* in msg_queue.messages */
	long type;
	size_t size;
	char text[];
};

struct msg_queue {
	struct kern_ipc_perm perm; /* first member */
	uint64_t bytes, count, max_bytes;
	int64_t stime, rtime, ctime;
	int32_t lspid, lrpid;
	struct list messages, receivers, senders;
};

enum msg_search { SEARCH_ANY, SEARCH_EQUAL, SEARCH_NOT_EQUAL, SEARCH_LESS_EQUAL, SEARCH_NUMBER };

/* Somebody in a line. L_IPC. */
struct msg_waiter {
	struct list link; /* empty: taken out, and result says why */
	struct ctx *c;
	int result; /* -EAGAIN: look again */
	/* Of a receiver: */
	enum msg_search search;
	long type;
	size_t max;
	int32_t pid;
	struct sysv_msg *msg; /* what it was given */
	/* Of a sender: */
	size_t size;
};

static struct slab queue_slab = SLAB_INIT(struct msg_queue);

struct sysv_msg *msg_alloc(size_t size)
{
	struct sysv_msg *m = ipc_alloc(sizeof(*m) + size);

	if (m) {
		list_init(&m->link);
		m->size = size;
	}
	return m;
}

void msg_free(struct sysv_msg *m)
{
	if (m)
		ipc_free(m, sizeof(*m) + m->size);
}

char *msg_text(struct sysv_msg *m)
{
	return m->text;
}

long msg_type(const struct sysv_msg *m)
{
	return m->type;
}

size_t msg_size(const struct sysv_msg *m)
{
	return m->size;
}

static struct msg_queue *queue_of(struct kern_ipc_perm *p)
{
	return p ? container_of(p, struct msg_queue, perm) : NULL;
}

static struct msg_queue *queue_find(struct ipc_namespace *ns, int id, int *ret_err) REQUIRES(L_IPC)
{
	return queue_of(ipc_find(&ns->ids[IPC_MSG], id, ret_err));
}

/* ---- life ---- */

static int queue_create(struct ipc_namespace *ns, const struct ipc_get_request *r) REQUIRES(L_IPC)
{
	struct msg_queue *q = ipc_charge(sizeof(*q)) ? slab_alloc(&queue_slab) : NULL;
	int id;

	if (!q)
		return -ENOMEM;
	q->perm.key = r->key;
	q->perm.mode = (uint32_t)r->flags & 0777;
	q->max_bytes = (uint64_t)ns->limits.msgmnb;
	q->ctime = ipc_now();
	list_init(&q->messages);
	list_init(&q->receivers);
	list_init(&q->senders);
	id = ipc_add(&ns->ids[IPC_MSG], &q->perm, r->cred, ns->limits.msgmni);
	if (id < 0) {
		slab_free(&queue_slab, q);
		ipc_uncharge(sizeof(*q));
	}
	return id;
}

sysret_t msg_get(struct task *t, int32_t key, int flags)
{
	struct ipc_get_request r = {
	    .key = key,
	    .flags = flags,
	    .cred = t->ctx.cred,
	    .create = queue_create,
	};

	return ipc_get(t->ipc_ns, IPC_MSG, &r);
}

static void waiter_wake(struct msg_waiter *w, int result) REQUIRES(L_IPC)
{
	list_remove(&w->link);
	w->result = result;
	unpark(&w->c->parker);
}

static void wake_line(struct list *line, int result) REQUIRES(L_IPC)
{
	struct msg_waiter *w;

	while ((w = list_first(line, struct msg_waiter, link)))
		waiter_wake(w, result);
}

static bool fits(const struct msg_queue *q, size_t size)
{
	return size + q->bytes <= q->max_bytes && q->count + 1 <= q->max_bytes;
}

/* The senders whose messages fit one after the other, first come first served. */
static void wake_senders(struct msg_queue *q) REQUIRES(L_IPC)
{
	struct msg_waiter *w, *next;
	uint64_t bytes = q->bytes;

	list_for_each_safe(w, next, &q->senders, link) {
		if (bytes + w->size > q->max_bytes)
			continue;
		bytes += w->size;
		waiter_wake(w, -EAGAIN);
	}
}

static void take_message(struct ipc_namespace *ns, struct msg_queue *q, struct sysv_msg *m) REQUIRES(L_IPC)
{
	list_remove(&m->link);
	q->count--;
	q->bytes -= m->size;
	ns->msg_bytes -= m->size;
	ns->msg_headers--;
}

static void queue_destroy(struct ipc_namespace *ns, struct msg_queue *q) REQUIRES(L_IPC)
{
	struct sysv_msg *m;

	ipc_remove(&ns->ids[IPC_MSG], &q->perm);
	wake_line(&q->receivers, -EIDRM);
	wake_line(&q->senders, -EIDRM);
	while ((m = list_first(&q->messages, struct sysv_msg, link))) {
		take_message(ns, q, m);
		msg_free(m);
	}
	slab_free(&queue_slab, q);
	ipc_uncharge(sizeof(*q));
}

void msg_clear(struct ipc_namespace *ns)
{
	struct ipc_ids *ids = &ns->ids[IPC_MSG];

	ipc_lock(ns);
	for (unsigned i = 0; i < ids->room; i++)
		if (ids->table[i])
			queue_destroy(ns, queue_of(ids->table[i]));
	ipc_unlock(ns);
}

/* ---- sending ---- */

static bool matches(const struct sysv_msg *m, long type, enum msg_search search)
{
	switch (search) {
	case SEARCH_ANY:
	case SEARCH_NUMBER:
		return true;
	case SEARCH_LESS_EQUAL:
		return m->type <= type;
	case SEARCH_EQUAL:
		return m->type == type;
	case SEARCH_NOT_EQUAL:
		return m->type != type;
	}
	return false;
}

/* To the first receiver that waits for it. False: nobody does. */
static bool hand_over(struct msg_queue *q, struct sysv_msg *m) REQUIRES(L_IPC)
{
	struct msg_waiter *w, *next;

	list_for_each_safe(w, next, &q->receivers, link) {
		if (!matches(m, w->type, w->search))
			continue;
		if (w->max < m->size) {
			waiter_wake(w, -E2BIG);
			continue;
		}
		q->lrpid = w->pid;
		q->rtime = ipc_now();
		w->msg = m;
		waiter_wake(w, 0);
		return true;
	}
	return false;
}

/* Stands in a line until taken out of it (its result), or a signal comes (-EINTR as -ERESTARTNOHAND). */
static int stand_in_line(struct ipc_namespace *ns, struct list *line, struct msg_waiter *w) REQUIRES(L_IPC)
{
	int err = 0;

	w->result = -EINPROGRESS;
	list_append(line, &w->link);
	while (w->result == -EINPROGRESS && !err) {
		ipc_unlock(ns);
		err = park(w->c, TIME_NEVER);
		ipc_lock(ns);
	}
	if (w->result != -EINPROGRESS)
		return w->result;
	list_remove(&w->link);
	return -ERESTARTNOHAND;
}

static void put_message(struct ipc_namespace *ns, struct msg_queue *q, struct task *t, struct sysv_msg *m)
    REQUIRES(L_IPC)
{
	q->lspid = t->ctx.tgid;
	q->stime = ipc_now();
	if (hand_over(q, m))
		return;
	list_append(&q->messages, &m->link);
	q->bytes += m->size;
	q->count++;
	ns->msg_bytes += m->size;
	ns->msg_headers++;
}

static int send_locked(struct ipc_namespace *ns, struct task *t, int id, struct sysv_msg *m, int flags) REQUIRES(L_IPC)
{
	struct msg_waiter w = {.c = &t->ctx, .size = m->size};
	struct msg_queue *q;
	int err;

	for (bool again = false;; again = true) {
		q = queue_find(ns, id, &err);
		if (!q)
			return again ? -EIDRM : err;
		if ((err = ipc_permits(&q->perm, t->ctx.cred, IPC_WRITE)))
			return err;
		if (fits(q, m->size)) {
			put_message(ns, q, t, m);
			return 0;
		}
		if (flags & IPC_NOWAIT)
			return -EAGAIN;
		err = stand_in_line(ns, &q->senders, &w);
		if (err != -EAGAIN)
			return err;
	}
}

sysret_t msg_send(struct task *t, int id, long type, struct sysv_msg **m, int flags)
{
	int err;

	(*m)->type = type;
	ipc_lock(t->ipc_ns);
	err = send_locked(t->ipc_ns, t, id, *m, flags);
	ipc_unlock(t->ipc_ns);
	if (!err)
		*m = NULL;
	return err;
}

/* ---- receiving ---- */

static enum msg_search search_mode(long *type, int flags)
{
	if (flags & MSG_COPY)
		return SEARCH_NUMBER;
	if (*type == 0)
		return SEARCH_ANY;
	if (*type < 0) {
		*type = *type == LONG_MIN ? LONG_MAX : -*type;
		return SEARCH_LESS_EQUAL;
	}
	return flags & MSG_EXCEPT ? SEARCH_NOT_EQUAL : SEARCH_EQUAL;
}

static struct sysv_msg *find_message(const struct msg_queue *q, long type, enum msg_search search) REQUIRES(L_IPC)
{
	struct sysv_msg *m, *found = NULL;
	long number = 0;

	list_for_each(m, &q->messages, link) {
		if (search == SEARCH_NUMBER) {
			if (number++ == type)
				return m;
		} else if (matches(m, type, search)) {
			found = m;
			if (search != SEARCH_LESS_EQUAL || m->type == 1)
				break;
			type = m->type - 1;
		}
	}
	return found;
}

static int copy_message(const struct sysv_msg *m, size_t max, struct sysv_msg **ret)
{
	if (m->size > max)
		return -EINVAL;
	*ret = msg_alloc(m->size);
	if (!*ret)
		return -ENOMEM;
	(*ret)->type = m->type;
	__builtin_memcpy((*ret)->text, m->text, m->size);
	return 0;
}

static int receive_found(struct ipc_namespace *ns, struct msg_queue *q, struct task *t, struct sysv_msg *m, size_t max,
			 int flags, struct sysv_msg **ret) REQUIRES(L_IPC)
{
	if (m->size > max && !(flags & MSG_NOERROR))
		return -E2BIG;
	if (flags & MSG_COPY)
		return copy_message(m, max, ret);
	take_message(ns, q, m);
	q->rtime = ipc_now();
	q->lrpid = t->ctx.tgid;
	wake_senders(q);
	*ret = m;
	return 0;
}

static int receive_locked(struct ipc_namespace *ns, struct task *t, int id, size_t max, long type, int flags,
			  struct sysv_msg **ret) REQUIRES(L_IPC)
{
	enum msg_search search = search_mode(&type, flags);
	struct msg_waiter w = {
	    .c = &t->ctx,
	    .search = search,
	    .type = type,
	    .max = flags & MSG_NOERROR ? SIZE_MAX : max,
	    .pid = t->ctx.tgid,
	};
	int err;

	for (bool again = false;; again = true) {
		struct msg_queue *q = queue_find(ns, id, &err);
		struct sysv_msg *m;

		if (!q)
			return again ? -EIDRM : err;
		if ((err = ipc_permits(&q->perm, t->ctx.cred, IPC_READ)))
			return err;
		m = find_message(q, type, search);
		if (m)
			return receive_found(ns, q, t, m, max, flags, ret);
		if (flags & IPC_NOWAIT)
			return -ENOMSG;
		err = stand_in_line(ns, &q->receivers, &w);
		*ret = w.msg;
		if (err != -EAGAIN)
			return err;
	}
}

sysret_t msg_receive(struct task *t, int id, size_t max, long type, int flags, struct sysv_msg **ret)
{
	int err;

	ipc_lock(t->ipc_ns);
	err = receive_locked(t->ipc_ns, t, id, max, type, flags, ret);
	ipc_unlock(t->ipc_ns);
	return err;
}

/* ---- control ---- */

sysret_t msg_stat(struct ipc_namespace *ns, const struct cred *cred, int id, bool by_index, bool any,
		  struct msqid_ds *ret)
{
	struct msg_queue *q;
	int err;

	ipc_lock(ns);
	q = queue_of(ipc_stat_find(ns, IPC_MSG, id, by_index, any, cred, &err));
	if (q) {
		*ret = (struct msqid_ds){
		    .msg_stime = q->stime,
		    .msg_rtime = q->rtime,
		    .msg_ctime = q->ctime,
		    .__msg_cbytes = q->bytes,
		    .msg_qnum = q->count,
		    .msg_qbytes = q->max_bytes,
		    .msg_lspid = q->lspid,
		    .msg_lrpid = q->lrpid,
		};
		ipc_perm_show(&q->perm, &ret->msg_perm);
		err = q->perm.id;
	}
	ipc_unlock(ns);
	return err;
}

static int set_locked(struct ipc_namespace *ns, const struct cred *cred, int id, const struct msqid_ds *to)
    REQUIRES(L_IPC)
{
	struct msg_queue *q;
	int err;

	q = queue_of(ipc_control_find(&ns->ids[IPC_MSG], id, cred, &err));
	if (!q)
		return err;
	if (to->msg_qbytes > (uint64_t)ns->limits.msgmnb && !cred_capable(cred, CAP_SYS_RESOURCE))
		return -EPERM;
	if ((err = ipc_perm_set(&q->perm, &to->msg_perm)))
		return err;
	q->max_bytes = to->msg_qbytes;
	q->ctime = ipc_now();
	wake_line(&q->receivers, -EAGAIN); /* they may not be permitted any more */
	wake_line(&q->senders, -EAGAIN);
	return 0;
}

sysret_t msg_set(struct task *t, int id, const struct msqid_ds *to)
{
	int err;

	ipc_lock(t->ipc_ns);
	err = set_locked(t->ipc_ns, t->ctx.cred, id, to);
	ipc_unlock(t->ipc_ns);
	return err;
}

sysret_t msg_remove(struct task *t, int id)
{
	struct ipc_namespace *ns = t->ipc_ns;
	struct msg_queue *q;
	int err;

	ipc_lock(ns);
	q = queue_of(ipc_control_find(&ns->ids[IPC_MSG], id, t->ctx.cred, &err));
	if (q)
		queue_destroy(ns, q);
	ipc_unlock(ns);
	return err;
}

int msg_info(struct ipc_namespace *ns, bool usage, struct msginfo *ret)
{
	int max;

	ipc_lock(ns);
	*ret = (struct msginfo){
	    .msgmni = ns->limits.msgmni,
	    .msgmax = ns->limits.msgmax,
	    .msgmnb = ns->limits.msgmnb,
	    .msgssz = MSG_SEGMENT_SIZE,
	    .msgseg = 0xffff,
	    .msgpool = usage ? (int)ns->ids[IPC_MSG].in_use : 32000 * 16384 / 1024,
	    .msgmap = usage ? (int)ns->msg_headers : 16384,
	    .msgtql = usage ? (int)ns->msg_bytes : 16384,
	};
	max = ipc_max_index(&ns->ids[IPC_MSG]);
	ipc_unlock(ns);
	return MAX(max, 0);
}
