/*
 * A hostile guest, for attack.sh. It knows where the stub of the trap platform lies and what its pages mean (platform/trap/layout.h).
 * Nothing here has a right result: the test is that the sandbox ends or goes on, that the host and neighbours notice nothing, and that
 * the sentry does not fail by itself. On other platforms most of it is a plain SIGSEGV.
 *
 *	attack NAME [DIRECTORY ON THE HOST]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
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

#include "platform/trap/layout.h"

static sigjmp_buf escape;
static volatile int stop;

static void on_fault(int sig)
{
	siglongjmp(escape, sig);
}

static void catch_faults(void)
{
	static char stack[65536];
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction sa = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK | SA_NODEFER};

	sigaltstack(&ss, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
	sigaction(SIGTRAP, &sa, NULL);
	sigaction(SIGFPE, &sa, NULL);
	sigaction(SIGSYS, &sa, NULL);
}

/* Jumps to an address with these registers; comes back by a fault if at all. */
static void jump(uint64_t to, uint64_t nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t flags)
{
	register uint64_t r10 __asm__("r10") = a3;
	register uint64_t r8 __asm__("r8") = a4;
	register uint64_t r9 __asm__("r9") = 0;

	if (sigsetjmp(escape, 1))
		return;
	__asm__ volatile("pushq %1; popfq; jmp *%0"
			 :
			 : "b"(to), "c"(flags), "a"(nr), "D"(a0), "S"(a1), "d"(a2), "r"(r10), "r"(r8), "r"(r9)
			 : "memory");
}

#define BATCH 16

static pid_t children[BATCH];
static unsigned child_count;

/* Waits for the children of a batch; those that do not end soon are killed. */
static void reap(void)
{
	int status;

	for (int i = 0; i < 60 && child_count; i++) {
		for (unsigned k = 0; k < child_count; k++)
			if (waitpid(children[k], &status, WNOHANG) == children[k])
				children[k--] = children[--child_count];
		usleep(5000);
	}
	for (unsigned k = 0; k < child_count; k++)
		kill(children[k], SIGKILL);
	for (unsigned k = 0; k < child_count; k++)
		waitpid(children[k], &status, 0);
	child_count = 0;
}

/* In a child of its own. */
static void in_child(void (*fn)(uint64_t), uint64_t arg)
{
	pid_t pid = fork();

	if (pid == 0) {
		catch_faults();
		fn(arg);
		_exit(0);
	}
	children[child_count++] = pid;
	if (child_count == BATCH)
		reap();
}

static const char *planted;

/* Every kind of call that would hurt, through one of the stub's own system call instructions. */
static void forge(uint64_t at)
{
	static const uint64_t flags[] = {0x202, 0x302, 0x40202, 0x4202};
	uint64_t path = (uint64_t)planted;

	for (size_t f = 0; f < sizeof(flags) / sizeof(*flags); f++) {
		jump(at, SYS_mkdirat, (uint64_t)AT_FDCWD, path, 0777, 0, 0, flags[f]);
		jump(at, SYS_mkdir, path, 0777, 0, 0, 0, flags[f]);
		jump(at, SYS_openat, (uint64_t)AT_FDCWD, path, O_CREAT | O_WRONLY, 0666, 0, flags[f]);
		jump(at, SYS_socket, 2, 1, 0, 0, 0, flags[f]);
		jump(at, SYS_clone, SIGCHLD, 0, 0, 0, 0, flags[f]);
		jump(at, SYS_execve, (uint64_t) "/bin/sh", 0, 0, 0, 0, flags[f]);
		jump(at, SYS_seccomp, 1, 0, path, 0, 0, flags[f]);
		jump(at, SYS_prctl, 22, 2, path, 0, 0, flags[f]);
		jump(at, SYS_lseek, 0, 0x1000, 0, 0, 0, flags[f]);
		jump(at, SYS_ptrace, 16, 1, 0, 0, 0, flags[f]);
		jump(at, SYS_process_vm_writev, 1, path, 1, path, 1, flags[f]);
		jump(at, SYS_mmap, STUB_CODE, 0x1000, 7, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, flags[f]);
		jump(at, SYS_mmap, 0x10000000, 0x1000, 7, MAP_FIXED | MAP_SHARED, 0, flags[f]);
		jump(at, SYS_mremap, STUB_CODE, 0x1000, 0x1000, 3, 0x10000000, flags[f]);
		jump(at, SYS_munmap, STUB_CTL, CTL_SIZE, 0, 0, 0, flags[f]);
		jump(at, SYS_mprotect, STUB_CTL, CTL_SIZE, 7, 0, 0, flags[f]);
		jump(at, SYS_madvise, STUB_CTL, CTL_SIZE, MADV_REMOVE, 0, 0, flags[f]);
		jump(at, SYS_rt_sigreturn, 0, 0, 0, 0, 0, flags[f]);
		jump(at, SYS_rt_sigprocmask, SIG_BLOCK, path, 0, 8, 0, flags[f]);
		jump(at, SYS_rt_sigaction, SIGSYS, 0, 0, 8, 0, flags[f]);
		jump(at, SYS_sigaltstack, path, 0, 0, 0, 0, flags[f]);
		jump(at, SYS_write, 1, path, 10, 0, 0, flags[f]);
		jump(at, SYS_ioctl, 3, 0xc0182101, path, 0, 0, flags[f]);
		jump(at, SYS_close, 0, 0, 0, 0, 0, flags[f]);
		jump(at, SYS_dup2, 1, 0, 0, 0, 0, flags[f]);
		jump(at, SYS_kill, 1, 0, 0, 0, 0, flags[f]);
		jump(at, SYS_futex, STUB_CTL, 0, 0, 0, 0, flags[f]);
		jump(at, 335, 0, 0, 0, 0, 0, flags[f]);
		jump(at, 425, 8, path, 0, 0, 0, flags[f]);
		jump(at, SYS_getpid | 0x40000000, 0, 0, 0, 0, 0, flags[f]);
	}
}

/* Reports of events that no host has sent, with a frame that is in the right place. */
static void forge_report(uint64_t at)
{
	static const int signos[] = {0, -1, SIGKILL, SIGSEGV, SIGUSR1, 19, 32, 64, 65, 200, 1000, 1 << 20, INT_MIN, INT_MAX};
	uint64_t frame = STUB_THR + SLOT_SIZE + T_FAST;

	jump(at >> 8, NR_REPORT, (uint64_t)signos[at & 255], frame, 0, 0, 0, 0x202);
}

static void enter(uint64_t at)
{
	jump(at, 0, 0, 0, 0, 0, 0, 0x202);
	jump(at, M_OP_FORK, STUB_CTL, STUB_THR, STUB_CTL, STUB_THR, STUB_CTL, 0x302);
}

/* Each system call instruction of the stub, then each of its bytes as an entry. */
static void stub_code(void)
{
	const unsigned char *code = (void *)STUB_CODE;
	size_t end = STUB_CODE_SIZE;

	if (sigsetjmp(escape, 1))
		return; /* no stub here */
	catch_faults();
	for (size_t i = 0; i + 1 < STUB_CODE_SIZE; i++)
		if (code[i] == 0x0f && code[i + 1] == 0x05) {
			in_child(forge, STUB_CODE + i);
			for (uint64_t k = 0; k < 14; k++)
				in_child(forge_report, (STUB_CODE + i) << 8 | k);
		}
	while (end > 0 && code[end - 1] == 0xf4) /* what fills the page up */
		end--;
	for (size_t i = 0; i < end; i += 7)
		in_child(enter, STUB_CODE + i);
}

/* Ordinary calls about the stub's range, and about descriptors that only it has. */
static void remap(void)
{
	static const uint64_t at[] = {STUB_CODE, STUB_CTL, STUB_THR, STUB_VDSO, STUB_BEAT, 0x7fff00000000, STUB_END};

	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
		void *p = (void *)at[i];
		int bad = 0;

		bad |= mmap(p, 4096, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
		bad |= munmap(p, 4096) == 0 && i < 4 && at[i] != STUB_VDSO ? 2 : 0;
		bad |= mprotect(p, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) == 0 ? 4 : 0;
		bad |= madvise(p, 4096, MADV_DONTNEED) == 0 ? 8 : 0;
		bad |= mremap(p, 4096, 8192, MREMAP_MAYMOVE) != MAP_FAILED ? 16 : 0;
		if (bad & ~2)
			printf("accepted at %#lx: %x\n", (unsigned long)at[i], bad);
		write(1, p, 4096);
		read(0, p, 4096);
	}
	syscall(SYS_mremap, mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096, 4096, 3, STUB_CTL);
	munmap((void *)0x10000, 0x7ffffffe0000);
}

static void *scribbler(void *arg)
{
	uint64_t seed = (uint64_t)arg * 0x9e3779b97f4a7c15 + 1;

	while (!stop) {
		uint64_t slot = seed >> 60, offset;

		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		offset = (seed >> 20) % SLOT_SIZE & ~7ul;
		if (seed % 3 == 0)
			offset %= 0x100;
		if (sigsetjmp(escape, 1) == 0)
			*(volatile uint64_t *)(STUB_THR + slot * SLOT_SIZE + offset) = seed % 5 ? seed : seed % 7;
	}
	return arg;
}

/* One thread overwrites what the stub and the sentry share, while others make calls. */
static void scribble(uint64_t round)
{
	pthread_t t;
	char buf[256];

	pthread_create(&t, NULL, scribbler, (void *)round);
	for (int i = 0; i < 3000; i++) {
		int fd = open("/proc/self/stat", O_RDONLY);

		read(fd, buf, sizeof(buf));
		close(fd);
		munmap(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 8192);
		if (i % 100 == 0 && fork() == 0)
			_exit(0);
		if (i % 100 == 0)
			wait(NULL);
		kill(getpid(), 0);
	}
	stop = 1;
}

/* Runs fn in a child, which is not waited for. */
static pid_t begin(void (*fn)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		catch_faults();
		fn();
		_exit(0);
	}
	return pid;
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Kills a process that tries not to be, and waits for it. */
static void must_die(pid_t pid, const char *what)
{
	double start = seconds();
	int status;

	kill(pid, SIGKILL);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (seconds() - start > 20) {
			printf("accepted: %s lives on after it was killed\n", what);
			return;
		}
		usleep(10000);
	}
}

static void *overwrite_hint(void *arg)
{
	for (uint32_t i = 0; !stop; i++)
		__atomic_store_n((uint32_t *)(STUB_THR + T_HINT), i | 0x80000000, __ATOMIC_SEQ_CST);
	return arg;
}

static void fork_unheard(void)
{
	pthread_t t;

	pthread_create(&t, NULL, overwrite_hint, NULL);
	for (;;)
		if (fork() == 0)
			_exit(0);
		else
			wait(NULL);
}

/* A process sees to it that the sentry does not hear of its forks: those of others go on. */
static void hint(void)
{
	pid_t pid = begin(fork_unheard);
	double start;

	usleep(500000);
	start = seconds();
	for (int i = 0; i < 5; i++)
		if (fork() == 0)
			_exit(0);
		else
			wait(NULL);
	if (seconds() - start > 8)
		printf("accepted: forks take %.0f s\n", seconds() - start);
	must_die(pid, "a process that hides its forks");
}

static uint32_t word __attribute__((aligned(64)));

static void *change_word(void *arg)
{
	for (uint32_t i = 1; !stop; i++)
		__atomic_store_n(&word, i << 8 & 0x1fffff00, __ATOMIC_SEQ_CST);
	return arg;
}

/* Asks for locks whose word another thread changes all the time: FUTEX_LOCK_PI or FUTEX_WAKE_OP. */
static void lose_races(int op)
{
	pthread_t t;

	for (int i = 0; i < 3; i++)
		pthread_create(&t, NULL, change_word, NULL);
	for (;;)
		syscall(SYS_futex, &word, op, 1, NULL, &word, 1 << 28 | 1 << 12);
}

static void lose_pi(void)
{
	static uint32_t held;

	/* Waits for a lock that its parent holds by its word: exits look at locks from now on. */
	if (fork() == 0) {
		__atomic_store_n(&held, (uint32_t)getppid(), __ATOMIC_SEQ_CST);
		syscall(SYS_futex, &held, 6, 0, NULL);
	}
	lose_races(6);
}

static void lose_op(void)
{
	lose_races(5);
}

/* Changes of futex words that never succeed: others can end meanwhile. */
static void race(void)
{
	pid_t pi = begin(lose_pi), wake = begin(lose_op), other;
	int status;

	usleep(500000);
	for (int i = 0; i < 20; i++) {
		other = fork();
		if (other == 0)
			_exit(0);
		must_die(other, "a neighbour of one that locks");
	}
	must_die(pi, "a process that asks for a lock");
	must_die(wake, "a process that changes a word");
	while (waitpid(-1, &status, WNOHANG) > 0)
		;
}

static void spin(void)
{
	for (;;)
		;
}

/* Leads the first thread out of the stub, when the sentry has told it how to go on after a fault there. */
static void *lead_away(void *arg)
{
	static uint64_t first[SLOT_SIZE / 8];
	volatile uint64_t *area = (void *)(STUB_THR + SLOT_SIZE);

	for (;;)
		for (size_t i = T_SIGSTACK / 8; i < SLOT_SIZE / 8; i++) {
			uint64_t v = area[i];

			if (v - STUB_CODE >= STUB_CODE_SIZE || v == first[i])
				continue;
			if (first[i])
				area[i] = (uint64_t)spin;
			else
				first[i] = v;
		}
	return arg;
}

/* A futex operation that the sentry waits for, and that never ends. */
static void unfinished(void)
{
	void *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t t;

	pthread_create(&t, NULL, lead_away, NULL);
	for (;;)
		syscall(SYS_futex, &word, 5, 1, NULL, p, 1 << 28 | 1 << 12);
}

/* Reports for ever that a signal has come to the stub's code. */
static void report_forever(void)
{
	static const unsigned char bytes[] = {0xf3, 0x49, 0x0f, 0xae, 0xc8, 0x0f, 0x05}; /* rdgsbase %r8; syscall */
	uint64_t frame = STUB_THR + SLOT_SIZE + T_SIGSTACK + 0x4000, at = STUB_CODE;
	uint64_t *reg = (uint64_t *)(frame + 40);

	while (memcmp((void *)at, bytes, sizeof(bytes)))
		at++;
	at += 5;
	*(uint64_t *)(frame + 224) = STUB_CONST + K_FPINIT;
	reg[1] = REPORT_SIGNAL;
	reg[5] = frame;       /* r13 */
	reg[8] = KICK_SIGNAL; /* rdi */
	reg[9] = frame;       /* rsi */
	reg[13] = NR_REPORT;  /* rax */
	reg[15] = (uint64_t)malloc(65536) + 32768;
	reg[16] = at;
	reg[17] = 0x202;
	__asm__ volatile("mov %0, %%r13; xor %%r9d, %%r9d; mov %%r13, %%rsi; jmp *%%rbx"
			 :
			 : "r"(frame), "b"(at), "a"(NR_REPORT), "D"(KICK_SIGNAL)
			 : "memory", "r9", "r13", "rsi");
}

/* Threads that the sentry waits for, or cannot stop. */
static uint64_t find_code(const void *bytes, size_t size)
{
	uint64_t at = STUB_CODE;

	while (memcmp((void *)at, bytes, size))
		at++;
	return at;
}

/* Reports for ever that a command of the stub's has met a fault, and never goes on where the sentry says. */
static void fault_forever(void)
{
	static const unsigned char report[] = {0xf3, 0x49, 0x0f, 0xae, 0xc8, 0x0f, 0x05}, cas[] = {0xf0, 0x0f, 0xb1, 0x17};
	uint64_t said = STUB_THR + SLOT_SIZE + T_SIGSTACK + 0x2000, real = said + 0x2000;
	uint64_t *reg = (uint64_t *)(real + 40), at = find_code(report, sizeof(report)) + 5;
	uint64_t *rip = &((uint64_t *)(said + 40))[16], fault = find_code(cas, sizeof(cas));
	void *again = &&again;

	__asm__ volatile("mov %%rsp, %0" : "=m"(reg[15]));
	*(uint64_t *)(real + 224) = STUB_CONST + K_FPINIT;
	reg[5] = real;             /* r13 */
	reg[9] = (uint64_t)rip;    /* rsi */
	reg[12] = fault;           /* rdx */
	reg[11] = at;              /* rbx */
	reg[16] = (uint64_t)again;
	reg[17] = 0x202;
	__asm__ volatile("mov %0, %%r13; jmp *%%rcx" : : "r"(real), "c"(again), "S"(rip), "d"(fault), "b"(at) : "memory", "r13");
again:
	__asm__ volatile("mov %%rdx, (%%rsi); sub $168, %%rsi; xor %%r9d, %%r9d; mov %0, %%edi; mov %1, %%eax; jmp *%%rbx"
			 :
			 : "i"(SIGSEGV), "i"(NR_REPORT)
			 : "memory");
}

static void linger(void)
{
	pid_t a = begin(unfinished), b = begin(report_forever), c = begin(fault_forever);

	sleep(2);
	must_die(a, "a process with unfinished memory work");
	must_die(b, "a process that reports for ever");
	must_die(c, "a process that reports faults for ever");
}

static uint64_t victim_slot;
static int file_fd;

/* Says that another thread has a call at its door, or that it waits there. */
static void *knock(void *arg)
{
	uint64_t area = STUB_THR + victim_slot * SLOT_SIZE;

	while (!stop) {
		*(volatile uint64_t *)(area + T_SIGNO) = SIGSYS;
		*(volatile uint64_t *)(area + T_FRAME) = area + T_FAST;
		*(volatile uint32_t *)(area + T_DOOR) = DOOR_REQUEST;
		for (volatile int i = 0; i < 300; i++)
			;
	}
	return arg;
}

static void knocked_at(uint64_t round)
{
	pthread_t t;

	victim_slot = 1;
	file_fd = open("/proc/self/exe", O_RDONLY);
	for (int i = 0; i < 2000; i++)
		getppid();
	pthread_create(&t, NULL, knock, NULL);
	for (uint64_t i = 0; i < 4000; i++) {
		for (int k = 0; k < 20; k++)
			getppid();
		void *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file_fd, 0);

		if (i % 2 == round % 2)
			munmap(p, 4096);
	}
	stop = 1;
}

static void door(void)
{
	for (uint64_t i = 0; i < 64; i++) /* on a busy host each may cost the sentry's patience, a second */
		in_child(knocked_at, i);
}

static void odd_state(uint64_t which)
{
	switch (which) {
	case 0:
		__asm__ volatile("xor %%esp, %%esp; mov $39, %%eax; syscall; ud2" ::: "rax", "memory");
		break;
	case 1:
		__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; mov $39, %%eax; syscall; nop; nop" ::: "rax", "rcx", "r11", "memory");
		break;
	case 2:
		__asm__ volatile("pushfq; orq $0x44400, (%%rsp); popfq; mov $39, %%eax; syscall; nop" ::: "rax", "rcx", "r11", "memory");
		break;
	case 3:
		__asm__ volatile("mov $20, %%eax; int $0x80" ::: "rax", "memory");
		break;
	case 4:
		((void (*)(void *))0xffffffffff600000)(NULL);
		break;
	case 5:
		__asm__ volatile("mov $0x7fffffffefff, %%rax; jmp *%%rax" ::: "rax");
		break;
	case 6:
		syscall(SYS_arch_prctl, 0x1002, STUB_CTL);
		break;
	case 7:
		__asm__ volatile("mov %0, %%rsp; mov $39, %%eax; syscall; ud2" ::"r"(STUB_THR + SLOT_SIZE) : "rax", "memory");
		break;
	case 8:
		__asm__ volatile("xor %%eax, %%eax; mov %%ax, %%ss" ::: "rax");
		break;
	case 9:
		__asm__ volatile("push $0x23; push $1f; lretq; 1: nop" ::: "memory");
		break;
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	planted = argc > 2 ? argv[2] : "/planted";
	if (strcmp(what, "code") == 0)
		stub_code();
	else if (strcmp(what, "remap") == 0)
		in_child((void (*)(uint64_t))remap, 0);
	else if (strcmp(what, "scribble") == 0)
		for (uint64_t i = 1; i <= 12; i++) {
			in_child(scribble, i);
			reap();
		}
	else if (strcmp(what, "hint") == 0)
		hint();
	else if (strcmp(what, "race") == 0)
		race();
	else if (strcmp(what, "linger") == 0)
		linger();
	else if (strcmp(what, "door") == 0)
		door();
	else if (strcmp(what, "state") == 0)
		for (uint64_t i = 0; i < 10; i++)
			in_child(odd_state, i);
	else
		return 2;
	reap();
	puts("survived");
	return 0;
}
