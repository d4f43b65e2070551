/*
 * Sleeping and waking.
 *
 * A parker is what sleeps: one per task, in its ctx. A wait queue is what is waited for: pipes, sockets, children,
 * terminals own one each. An entry on a queue has a callback: for a sleeper it unparks, for epoll it marks an item ready.
 *
 * The usual wait holds the object's mutex, checks a condition and calls wait_on() in a loop:
 *
 *	mutex_lock(&p->lock, L_FILE);
 *	while (!err && p->count == 0)
 *		err = nonblock ? -EAGAIN : wait_on(c, &p->wq, &p->lock, L_FILE);
 *
 * Wake-ups carry poll bits (POLLIN...), so that a poller is not woken by what it did not ask for; 0 wakes everybody.
 * Wait for several things or without a mutex: prepare entries with wait_entry_init_ctx(), add them, check, park(), remove.
 */
#pragma once

#include "sentry/base/list.h"
#include "sentry/base/lock.h"

struct ctx;

/* A binary semaphore: unpark() before park() is not lost. */
struct parker {
	_Atomic uint32_t token;
};

struct wait_entry {
	struct list link;                                    /* in wait_queue.entries, L_WAIT */
	struct wait_queue *queue;                            /* NULL when on none */
	void (*wake)(struct wait_entry *e, uint32_t events); /* called with the queue's lock held: no other lock
	                                                                  below L_WAIT may be taken */
	void *priv;
	uint32_t events; /* wanted; 0 means any */
	bool exclusive;  /* wake_up() stops after one that took it */
};

struct wait_queue {
	struct mutex lock;
	struct list entries;
	uint32_t count; /* of entries; written atomically under the lock, so that wake_up() may look without it */
};

void wait_queue_init(struct wait_queue *q);
/* Wakes everybody whose wanted events intersect `events` (all if either is 0), and at most one exclusive entry. */
void wake_up(struct wait_queue *q, uint32_t events);
/* As wake_up(), exclusive entries included. */
void wake_up_all(struct wait_queue *q, uint32_t events);
/* wake_up() from a wait entry's callback: the queues form a tree (an epoll instance's queue behind those of its files). */
void wake_up_nested(struct wait_queue *q, uint32_t events);
/* Whether anybody is on the queue; a hint without the lock. */
bool wait_queue_active(const struct wait_queue *q);

/* The entry must stay until wait_entry_remove() returns: after it no callback runs any more. */
void wait_entry_init(struct wait_entry *e, void (*wake)(struct wait_entry *, uint32_t), void *priv, uint32_t events);
/* An entry that unparks c. */
void wait_entry_init_ctx(struct wait_entry *e, struct ctx *c, uint32_t events);
void wait_queue_add(struct wait_queue *q, struct wait_entry *e);
void wait_entry_remove(struct wait_entry *e);

void parker_init(struct parker *p);
void unpark(struct parker *p);
/* Somebody sleeps in park() on it; a hint. */
bool parker_sleeping(const struct parker *p);

/*
 * Sleeps until c is unparked, interrupted, or the CLOCK_MONOTONIC deadline in ns has passed (TIME_NEVER: none).
 * 0: unparked (possibly spuriously), -ERESTARTSYS: a signal is pending, -ETIMEDOUT. An interrupt that is pending at the
 * call returns at once.
 */
int __must_check park(struct ctx *c, int64_t deadline);
/* The same, but only a fatal signal interrupts it (-ERESTARTSYS then, and the task is about to die). */
int __must_check park_killable(struct ctx *c, int64_t deadline);

/* Adds an entry to q, drops m, parks, removes the entry and takes m again. Results as park(). */
int __must_check wait_on(struct ctx *c, struct wait_queue *q, struct mutex *m, struct lock_class *cls) REQUIRES(cls);
int __must_check wait_on_until(struct ctx *c, struct wait_queue *q, struct mutex *m, struct lock_class *cls,
			       int64_t deadline) REQUIRES(cls);
int __must_check wait_on_killable(struct ctx *c, struct wait_queue *q, struct mutex *m, struct lock_class *cls)
    REQUIRES(cls);

/* Called before a thread sleeps in park(): the platform gives up a spinner's role there. May be NULL. */
extern void (*park_hook)(void);
