/* Opening programs: execve(2), execveat(2). */
#pragma once

#include "fs/path.h"

struct file;

/*
 * A file to execute: regular, executable by the caller, on a mount that allows it, and not open for writing (-EACCES,
 * -ETXTBSY). lookup: LOOKUP_*.
 */
int __must_check exec_open(struct ctx *c, int dirfd, const char *name, unsigned lookup, struct file **ret);
