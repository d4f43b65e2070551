/* See lookup.h. An empty path with AT_EMPTY_PATH, which is how fstat() arrives, does without a walk. */
#include "syscalls/lookup.h"

#include <fcntl.h>

#include "fs/fdtable.h"

static int path_of_fd(struct ctx *c, int fd, struct path *ret)
{
	FILE_REF f = NULL;

	if (fd == AT_FDCWD) {
		fs_get_cwd(c, ret);
		return 0;
	}
	f = fd_get_raw(c, fd);
	if (!f)
		return -EBADF;
	*ret = f->path;
	path_get(ret);
	return 0;
}

int lookup_user(struct ctx *c, int dirfd, uaddr_t path, int flags, struct path *ret)
{
	unsigned lookup =
	    (flags & AT_SYMLINK_NOFOLLOW ? 0u : LOOKUP_FOLLOW) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0u);
	PATH_NAME name = NULL;
	int err;

	if ((flags & AT_EMPTY_PATH) && path.v == 0)
		return path_of_fd(c, dirfd, ret);
	err = path_name_copy(c, path, lookup, &name);
	if (err)
		return err;
	return *name ? path_lookup(c, dirfd, name, lookup, ret) : path_of_fd(c, dirfd, ret);
}
