/* sentry/base/slab.c */
#include "sentry/base/slab.h"

#include <pthread.h>
#include <string.h>

#include "tests/unit/unit.h"

struct odd {
	char bytes[37];
};

static struct slab odd_slab = SLAB_INIT(struct odd);

static bool all_zero(const void *p, size_t size)
{
	const char *c = p;

	for (size_t i = 0; i < size; i++)
		if (c[i])
			return false;
	return true;
}

START_TEST(objects_are_distinct_aligned_and_zero)
{
	struct odd *objects[500];

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
			objects[i] = slab_alloc(&odd_slab);
			ck_assert_ptr_nonnull(objects[i]);
			ck_assert_uint_eq((uintptr_t)objects[i] % 16, 0);
			ck_assert(all_zero(objects[i], sizeof(struct odd)));
			memset(objects[i], (int)i + 1, sizeof(struct odd));
		}
		ck_assert_uint_eq(odd_slab.live, ARRAY_SIZE(objects));
		for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
			ck_assert_int_eq(objects[i]->bytes[36], (char)(i + 1));
			slab_free(&odd_slab, objects[i]);
		}
		ck_assert_uint_eq(odd_slab.live, 0);
	}
	slab_free(&odd_slab, NULL);
}
END_TEST

START_TEST(every_size)
{
	for (size_t size = 0; size <= ARENA_ALLOC_MAX; size = size * 2 + 1) {
		for (size_t n = size ? size - 1 : 0; n <= size + 1 && n <= ARENA_ALLOC_MAX; n++) {
			char *p = kalloc(n);

			ck_assert_msg(p != NULL, "kalloc(%zu)", n);
			ck_assert(all_zero(p, MIN(n, 70000)));
			memset(p, 0xff, n);
			kfree(p, n);
		}
	}
	ck_assert_ptr_null(kalloc(ARENA_ALLOC_MAX + 1));
	ck_assert_ptr_null(kalloc(SIZE_MAX));
	kfree(NULL, 5);
}
END_TEST

START_TEST(resize)
{
	char *p = krealloc(NULL, 0, 10);
	char *q;

	memset(p, 'x', 10);
	p = krealloc(p, 10, 3);
	p = krealloc(p, 3, 100000);
	ck_assert_mem_eq(p, "xxx", 3);
	ck_assert(all_zero(p + 3, 100000 - 3));
	slab_fail_nth(1);
	q = krealloc(p, 100000, 1000000);
	ck_assert_ptr_null(q);
	ck_assert_mem_eq(p, "xxx", 3);
	kfree(p, 100000);
}
END_TEST

START_TEST(strings)
{
	char *s = kstrdup("a string");

	ck_assert_str_eq(s, "a string");
	kfree_string(s);
	kfree_string(NULL);
}
END_TEST

/* Three allocations; whatever fails, nothing stays behind. */
static int construct(void *arg __unused)
{
	struct odd *a = slab_alloc(&odd_slab);
	char *b = kalloc(100);
	char *c = kstrdup("c");
	int err = a && b && c ? 0 : -ENOMEM;

	slab_free(&odd_slab, a);
	kfree(b, 100);
	kfree_string(c);
	return err;
}

START_TEST(each_allocation_fails)
{
	slab_fail_nth(2);
	ck_assert_int_eq(construct(NULL), -ENOMEM);
	slab_fail_nth(4);
	ck_assert_int_eq(construct(NULL), 0);
	slab_fail_nth(0);
	unit_each_allocation_fails(construct, NULL);
	ck_assert_uint_eq(odd_slab.live, 0);
}
END_TEST

static void *churn(void *arg)
{
	void *mine[50];

	for (int round = 0; round < 200; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(mine); i++) {
			mine[i] = slab_alloc(&odd_slab);
			if (!mine[i] || !all_zero(mine[i], sizeof(struct odd)))
				return arg;
			memset(mine[i], 0x5a, sizeof(struct odd));
		}
		for (size_t i = 0; i < ARRAY_SIZE(mine); i++)
			slab_free(&odd_slab, mine[i]);
	}
	return NULL;
}

START_TEST(threads)
{
	pthread_t t[4];
	void *bad;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, churn, t), 0);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		pthread_join(t[i], &bad);
		ck_assert_ptr_null(bad);
	}
	ck_assert_uint_eq(odd_slab.live, 0);
}
END_TEST

/* Only where objects come from the arena: sanitizer builds have calloc()'s limits. */
START_TEST(the_arena_is_bounded)
{
	void *runs[64];
	size_t n = 0;

	ck_assert_int_eq(arena_init(8 << 20), 0);
	runs[0] = kalloc(1);
	if (arena_bytes() == 0) {
		kfree(runs[0], 1);
		return;
	}
	while (n < ARRAY_SIZE(runs) && (runs[n] = kalloc(1 << 20)))
		n++;
	ck_assert_uint_eq(n, 7);
	kfree(runs[--n], 1 << 20);
	ck_assert_ptr_nonnull(runs[n] = kalloc(1 << 20));
	ck_assert(all_zero(runs[n], 1 << 20));
	ck_assert_ptr_null(kalloc(1 << 20));
}
END_TEST

static void find_odd(const struct slab *s, void *arg)
{
	if (s == &odd_slab)
		(*(int *)arg)++;
}

START_TEST(slabs_are_listed_once)
{
	int found = 0;

	slab_free(&odd_slab, slab_alloc(&odd_slab));
	slab_free(&odd_slab, slab_alloc(&odd_slab));
	slab_for_each(find_odd, &found);
	ck_assert_int_eq(found, 1);
}
END_TEST

UNIT_MAIN(objects_are_distinct_aligned_and_zero, every_size, resize, strings, each_allocation_fails, threads,
	  the_arena_is_bounded, slabs_are_listed_once)
