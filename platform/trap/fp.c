/*
 * FP state: the XSAVE image in the signal frame, standard format. The host kernel writes it there when it stops the guest
 * by a signal, the stub loads it again by xrstor. The image lies in memory that other threads of the guest can write, so
 * nothing here believes it: sizes come from CPUID, and an image that the processor refuses makes the stub fault, which
 * kills that guest process only.
 *
 * Components that a process must ask for (AMX) are left out: the guest cannot ask, and the host does not save them.
 */
#include <cpuid.h>
#include <string.h>

#include "platform/trap/trap.h"

#define XSTATE_LEGACY 512
#define XSTATE_HEADER 64
#define XSTATE_DYNAMIC (3ull << 17) /* AMX: TILECFG, TILEDATA */
#define MXCSR_OFFSET 24
#define MXCSR_DEFAULT 0x1f80

static uint64_t xcr0;
static size_t image_size;
static uint32_t mxcsr_mask;
static struct {
	uint32_t offset, size;
} component[64];

static uint64_t read_xcr0(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo | (uint64_t)hi << 32;
}

void fp_init(void)
{
	uint8_t legacy[XSTATE_LEGACY] __attribute__((aligned(16))) = {0};
	uint32_t a, b, c, d;

	xcr0 = read_xcr0() & ~XSTATE_DYNAMIC;
	image_size = XSTATE_LEGACY + XSTATE_HEADER;
	for (unsigned i = 2; i < 63; i++) {
		if (!(xcr0 >> i & 1))
			continue;
		__cpuid_count(0xd, i, a, b, c, d);
		component[i].size = a;
		component[i].offset = b;
		image_size = MAX(image_size, (size_t)a + b);
	}
	__asm__ volatile("fxsave64 %0" : "=m"(legacy));
	memcpy(&mxcsr_mask, legacy + 28, 4);
	if (mxcsr_mask == 0)
		mxcsr_mask = 0xffbf;
}

size_t fp_size(uint64_t *ret_xcr0)
{
	if (ret_xcr0)
		*ret_xcr0 = xcr0;
	return image_size;
}

uint64_t fp_mask(void)
{
	return xcr0;
}

void fp_initial(void *image)
{
	uint32_t mxcsr = MXCSR_DEFAULT;

	memset(image, 0, XSTATE_LEGACY + XSTATE_HEADER); /* XSTATE_BV 0: every component in its initial state */
	memcpy((char *)image + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
}

/* Would xrstor take it? */
static bool image_valid(const uint8_t *image, size_t size)
{
	uint64_t header[8];
	uint32_t mxcsr;

	if (size < XSTATE_LEGACY + XSTATE_HEADER || size > image_size)
		return false;
	memcpy(header, image + XSTATE_LEGACY, sizeof(header));
	memcpy(&mxcsr, image + MXCSR_OFFSET, sizeof(mxcsr));
	if ((header[0] & ~xcr0) || (mxcsr & ~mxcsr_mask))
		return false;
	for (unsigned i = 1; i < 8; i++)
		if (header[i])
			return false;
	for (unsigned i = 2; i < 63; i++)
		if ((header[0] >> i & 1) && (size_t)component[i].offset + component[i].size > size)
			return false;
	return true;
}

/* The registers hold it: the stub stores a copy. */
static void fetch(struct trap_cpu *c)
{
	memset(cpu_thr(c) + FRESH_FPSTATE + XSTATE_LEGACY, 0, XSTATE_HEADER);
	if (c->queued + 4 > CMD_MAX && list_run(c))
		return;
	list_add(c, CMD_XSAVE, (uint64_t[6]){slot_address(c->slot) + FRESH_FPSTATE}, 0);
	if (list_run(c) == 0)
		c->fpstate = FRESH_FPSTATE;
}

const void *trap_fpstate(struct cpu *cpu, size_t *ret_size)
{
	struct trap_cpu *c = to_trap(cpu);

	if (c->fp_live && c->fpstate == 0)
		fetch(c);
	*ret_size = c->fpstate ? image_size : 0;
	return c->fpstate ? cpu_thr(c) + c->fpstate : NULL;
}

/* By the stub itself, on its way back: the registers still hold it. A guest that unmaps the place meanwhile harms itself only. */
int trap_save_fpstate(struct cpu *cpu, uint64_t addr)
{
	struct trap_cpu *c = to_trap(cpu);

	if (!c->fp_live || c->fpstate || c->queued + 4 > CMD_MAX)
		return -EOPNOTSUPP;
	if (!addr)
		return 0;
	if (addr % 64 || addr < GUEST_MIN || addr >= GUEST_END - image_size)
		return -EINVAL;
	list_add(c, CMD_XSAVE, (uint64_t[6]){addr}, CMD_MAY_FAIL);
	list_touch(c, addr, image_size);
	return 0;
}

int trap_set_fpstate(struct cpu *cpu, const void *image, size_t size)
{
	struct trap_cpu *c = to_trap(cpu);

	if (size && !image_valid(image, size))
		return -EINVAL;
	c->fp_live = false;
	c->fpstate = size ? FRESH_FPSTATE : 0;
	memmove(cpu_thr(c) + FRESH_FPSTATE, image, size);
	return 0;
}
