/*
 * Descriptors in flight, and the collection of unix sockets that only messages refer to.
 *
 * A socket whose descriptor was sent in a message to itself, or to a socket that was sent in turn, would live for ever after its last
 * descriptor is closed. Each socket counts how often it is in a message (`inflight`). A collection takes as candidates the sockets all of whose
 * references are in messages, subtracts those that stand in queues of candidates, and keeps what still has references from outside, with everything reachable from
 * there. What is left is reachable from nowhere: its messages are taken out and freed, which closes the sockets. A mark-and-sweep of this kind was in Linux until 6.9.
 *
 * L_INFLIGHT is held for the whole collection, so that nothing enters or leaves a message. Receivers take descriptors out without it, but a
 * candidate has no descriptor through which it could be read; MSG_PEEK waits for the collection to end.
 *
 * A user may have at most RLIMIT_NOFILE descriptors in flight, unless privileged.
 */
#include <linux/capability.h>

#include "net/unix.h"
#include "sentry/base/cred.h"

static struct mutex inflight_lock = MUTEX_INIT;
static struct list inflight_list = LIST_INIT(inflight_list); /* L_INFLIGHT: unix_sock.gc_link */
static unsigned inflight_sockets;                            /* L_INFLIGHT: references to unix sockets in messages */
static _Atomic int64_t inflight_files;                       /* descriptors of any kind in messages */

/*
 * A collection looks at every socket in flight. It runs when a socket is closed, as on Linux, but with many in flight only after a number of closes in
 * proportion; and when twice as many are in flight as the last one left.
 */
#define GC_SMALL 64
#define GC_SENT 2000u
static unsigned gc_at = GC_SENT; /* L_INFLIGHT */
static _Atomic unsigned closed;  /* since the last one */

static struct unix_sock *unix_of_file(struct file *f)
{
	struct socket *s = socket_of(f);

	return s && unix_is(s) ? unix_of(s) : NULL;
}

static void unix_gc_sent(void);

int unix_scm_attach(struct ctx *c, struct scm *scm)
{
	int64_t now;

	unix_gc_sent();
	now = __atomic_add_fetch((int64_t *)&inflight_files, scm->file_count, __ATOMIC_RELAXED);
	if (now > (int64_t)MIN(c->rlimit_nofile, (uint64_t)INT32_MAX) && !cred_capable(c->cred, CAP_SYS_RESOURCE) &&
	    !cred_capable(c->cred, CAP_SYS_ADMIN)) {
		__atomic_sub_fetch((int64_t *)&inflight_files, scm->file_count, __ATOMIC_RELAXED);
		return -ETOOMANYREFS;
	}
	mutex_lock(&inflight_lock, L_INFLIGHT);
	for (unsigned i = 0; i < scm->file_count; i++) {
		struct unix_sock *u = unix_of_file(scm->files->at[i]);

		if (!u)
			continue;
		if (u->inflight++ == 0) {
			u->gc_file = scm->files->at[i];
			list_append(&inflight_list, &u->gc_link);
		}
		inflight_sockets++;
	}
	mutex_unlock(&inflight_lock, L_INFLIGHT);
	return 0;
}

void unix_scm_detach(struct scm *scm)
{
	__atomic_sub_fetch((int64_t *)&inflight_files, scm->file_count, __ATOMIC_RELAXED);
	mutex_lock(&inflight_lock, L_INFLIGHT);
	for (unsigned i = 0; i < scm->file_count; i++) {
		struct unix_sock *u = unix_of_file(scm->files->at[i]);

		if (!u)
			continue;
		if (--u->inflight == 0) {
			u->gc_file = NULL;
			list_remove(&u->gc_link);
		}
		inflight_sockets--;
	}
	mutex_unlock(&inflight_lock, L_INFLIGHT);
}

void unix_gc_barrier(void)
{
	mutex_lock(&inflight_lock, L_INFLIGHT);
	mutex_unlock(&inflight_lock, L_INFLIGHT);
}

/* ---- the collection; L_INFLIGHT is held ---- */

typedef void (*child_fn)(struct unix_sock *child, struct list *arg);

static void scan_queue(struct unix_sock *u, child_fn fn, struct list *arg)
{
	struct unix_msg *m;

	mutex_lock_nested(&u->s.lock, L_SOCK);
	list_for_each(m, &u->queue, link) {
		for (unsigned i = 0; i < m->scm.file_count; i++) {
			struct unix_sock *child = unix_of_file(m->scm.files->at[i]);

			if (child && child->gc_candidate)
				fn(child, arg);
		}
		if (m->embryo)
			scan_queue(m->embryo, fn, arg);
	}
	mutex_unlock_nested(&u->s.lock, L_SOCK);
}

static void child_subtract(struct unix_sock *child, struct list *arg __unused)
{
	child->inflight--;
}

static void child_add(struct unix_sock *child, struct list *arg __unused)
{
	child->inflight++;
}

/* Reachable from outside: counted again, and looked at in turn. */
static void child_keep(struct unix_sock *child, struct list *candidates)
{
	child->inflight++;
	if (child->gc_maybe_cycle) {
		list_remove(&child->gc_link);
		list_append(candidates, &child->gc_link);
	}
}

static void take_candidates(struct list *candidates)
{
	struct unix_sock *u, *next;

	list_for_each_safe(u, next, &inflight_list, gc_link) {
		if (ref_count(&u->gc_file->ref) != u->inflight)
			continue;
		list_remove(&u->gc_link);
		list_append(candidates, &u->gc_link);
		u->gc_candidate = u->gc_maybe_cycle = true;
	}
}

/* Moves to `kept` what still has references after those among candidates were subtracted, and what is reachable from it. */
static void keep_reachable(struct list *candidates, struct list *kept)
{
	struct list todo = LIST_INIT(todo);
	struct unix_sock *u, *next;

	list_for_each_safe(u, next, candidates, gc_link) {
		if (!u->inflight)
			continue;
		list_remove(&u->gc_link);
		list_append(&todo, &u->gc_link);
	}
	while ((u = list_first(&todo, struct unix_sock, gc_link))) {
		list_remove(&u->gc_link);
		list_append(kept, &u->gc_link);
		u->gc_maybe_cycle = false;
		scan_queue(u, child_keep, &todo);
	}
}

/* Takes the messages with descriptors out of a queue that nobody can read any more. */
static void take_messages(struct unix_sock *u, struct list *hit) NO_TSA
{
	struct unix_msg *m, *next;

	mutex_lock_nested(&u->s.lock, L_SOCK);
	list_for_each_safe(m, next, &u->queue, link) {
		if (m->embryo)
			take_messages(m->embryo, hit);
		if (!m->scm.file_count)
			continue;
		unix_unqueue(u, m);
		list_append(hit, &m->link);
	}
	mutex_unlock_nested(&u->s.lock, L_SOCK);
}

static void collect(struct list *hit)
{
	struct list candidates = LIST_INIT(candidates), kept = LIST_INIT(kept);
	struct unix_sock *u;

	take_candidates(&candidates);
	list_for_each(u, &candidates, gc_link)
		scan_queue(u, child_subtract, NULL);
	keep_reachable(&candidates, &kept);
	list_for_each(u, &candidates, gc_link)
		scan_queue(u, child_add, NULL);
	list_for_each(u, &candidates, gc_link)
		take_messages(u, hit);
	list_splice(&inflight_list, &candidates);
	list_splice(&inflight_list, &kept);
	list_for_each(u, &inflight_list, gc_link)
		u->gc_candidate = u->gc_maybe_cycle = false;
}

static void unix_gc(void)
{
	struct list hit = LIST_INIT(hit);

	mutex_lock(&inflight_lock, L_INFLIGHT);
	collect(&hit);
	gc_at = MAX(GC_SENT, 2 * inflight_sockets);
	closed = 0;
	mutex_unlock(&inflight_lock, L_INFLIGHT);
	unix_msg_free_list(&hit);
}

void unix_gc_closed(void)
{
	unsigned now = __atomic_load_n(&inflight_sockets, __ATOMIC_RELAXED);

	/* Sockets that a collection or another close releases are looked at when that is over. */
	if (!now || scm_dropping())
		return;
	if (now > GC_SMALL && __atomic_add_fetch((unsigned *)&closed, 1, __ATOMIC_RELAXED) < now / GC_SMALL)
		return;
	unix_gc();
}

static void unix_gc_sent(void)
{
	if (__atomic_load_n(&inflight_sockets, __ATOMIC_RELAXED) > __atomic_load_n(&gc_at, __ATOMIC_RELAXED))
		unix_gc();
}
