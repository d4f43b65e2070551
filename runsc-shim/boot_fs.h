/* The file tree of a new sandbox: root, overlay, the standard mounts, the user's. Only boot.c uses it. */
#pragma once

#include "fs/path.h"
#include "runsc-shim/error.h"
#include "runsc-shim/spec.h"

/* Makes the namespace with everything mounted, and sets c->mnt_ns and c->fs (root and cwd at the root). c has all capabilities. */
int boot_mounts(struct ctx *c, const struct spec *s, struct error *e);
/* What to do about a path that does not exist inside: `otherwise`, unless it lies where people are caught. */
const char *boot_missing_advice(const char *path, const char *otherwise);
/* Enters the working directory: the user's must exist, the caller's need not. */
int boot_workdir(struct ctx *c, const struct spec *s, struct error *e);
