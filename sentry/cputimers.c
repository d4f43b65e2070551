/*
 * Timers of CPU time: ITIMER_VIRTUAL, ITIMER_PROF, POSIX timers on CPU clocks, and RLIMIT_CPU.
 *
 * One timer for each group (`watch`) samples the clocks that something is armed on. It signals what is due, finds out what is left of the others, and comes back when the
 * first of them can be due at the earliest: see clock_cpu_step(). It stops when nothing is armed. The precision is that of the
 * samples, about a millisecond; Linux's is its tick, one to four.
 *
 * What is due is noted under L_TASK and signalled after it; clocks are read before it, because that takes locks that come earlier.
 */
#include <string.h>

#include "sentry/base/slab.h"
#include "sentry/timers_impl.h"

/* POSIX timers that one look handles; the others are handled by the next, a millisecond later. */
#define LOOK_MAX 16

struct look {
	int64_t prof, virt;                   /* the group's clocks now */
	struct posix_timer *timers[LOOK_MAX]; /* references */
	int64_t now[LOOK_MAX];                /* their clocks */
	bool gone[LOOK_MAX];                  /* the clock's task has ended */
	bool notify[LOOK_MAX];                /* due, its signal not pending yet */
	size_t count;
	bool more;
	int64_t left; /* the least; TIME_NEVER: nothing is armed */
	bool itimer_due[CPU_ITIMER_COUNT];
	int xcpu; /* SIGXCPU, SIGKILL or 0 */
};

static void look_at_group(struct thread_group *tg, struct look *l)
{
	struct usage u;

	tg_usage(tg, &u);
	l->virt = (int64_t)u.utime;
	l->prof = (int64_t)(u.utime + u.stime);
}

/* References to the armed timers of CPU clocks. */
static void collect_timers(struct thread_group *tg, struct look *l)
{
	struct posix_timer *p;

	mutex_lock(&tg->lock, L_TASK);
	list_for_each(p, &tg->posix_timers, link) {
		if (!p->is_cpu || !p->at || p->notify == SIGEV_NONE)
			continue;
		l->more = l->count == LOOK_MAX;
		if (l->more)
			break;
		ref_get(&p->ref);
		l->timers[l->count++] = p;
	}
	mutex_unlock(&tg->lock, L_TASK);
	for (size_t i = 0; i < l->count; i++)
		l->gone[i] = clock_cpu_read(l->timers[i]->clock, &l->now[i]) != 0;
}

/* An armed timer at `*at`: true if it is due, then it is moved or disarmed. Else what is left counts. */
static bool check_due(int64_t *at, int64_t interval, int64_t now, struct look *l)
{
	bool due;

	if (!*at)
		return false;
	due = *at <= now;
	if (due && interval)
		timer_forward(at, interval, now);
	else if (due)
		*at = 0;
	if (*at)
		l->left = MIN(l->left, *at - now);
	return due;
}

static void check_posix(struct look *l, size_t i) REQUIRES(L_TASK)
{
	struct posix_timer *p = l->timers[i];

	if (l->gone[i]) {
		p->at = 0;
		return;
	}
	if (!check_due(&p->at, p->interval, l->now[i], l))
		return;
	if (p->pending)
		p->missed++;
	else
		l->notify[i] = p->pending = true;
}

/* The soft limit signals once a second, the hard one kills. */
static void check_limit(struct itimer *it, struct look *l) REQUIRES(L_TASK)
{
	const struct rlimit64 *limit = &it->tg->rlimit[RLIMIT_CPU];

	if (!it->xcpu_at)
		return;
	if (limit->rlim_max != RLIM64_INFINITY && (uint64_t)(l->prof / NSEC_PER_SEC) >= limit->rlim_max) {
		l->xcpu = SIGKILL;
		it->xcpu_at = 0;
	} else if (check_due(&it->xcpu_at, NSEC_PER_SEC, l->prof, l)) {
		l->xcpu = SIGXCPU;
	}
}

static void check_all(struct itimer *it, struct look *l) REQUIRES(L_TASK)
{
	struct cpu_timer *c = it->cpu;

	l->left = TIME_NEVER;
	l->itimer_due[CPU_ITIMER_VIRTUAL] =
	    check_due(&c[CPU_ITIMER_VIRTUAL].at, c[CPU_ITIMER_VIRTUAL].interval, l->virt, l);
	l->itimer_due[CPU_ITIMER_PROF] = check_due(&c[CPU_ITIMER_PROF].at, c[CPU_ITIMER_PROF].interval, l->prof, l);
	for (size_t i = 0; i < l->count; i++)
		check_posix(l, i);
	check_limit(it, l);
	if (l->more)
		l->left = 0;
}

static void signal_due(struct thread_group *tg, struct look *l)
{
	if (l->itimer_due[CPU_ITIMER_VIRTUAL])
		itimer_signal(tg, SIGVTALRM);
	if (l->itimer_due[CPU_ITIMER_PROF])
		itimer_signal(tg, SIGPROF);
	if (l->xcpu)
		itimer_signal(tg, l->xcpu);
	for (size_t i = 0; i < l->count; i++) {
		if (l->notify[i])
			posix_timer_notify(l->timers[i]);
		posix_timer_put(l->timers[i]);
	}
}

static void watch_again(struct itimer *it, struct look *l) REQUIRES(L_TASK)
{
	int64_t now = clock_now(CLOCK_MONOTONIC);

	it->idle = l->prof == it->last_sum ? it->idle + 1 : 0;
	it->last_sum = l->prof;
	it->watching = l->left != TIME_NEVER &&
		       !timer_arm(&it->watch, now + clock_cpu_step(l->left, it->tg->task_count, it->idle));
}

/* On the timer thread. */
static void watch_fire(struct timer *timer)
{
	struct itimer *it = container_of(timer, struct itimer, watch);
	struct look l = {0};

	look_at_group(it->tg, &l);
	collect_timers(it->tg, &l);
	mutex_lock(&it->tg->lock, L_TASK);
	check_all(it, &l);
	watch_again(it, &l);
	mutex_unlock(&it->tg->lock, L_TASK);
	signal_due(it->tg, &l);
}

void cputimers_init(struct itimer *it)
{
	timer_init(&it->watch, watch_fire);
	it->last_sum = -1;
}

void cputimers_kick(struct itimer *it)
{
	mutex_lock(&it->tg->lock, L_TASK);
	it->watching = !timer_arm(&it->watch, clock_now(CLOCK_MONOTONIC));
	mutex_unlock(&it->tg->lock, L_TASK);
}

void timers_rlimit_cpu(struct thread_group *tg)
{
	struct itimer *it = tg->itimers;
	uint64_t soft;

	mutex_lock(&tg->lock, L_TASK);
	soft = tg->rlimit[RLIMIT_CPU].rlim_cur;
	mutex_unlock(&tg->lock, L_TASK);
	if (!it && soft == RLIM64_INFINITY)
		return;
	it = itimers_of(tg);
	if (!it)
		return;
	mutex_lock(&tg->lock, L_TASK);
	it->xcpu_at = soft == RLIM64_INFINITY ? 0 : (int64_t)(MIN(MAX(soft, 1), (uint64_t)INT32_MAX) * NSEC_PER_SEC);
	mutex_unlock(&tg->lock, L_TASK);
	if (it->xcpu_at)
		cputimers_kick(it);
}
