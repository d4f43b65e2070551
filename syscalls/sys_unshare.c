/*
 * Taking apart what is shared, and namespaces: unshare(2), setns(2). New namespaces are not given out: EPERM, as to
 * an unprivileged user.
 */
#include <linux/sched.h>

#include "fs/fdtable.h"
#include "sentry/ipc.h"
#include "sentry/mm.h"
#include "sentry/task_impl.h"
#include "syscalls/syscalls.h"

#define NEW_NAMESPACES                                                                                                 \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |   \
	 CLONE_NEWTIME)
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
	return flags & NEW_NAMESPACES ? -EPERM : 0;
}

sysret_t sys_unshare(struct task *t, uint64_t flags)
{
	int err = check_unshare(t, flags);

	if (!err && (flags & CLONE_FILES))
		err = task_unshare_files(t);
	if (!err && (flags & CLONE_SYSVSEM))
		sem_undo_leave(t);
	if (!err && (flags & CLONE_FS))
		err = task_unshare_fs(t);
	return err;
}

/* No descriptor refers to a namespace that one could enter. */
sysret_t sys_setns(struct task *t, int fd, uint64_t type __unused)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? -EINVAL : -EBADF;
}
