/*
 * Floating point and vector state: the kernel's NT_X86_XSTATE register set, which is the standard XSAVE image. What a
 * guest puts into a signal frame reaches PTRACE_SETREGSET as it is: the kernel refuses what the processor would refuse.
 */
#include <cpuid.h>
#include <elf.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "platform/ptrace/internal.h"
#include "sentry/base/slab.h"

#define FXSAVE_SIZE 512
#define XSAVE_HEADER_SIZE 64
#define FCW_INIT 0x37f
#define MXCSR_INIT 0x1f80
#define MXCSR_OFFSET 24

size_t xstate_size(uint64_t *ret_xcr0)
{
	unsigned a, b, c, d;
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	if (ret_xcr0)
		*ret_xcr0 = (uint64_t)hi << 32 | lo;
	__cpuid_count(0xd, 0, a, b, c, d);
	return b;
}

static bool buffer_ready(struct pcpu *c)
{
	if (!c->fpstate)
		c->fpstate = kalloc(xstate_size(NULL));
	return c->fpstate;
}

const void *xstate_get(struct pcpu *c, size_t *ret_size)
{
	struct iovec v = {.iov_len = xstate_size(NULL)};

	if (!buffer_ready(c))
		return NULL;
	v.iov_base = c->fpstate;
	if (ptrace(PTRACE_GETREGSET, c->tid, (void *)NT_X86_XSTATE, &v) < 0)
		return NULL;
	*ret_size = v.iov_len;
	return c->fpstate;
}

static void initial_image(unsigned char *p)
{
	uint16_t fcw = FCW_INIT;
	uint32_t mxcsr = MXCSR_INIT;

	memcpy(p, &fcw, sizeof(fcw));
	memcpy(p + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
}

int xstate_set(struct pcpu *c, const void *image, size_t size)
{
	struct iovec v = {.iov_len = xstate_size(NULL)};

	if (size && (size < FXSAVE_SIZE + XSAVE_HEADER_SIZE || size > v.iov_len))
		return -EINVAL;
	if (!buffer_ready(c))
		return -ENOMEM;
	memset(c->fpstate, 0, v.iov_len);
	if (size)
		memcpy(c->fpstate, image, size);
	else
		initial_image(c->fpstate);
	v.iov_base = c->fpstate;
	if (ptrace(PTRACE_SETREGSET, c->tid, (void *)NT_X86_XSTATE, &v) == 0)
		return 0;
	return errno == ESRCH ? -ESRCH : -EINVAL;
}
