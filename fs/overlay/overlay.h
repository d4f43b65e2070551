/*
 * overlay: read-only trees with a writable one on top. What Linux's overlayfs does without redirect_dir, metacopy and index, with two
 * differences: on an upper layer in memory a directory that has lower layers can be renamed, and hard links of lower files stay
 * together when they are copied up, for as long as the overlay is mounted.
 */
#pragma once

#include "fs/mount.h"

/*
 * lowers[0] is the uppermost. upper: tmpfs or a writable host directory, or NULL: read-only. The layers must not be changed by
 * anybody else any more; they are trusted (no revalidation). Takes references of its own. -EINVAL, -ENOMEM.
 *
 * Whiteouts: on tmpfs character devices 0:0; on a host directory empty regular files with the attribute user.overlay.whiteout in a directory
 * with user.overlay.opaque = "x", which an ordinary user can store and overlayfs (userxattr) understands.
 */
int __must_check overlay_create(struct super **lowers, size_t lower_count, struct super *upper, struct super **ret);
