/*
 * Packets to the guest that come from somebody in the world: the gateway's stack sends them from any address, also one that the routing table knows
 * to be elsewhere (a router on the way may well have an address in the guest's own prefix).
 *
 * An ICMP error quotes the guest's packet, which is gone: it is made again from what the flow knows and the host's error queue has kept. Senders find
 * their sockets by addresses and ports, pings by identifier and sequence number; those are right. The quoted TTL is 1, as it is where it ran out.
 */
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "net/nat/flow.h"
#include "net/stack/addr.h"
#include "net/stack/inet.h"
#include "sentry/base/lock.h"

#define QUOTE_MAX 500u

struct udp_head {
	uint16_t sport, dport, len, sum;
} __packed;

struct icmp_head {
	uint8_t type, code;
	uint16_t sum;
	uint16_t words[2];
} __packed;

/* p has its transport header. */
static void send_to_guest(struct nat *n, struct pkt *p, const struct in6_addr *from, const struct in6_addr *to,
			  uint8_t protocol, uint8_t ttl) REQUIRES(L_NET)
{
	struct ip_out o = {.dst = *to, .protocol = protocol, .ttl = ttl};
	struct ip_route r;

	if (ip_route(n->s, &o, &r)) {
		pkt_free(p);
		return;
	}
	o.src = r.src = *from;
	(void)ip_output(n->s, p, &o, &r);
}

void inject_udp(struct nat *n, const struct nat_flow *id, struct pkt *p)
{
	struct udp_head *h = pkt_push(p, sizeof(*h));

	if (!h) {
		pkt_free(p);
		return;
	}
	p->transport = p->head;
	*h = (struct udp_head){htons(id->dport), htons(id->sport), htons((uint16_t)p->len), 0};
	h->sum = (uint16_t)~sum_fold(sum_pseudo(&id->dst, &id->src, IPPROTO_UDP, p->len));
	p->checksum_partial = true;
	send_to_guest(n, p, &id->dst, &id->src, IPPROTO_UDP, 0);
}

static uint16_t icmp_sum(const struct pkt *p, bool v4, const struct in6_addr *from, const struct in6_addr *to)
{
	return sum_fold(sum_pkt(v4 ? 0 : sum_pseudo(from, to, IPPROTO_ICMPV6, p->len), p, 0));
}

void inject_echo_reply(struct nat *n, const struct nat_flow *id, struct pkt *p, uint8_t ttl)
{
	bool v4 = addr_is_v4(&id->dst);
	struct icmp_head h, *at;

	if (!pkt_copy(p, 0, &h, sizeof(h)) || h.type != (v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY)) {
		pkt_free(p);
		return;
	}
	/* Pushed, not changed where it lies: what is made linear has no room in front. */
	pkt_skip(p, sizeof(h));
	at = pkt_push(p, sizeof(h));
	if (!at) {
		pkt_free(p);
		return;
	}
	h.words[0] = htons(id->sport);
	h.sum = 0;
	*at = h;
	at->sum = icmp_sum(p, v4, &id->dst, &id->src);
	send_to_guest(n, p, &id->dst, &id->src, id->protocol, ttl);
}

/* Bytes with all of a packet's room in front of them. NULL: no memory. */
static struct pkt *packet_of(const uint8_t *data, size_t size)
{
	struct buf *b = buf_create((uint32_t)MAX(size, 1ul));
	struct pkt *p = b ? pkt_create() : NULL;

	if (p) {
		memcpy(b->data, data, size);
		b->used = (uint32_t)size;
		if (!pkt_append(p, b, 0, (uint32_t)size)) {
			pkt_free(p);
			p = NULL;
		}
	}
	buf_put(b);
	return p;
}

/* The transport's part of the packet in error. Of ICMP its header is quoted, with the host's identifier. */
static struct pkt *transport_of(const struct nat_flow *id, const uint8_t *quoted, size_t size)
{
	struct icmp_head icmp = {.words = {htons(id->sport), 0}};
	struct pkt *p;
	void *h;

	size = MIN(size, (size_t)QUOTE_MAX);
	if (id->protocol == IPPROTO_UDP) {
		struct udp_head udp = {htons(id->sport), htons(id->dport), htons((uint16_t)(sizeof(udp) + size)), 0};

		p = packet_of(quoted, size);
		h = p ? pkt_push(p, sizeof(udp)) : NULL;
		return h ? memcpy(h, &udp, sizeof(udp)), p : NULL;
	}
	if (size < sizeof(icmp))
		return NULL;
	memcpy(&icmp, quoted, sizeof(icmp));
	icmp.words[0] = htons(id->sport);
	p = packet_of(quoted + sizeof(icmp), size - sizeof(icmp));
	h = p ? pkt_push(p, sizeof(icmp)) : NULL;
	return h ? memcpy(h, &icmp, sizeof(icmp)), p : NULL;
}

static bool push_network(struct pkt *p, const struct nat_flow *id)
{
	uint32_t size = p->len;

	if (addr_is_v4(&id->dst)) {
		struct ip4_head *h = pkt_push(p, sizeof(*h));

		if (!h)
			return false;
		*h = (struct ip4_head){.version_len = 0x45,
				       .len = htons((uint16_t)(sizeof(*h) + size)),
				       .ttl = 1,
				       .protocol = id->protocol,
				       .src = addr_v4(&id->src),
				       .dst = addr_v4(&id->dst)};
		h->sum = sum_fold(sum_add(0, h, sizeof(*h), false));
	} else {
		struct ip6_head *h = pkt_push(p, sizeof(*h));

		if (!h)
			return false;
		*h = (struct ip6_head){.version_class_flow = htonl(6u << 28),
				       .len = htons((uint16_t)size),
				       .next = id->protocol,
				       .hops = 1,
				       .src = id->src,
				       .dst = id->dst};
	}
	return true;
}

static bool push_error(struct pkt *p, const struct icmp_error *e, bool v4, const struct in6_addr *from,
		       const struct in6_addr *to)
{
	struct icmp_head *h = pkt_push(p, sizeof(*h));
	uint32_t info = htonl(e->info);

	if (!h)
		return false;
	*h = (struct icmp_head){.type = e->type, .code = e->code};
	memcpy(h->words, &info, sizeof(info));
	h->sum = icmp_sum(p, v4, from, to);
	return true;
}

void inject_error(struct nat *n, const struct nat_flow *id, const struct in6_addr *from, const struct icmp_error *e,
		  const void *quoted, size_t size)
{
	bool v4 = addr_is_v4(&id->dst);
	struct pkt *p = transport_of(id, quoted, size);

	if (!p || !push_network(p, id) || !push_error(p, e, v4, from, &id->src)) {
		pkt_free(p);
		return;
	}
	send_to_guest(n, p, from, &id->src, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, 0);
}
