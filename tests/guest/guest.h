/*
 * For guest tests: programs that run on Linux and in the sandbox and must print the same. So they print no address, process id,
 * time, inode number or anything else that may differ from one run to the next; a process id or address is printed as whether it
 * is what it should be.
 *
 *	T(close(99));			close(99) = -1 EBADF
 *	T0(mkdir("d", 0755));		mkdir("d", 0755) ok		(for results that are not to be shown)
 *	SAY("tail %s", buf);		tail ...
 *	CHILD { T(setuid(1)); }		runs in a child; its end is printed
 *
 * Tests begin in an empty directory of their own. A test that cannot run on this host calls skip("reason").
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define SAY(...) (printf(__VA_ARGS__), putchar('\n'), (void)fflush(stdout))

static inline void say_result(const char *what, long r, bool show)
{
	const char *name = r == -1 && errno ? strerrorname_np(errno) : NULL;

	if (name)
		SAY("%s = -1 %s", what, name);
	else if (show)
		SAY("%s = %ld", what, r);
	else
		SAY("%s ok", what);
}

/* The call as it stands in the source, with its result or errno. */
#define T(call)                                                                                                        \
	({                                                                                                             \
		errno = 0;                                                                                             \
		long t_r_ = (long)(call);                                                                              \
		say_result(#call, t_r_, true);                                                                         \
		t_r_;                                                                                                  \
	})
#define T0(call)                                                                                                       \
	({                                                                                                             \
		errno = 0;                                                                                             \
		long t_r_ = (long)(call);                                                                              \
		say_result(#call, t_r_, false);                                                                        \
		t_r_;                                                                                                  \
	})
/* The same with a name of the test's own: for tables. */
#define TN(name, call)                                                                                                 \
	({                                                                                                             \
		errno = 0;                                                                                             \
		long t_r_ = (long)(call);                                                                              \
		say_result(name, t_r_, true);                                                                          \
		t_r_;                                                                                                  \
	})
/* A condition that holds on Linux; the text says what. */
#define HOLDS(cond) SAY("%s: %s", #cond, (cond) ? "yes" : "NO")

static inline void skip(const char *reason)
{
	SAY("%s", reason);
	exit(77);
}

/* What is wrong with the test itself or its machine: not a result. */
static inline void must(bool ok, const char *what)
{
	if (ok)
		return;
	SAY("cannot %s: %s", what, strerror(errno));
	exit(99);
}
#define MUST(call)                                                                                                     \
	({                                                                                                             \
		long m_r_ = (long)(call);                                                                              \
		must(m_r_ != -1, #call);                                                                               \
		m_r_;                                                                                                  \
	})

/* A page that nothing is mapped at, right behind one that is: edge(n) has n good bytes. */
static inline char *edge(size_t n)
{
	static char *p;

	if (!p) {
		p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(p != MAP_FAILED, "mmap");
		munmap(p + 4096, 4096);
		/* Nothing may come to lie there. */
		mmap(p + 4096, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	}
	return p + 4096 - n;
}
#define BAD ((void *)edge(0))

static inline const char *signal_name(int sig)
{
	const char *name = sigabbrev_np(sig);

	return name ? name : "RT";
}

static inline void say_status(const char *who, int status)
{
	if (WIFEXITED(status))
		SAY("%s: exit %d", who, WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		SAY("%s: killed by %s%s", who, signal_name(WTERMSIG(status)), WCOREDUMP(status) ? "" : "");
	else if (WIFSTOPPED(status))
		SAY("%s: stopped by %s", who, signal_name(WSTOPSIG(status)));
	else
		SAY("%s: continued", who);
}

/* For CHILD: true in the child; the parent waits, prints how the child ended and goes on behind the block. */
static inline bool child_begin(pid_t *pid)
{
	int status;

	fflush(stdout);
	*pid = fork();
	must(*pid >= 0, "fork");
	if (*pid == 0)
		return true;
	MUST(waitpid(*pid, &status, 0));
	if (status != 0)
		say_status("child", status);
	return false;
}
#define CHILD for (pid_t child_pid_; child_begin(&child_pid_); fflush(stdout), _exit(0))

/* Creates a file with these bytes. */
static inline void put_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	must(fd >= 0, name);
	MUST(write(fd, text, strlen(text)));
	close(fd);
}

/* The whole file, NUL-terminated, in a static buffer. */
static inline char *get_file(const char *name)
{
	static char text[65536];
	int fd = open(name, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	close(fd);
	if (n < 0)
		return "(unreadable)";
	text[n] = 0;
	return text;
}

static inline int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static inline void sleep_ms(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}
