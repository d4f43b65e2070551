/* Routing rules, and routes with several next hops. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/nexthop.h"
#include "net/stack/rule.h"
#include "tests/kernel/netbed.h"

static struct netbed b;
static struct netdev *second;

static int second_transmit(struct stack *s __unused, struct netdev *dev __unused, struct pkt *p)
{
	pkt_free(p);
	return 0;
}

static void add_addr(struct netdev *dev, const char *addr, unsigned plen) REQUIRES(L_NET)
{
	struct addr_config c = {.addr = netbed_addr(addr),
				.plen = (uint8_t)(plen + (strchr(addr, ':') ? 0 : 96)),
				.valid = INT64_MAX,
				.preferred = INT64_MAX};

	ck_assert_int_eq(netdev_add_addr(b.s, dev, &c), 0);
}

static struct route_config config(uint32_t table, const char *prefix, unsigned plen, const char *via)
{
	bool v6 = strchr(prefix, ':');
	struct route_config c = {.table = table,
				 .type = RTN_UNICAST,
				 .v6 = v6,
				 .dst = netbed_addr(prefix),
				 .plen = (uint8_t)(plen + (v6 ? 0 : 96))};

	if (via)
		c.gateway = netbed_addr(via);
	return c;
}

/* tun0 has 10.1.0.1/16 and 2001:db8:1::1/64; table 100 leads everything there. */
static void setup(void) ACQUIRE(L_NET) NO_TSA
{
	static const struct link_ops ops = {.transmit = second_transmit};
	const struct netdev_config n = {
	    .name = "tun0", .type = ARPHRD_NONE, .flags = IFF_POINTOPOINT, .mtu = 1400, .ops = &ops};
	struct route_config c = config(100, "0.0.0.0", 0, "10.1.0.2");

	ck_assert(netbed_init(&b));
	stack_enter(b.s);
	ck_assert_int_eq(netdev_create(b.s, &n, &second), 0);
	ck_assert_int_eq(netdev_set_flags(b.s, second, IFF_UP, IFF_UP), 0);
	add_addr(second, "10.1.0.1", 16);
	add_addr(second, "2001:db8:1::1", 64);
	ck_assert_int_eq(route_add(b.s, &c, ROUTE_USER | ROUTE_EXCL), 0);
}

static void finish(void) RELEASE(L_NET) NO_TSA
{
	stack_leave(b.s);
	netbed_fini(&b);
}

static struct rule_config rule(uint32_t priority, uint32_t table)
{
	return (struct rule_config){.action = FR_ACT_TO_TBL,
				    .src = netbed_addr("0.0.0.0"),
				    .dst = netbed_addr("0.0.0.0"),
				    .src_plen = 96,
				    .dst_plen = 96,
				    .has_priority = true,
				    .priority = priority,
				    .table = table,
				    .suppress_plen = -1,
				    .suppress_group = -1,
				    .uid = {0, UINT32_MAX}};
}

/* The interface's name, or the errno's number. */
static const char *way(const struct ip_out *o) REQUIRES(L_NET)
{
	static char text[20];
	struct ip_route r;
	int err = ip_route(b.s, o, &r);

	if (!err)
		return r.dev->name;
	snprintf(text, sizeof(text), "%d", err);
	return text;
}

/* Every selector: the rule sends to tun0 what matches, and nothing else. */
START_TEST(selectors)
{
	struct ip_out plain = {.dst = netbed_addr("8.8.8.8")}, o[9];
	struct rule_config c[9];

	setup();
	for (unsigned i = 0; i < 9; i++) {
		o[i] = plain;
		c[i] = rule(50, 100);
	}
	c[0].src = netbed_addr("10.0.0.1");
	c[0].src_plen = 128;
	o[0].src = netbed_addr("10.0.0.1");
	c[1].mark = 0x10;
	c[1].mark_mask = 0xf0;
	o[1].mark = 0x1f;
	c[2].uid = (struct fib_rule_uid_range){1000, 2000};
	o[2].uid = 1500;
	c[3].tos = 0x10;
	o[3].tos = 0x10;
	c[4].ip_proto = IPPROTO_TCP;
	o[4].protocol = IPPROTO_TCP;
	c[5].dport = (struct fib_rule_port_range){50, 60};
	o[5].dport = 60;
	c[6].sport = (struct fib_rule_port_range){50, 60};
	o[6].sport = 50;
	c[7].dst = netbed_addr("9.9.0.0");
	c[7].dst_plen = 112;
	o[7].dst = netbed_addr("9.9.9.9");
	strcpy(c[8].oif, "tun0");
	o[8].bound_dev = second->index;
	for (unsigned i = 0; i < 9; i++) {
		ck_assert_int_eq(rule_add(b.s, &c[i], true), 0);
		ck_assert_int_eq(rule_add(b.s, &c[i], true), -EEXIST);
		ck_assert_msg(strcmp(way(&o[i]), "tun0") == 0, "selector %u", i);
		ck_assert_msg(strcmp(way(&plain), "eth0") == 0, "selector %u, another's", i);
		ck_assert_int_eq(rule_del(b.s, &c[i]), 0);
		if (i != 8)
			ck_assert_str_eq(way(&o[i]), "eth0");
		c[i].flags = FIB_RULE_INVERT;
		ck_assert_int_eq(rule_add(b.s, &c[i], true), 0);
		ck_assert_msg(strcmp(way(&plain), "tun0") == 0, "not selector %u", i);
		ck_assert_int_eq(rule_del(b.s, &c[i]), 0);
	}
	ck_assert(!b.s->rules.custom[0]);
	finish();
}
END_TEST

START_TEST(actions)
{
	struct ip_out o = {.dst = netbed_addr("8.8.8.8")};
	struct rule_config c = rule(50, 0), table = rule(60, 100), to_main = rule(40, RT_TABLE_MAIN);

	setup();
	c.action = FR_ACT_PROHIBIT;
	ck_assert_int_eq(rule_add(b.s, &c, true), 0);
	ck_assert_str_eq(way(&o), "-13");
	ck_assert_int_eq(rule_del(b.s, &c), 0);
	c.action = FR_ACT_UNREACHABLE;
	ck_assert_int_eq(rule_add(b.s, &c, true), 0);
	ck_assert_str_eq(way(&o), "-101");
	/* The default route of main is passed over, its neighbours are not. */
	to_main.suppress_plen = 0;
	ck_assert_int_eq(rule_add(b.s, &to_main, true), 0);
	ck_assert_str_eq(way(&o), "-101");
	o.dst = netbed_addr("10.0.0.7");
	ck_assert_str_eq(way(&o), "eth0");
	o.dst = netbed_addr("8.8.8.8");
	ck_assert_int_eq(rule_add(b.s, &table, true), 0);
	c.action = FR_ACT_GOTO;
	c.priority = 45;
	c.target = 60;
	ck_assert_int_eq(rule_add(b.s, &c, true), 0);
	ck_assert_str_eq(way(&o), "tun0");
	c.target = 45;
	ck_assert_int_eq(rule_add(b.s, &c, false), -EINVAL);
	c.target = 59; /* nobody has that */
	c.priority = 44;
	ck_assert_int_eq(rule_add(b.s, &c, true), 0);
	ck_assert_str_eq(way(&o), "tun0");
	c.action = FR_ACT_UNSPEC;
	c.priority = 77;
	ck_assert_int_eq(rule_del(b.s, &c), -ENOENT);
	finish();
}
END_TEST

START_TEST(bounds)
{
	struct rule_config c = rule(50, 100), kept = rule(51, 100);
	unsigned n = 0;
	int err;

	setup();
	kept.flags = FIB_RULE_PERMANENT;
	ck_assert_int_eq(rule_add(b.s, &kept, true), 0);
	ck_assert_int_eq(rule_del(b.s, &kept), -EPERM);
	while (!(err = rule_add(b.s, &c, false)) && n < 100000)
		n++;
	ck_assert_int_eq(err, -ENOBUFS);
	ck_assert_uint_eq(b.s->rules.count[0], n + 4);
	finish();
}
END_TEST

/* What a transport keeps is old when rules change, and those at the start can go. */
START_TEST(generations)
{
	struct ip_out o = {.dst = netbed_addr("10.0.0.1")};
	struct rule_config local = rule(0, RT_TABLE_LOCAL), c = rule(50, 100);
	struct ip_route r;

	setup();
	ck_assert_int_eq(ip_route(b.s, &o, &r), 0);
	ck_assert_int_eq(rule_add(b.s, &c, true), 0);
	ck_assert(ip_route_stale(b.s, &r));
	ck_assert_int_eq(ip_route(b.s, &o, &r), 0);
	ck_assert_str_eq(r.dev->name, "lo");
	ck_assert_int_eq(rule_del(b.s, &local), 0);
	ck_assert(ip_route_stale(b.s, &r));
	ck_assert_str_eq(way(&o), "tun0"); /* table 100 knows no local addresses */
	ck_assert_int_eq(rule_add(b.s, &local, true), 0);
	ck_assert_str_eq(way(&o), "lo");
	finish();
}
END_TEST

/* How many of a thousand flows go by tun0. */
static unsigned share(void) REQUIRES(L_NET)
{
	struct ip_out o = {.dst = netbed_addr("20.0.0.0")};
	unsigned n = 0;

	for (uint32_t i = 0; i < 1000; i++) {
		const char *first;

		o.dst.s6_addr32[3] = htonl(20u << 24 | i * 7919);
		first = way(&o);
		n += strcmp(first, "tun0") == 0;
		ck_assert_str_eq(way(&o), first);
	}
	return n;
}

static struct route_config two_ways(const char *prefix, unsigned plen, const char *one, const char *two)
{
	struct route_config c = config(RT_TABLE_MAIN, prefix, plen, NULL);

	c.hops = nexthops_create(2);
	ck_assert_ptr_nonnull(c.hops);
	c.hops->hop[0] = (struct nexthop){NULL, netbed_addr(one), 3};
	c.hops->hop[1] = (struct nexthop){NULL, netbed_addr(two), 1};
	return c;
}

START_TEST(several)
{
	struct route_config c;

	setup();
	c = two_ways("20.0.0.0", 8, "10.0.0.2", "10.1.0.2");
	ck_assert_int_eq(route_add(b.s, &c, ROUTE_USER | ROUTE_EXCL), 0);
	ck_assert_int_eq(route_add(b.s, &c, ROUTE_USER), -EEXIST);
	ck_assert_uint_ge(share(), 150);
	ck_assert_uint_le(share(), 350);
	ck_assert_int_eq(netdev_set_flags(b.s, second, 0, IFF_UP), 0);
	ck_assert_uint_eq(share(), 0);
	ck_assert_int_eq(netdev_set_flags(b.s, second, IFF_UP, IFF_UP), 0);
	ck_assert_uint_ge(share(), 150);
	ck_assert_int_eq(netdev_set_flags(b.s, b.dev, 0, IFF_UP), 0);
	ck_assert_uint_eq(share(), 1000);
	ck_assert_int_eq(netdev_set_flags(b.s, second, 0, IFF_UP), 0); /* the last: it goes */
	ck_assert_int_eq(route_del(b.s, &c), -ESRCH);
	nexthops_free(c.hops);
	finish();
}
END_TEST

START_TEST(several_v6)
{
	struct route_config c, one;
	struct in6_addr dst = netbed_addr("2002::1");
	const struct route *r;

	setup();
	c = two_ways("2002::", 16, "2001:db8::2", "2001:db8:1::2");
	ck_assert_int_eq(route_add(b.s, &c, ROUTE_USER | ROUTE_EXCL), 0);
	one = config(RT_TABLE_MAIN, "2002::", 16, "2001:db8::3");
	one.dev = b.dev;
	ck_assert_int_eq(route_add(b.s, &one, ROUTE_USER | ROUTE_EXCL), -EEXIST);
	ck_assert_int_eq(route_add(b.s, &one, ROUTE_USER | ROUTE_APPEND), 0);
	ck_assert_int_eq(route_add(b.s, &one, ROUTE_USER | ROUTE_APPEND), -EEXIST);
	r = route_find(b.s, &dst, 0);
	ck_assert_uint_eq(r->c.hops->count, 3);
	ck_assert_int_eq(route_del(b.s, &one), 0);
	one = c;
	one.type = RTN_BLACKHOLE;
	ck_assert_int_eq(route_add(b.s, &one, ROUTE_USER), -EINVAL);
	/* An interface that goes takes its way with it; what is left is a route like others. */
	netdev_destroy(b.s, second);
	r = route_find(b.s, &dst, 0);
	ck_assert_ptr_nonnull(r);
	ck_assert_ptr_null(r->c.hops);
	ck_assert_ptr_eq(r->c.dev, b.dev);
	nexthops_free(c.hops);
	finish();
}
END_TEST

UNIT_MAIN(selectors, actions, bounds, generations, several, several_v6)
