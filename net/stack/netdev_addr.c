/*
 * Addresses of interfaces, and the routes that follow from them.
 *
 * As Linux's fib_add_ifaddr() and addrconf: an IPv4 address gives a local route for itself, a connected one for its
 * prefix (by the first address of a prefix, the primary; later ones are secondary), and broadcast routes for its
 * prefix's first and last address; on the loopback interface the whole prefix is local. An IPv6 address gives a local
 * route and a connected one; an interface that is up, one for ff00::/8. Deleting a primary deletes its secondaries, as
 * Linux does unless promote_secondaries is set; with the last IPv4 address, all of the interface's IPv4 routes go.
 *
 * IPv6 addresses are used at once: duplicate address detection (RFC 4862, 5.4) is not done, as with Linux's `nodad`.
 * The lifetimes of those that a router's prefix gave run out by a timer each.
 */
#include <linux/rtnetlink.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/netdev.h"
#include "net/stack/route.h"
#include "sentry/base/slab.h"

#define ADDRS_MAX 2048
#define CONNECTED_METRIC6 256

static struct slab addr_slab = SLAB_INIT(struct netdev_addr);

struct netdev_addr *netdev_find_addr(struct netdev *dev, const struct in6_addr *addr)
{
	struct netdev_addr *a;

	list_for_each(a, &dev->addrs, link)
		if (addr_eq(&a->addr, addr))
			return a;
	return NULL;
}

struct netdev_addr *stack_find_addr(struct stack *s, const struct in6_addr *addr)
{
	struct netdev *dev;

	list_for_each(dev, &s->netdevs, link) {
		struct netdev_addr *a = netdev_find_addr(dev, addr);

		if (a)
			return a;
	}
	return NULL;
}

static int add_route(struct stack *s, struct netdev *dev, uint32_t table, uint8_t type, const struct in6_addr *dst,
		     unsigned plen, const struct in6_addr *prefsrc) REQUIRES(L_NET)
{
	bool v4 = addr_is_v4(dst);
	struct route_config c = {
	    .table = table,
	    .type = type,
	    .v6 = !v4,
	    .dst = addr_mask(dst, plen),
	    .plen = (uint8_t)plen,
	    .protocol = RTPROT_KERNEL,
	    .scope = type == RTN_LOCAL && v4 ? RT_SCOPE_HOST
		     : v4                    ? RT_SCOPE_LINK
					     : RT_SCOPE_UNIVERSE,
	    .metric = v4 || type == RTN_LOCAL ? 0 : CONNECTED_METRIC6,
	    .dev = dev,
	};
	int err;

	if (prefsrc)
		c.prefsrc = *prefsrc;
	err = route_add(s, &c, ROUTE_EXCL);
	return err == -EEXIST ? 0 : err;
}

static int add_v4_routes(struct stack *s, struct netdev_addr *a) REQUIRES(L_NET)
{
	struct netdev *dev = a->dev;
	struct in6_addr first = addr_mask(&a->peer, a->plen), last = first;
	bool lo = dev->flags & IFF_LOOPBACK;
	int err;

	err = add_route(s, dev, RT_TABLE_LOCAL, RTN_LOCAL, &a->addr, 128, &a->addr);
	if (!err && !(a->flags & IFA_F_SECONDARY) && a->plen < 128 && !addr_is_any(&first))
		err = add_route(s, dev, lo ? RT_TABLE_LOCAL : RT_TABLE_MAIN, lo ? RTN_LOCAL : RTN_UNICAST, &first,
				a->plen, &a->addr);
	else if (!err && !addr_eq(&a->peer, &a->addr))
		err = add_route(s, dev, RT_TABLE_MAIN, RTN_UNICAST, &a->peer, 128, &a->addr);
	if (!err && !addr_is_any(&a->broadcast))
		err = add_route(s, dev, RT_TABLE_LOCAL, RTN_BROADCAST, &a->broadcast, 128, &a->addr);
	if (err || a->plen >= 127 || a->flags & IFA_F_SECONDARY || !(dev->flags & (IFF_BROADCAST | IFF_LOOPBACK)))
		return err;
	last.s6_addr32[3] |= htonl(UINT32_MAX >> (a->plen - V4_BITS));
	err = lo ? 0 : add_route(s, dev, RT_TABLE_LOCAL, RTN_BROADCAST, &first, 128, &a->addr);
	return err ? err : add_route(s, dev, RT_TABLE_LOCAL, RTN_BROADCAST, &last, 128, &a->addr);
}

static int add_v6_routes(struct stack *s, struct netdev_addr *a) REQUIRES(L_NET)
{
	int err = add_route(s, a->dev, RT_TABLE_LOCAL, RTN_LOCAL, &a->addr, 128, NULL);

	if (err || a->flags & IFA_F_NOPREFIXROUTE || a->dev->flags & IFF_LOOPBACK)
		return err;
	return add_route(s, a->dev, RT_TABLE_MAIN, RTN_UNICAST, &a->peer, a->plen, NULL);
}

int netdev_sync_routes(struct stack *s, struct netdev *dev)
{
	static const struct in6_addr groups = {.s6_addr = {0xff}};
	struct netdev_addr *a;
	int err = 0;

	route_flush_dev(s, dev, true);
	if (!(dev->flags & IFF_UP))
		return 0;
	list_for_each(a, &dev->addrs, link) {
		err = err ? err : addr_is_v4(&a->addr) ? add_v4_routes(s, a) : add_v6_routes(s, a);
	}
	if (!err && !(dev->flags & IFF_LOOPBACK) && !(dev->features & NETDEV_NO_V6))
		err = add_route(s, dev, RT_TABLE_LOCAL, RTN_MULTICAST, &groups, 8, NULL);
	return err;
}

static void free_addr(struct stack *s, struct netdev_addr *a) REQUIRES(L_NET)
{
	if (!addr_is_v4(&a->addr) && !(a->dev->flags & IFF_LOOPBACK)) {
		struct in6_addr group = ndp_solicited_node(&a->addr);

		mcast_leave(s, a->dev, &group);
	}
	net_timer_cancel(s, &a->expiry);
	list_remove(&a->link);
	a->dev->addr_count--;
	stack_notify(s, STACK_ADDR, true, a);
	slab_free(&addr_slab, a);
}

static void expire(struct stack *s, struct net_timer *t) REQUIRES(L_NET)
{
	struct netdev_addr *a = container_of(t, struct netdev_addr, expiry);
	struct netdev *dev = a->dev;

	if (a->valid_until <= s->now) {
		free_addr(s, a);
		/* What could not be made again for want of memory comes with the next change. */
		(void)!netdev_sync_routes(s, dev);
	} else {
		a->flags |= IFA_F_DEPRECATED;
		if (a->valid_until != INT64_MAX)
			net_timer_arm(s, t, a->valid_until);
		stack_notify(s, STACK_ADDR, false, a);
	}
	s->route_generation++;
}

static int64_t deadline(const struct stack *s, int64_t after)
{
	return after >= INT64_MAX - s->now ? INT64_MAX : s->now + after;
}

void netdev_addr_lifetime(struct stack *s, struct netdev_addr *a, int64_t valid, int64_t preferred)
{
	int64_t first;

	a->valid_until = deadline(s, valid);
	a->preferred_until = deadline(s, MIN(preferred, valid));
	a->flags &= ~(uint32_t)(IFA_F_DEPRECATED | IFA_F_PERMANENT);
	if (valid == INT64_MAX)
		a->flags |= IFA_F_PERMANENT;
	if (preferred <= 0)
		a->flags |= IFA_F_DEPRECATED;
	first = a->flags & IFA_F_DEPRECATED ? a->valid_until : a->preferred_until;
	if (first != INT64_MAX)
		net_timer_arm(s, &a->expiry, first);
	else
		net_timer_cancel(s, &a->expiry);
}

/* Another primary of the same IPv4 prefix. */
static bool has_primary(struct netdev *dev, const struct in6_addr *addr, unsigned plen)
{
	struct netdev_addr *a;

	list_for_each(a, &dev->addrs, link)
		if (addr_is_v4(&a->addr) && a->plen == plen && !(a->flags & IFA_F_SECONDARY) &&
		    addr_prefix_eq(&a->addr, addr, plen))
			return true;
	return false;
}

static bool addr_config_ok(const struct addr_config *c)
{
	return c->plen <= 128 && (!addr_is_v4(&c->addr) || c->plen >= V4_BITS) && !addr_is_any(&c->addr) &&
	       !addr_is_multicast(&c->addr) && !addr_is_limited_broadcast(&c->addr) && c->valid > 0;
}

static void fill_addr(struct netdev_addr *a, struct netdev *dev, const struct addr_config *c)
{
	a->dev = dev;
	a->addr = c->addr;
	a->peer = IN6_IS_ADDR_UNSPECIFIED(&c->peer) ? c->addr : c->peer;
	a->broadcast = IN6_IS_ADDR_UNSPECIFIED(&c->broadcast) ? addr_from_v4(0) : c->broadcast;
	a->plen = c->plen;
	a->scope = c->scope;
	a->flags = c->flags & (IFA_F_NOPREFIXROUTE | IFA_F_MANAGETEMPADDR);
	if (addr_is_v4(&c->addr) && has_primary(dev, &c->addr, c->plen))
		a->flags |= IFA_F_SECONDARY;
}

int netdev_add_addr(struct stack *s, struct netdev *dev, const struct addr_config *c)
{
	struct netdev_addr *a;
	int err = 0;

	if (!addr_config_ok(c))
		return -EINVAL;
	if (!addr_is_v4(&c->addr) && dev->features & NETDEV_NO_V6)
		return -EACCES;
	if (netdev_find_addr(dev, &c->addr))
		return -EEXIST;
	if (dev->addr_count == ADDRS_MAX)
		return -ENOBUFS;
	a = slab_alloc(&addr_slab);
	if (!a)
		return -ENOMEM;
	fill_addr(a, dev, c);
	net_timer_init(&a->expiry, expire);
	if (!addr_is_v4(&c->addr) && !(dev->flags & IFF_LOOPBACK)) {
		struct in6_addr group = ndp_solicited_node(&a->addr);

		err = mcast_join(s, dev, &group);
	}
	if (err) {
		slab_free(&addr_slab, a);
		return err;
	}
	netdev_addr_lifetime(s, a, c->valid, c->preferred);
	list_append(&dev->addrs, &a->link);
	dev->addr_count++;
	err = netdev_sync_routes(s, dev);
	s->route_generation++;
	if (err) {
		free_addr(s, a);
		(void)!netdev_sync_routes(s, dev);
		return err;
	}
	stack_notify(s, STACK_ADDR, false, a);
	return 0;
}

static bool has_v4(const struct netdev *dev)
{
	const struct netdev_addr *a;

	list_for_each(a, &dev->addrs, link)
		if (addr_is_v4(&a->addr))
			return true;
	return false;
}

int netdev_del_addr(struct stack *s, struct netdev *dev, const struct in6_addr *addr, unsigned plen)
{
	struct netdev_addr *a = netdev_find_addr(dev, addr), *other, *next;
	bool primary;

	if (!a || a->plen != plen)
		return -EADDRNOTAVAIL;
	primary = addr_is_v4(addr) && !(a->flags & IFA_F_SECONDARY);
	free_addr(s, a);
	list_for_each_safe(other, next, &dev->addrs, link)
		if (primary && addr_is_v4(&other->addr) && other->flags & IFA_F_SECONDARY && other->plen == plen &&
		    addr_prefix_eq(&other->addr, addr, plen))
			free_addr(s, other);
	route_flush_prefsrc(s, dev, addr);
	if (!has_v4(dev))
		route_flush_family(s, dev, false);
	s->route_generation++;
	return netdev_sync_routes(s, dev);
}

void netdev_drop_addrs(struct stack *s, struct netdev *dev)
{
	struct netdev_addr *a;

	while ((a = list_first(&dev->addrs, struct netdev_addr, link)))
		free_addr(s, a);
	route_flush_dev(s, dev, false);
}

void netdev_drop_v6(struct stack *s, struct netdev *dev)
{
	struct netdev_addr *a, *next;

	list_for_each_safe(a, next, &dev->addrs, link)
		if (!addr_is_v4(&a->addr))
			free_addr(s, a);
	route_flush_family(s, dev, true);
	s->route_generation++;
}

struct in6_addr netdev_eui64(const struct netdev *dev, const struct in6_addr *prefix)
{
	struct in6_addr a = *prefix;
	uint8_t *id = a.s6_addr + 8;

	memcpy(id, dev->mac, 3);
	id[0] ^= 2;
	id[3] = 0xff;
	id[4] = 0xfe;
	memcpy(id + 5, dev->mac + 3, 3);
	return a;
}

static int add_auto(struct stack *s, struct netdev *dev, struct in6_addr addr, uint8_t plen, uint8_t scope)
    REQUIRES(L_NET)
{
	struct addr_config c = {.addr = addr, .plen = plen, .scope = scope, .valid = INT64_MAX, .preferred = INT64_MAX};
	int err = netdev_add_addr(s, dev, &c);

	return err == -EEXIST || err == -EACCES ? 0 : err;
}

static bool has_link_local(const struct netdev *dev)
{
	const struct netdev_addr *a;

	list_for_each(a, &dev->addrs, link)
		if (IN6_IS_ADDR_LINKLOCAL(&a->addr))
			return true;
	return false;
}

int netdev_auto_addrs(struct stack *s, struct netdev *dev)
{
	static const struct in6_addr link_local = {.s6_addr = {0xfe, 0x80}};
	int err;

	if (dev->flags & IFF_LOOPBACK) {
		err = add_auto(s, dev, addr_from_v4(htonl(INADDR_LOOPBACK)), V4_BITS + 8, RT_SCOPE_HOST);
		return err ? err : add_auto(s, dev, in6addr_loopback, 128, RT_SCOPE_HOST);
	}
	if (!(dev->features & NETDEV_ETHER) || has_link_local(dev))
		return 0;
	return add_auto(s, dev, netdev_eui64(dev, &link_local), 64, RT_SCOPE_LINK);
}
