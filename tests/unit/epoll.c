/* epoll, poll and select over pipes, eventfds and timerfds: levels, edges, one-shot, nesting, what closing does. */
#include "tests/unit/ipc.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

static int p[2], q[2];
static int64_t ep;

static void setup(void)
{
	init = kernel_boot();
	pair(CALL(pipe2, ARG, O_NONBLOCK), p);
	pair(CALL(pipe2, ARG, O_NONBLOCK), q);
	ep = CALL(epoll_create1, 0);
	ck_assert_int_ge(ep, 0);
}

static int64_t ctl(int64_t e, int op, int64_t fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.u64 = (uint64_t)fd};

	kernel_poke(init, ARG, &ev, sizeof(ev));
	return CALL(epoll_ctl, e, op, fd, ARG);
}

/* What is ready now: the bits of one descriptor, 0 if none; only one is expected. */
static uint32_t ready(int64_t e, int64_t fd)
{
	struct epoll_event ev[4];
	int64_t n = CALL(epoll_wait, e, OUT, 4, 0);

	ck_assert_int_ge(n, 0);
	if (n == 0)
		return 0;
	ck_assert_int_eq(n, 1);
	kernel_peek(init, OUT, ev, sizeof(ev));
	ck_assert_int_eq((int64_t)ev[0].data.u64, fd);
	return ev[0].events;
}

START_TEST(levels)
{
	setup();
	IS(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN), 0);
	IS(ready(ep, p[0]), 0);
	IS(put(p[1], "abc"), 3);
	IS(ready(ep, p[0]), EPOLLIN);
	IS(ready(ep, p[0]), EPOLLIN);
	get(p[0], 10, "abc");
	IS(ready(ep, p[0]), 0);
	IS(CALL(close, p[1]), 0);
	IS(ready(ep, p[0]), EPOLLHUP);
	IS(ctl(ep, EPOLL_CTL_DEL, p[0], 0), 0);
	IS(ready(ep, p[0]), 0);
}
END_TEST

START_TEST(edges)
{
	setup();
	IS(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLET), 0);
	IS(put(p[1], "a"), 1);
	IS(ready(ep, p[0]), EPOLLIN);
	IS(ready(ep, p[0]), 0);
	/* Another write is another edge, though the pipe was not empty. */
	IS(put(p[1], "b"), 1);
	IS(ready(ep, p[0]), EPOLLIN);
	get(p[0], 1, "a");
	IS(ready(ep, p[0]), 0);
	/* Changing the interest looks again. */
	IS(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET), 0);
	IS(ready(ep, p[0]), EPOLLIN);
	IS(ctl(ep, EPOLL_CTL_ADD, p[1], EPOLLOUT | EPOLLET), 0);
	IS(ready(ep, p[1]), EPOLLOUT);
	while (CALL(write, p[1], BUF, 4096) > 0)
		;
	get(p[0], 1, "b");
	ck_assert_int_gt(CALL(read, p[0], OUT, 100000), 60000);
	IS(ready(ep, p[1]), EPOLLOUT); /* full and empty again: an edge for the writer only */
	IS(CALL(epoll_wait, ep, OUT, 4, 0), 0);
}
END_TEST

START_TEST(one_shot)
{
	setup();
	IS(put(p[1], "abc"), 3);
	IS(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLONESHOT), 0);
	IS(ready(ep, p[0]), EPOLLIN);
	IS(ready(ep, p[0]), 0);
	IS(put(p[1], "abc"), 3);
	IS(ready(ep, p[0]), 0);
	IS(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT), 0);
	IS(ready(ep, p[0]), EPOLLIN);
}
END_TEST

START_TEST(closing)
{
	int64_t d;

	setup();
	d = CALL(dup, p[0]);
	IS(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN), 0);
	IS(put(p[1], "abc"), 3);
	IS(CALL(close, p[0]), 0);
	IS(ready(ep, p[0]), EPOLLIN); /* the description lives on in d */
	IS(CALL(close, d), 0);
	IS(ready(ep, p[0]), 0);
	ck_assert_uint_eq(live_in("struct ep_item"), 0);
	IS(ctl(ep, EPOLL_CTL_ADD, q[0], EPOLLIN), 0);
	IS(CALL(close, ep), 0);
	ck_assert_uint_eq(live_in("struct ep_item"), 0);
	ck_assert_uint_eq(live_in("struct epoll"), 0);
	IS(put(q[1], "x"), 1);
}
END_TEST

START_TEST(nesting)
{
	int64_t e[7];

	setup();
	for (int i = 0; i < 7; i++)
		e[i] = CALL(epoll_create, 1);
	IS(ctl(e[0], EPOLL_CTL_ADD, p[0], EPOLLIN), 0);
	IS(ctl(ep, EPOLL_CTL_ADD, e[0], EPOLLIN), 0);
	IS(ready(ep, e[0]), 0);
	IS(put(p[1], "x"), 1);
	IS(ready(ep, e[0]), EPOLLIN);
	IS(bits((int)ep, POLLIN), POLLIN);
	get(p[0], 1, "x");
	IS(ready(ep, e[0]), 0);
	IS(bits((int)ep, POLLIN), 0);
	IS(ctl(e[0], EPOLL_CTL_ADD, ep, EPOLLIN), -ELOOP);
	IS(ctl(ep, EPOLL_CTL_ADD, ep, EPOLLIN), -EINVAL);
	IS(ctl(e[0], EPOLL_CTL_ADD, e[1], EPOLLIN), 0);
	IS(ctl(e[1], EPOLL_CTL_ADD, e[2], EPOLLIN), 0);
	IS(ctl(e[2], EPOLL_CTL_ADD, e[3], EPOLLIN), 0);
	IS(ctl(e[3], EPOLL_CTL_ADD, e[4], EPOLLIN), -ELOOP);
}
END_TEST

/* An instance that is reached by several ways counts with all that is below it, whichever way is looked at first. */
START_TEST(nesting_by_several_ways)
{
	int64_t e[40];
	int r = 0, top = 0;

	setup();
	for (int i = 0; i < 40; i++)
		e[i] = CALL(epoll_create, 1);
	/* Each watches all before it, the lowest first: the depth is the number of the last that went in. */
	for (top = 1; top < 40 && !r; top++)
		for (int i = 0; i < top && !r; i++)
			r = (int)ctl(e[top], EPOLL_CTL_ADD, e[i], EPOLLIN);
	IS(r, -ELOOP);
	ck_assert_int_le(top, 7);
}
END_TEST

START_TEST(errors)
{
	int64_t f;

	setup();
	f = CALL(open, name_at("/tmp/f"), O_RDWR | O_CREAT, 0600);
	IS(ctl(ep, EPOLL_CTL_ADD, f, EPOLLIN), -EPERM);
	IS(ctl(ep, EPOLL_CTL_ADD, 99, EPOLLIN), -EBADF);
	IS(ctl(99, EPOLL_CTL_ADD, p[0], EPOLLIN), -EBADF);
	IS(ctl(p[0], EPOLL_CTL_ADD, p[1], EPOLLIN), -EINVAL);
	IS(ctl(ep, 9, p[0], EPOLLIN), -EINVAL);
	IS(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN), -ENOENT);
	IS(ctl(ep, EPOLL_CTL_DEL, p[0], EPOLLIN), -ENOENT);
	IS(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN), 0);
	IS(ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN), -EEXIST);
	IS(ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLEXCLUSIVE), -EINVAL);
	IS(ctl(ep, EPOLL_CTL_ADD, q[0], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT), -EINVAL);
	IS(CALL(epoll_wait, ep, OUT, 0, 0), -EINVAL);
	IS(CALL(epoll_wait, ep, OUT, INT32_MAX, 0), -EINVAL);
	IS(CALL(epoll_wait, f, OUT, 1, 0), -EINVAL);
	IS(put(p[1], "x"), 1);
	IS(CALL(epoll_wait, ep, KERNEL_SCRATCH + KERNEL_SCRATCH_SIZE, 4, 0), -EFAULT);
	IS(ready(ep, p[0]), EPOLLIN); /* not lost */
	IS(CALL(epoll_create, 0), -EINVAL);
	get(p[0], 1, "x");
	IS(CALL(epoll_wait, ep, OUT, 4, -1), -EINTR);
}
END_TEST

START_TEST(many)
{
	struct epoll_event ev[100];
	int64_t fd[100], n, seen = 0;

	setup();
	for (int i = 0; i < 100; i++) {
		fd[i] = CALL(eventfd2, 1, O_NONBLOCK);
		IS(ctl(ep, EPOLL_CTL_ADD, fd[i], EPOLLIN | EPOLLET), 0);
	}
	while ((n = CALL(epoll_wait, ep, OUT, 33, 0)) > 0) {
		kernel_peek(init, OUT, ev, (size_t)n * sizeof(ev[0]));
		for (int64_t i = 0; i < n; i++)
			ck_assert_int_eq((int64_t)ev[i].data.u64, fd[seen++]);
	}
	IS(seen, 100);
}
END_TEST

START_TEST(selects)
{
	uint64_t sets[3] = {0}, tv[2] = {0, 0};

	setup();
	sets[0] = 1ull << p[0] | 1ull << q[0];
	sets[1] = 1ull << p[1];
	IS(put(q[1], "x"), 1);
	kernel_poke(init, ARG, sets, sizeof(sets));
	kernel_poke(init, OUT, tv, sizeof(tv));
	IS(CALL(select, 20, ARG, ARG + 8, ARG + 16, OUT), 2);
	kernel_peek(init, ARG, sets, sizeof(sets));
	ck_assert_uint_eq(sets[0], 1ull << q[0]);
	ck_assert_uint_eq(sets[1], 1ull << p[1]);
	sets[0] = 1ull << 40;
	kernel_poke(init, ARG, sets, sizeof(sets));
	IS(CALL(select, 41, ARG, 0, 0, OUT), -EBADF);
	IS(CALL(select, 40, ARG, 0, 0, OUT), 0);
	IS(CALL(select, -1, ARG, 0, 0, OUT), -EINVAL);
	tv[0] = INT64_MAX;
	tv[1] = 999999;
	kernel_poke(init, OUT, tv, sizeof(tv));
	IS(CALL(select, 0, 0, 0, 0, OUT), SLEPT(select));
	tv[1] = INT64_MAX;
	kernel_poke(init, OUT, tv, sizeof(tv));
	IS(CALL(select, 0, 0, 0, 0, OUT), -EINVAL); /* the seconds overflow */
	tv[0] = tv[1] = 0;
	kernel_poke(init, OUT, tv, sizeof(tv));
	IS(CALL(select, 1, KERNEL_SCRATCH - 1, 0, 0, OUT), -EFAULT);
	IS(bits(99, POLLIN), POLLNVAL);
	IS(bits(-1, POLLIN), 0);
	IS(CALL(poll, ARG, 1u << 30, 0), -EINVAL);
}
END_TEST

START_TEST(counters)
{
	uint64_t v = 0;
	int64_t e, t;

	setup();
	e = CALL(eventfd2, 3, O_NONBLOCK);
	IS(bits((int)e, POLLIN | POLLOUT), POLLIN | POLLOUT);
	IS(CALL(read, e, OUT, 8), 8);
	kernel_peek(init, OUT, &v, 8);
	ck_assert_uint_eq(v, 3);
	IS(CALL(read, e, OUT, 8), -EAGAIN);
	IS(CALL(read, e, OUT, 7), -EINVAL);
	v = UINT64_MAX;
	kernel_poke(init, BUF, &v, 8);
	IS(CALL(write, e, BUF, 8), -EINVAL);
	v--;
	kernel_poke(init, BUF, &v, 8);
	IS(CALL(write, e, BUF, 8), 8);
	IS(CALL(write, e, BUF, 8), -EAGAIN);
	IS(bits((int)e, POLLIN | POLLOUT), POLLIN);
	t = CALL(timerfd_create, CLOCK_MONOTONIC, TFD_NONBLOCK);
	kernel_poke(init, BUF, (int64_t[4]){0, 0, 0, 1}, 32);
	IS(CALL(timerfd_settime, t, TFD_TIMER_ABSTIME, BUF, OUT), 0);
	IS(bits((int)t, 0), 0);
	for (int i = 0; i < 1000 && !bits((int)t, POLLIN); i++)
		usleep(1000);
	IS(bits((int)t, POLLIN), POLLIN);
	IS(CALL(read, t, OUT, 8), 8);
	IS(CALL(read, t, OUT, 8), -EAGAIN);
	kernel_poke(init, BUF, (int64_t[4]){0, 0, 0, 1000000000}, 32);
	IS(CALL(timerfd_settime, t, 0, BUF, OUT), -EINVAL);
	IS(CALL(timerfd_settime, e, 0, OUT, 0), -EINVAL);
	IS(CALL(timerfd_create, 77, 0), -EINVAL);
	IS(CALL(close, t), 0);
}
END_TEST

static int add_and_close(void *arg __unused)
{
	int64_t e = CALL(epoll_create1, 0), r;

	if (e < 0)
		return (int)e;
	r = ctl(e, EPOLL_CTL_ADD, p[0], EPOLLIN);
	IS(CALL(close, e), 0);
	return (int)r;
}

START_TEST(no_memory)
{
	setup();
	unit_each_allocation_fails(add_and_close, NULL);
	ck_assert_uint_eq(live_in("struct ep_item"), 0);
}
END_TEST

UNIT_MAIN(levels, edges, one_shot, closing, nesting, nesting_by_several_ways, errors, many, selects, counters,
	  no_memory)
