/*
 * The end of tasks: exit(2), exit_group(2), fatal signals; robust futexes and clear_child_tid; what becomes of
 * children, process groups and terminals; zombies. wait.c collects them.
 *
 * A task leaves in its own upcall, in this order: it is no longer a target of signals, its parent's vfork is
 * released, futexes that it held are given up, files and memory are dropped, and then, under pidtree_lock, it
 * disappears from its group. The last task of a group turns the group into a zombie, hands its children to the
 * nearest subreaper or init, and tells the parent. A leader that dies before its threads stays in the pid table,
 * dead, because the process bears its id.
 *
 * Only the pages outlive that: the cpu is given back as the very last thing, so that a waiting parent does not wait for
 * the host's tear-down. What others could find mapped has gone before (mm_exit()); who counts pages waits (aspaces_settle()).
 *
 * When init ends the sandbox ends: everybody else is killed.
 */
#include <string.h>
#include <sys/wait.h>

#include "fs/fdtable.h"
#include "fs/fs_struct.h"
#include "net/netstack.h"
#include "sentry/base/cred.h"
#include "sentry/futex.h"
#include "sentry/ipc.h"
#include "sentry/mm.h"
#include "sentry/robust.h"
#include "sentry/task_impl.h"

static pthread_cond_t init_ended = PTHREAD_COND_INITIALIZER;
static pthread_cond_t all_ended = PTHREAD_COND_INITIALIZER;
static bool init_dead;  /* L_PIDTREE */
static int init_status; /* L_PIDTREE */

/* mm_release() of Linux: futexes, the tid word that a joining thread waits for, and a parent in vfork. */
void task_release_memory(struct task *t)
{
	int32_t zero = 0;

	robust_list_exit(t);
	futex_exit_pi(t);
	if (t->mm->users > 1 && t->clear_child_tid.v &&
	    platform->cpu_write(t->cpu, t->clear_child_tid.v, &zero, sizeof(zero)) == sizeof(zero))
		futex_wake_addr(t, t->clear_child_tid.v);
	vfork_release(t);
}

static void exit_resources(struct task *t)
{
	struct fdtable *fdt = t->ctx.fdt;
	struct fs_struct *fs = t->ctx.fs;
	struct netns *net = t->ctx.net;

	mutex_lock(&t->tg->lock, L_TASK);
	t->ctx.net = NULL;
	t->ctx.fdt = NULL;
	t->ctx.fs = NULL;
	mutex_unlock(&t->tg->lock, L_TASK);
	fdtable_put(fdt);
	fs_struct_put(fs);
	netns_put(net);
}

/* Who takes the children of a dying group: the nearest living ancestor that asked for it, else init. */
static struct thread_group *find_reaper(struct thread_group *tg) REQUIRES(L_PIDTREE)
{
	struct thread_group *p = tg->parent;

	while (p->parent && !(tg->has_subreaper && p->is_subreaper && p->task_count))
		p = p->parent;
	return p;
}

static void send_pdeath_signal(struct thread_group *child) REQUIRES(L_PIDTREE)
{
	struct task *t;

	list_for_each(t, &child->tasks, tg_link)
		if (t->pdeath_signal)
			signal_send_group(child, t->pdeath_signal, NULL);
}

/* The parent as the child's stubs tell it without asking. */
static void refresh_ppid(struct thread_group *child) REQUIRES(L_PIDTREE)
{
	struct task *t;

	mutex_lock(&child->lock, L_TASK);
	list_for_each(t, &child->tasks, tg_link)
		if (t->cpu)
			task_update_fast_locked(t);
	mutex_unlock(&child->lock, L_TASK);
}

/* The last task of a process has left: its children go to the reaper. */
static void hand_over_children(struct thread_group *tg, struct thread_group *reaper) REQUIRES(L_PIDTREE)
{
	struct thread_group *child, *next;

	list_for_each(child, &tg->children, sibling) {
		send_pdeath_signal(child);
		child->parent = reaper;
		child->parent_tid = reaper->pid;
		child->exit_signal = SIGCHLD;
		refresh_ppid(child);
	}
	signal_exit_orphans(tg);
	list_for_each_safe(child, next, &tg->children, sibling) {
		list_remove(&child->sibling);
		list_append(&reaper->children, &child->sibling);
		if (child->zombie && tg_notify_dead(child))
			tg_release(child);
	}
}

/* A thread dies and others of its process live on: children that it made are another thread's now. */
static void pass_children(struct task *t) REQUIRES(L_PIDTREE)
{
	struct task *other = list_first(&t->tg->tasks, struct task, tg_link);
	struct thread_group *child;

	list_for_each(child, &t->tg->children, sibling) {
		if (child->parent_tid != t->ctx.tid)
			continue;
		send_pdeath_signal(child);
		child->parent_tid = other->ctx.tid;
	}
}

bool tg_notify_dead(struct thread_group *tg)
{
	int status = tg->exit_code;

	if (!tg->parent)
		return false;
	if (WIFEXITED(status))
		return signal_notify_parent(tg, CLD_EXITED, WEXITSTATUS(status));
	return signal_notify_parent(tg, WCOREDUMP(status) ? CLD_DUMPED : CLD_KILLED, WTERMSIG(status));
}

static bool kill_one(struct thread_group *tg, void *arg)
{
	if (tg != arg && !tg->zombie)
		tg_kill(tg, SIGKILL);
	return true;
}

static void exit_init(struct thread_group *tg) REQUIRES(L_PIDTREE)
{
	init_dead = true;
	init_status = tg->exit_code;
	tg_for_each(kill_one, tg);
	pthread_cond_broadcast(&init_ended);
}

/* The last task has left. */
static void exit_group_locked(struct task *t) REQUIRES(L_PIDTREE)
{
	struct thread_group *tg = t->tg;

	if (!tg->group_exit)
		tg->exit_code = t->exit_code; /* the last one's, as Linux has it since 5.17 */
	tg->zombie = true;
	if (!tg->parent) {
		exit_init(tg);
		return;
	}
	hand_over_children(tg, find_reaper(tg));
	if (tg_notify_dead(tg))
		tg_release(tg);
}

/* Its id may be used again. A zombie still counts against RLIMIT_NPROC. */
static void unhash(struct task *t) REQUIRES(L_PIDTREE)
{
	uid_count_add(t->ctx.cred->uid, -1);
	pid_unhash(t);
}

/* t is seen no more; *ret_released: the table's reference is the caller's to put. */
static bool exit_unpublish(struct task *t) REQUIRES(L_PIDTREE)
{
	struct thread_group *tg = t->tg;
	struct sighand *s = sighand_lock_tg(tg);
	struct task *waiting = tg->exec_task;

	list_remove(&t->tg_link);
	sighand_unlock(s);
	t->dead = true;
	t->state = 'Z';
	tg->task_count--;
	task_total--;
	if (waiting && tg->task_count == 1)
		unpark(&waiting->ctx.parker);
	if (task_total == 0)
		pthread_cond_broadcast(&all_ended);
	if (t == tg->leader)
		return false;
	unhash(t);
	return true;
}

static void exit_publish(struct task *t)
{
	struct thread_group *tg = tg_get(t->tg);
	bool unhashed;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	unhashed = exit_unpublish(t);
	if (tg->task_count)
		pass_children(t);
	else
		exit_group_locked(t);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	wake_up_all(&tg->exit_wait, 0);
	if (unhashed)
		task_put(t);
	tg_put(tg);
}

void tg_release(struct thread_group *tg)
{
	struct task *leader = tg->leader;

	list_remove(&tg->sibling);
	tg_set_pgrp(tg, NULL);
	tg->parent = NULL;
	tg->leader = NULL;
	unhash(leader);
	task_put(leader);
}

/* What only the last task of a process does, before it is a zombie. */
static void exit_last(struct task *t)
{
	struct thread_group *tg = t->tg;

	usage_exit(t);
	timers_exit(tg);
	if (session_leader_exit && tg->pgrp && tg->pgrp->session->id == tg->pid)
		session_leader_exit(t);
}

void task_exit(struct task *t)
{
	struct thread_group *tg = t->tg;

	if (t->exiting == TASK_EXITS_GROUP)
		tg_kill(tg, t->exit_code);
	else if (tg->group_exit)
		t->exit_code = tg->exit_code;
	signal_exit_task(t);
	task_release_memory(t);
	if (__atomic_sub_fetch((unsigned *)&tg->live, 1, __ATOMIC_ACQ_REL) == 0)
		exit_last(t);
	task_set_ipc(t, NULL);
	exit_resources(t);
	task_set_mm(t, NULL);
	aspace_end_begin();
	exit_publish(t);
	task_put_cpu(t, NULL);
	aspace_end_over();
	task_put(t);
}

/* Marks the group as being replaced by t and tells all others to leave. -EINTR: somebody else was faster. */
static int replace_begin(struct task *t)
{
	struct thread_group *tg = t->tg;
	struct sighand *s = sighand_lock_tg(tg);
	struct task *other;
	int err = tg->group_exit || tg->exec_task ? -EINTR : 0;

	if (!err) {
		tg->exec_task = t;
		list_for_each(other, &tg->tasks, tg_link)
			if (other != t)
				task_interrupt(other, CTX_KILL);
	}
	sighand_unlock(s);
	return err;
}

static void replace_end(struct task *t)
{
	struct sighand *s = sighand_lock_tg(t->tg);

	t->tg->exec_task = NULL;
	sighand_unlock(s);
}

/* Until t is alone. Only a kill of the whole group ends it early. */
static int wait_alone(struct task *t)
{
	int err = 0;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	while (t->tg->task_count > 1 && !err) {
		mutex_unlock(&pidtree_lock, L_PIDTREE);
		err = park_killable(&t->ctx, TIME_NEVER);
		mutex_lock(&pidtree_lock, L_PIDTREE);
	}
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return err ? -EINTR : 0;
}

/* The dead leader's id, and its place in the table, become t's; so does the table's reference to t. */
static void take_leader_id(struct task *t)
{
	struct thread_group *tg = t->tg;
	struct thread_group *child;
	struct task *old;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	old = tg->leader;
	if (old != t) {
		list_for_each(child, &tg->children, sibling)
			if (child->parent_tid == t->ctx.tid)
				child->parent_tid = tg->pid;
		unhash(old);
		pid_unhash(t);
		t->ctx.tid = tg->pid;
		tg->leader = t;
		pid_hash(t);
	}
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	if (old != t) {
		task_put(old);
		task_put(t);
	}
}

int task_become_leader(struct task *t)
{
	int err = replace_begin(t);

	if (err)
		return err;
	err = wait_alone(t);
	if (!err)
		take_leader_id(t);
	replace_end(t);
	return err;
}

int task_wait_init(void)
{
	struct timespec limit;
	int status;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	while (!init_dead)
		pthread_cond_wait(&init_ended, &pidtree_lock.m);
	status = init_status;
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 1;
	while (task_total && pthread_cond_timedwait(&all_ended, &pidtree_lock.m, &limit) == 0)
		;
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return status;
}
