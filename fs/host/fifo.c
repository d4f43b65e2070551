/*
 * host: FIFOs of a directory that the host uses, too (host_options.fifos). What a guest opens is an end of the host's FIFO, so that the other one
 * may be on either side: fifo(7). Data goes by fs/hostfd.h, which never blocks in the host.
 *
 * What blocks there is the open, until the other end is opened, and there is no other way to learn of that. So a thread of its own makes
 * the call while the guest's sleeps as for anything else; an interrupt of the guest's wait ends the call by a signal.
 *
 * Other than on Linux a FIFO of a read-only tree cannot be opened for writing (EROFS): what is written there arrives outside.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "fs/host/hostfs.h"
#include "fs/hostfd.h"
#include "fs/hostio.h"
#include "fs/pipe.h"
#include "sentry/base/log.h"

#define OPENER_STACK (64 << 10)
#define CANCEL_SIGNAL SIGURG
#define CANCEL_NS 100000

struct opener {
	struct inode *inode;
	int mode;
	struct mutex lock;
	struct wait_queue wq;
	bool done; /* L_FILE */
	int fd;    /* when done: or -errno */
};

static void on_cancel(int signo __unused)
{
}

/* Without SA_RESTART: the call returns. */
static void cancel_init(void)
{
	struct sigaction sa = {.sa_handler = on_cancel};

	sigaction(CANCEL_SIGNAL, &sa, NULL);
}

static void *opener_main(void *arg)
{
	struct opener *o = arg;
	sigset_t mask;
	int fd;

	log_thread_mask(&mask);
	sigdelset(&mask, CANCEL_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	fd = host_open_node(o->inode, o->mode | HOST_OPEN_WAITS);
	mutex_lock(&o->lock, L_FILE);
	o->fd = fd;
	o->done = true;
	mutex_unlock(&o->lock, L_FILE);
	wake_up_all(&o->wq, 0);
	return NULL;
}

static int opener_start(struct opener *o, pthread_t *ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_attr_t attr;
	int err;

	pthread_once(&once, cancel_init);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, OPENER_STACK);
	err = pthread_create(ret, &attr, opener_main, o);
	pthread_attr_destroy(&attr);
	return err ? -ENOMEM : 0;
}

/* Again and again: a signal that comes before the call does nothing. */
static void opener_cancel(struct opener *o, pthread_t thread) REQUIRES(L_FILE)
{
	const struct timespec nap = {0, CANCEL_NS};

	while (!o->done) {
		pthread_kill(thread, CANCEL_SIGNAL);
		mutex_unlock(&o->lock, L_FILE);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
		mutex_lock(&o->lock, L_FILE);
	}
}

/* The descriptor when the other end is open; -ERESTARTSYS. */
static int open_waiting(struct ctx *c, struct inode *i, int mode)
{
	struct opener o = {.inode = i, .mode = mode, .lock = MUTEX_INIT};
	pthread_t thread;
	int err;

	wait_queue_init(&o.wq);
	err = opener_start(&o, &thread);
	if (err)
		return err;
	mutex_lock(&o.lock, L_FILE);
	while (!err && !o.done)
		err = wait_on(c, &o.wq, &o.lock, L_FILE);
	if (err)
		opener_cancel(&o, thread);
	mutex_unlock(&o.lock, L_FILE);
	pthread_join(thread, NULL);
	if (err && o.fd >= 0)
		close(o.fd);
	return err ? err : o.fd;
}

/* The same end with a description that does not block, if there can be one. */
static int nonblocking(int fd, int mode)
{
	int r = fd < 0 ? fd : hostio_reopen(fd, mode | O_NONBLOCK);

	if (r < 0)
		return fd;
	close(fd);
	return r;
}

int host_open_fifo(struct ctx *c, struct inode *i, struct file *f)
{
	int mode = f->flags & O_ACCMODE, fd;

	if (!host_super(i->super)->fifos)
		return fifo_open(c, i, f);
	if (mode != O_RDONLY && i->super->read_only)
		return -EROFS;
	if (mode == O_RDWR || (f->flags & O_NONBLOCK))
		fd = host_open_node(i, mode);
	else
		fd = nonblocking(open_waiting(c, i, mode), mode);
	return fd < 0 ? fd : hostfd_attach(f, fd);
}
