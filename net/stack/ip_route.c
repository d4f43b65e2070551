/*
 * The way of a packet: ip_route() for senders, the reverse for what comes in; path MTUs: RFC 1191, 8201, 5927.
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

static uint8_t find_input_type(struct stack *s, struct netdev *dev, const struct in6_addr *dst) REQUIRES(L_NET)
{
	const struct route *r;

	r = route_find(s, dst, IN6_IS_ADDR_LINKLOCAL(dst) && !(dev->flags & IFF_LOOPBACK) ? dev->index : 0);
	return route_errno(r) ? RTN_UNREACHABLE : r->c.type;
}

/* The last answer is kept: most packets are for the address that the one before was for. */
uint8_t route_input_type(struct stack *s, struct netdev *dev, const struct in6_addr *dst)
{
	struct input_type *last = &s->input_type;

	if (addr_is_multicast(dst))
		return RTN_MULTICAST;
	if (addr_is_limited_broadcast(dst))
		return RTN_BROADCAST;
	if (last->generation != s->route_generation || last->dev != dev->index || !addr_eq(&last->dst, dst))
		*last = (struct input_type){s->route_generation, dev->index, *dst, find_input_type(s, dev, dst)};
	return last->type;
}

/* Multicast and 255.255.255.255: by the interface that is named, or that has the source, or that a route leads to. */
static int route_group(struct stack *s, const struct ip_out *o, struct netdev *dev, struct ip_route *ret)
    REQUIRES(L_NET)
{
	const struct netdev_addr *a = addr_is_any(&o->src) ? NULL : stack_find_addr(s, &o->src);
	const struct route *r;

	if (!dev && a)
		dev = a->dev;
	if (!dev) {
		r = route_find(s, &o->dst, 0);
		if (route_errno(r))
			return route_errno(r);
		dev = r->c.dev;
	}
	ret->dev = dev;
	ret->type = addr_is_multicast(&o->dst) ? RTN_MULTICAST : RTN_BROADCAST;
	ret->local = dev->flags & IFF_LOOPBACK;
	return 0;
}

static void route_local(struct stack *s, const struct in6_addr *dst, const struct route *r, struct ip_route *ret)
{
	ret->dev = s->lo;
	ret->type = RTN_LOCAL;
	ret->local = true;
	ret->src = addr_is_any(&r->c.prefsrc) ? *dst : r->c.prefsrc;
}

static int route_unicast(struct stack *s, const struct in6_addr *dst, struct netdev *dev, struct ip_route *ret,
			 uint32_t *mtu) REQUIRES(L_NET)
{
	const struct route *r = route_find(s, dst, dev ? dev->index : 0);

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
	ret->dev = r->c.dev;
	ret->type = r->c.type == RTN_BROADCAST ? RTN_BROADCAST : RTN_UNICAST;
	ret->local = ret->dev->flags & IFF_LOOPBACK;
	if (!addr_is_any(&r->c.gateway))
		ret->next_hop = r->c.gateway;
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
	if (addr_is_multicast(&dst) || addr_is_limited_broadcast(&dst))
		err = route_group(s, o, dev, &r);
	else
		err = route_unicast(s, &dst, dev, &r, &mtu);
	if (!err)
		err = choose_source(s, o, &dst, &r);
	if (err)
		return err;
	set_mtu(s, &r, &dst, mtu);
	*ret = r;
	return 0;
}

int route_forward(struct stack *s, const struct in6_addr *dst, struct ip_route *ret)
{
	struct ip_route r = {.generation = s->route_generation, .next_hop = *dst};
	uint32_t mtu = 0;
	int err = route_unicast(s, dst, NULL, &r, &mtu);

	if (err)
		return err;
	if (r.type != RTN_UNICAST)
		return -EINVAL;
	set_mtu(s, &r, dst, mtu);
	*ret = r;
	return 0;
}
