/*
 * The memory of all sockets of a protocol: see netmem.h.
 *
 * The limits are for the whole sandbox, since so is the memory: a guest that makes network namespaces gets no more by
 * them. By default the three are 3/64, 1/16 and 1/8 of what the arena may have, Linux's proportions; what packets keep
 * beside what is counted is at most as much again.
 *
 * The counter is exact, the pressure a hint: two who cross a limit at once may leave it as it was until the next one
 * comes.
 */
#include "net/stack/netmem.h"

#include "sentry/base/slab.h"

#define LEAST 128u /* pages */

struct net_memory tcp_memory, udp_memory;

static uint32_t limit(struct net_memory *m, unsigned i)
{
	uint32_t v = __atomic_load_n(&m->limit[i], __ATOMIC_RELAXED), medium;

	if (likely(v))
		return v;
	medium = (uint32_t)MIN(arena_limit() / PAGE_SIZE / 16, (size_t)UINT32_MAX / 4);
	medium = MAX(medium, LEAST);
	net_memory_set_limits(m, (const uint32_t[]){medium / 4 * 3, medium, medium * 2});
	return __atomic_load_n(&m->limit[i], __ATOMIC_RELAXED);
}

void net_memory_charge(struct net_memory *m, int64_t pages)
{
	uint64_t used = __atomic_add_fetch(&m->used, (uint64_t)pages, __ATOMIC_RELAXED);

	if (pages > 0 && unlikely(used > limit(m, 1)))
		__atomic_store_n(&m->pressure, true, __ATOMIC_RELAXED);
	else if (pages < 0 && net_memory_pressure(m) && used <= limit(m, 0))
		__atomic_store_n(&m->pressure, false, __ATOMIC_RELAXED);
}

bool net_memory_pressure(const struct net_memory *m)
{
	return __atomic_load_n(&m->pressure, __ATOMIC_RELAXED);
}

bool net_memory_full(struct net_memory *m)
{
	return net_memory_pressure(m) && net_memory_used(m) > limit(m, 2);
}

uint64_t net_memory_used(const struct net_memory *m)
{
	return __atomic_load_n(&m->used, __ATOMIC_RELAXED);
}

void net_memory_limits(struct net_memory *m, uint32_t *ret)
{
	for (unsigned i = 0; i < 3; i++)
		ret[i] = limit(m, i);
}

void net_memory_set_limits(struct net_memory *m, const uint32_t *limits)
{
	for (unsigned i = 0; i < 3; i++)
		__atomic_store_n(&m->limit[i], MAX(limits[i], 1u), __ATOMIC_RELAXED);
	__atomic_store_n(&m->pressure, net_memory_used(m) > limits[1], __ATOMIC_RELAXED);
}
