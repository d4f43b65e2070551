/*
 * A guest can make a copy to its memory last, as it can see to it that its stack grows then. What a process does meanwhile that
 * has nothing to do with it must not wait: here it happens in the middle of such a copy, which would wait for ever.
 */
#include "tests/unit/ipc.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>

static const struct platform_ops *fake;
static struct cpu *slow, *other;
static int meanwhile_case, fds[2];
static int64_t in, ep, other_ep, file, watched;

#define OTHER(nr, ...) KCALL(other, SYS_##nr, __VA_ARGS__)

static void poke_name(const char *s)
{
	kernel_poke(other, NAME, s, strlen(s) + 1);
}

static void queue_meanwhile(void)
{
	poke_name("/tmp/d/other");
	IS(OTHER(mkdir, NAME, 0700), 0);
	ck_assert_int_gt(OTHER(read, in, OUT, 4096), 0);
}

static void socket_meanwhile(void)
{
	IS(OTHER(write, fds[0], BUF, 3), 3);
	IS(OTHER(shutdown, fds[0], SHUT_WR), 0);
	IS(OTHER(close, fds[0]), 0);
}

static void epoll_meanwhile(void)
{
	struct epoll_event ev = {.events = EPOLLIN};

	kernel_poke(other, ARG, &ev, sizeof(ev));
	IS(OTHER(epoll_ctl, other_ep, EPOLL_CTL_ADD, fds[0], ARG), 0);
	IS(OTHER(epoll_ctl, other_ep, EPOLL_CTL_DEL, fds[0], ARG), 0);
	IS(OTHER(epoll_ctl, other_ep, EPOLL_CTL_ADD, watched, ARG), 0);
	IS(OTHER(close, watched), 0);
}

static void file_meanwhile(void)
{
	IS(OTHER(pread64, file, OUT, 10, 0), 5);
	IS(OTHER(pwrite64, file, BUF, 1, 0), 1);
}

static void (*const meanwhile[])(void) = {queue_meanwhile,  socket_meanwhile, socket_meanwhile,
					  socket_meanwhile, epoll_meanwhile,  file_meanwhile};

static void *meanwhile_main(void *arg)
{
	meanwhile[meanwhile_case]();
	return arg;
}

static ssize_t slow_write(struct cpu *cpu, uint64_t addr, const void *src, size_t size)
{
	pthread_t t;

	platform = fake;
	ck_assert_int_eq(pthread_create(&t, NULL, meanwhile_main, NULL), 0);
	pthread_join(t, NULL);
	return fake->cpu_write(cpu, addr, src, size);
}

/* A call of the slow one, in whose first copy the other one does something. */
static int64_t slowly(int64_t nr, int64_t fd, uint64_t size, uint64_t more)
{
	static struct platform_ops ops;
	int64_t r;

	ops = *fake;
	ops.cpu_write = slow_write;
	platform = &ops;
	r = KCALL(slow, nr, fd, OUT, size, more);
	ck_assert_ptr_eq(platform, fake);
	return r;
}

static void setup(void)
{
	init = kernel_boot();
	fake = platform;
	IS(CALL(mkdir, name_at("/tmp/d"), 0755), 0);
	in = CALL(inotify_init1, IN_NONBLOCK);
	IS(CALL(inotify_add_watch, in, name_at("/tmp/d"), IN_CREATE), 1);
	IS(CALL(mkdir, name_at("/tmp/d/first"), 0755), 0);
	ep = CALL(epoll_create1, 0);
	other_ep = CALL(epoll_create1, 0);
	file = CALL(open, name_at("/tmp/f"), O_RDWR | O_CREAT, 0600);
	IS(put(file, "inner"), 5);
}

/* With all of their descriptors shared. */
static void two_processes(void)
{
	ck_assert_int_gt(CALL(clone, SIGCHLD | 0x400 /* CLONE_FILES */, 0, 0, 0, 0), 0);
	ck_assert_int_gt(CALL(clone, SIGCHLD | 0x400, 0, 0, 0, 0), 0);
	slow = kernel_cpus[1];
	other = kernel_cpus[2];
}

static void connected(int type)
{
	pair(CALL(socketpair, AF_UNIX, type, 0, ARG), fds);
	IS(put(fds[0], "text"), 4);
}

START_TEST(one_copy)
{
	static const int types[] = {[1] = SOCK_STREAM, [2] = SOCK_DGRAM, [3] = SOCK_SEQPACKET};
	struct epoll_event ev = {.events = EPOLLIN};

	meanwhile_case = _i;
	setup();
	connected(_i >= 1 && _i <= 3 ? types[_i] : SOCK_STREAM);
	kernel_poke(init, ARG, &ev, sizeof(ev));
	IS(CALL(epoll_ctl, ep, EPOLL_CTL_ADD, fds[1], ARG), 0);
	watched = CALL(eventfd2, 0, 0);
	two_processes();
	if (_i == 0)
		IS(slowly(SYS_read, in, 4096, 0), 32);
	else if (_i <= 3)
		IS(slowly(SYS_recvfrom, fds[1], 4, 0), 4);
	else if (_i == 4)
		IS(slowly(SYS_epoll_wait, ep, 1, 0), 1);
	else
		IS(slowly(SYS_pread64, file, 10, 0), 5);
}
END_TEST

/* A datagram that is looked at stays. */
START_TEST(peeked)
{
	meanwhile_case = 2;
	setup();
	connected(SOCK_DGRAM);
	two_processes();
	IS(slowly(SYS_recvfrom, fds[1], 4, MSG_PEEK), 4);
	get(fds[1], 10, "text");
}
END_TEST

int main(void)
{
	const TTest *const single[] = {peeked, NULL};
	int status = unit_run(__FILE__, single);

	return unit_run_loop(__FILE__, one_copy, (int)ARRAY_SIZE(meanwhile)) | status;
}
