/* Policy routing: which table a look-up goes to. ip-rule(8). */
#pragma once

#include <linux/fib_rules.h>
#include <net/if.h>

#include "net/stack/route.h"

struct rule_config {
	bool v6;
	uint8_t action; /* FR_ACT_* */
	uint8_t tos, ip_proto, protocol;
	uint8_t src_plen, dst_plen; /* out of 128 */
	bool has_priority;          /* for a new one: 0 is one that was asked for; to delete: it has to match */
	struct in6_addr src, dst;   /* IPv4 mapped; what is behind the prefix does not count, but is kept */
	char iif[IFNAMSIZ], oif[IFNAMSIZ];
	uint32_t flags; /* FIB_RULE_INVERT, FIB_RULE_PERMANENT */
	uint32_t priority, table, target;
	uint32_t mark, mark_mask;
	int32_t suppress_plen, suppress_group;   /* -1: no */
	struct fib_rule_uid_range uid;           /* end ~0: of all */
	struct fib_rule_port_range sport, dport; /* start 0: any */
};

struct fib_rule {
	struct list link; /* in the order of priorities; those of one in the order in which they came */
	struct rule_config c;
	bool initial; /* in struct stack: every namespace begins with it */
};

#define INITIAL_RULES 5

/* Of all of a stack: lists by family, IPv4's first. */
struct rules {
	struct list list[2];
	struct fib_rule initial[INITIAL_RULES];
	unsigned count[2];
	bool custom[2]; /* others than the initial ones */
	bool ports[2];  /* one looks at a protocol or at ports */
};

void rule_init(struct stack *s);
void rule_fini(struct stack *s) REQUIRES(L_NET);
/* excl: not if there is the same. -EEXIST, -EINVAL, -ENOBUFS (too many), -ENOMEM. */
int __must_check rule_add(struct stack *s, const struct rule_config *c, bool excl) REQUIRES(L_NET);
/* The first that fits what is given. -ENOENT, -EPERM. */
int __must_check rule_del(struct stack *s, const struct rule_config *c) REQUIRES(L_NET);
/* Whether the interfaces that it names are there, and the rule that it goes to: FIB_RULE_*. */
uint32_t rule_flags(struct stack *s, const struct fib_rule *r) REQUIRES(L_NET);
/* By the rules of the destination's family. As route_lookup(). */
const struct route *rule_lookup(struct stack *s, const struct route_flow *f) REQUIRES(L_NET);
