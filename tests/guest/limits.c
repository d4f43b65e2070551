/* What resource limits do: to processes that set them, and to those that inherit them. */
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/time.h>

#include "guest.h"

#define LIMIT(what, soft, hard) MUST(setrlimit(what, &(struct rlimit){soft, hard}))

static uid_t user;       /* nobody else's, not even another such test's */
static bool shared_user; /* others run as this user too, and what they have queued counts */

/* An ordinary user, as whom root is limited too. */
static void become_user(void)
{
	shared_user = getuid() != 0;
	if (shared_user)
		return;
	MUST(setresgid(user, user, user));
	MUST(setresuid(user, user, user));
}

static void burn(void)
{
	for (volatile unsigned i = 0;; i++)
		;
}

static void cpu(void)
{
	CHILD
	{
		LIMIT(RLIMIT_CPU, 1, 3);
		CHILD
		{
			SAY("a child that inherits it");
			burn();
		}
		CHILD
		{
			signal(SIGXCPU, SIG_IGN);
			LIMIT(RLIMIT_CPU, 1, 2);
			execl("/bin/sh", "sh", "-c", "echo a program; while :; do :; done", NULL);
		}
	}
}

/* How deep it gets, in KiB; a frame is a page. */
static __attribute__((noinline)) void dive(volatile long *depth)
{
	volatile char page[4096];

	page[0] = 1;
	*depth += 4;
	dive(depth);
	page[1] = page[0];
}

static void stack(void)
{
	volatile long *depth = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHILD
	{
		LIMIT(RLIMIT_STACK, 1 << 20, 4 << 20);
		dive(depth);
	}
	HOLDS(*depth > 800 && *depth <= 1100);
	*depth = 0;
	CHILD
	{
		LIMIT(RLIMIT_STACK, 1 << 20, 4 << 20);
		LIMIT(RLIMIT_STACK, 2 << 20, 4 << 20);
		dive(depth);
	}
	HOLDS(*depth > 1800 && *depth <= 2200);
}

static void *nothing(void *arg)
{
	return arg;
}

static void processes(void)
{
	CHILD
	{
		pthread_t t;
		pid_t pid;

		become_user();
		LIMIT(RLIMIT_NPROC, 2, 2);
		pid = fork();
		if (pid == 0) {
			T(fork());
			TN("thread", pthread_create(&t, NULL, nothing, NULL));
			_exit(0);
		}
		must(pid > 0, "fork");
		MUST(waitid(P_PID, pid, NULL, WEXITED | WNOWAIT));
		T(fork());
		waitpid(pid, NULL, 0);
		TN("a thread in its place", pthread_create(&t, NULL, nothing, NULL));
		pthread_join(t, NULL);
	}
	CHILD
	{
		LIMIT(RLIMIT_NPROC, 0, 0);
		become_user();
		T(fork());
		execl("/bin/echo", "echo", "he may still exec", NULL);
	}
}

/* Who becomes a user that has too many processes already cannot exec until there are fewer. */
static void too_many_to_exec(void)
{
	int start[2], end[2];
	char c;

	MUST(pipe(start));
	MUST(pipe(end));
	if (fork() == 0) {
		close(end[1]);
		become_user();
		MUST(write(start[1], "x", 1));
		MUST(read(end[0], &c, 1));
		_exit(0);
	}
	MUST(read(start[0], &c, 1));
	CHILD
	{
		char *echo[] = {"echo", "now", NULL};

		LIMIT(RLIMIT_NPROC, 0, 10);
		become_user();
		T(execv("/bin/echo", echo));
		LIMIT(RLIMIT_NPROC, 10, 10);
		execv("/bin/echo", echo);
	}
	MUST(write(end[1], "xx", 2));
	wait(NULL);
}

static void signals(void)
{
	CHILD
	{
		union sigval v = {0};
		sigset_t set;
		int n = 0;

		become_user();
		sigemptyset(&set);
		sigaddset(&set, SIGRTMIN);
		sigprocmask(SIG_BLOCK, &set, NULL);
		LIMIT(RLIMIT_SIGPENDING, 5, 5);
		while (sigqueue(getpid(), SIGRTMIN, v) == 0)
			n++;
		SAY("then %s", strerrorname_np(errno));
		HOLDS(n == 5 || shared_user);
		T(kill(getpid(), SIGRTMIN));
	}
	CHILD
	{
		timer_t timer;
		int n = 0;

		become_user();
		LIMIT(RLIMIT_SIGPENDING, 3, 3);
		while (timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0)
			n++;
		SAY("then %s", strerrorname_np(errno));
		HOLDS(n == 3 || shared_user);
	}
}

static void priorities(void)
{
	CHILD
	{
		LIMIT(RLIMIT_NICE, 0, 0);
		become_user();
		T(setpriority(PRIO_PROCESS, 0, 3));
		T(setpriority(PRIO_PROCESS, 0, 1));
		T(sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1}));
	}
}

static void locked_memory(void)
{
	char *p = mmap(NULL, 32 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHILD
	{
		LIMIT(RLIMIT_MEMLOCK, 8 * 4096, 8 * 4096);
		become_user();
		T(mlock(p, 8 * 4096));
		T(mlock(p, 9 * 4096));
		T(mlock(p + 16 * 4096, 4096));
		T(munlock(p, 4096));
		T(mlock(p + 16 * 4096, 4096));
		HOLDS(mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0) == MAP_FAILED &&
		      errno == EAGAIN);
		T(mlockall(MCL_CURRENT));
		CHILD
		{
			T(mlock(p, 8 * 4096));
		}
		LIMIT(RLIMIT_MEMLOCK, 0, 0);
		T(mlock(p, 1));
		T(munlockall());
	}
}

static bool can_map(size_t size, int prot, int flags)
{
	void *p = mmap(NULL, size, prot, flags | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return false;
	munmap(p, size);
	return true;
}

static void memory(void)
{
	CHILD
	{
		void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		LIMIT(RLIMIT_AS, 512 << 20, 512 << 20);
		HOLDS(can_map(256 << 20, PROT_NONE, MAP_PRIVATE));
		HOLDS(!can_map(512 << 20, PROT_NONE, MAP_PRIVATE));
		HOLDS(!can_map(512 << 20, PROT_READ | PROT_WRITE, MAP_SHARED));
		HOLDS(mremap(p, 1 << 20, 512 << 20, MREMAP_MAYMOVE) == MAP_FAILED && errno == ENOMEM);
		HOLDS(malloc(600 << 20) == NULL);
	}
	CHILD
	{
		void *p = mmap(NULL, 512 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		LIMIT(RLIMIT_DATA, 128 << 20, 128 << 20);
		HOLDS(can_map(64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE));
		HOLDS(!can_map(128 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE));
		HOLDS(can_map(128 << 20, PROT_READ | PROT_WRITE, MAP_SHARED));
		HOLDS(can_map(128 << 20, PROT_READ, MAP_PRIVATE));
		T(mprotect(p, 512 << 20, PROT_READ | PROT_WRITE));
		CHILD
		{
			HOLDS(!can_map(128 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE));
		}
	}
	CHILD
	{
		LIMIT(RLIMIT_AS, 1 << 20, 1 << 20);
		execl("/bin/true", "true", NULL);
		SAY("%s", strerrorname_np(errno));
	}
}

#define FILE_MAX (1l << 20) /* standard output may be a file too */

static void file_size(void)
{
	CHILD
	{
		int fd = open("f", O_RDWR | O_CREAT, 0600), from = open("/bin/sh", O_RDONLY);
		int memory = memfd_create("m", 0), p[2];

		signal(SIGXFSZ, SIG_IGN);
		MUST(pipe(p));
		LIMIT(RLIMIT_FSIZE, FILE_MAX, FILE_MAX);
		T(pwrite(fd, (char *)BAD - 4096, 4096, FILE_MAX - 1000));
		T(pwrite(fd, "x", 1, FILE_MAX));
		T(pwrite(fd, "xy", 2, FILE_MAX - 1));
		T(ftruncate(fd, FILE_MAX + 1));
		T(fallocate(fd, 0, 0, FILE_MAX + 1));
		T(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, FILE_MAX + 4096));
		T(ftruncate(memory, FILE_MAX + 1));
		T(ftruncate(memory, FILE_MAX - 10));
		T(lseek(memory, 0, SEEK_END));
		T(write(memory, (char *)BAD - 4096, 4096));
		T(write(memory, "x", 1));
		T(write(p[1], (char *)BAD - 4096, 4096));
		T(lseek(fd, FILE_MAX - 500, SEEK_SET));
		T(copy_file_range(from, NULL, fd, NULL, 2000, 0));
		T(copy_file_range(from, NULL, fd, NULL, 2000, 0));
		T(lseek(fd, FILE_MAX - 100, SEEK_SET));
		T(sendfile(fd, from, NULL, 2000));
		T(sendfile(fd, from, NULL, 2000));
		T(lseek(fd, FILE_MAX - 100, SEEK_SET));
		T(splice(p[0], NULL, fd, NULL, 2000, 0));
		T(splice(p[0], NULL, fd, NULL, 2000, 0));
		signal(SIGXFSZ, SIG_DFL);
		execl("/bin/sh", "sh", "-c", "head -c 5000000 /dev/zero >large; echo $?", NULL);
	}
	CHILD
	{
		struct stat st;

		stat("large", &st);
		SAY("%ld", (long)st.st_size);
		LIMIT(RLIMIT_FSIZE, FILE_MAX, FILE_MAX);
		ftruncate(open("large", O_WRONLY), FILE_MAX + 1);
	}
}

static void descriptors(void)
{
	CHILD
	{
		struct pollfd many[70];
		int fd[2];

		for (size_t i = 0; i < COUNT(many); i++)
			many[i] = (struct pollfd){.fd = -1};
		LIMIT(RLIMIT_NOFILE, 64, 64);
		T(poll(many, 64, 0));
		T(poll(many, 65, 0));
		while (dup(0) >= 0)
			;
		T(pipe(fd));
		T(syscall(SYS_dup3, 0, 64, 0));
		T(syscall(SYS_memfd_create, "m", 0));
		LIMIT(RLIMIT_NOFILE, 32, 64);
		T(fcntl(63, F_GETFD));
		T(fcntl(0, F_DUPFD, 32));
		T(dup2(0, 40));
		CHILD
		{
			T(fcntl(63, F_GETFD));
			T(open("/dev/null", O_RDONLY));
		}
	}
}

/* A program sees what its parent has set. */
static void inherited(void)
{
	CHILD
	{
		LIMIT(RLIMIT_STACK, 3 << 20, 5 << 20);
		LIMIT(RLIMIT_NOFILE, 33, 44);
		LIMIT(RLIMIT_CORE, 0, 0);
		LIMIT(RLIMIT_MSGQUEUE, 1000, 2000);
		LIMIT(RLIMIT_RTTIME, 5000, 5000);
		LIMIT(RLIMIT_LOCKS, 7, 8);
		LIMIT(RLIMIT_RSS, 1 << 20, 2 << 20);
		execl("/bin/sh", "sh", "-c",
		      "grep -E 'stack|open|core|msgqueue|timeout|locks|resident' /proc/self/limits", NULL);
	}
}

int main(void)
{
	user = 20000 + getpid() % 40000;
	cpu();
	stack();
	processes();
	if (getuid() == 0)
		too_many_to_exec();
	signals();
	priorities();
	locked_memory();
	memory();
	file_size();
	descriptors();
	inherited();
	return 0;
}
