/* Shared by sentry/signal.c, sigqueue.c, sigwork.c and jobctl.c only. */
#pragma once

#include "sentry/signal.h"

/* Signals below it are not queued twice. */
#define K_SIGRTMIN 32

#define SIG_SYNC_MASK                                                                                                  \
	(SIGBIT(SIGSEGV) | SIGBIT(SIGBUS) | SIGBIT(SIGILL) | SIGBIT(SIGTRAP) | SIGBIT(SIGFPE) | SIGBIT(SIGSYS))
#define SIG_STOP_MASK (SIGBIT(SIGSTOP) | SIGBIT(SIGTSTP) | SIGBIT(SIGTTIN) | SIGBIT(SIGTTOU))
#define SIG_IGNORE_MASK (SIGBIT(SIGCONT) | SIGBIT(SIGCHLD) | SIGBIT(SIGWINCH) | SIGBIT(SIGURG))
#define SIG_ONLY_MASK (SIGBIT(SIGKILL) | SIGBIT(SIGSTOP))
#define SIG_DUMP_MASK                                                                                                  \
	(SIGBIT(SIGQUIT) | SIGBIT(SIGILL) | SIGBIT(SIGTRAP) | SIGBIT(SIGABRT) | SIGBIT(SIGFPE) | SIGBIT(SIGSEGV) |     \
	 SIGBIT(SIGBUS) | SIGBIT(SIGSYS) | SIGBIT(SIGXCPU) | SIGBIT(SIGXFSZ))

#define K_SIG_DFL 0ull
#define K_SIG_IGN 1ull

static inline bool sig_in(k_sigset_t set, int signo)
{
	return set & SIGBIT(signo);
}

/* sigqueue.c */
/* Appends. override: no limit applies. -EAGAIN: over the limit or no memory (nothing was done). */
int sigqueue_add(struct sigpending *p, struct task *limited, const siginfo_t *info, bool override) REQUIRES(L_SIGHAND);
/* Removes the first signo (which is in p->set). If it has no entry *ret says SI_USER and nobody. */
void sigqueue_take(struct sigpending *p, int signo, siginfo_t *ret) REQUIRES(L_SIGHAND);
/* Forgets all signals of `mask`. */
void sigqueue_flush(struct sigpending *p, k_sigset_t mask) REQUIRES(L_SIGHAND);
/* The signal to take first: synchronous ones before others, then the lowest. 0: none. */
int sigset_first(k_sigset_t set);

/* signal.c */
/* Makes t look at its signals soon. */
void signal_wake(struct task *t) REQUIRES(L_SIGHAND);
/* Next signal for t outside of `blocked`, removed; 0: none. */
int signal_take_locked(struct task *t, k_sigset_t blocked, siginfo_t *ret) REQUIRES(L_SIGHAND);
/* The handler of signo becomes the default. */
void signal_reset_action(struct task *t, int signo);
/* Hands group signals of `set` that t no longer takes to other tasks. */
void signal_retarget(struct task *t, k_sigset_t set) REQUIRES(L_SIGHAND);

/* jobctl.c; they drop and take the group's lock again. */
/* Starts a group stop: marks every task and wakes it. */
void jobctl_stop_begin(struct task *t, int signo) REQUIRES(L_SIGHAND);
/* The calling task parks until the stop is over or the group is killed. */
void jobctl_park(struct task *t) REQUIRES(L_SIGHAND);
/* A SIGCONT was sent: ends a stop, complete or not. */
void jobctl_continue(struct thread_group *tg) REQUIRES(L_SIGHAND);
/* One task less to wait for. The CLD_STOPPED to report afterwards, or 0. */
int jobctl_leave(struct task *t) REQUIRES(L_SIGHAND);
/* Reports cld_pending. */
void jobctl_report(struct thread_group *tg) REQUIRES(L_SIGHAND);
