/*
 * Names of hosts, as text: lower case, without the dot at the end, labels of at most 63 bytes, at most 253 altogether. A byte that is neither a
 * letter, a digit, a dash nor an underscore has no place in the name of a host, so that text is never ambiguous.
 */
#pragma once

#include "sentry/base/types.h"

#define NAME_MAX_SIZE 256u /* with the NUL */

/* Brings n bytes of text (not terminated) into that form; a dot at its end goes. False: not the name of a host. */
bool __must_check name_from_text(const char *text, size_t n, char ret[NAME_MAX_SIZE]);
/* Whether name lies below domain, at any depth: "a.b.org" below "b.org", but "b.org" itself does not. */
bool name_below(const char *name, const char *domain);
/* "localhost" and what lies below it: RFC 6761, 6.3. */
bool name_is_localhost(const char *name);
