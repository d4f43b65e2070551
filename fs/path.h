/*
 * Path walk: from a string to a struct path. path_resolution(7), openat2(2). Symbolic links are followed up to 40; ".." does not leave
 * the task's root; mounts are crossed.
 */
#pragma once

#include "fs/mount.h"

/* Flags of path_lookup: */
enum {
	LOOKUP_FOLLOW = 1,      /* a final symbolic link */
	LOOKUP_DIRECTORY = 2,   /* -ENOTDIR unless it is one */
	LOOKUP_EMPTY = 4,       /* AT_EMPTY_PATH: "" is the start itself */
	LOOKUP_NO_SYMLINKS = 8, /* openat2 RESOLVE_* */
	LOOKUP_NO_MAGICLINKS = 16,
	LOOKUP_NO_XDEV = 32,
	LOOKUP_BENEATH = 64,
	LOOKUP_IN_ROOT = 128,
	LOOKUP_CREATE = 256, /* path_parent(): a trailing slash is an error unless making a directory */
};

/* Guest strings: PATH_MAX at most, NUL included. kalloc'ed (PATH_MAX), freed with path_name_free(). -EFAULT, -ENAMETOOLONG,
 * -ENOENT for "" unless LOOKUP_EMPTY. */
int __must_check path_name_copy(struct ctx *c, uaddr_t name, unsigned flags, char **ret);
void path_name_free(char *name);
static inline void path_name_cleanup(char **name)
{
	path_name_free(*name);
}
#define PATH_NAME __cleanup(path_name_cleanup) char *

/* dirfd: AT_FDCWD or a descriptor of c. The result is positive and a reference. */
int __must_check path_lookup(struct ctx *c, int dirfd, const char *name, unsigned flags, struct path *ret);
/* From a given start instead of a descriptor. */
int __must_check path_lookup_from(struct ctx *c, const struct path *start, const char *name, unsigned flags,
				  struct path *ret);
/* The directory that holds the last component, and that component in last[NAME_MAX + 1]; *ret_slash: a trailing slash. */
int __must_check path_parent(struct ctx *c, int dirfd, const char *name, unsigned flags, struct path *ret_dir,
			     char *ret_last, bool *ret_slash);
/* The absolute name of p below root, into buf; the start of the string in buf; ERR: NULL and -ENAMETOOLONG by *ret_err.
 * " (deleted)" is appended to removed ones, as d_path() does; "(unreachable)" is put in front outside of root. */
char *path_to_string(const struct path *p, const struct path *root, char *buf, size_t size, int *ret_err);

/* The operations behind the system calls; what handlers in syscalls/sys_file.c and the shim's set-up call. */
struct file;
int vfs_open(struct ctx *c, int dirfd, const char *name, int flags, uint32_t mode, unsigned lookup, struct file **ret);
int vfs_mkdir(struct ctx *c, int dirfd, const char *name, uint32_t mode);
int vfs_mknod(struct ctx *c, int dirfd, const char *name, uint32_t mode, dev_t rdev);
int vfs_symlink(struct ctx *c, const char *target, int dirfd, const char *name);
int vfs_unlink(struct ctx *c, int dirfd, const char *name);
int vfs_rmdir(struct ctx *c, int dirfd, const char *name);
/* A socket's name in the file system: makes a S_IFSOCK node and sets inode->bound. */
int vfs_mksock(struct ctx *c, const char *name, uint32_t mode, void *bound, struct path *ret);
