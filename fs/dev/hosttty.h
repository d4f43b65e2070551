/*
 * The host's terminal as a terminal of the guest: see docs/terminals.md. For the front end.
 */
#pragma once

#include "sentry/base/types.h"

struct task;

/* Makes hostfd_open() turn terminals into terminals; by devfs_init(). */
void hosttty_init(void);
/* If one of the standard streams is a terminal it becomes the controlling terminal of the first task's session. Before task_start(). */
void hosttty_attach(struct task *init);
/* Is the whole sandbox in the background of the host's terminal that fd is open on? */
bool hosttty_background(int fd);
/*
 * A signal that the host's terminal sent to the launcher (SIGINT, SIGQUIT, SIGTSTP, SIGWINCH, SIGHUP; si_code SI_KERNEL): goes to the foreground group of the guest. SIGWINCH
 * only if the size has changed since; SIGHUP hangs the terminal up. -ENOTTY: there is no such terminal, or nobody in the foreground; then it is one for the first process.
 */
int hosttty_signal(int signo);
