/*
 * Collecting children: wait4(2), waitid(2).
 *
 * The tree is looked through under pidtree_lock, by any thread of the parent, and slept on with child_wait, which is
 * woken whenever a child ends, stops or continues. Whoever sees a zombie first takes it: it is gone from the table
 * before the lock is dropped. Resource use of a child, and of what the child has waited for, moves to the parent at
 * that moment.
 *
 * Children made with an exit signal other than SIGCHLD are "clones" and found only with __WCLONE or __WALL.
 */
#include "sentry/wait.h"

#include <sched.h>
#include <sys/wait.h>

#include "sentry/base/cred.h"
#include "sentry/task_impl.h"

static bool wait_matches(const struct task *t, const struct wait_request *req, const struct thread_group *child)
{
	bool clone = child->exit_signal != SIGCHLD;

	if (req->which == P_PID && child->pid != req->id)
		return false;
	if (req->which == P_PGID && (!child->pgrp || child->pgrp->id != req->id))
		return false;
	if ((req->options & __WNOTHREAD) && child->parent_tid != t->ctx.tid)
		return false;
	return (req->options & __WALL) || clone == !!(req->options & __WCLONE);
}

static void wait_identify(struct thread_group *child, struct wait_result *ret)
{
	ret->pid = child->pid;
	ret->uid = child->leader->ctx.cred->uid;
	mutex_lock(&child->lock, L_TASK);
	ret->usage = child->dead_usage;
	usage_add(&ret->usage, &child->child_usage);
	mutex_unlock(&child->lock, L_TASK);
}

static bool wait_zombie(struct task *t, struct thread_group *child, int options, struct wait_result *ret)
    REQUIRES(L_PIDTREE)
{
	int status = child->exit_code;

	if (!child->zombie || !(options & WEXITED))
		return false;
	wait_identify(child, ret);
	ret->wstatus = status;
	ret->code = WIFEXITED(status) ? CLD_EXITED : WCOREDUMP(status) ? CLD_DUMPED : CLD_KILLED;
	ret->status = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
	if (options & WNOWAIT)
		return true;
	mutex_lock(&t->tg->lock, L_TASK);
	usage_add(&t->tg->child_usage, &ret->usage);
	mutex_unlock(&t->tg->lock, L_TASK);
	tg_release(child);
	return true;
}

static bool wait_stopped(struct thread_group *child, int options, struct wait_result *ret) REQUIRES(L_PIDTREE)
{
	struct sighand *s = sighand_lock_tg(child);
	bool found = true;

	if ((options & WSTOPPED) && child->stopped && !child->stop_reported && !child->group_exit) {
		ret->code = CLD_STOPPED;
		ret->status = child->stop_signal;
		ret->wstatus = child->stop_signal << 8 | 0x7f;
		if (!(options & WNOWAIT))
			child->stop_reported = true;
	} else if ((options & WCONTINUED) && child->continued_reportable && !child->group_exit) {
		ret->code = CLD_CONTINUED;
		ret->status = SIGCONT;
		ret->wstatus = 0xffff;
		if (!(options & WNOWAIT))
			child->continued_reportable = false;
	} else {
		found = false;
	}
	sighand_unlock(s);
	if (found)
		wait_identify(child, ret);
	return found;
}

/* The pid of a child that is ready, 0 if none is yet, -ECHILD if none ever will be. */
static sysret_t wait_scan(struct task *t, const struct wait_request *req, struct wait_result *ret) REQUIRES(L_PIDTREE)
{
	struct thread_group *child, *next;
	sysret_t none = -ECHILD;

	list_for_each_safe(child, next, &t->tg->children, sibling) {
		if (!wait_matches(t, req, child))
			continue;
		none = 0;
		if (wait_zombie(t, child, req->options, ret))
			return ret->pid;
		if (!child->zombie && (req->options & (WSTOPPED | WCONTINUED)) &&
		    wait_stopped(child, req->options, ret))
			return ret->pid;
	}
	return none;
}

sysret_t task_wait(struct task *t, const struct wait_request *req, struct wait_result *ret)
{
	sysret_t r;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	while ((r = wait_scan(t, req, ret)) == 0 && !(req->options & WNOHANG)) {
		r = wait_on(&t->ctx, &t->tg->child_wait, &pidtree_lock, L_PIDTREE);
		if (r)
			break;
	}
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return r;
}
