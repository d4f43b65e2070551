/*
 * Scheduling: sched_setaffinity(2), sched_setscheduler(2), setpriority(2), ioprio_set(2).
 *
 * Affinity is real: it is passed on to the host's thread. Processors are numbered from 0 in the sandbox and stand for
 * those that the host lets us use, in order. Policies and nice values of ordinary scheduling are kept and told, but
 * the host schedules a sandbox as one user's processes: real-time policies, which would be a promise, are EPERM as in
 * a container without CAP_SYS_NICE.
 */
#include <linux/capability.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#include "sentry/base/cred.h"
#include "sentry/pid.h"
#include "sentry/system.h"
#include "syscalls/syscalls.h"

#define WORD_BITS 64
#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif
#define RESET_ON_FORK 0x40000000

sysret_t sys_sched_yield(struct task *t __unused)
{
	sched_yield();
	return 0;
}

/* A task by id (0: the caller); a reference or NULL. */
static struct task *target_of(struct task *t, int32_t pid)
{
	return pid ? task_find(pid) : task_get(t);
}

/* Linux's check_same_owner() or CAP_SYS_NICE. */
static bool may_schedule(struct task *t, struct task *target)
{
	const struct cred *me = t->ctx.cred;
	const struct cred *c = task_get_cred(target);
	bool ok = c && (me->euid == c->euid || me->euid == c->uid || cred_capable(me, CAP_SYS_NICE));

	cred_put(c);
	return ok;
}

static size_t mask_bytes(void)
{
	return (machine.cpus + WORD_BITS - 1) / WORD_BITS * sizeof(uint64_t);
}

sysret_t sys_sched_setaffinity(struct task *t, int32_t pid, unsigned size, uaddr_t mask)
{
	uint64_t m[TASK_AFFINITY_WORDS] = {0};
	struct task *target;
	int err;

	if (copy_in(&t->ctx, m, mask, MIN((size_t)size, sizeof(m))))
		return -EFAULT;
	target = target_of(t, pid);
	if (!target)
		return -ESRCH;
	err = may_schedule(t, target) ? task_set_affinity(target, m) : -EPERM;
	task_put(target);
	return err;
}

sysret_t sys_sched_getaffinity(struct task *t, int32_t pid, unsigned size, uaddr_t mask)
{
	size_t n = MIN((size_t)size, mask_bytes());
	uint64_t m[TASK_AFFINITY_WORDS] = {0};
	struct task *target;

	if ((size_t)size * 8 < machine.cpus || size & (sizeof(uint64_t) - 1))
		return -EINVAL;
	target = target_of(t, pid);
	if (!target)
		return -ESRCH;
	for (unsigned i = 0; i < MIN(machine.cpus, TASK_AFFINITY_WORDS * WORD_BITS); i++)
		m[i / WORD_BITS] |= 1ull << (i % WORD_BITS);
	for (size_t i = 0; target->has_affinity && i < TASK_AFFINITY_WORDS; i++)
		m[i] &= target->affinity[i];
	task_put(target);
	return copy_out(&t->ctx, mask, m, n) ? -EFAULT : (sysret_t)n;
}

static bool is_realtime(int policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR || policy == SCHED_DEADLINE;
}

/* What Linux's __sched_setscheduler() refuses; policy without RESET_ON_FORK. */
static int check_policy(struct task *t, struct task *target, int policy, int priority)
{
	if (policy < 0 || policy > SCHED_DEADLINE || policy == 4)
		return -EINVAL;
	if (is_realtime(policy) ? policy != SCHED_DEADLINE && (priority < 1 || priority > 99) : priority != 0)
		return -EINVAL;
	return is_realtime(policy) || !may_schedule(t, target) ? -EPERM : 0;
}

static sysret_t set_policy(struct task *t, int32_t pid, int policy, int priority, bool reset)
{
	struct task *target;
	int err;

	if (pid < 0)
		return -EINVAL;
	target = target_of(t, pid);
	if (!target)
		return -ESRCH;
	err = check_policy(t, target, policy < 0 ? target->sched_policy : policy, priority);
	if (!err && policy >= 0) {
		target->sched_policy = policy;
		target->sched_reset_on_fork = reset;
	}
	task_put(target);
	return err;
}

sysret_t sys_sched_setscheduler(struct task *t, int32_t pid, int policy, uaddr_t param)
{
	int priority;

	if (policy < 0 || !param.v)
		return -EINVAL;
	if (copy_in(&t->ctx, &priority, param, sizeof(priority)))
		return -EFAULT;
	return set_policy(t, pid, policy & ~RESET_ON_FORK, priority, policy & RESET_ON_FORK);
}

sysret_t sys_sched_setparam(struct task *t, int32_t pid, uaddr_t param)
{
	int priority;

	if (!param.v)
		return -EINVAL;
	if (copy_in(&t->ctx, &priority, param, sizeof(priority)))
		return -EFAULT;
	return set_policy(t, pid, -1, priority, false);
}

sysret_t sys_sched_getscheduler(struct task *t, int32_t pid)
{
	struct task *target = pid < 0 ? NULL : target_of(t, pid);
	int policy;

	if (!target)
		return pid < 0 ? -EINVAL : -ESRCH;
	policy = target->sched_policy | (target->sched_reset_on_fork ? RESET_ON_FORK : 0);
	task_put(target);
	return policy;
}

sysret_t sys_sched_getparam(struct task *t, int32_t pid, uaddr_t param)
{
	struct task *target;
	int priority;

	if (!param.v || pid < 0)
		return -EINVAL;
	target = target_of(t, pid);
	if (!target)
		return -ESRCH;
	priority = target->sched_priority;
	task_put(target);
	return copy_out(&t->ctx, param, &priority, sizeof(priority));
}

static sysret_t policy_limit(int policy, int realtime)
{
	switch (policy) {
	case SCHED_FIFO:
	case SCHED_RR:
		return realtime;
	case SCHED_OTHER:
	case SCHED_BATCH:
	case SCHED_IDLE:
	case SCHED_DEADLINE:
		return 0;
	}
	return -EINVAL;
}

sysret_t sys_sched_get_priority_max(struct task *t __unused, int policy)
{
	return policy_limit(policy, 99);
}

sysret_t sys_sched_get_priority_min(struct task *t __unused, int policy)
{
	return policy_limit(policy, 1);
}

sysret_t sys_sched_rr_get_interval(struct task *t, int32_t pid, uaddr_t interval)
{
	struct timespec ts = {.tv_nsec = 3 * NSEC_PER_MSEC}; /* the base slice of ordinary tasks */
	struct task *target;

	if (pid < 0)
		return -EINVAL;
	target = target_of(t, pid);
	if (!target)
		return -ESRCH;
	task_put(target);
	return copy_out(&t->ctx, interval, &ts, sizeof(ts));
}

struct k_sched_attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
};
_Static_assert(sizeof(struct k_sched_attr) == 56, "ABI");

#define ATTR_MIN 48
#define ATTR_RESET_ON_FORK 1u

/* Lower values are better and must be paid for. */
static bool may_renice(struct task *t, struct task *target, int nice)
{
	uint64_t limit = task_rlimit(target, RLIMIT_NICE);

	return nice >= target->nice || task_capable(t, CAP_SYS_NICE) || (uint64_t)(20 - nice) <= limit;
}

static int set_attr(struct task *t, int32_t pid, const struct k_sched_attr *a)
{
	bool ordinary = a->policy == SCHED_OTHER || a->policy == SCHED_BATCH;
	struct task *target = target_of(t, pid);
	int err;

	if (!target)
		return -ESRCH;
	err = check_policy(t, target, (int)a->policy, (int)a->priority);
	if (!err && ordinary && !may_renice(t, target, MAX(a->nice, -20)))
		err = -EPERM;
	if (!err) {
		target->sched_policy = (int)a->policy;
		target->sched_reset_on_fork = a->flags & ATTR_RESET_ON_FORK;
		if (ordinary)
			target->nice = MIN(MAX(a->nice, -20), 19);
	}
	task_put(target);
	return err;
}

sysret_t sys_sched_setattr(struct task *t, int32_t pid, uaddr_t attr, unsigned flags)
{
	struct k_sched_attr a;
	uint32_t size;
	int err;

	if (!attr.v || pid < 0 || flags)
		return -EINVAL;
	if (copy_in(&t->ctx, &size, attr, sizeof(size)))
		return -EFAULT;
	size = size ? size : ATTR_MIN;
	if (size < ATTR_MIN || size > PAGE_SIZE)
		return -E2BIG;
	err = copy_in_struct(&t->ctx, &a, sizeof(a), attr, size);
	if (err)
		return err;
	if ((int)a.policy < 0 || a.flags & ~(uint64_t)ATTR_RESET_ON_FORK)
		return -EINVAL;
	return set_attr(t, pid, &a);
}

sysret_t sys_sched_getattr(struct task *t, int32_t pid, uaddr_t attr, unsigned size, unsigned flags)
{
	struct k_sched_attr a = {.size = MIN(size, (unsigned)sizeof(a)), .util_max = 1024};
	struct task *target;

	if (!attr.v || pid < 0 || size > PAGE_SIZE || size < ATTR_MIN || flags)
		return -EINVAL;
	target = target_of(t, pid);
	if (!target)
		return -ESRCH;
	a.policy = (uint32_t)target->sched_policy;
	a.nice = target->nice;
	a.priority = (uint32_t)target->sched_priority;
	if (target->sched_reset_on_fork)
		a.flags = ATTR_RESET_ON_FORK;
	task_put(target);
	return copy_out(&t->ctx, attr, &a, a.size);
}

/* Calls fn for each task that getpriority, setpriority or the ioprio calls name; which: PRIO_*. */
struct each {
	struct task *t;
	int which;
	int32_t who;
	int value;
	int result;
	bool found;
	int (*fn)(struct task *t, struct task *target, struct each *e);
};

static bool each_task(struct task *target, void *arg)
{
	struct each *e = arg;
	int err;

	if (e->which == PRIO_USER && target->ctx.cred->uid != (uint32_t)e->who)
		return true;
	e->found = true;
	err = e->fn(e->t, target, e);
	if (err)
		e->result = err;
	return true;
}

static bool each_group(struct thread_group *tg, void *arg) NO_TSA
{
	task_for_each(tg, each_task, arg);
	return true;
}

static sysret_t for_each_target(struct each *e)
{
	struct thread_group *tg, *next;
	struct task *target;
	struct pgrp *pg;

	if (e->which < PRIO_PROCESS || e->which > PRIO_USER)
		return -EINVAL;
	if (e->which == PRIO_USER && e->who == 0)
		e->who = (int32_t)e->t->ctx.cred->uid;
	mutex_lock(&pidtree_lock, L_PIDTREE);
	if (e->which == PRIO_PROCESS) {
		target = e->who ? task_find_locked(e->who) : e->t;
		if (target)
			each_task(target, e);
	} else if (e->which == PRIO_PGRP) {
		pg = e->who ? pgrp_find_locked(e->who) : e->t->tg->pgrp;
		if (pg)
			list_for_each_safe(tg, next, &pg->members, pgrp_link)
				each_group(tg, e);
	} else {
		tg_for_each(each_group, e);
	}
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return e->found ? e->result : -ESRCH;
}

static int renice(struct task *t, struct task *target, struct each *e)
{
	if (!may_schedule(t, target))
		return -EPERM;
	if (!may_renice(t, target, e->value))
		return -EACCES;
	target->nice = e->value;
	return 0;
}

sysret_t sys_setpriority(struct task *t, int which, int who, int nice)
{
	struct each e = {.t = t, .which = which, .who = who, .value = MIN(MAX(nice, -20), 19), .fn = renice};

	return for_each_target(&e);
}

static int best_nice(struct task *t __unused, struct task *target, struct each *e)
{
	e->value = MIN(e->value, target->nice);
	return 0;
}

sysret_t sys_getpriority(struct task *t, int which, int who)
{
	struct each e = {.t = t, .which = which, .who = who, .value = 20, .fn = best_nice};
	sysret_t r = for_each_target(&e);

	return r ? r : 20 - e.value;
}

static int set_ioprio(struct task *t, struct task *target, struct each *e)
{
	if (!may_schedule(t, target))
		return -EPERM;
	target->ioprio = e->value;
	return 0;
}

sysret_t sys_ioprio_set(struct task *t, int which, int who, int value)
{
	struct each e = {.t = t, .which = (int)((unsigned)which - 1), .who = who, .value = value, .fn = set_ioprio};

	switch (IOPRIO_PRIO_CLASS(value)) {
	case IOPRIO_CLASS_RT:
		if (!task_capable(t, CAP_SYS_ADMIN) && !task_capable(t, CAP_SYS_NICE))
			return -EPERM;
		break;
	case IOPRIO_CLASS_BE:
	case IOPRIO_CLASS_IDLE:
		break;
	case IOPRIO_CLASS_NONE:
		if (value & 0x1fff)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}
	return for_each_target(&e);
}

static int best_ioprio(struct task *t __unused, struct task *target, struct each *e)
{
	int p = target->ioprio ? target->ioprio : (int)IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, (target->nice + 20) / 5);

	if (e->which == 0 || !e->value || p < e->value)
		e->value = e->which == 0 ? target->ioprio : p;
	return 0;
}

sysret_t sys_ioprio_get(struct task *t, int which, int who)
{
	struct each e = {.t = t, .which = (int)((unsigned)which - 1), .who = who, .fn = best_ioprio};
	sysret_t r = for_each_target(&e);

	return r ? r : e.value;
}
