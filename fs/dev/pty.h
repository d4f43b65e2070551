/* Pseudo-terminals and the file system that shows them (/dev/pts). pty(7). */
#pragma once

#include "fs/dev/ldisc.h"
#include "fs/dev/tty.h"

#define PTY_MAX 4096u
#define PTY_FLIP 8192u
#define PTS_MAJOR 136

/*
 * A pair. The slave side is the terminal (`tty`, with the line discipline); what a program writes there is drained by the master's readers. References: one by the master's
 * open description, one by each slave's.
 */
struct pty {
	struct tty tty; /* first; its lock guards everything below but `index` */
	unsigned index; /* constant */
	struct ldisc ld;
	struct byte_ring flip; /* written by the master, not yet taken by the line discipline */
	bool locked;           /* TIOCSPTLCK: the slave cannot be opened */
	bool master_closed;    /* for ever */
	bool slave_gone;       /* was open and is not any more */
	unsigned slave_opens;
	bool packet;
	uint32_t packet_events;
	struct wait_queue master_wait, slave_wait;
};

/* fs/dev/pty.c */
/* Bookkeeping after any change, then unlocks: takes typed bytes in, wakes, sends the keyboard's signals. */
void pty_unlock(struct pty *p) RELEASE(L_TTY);
static inline void pty_lock(struct pty *p) ACQUIRE(L_TTY) NO_TSA;
static inline void pty_lock(struct pty *p)
{
	mutex_lock(&p->tty.lock, L_TTY);
}
/* Opens the slave: 0, -EIO (locked, hung up), -EBUSY (TIOCEXCL). Sets f->ops and f->priv. */
int pty_slave_open(struct ctx *c, struct pty *p, struct file *f);
void pty_devices_init(void);

/* fs/dev/ptyioctl.c: the ioctl ops of both sides. */
long pty_slave_ioctl(struct ctx *c, struct file *f, uint32_t cmd, uint64_t arg);
long pty_master_ioctl(struct ctx *c, struct file *f, uint32_t cmd, uint64_t arg);
/* The termios ioctls, for any terminal: get and set work on a copy. set: what TCSETS (0), TCSETSW (1) or TCSETSF (2) asks for. -ENOIOCTLCMD. */
struct termios_access {
	int (*get)(void *priv, struct k_termios *ret);
	int (*set)(void *priv, const struct k_termios *new, int when);
};
long tty_termios_ioctl(struct ctx *c, struct tty *tty, const struct termios_access *a, void *priv, uint32_t cmd,
		       uint64_t arg);

/* fs/dev/devpts.c: the table of pseudo-terminals. */
/* A number and a name for p; they are the opener's. The number, -ENOSPC or -ENOMEM. */
int pts_add(struct ctx *c, struct pty *p);
/* The name /dev/pts/INDEX goes away; the number stays taken until pts_free(). */
void pts_hide(unsigned index);
void pts_free(unsigned index);
/* The pair of that number, a reference; NULL if there is none. */
struct pty *pts_find(unsigned index);
/* A number for another kind of terminal, which stays for ever: its open is `open`. The number or -errno. */
int pts_add_foreign(struct ctx *c, int (*open)(struct ctx *c, struct inode *i, struct file *f));
/* The device of S_IFCHR nodes with the major numbers of pseudo-terminals. */
int pts_open(struct ctx *c, struct inode *i, struct file *f);
/* The superblock of /dev/pts: one for the sandbox; a reference each call, or NULL.  */
struct super *devpts_create(void);
