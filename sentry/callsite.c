/*
 * What the platform asks before it rewrites a system call instruction (see struct platform_client): is this code that nobody
 * else writes, and where is room for its trampolines.
 *
 * The room is an ordinary mapping without permissions, so that mmap(2) gives it to nobody and a fork inherits it. A guest that
 * unmaps it or maps over it tells the platform so by that: the platform then forgets the sites that jump there.
 */
#include "sentry/mm_impl.h"
#include "sentry/task.h"
#include "sentry/vma.h"

#define NEAR (1ul << 30)

bool task_code_range(struct cpu *cpu, uint64_t addr, uint64_t *ret_start, uint64_t *ret_end)
{
	struct task *t = cpu_client(cpu);
	const struct vma *v;
	bool ok;

	mm_lock(t->mm);
	v = vma_at(&t->mm->vmas, addr);
	ok = v && v->file && (v->flags & MAP_PRIVATE) && v->prot == (PROT_READ | PROT_EXEC);
	if (ok) {
		*ret_start = v->start;
		*ret_end = v->end;
	}
	mm_unlock(t->mm);
	return ok;
}

uint64_t task_reserve(struct cpu *cpu, uint64_t near, size_t size)
{
	struct task *t = cpu_client(cpu);
	uint64_t at;
	sysret_t ret;

	mm_lock(t->mm);
	near = PAGE_DOWN(near);
	at = vma_gap_down(&t->mm->vmas, size, PAGE_SIZE, near > NEAR + GUEST_MIN ? near - NEAR : GUEST_MIN, near);
	if (!at)
		at = vma_gap_up(&t->mm->vmas, size, PAGE_SIZE, near, MIN(near + NEAR, GUEST_END));
	mm_unlock(t->mm);
	if (!at)
		return 0;
	/* Another thread may have taken it: then there is none this time. */
	ret = mm_map(t->mm, &t->ctx, cpu, at, size, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, NULL, 0);
	return ret < 0 ? 0 : (uint64_t)ret;
}

const struct platform_client task_client = {
    .event = task_event,
    .code_range = task_code_range,
    .reserve = task_reserve,
};
