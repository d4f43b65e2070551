/* sendfile, splice, tee, vmsplice, copy_file_range. */
#include <fcntl.h>
#include <limits.h>

#include "fs/fdtable.h"
#include "fs/splice.h"
#include "sentry/base/slab.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

#define SPLICE_FLAGS ((unsigned)(SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT))

/* A position that the guest may pass. */
struct user_pos {
	uaddr_t ptr;
	off_t pos;
};

static int pos_in(struct ctx *c, struct user_pos *p)
{
	return p->ptr.v ? copy_in(c, &p->pos, p->ptr, sizeof(p->pos)) : 0;
}

static int pos_out(struct ctx *c, const struct user_pos *p)
{
	return p->ptr.v ? copy_out(c, p->ptr, &p->pos, sizeof(p->pos)) : 0;
}

static off_t *pos_of(struct user_pos *p)
{
	return p->ptr.v ? &p->pos : NULL;
}

sysret_t sys_sendfile(struct task *t, int out_fd, int in_fd, uaddr_t offset, size_t size)
{
	struct ctx *c = &t->ctx;
	struct user_pos pos = {.ptr = offset};
	FILE_REF in = NULL;
	FILE_REF out = NULL;
	ssize_t n;

	if (pos_in(c, &pos))
		return -EFAULT;
	in = fd_get(c, in_fd);
	out = fd_get(c, out_fd);
	if (!in || !out)
		return -EBADF;
	n = sendfile_files(c, out, in, pos_of(&pos), size);
	return pos_out(c, &pos) ? -EFAULT : n;
}

sysret_t sys_splice(struct task *t, int in_fd, uaddr_t in_off, int out_fd, uaddr_t out_off, size_t size, unsigned flags)
{
	struct ctx *c = &t->ctx;
	struct user_pos ip = {.ptr = in_off}, op = {.ptr = out_off};
	FILE_REF in = NULL;
	FILE_REF out = NULL;
	ssize_t n;

	if (!size)
		return 0;
	if (flags & ~SPLICE_FLAGS)
		return -EINVAL;
	in = fd_get(c, in_fd);
	out = fd_get(c, out_fd);
	if (!in || !out)
		return -EBADF;
	if (pos_in(c, &ip) || pos_in(c, &op))
		return -EFAULT;
	n = splice_files(c, in, pos_of(&ip), out, pos_of(&op), size, flags);
	if (n < 0)
		return n;
	return pos_out(c, &ip) || pos_out(c, &op) ? -EFAULT : n;
}

sysret_t sys_tee(struct task *t, int in_fd, int out_fd, size_t size, unsigned flags)
{
	FILE_REF in = NULL;
	FILE_REF out = NULL;

	if (flags & ~SPLICE_FLAGS)
		return -EINVAL;
	if (!size)
		return 0;
	in = fd_get(&t->ctx, in_fd);
	out = fd_get(&t->ctx, out_fd);
	return in && out ? tee_pipes(&t->ctx, in, out, size, flags) : -EBADF;
}

sysret_t sys_vmsplice(struct task *t, int fd, uaddr_t iov, uint64_t count, unsigned flags)
{
	FILE_REF f = NULL;
	struct iobuf_seg *segs;
	struct iobuf b;
	ssize_t n;

	if (flags & ~SPLICE_FLAGS)
		return -EINVAL;
	f = fd_get(&t->ctx, fd);
	if (!f)
		return -EBADF;
	if (count > IOV_MAX)
		return -EINVAL;
	segs = kalloc(MAX(count, 1ul) * sizeof(*segs));
	if (!segs)
		return -ENOMEM;
	n = iobuf_import(&t->ctx, iov, count, segs);
	if (!n) {
		iobuf_init_segs(&b, &t->ctx, segs, count);
		n = vmsplice_pipe(&t->ctx, f, &b, flags);
	}
	kfree(segs, MAX(count, 1ul) * sizeof(*segs));
	return n;
}

sysret_t sys_copy_file_range(struct task *t, int in_fd, uaddr_t in_off, int out_fd, uaddr_t out_off, size_t size,
			     unsigned flags)
{
	struct ctx *c = &t->ctx;
	struct user_pos ip = {.ptr = in_off}, op = {.ptr = out_off};
	FILE_REF in = fd_get(c, in_fd);
	FILE_REF out = fd_get(c, out_fd);
	ssize_t n;

	if (!in || !out)
		return -EBADF;
	if (pos_in(c, &ip) || pos_in(c, &op))
		return -EFAULT;
	if (flags)
		return -EINVAL;
	n = copy_range(c, in, pos_of(&ip), out, pos_of(&op), size);
	if (n <= 0)
		return n;
	return pos_out(c, &ip) || pos_out(c, &op) ? -EFAULT : n;
}
