/*
 * A hostile guest on the ptrace platform, run by client.c. It finds the stub's page, which lies below the vDSO, and tries what a guest
 * could: system calls from the stub's own instructions, the stub's routines, changes to the stub's memory, the vsyscall
 * page, forged scratch contents while the platform uses them. A call that reached the host would succeed where client.c,
 * which knows few calls, says ENOSYS.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TEST_CALL 5000
#define PAGE 4096ul
#define SEARCH_PAGES 512
#define NUMBERS 470

static int failures;
static sigjmp_buf jump;
static volatile int faulted;

static void check(int ok, const char *what)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "%s %s\n", ok ? "ok  " : "FAIL", what);

	failures += !ok;
	if (write(1, line, (size_t)n) != n)
		_exit(99);
}

void restorer(void);
__asm__(".globl restorer\nrestorer: mov $15, %eax; syscall");

static void on_fault(int sig)
{
	faulted = sig;
	siglongjmp(jump, 1);
}

static void catch_faults(void)
{
	uint64_t a[4] = {(uint64_t)on_fault, 0x04000000, (uint64_t)restorer, 0};

	for (int sig = 4; sig <= 11; sig++)
		syscall(SYS_rt_sigaction, sig, a, NULL, 8);
}

/* mov $11, %eax; syscall: how stub.S begins. */
static const unsigned char *find_stub(void)
{
	static const unsigned char begin[] = {0xb8, 11, 0, 0, 0, 0x0f, 0x05};
	const unsigned char *volatile p = (void *)getauxval(AT_SYSINFO_EHDR);

	for (volatile int i = 0; i < SEARCH_PAGES; i++) {
		p -= PAGE;
		if (sigsetjmp(jump, 0))
			continue;
		if (memcmp(p, begin, sizeof(begin)) == 0)
			return p;
	}
	return NULL;
}

static const unsigned char *find_syscall(const unsigned char *stub, int skip)
{
	for (const unsigned char *p = stub; p < stub + 256; p++)
		if (p[0] == 0x0f && p[1] == 0x05 && skip-- == 0)
			return p;
	return NULL;
}

/* The call by the instruction at insn, which runs on into the stub: an int3, or a loop that the fault handler ends. */
static long call_there(const unsigned char *insn, long nr)
{
	volatile long result = -1;
	long r;

	if (sigsetjmp(jump, 0))
		return 0;
	__asm__ volatile("jmp *%1" : "=a"(r) : "r"(insn), "a"(nr), "D"(-1), "S"(0), "d"(0) : "rcx", "r11", "memory");
	result = r;
	return result;
}

/* The calls that client.c does not have, or has but that end or block the guest, are left out of the sweep. */
static int in_client(long nr)
{
	static const int known[] = {SYS_write,   SYS_writev,       SYS_mmap,           SYS_munmap,       SYS_mprotect,
				    SYS_madvise, SYS_brk,          SYS_arch_prctl,     SYS_fork,         SYS_vfork,
				    SYS_clone,   SYS_exit,         SYS_exit_group,     SYS_rt_sigreturn, SYS_execve,
				    SYS_futex,   SYS_wait4,        SYS_nanosleep,      SYS_kill,         SYS_tgkill,
				    SYS_pause,   SYS_rt_sigaction, SYS_clock_nanosleep};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i] == nr)
			return 1;
	return 0;
}

static void test_sweep(const unsigned char *stub)
{
	int ok = 1;

	/* The sixth instruction is ptrace_stub_call: it traps after one call. */
	for (long nr = 0; nr < NUMBERS; nr++) {
		if (in_client(nr))
			continue;
		faulted = 0;
		call_there(find_syscall(stub, 5), nr);
		ok &= faulted == 5;
	}
	check(ok, "every call from the stub's own instruction is intercepted");
	check(syscall(SYS_sync) == -1 && syscall(SYS_socket, 2, 1, 0) == -1, "unknown calls fail");
}

static void test_memory(const unsigned char *stub)
{
	char *page = (char *)(uintptr_t)stub;

	check(munmap(page, PAGE) == -1, "munmap of the stub");
	check(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == -1, "mprotect of the stub");
	check(mmap(page, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED,
	      "mmap over the stub");
	check(syscall(TEST_CALL, 3, 0x400000, PAGE, page) == -1, "mremap onto the stub");
	faulted = 0;
	if (!sigsetjmp(jump, 0))
		*(volatile char *)page = 1;
	check(faulted == 11, "a store to the stub faults");
	check(write(1, page, 1) == -1, "the stub is no guest memory");
	check(syscall(TEST_CALL, 0, page + PAGE, 0, 1) == -1, "cas of the scratch page");
}

static volatile int scribbling = 1;

static void *scribble(void *page)
{
	while (scribbling)
		memset(page, 0xff, PAGE);
	return NULL;
}

static void test_scribble(const unsigned char *stub)
{
	char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t t;
	int ok = 1;

	pthread_create(&t, NULL, scribble, (void *)(uintptr_t)(stub + PAGE));
	for (int i = 0; i < 200; i++) {
		long n = syscall(TEST_CALL, 1, p);

		ok &= n >= 0 && n <= 16;
	}
	scribbling = 0;
	pthread_join(t, NULL);
	check(ok, "scribbling over the scratch page");
}

int main(void)
{
	const unsigned char *stub;

	catch_faults();
	stub = find_stub();
	check(stub != NULL, "the stub is found");
	if (!stub)
		return 1;
	test_sweep(stub);
	test_memory(stub);
	test_scribble(stub);
	check(failures == 0, "all");
	return failures;
}
