/* The inotify calls. */
#include <fcntl.h>

#include "fs/fdtable.h"
#include "fs/inotify.h"
#include "fs/path.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

#define WATCH_BITS                                                                                                     \
	((unsigned)(IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED | IN_ONLYDIR | IN_DONT_FOLLOW |            \
		    IN_EXCL_UNLINK | IN_MASK_CREATE | IN_MASK_ADD | IN_ISDIR | IN_ONESHOT))

sysret_t sys_inotify_init1(struct task *t, int flags)
{
	struct file *f;
	int err = inotify_create(&t->ctx, flags, &f);

	return err ? err : fd_install(&t->ctx, f, flags & O_CLOEXEC);
}

sysret_t sys_inotify_init(struct task *t)
{
	return sys_inotify_init1(t, 0);
}

/* The inode at a name, readable by the caller. */
static int watch_path(struct ctx *c, uaddr_t name, unsigned mask, struct path *ret)
{
	unsigned lookup = (mask & IN_DONT_FOLLOW ? 0 : LOOKUP_FOLLOW) | (mask & IN_ONLYDIR ? LOOKUP_DIRECTORY : 0);
	PATH_NAME copy = NULL;
	int err = path_name_copy(c, name, 0, &copy);

	if (!err)
		err = path_lookup(c, AT_FDCWD, copy, lookup, ret);
	return err ? err : inode_permission(c, ret->dentry->inode, MAY_READ);
}

sysret_t sys_inotify_add_watch(struct task *t, int fd, uaddr_t name, unsigned mask)
{
	PATH_REF p = {NULL, NULL};
	FILE_REF f = NULL;
	int err;

	if (!(mask & WATCH_BITS) || (mask & IN_MASK_ADD && mask & IN_MASK_CREATE))
		return -EINVAL;
	f = fd_get(&t->ctx, fd);
	if (!f)
		return -EBADF;
	if (!inotify_is(f))
		return -EINVAL;
	err = watch_path(&t->ctx, name, mask, &p);
	return err ? err : inotify_add(f, p.dentry->inode, mask);
}

sysret_t sys_inotify_rm_watch(struct task *t, int fd, int wd)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? inotify_remove(f, wd) : -EBADF;
}
