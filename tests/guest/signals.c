/* Handlers, masks, alternate stacks, siginfo, queueing, restart of interrupted calls, faults. */
#include "guest.h"

#include <setjmp.h>
#include <sys/syscall.h>
#include <ucontext.h>

static volatile sig_atomic_t hits, last_sig, last_code, last_value;
static void *volatile last_addr;
static volatile uintptr_t handler_sp;

static void on_info(int sig, siginfo_t *si, void *uc)
{
	char here;

	(void)uc;
	hits++;
	last_sig = sig;
	last_code = si->si_code;
	last_value = si->si_value.sival_int;
	last_addr = si->si_addr;
	handler_sp = (uintptr_t)&here;
}

static void handle(int sig, int flags)
{
	struct sigaction sa = {.sa_sigaction = on_info, .sa_flags = SA_SIGINFO | flags};

	MUST(sigaction(sig, &sa, NULL));
}

static void argument_errors(void)
{
	struct sigaction sa = {.sa_handler = SIG_IGN};
	sigset_t set;

	T(sigaction(SIGKILL, &sa, NULL));
	T(sigaction(SIGSTOP, &sa, NULL));
	T(sigaction(0, &sa, NULL));
	T(sigaction(65, &sa, NULL));
	T(syscall(SYS_rt_sigaction, SIGUSR1, BAD, NULL, 8));
	T(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4));
	T(syscall(SYS_rt_sigprocmask, SIG_BLOCK, BAD, NULL, 8));
	T(syscall(SYS_rt_sigprocmask, 7, &set, NULL, 8));
	T(syscall(SYS_rt_sigprocmask, 7, NULL, &set, 8));
	T(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, NULL, 16));
	T(kill(getpid(), 65));
	T(kill(getpid(), -1));
	T(kill(4100000, 0));
	T(kill(getpid(), 0));
	T(syscall(SYS_tkill, -1, 0));
	T(syscall(SYS_tgkill, getpid(), 4100000, 0));
	T(syscall(SYS_tgkill, 4100000, gettid(), 0));
	T(syscall(SYS_tgkill, 0, gettid(), 0));
}

static void delivery(void)
{
	sigset_t set, old, pending;

	handle(SIGUSR1, 0);
	raise(SIGUSR1);
	SAY("hits %d sig %s code %d", hits, signal_name(last_sig), last_code);
	kill(getpid(), SIGUSR1);
	SAY("hits %d code %d", hits, last_code);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	T(sigprocmask(SIG_BLOCK, &set, &old));
	raise(SIGUSR1);
	raise(SIGUSR1);
	SAY("hits %d", hits);
	T(sigpending(&pending));
	HOLDS(sigismember(&pending, SIGUSR1) && !sigismember(&pending, SIGUSR2));
	T(sigprocmask(SIG_SETMASK, &old, NULL));
	SAY("hits %d", hits);
	handle(SIGUSR1, SA_RESETHAND);
	raise(SIGUSR1);
	CHILD
	{
		raise(SIGUSR1);
	}
	raise(SIGCHLD);
	raise(SIGURG);
	raise(SIGWINCH);
	signal(SIGTERM, SIG_IGN);
	raise(SIGTERM);
	signal(SIGTERM, SIG_DFL);
}

static char order[32];

static void on_order(int sig)
{
	order[strlen(order)] = (char)('a' + sig - SIGRTMIN);
}

static void on_nested(int sig)
{
	strcat(order, "(");
	if (strlen(order) < 6)
		raise(sig);
	strcat(order, ")");
}

static void queueing(void)
{
	union sigval v = {.sival_int = 1};
	sigset_t set, old;
	siginfo_t si;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigaddset(&set, SIGRTMIN + 1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, &old);
	for (v.sival_int = 1; v.sival_int <= 3; v.sival_int++)
		T(sigqueue(getpid(), SIGRTMIN + 1, v));
	T(sigqueue(getpid(), SIGRTMIN, v));
	raise(SIGUSR2);
	T(sigqueue(4100000, SIGRTMIN, v));
	HOLDS(sigwaitinfo(&set, &si) == SIGUSR2);
	HOLDS(sigwaitinfo(&set, &si) == SIGRTMIN);
	SAY("code %d value %d mine %d", si.si_code, si.si_value.sival_int, si.si_pid == getpid());
	for (int i = 0; i < 3; i++) {
		HOLDS(sigtimedwait(&set, &si, &(struct timespec){0, 0}) == SIGRTMIN + 1);
		SAY("value %d", si.si_value.sival_int);
	}
	T(sigtimedwait(&set, &si, &(struct timespec){0, 1000000}));
	T(sigtimedwait(&set, &si, &(struct timespec){0, -1}));
	T(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR2, BAD));
	signal(SIGRTMIN, on_order);
	signal(SIGRTMIN + 1, on_order);
	raise(SIGRTMIN + 1);
	raise(SIGRTMIN);
	raise(SIGRTMIN + 1);
	sigprocmask(SIG_SETMASK, &old, NULL);
	SAY("order %s", order);
	order[0] = 0;
	memset(order, 0, sizeof(order));
	struct sigaction sa = {.sa_handler = on_nested};
	sigaction(SIGUSR2, &sa, NULL);
	raise(SIGUSR2);
	SAY("without SA_NODEFER %s", order);
	memset(order, 0, sizeof(order));
	sa.sa_flags = SA_NODEFER;
	sigaction(SIGUSR2, &sa, NULL);
	raise(SIGUSR2);
	SAY("with SA_NODEFER %s", order);
}

static void alternate_stack(void)
{
	static char stack[65536];
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)}, old;

	T(sigaltstack(NULL, &old));
	HOLDS(old.ss_flags == SS_DISABLE);
	T(sigaltstack(&ss, NULL));
	handle(SIGUSR1, SA_ONSTACK);
	raise(SIGUSR1);
	HOLDS(handler_sp - (uintptr_t)stack < sizeof(stack));
	handle(SIGUSR1, 0);
	raise(SIGUSR1);
	HOLDS(handler_sp - (uintptr_t)stack >= sizeof(stack));
	T(sigaltstack(NULL, &old));
	HOLDS(old.ss_sp == stack && old.ss_size == sizeof(stack) && old.ss_flags == 0);
	ss.ss_size = 100;
	T(sigaltstack(&ss, NULL));
	ss.ss_flags = 77;
	T(sigaltstack(&ss, NULL));
	T(sigaltstack(BAD, NULL));
	ss.ss_flags = SS_DISABLE;
	T(sigaltstack(&ss, NULL));
}

static sigjmp_buf escape;

static void on_fault(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	last_sig = sig;
	last_code = si->si_code;
	last_addr = si->si_addr;
	siglongjmp(escape, 1);
}

static void fault_at(const char *what, void (*fn)(void), void *addr)
{
	if (sigsetjmp(escape, 1) == 0) {
		fn();
		SAY("%s: no fault", what);
	} else {
		SAY("%s: %s code %d address %s", what, signal_name(last_sig), last_code,
		    last_addr == addr ? "right" : "other");
	}
}

static char *readonly;

static void write_null(void)
{
	*(volatile char *)8 = 1;
}

static void write_readonly(void)
{
	*(volatile char *)readonly = 1;
}

static void read_noncanonical(void)
{
	(void)*(volatile char *)0xdead000000000000ul;
}

static void divide(void)
{
	__asm__ volatile("xor %%ecx, %%ecx; mov $1, %%eax; cltd; idiv %%ecx" : : : "rax", "rcx", "rdx");
}

static void undefined(void)
{
	__asm__ volatile("ud2");
}

static void breakpoint(void)
{
	__asm__ volatile("int3");
}

static void beyond_end_of_file(void)
{
	int fd = open("short", O_RDWR | O_CREAT, 0600);
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	p[4096] = 1;
}

static void privileged(void)
{
	__asm__ volatile("hlt");
}

static void faults(void)
{
	static const int sigs[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};

	for (size_t i = 0; i < COUNT(sigs); i++)
		sigaction(sigs[i], &(struct sigaction){.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, NULL);
	readonly = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fault_at("null", write_null, (void *)8);
	fault_at("read-only page", write_readonly, readonly);
	fault_at("non-canonical", read_noncanonical, NULL);
	fault_at("division", divide, NULL);
	fault_at("undefined instruction", undefined, NULL);
	fault_at("int3", breakpoint, NULL);
	fault_at("beyond the file", beyond_end_of_file, NULL);
	fault_at("hlt", privileged, NULL);
	for (size_t i = 0; i < COUNT(sigs); i++)
		signal(sigs[i], SIG_DFL);
	CHILD
	{
		write_null();
	}
	CHILD
	{
		divide();
	}
	CHILD
	{
		undefined();
	}
	CHILD
	{
		breakpoint();
	}
	CHILD
	{
		beyond_end_of_file();
	}
	CHILD
	{
		abort();
	}
	CHILD
	{
		signal(SIGSEGV, SIG_IGN);
		write_null();
	}
	CHILD
	{
		sigset_t all;

		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, NULL);
		handle(SIGSEGV, 0);
		write_null();
	}
}

static int overflow(int n)
{
	volatile char page[4096];

	page[0] = (char)n;
	return overflow(n + 1) + page[0];
}

static void on_overflow(int sig)
{
	_exit(sig == SIGSEGV ? 33 : 1);
}

static void stack_overflow(void)
{
	CHILD
	{
		overflow(1);
	}
	CHILD
	{
		static char stack[65536];
		stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};

		sigaltstack(&ss, NULL);
		sigaction(SIGSEGV, &(struct sigaction){.sa_handler = on_overflow, .sa_flags = SA_ONSTACK}, NULL);
		overflow(1);
	}
}

static void on_empty(int sig)
{
	(void)sig;
	hits++;
}

static void kick_later(int ms)
{
	pid_t parent = getpid();

	if (fork() == 0) {
		sleep_ms(ms);
		kill(parent, SIGUSR1);
		_exit(0);
	}
}

static void restarts(void)
{
	struct timespec left = {0, 0};
	int p[2], status;
	char c;

	MUST(pipe(p));
	hits = 0;
	sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_empty}, NULL);
	kick_later(30);
	T(read(p[0], &c, 1));
	wait(&status);
	kick_later(30);
	T(nanosleep(&(struct timespec){5, 0}, &left));
	HOLDS(left.tv_sec == 4);
	wait(&status);
	kick_later(30);
	T(pause());
	wait(&status);
	kick_later(30);
	T(poll(&(struct pollfd){p[0], POLLIN, 0}, 1, 5000));
	wait(&status);
	sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_empty, .sa_flags = SA_RESTART}, NULL);
	kick_later(30);
	T(poll(&(struct pollfd){p[0], POLLIN, 0}, 1, 5000));
	wait(&status);
	kick_later(30);
	if (fork() == 0) {
		sleep_ms(80);
		MUST(write(p[1], "x", 1));
		_exit(0);
	}
	T(read(p[0], &c, 1));
	wait(&status);
	wait(&status);
	kick_later(20);
	T(nanosleep(&(struct timespec){5, 0}, &left));
	wait(&status);
	SAY("hits %d", hits);
}

static void suspend(void)
{
	sigset_t block, old, empty;

	sigemptyset(&empty);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, &old);
	hits = 0;
	raise(SIGUSR1);
	T(sigsuspend(&empty));
	SAY("hits %d", hits);
	sigprocmask(SIG_BLOCK, NULL, &old);
	HOLDS(sigismember(&old, SIGUSR1));
	T(syscall(SYS_rt_sigsuspend, BAD, 8));
	T(ppoll(NULL, 0, &(struct timespec){0, 1000000}, &block));
	sigprocmask(SIG_UNBLOCK, &block, NULL);
}

static void on_context(int sig, siginfo_t *si, void *arg)
{
	ucontext_t *uc = arg;

	(void)sig;
	(void)si;
	uc->uc_mcontext.gregs[REG_RBX] = 0x1234;
	sigaddset(&uc->uc_sigmask, SIGHUP);
}

/* The handler changes what the interrupted code sees; floating point state survives. */
static void contexts(void)
{
	double d[4] = {1.5, 2.5, 3.5, 4.5}, sum;
	unsigned long rbx;
	sigset_t set;

	sigaction(SIGUSR1, &(struct sigaction){.sa_sigaction = on_context, .sa_flags = SA_SIGINFO}, NULL);
	__asm__ volatile("mov $39, %%eax; syscall; mov %%eax, %%edi; mov $10, %%esi; mov $62, %%eax; xor %%ebx, %%ebx; "
			 "syscall; mov %%rbx, %0"
			 : "=r"(rbx)
			 :
			 : "rax", "rbx", "rcx", "rdx", "rdi", "rsi", "r11", "memory");
	SAY("rbx %lx", rbx);
	sigprocmask(SIG_BLOCK, NULL, &set);
	HOLDS(sigismember(&set, SIGHUP));
	handle(SIGUSR1, 0);
	sum = d[0] * 2;
	raise(SIGUSR1);
	sum += d[1] + d[2] + d[3];
	SAY("sum %.2f", sum);
}

int main(void)
{
	argument_errors();
	delivery();
	queueing();
	alternate_stack();
	faults();
	stack_overflow();
	restarts();
	suspend();
	contexts();
	return 0;
}
