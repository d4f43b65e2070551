/* Sockets of IP on the platform for tests: what guests cannot reach, above all memory that runs out at every place. */
#include "tests/unit/ipc.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

static uint64_t at(uint32_t addr, uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(addr)}};

	kernel_poke(init, ARG, &a, sizeof(a));
	return ARG;
}

static uint16_t port_of(int64_t s)
{
	struct sockaddr_in a = {0};

	kernel_poke(init, OUT, (uint32_t[1]){sizeof(a)}, 4);
	if (CALL(getsockname, s, ARG, OUT))
		return 0;
	kernel_peek(init, ARG, &a, sizeof(a));
	return ntohs(a.sin_port);
}

#define LEN sizeof(struct sockaddr_in)

static void shut(int64_t fd)
{
	if (fd >= 0)
		IS(CALL(close, fd), 0);
}

/* A connection with some data both ways, as far as it comes. */
static void talk(void)
{
	int64_t l = CALL(socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int64_t c = CALL(socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), s;

	CALL(bind, l, at(INADDR_LOOPBACK, 0), LEN);
	CALL(listen, l, 5);
	CALL(connect, c, at(INADDR_LOOPBACK, port_of(l)), LEN);
	s = CALL(accept4, l, 0, 0, SOCK_NONBLOCK);
	CALL(write, c, BUF, 100);
	CALL(write, c, BUF, 100000);
	CALL(read, s, OUT, 50);
	CALL(read, s, OUT, 0x1000);
	CALL(write, s, BUF, 10);
	CALL(read, c, OUT, 0x1000);
	CALL(shutdown, c, SHUT_WR);
	shut(s);
	shut(c);
	shut(l);
}

static void datagrams(void)
{
	int64_t a = CALL(socket, AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	int64_t b = CALL(socket, AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	int64_t r = CALL(socket, AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_UDP);

	CALL(bind, a, at(INADDR_LOOPBACK, 0), LEN);
	CALL(connect, b, at(INADDR_LOOPBACK, port_of(a)), LEN);
	CALL(sendto, b, BUF, 10, MSG_MORE, 0, 0);
	CALL(write, b, BUF, 10);
	CALL(write, b, BUF, 20000);
	CALL(recvfrom, a, OUT, 0x1000, MSG_PEEK, 0, 0);
	CALL(read, a, OUT, 0x1000);
	CALL(read, r, OUT, 0x1000);
	shut(a);
	CALL(write, b, BUF, 10);
	shut(b);
	shut(r);
}

static void configuration(void)
{
	struct {
		uint32_t len;
		uint16_t type, flags;
		uint32_t seq, port;
		uint8_t family, pad[15];
	} get = {sizeof(get), 18, 0x301, 1, 0, 0, {0}}; /* RTM_GETLINK */
	int64_t n = CALL(socket, AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, 0);

	for (unsigned type = 18; type <= 34; type += 4) {
		get.type = (uint16_t)type;
		kernel_poke(init, BUF, &get, sizeof(get));
		CALL(write, n, BUF, sizeof(get));
		CALL(read, n, OUT, 0x8000);
	}
	shut(n);
}

static const struct {
	const char *what;
	void (*fn)(void);
} acts[] = {{"TCP", talk}, {"datagrams", datagrams}, {"netlink", configuration}};

static void nothing_left(const char *what)
{
	static const char *const slabs[] = {"struct inet_tcp",    "struct inet_dgram", "struct pkt",
					    "struct dgram_error", "struct unix_msg",   "struct membership"};

	for (size_t i = 0; i < ARRAY_SIZE(slabs); i++)
		ck_assert_msg(live_in(slabs[i]) == 0, "%s leaks %zu of %s", what, live_in(slabs[i]), slabs[i]);
}

START_TEST(each_allocation_fails)
{
	init = kernel_boot();
	/* SIGPIPE is ignored. */
	kernel_poke(init, ARG, (uint64_t[4]){1, 0, 0, 0}, 32);
	IS(CALL(rt_sigaction, SIGPIPE, ARG, 0, 8), 0);
	for (unsigned n = 1, left = 0; !left; n++) {
		ck_assert_uint_lt(n, 5000);
		slab_fail_nth(n);
		acts[_i].fn();
		left = slab_fail_nth(0);
		IS(KCALL(init, SYS_getpid), 1);
	}
	acts[_i].fn();
	nothing_left(acts[_i].what);
}
END_TEST

/* What a reader cannot take because its buffer ends stays for the next one. */
START_TEST(faults_lose_nothing)
{
	int64_t l, c, s;
	char text[8] = "";

	init = kernel_boot();
	l = CALL(socket, AF_INET, SOCK_STREAM, 0);
	c = CALL(socket, AF_INET, SOCK_STREAM, 0);
	IS(CALL(bind, l, at(INADDR_LOOPBACK, 0), LEN), 0);
	IS(CALL(listen, l, 5), 0);
	IS(CALL(connect, c, at(INADDR_LOOPBACK, port_of(l)), LEN), 0);
	s = CALL(accept, l, 0, 0);
	IS(put((int)c, "abcdef"), 6);
	IS(CALL(read, s, 8, 6), -EFAULT);
	/* Two segments, of which the second is nowhere. */
	kernel_poke(init, ARG, (uint64_t[4]){OUT, 2, 8, 4}, 32);
	IS(CALL(readv, s, ARG, 2), 2);
	kernel_peek(init, OUT, text, 2);
	ck_assert_str_eq(text, "ab");
	get(s, 6, "cdef");
	shut(s);
	shut(c);
	shut(l);
	nothing_left("a fault");
}
END_TEST

int main(void)
{
	const TTest *const single[] = {faults_lose_nothing, NULL};
	int status = unit_run(__FILE__, single);

	return unit_run_loop(__FILE__, each_allocation_fails, ARRAY_SIZE(acts)) | status;
}
