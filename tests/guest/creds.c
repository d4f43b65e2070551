/* User and group ids, capabilities, no_new_privs, set-user-id programs, rlimits, priorities, personality. */
#include "guest.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static void ids(const char *what)
{
	uid_t r, e, s;
	gid_t gr, ge, gs;

	getresuid(&r, &e, &s);
	getresgid(&gr, &ge, &gs);
	SAY("%s: uid %u %u %u gid %u %u %u", what, r, e, s, gr, ge, gs);
}

static int capget_(struct __user_cap_data_struct *d)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};

	return (int)syscall(SYS_capget, &h, d);
}

static void caps(const char *what)
{
	struct __user_cap_data_struct d[2];

	if (capget_(d))
		SAY("%s: %s", what, strerrorname_np(errno));
	else
		SAY("%s: chown effective %d permitted %d inheritable %d", what, d[0].effective & 1, d[0].permitted & 1,
		    d[0].inheritable & 1);
}

static void changes(void)
{
	CHILD
	{
		T(setresuid(1, 2, 3));
		ids("after setresuid");
		caps("after setresuid");
		T(seteuid(1));
		T(seteuid(3));
		T(setuid(4));
		T(setresuid(-1, -1, -1));
		T(setreuid(3, 1));
		ids("after setreuid");
		T(setuid(0));
	}
	CHILD
	{
		T(setgid(7));
		T(setgroups(3, (gid_t[]){30, 10, 20}));
		gid_t g[8];
		T(getgroups(8, g));
		T(getgroups(0, NULL));
		T(getgroups(1, g));
		T(getgroups(8, BAD));
		T(setuid(9));
		ids("after setuid");
		T(setgroups(0, NULL));
		T(setgid(8));
		T(setgid(7));
	}
	CHILD
	{
		T(seteuid(5));
		caps("effective user 5");
		T(seteuid(0));
		caps("effective root again");
		T(prctl(PR_SET_KEEPCAPS, 1));
		T(setuid(5));
		caps("kept");
		T(setfsuid(6));
		T(setfsuid(-1));
	}
	CHILD
	{
		T(setregid(-1, 12));
		ids("after setregid");
		T(setfsgid(3));
		T(setfsgid(-1));
	}
	T(setgroups(70000, BAD));
	T(setgroups(1, BAD));
	T(syscall(SYS_getresuid, BAD, BAD, BAD));
}

static void capabilities(void)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];

	h.version = 1;
	T(syscall(SYS_capget, &h, NULL));
	HOLDS(h.version == _LINUX_CAPABILITY_VERSION_3);
	T(syscall(SYS_capget, BAD, d));
	h.pid = 4100000;
	T(syscall(SYS_capget, &h, d));
	h.pid = 0;
	T(syscall(SYS_capget, &h, d));
	CHILD
	{
		d[0].effective &= ~1u;
		T(syscall(SYS_capset, &h, d));
		caps("dropped from effective");
		d[0].permitted &= ~1u;
		T(syscall(SYS_capset, &h, d));
		d[0].permitted |= 1;
		T(syscall(SYS_capset, &h, d));
		put_file("owned", "");
		T(chown("owned", 5, 5));
	}
	CHILD
	{
		T(prctl(PR_CAPBSET_READ, CAP_CHOWN));
		T(prctl(PR_CAPBSET_DROP, CAP_CHOWN));
		T(prctl(PR_CAPBSET_READ, CAP_CHOWN));
		T(prctl(PR_CAPBSET_DROP, 99));
		T(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
		T(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
		T(prctl(PR_GET_SECUREBITS));
	}
	CHILD
	{
		T(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		T(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
		T(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
	}
}

static void set_user_id(const char *self)
{
	char text[PATH_MAX + 20];

	snprintf(text, sizeof(text), "cp %s ./suid", self);
	MUST(system(text));
	T(chown("suid", 21, 22));
	T(chmod("suid", 06755));
	MUST(chmod(".", 0755));
	CHILD
	{
		execl("./suid", "suid", "ids", NULL);
	}
	CHILD
	{
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		execl("./suid", "suid", "ids", NULL);
	}
	CHILD
	{
		MUST(setuid(33));
		execl("./suid", "suid", "ids", NULL);
	}
}

static void kills(void)
{
	pid_t pid = MUST(fork());

	if (pid == 0) {
		pause();
		_exit(0);
	}
	CHILD
	{
		MUST(setuid(1234));
		T(kill(pid, 0));
		T(kill(pid, SIGTERM));
		T(setpriority(PRIO_PROCESS, (id_t)pid, 5));
		T(setpriority(PRIO_PROCESS, 0, -5));
	}
	MUST(kill(pid, SIGKILL));
	int status;
	waitpid(pid, &status, 0);
	say_status("target", status);
}

static void limits(void)
{
	struct rlimit rl;

	for (int i = 0; i <= 16; i++)
		SAY("limit %d: %d", i, getrlimit(i, &rl));
	CHILD
	{
		T(setrlimit(RLIMIT_NOFILE, &(struct rlimit){10, 20}));
		T(setrlimit(RLIMIT_NOFILE, &(struct rlimit){30, 20}));
		T(getrlimit(RLIMIT_NOFILE, &rl));
		SAY("%lu %lu", rl.rlim_cur, rl.rlim_max);
		while (dup(0) >= 0)
			;
		SAY("dup: %s", strerrorname_np(errno));
		T(dup2(0, 10));
		T(fcntl(0, F_DUPFD, 10));
		T(setrlimit(99, &rl));
		T(syscall(SYS_getrlimit, RLIMIT_CORE, BAD));
		T(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &rl));
		T(syscall(SYS_prlimit64, 4100000, RLIMIT_NOFILE, NULL, &rl));
	}
	CHILD
	{
		int fd = open("big", O_WRONLY | O_CREAT, 0600);

		MUST(setrlimit(RLIMIT_FSIZE, &(struct rlimit){100, 100}));
		T(pwrite(fd, "0123456789", 10, 95));
		signal(SIGXFSZ, SIG_IGN);
		T(pwrite(fd, "x", 1, 100));
		T(ftruncate(fd, 101));
		signal(SIGXFSZ, SIG_DFL);
		T(pwrite(fd, "x", 1, 100));
	}
	CHILD
	{
		MUST(setrlimit(RLIMIT_CPU, &(struct rlimit){1, 2}));
		for (;;)
			;
	}
	CHILD
	{
		MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit){5, 5}));
		T(open("/", O_RDONLY));
		T(open("/", O_RDONLY));
		T(open("/", O_RDONLY));
		T(pipe((int[2]){0}));
	}
}

static void priorities(void)
{
	T(getpriority(PRIO_PROCESS, 0));
	T(setpriority(PRIO_PROCESS, 0, 5));
	T(getpriority(PRIO_PROCESS, 0));
	T(syscall(SYS_getpriority, PRIO_PROCESS, 0));
	T(getpriority(77, 0));
	T(getpriority(PRIO_PROCESS, 4100000));
	T(setpriority(PRIO_PROCESS, 0, 100));
	T(getpriority(PRIO_PROCESS, 0));
	T(personality(0xffffffff));
	T(syscall(SYS_ioprio_get, 1, 0) >= 0);
	T(syscall(SYS_sched_setscheduler, 0, 99, &(struct sched_param){0}));
}

int main(int argc, char **argv)
{
	static char self[PATH_MAX];

	if (argc > 1) {
		ids(argv[1]);
		caps(argv[1]);
		return 0;
	}
	MUST(readlink("/proc/self/exe", self, sizeof(self) - 1));
	if (geteuid() == 0) {
		ids("start");
		changes();
		capabilities();
		set_user_id(self);
		kills();
	} else {
		T(setuid(0));
		T(setgid(0));
		T(setgroups(0, NULL));
		T(chown(".", 0, 0));
	}
	limits();
	priorities();
	return 0;
}
