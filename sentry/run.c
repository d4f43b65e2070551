/*
 * The run loop: what happens when a guest thread stops, and what before it goes on. Everything a task does, it does
 * in here.
 *
 * An event is a system call, a fault, a kick or the loss of the stub. After it the task looks at its interrupts
 * (signals, stops, its own end) until there are none, says that it is in the guest, and looks once more: whoever
 * interrupts it later kicks the cpu, and the platform does not lose a kick. See `in_guest` in task.h.
 *
 * execve gives the task another cpu: then the old one, whose upcall this is, has been given back already, and the new
 * one is started here.
 */
#include <string.h>
#include <sys/wait.h>

#include "sentry/memlimit.h"
#include "sentry/base/log.h"
#include "sentry/ipc.h"
#include "sentry/mm.h"
#include "sentry/task_impl.h"

#define PF_WRITE 2 /* page fault error code */
#define TRAP_PAGE_FAULT 14

static sysret_t run_syscall(struct task *t, struct k_user_regs *regs)
{
	const uint64_t args[6] = {regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9};
	uint32_t nr = (uint32_t)regs->orig_rax;
	sysret_t ret;

	t->syscall_nr = regs->orig_rax;
	t->regs_final = false;
	if (unlikely(t->strace != NULL))
		ret = trace_syscall(t, nr, args);
	else
		ret = syscall_dispatch(t, nr, args);
	return ret;
}

/* Its memory and threads are gone: as if it had been killed by SIGKILL, and if that came from outside, with a line about it. */
static void group_lost(struct thread_group *tg, bool outside)
{
	char comm[sizeof(tg->leader->comm)] = "";
	struct sighand *s;
	bool known;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	if (tg->leader) { /* it may be reaped as soon as it is killed */
		mutex_lock(&tg->lock, L_TASK);
		memcpy(comm, tg->leader->comm, sizeof(comm));
		mutex_unlock(&tg->lock, L_TASK);
	}
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	s = sighand_lock_tg(tg);
	known = tg->group_exit || tg->lost;
	tg->lost = true;
	sighand_unlock(s);
	if (!known && outside) /* before the end of the first process ends everything */
		log_warn("pid %d (%s): its process on the host has been killed", tg->pid, comm);
	tg_kill(tg, SIGKILL);
}

struct loss {
	struct thread_group *tg; /* a reference */
	bool outside;
};

static bool find_lost(struct thread_group *tg, void *arg)
{
	struct loss *l = arg;
	struct task *t;

	mutex_lock(&tg->lock, L_TASK);
	list_for_each(t, &tg->tasks, tg_link)
		if (!l->tg && t->cpu && !tg->group_exit && platform->aspace_lost(t->cpu, &l->outside))
			l->tg = tg_get(tg);
	mutex_unlock(&tg->lock, L_TASK);
	return !l->tg;
}

void tasks_lost(void)
{
	struct loss l;

	do {
		l = (struct loss){NULL, false};
		mutex_lock(&pidtree_lock, L_PIDTREE);
		tg_for_each(find_lost, &l);
		mutex_unlock(&pidtree_lock, L_PIDTREE);
		if (l.tg)
			group_lost(l.tg, l.outside);
		tg_put(l.tg);
	} while (l.tg);
}

static void cpu_lost(struct task *t, struct cpu *cpu)
{
	bool outside = false;

	if (platform->aspace_lost)
		platform->aspace_lost(cpu, &outside);
	group_lost(t->tg, outside);
}

static void send_fault(struct task *t, const struct cpu_event *ev)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = ev->signo;
	info.si_code = ev->code;
	info.si_addr = (void *)ev->addr;
	if (ev->signo == SIGSEGV && (ev->code == SEGV_MAPERR || ev->code == SEGV_ACCERR))
		info.si_code = mm_fault_code(t->mm, ev->addr, ev->err & PF_WRITE);
	t->fault_trapno = ev->trapno;
	t->fault_err = ev->err;
	if (ev->trapno == TRAP_PAGE_FAULT)
		t->fault_cr2 = ev->addr;
	signal_force(t, &info);
}

static void run_fault(struct task *t, const struct cpu_event *ev)
{
	if (ev->signo == SIGKILL) {
		log_warn("pid %d: the host refused memory: killed", t->ctx.tgid);
		tg_kill(t->tg, SIGKILL);
		return;
	}
	if (ev->signo == SIGSEGV && ev->code > 0 && ev->code != SI_KERNEL &&
	    mm_fault_stack(t->mm, t->cpu, ev->addr, task_rlimit(t, RLIMIT_STACK)))
		return;
	send_fault(t, ev);
}

/* Until there is nothing left to do before the guest goes on. False: the task has to exit. */
static bool run_work(struct task *t, bool in_syscall, sysret_t ret)
{
	struct k_user_regs *regs = platform->cpu_regs(t->cpu);

	for (;;) {
		uint32_t interrupts = ctx_interrupts(&t->ctx);
		bool restart = in_syscall && is_restart_code(ret);

		if (t->exiting != TASK_RUNS || (interrupts & CTX_KILL))
			return false;
		if (interrupts || restart || t->restore_blocked) {
			if (!signal_work(t, in_syscall, ret))
				return false;
		} else if (in_syscall) {
			regs->rax = (uint64_t)ret;
		}
		in_syscall = false;
		t->syscall_nr = UINT64_MAX;
		sigmask_give(t);
		__atomic_store_n((bool *)&t->in_guest, true, __ATOMIC_SEQ_CST);
		if (likely(!ctx_interrupts(&t->ctx)))
			return true;
		__atomic_store_n((bool *)&t->in_guest, false, __ATOMIC_SEQ_CST);
	}
}

static enum cpu_action run_end(struct task *t)
{
	if (t->exiting == TASK_RUNS)
		t->exiting = TASK_EXITS;
	if (t->strace)
		trace_exit(t);
	task_exit(t);
	return CPU_STOP;
}

enum cpu_action task_event(struct cpu *cpu, const struct cpu_event *ev)
{
	struct task *t = cpu_client(cpu);
	bool in_syscall = false;
	sysret_t ret = 0;

	__atomic_store_n((bool *)&t->in_guest, false, __ATOMIC_SEQ_CST);
	sigmask_take(t);
	ipc_current_tgid = t->ctx.tgid;
	switch (ev->kind) {
	case CPU_SYSCALL:
		ret = run_syscall(t, platform->cpu_regs(cpu));
		in_syscall = !t->regs_final;
		break;
	case CPU_FAULT:
		run_fault(t, ev);
		break;
	case CPU_KICK:
		break;
	case CPU_LOST:
		cpu_lost(t, cpu);
		break;
	}
	if (!run_work(t, in_syscall, ret))
		return run_end(t);
	memlimit_task_runs();
	if (likely(t->cpu == cpu))
		return CPU_RESUME;
	platform->cpu_start(t->cpu);
	return CPU_STOP;
}
