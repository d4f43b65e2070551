/* The parts of the tracer: trace.c (lines), trace_args.c (values), trace_flags.c (names of flags). Not for others. */
#pragma once

#include "sentry/task.h"
#include "syscalls/argkind.h"

/* Text that is cut off, never overrun. */
struct text {
	char *buf;
	size_t size, len;
};

void text_add(struct text *x, const char *fmt, ...) __printf(2, 3);
/* A string in quotes, what is not printable escaped; at most `shown` bytes of it, "..." behind it if `more`. */
void text_quote(struct text *x, const char *s, size_t size, bool more);

/* True if the name of a flag or a value of that kind was added. */
bool trace_flags(struct text *x, enum argkind kind, uint64_t value);
/* Bits with names: "A|B|0x40"; zero: what it is called if zero, or "0". */
struct trace_name {
	uint64_t value;
	const char *name;
};
void trace_bits(struct text *x, uint64_t value, const struct trace_name *names, const char *zero);
void trace_open_flags(struct text *x, uint64_t flags);
void trace_mode(struct text *x, uint32_t mode);
void trace_sigset(struct text *x, uint64_t set);
void trace_signal_name(struct text *x, int signo);

/* The argument number n of a call; ret is meaningful when the call is over. */
struct trace_call {
	struct task *t;
	const uint64_t *args;
	const unsigned char *kinds;
	unsigned count;
	sysret_t ret;
};
void trace_arg(struct text *x, const struct trace_call *c, unsigned n);
/* Written by the call: printed when it is over. */
bool trace_is_output(enum argkind kind);
