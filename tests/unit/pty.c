/* fs/dev: /dev's devices and pseudo-terminals, by the file operations, without tasks */
#include "fs/dev/pty.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "fs/dev/devfs.h"
#include "fs/fdtable.h"
#include "fs/fs_struct.h"
#include "fs/path.h"
#include "fs/tmp/tmpfs.h"
#include "sentry/base/cred.h"
#include "tests/unit/unit.h"

static struct ctx c;
static struct file *master, *slave;

static void setup(void)
{
	struct super *root = tmpfs_create(&(struct tmpfs_options){.mode = 0755});
	struct super *dev;
	struct path top;
	PATH_REF at = {NULL, NULL};

	unit_ctx_init(&c);
	c.cred = cred_create(0, 0, NULL, 0);
	c.mnt_ns = mnt_ns_create(root, 0, "none");
	top = (struct path){c.mnt_ns->root, c.mnt_ns->root->root};
	c.fs = fs_struct_create(&top, &top, 022);
	c.fdt = fdtable_create();
	c.rlimit_nofile = 64;
	c.rlimit_fsize = UINT64_MAX;
	devfs_init();
	dev = devfs_create();
	ck_assert_int_eq(vfs_mkdir(&c, AT_FDCWD, "/dev", 0755), 0);
	ck_assert_int_eq(path_lookup(&c, AT_FDCWD, "/dev", 0, &at), 0);
	ck_assert_int_eq(mount_add(c.mnt_ns, dev, &at, 0, "dev"), 0);
	ck_assert_int_eq(devfs_populate(&c), 0);
}

static int open_file(const char *name, int flags, struct file **ret)
{
	return vfs_open(&c, AT_FDCWD, name, flags, 0, LOOKUP_FOLLOW, ret);
}

static long ioctl_of(struct file *f, uint32_t cmd, void *arg)
{
	return f->ops->ioctl(&c, f, cmd, (uint64_t)arg);
}

static void open_pair(int flags)
{
	char name[32];
	int n = -1, zero = 0;

	ck_assert_int_eq(open_file("/dev/ptmx", O_RDWR | flags, &master), 0);
	ck_assert_int_eq(ioctl_of(master, TIOCGPTN, &n), 0);
	snprintf(name, sizeof(name), "/dev/pts/%d", n);
	ck_assert_int_eq(open_file(name, O_RDWR, &slave), -EIO);
	ck_assert_int_eq(ioctl_of(master, TIOCSPTLCK, &zero), 0);
	ck_assert_int_eq(open_file(name, O_RDWR | flags, &slave), 0);
}

static ssize_t get(struct file *f, char *buf, size_t size)
{
	struct iobuf b;
	ssize_t n;

	iobuf_init_kernel(&b, buf, size - 1);
	n = file_read(&c, f, &b, NULL);
	buf[n > 0 ? n : 0] = 0;
	return n;
}

static ssize_t put(struct file *f, const char *text, size_t size)
{
	struct iobuf b;

	iobuf_init_kernel(&b, (void *)(uintptr_t)text, size);
	return file_write(&c, f, &b, NULL);
}

static void expect(struct file *f, const char *text)
{
	char buf[256];

	ck_assert_int_eq(get(f, buf, sizeof(buf)), (int)strlen(text));
	ck_assert_str_eq(buf, text);
}

static void raw(uint8_t min, uint8_t time)
{
	struct k_termios t;

	ck_assert_int_eq(ioctl_of(slave, TCGETS, &t), 0);
	t.lflag &= ~(uint32_t)(ICANON | ECHO);
	t.cc[VMIN] = min;
	t.cc[VTIME] = time;
	ck_assert_int_eq(ioctl_of(slave, TCSETS, &t), 0);
}

START_TEST(memory_devices)
{
	struct file *f;
	char buf[64];

	setup();
	ck_assert_int_eq(open_file("/dev/null", O_RDWR, &f), 0);
	ck_assert_int_eq(get(f, buf, sizeof(buf)), 0);
	ck_assert_int_eq(put(f, "abc", 3), 3);
	file_put(f);
	ck_assert_int_eq(open_file("/dev/zero", O_RDWR, &f), 0);
	memset(buf, 1, sizeof(buf));
	ck_assert_int_eq(get(f, buf, sizeof(buf)), sizeof(buf) - 1);
	for (size_t i = 0; i < sizeof(buf); i++)
		ck_assert_int_eq(buf[i], 0);
	file_put(f);
	ck_assert_int_eq(open_file("/dev/full", O_RDWR, &f), 0);
	ck_assert_int_eq(put(f, "abc", 3), -ENOSPC);
	file_put(f);
	ck_assert_int_eq(open_file("/dev/urandom", O_RDONLY, &f), 0);
	memset(buf, 0, sizeof(buf));
	ck_assert_int_eq(get(f, buf, sizeof(buf)), sizeof(buf) - 1);
	ck_assert(memchr(buf, 0, 16) != buf || memchr(buf + 1, 0, 16) != buf + 1 || buf[2]);
	file_put(f);
	ck_assert_int_eq(open_file("/dev/tty", O_RDWR, &f), -ENXIO);
	ck_assert_int_eq(open_file("/dev/console", O_RDWR, &f), -ENXIO);
}
END_TEST

START_TEST(both_ways)
{
	setup();
	open_pair(O_NOCTTY);
	ck_assert_int_eq(put(master, "hello\n", 6), 6);
	expect(slave, "hello\n");
	expect(master, "hello\r\n");
	ck_assert_int_eq(put(slave, "x\n", 2), 2);
	expect(master, "x\r\n");
	file_put(slave);
	file_put(master);
}
END_TEST

START_TEST(names_come_and_go)
{
	struct file *f;
	char name[32];
	int n;

	setup();
	open_pair(O_NOCTTY);
	ioctl_of(master, TIOCGPTN, &n);
	snprintf(name, sizeof(name), "/dev/pts/%d", n);
	file_put(master);
	ck_assert_int_eq(open_file(name, O_RDWR, &f), -ENOENT);
	/* The number stays taken while the slave is open. */
	ck_assert_int_eq(open_file("/dev/ptmx", O_RDWR, &master), 0);
	ck_assert_int_eq(ioctl_of(master, TIOCGPTN, &n), 0);
	ck_assert_int_eq(n, 1);
	file_put(slave);
	file_put(master);
	ck_assert_int_eq(open_file("/dev/pts/ptmx", O_RDWR, &master), 0);
	ck_assert_int_eq(ioctl_of(master, TIOCGPTN, &n), 0);
	ck_assert_int_eq(n, 0);
	file_put(master);
	ck_assert_int_eq(open_file("/dev/pts/00", O_RDWR, &f), -ENOENT);
	ck_assert_int_eq(open_file("/dev/pts/99999999999", O_RDWR, &f), -ENOENT);
}
END_TEST

START_TEST(ends)
{
	char buf[64];

	setup();
	open_pair(O_NOCTTY | O_NONBLOCK);
	ck_assert_int_eq(get(master, buf, sizeof(buf)), -EAGAIN);
	ck_assert_int_eq(put(slave, "last", 4), 4);
	file_put(slave);
	ck_assert_int_eq(file_poll(master, NULL) & (POLLIN | POLLHUP), POLLIN | POLLHUP);
	expect(master, "last");
	ck_assert_int_eq(get(master, buf, sizeof(buf)), -EIO);
	ck_assert_int_eq(open_file("/dev/pts/0", O_RDWR | O_NONBLOCK | O_NOCTTY, &slave), 0);
	ck_assert_int_eq(get(master, buf, sizeof(buf)), -EAGAIN);
	file_put(master);
	ck_assert_int_eq(get(slave, buf, sizeof(buf)), 0);
	ck_assert_int_eq(put(slave, "x", 1), -EIO);
	ck_assert_int_eq(ioctl_of(slave, TCGETS, buf), -EIO);
	ck_assert_int_eq(file_poll(slave, NULL) & POLLHUP, POLLHUP);
	file_put(slave);
}
END_TEST

START_TEST(packets)
{
	struct k_termios t;
	int on = 1;
	char buf[64];

	setup();
	open_pair(O_NOCTTY | O_NONBLOCK);
	ck_assert_int_eq(ioctl_of(master, TIOCPKT, &on), 0);
	ck_assert_int_eq(put(slave, "ab", 2), 2);
	ck_assert_int_eq(get(master, buf, sizeof(buf)), 3);
	ck_assert_int_eq(memcmp(buf, "\0ab", 3), 0);
	ck_assert_int_eq(ioctl_of(slave, TCGETS, &t), 0);
	t.iflag &= ~(uint32_t)IXON;
	ck_assert_int_eq(ioctl_of(slave, TCSETS, &t), 0);
	ck_assert_int_eq(file_poll(master, NULL) & POLLPRI, POLLPRI);
	ck_assert_int_eq(get(master, buf, sizeof(buf)), 1);
	ck_assert_int_eq(buf[0], TIOCPKT_NOSTOP);
	ck_assert_int_eq(ioctl_of(slave, TCFLSH, (void *)TCOFLUSH), 0);
	ck_assert_int_eq(get(master, buf, sizeof(buf)), 1);
	ck_assert_int_eq(buf[0], TIOCPKT_FLUSHWRITE);
	ck_assert_int_eq(get(master, buf, sizeof(buf)), -EAGAIN);
	file_put(slave);
	file_put(master);
}
END_TEST

START_TEST(timed_reads)
{
	int64_t start = clock_now(CLOCK_MONOTONIC);
	char buf[64];

	setup();
	open_pair(O_NOCTTY);
	raw(0, 0);
	ck_assert_int_eq(get(slave, buf, sizeof(buf)), 0);
	raw(0, 1);
	ck_assert_int_eq(get(slave, buf, sizeof(buf)), 0);
	ck_assert_int_ge(clock_now(CLOCK_MONOTONIC) - start, 100 * NSEC_PER_MSEC);
	put(master, "abcd", 4);
	raw(2, 0);
	expect(slave, "abcd");
	put(master, "ab", 2);
	raw(3, 1);
	start = clock_now(CLOCK_MONOTONIC);
	expect(slave, "ab");
	ck_assert_int_ge(clock_now(CLOCK_MONOTONIC) - start, 100 * NSEC_PER_MSEC);
	ck_assert_int_eq(file_poll(slave, NULL) & POLLIN, 0);
	file_put(slave);
	file_put(master);
}
END_TEST

START_TEST(full_queues)
{
	char buf[4096];
	size_t written = 0, got = 0;
	ssize_t n;

	setup();
	open_pair(O_NOCTTY | O_NONBLOCK);
	memset(buf, 'x', sizeof(buf));
	while ((n = put(slave, buf, sizeof(buf))) > 0)
		written += (size_t)n;
	ck_assert_int_eq(n, -EAGAIN);
	ck_assert_uint_ge(written, 4096);
	while ((n = get(master, buf, sizeof(buf))) > 0)
		got += (size_t)n;
	ck_assert_uint_eq(got, written);
	raw(1, 0);
	memset(buf, 'y', sizeof(buf));
	for (written = 0; (n = put(master, buf, sizeof(buf))) > 0;)
		written += (size_t)n;
	for (got = 0; (n = get(slave, buf, sizeof(buf))) > 0;)
		got += (size_t)n;
	ck_assert_uint_eq(got, written);
	file_put(slave);
	file_put(master);
}
END_TEST

START_TEST(bad_pointers)
{
	char *bad = unit_guard_page();

	setup();
	open_pair(O_NOCTTY | O_NONBLOCK);
	ck_assert_int_eq(ioctl_of(slave, TCGETS, bad), -EFAULT);
	ck_assert_int_eq(ioctl_of(slave, TCSETS, bad), -EFAULT);
	ck_assert_int_eq(ioctl_of(slave, TIOCGWINSZ, bad), -EFAULT);
	ck_assert_int_eq(ioctl_of(slave, TIOCSWINSZ, bad), -EFAULT);
	ck_assert_int_eq(ioctl_of(master, TIOCGPTN, bad), -EFAULT);
	ck_assert_int_eq(ioctl_of(slave, 0x12345678, NULL), -ENOTTY);
	ck_assert_int_eq(ioctl_of(slave, TIOCSTI, NULL), -EIO);
	ck_assert_int_eq(ioctl_of(slave, TIOCGPTN, NULL), -ENOTTY);
	file_put(slave);
	file_put(master);
}
END_TEST

static int open_once(void *arg __unused)
{
	struct file *f = NULL;
	int err = open_file("/dev/ptmx", O_RDWR | O_NOCTTY, &f);

	file_put(f);
	return err;
}

START_TEST(no_memory)
{
	setup();
	unit_each_allocation_fails(open_once, NULL);
}
END_TEST

UNIT_MAIN(memory_devices, both_ways, names_come_and_go, ends, packets, timed_reads, full_queues, bad_pointers,
	  no_memory)
