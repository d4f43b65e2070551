/* Sequence numbers: modulo 2^32, compared by their distance (RFC 9293 3.4). */
#pragma once

#include "sentry/base/types.h"

static inline bool seq_before(uint32_t a, uint32_t b)
{
	return a - b > UINT32_MAX / 2;
}

static inline bool seq_after(uint32_t a, uint32_t b)
{
	return seq_before(b, a);
}

/* lo <= x <= hi */
static inline bool seq_between(uint32_t x, uint32_t lo, uint32_t hi)
{
	return x - lo <= hi - lo;
}

static inline uint32_t seq_max(uint32_t a, uint32_t b)
{
	return seq_after(a, b) ? a : b;
}

static inline uint32_t seq_min(uint32_t a, uint32_t b)
{
	return seq_before(a, b) ? a : b;
}
