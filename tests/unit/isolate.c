/*
 * runsc-shim/isolate.h and platform/seccomp.h: what a sentry that an attacker has taken over could still do. The attacks
 * run in the cage, behind the filter, on the ptrace platform. A call that the filter refuses raises SIGSYS here
 * (SECCOMP_TRAP), and the handler lets it return -TRAPPED; without that switch the sentry would be dead.
 *
 * Not with sanitizers: their run time makes calls of its own.
 */
#include "runsc-shim/isolate.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "platform/platform.h"
#include "platform/seccomp.h"
#include "sentry/base/slab.h"
#include "tests/unit/unit.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#define TRAPPED 4000
#define NOBODY 65534
#define ROUNDS 50
#define SO_PEERPIDFD_ 77 /* gives a descriptor */

static long launcher_pid;

static enum cpu_action on_event(struct cpu *cpu, const struct cpu_event *ev)
{
	if (ev->kind == CPU_LOST) {
		platform->cpu_put(cpu);
		return CPU_STOP;
	}
	return CPU_RESUME;
}

static const struct platform_client client = {on_event};

static void on_sigsys(int sig __unused, siginfo_t *si __unused, void *context)
{
	ucontext_t *uc = context;

	uc->uc_mcontext.gregs[REG_RAX] = -TRAPPED;
}

/* The result of a raw call: -errno, or -TRAPPED. */
static long raw(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}

#define RAW1(nr, a) raw(nr, (long)(a), 0, 0, 0, 0, 0)
#define RAW2(nr, a, b) raw(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define RAW3(nr, a, b, c) raw(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define RAW4(nr, a, b, c, d) raw(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

/* A failed expectation is the exit status of the sentry: the line, as far as it fits. */
static int failed_line;
#define EXPECT(cond)                                                                                                   \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			dprintf(2, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                          \
			failed_line = __LINE__;                                                                        \
		}                                                                                                      \
	} while (0)
#define REFUSED(call) EXPECT((call) == -TRAPPED)

static void start_platform(enum seccomp_strictness how)
{
	struct platform_config config = {.client = &client};
	const char *why;

	EXPECT(arena_init(1ul << 30) == 0);
	EXPECT(platform_select("ptrace", &why) == 0);
	EXPECT(platform->init(&config) == 0);
	seccomp_set_strictness(how);
	EXPECT(seccomp_install_sentry() == 0);
}

static void see_what_is_there(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct caps[2];
	int entries = 0, fds = 0;
	DIR *d = opendir("/");

	while (d && readdir(d))
		entries++;
	EXPECT(entries == 2);
	closedir(d);
	EXPECT(getpid() == 1 && getppid() == 0);
	EXPECT(syscall(SYS_capget, &header, caps) == 0);
	EXPECT(!(caps[0].effective | caps[0].permitted | caps[0].inheritable | caps[1].effective | caps[1].permitted |
		 caps[1].inheritable));
	for (int i = 0; i < 40; i++)
		EXPECT(prctl(PR_CAPBSET_READ, i) == 0);
	EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	EXPECT(prctl(PR_GET_DUMPABLE) == 1);
	/* The streams, two directories and what keeps their mounts, the status pipe, perhaps a /proc and a tmpfs of our own. */
	for (int fd = 0; fd < 1024; fd++)
		fds += fcntl(fd, F_GETFD) >= 0;
	EXPECT(fds == 3 + 4 + 1 + (isolate_proc_fd() >= 0) + (isolate_memory_fd() >= 0));
	EXPECT(unshare(CLONE_NEWNS) < 0);
	EXPECT(mkdir("/x", 0777) < 0 && errno == EROFS);
}

static void attack_files(void)
{
	EXPECT(open("/etc/passwd", O_RDONLY) < 0);
	EXPECT(open("../../../etc/passwd", O_RDONLY) < 0);
	EXPECT(open("/proc/self/exe", O_RDONLY) < 0);
	EXPECT(open("/dev/null", O_RDWR) < 0);
	EXPECT(open("/x", O_CREAT | O_RDWR, 0666) < 0);
	EXPECT(mknod("/x", S_IFBLK | 0666, 0x800) < 0);
	REFUSED(RAW3(SYS_open_by_handle_at, 1, "", O_RDONLY));
	REFUSED(RAW1(SYS_chroot, "/"));
	REFUSED(RAW1(SYS_chdir, "/"));
	REFUSED(raw(SYS_mount, (long)"x", (long)"/", (long)"tmpfs", 0, 0, 0));
	REFUSED(RAW2(SYS_umount2, "/", 2));
	REFUSED(RAW2(SYS_pivot_root, "/", "/"));
	REFUSED(RAW3(SYS_open_tree, -100, "/", 1));
	REFUSED(RAW2(SYS_fsopen, "proc", 0));
	REFUSED(RAW2(SYS_quotactl, 0, 0));
	REFUSED(RAW2(SYS_io_uring_setup, 8, 0));
	REFUSED(RAW3(SYS_inotify_add_watch, 0, "/", 1));
}

/* The directories that run() hands over: the host's root, and one in /tmp whose parent holds a file of the test's. */
static int root_fd, own_fd;

static bool same_dir(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

static void attack_dirs(void)
{
	int up = openat(own_fd, "../..", O_PATH | O_DIRECTORY);

	EXPECT(up >= 0 && same_dir(up, own_fd));
	EXPECT(openat(own_fd, "../secret", O_RDONLY) < 0 && errno == ENOENT);
	EXPECT(openat(own_fd, "mine", O_CREAT | O_RDWR, 0600) >= 0);
	EXPECT(openat(root_fd, "etc", O_PATH | O_DIRECTORY) >= 0);
	EXPECT(openat(root_fd, "tmp/planted-by-a-test", O_CREAT | O_RDWR, 0600) < 0 && errno == EROFS);
	EXPECT(openat(root_fd, "proc/sys/kernel/core_pattern", O_WRONLY) < 0 && (errno == EROFS || errno == EACCES));
	EXPECT(openat(root_fd, "dev/null", O_RDWR) < 0 && errno == EACCES);
	EXPECT(openat(root_fd, "dev/null", O_RDONLY) < 0 && errno == EACCES);
}

static void attack_code(void)
{
	char *argv[] = {NULL};
	int fd = memfd_create("x", 0);
	void *p = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EXPECT(fd >= 0 && p != MAP_FAILED);
	REFUSED(RAW3(SYS_execve, "/bin/true", argv, argv));
	REFUSED(raw(SYS_execveat, fd, (long)"", (long)argv, (long)argv, AT_EMPTY_PATH, 0));
	REFUSED(raw(SYS_mmap, 0, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	REFUSED(raw(SYS_mmap, 0, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0));
	REFUSED(RAW3(SYS_mprotect, p, PAGE_SIZE, PROT_READ | PROT_EXEC));
	REFUSED(RAW4(SYS_pkey_mprotect, p, PAGE_SIZE, PROT_READ | PROT_EXEC, -1));
	REFUSED(RAW1(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */));
	REFUSED(raw(SYS_shmat, 0, 0, 0, 0, 0, 0));
	REFUSED(RAW2(SYS_arch_prctl, 0x1002, 0));
	REFUSED(RAW3(SYS_bpf, 0, 0, 0));
	REFUSED(RAW1(SYS_userfaultfd, 0));
}

static void attack_processes(void)
{
	struct iovec v = {&launcher_pid, sizeof(launcher_pid)};

	REFUSED(RAW1(SYS_clone, SIGCHLD));
	REFUSED(RAW1(SYS_clone, CLONE_NEWUSER | SIGCHLD));
	REFUSED(RAW1(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND));
	REFUSED(RAW1(SYS_fork, 0));
	REFUSED(RAW1(SYS_vfork, 0));
	EXPECT(RAW2(SYS_clone3, 0, 0) == -ENOSYS);
	REFUSED(RAW1(SYS_unshare, CLONE_NEWUSER));
	REFUSED(RAW2(SYS_setns, 0, 0));
	REFUSED(RAW4(SYS_ptrace, PTRACE_ATTACH, launcher_pid, 0, 0));
	REFUSED(RAW4(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0));
	REFUSED(RAW4(SYS_ptrace, PTRACE_POKEDATA, 2, 0, 0));
	EXPECT(RAW4(SYS_ptrace, PTRACE_SEIZE, launcher_pid, 0, 0) == -ESRCH);
	EXPECT(kill((pid_t)launcher_pid, 0) < 0 && errno == ESRCH);
	EXPECT(process_vm_readv((pid_t)launcher_pid, &v, 1, &v, 1, 0) < 0 && errno == ESRCH);
	REFUSED(RAW3(SYS_pidfd_getfd, 0, 0, 0));
	REFUSED(RAW2(SYS_pidfd_open, 1, 0));
	REFUSED(RAW4(SYS_prlimit64, launcher_pid, 0, 0, 0));
	REFUSED(RAW3(SYS_setpriority, 0, 0, -20));
	REFUSED(RAW3(SYS_kcmp, 1, 1, 0));
}

static void attack_rights(void)
{
	REFUSED(RAW1(SYS_setuid, 0));
	REFUSED(RAW3(SYS_setresuid, 0, 0, 0));
	REFUSED(RAW2(SYS_setgroups, 0, 0));
	REFUSED(RAW2(SYS_capset, 0, 0));
	REFUSED(RAW2(SYS_prctl, PR_SET_NO_NEW_PRIVS, 0));
	REFUSED(RAW3(SYS_seccomp, 1, 0, 0));
	REFUSED(RAW3(SYS_keyctl, 0, 0, 0));
	REFUSED(RAW3(SYS_add_key, 0, 0, 0));
	REFUSED(RAW2(SYS_sethostname, "x", 1));
	REFUSED(RAW3(SYS_reboot, 0, 0, 0));
	REFUSED(RAW3(SYS_perf_event_open, 0, 0, 0));
	REFUSED(RAW1(SYS_iopl, 3));
}

static void attack_network(void)
{
	REFUSED(RAW3(SYS_socket, AF_UNIX, SOCK_STREAM, 0));
	REFUSED(RAW3(SYS_socket, AF_INET, SOCK_STREAM, 0));
	REFUSED(RAW3(SYS_socket, AF_NETLINK, SOCK_RAW, 0));
	REFUSED(RAW4(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, 0));
	REFUSED(RAW3(SYS_connect, 0, 0, 0));
	REFUSED(RAW3(SYS_bind, 0, 0, 0));
	REFUSED(RAW2(SYS_listen, 0, 1));
	REFUSED(RAW4(SYS_accept4, 0, 0, 0, 0));
	REFUSED(RAW3(SYS_sendmsg, 0, &(struct msghdr){0}, 0));
	REFUSED(RAW3(SYS_recvmsg, 0, &(struct msghdr){0}, 0));
	REFUSED(RAW4(SYS_sendmmsg, 0, 0, 0, 0));
	REFUSED(RAW4(SYS_recvmmsg, 0, 0, 0, 0));
	REFUSED(raw(SYS_sendto, 0, (long)"x", 1, 0, (long)&(struct sockaddr){AF_UNIX, ""}, 16));
	REFUSED(raw(SYS_setsockopt, 0, SOL_SOCKET, SO_RCVBUF, (long)&(int){1}, 4, 0));
	REFUSED(raw(SYS_getsockopt, 0, SOL_SOCKET, SO_PEERPIDFD_, (long)&(int){1}, (long)&(socklen_t){4}, 0));
	REFUSED(RAW3(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x"));
	REFUSED(RAW3(SYS_ioctl, 0, 0x541c /* TIOCLINUX */, "x"));
	REFUSED(RAW3(SYS_ioctl, 0, 0x540e /* TIOCSCTTY */, 1));
}

static void *thread_main(void *arg)
{
	return arg;
}

/* What it must still be able to do. */
static void work(void)
{
	struct cpu *cpu;
	pthread_t t;
	void *ret = NULL;

	EXPECT(platform->aspace_create(&cpu) == 0);
	EXPECT(platform->aspace_map(cpu, GUEST_MIN, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1, 0) == 0);
	EXPECT(platform->cpu_write(cpu, GUEST_MIN, "x", 1) == 1);
	platform->cpu_put(cpu);
	EXPECT(pthread_create(&t, NULL, thread_main, &cpu) == 0 && pthread_join(t, &ret) == 0 && ret == &cpu);
}

static int attacker_main(void *arg __unused)
{
	struct sigaction sa = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};

	see_what_is_there();
	sigaction(SIGSYS, &sa, NULL);
	start_platform(SECCOMP_TRAP);
	work();
	attack_files();
	attack_dirs();
	attack_code();
	attack_processes();
	attack_rights();
	attack_network();
	return failed_line ? 1 : 0;
}

static int killed_main(void *arg)
{
	start_platform(SECCOMP_KILL);
	if (arg)
		__asm__ volatile("int $0x80" : : "a"(20));
	else
		RAW3(SYS_socket, AF_INET, SOCK_STREAM, 0);
	return 0;
}

static int run(int (*fn)(void *), void *arg)
{
	char dir[] = "/tmp/isolate-XXXXXX", sub[64], secret[64], mine[64];
	struct isolate_dir dirs[2] = {{.read_only = true}};
	struct isolate_spec spec = {.fds = (int[]){0, 1, 2}, .fd_count = 3, .dirs = dirs, .dir_count = 2};
	struct isolated i;
	struct error e;
	siginfo_t si;
	int status;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(sub, sizeof(sub), "%s/sub", dir);
	snprintf(secret, sizeof(secret), "%s/secret", dir);
	snprintf(mine, sizeof(mine), "%s/sub/mine", dir);
	close(open(secret, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(mkdir(sub, 0700), 0);
	root_fd = dirs[0].fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	own_fd = dirs[1].fd = open(sub, O_PATH | O_DIRECTORY | O_CLOEXEC);
	launcher_pid = getpid();
	if (isolate_start(&spec, fn, arg, &i, &e))
		ck_abort_msg("%s", e.text);
	ck_assert_int_eq(i.dirs_err, 0);
	waitid(P_PID, (id_t)i.pid, &si, WEXITED | WNOWAIT);
	status = isolate_finish(&i);
	close(root_fd);
	close(own_fd);
	unlink(mine);
	unlink(secret);
	ck_assert_int_eq(rmdir(sub), 0);
	ck_assert_int_eq(rmdir(dir), 0);
	return status;
}

static void become_nobody(void)
{
	ck_assert_int_eq(setresgid(NOBODY, NOBODY, NOBODY), 0);
	ck_assert_int_eq(setresuid(NOBODY, NOBODY, NOBODY), 0);
	prctl(PR_SET_DUMPABLE, 1);
}

START_TEST(attacks)
{
	ck_assert_int_eq(run(attacker_main, NULL), 0);
}
END_TEST

START_TEST(attacks_as_ordinary_user)
{
	if (getuid() == 0)
		become_nobody();
	ck_assert_int_eq(run(attacker_main, NULL), 0);
}
END_TEST

START_TEST(a_forbidden_call_kills)
{
	int status = run(killed_main, NULL);

	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGSYS);
}
END_TEST

START_TEST(a_32_bit_call_kills)
{
	int status = run(killed_main, "");

	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGSYS);
}
END_TEST

static int endless_main(void *arg __unused)
{
	struct cpu *cpu[4];

	start_platform(SECCOMP_KILL);
	for (size_t i = 0; i < ARRAY_SIZE(cpu); i++) {
		EXPECT(platform->aspace_create(&cpu[i]) == 0);
		platform->cpu_regs(cpu[i])->rip = GUEST_MIN;
		platform->cpu_start(cpu[i]);
	}
	if (write(isolate_status_fd(), "x", 1) != 1)
		return 1;
	for (;;)
		pause();
}

static void sleep_us(long us)
{
	struct timespec ts = {0, us * 1000};

	nanosleep(&ts, NULL);
}

/* The launcher, in a process of its own: everything it starts holds `alive`. */
static void launcher(int alive, bool kill_sentry, long us) __noreturn;
static void launcher(int alive, bool kill_sentry, long us)
{
	struct isolate_spec spec = {.fds = (int[]){2, alive}, .fd_count = 2};
	struct isolated i;
	struct error e;

	if (isolate_start(&spec, endless_main, NULL, &i, &e))
		_exit(1);
	if (kill_sentry) {
		sleep_us(us);
		kill(i.pid, SIGKILL);
		_exit(waitpid(i.pid, NULL, 0) == i.pid ? 0 : 1);
	}
	for (;;)
		pause();
}

static size_t mount_lines(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	size_t n = 0;
	int ch;

	while ((ch = fgetc(f)) != EOF)
		n += ch == '\n';
	fclose(f);
	return n;
}

START_TEST(killing_leaves_nothing)
{
	size_t mounts = mount_lines();

	srandom((unsigned)time(NULL));
	for (int round = 0; round < ROUNDS; round++) {
		struct pollfd p = {.events = POLLIN};
		long us = random() % 6000;
		int alive[2];
		pid_t pid;

		ck_assert_int_eq(pipe(alive), 0);
		pid = fork();
		if (pid == 0) {
			close(alive[0]);
			launcher(alive[1], round & 1, us);
		}
		close(alive[1]);
		sleep_us(us);
		if (!(round & 1))
			kill(pid, SIGKILL);
		/* End of file: nobody is left. */
		p.fd = alive[0];
		ck_assert_msg(poll(&p, 1, 3000) == 1 && p.revents == POLLHUP, "round %d: somebody lives on", round);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		close(alive[0]);
	}
	ck_assert_uint_eq(mount_lines(), mounts);
}
END_TEST

UNIT_MAIN(attacks, attacks_as_ordinary_user, a_forbidden_call_kills, a_32_bit_call_kills, killing_leaves_nothing)

#else
START_TEST(probe)
{
	struct error e;
	bool has_proc;

	ck_assert_int_eq(isolate_probe(&has_proc, &e), 0);
}
END_TEST
UNIT_MAIN(probe)
#endif
