/*
 * splice(2), tee(2), vmsplice(2), sendfile(2), copy_file_range(2).
 *
 * Pages are not shared between pipes and files here: data goes through a bounce buffer of at most 64 KiB. What these calls promise is kept: nothing
 * that was taken from a source is lost when the target takes less. A pipe is peeked and told afterwards how much was used; a file's position advances by
 * what was written; a socket or terminal is only read for as much as the pipe has room.
 *
 * Which files may take part follows Linux 6: sendfile() from regular files and block devices, or from anything that can be read if the target is a
 * pipe; descriptions that have no data of a stream's kind (eventfd, epoll...) are refused with EINVAL.
 */
#include "fs/splice.h"

#include <fcntl.h>
#include <limits.h>

#include "fs/pipe.h"
#include "sentry/base/slab.h"

#define BOUNCE 65536u
#define MAX_RW ((size_t)INT_MAX & PAGE_MASK)

struct bounce {
	char *mem;
	size_t size;
};

static int bounce_init(struct bounce *b, size_t want)
{
	b->size = MIN(want, BOUNCE);
	b->mem = kalloc(b->size);
	return b->mem ? 0 : -ENOMEM;
}

static void bounce_free(struct bounce *b)
{
	kfree(b->mem, b->size);
}

static bool can_read(const struct file *f)
{
	return (f->flags & O_ACCMODE) != O_WRONLY && !(f->flags & O_PATH);
}

static bool can_write(const struct file *f)
{
	return (f->flags & O_ACCMODE) != O_RDONLY && !(f->flags & O_PATH);
}

/* Has data that can be spliced; directories, eventfds and the like have not. */
static bool is_stream(const struct file *f)
{
	uint32_t type = f->inode->mode & S_IFMT;

	return type == S_IFREG || type == S_IFIFO || type == S_IFSOCK || type == S_IFCHR || type == S_IFBLK;
}

static ssize_t read_bounce(struct ctx *c, struct file *f, off_t *pos, void *mem, size_t size)
{
	struct iobuf b;

	iobuf_init_kernel(&b, mem, size);
	return file_read(c, f, &b, pos);
}

static ssize_t write_bounce(struct ctx *c, struct file *f, off_t *pos, void *mem, size_t size)
{
	struct iobuf b;

	iobuf_init_kernel(&b, mem, size);
	return file_write(c, f, &b, pos);
}

/* ---- splice ---- */

static ssize_t pipe_to_file(struct ctx *c, struct file *in, struct file *out, off_t *pos, size_t size, bool nonblock)
{
	struct bounce b;
	size_t done = 0;
	ssize_t n = bounce_init(&b, size);

	while (!n && done < size) {
		ssize_t w;

		n = pipe_peek_begin(c, in, b.mem, MIN(b.size, size - done), nonblock || done);
		if (n <= 0)
			break;
		w = write_bounce(c, out, pos, b.mem, (size_t)n);
		pipe_peek_end(in, (size_t)MAX(w, 0));
		done += (size_t)MAX(w, 0);
		n = w == n ? 0 : MIN(w, -1);
	}
	bounce_free(&b);
	return done ? (ssize_t)done : n;
}

/* One read of as much as the pipe has room for. */
static ssize_t file_to_pipe(struct ctx *c, struct file *in, off_t *pos, struct file *out, size_t size, bool nonblock)
{
	struct bounce b;
	struct iobuf from;
	ssize_t n, room = pipe_wait_space(c, out, nonblock);

	if (room < 0)
		return room;
	n = bounce_init(&b, MIN(size, (size_t)room));
	if (n)
		return n;
	n = read_bounce(c, in, pos, b.mem, b.size);
	if (n > 0) {
		/* Another writer may have filled the pipe meanwhile: what was read must not be lost, so this waits. */
		iobuf_init_kernel(&from, b.mem, (size_t)n);
		n = pipe_write_to(c, out, &from, false);
	}
	bounce_free(&b);
	return n;
}

static int splice_check(struct file *in, const off_t *in_pos, struct file *out, const off_t *out_pos)
{
	bool from_pipe = pipe_of(in), to_pipe = pipe_of(out);

	if (!can_read(in) || !can_write(out))
		return -EBADF;
	if ((from_pipe && in_pos) || (to_pipe && out_pos))
		return -ESPIPE;
	if (!from_pipe && !to_pipe)
		return -EINVAL;
	if ((in_pos && !in->seekable) || (out_pos && !out->seekable))
		return -EINVAL;
	if (!is_stream(in) || !is_stream(out) || (from_pipe && !to_pipe && out->flags & O_APPEND))
		return -EINVAL;
	return 0;
}

ssize_t splice_files(struct ctx *c, struct file *in, off_t *in_pos, struct file *out, off_t *out_pos, size_t size,
		     unsigned flags)
{
	bool nonblock = flags & SPLICE_F_NONBLOCK;
	int err = splice_check(in, in_pos, out, out_pos);

	if (err)
		return err;
	size = MIN(size, MAX_RW);
	if (pipe_of(in) && pipe_of(out))
		return pipe_to_pipe(c, in, out, size, false, nonblock || (in->flags | out->flags) & O_NONBLOCK);
	if (pipe_of(in))
		return pipe_to_file(c, in, out, out_pos, size, nonblock || in->flags & O_NONBLOCK);
	return file_to_pipe(c, in, in_pos, out, size, nonblock || out->flags & O_NONBLOCK);
}

ssize_t tee_pipes(struct ctx *c, struct file *in, struct file *out, size_t size, unsigned flags)
{
	bool nonblock = flags & SPLICE_F_NONBLOCK || (in->flags | out->flags) & O_NONBLOCK;

	if (!can_read(in) || !can_write(out))
		return -EBADF;
	if (!pipe_of(in) || !pipe_of(out))
		return -EINVAL;
	return pipe_to_pipe(c, in, out, MIN(size, MAX_RW), true, nonblock);
}

ssize_t vmsplice_pipe(struct ctx *c, struct file *f, struct iobuf *b, unsigned flags)
{
	bool nonblock = flags & SPLICE_F_NONBLOCK;
	ssize_t room;

	if (!pipe_of(f))
		return -EBADF;
	if (!iobuf_left(b))
		return 0;
	if (!can_write(f))
		return pipe_read_from(c, f, b, nonblock);
	room = pipe_wait_space(c, f, nonblock);
	if (room < 0)
		return room;
	iobuf_truncate(b, (size_t)room);
	return pipe_write_to(c, f, b, true);
}

/* ---- copies ---- */

/* From in at *from to out (at *to, or its own position) until size, the end, or an error. */
static ssize_t copy_loop(struct ctx *c, struct file *in, off_t *from, struct file *out, off_t *to, size_t size)
{
	struct bounce b;
	size_t done = 0;
	ssize_t n = bounce_init(&b, size);

	while (!n && done < size) {
		off_t at = *from;
		ssize_t w;

		n = read_bounce(c, in, &at, b.mem, MIN(b.size, size - done));
		if (n <= 0)
			break;
		w = write_bounce(c, out, to, b.mem, (size_t)n);
		if (w > 0) {
			*from += w;
			done += (size_t)w;
		}
		/* A signal ends a long copy between its pieces, with what is done. */
		n = w < n || ctx_interrupts(c) ? MIN(w, -1) : 0;
	}
	bounce_free(&b);
	return done ? (ssize_t)done : n;
}

ssize_t sendfile_files(struct ctx *c, struct file *out, struct file *in, off_t *in_pos, size_t size)
{
	uint32_t type = in->inode->mode & S_IFMT;
	off_t pos = in_pos ? *in_pos : in->pos;
	ssize_t n;

	if (!can_read(in) || !can_write(out))
		return -EBADF;
	if (in_pos && !in->seekable)
		return -ESPIPE;
	if (in_pos && *in_pos < 0)
		return -EINVAL;
	if (out->flags & O_APPEND || !is_stream(out))
		return -EINVAL;
	size = MIN(size, MAX_RW);
	if (!size)
		return 0;
	if (pipe_of(out)) {
		if (pipe_of(in) || !is_stream(in))
			return -EINVAL;
		n = file_to_pipe(c, in, in->seekable ? &pos : NULL, out, size, out->flags & O_NONBLOCK);
	} else {
		if (type != S_IFREG && type != S_IFBLK)
			return -EINVAL;
		n = copy_loop(c, in, &pos, out, NULL, size);
	}
	if (in_pos)
		*in_pos = pos;
	else if (in->seekable)
		in->pos = pos;
	return n;
}

static int copy_check(struct file *in, struct file *out, off_t from, off_t to, size_t size)
{
	off_t end;

	if (S_ISDIR(in->inode->mode) || S_ISDIR(out->inode->mode))
		return -EISDIR;
	if (!S_ISREG(in->inode->mode) || !S_ISREG(out->inode->mode))
		return -EINVAL;
	if (!can_read(in) || !can_write(out) || out->flags & O_APPEND)
		return -EBADF;
	if (in->inode->super != out->inode->super)
		return -EXDEV;
	if (from < 0 || to < 0)
		return -EINVAL;
	if (__builtin_add_overflow(from, (off_t)MIN(size, MAX_RW), &end) ||
	    __builtin_add_overflow(to, (off_t)MIN(size, MAX_RW), &end))
		return -EOVERFLOW;
	return 0;
}

ssize_t copy_range(struct ctx *c, struct file *in, off_t *in_pos, struct file *out, off_t *out_pos, size_t size)
{
	off_t from = in_pos ? *in_pos : in->pos, to = out_pos ? *out_pos : out->pos;
	struct attr a;
	ssize_t n;
	int err = copy_check(in, out, from, to, size);

	if (!err)
		err = inode_getattr(c, in->inode, &a);
	if (err)
		return err;
	size = (uint64_t)from >= a.size ? 0 : MIN(MIN(size, MAX_RW), a.size - (uint64_t)from);
	/* Linux cuts at the end of the source before it looks for an overlap. */
	if (in->inode == out->inode && from < to + (off_t)size && to < from + (off_t)size)
		return -EINVAL;
	if (!size)
		return 0;
	n = copy_loop(c, in, &from, out, &to, size);
	*(in_pos ? in_pos : &in->pos) = from;
	*(out_pos ? out_pos : &out->pos) = to;
	return n;
}
