/*
 * The trap platform's table. See docs/platform-trap.md; the parts are aspace.c and mother.c (processes and threads),
 * cpu.c and kick.c (running them), list.c and mem.c (their memory), frame.c and fp.c (their registers).
 */
#include <errno.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "platform/hostneed.h"
#include "platform/hostproc.h"
#include "platform/trap/trap.h"

#define HWCAP2_FSGSBASE_ 2

static int trap_init(const struct platform_config *config)
{
	fp_init();
	run_init(config);
	patch_init(config);
	return aspaces_init(config);
}

/* The pages that are shared with stubs are one file and one range of addresses, large and sparse. */
static int probe_limits(const char **ret_why)
{
	const rlim_t need = (rlim_t)ASPACES_DEFAULT * (CTL_SIZE + THR_SIZE);
	struct rlimit r;

	if (getrlimit(RLIMIT_AS, &r) == 0 && r.rlim_cur < 2 * need) {
		*ret_why = "it needs more virtual memory than the caller may have";
		return -ENOMEM;
	}
	if (getrlimit(RLIMIT_FSIZE, &r) == 0 && r.rlim_cur < 2 * need) {
		*ret_why = "it needs a larger file than the caller may have";
		return -EFBIG;
	}
	return 0;
}

static int trap_probe(const char **ret_why)
{
	struct seccomp_notif_sizes sizes;
	uint32_t action = SECCOMP_RET_USER_NOTIF;
	int err = probe_limits(ret_why);

	if (!err)
		err = hostneed_check("trap", ret_why);
	if (err)
		return err;
	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_)) {
		*ret_why = "the processor or kernel has no FSGSBASE";
		return -EOPNOTSUPP;
	}
	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) ||
	    syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes)) {
		*ret_why = "seccomp user notification is missing or denied";
		return -EOPNOTSUPP;
	}
	/* A flag unknown to the kernel gives EINVAL, a known one EFAULT for the missing program. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, LISTENER_FLAGS, NULL) && errno != EFAULT) {
		err = errno == EINVAL ? -EOPNOTSUPP : -errno;
		*ret_why = errno == EINVAL ? "the kernel is older than Linux 5.19 (no WAIT_KILLABLE_RECV)"
					   : "seccomp user notification is denied";
		return err;
	}
	*ret_why = "";
	return 0;
}

static struct k_user_regs *trap_regs(struct cpu *cpu)
{
	return &to_trap(cpu)->regs;
}

/* The thread reads each word by itself: an answer is of before or after, as with any concurrent change. */
static void trap_set_fast(struct cpu *cpu, const struct cpu_fast *fast)
{
	char *ctl = cpu_ctl(to_trap(cpu));

	__atomic_store_n((uint64_t *)(ctl + C_FAST_OFF), 1, __ATOMIC_SEQ_CST);
	if (!fast->enabled)
		return;
	__atomic_store_n((int32_t *)(ctl + C_PID), fast->pid, __ATOMIC_RELAXED);
	__atomic_store_n((int32_t *)(ctl + C_TID), fast->tid, __ATOMIC_RELAXED);
	__atomic_store_n((int32_t *)(ctl + C_PPID), fast->ppid, __ATOMIC_RELAXED);
	__atomic_store_n((uint32_t *)(ctl + C_UID), fast->uid, __ATOMIC_RELAXED);
	__atomic_store_n((uint32_t *)(ctl + C_EUID), fast->euid, __ATOMIC_RELAXED);
	__atomic_store_n((uint32_t *)(ctl + C_GID), fast->gid, __ATOMIC_RELAXED);
	__atomic_store_n((uint32_t *)(ctl + C_EGID), fast->egid, __ATOMIC_RELAXED);
	__atomic_store_n((uint64_t *)(ctl + C_FAST_OFF), 0, __ATOMIC_SEQ_CST);
}

static uint64_t *mask_word(struct cpu *cpu)
{
	return (uint64_t *)(cpu_thr(to_trap(cpu)) + T_MASK);
}

static void trap_give_mask(struct cpu *cpu, uint64_t mask, bool open)
{
	__atomic_store_n(mask_word(cpu), mask, __ATOMIC_RELAXED);
	__atomic_store_n((uint32_t *)(cpu_ctl(to_trap(cpu)) + C_MASK_OFF), !open, __ATOMIC_SEQ_CST);
}

static uint64_t trap_mask(struct cpu *cpu)
{
	return __atomic_load_n(mask_word(cpu), __ATOMIC_SEQ_CST);
}

/* Either the stub sees this when it has changed the mask, and takes that back, or we see the change. */
static void trap_close_mask(struct cpu *cpu)
{
	__atomic_store_n((uint32_t *)(cpu_ctl(to_trap(cpu)) + C_MASK_OFF), 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static int trap_cpu_time(struct cpu *cpu, uint64_t *ret_ns)
{
	struct trap_cpu *c = to_trap(cpu);
	const volatile struct timespec *base = (const volatile struct timespec *)(cpu_thr(c) + T_BASE);
	uint64_t now, used;
	int err = hostproc_thread_time(cpu->aspace->pid, c->tid, &now);

	if (err)
		return err;
	used = (uint64_t)base->tv_sec * 1000000000 + (uint64_t)base->tv_nsec; /* the guest's to forge, for itself */
	*ret_ns = now - MIN(used, now);
	return 0;
}

static int trap_aspace_time(struct cpu *any, uint64_t *ret_user, uint64_t *ret_sys)
{
	return hostproc_process_time(any->aspace->pid, ret_user, ret_sys);
}

static int trap_rss(struct cpu *any, uint64_t *ret_bytes, uint64_t *ret_anon)
{
	return hostproc_rss(any->aspace->pid, ret_bytes, ret_anon);
}

static int trap_account(struct cpu *any, const char *name)
{
	return hostproc_open(any->aspace->pid, name);
}

const struct platform_ops platform_trap = {
    .name = "trap",
    .init = trap_init,
    .probe = trap_probe,
    .aspace_create = trap_aspace_create,
    .aspace_fork = trap_aspace_fork,
    .cpu_create = trap_cpu_create,
    .cpu_start = trap_cpu_start,
    .cpu_put = trap_cpu_put,
    .cpu_kick = trap_cpu_kick,
    .aspace_kill = trap_aspace_kill,
    .watch_fd = trap_watch_fd,
    .watch = trap_watch,
    .aspace_lost = trap_aspace_lost,
    .cpu_regs = trap_regs,
    .cpu_fpstate = trap_fpstate,
    .cpu_save_fpstate = trap_save_fpstate,
    .cpu_set_fpstate = trap_set_fpstate,
    .fpstate_size = fp_size,
    .aspace_map = trap_map,
    .aspace_unmap = trap_unmap,
    .aspace_protect = trap_protect,
    .aspace_advise = trap_advise,
    .aspace_move = trap_move,
    .aspace_sync = trap_sync_range,
    .aspace_mincore = trap_mincore,
    .cpu_sync = trap_cpu_sync,
    .cpu_read = trap_read,
    .cpu_write = trap_write,
    .cpu_cas32 = trap_cas32,
    .aspace_read = trap_aspace_read,
    .aspace_write = trap_aspace_write,
    .cpu_set_fast = trap_set_fast,
    .cpu_give_mask = trap_give_mask,
    .cpu_mask = trap_mask,
    .cpu_close_mask = trap_close_mask,
    .cpu_time = trap_cpu_time,
    .aspace_time = trap_aspace_time,
    .aspace_rss = trap_rss,
    .aspace_account = trap_account,
    .cpu_affinity = trap_affinity,
    .vdso = trap_vdso,
};
