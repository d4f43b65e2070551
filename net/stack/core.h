/* The inside of struct stack, for the files of net/stack. All of it is guarded by L_NET. */
#pragma once

#include "net/stack/stack.h"

#define WHEEL_BITS 6
#define WHEEL_SLOTS (1 << WHEEL_BITS)
#define WHEEL_LEVELS 8 /* 48 bits of milliseconds: every deadline in nanoseconds fits */

struct wheel {
	int64_t tick;      /* milliseconds: what was due until then has fired */
	uint32_t occupied; /* levels with timers */
	uint64_t map[WHEEL_LEVELS];
	struct list slot[WHEEL_LEVELS][WHEEL_SLOTS];
};

struct tcp_stack;

struct stack {
	struct mutex lock; /* L_NET */
	struct stack_env env;
	int64_t now; /* as of the last stack_enter() */
	struct wheel wheel;
	int64_t wake_at;   /* what env.wake_at() was last asked for; INT64_MAX: nothing */
	struct list wakes; /* struct wakeup */
	struct list loop;  /* packets for stack_leave() to deliver */
	unsigned loop_count;
	uint64_t mib[MIB_COUNT];
	struct tcp_stack *tcp; /* TCP's own */
};

void wheel_init(struct wheel *w, int64_t now);
/* Nothing is due before `now`: what is armed next is reckoned from there. */
void wheel_sync(struct wheel *w, int64_t now);
/* When something may be due, in ns; INT64_MAX: nothing is armed. It may be earlier than the earliest deadline. */
int64_t wheel_next(const struct wheel *w);
/* Fires what is due at s->now. */
void wheel_run(struct stack *s) REQUIRES(L_NET);
