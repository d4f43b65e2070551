/*
 * timerfd_create(2): a timer that is read.
 *
 * A periodic timer is armed for one expiry only. When it fired, the following ones are counted at the next read or gettime, and only then it is
 * armed again: a timer nobody reads makes no wake-ups. Deadlines are kept on CLOCK_MONOTONIC; an absolute time of another
 * clock is converted when it is set. TFD_TIMER_CANCEL_ON_SET is accepted: nobody in the sandbox can set the clock.
 *
 * Lock: L_FILE; the timer's callback takes it, so the timer is stopped by timer_disarm() while the lock is held. An expiry that was on its way
 * then looks at the new deadline and finds it in the future.
 */
#include "fs/timerfd.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>

#include "sentry/base/cred.h"
#include "sentry/base/slab.h"
#include "sentry/base/timer.h"

#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif

struct timerfd {
	struct mutex lock;
	struct wait_queue wq;
	struct timer timer;
	int clock;
	/* L_FILE: */
	int64_t deadline; /* of the next expiry that is not in `ticks` yet; TIME_NEVER: disarmed */
	int64_t interval; /* 0: one shot */
	uint64_t ticks;   /* unread */
	int set_flags;
};

static struct slab timerfd_slab = SLAB_INIT(struct timerfd);
static const struct file_ops timerfd_ops;

static bool clock_is_alarm(int clock)
{
	return clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
}

/* The clock whose "now" counts: alarm clocks wake a suspended machine, which a sandbox does not know. */
static clockid_t clock_base(int clock)
{
	if (clock == CLOCK_REALTIME_ALARM)
		return CLOCK_REALTIME;
	return clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME : clock;
}

/* With the lock: moves what has expired by `now` into ticks. */
static void timerfd_advance(struct timerfd *t, int64_t now)
{
	int64_t n;

	if (t->deadline == TIME_NEVER || now < t->deadline)
		return;
	if (!t->interval) {
		t->ticks++;
		t->deadline = TIME_NEVER;
		return;
	}
	n = (now - t->deadline) / t->interval + 1;
	t->ticks += (uint64_t)n;
	if (__builtin_mul_overflow(n, t->interval, &n))
		n = TIME_NEVER;
	t->deadline = deadline_after(t->deadline, n);
}

static void timerfd_fire(struct timer *timer)
{
	struct timerfd *t = container_of(timer, struct timerfd, timer);
	bool ready;

	mutex_lock(&t->lock, L_FILE);
	timerfd_advance(t, clock_now(CLOCK_MONOTONIC));
	ready = t->ticks > 0;
	mutex_unlock(&t->lock, L_FILE);
	if (ready)
		wake_up(&t->wq, POLLIN);
}

/* With the lock, after ticks was taken or changed. */
static int timerfd_rearm(struct timerfd *t)
{
	if (t->deadline == TIME_NEVER) {
		timer_disarm(&t->timer);
		return 0;
	}
	return timer_arm(&t->timer, t->deadline);
}

static ssize_t timerfd_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	struct timerfd *t = f->priv;
	uint64_t ticks = 0;
	int err = 0;

	if (iobuf_left(b) < sizeof(ticks))
		return -EINVAL;
	mutex_lock(&t->lock, L_FILE);
	timerfd_advance(t, clock_now(CLOCK_MONOTONIC));
	while (!err && t->ticks == 0)
		err = f->flags & O_NONBLOCK ? -EAGAIN : wait_on(c, &t->wq, &t->lock, L_FILE);
	if (!err) {
		timerfd_advance(t, clock_now(CLOCK_MONOTONIC));
		ticks = t->ticks;
		t->ticks = 0;
		err = timerfd_rearm(t);
	}
	mutex_unlock(&t->lock, L_FILE);
	if (err)
		return err;
	return iobuf_put(b, &ticks, sizeof(ticks)) == sizeof(ticks) ? (ssize_t)sizeof(ticks) : -EFAULT;
}

static uint32_t timerfd_poll(struct file *f, struct poll_table *p)
{
	struct timerfd *t = f->priv;
	bool ready;

	poll_wait(p, &t->wq);
	mutex_lock(&t->lock, L_FILE);
	ready = t->ticks > 0;
	mutex_unlock(&t->lock, L_FILE);
	return ready ? POLLIN : 0;
}

static long timerfd_ioctl(struct ctx *c, struct file *f, uint32_t cmd, uint64_t arg)
{
	struct timerfd *t = f->priv;
	uint64_t ticks;

	if (cmd != TFD_IOC_SET_TICKS)
		return -ENOTTY;
	if (copy_in(c, &ticks, UADDR(arg), sizeof(ticks)))
		return -EFAULT;
	if (!ticks)
		return -EINVAL;
	mutex_lock(&t->lock, L_FILE);
	t->ticks = ticks;
	mutex_unlock(&t->lock, L_FILE);
	wake_up(&t->wq, POLLIN);
	return 0;
}

static void timerfd_release(struct file *f)
{
	struct timerfd *t = f->priv;

	timer_cancel(&t->timer);
	slab_free(&timerfd_slab, t);
}

/* With the lock: what is left. A timer whose period has passed unread is looked at as of now. */
static void timerfd_left(struct timerfd *t, struct itimerspec *ret)
{
	int64_t now = clock_now(CLOCK_MONOTONIC);

	timerfd_advance(t, now);
	ret->it_value = ns_to_timespec(t->deadline == TIME_NEVER ? 0 : MAX(t->deadline - now, 1));
	ret->it_interval = ns_to_timespec(t->interval);
}

static void timerfd_show_fdinfo(struct file *f, char *buf, size_t size)
{
	struct timerfd *t = f->priv;
	struct itimerspec left;

	mutex_lock(&t->lock, L_FILE);
	timerfd_left(t, &left);
	snprintf(buf, size,
		 "clockid: %d\nticks: %llu\nsettime flags: 0%o\nit_value: (%llu, %llu)\nit_interval: (%llu, %llu)\n",
		 t->clock, (unsigned long long)t->ticks, (unsigned)t->set_flags,
		 (unsigned long long)left.it_value.tv_sec, (unsigned long long)left.it_value.tv_nsec,
		 (unsigned long long)left.it_interval.tv_sec, (unsigned long long)left.it_interval.tv_nsec);
	mutex_unlock(&t->lock, L_FILE);
}

static const struct file_ops timerfd_ops = {
    .read = timerfd_read,
    .poll = timerfd_poll,
    .ioctl = timerfd_ioctl,
    .release = timerfd_release,
    .show_fdinfo = timerfd_show_fdinfo,
};

static bool clock_known(int clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME || clock_is_alarm(clock);
}

int timerfd_create_file(struct ctx *c, int clock, int flags, struct file **ret)
{
	struct timerfd *t;
	int err;

	if (flags & ~(TFD_NONBLOCK | TFD_CLOEXEC) || !clock_known(clock))
		return -EINVAL;
	if (clock_is_alarm(clock) && !cred_capable(c->cred, CAP_WAKE_ALARM))
		return -EPERM;
	t = slab_alloc(&timerfd_slab);
	if (!t)
		return -ENOMEM;
	mutex_init(&t->lock);
	wait_queue_init(&t->wq);
	timer_init(&t->timer, timerfd_fire);
	t->clock = clock;
	t->deadline = TIME_NEVER;
	err = anon_file_create(c, "[timerfd]", 0, &timerfd_ops, t, O_RDWR | (flags & O_NONBLOCK), ret);
	if (err)
		slab_free(&timerfd_slab, t);
	return err;
}

/* The CLOCK_MONOTONIC time of the first expiry. */
static int64_t first_deadline(const struct timerfd *t, int flags, int64_t value)
{
	int64_t now = clock_now(CLOCK_MONOTONIC);

	if (!(flags & TFD_TIMER_ABSTIME))
		return deadline_after(now, value);
	if (t->clock == CLOCK_MONOTONIC || value == TIME_NEVER)
		return value;
	return deadline_after(value, now - clock_now(clock_base(t->clock)));
}

int timerfd_set(struct file *f, int flags, const struct itimerspec *value, struct itimerspec *ret_old)
{
	struct timerfd *t = f->priv;
	int64_t first = timespec_to_ns(&value->it_value);
	int err;

	if (f->ops != &timerfd_ops)
		return -EINVAL;
	if (flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) || !timespec_valid(&value->it_value) ||
	    !timespec_valid(&value->it_interval))
		return -EINVAL;
	mutex_lock(&t->lock, L_FILE);
	timerfd_left(t, ret_old);
	t->ticks = 0;
	t->set_flags = flags;
	t->interval = first ? timespec_to_ns(&value->it_interval) : 0;
	t->deadline = first ? first_deadline(t, flags, first) : TIME_NEVER;
	err = timerfd_rearm(t);
	mutex_unlock(&t->lock, L_FILE);
	return err;
}

int timerfd_get(struct file *f, struct itimerspec *ret)
{
	struct timerfd *t = f->priv;
	int err;

	if (f->ops != &timerfd_ops)
		return -EINVAL;
	mutex_lock(&t->lock, L_FILE);
	timerfd_left(t, ret);
	err = timerfd_rearm(t);
	mutex_unlock(&t->lock, L_FILE);
	return err;
}
