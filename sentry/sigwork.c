/*
 * What a task does about its signals before it returns to the guest: stops, dies, or enters handlers. Linux's get_signal(), handle_signal() and
 * arch_do_signal_or_restart().
 *
 * All signals that are open get a frame in one go, one upon the other, so that the last one's handler runs first, as natively. A system call that was
 * interrupted is settled before the first frame: the frame then holds either EINTR or the registers that make the call again (rax is
 * the number and rip stands at the instruction). With no handler to run it is always made again; the calls whose arguments would be wrong the second time
 * (nanosleep, poll, futex) go on by restart_syscall(2).
 *
 * No core is ever written, so no status carries the core flag: the same as natively with a core limit of 0.
 */
#include <string.h>
#include <sys/syscall.h>

#include "sentry/backtrace.h"
#include "sentry/sigimpl.h"
#include "sentry/task.h"

#define SYSCALL_INSN_SIZE 2
#define EFLAGS_RF 0x10000ull
#define EFLAGS_DF 0x400ull
#define EFLAGS_TF 0x100ull

struct taken {
	siginfo_t info;
	struct k_sigaction action;
};

static bool die(struct task *t)
{
	t->exit_code = t->tg->exit_code;
	t->exiting = TASK_EXITS_GROUP;
	return false;
}

/* A fault's own signal comes before all others. 0: none. */
static int take_synchronous(struct task *t, siginfo_t *ret) REQUIRES(L_SIGHAND)
{
	k_sigset_t open = t->pending.set & ~t->blocked & SIG_SYNC_MASK;
	struct sigqueue_entry *e;

	if (!open)
		return 0;
	list_for_each(e, &t->pending.queue, link) {
		int signo = e->info.si_signo;

		if (e->info.si_code <= SI_USER || !sig_in(open, signo))
			continue;
		sigqueue_take(&t->pending, signo, ret);
		return signo;
	}
	return 0;
}

static int take_signal(struct task *t, siginfo_t *ret) REQUIRES(L_SIGHAND)
{
	int signo = take_synchronous(t, ret);

	if (!signo)
		signo = signal_take_locked(t, t->blocked, ret);
	if (signo && ret->si_code == SI_TIMER && signal_timer_taken) {
		mutex_unlock(&t->tg->sighand->lock, L_SIGHAND);
		signal_timer_taken(t, ret);
		mutex_lock(&t->tg->sighand->lock, L_SIGHAND);
	}
	return signo;
}

static bool own_pgrp_orphaned(struct task *t) NO_TSA
{
	bool orphaned;

	mutex_unlock(&t->tg->sighand->lock, L_SIGHAND);
	mutex_lock(&pidtree_lock, L_PIDTREE);
	orphaned = pgrp_orphaned(t->tg->pgrp, NULL);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	mutex_lock(&t->tg->sighand->lock, L_SIGHAND);
	return orphaned;
}

/* A stop by the keyboard is for shells' jobs: without a shell that could continue it there is none. */
static void default_stop(struct task *t, int signo) REQUIRES(L_SIGHAND)
{
	unsigned conts = t->tg->cont_count;

	if (signo != SIGSTOP && own_pgrp_orphaned(t))
		return;
	if (conts == t->tg->cont_count && !t->tg->group_exit)
		jobctl_stop_begin(t, signo);
}

static void default_die(struct task *t, int signo) NO_TSA
{
	mutex_unlock(&t->tg->sighand->lock, L_SIGHAND);
	if (sig_in(SIG_DUMP_MASK, signo))
		task_backtrace(t, signo);
	tg_kill(t->tg, signo);
	mutex_lock(&t->tg->sighand->lock, L_SIGHAND);
}

/* True: a handler is to be entered. */
static bool act(struct task *t, int signo, struct taken *ret) REQUIRES(L_SIGHAND)
{
	struct k_sigaction *sa = &t->tg->sighand->action[signo - 1];

	if (sa->handler == K_SIG_IGN)
		return false;
	if (sa->handler != K_SIG_DFL) {
		ret->action = *sa;
		if (sa->flags & SA_RESETHAND)
			sa->handler = K_SIG_DFL;
		return true;
	}
	if (sig_in(SIG_IGNORE_MASK, signo) || (t->tg->unkillable && !sig_in(SIG_ONLY_MASK, signo)))
		return false;
	if (sig_in(SIG_STOP_MASK, signo))
		default_stop(t, signo);
	else
		default_die(t, signo);
	return false;
}

/* The next signal with a handler. False: there is none, or the group dies. */
static bool next_handler(struct task *t, struct taken *ret)
{
	struct thread_group *tg = t->tg;
	bool found = false;

	mutex_lock(&tg->sighand->lock, L_SIGHAND);
	while (!found && !tg->group_exit) {
		int signo;

		if (tg->cld_pending) {
			jobctl_report(tg);
			continue;
		}
		if (t->stop_pending || tg->stopped) {
			jobctl_park(t);
			continue;
		}
		signo = take_signal(t, &ret->info);
		if (!signo)
			break;
		if (t->strace)
			trace_signal(t, &ret->info);
		found = act(t, signo, ret);
	}
	if (!found)
		signal_recalc(t);
	mutex_unlock(&tg->sighand->lock, L_SIGHAND);
	return found;
}

static bool restarts(sysret_t ret, uint64_t sa_flags)
{
	return ret == -ERESTARTNOINTR || (ret == -ERESTARTSYS && (sa_flags & SA_RESTART));
}

/* The call again, as number nr. */
static void rewind_call(struct k_user_regs *regs, uint64_t nr)
{
	regs->rax = nr;
	regs->rip -= SYSCALL_INSN_SIZE;
}

static void settle_for_handler(struct k_user_regs *regs, sysret_t ret, uint64_t sa_flags)
{
	if (!is_restart_code(ret))
		regs->rax = (uint64_t)ret;
	else if (restarts(ret, sa_flags))
		rewind_call(regs, regs->orig_rax);
	else
		regs->rax = (uint64_t)-EINTR;
}

static void settle(struct k_user_regs *regs, sysret_t ret)
{
	if (!is_restart_code(ret))
		regs->rax = (uint64_t)ret;
	else
		rewind_call(regs, ret == -ERESTART_RESTARTBLOCK ? SYS_restart_syscall : regs->orig_rax);
}

static void enter_handler(struct task *t, const struct taken *taken)
{
	struct k_user_regs *regs = platform->cpu_regs(t->cpu);
	int signo = taken->info.si_signo;
	k_sigset_t oldmask = t->restore_blocked ? t->saved_blocked : t->blocked;
	k_sigset_t mask = t->blocked | taken->action.mask;

	if (!sigframe_setup(t, signo, &taken->info, &taken->action, oldmask)) {
		if (signo == SIGSEGV)
			signal_reset_action(t, SIGSEGV);
		signal_force_kernel(t, SIGSEGV);
		return;
	}
	regs->eflags &= ~(EFLAGS_DF | EFLAGS_RF | EFLAGS_TF);
	t->restore_blocked = false;
	if (!(taken->action.flags & SA_NODEFER))
		mask |= SIGBIT(signo);
	signal_set_blocked(t, mask);
}

bool signal_work(struct task *t, bool in_syscall, sysret_t ret)
{
	struct k_user_regs *regs = platform->cpu_regs(t->cpu);
	struct taken taken;

	while (next_handler(t, &taken)) {
		if (in_syscall)
			settle_for_handler(regs, ret, taken.action.flags);
		in_syscall = false;
		enter_handler(t, &taken);
	}
	if (t->tg->group_exit)
		return die(t);
	if (in_syscall)
		settle(regs, ret);
	signal_restore_mask(t);
	return true;
}
