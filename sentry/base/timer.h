/*
 * Timers of the sentry: one thread sleeps until the earliest deadline; it does not exist until the first timer is armed and never wakes without
 * one that is due. Used by alarm(), setitimer(), POSIX timers, timerfd and --timeout. Sleeping system calls do not need it (park() takes a deadline).
 */
#pragma once

#include "sentry/base/list.h"

struct timer {
	int64_t deadline;              /* CLOCK_MONOTONIC ns; L_TIMER */
	uint32_t heap_index;           /* 0: not armed; L_TIMER */
	void (*fire)(struct timer *t); /* on the timer thread, no lock held; may re-arm t */
};

/* Starts the thread, if the host lets us, so that a later timer_arm() finds it: 0 or -errno. */
int __must_check timers_start(void);
void timer_init(struct timer *t, void (*fire)(struct timer *t));
/* Arms or moves it. A deadline in the past fires at once, on the timer thread. -ENOMEM. */
int __must_check timer_arm(struct timer *t, int64_t deadline);
/* After it returns fire is not running and will not run, unless called from fire itself. True if it was armed
 * at the call. Not while holding a lock that fire takes. */
bool timer_cancel(struct timer *t);
/* As timer_cancel() but does not wait for a running fire: for callers that hold a lock that fire takes. */
bool timer_disarm(struct timer *t);
