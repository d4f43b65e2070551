/* signalfd(2): signals that are read. It stands here and not in fs/ because it takes them from the reading task. */
#pragma once

#include "fs/file.h"
#include "sentry/signal.h"

/* flags: O_NONBLOCK, O_CLOEXEC (ignored here). SIGKILL and SIGSTOP are left out of the mask. */
int __must_check signalfd_create(struct ctx *c, k_sigset_t mask, int flags, struct file **ret);
/* -EINVAL if f is no signalfd. */
int __must_check signalfd_set_mask(struct file *f, k_sigset_t mask);
