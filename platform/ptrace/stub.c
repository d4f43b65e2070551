/*
 * The host processes that carry the aspaces, and what they can reach.
 *
 * stub_init() forks the template: a process that holds nothing but a page of code (stub.S), a scratch page and the
 * host's vDSO, at an address chosen at random above GUEST_END. Every aspace is a fork of it, or of another one, made
 * by a clone() that the sentry injects; CLONE_PARENT makes each the sentry's child. Until it is seized a new thread waits
 * in stub.S. Signals are blocked there, but for the kick and those that a guest's instructions cause.
 *
 * The stubs share the sentry's descriptor table (CLONE_FILES), so that a file is mapped without being sent first. What
 * keeps a guest from the sentry's files is first PTRACE_SYSEMU, which lets no system call of a guest happen, and then
 * the stubs' own seccomp filter, written against a guest that got past that: it has a dozen calls on memory, and mmap()
 * takes no fd but FD_SLOTS numbers, which are open on a file that cannot be mapped except while a map is being made.
 */
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/filter.h>
#include <unistd.h>

#include "platform/hostneed.h"
#include "platform/hostvdso.h"
#include "platform/ptrace/internal.h"

#define SLOT_FD_MIN 128
#define SLOT_FD_TRIES 64
#define BASE_TRIES 64
#define RSEQ_SIGNATURE 0x53053053

struct stub_info stub;

static struct {
	int placeholder;
	int first; /* the slots are first .. first + FD_SLOTS - 1 */
	struct mutex lock[FD_SLOTS];
} slots;

/* The filter as the template installs it from its scratch page. */
struct stub_filter {
	struct sock_fprog prog;
	struct sock_filter code[(PAGE_SIZE - sizeof(struct sock_fprog)) / sizeof(struct sock_filter)];
};
_Static_assert(sizeof(struct stub_filter) <= PAGE_SIZE, "must fit the scratch page");

static int slots_open(void)
{
	int first = SLOT_FD_MIN;

	slots.placeholder = eventfd(0, EFD_CLOEXEC);
	if (slots.placeholder < 0)
		return -errno;
	for (int i = 0; i < FD_SLOTS; i++) {
		int fd = fcntl(slots.placeholder, F_DUPFD_CLOEXEC, first + i);

		if (fd < 0)
			return -errno;
		if (fd == first + i)
			continue;
		while (i-- > 0)
			close(first + i);
		first = fd;
		i = 0;
	}
	slots.first = first;
	for (int i = 0; i < FD_SLOTS; i++)
		mutex_init(&slots.lock[i]);
	return 0;
}

int stub_fd_begin(int fd) NO_TSA
{
	int i = 0;

	while (i < FD_SLOTS && !mutex_trylock(&slots.lock[i], L_SLAB))
		i++;
	if (i == FD_SLOTS) {
		i = fd % FD_SLOTS;
		mutex_lock(&slots.lock[i], L_SLAB);
	}
	if (dup3(fd, slots.first + i, O_CLOEXEC) < 0) {
		int err = -errno;

		mutex_unlock(&slots.lock[i], L_SLAB);
		return err;
	}
	return slots.first + i;
}

void stub_fd_end(int slot_fd) NO_TSA
{
	dup3(slots.placeholder, slot_fd, O_CLOEXEC);
	mutex_unlock(&slots.lock[slot_fd - slots.first], L_SLAB);
}

#define A(n, op, ...) SCMP_CMP64(n, SCMP_CMP_##op, __VA_ARGS__)
#define ALLOW(call, count, ...) seccomp_rule_add_exact(f, SCMP_ACT_ALLOW, SCMP_SYS(call), count, ##__VA_ARGS__)

static int filter_rules(scmp_filter_ctx f)
{
	int err = ALLOW(mmap, 3, A(0, LT, GUEST_END), A(1, LT, GUEST_END),
			A(3, MASKED_EQ, MAP_FIXED | MAP_ANONYMOUS, MAP_FIXED | MAP_ANONYMOUS));

	for (int i = 0; i < FD_SLOTS; i++)
		err |= ALLOW(mmap, 4, A(0, LT, GUEST_END), A(1, LT, GUEST_END), A(3, MASKED_EQ, MAP_FIXED, MAP_FIXED),
			     A(4, EQ, slots.first + i));
	err |= ALLOW(munmap, 2, A(0, LT, GUEST_END), A(1, LT, GUEST_END));
	err |= ALLOW(mprotect, 2, A(0, LT, GUEST_END), A(1, LT, GUEST_END));
	err |= ALLOW(madvise, 2, A(0, LT, GUEST_END), A(1, LT, GUEST_END));
	err |= ALLOW(msync, 2, A(0, LT, GUEST_END), A(1, LT, GUEST_END));
	err |= ALLOW(mincore, 3, A(0, LT, GUEST_END), A(1, LT, GUEST_END), A(2, EQ, stub.base + STUB_SCRATCH));
	err |= ALLOW(mremap, 4, A(0, LT, GUEST_END), A(2, LT, GUEST_END), A(3, EQ, MREMAP_MAYMOVE | MREMAP_FIXED),
		     A(4, LT, GUEST_END));
	/* In place: it cannot reach beyond what is free there. */
	err |= ALLOW(mremap, 3, A(0, LT, GUEST_END), A(2, LT, GUEST_END), A(3, EQ, 0));
	err |= ALLOW(clone, 1, A(0, EQ, STUB_CLONE_THREAD));
	err |= ALLOW(clone, 1, A(0, EQ, STUB_CLONE_PROCESS));
	err |= ALLOW(pause, 0);
	err |= ALLOW(restart_syscall, 0);
	err |= ALLOW(exit, 0);
	err |= ALLOW(exit_group, 0);
	/* Calls of the vsyscall page pass by PTRACE_SYSEMU: see event.c. */
	err |= seccomp_rule_add_exact(f, SCMP_ACT_TRAP, SCMP_SYS(gettimeofday), 0);
	err |= seccomp_rule_add_exact(f, SCMP_ACT_TRAP, SCMP_SYS(time), 0);
	err |= seccomp_rule_add_exact(f, SCMP_ACT_TRAP, SCMP_SYS(getcpu), 0);
	return err ? -EINVAL : 0;
}

static int filter_export(scmp_filter_ctx f, struct stub_filter *ret)
{
	int fd = memfd_create("filter", MFD_CLOEXEC);
	ssize_t n = -1;

	if (fd < 0)
		return -errno;
	if (seccomp_export_bpf(f, fd) == 0)
		n = pread(fd, ret->code, sizeof(ret->code), 0);
	close(fd);
	if (n <= 0 || (size_t)n == sizeof(ret->code))
		return -E2BIG;
	ret->prog.len = (unsigned short)((size_t)n / sizeof(ret->code[0]));
	ret->prog.filter = (void *)(stub.base + STUB_SCRATCH + offsetof(struct stub_filter, code));
	return 0;
}

static int filter_make(struct stub_filter *ret)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int err;

	if (!f)
		return -ENOMEM;
	err = filter_rules(f);
	if (!err)
		err = filter_export(f, ret);
	seccomp_release(f);
	return err;
}

/* A place for the platform's range that is free in this process, so that the template finds it free too. */
static int base_choose(void)
{
	uint64_t span = (STUB_TOP - GUEST_END - STUB_SIZE) / PAGE_SIZE;

	for (int tries = 0; tries < BASE_TRIES; tries++) {
		uint64_t r;
		void *p;

		if (getrandom(&r, sizeof(r), 0) != sizeof(r))
			return -errno;
		stub.base = GUEST_END + PAGE_SIZE * (1 + r % (span - 1));
		p = mmap((void *)stub.base, STUB_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			 0);
		if (p == MAP_FAILED)
			continue;
		munmap(p, STUB_SIZE);
		if (p == (void *)stub.base)
			return 0;
	}
	return -ENOMEM;
}

static void signals_reset(void)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t open;

	for (int i = 1; i < NSIG; i++)
		sigaction(i, &dfl, NULL);
	sigfillset(&open);
	sigdelset(&open, KICK_SIGNAL);
	sigdelset(&open, SIGSEGV);
	sigdelset(&open, SIGBUS);
	sigdelset(&open, SIGFPE);
	sigdelset(&open, SIGILL);
	sigdelset(&open, SIGTRAP);
	sigdelset(&open, SIGSYS);
	sigprocmask(SIG_SETMASK, &open, NULL);
}

/* What the kernel keeps pointers to in memory that is about to go. */
static void thread_forget(void)
{
	if (__rseq_size)
		syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, 32, 1 /* UNREGISTER */,
			RSEQ_SIGNATURE);
	syscall(SYS_set_robust_list, NULL, 24);
	syscall(SYS_set_tid_address, NULL);
}

static void template_main(const struct stub_filter *filter, const struct host_vdso *vdso) __noreturn;
static void template_main(const struct stub_filter *filter, const struct host_vdso *vdso)
{
	char *base = (char *)stub.base;
	void *p =
	    mmap(base, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != base || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_DUMPABLE, 1) < 0)
		_exit(1);
	prctl(PR_SET_NAME, "stub");
	signals_reset();
	memcpy(base, ptrace_stub_begin, (size_t)(ptrace_stub_end - ptrace_stub_begin));
	memcpy(base + STUB_SCRATCH, filter, sizeof(*filter));
	if (mprotect(base, PAGE_SIZE, PROT_READ | PROT_EXEC) < 0)
		_exit(1);
	thread_forget();
	if (vdso->vdso_size && host_vdso_move(vdso, stub.base + STUB_VVAR) < 0)
		syscall(SYS_exit_group, 1);
	register uint64_t above __asm__("r12") = stub.base + STUB_SIZE;
	register uint64_t above_size __asm__("r13") = STUB_TOP - above;
	register uint64_t program __asm__("r14") = stub.base + STUB_SCRATCH;

	__asm__ volatile("jmp *%0"
			 :
			 : "a"(STUB_ADDR(ptrace_stub_boot)), "D"(0), "S"(base), "r"(above), "r"(above_size),
			   "r"(program)
			 : "memory");
	__builtin_unreachable();
}

static void vdso_place(struct host_vdso *host)
{
	host_vdso_find(host);
	if (host->vvar_size + host->vdso_size > STUB_SIZE - STUB_VVAR)
		*host = (struct host_vdso){0};
	if (!host->vdso_size)
		return;
	stub.vdso.vvar = stub.base + STUB_VVAR;
	stub.vdso.vvar_size = host->vvar_size;
	stub.vdso.ehdr = stub.vdso.vvar + host->vvar_size;
	stub.vdso.vdso_size = host->vdso_size;
}

int stub_init(const struct platform_config *config __unused)
{
	static struct stub_filter filter;
	struct sigaction child = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP}; /* only ends matter to watch.c */
	struct host_vdso vdso;
	int err;
	long pid;

	if ((err = watch_init()) || (err = slots_open()) || (err = base_choose()) || (err = filter_make(&filter)))
		return err;
	sigaction(SIGCHLD, &child, NULL);
	vdso_place(&vdso);
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		return -errno;
	if (pid == 0)
		template_main(&filter, &vdso);
	stub.template_pid = (pid_t)pid;
	return hostneed_reach(stub.template_pid);
}

void stub_discard(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) > 0)
		;
}

int stub_probe(const char **ret_why)
{
	int status, err = hostneed_check("ptrace", ret_why);
	pid_t pid, parent = getpid();

	if (err)
		return err;
	*ret_why = "ptrace works";
	pid = fork();
	if (pid < 0) {
		*ret_why = "no process can be made";
		return -errno;
	}
	if (pid == 0) {
		/* We may be killed before it is seized. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == parent)
			pause();
		_exit(0);
	}
	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL) < 0) {
		err = -errno;
		*ret_why = "ptrace is refused (Yama's kernel.yama.ptrace_scope, or a seccomp filter around us)";
	} else if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0 || waitpid(pid, &status, __WALL) != pid ||
		   ptrace(PTRACE_SYSEMU, pid, 0, 0) < 0) {
		err = -errno;
		*ret_why = "this kernel has no PTRACE_SYSEMU";
	}
	stub_discard(pid);
	return err;
}
