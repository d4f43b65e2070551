/* The internal file system of files without names; anon_file_create() is in fs/file.h. */
#pragma once

#include "fs/file.h"

/* Its mount, for paths of files that live nowhere else; NULL: no memory at the first call. Borrowed: it stays for ever. */
struct mount *anon_mount_borrow(void);
/* True for a dentry of such a file: its path is its name, without a slash in front. */
bool anon_dentry(const struct dentry *d);

/* What the priv of a nameless inode made by somebody else begins with: called when the inode goes away. */
struct anon_priv {
	void (*evict)(struct inode *i);
};
/*
 * A file with such an inode (made with the superblock of anon_mount_borrow(); NULL priv is fine): takes over the reference to inode. name is shown as it is.
 */
int __must_check anon_file_create_inode(struct ctx *c, const char *name, struct inode *i, const struct file_ops *ops,
					void *priv, int flags, struct file **ret);
