/* Host descriptors that file systems keep, and the buffer through which file data passes on its way to and from guests. */
#pragma once

#include "sentry/base/iobuf.h"

/*
 * A descriptor of the sentry's own /proc/self/fd, opened at start before the sentry loses its file tree; -1: none, then hostio_reopen()
 * returns duplicates with the rights of the original. Set once, before the first guest runs.
 */
extern int hostio_self_dir;

/*
 * A private tmpfs directory of the host, for files in memory: unlike a memfd a file there can be opened a second time, read-only. -1: there is
 * none. Set once, before the first guest runs.
 */
extern int hostio_memory_dir;

/* A new open description of what fd refers to; flags: O_RDONLY, O_RDWR, O_PATH... The caller closes it. -errno. */
int __must_check hostio_reopen(int fd, int flags);

/*
 * Data between a host file and a guest at *pos (advanced), by pread and pwrite in pieces; bytes, or -errno if none moved. A short
 * count: end of file, or a fault of the guest.
 */
ssize_t hostio_read(int fd, struct iobuf *b, off_t *pos);
ssize_t hostio_write(int fd, struct iobuf *b, off_t *pos);
/* At the end of the file, wherever that is by now; *pos is behind what was written. */
ssize_t hostio_append(int fd, struct iobuf *b, off_t *pos);
