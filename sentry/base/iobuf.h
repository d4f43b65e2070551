/*
 * Where the bytes of a read go and those of a write come from: guest memory in one or more segments, or our own memory.
 * A file's read op calls iobuf_put() as often as it likes, its write op iobuf_get(); both advance.
 */
#pragma once

#include "sentry/base/ctx.h"

struct iobuf_seg {
	uint64_t base; /* guest address, or our own pointer */
	uint64_t size;
};

struct iobuf {
	struct ctx *user;             /* NULL: our own memory */
	const struct iobuf_seg *segs; /* not owned */
	size_t seg_count;
	size_t seg_done;      /* bytes of segs[0] already used */
	size_t left;          /* bytes over all segments */
	struct iobuf_seg one; /* storage for the single-segment case */
};

/* size is cut to Linux's MAX_RW_COUNT. An iobuf with one segment points into itself: do not copy it. */
void iobuf_init_user(struct iobuf *b, struct ctx *c, uaddr_t base, size_t size);
void iobuf_init_kernel(struct iobuf *b, void *base, size_t size);
/* segs stay the caller's and must outlive b. */
void iobuf_init_segs(struct iobuf *b, struct ctx *c, const struct iobuf_seg *segs, size_t count);
/* Reads an array of struct iovec (IOV_MAX at most) into *segs (caller's, `count` elements); -EFAULT, -EINVAL. */
int __must_check iobuf_import(struct ctx *c, uaddr_t iov, size_t count, struct iobuf_seg *segs);

/* Bytes copied (at most iobuf_left), or -EFAULT if a fault came before the first. A short count means a fault behind it. */
ssize_t iobuf_put(struct iobuf *b, const void *src, size_t size);
ssize_t iobuf_get(struct iobuf *b, void *dst, size_t size);
ssize_t iobuf_put_zero(struct iobuf *b, size_t size);
static inline size_t iobuf_left(const struct iobuf *b)
{
	return b->left;
}
/* Gives no more than size bytes from here on. */
void iobuf_truncate(struct iobuf *b, size_t size);
/* Puts back the last `size` bytes of the current position; only within what was just consumed. */
void iobuf_revert(struct iobuf *b, const struct iobuf *before);
