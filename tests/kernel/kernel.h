/*
 * A whole kernel on the platform for tests: a tmpfs as root with /proc, /sys and /dev, and a first process whose program is a few
 * bytes that nobody runs. The test is the processor. Used by the fuzzer and by unit tests of system calls.
 */
#pragma once

#include "platform/fake/fake.h"

struct task;

/* Memory that every process has, readable and writable. */
#define KERNEL_SCRATCH 0x20000000ul
#define KERNEL_SCRATCH_SIZE (1ul << 20)

/* Once a program. The first process's cpu, stopped; aborts on failure. */
struct cpu *kernel_boot(void);
/* A system call by a cpu that lives; its result is -ESRCH if the task is gone with it. */
int64_t kernel_call(struct cpu *cpu, uint64_t nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
		    uint64_t a5);
#define KCALL_(cpu, nr, a, b, c, d, e, f, ...)                                                                         \
	kernel_call(cpu, nr, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), (uint64_t)(f))
#define KCALL(cpu, ...) KCALL_(cpu, __VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
/* Copies into or out of a live process's memory; aborts if it is not there. */
void kernel_poke(struct cpu *cpu, uint64_t addr, const void *src, size_t size);
void kernel_peek(struct cpu *cpu, uint64_t addr, void *dst, size_t size);

/* Cpus that live, the first process's first; a call may add some (clone), replace its own (execve) or remove any. */
#define KERNEL_CPUS_MAX 64
extern struct cpu *kernel_cpus[KERNEL_CPUS_MAX];
extern size_t kernel_cpu_count;
/* Ends every process but the first, and collects them; removes all System V IPC objects. */
void kernel_reset(void);
