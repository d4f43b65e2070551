/*
 * The sandbox's memory limit (--memory): a thread looks at the resident sizes of all processes while guests run, and kills the largest when their sum is above the
 * limit, as Linux's OOM killer does. Commit accounting would refuse the large reservations of Java and Go, which touch little of them.
 */
#pragma once

#include "sentry/base/types.h"

/* Starts the watch; bytes > 0. After the first task was made. 0 or -errno. */
int memlimit_start(uint64_t bytes);

/* The watch sleeps because nothing runs. By memlimit.c. */
extern _Atomic uint32_t memlimit_asleep;
void memlimit_wake(void);

/* A task is about to run guest code: by the run loop. */
static inline void memlimit_task_runs(void)
{
	if (unlikely(memlimit_asleep))
		memlimit_wake();
}
