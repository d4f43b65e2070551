/* Shared anonymous memory: what mmap(MAP_SHARED | MAP_ANONYMOUS) and shared mappings of /dev/zero are made of. */
#pragma once

#include <fcntl.h>

#include "fs/file.h"

/* A nameless file of `size` bytes of zeros that lives as long as something maps it. 0, -ENOMEM or -ENFILE. */
int __must_check shmem_create(struct ctx *c, uint64_t size, struct file **ret);
