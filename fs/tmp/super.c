/*
 * tmpfs: the superblock, inodes and mount options.
 *
 * The tree is the file system's own: a directory holds references to its inodes, whether or not names are in the dentry cache. An inode
 * without names lives for as long as somebody has it open. Limits (size=, nr_inodes=) are charged here; directories, names and attributes
 * are paid with the inode that they belong to.
 */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "fs/anon.h"
#include "fs/tmp/tmp.h"
#include "fs/vfs.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

static struct slab node_slab = {.name = "struct tmp_node", .size = sizeof(struct tmp_node), .lock = MUTEX_INIT};
static struct slab super_slab = {.name = "struct tmp_super", .size = sizeof(struct tmp_super), .lock = MUTEX_INIT};

int tmp_charge(struct super *s, int64_t pages)
{
	struct tmp_super *t = s->priv;
	int err = 0;

	mutex_lock(&t->lock, L_CACHE);
	if (pages > 0 && t->max_pages && (uint64_t)pages > t->max_pages - MIN(t->pages, t->max_pages))
		err = -ENOSPC;
	else
		t->pages += (uint64_t)pages;
	mutex_unlock(&t->lock, L_CACHE);
	return err;
}

static int charge_inode(struct super *s, int n)
{
	struct tmp_super *t = s->priv;
	int err = 0;

	mutex_lock(&t->lock, L_CACHE);
	if (n > 0 && t->max_inodes && t->inodes >= t->max_inodes)
		err = -ENOSPC;
	else
		t->inodes += (uint64_t)n;
	mutex_unlock(&t->lock, L_CACHE);
	return err;
}

static const struct inode_ops *ops_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return &tmp_dir_ops;
	case S_IFREG:
		return &tmp_file_inode_ops;
	case S_IFLNK:
		return &tmp_symlink_ops;
	}
	return &tmp_special_ops;
}

static const struct file_ops *file_ops_of(uint32_t mode)
{
	if (S_ISDIR(mode))
		return &tmp_dir_file_ops;
	return S_ISREG(mode) ? &tmp_file_ops : NULL;
}

static struct inode *node_inode(struct super *s, uint32_t mode)
{
	struct tmp_node *n = slab_alloc(&node_slab);
	struct inode *i = n ? inode_create(s, ops_of(mode), file_ops_of(mode), mode, 0) : NULL;

	if (!i) {
		slab_free(&node_slab, n);
		return NULL;
	}
	i->priv = n;
	if (S_ISREG(mode))
		tmp_data_init(&n->data);
	return i;
}

struct inode *tmp_inode_create(struct ctx *c, struct super *s, struct inode *dir, uint32_t mode, dev_t rdev,
			       int *ret_err)
{
	uint32_t uid = 0, gid = 0;
	struct inode *i;

	if (dir)
		inode_init_owner(c, dir, &mode, &uid, &gid);
	*ret_err = charge_inode(s, 1);
	if (*ret_err)
		return NULL;
	i = node_inode(s, mode);
	if (!i) {
		charge_inode(s, -1);
		*ret_err = -ENOMEM;
		return NULL;
	}
	i->uid = uid;
	i->gid = gid;
	i->rdev = rdev;
	if (!S_ISDIR(mode))
		return i;
	i->nlink = 2;
	i->size = 40;
	tmp_node(i)->dir.next_cookie = 3;
	tmp_node(i)->dir.parent = dir ? dir : i;
	return i;
}

static void tmp_evict(struct inode *i)
{
	struct tmp_node *n = tmp_node(i);

	if (S_ISDIR(i->mode))
		tmp_dir_free(&n->dir);
	else if (S_ISREG(i->mode))
		tmp_data_free(i);
	else if (S_ISLNK(i->mode))
		kfree_string(n->target);
	tmp_xattr_free(i);
	slab_free(&node_slab, n);
	charge_inode(i->super, -1);
}

int tmp_getattr(struct ctx *c __unused, struct inode *i, struct attr *ret)
{
	*ret = (struct attr){
	    .mode = i->mode,
	    .uid = i->uid,
	    .gid = i->gid,
	    .nlink = i->nlink,
	    .ino = i->ino,
	    .size = i->size,
	    .blocks = S_ISREG(i->mode) ? tmp_data_blocks(i) : 0,
	    .blksize = PAGE_SIZE,
	    .dev = i->super->dev,
	    .rdev = i->rdev,
	    .atime = i->atime,
	    .mtime = i->mtime,
	    .ctime = i->ctime,
	    .btime = i->btime,
	};
	return 0;
}

int tmp_setattr(struct ctx *c __unused, struct inode *i, unsigned valid, const struct attr *a)
{
	int err = 0;

	if (valid & ATTR_SIZE)
		err = tmp_data_resize(i, a->size);
	if (!err)
		inode_setattr_fields(i, valid, a);
	return err;
}

static int tmp_statfs(struct ctx *c __unused, struct super *s, struct k_statfs *ret)
{
	struct tmp_super *t = s->priv;

	mutex_lock(&t->lock, L_CACHE);
	ret->blocks = t->max_pages;
	ret->bfree = ret->bavail = t->max_pages - MIN(t->pages, t->max_pages);
	ret->files = t->max_inodes;
	ret->ffree = t->max_inodes - MIN(t->inodes, t->max_inodes);
	mutex_unlock(&t->lock, L_CACHE);
	return 0;
}

static void tmp_show_options(struct super *s, char *buf, size_t size)
{
	struct tmp_super *t = s->priv;
	int n = 0;

	buf[0] = 0;
	if (t->max_pages)
		n = snprintf(buf, size, ",size=%luk", (unsigned long)(t->max_pages * 4));
	if (t->max_inodes && n >= 0 && (size_t)n < size)
		snprintf(buf + n, size - (size_t)n, ",nr_inodes=%lu", (unsigned long)t->max_inodes);
}

static void tmp_kill(struct super *s)
{
	slab_free(&super_slab, s->priv);
}

const struct super_ops tmpfs_super_ops = {
    .name = "tmpfs",
    .magic = TMPFS_MAGIC,
    .evict = tmp_evict,
    .statfs = tmp_statfs,
    .kill = tmp_kill,
    .show_options = tmp_show_options,
};

struct super *tmpfs_create(const struct tmpfs_options *o)
{
	struct tmp_super *t = slab_alloc(&super_slab);
	struct super *s = t ? super_create(&tmpfs_super_ops, t) : NULL;
	struct inode *root;
	int err;

	if (!s) {
		slab_free(&super_slab, t);
		return NULL;
	}
	mutex_init(&t->lock);
	t->max_pages = o->max_bytes / PAGE_SIZE;
	t->max_inodes = o->max_inodes;
	root = tmp_inode_create(NULL, s, NULL, S_IFDIR | (o->mode & 07777), 0, &err);
	if (root) {
		root->uid = o->uid;
		root->gid = o->gid;
		s->root = dentry_create_root(s, root);
	}
	if (!s->root) {
		super_put(s);
		return NULL;
	}
	return s;
}

/* "512m", "50%", "1g": bytes. */
static int parse_size(const char *v, uint64_t *ret)
{
	struct sysinfo si;
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(v, &end, 0);
	if (end == v || errno)
		return -EINVAL;
	if (*end == '%') {
		sysinfo(&si);
		n = (uint64_t)si.totalram * si.mem_unit / 100 * MIN(n, 100ul);
		end++;
	} else if (*end) {
		static const char units[] = "kmgt";
		const char *u = strchr(units, *end | 0x20);

		if (!u || __builtin_mul_overflow(n, 1ull << (10 * (u - units + 1)), &n))
			return -EINVAL;
		end++;
	}
	*ret = n;
	return *end ? -EINVAL : 0;
}

static int parse_option(struct tmpfs_options *o, const char *key, const char *value)
{
	uint64_t n;
	int err;

	if (strcmp(key, "mode") == 0) {
		o->mode = (uint32_t)strtoul(value, NULL, 8) & 07777;
		return 0;
	}
	if (strcmp(key, "size") == 0)
		return parse_size(value, &o->max_bytes);
	if (strcmp(key, "nr_blocks") == 0) {
		err = parse_size(value, &n);
		o->max_bytes = err ? 0 : n * PAGE_SIZE;
		return err;
	}
	if (strcmp(key, "nr_inodes") == 0)
		return parse_size(value, &o->max_inodes);
	if (strcmp(key, "uid") == 0 || strcmp(key, "gid") == 0) {
		n = strtoul(value, NULL, 10);
		*(key[0] == 'u' ? &o->uid : &o->gid) = (uint32_t)n;
		return 0;
	}
	/* Where memory lies is the host's business. */
	return strcmp(key, "mpol") == 0 || strcmp(key, "huge") == 0 || strncmp(key, "inode", 5) == 0 ? 0 : -EINVAL;
}

static int parse_options(struct tmpfs_options *o, const char *data)
{
	char *copy = kstrdup(data), *save = NULL;
	int err = copy ? 0 : -ENOMEM;

	for (char *s = copy ? strtok_r(copy, ",", &save) : NULL; s && !err; s = strtok_r(NULL, ",", &save)) {
		char *eq = strchr(s, '=');

		if (eq)
			*eq = 0;
		err = parse_option(o, s, eq ? eq + 1 : "");
	}
	kfree_string(copy);
	return err;
}

static int tmpfs_mount(struct ctx *c, const char *source __unused, const char *data, uint64_t flags __unused,
		       struct super **ret)
{
	struct tmpfs_options o = {.mode = 01777, .uid = c->cred->fsuid, .gid = c->cred->fsgid};
	struct sysinfo si;
	int err;

	sysinfo(&si);
	o.max_bytes = (uint64_t)si.totalram * si.mem_unit / 2;
	o.max_inodes = o.max_bytes / PAGE_SIZE;
	err = parse_options(&o, data);
	if (err)
		return err;
	*ret = tmpfs_create(&o);
	return *ret ? 0 : -ENOMEM;
}

void tmpfs_register(void)
{
	static struct fs_type tmpfs = {.name = "tmpfs", .nodev = true, .create = tmpfs_mount};
	static struct fs_type ramfs = {.name = "ramfs", .nodev = true, .create = tmpfs_mount};

	fs_type_register(&tmpfs);
	fs_type_register(&ramfs);
}
