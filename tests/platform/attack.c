/*
 * A hostile guest against the trap platform: run by client.c. It calls the host through the stub's own system call instruction
 * with registers of its choice, writes over everything that it shares with the sentry, jumps into the middle of the stub and
 * tries the other doors of the processor. Each attempt is made by a child. Nothing may get through, the sentry must live, and
 * innocent neighbours must not notice. Prints a line for each check; the exit status is the number of failures.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "platform/trap/layout.h"

#define PAGE 4096ul
#define GUEST_END 0x7fff00000000ul
#define FIXED (MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS)

static int failures;
static char own_page[PAGE] __attribute__((aligned(PAGE)));

static void check(int ok, const char *what)
{
	failures += !ok;
	printf("%s %s\n", ok ? "ok  " : "FAIL", what);
	fflush(stdout);
}

struct call {
	long nr, arg[6];
};

/*
 * The stub's "syscall; mov %rax, %r14; ..." in its command loop: with a count of 1 and a final answer of ANSWER_IRET it
 * loads the registers of a frame of ours. If the call fails, it first looks at the flags of the command, which lie in
 * a page without access here: so coming back means that the call succeeded.
 */
static uint64_t list_call;
static struct {
	uint64_t below[16];
	uint64_t uc[32];
} frame;

long stub_call(const struct call *c, uint64_t entry, void *uc, uint64_t command);
__asm__(".globl stub_call\nstub_call:\n"
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"mov %rdx, %r13; mov %rcx, %rbx; mov %rsi, %r11\n"
	"lea 1f(%rip), %rax; mov %rax, 168(%r13); mov %rsp, 160(%r13); movq $0x202, 176(%r13)\n"
	"mov $1, %ebp; mov $2, %r15d\n"
	"mov 0(%rdi), %rax; mov 16(%rdi), %rsi; mov 24(%rdi), %rdx; mov 32(%rdi), %r10; mov 40(%rdi), %r8\n"
	"mov 48(%rdi), %r9; mov 8(%rdi), %rdi; jmp *%r11\n"
	"1: xor %eax, %eax; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret");

static char *forbidden; /* a page without access */

static void find_entry(void)
{
	static const uint8_t code[] = {0x0f, 0x05, 0x49, 0x89, 0xc6};
	const uint8_t *stub = (const uint8_t *)STUB_CODE;

	for (unsigned i = 0; i + sizeof(code) < STUB_CODE_SIZE; i++)
		if (memcmp(stub + i, code, sizeof(code)) == 0)
			list_call = STUB_CODE + i;
	forbidden = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Runs fn in a child; its wait status, or -1 if it had to be killed. */
static int in_child(void (*fn)(void *), void *arg)
{
	struct timespec ms = {0, 1000000};
	int status, pid = fork();

	if (pid == 0) {
		fn(arg);
		_exit(0);
	}
	for (int i = 0; i < 150; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		nanosleep(&ms, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -1;
}

static void do_call(void *arg)
{
	stub_call(arg, list_call, frame.uc, (uint64_t)forbidden);
	_exit(77);
}

static int succeeds(const struct call *c)
{
	int status = in_child(do_call, (void *)(uintptr_t)c);

	return WIFEXITED(status) && WEXITSTATUS(status) == 77;
}

static void test_primitive(void)
{
	struct call good = {SYS_mprotect, {(long)forbidden, PAGE, PROT_READ}};

	check(list_call != 0, "the stub's call instruction is found");
	check(succeeds(&good), "a harmless call through it comes back");
}

/* Every call, with all arguments 0 and all -1. What may succeed has no effect then. */
static void test_sweep(void)
{
	static const int harmless[] = {SYS_munmap,  SYS_mprotect, SYS_madvise, SYS_msync,
				       SYS_mincore, SYS_futex,    SYS_exit,    SYS_exit_group};
	int bad = 0;

	for (int nr = 0; nr < 480; nr++) {
		struct call c = {nr, {0}};
		int skip = 0;

		for (unsigned i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
			skip |= nr == harmless[i];
		if (skip || nr == 335 || nr == 336)
			continue;
		for (int round = 0; round < 2; round++) {
			for (int i = 0; i < 6; i++)
				c.arg[i] = -round;
			if (succeeds(&c)) {
				printf("     call %d with arguments %d\n", nr, -round);
				bad++;
			}
		}
	}
	check(!bad, "no other call gets through");
}

static const struct {
	const char *name;
	struct call c;
} forged[] = {
    {"openat", {SYS_openat, {AT_FDCWD, (long)"/etc/passwd", O_RDONLY}}},
    {"write", {SYS_write, {1, (long)"x", 1}}},
    {"clone as the mother makes threads", {SYS_clone, {MOTHER_THREAD}}},
    {"clone as the mother forks", {SYS_clone, {MOTHER_FORK}}},
    {"clone with SIGCHLD", {SYS_clone, {SIGCHLD}}},
    {"a forged answer of the mother", {SYS_lseek, {FD_CTL, 1l << 32 | 1, SEEK_SET}}},
    {"close of the control file", {SYS_close, {FD_CTL}}},
    {"close of a listener", {SYS_close, {FD_LSN}}},
    {"no death signal", {SYS_prctl, {1, 0}}},
    {"prctl seccomp", {SYS_prctl, {22, 2, (long)STUB_CONST}}},
    {"alternate stack", {SYS_sigaltstack, {(long)STUB_CTL + PAGE, 0}}},
    {"signal mask", {SYS_rt_sigprocmask, {SIG_SETMASK, (long)STUB_CONST + K_ZERO, 0, 8}}},
    {"rt_sigreturn", {SYS_rt_sigreturn, {0}}},
    {"a second filter", {SYS_seccomp, {1, LISTENER_FLAGS, (long)STUB_CONST + K_FPROG_THR}}},
    {"futex requeue", {SYS_futex, {(long)STUB_CTL, 4, 1, 1, (long)&failures, 0}}},
    {"futex wake-op", {SYS_futex, {(long)&failures, 5, 1, 1, (long)&failures, 0}}},
    {"map over the code", {SYS_mmap, {STUB_CODE, PAGE, 7, FIXED, -1, 0}}},
    {"map over the control pages", {SYS_mmap, {STUB_CTL, PAGE, 3, FIXED, -1, 0}}},
    {"control pages of another", {SYS_mmap, {STUB_CTL, CTL_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, FD_CTL, 0}}},
    {"thread areas of another", {SYS_mmap, {STUB_THR, THR_SIZE, 3, MAP_SHARED | MAP_FIXED, FD_THR, 0}}},
    {"thread areas in guest memory", {SYS_mmap, {0x200000000000, THR_SIZE, 3, MAP_SHARED | MAP_FIXED, FD_THR, 0}}},
    {"map of a descriptor that is not there", {SYS_mmap, {0x200000000000, PAGE, 1, MAP_SHARED | MAP_FIXED, FD_MAP, 0}}},
    {"map without a fixed place", {SYS_mmap, {STUB_CTL, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}}},
    {"map that grows down", {SYS_mmap, {0x200000000000, PAGE, 3, FIXED | 0x100, -1, 0}}},
    {"map across the end", {SYS_mmap, {(long)GUEST_END - PAGE, 2 * PAGE, 3, FIXED, -1, 0}}},
    {"unmap of the code", {SYS_munmap, {STUB_CODE, PAGE}}},
    {"unmap with a wrapping size", {SYS_munmap, {STUB_CODE, -PAGE}}},
    {"unmap of everything", {SYS_munmap, {0x10000, STUB_END - 0x10000}}},
    {"unmap by half a carry", {SYS_munmap, {0x7ffe80000000, 0x90000000}}},
    {"protect of the control pages", {SYS_mprotect, {STUB_CTL, PAGE, 3}}},
    {"protect across the end", {SYS_mprotect, {(long)GUEST_END - PAGE, 0x10001000, 3}}},
    {"protect by key", {SYS_pkey_mprotect, {STUB_CTL, PAGE, 3, -1}}},
    {"advise on thread areas", {SYS_madvise, {STUB_THR, PAGE, MADV_DONTNEED}}},
    {"advise remove", {SYS_madvise, {(long)own_page, PAGE, MADV_REMOVE}}},
    {"move of the control pages", {SYS_mremap, {STUB_CTL, PAGE, PAGE, 3, 0x200000000000}}},
    {"move over the control pages", {SYS_mremap, {(long)own_page, PAGE, PAGE, 3, STUB_CTL}}},
    {"growth into the platform", {SYS_mremap, {(long)GUEST_END - PAGE, PAGE, 2 * PAGE, 0}}},
    {"membarrier register", {SYS_membarrier, {64, 0}}},
};

static void test_forged(void)
{
	char line[96];

	for (unsigned i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		snprintf(line, sizeof(line), "refused: %s", forged[i].name);
		check(!succeeds(&forged[i].c), line);
	}
}

static void write_control(void *arg)
{
	*(volatile int *)(STUB_CTL + (uintptr_t)arg) = 7;
	_exit(77);
}

static void write_code(void *arg)
{
	*(volatile char *)(STUB_CODE + (uintptr_t)arg) = 7;
	_exit(77);
}

/* Anywhere into the stub, with registers that point to our own memory. */
static void jump_in(void *arg)
{
	struct call c = {(long)arg & 1 ? NR_REPORT : 0, {1, (long)frame.uc, 3, 4, 5, 6}};

	stub_call(&c, STUB_CODE + (uint64_t)arg, frame.uc, (uint64_t)frame.uc);
	_exit(0);
}

static void forged_report(void *arg)
{
	const struct call *c = arg;

	stub_call(c, list_call, frame.uc, (uint64_t)forbidden);
	_exit(0);
}

static void hostile_gs(void *arg)
{
	syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, arg);
	__asm__ volatile("wrgsbase %0" : : "r"(arg));
	for (int i = 0; i < 20; i++)
		getppid();
	_exit(0);
}

static void test_jumps(void)
{
	static const uint64_t gs[] = {STUB_CTL, STUB_CTL + 5 * PAGE, STUB_THR, STUB_CODE, 0x7fffdeadb000, 0x1234};
	static const long signos[] = {SIGSYS, KICK_SIGNAL, SIGSEGV, 0, -1, SIGKILL, 65, 1 << 20};
	struct call c = {NR_REPORT, {SIGSYS, 0, 0, 0, 0, 0}};
	static const long at[] = {0,
				  1,
				  STUB_THR,
				  STUB_THR + 0x200,
				  STUB_THR + SLOT_SIZE + T_FAST,
				  STUB_THR + SLOT_SIZE + 0xff00,
				  STUB_THR + 2 * SLOT_SIZE + 0xf000,
				  -1,
				  (long)&frame};
	int status = 0;

	check(WIFSIGNALED(in_child(write_control, 0)), "control pages are read-only");
	check(WIFSIGNALED(in_child(write_control, (void *)(2 * PAGE))), "a thread's control page too");
	check(WIFSIGNALED(in_child(write_code, 0)), "code is read-only");
	for (uintptr_t i = 0; i < 0x800; i += 3)
		status |= in_child(jump_in, (void *)i) == 77 << 8;
	check(!status, "jumps into the stub");
	for (unsigned kind = 0; kind < 6; kind++)
		for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
			c.arg[0] = signos[(kind + i) % (sizeof(signos) / sizeof(signos[0]))];
			c.arg[1] = at[i];
			c.arg[5] = kind;
			in_child(forged_report, &c);
		}
	check(1, "forged reports");
	for (unsigned i = 0; i < sizeof(gs) / sizeof(gs[0]); i++)
		in_child(hostile_gs, (void *)gs[i]);
	check(1, "gs that points to places of the platform");
}

static volatile int scribble_stop;

static void *scribble(void *arg)
{
	uint64_t x = 88172645463325252ull + (uint64_t)arg;

	while (!scribble_stop) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		uint64_t slot = x % 12, off = (x >> 8) % SLOT_SIZE & ~7ul;

		if (off > 0x1000 && off < 0x8000)
			off &= 0xff8;
		*(volatile uint64_t *)(STUB_THR + slot * SLOT_SIZE + off) = x & 0x100000 ? x >> 32 & 7 : x;
	}
	return NULL;
}

static void *victim(void *arg)
{
	for (;;) {
		getppid();
		sched_yield();
		void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p != MAP_FAILED)
			munmap(p, PAGE);
	}
	return arg;
}

/* A process that writes over its own thread areas while it makes calls and forks. It may die of it, at any point. */
static void suicidal(void *arg)
{
	pthread_t t;

	for (int i = 0; i < 3; i++)
		pthread_create(&t, NULL, victim, NULL);
	pthread_create(&t, NULL, scribble, arg);
	for (int i = 0; i < 20; i++) {
		int pid = fork();

		if (pid == 0)
			_exit(0);
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	_exit(0);
}

static void test_scribbling(void)
{
	int ok = 1, status;

	for (uintptr_t i = 0; i < 10; i++) {
		int pid = fork();

		if (pid == 0)
			suicidal((void *)(i * 7919));
		for (int n = 0; n < 5; n++) {
			int child = fork();

			if (child == 0)
				_exit(7);
			ok &= waitpid(child, &status, 0) == child && status == 7 << 8;
		}
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	check(ok, "neighbours of a process that writes over its thread areas");
}

static void x32(void *arg)
{
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(0x40000000 + SYS_getpid) : "rcx", "r11", "memory");
	_exit(r == -ENOSYS ? 0 : 77);
	(void)arg;
}

static void old_entry(void *arg)
{
	long r;

	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20));
	_exit(77);
	(void)arg;
}

static void vsyscall(void *arg)
{
	long r = ((long (*)(void *))0xffffffffff600400)(NULL);

	_exit(r == -ENOSYS ? 0 : 77);
	(void)arg;
}

static void probe_call(void *arg)
{
	long r = syscall((long)arg);

	_exit(r == -1 ? 0 : 77);
}

static void test_doors(void)
{
	int status;

	check(in_child(x32, NULL) == 0, "x32");
	check(WIFSIGNALED(in_child(old_entry, NULL)), "int 0x80");
	status = in_child(vsyscall, NULL);
	check(status == 0 || WIFSIGNALED(status), "vsyscall");
	check(in_child(probe_call, (void *)335) != 77 << 8, "uretprobe");
	check(in_child(probe_call, (void *)336) != 77 << 8, "uprobe");
}

int main(void)
{
	find_entry();
	test_primitive();
	test_forged();
	test_doors();
	test_jumps();
	test_scribbling();
	test_sweep();
	test_primitive();
	check(failures == 0, "all");
	return failures;
}
