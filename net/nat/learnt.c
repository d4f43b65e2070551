/* Names and their addresses: see learnt.h. A hash by address, keyed since servers choose the addresses. */
#include "net/nat/learnt.h"

#include <string.h>

#include "net/stack/addr.h"
#include "net/stack/siphash.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"

void learnt_init(struct learnt_table *t, const uint64_t key[2])
{
	for (unsigned i = 0; i < LEARNT_CHAINS; i++)
		list_init(&t->chains[i]);
	list_init(&t->age);
	t->count = 0;
	memcpy(t->key, key, sizeof(t->key));
}

static void drop(struct learnt_table *t, struct learnt *l) REQUIRES(L_EGRESS)
{
	list_remove(&l->chain);
	list_remove(&l->age);
	t->count--;
	kfree(l, sizeof(*l) + strlen(l->name) + 1);
}

void learnt_fini(struct learnt_table *t)
{
	while (!list_empty(&t->age))
		drop(t, list_first(&t->age, struct learnt, age));
}

static struct list *chain_of(struct learnt_table *t, const struct in6_addr *addr) REQUIRES(L_EGRESS)
{
	return &t->chains[siphash(t->key, addr, sizeof(*addr)) % LEARNT_CHAINS];
}

/* The one that was used longest ago, if the address has all the names that it may have. */
static struct learnt *surplus(struct learnt_table *t, const struct in6_addr *addr) REQUIRES(L_EGRESS)
{
	struct learnt *l, *oldest = NULL;
	unsigned names = 0;

	list_for_each(l, chain_of(t, addr), chain) {
		if (!addr_eq(&l->addr, addr))
			continue;
		names++;
		if (!oldest || l->expires < oldest->expires)
			oldest = l;
	}
	return names < LEARNT_OF_ADDR_MAX ? NULL : oldest;
}

static struct learnt *create(struct learnt_table *t, const char *name, const struct in6_addr *addr) REQUIRES(L_EGRESS)
{
	size_t size = strlen(name) + 1;
	struct learnt *l = surplus(t, addr);

	if (!l && t->count == LEARNT_MAX)
		l = list_first(&t->age, struct learnt, age);
	if (l)
		drop(t, l);
	l = kalloc(sizeof(*l) + size);
	if (!l)
		return NULL;
	l->addr = *addr;
	memcpy(l->name, name, size);
	list_append(chain_of(t, addr), &l->chain);
	list_append(&t->age, &l->age);
	t->count++;
	return l;
}

void learnt_add(struct learnt_table *t, const char *name, const struct in6_addr *addr, uint32_t seconds, int64_t now)
{
	struct learnt *l = learnt_find(t, addr, name, now);

	if (!l)
		l = create(t, name, addr);
	if (!l)
		return;
	l->life = MIN(MAX(seconds, (uint32_t)LEARNT_SECONDS_MIN), (uint32_t)LEARNT_SECONDS_MAX) * NSEC_PER_SEC;
	learnt_renew(t, l, now);
}

struct learnt *learnt_next(struct learnt_table *t, const struct in6_addr *addr, struct learnt *after, int64_t now)
{
	struct list *chain = chain_of(t, addr), *at = after ? &after->chain : chain;
	struct learnt *l;

	for (at = at->next; at != chain; at = at->next) {
		l = list_entry(at, struct learnt, chain);
		if (addr_eq(&l->addr, addr) && l->expires > now)
			return l;
	}
	return NULL;
}

struct learnt *learnt_find(struct learnt_table *t, const struct in6_addr *addr, const char *name, int64_t now)
{
	struct learnt *l = NULL;

	while ((l = learnt_next(t, addr, l, now)))
		if (strcmp(l->name, name) == 0)
			return l;
	return NULL;
}

void learnt_renew(struct learnt_table *t, struct learnt *l, int64_t now)
{
	l->expires = MAX(l->expires, now + l->life);
	list_remove(&l->age);
	list_append(&t->age, &l->age);
}
