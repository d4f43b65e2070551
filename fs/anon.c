/*
 * Files without a name: pipes, sockets, eventfds and the like. They live in one internal superblock that is mounted nowhere; each has
 * an inode and an unhashed dentry of its own, whose name is what /proc/PID/fd shows: "pipe:[17]" or "anon_inode:[eventfd]".
 */
#include "fs/anon.h"

#include <stdio.h>
#include <string.h>

#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

#define ANON_INODE_FS_MAGIC 0x09041934

static const struct inode_ops anon_inode_ops;
static void anon_evict(struct inode *i)
{
	struct anon_priv *p = i->priv;

	if (p)
		p->evict(i);
}

static const struct super_ops anon_super_ops = {
    .name = "anon_inodefs",
    .magic = ANON_INODE_FS_MAGIC,
    .evict = anon_evict,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct mnt_ns *anon_ns;

static void anon_init(void)
{
	struct super *s = super_create(&anon_super_ops, NULL);
	struct inode *root = s ? inode_create(s, &anon_inode_ops, NULL, S_IFDIR | 0555, 0) : NULL;

	if (!root)
		return;
	s->nameless = true;
	s->root = dentry_create_root(s, root);
	if (s->root)
		anon_ns = mnt_ns_create(s, 0, "anon_inodefs");
}

struct mount *anon_mount_borrow(void)
{
	pthread_once(&once, anon_init);
	return anon_ns ? anon_ns->root : NULL;
}

bool anon_dentry(const struct dentry *d)
{
	return d->super->nameless;
}

static struct dentry *anon_dentry_create(struct ctx *c, struct mount *m, const char *name, uint32_t mode)
{
	struct inode *i = inode_create(m->super, &anon_inode_ops, NULL, mode | 0600, 0);
	size_t len = strlen(name);
	char full[64];

	if (!i)
		return NULL;
	i->uid = c->cred->fsuid;
	i->gid = c->cred->fsgid;
	if (len && name[len - 1] == ':')
		snprintf(full, sizeof(full), "%s[%lu]", name, (unsigned long)i->ino);
	else
		snprintf(full, sizeof(full), "anon_inode:%s", name);
	return dentry_create_unnamed(m->root, full, i);
}

/* Takes over the reference to the dentry (NULL: no memory). */
static int file_for_dentry(struct ctx *c, struct dentry *d, const struct file_ops *ops, void *priv, int flags,
			   struct file **ret)
{
	struct path p = {anon_mount_borrow(), d};
	struct file *f;

	if (!d)
		return -ENOMEM;
	f = file_create(&p, ops, flags, c->cred);
	dentry_put(d);
	if (!f)
		return -ENOMEM;
	f->priv = priv;
	f->seekable = ops->llseek != NULL;
	f->opened = true;
	*ret = f;
	return 0;
}

int anon_file_create(struct ctx *c, const char *name, uint32_t mode, const struct file_ops *ops, void *priv, int flags,
		     struct file **ret)
{
	struct mount *m = anon_mount_borrow();

	if (!m)
		return -ENOMEM;
	return file_for_dentry(c, anon_dentry_create(c, m, name, mode), ops, priv, flags, ret);
}

int anon_file_create_inode(struct ctx *c, const char *name, struct inode *i, const struct file_ops *ops, void *priv,
			   int flags, struct file **ret)
{
	struct dentry *d = dentry_create_unnamed(anon_mount_borrow()->root, name, i);

	return file_for_dentry(c, d, ops, priv, flags, ret);
}
