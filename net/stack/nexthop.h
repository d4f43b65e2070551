/* Several next hops of one route: multipath. For route.c. */
#pragma once

#include "net/stack/route.h"

/* Zeroed. NULL: no memory, or more than NEXTHOPS_MAX. */
struct nexthops *nexthops_create(unsigned count);
void nexthops_free(struct nexthops *h);
/* A copy with one more; more may be NULL. NULL: as nexthops_create(). */
struct nexthops *nexthops_copy(const struct nexthops *h, const struct nexthop *more);
bool nexthops_eq(const struct nexthops *a, const struct nexthops *b);
/* Where dev (NULL: any) and gateway (any: any) are among them; -1. */
int nexthops_find(const struct nexthops *h, const struct netdev *dev, const struct in6_addr *gateway);
/* The first whose interface has this index and is up; NULL. */
const struct nexthop *nexthops_on(const struct nexthops *h, unsigned dev);
/* Whether no interface of them is up. */
bool nexthops_dead(const struct nexthops *h);
/* Not the last one. */
void nexthops_remove(struct nexthops *h, unsigned at);
