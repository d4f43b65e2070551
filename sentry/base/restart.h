/*
 * Restart codes: what a handler returns when a wait was interrupted. They never reach a guest; the run loop
 * (sentry/run.c) turns each into a restart of the call or into -EINTR, as Linux's handle_signal() does. Values are
 * Linux's own (include/linux/errno.h there), so that a trace reads the same.
 */
#pragma once

#define ERESTARTSYS 512           /* restart if no handler runs or the handler has SA_RESTART */
#define ERESTARTNOINTR 513        /* always restart */
#define ERESTARTNOHAND 514        /* restart only if no handler runs */
#define ERESTART_RESTARTBLOCK 516 /* restart by restart_syscall(2) if no handler runs (nanosleep, poll, futex) */

static inline int is_restart_code(long r)
{
	return r == -ERESTARTSYS || r == -ERESTARTNOINTR || r == -ERESTARTNOHAND || r == -ERESTART_RESTARTBLOCK;
}
