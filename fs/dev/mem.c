/*
 * The memory devices: null(4), zero(4), full(4), random(4). Major number 1, as everywhere.
 *
 * Random bytes come from the host's getrandom(2), in pieces. What is written to random and urandom is dropped: the guest has no say in the host's entropy.
 */
#include <sys/random.h>

#include "fs/dev.h"
#include "fs/dev/devfs.h"

#define RANDOM_CHUNK 4096u

enum mem_minor { MEM_NULL = 3, MEM_ZERO = 5, MEM_FULL = 7, MEM_RANDOM = 8, MEM_URANDOM = 9, MEM_KMSG = 11 };

static ssize_t null_read(struct ctx *c __unused, struct file *f __unused, struct iobuf *b __unused, off_t *pos __unused)
{
	return 0;
}

static ssize_t null_write(struct ctx *c __unused, struct file *f __unused, struct iobuf *b, off_t *pos __unused)
{
	size_t n = iobuf_left(b);

	iobuf_truncate(b, 0);
	return (ssize_t)n;
}

static off_t null_llseek(struct ctx *c __unused, struct file *f, off_t off __unused, int whence __unused)
{
	return f->pos = 0;
}

/* A page at a time is what Linux does between looks at signals; here a read ends at the first fault. */
static ssize_t zero_read(struct ctx *c __unused, struct file *f __unused, struct iobuf *b, off_t *pos __unused)
{
	static const char zeros[256 << 10];
	size_t done = 0;

	while (iobuf_left(b)) {
		ssize_t n = iobuf_put(b, zeros, sizeof(zeros));

		if (n <= 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int zero_mmap(struct ctx *c __unused, struct file *f __unused, uint64_t off __unused, size_t size __unused,
		     int prot __unused, int flags __unused, struct file_backing *ret)
{
	*ret = (struct file_backing){.host_fd = -1};
	return 0;
}

static ssize_t full_write(struct ctx *c __unused, struct file *f __unused, struct iobuf *b __unused,
			  off_t *pos __unused)
{
	return -ENOSPC;
}

static ssize_t random_read(struct ctx *c, struct file *f __unused, struct iobuf *b, off_t *pos __unused)
{
	char buf[RANDOM_CHUNK];
	size_t done = 0;

	while (iobuf_left(b) && !(done && ctx_interrupts(c))) {
		ssize_t n = getrandom(buf, MIN(iobuf_left(b), sizeof(buf)), 0);

		if (n > 0)
			n = iobuf_put(b, buf, (size_t)n);
		if (n <= 0)
			return done ? (ssize_t)done : n < 0 ? n : -EIO;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* RNDGETENTCNT: full. */
static long random_ioctl(struct ctx *c, struct file *f __unused, uint32_t cmd, uint64_t arg)
{
	int bits = 256;

	return cmd == 0x80045200u ? copy_out(c, UADDR(arg), &bits, sizeof(bits)) : -ENOTTY;
}

static const struct file_ops null_ops = {.read = null_read, .write = null_write, .llseek = null_llseek};
static const struct file_ops zero_ops = {
    .read = zero_read, .write = null_write, .llseek = null_llseek, .mmap = zero_mmap};
static const struct file_ops full_ops = {.read = zero_read, .write = full_write, .llseek = null_llseek};
static const struct file_ops random_ops = {
    .read = random_read, .write = null_write, .llseek = null_llseek, .ioctl = random_ioctl};

static struct chrdev devices[] = {
    {.major = 1, .first_minor = MEM_NULL, .last_minor = MEM_NULL, .ops = &null_ops},
    {.major = 1, .first_minor = MEM_ZERO, .last_minor = MEM_ZERO, .ops = &zero_ops},
    {.major = 1, .first_minor = MEM_FULL, .last_minor = MEM_FULL, .ops = &full_ops},
    {.major = 1, .first_minor = MEM_RANDOM, .last_minor = MEM_URANDOM, .ops = &random_ops},
    {.major = 1, .first_minor = MEM_KMSG, .last_minor = MEM_KMSG, .ops = &null_ops},
};

void mem_devices_init(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		chrdev_register(&devices[i]);
}
