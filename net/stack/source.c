/*
 * Which of our addresses a packet comes from. IPv4 as Linux's inet_select_addr(): a primary address of the interface,
 * best one whose prefix has the destination, else another interface's. IPv6: RFC 6724, section 5, rules 1 to 3, 5, 6
 * and 8; rules 4 and 7 are of mobile and temporary addresses, which do not exist here.
 */
#include <linux/rtnetlink.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/route.h"

static const struct netdev_addr *v4_of_dev(const struct netdev *dev, const struct in6_addr *dst)
{
	const struct netdev_addr *a, *first = NULL;

	list_for_each(a, &dev->addrs, link) {
		if (!addr_is_v4(&a->addr) || a->flags & IFA_F_SECONDARY || a->scope == RT_SCOPE_HOST)
			continue;
		if (addr_prefix_eq(&a->peer, dst, a->plen))
			return a;
		first = first ? first : a;
	}
	return first;
}

static const struct netdev_addr *v4_source(struct stack *s, const struct netdev *dev, const struct in6_addr *dst)
{
	const struct netdev_addr *a = v4_of_dev(dev, dst);
	const struct netdev *other;

	if (a)
		return a;
	list_for_each(other, &s->netdevs, link) {
		a = other->flags & IFF_UP ? v4_of_dev(other, dst) : NULL;
		if (a && a->scope < RT_SCOPE_LINK)
			return a;
	}
	return NULL;
}

/* RFC 4007; RFC 6724, 3.1. */
static unsigned scope(const struct in6_addr *a)
{
	if (a->s6_addr[0] == 0xff)
		return a->s6_addr[1] & 0xf;
	if (IN6_IS_ADDR_LINKLOCAL(a) || IN6_IS_ADDR_LOOPBACK(a))
		return 2;
	return IN6_IS_ADDR_SITELOCAL(a) ? 5 : 14;
}

/* RFC 6724, 2.1, and 10.6 for 3ffe::/16. */
static unsigned label(const struct in6_addr *a)
{
	static const struct {
		struct in6_addr prefix;
		uint8_t plen, label;
	} policy[] = {
	    {{.s6_addr = {[15] = 1}}, 128, 0},   {{.s6_addr = {0x20, 0x02}}, 16, 2},
	    {{.s6_addr = {0x20, 0x01}}, 32, 5},  {{.s6_addr = {0x3f, 0xfe}}, 16, 12},
	    {{.s6_addr = {0xfe, 0xc0}}, 10, 11}, {{.s6_addr = {0xfc}}, 7, 13},
	    {{.s6_addr = {0}}, 96, 3},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(policy); i++)
		if (addr_prefix_eq(a, &policy[i].prefix, policy[i].plen))
			return policy[i].label;
	return 1;
}

/* Whether a is better than b. */
static bool better(const struct netdev_addr *a, const struct netdev_addr *b, const struct netdev *dev,
		   const struct in6_addr *dst)
{
	unsigned sa = scope(&a->addr), sb = scope(&b->addr), sd = scope(dst);
	unsigned same_a = MIN(addr_common_bits(&a->addr, dst), a->plen),
		 same_b = MIN(addr_common_bits(&b->addr, dst), b->plen);

	if (addr_eq(&a->addr, dst) != addr_eq(&b->addr, dst))
		return addr_eq(&a->addr, dst);
	if (sa != sb)
		return sa < sb ? sa >= sd : sb < sd;
	if ((a->flags ^ b->flags) & IFA_F_DEPRECATED)
		return b->flags & IFA_F_DEPRECATED;
	if ((a->dev == dev) != (b->dev == dev))
		return a->dev == dev;
	if ((label(&a->addr) == label(dst)) != (label(&b->addr) == label(dst)))
		return label(&a->addr) == label(dst);
	return same_a > same_b;
}

/* Candidates are all addresses, but only the interface's own for what does not leave its link. */
static const struct netdev_addr *v6_source(struct stack *s, const struct netdev *dev, const struct in6_addr *dst)
{
	const struct netdev_addr *a, *best = NULL;
	const struct netdev *of;
	bool own = scope(dst) <= 2 || dst->s6_addr[0] == 0xff;

	list_for_each(of, &s->netdevs, link) {
		if (!(of->flags & IFF_UP) || (of != dev && own))
			continue;
		list_for_each(a, &of->addrs, link) {
			if (addr_is_v4(&a->addr) || (of != dev && scope(&a->addr) <= 2))
				continue;
			if (!best || better(a, best, dev, dst))
				best = a;
		}
	}
	return best;
}

bool route_source(struct stack *s, struct netdev *dev, const struct in6_addr *dst, struct in6_addr *ret)
{
	const struct netdev_addr *a = addr_is_v4(dst) ? v4_source(s, dev, dst) : v6_source(s, dev, dst);

	if (!a)
		return false;
	*ret = a->addr;
	return true;
}
