/*
 * Changing and reading attributes: chmod, chown, utimens, truncate, fallocate, access, statfs. The checks are Linux's notify_change() and its callers;
 * the file system's setattr op stores what is left. An op is called with the inode's lock held.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/mount.h>

#include "fs/notify.h"
#include "fs/vfs.h"
#include "sentry/base/clock.h"
#include "sentry/base/cred.h"

/* statfs f_flags. */
enum { ST_VALID = 0x20, ST_K_NOATIME = 0x400, ST_K_NODIRATIME = 0x800, ST_K_RELATIME = 0x1000 };

int inode_setattr_locked(struct ctx *c, struct inode *i, unsigned valid, const struct attr *a)
{
	struct attr full = *a;
	int64_t now = inode_now();

	valid |= ATTR_CTIME;
	full.ctime = now;
	if ((valid & ATTR_SIZE) && (valid & ATTR_MTIME) && a->mtime == 0)
		full.mtime = now;
	if (i->ops && i->ops->setattr)
		return i->ops->setattr(c, i, valid, &full);
	inode_setattr_fields(i, valid, &full);
	return 0;
}

/* The mode without set-ID bits that do not survive a write or a change of owner. */
static uint32_t mode_without_privs(const struct inode *i)
{
	uint32_t mode = i->mode & ~(uint32_t)S_ISUID;

	return mode & S_IXGRP ? mode & ~(uint32_t)S_ISGID : mode;
}

int inode_remove_privs(struct ctx *c, struct inode *i)
{
	struct attr a = {.mode = mode_without_privs(i)};

	if (!S_ISREG(i->mode) || a.mode == i->mode || cred_capable(c->cred, CAP_FSETID))
		return 0;
	return inode_setattr_locked(c, i, ATTR_MODE, &a);
}

void file_accessed(struct file *f)
{
	struct inode *i = f->inode;
	int64_t now;

	if ((f->flags & O_NOATIME) || (f->path.mnt->flags & (MS_NOATIME | MS_RDONLY)) || i->super->read_only)
		return;
	if (S_ISDIR(i->mode) && (f->path.mnt->flags & MS_NODIRATIME))
		return;
	now = inode_now();
	if (i->atime <= i->mtime || i->atime <= i->ctime || i->atime < now - 24 * 3600 * NSEC_PER_SEC)
		i->atime = now;
}

int vfs_getattr(struct ctx *c, const struct path *p, struct attr *ret)
{
	return inode_getattr(c, p->dentry->inode, ret);
}

static int set_and_notify(struct ctx *c, const struct path *p, unsigned valid, const struct attr *a)
{
	int err = inode_setattr_locked(c, p->dentry->inode, valid, a);

	if (!err)
		fsnotify_dentry(p->dentry, valid & ATTR_SIZE ? IN_MODIFY : IN_ATTRIB);
	return err;
}

int vfs_chmod(struct ctx *c, const struct path *p, uint32_t mode)
{
	struct inode *i = p->dentry->inode;
	struct attr a = {.mode = mode & 07777};
	int err = mount_want_write(p->mnt);

	if (err)
		return err;
	if (S_ISLNK(i->mode))
		return -EOPNOTSUPP;
	inode_lock(i);
	if (!inode_owner_or_capable(c, i))
		err = -EPERM;
	if (!cred_in_group(c->cred, i->gid) && !cred_capable(c->cred, CAP_FSETID))
		a.mode &= ~(uint32_t)S_ISGID;
	if (!err)
		err = set_and_notify(c, p, ATTR_MODE, &a);
	inode_unlock(i);
	return err;
}

static bool may_chown(struct ctx *c, const struct inode *i, uint32_t uid, uint32_t gid)
{
	bool owner = c->cred->fsuid == i->uid;

	if (cred_capable(c->cred, CAP_CHOWN))
		return true;
	if (uid != UINT32_MAX && !(owner && uid == i->uid))
		return false;
	return gid == UINT32_MAX || (owner && (gid == i->gid || cred_in_group(c->cred, gid)));
}

int vfs_chown(struct ctx *c, const struct path *p, uint32_t uid, uint32_t gid)
{
	struct inode *i = p->dentry->inode;
	struct attr a = {.uid = uid, .gid = gid};
	unsigned valid = (uid != UINT32_MAX ? ATTR_UID : 0u) | (gid != UINT32_MAX ? ATTR_GID : 0u);
	int err = mount_want_write(p->mnt);

	if (err)
		return err;
	inode_lock(i);
	if (!may_chown(c, i, uid, gid))
		err = -EPERM;
	a.mode = mode_without_privs(i);
	if (!S_ISDIR(i->mode) && a.mode != i->mode)
		valid |= ATTR_MODE;
	if (!err)
		err = set_and_notify(c, p, valid, &a);
	inode_unlock(i);
	return err;
}

static int may_utimes(struct ctx *c, struct inode *i, bool both_now)
{
	if (inode_owner_or_capable(c, i))
		return 0;
	return both_now ? inode_permission(c, i, MAY_WRITE) : -EPERM;
}

int vfs_utimes(struct ctx *c, const struct path *p, int64_t atime, int64_t mtime)
{
	struct inode *i = p->dentry->inode;
	int64_t now = clock_now(CLOCK_REALTIME);
	struct attr a = {.atime = atime == VFS_TIME_NOW ? now : atime, .mtime = mtime == VFS_TIME_NOW ? now : mtime};
	unsigned valid = (atime != VFS_TIME_OMIT ? ATTR_ATIME : 0u) | (mtime != VFS_TIME_OMIT ? ATTR_MTIME : 0u);
	int err;

	if (!valid)
		return 0;
	err = mount_want_write(p->mnt);
	if (err)
		return err;
	inode_lock(i);
	err = may_utimes(c, i, atime == VFS_TIME_NOW && mtime == VFS_TIME_NOW);
	if (!err)
		err = set_and_notify(c, p, valid, &a);
	inode_unlock(i);
	return err;
}

/* The size part of truncate and ftruncate, permissions done. */
static int set_size(struct ctx *c, struct inode *i, off_t size)
{
	struct attr a = {.size = (uint64_t)size};
	int err;

	if (size < 0)
		return -EINVAL;
	inode_lock(i);
	if ((uint64_t)size > i->size && (uint64_t)size > c->rlimit_fsize) {
		inode_unlock(i);
		c->raise(c, SIGXFSZ);
		return -EFBIG;
	}
	err = inode_remove_privs(c, i);
	if (!err)
		err = inode_setattr_locked(c, i, ATTR_SIZE | ATTR_MTIME, &a);
	inode_unlock(i);
	return err;
}

int vfs_truncate(struct ctx *c, const struct path *p, off_t size)
{
	struct inode *i = p->dentry->inode;
	int err;

	if (S_ISDIR(i->mode))
		return -EISDIR;
	if (!S_ISREG(i->mode) || size < 0)
		return -EINVAL;
	err = inode_permission(c, i, MAY_WRITE);
	if (!err)
		err = mount_want_write(p->mnt);
	if (!err && i->write_count < 0)
		err = -ETXTBSY;
	if (!err)
		err = set_size(c, i, size);
	if (!err)
		fsnotify_dentry(p->dentry, IN_MODIFY);
	return err;
}

int vfs_ftruncate(struct ctx *c, struct file *f, off_t size)
{
	int err;

	if (!S_ISREG(f->inode->mode) || (f->flags & O_ACCMODE) == O_RDONLY || size < 0)
		return -EINVAL;
	err = set_size(c, f->inode, size);
	if (!err)
		fsnotify_file(f, IN_MODIFY);
	return err;
}

static int check_fallocate(struct ctx *c, struct file *f, int mode, off_t off, off_t size)
{
	off_t end;

	if (off < 0 || size <= 0)
		return -EINVAL;
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_COLLAPSE_RANGE |
		     FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE))
		return -EOPNOTSUPP;
	if ((mode & FALLOC_FL_PUNCH_HOLE) && (mode & FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if ((mode & FALLOC_FL_PUNCH_HOLE) && !(mode & FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	if ((f->flags & O_ACCMODE) == O_RDONLY || (f->flags & O_PATH))
		return -EBADF;
	if ((f->flags & O_APPEND) && (mode & ~FALLOC_FL_KEEP_SIZE))
		return -EPERM;
	if (S_ISFIFO(f->inode->mode))
		return -ESPIPE;
	if (S_ISDIR(f->inode->mode))
		return -EISDIR;
	if (!S_ISREG(f->inode->mode))
		return -ENODEV;
	if (__builtin_add_overflow(off, size, &end))
		return -EFBIG;
	if (!(mode & FALLOC_FL_KEEP_SIZE) && (uint64_t)end > c->rlimit_fsize) {
		c->raise(c, SIGXFSZ);
		return -EFBIG;
	}
	return f->ops->fallocate ? 0 : -EOPNOTSUPP;
}

int vfs_fallocate(struct ctx *c, struct file *f, int mode, off_t off, off_t size)
{
	int err = check_fallocate(c, f, mode, off, size);

	if (!err)
		err = f->ops->fallocate(c, f, mode, off, size);
	if (!err)
		fsnotify_file(f, IN_MODIFY);
	return err;
}

int vfs_access(struct ctx *c, const struct path *p, int mask)
{
	struct inode *i = p->dentry->inode;
	int err;

	if ((mask & MAY_EXEC) && S_ISREG(i->mode) && (p->mnt->flags & MS_NOEXEC))
		return -EACCES;
	err = inode_permission(c, i, mask);
	if (!err && (mask & MAY_WRITE) && !S_ISCHR(i->mode) && !S_ISBLK(i->mode) && !S_ISFIFO(i->mode) &&
	    !S_ISSOCK(i->mode))
		err = mount_want_write(p->mnt);
	return err;
}

int vfs_statfs(struct ctx *c, const struct path *p, struct k_statfs *ret)
{
	struct super *s = p->mnt->super;
	uint64_t flags = p->mnt->flags & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
	int err = 0;

	*ret = (struct k_statfs){.type = (int64_t)s->ops->magic,
				 .bsize = PAGE_SIZE,
				 .namelen = (int64_t)s->max_name,
				 .frsize = PAGE_SIZE,
				 .fsid = {(int32_t)s->dev, 0}};
	if (s->ops->statfs)
		err = s->ops->statfs(c, s, ret);
	/* MS_RDONLY..MS_NOEXEC and ST_RDONLY..ST_NOEXEC are the same bits; the atime ones are not. */
	ret->flags = (int64_t)(ST_VALID | flags | (s->read_only ? 1 : 0));
	if (p->mnt->flags & MS_NOATIME)
		ret->flags |= ST_K_NOATIME;
	if (p->mnt->flags & MS_NODIRATIME)
		ret->flags |= ST_K_NODIRATIME;
	if (!(p->mnt->flags & MS_NOATIME))
		ret->flags |= ST_K_RELATIME;
	return err;
}

int vfs_fsync(struct ctx *c, struct file *f, bool data_only)
{
	if (f->flags & O_PATH)
		return -EBADF;
	if (f->ops->fsync)
		return f->ops->fsync(c, f, data_only);
	return S_ISREG(f->inode->mode) || S_ISDIR(f->inode->mode) ? 0 : -EINVAL;
}

int vfs_readlink(struct ctx *c, const struct path *p, char **ret_target)
{
	struct inode *i = p->dentry->inode;

	if (!S_ISLNK(i->mode) || !i->ops->readlink)
		return -EINVAL;
	return i->ops->readlink(c, i, ret_target);
}
