/*
 * One question to the host's resolvers: sent to one after the other, by UDP or TCP, until one answers. Each try has a socket, thus a port, and an
 * identifier of its own, both at random; what is not from that resolver, with that identifier and that question is no answer (RFC 5452).
 *
 * All under the gateway's L_NET, but what is constant.
 */
#pragma once

#include "net/nat/dnsmsg.h"
#include "net/nat/watch.h"
#include "net/stack/stack.h"

#define DNS_SERVERS_MAX 3u

struct dns_server {
	struct in6_addr addr; /* IPv4 mapped */
	unsigned scope;       /* of a link-local address: the host's interface */
	uint16_t port;        /* host order */
};

struct dns_config {
	struct dns_server servers[DNS_SERVERS_MAX];
	unsigned server_count;
	unsigned timeout, attempts; /* as resolv.conf(5) */
	bool rotate;
};

struct dns_exchange {
	struct watched w;
	struct ref ref;
	/* Set before dns_exchange_start(): */
	struct stack *stack;
	const struct dns_config *config;
	struct dns_query q;
	bool tcp;
	uint8_t *scratch; /* DNS_MESSAGE_MAX bytes, whoever holds L_NET may use it */
	/*
	 * The end, once, unless it is cancelled: with an answer, which must be used or copied at once, or NULL: no resolver has one, for the
	 * reasons in err. It may put the last reference.
	 */
	void (*done)(struct dns_exchange *x, const uint8_t *answer, size_t n);
	void (*free)(struct dns_exchange *x); /* no reference is left; any lock may be held */
	/* dns_exchange.c's: */
	struct net_timer timer;
	uint16_t id;
	unsigned first, tries;
	unsigned wrong;           /* datagrams of this try that were no answer */
	int err[DNS_SERVERS_MAX]; /* -errno, of each server's last try; 0: it was not asked or did not say no */
	uint8_t *out, *in;        /* with two bytes in front, TCP's length */
	size_t out_size, sent, in_size, have;
	uint8_t in_head[2];
};

/* x is zeroed but for what is to be set. Takes a copy of msg, whose identifier does not matter. -ENOMEM. done() may have been called when it returns. */
int __must_check dns_exchange_start(struct dns_exchange *x, unsigned first, const uint8_t *msg, size_t n)
    REQUIRES(L_NET);
void dns_exchange_cancel(struct dns_exchange *x) REQUIRES(L_NET);
void dns_exchange_put(struct dns_exchange *x);
