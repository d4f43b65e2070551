/*
 * The dentry cache: (directory, name) to dentry, negative ones included.
 *
 * One hash table for all file systems. A bucket's lock (L_DCACHE) protects its chain; the cache owns one reference to each hashed dentry, so
 * a count of 1 under the bucket's lock means that nobody else has it and nobody can get it. All hashed dentries are on one list in order
 * of arrival (lru_lock, L_CACHE); the shrinker walks it as a clock: what was looked up since it last came by gets another round.
 * A child holds its parent, so directories go after what is in them.
 *
 * A name or parent changes (rename) only while the dentry is unhashed, under the names lock (L_CACHE), by a caller that holds both
 * directories' locks. So it is stable for whoever holds the parent's lock, the names lock, or finds it in a bucket.
 */
#include "fs/dentry.h"

#include <string.h>

#include "fs/notify.h"
#include "sentry/base/slab.h"

#define BUCKETS 16384u
#define BUCKET_LOCKS 64u
#define SHRINK_BATCH 64
#define CLIMB_BATCH 256 /* steps up the tree with everybody waiting */

size_t dentry_cache_max = 24576;

static struct slab dentry_slab = SLAB_INIT(struct dentry);
static struct dentry *buckets[BUCKETS];
static struct mutex bucket_locks[BUCKET_LOCKS] = {[0 ... BUCKET_LOCKS - 1] = MUTEX_INIT};
static struct mutex names_lock = MUTEX_INIT;
static struct mutex lru_lock = MUTEX_INIT;
static struct list lru = LIST_INIT(lru);
static size_t lru_count; /* lru_lock; read as a hint */

void dentry_names_lock(void) NO_TSA
{
	mutex_lock(&names_lock, L_CACHE);
}

void dentry_names_unlock(void) NO_TSA
{
	mutex_unlock(&names_lock, L_CACHE);
}

static uint32_t name_hash(const struct dentry *dir, const char *name, size_t len)
{
	uint64_t h = (uint64_t)(uintptr_t)dir * 0x9e3779b97f4a7c15ull;

	while (len >= 8) {
		uint64_t w;

		memcpy(&w, name, 8);
		h = (h ^ w) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
		name += 8;
		len -= 8;
	}
	for (; len; len--)
		h = (h ^ (uint8_t)*name++) * 0x100000001b3ull;
	h ^= h >> 29;
	return (uint32_t)(h ^ (h >> 32));
}

static struct mutex *bucket_lock(uint32_t hash)
{
	return &bucket_locks[hash % BUCKET_LOCKS];
}

static struct dentry *dentry_alloc(const char *name, size_t len)
{
	struct dentry *d = slab_alloc(&dentry_slab);

	if (!d)
		return NULL;
	ref_init(&d->ref);
	d->name = len < sizeof(d->name_buf) ? d->name_buf : kalloc(len + 1);
	if (!d->name) {
		slab_free(&dentry_slab, d);
		return NULL;
	}
	memcpy(d->name, name, len);
	d->name_len = (uint32_t)len;
	list_init(&d->lru);
	return d;
}

/* Not the references it holds. */
static void dentry_free(struct dentry *d)
{
	if (d->name != d->name_buf)
		kfree(d->name, d->name_len + 1);
	slab_free(&dentry_slab, d);
}

struct dentry *dentry_create_root(struct super *s, struct inode *inode)
{
	struct dentry *d = dentry_alloc("/", 1);

	if (!d) {
		inode_put(inode);
		return NULL;
	}
	d->super = s;
	d->parent = d;
	d->inode = inode;
	return d;
}

struct dentry *dentry_create_unnamed(struct dentry *parent, const char *name, struct inode *inode)
{
	struct dentry *d = dentry_alloc(name, strlen(name));

	if (!d) {
		inode_put(inode);
		return NULL;
	}
	d->super = inode->super;
	d->parent = dentry_get(parent);
	d->inode = inode;
	return d;
}

void dentry_scratch(struct dentry *d, struct super *s, const char *name)
{
	memset(d, 0, sizeof(*d));
	ref_init(&d->ref);
	d->super = s;
	d->name = (char *)name;
	d->name_len = (uint32_t)strlen(name);
	list_init(&d->lru);
}

struct dentry *dentry_get(struct dentry *d)
{
	ref_get(&d->ref);
	return d;
}

void dentry_put(struct dentry *d)
{
	while (d && ref_put(&d->ref)) {
		struct dentry *parent = d->parent == d ? NULL : d->parent;

		if (d->inode && d->inode->nlink == 0)
			fsnotify_removed(d->inode);
		inode_put(d->inode);
		dentry_free(d);
		d = parent;
	}
}

void dentry_instantiate(struct dentry *d, struct inode *inode)
{
	__atomic_store_n(&d->inode, inode, __ATOMIC_RELEASE);
}

static struct dentry *cache_find(struct dentry *dir, const char *name, size_t len, uint32_t hash) NO_TSA
{
	struct dentry *d;

	mutex_lock(bucket_lock(hash), L_DCACHE);
	for (d = buckets[hash % BUCKETS]; d; d = d->hash_next)
		if (d->hash == hash && d->parent == dir && d->name_len == len && memcmp(d->name, name, len) == 0)
			break;
	if (d) {
		ref_get(&d->ref);
		if (!d->used)
			d->used = true;
	}
	mutex_unlock(bucket_lock(hash), L_DCACHE);
	return d;
}

/* The cache takes a reference of its own. */
static void bucket_insert(struct dentry *d) NO_TSA
{
	d->hash = name_hash(d->parent, d->name, d->name_len);
	mutex_lock(bucket_lock(d->hash), L_DCACHE);
	d->hash_next = buckets[d->hash % BUCKETS];
	buckets[d->hash % BUCKETS] = d;
	d->hashed = true;
	mutex_unlock(bucket_lock(d->hash), L_DCACHE);
}

static void bucket_unlink(struct dentry *d)
{
	struct dentry **p = &buckets[d->hash % BUCKETS];

	while (*p != d)
		p = &(*p)->hash_next;
	*p = d->hash_next;
	d->hash_next = NULL;
	d->hashed = false;
}

/* True if it was hashed and now is not: the cache's reference is the caller's. */
static bool bucket_remove(struct dentry *d, bool only_unused) NO_TSA
{
	struct mutex *lock = bucket_lock(d->hash);
	bool removed;

	mutex_lock(lock, L_DCACHE);
	removed = d->hashed && (!only_unused || ref_count(&d->ref) == 1);
	if (removed)
		bucket_unlink(d);
	mutex_unlock(lock, L_DCACHE);
	return removed;
}

static void lru_add(struct dentry *d)
{
	mutex_lock(&lru_lock, L_CACHE);
	list_append(&lru, &d->lru);
	lru_count++;
	mutex_unlock(&lru_lock, L_CACHE);
}

static void lru_del(struct dentry *d)
{
	mutex_lock(&lru_lock, L_CACHE);
	if (!list_empty(&d->lru)) {
		list_remove(&d->lru);
		lru_count--;
	}
	mutex_unlock(&lru_lock, L_CACHE);
}

static void cache_insert(struct dentry *d)
{
	ref_get(&d->ref);
	/* On the list first: whoever takes it out of its bucket must find it there. */
	lru_add(d);
	bucket_insert(d);
	if (lru_count > dentry_cache_max)
		dentry_shrink(dentry_cache_max - SHRINK_BATCH);
}

void dentry_drop(struct dentry *d)
{
	if (!d->hashed || !bucket_remove(d, false))
		return;
	lru_del(d);
	dentry_put(d);
}

static void put_list(struct list *l)
{
	struct dentry *d, *next;

	list_for_each_safe(d, next, l, lru) {
		list_remove(&d->lru);
		dentry_put(d);
	}
}

void dentry_shrink(size_t keep)
{
	struct list gone = LIST_INIT(gone);
	size_t rounds;

	mutex_lock(&lru_lock, L_CACHE);
	rounds = lru_count > keep ? 8 * (lru_count - keep) : 0;
	while (lru_count > keep && rounds-- > 0) {
		struct dentry *d = list_first(&lru, struct dentry, lru);

		list_remove(&d->lru);
		if (!d->used && !d->mounts && bucket_remove(d, true)) {
			lru_count--;
			list_append(&gone, &d->lru);
			continue;
		}
		d->used = false;
		list_append(&lru, &d->lru);
	}
	mutex_unlock(&lru_lock, L_CACHE);
	put_list(&gone);
}

void dentry_purge(struct super *s)
{
	struct list gone = LIST_INIT(gone);
	struct dentry *d, *next;

	mutex_lock(&lru_lock, L_CACHE);
	list_for_each_safe(d, next, &lru, lru) {
		if (d->super != s || !bucket_remove(d, false))
			continue;
		list_remove(&d->lru);
		lru_count--;
		list_append(&gone, &d->lru);
	}
	mutex_unlock(&lru_lock, L_CACHE);
	put_list(&gone);
}

/* A cached one that its file system still stands by, 0 with NULL if there is none. */
static int lookup_cached(struct ctx *c, struct dentry *dir, const char *name, size_t len, uint32_t hash,
			 struct dentry **ret)
{
	struct dentry *d = cache_find(dir, name, len, hash);
	int valid = 1;

	if (d && d->super->ops->revalidate)
		valid = d->super->ops->revalidate(c, d);
	if (d && valid <= 0) {
		dentry_drop(d);
		dentry_put(d);
		d = NULL;
	}
	*ret = d;
	return valid < 0 ? valid : 0;
}

static int lookup_slow(struct ctx *c, struct dentry *dir, const char *name, size_t len, struct dentry **ret)
{
	struct dentry *d;
	int err;

	if (dir->inode->dead || !dir->inode->ops->lookup)
		return dir->inode->dead ? -ENOENT : -ENOTDIR;
	if (len > dir->super->max_name)
		return -ENAMETOOLONG;
	d = dentry_alloc(name, len);
	if (!d)
		return -ENOMEM;
	d->super = dir->super;
	d->parent = dentry_get(dir);
	err = dir->inode->ops->lookup(c, dir->inode, d);
	if (err) {
		dentry_put(d);
		return err;
	}
	cache_insert(d);
	*ret = d;
	return 0;
}

int dentry_lookup_locked(struct ctx *c, struct dentry *dir, const char *name, size_t len, struct dentry **ret)
{
	int err = lookup_cached(c, dir, name, len, name_hash(dir, name, len), ret);

	if (err || *ret)
		return err;
	return lookup_slow(c, dir, name, len, ret);
}

int dentry_lookup(struct ctx *c, struct dentry *dir, const char *name, size_t len, struct dentry **ret)
{
	int err = lookup_cached(c, dir, name, len, name_hash(dir, name, len), ret);

	if (err || *ret)
		return err;
	inode_lock(dir->inode);
	err = dentry_lookup_locked(c, dir, name, len, ret);
	inode_unlock(dir->inode);
	return err;
}

static void swap_names(struct dentry *a, struct dentry *b)
{
	struct dentry tmp = *a;

	memcpy(a->name_buf, b->name_buf, sizeof(a->name_buf));
	memcpy(b->name_buf, tmp.name_buf, sizeof(b->name_buf));
	a->name = b->name == b->name_buf ? a->name_buf : b->name;
	b->name = tmp.name == a->name_buf ? b->name_buf : tmp.name;
	a->name_len = b->name_len;
	b->name_len = tmp.name_len;
	a->parent = b->parent;
	b->parent = tmp.parent;
}

void dentry_move(struct dentry *d, struct dentry *to, bool exchange)
{
	bool had = bucket_remove(d, false);
	bool to_had = bucket_remove(to, false);

	dentry_names_lock();
	swap_names(d, to);
	dentry_names_unlock();
	/* The cache's references stay with the dentries that are hashed again. */
	if (had)
		bucket_insert(d);
	if (to_had && exchange)
		bucket_insert(to);
	if (to_had && !exchange) {
		lru_del(to);
		dentry_put(to);
	}
}

struct dentry *dentry_get_parent(struct dentry *d)
{
	struct dentry *p;

	dentry_names_lock();
	p = dentry_get(d->parent);
	dentry_names_unlock();
	return p;
}

/* Some steps up from d, whose reference is exchanged; true: `ancestor` or the root is reached. */
static bool climb(struct dentry **d, const struct dentry *ancestor)
{
	struct dentry *from = *d, *at = from;

	dentry_names_lock();
	for (unsigned i = 0; i < CLIMB_BATCH && at != ancestor && at->parent != at; i++)
		at = at->parent;
	*d = dentry_get(at);
	dentry_names_unlock();
	dentry_put(from);
	return at == ancestor || at->parent == at;
}

bool dentry_is_below(struct dentry *d, struct dentry *ancestor)
{
	dentry_get(d);
	while (!climb(&d, ancestor))
		;
	dentry_put(d);
	return d == ancestor;
}
