/* The system call layer on the platform for tests: results, hostile arguments, and every allocation failing in its turn. */
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "sentry/base/ctx.h"
#include "sentry/base/slab.h"
#include "sentry/base/wait.h"
#include "sentry/ipc.h"
#include "syscalls/dispatch.h"
#include "tests/kernel/kernel.h"
#include "tests/unit/unit.h"

#define DATA (KERNEL_SCRATCH + 0x1000)
#define STRINGS (KERNEL_SCRATCH + 0x8000)
#define STRING_SIZE 64

static struct cpu *init;
static unsigned string_count;

/* Puts a string into guest memory; it stays for the test. */
static uint64_t str(const char *s)
{
	uint64_t at = STRINGS + string_count++ % 64 * STRING_SIZE;

	kernel_poke(init, at, s, strlen(s) + 1);
	return at;
}

static void setup(void)
{
	init = kernel_boot();
}

START_TEST(files)
{
	char text[16] = "";
	int64_t fd;

	setup();
	kernel_poke(init, DATA, "hello world", 11);
	fd = KCALL(init, SYS_open, str("/tmp/f"), O_RDWR | O_CREAT, 0644);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(KCALL(init, SYS_write, fd, DATA, 11), 11);
	ck_assert_int_eq(KCALL(init, SYS_lseek, fd, 6, SEEK_SET), 6);
	ck_assert_int_eq(KCALL(init, SYS_read, fd, DATA + 100, 16), 5);
	kernel_peek(init, DATA + 100, text, 5);
	ck_assert_str_eq(text, "world");
	ck_assert_int_eq(KCALL(init, SYS_read, fd, 0, 16), 0);
	ck_assert_int_eq(KCALL(init, SYS_pread64, fd, 8, 16, 0), -EFAULT);
	ck_assert_int_eq(KCALL(init, SYS_close, fd), 0);
	ck_assert_int_eq(KCALL(init, SYS_close, fd), -EBADF);
	ck_assert_int_eq(KCALL(init, SYS_unlink, str("/tmp/f")), 0);
	ck_assert_int_eq(KCALL(init, SYS_open, str("/tmp/f"), O_RDONLY), -ENOENT);
}
END_TEST

START_TEST(processes)
{
	int64_t pid;
	int status;

	setup();
	pid = KCALL(init, SYS_fork);
	ck_assert_int_gt(pid, 1);
	ck_assert_uint_eq(kernel_cpu_count, 2);
	ck_assert_int_eq(KCALL(kernel_cpus[1], SYS_getppid), 1);
	ck_assert_int_eq(KCALL(init, SYS_wait4, -1, DATA, WNOHANG, 0), 0);
	kernel_poke(kernel_cpus[1], DATA, "child", 6);
	ck_assert_int_eq(KCALL(kernel_cpus[1], SYS_exit_group, 7), -ESRCH);
	ck_assert_int_eq(KCALL(init, SYS_wait4, -1, DATA, 0, 0), pid);
	kernel_peek(init, DATA, &status, sizeof(status));
	ck_assert_int_eq(status, 7 << 8);
	ck_assert_int_eq(KCALL(init, SYS_wait4, -1, DATA, 0, 0), -ECHILD);
}
END_TEST

START_TEST(a_sleep_ends_by_a_signal)
{
	int64_t pid;

	setup();
	pid = KCALL(init, SYS_fork);
	KCALL(kernel_cpus[1], SYS_pause);
	ck_assert_int_eq(KCALL(init, SYS_kill, pid, SIGTERM), 0);
	kernel_reset();
	ck_assert_int_eq(KCALL(init, SYS_kill, pid, 0), -ESRCH);
}
END_TEST

/* Every call with every argument wrong in the same way: none may crash, hang, or write where it may not. */
START_TEST(hostile_arguments)
{
	static const uint64_t bad[] = {0,          1,        8, UINT64_MAX, 1ul << 63, 0x7ffffffff000, DATA + 0xfff,
				       0xdeadbeef, INT32_MAX};
	const struct syscall_info *info;

	setup();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		for (unsigned nr = 0; nr < SYSCALL_MAX; nr++) {
			info = syscall_info(nr);
			if (!info || info->level <= SYSCALL_NONE)
				continue;
			if (kernel_cpu_count < 2)
				ck_assert_int_gt(KCALL(init, SYS_fork), 0);
			KCALL(kernel_cpus[1], nr, bad[i], bad[i], bad[i], bad[i], bad[i], bad[i]);
			if (kernel_cpu_count > 30)
				kernel_reset();
		}
		kernel_reset();
	}
	ck_assert_int_eq(KCALL(init, SYS_getpid), 1);
}
END_TEST

static void add_live(const struct slab *s, void *arg)
{
	*(size_t *)arg += s->live;
}

static size_t live_objects(void)
{
	size_t n = 0;

	slab_for_each(add_live, &n);
	return n;
}

/* Calls that make something and its opposite. */
struct maker {
	const char *what;
	int64_t (*make)(void);
};

static int64_t close_it(int64_t fd)
{
	return fd < 0 ? fd : KCALL(init, SYS_close, fd);
}

/* The opposite of what was made; once more, if that was what failed, so that the next round starts as this one did. */
static int64_t undo(uint64_t nr, uint64_t path)
{
	int64_t r = KCALL(init, nr, path);

	if (r == -ENOMEM)
		KCALL(init, nr, path);
	return r;
}

static int64_t make_file(void)
{
	int64_t r = close_it(KCALL(init, SYS_open, STRINGS, O_RDWR | O_CREAT, 0644));

	undo(SYS_unlink, STRINGS);
	return r;
}

static int64_t make_directory(void)
{
	int64_t r = KCALL(init, SYS_mkdir, STRINGS, 0755);

	return r ? r : undo(SYS_rmdir, STRINGS);
}

static int64_t make_link(void)
{
	int64_t r = KCALL(init, SYS_symlink, STRINGS, STRINGS);

	return r ? r : undo(SYS_unlink, STRINGS);
}

static int64_t close_two(int64_t r)
{
	int fds[2];

	if (r)
		return r;
	kernel_peek(init, DATA, fds, sizeof(fds));
	return close_it(fds[0]) | close_it(fds[1]);
}

static int64_t make_pipe(void)
{
	return close_two(KCALL(init, SYS_pipe2, DATA, 0));
}

static int64_t make_socketpair(void)
{
	return close_two(KCALL(init, SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, DATA));
}

static int64_t make_epoll(void)
{
	return close_it(KCALL(init, SYS_epoll_create1, 0));
}

static int64_t make_eventfd(void)
{
	return close_it(KCALL(init, SYS_eventfd2, 0, EFD_SEMAPHORE));
}

static int64_t make_timerfd(void)
{
	return close_it(KCALL(init, SYS_timerfd_create, 1, 0));
}

static int64_t make_memfd(void)
{
	return close_it(KCALL(init, SYS_memfd_create, STRINGS, 0));
}

static int64_t make_mapping(void)
{
	int64_t r = KCALL(init, SYS_mmap, 0, 3 * PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (r < 0)
		return r;
	KCALL(init, SYS_mprotect, r + (int64_t)PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_WRITE);
	return KCALL(init, SYS_munmap, r, 3 * PAGE_SIZE);
}

static int64_t make_process(void)
{
	int64_t r = KCALL(init, SYS_fork);

	kernel_reset();
	return r < 0 ? r : 0;
}

static int64_t make_thread(void)
{
	int64_t r = KCALL(init, SYS_fork);

	if (r > 0)
		r = KCALL(kernel_cpus[1], SYS_clone,
			  CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, DATA);
	kernel_reset();
	return r < 0 ? r : 0;
}

static int64_t make_program(void)
{
	int64_t r = KCALL(init, SYS_fork);
	uint64_t argv[2] = {STRINGS + STRING_SIZE, 0};

	if (r > 0) {
		kernel_poke(init, DATA, argv, sizeof(argv));
		r = KCALL(kernel_cpus[1], SYS_execve, STRINGS + STRING_SIZE, DATA, 0);
	}
	kernel_reset();
	return r < 0 && r != -ESRCH ? r : 0;
}

static int64_t make_segment(void)
{
	int64_t id = KCALL(init, SYS_shmget, IPC_PRIVATE, 8192, 0600);
	int64_t at = id < 0 ? id : KCALL(init, SYS_shmat, id, 0, 0);

	if (id >= 0)
		KCALL(init, SYS_shmctl, id, IPC_RMID, 0);
	return at < 0 ? at : KCALL(init, SYS_shmdt, at);
}

static int64_t make_semaphores(void)
{
	const struct sembuf up = {1, 1, SEM_UNDO};
	int64_t id = KCALL(init, SYS_semget, IPC_PRIVATE, 2, 0600);
	int64_t r = id;

	kernel_poke(init, DATA, &up, sizeof(up));
	if (id >= 0) {
		r = KCALL(init, SYS_semop, id, DATA, 1);
		KCALL(init, SYS_semctl, id, 0, IPC_RMID, 0);
	}
	return r;
}

static int64_t make_queue(void)
{
	const int64_t m[2] = {1, 2};
	int64_t id = KCALL(init, SYS_msgget, IPC_PRIVATE, 0600);
	int64_t r = id;

	kernel_poke(init, DATA, m, sizeof(m));
	if (id >= 0) {
		r = KCALL(init, SYS_msgsnd, id, DATA, 8, 0);
		KCALL(init, SYS_msgctl, id, IPC_RMID, 0);
	}
	return r;
}

static const struct maker makers[] = {
    {"open", make_file},        {"mkdir", make_directory},        {"symlink", make_link},
    {"pipe2", make_pipe},       {"socketpair", make_socketpair},  {"epoll_create1", make_epoll},
    {"eventfd2", make_eventfd}, {"timerfd_create", make_timerfd}, {"memfd_create", make_memfd},
    {"mmap", make_mapping},     {"fork", make_process},           {"clone", make_thread},
    {"execve", make_program},   {"shmat", make_segment},          {"semop", make_semaphores},
    {"msgsnd", make_queue},
};

START_TEST(each_allocation_fails)
{
	const struct maker *m = &makers[_i];
	size_t live;
	int64_t r = -1;

	setup();
	str("/tmp/made");
	str("/init");
	r = m->make();
	if (r == -ENOSYS || r == -EAFNOSUPPORT)
		return;
	ck_assert_msg(r == 0, "%s: %ld", m->what, (long)r);
	r = m->make();
	live = live_objects();
	for (unsigned n = 1, left = 0; !left; n++) {
		ck_assert_uint_lt(n, 5000);
		slab_fail_nth(n);
		r = m->make();
		left = slab_fail_nth(0);
		ck_assert_msg(r == 0 || (!left && (r == -ENOMEM || r == -EAGAIN || r == -ENFILE)),
			      "%s, allocation %u fails: %ld", m->what, n, (long)r);
		ck_assert_int_eq(KCALL(init, SYS_getpid), 1);
	}
	r = m->make();
	ck_assert_int_eq(r, 0);
	ck_assert_msg(live_objects() <= live + 8, "%s leaks: %zu objects before, %zu after", m->what, live,
		      live_objects());
}
END_TEST

/* Another thread always changes the word first; to one of a running owner, if it is a lock that is asked for. */
static int cas32_lost(struct cpu *cpu, uint64_t addr, uint32_t *expected, uint32_t desired __unused)
{
	uint32_t new = *expected ^ FUTEX_OWNER_DIED;

	kernel_poke(cpu, addr, &new, sizeof(new));
	*expected = new;
	return 0;
}

START_TEST(a_word_that_always_changes)
{
	static struct platform_ops hostile;
	const uint32_t other = 77, mine = 1;
	const uint64_t add_one = (uint64_t)FUTEX_OP_ADD << 28 | 1 << 12;

	setup();
	hostile = *platform;
	hostile.cpu_cas32 = cas32_lost;
	platform = &hostile;
	/* Started again, as far as the caller is concerned: the number is back in rax. */
	kernel_poke(init, DATA, &other, sizeof(other));
	ck_assert_int_eq(KCALL(init, SYS_futex, DATA, FUTEX_LOCK_PI, 0, 0), SYS_futex);
	kernel_poke(init, DATA, &mine, sizeof(mine));
	ck_assert_int_eq(KCALL(init, SYS_futex, DATA, FUTEX_UNLOCK_PI), SYS_futex);
	ck_assert_int_eq(KCALL(init, SYS_futex, DATA, FUTEX_WAKE_OP, 1, 1, DATA + 4, add_one), SYS_futex);
}
END_TEST

static const struct platform_ops *fake;
static void (*usual_park_hook)(void);
static struct cpu *waiter, *hostile_cpu, *victim, *ending;

static int64_t lock_pi(struct cpu *cpu, uint64_t addr, uint32_t word)
{
	kernel_poke(cpu, addr, &word, sizeof(word));
	return KCALL(cpu, SYS_futex, addr, FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG, 0, 0);
}

/* One process locks and unlocks what hashes everywhere, and another one ends. */
static void *others_main(void *arg)
{
	for (uint64_t i = 0; i < 1000; i++) {
		ck_assert_int_eq(lock_pi(victim, DATA + 4 * i, 0), 0);
		ck_assert_int_eq(KCALL(victim, SYS_futex, DATA + 4 * i, FUTEX_UNLOCK_PI | FUTEX_PRIVATE_FLAG), 0);
	}
	ck_assert_int_eq(KCALL(ending, SYS_exit_group, 0), -ESRCH);
	return arg;
}

static int cas32_meanwhile(struct cpu *cpu, uint64_t addr, uint32_t *expected, uint32_t desired)
{
	pthread_t t;

	platform = fake;
	ck_assert_int_eq(pthread_create(&t, NULL, others_main, NULL), 0);
	pthread_join(t, NULL);
	return fake->cpu_cas32(cpu, addr, expected, desired);
}

/* Somebody waits for a lock, so that whoever ends looks for locks. */
static void on_wait(void)
{
	static struct platform_ops slow;

	park_hook = usual_park_hook;
	slow = *fake;
	slow.cpu_cas32 = cas32_meanwhile;
	platform = &slow;
	ck_assert_int_eq(lock_pi(hostile_cpu, DATA, 0), 0);
	ctx_interrupt(cpu_client(waiter), CTX_SIGNAL);
}

START_TEST(a_word_that_takes_long_to_change)
{
	setup();
	fake = platform;
	usual_park_hook = park_hook;
	for (int i = 0; i < 4; i++)
		ck_assert_int_gt(KCALL(init, SYS_fork), 0);
	waiter = kernel_cpus[1];
	hostile_cpu = kernel_cpus[2];
	victim = kernel_cpus[3];
	ending = kernel_cpus[4];
	park_hook = on_wait;
	lock_pi(waiter, DATA, 1);
	ck_assert_ptr_eq(park_hook, usual_park_hook);
	ck_assert_int_eq(KCALL(init, SYS_wait4, -1, 0, WNOHANG, 0), 5);
}
END_TEST

int main(void)
{
	const TTest *const single[] = {files,
				       processes,
				       a_sleep_ends_by_a_signal,
				       hostile_arguments,
				       a_word_that_always_changes,
				       a_word_that_takes_long_to_change,
				       NULL};
	int status = unit_run(__FILE__, single);

	return unit_run_loop(__FILE__, each_allocation_fails, ARRAY_SIZE(makers)) | status;
}
