/* Timers of the network stack: against a list that is searched. */
#include "tests/unit/unit.h"

#include <string.h>

#include "net/stack/core.h"

#define TIMERS 300
#define MS 1000000ll

static int64_t fake_now, wished = INT64_MAX;
static struct stack *s;
static struct net_timer timer[TIMERS];
static int64_t fired_at[TIMERS];
static unsigned rearm, fired;

static int64_t env_now(void *arg __unused)
{
	return fake_now;
}

static void env_random(void *arg __unused, void *to, size_t n)
{
	memset(to, 1, n);
}

static void env_wake_at(void *arg __unused, int64_t deadline)
{
	wished = deadline;
}

static void fire(struct stack *of, struct net_timer *t) NO_TSA
{
	ck_assert_ptr_eq(of, s);
	ck_assert(!net_timer_armed(t));
	fired_at[t - timer] = fake_now;
	fired++;
	if (rearm) {
		rearm--;
		net_timer_arm(s, t, 0);
	}
}

static void setup(void)
{
	static const struct stack_env env = {env_now, env_random, env_wake_at, NULL};

	fake_now = 5000 * MS;
	s = stack_create(&env);
	for (unsigned i = 0; i < TIMERS; i++)
		net_timer_init(&timer[i], fire);
}

static void arm(unsigned i, int64_t deadline)
{
	stack_enter(s);
	net_timer_arm(s, &timer[i], deadline);
	stack_leave(s);
}

/* Lets the time pass as env would: stack_run() at each wish. */
static void run_until(int64_t end)
{
	while (wished <= end) {
		fake_now = MAX(wished, fake_now);
		wished = INT64_MAX;
		stack_run(s);
	}
	fake_now = end;
}

START_TEST(one)
{
	setup();
	ck_assert_int_eq(wished, INT64_MAX); /* an idle stack asks for nothing */
	arm(0, fake_now + 20 * MS + 1);
	run_until(fake_now + 20 * MS);
	ck_assert_uint_eq(fired, 0);
	run_until(fake_now + 2 * MS);
	ck_assert_uint_eq(fired, 1);
	ck_assert_int_eq(fired_at[0], 5021 * MS);
	ck_assert_int_eq(wished, INT64_MAX);
	arm(0, 0);
	run_until(fake_now + MS);
	ck_assert_uint_eq(fired, 2);
	arm(0, INT64_MAX);
	arm(0, INT64_MIN);
	run_until(fake_now + MS);
	ck_assert_uint_eq(fired, 3);
	stack_destroy(s);
}
END_TEST

START_TEST(rearming_ends)
{
	setup();
	rearm = 100;
	arm(0, 0);
	run_until(fake_now + 50 * MS);
	ck_assert_uint_eq(fired, 50);
	run_until(fake_now + 60 * MS);
	ck_assert_uint_eq(fired, 101);
	stack_destroy(s);
}
END_TEST

static bool armed(unsigned i) NO_TSA
{
	return net_timer_armed(&timer[i]);
}

static uint64_t seed = 12345;

static uint64_t next_random(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return seed >> 20;
}

START_TEST(many)
{
	setup();
	for (unsigned round = 0; round < 3000; round++) {
		unsigned i = next_random() % TIMERS;
		int64_t deadline = fake_now + (int64_t)(next_random() % (1ull << next_random() % 44));

		stack_enter(s);
		if (next_random() % 4 == 0) {
			net_timer_cancel(s, &timer[i]);
			ck_assert(!net_timer_armed(&timer[i]));
		} else {
			net_timer_arm(s, &timer[i], deadline);
			fired_at[i] = 0;
		}
		stack_leave(s);
		if (round % 3 == 0)
			run_until(fake_now + (int64_t)(next_random() % (1ull << next_random() % 40)));
		for (i = 0; i < TIMERS; i++)
			if (armed(i))
				ck_assert_int_gt(timer[i].deadline + MS, fake_now);
			else if (fired_at[i])
				ck_assert(fired_at[i] >= timer[i].deadline && fired_at[i] < timer[i].deadline + 2 * MS);
	}
	ck_assert_uint_gt(fired, 500);
	stack_destroy(s);
}
END_TEST

/* A long sleep, then a near deadline: no wake-up that has nothing to do. */
START_TEST(after_idle)
{
	setup();
	arm(0, fake_now + 3600 * 1000 * MS);
	fake_now += 3000 * 1000 * MS + 123;
	arm(1, fake_now + 5 * MS);
	ck_assert_int_gt(wished, fake_now);
	run_until(fake_now + 10 * MS);
	ck_assert_uint_eq(fired, 1);
	run_until(fake_now + 700 * 1000 * MS);
	ck_assert_uint_eq(fired, 2);
	stack_destroy(s);
}
END_TEST

struct sleeper {
	struct wakeup w;
	unsigned held, delivered;
	uint32_t events;
};

static void deliver(struct wakeup *w, uint32_t events)
{
	struct sleeper *e = container_of(w, struct sleeper, w);

	e->delivered++;
	e->events |= events;
}

static void hold(struct wakeup *w)
{
	container_of(w, struct sleeper, w)->held++;
}

START_TEST(wakeups)
{
	static struct sleeper e[100];

	setup();
	stack_enter(s);
	for (unsigned i = 0; i < 100; i++) {
		e[i].w = (struct wakeup){.deliver = deliver, .hold = hold};
		list_init(&e[i].w.link);
		stack_wake(s, &e[i].w, 1);
		stack_wake(s, &e[i].w, 4);
		ck_assert_uint_eq(e[i].delivered, 0);
	}
	stack_leave(s);
	for (unsigned i = 0; i < 100; i++) {
		ck_assert_uint_eq(e[i].held, 1);
		ck_assert_uint_eq(e[i].delivered, 1);
		ck_assert_uint_eq(e[i].events, 5);
	}
	stack_destroy(s);
}
END_TEST

UNIT_MAIN(one, rearming_ends, many, after_idle, wakeups)
