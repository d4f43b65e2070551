/*
 * open and its forms, and what changes a file's attributes: chmod, chown, utimes, truncate, access. The work is in fs/open.c and fs/attr.c; here are
 * the flags that each call knows and the order of its checks.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <linux/securebits.h>
#include <sys/time.h>
#include <utime.h>

#include "fs/fdtable.h"
#include "fs/vfs.h"
#include "sentry/base/clock.h"
#include "sentry/base/cred.h"
#include "sentry/task.h"
#include "syscalls/lookup.h"
#include "syscalls/syscalls.h"

/* Linux's own numbers: the C library's O_LARGEFILE is 0 here, and its O_SYNC includes O_DSYNC. */
#define K_O_LARGEFILE 0100000
#define K_O_TMPFILE_BIT 020000000
#define VALID_OPEN_FLAGS                                                                                               \
	(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_ASYNC |      \
	 O_DIRECT | K_O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | K_O_TMPFILE_BIT)
#define RESOLVE_KNOWN                                                                                                  \
	(RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_IN_ROOT |           \
	 RESOLVE_CACHED)
#define UTIME_FLAGS (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)

static sysret_t do_open(struct ctx *c, int dirfd, uaddr_t path, int flags, uint32_t mode, unsigned lookup)
{
	PATH_NAME name = NULL;
	struct file *f;
	int fd, err = path_name_copy(c, path, 0, &name);

	if (err)
		return err;
	fd = fd_reserve(c, 0);
	if (fd < 0)
		return fd;
	err = vfs_open(c, dirfd, name, flags, mode, lookup, &f);
	if (err) {
		fd_unreserve(c, fd);
		return err;
	}
	fd_fill(c, fd, f, flags & O_CLOEXEC);
	return fd;
}

sysret_t sys_openat(struct task *t, int dirfd, uaddr_t path, int flags, uint32_t mode)
{
	return do_open(&t->ctx, dirfd, path, flags & VALID_OPEN_FLAGS, mode, 0);
}

sysret_t sys_open(struct task *t, uaddr_t path, int flags, uint32_t mode)
{
	return sys_openat(t, AT_FDCWD, path, flags, mode);
}

sysret_t sys_creat(struct task *t, uaddr_t path, uint32_t mode)
{
	return sys_openat(t, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

static unsigned resolve_flags(uint64_t resolve)
{
	return (resolve & RESOLVE_NO_XDEV ? LOOKUP_NO_XDEV : 0u) |
	       (resolve & RESOLVE_NO_MAGICLINKS ? LOOKUP_NO_MAGICLINKS : 0u) |
	       (resolve & RESOLVE_NO_SYMLINKS ? LOOKUP_NO_SYMLINKS | LOOKUP_NO_MAGICLINKS : 0u) |
	       (resolve & RESOLVE_BENEATH ? LOOKUP_BENEATH : 0u) | (resolve & RESOLVE_IN_ROOT ? LOOKUP_IN_ROOT : 0u);
}

static int check_how(const struct open_how *how)
{
	bool makes = how->flags & (O_CREAT | K_O_TMPFILE_BIT);

	if ((how->flags & ~(uint64_t)VALID_OPEN_FLAGS) || (how->resolve & ~(uint64_t)RESOLVE_KNOWN))
		return -EINVAL;
	if ((how->resolve & RESOLVE_BENEATH) && (how->resolve & RESOLVE_IN_ROOT))
		return -EINVAL;
	if (makes ? how->mode & ~07777ull : how->mode)
		return -EINVAL;
	if ((how->flags & O_PATH) && (how->flags & ~(uint64_t)(O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC)))
		return -EINVAL;
	/* Nothing is ever known to be answered without a lock: the caller tries again without this flag. */
	return how->resolve & RESOLVE_CACHED ? -EAGAIN : 0;
}

sysret_t sys_openat2(struct task *t, int dirfd, uaddr_t path, uaddr_t how_at, size_t size)
{
	struct open_how how;
	int err;

	if (size < sizeof(how))
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	err = copy_in_struct(&t->ctx, &how, sizeof(how), how_at, size);
	if (!err)
		err = check_how(&how);
	if (err)
		return err;
	return do_open(&t->ctx, dirfd, path, (int)how.flags, (uint32_t)how.mode, resolve_flags(how.resolve));
}

static sysret_t do_chmod(struct ctx *c, int dirfd, uaddr_t path, uint32_t mode, int flags)
{
	PATH_REF p = {NULL, NULL};
	int err = lookup_user(c, dirfd, path, flags, &p);

	return err ? err : vfs_chmod(c, &p, mode);
}

sysret_t sys_fchmodat2(struct task *t, int dirfd, uaddr_t path, uint32_t mode, int flags)
{
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return do_chmod(&t->ctx, dirfd, path, mode, flags);
}

sysret_t sys_fchmodat(struct task *t, int dirfd, uaddr_t path, uint32_t mode)
{
	return do_chmod(&t->ctx, dirfd, path, mode, 0);
}

sysret_t sys_chmod(struct task *t, uaddr_t path, uint32_t mode)
{
	return do_chmod(&t->ctx, AT_FDCWD, path, mode, 0);
}

sysret_t sys_fchmod(struct task *t, int fd, uint32_t mode)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? vfs_chmod(&t->ctx, &f->path, mode) : -EBADF;
}

sysret_t sys_fchownat(struct task *t, int dirfd, uaddr_t path, uint32_t uid, uint32_t gid, int flags)
{
	PATH_REF p = {NULL, NULL};
	int err;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	err = lookup_user(&t->ctx, dirfd, path, flags, &p);
	return err ? err : vfs_chown(&t->ctx, &p, uid, gid);
}

sysret_t sys_chown(struct task *t, uaddr_t path, uint32_t uid, uint32_t gid)
{
	return sys_fchownat(t, AT_FDCWD, path, uid, gid, 0);
}

sysret_t sys_lchown(struct task *t, uaddr_t path, uint32_t uid, uint32_t gid)
{
	return sys_fchownat(t, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

sysret_t sys_fchown(struct task *t, int fd, uint32_t uid, uint32_t gid)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? vfs_chown(&t->ctx, &f->path, uid, gid) : -EBADF;
}

sysret_t sys_truncate(struct task *t, uaddr_t path, int64_t size)
{
	PATH_REF p = {NULL, NULL};
	int err;

	if (size < 0)
		return -EINVAL;
	err = lookup_user(&t->ctx, AT_FDCWD, path, 0, &p);
	return err ? err : vfs_truncate(&t->ctx, &p, size);
}

/* access() asks for the real ids: a credential that has them as file system ids, or NULL if the present one will do. */
static int real_cred(const struct cred *now, struct cred **ret)
{
	struct cred *n;
	uint64_t caps = now->cap_effective;

	if (!(now->securebits & SECBIT_NO_SETUID_FIXUP))
		caps = now->uid == 0 ? now->cap_permitted : 0;
	*ret = NULL;
	if (now->fsuid == now->uid && now->fsgid == now->gid && now->cap_effective == caps)
		return 0;
	n = cred_clone(now);
	if (!n)
		return -ENOMEM;
	n->fsuid = n->uid;
	n->fsgid = n->gid;
	n->cap_effective = caps;
	*ret = n;
	return 0;
}

static sysret_t access_path(struct ctx *c, int dirfd, uaddr_t path, int mode, int flags)
{
	PATH_REF p = {NULL, NULL};
	int err = lookup_user(c, dirfd, path, flags, &p);

	return err || mode == F_OK ? err : vfs_access(c, &p, mode);
}

sysret_t sys_faccessat2(struct task *t, int dirfd, uaddr_t path, int mode, int flags)
{
	struct ctx *c = &t->ctx;
	const struct cred *before = c->cred;
	struct cred *real = NULL;
	sysret_t r;
	int err = 0;

	if ((mode & ~(R_OK | W_OK | X_OK)) || (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)))
		return -EINVAL;
	if (!(flags & AT_EACCESS))
		err = real_cred(before, &real);
	if (err)
		return err;
	if (real)
		c->cred = real;
	r = access_path(c, dirfd, path, mode, flags & ~AT_EACCESS);
	c->cred = before;
	cred_put(real);
	return r;
}

sysret_t sys_faccessat(struct task *t, int dirfd, uaddr_t path, int mode)
{
	return sys_faccessat2(t, dirfd, path, mode, 0);
}

sysret_t sys_access(struct task *t, uaddr_t path, int mode)
{
	return sys_faccessat2(t, AT_FDCWD, path, mode, 0);
}

/* path NULL: dirfd itself, as futimens(3) calls it. */
static sysret_t set_times(struct ctx *c, int dirfd, uaddr_t path, int64_t atime, int64_t mtime, int flags)
{
	PATH_REF p = {NULL, NULL};
	int err;

	if (flags & ~UTIME_FLAGS)
		return -EINVAL;
	if (path.v == 0 && dirfd != AT_FDCWD) {
		FILE_REF f = flags ? NULL : fd_get(c, dirfd);

		if (!f)
			return flags ? -EINVAL : -EBADF;
		return vfs_utimes(c, &f->path, atime, mtime);
	}
	err = lookup_user(c, dirfd, path, flags, &p);
	return err ? err : vfs_utimes(c, &p, atime, mtime);
}

static int time_of(const struct timespec *ts, int64_t *ret)
{
	if (ts->tv_nsec == UTIME_NOW)
		*ret = VFS_TIME_NOW;
	else if (ts->tv_nsec == UTIME_OMIT)
		*ret = VFS_TIME_OMIT;
	else if (ts->tv_nsec < 0 || ts->tv_nsec >= NSEC_PER_SEC)
		return -EINVAL;
	else
		*ret = MAX(MIN(ts->tv_sec, INT64_MAX / NSEC_PER_SEC - 1), INT64_MIN / NSEC_PER_SEC + 1) * NSEC_PER_SEC +
		       ts->tv_nsec;
	return 0;
}

sysret_t sys_utimensat(struct task *t, int dirfd, uaddr_t path, uaddr_t times, int flags)
{
	struct timespec ts[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
	int64_t atime, mtime;

	if (times.v && copy_in(&t->ctx, ts, times, sizeof(ts)))
		return -EFAULT;
	if (ts[0].tv_nsec == UTIME_OMIT && ts[1].tv_nsec == UTIME_OMIT)
		return 0;
	if (time_of(&ts[0], &atime) || time_of(&ts[1], &mtime))
		return -EINVAL;
	return set_times(&t->ctx, dirfd, path, atime, mtime, flags);
}

sysret_t sys_futimesat(struct task *t, int dirfd, uaddr_t path, uaddr_t times)
{
	struct timeval tv[2];
	struct timespec ts[2];
	int64_t atime = VFS_TIME_NOW, mtime = VFS_TIME_NOW;

	if (times.v) {
		if (copy_in(&t->ctx, tv, times, sizeof(tv)))
			return -EFAULT;
		for (int i = 0; i < 2; i++) {
			if (tv[i].tv_usec < 0 || tv[i].tv_usec >= 1000000)
				return -EINVAL;
			ts[i] = (struct timespec){tv[i].tv_sec, tv[i].tv_usec * NSEC_PER_USEC};
		}
		if (time_of(&ts[0], &atime) || time_of(&ts[1], &mtime))
			return -EINVAL;
	}
	return set_times(&t->ctx, dirfd, path, atime, mtime, 0);
}

sysret_t sys_utimes(struct task *t, uaddr_t path, uaddr_t times)
{
	return sys_futimesat(t, AT_FDCWD, path, times);
}

sysret_t sys_utime(struct task *t, uaddr_t path, uaddr_t times)
{
	struct utimbuf b;
	struct timespec ts[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
	int64_t atime, mtime;

	if (times.v) {
		if (copy_in(&t->ctx, &b, times, sizeof(b)))
			return -EFAULT;
		ts[0] = (struct timespec){.tv_sec = b.actime};
		ts[1] = (struct timespec){.tv_sec = b.modtime};
	}
	if (time_of(&ts[0], &atime) || time_of(&ts[1], &mtime))
		return -EINVAL;
	return set_times(&t->ctx, AT_FDCWD, path, atime, mtime, 0);
}

sysret_t sys_umask(struct task *t, uint32_t mask)
{
	return fs_swap_umask(&t->ctx, mask & 0777);
}
