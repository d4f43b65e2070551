/*
 * See vnet.h. A header that comes in is checked against the packet as we read it ourselves: a large packet must be what its type says, from the
 * Ethernet header on; a checksum that is to be completed is left to the stack only where the transport's header has it, and is completed here
 * otherwise (tunnels). Datagrams that were sent as one (UDP_SEGMENT) are cut apart here, since the stack knows large TCP packets only.
 */
#include "net/link/vnet.h"

#include <net/ethernet.h>
#include <string.h>

#include "net/stack/addr.h"
#include "net/stack/inet.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define TYPE_AT 12 /* of an Ethernet header */
#define EXTENSIONS_MAX 8
#define TCP_HEAD 20u
#define TCP_FLAGS_AT 13
#define TCP_CWR 0x80u
#define UDP_HEAD 8u
#define SEGMENT_MIN 8u /* smaller ones are somebody's wish to see many */

/* Where a packet's transport header is. */
struct place {
	bool v6;
	uint8_t protocol;
	uint32_t at; /* 0: not found */
};

static uint16_t sum_offset(uint8_t protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return 16;
	case IPPROTO_UDP:
		return 6;
	default:
		return 2; /* ICMPv6 */
	}
}

void vnet_describe(const struct pkt *p, struct vnet_head *h)
{
	const uint8_t *ip, *transport;
	uint8_t protocol;
	bool v4;

	memset(h, 0, sizeof(*h));
	/* Then both headers are in its room. */
	if (!p->checksum_partial)
		return;
	ip = p->room + p->net;
	transport = p->room + p->transport;
	v4 = *ip >> 4 == 4;
	protocol = v4 ? ((const struct ip4_head *)ip)->protocol : ((const struct ip6_head *)ip)->next;
	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->csum_start = p->transport - p->head;
	h->csum_offset = sum_offset(protocol);
	if (!p->gso_size || protocol != IPPROTO_TCP)
		return;
	h->gso_type = v4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
	if (transport[TCP_FLAGS_AT] & TCP_CWR)
		h->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	h->gso_size = p->gso_size;
	h->hdr_len = (uint16_t)(h->csum_start + (transport[12] >> 4) * 4u);
}

/* ---- what comes in ---- */

static bool find4(struct pkt *p, struct place *ret)
{
	const uint8_t *f = pkt_peek(p, ETHER_HEAD + sizeof(struct ip4_head));
	const struct ip4_head *h = f ? (const void *)(f + ETHER_HEAD) : NULL;

	if (!h || h->version_len >> 4 != 4 || (h->version_len & 15) < 5 || ntohs(h->off) & (IP4_MF | IP4_OFF))
		return false;
	*ret = (struct place){false, h->protocol, ETHER_HEAD + (h->version_len & 15) * 4u};
	return true;
}

static bool is_extension(uint8_t next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS;
}

static bool find6(struct pkt *p, struct place *ret)
{
	uint32_t at = ETHER_HEAD + sizeof(struct ip6_head);
	const uint8_t *f = pkt_peek(p, at);
	uint8_t next;

	if (!f)
		return false;
	next = ((const struct ip6_head *)(f + ETHER_HEAD))->next;
	for (unsigned i = 0; is_extension(next); i++) {
		f = i < EXTENSIONS_MAX ? pkt_peek(p, at + 8) : NULL;
		if (!f)
			return false;
		next = f[at];
		at += (f[at + 1] + 1u) * 8;
	}
	*ret = (struct place){true, next, at};
	return true;
}

static bool find(struct pkt *p, struct place *ret)
{
	const uint8_t *f = pkt_peek(p, ETHER_HEAD);
	unsigned type = f ? (unsigned)f[TYPE_AT] << 8 | f[TYPE_AT + 1] : 0;

	return type == ETHERTYPE_IP ? find4(p, ret) : type == ETHERTYPE_IPV6 && find6(p, ret);
}

static bool take_checksum(const struct vnet_head *h, struct pkt *p, const struct place *where)
{
	uint32_t field = (uint32_t)h->csum_start + h->csum_offset;
	uint16_t sum;
	uint8_t *f;

	if (h->csum_start < ETHER_HEAD || field + sizeof(sum) > p->len)
		return false;
	if (h->csum_start == where->at && h->csum_offset == sum_offset(where->protocol)) {
		p->checksum_ok = p->checksum_partial = true;
		return true;
	}
	f = pkt_peek(p, field + sizeof(sum));
	if (!f)
		return false;
	sum = sum_fold(sum_pkt(0, p, h->csum_start));
	memcpy(f + field, &sum, sizeof(sum));
	return true;
}

/* The IP header of a packet that is only a part of what it was cut from; the transport's length. */
static uint32_t fix_ip(struct pkt *p, const struct place *where, unsigned index, struct in6_addr *src,
		       struct in6_addr *dst)
{
	uint8_t *ip = p->room + p->head + ETHER_HEAD;

	if (where->v6) {
		struct ip6_head *h = (struct ip6_head *)ip;

		h->len = htons((uint16_t)(p->len - ETHER_HEAD - sizeof(*h)));
		*src = h->src;
		*dst = h->dst;
	} else {
		struct ip4_head *h = (struct ip4_head *)ip;

		h->len = htons((uint16_t)(p->len - ETHER_HEAD));
		h->id = htons((uint16_t)(ntohs(h->id) + index));
		h->sum = 0;
		h->sum = sum_fold(sum_add(0, h, where->at - ETHER_HEAD, false));
		*src = addr_from_v4(h->src);
		*dst = addr_from_v4(h->dst);
	}
	return p->len - where->at;
}

static struct pkt *datagram(const struct pkt *p, const struct place *where, uint32_t off, uint32_t size, unsigned index)
{
	uint32_t headers = where->at + UDP_HEAD, len;
	struct in6_addr src, dst;
	struct pkt *q = pkt_create();
	uint16_t field[2]; /* length, checksum */
	uint8_t *head;

	if (!q || !pkt_append_from(q, p, headers + off, size) || !(head = pkt_push(q, headers)) ||
	    !pkt_copy(p, 0, head, headers)) {
		pkt_free(q);
		return NULL;
	}
	len = fix_ip(q, where, index, &src, &dst);
	field[0] = htons((uint16_t)len);
	field[1] = (uint16_t)~sum_fold(sum_pseudo(&src, &dst, IPPROTO_UDP, len));
	memcpy(head + where->at + 4, field, sizeof(field));
	q->checksum_ok = q->checksum_partial = true;
	return q;
}

static unsigned cut_datagrams(const struct pkt *p, const struct place *where, uint32_t size, struct list *to)
{
	uint32_t headers = where->at + UDP_HEAD;
	unsigned count = 0;

	if (where->protocol != IPPROTO_UDP || p->len < headers)
		return 0;
	for (uint32_t off = 0; off < p->len - headers; off += size) {
		struct pkt *q = datagram(p, where, off, MIN(size, p->len - headers - off), count);

		if (!q)
			break;
		list_append(to, &q->link);
		count++;
	}
	return count;
}

static bool take_large_tcp(const struct vnet_head *h, struct pkt *p, const struct place *where)
{
	const uint8_t *f = where->at ? pkt_peek(p, where->at + TCP_HEAD) : NULL;
	uint32_t headers;

	if (!f || where->protocol != IPPROTO_TCP ||
	    where->v6 != ((h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV6))
		return false;
	headers = where->at + (f[where->at + 12] >> 4) * 4u;
	if (headers > p->len)
		return false;
	if (p->len - headers > h->gso_size)
		p->gso_size = h->gso_size;
	return true;
}

/* Appends what a large packet is. */
static unsigned accept_large(const struct vnet_head *h, struct pkt *p, const struct place *where, struct list *to)
{
	unsigned type = h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN, count = 0;

	if (h->gso_size < SEGMENT_MIN || !where->at || !p->checksum_partial) {
		pkt_free(p);
	} else if (type == VIRTIO_NET_HDR_GSO_UDP_L4) {
		count = cut_datagrams(p, where, h->gso_size, to);
		pkt_free(p);
	} else if ((type == VIRTIO_NET_HDR_GSO_TCPV4 || type == VIRTIO_NET_HDR_GSO_TCPV6) &&
		   take_large_tcp(h, p, where)) {
		list_append(to, &p->link);
		count = 1;
	} else {
		pkt_free(p);
	}
	return count;
}

unsigned vnet_accept(const struct vnet_head *h, struct pkt *p, struct list *to)
{
	struct place where = {.at = 0};
	bool known = (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM || h->gso_type) && find(p, &where);

	if (!known)
		where.at = 0;
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM && !take_checksum(h, p, &where)) {
		pkt_free(p);
		return 0;
	}
	if (h->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return accept_large(h, p, &where, to);
	if (h->flags & VIRTIO_NET_HDR_F_DATA_VALID)
		p->checksum_ok = true;
	list_append(to, &p->link);
	return 1;
}
