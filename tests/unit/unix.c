/* Unix sockets: names, connections, messages, descriptors in them and their collection, ends of conversations. */
#include "tests/unit/ipc.h"

#include <sys/socket.h>
#include <sys/un.h>

#define MSG ARG
#define ADDR (ARG + 0x1000)
#define IOV (ARG + 0x2000)
#define CONTROL (ARG + 0x3000)

struct guest_msg {
	uint64_t name, name_len, iov, iov_len, control, control_len, flags;
};

static int a, b;

static void connect_pair(int type)
{
	int fd[2];

	pair(CALL(socketpair, AF_UNIX, type | SOCK_NONBLOCK, 0, ARG), fd);
	a = fd[0];
	b = fd[1];
}

static void setup(int type)
{
	init = kernel_boot();
	/* SIGPIPE is ignored. */
	kernel_poke(init, ARG, (uint64_t[4]){1, 0, 0, 0}, 32);
	IS(CALL(rt_sigaction, SIGPIPE, ARG, 0, 8), 0);
	connect_pair(type);
}

/* A name; a leading '@' stands for the NUL of an abstract one. Its length; it lies at ADDR. */
static unsigned addr(const char *name)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	unsigned len = (unsigned)strlen(name);

	memcpy(sun.sun_path, name, len);
	if (name[0] == '@')
		sun.sun_path[0] = 0;
	else
		len++;
	kernel_poke(init, ADDR, &sun, sizeof(sun));
	return (unsigned)sizeof(sa_family_t) + len;
}

static int64_t named(int type, const char *name)
{
	int64_t s = CALL(socket, AF_UNIX, type | SOCK_NONBLOCK, 0);

	ck_assert_int_ge(s, 0);
	ck_assert_int_eq(CALL(bind, s, ADDR, addr(name)), 0);
	return s;
}

/* Sends one byte with descriptors. */
static int64_t send_fds(int64_t s, const int *fds, unsigned count)
{
	struct guest_msg m = {
	    .iov = IOV, .iov_len = 1, .control = CONTROL, .control_len = CMSG_SPACE(count * sizeof(int))};
	struct cmsghdr h = {CMSG_LEN(count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};

	kernel_poke(init, IOV, (uint64_t[2]){BUF, 1}, 16);
	kernel_poke(init, CONTROL, &h, sizeof(h));
	kernel_poke(init, CONTROL + sizeof(h), fds, count * sizeof(int));
	kernel_poke(init, MSG, &m, sizeof(m));
	return CALL(sendmsg, s, MSG, 0);
}

/* Receives up to size bytes with descriptors; how many came, or -errno. */
static int64_t recv_fds(int64_t s, size_t size, size_t room, int *ret_fds, uint32_t *ret_flags, int flags)
{
	struct guest_msg m = {.iov = IOV, .iov_len = 1, .control = CONTROL, .control_len = room};
	struct cmsghdr h = {0};
	int64_t n;

	kernel_poke(init, IOV, (uint64_t[2]){OUT, size}, 16);
	kernel_poke(init, CONTROL, &h, sizeof(h));
	kernel_poke(init, MSG, &m, sizeof(m));
	n = CALL(recvmsg, s, MSG, flags);
	if (n < 0)
		return n;
	kernel_peek(init, MSG, &m, sizeof(m));
	*ret_flags = (uint32_t)m.flags;
	kernel_peek(init, CONTROL, &h, sizeof(h));
	if (m.control_len < sizeof(h))
		return 0;
	ck_assert_int_eq(h.cmsg_type, SCM_RIGHTS);
	kernel_peek(init, CONTROL + sizeof(h), ret_fds, h.cmsg_len - sizeof(h));
	return (int64_t)((h.cmsg_len - sizeof(h)) / sizeof(int));
}

START_TEST(streams)
{
	setup(SOCK_STREAM);
	IS(bits(a, POLLIN | POLLOUT), POLLOUT);
	IS(put(a, "one "), 4);
	IS(put(a, "two"), 3);
	IS(bits(b, POLLIN | POLLOUT), POLLIN | POLLOUT);
	IS(CALL(recvfrom, b, OUT, 3, MSG_PEEK, 0, 0), 3);
	IS(CALL(ioctl, b, 0x541b, OUT), 0); /* FIONREAD */
	get(b, 6, "one tw");
	get(b, 6, "o");
	IS(CALL(read, b, OUT, 1), -EAGAIN);
	IS(CALL(shutdown, a, SHUT_WR), 0);
	IS(put(a, "x"), -EPIPE);
	IS(bits(b, POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
	get(b, 6, "");
	IS(put(b, "back"), 4);
	get(a, 10, "back");
	IS(put(b, "unread"), 6);
	IS(CALL(close, a), 0);
	IS(CALL(read, b, OUT, 1), -ECONNRESET);
	IS(CALL(read, b, OUT, 1), 0);
	IS(put(b, "x"), -EPIPE);
	IS(bits(b, POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
	IS(CALL(sendto, b, BUF, 1, MSG_OOB, 0, 0), -EOPNOTSUPP);
}
END_TEST

START_TEST(flow)
{
	int64_t n, sent = 0;

	setup(SOCK_STREAM);
	while ((n = CALL(write, a, BUF, 20000)) > 0)
		sent += n;
	IS(n, -EAGAIN);
	ck_assert_int_gt(sent, 150000);
	IS(bits(a, POLLOUT), 0);
	while ((n = CALL(read, b, OUT, 30000)) > 0)
		sent -= n;
	IS(sent, 0);
	IS(bits(a, POLLOUT), POLLOUT);
}
END_TEST

START_TEST(listeners)
{
	int64_t l, c, s;
	socklen_t len;

	setup(SOCK_STREAM);
	l = named(SOCK_STREAM, "/tmp/s");
	c = CALL(socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	IS(CALL(connect, c, ADDR, addr("/tmp/s")), -ECONNREFUSED);
	IS(CALL(accept, l, 0, 0), -EINVAL);
	IS(CALL(listen, l, 0), 0);
	IS(CALL(accept, l, 0, 0), -EAGAIN);
	IS(CALL(connect, c, ADDR, addr("/tmp/s")), 0);
	IS(CALL(connect, c, ADDR, addr("/tmp/s")), -EISCONN);
	IS(bits((int)l, POLLIN), POLLIN);
	IS(put(c, "early"), 5);
	len = 110;
	kernel_poke(init, OUT, &len, 4);
	s = CALL(accept, l, OUT + 16, OUT);
	ck_assert_int_ge(s, 0);
	kernel_peek(init, OUT, &len, 4);
	ck_assert_uint_eq(len, 2);
	get(s, 10, "early");
	kernel_poke(init, OUT, (int[1]){110}, 4);
	IS(CALL(getpeername, c, OUT + 16, OUT), 0);
	kernel_peek(init, OUT, &len, 4);
	ck_assert_uint_eq(len, 2 + strlen("/tmp/s") + 1);
	IS(CALL(bind, CALL(socket, AF_UNIX, SOCK_STREAM, 0), ADDR, addr("/tmp/s")), -EADDRINUSE);
	IS(CALL(connect, CALL(socket, AF_UNIX, SOCK_DGRAM, 0), ADDR, addr("/tmp/s")), -EPROTOTYPE);
	IS(CALL(connect, CALL(socket, AF_UNIX, SOCK_STREAM, 0), ADDR, addr("/tmp/none")), -ENOENT);
	/* The backlog is 0: one connection waits, the next must. */
	IS(CALL(connect, CALL(socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), ADDR, addr("/tmp/s")), 0);
	c = CALL(socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	IS(CALL(connect, c, ADDR, addr("/tmp/s")), -EAGAIN);
	IS(CALL(close, l), 0);
	IS(CALL(connect, c, ADDR, addr("/tmp/s")), -ECONNREFUSED);
	IS(CALL(unlink, name_at("/tmp/s")), 0);
	IS(CALL(connect, c, ADDR, addr("/tmp/s")), -ENOENT);
}
END_TEST

START_TEST(names)
{
	int64_t l, d;

	setup(SOCK_STREAM);
	l = named(SOCK_STREAM, "@abs");
	IS(CALL(listen, l, 5), 0);
	IS(CALL(bind, l, ADDR, addr("@other")), -EINVAL);
	IS(CALL(bind, CALL(socket, AF_UNIX, SOCK_STREAM, 0), ADDR, addr("@abs")), -EADDRINUSE);
	d = named(SOCK_DGRAM, "@abs"); /* another name space */
	IS(CALL(connect, CALL(socket, AF_UNIX, SOCK_STREAM, 0), ADDR, addr("@ab")), -ECONNREFUSED);
	IS(CALL(connect, CALL(socket, AF_UNIX, SOCK_STREAM, 0), ADDR, addr("@abs")), 0);
	IS(CALL(close, d), 0);
	IS(CALL(close, l), 0);
	l = named(SOCK_STREAM, "@abs");
	IS(CALL(bind, CALL(socket, AF_UNIX, SOCK_STREAM, 0), ADDR, 2), 0); /* autobind */
	IS(CALL(bind, CALL(socket, AF_UNIX, SOCK_STREAM, 0), ADDR, 200), -EINVAL);
	IS(CALL(bind, CALL(socket, AF_UNIX, SOCK_STREAM, 0), KERNEL_SCRATCH - 50, 20), -EFAULT);
	IS(CALL(socket, AF_UNIX, 77, 0), -EINVAL);
	IS(CALL(socket, AF_UNIX, SOCK_STREAM, 9), -EPROTONOSUPPORT);
	IS(CALL(socket, 200, SOCK_STREAM, 0), -EAFNOSUPPORT);
	IS(CALL(getsockname, CALL(eventfd, 0), OUT, OUT), -ENOTSOCK);
}
END_TEST

START_TEST(datagrams)
{
	int64_t r, s;

	setup(SOCK_DGRAM);
	IS(put(a, "one"), 3);
	IS(put(a, "two"), 3);
	IS(CALL(recvfrom, b, OUT, 2, MSG_TRUNC, 0, 0), 3);
	get(b, 10, "two");
	IS(CALL(close, b), 0);
	IS(put(a, "x"), -ECONNREFUSED);
	IS(put(a, "x"), -ENOTCONN);
	r = named(SOCK_DGRAM, "@r");
	s = CALL(socket, AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	IS(CALL(sendto, s, BUF, 3, 0, ADDR, addr("@r")), 3);
	IS(CALL(sendto, s, BUF, 300000, 0, ADDR, addr("@r")), -EMSGSIZE);
	for (int i = 0; i < 10; i++)
		IS(CALL(sendto, s, BUF, 3, 0, ADDR, addr("@r")), 3);
	IS(CALL(sendto, s, BUF, 3, 0, ADDR, addr("@r")), -EAGAIN);
	IS(CALL(connect, s, ADDR, addr("@r")), 0);
	IS(bits((int)s, POLLOUT), 0);
	IS(CALL(read, r, OUT, 10), 3);
	IS(bits((int)s, POLLOUT), POLLOUT);
	IS(CALL(connect, r, ADDR, addr("@r")), 0); /* to itself: nobody else may send */
	IS(CALL(write, s, BUF, 1), -EPERM);
	kernel_poke(init, ADDR, (short[1]){AF_UNSPEC}, 2);
	IS(CALL(connect, r, ADDR, 2), 0);
	IS(CALL(write, s, BUF, 1), 1);
	IS(CALL(listen, s, 1), -EOPNOTSUPP);
}
END_TEST

START_TEST(seqpackets)
{
	setup(SOCK_SEQPACKET);
	IS(put(a, "one"), 3);
	IS(put(a, "two"), 3);
	get(b, 1, "o");
	get(b, 10, "two");
	IS(CALL(read, b, OUT, 1), -EAGAIN);
	IS(CALL(close, a), 0);
	IS(CALL(read, b, OUT, 1), 0);
	IS(put(b, "x"), -EPIPE);
	IS(CALL(read, CALL(socket, AF_UNIX, SOCK_SEQPACKET, 0), OUT, 1), -ENOTCONN);
}
END_TEST

START_TEST(descriptors)
{
	int p[2], got[8] = {0};
	uint32_t flags;

	setup(SOCK_STREAM);
	pair(CALL(pipe2, ARG, O_NONBLOCK), p);
	IS(send_fds(a, (int[2]){p[0], p[1]}, 2), 1);
	IS(put(a, "more"), 4);
	IS(CALL(close, p[0]), 0);
	IS(recv_fds(b, 100, CMSG_SPACE(2 * sizeof(int)), got, &flags, MSG_CMSG_CLOEXEC), 2);
	IS(flags, MSG_CMSG_CLOEXEC);
	IS(CALL(fcntl, got[0], F_GETFD), FD_CLOEXEC);
	IS(put(got[1], "through"), 7);
	get(got[0], 10, "through");
	get(b, 10, "more"); /* was not read together with the descriptors */
	IS(send_fds(a, (int[2]){p[1], p[1]}, 2), 1);
	IS(recv_fds(b, 100, CMSG_LEN(sizeof(int)), got, &flags, 0), 1);
	ck_assert(flags & MSG_CTRUNC);
	IS(send_fds(a, (int[1]){99}, 1), -EBADF);
	/* Thrown away with the socket that they were for. */
	IS(send_fds(a, (int[1]){p[1]}, 1), 1);
	IS(CALL(close, b), 0);
	IS(CALL(close, a), 0);
	ck_assert_uint_eq(live_in("struct scm_files"), 0);
}
END_TEST

START_TEST(cycles)
{
	setup(SOCK_STREAM);
	for (int i = 0; i < 20; i++) {
		/* Each end travels to the other, then both are closed. */
		IS(send_fds(a, (int[2]){a, b}, 2), 1);
		IS(send_fds(b, (int[1]){b}, 1), 1);
		IS(CALL(close, a), 0);
		IS(CALL(close, b), 0);
		connect_pair(SOCK_STREAM);
	}
	ck_assert_uint_eq(live_in("struct unix_sock"), 42);
	/* The next close of any socket collects. */
	IS(CALL(close, CALL(socket, AF_UNIX, SOCK_STREAM, 0)), 0);
	ck_assert_uint_eq(live_in("struct unix_sock"), 2);
	for (int i = 0; i < 3000; i++) {
		IS(send_fds(a, (int[1]){a}, 1), 1);
		IS(CALL(close, b), 0);
		IS(CALL(close, a), 0);
		connect_pair(SOCK_STREAM);
	}
	/* Or so many in flight. */
	ck_assert_uint_lt(live_in("struct unix_sock"), 4500);
	for (int i = 0; i < 100; i++)
		IS(CALL(close, CALL(socket, AF_UNIX, SOCK_STREAM, 0)), 0);
	ck_assert_uint_eq(live_in("struct unix_sock"), 2);
	/* One that is still reachable is kept. */
	IS(send_fds(a, (int[1]){b}, 1), 1);
	IS(CALL(close, CALL(socket, AF_UNIX, SOCK_STREAM, 0)), 0);
	ck_assert_uint_eq(live_in("struct unix_sock"), 2);
	IS(CALL(close, b), 0);
	ck_assert_uint_eq(live_in("struct unix_sock"), 2);
	IS(CALL(close, a), 0);
	ck_assert_uint_eq(live_in("struct unix_sock"), 0);
}
END_TEST

START_TEST(chains)
{
	setup(SOCK_STREAM);
	/* Each pair carries the one before: closing the last must not recurse through them all. */
	for (int i = 0; i < 20000; i++) {
		int old_a = a, old_b = b;

		connect_pair(SOCK_STREAM);
		IS(send_fds(a, (int[2]){old_a, old_b}, 2), 1);
		IS(CALL(close, old_a), 0);
		IS(CALL(close, old_b), 0);
	}
	ck_assert_uint_eq(live_in("struct unix_sock"), 40002);
	IS(CALL(close, a), 0);
	IS(CALL(close, b), 0);
	ck_assert_uint_eq(live_in("struct unix_sock"), 0);
}
END_TEST

START_TEST(credentials)
{
	struct guest_msg m = {.iov = IOV, .iov_len = 1, .control = CONTROL, .control_len = 64};
	struct {
		uint64_t len;
		int level, type;
		struct ucred u;
	} got;
	int one = 1, size = sizeof(struct ucred);

	setup(SOCK_STREAM);
	kernel_poke(init, OUT, &size, 4);
	IS(CALL(getsockopt, a, SOL_SOCKET, SO_PEERCRED, OUT + 16, OUT), 0);
	kernel_peek(init, OUT + 16, &got.u, sizeof(got.u));
	ck_assert_int_eq(got.u.pid, 1);
	kernel_poke(init, OUT, &one, 4);
	IS(CALL(setsockopt, b, SOL_SOCKET, SO_PASSCRED, OUT, 4), 0);
	IS(put(a, "x"), 1);
	kernel_poke(init, IOV, (uint64_t[2]){OUT, 10}, 16);
	kernel_poke(init, MSG, &m, sizeof(m));
	IS(CALL(recvmsg, b, MSG, 0), 1);
	kernel_peek(init, CONTROL, &got, sizeof(got));
	ck_assert_int_eq(got.type, SCM_CREDENTIALS);
	ck_assert_int_eq(got.u.pid, 1);
	ck_assert_uint_eq(got.u.uid, 0);
}
END_TEST

START_TEST(options)
{
	int v = 1000, size = 4;
	int64_t tv[2] = {0, 5000};

	setup(SOCK_STREAM);
	kernel_poke(init, OUT, &v, 4);
	IS(CALL(setsockopt, a, SOL_SOCKET, SO_SNDBUF, OUT, 4), 0);
	kernel_poke(init, OUT, &size, 4);
	IS(CALL(getsockopt, a, SOL_SOCKET, SO_SNDBUF, OUT + 8, OUT), 0);
	kernel_peek(init, OUT + 8, &v, 4);
	IS(v, 4608);
	kernel_poke(init, OUT, tv, 16);
	IS(CALL(setsockopt, a, SOL_SOCKET, SO_RCVTIMEO, OUT, 16), 0);
	IS(CALL(setsockopt, a, SOL_SOCKET, SO_RCVTIMEO, OUT, 8), -EINVAL);
	IS(CALL(setsockopt, a, SOL_SOCKET, SO_RCVTIMEO, 8, 16), -EFAULT);
	IS(CALL(setsockopt, a, SOL_SOCKET, 12345, OUT, 4), -ENOPROTOOPT);
	IS(CALL(setsockopt, a, 77, 1, OUT, 4), -EOPNOTSUPP);
	IS(CALL(getsockopt, a, 77, 1, OUT, OUT + 32), -EOPNOTSUPP);
	IS(CALL(getsockopt, a, SOL_SOCKET, SO_TYPE, OUT, 8), -EFAULT);
}
END_TEST

static int talk(void *arg __unused)
{
	int64_t r = CALL(socketpair, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ARG);
	int fd[2];

	if (r)
		return (int)r;
	kernel_peek(init, ARG, fd, sizeof(fd));
	r = send_fds(fd[0], fd, 2);
	IS(CALL(close, fd[0]), 0);
	IS(CALL(close, fd[1]), 0);
	return r < 0 ? -ENOMEM : 0;
}

START_TEST(no_memory)
{
	setup(SOCK_STREAM);
	unit_each_allocation_fails(talk, NULL);
	IS(CALL(close, CALL(socket, AF_UNIX, SOCK_STREAM, 0)), 0);
	ck_assert_uint_eq(live_in("struct unix_sock"), 2);
}
END_TEST

UNIT_MAIN(streams, flow, listeners, names, datagrams, seqpackets, descriptors, cycles, chains, credentials, options,
	  no_memory)
