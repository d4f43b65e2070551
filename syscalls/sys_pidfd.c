/*
 * Calls on processes by descriptor, and comparing what processes share: pidfd_open(2), pidfd_send_signal(2),
 * pidfd_getfd(2), kcmp(2).
 */
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/random.h>

#include "fs/fdtable.h"
#include "fs/fs_struct.h"
#include "sentry/mm.h"
#include "sentry/pid.h"
#include "sentry/pidfd.h"
#include "syscalls/syscalls.h"

#define PIDFD_SIGNAL_THREAD 1u
#define PIDFD_SIGNAL_THREAD_GROUP 2u
#define PIDFD_SIGNAL_PROCESS_GROUP 4u

sysret_t sys_pidfd_open(struct task *t, int32_t pid, int flags)
{
	struct file *f = NULL;
	struct task *target;
	int err;

	if (flags & ~(O_NONBLOCK | PIDFD_THREAD) || pid <= 0)
		return -EINVAL;
	target = task_find(pid);
	if (!target)
		return -ESRCH;
	err = target->tg->pid != pid && !(flags & PIDFD_THREAD) ? -EINVAL : pidfd_create(&t->ctx, target, flags, &f);
	task_put(target);
	return err ? err : fd_install(&t->ctx, f, O_CLOEXEC);
}

/* The signal's information: given by the caller, who may not pretend to be somebody else; or as kill(2) makes it. */
static int make_info(struct task *t, struct thread_group *tg, int signo, uaddr_t info, bool thread, siginfo_t *ret)
{
	if (!info.v) {
		signal_info_user(ret, signo, thread ? SI_TKILL : SI_USER, t);
		return 0;
	}
	if (copy_in(&t->ctx, ret, info, sizeof(*ret)))
		return -EFAULT;
	if (ret->si_signo != signo)
		return -EINVAL;
	return tg != t->tg && (ret->si_code >= 0 || ret->si_code == SI_TKILL) ? -EPERM : 0;
}

static int send_pgrp(struct task *t, struct thread_group *tg, int signo, const siginfo_t *info)
{
	int err = -ESRCH;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	if (tg->pgrp)
		err = signal_permitted(t, tg, signo);
	if (!err && signo)
		err = signal_send_pgrp(tg->pgrp, signo, info);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return err;
}

static int send_one(struct task *t, struct thread_group *tg, struct task *thread, int signo, const siginfo_t *info)
{
	int err;

	if (!tg->leader || (thread && thread->dead))
		return -ESRCH;
	mutex_lock(&pidtree_lock, L_PIDTREE);
	err = signal_permitted(t, tg, signo);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	if (err || !signo)
		return err;
	return thread ? signal_send_task(thread, signo, info) : signal_send_group(tg, signo, info);
}

sysret_t sys_pidfd_send_signal(struct task *t, int fd, int signo, uaddr_t info, unsigned flags)
{
	FILE_REF f = NULL;
	struct task *thread = NULL;
	struct thread_group *tg;
	siginfo_t si;
	int err;

	if (flags & ~(PIDFD_SIGNAL_THREAD | PIDFD_SIGNAL_THREAD_GROUP | PIDFD_SIGNAL_PROCESS_GROUP) ||
	    (flags & (flags - 1)))
		return -EINVAL;
	f = fd_get(&t->ctx, fd);
	tg = f ? pidfd_group(f, &thread) : NULL;
	if (!tg)
		return -EBADF;
	if (flags & PIDFD_SIGNAL_THREAD_GROUP) {
		task_put(thread);
		thread = NULL;
	} else if ((flags & PIDFD_SIGNAL_THREAD) && !thread) {
		thread = task_find(tg->pid);
	}
	err = (unsigned)signo > K_NSIG ? -EINVAL : make_info(t, tg, signo, info, thread, &si);
	if (!err)
		err = flags & PIDFD_SIGNAL_PROCESS_GROUP ? send_pgrp(t, tg, signo, &si)
							 : send_one(t, tg, thread, signo, &si);
	task_put(thread);
	tg_put(tg);
	return err;
}

static struct file *file_of(struct task *target, int fd)
{
	struct fdtable *fdt = task_get_fdtable(target);
	struct file *f = NULL;
	int found = fdt && fd >= 0 ? fdtable_next(fdt, fd, &f) : -1;

	fdtable_put(fdt);
	if (found == fd && found >= 0)
		return f;
	if (found >= 0)
		file_put(f);
	return NULL;
}

/* A live task that a pidfd refers to; a reference. */
static int pidfd_task(struct task *t, int fd, struct task **ret)
{
	FILE_REF f = fd_get(&t->ctx, fd);
	struct task *thread = NULL;
	struct thread_group *tg = f ? pidfd_group(f, &thread) : NULL;

	if (!tg)
		return -EBADF;
	if (!thread) {
		mutex_lock(&pidtree_lock, L_PIDTREE);
		if (tg->leader)
			thread = task_get(tg->leader);
		mutex_unlock(&pidtree_lock, L_PIDTREE);
	}
	tg_put(tg);
	*ret = thread;
	return thread ? 0 : -ESRCH;
}

sysret_t sys_pidfd_getfd(struct task *t, int pidfd, int target_fd, unsigned flags)
{
	struct task *target;
	struct file *f;
	int err;

	if (flags)
		return -EINVAL;
	err = pidfd_task(t, pidfd, &target);
	if (err)
		return err;
	err = task_may_access(t, target, false);
	f = err ? NULL : file_of(target, target_fd);
	if (!err && !f)
		err = target->dead ? -ESRCH : -EBADF;
	task_put(target);
	return err ? err : fd_install(&t->ctx, f, O_CLOEXEC);
}

/* An order of kernel objects that tells nothing about their addresses. */
static sysret_t compare(const void *a, const void *b)
{
	static uint64_t secret;
	uint64_t x, y;

	if (!secret && getrandom(&secret, sizeof(secret), 0) != sizeof(secret))
		secret = 1;
	x = ((uint64_t)a ^ secret) * (secret | 1);
	y = ((uint64_t)b ^ secret) * (secret | 1);
	return a == b ? 0 : x < y ? 1 : 2;
}

static sysret_t compare_files(struct task *a, struct task *b, uint64_t fd1, uint64_t fd2)
{
	FILE_REF f = file_of(a, (int)fd1);
	FILE_REF g = file_of(b, (int)fd2);

	return f && g ? compare(f, g) : -EBADF;
}

/* Borrowed pointers: only their values matter. */
static sysret_t compare_parts(struct task *a, struct task *b, int type)
{
	switch (type) {
	case KCMP_VM:
		return compare(a->mm, b->mm);
	case KCMP_FILES:
		return compare(a->ctx.fdt, b->ctx.fdt);
	case KCMP_FS:
		return compare(a->ctx.fs, b->ctx.fs);
	case KCMP_SIGHAND:
		return compare(a->tg->sighand, b->tg->sighand);
	case KCMP_IO:
		return compare(a->tg, b->tg);
	case KCMP_SYSVSEM:
		return compare(a->sem_undo, b->sem_undo);
	}
	return -EINVAL;
}

sysret_t sys_kcmp(struct task *t, int32_t pid1, int32_t pid2, int type, uint64_t idx1, uint64_t idx2)
{
	struct task *a = task_find(pid1);
	struct task *b = task_find(pid2);
	sysret_t r = a && b ? 0 : -ESRCH;

	if (!r)
		r = task_may_access(t, a, false);
	if (!r)
		r = task_may_access(t, b, false);
	if (!r)
		r = type == KCMP_FILE ? compare_files(a, b, idx1, idx2) : compare_parts(a, b, type);
	task_put(a);
	task_put(b);
	return r;
}
