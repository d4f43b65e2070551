/*
 * What IPv4 and IPv6 share: where packets come in, the way to transports and raw sockets, and the way out to a link.
 *
 * Incoming, p->net is the network header from the moment it has been pulled, and what follows stays in front of the
 * head, so that an ICMP error can put it back and quote it. Outgoing, what stays on this machine goes through the
 * loopback interface with its checksum undone: a transport trusts a packet whose checksum was never completed.
 */
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/neigh.h"
#include "net/stack/port.h"

void ip_receive(struct stack *s, struct netdev *dev, struct pkt *p)
{
	const uint8_t *version = pkt_peek(p, 1);

	if (version && *version >> 4 == 4)
		ip4_input(s, dev, p);
	else if (version && *version >> 4 == 6)
		ip6_input(s, dev, p);
	else
		pkt_free(p);
}

static bool known(struct stack *s, struct pkt *p, const struct ip_in *in, bool v4) REQUIRES(L_NET)
{
	switch (in->protocol) {
	case IPPROTO_TCP:
		tcp_input(s, p, in);
		return true;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		if (udp_input(s, p, in))
			return true;
		pkt_unpull(p, p->net);
		if (v4)
			icmp_send_error(s, p, 3, 3, 0);
		else
			icmp6_send_error(s, p, 1, 4, 0);
		pkt_free(p);
		return true;
	case IPPROTO_ICMP:
		if (v4)
			icmp_input(s, p, in);
		return v4;
	case IPPROTO_IGMP:
		if (v4)
			igmp_input(s, p, in);
		return v4;
	case IPPROTO_ICMPV6:
		if (!v4)
			icmp6_input(s, p, in);
		return !v4;
	default:
		return false;
	}
}

bool ip_deliver(struct stack *s, struct pkt *p, const struct ip_in *in)
{
	bool v4 = addr_is_v4(&in->dst), raw;

	p->transport = p->head;
	raw = raw_input(s, p, in);
	if (known(s, p, in, v4)) {
		mib_add(s, v4 ? MIB_IP_IN_DELIVERS : MIB_IP6_IN_DELIVERS, 1);
		return true;
	}
	if (!raw) {
		mib_add(s, v4 ? MIB_IP_IN_UNKNOWN_PROTOS : MIB_IP6_IN_UNKNOWN_PROTOS, 1);
		return false;
	}
	pkt_free(p);
	return true;
}

int ip_output(struct stack *s, struct pkt *p, const struct ip_out *o, const struct ip_route *r)
{
	struct ip_route fresh;
	int err;

	if (!r || ip_route_stale(s, r)) {
		err = ip_route(s, o, &fresh);
		if (err) {
			mib_add(s, addr_is_v4(&o->dst) ? MIB_IP_OUT_NO_ROUTES : MIB_IP6_OUT_NO_ROUTES, 1);
			pkt_free(p);
			return err;
		}
		r = &fresh;
	}
	return addr_is_v4(&o->dst) ? ip4_output(s, p, o, r) : ip6_output(s, p, o, r);
}

int ip_transmit(struct stack *s, struct pkt *p, const struct ip_route *r)
{
	struct netdev *dev = r->dev;
	uint8_t mac[MAC_LEN];

	if (r->local) {
		p->checksum_ok = p->checksum_partial;
		return netdev_transmit(s, s->lo, p);
	}
	p->checksum_ok = false;
	if (!(dev->features & NETDEV_ETHER))
		return netdev_transmit(s, dev, p);
	if (r->type == RTN_UNICAST && !(dev->flags & IFF_NOARP))
		return neigh_output(s, dev, &r->next_hop, p);
	if (r->type == RTN_MULTICAST)
		ether_group(&r->next_hop, mac);
	return ether_output(s, dev, p, r->type == RTN_MULTICAST ? mac : NULL,
			    addr_is_v4(&r->next_hop) ? ETHERTYPE_IP : ETHERTYPE_IPV6);
}

/* A copy of an outgoing group packet for the members on this machine. */
void ip_loop_copy(struct stack *s, const struct pkt *p, const struct ip_route *r)
{
	struct pkt *copy;

	if (r->local)
		return;
	copy = pkt_clone(p);
	if (!copy)
		return;
	copy->dev = r->dev;
	copy->looped = true;
	copy->link_type = r->type == RTN_MULTICAST ? PACKET_MULTICAST : PACKET_BROADCAST;
	copy->checksum_ok = copy->checksum_partial;
	stack_loopback(s, copy);
}

uint32_t ip_ident(struct stack *s, const struct in6_addr *src, const struct in6_addr *dst, uint8_t protocol)
{
	uint32_t h = port_hash(s, src, protocol, dst, 0) % IDENTS;

	if (!s->ident[h])
		s->ident[h] = stack_random32(s);
	return s->ident[h]++;
}
