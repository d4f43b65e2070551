/*
 * Who is who: the table of thread ids, process groups and sessions. credentials(7), setpgid(2), setsid(2).
 *
 * Ids are given out in ascending order and come round at PID_MAX, as on Linux; an id is not given out again while a
 * task, a process group or a session still bears it. The table holds a reference to each task that can be found: live
 * ones, and dead leaders until they are waited for.
 *
 * A process group lives as long as it has members or somebody holds a reference; a session as long as one of its
 * groups does. All of it is under pidtree_lock; only the reference counts of sessions are also used outside of it
 * (terminals hold them).
 */
#include "sentry/pid.h"

#include "sentry/base/slab.h"

#define PID_BUCKETS 1024
#define UID_BUCKETS 64
#define PID_RESERVED 300 /* where Linux continues after it has come round */

struct uid_entry {
	struct uid_entry *next;
	uint32_t uid;
	unsigned count;
};

static struct slab pgrp_slab = SLAB_INIT(struct pgrp);
static struct slab session_slab = SLAB_INIT(struct session);
static struct slab uid_slab = SLAB_INIT(struct uid_entry);

struct mutex pidtree_lock = MUTEX_INIT;
unsigned task_total;

static struct list pid_table[PID_BUCKETS];       /* L_PIDTREE */
static struct list pgrps = LIST_INIT(pgrps);     /* L_PIDTREE */
static struct uid_entry *uid_table[UID_BUCKETS]; /* L_PIDTREE */
static int32_t last_pid;                         /* L_PIDTREE */
static bool came_round;                          /* L_PIDTREE */

static struct list *pid_bucket(int32_t id)
{
	struct list *l = &pid_table[(uint32_t)id % PID_BUCKETS];

	if (!l->next)
		list_init(l);
	return l;
}

static bool pid_in_use(int32_t id) REQUIRES(L_PIDTREE)
{
	struct pgrp *pg;

	if (task_find_locked(id))
		return true;
	list_for_each(pg, &pgrps, link)
		if (pg->id == id || pg->session->id == id)
			return true;
	return false;
}

int32_t pid_alloc(void)
{
	for (int tries = 0; tries < PID_MAX; tries++) {
		if (++last_pid >= PID_MAX) {
			last_pid = PID_RESERVED;
			came_round = true;
		}
		if (!came_round || !pid_in_use(last_pid))
			return last_pid;
	}
	return -EAGAIN;
}

void pid_hash(struct task *t)
{
	list_push(pid_bucket(t->ctx.tid), &task_get(t)->pid_link);
}

void pid_unhash(struct task *t)
{
	list_remove(&t->pid_link);
}

struct task *task_find_locked(int32_t tid)
{
	struct list *l = pid_bucket(tid);
	struct task *t;

	list_for_each(t, l, pid_link)
		if (t->ctx.tid == tid)
			return t;
	return NULL;
}

struct thread_group *tg_find_locked(int32_t pid)
{
	struct task *t = task_find_locked(pid);

	return t && t->tg->pid == pid ? t->tg : NULL;
}

struct task *task_find(int32_t tid)
{
	struct task *t;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	t = task_find_locked(tid);
	if (t)
		task_get(t);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return t;
}

struct thread_group *tg_find(int32_t pid)
{
	struct thread_group *tg;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	tg = tg_find_locked(pid);
	if (tg)
		tg_get(tg);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return tg;
}

void tg_for_each(bool (*fn)(struct thread_group *tg, void *arg), void *arg)
{
	for (size_t i = 0; i < PID_BUCKETS; i++) {
		struct list *l = pid_bucket((int32_t)i);
		struct task *t, *next;

		list_for_each_safe(t, next, l, pid_link)
			if (t->tg->leader == t && !fn(t->tg, arg))
				return;
	}
}

void task_for_each(struct thread_group *tg, bool (*fn)(struct task *t, void *arg), void *arg)
{
	struct task *t, *next;

	list_for_each_safe(t, next, &tg->tasks, tg_link)
		if (!fn(t, arg))
			return;
}

struct pgrp *pgrp_find_locked(int32_t id)
{
	struct pgrp *pg;

	list_for_each(pg, &pgrps, link)
		if (pg->id == id)
			return pg;
	return NULL;
}

struct pgrp *pgrp_create(int32_t id, struct session *s)
{
	struct pgrp *pg = slab_alloc(&pgrp_slab);

	if (!pg)
		return NULL;
	ref_init(&pg->ref);
	pg->id = id;
	pg->session = session_get(s);
	list_init(&pg->members);
	list_push(&pgrps, &pg->link);
	return pg;
}

struct pgrp *pgrp_get(struct pgrp *pg)
{
	ref_get(&pg->ref);
	return pg;
}

void pgrp_put(struct pgrp *pg)
{
	if (!pg || !ref_put(&pg->ref))
		return;
	list_remove(&pg->link);
	session_put(pg->session);
	slab_free(&pgrp_slab, pg);
}

struct session *session_create(int32_t id)
{
	struct session *s = slab_alloc(&session_slab);

	if (!s)
		return NULL;
	ref_init(&s->ref);
	s->id = id;
	return s;
}

struct session *session_get(struct session *s)
{
	ref_get(&s->ref);
	return s;
}

void session_put(struct session *s)
{
	if (s && ref_put(&s->ref))
		slab_free(&session_slab, s);
}

void tg_set_pgrp(struct thread_group *tg, struct pgrp *pg)
{
	struct pgrp *old = tg->pgrp;

	list_remove(&tg->pgrp_link);
	tg->pgrp = NULL;
	if (pg) {
		tg->pgrp = pgrp_get(pg);
		list_append(&pg->members, &tg->pgrp_link);
	}
	pgrp_put(old);
}

static struct uid_entry *uid_find(uint32_t uid, bool make)
{
	struct uid_entry **head = &uid_table[uid % UID_BUCKETS];
	struct uid_entry *e;

	for (e = *head; e; e = e->next)
		if (e->uid == uid)
			return e;
	if (!make || !(e = slab_alloc(&uid_slab)))
		return NULL;
	e->uid = uid;
	e->next = *head;
	*head = e;
	return e;
}

static void uid_drop(struct uid_entry *dying)
{
	struct uid_entry **e = &uid_table[dying->uid % UID_BUCKETS];

	while (*e != dying)
		e = &(*e)->next;
	*e = dying->next;
	slab_free(&uid_slab, dying);
}

void uid_count_add(uint32_t uid, int delta)
{
	struct uid_entry *e = uid_find(uid, delta > 0);

	if (!e)
		return;
	if (delta < 0 && e->count <= (unsigned)-delta)
		uid_drop(e);
	else
		e->count += (unsigned)delta;
}

unsigned uid_count(uint32_t uid)
{
	struct uid_entry *e = uid_find(uid, false);

	return e ? e->count : 0;
}
