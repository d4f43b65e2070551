/*
 * Memory for kernel objects: fixed-size caches in one reserved region (the arena), whose base is chosen at random at start.
 * Everything that makes up the sandbox's state lives here, so that it can be accounted, forked and saved as a whole.
 * Sanitizer builds give each object to malloc instead. Objects come zeroed.
 *
 *	static struct slab dentry_slab = SLAB_INIT(struct dentry);
 *	d = slab_alloc(&dentry_slab);
 */
#pragma once

#include "sentry/base/lock.h"

struct slab {
	const char *name;
	size_t size;
	struct mutex lock;
	void *free;        /* L_SLAB */
	char *chunk;       /* L_SLAB: where the next new object is carved */
	size_t chunk_left; /* L_SLAB: bytes */
	size_t live;       /* L_SLAB: objects given out */
	size_t total;      /* L_SLAB: objects carved */
	bool registered;   /* L_SLAB */
	struct slab *next; /* all slabs, once used */
};

#define ARENA_ALLOC_MAX (64ul << 20)

#define SLAB_INIT(type)                                                                                                \
	{                                                                                                              \
		.name = #type, .size = sizeof(type), .lock = MUTEX_INIT                                                \
	}

/*
 * Reserves the arena. Before the first slab_alloc(), which otherwise does it with a default of 4 GiB; -ENOMEM. max_bytes
 * bounds what may be committed.
 */
int arena_init(size_t max_bytes);
/* Zeroed, or NULL. */
void *slab_alloc(struct slab *s);
/* With what was in it before but for the link of the free list: only for what is written before it is read. */
void *slab_alloc_dirty(struct slab *s);
void slab_free(struct slab *s, void *p);
/* Variable sizes up to ARENA_ALLOC_MAX, in power-of-two classes; zeroed; NULL if none. */
void *kalloc(size_t size);
/* As slab_alloc_dirty(): the caller bounds its reads by what it has written. */
void *kalloc_dirty(size_t size);
/* p stays valid if it fails (NULL); bytes beyond old_size are zero. p NULL: as kalloc(). */
void *krealloc(void *p, size_t old_size, size_t size);
/* size: as it was asked for. NULL is fine, here and in slab_free(). */
void kfree(void *p, size_t size);
char *kstrdup(const char *s);
void kfree_string(char *s);
/* Committed bytes; and per-slab counts for `runsc debug` and leak tests (fn reads them without the lock: hints). */
size_t arena_bytes(void);
/* What may be committed. */
size_t arena_limit(void);
void slab_for_each(void (*fn)(const struct slab *s, void *arg), void *arg);
/* Tests: the nth allocation from now fails (0: none does). What was left of an earlier n: 0 if that allocation has failed. */
unsigned slab_fail_nth(unsigned n);
