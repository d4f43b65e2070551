/*
 * The gateway's resolver: clients are endpoints of its own stack, the host's resolvers are sockets of this test on the host's loopback interface,
 * which the test answers by hand.
 */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/nat/dns_priv.h"
#include "net/nat/egress.h"
#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/netdev.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"
#include "tests/kernel/netbed.h"

#define ID 0x4242

static struct stack *s;
static struct dns *dns;
static struct udp_sock client;
static _Atomic int64_t wish = INT64_MAX;
static int server[2], listener; /* of the host; the listener has server[0]'s port */
static uint8_t m[2048], got[2048];

static int64_t now(void *arg __unused)
{
	return clock_now(CLOCK_MONOTONIC);
}

static void random_bytes(void *arg __unused, void *to, size_t n)
{
	ck_assert_int_eq(getrandom(to, n, 0), (ssize_t)n);
}

static void wake_at(void *arg __unused, int64_t deadline)
{
	__atomic_store_n((int64_t *)&wish, deadline, __ATOMIC_RELAXED);
}

static void hold(struct wakeup *w __unused)
{
}

static void deliver(struct wakeup *w __unused, uint32_t events __unused)
{
}

static void pump(void)
{
	if (__atomic_load_n((int64_t *)&wish, __ATOMIC_RELAXED) <= now(NULL))
		stack_run(s);
	usleep(500);
}

static int host_socket(int type, uint16_t *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(*port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct timeval patience = {.tv_sec = 5};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, type, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*port = ntohs(sa.sin_port);
	return fd;
}

static void open_servers(struct dns_config *c)
{
	for (unsigned i = 0; i < 2; i++) {
		uint16_t port = 0;

		server[i] = host_socket(SOCK_DGRAM, &port);
		c->servers[i] = (struct dns_server){.addr = netbed_addr("127.0.0.1"), .port = port};
	}
	listener = host_socket(SOCK_STREAM, &c->servers[0].port);
	ck_assert_int_eq(listen(listener, 16), 0);
	c->server_count = 2;
}

static void setup(struct policy *policy, unsigned servers)
{
	const struct stack_env env = {.now = now, .random = random_bytes, .wake_at = wake_at};
	struct dns_config c = {.timeout = 30, .attempts = 1};
	struct in6_addr lo = netbed_addr("127.0.0.1");

	open_servers(&c);
	c.server_count = servers;
	s = stack_create(&env);
	dns = dns_create(s, &c, policy);
	udp_init(&client, false);
	client.d.wakeup.hold = hold;
	client.d.wakeup.deliver = deliver;
	client.d.rcvbuf = 1 << 20;
	stack_enter(s);
	ck_assert_int_eq(netdev_set_flags(s, netdev_by_index(s, LO_INDEX), IFF_UP, IFF_UP), 0);
	ck_assert_int_eq(dns_listen(dns, &lo), 0);
	ck_assert_int_eq(udp_connect(s, &client, &lo, DNS_PORT, 0), 0);
	stack_leave(s);
}

/* A query for a name of one label below "example", into m. */
static size_t query(unsigned id, const char *label, unsigned type)
{
	const uint8_t head[] = {(uint8_t)(id >> 8), (uint8_t)id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, (uint8_t)strlen(label)};
	const uint8_t end[] = {7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 0, 0, (uint8_t)type, 0, 1};
	size_t n = sizeof(head) + strlen(label);

	memcpy(m, head, sizeof(head));
	memcpy(m + sizeof(head), label, strlen(label));
	memcpy(m + n, end, sizeof(end));
	return n + sizeof(end);
}

static void ask(unsigned id, const char *label)
{
	size_t n = query(id, label, DNS_A);
	struct dgram_to to = {.ttl = -1, .tos = -1};
	struct pkt *p = pkt_from(m, n);

	stack_enter(s);
	ck_assert_int_eq(udp_send(s, &client, p, &to), 0);
	stack_leave(s);
}

/* What the server has got, into got; from where. */
static size_t served(int fd, struct sockaddr_in *from)
{
	socklen_t len = sizeof(*from);
	ssize_t n;

	for (int tries = 0; tries < 10000; tries++) {
		n = recvfrom(fd, got, sizeof(got), MSG_DONTWAIT, (struct sockaddr *)from, &len);
		if (n > 0)
			return (size_t)n;
		pump();
	}
	ck_abort_msg("the server was not asked");
}

static bool nothing_served(int fd)
{
	for (int i = 0; i < 40; i++)
		pump();
	return recv(fd, m, sizeof(m), MSG_DONTWAIT) < 0;
}

/* Makes of got, n bytes, an answer with an address. */
static size_t answer(size_t n, unsigned rcode, const char *addr)
{
	const uint8_t record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4};
	struct in6_addr a = netbed_addr(addr);

	got[2] |= 0x80;
	got[3] = (uint8_t)(0x80 | rcode);
	if (rcode)
		return n;
	got[7] = 1;
	memcpy(got + n, record, sizeof(record));
	memcpy(got + n + sizeof(record), a.s6_addr + 12, 4);
	return n + sizeof(record) + 4;
}

static void reply(int fd, const struct sockaddr_in *to, size_t n)
{
	ck_assert_int_eq(sendto(fd, got, n, 0, (const struct sockaddr *)to, sizeof(*to)), (ssize_t)n);
}

static struct pkt *take_packet(void)
{
	struct pkt *p;

	stack_enter(s);
	p = dgram_take(&client.d, false);
	stack_leave(s);
	return p;
}

/* What the client gets, into m; 0: nothing for a while. */
static size_t answered(int seconds)
{
	for (int tries = 0; tries < seconds * 1500; tries++) {
		struct pkt *p = take_packet();

		if (p) {
			size_t n = p->len;

			ck_assert(pkt_copy(p, 0, m, n));
			pkt_free(p);
			return n;
		}
		pump();
	}
	return 0;
}

static unsigned pending(void)
{
	unsigned n;

	stack_enter(s);
	n = dns->count;
	stack_leave(s);
	return n;
}

START_TEST(passes_on)
{
	struct sockaddr_in from;
	size_t n, size;

	setup(NULL, 1);
	ask(ID, "a");
	n = served(server[0], &from);
	size = answer(n, 0, "192.0.2.1");
	/* The wrong identifier, the wrong question, the wrong peer: no answers. */
	got[0] ^= 1;
	reply(server[0], &from, size);
	got[0] ^= 1;
	got[13] = 'b';
	reply(server[0], &from, size);
	got[13] = 'a';
	reply(server[1], &from, size);
	ck_assert_uint_eq(answered(0), 0);
	for (int i = 0; i < 50; i++)
		pump();
	ck_assert_ptr_null(take_packet());
	reply(server[0], &from, size);
	ck_assert_uint_eq(answered(5), size);
	ck_assert(m[0] == ID >> 8 && m[1] == (ID & 255));
	ck_assert_int_eq(memcmp(m + 2, got + 2, size - 2), 0);
	ck_assert_uint_eq(pending(), 0);
}
END_TEST

START_TEST(identifiers_and_ports_differ)
{
	struct sockaddr_in from, other;
	unsigned ids = 0, ports = 0, last = ID;

	setup(NULL, 1);
	for (unsigned i = 0; i < 20; i++) {
		ask(i, "a");
		served(server[0], &from);
		ids += (got[0] << 8 | got[1]) != (int)last;
		ports += i == 0 || from.sin_port != other.sin_port;
		last = got[0] << 8 | got[1];
		other = from;
	}
	ck_assert_uint_gt(ids, 15);
	ck_assert_uint_eq(ports, 20);
}
END_TEST

START_TEST(the_next_server)
{
	struct sockaddr_in from;
	size_t n;

	setup(NULL, 2);
	/* Nobody is at the port. */
	close(server[0]);
	ask(ID, "a");
	n = served(server[1], &from);
	reply(server[1], &from, answer(n, 0, "192.0.2.1"));
	ck_assert_uint_ne(answered(5), 0);
	ck_assert_uint_eq(m[3] & 15, DNS_NOERROR);
}
END_TEST

START_TEST(servers_that_cannot)
{
	static const unsigned codes[] = {DNS_SERVFAIL, DNS_NOTIMP, DNS_REFUSED};
	struct sockaddr_in from;
	size_t n;

	setup(NULL, 2);
	n = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		ask(ID, "a");
		n = served(server[0], &from);
		reply(server[0], &from, answer(n, codes[i], "::"));
		n = served(server[1], &from);
		reply(server[1], &from, answer(n, codes[i], "::"));
		ck_assert_uint_eq(answered(5), n);
		ck_assert_uint_eq(m[3] & 15, codes[i]);
	}
	/* A name that does not exist does not exist elsewhere. */
	ask(ID, "a");
	n = served(server[0], &from);
	reply(server[0], &from, answer(n, DNS_NXDOMAIN, "::"));
	ck_assert_uint_eq(answered(5), n);
	ck_assert(nothing_served(server[1]));
}
END_TEST

START_TEST(silence)
{
	struct sockaddr_in from;
	int64_t start;

	setup(NULL, 2);
	start = now(NULL);
	ask(ID, "a");
	served(server[0], &from);
	served(server[1], &from);
	ck_assert_uint_ne(answered(15), 0);
	ck_assert_uint_eq(m[3] & 15, DNS_SERVFAIL);
	ck_assert_int_gt(now(NULL) - start, 3900 * NSEC_PER_MSEC); /* two seconds each, whatever resolv.conf says */
	ck_assert_uint_eq(pending(), 0);
	/* An answer that comes too late finds nobody. */
	reply(server[1], &from, answer(28, 0, "192.0.2.1"));
	ck_assert_uint_eq(answered(0), 0);
}
END_TEST

START_TEST(asked_twice)
{
	struct sockaddr_in from;
	size_t n;

	setup(NULL, 1);
	ask(ID, "a");
	ask(ID, "a");
	n = served(server[0], &from);
	ck_assert(nothing_served(server[0]));
	reply(server[0], &from, answer(n, 0, "192.0.2.1"));
	ck_assert_uint_ne(answered(5), 0);
	for (int i = 0; i < 20; i++)
		pump();
	ck_assert_ptr_null(take_packet());
}
END_TEST

START_TEST(too_many)
{
	unsigned refused = 0;
	struct pkt *p;

	setup(NULL, 1);
	for (unsigned i = 0; i < DNS_QUESTIONS_MAX + 20; i++)
		ask(i, "a");
	ck_assert_uint_eq(pending(), DNS_QUESTIONS_MAX);
	while ((p = take_packet())) {
		ck_assert(pkt_copy(p, 0, m, 4));
		refused += (m[3] & 15) == DNS_SERVFAIL;
		pkt_free(p);
	}
	ck_assert_uint_eq(refused, 20);
}
END_TEST

START_TEST(guessing)
{
	struct sockaddr_in from;
	size_t n;

	setup(NULL, 1);
	ask(ID, "a");
	n = answer(served(server[0], &from), 0, "192.0.2.1");
	got[0] ^= 1;
	for (int i = 0; i < 64; i++)
		reply(server[0], &from, n);
	got[0] ^= 1;
	reply(server[0], &from, n);
	ck_assert_uint_ne(answered(5), 0);
	ck_assert_uint_eq(m[3] & 15, DNS_SERVFAIL);
}
END_TEST

/* Each allocation fails once: something is lost, nothing else. */
START_TEST(without_memory)
{
	unsigned nth = 0, left;

	setup(NULL, 1);
	do {
		size_t n = query(nth, "a", DNS_A);
		struct dgram_to to = {.ttl = -1, .tos = -1};
		struct pkt *p = pkt_from(m, n);

		slab_fail_nth(++nth);
		stack_enter(s);
		(void)!udp_send(s, &client, p, &to);
		stack_leave(s);
		left = slab_fail_nth(0);
		while ((p = take_packet()))
			pkt_free(p);
	} while (!left && nth < 30);
	ck_assert_uint_gt(nth, 2);
	ck_assert_uint_lt(nth, 30);
	ck_assert_uint_gt(pending(), 0);
}
END_TEST

START_TEST(no_servers)
{
	setup(NULL, 0);
	ask(ID, "a");
	ck_assert_uint_ne(answered(5), 0);
	ck_assert_uint_eq(m[3] & 15, DNS_SERVFAIL);
	ask(ID, "localhost");
	ck_assert_uint_ne(answered(5), 0);
	ck_assert_uint_eq(m[3] & 15, DNS_SERVFAIL); /* localhost.example is none */
}
END_TEST

START_TEST(with_a_policy)
{
	struct rule rule;
	struct policy_config c = {.rules = &rule, .rule_count = 1};
	struct nat_flow f = {.protocol = IPPROTO_TCP, .dst = netbed_addr("192.0.2.1"), .dport = 80};
	struct policy *p;
	struct sockaddr_in from;
	size_t n;

	ck_assert_ptr_null(rule_parse("a.example", 9, &rule));
	p = policy_create(&c);
	setup(p, 1);
	ask(ID, "b");
	ck_assert_uint_ne(answered(5), 0);
	ck_assert_uint_eq(m[3] & 15, DNS_NXDOMAIN);
	ck_assert(nothing_served(server[0]));
	ask(ID, "A");
	n = served(server[0], &from);
	reply(server[0], &from, answer(n, 0, "10.0.0.1"));
	ck_assert_uint_ne(answered(5), 0);
	ck_assert(m[3] == 0x80 && m[7] == 0);
	ask(ID, "A");
	n = served(server[0], &from);
	reply(server[0], &from, answer(n, 0, "192.0.2.1"));
	ck_assert_uint_ne(answered(5), 0);
	ck_assert(m[3] == 0x80 && m[7] == 1);
	stack_enter(s);
	ck_assert_int_eq(policy_flow(p, &f), NAT_LOOK);
	f.dst = netbed_addr("10.0.0.1");
	ck_assert_int_eq(policy_flow(p, &f), NAT_REFUSE);
	stack_leave(s);
}
END_TEST

/* ---- TCP ---- */

static struct tcp_sock *tcp_open_to(int want)
{
	struct in6_addr lo = netbed_addr("127.0.0.1");
	struct tcp_sock *tp;

	stack_enter(s);
	tp = tcp_create(s, false);
	ck_assert_int_eq(tcp_connect(tp, &lo, DNS_PORT), -EINPROGRESS);
	stack_leave(s);
	stack_enter(s);
	ck_assert_int_eq(tcp_connect(tp, &lo, DNS_PORT), want);
	stack_leave(s);
	return tp;
}

static struct tcp_sock *tcp_open(void)
{
	return tcp_open_to(0);
}

static void tcp_write(struct tcp_sock *tp, const void *data, size_t n)
{
	struct buf *b = buf_create((uint32_t)n);
	struct slice slice = {b, 0, (uint32_t)n};

	memcpy(b->data, data, n);
	b->used = (uint32_t)n;
	stack_enter(s);
	ck_assert_int_eq(tcp_send(tp, &slice, 1, 0), (ssize_t)n);
	stack_leave(s);
}

/* Bytes; 0: the end, or an error. */
static size_t tcp_read(struct tcp_sock *tp, uint8_t *to, size_t size)
{
	for (int tries = 0; tries < 10000; tries++) {
		struct slice slice;
		unsigned count = 1;
		ssize_t n;

		stack_enter(s);
		n = tcp_recv(tp, &slice, &count, size, 0, 0);
		stack_leave(s);
		if (n > 0) {
			memcpy(to, slice.buf->data + slice.off, slice.len);
			buf_put(slice.buf);
			return (size_t)n;
		}
		if (n != -EAGAIN)
			return 0;
		pump();
	}
	return 0;
}

static size_t tcp_read_all(struct tcp_sock *tp, uint8_t *to, size_t size)
{
	size_t have = 0, n;

	while (have < size && (n = tcp_read(tp, to + have, size - have)))
		have += n;
	return have;
}

/* By a reset. */
static void tcp_end(struct tcp_sock *tp)
{
	stack_enter(s);
	tcp_close(tp, true);
	tcp_release(tp);
	stack_leave(s);
}

static size_t with_length(uint8_t *to, unsigned id, const char *label)
{
	size_t n = query(id, label, DNS_A);

	to[0] = (uint8_t)(n >> 8);
	to[1] = (uint8_t)n;
	memcpy(to + 2, m, n);
	return n + 2;
}

/* The host's resolver takes a question by TCP into got. */
static size_t accept_one(int *ret_fd)
{
	struct pollfd pfd = {.fd = listener, .events = POLLIN};
	uint8_t length[2];

	for (int i = 0; i < 5000 && poll(&pfd, 1, 0) == 0; i++)
		pump();
	*ret_fd = accept(listener, NULL, NULL);
	ck_assert_int_ge(*ret_fd, 0);
	ck_assert_int_eq(recv(*ret_fd, length, 2, MSG_WAITALL), 2);
	ck_assert_int_eq(recv(*ret_fd, got, length[0] << 8 | length[1], MSG_WAITALL), length[0] << 8 | length[1]);
	return (size_t)length[0] << 8 | length[1];
}

static void reply_in_pieces(int fd, size_t n)
{
	uint8_t all[600] = {(uint8_t)(n >> 8), (uint8_t)n};

	memcpy(all + 2, got, n);
	for (size_t i = 0; i < n + 2; i += 7) {
		ck_assert_int_gt(send(fd, all + i, MIN(n + 2 - i, 7u), 0), 0);
		pump();
	}
	close(fd);
}

START_TEST(by_tcp)
{
	uint8_t all[300], back[300];
	size_t n = 0, each;
	struct tcp_sock *tp;
	int fd[3];

	setup(NULL, 1);
	tp = tcp_open();
	for (unsigned i = 0; i < 3; i++)
		n += with_length(all + n, i, "a");
	/* Cut anywhere. */
	for (size_t i = 0; i < n; i += 11)
		tcp_write(tp, all + i, MIN(n - i, 11u));
	for (int i = 0; i < 3; i++)
		each = accept_one(&fd[i]);
	ck_assert_uint_eq(pending(), 3);
	for (int i = 2; i >= 0; i--) {
		size_t size = answer(each, 0, "192.0.2.1");
		uint8_t old = got[0];

		/* Each connection knows its own identifier only: the wrong one ends it. */
		reply_in_pieces(fd[i], size);
		got[0] = old;
		if (i == 2)
			break;
	}
	ck_assert_uint_eq(tcp_read_all(tp, back, each + 16 + 2), each + 16 + 2);
	ck_assert(back[2] == 0 && back[3] == 2 && back[9] == 1);
	/* The others are given up when the client goes. */
	tcp_end(tp);
	for (int i = 0; i < 2000 && pending(); i++)
		pump();
	ck_assert_uint_eq(pending(), 0);
	close(fd[0]);
	close(fd[1]);
}
END_TEST

START_TEST(tcp_waits_its_turn)
{
	uint8_t all[2000];
	size_t n = 0;
	struct tcp_sock *tp;

	setup(NULL, 1);
	tp = tcp_open();
	for (unsigned i = 0; i < DNS_CONN_QUESTIONS_MAX + 10; i++)
		n += with_length(all + n, i, "a");
	tcp_write(tp, all, n);
	ck_assert_uint_eq(pending(), DNS_CONN_QUESTIONS_MAX);
	tcp_end(tp);
	for (int i = 0; i < 2000 && pending(); i++)
		pump();
	ck_assert_uint_eq(pending(), 0);
}
END_TEST

START_TEST(tcp_nonsense)
{
	static const uint8_t shorter[] = {0, 3, 1, 2, 3}, longer[] = {0xff, 0xff, 1};
	uint8_t back[10];
	struct tcp_sock *tp;

	setup(NULL, 1);
	tp = tcp_open();
	tcp_write(tp, shorter, sizeof(shorter));
	ck_assert_uint_eq(tcp_read(tp, back, 10), 0);
	tcp_end(tp);
	tp = tcp_open();
	tcp_write(tp, longer, sizeof(longer));
	ck_assert_uint_eq(tcp_read(tp, back, 10), 0);
	tcp_end(tp);
	ck_assert_uint_eq(dns->conn_count, 0);
}
END_TEST

START_TEST(tcp_refused_upstream)
{
	uint8_t all[300], back[300];
	struct tcp_sock *tp;
	size_t n;

	setup(NULL, 1);
	close(listener);
	tp = tcp_open();
	n = with_length(all, ID, "a");
	tcp_write(tp, all, n);
	ck_assert_uint_eq(tcp_read_all(tp, back, n), n);
	ck_assert_uint_eq(back[5] & 15, DNS_SERVFAIL);
	tcp_end(tp);
}
END_TEST

START_TEST(tcp_many)
{
	struct tcp_sock *tp[DNS_CONNS_MAX + 3];

	setup(NULL, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(tp); i++)
		tp[i] = tcp_open_to(i < DNS_CONNS_MAX ? 0 : -ECONNRESET);
	ck_assert_uint_eq(dns->conn_count, DNS_CONNS_MAX);
	for (unsigned i = 0; i < ARRAY_SIZE(tp); i++)
		tcp_end(tp[i]);
	for (int i = 0; i < 1000 && dns->conn_count; i++)
		pump();
	ck_assert_uint_eq(dns->conn_count, 0);
}
END_TEST

UNIT_MAIN(passes_on, identifiers_and_ports_differ, the_next_server, servers_that_cannot, silence, asked_twice, too_many,
	  guessing, without_memory, no_servers, with_a_policy, by_tcp, tcp_waits_its_turn, tcp_nonsense,
	  tcp_refused_upstream, tcp_many)
