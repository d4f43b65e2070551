/* sentry/sigframe.c and sigwork.c on platform/fake: frames, their way back, forged ones, restarts, masks and queues */
#include "platform/fake/fake.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "sentry/base/cred.h"
#include "sentry/mm.h"
#include "sentry/sigimpl.h"
#include "sentry/task.h"
#include "tests/unit/unit.h"

#define STACK 0x500000ul
#define STACK_SIZE (16 * PAGE_SIZE)
#define TOP (STACK + STACK_SIZE)
#define CODE 0x400000ul
#define RESTORER 0x400100ul
#define HANDLER 0x400200ul
#define K_SA_RESTORER 0x04000000ul

/* Offsets in struct rt_sigframe, from the stack pointer at the handler's start. */
enum {
	AT_UC = 8,
	AT_UC_STACK = AT_UC + 16,
	AT_REGS = AT_UC + 40, /* r8 first */
	AT_RIP = AT_REGS + 16 * 8,
	AT_EFLAGS = AT_RIP + 8,
	AT_CS = AT_EFLAGS + 8,
	AT_FPSTATE = AT_CS + 8 + 4 * 8,
	AT_MASK = AT_FPSTATE + 8 + 64,
	AT_INFO = AT_MASK + 8,
};

static struct thread_group tg;
static struct task t;

static enum cpu_action no_event(struct cpu *cpu __unused, const struct cpu_event *ev __unused)
{
	return CPU_RESUME;
}

static struct k_user_regs *regs(void)
{
	return platform->cpu_regs(t.cpu);
}

static void setup(void)
{
	static const struct platform_client client = {no_event};
	struct platform_config config = {.client = &client};

	platform = &platform_fake;
	ck_assert_int_eq(platform->init(&config), 0);
	ck_assert_int_eq(platform->aspace_create(&t.cpu), 0);
	ck_assert_int_eq(platform->aspace_map(t.cpu, STACK, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1, 0), 0);
	parker_init(&t.ctx.parker);
	t.ctx.uaccess = &task_uaccess;
	t.ctx.cred = cred_create(0, 0, NULL, 0);
	t.ctx.tid = t.ctx.tgid = tg.pid = 1;
	t.tg = &tg;
	mutex_init(&tg.lock);
	list_init(&tg.tasks);
	list_init(&tg.children);
	list_append(&tg.tasks, &t.tg_link);
	sigpending_init(&tg.pending);
	sigpending_init(&t.pending);
	tg.sighand = sighand_create();
	tg.rlimit[RLIMIT_SIGPENDING].rlim_cur = 8;
	memset(regs(), 0, sizeof(*regs()));
	regs()->rsp = TOP - 64;
	regs()->rip = CODE + 2;
	regs()->eflags = 0x202;
}

static void handle(int signo, uint64_t flags, k_sigset_t mask)
{
	tg.sighand->action[signo - 1] = (struct k_sigaction){HANDLER, flags | K_SA_RESTORER, RESTORER, mask};
}

static void send(int signo)
{
	siginfo_t info = {.si_signo = signo, .si_code = SI_USER};

	info.si_pid = 7;
	ck_assert_int_eq(signal_send_task(&t, signo, &info), 0);
}

static uint64_t peek(uint64_t addr)
{
	uint64_t v = 0;

	ck_assert_int_eq(platform->cpu_read(t.cpu, &v, addr, sizeof(v)), sizeof(v));
	return v;
}

static void poke(uint64_t addr, uint64_t v)
{
	ck_assert_int_eq(platform->cpu_write(t.cpu, addr, &v, sizeof(v)), sizeof(v));
}

/* As the handler's ret and the restorer's call do. */
static int go_back(void)
{
	regs()->rsp += 8;
	return sigframe_return(&t);
}

START_TEST(a_frame_and_its_way_back)
{
	struct k_user_regs before;
	uint64_t sp;

	setup();
	handle(SIGUSR1, SA_SIGINFO, SIGBIT(SIGUSR2));
	for (size_t i = 0; i < 15; i++)
		((uint64_t *)regs())[i] = 100 + i;
	regs()->eflags = 0x202 | 0x400 | 1;
	before = *regs();
	send(SIGUSR1);
	ck_assert(signal_work(&t, false, 0));
	sp = regs()->rsp;
	ck_assert_uint_eq((sp + 8) % 16, 0);
	ck_assert_uint_lt(sp, before.rsp - 128 - 440);
	ck_assert_uint_eq(peek(sp), RESTORER);
	ck_assert_uint_eq(regs()->rip, HANDLER);
	ck_assert_uint_eq(regs()->rdi, SIGUSR1);
	ck_assert_uint_eq(regs()->rsi, sp + AT_INFO);
	ck_assert_uint_eq(regs()->rdx, sp + AT_UC);
	ck_assert_uint_eq(regs()->rax, 0);
	ck_assert_uint_eq(regs()->eflags & 0x400, 0);
	ck_assert_uint_eq(peek(sp + AT_RIP), CODE + 2);
	ck_assert_uint_eq(peek(sp + AT_CS), 0x002b000000000033ul);
	ck_assert_uint_eq(peek(sp + AT_FPSTATE) % 64, 0);
	ck_assert_uint_eq((uint32_t)peek(peek(sp + AT_FPSTATE) + 464), 0x46505853);
	ck_assert_uint_eq((uint32_t)peek(sp + AT_INFO), SIGUSR1);
	ck_assert_uint_eq(t.blocked, SIGBIT(SIGUSR1) | SIGBIT(SIGUSR2));
	ck_assert_int_eq(go_back(), 0);
	before.orig_rax = UINT64_MAX;
	ck_assert_int_eq(memcmp(regs(), &before, sizeof(before)), 0);
	ck_assert_uint_eq(t.blocked, 0);
}
END_TEST

static uint64_t enter(void)
{
	handle(SIGUSR1, SA_SIGINFO, 0);
	send(SIGUSR1);
	ck_assert(signal_work(&t, false, 0));
	return regs()->rsp;
}

START_TEST(forged_frames)
{
	uint64_t sp, fp;

	setup();
	sp = enter();
	/* Segments and system flags are not the frame's to give. */
	poke(sp + AT_CS, UINT64_MAX);
	poke(sp + AT_EFLAGS, UINT64_MAX);
	poke(sp + AT_MASK, UINT64_MAX);
	ck_assert_int_eq(go_back(), 0);
	ck_assert_uint_eq(regs()->eflags & 0x3000 /* IOPL */, 0);
	ck_assert_uint_eq(regs()->eflags & 0x20000 /* VM */, 0);
	ck_assert_uint_eq(t.blocked, ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP)));
	signal_set_blocked(&t, 0);

	regs()->rsp = TOP - 64;
	sp = enter();
	fp = peek(sp + AT_FPSTATE);
	poke(fp + 512, UINT64_MAX); /* components that no processor has */
	ck_assert_int_eq(go_back(), -EFAULT);
	regs()->rsp = sp;
	poke(fp + 512, 3);
	poke(fp + 520, 1ull << 63); /* compacted format */
	ck_assert_int_eq(go_back(), -EFAULT);
	regs()->rsp = sp;
	poke(fp + 520, 0);
	poke(fp + 24, 0xffffffff); /* reserved bits of MXCSR */
	ck_assert_int_eq(go_back(), -EFAULT);
	regs()->rsp = sp;
	poke(fp + 24, 0x1f80);
	poke(sp + AT_FPSTATE, fp + 8);
	ck_assert_int_eq(go_back(), -EFAULT);
	regs()->rsp = sp;
	poke(sp + AT_FPSTATE, GUEST_END - 64);
	ck_assert_int_eq(go_back(), -EFAULT);
	regs()->rsp = sp;
	poke(sp + AT_FPSTATE, UINT64_MAX & ~63ul);
	ck_assert_int_eq(go_back(), -EFAULT);
	/* Without its mark only the first 512 bytes count; without an image the state is the initial one. */
	regs()->rsp = sp;
	poke(sp + AT_FPSTATE, fp);
	poke(fp + 464, 0);
	poke(fp + 512, UINT64_MAX);
	ck_assert_int_eq(go_back(), 0);
	regs()->rsp = sp;
	poke(sp + AT_FPSTATE, 0);
	ck_assert_int_eq(go_back(), 0);
	/* No frame at all. */
	regs()->rsp = STACK - 64;
	ck_assert_int_eq(go_back(), -EFAULT);
	regs()->rsp = UINT64_MAX - 16;
	ck_assert_int_eq(go_back(), -EFAULT);
}
END_TEST

START_TEST(alternate_stacks)
{
	struct k_stack alt = {.sp = STACK, .size = 2 * PAGE_SIZE + 4096}, bad = alt;
	uint64_t sp;

	setup();
	ck_assert_int_eq(altstack_set(&t, &alt, TOP, 2048), 0);
	ck_assert_int_eq(altstack_flags(&t, TOP), 0);
	handle(SIGUSR1, SA_ONSTACK, 0);
	send(SIGUSR1);
	ck_assert(signal_work(&t, false, 0));
	sp = regs()->rsp;
	ck_assert(sp > alt.sp && sp < alt.sp + alt.size);
	ck_assert_int_eq(altstack_flags(&t, sp), SS_ONSTACK);
	ck_assert_int_eq(altstack_set(&t, &alt, sp, 2048), -EPERM);
	/* A nested one goes on below; it stays on the stack. */
	handle(SIGUSR2, SA_ONSTACK, 0);
	send(SIGUSR2);
	ck_assert(signal_work(&t, false, 0));
	ck_assert_uint_lt(regs()->rsp, sp);
	ck_assert_uint_gt(regs()->rsp, alt.sp);
	ck_assert_int_eq(go_back(), 0);
	ck_assert_uint_eq(regs()->rsp, sp);
	ck_assert_int_eq(go_back(), 0);

	/* AUTODISARM: off while the handler runs, back by its return. */
	alt.flags = (int32_t)(1u << 31);
	ck_assert_int_eq(altstack_set(&t, &alt, TOP, 2048), 0);
	send(SIGUSR1);
	ck_assert(signal_work(&t, false, 0));
	ck_assert_uint_eq(t.altstack.size, 0);
	ck_assert_uint_eq(peek(regs()->rsp + AT_UC_STACK), alt.sp);
	ck_assert_int_eq(go_back(), 0);
	ck_assert_uint_eq(t.altstack.size, alt.size);

	bad.size = 100;
	ck_assert_int_eq(altstack_set(&t, &bad, TOP, 2048), -ENOMEM);
	bad.flags = 8;
	ck_assert_int_eq(altstack_set(&t, &bad, TOP, 2048), -EINVAL);
}
END_TEST

START_TEST(no_room_for_a_frame_is_a_segv)
{
	struct k_stack small = {.sp = STACK, .size = 512};

	setup();
	ck_assert_int_eq(altstack_set(&t, &small, TOP, 0), 0);
	handle(SIGUSR1, SA_ONSTACK, 0);
	send(SIGUSR1);
	ck_assert(!signal_work(&t, false, 0));
	ck_assert_int_eq(t.exit_code, SIGSEGV);
	ck_assert_int_eq(t.exiting, TASK_EXITS_GROUP);
}
END_TEST

/* What rax and rip are in the frame (or, without a handler, in the registers) after a call returned ret. */
static void interrupted(sysret_t ret, uint64_t flags, bool handler, bool restarted, int64_t rax)
{
	uint64_t sp;

	regs()->rsp = TOP - 64;
	regs()->rip = CODE + 2;
	regs()->orig_rax = SYS_read;
	regs()->rax = (uint64_t)-ENOSYS;
	signal_set_blocked(&t, 0);
	handle(SIGUSR1, flags, 0);
	if (handler)
		send(SIGUSR1);
	ck_assert(signal_work(&t, true, ret));
	sp = regs()->rsp;
	if (handler) {
		ck_assert_uint_eq(regs()->rip, HANDLER);
		ck_assert_uint_eq(peek(sp + AT_RIP), restarted ? CODE : CODE + 2);
		ck_assert_int_eq((int64_t)peek(sp + AT_RIP - 24), rax);
	} else {
		ck_assert_uint_eq(regs()->rip, restarted ? CODE : CODE + 2);
		ck_assert_int_eq((int64_t)regs()->rax, rax);
	}
}

START_TEST(restarts)
{
	setup();
	interrupted(-ERESTARTSYS, 0, true, false, -EINTR);
	interrupted(-ERESTARTSYS, SA_RESTART, true, true, SYS_read);
	interrupted(-ERESTARTSYS, 0, false, true, SYS_read);
	interrupted(-ERESTARTNOINTR, 0, true, true, SYS_read);
	interrupted(-ERESTARTNOHAND, SA_RESTART, true, false, -EINTR);
	interrupted(-ERESTARTNOHAND, 0, false, true, SYS_read);
	interrupted(-ERESTART_RESTARTBLOCK, SA_RESTART, true, false, -EINTR);
	interrupted(-ERESTART_RESTARTBLOCK, 0, false, true, SYS_restart_syscall);
	interrupted(5, SA_RESTART, true, false, 5);
	interrupted(-EBADF, 0, false, false, -EBADF);
}
END_TEST

static int next(k_sigset_t mask)
{
	siginfo_t info;

	return signal_dequeue(&t, mask, &info);
}

START_TEST(queues)
{
	siginfo_t info = {.si_signo = 40, .si_code = SI_QUEUE};

	setup();
	signal_set_blocked(&t, ~0ull);
	send(SIGUSR2);
	send(SIGUSR2);
	send(SIGUSR1);
	send(SIGSEGV);
	for (int i = 0; i < 5; i++) {
		info.si_value.sival_int = i;
		ck_assert_int_eq(signal_send_task(&t, 40, &info), 0);
	}
	/* 8 entries: three standard ones and five queued. */
	ck_assert_int_eq(signal_send_task(&t, 40, &info), -EAGAIN);
	/* Standard signals get through, with nothing to tell. */
	send(SIGHUP);
	ck_assert_int_eq(next(~0ull), SIGSEGV);
	ck_assert_int_eq(next(~SIGBIT(SIGUSR1)), SIGHUP);
	ck_assert_int_eq(next(~SIGBIT(SIGUSR1)), SIGUSR2);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(signal_dequeue(&t, ~SIGBIT(SIGUSR1), &info), 40);
		ck_assert_int_eq(info.si_value.sival_int, i);
	}
	ck_assert_int_eq(next(~0ull), SIGUSR1);
	ck_assert_int_eq(next(~0ull), 0);
}
END_TEST

START_TEST(ignored_and_blocked)
{
	setup();
	send(SIGCHLD);
	ck_assert_uint_eq(t.pending.set, 0);
	tg.sighand->action[SIGUSR1 - 1].handler = K_SIG_IGN;
	send(SIGUSR1);
	ck_assert_uint_eq(t.pending.set, 0);
	signal_set_blocked(&t, SIGBIT(SIGUSR1) | SIGBIT(SIGCHLD));
	send(SIGUSR1);
	send(SIGCHLD);
	ck_assert_uint_eq(t.pending.set, SIGBIT(SIGUSR1) | SIGBIT(SIGCHLD));
	ck_assert(!(ctx_interrupts(&t.ctx) & CTX_SIGNAL));
	signal_set_blocked(&t, 0);
	ck_assert(ctx_interrupts(&t.ctx) & CTX_SIGNAL);
	ck_assert(signal_work(&t, false, 0));
	ck_assert_uint_eq(t.pending.set, 0);
	ck_assert(!(ctx_interrupts(&t.ctx) & CTX_SIGNAL));
}
END_TEST

START_TEST(stop_and_continue_cancel_each_other)
{
	setup();
	signal_set_blocked(&t, ~0ull);
	send(SIGTSTP);
	send(SIGTTIN);
	send(SIGCONT);
	ck_assert_uint_eq(t.pending.set, SIGBIT(SIGCONT));
	send(SIGTTOU);
	ck_assert_uint_eq(t.pending.set, SIGBIT(SIGTTOU));
}
END_TEST

START_TEST(temporary_masks)
{
	k_sigset_t mask = SIGBIT(SIGUSR2);

	setup();
	poke(STACK, mask);
	signal_set_blocked(&t, SIGBIT(SIGUSR1));
	ck_assert_int_eq(signal_push_mask(&t, 0, 8), 0);
	ck_assert(!t.restore_blocked);
	ck_assert_int_eq(signal_push_mask(&t, STACK, 4), -EINVAL);
	ck_assert_int_eq(signal_push_mask(&t, 8, 8), -EFAULT);
	ck_assert_int_eq(signal_push_mask(&t, STACK, 8), 0);
	ck_assert_uint_eq(t.blocked, mask);
	ck_assert_int_eq(signal_pop_mask(&t, 3), 3);
	ck_assert_uint_eq(t.blocked, SIGBIT(SIGUSR1));
	/* Interrupted: the handler runs under the temporary mask, and the frame has the old one. */
	ck_assert_int_eq(signal_push_mask(&t, STACK, 8), 0);
	handle(SIGUSR1, 0, 0);
	send(SIGUSR1);
	ck_assert_int_eq(signal_pop_mask(&t, -ERESTARTNOHAND), -ERESTARTNOHAND);
	ck_assert(signal_work(&t, true, -ERESTARTNOHAND));
	ck_assert_uint_eq(t.blocked, mask | SIGBIT(SIGUSR1));
	ck_assert_uint_eq(peek(regs()->rsp + AT_MASK), SIGBIT(SIGUSR1));
	ck_assert(!t.restore_blocked);
}
END_TEST

UNIT_MAIN(a_frame_and_its_way_back, forged_frames, alternate_stacks, no_room_for_a_frame_is_a_segv, restarts, queues,
	  ignored_and_blocked, stop_and_continue_cancel_each_other, temporary_masks)
