/* /proc/PID/smaps where the host tells nothing of a process's pages: what is not known is not shown. */
#include "tests/unit/ipc.h"

static const char *slurp(const char *name)
{
	static char text[65536];
	int64_t fd = CALL(open, name_at(name), O_RDONLY), n;
	size_t len = 0;

	ck_assert_int_ge(fd, 0);
	while ((n = CALL(read, fd, OUT, 4096)) > 0) {
		ck_assert_uint_lt(len + (size_t)n, sizeof(text));
		kernel_peek(init, OUT, text + len, (size_t)n);
		len += (size_t)n;
	}
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(CALL(close, fd), 0);
	text[len] = 0;
	return text;
}

START_TEST(without_sizes)
{
	const char *text;

	init = kernel_boot();
	text = slurp("/proc/self/smaps");
	ck_assert_ptr_nonnull(strstr(text, "\nSize: "));
	ck_assert_ptr_nonnull(strstr(text, "\nVmFlags: rd wr mr mw me \n"));
	ck_assert_ptr_null(strstr(text, "Rss:"));
	ck_assert_ptr_null(strstr(text, "Locked:"));
	text = slurp("/proc/self/smaps_rollup");
	ck_assert_ptr_nonnull(strstr(text, " [rollup]\n"));
	ck_assert_ptr_null(strstr(text, "Rss:"));
}
END_TEST

UNIT_MAIN(without_sizes)
