/* eventfd(2). */
#pragma once

#include "fs/file.h"

/* flags: EFD_SEMAPHORE, EFD_NONBLOCK, EFD_CLOEXEC (ignored here). A reference; -EINVAL, -ENOMEM. */
int __must_check eventfd_create(struct ctx *c, uint32_t initial, int flags, struct file **ret);
