/*
 * The memory of all sockets of a protocol, whatever namespace they are in: net.ipv4.tcp_mem and udp_mem.
 *
 * It is counted in pages, and limited by three numbers, as Linux does: beyond the second there is pressure, until the
 * first is fallen below again; beyond the third nobody gets more than the smallest buffer.
 */
#pragma once

#include "sentry/base/types.h"

struct net_memory {
	uint64_t used;     /* pages; atomic, as stacks have locks of their own */
	uint32_t limit[3]; /* pages; atomic; all 0: by the size of the arena, when they are first asked for */
	bool pressure;     /* atomic */
};

extern struct net_memory tcp_memory, udp_memory;

/* Pages are added, or given back. */
void net_memory_charge(struct net_memory *m, int64_t pages);
/* Brings what somebody is charged with to the pages that hold so many bytes. */
static inline void net_memory_adjust(struct net_memory *m, uint32_t *charged, uint64_t bytes)
{
	uint32_t pages = (uint32_t)((bytes + PAGE_SIZE - 1) >> PAGE_SHIFT);

	if (pages == *charged)
		return;
	net_memory_charge(m, (int64_t)pages - *charged);
	*charged = pages;
}
bool net_memory_pressure(const struct net_memory *m);
/* Beyond the last limit. */
bool net_memory_full(struct net_memory *m);
uint64_t net_memory_used(const struct net_memory *m);
void net_memory_limits(struct net_memory *m, uint32_t *ret);
void net_memory_set_limits(struct net_memory *m, const uint32_t *limit);
