/*
 * NETLINK_ROUTE: routes and neighbours. rtnetlink(7), ip-route(8).
 */
#include <linux/neighbour.h>

#include "net/rtnetlink.h"
#include "net/stack/addr.h"
#include "net/stack/bridge.h"
#include "net/stack/neigh.h"
#include "net/stack/nexthop.h"
#include "net/stack/route.h"
#include "sentry/base/clock.h"

#define RTCF_LOCAL 0x80000000u /* of <linux/in_route.h> */

/* ---- routes ---- */

static void put_metrics(struct nlbuf *b, size_t msg, uint32_t mtu)
{
	struct {
		struct rtattr a;
		uint32_t v;
	} m = {{sizeof(m), RTAX_MTU}, mtu};

	if (mtu)
		nl_attr(b, msg, RTA_METRICS, &m, sizeof(m));
}

static uint32_t hop_flags(const struct netdev *d)
{
	if (!(d->flags & IFF_UP))
		return RTNH_F_DEAD | RTNH_F_LINKDOWN;
	return d->carrier ? 0 : RTNH_F_LINKDOWN;
}

static void put_hops(struct nlbuf *b, size_t msg, const struct nexthops *h)
{
	size_t all = nl_nest(b, msg, RTA_MULTIPATH);

	for (unsigned i = 0; i < h->count; i++) {
		struct rtnexthop n = {.rtnh_flags = (uint8_t)hop_flags(h->hop[i].dev),
				      .rtnh_hops = (uint8_t)(h->hop[i].weight - 1),
				      .rtnh_ifindex = (int)h->hop[i].dev->index};
		size_t one = nl_bytes(b, msg, &n, sizeof(n));

		if (!addr_is_any(&h->hop[i].gateway))
			nl_addr(b, msg, RTA_GATEWAY, &h->hop[i].gateway);
		nl_nest_end(b, one); /* its length stands where an attribute's does */
	}
	nl_nest_end(b, all);
}

static void put_way(struct nlbuf *b, size_t msg, const struct route_config *c)
{
	if (c->hops) {
		put_hops(b, msg, c->hops);
		return;
	}
	if (!addr_is_any(&c->gateway))
		nl_addr(b, msg, RTA_GATEWAY, &c->gateway);
	if (c->dev)
		nl_u32(b, msg, RTA_OIF, c->dev->index);
}

void rtnetlink_put_route(struct nlbuf *b, const struct route *r, uint16_t type, uint16_t flags)
{
	const struct route_config *c = &r->c;
	struct rtmsg m = {.rtm_family = c->v6 ? AF_INET6 : AF_INET,
			  .rtm_dst_len = (uint8_t)(c->v6 ? c->plen : c->plen - V4_BITS),
			  .rtm_table = (uint8_t)(c->table < 256 ? c->table : RT_TABLE_COMPAT),
			  .rtm_protocol = c->protocol,
			  .rtm_scope = c->v6 ? RT_SCOPE_UNIVERSE : c->scope,
			  .rtm_type = c->type,
			  .rtm_flags = c->dev && !c->hops ? hop_flags(c->dev) : 0};
	size_t msg = nl_begin(b, type, flags, &m, sizeof(m));

	nl_u32(b, msg, RTA_TABLE, c->table);
	if (m.rtm_dst_len)
		nl_addr(b, msg, RTA_DST, &c->dst);
	if (c->v6 || c->metric)
		nl_u32(b, msg, RTA_PRIORITY, c->metric);
	if (!addr_is_any(&c->prefsrc))
		nl_addr(b, msg, RTA_PREFSRC, &c->prefsrc);
	put_metrics(b, msg, c->mtu);
	put_way(b, msg, c);
	if (c->v6)
		nl_u8(b, msg, RTA_PREF, 0);
}

struct dump {
	struct nlbuf *b;
	uint8_t family;
	bool v6;
};

static bool put_one_route(void *arg, const struct route *r)
{
	struct dump *d = arg;

	if (r->c.v6 == d->v6)
		rtnetlink_put_route(d->b, r, RTM_NEWROUTE, NLM_F_MULTI);
	return !d->b->failed;
}

void rtnetlink_dump_routes(struct stack *s, struct nlbuf *b, const struct nlreq *r)
{
	struct dump d = {b, r->size ? (uint8_t)r->data[0] : AF_UNSPEC, false};

	if (d.family == AF_UNSPEC || d.family == AF_INET)
		route_each(s, put_one_route, &d);
	d.v6 = true;
	if (d.family == AF_UNSPEC || d.family == AF_INET6)
		route_each(s, put_one_route, &d);
}

/* ip-route get: how a packet to an address would go. */
int rtnetlink_get_route(struct stack *s, struct nlbuf *b, const struct nlreq *r)
{
	struct rta_cacheinfo cache = {0};
	struct ip_out o = {.protocol = 0};
	struct ip_route way;
	struct rtmsg m;
	uint32_t oif = 0;
	size_t msg;
	int err;

	if (!nl_fixed(r, &m, sizeof(m)) || (m.rtm_family != AF_INET && m.rtm_family != AF_INET6))
		return -EINVAL;
	if (!nl_find_addr(r, sizeof(m), RTA_DST, m.rtm_family, &o.dst))
		return -EINVAL;
	nl_find_addr(r, sizeof(m), RTA_SRC, m.rtm_family, &o.src);
	nl_find_u32(r, sizeof(m), RTA_OIF, &oif);
	o.bound_dev = oif;
	err = ip_route(s, &o, &way);
	if (err)
		return err;
	m = (struct rtmsg){.rtm_family = m.rtm_family,
			   .rtm_dst_len = m.rtm_family == AF_INET ? 32 : 128,
			   .rtm_table = RT_TABLE_MAIN,
			   .rtm_type = way.type,
			   .rtm_flags = RTM_F_CLONED | (way.local ? RTCF_LOCAL : 0)};
	msg = nl_begin(b, RTM_NEWROUTE, 0, &m, sizeof(m));
	nl_u32(b, msg, RTA_TABLE, m.rtm_table);
	nl_addr(b, msg, RTA_DST, &o.dst);
	nl_u32(b, msg, RTA_OIF, way.dev->index);
	nl_addr(b, msg, RTA_PREFSRC, &way.src);
	if (!addr_eq(&way.next_hop, &o.dst))
		nl_addr(b, msg, RTA_GATEWAY, &way.next_hop);
	nl_attr(b, msg, RTA_CACHEINFO, &cache, sizeof(cache));
	return 0;
}

/* What a request says of a route. */
static int parse_route(struct stack *s, const struct nlreq *r, struct rtmsg *m, struct route_config *c) REQUIRES(L_NET)
{
	struct in6_addr masked;
	uint32_t oif = 0;
	bool v4;

	if (!nl_fixed(r, m, sizeof(*m)) || (m->rtm_family != AF_INET && m->rtm_family != AF_INET6) ||
	    m->rtm_dst_len > (m->rtm_family == AF_INET ? 32 : 128))
		return -EINVAL;
	v4 = m->rtm_family == AF_INET;
	*c = (struct route_config){.table = m->rtm_table ? m->rtm_table : RT_TABLE_MAIN,
				   .type = m->rtm_type,
				   .v6 = !v4,
				   .dst = v4 ? addr_from_v4(0) : in6addr_any,
				   .protocol = m->rtm_protocol,
				   .scope = m->rtm_scope};
	c->plen = (uint8_t)(m->rtm_dst_len + (v4 ? V4_BITS : 0));
	nl_find_addr(r, sizeof(*m), RTA_DST, m->rtm_family, &c->dst);
	nl_find_addr(r, sizeof(*m), RTA_GATEWAY, m->rtm_family, &c->gateway);
	nl_find_addr(r, sizeof(*m), RTA_PREFSRC, m->rtm_family, &c->prefsrc);
	nl_find_u32(r, sizeof(*m), RTA_TABLE, &c->table);
	nl_find_u32(r, sizeof(*m), RTA_PRIORITY, &c->metric);
	if (nl_find_u32(r, sizeof(*m), RTA_OIF, &oif)) {
		c->dev = netdev_by_index(s, oif);
		if (!c->dev)
			return -ENODEV;
	}
	masked = addr_mask(&c->dst, c->plen);
	return addr_eq(&c->dst, &masked) ? 0 : -EINVAL;
}

int rtnetlink_change_route(struct stack *s, const struct nlreq *r)
{
	struct route_config c;
	struct rtmsg m;
	unsigned flags = 0;
	int err = parse_route(s, r, &m, &c);

	if (err)
		return err;
	if (r->h->nlmsg_type == RTM_DELROUTE)
		return route_del(s, &c);
	if (c.v6 && !c.metric)
		c.metric = 1024;
	if (c.type == RTN_UNSPEC)
		c.type = RTN_UNICAST;
	if (r->h->nlmsg_flags & NLM_F_EXCL)
		flags |= ROUTE_EXCL;
	if (r->h->nlmsg_flags & NLM_F_REPLACE)
		flags |= ROUTE_REPLACE;
	if (c.type == RTN_UNICAST && !c.dev && addr_is_any(&c.gateway))
		return -ENODEV;
	return route_add(s, &c, flags);
}

/* ---- neighbours ---- */

void rtnetlink_put_neigh(struct nlbuf *b, const struct neigh *n, uint16_t type, uint16_t flags)
{
	struct ndmsg m = {.ndm_family = addr_is_v4(&n->addr) ? AF_INET : AF_INET6,
			  .ndm_ifindex = (int)n->dev->index,
			  .ndm_state = n->state,
			  .ndm_flags = n->router ? NTF_ROUTER : 0,
			  .ndm_type = RTN_UNICAST};
	struct nda_cacheinfo cache = {0};
	size_t msg = nl_begin(b, type, flags, &m, sizeof(m));

	nl_addr(b, msg, NDA_DST, &n->addr);
	if (n->state & ~(NUD_INCOMPLETE | NUD_FAILED))
		nl_attr(b, msg, NDA_LLADDR, n->mac, MAC_LEN);
	nl_u32(b, msg, NDA_PROBES, n->probes);
	nl_attr(b, msg, NDA_CACHEINFO, &cache, sizeof(cache));
}

static bool put_one_neigh(void *arg, const struct neigh *n)
{
	struct dump *d = arg;

	if (d->family == AF_UNSPEC || d->family == (addr_is_v4(&n->addr) ? AF_INET : AF_INET6))
		rtnetlink_put_neigh(d->b, n, RTM_NEWNEIGH, NLM_F_MULTI);
	return !d->b->failed;
}

/* What a bridge has learnt: bridge(8) fdb. */
static bool put_fdb(void *arg, const struct bridge_entry *e) REQUIRES(L_NET)
{
	struct nlbuf *b = arg;
	struct ndmsg m = {.ndm_family = AF_BRIDGE, .ndm_ifindex = (int)e->port->index, .ndm_state = NUD_REACHABLE};
	size_t msg = nl_begin(b, RTM_NEWNEIGH, NLM_F_MULTI, &m, sizeof(m));

	nl_attr(b, msg, NDA_LLADDR, e->mac, MAC_LEN);
	nl_u32(b, msg, NDA_MASTER, bridge_of(e->port)->index);
	return !b->failed;
}

static void dump_fdb(struct stack *s, struct nlbuf *b) REQUIRES(L_NET)
{
	struct netdev *d = NULL;

	while ((d = netdev_next(s, d ? d->index : 0)))
		if (netdev_is_bridge(d))
			bridge_each(s, d, put_fdb, b);
}

void rtnetlink_dump_neighs(struct stack *s, struct nlbuf *b, const struct nlreq *r)
{
	struct dump d = {b, r->size ? (uint8_t)r->data[0] : AF_UNSPEC, false};

	if (d.family == AF_BRIDGE) {
		dump_fdb(s, b);
		return;
	}
	neigh_each(s, put_one_neigh, &d);
}

int rtnetlink_change_neigh(struct stack *s, const struct nlreq *r)
{
	unsigned flags = NEIGH_OVERRIDE | NEIGH_ADMIN;
	struct in6_addr addr;
	struct netdev *d;
	const char *mac;
	struct ndmsg m;
	size_t size;

	if (!nl_fixed(r, &m, sizeof(m)) || (m.ndm_family != AF_INET && m.ndm_family != AF_INET6) ||
	    !nl_find_addr(r, sizeof(m), NDA_DST, m.ndm_family, &addr))
		return -EINVAL;
	d = netdev_by_index(s, (unsigned)MAX(m.ndm_ifindex, 0));
	if (!d)
		return -ENODEV;
	if (r->h->nlmsg_type == RTM_DELNEIGH)
		return neigh_del(s, d, &addr);
	mac = nl_find(r, sizeof(m), NDA_LLADDR, MAC_LEN, &size);
	if (r->h->nlmsg_flags & NLM_F_EXCL && neigh_find(s, d, &addr))
		return -EEXIST;
	if (r->h->nlmsg_flags & NLM_F_CREATE)
		flags |= NEIGH_CREATE;
	return neigh_update(s, d, &addr, (const uint8_t *)mac, m.ndm_state ? (uint8_t)m.ndm_state : NUD_PERMANENT,
			    flags);
}
