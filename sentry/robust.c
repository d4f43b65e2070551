/*
 * Robust futexes: set_robust_list(2), Documentation/robust-futexes. A thread keeps a list of the locks that it holds
 * in its own memory; when it dies we walk the list, set FUTEX_OWNER_DIED in each lock word that bears its tid and
 * wake one waiter.
 *
 * Everything read here is the guest's: the walk is bounded, every address may be bad, and a bad one ends it silently.
 * The lowest bit of a list pointer marks a priority-inheritance lock; these are handed on by the next locker's own
 * check of the dead owner, so they are marked in the same way.
 */
#include "sentry/robust.h"

#include <linux/futex.h>

#include "sentry/base/ctx.h"

#define ROBUST_LIMIT 2048
#define PI_BIT 1ull

struct k_robust_head {
	uint64_t next;
	int64_t futex_offset;
	uint64_t pending;
};
_Static_assert(sizeof(struct k_robust_head) == 24, "ABI");

/* False: the word cannot be reached. */
static bool robust_release(struct task *t, uint64_t addr, bool pi, bool pending)
{
	uint32_t word, mine = (uint32_t)t->ctx.tid;

	if ((addr & 3) || copy_in(&t->ctx, &word, UADDR(addr), sizeof(word)))
		return false;
	/* Died between unlocking and taking it off the list: the wake-up may be missing. */
	if (pending && !pi && word == 0) {
		futex_wake_addr(t, addr);
		return true;
	}
	while ((word & FUTEX_TID_MASK) == mine) {
		uint32_t seen = word;
		uint32_t dead = (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;

		if (platform->cpu_cas32(t->cpu, addr, &seen, dead))
			return false;
		if (seen == word) {
			if (word & FUTEX_WAITERS)
				futex_wake_addr(t, addr);
			return true;
		}
		word = seen;
	}
	return true;
}

static bool robust_next(struct task *t, uint64_t at, uint64_t *ret)
{
	return copy_in(&t->ctx, ret, UADDR(at & ~PI_BIT), sizeof(*ret)) == 0;
}

void robust_list_exit(struct task *t)
{
	struct k_robust_head head;
	uint64_t entry;

	if (!t->robust_list.v || copy_in(&t->ctx, &head, t->robust_list, sizeof(head)))
		return;
	entry = head.next;
	for (int i = 0; i < ROBUST_LIMIT && (entry & ~PI_BIT) != t->robust_list.v; i++) {
		uint64_t next;
		bool more = robust_next(t, entry, &next);

		if ((entry & ~PI_BIT) != (head.pending & ~PI_BIT) &&
		    !robust_release(t, (entry & ~PI_BIT) + (uint64_t)head.futex_offset, entry & PI_BIT, false))
			return;
		if (!more)
			return;
		entry = next;
	}
	if (head.pending & ~PI_BIT)
		robust_release(t, (head.pending & ~PI_BIT) + (uint64_t)head.futex_offset, head.pending & PI_BIT, true);
}
