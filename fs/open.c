/*
 * open(2): from a name and flags to an open description.
 *
 * The name is walked to its parent; then the last component is looked up, created under the directory's lock if O_CREAT asks for it
 * and it is not there, and followed if it is a symbolic link that may be followed - which starts over with the link's
 * target. What is opened is decided by the inode's type: FIFOs and devices have openers of their own, whatever the file system.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "fs/dev.h"
#include "fs/fs_struct.h"
#include "fs/notify.h"
#include "fs/pipe.h"
#include "fs/vfs.h"
#include "fs/walk.h"
#include "sentry/base/cred.h"

#define K_O_LARGEFILE 0100000
#define K_O_TMPFILE 020000000
#define ONCE_FLAGS (O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC)

static const struct file_ops path_only_ops;

static int access_mask(int flags)
{
	static const int masks[] = {MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE};

	return masks[flags & O_ACCMODE] | (flags & O_TRUNC ? MAY_WRITE : 0);
}

static int check_type(const struct path *p, int flags, int mask)
{
	const struct inode *i = p->dentry->inode;

	if ((flags & O_DIRECTORY) && !S_ISDIR(i->mode))
		return -ENOTDIR;
	switch (i->mode & S_IFMT) {
	case S_IFLNK:
		return -ELOOP;
	case S_IFDIR:
		return (mask & MAY_WRITE) || (flags & O_CREAT) ? -EISDIR : 0;
	case S_IFBLK:
	case S_IFCHR:
		return p->mnt->flags & MS_NODEV ? -EACCES : 0;
	}
	return 0;
}

/* Linux's may_open(). */
static int may_open(struct ctx *c, const struct path *p, int flags)
{
	struct inode *i = p->dentry->inode;
	bool plain = S_ISREG(i->mode) || S_ISDIR(i->mode);
	int mask = access_mask(flags);
	int err = check_type(p, flags, mask);

	if (!err)
		err = inode_permission(c, i, mask);
	if (!err && (mask & MAY_WRITE) && plain)
		err = mount_want_write(p->mnt);
	if (!err && (flags & O_NOATIME) && !inode_owner_or_capable(c, i))
		err = -EPERM;
	return err;
}

/* Counts a writer; -ETXTBSY while the file is being executed. */
static int writer_get(struct inode *i)
{
	int32_t n = i->write_count;

	do {
		if (n < 0)
			return -ETXTBSY;
	} while (!__atomic_compare_exchange_n((int32_t *)&i->write_count, &n, n + 1, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	return 0;
}

static int open_by_type(struct ctx *c, struct inode *i, struct file *f)
{
	switch (i->mode & S_IFMT) {
	case S_IFIFO:
		return i->ops->open_fifo ? i->ops->open_fifo(c, i, f) : fifo_open(c, i, f);
	case S_IFCHR:
		return i->ops->open ? i->ops->open(c, i, f) : chrdev_open(c, i, f);
	case S_IFBLK:
	case S_IFSOCK:
		return -ENXIO;
	}
	return i->ops->open ? i->ops->open(c, i, f) : 0;
}

/* Everything is checked: makes the description. */
static int do_open(struct ctx *c, const struct path *p, int flags, struct file **ret)
{
	struct inode *i = p->dentry->inode;
	FILE_REF f = file_create(p, i->file_ops, (flags & ~(ONCE_FLAGS & ~O_NOCTTY)) | K_O_LARGEFILE, c->cred);
	bool writer = S_ISREG(i->mode) && (flags & O_ACCMODE) != O_RDONLY;
	int err;

	if (!f)
		return -ENOMEM;
	if (writer && (err = writer_get(i)))
		return err;
	err = open_by_type(c, i, f);
	if (!err && !f->ops)
		err = -ENXIO;
	if (err) {
		if (writer)
			__atomic_fetch_sub((int32_t *)&i->write_count, 1, __ATOMIC_RELEASE);
		return err;
	}
	f->flags &= ~O_NOCTTY; /* the terminal's opener has seen it */
	f->flags &= ~O_TRUNC;
	f->opened = true;
	f->seekable = f->ops->llseek != NULL;
	*ret = take(f);
	return 0;
}

static int open_o_path(struct ctx *c, const struct path *p, int flags, struct file **ret)
{
	if ((flags & O_DIRECTORY) && !S_ISDIR(p->dentry->inode->mode))
		return -ENOTDIR;
	*ret = file_create(p, &path_only_ops, flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW), c->cred);
	return *ret ? 0 : -ENOMEM;
}

static int truncate_opened(struct ctx *c, struct file *f)
{
	struct attr a = {.size = 0};
	int err;

	inode_lock(f->inode);
	err = inode_remove_privs(c, f->inode);
	if (!err)
		err = inode_setattr_locked(c, f->inode, ATTR_SIZE | ATTR_MTIME, &a);
	inode_unlock(f->inode);
	if (!err)
		fsnotify_file(f, IN_MODIFY);
	return err;
}

/* created: by this call, so that permissions do not matter any more. */
static int open_found(struct ctx *c, const struct path *p, int flags, bool created, struct file **ret)
{
	FILE_REF f = NULL;
	int err;

	if (flags & O_PATH)
		return open_o_path(c, p, flags, ret);
	err = created ? 0 : may_open(c, p, flags);
	if (!err)
		err = do_open(c, p, flags, &f);
	if (!err && (flags & O_TRUNC) && !created && S_ISREG(f->inode->mode))
		err = truncate_opened(c, f);
	if (err)
		return err;
	fsnotify_file(f, IN_OPEN);
	*ret = take(f);
	return 0;
}

int file_open_path(struct ctx *c, const struct path *p, int flags, struct file **ret)
{
	return open_found(c, p, flags & ~(O_CREAT | O_EXCL), false, ret);
}

int file_open_exec(struct ctx *c, const struct path *p, struct file **ret)
{
	return do_open(c, p, O_RDONLY, ret);
}

/* w->last is not there: makes it. Somebody else may be faster, then *ret_created stays false. */
static int create_last(struct walk *w, uint32_t mode, struct path *child, bool *ret_created)
{
	struct inode *dir = w->path.dentry->inode;
	struct dentry *d = NULL;
	int err;

	inode_lock(dir);
	err = dentry_lookup_locked(w->c, w->path.dentry, w->last, strlen(w->last), &d);
	if (err || !dentry_negative(d))
		goto out;
	err = mount_want_write(w->path.mnt);
	if (!err)
		err = inode_may_create(w->c, dir);
	if (!err)
		err = dir->ops->create ? dir->ops->create(w->c, dir, d, S_IFREG | mode) : -EACCES;
	*ret_created = !err;
	if (!err)
		fsnotify_create(dir, w->last, d->inode);
out:
	inode_unlock(dir);
	if (err) {
		dentry_put(d);
		return err;
	}
	dentry_put(child->dentry);
	child->dentry = d;
	return 0;
}

static bool last_is_special(const struct walk *w)
{
	return !w->last[0] || strcmp(w->last, ".") == 0 || strcmp(w->last, "..") == 0;
}

/* The last component, made if need be. */
static int find_or_create(struct walk *w, int flags, uint32_t mode, struct path *ret, bool *ret_created)
{
	int err;

	if ((flags & O_CREAT) && !w->followed_last && (w->slash || last_is_special(w)))
		return -EISDIR;
	err = walk_child(w, ret);
	if (err)
		return err;
	if (dentry_negative(ret->dentry))
		err = flags & O_CREAT ? create_last(w, mode, ret, ret_created) : -ENOENT;
	if (!err && (flags & O_CREAT) && (flags & O_EXCL) && !*ret_created)
		err = -EEXIST;
	if (err)
		path_put(ret);
	return err;
}

static int open_walk(struct walk *w, int flags, uint32_t mode, struct file **ret)
{
	bool created = false;
	struct path p;
	int err = walk_parent(w);

	while (!err) {
		err = find_or_create(w, flags, mode, &p, &created);
		if (err)
			break;
		bool link = S_ISLNK(p.dentry->inode->mode) && !w->followed_last;

		if (link && (w->slash || !(flags & O_NOFOLLOW))) {
			err = walk_follow(w, &p);
			path_put(&p);
			continue;
		}
		if (w->slash && !S_ISDIR(p.dentry->inode->mode))
			err = -ENOTDIR;
		else
			err = open_found(w->c, &p, flags, created, ret);
		path_put(&p);
		break;
	}
	return err;
}

static int open_tmpfile(struct walk *w, int flags, uint32_t mode, struct file **ret)
{
	PATH_REF dir = {NULL, NULL};
	PATH_REF p = {NULL, NULL};
	struct inode *i = NULL;
	char name[32];
	int err;

	w->flags |= LOOKUP_DIRECTORY | LOOKUP_FOLLOW;
	err = walk_to_end(w, &dir);
	if (!err)
		err = mount_want_write(dir.mnt);
	if (err)
		return err;
	inode_lock(dir.dentry->inode);
	err = inode_may_create(w->c, dir.dentry->inode);
	if (!err && !dir.dentry->inode->ops->tmpfile)
		err = -EOPNOTSUPP;
	if (!err)
		err = dir.dentry->inode->ops->tmpfile(w->c, dir.dentry->inode, S_IFREG | mode, &i);
	inode_unlock(dir.dentry->inode);
	if (err)
		return err;
	i->linkable = !(flags & O_EXCL);
	snprintf(name, sizeof(name), "#%lu", (unsigned long)i->ino);
	p.mnt = mount_get(dir.mnt);
	p.dentry = dentry_create_unnamed(dir.dentry, name, i);
	return p.dentry ? open_found(w->c, &p, flags & ~(O_DIRECTORY | O_CREAT), true, ret) : -ENOMEM;
}

/* What Linux's build_open_how() and build_open_flags() refuse or leave out. */
static int check_flags(int *flags, uint32_t *mode, uint32_t umask)
{
	if (*flags & O_PATH)
		*flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	if ((*flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY))
		return -EINVAL;
	if (*flags & K_O_TMPFILE) {
		if (!(*flags & O_DIRECTORY) || !(access_mask(*flags) & MAY_WRITE))
			return -EINVAL;
	}
	*mode = *mode & 07777 & ~umask;
	return 0;
}

int vfs_open(struct ctx *c, int dirfd, const char *name, int flags, uint32_t mode, unsigned lookup, struct file **ret)
{
	struct walk w;
	int err = check_flags(&flags, &mode, c->fs->umask);

	if (err)
		return err;
	if (!*name && !(lookup & LOOKUP_EMPTY))
		return -ENOENT;
	err = walk_init_at(&w, c, dirfd, name, lookup);
	if (err)
		return err;
	err = flags & K_O_TMPFILE ? open_tmpfile(&w, flags, mode, ret) : open_walk(&w, flags, mode, ret);
	walk_done(&w);
	return err;
}
