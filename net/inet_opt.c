/*
 * Options of IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP and IPPROTO_TCP, and SOL_SOCKET's that are about interfaces: ip(7), ipv6(7), udp(7), tcp(7), raw(7).
 *
 * Most options are one number with a range; a table says which, and the socket's sync() tells the endpoint. Options of IPPROTO_IP may be a byte long, as on
 * Linux; all others are ints. What the stack does not do (routing headers, flow labels) is kept and given back, so that programs that set it go on.
 */
#include <linux/capability.h>
#include <linux/udp.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/tcp.h>
#include <string.h>

#include "net/inet.h"
#include "net/stack/addr.h"
#include "net/stack/netdev.h"
#include "sentry/base/cred.h"

/* Numbers that the C library may not have. */
#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif
#ifndef TCP_FASTOPEN_CONNECT
#define TCP_FASTOPEN_CONNECT 30
#endif
#ifndef TCP_INQ
#define TCP_INQ 36
#endif
#ifndef IPV6_RECVERR_RFC4884
#define IPV6_RECVERR_RFC4884 31
#endif
#define K_IP_NODEFRAG 22
#define K_IP_CHECKSUM 23
#define K_IP_BIND_ADDRESS_NO_PORT 24
#define K_IP_LOCAL_PORT_RANGE 51
#define K_IPV6_2292PKTINFO 2
#define K_IPV6_2292HOPLIMIT 8
#define K_IPV6_MULTICAST_ALL 29
#define K_IPV6_FLOWINFO_SEND 33
#define K_IPV6_RECVORIGDSTADDR 74
#define K_IPV6_TRANSPARENT 75
#define K_IPV6_FREEBIND 78
#define SOL_RAW_LEVEL 255
#define K_ICMP_FILTER 1
#define DEFAULT_TTL 64
#define K_UDPLITE_SEND_CSCOV 10 /* of the kernel's <linux/udp.h>, in its own headers */
#define K_UDPLITE_RECV_CSCOV 11
#define UDP_HEAD 8

enum option_flag {
	BOOLEAN = 1 << 0,    /* anything but 0 is 1 */
	BYTE = 1 << 1,       /* the low byte counts */
	DEFAULT = 1 << 2,    /* -1 is as at the start */
	RAW_ONLY = 1 << 3,   /* others: ENOPROTOOPT */
	NOT_STREAM = 1 << 4, /* EINVAL */
	NO_STREAM = 1 << 5,  /* ENOPROTOOPT */
	ADMIN = 1 << 6,      /* CAP_NET_ADMIN or CAP_NET_RAW */
	UNBOUND = 1 << 7,    /* EINVAL once there is a port */
	HOPS = 1 << 8,       /* shown as the default unless it was set */
	/* EINVAL once there is a connection or an attempt at one, EOPNOTSUPP without net.ipv4.tcp_fastopen */
	UNCONNECTED = 1 << 9,
	COVER = 1 << 10, /* bytes that UDP-Lite sums: 0 is all, else the header at least */
};

static const struct inet_option {
	int level, name;
	enum inet_value value;
	int low, high, start;
	unsigned flags;
} options[] = {
    {IPPROTO_IP, IP_TOS, INET_TOS, INT32_MIN, INT32_MAX, 0, BYTE},
    {IPPROTO_IP, IP_TTL, INET_TTL, 1, 255, -1, DEFAULT | HOPS},
    {IPPROTO_IP, IP_MULTICAST_TTL, INET_MC_TTL, 0, 255, 1, DEFAULT | NOT_STREAM},
    {IPPROTO_IP, IP_MULTICAST_LOOP, INET_MC_LOOP, 0, 0, 1, BOOLEAN},
    {IPPROTO_IP, IP_MULTICAST_ALL, INET_MC_ALL, 0, 1, 1, 0},
    {IPPROTO_IP, IP_MTU_DISCOVER, INET_PMTU, 0, 5, 1, 0},
    {IPPROTO_IP, IP_RECVERR, INET_RECVERR, 0, 0, 0, BOOLEAN},
    {IPPROTO_IP, IP_PKTINFO, INET_PKTINFO, 0, 0, 0, BOOLEAN},
    {IPPROTO_IP, IP_RECVTTL, INET_RECVTTL, 0, 0, 0, BOOLEAN},
    {IPPROTO_IP, IP_RECVTOS, INET_RECVTOS, 0, 0, 0, BOOLEAN},
    {IPPROTO_IP, IP_RECVOPTS, INET_RECVOPTS, 0, 0, 0, BOOLEAN},
    {IPPROTO_IP, IP_RETOPTS, INET_RETOPTS, 0, 0, 0, BOOLEAN},
    {IPPROTO_IP, IP_RECVORIGDSTADDR, INET_ORIGDST, 0, 0, 0, BOOLEAN},
    {IPPROTO_IP, IP_FREEBIND, INET_FREEBIND, 0, 0, 0, BOOLEAN},
    {IPPROTO_IP, IP_TRANSPARENT, INET_TRANSPARENT, 0, 0, 0, BOOLEAN | ADMIN},
    {IPPROTO_IP, IP_HDRINCL, INET_HDRINCL, 0, 0, 0, BOOLEAN | RAW_ONLY},
    {IPPROTO_IP, K_IP_NODEFRAG, INET_NODEFRAG, 0, 0, 0, BOOLEAN | RAW_ONLY},
    {IPPROTO_IP, K_IP_CHECKSUM, INET_CHECKSUM, 0, 0, 0, BOOLEAN},
    {IPPROTO_IP, K_IP_BIND_ADDRESS_NO_PORT, INET_NO_PORT, 0, 0, 0, BOOLEAN},
    {IPPROTO_IP, K_IP_LOCAL_PORT_RANGE, INET_PORT_RANGE, INT32_MIN, INT32_MAX, 0, 0},
    {IPPROTO_IPV6, IPV6_V6ONLY, INET6_V6ONLY, 0, 0, 0, BOOLEAN | UNBOUND},
    {IPPROTO_IPV6, IPV6_TCLASS, INET6_TCLASS, 0, 255, 0, DEFAULT},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, INET6_HOPS, 0, 255, -1, DEFAULT | HOPS},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, INET6_MC_HOPS, 0, 255, 1, DEFAULT | NO_STREAM},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, INET6_MC_LOOP, 0, 1, 1, 0},
    {IPPROTO_IPV6, K_IPV6_MULTICAST_ALL, INET6_MC_ALL, 0, 0, 1, BOOLEAN},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER, INET6_PMTU, 0, 5, 1, 0},
    {IPPROTO_IPV6, IPV6_RECVERR, INET6_RECVERR, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO, INET6_PKTINFO, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, K_IPV6_2292PKTINFO, INET6_PKTINFO, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, INET6_RECVHOPS, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, K_IPV6_2292HOPLIMIT, INET6_RECVHOPS, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, IPV6_RECVTCLASS, INET6_RECVTCLASS, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, K_IPV6_RECVORIGDSTADDR, INET6_ORIGDST, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, IPV6_DONTFRAG, INET6_DONTFRAG, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, INET6_AUTOFLOW, 0, 0, 1, BOOLEAN},
    {IPPROTO_IPV6, K_IPV6_FREEBIND, INET6_FREEBIND, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, K_IPV6_TRANSPARENT, INET6_TRANSPARENT, 0, 0, 0, BOOLEAN | ADMIN},
    {IPPROTO_IPV6, IPV6_RECVPATHMTU, INET6_RECVPATHMTU, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, IPV6_RECVRTHDR, INET6_RECVRTHDR, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, IPV6_RECVHOPOPTS, INET6_RECVHOPOPTS, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, IPV6_RECVDSTOPTS, INET6_RECVDSTOPTS, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, K_IPV6_FLOWINFO_SEND, INET6_FLOWINFO, 0, 0, 0, BOOLEAN},
    {IPPROTO_IPV6, IPV6_CHECKSUM, INET6_CHECKSUM, INT32_MIN, INT32_MAX, -1, RAW_ONLY},
    {SOL_RAW_LEVEL, IPV6_CHECKSUM, INET6_CHECKSUM, INT32_MIN, INT32_MAX, -1, RAW_ONLY},
    {IPPROTO_UDP, UDP_CORK, UDP_V_CORK, 0, 0, 0, BOOLEAN},
    {IPPROTO_UDP, UDP_SEGMENT, UDP_V_SEGMENT, 0, 65535, 0, 0},
    {IPPROTO_UDP, UDP_GRO, UDP_V_GRO, 0, 0, 0, BOOLEAN},
    {IPPROTO_UDP, UDP_NO_CHECK6_TX, UDP_V_NO_CHECK_TX, 0, 0, 0, BOOLEAN},
    {IPPROTO_UDP, UDP_NO_CHECK6_RX, UDP_V_NO_CHECK_RX, 0, 0, 0, BOOLEAN},
    {IPPROTO_UDPLITE, K_UDPLITE_SEND_CSCOV, UDPLITE_V_SEND_CSCOV, 0, 0, -1, COVER},
    {IPPROTO_UDPLITE, K_UDPLITE_RECV_CSCOV, UDPLITE_V_RECV_CSCOV, 0, 0, -1, COVER},
    {IPPROTO_TCP, TCP_FASTOPEN, TCP_V_FASTOPEN, 0, INT32_MAX, 0, 0},
    {IPPROTO_TCP, TCP_FASTOPEN_CONNECT, TCP_V_FASTOPEN_CONNECT, 0, 1, 0, UNCONNECTED},
    {IPPROTO_TCP, TCP_INQ, TCP_V_INQ, 0, 1, 0, 0},
};

void inet_values_init(struct inet_sock *i)
{
	for (size_t n = 0; n < ARRAY_SIZE(options); n++)
		i->value[options[n].value] = options[n].start;
}

static const struct inet_option *find_option(int level, int name)
{
	for (size_t n = 0; n < ARRAY_SIZE(options); n++)
		if (options[n].level == level && options[n].name == name)
			return &options[n];
	return NULL;
}

/* Is the level one that this socket has options of? */
static bool level_fits(const struct socket *s, int level)
{
	switch (level) {
	case IPPROTO_IP:
		return s->family == AF_INET || s->type != SOCK_RAW;
	case IPPROTO_IPV6:
		return s->family == AF_INET6;
	case SOL_RAW_LEVEL:
		return s->type == SOCK_RAW;
	case IPPROTO_ICMPV6:
		return s->type == SOCK_RAW && s->protocol == IPPROTO_ICMPV6;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		return s->type == SOCK_DGRAM && (s->protocol == IPPROTO_UDP || s->protocol == IPPROTO_UDPLITE);
	default:
		return level == s->protocol && s->type != SOCK_RAW;
	}
}

/* ---- interfaces ---- */

static bool has_port(struct inet_sock *i) REQUIRES(L_NET)
{
	struct inet_dgram *g = container_of(i, struct inet_dgram, i);

	if (i->s.type == SOCK_STREAM)
		return container_of(i, struct inet_tcp, i)->tp->ep.bind.port;
	return g->kind->port && g->kind->port(g)->port;
}

static int bind_to(struct ctx *c, struct inet_sock *i, const char *name, unsigned index)
{
	const struct netdev *dev;
	int err = 0;

	stack_enter(i->stack);
	dev = *name ? netdev_by_name(i->stack, name) : netdev_by_index(i->stack, index);
	if (i->bound_dev && !cred_capable(c->cred, CAP_NET_RAW))
		err = -EPERM;
	else if (!dev && (*name || index))
		err = -ENODEV;
	if (!err) {
		i->bound_dev = dev ? dev->index : 0;
		i->sync(i);
	}
	stack_leave(i->stack);
	return err;
}

static int set_interface(struct ctx *c, struct inet_sock *i, int name, uaddr_t value, size_t size)
{
	char text[IFNAMSIZ] = "";
	int index = 0, err;

	if (name == SO_BINDTODEVICE) {
		if (copy_in(c, text, value, MIN(size, sizeof(text) - 1)))
			return -EFAULT;
		return bind_to(c, i, text, 0);
	}
	if (name != SO_BINDTOIFINDEX)
		return -ENOPROTOOPT;
	err = sockopt_int(c, value, size, &index);
	if (!err && index < 0)
		err = -EINVAL;
	return err ? err : bind_to(c, i, "", (unsigned)index);
}

static int get_socket_level(struct inet_sock *i, int name, void *value, size_t *size)
{
	const struct netdev *dev;
	int err = 0, v;

	stack_enter(i->stack);
	dev = netdev_by_index(i->stack, i->bound_dev);
	v = (int)i->bound_dev;
	if (name == SO_BINDTODEVICE) {
		err = *size < IFNAMSIZ && dev ? -EINVAL : 0;
		*size = dev ? strlen(dev->name) + 1 : 0;
		if (!err && dev)
			memcpy(value, dev->name, *size);
	} else if (name == SO_ACCEPTCONN) {
		v = i->s.type == SOCK_STREAM && container_of(i, struct inet_tcp, i)->tp->ep.state == TCP_LISTEN;
	} else if (name != SO_BINDTOIFINDEX) {
		err = -ENOPROTOOPT;
	}
	stack_leave(i->stack);
	if (err || name == SO_BINDTODEVICE)
		return err;
	*size = MIN(*size, sizeof(v));
	memcpy(value, &v, *size);
	return 0;
}

/* ---- TCP ---- */

static int set_congestion(struct ctx *c, struct inet_tcp *t, uaddr_t value, size_t size)
{
	char name[16] = "";
	int err;

	if (size < 1)
		return -EINVAL;
	if (copy_in(c, name, value, MIN(size, sizeof(name) - 1)))
		return -EFAULT;
	stack_enter(t->i.stack);
	err = tcp_set_congestion(t->tp, name);
	stack_leave(t->i.stack);
	return err;
}

static int set_tcp(struct ctx *c, struct inet_tcp *t, int name, uaddr_t value, size_t size)
{
	int v, err;

	if (name == TCP_CONGESTION)
		return set_congestion(c, t, value, size);
	if (name == TCP_ULP)
		return -ENOENT;
	err = sockopt_int(c, value, size, &v);
	if (err)
		return err;
	stack_enter(t->i.stack);
	err = tcp_set_option(t->tp, name, v);
	stack_leave(t->i.stack);
	return err;
}

static int get_tcp(struct inet_tcp *t, int name, void *value, size_t *size)
{
	struct k_tcp_info info;
	int err = 0, v = 0;

	stack_enter(t->i.stack);
	if (name == TCP_INFO) {
		tcp_info(t->tp, &info);
		*size = MIN(*size, sizeof(info));
		memcpy(value, &info, *size);
	} else if (name == TCP_CONGESTION) {
		*size = MIN(*size, 16u);
		strncpy(value, tcp_congestion(t->tp), *size);
	} else if (name == TCP_ULP) {
		*size = 0;
	} else {
		err = tcp_get_option(t->tp, name, &v);
		if (!err) {
			*size = MIN(*size, sizeof(v));
			memcpy(value, &v, *size);
		}
	}
	stack_leave(t->i.stack);
	return err;
}

/* ---- raw ---- */

static bool is_filter(const struct socket *s, int level, int name)
{
	if (s->type != SOCK_RAW)
		return false;
	if (level == SOL_RAW_LEVEL)
		return s->protocol == IPPROTO_ICMP && s->family == AF_INET && name == K_ICMP_FILTER;
	return level == IPPROTO_ICMPV6 && s->family == AF_INET6 && name == ICMP6_FILTER;
}

static int set_filter(struct ctx *c, struct inet_dgram *g, uaddr_t value, size_t size)
{
	uint32_t filter[8] = {0};

	size = MIN(size, g->i.s.family == AF_INET ? sizeof(filter[0]) : sizeof(filter));
	if (copy_in(c, filter, value, size))
		return -EFAULT;
	stack_enter(g->i.stack);
	memcpy(g->raw.filter, filter, size);
	stack_leave(g->i.stack);
	return 0;
}

static int get_filter(struct inet_dgram *g, void *value, size_t *size)
{
	*size = MIN(*size, g->i.s.family == AF_INET ? sizeof(uint32_t) : sizeof(g->raw.filter));
	stack_enter(g->i.stack);
	memcpy(value, g->raw.filter, *size);
	stack_leave(g->i.stack);
	return 0;
}

/* ---- numbers ---- */

static int check_kind(struct ctx *c, const struct socket *s, const struct inet_option *o)
{
	if (o->flags & RAW_ONLY && s->type != SOCK_RAW)
		return -ENOPROTOOPT;
	if (o->flags & COVER && s->protocol != IPPROTO_UDPLITE)
		return -ENOPROTOOPT;
	if (o->flags & NOT_STREAM && s->type == SOCK_STREAM)
		return -EINVAL;
	if (o->flags & NO_STREAM && s->type == SOCK_STREAM)
		return -ENOPROTOOPT;
	if (o->flags & ADMIN && !cred_capable(c->cred, CAP_NET_ADMIN) && !cred_capable(c->cred, CAP_NET_RAW))
		return -EPERM;
	return 0;
}

/* The number to keep, or -EINVAL. */
static int check_value(const struct inet_sock *i, const struct inet_option *o, int *v)
{
	if (o->flags & BOOLEAN)
		*v = *v != 0;
	else if (o->flags & COVER)
		*v = *v == 0 ? 0 : MIN(MAX(*v, UDP_HEAD), UINT16_MAX);
	else if (o->flags & DEFAULT && *v == -1)
		*v = o->start;
	else if (*v < o->low || *v > o->high)
		return -EINVAL;
	if (o->value == INET6_CHECKSUM) {
		/* The checksum of ICMPv6 is not the socket's to place. */
		if (i->s.protocol == IPPROTO_ICMPV6 || (*v > 0 && *v & 1))
			return -EINVAL;
		*v = MAX(*v, -1);
	}
	if (o->flags & BYTE)
		*v &= 0xff;
	if (o->value == INET_TOS && i->s.type == SOCK_STREAM)
		*v &= ~3; /* ECN is TCP's */
	return 0;
}

static int copy_number(struct ctx *c, int level, uaddr_t value, size_t size, int *ret)
{
	unsigned char byte = 0;
	int err;

	if (level != IPPROTO_IP || size >= sizeof(*ret))
		return sockopt_int(c, value, size, ret);
	err = size ? copy_in(c, &byte, value, 1) : 0;
	*ret = byte;
	return err;
}

static int check_unconnected(const struct inet_sock *i) REQUIRES(L_NET)
{
	if (!(tcp_conf(i->stack)->fastopen & TCP_FASTOPEN_CLIENT))
		return -EOPNOTSUPP;
	return container_of(i, struct inet_tcp, i)->tp->ep.state == TCP_CLOSE ? 0 : -EINVAL;
}

static int set_number(struct ctx *c, struct inet_sock *i, const struct inet_option *o, uaddr_t value, size_t size)
{
	int v, err = check_kind(c, &i->s, o);

	if (!err)
		err = copy_number(c, o->level, value, size, &v);
	if (!err)
		err = check_value(i, o, &v);
	if (err)
		return err;
	stack_enter(i->stack);
	if (o->flags & UNBOUND && has_port(i)) {
		err = -EINVAL;
	} else if (o->flags & UNCONNECTED && (err = check_unconnected(i))) {
		/* it stays */
	} else {
		i->value[o->value] = v;
		i->sync(i);
	}
	stack_leave(i->stack);
	if (!err && o->value == UDP_V_CORK && !v)
		inet_dgram_uncork(i);
	return err;
}

int inet_setsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, size_t size)
{
	const struct inet_option *o = find_option(level, name);
	struct inet_sock *i = inet_of(s);

	if (level == SOL_SOCKET)
		return set_interface(c, i, name, value, size);
	if (is_filter(s, level, name))
		return set_filter(c, inet_dgram_of(s), value, size);
	if (!level_fits(s, level))
		return -ENOPROTOOPT;
	if (o)
		return set_number(c, i, o, value, size);
	if (level == IPPROTO_TCP)
		return set_tcp(c, inet_tcp_of(s), name, value, size);
	if (level == IPPROTO_IP && name == IP_OPTIONS)
		return size ? -EINVAL : 0;
	return inet_group_setsockopt(c, i, level, name, value, size);
}

/* IP_MTU, IPV6_MTU: of the path to the peer. */
static int get_mtu(struct inet_sock *i, int *ret)
{
	const struct ip_route *r;
	int err = 0;

	stack_enter(i->stack);
	if (i->s.type == SOCK_STREAM)
		r = &container_of(i, struct inet_tcp, i)->tp->route;
	else
		r = &container_of(i, struct inet_dgram, i)->d.route;
	if (!r->dev)
		err = -ENOTCONN;
	else if (r->mtu == PKT_MAX && !ip_route_stale(i->stack, r))
		*ret = (int)r->dev->mtu; /* of lo, beyond what a packet can have */
	else
		*ret = (int)r->mtu;
	stack_leave(i->stack);
	return err;
}

static int get_number(struct inet_sock *i, int level, int name, int *ret)
{
	const struct inet_option *o = find_option(level, name);

	if ((level == IPPROTO_IP && name == IP_MTU) || (level == IPPROTO_IPV6 && name == IPV6_MTU))
		return get_mtu(i, ret);
	if (!o || (o->flags & RAW_ONLY && i->s.type != SOCK_RAW && level != IPPROTO_IP))
		return -ENOPROTOOPT;
	*ret = i->value[o->value];
	if (o->flags & HOPS && *ret < 0)
		*ret = DEFAULT_TTL;
	if (o->flags & COVER && *ret < 0)
		*ret = 0;
	return 0;
}

int inet_getsockopt(struct ctx *c __unused, struct socket *s, int level, int name, void *value, size_t *size)
{
	struct inet_sock *i = inet_of(s);
	int v, err;

	if (level == SOL_SOCKET)
		return get_socket_level(i, name, value, size);
	if (is_filter(s, level, name))
		return get_filter(inet_dgram_of(s), value, size);
	if (!level_fits(s, level))
		return s->family == AF_INET ? -EOPNOTSUPP : -ENOPROTOOPT;
	err = get_number(i, level, name, &v);
	if (err == -ENOPROTOOPT && level == IPPROTO_TCP)
		return get_tcp(inet_tcp_of(s), name, value, size);
	if (err == -ENOPROTOOPT && level == IPPROTO_IP && name == IP_OPTIONS) {
		*size = 0;
		return 0;
	}
	if (err)
		return err == -ENOPROTOOPT ? inet_group_getsockopt(i, level, name, value, size) : err;
	if (level == IPPROTO_IP && *size && *size < sizeof(v) && v >= 0 && v <= 255) {
		*(uint8_t *)value = (uint8_t)v;
		*size = 1;
		return 0;
	}
	*size = MIN(*size, sizeof(v));
	memcpy(value, &v, *size);
	return 0;
}
