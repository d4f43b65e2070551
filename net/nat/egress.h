/*
 * The policy of --allow-net beyond what the gateway asks it (policy.h): how it is made, and what the resolver asks and tells it. docs/network.md
 * says what it allows.
 */
#pragma once

#include "net/nat/policy.h"
#include "net/nat/rule.h"
#include "sentry/base/lock.h"

struct stack;

struct policy_config {
	const struct rule *rules; /* borrowed for as long as the policy is there */
	size_t rule_count;
	/* Where flows come from, to find whose they are, and the gateway that they pass, whose lock policy_flow() is called with. Both or neither. */
	struct stack *guest, *gateway;
	int64_t (*now)(void); /* NULL: the monotonic clock */
};

/* NULL: no memory. */
struct policy *policy_create(const struct policy_config *c);
void policy_destroy(struct policy *p);

/* Whether a guest may ask for that name, in the form of name.h, since a rule allows flows to it. p is not NULL. */
bool policy_asks(const struct policy *p, const char *name);
/*
 * A server says that a name that policy_asks() allows has this address: it is noted. False: the guest is not to see it, because it is one that a
 * public name cannot have (private, loopback, link-local...) and no rule allows it as an address.
 */
bool policy_learn(struct policy *p, const char *name, const struct in6_addr *addr, uint32_t seconds);
/* Says that a name was asked for that no rule allows; f is the flow of the query. With the gateway's L_NET. */
void policy_refuse_name(struct policy *p, const struct nat_flow *f, const char *name) REQUIRES(L_NET);
