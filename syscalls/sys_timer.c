/* alarm, setitimer and POSIX timers: the guest's structures, then sentry/timers.h. */
#include <limits.h>
#include <string.h>
#include <sys/time.h>

#include "sentry/task.h"
#include "sentry/timers.h"
#include "syscalls/syscalls.h"

static int64_t timeval_ns(const struct timeval *tv)
{
	struct timespec ts = {.tv_sec = tv->tv_sec, .tv_nsec = tv->tv_usec * NSEC_PER_USEC};

	return timespec_to_ns(&ts);
}

static struct timeval ns_timeval(int64_t ns)
{
	return (struct timeval){.tv_sec = ns / NSEC_PER_SEC, .tv_usec = ns % NSEC_PER_SEC / NSEC_PER_USEC};
}

static bool timeval_valid(const struct timeval *tv)
{
	return tv->tv_sec >= 0 && tv->tv_usec >= 0 && tv->tv_usec < 1000000;
}

static int put_itimerval(struct task *t, uaddr_t dst, const struct timer_value *v)
{
	struct itimerval it = {.it_value = ns_timeval(v->value), .it_interval = ns_timeval(v->interval)};

	return copy_out(&t->ctx, dst, &it, sizeof(it));
}

static bool itimer_valid(int which)
{
	return which == ITIMER_REAL || which == ITIMER_VIRTUAL || which == ITIMER_PROF;
}

sysret_t sys_getitimer(struct task *t, int which, uaddr_t value)
{
	struct timer_value v;
	int err;

	if (!itimer_valid(which))
		return -EINVAL;
	err = itimer_get(t, which, &v);
	return err ? err : put_itimerval(t, value, &v);
}

sysret_t sys_setitimer(struct task *t, int which, uaddr_t value, uaddr_t old_value)
{
	struct itimerval it = {0};
	struct timer_value v, old;
	int err;

	if (value.v) {
		if (copy_in(&t->ctx, &it, value, sizeof(it)))
			return -EFAULT;
		if (!timeval_valid(&it.it_value) || !timeval_valid(&it.it_interval))
			return -EINVAL;
	}
	if (!itimer_valid(which))
		return -EINVAL;
	v = (struct timer_value){timeval_ns(&it.it_value), timeval_ns(&it.it_interval)};
	err = itimer_set(t, which, &v, &old);
	if (err || !old_value.v)
		return err;
	return put_itimerval(t, old_value, &old);
}

/* Rounded as Linux does: never to 0 if something was left. */
sysret_t sys_alarm(struct task *t, unsigned seconds)
{
	struct timer_value v = {.value = (int64_t)MIN(seconds, (unsigned)INT_MAX) * NSEC_PER_SEC};
	struct timer_value old;
	struct timeval left;
	int err = itimer_set(t, ITIMER_REAL, &v, &old);

	if (err)
		return 0;
	left = ns_timeval(old.value);
	if ((!left.tv_sec && left.tv_usec) || left.tv_usec >= 500000)
		left.tv_sec++;
	return left.tv_sec;
}

sysret_t sys_timer_create(struct task *t, clockid_t clock, uaddr_t event, uaddr_t id_ptr)
{
	struct sigevent ev;
	int id;

	_Static_assert(sizeof(ev) == 64, "ABI");
	if (event.v && copy_in(&t->ctx, &ev, event, sizeof(ev)))
		return -EFAULT;
	id = posix_timer_create(t, clock, event.v ? &ev : NULL);
	if (id < 0)
		return id;
	if (copy_out(&t->ctx, id_ptr, &id, sizeof(id))) {
		posix_timer_delete(t, id);
		return -EFAULT;
	}
	return 0;
}

static int put_itimerspec(struct task *t, uaddr_t dst, const struct timer_value *v)
{
	struct itimerspec it = {.it_value = ns_to_timespec(v->value), .it_interval = ns_to_timespec(v->interval)};

	return copy_out(&t->ctx, dst, &it, sizeof(it));
}

sysret_t sys_timer_settime(struct task *t, int id, int flags, uaddr_t value, uaddr_t old_value)
{
	struct timer_value v, old;
	struct itimerspec it;
	int err;

	if (!value.v)
		return -EINVAL;
	if (copy_in(&t->ctx, &it, value, sizeof(it)))
		return -EFAULT;
	if (!timespec_valid(&it.it_value) || !timespec_valid(&it.it_interval))
		return -EINVAL;
	v = (struct timer_value){timespec_to_ns(&it.it_value), timespec_to_ns(&it.it_interval)};
	err = posix_timer_set(t, id, flags & TIMER_ABSTIME, &v, &old);
	if (err || !old_value.v)
		return err;
	return put_itimerspec(t, old_value, &old);
}

sysret_t sys_timer_gettime(struct task *t, int id, uaddr_t value)
{
	struct timer_value v;
	int err = posix_timer_get(t, id, &v);

	return err ? err : put_itimerspec(t, value, &v);
}

sysret_t sys_timer_getoverrun(struct task *t, int id)
{
	return posix_timer_overrun(t, id);
}

sysret_t sys_timer_delete(struct task *t, int id)
{
	return posix_timer_delete(t, id);
}
