/*
 * Controlling terminals and job control: see tty.h. Follows Linux's drivers/tty/tty_jobctrl.c.
 *
 * The controlling terminal belongs to the session, not to each process: TIOCNOTTY of a process that is not the leader changes nothing for it or others (in Linux that one process
 * loses it).
 *
 * Order: what is decided under L_CTTY (a leaf) is carried out after it: references to the groups concerned are taken, and signals are sent under
 * L_PIDTREE.
 */
#include "fs/dev/tty.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>

#include "fs/dev.h"
#include "fs/dev/pty.h"
#include "sentry/base/cred.h"
#include "sentry/pid.h"
#include "sentry/signal.h"

static struct mutex ctty_lock = MUTEX_INIT;

void tty_init(struct tty *tty, const struct tty_ops *ops, dev_t dev)
{
	ref_init(&tty->ref);
	tty->ops = ops;
	tty->dev = dev;
	mutex_init(&tty->lock);
}

struct tty *tty_get(struct tty *tty)
{
	ref_get(&tty->ref);
	return tty;
}

void tty_put(struct tty *tty)
{
	if (tty && ref_put(&tty->ref))
		tty->ops->free(tty);
}

struct task *tty_task(struct ctx *c)
{
	return c->raise == signal_raise ? ctx_task(c) : NULL;
}

/* ---- references under L_PIDTREE and L_CTTY ---- */

static void put_pgrp(struct pgrp *pg)
{
	if (!pg)
		return;
	mutex_lock(&pidtree_lock, L_PIDTREE);
	pgrp_put(pg);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
}

static struct pgrp *foreground(struct tty *tty)
{
	struct pgrp *pg;

	mutex_lock(&ctty_lock, L_CTTY);
	pg = tty->pgrp ? pgrp_get(tty->pgrp) : NULL;
	mutex_unlock(&ctty_lock, L_CTTY);
	return pg;
}

static void signal_pgrp(struct pgrp *pg, int signo)
{
	int err;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	err = signal_send_pgrp(pg, signo, NULL);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	(void)err;
}

bool tty_signal(struct tty *tty, uint32_t signals)
{
	struct pgrp *pg = signals ? foreground(tty) : NULL;

	if (!pg)
		return false;
	for (; signals; signals &= signals - 1)
		signal_pgrp(pg, __builtin_ctz(signals) + 1);
	put_pgrp(pg);
	return true;
}

struct own_ids {
	struct pgrp *pgrp;       /* a reference */
	struct session *session; /* a reference */
	bool leader;
};

static void own_ids(struct task *t, struct own_ids *ret)
{
	mutex_lock(&pidtree_lock, L_PIDTREE);
	ret->pgrp = pgrp_get(t->tg->pgrp);
	ret->session = session_get(t->tg->pgrp->session);
	ret->leader = ret->session->id == t->tg->pid;
	mutex_unlock(&pidtree_lock, L_PIDTREE);
}

static void own_ids_put(struct own_ids *o)
{
	session_put(o->session);
	put_pgrp(o->pgrp);
}

/* ---- which terminal controls which session ---- */

/* What a link held: its references are put when no lock is held. */
struct unlinked {
	struct tty *tty;
	struct session *session;
	struct pgrp *pgrp;
};

static void unlink_locked(struct tty *tty, struct unlinked *u) REQUIRES(L_CTTY)
{
	*u = (struct unlinked){NULL, tty->session, tty->pgrp};
	if (tty->session && tty->session->tty == tty) {
		u->tty = tty;
		tty->session->tty = NULL;
	}
	tty->session = NULL;
	tty->pgrp = NULL;
}

static void unlinked_put(struct unlinked *u)
{
	put_pgrp(u->pgrp);
	session_put(u->session);
	tty_put(u->tty);
}

static void link_locked(struct tty *tty, const struct own_ids *o) REQUIRES(L_CTTY)
{
	tty->session = session_get(o->session);
	tty->pgrp = pgrp_get(o->pgrp);
	o->session->tty = tty_get(tty);
}

void tty_release_session(struct tty *tty)
{
	struct unlinked u;

	mutex_lock(&ctty_lock, L_CTTY);
	unlink_locked(tty, &u);
	mutex_unlock(&ctty_lock, L_CTTY);
	unlinked_put(&u);
}

void tty_acquire(struct ctx *c, struct tty *tty, const struct file *f)
{
	struct task *t = tty_task(c);
	struct own_ids o;

	if (!t || (f->flags & O_NOCTTY) || (f->flags & O_ACCMODE) == O_WRONLY)
		return;
	own_ids(t, &o);
	mutex_lock(&ctty_lock, L_CTTY);
	if (o.leader && !o.session->tty && !tty->session)
		link_locked(tty, &o);
	mutex_unlock(&ctty_lock, L_CTTY);
	own_ids_put(&o);
}

void tty_attach_init(struct task *init, struct tty *tty)
{
	struct own_ids o;

	own_ids(init, &o);
	mutex_lock(&ctty_lock, L_CTTY);
	if (!o.session->tty && !tty->session)
		link_locked(tty, &o);
	mutex_unlock(&ctty_lock, L_CTTY);
	own_ids_put(&o);
}

static struct tty *session_tty(struct session *s)
{
	struct tty *tty;

	mutex_lock(&ctty_lock, L_CTTY);
	tty = s->tty ? tty_get(s->tty) : NULL;
	mutex_unlock(&ctty_lock, L_CTTY);
	return tty;
}

struct tty *tty_current(struct ctx *c)
{
	struct task *t = tty_task(c);
	struct own_ids o;
	struct tty *tty;

	if (!t)
		return NULL;
	own_ids(t, &o);
	tty = session_tty(o.session);
	own_ids_put(&o);
	return tty;
}

void tty_of_session(struct session *s, dev_t *ret_dev, int32_t *ret_pgrp)
{
	mutex_lock(&ctty_lock, L_CTTY);
	*ret_dev = s->tty ? s->tty->dev : 0;
	*ret_pgrp = s->tty && s->tty->pgrp ? s->tty->pgrp->id : -1;
	mutex_unlock(&ctty_lock, L_CTTY);
}

/* ---- background groups ---- */

static bool ignores(struct task *t, int signo)
{
	struct sighand *s = t->tg->sighand;
	bool ignored;

	mutex_lock(&s->lock, L_SIGHAND);
	ignored = (t->blocked & SIGBIT(signo)) || s->action[signo - 1].handler == (uint64_t)SIG_IGN;
	mutex_unlock(&s->lock, L_SIGHAND);
	return ignored;
}

int tty_background(struct ctx *c, int signo)
{
	struct task *t = tty_task(c);
	int err = -EIO;

	if (!t)
		return 0;
	if (ignores(t, signo))
		return signo == SIGTTIN ? -EIO : 0;
	mutex_lock(&pidtree_lock, L_PIDTREE);
	if (!pgrp_orphaned(t->tg->pgrp, NULL)) {
		err = signal_send_pgrp(t->tg->pgrp, signo, NULL);
		err = -ERESTARTSYS;
	}
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return err;
}

/* In a session that the terminal controls, but not in its foreground group. */
static bool in_background(struct task *t, struct tty *tty)
{
	struct own_ids o;
	bool background;

	own_ids(t, &o);
	mutex_lock(&ctty_lock, L_CTTY);
	background = o.session->tty == tty && tty->pgrp && tty->pgrp != o.pgrp;
	mutex_unlock(&ctty_lock, L_CTTY);
	own_ids_put(&o);
	return background;
}

int tty_check_change(struct ctx *c, struct tty *tty, int signo)
{
	struct task *t = tty_task(c);

	return t && in_background(t, tty) ? tty_background(c, signo) : 0;
}

/* ---- the end of a session ---- */

static void signal_leader(struct session *s)
{
	struct thread_group *leader = tg_find(s->id);
	int err;

	if (!leader)
		return;
	err = signal_send_group(leader, SIGHUP, NULL);
	err |= signal_send_group(leader, SIGCONT, NULL);
	(void)err;
	tg_put(leader);
}

void tty_disconnect(struct tty *tty)
{
	struct unlinked u;

	mutex_lock(&ctty_lock, L_CTTY);
	unlink_locked(tty, &u);
	if (u.session)
		u.session->old_foreground = u.pgrp ? u.pgrp->id : 0;
	mutex_unlock(&ctty_lock, L_CTTY);
	if (u.session)
		signal_leader(u.session);
	unlinked_put(&u);
}

static void signal_old_foreground(int32_t id)
{
	struct pgrp *pg;
	int err = 0;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	pg = id ? pgrp_find_locked(id) : NULL;
	if (pg) {
		err = signal_send_pgrp(pg, SIGHUP, NULL);
		err |= signal_send_pgrp(pg, SIGCONT, NULL);
	}
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	(void)err;
}

/* The leader gives the terminal up, by TIOCNOTTY or because it exits. */
static void leader_leaves(struct session *s, bool exits)
{
	struct tty *tty = session_tty(s);
	struct pgrp *pg = tty ? foreground(tty) : NULL;

	if (!tty && exits)
		signal_old_foreground(s->old_foreground);
	if (pg) {
		signal_pgrp(pg, SIGHUP);
		if (!exits)
			signal_pgrp(pg, SIGCONT);
	}
	put_pgrp(pg);
	if (!tty)
		return;
	if (exits && tty->ops->hangup)
		tty->ops->hangup(tty);
	tty_release_session(tty);
	tty_put(tty);
}

static void leader_exits(struct task *t)
{
	struct own_ids o;

	own_ids(t, &o);
	if (o.leader)
		leader_leaves(o.session, true);
	own_ids_put(&o);
}

/* ---- ioctls ---- */

void tty_resize(struct tty *tty, const struct winsize *size)
{
	bool changed;

	mutex_lock(&tty->lock, L_TTY);
	changed = memcmp(&tty->size, size, sizeof(*size)) != 0;
	tty->size = *size;
	mutex_unlock(&tty->lock, L_TTY);
	if (changed)
		tty_signal(tty, SIGBIT(SIGWINCH));
}

static long set_ctty(struct ctx *c, struct file *f, struct tty *tty, bool steal)
{
	struct task *t = tty_task(c);
	struct unlinked u = {NULL, NULL, NULL};
	struct own_ids o;
	long err = 0;

	if (!t)
		return -EPERM;
	own_ids(t, &o);
	mutex_lock(&ctty_lock, L_CTTY);
	if (o.leader && tty->session == o.session)
		goto out;
	if (!o.leader || o.session->tty || (tty->session && !(steal && cred_capable(c->cred, CAP_SYS_ADMIN))) ||
	    ((f->flags & O_ACCMODE) == O_WRONLY && !cred_capable(c->cred, CAP_SYS_ADMIN))) {
		err = -EPERM;
		goto out;
	}
	unlink_locked(tty, &u);
	link_locked(tty, &o);
out:
	mutex_unlock(&ctty_lock, L_CTTY);
	unlinked_put(&u);
	own_ids_put(&o);
	return err;
}

static bool is_current(struct ctx *c, struct tty *tty)
{
	struct tty *mine = tty_current(c);

	tty_put(mine);
	return mine == tty;
}

static long drop_ctty(struct ctx *c, struct tty *tty)
{
	struct own_ids o;

	if (!is_current(c, tty))
		return -ENOTTY;
	own_ids(tty_task(c), &o);
	if (o.leader)
		leader_leaves(o.session, false);
	own_ids_put(&o);
	return 0;
}

static long get_ids(struct ctx *c, struct tty *tty, bool own, bool session, uint64_t arg)
{
	int32_t id = 0;

	if (own && !is_current(c, tty))
		return -ENOTTY;
	mutex_lock(&ctty_lock, L_CTTY);
	if (session)
		id = tty->session ? tty->session->id : -1;
	else if (tty->pgrp)
		id = tty->pgrp->id;
	mutex_unlock(&ctty_lock, L_CTTY);
	return id < 0 ? -ENOTTY : copy_out(c, UADDR(arg), &id, sizeof(id));
}

/* A group of the caller's own session becomes the foreground. */
static long set_foreground(struct task *t, struct tty *tty, int32_t id)
{
	struct pgrp *pg, *old = NULL;
	long err = 0;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	pg = pgrp_find_locked(id);
	if (!pg || list_empty(&pg->members))
		err = -ESRCH;
	else if (pg->session != t->tg->pgrp->session)
		err = -EPERM;
	if (!err) {
		mutex_lock(&ctty_lock, L_CTTY);
		if (tty->session == pg->session) {
			old = tty->pgrp;
			tty->pgrp = pgrp_get(pg);
		} else {
			err = -ENOTTY;
		}
		mutex_unlock(&ctty_lock, L_CTTY);
	}
	if (old)
		pgrp_put(old);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return err;
}

static long set_pgrp(struct ctx *c, struct tty *tty, uint64_t arg)
{
	int32_t id;
	int err = tty_check_change(c, tty, SIGTTOU);

	if (err)
		return err == -EIO ? -ENOTTY : err;
	if (!is_current(c, tty))
		return -ENOTTY;
	if (copy_in(c, &id, UADDR(arg), sizeof(id)))
		return -EFAULT;
	return id < 0 ? -EINVAL : set_foreground(tty_task(c), tty, id);
}

static long set_exclusive(struct tty *tty, bool on)
{
	mutex_lock(&tty->lock, L_TTY);
	tty->exclusive = on;
	mutex_unlock(&tty->lock, L_TTY);
	return 0;
}

static long get_int(struct ctx *c, uint64_t arg, int value)
{
	return copy_out(c, UADDR(arg), &value, sizeof(value));
}

/* N_TTY is the only discipline. */
static long set_discipline(struct ctx *c, struct tty *tty, uint64_t arg)
{
	int n, err = tty_check_change(c, tty, SIGTTOU);

	if (err)
		return err;
	if (copy_in(c, &n, UADDR(arg), sizeof(n)))
		return -EFAULT;
	return n ? -EINVAL : 0;
}

static long set_size(struct ctx *c, struct tty *tty, uint64_t arg)
{
	struct winsize size;

	if (copy_in(c, &size, UADDR(arg), sizeof(size)))
		return -EFAULT;
	tty_resize(tty, &size);
	return 0;
}

static long get_size(struct ctx *c, struct tty *tty, uint64_t arg)
{
	struct winsize size;

	mutex_lock(&tty->lock, L_TTY);
	size = tty->size;
	mutex_unlock(&tty->lock, L_TTY);
	return copy_out(c, UADDR(arg), &size, sizeof(size));
}

long tty_ioctl_common(struct ctx *c, struct file *f, struct tty *tty, bool own, uint32_t cmd, uint64_t arg)
{
	switch (cmd) {
	case TIOCSCTTY:
		return set_ctty(c, f, tty, arg == 1);
	case TIOCNOTTY:
		return drop_ctty(c, tty);
	case TIOCGPGRP:
		return get_ids(c, tty, own, false, arg);
	case TIOCSPGRP:
		return set_pgrp(c, tty, arg);
	case TIOCGSID:
		return get_ids(c, tty, own, true, arg);
	case TIOCGWINSZ:
		return get_size(c, tty, arg);
	case TIOCSWINSZ:
		return set_size(c, tty, arg);
	case TIOCEXCL:
		return set_exclusive(tty, true);
	case TIOCNXCL:
		return set_exclusive(tty, false);
	case TIOCGEXCL:
		return get_int(c, arg, tty->exclusive);
	case TIOCGETD:
		return get_int(c, arg, 0);
	case TIOCSETD:
		return set_discipline(c, tty, arg);
	case TIOCGDEV:
		return get_int(c, arg, (int)tty->dev);
	case TIOCSTI: /* typing for others: refused as with dev.tty.legacy_tiocsti=0 */
		return -EIO;
	case TIOCSBRK:
	case TIOCCBRK:
	case TCSBRKP:
		return 0;
	}
	return -ENOIOCTLCMD;
}

/* ---- /dev/tty ---- */

static int devtty_open(struct ctx *c, struct inode *i __unused, struct file *f)
{
	struct tty *tty = tty_current(c);
	int err;

	if (!tty)
		return -ENXIO;
	err = tty->ops->open(c, tty, f);
	tty_put(tty);
	return err;
}

static const struct file_ops devtty_ops;
static struct chrdev devtty = {.major = 5, .first_minor = 0, .last_minor = 0, .ops = &devtty_ops, .open = devtty_open};

void tty_devices_init(void)
{
	chrdev_register(&devtty);
	pty_devices_init();
	session_leader_exit = leader_exits;
}
