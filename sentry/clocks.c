/*
 * Clocks: see clocks.h.
 *
 * Clocks that run by themselves are the host's. Those of CPU time are the platform's account of the guest's threads (sentry/usage.c): the sentry's own
 * work for a guest is not in it.
 *
 * Waiting for CPU time is sampling: time that is `left` away cannot have passed earlier than left / threads from now, so that is when to look
 * again. A process that sleeps is looked at ever more seldom, down to ten times a second.
 */
#include "sentry/clocks.h"

#include "sentry/system.h"
#include "sentry/task.h"

#define STEP_MIN (1 * NSEC_PER_MSEC)
#define STEP_IDLE_MAX (100 * NSEC_PER_MSEC)

bool clock_is_cpu(clockid_t id)
{
	return id < 0 || id == CLOCK_PROCESS_CPUTIME_ID || id == CLOCK_THREAD_CPUTIME_ID;
}

/* Another process's clock may be read by its process id, another thread's only within the process. */
static bool may_read(struct task *t, const struct task *target, bool thread)
{
	return thread ? target->tg == t->tg : target->ctx.tid == target->ctx.tgid || target == t;
}

int clock_cpu_normalize(struct task *t, clockid_t id, clockid_t *ret)
{
	bool thread = id & CPUCLOCK_PERTHREAD;
	int kind = id & CPUCLOCK_KIND_MASK;
	int32_t pid = CPUCLOCK_ID(id);
	struct task *target;
	bool allowed;

	if (id == CLOCK_PROCESS_CPUTIME_ID || id == CLOCK_THREAD_CPUTIME_ID) {
		thread = id == CLOCK_THREAD_CPUTIME_ID;
		kind = CPUCLOCK_SCHED;
		pid = 0;
	}
	if (kind > CPUCLOCK_SCHED)
		return -EINVAL;
	if (pid == 0) {
		pid = thread ? t->ctx.tid : t->ctx.tgid;
	} else {
		target = task_find(pid);
		allowed = target && may_read(t, target, thread);
		if (allowed && !thread)
			pid = target->ctx.tgid;
		task_put(target);
		if (!allowed)
			return -EINVAL;
	}
	*ret = cpuclock_make(pid, kind | (thread ? CPUCLOCK_PERTHREAD : 0));
	return 0;
}

int clock_cpu_read(clockid_t normalized, int64_t *ret)
{
	int32_t pid = CPUCLOCK_ID(normalized);
	struct usage u;

	if (normalized & CPUCLOCK_PERTHREAD) {
		struct task *target = task_find(pid);

		if (!target)
			return -EINVAL;
		task_usage(target, &u);
		task_put(target);
	} else {
		struct thread_group *tg = tg_find(pid);

		if (!tg)
			return -EINVAL;
		tg_usage(tg, &u);
		tg_put(tg);
	}
	*ret = (int64_t)((normalized & CPUCLOCK_KIND_MASK) == CPUCLOCK_VIRT ? u.utime : u.utime + u.stime);
	return 0;
}

int clock_read(struct task *t, clockid_t id, int64_t *ret)
{
	struct timespec ts;
	clockid_t cpu;
	int err;

	if (clock_is_cpu(id)) {
		err = clock_cpu_normalize(t, id, &cpu);
		return err ? err : clock_cpu_read(cpu, ret);
	}
	if (id > CLOCK_TAI || clock_gettime(id, &ts))
		return -EINVAL;
	*ret = timespec_to_ns(&ts);
	return 0;
}

int clock_resolution(struct task *t, clockid_t id, int64_t *ret)
{
	struct timespec ts;
	clockid_t cpu;
	int err;

	if (clock_is_cpu(id)) {
		err = clock_cpu_normalize(t, id, &cpu);
		if (err)
			return err;
		/* The host's clock of the same kind, of ourselves. */
		id = cpuclock_make(0, id < 0 ? id & CPUCLOCK_KIND_MASK : CPUCLOCK_SCHED);
	}
	if (id > CLOCK_TAI || clock_getres(id, &ts))
		return -EINVAL;
	*ret = timespec_to_ns(&ts);
	return 0;
}

int64_t clock_to_monotonic(clockid_t id, int64_t at)
{
	int64_t now, mono;

	if (id == CLOCK_MONOTONIC || at == TIME_NEVER)
		return at;
	now = clock_now(id);
	mono = clock_now(CLOCK_MONOTONIC);
	return now >= at ? mono - 1 : deadline_after(mono, at - now);
}

int clock_sleep_until(struct task *t, clockid_t id, int64_t at)
{
	int err = 0;

	/* Unparked for nothing, or a clock that was set back. */
	while (clock_now(id) < at && err != -ERESTARTSYS)
		err = park(&t->ctx, clock_to_monotonic(id, at));
	return err == -ERESTARTSYS ? err : 0;
}

int64_t clock_cpu_step(int64_t left, unsigned threads, unsigned idle)
{
	unsigned parallel = MAX(MIN(threads, machine.cpus), 1);
	int64_t step = MAX(left / parallel, STEP_MIN);

	if (idle)
		step = MAX(step, MIN(STEP_MIN << MIN(idle, 7), STEP_IDLE_MAX));
	return step;
}

int clock_cpu_sleep_until(struct task *t, clockid_t normalized, int64_t at)
{
	int64_t now = 0, last = -1;
	unsigned idle = 0;
	int err;

	for (;;) {
		if ((err = clock_cpu_read(normalized, &now)))
			return err;
		if (now >= at)
			return 0;
		idle = now == last ? idle + 1 : 0;
		last = now;
		err = park(&t->ctx,
			   deadline_after(clock_now(CLOCK_MONOTONIC), clock_cpu_step(at - now, machine.cpus, idle)));
		if (err == -ERESTARTSYS)
			return err;
	}
}
