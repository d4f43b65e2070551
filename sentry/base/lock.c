/*
 * Lock classes and the run-time order check.
 *
 * With LOCK_DEBUG each thread remembers the ranks it holds, and taking a lock of a rank that is not above the highest
 * held one is a bug in our code that is reported at once, whether or not another thread is there to deadlock with.
 */
#include "sentry/base/lock.h"

#include <linux/futex.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOCK_CLASS_DEFINE(cls, r) struct lock_class lock_class_##cls = {#cls, r};
LOCK_CLASSES(LOCK_CLASS_DEFINE)

#if LOCK_DEBUG
#define HELD_MAX 16

static __thread const struct lock_class *held[HELD_MAX];
static __thread unsigned held_count;

void lock_debug_acquire(const struct lock_class *cls, bool same_ok)
{
	for (unsigned i = 0; i < held_count; i++) {
		if (held[i]->rank < cls->rank || same_ok)
			continue;
		fprintf(stderr, "lock order: %s taken while %s is held\n", cls->name, held[i]->name);
		BUG_ON(true);
	}
	BUG_ON(held_count == HELD_MAX);
	held[held_count++] = cls;
}

void lock_debug_release(const struct lock_class *cls)
{
	for (unsigned i = held_count; i-- > 0;) {
		if (held[i] != cls)
			continue;
		for (; i + 1 < held_count; i++)
			held[i] = held[i + 1];
		held_count--;
		return;
	}
	BUG_ON(true);
}
#endif

__thread struct lock_wakes lock_wakes;

static void wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void lock_wake(uint32_t *word)
{
	struct lock_wakes *w = &lock_wakes;

	if (w->locks && w->count < ARRAY_SIZE(w->words))
		w->words[w->count++] = word;
	else
		wake(word);
}

void lock_wakes_flush(void)
{
	struct lock_wakes *w = &lock_wakes;

	for (unsigned i = 0; i < w->count; i++)
		wake(w->words[i]);
	w->count = 0;
}

void mutex_lock_two(struct mutex *a, struct mutex *b, struct lock_class *cls) NO_TSA
{
	struct mutex *first = a < b ? a : b;
	struct mutex *second = a < b ? b : a;

	lock_debug_acquire(cls, false);
	lock_take(first);
	if (second != first)
		lock_take(second);
}

void mutex_unlock_two(struct mutex *a, struct mutex *b, struct lock_class *cls) NO_TSA
{
	lock_debug_release(cls);
	lock_give_back(a);
	if (b != a)
		lock_give_back(b);
}
