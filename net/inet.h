/*
 * AF_INET and AF_INET6: ip(7), ipv6(7), tcp(7), udp(7), raw(7), icmp(7). What the files net/inet*.c share.
 *
 * A socket here is the guest's side of an endpoint of the TCP/IP stack (net/stack), which it owns. The endpoint is guarded by the stack's lock (L_NET),
 * between stack_enter() and stack_leave(); the stack's wake-ups arrive as socket_wake(). Guest memory is copied outside of that lock. What a socket keeps
 * beside its endpoint is constant, atomic, or says what guards it.
 */
#pragma once

#include <netinet/in.h>

#include "net/netstack.h"
#include "net/socket.h"
#include "net/stack/dgram.h"
#include "net/stack/tcp.h"

/* Options whose value is one number; their table is in inet_opt.c. */
enum inet_value {
	INET_TOS,
	INET_TTL,
	INET_MC_TTL,
	INET_MC_LOOP,
	INET_MC_ALL,
	INET_PMTU,
	INET_RECVERR,
	INET_PKTINFO,
	INET_RECVTTL,
	INET_RECVTOS,
	INET_RECVOPTS,
	INET_RETOPTS,
	INET_ORIGDST,
	INET_FREEBIND,
	INET_TRANSPARENT,
	INET_NO_PORT,
	INET_HDRINCL,
	INET_CHECKSUM,
	INET_NODEFRAG,
	INET_PORT_RANGE,
	INET6_V6ONLY,
	INET6_TCLASS,
	INET6_HOPS,
	INET6_MC_HOPS,
	INET6_MC_LOOP,
	INET6_MC_ALL,
	INET6_PMTU,
	INET6_RECVERR,
	INET6_PKTINFO,
	INET6_RECVHOPS,
	INET6_RECVTCLASS,
	INET6_ORIGDST,
	INET6_DONTFRAG,
	INET6_AUTOFLOW,
	INET6_FREEBIND,
	INET6_TRANSPARENT,
	INET6_CHECKSUM,
	INET6_RECVPATHMTU,
	INET6_RECVRTHDR,
	INET6_RECVHOPOPTS,
	INET6_RECVDSTOPTS,
	INET6_FLOWINFO,
	UDP_V_CORK,
	UDP_V_SEGMENT,
	UDP_V_GRO,
	UDP_V_NO_CHECK_TX,
	UDP_V_NO_CHECK_RX,
	UDPLITE_V_SEND_CSCOV,
	UDPLITE_V_RECV_CSCOV,
	TCP_V_FASTOPEN,
	TCP_V_FASTOPEN_CONNECT,
	TCP_V_INQ,
	INET_VALUES,
};

/* An address and port; dev: the scope of a link-local address. */
struct inet_name {
	struct in6_addr addr; /* IPv4 mapped */
	uint16_t port;        /* host order */
	unsigned dev;
};

/* Who made a socket, for messages to people: constant. */
struct inet_maker {
	int32_t pid; /* in the root pid namespace */
	char comm[16];
};

struct inet_sock {
	struct socket s; /* first member */
	struct stack *stack;
	uint32_t uid; /* whose socket it is: constant */
	struct inet_maker maker;
	_Atomic int32_t value[INET_VALUES]; /* written with L_NET */
	struct in6_addr mc_addr;            /* L_NET: IP_MULTICAST_IF; IPv4 */
	unsigned mc_dev, mc_dev6;           /* L_NET */
	unsigned bound_dev;                 /* L_NET: SO_BINDTODEVICE */
	void (*sync)(struct inet_sock *i);  /* L_NET: options have changed, the endpoint is told */
};

struct inet_tcp {
	struct inet_sock i;       /* first member */
	struct tcp_sock *tp;      /* L_NET: NULL once it is closed; those who hold the file need not look */
	struct wakeup wakeup;     /* L_NET */
	struct mutex reading;     /* L_SOCKREAD: one at a time takes bytes */
	struct buf *_Atomic tail; /* a reference: the buffer that small writes fill */
};

struct inet_dgram {
	struct inet_sock i; /* first member */
	const struct dgram_kind *kind;
	bool open;                /* L_NET */
	uint8_t _Atomic shutdown; /* TCP_SHUT_* */
	struct buf *cork;         /* L_SOCK: what MSG_MORE holds back, and: */
	struct dgram_to cork_to;
	uint16_t cork_segment; /* UDP_SEGMENT of the first piece */
	union {                /* L_NET */
		struct dgram d;
		struct udp_sock udp;
		struct raw_sock raw;
		struct ping_sock ping;
	};
};

/* Where the kinds of datagram sockets differ. All with L_NET. */
struct dgram_kind {
	int type, protocol; /* protocol 0: any */
	bool udp;           /* or UDP-Lite */
	uint32_t size_max;
	void (*open)(struct inet_dgram *g);
	void (*close)(struct inet_dgram *g);
	int (*bind)(struct inet_dgram *g, const struct inet_name *n);
	int (*connect)(struct inet_dgram *g, const struct inet_name *n);
	void (*disconnect)(struct inet_dgram *g);
	int (*send)(struct inet_dgram *g, struct pkt *p, const struct dgram_to *to);
	struct port_bind *(*port)(struct inet_dgram *g); /* absent: it has no port */
};

static inline struct inet_sock *inet_of(struct socket *s)
{
	return container_of(s, struct inet_sock, s);
}

static inline struct inet_tcp *inet_tcp_of(struct socket *s)
{
	return container_of(inet_of(s), struct inet_tcp, i);
}

static inline struct inet_dgram *inet_dgram_of(struct socket *s)
{
	return container_of(inet_of(s), struct inet_dgram, i);
}

/* ---- inet.c ---- */

extern const struct net_family inet_family, inet6_family;

void inet_init(struct inet_sock *i, struct stack *stack, const struct proto_ops *ops, int family, int type,
	       int protocol);
/* The caller is its maker, and it is his user's. */
void inet_set_maker(struct inet_sock *i, const struct ctx *c);
/* False: there are too many sockets. Each true one is given back by inet_uncount(). */
bool __must_check inet_count(void);
void inet_uncount(void);

enum inet_parse_flag {
	INET_PARSE_BIND = 1 << 0, /* AF_UNSPEC is AF_INET, if the address is 0 */
	INET_PARSE_V4 = 1 << 1,   /* a socket of IPv6 takes IPv4's addresses too */
	INET_PARSE_TO = 1 << 2,   /* a destination: :: is this host */
};
/* -EINVAL, -EAFNOSUPPORT; -ENETUNREACH (IPv4, by a socket of IPv6 only). */
int __must_check inet_parse(const struct inet_sock *i, const struct sockaddr *sa, size_t len, unsigned flags,
			    struct inet_name *ret);
/* As a socket of that family sees it; the length. */
int inet_format(int family, const struct inet_name *n, struct sockaddr_storage *ret);
/* Whether a socket may be bound to n: -EACCES, -EADDRNOTAVAIL, -EINVAL. */
int __must_check inet_check_bind(struct ctx *c, struct inet_sock *i, const struct inet_name *n) REQUIRES(L_NET);

/* A sleep of a call that may have to look more than once: begun by the first inet_wait(), ended with the variable. */
struct inet_wait {
	struct ctx *c;
	struct socket *s;
	int64_t deadline; /* as socket_deadline() */
	bool on;
	struct wait_entry entry;
};
void inet_wait_end(struct inet_wait *w);
#define INET_WAIT __cleanup(inet_wait_end) struct inet_wait
/*
 * After a look that found nothing: 0: look again; -EAGAIN, -ERESTARTSYS, -EINTR as socket_wait(). The first time it does not sleep, but what
 * comes from then on ends the next one's sleep. No lock held.
 */
int __must_check inet_wait(struct inet_wait *w, uint32_t events);

/* ---- inet_tcp.c, inet_dgram.c, inet_udp.c, inet_raw.c ---- */

int __must_check inet_tcp_create(struct ctx *c, struct stack *stack, int family, struct socket **ret);
/* Datagrams that a cork held go on their way. */
void inet_dgram_uncork(struct inet_sock *i);
int __must_check inet_dgram_create(struct ctx *c, struct stack *stack, const struct dgram_kind *kind, int family,
				   int protocol, struct socket **ret);
extern const struct dgram_kind udp_kind, udplite_kind, raw_kind, ping_kind;
extern const struct proto_ops inet_tcp_ops, inet_dgram_ops;

/* ---- inet_opt.c, inet_group.c ---- */

void inet_values_init(struct inet_sock *i);
int inet_setsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, size_t size);
int inet_getsockopt(struct ctx *c, struct socket *s, int level, int name, void *value, size_t *size);
/* Multicast: memberships and interfaces. -ENOPROTOOPT: none of these. */
int inet_group_setsockopt(struct ctx *c, struct inet_sock *i, int level, int name, uaddr_t value, size_t size);
int inet_group_getsockopt(struct inet_sock *i, int level, int name, void *value, size_t *size);

/* ---- inet_cmsg.c, inet_err.c ---- */

/* What m's control messages say of how it is sent; to is filled in already. -EINVAL, -EPERM. *ret_segment: UDP_SEGMENT, unless untouched. */
int __must_check inet_cmsg_send(struct ctx *c, struct inet_sock *i, const struct net_msg *m, struct dgram_to *to,
				uint16_t *ret_segment);
/* What the socket wants to know of a received packet. */
void inet_cmsg_recv(struct ctx *c, struct inet_dgram *g, struct net_msg *m, const struct pkt *p, uint32_t drops);
/* MSG_ERRQUEUE */
ssize_t inet_err_recv(struct ctx *c, struct inet_dgram *g, struct net_msg *m);
/* As much of a packet as there is room for. Bytes, or -EFAULT. */
ssize_t inet_put_pkt(struct iobuf *b, const struct pkt *p);
