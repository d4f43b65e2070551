/* The inside of nat, for the files of net/nat. L_NET is the gateway's. */
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include "net/nat/nat.h"
#include "net/nat/watch.h"
#include "net/stack/gateway.h"

#define NAT_CHAINS 1024
#define NAT_LOGGED 64

/* What a flow of datagrams is: a question and its answer, or a conversation; of the guest, or of a client of a published port. */
enum { DGRAM_EXCHANGE, DGRAM_CONVERSATION, DGRAM_CLIENT, DGRAM_CLIENT_CONVERSATION, DGRAM_AGES };

struct nat {
	struct ref ref; /* the creator's, and one of each flow */
	struct stack *s;
	struct policy *policy;
	unsigned flows_max;
	bool allow_loopback;
	bool stopped;                       /* L_NET */
	uint64_t counters[NAT_COUNTERS];    /* L_NET */
	struct list streams;                /* L_NET: struct stream */
	unsigned stream_count;              /* L_NET */
	unsigned stream_clients;            /* L_NET: those of published ports */
	struct list chains[NAT_CHAINS];     /* L_NET: struct dgram_flow by id */
	struct list ages[DGRAM_AGES];       /* L_NET: the same, longest unused first, by what they are */
	unsigned dgram_count;               /* L_NET */
	unsigned dgram_clients;             /* L_NET: those of published ports */
	struct net_timer age_timer;         /* L_NET */
	struct in6_addr logged[NAT_LOGGED]; /* L_NET: forbidden destinations that the log has */
	unsigned logged_count;              /* L_NET */
	struct list ports;                  /* struct published; constant */
	struct buf *_Atomic spare;          /* a reference: where large datagrams are received */
};

/* What is to be done about a flow; it is done by one thread at a time. */
enum flow_work {
	WORK_GUEST = 1 << 0,    /* something has changed on the guest's side */
	WORK_HOST_IN = 1 << 1,  /* bytes or an end may be read from the host */
	WORK_HOST_OUT = 1 << 2, /* the host takes bytes again */
	WORK_HOST_END = 1 << 3, /* the host's socket has met its end, or an error */
	WORK_STOP = 1 << 4,
	WORK_RUNNING = 1 << 7,
};

/* Between a guest and a host socket. */
struct flow {
	struct ref ref; /* of the lists of nat, until it is over, and of who uses it */
	struct nat *nat;
	struct nat_flow id;     /* constant */
	struct watched watched; /* fd: -1: none. Of who runs */
	struct wakeup wakeup;   /* L_NET */
	uint32_t _Atomic work;
	/* No lock held, by one thread at a time. */
	void (*run)(struct flow *f, uint32_t work);
	void (*destroy)(struct flow *f);
};

struct published;

/* A flow of datagrams, or of echoes: id.sport is their identifier then. */
struct dgram_flow {
	struct flow f;          /* first */
	struct list chain, age; /* L_NET: of nat */
	int64_t last_at;        /* L_NET: when something went through */
	unsigned sent;          /* L_NET: by the guest */
	bool answered;          /* L_NET */
	bool dying;             /* L_NET: out of the lists */
	struct list queue;      /* L_NET: struct pkt of the guest, for the host */
	unsigned queued;        /* L_NET */
	/* Of a published port, whose socket it uses: constant. */
	struct published *port;
	struct sockaddr_storage client;
	struct in6_addr asked; /* the address of ours that the client knows; any: not known */
	/* Of who runs: */
	struct list out; /* taken from queue */
	bool opened, over;
	uint8_t ttl; /* of the socket */
};

/* One ICMP error. */
struct icmp_error {
	uint8_t type, code;
	uint32_t info; /* the rest of its header */
};

/* ---- flow.c ---- */
void flow_init(struct flow *f, struct nat *n, const struct nat_flow *id, void (*run)(struct flow *f, uint32_t work),
	       void (*destroy)(struct flow *f));
struct flow *flow_get(struct flow *f);
void flow_put(struct flow *f);
/* Runs it for that, or leaves it to who is running it. No lock held. */
void flow_kick(struct flow *f, uint32_t work);
/* A non-blocking socket of the host for f, connected to its destination or on its way there, and not watched yet. 0, -EINPROGRESS, -errno. By
 * who runs. */
int __must_check flow_connect(struct flow *f, int type, int protocol, void (*prepare)(struct flow *f, int fd));
/* By who runs: the socket is closed, by a reset if it is TCP and that is asked for. */
void flow_close(struct flow *f, bool reset);
/* Closes a connection of the host's that no flow has, by a reset. */
void host_reset(int fd);
/* An option whose value is an int. Errors do not matter. */
void host_option(int fd, int level, int name, int value);
/* The address as the host has it; its size. */
socklen_t host_address(const struct in6_addr *addr, uint16_t port, struct sockaddr_storage *ret);
bool host_address_parse(const struct sockaddr_storage *sa, struct in6_addr *ret_addr, uint16_t *ret_port);
/* For a guest, by what a call of the host has said: as gateway_refuse() takes it. */
int host_error(int err);

/* ---- nat.c ---- */
/* A flow could not be had: counted, and said the first time. */
void nat_dropped(struct nat *n) REQUIRES(L_NET);
/* How many flows of each kind clients of published ports may have: a share is the guest's own, however many they are. */
unsigned nat_clients_max(const struct nat *n);
void nat_put(struct nat *n);
/* Whether the guest may reach id.dst: 0, or as gateway_refuse(). *ret_look: the policy wants to see the first bytes. */
int __must_check nat_permit(struct nat *n, const struct nat_flow *id, bool *ret_look) REQUIRES(L_NET);

/* d, if it may be the source of packets to the guest; else the gateway's own address, of IPv4. */
struct in6_addr nat_source(struct nat *n, const struct in6_addr *d) REQUIRES(L_NET);

/* ---- inject.c: packets to the guest. They take p, the payload. ---- */
void inject_udp(struct nat *n, const struct nat_flow *id, struct pkt *p) REQUIRES(L_NET);
/* p begins with an ICMP header; its identifier becomes id->sport. */
void inject_echo_reply(struct nat *n, const struct nat_flow *id, struct pkt *p, uint8_t ttl) REQUIRES(L_NET);
/* An ICMP error from somebody about a packet of that flow; quoted: what it carried, of ICMP with its header. */
void inject_error(struct nat *n, const struct nat_flow *id, const struct in6_addr *from, const struct icmp_error *e,
		  const void *quoted, size_t size) REQUIRES(L_NET);

/* ---- stream.c ---- */
int stream_syn(void *arg, struct tcp_request *r, const struct tcp_key *key, uint8_t ttl, void **ret_owner)
    REQUIRES(L_NET);
void stream_established(void *owner, struct tcp_sock *tp) REQUIRES(L_NET);
void stream_gone(void *owner) REQUIRES(L_NET);
/* A connection that was made to a published port; takes fd. */
void stream_publish(struct nat *n, int fd, const struct in6_addr *client, uint16_t client_port, uint16_t guest_port);
/* All of them. No lock held. */
void streams_stop(struct nat *n);

/* ---- datagram.c ---- */
bool datagram_input(void *arg, struct pkt *p, const struct ip_in *in, uint16_t sport, uint16_t dport) REQUIRES(L_NET);
bool echo_input(void *arg, struct pkt *p, const struct ip_in *in) REQUIRES(L_NET);
void datagram_age(struct stack *s, struct net_timer *t) REQUIRES(L_NET);
struct dgram_flow *datagram_find(struct nat *n, const struct nat_flow *id) REQUIRES(L_NET);
/* port: of a client, NULL otherwise; it takes a reference. NULL: no memory. */
struct dgram_flow *datagram_create(struct nat *n, const struct nat_flow *id, struct published *port) REQUIRES(L_NET);
/* Something came from the host. */
void datagram_answered(struct dgram_flow *d) REQUIRES(L_NET);
void datagrams_stop(struct nat *n);

/* ---- datagram_host.c ---- */
/* What the host has for d: datagrams, and ICMP errors. By who runs it. */
void datagram_receive(struct dgram_flow *d);
void datagram_errors(struct dgram_flow *d);
/* The buffer for datagrams whose size is not known: of 64 KiB, to be given back. NULL: no memory. */
struct buf *datagram_buffer(struct nat *n);
void datagram_buffer_return(struct nat *n, struct buf *b);
/* A packet of the first size bytes of *b, which may be replaced. NULL: no memory. */
struct pkt *datagram_packet(struct nat *n, struct buf **b, size_t size);

/* ---- publish.c ---- */
int __must_check publish_start(struct nat *n, const struct nat_port *ports, size_t count);
void publish_stop(struct nat *n);
struct published *published_get(struct published *p);
void published_put(struct published *p);
/* Sends p to a client. 0, -errno. */
int publish_send(const struct dgram_flow *d, const struct pkt *p);
/* The bytes of p; how many. */
unsigned pkt_iov(const struct pkt *p, struct iovec *iov);
#define PKT_IOV (PKT_SLICES + 1)
