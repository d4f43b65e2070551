/*
 * mmap(2), munmap(2), mprotect(2), brk(2), the growth of stacks, and questions about an address.
 *
 * The checks come in Linux's order (do_mmap(), mmap_region()), because programs and test suites look at the errno of calls that are wrong
 * in two ways. Guest memory is [GUEST_MIN, GUEST_END); above it live the platform and the vDSO, which a guest can neither
 * unmap nor replace: such calls behave as if nothing were there, or fail with ENOMEM.
 *
 * A stack grows by more than the page that was touched, so that a deep recursion costs few faults; RLIMIT_STACK and the guard gap
 * below it are kept to the page, as Linux does.
 */
#include <linux/capability.h>
#include <string.h>

#include "sentry/mm_impl.h"
#include "sentry/shmem.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define KEPT_FLAGS (MAP_SHARED | MAP_PRIVATE | MAP_NORESERVE | MAP_GROWSDOWN | MAP_LOCKED | MAP_ANONYMOUS)
#define ALL_PROT (PROT_READ | PROT_WRITE | PROT_EXEC)
#define HUGE_SIZE (2ul << 20)
#define STACK_STEP (128ul << 10)

/* What MAP_SHARED_VALIDATE accepts: every flag that is older than it, and the sizes of huge pages. */
#define LEGACY_FLAGS                                                                                                   \
	(MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE | MAP_EXECUTABLE | MAP_GROWSDOWN |       \
	 MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB | MAP_32BIT |              \
	 0x80 /* ABOVE4G */ | 0x4000000 /* UNINITIALIZED */ | 21 << MAP_HUGE_SHIFT | 30 << MAP_HUGE_SHIFT)

struct map_request {
	struct mm *mm;
	struct ctx *c; /* NULL: no limits */
	struct cpu *cpu;
	uint64_t addr, size;
	int prot, max_prot, flags;
	struct file *file; /* borrowed; NULL: anonymous private */
	uint64_t off;
	struct file_backing back;
	const char *name;
};

static uint64_t hint_in_range(const struct mm *mm, uint64_t addr, uint64_t size)
{
	addr = MAX(PAGE_UP(addr), GUEST_MIN);
	if (addr > GUEST_END - size || vma_intersects(&mm->vmas, addr, addr + size))
		return 0;
	if (mm->vmas.count) {
		const struct vma *next = vma_find(&mm->vmas, addr);

		if (next && addr + size > vma_gap_end(next))
			return 0;
	}
	return addr;
}

static uint64_t search_gap(const struct mm *mm, uint64_t size, int flags, bool huge)
{
	uint64_t at;

	if (flags & MAP_32BIT)
		return vma_gap_up(&mm->vmas, size, PAGE_SIZE, 0x40000000, 0x80000000);
	if (huge && (at = vma_gap_down(&mm->vmas, size, HUGE_SIZE, GUEST_MIN, mm->mmap_base)))
		return at;
	at = vma_gap_down(&mm->vmas, size, PAGE_SIZE, GUEST_MIN, mm->mmap_base);
	return at ? at : vma_gap_up(&mm->vmas, size, PAGE_SIZE, mm->mmap_base, GUEST_END);
}

sysret_t mm_find_free(struct mm *mm, uint64_t addr, uint64_t size, int flags, bool huge)
{
	if (size > GUEST_END)
		return -ENOMEM;
	if (flags & MAP_FIXED) {
		if (addr > GUEST_END - size)
			return -ENOMEM;
		if (addr & ~PAGE_MASK)
			return -EINVAL;
		if (addr < GUEST_MIN)
			return -EPERM;
		return (sysret_t)addr;
	}
	if (addr && (addr = hint_in_range(mm, addr, size)) && !(flags & MAP_32BIT && addr + size > 0x80000000))
		return (sysret_t)addr;
	addr = search_gap(mm, size, flags, huge);
	return addr ? (sysret_t)addr : -ENOMEM;
}

/* MAP_SHARED with a file: what the descriptor allows bounds what the mapping may become. */
static int check_shared(struct map_request *r)
{
	int acc = r->file->flags & O_ACCMODE;

	if ((r->prot & PROT_WRITE) && acc == O_RDONLY)
		return -EACCES;
	if ((r->prot & PROT_WRITE) && (r->file->flags & O_APPEND))
		return -EACCES;
	if (acc == O_RDONLY)
		r->max_prot &= ~PROT_WRITE;
	return 0;
}

static int check_file(struct map_request *r)
{
	const struct file *f = r->file;
	int type = r->flags & MAP_TYPE;
	int err;

	if (type == MAP_SHARED_VALIDATE && (r->flags & ~LEGACY_FLAGS & ~MAP_TYPE))
		return -EOPNOTSUPP;
	if (type != MAP_PRIVATE && type != MAP_SHARED && type != MAP_SHARED_VALIDATE)
		return -EINVAL;
	if (type != MAP_PRIVATE && (err = check_shared(r)))
		return err;
	if ((f->flags & O_ACCMODE) == O_WRONLY)
		return -EACCES;
	if (f->path.mnt && (f->path.mnt->flags & MS_NOEXEC)) {
		if (r->prot & PROT_EXEC)
			return -EPERM;
		r->max_prot &= ~PROT_EXEC;
	}
	if (!f->ops->mmap)
		return -ENODEV;
	return r->flags & MAP_GROWSDOWN ? -EINVAL : 0;
}

static int check_anonymous(const struct map_request *r)
{
	int type = r->flags & MAP_TYPE;

	if (type == MAP_SHARED)
		return r->flags & MAP_GROWSDOWN ? -EINVAL : 0;
	return type == MAP_PRIVATE ? 0 : -EINVAL;
}

static bool is_mapped(struct mm *mm, uint64_t addr, uint64_t size)
{
	bool mapped;

	mm_lock(mm);
	mapped = vma_intersects(&mm->vmas, addr, addr + size);
	mm_unlock(mm);
	return mapped;
}

/* Everything that can be said before the file is asked; what others may still change is looked at again under the lock. */
static int check_request(struct map_request *r)
{
	uint64_t size = PAGE_UP(r->size);

	if (r->size == 0)
		return -EINVAL;
	if (size == 0 || size > GUEST_END)
		return -ENOMEM;
	r->size = size;
	if (r->file && (r->off + size < r->off || r->off + size > INT64_MAX))
		return -EOVERFLOW;
	if (r->flags & MAP_FIXED_NOREPLACE)
		r->flags |= MAP_FIXED;
	if (r->flags & MAP_FIXED) {
		if (r->addr > GUEST_END - size)
			return -ENOMEM;
		if (r->addr & ~PAGE_MASK)
			return -EINVAL;
		if (r->addr < GUEST_MIN)
			return -EPERM;
	}
	if ((r->flags & MAP_FIXED_NOREPLACE) && is_mapped(r->mm, r->addr, size))
		return -EEXIST;
	if ((r->flags & MAP_LOCKED) && !mm_limit(r->c, RLIMIT_MEMLOCK) && !task_capable(ctx_task(r->c), CAP_IPC_LOCK))
		return -EPERM;
	return r->file ? check_file(r) : check_anonymous(r);
}

/* Finds out what backs it. *ret_shmem: a file made here for shared anonymous memory, a reference. */
static int back_request(struct map_request *r, struct file **ret_shmem)
{
	bool shared = (r->flags & MAP_TYPE) != MAP_PRIVATE;
	int err;

	r->back.host_fd = -1;
	if (r->file) {
		err = r->file->ops->mmap(r->c, r->file, r->off, r->size, r->prot, r->flags, &r->back);
		if (err)
			return err;
		r->max_prot &= ~r->back.deny_prot;
	}
	if (r->back.host_fd >= 0)
		return 0;
	r->file = NULL;
	r->off = 0;
	if (!shared)
		return 0;
	err = shmem_create(r->c, r->size, ret_shmem);
	if (err)
		return err;
	r->file = *ret_shmem;
	r->name = "/dev/zero (deleted)";
	return r->file->ops->mmap(r->c, r->file, 0, r->size, r->prot, r->flags, &r->back);
}

static void fill_vma(struct vma *v, const struct map_request *r)
{
	v->start = r->addr;
	v->end = r->addr + r->size;
	v->prot = r->prot & ALL_PROT;
	v->max_prot = r->max_prot;
	v->flags = r->flags & KEPT_FLAGS & ~MAP_TYPE;
	v->flags |= (r->flags & MAP_TYPE) == MAP_PRIVATE ? MAP_PRIVATE : MAP_SHARED;
	v->file = r->file ? file_map_get(r->file) : NULL;
	if (!v->file)
		v->flags |= MAP_ANONYMOUS;
	v->off = r->off;
	v->host_fd = r->back.host_fd;
	v->host_off = r->back.off;
	v->name = r->name;
	if (v->flags & MAP_LOCKED && r->mm->lock_onfault)
		v->advice |= VMA_LOCK_ONFAULT;
}

/* Pages of [start, end) that are mapped. */
static uint64_t mapped_pages(const struct mm *mm, uint64_t start, uint64_t end)
{
	uint64_t bytes = 0;

	for (const struct vma *v = vma_intersects(&mm->vmas, start, end); v && v->start < end; v = v->next)
		bytes += MIN(v->end, end) - MAX(v->start, start);
	return bytes >> PAGE_SHIFT;
}

static int check_limits(struct map_request *r) REQUIRES(L_MM)
{
	uint64_t pages = r->size >> PAGE_SHIFT;
	struct mm *mm = r->mm;
	int err;

	if (r->flags & MAP_LOCKED && (err = mm_may_lock(mm, r->c, pages)))
		return err;
	if (mm_may_expand(mm, r->c, r->prot, r->flags & MAP_TYPE, pages))
		return 0;
	/* MAP_FIXED over something: what it replaces does not count twice. */
	pages -= mapped_pages(mm, r->addr, r->addr + r->size);
	return mm_may_expand(mm, r->c, r->prot, r->flags & MAP_TYPE, pages) ? 0 : -ENOMEM;
}

static sysret_t map_locked(struct map_request *r) REQUIRES(L_MM)
{
	struct mm *mm = r->mm;
	bool huge = !r->file && !r->addr && r->size % HUGE_SIZE == 0;
	struct vma *v;
	sysret_t at;
	int err;

	if (mm->vmas.count > MM_MAX_MAP_COUNT)
		return -ENOMEM;
	at = mm_find_free(mm, r->addr, r->size, r->flags, huge);
	if (at < 0)
		return at;
	r->addr = (uint64_t)at;
	if ((r->flags & MAP_FIXED_NOREPLACE) && vma_intersects(&mm->vmas, r->addr, r->addr + r->size))
		return -EEXIST;
	if (mm->lock_future)
		r->flags |= MAP_LOCKED;
	if ((err = check_limits(r)) || (err = mm_reserve(mm, 3)))
		return err;
	v = mm_take_spare(mm);
	fill_vma(v, r);
	err = mm_host_map(r->cpu, v, v->start, r->size);
	if (!err)
		err = mm_settle(mm, r->cpu, r->size);
	if (err) {
		v->next = mm->garbage;
		mm->garbage = v;
		return err;
	}
	mm_clear(mm, v->start, v->end);
	mm_link(mm, v);
	return at;
}

static bool wants_populate(const struct map_request *r)
{
	if (r->flags & MAP_LOCKED)
		return !r->mm->lock_onfault;
	return (r->flags & (MAP_POPULATE | MAP_NONBLOCK)) == MAP_POPULATE;
}

sysret_t mm_map(struct mm *mm, struct ctx *c, struct cpu *cpu, uint64_t addr, size_t size, int prot, int flags,
		struct file *file, uint64_t off)
{
	struct map_request r = {
	    .mm = mm,
	    .c = c,
	    .cpu = cpu,
	    .addr = addr,
	    .size = size,
	    .prot = prot,
	    .max_prot = ALL_PROT,
	    .flags = flags,
	    .file = file,
	    .off = file ? off : 0,
	};
	FILE_REF shmem = NULL;
	sysret_t ret;
	int err;

	if ((err = check_request(&r)) || (err = back_request(&r, &shmem)))
		return err;
	mm_lock(mm);
	ret = map_locked(&r);
	mm_unlock(mm);
	if (ret > 0 && wants_populate(&r))
		(void)mm_populate(mm, cpu, r.addr, r.size);
	return ret;
}

/* Splits at most at both ends. */
static int unmap_locked(struct mm *mm, struct cpu *cpu, uint64_t start, uint64_t end) REQUIRES(L_MM)
{
	const struct vma *v = vma_intersects(&mm->vmas, start, end);
	int err;

	if (!v)
		return 0;
	if (v->start < start && v->end > end && mm->vmas.count >= MM_MAX_MAP_COUNT)
		return -ENOMEM;
	if ((err = mm_reserve(mm, 2)))
		return err;
	if ((err = platform->aspace_unmap(cpu, start, end - start)))
		return err;
	mm_clear(mm, start, end);
	return mm->vmas.count >= MM_SYNC_COUNT ? platform->cpu_sync(cpu) : 0;
}

int mm_unmap(struct mm *mm, struct cpu *cpu, uint64_t addr, size_t size)
{
	uint64_t end = addr + PAGE_UP(size);
	int err;

	if ((addr & ~PAGE_MASK) || addr > MM_TASK_SIZE || size > MM_TASK_SIZE - addr || end == addr)
		return -EINVAL;
	addr = MAX(addr, GUEST_MIN);
	end = MIN(end, GUEST_END);
	if (addr >= end)
		return 0;
	mm_lock(mm);
	err = unmap_locked(mm, cpu, addr, end);
	mm_unlock(mm);
	return err;
}

/* Whether v is a part, where it was put first, of a file with those ops (or, if given, of that file) that was mapped at addr. */
static bool is_part(const struct vma *v, uint64_t addr, const struct file_ops *ops, const struct file *f)
{
	if (!v->file || v->file->ops != ops || (f && v->file != f))
		return false;
	return v->start >= addr && v->start - addr == v->off;
}

/* As Linux does it: the first part wherever it is, the others as far as the file was long. */
static int detach_locked(struct mm *mm, struct cpu *cpu, uint64_t addr, const struct file_ops *ops) REQUIRES(L_MM)
{
	struct vma *v = vma_find(&mm->vmas, addr);
	const struct file *f;
	uint64_t end;
	int err = 0;

	while (v && !is_part(v, addr, ops, NULL))
		v = v->next;
	if (!v)
		return -EINVAL;
	f = v->file;
	end = addr + PAGE_UP(f->inode->size);
	while (v && !err) {
		struct vma *next = v->next;

		if (is_part(v, addr, ops, f))
			err = unmap_locked(mm, cpu, v->start, v->end);
		v = next && next->end <= end ? next : NULL;
	}
	return err;
}

int mm_detach(struct mm *mm, struct cpu *cpu, uint64_t addr, const struct file_ops *ops)
{
	int err;

	if (addr & ~PAGE_MASK)
		return -EINVAL;
	mm_lock(mm);
	err = detach_locked(mm, cpu, addr, ops);
	mm_unlock(mm);
	return err;
}

/* One mapping's part of an mprotect: [start, end) lies in v. */
static int protect_vma(struct mm *mm, struct ctx *c, struct vma *v, uint64_t start, uint64_t end, int prot)
    REQUIRES(L_MM)
{
	uint64_t pages = (end - start) >> PAGE_SHIFT;
	int err;

	if (prot & ~v->max_prot)
		return -EACCES;
	if (prot == v->prot)
		return 0;
	if (mm_counts_as_data(prot, v->flags) && !mm_counts_as_data(v->prot, v->flags) &&
	    !mm_may_expand(mm, c, prot, v->flags, pages) &&
	    mm->total_vm + pages <= mm_limit(c, RLIMIT_AS) >> PAGE_SHIFT)
		return -ENOMEM;
	if ((v->start < start || v->end > end) && mm->vmas.count >= MM_MAX_MAP_COUNT)
		return -ENOMEM;
	if ((err = mm_reserve(mm, 2)))
		return err;
	mm_split_at(mm, start);
	mm_split_at(mm, end);
	v = vma_at(&mm->vmas, start);
	mm_account(mm, v, -1);
	v->prot = prot;
	mm_account(mm, v, 1);
	mm_merge(mm, v);
	return 0;
}

/* Changes mappings from start on, up to the first that refuses or is missing. *ret_done: where it stopped. */
static int protect_range(struct mm *mm, struct ctx *c, uint64_t start, uint64_t end, int prot, uint64_t *ret_done)
    REQUIRES(L_MM)
{
	int err = 0;

	*ret_done = start;
	while (*ret_done < end) {
		struct vma *v = vma_at(&mm->vmas, *ret_done);
		uint64_t stop;

		if (!v)
			return -ENOMEM;
		stop = MIN(v->end, end);
		err = protect_vma(mm, c, v, *ret_done, stop, prot);
		if (err)
			return err;
		*ret_done = stop;
	}
	return 0;
}

int mm_protect_limited(struct mm *mm, struct ctx *c, struct cpu *cpu, uint64_t addr, size_t size, int prot)
{
	bool grows = prot & PROT_GROWSDOWN;
	uint64_t end = addr + PAGE_UP(size);
	const struct vma *v;
	uint64_t done;
	int err, host_err = 0;

	prot &= ALL_PROT;
	if (end <= addr || addr >= GUEST_END)
		return -ENOMEM;
	mm_lock(mm);
	v = grows ? vma_intersects(&mm->vmas, addr, end) : vma_at(&mm->vmas, addr);
	if (grows && v)
		addr = v->start;
	err = !v ? -ENOMEM : grows && !(v->flags & MAP_GROWSDOWN) ? -EINVAL : 0;
	if (!err) {
		err = protect_range(mm, c, addr, end, prot, &done);
		if (done > addr)
			host_err = platform->aspace_protect(cpu, addr, done - addr, prot);
		if (!host_err)
			host_err = mm_settle(mm, cpu, done - addr);
	}
	mm_unlock(mm);
	return err ? err : host_err;
}

int mm_protect(struct mm *mm, struct cpu *cpu, uint64_t addr, size_t size, int prot)
{
	return mm_protect_limited(mm, NULL, cpu, addr, size, prot);
}

static bool brk_fits(struct mm *mm, struct ctx *c, uint64_t from, uint64_t to) REQUIRES(L_MM)
{
	const struct vma *next = vma_find(&mm->vmas, from);
	uint64_t pages = (to - from) >> PAGE_SHIFT;
	int flags = mm->lock_future ? MAP_LOCKED : 0;

	if (to > GUEST_END || (next && to + PAGE_SIZE > vma_gap_end(next)))
		return false;
	if (!mm_may_expand(mm, c, PROT_READ | PROT_WRITE, MAP_PRIVATE, pages))
		return false;
	return !(flags & MAP_LOCKED) || mm_may_lock(mm, c, pages) == 0;
}

static bool brk_grow(struct mm *mm, struct ctx *c, struct cpu *cpu, uint64_t from, uint64_t to) REQUIRES(L_MM)
{
	struct map_request r = {
	    .mm = mm,
	    .c = c,
	    .addr = from,
	    .size = to - from,
	    .prot = PROT_READ | PROT_WRITE,
	    .max_prot = ALL_PROT,
	    .flags = MAP_PRIVATE | MAP_ANONYMOUS | (mm->lock_future ? MAP_LOCKED : 0),
	    .back.host_fd = -1,
	    .name = "[heap]",
	};
	struct vma *v;

	if (mm->vmas.count > MM_MAX_MAP_COUNT || mm_reserve(mm, 1))
		return false;
	v = mm_take_spare(mm);
	fill_vma(v, &r);
	if (mm_host_map(cpu, v, from, to - from) || mm_settle(mm, cpu, to - from)) {
		v->next = mm->garbage;
		mm->garbage = v;
		return false;
	}
	mm_link(mm, v);
	return true;
}

uint64_t mm_brk(struct mm *mm, struct ctx *c, struct cpu *cpu, uint64_t brk)
{
	uint64_t from, to, grown = 0;

	mm_lock(mm);
	from = PAGE_UP(mm->brk);
	to = PAGE_UP(brk);
	if (brk < mm->start_brk || brk > GUEST_END)
		goto out;
	if (brk - mm->start_brk + (mm->end_data - mm->start_data) > mm_limit(c, RLIMIT_DATA))
		goto out;
	if (to < from && unmap_locked(mm, cpu, to, from))
		goto out;
	if (to > from && (!brk_fits(mm, c, from, to) || !brk_grow(mm, c, cpu, from, to)))
		goto out;
	mm->brk = brk;
	grown = to > from && mm->lock_future && !mm->lock_onfault ? to - from : 0;
out:
	brk = mm->brk;
	mm_unlock(mm);
	if (grown)
		(void)mm_populate(mm, cpu, from, grown);
	return brk;
}

/* The lowest address to which v may grow. */
static uint64_t stack_floor(const struct vma *v, uint64_t stack_rlimit)
{
	uint64_t limit = PAGE_DOWN(stack_rlimit);
	uint64_t floor = v->end > limit + GUEST_MIN ? v->end - limit : GUEST_MIN;
	const struct vma *below = v->prev;

	if (!below)
		return floor;
	if (below->prot && !(below->flags & MAP_GROWSDOWN))
		return MAX(floor, below->end + STACK_GUARD_GAP);
	return MAX(floor, below->end);
}

static bool grow_stack(struct mm *mm, struct ctx *c, struct cpu *cpu, struct vma *v, uint64_t addr,
		       uint64_t stack_rlimit) REQUIRES(L_MM)
{
	uint64_t floor = stack_floor(v, stack_rlimit);
	uint64_t start, pages;

	if (PAGE_DOWN(addr) < floor)
		return false;
	start = v->start > floor + STACK_STEP ? v->start - STACK_STEP : floor;
	start = MIN(start, PAGE_DOWN(addr));
	pages = (v->start - start) >> PAGE_SHIFT;
	if (!mm_may_expand(mm, c, v->prot, v->flags, pages) || (v->flags & MAP_LOCKED && mm_may_lock(mm, c, pages)))
		return false;
	if (mm_host_map(cpu, v, start, v->start - start))
		return false;
	mm_account(mm, v, -1);
	vma_resize(&mm->vmas, v, start, v->end);
	mm_account(mm, v, 1);
	return true;
}

bool mm_fault_stack(struct mm *mm, struct cpu *cpu, uint64_t addr, uint64_t stack_rlimit)
{
	struct task *t = cpu_client(cpu);
	struct vma *v;
	bool grown;

	if (addr < GUEST_MIN || addr >= GUEST_END)
		return false;
	mm_lock(mm);
	v = vma_find(&mm->vmas, addr);
	grown = v && v->start > addr && (v->flags & MAP_GROWSDOWN) &&
		grow_stack(mm, t ? &t->ctx : NULL, cpu, v, addr, stack_rlimit);
	mm_unlock(mm);
	return grown;
}

int mm_fault_code(struct mm *mm, uint64_t addr, bool write)
{
	const struct vma *v;
	int code;

	mm_lock(mm);
	v = vma_at(&mm->vmas, addr);
	if (!v)
		code = SEGV_MAPERR;
	else if (write ? !(v->prot & PROT_WRITE) : !(v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
		code = SEGV_ACCERR;
	else
		code = v->file ? BUS_ADRERR : SEGV_ACCERR;
	mm_unlock(mm);
	return code;
}

int mm_futex_key(struct mm *mm, uint64_t addr, bool want_private, struct futex_key *ret)
{
	struct futex_key k = {.object = mm, .offset = addr};
	const struct vma *v;
	int err = 0;

	if (addr < GUEST_MIN || addr >= GUEST_END)
		return -EFAULT;
	if (want_private) {
		*ret = k;
		return 0;
	}
	mm_lock(mm);
	v = vma_at(&mm->vmas, addr);
	if (!v || !(v->prot & (PROT_READ | PROT_WRITE))) {
		err = -EFAULT;
	} else if (v->flags & MAP_SHARED && v->file) {
		k.object = inode_get(v->file->inode);
		k.offset = v->off + (addr - v->start);
		k.shared = true;
	} else {
		k.offset |= 1; /* Linux, too, tells it from a private futex at the same address */
	}
	mm_unlock(mm);
	if (!err)
		*ret = k;
	return err;
}

void futex_key_put(struct futex_key *k)
{
	if (k->shared)
		inode_put((struct inode *)(uintptr_t)k->object);
	k->shared = false;
}
