/* Errors for people: see error.h. */
#include "runsc-shim/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runsc-shim/limits.h"

#define WHAT_MAX 400

int error_set(struct error *e, int status, int err, const char *advice, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	e->status = status;
	va_start(ap, fmt);
	n = (size_t)vsnprintf(e->text, WHAT_MAX, fmt, ap);
	va_end(ap);
	/* A long name must not leave the reason out. */
	if (n >= WHAT_MAX)
		strcpy(e->text + WHAT_MAX - sizeof("..."), "...");
	n = strlen(e->text);
	if (err)
		snprintf(e->text + n, sizeof(e->text) - n, ": %s", strerror(err));
	n = strlen(e->text);
	if (limits_why(err)) /* says more than what we thought beforehand */
		advice = limits_why(err);
	if (advice)
		snprintf(e->text + n, sizeof(e->text) - n, " (%s)", advice);
	/* Names come from anywhere: one line, and no commands for a terminal. */
	for (char *c = e->text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	return -1;
}

void error_print(const char *prog, const struct error *e)
{
	char line[sizeof(e->text) + 64];
	int n = snprintf(line, sizeof(line), "%s: %s\n", prog, e->text);

	/* One write, so that the line stays whole among others. */
	if (n > 0)
		fwrite(line, 1, MIN((size_t)n, sizeof(line) - 1), stderr);
	fflush(stderr);
}
