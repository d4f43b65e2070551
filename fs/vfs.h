/* More operations behind the system calls, on paths that are resolved already. All check permissions as Linux does; see also path.h. */
#pragma once

#include "fs/file.h"
#include "fs/path.h"

/* Sets what `valid` (ATTR_*) names, by the op or the fields, and the change time. The caller has checked; L_INODE held. */
int inode_setattr_locked(struct ctx *c, struct inode *i, unsigned valid, const struct attr *a);
/* The file was written to or changed owner: clears set-user-ID and set-group-ID as Linux does. L_INODE held. */
int inode_remove_privs(struct ctx *c, struct inode *i);

/* f was read: the access time by the rules of relatime, noatime and O_NOATIME. For file systems that keep times in struct inode. */
void file_accessed(struct file *f);

int vfs_getattr(struct ctx *c, const struct path *p, struct attr *ret);
int vfs_chmod(struct ctx *c, const struct path *p, uint32_t mode);
/* (uint32_t)-1: leave it. */
int vfs_chown(struct ctx *c, const struct path *p, uint32_t uid, uint32_t gid);
/* In ns; VFS_TIME_NOW, VFS_TIME_OMIT. */
#define VFS_TIME_NOW INT64_MAX
#define VFS_TIME_OMIT (INT64_MAX - 1)
int vfs_utimes(struct ctx *c, const struct path *p, int64_t atime, int64_t mtime);
int vfs_truncate(struct ctx *c, const struct path *p, off_t size);
/* The description must be open for writing (-EINVAL). */
int vfs_ftruncate(struct ctx *c, struct file *f, off_t size);
int vfs_fallocate(struct ctx *c, struct file *f, int mode, off_t off, off_t size);
int vfs_access(struct ctx *c, const struct path *p, int mask);
int vfs_statfs(struct ctx *c, const struct path *p, struct k_statfs *ret);
int vfs_fsync(struct ctx *c, struct file *f, bool data_only);
/* Does not follow a final link. */
int vfs_readlink(struct ctx *c, const struct path *p, char **ret_target);

/* lookup: LOOKUP_FOLLOW, LOOKUP_EMPTY for the old name. */
int vfs_link(struct ctx *c, int olddirfd, const char *oldname, unsigned lookup, int newdirfd, const char *newname);
int vfs_rename(struct ctx *c, int olddirfd, const char *oldname, int newdirfd, const char *newname, unsigned flags);

/* Sizes and errors as the system calls; name with its prefix. */
ssize_t vfs_getxattr(struct ctx *c, const struct path *p, const char *name, void *value, size_t size);
int vfs_setxattr(struct ctx *c, const struct path *p, const char *name, const void *value, size_t size, int flags);
int vfs_removexattr(struct ctx *c, const struct path *p, const char *name);
ssize_t vfs_listxattr(struct ctx *c, const struct path *p, char *list, size_t size);

/* The kernel's struct statfs. */
struct k_statfs {
	int64_t type, bsize;
	uint64_t blocks, bfree, bavail, files, ffree;
	int32_t fsid[2];
	int64_t namelen, frsize, flags, spare[4];
};
_Static_assert(sizeof(struct k_statfs) == 120, "ABI");
