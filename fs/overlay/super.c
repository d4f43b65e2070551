/*
 * overlay: superblock and nodes.
 *
 * A node joins the upper inode and the lower ones that one name stands for. Directories merge; a file is the upper one or the first
 * lower one. Two tables find a node again by its upper inode (hard links in the upper layer, directories that were renamed) and by its
 * lower inode (files with more than one link). A node that must be found again although nobody uses it - a lower hard link that was copied up,
 * a renamed directory with lower layers - is pinned: its connection is stored nowhere else.
 *
 * st_ino and st_dev are the origin's: of the lower inode, also after copy-up (kept in an attribute of the upper inode), so that a program
 * that compares them before and after a write sees the same file.
 */
#include <linux/magic.h>
#include <string.h>

#include "fs/overlay/ovl.h"
#include "fs/vfs.h"
#include "sentry/base/slab.h"

#define UPPER_INO_BASE (1ull << 40) /* numbers of files made in memory: above those of host file systems in practice */

static struct slab node_slab = {.name = "struct ovl_node", .size = sizeof(struct ovl_node), .lock = MUTEX_INIT};
static struct slab super_slab = {.name = "struct ovl_super", .size = sizeof(struct ovl_super), .lock = MUTEX_INIT};

static size_t bucket(const struct inode *real)
{
	return ((uintptr_t)real * 0x9e3779b97f4a7c15ull >> 32) % OVL_BUCKETS;
}

void ovl_copy_attrs(struct inode *i)
{
	const struct inode *real = ovl_real(i);

	i->mode = real->mode;
	i->uid = real->uid;
	i->gid = real->gid;
	i->size = real->size;
	i->atime = real->atime;
	i->mtime = real->mtime;
	i->ctime = real->ctime;
	i->btime = real->btime;
}

static struct ovl_node *find_upper(const struct ovl_super *o, const struct inode *real) REQUIRES(L_CACHE)
{
	struct ovl_node *n = o->by_upper[bucket(real)];

	while (n && n->upper != real)
		n = n->upper_next;
	return n && ref_get_unless_zero(&n->inode->ref) ? n : NULL;
}

static struct ovl_node *find_lower(const struct ovl_super *o, const struct inode *real) REQUIRES(L_CACHE)
{
	struct ovl_node *n = o->by_lower[bucket(real)];

	while (n && n->lowers[0] != real)
		n = n->lower_next;
	return n && ref_get_unless_zero(&n->inode->ref) ? n : NULL;
}

static void hash_upper(struct ovl_super *o, struct ovl_node *n) REQUIRES(L_CACHE)
{
	n->upper_next = o->by_upper[bucket(n->upper)];
	o->by_upper[bucket(n->upper)] = n;
	n->in_upper = true;
}

static void hash_lower(struct ovl_super *o, struct ovl_node *n) REQUIRES(L_CACHE)
{
	n->lower_next = o->by_lower[bucket(n->lowers[0])];
	o->by_lower[bucket(n->lowers[0])] = n;
	n->in_lower = true;
}

static void unhash(struct ovl_super *o, struct ovl_node *n) REQUIRES(L_CACHE)
{
	struct ovl_node **p;

	if (n->in_upper) {
		for (p = &o->by_upper[bucket(n->upper)]; *p != n; p = &(*p)->upper_next)
			;
		*p = n->upper_next;
	}
	if (n->in_lower) {
		for (p = &o->by_lower[bucket(n->lowers[0])]; *p != n; p = &(*p)->lower_next)
			;
		*p = n->lower_next;
	}
	n->in_upper = n->in_lower = false;
}

static bool shares_lower(const struct ovl_node *n)
{
	return n->lower_count && !S_ISDIR(n->lowers[0]->mode) && n->lowers[0]->nlink > 1;
}

void ovl_pin(struct inode *i)
{
	struct ovl_super *o = ovl_super(i->super);
	struct ovl_node *n = ovl_node(i);

	mutex_lock(&o->lock, L_CACHE);
	if (!n->pinned) {
		n->pinned = true;
		inode_get(i);
		list_append(&o->pinned, &n->pin_link);
	}
	mutex_unlock(&o->lock, L_CACHE);
}

void ovl_set_upper(struct inode *i, struct inode *upper)
{
	struct ovl_super *o = ovl_super(i->super);
	struct ovl_node *n = ovl_node(i);

	mutex_lock(&o->lock, L_CACHE);
	__atomic_store_n(&n->upper, upper, __ATOMIC_RELEASE);
	hash_upper(o, n);
	mutex_unlock(&o->lock, L_CACHE);
	if (shares_lower(n))
		ovl_pin(i);
}

static void put_reals(struct inode *upper, struct inode **lowers, size_t count)
{
	inode_put(upper);
	for (size_t i = 0; i < count; i++)
		inode_put(lowers[i]);
}

static void node_free(struct ovl_node *n)
{
	put_reals(n->upper, n->lowers, n->lower_count);
	kfree(n->lowers, n->lower_count * sizeof(*n->lowers));
	inode_put(n->parent);
	kfree_string(n->name);
	slab_free(&node_slab, n);
}

static void ovl_evict(struct inode *i)
{
	struct ovl_super *o = ovl_super(i->super);

	mutex_lock(&o->lock, L_CACHE);
	unhash(o, ovl_node(i));
	mutex_unlock(&o->lock, L_CACHE);
	node_free(ovl_node(i));
}

static const struct inode_ops *ops_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return &ovl_dir_ops;
	case S_IFREG:
		return &ovl_file_inode_ops;
	case S_IFLNK:
		return &ovl_symlink_ops;
	}
	return &ovl_special_ops;
}

static const struct file_ops *file_ops_of(uint32_t mode)
{
	if (S_ISDIR(mode))
		return &ovl_dir_file_ops;
	return S_ISREG(mode) ? &ovl_file_ops : NULL;
}

struct origin {
	uint64_t ino;
	uint64_t dev;
};

/* The lower inode's identity: its main device is ours. */
static struct origin origin_of_lower(struct ctx *c, struct super *s, struct inode *lower)
{
	struct attr a;

	if (inode_getattr(c, lower, &a))
		return (struct origin){lower->ino, s->dev};
	return (struct origin){a.ino, a.dev == lower->super->dev ? s->dev : a.dev};
}

static struct origin origin_of_upper(struct ctx *c, struct super *s, struct inode *upper)
{
	struct origin o = {0, 0};
	bool host = ovl_super(s)->upper_is_host;
	ssize_t n = -ENODATA;

	/* On a host directory an attribute is two or three host calls: only files that may have been copied up are asked. */
	if (!host && upper->ops->getxattr) {
		inode_lock(upper);
		n = upper->ops->getxattr(c, upper, "trusted.overlay.origin", &o, sizeof(o));
		inode_unlock(upper);
	}
	if (n == sizeof(o))
		return o;
	return (struct origin){upper->ino, host ? upper->super->dev : s->dev};
}

static int node_fill(struct ovl_node *n, struct inode *dir, const char *name, struct inode *upper,
		     struct inode **lowers, size_t lower_count)
{
	mutex_init(&n->copyup);
	list_init(&n->pin_link);
	n->lowers = lower_count ? kalloc(lower_count * sizeof(*lowers)) : NULL;
	n->name = dir && !upper ? kstrdup(name) : NULL;
	if ((lower_count && !n->lowers) || (dir && !upper && !n->name))
		return -ENOMEM;
	n->parent = dir ? inode_get(dir) : NULL;
	memcpy(n->lowers, lowers, lower_count * sizeof(*lowers));
	n->lower_count = lower_count;
	n->upper = upper;
	return 0;
}

static struct inode *node_create(struct ctx *c, struct super *s, struct inode *dir, const char *name,
				 struct inode *upper, struct inode **lowers, size_t lower_count)
{
	struct inode *real = upper ? upper : lowers[0], *i;
	struct ovl_node *n = slab_alloc(&node_slab);
	struct origin at;

	if (!n)
		goto fail_reals;
	if (node_fill(n, dir, name, upper, lowers, lower_count)) {
		kfree(n->lowers, lower_count * sizeof(*lowers));
		kfree_string(n->name);
		slab_free(&node_slab, n);
		goto fail_reals;
	}
	at = lower_count ? origin_of_lower(c, s, lowers[0]) : origin_of_upper(c, s, upper);
	i = inode_create(s, ops_of(real->mode), file_ops_of(real->mode), real->mode, at.ino);
	if (!i) {
		node_free(n);
		return NULL;
	}
	i->priv = n;
	i->nlink = real->nlink;
	i->rdev = real->rdev;
	n->inode = i;
	n->ino = at.ino;
	n->dev = at.dev;
	ovl_copy_attrs(i);
	return i;
fail_reals:
	put_reals(upper, lowers, lower_count);
	return NULL;
}

static struct ovl_node *find_known(struct ovl_super *o, const struct inode *upper, struct inode **lowers, size_t count)
    REQUIRES(L_CACHE)
{
	if (upper)
		return find_upper(o, upper);
	return count && !S_ISDIR(lowers[0]->mode) && lowers[0]->nlink > 1 ? find_lower(o, lowers[0]) : NULL;
}

int ovl_inode_get(struct ctx *c, struct super *s, struct inode *dir, const char *name, struct inode *upper,
		  struct inode **lowers, size_t lower_count, struct inode **ret)
{
	struct ovl_super *o = ovl_super(s);
	struct ovl_node *known;
	struct inode *i;

	mutex_lock(&o->lock, L_CACHE);
	known = find_known(o, upper, lowers, lower_count);
	mutex_unlock(&o->lock, L_CACHE);
	if (known) {
		put_reals(upper, lowers, lower_count);
		*ret = known->inode;
		return 0;
	}
	i = node_create(c, s, dir, name, upper, lowers, lower_count);
	if (!i)
		return -ENOMEM;
	mutex_lock(&o->lock, L_CACHE);
	known = find_known(o, upper, lowers, lower_count);
	if (!known && upper)
		hash_upper(o, ovl_node(i));
	else if (!known && shares_lower(ovl_node(i)))
		hash_lower(o, ovl_node(i));
	mutex_unlock(&o->lock, L_CACHE);
	if (known)
		inode_put(i);
	*ret = known ? known->inode : i;
	return 0;
}

static int ovl_statfs(struct ctx *c, struct super *s, struct k_statfs *ret)
{
	struct ovl_super *o = ovl_super(s);
	struct super *real = o->upper ? o->upper : o->lowers[0];
	int err = real->ops->statfs ? real->ops->statfs(c, real, ret) : 0;

	ret->type = OVERLAYFS_SUPER_MAGIC;
	return err;
}

static int ovl_sync(struct super *s)
{
	struct super *upper = ovl_super(s)->upper;

	return upper && upper->ops->sync ? upper->ops->sync(upper) : 0;
}

static void layers_put(struct ovl_super *o)
{
	mnt_ns_put(o->upper_ns);
	super_put(o->upper);
	for (size_t i = 0; i < o->lower_count; i++) {
		mnt_ns_put(o->lower_ns[i]);
		super_put(o->lowers[i]);
	}
	kfree(o->by_upper, OVL_BUCKETS * sizeof(*o->by_upper));
	kfree(o->by_lower, OVL_BUCKETS * sizeof(*o->by_lower));
	slab_free(&super_slab, o);
}

static void ovl_kill(struct super *s)
{
	layers_put(ovl_super(s));
}

/* The last mount goes: so do the nodes that are kept for themselves. */
static void ovl_shutdown(struct super *s)
{
	struct ovl_super *o = ovl_super(s);
	struct ovl_node *n;

	for (;;) {
		mutex_lock(&o->lock, L_CACHE);
		n = list_first(&o->pinned, struct ovl_node, pin_link);
		if (n)
			list_remove(&n->pin_link);
		mutex_unlock(&o->lock, L_CACHE);
		if (!n)
			break;
		inode_put(n->inode);
	}
}

static const struct super_ops ovl_super_ops = {
    .name = "overlay",
    .magic = OVERLAYFS_SUPER_MAGIC,
    .evict = ovl_evict,
    .statfs = ovl_statfs,
    .sync = ovl_sync,
    .shutdown = ovl_shutdown,
    .kill = ovl_kill,
};

static struct mnt_ns *layer_take(struct super *s)
{
	s->layer = true;
	return mnt_ns_create(s, 0, "layer");
}

static int layers_fill(struct ovl_super *o, struct super **lowers, size_t count, struct super *upper)
{
	mutex_init(&o->lock);
	list_init(&o->pinned);
	o->by_upper = kalloc(OVL_BUCKETS * sizeof(*o->by_upper));
	o->by_lower = kalloc(OVL_BUCKETS * sizeof(*o->by_lower));
	if (!o->by_upper || !o->by_lower)
		return -ENOMEM;
	for (; o->lower_count < count; o->lower_count++) {
		o->lowers[o->lower_count] = super_get(lowers[o->lower_count]);
		o->lower_ns[o->lower_count] = layer_take(lowers[o->lower_count]);
		if (!o->lower_ns[o->lower_count])
			return -ENOMEM;
	}
	if (!upper)
		return 0;
	o->upper = super_get(upper);
	o->upper_ns = layer_take(upper);
	o->upper_is_host = strcmp(upper->ops->name, "tmpfs") != 0;
	if (!o->upper_is_host && upper->next_ino < UPPER_INO_BASE)
		upper->next_ino = UPPER_INO_BASE;
	return o->upper_ns ? 0 : -ENOMEM;
}

static int make_root(struct super *s)
{
	struct ovl_super *o = ovl_super(s);
	struct inode *lowers[OVL_LAYERS_MAX], *root;
	struct ctx none = {.cred = NULL};
	int err;

	for (size_t i = 0; i < o->lower_count; i++)
		lowers[i] = inode_get(o->lowers[i]->root->inode);
	err = ovl_inode_get(&none, s, NULL, "", o->upper ? inode_get(o->upper->root->inode) : NULL, lowers,
			    o->lower_count, &root);
	if (err)
		return err;
	/* A fresh upper root in memory looks like what it covers. */
	if (o->upper && !o->upper_is_host && o->lower_count) {
		struct inode *u = o->upper->root->inode, *l = lowers[0];

		u->mode = l->mode;
		u->uid = l->uid;
		u->gid = l->gid;
		u->atime = l->atime;
		u->mtime = l->mtime;
		u->ctime = l->ctime;
		ovl_copy_attrs(root);
	}
	s->root = dentry_create_root(s, root);
	return s->root ? 0 : -ENOMEM;
}

int overlay_create(struct super **lowers, size_t lower_count, struct super *upper, struct super **ret)
{
	struct ovl_super *o;
	struct super *s;
	int err;

	if (lower_count == 0 || lower_count > OVL_LAYERS_MAX)
		return -EINVAL;
	o = slab_alloc(&super_slab);
	if (!o)
		return -ENOMEM;
	err = layers_fill(o, lowers, lower_count, upper);
	s = err ? NULL : super_create(&ovl_super_ops, o);
	if (!s) {
		layers_put(o);
		return -ENOMEM;
	}
	s->read_only = s->frozen = upper == NULL;
	err = make_root(s);
	if (err)
		super_put(s);
	else
		*ret = s;
	return err;
}
