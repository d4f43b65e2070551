/*
 * mlock(2) and its relatives. The sentry keeps the accounts (RLIMIT_MEMLOCK, VmLck, EINVAL from madvise) and faults the pages in; the host
 * is not asked to pin them, because its own limit belongs to whoever started the sandbox. A page may thus be swapped out.
 */
#include <linux/capability.h>
#include <string.h>

#include "sentry/mm_impl.h"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

static int populate_advice(const struct vma *v)
{
	if ((v->prot & PROT_WRITE) && !(v->flags & MAP_SHARED))
		return MADV_POPULATE_WRITE;
	return v->prot ? MADV_POPULATE_READ : 0;
}

int mm_populate(struct mm *mm, struct cpu *cpu, uint64_t addr, uint64_t size)
{
	uint64_t end = addr + size;
	int err = 0;

	mm_lock(mm);
	for (const struct vma *v = vma_intersects(&mm->vmas, addr, end); v && v->start < end && !err; v = v->next) {
		uint64_t from = MAX(v->start, addr);
		int advice = populate_advice(v);

		if (!advice || platform->aspace_advise(cpu, from, MIN(v->end, end) - from, advice))
			err = -ENOMEM;
	}
	if (!err && platform->cpu_sync(cpu))
		err = -ENOMEM;
	mm_unlock(mm);
	return err;
}

static bool may_lock_any(struct ctx *c)
{
	return mm_limit(c, RLIMIT_MEMLOCK) || task_capable(ctx_task(c), CAP_IPC_LOCK);
}

/* Locks or unlocks the part [start, end) of v. */
static int lock_vma(struct mm *mm, struct vma *v, uint64_t start, uint64_t end, bool lock, bool onfault) REQUIRES(L_MM)
{
	int err = mm_reserve(mm, 2);

	if (err)
		return err;
	mm_split_at(mm, start);
	mm_split_at(mm, end);
	v = vma_at(&mm->vmas, start);
	mm_account(mm, v, -1);
	v->flags = lock ? v->flags | MAP_LOCKED : v->flags & ~MAP_LOCKED;
	v->advice = lock && onfault ? v->advice | VMA_LOCK_ONFAULT : v->advice & ~VMA_LOCK_ONFAULT;
	mm_account(mm, v, 1);
	mm_merge(mm, v);
	return 0;
}

static int lock_range(struct mm *mm, uint64_t at, uint64_t end, bool lock, bool onfault) REQUIRES(L_MM)
{
	while (at < end) {
		struct vma *v = vma_at(&mm->vmas, at);
		uint64_t stop = v ? MIN(v->end, end) : 0;
		int err;

		if (!v)
			return -ENOMEM;
		if ((err = lock_vma(mm, v, at, stop, lock, onfault)))
			return err;
		at = stop;
	}
	return 0;
}

static uint64_t locked_pages(const struct mm *mm, uint64_t start, uint64_t end)
{
	uint64_t bytes = 0;

	for (const struct vma *v = vma_intersects(&mm->vmas, start, end); v && v->start < end; v = v->next)
		if (v->flags & MAP_LOCKED)
			bytes += MIN(v->end, end) - MAX(v->start, start);
	return bytes >> PAGE_SHIFT;
}

int mm_mlock(struct mm *mm, struct ctx *c, struct cpu *cpu, uint64_t addr, size_t size, int flags)
{
	uint64_t start = PAGE_DOWN(addr);
	uint64_t length = PAGE_UP(size + (addr - start));
	int err;

	if (!may_lock_any(c))
		return -EPERM;
	if (start + length < start)
		return -EINVAL;
	mm_lock(mm);
	err = mm_may_lock(mm, c, (length >> PAGE_SHIFT) - locked_pages(mm, start, start + length)) ? -ENOMEM : 0;
	if (!err)
		err = lock_range(mm, start, start + length, true, flags & MLOCK_ONFAULT);
	mm_unlock(mm);
	if (!err && !(flags & MLOCK_ONFAULT))
		err = mm_populate(mm, cpu, start, length);
	return err;
}

int mm_munlock(struct mm *mm, uint64_t addr, size_t size)
{
	uint64_t start = PAGE_DOWN(addr);
	uint64_t length = PAGE_UP(size + (addr - start));
	int err;

	if (start + length < start)
		return -EINVAL;
	mm_lock(mm);
	err = lock_range(mm, start, start + length, false, false);
	mm_unlock(mm);
	return err;
}

static void lock_all(struct mm *mm, bool lock, bool onfault) REQUIRES(L_MM)
{
	for (uint64_t at = 0;;) {
		struct vma *v = vma_find(&mm->vmas, at);

		if (!v)
			return;
		at = v->end;
		if (lock_vma(mm, v, v->start, v->end, lock, onfault))
			return;
	}
}

int mm_mlockall(struct mm *mm, struct ctx *c, struct cpu *cpu, int flags)
{
	bool current = flags & MCL_CURRENT;
	bool onfault = flags & MCL_ONFAULT;

	if (flags && !may_lock_any(c))
		return -EPERM;
	mm_lock(mm);
	if (current && mm->total_vm > mm_limit(c, RLIMIT_MEMLOCK) >> PAGE_SHIFT &&
	    !task_capable(ctx_task(c), CAP_IPC_LOCK)) {
		mm_unlock(mm);
		return -ENOMEM;
	}
	mm->lock_future = flags & MCL_FUTURE;
	mm->lock_onfault = mm->lock_future && onfault;
	if (current || !flags)
		lock_all(mm, current, onfault);
	mm_unlock(mm);
	if (current && !onfault)
		(void)mm_populate(mm, cpu, GUEST_MIN, GUEST_END - GUEST_MIN);
	return 0;
}
