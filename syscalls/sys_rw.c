/*
 * read, write, their vector and positional forms, lseek, and the calls that bring data to the medium. All of them find the description, check what
 * Linux checks before the file system is asked, and hand over an iobuf.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/uio.h>

#include "fs/fdtable.h"
#include "fs/mount.h"
#include "fs/vfs.h"
#include "sentry/base/slab.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

#define SEGS_ON_STACK 8
#define USER_END 0x7ffffffff000ul
#define RWF_KNOWN (RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND)

enum direction { DIR_READ, DIR_WRITE };

static ssize_t transfer(struct ctx *c, struct file *f, enum direction dir, struct iobuf *b, off_t *pos)
{
	return dir == DIR_READ ? file_read(c, f, b, pos) : file_write(c, f, b, pos);
}

/* Linux's access_ok(): refused before anything is moved, however much could have been. */
static bool range_ok(uaddr_t buf, size_t size)
{
	return size <= USER_END && buf.v <= USER_END - size;
}

static sysret_t rw(struct task *t, int fd, enum direction dir, uaddr_t buf, size_t size)
{
	FILE_REF f = fd_get(&t->ctx, fd);
	struct iobuf b;

	if (!f)
		return -EBADF;
	if (!range_ok(buf, size) && (f->flags & O_ACCMODE) != (dir == DIR_READ ? O_WRONLY : O_RDONLY))
		return -EFAULT;
	iobuf_init_user(&b, &t->ctx, buf, size);
	return transfer(&t->ctx, f, dir, &b, NULL);
}

sysret_t sys_read(struct task *t, int fd, uaddr_t buf, size_t size)
{
	return rw(t, fd, DIR_READ, buf, size);
}

sysret_t sys_write(struct task *t, int fd, uaddr_t buf, size_t size)
{
	return rw(t, fd, DIR_WRITE, buf, size);
}

/* May f be read or written at a position of the caller's? */
static int check_positional(const struct file *f, off_t pos)
{
	if (pos < 0)
		return -EINVAL;
	return f->seekable || !f->opened ? 0 : -ESPIPE;
}

static sysret_t prw(struct task *t, int fd, enum direction dir, uaddr_t buf, size_t size, off_t pos)
{
	struct iobuf b;
	int err;

	if (pos < 0)
		return -EINVAL;
	FILE_REF f = fd_get(&t->ctx, fd);
	if (!f)
		return -EBADF;
	err = check_positional(f, pos);
	if (err || !range_ok(buf, size))
		return err ? err : -EFAULT;
	iobuf_init_user(&b, &t->ctx, buf, size);
	return transfer(&t->ctx, f, dir, &b, &pos);
}

sysret_t sys_pread64(struct task *t, int fd, uaddr_t buf, size_t size, int64_t pos)
{
	return prw(t, fd, DIR_READ, buf, size, pos);
}

sysret_t sys_pwrite64(struct task *t, int fd, uaddr_t buf, size_t size, int64_t pos)
{
	return prw(t, fd, DIR_WRITE, buf, size, pos);
}

static ssize_t transfer_segs(struct ctx *c, struct file *f, enum direction dir, uaddr_t iov, size_t count,
			     struct iobuf_seg *segs, off_t *pos)
{
	struct iobuf b;
	int err = iobuf_import(c, iov, count, segs);

	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		if (!range_ok(UADDR(segs[i].base), segs[i].size))
			return -EFAULT;
	iobuf_init_segs(&b, c, segs, count);
	return transfer(c, f, dir, &b, pos);
}

/* pos NULL: the file's own. */
static sysret_t rwv(struct ctx *c, struct file *f, enum direction dir, uaddr_t iov, uint64_t count, off_t *pos)
{
	struct iobuf_seg few[SEGS_ON_STACK], *many;
	ssize_t r;

	if (count > IOV_MAX)
		return -EINVAL;
	if (count <= SEGS_ON_STACK)
		return transfer_segs(c, f, dir, iov, count, few, pos);
	many = kalloc(count * sizeof(*many));
	if (!many)
		return -ENOMEM;
	r = transfer_segs(c, f, dir, iov, count, many, pos);
	kfree(many, count * sizeof(*many));
	return r;
}

sysret_t sys_readv(struct task *t, int fd, uaddr_t iov, uint64_t count)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? rwv(&t->ctx, f, DIR_READ, iov, count, NULL) : -EBADF;
}

sysret_t sys_writev(struct task *t, int fd, uaddr_t iov, uint64_t count)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? rwv(&t->ctx, f, DIR_WRITE, iov, count, NULL) : -EBADF;
}

static sysret_t prwv(struct task *t, int fd, enum direction dir, uaddr_t iov, uint64_t count, off_t pos, int flags)
{
	struct ctx *c = &t->ctx;
	sysret_t r;
	int err;

	if (flags & ~RWF_KNOWN)
		return -EOPNOTSUPP;
	FILE_REF f = fd_get(c, fd);
	if (!f)
		return -EBADF;
	if ((flags & RWF_APPEND) || ((flags & RWF_NOWAIT) && !S_ISREG(f->inode->mode)))
		return -EOPNOTSUPP;
	err = check_positional(f, pos);
	if (err)
		return err;
	r = rwv(c, f, dir, iov, count, &pos);
	if (r > 0 && dir == DIR_WRITE && (flags & (RWF_DSYNC | RWF_SYNC)) &&
	    (err = vfs_fsync(c, f, !(flags & RWF_SYNC))))
		return err;
	return r;
}

/* The two halves of a position, as 32-bit ABIs need them: on x86-64 the first has it all. */
sysret_t sys_preadv(struct task *t, int fd, uaddr_t iov, uint64_t count, uint64_t low, uint64_t high __unused)
{
	return (int64_t)low < 0 ? -EINVAL : prwv(t, fd, DIR_READ, iov, count, (off_t)low, 0);
}

sysret_t sys_pwritev(struct task *t, int fd, uaddr_t iov, uint64_t count, uint64_t low, uint64_t high __unused)
{
	return (int64_t)low < 0 ? -EINVAL : prwv(t, fd, DIR_WRITE, iov, count, (off_t)low, 0);
}

static sysret_t rwv2(struct task *t, int fd, enum direction dir, uaddr_t iov, uint64_t count, off_t pos, int flags)
{
	if (pos != -1)
		return pos < 0 ? -EINVAL : prwv(t, fd, dir, iov, count, pos, flags);
	if (flags & ~RWF_KNOWN)
		return -EOPNOTSUPP;
	FILE_REF f = fd_get(&t->ctx, fd);
	if (!f)
		return -EBADF;
	if (flags & (RWF_APPEND | (S_ISREG(f->inode->mode) ? 0 : RWF_NOWAIT)))
		return -EOPNOTSUPP;
	return rwv(&t->ctx, f, dir, iov, count, NULL);
}

sysret_t sys_preadv2(struct task *t, int fd, uaddr_t iov, uint64_t count, uint64_t low, uint64_t high __unused,
		     int flags)
{
	return rwv2(t, fd, DIR_READ, iov, count, (off_t)low, flags);
}

sysret_t sys_pwritev2(struct task *t, int fd, uaddr_t iov, uint64_t count, uint64_t low, uint64_t high __unused,
		      int flags)
{
	return rwv2(t, fd, DIR_WRITE, iov, count, (off_t)low, flags);
}

sysret_t sys_lseek(struct task *t, int fd, int64_t off, int whence)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	if (!f)
		return -EBADF;
	if (whence < SEEK_SET || whence > SEEK_HOLE)
		return -EINVAL;
	return file_llseek(&t->ctx, f, off, whence);
}

sysret_t sys_fsync(struct task *t, int fd)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? vfs_fsync(&t->ctx, f, false) : -EBADF;
}

sysret_t sys_fdatasync(struct task *t, int fd)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? vfs_fsync(&t->ctx, f, true) : -EBADF;
}

sysret_t sys_syncfs(struct task *t, int fd)
{
	FILE_REF f = fd_get(&t->ctx, fd);
	struct super *s;

	if (!f)
		return -EBADF;
	s = f->inode->super;
	return s->ops->sync ? s->ops->sync(s) : 0;
}

sysret_t sys_sync(struct task *t)
{
	mnt_ns_sync(t->ctx.mnt_ns);
	return 0;
}

sysret_t sys_sync_file_range(struct task *t, int fd, int64_t off, int64_t size, unsigned flags)
{
	FILE_REF f = fd_get(&t->ctx, fd);
	int64_t end;

	if (!f)
		return -EBADF;
	if ((flags & ~7u) || off < 0 || size < 0 || __builtin_add_overflow(off, size, &end))
		return -EINVAL;
	if (!S_ISREG(f->inode->mode) && !S_ISBLK(f->inode->mode) && !S_ISDIR(f->inode->mode) &&
	    !S_ISLNK(f->inode->mode))
		return -ESPIPE;
	return flags ? vfs_fsync(&t->ctx, f, true) : 0;
}

/* Advice: the host's page cache does well without. */
sysret_t sys_fadvise64(struct task *t, int fd, int64_t off __unused, size_t size, int advice)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	if (!f)
		return -EBADF;
	if (S_ISFIFO(f->inode->mode))
		return -ESPIPE;
	if ((int64_t)size < 0)
		return -EINVAL;
	return advice >= POSIX_FADV_NORMAL && advice <= POSIX_FADV_NOREUSE ? 0 : -EINVAL;
}

sysret_t sys_readahead(struct task *t, int fd, int64_t off __unused, size_t size __unused)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	if (!f || (f->flags & O_ACCMODE) == O_WRONLY)
		return -EBADF;
	return S_ISREG(f->inode->mode) ? 0 : -EINVAL;
}

sysret_t sys_ftruncate(struct task *t, int fd, int64_t size)
{
	if (size < 0)
		return -EINVAL;
	FILE_REF f = fd_get(&t->ctx, fd);
	return f ? vfs_ftruncate(&t->ctx, f, size) : -EBADF;
}

sysret_t sys_fallocate(struct task *t, int fd, unsigned mode, int64_t off, int64_t size)
{
	FILE_REF f = fd_get(&t->ctx, fd);

	return f ? vfs_fallocate(&t->ctx, f, (int)mode, off, size) : -EBADF;
}
