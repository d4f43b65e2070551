/*
 * Routes with several next hops: which of them a packet takes. RFC 2992 (hash-threshold), and Linux's fib_multipath_hash_policy.
 *
 * A flow has one way as long as the ways stay: a hash of its addresses, and if the policy says so of its protocol and ports, with a secret of the stack's,
 * is set against the weights. A next hop whose interface is down is passed over, and comes back with it; the route goes when none is left.
 */
#include "net/stack/nexthop.h"

#include <string.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "sentry/base/slab.h"

static size_t size_of(unsigned count)
{
	return sizeof(struct nexthops) + count * sizeof(struct nexthop);
}

struct nexthops *nexthops_create(unsigned count)
{
	struct nexthops *h = count && count <= NEXTHOPS_MAX ? kalloc(size_of(count)) : NULL;

	if (!h)
		return NULL;
	memset(h, 0, size_of(count));
	h->count = h->room = count;
	return h;
}

void nexthops_free(struct nexthops *h)
{
	if (h)
		kfree(h, size_of(h->room));
}

struct nexthops *nexthops_copy(const struct nexthops *h, const struct nexthop *more)
{
	struct nexthops *copy = nexthops_create(h->count + !!more);

	if (!copy)
		return NULL;
	memcpy(copy->hop, h->hop, h->count * sizeof(h->hop[0]));
	if (more)
		copy->hop[h->count] = *more;
	return copy;
}

bool nexthops_eq(const struct nexthops *a, const struct nexthops *b)
{
	if (a->count != b->count)
		return false;
	for (unsigned i = 0; i < a->count; i++)
		if ((b->hop[i].dev && a->hop[i].dev != b->hop[i].dev) || a->hop[i].weight != b->hop[i].weight ||
		    !addr_eq(&a->hop[i].gateway, &b->hop[i].gateway))
			return false;
	return true;
}

int nexthops_find(const struct nexthops *h, const struct netdev *dev, const struct in6_addr *gateway)
{
	for (unsigned i = 0; i < h->count; i++)
		if ((!dev || h->hop[i].dev == dev) && (addr_is_any(gateway) || addr_eq(&h->hop[i].gateway, gateway)))
			return (int)i;
	return -1;
}

const struct nexthop *nexthops_on(const struct nexthops *h, unsigned dev)
{
	for (unsigned i = 0; i < h->count; i++)
		if (h->hop[i].dev->index == dev && h->hop[i].dev->flags & IFF_UP)
			return &h->hop[i];
	return NULL;
}

bool nexthops_dead(const struct nexthops *h)
{
	for (unsigned i = 0; i < h->count; i++)
		if (h->hop[i].dev->flags & IFF_UP)
			return false;
	return true;
}

void nexthops_remove(struct nexthops *h, unsigned at)
{
	h->count--;
	memmove(&h->hop[at], &h->hop[at + 1], (h->count - at) * sizeof(h->hop[0]));
}

static uint32_t flow_hash(struct stack *s, const struct route_flow *f)
{
	uint64_t more = 0;

	if (s->hash_policy[!addr_is_v4(&f->dst)])
		more = (uint64_t)f->sport << 48 | (uint64_t)f->dport << 32 | f->protocol;
	return addr_hash(s, &f->dst, (uint64_t)addr_hash(s, &f->src, more) << 32 | 1);
}

void route_choose(struct stack *s, const struct route *r, const struct route_flow *f, struct nexthop *ret)
{
	const struct nexthops *h = r->c.hops;
	const struct nexthop *on = h && f->oif ? nexthops_on(h, f->oif) : NULL;
	uint64_t total = 0, at;

	*ret = on ? *on : (struct nexthop){r->c.dev, r->c.gateway, 1};
	if (!h || on)
		return;
	for (unsigned i = 0; i < h->count; i++)
		total += h->hop[i].dev->flags & IFF_UP ? h->hop[i].weight : 0;
	at = flow_hash(s, f) * total >> 32;
	for (unsigned i = 0; i < h->count; i++) {
		uint64_t weight = h->hop[i].dev->flags & IFF_UP ? h->hop[i].weight : 0;

		if (at < weight) {
			*ret = h->hop[i];
			return;
		}
		at -= weight;
	}
}
