/* The guest's /etc/resolv.conf, with --net nat. */
#pragma once

#include "runsc-shim/error.h"
#include "runsc-shim/spec.h"
#include "sentry/base/ctx.h"

/* When the root is there, before what the user mounts. No /etc, or a directory of that name there, is left as it is. 0, or -1 with *e. */
int boot_resolv(struct ctx *c, const struct spec *s, struct error *e);
