/* sentry/base/timer.c */
#include "sentry/base/timer.h"

#include <semaphore.h>
#include <unistd.h>

#include "sentry/base/clock.h"
#include "tests/unit/unit.h"

#define COUNT 100

struct test_timer {
	struct timer t;
	int id, repeat;
};

static sem_t fired;
static _Atomic int order[COUNT * 2], order_count;

static int64_t in_ms(int64_t ms)
{
	return clock_now(CLOCK_MONOTONIC) + ms * NSEC_PER_MSEC;
}

static void fire(struct timer *t)
{
	struct test_timer *tt = container_of(t, struct test_timer, t);

	order[order_count++] = tt->id;
	if (tt->repeat-- > 0 && timer_arm(t, in_ms(1)))
		abort();
	sem_post(&fired);
}

static void wait_fired(int count)
{
	while (count--)
		while (sem_wait(&fired))
			;
}

static void setup(struct test_timer *tt, int id)
{
	timer_init(&tt->t, fire);
	tt->id = id;
	tt->repeat = 0;
}

START_TEST(deadlines_decide_the_order)
{
	struct test_timer timers[COUNT];
	int64_t base = in_ms(50);

	sem_init(&fired, 0, 0);
	for (int i = 0; i < COUNT; i++) {
		setup(&timers[i], i);
		ck_assert_int_eq(timer_arm(&timers[i].t, base + (i * 37 % COUNT) * 1000), 0);
	}
	wait_fired(COUNT);
	for (int i = 0; i < COUNT; i++)
		ck_assert_int_eq(order[i] * 37 % COUNT, i);
	ck_assert_int_ge(clock_now(CLOCK_MONOTONIC), base + (COUNT - 1) * 1000);
}
END_TEST

START_TEST(moved_timers)
{
	struct test_timer late, early;

	sem_init(&fired, 0, 0);
	setup(&late, 1);
	setup(&early, 2);
	ck_assert_int_eq(timer_arm(&early.t, in_ms(600000)), 0);
	ck_assert_int_eq(timer_arm(&late.t, in_ms(10)), 0);
	ck_assert_int_eq(timer_arm(&late.t, in_ms(60)), 0);
	ck_assert_int_eq(timer_arm(&early.t, in_ms(-5)), 0);
	wait_fired(2);
	ck_assert_int_eq(order[0], 2);
	ck_assert_int_eq(order[1], 1);
}
END_TEST

START_TEST(canceled_timers_do_not_fire)
{
	struct test_timer timers[COUNT];
	int left = 0;

	sem_init(&fired, 0, 0);
	for (int i = 0; i < COUNT; i++) {
		setup(&timers[i], i);
		ck_assert(!timer_cancel(&timers[i].t));
		ck_assert_int_eq(timer_arm(&timers[i].t, in_ms(30) + i * 7919 % COUNT), 0);
	}
	for (int i = 0; i < COUNT; i++) {
		if (i % 3 == 0)
			left++;
		else
			ck_assert(i % 2 ? timer_cancel(&timers[i].t) : timer_disarm(&timers[i].t));
	}
	wait_fired(left);
	usleep(20000);
	ck_assert_int_eq(order_count, left);
	for (int i = 0; i < left; i++)
		ck_assert_int_eq(order[i] % 3, 0);
	ck_assert(!timer_disarm(&timers[0].t));
}
END_TEST

START_TEST(a_timer_may_arm_itself)
{
	struct test_timer t;

	sem_init(&fired, 0, 0);
	setup(&t, 5);
	t.repeat = 9;
	ck_assert_int_eq(timer_arm(&t.t, 0), 0);
	wait_fired(10);
	ck_assert(!timer_cancel(&t.t));
	ck_assert_int_eq(order_count, 10);
}
END_TEST

static _Atomic bool inside;

static void fire_slowly(struct timer *t)
{
	inside = true;
	sem_post(&fired);
	usleep(50000);
	if (timer_arm(t, in_ms(0)))
		abort();
	inside = false;
}

/* Also when the function arms the timer once more while it is waited for. */
START_TEST(cancel_waits_for_the_function)
{
	struct timer t;

	sem_init(&fired, 0, 0);
	timer_init(&t, fire_slowly);
	ck_assert_int_eq(timer_arm(&t, 0), 0);
	wait_fired(1);
	ck_assert(inside);
	ck_assert(!timer_cancel(&t));
	ck_assert(!inside);
	usleep(20000);
	ck_assert(!inside);
}
END_TEST

static void fire_and_cancel(struct timer *t)
{
	timer_cancel(t);
	sem_post(&fired);
}

START_TEST(cancel_from_the_function)
{
	struct timer t;

	sem_init(&fired, 0, 0);
	timer_init(&t, fire_and_cancel);
	ck_assert_int_eq(timer_arm(&t, 0), 0);
	wait_fired(1);
}
END_TEST

UNIT_MAIN(deadlines_decide_the_order, moved_timers, canceled_timers_do_not_fire, a_timer_may_arm_itself,
	  cancel_waits_for_the_function, cancel_from_the_function)
