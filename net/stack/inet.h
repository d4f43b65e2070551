/* What the files of net/stack call of each other, below the transports. */
#pragma once

#include "net/stack/ip.h"
#include "net/stack/netdev.h"

/* ether.c */
#define ETHER_HEAD 14
void ether_input(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET);
/* Takes p, whose head is a network header. */
int ether_output(struct stack *s, struct netdev *dev, struct pkt *p, const uint8_t *to, uint16_t type) REQUIRES(L_NET);
/* The Ethernet address of a multicast group: RFC 1112, 2464. */
void ether_group(const struct in6_addr *group, uint8_t *mac);

/* gso.c */
/* Cuts p, which stays the caller's, into packets of gso_size. -ENOMEM, -EINVAL: the list has what was made until then. */
int __must_check gso_segment(const struct pkt *p, struct list *to);
/* Fills in a transport checksum that is partial. False: p is not such a packet. */
bool __must_check pkt_complete_checksum(struct pkt *p);
/* Finds the network and transport headers of a frame with an Ethernet header, for the two above; if it has none, nothing happens. */
void pkt_find_headers(struct pkt *p);

/* netdev_addr.c: -ENOMEM */
/* What an interface that comes up has by itself: 127.0.0.1 and ::1, or a link-local address. */
int __must_check netdev_auto_addrs(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
/* fe80:: with the MAC address in the last 64 bits (RFC 4291, appendix A), or another prefix. */
struct in6_addr netdev_eui64(const struct netdev *dev, const struct in6_addr *prefix);
int __must_check netdev_sync_routes(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
void netdev_drop_addrs(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
void netdev_drop_v6(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
void netdev_addr_lifetime(struct stack *s, struct netdev_addr *a, int64_t valid, int64_t preferred) REQUIRES(L_NET);

/* stack.c */
void stack_notify(struct stack *s, enum stack_event e, bool gone, const void *what) REQUIRES(L_NET);
/* Packets that are queued and name dev are dropped. */
void stack_drop_dev(struct stack *s, struct netdev *dev) REQUIRES(L_NET);

/* arp.c, ndp.c */
void arp_input(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET);
/* to: NULL for all. */
void arp_solicit(struct stack *s, struct netdev *dev, const struct in6_addr *target, const uint8_t *to) REQUIRES(L_NET);
void ndp_solicit(struct stack *s, struct netdev *dev, const struct in6_addr *target, const uint8_t *to) REQUIRES(L_NET);
/* ICMPv6 types 133 to 137; p's head is the ICMPv6 header, whose checksum is right. Does not take p. */
void ndp_input(struct stack *s, struct pkt *p, const struct ip_in *in) REQUIRES(L_NET);
void ndp_solicit_timer(struct stack *s, struct net_timer *t) REQUIRES(L_NET);
void ndp_up(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
void ndp_down(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
struct in6_addr ndp_solicited_node(const struct in6_addr *addr);

/* ip.c: takes p, whose head is an IP header of either version. */
void ip_receive(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET);
void ip4_input(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET);
void ip6_input(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET);
/* Takes p with its whole IP header (p->net), which fits the route's MTU. */
int ip_transmit(struct stack *s, struct pkt *p, const struct ip_route *r) REQUIRES(L_NET);
/* A copy for the members on this machine of a packet to a group or to all. */
void ip_loop_copy(struct stack *s, const struct pkt *p, const struct ip_route *r) REQUIRES(L_NET);
/* The next identification for fragments: a counter for some destinations each, which begins anywhere (RFC 7739). */
uint32_t ip_ident(struct stack *s, const struct in6_addr *src, const struct in6_addr *dst, uint8_t protocol)
    REQUIRES(L_NET);
/* Headers as the wire has them. */
struct ip4_head {
	uint8_t version_len, tos;
	uint16_t len, id, off;
	uint8_t ttl, protocol;
	uint16_t sum;
	uint32_t src, dst;
} __packed;
#define IP4_DF 0x4000
#define IP4_MF 0x2000
#define IP4_OFF 0x1fff

struct ip6_head {
	uint32_t version_class_flow;
	uint16_t len;
	uint8_t next, hops;
	struct in6_addr src, dst;
} __packed;

struct ip6_fragment {
	uint8_t next, reserved;
	uint16_t off; /* and bit 0: more */
	uint32_t id;
} __packed;

int ip4_output(struct stack *s, struct pkt *p, const struct ip_out *o, const struct ip_route *r) REQUIRES(L_NET);
int ip6_output(struct stack *s, struct pkt *p, const struct ip_out *o, const struct ip_route *r) REQUIRES(L_NET);
/*
 * To the protocol in->protocol; takes p, whose head is the transport header (the network header can be put back, if all
 * of it was pulled). False: nobody knows the protocol, and p is still the caller's.
 */
bool ip_deliver(struct stack *s, struct pkt *p, const struct ip_in *in) REQUIRES(L_NET);

/* frag.c: takes a fragment whose head is its payload. The whole packet's payload behind the first fragment's headers, or NULL. */
struct frag_id {
	struct in6_addr src, dst;
	uint32_t id;
	uint8_t protocol;
	unsigned dev;
};
struct pkt *frag_input(struct stack *s, struct pkt *p, const struct frag_id *id, uint32_t off, bool more, uint8_t *ecn)
    REQUIRES(L_NET);
void frag_flush_dev(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
void frag_flush_all(struct stack *s) REQUIRES(L_NET);

/* icmp.c, icmp6.c: they take p. */
void icmp_input(struct stack *s, struct pkt *p, const struct ip_in *in) REQUIRES(L_NET);
void icmp6_input(struct stack *s, struct pkt *p, const struct ip_in *in) REQUIRES(L_NET);
/* An error about p, which stays the caller's: its network header is at p->net, and everything from there on is still in it. */
void icmp_send_error(struct stack *s, struct pkt *p, uint8_t type, uint8_t code, uint32_t info) REQUIRES(L_NET);
void icmp6_send_error(struct stack *s, struct pkt *p, uint8_t type, uint8_t code, uint32_t info) REQUIRES(L_NET);
/* Whether one more error may go to dst now. */
bool icmp_allowed(struct stack *s, const struct in6_addr *dst) REQUIRES(L_NET);
/* To the transport that sent the packet in error. */
void icmp_dispatch_error(struct stack *s, const struct ip_error *e, uint8_t protocol, const struct pkt *quoted)
    REQUIRES(L_NET);

/* mcast.c: IGMP and MLD. */
void igmp_input(struct stack *s, struct pkt *p, const struct ip_in *in) REQUIRES(L_NET);
/* MLD, as ndp_input(). */
void mld_input(struct stack *s, struct pkt *p, const struct ip_in *in) REQUIRES(L_NET);
void mcast_report_timer(struct stack *s, struct net_timer *t) REQUIRES(L_NET);
/* Reports all groups of an interface that came up. */
void mcast_join_all(struct stack *s, struct netdev *dev) REQUIRES(L_NET);
void mcast_drop_all(struct stack *s, struct netdev *dev) REQUIRES(L_NET);

/* raw.c: copies for raw sockets; p's head is the transport header. True: somebody got one. */
bool raw_input(struct stack *s, struct pkt *p, const struct ip_in *in) REQUIRES(L_NET);
void raw_error(struct stack *s, const struct ip_error *e, uint8_t protocol) REQUIRES(L_NET);
/* Echo replies; takes p, whose head is the ICMP header. */
void ping_input(struct stack *s, struct pkt *p, const struct ip_in *in) REQUIRES(L_NET);
/* quoted: the message in error, with its header. */
void ping_error(struct stack *s, const struct ip_error *e, uint16_t ident, const struct pkt *quoted) REQUIRES(L_NET);
