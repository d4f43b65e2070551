/*
 * The system calls of the host that a sandbox cannot do without, asked for before it starts. Containers refuse some of them by a seccomp filter, and
 * old kernels lack some: without asking, that would show much later, as an error that names something else.
 */
#pragma once

#include "sentry/base/types.h"

/*
 * platform: NULL for what all platforms need, or the name of one for what only that one does. 0, or -errno of the first call that is refused, with
 * *ret_why: a text of this function's, valid until its next call.
 */
int hostneed_check(const char *platform, const char **ret_why);
/* 0, or -EPERM: the memory of a process of ours cannot be read or written. */
int hostneed_reach(pid_t pid);
/* Whether a seccomp filter around us may be why something is refused. */
bool hostneed_filtered(void);
