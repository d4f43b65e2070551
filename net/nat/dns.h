/*
 * The gateway's resolver: at port 53 of its addresses it passes questions on to the host's resolvers and answers back. With a policy it asks only for
 * names that are allowed, and the policy learns what addresses they have.
 */
#pragma once

#include "net/nat/dns_exchange.h"

/* nat_dns4, for resolv.conf in the guest. */
#define NAT_RESOLVER "10.0.2.3"

struct dns;
struct policy;

/* config is copied; policy NULL: everything is allowed. It listens nowhere yet. NULL: no memory. */
struct dns *dns_create(struct stack *gateway, const struct dns_config *config, struct policy *policy);
/* By UDP and TCP at an address of the gateway's. At most twice. 0, or -errno. */
int __must_check dns_listen(struct dns *d, const struct in6_addr *addr) REQUIRES(L_NET);
