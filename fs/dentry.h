/*
 * Dentries: names in directories, cached. A dentry is positive (has an inode) or negative (the name is known not to exist). A
 * positive dentry's inode never changes; a negative one may become positive by dentry_instantiate(). A dentry holds a reference to its
 * parent. Names and parents change only under L_RENAME and the directories' locks.
 */
#pragma once

#include "fs/inode.h"

struct dentry {
	struct ref ref;
	struct dentry *parent; /* a reference; itself for a root */
	struct inode *inode;   /* a reference; NULL: negative */
	struct super *super;   /* constant */
	char *name;            /* kalloc'ed */
	uint32_t name_len;
	uint32_t hash;
	bool hashed;           /* findable; false once removed */
	_Atomic uint32_t mounts; /* mounts on top of it: look in the mount table */
	struct dentry *hash_next;
	struct list children;  /* of cached child dentries */
	struct list sibling;
	struct list lru;
	void *priv;            /* the file system's own */
};

/* A root for super: takes over the reference to inode. NULL: no memory (inode is put). */
struct dentry *dentry_create_root(struct super *s, struct inode *inode);
struct dentry *dentry_get(struct dentry *d);
void dentry_put(struct dentry *d);
/* Makes a negative dentry positive; takes over the reference to inode. */
void dentry_instantiate(struct dentry *d, struct inode *inode);
/* The child of that name, from the cache or by lookup; a reference. The result may be negative. -errno by *ret_err. */
int dentry_lookup(struct ctx *c, struct dentry *dir, const char *name, size_t len, struct dentry **ret);
/* Forgets a name: later walks ask the file system again. */
void dentry_drop(struct dentry *d);
/* Drops cached, unused dentries until at most `keep` are left. */
void dentry_shrink(size_t keep);
static inline bool dentry_negative(const struct dentry *d)
{
	return !d->inode;
}
