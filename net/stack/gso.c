/*
 * What a link does not do itself: cutting a large TCP packet into segments, and completing checksums.
 *
 * A transport leaves in its checksum field the sum of the pseudo header, uncomplemented, as virtio-net has it: adding
 * up what is there from the transport header on gives the checksum. Segments of one packet share its payload's buffers.
 * FIN and PSH belong to the last one, CWR (RFC 3168, 6.1.2) to the first.
 */
#include <netinet/in.h>

#include "net/stack/addr.h"
#include "net/stack/inet.h"

struct tcp_head {
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t off, flags;
	uint16_t window, sum, urgent;
} __packed;

#define TCP_FIN 0x01u
#define TCP_PSH 0x08u
#define TCP_CWR 0x80u

static bool is_v4(const struct pkt *p)
{
	return p->room[p->net] >> 4 == 4;
}

static uint8_t protocol_of(const struct pkt *p)
{
	return is_v4(p) ? ((const struct ip4_head *)(p->room + p->net))->protocol
			: ((const struct ip6_head *)(p->room + p->net))->next;
}

/* The transport's checksum field, or NULL. */
static uint8_t *sum_field(struct pkt *p)
{
	unsigned at;

	if (p->net < p->head || p->transport <= p->net || p->transport >= p->tail)
		return NULL;
	switch (protocol_of(p)) {
	case IPPROTO_TCP:
		at = 16;
		break;
	case IPPROTO_UDP:
		at = 6;
		break;
	case IPPROTO_ICMPV6:
		at = 2;
		break;
	default:
		return NULL;
	}
	return p->transport + at + 2u <= p->tail ? p->room + p->transport + at : NULL;
}

bool pkt_complete_checksum(struct pkt *p)
{
	uint8_t *field = sum_field(p);
	uint16_t sum;

	if (!field)
		return false;
	sum = sum_fold(sum_pkt(0, p, (uint32_t)(p->transport - p->head)));
	if (sum == 0 && protocol_of(p) == IPPROTO_UDP)
		sum = UINT16_MAX;
	memcpy(field, &sum, sizeof(sum));
	p->checksum_partial = false;
	return true;
}

/* The IP header for a packet of that length from there on. */
static void fix_ip(struct pkt *q, unsigned index, struct in6_addr *ret_src, struct in6_addr *ret_dst)
{
	uint32_t len = q->len - (uint32_t)(q->net - q->head);

	if (is_v4(q)) {
		struct ip4_head *h = (struct ip4_head *)(q->room + q->net);

		h->len = htons((uint16_t)len);
		h->id = htons((uint16_t)(ntohs(h->id) + index));
		h->sum = 0;
		h->sum = sum_fold(sum_add(0, h, (h->version_len & 15) * 4u, false));
		*ret_src = addr_from_v4(h->src);
		*ret_dst = addr_from_v4(h->dst);
	} else {
		struct ip6_head *h = (struct ip6_head *)(q->room + q->net);

		h->len = htons((uint16_t)(len - sizeof(*h)));
		*ret_src = h->src;
		*ret_dst = h->dst;
	}
}

static void fix_tcp(struct pkt *q, uint32_t at, bool first, bool last, const struct in6_addr *src,
		    const struct in6_addr *dst)
{
	struct tcp_head *t = (struct tcp_head *)(q->room + q->transport);

	t->seq = htonl(ntohl(t->seq) + at);
	if (!last)
		t->flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (!first)
		t->flags &= 0xff ^ TCP_CWR;
	t->sum = (uint16_t)~sum_fold(sum_pseudo(src, dst, IPPROTO_TCP, q->len - (uint32_t)(q->transport - q->head)));
	q->checksum_partial = true;
}

static struct pkt *segment(const struct pkt *p, unsigned headers, uint32_t at, uint32_t n, unsigned index)
{
	bool last = at + n == p->len - headers;
	struct in6_addr src, dst;
	struct pkt *q = pkt_create();
	void *h;

	if (!q || !pkt_append_from(q, p, headers + at, n) || !(h = pkt_push(q, headers))) {
		pkt_free(q);
		return NULL;
	}
	memcpy(h, p->room + p->head, headers);
	q->dev = p->dev;
	q->net = q->head + (p->net - p->head);
	q->transport = q->head + (p->transport - p->head);
	fix_ip(q, index, &src, &dst);
	fix_tcp(q, at, at == 0, last, &src, &dst);
	return q;
}

int gso_segment(const struct pkt *p, struct list *to)
{
	unsigned headers, index = 0;

	if (p->net < p->head || p->transport <= p->net || p->transport + sizeof(struct tcp_head) > p->tail ||
	    protocol_of(p) != IPPROTO_TCP)
		return -EINVAL;
	headers = p->transport - p->head + (p->room[p->transport + 12] >> 4) * 4u;
	if (headers > (unsigned)(p->tail - p->head))
		return -EINVAL;
	for (uint32_t at = 0; at < p->len - headers; at += p->gso_size) {
		struct pkt *q = segment(p, headers, at, MIN(p->gso_size, p->len - headers - at), index++);

		if (!q)
			return -ENOMEM;
		list_append(to, &q->link);
	}
	return 0;
}

void pkt_find_headers(struct pkt *p)
{
	const unsigned most = ETHER_HEAD + 60 + 60; /* IPv4's or IPv6's header, TCP's */
	const uint8_t *h = pkt_peek(p, MIN(p->len, most));
	unsigned ip;

	if (!h || p->len < ETHER_HEAD + sizeof(struct ip4_head))
		return;
	switch (h[12] << 8 | h[13]) {
	case 0x0800:
		ip = (h[ETHER_HEAD] & 15) * 4u;
		break;
	case 0x86dd:
		ip = sizeof(struct ip6_head);
		break;
	default:
		return;
	}
	if (ip < sizeof(struct ip4_head) || ETHER_HEAD + ip >= p->len)
		return;
	p->net = p->head + ETHER_HEAD;
	p->transport = (uint16_t)(p->net + ip);
}
