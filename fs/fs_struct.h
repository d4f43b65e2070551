/* What CLONE_FS shares: root, working directory, umask. */
#pragma once

#include "fs/mount.h"

struct fs_struct {
	struct ref ref;
	struct mutex lock; /* L_FDTABLE class: a leaf */
	struct path root;  /* references */
	struct path cwd;
	uint32_t umask;
};

struct fs_struct *fs_struct_create(const struct path *root, const struct path *cwd, uint32_t umask);
struct fs_struct *fs_struct_clone(struct fs_struct *fs);
struct fs_struct *fs_struct_get(struct fs_struct *fs);
void fs_struct_put(struct fs_struct *fs);
/* References to the current root or cwd. */
void fs_get_root(struct ctx *c, struct path *ret);
void fs_get_cwd(struct ctx *c, struct path *ret);
/* Sets the umask; the one before. */
uint32_t fs_swap_umask(struct ctx *c, uint32_t mask);
/* Replace it by p, of which they take references of their own. */
void fs_set_root(struct ctx *c, const struct path *p);
void fs_set_cwd(struct ctx *c, const struct path *p);
/* pivot_root(2): root and cwd, where they are `from`, become `to`. */
void fs_replace_root(struct fs_struct *fs, const struct path *from, const struct path *to);
