/* Neighbours: the link addresses of hosts on an Ethernet link. */
#pragma once

#include <linux/neighbour.h>

#include "net/stack/netdev.h"

struct neigh {
	struct list hash, lru; /* lru: not of permanent ones */
	struct netdev *dev;
	struct in6_addr addr;
	uint8_t mac[MAC_LEN];
	uint8_t state; /* NUD_* */
	bool router;
	uint8_t probes;
	unsigned queued;
	struct list queue; /* packets that wait for the address; heads at the IP header */
	struct net_timer timer;
	int64_t reachable_until, updated, used; /* ns */
};

enum neigh_flag {
	NEIGH_CREATE = 1 << 0,   /* if it is not there */
	NEIGH_OVERRIDE = 1 << 1, /* another address than the known one counts */
	NEIGH_ROUTER = 1 << 2,   /* says whether it is a router: */
	NEIGH_IS_ROUTER = 1 << 3,
	NEIGH_ADMIN = 1 << 4, /* not a packet's word: permanent ones too */
};

void neigh_init(struct stack *s);
/* Takes p, whose head is the IP header, for the next hop addr on dev. 0, -ENOBUFS, or as netdev_transmit(). */
int neigh_output(struct stack *s, struct netdev *dev, const struct in6_addr *addr, struct pkt *p) REQUIRES(L_NET);
/* Borrowed; NULL. */
struct neigh *neigh_find(struct stack *s, struct netdev *dev, const struct in6_addr *addr) REQUIRES(L_NET);
/*
 * What a packet, or an administrator, says of a neighbour. mac: NULL if nothing; state: NUD_REACHABLE, NUD_STALE,
 * NUD_PERMANENT. -ENOENT, -ENOBUFS, -EINVAL (no address known).
 */
int neigh_update(struct stack *s, struct netdev *dev, const struct in6_addr *addr, const uint8_t *mac, uint8_t state,
		 unsigned flags) REQUIRES(L_NET);
void neigh_confirm(struct stack *s, struct netdev *dev, const struct in6_addr *addr) REQUIRES(L_NET);
/* -ENOENT */
int __must_check neigh_del(struct stack *s, struct netdev *dev, const struct in6_addr *addr) REQUIRES(L_NET);
/* Against ping-pong of two that answer ARP for one address: the last change is a second ago. */
bool neigh_may_change(struct stack *s, const struct neigh *n) REQUIRES(L_NET);
void neigh_flush_dev(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
/* Packets that wait and came in by dev do not know it any more. */
void neigh_forget_dev(struct stack *s, const struct netdev *dev) REQUIRES(L_NET);
/* Calls fn for each until it returns false. fn changes nothing. */
void neigh_each(struct stack *s, bool (*fn)(void *arg, const struct neigh *n), void *arg) REQUIRES(L_NET);
