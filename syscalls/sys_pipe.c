/* pipe(2), pipe2(2). */
#include <fcntl.h>

#include "fs/fdtable.h"
#include "fs/pipe.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

#define PIPE_FLAGS (O_CLOEXEC | O_NONBLOCK | O_DIRECT)

static int reserve_two(struct ctx *c, int fd[2])
{
	fd[0] = fd_reserve(c, 0);
	if (fd[0] < 0)
		return fd[0];
	fd[1] = fd_reserve(c, 0);
	if (fd[1] < 0)
		fd_unreserve(c, fd[0]);
	return fd[1] < 0 ? fd[1] : 0;
}

sysret_t sys_pipe2(struct task *t, uaddr_t fds, int flags)
{
	struct ctx *c = &t->ctx;
	FILE_REF r = NULL;
	FILE_REF w = NULL;
	int fd[2], err;

	if (flags & ~PIPE_FLAGS)
		return -EINVAL;
	err = pipe_create(c, flags, &r, &w);
	if (!err)
		err = reserve_two(c, fd);
	if (err)
		return err;
	if (copy_out(c, fds, fd, sizeof(fd))) {
		fd_unreserve(c, fd[0]);
		fd_unreserve(c, fd[1]);
		return -EFAULT;
	}
	fd_fill(c, fd[0], take(r), flags & O_CLOEXEC);
	fd_fill(c, fd[1], take(w), flags & O_CLOEXEC);
	return 0;
}

sysret_t sys_pipe(struct task *t, uaddr_t fds)
{
	return sys_pipe2(t, fds, 0);
}
