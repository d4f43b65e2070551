/* memfd_create(2). The files are tmpfs' own: fs/tmp/. */
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>

#include "fs/fdtable.h"
#include "fs/tmp/tmpfs.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#define MFD_EXEC 16u
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

#define MFD_FLAGS (MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC)
#define PREFIX "memfd:"
#define NAME_ROOM 250 /* NAME_MAX less the prefix, and the NUL */

static unsigned first_seals(unsigned flags)
{
	if (flags & MFD_NOEXEC_SEAL)
		return F_SEAL_EXEC;
	return flags & MFD_ALLOW_SEALING ? 0 : F_SEAL_SEAL;
}

sysret_t sys_memfd_create(struct task *t, uaddr_t name, unsigned flags)
{
	char full[sizeof(PREFIX) + NAME_ROOM] = PREFIX;
	struct file *f;
	ssize_t len;
	int err;

	if (flags & MFD_HUGETLB)
		return -ENOSYS; /* as a kernel without hugetlbfs */
	if (flags & ~MFD_FLAGS || (flags & MFD_EXEC && flags & MFD_NOEXEC_SEAL))
		return -EINVAL;
	len = copy_in_string(&t->ctx, full + strlen(PREFIX), name, NAME_ROOM);
	if (len < 0)
		return len == -ENAMETOOLONG ? -EINVAL : len;
	err = tmpfs_file_create(&t->ctx, full, 0, O_RDWR, first_seals(flags), &f);
	if (err)
		return err;
	f->inode->mode = S_IFREG | (flags & MFD_NOEXEC_SEAL ? 0666 : 0777);
	return fd_install(&t->ctx, f, flags & MFD_CLOEXEC ? O_CLOEXEC : 0);
}
