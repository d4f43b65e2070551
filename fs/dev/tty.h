/*
 * Terminals: what pseudo-terminals (fs/dev/pty.c) and the host's terminal (fs/dev/hosttty.c) have in common - being the controlling terminal of a
 * session, foreground and background process groups, hang-ups. tty_ioctl(4), credentials(7), POSIX chapter 11.
 *
 * Which terminal controls which session and which group is in the foreground is under one lock, L_CTTY, and may be asked at any time. A tty's own state is under
 * tty->lock (L_TTY). Signals go to process groups under L_PIDTREE, so never with a tty's lock held.
 */
#pragma once

#include <sys/ioctl.h>

#include "fs/file.h"
#include "sentry/task.h"

struct tty;

struct tty_ops {
	/* /dev/tty was opened: sets f->ops and f->priv. 0 or -errno. */
	int (*open)(struct ctx *c, struct tty *tty, struct file *f);
	/* The session that it controlled is over (its leader exits): a real terminal is hung up; a pseudo-terminal is not. May be NULL. */
	void (*hangup)(struct tty *tty);
	/* The last reference. */
	void (*free)(struct tty *tty);
};

struct tty {
	struct ref ref;
	const struct tty_ops *ops;
	dev_t dev;               /* constant: st_rdev, /proc/PID/stat */
	struct mutex lock;       /* L_TTY */
	struct winsize size;     /* L_TTY */
	bool exclusive;          /* TIOCEXCL; L_TTY */
	struct session *session; /* the one it controls, a reference; L_CTTY */
	struct pgrp *pgrp;       /* foreground, a reference; L_CTTY */
};

void tty_init(struct tty *tty, const struct tty_ops *ops, dev_t dev);
struct tty *tty_get(struct tty *tty);
void tty_put(struct tty *tty);

/* The task behind a ctx; NULL for the front end's own, which is no task. */
struct task *tty_task(struct ctx *c);
/* Makes tty the controlling terminal of the opener's session if it is a leader without one, and nobody else has it; unless f has O_NOCTTY. */
void tty_acquire(struct ctx *c, struct tty *tty, const struct file *f);
/* The calling task's controlling terminal, a reference, or NULL. */
struct tty *tty_current(struct ctx *c);
/* st_rdev of a session's terminal and its foreground group, for /proc/PID/stat: 0 and -1 if there is none. */
void tty_of_session(struct session *s, dev_t *ret_dev, int32_t *ret_pgrp);

/*
 * Job control: may the calling task read (SIGTTIN), or write with TOSTOP or change settings (SIGTTOU)? 0; -ERESTARTSYS: its group got the signal; -EIO.
 * No lock held.
 */
int __must_check tty_check_change(struct ctx *c, struct tty *tty, int signo);
/* What a background group gets: as if tty_check_change() had found it in the background. -ERESTARTSYS, -EIO, or 0: ignored SIGTTOU. */
int tty_background(struct ctx *c, int signo);
/* Signals (bit n-1) to the foreground group, by the terminal. No lock held. False: there is no such group. */
bool tty_signal(struct tty *tty, uint32_t signals);
/* The session loses its terminal: the leader gets SIGHUP and SIGCONT. No lock held. */
void tty_disconnect(struct tty *tty);
/* Nobody has it open any more: it controls nothing. */
void tty_release_session(struct tty *tty);
/* Sets the size; SIGWINCH to the foreground group if it changed. */
void tty_resize(struct tty *tty, const struct winsize *size);
/* Ioctls that do not depend on what kind of terminal it is; `own` is false on the master side. -ENOIOCTLCMD: not one of them. */
long tty_ioctl_common(struct ctx *c, struct file *f, struct tty *tty, bool own, uint32_t cmd, uint64_t arg);
#define ENOIOCTLCMD 515
/* The first task becomes the leader of a session with this controlling terminal: by the front end before task_start(). */
void tty_attach_init(struct task *init, struct tty *tty);

/* Registers /dev/tty, ptmx, pts and console. Once, before the first guest runs. */
void tty_devices_init(void);
