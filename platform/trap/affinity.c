/*
 * Processors: which ones host threads may use.
 *
 * Waking up a processor that sleeps takes longer than most of what we wait for. So where one thread works while another
 * waits, both are kept on one processor, and the host only has to switch. Any of this may fail, which costs only time.
 */
#include <sched.h>
#include <string.h>

#include "platform/trap/trap.h"

static cpu_set_t all; /* what the sandbox was started with */

unsigned affinity_init(void)
{
	sched_getaffinity(0, sizeof(all), &all);
	return (unsigned)CPU_COUNT(&all);
}

bool affinity_bind(pid_t tid, unsigned processor)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(processor, &one);
	return sched_setaffinity(tid, sizeof(one), &one) == 0;
}

void affinity_avoid(pid_t tid, unsigned processor)
{
	cpu_set_t set = all;

	CPU_CLR(processor, &set);
	if (CPU_COUNT(&set))
		sched_setaffinity(tid, sizeof(set), &set);
}

void affinity_free(pid_t tid)
{
	sched_setaffinity(tid, sizeof(all), &all);
}

void affinity_restore(const struct trap_cpu *c)
{
	sched_setaffinity(c->tid, sizeof(cpu_set_t), c->has_affinity ? &c->affinity : &all);
}

int trap_affinity(struct cpu *cpu, const void *mask, size_t size)
{
	struct trap_cpu *c = to_trap(cpu);
	cpu_set_t set;

	CPU_ZERO(&set);
	memcpy(&set, mask, MIN(size, sizeof(set)));
	if (sched_setaffinity(c->tid, sizeof(set), &set))
		return -errno;
	c->affinity = set;
	c->has_affinity = true;
	return 0;
}
