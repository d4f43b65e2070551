/* Per-thread state of the processor and of thread libraries: arch_prctl(2), set_robust_list(2). */
#include <asm/prctl.h>

#include "sentry/task.h"
#include "syscalls/syscalls.h"

#define ROBUST_HEAD_SIZE 24

sysret_t sys_arch_prctl(struct task *t, int code, uint64_t addr)
{
	struct k_user_regs *regs = platform->cpu_regs(t->cpu);

	switch (code) {
	case ARCH_SET_FS:
		if (addr >= GUEST_END)
			return -EPERM;
		regs->fs_base = addr;
		return 0;
	case ARCH_SET_GS:
		if (addr >= GUEST_END)
			return -EPERM;
		regs->gs_base = addr;
		return 0;
	case ARCH_GET_FS:
		return copy_out(&t->ctx, UADDR(addr), &regs->fs_base, sizeof(regs->fs_base));
	case ARCH_GET_GS:
		return copy_out(&t->ctx, UADDR(addr), &regs->gs_base, sizeof(regs->gs_base));
	case ARCH_GET_CPUID:
		return 1;
	case ARCH_SET_CPUID:
		return -ENODEV;
	}
	return -EINVAL;
}

sysret_t sys_set_robust_list(struct task *t, uaddr_t head, size_t size)
{
	if (size != ROBUST_HEAD_SIZE)
		return -EINVAL;
	t->robust_list = head;
	return 0;
}

sysret_t sys_get_robust_list(struct task *t, int32_t tid, uaddr_t ret_head, uaddr_t ret_size)
{
	struct task *target = tid ? task_find(tid) : task_get(t);
	uint64_t size = ROBUST_HEAD_SIZE;
	uint64_t head;
	int err;

	if (!target)
		return -ESRCH;
	err = task_may_access(t, target, false);
	head = target->robust_list.v;
	task_put(target);
	if (err)
		return err;
	if (copy_out(&t->ctx, ret_size, &size, sizeof(size)))
		return -EFAULT;
	return copy_out(&t->ctx, ret_head, &head, sizeof(head));
}
