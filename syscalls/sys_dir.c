/* Directories and names: getdents, mkdir, mknod, link, unlink, rename, symlink, readlink, chdir, getcwd, chroot. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/fdtable.h"
#include "fs/vfs.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"
#include "sentry/task.h"
#include "syscalls/lookup.h"
#include "syscalls/syscalls.h"

#define DENTS_MAX (32ul << 10)

struct dents_sink {
	struct dir_sink sink;
	char *buf;
	size_t room, used;
	bool old_format, too_small;
};

/* Records of both calls: ino, off, reclen; then type and name, or name and, in the last byte, type. */
static bool emit_dent(struct dir_sink *sink, const char *name, size_t len, uint64_t ino, unsigned type, off_t next)
{
	struct dents_sink *s = container_of(sink, struct dents_sink, sink);
	size_t head = s->old_format ? 18 : 19;
	size_t size = (head + len + 1 + (s->old_format ? 1 : 0) + 7) & ~7ul;
	char *at = s->buf + s->used;
	uint16_t reclen = (uint16_t)size;

	if (s->used + size > s->room) {
		s->too_small = s->used == 0;
		return false;
	}
	memset(at, 0, size);
	memcpy(at, &ino, 8);
	memcpy(at + 8, &next, 8);
	memcpy(at + 16, &reclen, 2);
	at[s->old_format ? size - 1 : 18] = (char)type;
	memcpy(at + head, name, len);
	s->used += size;
	return true;
}

static sysret_t getdents_into(struct ctx *c, struct file *f, uaddr_t out, struct dents_sink *s)
{
	int err = file_iterate(c, f, &s->sink);

	if (err && !s->used)
		return err;
	if (s->too_small)
		return -EINVAL;
	return copy_out(c, out, s->buf, s->used) ? -EFAULT : (sysret_t)s->used;
}

static sysret_t do_getdents(struct task *t, int fd, uaddr_t out, unsigned count, bool old_format)
{
	FILE_REF f = fd_get(&t->ctx, fd);
	struct dents_sink s = {.sink.emit = emit_dent, .room = MIN(count, DENTS_MAX), .old_format = old_format};
	sysret_t r;

	if (!f)
		return -EBADF;
	s.buf = kalloc(DENTS_MAX);
	if (!s.buf)
		return -ENOMEM;
	r = getdents_into(&t->ctx, f, out, &s);
	kfree(s.buf, DENTS_MAX);
	return r;
}

sysret_t sys_getdents64(struct task *t, int fd, uaddr_t out, unsigned count)
{
	return do_getdents(t, fd, out, count, false);
}

sysret_t sys_getdents(struct task *t, int fd, uaddr_t out, unsigned count)
{
	return do_getdents(t, fd, out, count, true);
}

sysret_t sys_mkdirat(struct task *t, int dirfd, uaddr_t path, uint32_t mode)
{
	PATH_NAME name = NULL;
	int err = path_name_copy(&t->ctx, path, 0, &name);

	return err ? err : vfs_mkdir(&t->ctx, dirfd, name, mode);
}

sysret_t sys_mkdir(struct task *t, uaddr_t path, uint32_t mode)
{
	return sys_mkdirat(t, AT_FDCWD, path, mode);
}

sysret_t sys_mknodat(struct task *t, int dirfd, uaddr_t path, uint32_t mode, uint32_t dev)
{
	PATH_NAME name = NULL;
	int err = path_name_copy(&t->ctx, path, 0, &name);

	return err ? err : vfs_mknod(&t->ctx, dirfd, name, mode, S_ISCHR(mode) || S_ISBLK(mode) ? dev : 0);
}

sysret_t sys_mknod(struct task *t, uaddr_t path, uint32_t mode, uint32_t dev)
{
	return sys_mknodat(t, AT_FDCWD, path, mode, dev);
}

sysret_t sys_unlinkat(struct task *t, int dirfd, uaddr_t path, int flags)
{
	PATH_NAME name = NULL;
	int err;

	if (flags & ~AT_REMOVEDIR)
		return -EINVAL;
	err = path_name_copy(&t->ctx, path, 0, &name);
	if (err)
		return err;
	return flags ? vfs_rmdir(&t->ctx, dirfd, name) : vfs_unlink(&t->ctx, dirfd, name);
}

sysret_t sys_unlink(struct task *t, uaddr_t path)
{
	return sys_unlinkat(t, AT_FDCWD, path, 0);
}

sysret_t sys_rmdir(struct task *t, uaddr_t path)
{
	return sys_unlinkat(t, AT_FDCWD, path, AT_REMOVEDIR);
}

sysret_t sys_symlinkat(struct task *t, uaddr_t target, int dirfd, uaddr_t path)
{
	PATH_NAME to = NULL;
	PATH_NAME name = NULL;
	int err = path_name_copy(&t->ctx, target, 0, &to);

	if (!err)
		err = path_name_copy(&t->ctx, path, 0, &name);
	return err ? err : vfs_symlink(&t->ctx, to, dirfd, name);
}

sysret_t sys_symlink(struct task *t, uaddr_t target, uaddr_t path)
{
	return sys_symlinkat(t, target, AT_FDCWD, path);
}

sysret_t sys_linkat(struct task *t, int olddirfd, uaddr_t oldpath, int newdirfd, uaddr_t newpath, int flags)
{
	unsigned lookup =
	    (flags & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0u) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0u);
	PATH_NAME from = NULL;
	PATH_NAME to = NULL;
	int err;

	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if ((flags & AT_EMPTY_PATH) && !cred_capable(t->ctx.cred, CAP_DAC_READ_SEARCH))
		return -ENOENT;
	err = path_name_copy(&t->ctx, oldpath, lookup, &from);
	if (!err)
		err = path_name_copy(&t->ctx, newpath, 0, &to);
	return err ? err : vfs_link(&t->ctx, olddirfd, from, lookup, newdirfd, to);
}

sysret_t sys_link(struct task *t, uaddr_t oldpath, uaddr_t newpath)
{
	return sys_linkat(t, AT_FDCWD, oldpath, AT_FDCWD, newpath, 0);
}

sysret_t sys_renameat2(struct task *t, int olddirfd, uaddr_t oldpath, int newdirfd, uaddr_t newpath, unsigned flags)
{
	PATH_NAME from = NULL;
	PATH_NAME to = NULL;
	int err = path_name_copy(&t->ctx, oldpath, 0, &from);

	if (!err)
		err = path_name_copy(&t->ctx, newpath, 0, &to);
	return err ? err : vfs_rename(&t->ctx, olddirfd, from, newdirfd, to, flags);
}

sysret_t sys_renameat(struct task *t, int olddirfd, uaddr_t oldpath, int newdirfd, uaddr_t newpath)
{
	return sys_renameat2(t, olddirfd, oldpath, newdirfd, newpath, 0);
}

sysret_t sys_rename(struct task *t, uaddr_t oldpath, uaddr_t newpath)
{
	return sys_renameat2(t, AT_FDCWD, oldpath, AT_FDCWD, newpath, 0);
}

/* An empty name is the link that dirfd (O_PATH | O_NOFOLLOW) refers to; -ENOENT if it refers to something else. */
sysret_t sys_readlinkat(struct task *t, int dirfd, uaddr_t path, uaddr_t out, size_t size)
{
	PATH_REF p = {NULL, NULL};
	char *target;
	size_t len;
	int err;

	if ((int)size <= 0)
		return -EINVAL;
	err = lookup_user(&t->ctx, dirfd, path, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, &p);
	if (!err)
		err = vfs_readlink(&t->ctx, &p, &target);
	if (err)
		return err;
	len = MIN(strlen(target), size);
	err = copy_out(&t->ctx, out, target, len);
	kfree_string(target);
	return err ? err : (sysret_t)len;
}

sysret_t sys_readlink(struct task *t, uaddr_t path, uaddr_t out, size_t size)
{
	char first;

	if (copy_in(&t->ctx, &first, path, 1))
		return -EFAULT;
	return first ? sys_readlinkat(t, AT_FDCWD, path, out, size) : -ENOENT;
}

static int check_chdir(struct ctx *c, const struct path *p)
{
	if (!S_ISDIR(p->dentry->inode->mode))
		return -ENOTDIR;
	return inode_permission(c, p->dentry->inode, MAY_EXEC);
}

sysret_t sys_chdir(struct task *t, uaddr_t path)
{
	PATH_REF p = {NULL, NULL};
	int err = lookup_user(&t->ctx, AT_FDCWD, path, 0, &p);

	if (!err)
		err = check_chdir(&t->ctx, &p);
	if (!err)
		fs_set_cwd(&t->ctx, &p);
	return err;
}

sysret_t sys_fchdir(struct task *t, int fd)
{
	FILE_REF f = fd_get_raw(&t->ctx, fd);
	int err;

	if (!f)
		return -EBADF;
	err = check_chdir(&t->ctx, &f->path);
	if (!err)
		fs_set_cwd(&t->ctx, &f->path);
	return err;
}

sysret_t sys_chroot(struct task *t, uaddr_t path)
{
	PATH_REF p = {NULL, NULL};
	int err = lookup_user(&t->ctx, AT_FDCWD, path, 0, &p);

	if (!err)
		err = check_chdir(&t->ctx, &p);
	if (!err && !cred_capable(t->ctx.cred, CAP_SYS_CHROOT))
		err = -EPERM;
	if (!err)
		fs_set_root(&t->ctx, &p);
	return err;
}

static bool is_removed(const struct path *p)
{
	return p->dentry->inode->dead || (p->dentry->parent != p->dentry && !p->dentry->hashed);
}

sysret_t sys_getcwd(struct task *t, uaddr_t out, size_t size)
{
	PATH_REF root = {NULL, NULL};
	PATH_REF cwd = {NULL, NULL};
	char buf[PATH_MAX], *s;
	size_t len;
	int err = 0;

	fs_get_root(&t->ctx, &root);
	fs_get_cwd(&t->ctx, &cwd);
	if (is_removed(&cwd))
		return -ENOENT;
	s = path_to_string(&cwd, &root, buf, sizeof(buf), &err);
	if (!s)
		return err;
	len = strlen(s) + 1;
	if (len > size)
		return -ERANGE;
	return copy_out(&t->ctx, out, s, len) ? -EFAULT : (sysret_t)len;
}
