/*
 * AF_PACKET: packet(7). What the files net/packet*.c share.
 *
 * A packet socket is a tap (struct netdev_tap) of one interface or of all. What it sees is looked at once as a struct packet_frame, filtered, and either copied into
 * the socket's queue, from where recvmsg(2) takes it, or into its ring, which the guest has mapped. All of that happens with the stack's lock held (L_NET), which
 * guards everything here that does not say otherwise; guest memory is copied without it.
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>

#include "net/filter.h"
#include "net/socket.h"
#include "net/stack/netdev.h"

#define PACKET_DEV_GONE UINT32_MAX /* packet_sock.dev: that of an interface that has gone */

struct packet_ring;
struct packet_memory;
struct packet_fanout;

/* PACKET_ADD_MEMBERSHIP */
struct packet_member {
	struct list link;
	unsigned dev, count;
	uint16_t type, size;
	uint8_t addr[8];
};

struct packet_sock {
	struct socket s;     /* first member */
	struct stack *stack; /* constant; a reference */
	struct wakeup wakeup;
	struct netdev_tap tap;
	bool open;
	bool running; /* it has a protocol, and its interface is up */
	bool sending; /* what goes out now is its own */
	unsigned dev; /* 0: all */
	uint16_t protocol;
	struct list queue;                /* struct packet_msg */
	uint32_t bytes;                   /* what the queue weighs */
	uint32_t packets, drops, freezes; /* PACKET_STATISTICS, since they were read */
	uint32_t lost;                    /* SO_RXQ_OVFL: all drops */
	struct list members;
	unsigned member_count;
	/* Options. */
	bool auxdata, origdev, ignore_outgoing, vnet, loss, tx_has_off, bypass;
	int version, timestamp, copy_thresh;
	unsigned reserve;
	struct packet_ring *ring, *tx_ring; /* NULL: none */
	struct packet_memory *memory;       /* of both */
	int retired[4]; /* descriptors of rings that have been mapped and are no more: net/packet_mem.c */
	unsigned retired_count;
	size_t retired_size;
	struct packet_fanout *fanout;
	struct list fanout_link;
	int64_t last_stamp; /* SIOCGSTAMP: CLOCK_REALTIME ns; 0: nothing has been received */
};

/* A frame that a tap sees. */
struct packet_frame {
	const struct pkt *p;
	struct netdev *dev;
	bool out;
	bool made;        /* the link header is not in the packet: lo's, which is made here */
	uint8_t link_len; /* of the link header, 0 or ETH_HLEN; less if the frame is cut short */
	uint8_t link[ETH_HLEN];
	uint16_t protocol; /* ETH_P_* */
	uint8_t type;      /* PACKET_* */
	uint32_t len;      /* with a link header that was made */
	int64_t stamp;     /* CLOCK_REALTIME, ns */
};

/* A frame in a socket's queue. */
struct packet_msg {
	struct list link;
	struct pkt *p;
	uint8_t front[ETH_HLEN]; /* of a link header that was made */
	uint8_t front_len;
	uint32_t weight;
	uint32_t len;    /* of the frame, before the filter */
	uint32_t status; /* TP_STATUS_* */
	uint16_t net;    /* offset of the network header */
	int64_t stamp;
	struct sockaddr_ll from;
	struct virtio_net_hdr vnet;
};

static inline struct packet_sock *packet_of(struct socket *s)
{
	return container_of(s, struct packet_sock, s);
}

/* ---- packet.c ---- */

extern const struct net_family packet_family;
/* The tap begins or ends to see: after a change of protocol, interface or ring. */
void packet_hook(struct packet_sock *k, bool on) REQUIRES(L_NET);

/* ---- packet_recv.c ---- */

void packet_frame_init(struct packet_frame *f, struct netdev *dev, const struct pkt *p, bool out);
/* Where it came from, or goes to. */
void packet_frame_name(const struct packet_frame *f, struct sockaddr_ll *ret);
/* TP_STATUS_* */
uint32_t packet_frame_status(const struct packet_frame *f);
/* size bytes from off on, counted from the link header; they are there. */
void packet_frame_copy(const struct packet_frame *f, uint32_t off, void *to, uint32_t size);
void packet_frame_vnet(const struct packet_frame *f, struct virtio_net_hdr *ret);
void packet_see(struct stack *s, struct netdev_tap *t, struct netdev *dev, const struct pkt *p, bool out)
    REQUIRES(L_NET);
/* One that fanout has chosen, or that is in no group. */
void packet_receive(struct packet_sock *k, const struct packet_frame *f) REQUIRES(L_NET);
/* The same for the queue. */
bool packet_enqueue(struct packet_sock *k, const struct packet_frame *f, uint32_t start, uint32_t keep) REQUIRES(L_NET);
ssize_t packet_recvmsg(struct ctx *c, struct socket *s, struct net_msg *m);
void packet_drop_queue(struct packet_sock *k) REQUIRES(L_NET);
/* Of the first in the queue; 0. */
uint32_t packet_first_size(const struct packet_sock *k) REQUIRES(L_NET);

/* ---- packet_send.c, packet_tx.c ---- */

/* Where a frame goes. */
struct packet_target {
	unsigned dev;
	uint16_t protocol;
	bool has_addr;
	uint8_t addr[MAC_LEN];
};

ssize_t packet_sendmsg(struct ctx *c, struct socket *s, struct net_msg *m);
/* A packet of size bytes, with room for a link header. -ENOBUFS. */
int __must_check packet_fill(const void *data, size_t size, struct pkt **ret);
/* Takes p. */
int packet_transmit(struct packet_sock *k, struct pkt *p, const struct packet_target *t) REQUIRES(L_NET);
/* What waits in the ring: bytes, or what was wrong with a frame. */
ssize_t packet_send_ring(struct packet_sock *k, const struct packet_target *t);

/* ---- packet_opt.c ---- */

int packet_setsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, size_t size);
int packet_getsockopt(struct ctx *c, struct socket *s, int level, int name, void *value, size_t *size);
void packet_drop_members(struct packet_sock *k) REQUIRES(L_NET);

/* ---- packet_ring.c ---- */

/* Copies a frame into the ring. start: the offset of what the guest gets; keep: how much, at most all. False: it is lost. */
bool packet_ring_put(struct packet_sock *k, const struct packet_frame *f, uint32_t start, uint32_t keep)
    REQUIRES(L_NET);
/* Something waits for the guest in it. */
bool packet_ring_ready(const struct packet_ring *r) REQUIRES(L_NET);

/* ---- packet_mem.c ---- */

/* PACKET_RX_RING, PACKET_TX_RING; of the version that is set. */
int packet_set_ring(struct ctx *c, struct packet_sock *k, bool send, uaddr_t value, size_t size);
int packet_mmap(struct socket *s, uint64_t off, size_t size, struct file_backing *ret);
/* The socket is closed, and nobody has its rings mapped. */
void packet_rings_end(struct packet_sock *k);

/* ---- packet_fanout.c ---- */

int packet_fanout_join(struct packet_sock *k, uint32_t arg, uint32_t max) REQUIRES(L_NET);
/* k begins or ends to see frames. */
void packet_fanout_run(struct packet_sock *k, bool on) REQUIRES(L_NET);
void packet_fanout_leave(struct packet_sock *k) REQUIRES(L_NET);
/* Whether a frame that k sees is for k. */
bool packet_fanout_mine(struct packet_sock *k, const struct packet_frame *f) REQUIRES(L_NET);
/* PACKET_FANOUT, as getsockopt(2) has it. */
uint32_t packet_fanout_get(const struct packet_sock *k) REQUIRES(L_NET);
