/*
 * host: open files and directories, and what changes attributes.
 *
 * Each open description of a file has a real descriptor of its own, opened with the guest's access mode at most; mappings are made from
 * it, so they are the host's page cache. A directory is read through the node's own descriptor if no other description reads it right
 * now: after the close it stays behind for look-ups and for the next time.
 *
 * A file that was opened for writing is `dirty` from then on: its attributes are asked from the host each time.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#include "fs/host/hostfs.h"
#include "fs/hostio.h"
#include "fs/vfs.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#define DIR_BUF (32ul << 10)

static struct slab file_slab = {.name = "struct host_file", .size = sizeof(struct host_file), .lock = MUTEX_INIT};

static void note_open(struct host_node *n, struct host_file *h)
{
	mutex_lock(&host_lock, L_CACHE);
	list_push(&n->opens, &h->link);
	mutex_unlock(&host_lock, L_CACHE);
}

/* The node's readable descriptor, if nobody reads through it: it is the caller's until it is unclaimed. */
static bool claim_fd(struct host_node *n, struct host_file *h)
{
	bool got;

	mutex_lock(&host_lock, L_CACHE);
	got = n->fd >= 0 && n->fd_readable && !n->fd_claimed;
	if (got) {
		n->fd_claimed = true;
		n->fd_users++;
		if (!list_empty(&n->lru))
			host_lru_remove(n);
		h->fd = n->fd;
	}
	mutex_unlock(&host_lock, L_CACHE);
	h->claimed = got;
	return got;
}

/* Gives a new readable descriptor to the node, claimed, if it has none in use that is needed. */
static void donate_fd(struct host_node *n, struct host_file *h)
{
	int old = -1;

	mutex_lock(&host_lock, L_CACHE);
	if (n->parent && !n->fd_readable && n->fd_users == 0) {
		if (!list_empty(&n->lru))
			host_lru_remove(n);
		old = n->fd;
		n->fd = h->fd;
		n->fd_readable = n->fd_claimed = true;
		n->fd_users = 1;
		h->claimed = true;
	}
	mutex_unlock(&host_lock, L_CACHE);
	if (old >= 0)
		close(old);
}

static int open_dir(struct inode *i, struct host_file *h)
{
	struct host_node *n = host_node(i);

	if (claim_fd(n, h)) {
		h->next = -1; /* wherever the last reader left it */
		return 0;
	}
	h->fd = host_open_node(i, O_RDONLY | O_DIRECTORY);
	if (h->fd < 0)
		return h->fd;
	donate_fd(n, h);
	return 0;
}

/* What create left behind for us. */
static int take_stash(struct host_node *n)
{
	int fd;

	mutex_lock(&host_lock, L_CACHE);
	fd = n->stash_fd;
	n->stash_fd = -1;
	mutex_unlock(&host_lock, L_CACHE);
	return fd;
}

static int open_regular(struct inode *i, struct file *f, struct host_file *h)
{
	int mode = f->flags & O_ACCMODE;

	h->fd = host_node(i)->stash_fd >= 0 ? take_stash(host_node(i)) : -1;
	if (h->fd < 0)
		h->fd = host_open_node(i, mode);
	/* A mapping or a read-back of what is open for writing only is not needed; but see a directory where no reader is let in. */
	if (h->fd < 0)
		return h->fd;
	if (mode != O_RDONLY)
		host_mark_dirty(i);
	return 0;
}

int host_open_file(struct ctx *c __unused, struct inode *i, struct file *f)
{
	struct host_file *h = slab_alloc(&file_slab);
	int err;

	if (!h)
		return -ENOMEM;
	list_init(&h->link);
	err = S_ISDIR(i->mode) ? open_dir(i, h) : open_regular(i, f, h);
	if (err) {
		slab_free(&file_slab, h);
		return err;
	}
	note_open(host_node(i), h);
	f->ops = i->file_ops;
	f->priv = h;
	return 0;
}

static void host_release(struct file *f)
{
	struct host_file *h = host_file(f);
	struct host_node *n = host_node(f->inode);

	mutex_lock(&host_lock, L_CACHE);
	list_remove(&h->link);
	if (h->claimed)
		n->fd_claimed = false;
	mutex_unlock(&host_lock, L_CACHE);
	if (h->claimed)
		host_dir_put(f->inode);
	else
		close(h->fd);
	kfree(h->buf, DIR_BUF);
	slab_free(&file_slab, h);
}

static ssize_t host_read(struct ctx *c __unused, struct file *f, struct iobuf *b, off_t *pos)
{
	return *pos < 0 ? -EINVAL : hostio_read(host_file(f)->fd, b, pos);
}

static ssize_t write_locked(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos)
{
	struct inode *i = f->inode;
	bool append = f->flags & O_APPEND;
	ssize_t n;
	int err;

	if (append)
		*pos = lseek(host_file(f)->fd, 0, SEEK_END);
	err = file_write_limit(c, f, b, *pos);
	if (!err)
		err = inode_remove_privs(c, i);
	if (err)
		return err;
	n = append ? hostio_append(host_file(f)->fd, b, pos) : hostio_write(host_file(f)->fd, b, pos);
	if (n > 0 && (uint64_t)*pos > i->size)
		i->size = (uint64_t)*pos;
	return n;
}

static ssize_t host_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos)
{
	ssize_t n;

	if (*pos < 0)
		return -EINVAL;
	inode_lock(f->inode);
	n = write_locked(c, f, b, pos);
	if (n > 0 && (f->flags & (O_DSYNC | O_SYNC)) && fdatasync(host_file(f)->fd))
		n = -errno;
	inode_unlock(f->inode);
	return n;
}

static off_t host_llseek(struct ctx *c __unused, struct file *f, off_t off, int whence)
{
	off_t r;

	if (whence != SEEK_END && whence != SEEK_DATA && whence != SEEK_HOLE)
		return file_llseek_size(f, off, whence, 0);
	r = lseek(host_file(f)->fd, off, whence);
	if (r < 0)
		return -errno;
	f->pos = r;
	return r;
}

/* A mount of the host's without execution is one for the guest: the stub's mapping would fail when it is too late to say so. */
static bool is_noexec(struct host_file *h)
{
	struct statfs st;

	if (!h->mapped) {
		h->noexec = fstatfs(h->fd, &st) == 0 && (st.f_flags & ST_NOEXEC);
		h->mapped = true;
	}
	return h->noexec;
}

static int host_mmap(struct ctx *c __unused, struct file *f, uint64_t off, size_t size __unused, int prot,
		     int flags __unused, struct file_backing *ret)
{
	bool noexec = is_noexec(host_file(f));

	if (noexec && (prot & PROT_EXEC))
		return -EPERM;
	*ret = (struct file_backing){host_file(f)->fd, off, noexec ? PROT_EXEC : 0};
	return 0;
}

static int host_fsync(struct ctx *c __unused, struct file *f, bool data_only)
{
	int fd = host_file(f)->fd;

	if (f->inode->super->read_only)
		return 0;
	return (data_only ? fdatasync(fd) : fsync(fd)) ? -errno : 0;
}

int host_fallocate(struct ctx *c __unused, struct file *f, int mode, off_t off, off_t size)
{
	return fallocate(host_file(f)->fd, mode, off, size) ? -errno : 0;
}

struct k_dirent64 {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

/* Fills the buffer from where the host's position is. 0: the end. */
static int refill(struct host_file *h)
{
	long n;

	if (!h->buf)
		h->buf = kalloc(DIR_BUF);
	if (!h->buf)
		return -ENOMEM;
	n = syscall(SYS_getdents64, h->fd, h->buf, DIR_BUF);
	if (n < 0)
		return -errno;
	h->at = 0;
	h->len = (size_t)n;
	return n > 0;
}

static int go_to(struct host_file *h, off_t pos)
{
	if (h->next == pos)
		return 0;
	h->at = h->len = 0;
	if (lseek(h->fd, pos, SEEK_SET) < 0)
		return -errno;
	h->next = pos;
	return 0;
}

static int host_iterate(struct ctx *c __unused, struct file *f, struct dir_sink *s, off_t *pos)
{
	struct host_file *h = host_file(f);
	int err = go_to(h, *pos);

	while (!err) {
		struct k_dirent64 *e;

		if (h->at == h->len) {
			int more = refill(h);

			if (more <= 0)
				return more;
		}
		e = (struct k_dirent64 *)(h->buf + h->at);
		if (!s->emit(s, e->name, strlen(e->name), e->ino, e->type, e->off))
			break;
		h->at += e->reclen;
		*pos = h->next = e->off;
	}
	return err;
}

static off_t host_dir_llseek(struct ctx *c __unused, struct file *f, off_t off, int whence)
{
	if (whence == SEEK_CUR || whence == SEEK_SET)
		return file_llseek_size(f, off, whence, 0);
	if (whence != SEEK_END)
		return -EINVAL;
	off = lseek(host_file(f)->fd, off, SEEK_END);
	host_file(f)->next = -1;
	if (off < 0)
		return -errno;
	f->pos = off;
	return off;
}

const struct file_ops host_file_ops = {
    .read = host_read,
    .write = host_write,
    .llseek = host_llseek,
    .mmap = host_mmap,
    .fsync = host_fsync,
    .fallocate = host_fallocate,
    .release = host_release,
};

const struct file_ops host_dir_file_ops = {
    .llseek = host_dir_llseek,
    .iterate = host_iterate,
    .fsync = host_fsync,
    .release = host_release,
};
