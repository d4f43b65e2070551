/*
 * eventfd(2): a counter with a queue. Reading takes the counter (or one of it, EFD_SEMAPHORE) and waits while it is 0; writing adds and waits
 * while the sum would reach 2^64-1. One mutex (L_FILE); wake-ups after it was dropped.
 */
#include "fs/eventfd.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "sentry/base/slab.h"

#define EVENTFD_MAX (UINT64_MAX - 1)

struct eventfd {
	struct mutex lock;
	struct wait_queue wq;
	uint64_t count; /* L_FILE */
	bool semaphore;
};

static struct slab eventfd_slab = SLAB_INIT(struct eventfd);

static ssize_t efd_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	struct eventfd *e = f->priv;
	uint64_t value = 0;
	int err = 0;

	if (iobuf_left(b) < sizeof(value))
		return -EINVAL;
	mutex_lock(&e->lock, L_FILE);
	while (!err && e->count == 0)
		err = f->flags & O_NONBLOCK ? -EAGAIN : wait_on(c, &e->wq, &e->lock, L_FILE);
	if (!err) {
		value = e->semaphore ? 1 : e->count;
		e->count -= value;
	}
	mutex_unlock(&e->lock, L_FILE);
	if (err)
		return err;
	wake_up(&e->wq, POLLOUT);
	return iobuf_put(b, &value, sizeof(value)) == sizeof(value) ? (ssize_t)sizeof(value) : -EFAULT;
}

static ssize_t efd_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	struct eventfd *e = f->priv;
	uint64_t value;
	int err = 0;

	if (iobuf_left(b) < sizeof(value))
		return -EINVAL;
	if (iobuf_get(b, &value, sizeof(value)) != sizeof(value))
		return -EFAULT;
	if (value == UINT64_MAX)
		return -EINVAL;
	mutex_lock(&e->lock, L_FILE);
	while (!err && value > EVENTFD_MAX - e->count)
		err = f->flags & O_NONBLOCK ? -EAGAIN : wait_on(c, &e->wq, &e->lock, L_FILE);
	if (!err)
		e->count += value;
	mutex_unlock(&e->lock, L_FILE);
	if (err)
		return err;
	wake_up(&e->wq, POLLIN);
	return sizeof(value);
}

static uint32_t eventfd_poll(struct file *f, struct poll_table *t)
{
	struct eventfd *e = f->priv;
	uint64_t count;

	poll_wait(t, &e->wq);
	mutex_lock(&e->lock, L_FILE);
	count = e->count;
	mutex_unlock(&e->lock, L_FILE);
	return (count > 0 ? POLLIN : 0) | (count < EVENTFD_MAX ? POLLOUT : 0);
}

static void eventfd_release(struct file *f)
{
	slab_free(&eventfd_slab, f->priv);
}

static void eventfd_show_fdinfo(struct file *f, char *buf, size_t size)
{
	struct eventfd *e = f->priv;

	snprintf(buf, size, "eventfd-count: %16llx\neventfd-semaphore: %d\n", (unsigned long long)e->count,
		 e->semaphore);
}

static const struct file_ops eventfd_ops = {
    .read = efd_read,
    .write = efd_write,
    .poll = eventfd_poll,
    .release = eventfd_release,
    .show_fdinfo = eventfd_show_fdinfo,
};

int eventfd_create(struct ctx *c, uint32_t initial, int flags, struct file **ret)
{
	struct eventfd *e;
	int err;

	if (flags & ~(EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC))
		return -EINVAL;
	e = slab_alloc(&eventfd_slab);
	if (!e)
		return -ENOMEM;
	mutex_init(&e->lock);
	wait_queue_init(&e->wq);
	e->count = initial;
	e->semaphore = flags & EFD_SEMAPHORE;
	err = anon_file_create(c, "[eventfd]", 0, &eventfd_ops, e, O_RDWR | (flags & O_NONBLOCK), ret);
	if (err)
		slab_free(&eventfd_slab, e);
	return err;
}
