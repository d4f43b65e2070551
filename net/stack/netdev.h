/*
 * Network interfaces of a stack: their addresses, flags and counters, and the link behind each.
 *
 * A link (loopback, AF_PACKET, TAP, veth, nat) makes a netdev with its link_ops, hands frames to netdev_receive() and
 * is handed frames by transmit(). All of it is guarded by L_NET; pointers to a netdev are good as long as the lock is
 * held, or as the route generation has not changed.
 */
#pragma once

#include <net/if.h>
#include <net/if_arp.h>

#include "net/stack/stack.h"

#define MAC_LEN 6
#define LO_INDEX 1

struct netdev;
struct netdev_addr;
struct bridge_port;

struct link_ops {
	/*
	 * Takes p, whose head is at the Ethernet header, or at the IP header if the link has none. 0, or -errno: it was
	 * dropped. Checksums are complete and packets segmented unless the netdev's features say that the link does it.
	 * The lock is held: a link that leads to another stack, or to the host, queues p and has a struct wakeup
	 * deliver what is queued, which runs without it. It must bear being called again from there, since the other
	 * end may answer at once: one thread delivers at a time.
	 */
	int (*transmit)(struct stack *s, struct netdev *dev, struct pkt *p);
	/* Flags, MTU, address or the groups to receive have changed. May be absent. */
	void (*changed)(struct stack *s, struct netdev *dev);
	/* dev is about to go: drop what priv is. May be absent. */
	void (*destroy)(struct stack *s, struct netdev *dev);
	/* Of those that rtnetlink makes and deletes: its name, as IFLA_INFO_KIND has it. */
	const char *kind;
	/*
	 * dev goes to another stack: it is not in this one any more, and nobody enters it; it is in that one. Both absent: it cannot be moved. What the link
	 * had queued by stack_wake() is delivered in between.
	 */
	void (*leave)(struct stack *s, struct netdev *dev);
	void (*join)(struct stack *s, struct netdev *dev);
	/* The index of the interface below or at the other end, and the id of its stack (stack_set_id()); 0: it has gone. May be absent. */
	unsigned (*other)(struct netdev *dev, uint64_t *ret_id);
};

enum netdev_feature {
	NETDEV_CHECKSUM = 1 << 0, /* takes checksum_partial */
	NETDEV_TSO = 1 << 1,      /* takes gso_size; only with NETDEV_CHECKSUM */
	NETDEV_ETHER = 1 << 2,    /* frames have Ethernet headers, neighbours are resolved */
	NETDEV_NO_RA = 1 << 3,    /* router advertisements are not listened to */
	NETDEV_NO_V6 = 1 << 4,    /* net.ipv6.conf.*.disable_ipv6; see netdev_set_v6() */
};

struct netdev_stats {
	uint64_t rx_packets, rx_bytes, rx_errors, rx_dropped, multicast;
	uint64_t tx_packets, tx_bytes, tx_errors, tx_dropped;
};

struct netdev {
	struct list link;
	char name[IFNAMSIZ];
	unsigned index;
	unsigned flags; /* IFF_* */
	uint16_t type;  /* ARPHRD_* */
	uint32_t mtu;
	unsigned features;
	uint8_t mac[MAC_LEN];
	struct list addrs;  /* struct netdev_addr, primaries before their secondaries */
	struct list groups; /* struct group: what is received besides */
	unsigned addr_count, group_count;
	unsigned ra_routes;         /* of routers' advertisements */
	unsigned promisc, allmulti; /* how many asked */
	struct list taps;           /* struct netdev_tap */
	struct netdev_stats stats;
	const struct link_ops *ops;
	void *priv;
	bool carrier;       /* there is somebody at the other end: with IFF_UP it gives IFF_RUNNING */
	bool quiet_carrier; /* nobody ever asks for it, as on loopback: its state is unknown, not up */
	bool mac_set;       /* netdev_set_mac() */
	unsigned carrier_changes;
	uint32_t mtu_max;
	struct bridge_port *port; /* bridge.c: it belongs to a bridge; NULL */
	/* IPv6, as a router told: RFC 4861. */
	uint8_t hop_limit; /* 0: the default */
	uint32_t mtu6;     /* 0: as mtu */
	unsigned solicits; /* router solicitations sent */
	struct net_timer solicit_timer;
	/* Group reports that are due. */
	struct net_timer report_timer;
};

/* An address of an interface. */
struct netdev_addr {
	struct list link;
	struct netdev *dev;
	struct in6_addr addr, peer;           /* peer: of a point-to-point prefix; the address itself otherwise */
	struct in6_addr broadcast;            /* IPv4; any: none */
	uint8_t plen;                         /* out of 128 */
	uint8_t scope;                        /* RT_SCOPE_* */
	uint32_t flags;                       /* IFA_F_* */
	int64_t valid_until, preferred_until; /* ns; INT64_MAX: for ever */
	struct net_timer expiry;
};

enum tap_event { TAP_UP, TAP_DOWN, TAP_GONE };

/* Who sees every frame of an interface, or of all of a stack's, as packet sockets do. p's head is at the link header. */
struct netdev_tap {
	struct list link;
	void (*see)(struct stack *s, struct netdev_tap *t, struct netdev *dev, const struct pkt *p, bool out);
	/* What becomes of the interface; once it has gone the tap is on no list. May be absent, and may remove t. */
	void (*event)(struct stack *s, struct netdev_tap *t, struct netdev *dev, enum tap_event e);
};

struct netdev_config {
	const char *name; /* "eth%d": with the first free number */
	unsigned index;   /* 0: the next */
	uint16_t type;
	unsigned flags; /* IFF_BROADCAST and the like; it begins down */
	unsigned features;
	uint32_t mtu;
	uint32_t mtu_max;   /* 0: the largest that there is */
	const uint8_t *mac; /* NULL: none */
	bool no_carrier, quiet_carrier;
	const struct link_ops *ops;
	void *priv;
};

/* -EEXIST, -EINVAL (name, MTU), -EBUSY (index), -ENFILE (too many), -ENOMEM. */
int __must_check netdev_create(struct stack *s, const struct netdev_config *c, struct netdev **ret) REQUIRES(L_NET);
/* With its addresses, routes, neighbours. */
void netdev_destroy(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
/* The loopback interface of a new stack; -ENOMEM. */
int __must_check loopback_create(struct stack *s) REQUIRES(L_NET);
/* Borrowed; NULL: there is none. */
struct netdev *netdev_by_index(struct stack *s, unsigned index) REQUIRES(L_NET);
struct netdev *netdev_by_name(struct stack *s, const char *name) REQUIRES(L_NET);
/* The one that comes after index in the order of indices: netdev_next(s, 0) is the first. */
struct netdev *netdev_next(struct stack *s, unsigned index) REQUIRES(L_NET);
/* IFF_UP, IFF_PROMISC, IFF_ALLMULTI, IFF_NOARP; other bits of mask are ignored. -ENOMEM. */
int __must_check netdev_set_flags(struct stack *s, struct netdev *dev, unsigned flags, unsigned mask) REQUIRES(L_NET);
/* -EINVAL */
int __must_check netdev_set_mtu(struct stack *s, struct netdev *dev, uint32_t mtu) REQUIRES(L_NET);
int __must_check netdev_set_name(struct stack *s, struct netdev *dev, const char *name) REQUIRES(L_NET);
/* Without it, IPv6 has no addresses here, and its packets are dropped. -ENOMEM. */
int __must_check netdev_set_v6(struct stack *s, struct netdev *dev, bool on) REQUIRES(L_NET);
void netdev_set_mac(struct stack *s, struct netdev *dev, const uint8_t *mac) REQUIRES(L_NET);
/* A locally administered address by chance. */
void netdev_random_mac(struct stack *s, uint8_t *mac) REQUIRES(L_NET);

/* netdev_link.c */
void netdev_set_carrier(struct stack *s, struct netdev *dev, bool on) REQUIRES(L_NET);
/*
 * Moves an interface to another stack, where it is down, without addresses, and has its index if that is free; name, if not NULL, is its new one. *ret_index
 * is its index there. -ENODEV, -EINVAL (it cannot be moved), -EEXIST (the name). No lock held.
 */
int __must_check netdev_move(struct stack *from, struct stack *to, unsigned index, const char *name,
			     unsigned *ret_index) EXCLUDES(L_NET);
/* Of netdev.c, for it. */
bool netdev_valid_name(const char *name);
int __must_check netdev_pick_name(struct stack *s, const char *name, char *to) REQUIRES(L_NET);
/* Into the order of indices. */
void netdev_insert(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
/* dev is in no stack any more: without addresses, routes, neighbours; its memory stays. */
void netdev_remove(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
/* Flags, MTU or the like have changed: who depends on it is told. */
void netdev_changed(struct stack *s, struct netdev *dev) REQUIRES(L_NET);

/* A link that leads nowhere: dummy. As netdev_create(). */
int __must_check dummy_create(struct stack *s, const struct netdev_config *c, struct netdev **ret) REQUIRES(L_NET);
/* A packet socket's wish, counted. */
void netdev_promisc(struct stack *s, struct netdev *dev, int add) REQUIRES(L_NET);
void netdev_allmulti(struct stack *s, struct netdev *dev, int add) REQUIRES(L_NET);

struct addr_config {
	struct in6_addr addr, peer, broadcast; /* any: none */
	uint8_t plen;                          /* out of 128 */
	uint8_t scope;
	uint32_t flags;
	int64_t valid, preferred; /* ns from now; INT64_MAX: for ever */
};
/* An address with its local and its connected routes. -EEXIST, -EINVAL, -EACCES (no IPv6 here), -ENOBUFS (too many), -ENOMEM. */
int __must_check netdev_add_addr(struct stack *s, struct netdev *dev, const struct addr_config *c) REQUIRES(L_NET);
/* -EADDRNOTAVAIL */
int __must_check netdev_del_addr(struct stack *s, struct netdev *dev, const struct in6_addr *addr, unsigned plen)
    REQUIRES(L_NET);
/* The interface's own; NULL. */
struct netdev_addr *netdev_find_addr(struct netdev *dev, const struct in6_addr *addr) REQUIRES(L_NET);
/* Any interface's. */
struct netdev_addr *stack_find_addr(struct stack *s, const struct in6_addr *addr) REQUIRES(L_NET);
/* What IPv6 takes it to be: a router may have told less. */
uint32_t netdev_mtu6(const struct netdev *dev);

/* A frame from the link; takes p. */
void netdev_receive(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET);
/*
 * All frames that the link has now; takes them. TCP segments that follow each other are merged. dev is not destroyed by
 * what they cause.
 */
void netdev_receive_batch(struct stack *s, struct netdev *dev, struct list *frames) REQUIRES(L_NET);
/* A frame for the link; takes p. 0, or why it was dropped: -ENETDOWN, -ENOMEM, the link's errno. */
int netdev_transmit(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET);
void netdev_tap_add(struct netdev *dev, struct netdev_tap *t) REQUIRES(L_NET);
/* Of all interfaces, those that come later included. */
void stack_tap_add(struct stack *s, struct netdev_tap *t) REQUIRES(L_NET);
void netdev_tap_remove(struct netdev_tap *t) REQUIRES(L_NET);

/* Multicast groups, counted: by sockets, and by the stack for what its addresses need. -ENOMEM, -ENOBUFS. */
int __must_check mcast_join(struct stack *s, struct netdev *dev, const struct in6_addr *addr) REQUIRES(L_NET);
/* -EADDRNOTAVAIL */
int mcast_leave(struct stack *s, struct netdev *dev, const struct in6_addr *addr) REQUIRES(L_NET);
/* The same from one source only. -ENOBUFS, -ENOMEM. */
int __must_check mcast_join_source(struct stack *s, struct netdev *dev, const struct in6_addr *addr,
				   const struct in6_addr *source) REQUIRES(L_NET);
void mcast_leave_source(struct stack *s, struct netdev *dev, const struct in6_addr *addr, const struct in6_addr *source)
    REQUIRES(L_NET);
/* Calls fn for each, those that everybody is in included while dev is up: of IPv6 the newest first. */
void mcast_each(const struct netdev *dev, void (*fn)(void *arg, const struct in6_addr *addr, unsigned users), void *arg)
    REQUIRES(L_NET);
bool mcast_member(const struct netdev *dev, const struct in6_addr *addr) REQUIRES(L_NET);

/* What watchers of the configuration (netlink) are told; by stack_leave() is too late, so at once, with the lock held. */
enum stack_event {
	STACK_LINK,
	STACK_ADDR,
	STACK_ROUTE,
	STACK_NEIGH,
	STACK_RULE,
	STACK_UEVENT, /* an interface has come or gone, as a device */
};
void stack_watch(struct stack *s, void (*fn)(void *arg, enum stack_event e, bool gone, const void *what), void *arg)
    REQUIRES(L_NET);
