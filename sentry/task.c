/*
 * Tasks and thread groups as objects: making, publishing, finding out about, releasing. clone.c fills them, exit.c
 * empties them.
 *
 * References: the run loop of a live task owns one (given up in task_exit()), the pid table another while the task
 * can be found. A group is kept by its tasks. What a task points to (files, memory, credentials) it releases when it
 * exits; the destructor releases what is left of one that was never started.
 *
 * A task is ended by others only through marks: tg_kill() sets group_exit, wakes and kicks every task; each sees
 * CTX_KILL on its way back to the guest and leaves by itself.
 */
#include "sentry/task.h"

#include <limits.h>
#include <linux/capability.h>

#include "fs/fdtable.h"
#include "fs/fs_struct.h"
#include "net/netstack.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"
#include "sentry/ipc.h"
#include "sentry/mm.h"
#include "sentry/system.h"
#include "sentry/task_impl.h"

bool task_strace;

static struct slab task_slab = SLAB_INIT(struct task);
static struct slab tg_slab = SLAB_INIT(struct thread_group);

struct task *task_alloc(void)
{
	struct task *t = slab_alloc(&task_slab);

	if (!t)
		return NULL;
	ref_init(&t->ref);
	list_init(&t->tg_link);
	list_init(&t->pid_link);
	sigpending_init(&t->pending);
	parker_init(&t->ctx.parker);
	t->ctx.uaccess = &task_uaccess;
	t->ctx.raise = signal_raise;
	t->ctx.comm = t->comm;
	t->syscall_nr = UINT64_MAX;
	t->start_time = clock_now(CLOCK_BOOTTIME);
	t->timer_slack = 50 * NSEC_PER_USEC;
	t->state = 'R';
	return t;
}

struct thread_group *tg_alloc(void)
{
	struct thread_group *tg = slab_alloc(&tg_slab);

	if (!tg)
		return NULL;
	ref_init(&tg->ref);
	mutex_init(&tg->lock);
	list_init(&tg->tasks);
	list_init(&tg->children);
	list_init(&tg->sibling);
	list_init(&tg->pgrp_link);
	list_init(&tg->posix_timers);
	sigpending_init(&tg->pending);
	wait_queue_init(&tg->child_wait);
	wait_queue_init(&tg->exit_wait);
	tg->start_time = clock_now(CLOCK_BOOTTIME);
	return tg;
}

struct task *task_get(struct task *t)
{
	ref_get(&t->ref);
	return t;
}

void task_put(struct task *t)
{
	if (!t || !ref_put(&t->ref))
		return;
	if (t->cpu)
		platform->cpu_put(t->cpu);
	sigpending_flush(&t->pending);
	fdtable_put(t->ctx.fdt);
	fs_struct_put(t->ctx.fs);
	mnt_ns_put(t->ctx.mnt_ns);
	netns_put(t->ctx.net);
	cred_put(t->ctx.cred);
	sem_undo_leave(t);
	ipc_ns_put(t->ipc_ns);
	vfork_put(t->vfork);
	tg_put(t->tg);
	slab_free(&task_slab, t);
}

struct thread_group *tg_get(struct thread_group *tg)
{
	ref_get(&tg->ref);
	return tg;
}

void tg_put(struct thread_group *tg)
{
	if (!tg || !ref_put(&tg->ref))
		return;
	sigpending_flush(&tg->pending);
	sighand_put(tg->sighand);
	slab_free(&tg_slab, tg);
}

/* RLIMIT_NPROC and the sandbox's own limit. */
static int task_count_check(const struct task *t) REQUIRES(L_PIDTREE)
{
	const struct cred *cred = t->ctx.cred;
	uint64_t limit = t->tg->rlimit[RLIMIT_NPROC].rlim_cur;

	if (task_total >= machine.pids_max)
		return -EAGAIN;
	if (cred->uid == 0 || limit == RLIM64_INFINITY || cred_capable(cred, CAP_SYS_RESOURCE) ||
	    cred_capable(cred, CAP_SYS_ADMIN))
		return 0;
	return uid_count(cred->uid) >= limit ? -EAGAIN : 0;
}

int task_check_nproc(struct task *t)
{
	uint64_t limit = task_rlimit(t, RLIMIT_NPROC);
	bool over;

	if (!t->nproc_exceeded)
		return 0;
	mutex_lock(&pidtree_lock, L_PIDTREE);
	over = uid_count(t->ctx.cred->uid) > limit;
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	t->nproc_exceeded = over;
	return over ? -EAGAIN : 0;
}

/* A new group's place in the tree. */
static void tg_publish(struct task *t, struct thread_group *parent, int32_t parent_tid) REQUIRES(L_PIDTREE)
{
	struct thread_group *tg = t->tg;

	tg->pid = t->ctx.tid;
	tg->leader = t;
	if (!parent)
		return;
	tg->parent = parent;
	tg->parent_tid = parent_tid;
	tg->has_subreaper = parent->has_subreaper || parent->is_subreaper;
	list_append(&parent->children, &tg->sibling);
}

int task_publish_locked(struct task *t, struct thread_group *parent, int32_t parent_tid)
{
	struct thread_group *tg = t->tg;
	bool thread = tg->leader != NULL;
	int32_t tid = task_count_check(t);
	struct sighand *s;

	if (tid == 0)
		tid = pid_alloc();
	if (tid < 0)
		return -EAGAIN;
	s = sighand_lock_tg(tg);
	if (tg->group_exit || tg->exec_task) {
		sighand_unlock(s);
		return -EINTR;
	}
	t->ctx.tid = tid;
	if (!thread)
		tg_publish(t, parent, parent_tid);
	t->ctx.tgid = tg->pid;
	list_append(&tg->tasks, &t->tg_link);
	tg->task_count++;
	tg->threaded |= thread;
	tg->live++;
	signal_join_group(t);
	sighand_unlock(s);
	pid_hash(t);
	task_total++;
	uid_count_add(t->ctx.cred->uid, 1);
	machine.forks++;
	return 0;
}

void task_set_mm(struct task *t, struct mm *mm)
{
	struct mm *old = t->mm;

	mutex_lock(&t->tg->lock, L_TASK);
	t->mm = mm;
	mutex_unlock(&t->tg->lock, L_TASK);
	if (old && --old->users == 0)
		mm_exit(old, t->cpu);
	mm_put(old);
}

int task_unshare_files(struct task *t)
{
	struct fdtable *old = t->ctx.fdt;
	struct fdtable *new;

	if (!fdtable_is_shared(old))
		return 0;
	new = fdtable_clone(old, INT_MAX);
	if (!new)
		return -ENOMEM;
	mutex_lock(&t->tg->lock, L_TASK);
	t->ctx.fdt = new;
	mutex_unlock(&t->tg->lock, L_TASK);
	fdtable_put(old);
	return 0;
}

int task_unshare_fs(struct task *t)
{
	struct fs_struct *old = t->ctx.fs;
	struct fs_struct *new = fs_struct_clone(old);

	if (!new)
		return -ENOMEM;
	mutex_lock(&t->tg->lock, L_TASK);
	t->ctx.fs = new;
	mutex_unlock(&t->tg->lock, L_TASK);
	fs_struct_put(old);
	return 0;
}

int task_new_mounts(struct task *t)
{
	PATH_REF root = {NULL, NULL};
	PATH_REF cwd = {NULL, NULL};
	struct mnt_ns *old = t->ctx.mnt_ns, *new;
	int err;

	fs_get_root(&t->ctx, &root);
	fs_get_cwd(&t->ctx, &cwd);
	err = mnt_ns_clone(old, &root, &cwd, &new);
	if (err)
		return err;
	fs_set_root(&t->ctx, &root);
	fs_set_cwd(&t->ctx, &cwd);
	t->ctx.mnt_ns = new;
	mnt_ns_put(old);
	return 0;
}

void task_set_net(struct task *t, struct netns *net)
{
	struct netns *old = t->ctx.net;

	mutex_lock(&t->tg->lock, L_TASK);
	t->ctx.net = net;
	mutex_unlock(&t->tg->lock, L_TASK);
	netns_put(old);
}

void task_discard(struct task *t)
{
	if (t && t->mm)
		task_set_mm(t, NULL);
	task_put(t);
}

void task_start(struct task *t)
{
	task_update_fast(t);
	sigmask_give(t);
	__atomic_store_n((bool *)&t->in_guest, true, __ATOMIC_SEQ_CST);
	if (ctx_interrupts(&t->ctx))
		platform->cpu_kick(t->cpu);
	platform->cpu_start(t->cpu);
}

void task_interrupt(struct task *t, uint32_t why)
{
	ctx_interrupt(&t->ctx, why);
	if (t->cpu && __atomic_load_n((bool *)&t->in_guest, __ATOMIC_SEQ_CST))
		platform->cpu_kick(t->cpu);
}

void tg_kill_locked(struct thread_group *tg, int status)
{
	struct task *t;

	if (!tg->group_exit) {
		tg->group_exit = true;
		tg->exit_code = status;
	}
	list_for_each(t, &tg->tasks, tg_link)
		task_interrupt(t, CTX_KILL);
}

void tg_kill(struct thread_group *tg, int status)
{
	struct sighand *s = sighand_lock_tg(tg);

	tg_kill_locked(tg, status);
	sighand_unlock(s);
}

uint64_t task_rlimit(struct task *t, int resource)
{
	uint64_t v;

	mutex_lock(&t->tg->lock, L_TASK);
	v = t->tg->rlimit[resource].rlim_cur;
	mutex_unlock(&t->tg->lock, L_TASK);
	return v;
}

bool task_capable(struct task *t, int cap)
{
	return cred_capable(t->ctx.cred, cap);
}

void task_update_fast_locked(struct task *t)
{
	const struct cred *cred = t->ctx.cred;
	struct cpu_fast fast = {
	    .enabled = t->strace == NULL,
	    .pid = t->ctx.tgid,
	    .tid = t->ctx.tid,
	    .ppid = t->tg->parent ? t->tg->parent->pid : 0,
	    .uid = cred->uid,
	    .euid = cred->euid,
	    .gid = cred->gid,
	    .egid = cred->egid,
	};

	platform->cpu_set_fast(t->cpu, &fast);
}

void task_update_fast(struct task *t)
{
	mutex_lock(&pidtree_lock, L_PIDTREE);
	task_update_fast_locked(t);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
}

void task_set_cred(struct task *t, const struct cred *cred)
{
	const struct cred *old = t->ctx.cred;
	uint64_t limit = task_rlimit(t, RLIMIT_NPROC);

	if (old->uid != cred->uid) {
		mutex_lock(&pidtree_lock, L_PIDTREE);
		t->nproc_exceeded = cred->uid && uid_count(cred->uid) > limit;
		uid_count_add(old->uid, -1);
		uid_count_add(cred->uid, 1);
		mutex_unlock(&pidtree_lock, L_PIDTREE);
	}
	mutex_lock(&t->tg->lock, L_TASK);
	t->ctx.cred = cred;
	mutex_unlock(&t->tg->lock, L_TASK);
	cred_put(old);
	task_update_fast(t);
}

void task_put_cpu(struct task *t, struct cpu *successor)
{
	struct cpu *old = t->cpu;
	struct sighand *s;

	if (successor)
		usage_exec(t);
	s = sighand_lock_tg(t->tg);
	mutex_lock(&t->tg->lock, L_TASK);
	t->cpu = successor;
	sigmask_forget(t);
	mutex_unlock(&t->tg->lock, L_TASK);
	sighand_unlock(s);
	platform->cpu_put(old);
}
