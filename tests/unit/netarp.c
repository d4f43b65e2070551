/* Neighbours: ARP, NDP, the states between, and what waits for an answer. */
#include "tests/unit/unit.h"

#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/neigh.h"
#include "net/stack/route.h"
#include "sentry/base/slab.h"
#include "tests/kernel/netbed.h"

static struct netbed b;
static const uint8_t other_mac[6] = {2, 0, 0, 0, 0, 9}, third_mac[6] = {2, 0, 0, 0, 0, 0x33};

static void setup(void)
{
	ck_assert(netbed_init(&b));
}

static void sends(const char *expected)
{
	ck_assert_str_eq(netbed_output(&b), expected);
}

static struct neigh *find(const char *addr) NO_TSA
{
	struct in6_addr a = netbed_addr(addr);

	return neigh_find(b.s, b.dev, &a);
}

static unsigned state(const char *addr)
{
	struct neigh *n = find(addr);

	return n ? n->state : 0;
}

static void arp(uint16_t op, const char *from, const char *target, const uint8_t *mac, bool all)
{
	uint8_t f[42];

	netbed_input(&b, f, netbed_arp(f, op, from, target, mac, all));
}

/* An ICMP echo, whose answer has to find its way. */
static void ping_from(const char *from)
{
	bool v6 = strchr(from, ':');

	netbed_send(&b, &(struct netbed_packet){.src = from,
						.dst = v6 ? "2001:db8::1" : "10.0.0.1",
						.protocol = v6 ? 58 : 1,
						.type = v6 ? 128 : 8});
}

START_TEST(requests)
{
	setup();
	arp(1, "10.0.0.7", "10.0.0.1", other_mac, true);
	sends("other: arp 2 from 10.0.0.1 for 10.0.0.7");
	ck_assert_uint_eq(state("10.0.0.7"), NUD_STALE);
	ck_assert_mem_eq(find("10.0.0.7")->mac, other_mac, 6);
	arp(1, "0.0.0.0", "10.0.0.1", other_mac, true); /* a probe learns whose it is and teaches nothing */
	sends("other: arp 2 from 10.0.0.1 for 0.0.0.0");
	ck_assert_ptr_null(find("0.0.0.0"));
	arp(1, "10.0.0.8", "10.0.0.9", other_mac, true); /* not for us */
	sends("");
	ck_assert_ptr_null(find("10.0.0.8"));
	arp(1, "10.0.0.1", "10.0.0.1", other_mac, true); /* somebody has our address */
	sends("");
	ck_assert_ptr_null(find("10.0.0.1"));
	arp(1, "127.0.0.1", "10.0.0.1", other_mac, true);
	arp(1, "224.0.0.1", "10.0.0.1", other_mac, true);
	arp(1, "10.0.0.8", "127.0.0.1", other_mac, true);
	arp(3, "10.0.0.8", "10.0.0.1", other_mac, true);
	arp(2, "10.0.0.8", "10.0.0.1", other_mac, false); /* not asked */
	sends("");
	ck_assert_ptr_null(find("10.0.0.8"));
	netbed_fini(&b);
}
END_TEST

static void confirm(const char *addr)
{
	struct ip_out o = {.dst = netbed_addr(addr)};
	struct ip_route r;

	stack_enter(b.s);
	ck_assert_int_eq(ip_route(b.s, &o, &r), 0);
	ip_confirm(b.s, &r);
	stack_leave(b.s);
}

START_TEST(resolves)
{
	setup();
	ping_from("10.0.0.7");
	ping_from("10.0.0.7");
	sends("all: arp 1 from 10.0.0.1 for 10.0.0.7");
	sends("");
	ck_assert_uint_eq(state("10.0.0.7"), NUD_INCOMPLETE);
	netbed_pass(&b, NETBED_SECOND);
	sends("all: arp 1 from 10.0.0.1 for 10.0.0.7");
	arp(2, "10.0.0.7", "10.0.0.1", other_mac, false);
	sends("other: 10.0.0.1 > 10.0.0.7: icmp 0/0 0.0, 0 bytes");
	sends("other: 10.0.0.1 > 10.0.0.7: icmp 0/0 0.0, 0 bytes");
	ck_assert_uint_eq(state("10.0.0.7"), NUD_REACHABLE);
	ping_from("10.0.0.7");
	sends("other: 10.0.0.1 > 10.0.0.7: icmp 0/0 0.0, 0 bytes");
	/* Unused, it has no timer; used again, it is asked after five seconds. */
	netbed_pass(&b, 50 * NETBED_SECOND);
	ck_assert_int_eq(b.wish, INT64_MAX);
	ping_from("10.0.0.7");
	sends("other: 10.0.0.1 > 10.0.0.7: icmp 0/0 0.0, 0 bytes");
	ck_assert_uint_eq(state("10.0.0.7"), NUD_DELAY);
	netbed_pass(&b, 5 * NETBED_SECOND);
	ck_assert_uint_eq(state("10.0.0.7"), NUD_PROBE);
	sends("other: arp 1 from 10.0.0.1 for 10.0.0.7");
	arp(2, "10.0.0.7", "10.0.0.1", other_mac, false);
	ck_assert_uint_eq(state("10.0.0.7"), NUD_REACHABLE);
	/* A transport's word does as well. */
	netbed_pass(&b, 50 * NETBED_SECOND);
	ping_from("10.0.0.7");
	netbed_drop_output(&b);
	confirm("10.0.0.7");
	ck_assert_uint_eq(state("10.0.0.7"), NUD_REACHABLE);
	netbed_pass(&b, 10 * NETBED_SECOND);
	confirm("10.0.0.7");
	netbed_pass(&b, 14 * NETBED_SECOND);
	ping_from("10.0.0.7");
	ck_assert_uint_eq(state("10.0.0.7"), NUD_REACHABLE);
	/* Then it falls silent. */
	netbed_pass(&b, 50 * NETBED_SECOND);
	ping_from("10.0.0.7");
	netbed_pass(&b, 20 * NETBED_SECOND);
	ck_assert_uint_eq(state("10.0.0.7"), NUD_FAILED);
	ck_assert_int_eq(b.wish, INT64_MAX);
	netbed_fini(&b);
}
END_TEST

START_TEST(changes)
{
	setup();
	arp(1, "10.0.0.7", "10.0.0.1", other_mac, true);
	arp(1, "10.0.0.7", "10.0.0.9", third_mac, true); /* within a second: not believed */
	ck_assert_mem_eq(find("10.0.0.7")->mac, other_mac, 6);
	netbed_pass(&b, 2 * NETBED_SECOND);
	arp(1, "10.0.0.7", "10.0.0.9", third_mac, true);
	ck_assert_mem_eq(find("10.0.0.7")->mac, third_mac, 6);
	arp(1, "10.0.0.7", "10.0.0.7", other_mac, true); /* an announcement is */
	ck_assert_mem_eq(find("10.0.0.7")->mac, other_mac, 6);
	arp(1, "10.0.0.2", "10.0.0.1", third_mac, true); /* permanent */
	ck_assert_mem_eq(find("10.0.0.2")->mac, netbed_peer, 6);
	netbed_fini(&b);
}
END_TEST

/* Nobody answers: the sender hears of it from itself. */
START_TEST(fails)
{
	setup();
	b.s->forward4 = b.s->forward6 = true;
	netbed_send(
	    &b, &(struct netbed_packet){.src = "10.0.0.2", .dst = "10.0.0.77", .protocol = 17, .sport = 1, .dport = 2});
	netbed_send(&b, &(struct netbed_packet){.src = "2001:db8::2", .dst = "2001:db8::77", .protocol = 17});
	sends("all: arp 1 from 10.0.0.1 for 10.0.0.77");
	sends("group: 2001:db8::1 > ff02::1:ff00:77: ttl 255 icmp6 135 for 2001:db8::77 flags 0");
	netbed_pass(&b, 2500000000ll);
	for (int i = 0; i < 4; i++)
		ck_assert_str_ne(netbed_output(&b), "");
	sends("");
	netbed_pass(&b, NETBED_SECOND);
	sends("10.0.0.1 > 10.0.0.2: icmp 3/1 0.0, 28 bytes");
	sends("2001:db8::1 > 2001:db8::2: icmp6 1/3 0.0, 48 bytes");
	ck_assert_uint_eq(state("10.0.0.77"), NUD_FAILED);
	ck_assert_uint_eq(b.s->neigh_queued, 0);
	netbed_fini(&b);
}
END_TEST

START_TEST(bounded)
{
	char from[40];

	setup();
	b.quiet = true;
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(from, sizeof(from), "2001:db8::%x:1", i + 1);
		ping_from(from);
	}
	ck_assert_uint_le(b.s->neigh_count, 1024);
	for (unsigned i = 0; i < 5000; i++)
		ping_from("10.0.0.7");
	ck_assert_uint_le(find("10.0.0.7")->queued, 64);
	ck_assert_uint_le(b.s->neigh_queued, 2048);
	ck_assert_ptr_nonnull(find("10.0.0.2"));
	netbed_pass(&b, 10 * NETBED_SECOND);
	ck_assert_uint_eq(b.s->neigh_queued, 0);
	netbed_fini(&b);
}
END_TEST

/* ---- NDP ---- */

static void ndp(const char *src, const char *dst, uint8_t type, uint8_t flags, const char *target,
		const uint8_t *options, size_t n)
{
	struct netbed_packet p = {
	    .src = src, .dst = dst, .protocol = 58, .type = type, .rest = (uint32_t)flags << 24, .ttl = 255};
	struct in6_addr t = netbed_addr(target);
	uint8_t body[100];

	memcpy(body, &t, 16);
	memcpy(body + 16, options, n);
	p.data = body;
	p.size = 16 + n;
	netbed_send(&b, &p);
}

static const uint8_t from_other[8] = {1, 1, 2, 0, 0, 0, 0, 9}, to_other[8] = {2, 1, 2, 0, 0, 0, 0, 9},
		     to_third[8] = {2, 1, 2, 0, 0, 0, 0, 0x33}, empty_option[8] = {1, 0};

START_TEST(solicitations)
{
	setup();
	ndp("2001:db8::7", "ff02::1:ff00:1", 135, 0, "2001:db8::1", from_other, 8);
	sends("other: 2001:db8::1 > 2001:db8::7: ttl 255 icmp6 136 for 2001:db8::1 flags 60");
	ck_assert_uint_eq(state("2001:db8::7"), NUD_DELAY); /* it was stale, and used for the answer */
	ndp("::", "ff02::1:ff00:1", 135, 0, "2001:db8::1", from_other, 0);
	sends("group: 2001:db8::1 > ff02::1: ttl 255 icmp6 136 for 2001:db8::1 flags 20");
	ndp("::", "ff02::1:ff00:1", 135, 0, "2001:db8::1", from_other, 8);
	ndp("::", "2001:db8::1", 135, 0, "2001:db8::1", from_other, 0);
	ndp("2001:db8::8", "ff02::1:ff00:1", 135, 0, "2001:db8::1", empty_option, 8);
	ndp("2001:db8::8", "ff02::1:ff00:1", 135, 0, "2001:db8::9", from_other, 8);
	ndp("2001:db8::8", "ff02::1:ff00:1", 135, 0, "ff02::1:ff00:1", from_other, 8);
	sends("");
	ck_assert_ptr_null(find("2001:db8::8"));
	/* From beyond a router. */
	netbed_send(
	    &b, &(struct netbed_packet){
		    .src = "2001:db8::8", .dst = "2001:db8::1", .protocol = 58, .type = 135, .size = 16, .ttl = 254});
	sends("");
	netbed_fini(&b);
}
END_TEST

START_TEST(advertisements)
{
	setup();
	ndp("2001:db8::7", "2001:db8::1", 136, 0x60, "2001:db8::7", to_other, 8); /* not asked */
	ck_assert_ptr_null(find("2001:db8::7"));
	ping_from("2001:db8::7");
	sends("group: 2001:db8::1 > ff02::1:ff00:7: ttl 255 icmp6 135 for 2001:db8::7 flags 0");
	ndp("2001:db8::7", "2001:db8::1", 136, 0x60, "2001:db8::7", to_other, 0); /* without its address */
	ck_assert_uint_eq(state("2001:db8::7"), NUD_INCOMPLETE);
	ndp("2001:db8::7", "ff02::1", 136, 0x60, "2001:db8::7", to_other, 8); /* solicited, but to all */
	ck_assert_uint_eq(state("2001:db8::7"), NUD_INCOMPLETE);
	ndp("2001:db8::7", "2001:db8::1", 136, 0x60, "2001:db8::7", to_other, 8);
	sends("other: 2001:db8::1 > 2001:db8::7: icmp6 129/0 0.0, 0 bytes");
	ck_assert_uint_eq(state("2001:db8::7"), NUD_REACHABLE);
	/* Another address without the override flag: only a doubt. */
	ndp("2001:db8::7", "2001:db8::1", 136, 0x40, "2001:db8::7", to_third, 8);
	ck_assert_uint_eq(state("2001:db8::7"), NUD_STALE);
	ck_assert_mem_eq(find("2001:db8::7")->mac, other_mac, 6);
	ndp("2001:db8::7", "2001:db8::1", 136, 0xe0, "2001:db8::7", to_third, 8);
	ck_assert_mem_eq(find("2001:db8::7")->mac, third_mac, 6);
	ck_assert(find("2001:db8::7")->router);
	netbed_fini(&b);
}
END_TEST

static const uint8_t advert[] = {0,    0,    0,    0,    0, 0, 0, 0,
				 1,    1,    2,    0,    0, 0, 0, 0x33,        /* times, source address */
				 5,    1,    0,    0,    0, 0, 5, 0xdc - 0x64, /* MTU 1400 */
				 3,    4,    64,   0xc0, 0, 0, 0, 100,
				 0,    0,    0,    50,   0, 0, 0, 0, /* prefix: on link, for addresses; 100 s, 50 s */
				 0x20, 0x01, 0x0d, 0xb8, 0, 9, 0, 0,
				 0,    0,    0,    0,    0, 0, 0, 0};

START_TEST(routers)
{
	struct netbed_packet ra = {.src = "fe80::33",
				   .dst = "ff02::1",
				   .protocol = 58,
				   .type = 134,
				   .ttl = 255,
				   .data = advert,
				   .size = sizeof(advert),
				   .rest = 32u << 24 | 200};
	struct in6_addr mine = netbed_addr("2001:db8:9:0:0:ff:fe00:1"), there = netbed_addr("2001:db8:9::5"),
			far = netbed_addr("2002::5");

	setup();
	netbed_send(&b, &ra);
	stack_enter(b.s);
	ck_assert_ptr_nonnull(netdev_find_addr(b.dev, &mine));
	ck_assert(ip_is_local(b.s, &mine, 0));
	ck_assert_uint_eq(netdev_mtu6(b.dev), 1400);
	ck_assert_uint_eq(b.dev->hop_limit, 32);
	ck_assert(route_find(b.s, &there, 0)->c.plen == 64);
	ck_assert_int_eq(route_del(b.s, &(struct route_config){.v6 = true}), 0); /* the bench's */
	ck_assert(IN6_IS_ADDR_LINKLOCAL(&route_find(b.s, &far, 0)->c.gateway));
	stack_leave(b.s);
	ping_from("2001:db8:9::5");
	sends("group: 2001:db8:9::ff:fe00:1 > ff02::1:ff00:5: ttl 255 icmp6 135 for 2001:db8:9::5 flags 0");
	netbed_drop_output(&b);
	netbed_pass(&b, 51 * NETBED_SECOND);
	stack_enter(b.s);
	ck_assert(netdev_find_addr(b.dev, &mine)->flags & IFA_F_DEPRECATED);
	stack_leave(b.s);
	netbed_pass(&b, 51 * NETBED_SECOND);
	stack_enter(b.s);
	ck_assert_ptr_null(netdev_find_addr(b.dev, &mine));
	ck_assert_uint_ne(route_find(b.s, &there, 0)->c.plen, 64);
	ck_assert_ptr_nonnull(route_find(b.s, &far, 0));
	stack_leave(b.s);
	netbed_pass(&b, 120 * NETBED_SECOND);
	stack_enter(b.s);
	ck_assert_ptr_null(route_find(b.s, &far, 0));
	stack_leave(b.s);
	netbed_fini(&b);
}
END_TEST

/* Somebody on the link tells of one prefix after the other, and of routers. */
START_TEST(many_routers)
{
	uint8_t data[sizeof(advert)];
	struct netbed_packet ra = {
	    .dst = "ff02::1", .protocol = 58, .type = 134, .ttl = 255, .data = data, .size = sizeof(data)};
	struct in6_addr there = netbed_addr("2001:db8:9::5");
	unsigned routes;

	setup();
	memcpy(data, advert, sizeof(data));
	routes = b.s->route_count;
	for (unsigned i = 0; i < 2000; i++) {
		char src[20];

		snprintf(src, sizeof(src), "fe80::%x", i + 2);
		ra.src = src;
		ra.rest = 32u << 24 | 200;
		data[sizeof(data) - 10] = (uint8_t)i;
		data[sizeof(data) - 11] = (uint8_t)(i >> 8);
		netbed_send(&b, &ra);
	}
	ck_assert_uint_le(b.dev->ra_routes, 64);
	ck_assert_uint_ge(b.dev->ra_routes, 10);
	ck_assert_uint_le(b.dev->addr_count, 20);
	ck_assert_uint_le(b.s->route_count, routes + 64 + 3 * 20);
	netbed_pass(&b, 300 * NETBED_SECOND);
	ra.src = "fe80::33";
	memcpy(data, advert, sizeof(data));
	netbed_send(&b, &ra);
	stack_enter(b.s);
	ck_assert(route_find(b.s, &there, 0)->c.plen == 64); /* what has expired makes room */
	stack_leave(b.s);
	netbed_fini(&b);
}
END_TEST

/* ---- groups ---- */

START_TEST(groups)
{
	struct in6_addr g4 = netbed_addr("224.1.2.3"), g6 = netbed_addr("ff05::5");

	setup();
	stack_enter(b.s);
	ck_assert_int_eq(mcast_join(b.s, b.dev, &g4), 0);
	ck_assert_int_eq(mcast_join(b.s, b.dev, &g4), 0);
	ck_assert_int_eq(mcast_join(b.s, b.dev, &g6), 0);
	stack_leave(b.s);
	sends("group: 10.0.0.1 > 224.0.0.22: ttl 1 igmp 22, 1 records, first 4 224.1.2.3");
	sends("group: fe80::ff:fe00:1 > ff02::16: ttl 1 icmp6 143/0 0.1, 20 bytes");
	netbed_pass(&b, NETBED_SECOND);
	sends("group: 10.0.0.1 > 224.0.0.22: ttl 1 igmp 22, 1 records, first 2 224.1.2.3");
	sends("group: fe80::ff:fe00:1 > ff02::16: ttl 1 icmp6 143/0 0.2, 40 bytes"); /* with the solicited-node group */
	sends("");
	netbed_send(&b,
		    &(struct netbed_packet){
			.src = "10.0.0.254", .dst = "224.0.0.1", .protocol = 2, .type = 0x11, .code = 20, .ttl = 1});
	netbed_pass(&b, 2 * NETBED_SECOND);
	sends("group: 10.0.0.1 > 224.0.0.22: ttl 1 igmp 22, 1 records, first 2 224.1.2.3");
	netbed_drop_output(&b);
	netbed_send(&b, &(struct netbed_packet){.src = "10.0.0.2", .dst = "224.1.2.3", .protocol = 1, .type = 8});
	sends("");
	stack_enter(b.s);
	ck_assert_int_eq(mcast_leave(b.s, b.dev, &g4), 0);
	ck_assert(mcast_member(b.dev, &g4));
	ck_assert_int_eq(mcast_leave(b.s, b.dev, &g4), 0);
	ck_assert_int_eq(mcast_leave(b.s, b.dev, &g4), -EADDRNOTAVAIL);
	stack_leave(b.s);
	sends("group: 10.0.0.1 > 224.0.0.22: ttl 1 igmp 22, 1 records, first 3 224.1.2.3");
	netbed_fini(&b);
}
END_TEST

START_TEST(group_sources)
{
	struct in6_addr g = netbed_addr("232.1.2.3"), a = netbed_addr("10.0.0.7"), c = netbed_addr("10.0.0.8");

	setup();
	stack_enter(b.s);
	ck_assert_int_eq(mcast_join_source(b.s, b.dev, &g, &a), 0);
	ck_assert_int_eq(mcast_join_source(b.s, b.dev, &g, &a), 0);
	ck_assert(mcast_member(b.dev, &g));
	stack_leave(b.s);
	sends("group: 10.0.0.1 > 224.0.0.22: ttl 1 igmp 22, 1 records, first 5 232.1.2.3");
	netbed_pass(&b, NETBED_SECOND);
	sends("group: 10.0.0.1 > 224.0.0.22: ttl 1 igmp 22, 1 records, first 1 232.1.2.3");
	netbed_drop_output(&b);
	stack_enter(b.s);
	ck_assert_int_eq(mcast_join(b.s, b.dev, &g), 0);
	ck_assert_int_eq(mcast_join_source(b.s, b.dev, &g, &c), 0); /* all are wanted already */
	stack_leave(b.s);
	sends("group: 10.0.0.1 > 224.0.0.22: ttl 1 igmp 22, 1 records, first 4 232.1.2.3");
	sends("");
	stack_enter(b.s);
	ck_assert_int_eq(mcast_leave(b.s, b.dev, &g), 0);
	ck_assert_int_eq(mcast_leave(b.s, b.dev, &g), -EADDRNOTAVAIL);
	ck_assert(mcast_member(b.dev, &g));
	stack_leave(b.s);
	sends("group: 10.0.0.1 > 224.0.0.22: ttl 1 igmp 22, 1 records, first 3 232.1.2.3");
	netbed_drop_output(&b);
	stack_enter(b.s);
	mcast_leave_source(b.s, b.dev, &g, &a);
	mcast_leave_source(b.s, b.dev, &g, &c);
	ck_assert(mcast_member(b.dev, &g));
	mcast_leave_source(b.s, b.dev, &g, &a);
	ck_assert(!mcast_member(b.dev, &g));
	mcast_leave_source(b.s, b.dev, &g, &a);
	stack_leave(b.s);
	sends("group: 10.0.0.1 > 224.0.0.22: ttl 1 igmp 22, 1 records, first 6 232.1.2.3");
	sends("group: 10.0.0.1 > 224.0.0.22: ttl 1 igmp 22, 1 records, first 6 232.1.2.3");
	stack_enter(b.s);
	for (unsigned i = 0; i < 70; i++) {
		a.s6_addr[15] = (uint8_t)i;
		ck_assert_int_eq(mcast_join_source(b.s, b.dev, &g, &a), i < 64 ? 0 : -ENOBUFS);
	}
	stack_leave(b.s);
	netbed_drop_output(&b);
	netbed_pass(&b, NETBED_SECOND);
	sends("group: 10.0.0.1 > 224.0.0.22: ttl 1 igmp 22, 1 records, first 1 232.1.2.3");
	netbed_fini(&b);
}
END_TEST

UNIT_MAIN(requests, resolves, changes, fails, bounded, solicitations, advertisements, routers, many_routers, groups,
	  group_sources)
