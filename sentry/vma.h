/*
 * The tree of an address space's mappings: which range is mapped, and where a gap is. Private to sentry/mm.c and its
 * neighbours. Everything here is under the mm's lock (L_MM); nothing here allocates, sleeps or calls the platform.
 */
#pragma once

#include <sys/mman.h>

#include "sentry/mm.h"

/* The distance that is kept free below a mapping that grows down (Linux's stack_guard_gap). */
#define STACK_GUARD_GAP (256 * PAGE_SIZE)

/* The mapping that contains addr, or the next one above it; NULL: none. */
struct vma *vma_find(const struct vma_tree *t, uint64_t addr);
/* The mapping that contains addr, or NULL. */
struct vma *vma_at(const struct vma_tree *t, uint64_t addr);
/* The first mapping that has a byte in [start, end), or NULL. */
struct vma *vma_intersects(const struct vma_tree *t, uint64_t start, uint64_t end);

/* v is the owner's; it must not overlap a mapping of the tree. */
void vma_insert(struct vma_tree *t, struct vma *v);
void vma_remove(struct vma_tree *t, struct vma *v);
/* Changes the bounds of a mapping in the tree; its order must not change. */
void vma_resize(struct vma_tree *t, struct vma *v, uint64_t start, uint64_t end);

/*
 * The highest (lowest) place of `size` bytes, aligned to `align`, in a gap that lies in [low, high); 0 if there is none. A
 * gap ends STACK_GUARD_GAP before a mapping that grows down.
 */
uint64_t vma_gap_down(const struct vma_tree *t, uint64_t size, uint64_t align, uint64_t low, uint64_t high);
uint64_t vma_gap_up(const struct vma_tree *t, uint64_t size, uint64_t align, uint64_t low, uint64_t high);

/* Where a gap below v ends. */
static inline uint64_t vma_gap_end(const struct vma *v)
{
	if (!(v->flags & MAP_GROWSDOWN))
		return v->start;
	return v->start > STACK_GUARD_GAP ? v->start - STACK_GUARD_GAP : 0;
}

/* Whether a and b, adjacent in this order, may be one mapping. */
bool vma_mergeable(const struct vma *a, const struct vma *b);
/* `v` cut in two at addr, which lies strictly inside: `upper` becomes [addr, end) and takes its own reference to the file. */
void vma_split(struct vma_tree *t, struct vma *v, uint64_t addr, struct vma *upper);
