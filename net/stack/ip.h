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
	bool no_loop; /* multicast: not to this machine's own members */
	uint32_t mark;
	uint8_t options_len; /* IPv4, a multiple of 4, checked by who set them */
	const uint8_t *options;
	bool host_only; /* multicast with TTL 0: only to this machine's members */
	/* For routing rules. */
	uint32_t uid;
	uint16_t sport, dport; /* 0: none, or not yet */
};

/* A route to dst as a transport caches it; stale when the stack's route generation has changed. */
struct ip_route {
	struct in6_addr src;
	struct netdev *dev;
	uint32_t mtu; /* of the path: PMTU included */
	uint64_t generation;
	bool local;               /* does not leave this namespace: no checksums, no segmentation */
	uint32_t table;           /* where it was found; 0: in none */
	uint8_t type;             /* RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST or RTN_MULTICAST */
	struct in6_addr next_hop; /* on dev: the gateway or the destination */
	int64_t until;            /* ns: when it has to be looked up again though nothing has changed; 0: never */
};

/* -ENETUNREACH, -EHOSTUNREACH, -EACCES (prohibit), -EINVAL (a source that is not ours), -ENETDOWN. */
int __must_check ip_route(struct stack *s, const struct ip_out *o, struct ip_route *ret) REQUIRES(L_NET);
/* Whether it may depend on ports. */
bool ip_route_by_ports(const struct stack *s, const struct in6_addr *dst) REQUIRES(L_NET);
bool ip_route_stale(const struct stack *s, const struct ip_route *r) REQUIRES(L_NET);
/* The neighbour on the way answers: it need not be asked. For a transport whose data has been acknowledged. */
void ip_confirm(struct stack *s, const struct ip_route *r) REQUIRES(L_NET);
/* A transport believes an ICMP error that says that only mtu bytes fit on the way to dst: ip_route() knows it for ten minutes. */
void ip_pmtu(struct stack *s, const struct in6_addr *dst, uint32_t mtu) REQUIRES(L_NET);
/*
 * The largest segment that a peer may be told of for packets on this route (RFC 9293, 3.7.1), without options: of the
 * interface's MTU, not of the path's.
 */
uint32_t ip_mss(const struct in6_addr *dst, const struct ip_route *r) REQUIRES(L_NET);
/* Whether addr is an address of this namespace, to which a socket may be bound; dev 0: of any interface. */
bool ip_is_local(struct stack *s, const struct in6_addr *addr, unsigned dev) REQUIRES(L_NET);
/* Of a gateway: whether it only stands for that address. */
bool ip_is_beyond(struct stack *s, const struct in6_addr *addr) REQUIRES(L_NET);
/* r: may be stale, or NULL: it is looked up again then. */
/*
 * Takes p: the payload with the transport header pushed. 0, or why it was dropped: as ip_route(), -EMSGSIZE, -ENOBUFS,
 * -ENOMEM.
 */
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
void udp_error(struct stack *s, const struct ip_error *e, uint8_t protocol, const struct pkt *quoted) REQUIRES(L_NET);
