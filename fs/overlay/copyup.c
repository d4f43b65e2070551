/*
 * overlay: copy-up. The first change of something that is only in a lower layer makes it in the upper one, after the directories above
 * it, from the top. A node's copyup lock lets one thread do it; everybody else sees `upper` appear at once.
 *
 * A file is copied into a nameless file first and gets its name when it is complete (O_TMPFILE and link), so that a look-up never finds
 * half of it, nor does a host directory after a crash. Owner and times follow the original; where an ordinary user may not give a
 * file away on the host, the copy belongs to him.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <string.h>

#include "fs/overlay/ovl.h"
#include "fs/vfs.h"
#include "sentry/base/slab.h"

#define CHUNK (256ul << 10)
#define COPIED_ATTRS (ATTR_UID | ATTR_GID | ATTR_MODE | ATTR_ATIME | ATTR_MTIME)

static int copy_chunk(struct ctx *c, struct file *from, struct file *to, char *buf, off_t *pos)
{
	struct iobuf b;
	off_t out = *pos;
	ssize_t n, w;

	iobuf_init_kernel(&b, buf, CHUNK);
	n = from->ops->read(c, from, &b, pos);
	if (n <= 0)
		return (int)n;
	while (n > 0) {
		iobuf_init_kernel(&b, buf, (size_t)n);
		w = to->ops->write(c, to, &b, &out);
		if (w <= 0)
			return w ? (int)w : -EIO;
		memmove(buf, buf + w, (size_t)(n - w));
		n -= w;
	}
	return 1;
}

/* RLIMIT_FSIZE is the guest's, not that of a copy which it does not see. */
static int copy_data(struct ctx *c, struct inode *lower, struct inode *upper, const struct ovl_super *o)
{
	uint64_t limit = c->rlimit_fsize;
	FILE_REF from = NULL;
	FILE_REF to = NULL;
	off_t pos = 0;
	char *buf;
	int err = ovl_layer_open(c, o, lower, O_RDONLY, &from);

	if (!err)
		err = ovl_layer_open(c, o, upper, O_RDWR, &to);
	if (err)
		return err;
	buf = kalloc(CHUNK);
	if (!buf)
		return -ENOMEM;
	c->rlimit_fsize = UINT64_MAX;
	do
		err = ctx_interrupts(c) & CTX_KILL ? -EINTR : copy_chunk(c, from, to, buf, &pos);
	while (err > 0);
	c->rlimit_fsize = limit;
	kfree(buf, CHUNK);
	return err;
}

static int copy_one_xattr(struct ctx *c, struct inode *lower, struct inode *upper, const char *name, char *value)
{
	ssize_t n;
	int err;

	if (ovl_private_xattr(name) || !upper->ops->setxattr)
		return 0;
	inode_lock(lower);
	n = lower->ops->getxattr(c, lower, name, value, XATTR_SIZE_MAX);
	inode_unlock(lower);
	if (n < 0)
		return 0;
	inode_lock(upper);
	err = upper->ops->setxattr(c, upper, name, value, (size_t)n, 0);
	inode_unlock(upper);
	/* A host directory refuses trusted.* and security.* to ordinary users. */
	return err == -EPERM || err == -EOPNOTSUPP ? 0 : err;
}

static int copy_xattrs(struct ctx *c, struct inode *lower, struct inode *upper)
{
	char *list, *value;
	ssize_t n;
	int err = 0;

	if (!lower->ops->listxattr || !lower->ops->getxattr)
		return 0;
	list = kalloc(XATTR_LIST_MAX);
	value = kalloc(XATTR_SIZE_MAX);
	n = -ENOMEM;
	if (list && value) {
		inode_lock(lower);
		n = lower->ops->listxattr(c, lower, list, XATTR_LIST_MAX);
		inode_unlock(lower);
	}
	for (ssize_t at = 0; at < n && !err; at += (ssize_t)strlen(list + at) + 1)
		err = copy_one_xattr(c, lower, upper, list + at, value);
	kfree(list, XATTR_LIST_MAX);
	kfree(value, XATTR_SIZE_MAX);
	return n == -ENOMEM ? -ENOMEM : err;
}

/* Owner before mode: chown clears set-user-ID. */
static int copy_attrs(struct ctx *c, struct inode *i, struct inode *upper)
{
	struct inode *lower = ovl_node(i)->lowers[0];
	struct attr a;
	int err = inode_getattr(c, lower, &a);

	if (err)
		return err;
	err = ovl_layer_setattr(c, upper, ATTR_UID | ATTR_GID, &a);
	if (err && err != -EPERM && err != -EINVAL)
		return err;
	if (!S_ISLNK(a.mode)) {
		err = ovl_layer_setattr(c, upper, ATTR_MODE, &a);
		if (err)
			return err;
	}
	return ovl_layer_setattr(c, upper, ATTR_ATIME | ATTR_MTIME, &a);
}

static int note_origin(struct ctx *c, struct inode *i, struct inode *upper)
{
	const struct ovl_node *n = ovl_node(i);
	uint64_t origin[2] = {n->ino, n->dev};

	if (ovl_super(i->super)->upper_is_host || S_ISDIR(i->mode))
		return 0;
	return ovl_layer_set_xattr(c, upper, "origin", origin, sizeof(origin));
}

static int finish(struct ctx *c, struct inode *i, struct inode *upper)
{
	int err = copy_xattrs(c, ovl_node(i)->lowers[0], upper);

	if (!err)
		err = note_origin(c, i, upper);
	return err ? err : copy_attrs(c, i, upper);
}

int ovl_link_upper(struct ctx *c, struct inode *updir, const char *name, struct inode *upper)
{
	struct inode *set[2] = {updir, upper};
	struct dentry d;
	int err;

	dentry_scratch(&d, updir->super, name);
	inode_lock_set(set, 2);
	err = updir->ops->link(c, updir, &d, upper);
	inode_unlock_set(set, 2);
	inode_put(d.inode);
	return err;
}

static int copy_file(struct ctx *c, struct inode *i, struct inode *updir, const char *name, bool no_data,
		     struct inode **ret)
{
	struct inode *upper = NULL;
	int err;

	inode_lock(updir);
	err = updir->ops->tmpfile(c, updir, S_IFREG | 0600, &upper);
	inode_unlock(updir);
	if (err)
		return err;
	if (!no_data)
		err = copy_data(c, ovl_node(i)->lowers[0], upper, ovl_super(i->super));
	if (!err)
		err = finish(c, i, upper);
	/* An unlinked file that is still open stays without a name. */
	if (!err && i->nlink)
		err = ovl_link_upper(c, updir, name, upper);
	if (err)
		inode_put(upper);
	else
		*ret = upper;
	return err;
}

static int make_other(struct ctx *c, struct inode *i, struct inode *updir, struct dentry *d)
{
	struct inode *lower = ovl_node(i)->lowers[0];
	char *target;
	int err;

	if (S_ISDIR(i->mode))
		return updir->ops->mkdir(c, updir, d, S_IFDIR | 0700);
	if (!S_ISLNK(i->mode))
		return updir->ops->mknod(c, updir, d, i->mode, i->rdev);
	err = lower->ops->readlink(c, lower, &target);
	if (err)
		return err;
	err = updir->ops->symlink(c, updir, d, target);
	kfree_string(target);
	return err;
}

static int copy_other(struct ctx *c, struct inode *i, struct inode *updir, const char *name, struct inode **ret)
{
	struct dentry d;
	int err;

	dentry_scratch(&d, updir->super, name);
	inode_lock(updir);
	err = make_other(c, i, updir, &d);
	inode_unlock(updir);
	if (err)
		return err;
	err = finish(c, i, d.inode);
	if (err) {
		inode_put(d.inode);
		(void)ovl_layer_remove(c, updir, name);
		return err;
	}
	*ret = d.inode;
	return 0;
}

/* The directory's times are those before the copy: nothing changed in it that a guest can see. */
static void keep_dir_times(struct ctx *c, struct inode *updir, const struct attr *before)
{
	(void)ovl_layer_setattr(c, updir, ATTR_ATIME | ATTR_MTIME, before);
}

static int copy_up_locked(struct ctx *c, struct inode *i, bool no_data)
{
	struct ovl_node *n = ovl_node(i);
	struct inode *updir = n->parent ? ovl_upper(n->parent) : NULL;
	struct inode *upper = NULL;
	struct attr before;
	int err;

	if (n->upper)
		return 0;
	if (!updir)
		return -EROFS;
	err = inode_getattr(c, updir, &before);
	if (!err && S_ISREG(i->mode))
		err = copy_file(c, i, updir, n->name, no_data, &upper);
	else if (!err)
		err = copy_other(c, i, updir, n->name, &upper);
	if (err)
		return err;
	keep_dir_times(c, updir, &before);
	ovl_set_upper(i, upper);
	ovl_copy_attrs(i);
	return 0;
}

/* The topmost of i and its ancestors that is not in the upper layer yet. */
static struct inode *highest_lower(struct inode *i)
{
	while (ovl_node(i)->parent && !ovl_upper(ovl_node(i)->parent))
		i = ovl_node(i)->parent;
	return i;
}

int ovl_copy_up(struct ctx *c, struct inode *i, bool no_data)
{
	if (!ovl_super(i->super)->upper)
		return -EROFS;
	while (!ovl_upper(i)) {
		struct inode *top = highest_lower(i);
		int err;

		mutex_lock(&ovl_node(top)->copyup, L_COPYUP);
		err = copy_up_locked(c, top, no_data);
		mutex_unlock(&ovl_node(top)->copyup, L_COPYUP);
		if (err)
			return err;
	}
	return 0;
}
