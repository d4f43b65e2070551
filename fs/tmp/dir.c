/*
 * tmpfs directories: names in hash buckets for look-ups, and in a vector in order of age for readdir. A name's position is its cookie, a
 * number that only grows; so an offset stays valid whatever is made or removed meanwhile, and readdir finds its place by a binary
 * search. Removal leaves a hole in the vector, which is squeezed when half of it is holes.
 *
 * Changes come with the directory's lock held by the VFS, and the victim's too; reading takes it here.
 */
#include <dirent.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>

#include "fs/tmp/tmp.h"
#include "sentry/base/slab.h"

#define DIRENT_SIZE 20 /* what one name adds to a directory's st_size, as in Linux */
#define FIRST_COOKIE 3

static uint32_t name_hash(const char *name, size_t len)
{
	uint32_t h = 2166136261u;

	while (len--)
		h = (h ^ (uint8_t)*name++) * 16777619u;
	return h;
}

static size_t entry_size(size_t len)
{
	return sizeof(struct tmp_entry) + len + 1;
}

static struct tmp_entry *dir_find(const struct tmp_dir *d, const char *name, size_t len)
{
	uint32_t hash = name_hash(name, len);
	struct tmp_entry *e;

	if (!d->bucket_count)
		return NULL;
	for (e = d->buckets[hash % d->bucket_count]; e; e = e->next)
		if (e->hash == hash && e->len == len && memcmp(e->name, name, len) == 0)
			return e;
	return NULL;
}

static void bucket_add(struct tmp_dir *d, struct tmp_entry *e)
{
	struct tmp_entry **b = &d->buckets[e->hash % d->bucket_count];

	e->next = *b;
	*b = e;
}

static int buckets_grow(struct tmp_dir *d)
{
	size_t old_count = d->bucket_count, count = MAX(old_count * 4, 8ul);
	struct tmp_entry **old = d->buckets;
	struct tmp_entry **n = kalloc(count * sizeof(struct tmp_entry *));

	if (!n)
		return old_count ? 0 : -ENOMEM;
	d->buckets = n;
	d->bucket_count = count;
	for (size_t i = 0; i < old_count; i++) {
		for (struct tmp_entry *e = old[i], *next; e; e = next) {
			next = e->next;
			bucket_add(d, e);
		}
	}
	kfree(old, old_count * sizeof(struct tmp_entry *));
	return 0;
}

static void order_squeeze(struct tmp_dir *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->order_len; i++)
		if (d->order[i])
			d->order[n++] = d->order[i];
	d->order_len = n;
}

static int order_room(struct tmp_dir *d)
{
	size_t cap = MAX(d->order_cap * 2, 8ul);
	struct tmp_entry **n;

	if (d->order_len < d->order_cap)
		return 0;
	n = krealloc(d->order, d->order_cap * sizeof(struct tmp_entry *), cap * sizeof(struct tmp_entry *));
	if (!n)
		return -ENOMEM;
	d->order = n;
	d->order_cap = cap;
	return 0;
}

/* Takes over the reference to i on success. */
static int dir_add(struct inode *dir, const char *name, struct inode *i)
{
	struct tmp_dir *d = &tmp_node(dir)->dir;
	size_t len = strlen(name);
	struct tmp_entry *e;

	if ((d->count >= d->bucket_count && buckets_grow(d)) || order_room(d))
		return -ENOMEM;
	e = kalloc(entry_size(len));
	if (!e)
		return -ENOMEM;
	e->inode = i;
	e->cookie = d->next_cookie++;
	e->hash = name_hash(name, len);
	e->len = (uint32_t)len;
	memcpy(e->name, name, len + 1);
	bucket_add(d, e);
	d->order[d->order_len++] = e;
	d->count++;
	dir->size += DIRENT_SIZE;
	dir->mtime = dir->ctime = inode_now();
	return 0;
}

/* The first place in order whose cookie is >= cookie. Holes are looked through to the right. */
static size_t order_find(const struct tmp_dir *d, uint64_t cookie)
{
	size_t lo = 0, hi = d->order_len;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2, at = mid;

		while (at < hi && !d->order[at])
			at++;
		if (at == hi)
			hi = mid;
		else if (d->order[at]->cookie < cookie)
			lo = at + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Frees e; its reference to the inode is the caller's. */
static void dir_del(struct inode *dir, struct tmp_entry *e)
{
	struct tmp_dir *d = &tmp_node(dir)->dir;
	struct tmp_entry **b = &d->buckets[e->hash % d->bucket_count];
	size_t at = order_find(d, e->cookie);

	while (*b != e)
		b = &(*b)->next;
	*b = e->next;
	while (d->order[at] != e)
		at++;
	d->order[at] = NULL;
	if (at + 1 == d->order_len)
		d->order_len--;
	d->count--;
	if (d->order_len > 16 && d->count < d->order_len / 2)
		order_squeeze(d);
	kfree(e, entry_size(e->len));
	dir->size -= DIRENT_SIZE;
	dir->mtime = dir->ctime = inode_now();
}

void tmp_dir_free(struct tmp_dir *d)
{
	for (size_t i = 0; i < d->order_len; i++) {
		if (!d->order[i])
			continue;
		inode_put(d->order[i]->inode);
		kfree(d->order[i], entry_size(d->order[i]->len));
	}
	kfree(d->order, d->order_cap * sizeof(struct tmp_entry *));
	kfree(d->buckets, d->bucket_count * sizeof(struct tmp_entry *));
}

static int tmp_lookup(struct ctx *c __unused, struct inode *dir, struct dentry *d)
{
	struct tmp_entry *e = dir_find(&tmp_node(dir)->dir, d->name, d->name_len);

	if (e)
		dentry_instantiate(d, inode_get(e->inode));
	return 0;
}

/* A new inode under a new name: one reference for the directory, one for the dentry. */
static int add_inode(struct inode *dir, struct dentry *d, struct inode *i)
{
	int err = dir_add(dir, d->name, i);

	if (err) {
		inode_put(i);
		return err;
	}
	if (S_ISDIR(i->mode))
		dir->nlink++;
	dentry_instantiate(d, inode_get(i));
	return 0;
}

static int tmp_mknod(struct ctx *c, struct inode *dir, struct dentry *d, uint32_t mode, dev_t rdev)
{
	int err;
	struct inode *i = tmp_inode_create(c, dir->super, dir, mode, rdev, &err);

	return i ? add_inode(dir, d, i) : err;
}

static int tmp_create(struct ctx *c, struct inode *dir, struct dentry *d, uint32_t mode)
{
	return tmp_mknod(c, dir, d, mode, 0);
}

static int tmp_symlink(struct ctx *c, struct inode *dir, struct dentry *d, const char *target)
{
	int err;
	struct inode *i = tmp_inode_create(c, dir->super, dir, S_IFLNK | 0777, 0, &err);

	if (!i)
		return err;
	tmp_node(i)->target = kstrdup(target);
	if (!tmp_node(i)->target) {
		inode_put(i);
		return -ENOMEM;
	}
	i->size = strlen(target);
	return add_inode(dir, d, i);
}

static int tmp_link(struct ctx *c __unused, struct inode *dir, struct dentry *d, struct inode *target)
{
	int err = dir_add(dir, d->name, target);

	if (err)
		return err;
	inode_get(target);
	target->nlink++;
	target->ctime = inode_now();
	dentry_instantiate(d, inode_get(target));
	return 0;
}

static int tmp_unlink(struct ctx *c __unused, struct inode *dir, struct dentry *d)
{
	struct tmp_entry *e = dir_find(&tmp_node(dir)->dir, d->name, d->name_len);

	if (!e || e->inode != d->inode)
		return -ENOENT;
	dir_del(dir, e);
	d->inode->nlink--;
	d->inode->ctime = inode_now();
	inode_put(d->inode);
	return 0;
}

static int tmp_rmdir(struct ctx *c, struct inode *dir, struct dentry *d)
{
	int err;

	if (tmp_node(d->inode)->dir.count)
		return -ENOTEMPTY;
	err = tmp_unlink(c, dir, d);
	if (err)
		return err;
	d->inode->nlink = 0;
	dir->nlink--;
	return 0;
}

static int tmp_tmpfile(struct ctx *c, struct inode *dir, uint32_t mode, struct inode **ret)
{
	int err;
	struct inode *i = tmp_inode_create(c, dir->super, dir, mode, 0, &err);

	if (!i)
		return err;
	i->nlink = 0;
	*ret = i;
	return 0;
}

static void dir_moved(struct inode *i, struct inode *from, struct inode *to)
{
	if (!S_ISDIR(i->mode) || from == to)
		return;
	from->nlink--;
	to->nlink++;
	tmp_node(i)->dir.parent = to;
}

static void touch(struct inode *i, int64_t now)
{
	i->ctime = now;
}

static int exchange(struct inode *olddir, struct dentry *from, struct inode *newdir, struct dentry *to)
{
	struct tmp_entry *a = dir_find(&tmp_node(olddir)->dir, from->name, from->name_len);
	struct tmp_entry *b = dir_find(&tmp_node(newdir)->dir, to->name, to->name_len);
	int64_t now = inode_now();

	if (!a || !b)
		return -ENOENT;
	a->inode = to->inode;
	b->inode = from->inode;
	dir_moved(from->inode, olddir, newdir);
	dir_moved(to->inode, newdir, olddir);
	olddir->mtime = olddir->ctime = newdir->mtime = newdir->ctime = now;
	touch(from->inode, now);
	touch(to->inode, now);
	return 0;
}

/* The entry of the target now leads to `i`; what it led to loses a name. */
static void replace_target(struct inode *newdir, struct tmp_entry *b, struct inode *i)
{
	struct inode *old = b->inode;

	b->inode = i;
	if (S_ISDIR(old->mode)) {
		newdir->nlink--;
		old->nlink = 0;
	} else {
		old->nlink--;
	}
	old->ctime = newdir->mtime = newdir->ctime = inode_now();
	inode_put(old);
}

static int tmp_rename(struct ctx *c, struct inode *olddir, struct dentry *from, struct inode *newdir, struct dentry *to,
		      unsigned flags)
{
	struct tmp_entry *a, *b;
	struct inode *whiteout = NULL;
	int err = 0;

	if (flags & RENAME_EXCHANGE)
		return exchange(olddir, from, newdir, to);
	if (to->inode && S_ISDIR(to->inode->mode) && tmp_node(to->inode)->dir.count)
		return -ENOTEMPTY;
	if (flags & RENAME_WHITEOUT)
		whiteout = tmp_inode_create(c, olddir->super, olddir, S_IFCHR, 0, &err);
	if (err)
		return err;
	b = to->inode ? dir_find(&tmp_node(newdir)->dir, to->name, to->name_len) : NULL;
	if (b)
		replace_target(newdir, b, from->inode);
	else
		err = dir_add(newdir, to->name, from->inode);
	if (err) {
		inode_put(whiteout);
		return err;
	}
	/* The reference moves from the old entry to the new one. dir_add() may have moved nothing that `a` points to. */
	a = dir_find(&tmp_node(olddir)->dir, from->name, from->name_len);
	if (whiteout) {
		a->inode = whiteout;
		olddir->mtime = olddir->ctime = inode_now();
	} else {
		dir_del(olddir, a);
	}
	dir_moved(from->inode, olddir, newdir);
	touch(from->inode, inode_now());
	return 0;
}

static int tmp_readlink(struct ctx *c __unused, struct inode *i, char **ret_target)
{
	*ret_target = kstrdup(tmp_node(i)->target);
	return *ret_target ? 0 : -ENOMEM;
}

static bool emit_dots(struct inode *dir, struct dir_sink *s, off_t *pos)
{
	if (*pos == 0) {
		if (!s->emit(s, ".", 1, dir->ino, DT_DIR, 1))
			return false;
		*pos = 1;
	}
	if (*pos < FIRST_COOKIE) {
		struct inode *up = tmp_node(dir)->dir.parent;

		if (!s->emit(s, "..", 2, up->ino, DT_DIR, FIRST_COOKIE))
			return false;
		*pos = FIRST_COOKIE;
	}
	return true;
}

static int tmp_iterate(struct ctx *c __unused, struct file *f, struct dir_sink *s, off_t *pos)
{
	struct inode *dir = f->inode;
	const struct tmp_dir *d = &tmp_node(dir)->dir;

	inode_lock(dir);
	if (!dir->dead && *pos >= 0 && emit_dots(dir, s, pos)) {
		for (size_t at = order_find(d, (uint64_t)*pos); at < d->order_len; at++) {
			const struct tmp_entry *e = d->order[at];

			if (!e)
				continue;
			if (!s->emit(s, e->name, e->len, e->inode->ino, IFTODT(e->inode->mode), (off_t)e->cookie + 1))
				break;
			*pos = (off_t)e->cookie + 1;
		}
	}
	inode_unlock(dir);
	return 0;
}

static off_t tmp_dir_llseek(struct ctx *c __unused, struct file *f, off_t off, int whence)
{
	if (whence != SEEK_CUR && whence != SEEK_SET)
		return -EINVAL;
	return file_llseek_size(f, off, whence, 0);
}

const struct inode_ops tmp_dir_ops = {
    .lookup = tmp_lookup,
    .create = tmp_create,
    .mkdir = tmp_create,
    .mknod = tmp_mknod,
    .symlink = tmp_symlink,
    .link = tmp_link,
    .unlink = tmp_unlink,
    .rmdir = tmp_rmdir,
    .rename = tmp_rename,
    .tmpfile = tmp_tmpfile,
    .getattr = tmp_getattr,
    .setattr = tmp_setattr,
    .getxattr = tmp_getxattr,
    .setxattr = tmp_setxattr,
    .removexattr = tmp_removexattr,
    .listxattr = tmp_listxattr,
};

const struct inode_ops tmp_symlink_ops = {
    .readlink = tmp_readlink,
    .getattr = tmp_getattr,
    .setattr = tmp_setattr,
    .getxattr = tmp_getxattr,
    .setxattr = tmp_setxattr,
    .removexattr = tmp_removexattr,
    .listxattr = tmp_listxattr,
};

const struct inode_ops tmp_special_ops = {
    .getattr = tmp_getattr,
    .setattr = tmp_setattr,
    .getxattr = tmp_getxattr,
    .setxattr = tmp_setxattr,
    .removexattr = tmp_removexattr,
    .listxattr = tmp_listxattr,
};

const struct file_ops tmp_dir_file_ops = {
    .llseek = tmp_dir_llseek,
    .iterate = tmp_iterate,
};
