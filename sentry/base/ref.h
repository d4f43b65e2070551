/* Reference counts. A count starts at 1, owned by the creator. x_get() and x_put() are built on these. */
#pragma once

#include "sentry/base/types.h"

struct ref {
	_Atomic uint32_t n;
};

static inline void ref_init(struct ref *r)
{
	__atomic_store_n((uint32_t *)&r->n, 1, __ATOMIC_RELAXED);
}

static inline void ref_get(struct ref *r)
{
	uint32_t old = __atomic_fetch_add((uint32_t *)&r->n, 1, __ATOMIC_RELAXED);

	BUG_ON(old == 0 || old > UINT32_MAX / 2);
}

/* For look-ups in a table that does not own a reference: false if the object is already dying. */
static inline bool __must_check ref_get_unless_zero(struct ref *r)
{
	uint32_t old = __atomic_load_n((uint32_t *)&r->n, __ATOMIC_RELAXED);

	while (old != 0)
		if (__atomic_compare_exchange_n((uint32_t *)&r->n, &old, old + 1, true, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

/* True if that was the last reference: the caller destroys the object. */
static inline bool __must_check ref_put(struct ref *r)
{
	uint32_t old = __atomic_fetch_sub((uint32_t *)&r->n, 1, __ATOMIC_ACQ_REL);

	BUG_ON(old == 0);
	return old == 1;
}

static inline uint32_t ref_count(const struct ref *r)
{
	return __atomic_load_n((const uint32_t *)&r->n, __ATOMIC_RELAXED);
}
