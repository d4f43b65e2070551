/* A growing text buffer for generated files (/proc, /sys): a failed allocation is remembered and reported once by seq_error(). */
#pragma once

#include "sentry/base/types.h"

struct seq {
	char *buf;   /* kalloc'ed */
	size_t size; /* allocated */
	size_t len;
	bool failed; /* no memory, or more than SEQ_MAX */
};

#define SEQ_MAX (64ul << 20)

void seq_printf(struct seq *s, const char *fmt, ...) __printf(2, 3);
void seq_write(struct seq *s, const void *data, size_t size);
static inline void seq_puts(struct seq *s, const char *text)
{
	seq_write(s, text, __builtin_strlen(text));
}
/* text with the characters of `escape`, blanks beyond space and backslashes as \ooo: names in /proc/mounts and maps. */
void seq_escape(struct seq *s, const char *text, const char *escape);
/* Blanks up to column `col` of the current line. */
void seq_pad(struct seq *s, size_t line_start, size_t col);
static inline int seq_error(const struct seq *s)
{
	return s->failed ? -ENOMEM : 0;
}
void seq_finish(struct seq *s);
