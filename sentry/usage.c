/*
 * Resource use: what getrusage(2), wait4(2) and times(2) report.
 *
 * CPU time of a process is the platform's account of its address space, which forgets no dead thread. `earlier` is what must be added to it: the
 * time of the address spaces before an exec, less what the current one had used before the group came to it (vfork). It is kept modulo 2^64.
 * When a thread ends, the sum is noted in dead_usage, which is the group's final account when the last one has ended.
 *
 * A single thread's time is known in total only; it is split like its process's. The other counts are not known to the sentry, but
 * for the resident size, which is looked at when somebody asks and at the end.
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

/* cpu is one of tg's, kept alive by the caller. */
static void note_time(struct thread_group *tg, struct cpu *cpu, struct usage *u) REQUIRES(L_TASK)
{
	uint64_t user, sys;

	if (platform->aspace_time(cpu, &user, &sys))
		return;
	u->utime = tg->earlier_utime + user;
	u->stime = tg->earlier_stime + sys;
}

static void note_rss(struct cpu *cpu, struct usage *u)
{
	uint64_t rss, anon;

	if (platform->aspace_rss(cpu, &rss, &anon) == 0)
		u->maxrss_kb = MAX(u->maxrss_kb, rss / 1024);
}

/* A cpu of tg's that lives, or NULL: the tasks' list is held still by L_PIDTREE, their cpus by L_TASK. */
static struct cpu *any_cpu(struct thread_group *tg) REQUIRES(L_PIDTREE) REQUIRES(L_TASK)
{
	struct task *t;

	list_for_each(t, &tg->tasks, tg_link)
		if (t->cpu)
			return t->cpu;
	return NULL;
}

uint64_t task_peak_rss(struct task *t)
{
	uint64_t kb;

	mutex_lock(&t->tg->lock, L_TASK);
	if (t->cpu)
		note_rss(t->cpu, &t->tg->dead_usage);
	kb = t->tg->dead_usage.maxrss_kb;
	mutex_unlock(&t->tg->lock, L_TASK);
	return kb;
}

void tg_usage_locked(struct thread_group *tg, struct usage *ret)
{
	struct cpu *cpu;

	mutex_lock(&tg->lock, L_TASK);
	*ret = tg->dead_usage;
	if ((cpu = any_cpu(tg)))
		note_time(tg, cpu, ret);
	mutex_unlock(&tg->lock, L_TASK);
}

void tg_usage(struct thread_group *tg, struct usage *ret)
{
	mutex_lock(&pidtree_lock, L_PIDTREE);
	tg_usage_locked(tg, ret);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
}

int tg_rss(struct thread_group *tg, uint64_t *ret_bytes, uint64_t *ret_anon)
{
	struct cpu *cpu;
	int err = -ESRCH;

	mutex_lock(&tg->lock, L_TASK);
	if ((cpu = any_cpu(tg)))
		err = platform->aspace_rss(cpu, ret_bytes, ret_anon);
	mutex_unlock(&tg->lock, L_TASK);
	return err;
}

/* Splits a thread's time like its process's. */
static void split_time(struct usage *u, uint64_t total, uint64_t user, uint64_t sys)
{
	u->utime = user + sys ? (uint64_t)((unsigned __int128)total * user / (user + sys)) : total;
	u->stime = total - u->utime;
}

void task_usage(struct task *t, struct usage *ret)
{
	uint64_t total, user, sys;
	bool known = false;

	*ret = (struct usage){0};
	mutex_lock(&t->tg->lock, L_TASK);
	if (t->cpu && platform->aspace_time(t->cpu, &user, &sys) == 0) {
		known = platform->cpu_time(t->cpu, &total) == 0;
		if (known)
			split_time(ret, t->earlier_time + total, user, sys);
		else if (t->tg->task_count == 1)
			note_time(t->tg, t->cpu, ret);
	}
	mutex_unlock(&t->tg->lock, L_TASK);
}

void usage_exit(struct task *t)
{
	struct thread_group *tg = t->tg;

	mutex_lock(&tg->lock, L_TASK);
	note_time(tg, t->cpu, &tg->dead_usage);
	note_rss(t->cpu, &tg->dead_usage);
	mutex_unlock(&tg->lock, L_TASK);
}

void usage_exec(struct task *t)
{
	struct thread_group *tg = t->tg;
	uint64_t user, sys, total;

	mutex_lock(&tg->lock, L_TASK);
	if (platform->aspace_time(t->cpu, &user, &sys) == 0) {
		tg->earlier_utime += user;
		tg->earlier_stime += sys;
	}
	/* The only thread that there has been: its time is the group's, and to ask for it would cost as much as a fifth of an exec. */
	if (!tg->threaded)
		t->earlier_time = tg->earlier_utime + tg->earlier_stime;
	else if (platform->cpu_time(t->cpu, &total) == 0)
		t->earlier_time += total;
	note_rss(t->cpu, &tg->dead_usage);
	mutex_unlock(&tg->lock, L_TASK);
}

void usage_share(struct task *child)
{
	uint64_t user, sys;

	if (platform->aspace_time(child->cpu, &user, &sys))
		return;
	child->tg->earlier_utime = -user;
	child->tg->earlier_stime = -sys;
}

int task_rss(struct task *t, uint64_t *ret_bytes)
{
	uint64_t anon;
	int err = -ESRCH;

	mutex_lock(&t->tg->lock, L_TASK);
	if (t->cpu)
		err = platform->aspace_rss(t->cpu, ret_bytes, &anon);
	mutex_unlock(&t->tg->lock, L_TASK);
	return err;
}

int task_account(struct task *t, const char *name)
{
	int fd = -ESRCH;

	aspaces_settle();
	mutex_lock(&t->tg->lock, L_TASK);
	if (t->cpu)
		fd = platform->aspace_account ? platform->aspace_account(t->cpu, name) : -EOPNOTSUPP;
	mutex_unlock(&t->tg->lock, L_TASK);
	return fd;
}
