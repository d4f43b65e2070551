/*
 * The tree of mappings: a treap by start address, whose nodes also hang on a list in address order.
 *
 * A treap (random priorities, heap order) needs no rebalancing rules: insertion splits a subtree, removal merges two. Depth is
 * about 2 ln n, so that the recursion stays shallow for the 65,530 mappings that an address space may have.
 *
 * Each node knows the largest gap right below a mapping of its subtree (`max_gap`), which makes the search for a free range
 * logarithmic, as Linux's maple tree does. A gap belongs to the mapping above it; the one above the last mapping belongs to nobody and is
 * looked at separately. Whoever changes a node's bounds, or its predecessor, refreshes the path from the root to it.
 */
#include "sentry/vma.h"

#include <sys/mman.h>

/* xorshift; the guest may learn it, which costs only its own speed. */
static uint32_t random_priority(void)
{
	static __thread uint32_t x = 2463534242u;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

static uint64_t gap_start(const struct vma *v)
{
	return v->prev ? v->prev->end : 0;
}

static uint64_t gap_below(const struct vma *v)
{
	uint64_t start = gap_start(v);
	uint64_t end = vma_gap_end(v);

	return end > start ? end - start : 0;
}

static void refresh(struct vma *n)
{
	uint64_t gap = gap_below(n);

	if (n->left)
		gap = MAX(gap, n->left->max_gap);
	if (n->right)
		gap = MAX(gap, n->right->max_gap);
	n->max_gap = gap;
}

/* Refreshes the nodes from the root down to v, bottom first. */
static void refresh_path(struct vma *n, const struct vma *v)
{
	if (n != v)
		refresh_path(v->start < n->start ? n->left : n->right, v);
	refresh(n);
}

static void refresh_to(struct vma_tree *t, const struct vma *v)
{
	if (v)
		refresh_path(t->root, v);
}

/* Cuts the subtree n into those below key and those at or above it. */
static void treap_split(struct vma *n, uint64_t key, struct vma **ret_low, struct vma **ret_high)
{
	if (!n) {
		*ret_low = *ret_high = NULL;
		return;
	}
	if (n->start < key) {
		treap_split(n->right, key, &n->right, ret_high);
		*ret_low = n;
	} else {
		treap_split(n->left, key, ret_low, &n->left);
		*ret_high = n;
	}
	refresh(n);
}

/* Every node of a lies below every node of b. */
static struct vma *treap_merge(struct vma *a, struct vma *b)
{
	if (!a || !b)
		return a ? a : b;
	if (a->priority > b->priority) {
		a->right = treap_merge(a->right, b);
		refresh(a);
		return a;
	}
	b->left = treap_merge(a, b->left);
	refresh(b);
	return b;
}

static struct vma *treap_insert(struct vma *n, struct vma *v)
{
	if (!n || v->priority > n->priority) {
		treap_split(n, v->start, &v->left, &v->right);
		n = v;
	} else if (v->start < n->start) {
		n->left = treap_insert(n->left, v);
	} else {
		n->right = treap_insert(n->right, v);
	}
	refresh(n);
	return n;
}

static struct vma *treap_remove(struct vma *n, const struct vma *v)
{
	if (n == v)
		return treap_merge(n->left, n->right);
	if (v->start < n->start)
		n->left = treap_remove(n->left, v);
	else
		n->right = treap_remove(n->right, v);
	refresh(n);
	return n;
}

struct vma *vma_find(const struct vma_tree *t, uint64_t addr)
{
	struct vma *best = NULL;

	for (struct vma *n = t->root; n;) {
		if (addr < n->end) {
			best = n;
			n = n->left;
		} else {
			n = n->right;
		}
	}
	return best;
}

struct vma *vma_at(const struct vma_tree *t, uint64_t addr)
{
	struct vma *v = vma_find(t, addr);

	return v && v->start <= addr ? v : NULL;
}

struct vma *vma_intersects(const struct vma_tree *t, uint64_t start, uint64_t end)
{
	struct vma *v = vma_find(t, start);

	return v && v->start < end ? v : NULL;
}

void vma_insert(struct vma_tree *t, struct vma *v)
{
	struct vma *next = vma_find(t, v->start);
	struct vma *prev = next ? next->prev : t->last;

	v->prev = prev;
	v->next = next;
	*(prev ? &prev->next : &t->first) = v;
	*(next ? &next->prev : &t->last) = v;
	v->priority = random_priority();
	t->root = treap_insert(t->root, v);
	t->count++;
	refresh_to(t, next);
}

void vma_remove(struct vma_tree *t, struct vma *v)
{
	struct vma *next = v->next;

	t->root = treap_remove(t->root, v);
	*(v->prev ? &v->prev->next : &t->first) = next;
	*(next ? &next->prev : &t->last) = v->prev;
	v->left = v->right = v->prev = v->next = NULL;
	t->count--;
	refresh_to(t, next);
}

void vma_resize(struct vma_tree *t, struct vma *v, uint64_t start, uint64_t end)
{
	v->start = start;
	v->end = end;
	refresh_to(t, v);
	refresh_to(t, v->next);
}

/* The part of [start, end) that lies in [low, high) has room: the highest aligned place in it, or 0. */
static uint64_t fit_down(uint64_t start, uint64_t end, uint64_t size, uint64_t align, uint64_t low, uint64_t high)
{
	uint64_t at;

	start = MAX(start, low);
	end = MIN(end, high);
	if (end < start || end - start < size)
		return 0;
	at = (end - size) & ~(align - 1);
	return at >= start ? at : 0;
}

static uint64_t fit_up(uint64_t start, uint64_t end, uint64_t size, uint64_t align, uint64_t low, uint64_t high)
{
	uint64_t at;

	start = MAX(start, low);
	end = MIN(end, high);
	at = (start + align - 1) & ~(align - 1);
	return at >= start && at <= end && end - at >= size ? at : 0;
}

static uint64_t gap_down(const struct vma *n, uint64_t size, uint64_t align, uint64_t low, uint64_t high)
{
	uint64_t at;

	if (!n || n->max_gap < size)
		return 0;
	if (n->end < high && (at = gap_down(n->right, size, align, low, high)))
		return at;
	if ((at = fit_down(gap_start(n), vma_gap_end(n), size, align, low, high)))
		return at;
	return n->start > low ? gap_down(n->left, size, align, low, high) : 0;
}

uint64_t vma_gap_down(const struct vma_tree *t, uint64_t size, uint64_t align, uint64_t low, uint64_t high)
{
	uint64_t at = fit_down(t->last ? t->last->end : 0, UINT64_MAX, size, align, low, high);

	return at ? at : gap_down(t->root, size, align, low, high);
}

static uint64_t gap_up(const struct vma *n, uint64_t size, uint64_t align, uint64_t low, uint64_t high)
{
	uint64_t at;

	if (!n || n->max_gap < size)
		return 0;
	if (n->start > low && (at = gap_up(n->left, size, align, low, high)))
		return at;
	if ((at = fit_up(gap_start(n), vma_gap_end(n), size, align, low, high)))
		return at;
	return n->end < high ? gap_up(n->right, size, align, low, high) : 0;
}

uint64_t vma_gap_up(const struct vma_tree *t, uint64_t size, uint64_t align, uint64_t low, uint64_t high)
{
	uint64_t at = gap_up(t->root, size, align, low, high);

	return at ? at : fit_up(t->last ? t->last->end : 0, UINT64_MAX, size, align, low, high);
}

bool vma_mergeable(const struct vma *a, const struct vma *b)
{
	if (a->end != b->start || a->prot != b->prot || a->max_prot != b->max_prot || a->flags != b->flags ||
	    a->file != b->file || a->name != b->name || a->advice != b->advice || a->host_fd != b->host_fd)
		return false;
	if (a->file && a->file->ops->map_close)
		return false;
	return !a->file || (a->off + (a->end - a->start) == b->off && a->host_off + (a->end - a->start) == b->host_off);
}

void vma_split(struct vma_tree *t, struct vma *v, uint64_t addr, struct vma *upper)
{
	uint64_t size = addr - v->start;

	*upper = *v;
	upper->start = addr;
	if (v->file) {
		file_map_get(v->file);
		upper->off += size;
		upper->host_off += size;
	}
	vma_resize(t, v, v->start, addr);
	vma_insert(t, upper);
}
