/*
 * Making a stopped host thread do something for us.
 *
 * The thread is sent to the stub's page with the registers we want and stops at the int3 behind the instruction. The
 * guest's registers are kept in pcpu.regs and written back when it resumes, so nothing has to be restored here.
 * orig_rax is always -1: the stop may have interrupted a system call, and the kernel must not restart that one.
 * A kick that comes late may stop the thread on the way; it is dropped, as the flag pcpu.kicked has remembered it. An
 * injected clone() that it interrupts is restarted by the kernel.
 */
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "platform/ptrace/internal.h"

#define EFLAGS_IF 0x202
#define USER_CS 0x33
#define USER_SS 0x2b

bool tracee_wait(struct pcpu *c, int *ret_status)
{
	pid_t r;

	do
		r = waitpid(c->tid, ret_status, __WALL | __WNOTHREAD);
	while (r < 0 && errno == EINTR);
	if (r < 0 || WIFEXITED(*ret_status) || WIFSIGNALED(*ret_status))
		c->attached = false;
	c->killed = r > 0 && WIFSIGNALED(*ret_status) && WTERMSIG(*ret_status) == SIGKILL;
	if (!c->attached)
		c->lost = true;
	return !c->lost;
}

bool tracee_set_regs(struct pcpu *c, const struct k_user_regs *regs)
{
	struct k_user_regs r = *regs;

	r.orig_rax = (uint64_t)-1;
	r.cs = USER_CS;
	r.ss = USER_SS;
	r.ds = r.es = r.fs = r.gs = 0;
	return ptrace(PTRACE_SETREGS, c->tid, 0, &r) == 0;
}

/* The int3 at the end of a routine of the stub: anything else that looks like it is a fault. */
static bool at_int3(const struct k_user_regs *regs, uint64_t entry)
{
	return regs->rip > entry && regs->rip <= STUB_ADDR(ptrace_stub_end);
}

enum inject_end inject_run(struct pcpu *c, uint64_t entry, struct k_user_regs *regs)
{
	int status, sig;

	regs->rip = entry;
	regs->eflags = EFLAGS_IF;
	regs->fs_base = c->regs.fs_base;
	regs->gs_base = c->regs.gs_base;
	if (c->lost || !tracee_set_regs(c, regs))
		return INJECT_LOST;
	do {
		if (ptrace(PTRACE_CONT, c->tid, 0, 0) < 0 || !tracee_wait(c, &status))
			return INJECT_LOST;
		sig = status >> 16 ? 0 : WSTOPSIG(status);
	} while (sig != SIGTRAP && sig != SIGSEGV && sig != SIGBUS && sig != SIGILL && sig != SIGFPE);
	if (ptrace(PTRACE_GETREGS, c->tid, 0, regs) < 0)
		return INJECT_LOST;
	return sig == SIGTRAP && at_int3(regs, entry) ? INJECT_DONE : INJECT_FAULT;
}

long inject_syscall(struct pcpu *c, const char *entry, long nr, const uint64_t args[6])
{
	struct k_user_regs r = {
	    .rax = (uint64_t)nr,
	    .rdi = args[0],
	    .rsi = args[1],
	    .rdx = args[2],
	    .r10 = args[3],
	    .r8 = args[4],
	    .r9 = args[5],
	};

	return inject_run(c, STUB_ADDR(entry), &r) == INJECT_DONE ? (long)r.rax : -ESRCH;
}
