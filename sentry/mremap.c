/*
 * mremap(2). The checks are those of Linux 6.17 and later, in their order; a range moves as a whole by the host's own mremap, so that pages
 * are not copied.
 *
 * Growth in place is asked of the host as such too (a move onto itself): a second mapping put right behind an anonymous one that was
 * moved before does not become one with it on the host, and a later move of both would fail there. MREMAP_DONTUNMAP is a move
 * followed by mapping the old range afresh, which is not atomic towards other threads of the guest.
 */
#include <string.h>

#include "sentry/mm_impl.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

struct remap {
	struct mm *mm;
	struct ctx *c;
	struct cpu *cpu;
	uint64_t old, old_size, size; /* size: the new one */
	uint64_t at;                  /* where it goes */
	int flags;
};

static bool overlaps(const struct remap *r)
{
	return r->old + r->old_size > r->at && r->at + r->size > r->old;
}

static int check_params(const struct remap *r)
{
	bool to = r->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP);

	if (r->flags & ~(MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP))
		return -EINVAL;
	if ((r->old & ~PAGE_MASK) || r->size == 0 || r->size > MM_TASK_SIZE)
		return -EINVAL;
	if (!to)
		return 0;
	if (r->at > MM_TASK_SIZE - r->size || (r->at & ~PAGE_MASK) || !(r->flags & MREMAP_MAYMOVE))
		return -EINVAL;
	if ((r->flags & MREMAP_DONTUNMAP) && r->old_size != r->size)
		return -EINVAL;
	if ((r->flags & MREMAP_FIXED) && overlaps(r))
		return -EINVAL;
	return r->mm->vmas.count + 2 >= MM_MAX_MAP_COUNT - 3 ? -ENOMEM : 0;
}

/* What is asked of v if the range grows or moves. */
static int check_vma(const struct remap *r, const struct vma *v) REQUIRES(L_MM)
{
	uint64_t old_size = MIN(r->old_size, r->old_size > r->size ? r->size : r->old_size);
	uint64_t more;
	int err;

	if (!r->old_size && !(v->flags & MAP_SHARED))
		return -EINVAL;
	if (old_size > v->end - r->old)
		return -EFAULT;
	if (r->size == old_size)
		return 0;
	more = (r->size - old_size) >> PAGE_SHIFT;
	if (v->off + (r->old - v->start) + r->size < r->size)
		return -EINVAL;
	if ((v->flags & MAP_LOCKED) && (err = mm_may_lock(r->mm, r->c, more)))
		return err;
	return mm_may_expand(r->mm, r->c, v->prot, v->flags, more) ? 0 : -ENOMEM;
}

static bool grows_in_place(const struct remap *r, const struct vma *v)
{
	uint64_t end = r->old + r->size;

	if (r->old + r->old_size != v->end || !r->old_size || end > GUEST_END)
		return false;
	return !v->next || end <= vma_gap_end(v->next);
}

static sysret_t grow_in_place(struct remap *r, struct vma *v) REQUIRES(L_MM)
{
	int err = platform->aspace_move(r->cpu, r->old, r->old_size, r->old, r->size);

	if (!err)
		err = platform->cpu_sync(r->cpu);
	if (err)
		return err;
	mm_account(r->mm, v, -1);
	vma_resize(&r->mm->vmas, v, v->start, r->old + r->size);
	mm_account(r->mm, v, 1);
	mm_merge(r->mm, v);
	return (sysret_t)r->old;
}

/* The vma that the moved range will be: v's properties, at r->at. */
static struct vma *moved_vma(struct remap *r, const struct vma *v) REQUIRES(L_MM)
{
	struct vma *n = mm_take_spare(r->mm);

	*n = *v;
	n->start = r->at;
	n->end = r->at + r->size;
	if (n->file) {
		file_map_get(n->file);
		n->off += r->old - v->start;
		n->host_off += r->old - v->start;
	}
	return n;
}

static int move_host(struct remap *r, const struct vma *v, const struct vma *n)
{
	int err;

	if (!r->old_size || ((r->flags & MREMAP_DONTUNMAP) && (v->flags & MAP_SHARED)))
		return mm_host_map(r->cpu, n, n->start, r->size);
	err = platform->aspace_move(r->cpu, r->old, r->old_size, r->at, r->size);
	if (!err && (r->flags & MREMAP_DONTUNMAP))
		err = mm_host_map(r->cpu, v, r->old, r->old_size);
	return err;
}

/* v is gone or split afterwards. */
static sysret_t move(struct remap *r, struct vma *v) REQUIRES(L_MM)
{
	struct mm *mm = r->mm;
	struct vma *n;
	int err = mm_reserve(mm, 5);

	if (err)
		return err;
	n = moved_vma(r, v);
	err = move_host(r, v, n);
	if (!err)
		err = platform->cpu_sync(r->cpu);
	if (err) {
		n->next = mm->garbage;
		mm->garbage = n;
		return err;
	}
	if (r->old_size && !(r->flags & MREMAP_DONTUNMAP))
		mm_clear(mm, r->old, r->old + r->old_size);
	else if (r->flags & MREMAP_DONTUNMAP && v->flags & MAP_LOCKED)
		n->flags &= ~MAP_LOCKED;
	mm_clear(mm, n->start, n->end);
	mm_link(mm, n);
	return (sysret_t)r->at;
}

static int unmap_part(struct remap *r, uint64_t start, uint64_t end) REQUIRES(L_MM)
{
	int err = mm_reserve(r->mm, 2);

	if (!err)
		err = platform->aspace_unmap(r->cpu, start, end - start);
	if (!err)
		mm_clear(r->mm, start, end);
	return err;
}

static int shrink(struct remap *r) REQUIRES(L_MM)
{
	int err = unmap_part(r, r->old + r->size, r->old + r->old_size);

	r->old_size = r->size;
	return err;
}

/* With MREMAP_FIXED or MREMAP_DONTUNMAP. */
static sysret_t remap_to(struct remap *r, struct vma *v) REQUIRES(L_MM)
{
	int flags = r->flags & MREMAP_FIXED ? MAP_FIXED : 0;
	sysret_t at;
	int err;

	if ((r->flags & MREMAP_DONTUNMAP) && !mm_may_expand(r->mm, r->c, v->prot, v->flags, r->old_size >> PAGE_SHIFT))
		return -ENOMEM;
	at = mm_find_free(r->mm, r->at, r->size, flags, false);
	if (at < 0)
		return at;
	r->at = (uint64_t)at;
	if ((r->flags & MREMAP_FIXED) && (err = unmap_part(r, r->at, r->at + r->size)))
		return err;
	if (r->old_size > r->size && (err = shrink(r)))
		return err;
	return move(r, vma_at(&r->mm->vmas, r->old));
}

static sysret_t remap_locked(struct remap *r) REQUIRES(L_MM)
{
	struct vma *v = vma_at(&r->mm->vmas, r->old);
	bool to = r->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP);
	sysret_t at;
	int err;

	if (!v)
		return -EFAULT;
	if (!to && r->old_size >= r->size) {
		err = r->old_size > r->size ? shrink(r) : 0;
		return err ? err : (sysret_t)r->old;
	}
	if ((err = check_vma(r, v)))
		return err;
	if (to)
		return remap_to(r, v);
	if (grows_in_place(r, v))
		return grow_in_place(r, v);
	if (!(r->flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	at = mm_find_free(r->mm, 0, r->size, 0, false);
	if (at < 0)
		return at;
	r->at = (uint64_t)at;
	return move(r, v);
}

sysret_t mm_remap(struct mm *mm, struct ctx *c, struct cpu *cpu, uint64_t old_addr, size_t old_size, size_t new_size,
		  int flags, uint64_t new_addr)
{
	struct remap r = {
	    .mm = mm,
	    .c = c,
	    .cpu = cpu,
	    .old = old_addr,
	    .old_size = PAGE_UP(old_size),
	    .size = PAGE_UP(new_size),
	    .at = new_addr,
	    .flags = flags,
	};
	sysret_t ret = check_params(&r);
	const struct vma *v;
	bool populate;

	if (ret)
		return ret;
	mm_lock(mm);
	ret = remap_locked(&r);
	v = ret > 0 ? vma_at(&mm->vmas, (uint64_t)ret) : NULL;
	populate = v && (v->flags & MAP_LOCKED) && !(v->advice & VMA_LOCK_ONFAULT) && r.size > r.old_size;
	mm_unlock(mm);
	if (populate)
		(void)mm_populate(mm, cpu, (uint64_t)ret, r.size);
	return ret;
}
