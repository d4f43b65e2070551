/*
 * Choosing the platform. The choice is made once, before the sentry starts, and is constant from then on: every call goes
 * through the `platform` table, and nothing outside platform/ knows which one it is.
 */
#include "platform/platform.h"

#include <stdio.h>
#include <string.h>

#include "platform/cpu.h"

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
