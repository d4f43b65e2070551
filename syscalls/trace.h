/* System calls and signals printed in the manner of strace(1): --strace. */
#pragma once

#include <signal.h>

#include "sentry/base/types.h"

struct task;

/* Traces every task made from now on, to fd (which stays the caller's). Before the first task. */
void trace_init(int fd);
/* syscall_dispatch() with a line about it. */
sysret_t trace_syscall(struct task *t, uint32_t nr, const uint64_t args[6]);
void trace_signal(struct task *t, const siginfo_t *info);
