/* Copying between the sentry and a guest, over the accessors that the task's ctx carries. */
#include "sentry/base/ctx.h"

#include <string.h>

int copy_in(struct ctx *c, void *dst, uaddr_t src, size_t size)
{
	if (size == 0)
		return 0;
	return c->uaccess->read(c, dst, src, size) == (ssize_t)size ? 0 : -EFAULT;
}

int copy_out(struct ctx *c, uaddr_t dst, const void *src, size_t size)
{
	if (size == 0)
		return 0;
	return c->uaccess->write(c, dst, src, size) == (ssize_t)size ? 0 : -EFAULT;
}

/* What platforms have at hand already when a call has a name for an argument. */
#define FIRST_CHUNK 256

ssize_t copy_in_string(struct ctx *c, char *dst, uaddr_t src, size_t size)
{
	size_t done = 0;

	while (done < size) {
		/* Never across a page: the string may end right before an unmapped one. Most are short. */
		size_t most = done ? PAGE_SIZE : FIRST_CHUNK;
		size_t chunk = MIN(MIN(size - done, most), PAGE_SIZE - ((src.v + done) & ~PAGE_MASK));
		ssize_t n = c->uaccess->read(c, dst + done, uaddr_add(src, done), chunk);
		char *nul;

		if (n <= 0)
			return -EFAULT;
		nul = memchr(dst + done, 0, (size_t)n);
		if (nul)
			return nul - dst;
		if ((size_t)n < chunk)
			return -EFAULT;
		done += (size_t)n;
	}
	return -ENAMETOOLONG;
}

int copy_out_zero(struct ctx *c, uaddr_t dst, size_t size)
{
	static const char zeros[PAGE_SIZE];

	for (size_t done = 0; done < size; done += PAGE_SIZE)
		if (copy_out(c, uaddr_add(dst, done), zeros, MIN(size - done, PAGE_SIZE)))
			return -EFAULT;
	return 0;
}

int copy_in_struct(struct ctx *c, void *dst, size_t size, uaddr_t src, size_t usize)
{
	char rest[64];

	if (copy_in(c, dst, src, MIN(size, usize)))
		return -EFAULT;
	if (usize < size)
		memset((char *)dst + usize, 0, size - usize);
	for (size_t at = size; at < usize; at += sizeof(rest)) {
		size_t n = MIN(sizeof(rest), usize - at);

		if (copy_in(c, rest, uaddr_add(src, at), n))
			return -EFAULT;
		for (size_t i = 0; i < n; i++)
			if (rest[i])
				return -E2BIG;
	}
	return 0;
}
