/* Time in nanoseconds. The sentry's clocks are the host's, read by its vDSO. */
#pragma once

#include <time.h>

#include "sentry/base/types.h"

#define NSEC_PER_SEC 1000000000ll
#define NSEC_PER_MSEC 1000000ll
#define NSEC_PER_USEC 1000ll
#define TIME_NEVER INT64_MAX

/* What is beyond the range becomes its end. */
static inline int64_t timespec_to_ns(const struct timespec *ts)
{
	int64_t ns;

	if (__builtin_mul_overflow((int64_t)ts->tv_sec, NSEC_PER_SEC, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)ts->tv_nsec, &ns))
		return ts->tv_sec < 0 ? INT64_MIN : TIME_NEVER;
	return ns;
}

static inline struct timespec ns_to_timespec(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC};

	if (ts.tv_nsec < 0) {
		ts.tv_sec--;
		ts.tv_nsec += NSEC_PER_SEC;
	}
	return ts;
}

/* Linux's timespec64_valid(): no negative seconds, nanoseconds in range. */
static inline bool timespec_valid(const struct timespec *ts)
{
	return ts->tv_sec >= 0 && ts->tv_nsec >= 0 && ts->tv_nsec < NSEC_PER_SEC;
}

static inline int64_t clock_now(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return timespec_to_ns(&ts);
}

/* now + relative, saturating at TIME_NEVER. */
static inline int64_t deadline_after(int64_t now, int64_t relative)
{
	int64_t t;

	return __builtin_add_overflow(now, relative, &t) ? TIME_NEVER : t;
}
