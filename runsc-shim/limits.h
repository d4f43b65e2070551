/* The caller's resource limits and nice value: guests inherit them; the sandbox itself has to live with them. */
#pragma once

#include "runsc-shim/error.h"
#include "runsc-shim/spec.h"

/* Fills in what the program would have inherited. */
void limits_inherit(struct spec *s);
/*
 * In the launcher, before it starts anything: the limits of the sandbox's own processes become as wide as the caller may make them, and a file
 * that is too large is an error, not a signal.
 */
void limits_raise(void);
/* Whether they leave room to start at all: 0, or -1 with *e. */
int limits_check(struct error *e);
/* The limit that a host call has met which failed with err (an errno value), and what to do; NULL if it can be none. A static text. */
const char *limits_why(int err);
/* True if a process that has used this much CPU time, in ns, has probably been ended by the limit of it. */
bool limits_cpu_spent(uint64_t ns);
