/*
 * Multicast options: ip(7), ipv6(7): memberships, and the interface that groups are sent by. Source filters are not supported (ENOPROTOOPT).
 */
#include <string.h>

#include "net/inet.h"
#include "net/stack/addr.h"
#include "net/stack/netdev.h"

/* What a membership option may bring, by its size. */
union request {
	struct in_addr addr;
	struct ip_mreq mreq;
	struct ip_mreqn mreqn;
	struct ipv6_mreq mreq6;
	struct group_req group;
};

struct membership {
	bool join;
	struct in6_addr group, local; /* local: of the interface */
	unsigned dev;
};

/* The interface that has an address. 0: none. */
static unsigned dev_of_addr(struct stack *s, const struct in6_addr *addr) REQUIRES(L_NET)
{
	const struct netdev_addr *a = stack_find_addr(s, addr);

	return a ? a->dev->index : 0;
}

static int change_membership(struct inet_dgram *g, struct membership *m) REQUIRES(L_NET)
{
	struct stack *s = g->i.stack;

	if (m->join && !addr_is_multicast(&m->group))
		return -EINVAL;
	if (!m->dev && !addr_is_any(&m->local)) {
		m->dev = dev_of_addr(s, &m->local);
		if (!m->dev)
			return -ENODEV;
	}
	if (m->dev && !netdev_by_index(s, m->dev))
		return -ENODEV;
	return m->join ? dgram_join(s, &g->d, &m->group, m->dev) : dgram_leave(s, &g->d, &m->group, m->dev);
}

/* 0, -EINVAL (the size, the family). */
static int parse(int level, int name, const union request *r, size_t size, struct membership *ret)
{
	*ret = (struct membership){.join = true};
	if (name == MCAST_JOIN_GROUP || name == MCAST_LEAVE_GROUP) {
		struct sockaddr_in in;
		struct sockaddr_in6 in6;

		if (size < sizeof(r->group))
			return -EINVAL;
		memcpy(&in, &r->group.gr_group, sizeof(in));
		memcpy(&in6, &r->group.gr_group, sizeof(in6));
		if (in.sin_family != (level == IPPROTO_IP ? AF_INET : AF_INET6))
			return level == IPPROTO_IP ? -EINVAL : -EADDRNOTAVAIL;
		ret->join = name == MCAST_JOIN_GROUP;
		ret->group = level == IPPROTO_IP ? addr_from_v4(in.sin_addr.s_addr) : in6.sin6_addr;
		ret->dev = r->group.gr_interface;
	} else if (level == IPPROTO_IPV6) {
		if (size < sizeof(r->mreq6))
			return -EINVAL;
		ret->join = name == IPV6_JOIN_GROUP;
		ret->group = r->mreq6.ipv6mr_multiaddr;
		ret->dev = (unsigned)r->mreq6.ipv6mr_interface;
	} else {
		if (size < sizeof(r->mreq))
			return -EINVAL;
		ret->join = name == IP_ADD_MEMBERSHIP;
		ret->group = addr_from_v4(r->mreqn.imr_multiaddr.s_addr);
		ret->local = addr_from_v4(r->mreqn.imr_address.s_addr);
		if (size >= sizeof(r->mreqn))
			ret->dev = (unsigned)r->mreqn.imr_ifindex;
	}
	return 0;
}

static int set_membership(struct inet_sock *i, int level, int name, const union request *r, size_t size)
{
	struct membership m;
	int err;

	if (i->s.type == SOCK_STREAM)
		return -EPROTO;
	err = parse(level, name, r, size, &m);
	if (err)
		return err;
	stack_enter(i->stack);
	err = change_membership(container_of(i, struct inet_dgram, i), &m);
	stack_leave(i->stack);
	return err;
}

static int change_interface(struct inet_sock *i, unsigned dev, const struct in6_addr *addr) REQUIRES(L_NET)
{
	if (!dev && !addr_is_any(addr)) {
		dev = dev_of_addr(i->stack, addr);
		if (!dev)
			return -EADDRNOTAVAIL;
	}
	if (dev && !netdev_by_index(i->stack, dev))
		return -EADDRNOTAVAIL;
	if (dev && i->bound_dev && i->bound_dev != dev)
		return -EINVAL;
	i->mc_dev = dev;
	i->mc_addr = *addr;
	i->sync(i);
	return 0;
}

static int set_interface(struct inet_sock *i, const union request *r, size_t size)
{
	struct in6_addr addr;
	unsigned dev = 0;
	int err;

	if (i->s.type == SOCK_STREAM || size < sizeof(r->addr))
		return -EINVAL;
	addr = addr_from_v4(size >= sizeof(r->mreq) ? r->mreqn.imr_address.s_addr : r->addr.s_addr);
	if (size >= sizeof(r->mreqn))
		dev = (unsigned)r->mreqn.imr_ifindex;
	stack_enter(i->stack);
	err = change_interface(i, dev, &addr);
	stack_leave(i->stack);
	return err;
}

static int set_interface6(struct inet_sock *i, const union request *r, size_t size)
{
	int err = 0, dev;

	if (i->s.type == SOCK_STREAM)
		return -ENOPROTOOPT;
	if (size < sizeof(dev))
		return -EINVAL;
	memcpy(&dev, r, sizeof(dev));
	stack_enter(i->stack);
	if (dev && !netdev_by_index(i->stack, (unsigned)dev))
		err = -ENODEV;
	else if (dev && i->bound_dev && i->bound_dev != (unsigned)dev)
		err = -EINVAL;
	if (!err) {
		i->mc_dev6 = (unsigned)dev;
		i->sync(i);
	}
	stack_leave(i->stack);
	return err;
}

static bool is_membership(int level, int name)
{
	if (name == MCAST_JOIN_GROUP || name == MCAST_LEAVE_GROUP)
		return true;
	return level == IPPROTO_IP ? name == IP_ADD_MEMBERSHIP || name == IP_DROP_MEMBERSHIP
				   : name == IPV6_JOIN_GROUP || name == IPV6_LEAVE_GROUP;
}

int inet_group_setsockopt(struct ctx *c, struct inet_sock *i, int level, int name, uaddr_t value, size_t size)
{
	bool ours = name == (level == IPPROTO_IP ? IP_MULTICAST_IF : IPV6_MULTICAST_IF);
	union request r = {0};

	if ((level != IPPROTO_IP && level != IPPROTO_IPV6) || (!ours && !is_membership(level, name)))
		return -ENOPROTOOPT;
	if (copy_in(c, &r, value, MIN(size, sizeof(r))))
		return -EFAULT;
	if (is_membership(level, name))
		return set_membership(i, level, name, &r, size);
	return level == IPPROTO_IP ? set_interface(i, &r, size) : set_interface6(i, &r, size);
}

int inet_group_getsockopt(struct inet_sock *i, int level, int name, void *value, size_t *size)
{
	uint32_t v = level == IPPROTO_IP ? addr_v4(&i->mc_addr) : i->mc_dev6;

	if (name != (level == IPPROTO_IP ? IP_MULTICAST_IF : IPV6_MULTICAST_IF))
		return -ENOPROTOOPT;
	*size = MIN(*size, sizeof(v));
	memcpy(value, &v, sizeof(v));
	return 0;
}
