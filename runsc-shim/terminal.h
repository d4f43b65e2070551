/* The terminal that the sandbox was started from, as the launcher sees it: see docs/terminals.md. */
#pragma once

#include "runsc-shim/spec.h"

struct terminal {
	int fd;   /* -1: there is none */
	bool raw; /* --tty: each key is the sandbox's own terminal's to look at */
	struct termios start;
};

/* Remembers how the terminal is, and tells *s. --tty: that on standard input; else that on any standard stream. */
void terminal_open(struct terminal *t, struct spec *s);
/* Whether we are in its foreground, as far as job control has a say. */
bool terminal_is_ours(const struct terminal *t);
/* Stops the launcher with a signal that it blocks. */
void stop_by(int signo);
/* Gives it to the sandbox: at the start and after a stop. */
void terminal_enter(struct terminal *t);
/* For a stop. */
void terminal_leave(const struct terminal *t);
/* The sandbox has ended, in whatever way: a terminal that has been left raw is as it was at the start. */
void terminal_close(struct terminal *t);
