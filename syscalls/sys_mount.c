/* mount, umount2, pivot_root. mount(2): the flags decide which of its five operations is meant, in Linux's order. */
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/mount.h>

#include "fs/fs_struct.h"
#include "fs/mount.h"
#include "fs/path.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"
#include "sentry/task.h"
#include "syscalls/lookup.h"
#include "syscalls/syscalls.h"

#define PROPAGATION (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)

/* A page of options, or a string, of which the last byte is NUL here; NULL stays "". */
static int copy_text(struct ctx *c, uaddr_t at, char **ret)
{
	char *s = kalloc(PAGE_SIZE);
	ssize_t n = 0;

	if (!s)
		return -ENOMEM;
	if (at.v)
		n = copy_in_string(c, s, at, PAGE_SIZE - 1);
	if (n < 0) {
		kfree(s, PAGE_SIZE);
		return n == -ENAMETOOLONG ? -EINVAL : (int)n;
	}
	*ret = s;
	return 0;
}

static void free_text(char **s)
{
	kfree(*s, PAGE_SIZE);
}
#define TEXT __cleanup(free_text) char *

static int mount_new(struct ctx *c, const struct path *at, const char *type, const char *source, uint64_t flags,
		     const char *data)
{
	const struct fs_type *t = fs_type_find(type);
	struct super *s;
	int err;

	if (!t)
		return -ENODEV;
	err = t->create(c, source, data, flags, &s);
	if (err)
		return err;
	if (flags & MS_RDONLY)
		s->read_only = true;
	err = mount_add(c->mnt_ns, s, at, flags, *source ? source : type);
	super_put(s);
	return err;
}

static int mount_bind_path(struct ctx *c, const struct path *at, const char *source, uint64_t flags)
{
	PATH_REF from = {NULL, NULL};
	int err = *source ? path_lookup(c, AT_FDCWD, source, LOOKUP_FOLLOW, &from) : -EINVAL;

	/* Of the flags only MS_REC means anything here: a bind mount has its source's. */
	return err ? err : mount_bind(c->mnt_ns, &from, at, flags & MS_REC);
}

static int mount_move_path(struct ctx *c, const struct path *at, const char *source)
{
	PATH_REF from = {NULL, NULL};
	int err = *source ? path_lookup(c, AT_FDCWD, source, LOOKUP_FOLLOW, &from) : -EINVAL;

	return err ? err : mount_move(c->mnt_ns, &from, at);
}

static int mount_propagation(const struct path *at, uint64_t flags)
{
	unsigned type = (unsigned)(flags & PROPAGATION);

	if ((type & (type - 1)) || (flags & ~(uint64_t)(PROPAGATION | MS_REC | MS_SILENT)))
		return -EINVAL;
	return mount_set_propagation(at, type, flags & MS_REC);
}

struct mount_texts {
	const char *source, *type, *data;
};

static int do_mount(struct ctx *c, const struct path *at, uint64_t flags, const struct mount_texts *x)
{
	if ((flags & MS_MGC_MSK) == MS_MGC_VAL)
		flags &= ~(uint64_t)MS_MGC_MSK;
	if (flags & MS_REMOUNT)
		return mount_remount(at, flags, !(flags & MS_BIND));
	if (flags & MS_BIND)
		return mount_bind_path(c, at, x->source, flags);
	if (flags & PROPAGATION)
		return mount_propagation(at, flags);
	if (flags & MS_MOVE)
		return mount_move_path(c, at, x->source);
	return *x->type ? mount_new(c, at, x->type, x->source, flags, x->data) : -EINVAL;
}

sysret_t sys_mount(struct task *t, uaddr_t source, uaddr_t target, uaddr_t type, uint64_t flags, uaddr_t data)
{
	struct ctx *c = &t->ctx;
	PATH_REF at = {NULL, NULL};
	TEXT s = NULL;
	TEXT y = NULL;
	TEXT d = NULL;
	int err = copy_text(c, type, &y);

	if (!err)
		err = copy_text(c, source, &s);
	if (!err)
		err = copy_text(c, data, &d);
	if (!err)
		err = lookup_user(c, AT_FDCWD, target, 0, &at);
	if (!err && !cred_capable(c->cred, CAP_SYS_ADMIN))
		err = -EPERM;
	return err ? err : do_mount(c, &at, flags, &(struct mount_texts){s, y, d});
}

sysret_t sys_umount2(struct task *t, uaddr_t target, int flags)
{
	struct ctx *c = &t->ctx;
	PATH_REF at = {NULL, NULL};
	int err;

	if (flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW))
		return -EINVAL;
	if ((flags & MNT_EXPIRE) && (flags & (MNT_FORCE | MNT_DETACH)))
		return -EINVAL;
	err = lookup_user(c, AT_FDCWD, target, flags & UMOUNT_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0, &at);
	if (!err && !cred_capable(c->cred, CAP_SYS_ADMIN))
		err = -EPERM;
	return err ? err : mount_remove(c, &at, flags);
}

struct moved_root {
	const struct path *from, *to;
};

static bool move_task_root(struct task *t, void *arg)
{
	const struct moved_root *m = arg;

	if (t->ctx.fs)
		fs_replace_root(t->ctx.fs, m->from, m->to);
	return true;
}

static bool move_group_root(struct thread_group *tg, void *arg) REQUIRES(L_PIDTREE)
{
	task_for_each(tg, move_task_root, arg);
	return true;
}

sysret_t sys_pivot_root(struct task *t, uaddr_t new_root, uaddr_t put_old)
{
	struct ctx *c = &t->ctx;
	PATH_REF root = {NULL, NULL};
	PATH_REF to = {NULL, NULL};
	PATH_REF old = {NULL, NULL};
	int err;

	if (!cred_capable(c->cred, CAP_SYS_ADMIN))
		return -EPERM;
	err = lookup_user(c, AT_FDCWD, new_root, 0, &to);
	if (!err)
		err = lookup_user(c, AT_FDCWD, put_old, 0, &old);
	if (!err && (!S_ISDIR(to.dentry->inode->mode) || !S_ISDIR(old.dentry->inode->mode)))
		err = -ENOTDIR;
	if (err)
		return err;
	fs_get_root(c, &root);
	err = mount_pivot(c->mnt_ns, &root, &to, &old);
	if (err)
		return err;
	mutex_lock(&pidtree_lock, L_PIDTREE);
	tg_for_each(move_group_root, &(struct moved_root){&root, &to});
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return 0;
}
