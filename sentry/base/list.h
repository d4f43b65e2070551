/* Intrusive doubly linked circular lists, in the shape of Linux's list_head. No locking: the owner's lock protects. */
#pragma once

#include "sentry/base/types.h"

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(l)                                                                                                   \
	{                                                                                                              \
		&(l), &(l)                                                                                             \
	}

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_link(struct list *n, struct list *prev, struct list *next)
{
	n->prev = prev;
	n->next = next;
	prev->next = n;
	next->prev = n;
}

/* At the head: the first that list_for_each sees. */
static inline void list_push(struct list *l, struct list *n)
{
	list_link(n, l, l->next);
}

/* At the tail: queue order. */
static inline void list_append(struct list *l, struct list *n)
{
	list_link(n, l->prev, l);
}

/* Removes n and makes it an empty list, so that removing twice is harmless and list_empty(n) tells. */
static inline void list_remove(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

/* Moves all of `from` to the tail of `to`. */
static inline void list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_entry(p, type, member) container_of(p, type, member)
#define list_first(l, type, member) (list_empty(l) ? NULL : list_entry((l)->next, type, member))
#define list_last(l, type, member) (list_empty(l) ? NULL : list_entry((l)->prev, type, member))

#define list_for_each(pos, l, member)                                                                                  \
	for ((pos) = list_entry((l)->next, __typeof__(*(pos)), member); &(pos)->member != (l);                         \
	     (pos) = list_entry((pos)->member.next, __typeof__(*(pos)), member))

/* As list_for_each, and pos may be removed in the body. */
#define list_for_each_safe(pos, n, l, member)                                                                          \
	for ((pos) = list_entry((l)->next, __typeof__(*(pos)), member),                                                \
	    (n) = list_entry((pos)->member.next, __typeof__(*(pos)), member);                                          \
	     &(pos)->member != (l); (pos) = (n), (n) = list_entry((n)->member.next, __typeof__(*(n)), member))
