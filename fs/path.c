/*
 * Path walk: from a string to a path, as path_resolution(7) and openat2(2) describe it.
 *
 * The walk is iterative. A symbolic link in the middle pushes what is left behind it on a stack; a link at the end does not, so that each
 * stack entry has something left. Target strings are kept until the walk is done. Components are looked up in the dentry cache first; only
 * a miss takes the directory's lock. No lock is held between components: each step holds references, and a directory that is
 * renamed under the walk stays the directory that it is.
 *
 * ".." goes to the dentry's present parent and stops at the root. In scoped walks (RESOLVE_BENEATH, RESOLVE_IN_ROOT) a rename can have
 * moved the current directory out of the scope; so what ".." arrives at is checked to be below the start.
 */
#include "fs/path.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "fs/fdtable.h"
#include "fs/fs_struct.h"
#include "fs/walk.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

#define SCOPED (LOOKUP_BENEATH | LOOKUP_IN_ROOT)

int path_name_copy(struct ctx *c, uaddr_t name, unsigned flags, char **ret)
{
	char buf[PATH_MAX];
	ssize_t n = copy_in_string(c, buf, name, sizeof(buf));

	if (n < 0)
		return (int)n;
	if (n == 0 && !(flags & LOOKUP_EMPTY))
		return -ENOENT;
	*ret = kstrdup(buf);
	return *ret ? 0 : -ENOMEM;
}

void path_name_free(char *name)
{
	kfree_string(name);
}

static int keep_buf(struct walk *w, char *buf)
{
	if (w->buf_count == WALK_LINKS_MAX) {
		kfree_string(buf);
		return -ELOOP;
	}
	w->bufs[w->buf_count++] = buf;
	return 0;
}

int walk_init(struct walk *w, struct ctx *c, const struct path *start, const char *name, unsigned flags)
{
	w->c = c;
	w->flags = flags;
	w->name = name;
	w->slash = w->followed_last = false;
	w->links = w->depth = w->buf_count = 0;
	w->last[0] = 0;
	w->path = (struct path){NULL, NULL};
	if (flags & SCOPED) {
		w->root = *start;
		path_get(start);
	} else {
		fs_get_root(c, &w->root);
	}
	if (*name == '/' && (flags & LOOKUP_BENEATH)) {
		path_put(&w->root);
		return -EXDEV;
	}
	w->path = *name == '/' ? w->root : *start;
	path_get(&w->path);
	return 0;
}

int walk_init_at(struct walk *w, struct ctx *c, int dirfd, const char *name, unsigned flags)
{
	PATH_REF start = {NULL, NULL};
	struct file *f;

	if (*name == '/' && !(flags & SCOPED)) {
		fs_get_root(c, &start);
	} else if (dirfd == AT_FDCWD) {
		fs_get_cwd(c, &start);
	} else {
		f = fd_get_raw(c, dirfd);
		if (!f)
			return -EBADF;
		start = f->path;
		path_get(&start);
		file_put(f);
		if (*name && !S_ISDIR(start.dentry->inode->mode))
			return -ENOTDIR;
	}
	return walk_init(w, c, &start, name, flags);
}

void walk_done(struct walk *w)
{
	path_put(&w->path);
	path_put(&w->root);
	while (w->buf_count)
		kfree_string(w->bufs[--w->buf_count]);
}

static int may_enter(struct walk *w)
{
	struct inode *i = w->path.dentry->inode;

	if (!S_ISDIR(i->mode))
		return -ENOTDIR;
	return inode_permission(w->c, i, MAY_EXEC);
}

static bool same_path(const struct path *a, const struct path *b)
{
	return a->mnt == b->mnt && a->dentry == b->dentry;
}

/* Is p still below the scope's root? Mounts in between are climbed. */
static bool in_scope(const struct walk *w, const struct path *p)
{
	PATH_REF at = *p;

	path_get(&at);
	for (;;) {
		if (at.mnt == w->root.mnt && dentry_is_below(at.dentry, w->root.dentry))
			return true;
		dentry_put(at.dentry);
		at.dentry = dentry_get(at.mnt->root);
		if (!mount_up(&at))
			return false;
	}
}

static int step_up(struct walk *w)
{
	struct dentry *parent;

	if (same_path(&w->path, &w->root))
		return w->flags & LOOKUP_BENEATH ? -EXDEV : 0;
	while (w->path.dentry == w->path.mnt->root) {
		if (w->flags & LOOKUP_NO_XDEV)
			return -EXDEV;
		if (!mount_up(&w->path))
			return 0;
		if (same_path(&w->path, &w->root))
			return 0;
	}
	parent = dentry_get_parent(w->path.dentry);
	dentry_put(w->path.dentry);
	w->path.dentry = parent;
	if (mount_cross(&w->path) && (w->flags & LOOKUP_NO_XDEV))
		return -EXDEV;
	return (w->flags & SCOPED) && !in_scope(w, &w->path) ? -EAGAIN : 0;
}

/* The child called name, mounts crossed; possibly negative. */
static int step_down(struct walk *w, const char *name, size_t len, struct path *ret)
{
	int err = dentry_lookup(w->c, w->path.dentry, name, len, &ret->dentry);

	if (err)
		return err;
	ret->mnt = mount_get(w->path.mnt);
	if (ret->dentry->mounts && mount_cross(ret) && (w->flags & LOOKUP_NO_XDEV)) {
		path_put(ret);
		return -EXDEV;
	}
	return 0;
}

/* Symbolic links in sticky, world-writable directories: only those of the follower or of the directory's owner. */
static int may_follow(struct walk *w, const struct inode *link)
{
	const struct inode *dir = w->path.dentry->inode;

	if (w->c->cred->fsuid == link->uid || (dir->mode & (S_ISVTX | S_IWOTH)) != (S_ISVTX | S_IWOTH))
		return 0;
	return dir->uid == link->uid ? 0 : -EACCES;
}

static void goto_path(struct walk *w, const struct path *p)
{
	path_get(p);
	path_put(&w->path);
	w->path = *p;
}

static int follow_magic(struct walk *w, struct inode *link)
{
	struct path to;
	int err;

	if (w->flags & LOOKUP_NO_MAGICLINKS)
		return -ELOOP;
	if (w->flags & SCOPED)
		return -EXDEV;
	err = link->ops->follow(w->c, link, &to);
	if (err)
		return err;
	if ((w->flags & LOOKUP_NO_XDEV) && to.mnt != w->path.mnt)
		err = -EXDEV;
	else
		goto_path(w, &to);
	path_put(&to);
	return err;
}

/* Continues at the link's target; `rest`, not empty, comes after it. 1: a magic link, w->path is there already. */
static int enter_link(struct walk *w, const struct path *link, const char *rest, bool is_last)
{
	struct inode *i = link->dentry->inode;
	char *target;
	int err;

	if ((w->flags & LOOKUP_NO_SYMLINKS) || ++w->links > WALK_LINKS_MAX)
		return -ELOOP;
	if (link->mnt->flags & (1u << 8)) /* MS_NOSYMFOLLOW */
		return -ELOOP;
	if (is_last && (err = may_follow(w, i)))
		return err;
	if (i->ops->follow) {
		err = follow_magic(w, i);
		if (!err)
			w->name = rest;
		return err ? err : 1;
	}
	err = i->ops->readlink ? i->ops->readlink(w->c, i, &target) : -EINVAL;
	if (err || (err = keep_buf(w, target)))
		return err;
	if (!*target)
		return -ENOENT;
	if (*rest)
		w->rest[w->depth++] = rest;
	w->name = target;
	if (*target != '/')
		return 0;
	if (w->flags & LOOKUP_BENEATH)
		return -EXDEV;
	if ((w->flags & LOOKUP_NO_XDEV) && w->root.mnt != w->path.mnt)
		return -EXDEV;
	goto_path(w, &w->root);
	return 0;
}

static const char *skip_slashes(const char *s)
{
	while (*s == '/')
		s++;
	return s;
}

/* A component in the middle. */
static int step(struct walk *w, const char *name, size_t len, const char *rest)
{
	struct path child;
	int err;

	if (len == 1 && name[0] == '.') {
		w->name = rest;
		return 0;
	}
	if (len == 2 && name[0] == '.' && name[1] == '.') {
		w->name = rest;
		return step_up(w);
	}
	err = step_down(w, name, len, &child);
	if (err)
		return err;
	if (dentry_negative(child.dentry)) {
		err = -ENOENT;
	} else if (S_ISLNK(child.dentry->inode->mode)) {
		err = enter_link(w, &child, rest, false);
		err = MIN(err, 0);
	} else {
		w->name = rest;
		path_put(&w->path);
		w->path = child;
		return 0;
	}
	path_put(&child);
	return err;
}

/* Takes the next string from the stack when the current one is used up. False: nothing is left. */
static bool next_component(struct walk *w)
{
	for (;;) {
		w->name = skip_slashes(w->name);
		if (*w->name)
			return true;
		if (w->depth == 0)
			return false;
		w->name = w->rest[--w->depth];
	}
}

int walk_parent(struct walk *w)
{
	w->last[0] = 0;
	w->slash = false;
	while (next_component(w)) {
		const char *end = strchrnul(w->name, '/');
		const char *rest = skip_slashes(end);
		size_t len = (size_t)(end - w->name);
		int err = may_enter(w);

		if (err)
			return err;
		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		if (!*rest && w->depth == 0) {
			memcpy(w->last, w->name, len);
			w->last[len] = 0;
			w->slash = rest != end;
			w->name = rest;
			return 0;
		}
		err = step(w, w->name, len, rest);
		if (err)
			return err;
	}
	return 0;
}

int walk_child(struct walk *w, struct path *ret)
{
	int err = 0;

	if (w->followed_last || !w->last[0] || strcmp(w->last, ".") == 0 || strcmp(w->last, "..") == 0) {
		if (!w->followed_last && strcmp(w->last, "..") == 0)
			err = step_up(w);
		if (err)
			return err;
		*ret = w->path;
		path_get(ret);
		return 0;
	}
	return step_down(w, w->last, strlen(w->last), ret);
}

int walk_follow(struct walk *w, const struct path *link)
{
	bool slash = w->slash;
	int err = enter_link(w, link, "", true);

	if (err < 0)
		return err;
	if (err > 0) {
		w->last[0] = 0;
		w->followed_last = true;
		return 0;
	}
	err = walk_parent(w);
	w->slash |= slash;
	return err;
}

int walk_to_end(struct walk *w, struct path *ret)
{
	int err = walk_parent(w);

	while (!err) {
		struct path p;

		err = walk_child(w, &p);
		if (err)
			break;
		if (dentry_negative(p.dentry)) {
			err = -ENOENT;
		} else if (S_ISLNK(p.dentry->inode->mode) && !w->followed_last &&
			   ((w->flags & LOOKUP_FOLLOW) || w->slash)) {
			err = walk_follow(w, &p);
			path_put(&p);
			continue;
		} else if (((w->flags & LOOKUP_DIRECTORY) || w->slash) && !S_ISDIR(p.dentry->inode->mode)) {
			err = -ENOTDIR;
		} else {
			*ret = p;
			return 0;
		}
		path_put(&p);
	}
	return err;
}

int path_lookup_from(struct ctx *c, const struct path *start, const char *name, unsigned flags, struct path *ret)
{
	struct walk w;
	int err = walk_init(&w, c, start, name, flags);

	if (err)
		return err;
	err = walk_to_end(&w, ret);
	walk_done(&w);
	return err;
}

int path_lookup(struct ctx *c, int dirfd, const char *name, unsigned flags, struct path *ret)
{
	struct walk w;
	int err;

	if (!*name && !(flags & LOOKUP_EMPTY))
		return -ENOENT;
	err = walk_init_at(&w, c, dirfd, name, flags);
	if (err)
		return err;
	err = walk_to_end(&w, ret);
	walk_done(&w);
	return err;
}

int path_parent(struct ctx *c, int dirfd, const char *name, unsigned flags, struct path *ret_dir, char *ret_last,
		bool *ret_slash)
{
	struct walk w;
	int err;

	if (!*name)
		return -ENOENT;
	err = walk_init_at(&w, c, dirfd, name, flags);
	if (err)
		return err;
	err = walk_parent(&w);
	if (!err) {
		*ret_dir = w.path;
		path_get(ret_dir);
		strcpy(ret_last, w.last);
		*ret_slash = w.slash;
	}
	walk_done(&w);
	return err;
}
