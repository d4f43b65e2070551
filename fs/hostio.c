/*
 * Host descriptors. File data moves through one buffer per thread: the guest's memory is in another process, so each piece is one pread
 * and one copy. The buffer is thread-local and used only between two host calls; nothing in it outlives a piece.
 */
#include "fs/hostio.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#define BOUNCE_SIZE (256ul << 10)

int hostio_self_dir = -1;

static __thread char bounce[BOUNCE_SIZE];

int hostio_reopen(int fd, int flags)
{
	char name[16];
	int r;

	if (hostio_self_dir < 0) {
		r = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		return r < 0 ? -errno : r;
	}
	snprintf(name, sizeof(name), "%d", fd);
	r = openat(hostio_self_dir, name, flags | O_CLOEXEC | O_NOCTTY);
	return r < 0 ? -errno : r;
}

ssize_t hostio_read(int fd, struct iobuf *b, off_t *pos)
{
	size_t done = 0;

	while (iobuf_left(b)) {
		size_t want = MIN(iobuf_left(b), BOUNCE_SIZE);
		ssize_t n = pread(fd, bounce, want, *pos);
		ssize_t put = n > 0 ? iobuf_put(b, bounce, (size_t)n) : n;

		if (n < 0)
			put = -errno;
		if (put <= 0)
			return done ? (ssize_t)done : put;
		done += (size_t)put;
		*pos += put;
		if ((size_t)put < want)
			break;
	}
	return (ssize_t)done;
}

ssize_t hostio_write(int fd, struct iobuf *b, off_t *pos)
{
	size_t done = 0;

	while (iobuf_left(b)) {
		size_t want = MIN(iobuf_left(b), BOUNCE_SIZE);
		ssize_t n = iobuf_get(b, bounce, want);
		ssize_t put = n > 0 ? pwrite(fd, bounce, (size_t)n, *pos) : n;

		if (n > 0 && put < 0)
			put = -errno;
		if (put <= 0)
			return done ? (ssize_t)done : put;
		done += (size_t)put;
		*pos += put;
		if ((size_t)put < want)
			break;
	}
	return (ssize_t)done;
}

ssize_t hostio_append(int fd, struct iobuf *b, off_t *pos)
{
	size_t done = 0;

	while (iobuf_left(b)) {
		size_t want = MIN(iobuf_left(b), BOUNCE_SIZE);
		ssize_t n = iobuf_get(b, bounce, want);
		struct iovec v = {bounce, n > 0 ? (size_t)n : 0};
		/* Offset -1: the description's own position, which ends up behind the data. */
		ssize_t put = n > 0 ? pwritev2(fd, &v, 1, -1, RWF_APPEND) : n;

		if (n > 0 && put < 0)
			put = -errno;
		if (put <= 0)
			return done ? (ssize_t)done : put;
		done += (size_t)put;
		*pos = lseek(fd, 0, SEEK_CUR);
		if ((size_t)put < want)
			break;
	}
	return (ssize_t)done;
}
