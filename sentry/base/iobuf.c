/* Scatter-gather over guest memory or our own: see iobuf.h. */
#include "sentry/base/iobuf.h"

#include <limits.h>
#include <string.h>

#define MAX_RW_COUNT ((size_t)INT_MAX & PAGE_MASK)

void iobuf_init_segs(struct iobuf *b, struct ctx *c, const struct iobuf_seg *segs, size_t count)
{
	b->user = c;
	b->segs = segs;
	b->seg_count = count;
	b->seg_done = 0;
	b->left = 0;
	for (size_t i = 0; i < count; i++)
		b->left += MIN(segs[i].size, MAX_RW_COUNT - b->left);
}

void iobuf_init_user(struct iobuf *b, struct ctx *c, uaddr_t base, size_t size)
{
	b->one = (struct iobuf_seg){base.v, size};
	iobuf_init_segs(b, c, &b->one, 1);
}

void iobuf_init_kernel(struct iobuf *b, void *base, size_t size)
{
	b->one = (struct iobuf_seg){(uint64_t)base, size};
	iobuf_init_segs(b, NULL, &b->one, 1);
}

int iobuf_import(struct ctx *c, uaddr_t iov, size_t count, struct iobuf_seg *segs)
{
	if (count > IOV_MAX)
		return -EINVAL;
	if (copy_in(c, segs, iov, count * sizeof(*segs)))
		return -EFAULT;
	for (size_t i = 0; i < count; i++)
		if ((int64_t)segs[i].size < 0)
			return -EINVAL;
	return 0;
}

enum iobuf_dir { IOBUF_PUT, IOBUF_GET };

/* Copies within the current segment. Bytes, or -EFAULT. */
static ssize_t copy_seg(struct iobuf *b, enum iobuf_dir dir, void *mem, size_t size)
{
	uint64_t at = b->segs->base + b->seg_done;

	if (b->user && dir == IOBUF_PUT)
		return b->user->uaccess->write(b->user, UADDR(at), mem, size);
	if (b->user)
		return b->user->uaccess->read(b->user, mem, UADDR(at), size);
	if (dir == IOBUF_PUT)
		memcpy((void *)at, mem, size);
	else
		memcpy(mem, (void *)at, size);
	return (ssize_t)size;
}

static ssize_t iobuf_copy(struct iobuf *b, enum iobuf_dir dir, char *mem, size_t size)
{
	size_t done = 0;

	size = MIN(size, b->left);
	while (done < size) {
		size_t chunk = MIN(size - done, b->segs->size - b->seg_done);
		ssize_t n = chunk ? copy_seg(b, dir, mem + done, chunk) : 0;

		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		b->left -= (size_t)n;
		b->seg_done += (size_t)n;
		if ((size_t)n < chunk)
			return done ? (ssize_t)done : -EFAULT;
		if (b->seg_done == b->segs->size && b->seg_count > 1) {
			b->segs++;
			b->seg_count--;
			b->seg_done = 0;
		}
	}
	return (ssize_t)done;
}

ssize_t iobuf_put(struct iobuf *b, const void *src, size_t size)
{
	return iobuf_copy(b, IOBUF_PUT, (char *)src, size);
}

ssize_t iobuf_get(struct iobuf *b, void *dst, size_t size)
{
	return iobuf_copy(b, IOBUF_GET, dst, size);
}

ssize_t iobuf_put_zero(struct iobuf *b, size_t size)
{
	static const char zeros[PAGE_SIZE];
	size_t done = 0;

	size = MIN(size, b->left);
	while (done < size) {
		ssize_t n = iobuf_put(b, zeros, MIN(size - done, PAGE_SIZE));

		if (n <= 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

void iobuf_truncate(struct iobuf *b, size_t size)
{
	b->left = MIN(b->left, size);
}

void iobuf_revert(struct iobuf *b, const struct iobuf *before)
{
	b->segs = before->segs == &before->one ? &b->one : before->segs;
	b->seg_count = before->seg_count;
	b->seg_done = before->seg_done;
	b->left = before->left;
}
