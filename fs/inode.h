/*
 * Inodes and superblocks: what a file system is made of. Linux's model: a superblock makes inodes; directories' names are dentries
 * (fs/dentry.h); an open description is a struct file (fs/file.h).
 *
 * Ops get the caller's ctx and, unless said otherwise, are called with the directory's (or inode's) `lock` (L_INODE) held where Linux
 * holds i_rwsem. The VFS has done the generic checks (permission, existence, type, read-only mount, sticky bit): an op does what is
 * its own. Names are NUL-terminated, 1..255 bytes, without '/', never "." or "..". All ops return 0 or -errno; an absent op means
 * -EPERM for those that change a directory, -EINVAL for readlink, -EOPNOTSUPP for xattrs.
 */
#pragma once

#include <linux/stat.h>
#include <sys/stat.h>

#include "sentry/base/ctx.h"
#include "sentry/base/lock.h"
#include "sentry/base/ref.h"

struct dentry;
struct file;
struct file_ops;
struct inode;
struct inode_watch;
struct file_lock_ctx;
struct path;
struct k_statfs;

/* Attributes as the VFS moves them; times in ns since the epoch (signed). */
struct attr {
	uint32_t mode; /* type and permission bits */
	uint32_t uid, gid;
	uint32_t nlink;
	uint64_t ino, size, blocks; /* blocks of 512 bytes */
	uint32_t blksize;
	dev_t dev, rdev;
	int64_t atime, mtime, ctime, btime; /* btime: 0 if unknown */
};

/* What setattr changes: a mask of ATTR_* and the new values. */
enum {
	ATTR_MODE = 1,
	ATTR_UID = 2,
	ATTR_GID = 4,
	ATTR_SIZE = 8,
	ATTR_ATIME = 16,
	ATTR_MTIME = 32,
	ATTR_CTIME = 64,
};

struct inode_ops {
	/*
	 * Fills d (new, negative, its parent's lock held) by dentry_instantiate() with the inode called d->name in dir, or
	 * leaves it negative. -ENOENT is not an error here.
	 */
	int (*lookup)(struct ctx *c, struct inode *dir, struct dentry *d);
	/* Make a name: d is negative; on success the op instantiates it. mode is masked by the umask already. */
	int (*create)(struct ctx *c, struct inode *dir, struct dentry *d, uint32_t mode);
	int (*mkdir)(struct ctx *c, struct inode *dir, struct dentry *d, uint32_t mode);
	int (*mknod)(struct ctx *c, struct inode *dir, struct dentry *d, uint32_t mode, dev_t rdev);
	int (*symlink)(struct ctx *c, struct inode *dir, struct dentry *d, const char *target);
	int (*link)(struct ctx *c, struct inode *dir, struct dentry *d, struct inode *target);
	/* Remove the name d (positive). The VFS unhashes it afterwards. */
	int (*unlink)(struct ctx *c, struct inode *dir, struct dentry *d);
	int (*rmdir)(struct ctx *c, struct inode *dir, struct dentry *d);
	/* flags: RENAME_NOREPLACE (checked by the VFS), RENAME_EXCHANGE, RENAME_WHITEOUT. to may be negative. */
	int (*rename)(struct ctx *c, struct inode *olddir, struct dentry *from, struct inode *newdir, struct dentry *to,
		      unsigned flags);
	/* An unnamed file (O_TMPFILE). */
	int (*tmpfile)(struct ctx *c, struct inode *dir, uint32_t mode, struct inode **ret);
	/* kalloc'ed, NUL-terminated target, freed by kfree_string(). */
	int (*readlink)(struct ctx *c, struct inode *i, char **ret_target);
	/* Magic links (/proc/PID/fd/N, exe, cwd, root): the path itself, a reference. Used instead of readlink in a walk. */
	int (*follow)(struct ctx *c, struct inode *i, struct path *ret);
	/* Without it the fields of struct inode are the attributes. */
	int (*getattr)(struct ctx *c, struct inode *i, struct attr *ret);
	/* Checked by the VFS (owner, mode bits that must be cleared). Without it the fields are set in memory. */
	int (*setattr)(struct ctx *c, struct inode *i, unsigned valid, const struct attr *a);
	/* mask: MAY_*. Without it: mode bits, groups and capabilities, as path_permission(). */
	int (*permission)(struct ctx *c, struct inode *i, int mask);
	/* Sets f->ops and f->priv. flags are f->flags. Without it f->ops = i->file_ops. Called without the inode's lock. */
	int (*open)(struct ctx *c, struct inode *i, struct file *f);
	/* The same for a FIFO, if it may be one that is not the sandbox's own. */
	int (*open_fifo)(struct ctx *c, struct inode *i, struct file *f);
	/* Sizes as the system calls: size 0 asks how large. name has its prefix ("user."...). */
	ssize_t (*getxattr)(struct ctx *c, struct inode *i, const char *name, void *value, size_t size);
	int (*setxattr)(struct ctx *c, struct inode *i, const char *name, const void *value, size_t size, int flags);
	int (*removexattr)(struct ctx *c, struct inode *i, const char *name);
	ssize_t (*listxattr)(struct ctx *c, struct inode *i, char *list, size_t size);
};

enum { MAY_EXEC = 1, MAY_WRITE = 2, MAY_READ = 4, MAY_APPEND = 8 };

struct super;

struct super_ops {
	const char *name; /* "tmpfs", as in /proc/mounts */
	uint64_t magic;   /* statfs f_type */
	/* Is what the cached d says still true? Called on each walk over it; without it: yes. 1 yes, 0 drop it, -errno. */
	int (*revalidate)(struct ctx *c, struct dentry *d);
	/* The last reference to i goes away: free what i->priv holds. No lock held. */
	void (*evict)(struct inode *i);
	int (*statfs)(struct ctx *c, struct super *s, struct k_statfs *ret);
	int (*sync)(struct super *s);
	/* The last mount is gone: drop references to inodes that only the file system itself holds. */
	void (*shutdown)(struct super *s);
	/* The last mount is gone and every inode evicted. */
	void (*kill)(struct super *s);
	/* Options for /proc/mounts, ",size=..." */
	void (*show_options)(struct super *s, char *buf, size_t size);
};

struct super {
	struct ref ref;    /* by inodes: memory */
	struct ref active; /* by mounts and overlays: super_get(), super_put(); the last takes the tree apart */
	const struct super_ops *ops;
	dev_t dev;           /* st_dev of its inodes; super_create() gives each its own minor */
	struct dentry *root; /* a reference; NULL while dying */
	_Atomic bool read_only;
	bool frozen; /* read_only for good, whatever a guest mounts: what is below was handed over for reading */
	void *priv;
	_Atomic uint64_t next_ino;
	uint64_t max_name; /* 255 */
	bool nameless;     /* files without a place in a tree: a path to one is its name */
	bool layer;        /* a layer of an overlay: its inodes' locks are of class L_LAYER */
};

struct inode {
	struct ref ref;
	struct super *super;             /* a reference, constant */
	const struct inode_ops *ops;     /* constant */
	const struct file_ops *file_ops; /* constant; what open installs by default */
	struct mutex lock;
	/* Attributes: written under L_INODE, read without it by stat (single words). */
	uint32_t mode; /* the type never changes */
	uint32_t uid, gid;
	uint32_t nlink;
	uint64_t ino;
	uint64_t size;
	dev_t rdev;
	int64_t atime, mtime, ctime, btime;
	void *priv;                  /* the file system's own */
	_Atomic int32_t write_count; /* open for writing; negative: being executed (ETXTBSY) */
	struct inode_watch *watches; /* fs/inotify.c; L_INODE */
	struct file_lock_ctx *locks; /* fs/locks.c: POSIX, OFD and flock locks; made on first use */
	struct pipe *fifo;           /* fs/pipe.c: an open FIFO's buffer; L_INODE */
	void *bound;                 /* net/unix: the socket bound to this name */
	bool linkable;               /* an O_TMPFILE without O_EXCL: link(2) may give it a name */
	bool dead;                   /* a removed directory: nothing can be made in it; L_INODE */
	struct inode *evict_next;    /* inode_put()'s own */
};

/* count 1; ino 0 takes the superblock's next; times are now. NULL: no memory. */
struct inode *inode_create(struct super *s, const struct inode_ops *ops, const struct file_ops *fops, uint32_t mode,
			   uint64_t ino);
struct inode *inode_get(struct inode *i);
void inode_put(struct inode *i);
struct super *super_create(const struct super_ops *ops, void *priv);
struct super *super_get(struct super *s);
void super_put(struct super *s);

/* A number for an anonymous device, used by nobody else. */
dev_t super_alloc_dev(void);
/* Memory references to a superblock, as inodes hold them. */
struct super *super_hold(struct super *s);
void super_release(struct super *s);

/* An inode's lock: L_INODE, or L_LAYER below an overlay. */
static inline struct lock_class *inode_lock_class(const struct inode *i)
{
	return i->super->layer ? L_LAYER : L_INODE;
}
static inline void inode_lock(struct inode *i) ACQUIRE(L_INODE) NO_TSA;
static inline void inode_lock(struct inode *i)
{
	mutex_lock(&i->lock, inode_lock_class(i));
}
static inline void inode_unlock(struct inode *i) RELEASE(L_INODE) NO_TSA;
static inline void inode_unlock(struct inode *i)
{
	mutex_unlock(&i->lock, inode_lock_class(i));
}
/* Up to INODE_LOCK_MAX of one file system, by address; NULLs and repetitions are skipped. set is sorted in place. */
#define INODE_LOCK_MAX 4
void inode_lock_set(struct inode **set, size_t count);
void inode_unlock_set(struct inode **set, size_t count);

/* The owner, group and mode of something new in dir: fsuid, fsgid or dir's group, S_ISGID handed down to directories. */
void inode_init_owner(struct ctx *c, const struct inode *dir, uint32_t *mode, uint32_t *ret_uid, uint32_t *ret_gid);
/* Sets the fields of i as setattr's arguments say; L_INODE held. ATTR_SIZE is the caller's business. */
void inode_setattr_fields(struct inode *i, unsigned valid, const struct attr *a);
/* The attributes by the getattr op or the fields. */
int inode_getattr(struct ctx *c, struct inode *i, struct attr *ret);
/* Generic permission check by mode bits, group and CAP_DAC_*; 0 or -EACCES. */
int inode_permission_generic(const struct cred *cred, uint32_t mode, uint32_t uid, uint32_t gid, int mask);
/* The caller owns i or has CAP_FOWNER. */
bool inode_owner_or_capable(struct ctx *c, const struct inode *i);
/* May a name that leads to `victim` be taken out of dir (write and search permission, sticky bit)? L_INODE of dir held. */
int inode_may_delete(struct ctx *c, struct inode *dir, struct inode *victim, bool is_dir);
/* May something be made in dir? -ENOENT if it is removed. L_INODE of dir held. */
int inode_may_create(struct ctx *c, struct inode *dir);
/* With the op, the read-only superblock and ETXTBSY-free checks of Linux's inode_permission(). */
int inode_permission(struct ctx *c, struct inode *i, int mask);
/* CLOCK_REALTIME now, for timestamps. */
int64_t inode_now(void);
