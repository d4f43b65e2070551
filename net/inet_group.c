/*
 * Multicast options: ip(7), ipv6(7): memberships, their source filters, and the interface that groups are sent by. MCAST_MSFILTER, the whole filter of any family,
 * is not there (ENOPROTOOPT); IP_MSFILTER is.
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
	struct ip_mreq_source source;
	struct group_source_req group_source;
	struct ip_msfilter filter;
	char filter_room[IP_MSFILTER_SIZE(DGRAM_SOURCES4_MAX)];
};

struct membership {
	bool join, v4;                /* v4: by an option of IPPROTO_IP */
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

	if (m->join && (!addr_is_multicast(&m->group) || addr_is_v4(&m->group) != m->v4))
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
	*ret = (struct membership){.join = true, .v4 = level == IPPROTO_IP};
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

/* ---- sources ---- */

/* Which option it is; -1: none. */
static int source_op(int level, int name)
{
	switch (name) {
	case MCAST_JOIN_SOURCE_GROUP:
		return SOURCE_JOIN;
	case MCAST_LEAVE_SOURCE_GROUP:
		return SOURCE_LEAVE;
	case MCAST_BLOCK_SOURCE:
		return SOURCE_BLOCK;
	case MCAST_UNBLOCK_SOURCE:
		return SOURCE_UNBLOCK;
	}
	if (level != IPPROTO_IP)
		return -1;
	switch (name) {
	case IP_ADD_SOURCE_MEMBERSHIP:
		return SOURCE_JOIN;
	case IP_DROP_SOURCE_MEMBERSHIP:
		return SOURCE_LEAVE;
	case IP_BLOCK_SOURCE:
		return SOURCE_BLOCK;
	case IP_UNBLOCK_SOURCE:
		return SOURCE_UNBLOCK;
	}
	return -1;
}

/* An address of a struct sockaddr_storage. -EINVAL, -EADDRNOTAVAIL (IPv6): of another family. */
static int storage_addr(int level, const struct sockaddr_storage *from, struct in6_addr *ret)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	memcpy(&in, from, sizeof(in));
	memcpy(&in6, from, sizeof(in6));
	if (in.sin_family != (level == IPPROTO_IP ? AF_INET : AF_INET6))
		return -EADDRNOTAVAIL;
	*ret = level == IPPROTO_IP ? addr_from_v4(in.sin_addr.s_addr) : in6.sin6_addr;
	return 0;
}

static int parse_source(int level, int name, const union request *r, size_t size, struct membership *ret,
			struct in6_addr *source)
{
	int err;

	*ret = (struct membership){.local = addr_from_v4(0)};
	if (level == IPPROTO_IP && name <= IP_DROP_SOURCE_MEMBERSHIP) {
		if (size != sizeof(r->source))
			return -EINVAL;
		ret->group = addr_from_v4(r->source.imr_multiaddr.s_addr);
		ret->local = addr_from_v4(r->source.imr_interface.s_addr);
		*source = addr_from_v4(r->source.imr_sourceaddr.s_addr);
		return 0;
	}
	if (size < sizeof(r->group_source))
		return -EINVAL;
	ret->dev = r->group_source.gsr_interface;
	err = storage_addr(level, &r->group_source.gsr_group, &ret->group);
	return err ? err : storage_addr(level, &r->group_source.gsr_source, source);
}

/* The interface that m names, by number or address. */
static int find_dev(struct inet_sock *i, struct membership *m) REQUIRES(L_NET)
{
	if (!m->dev && !addr_is_any(&m->local)) {
		m->dev = dev_of_addr(i->stack, &m->local);
		if (!m->dev)
			return -ENODEV;
	}
	return 0;
}

static int set_source(struct inet_sock *i, int level, int name, const union request *r, size_t size)
{
	struct in6_addr source;
	struct membership m;
	int err;

	if (i->s.type == SOCK_STREAM)
		return -ENOPROTOOPT;
	err = parse_source(level, name, r, size, &m, &source);
	if (err)
		return err;
	stack_enter(i->stack);
	err = find_dev(i, &m);
	if (!err)
		err = dgram_change_source(i->stack, &container_of(i, struct inet_dgram, i)->d, &m.group, m.dev, &source,
					  (enum dgram_source_op)source_op(level, name));
	stack_leave(i->stack);
	return err;
}

static int set_filter(struct inet_sock *i, const union request *r, size_t size)
{
	const struct ip_msfilter *from = &r->filter;
	struct dgram_filter f = {.include = from->imsf_fmode == MCAST_INCLUDE, .count = from->imsf_numsrc};
	struct membership m = {.group = addr_from_v4(from->imsf_multiaddr.s_addr),
			       .local = addr_from_v4(from->imsf_interface.s_addr)};
	int err;

	if (i->s.type == SOCK_STREAM)
		return -ENOPROTOOPT;
	if (size < IP_MSFILTER_SIZE(0))
		return -EINVAL;
	if (f.count > DGRAM_SOURCES4_MAX)
		return -ENOBUFS;
	if (IP_MSFILTER_SIZE(f.count) > size || from->imsf_fmode > MCAST_INCLUDE)
		return -EINVAL;
	for (unsigned n = 0; n < f.count; n++) {
		in_addr_t a;

		memcpy(&a, r->filter_room + IP_MSFILTER_SIZE(n), sizeof(a));
		f.source[n] = addr_from_v4(a);
	}
	stack_enter(i->stack);
	err = find_dev(i, &m);
	if (!err)
		err = dgram_set_filter(i->stack, &container_of(i, struct inet_dgram, i)->d, &m.group, m.dev, &f);
	stack_leave(i->stack);
	return err;
}

/* value: what the caller asks about, and the answer. */
static int get_filter(struct inet_sock *i, void *value, size_t *size)
{
	struct membership m = {.join = false};
	struct ip_msfilter head;
	struct dgram_filter f;
	uint32_t room;
	int err;

	if (i->s.type == SOCK_STREAM)
		return -ENOPROTOOPT;
	if (*size < IP_MSFILTER_SIZE(0))
		return -EINVAL;
	memcpy(&head, value, IP_MSFILTER_SIZE(0));
	m.group = addr_from_v4(head.imsf_multiaddr.s_addr);
	m.local = addr_from_v4(head.imsf_interface.s_addr);
	stack_enter(i->stack);
	err = addr_is_multicast(&m.group) ? find_dev(i, &m) : -EINVAL;
	if (!err)
		err = dgram_get_filter(i->stack, &container_of(i, struct inet_dgram, i)->d, &m.group, m.dev, &f);
	stack_leave(i->stack);
	if (err)
		return err;
	room = (uint32_t)MIN((*size - IP_MSFILTER_SIZE(0)) / sizeof(in_addr_t), (size_t)head.imsf_numsrc);
	head.imsf_fmode = f.include ? MCAST_INCLUDE : MCAST_EXCLUDE;
	head.imsf_numsrc = f.count;
	memcpy(value, &head, IP_MSFILTER_SIZE(0));
	for (unsigned n = 0; n < MIN(f.count, room); n++) {
		in_addr_t a = addr_v4(&f.source[n]);

		memcpy((char *)value + IP_MSFILTER_SIZE(n), &a, sizeof(a));
	}
	*size = IP_MSFILTER_SIZE(MIN(f.count, room));
	return 0;
}

/* ---- the interface ---- */

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
	bool filter = level == IPPROTO_IP && name == IP_MSFILTER;
	union request r = {0};

	if ((level != IPPROTO_IP && level != IPPROTO_IPV6) ||
	    (!ours && !filter && !is_membership(level, name) && source_op(level, name) < 0))
		return -ENOPROTOOPT;
	if (copy_in(c, &r, value, MIN(size, sizeof(r))))
		return -EFAULT;
	if (is_membership(level, name))
		return set_membership(i, level, name, &r, size);
	if (filter)
		return set_filter(i, &r, size);
	if (source_op(level, name) >= 0)
		return set_source(i, level, name, &r, size);
	return level == IPPROTO_IP ? set_interface(i, &r, size) : set_interface6(i, &r, size);
}

int inet_group_getsockopt(struct inet_sock *i, int level, int name, void *value, size_t *size)
{
	uint32_t v = level == IPPROTO_IP ? addr_v4(&i->mc_addr) : i->mc_dev6;

	if (level == IPPROTO_IP && name == IP_MSFILTER)
		return get_filter(i, value, size);
	if (name != (level == IPPROTO_IP ? IP_MULTICAST_IF : IPV6_MULTICAST_IF))
		return -ENOPROTOOPT;
	*size = MIN(*size, sizeof(v));
	memcpy(value, &v, sizeof(v));
	return 0;
}
