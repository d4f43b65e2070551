/*
 * Control messages of IP's datagram sockets: ip(7), ipv6(7), cmsg(3).
 *
 * The guest's buffer was copied once by the system call. Of a sent message's, those of levels that are not the packet's are passed over, and unknown ones of its
 * level are EINVAL, as Linux has it. Received packets carry no time: SO_TIMESTAMP tells when the packet was read, not when it came.
 */
#include <linux/capability.h>
#include <linux/udp.h>
#include <string.h>
#include <sys/time.h>

#include "net/inet.h"
#include "net/stack/addr.h"
#include "net/stack/netdev.h"
#include "net/stack/route.h"
#include "sentry/base/cred.h"

#ifndef SO_TIMESTAMP_OLD
#define SO_TIMESTAMP_OLD 29
#endif
#ifndef SO_TIMESTAMPNS_OLD
#define SO_TIMESTAMPNS_OLD 35
#endif
#ifndef IP_RECVORIGDSTADDR
#define IP_RECVORIGDSTADDR 20
#endif
#ifndef IPV6_RECVORIGDSTADDR
#define IPV6_RECVORIGDSTADDR 74
#endif

/* ---- sending ---- */

struct cmsg {
	int level, type;
	const char *data;
	size_t size;
};

static bool get_int(const struct cmsg *m, int *ret)
{
	if (m->size != sizeof(*ret))
		return false;
	memcpy(ret, m->data, sizeof(*ret));
	return true;
}

static int set_number(const struct cmsg *m, int low, int *ret)
{
	int v;

	if (!get_int(m, &v) || v < low || v > 255)
		return -EINVAL;
	*ret = v;
	return 0;
}

static int of_socket(struct ctx *c, const struct cmsg *m)
{
	switch (m->type) {
	case SO_MARK:
		if (!cred_capable(c->cred, CAP_NET_ADMIN) && !cred_capable(c->cred, CAP_NET_RAW))
			return -EPERM;
		return m->size == sizeof(uint32_t) ? 0 : -EINVAL;
	case SO_TIMESTAMPING:
		return m->size == sizeof(uint32_t) ? 0 : -EINVAL;
	case SCM_RIGHTS:
	case SCM_CREDENTIALS:
		return 0;
	default:
		return -EINVAL;
	}
}

static int of_ip(const struct cmsg *m, struct dgram_to *to)
{
	struct in_pktinfo info;

	switch (m->type) {
	case IP_PKTINFO:
		if (m->size != sizeof(info))
			return -EINVAL;
		memcpy(&info, m->data, sizeof(info));
		if (info.ipi_ifindex)
			to->dev = (unsigned)info.ipi_ifindex;
		to->src = addr_from_v4(info.ipi_spec_dst.s_addr);
		return 0;
	case IP_TTL:
		return set_number(m, 1, &to->ttl);
	case IP_TOS:
		if (m->size != 1)
			return set_number(m, 0, &to->tos);
		to->tos = (uint8_t)m->data[0];
		return 0;
	default:
		return -EINVAL;
	}
}

static int of_ipv6(const struct cmsg *m, struct dgram_to *to)
{
	struct in6_pktinfo info;

	switch (m->type) {
	case IPV6_PKTINFO:
		if (m->size < sizeof(info))
			return -EINVAL;
		memcpy(&info, m->data, sizeof(info));
		if (info.ipi6_ifindex)
			to->dev = info.ipi6_ifindex;
		to->src = info.ipi6_addr;
		return 0;
	case IPV6_HOPLIMIT:
		return set_number(m, -1, &to->ttl);
	case IPV6_TCLASS:
		return set_number(m, -1, &to->tos);
	case IPV6_DONTFRAG:
		return m->size == sizeof(int) ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

static int one(struct ctx *c, struct inet_sock *i, const struct cmsg *m, struct dgram_to *to, uint16_t *ret_segment)
{
	bool v4 = i->s.family == AF_INET || (addr_is_v4(&to->addr) && !IN6_IS_ADDR_UNSPECIFIED(&to->addr));

	switch (m->level) {
	case SOL_SOCKET:
		return of_socket(c, m);
	case IPPROTO_IP:
		return v4 ? of_ip(m, to) : 0;
	case IPPROTO_IPV6:
		return i->s.family == AF_INET6 ? of_ipv6(m, to) : 0;
	case IPPROTO_UDP:
		if (i->s.protocol != IPPROTO_UDP || m->type != UDP_SEGMENT || m->size != sizeof(*ret_segment))
			return -EINVAL;
		memcpy(ret_segment, m->data, sizeof(*ret_segment));
		return 0;
	default:
		return 0;
	}
}

int inet_cmsg_send(struct ctx *c, struct inet_sock *i, const struct net_msg *m, struct dgram_to *to,
		   uint16_t *ret_segment)
{
	size_t at = 0;

	while (m->control_size - at >= sizeof(struct cmsghdr)) {
		struct cmsghdr h;
		struct cmsg cm;
		int err;

		memcpy(&h, m->control + at, sizeof(h));
		if (h.cmsg_len < sizeof(h) || h.cmsg_len > m->control_size - at)
			return -EINVAL;
		cm = (struct cmsg){h.cmsg_level, h.cmsg_type, m->control + at + sizeof(h), h.cmsg_len - sizeof(h)};
		err = one(c, i, &cm, to, ret_segment);
		if (err)
			return err;
		at += MIN(CMSG_ALIGN(h.cmsg_len), m->control_size - at);
	}
	return 0;
}

/* ---- receiving ---- */

static void put_time(struct ctx *c, const struct socket *s, struct net_msg *m)
{
	struct timespec now = ns_to_timespec(clock_now(CLOCK_REALTIME));
	struct timeval tv = {now.tv_sec, now.tv_nsec / NSEC_PER_USEC};

	if (socket_option(s, SOCK_OPT_TIMESTAMPNS))
		cmsg_put(c, m, SOL_SOCKET, SO_TIMESTAMPNS_OLD, &now, sizeof(now));
	else
		cmsg_put(c, m, SOL_SOCKET, SO_TIMESTAMP_OLD, &tv, sizeof(tv));
}

static void put_int(struct ctx *c, struct net_msg *m, int level, int type, int v)
{
	cmsg_put(c, m, level, type, &v, sizeof(v));
}

/* Where a packet was sent to. */
static void put_target(struct ctx *c, struct inet_dgram *g, struct net_msg *m, int family, int level, int type,
		       const struct pkt *p)
{
	struct port_bind *b = g->kind->port ? g->kind->port(g) : NULL;
	struct inet_name n = {.addr = p->info.dst, .dev = p->info.dev};
	struct sockaddr_storage sa;

	if (b) {
		stack_enter(g->i.stack);
		n.port = b->port;
		stack_leave(g->i.stack);
	}
	cmsg_put(c, m, level, type, &sa, (size_t)inet_format(family, &n, &sa));
}

/* What an answer to a packet that was sent to many would come from. */
static uint32_t answering_addr(struct stack *s, const struct pkt *p)
{
	struct in6_addr a = addr_from_v4(0);
	struct netdev *dev;

	stack_enter(s);
	dev = netdev_by_index(s, p->info.dev);
	if (ip_is_local(s, &p->info.src, 0))
		a = p->info.src; /* from this machine */
	else if (dev && !route_source(s, dev, &p->info.src, &a))
		a = addr_from_v4(0);
	stack_leave(s);
	return addr_v4(&a);
}

static void put_ip(struct ctx *c, struct inet_dgram *g, struct net_msg *m, const struct pkt *p)
{
	const _Atomic int32_t *v = g->i.value;
	uint32_t dst = addr_v4(&p->info.dst);
	struct in_pktinfo info = {.ipi_ifindex = (int)p->info.dev, .ipi_spec_dst = {dst}, .ipi_addr = {dst}};
	uint8_t tos = p->info.tos;

	if (v[INET_PKTINFO] && addr_is_multicast(&p->info.dst))
		info.ipi_spec_dst.s_addr = answering_addr(g->i.stack, p);
	if (v[INET_PKTINFO])
		cmsg_put(c, m, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	if (v[INET_RECVTTL])
		put_int(c, m, IPPROTO_IP, IP_TTL, p->info.ttl);
	if (v[INET_RECVTOS])
		cmsg_put(c, m, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	if (v[INET_ORIGDST])
		put_target(c, g, m, AF_INET, IPPROTO_IP, IP_RECVORIGDSTADDR, p);
}

static void put_ipv6(struct ctx *c, struct inet_dgram *g, struct net_msg *m, const struct pkt *p)
{
	struct in6_pktinfo info = {.ipi6_addr = p->info.dst, .ipi6_ifindex = p->info.dev};
	const _Atomic int32_t *v = g->i.value;
	bool v4 = addr_is_v4(&p->info.dst);

	if (v[INET6_PKTINFO])
		cmsg_put(c, m, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	if (v[INET6_RECVHOPS] && !v4)
		put_int(c, m, IPPROTO_IPV6, IPV6_HOPLIMIT, p->info.ttl);
	if (v[INET6_RECVTCLASS] && !v4)
		put_int(c, m, IPPROTO_IPV6, IPV6_TCLASS, p->info.tos);
	if (v[INET6_ORIGDST])
		put_target(c, g, m, AF_INET6, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, p);
}

void inet_cmsg_recv(struct ctx *c, struct inet_dgram *g, struct net_msg *m, const struct pkt *p, uint32_t drops)
{
	const struct socket *s = &g->i.s;

	if (!m->control_room)
		return;
	if (socket_option(s, SOCK_OPT_TIMESTAMP) || socket_option(s, SOCK_OPT_TIMESTAMPNS))
		put_time(c, s, m);
	if (socket_option(s, SOCK_OPT_RXQ_OVFL) && drops)
		cmsg_put(c, m, SOL_SOCKET, SO_RXQ_OVFL, &drops, sizeof(drops));
	if (g->i.value[UDP_V_GRO] && p->gso_size)
		put_int(c, m, IPPROTO_UDP, UDP_GRO, p->gso_size);
	if (s->family == AF_INET6)
		put_ipv6(c, g, m, p);
	if (addr_is_v4(&p->info.dst))
		put_ip(c, g, m, p);
}
