/* A terminal of the sandbox's own for its standard streams (--tty): see docs/terminals.md. For the front end. */
#pragma once

#include "fs/dev/ldisc.h"
#include "fs/file.h"

struct task;

struct relay_spec {
	int host_fd[3];              /* the host's standard streams, taken over; -1: closed */
	const struct termios *modes; /* what it starts with; NULL: the default */
	void (*background)(void);    /* the launcher is to stop until it is in the foreground of its terminal */
};

/* Makes a pseudo-terminal, with the rights of c. *ret_slave: the file for the program's standard streams. 0 or -errno. Once. */
int __must_check relay_open(struct ctx *c, const struct relay_spec *s, struct file **ret_slave);
/* It becomes the controlling terminal of the first task's session, and copying begins. Before task_start(). 0 or -errno. */
int __must_check relay_start(struct task *init);
/* As hosttty_signal(). */
int relay_signal(int signo);
/* The launcher goes on after a stop. */
void relay_continue(void);
/* All programs have ended: what they have written is copied when this returns. */
void relay_finish(void);
