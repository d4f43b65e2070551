/*
 * The host's vDSO, so that guests read clocks as fast as natively.
 *
 * The kernel tells only where the code is (AT_SYSINFO_EHDR). Its size is in its program headers, rounded to pages. The
 * data pages below it have no name outside /proc/self/maps, which a sentry with an empty root cannot read; but they are
 * special mappings, and madvise(MADV_DODUMP), a request without effect on an ordinary mapping, is refused on those with
 * EINVAL and on holes with ENOMEM. So we walk down while it says EINVAL.
 *
 * The data pages may be several mappings, and a special mapping can only be moved whole; older kernels do not move two
 * at once. move_some() therefore tries the longest run first and leaves the rest to the next turn.
 */
#include "platform/hostvdso.h"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#define VVAR_PAGES_MAX 64

static size_t image_size(const Elf64_Ehdr *eh)
{
	const Elf64_Phdr *ph = (const void *)((const char *)eh + eh->e_phoff);
	size_t end = (size_t)eh->e_shoff + (size_t)eh->e_shnum * eh->e_shentsize;

	for (unsigned i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD)
			end = MAX(end, ph[i].p_offset + ph[i].p_memsz);
	return PAGE_UP(end);
}

static bool page_is_special(uint64_t page)
{
	return madvise((void *)page, PAGE_SIZE, MADV_DODUMP) < 0 && errno == EINVAL;
}

void host_vdso_find(struct host_vdso *ret)
{
	uint64_t vdso = getauxval(AT_SYSINFO_EHDR);
	uint64_t vvar = vdso;

	*ret = (struct host_vdso){0};
	if (!vdso)
		return;
	while (vdso - vvar < VVAR_PAGES_MAX * PAGE_SIZE && page_is_special(vvar - PAGE_SIZE))
		vvar -= PAGE_SIZE;
	ret->vvar = vvar;
	ret->vvar_size = vdso - vvar;
	ret->vdso = vdso;
	ret->vdso_size = image_size((const void *)vdso);
}

static size_t move_some(uint64_t from, size_t size, uint64_t to)
{
	for (size_t n = size; n; n -= PAGE_SIZE)
		if (mremap((void *)from, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)to) != MAP_FAILED)
			return n;
	return 0;
}

static int move_range(uint64_t from, size_t size, uint64_t to)
{
	for (size_t done = 0, n; done < size; done += n) {
		n = move_some(from + done, size - done, to + done);
		if (!n)
			return -errno;
	}
	return 0;
}

static int move_both(struct host_vdso *v, uint64_t to)
{
	int err = move_range(v->vvar, v->vvar_size, to);

	if (!err)
		err = move_range(v->vdso, v->vdso_size, to + v->vvar_size);
	v->vvar = to;
	v->vdso = to + v->vvar_size;
	return err;
}

int host_vdso_move(const struct host_vdso *from, uint64_t to)
{
	struct host_vdso v = *from;
	uint64_t size = v.vvar_size + v.vdso_size;
	int err = 0;

	/* The host refuses to move pages over themselves, and by chance it has put them there. */
	if (v.vvar < to + size && to < v.vvar + size)
		err = move_both(&v, to + 2 * size);
	return err ? err : move_both(&v, to);
}
