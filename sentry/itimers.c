/*
 * alarm(2) and setitimer(2). ITIMER_REAL is a timer of the sentry that arms itself again; ITIMER_VIRTUAL and ITIMER_PROF count CPU time and are
 * looked at by cputimers.c. An interval below 50 us is kept in the account but signals no more often than that: the signals
 * would coalesce anyway.
 */
#include <string.h>
#include <sys/time.h>

#include "sentry/base/slab.h"
#include "sentry/timers_impl.h"

#define REAL_PERIOD_MIN (50 * NSEC_PER_USEC)

static struct slab itimer_slab = SLAB_INIT(struct itimer);

void itimer_signal(struct thread_group *tg, int signo)
{
	signal_send_group(tg, signo, NULL);
}

static void arm_real(struct itimer *it, int64_t not_before) REQUIRES(L_TASK)
{
	if (it->real_at && timer_arm(&it->real, MAX(it->real_at, not_before)))
		it->real_at = 0;
}

/* On the timer thread. */
static void real_fire(struct timer *timer)
{
	struct itimer *it = container_of(timer, struct itimer, real);
	int64_t now = clock_now(CLOCK_MONOTONIC);
	bool due;

	mutex_lock(&it->tg->lock, L_TASK);
	due = it->real_at && it->real_at <= now;
	if (due && it->real_interval)
		timer_forward(&it->real_at, it->real_interval, now);
	else if (due)
		it->real_at = 0;
	arm_real(it, now + REAL_PERIOD_MIN);
	mutex_unlock(&it->tg->lock, L_TASK);
	if (due)
		itimer_signal(it->tg, SIGALRM);
}

static struct itimer *itimer_create(struct thread_group *tg)
{
	struct itimer *it = timers_start() ? NULL : slab_alloc(&itimer_slab);

	if (!it)
		return NULL;
	it->tg = tg;
	timer_init(&it->real, real_fire);
	cputimers_init(it);
	return it;
}

struct itimer *itimers_of(struct thread_group *tg)
{
	struct itimer *it = __atomic_load_n(&tg->itimers, __ATOMIC_ACQUIRE);
	struct itimer *other = NULL;

	if (it)
		return it;
	it = itimer_create(tg);
	if (it && !__atomic_compare_exchange_n(&tg->itimers, &other, it, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		slab_free(&itimer_slab, it);
		it = other;
	}
	return it;
}

/* Linux never says 0 of a timer that is armed. */
static void real_left(const struct itimer *it, int64_t now, struct timer_value *ret) REQUIRES(L_TASK)
{
	ret->interval = it->real_interval;
	ret->value = !it->real_at ? 0 : MAX(it->real_at - now, NSEC_PER_USEC);
}

static void real_set(struct itimer *it, const struct timer_value *value, struct timer_value *ret_old)
{
	int64_t now = clock_now(CLOCK_MONOTONIC);

	mutex_lock(&it->tg->lock, L_TASK);
	real_left(it, now, ret_old);
	timer_disarm(&it->real);
	it->real_at = value->value ? deadline_after(now, value->value) : 0;
	it->real_interval = value->value ? value->interval : 0;
	arm_real(it, 0);
	mutex_unlock(&it->tg->lock, L_TASK);
}

static void cpu_left(const struct cpu_timer *c, int64_t now, struct timer_value *ret) REQUIRES(L_TASK)
{
	ret->interval = c->interval;
	ret->value = !c->at ? 0 : MAX(c->at - now, NSEC_PER_USEC);
}

/* value NULL: only asks. */
static int cpu_itimer(struct task *t, struct itimer *it, int which, const struct timer_value *value,
		      struct timer_value *ret_old)
{
	struct cpu_timer *c = &it->cpu[which == ITIMER_VIRTUAL ? CPU_ITIMER_VIRTUAL : CPU_ITIMER_PROF];
	clockid_t clock = cpuclock_make(t->ctx.tgid, which == ITIMER_VIRTUAL ? CPUCLOCK_VIRT : CPUCLOCK_PROF);
	int64_t now;
	int err = clock_cpu_read(clock, &now);

	if (err)
		return err;
	mutex_lock(&it->tg->lock, L_TASK);
	cpu_left(c, now, ret_old);
	if (value)
		*c = (struct cpu_timer){
		    .clock = clock,
		    .at = value->value ? deadline_after(now, value->value) : 0,
		    .interval = value->value ? value->interval : 0,
		};
	mutex_unlock(&it->tg->lock, L_TASK);
	if (value && value->value)
		cputimers_kick(it);
	return 0;
}

int itimer_get(struct task *t, int which, struct timer_value *ret)
{
	struct itimer *it = t->tg->itimers;

	*ret = (struct timer_value){0};
	if (!it)
		return 0;
	if (which != ITIMER_REAL)
		return cpu_itimer(t, it, which, NULL, ret);
	mutex_lock(&t->tg->lock, L_TASK);
	real_left(it, clock_now(CLOCK_MONOTONIC), ret);
	mutex_unlock(&t->tg->lock, L_TASK);
	return 0;
}

int itimer_set(struct task *t, int which, const struct timer_value *value, struct timer_value *ret_old)
{
	struct itimer *it = t->tg->itimers;

	*ret_old = (struct timer_value){0};
	if (!it && !value->value)
		return 0;
	it = itimers_of(t->tg);
	if (!it)
		return -ENOMEM;
	if (which != ITIMER_REAL)
		return cpu_itimer(t, it, which, value, ret_old);
	real_set(it, value, ret_old);
	return 0;
}

void timers_exit(struct thread_group *tg)
{
	struct itimer *it = tg->itimers;

	timers_exec(tg);
	if (!it)
		return;
	mutex_lock(&tg->lock, L_TASK);
	it->real_at = it->xcpu_at = 0;
	memset(it->cpu, 0, sizeof(it->cpu));
	mutex_unlock(&tg->lock, L_TASK);
	timer_cancel(&it->real);
	timer_cancel(&it->watch);
	tg->itimers = NULL;
	slab_free(&itimer_slab, it);
}
