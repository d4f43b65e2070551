/*
 * Routing tables: longest prefix first, then the lowest metric; RFC 1812, 5.2.4.3, and ip-route(8).
 *
 * All routes stand in one hash by table, family, prefix length and prefix. A table knows which prefix lengths it has,
 * so that a look-up probes once for each of these, from the longest on: some three or four in practice. Tables are
 * searched in the order local, main, default unless somebody has made rules (rule.c). Whatever changes here changes the
 * generation, by which the transports notice that what they keep is old.
 *
 * A route whose interface is down does not exist: the interface takes its routes with it, those of several next hops
 * (nexthop.c) with the last of them. One that has expired is passed over, and goes when a new one of its chain comes.
 */
#include "net/stack/route.h"

#include <stdlib.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/nexthop.h"
#include "sentry/base/slab.h"

#define ROUTES_MAX 65536
#define TABLES_MAX 256

struct fib_table {
	struct list link;
	uint32_t id;
	uint32_t total;
	uint32_t count[2][129]; /* of routes with that prefix length */
	uint64_t lengths[2][3]; /* which of them are not 0 */
};

static struct slab route_slab = SLAB_INIT(struct route);
static struct slab table_slab = SLAB_INIT(struct fib_table);

void route_init(struct stack *s)
{
	list_init(&s->tables);
	for (unsigned i = 0; i < ROUTE_CHAINS; i++)
		list_init(&s->routes[i]);
}

static struct fib_table *find_table(struct stack *s, uint32_t id)
{
	struct fib_table *t;

	list_for_each(t, &s->tables, link)
		if (t->id == id)
			return t;
	return NULL;
}

static struct fib_table *need_table(struct stack *s, uint32_t id)
{
	struct fib_table *t = find_table(s, id);

	if (t || s->table_count == TABLES_MAX)
		return t;
	t = slab_alloc(&table_slab);
	if (!t)
		return NULL;
	t->id = id;
	list_append(&s->tables, &t->link);
	s->table_count++;
	return t;
}

static void count_in(struct fib_table *t, const struct route_config *c)
{
	t->total++;
	if (t->count[c->v6][c->plen]++ == 0)
		t->lengths[c->v6][c->plen / 64] |= 1ull << c->plen % 64;
}

static void count_out(struct stack *s, const struct route_config *c)
{
	struct fib_table *t = find_table(s, c->table);

	if (--t->count[c->v6][c->plen] == 0)
		t->lengths[c->v6][c->plen / 64] &= ~(1ull << c->plen % 64);
	if (--t->total)
		return;
	list_remove(&t->link);
	s->table_count--;
	slab_free(&table_slab, t);
}

static struct list *chain(struct stack *s, uint32_t table, bool v6, unsigned plen, const struct in6_addr *dst)
{
	return &s->routes[addr_hash(s, dst, table | (uint64_t)plen << 32 | (uint64_t)v6 << 40) % ROUTE_CHAINS];
}

static bool same_prefix(const struct route_config *a, const struct route_config *b)
{
	return a->table == b->table && a->v6 == b->v6 && a->plen == b->plen && addr_eq(&a->dst, &b->dst);
}

static void drop(struct stack *s, struct route *r) REQUIRES(L_NET)
{
	list_remove(&r->link);
	count_out(s, &r->c);
	if (r->c.protocol == RTPROT_RA && r->c.dev)
		r->c.dev->ra_routes--;
	s->route_count--;
	s->route_generation++;
	stack_notify(s, STACK_ROUTE, true, r);
	nexthops_free(r->c.hops);
	slab_free(&route_slab, r);
}

static bool goes_nowhere(uint8_t type)
{
	return type == RTN_BLACKHOLE || type == RTN_UNREACHABLE || type == RTN_PROHIBIT || type == RTN_THROW;
}

static bool type_ok(uint8_t type)
{
	return goes_nowhere(type) || type == RTN_UNICAST || type == RTN_LOCAL || type == RTN_BROADCAST ||
	       type == RTN_MULTICAST || type == RTN_ANYCAST;
}

/* A gateway must be a neighbour on an interface, which it may determine. */
static int check_gateway(struct stack *s, struct nexthop *h) REQUIRES(L_NET)
{
	const struct route *r;

	if (IN6_IS_ADDR_LINKLOCAL(&h->gateway))
		return h->dev ? 0 : -EINVAL;
	r = route_find(s, &h->gateway, h->dev ? h->dev->index : 0);
	if (!r || r->c.type != RTN_UNICAST || !addr_is_any(&r->c.gateway))
		return r && r->c.type == RTN_LOCAL ? -EINVAL : -ENETUNREACH;
	if (!h->dev)
		h->dev = r->c.dev;
	return 0;
}

static int check_hop(struct stack *s, bool v6, struct nexthop *h) REQUIRES(L_NET)
{
	int err;

	if (!addr_is_any(&h->gateway)) {
		if (addr_is_v4(&h->gateway) == v6)
			return -EINVAL;
		err = check_gateway(s, h);
		if (err)
			return err;
	}
	if (!h->dev)
		return -ENODEV;
	return h->dev->flags & IFF_UP ? 0 : -ENETDOWN;
}

/* All ways of c, whose next hops are a copy. */
static int check_hops(struct stack *s, struct route_config *c) REQUIRES(L_NET)
{
	struct nexthop one = {c->dev, c->gateway, 1};
	int err = 0;

	for (unsigned i = 0; c->hops && !err && i < c->hops->count; i++)
		err = check_hop(s, c->v6, &c->hops->hop[i]);
	if (!c->hops)
		err = check_hop(s, c->v6, &one);
	c->dev = c->hops ? c->hops->hop[0].dev : one.dev;
	c->gateway = c->hops ? c->hops->hop[0].gateway : one.gateway;
	return err;
}

static int check(struct stack *s, struct route_config *c) REQUIRES(L_NET)
{
	struct in6_addr masked;
	int err;

	if (c->plen > 128 || (!c->v6 && c->plen < V4_BITS) || !type_ok(c->type) || c->v6 == addr_is_v4(&c->dst))
		return -EINVAL;
	masked = addr_mask(&c->dst, c->plen);
	if (!addr_eq(&masked, &c->dst))
		return -EINVAL;
	if (goes_nowhere(c->type)) {
		if (c->hops)
			return -EINVAL;
		c->dev = NULL;
		return 0;
	}
	err = check_hops(s, c);
	if (err)
		return err;
	return addr_is_any(&c->prefsrc) || stack_find_addr(s, &c->prefsrc) ? 0 : -EINVAL;
}

/* The same prefix and metric; IPv6 tells its own routes by their next hop besides. */
static bool is_same(const struct route_config *a, const struct route_config *b, unsigned flags)
{
	return same_prefix(a, b) && a->metric == b->metric &&
	       (!a->v6 || flags & ROUTE_USER || (a->dev == b->dev && addr_eq(&a->gateway, &b->gateway)));
}

/* Whether nothing of them differs that could make a difference to a packet. */
static bool is_twin(const struct route_config *a, const struct route_config *b)
{
	return same_prefix(a, b) && a->metric == b->metric && a->type == b->type && a->dev == b->dev &&
	       addr_eq(&a->gateway, &b->gateway) && !a->hops == !b->hops &&
	       (!a->hops || nexthops_eq(a->hops, b->hops)) && addr_eq(&a->prefsrc, &b->prefsrc);
}

/* Where r belongs in its chain: before the first of its prefix with a higher metric. */
static void insert(struct list *l, struct route *r)
{
	struct route *other;

	list_for_each(other, l, link)
		if (same_prefix(&other->c, &r->c) && other->c.metric > r->c.metric)
			break;
	list_append(&other->link, &r->link);
}

/* Makes room in the chain: what has expired, and what is replaced; 1 if something was. -EEXIST. */
static int clear_way(struct stack *s, struct list *l, const struct route_config *c, unsigned flags) REQUIRES(L_NET)
{
	struct route *r, *next;
	bool replaced = false;

	list_for_each_safe(r, next, l, link) {
		bool same = is_same(&r->c, c, flags), old = r->c.expires && r->c.expires <= s->now;

		if (!old && same && flags & ROUTE_EXCL)
			return -EEXIST;
		if (!old && flags & ROUTE_USER && !(flags & ROUTE_REPLACE) && is_twin(&r->c, c))
			return -EEXIST;
		if (!old && same && flags & ROUTE_REPLACE && flags & ROUTE_USER && r->c.v6 && replaced)
			continue; /* only the first */
		if (old || (same && flags & ROUTE_REPLACE))
			drop(s, r);
		replaced |= !old && same;
	}
	return replaced && flags & ROUTE_REPLACE;
}

/* IPv6: one more way of a route that has gateways, which it becomes in its place. 1: there is no such route. */
static int add_hop(struct stack *s, struct list *l, const struct route_config *c) REQUIRES(L_NET)
{
	const struct nexthop hop = {c->dev, c->gateway, 1};
	struct nexthops *h, *one;
	struct route *r;

	list_for_each(r, l, link)
		if (is_same(&r->c, c, ROUTE_USER) && r->c.type == RTN_UNICAST && !addr_is_any(&r->c.gateway) &&
		    r->c.protocol != RTPROT_RA)
			break;
	if (&r->link == l)
		return 1;
	one = nexthops_create(1);
	if (!one)
		return -ENOMEM;
	one->hop[0] = (struct nexthop){r->c.dev, r->c.gateway, 1};
	h = r->c.hops ? r->c.hops : one;
	if (nexthops_find(h, c->dev, &c->gateway) >= 0) {
		nexthops_free(one);
		return -EEXIST;
	}
	h = nexthops_copy(h, &hop);
	nexthops_free(one);
	if (!h)
		return -ENOMEM;
	nexthops_free(r->c.hops);
	r->c.hops = h;
	s->route_generation++;
	stack_notify(s, STACK_ROUTE, false, r);
	return 0;
}

/* Takes c->hops, if there is no error. */
static int insert_new(struct stack *s, struct list *l, const struct route_config *c) REQUIRES(L_NET)
{
	struct fib_table *t;
	struct route *r;

	if (s->route_count == ROUTES_MAX)
		return -ENOBUFS;
	r = slab_alloc(&route_slab);
	t = r ? need_table(s, c->table) : NULL;
	if (!t) {
		slab_free(&route_slab, r);
		return -ENOMEM;
	}
	r->c = *c;
	insert(l, r);
	count_in(t, c);
	if (c->protocol == RTPROT_RA && c->dev)
		c->dev->ra_routes++;
	s->route_count++;
	s->route_generation++;
	stack_notify(s, STACK_ROUTE, false, r);
	return 0;
}

static int add_checked(struct stack *s, const struct route_config *c, unsigned flags) REQUIRES(L_NET)
{
	struct list *l = chain(s, c->table, c->v6, c->plen, &c->dst);
	int err;

	if (c->v6 && c->type == RTN_UNICAST && flags & ROUTE_APPEND && !c->hops && !addr_is_any(&c->gateway)) {
		err = add_hop(s, l, c);
		if (err <= 0)
			return err;
	}
	err = clear_way(s, l, c, flags);
	if (!err && flags & ROUTE_CHANGE)
		err = -ENOENT;
	return err < 0 ? err : insert_new(s, l, c);
}

int route_add(struct stack *s, const struct route_config *config, unsigned flags)
{
	struct route_config c = *config;
	int err;

	if (!c.table)
		c.table = RT_TABLE_MAIN;
	if (c.hops && !(c.hops = nexthops_copy(c.hops, NULL)))
		return -ENOMEM;
	err = check(s, &c);
	if (!err)
		err = add_checked(s, &c, flags);
	if (err)
		nexthops_free(c.hops);
	return err;
}

/* Of several next hops the first counts; of IPv6 any, which then goes alone. */
static bool fits_way(const struct route_config *r, const struct route_config *c)
{
	if (c->hops)
		return r->hops && nexthops_eq(r->hops, c->hops);
	if (r->hops && r->v6)
		return nexthops_find(r->hops, c->dev, &c->gateway) >= 0;
	return (!c->dev || r->dev == c->dev) && (addr_is_any(&c->gateway) || addr_eq(&r->gateway, &c->gateway));
}

static bool fits(const struct route_config *r, const struct route_config *c)
{
	return same_prefix(r, c) && (!c->type || r->type == c->type) && (!c->protocol || r->protocol == c->protocol) &&
	       (!c->metric || r->metric == c->metric) && fits_way(r, c);
}

/* One next hop goes; of two, the other is a route like others. */
static void drop_hop(struct stack *s, struct route *r, unsigned at) REQUIRES(L_NET)
{
	struct nexthops *h = r->c.hops;

	nexthops_remove(h, at);
	r->c.dev = h->hop[0].dev;
	r->c.gateway = h->hop[0].gateway;
	if (h->count == 1) {
		nexthops_free(h);
		r->c.hops = NULL;
	}
	s->route_generation++;
	stack_notify(s, STACK_ROUTE, false, r);
}

int route_del(struct stack *s, const struct route_config *config)
{
	struct route_config c = *config;
	struct route *r;

	if (!c.table)
		c.table = RT_TABLE_MAIN;
	if (c.plen > 128)
		return -ESRCH;
	list_for_each(r, chain(s, c.table, c.v6, c.plen, &c.dst), link) {
		if (!fits(&r->c, &c))
			continue;
		if (c.v6 && r->c.hops && !c.hops && !addr_is_any(&c.gateway))
			drop_hop(s, r, (unsigned)nexthops_find(r->c.hops, c.dev, &c.gateway));
		else
			drop(s, r);
		return 0;
	}
	return -ESRCH;
}

static bool uses(const struct route *r, const struct netdev *dev)
{
	return r->c.hops ? nexthops_find(r->c.hops, dev, &in6addr_any) >= 0 : r->c.dev == dev;
}

/* dev goes down: the route stays if another way is up. */
static bool survives(const struct route *r)
{
	return r->c.hops && !nexthops_dead(r->c.hops);
}

/* dev, which is down, goes for ever: IPv4's routes with it as one of their ways go, IPv6's lose that way. */
static void forget_in(struct stack *s, struct route *r, const struct netdev *dev) REQUIRES(L_NET)
{
	int at;

	while (r->c.hops && (at = nexthops_find(r->c.hops, dev, &in6addr_any)) >= 0) {
		if (!r->c.v6) {
			drop(s, r);
			return;
		}
		drop_hop(s, r, (unsigned)at);
	}
	if (!r->c.hops && r->c.dev == dev)
		drop(s, r);
}

void route_forget_dev(struct stack *s, struct netdev *dev)
{
	for (unsigned i = 0; i < ROUTE_CHAINS; i++) {
		struct route *r, *next;

		list_for_each_safe(r, next, &s->routes[i], link)
			forget_in(s, r, dev);
	}
}

void route_flush_dev(struct stack *s, struct netdev *dev, bool kernel)
{
	for (unsigned i = 0; i < ROUTE_CHAINS; i++) {
		struct route *r, *next;

		list_for_each_safe(r, next, &s->routes[i], link)
			if (uses(r, dev) && !survives(r) && (!kernel || r->c.protocol == RTPROT_KERNEL))
				drop(s, r);
	}
}

void route_flush_prefsrc(struct stack *s, struct netdev *dev, const struct in6_addr *addr)
{
	for (unsigned i = 0; i < ROUTE_CHAINS; i++) {
		struct route *r, *next;

		list_for_each_safe(r, next, &s->routes[i], link)
			if (r->c.dev == dev && addr_eq(&r->c.prefsrc, addr))
				drop(s, r);
	}
}

void route_flush_family(struct stack *s, struct netdev *dev, bool v6)
{
	for (unsigned i = 0; i < ROUTE_CHAINS; i++) {
		struct route *r, *next;

		list_for_each_safe(r, next, &s->routes[i], link)
			if (r->c.v6 == v6 && uses(r, dev))
				drop(s, r);
	}
}

void route_drop_expired(struct stack *s)
{
	for (unsigned i = 0; i < ROUTE_CHAINS; i++) {
		struct route *r, *next;

		list_for_each_safe(r, next, &s->routes[i], link)
			if (r->c.expires && r->c.expires <= s->now)
				drop(s, r);
	}
}

void route_fini(struct stack *s)
{
	for (unsigned i = 0; i < ROUTE_CHAINS; i++) {
		struct route *r;

		while ((r = list_first(&s->routes[i], struct route, link)))
			drop(s, r);
	}
}

/* By table, prefix, and of one prefix first the longest; then by metric, which they are already. */
static int compare(const void *x, const void *y)
{
	const struct route *const *a = x, *const *b = y;
	const struct route_config *p = &(*a)->c, *q = &(*b)->c;
	int order = memcmp(&p->dst, &q->dst, sizeof(p->dst));

	if (p->table != q->table)
		return p->table < q->table ? -1 : 1;
	if (order || p->plen != q->plen)
		return order ? order : p->plen > q->plen ? -1 : 1;
	return p->metric < q->metric ? -1 : p->metric > q->metric;
}

void route_each(struct stack *s, bool (*fn)(void *arg, const struct route *r), void *arg)
{
	size_t size = s->route_count * sizeof(const struct route *), n = 0;
	const struct route **all = size ? kalloc(size) : NULL;
	struct route *r;

	/* Without memory in whatever order they come. */
	for (unsigned i = 0; i < ROUTE_CHAINS; i++)
		list_for_each(r, &s->routes[i], link) {
			if (all)
				all[n++] = r;
			else if (!fn(arg, r))
				return;
		}
	if (!all)
		return;
	qsort(all, n, sizeof(all[0]), compare);
	for (size_t i = 0; i < n && fn(arg, all[i]); i++)
		;
	kfree(all, size);
}

static bool leads_to(const struct route *r, unsigned dev)
{
	return r->c.hops ? nexthops_on(r->c.hops, dev) != NULL : !r->c.dev || r->c.dev->index == dev;
}

static const struct route *find_prefix(struct stack *s, const struct fib_table *t, bool v6, unsigned plen,
				       const struct in6_addr *dst, unsigned dev)
{
	struct in6_addr prefix = addr_mask(dst, plen);
	struct route *r;

	list_for_each(r, chain(s, t->id, v6, plen, &prefix), link)
		if (r->c.table == t->id && r->c.v6 == v6 && r->c.plen == plen && addr_eq(&r->c.dst, &prefix) &&
		    (!dev || leads_to(r, dev)) && (!r->c.expires || r->c.expires > s->now))
			return r;
	return NULL;
}

const struct route *route_find_in(struct stack *s, uint32_t table, const struct in6_addr *dst, unsigned dev)
{
	const struct fib_table *t = find_table(s, table);
	bool v6 = !addr_is_v4(dst);

	if (!t)
		return NULL;
	for (int word = 2; word >= 0; word--) {
		uint64_t left = t->lengths[v6][word];

		while (left) {
			unsigned bit = 63 - (unsigned)__builtin_clzll(left);
			const struct route *r = find_prefix(s, t, v6, (unsigned)word * 64 + bit, dst, dev);

			if (r)
				return r;
			left &= ~(1ull << bit);
		}
	}
	return NULL;
}

const struct route *route_find(struct stack *s, const struct in6_addr *dst, unsigned dev)
{
	static const uint32_t order[] = {RT_TABLE_LOCAL, RT_TABLE_MAIN, RT_TABLE_DEFAULT};

	for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
		const struct route *r = route_find_in(s, order[i], dst, dev);

		if (r && r->c.type != RTN_THROW)
			return r;
	}
	return NULL;
}

const struct route *route_lookup(struct stack *s, const struct route_flow *f)
{
	return s->rules.custom[!addr_is_v4(&f->dst)] ? rule_lookup(s, f) : route_find(s, &f->dst, f->oif);
}

uint32_t route_empty_table(struct stack *s)
{
	uint32_t id = 1;

	while (find_table(s, id))
		id++;
	return id;
}

bool route_has_table(struct stack *s, uint32_t id)
{
	return find_table(s, id);
}

int route_errno(const struct route *r)
{
	if (!r)
		return -ENETUNREACH;
	switch (r->c.type) {
	case RTN_BLACKHOLE:
		return -EINVAL;
	case RTN_UNREACHABLE:
		return -EHOSTUNREACH;
	case RTN_PROHIBIT:
		return -EACCES;
	default:
		return 0;
	}
}
