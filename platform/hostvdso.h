/* Where the host put its vDSO in this process, and moving it: what the process-backed platforms hand to their guests. */
#pragma once

#include "sentry/base/types.h"

/* Pages of a process: the data pages (vvar) lie right below the code (vdso), as the code finds them by distance. */
struct host_vdso {
	uint64_t vvar, vdso;
	size_t vvar_size, vdso_size; /* both 0 if the host has none */
};

/* Finds the calling process's. Needs no /proc. */
void host_vdso_find(struct host_vdso *ret);
/*
 * Moves both, vvar to `to` and the code right behind it. Only for a process that will call no libc function that uses
 * the vDSO (clock_gettime, ...) afterwards. 0 or -errno; what was there, up to three times their size
 * above `to`, may be gone in any case.
 */
int host_vdso_move(const struct host_vdso *from, uint64_t to);
