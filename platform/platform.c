/*
 * Choosing the platform. The choice is made once, before the sentry starts, and is constant from then on: every call goes
 * through the `platform` table, and nothing outside platform/ knows which one it is.
 */
#include "platform/platform.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "platform/cpu.h"

#define SETTLE_NS 1000000000
#define SETTLE_TRIES 10000

const struct platform_ops *platform;

/* In order of preference for "auto". */
static const struct platform_ops *const known[] = {
    &platform_trap,
    &platform_ptrace,
};

int platform_select(const char *name, const char **ret_why)
{
	static char text[400];
	bool any = strcmp(name, "auto") == 0;
	size_t n = 0;
	int err = -EINVAL;

	*ret_why = "unknown platform";
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		const char *why;

		if (!any && strcmp(name, known[i]->name) != 0)
			continue;
		err = known[i]->probe(&why);
		if (err == 0) {
			platform = known[i];
			return 0;
		}
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s: %s", n ? "; " : "", known[i]->name, why);
		*ret_why = text;
	}
	return err;
}

/* Counted in order of beginning: one that takes long may be taken for a later one that is over. */
static _Atomic unsigned ends_begun, ends_over;

void aspace_end_begin(void)
{
	ends_begun++;
}

void aspace_end_over(void)
{
	ends_over++;
}

void aspaces_settle(void)
{
	const struct timespec nap = {0, SETTLE_NS / SETTLE_TRIES};
	unsigned until = ends_begun;

	for (unsigned i = 0; i < SETTLE_TRIES && (int)(ends_over - until) < 0; i++)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
}

void *cpu_client(const struct cpu *cpu)
{
	return cpu->client;
}

void cpu_set_client(struct cpu *cpu, void *client)
{
	cpu->client = client;
}

bool cpu_same_aspace(const struct cpu *a, const struct cpu *b)
{
	return a->aspace == b->aspace;
}
