/*
 * The signal frame is the register page: the host kernel writes it on the thread's alternate stack, in the thread area
 * that we map too. Only its place is remembered; registers are copied out once for an event and written back for the
 * resume. A frame that the guest has forged lies in its own thread area and holds whatever registers it likes: that is no
 * more than it could have loaded itself.
 *
 * Layout by Linux's struct rt_sigframe, struct ucontext and struct sigcontext_64 (a stable ABI): 8 bytes of return
 * address, the ucontext, the siginfo at +304, and somewhere above the FP state, 64-byte aligned.
 */
#include <linux/audit.h>
#include <string.h>
#include <sys/ucontext.h>

#include "platform/trap/trap.h"

#define UC_GREGS 40
#define UC_FPSTATE 224
#define UC_SIZE 304
#define INFO_CODE 8
#define INFO_ADDR 16
#define INFO_ARCH 28 /* of SIGSYS */
/* The flags that a signal return can set on Linux. */
#define EFLAGS_USER 0x254dd5ull
#define EFLAGS_FIXED 0x202ull
#define EFLAGS_TF 0x100ull

/* Where each of mcontext's registers goes in k_user_regs. */
static const struct {
	uint8_t reg;
	uint8_t field;
} regmap[] = {
#define R(name, field)                                                                                                 \
	{                                                                                                              \
		REG_##name, offsetof(struct k_user_regs, field) / 8                                                    \
	}
    R(R8, r8),   R(R9, r9),   R(R10, r10), R(R11, r11), R(R12, r12), R(R13, r13), R(R14, r14), R(R15, r15), R(RDI, rdi),
    R(RSI, rsi), R(RBP, rbp), R(RBX, rbx), R(RDX, rdx), R(RAX, rax), R(RCX, rcx), R(RSP, rsp), R(RIP, rip),
#undef R
};

static uint64_t *frame_gregs(const struct trap_cpu *c, uint32_t frame)
{
	return (uint64_t *)(cpu_thr(c) + frame + UC_GREGS);
}

uint64_t frame_reg(const struct trap_cpu *c, uint32_t frame, int reg)
{
	return __atomic_load_n(&frame_gregs(c, frame)[reg], __ATOMIC_RELAXED);
}

void frame_set_reg(const struct trap_cpu *c, uint32_t frame, int reg, uint64_t v)
{
	__atomic_store_n(&frame_gregs(c, frame)[reg], v, __ATOMIC_RELAXED);
}

uint32_t frame_offset(const struct trap_cpu *c, uint64_t va)
{
	uint64_t off = va - slot_address(c->slot);

	if (off == T_FAST)
		return T_FAST;
	if (off < T_SIGSTACK + 64 || off > SLOT_SIZE - UC_SIZE - 128 || (off & 7))
		return 0;
	return (uint32_t)off;
}

bool frame_take(struct trap_cpu *c, uint64_t va)
{
	uint32_t frame = frame_offset(c, va);
	uint64_t fp;

	if (!frame)
		return false;
	c->frame = frame;
	c->fp_live = frame == T_FAST;
	c->fpstate = 0;
	if (c->fp_live)
		return true;
	fp = __atomic_load_n((uint64_t *)(cpu_thr(c) + frame + UC_FPSTATE), __ATOMIC_RELAXED) - slot_address(c->slot);
	c->fpstate = fp > frame && fp <= SLOT_SIZE - fp_size(NULL) && fp % 64 == 0 ? (uint32_t)fp : 0;
	return true;
}

void frame_read(struct trap_cpu *c)
{
	uint64_t *to = (uint64_t *)&c->regs;

	for (size_t i = 0; i < ARRAY_SIZE(regmap); i++)
		to[regmap[i].field] = frame_reg(c, c->frame, regmap[i].reg);
	c->regs.eflags = frame_reg(c, c->frame, REG_EFL);
	c->regs.orig_rax = (uint64_t)-1;
	c->regs.fs_base = c->fs_base;
	c->regs.gs_base = c->gs_base == ctl_address(c->slot) ? 0 : c->gs_base;
	c->regs.cs = 0x33;
	c->regs.ss = 0x2b;
	c->regs.ds = c->regs.es = c->regs.fs = c->regs.gs = 0;
}

static bool returns_like_a_call(const struct trap_cpu *c)
{
	return c->frame == T_FAST && c->fp_live && c->regs.rcx == c->regs.rip && c->regs.r11 == c->regs.eflags &&
	       !(c->regs.eflags & EFLAGS_TF);
}

uint64_t frame_write(struct trap_cpu *c)
{
	const uint64_t *from = (const uint64_t *)&c->regs;
	uint64_t rip = c->regs.rip == c->shown_rip ? c->raw_rip : patch_hide(c, c->regs.rip);
	uint64_t fp = c->fpstate ? slot_address(c->slot) + c->fpstate : STUB_CONST + K_FPINIT;

	for (size_t i = 0; i < ARRAY_SIZE(regmap); i++)
		frame_set_reg(c, c->frame, regmap[i].reg, from[regmap[i].field]);
	frame_set_reg(c, c->frame, REG_RIP, rip);
	frame_set_reg(c, c->frame, REG_EFL, (c->regs.eflags & EFLAGS_USER) | EFLAGS_FIXED);
	__atomic_store_n((uint64_t *)(cpu_thr(c) + c->frame + UC_FPSTATE), fp, __ATOMIC_RELAXED);
	if (returns_like_a_call(c)) {
		frame_set_reg(c, c->frame, REG_RCX, rip);
		return ANSWER_FAST;
	}
	return c->fp_live ? ANSWER_IRET : ANSWER_RESUME;
}

void frame_create(struct trap_cpu *c, const void *fp, size_t fp_bytes)
{
	if (c->frame == 0)
		c->frame = FRESH_FRAME;
	c->fp_live = false;
	c->fpstate = 0;
	if (fp && fp_bytes) {
		memcpy(cpu_thr(c) + FRESH_FPSTATE, fp, fp_bytes);
		c->fpstate = FRESH_FPSTATE;
	}
	frame_write(c);
}

bool frame_is_32bit(const struct trap_cpu *c)
{
	uint32_t arch;

	memcpy(&arch, cpu_thr(c) + c->frame + UC_SIZE + INFO_ARCH, sizeof(arch));
	return arch != AUDIT_ARCH_X86_64;
}

void frame_event(const struct trap_cpu *c, int signo, struct cpu_event *ret_ev)
{
	const char *info = cpu_thr(c) + c->frame + UC_SIZE;

	ret_ev->kind = CPU_FAULT;
	ret_ev->signo = signo;
	memcpy(&ret_ev->code, info + INFO_CODE, sizeof(ret_ev->code));
	memcpy(&ret_ev->addr, info + INFO_ADDR, sizeof(ret_ev->addr));
	ret_ev->trapno = (uint32_t)frame_reg(c, c->frame, REG_TRAPNO);
	ret_ev->err = (uint32_t)frame_reg(c, c->frame, REG_ERR);
}
