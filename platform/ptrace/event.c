/*
 * From a stop of the host thread to an event for the client.
 *
 * ptrace gives a fault's siginfo but not the processor's trap number and error code, which belong to a guest's
 * sigcontext (qemu's user mode and garbage collectors look at the "write" bit). The number follows from signal and code;
 * the error code of a page fault is rebuilt: "present" from SEGV_ACCERR, "write" and "fetch" from the instruction.
 *
 * A call of the vsyscall page is made by the host's kernel when it finds the thread's rip there; PTRACE_SYSEMU does not see it.
 * The stubs' filter turns it into a SIGSYS, with rip already behind the guest's call.
 *
 * A 32-bit system call (int 0x80, or a call from a compatibility code segment) is a general protection fault here, as
 * on a kernel without IA-32 emulation.
 */
#include <capstone/capstone.h>
#include <linux/audit.h>
#include <signal.h>
#include <sys/ptrace.h>

#include "platform/ptrace/internal.h"

enum {
	TRAP_DE = 0,
	TRAP_DB = 1,
	TRAP_BP = 3,
	TRAP_UD = 6,
	TRAP_GP = 13,
	TRAP_PF = 14,
	TRAP_MF = 16,
	TRAP_AC = 17,
	TRAP_XM = 19
};
enum { PF_PRESENT = 1, PF_WRITE = 2, PF_USER = 4, PF_FETCH = 16 };
#define GP_ERR_INT80 (0x80 * 8 + 2)
#define INSN_MAX 15
#define SYSCALL_INSN_SIZE 2

static struct mutex decoder_lock = MUTEX_INIT;

bool syscall_event(struct pcpu *c, struct cpu_event *ev)
{
	struct __ptrace_syscall_info info;

	ev->kind = CPU_SYSCALL;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, c->tid, (void *)sizeof(info), &info) <= 0 || info.arch == AUDIT_ARCH_X86_64)
		return true;
	c->regs.rip -= SYSCALL_INSN_SIZE;
	c->regs.rax = c->regs.orig_rax;
	*ev = (struct cpu_event){
	    .kind = CPU_FAULT, .signo = SIGSEGV, .code = SI_KERNEL, .trapno = TRAP_GP, .err = GP_ERR_INT80};
	return true;
}

/* Whether `insn` may write at addr. String instructions have two memory operands: rdi is where they write. */
static bool insn_writes(const cs_insn *insn, const struct k_user_regs *regs, uint64_t addr)
{
	const cs_x86 *x = &insn->detail->x86;
	bool reads = false, writes = false;

	for (unsigned i = 0; i < x->op_count; i++) {
		if (x->operands[i].type != X86_OP_MEM)
			continue;
		writes |= (x->operands[i].access & CS_AC_WRITE) != 0;
		reads |= x->operands[i].access == CS_AC_READ;
	}
	if (writes && reads)
		return addr - PAGE_DOWN(regs->rdi) < 2 * PAGE_SIZE;
	/* push, call, enter: the store has no operand. */
	return writes || (!reads && addr < regs->rsp && regs->rsp - addr <= PAGE_SIZE);
}

static bool fault_writes(struct pcpu *c, uint64_t addr)
{
	uint8_t bytes[INSN_MAX];
	const uint8_t *code = bytes;
	uint64_t ip = c->regs.rip;
	bool writes = false;
	static csh decoder;
	ssize_t got = ptrace_read(&c->cpu, bytes, ip, sizeof(bytes));
	size_t size = got > 0 ? (size_t)got : 0;
	cs_insn *insn = NULL;

	mutex_lock(&decoder_lock, L_LOG);
	if (!decoder && cs_open(CS_ARCH_X86, CS_MODE_64, &decoder) == CS_ERR_OK)
		cs_option(decoder, CS_OPT_DETAIL, CS_OPT_ON);
	if (decoder)
		insn = cs_malloc(decoder);
	if (insn && cs_disasm_iter(decoder, &code, &size, &ip, insn))
		writes = insn_writes(insn, &c->regs, addr);
	if (insn)
		cs_free(insn, 1);
	mutex_unlock(&decoder_lock, L_LOG);
	return writes;
}

static uint32_t page_fault_err(struct pcpu *c, const siginfo_t *si)
{
	uint64_t addr = (uint64_t)si->si_addr;
	uint32_t err = PF_USER;

	if (si->si_signo == SIGSEGV && si->si_code != SEGV_MAPERR)
		err |= PF_PRESENT;
	if (addr == c->regs.rip)
		return err | PF_FETCH;
	return fault_writes(c, addr) ? err | PF_WRITE : err;
}

static uint32_t trap_number(const siginfo_t *si)
{
	switch (si->si_signo) {
	case SIGTRAP:
		return si->si_code == SI_KERNEL ? TRAP_BP : TRAP_DB;
	case SIGILL:
		return TRAP_UD;
	case SIGFPE:
		return si->si_code == FPE_INTDIV ? TRAP_DE : TRAP_XM;
	case SIGBUS:
		return si->si_code == BUS_ADRALN ? TRAP_AC : TRAP_PF;
	default:
		return si->si_code == SI_KERNEL ? TRAP_GP : TRAP_PF;
	}
}

bool fault_event(struct pcpu *c, struct cpu_event *ev)
{
	siginfo_t si;

	if (ptrace(PTRACE_GETSIGINFO, c->tid, 0, &si) < 0)
		return false;
	/* Sent by somebody on the host: not the guest's doing. */
	if (si.si_code <= 0)
		return false;
	if (si.si_signo == SIGSYS) {
		ev->kind = CPU_SYSCALL;
		c->regs.orig_rax = (uint64_t)si.si_syscall;
		c->regs.rax = (uint64_t)-ENOSYS;
		return true;
	}
	if (si.si_signo != SIGSEGV && si.si_signo != SIGBUS && si.si_signo != SIGFPE && si.si_signo != SIGILL &&
	    si.si_signo != SIGTRAP)
		return false;
	ev->kind = CPU_FAULT;
	ev->signo = si.si_signo;
	ev->code = si.si_code;
	ev->addr = (uint64_t)si.si_addr;
	ev->trapno = trap_number(&si);
	if (ev->trapno == TRAP_PF)
		ev->err = page_fault_err(c, &si);
	return true;
}
