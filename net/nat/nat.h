/*
 * A network for a guest by ordinary sockets of the host: no capability, no helper process, no interface.
 *
 * The guest's stack has an Ethernet interface, eth0, whose other end is a second stack in the same process, the gateway. That takes connections,
 * datagrams and echo requests for every address in the world; what they carry goes on by a host socket for each flow.
 */
#pragma once

#include <netinet/in.h>

#include "net/nat/policy.h"
#include "net/stack/stack.h"

/* 10.0.2.100/24 and fd9c:4f3a:21d7::100/64; the gateway is .2, the name server's address .3. */
extern const struct in6_addr nat_guest4, nat_gateway4, nat_dns4, nat_guest6, nat_gateway6, nat_dns6;

struct nat;

/* A port of the host that leads to one of the guest's. */
struct nat_port {
	int fd; /* bound, listening if it is TCP, O_NONBLOCK; stays open */
	bool udp;
	uint16_t guest_port;
};

struct nat_config {
	struct stack *guest;   /* gets eth0, up, with addresses and routes */
	struct stack *gateway; /* with lo only; belongs to nat from now on */
	struct policy *policy; /* NULL: everything is allowed */
	const struct nat_port *ports;
	size_t port_count;
	unsigned flows_max;  /* of each kind; a descriptor each */
	bool v6;             /* the host has a way to the IPv6 internet: the guest gets a default route */
	bool allow_loopback; /* tests: 127.0.0.0/8 of the host is not forbidden */
};

enum nat_counter {
	NAT_CONNECTIONS, /* by the guest, begun */
	NAT_PUBLISHED,   /* to the guest */
	NAT_DATAGRAM_FLOWS,
	NAT_DROPPED_FLOWS, /* too many, or no descriptor, or no memory */
	NAT_EVICTED_FLOWS, /* the oldest, for a new one */
	NAT_DROPPED_DATAGRAMS,
	NAT_FORBIDDEN,
	NAT_REFUSED, /* by the policy */
	NAT_COUNTERS,
};

/* 0 or -errno; the gateway's stack is destroyed then, too. */
int __must_check nat_start(const struct nat_config *c, struct nat **ret);
/* The gateway's stack: what listens there at nat_dns4 or nat_gateway4 can be reached by the guest. */
struct stack *nat_gateway(struct nat *n);
/* All flows end, published ports are watched no longer. For tests. */
void nat_stop(struct nat *n);
uint64_t nat_count(struct nat *n, enum nat_counter c);
/* Flows that are there now. */
unsigned nat_flows(struct nat *n);
/* Whether the host has a route to the IPv6 internet. Nothing is sent. */
bool nat_host_has_v6(void);
