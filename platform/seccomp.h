/* The sentry's own system call filter, made from platform/hostcalls.def. */
#pragma once

#include "sentry/base/types.h"

/* What happens at a call that is not in the table. */
enum seccomp_strictness {
	SECCOMP_KILL, /* the sentry is killed by SIGSYS: the rule */
	SECCOMP_LOG,  /* the kernel logs it and goes on: for finding what the table lacks */
	SECCOMP_TRAP, /* SIGSYS with the number in siginfo: for tests */
};

/* Before seccomp_install_sentry(). */
void seccomp_set_strictness(enum seccomp_strictness how);
/* The sandbox's network goes on by sockets of the host: the lines for that count. Before seccomp_install_sentry(). */
void seccomp_allow_network(void);
/* Before seccomp_install_sentry(): the lines for `--net host` too. */
void seccomp_allow_host_sockets(void);
/*
 * Installs the filter in every thread of the process, for good. After platform->init() and before any byte from a guest or
 * an image is looked at. 0 or -errno.
 */
int seccomp_install_sentry(void);
/* Prints the table as docs/security.md has it: one row for each line of hostcalls.def. */
void seccomp_print_table(void);
