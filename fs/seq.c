/* Text buffers for generated files: see seq.h. They grow by doubling and are bounded, since a guest chooses how much there is to say. */
#include "fs/seq.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sentry/base/slab.h"

/* Room for `more` bytes and a NUL. */
static bool seq_reserve(struct seq *s, size_t more)
{
	size_t want = MAX(s->size, 1024ul);
	char *buf;

	if (s->failed || more > SEQ_MAX - s->len - 1) {
		s->failed = true;
		return false;
	}
	if (s->len + more + 1 <= s->size)
		return true;
	while (want < s->len + more + 1)
		want *= 2;
	buf = krealloc(s->buf, s->size, want);
	if (!buf) {
		s->failed = true;
		return false;
	}
	s->buf = buf;
	s->size = want;
	return true;
}

void seq_write(struct seq *s, const void *data, size_t size)
{
	if (!seq_reserve(s, size))
		return;
	memcpy(s->buf + s->len, data, size);
	s->len += size;
}

void seq_printf(struct seq *s, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || !seq_reserve(s, (size_t)n))
		return;
	va_start(ap, fmt);
	vsnprintf(s->buf + s->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	s->len += (size_t)n;
}

void seq_escape(struct seq *s, const char *text, const char *escape)
{
	for (; *text; text++) {
		if (*text == '\\' || strchr(escape, *text))
			seq_printf(s, "\\%03o", (unsigned char)*text);
		else
			seq_write(s, text, 1);
	}
}

void seq_pad(struct seq *s, size_t line_start, size_t col)
{
	while (!s->failed && s->len - line_start < col)
		seq_write(s, " ", 1);
}

void seq_finish(struct seq *s)
{
	kfree(s->buf, s->size);
	*s = (struct seq){0};
}
