/* Routing tables: ip-route(8). */
#pragma once

#include <linux/rtnetlink.h>

#include "net/stack/ip.h"
#include "net/stack/netdev.h"

/* One of several ways of a route. */
struct nexthop {
	struct netdev *dev;
	struct in6_addr gateway; /* any: none */
	unsigned weight;         /* from 1 on */
};

#define NEXTHOPS_MAX 64

/* Belongs to whoever has it in a configuration, or to a route. */
struct nexthops {
	unsigned count, room;
	struct nexthop hop[];
};

struct route_config {
	uint32_t table; /* RT_TABLE_* or any other number */
	uint8_t type;   /* RTN_* */
	bool v6;
	struct in6_addr dst; /* masked; IPv4 mapped */
	uint8_t plen;        /* out of 128 */
	uint8_t protocol, scope;
	uint32_t metric;
	struct netdev *dev;      /* NULL: of a type that goes nowhere */
	struct in6_addr gateway; /* any: none */
	struct nexthops *hops;   /* NULL: only the one above, which is the first of them otherwise */
	struct in6_addr prefsrc; /* any: by the interface */
	uint32_t mtu;            /* 0: the interface's */
	int64_t expires;         /* ns, monotonic; 0: never */
};

struct route {
	struct list link; /* in its chain; those of one prefix in the order of their metrics */
	struct route_config c;
};

enum route_flag {
	ROUTE_EXCL = 1 << 0,    /* not if there is one of the same prefix and metric */
	ROUTE_REPLACE = 1 << 1, /* instead of that */
	ROUTE_APPEND = 1 << 2,  /* IPv6: a gateway becomes one more next hop of such a route */
	ROUTE_CHANGE = 1 << 4,  /* only instead of that: -ENOENT */
	ROUTE_USER = 1 << 3,    /* as a user means it: next hops do not tell routes apart, and none is there twice */
};

/* What is known of a packet, or of one that may come. */
struct route_flow {
	struct in6_addr src, dst;
	unsigned iif, oif; /* interfaces; 0: it is our own; any */
	uint32_t mark, uid;
	uint8_t tos, protocol;
	uint16_t sport, dport;
};

void route_init(struct stack *s);
void route_fini(struct stack *s) REQUIRES(L_NET);
/*
 * -EEXIST, -EINVAL, -ENETUNREACH (no way to the gateway), -ENETDOWN, -ENOBUFS (too many), -ENOMEM. What c->hops is stays the caller's; devices of hops
 * that have a gateway only are found.
 */
int __must_check route_add(struct stack *s, const struct route_config *c, unsigned flags) REQUIRES(L_NET);
/* The first that fits all that is given (dev NULL, gateway any, type, protocol, metric 0: any). -ESRCH. */
int __must_check route_del(struct stack *s, const struct route_config *c) REQUIRES(L_NET);
/* kernel: only those that follow from addresses. */
void route_flush_dev(struct stack *s, struct netdev *dev, bool kernel) REQUIRES(L_NET);
/* dev is about to be no interface of this stack any more. */
void route_forget_dev(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
/* What has expired goes now. */
void route_drop_expired(struct stack *s) REQUIRES(L_NET);
/* Others' routes that prefer a source address of dev that is gone. */
void route_flush_prefsrc(struct stack *s, struct netdev *dev, const struct in6_addr *addr) REQUIRES(L_NET);
/* All of one family, when dev has lost its last address of that. */
void route_flush_family(struct stack *s, struct netdev *dev, bool v6) REQUIRES(L_NET);
/* Calls fn for each, by table and prefix, until it returns false. fn changes nothing. */
void route_each(struct stack *s, bool (*fn)(void *arg, const struct route *r), void *arg) REQUIRES(L_NET);
/*
 * The route with the longest prefix, of the tables local, main, default in that order. dev 0: any. Borrowed; NULL:
 * none. It may be one of RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT.
 */
const struct route *route_find(struct stack *s, const struct in6_addr *dst, unsigned dev) REQUIRES(L_NET);
/* As the rules say (rule.h); without any of the guest's it is as route_find(). */
const struct route *route_lookup(struct stack *s, const struct route_flow *f) REQUIRES(L_NET);
/* Of several next hops the one for this packet: the same for all that have the same addresses, or by sysctl ports. */
void route_choose(struct stack *s, const struct route *r, const struct route_flow *f, struct nexthop *ret)
    REQUIRES(L_NET);
const struct route *route_find_in(struct stack *s, uint32_t table, const struct in6_addr *dst, unsigned dev)
    REQUIRES(L_NET);
/* The number of a table that has no routes yet; 0: there are too many. */
uint32_t route_empty_table(struct stack *s) REQUIRES(L_NET);
bool route_has_table(struct stack *s, uint32_t id) REQUIRES(L_NET);
/* 0, or what a packet's sender is told. NULL: -ENETUNREACH. */
int route_errno(const struct route *r);
/* The address that dev would send from to dst: of IPv6 by RFC 6724. False: there is none. */
bool __must_check route_source(struct stack *s, struct netdev *dev, const struct in6_addr *dst, struct in6_addr *ret)
    REQUIRES(L_NET);
/* Of a received packet; its ports, if a rule asks for them: p's head is the transport header, or p NULL. */
void route_flow_of(struct stack *s, const struct ip_in *in, struct pkt *p, struct route_flow *ret) REQUIRES(L_NET);
/* What a received packet is: RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST, RTN_UNICAST (for another), RTN_UNREACHABLE. */
uint8_t route_input_type(struct stack *s, const struct route_flow *f) REQUIRES(L_NET);
/* Whether src, from outside, is an address that only we could have: of IPv4. */
bool route_source_is_ours(struct stack *s, const struct route_flow *f) REQUIRES(L_NET);
/* The way of a packet of another's. As ip_route(). */
int __must_check route_forward(struct stack *s, const struct route_flow *f, struct ip_route *ret) REQUIRES(L_NET);
/* Forgets what was learnt of paths. */
void pmtu_flush(struct stack *s) REQUIRES(L_NET);
