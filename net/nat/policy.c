/*
 * What a guest may reach under --allow-net: see policy.h, egress.h and, for what it means to its user, docs/network.md.
 *
 * A rule about addresses speaks for itself. A rule about names allows an address only by what the resolver has learnt: the guest has asked for a
 * name that the rule allows, and the answer had this address. As many names share one address, that is not enough where the guest can say whom it
 * means: what it says first must be TLS or HTTP with such a name, one that has this very address. It is enough where the rule gives a port on which
 * other protocols are spoken, of which in many the server speaks first. UDP to such an address is refused without a port in the rule, and on 443
 * always: QUIC hides the name. So is a resolver's port: names are what the rules are about.
 *
 * The table of names is under its own lock, a leaf, as the gateway asks with its stack's held.
 */
#include <string.h>
#include <sys/random.h>

#include "net/nat/egress.h"
#include "net/nat/learnt.h"
#include "net/nat/peek.h"
#include "net/nat/refusal.h"
#include "net/nat/talk.h"
#include "net/stack/addr.h"
#include "net/stack/siphash.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"

#define PORT_HTTP 80
#define PORT_HTTPS 443
#define PORT_DOMAIN 53
#define PORT_DOMAIN_TLS 853

struct egress {
	struct policy policy;   /* first */
	struct policy_config c; /* constant */
	struct mutex lock;
	struct learnt_table learnt; /* L_EGRESS */
	struct refusals refusals;
};

static const struct policy_ops ops;

static int64_t monotonic(void)
{
	return clock_now(CLOCK_MONOTONIC);
}

static struct egress *of_policy(const struct policy *p)
{
	return container_of(p, struct egress, policy);
}

struct policy *policy_create(const struct policy_config *c)
{
	struct egress *p = kalloc(sizeof(*p));
	uint64_t key[4] = {0};

	if (!p)
		return NULL;
	p->policy.ops = &ops;
	p->c = *c;
	if (!p->c.now)
		p->c.now = monotonic;
	BUG_ON(getrandom(key, sizeof(key), 0) != sizeof(key));
	mutex_init(&p->lock);
	learnt_init(&p->learnt, key);
	refusals_init(&p->refusals, c->guest, c->gateway, key + 2);
	return &p->policy;
}

void policy_destroy(struct policy *policy)
{
	struct egress *p = of_policy(policy);

	if (!policy)
		return;
	mutex_lock(&p->lock, L_EGRESS);
	learnt_fini(&p->learnt);
	mutex_unlock(&p->lock, L_EGRESS);
	kfree(p, sizeof(*p));
}

/* ---- rules ---- */

static bool rules_have_addr(const struct egress *p, const struct in6_addr *addr)
{
	for (size_t i = 0; i < p->c.rule_count; i++)
		if (rule_has_addr(&p->c.rules[i], addr))
			return true;
	return false;
}

/* By a rule about addresses. Echoes have no port: a rule that gives one does not mean them. */
static bool addr_allowed(const struct egress *p, uint8_t protocol, const struct in6_addr *addr, uint16_t port)
{
	bool ports = protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;

	for (size_t i = 0; i < p->c.rule_count; i++) {
		const struct rule *r = &p->c.rules[i];

		if (rule_has_addr(r, addr) && (ports ? rule_has_port(r, port) : !r->port_given))
			return true;
	}
	return false;
}

/* *explicit: a rule that gives the port does. */
static bool name_allowed(const struct egress *p, const char *name, uint16_t port, bool *explicit)
{
	bool allowed = false;

	for (size_t i = 0; i < p->c.rule_count; i++) {
		const struct rule *r = &p->c.rules[i];

		if (!rule_has_name(r, name) || !rule_has_port(r, port))
			continue;
		allowed = true;
		*explicit |= r->port_given;
	}
	return allowed;
}

bool policy_asks(const struct policy *policy, const char *name)
{
	const struct egress *p = of_policy(policy);

	for (size_t i = 0; i < p->c.rule_count; i++)
		if (rule_has_name(&p->c.rules[i], name))
			return true;
	return false;
}

/* ---- what is learnt ---- */

/* Networks whose addresses no public name has: RFC 6890, and what embeds them. */
static const struct {
	uint8_t addr[16];
	unsigned bits;
} special[] = {
#define V4(a, b, c, bits)                                                                                              \
	{                                                                                                              \
		{[10] = 0xff, 0xff, a, b, c}, V4_BITS + (bits)                                                         \
	}
    V4(0, 0, 0, 8),
    V4(10, 0, 0, 8),
    V4(100, 64, 0, 10),
    V4(127, 0, 0, 8),
    V4(169, 254, 0, 16),
    V4(172, 16, 0, 12),
    V4(192, 0, 0, 24),
    V4(192, 168, 0, 16),
    V4(198, 18, 0, 15),
    V4(224, 0, 0, 3),
#undef V4
    {{0}, 96}, /* ::, ::1 and IPv4-compatible ones */
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48},
    {{0x01, 0x00}, 64},
    {{0xfc}, 7},
    {{0xfe, 0x80}, 10},
    {{0xfe, 0xc0}, 10},
    {{0xff}, 8},
};

static bool is_special(const struct in6_addr *addr)
{
	static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
	struct in6_addr inner = addr_from_v4(addr->s6_addr32[3]);

	for (size_t i = 0; i < ARRAY_SIZE(special); i++)
		if (addr_prefix_eq((const struct in6_addr *)special[i].addr, addr, special[i].bits))
			return true;
	if (memcmp(addr, nat64, sizeof(nat64)) == 0)
		return is_special(&inner);
	if (addr->s6_addr[0] != 0x20 || addr->s6_addr[1] != 0x02)
		return false;
	memcpy(inner.s6_addr + 12, addr->s6_addr + 2, 4); /* 6to4 */
	return is_special(&inner);
}

bool policy_learn(struct policy *policy, const char *name, const struct in6_addr *addr, uint32_t seconds)
{
	struct egress *p = of_policy(policy);

	if (is_special(addr) && !rules_have_addr(p, addr))
		return false;
	mutex_lock(&p->lock, L_EGRESS);
	learnt_add(&p->learnt, name, addr, seconds, p->c.now());
	mutex_unlock(&p->lock, L_EGRESS);
	return true;
}

/* By a name that the address is known to have. ret_name: one that it has, allowed if there is such a one; "" if none. */
static bool learnt_allowed(struct egress *p, const struct nat_flow *f, bool *explicit, char ret_name[NAME_MAX_SIZE])
{
	int64_t now = p->c.now();
	struct learnt *l = NULL;
	bool allowed = false;

	ret_name[0] = 0;
	mutex_lock(&p->lock, L_EGRESS);
	while ((l = learnt_next(&p->learnt, &f->dst, l, now))) {
		bool this = name_allowed(p, l->name, f->dport, explicit);

		if (this)
			learnt_renew(&p->learnt, l, now);
		if (!allowed)
			strcpy(ret_name, l->name);
		allowed |= this;
	}
	mutex_unlock(&p->lock, L_EGRESS);
	return allowed;
}

static bool has_address(struct egress *p, const char *name, const struct in6_addr *addr)
{
	bool has;

	mutex_lock(&p->lock, L_EGRESS);
	has = learnt_find(&p->learnt, addr, name, p->c.now());
	mutex_unlock(&p->lock, L_EGRESS);
	return has;
}

/* ---- verdicts ---- */

static bool is_web(uint16_t port)
{
	return port == PORT_HTTP || port == PORT_HTTPS;
}

static bool is_resolver_port(uint16_t port)
{
	return port == PORT_DOMAIN || port == PORT_DOMAIN_TLS;
}

static enum nat_verdict judge(struct egress *p, const struct nat_flow *f, char ret_name[NAME_MAX_SIZE],
			      const char **why)
{
	bool explicit = false;

	if (addr_allowed(p, f->protocol, &f->dst, f->dport))
		return NAT_ALLOW;
	*why = "no --allow-net has this address, nor a name with it that was asked for";
	if (!learnt_allowed(p, f, &explicit, ret_name)) {
		if (*ret_name)
			*why = "no --allow-net has this port";
		return NAT_REFUSE;
	}
	if (f->protocol == IPPROTO_TCP && !is_resolver_port(f->dport))
		return explicit && !is_web(f->dport) ? NAT_ALLOW : NAT_LOOK;
	if (f->protocol == IPPROTO_UDP && !is_resolver_port(f->dport) && f->dport != PORT_HTTPS && explicit)
		return NAT_ALLOW;
	*why = "a name does not allow this protocol";
	return NAT_REFUSE;
}

static enum nat_verdict flow(struct policy *policy, const struct nat_flow *f) REQUIRES(L_NET)
{
	struct egress *p = of_policy(policy);
	struct refusal r = {.flow = *f};
	enum nat_verdict v;

	v = judge(p, f, r.name, &r.why);
	if (v == NAT_REFUSE)
		refusal_queue(&p->refusals, &r, p->c.now());
	return v;
}

/* *free: and everything that is said there. */
static bool connect_allowed(struct egress *p, const struct peeked *seen, bool *free)
{
	bool explicit = false;

	*free = true;
	if (seen->is_addr)
		return addr_allowed(p, IPPROTO_TCP, &seen->addr, seen->port);
	if (!name_allowed(p, seen->name, seen->port, &explicit))
		return false;
	*free = explicit && !is_web(seen->port);
	return true;
}

/* Whether what the guest says it wants is allowed where it goes. */
static bool target_allowed(struct egress *p, const struct nat_flow *f, struct nat_talk *t, const struct peeked *seen,
			   bool *free, const char **why)
{
	uint64_t name = siphash(p->learnt.key, seen->name, strlen(seen->name));
	bool explicit = false;

	*why = "no --allow-net has this name";
	if (seen->connect)
		return connect_allowed(p, seen, free);
	if (seen->is_addr || !name_allowed(p, seen->name, t->tunnel ? t->port : f->dport, &explicit))
		return false;
	*why = "the name has another address";
	/* Where a tunnel ends the proxy knows; what was true when a connection was made is, as long as it lasts. */
	if (!t->tunnel && t->name != name && !has_address(p, seen->name, &f->dst))
		return false;
	t->name = name;
	return true;
}

static enum nat_look look(struct policy *policy, const struct nat_flow *f, struct nat_talk *t, const void *bytes,
			  size_t n)
{
	struct egress *p = of_policy(policy);
	struct refusal r = {.flow = *f};
	bool free = false;
	struct peeked seen;
	enum peek peek;

	if (n == 0)
		return LOOK_MORE;
	peek = talk_peek(t, bytes, n, &seen);
	if (peek == PEEK_MORE && (n < NAT_LOOK_MAX || t->listens))
		return LOOK_MORE;
	if (peek == PEEK_OK && (seen.nobody || target_allowed(p, f, t, &seen, &free, &r.why))) {
		talk_allow(t, &seen, free);
		return LOOK_ALLOW;
	}
	if (peek != PEEK_OK)
		r.why = peek == PEEK_BAD ? seen.why : "what it says first is too long";
	memcpy(r.name, seen.name, sizeof(r.name));
	refusal_say(&p->refusals, &r, p->c.now());
	return LOOK_REFUSE;
}

static void hear(struct policy *policy __unused, struct nat_talk *t, const void *bytes, size_t n)
{
	talk_listen(t, bytes, n);
}

static void silent(struct policy *policy, const struct nat_flow *f)
{
	struct egress *p = of_policy(policy);
	struct refusal r = {.flow = *f,
			    .why = "it waits for the server to speak first: --allow-net must name the port"};
	bool explicit = false;

	if (!learnt_allowed(p, f, &explicit, r.name))
		r.name[0] = 0;
	refusal_say(&p->refusals, &r, p->c.now());
}

void policy_refuse_name(struct policy *policy, const struct nat_flow *f, const char *name)
{
	struct egress *p = of_policy(policy);
	struct refusal r = {.flow = *f, .question = true};

	memccpy(r.name, name, 0, sizeof(r.name) - 1);
	refusal_queue(&p->refusals, &r, p->c.now());
}

static const struct policy_ops ops = {.flow = flow, .look = look, .listen = hear, .silent = silent};
