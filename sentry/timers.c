/*
 * POSIX timers: timer_create(2). See timers.h; setitimer(2) is in itimers.c, what counts CPU time in cputimers.c.
 *
 * A periodic timer is not armed again when it fires but when its signal is taken from the queue, as in Linux: what expired in between is
 * counted as overrun then. A process that blocks the signal, or is stopped, causes no wake-ups. A signal that is ignored is never taken; then the timer
 * goes on by itself, at most a hundred times a second.
 *
 * Locks: a timer's state is under its group's lock (L_TASK). It must not be held while a signal is sent (L_SIGHAND comes before
 * it) nor while a callback is waited for; so callbacks look whether the timer still is as they expect: armed, and due. A timer that is deleted is taken off
 * the list, then its callback is waited for, then its reference is dropped.
 */
#include "sentry/timers.h"

#include <limits.h>
#include <linux/capability.h>
#include <string.h>

#include "sentry/base/slab.h"
#include "sentry/timers_impl.h"

#define IGNORED_PERIOD_MIN (10 * NSEC_PER_MSEC)

static struct slab posix_timer_slab = SLAB_INIT(struct posix_timer);

static void posix_timer_fire(struct timer *timer);

static struct posix_timer *posix_timer_get_ref(struct posix_timer *p)
{
	ref_get(&p->ref);
	return p;
}

void posix_timer_put(struct posix_timer *p)
{
	if (!p || !ref_put(&p->ref))
		return;
	task_put(p->target);
	slab_free(&posix_timer_slab, p);
}

/* A reference, or NULL. */
static struct posix_timer *find_timer(struct thread_group *tg, int id)
{
	struct posix_timer *p, *found = NULL;

	mutex_lock(&tg->lock, L_TASK);
	list_for_each(p, &tg->posix_timers, link) {
		if (p->id == id) {
			found = posix_timer_get_ref(p);
			break;
		}
	}
	mutex_unlock(&tg->lock, L_TASK);
	return found;
}

/* The clock whose "now" counts: a sandbox is never suspended, so alarm clocks are the plain ones. */
static clockid_t base_clock(clockid_t id)
{
	if (id == CLOCK_REALTIME_ALARM)
		return CLOCK_REALTIME;
	return id == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME : id;
}

/* 0 if a timer can be made of it; clocks that only can be read: -EOPNOTSUPP. */
static int check_clock(struct task *t, clockid_t id, clockid_t *ret)
{
	*ret = base_clock(id);
	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_MONOTONIC:
	case CLOCK_BOOTTIME:
	case CLOCK_TAI:
		return 0;
	case CLOCK_REALTIME_ALARM:
	case CLOCK_BOOTTIME_ALARM:
		return task_capable(t, CAP_WAKE_ALARM) ? 0 : -EPERM;
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_MONOTONIC_COARSE:
		return -EOPNOTSUPP;
	}
	return clock_is_cpu(id) ? clock_cpu_normalize(t, id, ret) : -EINVAL;
}

/* SIGEV_THREAD is glibc's own affair: to the kernel it is SIGEV_SIGNAL. */
static int check_event(struct task *t, const struct sigevent *ev, struct posix_timer *p)
{
	p->notify = ev->sigev_notify;
	p->signo = ev->sigev_signo;
	p->value = ev->sigev_value;
	switch (ev->sigev_notify) {
	case SIGEV_NONE:
		return 0;
	case SIGEV_SIGNAL | SIGEV_THREAD_ID:
		p->target = task_find(ev->_sigev_un._tid);
		if (!p->target || p->target->tg != t->tg)
			return -EINVAL;
		break;
	case SIGEV_SIGNAL:
	case SIGEV_THREAD:
		break;
	default:
		return -EINVAL;
	}
	return p->signo > 0 && p->signo <= K_NSIG ? 0 : -EINVAL;
}

static int publish_timer(struct task *t, struct posix_timer *p, bool default_value)
{
	uint64_t limit = task_rlimit(t, RLIMIT_SIGPENDING);
	struct itimer *it = itimers_of(t->tg);
	int id;

	if (!it)
		return -EAGAIN;
	mutex_lock(&t->tg->lock, L_TASK);
	if (it->timer_count >= limit) {
		mutex_unlock(&t->tg->lock, L_TASK);
		return -EAGAIN;
	}
	it->timer_count++;
	id = p->id = it->next_id;
	it->next_id = it->next_id == INT_MAX ? 0 : it->next_id + 1;
	if (default_value)
		p->value.sival_int = id;
	list_append(&t->tg->posix_timers, &p->link);
	mutex_unlock(&t->tg->lock, L_TASK);
	return id;
}

int posix_timer_create(struct task *t, clockid_t clock, const struct sigevent *ev)
{
	struct sigevent alarm_event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	struct posix_timer *p;
	clockid_t base;
	int err = check_clock(t, clock, &base);

	if (err)
		return err;
	p = slab_alloc(&posix_timer_slab);
	if (!p)
		return -EAGAIN;
	ref_init(&p->ref);
	p->tg = t->tg;
	p->clock = base;
	p->is_cpu = clock_is_cpu(clock);
	timer_init(&p->timer, posix_timer_fire);
	err = check_event(t, ev ? ev : &alarm_event, p);
	if (!err)
		err = publish_timer(t, p, !ev);
	if (err < 0)
		posix_timer_put(p);
	return err;
}

int64_t timer_forward(int64_t *at, int64_t interval, int64_t now)
{
	int64_t n;

	if (*at > now)
		return 0;
	n = (now - *at) / interval + 1;
	*at = deadline_after(*at, n * interval);
	return n;
}

/* Arms the host-side timer, if the timer is to signal at all. */
static void arm_timer(struct posix_timer *p) REQUIRES(L_TASK)
{
	if (p->notify == SIGEV_NONE || p->is_cpu || !p->at)
		return;
	if (timer_arm(&p->timer, clock_to_monotonic(p->clock, p->at)))
		p->at = 0;
}

static bool is_ignored(struct thread_group *tg, int signo)
{
	struct sighand *s = sighand_lock_tg(tg);
	uint64_t handler = s->action[signo - 1].handler;

	sighand_unlock(s);
	if (handler != 0)
		return handler == 1;
	return signo == SIGCHLD || signo == SIGCONT || signo == SIGURG || signo == SIGWINCH;
}

static void send_signal(struct posix_timer *p)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = p->signo;
	info.si_code = SI_TIMER;
	info.si_timerid = p->id;
	info.si_value = p->value;
	if (p->target)
		signal_send_task(p->target, p->signo, &info);
	else
		signal_send_group(p->tg, p->signo, &info);
}

void posix_timer_notify(struct posix_timer *p)
{
	send_signal(p);
	if (!is_ignored(p->tg, p->signo))
		return;
	mutex_lock(&p->tg->lock, L_TASK);
	p->pending = false;
	if (p->at && p->interval && !p->is_cpu) {
		timer_forward(&p->at, p->interval, clock_now(p->clock));
		if (timer_arm(&p->timer, MAX(clock_to_monotonic(p->clock, p->at),
					     clock_now(CLOCK_MONOTONIC) + IGNORED_PERIOD_MIN)))
			p->at = 0;
	}
	mutex_unlock(&p->tg->lock, L_TASK);
}

/* On the timer thread. */
static void posix_timer_fire(struct timer *timer)
{
	struct posix_timer *p = container_of(timer, struct posix_timer, timer);
	bool due = false;

	mutex_lock(&p->tg->lock, L_TASK);
	if (p->at && !p->pending && !p->deleted) {
		due = p->at <= clock_now(p->clock);
		if (due)
			p->pending = true;
		else
			arm_timer(p); /* the clock was set back, or the timer set anew */
	}
	mutex_unlock(&p->tg->lock, L_TASK);
	if (due)
		posix_timer_notify(p);
}

/* signal_timer_taken: the signal has left the queue. */
static void timer_taken(struct task *t, siginfo_t *info)
{
	struct posix_timer *p = find_timer(t->tg, info->si_timerid);

	if (!p)
		return;
	mutex_lock(&t->tg->lock, L_TASK);
	if (p->pending) {
		p->pending = false;
		p->overrun = p->missed;
		p->missed = 0;
		if (p->is_cpu || !p->at) {
			/* cputimers.c goes on by itself */
		} else if (p->interval) {
			p->overrun = timer_forward(&p->at, p->interval, clock_now(p->clock)) - 1;
			arm_timer(p);
		} else {
			p->at = 0;
		}
		p->overrun = MAX(MIN(p->overrun, INT_MAX), 0);
		info->si_overrun = (int)p->overrun;
	}
	mutex_unlock(&t->tg->lock, L_TASK);
	posix_timer_put(p);
}

__attribute__((constructor)) static void timers_setup(void)
{
	signal_timer_taken = timer_taken;
}

/* What is left at `now`; a periodic one that has expired and was not taken yet counts to its next expiry. */
static void timer_left(const struct posix_timer *p, int64_t now, struct timer_value *ret) REQUIRES(L_TASK)
{
	int64_t at = p->at;

	*ret = (struct timer_value){.interval = p->interval};
	if (!at)
		return;
	if (p->interval && (p->pending || p->notify == SIGEV_NONE))
		timer_forward(&at, p->interval, now);
	if (at > now)
		ret->value = at - now;
	else if (p->notify != SIGEV_NONE && !p->pending)
		ret->value = 1;
}

static int read_timer_clock(const struct posix_timer *p, int64_t *ret)
{
	if (p->is_cpu)
		return clock_cpu_read(p->clock, ret);
	*ret = clock_now(p->clock);
	return 0;
}

int posix_timer_get(struct task *t, int id, struct timer_value *ret)
{
	struct posix_timer *p = find_timer(t->tg, id);
	int64_t now;
	int err;

	if (!p)
		return -EINVAL;
	err = read_timer_clock(p, &now);
	if (!err) {
		mutex_lock(&t->tg->lock, L_TASK);
		timer_left(p, now, ret);
		mutex_unlock(&t->tg->lock, L_TASK);
	}
	posix_timer_put(p);
	return err;
}

int posix_timer_set(struct task *t, int id, bool absolute, const struct timer_value *value, struct timer_value *ret_old)
{
	struct posix_timer *p = find_timer(t->tg, id);
	int64_t now;
	int err;

	if (!p)
		return -EINVAL;
	if ((err = read_timer_clock(p, &now))) {
		posix_timer_put(p);
		return err;
	}
	mutex_lock(&t->tg->lock, L_TASK);
	timer_left(p, now, ret_old);
	timer_disarm(&p->timer);
	p->pending = false;
	p->overrun = p->missed = 0;
	p->interval = value->value ? value->interval : 0;
	p->at = !value->value ? 0 : absolute ? value->value : deadline_after(now, value->value);
	arm_timer(p);
	mutex_unlock(&t->tg->lock, L_TASK);
	if (p->is_cpu && value->value)
		cputimers_kick(itimers_of(t->tg));
	posix_timer_put(p);
	return 0;
}

int posix_timer_overrun(struct task *t, int id)
{
	struct posix_timer *p = find_timer(t->tg, id);
	int64_t overrun;

	if (!p)
		return -EINVAL;
	mutex_lock(&t->tg->lock, L_TASK);
	overrun = p->overrun;
	mutex_unlock(&t->tg->lock, L_TASK);
	posix_timer_put(p);
	return (int)overrun;
}

/* p is off the list: its callback ends, and it does not signal any more. Drops the list's reference. */
static void end_timer(struct posix_timer *p)
{
	timer_cancel(&p->timer);
	posix_timer_put(p);
}

static void unlist_timer(struct posix_timer *p) REQUIRES(L_TASK)
{
	list_remove(&p->link);
	p->deleted = true;
	p->at = 0;
	p->tg->itimers->timer_count--;
}

int posix_timer_delete(struct task *t, int id)
{
	struct posix_timer *p = find_timer(t->tg, id);
	bool mine;

	if (!p)
		return -EINVAL;
	mutex_lock(&t->tg->lock, L_TASK);
	mine = !p->deleted;
	if (mine)
		unlist_timer(p);
	mutex_unlock(&t->tg->lock, L_TASK);
	if (mine)
		end_timer(p);
	posix_timer_put(p);
	return mine ? 0 : -EINVAL;
}

void timers_exec(struct thread_group *tg)
{
	for (;;) {
		struct posix_timer *p;

		mutex_lock(&tg->lock, L_TASK);
		p = list_first(&tg->posix_timers, struct posix_timer, link);
		if (p)
			unlist_timer(p);
		mutex_unlock(&tg->lock, L_TASK);
		if (!p)
			return;
		end_timer(p);
	}
}
