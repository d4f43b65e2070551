/*
 * Neighbour discovery: RFC 4861, and addresses by it: RFC 4862.
 *
 * Solicitations for our addresses are answered, advertisements update the neighbour table. An interface that comes up
 * asks for routers three times; what they advertise gives a default route (metric 1024, as long as the router says),
 * on-link prefixes, addresses of 64-bit prefixes, hop limit and MTU, unless this namespace forwards. Every packet must
 * have hop limit 255, so that it comes from the link itself.
 *
 * Not done: duplicate address detection (addresses are used at once), redirects, temporary addresses, reachability
 * times of routers.
 */
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <netinet/icmp6.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/neigh.h"
#include "net/stack/route.h"

#define SECOND 1000000000ll
#define SOLICITS 3
#define SOLICIT_INTERVAL (4 * SECOND)
#define RA_METRIC 1024
#define RA_ROUTES_MAX 64 /* of an interface, whoever on the link told of them */
#define RA_ADDRS_MAX 16  /* net.ipv6.conf.*.max_addresses */
#define TWO_HOURS (7200 * SECOND)
#define OPTIONS_MAX 64u
#define ADDRS_BY_RA_MAX 16

static const struct in6_addr all_nodes = {.s6_addr = {0xff, 2, [15] = 1}},
			     all_routers = {.s6_addr = {0xff, 2, [15] = 2}};

struct in6_addr ndp_solicited_node(const struct in6_addr *addr)
{
	struct in6_addr group = {.s6_addr = {0xff, 2, [11] = 1, [12] = 0xff}};

	memcpy(group.s6_addr + 13, addr->s6_addr + 13, 3);
	return group;
}

/* ---- what goes out ---- */

/* A message of up to 24 bytes with one link address option (option 0: none). */
static void send_message(struct stack *s, struct netdev *dev, const void *body, size_t size, uint8_t option,
			 const struct in6_addr *src, const struct in6_addr *dst) REQUIRES(L_NET)
{
	struct ip_out o = {.src = *src, .dst = *dst, .ttl = 255, .protocol = IPPROTO_ICMPV6, .no_loop = true};
	struct ip_route r = {
	    .src = *src, .dev = dev, .mtu = dev->mtu, .generation = s->route_generation, .next_hop = *dst};
	struct pkt *p = pkt_create();
	uint8_t *h = p ? pkt_push(p, size + (option ? 8 : 0)) : NULL;
	uint16_t sum;

	if (!h) {
		pkt_free(p);
		return;
	}
	memcpy(h, body, size);
	if (option) {
		h[size] = option;
		h[size + 1] = 1;
		memcpy(h + size + 2, dev->mac, MAC_LEN);
	}
	sum = sum_fold(sum_pkt(sum_pseudo(src, dst, IPPROTO_ICMPV6, p->len), p, 0));
	memcpy(h + 2, &sum, sizeof(sum));
	r.type = addr_is_multicast(dst) ? RTN_MULTICAST : RTN_UNICAST;
	mib_add(s, MIB_ICMP6_OUT_MSGS, 1);
	ip6_output(s, p, &o, &r);
}

/* Probes of a known neighbour go to its known address: the table has it. */
void ndp_solicit(struct stack *s, struct netdev *dev, const struct in6_addr *target, const uint8_t *to)
{
	struct nd_neighbor_solicit ns = {.nd_ns_type = ND_NEIGHBOR_SOLICIT, .nd_ns_target = *target};
	struct in6_addr group = ndp_solicited_node(target), src;

	if (!route_source(s, dev, target, &src))
		return;
	mib_add(s, MIB_ICMP6_OUT_NEIGHBOR_SOLICITS, 1);
	send_message(s, dev, &ns, sizeof(ns), ND_OPT_SOURCE_LINKADDR, &src, to ? target : &group);
}

static void advertise(struct stack *s, struct netdev *dev, const struct in6_addr *target, const struct in6_addr *to)
    REQUIRES(L_NET)
{
	bool all = addr_is_any(to);
	struct nd_neighbor_advert na = {.nd_na_type = ND_NEIGHBOR_ADVERT, .nd_na_target = *target};

	na.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
	if (!all)
		na.nd_na_flags_reserved |= ND_NA_FLAG_SOLICITED;
	if (s->forward6)
		na.nd_na_flags_reserved |= ND_NA_FLAG_ROUTER;
	mib_add(s, MIB_ICMP6_OUT_NEIGHBOR_ADVERTISEMENTS, 1);
	send_message(s, dev, &na, sizeof(na), ND_OPT_TARGET_LINKADDR, target, all ? &all_nodes : to);
}

void ndp_solicit_timer(struct stack *s, struct net_timer *t)
{
	struct netdev *dev = container_of(t, struct netdev, solicit_timer);
	struct nd_router_solicit rs = {.nd_rs_type = ND_ROUTER_SOLICIT};
	struct in6_addr src;
	bool has_source = route_source(s, dev, &all_routers, &src);

	if (++dev->solicits < SOLICITS)
		net_timer_arm(s, t, s->now + SOLICIT_INTERVAL);
	if (!has_source)
		src = in6addr_any;
	mib_add(s, MIB_ICMP6_OUT_ROUTER_SOLICITS, 1);
	send_message(s, dev, &rs, sizeof(rs), has_source ? ND_OPT_SOURCE_LINKADDR : 0, &src, &all_routers);
}

void ndp_up(struct stack *s, struct netdev *dev)
{
	dev->solicits = 0;
	if (dev->features & NETDEV_ETHER && !(dev->features & (NETDEV_NO_RA | NETDEV_NO_V6)) && !s->forward6)
		net_timer_arm(s, &dev->solicit_timer, s->now + stack_random32(s) % SECOND);
}

void ndp_down(struct stack *s, struct netdev *dev)
{
	net_timer_cancel(s, &dev->solicit_timer);
	dev->hop_limit = 0;
	dev->mtu6 = 0;
}

/* ---- what comes in ---- */

/* Options, found and checked: pointers into the copy of the message. */
struct options {
	const uint8_t *source, *target, *mtu; /* NULL: not there */
	const uint8_t *prefix[ADDRS_BY_RA_MAX];
	unsigned prefixes;
};

static void note_option(struct options *o, const uint8_t *at, unsigned size)
{
	switch (at[0]) {
	case ND_OPT_SOURCE_LINKADDR:
		o->source = size == 8 ? at + 2 : o->source;
		break;
	case ND_OPT_TARGET_LINKADDR:
		o->target = size == 8 ? at + 2 : o->target;
		break;
	case ND_OPT_MTU:
		o->mtu = size == 8 ? at + 4 : o->mtu;
		break;
	case ND_OPT_PREFIX_INFORMATION:
		if (size == 32 && o->prefixes < ADDRS_BY_RA_MAX)
			o->prefix[o->prefixes++] = at;
		break;
	default:
		break;
	}
}

/* False: an option is malformed, so is the message. */
static bool parse(const uint8_t *at, size_t left, struct options *o)
{
	memset(o, 0, sizeof(*o));
	for (unsigned n = 0; left; n++) {
		unsigned size;

		if (left < 8 || n == OPTIONS_MAX)
			return false;
		size = at[1] * 8u;
		if (!size || size > left)
			return false;
		note_option(o, at, size);
		at += size;
		left -= size;
	}
	return true;
}

static void solicited(struct stack *s, const struct ip_in *in, const uint8_t *m, size_t size) REQUIRES(L_NET)
{
	const struct nd_neighbor_solicit *ns = (const void *)m;
	struct in6_addr target, group;
	struct options o;

	if (size < sizeof(*ns) || !parse(m + sizeof(*ns), size - sizeof(*ns), &o))
		return;
	mib_add(s, MIB_ICMP6_IN_NEIGHBOR_SOLICITS, 1);
	target = ns->nd_ns_target;
	group = ndp_solicited_node(&target);
	if (addr_is_multicast(&target) || !netdev_find_addr(in->dev, &target))
		return;
	if (addr_is_any(&in->src) && (!addr_eq(&in->dst, &group) || o.source))
		return;
	if (!addr_is_any(&in->src) && o.source && !(o.source[0] & 1))
		neigh_update(s, in->dev, &in->src, o.source, NUD_STALE, NEIGH_CREATE | NEIGH_OVERRIDE);
	advertise(s, in->dev, &target, &in->src);
}

static void advertised(struct stack *s, const struct ip_in *in, const uint8_t *m, size_t size) REQUIRES(L_NET)
{
	const struct nd_neighbor_advert *na = (const void *)m;
	struct in6_addr target;
	struct options o;
	uint8_t flags;
	unsigned how = NEIGH_ROUTER;

	if (size < sizeof(*na) || !parse(m + sizeof(*na), size - sizeof(*na), &o))
		return;
	mib_add(s, MIB_ICMP6_IN_NEIGHBOR_ADVERTISEMENTS, 1);
	target = na->nd_na_target;
	flags = m[4];
	if (addr_is_multicast(&target) || (addr_is_multicast(&in->dst) && flags & 0x40) ||
	    netdev_find_addr(in->dev, &target) || (o.target && o.target[0] & 1))
		return;
	if (flags & 0x80)
		how |= NEIGH_IS_ROUTER;
	if (flags & 0x20)
		how |= NEIGH_OVERRIDE;
	neigh_update(s, in->dev, &target, o.target, flags & 0x40 ? NUD_REACHABLE : NUD_STALE, how);
}

static uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return ntohl(v);
}

/* A lifetime in seconds as ns. */
static int64_t lifetime(uint32_t seconds)
{
	return seconds == UINT32_MAX ? INT64_MAX : seconds * SECOND;
}

/* A route that a router told of, for so long; 0: not any more. */
static void set_route(struct stack *s, struct netdev *dev, struct in6_addr dst, unsigned plen,
		      const struct in6_addr *gateway, int64_t life) REQUIRES(L_NET)
{
	struct route_config c = {
	    .table = RT_TABLE_MAIN,
	    .type = RTN_UNICAST,
	    .v6 = true,
	    .dst = addr_mask(&dst, plen),
	    .plen = (uint8_t)plen,
	    .protocol = RTPROT_RA, /* not KERNEL: those are made anew from addresses */
	    .metric = gateway ? RA_METRIC : 256,
	    .dev = dev,
	    .expires = life == INT64_MAX ? 0 : s->now + life,
	};

	if (gateway)
		c.gateway = *gateway;
	if (life && dev->ra_routes >= RA_ROUTES_MAX)
		route_drop_expired(s);
	/* One more only instead of itself. */
	if (!life || (dev->ra_routes >= RA_ROUTES_MAX && route_del(s, &c)))
		(void)!route_del(s, &c);
	else
		(void)!route_add(s, &c, ROUTE_REPLACE);
}

static unsigned count_v6(const struct netdev *dev)
{
	const struct netdev_addr *a;
	unsigned n = 0;

	list_for_each(a, &dev->addrs, link)
		n += !addr_is_v4(&a->addr);
	return n;
}

/* RFC 4862, 5.5.3: a router may not cut short what is valid for more than two hours, which anybody on the link could be. */
static void set_addr(struct stack *s, struct netdev *dev, const struct in6_addr *prefix, int64_t valid,
		     int64_t preferred) REQUIRES(L_NET)
{
	struct addr_config c = {.addr = netdev_eui64(dev, prefix),
				.plen = 64,
				.valid = valid,
				.preferred = preferred,
				.flags = IFA_F_NOPREFIXROUTE};
	struct netdev_addr *a = netdev_find_addr(dev, &c.addr);
	int64_t left;

	if (!a) {
		if (valid && count_v6(dev) < RA_ADDRS_MAX)
			(void)!netdev_add_addr(s, dev, &c);
		return;
	}
	if (a->valid_until == INT64_MAX)
		return;
	left = a->valid_until - s->now;
	if (valid <= TWO_HOURS && valid <= left)
		valid = MIN(left, TWO_HOURS);
	netdev_addr_lifetime(s, a, valid, MIN(preferred, valid));
}

static void prefix_told(struct stack *s, struct netdev *dev, const uint8_t *o) REQUIRES(L_NET)
{
	int64_t valid = lifetime(load32(o + 4)), preferred = lifetime(load32(o + 8));
	unsigned plen = o[2], flags = o[3];
	struct in6_addr prefix;

	memcpy(&prefix, o + 16, sizeof(prefix));
	if (plen > 128 || IN6_IS_ADDR_LINKLOCAL(&prefix) || addr_is_multicast(&prefix) || addr_is_v4(&prefix) ||
	    preferred > valid)
		return;
	prefix = addr_mask(&prefix, plen);
	if (flags & 0x80)
		set_route(s, dev, prefix, plen, NULL, valid);
	if (flags & 0x40 && plen == 64)
		set_addr(s, dev, &prefix, valid, preferred);
}

static void router_told(struct stack *s, const struct ip_in *in, const uint8_t *m, size_t size) REQUIRES(L_NET)
{
	struct netdev *dev = in->dev;
	struct options o;

	if (size < 16 || !IN6_IS_ADDR_LINKLOCAL(&in->src) || !parse(m + 16, size - 16, &o))
		return;
	mib_add(s, MIB_ICMP6_IN_ROUTER_ADVERTISEMENTS, 1);
	if (s->forward6 || dev->features & NETDEV_NO_RA || !(dev->features & NETDEV_ETHER))
		return;
	net_timer_cancel(s, &dev->solicit_timer);
	if (m[4])
		dev->hop_limit = m[4];
	if (o.mtu && load32(o.mtu) >= 1280 && load32(o.mtu) <= dev->mtu) {
		dev->mtu6 = load32(o.mtu);
		s->route_generation++;
	}
	if (o.source && !(o.source[0] & 1))
		neigh_update(s, dev, &in->src, o.source, NUD_STALE,
			     NEIGH_CREATE | NEIGH_OVERRIDE | NEIGH_ROUTER | NEIGH_IS_ROUTER);
	set_route(s, dev, in6addr_any, 0, &in->src, lifetime((uint32_t)m[6] << 8 | m[7]));
	for (unsigned i = 0; i < o.prefixes; i++)
		prefix_told(s, dev, o.prefix[i]);
}

void ndp_input(struct stack *s, struct pkt *p, const struct ip_in *in)
{
	uint8_t m[1500] __attribute__((aligned(8)));
	size_t size = p->len;

	if (in->ttl != 255 || size > sizeof(m) || !pkt_copy(p, 0, m, size) || m[1] != 0 ||
	    in->dev->flags & IFF_LOOPBACK)
		return;
	if (m[0] == ND_NEIGHBOR_SOLICIT)
		solicited(s, in, m, size);
	else if (m[0] == ND_NEIGHBOR_ADVERT)
		advertised(s, in, m, size);
	else if (m[0] == ND_ROUTER_ADVERT)
		router_told(s, in, m, size);
}
