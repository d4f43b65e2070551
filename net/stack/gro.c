/*
 * Merging TCP segments that come in one batch: the reverse of gso.c, so that IP and TCP run once for many.
 *
 * A segment is merged into the one before it of its flow if nothing but sequence number, length, checksums,
 * identification and PSH differs, it follows directly, and it is not longer than the first. One that is shorter, or has
 * PSH, is the last. Checksums are verified before; the merged packet has a partial one, so that it may also be
 * forwarded and cut again. Whatever is not understood is passed on as it is, behind what came before it.
 */
#include <net/ethernet.h>

#include "net/stack/addr.h"
#include "net/stack/inet.h"

#define FLOWS 8
#define TCP_PSH 0x08
#define TCP_ACK 0x10

/* A segment, and where its headers are. */
struct segment {
	struct pkt *p;
	unsigned link, ip, tcp; /* lengths of headers */
	uint32_t payload;       /* of all that is merged */
	uint32_t first;         /* of the first */
	unsigned count;
	bool v4, last;
};

struct batch {
	struct segment held[FLOWS]; /* in the order in which they came */
	unsigned count;
};

static uint8_t *ip_of(const struct segment *g)
{
	return g->p->room + g->p->head + g->link;
}

static uint8_t *tcp_of(const struct segment *g)
{
	return ip_of(g) + g->ip;
}

static uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return ntohl(v);
}

static unsigned load16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* The IP header is one that merging knows; *ret_len: how long it says that the packet is. */
static bool parse_ip(struct segment *g, const uint8_t *h, uint32_t *ret_len)
{
	if (g->v4) {
		g->ip = sizeof(struct ip4_head);
		*ret_len = load16(h + 2);
		return h[0] == (4 << 4 | 5) && !(load16(h + 6) & (IP4_MF | IP4_OFF)) && h[9] == IPPROTO_TCP &&
		       sum_fold(sum_add(0, h, g->ip, false)) == 0;
	}
	g->ip = sizeof(struct ip6_head);
	*ret_len = load16(h + 4) + g->ip;
	return h[0] >> 4 == 6 && h[6] == IPPROTO_TCP;
}

static uint32_t pseudo_sum(const struct segment *g, uint32_t len)
{
	const uint8_t *h = ip_of(g);
	struct in6_addr src, dst;

	if (g->v4) {
		struct ip4_head v4;

		memcpy(&v4, h, sizeof(v4));
		src = addr_from_v4(v4.src);
		dst = addr_from_v4(v4.dst);
	} else {
		memcpy(&src, h + 8, sizeof(src));
		memcpy(&dst, h + 24, sizeof(dst));
	}
	return sum_pseudo(&src, &dst, IPPROTO_TCP, len);
}

static bool sum_ok(const struct segment *g)
{
	struct pkt *p = g->p;

	if (!p->checksum_ok && !p->checksum_partial)
		p->checksum_ok = sum_fold(sum_pkt(pseudo_sum(g, g->tcp + g->payload), p, g->link + g->ip)) == 0;
	return p->checksum_ok || p->checksum_partial;
}

/* Whether it can be merged at all: a TCP segment with data, and no other flags than ACK and PSH. */
static bool parse(const struct netdev *dev, struct pkt *p, struct segment *g)
{
	const uint8_t *h = pkt_peek(p, ETHER_HEAD);
	uint32_t len;

	*g = (struct segment){.p = p, .count = 1};
	if (!h || p->gso_size)
		return false;
	g->link = dev->features & NETDEV_ETHER ? ETHER_HEAD : 0;
	if (g->link && load16(h + 12) != ETHERTYPE_IP && load16(h + 12) != ETHERTYPE_IPV6)
		return false;
	g->v4 = g->link ? load16(h + 12) == ETHERTYPE_IP : h[0] >> 4 == 4;
	h = pkt_peek(p, g->link + (g->v4 ? sizeof(struct ip4_head) : sizeof(struct ip6_head)) + 20);
	if (!h || !parse_ip(g, h + g->link, &len) || len > p->len - g->link)
		return false;
	g->tcp = (h[g->link + g->ip + 12] >> 4) * 4u;
	if (g->tcp < 20 || len <= g->ip + g->tcp || !pkt_peek(p, g->link + g->ip + g->tcp))
		return false;
	if ((tcp_of(g)[13] | TCP_PSH) != (TCP_ACK | TCP_PSH))
		return false;
	pkt_trim(p, g->link + len);
	g->payload = g->first = len - g->ip - g->tcp;
	g->last = tcp_of(g)[13] & TCP_PSH;
	return sum_ok(g);
}

static bool same_flow(const struct segment *a, const struct segment *b)
{
	size_t at = a->v4 ? 12 : 8, size = a->v4 ? 8 : 32;

	return a->v4 == b->v4 && memcmp(ip_of(a) - a->link, ip_of(b) - b->link, a->link) == 0 &&
	       memcmp(ip_of(a) + at, ip_of(b) + at, size) == 0 && memcmp(tcp_of(a), tcp_of(b), 4) == 0;
}

/* Class, TTL and flow label; acknowledgement, window and options. */
static bool same_rest(const struct segment *a, const struct segment *b)
{
	const uint8_t *ia = ip_of(a), *ib = ip_of(b), *ta = tcp_of(a), *tb = tcp_of(b);

	if (a->v4 ? ia[1] != ib[1] || ia[8] != ib[8] || (ia[6] ^ ib[6]) & 0x40
		  : memcmp(ia, ib, 4) != 0 || ia[7] != ib[7])
		return false;
	return a->tcp == b->tcp && memcmp(ta + 8, tb + 8, 5) == 0 && memcmp(ta + 14, tb + 14, 2) == 0 &&
	       memcmp(ta + 20, tb + 20, a->tcp - 20) == 0;
}

/* Takes b's packet if it is merged into a's. */
static bool merge(struct segment *a, const struct segment *b)
{
	unsigned head = b->link + b->ip + b->tcp;

	if (a->last || !same_rest(a, b) || load32(tcp_of(b) + 4) != load32(tcp_of(a) + 4) + a->payload ||
	    b->payload > a->first || a->p->len - a->link + b->payload > PKT_MAX ||
	    !pkt_append_from(a->p, b->p, head, b->payload))
		return false;
	tcp_of(a)[13] |= tcp_of(b)[13] & TCP_PSH;
	a->payload += b->payload;
	a->count++;
	a->last = b->last || b->payload < a->first;
	pkt_free(b->p);
	return true;
}

/* Makes the headers say what has been merged. */
static void finish(struct segment *g)
{
	struct pkt *p = g->p;
	uint32_t len = g->tcp + g->payload;
	uint8_t *h = ip_of(g);
	uint16_t v;

	if (g->count == 1)
		return;
	v = htons((uint16_t)(g->v4 ? g->ip + len : len));
	memcpy(h + (g->v4 ? 2 : 4), &v, sizeof(v));
	if (g->v4) {
		memset(h + 10, 0, sizeof(v));
		v = sum_fold(sum_add(0, h, g->ip, false));
		memcpy(h + 10, &v, sizeof(v));
	}
	v = (uint16_t)~sum_fold(pseudo_sum(g, len));
	memcpy(tcp_of(g) + 16, &v, sizeof(v));
	p->transport = (uint16_t)(p->head + g->link + g->ip);
	p->gso_size = (uint16_t)g->first;
	p->checksum_ok = p->checksum_partial = true;
}

/* Passes on the i-th and closes the gap. */
static void flush(struct stack *s, struct netdev *dev, struct batch *b, unsigned i) REQUIRES(L_NET)
{
	struct segment g = b->held[i];

	b->count--;
	memmove(&b->held[i], &b->held[i + 1], (b->count - i) * sizeof(g));
	finish(&g);
	dev->stats.rx_packets += g.count - 1;
	netdev_receive(s, dev, g.p);
}

static void flush_all(struct stack *s, struct netdev *dev, struct batch *b) REQUIRES(L_NET)
{
	while (b->count)
		flush(s, dev, b, 0);
}

static void receive(struct stack *s, struct netdev *dev, struct batch *b, struct pkt *p) REQUIRES(L_NET)
{
	struct segment g;

	if (!parse(dev, p, &g)) {
		flush_all(s, dev, b);
		netdev_receive(s, dev, p);
		return;
	}
	for (unsigned i = 0; i < b->count; i++) {
		if (!same_flow(&b->held[i], &g))
			continue;
		if (merge(&b->held[i], &g))
			return;
		flush(s, dev, b, i);
		break;
	}
	if (b->count == FLOWS)
		flush(s, dev, b, 0);
	b->held[b->count++] = g;
}

void netdev_receive_batch(struct stack *s, struct netdev *dev, struct list *frames)
{
	struct batch b = {.count = 0};
	struct pkt *p;

	while ((p = list_first(frames, struct pkt, link))) {
		list_remove(&p->link);
		receive(s, dev, &b, p);
	}
	flush_all(s, dev, &b);
}
