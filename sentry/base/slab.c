/*
 * Memory for kernel objects: see slab.h.
 *
 * The arena is one reservation at a random base, as large as the host allows; it becomes writable from its beginning, in steps. A page costs
 * memory only once it is touched. Slabs take chunks from its growing end, which is one atomic word, and carve objects from their chunk
 * as they are asked for, so that an idle cache touches no page it does not use. A freed object goes to its slab's free
 * list, which runs through the objects; links are stored xored with a random key and checked when they are followed, so
 * that a stray store is found, not obeyed.
 *
 * kalloc() has one slab for each power of two. Objects of RUN_MIN and more are runs of pages: they are given back to the
 * host when they are freed and count towards arena_bytes() only while they live; smaller ones stay with their slab for ever.
 *
 * With SLAB_MALLOC (sanitizer builds) every object comes from calloc() with its exact size. The counts are kept all the same.
 */
#include "sentry/base/slab.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "sentry/base/log.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SLAB_MALLOC 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLAB_MALLOC 1
#endif
#ifndef SLAB_MALLOC
#define SLAB_MALLOC 0
#endif

#define OBJECT_ALIGN 16ul
#define CLASS_MIN_SHIFT 4
#define RUN_MIN (128ul << 10)
#define ARENA_DEFAULT (4ul << 30)
#define ARENA_ALIGN (2ul << 20)
#define ARENA_MIN (512ul << 20)
#define ARENA_STEP (16ul << 20)
/* Bases lie between these, far from where the host puts programs, libraries, stacks and its own mappings. */
#define ARENA_LOWEST 0x100000000000ul
#define ARENA_SPAN 0x400000000000ul

static struct {
	pthread_once_t once;
	char *base;
	size_t reserved;  /* address space; more than max, because a free run keeps its addresses */
	size_t max;       /* bytes that may be committed */
	size_t used;      /* atomic: the growing end */
	size_t writable;  /* atomic: up to here */
	size_t committed; /* atomic */
	uintptr_t key;    /* for free list links */
} arena = {.once = PTHREAD_ONCE_INIT, .max = ARENA_DEFAULT};

static struct slab *all_slabs; /* atomic; grows only */
static unsigned fail_in;       /* atomic; 0: never */

static void *arena_reserve(size_t size)
{
	for (int tries = 0; tries < 64; tries++) {
		uintptr_t r;
		void *p;

		if (getrandom(&r, sizeof(r), 0) != sizeof(r))
			return NULL;
		p = (void *)((ARENA_LOWEST + r % ARENA_SPAN) & ~(ARENA_ALIGN - 1));
		if (mmap(p, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
			 0) == p)
			return p;
		if (errno != EEXIST)
			return NULL;
	}
	return NULL;
}

static void arena_init_once(void)
{
	if (SLAB_MALLOC)
		return;
	if (getrandom(&arena.key, sizeof(arena.key), 0) != sizeof(arena.key))
		return;
	/* Rounding to powers of two wastes half at worst; runs of one size are not reused for another. */
	arena.reserved = MAX(4 * arena.max, 4 * ARENA_DEFAULT);
	while (!(arena.base = arena_reserve(arena.reserved)) && arena.reserved > ARENA_MIN)
		arena.reserved /= 2;
	arena.max = MIN(arena.max, arena.reserved);
}

int arena_init(size_t max_bytes)
{
	arena.max = PAGE_UP(max_bytes);
	pthread_once(&arena.once, arena_init_once);
	return SLAB_MALLOC || arena.base ? 0 : -ENOMEM;
}

size_t arena_bytes(void)
{
	return __atomic_load_n(&arena.committed, __ATOMIC_RELAXED);
}

size_t arena_limit(void)
{
	return arena.max;
}

/* Adds to the account; false if that would be too much. */
static bool arena_charge(size_t size)
{
	size_t old = arena_bytes();

	do {
		if (size > arena.max || old > arena.max - size)
			return false;
	} while (
	    !__atomic_compare_exchange_n(&arena.committed, &old, old + size, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return true;
}

static void arena_uncharge(size_t size)
{
	__atomic_fetch_sub(&arena.committed, size, __ATOMIC_RELAXED);
}

/* Makes the arena writable up to `end`. Who does it twice does no harm. */
static bool arena_open(size_t end)
{
	size_t from = __atomic_load_n(&arena.writable, __ATOMIC_RELAXED);

	while (from < end) {
		if (mprotect(arena.base + from, ARENA_STEP, PROT_READ | PROT_WRITE))
			return false;
		if (__atomic_compare_exchange_n(&arena.writable, &from, from + ARENA_STEP, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			from += ARENA_STEP;
	}
	return true;
}

/* Addresses from the growing end, page aligned, or NULL. */
static void *arena_grow(size_t size)
{
	size_t old = __atomic_load_n(&arena.used, __ATOMIC_RELAXED);

	pthread_once(&arena.once, arena_init_once);
	do {
		if (!arena.base || size > arena.reserved - old)
			return NULL;
	} while (!__atomic_compare_exchange_n(&arena.used, &old, old + size, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return arena_open(old + size) ? arena.base + old : NULL;
}

static bool alloc_should_fail(void)
{
	unsigned n = __atomic_load_n(&fail_in, __ATOMIC_RELAXED);

	while (n != 0)
		if (__atomic_compare_exchange_n(&fail_in, &n, n - 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return n == 1;
	return false;
}

unsigned slab_fail_nth(unsigned n)
{
	return __atomic_exchange_n(&fail_in, n, __ATOMIC_RELAXED);
}

static void slab_register(struct slab *s) REQUIRES(L_SLAB);
static void slab_register(struct slab *s)
{
	struct slab *head = __atomic_load_n(&all_slabs, __ATOMIC_RELAXED);

	s->registered = true;
	do {
		s->next = head;
	} while (!__atomic_compare_exchange_n(&all_slabs, &head, s, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

void slab_for_each(void (*fn)(const struct slab *s, void *arg), void *arg)
{
	for (struct slab *s = __atomic_load_n(&all_slabs, __ATOMIC_ACQUIRE); s; s = s->next)
		fn(s, arg);
}

static size_t object_size(const struct slab *s)
{
	return (MAX(s->size, OBJECT_ALIGN) + OBJECT_ALIGN - 1) & ~(OBJECT_ALIGN - 1);
}

static bool is_run(size_t size)
{
	return size >= RUN_MIN;
}

/* Pops the free list. The object's first word is stale. */
static void *free_list_pop(struct slab *s) REQUIRES(L_SLAB);
static void *free_list_pop(struct slab *s)
{
	uintptr_t *p = s->free;
	uintptr_t next;

	if (!p)
		return NULL;
	next = *p ^ arena.key;
	BUG_ON(next != 0 && (next - (uintptr_t)arena.base >= arena.used || next % OBJECT_ALIGN != 0));
	s->free = (void *)next;
	return p;
}

static void free_list_push(struct slab *s, void *object) REQUIRES(L_SLAB);
static void free_list_push(struct slab *s, void *object)
{
	BUG_ON(s->free == object);
	*(uintptr_t *)object = (uintptr_t)s->free ^ arena.key;
	s->free = object;
}

/* The next object that was never given out; zero, because the host's pages are. */
static void *slab_carve(struct slab *s, size_t size) REQUIRES(L_SLAB);
static void *slab_carve(struct slab *s, size_t size)
{
	char *p;

	if (s->chunk_left < size) {
		size_t chunk = is_run(size) ? size : PAGE_UP(size * 8);

		if (!is_run(size) && !arena_charge(chunk))
			return NULL;
		s->chunk = arena_grow(chunk);
		s->chunk_left = s->chunk ? chunk : 0;
		if (!s->chunk) {
			if (!is_run(size))
				arena_uncharge(chunk);
			return NULL;
		}
	}
	p = s->chunk;
	s->chunk += size;
	s->chunk_left -= size;
	s->total++;
	return p;
}

/* dirty: the caller does not need it zeroed. */
static void *slab_take(struct slab *s, bool dirty) REQUIRES(L_SLAB);
static void *slab_take(struct slab *s, bool dirty)
{
	size_t size = object_size(s);
	void *p;

	if (SLAB_MALLOC)
		return dirty ? malloc(s->size) : calloc(1, s->size);
	if (is_run(size) && !arena_charge(size))
		return NULL;
	p = free_list_pop(s);
	if (p)
		return memset(p, 0, dirty || is_run(size) ? sizeof(uintptr_t) : size);
	p = slab_carve(s, size);
	if (!p && is_run(size))
		arena_uncharge(size);
	return p;
}

static void *slab_get(struct slab *s, bool dirty)
{
	void *p;

	if (alloc_should_fail())
		return NULL;
	mutex_lock(&s->lock, L_SLAB);
	if (!s->registered)
		slab_register(s);
	p = slab_take(s, dirty);
	if (p)
		s->live++;
	mutex_unlock(&s->lock, L_SLAB);
	return p;
}

void *slab_alloc(struct slab *s)
{
	return slab_get(s, false);
}

void *slab_alloc_dirty(struct slab *s)
{
	return slab_get(s, true);
}

void slab_free(struct slab *s, void *p)
{
	size_t size = object_size(s);

	if (!p)
		return;
	if (!SLAB_MALLOC && is_run(size)) {
		madvise(p, size, MADV_DONTNEED);
		arena_uncharge(size);
	}
	mutex_lock(&s->lock, L_SLAB);
	BUG_ON(s->live == 0);
	s->live--;
	if (SLAB_MALLOC)
		free(p);
	else
		free_list_push(s, p);
	mutex_unlock(&s->lock, L_SLAB);
}

#define CLASS(shift)                                                                                                   \
	{                                                                                                              \
		.name = "kalloc-" #shift, .size = 1ul << (shift), .lock = MUTEX_INIT                                   \
	}

static struct slab classes[] = {
    CLASS(4),  CLASS(5),  CLASS(6),  CLASS(7),  CLASS(8),  CLASS(9),  CLASS(10), CLASS(11),
    CLASS(12), CLASS(13), CLASS(14), CLASS(15), CLASS(16), CLASS(17), CLASS(18), CLASS(19),
    CLASS(20), CLASS(21), CLASS(22), CLASS(23), CLASS(24), CLASS(25), CLASS(26),
};
_Static_assert(1ul << (CLASS_MIN_SHIFT + ARRAY_SIZE(classes) - 1) == ARENA_ALLOC_MAX, "a class for each size");

static struct slab *class_of(size_t size)
{
	if (size <= 1ul << CLASS_MIN_SHIFT)
		return &classes[0];
	return &classes[64 - __builtin_clzl(size - 1) - CLASS_MIN_SHIFT];
}

#if SLAB_MALLOC
/* Exact sizes, so that a sanitizer sees an overrun by one byte. */
void *kalloc(size_t size)
{
	return size > ARENA_ALLOC_MAX || alloc_should_fail() ? NULL : calloc(1, MAX(size, 1));
}

void *kalloc_dirty(size_t size)
{
	return size > ARENA_ALLOC_MAX || alloc_should_fail() ? NULL : malloc(MAX(size, 1));
}

void kfree(void *p, size_t size __unused)
{
	free(p);
}
#else
void *kalloc(size_t size)
{
	return size > ARENA_ALLOC_MAX ? NULL : slab_get(class_of(size), false);
}

void *kalloc_dirty(size_t size)
{
	return size > ARENA_ALLOC_MAX ? NULL : slab_get(class_of(size), true);
}

void kfree(void *p, size_t size)
{
	if (p)
		slab_free(class_of(size), p);
}
#endif

void *krealloc(void *p, size_t old_size, size_t size)
{
	void *n;

	if (!SLAB_MALLOC && p && size <= ARENA_ALLOC_MAX && class_of(old_size) == class_of(size)) {
		if (size < old_size)
			memset((char *)p + size, 0, old_size - size);
		return p;
	}
	n = kalloc(size);
	if (!n)
		return NULL;
	if (p)
		memcpy(n, p, MIN(old_size, size));
	kfree(p, old_size);
	return n;
}

char *kstrdup(const char *s)
{
	size_t size = strlen(s) + 1;
	char *copy = kalloc(size);

	return copy ? memcpy(copy, s, size) : NULL;
}

void kfree_string(char *s)
{
	if (s)
		kfree(s, strlen(s) + 1);
}
