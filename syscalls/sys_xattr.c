/* The extended attribute calls: by path, by link, by descriptor. The checks are in fs/xattr.c. */
#include <fcntl.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/fdtable.h"
#include "fs/vfs.h"
#include "sentry/base/slab.h"
#include "sentry/task.h"
#include "syscalls/lookup.h"
#include "syscalls/syscalls.h"

/* NAME: with its NUL; "" and longer ones are -ERANGE. */
static int copy_name(struct ctx *c, uaddr_t at, char name[XATTR_NAME_MAX + 1])
{
	ssize_t n = copy_in_string(c, name, at, XATTR_NAME_MAX + 1);

	if (n == -ENAMETOOLONG || n == 0)
		return -ERANGE;
	return n < 0 ? (int)n : 0;
}

static sysret_t set_on(struct ctx *c, const struct path *p, uaddr_t name_at, uaddr_t value, size_t size, int flags)
{
	char name[XATTR_NAME_MAX + 1];
	void *copy = NULL;
	int err;

	if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	err = copy_name(c, name_at, name);
	if (err)
		return err;
	if (size > XATTR_SIZE_MAX)
		return -E2BIG;
	copy = kalloc(MAX(size, 1ul));
	if (!copy)
		return -ENOMEM;
	err = copy_in(c, copy, value, size);
	if (!err)
		err = vfs_setxattr(c, p, name, copy, size, flags);
	kfree(copy, MAX(size, 1ul));
	return err;
}

static sysret_t get_from(struct ctx *c, const struct path *p, uaddr_t name_at, uaddr_t out, size_t size)
{
	char name[XATTR_NAME_MAX + 1];
	char *value;
	ssize_t r = copy_name(c, name_at, name);

	if (r)
		return r;
	size = MIN(size, (size_t)XATTR_SIZE_MAX);
	value = kalloc(MAX(size, 1ul));
	if (!value)
		return -ENOMEM;
	r = vfs_getxattr(c, p, name, value, size);
	if (r > 0 && size && copy_out(c, out, value, (size_t)r))
		r = -EFAULT;
	kfree(value, MAX(size, 1ul));
	return r;
}

static sysret_t list_of(struct ctx *c, const struct path *p, uaddr_t out, size_t size)
{
	char *list;
	ssize_t r;

	size = MIN(size, (size_t)XATTR_LIST_MAX);
	list = kalloc(MAX(size, 1ul));
	if (!list)
		return -ENOMEM;
	r = vfs_listxattr(c, p, list, size);
	if (r > 0 && size && copy_out(c, out, list, (size_t)r))
		r = -EFAULT;
	kfree(list, MAX(size, 1ul));
	return r;
}

static sysret_t remove_from(struct ctx *c, const struct path *p, uaddr_t name_at)
{
	char name[XATTR_NAME_MAX + 1];
	int err = copy_name(c, name_at, name);

	return err ? err : vfs_removexattr(c, p, name);
}

static int look(struct task *t, uaddr_t path, int flags, struct path *ret)
{
	return lookup_user(&t->ctx, AT_FDCWD, path, flags, ret);
}

static sysret_t set_path(struct task *t, uaddr_t path, uaddr_t name, uaddr_t value, size_t size, int flags, int at)
{
	PATH_REF p = {NULL, NULL};
	int err = look(t, path, at, &p);

	return err ? err : set_on(&t->ctx, &p, name, value, size, flags);
}

sysret_t sys_setxattr(struct task *t, uaddr_t path, uaddr_t name, uaddr_t value, size_t size, int flags)
{
	return set_path(t, path, name, value, size, flags, 0);
}

sysret_t sys_lsetxattr(struct task *t, uaddr_t path, uaddr_t name, uaddr_t value, size_t size, int flags)
{
	return set_path(t, path, name, value, size, flags, AT_SYMLINK_NOFOLLOW);
}

sysret_t sys_fsetxattr(struct task *t, int fd, uaddr_t name, uaddr_t value, size_t size, int flags)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? set_on(&t->ctx, &f->path, name, value, size, flags) : -EBADF;
}

static sysret_t get_path(struct task *t, uaddr_t path, uaddr_t name, uaddr_t out, size_t size, int at)
{
	PATH_REF p = {NULL, NULL};
	int err = look(t, path, at, &p);

	return err ? err : get_from(&t->ctx, &p, name, out, size);
}

sysret_t sys_getxattr(struct task *t, uaddr_t path, uaddr_t name, uaddr_t out, size_t size)
{
	return get_path(t, path, name, out, size, 0);
}

sysret_t sys_lgetxattr(struct task *t, uaddr_t path, uaddr_t name, uaddr_t out, size_t size)
{
	return get_path(t, path, name, out, size, AT_SYMLINK_NOFOLLOW);
}

sysret_t sys_fgetxattr(struct task *t, int fd, uaddr_t name, uaddr_t out, size_t size)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? get_from(&t->ctx, &f->path, name, out, size) : -EBADF;
}

static sysret_t list_path(struct task *t, uaddr_t path, uaddr_t out, size_t size, int at)
{
	PATH_REF p = {NULL, NULL};
	int err = look(t, path, at, &p);

	return err ? err : list_of(&t->ctx, &p, out, size);
}

sysret_t sys_listxattr(struct task *t, uaddr_t path, uaddr_t out, size_t size)
{
	return list_path(t, path, out, size, 0);
}

sysret_t sys_llistxattr(struct task *t, uaddr_t path, uaddr_t out, size_t size)
{
	return list_path(t, path, out, size, AT_SYMLINK_NOFOLLOW);
}

sysret_t sys_flistxattr(struct task *t, int fd, uaddr_t out, size_t size)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? list_of(&t->ctx, &f->path, out, size) : -EBADF;
}

static sysret_t remove_path(struct task *t, uaddr_t path, uaddr_t name, int at)
{
	PATH_REF p = {NULL, NULL};
	int err = look(t, path, at, &p);

	return err ? err : remove_from(&t->ctx, &p, name);
}

sysret_t sys_removexattr(struct task *t, uaddr_t path, uaddr_t name)
{
	return remove_path(t, path, name, 0);
}

sysret_t sys_lremovexattr(struct task *t, uaddr_t path, uaddr_t name)
{
	return remove_path(t, path, name, AT_SYMLINK_NOFOLLOW);
}

sysret_t sys_fremovexattr(struct task *t, int fd, uaddr_t name)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? remove_from(&t->ctx, &f->path, name) : -EBADF;
}
