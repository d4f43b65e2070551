/*
 * Signal-driven input and output: F_SETOWN, F_SETSIG, O_ASYNC. fcntl(2). The owner is kept per open description; a stream whose state changes
 * calls fasync_notify() with its list of descriptions that have O_ASYNC set.
 */
#pragma once

#include "fs/file.h"

struct fasync {
	struct list link;   /* in the stream's list; that stream's lock */
	struct file *file;  /* borrowed: freed with it */
	struct mutex lock;  /* L_TASK class: the fields below */
	int type;           /* F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP */
	int32_t owner;      /* 0: nobody */
	int signo;          /* F_SETSIG; 0: SIGIO without siginfo */
	uint32_t uid, euid; /* of who set the owner: the right to signal */
	int fd;             /* what siginfo's si_fd says */
};

/*
 * Sends signo to the owner as kill(2) would with those credentials; band: POLL* bits for si_band, code: POLL_IN... for si_code (0: SI_KERNEL
 * without data). Set once by sentry/signal.c. Called with L_FILE or L_SOCK held at most.
 */
struct fasync_signal {
	int type;
	int32_t owner;
	int signo;
	uint32_t uid, euid;
	int code;
	uint32_t band;
	int fd;
};
extern void (*fasync_send)(const struct fasync_signal *s);

/* F_SETOWN, F_GETOWN, F_SETOWN_EX, F_GETOWN_EX, F_SETSIG, F_GETSIG and FIOSETOWN's plain form by F_SETOWN. -EINVAL if cmd is none of them. */
long fasync_fcntl(struct ctx *c, struct file *f, int cmd, uint64_t arg);
/* For set_flags ops, with the stream's lock held: enters f into or takes it out of list as (flags & O_ASYNC) says. -ENOMEM. */
int __must_check fasync_set(struct file *f, struct list *list, int flags);
/* For release ops, with the stream's lock held. */
void fasync_remove(struct file *f);
/* With the stream's lock held. band: POLLIN, POLLOUT, POLLHUP, POLLERR... */
void fasync_notify(struct list *list, uint32_t band);
/* By file_put() after the release op. */
void fasync_free(struct file *f);
