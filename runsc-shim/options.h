/* The command line of `sandbox exec`. */
#pragma once

#include "runsc-shim/error.h"
#include "runsc-shim/spec.h"

/*
 * Parses argv (argv[0] is "exec") into *s; 0, or -1 with *e; 1: help was printed, exit with 0. Opens nothing but what the options name: see
 * spec_open(). s->envp and others are allocated and freed by spec_finish().
 */
int options_parse(int argc, char **argv, char **environment, struct spec *s, struct error *e);
/* Opens root, binds, overlay, log and trace files with the caller's rights. 0 or -1 with *e. */
int spec_open(struct spec *s, struct error *e);
void spec_finish(struct spec *s);
