/*
 * Unit tests: one program for each file, with the name of the source that it tests. A file is a list of Check's START_TEST
 * functions and one UNIT_MAIN(test_a, test_b, ...). Each test runs in a process of its own.
 *
 *	START_TEST(empty_list) { ck_assert(list_empty(&l)); } END_TEST
 *	UNIT_MAIN(empty_list)
 */
#pragma once

#include <check.h>

#include "sentry/base/ctx.h"

/* Returns the program's exit status. tests: NULL at the end. */
int unit_run(const char *file, const TTest *const *tests);
/* One test `count` times, with _i from 0. */
int unit_run_loop(const char *file, const TTest *test, int count);

#define UNIT_MAIN(...)                                                                                                 \
	int main(void)                                                                                                 \
	{                                                                                                              \
		return unit_run(__FILE__, (const TTest *const[]){__VA_ARGS__, NULL});                                  \
	}

/*
 * A ctx for tests: guest memory is our own, an address is a pointer, and what lies in the page at UNIT_BAD_PAGE faults.
 * raise() counts into unit_raised[signo].
 */
void unit_ctx_init(struct ctx *c);
extern unsigned unit_raised[65];
/* A page that faults for guest accesses, right behind one that does not. Never freed. */
char *unit_guard_page(void);

/* Calls fn(arg) again and again, each time with the next allocation failing, until it succeeds; it returns 0 or -ENOMEM. */
void unit_each_allocation_fails(int (*fn)(void *arg), void *arg);
