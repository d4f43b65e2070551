/*
 * host: names and attributes. Directory operations are called with the directory's lock held (and the victim's), so within the sandbox names
 * and the host agree; others on the host may change a shared tree at any moment, which shows as an errno of the host or as -ESTALE, never as a
 * step out of the tree: each call is given a directory's descriptor and one name that is neither "." nor "..".
 */
#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "fs/host/hostfs.h"
#include "fs/hostio.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

/* Makes d what the host has under its name: after a look-up or after it was made. */
static int instantiate(struct inode *dir, int fd, struct dentry *d)
{
	struct statx stx;
	struct inode *i;
	int err = host_statx(fd, d->name, &stx);

	if (!err)
		err = host_inode_get(dir->super, dir, d->name, &stx, &i);
	if (!err)
		dentry_instantiate(d, i);
	return err;
}

static int host_lookup(struct ctx *c __unused, struct inode *dir, struct dentry *d)
{
	int fd, err = host_dir_get(dir, &fd);

	if (err)
		return err;
	err = instantiate(dir, fd, d);
	host_dir_put(dir);
	return err == -ENOENT ? 0 : err;
}

static int host_create_file(struct ctx *c __unused, struct inode *dir, struct dentry *d, uint32_t mode)
{
	const int flags = O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int fd, file, err = host_dir_get(dir, &fd);

	if (err)
		return err;
	file = openat(fd, d->name, flags, mode & 07777);
	err = file < 0 ? -errno : instantiate(dir, fd, d);
	host_dir_put(dir);
	if (file >= 0 && !err && host_node(d->inode)->stash_fd < 0)
		host_node(d->inode)->stash_fd = file;
	else if (file >= 0)
		close(file);
	host_mark_dirty(dir);
	return err;
}

static int host_mkdir(struct ctx *c __unused, struct inode *dir, struct dentry *d, uint32_t mode)
{
	int fd, err = host_dir_get(dir, &fd);

	if (err)
		return err;
	err = mkdirat(fd, d->name, mode & 07777) ? -errno : instantiate(dir, fd, d);
	host_dir_put(dir);
	host_mark_dirty(dir);
	return err;
}

static int host_mknod(struct ctx *c __unused, struct inode *dir, struct dentry *d, uint32_t mode, dev_t rdev)
{
	int fd, err = host_dir_get(dir, &fd);

	if (err)
		return err;
	err = S_ISCHR(mode) || S_ISBLK(mode) ? -EPERM : 0;
	if (!err)
		err = mknodat(fd, d->name, mode, rdev) ? -errno : instantiate(dir, fd, d);
	host_dir_put(dir);
	host_mark_dirty(dir);
	return err;
}

static int host_symlink(struct ctx *c __unused, struct inode *dir, struct dentry *d, const char *target)
{
	int fd, err = host_dir_get(dir, &fd);

	if (err)
		return err;
	err = symlinkat(target, fd, d->name) ? -errno : instantiate(dir, fd, d);
	host_dir_put(dir);
	host_mark_dirty(dir);
	return err;
}

/* A second descriptor of one of the files that have it open, or -errno. */
static int dup_open(struct inode *i)
{
	struct host_file *h;
	int fd = -ESTALE;

	mutex_lock(&host_lock, L_CACHE);
	h = list_first(&host_node(i)->opens, struct host_file, link);
	if (h) {
		fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 3);
		fd = fd < 0 ? -errno : fd;
	}
	mutex_unlock(&host_lock, L_CACHE);
	return fd;
}

/* By a name that it has, or, for a file without one, by a descriptor. */
static int link_to(struct inode *target, int newfd, const char *newname)
{
	char name[16];
	int fd = host_open_node(target, O_PATH), err;

	if (fd == -ESTALE)
		fd = dup_open(target);
	if (fd < 0)
		return fd;
	snprintf(name, sizeof(name), "%d", fd);
	/* Hosts from 6.10 on let the opener do this without a capability. */
	if (linkat(fd, "", newfd, newname, AT_EMPTY_PATH) == 0)
		err = 0;
	else
		err = linkat(hostio_self_dir, name, newfd, newname, AT_SYMLINK_FOLLOW) ? -errno : 0;
	close(fd);
	return err;
}

static int link_by_name(struct inode *target, int newfd, const char *newname)
{
	struct inode *dir;
	char *name;
	int fd, err = host_name_get(target, &dir, &name);

	if (err)
		return err == -ESTALE ? link_to(target, newfd, newname) : err;
	err = host_dir_get(dir, &fd);
	if (!err) {
		err = linkat(fd, name, newfd, newname, 0) ? -errno : 0;
		host_dir_put(dir);
	}
	kfree_string(name);
	inode_put(dir);
	return err;
}

static int host_link(struct ctx *c __unused, struct inode *dir, struct dentry *d, struct inode *target)
{
	int fd, err = host_dir_get(dir, &fd);

	if (err)
		return err;
	err = target->nlink ? link_by_name(target, fd, d->name) : link_to(target, fd, d->name);
	if (!err)
		err = instantiate(dir, fd, d);
	host_dir_put(dir);
	host_mark_dirty(dir);
	return err;
}

/* Somebody besides the dentry cache and the caller may still want the inode. */
static bool in_use(const struct dentry *d)
{
	return ref_count(&d->ref) > 2 || ref_count(&d->inode->ref) > 1;
}

static int remove_name(struct inode *dir, struct dentry *d, int flags)
{
	int fd, err = host_dir_get(dir, &fd);

	if (err)
		return err;
	if (in_use(d))
		host_pin(d->inode);
	err = unlinkat(fd, d->name, flags) ? -errno : 0;
	host_dir_put(dir);
	host_mark_dirty(dir);
	host_mark_dirty(d->inode);
	if (!err)
		host_drop_name(d->inode, dir, d->name);
	if (!err)
		d->inode->nlink = flags || d->inode->nlink == 0 ? 0 : d->inode->nlink - 1;
	return err;
}

static int host_unlink(struct ctx *c __unused, struct inode *dir, struct dentry *d)
{
	return remove_name(dir, d, 0);
}

static int host_rmdir(struct ctx *c __unused, struct inode *dir, struct dentry *d)
{
	return remove_name(dir, d, AT_REMOVEDIR);
}

static void renamed(struct inode *olddir, struct dentry *from, struct inode *newdir, struct dentry *to, bool exchange)
{
	host_drop_name(from->inode, olddir, from->name);
	if (to->inode)
		host_drop_name(to->inode, newdir, to->name);
	host_add_name(from->inode, newdir, to->name);
	host_mark_dirty(from->inode);
	host_mark_dirty(olddir);
	host_mark_dirty(newdir);
	if (!to->inode)
		return;
	host_mark_dirty(to->inode);
	if (exchange)
		host_add_name(to->inode, olddir, from->name);
	else
		to->inode->nlink = S_ISDIR(to->inode->mode) ? 0 : to->inode->nlink - 1;
}

static int host_rename(struct ctx *c __unused, struct inode *olddir, struct dentry *from, struct inode *newdir,
		       struct dentry *to, unsigned flags)
{
	int oldfd, newfd, err = host_dir_get(olddir, &oldfd);

	if (err)
		return err;
	err = host_dir_get(newdir, &newfd);
	if (!err) {
		if (to->inode && !(flags & RENAME_EXCHANGE) && in_use(to))
			host_pin(to->inode);
		err = syscall(SYS_renameat2, oldfd, from->name, newfd, to->name, flags) ? -errno : 0;
		host_dir_put(newdir);
	}
	host_dir_put(olddir);
	if (!err)
		renamed(olddir, from, newdir, to, flags & RENAME_EXCHANGE);
	return err;
}

static int host_tmpfile(struct ctx *c __unused, struct inode *dir, uint32_t mode, struct inode **ret)
{
	struct statx stx;
	int fd = -1, dirfd, err = host_dir_get(dir, &dirfd);

	if (err)
		return err;
	fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode & 07777);
	err = fd < 0 ? -errno : host_statx(fd, "", &stx);
	host_dir_put(dir);
	if (!err)
		err = host_inode_get(dir->super, dir, ".", &stx, ret);
	if (err) {
		if (fd >= 0)
			close(fd);
		return err;
	}
	host_node(*ret)->stash_fd = fd;
	/* It has no name: its descriptor is the only way to it. */
	host_drop_name(*ret, dir, ".");
	mutex_lock(&host_lock, L_CACHE);
	host_node(*ret)->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	host_node(*ret)->fd_users = 1;
	mutex_unlock(&host_lock, L_CACHE);
	host_mark_dirty(*ret);
	return 0;
}

static ssize_t readlink_by_name(struct inode *i, char *buf, size_t size)
{
	struct inode *dir;
	char *name;
	ssize_t len = -ESTALE;
	int fd, err = host_name_get(i, &dir, &name);

	if (err)
		return err;
	err = host_dir_get(dir, &fd);
	if (!err) {
		len = readlinkat(fd, name, buf, size);
		len = len < 0 ? -errno : len;
		host_dir_put(dir);
	}
	kfree_string(name);
	inode_put(dir);
	return err ? err : len;
}

static int host_readlink(struct ctx *c __unused, struct inode *i, char **ret_target)
{
	char buf[PATH_MAX];
	ssize_t len;

	if (host_node(i)->fd >= 0) {
		len = readlinkat(host_node(i)->fd, "", buf, sizeof(buf));
		len = len < 0 ? -errno : len;
	} else {
		len = readlink_by_name(i, buf, sizeof(buf));
	}
	if (len < 0)
		return len == -EINVAL ? -ESTALE : (int)len;
	if (len == sizeof(buf))
		return -ENAMETOOLONG;
	buf[len] = 0;
	*ret_target = kstrdup(buf);
	return *ret_target ? 0 : -ENOMEM;
}

static int host_getattr(struct ctx *c __unused, struct inode *i, struct attr *ret)
{
	struct host_node *n = host_node(i);
	int err;

	if (host_super(i->super)->shared || __atomic_load_n(&n->dirty, __ATOMIC_RELAXED)) {
		err = host_refresh(i);
		/* A name that went away while the inode is in use: the last that is known. */
		if (err && err != -ESTALE)
			return err;
	}
	*ret = (struct attr){
	    .mode = i->mode,
	    .uid = i->uid,
	    .gid = i->gid,
	    .nlink = i->nlink,
	    .ino = i->ino,
	    .size = i->size,
	    .blocks = n->blocks,
	    .blksize = n->blksize,
	    .dev = n->dev,
	    .rdev = i->rdev,
	    .atime = i->atime,
	    .mtime = i->mtime,
	    .ctime = i->ctime,
	    .btime = i->btime,
	};
	return 0;
}

const struct inode_ops host_dir_ops = {
    .lookup = host_lookup,
    .create = host_create_file,
    .mkdir = host_mkdir,
    .mknod = host_mknod,
    .symlink = host_symlink,
    .link = host_link,
    .unlink = host_unlink,
    .rmdir = host_rmdir,
    .rename = host_rename,
    .tmpfile = host_tmpfile,
    .getattr = host_getattr,
    .setattr = host_setattr,
    .open = host_open_file,
    .getxattr = host_getxattr,
    .setxattr = host_setxattr,
    .removexattr = host_removexattr,
    .listxattr = host_listxattr,
};

const struct inode_ops host_file_inode_ops = {
    .getattr = host_getattr,
    .setattr = host_setattr,
    .open = host_open_file,
    .getxattr = host_getxattr,
    .setxattr = host_setxattr,
    .removexattr = host_removexattr,
    .listxattr = host_listxattr,
};

const struct inode_ops host_symlink_ops = {
    .readlink = host_readlink,
    .getattr = host_getattr,
    .setattr = host_setattr,
};

const struct inode_ops host_special_ops = {
    .getattr = host_getattr,
    .setattr = host_setattr,
    .open_fifo = host_open_fifo,
};
