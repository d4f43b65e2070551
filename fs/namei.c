/*
 * Operations that change a directory: mkdir, mknod, symlink, link, unlink, rmdir, rename.
 *
 * What a name leads to is looked up without locks; then the directories and the inodes concerned are locked as one set, by address, and the
 * names are checked again: with a directory's lock held neither its names nor their dentries' parents can change. If somebody was
 * faster, it starts over. Renames that move between directories go one at a time (L_RENAME), so that the test "does a directory move
 * below itself" stays true.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <string.h>

#include "fs/fs_struct.h"
#include "fs/notify.h"
#include "fs/vfs.h"
#include "sentry/base/cred.h"

static struct mutex rename_lock = MUTEX_INIT;

enum last_kind { LAST_NAME, LAST_DOT, LAST_DOTDOT, LAST_ROOT };

static enum last_kind last_kind(const char *last)
{
	if (!*last)
		return LAST_ROOT;
	if (strcmp(last, ".") == 0)
		return LAST_DOT;
	return strcmp(last, "..") == 0 ? LAST_DOTDOT : LAST_NAME;
}

/* A name to be made: on success *dir is locked (its inode) and referenced and *d is negative. also: locked together with dir. */
struct new_name {
	struct path dir;
	struct dentry *d;
	struct inode *set[2];
	char last[NAME_MAX + 1];
};

static void new_name_done(struct new_name *n)
{
	inode_unlock_set(n->set, 2);
	dentry_put(n->d);
	path_put(&n->dir);
}

static int new_name_begin(struct ctx *c, int dirfd, const char *name, bool is_dir, struct inode *also,
			  struct new_name *n)
{
	bool slash;
	int err = path_parent(c, dirfd, name, LOOKUP_CREATE, &n->dir, n->last, &slash);

	if (err)
		return err;
	n->d = NULL;
	if (last_kind(n->last) != LAST_NAME) {
		path_put(&n->dir);
		return -EEXIST;
	}
	n->set[0] = n->dir.dentry->inode;
	n->set[1] = also;
	inode_lock_set(n->set, 2);
	err = dentry_lookup_locked(c, n->dir.dentry, n->last, strlen(n->last), &n->d);
	if (!err && !dentry_negative(n->d))
		err = -EEXIST;
	if (!err && slash && !is_dir)
		err = -ENOENT;
	if (!err)
		err = mount_want_write(n->dir.mnt);
	if (!err)
		err = inode_may_create(c, n->dir.dentry->inode);
	if (err)
		new_name_done(n);
	return err;
}

static int new_name_end(struct new_name *n, int err)
{
	if (!err)
		fsnotify_create(n->dir.dentry->inode, n->last, n->d->inode);
	new_name_done(n);
	return err;
}

int vfs_mkdir(struct ctx *c, int dirfd, const char *name, uint32_t mode)
{
	struct new_name n;
	struct inode *dir;
	int err = new_name_begin(c, dirfd, name, true, NULL, &n);

	if (err)
		return err;
	dir = n.dir.dentry->inode;
	mode = S_IFDIR | (mode & 01777 & ~c->fs->umask);
	return new_name_end(&n, dir->ops->mkdir ? dir->ops->mkdir(c, dir, n.d, mode) : -EPERM);
}

static int mknod_check(struct ctx *c, uint32_t mode, dev_t rdev)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
		return 0;
	case S_IFCHR:
		if (rdev == 0) /* a whiteout: harmless, allowed to everybody */
			return 0;
		return cred_capable(c->cred, CAP_MKNOD) ? 0 : -EPERM;
	case S_IFBLK:
		return cred_capable(c->cred, CAP_MKNOD) ? 0 : -EPERM;
	case S_IFDIR:
		return -EPERM;
	}
	return -EINVAL;
}

static int make_node(struct ctx *c, struct inode *dir, struct dentry *d, uint32_t mode, dev_t rdev)
{
	if (S_ISREG(mode))
		return dir->ops->create ? dir->ops->create(c, dir, d, mode) : -EACCES;
	return dir->ops->mknod ? dir->ops->mknod(c, dir, d, mode, rdev) : -EPERM;
}

int vfs_mknod(struct ctx *c, int dirfd, const char *name, uint32_t mode, dev_t rdev)
{
	struct new_name n;
	int err;

	if (!(mode & S_IFMT))
		mode |= S_IFREG;
	err = mknod_check(c, mode, rdev);
	if (!err)
		err = new_name_begin(c, dirfd, name, false, NULL, &n);
	if (err)
		return err;
	mode = (mode & S_IFMT) | (mode & 07777 & ~c->fs->umask);
	return new_name_end(&n, make_node(c, n.dir.dentry->inode, n.d, mode, rdev));
}

int vfs_mksock(struct ctx *c, const char *name, uint32_t mode, void *bound, struct path *ret)
{
	struct new_name n;
	int err = new_name_begin(c, AT_FDCWD, name, false, NULL, &n);

	if (err)
		return err;
	mode = S_IFSOCK | (mode & 0777 & ~c->fs->umask);
	err = make_node(c, n.dir.dentry->inode, n.d, mode, 0);
	if (!err) {
		n.d->inode->bound = bound;
		*ret = (struct path){n.dir.mnt, n.d};
		path_get(ret);
	}
	return new_name_end(&n, err);
}

int vfs_symlink(struct ctx *c, const char *target, int dirfd, const char *name)
{
	struct new_name n;
	struct inode *dir;
	int err;

	if (!*target)
		return -ENOENT;
	err = new_name_begin(c, dirfd, name, false, NULL, &n);
	if (err)
		return err;
	dir = n.dir.dentry->inode;
	return new_name_end(&n, dir->ops->symlink ? dir->ops->symlink(c, dir, n.d, target) : -EPERM);
}

/* fs.protected_hardlinks: nobody links to what they could not have opened. */
static bool link_is_safe(struct ctx *c, struct inode *i)
{
	if (inode_owner_or_capable(c, i))
		return true;
	if (!S_ISREG(i->mode) || (i->mode & S_ISUID) || (i->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		return false;
	return inode_permission(c, i, MAY_READ | MAY_WRITE) == 0;
}

static int link_check(struct ctx *c, const struct path *old)
{
	struct inode *i = old->dentry->inode;

	if (!link_is_safe(c, i))
		return -EPERM;
	return S_ISDIR(i->mode) ? -EPERM : 0;
}

int vfs_link(struct ctx *c, int olddirfd, const char *oldname, unsigned lookup, int newdirfd, const char *newname)
{
	PATH_REF old = {NULL, NULL};
	struct new_name n;
	struct inode *dir, *target;
	int err = path_lookup(c, olddirfd, oldname, lookup, &old);

	if (err)
		return err;
	target = old.dentry->inode;
	err = new_name_begin(c, newdirfd, newname, false, target, &n);
	if (err)
		return err;
	dir = n.dir.dentry->inode;
	if (n.dir.mnt != old.mnt)
		err = -EXDEV;
	else
		err = link_check(c, &old);
	if (!err && target->nlink == 0 && !target->linkable)
		err = -ENOENT;
	if (!err)
		err = dir->ops->link ? dir->ops->link(c, dir, n.d, target) : -EPERM;
	if (!err)
		fsnotify_inode(target, IN_ATTRIB);
	return new_name_end(&n, err);
}

/* A name to be removed: its directory and inode locked. */
struct old_name {
	struct path dir;
	struct dentry *d;
	struct inode *set[2];
};

/* With the directory's lock held: is d still the child called so? */
static bool still_there(const struct dentry *d, const struct dentry *dir)
{
	return d->hashed && d->parent == dir && !dentry_negative(d);
}

static int old_name_lock(struct ctx *c, const char *last, struct old_name *n)
{
	for (;;) {
		int err = dentry_lookup(c, n->dir.dentry, last, strlen(last), &n->d);

		if (err)
			return err;
		if (dentry_negative(n->d)) {
			dentry_put(n->d);
			return -ENOENT;
		}
		n->set[0] = n->dir.dentry->inode;
		n->set[1] = n->d->inode;
		inode_lock_set(n->set, 2);
		if (still_there(n->d, n->dir.dentry) && n->d->name_len == strlen(last))
			return 0;
		inode_unlock_set(n->set, 2);
		dentry_put(n->d);
	}
}

static void old_name_done(struct old_name *n)
{
	inode_unlock_set(n->set, 2);
	dentry_put(n->d);
}

static int remove_locked(struct ctx *c, struct old_name *n, bool is_dir)
{
	struct inode *dir = n->dir.dentry->inode, *victim = n->d->inode;
	int (*op)(struct ctx *, struct inode *, struct dentry *) = is_dir ? dir->ops->rmdir : dir->ops->unlink;
	int err = mount_want_write(n->dir.mnt);

	if (!err)
		err = inode_may_delete(c, dir, victim, is_dir);
	if (!err && n->d->mounts)
		err = -EBUSY;
	if (!err)
		err = op ? op(c, dir, n->d) : -EPERM;
	if (err)
		return err;
	if (is_dir)
		victim->dead = true;
	else
		fsnotify_inode(victim, IN_ATTRIB);
	dentry_drop(n->d);
	return 0;
}

static int remove_name(struct ctx *c, struct path *dir, const char *last, bool is_dir)
{
	struct old_name n = {.dir = *dir};
	struct inode *victim = NULL;
	int err = old_name_lock(c, last, &n);

	if (err)
		return err;
	err = remove_locked(c, &n, is_dir);
	if (!err)
		victim = inode_get(n.d->inode);
	old_name_done(&n);
	/* Behind what the inode's own watches were told when its last user went. */
	if (victim)
		fsnotify_delete(dir->dentry->inode, last, victim);
	inode_put(victim);
	return err;
}

/* unlink("name/"): never succeeds. */
static int unlink_slash(struct ctx *c, struct path *dir, const char *last)
{
	struct dentry *d;
	int err = dentry_lookup(c, dir->dentry, last, strlen(last), &d);

	if (err)
		return err;
	if (dentry_negative(d))
		err = -ENOENT;
	else
		err = S_ISDIR(d->inode->mode) ? -EISDIR : -ENOTDIR;
	dentry_put(d);
	return err;
}

int vfs_unlink(struct ctx *c, int dirfd, const char *name)
{
	PATH_REF dir = {NULL, NULL};
	char last[NAME_MAX + 1];
	bool slash;
	int err = path_parent(c, dirfd, name, 0, &dir, last, &slash);

	if (err)
		return err;
	if (last_kind(last) != LAST_NAME)
		return -EISDIR;
	return slash ? unlink_slash(c, &dir, last) : remove_name(c, &dir, last, false);
}

int vfs_rmdir(struct ctx *c, int dirfd, const char *name)
{
	static const int special[] = {[LAST_DOT] = -EINVAL, [LAST_DOTDOT] = -ENOTEMPTY, [LAST_ROOT] = -EBUSY};
	PATH_REF dir = {NULL, NULL};
	char last[NAME_MAX + 1];
	bool slash;
	int err = path_parent(c, dirfd, name, 0, &dir, last, &slash);

	if (err)
		return err;
	if (last_kind(last) != LAST_NAME)
		return special[last_kind(last)];
	return remove_name(c, &dir, last, true);
}

struct rename_args {
	struct ctx *c;
	unsigned flags;
	struct path olddir, newdir;
	char oldlast[NAME_MAX + 1], newlast[NAME_MAX + 1];
	bool oldslash, newslash;
	struct dentry *from, *to;
	struct inode *set[INODE_LOCK_MAX];
};

static int rename_check_flags(struct ctx *c, unsigned flags)
{
	if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
		return -EINVAL;
	if ((flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)) && (flags & RENAME_EXCHANGE))
		return -EINVAL;
	if ((flags & RENAME_WHITEOUT) && !cred_capable(c->cred, CAP_MKNOD))
		return -EPERM;
	return 0;
}

/* What can be said without the inodes' locks; the tree stands still under L_RENAME. */
static int rename_check_names(const struct rename_args *r)
{
	bool exchange = r->flags & RENAME_EXCHANGE;

	if (dentry_negative(r->from))
		return -ENOENT;
	if (!dentry_negative(r->to) && (r->flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (exchange && dentry_negative(r->to))
		return -ENOENT;
	if (exchange && r->newslash && !S_ISDIR(r->to->inode->mode))
		return -ENOTDIR;
	if (!S_ISDIR(r->from->inode->mode) && (r->oldslash || (!exchange && r->newslash)))
		return -ENOTDIR;
	if (S_ISDIR(r->from->inode->mode) && dentry_is_below(r->newdir.dentry, r->from))
		return -EINVAL;
	if (!dentry_negative(r->to) && dentry_is_below(r->olddir.dentry, r->to))
		return exchange ? -EINVAL : -ENOTEMPTY;
	return 0;
}

static int rename_check_target(const struct rename_args *r)
{
	struct inode *newdir = r->newdir.dentry->inode;
	bool is_dir = S_ISDIR(r->from->inode->mode);

	if (dentry_negative(r->to))
		return inode_may_create(r->c, newdir);
	if (r->flags & RENAME_EXCHANGE)
		return inode_may_delete(r->c, newdir, r->to->inode, S_ISDIR(r->to->inode->mode));
	return inode_may_delete(r->c, newdir, r->to->inode, is_dir);
}

/* A directory that changes its parent changes itself (".."). */
static int rename_check_dirs(const struct rename_args *r)
{
	int err = 0;

	if (r->olddir.dentry == r->newdir.dentry)
		return 0;
	if (S_ISDIR(r->from->inode->mode))
		err = inode_permission(r->c, r->from->inode, MAY_WRITE);
	if (!err && (r->flags & RENAME_EXCHANGE) && S_ISDIR(r->to->inode->mode))
		err = inode_permission(r->c, r->to->inode, MAY_WRITE);
	return err;
}

static int rename_check_locked(const struct rename_args *r)
{
	struct inode *olddir = r->olddir.dentry->inode;
	int err = mount_want_write(r->olddir.mnt);

	if (!err)
		err = inode_may_delete(r->c, olddir, r->from->inode, S_ISDIR(r->from->inode->mode));
	if (!err)
		err = rename_check_target(r);
	if (!err)
		err = rename_check_dirs(r);
	if (!err && (r->from->mounts || r->to->mounts))
		err = -EBUSY;
	return err ? err : olddir->ops->rename ? 0 : -EPERM;
}

static void rename_notify(const struct rename_args *r, struct inode *moved, struct inode *other)
{
	struct inode *olddir = r->olddir.dentry->inode, *newdir = r->newdir.dentry->inode;

	fsnotify_move(olddir, r->oldlast, newdir, r->newlast, moved);
	if (r->flags & RENAME_EXCHANGE)
		fsnotify_move(newdir, r->newlast, olddir, r->oldlast, other);
	else if (other)
		fsnotify_inode(other, IN_ATTRIB);
}

static int rename_locked(const struct rename_args *r)
{
	struct inode *moved = r->from->inode, *other = r->to->inode;
	int err;

	if (moved == other)
		return 0;
	err = rename_check_locked(r);
	if (!err)
		err = r->olddir.dentry->inode->ops->rename(r->c, r->olddir.dentry->inode, r->from,
							   r->newdir.dentry->inode, r->to, r->flags);
	if (err)
		return err;
	if (other && !(r->flags & RENAME_EXCHANGE) && S_ISDIR(other->mode))
		other->dead = true;
	dentry_move(r->from, r->to, r->flags & RENAME_EXCHANGE);
	rename_notify(r, moved, other);
	return 0;
}

static bool rename_names_stand(const struct rename_args *r)
{
	return still_there(r->from, r->olddir.dentry) && r->to->hashed && r->to->parent == r->newdir.dentry &&
	       r->set[0];
}

/* One try: 1 if somebody changed the names between the look-up and the locks. */
static int rename_try(struct rename_args *r)
{
	struct inode *to;
	int err = dentry_lookup(r->c, r->olddir.dentry, r->oldlast, strlen(r->oldlast), &r->from);

	if (err)
		return err;
	err = dentry_lookup(r->c, r->newdir.dentry, r->newlast, strlen(r->newlast), &r->to);
	if (err) {
		dentry_put(r->from);
		return err;
	}
	to = r->to->inode;
	err = rename_check_names(r);
	if (!err) {
		r->set[0] = r->olddir.dentry->inode;
		r->set[1] = r->newdir.dentry->inode;
		r->set[2] = r->from->inode;
		r->set[3] = to;
		inode_lock_set(r->set, INODE_LOCK_MAX);
		err = rename_names_stand(r) && r->to->inode == to ? rename_locked(r) : 1;
		inode_unlock_set(r->set, INODE_LOCK_MAX);
	}
	dentry_put(r->from);
	dentry_put(r->to);
	return err;
}

static int rename_paths(struct rename_args *r)
{
	int err;

	if (r->olddir.mnt != r->newdir.mnt)
		return -EXDEV;
	if (last_kind(r->oldlast) != LAST_NAME)
		return -EBUSY;
	if (last_kind(r->newlast) != LAST_NAME)
		return r->flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
	mutex_lock(&rename_lock, L_RENAME);
	do
		err = rename_try(r);
	while (err > 0);
	mutex_unlock(&rename_lock, L_RENAME);
	return err;
}

int vfs_rename(struct ctx *c, int olddirfd, const char *oldname, int newdirfd, const char *newname, unsigned flags)
{
	struct rename_args r = {.c = c, .flags = flags};
	int err = rename_check_flags(c, flags);

	if (!err)
		err = path_parent(c, olddirfd, oldname, 0, &r.olddir, r.oldlast, &r.oldslash);
	if (!err)
		err = path_parent(c, newdirfd, newname, LOOKUP_CREATE, &r.newdir, r.newlast, &r.newslash);
	if (!err)
		err = rename_paths(&r);
	path_put(&r.olddir);
	path_put(&r.newdir);
	return err;
}
