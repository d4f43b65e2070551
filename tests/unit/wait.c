/* sentry/base/wait.c */
#include "sentry/base/wait.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "sentry/base/clock.h"
#include "sentry/base/restart.h"
#include "tests/unit/unit.h"

static struct ctx c;

static int64_t in_ms(int64_t ms)
{
	return clock_now(CLOCK_MONOTONIC) + ms * NSEC_PER_MSEC;
}

START_TEST(an_early_unpark_is_not_lost)
{
	unit_ctx_init(&c);
	unpark(&c.parker);
	unpark(&c.parker);
	ck_assert_int_eq(park(&c, TIME_NEVER), 0);
	ck_assert_int_eq(park(&c, 0), -ETIMEDOUT);
}
END_TEST

START_TEST(deadlines)
{
	int64_t deadline = in_ms(30);

	unit_ctx_init(&c);
	ck_assert_int_eq(park(&c, deadline), -ETIMEDOUT);
	ck_assert_int_ge(clock_now(CLOCK_MONOTONIC), deadline);
	ck_assert_int_eq(park(&c, deadline), -ETIMEDOUT);
	ck_assert_int_eq(park(&c, -1), -ETIMEDOUT);
}
END_TEST

START_TEST(interrupts)
{
	unit_ctx_init(&c);
	ctx_interrupt(&c, CTX_SIGNAL);
	/* The unpark that comes with an interrupt may be taken first. */
	while (park(&c, TIME_NEVER) == 0)
		;
	ck_assert_int_eq(park(&c, TIME_NEVER), -ERESTARTSYS);
	ck_assert_int_eq(park_killable(&c, in_ms(5)), -ETIMEDOUT);
	ctx_interrupt_clear(&c, CTX_SIGNAL);
	ck_assert_int_eq(park(&c, in_ms(1)), -ETIMEDOUT);
	ctx_interrupt(&c, CTX_KILL);
	while (park_killable(&c, TIME_NEVER) == 0)
		;
	ck_assert_int_eq(park_killable(&c, TIME_NEVER), -ERESTARTSYS);
}
END_TEST

static void *interrupt_later(void *arg)
{
	usleep(20000);
	ctx_interrupt(&c, CTX_SIGNAL);
	return arg;
}

START_TEST(an_interrupt_ends_a_sleep)
{
	pthread_t t;
	int err;

	unit_ctx_init(&c);
	pthread_create(&t, NULL, interrupt_later, NULL);
	while (!(err = park(&c, TIME_NEVER)))
		;
	ck_assert_int_eq(err, -ERESTARTSYS);
	pthread_join(t, NULL);
}
END_TEST

/* Two threads hand a ball to each other: an unpark that gets lost hangs the test. */
static struct {
	struct mutex lock;
	struct wait_queue wq;
	int turn, rounds; /* L_FILE */
} ball;

static void *player(void *arg)
{
	int me = arg != NULL;
	struct ctx mine;
	int err = 0;

	unit_ctx_init(&mine);
	for (int i = 0; i < 20000 && !err; i++) {
		mutex_lock(&ball.lock, L_FILE);
		while (!err && ball.turn != me)
			err = wait_on(&mine, &ball.wq, &ball.lock, L_FILE);
		ball.turn = !me;
		ball.rounds++;
		mutex_unlock(&ball.lock, L_FILE);
		wake_up(&ball.wq, 0);
	}
	return err ? &ball : NULL;
}

START_TEST(wait_on_and_wake_up)
{
	pthread_t t[2];
	void *bad;

	mutex_init(&ball.lock);
	wait_queue_init(&ball.wq);
	for (size_t i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, player, i ? &ball : NULL);
	for (size_t i = 0; i < 2; i++) {
		pthread_join(t[i], &bad);
		ck_assert_ptr_null(bad);
	}
	ck_assert_int_eq(ball.rounds, 40000);
	ck_assert(!wait_queue_active(&ball.wq));
}
END_TEST

START_TEST(wait_on_times_out_and_is_interrupted)
{
	struct mutex m = MUTEX_INIT;
	struct wait_queue q;

	unit_ctx_init(&c);
	wait_queue_init(&q);
	mutex_lock(&m, L_FILE);
	ck_assert_int_eq(wait_on_until(&c, &q, &m, L_FILE, in_ms(5)), -ETIMEDOUT);
	ctx_interrupt(&c, CTX_SIGNAL | CTX_KILL);
	while (wait_on(&c, &q, &m, L_FILE) == 0)
		;
	ck_assert_int_eq(wait_on_killable(&c, &q, &m, L_FILE), -ERESTARTSYS);
	mutex_unlock(&m, L_FILE);
	ck_assert(!wait_queue_active(&q));
}
END_TEST

struct counter {
	struct wait_entry e;
	unsigned count;
	uint32_t events;
};

static void count_wake(struct wait_entry *e, uint32_t events)
{
	struct counter *n = container_of(e, struct counter, e);

	n->count++;
	n->events = events;
}

static void counter_add(struct wait_queue *q, struct counter *n, uint32_t events, bool exclusive)
{
	n->count = 0;
	wait_entry_init(&n->e, count_wake, NULL, events);
	n->e.exclusive = exclusive;
	wait_queue_add(q, &n->e);
}

START_TEST(events_select_who_is_woken)
{
	struct counter in, out, any;
	struct wait_queue q;

	wait_queue_init(&q);
	wake_up(&q, POLLIN);
	counter_add(&q, &in, POLLIN, false);
	counter_add(&q, &out, POLLOUT, false);
	counter_add(&q, &any, 0, false);
	wake_up(&q, POLLIN | POLLRDNORM);
	ck_assert_uint_eq(in.count * 100 + out.count * 10 + any.count, 101);
	ck_assert_uint_eq(in.events, POLLIN | POLLRDNORM);
	wake_up(&q, 0);
	ck_assert_uint_eq(in.count * 100 + out.count * 10 + any.count, 212);
	wait_entry_remove(&in.e);
	wait_entry_remove(&in.e);
	wake_up(&q, POLLIN);
	ck_assert_uint_eq(in.count * 100 + out.count * 10 + any.count, 213);
	wait_entry_remove(&out.e);
	wait_entry_remove(&any.e);
	ck_assert(!wait_queue_active(&q));
}
END_TEST

START_TEST(one_exclusive_waiter_and_all_others)
{
	struct counter ex1, ex2, plain;
	struct wait_queue q;

	wait_queue_init(&q);
	counter_add(&q, &ex1, 0, true);
	counter_add(&q, &ex2, 0, true);
	counter_add(&q, &plain, 0, false);
	wake_up(&q, 0);
	ck_assert_uint_eq(ex1.count * 100 + ex2.count * 10 + plain.count, 101);
	wake_up_all(&q, 0);
	ck_assert_uint_eq(ex1.count * 100 + ex2.count * 10 + plain.count, 212);
}
END_TEST

UNIT_MAIN(an_early_unpark_is_not_lost, deadlines, interrupts, an_interrupt_ends_a_sleep, wait_on_and_wake_up,
	  wait_on_times_out_and_is_interrupted, events_select_who_is_woken, one_exclusive_waiter_and_all_others)
