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
	void *free;          /* L_SLAB */
	size_t live;         /* L_SLAB: objects given out */
	size_t total;        /* L_SLAB: objects carved */
	struct slab *next;   /* all slabs, once used */
};

#define SLAB_INIT(type) {.name = #type, .size = sizeof(type), .lock = MUTEX_INIT}

/* Reserves the arena. Before the first slab_alloc(); -ENOMEM. max_bytes bounds what may be committed. */
int arena_init(size_t max_bytes);
/* Zeroed, or NULL. */
void *slab_alloc(struct slab *s);
void slab_free(struct slab *s, void *p);
/* Variable sizes up to ARENA_ALLOC_MAX (power-of-two classes; larger ones are mapped); zeroed; NULL if none. */
void *kalloc(size_t size);
void *krealloc(void *p, size_t old_size, size_t size);
void kfree(void *p, size_t size);
char *kstrdup(const char *s);
void kfree_string(char *s);
/* Committed bytes; and per-slab counts for `runsc debug` and leak tests. */
size_t arena_bytes(void);
void slab_for_each(void (*fn)(const struct slab *s, void *arg), void *arg);
/* Tests: the nth allocation from now fails (0: none does). */
void slab_fail_nth(unsigned n);
