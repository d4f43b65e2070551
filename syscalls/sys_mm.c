/*
 * Memory system calls: argument checks, then sentry/mm.h. Protection keys are those of a processor without them (ENOSPC, EINVAL); huge pages are those of a
 * machine on which none were reserved; memory policies those of a machine with one node.
 */
#include <linux/capability.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>

#include "fs/fdtable.h"
#include "sentry/base/slab.h"
#include "sentry/mm.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

#define HUGE_SHIFT_2M 21
#define HUGE_SHIFT_1G 30

/* MAP_HUGETLB without a file: a size that x86-64 does not have is wrong; of the others none are reserved. */
static int hugetlb_errno(int flags)
{
	unsigned shift = ((unsigned)flags >> MAP_HUGE_SHIFT) & MAP_HUGE_MASK;

	return shift == 0 || shift == HUGE_SHIFT_2M || shift == HUGE_SHIFT_1G ? -ENOMEM : -EINVAL;
}

sysret_t sys_mmap(struct task *t, uint64_t addr, size_t size, int prot, int flags, int fd, int64_t off)
{
	FILE_REF f = NULL;

	if ((uint64_t)off & ~PAGE_MASK)
		return -EINVAL;
	if (!(flags & MAP_ANONYMOUS)) {
		f = fd_get(&t->ctx, fd);
		if (!f)
			return -EBADF;
		if (flags & MAP_HUGETLB)
			return -EINVAL;
	} else if (flags & MAP_HUGETLB) {
		return hugetlb_errno(flags);
	}
	if ((prot & PROT_READ) && (t->tg->personality & READ_IMPLIES_EXEC) &&
	    !(f && f->path.mnt && (f->path.mnt->flags & MS_NOEXEC)))
		prot |= PROT_EXEC;
	return mm_map(t->mm, &t->ctx, t->cpu, addr, size, prot, flags, f, (uint64_t)off);
}

sysret_t sys_munmap(struct task *t, uint64_t addr, size_t size)
{
	return mm_unmap(t->mm, t->cpu, addr, size);
}

sysret_t sys_mprotect(struct task *t, uint64_t addr, size_t size, int prot)
{
	int grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
	bool implies_exec = (t->tg->personality & READ_IMPLIES_EXEC) && (prot & PROT_READ);

	if (grows == (PROT_GROWSDOWN | PROT_GROWSUP) || (addr & ~PAGE_MASK))
		return -EINVAL;
	if (size == 0)
		return 0;
	if (addr + PAGE_UP(size) <= addr)
		return -ENOMEM;
	if (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | 0x8 /* PROT_SEM */ | PROT_GROWSDOWN | PROT_GROWSUP))
		return -EINVAL;
	if (grows == PROT_GROWSUP)
		return -EINVAL;
	return mm_protect_limited(t->mm, &t->ctx, t->cpu, addr, size, implies_exec ? prot | PROT_EXEC : prot);
}

sysret_t sys_brk(struct task *t, uint64_t brk)
{
	return (sysret_t)mm_brk(t->mm, &t->ctx, t->cpu, brk);
}

sysret_t sys_mremap(struct task *t, uint64_t old, size_t old_size, size_t new_size, int flags, uint64_t new_addr)
{
	return mm_remap(t->mm, &t->ctx, t->cpu, old, old_size, new_size, flags, new_addr);
}

sysret_t sys_msync(struct task *t, uint64_t addr, size_t size, int flags)
{
	return mm_sync(t->mm, t->cpu, addr, size, flags);
}

sysret_t sys_madvise(struct task *t, uint64_t addr, size_t size, int advice)
{
	return mm_advise(t->mm, t->cpu, addr, size, advice);
}

#define MINCORE_CHUNK 1024ul

sysret_t sys_mincore(struct task *t, uint64_t addr, size_t size, uaddr_t vec)
{
	unsigned char chunk[MINCORE_CHUNK];
	uint64_t pages = (size >> PAGE_SHIFT) + !!(size & ~PAGE_MASK);
	int err;

	if (addr & ~PAGE_MASK)
		return -EINVAL;
	if (addr > MM_TASK_SIZE || size > MM_TASK_SIZE - addr)
		return -ENOMEM;
	if (vec.v > MM_TASK_SIZE || pages > MM_TASK_SIZE - vec.v)
		return -EFAULT;
	for (uint64_t done = 0; done < pages; done += MINCORE_CHUNK) {
		uint64_t n = MIN(pages - done, MINCORE_CHUNK);

		err = mm_mincore(t->mm, t->cpu, addr + (done << PAGE_SHIFT), n << PAGE_SHIFT, chunk);
		if (err || (err = copy_out(&t->ctx, uaddr_add(vec, done), chunk, n)))
			return err;
	}
	return 0;
}

sysret_t sys_mlock(struct task *t, uint64_t addr, size_t size)
{
	return mm_mlock(t->mm, &t->ctx, t->cpu, addr, size, 0);
}

sysret_t sys_mlock2(struct task *t, uint64_t addr, size_t size, int flags)
{
	if (flags & ~MLOCK_ONFAULT)
		return -EINVAL;
	return mm_mlock(t->mm, &t->ctx, t->cpu, addr, size, flags);
}

sysret_t sys_munlock(struct task *t, uint64_t addr, size_t size)
{
	return mm_munlock(t->mm, addr, size);
}

sysret_t sys_mlockall(struct task *t, int flags)
{
	if (!flags || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) || flags == MCL_ONFAULT)
		return -EINVAL;
	return mm_mlockall(t->mm, &t->ctx, t->cpu, flags);
}

sysret_t sys_munlockall(struct task *t)
{
	return mm_mlockall(t->mm, &t->ctx, t->cpu, 0);
}

sysret_t sys_pkey_alloc(struct task *t __unused, unsigned flags, uint64_t rights)
{
	if (flags || (rights & ~3ul))
		return -EINVAL;
	return -ENOSPC;
}

sysret_t sys_pkey_free(struct task *t __unused, int key __unused)
{
	return -EINVAL;
}

/* Key -1 is mprotect(2); no other key can have been allocated. */
sysret_t sys_pkey_mprotect(struct task *t, uint64_t addr, size_t size, int prot, int key)
{
	return key == -1 ? sys_mprotect(t, addr, size, prot) : -EINVAL;
}
