/*
 * Mounts: where superblocks hang in the tree of one mount namespace, and paths (a mount and a dentry in it). mount_namespaces(7).
 */
#pragma once

#include "fs/dentry.h"

struct mount {
	struct ref ref;
	struct super *super;  /* a reference */
	struct dentry *root;  /* of this mount: super->root, or below it for a bind mount; a reference */
	struct mount *parent; /* NULL for the namespace's root */
	struct dentry *point; /* in parent; a reference */
	struct mnt_ns *ns;
	struct list link;              /* in ns->mounts, in order of mounting */
	struct list children, sibling; /* what hangs on this one; L_MOUNT, as the following */
	struct mount *hash_next;
	struct mount *copy;       /* while a tree is copied */
	struct mount *old_parent; /* references to where it was, once it is out of the tree */
	struct dentry *old_point;
	uint64_t flags; /* MS_RDONLY MS_NOSUID MS_NODEV MS_NOEXEC MS_NOATIME ... */
	int id;
	unsigned propagation; /* MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE */
	char *source;         /* for /proc/mounts */
};

struct mnt_ns {
	struct ref ref;
	struct list mounts; /* L_MOUNT */
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
/* The mounts of ns in order of mounting, each with a reference, for mounts_put(). NULL: no memory. */
struct mount **mnt_ns_snapshot(struct mnt_ns *ns, size_t *ret_count);
void mounts_put(struct mount **all, size_t count);
/* Syncs every file system in ns. */
void mnt_ns_sync(struct mnt_ns *ns);
struct mount *mount_get(struct mount *m);
void mount_put(struct mount *m);
/* Replaces p by what is mounted on it, as often as something is. True if it crossed. p's references are exchanged. */
bool mount_cross(struct path *p);
/* Replaces p, a mount's root, by the place it is mounted on. False: it is not a root, or of the namespace. */
bool mount_up(struct path *p);
int mount_move(struct mnt_ns *ns, const struct path *from, const struct path *to);
int mount_remount(const struct path *at, uint64_t flags, bool super_too);
int mount_set_propagation(const struct path *at, unsigned type, bool recursive);
/* A copy of the whole tree (CLONE_NEWNS); *root and *cwd, if not NULL, are moved to the copies. */
int mnt_ns_clone(struct mnt_ns *ns, struct path *root, struct path *cwd, struct mnt_ns **ret);
/* pivot_root(2): new becomes the root of ns, the old one hangs on put_old. The caller moves roots and cwds. */
int mount_pivot(struct mnt_ns *ns, const struct path *root, const struct path *new_root, const struct path *put_old);

/* Kinds of file systems that mount(2) makes. */
struct fs_type {
	const char *name;
	bool nodev; /* as /proc/filesystems shows it: needs no device */
	/* data: the options, NUL-terminated, may be "". The superblock's active reference goes to the caller. */
	int (*create)(struct ctx *c, const char *source, const char *data, uint64_t flags, struct super **ret);
	const struct fs_type *next; /* fs_type_register()'s own */
};
/* t stays the caller's, for ever. Before the first guest runs. */
void fs_type_register(struct fs_type *t);
const struct fs_type *fs_type_find(const char *name);
const struct fs_type *fs_type_next(const struct fs_type *t);
/* -EROFS if the mount or its superblock is read-only. */
int mount_want_write(const struct mount *m);
