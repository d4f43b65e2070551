/*
 * Extended attributes: xattr(7). The VFS checks names, sizes and permissions by namespace; the file system stores. user.* is for regular
 * files and directories and follows the mode bits; trusted.* needs CAP_SYS_ADMIN; security.* may be read by everybody and set with
 * CAP_SYS_ADMIN (security.capability: CAP_SETFCAP). system.* (ACLs) is not kept: EOPNOTSUPP.
 */
#include <linux/capability.h>
#include <linux/limits.h>
#include <string.h>

#include "fs/notify.h"
#include "fs/vfs.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

static bool has_prefix(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static int check_user(struct ctx *c, const struct inode *i, int mask)
{
	int deny = mask & MAY_WRITE ? -EPERM : -ENODATA;

	if (!S_ISREG(i->mode) && !S_ISDIR(i->mode))
		return deny;
	if (S_ISDIR(i->mode) && (i->mode & S_ISVTX) && (mask & MAY_WRITE) && !inode_owner_or_capable(c, i))
		return -EPERM;
	return 0;
}

static int check_name(struct ctx *c, struct inode *i, const char *name, int mask)
{
	bool admin = cred_capable(c->cred, CAP_SYS_ADMIN);
	int err;

	if (has_prefix(name, "security.")) {
		if (!(mask & MAY_WRITE))
			return 0;
		if (strcmp(name, "security.capability") == 0)
			admin = cred_capable(c->cred, CAP_SETFCAP);
		return admin ? 0 : -EPERM;
	}
	if (has_prefix(name, "trusted.")) {
		if (admin)
			return 0;
		return mask & MAY_WRITE ? -EPERM : -ENODATA;
	}
	if (!has_prefix(name, "user."))
		return -EOPNOTSUPP;
	err = check_user(c, i, mask);
	return err ? err : inode_permission(c, i, mask);
}

ssize_t vfs_getxattr(struct ctx *c, const struct path *p, const char *name, void *value, size_t size)
{
	struct inode *i = p->dentry->inode;
	ssize_t r = check_name(c, i, name, MAY_READ);

	if (r)
		return r;
	inode_lock(i);
	r = i->ops->getxattr ? i->ops->getxattr(c, i, name, value, size) : -EOPNOTSUPP;
	inode_unlock(i);
	return r;
}

int vfs_setxattr(struct ctx *c, const struct path *p, const char *name, const void *value, size_t size, int flags)
{
	struct inode *i = p->dentry->inode;
	int err = mount_want_write(p->mnt);

	if (!err)
		err = check_name(c, i, name, MAY_WRITE);
	if (err)
		return err;
	inode_lock(i);
	err = i->ops->setxattr ? i->ops->setxattr(c, i, name, value, size, flags) : -EOPNOTSUPP;
	inode_unlock(i);
	if (!err)
		fsnotify_dentry(p->dentry, IN_ATTRIB);
	return err;
}

int vfs_removexattr(struct ctx *c, const struct path *p, const char *name)
{
	struct inode *i = p->dentry->inode;
	int err = mount_want_write(p->mnt);

	if (!err)
		err = check_name(c, i, name, MAY_WRITE);
	if (err)
		return err;
	inode_lock(i);
	err = i->ops->removexattr ? i->ops->removexattr(c, i, name) : -EOPNOTSUPP;
	inode_unlock(i);
	if (!err)
		fsnotify_dentry(p->dentry, IN_ATTRIB);
	return err;
}

/* trusted.* is shown to CAP_SYS_ADMIN only: takes the others' names out of a full list. */
static ssize_t hide_trusted(struct ctx *c, char *list, ssize_t size)
{
	ssize_t kept = 0;

	if (cred_capable(c->cred, CAP_SYS_ADMIN))
		return size;
	for (ssize_t at = 0; at < size;) {
		size_t len = strlen(list + at) + 1;

		if (!has_prefix(list + at, "trusted.")) {
			memmove(list + kept, list + at, len);
			kept += (ssize_t)len;
		}
		at += (ssize_t)len;
	}
	return kept;
}

ssize_t vfs_listxattr(struct ctx *c, const struct path *p, char *list, size_t size)
{
	struct inode *i = p->dentry->inode;
	char *all;
	ssize_t r;

	if (!i->ops->listxattr)
		return 0;
	all = kalloc(XATTR_LIST_MAX);
	if (!all)
		return -ENOMEM;
	inode_lock(i);
	r = i->ops->listxattr(c, i, all, XATTR_LIST_MAX);
	inode_unlock(i);
	if (r > 0)
		r = hide_trusted(c, all, r);
	if (r > 0 && size) {
		if ((size_t)r > size)
			r = -ERANGE;
		else
			memcpy(list, all, (size_t)r);
	}
	kfree(all, XATTR_LIST_MAX);
	return r;
}
