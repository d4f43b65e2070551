/*
 * host: changing attributes and extended attributes.
 *
 * What can be done by a name in a directory's descriptor without following links is done so; chmod needs fchmodat2() for that, or, on older
 * hosts, a descriptor of the inode. Extended attributes need a real descriptor.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "fs/host/hostfs.h"
#include "fs/hostio.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

/*
 * Where calls on an inode go: a directory and a name, or the inode's own fd and "". In a tree that others change at the same time a name may
 * lead to another file than the one whose owner was asked; there it is a descriptor that was checked to be the inode.
 */
struct place {
	int fd;
	const char *name;
	struct inode *dir; /* a reference, or NULL */
	char *copy;        /* of the name */
	bool opened;       /* fd is our own */
};

static int place_get(struct inode *i, struct place *p)
{
	struct host_node *n = host_node(i);
	int err;

	*p = (struct place){.fd = n->fd, .name = ""};
	if (n->fd_users && n->fd >= 0 && !S_ISDIR(i->mode))
		return 0;
	if (host_super(i->super)->shared) {
		p->fd = host_open_node(i, O_PATH);
		p->opened = p->fd >= 0;
		return MIN(p->fd, 0);
	}
	err = host_name_get(i, &p->dir, &p->copy);
	if (err)
		return err == -ESTALE && n->fd >= 0 ? 0 : err;
	p->name = p->copy;
	err = host_dir_get(p->dir, &p->fd);
	if (err) {
		kfree_string(p->copy);
		inode_put(p->dir);
	}
	return err;
}

static void place_put(struct place *p)
{
	if (p->opened)
		close(p->fd);
	if (!p->dir)
		return;
	host_dir_put(p->dir);
	kfree_string(p->copy);
	inode_put(p->dir);
}

static int chmod_by_self_dir(int fd, uint32_t mode)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", fd);
	return fchmodat(hostio_self_dir, name, mode, 0) ? -errno : 0;
}

static int set_mode(struct inode *i, const struct place *p, uint32_t mode)
{
	int fd, err;

	if (syscall(SYS_fchmodat2, p->fd, p->name, mode, AT_SYMLINK_NOFOLLOW | (*p->name ? 0 : AT_EMPTY_PATH)) == 0)
		return 0;
	if (errno != ENOSYS)
		return -errno;
	fd = host_open_node(i, O_PATH);
	if (fd < 0)
		return fd;
	err = chmod_by_self_dir(fd, mode);
	close(fd);
	return err;
}

static struct timespec time_arg(bool set, int64_t ns)
{
	return set ? ns_to_timespec(ns) : (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int set_times(const struct place *p, unsigned valid, const struct attr *a)
{
	struct timespec ts[2] = {time_arg(valid & ATTR_ATIME, a->atime), time_arg(valid & ATTR_MTIME, a->mtime)};

	return utimensat(p->fd, p->name, ts, AT_SYMLINK_NOFOLLOW | (*p->name ? 0 : AT_EMPTY_PATH)) ? -errno : 0;
}

static int set_owner(const struct place *p, unsigned valid, const struct attr *a)
{
	uid_t uid = valid & ATTR_UID ? a->uid : (uid_t)-1;
	gid_t gid = valid & ATTR_GID ? a->gid : (gid_t)-1;

	return fchownat(p->fd, p->name, uid, gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) ? -errno : 0;
}

/* A description that can write has been found if there is one; else the file is opened for it. */
static int set_size(struct inode *i, uint64_t size)
{
	struct host_file *h;
	int err = -EBADF, fd;

	mutex_lock(&host_lock, L_CACHE);
	list_for_each(h, &host_node(i)->opens, link) {
		err = ftruncate(h->fd, (off_t)size) ? -errno : 0;
		if (err != -EINVAL && err != -EBADF)
			break;
	}
	mutex_unlock(&host_lock, L_CACHE);
	if (err != -EBADF && err != -EINVAL)
		return err;
	fd = host_open_node(i, O_WRONLY);
	if (fd < 0)
		return fd;
	err = ftruncate(fd, (off_t)size) ? -errno : 0;
	close(fd);
	return err;
}

int host_setattr(struct ctx *c __unused, struct inode *i, unsigned valid, const struct attr *a)
{
	struct place p;
	int err = valid & ATTR_SIZE ? set_size(i, a->size) : 0;

	if (valid & ATTR_SIZE)
		valid &= ~(unsigned)ATTR_MTIME; /* the host has done it */
	if (!err)
		err = place_get(i, &p);
	if (err)
		return err;
	if (valid & (ATTR_UID | ATTR_GID))
		err = set_owner(&p, valid, a);
	if (!err && (valid & ATTR_MODE))
		err = set_mode(i, &p, a->mode & 07777);
	if (!err && (valid & (ATTR_ATIME | ATTR_MTIME)))
		err = set_times(&p, valid, a);
	place_put(&p);
	host_mark_dirty(i);
	if (!err)
		(void)host_refresh(i);
	return err;
}

/* A real descriptor, or -errno: attributes of what we may not read are not to be had. */
static int xattr_fd(struct inode *i)
{
	int fd;

	if (!S_ISREG(i->mode) && !S_ISDIR(i->mode))
		return -EOPNOTSUPP;
	fd = host_open_node(i, O_RDONLY | (S_ISDIR(i->mode) ? O_DIRECTORY : 0));
	return fd;
}

ssize_t host_getxattr(struct ctx *c __unused, struct inode *i, const char *name, void *value, size_t size)
{
	int fd = xattr_fd(i);
	ssize_t r;

	if (fd < 0)
		return fd == -EACCES ? -ENODATA : fd;
	r = fgetxattr(fd, name, value, size);
	r = r < 0 ? -errno : r;
	close(fd);
	return r;
}

ssize_t host_listxattr(struct ctx *c __unused, struct inode *i, char *list, size_t size)
{
	int fd = xattr_fd(i);
	ssize_t r;

	if (fd < 0)
		return fd == -EACCES ? 0 : fd;
	r = flistxattr(fd, list, size);
	r = r < 0 ? -errno : r;
	close(fd);
	return r;
}

int host_setxattr(struct ctx *c __unused, struct inode *i, const char *name, const void *value, size_t size, int flags)
{
	int fd = xattr_fd(i), err;

	if (fd < 0)
		return fd;
	err = fsetxattr(fd, name, value, size, flags) ? -errno : 0;
	close(fd);
	return err;
}

int host_removexattr(struct ctx *c __unused, struct inode *i, const char *name)
{
	int fd = xattr_fd(i), err;

	if (fd < 0)
		return fd;
	err = fremovexattr(fd, name) ? -errno : 0;
	close(fd);
	return err;
}
