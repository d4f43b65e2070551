/* The guest's interfaces that are the host's: `--net tap:`, `device:` and `host`. In the sentry, before the first process. */
#pragma once

#include "runsc-shim/error.h"
#include "runsc-shim/spec.h"

/* 0, or -1 with *e. Nothing for other kinds of network. */
int boot_net_link(const struct net_spec *n, struct error *e);
