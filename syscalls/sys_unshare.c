/*
 * Taking apart what is shared, and namespaces: unshare(2), setns(2). There are namespaces of mounts, of the network and of IPC, for who has CAP_SYS_ADMIN; others
 * are not given out: EPERM, as to an unprivileged user. Of those everybody is in the one that there is, so that setns() to another process's changes
 * nothing.
 */
#include <linux/capability.h>
#include <linux/sched.h>

#include "fs/fdtable.h"
#include "net/netstack.h"
#include "sentry/ipc.h"
#include "sentry/mm.h"
#include "sentry/pidfd.h"
#include "sentry/task_impl.h"
#include "syscalls/syscalls.h"

#define ONLY_ONE (CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWPID | CLONE_NEWTIME)
#define NEW_NAMESPACES (ONLY_ONE | CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC)
#define KNOWN (NEW_NAMESPACES | CLONE_THREAD | CLONE_FS | CLONE_VM | CLONE_SIGHAND | CLONE_FILES | CLONE_SYSVSEM)

/* Memory and handlers cannot be unshared: it is allowed only where nothing is. */
static int check_unshare(struct task *t, uint64_t flags)
{
	bool threads, sharing;

	if (flags & ~(uint64_t)KNOWN)
		return -EINVAL;
	mutex_lock(&pidtree_lock, L_PIDTREE);
	threads = t->tg->task_count > 1;
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	sharing = ref_count(&t->tg->sighand->ref) > 1;
	if ((flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)) && threads)
		return -EINVAL;
	if ((flags & (CLONE_SIGHAND | CLONE_VM)) && sharing)
		return -EINVAL;
	if ((flags & CLONE_VM) && t->mm->users > 1)
		return -EINVAL;
	if (flags & (ONLY_ONE | CLONE_NEWUSER))
		return -EPERM;
	return flags & NEW_NAMESPACES && !task_capable(t, CAP_SYS_ADMIN) ? -EPERM : 0;
}

sysret_t sys_unshare(struct task *t, uint64_t flags)
{
	struct ipc_namespace *ipc = NULL;
	NETNS_REF net = NULL;
	int err = check_unshare(t, flags);

	if (!err && (flags & CLONE_NEWNET))
		err = netns_create(&net);
	if (!err && (flags & CLONE_FILES))
		err = task_unshare_files(t);
	if (!err && (flags & CLONE_SYSVSEM))
		sem_undo_leave(t);
	if (!err && (flags & (CLONE_FS | CLONE_NEWNS)))
		err = task_unshare_fs(t);
	if (!err && (flags & CLONE_NEWNS))
		err = task_new_mounts(t);
	if (!err && (flags & CLONE_NEWIPC) && !(ipc = ipc_ns_create()))
		err = -ENOSPC;
	if (!err && net)
		task_set_net(t, take(net));
	if (ipc)
		task_set_ipc(t, ipc);
	return err;
}

/* Those of the process behind a pidfd. */
static int enter_process(struct task *t, struct thread_group *tg, uint64_t type)
{
	struct task *target;
	struct netns *net = NULL;
	struct ipc_namespace *ipc = NULL;
	int err = 0;

	if (!type || type & ~(uint64_t)(ONLY_ONE | CLONE_NEWNET | CLONE_NEWIPC))
		return -EINVAL;
	target = task_find(tg->pid);
	net = target && target->tg == tg ? task_get_net(target) : NULL;
	ipc = net ? task_get_ipc(target) : NULL;
	task_put(target);
	if (!net)
		return -ESRCH;
	if (!task_capable(t, CAP_SYS_ADMIN))
		err = -EPERM;
	if (!err && type & CLONE_NEWNET)
		task_set_net(t, take(net));
	if (!err && type & CLONE_NEWIPC && ipc)
		task_set_ipc(t, take(ipc));
	netns_put(net);
	ipc_ns_put(ipc);
	return err;
}

/* That of a descriptor. */
static int enter_ipc(struct task *t, struct ipc_namespace *ns, uint64_t type)
{
	int err = type && type != CLONE_NEWIPC ? -EINVAL : task_capable(t, CAP_SYS_ADMIN) ? 0 : -EPERM;

	if (err)
		ipc_ns_put(ns);
	else
		task_set_ipc(t, ns);
	return err;
}

sysret_t sys_setns(struct task *t, int fd, uint64_t type)
{
	FILE_REF f = fd_get(&t->ctx, fd);
	struct thread_group *tg;
	struct ipc_namespace *ipc;
	NETNS_REF net = NULL;
	int err;

	if (!f)
		return -EBADF;
	ipc = ipc_ns_of_file(f);
	if (ipc)
		return enter_ipc(t, ipc, type);
	tg = pidfd_group(f, NULL);
	if (tg) {
		err = enter_process(t, tg, type);
		tg_put(tg);
		return err;
	}
	err = netns_of_file(f, &net);
	if (!err && type && type != CLONE_NEWNET)
		err = -EINVAL;
	else if (!err && !task_capable(t, CAP_SYS_ADMIN))
		err = -EPERM;
	else if (!err)
		task_set_net(t, take(net));
	return err;
}
