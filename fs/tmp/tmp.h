/* What the files of fs/tmp share. */
#pragma once

#include "fs/tmp/tmpfs.h"
#include "sentry/base/list.h"

struct tmp_super {
	struct mutex lock; /* L_CACHE: the counts */
	uint64_t max_pages, pages;
	uint64_t max_inodes, inodes;
};

/* A name in a directory. */
struct tmp_entry {
	struct inode *inode;    /* a reference */
	struct tmp_entry *next; /* in its bucket */
	uint64_t cookie;        /* its position for readdir: larger for younger names */
	uint32_t hash;
	uint32_t len;
	char name[];
};

/* Entries by name (buckets) and in order of age (order, with NULLs where one was removed). L_INODE. */
struct tmp_dir {
	struct tmp_entry **buckets;
	size_t bucket_count;
	struct tmp_entry **order;
	size_t order_len, order_cap;
	size_t count;
	uint64_t next_cookie;
	struct inode *parent; /* not a reference: a directory is in its parent, or dead */
};

struct tmp_data {
	char *mem; /* small files; kalloc'ed, mem_cap bytes, zero behind the size */
	size_t mem_cap;
	int fd;             /* the file's host file (below) once it has one, else -1 */
	int fd_ro;          /* the same, read-only: made on first use */
	uint64_t host_name; /* its name in hostio_memory_dir; 0: it has none */
	bool sparse;        /* has holes: pages are counted by the host */
	bool memfd;         /* the host file lies outside of hostio_memory_dir, whose size would bound it */
	bool mapped;        /* a memfd that was mapped: charged with its holes, which guests fill unseen */
	unsigned seals;
	uint64_t pages; /* charged to the superblock */
};

struct tmp_xattr {
	struct tmp_xattr *next;
	size_t name_len, size;
	char data[]; /* name, NUL, value */
};

struct tmp_node {
	union {
		struct tmp_dir dir;
		struct tmp_data data;
		char *target;
	};
	struct tmp_xattr *xattrs;
	size_t xattr_bytes;
};

static inline struct tmp_node *tmp_node(struct inode *i)
{
	return i->priv;
}

extern const struct inode_ops tmp_dir_ops, tmp_file_inode_ops, tmp_symlink_ops, tmp_special_ops;
extern const struct file_ops tmp_file_ops, tmp_dir_file_ops;
extern const struct super_ops tmpfs_super_ops;

/* A new inode of that type, charged; owner by inode_init_owner() if dir is given. *ret_err: -ENOSPC, -ENOMEM. */
struct inode *tmp_inode_create(struct ctx *c, struct super *s, struct inode *dir, uint32_t mode, dev_t rdev,
			       int *ret_err);
/* Takes pages from the superblock's allowance: -ENOSPC. Negative counts give back. */
int tmp_charge(struct super *s, int64_t pages);

void tmp_dir_free(struct tmp_dir *d);
void tmp_data_init(struct tmp_data *d);
void tmp_data_free(struct inode *i);
int tmp_data_resize(struct inode *i, uint64_t size);
uint64_t tmp_data_blocks(struct inode *i);

void tmp_xattr_free(struct inode *i);
ssize_t tmp_getxattr(struct ctx *c, struct inode *i, const char *name, void *value, size_t size);
int tmp_setxattr(struct ctx *c, struct inode *i, const char *name, const void *value, size_t size, int flags);
int tmp_removexattr(struct ctx *c, struct inode *i, const char *name);
ssize_t tmp_listxattr(struct ctx *c, struct inode *i, char *list, size_t size);
int tmp_getattr(struct ctx *c, struct inode *i, struct attr *ret);
int tmp_setattr(struct ctx *c, struct inode *i, unsigned valid, const struct attr *a);
