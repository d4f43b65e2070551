/*
 * Ethernet II frames: RFC 894, 2464. What is not for this machine goes no further than the taps; VLAN tags and 802.3
 * lengths are not understood.
 */
#include <linux/if_packet.h>
#include <net/ethernet.h>

#include "net/stack/addr.h"
#include "net/stack/inet.h"
#include "net/stack/neigh.h"

struct ether_head {
	uint8_t to[MAC_LEN], from[MAC_LEN];
	uint16_t type;
} __packed;

_Static_assert(sizeof(struct ether_head) == ETHER_HEAD, "");

static const uint8_t to_all[MAC_LEN] = {255, 255, 255, 255, 255, 255};

static uint8_t link_type(const struct netdev *dev, const uint8_t *to)
{
	if (memcmp(to, dev->mac, MAC_LEN) == 0)
		return PACKET_HOST;
	if (!(to[0] & 1))
		return PACKET_OTHERHOST;
	return memcmp(to, to_all, MAC_LEN) == 0 ? PACKET_BROADCAST : PACKET_MULTICAST;
}

void ether_input(struct stack *s, struct netdev *dev, struct pkt *p)
{
	const struct ether_head *h = pkt_pull(p, sizeof(*h));

	if (!h) {
		dev->stats.rx_errors++;
		pkt_free(p);
		return;
	}
	p->link_type = link_type(dev, h->to);
	p->link_header = false;
	if (p->link_type == PACKET_MULTICAST)
		dev->stats.multicast++;
	switch (p->link_type == PACKET_OTHERHOST ? 0 : ntohs(h->type)) {
	case ETHERTYPE_IP:
		ip4_input(s, dev, p);
		break;
	case ETHERTYPE_IPV6:
		ip6_input(s, dev, p);
		break;
	case ETHERTYPE_ARP:
		if (dev->features & NETDEV_ETHER)
			arp_input(s, dev, p);
		else
			pkt_free(p);
		break;
	default:
		pkt_free(p);
	}
}

int ether_output(struct stack *s, struct netdev *dev, struct pkt *p, const uint8_t *to, uint16_t type)
{
	struct ether_head *h = pkt_push(p, sizeof(*h));

	if (!h) {
		pkt_free(p);
		return -ENOBUFS;
	}
	memcpy(h->to, to ? to : to_all, MAC_LEN);
	memcpy(h->from, dev->mac, MAC_LEN);
	h->type = htons(type);
	return netdev_transmit(s, dev, p);
}

void ether_group(const struct in6_addr *group, uint8_t *mac)
{
	static const uint8_t v4[3] = {1, 0, 0x5e}, v6[2] = {0x33, 0x33};

	if (addr_is_v4(group)) {
		memcpy(mac, v4, sizeof(v4));
		memcpy(mac + 3, group->s6_addr + 13, 3);
		mac[3] &= 0x7f;
	} else {
		memcpy(mac, v6, sizeof(v6));
		memcpy(mac + 2, group->s6_addr + 12, 4);
	}
}
