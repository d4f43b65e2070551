/*
 * The template: the process that every stub is forked from. It is made once, from the sentry itself, forgets everything of
 * it, and then is a mother without guest threads.
 *
 * The child runs on a stack of its own in the mmap area, because the sentry's stack may lie where the stub belongs. What
 * the child inherits and must not keep: memory (unmapped by the stub's boot code, which is the first to run without
 * it), descriptors, signal handlers, the session (a terminal's signals are not for stubs), the rseq area, the robust list
 * and the tid address, through which the host would write to guest memory.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/hostvdso.h"
#include "platform/trap/trap.h"

#define CHILD_STACK (64 * 1024)
#define CHILD_FAILED 80 /* exit status: plus the step */

static struct host_vdso host;      /* where it lies in the sentry, and in the template at first */
static struct platform_vdso guest; /* where it lies in every stub */

struct boot {
	int code_fd, ctl_fd, thr_fd;
	uint64_t index;
};

/* The kernel's struct sigaction. */
struct k_sigaction {
	uint64_t handler, flags, restorer, mask;
};

#define SA_RESTORER_ 0x04000000

static bool map_at(uint64_t addr, size_t size, int prot, int flags, int fd, uint64_t off)
{
	return mmap((void *)addr, size, prot, flags | MAP_FIXED, fd, (off_t)off) == (void *)addr;
}

static bool child_map(const struct boot *b)
{
	return map_at(STUB_CODE, STUB_CODE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, b->code_fd, 0) &&
	       map_at(STUB_CONST, STUB_CONST_SIZE, PROT_READ, MAP_PRIVATE, b->code_fd, STUB_CODE_SIZE) &&
	       map_at(STUB_BEAT, STUB_BEAT_SIZE, PROT_READ, MAP_SHARED, b->ctl_fd, BEAT_OFFSET) &&
	       map_at(STUB_CTL, CTL_SIZE, PROT_READ, MAP_SHARED, b->ctl_fd, b->index * CTL_SIZE) &&
	       map_at(STUB_THR, THR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, b->thr_fd, b->index * THR_SIZE);
}

static bool child_fds(const struct boot *b)
{
	struct rlimit fds;

	/* Both lie above the stub's own numbers. */
	if (dup2(b->ctl_fd, FD_CTL) < 0 || dup2(b->thr_fd, FD_THR) < 0)
		return false;
	if (getrlimit(RLIMIT_NOFILE, &fds) == 0) {
		fds.rlim_cur = MIN(fds.rlim_max, (rlim_t)FD_MAP + MAX_SLOTS);
		setrlimit(RLIMIT_NOFILE, &fds);
	}
	return syscall(SYS_close_range, FD_LSN, ~0u, 0) == 0;
}

static bool child_signals(void)
{
	static const int ours[] = {SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, KICK_SIGNAL};
	struct k_sigaction sa = {.handler = (uint64_t)SIG_IGN, .restorer = STUB_ADDR(stub_restorer)};
	uint64_t all = ~0ull;

	if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8))
		return false;
	sa.flags = SA_RESTORER_;
	for (int sig = 1; sig <= 64; sig++)
		if (sig != SIGKILL && sig != SIGSTOP && sig != SIGCHLD && syscall(SYS_rt_sigaction, sig, &sa, NULL, 8))
			return false;
	sa.handler = STUB_ADDR(stub_signal);
	sa.flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESTORER_;
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (syscall(SYS_rt_sigaction, ours[i], &sa, NULL, 8))
			return false;
	return true;
}

static bool child_process(void)
{
	setsid();
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 1))
		return false;
	prctl(PR_SET_NAME, "stub");
	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0); /* forks inherit it */
	syscall(SYS_set_tid_address, NULL);
	syscall(SYS_set_robust_list, NULL, 24);
	if (__rseq_size &&
	    syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, MAX(__rseq_size, 32u), 1, 0x53053053))
		return false;
	return true;
}

static int child_main(void *arg)
{
	const struct boot *b = arg;
	int step = 0;

	if (!child_process())
		step = 1;
	else if (guest.vdso_size && host_vdso_move(&host, STUB_VDSO))
		step = 2;
	else if (!child_map(b))
		step = 3;
	else if (!child_fds(b))
		step = 4;
	else if (!child_signals())
		step = 5;
	else
		((void (*)(void))STUB_ADDR(stub_boot))();
	syscall(SYS_exit_group, CHILD_FAILED + step);
	return 0;
}

/* Everything above GUEST_END that is not the stub, and all below it. */
static void fill_holes(uint64_t *pair)
{
	const uint64_t keep[][2] = {
	    {STUB_CODE, STUB_CODE_SIZE + STUB_CONST_SIZE},  {STUB_BEAT, STUB_BEAT_SIZE}, {STUB_CTL, CTL_SIZE},
	    {STUB_VDSO, guest.vvar_size + guest.vdso_size}, {STUB_THR, THR_SIZE},        {STUB_END, 0},
	};
	uint64_t at = 0;

	for (size_t i = 0; i < ARRAY_SIZE(keep); i++) {
		*pair++ = at;
		*pair++ = keep[i][0] - at;
		at = keep[i][0] + keep[i][1];
	}
	*pair++ = 0;
	*pair = 0;
}

static void fill_constants(char *k)
{
	struct sock_filter *base = (struct sock_filter *)(k + K_PROG_BASE);
	struct sock_filter *thread = (struct sock_filter *)(k + K_PROG_THR);
	struct sock_fprog p;

	p.len = (unsigned short)filter_base(base, (K_PROG_THR - K_PROG_BASE) / sizeof(*base));
	p.filter = (struct sock_filter *)(STUB_CONST + K_PROG_BASE);
	memcpy(k + K_FPROG_BASE, &p, sizeof(p));
	p.len = (unsigned short)filter_thread(thread, (K_STAGE - K_PROG_THR) / sizeof(*thread));
	p.filter = (struct sock_filter *)(STUB_CONST + K_PROG_THR);
	memcpy(k + K_FPROG_THR, &p, sizeof(p));
	*(uint64_t *)(k + K_XMASK) = fp_mask();
	fill_holes((uint64_t *)(k + K_HOLES));
	stage_fill((uint32_t *)(k + K_STAGE));
	fp_initial(k + K_FPINIT);
}

/* The code and constants of all stubs: one file, so that they share its pages. */
static int code_file(void)
{
	size_t size = STUB_CODE_SIZE + STUB_CONST_SIZE;
	int fd = memfd_create("stub", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char *p;

	if (fd < 0)
		return -errno;
	BUG_ON(stub_end - stub_start != STUB_CODE_SIZE);
	if (ftruncate(fd, (off_t)size) ||
	    (p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
		int err = -errno;

		close(fd);
		return err;
	}
	memcpy(p, stub_start, STUB_CODE_SIZE);
	fill_constants(p + STUB_CODE_SIZE);
	munmap(p, size);
	fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	return fd;
}

/*
 * The host's vDSO serves the guest: clock_gettime and friends without leaving the process. System call instructions
 * inside it lie outside the stub's code: they trap as the guest's.
 */
static void find_vdso(void)
{
	host_vdso_find(&host);
	if (host.vdso_size == 0 || host.vvar_size + host.vdso_size > VDSO_MAX)
		return;
	guest.vvar = STUB_VDSO;
	guest.vvar_size = host.vvar_size;
	guest.ehdr = STUB_VDSO + host.vvar_size;
	guest.vdso_size = host.vdso_size;
}

const struct platform_vdso *trap_vdso(void)
{
	return &guest;
}

int template_init(int ctl_fd, int thr_fd, pid_t *ret_pid)
{
	static struct boot b; /* not on this stack: the host may have put that where the stub's pages come to lie */
	char *stack;
	pid_t pid;

	find_vdso();
	b = (struct boot){.ctl_fd = ctl_fd, .thr_fd = thr_fd};
	b.code_fd = code_file();
	if (b.code_fd < 0)
		return b.code_fd;
	stack = mmap(NULL, CHILD_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid = stack == MAP_FAILED ? -1 : clone(child_main, stack + CHILD_STACK, SIGCHLD, &b);
	if (pid < 0) {
		int err = -errno;

		close(b.code_fd);
		return err;
	}
	munmap(stack, CHILD_STACK);
	close(b.code_fd);
	*ret_pid = pid;
	return 0;
}
