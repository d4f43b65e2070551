/*
 * Filters of sockets: SO_ATTACH_FILTER and its kin, socket(7). A socket has one program at most; it says how many bytes of a packet are kept, 0: none of it.
 *
 * The program belongs to the socket and is read by whoever hands it a packet, under whatever lock that is: a leaf lock of its own guards the pointer. Families ask
 * socket.filter, without the lock, whether there is anything to run.
 */
#pragma once

#include "net/socket.h"
#include "net/stack/netdev.h"
#include "sentry/base/bpf.h"

/*
 * A packet as a program sees it: the bytes in front of the packet's head, which may be pulled headers or made for this, and the packet. Everything is borrowed.
 */
struct pkt_view {
	const struct pkt *p;
	const uint8_t *front;
	uint32_t front_len;
	uint32_t start;           /* where the program's offset 0 is, from the front's beginning on */
	uint32_t net;             /* the network header, likewise */
	const struct netdev *dev; /* NULL: unknown */
	bool no_link;             /* the front does not begin with the link header: SKF_LL_OFF is nowhere */
	uint16_t protocol;        /* ETH_P_* */
	uint8_t type;             /* PACKET_* */
	uint32_t mark, random;
};

/* The bytes from v->start on. */
uint32_t pkt_view_len(const struct pkt_view *v);
/* A view of p from the offset `start` of its room on: in front of its head, where nothing has been pushed since. */
struct pkt_view pkt_view_at(const struct pkt *p, uint16_t start, const struct netdev *dev);

/* How much of it the socket wants: 0: nothing; more than there is: all, as without a filter. */
uint32_t filter_packet(struct socket *s, const struct pkt_view *v);
uint32_t filter_bytes(struct socket *s, const void *bytes, uint32_t size);

/* Options of SOL_SOCKET. -ENOPROTOOPT: none of these. */
int filter_setsockopt(struct ctx *c, struct socket *s, int name, uaddr_t value, size_t size);
/* SO_GET_FILTER: count instructions have room at value; how many there are. 0: no filter. -EINVAL: too little room. */
int filter_get(struct ctx *c, struct socket *s, uaddr_t value, int count);
/* What accept() gives out has the listener's. */
void filter_inherit(struct socket *to, struct socket *from);
void filter_fini(struct socket *s);
