/*
 * For tests of TCP: a stack under a clock of ours, with an interface whose packets are ours. A segment is a struct
 * wire, with the TCP header first; IPv4 or IPv6 headers come and go at the interface.
 */
#pragma once

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "net/stack/netdev.h"
#include "net/stack/tcp_priv.h"
#include "sentry/base/slab.h"
#include "tests/unit/unit.h"

#define PEER_ISN 0xfffff000u /* so that numbers wrap */
#define MS NSEC_PER_MSEC
/* For inner loops: Check's assertions write a note each. */
#define MUST(cond)                                                                                                     \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			ck_abort_msg("%s", #cond);                                                                     \
	} while (0)
#define IS(call, want) ck_assert_int_eq((call), (want))

/* A segment as it would be on a wire: the TCP header and what follows it. */
struct wire {
	struct list link;
	int64_t at;
	struct in6_addr src, dst;
	uint8_t tos;
	size_t size;
	uint8_t data[];
};

static struct {
	int64_t now, wake_at;
	int64_t rtt; /* that established() sees */
	uint64_t random;
	uint32_t mtu;
	struct list sent; /* struct wire */
	uint32_t iss;     /* ours; known from the first SYN */
	uint16_t lport, rport;
	uint32_t events; /* of the one wakeup */
	/* If not NULL, gets what is sent instead. */
	void (*wire_out)(struct stack *s, struct wire *w);
} net __attribute__((unused));

static struct stack *S __attribute__((unused));
static struct in6_addr our_addr __attribute__((unused)) = {.s6_addr = {[10] = 0xff, 0xff, 10, 0, 0, 1}};
static struct in6_addr peer_addr __attribute__((unused)) = {.s6_addr = {[10] = 0xff, 0xff, 10, 0, 0, 2}};
static struct in6_addr any4 __attribute__((unused)) = {.s6_addr = {[10] = 0xff, 0xff}};

/* ---- the stack's surroundings ---- */

static inline uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static inline int64_t env_now(void *arg __unused)
{
	return net.now;
}

static inline void env_random(void *arg __unused, void *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)to)[i] = (uint8_t)next_random(&net.random);
}

static inline void env_wake_at(void *arg, int64_t deadline)
{
	*(int64_t *)arg = deadline;
}

static inline struct stack *stack_at(int64_t *wake_at)
{
	struct stack_env env = {env_now, env_random, env_wake_at, wake_at};
	struct stack *s;

	*wake_at = INT64_MAX;
	s = stack_create(&env);
	ck_assert_ptr_nonnull(s);
	return s;
}

static inline void pass(int64_t ms)
{
	int64_t end = net.now + ms * MS;

	while (net.wake_at <= end) {
		net.now = MAX(net.now, net.wake_at);
		net.wake_at = INT64_MAX;
		stack_run(S);
	}
	net.now = end;
	stack_run(S);
}

/* ---- from packets to bytes ---- */

static inline uint16_t tcp_sum(const struct wire *w)
{
	uint32_t sum = sum_pseudo(&w->src, &w->dst, IPPROTO_TCP, (uint32_t)w->size);

	return sum_fold(sum_add(sum, w->data, w->size, false));
}

static inline void wire_keep(struct stack *s __unused, struct wire *w)
{
	const struct tcphdr *th = (const struct tcphdr *)w->data;

	if (th->th_flags & TH_SYN) {
		net.iss = ntohl(th->th_seq);
		net.lport = ntohs(th->th_sport);
		net.rport = ntohs(th->th_dport);
	}
	list_append(&net.sent, &w->link);
}

/* ---- the interface ---- */

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
