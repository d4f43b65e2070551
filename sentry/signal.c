/*
 * Sending signals, masks and handlers: see signal.h. signal(7).
 *
 * A signal goes through prepare (SIGCONT ends stops, stop signals cancel SIGCONT; what is ignored is dropped), is queued (a standard signal once, real-time ones
 * each time), and then a task is chosen to take it: the one it was sent to, or for a group its first task that does not block it. Only that one is
 * woken. A signal that kills anyway ends the group at once, so that a task in a sleep that only a kill ends does not hold it up.
 *
 * Locks: all state is under the group's sighand->lock. A task's own calls use t->tg->sighand directly: only exec replaces it, by the
 * group's only task. Others take the pointer under tg->lock and look again once they have the lock (sighand_lock_tg()).
 *
 * Not as Linux: signals without a handler reach pid 1, so that a program started as pid 1 behaves as it does without a sandbox, unless its
 * group is marked `unkillable` (a container's init).
 */
#include "sentry/signal.h"

#include <linux/capability.h>
#include <sched.h>
#include <string.h>

#include "sentry/base/cred.h"
#include "sentry/base/slab.h"
#include "sentry/sigimpl.h"
#include "sentry/task.h"

static struct slab sighand_slab = SLAB_INIT(struct sighand);

void (*signal_timer_taken)(struct task *t, siginfo_t *info);

struct sighand *sighand_create(void)
{
	struct sighand *s = slab_alloc(&sighand_slab);

	if (!s)
		return NULL;
	ref_init(&s->ref);
	mutex_init(&s->lock);
	wait_queue_init(&s->signalfd_wait);
	return s;
}

struct sighand *sighand_clone(struct sighand *s)
{
	struct sighand *copy = sighand_create();

	if (!copy)
		return NULL;
	mutex_lock(&s->lock, L_SIGHAND);
	memcpy(copy->action, s->action, sizeof(copy->action));
	mutex_unlock(&s->lock, L_SIGHAND);
	return copy;
}

void sighand_put(struct sighand *s)
{
	if (s && ref_put(&s->ref))
		slab_free(&sighand_slab, s);
}

static struct sighand *sighand_get_tg(struct thread_group *tg)
{
	struct sighand *s;

	mutex_lock(&tg->lock, L_TASK);
	s = tg->sighand;
	ref_get(&s->ref);
	mutex_unlock(&tg->lock, L_TASK);
	return s;
}

/* The reference taken here is given back at once: a locked sighand that is still the group's own is kept by the group. */
struct sighand *sighand_lock_tg(struct thread_group *tg) NO_TSA
{
	for (;;) {
		struct sighand *s = sighand_get_tg(tg);
		bool same;

		mutex_lock(&s->lock, L_SIGHAND);
		same = __atomic_load_n(&tg->sighand, __ATOMIC_ACQUIRE) == s;
		if (!same)
			mutex_unlock(&s->lock, L_SIGHAND);
		sighand_put(s);
		if (same)
			return s;
	}
}

void sighand_unlock(struct sighand *s) NO_TSA
{
	mutex_unlock(&s->lock, L_SIGHAND);
}

void signal_wake(struct task *t)
{
	ctx_interrupt(&t->ctx, CTX_SIGNAL);
	if (__atomic_load_n((bool *)&t->in_guest, __ATOMIC_SEQ_CST) && t->cpu)
		platform->cpu_kick(t->cpu);
}

static bool has_work(const struct task *t)
{
	const struct thread_group *tg = t->tg;

	return tg->group_exit || t->stop_pending || tg->stopped || tg->cld_pending ||
	       ((t->pending.set | tg->pending.set) & ~t->blocked);
}

void signal_recalc(struct task *t)
{
	if (has_work(t))
		ctx_interrupt(&t->ctx, CTX_SIGNAL);
	else
		ctx_interrupt_clear(&t->ctx, CTX_SIGNAL);
}

/* Blocked signals are never ignored: the handler may change before they are open again. */
static bool is_ignored(const struct task *t, int signo, bool force)
{
	uint64_t handler = t->tg->sighand->action[signo - 1].handler;

	if (sig_in(t->blocked | t->real_blocked, signo))
		return false;
	if (handler != K_SIG_DFL)
		return handler == K_SIG_IGN;
	return sig_in(SIG_IGNORE_MASK, signo) || (t->tg->unkillable && !force);
}

static void flush_group(struct thread_group *tg, k_sigset_t mask) REQUIRES(L_SIGHAND)
{
	struct task *t;

	sigqueue_flush(&tg->pending, mask);
	list_for_each(t, &tg->tasks, tg_link)
		sigqueue_flush(&t->pending, mask);
}

/* False: the signal is dropped. */
static bool prepare(struct task *t, int signo, bool force) REQUIRES(L_SIGHAND)
{
	struct thread_group *tg = t->tg;

	if (tg->group_exit)
		return false;
	if (sig_in(SIG_STOP_MASK, signo)) {
		flush_group(tg, SIGBIT(SIGCONT));
	} else if (signo == SIGCONT) {
		flush_group(tg, SIG_STOP_MASK);
		jobctl_continue(tg);
	}
	return !is_ignored(t, signo, force);
}

static bool wants(const struct task *t, int signo)
{
	if (sig_in(t->blocked, signo))
		return false;
	return signo == SIGKILL || (!t->stop_waiting && t->exiting == TASK_RUNS);
}

/* A task of the group that takes signo; one with nothing else to do if there is one. */
static struct task *choose(struct thread_group *tg, int signo)
{
	struct task *t, *busy = NULL;

	list_for_each(t, &tg->tasks, tg_link) {
		if (!wants(t, signo))
			continue;
		if (!(ctx_interrupts(&t->ctx) & CTX_SIGNAL))
			return t;
		busy = busy ? busy : t;
	}
	return busy;
}

/* Would end the group whatever its tasks do, and needs no look at who took it. */
static bool is_deadly(const struct task *t, int signo)
{
	if (t->tg->sighand->action[signo - 1].handler != K_SIG_DFL || sig_in(t->real_blocked, signo))
		return false;
	return !sig_in(SIG_IGNORE_MASK | SIG_STOP_MASK | SIG_DUMP_MASK, signo);
}

enum send_result { SEND_DONE, SEND_KILL };

static enum send_result wake_taker(struct task *t, bool group, int signo) REQUIRES(L_SIGHAND)
{
	if (group && !wants(t, signo))
		t = choose(t->tg, signo);
	else if (!group && !wants(t, signo))
		t = NULL;
	if (!t)
		return SEND_DONE;
	if (is_deadly(t, signo))
		return SEND_KILL;
	signal_wake(t);
	return SEND_DONE;
}

static int enqueue(struct task *t, bool group, int signo, const siginfo_t *info) REQUIRES(L_SIGHAND)
{
	struct sigpending *p = group ? &t->tg->pending : &t->pending;
	bool override = signo < K_SIGRTMIN && info->si_code >= 0;

	if (signo < K_SIGRTMIN && sig_in(p->set, signo))
		return -EEXIST;
	if (signo != SIGKILL && sigqueue_add(p, t, info, override)) {
		if (signo >= K_SIGRTMIN && info->si_code != SI_USER)
			return -EAGAIN;
	}
	p->set |= SIGBIT(signo);
	return 0;
}

/* SEND_DONE, SEND_KILL or -EAGAIN. */
static int send_locked(struct task *t, bool group, const siginfo_t *info, bool force) REQUIRES(L_SIGHAND)
{
	int signo = info->si_signo;
	struct task *each;
	int err;

	list_for_each(each, &t->tg->tasks, tg_link)
		sigmask_look(each);
	if (!prepare(t, signo, force))
		return SEND_DONE;
	err = enqueue(t, group, signo, info);
	if (err)
		return err == -EEXIST ? SEND_DONE : err;
	if (force && t->tg->unkillable && t->tg->sighand->action[signo - 1].handler == K_SIG_DFL)
		t->tg->unkillable = false;
	wake_up_all(&t->tg->sighand->signalfd_wait, 0);
	return wake_taker(t, group, signo);
}

static siginfo_t info_kernel(int signo)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = signo;
	info.si_code = SI_KERNEL;
	return info;
}

static int finish(struct thread_group *tg, int result, int signo)
{
	if (result == SEND_KILL)
		tg_kill(tg, signo);
	return result < 0 ? result : 0;
}

int signal_send_task(struct task *t, int signo, const siginfo_t *info)
{
	siginfo_t kernel = info_kernel(signo);
	struct sighand *s = sighand_lock_tg(t->tg);
	int result = send_locked(t, false, info ? info : &kernel, !info);

	sighand_unlock(s);
	return finish(t->tg, result, signo);
}

/* A group without live tasks (a zombie) takes nothing. */
static int send_group(struct thread_group *tg, int signo, const siginfo_t *info, bool force)
{
	siginfo_t kernel = info_kernel(signo);
	struct sighand *s = sighand_lock_tg(tg);
	struct task *first = list_first(&tg->tasks, struct task, tg_link);
	int result = first ? send_locked(first, true, info ? info : &kernel, force) : SEND_DONE;

	sighand_unlock(s);
	return finish(tg, result, signo);
}

int signal_send_group(struct thread_group *tg, int signo, const siginfo_t *info)
{
	return send_group(tg, signo, info, !info);
}

int signal_send_forced(struct thread_group *tg, int signo, const siginfo_t *info)
{
	return send_group(tg, signo, info, true);
}

int signal_send_pgrp(struct pgrp *pg, int signo, const siginfo_t *info)
{
	struct thread_group *tg;
	int err = -ESRCH;

	list_for_each(tg, &pg->members, pgrp_link) {
		int r = signal_send_group(tg, signo, info);

		if (err)
			err = r;
	}
	return err;
}

void signal_force(struct task *t, const siginfo_t *info)
{
	struct sighand *s = t->tg->sighand;
	int signo = info->si_signo;
	struct k_sigaction *sa = &s->action[signo - 1];
	int result;

	mutex_lock(&s->lock, L_SIGHAND);
	if (sig_in(t->blocked, signo) || sa->handler == K_SIG_IGN) {
		sa->handler = K_SIG_DFL;
		t->blocked &= ~SIGBIT(signo);
	}
	if (sa->handler == K_SIG_DFL)
		t->tg->unkillable = false;
	result = send_locked(t, false, info, true);
	signal_recalc(t);
	mutex_unlock(&s->lock, L_SIGHAND);
	finish(t->tg, result, signo);
}

void signal_reset_action(struct task *t, int signo)
{
	struct sighand *s = t->tg->sighand;

	mutex_lock(&s->lock, L_SIGHAND);
	s->action[signo - 1].handler = K_SIG_DFL;
	mutex_unlock(&s->lock, L_SIGHAND);
}

void signal_force_kernel(struct task *t, int signo)
{
	siginfo_t info = info_kernel(signo);

	signal_force(t, &info);
}

void signal_raise(struct ctx *c, int signo)
{
	struct task *t = ctx_task(c);
	int err = signal_send_task(t, signo, NULL);

	(void)err;
}

void signal_info_user(siginfo_t *info, int signo, int code, const struct task *t)
{
	memset(info, 0, sizeof(*info));
	info->si_signo = signo;
	info->si_code = code;
	info->si_pid = t->tg->pid;
	info->si_uid = t->ctx.cred->uid;
}

int signal_permitted(struct task *from, struct thread_group *to, int signo)
{
	const struct cred *me = from->ctx.cred;
	const struct cred *target;
	bool ok;

	if (from->tg == to || cred_capable(me, CAP_KILL))
		return 0;
	if (signo == SIGCONT && from->tg->pgrp->session == to->pgrp->session)
		return 0;
	target = to->leader ? task_get_cred(to->leader) : NULL;
	if (!target)
		return 0;
	ok = me->euid == target->suid || me->euid == target->uid || me->uid == target->suid || me->uid == target->uid;
	cred_put(target);
	return ok ? 0 : -EPERM;
}

void signal_retarget(struct task *t, k_sigset_t set)
{
	struct thread_group *tg = t->tg;
	struct task *other;

	for (set &= tg->pending.set; set; set &= set - 1) {
		int signo = sigset_first(set & -set);

		list_for_each(other, &tg->tasks, tg_link) {
			if (other == t || !wants(other, signo))
				continue;
			signal_wake(other);
			break;
		}
	}
}

int signal_take_locked(struct task *t, k_sigset_t blocked, siginfo_t *ret)
{
	struct sigpending *p = &t->pending;
	int signo = sigset_first(p->set & ~blocked);

	if (!signo) {
		p = &t->tg->pending;
		signo = sigset_first(p->set & ~blocked);
	}
	if (signo)
		sigqueue_take(p, signo, ret);
	return signo;
}

int signal_dequeue(struct task *t, k_sigset_t mask, siginfo_t *ret)
{
	struct sighand *s = t->tg->sighand;
	int signo;

	mutex_lock(&s->lock, L_SIGHAND);
	signo = signal_take_locked(t, ~mask | SIG_ONLY_MASK, ret);
	signal_recalc(t);
	mutex_unlock(&s->lock, L_SIGHAND);
	if (signo && ret->si_code == SI_TIMER && signal_timer_taken)
		signal_timer_taken(t, ret);
	return signo;
}

k_sigset_t signal_pending_set(struct task *t)
{
	struct sighand *s = sighand_lock_tg(t->tg);
	k_sigset_t set = t->pending.set | t->tg->pending.set;

	sighand_unlock(s);
	return set;
}

void signal_set_blocked(struct task *t, k_sigset_t mask)
{
	struct sighand *s = t->tg->sighand;
	k_sigset_t closed;

	mask &= ~SIG_ONLY_MASK;
	if (mask == t->blocked)
		return;
	mutex_lock(&s->lock, L_SIGHAND);
	closed = mask & ~t->blocked;
	t->blocked = mask;
	if (closed & t->tg->pending.set)
		signal_retarget(t, closed);
	signal_recalc(t);
	mutex_unlock(&s->lock, L_SIGHAND);
}

int signal_push_mask(struct task *t, uint64_t mask_ptr, size_t size)
{
	k_sigset_t mask;

	if (!mask_ptr)
		return 0;
	if (size != sizeof(mask))
		return -EINVAL;
	if (copy_in(&t->ctx, &mask, UADDR(mask_ptr), sizeof(mask)))
		return -EFAULT;
	t->saved_blocked = t->blocked;
	t->restore_blocked = true;
	signal_set_blocked(t, mask);
	return 0;
}

void signal_restore_mask(struct task *t)
{
	if (!t->restore_blocked)
		return;
	t->restore_blocked = false;
	signal_set_blocked(t, t->saved_blocked);
}

static void actions_reset(struct sighand *s)
{
	for (int i = 0; i < K_NSIG; i++) {
		struct k_sigaction *sa = &s->action[i];

		*sa = (struct k_sigaction){.handler = sa->handler == K_SIG_IGN ? K_SIG_IGN : K_SIG_DFL};
	}
}

/* A private copy of shared handlers takes their place under both locks, for sighand_lock_tg(). */
static int sighand_unshare(struct task *t)
{
	struct sighand *old = t->tg->sighand;
	struct sighand *copy;

	if (ref_count(&old->ref) == 1)
		return 0;
	copy = sighand_clone(old);
	if (!copy)
		return -ENOMEM;
	mutex_lock(&old->lock, L_SIGHAND);
	mutex_lock(&t->tg->lock, L_TASK);
	__atomic_store_n(&t->tg->sighand, copy, __ATOMIC_RELEASE);
	mutex_unlock(&t->tg->lock, L_TASK);
	mutex_unlock(&old->lock, L_SIGHAND);
	sighand_put(old);
	return 0;
}

int signal_exec(struct task *t)
{
	int err = sighand_unshare(t);

	if (err)
		return err;
	mutex_lock(&t->tg->sighand->lock, L_SIGHAND);
	actions_reset(t->tg->sighand);
	signal_recalc(t);
	mutex_unlock(&t->tg->sighand->lock, L_SIGHAND);
	t->altstack.sp = 0;
	t->altstack.size = 0;
	return 0;
}

void signal_init_task(struct task *child, const struct task *parent, uint64_t flags)
{
	sigpending_init(&child->pending);
	child->blocked = parent ? parent->blocked : 0;
	if (parent)
		child->altstack = parent->altstack;
	if ((flags & (CLONE_VM | CLONE_VFORK)) == CLONE_VM)
		child->altstack = (struct k_stack){.flags = SS_DISABLE};
}

void signal_join_group(struct task *t)
{
	if (t->tg->stop_count || t->tg->stopped) {
		t->stop_pending = true;
		t->tg->stop_count++;
	}
	if (t->tg->group_exit)
		ctx_interrupt(&t->ctx, CTX_KILL);
	signal_recalc(t);
}

void signal_exit_task(struct task *t)
{
	struct sighand *s = t->tg->sighand;

	mutex_lock(&s->lock, L_SIGHAND);
	signal_retarget(t, ~t->blocked);
	t->blocked = ~0ull;
	if (jobctl_leave(t))
		jobctl_report(t->tg);
	mutex_unlock(&s->lock, L_SIGHAND);
}

static const char *const names[] = {
    "SIG0",      "SIGHUP",  "SIGINT",    "SIGQUIT", "SIGILL",   "SIGTRAP", "SIGABRT", "SIGBUS",
    "SIGFPE",    "SIGKILL", "SIGUSR1",   "SIGSEGV", "SIGUSR2",  "SIGPIPE", "SIGALRM", "SIGTERM",
    "SIGSTKFLT", "SIGCHLD", "SIGCONT",   "SIGSTOP", "SIGTSTP",  "SIGTTIN", "SIGTTOU", "SIGURG",
    "SIGXCPU",   "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",   "SIGPWR",  "SIGSYS",
};

const char *signal_name(int signo)
{
	static const char *const realtime[] = {
	    "SIGRT_0",  "SIGRT_1",  "SIGRTMIN", "SIGRT_3",  "SIGRT_4",  "SIGRT_5",  "SIGRT_6",  "SIGRT_7",  "SIGRT_8",
	    "SIGRT_9",  "SIGRT_10", "SIGRT_11", "SIGRT_12", "SIGRT_13", "SIGRT_14", "SIGRT_15", "SIGRT_16", "SIGRT_17",
	    "SIGRT_18", "SIGRT_19", "SIGRT_20", "SIGRT_21", "SIGRT_22", "SIGRT_23", "SIGRT_24", "SIGRT_25", "SIGRT_26",
	    "SIGRT_27", "SIGRT_28", "SIGRT_29", "SIGRT_30", "SIGRT_31", "SIGRT_32"};

	if (signo >= 0 && signo < K_SIGRTMIN)
		return names[signo];
	return signo >= K_SIGRTMIN && signo <= K_NSIG ? realtime[signo - K_SIGRTMIN] : "SIG?";
}
