/*
 * Signal calls: sigaction(2), sigprocmask(2), kill(2), tgkill(2), sigqueue(3), sigwaitinfo(2), sigsuspend(2), sigaltstack(2). The work is done in sentry/signal.c;
 * here arguments are checked, in Linux's order, and moved.
 *
 * kill(2) finds its target before it looks at the number, so that a wrong number for a process that does not exist is ESRCH, and a thread's id stands for its
 * process. Broadcasts leave out pid 1 and the caller.
 */
#include <limits.h>
#include <string.h>

#include "sentry/pid.h"
#include "sentry/sigimpl.h"
#include "syscalls/syscalls.h"

#define SA_SUPPORTED                                                                                                   \
	((uint64_t)(uint32_t)(SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER |        \
			      SA_RESETHAND) |                                                                          \
	 0x04000000ull /* SA_RESTORER */ | 0x800ull /* SA_EXPOSE_TAGBITS */)
#define SS_AUTODISARM_BIT ((int32_t)(1u << 31))
#define K_MINSIGSTKSZ 2048
/* A siginfo with a code that Linux does not know may use this much. */
#define SIGINFO_KNOWN_SIZE 48

static bool valid_signo(int signo)
{
	return signo >= 1 && signo <= K_NSIG;
}

/* What is ignored from now on is not pending either. */
static void flush_ignored(struct thread_group *tg, int signo) REQUIRES(L_SIGHAND)
{
	uint64_t handler = tg->sighand->action[signo - 1].handler;
	struct task *t;

	if (handler != K_SIG_IGN && !(handler == K_SIG_DFL && sig_in(SIG_IGNORE_MASK, signo)))
		return;
	sigqueue_flush(&tg->pending, SIGBIT(signo));
	list_for_each(t, &tg->tasks, tg_link)
		sigqueue_flush(&t->pending, SIGBIT(signo));
}

static void action_change(struct task *t, int signo, const struct k_sigaction *new, struct k_sigaction *ret_old)
{
	struct sighand *s = t->tg->sighand;

	mutex_lock(&s->lock, L_SIGHAND);
	*ret_old = s->action[signo - 1];
	if (new) {
		s->action[signo - 1] = *new;
		flush_ignored(t->tg, signo);
		signal_recalc(t);
	}
	mutex_unlock(&s->lock, L_SIGHAND);
}

sysret_t sys_rt_sigaction(struct task *t, int signo, uaddr_t act, uaddr_t oact, size_t size)
{
	struct k_sigaction new, old;

	if (size != sizeof(k_sigset_t))
		return -EINVAL;
	if (act.v && copy_in(&t->ctx, &new, act, sizeof(new)))
		return -EFAULT;
	if (!valid_signo(signo) || (act.v && sig_in(SIG_ONLY_MASK, signo)))
		return -EINVAL;
	if (act.v) {
		new.flags &= SA_SUPPORTED;
		new.mask &= ~SIG_ONLY_MASK;
	}
	action_change(t, signo, act.v ? &new : NULL, &old);
	return oact.v && copy_out(&t->ctx, oact, &old, sizeof(old)) ? -EFAULT : 0;
}

static int change_mask(struct task *t, int how, k_sigset_t set)
{
	switch (how) {
	case SIG_BLOCK:
		signal_set_blocked(t, t->blocked | set);
		return 0;
	case SIG_UNBLOCK:
		signal_set_blocked(t, t->blocked & ~set);
		return 0;
	case SIG_SETMASK:
		signal_set_blocked(t, set);
		return 0;
	}
	return -EINVAL;
}

sysret_t sys_rt_sigprocmask(struct task *t, int how, uaddr_t set, uaddr_t oset, size_t size)
{
	k_sigset_t old = t->blocked, new;
	int err;

	if (size != sizeof(new))
		return -EINVAL;
	if (set.v) {
		if (copy_in(&t->ctx, &new, set, sizeof(new)))
			return -EFAULT;
		if ((err = change_mask(t, how, new)))
			return err;
	}
	return oset.v && copy_out(&t->ctx, oset, &old, sizeof(old)) ? -EFAULT : 0;
}

sysret_t sys_rt_sigpending(struct task *t, uaddr_t set, size_t size)
{
	k_sigset_t pending;

	if (size > sizeof(pending))
		return -EINVAL;
	pending = signal_pending_set(t) & t->blocked;
	return copy_out(&t->ctx, set, &pending, size);
}

/* Until a signal that has something to do with the task comes. */
static sysret_t wait_for_signal(struct task *t)
{
	while (park(&t->ctx, TIME_NEVER) == 0)
		;
	return -ERESTARTNOHAND;
}

sysret_t sys_rt_sigsuspend(struct task *t, uaddr_t mask, size_t size)
{
	int err;

	if (size != sizeof(k_sigset_t))
		return -EINVAL;
	if (!mask.v)
		return -EFAULT;
	err = signal_push_mask(t, mask.v, size);
	return err ? err : wait_for_signal(t);
}

sysret_t sys_pause(struct task *t)
{
	return wait_for_signal(t);
}

/* Opens `set` for the time of the wait, so that whoever sends one of it wakes the task; what else is open interrupts it. */
static int sigwait_sleep(struct task *t, k_sigset_t set, int64_t deadline, siginfo_t *ret)
{
	struct sighand *s = t->tg->sighand;
	int err = 0, signo;

	mutex_lock(&s->lock, L_SIGHAND);
	signo = signal_take_locked(t, ~set, ret);
	if (!signo) {
		t->real_blocked = t->blocked;
		t->blocked &= ~set;
		signal_recalc(t);
		mutex_unlock(&s->lock, L_SIGHAND);
		while (!err)
			err = park(&t->ctx, deadline);
		mutex_lock(&s->lock, L_SIGHAND);
		t->blocked = t->real_blocked;
		t->real_blocked = 0;
		signo = signal_take_locked(t, ~set, ret);
	}
	signal_recalc(t);
	mutex_unlock(&s->lock, L_SIGHAND);
	return signo ? signo : err == -ETIMEDOUT ? -EAGAIN : -EINTR;
}

static int copy_in_deadline(struct task *t, uaddr_t timeout, int64_t *ret)
{
	struct timespec ts;

	*ret = TIME_NEVER;
	if (!timeout.v)
		return 0;
	if (copy_in(&t->ctx, &ts, timeout, sizeof(ts)))
		return -EFAULT;
	if (!timespec_valid(&ts))
		return -EINVAL;
	*ret = deadline_after(clock_now(CLOCK_MONOTONIC), timespec_to_ns(&ts));
	return 0;
}

sysret_t sys_rt_sigtimedwait(struct task *t, uaddr_t set, uaddr_t info, uaddr_t timeout, size_t size)
{
	k_sigset_t these;
	int64_t deadline;
	siginfo_t taken;
	int err;

	if (size != sizeof(these))
		return -EINVAL;
	if (copy_in(&t->ctx, &these, set, sizeof(these)))
		return -EFAULT;
	if ((err = copy_in_deadline(t, timeout, &deadline)))
		return err;
	err = sigwait_sleep(t, these & ~SIG_ONLY_MASK, deadline, &taken);
	if (err < 0)
		return err;
	if (taken.si_code == SI_TIMER && signal_timer_taken)
		signal_timer_taken(t, &taken);
	return info.v && copy_out(&t->ctx, info, &taken, sizeof(taken)) ? -EFAULT : err;
}

/* Number and permission; signal 0 asks only. */
static int send_checked(struct task *from, struct thread_group *to, int signo, const siginfo_t *info)
    REQUIRES(L_PIDTREE)
{
	int err;

	if (signo < 0 || signo > K_NSIG)
		return -EINVAL;
	err = signal_permitted(from, to, signo);
	return err || !signo ? err : signal_send_group(to, signo, info);
}

static int kill_process(struct task *t, int32_t pid, int signo, const siginfo_t *info)
{
	struct task *target;
	int err = -ESRCH;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	target = task_find_locked(pid);
	if (target)
		err = send_checked(t, target->tg, signo, info);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return err;
}

static int kill_pgrp(struct task *t, int32_t id, int signo, const siginfo_t *info)
{
	struct thread_group *tg;
	struct pgrp *pg;
	bool sent = false;
	int err = -ESRCH;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	pg = id ? pgrp_find_locked(id) : t->tg->pgrp;
	if (pg)
		list_for_each(tg, &pg->members, pgrp_link) {
			err = send_checked(t, tg, signo, info);
			sent |= !err;
		}
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return sent ? 0 : err;
}

struct broadcast {
	struct task *from;
	const siginfo_t *info;
	int signo, count, err;
};

static bool broadcast_one(struct thread_group *tg, void *arg) NO_TSA
{
	struct broadcast *b = arg;
	int err;

	if (tg->pid <= 1 || tg == b->from->tg)
		return true;
	b->count++;
	err = send_checked(b->from, tg, b->signo, b->info);
	if (err != -EPERM)
		b->err = err;
	return true;
}

static int kill_all(struct task *t, int signo, const siginfo_t *info)
{
	struct broadcast b = {.from = t, .info = info, .signo = signo};

	mutex_lock(&pidtree_lock, L_PIDTREE);
	tg_for_each(broadcast_one, &b);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return b.count ? b.err : -ESRCH;
}

sysret_t sys_kill(struct task *t, int32_t pid, int signo)
{
	siginfo_t info;

	signal_info_user(&info, signo, SI_USER, t);
	if (pid > 0)
		return kill_process(t, pid, signo, &info);
	if (pid == INT_MIN)
		return -ESRCH;
	if (pid == -1)
		return kill_all(t, signo, &info);
	return kill_pgrp(t, -pid, signo, &info);
}

/* tgid 0: any. */
static sysret_t send_thread(struct task *t, int32_t tgid, int32_t tid, int signo, const siginfo_t *info)
{
	struct task *target;
	int err = -ESRCH;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	target = task_find_locked(tid);
	if (target && (!tgid || target->tg->pid == tgid))
		err = signo < 0 || signo > K_NSIG ? -EINVAL : signal_permitted(t, target->tg, signo);
	if (!err && signo && !target->dead)
		err = signal_send_task(target, signo, info);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return err;
}

sysret_t sys_tkill(struct task *t, int32_t tid, int signo)
{
	siginfo_t info;

	if (tid <= 0)
		return -EINVAL;
	signal_info_user(&info, signo, SI_TKILL, t);
	return send_thread(t, 0, tid, signo, &info);
}

sysret_t sys_tgkill(struct task *t, int32_t tgid, int32_t tid, int signo)
{
	siginfo_t info;

	if (tgid <= 0 || tid <= 0)
		return -EINVAL;
	signal_info_user(&info, signo, SI_TKILL, t);
	return send_thread(t, tgid, tid, signo, &info);
}

/* Codes that a known layout goes with may fill the whole structure; others must leave the rest zero. */
static bool layout_known(int code)
{
	return code == SI_KERNEL || (code >= SI_TKILL && code <= 6) || code == SI_ASYNCNL || code == -7;
}

static int copy_in_siginfo(struct task *t, uaddr_t src, int signo, siginfo_t *ret)
{
	const char *bytes = (const char *)ret;

	if (copy_in(&t->ctx, ret, src, sizeof(*ret)))
		return -EFAULT;
	ret->si_signo = signo;
	if (!layout_known(ret->si_code))
		for (size_t i = SIGINFO_KNOWN_SIZE; i < sizeof(*ret); i++)
			if (bytes[i])
				return -E2BIG;
	return 0;
}

/* Nobody may claim that the kernel or kill(2) sent it, but to himself. */
static bool forged(const struct task *t, int32_t pid, const siginfo_t *info)
{
	return (info->si_code >= 0 || info->si_code == SI_TKILL) && t->ctx.tgid != pid;
}

sysret_t sys_rt_sigqueueinfo(struct task *t, int32_t pid, int signo, uaddr_t uinfo)
{
	siginfo_t info;
	int err = copy_in_siginfo(t, uinfo, signo, &info);

	if (err)
		return err;
	return forged(t, pid, &info) ? -EPERM : kill_process(t, pid, signo, &info);
}

sysret_t sys_rt_tgsigqueueinfo(struct task *t, int32_t tgid, int32_t tid, int signo, uaddr_t uinfo)
{
	siginfo_t info;
	int err = copy_in_siginfo(t, uinfo, signo, &info);

	if (err)
		return err;
	if (tgid <= 0 || tid <= 0)
		return -EINVAL;
	if (forged(t, tid, &info))
		return -EPERM;
	return send_thread(t, tgid, tid, signo, &info);
}

sysret_t sys_rt_sigreturn(struct task *t)
{
	t->restart.fn = NULL;
	if (sigframe_return(t)) {
		signal_force_kernel(t, SIGSEGV);
		return 0;
	}
	t->regs_final = true;
	return 0;
}

sysret_t sys_sigaltstack(struct task *t, uaddr_t ss, uaddr_t oss)
{
	uint64_t sp = platform->cpu_regs(t->cpu)->rsp;
	struct k_stack new, old = t->altstack;
	int err;

	old.flags = altstack_flags(t, sp) | (old.flags & SS_AUTODISARM_BIT);
	old.pad = 0;
	if (ss.v) {
		if (copy_in(&t->ctx, &new, ss, sizeof(new)))
			return -EFAULT;
		if ((err = altstack_set(t, &new, sp, K_MINSIGSTKSZ)))
			return err;
	}
	return oss.v && copy_out(&t->ctx, oss, &old, sizeof(old)) ? -EFAULT : 0;
}

sysret_t sys_restart_syscall(struct task *t)
{
	return t->restart.fn ? t->restart.fn(t, &t->restart) : -EINTR;
}
