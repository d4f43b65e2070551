/*
 * Dentries: names in directories, cached. A dentry is positive (has an inode) or negative (the name is known not to exist). A
 * positive dentry's inode never changes; a negative one may become positive by dentry_instantiate(). A dentry holds a reference to its
 * parent. Names and parents change only under the
 * directories' locks and L_DCACHE. The cache itself holds one reference to each hashed dentry: a count of 1 there means unused.
 */
#pragma once

#include "fs/inode.h"

struct dentry {
	struct ref ref;
	struct dentry *parent; /* a reference; itself for a root */
	struct inode *inode;   /* a reference; NULL: negative */
	struct super *super;   /* constant */
	char *name;            /* name_buf, or kalloc'ed */
	char name_buf[32];
	uint32_t name_len;
	uint32_t hash;
	bool hashed; /* findable; false once removed */
	bool alone;  /* a file of memory that lies in no tree: its path is "/NAME (deleted)", for everybody; constant */
	_Atomic uint32_t mounts; /* mounts on top of it: look in the mount table */
	struct dentry *hash_next;
	struct list lru;   /* all hashed ones, L_CACHE */
	_Atomic bool used; /* looked up since the shrinker last came by */
	void *priv;        /* the file system's own; freed by its evict op with the inode */
};

/* A root for super: takes over the reference to inode. NULL: no memory (inode is put). */
struct dentry *dentry_create_root(struct super *s, struct inode *inode);
struct dentry *dentry_get(struct dentry *d);
void dentry_put(struct dentry *d);
/* Makes a negative dentry positive; takes over the reference to inode. */
void dentry_instantiate(struct dentry *d, struct inode *inode);
/* The child of that name, from the cache or by lookup; a reference. The result may be negative. -errno by *ret_err. */
int dentry_lookup(struct ctx *c, struct dentry *dir, const char *name, size_t len, struct dentry **ret);
/* The same with dir's lock held by the caller. */
int dentry_lookup_locked(struct ctx *c, struct dentry *dir, const char *name, size_t len, struct dentry **ret);
/* A dentry outside of the cache, to call the ops of a layer with; name stays the caller's. dentry_scratch_done() puts its inode. */
void dentry_scratch(struct dentry *d, struct super *s, const char *name);
/* An unhashed dentry for an inode without a name (O_TMPFILE, anonymous files); takes over the reference to inode. */
struct dentry *dentry_create_unnamed(struct dentry *parent, const char *name, struct inode *inode);
/* After a rename op: d takes the name and parent of `to` (which is forgotten), or both swap. Both parents' locks are held. */
void dentry_move(struct dentry *d, struct dentry *to, bool exchange);
/* A reference to the parent. */
struct dentry *dentry_get_parent(struct dentry *d);
/* True if d is `ancestor` or below it. */
bool dentry_is_below(struct dentry *d, struct dentry *ancestor);
/* Names and parents stand still between these two: leaf lock. */
void dentry_names_lock(void);
void dentry_names_unlock(void);
/* Forgets all names of a superblock that goes away. */
void dentry_purge(struct super *s);
/* Cached dentries: how many there may be before the unused are dropped. */
extern size_t dentry_cache_max;
/* Forgets a name: later walks ask the file system again. */
void dentry_drop(struct dentry *d);
/* Drops cached, unused dentries until at most `keep` are left. */
void dentry_shrink(size_t keep);
static inline bool dentry_negative(const struct dentry *d)
{
	return !d->inode;
}
