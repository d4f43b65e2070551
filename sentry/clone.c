/*
 * New tasks: clone(2), fork(2), vfork(2), clone3(2).
 *
 * A child is built completely before anybody can see it: task, group, what it shares or copies, and a stopped cpu
 * with a copy of the caller's registers. task_publish() then gives it an id and a place in the tree, unless the
 * caller's group is dying; from there on nothing fails. So a failed clone leaves nothing but a released object.
 *
 * Address spaces: a thread, and a process made with CLONE_VM, gets a further cpu in the caller's aspace; any other
 * process a copy-on-write copy of it. The child's memory is written through its own cpu, which is stopped.
 *
 * vfork: the parent sleeps, open to fatal signals only, until the child has an address space of its own or none; the
 * two share a small counted object, so that either may die first.
 *
 * Namespaces of mounts, of the network and of IPC are given out to who has CAP_SYS_ADMIN; the flags for others fail as for an unprivileged user (EPERM).
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <string.h>

#include "fs/fdtable.h"
#include "fs/fs_struct.h"
#include "net/netstack.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"
#include "sentry/ipc.h"
#include "sentry/mm.h"
#include "sentry/pidfd.h"
#include "sentry/task_impl.h"

#define NS_FLAGS (CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWTIME)

static struct slab vfork_slab = SLAB_INIT(struct vfork_done);

struct vfork_done *vfork_create(void)
{
	struct vfork_done *v = slab_alloc(&vfork_slab);

	if (!v)
		return NULL;
	ref_init(&v->ref);
	wait_queue_init(&v->wq);
	return v;
}

void vfork_put(struct vfork_done *v)
{
	if (v && ref_put(&v->ref))
		slab_free(&vfork_slab, v);
}

void vfork_release(struct task *t)
{
	struct vfork_done *v = t->vfork;

	if (!v)
		return;
	t->vfork = NULL;
	__atomic_store_n((bool *)&v->done, true, __ATOMIC_SEQ_CST);
	wake_up_all(&v->wq, 0);
	vfork_put(v);
}

static void vfork_wait(struct task *t, struct vfork_done *v)
{
	struct wait_entry e;

	wait_entry_init_ctx(&e, &t->ctx, 0);
	wait_queue_add(&v->wq, &e);
	while (!__atomic_load_n((bool *)&v->done, __ATOMIC_SEQ_CST))
		if (park_killable(&t->ctx, TIME_NEVER))
			break;
	wait_entry_remove(&e);
}

/* Linux's rules of which flags need which. */
static int clone_check(struct task *t, const struct clone_args_k *a)
{
	uint64_t f = a->flags;

	if ((f & (CLONE_NEWNS | CLONE_FS)) == (CLONE_NEWNS | CLONE_FS))
		return -EINVAL;
	if (f & NS_FLAGS)
		return -EPERM;
	if ((f & CLONE_THREAD) && !(f & CLONE_SIGHAND))
		return -EINVAL;
	if ((f & CLONE_SIGHAND) && !(f & CLONE_VM))
		return -EINVAL;
	if ((f & CLONE_SIGHAND) && (f & CLONE_CLEAR_SIGHAND))
		return -EINVAL;
	if ((f & CLONE_PARENT) && !t->tg->parent)
		return -EINVAL;
	if ((f & CLONE_PIDFD) && (f & CLONE_DETACHED))
		return -EINVAL;
	if ((f & CLONE_SETTLS) && a->tls >= GUEST_END)
		return -EPERM;
	if (f & (CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) && !task_capable(t, CAP_SYS_ADMIN))
		return -EPERM;
	return (f & CLONE_NEWIPC) && (f & CLONE_SYSVSEM) ? -EINVAL : 0;
}

/* What CLONE_FS, CLONE_FILES and the like decide. */
static int clone_context(struct task *t, struct task *child, uint64_t flags)
{
	struct ctx *from = &t->ctx;
	struct ctx *to = &child->ctx;
	int err = 0;

	to->cred = cred_get(from->cred);
	to->mnt_ns = mnt_ns_get(from->mnt_ns);
	to->fs = flags & CLONE_FS ? fs_struct_get(from->fs) : fs_struct_clone(from->fs);
	to->fdt = flags & CLONE_FILES ? fdtable_get(from->fdt) : fdtable_clone(from->fdt, INT_MAX);
	to->rlimit_fsize = from->rlimit_fsize;
	to->rlimit_nofile = from->rlimit_nofile;
	if (!to->fs || !to->fdt)
		return -ENOMEM;
	if (flags & CLONE_NEWNET)
		err = netns_create(&to->net);
	else
		to->net = netns_get(from->net);
	return !err && flags & CLONE_NEWNS ? task_new_mounts(child) : err;
}

static void clone_attributes(struct task *t, struct task *child)
{
	mutex_lock(&t->tg->lock, L_TASK);
	memcpy(child->comm, t->comm, sizeof(child->comm));
	mutex_unlock(&t->tg->lock, L_TASK);
	child->ioprio = t->ioprio;
	if (!t->sched_reset_on_fork) {
		child->nice = t->nice;
		child->sched_policy = t->sched_policy;
	} else {
		child->nice = MAX(t->nice, 0);
	}
	child->timer_slack = t->timer_slack;
	child->no_setgroups = t->no_setgroups;
	child->strace = t->strace;
}

static struct sighand *clone_sighand(struct task *t, uint64_t flags)
{
	struct sighand *s = t->tg->sighand;

	if (flags & CLONE_SIGHAND) {
		ref_get(&s->ref);
		return s;
	}
	s = sighand_clone(s);
	if (s && (flags & CLONE_CLEAR_SIGHAND))
		for (int i = 0; i < K_NSIG; i++) /* private yet: no lock */
			if (s->action[i].handler != (uint64_t)SIG_IGN)
				s->action[i] = (struct k_sigaction){0};
	return s;
}

static int clone_group(struct task *t, struct task *child, const struct clone_args_k *a)
{
	struct thread_group *from = t->tg;
	struct thread_group *tg;

	if (a->flags & CLONE_THREAD) {
		child->tg = tg_get(from);
		return 0;
	}
	child->tg = tg = tg_alloc();
	if (!tg)
		return -ENOMEM;
	tg->sighand = clone_sighand(t, a->flags);
	if (!tg->sighand)
		return -ENOMEM;
	mutex_lock(&from->lock, L_TASK);
	memcpy(tg->rlimit, from->rlimit, sizeof(tg->rlimit));
	mutex_unlock(&from->lock, L_TASK);
	tg->personality = from->personality;
	tg->oom_score_adj = from->oom_score_adj;
	tg->exit_signal = a->flags & CLONE_PARENT ? from->exit_signal : (int)a->exit_signal;
	return 0;
}

/* The child's cpu and address space. */
static int clone_memory(struct task *t, struct task *child, uint64_t flags)
{
	int err;

	if (flags & CLONE_VM) {
		err = platform->cpu_create(t->cpu, &child->cpu);
		if (err)
			return task_host_error(err);
		child->mm = mm_get(t->mm);
		child->mm->users++;
		if (!(flags & CLONE_THREAD))
			usage_share(child);
	} else {
		err = platform->aspace_fork(t->cpu, &child->cpu);
		if (err)
			return task_host_error(err);
		err = mm_fork(t, child->cpu, &child->mm);
		if (err)
			return err;
		child->rseq = t->rseq;
		child->rseq_len = t->rseq_len;
		child->rseq_sig = t->rseq_sig;
	}
	cpu_set_client(child->cpu, child);
	return t->has_affinity ? task_set_affinity(child, t->affinity) : 0;
}

static void clone_registers(struct task *child, const struct clone_args_k *a)
{
	struct k_user_regs *regs = platform->cpu_regs(child->cpu);

	regs->rax = 0;
	if (a->stack)
		regs->rsp = a->stack + a->stack_size;
	if (a->flags & CLONE_SETTLS)
		regs->fs_base = a->tls;
}

/* Everything of the child but its id. */
static int clone_build(struct task *t, struct task *child, const struct clone_args_k *a)
{
	int err = clone_group(t, child, a);

	if (err == 0)
		err = clone_context(t, child, a->flags);
	if (err)
		return err;
	clone_attributes(t, child);
	child->ipc_ns = a->flags & CLONE_NEWIPC ? ipc_ns_create() : ipc_ns_get(t->ipc_ns);
	if (!child->ipc_ns)
		return -ENOSPC;
	if ((a->flags & CLONE_SYSVSEM) && (err = sem_undo_share(t, child)))
		return err;
	signal_init_task(child, t, a->flags);
	err = clone_memory(t, child, a->flags);
	if (err)
		return err;
	clone_registers(child, a);
	if (a->flags & CLONE_CHILD_CLEARTID)
		child->clear_child_tid = UADDR(a->child_tid);
	if ((a->flags & CLONE_VFORK) && !(child->vfork = vfork_create()))
		return -ENOMEM;
	return 0;
}

/* A new process joins its parent's process group; and becomes somebody's child. */
static int clone_publish(struct task *t, struct task *child, uint64_t flags)
{
	struct thread_group *parent = NULL;
	int32_t parent_tid = t->ctx.tid;
	int err;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	if (!(flags & CLONE_THREAD)) {
		parent = t->tg;
		if (flags & CLONE_PARENT) {
			parent = t->tg->parent;
			parent_tid = t->tg->parent_tid;
		}
	}
	err = task_publish_locked(child, parent, parent_tid);
	if (err == 0 && parent)
		tg_set_pgrp(child->tg, t->tg->pgrp);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return err;
}

/* The child's id for those who asked; a fault is nobody's problem, as on Linux. */
static void clone_write_tids(struct task *t, struct task *child, const struct clone_args_k *a)
{
	int32_t tid = child->ctx.tid;

	if (a->flags & CLONE_CHILD_SETTID)
		platform->cpu_write(child->cpu, a->child_tid, &tid, sizeof(tid));
	if ((a->flags & CLONE_PARENT_SETTID) && copy_out(&t->ctx, UADDR(a->parent_tid), &tid, sizeof(tid)))
		return;
}

/* The descriptor is reserved and told to the guest before the child exists, and filled when it does. */
static int clone_pidfd_prepare(struct task *t, const struct clone_args_k *a, int *ret_fd)
{
	int fd;

	*ret_fd = -1;
	if (!(a->flags & CLONE_PIDFD))
		return 0;
	fd = fd_reserve(&t->ctx, 0);
	if (fd < 0)
		return fd;
	if (copy_out(&t->ctx, UADDR(a->pidfd), &fd, sizeof(fd))) {
		fd_unreserve(&t->ctx, fd);
		return -EFAULT;
	}
	*ret_fd = fd;
	return 0;
}

static sysret_t clone_run(struct task *t, struct task *child, const struct clone_args_k *a)
{
	struct vfork_done *v = child->vfork;
	int32_t tid = child->ctx.tid;

	clone_write_tids(t, child, a);
	if (!(a->flags & CLONE_THREAD))
		timers_rlimit_cpu(child->tg);
	if (v)
		ref_get(&v->ref);
	task_start(child);
	if (v) {
		vfork_wait(t, v);
		vfork_put(v);
	}
	return tid;
}

sysret_t task_clone(struct task *t, const struct clone_args_k *a)
{
	struct file *pidfd = NULL;
	struct task *child;
	int fd = -1, err;

	if ((err = clone_check(t, a)))
		return err;
	child = task_alloc();
	if (!child)
		return -ENOMEM;
	if ((err = clone_build(t, child, a)) || (err = clone_pidfd_prepare(t, a, &fd)))
		goto fail;
	if (fd >= 0 && (err = pidfd_create(&t->ctx, child, a->flags & CLONE_THREAD ? PIDFD_THREAD : 0, &pidfd)))
		goto fail;
	err = clone_publish(t, child, a->flags);
	if (err)
		goto fail;
	if (fd >= 0)
		fd_fill(&t->ctx, fd, pidfd, O_CLOEXEC);
	return clone_run(t, child, a);
fail:
	if (fd >= 0)
		fd_unreserve(&t->ctx, fd);
	file_put(pidfd);
	task_discard(child);
	return err == -EINTR ? -ERESTARTNOINTR : err;
}
