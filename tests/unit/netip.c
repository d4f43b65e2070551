/* IPv4, IPv6 and ICMP: packets in, packets expected out; hostile packets leave nothing behind. */
#include "tests/unit/unit.h"

#include <linux/rtnetlink.h>
#include <string.h>

#include "net/stack/core.h"
#include "net/stack/dgram.h"
#include "net/stack/inet.h"
#include "net/stack/neigh.h"
#include "net/stack/route.h"
#include "sentry/base/slab.h"
#include "tests/kernel/netbed.h"

static struct netbed b;

static void setup(void)
{
	ck_assert(netbed_init(&b));
}

static void sends(const char *expected)
{
	ck_assert_str_eq(netbed_output(&b), expected);
}

static size_t live_total;

static void add_live(const struct slab *s, void *arg __unused)
{
	live_total += s->live;
}

static size_t live(void)
{
	live_total = 0;
	slab_for_each(add_live, NULL);
	return live_total;
}

/* One packet and what it draws; expected "" is silence. */
struct exchange {
	const char *what;
	struct netbed_packet in;
	const char *out;
};

static const uint8_t source_route[] = {131, 7, 4, 10, 0, 0, 9, 0}, bad_option[] = {7, 40, 4, 0},
		     record[] = {7, 7, 4, 0, 0, 0, 0, 0};
static const uint8_t pads[] = {17, 0, 1, 4, 0, 0, 0, 0}, unknown_skip[] = {17, 0, 0x1e, 4, 0, 0, 0, 0},
		     unknown_drop[] = {17, 0, 0x5e, 4, 0, 0, 0, 0}, unknown_tell[] = {17, 0, 0x9e, 4, 0, 0, 0, 0},
		     unknown_tell_one[] = {17, 0, 0xde, 4, 0, 0, 0, 0}, routed[] = {17, 0, 0, 1, 0, 0, 0, 0},
		     routed_done[] = {17, 0, 0, 0, 0, 0, 0, 0}, overrun[] = {17, 0, 1, 9, 0, 0, 0, 0},
		     hop_second[] = {0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0};

#define UDP4 .src = "10.0.0.2", .dst = "10.0.0.1", .protocol = IPPROTO_UDP, .sport = 5, .dport = 7, .size = 9
#define UDP6 .src = "2001:db8::2", .dst = "2001:db8::1", .protocol = IPPROTO_UDP, .sport = 5, .dport = 7, .size = 9
#define UNREACHABLE4 "10.0.0.1 > 10.0.0.2: icmp 3/3 0.0, 37 bytes"
#define UNREACHABLE6 "2001:db8::1 > 2001:db8::2: icmp6 1/4 0.0, 57 bytes"

static const struct exchange exchanges[] = {
    {"echo",
     {.src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 1, .type = 8, .sport = 3, .dport = 4, .size = 33},
     "10.0.0.1 > 10.0.0.2: icmp 0/0 3.4, 33 bytes"},
    {"echo by a gateway",
     {.src = "8.8.8.8", .dst = "10.0.0.1", .protocol = 1, .type = 8},
     "10.0.0.1 > 8.8.8.8: icmp 0/0 0.0, 0 bytes"},
    {"echo to all", {.src = "10.0.0.2", .dst = "10.0.0.255", .protocol = 1, .type = 8, .to_all = true}, ""},
    {"echo, bad sum", {.src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 1, .type = 8, .bad_sum = true}, ""},
    {"no port", {UDP4}, UNREACHABLE4},
    {"no port, no checksum", {UDP4, .no_sum = true}, UNREACHABLE4},
    {"no port, bad checksum", {UDP4, .bad_sum = true}, ""},
    {"no port, broadcast by the link", {UDP4, .to_all = true}, ""},
    {"no port, broadcast", {.src = "10.0.0.2", .dst = "10.0.0.255", .protocol = 17, .dport = 7, .to_all = true}, ""},
    {"no port, group", {.src = "10.0.0.2", .dst = "224.0.0.1", .protocol = 17, .dport = 7}, ""},
    {"not ours", {.src = "10.0.0.2", .dst = "10.0.0.77", .protocol = 17, .dport = 7}, ""},
    {"no protocol",
     {.src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 200, .bare = true, .size = 5},
     "10.0.0.1 > 10.0.0.2: icmp 3/2 0.0, 25 bytes"},
    {"from a group", {.src = "224.0.0.5", .dst = "10.0.0.1", .protocol = 17, .dport = 7}, ""},
    {"from all", {.src = "255.255.255.255", .dst = "10.0.0.1", .protocol = 17, .dport = 7}, ""},
    {"from nobody", {.src = "0.0.0.0", .dst = "10.0.0.1", .protocol = 17, .dport = 7}, ""},
    {"from loopback", {.src = "127.0.0.1", .dst = "10.0.0.1", .protocol = 17, .dport = 7}, ""},
    {"to loopback", {.src = "10.0.0.2", .dst = "127.0.0.1", .protocol = 17, .dport = 7}, ""},
    {"from ourselves", {.src = "10.0.0.1", .dst = "10.0.0.1", .protocol = 17, .dport = 7}, ""},
    {"from the broadcast address", {.src = "10.0.0.255", .dst = "10.0.0.1", .protocol = 1, .type = 8}, ""},
    {"source route", {UDP4, .options = source_route, .options_size = 8}, ""},
    {"bad option", {UDP4, .options = bad_option, .options_size = 4}, "10.0.0.1 > 10.0.0.2: icmp 12/0 5376.0, 41 bytes"},
    {"record route", {UDP4, .options = record, .options_size = 8}, "10.0.0.1 > 10.0.0.2: icmp 3/3 0.0, 45 bytes"},
    {"last fragment alone", {UDP4, .frag = 3, .id = 1}, ""},
    {"error about an error",
     {.src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 1, .type = 3, .code = 3, .size = 28},
     ""},
    {"echo of IPv6",
     {.src = "2001:db8::2", .dst = "2001:db8::1", .protocol = 58, .type = 128, .sport = 3, .dport = 4, .size = 33},
     "2001:db8::1 > 2001:db8::2: icmp6 129/0 3.4, 33 bytes"},
    {"echo of IPv6 to all nodes",
     {.src = "2001:db8::2", .dst = "ff02::1", .protocol = 58, .type = 128},
     "2001:db8::1 > 2001:db8::2: icmp6 129/0 0.0, 0 bytes"},
    {"no port of IPv6", {UDP6}, UNREACHABLE6},
    {"no port of IPv6, no checksum", {UDP6, .no_sum = true}, ""},
    {"from loopback of IPv6", {.src = "::1", .dst = "2001:db8::1", .protocol = 17, .dport = 7}, ""},
    {"mapped address", {.src = "2001:db8::2", .dst = "::2", .protocol = 17, .dport = 7}, ""},
    {"padding",
     {UDP6, .options = pads, .options_size = 8, .first_ext = 60},
     "2001:db8::1 > 2001:db8::2: icmp6 1/4 0.0, 65 bytes"},
    {"option to skip",
     {UDP6, .options = unknown_skip, .options_size = 8, .first_ext = 60},
     "2001:db8::1 > 2001:db8::2: icmp6 1/4 0.0, 65 bytes"},
    {"option to drop", {UDP6, .options = unknown_drop, .options_size = 8, .first_ext = 60}, ""},
    {"option to tell of",
     {UDP6, .options = unknown_tell, .options_size = 8, .first_ext = 0},
     "2001:db8::1 > 2001:db8::2: icmp6 4/2 0.42, 65 bytes"},
    {"option to tell of, if not a group",
     {UDP6, .options = unknown_tell_one, .options_size = 8, .first_ext = 0},
     "2001:db8::1 > 2001:db8::2: icmp6 4/2 0.42, 65 bytes"},
    {"the same to a group",
     {.src = "2001:db8::2", .dst = "ff02::1", .protocol = 17, .options = unknown_tell_one, .options_size = 8},
     ""},
    {"option longer than its header", {UDP6, .options = overrun, .options_size = 8, .first_ext = 60}, ""},
    {"routing header",
     {UDP6, .options = routed, .options_size = 8, .first_ext = 43},
     "2001:db8::1 > 2001:db8::2: icmp6 4/0 0.42, 65 bytes"},
    {"routing header that is done",
     {UDP6, .options = routed_done, .options_size = 8, .first_ext = 43},
     "2001:db8::1 > 2001:db8::2: icmp6 1/4 0.0, 65 bytes"},
    {"hop-by-hop in second place",
     {UDP6, .options = hop_second, .options_size = 16, .first_ext = 60},
     "2001:db8::1 > 2001:db8::2: icmp6 4/1 0.40, 73 bytes"},
    {"no protocol of IPv6",
     {.src = "2001:db8::2", .dst = "2001:db8::1", .protocol = 200, .bare = true, .size = 5},
     "2001:db8::1 > 2001:db8::2: icmp6 4/1 0.6, 45 bytes"},
    {"no next header", {.src = "2001:db8::2", .dst = "2001:db8::1", .protocol = 59, .bare = true, .size = 5}, ""},
    {"atomic fragment",
     {UDP6, .options = (const uint8_t[]){17, 0, 0, 0, 0, 0, 0, 9}, .options_size = 8, .first_ext = 44},
     "2001:db8::1 > 2001:db8::2: icmp6 1/4 0.0, 65 bytes"},
};

START_TEST(answers)
{
	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(exchanges); i++) {
		netbed_send(&b, &exchanges[i].in);
		ck_assert_msg(strcmp(netbed_output(&b), exchanges[i].out) == 0, "%s: %s, not %s", exchanges[i].what,
			      b.line, exchanges[i].out);
		ck_assert_str_eq(netbed_output(&b), "");
		netbed_pass(&b, 70 * NETBED_SECOND); /* buckets fill, fragments go */
		netbed_drop_output(&b);
	}
	netbed_fini(&b);
	ck_assert_uint_eq(live(), 0);
}
END_TEST

/* Every one of them cut at each length, and with each byte changed: no crash, no leak. */
START_TEST(truncated)
{
	setup();
	b.quiet = true;
	for (unsigned i = 0; i < ARRAY_SIZE(exchanges); i++) {
		uint8_t frame[NETBED_FRAME];
		size_t n = netbed_frame(&exchanges[i].in, frame);

		for (size_t cut = 0; cut <= n; cut++)
			netbed_input(&b, frame, cut);
		for (size_t at = 0; at < n; at++)
			for (unsigned bit = 0; bit < 8; bit++) {
				frame[at] ^= (uint8_t)(1u << bit);
				netbed_input(&b, frame, n);
				frame[at] ^= (uint8_t)(1u << bit);
			}
	}
	netbed_pass(&b, 100 * NETBED_SECOND);
	netbed_fini(&b);
	ck_assert_uint_eq(live(), 0);
}
END_TEST

START_TEST(random_bytes)
{
	uint8_t frame[200], head[54];
	uint64_t x = 88172645463325252u;

	setup();
	b.quiet = true;
	for (unsigned round = 0; round < 30000; round++) {
		size_t n = netbed_frame(&exchanges[round % ARRAY_SIZE(exchanges)].in, frame), keep;

		memcpy(head, frame, sizeof(head));
		for (size_t i = 0; i < sizeof(frame); i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			frame[i] = (uint8_t)x;
		}
		keep = x % 54;
		memcpy(frame, head, keep);
		netbed_input(&b, frame, n);
	}
	netbed_pass(&b, 100 * NETBED_SECOND);
	netbed_fini(&b);
	ck_assert_uint_eq(live(), 0);
}
END_TEST

/* ---- reassembly ---- */

static uint8_t message[4000];
static struct udp_sock udp;

static void deliver(struct wakeup *w __unused, uint32_t events __unused)
{
}

static void hold(struct wakeup *w __unused)
{
}

static void open_udp(bool v6) NO_TSA
{
	struct in6_addr any = v6 ? in6addr_any : netbed_addr("0.0.0.0");

	udp_init(&udp, v6);
	udp.d.wakeup.hold = hold;
	udp.d.wakeup.deliver = deliver;
	stack_enter(b.s);
	ck_assert_int_eq(udp_bind(b.s, &udp, &any, 7, 0), 0);
	stack_leave(b.s);
}

static void close_udp(void) NO_TSA
{
	stack_enter(b.s);
	udp_close(b.s, &udp);
	stack_leave(b.s);
}

static struct pkt *take_udp(void) NO_TSA
{
	struct pkt *p;

	stack_enter(b.s);
	p = dgram_take(&udp.d, false);
	stack_leave(b.s);
	return p;
}

/* What the message, with a UDP header, is on the wire from off on. */
static void send_part(bool v6, unsigned off, unsigned n, bool more, uint16_t id)
{
	static uint8_t whole[sizeof(message) + 100];
	static size_t total;
	struct netbed_packet p = {.src = v6 ? "2001:db8::2" : "10.0.0.2",
				  .dst = v6 ? "2001:db8::1" : "10.0.0.1",
				  .protocol = IPPROTO_UDP,
				  .sport = 5,
				  .dport = 7,
				  .data = message,
				  .no_link = true};

	p.size = 1992; /* 2000 with its header */
	total = netbed_frame(&p, whole);
	p.data = whole + (v6 ? 40 : 20) + off;
	ck_assert_uint_le(off + n, total - (v6 ? 40 : 20));
	p.size = n;
	p.bare = true;
	p.no_link = false;
	p.id = id;
	p.frag = (uint16_t)(v6 ? off | more : off / 8 | (more ? 0x2000u : 0));
	netbed_send(&b, &p);
}

static void expect_message(void)
{
	uint8_t got[2000];
	struct pkt *p = take_udp();

	ck_assert_ptr_nonnull(p);
	ck_assert_uint_eq(p->len, 1992);
	ck_assert(pkt_copy(p, 0, got, 1992));
	ck_assert_mem_eq(got, message, 1992);
	ck_assert_ptr_null(take_udp());
	pkt_free(p);
}

static void fill_message(void)
{
	for (unsigned i = 0; i < sizeof(message); i++)
		message[i] = (uint8_t)(i * 11 + i / 256);
}

static void fragments(bool v6)
{
	setup();
	fill_message();
	open_udp(v6);
	send_part(v6, 0, 800, true, 1);
	send_part(v6, 800, 1200, false, 1);
	expect_message();
	/* Backwards, with a copy. */
	send_part(v6, 1600, 400, false, 2);
	send_part(v6, 800, 800, true, 2);
	send_part(v6, 800, 800, true, 2);
	send_part(v6, 0, 800, true, 2);
	expect_message();
	/* An overlap ends it. */
	send_part(v6, 0, 800, true, 3);
	send_part(v6, 792, 808, true, 3);
	send_part(v6, 800, 1200, false, 3);
	ck_assert_ptr_null(take_udp());
	/* So do two ends. */
	send_part(v6, 800, 1200, false, 4);
	send_part(v6, 800, 1000, false, 4);
	send_part(v6, 0, 800, true, 4);
	ck_assert_ptr_null(take_udp());
	netbed_pass(&b, 61 * NETBED_SECOND);
	/* The first fragment of the last is there, and the source hears of it. */
	sends(v6 ? "2001:db8::1 > 2001:db8::2: icmp6 3/1 0.0, 848 bytes"
		 : "10.0.0.1 > 10.0.0.2: icmp 11/1 0.0, 548 bytes");
	sends("");
	ck_assert_uint_eq(b.s->frag_memory, 0);
	close_udp();
	netbed_fini(&b);
	ck_assert_uint_eq(live(), 0);
}

START_TEST(fragments4)
{
	fragments(false);
}
END_TEST

START_TEST(fragments6)
{
	fragments(true);
}
END_TEST

START_TEST(fragments_are_bounded)
{
	setup();
	for (unsigned id = 1; id < 40000; id++)
		send_part(false, id % 100 * 8, 800, true, (uint16_t)id);
	ck_assert_uint_le(b.s->frag_memory, 4 << 20);
	netbed_fini(&b);
	ck_assert_uint_eq(live(), 0);
}
END_TEST

/* ---- forwarding, path MTU, errors ---- */

START_TEST(forwards)
{
	setup();
	b.s->forward4 = b.s->forward6 = true;
	netbed_send(&b, &(struct netbed_packet){
			    .src = "10.0.0.2", .dst = "9.9.9.9", .protocol = 17, .sport = 1, .dport = 2, .ttl = 9});
	sends("10.0.0.2 > 9.9.9.9: ttl 8 udp 1 > 2, 0 bytes");
	netbed_send(&b, &(struct netbed_packet){.src = "10.0.0.2", .dst = "9.9.9.9", .protocol = 17, .ttl = 1});
	sends("10.0.0.1 > 10.0.0.2: icmp 11/0 0.0, 28 bytes");
	netbed_send(&b, &(struct netbed_packet){
			    .src = "2001:db8::2", .dst = "2001::9", .protocol = 17, .sport = 1, .dport = 2, .ttl = 9});
	sends("2001:db8::2 > 2001::9: ttl 8 udp 1 > 2, 0 bytes");
	netbed_send(&b, &(struct netbed_packet){.src = "2001:db8::2", .dst = "2001::9", .protocol = 17, .ttl = 1});
	sends("2001:db8::1 > 2001:db8::2: icmp6 3/0 0.0, 48 bytes");
	stack_enter(b.s);
	ck_assert_int_eq(netdev_set_mtu(b.s, b.dev, 1300), 0);
	stack_leave(b.s);
	netbed_send(&b, &(struct netbed_packet){
			    .src = "10.0.0.2", .dst = "9.9.9.9", .protocol = 17, .frag = 0x4000, .size = 1400});
	sends("10.0.0.1 > 10.0.0.2: icmp 3/4 0.1300, 548 bytes");
	netbed_send(&b, &(struct netbed_packet){.src = "10.0.0.2", .dst = "9.9.9.9", .protocol = 17, .size = 1400});
	sends("10.0.0.2 > 9.9.9.9: ttl 63 fragment 0+, 1280 bytes");
	sends("10.0.0.2 > 9.9.9.9: ttl 63 fragment 1280, 128 bytes");
	netbed_send(&b, &(struct netbed_packet){.src = "2001:db8::2", .dst = "2001::9", .protocol = 17, .size = 1400});
	sends("2001:db8::1 > 2001:db8::2: icmp6 2/0 0.1300, 1232 bytes");
	netbed_fini(&b);
}
END_TEST

START_TEST(errors_are_limited)
{
	unsigned sent = 0;

	setup();
	for (unsigned i = 0; i < 100; i++) {
		netbed_send(&b, &exchanges[4].in);
		sent += *netbed_output(&b) != 0;
	}
	ck_assert_uint_eq(sent, 6);
	netbed_pass(&b, 3 * NETBED_SECOND);
	for (unsigned i = 0; i < 100; i++) {
		netbed_send(&b, &exchanges[4].in);
		sent += *netbed_output(&b) != 0;
	}
	ck_assert_uint_eq(sent, 9);
	netbed_fini(&b);
}
END_TEST

/* ICMP errors and the errno that they become: icmp_err_convert and icmpv6_err_convert of Linux. */
static const struct {
	bool v6;
	uint8_t type, code;
	int err;
	bool hard;
} conversions[] = {
    {false, 3, 0, ENETUNREACH, false},   {false, 3, 1, EHOSTUNREACH, false}, {false, 3, 2, ENOPROTOOPT, true},
    {false, 3, 3, ECONNREFUSED, true},   {false, 3, 5, EOPNOTSUPP, false},   {false, 3, 6, ENETUNREACH, true},
    {false, 3, 7, EHOSTDOWN, true},      {false, 3, 8, ENONET, true},        {false, 3, 9, ENETUNREACH, true},
    {false, 3, 10, EHOSTUNREACH, true},  {false, 3, 11, ENETUNREACH, false}, {false, 3, 12, EHOSTUNREACH, false},
    {false, 3, 13, EHOSTUNREACH, true},  {false, 3, 14, EHOSTUNREACH, true}, {false, 3, 15, EHOSTUNREACH, true},
    {false, 11, 0, EHOSTUNREACH, false}, {false, 12, 0, EPROTO, true},       {true, 1, 0, ENETUNREACH, false},
    {true, 1, 1, EACCES, true},          {true, 1, 2, EHOSTUNREACH, false},  {true, 1, 3, EHOSTUNREACH, false},
    {true, 1, 4, ECONNREFUSED, true},    {true, 1, 5, EACCES, true},         {true, 1, 6, EACCES, true},
    {true, 1, 7, EPROTO, true},          {true, 3, 0, EHOSTUNREACH, false},  {true, 4, 0, EPROTO, true},
};

static int pending(void) NO_TSA
{
	int err;

	stack_enter(b.s);
	err = dgram_take_error(&udp.d);
	stack_leave(b.s);
	return -err;
}

static void send_error(bool v6, uint8_t type, uint8_t code, uint32_t rest)
{
	struct netbed_packet sent = {.src = v6 ? "2001:db8::1" : "10.0.0.1",
				     .dst = v6 ? "2001:db8::2" : "10.0.0.2",
				     .protocol = 17,
				     .sport = 7,
				     .dport = 99,
				     .size = 4,
				     .no_link = true};
	uint8_t quoted[100];
	struct netbed_packet e = {.src = v6 ? "2001:db8::fe" : "10.0.0.254",
				  .dst = sent.src,
				  .protocol = v6 ? 58 : 1,
				  .type = type,
				  .code = code,
				  .rest = rest,
				  .data = quoted};

	e.size = netbed_frame(&sent, quoted);
	netbed_send(&b, &e);
}

static void connect_udp(bool v6) NO_TSA
{
	struct in6_addr peer = netbed_addr(v6 ? "2001:db8::2" : "10.0.0.2");

	stack_enter(b.s);
	ck_assert_int_eq(udp_connect(b.s, &udp, &peer, 99, 0), 0);
	stack_leave(b.s);
}

START_TEST(errnos)
{
	for (unsigned i = 0; i < ARRAY_SIZE(conversions); i++) {
		bool v6 = conversions[i].v6;

		setup();
		open_udp(v6);
		send_error(v6, conversions[i].type, conversions[i].code, 0);
		ck_assert_int_eq(pending(), 0); /* not connected */
		connect_udp(v6);
		send_error(v6, conversions[i].type, conversions[i].code, 0);
		ck_assert_msg(pending() == (conversions[i].hard ? conversions[i].err : 0), "type %u code %u",
			      conversions[i].type, conversions[i].code);
		udp.d.recverr = true;
		send_error(v6, conversions[i].type, conversions[i].code, 0);
		ck_assert_int_eq(pending(), conversions[i].err);
		close_udp();
		netbed_fini(&b);
	}
	ck_assert_uint_eq(live(), 0);
}
END_TEST

static uint32_t mtu_to(const char *dst) NO_TSA
{
	struct ip_out o = {.dst = netbed_addr(dst)};
	struct ip_route r = {0};

	stack_enter(b.s);
	ck_assert_int_eq(ip_route(b.s, &o, &r), 0);
	stack_leave(b.s);
	return r.mtu;
}

START_TEST(path_mtu)
{
	setup();
	open_udp(true);
	connect_udp(true);
	send_error(true, 2, 0, 1400);
	ck_assert_uint_eq(mtu_to("2001:db8::2"), 1400);
	send_error(true, 2, 0, 1450);
	ck_assert_uint_eq(mtu_to("2001:db8::2"), 1400); /* never up */
	send_error(true, 2, 0, 100);
	ck_assert_uint_eq(mtu_to("2001:db8::2"), 1280);
	ck_assert_uint_eq(mtu_to("2001:db8::3"), 1500);
	netbed_pass(&b, 601 * NETBED_SECOND);
	ck_assert_uint_eq(mtu_to("2001:db8::2"), 1500);
	close_udp();
	open_udp(false);
	send_error(false, 3, 4, 1000); /* for a port that is not connected it counts too: the packet was ours */
	ck_assert_uint_eq(mtu_to("10.0.0.2"), 1000);
	send_error(false, 3, 4, 100);
	ck_assert_uint_eq(mtu_to("10.0.0.2"), 552);
	close_udp();
	netbed_fini(&b);
}
END_TEST

/* ---- segmentation ---- */

static uint8_t tcp_out[20];

/* A TCP packet of 3000 bytes, FIN, PSH and CWR, to be cut into segments of 1400. */
static int send_tcp(const char *dst) NO_TSA
{
	struct ip_out o = {.dst = netbed_addr(dst), .protocol = IPPROTO_TCP, .dont_fragment = true};
	static const uint8_t header[20] = {0, 7, 0, 9, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 5 << 4, 0x99, 1, 0};
	struct pkt *p = pkt_from(message, 3000);
	struct ip_route r;
	uint16_t sum;
	int err;

	stack_enter(b.s);
	ck_assert_int_eq(ip_route(b.s, &o, &r), 0);
	memcpy(pkt_push(p, 20), header, 20);
	p->transport = p->head;
	p->gso_size = 1400;
	p->checksum_partial = true;
	sum = (uint16_t)~sum_fold(sum_pseudo(&r.src, &o.dst, IPPROTO_TCP, p->len));
	memcpy(p->room + p->transport + 16, &sum, 2);
	err = ip_output(b.s, p, &o, &r);
	stack_leave(b.s);
	return err;
}

static void segments(const char *src, const char *dst, size_t head)
{
	static const size_t lens[] = {1400, 1400, 200};
	static const uint8_t flags[] = {0x90, 0x10, 0x19};
	struct in6_addr a = netbed_addr(src), c = netbed_addr(dst);
	uint32_t at = 0;

	ck_assert_int_eq(send_tcp(dst), 0);
	for (unsigned i = 0; i < 3; i++) {
		uint8_t f[NETBED_FRAME];
		size_t n = netbed_output_bytes(&b, f, sizeof(f)), tcp = 14 + head;
		uint32_t seq;

		ck_assert_uint_eq(n, tcp + 20 + lens[i]);
		memcpy(&seq, f + tcp + 4, 4);
		ck_assert_uint_eq(ntohl(seq), 0xffffff00u + at);
		ck_assert_uint_eq(f[tcp + 13], flags[i]);
		ck_assert_mem_eq(f + tcp + 20, message + at, lens[i]);
		ck_assert_uint_eq(
		    sum_fold(sum_add(sum_pseudo(&a, &c, IPPROTO_TCP, (uint32_t)(n - tcp)), f + tcp, n - tcp, false)),
		    0);
		if (head == 20)
			ck_assert_uint_eq(sum_fold(sum_add(0, f + 14, 20, false)), 0);
		at += (uint32_t)lens[i];
	}
	ck_assert_uint_eq(netbed_output_bytes(&b, tcp_out, sizeof(tcp_out)), 0);
}

START_TEST(segmentation)
{
	setup();
	fill_message();
	segments("10.0.0.1", "10.0.0.2", 20);
	segments("2001:db8::1", "2001:db8::2", 40);
	netbed_fini(&b);
	ck_assert_uint_eq(live(), 0);
}
END_TEST

/* ---- merging: what segmentation gives, comes back as one ---- */

static unsigned seen;
static uint32_t seen_len[64];
static uint16_t seen_gso[64];

static void see(struct stack *s __unused, struct netdev_tap *t __unused, struct netdev *dev __unused,
		const struct pkt *p, bool out)
{
	if (out || seen == ARRAY_SIZE(seen_len))
		return;
	seen_len[seen] = p->len;
	seen_gso[seen++] = p->gso_size;
}

/* A frame with TCP's header in front of n bytes of the message. */
static struct pkt *segment_in(bool v6, uint16_t sport, uint32_t seq, unsigned n, uint8_t flags, uint16_t window)
{
	uint8_t frame[NETBED_FRAME], tcp[20 + 1500];
	struct netbed_packet p = {.src = v6 ? "2001:db8::2" : "10.0.0.2",
				  .dst = v6 ? "2001:db8::1" : "10.0.0.1",
				  .protocol = IPPROTO_TCP,
				  .data = tcp,
				  .size = 20 + n,
				  .bare = true};
	struct in6_addr a = netbed_addr(p.src), c = netbed_addr(p.dst);
	uint32_t net_seq = htonl(seq);
	uint16_t v = htons(sport), sum;

	memset(tcp, 0, 20);
	memcpy(tcp, &v, 2);
	tcp[3] = 80;
	memcpy(tcp + 4, &net_seq, 4);
	tcp[12] = 5 << 4;
	tcp[13] = flags;
	v = htons(window);
	memcpy(tcp + 14, &v, 2);
	memcpy(tcp + 20, message, n);
	sum = sum_fold(sum_add(sum_pseudo(&a, &c, IPPROTO_TCP, 20 + n), tcp, 20 + n, false));
	memcpy(tcp + 16, &sum, 2);
	return pkt_from(frame, netbed_frame(&p, frame));
}

static void receive_batch(struct list *frames) NO_TSA
{
	struct netdev_tap tap = {.see = see};

	seen = 0;
	stack_enter(b.s);
	netdev_tap_add(b.dev, &tap);
	netdev_receive_batch(b.s, b.dev, frames);
	netdev_tap_remove(&tap);
	stack_leave(b.s);
}

static void merging(bool v6)
{
	struct list l = LIST_INIT(l);
	uint32_t head = v6 ? 74 : 54;

	setup();
	for (unsigned i = 0; i < 5; i++)
		list_append(&l, &segment_in(v6, 9, 1000 * i, 1000, 0x10, 5)->link);
	list_append(&l, &segment_in(v6, 9, 5000, 400, 0x18, 5)->link);  /* short, and the last */
	list_append(&l, &segment_in(v6, 9, 5400, 400, 0x10, 5)->link);  /* begins another */
	list_append(&l, &segment_in(v6, 10, 5800, 400, 0x10, 5)->link); /* another flow */
	list_append(&l, &segment_in(v6, 9, 5800, 400, 0x10, 6)->link);  /* another window */
	list_append(&l, &segment_in(v6, 9, 6200, 400, 0x11, 6)->link);  /* FIN is not merged */
	list_append(&l, &segment_in(v6, 9, 7000, 400, 0x10, 6)->link);
	list_append(&l, &segment_in(v6, 9, 7401, 400, 0x10, 6)->link); /* a gap */
	receive_batch(&l);
	ck_assert_uint_eq(seen, 7);
	ck_assert_uint_eq(seen_len[0], head + 5400);
	ck_assert_uint_eq(seen_gso[0], 1000);
	for (unsigned i = 1; i < 7; i++) {
		ck_assert_uint_eq(seen_len[i], head + 400);
		ck_assert_uint_eq(seen_gso[i], 0);
	}
	netbed_drop_output(&b);
	for (unsigned i = 0; i < 64; i++)
		list_append(&l, &segment_in(v6, 9, 1400 * i, 1400, 0x10, 5)->link);
	receive_batch(&l);
	ck_assert_uint_eq(seen, 4); /* as many slices as a packet has */
	netbed_drop_output(&b);
	netbed_fini(&b);
	ck_assert_uint_eq(live(), 0);
}

START_TEST(merging4)
{
	fill_message();
	merging(false);
}
END_TEST

START_TEST(merging6)
{
	fill_message();
	merging(true);
}
END_TEST

/* Merged, forwarded, and cut again: the same frames but for the hop. */
START_TEST(merged_and_forwarded)
{
	struct list l = LIST_INIT(l);
	struct in6_addr a = netbed_addr("10.0.0.2"), c = netbed_addr("9.9.9.9");

	setup();
	fill_message();
	b.s->forward4 = true;
	for (unsigned i = 0; i < 3; i++) {
		struct pkt *p = segment_in(false, 9, 1000 * i, 1000, 0x10, 5);
		uint8_t *h = pkt_peek(p, 54);
		uint16_t sum;

		memset(h + 30, 9, 4);
		memset(h + 24, 0, 2);
		sum = sum_fold(sum_add(0, h + 14, 20, false));
		memcpy(h + 24, &sum, 2);
		memset(h + 50, 0, 2);
		sum = sum_fold(sum_pkt(sum_pseudo(&a, &c, IPPROTO_TCP, 1020), p, 34));
		memcpy(h + 50, &sum, 2);
		list_append(&l, &p->link);
	}
	receive_batch(&l);
	ck_assert_uint_eq(seen, 1);
	for (unsigned i = 0; i < 3; i++) {
		uint8_t f[NETBED_FRAME];

		ck_assert_uint_eq(netbed_output_bytes(&b, f, sizeof(f)), 1054);
		ck_assert_uint_eq(f[22], 63);
		ck_assert_uint_eq(sum_fold(sum_add(0, f + 14, 20, false)), 0);
		ck_assert_uint_eq(sum_fold(sum_add(sum_pseudo(&a, &c, IPPROTO_TCP, 1020), f + 34, 1020, false)), 0);
		ck_assert_uint_eq((unsigned)f[40] << 8 | f[41], i * 1000);
		ck_assert_mem_eq(f + 54, message, 1000);
	}
	netbed_fini(&b);
	ck_assert_uint_eq(live(), 0);
}
END_TEST

static int make(void *arg __unused)
{
	if (!netbed_init(&b))
		return -ENOMEM;
	netbed_fini(&b);
	return 0;
}

START_TEST(no_memory)
{
	unit_each_allocation_fails(make, NULL);
	ck_assert_uint_eq(live(), 0);
}
END_TEST

/* Packets while memory is short: each allocation fails once. */
START_TEST(no_memory_later)
{
	for (unsigned n = 1; n < 60; n++) {
		setup();
		fill_message();
		open_udp(false);
		slab_fail_nth(n);
		send_part(false, 0, 800, true, 1);
		send_part(false, 800, 1200, false, 1);
		netbed_send(&b, &exchanges[0].in);
		netbed_send(&b, &exchanges[5].in);
		netbed_send(&b,
			    &(struct netbed_packet){.src = "10.0.0.77", .dst = "10.0.0.1", .protocol = 1, .type = 8});
		slab_fail_nth(0);
		close_udp();
		netbed_fini(&b);
		ck_assert_uint_eq(live(), 0);
	}
}
END_TEST

UNIT_MAIN(answers, truncated, random_bytes, fragments4, fragments6, fragments_are_bounded, forwards, errors_are_limited,
	  errnos, path_mtu, segmentation, merging4, merging6, merged_and_forwarded, no_memory, no_memory_later)
