/*
 * ARP: RFC 826, 5227 (probes and announcements).
 *
 * A request for an address of this namespace is answered, on whichever interface it is (Linux's arp_ignore 0), and its
 * sender is learnt; other packets update what is known already. What the packet says is checked against itself only as
 * far as it can harm: a sender with one of our addresses, or with one that is no host's, teaches nothing.
 */
#include <linux/if_packet.h>
#include <net/ethernet.h>

#include "net/stack/addr.h"
#include "net/stack/inet.h"
#include "net/stack/neigh.h"
#include "net/stack/route.h"

enum { ARP_REQUEST = 1, ARP_REPLY = 2 };

struct arp {
	uint16_t hardware, protocol;
	uint8_t hardware_len, protocol_len;
	uint16_t op;
	uint8_t from_mac[MAC_LEN];
	uint32_t from;
	uint8_t to_mac[MAC_LEN];
	uint32_t to;
} __packed;

_Static_assert(sizeof(struct arp) == 28, "");

static void send_arp(struct stack *s, struct netdev *dev, uint16_t op, const uint8_t *mac, const struct arp *fields)
    REQUIRES(L_NET)
{
	struct pkt *p = pkt_create();
	struct arp *a = p ? pkt_push(p, sizeof(*a)) : NULL;

	if (!a) {
		pkt_free(p);
		return;
	}
	*a = *fields;
	a->hardware = htons(ARPHRD_ETHER);
	a->protocol = htons(ETHERTYPE_IP);
	a->hardware_len = MAC_LEN;
	a->protocol_len = 4;
	a->op = htons(op);
	memcpy(a->from_mac, dev->mac, MAC_LEN);
	ether_output(s, dev, p, mac, ETHERTYPE_ARP);
}

void arp_solicit(struct stack *s, struct netdev *dev, const struct in6_addr *target, const uint8_t *to)
{
	struct in6_addr from;
	struct arp a = {.to = addr_v4(target)};

	if (dev->flags & IFF_NOARP || !route_source(s, dev, target, &from))
		return;
	a.from = addr_v4(&from);
	if (to)
		memcpy(a.to_mac, to, MAC_LEN);
	send_arp(s, dev, ARP_REQUEST, to, &a);
}

static bool valid(const struct arp *a)
{
	struct in6_addr from = addr_from_v4(a->from), to = addr_from_v4(a->to);
	uint16_t op = ntohs(a->op);

	return a->hardware == htons(ARPHRD_ETHER) && a->protocol == htons(ETHERTYPE_IP) && a->hardware_len == MAC_LEN &&
	       a->protocol_len == 4 && (op == ARP_REQUEST || op == ARP_REPLY) && !(a->from_mac[0] & 1) &&
	       !addr_is_multicast(&from) && !addr_is_loopback(&from) && !addr_is_limited_broadcast(&from) &&
	       !addr_is_multicast(&to) && !addr_is_loopback(&to);
}

static void answer(struct stack *s, struct netdev *dev, const struct arp *a) REQUIRES(L_NET)
{
	struct arp reply = {.from = a->to, .to = a->from};

	memcpy(reply.to_mac, a->from_mac, MAC_LEN);
	send_arp(s, dev, ARP_REPLY, a->from_mac, &reply);
}

static void learn(struct stack *s, struct netdev *dev, const struct arp *a, bool asked) REQUIRES(L_NET)
{
	struct in6_addr from = addr_from_v4(a->from);
	struct neigh *n = neigh_find(s, dev, &from);
	bool announced = a->from == a->to;

	if (n && (announced || neigh_may_change(s, n)))
		neigh_update(s, dev, &from, a->from_mac, asked ? NUD_REACHABLE : NUD_STALE, NEIGH_OVERRIDE);
	else if (n)
		neigh_update(s, dev, &from, a->from_mac, asked ? NUD_REACHABLE : NUD_STALE, 0);
}

void arp_input(struct stack *s, struct netdev *dev, struct pkt *p)
{
	const struct arp *at = pkt_pull(p, sizeof(*at));
	struct in6_addr from, to;
	struct arp a;

	if (!at || dev->flags & IFF_NOARP || !valid(at))
		goto out;
	a = *at;
	from = addr_from_v4(a.from);
	to = addr_from_v4(a.to);
	if (a.from == 0) {
		if (a.op == htons(ARP_REQUEST) && ip_is_local(s, &to, 0))
			answer(s, dev, &a);
	} else if (ip_is_local(s, &from, 0)) {
		goto out;
	} else if (a.op == htons(ARP_REQUEST) && ip_is_local(s, &to, 0)) {
		neigh_update(s, dev, &from, a.from_mac, NUD_STALE, NEIGH_CREATE | NEIGH_OVERRIDE);
		answer(s, dev, &a);
	} else {
		learn(s, dev, &a, a.op == htons(ARP_REPLY) && p->link_type == PACKET_HOST);
	}
out:
	pkt_free(p);
}
