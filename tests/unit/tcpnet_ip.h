/* IP in tests of TCP: an interface whose packets are ours, with IPv4 or IPv6 headers. Only for tcpnet.h. */
#pragma once

#include <netinet/ip.h>
#include <netinet/ip6.h>

#include "net/stack/netdev.h"

/* The segment in an IP packet, whose checksum is the stack's. */
static inline struct wire *wire_of(const struct pkt *p)
{
	uint8_t head[40];
	struct wire *w;
	bool v4;

	MUST(pkt_copy(p, 0, head, 20));
	v4 = head[0] >> 4 == 4;
	MUST(v4 || pkt_copy(p, 0, head, 40));
	w = calloc(1, sizeof(*w) + p->len);
	MUST(w != NULL);
	list_init(&w->link);
	w->at = net.now;
	w->size = p->len - (v4 ? 20 : 40);
	if (v4) {
		w->tos = head[1];
		w->src = w->dst = any4;
		memcpy(&w->src.s6_addr[12], head + 12, 4);
		memcpy(&w->dst.s6_addr[12], head + 16, 4);
		MUST(head[9] == IPPROTO_TCP);
	} else {
		w->tos = (uint8_t)(head[0] << 4 | head[1] >> 4);
		memcpy(&w->src, head + 8, 16);
		memcpy(&w->dst, head + 24, 16);
		MUST(head[6] == IPPROTO_TCP);
	}
	MUST(pkt_copy(p, v4 ? 20 : 40, w->data, w->size));
	MUST(tcp_sum(w) == 0);
	return w;
}

static inline int net_transmit(struct stack *s, struct netdev *dev __unused, struct pkt *p)
{
	uint8_t version = 0;

	MUST(pkt_copy(p, 0, &version, 1));
	if (version >> 4 == 4 || p->len >= 60) {
		uint8_t protocol = 0;

		MUST(pkt_copy(p, version >> 4 == 4 ? 9 : 6, &protocol, 1));
		if (protocol == IPPROTO_TCP)
			(net.wire_out ? net.wire_out : wire_keep)(s, wire_of(p));
	}
	pkt_free(p);
	return 0;
}

static inline size_t put_ip4(uint8_t *to, const struct wire *w)
{
	struct iphdr ip = {.version = 4,
			   .ihl = 5,
			   .tos = w->tos,
			   .tot_len = htons((uint16_t)(20 + w->size)),
			   .frag_off = htons(0x4000),
			   .ttl = 64,
			   .protocol = IPPROTO_TCP};

	memcpy(&ip.saddr, &w->src.s6_addr[12], 4);
	memcpy(&ip.daddr, &w->dst.s6_addr[12], 4);
	ip.check = sum_fold(sum_add(0, &ip, sizeof(ip), false));
	memcpy(to, &ip, sizeof(ip));
	return sizeof(ip);
}

static inline size_t put_ip6(uint8_t *to, const struct wire *w)
{
	struct ip6_hdr ip = {.ip6_src = w->src, .ip6_dst = w->dst};

	ip.ip6_flow = htonl(6u << 28 | (uint32_t)w->tos << 20);
	ip.ip6_plen = htons((uint16_t)w->size);
	ip.ip6_nxt = IPPROTO_TCP;
	ip.ip6_hlim = 64;
	memcpy(to, &ip, sizeof(ip));
	return sizeof(ip);
}

static inline void wire_in(struct stack *s, const struct wire *w)
{
	static uint8_t bytes[PKT_MAX + 1000];
	size_t head = tcp_is_mapped(&w->src) ? put_ip4(bytes, w) : put_ip6(bytes, w);
	struct netdev *dev;
	struct pkt *p;

	memcpy(bytes + head, w->data, w->size);
	p = pkt_from(bytes, head + w->size);
	if (!p)
		return;
	stack_enter(s);
	dev = netdev_by_name(s, "test0");
	MUST(dev != NULL);
	netdev_receive(s, dev, p);
	stack_leave(s);
}

/* An interface with an address and a network of 256. */
static inline void net_setup(struct stack *s, const struct in6_addr *addr)
{
	static const struct link_ops ops = {.transmit = net_transmit};
	const struct netdev_config c = {.name = "test0",
					.type = ARPHRD_NONE,
					.flags = IFF_POINTOPOINT | IFF_NOARP,
					.features = NETDEV_NO_RA,
					.mtu = net.mtu,
					.ops = &ops};
	const struct addr_config a = {.addr = *addr, .plen = 120, .valid = INT64_MAX, .preferred = INT64_MAX};
	struct netdev *dev = NULL, *lo;

	stack_enter(s);
	MUST(netdev_create(s, &c, &dev) == 0);
	MUST(netdev_set_flags(s, dev, IFF_UP, IFF_UP) == 0);
	MUST(netdev_add_addr(s, dev, &a) == 0);
	lo = netdev_by_index(s, LO_INDEX);
	MUST(lo && netdev_set_flags(s, lo, IFF_UP, IFF_UP) == 0);
	stack_leave(s);
}
