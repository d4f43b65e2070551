/*
 * futex(2), futex_waitv(2) and the futex2 calls: decoding, time limits and restarts.
 *
 * A wait with a relative limit goes on after a signal by restart_syscall(2) with the absolute deadline it had (the restart
 * block); one without a limit is simply made again. A wait by an absolute limit of futex_waitv restarts as it is.
 */
#include <linux/futex.h>

#include "sentry/futex.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

#define FUTEX2_U32 2u
#define FUTEX2_PRIVATE_FLAG 128u

struct k_futex_waitv {
	uint64_t value, addr;
	uint32_t flags, reserved;
};
_Static_assert(sizeof(struct k_futex_waitv) == 24, "ABI");

static bool has_timeout(int cmd)
{
	return cmd == FUTEX_WAIT || cmd == FUTEX_LOCK_PI || cmd == FUTEX_LOCK_PI2 || cmd == FUTEX_WAIT_BITSET ||
	       cmd == FUTEX_WAIT_REQUEUE_PI;
}

static int read_timeout(struct task *t, uaddr_t ptr, clockid_t clock_id, bool relative, struct futex_timeout *ret)
{
	struct timespec ts;

	*ret = FUTEX_NO_TIMEOUT;
	if (!ptr.v)
		return 0;
	if (copy_in(&t->ctx, &ts, ptr, sizeof(ts)))
		return -EFAULT;
	if (!timespec_valid(&ts))
		return -EINVAL;
	ret->clock_id = clock_id;
	ret->at = timespec_to_ns(&ts);
	if (relative)
		ret->at = deadline_after(clock_now(clock_id), ret->at);
	return 0;
}

enum { RB_ADDR, RB_VALUE, RB_BITSET, RB_CLOCK, RB_PRIVATE };

static sysret_t wait_or_restart(struct task *t, uint64_t addr, bool private, uint32_t value, uint32_t bitset,
				const struct futex_timeout *timeout);

static sysret_t futex_restart(struct task *t, struct restart_block *rb)
{
	struct futex_timeout timeout = {.clock_id = (clockid_t)rb->arg[RB_CLOCK], .at = rb->deadline};

	return wait_or_restart(t, rb->arg[RB_ADDR], rb->arg[RB_PRIVATE], (uint32_t)rb->arg[RB_VALUE],
			       (uint32_t)rb->arg[RB_BITSET], &timeout);
}

static sysret_t wait_or_restart(struct task *t, uint64_t addr, bool private, uint32_t value, uint32_t bitset,
				const struct futex_timeout *timeout)
{
	sysret_t ret = futex_wait(t, addr, private, value, bitset, timeout);

	if (ret != -ERESTARTSYS || timeout->clock_id < 0)
		return ret;
	t->restart.fn = futex_restart;
	t->restart.deadline = timeout->at;
	t->restart.arg[RB_ADDR] = addr;
	t->restart.arg[RB_VALUE] = value;
	t->restart.arg[RB_BITSET] = bitset;
	t->restart.arg[RB_CLOCK] = (uint64_t)timeout->clock_id;
	t->restart.arg[RB_PRIVATE] = private;
	return -ERESTART_RESTARTBLOCK;
}

/* The time limit of LOCK_PI has always been by CLOCK_REALTIME. */
static int futex_timeout(struct task *t, int op, uaddr_t ptr, struct futex_timeout *ret)
{
	int cmd = op & FUTEX_CMD_MASK;
	bool realtime = cmd == FUTEX_LOCK_PI || (op & FUTEX_CLOCK_REALTIME);

	*ret = FUTEX_NO_TIMEOUT;
	if (!has_timeout(cmd))
		return 0;
	return read_timeout(t, ptr, realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC, cmd == FUTEX_WAIT, ret);
}

sysret_t sys_futex(struct task *t, uaddr_t uaddr, int op, unsigned value, uint64_t arg, uaddr_t uaddr2, unsigned value3)
{
	bool private = op & FUTEX_PRIVATE_FLAG;
	int cmd = op & FUTEX_CMD_MASK;
	struct futex_timeout timeout;
	uint64_t addr = uaddr.v, addr2 = uaddr2.v;
	int count = (int)value, count2 = (int)arg;
	int err;

	if ((op & FUTEX_CLOCK_REALTIME) && cmd != FUTEX_WAIT_BITSET && cmd != FUTEX_WAIT_REQUEUE_PI &&
	    cmd != FUTEX_LOCK_PI2)
		return -ENOSYS;
	if ((err = futex_timeout(t, op, UADDR(arg), &timeout)))
		return err;
	switch (cmd) {
	case FUTEX_WAIT:
		return wait_or_restart(t, addr, private, value, FUTEX_ANY, &timeout);
	case FUTEX_WAIT_BITSET:
		return wait_or_restart(t, addr, private, value, value3, &timeout);
	case FUTEX_WAKE:
		return futex_wake(t, addr, private, count, FUTEX_ANY);
	case FUTEX_WAKE_BITSET:
		return futex_wake(t, addr, private, count, value3);
	case FUTEX_REQUEUE:
		return futex_requeue(t, addr, addr2, private, private, count, count2, NULL);
	case FUTEX_CMP_REQUEUE:
		return futex_requeue(t, addr, addr2, private, private, count, count2, &value3);
	case FUTEX_WAKE_OP:
		return futex_wake_op(t, addr, addr2, private, count, count2, value3);
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
		return futex_lock_pi(t, addr, private, false, &timeout);
	case FUTEX_TRYLOCK_PI:
		return futex_lock_pi(t, addr, private, true, &FUTEX_NO_TIMEOUT);
	case FUTEX_UNLOCK_PI:
		return futex_unlock_pi(t, addr, private);
	case FUTEX_WAIT_REQUEUE_PI:
		return futex_wait_requeue_pi(t, addr, private, value, FUTEX_ANY, &timeout, addr2);
	case FUTEX_CMP_REQUEUE_PI:
		return futex_cmp_requeue_pi(t, addr, addr2, private, count, count2, value3);
	}
	return -ENOSYS;
}

/* Only 32-bit futexes exist, as on Linux so far. */
static int check_flags2(uint32_t flags)
{
	if (flags & ~(FUTEX2_U32 | FUTEX2_PRIVATE_FLAG))
		return -EINVAL;
	return (flags & 3) == FUTEX2_U32 ? 0 : -EINVAL;
}

static int import_waitv(struct task *t, uaddr_t waiters, size_t count, struct futex_wait_on *on)
{
	struct k_futex_waitv in;

	for (size_t i = 0; i < count; i++) {
		if (copy_in(&t->ctx, &in, uaddr_add(waiters, i * sizeof(in)), sizeof(in)))
			return -EFAULT;
		if (in.reserved || check_flags2(in.flags) || in.value > UINT32_MAX)
			return -EINVAL;
		on[i] = (struct futex_wait_on){in.addr, (uint32_t)in.value, in.flags & FUTEX2_PRIVATE_FLAG};
	}
	return 0;
}

static int check_clock(uaddr_t timeout, clockid_t clock_id)
{
	return timeout.v && clock_id != CLOCK_MONOTONIC && clock_id != CLOCK_REALTIME ? -EINVAL : 0;
}

sysret_t sys_futex_waitv(struct task *t, uaddr_t waiters, unsigned count, unsigned flags, uaddr_t timeout_ptr,
			 clockid_t clock_id)
{
	struct futex_wait_on on[FUTEX_WAITV_COUNT];
	struct futex_timeout timeout;
	int err;

	if (flags || !count || count > FUTEX_WAITV_COUNT || !waiters.v)
		return -EINVAL;
	if ((err = check_clock(timeout_ptr, clock_id)) ||
	    (err = read_timeout(t, timeout_ptr, clock_id, false, &timeout)) ||
	    (err = import_waitv(t, waiters, count, on)))
		return err;
	return futex_wait_many(t, on, count, &timeout);
}

sysret_t sys_futex_wake(struct task *t, uaddr_t uaddr, uint64_t mask, int count, unsigned flags)
{
	if (check_flags2(flags) || mask > UINT32_MAX)
		return -EINVAL;
	/* Unlike FUTEX_WAKE, this one takes its count at its word. */
	if (count <= 0)
		return mask && !(uaddr.v & 3) ? 0 : -EINVAL;
	return futex_wake(t, uaddr.v, flags & FUTEX2_PRIVATE_FLAG, count, (uint32_t)mask);
}

sysret_t sys_futex_wait(struct task *t, uaddr_t uaddr, uint64_t value, uint64_t mask, unsigned flags,
			uaddr_t timeout_ptr, clockid_t clock_id)
{
	struct futex_timeout timeout;
	int err;

	if (check_flags2(flags) || value > UINT32_MAX || mask > UINT32_MAX)
		return -EINVAL;
	if ((err = check_clock(timeout_ptr, clock_id)) ||
	    (err = read_timeout(t, timeout_ptr, clock_id, false, &timeout)))
		return err;
	return futex_wait(t, uaddr.v, flags & FUTEX2_PRIVATE_FLAG, (uint32_t)value, (uint32_t)mask, &timeout);
}

sysret_t sys_futex_requeue(struct task *t, uaddr_t waiters, unsigned flags, int wake_count, int requeue_count)
{
	struct futex_wait_on on[2];
	int err;

	if (flags || !waiters.v)
		return -EINVAL;
	if ((err = import_waitv(t, waiters, 2, on)))
		return err;
	return futex_requeue(t, on[0].addr, on[1].addr, on[0].private, on[1].private, wake_count, requeue_count,
			     &on[0].value);
}
