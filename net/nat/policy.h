/*
 * What a guest may reach by nat: asked once for each flow, before the host hears of it, and again with the first bytes of a flow that is to be
 * judged by them. NULL is a policy that allows everything.
 */
#pragma once

#include <netinet/in.h>

#include "sentry/base/types.h"

struct policy;

/* As the guest sees it: src is the guest's end. Ports in host order; ICMP echoes have 0 for both. IPv4 addresses are mapped. */
struct nat_flow {
	uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6 */
	struct in6_addr src, dst;
	uint16_t sport, dport;
};

enum nat_verdict {
	NAT_ALLOW,
	NAT_REFUSE, /* TCP: a reset; others: administratively prohibited */
	NAT_LOOK,   /* TCP: the guest's connection is accepted, and policy_look() sees what it says first */
};
enum nat_look { LOOK_MORE, LOOK_ALLOW, LOOK_REFUSE };
#define NAT_LOOK_MAX 16384u /* bytes: after so many, LOOK_MORE is a refusal */
#define NAT_REPLY_MAX 43u   /* bytes of an answer that say what follows */

/* How far a flow that is looked at has come. All 0 at first; the caller uses `clear` and `listens`. */
struct nat_talk {
	uint64_t
	    clear;    /* LOOK_ALLOW: so many bytes of the guest may go before the policy looks again; UINT64_MAX: all */
	bool listens; /* the policy wants to see what the server says, by policy_listen() */
	/* The policy's: */
	uint8_t at;
	bool tunnel;   /* behind CONNECT, to that port */
	uint16_t port; /* of the tunnel */
	uint64_t name; /* the last one that was allowed, hashed */
	uint8_t heard;
	uint8_t reply[NAT_REPLY_MAX];
};

struct policy_ops {
	/* Called with the gateway's L_NET held: it does not block, and takes later locks only. */
	enum nat_verdict (*flow)(struct policy *p, const struct nat_flow *f);
	/* bytes: all that the guest has sent so far, but what was cleared. No lock held. */
	enum nat_look (*look)(struct policy *p, const struct nat_flow *f, struct nat_talk *t, const void *bytes,
			      size_t n);
	/* What the server says, in pieces as they come; once t->listens is false it is not asked, and the guest's bytes are looked at again. */
	void (*listen)(struct policy *p, struct nat_talk *t, const void *bytes, size_t n);
	/* The guest has said nothing, or not enough, for so long that the flow is given up. No lock held. */
	void (*silent)(struct policy *p, const struct nat_flow *f);
};

struct policy {
	const struct policy_ops *ops;
};

static inline enum nat_verdict policy_flow(struct policy *p, const struct nat_flow *f)
{
	return p ? p->ops->flow(p, f) : NAT_ALLOW;
}

static inline enum nat_look policy_look(struct policy *p, const struct nat_flow *f, struct nat_talk *t,
					const void *bytes, size_t n)
{
	if (p)
		return p->ops->look(p, f, t, bytes, n);
	t->clear = UINT64_MAX;
	return LOOK_ALLOW;
}

static inline void policy_listen(struct policy *p, struct nat_talk *t, const void *bytes, size_t n)
{
	if (p && t->listens)
		p->ops->listen(p, t, bytes, n);
}

static inline void policy_silent(struct policy *p, const struct nat_flow *f)
{
	if (p)
		p->ops->silent(p, f);
}
