/*
 * Processes: making, replacing, ending and collecting them; who they are related to. clone(2), execve(2), exit(2),
 * wait(2), setpgid(2), setsid(2). The work is in sentry/{clone,exec,exit,wait}.c; here arguments are read and
 * checked.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "fs/fdtable.h"
#include "fs/path.h"
#include "sentry/exec.h"
#include "sentry/pidfd.h"
#include "sentry/task.h"
#include "sentry/wait.h"
#include "syscalls/abi.h"
#include "syscalls/syscalls.h"

#define CLONE_KNOWN (0xffffffffull | CLONE_CLEAR_SIGHAND)
#define CLONE_ARGS_MIN 64
#define CLONE_TIDS_MAX 32
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

sysret_t sys_clone(struct task *t, uint64_t flags, uint64_t stack, uaddr_t parent_tid, uaddr_t child_tid, uint64_t tls)
{
	uint64_t signo = flags & CSIGNAL;
	struct clone_args_k a = {
	    .flags = flags & 0xffffffffull & ~(uint64_t)CSIGNAL,
	    .pidfd = parent_tid.v,
	    .child_tid = child_tid.v,
	    .parent_tid = parent_tid.v,
	    .exit_signal = signo <= K_NSIG ? signo : 0,
	    .stack = stack,
	    .tls = tls,
	};

	if ((flags & CLONE_PIDFD) && (flags & CLONE_PARENT_SETTID))
		return -EINVAL;
	return task_clone(t, &a);
}

sysret_t sys_fork(struct task *t)
{
	struct clone_args_k a = {.exit_signal = SIGCHLD};

	return task_clone(t, &a);
}

sysret_t sys_vfork(struct task *t)
{
	struct clone_args_k a = {.flags = CLONE_VFORK | CLONE_VM, .exit_signal = SIGCHLD};

	return task_clone(t, &a);
}

static int clone3_check(const struct clone_args_k *a)
{
	if (a->flags & ~CLONE_KNOWN || a->flags & (CLONE_DETACHED | (CSIGNAL & ~CLONE_NEWTIME)))
		return -EINVAL;
	if (a->set_tid_size > CLONE_TIDS_MAX || !a->set_tid != !a->set_tid_size)
		return -EINVAL;
	if (a->exit_signal > K_NSIG || ((a->flags & (CLONE_THREAD | CLONE_PARENT)) && a->exit_signal))
		return -EINVAL;
	if (!a->stack != !a->stack_size || a->stack > GUEST_END || a->stack_size > GUEST_END - a->stack)
		return -EINVAL;
	if ((a->flags & CLONE_PIDFD) && (a->flags & CLONE_PARENT_SETTID) && a->pidfd == a->parent_tid)
		return -EINVAL;
	return a->set_tid ? -EPERM : 0;
}

sysret_t sys_clone3(struct task *t, uaddr_t args, size_t size)
{
	struct clone_args_k a;
	int err;

	if (size > PAGE_SIZE)
		return -E2BIG;
	if (size < CLONE_ARGS_MIN)
		return -EINVAL;
	err = copy_in_struct(&t->ctx, &a, sizeof(a), args, size);
	if (!err)
		err = clone3_check(&a);
	return err ? err : task_clone(t, &a);
}

/* What the program is called when it was given by a descriptor. */
static void fd_name(char *buf, size_t size, int fd, const char *rest)
{
	snprintf(buf, size, *rest ? "/dev/fd/%d/%s" : "/dev/fd/%d", fd, rest);
}

static sysret_t exec_at(struct task *t, int dirfd, uaddr_t path, unsigned lookup, uaddr_t argv, uaddr_t envp)
{
	char buf[PATH_MAX + 32];
	FILE_REF exe = NULL;
	PATH_NAME name = NULL;
	bool by_fd, closes = false;
	int err = path_name_copy(&t->ctx, path, lookup, &name);

	if (!err)
		err = task_check_nproc(t);
	if (err)
		return err;
	by_fd = dirfd != AT_FDCWD && name[0] != '/';
	err = exec_open(&t->ctx, dirfd, name, lookup, &exe);
	if (err)
		return err;
	if (by_fd) {
		closes = fd_get_cloexec(&t->ctx, dirfd) > 0;
		fd_name(buf, sizeof(buf), dirfd, name);
	}
	return task_exec(t, exe, by_fd ? buf : name, closes, argv, envp);
}

sysret_t sys_execve(struct task *t, uaddr_t path, uaddr_t argv, uaddr_t envp)
{
	return exec_at(t, AT_FDCWD, path, LOOKUP_FOLLOW, argv, envp);
}

sysret_t sys_execveat(struct task *t, int dirfd, uaddr_t path, uaddr_t argv, uaddr_t envp, int flags)
{
	unsigned lookup =
	    (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);

	if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	return exec_at(t, dirfd, path, lookup, argv, envp);
}

sysret_t sys_exit(struct task *t, int status)
{
	t->exiting = TASK_EXITS;
	t->exit_code = (status & 0xff) << 8;
	return 0;
}

sysret_t sys_exit_group(struct task *t, int status)
{
	t->exiting = TASK_EXITS_GROUP;
	t->exit_code = (status & 0xff) << 8;
	return 0;
}

/* The process group that wait's id stands for; 0 is one's own. */
static int32_t own_pgrp_if_zero(struct task *t, int32_t id)
{
	if (id)
		return id;
	mutex_lock(&pidtree_lock, L_PIDTREE);
	id = t->tg->pgrp->id;
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return id;
}

sysret_t sys_wait4(struct task *t, int32_t pid, uaddr_t status, int options, uaddr_t rusage)
{
	struct wait_request req = {.which = P_ALL, .options = options | WEXITED};
	struct wait_result res;
	struct rusage ru;
	sysret_t r;

	if (options & ~(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL))
		return -EINVAL;
	if (pid == INT32_MIN)
		return -ESRCH;
	if (pid > 0) {
		req.which = P_PID;
		req.id = pid;
	} else if (pid != -1) {
		req.which = P_PGID;
		req.id = own_pgrp_if_zero(t, -pid);
	}
	r = task_wait(t, &req, &res);
	if (r <= 0)
		return r;
	if (status.v && copy_out(&t->ctx, status, &res.wstatus, sizeof(res.wstatus)))
		return -EFAULT;
	rusage_from_usage(&ru, &res.usage);
	if (rusage.v && copy_out(&t->ctx, rusage, &ru, sizeof(ru)))
		return -EFAULT;
	return r;
}

/* Turns a pidfd into the pid that it stands for. */
static int wait_pidfd(struct task *t, int32_t fd, struct wait_request *req, bool *ret_nonblock)
{
	FILE_REF f = fd_get(&t->ctx, fd);
	struct thread_group *tg = f ? pidfd_group(f, NULL) : NULL;

	if (!tg)
		return -EBADF;
	req->which = P_PID;
	req->id = tg->pid;
	*ret_nonblock = f->flags & O_NONBLOCK;
	tg_put(tg);
	return 0;
}

static int waitid_target(struct task *t, int which, int32_t id, struct wait_request *req, bool *ret_nonblock)
{
	*ret_nonblock = false;
	req->which = which;
	req->id = id;
	switch (which) {
	case P_ALL:
		return 0;
	case P_PID:
		return id <= 0 ? -EINVAL : 0;
	case P_PGID:
		if (id < 0)
			return -EINVAL;
		req->id = own_pgrp_if_zero(t, id);
		return 0;
	case P_PIDFD:
		return id < 0 ? -EINVAL : wait_pidfd(t, id, req, ret_nonblock);
	}
	return -EINVAL;
}

/* Only the fields that Linux writes. */
static int put_wait_info(struct task *t, uaddr_t info, const struct wait_result *res)
{
	int32_t head[3] = {res->pid ? SIGCHLD : 0, 0, res->code};
	int32_t tail[3] = {res->pid, (int32_t)res->uid, res->status};

	if (!info.v)
		return 0;
	if (copy_out(&t->ctx, info, head, sizeof(head)))
		return -EFAULT;
	return copy_out(&t->ctx, uaddr_add(info, offsetof(siginfo_t, si_pid)), tail, sizeof(tail));
}

sysret_t sys_waitid(struct task *t, int which, int32_t id, uaddr_t info, int options, uaddr_t rusage)
{
	struct wait_result res = {0};
	struct wait_request req = {.options = options};
	struct rusage ru;
	bool nonblock;
	sysret_t r;

	if (options & ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL) ||
	    !(options & (WEXITED | WSTOPPED | WCONTINUED)))
		return -EINVAL;
	r = waitid_target(t, which, id, &req, &nonblock);
	if (r)
		return r;
	if (nonblock)
		req.options |= WNOHANG;
	r = task_wait(t, &req, &res);
	if (r == 0 && nonblock && !(options & WNOHANG))
		r = -EAGAIN;
	if (r < 0)
		return r;
	rusage_from_usage(&ru, &res.usage);
	if (r > 0 && rusage.v && copy_out(&t->ctx, rusage, &ru, sizeof(ru)))
		return -EFAULT;
	return put_wait_info(t, info, &res);
}
