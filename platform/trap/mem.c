/*
 * Memory of an aspace: operations are queued on a stopped cpu and run by its stub thread (list.c); reads and writes go
 * straight to the stub's pages by process_vm_readv/writev, which honour the guest's protections and report how far they
 * came. Never /proc/PID/mem: it ignores protections.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "platform/trap/trap.h"

#define LIST_FILES_NS 600000000000     /* for lists that write files, or fill memory */
#define LIST_LOCKED_NS 10000000000     /* the client may hold locks that others need */
#define BOUNCE (T_SIGSTACK - T_BUFFER) /* bytes of a thread area that results may lie in */

static bool guest_range(uint64_t addr, uint64_t size)
{
	return addr >= GUEST_MIN && addr < GUEST_END && size <= GUEST_END - addr;
}

/* Room for one more command and the closing of a file. */
static int make_room(struct trap_cpu *c)
{
	return c->queued + 4 > CMD_MAX ? list_run(c) : 0;
}

static int queue(struct trap_cpu *c, int64_t nr, const uint64_t args[6], uint64_t flags)
{
	int err = make_room(c);

	if (err)
		return err;
	list_add(c, nr, args, flags);
	list_touch(c, args[0], args[1]);
	return 0;
}

int trap_map(struct cpu *cpu, uint64_t addr, size_t size, int prot, int flags, int fd, uint64_t off)
{
	struct trap_cpu *c = to_trap(cpu);
	uint64_t args[6] = {addr, size, (uint64_t)prot, 0, (uint64_t)-1, off};
	int err;

	if (!guest_range(addr, size) || (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC)))
		return -EINVAL;
	patch_forget(c, addr, size, false);
	args[3] = (uint64_t)(flags & (MAP_SHARED | MAP_PRIVATE | MAP_NORESERVE)) | MAP_FIXED;
	if (fd < 0) {
		args[3] |= MAP_ANONYMOUS;
		return queue(c, SYS_mmap, args, 0);
	}
	if ((err = make_room(c)) || (err = list_queue_fd(c, fd)))
		return err;
	args[4] = FD_MAP + c->slot;
	return queue(c, SYS_mmap, args, 0);
}

/* Other cpus of the aspace could use the address before a queued change happens. */
static int run_if_shared(struct trap_cpu *c)
{
	return __atomic_load_n(&c->cpu.aspace->cpus, __ATOMIC_RELAXED) > 1 ? list_run(c) : 0;
}

int trap_unmap(struct cpu *cpu, uint64_t addr, size_t size)
{
	struct trap_cpu *c = to_trap(cpu);
	int err;

	if (!guest_range(addr, size))
		return -EINVAL;
	patch_forget(c, addr, size, false);
	err = queue(c, SYS_munmap, (uint64_t[6]){addr, size}, 0);
	return err ? err : run_if_shared(c);
}

int trap_protect(struct cpu *cpu, uint64_t addr, size_t size, int prot)
{
	if (!guest_range(addr, size) || (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC)))
		return -EINVAL;
	if (prot & PROT_WRITE)
		patch_forget(to_trap(cpu), addr, size, true);
	return queue(to_trap(cpu), SYS_mprotect, (uint64_t[6]){addr, size, (uint64_t)prot}, 0);
}

int trap_advise(struct cpu *cpu, uint64_t addr, size_t size, int advice)
{
	struct trap_cpu *c = to_trap(cpu);
	bool wait = advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE;
	int err;

	if (!guest_range(addr, size))
		return -EINVAL;
	err = queue(c, SYS_madvise, (uint64_t[6]){addr, size, (uint64_t)advice}, wait ? 0 : CMD_MAY_FAIL);
	if (err || !wait)
		return err;
	c->list_limit = LIST_FILES_NS;
	return list_run(c);
}

int trap_move(struct cpu *cpu, uint64_t old, size_t old_size, uint64_t new_addr, size_t new_size)
{
	struct trap_cpu *c = to_trap(cpu);
	uint64_t flags = old == new_addr ? 0 : MREMAP_MAYMOVE | MREMAP_FIXED;
	uint64_t args[6] = {old, old_size, new_size, flags, new_addr};
	int err;

	if (!guest_range(old, old_size) || !guest_range(new_addr, new_size))
		return -EINVAL;
	patch_forget(c, old, old_size, true);
	patch_forget(c, new_addr, new_size, false);
	err = queue(c, SYS_mremap, args, 0);
	list_touch(c, new_addr, new_size);
	return err ? err : list_run(c);
}

int trap_sync_range(struct cpu *cpu, uint64_t addr, size_t size, int flags)
{
	struct trap_cpu *c = to_trap(cpu);
	int err;

	if (!guest_range(addr, size))
		return -EINVAL;
	err = queue(c, SYS_msync, (uint64_t[6]){addr, size, (uint64_t)flags}, 0);
	if (err)
		return err;
	c->list_limit = LIST_FILES_NS;
	return list_run(c);
}

int trap_mincore(struct cpu *cpu, uint64_t addr, size_t size, unsigned char *vec)
{
	struct trap_cpu *c = to_trap(cpu);
	size_t step, done;
	int err;

	if (!guest_range(addr, size))
		return -EINVAL;
	c->staged_size = 0; /* its place is used */
	for (done = 0; done < size; done += step) {
		step = MIN(size - done, BOUNCE * PAGE_SIZE);
		err = queue(c, SYS_mincore, (uint64_t[6]){addr + done, step, slot_address(c->slot) + T_BUFFER}, 0);
		if (!err)
			err = list_run(c);
		if (err)
			return err;
		memcpy(vec + done / PAGE_SIZE, cpu_thr(c) + T_BUFFER, PAGE_UP(step) / PAGE_SIZE);
	}
	return 0;
}

int trap_cpu_sync(struct cpu *cpu)
{
	return list_run(to_trap(cpu));
}

/* Memory that the guest may name as a buffer: its own, and the vDSO for reading. */
static bool readable_range(uint64_t addr, uint64_t size)
{
	const struct platform_vdso *v = trap_vdso();

	if (addr < GUEST_END && size <= GUEST_END - addr)
		return true;
	return addr >= v->ehdr && addr - v->ehdr < v->vdso_size && size <= v->vdso_size - (addr - v->ehdr);
}

/* What copies to EFAULT when it starts outside is cut to what lies inside. */
static size_t clip(uint64_t addr, size_t size)
{
	return addr < GUEST_END && size > GUEST_END - addr ? GUEST_END - addr : size;
}

static ssize_t transfer(const struct aspace *a, void *ours, uint64_t addr, size_t size, bool write)
{
	struct iovec local = {ours, clip(addr, size)};
	struct iovec remote = {(void *)addr, local.iov_len};
	ssize_t n;

	if (size == 0)
		return 0;
	if (write ? addr >= GUEST_END : !readable_range(addr, local.iov_len))
		return -EFAULT;
	n = write ? process_vm_writev(a->pid, &local, 1, &remote, 1, 0)
		  : process_vm_readv(a->pid, &local, 1, &remote, 1, 0);
	return n <= 0 ? -EFAULT : n;
}

/* What is queued on the same cpu must be seen. */
static void settle(struct trap_cpu *c, uint64_t addr, size_t size)
{
	if (!c->queued || addr >= c->queued_hi || (size <= ~addr && addr + size <= c->queued_lo))
		return;
	c->list_limit = MIN(c->list_limit, LIST_LOCKED_NS);
	(void)list_run(c); /* a failure shows as EFAULT of the copy */
}

ssize_t trap_read(struct cpu *cpu, void *dst, uint64_t addr, size_t size)
{
	if (stage_read(to_trap(cpu), dst, addr, size))
		return (ssize_t)size;
	settle(to_trap(cpu), addr, size);
	return transfer(cpu->aspace, dst, addr, size, false);
}

ssize_t trap_write(struct cpu *cpu, uint64_t addr, const void *src, size_t size)
{
	stage_drop(to_trap(cpu), addr, size);
	settle(to_trap(cpu), addr, size);
	return transfer(cpu->aspace, (void *)(uintptr_t)src, addr, size, true);
}

ssize_t trap_aspace_read(struct cpu *any, void *dst, uint64_t addr, size_t size)
{
	return transfer(any->aspace, dst, addr, size, false);
}

ssize_t trap_aspace_write(struct cpu *any, uint64_t addr, const void *src, size_t size)
{
	return transfer(any->aspace, (void *)(uintptr_t)src, addr, size, true);
}

int trap_cas32(struct cpu *cpu, uint64_t addr, uint32_t *expected, uint32_t desired)
{
	struct trap_cpu *c = to_trap(cpu);
	int err;

	if (!guest_range(addr, 4) || (addr & 3))
		return -EFAULT;
	err = c->map_fd >= 0 ? list_run(c) : make_room(c); /* the result is the last command's */
	if (err)
		return err;
	list_add(c, CMD_CAS, (uint64_t[6]){addr, *expected, desired}, 0);
	list_touch(c, addr, 4);
	c->list_limit = LIST_LOCKED_NS;
	err = list_run(c);
	if (err == 0)
		*expected = (uint32_t)c->list_result;
	return err;
}
