/*
 * The network configuration of a namespace of the host, by rtnetlink(7): what `--net device` moves inside and what `--net host` shows. In the launcher, with
 * the caller's rights. The namespace is the one that the netlink socket was made in.
 */
#pragma once

#include <net/if.h>
#include <netinet/in.h>

#include "runsc-shim/error.h"

struct nlmsghdr;

struct hostnet_link {
	unsigned index, flags; /* IFF_* */
	uint16_t type;         /* ARPHRD_* */
	uint32_t mtu;
	char name[IFNAMSIZ];
	uint8_t mac[6];
};

struct hostnet_addr {
	unsigned index;
	struct in6_addr addr, peer, broadcast; /* IPv4 mapped; any: none */
	uint8_t plen, scope;                   /* plen out of 128 */
	uint32_t flags;                        /* IFA_F_* */
	uint32_t valid, preferred;             /* seconds; UINT32_MAX: for ever */
	char label[IFNAMSIZ];                  /* IPv4 */
};

struct hostnet_route {
	unsigned index; /* 0: of a type that goes nowhere */
	bool v6;
	uint8_t type, protocol, scope, plen;   /* plen out of 128 */
	uint32_t flags, table, metric, mtu;    /* flags: RTNH_F_* */
	struct in6_addr dst, gateway, prefsrc; /* any: none */
	struct nlmsghdr *raw;                  /* the host's own words; NULL: it is not the host's */
};

struct hostnet_neigh {
	unsigned index;
	struct in6_addr addr;
	uint16_t state; /* NUD_* */
	uint8_t flags;  /* NTF_* */
	uint8_t mac[6];
};

#define HOSTNET_MAX 4096 /* of each kind */

struct hostnet {
	struct hostnet_link *links; /* in the order of their indices */
	struct hostnet_addr *addrs;
	struct hostnet_route *routes; /* without those that follow from addresses */
	struct hostnet_neigh *neighs;
	size_t link_count, addr_count, route_count, neigh_count;
};

/* A netlink socket in a network namespace (a descriptor of it; -1: the caller's own). -errno. */
int hostnet_socket(int ns_fd);
/* All interfaces (index 0) or one, with what belongs to them. -errno; -ENODEV: there is none. hostnet_free() in every case. */
int hostnet_read(int nl, unsigned index, struct hostnet *ret);
void hostnet_free(struct hostnet *h);
/* For who makes one up: a zeroed element more at the end, or NULL. */
struct hostnet_link *hostnet_add_link(struct hostnet *h);
struct hostnet_addr *hostnet_add_addr(struct hostnet *h);
struct hostnet_route *hostnet_add_route(struct hostnet *h);

/* Takes the addresses in h off the host's interfaces, and with them the routes. The first error, after all have been tried. */
int hostnet_take_addrs(int nl, const struct hostnet *h);
/* Puts addresses, routes and permanent neighbours back. The first error that does not mean that they are there. */
int hostnet_restore(int nl, const struct hostnet *h);
