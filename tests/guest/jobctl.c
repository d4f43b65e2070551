/* Stops and continues, what parents hear of them, threads, orphaned groups, job control on a pseudo-terminal, waits that go on after a stop, vector registers. */
#include "guest.h"

#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>

static volatile sig_atomic_t hits;
static siginfo_t last;

static void on_child(int sig, siginfo_t *si, void *uc)
{
	(void)sig;
	(void)uc;
	last = *si;
	hits++;
}

static const char *cld_name(int code)
{
	static const char *const names[] = {"?", "EXITED", "KILLED", "DUMPED", "TRAPPED", "STOPPED", "CONTINUED"};

	return code >= 1 && code <= 6 ? names[code] : "?";
}

static void say_last(const char *what, pid_t pid)
{
	SAY("%s: %d hits, %s status %d, its pid %d", what, hits, cld_name(last.si_code), last.si_status,
	    last.si_pid == pid);
	hits = 0;
}

static pid_t sleeper(void)
{
	pid_t pid;

	fflush(stdout);
	pid = (pid_t)MUST(fork());
	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void wait_hit(void)
{
	for (int i = 0; i < 200 && !hits; i++)
		sleep_ms(10);
}

static void say_wait(const char *what, pid_t pid, int options)
{
	int status = 0;
	pid_t r = waitpid(pid, &status, options);

	if (r == pid)
		say_status(what, status);
	else
		SAY("%s: %d %s", what, (int)r, r < 0 ? strerrorname_np(errno) : "");
}

static void stops(void)
{
	siginfo_t si;
	pid_t pid;

	sigaction(SIGCHLD, &(struct sigaction){.sa_sigaction = on_child, .sa_flags = SA_SIGINFO | SA_RESTART}, NULL);
	pid = sleeper();
	say_wait("nothing yet", pid, WUNTRACED | WCONTINUED | WNOHANG);
	MUST(kill(pid, SIGSTOP));
	wait_hit();
	say_last("stop", pid);
	memset(&si, 0, sizeof(si));
	T(waitid(P_PID, pid, &si, WSTOPPED | WNOWAIT));
	SAY("waitid %s %d", cld_name(si.si_code), si.si_status);
	say_wait("stopped", pid, WUNTRACED);
	say_wait("only once", pid, WUNTRACED | WNOHANG);
	/* Signals wait until it goes on. */
	MUST(kill(pid, SIGTERM));
	sleep_ms(30);
	say_wait("still stopped", pid, WNOHANG);
	MUST(kill(pid, SIGCONT));
	say_wait("killed by what waited", pid, 0);
	hits = 0;

	pid = sleeper();
	MUST(kill(pid, SIGTSTP));
	say_wait("stopped", pid, WUNTRACED);
	hits = 0;
	MUST(kill(pid, SIGCONT));
	wait_hit();
	say_last("continue", pid);
	say_wait("continued", pid, WCONTINUED);
	say_wait("only once", pid, WCONTINUED | WNOHANG);
	MUST(kill(pid, SIGSTOP));
	say_wait("stopped again", pid, WUNTRACED);
	MUST(kill(pid, SIGKILL));
	say_wait("killed while stopped", pid, 0);

	sigaction(SIGCHLD,
		  &(struct sigaction){.sa_sigaction = on_child, .sa_flags = SA_SIGINFO | SA_RESTART | SA_NOCLDSTOP},
		  NULL);
	hits = 0;
	pid = sleeper();
	MUST(kill(pid, SIGSTOP));
	say_wait("stopped", pid, WUNTRACED);
	SAY("hits with SA_NOCLDSTOP %d", hits);
	MUST(kill(pid, SIGKILL));
	say_wait("killed", pid, 0);
	wait_hit();
	say_last("its end", pid);

	sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT}, NULL);
	pid = sleeper();
	MUST(kill(pid, SIGKILL));
	say_wait("collected by itself", pid, 0);
	signal(SIGCHLD, SIG_DFL);
}

static void *spin_thread(void *arg)
{
	volatile int *count = arg;

	for (;;) {
		(*count)++;
		sched_yield();
	}
	return NULL;
}

/* All threads stop: none counts on. */
static void threads_stop(void)
{
	volatile int *counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int before[3], same = 0, status;
	pid_t pid;

	fflush(stdout);
	pid = (pid_t)MUST(fork());
	if (pid == 0) {
		pthread_t t;

		for (int i = 0; i < 3; i++)
			pthread_create(&t, NULL, spin_thread, (void *)&counts[i]);
		for (;;)
			pause();
	}
	while (!counts[0] || !counts[1] || !counts[2])
		sleep_ms(1);
	MUST(kill(pid, SIGSTOP));
	MUST(waitpid(pid, &status, WUNTRACED));
	for (int i = 0; i < 3; i++)
		before[i] = counts[i];
	sleep_ms(30);
	for (int i = 0; i < 3; i++)
		same += counts[i] == before[i];
	SAY("threads that stand still: %d", same);
	MUST(kill(pid, SIGCONT));
	for (int i = 0; i < 200 && counts[0] == before[0]; i++)
		sleep_ms(5);
	SAY("goes on: %d", counts[0] != before[0]);
	MUST(kill(pid, SIGKILL));
	say_wait("threads", pid, 0);
}

/* ---- signals and threads ---- */

static pthread_t main_thread;
static volatile sig_atomic_t on_main, on_other;

static void on_thread(int sig)
{
	(void)sig;
	if (pthread_equal(pthread_self(), main_thread))
		on_main++;
	else
		on_other++;
}

static void *open_thread(void *arg)
{
	sigset_t set;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	while (!on_other)
		sleep_ms(5);
	return NULL;
}

static void *sigwait_thread(void *arg)
{
	sigset_t *set = arg;
	int sig = 0;

	sigwait(set, &sig);
	return (void *)(long)sig;
}

static void thread_signals(void)
{
	pthread_t t;
	sigset_t set;
	void *got;

	main_thread = pthread_self();
	sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_thread}, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	/* Blocked here: the other thread takes it, now or when it opens it. */
	MUST(kill(getpid(), SIGUSR1));
	pthread_create(&t, NULL, open_thread, NULL);
	pthread_join(t, NULL);
	SAY("main %d other %d", on_main, on_other);
	pthread_create(&t, NULL, sigwait_thread, &set);
	sleep_ms(20);
	MUST(kill(getpid(), SIGUSR2));
	pthread_join(t, &got);
	SAY("sigwait in a thread: %s", signal_name((int)(long)got));
	pthread_create(&t, NULL, sigwait_thread, &set);
	sleep_ms(20);
	pthread_kill(t, SIGUSR1);
	pthread_join(t, &got);
	SAY("pthread_kill: %s", signal_name((int)(long)got));
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* ---- process groups without a shell ---- */

static void on_hup(int sig)
{
	SAY("orphan got %s", signal_name(sig));
}

static void orphans(void)
{
	int p[2], status;
	char c;
	pid_t pid;

	MUST(pipe(p));
	fflush(stdout);
	/* A session whose leader stops a child in another group, and ends. */
	pid = (pid_t)MUST(fork());
	if (pid == 0) {
		setsid();
		pid = fork();
		if (pid == 0) {
			setpgid(0, 0);
			close(p[0]);
			signal(SIGHUP, on_hup);
			signal(SIGCONT, on_hup);
			MUST(write(p[1], "r", 1));
			raise(SIGSTOP);
			sleep_ms(20);
			_exit(0);
		}
		setpgid(pid, pid);
		waitpid(pid, &status, WUNTRACED);
		_exit(0);
	}
	close(p[1]);
	MUST(waitpid(pid, &status, 0));
	/* Until every copy of the writing end is closed, the orphan's too. */
	while (read(p[0], &c, 1) > 0)
		;
	close(p[0]);

	/* The keyboard's stop does not work in an orphaned group; SIGSTOP does. */
	fflush(stdout);
	pid = (pid_t)MUST(fork());
	if (pid == 0) {
		setsid();
		raise(SIGTSTP);
		SAY("not stopped by SIGTSTP");
		raise(SIGTTIN);
		SAY("not stopped by SIGTTIN");
		raise(SIGSTOP);
		SAY("goes on");
		_exit(3);
	}
	say_wait("orphan", pid, WUNTRACED);
	MUST(kill(pid, SIGCONT));
	say_wait("orphan", pid, 0);
}

/* ---- a shell and its jobs on a pseudo-terminal ---- */

static int tty_fd;

static void foreground(pid_t pgrp)
{
	signal(SIGTTOU, SIG_IGN);
	T0(tcsetpgrp(tty_fd, pgrp));
	signal(SIGTTOU, SIG_DFL);
}

static void background_read(void)
{
	char c;

	setpgid(0, 0);
	errno = 0;
	MUST(read(tty_fd, &c, 1));
	SAY("job read %c", c);
	_exit(0);
}

static void ignoring_read(void)
{
	char c;

	setpgid(0, 0);
	signal(SIGTTIN, SIG_IGN);
	T(read(tty_fd, &c, 1));
	_exit(0);
}

static void tostop_write(void)
{
	setpgid(0, 0);
	MUST(write(tty_fd, "job\n", 4));
	_exit(0);
}

static void change_modes(void)
{
	struct termios t;

	setpgid(0, 0);
	MUST(tcgetattr(tty_fd, &t));
	MUST(tcsetattr(tty_fd, TCSANOW, &t));
	_exit(0);
}

static pid_t job(void (*fn)(void))
{
	pid_t pid;

	fflush(stdout);
	pid = (pid_t)MUST(fork());
	if (pid == 0)
		fn();
	setpgid(pid, pid);
	return pid;
}

static void shell(int master)
{
	struct termios t;
	pid_t pid;

	pid = job(background_read);
	say_wait("background read", pid, WUNTRACED);
	foreground(pid);
	MUST(write(master, "k\n", 2));
	MUST(kill(-pid, SIGCONT));
	say_wait("in the foreground", pid, 0);
	foreground(getpgrp());
	say_wait("SIGTTIN ignored", job(ignoring_read), WUNTRACED);
	pid = job(tostop_write);
	say_wait("background write", pid, WUNTRACED);
	tcgetattr(tty_fd, &t);
	t.c_lflag |= TOSTOP;
	tcsetattr(tty_fd, TCSANOW, &t);
	pid = job(tostop_write);
	say_wait("with TOSTOP", pid, WUNTRACED);
	MUST(kill(pid, SIGKILL));
	say_wait("with TOSTOP", pid, 0);
	pid = job(change_modes);
	say_wait("tcsetattr", pid, WUNTRACED);
	MUST(kill(pid, SIGKILL));
	say_wait("tcsetattr", pid, 0);
	/* Keys reach the foreground only. */
	pid = sleeper();
	setpgid(pid, pid);
	foreground(pid);
	MUST(write(master, "\x1a", 1));
	say_wait("Ctrl-Z", pid, WUNTRACED);
	MUST(kill(-pid, SIGCONT));
	say_wait("SIGCONT", pid, WCONTINUED);
	MUST(write(master, "\x03", 1));
	say_wait("Ctrl-C", pid, 0);
	foreground(getpgrp());
	T(tcsetpgrp(tty_fd, 999999));
}

static void terminal_jobs(void)
{
	int master;
	pid_t pid;

	signal(SIGCHLD, SIG_DFL);
	fflush(stdout);
	master = (int)MUST(posix_openpt(O_RDWR | O_NOCTTY));
	MUST(grantpt(master));
	MUST(unlockpt(master));
	fflush(stdout);
	pid = (pid_t)MUST(fork());
	if (pid == 0) {
		setsid();
		tty_fd = (int)MUST(open(ptsname(master), O_RDWR));
		HOLDS(tcgetpgrp(tty_fd) == getpid());
		HOLDS(tcgetsid(tty_fd) == getpid());
		shell(master);
		_exit(0);
	}
	say_wait("shell", pid, 0);
	close(master);
}

/* ---- waits that are interrupted by a stop, and go on ---- */

static void stop_and_continue(pid_t pid)
{
	int status;

	sleep_ms(40);
	MUST(kill(pid, SIGSTOP));
	MUST(waitpid(pid, &status, WUNTRACED));
	sleep_ms(20);
	MUST(kill(pid, SIGCONT));
	say_wait("ends", pid, 0);
}

#define STOPPED(what, body)                                                                                            \
	do {                                                                                                           \
		pid_t stopped_pid_;                                                                                    \
		SAY("%s", what);                                                                                       \
		stopped_pid_ = (pid_t)MUST(fork());                                                                    \
		if (stopped_pid_ == 0) {                                                                               \
			body;                                                                                          \
			fflush(stdout);                                                                                \
			_exit(0);                                                                                      \
		}                                                                                                      \
		stop_and_continue(stopped_pid_);                                                                       \
	} while (0)

static void waits_go_on(void)
{
	struct timespec wait = {0, 400000000}, left = {0, 0};
	struct epoll_event ev;
	int p[2], ep, word = 0, sv[2];
	sigset_t set;

	MUST(pipe(p));
	ep = (int)MUST(epoll_create1(0));
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &(struct epoll_event){.events = EPOLLIN}));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	MUST(setsockopt(sv[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){0, 400000}, sizeof(struct timeval)));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	STOPPED("nanosleep", T(nanosleep(&wait, &left)));
	STOPPED("poll", T(poll(&(struct pollfd){p[0], POLLIN, 0}, 1, 400)));
	STOPPED("ppoll", T(ppoll(&(struct pollfd){p[0], POLLIN, 0}, 1, &wait, NULL)));
	STOPPED("select", T(select(0, NULL, NULL, NULL, &(struct timeval){0, 400000})));
	STOPPED("epoll_wait", T(epoll_wait(ep, &ev, 1, 400)));
	STOPPED("futex", T(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &wait, NULL, 0)));
	STOPPED("sigtimedwait", T(sigtimedwait(&set, NULL, &wait)));
	STOPPED("recv", T(recv(sv[0], &word, 1, 0)));
	STOPPED("clock_nanosleep", T(clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, NULL)));
	close(p[0]);
	close(p[1]);
	close(ep);
}

/* ---- vector registers across a handler ---- */

static void on_clobber(int sig)
{
	(void)sig;
	hits++;
	if (__builtin_cpu_supports("avx512f"))
		__asm__ volatile("vpternlogd $255, %%zmm0, %%zmm0, %%zmm0; vpternlogd $255, %%zmm31, %%zmm31, %%zmm31;"
				 "kxnorw %%k1, %%k1, %%k1" ::
				     : "xmm0", "memory");
	else if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vcmpps $15, %%ymm0, %%ymm0, %%ymm0" ::: "xmm0", "memory");
	else
		__asm__ volatile("pcmpeqd %%xmm0, %%xmm0" ::: "xmm0", "memory");
}

static long kill_self(void)
{
	return syscall(SYS_kill, getpid(), SIGUSR1);
}

static void vectors(void)
{
	uint32_t in[16], out[16] = {0};
	size_t bytes = 16;

	for (int i = 0; i < 16; i++)
		in[i] = 0x1000u + (unsigned)i;
	sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_clobber}, NULL);
	hits = 0;
	if (__builtin_cpu_supports("avx512f")) {
		bytes = 64;
		__asm__ volatile("vmovdqu32 (%0), %%zmm31; mov $62, %%eax; mov %2, %%edi; mov $10, %%esi; syscall;"
				 "vmovdqu32 %%zmm31, (%1)"
				 :
				 : "r"(in), "r"(out), "r"(getpid())
				 : "rax", "rdi", "rsi", "rcx", "r11", "memory");
	} else if (__builtin_cpu_supports("avx")) {
		bytes = 32;
		__asm__ volatile("vmovdqu (%0), %%ymm0; mov $62, %%eax; mov %2, %%edi; mov $10, %%esi; syscall;"
				 "vmovdqu %%ymm0, (%1)"
				 :
				 : "r"(in), "r"(out), "r"(getpid())
				 : "rax", "rdi", "rsi", "rcx", "r11", "xmm0", "memory");
	} else {
		kill_self();
		memcpy(out, in, bytes);
	}
	SAY("vector registers kept: %d, handlers %d", memcmp(in, out, bytes) == 0, hits);
}

/* ---- siginfo and errors that depend on who sends ---- */

static void infos(void)
{
	union sigval v = {.sival_int = 77};
	struct timespec none = {0, 0};
	siginfo_t si;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	T(sigqueue(getpid(), SIGUSR2, v));
	T(sigtimedwait(&set, &si, &none));
	SAY("code %d value %d own pid %d", si.si_code, si.si_value.sival_int, si.si_pid == getpid());
	T(raise(SIGUSR2));
	T(sigtimedwait(&set, &si, &none));
	SAY("code %d own pid %d", si.si_code, si.si_pid == getpid());
	T(kill(getpid(), SIGUSR2));
	T(sigtimedwait(&set, &si, &none));
	SAY("code %d own pid %d", si.si_code, si.si_pid == getpid());
	memset(&si, 0, sizeof(si));
	si.si_code = SI_TKILL;
	T(syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR2, &si));
	si.si_code = 5;
	T(syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR2, &si));
	si.si_code = SI_QUEUE;
	T(syscall(SYS_rt_sigqueueinfo, 999999, SIGUSR2, &si));
	T(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGRTMIN, &si));
	T(sigtimedwait(&set, &si, &none) == SIGRTMIN);
	T(sigtimedwait(&set, &si, &none));
	T(sigtimedwait(&set, &si, &(struct timespec){0, 1000000000}));
	T(syscall(SYS_rt_sigtimedwait, &set, BAD, &none, 4));
	T(syscall(SYS_tgkill, getpid() + 100000, getpid(), 0));
	T(syscall(SYS_tgkill, -1, getpid(), 0));
	T(syscall(SYS_tkill, 0, 0));
	T(syscall(SYS_tkill, getpid(), 65));
	T(kill(getpid(), 65));
	T(kill(999999, 65));
	T(kill(INT_MIN, 0));
	T(kill(-999999, 0));
	T(kill(0, 0));
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int main(void)
{
	infos();
	stops();
	threads_stop();
	thread_signals();
	orphans();
	terminal_jobs();
	waits_go_on();
	vectors();
	return 0;
}
