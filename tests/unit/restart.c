/* sentry/base/restart.h */
#include "sentry/base/restart.h"

#include "tests/unit/unit.h"

START_TEST(codes)
{
	static const struct {
		long ret;
		int restart;
	} cases[] = {
	    {0, 0},
	    {512, 0},
	    {-EINTR, 0},
	    {-ERESTARTSYS, 1},
	    {-ERESTARTNOINTR, 1},
	    {-ERESTARTNOHAND, 1},
	    {-515, 0},
	    {-ERESTART_RESTARTBLOCK, 1},
	    {-517, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_msg(!!is_restart_code(cases[i].ret) == cases[i].restart, "%ld", cases[i].ret);
}
END_TEST

UNIT_MAIN(codes)
