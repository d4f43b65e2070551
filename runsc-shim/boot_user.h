/* Who the first process is. */
#pragma once

#include "runsc-shim/error.h"
#include "runsc-shim/spec.h"
#include "sentry/base/ctx.h"

/* The credentials of --user, looked up in the guest's /etc/passwd and /etc/group, or the caller's. A reference in *ret. */
int boot_user(struct ctx *c, const struct spec *s, const struct cred **ret, struct error *e);
