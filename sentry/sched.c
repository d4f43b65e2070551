/*
 * Which processors a task may use: sched_setaffinity(2). Processors are numbered from 0 in the sandbox and stand for
 * those that the host lets us use, in order. The host's thread is bound; a new task is bound as the one that made it.
 */
#include <sched.h>
#include <string.h>

#include "sentry/task.h"

#define WORD_BITS 64

/* The sandbox's processors as the host numbers them. */
static void to_host(const uint64_t *mask, cpu_set_t *ret)
{
	cpu_set_t all;
	unsigned n = 0;

	CPU_ZERO(ret);
	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	for (unsigned host = 0; host < CPU_SETSIZE && n < TASK_AFFINITY_WORDS * WORD_BITS; host++) {
		if (!CPU_ISSET(host, &all))
			continue;
		if (mask[n / WORD_BITS] >> (n % WORD_BITS) & 1)
			CPU_SET(host, ret);
		n++;
	}
}

int task_set_affinity(struct task *target, const uint64_t *mask)
{
	cpu_set_t host;
	int err = 0;

	to_host(mask, &host);
	if (CPU_COUNT(&host) == 0)
		return -EINVAL;
	mutex_lock(&target->tg->lock, L_TASK);
	if (target->cpu)
		err = platform->cpu_affinity(target->cpu, &host, sizeof(host));
	if (!err) {
		memcpy(target->affinity, mask, sizeof(target->affinity));
		target->has_affinity = true;
	}
	mutex_unlock(&target->tg->lock, L_TASK);
	return err;
}
