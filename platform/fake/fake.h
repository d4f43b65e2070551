/*
 * The platform for tests: address spaces are areas of this process's memory, and nothing runs. A test is the processor: it
 * sets a cpu's registers and reports the event to the client itself, on whatever thread it likes.
 *
 *	platform = &platform_fake; platform->init(&config); platform->aspace_create(&cpu);
 *	action = fake_syscall(cpu, SYS_getpid, 0, 0, 0, 0, 0, 0);   then cpu_regs(cpu)->rax, unless the cpu is gone
 *
 * A cpu that the client gives back (cpu_put) inside an event is freed when fake_event() returns, so fake_syscall() hands its
 * registers back separately.
 */
#pragma once

#include "platform/platform.h"

struct fake_result {
	enum cpu_action action;
	int64_t ret; /* rax; meaningless if gone */
	bool gone;   /* the client gave the cpu back: it must not be used again */
};

/* Reports ev to the client as if the cpu had stopped with it. The cpu must not be in another event. */
struct fake_result fake_event(struct cpu *cpu, const struct cpu_event *ev);
/* A system call: sets the registers as at a syscall instruction, then as fake_event(). */
struct fake_result fake_syscall(struct cpu *cpu, uint64_t nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3,
				uint64_t a4, uint64_t a5);
/* Takes the cpu's pending kick: true if there was one. A processor would report CPU_KICK then. */
bool fake_take_kick(struct cpu *cpu);
/* Whether aspace_kill() was called for its aspace: report CPU_LOST then. */
bool fake_killed(const struct cpu *cpu);
/* Called at every cpu_start(), on the caller's thread; NULL: nothing. */
void fake_on_start(void (*fn)(struct cpu *cpu));
/* Cpus and aspaces that exist: for leak checks. */
unsigned fake_cpu_count(void);
unsigned fake_aspace_count(void);
