/*
 * Policy routing: ip-rule(8). The rules of a family are asked in the order of their priorities; the first whose table has a route decides, or whose
 * action is to have none.
 *
 * A stack begins with those that say local, main and default, which are part of it, so that nothing can fail. As long as there are no others,
 * route_lookup() does not come here. Interfaces are compared by name, as the rules have them, so that a rule waits for one that is not there yet. Rules
 * that look at ports have those of packets that are passed on looked for (route_flow_of()); fragments have none.
 *
 * A rule that says unreachable is told as ENETUNREACH, unlike a route that does.
 */
#include "net/stack/rule.h"

#include <string.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "sentry/base/slab.h"

#define RULES_MAX 1024 /* of a family: a look-up may have to ask all */

static struct slab rule_slab = SLAB_INIT(struct fib_rule);

static const struct route blackhole = {.c = {.type = RTN_BLACKHOLE}}, prohibit = {.c = {.type = RTN_PROHIBIT}};

static void init_rule(struct stack *s, unsigned at, bool v6, uint32_t priority, uint32_t table)
{
	struct fib_rule *r = &s->rules.initial[at];

	r->initial = true;
	r->c = (struct rule_config){.v6 = v6,
				    .action = FR_ACT_TO_TBL,
				    .protocol = RTPROT_KERNEL,
				    .src_plen = v6 ? 0 : V4_BITS,
				    .dst_plen = v6 ? 0 : V4_BITS,
				    .priority = priority,
				    .table = table,
				    .suppress_plen = -1,
				    .suppress_group = -1,
				    .uid = {0, UINT32_MAX}};
	if (!v6)
		r->c.src = r->c.dst = addr_from_v4(0);
	list_append(&s->rules.list[v6], &r->link);
	s->rules.count[v6]++;
}

void rule_init(struct stack *s)
{
	list_init(&s->rules.list[0]);
	list_init(&s->rules.list[1]);
	init_rule(s, 0, false, 0, RT_TABLE_LOCAL);
	init_rule(s, 1, false, 32766, RT_TABLE_MAIN);
	init_rule(s, 2, false, 32767, RT_TABLE_DEFAULT);
	init_rule(s, 3, true, 0, RT_TABLE_LOCAL);
	init_rule(s, 4, true, 32766, RT_TABLE_MAIN);
}

static bool has_ports(const struct rule_config *c)
{
	return c->ip_proto || c->sport.start || c->dport.start;
}

/* What is known of a family's rules is found anew, and what was looked up is old. */
static void changed(struct stack *s, bool v6) REQUIRES(L_NET)
{
	unsigned initial = 0;
	const struct fib_rule *r;
	bool ports = false;

	list_for_each(r, &s->rules.list[v6], link) {
		initial += r->initial;
		ports |= has_ports(&r->c);
	}
	s->rules.custom[v6] = initial != s->rules.count[v6] || initial != (v6 ? 2 : 3);
	s->rules.ports[v6] = ports;
	s->route_generation++;
}

static void drop(struct stack *s, struct fib_rule *r) REQUIRES(L_NET)
{
	bool v6 = r->c.v6;

	list_remove(&r->link);
	s->rules.count[v6]--;
	changed(s, v6);
	stack_notify(s, STACK_RULE, true, r);
	if (!r->initial)
		slab_free(&rule_slab, r);
}

void rule_fini(struct stack *s)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct fib_rule *r;

		while ((r = list_first(&s->rules.list[v6], struct fib_rule, link))) {
			list_remove(&r->link);
			if (!r->initial)
				slab_free(&rule_slab, r);
		}
	}
}

/* Of which there is none yet: what a new rule without a priority gets is one less than that of the second. */
static uint32_t default_priority(struct stack *s, bool v6)
{
	const struct list *l = &s->rules.list[v6];
	const struct fib_rule *second;

	if (list_empty(l) || l->next->next == l)
		return 0;
	second = container_of(l->next->next, struct fib_rule, link);
	return second->c.priority ? second->c.priority - 1 : 0;
}

static bool same_ports(const struct fib_rule_port_range *a, const struct fib_rule_port_range *b)
{
	return a->start == b->start && a->end == b->end;
}

static bool same_prefixes(const struct rule_config *a, const struct rule_config *b)
{
	return a->src_plen == b->src_plen && a->dst_plen == b->dst_plen && addr_eq(&a->src, &b->src) &&
	       addr_eq(&a->dst, &b->dst);
}

static bool is_same(const struct rule_config *a, const struct rule_config *b)
{
	return a->action == b->action && a->table == b->table && a->priority == b->priority &&
	       strcmp(a->iif, b->iif) == 0 && strcmp(a->oif, b->oif) == 0 && a->mark == b->mark &&
	       a->mark_mask == b->mark_mask && a->suppress_plen == b->suppress_plen &&
	       a->suppress_group == b->suppress_group && a->uid.start == b->uid.start && a->uid.end == b->uid.end &&
	       a->ip_proto == b->ip_proto && same_ports(&a->sport, &b->sport) && same_ports(&a->dport, &b->dport) &&
	       a->tos == b->tos && same_prefixes(a, b);
}

static bool exists(struct stack *s, const struct rule_config *c)
{
	const struct fib_rule *r;

	list_for_each(r, &s->rules.list[c->v6], link)
		if (is_same(&r->c, c))
			return true;
	return false;
}

int rule_add(struct stack *s, const struct rule_config *c, bool excl)
{
	uint32_t priority = c->has_priority ? c->priority : default_priority(s, c->v6);
	struct fib_rule *r, *other;

	if (c->action == FR_ACT_GOTO && c->target <= priority)
		return -EINVAL;
	if (s->rules.count[c->v6] == RULES_MAX)
		return -ENOBUFS;
	r = slab_alloc(&rule_slab);
	if (!r)
		return -ENOMEM;
	r->c = *c;
	r->c.priority = priority;
	if (excl && exists(s, &r->c)) {
		slab_free(&rule_slab, r);
		return -EEXIST;
	}
	list_for_each(other, &s->rules.list[c->v6], link)
		if (other->c.priority > r->c.priority)
			break;
	list_append(&other->link, &r->link);
	s->rules.count[c->v6]++;
	changed(s, c->v6);
	stack_notify(s, STACK_RULE, false, r);
	return 0;
}

/* By what traffic it is about. */
static bool selects(const struct rule_config *r, const struct rule_config *c)
{
	unsigned none = c->v6 ? 0 : V4_BITS;

	return (!c->mark || r->mark == c->mark) && (!c->mark_mask || r->mark_mask == c->mark_mask) &&
	       (c->uid.end == UINT32_MAX || (r->uid.start == c->uid.start && r->uid.end == c->uid.end)) &&
	       (!c->ip_proto || r->ip_proto == c->ip_proto) && (!c->sport.start || same_ports(&r->sport, &c->sport)) &&
	       (!c->dport.start || same_ports(&r->dport, &c->dport)) && (!c->tos || r->tos == c->tos) &&
	       (c->src_plen == none || (r->src_plen == c->src_plen && addr_eq(&r->src, &c->src))) &&
	       (c->dst_plen == none || (r->dst_plen == c->dst_plen && addr_eq(&r->dst, &c->dst)));
}

static bool fits(const struct rule_config *r, const struct rule_config *c)
{
	return (!c->action || r->action == c->action) && (!c->table || r->table == c->table) &&
	       (!c->has_priority || r->priority == c->priority) && (!c->iif[0] || strcmp(r->iif, c->iif) == 0) &&
	       (!c->oif[0] || strcmp(r->oif, c->oif) == 0) &&
	       (c->suppress_plen == -1 || r->suppress_plen == c->suppress_plen) &&
	       (c->suppress_group == -1 || r->suppress_group == c->suppress_group) &&
	       (!c->protocol || r->protocol == c->protocol) && selects(r, c);
}

int rule_del(struct stack *s, const struct rule_config *c)
{
	struct fib_rule *r;

	list_for_each(r, &s->rules.list[c->v6], link) {
		if (!fits(&r->c, c))
			continue;
		if (r->c.flags & FIB_RULE_PERMANENT)
			return -EPERM;
		drop(s, r);
		return 0;
	}
	return -ENOENT;
}

/* The first rule with that priority, which is higher than r's: it lies behind. NULL: there is none. */
static const struct fib_rule *find_target(struct stack *s, const struct fib_rule *r, uint32_t priority)
{
	const struct list *l = &s->rules.list[r->c.v6];

	for (const struct list *at = &r->link; at != l; at = at->next) {
		const struct fib_rule *to = container_of(at, struct fib_rule, link);

		if (to->c.priority >= priority)
			return to->c.priority == priority ? to : NULL;
	}
	return NULL;
}

uint32_t rule_flags(struct stack *s, const struct fib_rule *r)
{
	uint32_t flags = r->c.flags;

	if (r->c.iif[0] && !netdev_by_name(s, r->c.iif))
		flags |= FIB_RULE_IIF_DETACHED;
	if (r->c.oif[0] && !netdev_by_name(s, r->c.oif))
		flags |= FIB_RULE_OIF_DETACHED;
	if (r->c.action == FR_ACT_GOTO && !find_target(s, r, r->c.target))
		flags |= FIB_RULE_UNRESOLVED;
	return flags;
}

/* A look-up, with what the rules want to know of it. */
struct asked {
	const struct route_flow *f;
	const struct netdev *iif, *oif;
};

static bool is_dev(const char *name, const struct netdev *dev)
{
	return !name[0] || (dev && strcmp(dev->name, name) == 0);
}

static bool in_ports(const struct fib_rule_port_range *range, uint16_t port)
{
	return !range->start || (port >= range->start && port <= range->end);
}

static bool matches_all(const struct rule_config *c, const struct asked *a)
{
	const struct route_flow *f = a->f;
	unsigned none = c->v6 ? 0 : V4_BITS;

	if ((c->mark ^ f->mark) & c->mark_mask || f->uid < c->uid.start || f->uid > c->uid.end)
		return false;
	if (c->src_plen > none && (addr_is_any(&f->src) || !addr_prefix_eq(&f->src, &c->src, c->src_plen)))
		return false;
	if (!addr_prefix_eq(&f->dst, &c->dst, c->dst_plen) || (c->tos && c->tos != (f->tos & (c->v6 ? 0xfc : 0x1c))))
		return false;
	if ((c->ip_proto && c->ip_proto != f->protocol) || !in_ports(&c->sport, f->sport) ||
	    !in_ports(&c->dport, f->dport))
		return false;
	return is_dev(c->iif, a->iif) && is_dev(c->oif, a->oif);
}

static bool suppressed(const struct rule_config *c, const struct route *r)
{
	unsigned plen = r->c.v6 ? r->c.plen : r->c.plen - V4_BITS;

	/* All interfaces are of the group 0. */
	return (c->suppress_plen >= 0 && plen <= (unsigned)c->suppress_plen) || (c->suppress_group == 0 && r->c.dev);
}

/* What a rule that matches says. False: nothing, the next is asked. */
static bool act(struct stack *s, const struct rule_config *c, const struct route_flow *f, const struct route **ret)
    REQUIRES(L_NET)
{
	switch (c->action) {
	case FR_ACT_TO_TBL:
		*ret = route_find_in(s, c->table, &f->dst, f->oif);
		return *ret && (*ret)->c.type != RTN_THROW && !suppressed(c, *ret);
	case FR_ACT_UNREACHABLE:
		*ret = NULL;
		return true;
	case FR_ACT_PROHIBIT:
		*ret = &prohibit;
		return true;
	default:
		*ret = &blackhole;
		return true;
	}
}

const struct route *rule_lookup(struct stack *s, const struct route_flow *f)
{
	const struct list *l = &s->rules.list[!addr_is_v4(&f->dst)], *at = l->next;
	const struct asked a = {f, f->iif ? netdev_by_index(s, f->iif) : s->lo,
				f->oif ? netdev_by_index(s, f->oif) : NULL};
	const struct route *found;

	while (at != l) {
		const struct fib_rule *r = container_of(at, struct fib_rule, link), *to;
		bool hit = matches_all(&r->c, &a) != !!(r->c.flags & FIB_RULE_INVERT);

		at = at->next;
		if (hit && r->c.action == FR_ACT_GOTO) {
			to = find_target(s, r, r->c.target);
			at = to ? &to->link : at;
		} else if (hit && r->c.action != FR_ACT_NOP && act(s, &r->c, f, &found)) {
			return found;
		}
	}
	return NULL;
}
