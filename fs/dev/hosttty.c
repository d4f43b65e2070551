/*
 * The host's terminal in the guest: passed through, not emulated. Reads, writes and termios are the host's on the descriptor that the launcher handed over, so raw mode, echo,
 * flow control and what is typed ahead are as without a sandbox. Its controlling session and its foreground group are the guest's own (fs/dev/tty.c); the keyboard's
 * signals come from the launcher, which is in the foreground group of the host, by hosttty_signal(). docs/terminals.md says why.
 *
 * Two kinds of background: a guest's group that is not in the foreground of the guest, and a whole sandbox that is not in the foreground of the host's shell. The latter shows
 * by a read of no bytes, which is EIO then because the sentry ignores SIGTTIN and SIGTTOU; the guest's group gets the signal, and if it stops the first
 * process, the launcher stops too.
 *
 * VMIN and VTIME are counted here, because the descriptor does not block.
 *
 * Locks: the list of terminals is complete before the first guest runs.
 */
#include "fs/dev/hosttty.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/dev.h"
#include "fs/dev/pty.h"
#include "fs/hostfd.h"
#include "fs/path.h"
#include "sentry/base/slab.h"
#include "sentry/signal.h"

#define CHUNK 4096u
#define K_TCGETS2 0x802c542aul
#define K_TCSETS2 0x402c542bul

struct hosttty {
	struct tty tty; /* first */
	dev_t host_dev; /* which terminal it is on the host */
	ino_t host_ino;
	unsigned index;   /* /dev/pts/INDEX */
	struct hostfd *h; /* for opens of its name; a reference */
	bool read_write;  /* h is */
	struct hosttty *next;
};

/* An open description. */
struct hosttty_open {
	struct hosttty *tty; /* they stay for ever */
	struct hostfd *h;    /* a reference */
};

static struct slab hosttty_slab = SLAB_INIT(struct hosttty);
static struct slab open_slab = SLAB_INIT(struct hosttty_open);
static struct hosttty *all;
static const struct file_ops host_ops;

static struct hosttty_open *of(const struct file *f)
{
	return f->priv;
}

static struct tty *tty_of(const struct file *f)
{
	return &of(f)->tty->tty;
}

static int host_fd(const struct file *f)
{
	return hostfd_fd(of(f)->h);
}

/* ---- termios and background ---- */

static int host_get(void *priv, struct k_termios *ret)
{
	return ioctl(*(int *)priv, K_TCGETS2, ret) < 0 ? -errno : 0;
}

static int host_set(void *priv, const struct k_termios *new, int when)
{
	struct k_termios t = *new;

	return ioctl(*(int *)priv, K_TCSETS2 + (unsigned)when, &t) < 0 ? -errno : 0;
}

static const struct termios_access host_termios = {host_get, host_set};

bool hosttty_background(int fd)
{
	char none;

	return read(fd, &none, 0) < 0 && errno == EIO;
}

/* As tty_check_change(), for both kinds of background. */
static int check_change(struct ctx *c, struct file *f, int signo)
{
	int err = tty_check_change(c, tty_of(f), signo);

	if (!err && hosttty_background(host_fd(f)))
		err = tty_background(c, signo);
	return err;
}

/* ---- reading ---- */

struct read_rule {
	size_t minimum;
	int64_t deadline, gap;
	bool ends_early; /* VMIN 0: no byte is a result too */
};

static struct read_rule read_rule(int fd)
{
	struct read_rule r = {1, TIME_NEVER, 0, false};
	struct k_termios t;
	int64_t time;

	if (host_get(&fd, &t) || (t.lflag & ICANON))
		return r;
	time = (int64_t)t.cc[VTIME] * 100 * NSEC_PER_MSEC;
	if (t.cc[VMIN]) {
		r.minimum = t.cc[VMIN];
		r.gap = time;
	} else {
		r.ends_early = true;
		r.deadline = time ? deadline_after(clock_now(CLOCK_MONOTONIC), time) : 0;
	}
	return r;
}

/* 0: look again, 1: the read is over, -errno. */
static int wait_input(struct ctx *c, struct file *f, const struct read_rule *r)
{
	int err;

	if (r->deadline == 0)
		return 1;
	if (f->flags & O_NONBLOCK) {
		hostfd_rearm(of(f)->h, POLLIN);
		return -EAGAIN;
	}
	err = hostfd_wait(c, of(f)->h, POLLIN, r->deadline);
	return err == -ETIMEDOUT ? 1 : err;
}

static ssize_t read_some(struct ctx *c, struct file *f, char *buf, size_t size)
{
	struct read_rule rule = read_rule(host_fd(f));
	size_t done = 0;
	int stop = 0;

	while (!stop && done < MIN(size, rule.minimum)) {
		ssize_t n = hostfd_read_once(of(f)->h, buf + done, size - done);

		if (n == 0)
			break;
		if (n > 0) {
			done += (size_t)n;
			if (rule.gap)
				rule.deadline = deadline_after(clock_now(CLOCK_MONOTONIC), rule.gap);
		} else if (n == -EAGAIN) {
			stop = wait_input(c, f, &rule);
		} else if (n == -EIO && hosttty_background(host_fd(f))) {
			stop = tty_background(c, SIGTTIN);
		} else {
			stop = n == -EINTR ? -ERESTARTSYS : (int)n;
		}
	}
	return done || stop >= 0 ? (ssize_t)done : stop;
}

static ssize_t host_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	char buf[CHUNK];
	ssize_t n;
	int err = check_change(c, f, SIGTTIN);

	if (err)
		return err;
	n = read_some(c, f, buf, MIN(iobuf_left(b), sizeof(buf)));
	return n > 0 ? iobuf_put(b, buf, (size_t)n) : n;
}

/* ---- writing ---- */

static ssize_t write_chunk(struct ctx *c, struct file *f, const char *buf, size_t size)
{
	size_t done = 0;
	ssize_t n = 0;

	while (done < size) {
		n = hostfd_write_once(of(f)->h, buf + done, size - done);
		if (n >= 0) {
			done += (size_t)n;
			continue;
		}
		if (n != -EAGAIN)
			break;
		if (f->flags & O_NONBLOCK) {
			hostfd_rearm(of(f)->h, POLLOUT);
			break;
		}
		n = hostfd_wait(c, of(f)->h, POLLOUT, TIME_NEVER);
		if (n)
			break;
	}
	return done ? (ssize_t)done : n == -EINTR ? -ERESTARTSYS : n;
}

static int check_tostop(struct ctx *c, struct file *f)
{
	struct k_termios t;
	int fd = host_fd(f);

	if (host_get(&fd, &t) || !(t.lflag & TOSTOP))
		return 0;
	return check_change(c, f, SIGTTOU);
}

static ssize_t host_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	char buf[CHUNK];
	ssize_t done = 0, n = 0;
	int err = check_tostop(c, f);

	if (err)
		return err;
	while (iobuf_left(b)) {
		ssize_t got = iobuf_get(b, buf, sizeof(buf));

		n = got > 0 ? write_chunk(c, f, buf, (size_t)got) : got;
		if (n <= 0)
			break;
		done += n;
		if (n < got)
			break;
	}
	return done ? done : n;
}

static uint32_t host_poll(struct file *f, struct poll_table *p)
{
	return hostfd_poll(of(f)->h, p);
}

/* ---- ioctls ---- */

static long pass_int(struct ctx *c, struct file *f, unsigned long cmd, uint64_t arg)
{
	int n = 0;

	if (ioctl(host_fd(f), cmd, &n) < 0)
		return -errno;
	return copy_out(c, UADDR(arg), &n, sizeof(n));
}

static long get_size(struct ctx *c, struct file *f, uint64_t arg)
{
	struct winsize size;

	if (ioctl(host_fd(f), TIOCGWINSZ, &size) < 0)
		return -errno;
	return copy_out(c, UADDR(arg), &size, sizeof(size));
}

/* The host tells everybody by SIGWINCH, us by the launcher. */
static long set_size(struct ctx *c, struct file *f, uint64_t arg)
{
	struct winsize size;

	if (copy_in(c, &size, UADDR(arg), sizeof(size)))
		return -EFAULT;
	return ioctl(host_fd(f), TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

static long pass_change(struct ctx *c, struct file *f, unsigned long cmd, uint64_t arg)
{
	int err = check_change(c, f, SIGTTOU);

	if (err)
		return err;
	return ioctl(host_fd(f), cmd, arg) < 0 ? -errno : 0;
}

static bool changes_termios(uint32_t cmd)
{
	return (cmd >= TCSETS && cmd <= TCSETSF) || (cmd >= TCSETA && cmd <= TCSETAF) ||
	       (cmd >= K_TCSETS2 && cmd <= K_TCSETS2 + 2);
}

static long host_ioctl(struct ctx *c, struct file *f, uint32_t cmd, uint64_t arg)
{
	int fd = host_fd(f);
	long r;

	switch (cmd) {
	case FIONREAD:
	case TIOCOUTQ:
		return pass_int(c, f, cmd, arg);
	case TIOCGWINSZ:
		return get_size(c, f, arg);
	case TIOCSWINSZ:
		return set_size(c, f, arg);
	case TCFLSH:
	case TCXONC:
	case TCSBRK:
		return pass_change(c, f, cmd, arg);
	}
	if (changes_termios(cmd) && (r = check_change(c, f, SIGTTOU)))
		return r;
	r = tty_termios_ioctl(c, tty_of(f), &host_termios, &fd, cmd, arg);
	if (r == -ENOIOCTLCMD)
		r = tty_ioctl_common(c, f, tty_of(f), true, cmd, arg);
	return r == -ENOIOCTLCMD ? -ENOTTY : r;
}

static void host_release(struct file *f)
{
	hostfd_put(of(f)->h);
	slab_free(&open_slab, f->priv);
}

static const struct file_ops host_ops = {
    .read = host_read,
    .write = host_write,
    .poll = host_poll,
    .ioctl = host_ioctl,
    .release = host_release,
};

/* ---- opening ---- */

static struct hosttty_open *open_create(struct hosttty *t, struct hostfd *h)
{
	struct hosttty_open *o = slab_alloc(&open_slab);

	if (o)
		*o = (struct hosttty_open){t, hostfd_get(h)};
	return o;
}

static int host_reopen(struct ctx *c, struct tty *tty, struct file *f)
{
	struct hosttty *t = container_of(tty, struct hosttty, tty);

	if (!t->read_write && (f->flags & O_ACCMODE) != (fcntl(hostfd_fd(t->h), F_GETFL) & O_ACCMODE))
		return -EACCES;
	f->priv = open_create(t, t->h);
	if (!f->priv)
		return -ENOMEM;
	f->ops = &host_ops;
	tty_acquire(c, tty, f);
	return 0;
}

/* Never the last reference: `all` has one. */
static void host_free(struct tty *tty __unused)
{
}

static const struct tty_ops host_tty_ops = {.open = host_reopen, .free = host_free};

/* /dev/pts/N, or /dev/console: the first of them. */
static int host_open_node(struct ctx *c, struct inode *i, struct file *f)
{
	struct hosttty *t = all;

	while (t && t->tty.dev != i->rdev && major(i->rdev) != 5)
		t = t->next;
	return t ? host_reopen(c, &t->tty, f) : -ENXIO;
}

static struct chrdev console = {
    .major = 5, .first_minor = 1, .last_minor = 1, .ops = &host_ops, .open = host_open_node};

static struct hosttty *find(const struct stat *st)
{
	struct hosttty *t = all;

	while (t && (t->host_dev != st->st_dev || t->host_ino != st->st_ino))
		t = t->next;
	return t;
}

static struct hosttty *create(struct ctx *c, const struct stat *st)
{
	struct hosttty *t = slab_alloc(&hosttty_slab);
	struct hosttty **last = &all;
	int index;

	if (!t)
		return NULL;
	index = pts_add_foreign(c, host_open_node);
	if (index < 0) {
		slab_free(&hosttty_slab, t);
		return NULL;
	}
	t->index = (unsigned)index;
	t->host_dev = st->st_dev;
	t->host_ino = st->st_ino;
	tty_init(&t->tty, &host_tty_ops, makedev(PTS_MAJOR + t->index / 256, t->index % 256));
	while (*last)
		last = &(*last)->next;
	*last = t;
	return t;
}

/* The description that opens of the name share: one that can do both if there is one. */
static void offer(struct hosttty *t, struct hostfd *h, int flags)
{
	if (t->h && (t->read_write || (flags & O_ACCMODE) != O_RDWR))
		return;
	hostfd_put(t->h);
	t->h = hostfd_get(h);
	t->read_write = (flags & O_ACCMODE) == O_RDWR;
	ioctl(hostfd_fd(h), TIOCGWINSZ, &t->tty.size);
}

static int make_file(struct ctx *c, struct hosttty *t, struct hosttty_open *o, int flags, struct file **ret)
{
	PATH_REF p = {NULL, NULL};
	char name[32];
	int err;

	snprintf(name, sizeof(name), "/dev/pts/%u", t->index);
	err = path_lookup(c, AT_FDCWD, name, 0, &p);
	if (err)
		return anon_file_create(c, "tty:", S_IFCHR, &host_ops, o, flags, ret);
	*ret = file_create(&p, &host_ops, flags, c->cred);
	if (!*ret)
		return -ENOMEM;
	(*ret)->priv = o;
	(*ret)->opened = true;
	return 0;
}

static int open_with(struct ctx *c, struct hosttty *t, struct hostfd *h, int flags, struct file **ret)
{
	struct hosttty_open *o = open_create(t, h);
	int err = o ? make_file(c, t, o, flags & (O_ACCMODE | O_APPEND), ret) : -ENOMEM;

	if (err && o) {
		hostfd_put(o->h);
		slab_free(&open_slab, o);
	}
	return err;
}

static int open_tty(struct ctx *c, int fd, struct file **ret)
{
	int flags = fcntl(fd, F_GETFL);
	struct hosttty *t;
	struct hostfd *h;
	struct stat st;
	int err = -ENOMEM;

	if (flags < 0 || fstat(fd, &st) < 0)
		return -EBADF;
	t = find(&st);
	if (!t)
		t = create(c, &st);
	h = t ? hostfd_create(fd) : NULL;
	if (h)
		err = open_with(c, t, h, flags, ret);
	if (!err)
		offer(t, h, flags);
	if (err && h)
		hostfd_forget(h);
	else
		hostfd_put(h);
	return err;
}

void hosttty_attach(struct task *init)
{
	if (all)
		tty_attach_init(init, &all->tty);
}

int hosttty_signal(int signo)
{
	struct winsize size;

	if (!all || !all->h)
		return -ENOTTY;
	if (signo == SIGWINCH) {
		if (ioctl(hostfd_fd(all->h), TIOCGWINSZ, &size) == 0)
			tty_resize(&all->tty, &size);
		return 0;
	}
	if (signo == SIGHUP) {
		tty_disconnect(&all->tty);
		return 0;
	}
	return tty_signal(&all->tty, (uint32_t)SIGBIT(signo)) ? 0 : -ENOTTY;
}

void hosttty_init(void)
{
	/* The terminal's signals reach us as a member of the launcher's job: they are the launcher's to pass on. */
	static const int signals[] = {SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGHUP, SIGWINCH, SIGCONT};

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], SIG_IGN);
	hostfd_open_tty = open_tty;
	chrdev_register(&console);
}
