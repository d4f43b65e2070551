/* What sentry/futex.c and sentry/futex_pi.c share. Private to them. */
#pragma once

#include "sentry/futex.h"
#include "sentry/task.h"

struct pi_lock;

/* A waiting task, on its own stack. */
#define FUTEX_TRIES 64 /* to change a word that others write to */

struct futex_waiter {
	struct list link;            /* in its bucket's list; L_FUTEX */
	struct futex_bucket *bucket; /* changed by a requeue under both buckets' locks; L_FUTEX */
	bool queued;                 /* L_FUTEX: false once woken */
	struct futex_key key;        /* a reference; L_FUTEX */
	struct task *task;           /* whose stack this is */
	uint32_t bitset;

	/* futex_pi.c; L_FUTEXPI of the lock. */
	bool wants_pi; /* FUTEX_WAIT_REQUEUE_PI: may only be moved to pi_key; constant */
	struct futex_key pi_key;
	struct list pi_link; /* in pi_lock.waiters */
	struct pi_lock *pi;  /* the lock it waits for, or NULL */
	bool granted;        /* it owns the lock */
	bool owner_died;     /* and has yet to say so in the word */
};

struct futex_bucket {
	struct mutex lock; /* L_FUTEX */
	struct list waiters;
	uint32_t count;    /* of waiters; atomic, written under the lock */
	uint32_t enqueued; /* how many were ever put here; L_FUTEX */
} __attribute__((aligned(64)));

void futex_waiter_init(struct futex_waiter *w, struct task *t, uint32_t bitset);
int futex_key_of(struct task *t, uint64_t addr, bool private, struct futex_key *ret);
bool futex_key_equal(const struct futex_key *a, const struct futex_key *b);
unsigned futex_key_hash(const struct futex_key *k);
/* Puts w on the queue of w->key. */
void futex_enqueue(struct futex_waiter *w);
/* Takes w off. False: it had been woken. */
bool futex_dequeue(struct futex_waiter *w);
bool futex_queued(struct futex_waiter *w);
/* Takes w off its bucket, whose lock the caller holds. */
void futex_unlink(struct futex_waiter *w) REQUIRES(L_FUTEX);
struct futex_bucket *futex_bucket_of(const struct futex_key *k);
/* The word as the guest's threads see it now. */
int futex_read(struct task *t, uint64_t addr, uint32_t *ret);
/* Sleeps until woken, interrupted or late: as park(), spurious returns included. */
int futex_park(struct task *t, const struct futex_timeout *timeout);
