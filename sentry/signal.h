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
#include "sentry/base/restart.h"
#include "sentry/base/wait.h"

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
	unsigned bucket; /* whose RLIMIT_SIGPENDING it counts against */
	siginfo_t info;
};

struct sigpending {
	struct list queue; /* sigqueue_entry, in order of arrival; a signal may be in `set` only (no memory, SIGKILL) */
	k_sigset_t set;
};

struct sighand {
	struct ref ref;
	struct mutex lock;                 /* L_SIGHAND */
	struct k_sigaction action[K_NSIG]; /* L_SIGHAND */
	struct wait_queue signalfd_wait;   /* woken on every signal sent to a group with these handlers */
};

/* count 1; all actions are default. NULL: no memory. */
struct sighand *sighand_create(void);
struct sighand *sighand_clone(struct sighand *s);
void sighand_put(struct sighand *s);
void sigpending_init(struct sigpending *p);
void sigpending_flush(struct sigpending *p);

/*
 * Sending. info->si_signo 1..64; info NULL: SI_KERNEL. They ignore what is ignored, queue real-time ones (RLIMIT_SIGPENDING: -EAGAIN), wake and kick.
 * Permission is the caller's business. Locks: none of L_SIGHAND or above may be held; L_PIDTREE may. t and tg are kept alive by the caller.
 */
int signal_send_task(struct task *t, int signo, const siginfo_t *info);
int signal_send_group(struct thread_group *tg, int signo, const siginfo_t *info);
int signal_send_pgrp(struct pgrp *pg, int signo, const siginfo_t *info) REQUIRES(L_PIDTREE);
/* The launcher's signals: as signal_send_group(), and a container's init has no immunity. */
int signal_send_forced(struct thread_group *tg, int signo, const siginfo_t *info);
/* A fault of the task's own instruction (or a bad frame): delivered even if blocked or ignored. By the task itself. */
void signal_force(struct task *t, const siginfo_t *info);
void signal_force_kernel(struct task *t, int signo); /* the same with si_code SI_KERNEL */
/* ctx.raise: signo with SI_KERNEL to the calling task. */
void signal_raise(struct ctx *c, int signo);
/*
 * Tells the parent about a child and wakes its wait4. code: CLD_EXITED, CLD_KILLED, CLD_DUMPED (with tg->exit_signal), CLD_STOPPED, CLD_CONTINUED (SIGCHLD);
 * status: si_status, i.e. the exit code or the signal's number. True: the parent ignores its children (SIG_IGN or SA_NOCLDWAIT), so the
 * caller collects a dead one by itself.
 */
bool signal_notify_parent(struct thread_group *tg, int code, int status) REQUIRES(L_PIDTREE);
/* kill(2)'s permission rule. 0 or -EPERM. */
int signal_permitted(struct task *from, struct thread_group *to, int signo) REQUIRES(L_PIDTREE);
/* An siginfo of kill(2) and the like: code SI_USER or SI_TKILL, from t. */
void signal_info_user(siginfo_t *info, int signo, int code, const struct task *t);

/* Something for t to do before it returns to the guest? Recomputes CTX_SIGNAL of t. */
void signal_recalc(struct task *t) REQUIRES(L_SIGHAND);
/*
 * Before a return to the guest, by the run loop, if ctx_interrupts() or `ret` is a restart code: handles stops, takes pending signals, builds frames. With
 * in_syscall (a call whose result is not in the registers yet) it stores `ret`, or restarts the call, before the first frame. False: the task
 * must exit (t->exiting and t->exit_code are set).
 */
bool signal_work(struct task *t, bool in_syscall, sysret_t ret);
/* The next signal of `mask` for sigtimedwait and signalfd: removed and stored; 0 if none. */
int signal_dequeue(struct task *t, k_sigset_t mask, siginfo_t *ret);
/* What is pending for t, private and shared (without regard to the mask), for poll on signalfd. */
k_sigset_t signal_pending_set(struct task *t);
/* The mask that the task comes into the sentry with, and that it goes to its cpu with. By the task itself. */
void sigmask_take(struct task *t);
void sigmask_give(struct task *t);
/* Its cpu is going to be another one. L_SIGHAND held. */
void sigmask_forget(struct task *t);
/* t->blocked is what t's mask is, or is about to be, from now until t has been in the sentry. */
void sigmask_look(struct task *t) REQUIRES(L_SIGHAND);
/* Replaces the calling task's blocked mask (SIGKILL and SIGSTOP stay open). */
void signal_set_blocked(struct task *t, k_sigset_t mask);
/* For sigsuspend, ppoll, pselect, epoll_pwait: `mask` (guest pointer, may be NULL) until the call is over. If the call returns a restart code because of a
 * signal it leaves the mask in place and signal_work() puts the old one back; else the handler calls signal_restore_mask(). -EINVAL: size, -EFAULT. */
int signal_push_mask(struct task *t, uint64_t mask_ptr, size_t size);
void signal_restore_mask(struct task *t);
/* The usual end of such a handler. */
static inline sysret_t signal_pop_mask(struct task *t, sysret_t ret)
{
	if (!is_restart_code(ret))
		signal_restore_mask(t);
	return ret;
}
/* exec: handlers to default, altstack off; a shared sighand is unshared. 0 or -ENOMEM (nothing changed). No other task is in the group. */
int signal_exec(struct task *t);
/* New task of clone, before it is published: empty pending, inherited mask; flags are clone's (CLONE_VM resets the altstack). */
void signal_init_task(struct task *child, const struct task *parent, uint64_t flags);
/* After a task was added to tg->tasks, lock still held: a stop or an exit under way is its own too. */
void signal_join_group(struct task *t) REQUIRES(L_SIGHAND);
/* First thing in task_exit(), t still in tg->tasks: hands pending group signals to others, leaves a stop under way. */
void signal_exit_task(struct task *t);
/* Locks the handlers' lock of a group that is not one's own (exec may replace tg->sighand). */
struct sighand *sighand_lock_tg(struct thread_group *tg) ACQUIRE(L_SIGHAND);
void sighand_unlock(struct sighand *s) RELEASE(L_SIGHAND);
/* A signal that belongs to a POSIX timer was taken from the queue: fills si_overrun, re-arms (sentry/timers.c sets it; no lock held). */
extern void (*signal_timer_taken)(struct task *t, siginfo_t *info);
/* Once, at start: joins fs/fasync.h to us. By task_create_init(). */
void signal_init(void);
/* Names for traces: "SIGINT". */
const char *signal_name(int signo);

/* sentry/jobctl.c */
/* No member's parent is in another process group of the same session: nobody could continue it. */
bool pgrp_orphaned(struct pgrp *pg, const struct thread_group *ignored) REQUIRES(L_PIDTREE);
/* A group dies (already no longer a member that counts): process groups that become orphaned by it and have stopped members get SIGHUP and SIGCONT. */
void signal_exit_orphans(struct thread_group *tg) REQUIRES(L_PIDTREE);
/* init stopped or continued (code CLD_STOPPED, CLD_CONTINUED): the front end lets the launcher do the same. May be NULL. L_PIDTREE is held. */
extern void (*signal_init_hook)(int code, int signo);
/* A session leader exits: the terminal is hung up (fs/dev/tty.c sets it; no lock held). May be NULL. */
extern void (*session_leader_exit)(struct task *t);

/* sentry/sigframe.c: rt frames with XSAVE state as Linux lays them out. false: could not be written (SIGSEGV is forced). */
bool sigframe_setup(struct task *t, int signo, const siginfo_t *info, const struct k_sigaction *sa, k_sigset_t oldmask);
/* rt_sigreturn: restores registers, FP state, mask and altstack. 0 or -EFAULT (SIGSEGV is forced by the caller). */
int sigframe_return(struct task *t);
/* sigaltstack(2): sp is the guest's stack pointer, min_size 2,048. 0, -EPERM, -EINVAL, -ENOMEM. */
int altstack_set(struct task *t, const struct k_stack *ss, uint64_t sp, uint64_t min_size);
/* SS_DISABLE, SS_ONSTACK or 0. */
int altstack_flags(const struct task *t, uint64_t sp);
/* The largest frame: AT_MINSIGSTKSZ. */
size_t sigframe_max_size(void);
