/* Routes, source addresses, interfaces. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/neigh.h"
#include "net/stack/route.h"
#include "sentry/base/slab.h"
#include "tests/kernel/netbed.h"

static struct netbed b;
static struct netdev *second;

static int second_transmit(struct stack *s __unused, struct netdev *dev __unused, struct pkt *p)
{
	pkt_free(p);
	return 0;
}

static int add_addr(struct netdev *dev, const char *addr, unsigned plen, uint8_t scope) REQUIRES(L_NET)
{
	struct addr_config c = {.addr = netbed_addr(addr),
				.plen = (uint8_t)(plen + (strchr(addr, ':') ? 0 : 96)),
				.scope = scope,
				.valid = INT64_MAX,
				.preferred = INT64_MAX};

	return netdev_add_addr(b.s, dev, &c);
}

static int del_addr(struct netdev *dev, const char *addr, unsigned plen) REQUIRES(L_NET)
{
	struct in6_addr a = netbed_addr(addr);

	return netdev_del_addr(b.s, dev, &a, plen + (strchr(addr, ':') ? 0 : 96));
}

/* A second interface, point to point, 10.1.0.1/16 and 2001:db8:1::1/64. The stack is entered. */
static void setup(void) ACQUIRE(L_NET) NO_TSA
{
	static const struct link_ops ops = {.transmit = second_transmit};
	const struct netdev_config c = {
	    .name = "tun0", .type = ARPHRD_NONE, .flags = IFF_POINTOPOINT, .mtu = 1400, .ops = &ops};

	ck_assert(netbed_init(&b));
	stack_enter(b.s);
	ck_assert_int_eq(netdev_create(b.s, &c, &second), 0);
	ck_assert_int_eq(netdev_set_flags(b.s, second, IFF_UP, IFF_UP), 0);
	ck_assert_int_eq(add_addr(second, "10.1.0.1", 16, 0), 0);
	ck_assert_int_eq(add_addr(second, "2001:db8:1::1", 64, 0), 0);
}

static void finish(void) RELEASE(L_NET) NO_TSA
{
	stack_leave(b.s);
	netbed_fini(&b);
}

static struct route_config config(const char *prefix, unsigned plen, const char *via, uint32_t metric, uint8_t type)
{
	bool v6 = strchr(prefix, ':');
	struct route_config c = {.table = RT_TABLE_MAIN,
				 .type = type,
				 .v6 = v6,
				 .dst = netbed_addr(prefix),
				 .plen = (uint8_t)(plen + (v6 ? 0 : 96)),
				 .metric = metric};

	if (via)
		c.gateway = netbed_addr(via);
	return c;
}

static int add(const char *prefix, unsigned plen, const char *via, uint32_t metric, uint8_t type) REQUIRES(L_NET)
{
	struct route_config c = config(prefix, plen, via, metric, type);

	return route_add(b.s, &c, ROUTE_EXCL);
}

static int del(const char *prefix, unsigned plen, const char *via, uint32_t metric) REQUIRES(L_NET)
{
	struct route_config c = config(prefix, plen, via, metric, 0);

	return route_del(b.s, &c);
}

/* The way to dst as "interface next-hop source", or the errno's number. */
static const char *way(const char *dst, const char *src, unsigned dev) REQUIRES(L_NET)
{
	static char line[200];
	struct ip_out o = {.dst = netbed_addr(dst), .bound_dev = dev};
	char hop[INET6_ADDRSTRLEN], from[INET6_ADDRSTRLEN];
	struct ip_route r;
	int err;

	if (src)
		o.src = netbed_addr(src);
	err = ip_route(b.s, &o, &r);
	if (err) {
		snprintf(line, sizeof(line), "%d", err);
		return line;
	}
	inet_ntop(AF_INET6, &r.next_hop, hop, sizeof(hop));
	inet_ntop(AF_INET6, &r.src, from, sizeof(from));
	snprintf(line, sizeof(line), "%s %s %s%s", r.dev->name, strncmp(hop, "::ffff:", 7) ? hop : hop + 7,
		 strncmp(from, "::ffff:", 7) ? from : from + 7, r.local ? " local" : "");
	return line;
}

static void goes(const char *dst, const char *expected) REQUIRES(L_NET)
{
	ck_assert_str_eq(way(dst, NULL, 0), expected);
}

START_TEST(defaults)
{
	setup();
	goes("10.0.0.5", "eth0 10.0.0.5 10.0.0.1");
	goes("8.8.8.8", "eth0 10.0.0.254 10.0.0.1");
	goes("10.1.2.3", "tun0 10.1.2.3 10.1.0.1");
	goes("10.0.0.1", "lo 10.0.0.1 10.0.0.1 local");
	goes("127.0.0.1", "lo 127.0.0.1 127.0.0.1 local");
	goes("127.3.2.1", "lo 127.3.2.1 127.0.0.1 local");
	goes("0.0.0.0", "lo 127.0.0.1 127.0.0.1 local");
	goes("10.0.0.255", "eth0 10.0.0.255 10.0.0.1");
	goes("255.255.255.255", "eth0 255.255.255.255 10.0.0.1");
	goes("224.0.0.5", "eth0 224.0.0.5 10.0.0.1");
	goes("2001:db8::5", "eth0 2001:db8::5 2001:db8::1");
	goes("2001:db8:1::5", "tun0 2001:db8:1::5 2001:db8:1::1");
	goes("2002::5", "eth0 2001:db8::fe 2001:db8::1");
	goes("fe80::5", "eth0 fe80::5 fe80::ff:fe00:1");
	goes("ff02::5", "eth0 ff02::5 fe80::ff:fe00:1");
	goes("::1", "lo ::1 ::1 local");
	goes("::", "lo ::1 ::1 local");
	ck_assert_str_eq(way("8.8.8.8", "10.1.0.1", 0), "eth0 10.0.0.254 10.1.0.1");
	ck_assert_str_eq(way("8.8.8.8", "10.0.0.2", 0), "-22");
	ck_assert_str_eq(way("8.8.8.8", NULL, second->index),
			 "tun0 8.8.8.8 10.1.0.1"); /* on that link, as Linux says */
	ck_assert_str_eq(way("2002::5", NULL, second->index), "-101");
	ck_assert_str_eq(way("224.0.0.5", NULL, second->index), "tun0 224.0.0.5 10.1.0.1");
	ck_assert_str_eq(way("10.0.0.5", NULL, 77), "-19");
	finish();
}
END_TEST

START_TEST(longest_prefix)
{
	setup();
	ck_assert_int_eq(add("20.0.0.0", 8, "10.0.0.8", 0, RTN_UNICAST), 0);
	ck_assert_int_eq(add("20.1.0.0", 16, "10.0.0.16", 0, RTN_UNICAST), 0);
	ck_assert_int_eq(add("20.1.1.0", 24, "10.1.0.24", 0, RTN_UNICAST), 0);
	ck_assert_int_eq(add("20.1.1.1", 32, "10.0.0.32", 0, RTN_UNICAST), 0);
	ck_assert_int_eq(add("20.1.1.0", 24, "10.0.0.25", 10, RTN_UNICAST), 0);
	goes("20.2.0.0", "eth0 10.0.0.8 10.0.0.1");
	goes("20.1.2.0", "eth0 10.0.0.16 10.0.0.1");
	goes("20.1.1.2", "tun0 10.1.0.24 10.1.0.1");
	goes("20.1.1.1", "eth0 10.0.0.32 10.0.0.1");
	ck_assert_str_eq(way("20.1.1.2", NULL, b.dev->index), "eth0 10.0.0.25 10.0.0.1");
	ck_assert_int_eq(del("20.1.1.0", 24, "10.1.0.24", 0), 0);
	goes("20.1.1.2", "eth0 10.0.0.25 10.0.0.1");
	ck_assert_int_eq(del("20.1.1.0", 24, NULL, 0), 0);
	goes("20.1.1.2", "eth0 10.0.0.16 10.0.0.1");
	ck_assert_int_eq(del("20.1.1.0", 24, NULL, 0), -ESRCH);
	ck_assert_int_eq(add("2001:db8:5::", 48, "2001:db8::5", 0, RTN_UNICAST), 0);
	ck_assert_int_eq(add("2001:db8:5::5", 128, NULL, 0, RTN_UNREACHABLE), 0);
	goes("2001:db8:5::6", "eth0 2001:db8::5 2001:db8::1");
	goes("2001:db8:5::5", "-113");
	finish();
}
END_TEST

START_TEST(types)
{
	setup();
	ck_assert_int_eq(add("30.0.0.0", 8, NULL, 0, RTN_BLACKHOLE), 0);
	ck_assert_int_eq(add("31.0.0.0", 8, NULL, 0, RTN_UNREACHABLE), 0);
	ck_assert_int_eq(add("32.0.0.0", 8, NULL, 0, RTN_PROHIBIT), 0);
	goes("30.1.1.1", "-22");
	goes("31.1.1.1", "-113");
	goes("32.1.1.1", "-13");
	ck_assert_int_eq(del("0.0.0.0", 0, NULL, 0), 0);
	goes("33.1.1.1", "-101");
	finish();
}
END_TEST

START_TEST(refused)
{
	struct route_config c;

	setup();
	ck_assert_int_eq(add("20.0.0.1", 8, "10.0.0.8", 0, RTN_UNICAST), -EINVAL); /* bits beyond the prefix */
	ck_assert_int_eq(add("20.0.0.0", 8, "99.0.0.8", 0, RTN_UNICAST), -ENETUNREACH);
	ck_assert_int_eq(add("20.0.0.0", 8, "10.0.0.1", 0, RTN_UNICAST), -EINVAL); /* ourselves */
	ck_assert_int_eq(add("20.0.0.0", 8, NULL, 0, RTN_UNICAST), -ENODEV);
	ck_assert_int_eq(add("20.0.0.0", 8, "2001:db8::5", 0, RTN_UNICAST), -EINVAL);
	ck_assert_int_eq(add("20.0.0.0", 8, "10.0.0.8", 0, 99), -EINVAL);
	ck_assert_int_eq(add("2001::", 16, "fe80::5", 0, RTN_UNICAST), -EINVAL); /* on which link? */
	ck_assert_int_eq(add("20.0.0.0", 8, "10.0.0.8", 0, RTN_UNICAST), 0);
	ck_assert_int_eq(add("20.0.0.0", 8, "10.0.0.9", 0, RTN_UNICAST), -EEXIST);
	c = config("20.0.0.0", 8, "10.0.0.9", 0, RTN_UNICAST);
	ck_assert_int_eq(route_add(b.s, &c, ROUTE_REPLACE), 0);
	goes("20.0.0.1", "eth0 10.0.0.9 10.0.0.1");
	ck_assert_int_eq(netdev_set_flags(b.s, second, 0, IFF_UP), 0);
	c = config("21.0.0.0", 8, NULL, 0, RTN_UNICAST);
	c.dev = second;
	ck_assert_int_eq(route_add(b.s, &c, 0), -ENETDOWN);
	finish();
}
END_TEST

START_TEST(generations)
{
	struct ip_out o = {.dst = netbed_addr("10.0.0.5")};
	struct ip_route r;

	setup();
	ck_assert_int_eq(ip_route(b.s, &o, &r), 0);
	ck_assert(!ip_route_stale(b.s, &r));
	ck_assert_int_eq(add("20.0.0.0", 8, "10.0.0.8", 0, RTN_UNICAST), 0);
	ck_assert(ip_route_stale(b.s, &r));
	ck_assert_int_eq(ip_route(b.s, &o, &r), 0);
	ck_assert_int_eq(netdev_set_mtu(b.s, b.dev, 1000), 0);
	ck_assert(ip_route_stale(b.s, &r));
	ck_assert_int_eq(ip_route(b.s, &o, &r), 0);
	ck_assert_uint_eq(r.mtu, 1000);
	ck_assert_uint_eq(ip_mss(&o.dst, &r), 960);
	/* What names an interface that is gone is looked up again, not followed. */
	netdev_destroy(b.s, b.dev);
	ck_assert(ip_route_stale(b.s, &r));
	ck_assert_int_eq(ip_output(b.s, pkt_create(), &o, &r), -ENETUNREACH);
	finish();
}
END_TEST

START_TEST(down_and_up)
{
	setup();
	ck_assert_int_eq(add("20.0.0.0", 8, "10.0.0.8", 0, RTN_UNICAST), 0);
	ck_assert_int_eq(netdev_set_flags(b.s, b.dev, 0, IFF_UP), 0);
	goes("10.0.0.5", "-101");
	goes("10.0.0.1", "-101");
	ck_assert_str_eq(way("10.0.0.5", NULL, b.dev->index), "-100");
	ck_assert_int_eq(netdev_set_flags(b.s, b.dev, IFF_UP, IFF_UP), 0);
	goes("10.0.0.5", "eth0 10.0.0.5 10.0.0.1");
	goes("10.0.0.1", "lo 10.0.0.1 10.0.0.1 local");
	goes("2001:db8::5", "eth0 2001:db8::5 2001:db8::1");
	goes("20.1.1.1", "-101"); /* an administrator's routes are gone */
	finish();
}
END_TEST

START_TEST(addresses)
{
	struct in6_addr a = netbed_addr("10.0.0.3");

	setup();
	ck_assert_int_eq(add_addr(b.dev, "10.0.0.1", 24, 0), -EEXIST);
	ck_assert_int_eq(add_addr(b.dev, "224.0.0.1", 24, 0), -EINVAL);
	ck_assert_int_eq(add_addr(b.dev, "0.0.0.0", 24, 0), -EINVAL);
	ck_assert_int_eq(add_addr(b.dev, "10.0.0.3", 24, 0), 0);
	ck_assert(netdev_find_addr(b.dev, &a)->flags & IFA_F_SECONDARY);
	goes("10.0.0.5", "eth0 10.0.0.5 10.0.0.1");
	goes("10.0.0.3", "lo 10.0.0.3 10.0.0.3 local");
	ck_assert_int_eq(del_addr(b.dev, "10.0.0.1", 25), -EADDRNOTAVAIL);
	ck_assert_int_eq(del_addr(b.dev, "10.0.0.1", 24), 0); /* its secondary goes with it */
	goes("10.0.0.3", "-101");
	ck_assert_ptr_null(netdev_find_addr(b.dev, &a));
	ck_assert_int_eq(add_addr(b.dev, "10.9.0.1", 32, 0), 0);
	goes("10.9.0.1", "lo 10.9.0.1 10.9.0.1 local");
	goes("10.9.0.2", "-101");
	ck_assert(!ip_is_local(b.s, &a, 0));
	ck_assert_int_eq(add_addr(b.dev, "2001:db8:7::1", 64, 0), 0);
	goes("2001:db8:7::2", "eth0 2001:db8:7::2 2001:db8:7::1");
	ck_assert_int_eq(del_addr(b.dev, "2001:db8:7::1", 64), 0);
	goes("2001:db8:7::2", "eth0 2001:db8::fe 2001:db8::1");
	finish();
}
END_TEST

START_TEST(without_v6)
{
	struct in6_addr a = netbed_addr("2001:db8::1");

	setup();
	ck_assert_int_eq(netdev_set_v6(b.s, b.dev, false), 0);
	goes("2001:db8::5", "-101");
	goes("10.0.0.5", "eth0 10.0.0.5 10.0.0.1");
	ck_assert_ptr_null(netdev_find_addr(b.dev, &a));
	ck_assert_int_eq(add_addr(b.dev, "2001:db8::1", 64, 0), -EACCES);
	ck_assert_int_eq(netdev_set_flags(b.s, b.dev, 0, IFF_UP), 0);
	ck_assert_int_eq(netdev_set_flags(b.s, b.dev, IFF_UP, IFF_UP), 0);
	goes("fe80::5", "-101");
	stack_leave(b.s);
	netbed_pass(&b, 20 * NETBED_SECOND);
	ck_assert_str_eq(netbed_output(&b), ""); /* no solicitations, no reports */
	stack_enter(b.s);
	ck_assert_int_eq(netdev_set_v6(b.s, b.dev, true), 0);
	ck_assert_int_eq(add_addr(b.dev, "2001:db8::1", 64, 0), 0);
	goes("2001:db8::5", "eth0 2001:db8::5 2001:db8::1");
	finish();
}
END_TEST

/* RFC 6724, 10.1, as far as rules and labels exist here: candidates, destination, choice. */
static const struct {
	const char *have[3], *dst, *choice;
} choices[] = {
    {{"2001:db8:3::1", "2001:db8:1:2::9"}, "2001:db8:1:3::1", "2001:db8:1:2::9"}, /* longest match */
    {{"2001:db8:3::1", "fd00::1"}, "fd00:1::1", "fd00::1"},                       /* label and match */
    {{"2002:c633:6401::1", "2001:db8:3::1"}, "2002:c633:6401::d5", "2002:c633:6401::1"},
    {{"2002:c633:6401::1", "2001:db8:3::1"}, "2001::1", "2001:db8:3::1"},
    {{"2001:db8:3::1"}, "ff02::1", "fe80::ff:fe00:1"},
    {{"2001:db8:3::1"}, "fe80::1", "fe80::ff:fe00:1"},
    {{"2001:db8:3::1"}, "2001:db8:3::1", "2001:db8:3::1"},
};

START_TEST(sources)
{
	for (unsigned i = 0; i < ARRAY_SIZE(choices); i++) {
		struct in6_addr dst = netbed_addr(choices[i].dst), want = netbed_addr(choices[i].choice), got;

		setup();
		ck_assert_int_eq(del_addr(b.dev, "2001:db8::1", 64), 0);
		ck_assert_int_eq(del_addr(second, "2001:db8:1::1", 64), 0);
		for (unsigned j = 0; j < 3 && choices[i].have[j]; j++)
			ck_assert_int_eq(add_addr(b.dev, choices[i].have[j], 64, 0), 0);
		ck_assert(route_source(b.s, b.dev, &dst, &got));
		ck_assert_msg(addr_eq(&got, &want), "choice %u", i);
		finish();
	}
}
END_TEST

START_TEST(names)
{
	static const struct link_ops ops = {.transmit = second_transmit};
	struct netdev_config c = {.name = "eth%d", .type = ARPHRD_ETHER, .mtu = 1500, .ops = &ops};
	struct netdev *dev;

	setup();
	ck_assert_int_eq(netdev_create(b.s, &c, &dev), 0);
	ck_assert_str_eq(dev->name, "eth1");
	ck_assert_ptr_eq(netdev_by_name(b.s, "eth1"), dev);
	ck_assert_ptr_eq(netdev_by_index(b.s, dev->index), dev);
	ck_assert_ptr_eq(netdev_next(b.s, second->index), dev);
	ck_assert_int_eq(netdev_set_name(b.s, dev, "tun0"), -EEXIST);
	ck_assert_int_eq(netdev_set_name(b.s, dev, "wan"), 0);
	for (unsigned i = 0; i < 6; i++) {
		static const char *const bad[] = {"", ".", "a/b", "a b", "0123456789abcdef", "%d%d"};

		c.name = bad[i];
		ck_assert_int_eq(netdev_create(b.s, &c, &dev), -EINVAL);
	}
	c.name = "lo";
	ck_assert_int_eq(netdev_create(b.s, &c, &dev), -EEXIST);
	c.name = "x";
	c.mtu = 10;
	ck_assert_int_eq(netdev_create(b.s, &c, &dev), -EINVAL);
	finish();
}
END_TEST

/* Against a search of everything. */
START_TEST(random_routes)
{
	struct {
		uint32_t prefix;
		unsigned plen;
	} have[200];
	uint64_t x = 1;

	setup();
	ck_assert_int_eq(del("0.0.0.0", 0, NULL, 0), 0);
	for (unsigned i = 0; i < 200; i++) {
		struct route_config c = {.type = RTN_UNICAST, .dev = second, .protocol = 4, .metric = i + 1};

		x = x * 6364136223846793005u + 1442695040888963407u;
		have[i].plen = 1 + (unsigned)(x >> 33) % 32;
		have[i].prefix = 100u << 24 | ((uint32_t)(x >> 20) & 0x30f030f);
		have[i].prefix &= ~(uint32_t)(have[i].plen < 32 ? UINT32_MAX >> have[i].plen : 0);
		c.dst = addr_from_v4(htonl(have[i].prefix));
		c.plen = (uint8_t)(96 + have[i].plen);
		ck_assert_int_eq(route_add(b.s, &c, ROUTE_EXCL), 0);
	}
	for (unsigned n = 0; n < 3000; n++) {
		const struct route *r;
		unsigned best = 0;
		uint32_t dst;
		struct in6_addr a;

		x = x * 6364136223846793005u + 1442695040888963407u;
		dst = 100u << 24 | ((uint32_t)(x >> 20) & 0x30f030f);
		for (unsigned i = 0; i < 200; i++)
			if ((dst ^ have[i].prefix) >> (32 - have[i].plen) == 0)
				best = MAX(best, have[i].plen);
		a = addr_from_v4(htonl(dst));
		r = route_find(b.s, &a, 0);
		ck_assert_uint_eq(r ? r->c.plen : 0, best ? best + 96 : 0);
	}
	finish();
}
END_TEST

UNIT_MAIN(defaults, longest_prefix, types, refused, generations, down_and_up, addresses, without_v6, sources, names,
	  random_routes)
