/* UDP, raw and ping endpoints, and the tables of ports under them. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/dgram.h"
#include "net/stack/route.h"
#include "sentry/base/slab.h"
#include "tests/kernel/netbed.h"

static struct netbed b;
static struct udp_sock u[8];
static unsigned woken;

static void hold(struct wakeup *w __unused)
{
}

static void deliver(struct wakeup *w __unused, uint32_t events __unused)
{
	woken++;
}

static void init(struct udp_sock *x, bool v6)
{
	udp_init(x, v6);
	x->d.wakeup.hold = hold;
	x->d.wakeup.deliver = deliver;
}

static void setup(void)
{
	ck_assert(netbed_init(&b));
	for (unsigned i = 0; i < ARRAY_SIZE(u); i++)
		init(&u[i], i >= 4); /* 0 to 3: IPv4, 4 to 7: IPv6 */
}

static size_t live_total;

static void add_live(const struct slab *s, void *arg __unused)
{
	live_total += s->live;
}

static void finish(void)
{
	stack_enter(b.s);
	for (unsigned i = 0; i < ARRAY_SIZE(u); i++)
		udp_close(b.s, &u[i]);
	stack_leave(b.s);
	netbed_fini(&b);
	live_total = 0;
	slab_for_each(add_live, NULL);
	ck_assert_uint_eq(live_total, 0);
}

static int bind_to(unsigned i, const char *addr, uint16_t port)
{
	struct in6_addr a = netbed_addr(addr);
	int err;

	stack_enter(b.s);
	err = udp_bind(b.s, &u[i], &a, port, 0);
	stack_leave(b.s);
	return err;
}

static int connect_to(unsigned i, const char *addr, uint16_t port)
{
	struct in6_addr a = netbed_addr(addr);
	int err;

	stack_enter(b.s);
	err = udp_connect(b.s, &u[i], &a, port, 0);
	stack_leave(b.s);
	return err;
}

/* addr NULL: to the peer. */
static int send_to(unsigned i, const char *addr, uint16_t port, const char *text)
{
	struct dgram_to to = {.port = port, .ttl = -1, .tos = -1};
	int err;

	if (addr)
		to.addr = netbed_addr(addr);
	stack_enter(b.s);
	err = udp_send(b.s, &u[i], pkt_from(text, strlen(text)), &to);
	stack_leave(b.s);
	return err;
}

/* The next datagram as "source:port text", "" if there is none. */
static const char *receive(unsigned i)
{
	static char line[200];
	char addr[INET6_ADDRSTRLEN], text[100] = "";
	struct pkt *p;

	line[0] = 0;
	stack_enter(b.s);
	p = dgram_take(&u[i].d, false);
	stack_leave(b.s);
	if (!p)
		return line;
	ck_assert(p->len < sizeof(text) && pkt_copy(p, 0, text, p->len));
	inet_ntop(AF_INET6, &p->info.src, addr, sizeof(addr));
	snprintf(line, sizeof(line), "%s:%u %s", addr, p->info.sport, text);
	pkt_free(p);
	return line;
}

static void gets(unsigned i, const char *expected)
{
	ck_assert_str_eq(receive(i), expected);
}

static void comes(const char *src, uint16_t sport, const char *dst, uint16_t dport, const char *text)
{
	netbed_send(&b, &(struct netbed_packet){.src = src,
						.dst = dst,
						.protocol = 17,
						.sport = sport,
						.dport = dport,
						.data = text,
						.size = strlen(text)});
}

START_TEST(loopback)
{
	setup();
	ck_assert_int_eq(bind_to(0, "127.0.0.1", 1000), 0);
	ck_assert_int_eq(bind_to(1, "0.0.0.0", 2000), 0);
	ck_assert_int_eq(send_to(0, "127.0.0.1", 2000, "hello"), 0);
	gets(1, "::ffff:127.0.0.1:1000 hello");
	ck_assert_uint_eq(woken, 1);
	ck_assert_int_eq(send_to(1, "127.0.0.1", 1000, "back"), 0);
	gets(0, "::ffff:127.0.0.1:2000 back");
	ck_assert_int_eq(send_to(1, "10.0.0.1", 1000, "other address"), 0);
	gets(0, "");
	ck_assert_int_eq(bind_to(4, "::", 3000), 0);
	ck_assert_int_eq(send_to(0, "127.0.0.1", 3000, "to both"), 0);
	gets(4, "::ffff:127.0.0.1:1000 to both");
	ck_assert_int_eq(send_to(4, "::1", 3000, "self"), 0);
	gets(4, "::1:3000 self");
	ck_assert_int_eq(send_to(4, "127.0.0.1", 1000, "mapped"), 0);
	gets(0, "::ffff:127.0.0.1:3000 mapped");
	ck_assert_str_eq(netbed_output(&b), "");
	ck_assert_uint_gt(b.s->lo->stats.rx_packets, 4);
	finish();
}
END_TEST

START_TEST(wire)
{
	setup();
	ck_assert_int_eq(bind_to(0, "0.0.0.0", 1000), 0);
	ck_assert_int_eq(send_to(0, "10.0.0.2", 7, "hello"), 0);
	ck_assert_str_eq(netbed_output(&b), "10.0.0.1 > 10.0.0.2: udp 1000 > 7, 5 bytes");
	comes("10.0.0.2", 7, "10.0.0.1", 1000, "answer");
	gets(0, "::ffff:10.0.0.2:7 answer");
	ck_assert_int_eq(bind_to(4, "::", 1001), 0);
	ck_assert_int_eq(send_to(4, "2001:db8::2", 7, "hello"), 0);
	ck_assert_str_eq(netbed_output(&b), "2001:db8::1 > 2001:db8::2: udp 1001 > 7, 5 bytes");
	comes("2001:db8::2", 7, "2001:db8::1", 1001, "answer");
	gets(4, "2001:db8::2:7 answer");
	comes("10.0.0.2", 7, "10.0.0.1", 1001, "mapped");
	gets(4, "::ffff:10.0.0.2:7 mapped");
	/* The socket's options and the message's. */
	u[0].d.ttl = 9;
	ck_assert_int_eq(send_to(0, "10.0.0.2", 7, "near"), 0);
	ck_assert_str_eq(netbed_output(&b), "10.0.0.1 > 10.0.0.2: ttl 9 udp 1000 > 7, 4 bytes");
	u[0].d.ttl = 0;
	ck_assert_int_eq(send_to(0, "10.0.0.255", 7, "all"), -EACCES);
	u[0].d.broadcast = true;
	ck_assert_int_eq(send_to(0, "10.0.0.255", 7, "all"), 0);
	ck_assert_str_eq(netbed_output(&b), "all: 10.0.0.1 > 10.0.0.255: udp 1000 > 7, 3 bytes");
	ck_assert_int_eq(send_to(0, "10.0.0.2", 0, "no port"), -EINVAL);
	ck_assert_int_eq(send_to(0, NULL, 0, "nowhere"), -EDESTADDRREQ);
	ck_assert_int_eq(send_to(0, "2001:db8::2", 7, "other family"), -EAFNOSUPPORT);
	u[4].bind.v6only = true;
	ck_assert_int_eq(send_to(4, "10.0.0.2", 7, "IPv6 only"), -ENETUNREACH);
	finish();
}
END_TEST

START_TEST(connected)
{
	setup();
	ck_assert_int_eq(bind_to(0, "0.0.0.0", 1000), 0);
	u[0].bind.reuse_addr = u[1].bind.reuse_addr = true;
	ck_assert_int_eq(bind_to(1, "0.0.0.0", 1000), 0);
	ck_assert_int_eq(connect_to(0, "10.0.0.2", 7), 0);
	comes("10.0.0.2", 7, "10.0.0.1", 1000, "peer");
	comes("10.0.0.2", 8, "10.0.0.1", 1000, "not peer");
	gets(0, "::ffff:10.0.0.2:7 peer");
	gets(0, "");
	gets(1, "::ffff:10.0.0.2:8 not peer");
	ck_assert_int_eq(send_to(0, NULL, 0, "x"), 0);
	ck_assert_str_eq(netbed_output(&b), "10.0.0.1 > 10.0.0.2: udp 1000 > 7, 1 bytes");
	/* A port by itself. */
	ck_assert_int_eq(connect_to(2, "10.0.0.2", 7), 0);
	ck_assert_uint_ge(u[2].bind.port, 32768);
	ck_assert(addr_is_v4(&u[2].d.local) && !addr_is_any(&u[2].d.local));
	ck_assert_int_eq(connect_to(3, "0.0.0.0", 7), 0); /* this machine */
	ck_assert(addr_is_loopback(&u[3].d.peer));
	/* Nobody is there. */
	ck_assert_int_eq(send_to(3, NULL, 0, "x"), 0);
	ck_assert_int_eq(send_to(3, NULL, 0, "x"), -ECONNREFUSED);
	ck_assert_int_eq(send_to(3, NULL, 0, "x"), 0);
	stack_enter(b.s);
	ck_assert_uint_eq(dgram_poll(&u[3].d) & POLLERR, POLLERR);
	ck_assert_int_eq(dgram_take_error(&u[3].d), -ECONNREFUSED);
	udp_disconnect(b.s, &u[3]);
	stack_leave(b.s);
	ck_assert_uint_eq(u[3].bind.port, 0);
	ck_assert(addr_is_any(&u[3].d.local));
	ck_assert_int_eq(send_to(3, NULL, 0, "x"), -EDESTADDRREQ);
	finish();
}
END_TEST

START_TEST(error_queue)
{
	struct dgram_error *e;

	setup();
	u[0].d.recverr = true;
	ck_assert_int_eq(send_to(0, "127.0.0.1", 77, "lost"), 0);
	stack_enter(b.s);
	e = dgram_take_queued_error(&u[0].d);
	ck_assert_ptr_nonnull(e);
	ck_assert_int_eq(e->e.err, ECONNREFUSED);
	ck_assert_uint_eq(e->e.dport, 77);
	ck_assert_uint_eq(e->e.type, 3);
	ck_assert_uint_eq(e->data->len, 4);
	dgram_error_free(e);
	ck_assert_int_eq(dgram_take_error(&u[0].d), 0);
	ck_assert_ptr_null(dgram_take_queued_error(&u[0].d));
	stack_leave(b.s);
	/* It is bounded. */
	for (unsigned i = 0; i < 200; i++)
		(void)!send_to(0, "127.0.0.1", 77, "lost");
	ck_assert_uint_le(u[0].d.error_count, DGRAM_ERRORS_MAX);
	finish();
}
END_TEST

/* A neighbour that does not answer: the sender hears it from its own stack. */
START_TEST(no_neighbour)
{
	setup();
	u[0].d.recverr = u[4].d.recverr = true;
	ck_assert_int_eq(send_to(0, "10.0.0.77", 7, "x"), 0);
	ck_assert_int_eq(send_to(4, "2001:db8::77", 7, "x"), 0);
	netbed_pass(&b, 4 * NETBED_SECOND);
	ck_assert_int_eq(send_to(0, "10.0.0.77", 7, "x"), -EHOSTUNREACH);
	ck_assert_int_eq(send_to(4, "2001:db8::77", 7, "x"), -EHOSTUNREACH);
	finish();
}
END_TEST

START_TEST(sizes)
{
	static char big[65536];
	struct pkt *p;

	setup();
	memset(big, 'x', sizeof(big) - 1);
	ck_assert_int_eq(bind_to(0, "0.0.0.0", 1000), 0);
	big[65508] = 0;
	ck_assert_int_eq(send_to(0, "127.0.0.1", 1000, big), -EMSGSIZE);
	big[65507] = 0;
	ck_assert_int_eq(send_to(0, "127.0.0.1", 1000, big), 0);
	stack_enter(b.s);
	p = dgram_take(&u[0].d, false);
	stack_leave(b.s);
	ck_assert_uint_eq(p->len, 65507);
	pkt_free(p);
	big[3000] = 0;
	ck_assert_int_eq(send_to(0, "10.0.0.2", 7, big), 0);
	ck_assert_str_eq(netbed_output(&b), "10.0.0.1 > 10.0.0.2: fragment 0+, 1480 bytes");
	ck_assert_str_eq(netbed_output(&b), "10.0.0.1 > 10.0.0.2: fragment 1480+, 1480 bytes");
	ck_assert_str_eq(netbed_output(&b), "10.0.0.1 > 10.0.0.2: fragment 2960, 48 bytes");
	ck_assert_int_eq(send_to(4, "2001:db8::2", 7, big), 0);
	ck_assert_str_eq(netbed_output(&b), "2001:db8::1 > 2001:db8::2: fragment 0+, 1448 bytes");
	netbed_drop_output(&b);
	u[0].d.pmtu = PMTU_DO;
	ck_assert_int_eq(send_to(0, "10.0.0.2", 7, big), -EMSGSIZE);
	big[1472] = 0;
	ck_assert_int_eq(send_to(0, "10.0.0.2", 7, big), 0);
	ck_assert_str_eq(netbed_output(&b), "10.0.0.1 > 10.0.0.2: udp 1000 > 7, 1472 bytes");
	ck_assert_int_eq(send_to(0, "10.0.0.2", 7, ""), 0);
	ck_assert_str_eq(netbed_output(&b), "10.0.0.1 > 10.0.0.2: udp 1000 > 7, 0 bytes");
	finish();
}
END_TEST

START_TEST(bounded)
{
	setup();
	ck_assert_int_eq(bind_to(0, "0.0.0.0", 1000), 0);
	u[0].d.rcvbuf = 10000;
	for (unsigned i = 0; i < 1000; i++)
		comes("10.0.0.2", 7, "10.0.0.1", 1000, "flood");
	ck_assert_uint_le(u[0].d.bytes, 10000);
	ck_assert_uint_gt(u[0].d.drops, 900);
	ck_assert_str_ne(receive(0), "");
	comes("10.0.0.2", 7, "10.0.0.1", 1000, "room");
	ck_assert_uint_le(u[0].d.bytes, 10000);
	finish();
}
END_TEST

/* Binding a second endpoint to the port of a first: addresses, options, whether it works. */
static const struct {
	const char *first, *second;
	bool reuse_addr, reuse_port, only, other_uid;
	int err;
} shares[] = {
    {"0.0.0.0", "0.0.0.0", false, false, false, false, -EADDRINUSE},
    {"0.0.0.0", "127.0.0.1", false, false, false, false, -EADDRINUSE},
    {"10.0.0.1", "127.0.0.1", false, false, false, false, 0},
    {"10.0.0.1", "10.0.0.1", false, false, false, false, -EADDRINUSE},
    {"0.0.0.0", "0.0.0.0", true, false, false, false, 0},
    {"0.0.0.0", "0.0.0.0", false, true, false, false, 0},
    {"0.0.0.0", "0.0.0.0", false, true, false, true, -EADDRINUSE},
    {"::", "0.0.0.0", false, false, false, false, -EADDRINUSE},
    {"::", "10.0.0.1", false, false, false, false, -EADDRINUSE},
    {"::", "0.0.0.0", false, false, true, false, 0},
    {"0.0.0.0", "::", false, false, true, false, 0},
    {"0.0.0.0", "::", false, false, false, false, -EADDRINUSE},
    {"::", "::1", false, false, true, false, -EADDRINUSE},
    {"::1", "0.0.0.0", false, false, false, false, 0},
    {"::1", "2001:db8::1", false, false, false, false, 0},
    {"224.0.0.5", "10.0.0.1", false, false, false, false, 0},
    {"10.0.0.255", "0.0.0.0", false, false, false, false, -EADDRINUSE},
    {"0.0.0.0", "10.0.0.2", false, false, false, false, -EADDRNOTAVAIL},
    {"0.0.0.0", "2001:db8::2", false, false, false, false, -EADDRNOTAVAIL},
};

START_TEST(sharing)
{
	for (unsigned i = 0; i < ARRAY_SIZE(shares); i++) {
		unsigned one = strchr(shares[i].first, ':') ? 4 : 0, two = strchr(shares[i].second, ':') ? 5 : 1;

		setup();
		u[one].bind.reuse_addr = u[two].bind.reuse_addr = shares[i].reuse_addr;
		u[one].bind.reuse_port = u[two].bind.reuse_port = shares[i].reuse_port;
		u[one].bind.v6only = u[two].bind.v6only = shares[i].only;
		u[two].bind.uid = shares[i].other_uid;
		ck_assert_int_eq(bind_to(one, shares[i].first, 1000), 0);
		ck_assert_int_eq(bind_to(one, shares[i].first, 1001), -EINVAL);
		ck_assert_msg(bind_to(two, shares[i].second, 1000) == shares[i].err, "%s and %s", shares[i].first,
			      shares[i].second);
		finish();
	}
}
END_TEST

START_TEST(lookup)
{
	setup();
	for (unsigned i = 0; i < 8; i++)
		u[i].bind.reuse_addr = true;
	ck_assert_int_eq(bind_to(0, "0.0.0.0", 1000), 0);
	ck_assert_int_eq(bind_to(1, "10.0.0.1", 1000), 0);
	ck_assert_int_eq(bind_to(4, "::", 1000), 0);
	comes("10.0.0.2", 7, "10.0.0.1", 1000, "address");
	gets(1, "::ffff:10.0.0.2:7 address");
	ck_assert_int_eq(send_to(2, "127.0.0.1", 1000, "family"), 0);
	ck_assert_str_ne(receive(0), "");
	ck_assert_int_eq(bind_to(3, "0.0.0.0", 1000), 0);
	ck_assert_int_eq(send_to(2, "127.0.0.1", 1000, "last"), 0);
	ck_assert_str_ne(receive(3), "");
	stack_enter(b.s);
	udp_bind_dev(&u[0], LO_INDEX);
	stack_leave(b.s);
	ck_assert_int_eq(send_to(2, "127.0.0.1", 1000, "device"), 0);
	ck_assert_str_ne(receive(0), "");
	comes("10.0.0.2", 7, "10.0.0.1", 1000, "address");
	gets(0, "");
	finish();
}
END_TEST

/* A group of SO_REUSEPORT: each gets some, and a flow always the same. */
START_TEST(spread)
{
	unsigned got[3] = {0};

	setup();
	for (unsigned i = 0; i < 3; i++) {
		u[i].bind.reuse_port = true;
		ck_assert_int_eq(bind_to(i, "0.0.0.0", 1000), 0);
	}
	for (unsigned n = 0; n < 600; n++) {
		unsigned flow = n / 2, who = 3;

		comes("10.0.0.2", (uint16_t)(1 + flow), "10.0.0.1", 1000, "x");
		for (unsigned i = 0; i < 3; i++)
			if (*receive(i)) {
				got[i]++;
				who = i;
			}
		ck_assert_uint_lt(who, 3);
		comes("10.0.0.2", (uint16_t)(1 + flow), "10.0.0.1", 1000, "x");
		ck_assert_str_ne(receive(who), "");
	}
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_gt(got[i], 100);
	finish();
}
END_TEST

START_TEST(multicast)
{
	struct in6_addr g = netbed_addr("224.1.2.3"), g6 = netbed_addr("ff02::77");

	setup();
	for (unsigned i = 0; i < 3; i++) {
		u[i].bind.reuse_addr = true;
		ck_assert_int_eq(bind_to(i, "0.0.0.0", 1000), 0);
	}
	comes("10.0.0.2", 7, "224.1.2.3", 1000, "early");
	gets(0, "");
	stack_enter(b.s);
	ck_assert_int_eq(dgram_join(b.s, &u[0].d, &g, b.dev->index), 0);
	ck_assert_int_eq(dgram_join(b.s, &u[0].d, &g, 0), -EADDRINUSE);
	ck_assert_int_eq(dgram_join(b.s, &u[0].d, &g6, 0), -EINVAL);
	ck_assert_int_eq(dgram_join(b.s, &u[0].d, &g, 99), -ENODEV);
	stack_leave(b.s);
	netbed_drop_output(&b);
	u[2].d.no_mc_all = true;
	comes("10.0.0.2", 7, "224.1.2.3", 1000, "group");
	gets(0, "::ffff:10.0.0.2:7 group");
	gets(1, "::ffff:10.0.0.2:7 group"); /* IP_MULTICAST_ALL */
	gets(2, "");
	/* Sent by ourselves: TTL 1, and back to the members here, unless it is switched off. */
	ck_assert_int_eq(send_to(3, "224.1.2.3", 1000, "own"), 0);
	ck_assert_str_ne(netbed_output(&b), "");
	ck_assert_ptr_nonnull(strstr(b.line, "> 224.1.2.3: ttl 1 udp"));
	ck_assert_ptr_nonnull(strstr(receive(0), "own"));
	u[3].d.no_mc_loop = true;
	ck_assert_int_eq(send_to(3, "224.1.2.3", 1000, "own"), 0);
	netbed_drop_output(&b);
	ck_assert_str_ne(receive(1), "");
	gets(0, "");
	u[3].d.no_mc_loop = false;
	u[3].d.mc_host_only = true;
	ck_assert_int_eq(send_to(3, "224.1.2.3", 1000, "here"), 0);
	ck_assert_str_eq(netbed_output(&b), "");
	ck_assert_str_ne(receive(0), "");
	ck_assert_str_ne(receive(1), "");
	stack_enter(b.s);
	ck_assert_int_eq(dgram_leave(b.s, &u[0].d, &g, 0), 0);
	ck_assert_int_eq(dgram_leave(b.s, &u[0].d, &g, 0), -EADDRNOTAVAIL);
	stack_leave(b.s);
	comes("10.0.0.2", 7, "224.1.2.3", 1000, "late");
	gets(0, "");
	ck_assert_int_eq(bind_to(4, "::", 2000), 0);
	stack_enter(b.s);
	ck_assert_int_eq(dgram_join(b.s, &u[4].d, &g6, 0), 0);
	stack_leave(b.s);
	comes("2001:db8::2", 7, "ff02::77", 2000, "six");
	gets(4, "2001:db8::2:7 six");
	/* Bound to the group, an endpoint gets only that, and sends from an address that exists. */
	ck_assert_int_eq(bind_to(3, "224.1.2.3", 1000), -EINVAL);
	stack_enter(b.s);
	udp_close(b.s, &u[3]);
	stack_leave(b.s);
	init(&u[3], false);
	u[3].bind.reuse_addr = true;
	ck_assert_int_eq(bind_to(3, "10.0.0.255", 1000), 0);
	netbed_drop_output(&b);
	ck_assert_int_eq(send_to(3, "10.0.0.2", 7, "x"), 0);
	ck_assert_str_eq(netbed_output(&b), "10.0.0.1 > 10.0.0.2: udp 1000 > 7, 1 bytes");
	comes("10.0.0.2", 7, "10.0.0.1", 1000, "one");
	gets(3, "");
	ck_assert_str_ne(receive(2), "");
	/* Broadcasts go to all. */
	comes("10.0.0.2", 7, "10.0.0.255", 1000, "all");
	for (unsigned i = 0; i < 4; i++)
		gets(i, "::ffff:10.0.0.2:7 all");
	finish();
}
END_TEST

/* ---- ports ---- */

static bool all_usable(void *arg __unused, uint16_t port __unused)
{
	return true;
}

static bool none_usable(void *arg __unused, uint16_t port __unused)
{
	return false;
}

START_TEST(ephemeral)
{
	static struct port_bind binds[200];
	struct in6_addr peer = netbed_addr("10.0.0.2");
	unsigned distinct = 0;

	setup();
	stack_enter(b.s);
	port_range_set(b.s, 40000, 40099);
	for (unsigned i = 0; i < 200; i++) {
		port_bind_init(&binds[i], PORT_TCP);
		binds[i].addr = netbed_addr("10.0.0.1");
	}
	for (unsigned i = 0; i < 100; i++) {
		ck_assert_int_eq(port_bind(b.s, &binds[i], 0), 0);
		ck_assert(binds[i].port >= 40000 && binds[i].port <= 40099);
	}
	ck_assert_int_eq(port_bind(b.s, &binds[100], 0), -EADDRINUSE);
	ck_assert_int_eq(port_connect(b.s, &binds[100], &peer, 80, all_usable, NULL), -EADDRNOTAVAIL);
	for (unsigned i = 0; i < 100; i++)
		port_unbind(b.s, &binds[i]);
	/* Automatic ports may be shared, if the connection is another one. */
	for (unsigned i = 0; i < 200; i++)
		ck_assert_int_eq(port_connect(b.s, &binds[i], &peer, (uint16_t)i, all_usable, NULL), 0);
	for (unsigned i = 1; i < 200; i++)
		distinct += binds[i].port != binds[i - 1].port + 1;
	ck_assert_uint_gt(distinct, 150); /* not one after the other */
	port_unbind(b.s, &binds[0]);
	for (unsigned i = 0; i < 200; i++)
		port_unbind(b.s, &binds[i]);
	ck_assert_int_eq(port_connect(b.s, &binds[0], &peer, 1, all_usable, NULL), 0);
	port_range_set(b.s, binds[0].port, binds[0].port);
	ck_assert_int_eq(port_connect(b.s, &binds[1], &peer, 1, none_usable, NULL), -EADDRNOTAVAIL);
	for (unsigned i = 0; i < 200; i++)
		port_unbind(b.s, &binds[i]);
	stack_leave(b.s);
	finish();
}
END_TEST

/* All ports but one are taken, then all. */
START_TEST(exhausted)
{
	static struct port_bind binds[1000], last, other;

	setup();
	stack_enter(b.s);
	port_range_set(b.s, 20000, 20999);
	for (unsigned i = 0; i < ARRAY_SIZE(binds); i++) {
		port_bind_init(&binds[i], PORT_UDP);
		binds[i].addr = netbed_addr("127.0.0.1");
		ck_assert_int_eq(port_bind(b.s, &binds[i], 0), 0);
	}
	port_bind_init(&last, PORT_UDP);
	port_bind_init(&other, PORT_UDP);
	last.addr = netbed_addr("0.0.0.0");
	ck_assert_int_eq(port_bind(b.s, &last, 0), -EADDRINUSE);
	ck_assert_int_eq(port_connect(b.s, &last, &last.addr, 1, none_usable, NULL), -EADDRNOTAVAIL);
	other.addr = netbed_addr("127.0.0.2");
	ck_assert_int_eq(port_bind(b.s, &other, 0), 0); /* shares one */
	port_unbind(b.s, &binds[777]);
	if (other.port != binds[777].port)
		port_unbind(b.s, &other);
	port_unbind(b.s, &other);
	ck_assert_int_eq(port_bind(b.s, &last, 0), 0);
	port_unbind(b.s, &last);
	for (unsigned i = 0; i < ARRAY_SIZE(binds); i++)
		port_unbind(b.s, &binds[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(b.s->ports); i++)
		ck_assert_ptr_null(b.s->ports[i]);
	stack_leave(b.s);
	finish();
}
END_TEST

/* Many share a port; one who does not, or does no more, is noticed. */
START_TEST(shared)
{
	static struct port_bind binds[100], x;

	setup();
	stack_enter(b.s);
	for (unsigned i = 0; i < ARRAY_SIZE(binds); i++) {
		port_bind_init(&binds[i], PORT_UDP);
		binds[i].addr = netbed_addr("0.0.0.0");
		binds[i].reuse_port = binds[i].reuse_addr = true;
		ck_assert_int_eq(port_bind(b.s, &binds[i], 99), 0);
	}
	port_bind_init(&x, PORT_UDP);
	x.addr = netbed_addr("10.0.0.1");
	ck_assert_int_eq(port_bind(b.s, &x, 99), -EADDRINUSE);
	x.reuse_addr = true;
	ck_assert_int_eq(port_bind(b.s, &x, 99), 0);
	port_unbind(b.s, &x);
	binds[50].reuse_addr = false;
	port_refresh(&binds[50]);
	ck_assert_int_eq(port_bind(b.s, &x, 99), -EADDRINUSE);
	x.reuse_addr = false;
	x.reuse_port = true;
	x.uid = 1;
	ck_assert_int_eq(port_bind(b.s, &x, 99), -EADDRINUSE);
	x.uid = 0;
	ck_assert_int_eq(port_bind(b.s, &x, 99), 0);
	port_unbind(b.s, &binds[50]);
	x.reuse_addr = true;
	port_refresh(&x);
	binds[50].reuse_addr = true;
	binds[50].reuse_port = false;
	ck_assert_int_eq(port_bind(b.s, &binds[50], 99), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(binds); i++)
		port_unbind(b.s, &binds[i]);
	port_unbind(b.s, &x);
	stack_leave(b.s);
	finish();
}
END_TEST

START_TEST(listeners)
{
	static struct port_bind l, m, child, tw;
	struct in6_addr any = netbed_addr("0.0.0.0"), mine = netbed_addr("10.0.0.1"), peer = netbed_addr("10.0.0.2");

	setup();
	port_bind_init(&l, PORT_TCP);
	port_bind_init(&m, PORT_TCP);
	port_bind_init(&child, PORT_TCP);
	port_bind_init(&tw, PORT_TCP);
	l.addr = m.addr = any;
	child.addr = tw.addr = mine;
	l.reuse_addr = m.reuse_addr = child.reuse_addr = tw.reuse_addr = true;
	stack_enter(b.s);
	ck_assert_int_eq(port_bind(b.s, &l, 80), 0);
	ck_assert_ptr_null(port_lookup(b.s, PORT_TCP, &mine, 80, &peer, 9, 2, 0));
	ck_assert_int_eq(port_bind(b.s, &m, 80), 0); /* neither listens yet */
	ck_assert_int_eq(port_listen(b.s, &l), 0);
	ck_assert_int_eq(port_listen(b.s, &m), -EADDRINUSE);
	ck_assert_ptr_eq(port_lookup(b.s, PORT_TCP, &mine, 80, &peer, 9, 2, 0), &l);
	port_unbind(b.s, &m);
	ck_assert_int_eq(port_bind(b.s, &m, 80), -EADDRINUSE);
	port_inherit(b.s, &child, &l);
	ck_assert_ptr_eq(port_lookup(b.s, PORT_TCP, &mine, 80, &peer, 9, 2, 0), &l);
	port_unlisten(b.s, &l);
	port_unbind(b.s, &l);
	ck_assert_ptr_null(port_lookup(b.s, PORT_TCP, &mine, 80, &peer, 9, 2, 0));
	/* A server that starts again while a connection of the last one waits. */
	port_inherit(b.s, &tw, &child);
	port_unbind(b.s, &child);
	m.reuse_addr = false;
	ck_assert_int_eq(port_bind(b.s, &m, 80), -EADDRINUSE);
	m.reuse_addr = true;
	ck_assert_int_eq(port_bind(b.s, &m, 80), 0);
	ck_assert_int_eq(port_listen(b.s, &m), 0);
	port_unbind(b.s, &tw);
	port_unbind(b.s, &m);
	stack_leave(b.s);
	finish();
}
END_TEST

/* ---- raw and ping ---- */

START_TEST(raw)
{
	static struct raw_sock r, r6;
	struct dgram_to to = {.addr = netbed_addr("10.0.0.2"), .ttl = -1, .tos = -1};
	static const uint8_t header[28] = {0x45, 0, 0, 0, 0, 0, 0, 0, 33, 200, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2};
	struct pkt *p;

	setup();
	stack_enter(b.s);
	raw_open(b.s, &r, false, 200);
	raw_open(b.s, &r6, true, 58);
	r.d.wakeup = r6.d.wakeup = u[0].d.wakeup;
	list_init(&r.d.wakeup.link);
	list_init(&r6.d.wakeup.link);
	r6.filter[128 / 32] = 1u << (128 % 32); /* no echo requests */
	stack_leave(b.s);
	netbed_send(&b, &(struct netbed_packet){
			    .src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 200, .bare = true, .size = 5});
	ck_assert_str_eq(netbed_output(&b), ""); /* somebody knows the protocol */
	netbed_send(&b,
		    &(struct netbed_packet){.src = "2001:db8::2", .dst = "2001:db8::1", .protocol = 58, .type = 128});
	netbed_send(&b, &(struct netbed_packet){
			    .src = "2001:db8::2", .dst = "2001:db8::1", .protocol = 58, .type = 129, .bad_sum = true});
	netbed_send(&b,
		    &(struct netbed_packet){.src = "2001:db8::2", .dst = "2001:db8::1", .protocol = 58, .type = 129});
	netbed_drop_output(&b);
	stack_enter(b.s);
	p = dgram_take(&r.d, false);
	ck_assert_uint_eq(p->len, 25); /* with the IP header */
	pkt_free(p);
	p = dgram_take(&r6.d, false);
	ck_assert_uint_eq(p->len, 8);
	pkt_free(p);
	ck_assert_ptr_null(dgram_take(&r6.d, false));
	ck_assert_int_eq(raw_send(b.s, &r, pkt_from("abc", 3), &to), 0);
	r.header_included = true;
	ck_assert_int_eq(raw_send(b.s, &r, pkt_from("abc", 3), &to), -EINVAL);
	ck_assert_int_eq(raw_send(b.s, &r, pkt_from(header, sizeof(header)), &to), 0);
	to.addr = netbed_addr("2001:db8::2");
	ck_assert_int_eq(raw_send(b.s, &r6, pkt_from("\x80\0..1234", 8), &to), 0);
	ck_assert_int_eq(raw_send(b.s, &r6, pkt_from("\x80\0", 2), &to), -EINVAL);
	stack_leave(b.s);
	ck_assert_str_eq(netbed_output(&b), "10.0.0.1 > 10.0.0.2: protocol 200, 3 bytes");
	ck_assert_str_eq(netbed_output(&b), "10.0.0.1 > 10.0.0.2: ttl 33 protocol 200, 8 bytes");
	ck_assert_str_eq(netbed_output(&b), "2001:db8::1 > 2001:db8::2: icmp6 128/0 12594.13108, 0 bytes");
	stack_enter(b.s);
	raw_close(b.s, &r);
	raw_close(b.s, &r6);
	stack_leave(b.s);
	finish();
}
END_TEST

START_TEST(pings)
{
	static struct ping_sock g;
	struct dgram_to to = {.addr = netbed_addr("10.0.0.2"), .ttl = -1, .tos = -1};
	struct in6_addr any = netbed_addr("0.0.0.0");
	struct pkt *p;

	setup();
	ping_init(&g, false);
	g.d.wakeup.hold = hold;
	g.d.wakeup.deliver = deliver;
	stack_enter(b.s);
	ck_assert_int_eq(ping_bind(b.s, &g, &any, 0x1234, 0), 0);
	ck_assert_int_eq(ping_send(b.s, &g, pkt_from("\x08\0\0\0\0\0\0\x05hi", 10), &to), 0);
	ck_assert_int_eq(ping_send(b.s, &g, pkt_from("\x00\0\0\0\0\0\0\x05hi", 10), &to), -EINVAL);
	ck_assert_int_eq(ping_send(b.s, &g, pkt_from("\x08", 1), &to), -EINVAL);
	stack_leave(b.s);
	ck_assert_str_eq(netbed_output(&b), "10.0.0.1 > 10.0.0.2: icmp 8/0 4660.5, 2 bytes");
	netbed_send(&b, &(struct netbed_packet){
			    .src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 1, .sport = 0x1234, .dport = 5});
	netbed_send(&b, &(struct netbed_packet){
			    .src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 1, .sport = 0x1235, .dport = 5});
	stack_enter(b.s);
	p = dgram_take(&g.d, false);
	ck_assert_ptr_nonnull(p);
	pkt_free(p);
	ck_assert_ptr_null(dgram_take(&g.d, false));
	to.addr = netbed_addr("127.0.0.1");
	ck_assert_int_eq(ping_send(b.s, &g, pkt_from("\x08\0\0\0\0\0\0\x05hi", 10), &to), 0);
	stack_leave(b.s);
	stack_enter(b.s);
	p = dgram_take(&g.d, false);
	ck_assert_uint_eq(p->len, 10);
	pkt_free(p);
	ping_close(b.s, &g);
	stack_leave(b.s);
	finish();
}
END_TEST

static int make(void *arg __unused)
{
	struct in6_addr g = netbed_addr("224.1.2.3"), any = netbed_addr("0.0.0.0");
	struct dgram_to to = {.addr = netbed_addr("127.0.0.1"), .port = 1000, .ttl = -1, .tos = -1};
	struct pkt *p;
	int err;

	stack_enter(b.s);
	init(&u[0], false);
	err = udp_bind(b.s, &u[0], &any, 1000, 0);
	err = err ? err : dgram_join(b.s, &u[0].d, &g, b.dev->index);
	if (!err) {
		p = pkt_from("x", 1);
		err = p ? udp_send(b.s, &u[0], p, &to) : -ENOMEM;
	}
	udp_close(b.s, &u[0]);
	stack_leave(b.s);
	netbed_drop_output(&b);
	return err;
}

START_TEST(no_memory)
{
	setup();
	unit_each_allocation_fails(make, NULL);
	finish();
}
END_TEST

UNIT_MAIN(loopback, wire, connected, error_queue, no_neighbour, sizes, bounded, sharing, lookup, spread, multicast,
	  ephemeral, exhausted, shared, listeners, raw, pings, no_memory)
