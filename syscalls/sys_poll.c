/*
 * poll, ppoll, select, pselect6 and the epoll calls.
 *
 * A time limit becomes an absolute deadline at once. poll() that is interrupted goes on through restart_syscall(2) with that deadline; ppoll
 * and select write the time that is left back to the guest, as the system calls (not the C library's wrappers) do.
 */
#include <poll.h>
#include <string.h>

#include "fs/epoll.h"
#include "fs/fdtable.h"
#include "fs/poll.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

#define FEW_FDS 8
#define FEW_WORDS 16 /* 1,024 descriptors */

/* A relative time to a deadline; 0 (no sleep) stays 0. */
static int64_t deadline_of(int64_t relative)
{
	return relative == 0 ? 0 : deadline_after(clock_now(CLOCK_MONOTONIC), relative);
}

static int64_t deadline_of_ms(int ms)
{
	return ms < 0 ? TIME_NEVER : deadline_of(ms * NSEC_PER_MSEC);
}

/* A guest timespec that may be absent. */
static int deadline_of_timespec(struct ctx *c, uaddr_t ptr, int64_t *ret)
{
	struct timespec ts;

	*ret = TIME_NEVER;
	if (!ptr.v)
		return 0;
	if (copy_in(c, &ts, ptr, sizeof(ts)))
		return -EFAULT;
	if (!timespec_valid(&ts))
		return -EINVAL;
	*ret = deadline_of(timespec_to_ns(&ts));
	return 0;
}

static int64_t time_left(int64_t deadline)
{
	return deadline ? MAX(deadline - clock_now(CLOCK_MONOTONIC), 0) : 0;
}

/* Tells the guest what is left. A limit that cannot be written makes a restart impossible: it would wait anew. */
static long finish_timespec(struct ctx *c, uaddr_t ptr, int64_t deadline, long r)
{
	struct timespec ts;

	if (!ptr.v)
		return r;
	ts = ns_to_timespec(time_left(deadline));
	if (copy_out(c, ptr, &ts, sizeof(ts)) && r == -ERESTARTNOHAND)
		return -EINTR;
	return r;
}

/* ---- poll ---- */

static long poll_array(struct ctx *c, struct pollfd *fds, uaddr_t user, unsigned count, int64_t deadline)
{
	size_t size = count * sizeof(*fds);
	long r;

	if (copy_in(c, fds, user, size))
		return -EFAULT;
	r = poll_fds(c, fds, count, deadline);
	if (r >= 0 && copy_out(c, user, fds, size))
		return -EFAULT;
	return r;
}

static long do_poll(struct ctx *c, uaddr_t user, unsigned count, int64_t deadline)
{
	struct pollfd few[FEW_FDS], *fds = few;
	long r;

	if (count > c->rlimit_nofile)
		return -EINVAL;
	if (count > FEW_FDS) {
		fds = kalloc(count * sizeof(*fds));
		if (!fds)
			return -ENOMEM;
	}
	r = poll_array(c, fds, user, count, deadline);
	if (count > FEW_FDS)
		kfree(fds, count * sizeof(*fds));
	return r;
}

static sysret_t poll_until(struct task *t, uaddr_t fds, unsigned count, int64_t deadline);

static sysret_t poll_restart(struct task *t, struct restart_block *rb)
{
	return poll_until(t, UADDR(rb->arg[0]), (unsigned)rb->arg[1], rb->deadline);
}

static sysret_t poll_until(struct task *t, uaddr_t fds, unsigned count, int64_t deadline)
{
	long r = do_poll(&t->ctx, fds, count, deadline);

	if (r != -ERESTARTNOHAND)
		return r;
	t->restart = (struct restart_block){poll_restart, deadline, {fds.v, count}};
	return -ERESTART_RESTARTBLOCK;
}

sysret_t sys_poll(struct task *t, uaddr_t fds, unsigned count, int timeout)
{
	return poll_until(t, fds, count, deadline_of_ms(timeout));
}

sysret_t sys_ppoll(struct task *t, uaddr_t fds, unsigned count, uaddr_t timeout, uaddr_t mask, size_t mask_size)
{
	int64_t deadline;
	long r = deadline_of_timespec(&t->ctx, timeout, &deadline);

	if (!r)
		r = signal_push_mask(t, mask.v, mask_size);
	if (r)
		return r;
	r = do_poll(&t->ctx, fds, count, deadline);
	return signal_pop_mask(t, finish_timespec(&t->ctx, timeout, deadline, r));
}

/* ---- select ---- */

static long select_sets(struct ctx *c, int n, uint64_t *mem, const uaddr_t user[3], int64_t deadline)
{
	size_t words = SELECT_WORDS(n);
	uint64_t *sets[3];
	long r;

	for (int s = 0; s < 3; s++) {
		sets[s] = user[s].v ? mem + (size_t)s * words : NULL;
		if (sets[s] && copy_in(c, sets[s], user[s], words * 8))
			return -EFAULT;
	}
	r = select_fds(c, n, sets, deadline);
	for (int s = 0; s < 3 && r >= 0; s++)
		if (sets[s] && copy_out(c, user[s], sets[s], words * 8))
			return -EFAULT;
	return r;
}

static long do_select(struct ctx *c, int n, const uaddr_t user[3], int64_t deadline)
{
	uint64_t few[3 * FEW_WORDS], *mem = few;
	size_t size;
	long r;

	if (n < 0)
		return -EINVAL;
	n = (int)MIN((unsigned)n, fd_slots(c)); /* as Linux: fs/select.c, core_sys_select() */
	size = 3 * SELECT_WORDS(n) * 8;
	if (size > sizeof(few)) {
		mem = kalloc(size);
		if (!mem)
			return -ENOMEM;
	}
	r = select_sets(c, n, mem, user, deadline);
	if (size > sizeof(few))
		kfree(mem, size);
	return r;
}

sysret_t sys_select(struct task *t, int n, uaddr_t in, uaddr_t out, uaddr_t ex, uaddr_t timeout)
{
	const uaddr_t user[3] = {in, out, ex};
	int64_t deadline = TIME_NEVER;
	struct timeval tv;
	long r;

	if (timeout.v) {
		if (copy_in(&t->ctx, &tv, timeout, sizeof(tv)))
			return -EFAULT;
		/* More than a second of microseconds is allowed here. */
		if (tv.tv_sec < 0 || tv.tv_usec < 0 ||
		    __builtin_add_overflow(tv.tv_sec, tv.tv_usec / 1000000, &tv.tv_sec))
			return -EINVAL;
		deadline =
		    deadline_of(timespec_to_ns(&(struct timespec){tv.tv_sec, tv.tv_usec % 1000000 * NSEC_PER_USEC}));
	}
	r = do_select(&t->ctx, n, user, deadline);
	if (timeout.v) {
		int64_t left = time_left(deadline);

		tv = (struct timeval){left / NSEC_PER_SEC, left % NSEC_PER_SEC / NSEC_PER_USEC};
		if (copy_out(&t->ctx, timeout, &tv, sizeof(tv)) && r == -ERESTARTNOHAND)
			r = -EINTR;
	}
	return r;
}

sysret_t sys_pselect6(struct task *t, int n, uaddr_t in, uaddr_t out, uaddr_t ex, uaddr_t timeout, uaddr_t sig)
{
	const uaddr_t user[3] = {in, out, ex};
	uint64_t mask[2] = {0, 0}; /* pointer and size */
	int64_t deadline;
	long r;

	if (sig.v && copy_in(&t->ctx, mask, sig, sizeof(mask)))
		return -EFAULT;
	r = deadline_of_timespec(&t->ctx, timeout, &deadline);
	if (!r)
		r = signal_push_mask(t, mask[0], mask[1]);
	if (r)
		return r;
	r = do_select(&t->ctx, n, user, deadline);
	return signal_pop_mask(t, finish_timespec(&t->ctx, timeout, deadline, r));
}

/* ---- epoll ---- */

sysret_t sys_epoll_create1(struct task *t, int flags)
{
	struct file *f;
	int err;

	if (flags & ~EPOLL_CLOEXEC)
		return -EINVAL;
	err = epoll_create_file(&t->ctx, &f);
	return err ? err : fd_install(&t->ctx, f, flags);
}

sysret_t sys_epoll_create(struct task *t, int size)
{
	return size <= 0 ? -EINVAL : sys_epoll_create1(t, 0);
}

sysret_t sys_epoll_ctl(struct task *t, int epfd, int op, int fd, uaddr_t event)
{
	struct epoll_event ev = {0};
	FILE_REF ep = NULL;
	FILE_REF f = NULL;

	if (op != EPOLL_CTL_DEL && copy_in(&t->ctx, &ev, event, sizeof(ev)))
		return -EFAULT;
	ep = fd_get(&t->ctx, epfd);
	if (!ep)
		return -EBADF;
	f = fd_get(&t->ctx, fd);
	if (!f)
		return -EBADF;
	return epoll_control(&t->ctx, ep, op, fd, f, &ev);
}

static sysret_t do_epoll_wait(struct task *t, int epfd, uaddr_t events, int max, int64_t deadline)
{
	FILE_REF ep = fd_get(&t->ctx, epfd);

	return ep ? epoll_wait_events(&t->ctx, ep, events, max, deadline) : -EBADF;
}

/* epoll_wait never restarts: with -EINTR the temporary mask stays until the handler's frame is made, as for a restart code. */
static sysret_t epoll_wait_masked(struct task *t, int epfd, uaddr_t events, int max, int64_t deadline, uaddr_t mask,
				  size_t mask_size)
{
	sysret_t r = signal_push_mask(t, mask.v, mask_size);

	if (r)
		return r;
	r = do_epoll_wait(t, epfd, events, max, deadline);
	if (r != -EINTR)
		signal_restore_mask(t);
	return r;
}

sysret_t sys_epoll_wait(struct task *t, int epfd, uaddr_t events, int max, int timeout)
{
	return do_epoll_wait(t, epfd, events, max, deadline_of_ms(timeout));
}

sysret_t sys_epoll_pwait(struct task *t, int epfd, uaddr_t events, int max, int timeout, uaddr_t mask, size_t mask_size)
{
	return epoll_wait_masked(t, epfd, events, max, deadline_of_ms(timeout), mask, mask_size);
}

sysret_t sys_epoll_pwait2(struct task *t, int epfd, uaddr_t events, int max, uaddr_t timeout, uaddr_t mask,
			  size_t mask_size)
{
	int64_t deadline;
	int err = deadline_of_timespec(&t->ctx, timeout, &deadline);

	return err ? err : epoll_wait_masked(t, epfd, events, max, deadline, mask, mask_size);
}
