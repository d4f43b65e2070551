/* The machine that the guest sees: see system.h. */
#include "sentry/system.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sysinfo.h>

#include "platform/platform.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"
#include "sentry/task.h"

struct system machine = {
    .lock = MUTEX_INIT,
    .domainname = "(none)",
    .release = "6.12.0-sandbox",
    .version = "#1 SMP PREEMPT_DYNAMIC",
};

static void make_boot_id(char id[37])
{
	unsigned char r[16];

	if (getrandom(r, sizeof(r), 0) != sizeof(r))
		memset(r, 0, sizeof(r));
	r[6] = (r[6] & 0x0f) | 0x40;
	r[8] = (r[8] & 0x3f) | 0x80;
	snprintf(id, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1], r[2], r[3],
		 r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14], r[15]);
}

void system_init(const char *hostname, uint64_t memory_bytes, unsigned pids_max)
{
	struct sysinfo si;
	cpu_set_t cpus;

	snprintf(machine.nodename, sizeof(machine.nodename), "%s", hostname);
	make_boot_id(machine.boot_id);
	machine.cpus = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (unsigned)CPU_COUNT(&cpus) : 1;
	machine.memory_total = memory_bytes;
	if (!memory_bytes && sysinfo(&si) == 0)
		machine.memory_total = (uint64_t)si.totalram * si.mem_unit;
	machine.pids_max = pids_max ? pids_max : 32768;
	machine.boot_monotonic = clock_now(CLOCK_MONOTONIC);
	machine.boot_boottime = clock_now(CLOCK_BOOTTIME);
	machine.boot_realtime = clock_now(CLOCK_REALTIME);
}

static void name_get(const char *name, char *buf)
{
	mutex_lock(&machine.lock, L_TASK);
	memcpy(buf, name, SYSTEM_NAME_MAX + 1);
	mutex_unlock(&machine.lock, L_TASK);
}

static int name_set(char *name, const char *value, size_t size)
{
	if (size > SYSTEM_NAME_MAX)
		return -EINVAL;
	mutex_lock(&machine.lock, L_TASK);
	memset(name, 0, SYSTEM_NAME_MAX + 1);
	memcpy(name, value, size);
	mutex_unlock(&machine.lock, L_TASK);
	return 0;
}

void system_nodename(char *buf)
{
	name_get(machine.nodename, buf);
}

void system_domainname(char *buf)
{
	name_get(machine.domainname, buf);
}

int system_set_nodename(const char *name, size_t size)
{
	return name_set(machine.nodename, name, size);
}

int system_set_domainname(const char *name, size_t size)
{
	return name_set(machine.domainname, name, size);
}

static bool add_rss(struct thread_group *tg, void *arg) REQUIRES(L_PIDTREE)
{
	uint64_t *sum = arg, rss, anon;

	if (tg_rss(tg, &rss, &anon) == 0)
		*sum += rss;
	return true;
}

uint64_t system_memory_used(void)
{
	uint64_t sum = arena_bytes();

	mutex_lock(&pidtree_lock, L_PIDTREE);
	tg_for_each(add_rss, &sum);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	return sum;
}
