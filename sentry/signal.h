/*
 * Signals: sending, blocking, delivery by frames on the guest's stack, job control. signal(7), sigaction(2), sigreturn(2).
 *
 * State: handlers in `sighand` (shared by CLONE_SIGHAND), queues per task and per thread group, all under the group's sighand->lock (L_SIGHAND).
 * CTX_SIGNAL in a task's ctx is set whenever it may have something to do before it returns to the guest: an unblocked pending signal, a group stop, a group
 * exit (with CTX_KILL). It is recomputed by signal_recalc().
 */
#pragma once

#include <signal.h>

#include "platform/platform.h"
#include "sentry/base/list.h"
#include "sentry/base/lock.h"
#include "sentry/base/ref.h"

struct task;
struct thread_group;
struct pgrp;

typedef uint64_t k_sigset_t; /* bit n-1 is signal n */
#define SIGBIT(n) (1ull << ((n)-1))
#define K_NSIG 64

struct k_sigaction {
	uint64_t handler, flags, restorer;
	k_sigset_t mask;
};
_Static_assert(sizeof(struct k_sigaction) == 32, "ABI");

struct k_stack {
	uint64_t sp;
	int32_t flags;
	uint32_t pad;
	uint64_t size;
};
_Static_assert(sizeof(struct k_stack) == 24, "ABI");

/* siginfo_t is the host's, which has the guest's layout: 128 bytes. */
_Static_assert(sizeof(siginfo_t) == 128, "ABI");

struct sigqueue_entry {
	struct list link;
	siginfo_t info;
};

struct sigpending {
	struct list queue; /* sigqueue_entry, in order of arrival */
	k_sigset_t set;
};

struct sighand {
	struct ref ref;
	struct mutex lock; /* L_SIGHAND */
	struct k_sigaction action[K_NSIG]; /* L_SIGHAND */
};

struct sighand *sighand_create(void);
struct sighand *sighand_clone(struct sighand *s);
void sighand_put(struct sighand *s);
void sigpending_init(struct sigpending *p);
void sigpending_flush(struct sigpending *p);

/* Sending. info->si_signo 1..64; info NULL with signo: SI_KERNEL. They ignore what is ignored, queue real-time ones (RLIMIT_SIGPENDING: -EAGAIN), wake and
 * kick. Locks: none of L_SIGHAND or above may be held; L_PIDTREE may. */
int signal_send_task(struct task *t, int signo, const siginfo_t *info);
int signal_send_group(struct thread_group *tg, int signo, const siginfo_t *info);
int signal_send_pgrp(struct pgrp *pg, int signo, const siginfo_t *info) REQUIRES(L_PIDTREE);
/* A fault of the task's own instruction: forced even if blocked or ignored. */
void signal_force(struct task *t, const siginfo_t *info);
/* SIGCHLD (or exit_signal) to the parent of a dead, stopped or continued group. */
void signal_notify_parent(struct thread_group *tg, int code, int status) REQUIRES(L_PIDTREE);
/* kill(2)'s permission rule. 0 or -EPERM. */
int signal_permitted(struct task *from, struct thread_group *to, int signo);

/* Something for t to do before it returns to the guest? Recomputes CTX_SIGNAL of t. */
void signal_recalc(struct task *t) REQUIRES(L_SIGHAND);
/*
 * Before each return to the guest, by the run loop: handles stops, takes pending signals, builds frames, applies restart codes to
 * regs ("syscall result" is in `ret` if in_syscall). False: the task must exit (t->exiting is set).
 */
bool signal_work(struct task *t, bool in_syscall, sysret_t ret);
/* The next signal of `mask` for sigtimedwait and signalfd: removed and stored; 0 if none. */
int signal_dequeue(struct task *t, k_sigset_t mask, siginfo_t *ret);
/* Replaces the blocked mask (SIGKILL and SIGSTOP stay open). */
void signal_set_blocked(struct task *t, k_sigset_t mask);
/* For sigsuspend, ppoll, pselect, epoll_pwait: `mask` (guest pointer, may be NULL) until the call is over; the old one is restored after a handler's frame is
 * built, or by signal_restore_mask(). */
int signal_push_mask(struct task *t, uint64_t mask_ptr, size_t size);
void signal_restore_mask(struct task *t);
/* exec: handlers to default, altstack off; a shared sighand is unshared. 0 or -ENOMEM. */
int signal_exec(struct task *t);
/* New task of clone: empty pending, inherited mask. */
void signal_init_task(struct task *child, const struct task *parent);
/* Names for traces: "SIGINT". */
const char *signal_name(int signo);

/* sentry/sigframe.c: rt frames with XSAVE state as Linux lays them out. false: could not be written (SIGSEGV is forced). */
bool sigframe_setup(struct task *t, int signo, const siginfo_t *info, const struct k_sigaction *sa, k_sigset_t oldmask);
/* rt_sigreturn: restores registers, FP state, mask and altstack. 0 or -EFAULT (SIGSEGV is forced by the caller). */
int sigframe_return(struct task *t);
