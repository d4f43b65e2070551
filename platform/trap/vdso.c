/*
 * The host's vvar and vDSO for the guest: clock_gettime and friends without leaving the process. The pages are moved by
 * mremap(2) in the template, all mappings keeping their distances, because the code finds its data by them. The system
 * call instructions inside the vDSO lie outside the stub's code: they trap as the guest's.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "platform/trap/trap.h"

#define MAPPINGS_MAX 8

static struct {
	uint64_t start, size;
} mapping[MAPPINGS_MAX];
static unsigned mappings;
static struct platform_vdso info;

/* Reads /proc/self/maps: the addresses hold for the template, which is a fork of this process. */
int vdso_init(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	uint64_t lo = 0, start, end;

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		bool code = strstr(line, "[vdso]") != NULL;

		if ((!code && !strstr(line, "[vvar")) || mappings == MAPPINGS_MAX)
			continue;
		if (sscanf(line, "%lx-%lx", &start, &end) != 2)
			continue;
		mapping[mappings].start = start;
		mapping[mappings++].size = end - start;
		if (lo == 0)
			lo = start;
		if (code) {
			info.ehdr = STUB_VDSO + (start - lo);
			info.vdso_size = end - start;
		}
		info.vvar_size = MAX(info.vvar_size, end - lo);
	}
	fclose(f);
	info.vvar = STUB_VDSO;
	info.vvar_size -= info.vdso_size;
	if (info.vdso_size == 0 || info.vvar_size + info.vdso_size > VDSO_MAX || info.ehdr != STUB_VDSO + info.vvar_size) {
		memset(&info, 0, sizeof(info));
		mappings = 0;
	}
	return 0;
}

int vdso_move(void)
{
	/* By way of a place that overlaps neither: the host may have put the vDSO close to ours. */
	static const uint64_t via = 0x10000000000;

	for (unsigned step = 0; step < 2; step++) {
		uint64_t from = step ? via : mapping[0].start;
		uint64_t to = step ? STUB_VDSO : via;

		for (unsigned i = 0; i < mappings; i++) {
			uint64_t off = mapping[i].start - mapping[0].start;

			if (mremap((void *)(from + off), mapping[i].size, mapping[i].size,
				   MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(to + off)) == MAP_FAILED)
				return -errno;
		}
	}
	return 0;
}

const struct platform_vdso *trap_vdso(void)
{
	return &info;
}
