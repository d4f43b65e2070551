/*
 * overlay: open files and attributes of what is not a directory.
 *
 * An open for writing copies up. A description that was opened read-only before somebody else's copy-up changes over to the copy with its
 * next operation, so that read() and write() through two descriptors agree; what it has mapped stays the lower file, as
 * overlayfs documents for its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <string.h>

#include "fs/overlay/ovl.h"
#include "fs/vfs.h"
#include "sentry/base/slab.h"

static struct slab file_slab = {.name = "struct ovl_file", .size = sizeof(struct ovl_file), .lock = MUTEX_INIT};

static struct ovl_file *ovl_file(const struct file *f)
{
	return f->priv;
}

/* What a real description is opened with. */
static int real_flags(const struct file *f)
{
	return f->flags & ~(O_TRUNC | O_PATH | O_NOATIME);
}

int ovl_open(struct ctx *c, struct inode *i, struct file *f)
{
	struct ovl_super *o = ovl_super(i->super);
	bool writes = (f->flags & O_ACCMODE) != O_RDONLY;
	struct ovl_file *of;
	struct inode *upper;
	int err = writes || (f->flags & O_TRUNC) ? ovl_copy_up(c, i, f->flags & O_TRUNC) : 0;

	if (err)
		return err;
	of = slab_alloc(&file_slab);
	if (!of)
		return -ENOMEM;
	upper = ovl_upper(i);
	err = ovl_layer_open(c, o, upper ? upper : ovl_node(i)->lowers[0], real_flags(f),
			     upper ? &of->upper : &of->lower);
	if (err) {
		slab_free(&file_slab, of);
		return err;
	}
	f->ops = &ovl_file_ops;
	f->priv = of;
	return 0;
}

static void ovl_release(struct file *f)
{
	struct ovl_file *of = ovl_file(f);

	file_put(of->lower);
	file_put(of->upper);
	slab_free(&file_slab, of);
}

/* Changes over to the upper file after a copy-up. */
static struct file *open_upper(struct ctx *c, struct file *f)
{
	struct ovl_node *n = ovl_node(f->inode);
	struct ovl_file *of = ovl_file(f);
	struct file *upper = NULL;

	mutex_lock(&n->copyup, L_COPYUP);
	if (!of->upper && ovl_layer_open(c, ovl_super(f->inode->super), n->upper, real_flags(f), &upper) == 0)
		__atomic_store_n(&of->upper, upper, __ATOMIC_RELEASE);
	mutex_unlock(&n->copyup, L_COPYUP);
	return of->upper ? of->upper : of->lower;
}

static struct file *real_file(struct ctx *c, struct file *f)
{
	struct ovl_file *of = ovl_file(f);
	struct file *upper = __atomic_load_n(&of->upper, __ATOMIC_ACQUIRE);

	if (upper)
		return upper;
	return ovl_upper(f->inode) ? open_upper(c, f) : of->lower;
}

static ssize_t ovl_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos)
{
	struct file *real = real_file(c, f);

	return real->ops->read(c, real, b, pos);
}

static ssize_t ovl_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos)
{
	struct file *real = real_file(c, f);
	ssize_t n = real->ops->write(c, real, b, pos);

	ovl_copy_attrs(f->inode);
	return n;
}

static off_t ovl_llseek(struct ctx *c, struct file *f, off_t off, int whence)
{
	struct file *real = real_file(c, f);
	off_t r;

	/* Its position is a scratch variable, used under our position's lock. */
	real->pos = f->pos;
	r = real->ops->llseek(c, real, off, whence);
	if (r >= 0)
		f->pos = r;
	return r;
}

static int ovl_mmap(struct ctx *c, struct file *f, uint64_t off, size_t size, int prot, int flags,
		    struct file_backing *ret)
{
	struct file *real = real_file(c, f);

	return real->ops->mmap ? real->ops->mmap(c, real, off, size, prot, flags, ret) : -ENODEV;
}

static int ovl_fsync(struct ctx *c, struct file *f, bool data_only)
{
	struct file *real = ovl_file(f)->upper;

	return real && real->ops->fsync ? real->ops->fsync(c, real, data_only) : 0;
}

static int ovl_fallocate(struct ctx *c, struct file *f, int mode, off_t off, off_t size)
{
	struct file *real = real_file(c, f);
	int err = real->ops->fallocate ? real->ops->fallocate(c, real, mode, off, size) : -EOPNOTSUPP;

	ovl_copy_attrs(f->inode);
	return err;
}

static int ovl_set_flags(struct file *f, int flags)
{
	struct ovl_file *of = ovl_file(f);

	if (of->upper)
		of->upper->flags = flags & ~(O_TRUNC | O_PATH | O_NOATIME);
	return 0;
}

const struct file_ops ovl_file_ops = {
    .read = ovl_read,
    .write = ovl_write,
    .llseek = ovl_llseek,
    .mmap = ovl_mmap,
    .fsync = ovl_fsync,
    .fallocate = ovl_fallocate,
    .release = ovl_release,
    .set_flags = ovl_set_flags,
};

int ovl_getattr(struct ctx *c, struct inode *i, struct attr *ret)
{
	const struct ovl_node *n = ovl_node(i);
	int err = inode_getattr(c, ovl_real(i), ret);

	if (err)
		return err;
	ret->ino = n->ino;
	ret->dev = n->dev;
	if (!S_ISDIR(ret->mode))
		ret->nlink = i->nlink;
	else if (n->lower_count > 1 || (n->lower_count && ovl_upper(i)))
		ret->nlink = 1;
	return 0;
}

int ovl_setattr(struct ctx *c, struct inode *i, unsigned valid, const struct attr *a)
{
	struct inode *upper;
	int err = ovl_copy_up(c, i, (valid & ATTR_SIZE) && a->size == 0);

	if (err)
		return err;
	upper = ovl_upper(i);
	err = ovl_layer_setattr(c, upper, valid, a);
	ovl_copy_attrs(i);
	return err;
}

int ovl_readlink(struct ctx *c, struct inode *i, char **ret_target)
{
	struct inode *real = ovl_real(i);

	return real->ops->readlink(c, real, ret_target);
}

ssize_t ovl_getxattr(struct ctx *c, struct inode *i, const char *name, void *value, size_t size)
{
	struct inode *real = ovl_real(i);
	ssize_t r = -EOPNOTSUPP;

	if (ovl_private_xattr(name))
		return -ENODATA;
	inode_lock(real);
	if (real->ops->getxattr)
		r = real->ops->getxattr(c, real, name, value, size);
	inode_unlock(real);
	return r;
}

ssize_t ovl_listxattr(struct ctx *c, struct inode *i, char *list, size_t size)
{
	struct inode *real = ovl_real(i);
	ssize_t n = 0, kept = 0;

	inode_lock(real);
	if (real->ops->listxattr)
		n = real->ops->listxattr(c, real, list, size);
	inode_unlock(real);
	for (ssize_t at = 0; at < n;) {
		size_t len = strlen(list + at) + 1;

		if (!ovl_private_xattr(list + at)) {
			memmove(list + kept, list + at, len);
			kept += (ssize_t)len;
		}
		at += (ssize_t)len;
	}
	return n < 0 ? n : kept;
}

int ovl_setxattr(struct ctx *c, struct inode *i, const char *name, const void *value, size_t size, int flags)
{
	struct inode *upper;
	int err;

	if (ovl_private_xattr(name))
		return -EPERM;
	err = ovl_copy_up(c, i, false);
	if (err)
		return err;
	upper = ovl_upper(i);
	inode_lock(upper);
	err = upper->ops->setxattr ? upper->ops->setxattr(c, upper, name, value, size, flags) : -EOPNOTSUPP;
	inode_unlock(upper);
	ovl_copy_attrs(i);
	return err;
}

int ovl_removexattr(struct ctx *c, struct inode *i, const char *name)
{
	struct inode *upper;
	ssize_t there = ovl_getxattr(c, i, name, NULL, 0);
	int err;

	if (there < 0)
		return (int)there;
	err = ovl_copy_up(c, i, false);
	if (err)
		return err;
	upper = ovl_upper(i);
	inode_lock(upper);
	err = upper->ops->removexattr ? upper->ops->removexattr(c, upper, name) : -EOPNOTSUPP;
	inode_unlock(upper);
	ovl_copy_attrs(i);
	return err;
}

#define ATTR_OPS                                                                                                       \
	.getattr = ovl_getattr, .setattr = ovl_setattr, .getxattr = ovl_getxattr, .setxattr = ovl_setxattr,            \
	.removexattr = ovl_removexattr, .listxattr = ovl_listxattr

const struct inode_ops ovl_file_inode_ops = {ATTR_OPS, .open = ovl_open};
const struct inode_ops ovl_symlink_ops = {ATTR_OPS, .readlink = ovl_readlink};
const struct inode_ops ovl_special_ops = {ATTR_OPS};
