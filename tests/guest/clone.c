/* Flags of clone and clone3, tasks that share and that do not, threads that execute, pidfds, orphans, the end of groups. */
#include "guest.h"

#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/ioctl.h>

struct k_clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
	    cgroup;
};

static long raw_clone(unsigned long flags)
{
	return syscall(SYS_clone, flags, NULL, NULL, NULL, 0);
}

/* A clone that should fail; one that does not leaves at once. */
static void refused(const char *what, unsigned long flags)
{
	long r;

	errno = 0;
	r = raw_clone(flags);
	if (r == 0)
		_exit(0);
	if (r > 0)
		waitpid((pid_t)r, NULL, __WALL);
	SAY("%s: %s", what, r > 0 ? "made" : strerrorname_np(errno));
}

static long clone3(struct k_clone_args *a, size_t size)
{
	return syscall(SYS_clone3, a, size);
}

static void refused3(const char *what, struct k_clone_args a, size_t size)
{
	long r;

	errno = 0;
	r = clone3(&a, size);
	if (r == 0)
		_exit(0);
	if (r > 0)
		waitpid((pid_t)r, NULL, __WALL);
	SAY("%s: %s", what, r > 0 ? "made" : strerrorname_np(errno));
}

static void flags(void)
{
	struct {
		struct k_clone_args a;
		uint64_t more[2];
	} big = {.a = {.exit_signal = SIGCHLD}};

	refused("thread alone", CLONE_THREAD);
	refused("thread and handlers, own memory", CLONE_THREAD | CLONE_SIGHAND);
	refused("handlers, own memory", CLONE_SIGHAND | SIGCHLD);
	refused("pidfd and parent tid", CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD);
	refused("pidfd to nowhere", CLONE_PIDFD | SIGCHLD);
	refused("new mounts, shared root", CLONE_NEWNS | CLONE_FS | SIGCHLD);
	refused("plain", SIGCHLD);
	refused("files", CLONE_FILES | SIGCHLD);
	refused("no signal", 0);
	refused3("size 0", (struct k_clone_args){0}, 0);
	refused3("size 63", (struct k_clone_args){0}, 63);
	refused3("size 64", (struct k_clone_args){.exit_signal = SIGCHLD}, 64);
	refused3("too big", (struct k_clone_args){0}, 5000);
	refused3("signal 65", (struct k_clone_args){.exit_signal = 65}, 88);
	refused3("signal in flags", (struct k_clone_args){.flags = SIGCHLD}, 88);
	refused3("detached", (struct k_clone_args){.flags = CLONE_DETACHED, .exit_signal = SIGCHLD}, 88);
	refused3("unknown flag", (struct k_clone_args){.flags = 1ull << 40}, 88);
	refused3("stack without a size", (struct k_clone_args){.stack = 4096}, 88);
	refused3("size without a stack", (struct k_clone_args){.stack_size = 4096}, 88);
	refused3("stack beyond all", (struct k_clone_args){.stack = UINT64_MAX - 100, .stack_size = 4096}, 88);
	refused3("tids without a pointer", (struct k_clone_args){.set_tid_size = 1}, 88);
	refused3("parent with a signal", (struct k_clone_args){.flags = CLONE_PARENT, .exit_signal = SIGCHLD}, 88);
	refused3("both about handlers",
		 (struct k_clone_args){.flags = CLONE_SIGHAND | CLONE_VM | CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD},
		 88);
	TN("larger, zeros", (refused3("larger", big.a, 88), 0));
	big.more[1] = 1;
	errno = 0;
	TN("larger, not zeros", clone3((struct k_clone_args *)&big, sizeof(big)));
	TN("bad pointer", clone3(BAD, 88));
}

static int leave(void *arg)
{
	(void)arg;
	return 3;
}

static void tids(void)
{
	static char stack[65536];
	int parent_tid = 0, child_tid = 0, status;
	long pid;

	pid = syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, NULL, &parent_tid, &child_tid, 0);
	if (pid == 0)
		_exit(child_tid == getpid() ? 1 : 2);
	HOLDS(parent_tid == pid && child_tid == 0);
	waitpid((pid_t)pid, &status, 0);
	say_status("child", status);
	/* The word is cleared when the child leaves memory that others use. */
	child_tid = 55;
	pid = clone(leave, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_CHILD_CLEARTID | SIGCHLD, NULL, NULL,
		    NULL, &child_tid);
	SAY("cleared: %d", child_tid);
	waitpid((pid_t)pid, &status, 0);
	say_status("child", status);
}

static void signals_of_ends(void)
{
	int status;
	long pid;

	signal(SIGUSR1, SIG_IGN);
	pid = raw_clone(SIGUSR1);
	if (pid == 0)
		_exit(4);
	errno = 0;
	T(waitpid((pid_t)pid, &status, 0));
	HOLDS(waitpid((pid_t)pid, &status, __WCLONE) == pid);
	say_status("clone", status);
	pid = raw_clone(0);
	if (pid == 0)
		_exit(5);
	HOLDS(waitpid((pid_t)pid, &status, __WALL) == pid);
	say_status("clone", status);
	signal(SIGCHLD, SIG_IGN);
	pid = fork();
	if (pid == 0)
		_exit(6);
	errno = 0;
	T(waitpid((pid_t)pid, &status, 0));
	signal(SIGCHLD, SIG_DFL);
}

static void clear_handlers(void)
{
	struct k_clone_args a = {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
	struct sigaction sa;
	int status;
	long pid;

	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, (void (*)(int))flags);
	pid = clone3(&a, sizeof(a));
	if (pid == 0) {
		int r = 0;

		sigaction(SIGUSR1, NULL, &sa);
		r |= sa.sa_handler == SIG_IGN;
		sigaction(SIGUSR2, NULL, &sa);
		r |= (sa.sa_handler == SIG_DFL) << 1;
		_exit(r);
	}
	waitpid((pid_t)pid, &status, 0);
	say_status("ignored and default", status);
	signal(SIGUSR2, SIG_DFL);
}

static void *execute(void *arg)
{
	char *argv[] = {"true", "tid", NULL};

	execv(arg, argv);
	return NULL;
}

static void *sleeper(void *arg)
{
	pause();
	return arg;
}

static void thread_exec(char *self)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t t[5];

		for (int i = 0; i < 4; i++)
			pthread_create(&t[i], NULL, sleeper, NULL);
		pthread_create(&t[4], NULL, execute, self);
		pthread_exit(NULL);
	}
	waitpid(pid, &status, 0);
	say_status("executed by a thread", status);
}

static void pidfds(void)
{
	struct k_clone_args a = {.flags = CLONE_PIDFD, .exit_signal = SIGCHLD};
	int fd = -1, p[2];
	siginfo_t si;
	long pid;

	MUST(pipe(p));
	a.pidfd = (uint64_t)&fd;
	pid = clone3(&a, sizeof(a));
	if (pid == 0) {
		char c;

		close(p[1]);
		read(p[0], &c, 1);
		_exit(7);
	}
	HOLDS(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
	T(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 0));
	T(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	T(syscall(SYS_pidfd_send_signal, fd, 65, NULL, 0));
	T(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 99));
	T(syscall(SYS_pidfd_send_signal, p[0], 0, NULL, 0));
	T0(syscall(SYS_pidfd_getfd, fd, p[0], 0));
	T(syscall(SYS_pidfd_getfd, fd, 999, 0));
	T(syscall(SYS_pidfd_getfd, fd, 0, 1));
	T(waitid(P_PIDFD, (id_t)fd, &si, WEXITED | WNOHANG));
	close(p[1]);
	T(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 2000));
	memset(&si, 0, sizeof(si));
	T(waitid(P_PIDFD, (id_t)fd, &si, WEXITED));
	SAY("%d %d %d", si.si_pid == pid, si.si_code, si.si_status);
	T(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	T(waitid(P_PIDFD, (id_t)fd, &si, WEXITED));
	T(waitid(P_PIDFD, (id_t)p[0], &si, WEXITED));
	T(syscall(SYS_pidfd_open, 0, 0));
	T(syscall(SYS_pidfd_open, -1, 0));
	T(syscall(SYS_pidfd_open, 4100000, 0));
	T(syscall(SYS_pidfd_open, getpid(), 1));
	fd = (int)T0(syscall(SYS_pidfd_open, getpid(), 0));
	T(read(fd, &si, 1));
	close(fd);
	close(p[0]);
}

/* The grandchild outlives the child and must find another parent. */
static void orphans(void)
{
	int p[2], status;
	pid_t pid;
	char c;

	T(prctl(PR_SET_CHILD_SUBREAPER, 1));
	MUST(pipe(p));
	pid = fork();
	if (pid == 0) {
		pid_t me = getpid();

		if (fork() == 0) {
			close(p[0]);
			prctl(PR_SET_PDEATHSIG, SIGUSR1);
			signal(SIGUSR1, SIG_IGN);
			while (getppid() == me)
				usleep(1000);
			write(p[1], "x", 1);
			_exit(9);
		}
		_exit(8);
	}
	close(p[1]);
	T(read(p[0], &c, 1));
	HOLDS(waitpid(pid, &status, 0) == pid);
	say_status("child", status);
	HOLDS(wait(&status) > 0);
	say_status("orphan", status);
	T(wait(&status));
	close(p[0]);
	/* A stopped orphaned process group gets SIGHUP. */
	pid = fork();
	if (pid == 0) {
		pid_t g;

		setsid();
		g = fork();
		if (g == 0) {
			setpgid(0, 0);
			raise(SIGSTOP);
			_exit(1);
		}
		setpgid(g, g);
		waitpid(g, &status, WUNTRACED);
		_exit(0);
	}
	for (int i = 0; i < 2; i++) {
		pid_t r = wait(&status);

		say_status(r == pid ? "keeper" : "stopped orphan", status);
	}
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

/* The leader ends first: the process lives on, and its end is the leader's. */
static void leader_first(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t t;

		pthread_create(&t, NULL, sleeper, NULL);
		syscall(SYS_exit, 11);
	}
	usleep(20000);
	T(waitpid(pid, &status, WNOHANG));
	T(kill(pid, SIGTERM));
	waitpid(pid, &status, 0);
	say_status("group", status);
}

static void *late_exit(void *arg)
{
	usleep(20000);
	syscall(SYS_exit, 13);
	return arg;
}

static void last_thread(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t t;

		pthread_create(&t, NULL, late_exit, NULL);
		syscall(SYS_exit, 12);
	}
	waitpid(pid, &status, 0);
	say_status("leader's status", status);
}

static void vfork_and_kill(void)
{
	int status;
	volatile pid_t child = 0;
	pid_t pid = fork();

	if (pid == 0) {
		child = vfork();
		if (child == 0) {
			kill(getppid(), SIGKILL);
			usleep(20000);
			_exit(0);
		}
		_exit(1);
	}
	waitpid(pid, &status, 0);
	say_status("parent in vfork", status);
}

static void shares(void)
{
	int status;
	long pid = raw_clone(CLONE_FS | CLONE_FILES | SIGCHLD);

	if (pid == 0) {
		umask(0123);
		close(77);
		chdir("/");
		_exit(0);
	}
	waitpid((pid_t)pid, &status, 0);
	SAY("umask %o", umask(022));
	T0(getcwd((char[100]){0}, 100));
	T(unshare(CLONE_FS | CLONE_FILES));
	T(unshare(CLONE_VM));
	T(unshare(0x7));
	T(unshare(CLONE_THREAD));
	T(setns(999, 0));
}

int main(int argc, char **argv)
{
	char self[PATH_MAX] = {0};

	if (argc > 1)
		return getpid() == gettid() ? 21 : 22;
	must(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0 && argv[0], "find the program");
	flags();
	tids();
	signals_of_ends();
	clear_handlers();
	thread_exec(self);
	pidfds();
	orphans();
	leader_first();
	last_thread();
	vfork_and_kill();
	shares();
	return 0;
}
