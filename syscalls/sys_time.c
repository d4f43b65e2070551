/*
 * Clocks: reading, the setting that is refused, and sleeping.
 *
 * The sandbox cannot set the host's clocks and has none of its own: whoever may (root) is told EPERM, after the checks that Linux does first.
 * A relative sleep goes on after a signal by restart_syscall(2) with the deadline it had; the time that is left is written at each
 * interruption, as Linux does.
 */
#include <limits.h>
#include <linux/capability.h>
#include <linux/time_types.h>
#include <string.h>
#include <sys/time.h>
#include <sys/timex.h>

#include "sentry/clocks.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

static int put_time(struct task *t, uaddr_t dst, int64_t ns)
{
	struct timespec ts = ns_to_timespec(ns);

	return copy_out(&t->ctx, dst, &ts, sizeof(ts));
}

sysret_t sys_clock_gettime(struct task *t, clockid_t id, uaddr_t tp)
{
	int64_t now;
	int err = clock_read(t, id, &now);

	return err ? err : put_time(t, tp, now);
}

sysret_t sys_clock_getres(struct task *t, clockid_t id, uaddr_t tp)
{
	int64_t res;
	int err = clock_resolution(t, id, &res);

	if (err || !tp.v)
		return err;
	return put_time(t, tp, res);
}

sysret_t sys_clock_settime(struct task *t, clockid_t id, uaddr_t tp)
{
	struct timespec ts;
	clockid_t cpu;
	int err;

	if (id != CLOCK_REALTIME && !clock_is_cpu(id))
		return -EINVAL;
	if (id == CLOCK_PROCESS_CPUTIME_ID || id == CLOCK_THREAD_CPUTIME_ID)
		return -EINVAL;
	if (copy_in(&t->ctx, &ts, tp, sizeof(ts)))
		return -EFAULT;
	if (clock_is_cpu(id)) {
		err = clock_cpu_normalize(t, id, &cpu);
		return err ? err : -EPERM;
	}
	return timespec_valid(&ts) ? -EPERM : -EINVAL;
}

sysret_t sys_gettimeofday(struct task *t, uaddr_t tv, uaddr_t tz)
{
	struct timeval now;
	struct timezone zone = {0};
	int err = 0;

	if (tv.v) {
		gettimeofday(&now, NULL);
		err = copy_out(&t->ctx, tv, &now, sizeof(now));
	}
	if (!err && tz.v)
		err = copy_out(&t->ctx, tz, &zone, sizeof(zone));
	return err;
}

sysret_t sys_settimeofday(struct task *t, uaddr_t tv, uaddr_t tz)
{
	struct timeval value;
	struct timezone zone;

	if (tv.v) {
		if (copy_in(&t->ctx, &value, tv, sizeof(value)))
			return -EFAULT;
		if (value.tv_usec < 0 || value.tv_usec > 1000000)
			return -EINVAL;
	}
	if (tz.v && copy_in(&t->ctx, &zone, tz, sizeof(zone)))
		return -EFAULT;
	return -EPERM;
}

sysret_t sys_time(struct task *t, uaddr_t tloc)
{
	int64_t now = time(NULL);

	if (tloc.v && copy_out(&t->ctx, tloc, &now, sizeof(now)))
		return -EFAULT;
	return now;
}

/* An unsynchronized clock that nobody steers. */
static sysret_t adjtimex_read(struct task *t, uaddr_t ptr)
{
	struct timex tx;

	if (copy_in(&t->ctx, &tx, ptr, sizeof(tx)))
		return -EFAULT;
	if (tx.modes == ADJ_OFFSET_SS_READ)
		tx.modes = 0;
	if (tx.modes)
		return -EPERM;
	memset(&tx, 0, sizeof(tx));
	tx.maxerror = tx.esterror = 16000000;
	tx.status = STA_UNSYNC;
	tx.constant = 2;
	tx.precision = 1;
	tx.tolerance = 32768000;
	tx.tick = 10000;
	gettimeofday(&tx.time, NULL);
	return copy_out(&t->ctx, ptr, &tx, sizeof(tx)) ? -EFAULT : TIME_ERROR;
}

sysret_t sys_adjtimex(struct task *t, uaddr_t ptr)
{
	return adjtimex_read(t, ptr);
}

sysret_t sys_clock_adjtime(struct task *t, clockid_t id, uaddr_t ptr)
{
	struct timex tx;

	if (copy_in(&t->ctx, &tx, ptr, sizeof(tx)))
		return -EFAULT;
	if (id != CLOCK_REALTIME)
		return id > CLOCK_TAI || id < 0 ? -EINVAL : -EOPNOTSUPP;
	return adjtimex_read(t, ptr);
}

enum { RB_CLOCK, RB_REMAIN, RB_CPU };

static int sleep_until(struct task *t, clockid_t clock, bool cpu, int64_t at)
{
	return cpu ? clock_cpu_sleep_until(t, clock, at) : clock_sleep_until(t, clock, at);
}

/* The end of a relative sleep until `at`, and the beginning of its restart. */
static sysret_t sleep_relative(struct task *t, clockid_t clock, bool cpu, int64_t at, uaddr_t remain)
{
	int64_t now;
	int err = sleep_until(t, clock, cpu, at);

	if (err != -ERESTARTSYS)
		return err;
	if (remain.v) {
		if (!cpu)
			now = clock_now(clock);
		else if ((err = clock_cpu_read(clock, &now)))
			return err;
		if (put_time(t, remain, MAX(at - now, 0)))
			return -EFAULT;
	}
	t->restart.deadline = at;
	t->restart.arg[RB_CLOCK] = (uint64_t)clock;
	t->restart.arg[RB_REMAIN] = remain.v;
	t->restart.arg[RB_CPU] = cpu;
	return -ERESTART_RESTARTBLOCK;
}

static sysret_t sleep_restart(struct task *t, struct restart_block *rb)
{
	return sleep_relative(t, (clockid_t)rb->arg[RB_CLOCK], rb->arg[RB_CPU], rb->deadline,
			      UADDR(rb->arg[RB_REMAIN]));
}

static sysret_t sleep_clock(struct task *t, clockid_t clock, bool cpu, bool absolute, const struct timespec *ts,
			    uaddr_t remain)
{
	int64_t now = 0;
	int err = 0;

	if (absolute) {
		err = sleep_until(t, clock, cpu, timespec_to_ns(ts));
		return err == -ERESTARTSYS ? -ERESTARTNOHAND : err;
	}
	if (!cpu)
		now = clock_now(clock);
	else if ((err = clock_cpu_read(clock, &now)))
		return err;
	t->restart.fn = sleep_restart;
	return sleep_relative(t, clock, cpu, deadline_after(now, timespec_to_ns(ts)), remain);
}

sysret_t sys_nanosleep(struct task *t, uaddr_t req, uaddr_t rem)
{
	struct timespec ts;

	if (copy_in(&t->ctx, &ts, req, sizeof(ts)))
		return -EFAULT;
	if (!timespec_valid(&ts))
		return -EINVAL;
	return sleep_clock(t, CLOCK_MONOTONIC, false, false, &ts, rem);
}

/* Which clock to sleep by; clocks that can only be read: -EOPNOTSUPP. */
static int sleep_clock_id(struct task *t, clockid_t id, clockid_t *ret)
{
	*ret = id;
	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_MONOTONIC:
	case CLOCK_BOOTTIME:
	case CLOCK_TAI:
		return 0;
	case CLOCK_REALTIME_ALARM:
	case CLOCK_BOOTTIME_ALARM:
		*ret = id == CLOCK_REALTIME_ALARM ? CLOCK_REALTIME : CLOCK_BOOTTIME;
		return task_capable(t, CAP_WAKE_ALARM) ? 0 : -EPERM;
	case CLOCK_THREAD_CPUTIME_ID:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_MONOTONIC_COARSE:
		return -EOPNOTSUPP;
	}
	return clock_is_cpu(id) ? clock_cpu_normalize(t, id, ret) : -EINVAL;
}

sysret_t sys_clock_nanosleep(struct task *t, clockid_t id, int flags, uaddr_t req, uaddr_t rem)
{
	bool absolute = flags & TIMER_ABSTIME;
	clockid_t clock = id;
	struct timespec ts;
	int err = sleep_clock_id(t, id, &clock);

	if (err && err != -EPERM && !clock_is_cpu(id))
		return err;
	if (id == CLOCK_THREAD_CPUTIME_ID)
		return err;
	if (copy_in(&t->ctx, &ts, req, sizeof(ts)))
		return -EFAULT;
	if (!timespec_valid(&ts))
		return -EINVAL;
	if (err)
		return err;
	/* A thread that waits for its own CPU time would wait for ever. */
	if (id < 0 && (clock & CPUCLOCK_PERTHREAD) && CPUCLOCK_ID(clock) == t->ctx.tid)
		return -EINVAL;
	/* Relative sleeps by CLOCK_REALTIME do not follow its setting. */
	if (!absolute && clock == CLOCK_REALTIME)
		clock = CLOCK_MONOTONIC;
	return sleep_clock(t, clock, clock_is_cpu(id), absolute, &ts, rem);
}
