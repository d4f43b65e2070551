/* What system calls with a directory descriptor, a path and AT_* flags have in common. */
#pragma once

#include "fs/fs_struct.h"
#include "fs/path.h"

/* flags: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH (others are ignored). A positive path, a reference. */
int __must_check lookup_user(struct ctx *c, int dirfd, uaddr_t path, int flags, struct path *ret);
