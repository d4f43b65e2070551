/* Types and macros that everything may use. No state, no functions with side effects. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

/* An address in a guest: a one-field struct, so that it cannot be dereferenced or mixed with our own pointers. */
typedef struct {
	uint64_t v;
} uaddr_t;

#define UADDR(x) ((uaddr_t){(uint64_t)(x)})
#define UADDR_NULL ((uaddr_t){0})

static inline uaddr_t uaddr_add(uaddr_t a, uint64_t n)
{
	return UADDR(a.v + n);
}

/* What a system call handler returns: >= 0, -errno, or a restart code (sentry/base/restart.h). */
typedef int64_t sysret_t;

#define PAGE_SIZE 4096ul
#define PAGE_SHIFT 12
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define PAGE_DOWN(x) ((x)&PAGE_MASK)
#define PAGE_UP(x) (((x) + PAGE_SIZE - 1) & PAGE_MASK)

#ifndef __must_check
#define __must_check __attribute__((warn_unused_result))
#endif
#define __packed __attribute__((packed))
#define __printf(f, a) __attribute__((format(printf, f, a)))
#define __unused __attribute__((unused))
#define __cleanup(fn) __attribute__((cleanup(fn)))
#define __noreturn __attribute__((noreturn))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Moves a pointer out of a variable that has a cleanup attribute: the variable is left NULL. */
#define take(p)                                                                                                        \
	({                                                                                                             \
		__typeof__(p) taken_ = (p);                                                                            \
		(p) = NULL;                                                                                            \
		taken_;                                                                                                \
	})

/* Ends the sentry: only for our own broken invariants, never for anything a guest, an image or a packet says. */
void bug(const char *file, int line, const char *what) __noreturn;
#define BUG_ON(cond)                                                                                                   \
	do {                                                                                                           \
		if (unlikely(cond))                                                                                    \
			bug(__FILE__, __LINE__, #cond);                                                                \
	} while (0)
