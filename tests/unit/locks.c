/* File locks between processes: conflicts, splitting and joining of ranges, what gives them up. */
#include "tests/unit/ipc.h"

#include <sys/file.h>

static struct cpu *child;
static int64_t fd;

static void setup(void)
{
	init = kernel_boot();
	fd = CALL(open, name_at("/tmp/f"), O_RDWR | O_CREAT, 0600);
	IS(put(fd, "0123456789"), 10);
	ck_assert_int_gt(KCALL(init, SYS_fork), 0);
	child = kernel_cpus[1];
}

static int64_t lock(struct cpu *who, int cmd, int type, int64_t start, int64_t len)
{
	struct flock k = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

	kernel_poke(who, ARG, &k, sizeof(k));
	return KCALL(who, SYS_fcntl, fd, cmd, ARG);
}

/* The first lock in who's way of writing [start, start + len): its start, or -1. */
static int64_t in_way(struct cpu *who, int64_t start, int64_t len)
{
	struct flock k;

	IS(lock(who, F_GETLK, F_WRLCK, start, len), 0);
	kernel_peek(who, ARG, &k, sizeof(k));
	if (k.l_type == F_UNLCK)
		return -1;
	if (who == child)
		ck_assert_int_eq(k.l_pid, 1);
	return k.l_start;
}

START_TEST(ranges)
{
	setup();
	IS(lock(init, F_SETLK, F_WRLCK, 10, 20), 0);
	IS(in_way(init, 0, 0), -1);
	IS(in_way(child, 0, 10), -1);
	IS(in_way(child, 0, 0), 10);
	IS(lock(child, F_SETLK, F_RDLCK, 29, 1), -EAGAIN);
	IS(lock(child, F_SETLK, F_RDLCK, 30, 1), 0);
	/* A hole, and a read lock in the middle of a write lock. */
	IS(lock(init, F_SETLK, F_UNLCK, 15, 5), 0);
	IS(in_way(child, 15, 5), -1);
	IS(in_way(child, 15, 6), 20);
	IS(lock(init, F_SETLK, F_RDLCK, 22, 2), 0);
	IS(lock(child, F_SETLK, F_RDLCK, 22, 2), 0);
	IS(lock(child, F_SETLK, F_RDLCK, 21, 2), -EAGAIN);
	IS(lock(child, F_SETLK, F_UNLCK, 0, 0), 0);
	IS(lock(init, F_SETLK, F_WRLCK, 0, 0), 0);
	IS(in_way(child, 1000, 1), 0);
	IS(lock(init, F_SETLK, F_UNLCK, 0, 0), 0);
	IS(in_way(child, 0, 0), -1);
	ck_assert_uint_eq(live_in("struct range_lock"), 0);
}
END_TEST

START_TEST(ends)
{
	setup();
	IS(lock(init, F_SETLK, F_WRLCK, 10, -5), 0);
	IS(in_way(child, 0, 0), 5);
	IS(in_way(child, 10, 1), -1);
	IS(lock(init, F_SETLK, F_WRLCK, 5, -6), -EINVAL);
	IS(lock(init, F_SETLK, F_WRLCK, -1, 1), -EINVAL);
	IS(lock(init, F_SETLK, F_WRLCK, INT64_MAX, 2), -EOVERFLOW);
	IS(lock(init, F_SETLK, 9, 0, 1), -EINVAL);
	IS(CALL(fcntl, fd, F_SETLK, 8), -EFAULT);
	IS(CALL(fcntl, 99, F_SETLK, ARG), -EBADF);
	/* Closing any descriptor of the file gives all of the process's locks up. */
	IS(CALL(close, CALL(dup, fd)), 0);
	IS(in_way(child, 0, 0), -1);
	IS(lock(init, F_SETLK, F_WRLCK, 0, 1), 0);
	IS(lock(child, F_SETLK, F_WRLCK, 1, 1), 0);
	IS(lock(child, F_SETLKW, F_WRLCK, 0, 1), SLEPT(fcntl));
	IS(KCALL(child, SYS_exit_group, 0), -ESRCH);
	IS(lock(init, F_SETLK, F_WRLCK, 0, 0), 0);
	ck_assert_uint_eq(live_in("struct range_lock"), 1);
	IS(CALL(close, fd), 0);
	ck_assert_uint_eq(live_in("struct range_lock"), 0);
}
END_TEST

START_TEST(descriptions)
{
	int64_t other;

	setup();
	other = CALL(open, name_at("/tmp/f"), O_RDONLY);
	IS(lock(init, F_OFD_SETLK, F_WRLCK, 0, 5), 0);
	IS(lock(child, F_OFD_SETLK, F_WRLCK, 0, 5), 0); /* the same description */
	IS(lock(child, F_SETLK, F_WRLCK, 0, 5), -EAGAIN);
	IS(CALL(fcntl, other, F_OFD_SETLK, ARG), -EBADF);
	IS(CALL(flock, fd, LOCK_SH), 0);
	IS(CALL(flock, other, LOCK_SH), 0);
	IS(CALL(flock, other, LOCK_EX | LOCK_NB), -EAGAIN);
	/* A refused conversion has lost the old lock. */
	IS(CALL(flock, fd, LOCK_EX | LOCK_NB), 0);
	IS(CALL(flock, other, LOCK_SH), SLEPT(flock));
	IS(CALL(flock, fd, LOCK_UN), 0);
	IS(CALL(flock, other, LOCK_EX), 0);
	IS(CALL(flock, other, 3), -EINVAL);
	IS(CALL(flock, 99, LOCK_SH), -EBADF);
	IS(CALL(close, fd), 0);
	IS(lock(child, F_GETLK, F_WRLCK, 0, 1), 0);
	IS(KCALL(child, SYS_close, fd), 0);
	IS(CALL(close, other), 0);
	ck_assert_uint_eq(live_in("struct range_lock"), 0);
}
END_TEST

static int lock_and_close(void *arg __unused)
{
	int64_t r = lock(init, F_SETLK, F_WRLCK, 0, 1);

	return r == -ENOLCK ? -ENOMEM : (int)r;
}

START_TEST(no_memory)
{
	setup();
	unit_each_allocation_fails(lock_and_close, NULL);
	ck_assert_uint_eq(live_in("struct range_lock"), 1);
}
END_TEST

UNIT_MAIN(ranges, ends, descriptions, no_memory)
