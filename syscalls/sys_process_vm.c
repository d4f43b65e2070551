/*
 * process_vm_readv(2) and process_vm_writev(2): memory of another process, for debuggers and message passing.
 *
 * The remote segments are walked in order, in pieces that go through a buffer of our own; a fault on either side ends the call with what was
 * copied before it.
 */
#include <limits.h>
#include <sys/uio.h>

#include "sentry/base/iobuf.h"
#include "sentry/base/slab.h"
#include "sentry/mm.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

#define PIECE (64ul << 10)

struct transfer {
	struct task *t, *target;
	struct iobuf local;
	bool write; /* to the target */
	char *buf;  /* PIECE bytes */
};

/* One piece of at most PIECE bytes; what was copied, or -errno. */
static ssize_t transfer_piece(struct transfer *x, uint64_t addr, size_t size)
{
	ssize_t n;

	if (x->write) {
		n = iobuf_get(&x->local, x->buf, size);
		return n > 0 ? task_poke(x->target, addr, x->buf, (size_t)n) : n;
	}
	n = task_peek(x->target, x->buf, addr, size);
	return n > 0 ? iobuf_put(&x->local, x->buf, (size_t)n) : n;
}

/* One remote segment. *ret_done grows; -errno ends it all. */
static int transfer_segment(struct transfer *x, const struct iovec *seg, size_t *ret_done)
{
	uint64_t addr = (uint64_t)(uintptr_t)seg->iov_base;
	size_t left = MIN(seg->iov_len, iobuf_left(&x->local));

	while (left) {
		size_t piece = MIN(left, PIECE - (addr & ~PAGE_MASK));
		ssize_t n = transfer_piece(x, addr, piece);

		if (n < 0)
			return (int)n;
		*ret_done += (size_t)n;
		if ((size_t)n < piece)
			return -EFAULT;
		addr += piece;
		left -= piece;
	}
	return 0;
}

static sysret_t transfer_all(struct transfer *x, const struct iovec *segs, size_t count)
{
	size_t done = 0;
	int err = 0;

	for (size_t i = 0; i < count && !err && iobuf_left(&x->local); i++)
		err = transfer_segment(x, &segs[i], &done);
	return done ? (sysret_t)done : err;
}

/* The target may be looked at by t? A reference. */
static int find_target(struct task *t, int32_t pid, struct task **ret)
{
	struct task *target = task_find(pid);
	int err;

	if (!target)
		return -ESRCH;
	err = target->mm ? task_may_access(t, target, false) : -ESRCH;
	if (err)
		task_put(target);
	else
		*ret = target;
	return err;
}

static int import_remote(struct task *t, uaddr_t iov, size_t count, struct iovec *segs)
{
	if (copy_in(&t->ctx, segs, iov, count * sizeof(*segs)))
		return -EFAULT;
	for (size_t i = 0; i < count; i++)
		if (segs[i].iov_len > SSIZE_MAX)
			return -EINVAL;
	return 0;
}

struct vectors {
	struct iobuf_seg local[IOV_MAX];
	struct iovec remote[IOV_MAX];
	char buf[PIECE];
};

static sysret_t process_vm(struct task *t, int32_t pid, uaddr_t local, uint64_t local_count, uaddr_t remote,
			   uint64_t remote_count, struct vectors *v, bool write)
{
	struct transfer x = {.t = t, .write = write, .buf = v->buf};
	sysret_t ret;
	int err;

	if ((err = iobuf_import(&t->ctx, local, local_count, v->local)))
		return err;
	iobuf_init_segs(&x.local, &t->ctx, v->local, local_count);
	if (!iobuf_left(&x.local))
		return 0;
	if ((err = import_remote(t, remote, remote_count, v->remote)) || (err = find_target(t, pid, &x.target)))
		return err;
	ret = transfer_all(&x, v->remote, remote_count);
	task_put(x.target);
	return ret;
}

static sysret_t process_vm_checked(struct task *t, int32_t pid, uaddr_t local, uint64_t local_count, uaddr_t remote,
				   uint64_t remote_count, uint64_t flags, bool write)
{
	struct vectors *v;
	sysret_t ret;

	if (flags || local_count > IOV_MAX || remote_count > IOV_MAX)
		return -EINVAL;
	v = kalloc(sizeof(*v));
	if (!v)
		return -ENOMEM;
	ret = process_vm(t, pid, local, local_count, remote, remote_count, v, write);
	kfree(v, sizeof(*v));
	return ret;
}

sysret_t sys_process_vm_readv(struct task *t, int32_t pid, uaddr_t local, uint64_t local_count, uaddr_t remote,
			      uint64_t remote_count, uint64_t flags)
{
	return process_vm_checked(t, pid, local, local_count, remote, remote_count, flags, false);
}

sysret_t sys_process_vm_writev(struct task *t, int32_t pid, uaddr_t local, uint64_t local_count, uaddr_t remote,
			       uint64_t remote_count, uint64_t flags)
{
	return process_vm_checked(t, pid, local, local_count, remote, remote_count, flags, true);
}
