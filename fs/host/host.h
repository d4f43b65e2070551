/*
 * The host file system: a directory (or a single file) of the host that was handed over as a descriptor, and what lies beneath it.
 *
 * Everything is done relative to descriptors, one name at a time or by openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
 * RESOLVE_NO_MAGICLINKS); symbolic links are read and walked by our own path walk, never by the host.
 */
#pragma once

#include "fs/mount.h"

struct host_options {
	bool read_only;
	/*
	 * Others may change the tree too: names and attributes are asked for again on each walk. Without it (`exclusive`) what was
	 * seen once is trusted until we change it ourselves; so it is also for the lower layer of an overlay, which must not change.
	 */
	bool shared;
	/* A FIFO is the host's, whose other end somebody outside may have. Without it each is the sandbox's own, as an overlay's. */
	bool fifos;
};

/*
 * A superblock for what fd refers to: a directory (O_PATH will do) or a regular file (opened as it may be used). Takes over fd, also on
 * failure. -errno.
 */
int __must_check host_create(int fd, const struct host_options *o, struct super **ret);

/* Directory descriptors that are kept open at most, over all host file systems, beyond those in use. Set once at start. */
extern size_t host_dir_fds_max;
