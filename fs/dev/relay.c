/*
 * --tty: a pseudo-terminal of the sandbox's own between its programs and the host's standard streams, whatever those are: see relay.h.
 *
 * One thread types what comes from standard input at the master side, another writes what comes from there to standard output. The slave side stays open until the
 * end, so that the master is not hung up while no program has it open. The end of standard input is typed as the end-of-file character, once everything before it
 * has been read. If standard output takes no more, the terminal is hung up, as if its window had been closed.
 *
 * The launcher has put the host's terminal into raw mode, if standard input is one. A read from the background of that terminal fails with EIO, because the sentry
 * ignores SIGTTIN: then the launcher is asked to stop, as a program would, and says when it goes on.
 */
#include "fs/dev/relay.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/dev/hosttty.h"
#include "fs/dev/pty.h"
#include "fs/hostfd.h"
#include "fs/path.h"
#include "fs/vfs.h"
#include "sentry/base/cred.h"
#include "sentry/base/log.h"
#include "sentry/signal.h"

#define CHUNK 4096u
#define STACK (256 << 10) /* the line discipline and file code below us */

/* A thread that copies: how it sleeps on either side. */
struct copier {
	struct ctx from, to;
	pthread_t thread;
};

static struct {
	struct relay_spec spec;
	struct file *in, *out; /* NULL: closed */
	struct file *master, *slave;
	struct pty *pty; /* master's */
	struct copier input, output;
} relay;

static void no_raise(struct ctx *c __unused, int signo __unused)
{
}

static void ctx_make(struct ctx *c, const struct ctx *like)
{
	c->raise = no_raise;
	c->cred = cred_get(like->cred);
	c->rlimit_fsize = UINT64_MAX;
	parker_init(&c->parker);
}

static ssize_t read_some(struct ctx *c, struct file *f, char *buf)
{
	struct iobuf b;

	iobuf_init_kernel(&b, buf, CHUNK);
	return file_read(c, f, &b, NULL);
}

static int write_all(struct ctx *c, struct file *f, char *buf, size_t size)
{
	struct iobuf b;

	while (size) {
		ssize_t n;

		iobuf_init_kernel(&b, buf, size);
		n = file_write(c, f, &b, NULL);
		if (n <= 0)
			return n ? (int)n : -EIO;
		buf += n;
		size -= (size_t)n;
	}
	return 0;
}

/* ---- input ---- */

static ssize_t read_input(struct ctx *c, char *buf)
{
	for (;;) {
		ssize_t n = relay.in ? read_some(c, relay.in, buf) : 0;
		int old;

		if (n != -EIO || !hosttty_background(relay.spec.host_fd[0]))
			return n;
		old = park(c, 0); /* an earlier relay_continue() means nothing now */
		relay.spec.background();
		old = park(c, TIME_NEVER);
		(void)old;
	}
}

static bool unread(const struct ldisc *l)
{
	return l->tio.lflag & ICANON ? l->canon != l->tail : l->head != l->tail;
}

/* The character once, and twice behind an unfinished line, whose end it is then. */
static void type_end_of_file(struct ctx *c)
{
	struct pty *p = relay.pty;
	char keys[2];
	size_t n = 1;
	int err = 0;

	pty_lock(p);
	while (!err && (ring_used(&p->flip) || unread(&p->ld)))
		err = wait_on(c, &p->master_wait, &p->tty.lock, L_TTY);
	keys[0] = keys[1] = (char)p->ld.tio.cc[VEOF];
	if ((p->ld.tio.lflag & ICANON) && p->ld.head != p->ld.canon)
		n = 2;
	pty_unlock(p);
	if (keys[0] && write_all(c, relay.master, keys, n))
		log_debug("the end of standard input cannot be typed");
}

static void *input_main(void *arg)
{
	struct copier *me = arg;
	char buf[CHUNK];
	ssize_t n;

	while ((n = read_input(&me->from, buf)) > 0)
		if (write_all(&me->to, relay.master, buf, (size_t)n))
			return NULL;
	type_end_of_file(&me->to);
	return NULL;
}

/* ---- output ---- */

static void *output_main(void *arg)
{
	struct copier *me = arg;
	bool broken = !relay.out;
	char buf[CHUNK];
	ssize_t n;

	while ((n = read_some(&me->from, relay.master, buf)) > 0) {
		if (broken || write_all(&me->to, relay.out, buf, (size_t)n) == 0)
			continue;
		broken = true;
		tty_disconnect(&relay.pty->tty);
	}
	return NULL;
}

/* ---- start ---- */

static int copier_start(struct copier *k, const struct ctx *like, void *(*main)(void *))
{
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	ctx_make(&k->from, like);
	ctx_make(&k->to, like);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	log_thread_mask(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&k->thread, &attr, main, k);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

static int open_stream(struct ctx *c, int fd, struct file **ret)
{
	return fd < 0 ? 0 : hostfd_open(c, fd, ret);
}

/* The size of the first stream that is a terminal. */
static struct winsize host_size(void)
{
	struct winsize size = {.ws_row = 24, .ws_col = 80};

	for (size_t i = 0; i < ARRAY_SIZE(relay.spec.host_fd); i++)
		if (relay.spec.host_fd[i] >= 0 && ioctl(relay.spec.host_fd[i], TIOCGWINSZ, &size) == 0)
			break;
	return size;
}

static void set_modes(struct pty *p, const struct termios *modes)
{
	struct k_termios t = p->ld.tio;

	t.iflag = modes->c_iflag;
	t.oflag = modes->c_oflag;
	t.lflag = modes->c_lflag;
	memcpy(t.cc, modes->c_cc, K_NCCS);
	ldisc_set_termios(&p->ld, &t);
}

static int open_pair(struct ctx *c)
{
	struct winsize size = host_size();
	char name[32];
	int err = vfs_open(c, AT_FDCWD, "/dev/ptmx", O_RDWR | O_NOCTTY, 0, LOOKUP_FOLLOW, &relay.master);

	if (err)
		return err;
	relay.pty = relay.master->priv;
	pty_lock(relay.pty);
	relay.pty->locked = false;
	relay.pty->tty.size = size;
	if (relay.spec.modes)
		set_modes(relay.pty, relay.spec.modes);
	pty_unlock(relay.pty);
	snprintf(name, sizeof(name), "/dev/pts/%u", relay.pty->index);
	return vfs_open(c, AT_FDCWD, name, O_RDWR | O_NOCTTY, 0, 0, &relay.slave);
}

int relay_open(struct ctx *c, const struct relay_spec *s, struct file **ret_slave)
{
	int err;

	relay.spec = *s;
	hostfd_open_tty = NULL; /* the host's terminal is no terminal of the guest's */
	err = open_pair(c);
	if (!err)
		err = open_stream(c, s->host_fd[0], &relay.in);
	if (!err)
		err = open_stream(c, s->host_fd[1], &relay.out);
	if (!err)
		*ret_slave = file_get(relay.slave);
	return err;
}

int relay_start(struct task *init)
{
	int err;

	tty_attach_init(init, &relay.pty->tty);
	err = copier_start(&relay.input, &init->ctx, input_main);
	return err ? err : copier_start(&relay.output, &init->ctx, output_main);
}

int relay_signal(int signo)
{
	struct winsize size = host_size();

	switch (signo) {
	case SIGWINCH:
		tty_resize(&relay.pty->tty, &size);
		return 0;
	case SIGHUP:
		tty_disconnect(&relay.pty->tty);
		return 0;
	}
	return tty_signal(&relay.pty->tty, (uint32_t)SIGBIT(signo)) ? 0 : -ENOTTY;
}

void relay_continue(void)
{
	unpark(&relay.input.from.parker);
}

void relay_finish(void)
{
	ctx_interrupt(&relay.output.from, CTX_KILL); /* ends when there is nothing left to read */
	pthread_join(relay.output.thread, NULL);
}
