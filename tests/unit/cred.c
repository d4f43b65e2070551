/* sentry/base/cred.c */
#include "sentry/base/cred.h"

#include <linux/capability.h>

#include "tests/unit/unit.h"

static const uint32_t groups[] = {30, 10, 20, 10};

START_TEST(root_and_others)
{
	struct cred *root = cred_create(0, 0, NULL, 0);
	struct cred *user = cred_create(1000, 100, groups, ARRAY_SIZE(groups));

	ck_assert(cred_capable(root, CAP_SYS_ADMIN));
	ck_assert(cred_capable(root, CAP_LAST_CAP));
	ck_assert(!cred_capable(user, CAP_CHOWN));
	ck_assert(!cred_capable(root, -1));
	ck_assert(!cred_capable(root, 64));
	ck_assert_uint_eq(user->fsuid, 1000);
	ck_assert_uint_eq(user->sgid, 100);
	ck_assert_uint_eq(user->cap_bounding, CAP_FULL_SET);
	cred_put(root);
	cred_put(user);
	cred_put(NULL);
}
END_TEST

START_TEST(membership)
{
	static const struct {
		uint32_t gid;
		bool in;
	} cases[] = {{100, true}, {10, true}, {20, true}, {30, true}, {0, false}, {15, false}, {31, false}};
	struct cred *c = cred_create(1000, 100, groups, ARRAY_SIZE(groups));

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_msg(cred_in_group(c, cases[i].gid) == cases[i].in, "group %u", cases[i].gid);
	cred_put(c);
}
END_TEST

START_TEST(clones_are_independent)
{
	struct cred *c = cred_create(1000, 100, groups, ARRAY_SIZE(groups));
	struct cred *copy = cred_clone(c);

	copy->fsgid = 7;
	ck_assert_int_eq(cred_set_groups(copy, NULL, 0), 0);
	ck_assert(cred_in_group(c, 20));
	ck_assert(!cred_in_group(copy, 20));
	ck_assert(!cred_in_group(copy, 100));
	ck_assert_ptr_eq(cred_get(c), c);
	cred_put(c);
	ck_assert_uint_eq(c->uid, 1000);
	cred_put(c);
	cred_put(copy);
}
END_TEST

static int make_and_clone(void *arg __unused)
{
	struct cred *c = cred_create(1, 1, groups, ARRAY_SIZE(groups));
	struct cred *copy = c ? cred_clone(c) : NULL;
	int err = copy ? 0 : -ENOMEM;

	cred_put(c);
	cred_put(copy);
	return err;
}

START_TEST(each_allocation_fails)
{
	unit_each_allocation_fails(make_and_clone, NULL);
}
END_TEST

UNIT_MAIN(root_and_others, membership, clones_are_independent, each_allocation_fails)
