/*
 * Guest memory: changed by system calls that the stopped host thread makes for us, read and written from outside by
 * process_vm_readv/writev, which obey the guest's page protections.
 *
 * Nothing is queued: each operation is done when it returns. Ranges are checked against [GUEST_MIN, GUEST_END) here as
 * well, because beyond it lies the stub's own page. The scratch page, where the kernel puts what the stub asks for, is
 * writable by other guest threads at any time: what comes back is a hint about the guest itself, never trusted.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "platform/ptrace/internal.h"

#define MINCORE_CHUNK (PAGE_SIZE * PAGE_SIZE)

struct call {
	long nr;
	uint64_t args[6];
};

static bool range_ok(uint64_t addr, size_t size)
{
	return addr >= GUEST_MIN && addr < GUEST_END && size <= GUEST_END - addr;
}

static struct pcpu *pcpu_of(struct cpu *cpu)
{
	return container_of(cpu, struct pcpu, cpu);
}

static long call_run(struct pcpu *c, void *arg)
{
	struct call *call = arg;

	return inject_syscall(c, ptrace_stub_call, call->nr, call->args);
}

static int memory_call(struct cpu *cpu, long nr, uint64_t a0, uint64_t a1, uint64_t a2)
{
	struct call call = {nr, {a0, a1, a2, 0, 0, 0}};

	if (!range_ok(a0, a1))
		return -EINVAL;
	return (int)tracer_call(pcpu_of(cpu), call_run, &call);
}

int ptrace_unmap(struct cpu *cpu, uint64_t addr, size_t size)
{
	return memory_call(cpu, SYS_munmap, addr, size, 0);
}

int ptrace_protect(struct cpu *cpu, uint64_t addr, size_t size, int prot)
{
	return memory_call(cpu, SYS_mprotect, addr, size, (uint64_t)prot);
}

int ptrace_advise(struct cpu *cpu, uint64_t addr, size_t size, int advice)
{
	return memory_call(cpu, SYS_madvise, addr, size, (uint64_t)advice);
}

int ptrace_sync(struct cpu *cpu, uint64_t addr, size_t size, int flags)
{
	return memory_call(cpu, SYS_msync, addr, size, (uint64_t)flags);
}

int ptrace_map(struct cpu *cpu, uint64_t addr, size_t size, int prot, int flags, int fd, uint64_t off)
{
	uint64_t host_flags = (uint64_t)(flags & (MAP_SHARED | MAP_PRIVATE | MAP_NORESERVE)) | MAP_FIXED;
	struct call call = {SYS_mmap, {addr, size, (uint64_t)prot, host_flags | MAP_ANONYMOUS, (uint64_t)-1, 0}};
	int slot = -1;
	long r;

	if (!range_ok(addr, size))
		return -EINVAL;
	if (fd >= 0) {
		slot = stub_fd_begin(fd);
		if (slot < 0)
			return slot;
		call.args[3] = host_flags;
		call.args[4] = (uint64_t)slot;
		call.args[5] = off;
	}
	r = tracer_call(pcpu_of(cpu), call_run, &call);
	if (slot >= 0)
		stub_fd_end(slot);
	return r < 0 && r >= -4095 ? (int)r : 0;
}

int ptrace_move(struct cpu *cpu, uint64_t old, size_t old_size, uint64_t new_addr, size_t new_size)
{
	uint64_t flags = old == new_addr ? 0 : MREMAP_MAYMOVE | MREMAP_FIXED;
	struct call call = {SYS_mremap, {old, old_size, new_size, flags, new_addr, 0}};
	long r;

	if (!range_ok(old, old_size) || !range_ok(new_addr, new_size))
		return -EINVAL;
	r = tracer_call(pcpu_of(cpu), call_run, &call);
	return r < 0 && r >= -4095 ? (int)r : 0;
}

static int mincore_chunk(struct cpu *cpu, uint64_t addr, size_t size, unsigned char *vec)
{
	struct aspace *a = cpu->aspace;
	size_t pages = size / PAGE_SIZE;
	struct iovec dst = {vec, pages};
	struct iovec src = {(void *)(stub.base + STUB_SCRATCH), pages};
	int err;

	pthread_mutex_lock(&a->scratch.m);
	err = memory_call(cpu, SYS_mincore, addr, size, stub.base + STUB_SCRATCH);
	if (err == 0 && process_vm_readv(a->pid, &dst, 1, &src, 1, 0) != (ssize_t)pages)
		err = -EFAULT;
	pthread_mutex_unlock(&a->scratch.m);
	return err;
}

int ptrace_mincore(struct cpu *cpu, uint64_t addr, size_t size, unsigned char *vec)
{
	int err = 0;

	for (size_t done = 0, n; !err && done < size; done += n) {
		n = MIN(size - done, MINCORE_CHUNK);
		err = mincore_chunk(cpu, addr + done, n, vec + done / PAGE_SIZE);
	}
	return err;
}

/* How much of a guest range lies below GUEST_END. */
static size_t clip(uint64_t addr, size_t size)
{
	return addr >= GUEST_END ? 0 : MIN(size, GUEST_END - addr);
}

static ssize_t transfer(struct cpu *cpu, long nr, uint64_t addr, void *mine, size_t size)
{
	size_t n = clip(addr, size);
	struct iovec local = {mine, n};
	struct iovec remote = {(void *)addr, n};
	ssize_t r;

	if (size == 0)
		return 0;
	if (n == 0)
		return -EFAULT;
	r = syscall(nr, cpu->aspace->pid, &local, 1, &remote, 1, 0);
	return r > 0 ? r : -EFAULT;
}

ssize_t ptrace_read(struct cpu *cpu, void *dst, uint64_t addr, size_t size)
{
	return transfer(cpu, SYS_process_vm_readv, addr, dst, size);
}

ssize_t ptrace_write(struct cpu *cpu, uint64_t addr, const void *src, size_t size)
{
	return transfer(cpu, SYS_process_vm_writev, addr, (void *)(uintptr_t)src, size);
}

struct cas {
	uint64_t addr;
	uint32_t *expected;
	uint32_t desired;
};

static long cas_run(struct pcpu *c, void *arg)
{
	struct cas *cas = arg;
	struct k_user_regs r = {.rdi = cas->addr, .rax = *cas->expected, .rdx = cas->desired};

	if (inject_run(c, STUB_ADDR(ptrace_stub_cas), &r) != INJECT_DONE)
		return -EFAULT;
	*cas->expected = (uint32_t)r.rax;
	return 0;
}

int ptrace_cas32(struct cpu *cpu, uint64_t addr, uint32_t *expected, uint32_t desired)
{
	struct cas cas = {addr, expected, desired};

	if (addr % sizeof(uint32_t) || !range_ok(addr, sizeof(uint32_t)))
		return -EFAULT;
	return (int)tracer_call(pcpu_of(cpu), cas_run, &cas);
}
