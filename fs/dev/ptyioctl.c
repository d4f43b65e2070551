/*
 * The ioctls of terminals that need their line discipline: termios in its three sizes (TCGETS, TCGETS2, TCGETA), queues, flow control, and what only pseudo-terminals
 * have. tty_ioctl(4), TIOCPKT(2const). On the master side they speak of the slave, as in Linux, but for what is queued.
 */
#include <asm/ioctls.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#include "fs/dev/pty.h"
#include "fs/path.h"
#include "fs/fdtable.h"
#include "sentry/base/cred.h"
#include "sentry/signal.h"

#define K_TCGETS2 0x802c542au
#define K_TCSETS2 0x402c542bu
#define K_TCSETSW2 0x402c542cu
#define K_TCSETSF2 0x402c542du

/* System V's struct termio. */
struct k_termio {
	uint16_t iflag, oflag, cflag, lflag;
	uint8_t line;
	uint8_t cc[8];
};
_Static_assert(sizeof(struct k_termio) == 18, "ABI");

static struct pty *of(const struct file *f)
{
	return f->priv;
}

/* ---- termios ---- */

static long get_termio(struct ctx *c, const struct k_termios *t, uint64_t arg)
{
	struct k_termio old = {
	    .iflag = (uint16_t)t->iflag,
	    .oflag = (uint16_t)t->oflag,
	    .cflag = (uint16_t)t->cflag,
	    .lflag = (uint16_t)t->lflag,
	    .line = t->line,
	};

	memcpy(old.cc, t->cc, sizeof(old.cc));
	return copy_out(c, UADDR(arg), &old, sizeof(old));
}

static int in_termio(struct ctx *c, struct k_termios *t, uint64_t arg)
{
	struct k_termio old;

	if (copy_in(c, &old, UADDR(arg), sizeof(old)))
		return -EFAULT;
	t->iflag = (t->iflag & 0xffff0000u) | old.iflag;
	t->oflag = (t->oflag & 0xffff0000u) | old.oflag;
	t->cflag = (t->cflag & 0xffff0000u) | old.cflag;
	t->lflag = (t->lflag & 0xffff0000u) | old.lflag;
	t->line = old.line;
	memcpy(t->cc, old.cc, sizeof(old.cc));
	return 0;
}

/* The speed in bits per second of a CBAUD code. */
static uint32_t speed_of(uint32_t cflag)
{
	static const uint32_t low[] = {0,   50,   75,   110,  134,  150,  200,   300,
				       600, 1200, 1800, 2400, 4800, 9600, 19200, 38400};
	static const uint32_t high[] = {57600,   115200,  230400,  460800,  500000,  576000,  921600, 1000000,
					1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000};
	uint32_t n = cflag & 0xf;

	if (!(cflag & CBAUDEX))
		return low[n];
	return n >= 1 && n <= ARRAY_SIZE(high) ? high[n - 1] : 0;
}

static int in_termios(struct ctx *c, struct k_termios *t, uint64_t arg)
{
	if (copy_in(c, t, UADDR(arg), K_TERMIOS_SIZE))
		return -EFAULT;
	t->ispeed = t->ospeed = speed_of(t->cflag);
	return 0;
}

static int in_termios2(struct ctx *c, struct k_termios *t, uint64_t arg)
{
	if (copy_in(c, t, UADDR(arg), sizeof(*t)))
		return -EFAULT;
	if ((t->cflag & CBAUD) != CBAUDEX)
		t->ispeed = t->ospeed = speed_of(t->cflag);
	return 0;
}

enum termios_form { FORM_TERMIO, FORM_TERMIOS, FORM_TERMIOS2 };

static long set_termios(struct ctx *c, struct tty *tty, const struct termios_access *a, void *priv,
			enum termios_form form, int when, uint64_t arg)
{
	static int (*const in[])(struct ctx *, struct k_termios *, uint64_t) = {in_termio, in_termios, in_termios2};
	struct k_termios t;
	int err = tty_check_change(c, tty, SIGTTOU);

	if (!err)
		err = a->get(priv, &t);
	if (!err)
		err = in[form](c, &t, arg);
	return err ? err : a->set(priv, &t, when);
}

long tty_termios_ioctl(struct ctx *c, struct tty *tty, const struct termios_access *a, void *priv, uint32_t cmd,
		       uint64_t arg)
{
	struct k_termios t;
	int err;

	switch (cmd) {
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
		return set_termios(c, tty, a, priv, FORM_TERMIOS, (int)(cmd - TCSETS), arg);
	case TCSETA:
	case TCSETAW:
	case TCSETAF:
		return set_termios(c, tty, a, priv, FORM_TERMIO, (int)(cmd - TCSETA), arg);
	case K_TCSETS2:
	case K_TCSETSW2:
	case K_TCSETSF2:
		return set_termios(c, tty, a, priv, FORM_TERMIOS2, (int)(cmd - K_TCSETS2), arg);
	case TCGETS:
	case K_TCGETS2:
	case TCGETA:
	case TIOCGSOFTCAR:
		err = a->get(priv, &t);
		if (err)
			return err;
		break;
	default:
		return -ENOIOCTLCMD;
	}
	if (cmd == TCGETA)
		return get_termio(c, &t, arg);
	if (cmd == TIOCGSOFTCAR) {
		int on = !!(t.cflag & CLOCAL);

		return copy_out(c, UADDR(arg), &on, sizeof(on));
	}
	return copy_out(c, UADDR(arg), &t, cmd == TCGETS ? K_TERMIOS_SIZE : sizeof(t));
}

static int pty_get_termios(void *priv, struct k_termios *ret)
{
	struct pty *p = priv;

	pty_lock(p);
	*ret = p->ld.tio;
	pty_unlock(p);
	return 0;
}

/* A pseudo-terminal always has 8 bits without parity, and its output needs no time to be sent. */
static int pty_set_termios(void *priv, const struct k_termios *new, int when)
{
	struct pty *p = priv;
	struct k_termios t = *new;

	t.cflag = (t.cflag & ~(uint32_t)(CSIZE | PARENB)) | CS8 | CREAD;
	pty_lock(p);
	if (when == 2)
		ldisc_flush_input(&p->ld);
	ldisc_set_termios(&p->ld, &t);
	pty_unlock(p);
	wake_up_all(&p->slave_wait, 0);
	return 0;
}

static const struct termios_access pty_termios = {pty_get_termios, pty_set_termios};

/* ---- queues and flow ---- */

/* which: TCIFLUSH, TCOFLUSH or TCIOFLUSH, of the side that asks. */
static long flush_queues(struct pty *p, bool master, uint64_t which)
{
	bool in = which == TCIFLUSH || which == TCIOFLUSH, out = which == TCOFLUSH || which == TCIOFLUSH;

	if (!in && !out)
		return -EINVAL;
	pty_lock(p);
	if (master ? out : in) {
		p->flip.tail = p->flip.head;
		ldisc_flush_input(&p->ld);
	}
	if (master ? in : out)
		ldisc_flush_output(&p->ld);
	pty_unlock(p);
	return 0;
}

/* A flow control character to the other side. */
static void send_flow_char(struct pty *p, int slot)
{
	uint8_t ch;

	pty_lock(p);
	ch = p->ld.tio.cc[slot];
	if (ch)
		ring_put(&p->ld.out, ch);
	pty_unlock(p);
}

static long flow(struct pty *p, uint64_t what)
{
	switch (what) {
	case TCOOFF:
	case TCOON:
		pty_lock(p);
		if (what == TCOOFF)
			ldisc_stop(&p->ld);
		else
			ldisc_start(&p->ld);
		pty_unlock(p);
		return 0;
	case TCIOFF:
	case TCION:
		send_flow_char(p, what == TCIOFF ? VSTOP : VSTART);
		return 0;
	}
	return -EINVAL;
}

static long put_count(struct ctx *c, struct pty *p, uint32_t (*count)(const struct pty *p), uint64_t arg)
{
	int n;

	pty_lock(p);
	n = (int)count(p);
	pty_unlock(p);
	return copy_out(c, UADDR(arg), &n, sizeof(n));
}

static uint32_t count_input(const struct pty *p)
{
	return ldisc_count(&p->ld);
}

static uint32_t count_output(const struct pty *p)
{
	return ring_used(&p->ld.out);
}

static uint32_t count_none(const struct pty *p __unused)
{
	return 0;
}

/* ---- the slave ---- */

static long changing(struct ctx *c, struct pty *p, uint32_t cmd, uint64_t arg)
{
	int err = tty_check_change(c, &p->tty, SIGTTOU);

	if (err)
		return err;
	if (cmd == TCFLSH)
		return flush_queues(p, false, arg);
	return cmd == TCXONC ? flow(p, arg) : 0; /* TCSBRK: nothing to wait for */
}

long pty_slave_ioctl(struct ctx *c, struct file *f, uint32_t cmd, uint64_t arg)
{
	struct pty *p = of(f);
	long r;

	if (p->master_closed)
		return cmd == TIOCSPGRP ? -ENOTTY : -EIO;
	switch (cmd) {
	case TCFLSH:
	case TCXONC:
	case TCSBRK:
		return changing(c, p, cmd, arg);
	case FIONREAD:
		return put_count(c, p, count_input, arg);
	case TIOCOUTQ:
		return put_count(c, p, count_none, arg);
	case TIOCVHANGUP:
		return -EPERM;
	}
	r = tty_termios_ioctl(c, &p->tty, &pty_termios, p, cmd, arg);
	if (r == -ENOIOCTLCMD)
		r = tty_ioctl_common(c, f, &p->tty, true, cmd, arg);
	return r == -ENOIOCTLCMD ? -ENOTTY : r;
}

/* ---- the master ---- */

static long get_int(struct ctx *c, uint64_t arg, int value)
{
	return copy_out(c, UADDR(arg), &value, sizeof(value));
}

static long set_lock(struct ctx *c, struct pty *p, uint64_t arg)
{
	int on;

	if (copy_in(c, &on, UADDR(arg), sizeof(on)))
		return -EFAULT;
	pty_lock(p);
	p->locked = on;
	pty_unlock(p);
	return 0;
}

static long set_packet(struct ctx *c, struct pty *p, uint64_t arg)
{
	int on;

	if (copy_in(c, &on, UADDR(arg), sizeof(on)))
		return -EFAULT;
	pty_lock(p);
	if (on && !p->packet)
		p->packet_events = 0;
	p->packet = on;
	pty_unlock(p);
	return 0;
}

static long send_signal(struct pty *p, uint64_t signo)
{
	if (signo != SIGINT && signo != SIGQUIT && signo != SIGTSTP)
		return -EINVAL;
	tty_signal(&p->tty, (uint32_t)SIGBIT(signo));
	return 0;
}

/* The slave, without a look at names that may mean something else in the caller's tree. */
static long open_peer(struct ctx *c, struct pty *p, int flags)
{
	char name[32];
	struct file *f;
	int err;

	if (flags & ~(O_ACCMODE | O_NOCTTY | O_NONBLOCK | O_CLOEXEC | 0100000 /* O_LARGEFILE */))
		return -EINVAL;
	snprintf(name, sizeof(name), "/dev/pts/%u", p->index);
	err = vfs_open(c, AT_FDCWD, name, flags & ~O_CLOEXEC, 0, LOOKUP_FOLLOW, &f);
	return err ? err : fd_install(c, f, flags & O_CLOEXEC);
}

long pty_master_ioctl(struct ctx *c, struct file *f, uint32_t cmd, uint64_t arg)
{
	struct pty *p = of(f);
	long r;

	switch (cmd) {
	case TIOCGPTN:
		return get_int(c, arg, (int)p->index);
	case TIOCSPTLCK:
		return set_lock(c, p, arg);
	case TIOCGPTLCK:
		return get_int(c, arg, p->locked);
	case TIOCPKT:
		return set_packet(c, p, arg);
	case TIOCGPKT:
		return get_int(c, arg, p->packet);
	case TIOCSIG:
		return send_signal(p, arg);
	case TIOCGPTPEER:
		return open_peer(c, p, (int)arg);
	case FIONREAD:
		return put_count(c, p, count_output, arg);
	case TIOCOUTQ:
		return put_count(c, p, count_none, arg);
	case TCFLSH:
		return flush_queues(p, true, arg);
	case TCXONC:
	case TCSBRK:
		return 0;
	}
	r = tty_termios_ioctl(c, &p->tty, &pty_termios, p, cmd, arg);
	if (r == -ENOIOCTLCMD)
		r = tty_ioctl_common(c, f, &p->tty, false, cmd, arg);
	return r == -ENOIOCTLCMD ? -ENOTTY : r;
}
