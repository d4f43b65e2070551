/* What the files of fs/host share. */
#pragma once

#include <fcntl.h>
#include <linux/openat2.h>
#include <unistd.h>

#include "fs/file.h"
#include "fs/host/host.h"
#include "sentry/base/list.h"

#define HOST_DEVS 64

/* For host_open_node(): waits for the other end of a FIFO. */
#define HOST_OPEN_WAITS (1 << 30)

struct host_super {
	bool shared, fifos;
	struct mutex lock; /* L_CACHE: devs */
	unsigned dev_count;
	struct {
		uint64_t host, guest;
	} devs[HOST_DEVS];
	int fs_fd; /* for statfs and syncfs: the root, O_PATH if it cannot be read */
};

/* A name of an inode. */
struct host_name {
	struct host_name *next; /* further names of the same inode */
	struct inode *parent;   /* a reference */
	char *name;             /* kalloc'ed string */
};

/* An inode's place on the host. Under host_lock but for what says otherwise. */
struct host_node {
	struct inode *inode; /* constant */
	uint64_t host_dev;   /* constant, with host_ino: the identity */
	uint64_t host_ino;
	int64_t host_btime;
	struct host_node *hash_next;
	struct inode *parent;     /* a reference; NULL: the root, or only reachable by fd */
	char *name;               /* in parent; kalloc'ed string */
	struct host_name *others; /* hard links that were looked up too */
	int fd;                   /* O_PATH, or readable for a directory; -1: none */
	bool fd_readable;         /* fd was opened for reading */
	bool fd_claimed;          /* an open description reads the directory through it */
	unsigned fd_users;        /* it may not be closed now */
	struct list lru;          /* directories whose fd is open and unused */
	struct list opens;        /* host_file.link: open descriptions with real fds */
	int stash_fd;             /* made by create, for the open that follows; -1 */
	bool dirty;               /* attributes must be asked for (atomic): we or others change the file */
	uint64_t blocks;          /* as attributes: unlocked */
	uint32_t blksize;
	dev_t dev;
};

struct host_file {
	struct list link; /* in node->opens, host_lock */
	int fd;
	bool claimed;                /* fd is the node's */
	_Atomic bool mapped, noexec; /* noexec is known if mapped: the host's mount forbids execution */
	char *buf;                   /* directories: what getdents64 gave; L_POS of the file */
	size_t len, at;
	off_t next; /* the offset of buf[at] */
};

extern struct mutex host_lock; /* L_CACHE */
extern const struct inode_ops host_dir_ops, host_file_inode_ops, host_symlink_ops, host_special_ops;
extern const struct file_ops host_file_ops, host_dir_file_ops;

static inline struct host_node *host_node(const struct inode *i)
{
	return i->priv;
}

static inline struct host_super *host_super(const struct super *s)
{
	return s->priv;
}

/* An fd for a directory that stays open until host_dir_put(); any access to names goes through it. */
int __must_check host_dir_get(struct inode *dir, int *ret_fd);
void host_dir_put(struct inode *dir);
/* Its descriptor is in use: off the list of those that may be closed. host_lock held. */
void host_lru_remove(struct host_node *n) REQUIRES(L_CACHE);
/*
 * A new fd for the inode by its name (or its own fd), its identity checked: -ESTALE. flags: access mode, O_PATH, O_DIRECTORY, HOST_OPEN_WAITS. Without
 * the last it never blocks.
 */
int __must_check host_open_node(struct inode *i, int flags);
/* statx by name in dir. 0 or -errno. */
int host_statx(int dirfd, const char *name, struct statx *ret);
/* The inode for what was found as name in dir: the one that is known already, or a new one; a reference. */
int host_inode_get(struct super *s, struct inode *dir, const char *name, const struct statx *stx, struct inode **ret);
/* Copies the attributes. */
void host_set_attrs(struct inode *i, const struct statx *stx);
bool host_same(const struct host_node *n, const struct statx *stx);
/* Asks the host for i's attributes. -ESTALE if something else has its name now. */
int host_refresh(struct inode *i);
/* i is called name in dir (too, if it has more links). */
void host_add_name(struct inode *i, struct inode *dir, const char *name);
/* One of its names: a reference to the directory and a copy, to be freed by kfree_string(). -ESTALE if none is known. */
int __must_check host_name_get(struct inode *i, struct inode **ret_dir, char **ret_name);
/* It is not any more: it is reached by another of its names, if one is known. */
void host_drop_name(struct inode *i, struct inode *dir, const char *name);
void host_mark_dirty(struct inode *i);
/* Keeps an fd so that i stays reachable when its name goes. */
void host_pin(struct inode *i);
int host_open_file(struct ctx *c, struct inode *i, struct file *f);
int host_open_fifo(struct ctx *c, struct inode *i, struct file *f);
int host_revalidate(struct ctx *c, struct dentry *d);
int host_setattr(struct ctx *c, struct inode *i, unsigned valid, const struct attr *a);
ssize_t host_getxattr(struct ctx *c, struct inode *i, const char *name, void *value, size_t size);
int host_setxattr(struct ctx *c, struct inode *i, const char *name, const void *value, size_t size, int flags);
int host_removexattr(struct ctx *c, struct inode *i, const char *name);
ssize_t host_listxattr(struct ctx *c, struct inode *i, char *list, size_t size);
int host_fallocate(struct ctx *c, struct file *f, int mode, off_t off, off_t size);
static inline struct host_file *host_file(const struct file *f)
{
	return f->priv;
}
