/*
 * Files over descriptors of the host: see hostfd.h.
 *
 * Regular files: read(2) and write(2) of the guest are the host's on the same open description, so that position and O_APPEND are shared with the shell that
 * redirected us, and `(echo one; sandbox exec echo two; echo three) > f` keeps three lines. pread and pwrite pass their position on. A description
 * that the guest opens anew (/dev/stdin, /proc/self/fd) has a position of its own.
 *
 * All others: one try that cannot block, then a wait on our own queue. A thread sleeps in epoll_wait() over those host descriptors that somebody waits for
 * (EPOLLONESHOT: it hears of each once, then it must be armed again; or EPOLLET, until it hears of one that nobody waits for), and wakes the queue; it also serves the sandbox's own (hostfd_call()). An idle sandbox has no wake-ups from it. A try
 * that cannot block is, in this order: a plain call if the description has O_NONBLOCK (hostfd_reopen()
 * gives us one of our own); RWF_NOWAIT; else poll and a call of a size that cannot block unless somebody outside is quicker. O_NONBLOCK is never set on a shared
 * description; the guest's F_SETFL stays inside.
 *
 * Locks: the table of watched descriptors and what they are armed for is under one lock, L_HOSTFD.
 */
#include "fs/hostfd.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

#include "fs/anon.h"
#include "fs/path.h"
#include "sentry/base/clock.h"
#include "sentry/base/cred.h"
#include "sentry/base/log.h"
#include "sentry/base/restart.h"
#include "sentry/base/slab.h"

#define BOUNCE_MAX (64ul << 10)
#define BUCKETS 1024
#define SURE_WRITE 512 /* what a writable pipe or terminal takes without blocking */

struct hostfd {
	struct anon_priv anon; /* must be first: inode->priv */
	struct ref ref;
	int fd;
	bool regular;
	bool edges;             /* hostfd_set_edges() */
	int access;             /* O_ACCMODE of the host */
	_Atomic bool no_nowait; /* RWF_NOWAIT is not supported */
	struct wait_queue wq;
	/* L_HOSTFD: */
	uint64_t id;       /* what epoll reports; 0: not registered yet */
	uint32_t armed;    /* POLL* bits */
	uint32_t want;     /* of pollers */
	bool always_ready; /* epoll does not know such files */
	struct hostfd *hash_next;
};

static struct slab hostfd_slab = SLAB_INIT(struct hostfd);
int (*hostfd_open_tty)(struct ctx *c, int host_fd, struct file **ret);

/* See hostfd_call(). */
struct call {
	int fd;
	bool (*fn)(int fd);
};

#define CALL_ID (1ull << 63) /* epoll reports this plus the place in watch.calls */

static struct {
	struct mutex lock; /* L_HOSTFD */
	struct hostfd *buckets[BUCKETS];
	uint64_t last_id;
	int epoll_fd;
	bool started;
	struct call calls[4]; /* filled before there are tasks */
	unsigned call_count;
} watch = {.lock = MUTEX_INIT, .epoll_fd = -1};

/* ---- the watcher ---- */

/* Where the one of that id hangs, or would. */
static struct hostfd **watch_find(uint64_t id) REQUIRES(L_HOSTFD)
{
	struct hostfd **p = &watch.buckets[id % BUCKETS];

	while (*p && (*p)->id != id)
		p = &(*p)->hash_next;
	return p;
}

/* Its every event, as long as somebody waits. */
static void report_edge(struct hostfd *h, uint32_t events) REQUIRES(L_HOSTFD)
{
	struct epoll_event none = {.events = 0, .data.u64 = h->id};

	events |= (events & POLLIN ? POLLRDNORM : 0u) | (events & POLLOUT ? POLLWRNORM : 0u);
	if (wait_queue_active(&h->wq)) {
		wake_up_all(&h->wq, events);
		return;
	}
	epoll_ctl(watch.epoll_fd, EPOLL_CTL_MOD, h->fd, &none);
	h->armed = h->want = 0;
}

static void report_locked(uint64_t id, uint32_t events) REQUIRES(L_HOSTFD)
{
	struct hostfd *h = *watch_find(id);

	if (h && h->edges) {
		report_edge(h, events);
	} else if (h) {
		h->armed = 0;
		wake_up_all(&h->wq, 0);
	}
}

static void watch_report(uint64_t id, uint32_t events)
{
	mutex_lock(&watch.lock, L_HOSTFD);
	report_locked(id, events);
	mutex_unlock(&watch.lock, L_HOSTFD);
}

/*
 * When h has just been armed, the host reports what it is ready for by then, which is no edge: it is taken away before the watcher sees it, who mostly
 * comes later. If he does not, there is one wake-up too many, which does no harm.
 */
static void drop_first_report(const struct hostfd *h) REQUIRES(L_HOSTFD)
{
	struct epoll_event events[4];
	int n = epoll_wait(watch.epoll_fd, events, ARRAY_SIZE(events), 0);

	for (int i = 0; i < n; i++)
		if (events[i].data.u64 != h->id && !(events[i].data.u64 & CALL_ID))
			report_locked(events[i].data.u64, events[i].events);
}

static void watch_call(const struct call *c)
{
	if (!c->fn(c->fd))
		epoll_ctl(watch.epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
}

static void *watch_main(void *arg)
{
	struct epoll_event events[8];

	for (;;) {
		int n = epoll_wait(watch.epoll_fd, events, ARRAY_SIZE(events), -1);

		for (int i = 0; i < n; i++) {
			uint64_t id = events[i].data.u64;

			if (id & CALL_ID)
				watch_call(&watch.calls[id - CALL_ID]);
			else
				watch_report(id, events[i].events);
		}
	}
	return arg;
}

/* All signals stay blocked on the new thread: they are for the sentry's others. */
static int watch_start(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int err;

	if (watch.started)
		return 0;
	if (watch.epoll_fd < 0)
		watch.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (watch.epoll_fd < 0)
		return -errno;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 << 10);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	log_thread_mask(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&thread, &attr, watch_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	watch.started = err == 0;
	return -err;
}

int hostfd_call(int fd, bool (*fn)(int fd))
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = CALL_ID + watch.call_count};
	int err;

	BUG_ON(watch.call_count == ARRAY_SIZE(watch.calls));
	mutex_lock(&watch.lock, L_HOSTFD);
	err = watch_start();
	mutex_unlock(&watch.lock, L_HOSTFD);
	if (err)
		return err;
	watch.calls[watch.call_count++] = (struct call){fd, fn};
	return epoll_ctl(watch.epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

/* POLLIN and POLLOUT are EPOLLIN and EPOLLOUT. */
static int arm_locked(struct hostfd *h, uint32_t events) REQUIRES(L_HOSTFD)
{
	struct epoll_event e = {.events = h->armed | events | (h->edges ? EPOLLET : EPOLLONESHOT)};
	int err = watch_start();

	if (err || h->always_ready || (h->armed & events) == events)
		return err;
	e.data.u64 = h->id ? h->id : ++watch.last_id;
	if (epoll_ctl(watch.epoll_fd, h->id ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, h->fd, &e) < 0) {
		h->always_ready = errno == EPERM;
		return h->always_ready ? 0 : -errno;
	}
	if (!h->id) {
		h->id = e.data.u64;
		*watch_find(h->id) = h;
	}
	h->armed |= events;
	return 0;
}

static int arm(struct hostfd *h, uint32_t events)
{
	int err;

	mutex_lock(&watch.lock, L_HOSTFD);
	err = arm_locked(h, events);
	mutex_unlock(&watch.lock, L_HOSTFD);
	return err;
}

static uint32_t host_ready(const struct hostfd *h, uint32_t events)
{
	struct pollfd p = {.fd = h->fd, .events = (short)events};

	return poll(&p, 1, 0) > 0 ? (uint32_t)p.revents : 0;
}

/* What is armed for edges may have told others of this one before we stood on the queue: so one looks again. */
static bool came_before(const struct hostfd *h, uint32_t events)
{
	return h->always_ready || (h->edges && host_ready(h, events) & events);
}

int hostfd_wait(struct ctx *c, struct hostfd *h, uint32_t events, int64_t deadline)
{
	struct wait_entry e;
	int err;

	wait_entry_init_ctx(&e, c, 0);
	wait_queue_add(&h->wq, &e);
	err = arm(h, events);
	if (!err && !came_before(h, events))
		err = park(c, deadline);
	wait_entry_remove(&e);
	return err;
}

void hostfd_rearm(struct hostfd *h, uint32_t events)
{
	if (!h->edges && wait_queue_active(&h->wq) && arm(h, events))
		wake_up_all(&h->wq, 0);
}

static uint32_t readiness(const struct hostfd *h)
{
	uint32_t ready = host_ready(h, POLLIN | POLLOUT | POLLPRI | POLLRDHUP);

	if (ready & POLLIN)
		ready |= POLLRDNORM;
	if (ready & POLLOUT)
		ready |= POLLWRNORM;
	return ready;
}

/* Whoever polls is woken by what happens from here on; POLLERR if that cannot be. */
static uint32_t arm_edges(struct hostfd *h) REQUIRES(L_HOSTFD)
{
	bool first = !h->armed;

	if (!(h->want & ~h->armed) || !wait_queue_active(&h->wq))
		return 0;
	if (arm_locked(h, h->want))
		return POLLERR;
	if (first)
		drop_first_report(h);
	return 0;
}

static uint32_t arm_once(struct hostfd *h, uint32_t ready) REQUIRES(L_HOSTFD)
{
	uint32_t missing = h->want & ~ready;

	if (missing && wait_queue_active(&h->wq) && !(ready & (POLLHUP | POLLERR)) && arm_locked(h, missing))
		return POLLERR;
	return 0;
}

uint32_t hostfd_poll(struct hostfd *h, struct poll_table *p)
{
	uint32_t ready = 0, failed;

	poll_wait(p, &h->wq);
	if (!h->edges)
		ready = readiness(h);
	mutex_lock(&watch.lock, L_HOSTFD);
	if (!wait_queue_active(&h->wq))
		h->want = 0;
	if (p)
		h->want |= p->events & (POLLIN | POLLOUT | POLLPRI | POLLRDHUP);
	failed = h->edges ? arm_edges(h) : arm_once(h, ready);
	mutex_unlock(&watch.lock, L_HOSTFD);
	return (h->edges ? readiness(h) : ready) | failed;
}

/* ---- one try ---- */

static bool host_nonblock(const struct hostfd *h)
{
	int flags = fcntl(h->fd, F_GETFL);

	return flags >= 0 && (flags & O_NONBLOCK);
}

static ssize_t nowait_once(struct hostfd *h, struct iovec *iov, bool write)
{
	ssize_t n;

	if (h->no_nowait)
		return -EOPNOTSUPP;
	n = write ? pwritev2(h->fd, iov, 1, -1, RWF_NOWAIT) : preadv2(h->fd, iov, 1, -1, RWF_NOWAIT);
	if (n >= 0)
		return n;
	if (errno == EOPNOTSUPP || errno == ESPIPE || errno == EINVAL)
		h->no_nowait = true;
	return h->no_nowait ? -EOPNOTSUPP : -errno;
}

static ssize_t once(struct hostfd *h, void *buf, size_t size, bool write)
{
	struct iovec iov = {buf, size};
	uint32_t event = write ? POLLOUT : POLLIN;
	bool safe = host_nonblock(h);
	ssize_t n = safe ? -EOPNOTSUPP : nowait_once(h, &iov, write);

	if (n != -EOPNOTSUPP)
		return n;
	if (!safe && !h->always_ready && !(host_ready(h, event) & (event | POLLHUP | POLLERR)))
		return -EAGAIN;
	if (!safe && write)
		iov.iov_len = MIN(iov.iov_len, (size_t)SURE_WRITE);
	n = write ? writev(h->fd, &iov, 1) : readv(h->fd, &iov, 1);
	return n < 0 ? -errno : n;
}

ssize_t hostfd_read_once(struct hostfd *h, void *buf, size_t size)
{
	return once(h, buf, size, false);
}

ssize_t hostfd_write_once(struct hostfd *h, const void *buf, size_t size)
{
	return once(h, (void *)(uintptr_t)buf, size, true);
}

/* ---- streams ---- */

static struct hostfd *of(const struct file *f)
{
	return f->priv;
}

static ssize_t read_blocking(struct ctx *c, struct file *f, char *buf, size_t size)
{
	for (;;) {
		ssize_t n = hostfd_read_once(of(f), buf, size);
		int err;

		if (n != -EAGAIN)
			return n == -EINTR ? -ERESTARTSYS : n;
		if (f->flags & O_NONBLOCK) {
			hostfd_rearm(of(f), POLLIN);
			return n;
		}
		if ((err = hostfd_wait(c, of(f), POLLIN, TIME_NEVER)))
			return err;
	}
}

static ssize_t stream_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	size_t size = MIN(iobuf_left(b), BOUNCE_MAX);
	char *buf = kalloc(size ? size : 1);
	ssize_t n;

	if (!buf)
		return -ENOMEM;
	n = read_blocking(c, f, buf, size);
	if (n > 0)
		n = iobuf_put(b, buf, (size_t)n);
	kfree(buf, size ? size : 1);
	return n;
}

/* All of it, unless it is interrupted or must not block: what was written, or an error before the first byte. */
static ssize_t write_blocking(struct ctx *c, struct file *f, const char *buf, size_t size)
{
	size_t done = 0;
	ssize_t n = 0;

	while (done < size) {
		n = hostfd_write_once(of(f), buf + done, size - done);
		if (n >= 0) {
			done += (size_t)n;
			continue;
		}
		if (n != -EAGAIN)
			break;
		if (f->flags & O_NONBLOCK) {
			hostfd_rearm(of(f), POLLOUT);
			break;
		}
		n = hostfd_wait(c, of(f), POLLOUT, TIME_NEVER);
		if (n)
			break;
	}
	return done ? (ssize_t)done : n == -EINTR ? -ERESTARTSYS : n;
}

static ssize_t stream_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	size_t size = MIN(iobuf_left(b), BOUNCE_MAX);
	char *buf = kalloc(size ? size : 1);
	ssize_t done = 0, n = 0;

	if (!buf)
		return -ENOMEM;
	while (iobuf_left(b)) {
		ssize_t got = iobuf_get(b, buf, size);

		n = got < 0 ? got : write_blocking(c, f, buf, (size_t)got);
		if (n <= 0)
			break;
		done += n;
		if (n < got)
			break;
	}
	kfree(buf, size ? size : 1);
	if (done)
		return done;
	if (n == -EPIPE)
		c->raise(c, SIGPIPE);
	return n;
}

static uint32_t stream_poll(struct file *f, struct poll_table *p)
{
	return hostfd_poll(of(f), p);
}

static long stream_ioctl(struct ctx *c, struct file *f, uint32_t cmd, uint64_t arg)
{
	int n = 0;

	if (cmd != FIONREAD)
		return -ENOTTY;
	if (ioctl(of(f)->fd, FIONREAD, &n) < 0)
		return -errno;
	return copy_out(c, UADDR(arg), &n, sizeof(n));
}

static void host_release(struct file *f)
{
	hostfd_put(f->priv);
}

static const struct file_ops stream_ops = {
    .read = stream_read,
    .write = stream_write,
    .poll = stream_poll,
    .ioctl = stream_ioctl,
    .release = host_release,
};

/* ---- regular files ---- */

/* pos: -1 is the host's own position. */
static ssize_t transfer(const struct file *f, char *buf, size_t size, off_t pos, bool write)
{
	struct iovec iov = {buf, size};
	ssize_t n;

	if (write)
		n = pwritev2(of(f)->fd, &iov, 1, pos, f->flags & O_APPEND ? RWF_APPEND : 0);
	else
		n = preadv2(of(f)->fd, &iov, 1, pos, 0);
	return n < 0 ? -errno : n;
}

static ssize_t copy_chunk(struct file *f, struct iobuf *b, char *buf, size_t size, off_t pos, bool write)
{
	ssize_t n;

	if (write) {
		n = iobuf_get(b, buf, size);
		return n > 0 ? transfer(f, buf, (size_t)n, pos, true) : n;
	}
	n = transfer(f, buf, MIN(size, iobuf_left(b)), pos, false);
	return n > 0 ? iobuf_put(b, buf, (size_t)n) : n;
}

/* *pos -1: on the host's position; else advances *pos. */
static ssize_t regular_io(struct file *f, struct iobuf *b, off_t *pos, bool write)
{
	size_t size = MIN(iobuf_left(b), BOUNCE_MAX);
	char *buf = kalloc(size ? size : 1);
	ssize_t done = 0, n = 0;

	if (!buf)
		return -ENOMEM;
	while (iobuf_left(b)) {
		size_t chunk = MIN(size, iobuf_left(b));

		n = copy_chunk(f, b, buf, size, *pos, write);
		if (n <= 0)
			break;
		done += n;
		if (*pos >= 0)
			*pos += n;
		if ((size_t)n < chunk)
			break;
	}
	kfree(buf, size ? size : 1);
	return done ? done : n;
}

static bool own_position(const struct file *f, const off_t *pos)
{
	return pos == &f->pos;
}

static ssize_t regular_read(struct ctx *c __unused, struct file *f, struct iobuf *b, off_t *pos)
{
	off_t host = -1;

	return regular_io(f, b, own_position(f, pos) ? &host : pos, false);
}

static int limit_write(struct ctx *c, struct file *f, struct iobuf *b, off_t pos)
{
	off_t at = pos >= 0 ? pos : lseek(of(f)->fd, 0, f->flags & O_APPEND ? SEEK_END : SEEK_CUR);

	if (c->rlimit_fsize >= INT64_MAX || at < 0)
		return 0;
	return file_write_limit(c, f, b, at);
}

static ssize_t regular_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos)
{
	off_t host = -1;
	int err;

	if (own_position(f, pos))
		pos = &host;
	err = limit_write(c, f, b, *pos);
	return err ? err : regular_io(f, b, pos, true);
}

static off_t regular_llseek(struct ctx *c __unused, struct file *f, off_t off, int whence)
{
	off_t r = lseek(of(f)->fd, off, whence);

	return r < 0 ? -errno : r;
}

static int regular_mmap(struct ctx *c __unused, struct file *f, uint64_t off, size_t size __unused, int prot __unused,
			int flags __unused, struct file_backing *ret)
{
	ret->host_fd = of(f)->fd;
	ret->off = off;
	return 0;
}

static int regular_fsync(struct ctx *c __unused, struct file *f, bool data_only)
{
	int r = data_only ? fdatasync(of(f)->fd) : fsync(of(f)->fd);

	return r < 0 ? -errno : 0;
}

static int regular_fallocate(struct ctx *c __unused, struct file *f, int mode, off_t off, off_t size)
{
	return fallocate(of(f)->fd, mode, off, size) < 0 ? -errno : 0;
}

static const struct file_ops regular_ops = {
    .read = regular_read,
    .write = regular_write,
    .llseek = regular_llseek,
    .mmap = regular_mmap,
    .fsync = regular_fsync,
    .fallocate = regular_fallocate,
    .release = host_release,
};

/* The same file with a position of its own. */
static ssize_t reopened_read(struct ctx *c __unused, struct file *f, struct iobuf *b, off_t *pos)
{
	return regular_io(f, b, pos, false);
}

static ssize_t reopened_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos)
{
	struct stat st;
	int err;

	if ((f->flags & O_APPEND) && fstat(of(f)->fd, &st) == 0)
		*pos = st.st_size;
	err = limit_write(c, f, b, *pos);
	return err ? err : regular_io(f, b, pos, true);
}

static off_t reopened_llseek(struct ctx *c __unused, struct file *f, off_t off, int whence)
{
	struct stat st;

	if (fstat(of(f)->fd, &st) < 0)
		return -errno;
	return file_llseek_size(f, off, whence, st.st_size);
}

static const struct file_ops reopened_ops = {
    .read = reopened_read,
    .write = reopened_write,
    .llseek = reopened_llseek,
    .mmap = regular_mmap,
    .fsync = regular_fsync,
    .fallocate = regular_fallocate,
    .release = host_release,
};

/* ---- inodes ---- */

static int64_t stamp(const struct timespec *ts)
{
	return timespec_to_ns(ts);
}

static int host_getattr(struct ctx *c __unused, struct inode *i, struct attr *ret)
{
	struct hostfd *h = i->priv;
	struct stat st;

	if (fstat(h->fd, &st) < 0)
		return -errno;
	*ret = (struct attr){
	    .mode = (i->mode & S_IFMT) | (st.st_mode & 07777),
	    .uid = i->uid,
	    .gid = i->gid,
	    .nlink = (uint32_t)st.st_nlink,
	    .ino = st.st_ino,
	    .size = (uint64_t)st.st_size,
	    .blocks = (uint64_t)st.st_blocks,
	    .blksize = (uint32_t)st.st_blksize,
	    .dev = i->super->dev,
	    .rdev = st.st_rdev,
	    .atime = stamp(&st.st_atim),
	    .mtime = stamp(&st.st_mtim),
	    .ctime = stamp(&st.st_ctim),
	};
	return 0;
}

/* The size only: the rest belongs to the host. */
static int host_setattr(struct ctx *c __unused, struct inode *i, unsigned valid, const struct attr *a)
{
	struct hostfd *h = i->priv;

	if (valid & (ATTR_MODE | ATTR_UID | ATTR_GID))
		return -EPERM;
	if ((valid & ATTR_SIZE) && ftruncate(h->fd, (off_t)a->size) < 0)
		return -errno;
	return 0;
}

static bool mode_allowed(const struct hostfd *h, int flags)
{
	return h->access == O_RDWR || h->access == (flags & O_ACCMODE);
}

static int host_open(struct ctx *c __unused, struct inode *i, struct file *f)
{
	struct hostfd *h = i->priv;

	if (!mode_allowed(h, f->flags))
		return -EACCES;
	f->ops = h->regular ? &reopened_ops : &stream_ops;
	f->priv = hostfd_get(h);
	return 0;
}

static const struct inode_ops host_inode_ops = {
    .getattr = host_getattr,
    .setattr = host_setattr,
    .open = host_open,
    .open_fifo = host_open,
};

static void host_evict(struct inode *i)
{
	hostfd_put(i->priv);
}

static struct inode *host_inode(struct ctx *c, struct hostfd *h, const struct stat *st)
{
	struct mount *m = anon_mount_borrow();
	struct inode *i = m ? inode_create(m->super, &host_inode_ops, NULL, st->st_mode, st->st_ino) : NULL;

	if (!i)
		return NULL;
	i->rdev = st->st_rdev;
	i->uid = c->cred->fsuid;
	i->gid = c->cred->fsgid;
	i->size = (uint64_t)st->st_size;
	i->priv = hostfd_get(h);
	return i;
}

/* ---- life ---- */

struct hostfd *hostfd_create(int fd)
{
	struct hostfd *h = slab_alloc(&hostfd_slab);
	struct stat st;

	if (!h)
		return NULL;
	ref_init(&h->ref);
	h->anon.evict = host_evict;
	h->fd = fd;
	h->regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	h->access = fcntl(fd, F_GETFL) & O_ACCMODE;
	wait_queue_init(&h->wq);
	return h;
}

void hostfd_set_edges(struct hostfd *h)
{
	h->edges = true;
}

struct hostfd *hostfd_get(struct hostfd *h)
{
	ref_get(&h->ref);
	return h;
}

void hostfd_put(struct hostfd *h)
{
	if (!h || !ref_put(&h->ref))
		return;
	mutex_lock(&watch.lock, L_HOSTFD);
	if (h->id) {
		*watch_find(h->id) = h->hash_next;
		epoll_ctl(watch.epoll_fd, EPOLL_CTL_DEL, h->fd, NULL);
	}
	mutex_unlock(&watch.lock, L_HOSTFD);
	if (h->fd >= 0)
		close(h->fd);
	slab_free(&hostfd_slab, h);
}

void hostfd_forget(struct hostfd *h)
{
	h->fd = -1;
	hostfd_put(h);
}

int hostfd_fd(const struct hostfd *h)
{
	return h->fd;
}

static void host_name(const struct stat *st, char *buf, size_t size)
{
	snprintf(buf, size, "%s:[%lu]", S_ISFIFO(st->st_mode) ? "pipe" : "host", (unsigned long)st->st_ino);
}

static int open_plain(struct ctx *c, int host_fd, const struct stat *st, int flags, struct file **ret)
{
	struct hostfd *h = hostfd_create(host_fd);
	struct inode *i = h ? host_inode(c, h, st) : NULL;
	char name[48];
	int err = -ENOMEM;

	host_name(st, name, sizeof(name));
	if (i)
		err = anon_file_create_inode(c, name, i, S_ISREG(st->st_mode) ? &regular_ops : &stream_ops, h, flags,
					     ret);
	if (err && h)
		hostfd_forget(h);
	return err;
}

/* The memory devices are the guest's own: null is null. -ENOENT: it is none of them. */
static int open_memory_device(struct ctx *c, int host_fd, const struct stat *st, int flags, struct file **ret)
{
	static const char *const names[] = {
	    [3] = "/dev/null", [5] = "/dev/zero", [7] = "/dev/full", [8] = "/dev/random", [9] = "/dev/urandom"};
	unsigned n = minor(st->st_rdev);
	int err;

	if (!S_ISCHR(st->st_mode) || major(st->st_rdev) != 1 || n >= ARRAY_SIZE(names) || !names[n])
		return -ENOENT;
	err = vfs_open(c, AT_FDCWD, names[n], flags, 0, LOOKUP_FOLLOW, ret);
	if (!err)
		close(host_fd);
	return err;
}

int hostfd_open(struct ctx *c, int host_fd, struct file **ret)
{
	int flags = fcntl(host_fd, F_GETFL);
	struct termios tio;
	struct stat st;

	if (flags < 0 || fstat(host_fd, &st) < 0)
		return -EBADF;
	if ((flags & O_PATH) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))
		return -EINVAL;
	/* O_NONBLOCK may be ours alone (hostfd_reopen()), so the guest's starts without it. */
	flags &= O_ACCMODE | O_APPEND;
	if (hostfd_open_tty && S_ISCHR(st.st_mode) && tcgetattr(host_fd, &tio) == 0)
		return hostfd_open_tty(c, host_fd, ret);
	if (open_memory_device(c, host_fd, &st, flags, ret) == 0)
		return 0;
	return open_plain(c, host_fd, &st, flags, ret);
}

int hostfd_attach(struct file *f, int fd)
{
	struct hostfd *h = hostfd_create(fd);

	if (!h) {
		close(fd);
		return -ENOMEM;
	}
	f->ops = &stream_ops;
	f->priv = h;
	return 0;
}

int hostfd_reopen(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	char name[32];
	struct stat st;
	int r = -1;

	if (flags < 0 || fstat(fd, &st) < 0)
		return -errno;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
		r = open(name, (flags & (O_ACCMODE | O_APPEND)) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (r < 0)
		r = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return r < 0 ? -errno : r;
}
