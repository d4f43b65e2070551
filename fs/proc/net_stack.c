/*
 * /proc/PID/net: interfaces, addresses, routes, neighbours and counters of the stack: proc_pid_net(5). Columns and widths are Linux's, byte for byte.
 *
 * Each file is written under the stack's lock, which the buffer that it grows in bears. Names of counters come from the stack (net/stack/mib.def); what
 * Linux counts and the stack does not is left out, since readers go by name.
 */
#include <inttypes.h>
#include <net/route.h>
#include <string.h>

#include "fs/proc/net.h"
#include "net/netstack.h"
#include "net/stack/addr.h"
#include "net/stack/neigh.h"
#include "net/stack/netdev.h"
#include "net/stack/route.h"
#include "net/stack/tcp.h"

#define RTF_NONEXTHOP_ 0x200000u
#define RTF_LOCAL_ 0x80000000u
#define NO_ADDR "00000000000000000000000000000000"

/* Calls fill with the stack entered. */
static int show(const struct pseudo_ref *r, struct seq *s, void (*fill)(struct stack *st, struct seq *s))
{
	NETNS_REF net = proc_net_of(r);
	struct stack *st = net ? netns_stack(net) : NULL;

	if (!st)
		return net ? -ENOMEM : -EINVAL;
	stack_enter(st);
	fill(st, s);
	stack_leave(st);
	return 0;
}

/* ---- interfaces ---- */

static void fill_dev(struct stack *st, struct seq *s) REQUIRES(L_NET)
{
	const struct netdev *d = NULL;

	seq_puts(s, "Inter-|   Receive                                                |  Transmit\n"
		    " face |bytes    packets errs drop fifo frame compressed multicast|"
		    "bytes    packets errs drop fifo colls carrier compressed\n");
	while ((d = netdev_next(st, d ? d->index : 0))) {
		const struct netdev_stats *n = &d->stats;

		seq_printf(s,
			   "%6s: %7" PRIu64 " %7" PRIu64 " %4" PRIu64 " %4" PRIu64 "    0     0          0 %9" PRIu64,
			   d->name, n->rx_bytes, n->rx_packets, n->rx_errors, n->rx_dropped, n->multicast);
		seq_printf(s, " %8" PRIu64 " %7" PRIu64 " %4" PRIu64 " %4" PRIu64 "    0     0       0          0\n",
			   n->tx_bytes, n->tx_packets, n->tx_errors, n->tx_dropped);
	}
}

int proc_net_dev(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	return show(r, s, fill_dev);
}

static void show_hex(struct seq *s, const struct in6_addr *a)
{
	for (int i = 0; i < 16; i++)
		seq_printf(s, "%02x", a->s6_addr[i]);
}

/* The scope as Linux encodes it in a type of address. */
static unsigned addr6_scope(const struct in6_addr *a)
{
	if (IN6_IS_ADDR_LOOPBACK(a))
		return 0x10;
	return IN6_IS_ADDR_LINKLOCAL(a) ? 0x20 : IN6_IS_ADDR_SITELOCAL(a) ? 0x40 : 0;
}

static void fill_if_inet6(struct stack *st, struct seq *s) REQUIRES(L_NET)
{
	const struct netdev *d = NULL;
	const struct netdev_addr *a;

	while ((d = netdev_next(st, d ? d->index : 0))) {
		list_for_each(a, &d->addrs, link) {
			if (addr_is_v4(&a->addr))
				continue;
			show_hex(s, &a->addr);
			seq_printf(s, " %02x %02x %02x %02x %8s\n", d->index, a->plen, addr6_scope(&a->addr),
				   a->flags & 0xff, d->name);
		}
	}
}

int proc_net_if_inet6(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	return show(r, s, fill_if_inet6);
}

/* ---- multicast groups ---- */

/* The groups of one interface. */
struct groups {
	struct seq *s;
	const struct netdev *dev;
	unsigned count;
};

static void count_group(void *arg, const struct in6_addr *a, unsigned users __unused)
{
	struct groups *g = arg;

	g->count += addr_is_v4(a);
}

static void show_group4(void *arg, const struct in6_addr *a, unsigned users)
{
	const struct groups *g = arg;

	if (addr_is_v4(a))
		seq_printf(g->s, "\t\t\t\t%08X %5u 0:00000000\t\t0\n", addr_v4(a), users);
}

static void show_group6(void *arg, const struct in6_addr *a, unsigned users)
{
	const struct groups *g = arg;
	bool all = a->s6_addr[15] == 1 && !memcmp(a->s6_addr + 2, &in6addr_any, 13);

	if (addr_is_v4(a))
		return;
	seq_printf(g->s, "%-4u %-15s ", g->dev->index, g->dev->name);
	show_hex(g->s, a);
	seq_printf(g->s, " %5u %08X 0\n", users, all ? (a->s6_addr[1] == 2 ? 12 : 8) : 4);
}

/* The addresses that the link listens to: of a group that no link knows, none. */
static void show_link_group(void *arg, const struct in6_addr *a, unsigned users)
{
	const struct groups *g = arg;
	uint8_t m[MAC_LEN];

	if (a->s6_addr[0] == 0xff && a->s6_addr[1] == 1)
		return;
	if (addr_is_v4(a))
		memcpy(m, (uint8_t[]){1, 0, 0x5e, a->s6_addr[13] & 0x7f, a->s6_addr[14], a->s6_addr[15]}, sizeof(m));
	else
		memcpy(m, (uint8_t[]){0x33, 0x33, a->s6_addr[12], a->s6_addr[13], a->s6_addr[14], a->s6_addr[15]},
		       sizeof(m));
	seq_printf(g->s, "%-4u %-15s %-5u 0     %02x%02x%02x%02x%02x%02x\n", g->dev->index, g->dev->name, users, m[0],
		   m[1], m[2], m[3], m[4], m[5]);
}

static void fill_igmp(struct stack *st, struct seq *s) REQUIRES(L_NET)
{
	struct netdev *d = NULL;

	seq_puts(s, "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n");
	while ((d = netdev_next(st, d ? d->index : 0))) {
		struct groups g = {s, d, 0};

		mcast_each(d, count_group, &g);
		if (g.count)
			seq_printf(s, "%u\t%-10s: %5u %7s\n", d->index, d->name, g.count, "V3");
		mcast_each(d, show_group4, &g);
	}
}

int proc_net_igmp(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	return show(r, s, fill_igmp);
}

static void fill_igmp6(struct stack *st, struct seq *s) REQUIRES(L_NET)
{
	struct netdev *d = NULL;

	while ((d = netdev_next(st, d ? d->index : 0))) {
		struct groups g = {s, d, 0};

		mcast_each(d, show_group6, &g);
	}
}

int proc_net_igmp6(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	return show(r, s, fill_igmp6);
}

static void fill_dev_mcast(struct stack *st, struct seq *s) REQUIRES(L_NET)
{
	struct netdev *d = NULL;

	while ((d = netdev_next(st, d ? d->index : 0))) {
		struct groups g = {s, d, 0};

		if (d->features & NETDEV_ETHER)
			mcast_each(d, show_link_group, &g);
	}
}

int proc_net_dev_mcast(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	return show(r, s, fill_dev_mcast);
}

/* ---- routes ---- */

static unsigned route_flags(const struct route_config *rc)
{
	unsigned flags = RTF_UP;

	if (!addr_is_any(&rc->gateway))
		flags |= RTF_GATEWAY;
	if (rc->plen == 128)
		flags |= RTF_HOST;
	if (rc->type == RTN_UNREACHABLE || rc->type == RTN_PROHIBIT || rc->type == RTN_BLACKHOLE)
		flags |= RTF_REJECT;
	return flags;
}

/* The main table; lo's addresses stand in the local one, which Linux does not show here. */
static bool show_route(void *arg, const struct route *r)
{
	const struct route_config *rc = &r->c;
	uint32_t mask = htonl(rc->plen > V4_BITS ? UINT32_MAX << (128 - rc->plen) : 0);
	struct seq *s = arg;
	size_t start = s->len;

	if (rc->v6 || rc->table != RT_TABLE_MAIN || rc->type == RTN_LOCAL || rc->type == RTN_BROADCAST)
		return true;
	seq_printf(s, "%s\t%08X\t%08X\t%04X\t0\t0\t%u\t%08X\t%u\t0\t0", rc->dev ? rc->dev->name : "*",
		   addr_v4(&rc->dst), addr_v4(&rc->gateway), route_flags(rc), rc->metric, mask, rc->mtu);
	seq_pad(s, start, 127);
	seq_puts(s, "\n");
	return true;
}

static void fill_route(struct stack *st, struct seq *s) REQUIRES(L_NET)
{
	seq_printf(s, "%-127s\n",
		   "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT");
	route_each(st, show_route, s);
}

int proc_net_route(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	return show(r, s, fill_route);
}

static void show_way6(struct seq *s, const struct route_config *rc, const struct netdev *dev,
		      const struct in6_addr *gateway)
{
	unsigned flags = route_flags(rc) & ~(unsigned)RTF_HOST;

	if (rc->type == RTN_LOCAL)
		flags = RTF_UP | RTF_NONEXTHOP_ | RTF_LOCAL_;
	show_hex(s, &rc->dst);
	seq_printf(s, " %02x " NO_ADDR " 00 ", rc->plen);
	show_hex(s, gateway);
	seq_printf(s, " %08x %08x %08x %08x %8s\n", rc->metric, rc->type == RTN_LOCAL ? 2 : 1, 0, flags,
		   dev ? dev->name : "lo");
}

/* Each way of a route as if it were one. */
static bool show_route6(void *arg, const struct route *r)
{
	const struct nexthops *h = r->c.hops;

	if (!r->c.v6)
		return true;
	for (unsigned i = 0; h && i < h->count; i++)
		show_way6(arg, &r->c, h->hop[i].dev, &h->hop[i].gateway);
	if (!h)
		show_way6(arg, &r->c, r->c.dev, &r->c.gateway);
	return true;
}

/* For IPv6 it shows all tables, and that everything else is unreachable. */
static void fill_ipv6_route(struct stack *st, struct seq *s) REQUIRES(L_NET)
{
	route_each(st, show_route6, s);
	seq_puts(s, NO_ADDR " 00 " NO_ADDR " 00 " NO_ADDR " ffffffff 00000001 00000000 00200200       lo\n");
}

int proc_net_ipv6_route(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	return show(r, s, fill_ipv6_route);
}

static bool show_neigh(void *arg, const struct neigh *n)
{
	bool known = n->state & (NUD_PERMANENT | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_NOARP);
	unsigned flags = (known ? 2u : 0) | (n->state & NUD_PERMANENT ? 4u : 0);
	const uint8_t *m = n->mac, *a = &n->addr.s6_addr[12];
	struct seq *s = arg;
	size_t start = s->len;

	if (!addr_is_v4(&n->addr))
		return true;
	seq_printf(s, "%u.%u.%u.%u", a[0], a[1], a[2], a[3]);
	seq_pad(s, start, 17);
	seq_printf(s, "0x%-10x0x%-10x%02x:%02x:%02x:%02x:%02x:%02x     *        %s\n", n->dev->type, flags, m[0], m[1],
		   m[2], m[3], m[4], m[5], n->dev->name);
	return true;
}

static void fill_arp(struct stack *st, struct seq *s) REQUIRES(L_NET)
{
	seq_puts(s, "IP address       HW type     Flags       HW address            Mask     Device\n");
	neigh_each(st, show_neigh, s);
}

int proc_net_arp(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	return show(r, s, fill_arp);
}

/* ---- counters ---- */

/* Two lines: the names of a group's counters, and their values. What stands first in Linux's is not counted. */
static void show_group(struct stack *st, struct seq *s, const char *group, const char *names, const char *values)
    REQUIRES(L_NET)
{
	seq_printf(s, "%s:%s", group, names);
	for (unsigned i = 0; i < MIB_COUNT; i++)
		if (strcmp(mib_group(i), group) == 0)
			seq_printf(s, " %s", mib_name(i));
	seq_printf(s, "\n%s:%s", group, values);
	for (unsigned i = 0; i < MIB_COUNT; i++)
		if (strcmp(mib_group(i), group) == 0)
			seq_printf(s, " %" PRIu64, mib_get(st, i));
	seq_puts(s, "\n");
}

static void fill_snmp(struct stack *st, struct seq *s) REQUIRES(L_NET)
{
	show_group(st, s, "Ip", " Forwarding DefaultTTL", " 2 64");
	show_group(st, s, "Icmp", "", "");
	show_group(st, s, "Tcp", " RtoAlgorithm RtoMin RtoMax MaxConn", " 1 200 120000 -1");
	show_group(st, s, "Udp", "", "");
	show_group(st, s, "UdpLite", "", "");
}

int proc_net_snmp(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	return show(r, s, fill_snmp);
}

static void fill_snmp6(struct stack *st, struct seq *s) REQUIRES(L_NET)
{
	for (unsigned i = 0; i < MIB_COUNT; i++) {
		size_t start = s->len;

		if (!strchr(mib_group(i), '6') || i == MIB_UDPLITE6_IGNORED_MULTI) /* Linux has no such row */
			continue;
		seq_printf(s, "%s%s", mib_group(i), mib_name(i));
		seq_pad(s, start, 32);
		seq_printf(s, "\t%" PRIu64 "\n", mib_get(st, i));
	}
}

int proc_net_snmp6(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	return show(r, s, fill_snmp6);
}

static void fill_netstat(struct stack *st, struct seq *s) REQUIRES(L_NET)
{
	show_group(st, s, "TcpExt", "", "");
	show_group(st, s, "IpExt", "", "");
}

int proc_net_netstat(struct ctx *c __unused, const struct pseudo_ref *r, struct seq *s)
{
	return show(r, s, fill_netstat);
}
