/*
 * Mounts: where superblocks hang in the tree of one mount namespace, and paths (a mount and a dentry in it). mount_namespaces(7).
 */
#pragma once

#include "fs/dentry.h"

struct mount {
	struct ref ref;
	struct super *super;   /* a reference */
	struct dentry *root;   /* of this mount: super->root, or below it for a bind mount; a reference */
	struct mount *parent;  /* NULL for the namespace's root */
	struct dentry *point;  /* in parent; a reference */
	struct mnt_ns *ns;
	struct list link;      /* in ns->mounts, in order of mounting */
	uint64_t flags;        /* MS_RDONLY MS_NOSUID MS_NODEV MS_NOEXEC MS_NOATIME ... */
	int id;
	unsigned propagation;  /* MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE */
	char *source;          /* for /proc/mounts */
};

struct mnt_ns {
	struct ref ref;
	struct list mounts;    /* L_MOUNT */
	struct mount *root;
};

struct path {
	struct mount *mnt;
	struct dentry *dentry;
};

/* Both references, or {NULL, NULL}. */
void path_get(const struct path *p);
void path_put(struct path *p);
static inline void path_put_cleanup(struct path *p)
{
	path_put(p);
}
#define PATH_REF __cleanup(path_put_cleanup) struct path

struct mnt_ns *mnt_ns_create(struct super *root, uint64_t flags, const char *source);
struct mnt_ns *mnt_ns_get(struct mnt_ns *ns);
void mnt_ns_put(struct mnt_ns *ns);
/* Mounts super on `at`; 0 or -errno. The superblock's reference stays the caller's. */
int mount_add(struct mnt_ns *ns, struct super *s, const struct path *at, uint64_t flags, const char *source);
int mount_bind(struct mnt_ns *ns, const struct path *from, const struct path *at, uint64_t flags);
int mount_remove(struct ctx *c, const struct path *at, int flags);
/* -EROFS if the mount or its superblock is read-only. */
int mount_want_write(const struct mount *m);
