/* tmpfs: files in memory. tmpfs(5). */
#pragma once

#include "fs/file.h"

struct tmpfs_options {
	uint64_t max_bytes;  /* of file data; 0: no limit */
	uint64_t max_inodes; /* 0: no limit */
	uint32_t mode;       /* of the root directory, e.g. 01777 */
	uint32_t uid, gid;
};

/* A superblock with an empty root; its active reference is the caller's. NULL: no memory. */
struct super *tmpfs_create(const struct tmpfs_options *o);
/* Makes mount(2) know "tmpfs" and "ramfs". Once, at start. */
void tmpfs_register(void);
/*
 * A file without a name in an internal tmpfs: for memfd_create(2), System V shared memory and anonymous shared mappings. name as
 * /proc/PID/fd shows it ("memfd:x"); flags: O_RDWR...; seals: F_SEAL_* that are set from the start.
 */
int __must_check tmpfs_file_create(struct ctx *c, const char *name, uint64_t size, int flags, unsigned seals,
				   struct file **ret);
/* How much of them there may be altogether; 0: no limit. Once, before the first. */
void tmpfs_limit_nameless(uint64_t max_bytes);
/* F_ADD_SEALS, F_GET_SEALS: -EINVAL if f is not of tmpfs_file_create(), -EPERM, -EBUSY. */
int tmpfs_add_seals(struct file *f, unsigned seals);
int tmpfs_get_seals(struct file *f);
/* How much memory f, of tmpfs_file_create(), takes now. */
uint64_t tmpfs_file_bytes(struct file *f);
/* Whether it may ever matter who has f mapped for writing. */
bool tmpfs_may_seal(struct file *f);
