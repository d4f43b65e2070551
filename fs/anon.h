/* The internal file system of files without names; anon_file_create() is in fs/file.h. */
#pragma once

#include "fs/file.h"

/* Its mount, for paths of files that live nowhere else; NULL: no memory at the first call. Borrowed: it stays for ever. */
struct mount *anon_mount_borrow(void);
/* True for a dentry of such a file: its path is its name, without a slash in front. */
bool anon_dentry(const struct dentry *d);
