/*
 * Host descriptors. File data moves through a buffer of ours: the guest's memory is in another process, so each piece is one
 * pread and one copy. Small transfers use the stack; large ones take a buffer from a short list of idle ones, because threads have
 * small stacks and thread-local storage comes out of them.
 */
#include "fs/hostio.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define BOUNCE_SIZE (256ul << 10)

int hostio_self_dir = -1;
int hostio_memory_dir = -1;

#define SMALL_SIZE 4096
#define IDLE_MAX 4

struct bounce {
	char small[SMALL_SIZE];
	char *data; /* small, or one of BOUNCE_SIZE */
	size_t size;
};

static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;
static char *idle[IDLE_MAX];
static unsigned idle_count;

/* Room for `left` bytes, or for as much of them as one piece moves. */
static void bounce_init(struct bounce *b, size_t left)
{
	b->data = NULL;
	if (left > SMALL_SIZE) {
		pthread_mutex_lock(&idle_lock);
		if (idle_count)
			b->data = idle[--idle_count];
		pthread_mutex_unlock(&idle_lock);
		if (!b->data)
			b->data = malloc(BOUNCE_SIZE);
	}
	b->size = b->data ? BOUNCE_SIZE : SMALL_SIZE;
	if (!b->data)
		b->data = b->small;
}

static void bounce_done(struct bounce *b)
{
	char *data = b->data == b->small ? NULL : b->data;

	if (!data)
		return;
	pthread_mutex_lock(&idle_lock);
	if (idle_count < IDLE_MAX) {
		idle[idle_count++] = data;
		data = NULL;
	}
	pthread_mutex_unlock(&idle_lock);
	free(data);
}

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

static ssize_t do_read(int fd, struct iobuf *b, off_t *pos, struct bounce *bounce)
{
	size_t done = 0;

	while (iobuf_left(b)) {
		size_t want = MIN(iobuf_left(b), bounce->size);
		ssize_t n = pread(fd, bounce->data, want, *pos);
		ssize_t put = n > 0 ? iobuf_put(b, bounce->data, (size_t)n) : n;

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

ssize_t hostio_read(int fd, struct iobuf *b, off_t *pos)
{
	struct bounce bounce;
	ssize_t n;

	bounce_init(&bounce, iobuf_left(b));
	n = do_read(fd, b, pos, &bounce);
	bounce_done(&bounce);
	return n;
}

static ssize_t do_write(int fd, struct iobuf *b, off_t *pos, struct bounce *bounce)
{
	size_t done = 0;

	while (iobuf_left(b)) {
		size_t want = MIN(iobuf_left(b), bounce->size);
		ssize_t n = iobuf_get(b, bounce->data, want);
		ssize_t put = n > 0 ? pwrite(fd, bounce->data, (size_t)n, *pos) : n;

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

ssize_t hostio_write(int fd, struct iobuf *b, off_t *pos)
{
	struct bounce bounce;
	ssize_t n;

	bounce_init(&bounce, iobuf_left(b));
	n = do_write(fd, b, pos, &bounce);
	bounce_done(&bounce);
	return n;
}

static ssize_t do_append(int fd, struct iobuf *b, off_t *pos, struct bounce *bounce)
{
	size_t done = 0;

	while (iobuf_left(b)) {
		size_t want = MIN(iobuf_left(b), bounce->size);
		ssize_t n = iobuf_get(b, bounce->data, want);
		struct iovec v = {bounce->data, n > 0 ? (size_t)n : 0};
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

ssize_t hostio_append(int fd, struct iobuf *b, off_t *pos)
{
	struct bounce bounce;
	ssize_t n;

	bounce_init(&bounce, iobuf_left(b));
	n = do_append(fd, b, pos, &bounce);
	bounce_done(&bounce);
	return n;
}
