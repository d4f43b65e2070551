/*
 * Pseudo-terminals: see pty.h. Linux's drivers/tty/pty.c and the reading and writing half of n_tty.c.
 *
 *	master write -> flip -> line discipline -> slave read
 *	slave write  -> line discipline (OPOST) -> ld.out -> master read
 *
 * One lock, the tty's, for both sides. What a step leaves to be done - bytes that fit in now, sleepers to wake, signals of the keyboard - is done by pty_unlock(), the
 * signals after the lock is dropped. Guest memory is copied without the lock, by way of a bounce buffer; what was taken and could not be copied is lost, as natively.
 *
 * When the master closes, the terminal hangs up for ever: slaves read an end of file, everything else is EIO, the session's leader gets SIGHUP and SIGCONT. When the last slave
 * closes, the master reads EIO until a slave is opened again.
 */
#include "fs/dev/pty.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "fs/dev.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"
#include "sentry/signal.h"

#define CHUNK 4096u
#define POLL_HUNG (POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM)

static struct slab pty_slab = SLAB_INIT(struct pty);
static const struct file_ops slave_ops, master_ops;

static struct pty *of(const struct file *f)
{
	return f->priv;
}

/* ---- life ---- */

static void pty_free(struct tty *tty)
{
	struct pty *p = container_of(tty, struct pty, tty);

	pts_free(p->index);
	ldisc_finish(&p->ld);
	kfree(p->flip.data, PTY_FLIP);
	slab_free(&pty_slab, p);
}

static int slave_reopen(struct ctx *c, struct tty *tty, struct file *f)
{
	return pty_slave_open(c, container_of(tty, struct pty, tty), f);
}

static const struct tty_ops pty_tty_ops = {.open = slave_reopen, .free = pty_free};

static void pty_discard(struct pty *p)
{
	ldisc_finish(&p->ld);
	kfree(p->flip.data, PTY_FLIP);
	slab_free(&pty_slab, p);
}

static int pty_create(struct ctx *c, struct pty **ret)
{
	struct pty *p = slab_alloc(&pty_slab);
	int index;

	if (!p)
		return -ENOMEM;
	p->flip = (struct byte_ring){.data = kalloc(PTY_FLIP), .size = PTY_FLIP};
	tty_init(&p->tty, &pty_tty_ops, 0);
	wait_queue_init(&p->master_wait);
	wait_queue_init(&p->slave_wait);
	p->locked = true;
	if (ldisc_init(&p->ld) || !p->flip.data) {
		pty_discard(p);
		return -ENOMEM;
	}
	index = pts_add(c, p);
	if (index < 0) {
		pty_discard(p);
		return index;
	}
	p->index = (unsigned)index;
	p->tty.dev = makedev(PTS_MAJOR + p->index / 256, p->index % 256);
	*ret = p;
	return 0;
}

/* ---- after each change ---- */

static void pump(struct pty *p)
{
	uint8_t buf[256];

	while (ring_used(&p->flip)) {
		struct byte_ring peek = p->flip;
		size_t n = ring_read(&peek, buf, sizeof(buf));
		size_t taken = ldisc_receive(&p->ld, buf, n);

		p->flip.tail += (uint32_t)taken;
		if (taken < n)
			break;
	}
}

static bool master_readable(const struct pty *p)
{
	return ring_used(&p->ld.out) || (p->packet && p->packet_events);
}

void pty_unlock(struct pty *p) NO_TSA
{
	uint32_t signals, slave = 0, master = 0;

	pump(p);
	signals = p->ld.signals;
	p->ld.signals = 0;
	if (p->packet)
		p->packet_events |= p->ld.events;
	p->ld.events = 0;
	if (ldisc_readable(&p->ld, false))
		slave |= POLLIN | POLLRDNORM;
	if (!p->ld.stopped && ring_room(&p->ld.out) > CHUNK)
		slave |= POLLOUT | POLLWRNORM;
	if (master_readable(p))
		master |= POLLIN | POLLRDNORM | POLLPRI;
	if (ring_room(&p->flip))
		master |= POLLOUT | POLLWRNORM;
	mutex_unlock(&p->tty.lock, L_TTY);
	if (slave)
		wake_up_all(&p->slave_wait, slave);
	if (master)
		wake_up_all(&p->master_wait, master);
	tty_signal(&p->tty, signals);
}

/* ---- the slave: reading ---- */

static int64_t vtime_ns(const struct pty *p)
{
	return (int64_t)p->ld.tio.cc[VTIME] * 100 * NSEC_PER_MSEC;
}

/* The four cases of VMIN and VTIME: how many bytes end the read, when it ends without any, and after what silence. */
struct read_rule {
	size_t minimum;
	int64_t deadline; /* TIME_NEVER, 0: at once, or a time */
	int64_t gap;      /* ns between bytes; 0: no limit */
};

static struct read_rule read_rule(const struct pty *p)
{
	struct read_rule r = {1, TIME_NEVER, 0};

	if (p->ld.tio.lflag & ICANON)
		return r;
	if (p->ld.tio.cc[VMIN]) {
		r.minimum = p->ld.tio.cc[VMIN];
		r.gap = vtime_ns(p);
	} else {
		r.deadline = vtime_ns(p) ? deadline_after(clock_now(CLOCK_MONOTONIC), vtime_ns(p)) : 0;
	}
	return r;
}

/* Nothing to read: 0 to look again, 1: the read is over, -errno. */
static int slave_wait_input(struct ctx *c, struct file *f, struct pty *p, int64_t deadline) REQUIRES(L_TTY)
{
	int err;

	if (p->master_closed)
		return 1;
	if (deadline == 0)
		return 1;
	if (f->flags & O_NONBLOCK)
		return -EAGAIN;
	err = wait_on_until(c, &p->slave_wait, &p->tty.lock, L_TTY, deadline);
	return err == -ETIMEDOUT ? 1 : err;
}

static ssize_t slave_read_locked(struct ctx *c, struct file *f, uint8_t *buf, size_t size) REQUIRES(L_TTY)
{
	struct pty *p = of(f);
	struct read_rule rule = read_rule(p);
	size_t done = 0;
	int stop = 0;

	while (done < size && !stop) {
		bool canon = p->ld.tio.lflag & ICANON, eof;

		if (!ldisc_readable(&p->ld, false)) {
			stop = slave_wait_input(c, f, p, rule.deadline);
			continue;
		}
		done += ldisc_read(&p->ld, buf + done, size - done, &eof);
		pump(p);
		if (canon || done >= rule.minimum)
			break;
		if (rule.gap)
			rule.deadline = deadline_after(clock_now(CLOCK_MONOTONIC), rule.gap);
	}
	return done || stop >= 0 ? (ssize_t)done : stop;
}

static ssize_t slave_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	size_t size = MIN(iobuf_left(b), (size_t)CHUNK);
	uint8_t buf[CHUNK];
	ssize_t n;
	int err;

	if (of(f)->master_closed)
		return 0;
	err = tty_check_change(c, &of(f)->tty, SIGTTIN);
	if (err)
		return err;
	pty_lock(of(f));
	n = slave_read_locked(c, f, buf, size);
	pty_unlock(of(f));
	return n > 0 ? iobuf_put(b, buf, (size_t)n) : n;
}

/* ---- the slave: writing ---- */

static ssize_t slave_write_chunk(struct ctx *c, struct file *f, const uint8_t *buf, size_t size)
{
	struct pty *p = of(f);
	size_t done = 0;
	int err = 0;

	pty_lock(p);
	while (done < size && !err) {
		size_t n = p->master_closed ? 0 : ldisc_write(&p->ld, buf + done, size - done);

		done += n;
		if (p->master_closed)
			err = -EIO;
		else if (n == 0 && (f->flags & O_NONBLOCK))
			err = -EAGAIN;
		else if (n == 0) {
			wake_up_all(&p->master_wait, POLLIN);
			err = wait_on(c, &p->slave_wait, &p->tty.lock, L_TTY);
		}
	}
	pty_unlock(p);
	return done ? (ssize_t)done : err;
}

static bool tostop(struct pty *p)
{
	return p->ld.tio.lflag & TOSTOP;
}

static ssize_t slave_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	uint8_t buf[CHUNK];
	ssize_t done = 0, n = 0;
	int err = tostop(of(f)) ? tty_check_change(c, &of(f)->tty, SIGTTOU) : 0;

	if (of(f)->master_closed)
		return -EIO;
	if (err)
		return err;
	while (iobuf_left(b)) {
		ssize_t got = iobuf_get(b, buf, sizeof(buf));

		n = got > 0 ? slave_write_chunk(c, f, buf, (size_t)got) : got;
		if (n <= 0)
			break;
		done += n;
		if (n < got)
			break;
	}
	return done ? done : n;
}

static uint32_t slave_poll(struct file *f, struct poll_table *t)
{
	struct pty *p = of(f);
	uint32_t bits = 0;

	poll_wait(t, &p->slave_wait);
	pty_lock(p);
	if (p->master_closed)
		bits = POLL_HUNG;
	if (ldisc_readable(&p->ld, true))
		bits |= POLLIN | POLLRDNORM;
	if (!p->ld.stopped && ring_room(&p->ld.out) > CHUNK)
		bits |= POLLOUT | POLLWRNORM;
	pty_unlock(p);
	return bits;
}

/* ---- opening and closing ---- */

int pty_slave_open(struct ctx *c, struct pty *p, struct file *f)
{
	int err = 0;

	pty_lock(p);
	if (p->locked || p->master_closed)
		err = -EIO;
	else if (p->tty.exclusive && !cred_capable(c->cred, CAP_SYS_ADMIN))
		err = -EBUSY;
	if (!err) {
		p->slave_opens++;
		p->slave_gone = false;
	}
	pty_unlock(p);
	if (err)
		return err;
	tty_get(&p->tty);
	f->ops = &slave_ops;
	f->priv = p;
	tty_acquire(c, &p->tty, f);
	return 0;
}

static void slave_release(struct file *f)
{
	struct pty *p = of(f);
	bool last;

	pty_lock(p);
	last = --p->slave_opens == 0;
	if (last) {
		p->slave_gone = true;
		p->tty.exclusive = false;
	}
	pty_unlock(p);
	if (last) {
		tty_release_session(&p->tty);
		wake_up_all(&p->master_wait, 0);
	}
	tty_put(&p->tty);
}

static void master_release(struct file *f)
{
	struct pty *p = of(f);

	pts_hide(p->index);
	pty_lock(p);
	p->master_closed = true;
	ldisc_start(&p->ld);
	pty_unlock(p);
	wake_up_all(&p->slave_wait, 0);
	tty_disconnect(&p->tty);
	tty_put(&p->tty);
}

static int ptmx_open(struct ctx *c, struct inode *i __unused, struct file *f)
{
	struct pty *p = NULL;
	int err = pty_create(c, &p);

	if (err)
		return err;
	f->ops = &master_ops;
	f->priv = p;
	return 0;
}

/* ---- the master ---- */

/* One status byte in packet mode, or data; 0: nothing there. */
static size_t master_take(struct pty *p, uint8_t *buf, size_t size)
{
	size_t skip = 0;

	if (p->packet && p->packet_events) {
		buf[0] = (uint8_t)p->packet_events;
		p->packet_events = 0;
		return 1;
	}
	if (!ring_used(&p->ld.out))
		return 0;
	if (p->packet)
		buf[skip++] = TIOCPKT_DATA;
	return skip + ring_read(&p->ld.out, buf + skip, size - skip);
}

static ssize_t master_read_locked(struct ctx *c, struct file *f, uint8_t *buf, size_t size) REQUIRES(L_TTY)
{
	struct pty *p = of(f);
	size_t n;
	int err;

	while ((n = master_take(p, buf, size)) == 0) {
		if (p->slave_gone)
			return -EIO;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_on(c, &p->master_wait, &p->tty.lock, L_TTY);
		if (err)
			return err;
	}
	ldisc_flush_echo(&p->ld);
	return (ssize_t)n;
}

static ssize_t master_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	uint8_t buf[CHUNK];
	ssize_t n;

	pty_lock(of(f));
	n = master_read_locked(c, f, buf, MIN(iobuf_left(b), sizeof(buf)));
	pty_unlock(of(f));
	return n > 0 ? iobuf_put(b, buf, (size_t)n) : n;
}

static ssize_t master_write_chunk(struct ctx *c, struct file *f, const uint8_t *buf, size_t size)
{
	struct pty *p = of(f);
	size_t done = 0;
	int err = 0;

	pty_lock(p);
	while (done < size && !err) {
		size_t n = ring_write(&p->flip, buf + done, size - done);

		done += n;
		if (n == 0 && p->slave_gone)
			err = -EIO;
		else if (n == 0 && (f->flags & O_NONBLOCK))
			err = -EAGAIN;
		else if (n == 0)
			err = wait_on(c, &p->master_wait, &p->tty.lock, L_TTY);
		/* What was typed has its effect, signals included, before the next piece. */
		pty_unlock(p);
		pty_lock(p);
	}
	pty_unlock(p);
	return done ? (ssize_t)done : err;
}

static ssize_t master_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	uint8_t buf[CHUNK];
	ssize_t done = 0, n = 0;

	while (iobuf_left(b)) {
		ssize_t got = iobuf_get(b, buf, sizeof(buf));

		n = got > 0 ? master_write_chunk(c, f, buf, (size_t)got) : got;
		if (n <= 0)
			break;
		done += n;
		if (n < got)
			break;
	}
	return done ? done : n;
}

static uint32_t master_poll(struct file *f, struct poll_table *t)
{
	struct pty *p = of(f);
	uint32_t bits = 0;

	poll_wait(t, &p->master_wait);
	pty_lock(p);
	if (ring_used(&p->ld.out))
		bits |= POLLIN | POLLRDNORM;
	if (p->packet && p->packet_events)
		bits |= POLLPRI | POLLIN | POLLRDNORM;
	if (ring_room(&p->flip))
		bits |= POLLOUT | POLLWRNORM;
	if (p->slave_gone)
		bits |= POLLHUP;
	pty_unlock(p);
	return bits;
}

static const struct file_ops slave_ops = {
    .read = slave_read,
    .write = slave_write,
    .poll = slave_poll,
    .ioctl = pty_slave_ioctl,
    .release = slave_release,
};

static const struct file_ops master_ops = {
    .read = master_read,
    .write = master_write,
    .poll = master_poll,
    .ioctl = pty_master_ioctl,
    .release = master_release,
};

static struct chrdev ptmx = {.major = 5, .first_minor = 2, .last_minor = 2, .ops = &master_ops, .open = ptmx_open};
static struct chrdev pts[PTY_MAX / 256];

void pty_devices_init(void)
{
	chrdev_register(&ptmx);
	for (unsigned i = 0; i < ARRAY_SIZE(pts); i++) {
		pts[i] =
		    (struct chrdev){.major = PTS_MAJOR + i, .last_minor = 255, .ops = &slave_ops, .open = pts_open};
		chrdev_register(&pts[i]);
	}
}
