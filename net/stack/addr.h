/* Addresses of both families in one type: IPv4 in its mapped form, prefix lengths out of 128, so that an IPv4 /24 is 120. */
#pragma once

#include <netinet/in.h>
#include <string.h>

#include "sentry/base/types.h"

#define V4_BITS 96 /* of ::ffff:0:0 */

static inline bool addr_eq(const struct in6_addr *a, const struct in6_addr *b)
{
	uint64_t x[2], y[2];

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

static inline bool addr_is_v4(const struct in6_addr *a)
{
	return IN6_IS_ADDR_V4MAPPED(a);
}

/* In network order. */
static inline uint32_t addr_v4(const struct in6_addr *a)
{
	return a->s6_addr32[3];
}

static inline struct in6_addr addr_from_v4(uint32_t v4)
{
	struct in6_addr a = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	a.s6_addr32[3] = v4;
	return a;
}

/* :: or 0.0.0.0 */
static inline bool addr_is_any(const struct in6_addr *a)
{
	return a->s6_addr32[3] == 0 && (addr_is_v4(a) || IN6_IS_ADDR_UNSPECIFIED(a));
}

static inline bool addr_is_multicast(const struct in6_addr *a)
{
	return addr_is_v4(a) ? (a->s6_addr[12] & 0xf0) == 0xe0 : a->s6_addr[0] == 0xff;
}

static inline bool addr_is_loopback(const struct in6_addr *a)
{
	return addr_is_v4(a) ? a->s6_addr[12] == 127 : IN6_IS_ADDR_LOOPBACK(a);
}

/* 255.255.255.255 */
static inline bool addr_is_limited_broadcast(const struct in6_addr *a)
{
	return addr_is_v4(a) && addr_v4(a) == UINT32_MAX;
}

static inline bool addr_is_link_local(const struct in6_addr *a)
{
	return addr_is_v4(a) ? a->s6_addr[12] == 169 && a->s6_addr[13] == 254 : IN6_IS_ADDR_LINKLOCAL(a);
}

/* Of IPv6: an address that means something only with an interface. */
static inline bool addr_needs_dev(const struct in6_addr *a)
{
	return IN6_IS_ADDR_LINKLOCAL(a) || (a->s6_addr[0] == 0xff && (a->s6_addr[1] & 0xf) <= 2);
}

static inline struct in6_addr addr_mask(const struct in6_addr *a, unsigned bits)
{
	struct in6_addr r = *a;

	for (unsigned i = 0; i < 16; i++, bits -= MIN(bits, 8u))
		r.s6_addr[i] &= (uint8_t) ~(0xffu >> MIN(bits, 8u));
	return r;
}

static inline bool addr_prefix_eq(const struct in6_addr *a, const struct in6_addr *b, unsigned bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;

	return memcmp(a, b, bytes) == 0 && (!rest || ((a->s6_addr[bytes] ^ b->s6_addr[bytes]) >> (8 - rest)) == 0);
}

/* Leading bits that are the same. */
static inline unsigned addr_common_bits(const struct in6_addr *a, const struct in6_addr *b)
{
	unsigned i = 0;

	while (i < 16 && a->s6_addr[i] == b->s6_addr[i])
		i++;
	return i == 16 ? 128 : i * 8 + (unsigned)__builtin_clz(a->s6_addr[i] ^ b->s6_addr[i]) - 24;
}
