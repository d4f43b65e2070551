/* sentry/base/log.c */
#include "sentry/base/log.h"

#include <signal.h>
#include <string.h>
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

UNIT_MAIN(levels, control_characters_do_not_get_through, json, long_messages_are_cut_and_stay_one_line, the_time_is_utc,
	  errno_is_kept, bugs_say_where)
