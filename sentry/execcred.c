/*
 * Who one is after execve(2): capabilities(7), "Transformation of capabilities during execve()" and "... programs
 * that are set-user-ID-root"; prctl(2) PR_SET_NO_NEW_PRIVS.
 *
 * Set-uid and set-gid bits count if the mount has no nosuid, the caller no no_new_privs, and nobody shares the
 * caller's fs_struct or traces it. Capabilities come from the root user's special role, from the inheritable and
 * ambient sets, and from security.capability of the file, in versions 2 and 3.
 */
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/mount.h>

#include "sentry/base/cred.h"
#include "sentry/exec_impl.h"

/* The file's own sets, from its extended attribute. */
struct file_caps {
	uint64_t permitted, inheritable;
	bool effective, present;
};

static struct file_caps read_file_caps(struct exec_image *im)
{
	const struct inode *i = im->file->inode;
	struct vfs_ns_cap_data d;
	struct file_caps ret = {0};
	ssize_t n;
	uint32_t magic;

	if (!i->ops || !i->ops->getxattr)
		return ret;
	n = i->ops->getxattr(&im->task->ctx, im->file->inode, "security.capability", &d, sizeof(d));
	if (n < (ssize_t)XATTR_CAPS_SZ_2)
		return ret;
	magic = d.magic_etc & VFS_CAP_REVISION_MASK;
	if (!(magic == VFS_CAP_REVISION_2 && n == XATTR_CAPS_SZ_2) &&
	    !(magic == VFS_CAP_REVISION_3 && n == XATTR_CAPS_SZ_3 && d.rootid == 0))
		return ret;
	ret.present = true;
	ret.effective = d.magic_etc & VFS_CAP_FLAGS_EFFECTIVE;
	ret.permitted = (d.data[0].permitted | (uint64_t)d.data[1].permitted << 32) & CAP_FULL_SET;
	ret.inheritable = (d.data[0].inheritable | (uint64_t)d.data[1].inheritable << 32) & CAP_FULL_SET;
	return ret;
}

static void apply_suid(struct exec_image *im, struct cred *new)
{
	const struct inode *i = im->file->inode;

	if (i->mode & S_ISUID)
		new->euid = i->uid;
	if ((i->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		new->egid = i->gid;
}

static bool is_setid(const struct cred *old, const struct cred *new)
{
	return new->euid != old->uid || new->egid != old->gid;
}

/* The sets, and whether the program must not trust its environment. */
static bool apply_caps(const struct cred *old, struct cred *new, struct file_caps fc)
{
	bool root = !(new->securebits &SECBIT_NOROOT) && (new->euid == 0 || new->uid == 0);

	if (root && !(fc.present && new->uid != 0)) {
		fc.permitted = fc.inheritable = CAP_FULL_SET;
		fc.effective |= new->euid == 0;
	}
	if (fc.present || is_setid(old, new))
		new->cap_ambient = 0;
	new->cap_permitted =
	    (new->cap_bounding &fc.permitted) | (new->cap_inheritable &fc.inheritable) | new->cap_ambient;
	new->cap_effective = fc.effective ? new->cap_permitted : new->cap_ambient;
	return is_setid(old, new) || (new->uid != 0 && (fc.effective || (new->cap_permitted & ~new->cap_ambient)));
}

/* Who could watch or share state with a more powerful program keeps it from becoming one. */
static bool may_gain(const struct exec_image *im)
{
	return !im->task->ctx.cred->no_new_privs && !(im->file->path.mnt->flags & MS_NOSUID);
}

int exec_cred_prepare(struct exec_image *im)
{
	const struct cred *old = im->task->ctx.cred;
	struct cred *new = cred_clone(old);
	struct file_caps fc = {0};

	if (!new)
		return -ENOMEM;
	im->cred = new;
	if (may_gain(im)) {
		apply_suid(im, new);
		fc = read_file_caps(im);
	}
	im->secure = apply_caps(old, new, fc);
	new->suid = new->fsuid = new->euid;
	new->sgid = new->fsgid = new->egid;
	new->securebits &= ~SECBIT_KEEP_CAPS;
	im->id_changed = new->euid != old->euid || new->egid != old->egid || (new->cap_permitted & ~old->cap_permitted);
	return 0;
}
