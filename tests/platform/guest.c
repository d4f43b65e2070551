/*
 * What client.c runs: a static program that exercises a platform. Each check prints one line; the exit status is the
 * number of failures. `guest bench` measures, `guest hello` only says so (it is what execve runs).
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
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

#define TEST_CALL 5000
#define PAGE 4096ul

static int failures;
static volatile int handled, handled_sig;
static volatile uint64_t handled_addr;
static sigjmp_buf jump;

static void check(int ok, const char *what)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "%s %s\n", ok ? "ok  " : "FAIL", what);

	failures += !ok;
	if (write(1, line, (size_t)n) != n)
		_exit(99);
}

static void handler(int sig, uint64_t addr)
{
	handled++;
	handled_sig = sig;
	handled_addr = addr;
}

static void handler_jump(int sig, uint64_t addr)
{
	handler(sig, addr);
	siglongjmp(jump, 1);
}

void restorer(void);
__asm__(".globl restorer\nrestorer: mov $15, %eax; syscall");

static void on_signal(int sig, void (*fn)(int, uint64_t))
{
	uint64_t a[4] = {(uint64_t)fn, 0x04000000, (uint64_t)restorer, 0};

	syscall(SYS_rt_sigaction, sig, a, NULL, 8);
}

static void test_memory(void)
{
	char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *q = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(p != MAP_FAILED, "mmap");
	memset(p, 7, 16 * PAGE);
	check(syscall(TEST_CALL, 1, p) == 16, "mincore of touched pages");
	check(syscall(TEST_CALL, 1, q) == 0, "mincore of untouched pages");
	check(madvise(p, PAGE, MADV_DONTNEED) == 0 && p[0] == 0 && p[PAGE] == 7, "madvise");
	check(syscall(TEST_CALL, 3, p, 16 * PAGE, q) == 0 && q[PAGE] == 7, "move");
	check(mprotect(q, PAGE, PROT_READ) == 0 && write(-1, q, 1) == -1, "mprotect");
	check(munmap(q, 16 * PAGE) == 0, "munmap");
	check(write(1, q, 1) == -1, "write from unmapped memory fails");
	check(malloc(1 << 20) != NULL, "malloc");
}

static void test_cas(void)
{
	volatile uint32_t w = 5;
	uint32_t *ro = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(syscall(TEST_CALL, 0, &w, 5, 9) == 5 && w == 9, "cas that succeeds");
	check(syscall(TEST_CALL, 0, &w, 5, 11) == 9 && w == 9, "cas that fails");
	check(syscall(TEST_CALL, 0, ro, 0, 1) == -1, "cas of a read-only page");
	check(syscall(TEST_CALL, 0, 8, 0, 1) == -1, "cas of page zero");
}

static void test_faults(void)
{
	volatile double x = 1.5, y = 2.25;

	on_signal(SIGSEGV, handler_jump);
	on_signal(SIGFPE, handler_jump);
	on_signal(SIGILL, handler_jump);
	on_signal(SIGTRAP, handler);
	if (!sigsetjmp(jump, 0))
		*(volatile int *)0x12345 = 1;
	check(handled == 1 && handled_sig == SIGSEGV && handled_addr == 0x12345, "SIGSEGV with its address");
	if (!sigsetjmp(jump, 0)) {
		volatile int zero = 0;

		zero = 100 / zero;
	}
	check(handled == 2 && handled_sig == SIGFPE, "SIGFPE");
	if (!sigsetjmp(jump, 0))
		__asm__ volatile("ud2");
	check(handled == 3 && handled_sig == SIGILL, "SIGILL");
	__asm__ volatile("int3");
	check(handled == 4 && handled_sig == SIGTRAP, "SIGTRAP");
	if (!sigsetjmp(jump, 0))
		__asm__ volatile("int $0x80" : : "a"(20));
	check(handled == 5 && handled_sig == SIGSEGV, "int 0x80 is a fault");
	check(x * y == 3.375, "floating point");
}

/* Call sites of each kind: `name(number)` makes the call with known registers and returns 0 if all of them are kept. */
#define SITE(name, body)                                                                                               \
	long name(long nr, long *regs);                                                                                \
	__asm__(                                                                                                       \
	    ".globl " #name "\n.balign 64\n" #name ":\n"                                                               \
	    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi\n"                            \
	    "mov %edi, %eax; mov $1, %edi; mov $2, %edx; mov $3, %r8d; mov $4, %r9d; mov $5, %r10d; mov $6, %ebx\n"    \
	    "mov $7, %ebp; mov $8, %r12d; mov $9, %r13d; mov $10, %r14d; mov $11, %r15d; mov %rsp, %rsi\n"             \
	    "movq $0x1234567, -8(%rsp); pcmpeqd %xmm5, %xmm5; stc\n" body                                              \
	    "sbb %rcx, %rcx; neg %rcx; cmp %rsp, %rsi; jne 9f; pop %rsi; mov %rcx, 0(%rsi); mov %rdi, 8(%rsi)\n"       \
	    "mov %rdx, 16(%rsi); mov %r8, 24(%rsi); mov %r9, 32(%rsi); mov %r10, 40(%rsi); mov %rbx, 48(%rsi)\n"       \
	    "mov %rbp, 56(%rsi); mov %r12, 64(%rsi); mov %r13, 72(%rsi); mov %r14, 80(%rsi); mov %r15, 88(%rsi)\n"     \
	    "mov -16(%rsp), %rcx; mov %rcx, 96(%rsi); movq %xmm5, 104(%rsi)\n"                                         \
	    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n9: ud2")

SITE(site_load_ppid, "mov $110, %eax; syscall\n");
SITE(site_load_pid, "mov $39, %eax; syscall\n");
SITE(site_load_tid, "mov $186, %rax; syscall\n");
SITE(site_load_uid, "mov $102, %eax; syscall\n");
SITE(site_load_gid, "mov $104, %eax; syscall\n");
SITE(site_next, "syscall; mov %rax, %r11\n");
SITE(site_plain, "syscall; nop; nop; nop; mov %rax, %r11\n");

static int site_ok(long (*site)(long, long *), long nr, long want)
{
	static const long expect[12] = {1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
	long regs[14] = {0}, r = site(nr, regs);

	return r == want && memcmp(regs, expect, sizeof(expect)) == 0 && regs[13] == -1;
}

static void test_sites(void)
{
	long pid = getpid(), tid = syscall(SYS_gettid), ppid = getppid();
	int ok[7] = {1, 1, 1, 1, 1, 1, 1};

	for (int i = 0; i < 1000; i++) {
		ok[0] &= site_ok(site_load_ppid, 0, ppid);
		ok[1] &= site_ok(site_load_pid, 0, pid);
		ok[2] &= site_ok(site_load_tid, 0, tid);
		ok[3] &= site_ok(site_load_uid, 0, 0xfffffff0);
		ok[4] &= site_ok(site_load_gid, 0, 0x7ffffff1);
		ok[5] &= site_ok(site_next, i & 1 ? SYS_getppid : SYS_gettid, i & 1 ? ppid : tid) &&
			 site_ok(site_next, SYS_sched_yield, 0);
		ok[6] &= site_ok(site_plain, SYS_getppid, ppid);
	}
	check(ok[0] && ok[1] && ok[2], "call sites with a load before them");
	check(ok[3] && ok[4], "unsigned and signed answers");
	check(ok[5], "call site with a movable instruction behind it");
	check(ok[6], "call site that is not patched");
}

SITE(site_race1, "mov $110, %eax; syscall\n");
SITE(site_race2, "syscall; mov %rax, %r11; nop\n");
static volatile int race_failures;

static void *race_main(void *arg)
{
	long tid = syscall(SYS_gettid), ppid = getppid();

	for (int i = 0; i < 300; i++)
		if (!site_ok(site_race1, 0, ppid) || !site_ok(site_race2, SYS_gettid, tid))
			race_failures++;
	return arg;
}

/* Several threads meet fresh sites at once, in several processes because a site is patched once in each. */
static void test_site_races(void)
{
	int ok = 1, status;

	for (int n = 0; n < 10; n++) {
		int pid = fork();

		if (pid == 0) {
			pthread_t t[4];

			for (int i = 0; i < 4; i++)
				pthread_create(&t[i], NULL, race_main, NULL);
			for (int i = 0; i < 4; i++)
				pthread_join(t[i], NULL);
			_exit(race_failures ? 1 : 42);
		}
		ok &= waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 42;
	}
	check(ok, "threads at sites that are being patched");
}

static volatile int kicks, spinner_tid;

static void handler_count(int sig, uint64_t addr)
{
	(void)sig;
	(void)addr;
	kicks++;
}

static volatile int kicked_stop;

static void *kicked_main(void *arg)
{
	long ppid = getppid(), pid = getpid();
	int *bad = arg;

	spinner_tid = (int)syscall(SYS_gettid);
	while (!kicked_stop)
		*bad |= !site_ok(site_load_ppid, 0, ppid) ||
			!site_ok(site_load_pid, 0, pid) | !site_ok(site_next, SYS_getppid, ppid) ||
			!site_ok(site_plain, SYS_getppid, ppid);
	return arg;
}

/* Signals that land anywhere in calls, answered in the stub or not. */
static void test_kicked_calls(void)
{
	int bad = 0, sent = 0;
	pthread_t t;

	spinner_tid = 0;
	on_signal(SIGUSR1, handler_count);
	pthread_create(&t, NULL, kicked_main, &bad);
	while (!spinner_tid)
		sched_yield();
	for (int i = 0; i < 3000; i++) {
		int before = kicks;

		syscall(SYS_tgkill, getpid(), spinner_tid, SIGUSR1);
		sent++;
		for (long n = 0; kicks == before && n < 2000000; n++)
			sched_yield();
		if (kicks == before)
			break;
	}
	kicked_stop = 1;
	pthread_join(t, NULL);
	check(!bad, "registers survive signals during calls");
	check(kicks == sent, "no signal is lost");
}

static volatile int thread_ran[8];

static void *thread_main(void *arg)
{
	double d = (double)(intptr_t)arg;

	for (int i = 0; i < 1000; i++)
		d += 0.5;
	thread_ran[(intptr_t)arg] = (int)d == 500 + (int)(intptr_t)arg;
	return arg;
}

static void test_threads(void)
{
	pthread_t t[8];
	int ok = 1;

	for (int round = 0; round < 10; round++) {
		for (intptr_t i = 0; i < 8; i++)
			ok &= pthread_create(&t[i], NULL, thread_main, (void *)i) == 0;
		for (int i = 0; i < 8; i++)
			ok &= pthread_join(t[i], NULL) == 0 && thread_ran[i];
	}
	check(ok, "80 threads");
}

static volatile int spin_stop;

static void handler_stop(int sig, uint64_t addr __attribute__((unused)))
{
	handled_sig = sig;
	spin_stop = 1;
}

static void *spinner(void *arg)
{
	volatile double a = 3;

	spinner_tid = (int)syscall(SYS_gettid);
	while (!spin_stop)
		a = a * 1.0;
	return a == 3 ? arg : NULL;
}

static void test_kick(void)
{
	struct timespec ms = {0, 2000000};
	pthread_t t;
	void *r;

	on_signal(SIGUSR2, handler_stop);
	pthread_create(&t, NULL, spinner, (void *)&handled);
	while (!spinner_tid)
		nanosleep(&ms, NULL);
	syscall(SYS_tgkill, getpid(), spinner_tid, SIGUSR2);
	pthread_join(t, &r);
	check(r == (void *)&handled && handled_sig == SIGUSR2, "signal to a spinning thread");
}

static void test_fork(void)
{
	volatile int private = 1;
	volatile int *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int ok = 1, status;

	for (int i = 0; i < 20; i++) {
		int pid = fork();

		if (pid == 0) {
			private = 2;
			(*shared)++;
			_exit(7);
		}
		ok &= pid > 0 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7;
	}
	check(ok && private == 1 && *shared == 20, "20 forks");
	int pid = fork();
	if (pid == 0)
		for (;;)
			;
	struct timespec ms = {0, 2000000};
	nanosleep(&ms, NULL);
	kill(pid, SIGKILL);
	check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
	      "kill of a spinning child");
}

static void test_exec(void)
{
	char *argv[] = {"guest", "hello", NULL};
	volatile int ok = 1;
	int status;

	for (volatile int i = 0; i < 5; i++) {
		int pid = i & 1 ? vfork() : fork();

		if (pid == 0) {
			execve("guest", argv, NULL);
			_exit(1);
		}
		ok &= waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 42;
	}
	check(ok, "fork, vfork and exec");
}

static void *thread_exit_group(void *arg)
{
	(void)arg;
	_exit(33);
}

/* The process ends while its threads spin or wait. */
static void test_exit_group(void)
{
	int ok = 1, status;

	for (int i = 0; i < 5; i++) {
		int pid = fork();

		if (pid == 0) {
			pthread_t t;

			spin_stop = 0;
			pthread_create(&t, NULL, spinner, NULL);
			pthread_create(&t, NULL, spinner, NULL);
			pthread_create(&t, NULL, thread_exit_group, NULL);
			pthread_join(t, NULL);
			for (;;)
				;
		}
		ok &= waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 33;
	}
	check(ok, "exit_group with spinning threads");
	/* The first thread leaves, another one ends the process. */
	int pid = fork();
	if (pid == 0) {
		pthread_t t;

		pthread_create(&t, NULL, thread_exit_group, NULL);
		syscall(SYS_exit, 5);
	}
	check(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 33, "the first thread leaves early");
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void test_vdso(void)
{
	uint64_t a = now(), b = now();

	check(a && b >= a && b - a < 1000000000u, "clock");
}

#define BENCH(name, rounds, ...)                                                                                       \
	do {                                                                                                           \
		uint64_t best = ~0ull, start = now();                                                                  \
		for (int i_ = 0; i_ < (rounds); i_++) {                                                                \
			uint64_t s_ = now();                                                                           \
			__VA_ARGS__;                                                                                   \
			s_ = now() - s_;                                                                               \
			best = s_ < best ? s_ : best;                                                                  \
		}                                                                                                      \
		printf("%-28s min %9.2f mean %9.2f us\n", name, (double)best / 1e3,                                    \
		       (double)(now() - start) / 1e3 / (rounds));                                                      \
		fflush(stdout);                                                                                        \
	} while (0)

static void *empty(void *arg)
{
	return arg;
}

static void bench(void)
{
	pthread_t t;
	int status;

	BENCH("clock_gettime", 1000, now());
	long regs[14], n = 200000;
	uint64_t start;

	for (int i = 0; i < 10; i++)
		site_load_pid(0, regs);
	start = now();
	for (int i = 0; i < n; i++)
		site_load_pid(0, regs);
	printf("%-28s mean %9.4f us\n", "getpid at a patched site", (double)(now() - start) / 1e3 / (double)n);
	n = 50000;
	start = now();
	for (int i = 0; i < n; i++)
		site_next(SYS_sched_yield, regs);
	printf("%-28s mean %9.4f us\n", "sched_yield, back to back", (double)(now() - start) / 1e3 / (double)n);
	BENCH("getppid", 2000, syscall(SYS_getppid));
	BENCH("mmap+touch+munmap", 500, {
		char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		*(volatile char *)p = 1;
		munmap(p, PAGE);
	});
	BENCH("pthread create+join", 200, {
		pthread_create(&t, NULL, empty, NULL);
		pthread_join(t, NULL);
	});
	BENCH("fork+exit+wait", 100, {
		int pid = fork();
		if (pid == 0)
			_exit(0);
		waitpid(pid, &status, 0);
	});
	BENCH("fork+exec+wait", 50, {
		int pid = fork();
		if (pid == 0) {
			char *argv[] = {"guest", "quiet", NULL};
			execve("guest", argv, NULL);
		}
		waitpid(pid, &status, 0);
	});
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "hello") == 0)
		return 42;
	if (argc > 1 && strcmp(argv[1], "quiet") == 0)
		return 0;
	if (argc > 1 && strcmp(argv[1], "bench") == 0) {
		bench();
		return 0;
	}
	test_vdso();
	test_memory();
	test_cas();
	test_faults();
	test_threads();
	test_sites();
	test_site_races();
	test_kick();
	test_kicked_calls();
	test_fork();
	test_exec();
	test_exit_group();
	check(failures == 0, "all");
	return failures;
}
