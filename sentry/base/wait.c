/*
 * Sleeping and waking: see wait.h.
 *
 * The parker's token is a futex word: 0 nothing, 1 unparked, 2 a thread sleeps. park() consumes the token. Interrupts are
 * a flag in the ctx plus an unpark, so that the order "set the flag, then unpark" against "check the flag, then sleep" cannot lose one.
 */
#include "sentry/base/wait.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sentry/base/clock.h"
#include "sentry/base/ctx.h"
#include "sentry/base/restart.h"

void (*park_hook)(void);

enum { TOKEN_NONE, TOKEN_SET, TOKEN_SLEEPING };

void parker_init(struct parker *p)
{
	p->token = TOKEN_NONE;
}

void unpark(struct parker *p)
{
	if (__atomic_exchange_n((uint32_t *)&p->token, TOKEN_SET, __ATOMIC_SEQ_CST) == TOKEN_SLEEPING)
		lock_wake((uint32_t *)&p->token);
}

bool parker_sleeping(const struct parker *p)
{
	return __atomic_load_n((const uint32_t *)&p->token, __ATOMIC_RELAXED) == TOKEN_SLEEPING;
}

static bool parker_take(struct parker *p)
{
	return __atomic_exchange_n((uint32_t *)&p->token, TOKEN_NONE, __ATOMIC_SEQ_CST) == TOKEN_SET;
}

/* Sleeps on the token, which the caller has seen not set. -ETIMEDOUT, or 0 for anything else. */
static int parker_sleep(struct parker *p, int64_t deadline)
{
	struct timespec ts = ns_to_timespec(deadline);
	uint32_t none = TOKEN_NONE;
	long r;

	lock_wakes_flush();
	if (!__atomic_compare_exchange_n((uint32_t *)&p->token, &none, TOKEN_SLEEPING, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return 0;
	r = syscall(SYS_futex, &p->token, FUTEX_WAIT_BITSET_PRIVATE, TOKEN_SLEEPING,
		    deadline == TIME_NEVER ? NULL : &ts, NULL, FUTEX_BITSET_MATCH_ANY);
	return r < 0 && errno == ETIMEDOUT ? -ETIMEDOUT : 0;
}

static int park_mask(struct ctx *c, int64_t deadline, uint32_t interrupts)
{
	struct parker *p = &c->parker;
	bool hooked = false;

	for (;;) {
		if (parker_take(p))
			return 0;
		if (ctx_interrupts(c) & interrupts)
			return -ERESTARTSYS;
		if (deadline <= 0)
			return -ETIMEDOUT;
		if (!hooked && park_hook)
			park_hook();
		hooked = true;
		if (parker_sleep(p, deadline) < 0)
			return parker_take(p) ? 0 : -ETIMEDOUT;
	}
}

int park(struct ctx *c, int64_t deadline)
{
	return park_mask(c, deadline, CTX_SIGNAL | CTX_KILL);
}

int park_killable(struct ctx *c, int64_t deadline)
{
	return park_mask(c, deadline, CTX_KILL);
}

void wait_queue_init(struct wait_queue *q)
{
	mutex_init(&q->lock);
	list_init(&q->entries);
	q->count = 0;
}

bool wait_queue_active(const struct wait_queue *q)
{
	return __atomic_load_n(&q->count, __ATOMIC_SEQ_CST) != 0;
}

static void wake_entries(struct wait_queue *q, uint32_t events, bool all)
{
	struct wait_entry *e, *next;

	list_for_each_safe(e, next, &q->entries, link) {
		if (events && e->events && !(events & e->events))
			continue;
		e->wake(e, events);
		if (e->exclusive && !all)
			break;
	}
}

static void wake_some(struct wait_queue *q, uint32_t events, bool all)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!wait_queue_active(q))
		return;
	mutex_lock(&q->lock, L_WAIT);
	wake_entries(q, events, all);
	mutex_unlock(&q->lock, L_WAIT);
}

void wake_up_nested(struct wait_queue *q, uint32_t events)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!wait_queue_active(q))
		return;
	mutex_lock_nested(&q->lock, L_WAIT);
	wake_entries(q, events, false);
	mutex_unlock_nested(&q->lock, L_WAIT);
}

void wake_up(struct wait_queue *q, uint32_t events)
{
	wake_some(q, events, false);
}

void wake_up_all(struct wait_queue *q, uint32_t events)
{
	wake_some(q, events, true);
}

void wait_entry_init(struct wait_entry *e, void (*wake)(struct wait_entry *, uint32_t), void *priv, uint32_t events)
{
	list_init(&e->link);
	e->queue = NULL;
	e->wake = wake;
	e->priv = priv;
	e->events = events;
	e->exclusive = false;
}

static void wake_ctx(struct wait_entry *e, uint32_t events __unused)
{
	struct ctx *c = e->priv;

	unpark(&c->parker);
}

void wait_entry_init_ctx(struct wait_entry *e, struct ctx *c, uint32_t events)
{
	wait_entry_init(e, wake_ctx, c, events);
}

void wait_queue_add(struct wait_queue *q, struct wait_entry *e)
{
	mutex_lock(&q->lock, L_WAIT);
	e->queue = q;
	__atomic_fetch_add(&q->count, 1, __ATOMIC_SEQ_CST);
	/* Exclusive entries stand behind the others, so that a wake-up of one reaches everybody else too. */
	if (e->exclusive)
		list_append(&q->entries, &e->link);
	else
		list_push(&q->entries, &e->link);
	mutex_unlock(&q->lock, L_WAIT);
}

void wait_entry_remove(struct wait_entry *e)
{
	struct wait_queue *q = e->queue;

	if (!q)
		return;
	mutex_lock(&q->lock, L_WAIT);
	list_remove(&e->link);
	e->queue = NULL;
	__atomic_fetch_sub(&q->count, 1, __ATOMIC_SEQ_CST);
	mutex_unlock(&q->lock, L_WAIT);
}

static int wait_mask(struct ctx *c, struct wait_queue *q, struct mutex *m, struct lock_class *cls, int64_t deadline,
		     uint32_t interrupts) NO_TSA
{
	struct wait_entry e;
	int err;

	wait_entry_init_ctx(&e, c, 0);
	wait_queue_add(q, &e);
	mutex_unlock(m, cls);
	err = park_mask(c, deadline, interrupts);
	wait_entry_remove(&e);
	mutex_lock(m, cls);
	return err;
}

int wait_on(struct ctx *c, struct wait_queue *q, struct mutex *m, struct lock_class *cls)
{
	return wait_mask(c, q, m, cls, TIME_NEVER, CTX_SIGNAL | CTX_KILL);
}

int wait_on_until(struct ctx *c, struct wait_queue *q, struct mutex *m, struct lock_class *cls, int64_t deadline)
{
	return wait_mask(c, q, m, cls, deadline, CTX_SIGNAL | CTX_KILL);
}

int wait_on_killable(struct ctx *c, struct wait_queue *q, struct mutex *m, struct lock_class *cls)
{
	return wait_mask(c, q, m, cls, TIME_NEVER, CTX_KILL);
}
