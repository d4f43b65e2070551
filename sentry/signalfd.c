/*
 * signalfd(2).
 *
 * Reading takes signals of the mask from the reading task and its group, as sigtimedwait(2) does, whoever made the descriptor. Polling looks at the task
 * that polls: poll_table.c.
 *
 * Sleepers wait on the handlers' queue (sighand->signalfd_wait), woken at every signal sent. An epoll interest leaves its entry there, so the
 * description holds a reference to each sighand it was polled with until it is released (Linux takes such entries off by POLLFREE instead).
 */
#include "sentry/signalfd.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "sentry/base/slab.h"
#include "sentry/task.h"

struct polled {
	struct sighand *sighand; /* a reference */
	struct polled *next;
};

struct signalfd {
	struct mutex lock;
	_Atomic k_sigset_t mask;
	struct polled *polled; /* L_FILE */
};

static struct slab signalfd_slab = SLAB_INIT(struct signalfd);
static struct slab polled_slab = SLAB_INIT(struct polled);
static const struct file_ops signalfd_ops;

_Static_assert(sizeof(struct signalfd_siginfo) == 128, "ABI");

/* Keeps s for as long as f lives. False: no memory. */
static bool signalfd_pin(struct signalfd *sf, struct sighand *s)
{
	struct polled *p;

	mutex_lock(&sf->lock, L_FILE);
	for (p = sf->polled; p && p->sighand != s; p = p->next)
		;
	if (!p && (p = slab_alloc(&polled_slab))) {
		ref_get(&s->ref);
		*p = (struct polled){s, sf->polled};
		sf->polled = p;
	}
	mutex_unlock(&sf->lock, L_FILE);
	return p;
}

static uint32_t signalfd_poll(struct file *f, struct poll_table *pt)
{
	struct signalfd *sf = f->priv;
	struct task *t;

	if (!pt || !pt->c)
		return 0;
	t = ctx_task(pt->c);
	if (pt->add && signalfd_pin(sf, t->tg->sighand))
		poll_wait(pt, &t->tg->sighand->signalfd_wait);
	return signal_pending_set(t) & sf->mask ? POLLIN : 0;
}

/* The fields that the kind of signal fills, as Linux's signalfd_copyinfo(). */
static void siginfo_to_signalfd(const siginfo_t *i, struct signalfd_siginfo *s)
{
	memset(s, 0, sizeof(*s));
	s->ssi_signo = (uint32_t)i->si_signo;
	s->ssi_errno = i->si_errno;
	s->ssi_code = i->si_code;
	if (i->si_code == SI_TIMER) {
		s->ssi_tid = (uint32_t)i->si_timerid;
		s->ssi_overrun = (uint32_t)i->si_overrun;
		s->ssi_ptr = (uint64_t)i->si_ptr;
		s->ssi_int = i->si_int;
	} else if (i->si_signo == SIGCHLD && i->si_code > 0) {
		s->ssi_pid = (uint32_t)i->si_pid;
		s->ssi_uid = i->si_uid;
		s->ssi_status = i->si_status;
		s->ssi_utime = (uint64_t)i->si_utime;
		s->ssi_stime = (uint64_t)i->si_stime;
	} else if (i->si_code > 0 && i->si_code < SI_KERNEL && (i->si_signo == SIGIO || i->si_signo >= SIGRTMIN)) {
		s->ssi_band = (uint32_t)i->si_band;
		s->ssi_fd = i->si_fd;
	} else if (i->si_code > 0 && i->si_code < SI_KERNEL) {
		s->ssi_addr = (uint64_t)i->si_addr;
	} else {
		s->ssi_pid = (uint32_t)i->si_pid;
		s->ssi_uid = i->si_uid;
		s->ssi_ptr = (uint64_t)i->si_ptr;
		s->ssi_int = i->si_int;
	}
}

/* The next signal, after waiting for one unless nonblock. Its number or -errno. */
static int signalfd_next(struct task *t, const struct signalfd *sf, bool nonblock, siginfo_t *ret)
{
	struct wait_entry e;
	int signo = signal_dequeue(t, sf->mask, ret);
	int err = 0;

	if (signo || nonblock)
		return signo ? signo : -EAGAIN;
	wait_entry_init_ctx(&e, &t->ctx, 0);
	wait_queue_add(&t->tg->sighand->signalfd_wait, &e);
	while (!(signo = signal_dequeue(t, sf->mask, ret)) && !err)
		err = park(&t->ctx, TIME_NEVER);
	wait_entry_remove(&e);
	return signo ? signo : err;
}

static ssize_t signalfd_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	bool nonblock = f->flags & O_NONBLOCK;
	struct signalfd_siginfo out;
	ssize_t done = 0;
	siginfo_t info;

	if (iobuf_left(b) < sizeof(out))
		return -EINVAL;
	while (iobuf_left(b) >= sizeof(out)) {
		int signo = signalfd_next(ctx_task(c), f->priv, nonblock || done, &info);

		if (signo < 0)
			return done ? done : signo;
		siginfo_to_signalfd(&info, &out);
		if (iobuf_put(b, &out, sizeof(out)) != sizeof(out))
			return done ? done : -EFAULT;
		done += (ssize_t)sizeof(out);
	}
	return done;
}

static void signalfd_release(struct file *f)
{
	struct signalfd *sf = f->priv;
	struct polled *p, *next;

	for (p = sf->polled; p; p = next) {
		next = p->next;
		sighand_put(p->sighand);
		slab_free(&polled_slab, p);
	}
	slab_free(&signalfd_slab, sf);
}

static void signalfd_show_fdinfo(struct file *f, char *buf, size_t size)
{
	struct signalfd *sf = f->priv;

	snprintf(buf, size, "sigmask:\t%016llx\n", (unsigned long long)sf->mask);
}

static const struct file_ops signalfd_ops = {
    .read = signalfd_read,
    .poll = signalfd_poll,
    .release = signalfd_release,
    .show_fdinfo = signalfd_show_fdinfo,
};

static k_sigset_t allowed(k_sigset_t mask)
{
	return mask & ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP));
}

int signalfd_create(struct ctx *c, k_sigset_t mask, int flags, struct file **ret)
{
	struct signalfd *sf = slab_alloc(&signalfd_slab);
	int err;

	if (!sf)
		return -ENOMEM;
	mutex_init(&sf->lock);
	sf->mask = allowed(mask);
	err = anon_file_create(c, "[signalfd]", 0, &signalfd_ops, sf, O_RDWR | (flags & O_NONBLOCK), ret);
	if (err)
		slab_free(&signalfd_slab, sf);
	return err;
}

int signalfd_set_mask(struct file *f, k_sigset_t mask)
{
	struct signalfd *sf = f->priv;
	struct polled *p;

	if (f->ops != &signalfd_ops)
		return -EINVAL;
	sf->mask = allowed(mask);
	/* Something that was pending all along may count now. */
	mutex_lock(&sf->lock, L_FILE);
	for (p = sf->polled; p; p = p->next)
		wake_up_all(&p->sighand->signalfd_wait, 0);
	mutex_unlock(&sf->lock, L_FILE);
	return 0;
}
