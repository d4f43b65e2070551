/* Pipes and FIFOs: how much fits, what merges, who is told what at each end; splice between them. */
#include "tests/unit/ipc.h"

#include <sys/stat.h>

static int p[2], q[2];

static void setup(int flags)
{
	init = kernel_boot();
	pair(CALL(pipe2, ARG, flags), p);
	pair(CALL(pipe2, ARG, flags), q);
}

START_TEST(bytes)
{
	setup(0);
	IS(put(p[1], "hello "), 6);
	IS(put(p[1], "world"), 5);
	get(p[0], 6, "hello ");
	get(p[0], 100, "world");
	IS(CALL(read, p[1], OUT, 1), -EBADF);
	IS(CALL(write, p[0], OUT, 1), -EBADF);
	IS(CALL(read, p[0], OUT, 0), 0);
	IS(CALL(lseek, p[0], 0, SEEK_SET), -ESPIPE);
	IS(CALL(pread64, p[0], OUT, 1, 0), -ESPIPE);
	IS(CALL(read, p[0], OUT, 1), SLEPT(read));
	IS(CALL(close, p[1]), 0);
	get(p[0], 10, "");
}
END_TEST

START_TEST(broken)
{
	setup(0);
	IS(bits(p[1], POLLOUT), POLLOUT);
	IS(bits(p[0], POLLIN), 0);
	IS(CALL(close, p[0]), 0);
	IS(bits(p[1], POLLOUT), POLLOUT | POLLERR);
	IS(CALL(rt_sigaction, SIGPIPE, 0, 0, 8), 0);
	/* SIGPIPE's default action would end the process: ignore it. */
	kernel_poke(init, ARG, (uint64_t[4]){1, 0, 0, 0}, 32);
	IS(CALL(rt_sigaction, SIGPIPE, ARG, 0, 8), 0);
	IS(put(p[1], "x"), -EPIPE);
	IS(put(q[1], "x"), 1);
	IS(CALL(close, q[1]), 0);
	IS(bits(q[0], POLLIN), POLLIN | POLLHUP);
	get(q[0], 10, "x");
	IS(bits(q[0], POLLIN), POLLHUP);
}
END_TEST

START_TEST(capacity)
{
	int64_t n;

	setup(O_NONBLOCK);
	IS(CALL(fcntl, p[0], F_GETPIPE_SZ), 65536);
	IS(CALL(write, p[1], BUF, 65537), 65536);
	IS(CALL(write, p[1], BUF, 1), -EAGAIN);
	IS(bits(p[1], POLLOUT), 0);
	IS(CALL(read, p[0], OUT, 4095), 4095);
	IS(CALL(write, p[1], BUF, 1), -EAGAIN); /* the page is not free yet */
	IS(CALL(read, p[0], OUT, 1), 1);
	IS(bits(p[1], POLLOUT), POLLOUT);
	IS(CALL(write, p[1], BUF, 4097), 4096);
	for (n = 0; CALL(read, p[0], OUT, 10000) > 0; n++)
		;
	IS(CALL(read, p[0], OUT, 1), -EAGAIN);
	IS(CALL(fcntl, p[0], F_SETPIPE_SZ, 5000), 8192);
	IS(CALL(write, p[1], BUF, 20000), 8192);
	IS(CALL(fcntl, p[0], F_SETPIPE_SZ, 100), -EBUSY);
	IS(CALL(fcntl, p[0], F_SETPIPE_SZ, 1 << 20), 1 << 20);
	IS(CALL(write, p[1], BUF, 200000), 200000);
	IS(CALL(fcntl, CALL(eventfd, 0), F_SETPIPE_SZ, 1 << 20), -EBADF);
}
END_TEST

START_TEST(order)
{
	char in[3000], out[3000];

	setup(O_NONBLOCK);
	/* Sizes that wrap around, merge and split in many ways: the bytes must come out as they went in. */
	for (unsigned round = 0, sent = 0, got = 0; round < 400; round++) {
		size_t size = round * 37 % sizeof(in) + 1;
		int64_t n;

		for (size_t i = 0; i < size; i++)
			in[i] = (char)((sent + i) * 7 % 251);
		kernel_poke(init, BUF, in, size);
		n = CALL(write, p[1], BUF, size);
		sent += n > 0 ? (unsigned)n : 0;
		n = CALL(read, p[0], OUT, (round * 53) % sizeof(out) + 1);
		if (n <= 0)
			continue;
		kernel_peek(init, OUT, out, (size_t)n);
		for (int64_t i = 0; i < n; i++)
			ck_assert_int_eq(out[i], (char)((got + i) * 7 % 251));
		got += (unsigned)n;
	}
}
END_TEST

START_TEST(packets)
{
	setup(O_DIRECT | O_NONBLOCK);
	IS(put(p[1], "abc"), 3);
	IS(put(p[1], "def"), 3);
	get(p[0], 2, "ab"); /* the rest of the packet is gone */
	get(p[0], 100, "def");
	IS(CALL(write, p[1], BUF, 5000), 5000);
	IS(CALL(read, p[0], OUT, 10000), 4096);
	IS(CALL(read, p[0], OUT, 10000), 904);
}
END_TEST

START_TEST(faults)
{
	uint64_t end = KERNEL_SCRATCH + KERNEL_SCRATCH_SIZE;

	setup(O_NONBLOCK);
	IS(CALL(write, p[1], end, 10), -EFAULT);
	IS(CALL(write, p[1], end - 5, 10), -EFAULT);
	IS(CALL(write, p[1], end - 4100, 5000), 4096);
	IS(CALL(read, p[0], OUT, 10000), 4096);
	IS(put(p[1], "abcdef"), 6);
	IS(CALL(read, p[0], end, 10), -EFAULT);
	IS(CALL(read, p[0], end - 2, 10), -EFAULT);
	get(p[0], 10, "abcdef");
	IS(CALL(write, p[1], BUF, 10000), 10000);
	IS(CALL(read, p[0], end - 5000, 10000), 4096); /* the page that faults stays */
	IS(CALL(read, p[0], OUT, 10000), 5904);
	IS(CALL(pipe, end), -EFAULT);
	IS(CALL(pipe2, ARG, O_TRUNC), -EINVAL);
}
END_TEST

START_TEST(fifos)
{
	int64_t r, w;

	setup(0);
	IS(CALL(mknod, name_at("/tmp/fifo"), S_IFIFO | 0600, 0), 0);
	IS(CALL(open, NAME, O_WRONLY | O_NONBLOCK), -ENXIO);
	IS(CALL(open, NAME, O_RDONLY), SLEPT(open));
	r = CALL(open, NAME, O_RDONLY | O_NONBLOCK);
	ck_assert_int_ge(r, 0);
	IS(bits((int)r, POLLIN), 0); /* no writer yet: not hung up */
	IS(CALL(read, r, OUT, 1), 0);
	w = CALL(open, NAME, O_WRONLY);
	ck_assert_int_ge(w, 0);
	IS(put(w, "through"), 7);
	get(r, 100, "through");
	IS(CALL(close, w), 0);
	IS(bits((int)r, POLLIN), POLLHUP);
	w = CALL(open, NAME, O_RDWR);
	ck_assert_int_ge(w, 0);
	IS(bits((int)w, POLLIN | POLLOUT), POLLOUT);
	IS(CALL(close, w), 0);
	IS(CALL(close, r), 0);
	ck_assert_uint_eq(live_in("struct pipe"), 2);
}
END_TEST

START_TEST(splices)
{
	int64_t f;

	setup(O_NONBLOCK);
	f = CALL(open, name_at("/tmp/data"), O_RDWR | O_CREAT, 0600);
	IS(put(f, "0123456789"), 10);
	kernel_poke(init, ARG, (uint64_t[1]){2}, 8);
	IS(CALL(splice, f, ARG, p[1], 0, 5, 0), 5);
	IS(CALL(tee, p[0], q[1], 3, 0), 3);
	get(q[0], 10, "234");
	IS(CALL(splice, p[0], 0, q[1], 0, 100, 0), 5);
	get(q[0], 10, "23456");
	IS(CALL(splice, p[0], 0, q[1], 0, 100, 0), -EAGAIN);
	IS(CALL(splice, p[0], 0, p[1], 0, 100, 0), -EINVAL);
	IS(CALL(splice, p[0], ARG, q[1], 0, 100, 0), -ESPIPE);
	IS(CALL(splice, f, 0, f, 0, 100, 0), -EINVAL);
	IS(CALL(splice, p[1], 0, q[1], 0, 100, 0), -EBADF);
	IS(put(p[1], "tail"), 4);
	IS(CALL(splice, p[0], 0, f, 0, 100, 0), 4);
	IS(CALL(lseek, f, 0, SEEK_SET), 0);
	get(f, 100, "0123456789tail");
	kernel_poke(init, ARG, (uint64_t[1]){12}, 8);
	IS(CALL(sendfile, p[1], f, ARG, 100), 2);
	get(p[0], 100, "il");
	IS(CALL(sendfile, f, p[0], 0, 100), -EINVAL);
	kernel_poke(init, ARG, (uint64_t[4]){BUF, 4, BUF, 2}, 32);
	kernel_poke(init, BUF, "wxyz", 4);
	IS(CALL(vmsplice, p[1], ARG, 2, 0), 6);
	get(p[0], 100, "wxyzwx");
}
END_TEST

static int make(void *arg __unused)
{
	int64_t r = CALL(pipe2, ARG, O_NONBLOCK);
	int fd[2];

	if (r)
		return (int)r;
	kernel_peek(init, ARG, fd, sizeof(fd));
	r = CALL(write, fd[1], BUF, 30000);
	IS(CALL(close, fd[0]), 0);
	IS(CALL(close, fd[1]), 0);
	/* Fewer bytes are a success, as with a full pipe. */
	return r == -ENOMEM ? -ENOMEM : 0;
}

START_TEST(no_memory)
{
	setup(0);
	unit_each_allocation_fails(make, NULL);
	ck_assert_uint_eq(live_in("struct pipe"), 2);
}
END_TEST

UNIT_MAIN(bytes, broken, capacity, order, packets, faults, fifos, splices, no_memory)
