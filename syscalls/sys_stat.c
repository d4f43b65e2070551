/* stat in its forms, statx, statfs. struct stat is the kernel's here: glibc's x86-64 layout is the same. */
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fs/fdtable.h"
#include "fs/vfs.h"
#include "sentry/base/clock.h"
#include "sentry/task.h"
#include "syscalls/lookup.h"
#include "syscalls/syscalls.h"

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000u
#endif
#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x2000
#endif
#define STAT_FLAGS (AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)

_Static_assert(sizeof(struct stat) == 144, "ABI");
_Static_assert(sizeof(struct statx) == 256, "ABI");

static int put_stat(struct ctx *c, const struct path *p, uaddr_t out)
{
	struct attr a;
	struct stat st;
	int err = vfs_getattr(c, p, &a);

	if (err)
		return err;
	memset(&st, 0, sizeof(st));
	st.st_dev = a.dev;
	st.st_ino = a.ino;
	st.st_nlink = a.nlink;
	st.st_mode = a.mode;
	st.st_uid = a.uid;
	st.st_gid = a.gid;
	st.st_rdev = a.rdev;
	st.st_size = (off_t)a.size;
	st.st_blksize = (blksize_t)a.blksize;
	st.st_blocks = (blkcnt_t)a.blocks;
	st.st_atim = ns_to_timespec(a.atime);
	st.st_mtim = ns_to_timespec(a.mtime);
	st.st_ctim = ns_to_timespec(a.ctime);
	return copy_out(c, out, &st, sizeof(st));
}

sysret_t sys_newfstatat(struct task *t, int dirfd, uaddr_t path, uaddr_t out, int flags)
{
	PATH_REF p = {NULL, NULL};
	int err;

	if (flags & ~STAT_FLAGS)
		return -EINVAL;
	err = lookup_user(&t->ctx, dirfd, path, flags, &p);
	return err ? err : put_stat(&t->ctx, &p, out);
}

sysret_t sys_stat(struct task *t, uaddr_t path, uaddr_t out)
{
	return sys_newfstatat(t, AT_FDCWD, path, out, 0);
}

sysret_t sys_lstat(struct task *t, uaddr_t path, uaddr_t out)
{
	return sys_newfstatat(t, AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}

sysret_t sys_fstat(struct task *t, int fd, uaddr_t out)
{
	FILE_REF f = fd_get_raw(&t->ctx, fd);

	return f ? put_stat(&t->ctx, &f->path, out) : -EBADF;
}

static struct statx_timestamp stx_time(int64_t ns)
{
	struct timespec ts = ns_to_timespec(ns);

	return (struct statx_timestamp){.tv_sec = ts.tv_sec, .tv_nsec = (uint32_t)ts.tv_nsec};
}

static void fill_statx(struct statx *s, const struct path *p, const struct attr *a)
{
	memset(s, 0, sizeof(*s));
	s->stx_mask = STATX_BASIC_STATS | STATX_MNT_ID | (a->btime ? STATX_BTIME : 0u);
	s->stx_blksize = a->blksize;
	s->stx_attributes_mask = STATX_ATTR_MOUNT_ROOT;
	s->stx_attributes = p->dentry == p->mnt->root ? STATX_ATTR_MOUNT_ROOT : 0;
	s->stx_nlink = a->nlink;
	s->stx_uid = a->uid;
	s->stx_gid = a->gid;
	s->stx_mode = (uint16_t)a->mode;
	s->stx_ino = a->ino;
	s->stx_size = a->size;
	s->stx_blocks = a->blocks;
	s->stx_atime = stx_time(a->atime);
	s->stx_mtime = stx_time(a->mtime);
	s->stx_ctime = stx_time(a->ctime);
	s->stx_btime = stx_time(a->btime);
	s->stx_dev_major = major(a->dev);
	s->stx_dev_minor = minor(a->dev);
	s->stx_rdev_major = major(a->rdev);
	s->stx_rdev_minor = minor(a->rdev);
	s->stx_mnt_id = (uint64_t)p->mnt->id;
}

sysret_t sys_statx(struct task *t, int dirfd, uaddr_t path, int flags, unsigned mask, uaddr_t out)
{
	struct ctx *c = &t->ctx;
	PATH_REF p = {NULL, NULL};
	struct attr a;
	struct statx s;
	int err;

	if ((flags & ~STAT_FLAGS) || (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE || (mask & STATX__RESERVED))
		return -EINVAL;
	err = lookup_user(c, dirfd, path, flags, &p);
	if (!err)
		err = vfs_getattr(c, &p, &a);
	if (err)
		return err;
	fill_statx(&s, &p, &a);
	return copy_out(c, out, &s, sizeof(s));
}

static sysret_t put_statfs(struct ctx *c, const struct path *p, uaddr_t out)
{
	struct k_statfs s;
	int err = vfs_statfs(c, p, &s);

	return err ? err : copy_out(c, out, &s, sizeof(s));
}

sysret_t sys_statfs(struct task *t, uaddr_t path, uaddr_t out)
{
	PATH_REF p = {NULL, NULL};
	int err = lookup_user(&t->ctx, AT_FDCWD, path, 0, &p);

	return err ? err : put_statfs(&t->ctx, &p, out);
}

sysret_t sys_fstatfs(struct task *t, int fd, uaddr_t out)
{
	FILE_REF f = fd_get_raw(&t->ctx, fd);

	return f ? put_statfs(&t->ctx, &f->path, out) : -EBADF;
}
