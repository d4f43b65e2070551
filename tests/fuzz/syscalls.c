/*
 * Fuzzes the system call layer. An input is a little program: it writes bytes into memory and makes calls, on any of the
 * processes and threads that the calls before have made. What an argument byte means depends on the argument's kind in
 * syscalls/table.def, so that descriptors, paths and pointers are mostly ones that exist, and buffers hold what the input
 * put there. Every input starts in a fresh child of the first process and ends with the death of all.
 *
 *	0..31 OFFSET OFFSET SIZE BYTE...	memory
 *	else  CPU NUMBER NUMBER ARGUMENT...	a call; an argument is one byte, or 255 and eight bytes
 */
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#include "syscalls/dispatch.h"
#include "tests/kernel/kernel.h"

#define NAMES_AT (KERNEL_SCRATCH + KERNEL_SCRATCH_SIZE - PAGE_SIZE)
#define NAME_SIZE 32
#define CALLS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at, *end;
};

static uint8_t take_byte(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static uint64_t take_word(struct input *in)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | take_byte(in);
	return v;
}

static const char names[][NAME_SIZE] = {
    "a",
    "b",
    "d",
    "d/a",
    "d/b",
    "l",
    "",
    "/",
    ".",
    "..",
    "/tmp",
    "/proc/self/fd/3",
    "/proc/self/maps",
    "/proc/self/status",
    "/dev/null",
    "/dev/zero",
    "/dev/ptmx",
    "/dev/pts/0",
    "/init",
    "/sys",
    "/proc",
    "/dev/full",
    "user.x",
    "tmpfs",
    "/proc/1/stat",
    "/dev/tty",
    "d/../a",
    "/proc/self/mem",
    "/proc/self/comm",
    "pipe",
    "/dev/shm",
    "trusted.overlay.opaque",
};

static const uint64_t sizes[] = {
    0,    1,     2,       4,       7,         8,          12,        16,        24,         32,
    64,   100,   127,     128,     255,       256,        1000,      4095,      4096,       4097,
    8192, 65536, 1 << 20, 1 << 24, INT32_MAX, UINT32_MAX, 1ul << 32, INT64_MAX, UINT64_MAX, UINT64_MAX - 4095};
static const uint64_t addresses[] = {0,
				     1,
				     0xfff,
				     0x1000,
				     0x10000,
				     KERNEL_SCRATCH + KERNEL_SCRATCH_SIZE - 1,
				     0x7ffefffff000,
				     0x7fff00000000,
				     0x800000000000,
				     UINT64_MAX,
				     KERNEL_SCRATCH - 1,
				     0x400000};

static uint64_t pointer(uint8_t b)
{
	if (b < ARRAY_SIZE(addresses))
		return addresses[b];
	return KERNEL_SCRATCH + b * 64ul;
}

static uint64_t argument(struct input *in, unsigned char kind)
{
	uint8_t b = take_byte(in);

	if (b == 255)
		return take_word(in);
	switch (kind) {
	case ARG_FD:
		return b % 20;
	case ARG_DIRFD:
		return b < 200 ? (uint64_t)AT_FDCWD : b % 20;
	case ARG_PATH:
	case ARG_STR:
		return b < 250 ? NAMES_AT + (b % ARRAY_SIZE(names)) * NAME_SIZE : pointer(b);
	case ARG_SIZE:
		return sizes[b % ARRAY_SIZE(sizes)];
	case ARG_ADDR:
		return b < 20 ? pointer(b) : KERNEL_SCRATCH + b * PAGE_SIZE;
	case ARG_IPCKEY:
		return b % 4;
	case ARG_IPCID: /* the first of an index, or the second */
		return b % 6 | (uint64_t)(b >= 240) << 15;
	case ARG_IPCFLAGS:
		return (b & 8 ? 0 : 0777u) | (uint64_t)(b & 7) << 9 | (uint64_t)(b >> 4) << 12;
	case ARG_MSGOPFLAGS:
	case ARG_SHMATFLAGS:
		return (uint64_t)(b & 31) << 11;
	case ARG_PID:
		return b < 3 ? (uint64_t)(b - 1) : b % 8;
	case ARG_OFF:
	case ARG_LONG:
	case ARG_ULONG:
		return b < 128 ? b : sizes[b % ARRAY_SIZE(sizes)];
	default:
		/* Pointers come last in the list of kinds; before them are numbers and flags. */
		if (kind >= ARG_PTR)
			return pointer(b);
		return b < 64 ? b : b < 192 ? 1ul << (b & 31) : 1ul << (b & 31) | 1ul << (b & 7);
	}
}

static const struct syscall_info *implemented(unsigned *nr)
{
	for (unsigned tries = 0; tries < SYSCALL_MAX; tries++) {
		const struct syscall_info *info = syscall_info(*nr);

		if (info && info->level > SYSCALL_NONE)
			return info;
		*nr = (*nr + 1) % SYSCALL_MAX;
	}
	return NULL;
}

static void make_call(struct input *in)
{
	size_t who = 1 + take_byte(in) % (kernel_cpu_count - 1);
	unsigned nr = (take_byte(in) | (unsigned)take_byte(in) << 8) % SYSCALL_MAX;
	const struct syscall_info *info = implemented(&nr);
	uint64_t a[6] = {0};

	if (!info)
		return;
	for (unsigned i = 0; i < info->arg_count; i++)
		a[i] = argument(in, info->kinds[i]);
	/* The first process's limits would be those of every later input, and RLIMIT_CPU its end. */
	if (nr == SYS_prlimit64 && (int32_t)a[0] == 1)
		a[0] = 0;
	kernel_call(kernel_cpus[who], nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void write_memory(struct input *in)
{
	size_t offset = (take_byte(in) | (size_t)take_byte(in) << 8) % (250 * 64);
	size_t size = take_byte(in);

	size = MIN(size, (size_t)(in->end - in->at));
	/* A process may have unmapped it. */
	(void)!platform->cpu_write(kernel_cpus[1], KERNEL_SCRATCH + offset, in->at, size);
	in->at += size;
}

static void setup(void)
{
	static struct cpu *init;

	if (!init) {
		init = kernel_boot();
		kernel_poke(init, NAMES_AT, names, sizeof(names));
	}
	if (KCALL(init, SYS_fork) < 0 || kernel_cpu_count != 2)
		__builtin_trap();
	KCALL(kernel_cpus[1], SYS_chdir, NAMES_AT + 10 * NAME_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};

	setup();
	for (int calls = 0;
	     in.at < in.end && calls < CALLS_MAX && kernel_cpu_count > 1 && kernel_cpu_count < KERNEL_CPUS_MAX - 2;
	     calls++) {
		if (take_byte(&in) < 32)
			write_memory(&in);
		else
			make_call(&in);
	}
	kernel_reset();
	return 0;
}
