/*
 * Descriptors: close, dup, fcntl, ioctl. fcntl's record locks, pipe sizes, signal owners and seals are done by those that own them; what every
 * descriptor has is done here.
 */
#include <asm/ioctls.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/fs.h>

#include "fs/fasync.h"
#include "fs/fdtable.h"
#include "fs/locks.h"
#include "fs/pipe.h"
#include "fs/tmp/tmpfs.h"
#include "fs/vfs.h"
#include "sentry/base/restart.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

#ifndef F_DUPFD_QUERY
#define F_DUPFD_QUERY 1027
#endif
#ifndef F_CREATED_QUERY
#define F_CREATED_QUERY 1028
#endif

#define SETFL_MASK (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC)

sysret_t sys_close(struct task *t, int fd)
{
	int err = fd_close(&t->ctx, fd);

	/* The descriptor is gone: a restart would close somebody else's. */
	return err == -ERESTARTSYS ? -EINTR : err;
}

static int unshare_table(struct ctx *c, unsigned max)
{
	struct fdtable *mine = fdtable_clone(c->fdt, max), *old = c->fdt;

	if (!mine)
		return -ENOMEM;
	c->fdt = mine;
	fdtable_put(old);
	return 0;
}

sysret_t sys_close_range(struct task *t, unsigned first, unsigned last, unsigned flags)
{
	struct ctx *c = &t->ctx;
	bool mark = flags & CLOSE_RANGE_CLOEXEC;
	int err;

	if ((flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) || first > last)
		return -EINVAL;
	if (flags & CLOSE_RANGE_UNSHARE) {
		err = unshare_table(c, last >= INT_MAX && !mark ? first : INT_MAX);
		if (err)
			return err;
	}
	return fd_close_range(c, first, last, mark);
}

sysret_t sys_dup(struct task *t, int fd)
{
	struct file *f = fd_get_raw(&t->ctx, fd);

	return f ? fd_install(&t->ctx, f, 0) : -EBADF;
}

sysret_t sys_dup3(struct task *t, int oldfd, int newfd, int flags)
{
	struct file *f;

	if ((flags & ~O_CLOEXEC) || oldfd == newfd)
		return -EINVAL;
	if (newfd < 0 || (uint64_t)newfd >= t->ctx.rlimit_nofile)
		return -EBADF;
	f = fd_get_raw(&t->ctx, oldfd);
	return f ? fd_replace(&t->ctx, newfd, f, flags) : -EBADF;
}

sysret_t sys_dup2(struct task *t, int oldfd, int newfd)
{
	FILE_REF f = NULL;

	if (oldfd != newfd)
		return sys_dup3(t, oldfd, newfd, 0);
	f = fd_get_raw(&t->ctx, oldfd);
	return f ? newfd : -EBADF;
}

static sysret_t dup_from(struct ctx *c, struct file *f, uint64_t min, int flags)
{
	int fd = fd_reserve(c, min > INT_MAX ? -1 : (int)min);

	if (fd >= 0)
		fd_fill(c, fd, file_get(f), flags);
	return fd;
}

static sysret_t set_status_flags(struct ctx *c, struct file *f, uint64_t arg)
{
	int flags = (f->flags & ~SETFL_MASK) | ((int)arg & SETFL_MASK);
	int err = 0;

	if ((flags & ~f->flags & O_NOATIME) && !inode_owner_or_capable(c, f->inode))
		return -EPERM;
	if (f->ops->set_flags)
		err = f->ops->set_flags(f, flags);
	if (!err)
		f->flags = flags;
	return err;
}

static sysret_t same_file(struct ctx *c, const struct file *f, uint64_t other)
{
	FILE_REF g = fd_get_raw(c, (int)other);

	return g ? g == f : -EBADF;
}

/* What O_PATH descriptors allow too. -ENOSYS: not one of them. */
static sysret_t fcntl_any(struct ctx *c, int fd, struct file *f, int cmd, uint64_t arg)
{
	switch (cmd) {
	case F_DUPFD:
		return dup_from(c, f, arg, 0);
	case F_DUPFD_CLOEXEC:
		return dup_from(c, f, arg, O_CLOEXEC);
	case F_GETFD:
		return fd_get_cloexec(c, fd);
	case F_SETFD:
		return fd_set_cloexec(c, fd, arg & FD_CLOEXEC);
	case F_GETFL:
		return f->flags;
	case F_DUPFD_QUERY:
		return same_file(c, f, arg);
	}
	return -ENOSYS;
}

static sysret_t fcntl_open(struct ctx *c, struct file *f, int cmd, uint64_t arg)
{
	switch (cmd) {
	case F_SETFL:
		return set_status_flags(c, f, arg);
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return locks_fcntl(c, f, cmd, UADDR(arg));
	case F_GETPIPE_SZ:
	case F_SETPIPE_SZ:
		return pipe_fcntl(c, f, cmd, arg);
	case F_ADD_SEALS:
		return tmpfs_add_seals(f, (unsigned)arg);
	case F_GET_SEALS:
		return tmpfs_get_seals(f);
	case F_GETLEASE:
		return F_UNLCK;
	case F_CREATED_QUERY:
		return 0;
	}
	return fasync_fcntl(c, f, cmd, arg);
}

sysret_t sys_fcntl(struct task *t, int fd, int cmd, uint64_t arg)
{
	FILE_REF f = fd_get_raw(&t->ctx, fd);
	sysret_t r;

	if (!f)
		return -EBADF;
	r = fcntl_any(&t->ctx, fd, f, cmd, arg);
	if (r != -ENOSYS)
		return r;
	return f->flags & O_PATH ? -EBADF : fcntl_open(&t->ctx, f, cmd, arg);
}

static sysret_t set_flag_by_int(struct ctx *c, struct file *f, int flag, uaddr_t arg)
{
	int on;

	if (copy_in(c, &on, arg, sizeof(on)))
		return -EFAULT;
	return set_status_flags(c, f, (uint64_t)(on ? f->flags | flag : f->flags & ~flag));
}

static sysret_t ioctl_regular(struct ctx *c, struct file *f, uint32_t cmd, uaddr_t arg)
{
	struct attr a;
	int err, n;

	switch (cmd) {
	case FIONREAD:
		err = inode_getattr(c, f->inode, &a);
		if (err)
			return err;
		n = (int)MIN(MAX((int64_t)a.size - f->pos, 0), (int64_t)INT_MAX);
		return copy_out(c, arg, &n, sizeof(n));
	case FIGETBSZ:
		err = inode_getattr(c, f->inode, &a);
		n = (int)a.blksize;
		return err ? err : copy_out(c, arg, &n, sizeof(n));
	case FS_IOC_GETFLAGS:
		n = 0;
		return copy_out(c, arg, &n, sizeof(n));
	}
	return -ENOTTY;
}

static sysret_t ioctl_size(struct ctx *c, struct file *f, uaddr_t arg)
{
	struct attr a;
	int err;

	if (!S_ISREG(f->inode->mode) && !S_ISDIR(f->inode->mode) && !S_ISLNK(f->inode->mode))
		return -ENOTTY;
	err = inode_getattr(c, f->inode, &a);
	return err ? err : copy_out(c, arg, &a.size, sizeof(a.size));
}

sysret_t sys_ioctl(struct task *t, int fd, uint32_t cmd, uint64_t arg)
{
	struct ctx *c = &t->ctx;
	FILE_REF f = fd_get(c, fd);
	long r = -ENOTTY;

	if (!f)
		return -EBADF;
	switch (cmd) {
	case FIOCLEX:
		return fd_set_cloexec(c, fd, true);
	case FIONCLEX:
		return fd_set_cloexec(c, fd, false);
	case FIONBIO:
		return set_flag_by_int(c, f, O_NONBLOCK, UADDR(arg));
	case FIOASYNC:
		return set_flag_by_int(c, f, O_ASYNC, UADDR(arg));
	case FIOQSIZE:
		return ioctl_size(c, f, UADDR(arg));
	}
	if (f->ops->ioctl)
		r = f->ops->ioctl(c, f, cmd, arg);
	if (r == -ENOTTY && (S_ISREG(f->inode->mode) || S_ISDIR(f->inode->mode)))
		r = ioctl_regular(c, f, cmd, UADDR(arg));
	return r;
}
