/* sentry/base/log.c */
#include "sentry/base/log.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/unit.h"

static int pipe_fds[2];
static char text[8192];

static void setup(enum log_level level, bool json)
{
	ck_assert_int_eq(pipe(pipe_fds), 0);
	log_init(pipe_fds[1], level, json);
}

static const char *logged(void)
{
	ssize_t n;

	close(pipe_fds[1]);
	n = read(pipe_fds[0], text, sizeof(text) - 1);
	text[MAX(n, 0)] = 0;
	return text;
}

START_TEST(levels)
{
	setup(LOG_INFO, false);
	log_info("shown");
	log_debug("hidden");
	ck_assert(log_enabled(LOG_ERROR));
	ck_assert(!log_enabled(LOG_DEBUG));
	ck_assert_ptr_nonnull(strstr(logged(), " info: shown\n"));
	ck_assert_ptr_null(strstr(text, "hidden"));
}
END_TEST

START_TEST(control_characters_do_not_get_through)
{
	setup(LOG_WARN, false);
	log_warn("a%sb", "\033[2J\n\r");
	ck_assert_ptr_nonnull(strstr(logged(), "a?[2J??b\n"));
}
END_TEST

START_TEST(json)
{
	setup(LOG_WARN, true);
	log_warn("say \"%s\"\n", "\\");
	ck_assert_int_eq(logged()[0], '{');
	ck_assert_ptr_nonnull(strstr(text, "\"level\":\"warning\",\"msg\":\"say \\\"\\\\\\\"\\u000a\"}\n"));
}
END_TEST

START_TEST(long_messages_are_cut_and_stay_one_line)
{
	static char line[6000];
	size_t size;

	memset(line, '"', sizeof(line) - 1);
	setup(LOG_WARN, true);
	log_warn("%s", line);
	size = strlen(logged());
	ck_assert_uint_lt(size, 4096);
	ck_assert_ptr_eq(strchr(text, '\n'), text + size - 1);
	ck_assert_str_eq(text + size - 3, "\"}\n");
}
END_TEST

START_TEST(the_time_is_utc)
{
	char before[32], after[32];
	time_t now = time(NULL);
	struct tm tm;

	setup(LOG_WARN, false);
	strftime(before, sizeof(before), "%Y-%m-%dT%H:%M:%S.", gmtime_r(&now, &tm));
	log_warn("now");
	now = time(NULL);
	strftime(after, sizeof(after), "%Y-%m-%dT%H:%M:%S.", gmtime_r(&now, &tm));
	ck_assert(strncmp(logged(), before, strlen(before)) == 0 || strncmp(text, after, strlen(after)) == 0);
}
END_TEST

START_TEST(errno_is_kept)
{
	log_init(-1, LOG_WARN, false);
	errno = E2BIG;
	log_warn("to nowhere");
	ck_assert_int_eq(errno, E2BIG);
}
END_TEST

static void on_abort(int signo)
{
	_exit(signo == SIGABRT && strstr(logged(), "BUG at here:7: what") && strstr(text, "#1 ") ? 0 : 1);
}

START_TEST(bugs_say_where)
{
	setup(LOG_ERROR, false);
	signal(SIGABRT, on_abort);
	bug("here", 7, "what");
}
END_TEST

extern const char __ehdr_start[] __attribute__((visibility("hidden")));

enum end { BACKTRACE, FAULT, CALL_TO_NOWHERE };
static uintptr_t called_from[3]; /* the innermost function's caller first */
static void (*volatile nowhere)(void) = (void (*)(void))16;

static __attribute__((noinline, no_sanitize("undefined"))) void inner(enum end end)
{
	called_from[0] = (uintptr_t)__builtin_return_address(0);
	if (end == BACKTRACE)
		log_backtrace();
	else if (end == FAULT)
		__asm__ volatile("ud2");
	else
		nowhere();
	__asm__ volatile("");
}

static __attribute__((noinline)) void middle(enum end end)
{
	called_from[1] = (uintptr_t)__builtin_return_address(0);
	inner(end);
	__asm__ volatile("");
}

static __attribute__((noinline)) void outer(enum end end)
{
	called_from[2] = (uintptr_t)__builtin_return_address(0);
	middle(end);
	__asm__ volatile("");
}

static __attribute__((noinline)) void chain(enum end end)
{
	outer(end);
	__asm__ volatile("");
}

/* The address that frame `depth` of the log stands for; 0: it has none. */
static uintptr_t logged_frame(int depth)
{
	char label[16];
	const char *at;

	snprintf(label, sizeof(label), "#%-2d ", depth);
	at = strstr(text, label);
	at = at ? strstr(at, "sandbox+") : NULL;
	return at ? strtoul(at + strlen("sandbox+"), NULL, 16) + (uintptr_t)__ehdr_start : 0;
}

/* The chain in the log: a place in inner(), then the calls of it, of middle() and of outer(). */
static void check_chain(void)
{
	uintptr_t in_inner = logged_frame(0);

	ck_assert_uint_ge(in_inner, (uintptr_t)inner);
	ck_assert_uint_lt(in_inner, (uintptr_t)inner + 1024);
	for (int i = 0; i < (int)ARRAY_SIZE(called_from); i++)
		ck_assert_uint_eq(logged_frame(i + 1), called_from[i] - 1);
}

START_TEST(a_backtrace_names_the_callers_in_order)
{
	setup(LOG_ERROR, false);
	chain(BACKTRACE);
	logged();
	check_chain();
}
END_TEST

/* With every signal blocked, as the launcher has it. The status of a child that ends its chain so; its log is in text. */
static int crash(enum end end)
{
	sigset_t all;
	int status;
	pid_t pid;

	setup(LOG_ERROR, false);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, NULL);
		log_crashes();
		chain(end);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	logged();
	return status;
}

START_TEST(a_fault_is_logged_with_its_stack)
{
	setup(LOG_ERROR, false);
	chain(BACKTRACE);
	logged();
	ck_assert_int_eq(WTERMSIG(crash(FAULT)), SIGILL);
	ck_assert_ptr_nonnull(strstr(text, "the sentry got Illegal instruction"));
	check_chain();
}
END_TEST

START_TEST(a_call_to_nowhere_shows_its_caller)
{
	setup(LOG_ERROR, false);
	chain(BACKTRACE);
	logged();
	ck_assert_int_eq(WTERMSIG(crash(CALL_TO_NOWHERE)), SIGSEGV);
	ck_assert_ptr_nonnull(strstr(text, "no code at 0x10, called from"));
	check_chain();
}
END_TEST

static void *fault(void *arg)
{
	chain(FAULT);
	return arg;
}

START_TEST(threads_that_block_signals_do_not_block_these)
{
	pthread_t thread;
	sigset_t mask;

	log_thread_mask(&mask);
	ck_assert(sigismember(&mask, SIGTERM) && !sigismember(&mask, SIGSEGV));
	setup(LOG_ERROR, false);
	if (!fork()) {
		log_crashes();
		pthread_sigmask(SIG_SETMASK, &mask, NULL);
		pthread_create(&thread, NULL, fault, NULL);
		pause();
	}
	wait(NULL);
	ck_assert_ptr_nonnull(strstr(logged(), "#3 "));
}
END_TEST

UNIT_MAIN(levels, control_characters_do_not_get_through, json, long_messages_are_cut_and_stay_one_line, the_time_is_utc,
	  errno_is_kept, bugs_say_where, a_backtrace_names_the_callers_in_order, a_fault_is_logged_with_its_stack,
	  a_call_to_nowhere_shows_its_caller, threads_that_block_signals_do_not_block_these)
