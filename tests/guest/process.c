/* fork, vfork, exec, exit, wait, process groups and sessions, prctl, environment of a new program. */
#include "guest.h"

#include <sys/prctl.h>
#include <sys/resource.h>

static void waits(void)
{
	int status;
	pid_t a;
	siginfo_t si;

	T(wait(&status));
	T(waitpid(-1, &status, WNOHANG));
	T(waitpid(4100000, &status, 0));
	T(waitpid(-1, &status, 0x1000));
	T(waitid(P_ALL, 0, &si, WEXITED));
	T(waitid(P_ALL, 0, &si, 0));
	T(waitid(77, 0, &si, WEXITED));
	a = MUST(fork());
	if (a == 0)
		_exit(300);
	HOLDS(waitpid(a, &status, 0) == a);
	say_status("a", status);
	a = MUST(fork());
	if (a == 0)
		_exit(7);
	memset(&si, 0, sizeof(si));
	T(waitid(P_PID, a, &si, WEXITED | WNOWAIT));
	SAY("%d %d %d", si.si_signo == SIGCHLD, si.si_code, si.si_status);
	HOLDS(si.si_pid == a);
	HOLDS(waitpid(-1, BAD, 0) == -1 && errno == EFAULT);
	T(waitpid(-1, &status, 0));
	a = MUST(fork());
	if (a == 0) {
		sleep_ms(50);
		_exit(0);
	}
	T(waitpid(a, &status, WNOHANG));
	HOLDS(waitpid(0, &status, 0) == a);
	a = MUST(fork());
	if (a == 0)
		abort();
	HOLDS(wait4(a, &status, 0, &(struct rusage){0}) == a);
	SAY("signal %d", WTERMSIG(status));
	signal(SIGCHLD, SIG_IGN);
	a = MUST(fork());
	if (a == 0)
		_exit(1);
	T(waitpid(a, &status, 0));
	signal(SIGCHLD, SIG_DFL);
}

static void stops(void)
{
	int status, go[2];
	char byte = 0;
	siginfo_t si = {0};
	pid_t a;

	MUST(pipe(go));
	a = MUST(fork());
	if (a == 0) {
		raise(SIGSTOP);
		MUST(read(go[0], &byte, 1)); /* a stop makes the host forget the continuation before it */
		raise(SIGTSTP);
		_exit(5);
	}
	HOLDS(waitpid(a, &status, WUNTRACED) == a);
	say_status("a", status);
	T(waitpid(a, &status, WUNTRACED | WNOHANG));
	MUST(kill(a, SIGCONT));
	HOLDS(waitpid(a, &status, WCONTINUED) == a);
	say_status("a", status);
	MUST(write(go[1], &byte, 1));
	T(waitid(P_PID, a, &si, WSTOPPED | WNOWAIT));
	SAY("code %d status %s", si.si_code, signal_name(si.si_status));
	HOLDS(waitpid(a, &status, WUNTRACED) == a);
	say_status("a", status);
	MUST(kill(a, SIGTERM));
	T(waitpid(a, &status, WNOHANG));
	MUST(kill(a, SIGCONT));
	HOLDS(waitpid(a, &status, 0) == a);
	say_status("a", status);
}

static void exec_errors(char *self)
{
	char *argv[] = {"x", NULL};
	static char *many[40];
	char *huge = malloc(200000);

	(void)self;
	T(execve("absent", argv, environ));
	T(execve(".", argv, environ));
	T(execve("", argv, environ));
	T(execve(BAD, argv, environ));
	put_file("plain", "no program");
	T(execve("plain", argv, environ));
	MUST(chmod("plain", 0755));
	T(execve("plain", argv, environ));
	T(execve("plain/x", argv, environ));
	put_file("empty", "");
	MUST(chmod("empty", 0755));
	T(execve("empty", argv, environ));
	put_file("script", "#!/absent/interpreter\n");
	MUST(chmod("script", 0755));
	T(execve("script", argv, environ));
	put_file("nothing", "#!\n");
	MUST(chmod("nothing", 0755));
	T(execve("nothing", argv, environ));
	put_file("elf", "\177ELF\2\1\1\0garbage garbage garbage garbage garbage garbage garbage garbage");
	MUST(chmod("elf", 0755));
	T(execve("elf", argv, environ));
	T(syscall(SYS_execve, "/bin/true", BAD, environ));
	T(syscall(SYS_execve, "/bin/true", (char *[]){BAD, NULL}, environ));
	memset(huge, 'a', 199999);
	huge[199999] = 0;
	argv[0] = huge;
	T(execve("/bin/true", argv, environ));
	huge[131000] = 0;
	for (size_t i = 0; i < COUNT(many) - 1; i++)
		many[i] = huge;
	CHILD
	{
		struct rlimit rl = {8 << 20, 8 << 20};

		MUST(setrlimit(RLIMIT_STACK, &rl));
		T(execve("/bin/true", many, environ));
	}
	T(execveat(99, "x", argv, environ, 0));
	T(execveat(AT_FDCWD, "", argv, environ, 0));
	T(execveat(AT_FDCWD, "x", argv, environ, 0x4));
	free(huge);
}

static void exec_works(char *self)
{
	char text[PATH_MAX + 100];
	int fd;

	CHILD
	{
		execve(self, (char *[]){"renamed", "args", "a b", "", NULL}, (char *[]){"ONE=1", "TWO", NULL});
	}
	CHILD
	{
		fd = open("/", O_RDONLY);
		dup2(fd, 100);
		dup3(fd, 101, O_CLOEXEC);
		close(fd);
		signal(SIGUSR1, SIG_IGN);
		signal(SIGUSR2, signal_name(0) ? SIG_DFL : SIG_DFL);
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, SIGHUP);
		sigprocmask(SIG_BLOCK, &set, NULL);
		raise(SIGHUP);
		execl(self, self, "inherited", NULL);
	}
	snprintf(text, sizeof(text), "#!%s args  one word  \nrest", self);
	put_file("script", text);
	CHILD
	{
		execl("./script", "x", "more", NULL);
	}
	put_file("nested", "#!./script and\n");
	MUST(chmod("nested", 0755));
	CHILD
	{
		execl("./nested", "x", "y", NULL);
	}
	CHILD
	{
		fd = open(self, O_RDONLY | O_CLOEXEC);
		syscall(SYS_execveat, fd, "", (char *[]){"by-fd", "args", NULL}, environ, AT_EMPTY_PATH);
		SAY("execveat failed");
	}
	T(chmod("script", 0644));
	CHILD
	{
		T(execl("./script", "x", NULL));
	}
}

static void vforks(char *self)
{
	volatile int shared = 1;
	int status;
	pid_t pid = vfork();

	if (pid == 0) {
		shared = 2;
		_exit(4);
	}
	SAY("shared %d", shared);
	waitpid(pid, &status, 0);
	say_status("vfork", status);
	pid = vfork();
	if (pid == 0) {
		execl(self, "x", "exit", NULL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	say_status("vfork+exec", status);
}

static void groups(void)
{
	pid_t me = getpid(), a;
	int status;

	HOLDS(getpgrp() == getpgid(0) && getpgid(me) == getpgrp());
	T(getpgid(4100000));
	T(getsid(4100000));
	T(setpgid(4100000, 0));
	T(setpgid(0, -1));
	T(setpgid(0, 4100000));
	CHILD
	{
		HOLDS(setpgid(0, 0) == 0 && getpgrp() == getpid());
		T(setsid());
	}
	CHILD
	{
		HOLDS(setsid() == getpid());
		HOLDS(getsid(0) == getpid() && getpgrp() == getpid());
		T(setsid());
		T(setpgid(0, 0));
		T(open("/dev/tty", O_RDWR));
	}
	a = MUST(fork());
	if (a == 0) {
		pause();
		_exit(0);
	}
	T(setpgid(a, a));
	HOLDS(getpgid(a) == a);
	T(kill(-a, SIGTERM));
	waitpid(-a, &status, 0);
	say_status("group", status);
	T(kill(-a, 0));
}

static void orphans(void)
{
	int p[2];
	char c;

	MUST(pipe(p));
	CHILD
	{
		pid_t parent = getpid();

		if (fork() == 0) {
			while (getppid() == parent)
				sleep_ms(5);
			MUST(write(p[1], "o", 1));
			_exit(0);
		}
	}
	T(read(p[0], &c, 1));
	CHILD
	{
		int status;

		T(prctl(PR_SET_CHILD_SUBREAPER, 1));
		CHILD
		{
			if (fork() == 0) {
				sleep_ms(30);
				_exit(9);
			}
		}
		MUST(wait(&status));
		say_status("adopted", status);
	}
	CHILD
	{
		pid_t pid = fork();

		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (fork() == 0)
				_exit(0);
			pause();
		}
		sleep_ms(20);
		_exit(0);
	}
}

static void prctls(void)
{
	char name[17] = "";

	T(prctl(PR_SET_NAME, "a very long thread name"));
	T(prctl(PR_GET_NAME, name));
	SAY("%s", name);
	SAY("%.15s", get_file("/proc/self/comm"));
	T(prctl(PR_SET_NAME, BAD));
	T(prctl(PR_GET_DUMPABLE));
	T(prctl(PR_SET_DUMPABLE, 0));
	T(prctl(PR_GET_DUMPABLE));
	T(prctl(PR_SET_DUMPABLE, 3));
	T(prctl(PR_SET_DUMPABLE, 1));
	T(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	T(prctl(PR_SET_PDEATHSIG, 100));
	T(prctl(PR_GET_KEEPCAPS));
	T(prctl(PR_GET_TSC, name));
	T(prctl(4100000));
}

static int other(int argc, char **argv)
{
	if (strcmp(argv[1], "exit") == 0)
		return 6;
	if (strcmp(argv[1], "inherited") == 0) {
		struct sigaction sa;
		sigset_t set;

		T(fcntl(100, F_GETFD));
		T(fcntl(101, F_GETFD));
		sigaction(SIGUSR1, NULL, &sa);
		HOLDS(sa.sa_handler == SIG_IGN);
		sigprocmask(SIG_BLOCK, NULL, &set);
		HOLDS(sigismember(&set, SIGHUP));
		sigpending(&set);
		HOLDS(sigismember(&set, SIGHUP));
		return 0;
	}
	for (int i = 0; i < argc; i++)
		printf("[%s]", i == 0 && strchr(argv[i], '/') ? "path" : argv[i]);
	for (char **e = environ; *e && e < environ + 3 && strlen(*e) < 8 && !strstr(*e, "LANG"); e++)
		printf(" {%s}", strncmp(*e, "PATH", 4) ? *e : "PATH");
	SAY("%s", "");
	return 0;
}

int main(int argc, char **argv)
{
	static char self[PATH_MAX];

	if (argc > 1)
		return other(argc, argv);
	MUST(readlink("/proc/self/exe", self, sizeof(self) - 1));
	umask(022);
	clearenv();
	waits();
	stops();
	exec_errors(self);
	exec_works(self);
	vforks(self);
	groups();
	orphans();
	prctls();
	CHILD
	{
		HOLDS(getppid() != 1 || getpid() != 1);
		exit(13);
	}
	return 21;
}
