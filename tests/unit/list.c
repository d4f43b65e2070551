/* sentry/base/list.h */
#include "sentry/base/list.h"

#include "tests/unit/unit.h"

struct item {
	int value;
	struct list link;
};

/* The values in list order as decimal digits. */
static int digits(struct list *l)
{
	struct item *it;
	int n = 0;

	list_for_each(it, l, link)
		n = 10 * n + it->value;
	return n;
}

START_TEST(order)
{
	struct list l = LIST_INIT(l);
	struct item a = {.value = 1}, b = {.value = 2}, c = {.value = 3};

	ck_assert(list_empty(&l));
	ck_assert_ptr_null(list_first(&l, struct item, link));
	list_append(&l, &a.link);
	list_append(&l, &b.link);
	list_push(&l, &c.link);
	ck_assert_int_eq(digits(&l), 312);
	ck_assert_ptr_eq(list_first(&l, struct item, link), &c);
	ck_assert_ptr_eq(list_last(&l, struct item, link), &b);
}
END_TEST

START_TEST(remove_twice)
{
	struct list l = LIST_INIT(l);
	struct item a = {.value = 1}, b = {.value = 2};

	list_append(&l, &a.link);
	list_append(&l, &b.link);
	list_remove(&a.link);
	list_remove(&a.link);
	ck_assert(list_empty(&a.link));
	ck_assert_int_eq(digits(&l), 2);
}
END_TEST

START_TEST(splice)
{
	struct list to = LIST_INIT(to), from = LIST_INIT(from);
	struct item items[4];

	for (int i = 0; i < 4; i++) {
		items[i].value = i + 1;
		list_append(i < 2 ? &to : &from, &items[i].link);
	}
	list_splice(&to, &from);
	ck_assert_int_eq(digits(&to), 1234);
	ck_assert(list_empty(&from));
	list_splice(&to, &from);
	ck_assert_int_eq(digits(&to), 1234);
	list_splice(&from, &to);
	ck_assert_int_eq(digits(&from), 1234);
	ck_assert(list_empty(&to));
}
END_TEST

START_TEST(remove_while_iterating)
{
	struct list l = LIST_INIT(l);
	struct item items[5], *it, *next;

	for (int i = 0; i < 5; i++) {
		items[i].value = i + 1;
		list_append(&l, &items[i].link);
	}
	list_for_each_safe(it, next, &l, link)
		if (it->value % 2)
			list_remove(&it->link);
	ck_assert_int_eq(digits(&l), 24);
}
END_TEST

UNIT_MAIN(order, remove_twice, splice, remove_while_iterating)
