/* Waiting for several descriptors: poll(2), select(2). */
#pragma once

#include <poll.h>

#include "fs/file.h"

/*
 * Fills revents of `count` entries and sleeps until one has bits. deadline: CLOCK_MONOTONIC ns; 0 does not sleep; TIME_NEVER. How
 * many have bits, 0 after the deadline, -ERESTARTNOHAND, -ENOMEM. A descriptor that is not open gets POLLNVAL, negative ones none.
 */
long poll_fds(struct ctx *c, struct pollfd *fds, size_t count, int64_t deadline);

/* One descriptor of ours: sleeps until it has one of `events` (or POLLERR, POLLHUP). The bits; 0 after the deadline; -ERESTARTSYS. */
long poll_file_until(struct ctx *c, struct file *f, uint32_t events, int64_t deadline);

#define SELECT_WORDS(n) (((size_t)(n) + 63) / 64)
/* sets: read, write, exceptional; each SELECT_WORDS(n) words or NULL; overwritten by the results. Count of bits or -errno (-EBADF...). */
long select_fds(struct ctx *c, int n, uint64_t *const sets[3], int64_t deadline);
