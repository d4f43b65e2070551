/*
 * Superblocks and inodes: life and attributes.
 *
 * A superblock has two counts, as Linux's s_active and s_count: `active` is held by mounts and by overlays that it is a layer of; when it
 * drops to zero the tree is taken apart (the root and all cached names go). `ref` is held by inodes too; when it drops to zero the file
 * system's own state and the structure are freed. So an open file keeps what it needs after a lazy umount.
 *
 * Evicting a directory may put its children, and theirs in turn. inode_put() therefore never recurses: what dies during an eviction
 * is queued and evicted by the outermost call.
 */
#include "fs/inode.h"

#include <sys/sysmacros.h>

#include "fs/dentry.h"
#include "fs/locks.h"
#include "sentry/base/clock.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

static struct slab super_slab = SLAB_INIT(struct super);
static struct slab inode_slab = SLAB_INIT(struct inode);

/* What this thread still has to evict. */
static __thread struct inode *dying;
static __thread bool evicting;

int64_t inode_now(void)
{
	return clock_now(CLOCK_REALTIME_COARSE);
}

dev_t super_alloc_dev(void)
{
	static uint32_t minor_count;

	/* Anonymous devices have major 0; minors from 20 on look like those of a machine that has booted. */
	return makedev(0, 20 + __atomic_fetch_add(&minor_count, 1, __ATOMIC_RELAXED));
}

struct super *super_create(const struct super_ops *ops, void *priv)
{
	struct super *s = slab_alloc(&super_slab);

	if (!s)
		return NULL;
	ref_init(&s->ref);
	ref_init(&s->active);
	s->ops = ops;
	s->priv = priv;
	s->dev = super_alloc_dev();
	s->next_ino = 1;
	s->max_name = 255;
	return s;
}

struct super *super_hold(struct super *s)
{
	ref_get(&s->ref);
	return s;
}

void super_release(struct super *s)
{
	if (!s || !ref_put(&s->ref))
		return;
	if (s->ops->kill)
		s->ops->kill(s);
	slab_free(&super_slab, s);
}

struct super *super_get(struct super *s)
{
	ref_get(&s->active);
	return s;
}

void super_put(struct super *s)
{
	struct dentry *root;

	if (!s || !ref_put(&s->active))
		return;
	root = take(s->root);
	if (s->ops->shutdown)
		s->ops->shutdown(s);
	dentry_purge(s);
	dentry_put(root);
	super_release(s);
}

struct inode *inode_create(struct super *s, const struct inode_ops *ops, const struct file_ops *fops, uint32_t mode,
			   uint64_t ino)
{
	struct inode *i = slab_alloc(&inode_slab);

	if (!i)
		return NULL;
	ref_init(&i->ref);
	i->super = super_hold(s);
	i->ops = ops;
	i->file_ops = fops;
	mutex_init(&i->lock);
	i->mode = mode;
	i->nlink = 1;
	i->ino = ino ? ino : __atomic_fetch_add((uint64_t *)&s->next_ino, 1, __ATOMIC_RELAXED);
	i->atime = i->mtime = i->ctime = i->btime = inode_now();
	return i;
}

struct inode *inode_get(struct inode *i)
{
	ref_get(&i->ref);
	return i;
}

static void inode_evict(struct inode *i)
{
	struct super *s = i->super;

	if (s->ops->evict)
		s->ops->evict(i);
	if (i->locks)
		locks_inode_free(i);
	pthread_mutex_destroy(&i->lock.m);
	slab_free(&inode_slab, i);
	super_release(s);
}

void inode_put(struct inode *i)
{
	if (!i || !ref_put(&i->ref))
		return;
	i->evict_next = dying;
	dying = i;
	if (evicting)
		return;
	evicting = true;
	while (dying) {
		i = dying;
		dying = i->evict_next;
		inode_evict(i);
	}
	evicting = false;
}

/* At most four: an insertion sort by address. */
static size_t lock_set_sort(struct inode **set, size_t count)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		struct inode *x = set[i];
		size_t at = n;

		while (at > 0 && set[at - 1] > x)
			at--;
		if (!x || (at > 0 && set[at - 1] == x))
			continue;
		for (size_t j = n; j > at; j--)
			set[j] = set[j - 1];
		set[at] = x;
		n++;
	}
	for (size_t i = n; i < count; i++)
		set[i] = NULL;
	return n;
}

void inode_lock_set(struct inode **set, size_t count) NO_TSA
{
	size_t n = lock_set_sort(set, count);

	lock_debug_acquire(inode_lock_class(set[0]), false);
	for (size_t i = 0; i < n; i++)
		pthread_mutex_lock(&set[i]->lock.m);
}

void inode_unlock_set(struct inode **set, size_t count) NO_TSA
{
	lock_debug_release(inode_lock_class(set[0]));
	for (size_t i = 0; i < count && set[i]; i++)
		pthread_mutex_unlock(&set[i]->lock.m);
}

void inode_init_owner(struct ctx *c, const struct inode *dir, uint32_t *mode, uint32_t *ret_uid, uint32_t *ret_gid)
{
	*ret_uid = c->cred->fsuid;
	*ret_gid = c->cred->fsgid;
	if (!(dir->mode & S_ISGID))
		return;
	*ret_gid = dir->gid;
	if (S_ISDIR(*mode))
		*mode |= S_ISGID;
}

void inode_setattr_fields(struct inode *i, unsigned valid, const struct attr *a)
{
	if (valid & ATTR_UID)
		i->uid = a->uid;
	if (valid & ATTR_GID)
		i->gid = a->gid;
	if (valid & ATTR_MODE)
		i->mode = (i->mode & S_IFMT) | (a->mode & 07777);
	if (valid & ATTR_ATIME)
		i->atime = a->atime;
	if (valid & ATTR_MTIME)
		i->mtime = a->mtime;
	if (valid & ATTR_CTIME)
		i->ctime = a->ctime;
}

int inode_getattr(struct ctx *c, struct inode *i, struct attr *ret)
{
	if (i->ops && i->ops->getattr)
		return i->ops->getattr(c, i, ret);
	*ret = (struct attr){
	    .mode = i->mode,
	    .uid = i->uid,
	    .gid = i->gid,
	    .nlink = i->nlink,
	    .ino = i->ino,
	    .size = i->size,
	    .blocks = 0,
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
