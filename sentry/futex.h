/*
 * Futexes: futex(2). Waiting and waking by a word of guest memory.
 *
 * All functions are called by the task itself, its cpu stopped, no lock held. Addresses are the guest's: aligned to four bytes
 * (-EINVAL) and mapped (-EFAULT).
 */
#pragma once

#include "sentry/mm.h"

struct task;

/* Until when, by which clock; clock_id < 0: without limit. */
struct futex_timeout {
	clockid_t clock_id;
	int64_t at; /* absolute ns of that clock */
};

#define FUTEX_NO_TIMEOUT ((struct futex_timeout){.clock_id = -1})
#define FUTEX_ANY 0xffffffffu
#define FUTEX_WAITV_COUNT 128

struct futex_wait_on {
	uint64_t addr;
	uint32_t value;
	bool private;
};

/* 0 woken, -EAGAIN the word is not `value`, -ETIMEDOUT, -ERESTARTSYS. */
sysret_t futex_wait(struct task *t, uint64_t addr, bool private, uint32_t value, uint32_t bitset,
		    const struct futex_timeout *timeout);
/* Any of up to FUTEX_WAITV_COUNT: the index of one that was woken. */
sysret_t futex_wait_many(struct task *t, const struct futex_wait_on *on, size_t count,
			 const struct futex_timeout *timeout);
/* How many were woken; at least one is, if there is one, even for count 0. */
sysret_t futex_wake(struct task *t, uint64_t addr, bool private, int count, uint32_t bitset);
/* Wakes wake_count and moves requeue_count to the second futex; if `expected`, only if the first word has that value (-EAGAIN). */
sysret_t futex_requeue(struct task *t, uint64_t addr, uint64_t addr2, bool private, bool private2, int wake_count,
		       int requeue_count, const uint32_t *expected);
sysret_t futex_wake_op(struct task *t, uint64_t addr, uint64_t addr2, bool private, int count, int count2, uint32_t op);

/* FUTEX_WAKE of one waiter at exit; a bad address is ignored. */
void futex_wake_addr(struct task *t, uint64_t addr);

/* Priority inheritance: the word holds the owner's tid. 0, -EDEADLK, -ESRCH, -EAGAIN (`try`), -ETIMEDOUT, -ERESTARTNOINTR. */
sysret_t futex_lock_pi(struct task *t, uint64_t addr, bool private, bool try, const struct futex_timeout *timeout);
sysret_t futex_unlock_pi(struct task *t, uint64_t addr, bool private);
sysret_t futex_wait_requeue_pi(struct task *t, uint64_t addr, bool private, uint32_t value, uint32_t bitset,
			       const struct futex_timeout *timeout, uint64_t addr2);
sysret_t futex_cmp_requeue_pi(struct task *t, uint64_t addr, uint64_t addr2, bool private, int wake_count,
			      int requeue_count, uint32_t expected);
/* A task ends (after its robust list was walked): the locks it owns go to those who wait for them, marked FUTEX_OWNER_DIED. */
void futex_exit_pi(struct task *t);
