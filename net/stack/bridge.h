/*
 * A learning bridge among interfaces of one stack, which is itself one of them: IEEE 802.1D without spanning tree. It may hold as many ports as Linux's.
 */
#pragma once

#include "net/stack/netdev.h"

/* As netdev_create(). */
int __must_check bridge_create(struct stack *s, const struct netdev_config *c, struct netdev **ret) REQUIRES(L_NET);
bool netdev_is_bridge(const struct netdev *dev);
/* dev becomes a port of br. -EINVAL (not an Ethernet, loopback), -ELOOP (a bridge), -EBUSY, -EXFULL, -ENOMEM. */
int __must_check bridge_port_add(struct stack *s, struct netdev *br, struct netdev *dev) REQUIRES(L_NET);
/* dev, a port, is one no longer. */
void bridge_port_remove(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
/* The bridge that dev is a port of; NULL. */
struct netdev *bridge_of(const struct netdev *dev);
/* By netdev.c: a port has got other flags, carrier, MTU or address. */
void bridge_port_changed(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
/* A frame that came in by a port. NULL: it is taken; else it goes on as any interface's. */
struct pkt *bridge_input(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET);

/* What is told about it. */
struct bridge_info {
	uint8_t mac[MAC_LEN];
	uint32_t ageing; /* hundredths of a second */
	unsigned ports;
	bool vlan_filtering, stp;
};
void bridge_info(const struct netdev *br, struct bridge_info *ret) REQUIRES(L_NET);
void bridge_set_ageing(struct netdev *br, uint32_t hundredths) REQUIRES(L_NET);
unsigned bridge_port_number(const struct netdev *dev) REQUIRES(L_NET);
/* An entry of the table of addresses: seconds/100 since it was seen; local: of a port or the bridge itself. */
struct bridge_entry {
	struct netdev *port;
	uint8_t mac[MAC_LEN];
	int64_t age; /* ns */
};
void bridge_each(struct stack *s, struct netdev *br, bool (*fn)(void *arg, const struct bridge_entry *e), void *arg)
    REQUIRES(L_NET);
