/*
 * Address spaces: life, layout, limits and the bookkeeping that every change of the tree needs. See mm.h; mmap(2) and its
 * relatives are in mmap.c, mremap.c, madvise.c and mlock.c.
 *
 * Invariants. The tree says what the guest has; the platform is told of each change in the same order, through the caller's
 * stopped cpu. Work is queued, so that mmap(2) costs no more than the call itself; what could fail for lack of resources on the
 * host (large changes, very many mappings) is executed before the call returns, and only then does the tree change.
 *
 * Splits must not fail half way: each operation first reserves as many vmas as it may need (`spare`). What it unlinks becomes
 * `garbage` until the lock is dropped, because the last reference to a file takes locks that are ordered before L_MM.
 *
 * Adjacent mappings that are alike are merged, always. Linux merges anonymous memory only where the pages agree too; we have no
 * pages, so that /proc/PID/maps may show fewer lines after an mremap(2).
 */
#include "sentry/mm_impl.h"

#include <linux/capability.h>
#include <string.h>
#include <sys/random.h>

#include "fs/tmp/tmpfs.h"

static struct slab mm_slab = SLAB_INIT(struct mm);
static struct slab vma_slab = SLAB_INIT(struct vma);

struct mm *mm_create(void)
{
	struct mm *mm = slab_alloc(&mm_slab);

	if (!mm)
		return NULL;
	ref_init(&mm->ref);
	mutex_init(&mm->lock);
	mm->dumpable = true;
	mm->users = 1;
	mm_layout(mm, 8ul << 20);
	return mm;
}

struct mm *mm_get(struct mm *mm)
{
	ref_get(&mm->ref);
	return mm;
}

static void vma_free(struct vma *v)
{
	file_map_put(v->file);
	slab_free(&vma_slab, v);
}

static void vma_free_list(struct vma *v)
{
	while (v) {
		struct vma *next = v->next;

		vma_free(v);
		v = next;
	}
}

int mm_set_exe(struct mm *mm, struct file *exe)
{
	int32_t n = exe->inode->write_count;

	do {
		if (n > 0)
			return -ETXTBSY;
	} while (!__atomic_compare_exchange_n((int32_t *)&exe->inode->write_count, &n, n - 1, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	mm->exe = file_get(exe);
	return 0;
}

static void mm_clear_exe(struct mm *mm)
{
	if (!mm->exe)
		return;
	__atomic_fetch_add((int32_t *)&mm->exe->inode->write_count, 1, __ATOMIC_RELEASE);
	file_put(mm->exe);
}

static void mm_destroy(struct mm *mm)
{
	vma_free_list(mm->vmas.first);
	vma_free_list(mm->garbage);
	vma_free_list(mm->spare);
	mm_clear_exe(mm);
	slab_free(&mm_slab, mm);
}

void mm_put(struct mm *mm)
{
	if (mm && ref_put(&mm->ref))
		mm_destroy(mm);
}

/*
 * The pages of a dead process go when the host gets round to it, and nobody can tell, but by F_SEAL_WRITE: the host refuses it
 * as long as the file is mapped anywhere for writing.
 */
static bool prevents_seal(const struct vma *v)
{
	return v->file && (v->flags & MAP_SHARED) && (v->max_prot & PROT_WRITE) && tmpfs_may_seal(v->file);
}

void mm_exit(struct mm *mm, struct cpu *cpu)
{
	bool sync = false;

	mm_lock(mm);
	for (const struct vma *v = mm->vmas.first; v; v = v->next) {
		if (!prevents_seal(v))
			continue;
		sync = true;
		if (platform->aspace_unmap(cpu, v->start, v->end - v->start))
			break; /* the process is gone from the host */
	}
	if (sync)
		platform->cpu_sync(cpu);
	mm_unlock(mm);
}

void mm_lock(struct mm *mm)
{
	mutex_lock(&mm->lock, L_MM);
}

void mm_unlock(struct mm *mm)
{
	struct vma *garbage = take(mm->garbage);

	mutex_unlock(&mm->lock, L_MM);
	vma_free_list(garbage);
}

int mm_reserve(struct mm *mm, unsigned count)
{
	for (struct vma *v = mm->spare; v && count; v = v->next)
		count--;
	for (; count; count--) {
		struct vma *v = slab_alloc(&vma_slab);

		if (!v)
			return -ENOMEM;
		v->next = mm->spare;
		mm->spare = v;
	}
	return 0;
}

struct vma *mm_take_spare(struct mm *mm)
{
	struct vma *v = mm->spare;

	BUG_ON(!v);
	mm->spare = v->next;
	v->next = NULL;
	v->host_fd = -1;
	return v;
}

static bool counts_as_stack(int flags)
{
	return flags & MAP_GROWSDOWN;
}

bool mm_counts_as_data(int prot, int flags)
{
	return (prot & PROT_WRITE) && !(flags & MAP_SHARED) && !counts_as_stack(flags);
}

void mm_account(struct mm *mm, const struct vma *v, int sign)
{
	uint64_t pages = (v->end - v->start) >> PAGE_SHIFT;
	uint64_t add = sign > 0 ? pages : -pages;

	mm->total_vm += add;
	if (mm_counts_as_data(v->prot, v->flags))
		mm->data_vm += add;
	else if (counts_as_stack(v->flags))
		mm->stack_vm += add;
	else if ((v->prot & PROT_EXEC) && !(v->prot & PROT_WRITE))
		mm->exec_vm += add;
	if (v->flags & MAP_LOCKED)
		mm->locked_vm += add;
	mm->hiwater_vm = MAX(mm->hiwater_vm, mm->total_vm);
}

/* Unlinked already. */
static void mm_discard(struct mm *mm, struct vma *v)
{
	v->next = mm->garbage;
	mm->garbage = v;
}

void mm_drop(struct mm *mm, struct vma *v)
{
	mm_account(mm, v, -1);
	vma_remove(&mm->vmas, v);
	mm_discard(mm, v);
}

/* Makes b, which follows a, part of it. */
static struct vma *absorb(struct mm *mm, struct vma *a, struct vma *b)
{
	uint64_t end = b->end;

	vma_remove(&mm->vmas, b);
	mm_discard(mm, b);
	vma_resize(&mm->vmas, a, a->start, end);
	return a;
}

struct vma *mm_merge(struct mm *mm, struct vma *v)
{
	if (v->prev && vma_mergeable(v->prev, v))
		v = absorb(mm, v->prev, v);
	if (v->next && vma_mergeable(v, v->next))
		v = absorb(mm, v, v->next);
	return v;
}

struct vma *mm_link(struct mm *mm, struct vma *v)
{
	mm_account(mm, v, 1);
	vma_insert(&mm->vmas, v);
	return mm_merge(mm, v);
}

void mm_split_at(struct mm *mm, uint64_t addr)
{
	struct vma *v = vma_at(&mm->vmas, addr);

	if (v && v->start < addr)
		vma_split(&mm->vmas, v, addr, mm_take_spare(mm));
}

void mm_clear(struct mm *mm, uint64_t start, uint64_t end)
{
	struct vma *v = vma_intersects(&mm->vmas, start, end);

	if (!v)
		return;
	mm_split_at(mm, start);
	mm_split_at(mm, end);
	while ((v = vma_intersects(&mm->vmas, start, end)))
		mm_drop(mm, v);
}

uint64_t mm_limit(struct ctx *c, int resource)
{
	return c ? task_rlimit(ctx_task(c), resource) : RLIM64_INFINITY;
}

bool mm_may_expand(struct mm *mm, struct ctx *c, int prot, int flags, uint64_t pages)
{
	if (mm->total_vm + pages > mm_limit(c, RLIMIT_AS) >> PAGE_SHIFT)
		return false;
	return !mm_counts_as_data(prot, flags) || mm->data_vm + pages <= mm_limit(c, RLIMIT_DATA) >> PAGE_SHIFT;
}

int mm_may_lock(struct mm *mm, struct ctx *c, uint64_t pages)
{
	if (mm->locked_vm + pages <= mm_limit(c, RLIMIT_MEMLOCK) >> PAGE_SHIFT)
		return 0;
	return task_capable(ctx_task(c), CAP_IPC_LOCK) ? 0 : -EAGAIN;
}

int mm_host_map(struct cpu *cpu, const struct vma *v, uint64_t addr, uint64_t size)
{
	return platform->aspace_map(cpu, addr, size, v->prot, v->flags & (MAP_SHARED | MAP_PRIVATE | MAP_NORESERVE),
				    v->host_fd, v->host_fd < 0 ? 0 : v->host_off + (addr - v->start));
}

int mm_settle(struct mm *mm, struct cpu *cpu, uint64_t size)
{
	return size >= MM_SYNC_SIZE || mm->vmas.count >= MM_SYNC_COUNT ? platform->cpu_sync(cpu) : 0;
}

/* A random number of pages below 2^bits, in bytes. */
static uint64_t random_pages(unsigned bits)
{
	uint64_t r = 0;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		return 0;
	return (r & ((1ul << bits) - 1)) << PAGE_SHIFT;
}

/*
 * As much randomness as Linux has (22 bits for the stack, 28 for mappings), and no more: ThreadSanitizer wants mappings above
 * 0x7e8000000000.
 */
void mm_layout(struct mm *mm, uint64_t stack_rlimit)
{
	uint64_t gap = MAX(MIN(PAGE_DOWN(stack_rlimit), 64ul << 30), 128ul << 20);

	mm->start_stack = GUEST_END - PAGE_SIZE - random_pages(22);
	mm->mmap_base = mm->start_stack - gap - STACK_GUARD_GAP - random_pages(28);
}

void mm_set_brk(struct mm *mm, uint64_t end)
{
	mm->start_brk = mm->brk = PAGE_UP(end) + random_pages(13);
}

void mm_set_name(struct mm *mm, uint64_t addr, const char *name)
{
	struct vma *v;

	mm_lock(mm);
	v = vma_at(&mm->vmas, addr);
	if (v)
		v->name = name;
	mm_unlock(mm);
}

void mm_for_each(struct mm *mm, bool (*fn)(const struct vma *v, void *arg), void *arg)
{
	mm_lock(mm);
	for (const struct vma *v = mm->vmas.first; v && fn(v, arg); v = v->next)
		;
	mm_unlock(mm);
}

/* What MADV_DONTFORK and MADV_WIPEONFORK ask of the child's pages. */
static int fork_advice(const struct vma *v, struct cpu *child)
{
	if (v->advice & VMA_DONTFORK)
		return platform->aspace_unmap(child, v->start, v->end - v->start);
	if (v->advice & VMA_WIPEONFORK)
		return mm_host_map(child, v, v->start, v->end - v->start);
	return 0;
}

/* Locks are not inherited. */
static int fork_vma(struct mm *to, const struct vma *v, struct cpu *child) REQUIRES(L_MM)
{
	int err = fork_advice(v, child);
	struct vma *copy;

	if (err || v->advice & VMA_DONTFORK)
		return err;
	if ((err = mm_reserve(to, 1)))
		return err;
	copy = mm_take_spare(to);
	*copy = *v;
	if (copy->file)
		file_map_get(copy->file);
	copy->flags &= ~MAP_LOCKED;
	copy->advice &= ~VMA_LOCK_ONFAULT;
	mm_link(to, copy);
	return 0;
}

static void fork_fields(struct mm *to, const struct mm *from) REQUIRES(L_MM)
{
	to->mmap_base = from->mmap_base;
	to->start_code = from->start_code;
	to->end_code = from->end_code;
	to->start_data = from->start_data;
	to->end_data = from->end_data;
	to->start_brk = from->start_brk;
	to->brk = from->brk;
	to->start_stack = from->start_stack;
	to->arg_start = from->arg_start;
	to->arg_end = from->arg_end;
	to->env_start = from->env_start;
	to->env_end = from->env_end;
	to->dumpable = from->dumpable;
	memcpy(to->auxv, from->auxv, sizeof(to->auxv));
	if (from->exe && mm_set_exe(to, from->exe))
		to->exe = NULL; /* cannot be: it is being executed, so nobody writes to it */
}

int mm_fork(struct task *parent, struct cpu *child, struct mm **ret)
{
	struct mm *from = parent->mm;
	struct mm *to = mm_create();
	int err = 0;

	if (!to)
		return -ENOMEM;
	mm_lock(from);
	fork_fields(to, from);
	for (const struct vma *v = from->vmas.first; v && !err; v = v->next)
		err = fork_vma(to, v, child);
	mm_unlock(from);
	if (err)
		mm_put(to);
	else
		*ret = to;
	return err;
}
