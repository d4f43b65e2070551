/*
 * Open descriptions: life, and the checks and the position that read, write, lseek and poll share.
 *
 * Position: a file with one (f->seekable) is read and written under pos_lock from the moment the position is read until it is
 * advanced, as POSIX asks of threads that share a description. Streams have none, so that a blocked reader does not
 * keep others from closing or writing.
 *
 * Release: the last put tells inotify, epoll and the file locks, then the ops, and then drops the path. It runs on any thread.
 */
#include "fs/file.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include "fs/epoll.h"
#include "fs/fasync.h"
#include "fs/locks.h"
#include "fs/notify.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

static struct slab file_slab = SLAB_INIT(struct file);

struct file *file_create(const struct path *path, const struct file_ops *ops, int flags, const struct cred *cred)
{
	struct file *f = slab_alloc(&file_slab);

	if (!f)
		return NULL;
	ref_init(&f->ref);
	f->ops = ops;
	f->path = *path;
	path_get(&f->path);
	f->inode = path->dentry->inode;
	f->flags = flags;
	mutex_init(&f->pos_lock);
	f->cred = cred_get(cred);
	list_init(&f->epoll_items);
	return f;
}

struct file *file_get(struct file *f)
{
	ref_get(&f->ref);
	return f;
}

static bool counts_as_writer(const struct file *f)
{
	return f->opened && (f->flags & O_ACCMODE) != O_RDONLY && S_ISREG(f->inode->mode);
}

void file_put(struct file *f)
{
	if (!f || !ref_put(&f->ref))
		return;
	if (f->opened) {
		fsnotify_close(f);
		epoll_file_gone(f);
		locks_remove_file(f);
		if (f->ops->release)
			f->ops->release(f);
		fasync_free(f);
	}
	if (counts_as_writer(f))
		__atomic_fetch_sub((int32_t *)&f->inode->write_count, 1, __ATOMIC_RELEASE);
	path_put(&f->path);
	cred_put(f->cred);
	slab_free(&file_slab, f);
}

static bool may_read(const struct file *f)
{
	return (f->flags & O_ACCMODE) != O_WRONLY && !(f->flags & O_PATH);
}

static bool may_write(const struct file *f)
{
	return (f->flags & O_ACCMODE) != O_RDONLY && !(f->flags & O_PATH);
}

ssize_t file_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos)
{
	ssize_t n;

	if (!may_read(f))
		return -EBADF;
	if (!f->ops->read)
		return S_ISDIR(f->inode->mode) ? -EISDIR : -EINVAL;
	if (iobuf_left(b) == 0 && S_ISREG(f->inode->mode))
		return 0;
	if (pos || !f->seekable)
		n = f->ops->read(c, f, b, pos ? pos : &f->pos);
	else {
		mutex_lock(&f->pos_lock, L_POS);
		n = f->ops->read(c, f, b, &f->pos);
		mutex_unlock(&f->pos_lock, L_POS);
	}
	if (n > 0)
		fsnotify_file(f, IN_ACCESS);
	return n;
}

ssize_t file_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos)
{
	ssize_t n;

	if (!may_write(f))
		return -EBADF;
	if (!f->ops->write)
		return -EINVAL;
	if (iobuf_left(b) == 0 && S_ISREG(f->inode->mode))
		return 0;
	if (pos || !f->seekable)
		n = f->ops->write(c, f, b, pos ? pos : &f->pos);
	else {
		mutex_lock(&f->pos_lock, L_POS);
		n = f->ops->write(c, f, b, &f->pos);
		mutex_unlock(&f->pos_lock, L_POS);
	}
	if (n > 0)
		fsnotify_file(f, IN_MODIFY);
	return n;
}

int file_write_limit(struct ctx *c, struct file *f, struct iobuf *b, off_t pos)
{
	uint64_t limit = MIN(c->rlimit_fsize, (uint64_t)INT64_MAX);

	if (!S_ISREG(f->inode->mode))
		return 0;
	if ((uint64_t)pos >= limit) {
		if (limit == INT64_MAX)
			return -EFBIG;
		c->raise(c, SIGXFSZ);
		return -EFBIG;
	}
	iobuf_truncate(b, MIN(iobuf_left(b), limit - (uint64_t)pos));
	return 0;
}

uint32_t file_poll(struct file *f, struct poll_table *p)
{
	return f->ops->poll ? f->ops->poll(f, p) : POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
}

/* With the position's lock held by the caller of llseek (sys_lseek), and the size read once. */
off_t file_llseek_size(struct file *f, off_t off, int whence, off_t size)
{
	off_t base = 0;

	switch (whence) {
	case SEEK_SET:
		break;
	case SEEK_CUR:
		base = f->pos;
		break;
	case SEEK_END:
		base = size;
		break;
	case SEEK_DATA:
		if (off < 0 || off >= size)
			return -ENXIO;
		break;
	case SEEK_HOLE:
		if (off < 0 || off >= size)
			return -ENXIO;
		off = size;
		break;
	default:
		return -EINVAL;
	}
	if (__builtin_add_overflow(base, off, &off) || off < 0)
		return -EINVAL;
	f->pos = off;
	return off;
}

off_t file_llseek_generic(struct ctx *c __unused, struct file *f, off_t off, int whence)
{
	return file_llseek_size(f, off, whence, (off_t)f->inode->size);
}

off_t file_llseek(struct ctx *c, struct file *f, off_t off, int whence)
{
	off_t r;

	if (f->flags & O_PATH)
		return -EBADF;
	if (!f->ops->llseek)
		return -ESPIPE;
	mutex_lock(&f->pos_lock, L_POS);
	r = f->ops->llseek(c, f, off, whence);
	mutex_unlock(&f->pos_lock, L_POS);
	return r;
}

int file_iterate(struct ctx *c, struct file *f, struct dir_sink *s)
{
	int err;

	if (f->flags & O_PATH)
		return -EBADF;
	if (!f->ops->iterate)
		return -ENOTDIR;
	if (f->inode->dead)
		return -ENOENT;
	mutex_lock(&f->pos_lock, L_POS);
	err = f->ops->iterate(c, f, s, &f->pos);
	mutex_unlock(&f->pos_lock, L_POS);
	if (!err)
		fsnotify_file(f, IN_ACCESS);
	return err;
}
