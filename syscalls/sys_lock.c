/* flock(2). Record locks are commands of fcntl(2): syscalls/sys_fcntl.c. */
#include "fs/fdtable.h"
#include "fs/locks.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

sysret_t sys_flock(struct task *t, int fd, int op)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? locks_flock(&t->ctx, f, op) : -EBADF;
}
