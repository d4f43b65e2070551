/*
 * Ports: who is bound to which, for UDP and TCP.
 *
 * Every endpoint with a port stands in its port's bucket: bound, connected, listening, accepted, in TIME_WAIT. What may
 * share a port is Linux's rule: two endpoints conflict if their addresses and devices overlap, unless both have
 * SO_REUSEADDR and the one that is there does not listen, or both have SO_REUSEPORT and one owner. Addresses as
 * everywhere: 0.0.0.0 is ::ffff:0.0.0.0, and :: without v6only overlaps with all of IPv4.
 */
#pragma once

#include "net/stack/stack.h"

/* PORT_PING: the identifiers of ping sockets, which are given out alike. */
enum port_space { PORT_UDP, PORT_TCP, PORT_PING, PORT_UDPLITE, PORT_SPACES };

/* An endpoint's place. Set up with port_bind_init(); the caller fills in the first part before it binds. All of it L_NET. */
struct port_bind {
	struct in6_addr addr; /* local; any: :: or ::ffff:0.0.0.0 */
	unsigned bound_dev;   /* SO_BINDTODEVICE; 0: none */
	uint32_t uid;
	bool v6only, reuse_addr, reuse_port;
	bool listening; /* UDP: always; TCP: see port_listen() */
	/* port.c's: */
	uint8_t space;
	bool automatic;                /* port_connect() chose the port */
	bool counts_addr, counts_port; /* in its bucket, as one who does not share */
	uint16_t port;                 /* 0: not bound */
	uint16_t peer_port;            /* UDP: 0 if not connected */
	struct in6_addr peer;
	struct port_bucket *bucket;
	struct list link;
};

void port_bind_init(struct port_bind *b, enum port_space space);
/*
 * Binds to a port, 0: an unused one (RFC 6056). -EADDRINUSE, -ENOMEM. Whether the address is local and the port
 * privileged is the caller's question.
 */
int __must_check port_bind(struct stack *s, struct port_bind *b, uint16_t port) REQUIRES(L_NET);
/*
 * An automatic port for a connection from b->addr, which may be shared with other automatic ones: usable() says whether
 * the connection would be unique. The search starts at a place that the addresses determine (RFC 6056, 3.3.4).
 * -EADDRNOTAVAIL, -ENOMEM.
 */
int __must_check port_connect(struct stack *s, struct port_bind *b, const struct in6_addr *peer, uint16_t peer_port,
			      bool (*usable)(void *arg, uint16_t port), void *arg) REQUIRES(L_NET);
/* A further endpoint on the same port, unchecked: an accepted connection, a TIME_WAIT. -ENOMEM is not possible. */
void port_inherit(struct stack *s, struct port_bind *b, const struct port_bind *from) REQUIRES(L_NET);
/* TCP: b is bound; it now listens, and the rules are checked again: -EADDRINUSE. */
int __must_check port_listen(struct stack *s, struct port_bind *b) REQUIRES(L_NET);
void port_unlisten(struct stack *s, struct port_bind *b) REQUIRES(L_NET);
/* reuse_addr, reuse_port have been changed by the owner. */
void port_refresh(struct port_bind *b) REQUIRES(L_NET);
/* All are unbound. */
void port_fini(struct stack *s) REQUIRES(L_NET);
/* Harmless if it is not bound. */
void port_unbind(struct stack *s, struct port_bind *b) REQUIRES(L_NET);
/*
 * The listening endpoint that suits a packet best: by address, device and peer; of a SO_REUSEPORT group the one that
 * `hash` picks (0: that of the four-tuple is made if need be). NULL: none.
 */
struct port_bind *port_lookup(struct stack *s, enum port_space space, const struct in6_addr *dst, uint16_t dport,
			      const struct in6_addr *src, uint16_t sport, unsigned dev, uint32_t hash) REQUIRES(L_NET);
/* All listening endpoints of a port: NULL first, NULL at the end. */
struct port_bind *port_next(struct stack *s, enum port_space space, uint16_t port, struct port_bind *after)
    REQUIRES(L_NET);
/* Whether an endpoint with that port may have a packet at all. */
bool port_suits(const struct port_bind *b, const struct in6_addr *dst, const struct in6_addr *src, uint16_t sport,
		unsigned dev);
/* A keyed hash of a four-tuple, for tables whose collisions nobody outside may choose. */
uint32_t port_hash(struct stack *s, const struct in6_addr *a, uint16_t aport, const struct in6_addr *b, uint16_t bport)
    REQUIRES(L_NET);
/* net.ipv4.ip_local_port_range */
void port_range_get(struct stack *s, uint16_t *ret_low, uint16_t *ret_high) REQUIRES(L_NET);
void port_range_set(struct stack *s, uint16_t low, uint16_t high) REQUIRES(L_NET);
