/*
 * What unit tests share: a runner that prints one line a test, and a ctx over our own memory. A guest access to the guard
 * page is found by its address, not by a fault, so that sanitizers stay out of it.
 */
#include "tests/unit/unit.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "sentry/base/slab.h"

unsigned unit_raised[65];
static char *guard;

static void add_test(Suite *s, const TTest *test, int count)
{
	TCase *tc = tcase_create(test->name);

	tcase_add_loop_test(tc, test, 0, count);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
}

static int run_suite(Suite *s)
{
	SRunner *runner = srunner_create(s);
	TestResult **results;
	int count, failed;

	srunner_run_all(runner, CK_SILENT);
	count = srunner_ntests_run(runner);
	failed = srunner_ntests_failed(runner);
	results = srunner_results(runner);
	for (int i = 0; i < count; i++) {
		if (tr_rtype(results[i]) == CK_PASS)
			printf("ok %s\n", tr_tcname(results[i]));
		else
			printf("failed %s %s:%d: %s\n", tr_tcname(results[i]), tr_lfile(results[i]), tr_lno(results[i]),
			       tr_msg(results[i]));
	}
	free(results);
	srunner_free(runner);
	return failed || !count;
}

int unit_run(const char *file, const TTest *const *tests)
{
	Suite *s = suite_create(file);

	for (; *tests; tests++)
		add_test(s, *tests, 1);
	return run_suite(s);
}

int unit_run_loop(const char *file, const TTest *test, int count)
{
	Suite *s = suite_create(file);

	add_test(s, test, count);
	return run_suite(s);
}

char *unit_guard_page(void)
{
	char *p;

	if (guard)
		return guard;
	p = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	guard = p + PAGE_SIZE;
	return guard;
}

/* How much of [addr, addr + size) can be accessed from its start on. */
static size_t accessible(uint64_t addr, size_t size)
{
	uint64_t bad = (uint64_t)guard;

	if (addr < PAGE_SIZE)
		return 0;
	if (!guard || addr + size <= bad || addr >= bad + PAGE_SIZE)
		return size;
	return addr >= bad ? 0 : bad - addr;
}

static ssize_t unit_read(struct ctx *c __unused, void *dst, uaddr_t src, size_t size)
{
	size_t n = accessible(src.v, size);

	if (n == 0)
		return -EFAULT;
	memcpy(dst, (void *)src.v, n);
	return (ssize_t)n;
}

static ssize_t unit_write(struct ctx *c __unused, uaddr_t dst, const void *src, size_t size)
{
	size_t n = accessible(dst.v, size);

	if (n == 0)
		return -EFAULT;
	memcpy((void *)dst.v, src, n);
	return (ssize_t)n;
}

static void unit_raise(struct ctx *c __unused, int signo)
{
	unit_raised[signo]++;
}

void unit_ctx_init(struct ctx *c)
{
	static const struct uaccess_ops uaccess = {unit_read, unit_write};

	memset(c, 0, sizeof(*c));
	parker_init(&c->parker);
	c->uaccess = &uaccess;
	c->tid = c->tgid = 1;
	c->rlimit_fsize = UINT64_MAX;
	c->rlimit_nofile = 1024;
	c->raise = unit_raise;
}

void unit_each_allocation_fails(int (*fn)(void *arg), void *arg)
{
	unsigned left = 0;

	for (unsigned n = 1; !left; n++) {
		int err;

		ck_assert_uint_lt(n, 100000);
		slab_fail_nth(n);
		err = fn(arg);
		left = slab_fail_nth(0);
		ck_assert_msg(err == 0 || (err == -ENOMEM && !left), "allocation %u fails: error %d", n, err);
	}
}
