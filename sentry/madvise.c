/*
 * madvise(2), msync(2) and mincore(2): calls that walk over the mappings of a range.
 *
 * They share Linux's rule for holes: what is mapped is treated, a hole is remembered and reported as ENOMEM at the end. What changes the
 * tree (DONTFORK, WIPEONFORK, DONTDUMP) stays in the sentry; what drops, prefetches or tunes is the platform's, told per mapping, and cannot
 * fail once the mapping was found to be of the right kind. MADV_REMOVE is a hole punched into the file, which takes the
 * file's locks: the range is looked up, the lock dropped, and the file asked.
 */
#include <linux/falloc.h>
#include <string.h>

#include "sentry/mm_impl.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* Sets and clears VMA_* in [start, end) of v. */
static int set_advice(struct mm *mm, const struct vma *v, uint64_t start, uint64_t end, uint32_t set, uint32_t clear)
    REQUIRES(L_MM)
{
	struct vma *part;
	int err;

	if (((v->advice | set) & ~clear) == v->advice)
		return 0;
	if ((err = mm_reserve(mm, 2)))
		return err;
	mm_split_at(mm, start);
	mm_split_at(mm, end);
	part = vma_at(&mm->vmas, start);
	part->advice = (part->advice | set) & ~clear;
	mm_merge(mm, part);
	return 0;
}

static int drop_pages(struct cpu *cpu, const struct vma *v, uint64_t start, uint64_t end, int advice)
{
	if ((v->flags & MAP_LOCKED) && advice != MADV_DONTNEED_LOCKED)
		return -EINVAL;
	if (advice == MADV_FREE && v->file)
		return -EINVAL;
	if (advice == MADV_DONTNEED_LOCKED)
		advice = MADV_DONTNEED;
	return platform->aspace_advise(cpu, start, end - start, advice);
}

static int populate_pages(struct cpu *cpu, const struct vma *v, uint64_t start, uint64_t end, int advice)
{
	int want = advice == MADV_POPULATE_WRITE ? PROT_WRITE : PROT_READ | PROT_WRITE | PROT_EXEC;
	int err;

	if (!(v->prot & want))
		return advice == MADV_POPULATE_WRITE ? -EINVAL : -EFAULT;
	err = platform->aspace_advise(cpu, start, end - start, advice);
	return err ? err : platform->cpu_sync(cpu);
}

/* One mapping's part [start, end) of the range. */
static int advise_vma(struct mm *mm, struct cpu *cpu, const struct vma *v, uint64_t start, uint64_t end, int advice)
    REQUIRES(L_MM)
{
	switch (advice) {
	case MADV_DONTFORK:
		return set_advice(mm, v, start, end, VMA_DONTFORK, 0);
	case MADV_DOFORK:
		return set_advice(mm, v, start, end, 0, VMA_DONTFORK);
	case MADV_DONTDUMP:
		return set_advice(mm, v, start, end, VMA_DONTDUMP, 0);
	case MADV_DODUMP:
		return set_advice(mm, v, start, end, 0, VMA_DONTDUMP);
	case MADV_WIPEONFORK:
		if (v->file || (v->flags & MAP_SHARED))
			return -EINVAL;
		return set_advice(mm, v, start, end, VMA_WIPEONFORK, 0);
	case MADV_KEEPONFORK:
		return set_advice(mm, v, start, end, 0, VMA_WIPEONFORK);
	case MADV_MERGEABLE:
	case MADV_UNMERGEABLE:
		return 0;
	case MADV_COLD:
	case MADV_PAGEOUT:
		if (v->flags & MAP_LOCKED)
			return -EINVAL;
		return platform->aspace_advise(cpu, start, end - start, advice);
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
	case MADV_FREE:
		return drop_pages(cpu, v, start, end, advice);
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return populate_pages(cpu, v, start, end, advice);
	default:
		return platform->aspace_advise(cpu, start, end - start, advice);
	}
}

static bool advice_valid(int advice)
{
	return (advice >= MADV_NORMAL && advice <= MADV_DONTNEED) ||
	       (advice >= MADV_FREE && advice <= MADV_DONTNEED_LOCKED);
}

/* MADV_REMOVE of one mapping's part: which file, and where in it. *ret_file: a reference. */
static int remove_target(const struct vma *v, uint64_t at, struct file **ret_file, off_t *ret_off)
{
	if ((v->flags & MAP_LOCKED) || !v->file)
		return -EINVAL;
	if (!(v->flags & MAP_SHARED) || !(v->max_prot & PROT_WRITE))
		return -EACCES;
	*ret_file = file_get(v->file);
	*ret_off = (off_t)(v->off + (at - v->start));
	return 0;
}

static int advise_remove(struct mm *mm, struct cpu *cpu, uint64_t start, uint64_t end)
{
	struct task *t = cpu_client(cpu);
	int err = 0;

	while (start < end && !err) {
		FILE_REF f = NULL;
		uint64_t stop = end;
		const struct vma *v;
		off_t off = 0;

		mm_lock(mm);
		v = vma_at(&mm->vmas, start);
		err = v ? remove_target(v, start, &f, &off) : -ENOMEM;
		if (v)
			stop = MIN(v->end, end);
		mm_unlock(mm);
		if (!err)
			err = !f->ops->fallocate
				  ? -EOPNOTSUPP
				  : f->ops->fallocate(&t->ctx, f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
						      (off_t)(stop - start));
		start = stop;
	}
	return err;
}

/* Holes are skipped but remembered, except for the advice that populates. */
static int advise_range(struct mm *mm, struct cpu *cpu, uint64_t at, uint64_t end, int advice) REQUIRES(L_MM)
{
	bool stop_at_hole = advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE;
	int hole = 0;

	while (at < end) {
		const struct vma *v = vma_find(&mm->vmas, at);
		uint64_t stop;
		int err;

		if (!v || v->start > at) {
			hole = -ENOMEM;
			if (!v || v->start >= end || stop_at_hole)
				return hole;
			at = v->start;
		}
		stop = MIN(v->end, end);
		err = advise_vma(mm, cpu, v, at, stop, advice);
		if (err)
			return err;
		at = stop;
	}
	return hole;
}

int mm_advise(struct mm *mm, struct cpu *cpu, uint64_t addr, size_t size, int advice)
{
	uint64_t length = PAGE_UP(size);
	uint64_t end = addr + length;
	int err;

	if (!advice_valid(advice) || (addr & ~PAGE_MASK) || (size && !length) || end < addr)
		return -EINVAL;
	if (!length)
		return 0;
	if (advice == MADV_REMOVE)
		return advise_remove(mm, cpu, addr, end);
	mm_lock(mm);
	err = advise_range(mm, cpu, addr, end, advice);
	mm_unlock(mm);
	return err;
}

static int sync_vma(struct cpu *cpu, const struct vma *v, uint64_t start, uint64_t end, int flags)
{
	if ((flags & MS_INVALIDATE) && (v->flags & MAP_LOCKED))
		return -EBUSY;
	if (!(flags & MS_SYNC) || !v->file || !(v->flags & MAP_SHARED))
		return 0;
	return platform->aspace_sync(cpu, start, end - start, MS_SYNC);
}

static int sync_range(struct mm *mm, struct cpu *cpu, uint64_t at, uint64_t end, int flags) REQUIRES(L_MM)
{
	int hole = 0, err;

	while (at < end) {
		const struct vma *v = vma_find(&mm->vmas, at);

		if (!v || v->start >= end)
			return -ENOMEM;
		if (v->start > at) {
			hole = -ENOMEM;
			if (flags == MS_ASYNC)
				return hole;
			at = v->start;
		}
		if ((err = sync_vma(cpu, v, at, MIN(v->end, end), flags)))
			return err;
		at = v->end;
	}
	return hole;
}

int mm_sync(struct mm *mm, struct cpu *cpu, uint64_t addr, size_t size, int flags)
{
	uint64_t end = addr + PAGE_UP(size);
	int err;

	if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) || (addr & ~PAGE_MASK))
		return -EINVAL;
	if ((flags & MS_ASYNC) && (flags & MS_SYNC))
		return -EINVAL;
	if (end < addr)
		return -ENOMEM;
	mm_lock(mm);
	err = sync_range(mm, cpu, addr, end, flags);
	mm_unlock(mm);
	return err;
}

int mm_mincore(struct mm *mm, struct cpu *cpu, uint64_t addr, size_t size, unsigned char *vec)
{
	uint64_t end = addr + size;
	int err = 0;

	mm_lock(mm);
	for (uint64_t at = addr; at < end && !err;) {
		const struct vma *v = vma_at(&mm->vmas, at);

		err = v ? 0 : -ENOMEM;
		at = v ? v->end : end;
	}
	if (!err)
		err = platform->aspace_mincore(cpu, addr, size, vec);
	mm_unlock(mm);
	return err;
}
