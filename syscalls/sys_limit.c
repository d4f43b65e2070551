/* Limits and use of resources: prlimit(2), getrusage(2), times(2). */
#include <linux/capability.h>

#include "sentry/base/cred.h"
#include "sentry/pid.h"
#include "sentry/system.h"
#include "syscalls/abi.h"
#include "syscalls/syscalls.h"

#define NR_OPEN (1ull << 20) /* /proc/sys/fs/nr_open */
#define TICKS 100            /* per second, times(2) */

/* Files' code looks at copies, which each task has. */
static void spread_limits(struct thread_group *tg) REQUIRES(L_PIDTREE)
{
	struct task *t;

	list_for_each(t, &tg->tasks, tg_link) {
		t->ctx.rlimit_fsize = tg->rlimit[RLIMIT_FSIZE].rlim_cur;
		t->ctx.rlimit_nofile = tg->rlimit[RLIMIT_NOFILE].rlim_cur;
	}
}

static int check_limit(struct task *t, int resource, const struct rlimit64 *new, const struct rlimit64 *old)
{
	if (new->rlim_cur > new->rlim_max)
		return -EINVAL;
	if (resource == RLIMIT_NOFILE && new->rlim_max > NR_OPEN)
		return -EPERM;
	if (new->rlim_max > old->rlim_max && !task_capable(t, CAP_SYS_RESOURCE))
		return -EPERM;
	return 0;
}

static int exchange_limit(struct task *t, struct thread_group *tg, int resource, const struct rlimit64 *new,
			  struct rlimit64 *old)
{
	int err = 0;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	mutex_lock(&tg->lock, L_TASK);
	*old = tg->rlimit[resource];
	if (new)
		err = check_limit(t, resource, new, old);
	if (new && !err)
		tg->rlimit[resource] = *new;
	mutex_unlock(&tg->lock, L_TASK);
	if (new && !err)
		spread_limits(tg);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	if (new && !err && resource == RLIMIT_CPU)
		timers_rlimit_cpu(tg);
	return err;
}

/* Somebody else's limits: of the same user in every respect, or with CAP_SYS_RESOURCE. */
static int may_limit(struct task *t, struct task *target)
{
	const struct cred *me = t->ctx.cred;
	const struct cred *c = task_get_cred(target);
	bool same;

	if (!c)
		return -ESRCH;
	same = me->uid == c->euid && me->uid == c->suid && me->uid == c->uid && me->gid == c->egid &&
	       me->gid == c->sgid && me->gid == c->gid;
	cred_put(c);
	return same || cred_capable(me, CAP_SYS_RESOURCE) ? 0 : -EPERM;
}

sysret_t sys_prlimit64(struct task *t, int32_t pid, int resource, uaddr_t new, uaddr_t old)
{
	struct rlimit64 n, o;
	struct task *target;
	int err = 0;

	if ((unsigned)resource >= RLIM_NLIMITS)
		return -EINVAL;
	if (new.v && copy_in(&t->ctx, &n, new, sizeof(n)))
		return -EFAULT;
	target = pid ? task_find(pid) : task_get(t);
	if (!target)
		return -ESRCH;
	if (target->tg != t->tg)
		err = may_limit(t, target);
	if (!err)
		err = exchange_limit(t, target->tg, resource, new.v ? &n : NULL, &o);
	task_put(target);
	if (!err && old.v)
		err = copy_out(&t->ctx, old, &o, sizeof(o));
	return err;
}

sysret_t sys_getrlimit(struct task *t, int resource, uaddr_t rlim)
{
	struct rlimit64 o;

	if ((unsigned)resource >= RLIM_NLIMITS)
		return -EINVAL;
	exchange_limit(t, t->tg, resource, NULL, &o);
	return copy_out(&t->ctx, rlim, &o, sizeof(o));
}

sysret_t sys_setrlimit(struct task *t, int resource, uaddr_t rlim)
{
	struct rlimit64 n, o;

	if (copy_in(&t->ctx, &n, rlim, sizeof(n)))
		return -EFAULT;
	if ((unsigned)resource >= RLIM_NLIMITS)
		return -EINVAL;
	return exchange_limit(t, t->tg, resource, &n, &o);
}

static struct usage children_usage(struct thread_group *tg)
{
	struct usage u;

	mutex_lock(&tg->lock, L_TASK);
	u = tg->child_usage;
	mutex_unlock(&tg->lock, L_TASK);
	return u;
}

sysret_t sys_getrusage(struct task *t, int who, uaddr_t usage)
{
	struct rusage ru;
	struct usage u;

	switch (who) {
	case RUSAGE_SELF:
		tg_usage(t->tg, &u);
		break;
	case RUSAGE_CHILDREN:
		u = children_usage(t->tg);
		break;
	case RUSAGE_THREAD:
		task_usage(t, &u);
		break;
	default:
		return -EINVAL;
	}
	if (who != RUSAGE_CHILDREN)
		u.maxrss_kb = task_peak_rss(t);
	rusage_from_usage(&ru, &u);
	return copy_out(&t->ctx, usage, &ru, sizeof(ru));
}

static int64_t ticks(uint64_t ns)
{
	return (int64_t)(ns / (NSEC_PER_SEC / TICKS));
}

sysret_t sys_times(struct task *t, uaddr_t buf)
{
	if (buf.v) {
		struct usage self, children = children_usage(t->tg);
		int64_t v[4];

		tg_usage(t->tg, &self);
		v[0] = ticks(self.utime);
		v[1] = ticks(self.stime);
		v[2] = ticks(children.utime);
		v[3] = ticks(children.stime);
		if (copy_out(&t->ctx, buf, v, sizeof(v)))
			return -EFAULT;
	}
	return ticks((uint64_t)(clock_now(CLOCK_MONOTONIC) - machine.boot_monotonic));
}
