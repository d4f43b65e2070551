/*
 * overlay: calling the ops of a layer. A layer's inodes are not in any dentry cache: each op gets a scratch dentry with the name, filled by a
 * look-up first. Locks of layers are of class L_LAYER, below all of the overlay's own.
 */
#include <fcntl.h>
#include <string.h>

#include "fs/overlay/ovl.h"
#include "fs/vfs.h"
#include "sentry/base/slab.h"

#define XATTR_TMP "trusted.overlay."
#define XATTR_HOST "user.overlay."

bool ovl_private_xattr(const char *name)
{
	return strncmp(name, XATTR_TMP, strlen(XATTR_TMP)) == 0 || strncmp(name, XATTR_HOST, strlen(XATTR_HOST)) == 0;
}

static bool is_tmpfs(const struct inode *i)
{
	return strcmp(i->super->ops->name, "tmpfs") == 0;
}

/* The attribute's full name: ordinary users cannot store trusted.* on a host directory. */
static const char *xattr_name(const struct inode *i, const char *suffix, char buf[64])
{
	strcpy(buf, is_tmpfs(i) ? XATTR_TMP : XATTR_HOST);
	return strncat(buf, suffix, 32);
}

int ovl_layer_lookup(struct ctx *c, struct inode *dir, const char *name, struct inode **ret)
{
	struct dentry d;
	int err;

	dentry_scratch(&d, dir->super, name);
	inode_lock(dir);
	err = dir->ops->lookup(c, dir, &d);
	inode_unlock(dir);
	*ret = err ? NULL : d.inode;
	return err;
}

static ssize_t get_xattr(struct ctx *c, struct inode *i, const char *suffix, char *value, size_t size)
{
	char name[64];
	ssize_t r;

	if (!i->ops->getxattr)
		return -EOPNOTSUPP;
	inode_lock(i);
	r = i->ops->getxattr(c, i, xattr_name(i, suffix, name), value, size);
	inode_unlock(i);
	return r;
}

int ovl_layer_set_xattr(struct ctx *c, struct inode *i, const char *suffix, const void *value, size_t size)
{
	char name[64];
	int err;

	if (!i->ops->setxattr)
		return -EOPNOTSUPP;
	inode_lock(i);
	err = i->ops->setxattr(c, i, xattr_name(i, suffix, name), value, size, 0);
	inode_unlock(i);
	return err;
}

bool ovl_is_whiteout(struct ctx *c, const struct ovl_super *o, struct inode *i)
{
	char value[4];

	if (S_ISCHR(i->mode))
		return i->rdev == 0;
	/* By attribute: only an upper directory of ours has them. */
	if (!S_ISREG(i->mode) || i->size || !o->upper_is_host || i->super != o->upper)
		return false;
	return get_xattr(c, i, "whiteout", value, sizeof(value)) >= 0;
}

bool ovl_is_opaque(struct ctx *c, struct inode *dir)
{
	char value[4];

	return get_xattr(c, dir, "opaque", value, sizeof(value)) == 1 && value[0] == 'y';
}

int ovl_lower_has(struct ctx *c, struct inode *dir, const char *name)
{
	const struct ovl_node *n = ovl_node(dir);
	struct inode *found;

	for (size_t i = 0; i < n->lower_count; i++) {
		int err = ovl_layer_lookup(c, n->lowers[i], name, &found);
		bool hidden;

		if (err)
			return err;
		if (!found)
			continue;
		hidden = ovl_is_whiteout(c, ovl_super(dir->super), found);
		inode_put(found);
		return !hidden;
	}
	return 0;
}

/* A directory with attribute whiteouts in it says so. */
static int mark_whiteouts(struct ctx *c, struct inode *updir)
{
	char value[4];

	if (get_xattr(c, updir, "opaque", value, sizeof(value)) >= 0)
		return 0;
	return ovl_layer_set_xattr(c, updir, "opaque", "x", 1);
}

int ovl_whiteout(struct ctx *c, struct inode *updir, const char *name)
{
	struct dentry d;
	int err = 0;

	dentry_scratch(&d, updir->super, name);
	if (!is_tmpfs(updir))
		err = mark_whiteouts(c, updir);
	if (err)
		return err;
	inode_lock(updir);
	if (is_tmpfs(updir))
		err = updir->ops->mknod(c, updir, &d, S_IFCHR, 0);
	else
		err = updir->ops->create(c, updir, &d, S_IFREG | 0600);
	inode_unlock(updir);
	if (!err && !is_tmpfs(updir))
		err = ovl_layer_set_xattr(c, d.inode, "whiteout", "y", 1);
	inode_put(d.inode);
	return err;
}

int ovl_layer_remove(struct ctx *c, struct inode *updir, const char *name)
{
	struct inode *set[2] = {updir, NULL};
	struct dentry d;
	int err;

	dentry_scratch(&d, updir->super, name);
	err = ovl_layer_lookup(c, updir, name, &d.inode);
	if (err || !d.inode)
		return err;
	set[1] = d.inode;
	inode_lock_set(set, 2);
	err = S_ISDIR(d.inode->mode) ? updir->ops->rmdir(c, updir, &d) : updir->ops->unlink(c, updir, &d);
	inode_unlock_set(set, 2);
	inode_put(d.inode);
	return err;
}

static struct mount *mount_of(const struct ovl_super *o, const struct super *s)
{
	if (s == o->upper)
		return o->upper_ns->root;
	for (size_t i = 0; i < o->lower_count; i++)
		if (o->lowers[i] == s)
			return o->lower_ns[i]->root;
	return NULL;
}

int ovl_layer_open(struct ctx *c, const struct ovl_super *o, struct inode *real, int flags, struct file **ret)
{
	struct path p = {mount_of(o, real->super), NULL};
	FILE_REF f = NULL;
	int err;

	BUG_ON(!p.mnt);
	p.dentry = dentry_create_unnamed(p.mnt->root, "", inode_get(real));
	if (!p.dentry)
		return -ENOMEM;
	f = file_create(&p, real->file_ops, flags, c->cred);
	dentry_put(p.dentry);
	if (!f)
		return -ENOMEM;
	err = real->ops->open ? real->ops->open(c, real, f) : 0;
	if (err)
		return err;
	f->opened = true;
	f->seekable = f->ops->llseek != NULL;
	*ret = take(f);
	return 0;
}

int ovl_layer_setattr(struct ctx *c, struct inode *real, unsigned valid, const struct attr *a)
{
	int err;

	inode_lock(real);
	err = inode_setattr_locked(c, real, valid, a);
	inode_unlock(real);
	return err;
}
