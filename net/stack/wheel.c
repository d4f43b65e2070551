/*
 * Timers: a hierarchical wheel (Varghese and Lauck, 1987) of 64 slots a level, a slot of the lowest one being a millisecond.
 *
 * A timer stands in the level of the highest group of six bits in which its tick differs from the wheel's: so it lies
 * ahead of the wheel in that level, no slot is used twice at a time, and the first slot in use of the lowest level in
 * use is what comes next. When the wheel reaches a slot of a higher level, its timers move down. Arming and cancelling
 * touch one list; bitmaps say which slots are in use, so that the time in between is skipped.
 *
 * Deadlines are rounded up to a tick: nothing fires early. The wheel knows of no clock: stack_enter() and stack_run()
 * tell it the time.
 */
#include "net/stack/core.h"

#define TICK 1000000 /* ns */

void wheel_init(struct wheel *w, int64_t now)
{
	w->tick = now / TICK;
	for (unsigned l = 0; l < WHEEL_LEVELS; l++)
		for (unsigned i = 0; i < WHEEL_SLOTS; i++)
			list_init(&w->slot[l][i]);
}

void net_timer_init(struct net_timer *t, void (*fire)(struct stack *s, struct net_timer *t))
{
	list_init(&t->link);
	t->fire = fire;
}

bool net_timer_armed(const struct net_timer *t)
{
	return !list_empty(&t->link);
}

static int64_t tick_of(int64_t deadline)
{
	return deadline / TICK + (deadline % TICK > 0);
}

static void insert(struct wheel *w, struct net_timer *t)
{
	int64_t tick = MAX(tick_of(t->deadline), w->tick + 1);
	unsigned level = (unsigned)(63 - __builtin_clzll((uint64_t)(tick ^ w->tick))) / WHEEL_BITS;
	unsigned i = (unsigned)(tick >> (level * WHEEL_BITS)) % WHEEL_SLOTS;

	list_append(&w->slot[level][i], &t->link);
	w->map[level] |= 1ull << i;
	w->occupied |= 1u << level;
}

/* Notes that the slot at `head` is empty, if it is one: the head of a list of due timers is none. */
static void slot_emptied(struct wheel *w, const struct list *head)
{
	const struct list *first = &w->slot[0][0];
	size_t n;

	if (head < first || head >= first + WHEEL_LEVELS * WHEEL_SLOTS)
		return;
	n = (size_t)(head - first);
	w->map[n / WHEEL_SLOTS] &= ~(1ull << n % WHEEL_SLOTS);
	if (!w->map[n / WHEEL_SLOTS])
		w->occupied &= ~(1u << n / WHEEL_SLOTS);
}

void net_timer_cancel(struct stack *s, struct net_timer *t)
{
	struct list *next = t->link.next;

	if (list_empty(&t->link))
		return;
	list_remove(&t->link);
	if (list_empty(next))
		slot_emptied(&s->wheel, next);
}

void net_timer_arm(struct stack *s, struct net_timer *t, int64_t deadline)
{
	net_timer_cancel(s, t);
	t->deadline = MAX(deadline, 0);
	insert(&s->wheel, t);
}

/* The first slot in use: its level, its index, and the tick at which it begins. */
static int64_t next_slot(const struct wheel *w, unsigned *ret_level, unsigned *ret_index)
{
	unsigned level = (unsigned)__builtin_ctz(w->occupied), shift = level * WHEEL_BITS;
	unsigned i = (unsigned)__builtin_ctzll(w->map[level]);

	*ret_level = level;
	*ret_index = i;
	return (w->tick >> (shift + WHEEL_BITS) << (shift + WHEEL_BITS)) | (int64_t)i << shift;
}

int64_t wheel_next(const struct wheel *w)
{
	unsigned level, i;
	int64_t tick;

	if (!w->occupied)
		return INT64_MAX;
	tick = next_slot(w, &level, &i);
	return tick > INT64_MAX / TICK ? INT64_MAX : tick * TICK;
}

void wheel_sync(struct wheel *w, int64_t now)
{
	if (now < wheel_next(w))
		w->tick = MAX(w->tick, now / TICK);
}

static void fire_all(struct stack *s, struct list *due)
{
	struct net_timer *t;

	while ((t = list_first(due, struct net_timer, link))) {
		list_remove(&t->link);
		t->fire(s, t);
	}
}

void wheel_run(struct stack *s)
{
	struct wheel *w = &s->wheel;
	struct list due = LIST_INIT(due);
	int64_t now = s->now / TICK;

	while (w->occupied) {
		struct net_timer *t;
		unsigned level, i;
		int64_t tick = next_slot(w, &level, &i);

		if (tick > now)
			break;
		w->tick = tick;
		list_splice(&due, &w->slot[level][i]);
		slot_emptied(w, &w->slot[level][i]);
		if (level == 0) {
			fire_all(s, &due);
			continue;
		}
		while ((t = list_first(&due, struct net_timer, link))) {
			list_remove(&t->link);
			if (tick_of(t->deadline) > tick)
				insert(w, t);
			else
				t->fire(s, t);
		}
	}
	w->tick = MAX(w->tick, now);
}
