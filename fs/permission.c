/*
 * Permission checks: path_resolution(7), capabilities(7), inode(7), sticky directories as unlink(2) and rename(2) say. ACLs are not
 * kept, so the mode bits decide.
 */
#include <linux/capability.h>

#include "fs/inode.h"
#include "sentry/base/cred.h"

int inode_permission_generic(const struct cred *cred, uint32_t mode, uint32_t uid, uint32_t gid, int mask)
{
	uint32_t bits = mode;
	int want = mask & (MAY_READ | MAY_WRITE | MAY_EXEC);

	if (cred->fsuid == uid)
		bits = mode >> 6;
	else if (((mode >> 3) & 7) != (mode & 7) && cred_in_group(cred, gid))
		bits = mode >> 3;
	if ((bits & 7 & (uint32_t)want) == (uint32_t)want)
		return 0;
	if (S_ISDIR(mode)) {
		if (cred_capable(cred, CAP_DAC_OVERRIDE))
			return 0;
		return !(want & MAY_WRITE) && cred_capable(cred, CAP_DAC_READ_SEARCH) ? 0 : -EACCES;
	}
	if (want == MAY_READ && cred_capable(cred, CAP_DAC_READ_SEARCH))
		return 0;
	if ((!(want & MAY_EXEC) || (mode & 0111)) && cred_capable(cred, CAP_DAC_OVERRIDE))
		return 0;
	return -EACCES;
}

int inode_permission(struct ctx *c, struct inode *i, int mask)
{
	if ((mask & MAY_WRITE) && i->super->read_only && (S_ISREG(i->mode) || S_ISDIR(i->mode) || S_ISLNK(i->mode)))
		return -EROFS;
	if (i->ops && i->ops->permission)
		return i->ops->permission(c, i, mask);
	return inode_permission_generic(c->cred, i->mode, i->uid, i->gid, mask);
}

bool inode_owner_or_capable(struct ctx *c, const struct inode *i)
{
	return c->cred->fsuid == i->uid || cred_capable(c->cred, CAP_FOWNER);
}

int inode_may_create(struct ctx *c, struct inode *dir)
{
	if (dir->dead)
		return -ENOENT;
	return inode_permission(c, dir, MAY_WRITE | MAY_EXEC);
}

int inode_may_delete(struct ctx *c, struct inode *dir, struct inode *victim, bool is_dir)
{
	int err = inode_permission(c, dir, MAY_WRITE | MAY_EXEC);

	if (err)
		return err;
	if ((dir->mode & S_ISVTX) && c->cred->fsuid != victim->uid && c->cred->fsuid != dir->uid &&
	    !cred_capable(c->cred, CAP_FOWNER))
		return -EPERM;
	if (is_dir && !S_ISDIR(victim->mode))
		return -ENOTDIR;
	if (!is_dir && S_ISDIR(victim->mode))
		return -EISDIR;
	return dir->dead ? -ENOENT : 0;
}
