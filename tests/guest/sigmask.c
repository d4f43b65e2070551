/* Signal masks that are changed all the time while signals arrive: none comes while it is blocked, none is lost, and every old mask is told right. */
#include "guest.h"

#define SIGNALS 4000

static int rt;
static volatile sig_atomic_t closed;
static volatile int handled, early, wrong;
static volatile bool stop;
static __thread volatile sig_atomic_t closed_here;

static void on_rt(int signo)
{
	(void)signo;
	early += closed;
	handled++;
}

static void on_usr(int signo)
{
	(void)signo;
	early += closed_here;
	__atomic_fetch_add(&handled, 1, __ATOMIC_SEQ_CST);
}

static void *sender(void *arg)
{
	int tid = *(int *)arg;

	for (int i = 0; i < SIGNALS; i++) {
		while (syscall(SYS_tgkill, getpid(), tid, rt) < 0)
			sched_yield();
		if (i % 7 == 0)
			sched_yield();
	}
	stop = true;
	return NULL;
}

static void toggle(volatile sig_atomic_t *flag, int signo)
{
	sigset_t set, old;

	sigemptyset(&set);
	sigaddset(&set, signo);
	wrong += sigprocmask(SIG_BLOCK, &set, &old) != 0 || sigismember(&old, signo);
	*flag = 1;
	wrong += sigprocmask(SIG_BLOCK, NULL, &old) != 0 || !sigismember(&old, signo);
	*flag = 0;
	wrong += sigprocmask(SIG_UNBLOCK, &set, &old) != 0 || !sigismember(&old, signo);
}

/* One thread that is sent queued signals, each of which counts. */
static void queued(void)
{
	struct sigaction sa = {.sa_handler = on_rt};
	int tid = (int)syscall(SYS_gettid);
	pthread_t thread;

	rt = SIGRTMIN + 1;
	sigaction(rt, &sa, NULL);
	pthread_create(&thread, NULL, sender, &tid);
	while (!stop || handled < SIGNALS)
		toggle(&closed, rt);
	pthread_join(thread, NULL);
	printf("queued: %d handled, %d while blocked, %d wrong masks\n", handled, early, wrong);
}

static void *toggler(void *arg)
{
	(void)arg;
	while (!stop)
		toggle(&closed_here, SIGUSR1);
	return NULL;
}

/* Signals for the process, from another one: any of three threads takes them, if it is open. */
static void shared(void)
{
	struct sigaction sa = {.sa_handler = on_usr};
	pthread_t thread[2];
	int status, got = 0;

	handled = early = wrong = 0;
	stop = false;
	sigaction(SIGUSR1, &sa, NULL);
	for (int i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, toggler, NULL);
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < SIGNALS; i++)
			kill(getppid(), SIGUSR1);
		_exit(0);
	}
	while (waitpid(pid, &status, WNOHANG) == 0)
		toggle(&closed_here, SIGUSR1);
	got = handled;
	kill(getpid(), SIGUSR1); /* the last one is not merged with an earlier one */
	for (int i = 0; i < 1000 && handled == got; i++)
		usleep(1000);
	stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	HOLDS(got > 0 && handled > got);
	printf("shared: %d while blocked, %d wrong masks\n", early, wrong);
}

static bool blocked(int signo)
{
	sigset_t now;

	sigemptyset(&now);
	sigprocmask(SIG_BLOCK, NULL, &now);
	return sigismember(&now, signo);
}

/* What a call leaves behind that fails, or that asks for what cannot be blocked. */
static void odd(void)
{
	unsigned long all = ~0ul, old = 7;
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < 20; i++) { /* often enough that the call is not a trap any more */
		old = 7;
		if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, 8) || old)
			printf("round %d: %lx\n", i, old);
		all = 0;
		if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, 8))
			printf("round %d\n", i);
		all = ~0ul;
		if (i == 0 || i == 19)
			printf("all: %lx\n", old);
	}
	T(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8));
	T(syscall(SYS_rt_sigprocmask, 3, &all, NULL, 8));
	T(syscall(SYS_rt_sigprocmask, -1, &all, NULL, 8));
	T(syscall(SYS_rt_sigprocmask, -1, NULL, NULL, 8));
	T(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, 4));
	T(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, 16));
	all = 1 << (SIGUSR2 - 1);
	T(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, page, 8));
	HOLDS(blocked(SIGUSR2)); /* it has been changed all the same */
	T(syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &all, ~0ul << 12, 8));
	HOLDS(!blocked(SIGUSR2));
}

static void inherited(void)
{
	sigset_t set;
	int status;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	for (int i = 0; i < 12; i++) {
		sigprocmask(i & 1 ? SIG_UNBLOCK : SIG_BLOCK, &set, NULL);
		pid_t pid = fork();
		if (pid == 0) {
			raise(SIGTERM);
			sigpending(&set);
			_exit(sigismember(&set, SIGTERM));
		}
		waitpid(pid, &status, 0);
		if (i < 2)
			printf("a child, blocked %d: status %#x\n", !(i & 1), status);
		else
			HOLDS(status == (i & 1 ? SIGTERM : 0x100));
	}
	execl("/proc/self/exe", "sigmask", "again", NULL);
}

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1) {
		HOLDS(blocked(SIGHUP));
		return 0;
	}
	queued();
	shared();
	odd();
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fflush(stdout);
	inherited();
	return 1;
}
