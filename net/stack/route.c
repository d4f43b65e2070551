/*
 * Routing tables: longest prefix first, then the lowest metric; RFC 1812, 5.2.4.3, and ip-route(8).
 *
 * All routes stand in one hash by table, family, prefix length and prefix. A table knows which prefix lengths it has,
 * so that a look-up probes once for each of these, from the longest on: some three or four in practice. Tables are
 * searched in the order local, main, default; there are no rules. Whatever changes here changes the generation, by
 * which the transports notice that what they keep is old.
 *
 * A route whose interface is down does not exist: the interface takes its routes with it. One that has expired is
 * passed over, and goes when a new one of its chain comes.
 */
#include "net/stack/route.h"

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
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
static int check_gateway(struct stack *s, struct route_config *c) REQUIRES(L_NET)
{
	const struct route *r;

	if (IN6_IS_ADDR_LINKLOCAL(&c->gateway))
		return c->dev ? 0 : -EINVAL;
	r = route_find(s, &c->gateway, c->dev ? c->dev->index : 0);
	if (!r || r->c.type != RTN_UNICAST || !addr_is_any(&r->c.gateway))
		return r && r->c.type == RTN_LOCAL ? -EINVAL : -ENETUNREACH;
	c->dev = r->c.dev;
	return 0;
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
		c->dev = NULL;
		return 0;
	}
	if (!addr_is_any(&c->gateway)) {
		if (addr_is_v4(&c->gateway) == c->v6)
			return -EINVAL;
		err = check_gateway(s, c);
		if (err)
			return err;
	}
	if (!c->dev)
		return -ENODEV;
	if (!addr_is_any(&c->prefsrc) && !stack_find_addr(s, &c->prefsrc))
		return -EINVAL;
	return c->dev->flags & IFF_UP ? 0 : -ENETDOWN;
}

/* The same prefix and metric; IPv6 tells routes by their next hop besides. */
static bool is_same(const struct route_config *a, const struct route_config *b)
{
	return same_prefix(a, b) && a->metric == b->metric &&
	       (!a->v6 || (a->dev == b->dev && addr_eq(&a->gateway, &b->gateway)));
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

/* Makes room in the chain: what has expired, and what is replaced. -EEXIST. */
static int clear_way(struct stack *s, struct list *l, const struct route_config *c, unsigned flags) REQUIRES(L_NET)
{
	struct route *r, *next;

	list_for_each_safe(r, next, l, link) {
		bool same = is_same(&r->c, c);

		if (same && flags & ROUTE_EXCL && (!r->c.expires || r->c.expires > s->now))
			return -EEXIST;
		if ((same && flags & ROUTE_REPLACE) || (r->c.expires && r->c.expires <= s->now))
			drop(s, r);
	}
	return 0;
}

int route_add(struct stack *s, const struct route_config *config, unsigned flags)
{
	struct route_config c = *config;
	struct fib_table *t;
	struct route *r;
	struct list *l;
	int err;

	if (!c.table)
		c.table = RT_TABLE_MAIN;
	err = check(s, &c);
	if (err)
		return err;
	l = chain(s, c.table, c.v6, c.plen, &c.dst);
	err = clear_way(s, l, &c, flags);
	if (err)
		return err;
	if (s->route_count == ROUTES_MAX)
		return -ENOBUFS;
	r = slab_alloc(&route_slab);
	t = r ? need_table(s, c.table) : NULL;
	if (!t) {
		slab_free(&route_slab, r);
		return -ENOMEM;
	}
	r->c = c;
	insert(l, r);
	count_in(t, &c);
	if (c.protocol == RTPROT_RA && c.dev)
		c.dev->ra_routes++;
	s->route_count++;
	s->route_generation++;
	stack_notify(s, STACK_ROUTE, false, r);
	return 0;
}

static bool fits(const struct route_config *r, const struct route_config *c)
{
	return same_prefix(r, c) && (!c->dev || r->dev == c->dev) && (!c->type || r->type == c->type) &&
	       (!c->protocol || r->protocol == c->protocol) && (!c->metric || r->metric == c->metric) &&
	       (addr_is_any(&c->gateway) || addr_eq(&r->gateway, &c->gateway));
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
		drop(s, r);
		return 0;
	}
	return -ESRCH;
}

void route_flush_dev(struct stack *s, struct netdev *dev, bool kernel)
{
	for (unsigned i = 0; i < ROUTE_CHAINS; i++) {
		struct route *r, *next;

		list_for_each_safe(r, next, &s->routes[i], link)
			if (r->c.dev == dev && (!kernel || r->c.protocol == RTPROT_KERNEL))
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
			if (r->c.dev == dev && r->c.v6 == v6)
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

void route_each(struct stack *s, bool (*fn)(void *arg, const struct route *r), void *arg)
{
	struct route *r;

	for (unsigned i = 0; i < ROUTE_CHAINS; i++)
		list_for_each(r, &s->routes[i], link)
			if (!fn(arg, r))
				return;
}

static const struct route *find_prefix(struct stack *s, const struct fib_table *t, bool v6, unsigned plen,
				       const struct in6_addr *dst, unsigned dev)
{
	struct in6_addr prefix = addr_mask(dst, plen);
	struct route *r;

	list_for_each(r, chain(s, t->id, v6, plen, &prefix), link)
		if (r->c.table == t->id && r->c.v6 == v6 && r->c.plen == plen && addr_eq(&r->c.dst, &prefix) &&
		    (!dev || !r->c.dev || r->c.dev->index == dev) && (!r->c.expires || r->c.expires > s->now))
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
