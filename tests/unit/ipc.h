/* For tests of descriptors: system calls of the first process, with buffers at fixed places of its memory. */
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "sentry/base/slab.h"
#include "tests/kernel/kernel.h"
#include "tests/unit/unit.h"

#define BUF (KERNEL_SCRATCH + 0x1000)   /* data; 256 KiB */
#define ARG (KERNEL_SCRATCH + 0x80000)  /* structures */
#define NAME (KERNEL_SCRATCH + 0x90000) /* a string */
#define OUT (KERNEL_SCRATCH + 0xa0000)

static struct cpu *init __attribute__((unused));

#define CALL(nr, ...) KCALL(init, SYS_##nr, __VA_ARGS__)
/* What a call that slept looks like here: interrupted, and about to be restarted (its number is in rax again). */
#define SLEPT(nr) SYS_##nr
#define IS(call, want) ck_assert_int_eq((call), (want))

static inline uint64_t name_at(const char *s)
{
	kernel_poke(init, NAME, s, strlen(s) + 1);
	return NAME;
}

static inline int64_t put(int64_t fd, const char *s)
{
	kernel_poke(init, BUF, s, strlen(s));
	return CALL(write, fd, BUF, strlen(s));
}

/* Reads up to size bytes; the text so far must be s. */
static inline void get(int64_t fd, size_t size, const char *s)
{
	char text[256] = "";
	int64_t n = CALL(read, fd, OUT, size);

	ck_assert_int_eq(n, (int64_t)strlen(s));
	kernel_peek(init, OUT, text, (size_t)n);
	ck_assert_str_eq(text, s);
}

static inline void pair(int64_t result, int fd[2])
{
	ck_assert_int_eq(result, 0);
	kernel_peek(init, ARG, fd, 8);
}

/* poll() of one descriptor without waiting: its bits. */
static inline int bits(int fd, int events)
{
	struct pollfd p = {fd, (short)events, 0};

	kernel_poke(init, ARG, &p, sizeof(p));
	ck_assert_int_ge(CALL(poll, ARG, 1, 0), 0);
	kernel_peek(init, ARG, &p, sizeof(p));
	return (unsigned short)p.revents;
}

/* Without the slab's lock: timers may be at work, and what they free is waited for. */
__attribute__((no_sanitize("thread"))) static void count_slab(const struct slab *s, void *arg)
{
	const char **name = arg;

	if (strcmp(s->name, name[0]) == 0)
		*(size_t *)&name[1] = s->live;
}

/* Objects of one slab that exist. */
static inline size_t live_in(const char *slab)
{
	const char *arg[2] = {slab, NULL};

	slab_for_each(count_slab, arg);
	return (size_t)arg[1];
}
