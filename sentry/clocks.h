/* Clocks as a guest names them: clock_gettime(2), those of CPU time included. No lock held by the caller of any of these. */
#pragma once

#include <time.h>

#include "sentry/base/types.h"

struct task;

/* Dynamic ids of CPU clocks, as glibc makes them: the complement of a process or thread id, and a kind in the low three bits. */
#define CPUCLOCK_PROF 0
#define CPUCLOCK_VIRT 1
#define CPUCLOCK_SCHED 2
#define CPUCLOCK_KIND_MASK 3
#define CPUCLOCK_PERTHREAD 4
#define CPUCLOCK_ID(id) (~((id) >> 3))

static inline clockid_t cpuclock_make(int32_t id, int kind)
{
	return (clockid_t)(~(uint32_t)id << 3 | (uint32_t)kind);
}

/* A clock of CPU time: CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID or a dynamic one. */
bool clock_is_cpu(clockid_t id);
/* The dynamic id that means the same to everybody as a CPU clock's id does to t; -EINVAL if there is no such task or it may not be read. */
int __must_check clock_cpu_normalize(struct task *t, clockid_t id, clockid_t *ret);
/* CPU time in ns by a normalized id; -EINVAL if the task is gone. */
int __must_check clock_cpu_read(clockid_t normalized, int64_t *ret);

/* Any clock, in ns. -EINVAL: unknown. */
int __must_check clock_read(struct task *t, clockid_t id, int64_t *ret);
int __must_check clock_resolution(struct task *t, clockid_t id, int64_t *ret);

/* The CLOCK_MONOTONIC time at which a clock that runs by itself will show `at`, as it looks now: CLOCK_REALTIME may be set meanwhile. */
int64_t clock_to_monotonic(clockid_t id, int64_t at);

/* Sleeps until the clock (not of CPU time) shows `at`. 0 or -ERESTARTSYS. */
int __must_check clock_sleep_until(struct task *t, clockid_t id, int64_t at);
/* The same with a normalized CPU clock. -EINVAL: the process is gone. */
int __must_check clock_cpu_sleep_until(struct task *t, clockid_t normalized, int64_t at);
/*
 * How long to wait before CPU time that is `left` ns away is worth another look. threads: that may use it at the same time. idle: how often
 * nothing had changed at the last looks: then the steps grow.
 */
int64_t clock_cpu_step(int64_t left, unsigned threads, unsigned idle);
