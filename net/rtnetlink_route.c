/*
 * NETLINK_ROUTE: routes. rtnetlink(7), ip-route(8).
 */
#include "net/rtnetlink.h"
#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/nexthop.h"
#include "net/stack/route.h"
#include "sentry/base/clock.h"

/* Of <linux/in_route.h>. */
#define RTCF_LOCAL 0x80000000u
#define RTCF_BROADCAST 0x10000000u
#define RTCF_MULTICAST 0x20000000u

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
	struct rtmsg only; /* protocol, type: those that are not 0 */
	uint32_t table, oif;
};

static bool is_wanted(const struct dump *d, const struct route_config *c)
{
	if (c->v6 != d->v6 || (d->table && c->table != d->table) || (d->only.rtm_type && c->type != d->only.rtm_type))
		return false;
	if (d->only.rtm_protocol && c->protocol != d->only.rtm_protocol)
		return false;
	return !d->oif || (c->dev && c->dev->index == d->oif) || (c->hops && nexthops_on(c->hops, d->oif));
}

static bool put_one_route(void *arg, const struct route *r)
{
	struct dump *d = arg;

	if (is_wanted(d, &r->c))
		rtnetlink_put_route(d->b, r, RTM_NEWROUTE, NLM_F_MULTI);
	return !d->b->failed;
}

/* Who asks to be checked may say which routes: by table, interface, type and origin. */
static int parse_filter(struct stack *s, const struct nlreq *r, struct dump *d) REQUIRES(L_NET)
{
	struct rtmsg m;

	if (!nl_fixed(r, &m, sizeof(m)) || m.rtm_dst_len || m.rtm_src_len || m.rtm_tos || m.rtm_scope ||
	    m.rtm_flags & ~(unsigned)(RTM_F_CLONED | RTM_F_PREFIX))
		return -EINVAL;
	d->only = m;
	d->table = m.rtm_table;
	nl_find_u32(r, sizeof(m), RTA_TABLE, &d->table);
	if (nl_find_u32(r, sizeof(m), RTA_OIF, &d->oif) && !netdev_by_index(s, d->oif))
		return -ENODEV;
	if (d->table && !route_has_table(s, d->table) && d->table != RT_TABLE_MAIN && d->table != RT_TABLE_LOCAL)
		return d->family == AF_UNSPEC ? 0 : -ENOENT;
	return 0;
}

int rtnetlink_dump_routes(struct stack *s, struct nlbuf *b, const struct nlreq *r)
{
	struct dump d = {.b = b, .family = r->size ? (uint8_t)r->data[0] : AF_UNSPEC};
	struct rtmsg m = {0};
	int err = r->strict ? parse_filter(s, r, &d) : 0;

	if (err == -ENOENT)
		b->why = d.family == AF_INET ? "ipv4: FIB table does not exist" : "ipv6: FIB table does not exist";
	if (err)
		return err;
	if (nl_fixed(r, &m, sizeof(m)) && m.rtm_flags & RTM_F_CLONED)
		return 0; /* nobody's exceptions are shown */
	if (d.family == AF_UNSPEC || d.family == AF_INET)
		route_each(s, put_one_route, &d);
	d.v6 = true;
	if (d.family == AF_UNSPEC || d.family == AF_INET6)
		route_each(s, put_one_route, &d);
	return 0;
}

/* ---- ip-route get ---- */

static void parse_flow(const struct nlreq *r, const struct rtmsg *m, struct ip_out *o, uint32_t *ret_iif)
{
	size_t size;
	const char *port;

	nl_find_addr(r, sizeof(*m), RTA_SRC, m->rtm_family, &o->src);
	nl_find_u32(r, sizeof(*m), RTA_OIF, &o->bound_dev);
	nl_find_u32(r, sizeof(*m), RTA_IIF, ret_iif);
	nl_find_u32(r, sizeof(*m), RTA_MARK, &o->mark);
	nl_find_u32(r, sizeof(*m), RTA_UID, &o->uid);
	if ((port = nl_find(r, sizeof(*m), RTA_SPORT, 2, &size)))
		o->sport = (uint16_t)((uint8_t)port[0] << 8 | (uint8_t)port[1]);
	if ((port = nl_find(r, sizeof(*m), RTA_DPORT, 2, &size)))
		o->dport = (uint16_t)((uint8_t)port[0] << 8 | (uint8_t)port[1]);
	if ((port = nl_find(r, sizeof(*m), RTA_IP_PROTO, 1, &size)))
		o->protocol = (uint8_t)*port;
	o->tos = m->rtm_tos;
}

/* As if it had come in by an interface. */
static int way_in(struct stack *s, const struct ip_out *o, unsigned iif, struct ip_route *way) REQUIRES(L_NET)
{
	const struct netdev *dev = netdev_by_index(s, iif);
	const struct route_flow f = {.src = o->src,
				     .dst = o->dst,
				     .iif = iif,
				     .mark = o->mark,
				     .tos = o->tos,
				     .protocol = o->protocol,
				     .sport = o->sport,
				     .dport = o->dport};
	bool v6 = !addr_is_v4(&o->dst);
	const struct route *r;
	uint8_t type;

	if (!dev)
		return -ENODEV;
	if (!v6 && !(dev->flags & IFF_LOOPBACK) && !addr_is_any(&o->src) && route_source_is_ours(s, &f))
		return -EINVAL;
	type = route_input_type(s, &f);
	if (type == RTN_UNREACHABLE || (type == RTN_UNICAST && !stack_forwarding(s, v6))) {
		r = route_lookup(s, &f);
		return route_errno(r) && r ? route_errno(r) : !r && v6 ? -ENETUNREACH : -EHOSTUNREACH;
	}
	if (type == RTN_UNICAST)
		return route_forward(s, &f, way);
	*way = (struct ip_route){.dev = s->lo, .type = type, .local = true, .table = RT_TABLE_LOCAL, .next_hop = f.dst};
	return 0;
}

static void put_way_found(struct nlbuf *b, size_t msg, const struct ip_out *o, const struct ip_route *way, uint32_t iif)
{
	nl_u32(b, msg, RTA_OIF, way->dev->index);
	if (!addr_eq(&way->next_hop, &o->dst))
		nl_addr(b, msg, RTA_GATEWAY, &way->next_hop);
	if (o->mark)
		nl_u32(b, msg, RTA_MARK, o->mark);
	if (iif)
		nl_u32(b, msg, RTA_IIF, iif);
}

/* IPv6 says more of the route that was found. */
static void put_route6(struct stack *s, struct nlbuf *b, size_t msg, const struct ip_out *o, uint32_t iif)
    REQUIRES(L_NET)
{
	const struct route_flow f = {.src = o->src,
				     .dst = o->dst,
				     .iif = iif,
				     .oif = o->bound_dev,
				     .mark = o->mark,
				     .uid = o->uid,
				     .tos = o->tos,
				     .protocol = o->protocol,
				     .sport = o->sport,
				     .dport = o->dport};
	const struct route *r = route_lookup(s, &f);
	struct in6_addr src = in6addr_any;

	if (!r || !r->c.dev || b->failed)
		return;
	((struct rtmsg *)NLMSG_DATA((struct nlmsghdr *)(b->data + msg)))->rtm_protocol = r->c.protocol;
	if (!addr_is_any(&r->c.prefsrc))
		src = r->c.prefsrc;
	else if (r->c.type == RTN_LOCAL)
		src = o->dst;
	if (!addr_is_any(&src) || route_source(s, r->c.dev, &o->dst, &src))
		nl_addr(b, msg, RTA_PREFSRC, &src);
	nl_u32(b, msg, RTA_PRIORITY, r->c.metric);
	nl_u8(b, msg, RTA_PREF, 0);
}

static unsigned cache_flags(const struct ip_route *way)
{
	switch (way->type) {
	case RTN_BROADCAST:
		return RTCF_LOCAL | RTCF_BROADCAST;
	case RTN_MULTICAST:
		return RTCF_LOCAL | RTCF_MULTICAST;
	default:
		return way->local ? RTCF_LOCAL : 0;
	}
}

static void put_found(struct stack *s, struct nlbuf *b, const struct rtmsg *asked, const struct ip_out *o,
		      const struct ip_route *way, uint32_t iif) REQUIRES(L_NET)
{
	bool v4 = asked->rtm_family == AF_INET;
	uint32_t table = asked->rtm_flags & RTM_F_LOOKUP_TABLE || !v4 ? way->table : RT_TABLE_MAIN;
	struct rta_cacheinfo cache = {0};
	struct rtmsg m = {.rtm_family = asked->rtm_family,
			  .rtm_dst_len = v4 ? 32 : 128,
			  .rtm_src_len = !v4                    ? 128
					 : addr_is_any(&o->src) ? 0
								: 32,
			  .rtm_tos = asked->rtm_tos,
			  .rtm_table = (uint8_t)(table < 256 ? table : RT_TABLE_COMPAT),
			  .rtm_type = way->type,
			  .rtm_flags = v4 ? RTM_F_CLONED | cache_flags(way) : 0};
	size_t msg = nl_begin(b, RTM_NEWROUTE, 0, &m, sizeof(m));

	nl_u32(b, msg, RTA_TABLE, table);
	nl_addr(b, msg, RTA_DST, &o->dst);
	if (m.rtm_src_len)
		nl_addr(b, msg, RTA_SRC, &o->src);
	put_way_found(b, msg, o, way, iif);
	if (v4 && !iif && addr_is_any(&o->src))
		nl_addr(b, msg, RTA_PREFSRC, &way->src);
	if (v4 && !iif)
		nl_u32(b, msg, RTA_UID, o->uid);
	if (!v4)
		put_route6(s, b, msg, o, iif);
	nl_attr(b, msg, RTA_CACHEINFO, &cache, sizeof(cache));
}

/* How a packet to an address would go. */
int rtnetlink_get_route(struct stack *s, struct nlbuf *b, const struct nlreq *r)
{
	struct ip_out o = {.uid = r->uid};
	struct ip_route way;
	struct rtmsg m;
	uint32_t iif = 0;
	int err;

	if (!nl_fixed(r, &m, sizeof(m)) || (m.rtm_family != AF_INET && m.rtm_family != AF_INET6))
		return -EINVAL;
	if (!nl_find_addr(r, sizeof(m), RTA_DST, m.rtm_family, &o.dst))
		return -EINVAL;
	parse_flow(r, &m, &o, &iif);
	err = iif ? way_in(s, &o, iif, &way) : ip_route(s, &o, &way);
	if (!err)
		put_found(s, b, &m, &o, &way, iif);
	return err;
}

/* ---- changes ---- */

/* One next hop: its attributes stand behind n. */
static int parse_hop(struct stack *s, const char *data, size_t size, int family, struct nexthop *h) REQUIRES(L_NET)
{
	const struct nlreq attrs = {.data = data, .size = size};
	struct rtnexthop n;

	memcpy(&n, data, sizeof(n));
	*h = (struct nexthop){.weight = n.rtnh_hops + 1u};
	nl_find_addr(&attrs, sizeof(n), RTA_GATEWAY, family, &h->gateway);
	if (n.rtnh_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN))
		return -EINVAL;
	if (n.rtnh_ifindex)
		h->dev = netdev_by_index(s, (unsigned)n.rtnh_ifindex);
	return n.rtnh_ifindex && !h->dev ? -ENODEV : 0;
}

/* Over all of them; to NULL: only counts. The number, or -errno. */
static int parse_hops(struct stack *s, const char *data, size_t size, int family, struct nexthops *to) REQUIRES(L_NET)
{
	unsigned count = 0;
	int err;

	while (size >= sizeof(struct rtnexthop)) {
		struct rtnexthop n;

		memcpy(&n, data, sizeof(n));
		if (n.rtnh_len < sizeof(n) || n.rtnh_len > size)
			break;
		if (to) {
			err = parse_hop(s, data, n.rtnh_len, family, &to->hop[count]);
			if (err)
				return err;
		}
		count++;
		data += MIN(RTA_ALIGN(n.rtnh_len), size);
		size -= MIN(RTA_ALIGN(n.rtnh_len), size);
	}
	return size || !count ? -EINVAL : (int)count;
}

/* RTA_MULTIPATH, to be freed. One hop is as if it stood alone. */
static int parse_multipath(struct stack *s, const struct nlreq *r, const struct rtmsg *m, struct route_config *c)
    REQUIRES(L_NET)
{
	size_t size;
	const char *data = nl_find(r, sizeof(*m), RTA_MULTIPATH, 0, &size);
	int n, err;

	if (!data)
		return 0;
	n = parse_hops(s, data, size, m->rtm_family, NULL);
	if (n < 0)
		return n;
	c->hops = nexthops_create((unsigned)n);
	if (!c->hops)
		return n > NEXTHOPS_MAX ? -EINVAL : -ENOMEM;
	err = parse_hops(s, data, size, m->rtm_family, c->hops);
	if (err >= 0 && n > 1)
		return 0;
	c->dev = c->hops->hop[0].dev;
	c->gateway = c->hops->hop[0].gateway;
	nexthops_free(take(c->hops));
	return MIN(err, 0);
}

/* What a request says of a route. */
static int parse_route(struct stack *s, const struct nlreq *r, struct rtmsg *m, struct route_config *c) REQUIRES(L_NET)
{
	struct in6_addr masked;
	uint32_t oif = 0;
	bool v4;

	c->hops = NULL;
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

static unsigned change_flags(unsigned flags, bool v6)
{
	unsigned f = ROUTE_USER;

	if (flags & NLM_F_EXCL)
		f |= ROUTE_EXCL;
	if (flags & NLM_F_REPLACE)
		f |= ROUTE_REPLACE;
	if (flags & NLM_F_APPEND)
		f |= ROUTE_APPEND;
	if (!(flags & NLM_F_CREATE) && (!v6 || flags & NLM_F_REPLACE))
		f |= ROUTE_CHANGE;
	return f;
}

static int add_route(struct stack *s, const struct nlreq *r, struct route_config *c) REQUIRES(L_NET)
{
	if (c->v6 && !c->metric)
		c->metric = 1024;
	if (c->type == RTN_UNSPEC)
		c->type = RTN_UNICAST;
	if (c->type == RTN_UNICAST && !c->hops && !c->dev && addr_is_any(&c->gateway))
		return -ENODEV;
	return route_add(s, c, change_flags(r->h->nlmsg_flags, c->v6));
}

int rtnetlink_change_route(struct stack *s, const struct nlreq *r)
{
	struct route_config c;
	struct rtmsg m;
	int err = parse_route(s, r, &m, &c);

	err = err ? err : parse_multipath(s, r, &m, &c);
	if (!err)
		err = r->h->nlmsg_type == RTM_DELROUTE ? route_del(s, &c) : add_route(s, r, &c);
	nexthops_free(c.hops);
	return err;
}
