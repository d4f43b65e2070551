/* IP's place in tests of TCP: what is sent comes to packet_out(). Only for tcpnet.h. */
#pragma once

#include "net/stack/netdev.h"

static struct netdev test_dev = {.index = 2};

int ip_route(struct stack *s __unused, const struct ip_out *o, struct ip_route *ret)
{
	*ret = (struct ip_route){.src = o->src, .dev = &test_dev, .mtu = net.mtu};
	if (tcp_any_address(&o->src))
		ret->src = our_addr;
	return 0;
}

bool ip_route_stale(const struct stack *s __unused, const struct ip_route *r)
{
	return !r->dev;
}

void ip_confirm(struct stack *s __unused, const struct ip_route *r __unused)
{
}

void ip_pmtu(struct stack *s __unused, const struct in6_addr *dst __unused, uint32_t mtu)
{
	net.mtu = MIN(net.mtu, mtu);
}

uint32_t ip_mss(const struct in6_addr *dst, const struct ip_route *r)
{
	return r->mtu - (IN6_IS_ADDR_V4MAPPED(dst) ? 40 : 60);
}

int ip_output(struct stack *s, struct pkt *p, const struct ip_out *o, const struct ip_route *r __unused)
{
	packet_out(s, p, &o->src, &o->dst, o->tos);
	return 0;
}

static inline void net_setup(struct stack *s __unused, const struct in6_addr *addr __unused)
{
}
