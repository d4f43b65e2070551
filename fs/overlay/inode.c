/*
 * overlay: names. A look-up asks the upper layer and then the lower ones, from the top, until something that is not a directory ends the
 * search or an opaque directory does. What makes or removes a name does it in the upper layer, and leaves a whiteout where a lower layer
 * would show through. The VFS holds the locks of the overlay's directories and victims; so names in the layers stand still too.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>

#include "fs/overlay/ovl.h"
#include "fs/vfs.h"

/* What one name leads to, layer by layer. */
struct found {
	struct inode *upper;
	struct inode *lowers[OVL_LAYERS_MAX];
	size_t lower_count;
	bool stop; /* lower layers do not show through */
};

static void found_put(struct found *x)
{
	inode_put(x->upper);
	for (size_t i = 0; i < x->lower_count; i++)
		inode_put(x->lowers[i]);
}

static int find_in_upper(struct ctx *c, struct inode *dir, const char *name, struct found *x)
{
	struct inode *updir = ovl_upper(dir);
	int err = updir ? ovl_layer_lookup(c, updir, name, &x->upper) : 0;

	if (err || !x->upper)
		return err;
	if (ovl_is_whiteout(c, ovl_super(dir->super), x->upper)) {
		inode_put(take(x->upper));
		x->stop = true;
	} else {
		x->stop = !S_ISDIR(x->upper->mode) || !ovl_node(dir)->lower_count || ovl_is_opaque(c, x->upper);
	}
	return 0;
}

static int find_in_lowers(struct ctx *c, struct inode *dir, const char *name, struct found *x)
{
	const struct ovl_node *n = ovl_node(dir);

	for (size_t i = 0; i < n->lower_count && !x->stop; i++) {
		struct inode *l;
		bool is_dir, ends;
		int err = ovl_layer_lookup(c, n->lowers[i], name, &l);

		if (err)
			return err;
		if (!l)
			continue;
		is_dir = S_ISDIR(l->mode);
		/* A file below a directory is hidden by it, and so is everything under it. */
		ends = ovl_is_whiteout(c, ovl_super(dir->super), l) || (!is_dir && (x->upper || x->lower_count));
		x->stop = ends || !is_dir || (n->lower_count > 1 && ovl_is_opaque(c, l));
		if (ends)
			inode_put(l);
		else
			x->lowers[x->lower_count++] = l;
	}
	return 0;
}

static int ovl_lookup(struct ctx *c, struct inode *dir, struct dentry *d)
{
	struct found x;
	struct inode *i;
	int err;

	x.upper = NULL;
	x.lower_count = 0;
	x.stop = false;
	err = find_in_upper(c, dir, d->name, &x);
	if (!err)
		err = find_in_lowers(c, dir, d->name, &x);
	if (err) {
		found_put(&x);
		return err;
	}
	if (!x.upper && !x.lower_count)
		return 0;
	err = ovl_inode_get(c, dir->super, dir, d->name, x.upper, x.lowers, x.lower_count, &i);
	if (!err)
		dentry_instantiate(d, i);
	return err;
}

/* Makes room for a new name in the upper layer: the directory is there, a whiteout is not. 1: lower layers have that name. */
static int prepare_name(struct ctx *c, struct inode *dir, const char *name)
{
	struct inode *old = NULL;
	int err = ovl_copy_up(c, dir, false);

	if (!err)
		err = ovl_layer_lookup(c, ovl_upper(dir), name, &old);
	if (err || !old)
		return err;
	inode_put(old);
	err = ovl_layer_remove(c, ovl_upper(dir), name);
	return err ? err : 1;
}

/* What the upper layer has just made under d's name becomes d's inode. */
static int instantiate(struct ctx *c, struct inode *dir, struct dentry *d, struct inode *upper)
{
	struct inode *i;
	int err = ovl_inode_get(c, dir->super, dir, d->name, upper, NULL, 0, &i);

	if (!err)
		dentry_instantiate(d, i);
	ovl_copy_attrs(dir);
	return err;
}

struct make {
	uint32_t mode;
	dev_t rdev;
	const char *target;
};

static int make_in_upper(struct ctx *c, struct inode *updir, struct dentry *d, const struct make *m)
{
	switch (m->mode & S_IFMT) {
	case S_IFREG:
		return updir->ops->create(c, updir, d, m->mode);
	case S_IFDIR:
		return updir->ops->mkdir(c, updir, d, m->mode);
	case S_IFLNK:
		return updir->ops->symlink(c, updir, d, m->target);
	}
	return updir->ops->mknod(c, updir, d, m->mode, m->rdev);
}

static int ovl_make(struct ctx *c, struct inode *dir, struct dentry *d, const struct make *m)
{
	struct inode *updir;
	struct dentry scratch;
	int hidden = prepare_name(c, dir, d->name), err;

	if (hidden < 0)
		return hidden;
	updir = ovl_upper(dir);
	dentry_scratch(&scratch, updir->super, d->name);
	inode_lock(updir);
	err = make_in_upper(c, updir, &scratch, m);
	inode_unlock(updir);
	if (!err && S_ISDIR(m->mode) && hidden)
		err = ovl_layer_set_xattr(c, scratch.inode, "opaque", "y", 1);
	if (!err)
		return instantiate(c, dir, d, scratch.inode);
	if (scratch.inode)
		(void)ovl_layer_remove(c, updir, d->name);
	if (hidden)
		(void)ovl_whiteout(c, updir, d->name);
	inode_put(scratch.inode);
	return err;
}

static int ovl_create(struct ctx *c, struct inode *dir, struct dentry *d, uint32_t mode)
{
	return ovl_make(c, dir, d, &(struct make){.mode = mode});
}

static int ovl_mknod(struct ctx *c, struct inode *dir, struct dentry *d, uint32_t mode, dev_t rdev)
{
	/* That would be a whiteout. */
	if (S_ISCHR(mode) && rdev == 0)
		return -EPERM;
	return ovl_make(c, dir, d, &(struct make){.mode = mode, .rdev = rdev});
}

static int ovl_symlink(struct ctx *c, struct inode *dir, struct dentry *d, const char *target)
{
	return ovl_make(c, dir, d, &(struct make){.mode = S_IFLNK | 0777, .target = target});
}

static int ovl_link(struct ctx *c, struct inode *dir, struct dentry *d, struct inode *target)
{
	struct inode *set[2];
	struct dentry scratch;
	int hidden, err = ovl_copy_up(c, target, false);

	if (err)
		return err;
	hidden = prepare_name(c, dir, d->name);
	if (hidden < 0)
		return hidden;
	set[0] = ovl_upper(dir);
	set[1] = ovl_upper(target);
	dentry_scratch(&scratch, set[0]->super, d->name);
	inode_lock_set(set, 2);
	err = ovl_upper(dir)->ops->link(c, ovl_upper(dir), &scratch, ovl_upper(target));
	inode_unlock_set(set, 2);
	inode_put(scratch.inode);
	if (err) {
		if (hidden)
			(void)ovl_whiteout(c, ovl_upper(dir), d->name);
		return err;
	}
	target->nlink++;
	dentry_instantiate(d, inode_get(target));
	ovl_copy_attrs(target);
	ovl_copy_attrs(dir);
	return 0;
}

static int ovl_tmpfile(struct ctx *c, struct inode *dir, uint32_t mode, struct inode **ret)
{
	struct inode *upper, *updir;
	int err = ovl_copy_up(c, dir, false);

	if (err)
		return err;
	updir = ovl_upper(dir);
	inode_lock(updir);
	err = updir->ops->tmpfile ? updir->ops->tmpfile(c, updir, mode, &upper) : -EOPNOTSUPP;
	inode_unlock(updir);
	if (!err)
		err = ovl_inode_get(c, dir->super, dir, "", upper, NULL, 0, ret);
	if (!err)
		(*ret)->nlink = 0;
	return err;
}

/* Takes the name out of the upper layer and covers the lower ones. */
static int remove_name(struct ctx *c, struct inode *dir, const char *name)
{
	int covered = ovl_lower_has(c, dir, name);
	int err = covered < 0 ? covered : ovl_copy_up(c, dir, false);

	if (!err)
		err = ovl_layer_remove(c, ovl_upper(dir), name);
	if (!err && covered)
		err = ovl_whiteout(c, ovl_upper(dir), name);
	ovl_copy_attrs(dir);
	return err;
}

static int ovl_unlink(struct ctx *c, struct inode *dir, struct dentry *d)
{
	/* The name to copy up to may be this one: afterwards the other links have no other way. */
	int err = d->inode->nlink > 1 ? ovl_copy_up(c, d->inode, false) : 0;

	if (!err)
		err = remove_name(c, dir, d->name);
	if (!err && d->inode->nlink)
		d->inode->nlink--;
	return err;
}

static int ovl_rmdir(struct ctx *c, struct inode *dir, struct dentry *d)
{
	int err = ovl_dir_is_empty(c, d->inode);

	if (!err && ovl_upper(d->inode))
		err = ovl_clear_whiteouts(c, d->inode);
	if (!err)
		err = remove_name(c, dir, d->name);
	if (!err)
		d->inode->nlink = 0;
	return err;
}

/* A directory with lower layers can move if its place among the nodes can be remembered. */
static int rename_check(struct inode *i)
{
	if (!S_ISDIR(i->mode) || !ovl_node(i)->lower_count)
		return 0;
	return ovl_super(i->super)->upper_is_host ? -EXDEV : 0;
}

/* A link to a lower file that was copied up by another of its names: in the upper layer this one is missing still. */
static int complete_name(struct ctx *c, struct inode *dir, const char *name, struct inode *i)
{
	struct inode *found;
	int err = ovl_layer_lookup(c, ovl_upper(dir), name, &found);

	if (!err && !found)
		err = ovl_link_upper(c, ovl_upper(dir), name, ovl_upper(i));
	inode_put(found);
	return err;
}

/* Before the upper layer's rename: everything concerned is in it. */
static int rename_copy_up(struct ctx *c, struct inode *olddir, struct dentry *d, struct inode *newdir,
			  struct dentry *target, bool exchange)
{
	struct inode *from = d->inode, *to = target->inode;
	int err = rename_check(from);

	if (!err && exchange)
		err = rename_check(to);
	if (!err)
		err = ovl_copy_up(c, from, false);
	if (!err)
		err = ovl_copy_up(c, olddir, false);
	if (!err)
		err = ovl_copy_up(c, newdir, false);
	if (!err && exchange)
		err = ovl_copy_up(c, to, false);
	if (!err)
		err = complete_name(c, olddir, d->name, from);
	if (!err && exchange)
		err = complete_name(c, newdir, target->name, to);
	if (!err && to && !exchange && S_ISDIR(to->mode)) {
		err = ovl_dir_is_empty(c, to);
		if (!err && ovl_upper(to))
			err = ovl_clear_whiteouts(c, to);
	}
	return err;
}

/* A directory that has moved must not merge with what lies under its new name. */
static int settle_dir(struct ctx *c, struct inode *i, struct inode *newdir, const char *name)
{
	int covers;

	if (!S_ISDIR(i->mode))
		return 0;
	covers = ovl_lower_has(c, newdir, name);
	if (ovl_node(i)->lower_count)
		ovl_pin(i);
	else if (covers <= 0)
		return covers;
	return ovl_layer_set_xattr(c, ovl_upper(i), "opaque", "y", 1);
}

static int upper_rename(struct ctx *c, struct inode *olddir, struct dentry *from, struct inode *newdir,
			struct dentry *to, unsigned flags)
{
	struct inode *updir = ovl_upper(olddir), *upnew = ovl_upper(newdir);
	struct dentry a, b;
	struct inode *set[INODE_LOCK_MAX];
	int err;

	dentry_scratch(&a, updir->super, from->name);
	dentry_scratch(&b, upnew->super, to->name);
	err = ovl_layer_lookup(c, updir, from->name, &a.inode);
	if (!err)
		err = ovl_layer_lookup(c, upnew, to->name, &b.inode);
	/* A directory does not replace a file, which a whiteout is. */
	if (!err && b.inode && S_ISDIR(from->inode->mode) && !S_ISDIR(b.inode->mode) && !(flags & RENAME_EXCHANGE)) {
		inode_put(take(b.inode));
		err = ovl_layer_remove(c, upnew, to->name);
	}
	if (!err && !a.inode)
		err = -EIO;
	if (!err) {
		set[0] = updir;
		set[1] = upnew;
		set[2] = a.inode;
		set[3] = b.inode;
		inode_lock_set(set, INODE_LOCK_MAX);
		err = updir->ops->rename(c, updir, &a, upnew, &b, flags);
		inode_unlock_set(set, INODE_LOCK_MAX);
	}
	inode_put(a.inode);
	inode_put(b.inode);
	return err;
}

static void move_parent(struct inode *i, struct inode *newdir)
{
	struct inode *old = ovl_node(i)->parent;

	ovl_node(i)->parent = inode_get(newdir);
	inode_put(old);
}

static int ovl_rename(struct ctx *c, struct inode *olddir, struct dentry *from, struct inode *newdir, struct dentry *to,
		      unsigned flags)
{
	bool exchange = flags & RENAME_EXCHANGE;
	int covered, err;

	if (flags & RENAME_WHITEOUT)
		return -EINVAL;
	err = rename_copy_up(c, olddir, from, newdir, to, exchange);
	covered = err ? err : ovl_lower_has(c, olddir, from->name);
	if (covered < 0)
		return covered;
	err = settle_dir(c, from->inode, newdir, to->name);
	if (!err && exchange)
		err = settle_dir(c, to->inode, olddir, from->name);
	if (!err)
		err = upper_rename(c, olddir, from, newdir, to, flags);
	if (!err && covered && !exchange)
		err = ovl_whiteout(c, ovl_upper(olddir), from->name);
	if (err)
		return err;
	if (to->inode && !exchange && to->inode->nlink)
		to->inode->nlink = S_ISDIR(to->inode->mode) ? 0 : to->inode->nlink - 1;
	move_parent(from->inode, newdir);
	if (exchange)
		move_parent(to->inode, olddir);
	ovl_copy_attrs(from->inode);
	ovl_copy_attrs(olddir);
	ovl_copy_attrs(newdir);
	return 0;
}

const struct inode_ops ovl_dir_ops = {
    .lookup = ovl_lookup,
    .create = ovl_create,
    .mkdir = ovl_create,
    .mknod = ovl_mknod,
    .symlink = ovl_symlink,
    .link = ovl_link,
    .unlink = ovl_unlink,
    .rmdir = ovl_rmdir,
    .rename = ovl_rename,
    .tmpfile = ovl_tmpfile,
    .open = ovl_dir_open,
    .getattr = ovl_getattr,
    .setattr = ovl_setattr,
    .getxattr = ovl_getxattr,
    .setxattr = ovl_setxattr,
    .removexattr = ovl_removexattr,
    .listxattr = ovl_listxattr,
};
