/* Structures of system calls that several handlers fill. */
#pragma once

#include <string.h>
#include <sys/resource.h>

#include "sentry/task.h"

static inline struct timeval timeval_from_ns(uint64_t ns)
{
	return (struct timeval){.tv_sec = (time_t)(ns / NSEC_PER_SEC),
				.tv_usec = (suseconds_t)(ns % NSEC_PER_SEC / NSEC_PER_USEC)};
}

static inline void rusage_from_usage(struct rusage *ru, const struct usage *u)
{
	memset(ru, 0, sizeof(*ru));
	ru->ru_utime = timeval_from_ns(u->utime);
	ru->ru_stime = timeval_from_ns(u->stime);
	ru->ru_maxrss = (long)u->maxrss_kb;
	ru->ru_minflt = (long)u->minflt;
	ru->ru_majflt = (long)u->majflt;
	ru->ru_inblock = (long)u->inblock;
	ru->ru_oublock = (long)u->oublock;
	ru->ru_nvcsw = (long)u->nvcsw;
	ru->ru_nivcsw = (long)u->nivcsw;
}
_Static_assert(sizeof(struct rusage) == 144, "ABI");
