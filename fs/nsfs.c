/*
 * Namespaces as files: see nsfs.h.
 *
 * One internal file system is mounted nowhere. Each look at a magic link makes an inode of its own, which has the namespace's number and a reference to it;
 * stat() tells the same of all of them, which is what programs compare. A bind mount of such a file (ip netns add) holds its dentry, and so the namespace.
 */
#include "fs/nsfs.h"

#include <linux/nsfs.h>
#include <stdio.h>

#include "fs/anon.h"
#include "fs/file.h"

#define NSFS_MAGIC 0x6e736673
#define FIRST_INUM 4026532000u

static const struct inode_ops nsfs_inode_ops;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct mnt_ns *nsfs_mounts;
static _Atomic uint32_t last_inum = FIRST_INUM;

static void nsfs_evict(struct inode *i)
{
	if (i->priv)
		ns_put(i->priv);
}

static const struct super_ops nsfs_super_ops = {.name = "nsfs", .magic = NSFS_MAGIC, .evict = nsfs_evict};

void ns_put(struct ns *ns)
{
	if (ref_put(&ns->ref))
		ns->ops->destroy(ns);
}

uint32_t ns_alloc_inum(void)
{
	return __atomic_add_fetch((uint32_t *)&last_inum, 1, __ATOMIC_RELAXED);
}

static void nsfs_init(void)
{
	struct super *s = super_create(&nsfs_super_ops, NULL);
	struct inode *root = s ? inode_create(s, &nsfs_inode_ops, NULL, S_IFDIR | 0555, 0) : NULL;

	if (!root)
		return;
	s->nameless = true;
	s->root = dentry_create_root(s, root);
	if (s->root)
		nsfs_mounts = mnt_ns_create(s, 0, "nsfs");
}

static long nsfs_ioctl(struct ctx *c __unused, struct file *f, uint32_t cmd, uint64_t arg __unused)
{
	const struct ns *ns = nsfs_of(f);

	switch (cmd) {
	case NS_GET_NSTYPE:
		return ns->ops->type;
	case NS_GET_PARENT:
	case NS_GET_OWNER_UID:
		return -EINVAL; /* of user and pid namespaces only */
	case NS_GET_USERNS:
		return -EPERM; /* the initial one, of which no descriptor is given out */
	default:
		return -ENOTTY;
	}
}

static const struct file_ops nsfs_fops = {.ioctl = nsfs_ioctl};

int nsfs_path(struct ns *ns, struct path *ret)
{
	struct dentry *d;
	struct inode *i;
	char name[32];

	pthread_once(&once, nsfs_init);
	if (!nsfs_mounts)
		return -ENOMEM;
	i = inode_create(nsfs_mounts->root->super, &nsfs_inode_ops, &nsfs_fops, S_IFREG | 0444, ns->inum);
	if (!i)
		return -ENOMEM;
	ns_get(ns);
	i->priv = ns;
	snprintf(name, sizeof(name), "%s:[%u]", ns->ops->name, ns->inum);
	d = dentry_create_unnamed(nsfs_mounts->root->root, name, i);
	if (!d)
		return -ENOMEM;
	*ret = (struct path){mount_get(nsfs_mounts->root), d};
	return 0;
}

struct ns *nsfs_of(const struct file *f)
{
	return f->inode->super->ops == &nsfs_super_ops && S_ISREG(f->inode->mode) ? f->inode->priv : NULL;
}
