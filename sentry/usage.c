/*
 * Resource use: what getrusage(2), wait4(2) and times(2) report. CPU time is the platform's, per cpu; a task that was
 * given another cpu by exec keeps what the earlier ones used. A group's use is that of its live tasks plus that of
 * its dead ones. The other counts are not known to the sentry, but for the largest resident size.
 */
#include "sentry/task.h"
#include "sentry/task_impl.h"

void usage_add(struct usage *to, const struct usage *from)
{
	to->utime += from->utime;
	to->stime += from->stime;
	to->minflt += from->minflt;
	to->majflt += from->majflt;
	to->inblock += from->inblock;
	to->oublock += from->oublock;
	to->nvcsw += from->nvcsw;
	to->nivcsw += from->nivcsw;
	to->maxrss_kb = MAX(to->maxrss_kb, from->maxrss_kb);
}

/* The cpu is kept alive by the caller. */
static void usage_add_cpu(struct usage *to, struct cpu *cpu)
{
	struct usage u = {0};
	uint64_t rss;

	if (platform->cpu_time(cpu, &u.utime, &u.stime))
		return;
	if (platform->aspace_rss(cpu, &rss) == 0)
		u.maxrss_kb = rss / 1024;
	usage_add(to, &u);
}

void task_usage(struct task *t, struct usage *ret)
{
	*ret = t->past;
	mutex_lock(&t->tg->lock, L_TASK);
	if (t->cpu)
		usage_add_cpu(ret, t->cpu);
	mutex_unlock(&t->tg->lock, L_TASK);
}

/* The tasks' list is held still by L_PIDTREE, their cpus by L_TASK. */
void tg_usage(struct thread_group *tg, struct usage *ret)
{
	struct task *t;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	mutex_lock(&tg->lock, L_TASK);
	*ret = tg->dead_usage;
	list_for_each(t, &tg->tasks, tg_link) {
		usage_add(ret, &t->past);
		if (t->cpu)
			usage_add_cpu(ret, t->cpu);
	}
	mutex_unlock(&tg->lock, L_TASK);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
}
