/* Between the transport protocols and IP, of either version. */
#pragma once

#include "net/stack/stack.h"

/* Of a received packet whose IP header has been pulled. */
struct ip_in {
	struct in6_addr src, dst;
	struct netdev *dev;
	uint8_t protocol;
	uint8_t ttl, tos; /* tos: with the ECN bits */
	bool broadcast;   /* or multicast, by its addresses or its link's */
};

/* What a sender wants. */
struct ip_out {
	struct in6_addr src, dst; /* src ::: by the route */
	unsigned bound_dev;       /* interface index; 0: any */
	uint8_t protocol;
	uint8_t ttl, tos; /* ttl 0: the default */
	bool dont_fragment;
	uint32_t mark;
};

/* A route to dst as a transport caches it; stale when the stack's route generation has changed. */
struct ip_route {
	struct in6_addr src;
	struct netdev *dev;
	uint32_t mtu; /* of the path: PMTU included */
	uint32_t generation;
	bool local; /* does not leave this namespace: no checksums, no segmentation */
};

/* -ENETUNREACH, -EHOSTUNREACH, -EACCES (prohibit), -EINVAL (a source that is not ours), -ENETDOWN. */
int __must_check ip_route(struct stack *s, const struct ip_out *o, struct ip_route *ret) REQUIRES(L_NET);
/* Takes p: the payload with the transport header pushed. 0, or why it was dropped: as ip_route(), -EMSGSIZE, -ENOBUFS, -ENOMEM. */
int ip_output(struct stack *s, struct pkt *p, const struct ip_out *o, const struct ip_route *r) REQUIRES(L_NET);

/* An ICMP error about a packet that we sent, for the transport named in it. */
struct ip_error {
	struct in6_addr src, dst; /* of the packet in error: src is ours */
	uint16_t sport, dport;
	uint32_t seq; /* TCP */
	int err;      /* positive errno, as Linux converts it */
	bool hard;    /* fatal to a connection that is being made */
	uint32_t mtu; /* 0, or what fits (fragmentation needed, packet too big) */
	uint8_t type, code;
	struct in6_addr from;
};

/* The transports: they take p. False from an input means that nobody listens: UDP has an ICMP error sent for that. */
void tcp_input(struct stack *s, struct pkt *p, const struct ip_in *in) REQUIRES(L_NET);
void tcp_error(struct stack *s, const struct ip_error *e) REQUIRES(L_NET);
bool udp_input(struct stack *s, struct pkt *p, const struct ip_in *in) REQUIRES(L_NET);
void udp_error(struct stack *s, const struct ip_error *e, const struct pkt *quoted) REQUIRES(L_NET);
