/*
 * The way of a packet: ip_route() for senders, the reverse for what comes in; path MTUs: RFC 1191, 8201, 5927.
 *
 * Look-ups go through the rules (rule.c) with what is known of the packet. What is kept of the last packet that came in
 * is kept by destination, so only where there are no rules.
 *
 * A transport keeps what ip_route() said until the generation of the stack changes. What the path takes is kept by
 * destination, for ten minutes, as many as PMTUS_MAX, the oldest going first; only a transport that found its own
 * packet in an ICMP error enters something there, and nothing below the minima that the protocols guarantee or Linux
 * accepts.
 */
#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/neigh.h"
#include "net/stack/route.h"
#include "net/stack/rule.h"
#include "sentry/base/slab.h"

#define PMTUS_MAX 1024
#define PMTU_TIME (600 * 1000000000ll)
#define PMTU_MIN4 552 /* net.ipv4.route.min_pmtu */
#define PMTU_MIN6 1280

struct pmtu {
	struct list hash, age;
	struct in6_addr dst;
	uint32_t mtu;
	int64_t expires;
};

static struct slab pmtu_slab = SLAB_INIT(struct pmtu);

static struct list *pmtu_chain(struct stack *s, const struct in6_addr *dst)
{
	return &s->pmtus[addr_hash(s, dst, 0) % PMTU_CHAINS];
}

static struct pmtu *pmtu_find(struct stack *s, const struct in6_addr *dst)
{
	struct pmtu *m;

	list_for_each(m, pmtu_chain(s, dst), hash)
		if (addr_eq(&m->dst, dst))
			return m;
	return NULL;
}

static void pmtu_drop(struct stack *s, struct pmtu *m)
{
	list_remove(&m->hash);
	list_remove(&m->age);
	s->pmtu_count--;
	slab_free(&pmtu_slab, m);
}

void pmtu_flush(struct stack *s)
{
	struct pmtu *m;

	while ((m = list_first(&s->pmtu_age, struct pmtu, age)))
		pmtu_drop(s, m);
	s->route_generation++;
}

void ip_pmtu(struct stack *s, const struct in6_addr *dst, uint32_t mtu)
{
	struct pmtu *m = pmtu_find(s, dst);
	uint32_t least = addr_is_v4(dst) ? PMTU_MIN4 : PMTU_MIN6;

	mtu = MAX(mtu, least);
	if (m && m->expires > s->now && m->mtu <= mtu)
		return;
	if (m)
		pmtu_drop(s, m);
	else if (s->pmtu_count == PMTUS_MAX)
		pmtu_drop(s, list_first(&s->pmtu_age, struct pmtu, age));
	m = slab_alloc(&pmtu_slab);
	if (!m)
		return;
	*m = (struct pmtu){.dst = *dst, .mtu = mtu, .expires = s->now + PMTU_TIME};
	list_append(pmtu_chain(s, dst), &m->hash);
	list_append(&s->pmtu_age, &m->age);
	s->pmtu_count++;
	s->route_generation++;
}

static void set_mtu(struct stack *s, struct ip_route *r, const struct in6_addr *dst, uint32_t of_route)
{
	const struct pmtu *m = r->local ? NULL : pmtu_find(s, dst);
	uint32_t mtu = addr_is_v4(dst) || r->local ? r->dev->mtu : netdev_mtu6(r->dev);

	mtu = MIN(mtu, PKT_MAX);
	if (of_route)
		mtu = MIN(mtu, MAX(of_route, 68u));
	if (m && m->expires > s->now && m->mtu < mtu) {
		mtu = m->mtu;
		r->until = r->until ? MIN(r->until, m->expires) : m->expires;
	}
	r->mtu = mtu;
}

bool ip_route_by_ports(const struct stack *s, const struct in6_addr *dst)
{
	return s->rules.ports[!addr_is_v4(dst)] || s->hash_policy[!addr_is_v4(dst)];
}

bool ip_route_stale(const struct stack *s, const struct ip_route *r)
{
	return !r->dev || r->generation != s->route_generation || (r->until && s->now >= r->until);
}

void ip_confirm(struct stack *s, const struct ip_route *r)
{
	if (!ip_route_stale(s, r) && !r->local && r->type == RTN_UNICAST && r->dev->features & NETDEV_ETHER)
		neigh_confirm(s, r->dev, &r->next_hop);
}

uint32_t ip_mss(const struct in6_addr *dst, const struct ip_route *r)
{
	bool v4 = addr_is_v4(dst);
	uint32_t mtu = MIN(v4 || r->local ? r->dev->mtu : netdev_mtu6(r->dev), PKT_MAX);

	return mtu - (v4 ? 40 : 60);
}

bool ip_is_local(struct stack *s, const struct in6_addr *addr, unsigned dev)
{
	const struct route *r;

	r = route_find_in(s, RT_TABLE_LOCAL, addr, IN6_IS_ADDR_LINKLOCAL(addr) ? dev : 0);
	if (!r && s->gateway)
		r = route_find(s, addr, 0);
	return r && r->c.type == RTN_LOCAL;
}

bool ip_is_beyond(struct stack *s, const struct in6_addr *addr)
{
	return s->gateway && !IN6_IS_ADDR_LINKLOCAL(addr) && !route_find_in(s, RT_TABLE_LOCAL, addr, 0);
}

/* The protocol and the ports of a packet whose transport header is next, if it has any. */
static void find_ports(struct route_flow *f, struct pkt *p)
{
	uint16_t ports[2];

	if (f->protocol != IPPROTO_TCP && f->protocol != IPPROTO_UDP && f->protocol != IPPROTO_UDPLITE &&
	    f->protocol != IPPROTO_SCTP && f->protocol != IPPROTO_DCCP)
		return;
	if (!pkt_copy(p, 0, ports, sizeof(ports)))
		return;
	f->sport = ntohs(ports[0]);
	f->dport = ntohs(ports[1]);
}

void route_flow_of(struct stack *s, const struct ip_in *in, struct pkt *p, struct route_flow *ret)
{
	*ret = (struct route_flow){.src = in->src, .dst = in->dst, .iif = in->dev->index, .tos = in->tos};
	if (!ip_route_by_ports(s, &in->dst))
		return;
	ret->protocol = in->protocol;
	if (p)
		find_ports(ret, p);
}

static uint8_t find_input_type(struct stack *s, const struct route_flow *f) REQUIRES(L_NET)
{
	const struct route *r;
	struct route_flow to = *f;

	/* The addresses of a link are its own. */
	to.oif = IN6_IS_ADDR_LINKLOCAL(&f->dst) && f->iif != s->lo->index ? f->iif : 0;
	r = route_lookup(s, &to);
	return route_errno(r) ? RTN_UNREACHABLE : r->c.type;
}

/* The last answer is kept: most packets are for the address that the one before was for. */
uint8_t route_input_type(struct stack *s, const struct route_flow *f)
{
	struct input_type *last = &s->input_type;

	if (addr_is_multicast(&f->dst))
		return RTN_MULTICAST;
	if (addr_is_limited_broadcast(&f->dst))
		return RTN_BROADCAST;
	if (s->rules.custom[!addr_is_v4(&f->dst)])
		return find_input_type(s, f);
	if (last->generation != s->route_generation || last->dev != f->iif || !addr_eq(&last->dst, &f->dst))
		*last = (struct input_type){s->route_generation, f->iif, f->dst, find_input_type(s, f)};
	return last->type;
}

/* With rules it is what the way back says; without, what the local table knows is us, or is a broadcast address. */
static bool find_source(struct stack *s, const struct route_flow *f) REQUIRES(L_NET)
{
	struct route_flow back = *f;
	const struct route *r;

	if (!s->rules.custom[0])
		return route_find_in(s, RT_TABLE_LOCAL, &f->src, 0);
	back.src = f->dst;
	back.dst = f->src;
	back.iif = 0;
	back.sport = f->dport;
	back.dport = f->sport;
	r = route_lookup(s, &back);
	return !route_errno(r) && r->c.type != RTN_UNICAST;
}

/* Besides, nobody's is an address that a gateway stands for. */
bool route_source_is_ours(struct stack *s, const struct route_flow *f)
{
	struct source_check *last = &s->source_check;

	if (s->rules.custom[0] || !last->known || last->generation != s->route_generation ||
	    !addr_eq(&last->src, &f->src))
		*last = (struct source_check){
		    .generation = s->route_generation,
		    .known = true,
		    .ours = find_source(s, f) || (s->gateway && ip_is_local(s, &f->src, 0)),
		    .src = f->src,
		};
	return last->ours;
}

/* As a sender's packet is looked up. */
static void flow_out(const struct ip_out *o, struct route_flow *ret)
{
	*ret = (struct route_flow){.src = o->src,
				   .dst = o->dst,
				   .oif = o->bound_dev,
				   .mark = o->mark,
				   .uid = o->uid,
				   .tos = o->tos,
				   .protocol = o->protocol,
				   .sport = o->sport,
				   .dport = o->dport};
}

/* Multicast and 255.255.255.255: by the interface that is named, or that has the source, or that a route leads to. */
static int route_group(struct stack *s, const struct ip_out *o, struct netdev *dev, struct ip_route *ret)
    REQUIRES(L_NET)
{
	const struct netdev_addr *a = addr_is_any(&o->src) ? NULL : stack_find_addr(s, &o->src);
	struct route_flow f;
	struct nexthop hop;
	const struct route *r;

	if (!dev && a)
		dev = a->dev;
	if (!dev) {
		flow_out(o, &f);
		r = route_lookup(s, &f);
		if (route_errno(r))
			return route_errno(r);
		route_choose(s, r, &f, &hop);
		dev = hop.dev;
	}
	ret->dev = dev;
	ret->type = addr_is_multicast(&o->dst) ? RTN_MULTICAST : RTN_BROADCAST;
	ret->local = dev->flags & IFF_LOOPBACK;
	return 0;
}

static void route_local(struct stack *s, const struct in6_addr *dst, const struct route *r, struct ip_route *ret)
{
	ret->dev = s->lo;
	ret->table = r->c.table;
	ret->type = RTN_LOCAL;
	ret->local = true;
	ret->src = addr_is_any(&r->c.prefsrc) ? *dst : r->c.prefsrc;
}

static int route_unicast(struct stack *s, const struct route_flow *f, struct netdev *dev, struct ip_route *ret,
			 uint32_t *mtu) REQUIRES(L_NET)
{
	const struct in6_addr *dst = &f->dst;
	const struct route *r = route_lookup(s, f);
	struct nexthop hop;

	/* An interface without a route: the destination is taken to be a neighbour there, as Linux does for IPv4. */
	if (!r && dev && addr_is_v4(dst)) {
		ret->dev = dev;
		ret->type = RTN_UNICAST;
		return 0;
	}
	if (route_errno(r))
		return route_errno(r);
	if (r->c.type == RTN_LOCAL) {
		route_local(s, dst, r, ret);
		return 0;
	}
	route_choose(s, r, f, &hop);
	ret->dev = hop.dev;
	ret->table = r->c.table;
	ret->type = r->c.type == RTN_BROADCAST ? RTN_BROADCAST : RTN_UNICAST;
	ret->local = ret->dev->flags & IFF_LOOPBACK;
	if (!addr_is_any(&hop.gateway))
		ret->next_hop = hop.gateway;
	if (!addr_is_any(&r->c.prefsrc))
		ret->src = r->c.prefsrc;
	*mtu = r->c.mtu;
	ret->until = r->c.expires;
	return 0;
}

static int choose_source(struct stack *s, const struct ip_out *o, const struct in6_addr *dst, struct ip_route *r)
    REQUIRES(L_NET)
{
	if (!addr_is_any(&o->src)) {
		r->src = o->src;
		return ip_is_local(s, &o->src, 0) ? 0 : -EINVAL;
	}
	if (!IN6_IS_ADDR_UNSPECIFIED(&r->src) || route_source(s, r->dev, dst, &r->src))
		return 0;
	if (!addr_is_v4(dst))
		return -EADDRNOTAVAIL;
	r->src = addr_from_v4(0);
	return 0;
}

int ip_route(struct stack *s, const struct ip_out *o, struct ip_route *ret)
{
	struct netdev *dev = o->bound_dev ? netdev_by_index(s, o->bound_dev) : NULL;
	struct ip_route r = {.generation = s->route_generation};
	struct in6_addr dst = o->dst;
	struct route_flow f;
	uint32_t mtu = 0;
	int err;

	if (o->bound_dev && !dev)
		return -ENODEV;
	if (dev && !(dev->flags & IFF_UP))
		return -ENETDOWN;
	if (addr_is_any(&dst))
		dst = addr_is_v4(&dst) ? addr_from_v4(htonl(INADDR_LOOPBACK)) : in6addr_loopback;
	if (!addr_is_any(&o->src) && addr_is_v4(&o->src) != addr_is_v4(&dst))
		return -EINVAL;
	r.next_hop = dst;
	flow_out(o, &f);
	f.dst = dst;
	if (addr_is_multicast(&dst) || addr_is_limited_broadcast(&dst))
		err = route_group(s, o, dev, &r);
	else
		err = route_unicast(s, &f, dev, &r, &mtu);
	if (!err)
		err = choose_source(s, o, &dst, &r);
	if (err)
		return err;
	set_mtu(s, &r, &dst, mtu);
	*ret = r;
	return 0;
}

int route_forward(struct stack *s, const struct route_flow *f, struct ip_route *ret)
{
	struct ip_route r = {.generation = s->route_generation, .next_hop = f->dst};
	uint32_t mtu = 0;
	int err = route_unicast(s, f, NULL, &r, &mtu);

	if (err)
		return err;
	if (r.type != RTN_UNICAST)
		return -EINVAL;
	set_mtu(s, &r, &f->dst, mtu);
	*ret = r;
	return 0;
}
