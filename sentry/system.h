/*
 * The machine that the guest sees: names, memory, processors, start time. One for the sandbox; filled by system_init() before the first task and
 * read by uname(2), sysinfo(2), /proc and /sys. Nothing of the host's own identity is shown.
 */
#pragma once

#include "sentry/base/lock.h"

#define SYSTEM_NAME_MAX 64

struct system {
	struct mutex lock; /* L_TASK: the names */
	char nodename[SYSTEM_NAME_MAX + 1];
	char domainname[SYSTEM_NAME_MAX + 1];
	const char *release, *version; /* constant */
	char boot_id[37];              /* constant: a random UUID */
	unsigned cpus;                 /* that the host lets us use */
	uint64_t memory_total;         /* bytes: --memory, or the host's */
	unsigned pids_max;
	int64_t boot_monotonic; /* CLOCK_MONOTONIC ns at start: uptime counts from here */
	int64_t boot_boottime;  /* CLOCK_BOOTTIME ns at start: start times of tasks are shown from here */
	int64_t boot_realtime;  /* CLOCK_REALTIME ns at start */
	_Atomic uint64_t forks; /* since boot, for /proc/stat */
};

extern struct system machine;

/* memory_bytes 0: the host's RAM; pids_max 0: 32768. */
void system_init(const char *hostname, uint64_t memory_bytes, unsigned pids_max);
/* Copies the names out under the lock; buf has SYSTEM_NAME_MAX + 1 bytes. */
void system_nodename(char *buf);
void system_domainname(char *buf);
/* size bytes without NUL; -EINVAL if longer than SYSTEM_NAME_MAX. */
int system_set_nodename(const char *name, size_t size);
int system_set_domainname(const char *name, size_t size);
/* Bytes of memory that the sandbox uses now: all aspaces, files in memory, the sentry's arena. */
uint64_t system_memory_used(void);
