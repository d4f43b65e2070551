/* sentry/vma.c against a model: an array with an entry for each page. */
#include "sentry/vma.h"

#include <string.h>
#include <sys/mman.h>

#include "tests/unit/unit.h"

#define PAGES 2048ul
#define FIRST 16ul /* page of the model's index 0: address 0 means "none" */
#define STEPS 20000

static struct vma_tree tree;
static int owner[PAGES]; /* 0: free, else the mapping's number */
static struct vma *vmas[PAGES + 1];
static int vma_number = 0;
static unsigned seed;

static unsigned rnd(unsigned n)
{
	seed = seed * 1103515245u + 12345u;
	return (seed >> 8) % n;
}

static uint64_t address(uint64_t page)
{
	return (page + FIRST) << PAGE_SHIFT;
}

static struct vma *new_vma(uint64_t first, uint64_t count)
{
	struct vma *v = calloc(1, sizeof(*v));

	ck_assert_ptr_nonnull(v);
	v->start = address(first);
	v->end = address(first + count);
	v->flags = MAP_PRIVATE;
	return v;
}

static bool range_free(uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
		if (owner[i])
			return false;
	return true;
}

/* Which number of the model is free? */
static int take_number(struct vma *v)
{
	do
		vma_number = vma_number % (int)PAGES + 1;
	while (vmas[vma_number]);
	vmas[vma_number] = v;
	return vma_number;
}

static void model_set(uint64_t first, uint64_t count, int number)
{
	for (uint64_t i = first; i < first + count; i++)
		owner[i] = number;
}

static uint64_t page_of(uint64_t addr)
{
	return (addr >> PAGE_SHIFT) - FIRST;
}

static void step_insert(void)
{
	uint64_t count = 1 + rnd(20), first = rnd(PAGES - 20);
	struct vma *v;

	if (!range_free(first, count))
		return;
	v = new_vma(first, count);
	vma_insert(&tree, v);
	model_set(first, count, take_number(v));
}

static int random_mapping(void)
{
	uint64_t at = rnd(PAGES);

	for (uint64_t i = 0; i < PAGES; i++)
		if (owner[(at + i) % PAGES])
			return owner[(at + i) % PAGES];
	return 0;
}

static void step_remove(void)
{
	int n = random_mapping();
	struct vma *v = vmas[n];

	if (!n)
		return;
	vma_remove(&tree, v);
	model_set(page_of(v->start), (v->end - v->start) >> PAGE_SHIFT, 0);
	vmas[n] = NULL;
	free(v);
}

static void step_split(void)
{
	int n = random_mapping();
	struct vma *v = vmas[n];
	struct vma *upper;
	uint64_t pages, at;

	if (!n || (pages = (v->end - v->start) >> PAGE_SHIFT) < 2)
		return;
	at = v->start + ((1 + rnd((unsigned)pages - 1)) << PAGE_SHIFT);
	upper = calloc(1, sizeof(*upper));
	vma_split(&tree, v, at, upper);
	ck_assert_uint_eq(v->end, at);
	ck_assert_uint_eq(upper->start, at);
	model_set(page_of(at), (upper->end - at) >> PAGE_SHIFT, take_number(upper));
}

/* Cuts a page off at either end. */
static void step_resize(void)
{
	int n = random_mapping();
	struct vma *v = vmas[n];

	if (!n || v->end - v->start < 2 * PAGE_SIZE)
		return;
	if (rnd(2)) {
		owner[page_of(v->start)] = 0;
		vma_resize(&tree, v, v->start + PAGE_SIZE, v->end);
	} else {
		owner[page_of(v->end) - 1] = 0;
		vma_resize(&tree, v, v->start, v->end - PAGE_SIZE);
	}
}

static void check_find(void)
{
	uint64_t page = rnd(PAGES), next = page, end = page + 1 + rnd(40);
	struct vma *v = vma_find(&tree, address(page));
	int seen = 0;

	while (next < PAGES && !owner[next])
		next++;
	ck_assert_ptr_eq(v, next < PAGES ? vmas[owner[next]] : NULL);
	ck_assert_ptr_eq(vma_at(&tree, address(page)), owner[page] ? vmas[owner[page]] : NULL);
	for (uint64_t i = page; i < MIN(end, PAGES) && !seen; i++)
		seen = owner[i];
	ck_assert_ptr_eq(vma_intersects(&tree, address(page), address(end)), seen ? vmas[seen] : NULL);
}

static bool model_fits(uint64_t page, uint64_t count, uint64_t low, uint64_t high)
{
	return page >= low && page + count <= high && range_free(page, count);
}

static void check_gaps(void)
{
	uint64_t low = rnd(PAGES / 2), high = low + rnd((unsigned)(PAGES - low)), count = 1 + rnd(30);
	uint64_t align = 1ul << rnd(5), down = 0, up = 0;

	for (uint64_t p = low; p + count <= high; p++) {
		if ((p + FIRST) % align || !model_fits(p, count, low, high))
			continue;
		down = address(p);
		up = up ? up : down;
	}
	ck_assert_uint_eq(vma_gap_down(&tree, count << PAGE_SHIFT, align << PAGE_SHIFT, address(low), address(high)),
			  down);
	ck_assert_uint_eq(vma_gap_up(&tree, count << PAGE_SHIFT, align << PAGE_SHIFT, address(low), address(high)), up);
}

static void check_list(void)
{
	const struct vma *prev = NULL;
	size_t count = 0;

	for (const struct vma *v = tree.first; v; prev = v, v = v->next, count++) {
		ck_assert_ptr_eq(v->prev, prev);
		ck_assert(!prev || prev->end <= v->start);
	}
	ck_assert_ptr_eq(tree.last, prev);
	ck_assert_uint_eq(tree.count, count);
}

START_TEST(random_changes_agree_with_the_model)
{
	seed = 42u + (unsigned)_i;
	for (int i = 0; i < STEPS; i++) {
		static void (*const steps[])(void) = {step_insert, step_insert, step_insert,
						      step_remove, step_split,  step_resize};

		steps[rnd(ARRAY_SIZE(steps))]();
		check_find();
		if (i % 16 == 0)
			check_gaps();
		if (i % 256 == 0)
			check_list();
	}
	while (random_mapping())
		step_remove();
	ck_assert_ptr_null(tree.root);
	ck_assert_uint_eq(tree.count, 0);
}
END_TEST

START_TEST(a_stack_keeps_its_distance)
{
	struct vma *stack = new_vma(1000, 10);

	stack->flags |= MAP_GROWSDOWN;
	vma_insert(&tree, stack);
	ck_assert_uint_eq(vma_gap_down(&tree, PAGE_SIZE, PAGE_SIZE, address(0), address(1005)),
			  address(1000) - STACK_GUARD_GAP - PAGE_SIZE);
	ck_assert_uint_eq(vma_gap_up(&tree, 950 * PAGE_SIZE, PAGE_SIZE, address(0), address(PAGES)), address(1010));
	vma_remove(&tree, stack);
	free(stack);
}
END_TEST

/* As many mappings as an address space may have: a search must not walk over them. */
START_TEST(many_mappings)
{
	struct vma *all = calloc(MM_MAX_MAP_COUNT, sizeof(*all));

	ck_assert_ptr_nonnull(all);
	for (uint64_t i = 0; i < MM_MAX_MAP_COUNT; i++) {
		all[i].start = address(2 * i);
		all[i].end = address(2 * i + 1);
		vma_insert(&tree, &all[i]);
	}
	for (int i = 0; i < 200000; i++) {
		ck_assert_uint_eq(
		    vma_gap_down(&tree, 2 * PAGE_SIZE, PAGE_SIZE, address(0), address(2 * MM_MAX_MAP_COUNT - 1)), 0);
		ck_assert_ptr_eq(vma_at(&tree, address(2 * (uint64_t)(i % 60000))), &all[i % 60000]);
	}
	for (uint64_t i = 0; i < MM_MAX_MAP_COUNT; i++)
		vma_remove(&tree, &all[i * 7919 % MM_MAX_MAP_COUNT]);
	ck_assert_ptr_null(tree.root);
	free(all);
}
END_TEST

START_TEST(likes_merge)
{
	struct vma *a = new_vma(0, 2), *b = new_vma(2, 2);

	ck_assert(vma_mergeable(a, b));
	ck_assert(!vma_mergeable(b, a));
	b->prot = PROT_READ;
	ck_assert(!vma_mergeable(a, b));
	b->prot = 0;
	b->advice = VMA_DONTFORK;
	ck_assert(!vma_mergeable(a, b));
	free(a);
	free(b);
}
END_TEST

UNIT_MAIN(random_changes_agree_with_the_model, a_stack_keeps_its_distance, many_mappings, likes_merge)
