/*
 * Job control: group stops, SIGCONT, what a parent hears of them, orphaned process groups. POSIX 2.4.3, 3.264; wait(2).
 *
 * A stop begins when a task takes a stop signal: every task of the group is marked (stop_pending, counted in tg->stop_count) and woken, and parks when it comes by
 * signal_work(). The last one completes the stop (tg->stopped), and only then the parent is told. SIGCONT ends a stop at whatever point it is, by the
 * sender: it leaves CLD_* in tg->cld_pending, because a sender may not be allowed to take L_PIDTREE, and the first task that gets by tells the parent.
 * A task in a sleep that only a kill ends (vfork) parks afterwards, as natively.
 *
 * pid 1 has a parent outside, the launcher. Whatever runs in the launcher's place is taken for a job-control shell, so that Ctrl-Z stops the whole
 * sandbox; signal_init_hook tells the front end.
 */
#include <string.h>

#include "sentry/base/cred.h"
#include "sentry/sigimpl.h"
#include "sentry/task.h"

void (*signal_init_hook)(int code, int signo);
void (*session_leader_exit)(struct task *t);

void jobctl_stop_begin(struct task *t, int signo)
{
	struct thread_group *tg = t->tg;
	struct task *other;

	if (tg->stop_count == 0)
		tg->stop_signal = signo;
	list_for_each(other, &tg->tasks, tg_link) {
		if (other->stop_pending || other->stop_waiting || other->exiting != TASK_RUNS)
			continue;
		other->stop_pending = true;
		tg->stop_count++;
		if (other != t)
			signal_wake(other);
	}
}

/* One that had to park does not any more. CLD_STOPPED if it was the last. */
static int stop_count_down(struct task *t)
{
	struct thread_group *tg = t->tg;

	if (!t->stop_pending)
		return 0;
	t->stop_pending = false;
	if (--tg->stop_count)
		return 0;
	tg->stopped = true;
	tg->stop_reported = false;
	tg->continued_reportable = false;
	return CLD_STOPPED;
}

int jobctl_leave(struct task *t)
{
	int code = stop_count_down(t);

	if (code && !t->tg->group_exit)
		t->tg->cld_pending = code;
	return code;
}

void jobctl_report(struct thread_group *tg) NO_TSA
{
	int code = tg->cld_pending;
	int status = code == CLD_CONTINUED ? SIGCONT : tg->stop_signal;

	tg->cld_pending = 0;
	if (!code)
		return;
	mutex_unlock(&tg->sighand->lock, L_SIGHAND);
	mutex_lock(&pidtree_lock, L_PIDTREE);
	signal_notify_parent(tg, code, status);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	mutex_lock(&tg->sighand->lock, L_SIGHAND);
}

static bool is_held(const struct thread_group *tg)
{
	return (tg->stopped || tg->stop_count) && !tg->group_exit;
}

void jobctl_park(struct task *t) NO_TSA
{
	struct thread_group *tg = t->tg;
	int err;

	t->stop_waiting = true;
	jobctl_leave(t);
	jobctl_report(tg);
	while (is_held(tg) && !t->stop_pending) {
		mutex_unlock(&tg->sighand->lock, L_SIGHAND);
		err = park_killable(&t->ctx, TIME_NEVER);
		mutex_lock(&tg->sighand->lock, L_SIGHAND);
		if (err)
			break;
	}
	t->stop_waiting = false;
}

void jobctl_continue(struct thread_group *tg)
{
	int code = tg->stopped ? CLD_CONTINUED : tg->stop_count ? CLD_STOPPED : 0;
	struct task *t;

	tg->cont_count++;
	if (!code)
		return;
	tg->cld_pending = code;
	tg->continued_reportable = true;
	tg->stopped = false;
	tg->stop_count = 0;
	list_for_each(t, &tg->tasks, tg_link) {
		t->stop_pending = false;
		signal_wake(t);
	}
}

static struct session *init_session(const struct thread_group *tg)
{
	return !tg->parent && tg->pgrp->id == tg->pid ? tg->pgrp->session : NULL;
}

/* Somebody in another process group of the session looks after tg. */
static bool has_keeper(const struct thread_group *tg, const struct pgrp *pg)
{
	if (!tg->parent)
		return init_session(tg) == pg->session;
	return tg->parent->pgrp != pg && tg->parent->pgrp->session == pg->session;
}

bool pgrp_orphaned(struct pgrp *pg, const struct thread_group *ignored)
{
	struct thread_group *tg;

	list_for_each(tg, &pg->members, pgrp_link)
		if (tg != ignored && !tg->zombie && has_keeper(tg, pg))
			return false;
	return true;
}

static bool has_stopped(struct pgrp *pg)
{
	struct thread_group *tg;

	list_for_each(tg, &pg->members, pgrp_link)
		if (__atomic_load_n(&tg->stopped, __ATOMIC_RELAXED))
			return true;
	return false;
}

static void kill_if_orphaned(struct pgrp *pg, const struct thread_group *ignored) REQUIRES(L_PIDTREE)
{
	if (!pgrp_orphaned(pg, ignored) || !has_stopped(pg))
		return;
	signal_send_pgrp(pg, SIGHUP, NULL);
	signal_send_pgrp(pg, SIGCONT, NULL);
}

/* Own group (its keeper was our parent), and those of our children (their keeper were we), as Linux's kill_orphaned_pgrp(). */
void signal_exit_orphans(struct thread_group *tg)
{
	struct thread_group *child;

	if (tg->parent && tg->parent->pgrp != tg->pgrp && tg->parent->pgrp->session == tg->pgrp->session)
		kill_if_orphaned(tg->pgrp, tg);
	list_for_each(child, &tg->children, sibling)
		if (child->pgrp != tg->pgrp && child->pgrp->session == tg->pgrp->session)
			kill_if_orphaned(child->pgrp, tg);
}

static void info_child(siginfo_t *info, const struct thread_group *tg, int code, int status)
{
	const struct cred *cred = tg->leader ? task_get_cred(tg->leader) : NULL;

	memset(info, 0, sizeof(*info));
	info->si_code = code;
	info->si_pid = tg->pid;
	info->si_uid = cred ? cred->uid : 0;
	info->si_status = status;
	info->si_utime = (clock_t)(tg->dead_usage.utime / 10000000);
	info->si_stime = (clock_t)(tg->dead_usage.stime / 10000000);
	cred_put(cred);
}

struct child_policy {
	bool ignored, no_stops, no_wait;
};

static struct child_policy parent_policy(struct thread_group *parent)
{
	struct sighand *s = sighand_lock_tg(parent);
	const struct k_sigaction *sa = &s->action[SIGCHLD - 1];
	struct child_policy p = {
	    .ignored = sa->handler == K_SIG_IGN,
	    .no_stops = sa->flags & SA_NOCLDSTOP,
	    .no_wait = sa->flags & SA_NOCLDWAIT,
	};

	sighand_unlock(s);
	return p;
}

bool signal_notify_parent(struct thread_group *tg, int code, int status)
{
	bool stop = code == CLD_STOPPED || code == CLD_CONTINUED;
	int signo = stop ? SIGCHLD : tg->exit_signal;
	struct child_policy p;
	siginfo_t info;

	if (!tg->parent) {
		if (stop && signal_init_hook)
			signal_init_hook(code, status);
		return false;
	}
	p = parent_policy(tg->parent);
	info_child(&info, tg, code, status);
	info.si_signo = signo;
	if (signo && !(signo == SIGCHLD && (p.ignored || (stop && p.no_stops))))
		signal_send_group(tg->parent, signo, &info);
	wake_up_all(&tg->parent->child_wait, 0);
	return !stop && signo == SIGCHLD && (p.ignored || p.no_wait);
}
