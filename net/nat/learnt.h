/*
 * Which addresses names have, as the resolver has learnt from answers that a guest got. An address counts for as long as its record says, but for a
 * minute at least; each flow that goes there by it renews it. How many there are is bounded: the ones that were not used for longest go.
 *
 * All under L_EGRESS.
 */
#pragma once

#include <netinet/in.h>

#include "net/nat/name.h"
#include "sentry/base/list.h"
#include "sentry/base/lock.h"

#define LEARNT_MAX 4096u
#define LEARNT_OF_ADDR_MAX 64u /* names of one address */
#define LEARNT_SECONDS_MIN 60
#define LEARNT_SECONDS_MAX (24 * 3600)
#define LEARNT_CHAINS 1024u

struct learnt {
	struct list chain, age;
	struct in6_addr addr;
	int64_t expires, life; /* ns */
	char name[];
};

struct learnt_table {
	struct list chains[LEARNT_CHAINS];
	struct list age; /* the one that was used last is at the end */
	unsigned count;
	uint64_t key[2];
};

void learnt_init(struct learnt_table *t, const uint64_t key[2]);
void learnt_fini(struct learnt_table *t) REQUIRES(L_EGRESS);
/* seconds: of the record. What cannot be noted for want of memory is not allowed later. */
void learnt_add(struct learnt_table *t, const char *name, const struct in6_addr *addr, uint32_t seconds, int64_t now)
    REQUIRES(L_EGRESS);
/* The names of an address, one after the other: NULL first, NULL at the end. */
struct learnt *learnt_next(struct learnt_table *t, const struct in6_addr *addr, struct learnt *after, int64_t now)
    REQUIRES(L_EGRESS);
struct learnt *learnt_find(struct learnt_table *t, const struct in6_addr *addr, const char *name, int64_t now)
    REQUIRES(L_EGRESS);
void learnt_renew(struct learnt_table *t, struct learnt *l, int64_t now) REQUIRES(L_EGRESS);
