/* /proc and /dev as programs read them: what does not differ from machine to machine. */
#include "guest.h"

#include <dirent.h>
#include <sys/sysmacros.h>

static void has(const char *file, const char *text)
{
	SAY("%s %s '%s'", strncmp(file, "/proc/", 6) || file[6] > '9' ? file : "/proc/PID...",
	    strstr(get_file(file), text) ? "has" : "LACKS", text);
}

static void own(void)
{
	char path[64], buf[PATH_MAX], self[PATH_MAX] = "";
	struct stat a, b;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d", getpid());
	n = readlink("/proc/self", buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = 0;
	HOLDS(atoi(buf) == getpid());
	HOLDS(access(path, F_OK) == 0);
	T(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	HOLDS(stat("/proc/self/exe", &a) == 0 && stat(self, &b) == 0 && a.st_ino == b.st_ino);
	n = readlink("/proc/self/cwd", buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = 0;
	HOLDS(stat("/proc/self/cwd", &a) == 0 && stat(".", &b) == 0 && a.st_ino == b.st_ino);
	T(readlink("/proc/self/root", buf, sizeof(buf)));
	has("/proc/self/status", "State:\tR (running)");
	has("/proc/self/status", "Threads:\t1");
	has("/proc/self/status", "VmRSS:");
	has("/proc/self/status", "SigBlk:\t0000000000000000");
	has("/proc/self/maps", "[stack]");
	has("/proc/self/maps", "[vdso]");
	has("/proc/self/maps", " r-xp ");
	has("/proc/self/limits", "Max open files");
	has("/proc/self/mountinfo", " / ");
	has("/proc/self/smaps", "Rss:");
	has("/proc/self/cgroup", "0::");
	HOLDS(strlen(get_file("/proc/self/cmdline")) > 0);
	HOLDS(strlen(get_file("/proc/self/stat")) > 50);
	HOLDS(strlen(get_file("/proc/self/auxv")) > 0);
	T(open("/proc/self/nothing", O_RDONLY));
	T(open("/proc/4100000/status", O_RDONLY));
	T(open("/proc/self/status", O_WRONLY));
	T(mkdir("/proc/x", 0755));
	T(unlink("/proc/self/status"));
	put_file("shown", "by descriptor");
	int fd = MUST(open("shown", O_RDONLY));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	SAY("%s", get_file(path));
	n = readlink(path, buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = 0;
	HOLDS(strcmp(strrchr(buf, '/'), "/shown") == 0);
	unlink("shown");
	n = readlink(path, buf, sizeof(buf) - 1);
	buf[n > 0 ? n : 0] = 0;
	HOLDS(strstr(buf, "/shown (deleted)"));
	SAY("%s", get_file(path));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	has(path, "flags:\t0");
	int p[2];
	MUST(pipe(p));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
	n = readlink(path, buf, sizeof(buf) - 1);
	HOLDS(n > 6 && strncmp(buf, "pipe:[", 6) == 0);
}

static void children(void)
{
	char path[64];
	pid_t pid = MUST(fork());

	if (pid == 0) {
		pause();
		_exit(0);
	}
	sleep_ms(20);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	has(path, "State:\tS (sleeping)");
	MUST(kill(pid, SIGKILL));
	siginfo_t si;
	MUST(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT));
	has(path, "State:\tZ (zombie)");
	MUST(waitpid(pid, NULL, 0));
	T(access(path, F_OK));
}

static void whole_system(void)
{
	static const char *const files[] = {"/proc/cpuinfo",
					    "/proc/meminfo",
					    "/proc/stat",
					    "/proc/uptime",
					    "/proc/loadavg",
					    "/proc/version",
					    "/proc/mounts",
					    "/proc/filesystems",
					    "/proc/sys/kernel/ostype",
					    "/proc/sys/kernel/pid_max",
					    "/proc/sys/kernel/random/uuid",
					    "/proc/sys/vm/overcommit_memory",
					    "/proc/sys/fs/file-max",
					    "/proc/self/environ",
					    "/proc/self/oom_score_adj",
					    "/sys/devices/system/cpu/online"};

	for (size_t i = 0; i < COUNT(files); i++)
		SAY("%s %s", files[i],
		    strlen(get_file(files[i])) > (strstr(files[i], "environ") ? 0 : 1) ? "has text" : "IS EMPTY");
	has("/proc/meminfo", "MemTotal:");
	has("/proc/meminfo", "MemAvailable:");
	has("/proc/cpuinfo", "processor\t: 0");
	has("/proc/stat", "cpu0 ");
	has("/proc/filesystems", "tmpfs");
	has("/proc/version", "Linux version ");
	SAY("%s", get_file("/proc/sys/kernel/ostype"));
	T(open("/proc/sys/kernel/absent", O_RDONLY));
}

static void device(const char *name)
{
	struct stat st;

	if (stat(name, &st))
		SAY("%s: %s", name, strerrorname_np(errno));
	else
		SAY("%s: %o %u:%u", name, st.st_mode & S_IFMT, major(st.st_rdev), minor(st.st_rdev));
}

static void devices(void)
{
	char buf[16] = "xxxxxxxxxxxxxxx";
	int fd;

	device("/dev/null");
	device("/dev/zero");
	device("/dev/full");
	device("/dev/random");
	device("/dev/urandom");
	device("/dev/tty");
	device("/dev/ptmx");
	fd = MUST(open("/dev/null", O_RDWR));
	T(write(fd, "x", 1));
	T(write(fd, BAD, 1));
	T(read(fd, buf, 1));
	T(lseek(fd, 10, SEEK_SET));
	fd = MUST(open("/dev/zero", O_RDWR));
	T(read(fd, buf, 4));
	HOLDS(buf[0] == 0 && buf[3] == 0 && buf[4] == 'x');
	T(read(fd, BAD, 4));
	T(write(fd, "x", 1));
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	HOLDS(p != MAP_FAILED && p[5000] == 0);
	fd = MUST(open("/dev/full", O_RDWR));
	T(read(fd, buf, 4));
	T(write(fd, "x", 1));
	fd = MUST(open("/dev/urandom", O_RDONLY));
	T(read(fd, buf, 16));
	T(readlink("/dev/fd", buf, sizeof(buf)));
	SAY("%.13s", buf);
	T(access("/dev/stdin", F_OK));
	T(access("/dev/shm", W_OK));
	T(mkdir("/dev/shm/guest-test", 0700));
	T(rmdir("/dev/shm/guest-test"));
}

static void threads(void)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	int n = 0;

	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	SAY("tasks %d", n);
	T(access("/proc/thread-self/comm", R_OK));
	put_file("/proc/self/comm", "renamed");
	SAY("%s", get_file("/proc/self/comm"));
	has("/proc/self/stat", "(renamed) R");
}

int main(void)
{
	own();
	children();
	whole_system();
	devices();
	threads();
	return 0;
}
