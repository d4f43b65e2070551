/*
 * The platform for tests: see fake.h. Cpus are registers and nothing else; events are reported by the test.
 *
 * A cpu lives until cpu_put() and the end of the event that is running on it, whichever comes later; the test must not
 * report an event on one cpu from two threads at once, as a processor would not.
 */
#include "platform/fake/fake.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "platform/fake/internal.h"

#define FXSAVE_SIZE 512
#define XSTATE_BV_OFFSET 512
#define MXCSR_OFFSET 24
#define MXCSR_MASK 0xffff
#define MXCSR_INIT 0x1f80
#define FCW_INIT 0x37f
#define EFLAGS_INIT 0x202

static const struct platform_client *client;
static void (*start_hook)(struct cpu *cpu);
static _Atomic unsigned cpu_total, aspace_total;

static struct fake_cpu *fake_of(const struct cpu *cpu)
{
	return (struct fake_cpu *)(uintptr_t)cpu;
}

static int fake_init(const struct platform_config *config)
{
	client = config->client;
	return 0;
}

static int fake_probe(const char **ret_why)
{
	*ret_why = "for tests only";
	return 0;
}

static void fp_init(struct fake_cpu *c)
{
	uint16_t fcw = FCW_INIT;
	uint32_t mxcsr = MXCSR_INIT;

	memset(c->fp, 0, sizeof(c->fp));
	memcpy(c->fp, &fcw, sizeof(fcw));
	memcpy(c->fp + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
}

static struct fake_cpu *cpu_new(struct aspace *a)
{
	struct fake_cpu *c = aligned_alloc(_Alignof(struct fake_cpu), sizeof(*c));

	if (!c)
		return NULL;
	memset(c, 0, sizeof(*c));
	c->cpu.aspace = a;
	c->regs.eflags = EFLAGS_INIT;
	fp_init(c);
	mutex_lock(&a->lock, L_ASPACE);
	a->cpus++;
	mutex_unlock(&a->lock, L_ASPACE);
	cpu_total++;
	return c;
}

static void aspace_free(struct aspace *a)
{
	areas_free(a);
	free(a);
	aspace_total--;
}

static void cpu_free(struct fake_cpu *c)
{
	struct aspace *a = c->cpu.aspace;
	bool last;

	mutex_lock(&a->lock, L_ASPACE);
	last = --a->cpus == 0;
	mutex_unlock(&a->lock, L_ASPACE);
	if (last)
		aspace_free(a);
	free(c);
	cpu_total--;
}

static int fake_aspace_create(struct cpu **ret_cpu)
{
	struct aspace *a = calloc(1, sizeof(*a));
	struct fake_cpu *c;

	if (!a)
		return -ENOMEM;
	mutex_init(&a->lock);
	list_init(&a->areas);
	aspace_total++;
	c = cpu_new(a);
	if (!c) {
		aspace_free(a);
		return -ENOMEM;
	}
	*ret_cpu = &c->cpu;
	return 0;
}

static void state_copy(struct cpu *to, const struct cpu *from)
{
	fake_of(to)->regs = fake_of(from)->regs;
	memcpy(fake_of(to)->fp, fake_of(from)->fp, FAKE_XSAVE_SIZE);
}

static int fake_aspace_fork(struct cpu *parent, struct cpu **ret_cpu)
{
	struct cpu *c;
	int err = fake_aspace_create(&c);

	if (err)
		return err;
	err = areas_copy(c->aspace, parent->aspace);
	if (err) {
		cpu_free(fake_of(c));
		return err;
	}
	state_copy(c, parent);
	*ret_cpu = c;
	return 0;
}

static int fake_cpu_create(struct cpu *from, struct cpu **ret_cpu)
{
	struct fake_cpu *c = cpu_new(from->aspace);

	if (!c)
		return -ENOMEM;
	state_copy(&c->cpu, from);
	*ret_cpu = &c->cpu;
	return 0;
}

static void fake_cpu_start(struct cpu *cpu)
{
	if (start_hook)
		start_hook(cpu);
}

static void fake_cpu_put(struct cpu *cpu)
{
	struct fake_cpu *c = fake_of(cpu);

	c->put = true;
	if (!c->in_event)
		cpu_free(c);
}

static void fake_cpu_kick(struct cpu *cpu)
{
	fake_of(cpu)->kicked = true;
}

static void fake_aspace_kill(struct cpu *any)
{
	any->aspace->killed = true;
}

static struct k_user_regs *fake_cpu_regs(struct cpu *cpu)
{
	return &fake_of(cpu)->regs;
}

static const void *fake_cpu_fpstate(struct cpu *cpu, size_t *ret_size)
{
	*ret_size = FAKE_XSAVE_SIZE;
	return fake_of(cpu)->fp;
}

/* What XRSTOR checks: reserved bits of MXCSR, of the header, and components that do not exist. */
static bool fp_valid(const unsigned char *image)
{
	uint64_t header[8];
	uint32_t mxcsr;

	memcpy(&mxcsr, image + MXCSR_OFFSET, sizeof(mxcsr));
	memcpy(header, image + XSTATE_BV_OFFSET, sizeof(header));
	for (unsigned i = 1; i < ARRAY_SIZE(header); i++)
		if (header[i])
			return false;
	return !(mxcsr & ~(uint32_t)MXCSR_MASK) && !(header[0] & ~(uint64_t)FAKE_XCR0);
}

static int fake_cpu_set_fpstate(struct cpu *cpu, const void *image, size_t size)
{
	struct fake_cpu *c = fake_of(cpu);

	if (size == 0) {
		fp_init(c);
		return 0;
	}
	if (size < FXSAVE_SIZE + 64 || size > FAKE_XSAVE_SIZE || !fp_valid(image))
		return -EINVAL;
	memset(c->fp, 0, sizeof(c->fp));
	memcpy(c->fp, image, size);
	return 0;
}

static size_t fake_fpstate_size(uint64_t *ret_xcr0)
{
	if (ret_xcr0)
		*ret_xcr0 = FAKE_XCR0;
	return FAKE_XSAVE_SIZE;
}

static int fake_map(struct cpu *cpu, uint64_t addr, size_t size, int prot, int flags, int fd, uint64_t off)
{
	return areas_map(cpu->aspace, addr, size, prot, flags, fd, off);
}

static int fake_unmap(struct cpu *cpu, uint64_t addr, size_t size)
{
	return areas_unmap(cpu->aspace, addr, size);
}

static int fake_protect(struct cpu *cpu, uint64_t addr, size_t size, int prot)
{
	return areas_protect(cpu->aspace, addr, size, prot);
}

static int fake_advise(struct cpu *cpu, uint64_t addr, size_t size, int advice)
{
	return areas_advise(cpu->aspace, addr, size, advice);
}

static int fake_move(struct cpu *cpu, uint64_t old, size_t old_size, uint64_t to, size_t size)
{
	return areas_move(cpu->aspace, old, old_size, to, size);
}

static int fake_sync(struct cpu *cpu, uint64_t addr, size_t size, int flags)
{
	return areas_sync(cpu->aspace, addr, size, flags);
}

static int fake_mincore(struct cpu *cpu, uint64_t addr, size_t size, unsigned char *vec)
{
	return areas_mincore(cpu->aspace, addr, size, vec);
}

static int fake_cpu_sync(struct cpu *cpu __unused)
{
	return 0;
}

static ssize_t fake_read(struct cpu *cpu, void *dst, uint64_t addr, size_t size)
{
	return areas_read(cpu->aspace, dst, addr, size);
}

static ssize_t fake_write(struct cpu *cpu, uint64_t addr, const void *src, size_t size)
{
	return areas_write(cpu->aspace, addr, src, size);
}

static int fake_cas32(struct cpu *cpu, uint64_t addr, uint32_t *expected, uint32_t desired)
{
	return areas_cas32(cpu->aspace, addr, expected, desired);
}

static void fake_set_fast(struct cpu *cpu __unused, const struct cpu_fast *fast __unused)
{
}

/* The test is the processor: its time is everybody's. */
static int fake_cpu_time(struct cpu *cpu __unused, uint64_t *ret_ns)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	*ret_ns = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
	return 0;
}

static int fake_aspace_time(struct cpu *any, uint64_t *ret_user, uint64_t *ret_sys)
{
	*ret_sys = 0;
	return fake_cpu_time(any, ret_user);
}

static int fake_rss(struct cpu *any, uint64_t *ret_bytes, uint64_t *ret_anon)
{
	*ret_bytes = *ret_anon = areas_rss(any->aspace);
	return 0;
}

static int fake_affinity(struct cpu *cpu __unused, const void *mask __unused, size_t size __unused)
{
	return 0;
}

static const struct platform_vdso *fake_vdso(void)
{
	static const struct platform_vdso none;

	return &none;
}

struct fake_result fake_event(struct cpu *cpu, const struct cpu_event *ev)
{
	struct fake_cpu *c = fake_of(cpu);
	struct fake_result r;

	c->in_event = true;
	r.action = client->event(cpu, ev);
	c->in_event = false;
	r.gone = c->put;
	r.ret = (int64_t)c->regs.rax;
	if (c->put)
		cpu_free(c);
	return r;
}

struct fake_result fake_syscall(struct cpu *cpu, uint64_t nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3,
				uint64_t a4, uint64_t a5)
{
	struct cpu_event ev = {.kind = CPU_SYSCALL};
	struct k_user_regs *r = fake_cpu_regs(cpu);

	r->orig_rax = nr;
	r->rax = (uint64_t)-ENOSYS;
	r->rdi = a0;
	r->rsi = a1;
	r->rdx = a2;
	r->r10 = a3;
	r->r8 = a4;
	r->r9 = a5;
	r->rcx = r->rip;
	r->r11 = r->eflags;
	return fake_event(cpu, &ev);
}

bool fake_take_kick(struct cpu *cpu)
{
	return atomic_exchange(&fake_of(cpu)->kicked, false);
}

bool fake_killed(const struct cpu *cpu)
{
	return cpu->aspace->killed;
}

void fake_on_start(void (*fn)(struct cpu *cpu))
{
	start_hook = fn;
}

unsigned fake_cpu_count(void)
{
	return cpu_total;
}

unsigned fake_aspace_count(void)
{
	return aspace_total;
}

const struct platform_ops platform_fake = {
    .name = "fake",
    .init = fake_init,
    .probe = fake_probe,
    .aspace_create = fake_aspace_create,
    .aspace_fork = fake_aspace_fork,
    .cpu_create = fake_cpu_create,
    .cpu_start = fake_cpu_start,
    .cpu_put = fake_cpu_put,
    .cpu_kick = fake_cpu_kick,
    .aspace_kill = fake_aspace_kill,
    .cpu_regs = fake_cpu_regs,
    .cpu_fpstate = fake_cpu_fpstate,
    .cpu_set_fpstate = fake_cpu_set_fpstate,
    .fpstate_size = fake_fpstate_size,
    .aspace_map = fake_map,
    .aspace_unmap = fake_unmap,
    .aspace_protect = fake_protect,
    .aspace_advise = fake_advise,
    .aspace_move = fake_move,
    .aspace_sync = fake_sync,
    .aspace_mincore = fake_mincore,
    .cpu_sync = fake_cpu_sync,
    .cpu_read = fake_read,
    .cpu_write = fake_write,
    .cpu_cas32 = fake_cas32,
    .aspace_read = fake_read,
    .aspace_write = fake_write,
    .cpu_set_fast = fake_set_fast,
    .cpu_time = fake_cpu_time,
    .aspace_time = fake_aspace_time,
    .aspace_rss = fake_rss,
    .cpu_affinity = fake_affinity,
    .vdso = fake_vdso,
};
