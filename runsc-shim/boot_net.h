/* The network of a sandbox, in the sentry. */
#pragma once

#include "runsc-shim/error.h"
#include "runsc-shim/spec.h"

/* Before the sentry's filter: what the filter has to allow, what must be asked before. */
void boot_net_early(const struct spec *s);
/* Behind it: makes the network. 0, or -1 with *e. */
int boot_net(const struct spec *s, struct error *e);
