/*
 * Root, working directory and umask of a task, or of several (CLONE_FS). The lock is a leaf; what it gives out are references, so that
 * a chdir() of another thread does not disturb a walk in progress. The references it replaces are dropped outside of it.
 */
#include "fs/fs_struct.h"

#include "sentry/base/slab.h"

static struct slab fs_slab = SLAB_INIT(struct fs_struct);

struct fs_struct *fs_struct_create(const struct path *root, const struct path *cwd, uint32_t umask)
{
	struct fs_struct *fs = slab_alloc(&fs_slab);

	if (!fs)
		return NULL;
	ref_init(&fs->ref);
	mutex_init(&fs->lock);
	fs->root = *root;
	fs->cwd = *cwd;
	fs->umask = umask;
	path_get(&fs->root);
	path_get(&fs->cwd);
	return fs;
}

struct fs_struct *fs_struct_clone(struct fs_struct *fs)
{
	struct fs_struct *copy;

	mutex_lock(&fs->lock, L_FDTABLE);
	copy = fs_struct_create(&fs->root, &fs->cwd, fs->umask);
	mutex_unlock(&fs->lock, L_FDTABLE);
	return copy;
}

struct fs_struct *fs_struct_get(struct fs_struct *fs)
{
	ref_get(&fs->ref);
	return fs;
}

void fs_struct_put(struct fs_struct *fs)
{
	if (!fs || !ref_put(&fs->ref))
		return;
	path_put(&fs->root);
	path_put(&fs->cwd);
	slab_free(&fs_slab, fs);
}

static void get_path(struct ctx *c, const struct path *from, struct path *ret)
{
	mutex_lock(&c->fs->lock, L_FDTABLE);
	*ret = *from;
	path_get(ret);
	mutex_unlock(&c->fs->lock, L_FDTABLE);
}

void fs_get_root(struct ctx *c, struct path *ret)
{
	get_path(c, &c->fs->root, ret);
}

void fs_get_cwd(struct ctx *c, struct path *ret)
{
	get_path(c, &c->fs->cwd, ret);
}

static void set_path(struct ctx *c, struct path *to, const struct path *p)
{
	struct path old;

	path_get(p);
	mutex_lock(&c->fs->lock, L_FDTABLE);
	old = *to;
	*to = *p;
	mutex_unlock(&c->fs->lock, L_FDTABLE);
	path_put(&old);
}

void fs_set_root(struct ctx *c, const struct path *p)
{
	set_path(c, &c->fs->root, p);
}

void fs_set_cwd(struct ctx *c, const struct path *p)
{
	set_path(c, &c->fs->cwd, p);
}

uint32_t fs_swap_umask(struct ctx *c, uint32_t mask)
{
	uint32_t old;

	mutex_lock(&c->fs->lock, L_FDTABLE);
	old = c->fs->umask;
	c->fs->umask = mask;
	mutex_unlock(&c->fs->lock, L_FDTABLE);
	return old;
}

void fs_replace_root(struct fs_struct *fs, const struct path *from, const struct path *to)
{
	struct path old[2] = {{NULL, NULL}, {NULL, NULL}};
	struct path *parts[2] = {&fs->root, &fs->cwd};

	mutex_lock(&fs->lock, L_FDTABLE);
	for (int i = 0; i < 2; i++) {
		if (parts[i]->mnt != from->mnt || parts[i]->dentry != from->dentry)
			continue;
		old[i] = *parts[i];
		*parts[i] = *to;
		path_get(to);
	}
	mutex_unlock(&fs->lock, L_FDTABLE);
	path_put(&old[0]);
	path_put(&old[1]);
}
