/*
 * A stack that stands for all the world: the gateway of a guest's network (net/nat). Every address that no interface leads to is its own, so that it
 * takes packets for it and sends from it; what they ask for is somebody else's, who is told by these calls and answers now or later.
 *
 * It is hop 1: a packet for an address beyond that has no hop left is answered by Time Exceeded, from the address that an interface here has.
 */
#pragma once

#include "net/stack/ip.h"
#include "net/stack/pkt.h"
#include "net/stack/tcp.h"

/* A connection that is asked for: one, however often its SYN comes. */
struct tcp_request;

/* All with L_NET held. */
struct gateway_ops {
	/*
	 * TCP: nobody listens there. 0: *ret_owner, which is not NULL, ends it with gateway_accept() or gateway_refuse(), later; else it is refused with that, as
	 * by gateway_refuse().
	 */
	int (*syn)(void *arg, struct tcp_request *r, const struct tcp_key *key, uint8_t ttl, void **ret_owner);
	/* The handshake of an accepted one is complete: tp is the owner's, who sets its wakeup; the request is gone. Data may follow at once. */
	void (*established)(void *owner, struct tcp_sock *tp);
	/* The peer has given up, or does not answer: the request is gone. */
	void (*gone)(void *owner);
	/* A datagram, and an ICMP echo request whose destination is not an interface's: p's head is the payload, or the ICMP header. True: taken. */
	bool (*datagram)(void *arg, struct pkt *p, const struct ip_in *in, uint16_t sport, uint16_t dport);
	bool (*echo)(void *arg, struct pkt *p, const struct ip_in *in);
};

/* Once, before there are packets. -ENOMEM */
int __must_check gateway_begin(struct stack *s, const struct gateway_ops *ops, void *arg) REQUIRES(L_NET);
/* Requests are gone. */
void gateway_end(struct stack *s) REQUIRES(L_NET);
/* Answers the SYN. */
void gateway_accept(struct tcp_request *r) REQUIRES(L_NET);
/*
 * -ECONNREFUSED: by a reset; -EHOSTUNREACH, -ENETUNREACH, -EACCES: by ICMP; others: not at all. r is gone; gone() is not called.
 */
void gateway_refuse(struct tcp_request *r, int err) REQUIRES(L_NET);
/* ICMP about p, which came from the guest and stays the caller's; err as above. */
void gateway_complain(struct stack *s, struct pkt *p, int err) REQUIRES(L_NET);
/* A new endpoint, of the caller, to connect to the guest with; from any address. NULL: no memory. */
struct tcp_sock *gateway_endpoint(struct stack *s) REQUIRES(L_NET);
/* The size of the buffers of connections from now on, both ways: bytes as kept. */
void gateway_buffers(struct stack *s, uint32_t size) REQUIRES(L_NET);
