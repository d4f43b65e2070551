/*
 * Datagram endpoints: what UDP, raw and ping sockets share. A queue of packets bounded in bytes, errors, multicast
 * memberships, and the options of ip(7) and ipv6(7) that say how to send.
 *
 * An endpoint belongs to the socket that embeds it, which sets the fields below "by the owner" and fills in wakeup.hold
 * and wakeup.deliver. All under L_NET.
 */
#pragma once

#include "net/stack/ip.h"
#include "net/stack/port.h"

#define DGRAM_MEMBERSHIPS_MAX 20 /* net.ipv4.igmp_max_memberships */
#define DGRAM_ERRORS_MAX 64

enum pmtu_discovery { PMTU_DONT, PMTU_WANT, PMTU_DO, PMTU_PROBE, PMTU_INTERFACE, PMTU_OMIT }; /* IP_PMTUDISC_* */

struct dgram {
	struct wakeup wakeup;
	bool v6;
	/* By the owner, at any time: */
	uint32_t rcvbuf;   /* bytes, with overhead */
	bool broadcast;    /* SO_BROADCAST */
	bool recverr;      /* IP_RECVERR, IPV6_RECVERR */
	bool no_mc_loop;   /* not IP_MULTICAST_LOOP */
	bool no_mc_all;    /* not IP_MULTICAST_ALL: only groups that this socket joined */
	bool no_checksum;  /* SO_NO_CHECK: of IPv4 */
	bool freebind;     /* IP_FREEBIND, IP_TRANSPARENT: to any address */
	bool gro;          /* UDP_GRO: datagrams of one size that come together are received together */
	uint8_t ttl, tos;  /* ttl 0: the default */
	uint8_t mc_ttl;    /* 0: 1 */
	bool mc_host_only; /* IP_MULTICAST_TTL was set to 0 */
	uint8_t pmtu;      /* enum pmtu_discovery */
	unsigned mc_dev;   /* IP_MULTICAST_IF */
	struct in6_addr mc_addr;
	uint32_t mark, uid; /* for routing rules, as the next */
	uint8_t protocol;
	uint16_t port; /* of its own; 0: none yet */
	/* How much the owner wants of a packet, from that offset of its room on; NULL: all. */
	uint32_t (*filter)(struct stack *s, struct dgram *d, const struct pkt *p, uint16_t start);
	/* dgram.c's: */
	struct in6_addr local, peer; /* peer of a connected one */
	uint16_t peer_port;
	bool connected;
	unsigned bound_dev;
	struct list queue; /* struct pkt */
	uint32_t bytes;
	uint32_t mem_pages; /* of these, what udp_memory has been charged with */
	uint64_t drops;
	int err;            /* positive errno that the next call reports */
	struct list errors; /* struct dgram_error, for MSG_ERRQUEUE */
	unsigned error_count;
	struct list members;
	unsigned member_count;
	struct ip_route route; /* to the peer */
};

/* One entry of the error queue: ip(7), IP_RECVERR. */
struct dgram_error {
	struct list link;
	struct ip_error e; /* its addresses and ports are those of the packet in error */
	bool local;        /* EMSGSIZE of our own */
	struct pkt *data;  /* what is known of its payload; may be empty */
};

/* Where one datagram goes. */
struct dgram_to {
	struct in6_addr addr; /* any: to the peer */
	uint16_t port;
	struct in6_addr src; /* any: as bound; else of IP_PKTINFO */
	unsigned dev;        /* 0: any; of IP_PKTINFO or sin6_scope_id */
	int ttl, tos;        /* -1: the socket's */
	uint8_t options_len;
	const uint8_t *options;
};

void dgram_init(struct dgram *d, bool v6);
/* Everything in it is dropped; memberships end. */
void dgram_fini(struct stack *s, struct dgram *d) REQUIRES(L_NET);
/* Queues p (takes it) and wakes readers, or counts it as lost: false. */
bool dgram_queue(struct stack *s, struct dgram *d, struct pkt *p) REQUIRES(L_NET);
/* The owner's filter on p from `start` on, of which `least` bytes stay: false: not wanted, counted as lost; p is the caller's. */
bool __must_check dgram_filter(struct stack *s, struct dgram *d, struct pkt *p, uint16_t start, uint32_t least)
    REQUIRES(L_NET);
/* The first packet, which is the caller's then; NULL. peek: a copy of it, NULL also for want of memory. */
struct pkt *dgram_take(struct dgram *d, bool peek) REQUIRES(L_NET);
uint32_t dgram_first_size(const struct dgram *d) REQUIRES(L_NET);
/* -errno, cleared; 0. */
int dgram_take_error(struct dgram *d) REQUIRES(L_NET);
/* The first of the error queue, or NULL: dgram_error_free() it. */
struct dgram_error *dgram_take_queued_error(struct dgram *d) REQUIRES(L_NET);
void dgram_error_free(struct dgram_error *e);
/* An ICMP error for a packet of d; data: what of its payload is known. */
void dgram_error(struct stack *s, struct dgram *d, const struct ip_error *e, const struct pkt *data) REQUIRES(L_NET);
/* POLL* */
uint32_t dgram_poll(const struct dgram *d) REQUIRES(L_NET);
/*
 * The way to a destination, and what IP is told. -EDESTADDRREQ, -EACCES (broadcast without the option), -ENETUNREACH
 * (IPv4 by a socket of IPv6 only, or no route) and what ip_route() says.
 */
int __must_check dgram_route(struct stack *s, struct dgram *d, const struct dgram_to *to, struct ip_out *ret_o,
			     struct ip_route *ret_r) REQUIRES(L_NET);
/*
 * For a payload of that size, with the transport's header: sets o->dont_fragment. -EMSGSIZE, which is also queued as a
 * local error.
 */
int __must_check dgram_fits(struct stack *s, struct dgram *d, struct ip_out *o, struct ip_route *r, uint32_t size)
    REQUIRES(L_NET);
/* Whether an endpoint may be bound to addr. 0, -EAFNOSUPPORT, -ENODEV, -EADDRNOTAVAIL. */
int __must_check dgram_check_bind(struct stack *s, const struct dgram *d, const struct in6_addr *addr, unsigned dev)
    REQUIRES(L_NET);
/* ---- dgram_group.c: memberships, and which sources they want ---- */
#define DGRAM_SOURCES_MAX 64  /* sysctl_mld_max_msf; of IPv4: */
#define DGRAM_SOURCES4_MAX 10 /* net.ipv4.igmp_max_msf */
enum dgram_source_op { SOURCE_JOIN, SOURCE_LEAVE, SOURCE_BLOCK, SOURCE_UNBLOCK };
/* What a membership wants: only the sources, or all but these. */
struct dgram_filter {
	bool include;
	unsigned count;
	struct in6_addr source[DGRAM_SOURCES_MAX];
};
void dgram_leave_all(struct stack *s, struct dgram *d) REQUIRES(L_NET);
/* -EINVAL (no member, or of the other kind), -EADDRNOTAVAIL (has it, or has it not), -ENOBUFS, -ENODEV, -ENOMEM. */
int __must_check dgram_change_source(struct stack *s, struct dgram *d, const struct in6_addr *group, unsigned dev,
				     const struct in6_addr *source, enum dgram_source_op op) REQUIRES(L_NET);
/* -EINVAL (no member), -ENODEV, -ENOBUFS, -ENOMEM. Including nothing ends the membership. */
int __must_check dgram_set_filter(struct stack *s, struct dgram *d, const struct in6_addr *group, unsigned dev,
				  const struct dgram_filter *f) REQUIRES(L_NET);
/* -EADDRNOTAVAIL, -ENODEV. */
int __must_check dgram_get_filter(struct stack *s, struct dgram *d, const struct in6_addr *group, unsigned dev,
				  struct dgram_filter *ret) REQUIRES(L_NET);
/* dev 0: by the route to the group. -EADDRINUSE, -ENODEV, -EINVAL, -ENOBUFS, -ENOMEM. */
int __must_check dgram_join(struct stack *s, struct dgram *d, const struct in6_addr *group, unsigned dev)
    REQUIRES(L_NET);
/* -EADDRNOTAVAIL */
int __must_check dgram_leave(struct stack *s, struct dgram *d, const struct in6_addr *group, unsigned dev)
    REQUIRES(L_NET);
/* Whether d wants packets from src to that group which came by dev. */
bool dgram_wants_group(const struct dgram *d, const struct in6_addr *group, const struct in6_addr *src, unsigned dev);

/* ---- UDP, and UDP-Lite (RFC 3828), which may leave a part of the payload out of the checksum ---- */

struct udp_sock {
	struct dgram d;
	struct port_bind bind;
	bool addr_given, port_given; /* by udp_bind(), not by connecting or sending */
	/* UDP-Lite, by the owner; bytes of the datagram with its header, 0: all; -1: as if not set */
	int send_cover, recv_cover; /* what is summed; what has to be */
};

void udp_init(struct udp_sock *u, bool v6);
void udplite_init(struct udp_sock *u, bool v6);
void udp_close(struct stack *s, struct udp_sock *u) REQUIRES(L_NET);
/*
 * reuse, uid, v6only: in u->bind, by the owner, before. addr: any, local, broadcast or a group. port 0: any. dev: the
 * scope of a link-local address. -EINVAL (is bound), -EADDRNOTAVAIL, -EADDRINUSE, -ENODEV, -ENOMEM.
 */
int __must_check udp_bind(struct stack *s, struct udp_sock *u, const struct in6_addr *addr, uint16_t port, unsigned dev)
    REQUIRES(L_NET);
/* SO_BINDTODEVICE; 0: none. */
void udp_bind_dev(struct udp_sock *u, unsigned dev) REQUIRES(L_NET);
/* Binds if need be. As dgram_route(). */
int __must_check udp_connect(struct stack *s, struct udp_sock *u, const struct in6_addr *addr, uint16_t port,
			     unsigned dev) REQUIRES(L_NET);
/* What was not bound to by name is free again. */
void udp_disconnect(struct stack *s, struct udp_sock *u) REQUIRES(L_NET);
/*
 * Takes p, the payload; with gso_size a datagram of each so many bytes of it (-EINVAL: larger than the path takes). 0,
 * or -errno: the pending error, as udp_bind(), dgram_route(), dgram_fits() or ip_output(). -ENOMEM.
 */
int __must_check udp_send(struct stack *s, struct udp_sock *u, struct pkt *p, const struct dgram_to *to)
    REQUIRES(L_NET);

/* ---- raw ---- */

struct raw_sock {
	struct dgram d;
	struct list link;
	uint8_t protocol;
	bool bound; /* d.local counts */
	/* By the owner: */
	bool header_included; /* IP_HDRINCL */
	int checksum_at;      /* IPV6_CHECKSUM; -1: none */
	uint32_t filter[8];   /* ICMP types that are not wanted, by bits: ICMP_FILTER, ICMP6_FILTER */
};

/* Into the stack's list: it receives from now on. */
void raw_open(struct stack *s, struct raw_sock *r, bool v6, uint8_t protocol) REQUIRES(L_NET);
void raw_close(struct stack *s, struct raw_sock *r) REQUIRES(L_NET);
/* -EADDRNOTAVAIL, -ENODEV */
int __must_check raw_bind(struct stack *s, struct raw_sock *r, const struct in6_addr *addr, unsigned dev)
    REQUIRES(L_NET);
int __must_check raw_connect(struct stack *s, struct raw_sock *r, const struct in6_addr *addr, unsigned dev)
    REQUIRES(L_NET);
void raw_disconnect(struct raw_sock *r) REQUIRES(L_NET);
/* Takes p: the payload behind the IP header, or with it (header_included). -EINVAL (a bad header) and as udp_send(). */
int __must_check raw_send(struct stack *s, struct raw_sock *r, struct pkt *p, const struct dgram_to *to)
    REQUIRES(L_NET);

/* ---- ping: datagram sockets of ICMP echoes, icmp(7) ---- */

struct ping_sock {
	struct dgram d;
	struct port_bind bind; /* port: the identifier */
};

void ping_init(struct ping_sock *g, bool v6);
void ping_close(struct stack *s, struct ping_sock *g) REQUIRES(L_NET);
/* As udp_bind(). */
int __must_check ping_bind(struct stack *s, struct ping_sock *g, const struct in6_addr *addr, uint16_t ident,
			   unsigned dev) REQUIRES(L_NET);
int __must_check ping_connect(struct stack *s, struct ping_sock *g, const struct in6_addr *addr, unsigned dev)
    REQUIRES(L_NET);
void ping_disconnect(struct stack *s, struct ping_sock *g) REQUIRES(L_NET);
/* Takes p, an ICMP echo request: its identifier and checksum are filled in. -EINVAL (another message) and as udp_send(). */
int __must_check ping_send(struct stack *s, struct ping_sock *g, struct pkt *p, const struct dgram_to *to)
    REQUIRES(L_NET);
