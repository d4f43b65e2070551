/*
 * The caller's limits: see limits.h.
 *
 * The guest's kernel enforces them on guests, process by process. On the host the sandbox's own processes are under the same limits, and need other
 * things than one program does: the sentry holds the descriptors of all guests and large ranges of addresses of which little
 * is used, and a limit on file size would end it with SIGXFSZ. So they are lifted, by who may, and else each soft limit is raised to
 * the hard one. What is still too low shows as an error of some host call, which is where people are told of it.
 */
#include "runsc-shim/limits.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#define HALF_SECOND_NS 500000000

static const struct {
	int resource, err;
	const char *what, *unit, *option;
	unsigned shift; /* to the unit */
	rlim_t least;   /* without which the sandbox cannot start */
} causes[] = {
    {RLIMIT_NPROC, EAGAIN, "processes and threads", "", "ulimit -u, or pids.max of the control group", 0, 0},
    {RLIMIT_NOFILE, EMFILE, "open files", "", "ulimit -n", 0, 256},
    {RLIMIT_FSIZE, EFBIG, "the size of files", " KiB", "ulimit -f", 10, PAGE_SIZE},
    {RLIMIT_AS, ENOMEM, "virtual memory", " KiB", "ulimit -v", 10, 768ul << 20},
    {RLIMIT_DATA, ENOMEM, "memory for data", " KiB", "ulimit -d", 10, 64ul << 20},
};

/* The sandbox's own: what limits_raise() has reached, kept for the sentry, which cannot ask. */
static struct rlimit host[RLIM_NLIMITS];
static bool known;

void limits_inherit(struct spec *s)
{
	for (int i = 0; i < RLIM_NLIMITS; i++)
		getrlimit64(i, &s->rlimits[i]);
	s->nice = getpriority(PRIO_PROCESS, 0);
}

void limits_raise(void)
{
	static const int ours[] = {RLIMIT_AS,    RLIMIT_CPU,   RLIMIT_DATA,       RLIMIT_FSIZE,
				   RLIMIT_NPROC, RLIMIT_STACK, RLIMIT_SIGPENDING, RLIMIT_NOFILE};
	const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};

	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
		struct rlimit r;

		if (setrlimit(ours[i], &none) == 0 || getrlimit(ours[i], &r))
			continue;
		r.rlim_cur = r.rlim_max;
		setrlimit(ours[i], &r);
	}
	for (int i = 0; i < RLIM_NLIMITS; i++)
		getrlimit(i, &host[i]);
	known = true;
}

const char *limits_why(int err)
{
	static char text[128];

	for (size_t i = 0; known && i < ARRAY_SIZE(causes); i++) {
		rlim_t limit = host[causes[i].resource].rlim_cur;

		if (causes[i].err != err || limit == RLIM_INFINITY)
			continue;
		snprintf(text, sizeof(text), "the limit of %s is %lu%s: %s", causes[i].what,
			 (unsigned long)limit >> causes[i].shift, causes[i].unit, causes[i].option);
		return text;
	}
	return NULL;
}

int limits_check(struct error *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(causes); i++)
		if (host[causes[i].resource].rlim_cur < causes[i].least)
			return error_set(
			    e, EXIT_SANDBOX, 0, causes[i].option,
			    "the limit of %s is %lu%s, and the sandbox needs %lu%s at least", causes[i].what,
			    (unsigned long)host[causes[i].resource].rlim_cur >> causes[i].shift, causes[i].unit,
			    (unsigned long)causes[i].least >> causes[i].shift, causes[i].unit);
	return 0;
}

/* The host enforces the limit by what it counts in ticks, which can be far from the time that was used. */
bool limits_cpu_spent(uint64_t ns)
{
	rlim_t limit = host[RLIMIT_CPU].rlim_max;

	return limit != RLIM_INFINITY && ns / HALF_SECOND_NS >= limit;
}
