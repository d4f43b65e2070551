/*
 * Timers of processes: alarm(2), setitimer(2), timer_create(2) and the limit of CPU time (RLIMIT_CPU).
 *
 * All functions are called without locks. Times are in ns; a value of 0 means "not armed".
 */
#pragma once

#include <signal.h>

#include "sentry/base/types.h"

struct task;
struct thread_group;

struct timer_value {
	int64_t value, interval;
};

/* which: ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF. -ENOMEM. */
int itimer_get(struct task *t, int which, struct timer_value *ret);
int itimer_set(struct task *t, int which, const struct timer_value *value, struct timer_value *ret_old);

/* ev NULL: SIGALRM with the timer's id. The id or -EINVAL, -EOPNOTSUPP, -EPERM, -EAGAIN. */
int posix_timer_create(struct task *t, clockid_t clock, const struct sigevent *ev);
/* absolute: value is a time of the timer's clock. -EINVAL: no such timer. */
int posix_timer_set(struct task *t, int id, bool absolute, const struct timer_value *value,
		    struct timer_value *ret_old);
int posix_timer_get(struct task *t, int id, struct timer_value *ret);
int posix_timer_overrun(struct task *t, int id);
int posix_timer_delete(struct task *t, int id);

/* The group's RLIMIT_CPU has been set, or is inherited. */
void timers_rlimit_cpu(struct thread_group *tg);
/* The last task of the group leaves, or it executes another program (itimers go on then, POSIX timers do not). */
void timers_exit(struct thread_group *tg);
void timers_exec(struct thread_group *tg);
