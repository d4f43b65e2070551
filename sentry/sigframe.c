/*
 * Signal frames as x86-64 Linux lays them out: arch/x86 in the kernel's tree, sigreturn(2), Intel's SDM volume 1 chapter 13 for XSAVE images.
 *
 * From the interrupted stack pointer downwards (below the red zone) or from the top of the alternate stack:
 *
 *	XSAVE image in standard format, 64-byte aligned; bytes 464..511 describe it, FP_XSTATE_MAGIC2 stands behind it
 *	struct rt_frame: the restorer's address, ucontext, siginfo; rsp is 8 below a multiple of 16 when the handler starts
 *
 * The frame is assembled here and written by one copy. All that rt_sigreturn reads back may be forged: segment registers are not taken
 * from it at all, of the flags only those that user code may change, and the XSAVE image goes through the platform's check, which refuses
 * what the processor would.
 */
#include <string.h>

#include "sentry/base/slab.h"
#include "sentry/mm.h"
#include "sentry/signal.h"
#include "sentry/task.h"

#define K_MINSIGSTKSZ 2048
#define RED_ZONE 128
#define FRAME_ALIGN 16
#define XSAVE_ALIGN 64

#define SA_RESTORER_BIT 0x04000000ull
#define SS_AUTODISARM_BIT ((int32_t)(1u << 31))
#define SS_FLAG_BITS SS_AUTODISARM_BIT

#define MAGIC1 0x46505853u
#define MAGIC2 0x46505845u
#define LEGACY_SIZE 512
#define HEADER_OFFSET 512
#define XSAVE_MIN 576
#define SW_OFFSET 464
#define XSTATE_X87 1ull
#define XSTATE_SSE 2ull
#define FCW_DEFAULT 0x37f
#define MXCSR_DEFAULT 0x1f80u
#define MXCSR_OFFSET 24

/* AC OF DF TF SF ZF AF PF CF RF: what a return from a handler may change. */
#define FLAGS_RESTORED 0x50dd5ull
#define USER_CS 0x33
#define USER_SS 0x2b

#define UC_FLAGS_SET 7 /* UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS */

struct k_sigcontext {
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2, fpstate;
	uint64_t reserved[8];
};
_Static_assert(sizeof(struct k_sigcontext) == 256, "ABI");

struct k_ucontext {
	uint64_t flags, link;
	struct k_stack stack;
	struct k_sigcontext mcontext;
	k_sigset_t sigmask;
};
_Static_assert(sizeof(struct k_ucontext) == 304, "ABI");

struct rt_frame {
	uint64_t restorer;
	struct k_ucontext uc;
	siginfo_t info;
};
_Static_assert(sizeof(struct rt_frame) == 440, "ABI");

/* What the kernel says of the image in its bytes 464..511. */
struct fp_sw {
	uint32_t magic1, extended_size;
	uint64_t xfeatures;
	uint32_t xstate_size, padding[7];
};
_Static_assert(sizeof(struct fp_sw) == 48, "ABI");

struct layout {
	uint64_t frame, fp; /* guest addresses */
	size_t fp_size;     /* of the image, without the magic word behind it */
	size_t size;        /* from frame to the end */
};

size_t sigframe_max_size(void)
{
	size_t n = sizeof(struct rt_frame) + FRAME_ALIGN - 1 + platform->fpstate_size(NULL) + sizeof(uint32_t) +
		   XSAVE_ALIGN - 1;

	return (n + FRAME_ALIGN - 1) & ~(size_t)(FRAME_ALIGN - 1);
}

static bool within_altstack(const struct task *t, uint64_t sp)
{
	return sp > t->altstack.sp && sp - t->altstack.sp <= t->altstack.size;
}

static bool on_altstack(const struct task *t, uint64_t sp)
{
	return !(t->altstack.flags & SS_AUTODISARM_BIT) && within_altstack(t, sp);
}

int altstack_flags(const struct task *t, uint64_t sp)
{
	if (!t->altstack.size)
		return SS_DISABLE;
	return on_altstack(t, sp) ? SS_ONSTACK : 0;
}

int altstack_set(struct task *t, const struct k_stack *ss, uint64_t sp, uint64_t min_size)
{
	int32_t mode = ss->flags & ~SS_FLAG_BITS;
	struct k_stack new = {.sp = ss->sp, .flags = ss->flags, .size = ss->size};

	if (on_altstack(t, sp))
		return -EPERM;
	if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0)
		return -EINVAL;
	if (mode == SS_DISABLE)
		new.sp = new.size = 0;
	else if (new.size < min_size)
		return -ENOMEM;
	t->altstack = new;
	return 0;
}

/* False: it would run over the end of the alternate stack. */
static bool lay_out(const struct task *t, uint64_t sp, uint64_t sa_flags, struct layout *ret)
{
	bool on_alt = on_altstack(t, sp);

	sp -= RED_ZONE;
	if ((sa_flags & SA_ONSTACK) && altstack_flags(t, sp) == 0) {
		sp = t->altstack.sp + t->altstack.size;
		on_alt = true;
	}
	ret->fp_size = platform->fpstate_size(NULL);
	ret->fp = (sp - ret->fp_size - sizeof(uint32_t)) & ~(uint64_t)(XSAVE_ALIGN - 1);
	ret->frame = ((ret->fp - sizeof(struct rt_frame)) & ~(uint64_t)(FRAME_ALIGN - 1)) - 8;
	ret->size = ret->fp + ret->fp_size + sizeof(uint32_t) - ret->frame;
	return !on_alt || within_altstack(t, ret->frame);
}

/* Components that the image leaves out because they are in their initial state are said to be there, as the kernel does for these two. */
static void fill_legacy(uint8_t *image, uint64_t present)
{
	const uint16_t fcw = FCW_DEFAULT;

	if (!(present & XSTATE_X87)) {
		memset(image, 0, MXCSR_OFFSET);
		memset(image + 32, 0, 128);
		memcpy(image, &fcw, sizeof(fcw));
	}
	if (!(present & XSTATE_SSE))
		memset(image + 160, 0, 256);
}

/* The image as far as the platform does not write it: what the kernel says of it. */
static void fill_fp_marks(uint8_t *image, size_t size)
{
	const uint32_t magic2 = MAGIC2;
	struct fp_sw sw = {.magic1 = MAGIC1, .extended_size = (uint32_t)(size + sizeof(magic2))};

	platform->fpstate_size(&sw.xfeatures);
	sw.xstate_size = (uint32_t)size;
	memcpy(image + SW_OFFSET, &sw, sizeof(sw));
	memcpy(image + size, &magic2, sizeof(magic2));
}

static void fill_fp(struct task *t, uint8_t *image, size_t size)
{
	const uint32_t mxcsr = MXCSR_DEFAULT;
	size_t have = 0;
	const void *now = platform->cpu_fpstate(t->cpu, &have);
	uint64_t present;

	if (now && have >= XSAVE_MIN)
		memcpy(image, now, MIN(have, size));
	else
		memcpy(image + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
	memcpy(&present, image + HEADER_OFFSET, sizeof(present));
	fill_legacy(image, present);
	present |= XSTATE_X87 | XSTATE_SSE;
	memcpy(image + HEADER_OFFSET, &present, sizeof(present));
	fill_fp_marks(image, size);
}

static void fill_mcontext(struct k_sigcontext *m, const struct task *t, const struct k_user_regs *r, k_sigset_t oldmask,
			  uint64_t fp)
{
	*m = (struct k_sigcontext){
	    .r8 = r->r8,
	    .r9 = r->r9,
	    .r10 = r->r10,
	    .r11 = r->r11,
	    .r12 = r->r12,
	    .r13 = r->r13,
	    .r14 = r->r14,
	    .r15 = r->r15,
	    .rdi = r->rdi,
	    .rsi = r->rsi,
	    .rbp = r->rbp,
	    .rbx = r->rbx,
	    .rdx = r->rdx,
	    .rax = r->rax,
	    .rcx = r->rcx,
	    .rsp = r->rsp,
	    .rip = r->rip,
	    .eflags = r->eflags,
	    .cs = USER_CS,
	    .ss = USER_SS,
	    .err = t->fault_err,
	    .trapno = t->fault_trapno,
	    .oldmask = oldmask,
	    .cr2 = t->fault_cr2,
	    .fpstate = fp,
	};
}

static void fill_frame(struct rt_frame *f, struct task *t, const struct layout *l, const siginfo_t *info,
		       const struct k_sigaction *sa, k_sigset_t oldmask)
{
	const struct k_user_regs *regs = platform->cpu_regs(t->cpu);

	f->restorer = sa->restorer;
	f->uc.flags = UC_FLAGS_SET;
	f->uc.stack = t->altstack;
	fill_mcontext(&f->uc.mcontext, t, regs, oldmask, l->fp);
	f->uc.sigmask = oldmask;
	if (sa->flags & SA_SIGINFO)
		f->info = *info;
}

/* The stack grows by a frame, too. */
static bool write_frame(struct task *t, uint64_t addr, const void *frame, size_t size)
{
	if (copy_out(&t->ctx, UADDR(addr), frame, size) == 0)
		return true;
	if (!t->mm || !mm_fault_stack(t->mm, t->cpu, addr, task_rlimit(t, RLIMIT_STACK)))
		return false;
	return copy_out(&t->ctx, UADDR(addr), frame, size) == 0;
}

static bool build_and_write(struct task *t, const struct layout *l, const siginfo_t *info, const struct k_sigaction *sa,
			    k_sigset_t oldmask)
{
	uint8_t *buf = kalloc(l->size);
	bool direct = platform->cpu_save_fpstate && platform->cpu_save_fpstate(t->cpu, 0) == 0;
	bool ok;

	if (!buf)
		return false;
	fill_frame((struct rt_frame *)buf, t, l, info, sa, oldmask);
	if (direct)
		fill_fp_marks(buf + (l->fp - l->frame), l->fp_size);
	else
		fill_fp(t, buf + (l->fp - l->frame), l->fp_size);
	ok = write_frame(t, l->frame, buf, l->size);
	if (ok && direct)
		ok = platform->cpu_save_fpstate(t->cpu, l->fp) == 0;
	kfree(buf, l->size);
	return ok;
}

bool sigframe_setup(struct task *t, int signo, const siginfo_t *info, const struct k_sigaction *sa, k_sigset_t oldmask)
{
	struct k_user_regs *regs = platform->cpu_regs(t->cpu);
	struct layout l;

	if (!(sa->flags & SA_RESTORER_BIT) || !lay_out(t, regs->rsp, sa->flags, &l))
		return false;
	if (!build_and_write(t, &l, info, sa, oldmask) || platform->cpu_set_fpstate(t->cpu, NULL, 0))
		return false;
	if (t->altstack.flags & SS_AUTODISARM_BIT)
		t->altstack = (struct k_stack){.flags = SS_DISABLE};
	regs->rdi = (uint64_t)signo;
	regs->rsi = l.frame + offsetof(struct rt_frame, info);
	regs->rdx = l.frame + offsetof(struct rt_frame, uc);
	regs->rax = 0;
	regs->rip = sa->handler;
	regs->rsp = l.frame;
	return true;
}

/* Does `sw` describe an extended image? Else only the first 512 bytes are taken, like the kernel does with frames of old programs. */
static bool sw_valid(const struct fp_sw *sw, size_t max)
{
	return sw->magic1 == MAGIC1 && sw->xstate_size >= XSAVE_MIN && sw->xstate_size <= max &&
	       sw->xstate_size <= sw->extended_size;
}

/* image: `size` bytes of the guest's, in a buffer that may be changed. */
static int restore_image(struct task *t, uint8_t *image, size_t size, size_t max)
{
	uint64_t xcr0, present = XSTATE_X87 | XSTATE_SSE;
	size_t used = XSAVE_MIN;
	struct fp_sw sw;
	uint32_t magic2 = 0;

	platform->fpstate_size(&xcr0);
	memcpy(&sw, image + SW_OFFSET, sizeof(sw));
	if (sw_valid(&sw, max)) {
		if (size < sw.xstate_size + sizeof(magic2))
			return -EFAULT;
		memcpy(&magic2, image + sw.xstate_size, sizeof(magic2));
	}
	if (magic2 == MAGIC2) {
		used = sw.xstate_size;
		memcpy(&present, image + HEADER_OFFSET, sizeof(present));
		if (present & ~xcr0)
			return -EFAULT;
		present &= sw.xfeatures;
	} else {
		memset(image + HEADER_OFFSET, 0, XSAVE_MIN - HEADER_OFFSET);
	}
	memcpy(image + HEADER_OFFSET, &present, sizeof(present));
	return platform->cpu_set_fpstate(t->cpu, image, used) ? -EFAULT : 0;
}

/* What a frame of ours has from its ucontext to the end, at most: read in one go. */
#define RETURN_EXTRA (sizeof(struct k_ucontext) + sizeof(siginfo_t) + FRAME_ALIGN + XSAVE_ALIGN)

/* `have` bytes of the guest's memory at `base`: the image is among them, or is read for itself. */
static int restore_fp(struct task *t, uint64_t addr, uint64_t base, uint8_t *have_buf, size_t have)
{
	size_t max = platform->fpstate_size(NULL);
	size_t want = max + sizeof(uint32_t);
	uint8_t *image;
	ssize_t n;
	int err;

	if (!addr)
		return platform->cpu_set_fpstate(t->cpu, NULL, 0) ? -EFAULT : 0;
	if (addr % XSAVE_ALIGN)
		return -EFAULT;
	if (addr >= base && have >= want && addr - base <= have - want)
		return restore_image(t, have_buf + (addr - base), want, max);
	image = kalloc(want);
	if (!image)
		return -EFAULT;
	n = t->ctx.uaccess->read(&t->ctx, image, UADDR(addr), want);
	err = n < LEGACY_SIZE ? -EFAULT : restore_image(t, image, (size_t)n, max);
	kfree(image, want);
	return err;
}

static void restore_regs(struct k_user_regs *r, const struct k_sigcontext *m)
{
	uint64_t eflags = (r->eflags & ~FLAGS_RESTORED) | (m->eflags & FLAGS_RESTORED);

	r->r8 = m->r8, r->r9 = m->r9, r->r10 = m->r10, r->r11 = m->r11;
	r->r12 = m->r12, r->r13 = m->r13, r->r14 = m->r14, r->r15 = m->r15;
	r->rdi = m->rdi, r->rsi = m->rsi, r->rbp = m->rbp, r->rbx = m->rbx;
	r->rdx = m->rdx, r->rax = m->rax, r->rcx = m->rcx;
	r->rsp = m->rsp, r->rip = m->rip, r->eflags = eflags;
	r->orig_rax = UINT64_MAX;
}

static int return_with(struct task *t, uint8_t *buf, size_t size)
{
	struct k_user_regs *regs = platform->cpu_regs(t->cpu);
	struct k_ucontext uc;
	/* The restorer's address has been popped by the handler's return. */
	ssize_t n = t->ctx.uaccess->read(&t->ctx, buf, UADDR(regs->rsp), size);

	if (n < (ssize_t)sizeof(uc))
		return -EFAULT;
	memcpy(&uc, buf, sizeof(uc));
	signal_set_blocked(t, uc.sigmask);
	(void)altstack_set(t, &uc.stack, regs->rsp, K_MINSIGSTKSZ);
	if (restore_fp(t, uc.mcontext.fpstate, regs->rsp, buf, (size_t)n))
		return -EFAULT;
	restore_regs(regs, &uc.mcontext);
	return 0;
}

int sigframe_return(struct task *t)
{
	size_t size = RETURN_EXTRA + platform->fpstate_size(NULL) + sizeof(uint32_t);
	uint8_t *buf = kalloc(size);
	int err = buf ? return_with(t, buf, size) : -EFAULT;

	kfree(buf, size);
	return err;
}
