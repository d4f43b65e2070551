/*
 * Errors that face people: what happened, why, and what to do about it, in one line on stderr. The front ends only; everything beneath returns -errno.
 */
#pragma once

#include "sentry/base/types.h"

/* Exit statuses of the front ends, as docker run and env(1) use them. */
enum {
	EXIT_TIMEOUT = 124,      /* --timeout expired, as timeout(1) */
	EXIT_SANDBOX = 125,      /* the sandbox itself failed */
	EXIT_NOT_RUNNABLE = 126, /* the program was found but cannot be run */
	EXIT_NOT_FOUND = 127,    /* the program was not found */
};

struct error {
	int status;     /* the exit status it leads to; 0: no error */
	char text[768]; /* without the program's name and newline */
};

/* Fills e: "WHAT: WHY (ADVICE)". err: errno value or 0 for none; advice may be NULL; a limit that explains err takes its place. Returns -1, so that callers can `return error_set(...)`. */
int error_set(struct error *e, int status, int err, const char *advice, const char *fmt, ...) __printf(5, 6);
/* Prints "sandbox: TEXT" to stderr. */
void error_print(const char *prog, const struct error *e);
