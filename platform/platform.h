/*
 * What a platform gives: address spaces and execution, nothing else.
 *
 * The sentry keeps the VMA tree and is the authority on what is mapped where; the platform owns pages and
 * copy-on-write. An `aspace` is one guest address space (on trap and ptrace: one host process, the stub). A `cpu` is one
 * guest thread's vehicle in an aspace (there: one host thread of the stub).
 *
 * Execution is by upcall. cpu_start() lets a cpu run guest code; when a system call, a fault or a kick stops it, the
 * platform calls client->event(cpu, ev) on a thread *of its own choosing* and resumes the cpu, or stops it, as the
 * upcall says. At most one upcall per cpu runs at a time. An upcall may block for as long as it likes (park_hook in
 * sentry/base/wait.h tells the platform's thread that it is about to sleep). The task is found by cpu_client(); nothing
 * may be kept in thread-local variables between upcalls.
 *
 * Memory operations are done *through a stopped cpu*: one whose upcall is running, or that was created and not yet
 * started. They may be queued and executed when the cpu resumes; so a map that fails late (no memory on the host) is
 * reported as a CPU_FAULT event with signo SIGKILL. cpu_sync() executes what is queued and tells its result. cpu_read()
 * and cpu_write() see the effect of what was queued on the same cpu. aspace_unmap() and aspace_move() of an aspace that
 * has more than one cpu are always synchronous, because the address may be given out again by another thread.
 *
 * Errors: 0 or -errno of the host call. Addresses and sizes of memory operations are page aligned and lie in
 * [GUEST_MIN, GUEST_END): the caller (sentry/mm.c) has checked them; the platform checks once more what could hurt it.
 */
#pragma once

#include "sentry/base/types.h"

struct aspace;
struct cpu;

/* Guest addresses. What lies above GUEST_END belongs to the platform; the lowest 64 KiB are never mapped. */
#define GUEST_MIN 0x10000ul
#define GUEST_END 0x7fff00000000ul

/* The registers of a guest thread, in the order of Linux's struct user_regs_struct (PTRACE_GETREGS). */
struct k_user_regs {
	uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags,
	    rsp, ss, fs_base, gs_base, ds, es, fs, gs;
};
_Static_assert(sizeof(struct k_user_regs) == 27 * 8, "ABI");

enum cpu_event_kind {
	CPU_SYSCALL, /* regs.orig_rax is the number, rip lies behind the instruction, rax is -ENOSYS */
	CPU_FAULT,   /* an instruction of the guest caused a host signal: see the fields of cpu_event */
	CPU_KICK,    /* cpu_kick() was called and nothing else happened */
	CPU_LOST,    /* the host has taken the stub away, or aspace_kill(): the process must die of SIGKILL */
};

struct cpu_event {
	enum cpu_event_kind kind;
	int signo;       /* CPU_FAULT: SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP; SIGKILL if queued memory work failed */
	int code;        /* si_code as the host gave it */
	uint64_t addr;   /* si_addr */
	uint32_t trapno; /* for the guest's sigcontext */
	uint32_t err;
};

enum platform_loss {
	LOSS_NONE,
	LOSS_ASPACE, /* one or more: see aspace_lost() */
	LOSS_ALL,    /* no aspace can be made any more */
};

enum cpu_action {
	CPU_RESUME, /* continue with cpu_regs() as they are now */
	CPU_STOP,   /* leave the cpu stopped: somebody else will cpu_start() or cpu_put() it (it may be done already) */
};

struct platform_client {
	enum cpu_action (*event)(struct cpu *cpu, const struct cpu_event *ev);
	/*
	 * Both optional, for platforms that rewrite system call instructions (trap); called on a stopped cpu whose upcall is not
	 * running, with no lock held. code_range: true if addr lies in a private mapping of a file that is readable and
	 * executable but not writable, and must not be seen unchanged by anybody (a tracer): its range. reserve: takes `size`
	 * bytes of address space less than 1 GiB from addr out of use, as a PROT_NONE private anonymous mapping (its map may
	 * be queued on the cpu); 0 if there is no room.
	 */
	bool (*code_range)(struct cpu *cpu, uint64_t addr, uint64_t *ret_start, uint64_t *ret_end);
	uint64_t (*reserve)(struct cpu *cpu, uint64_t near, size_t size);
};

/* What the platform may answer by itself without an event. Any thread may change it at any time. */
struct cpu_fast {
	bool enabled; /* false: every call is an event (guest seccomp filter, ptrace, --strace) */
	int32_t pid, tid, ppid;
	uint32_t uid, euid, gid, egid;
};

/* The host's vDSO as the guest sees it: mapped by the platform in every aspace above GUEST_END; size 0 if there is none. */
struct platform_vdso {
	uint64_t ehdr; /* for AT_SYSINFO_EHDR */
	uint64_t vvar;
	size_t vvar_size, vdso_size;
};

/* How a platform is started. Fds stay the caller's unless said otherwise. */
struct platform_config {
	const struct platform_client *client;
	unsigned max_aspaces; /* --pids */
	bool no_patch;        /* trap: leave every call site trapping */
	bool no_spin;         /* trap: never spin */
};

struct platform_ops {
	const char *name;

	/*
	 * Once, single-threaded, in the sentry process after it has entered its namespaces and before it installs its
	 * own filter. Later calls may make threads.
	 */
	int (*init)(const struct platform_config *config);
	/* 0 if this host can run the platform, else -errno; *ret_why is a static text for `sandbox doctor`. */
	int (*probe)(const char **ret_why);

	/* A fresh aspace, empty but for the platform's own range and the vDSO, with its first cpu, stopped. */
	int (*aspace_create)(struct cpu **ret_cpu);
	/*
	 * A copy of the aspace of `parent` (a stopped cpu), copy-on-write, with one cpu, stopped, whose registers and
	 * FP state are copies of the parent's. What is queued on parent is executed first.
	 */
	int (*aspace_fork)(struct cpu *parent, struct cpu **ret_cpu);
	/* A further cpu in the aspace of `from` (stopped), stopped, with copies of its registers and FP state. */
	int (*cpu_create)(struct cpu *from, struct cpu **ret_cpu);
	/* Lets a stopped cpu run. Not for the cpu whose upcall is running: that returns CPU_RESUME. */
	void (*cpu_start)(struct cpu *cpu);
	/*
	 * Gives back a cpu that is stopped, or whose upcall is running and will return CPU_STOP. The last put of an
	 * aspace's cpus destroys the aspace. No event comes after it.
	 */
	void (*cpu_put)(struct cpu *cpu);
	/*
	 * From any thread holding the cpu alive: the cpu leaves guest code soon; if it was going to resume, it comes
	 * back with CPU_KICK at once. Never lost, never more than one event per kick.
	 */
	void (*cpu_kick)(struct cpu *cpu);
	/* Kills the whole aspace at once from any thread (SIGKILL, exit_group): each running cpu then gets CPU_LOST. */
	void (*aspace_kill)(struct cpu *any);

	/*
	 * May be absent. Somebody else may kill the platform's processes, and a cpu whose upcall sleeps does not notice. watch_fd: a descriptor that can be
	 * read when one has gone; then watch() tells what that means, on one thread of the caller's.
	 */
	int (*watch_fd)(void);
	enum platform_loss (*watch)(void);
	/* Whether the cpu's aspace has been taken away, and by somebody else than itself and the platform. With any locks held. */
	bool (*aspace_lost)(struct cpu *any, bool *ret_outside);

	/* Registers: a private copy, valid and writable while the cpu is stopped. cs, ss, ds.. are ignored on resume. */
	struct k_user_regs *(*cpu_regs)(struct cpu *cpu);
	/*
	 * The XSAVE image (standard, not compacted format) of a stopped cpu, *ret_size bytes. A guest thread of the same
	 * aspace may scribble over it at any time: copy, do not interpret. cpu_set_fpstate() takes an image that may be
	 * hostile (rt_sigreturn): -EINVAL if the processor would refuse it. size 0 means the initial state.
	 */
	const void *(*cpu_fpstate)(struct cpu *cpu, size_t *ret_size);
	/*
	 * May be absent. Writes the image to guest memory (64-byte aligned, a whole image that the caller has just written, with
	 * zeros in the header) before the cpu resumes, without a copy on the way. Then cpu_set_fpstate() says what it resumes
	 * with. -EOPNOTSUPP: not now; ask cpu_fpstate(). addr 0 asks whether it would.
	 */
	int (*cpu_save_fpstate)(struct cpu *cpu, uint64_t addr);
	int (*cpu_set_fpstate)(struct cpu *cpu, const void *image, size_t size);
	/* The size of a full XSAVE image and the XCR0 mask here: for AT_MINSIGSTKSZ and the FP part of signal frames. */
	size_t (*fpstate_size)(uint64_t *ret_xcr0);

	/* prot: PROT_*. flags: MAP_SHARED or MAP_PRIVATE, MAP_NORESERVE. Always fixed: replaces what is there. fd -1:
	 * anonymous. The fd may be closed by the caller as soon as this returns. */
	int (*aspace_map)(struct cpu *cpu, uint64_t addr, size_t size, int prot, int flags, int fd, uint64_t off);
	int (*aspace_unmap)(struct cpu *cpu, uint64_t addr, size_t size);
	int (*aspace_protect)(struct cpu *cpu, uint64_t addr, size_t size, int prot);
	/* Only the advice that drops, prefetches or tunes: DONTNEED, FREE, WILLNEED, NORMAL, RANDOM, SEQUENTIAL,
	 * HUGEPAGE, NOHUGEPAGE, COLD, PAGEOUT, POPULATE_READ, POPULATE_WRITE. It is a hint: if it was queued and fails late,
	 * nothing is reported; cpu_sync() tells. */
	int (*aspace_advise)(struct cpu *cpu, uint64_t addr, size_t size, int advice);
	/* mremap(2) with MREMAP_MAYMOVE | MREMAP_FIXED; old_size 0 duplicates a shared mapping. new_addr == old: it grows in
	 * place (flags 0), where the caller knows that there is room. */
	int (*aspace_move)(struct cpu *cpu, uint64_t old, size_t old_size, uint64_t new_addr, size_t new_size);
	int (*aspace_sync)(struct cpu *cpu, uint64_t addr, size_t size, int flags); /* msync(2) */
	int (*aspace_mincore)(struct cpu *cpu, uint64_t addr, size_t size, unsigned char *vec);
	/* Executes what is queued. 0 or the first error. */
	int (*cpu_sync)(struct cpu *cpu);

	/*
	 * Guest memory of the cpu's own aspace, through the guest's protections; what was copied before a fault, or
	 * -EFAULT if nothing was. Any range is allowed: what lies outside the guest's gives -EFAULT. cpu_write may
	 * be queued where the platform can still turn a fault into -EFAULT of the running call.
	 */
	ssize_t (*cpu_read)(struct cpu *cpu, void *dst, uint64_t addr, size_t size);
	ssize_t (*cpu_write)(struct cpu *cpu, uint64_t addr, const void *src, size_t size);
	/* Atomic on an aligned word: if it equals *expected it becomes desired; *expected is what was there. */
	int (*cpu_cas32)(struct cpu *cpu, uint64_t addr, uint32_t *expected, uint32_t desired);
	/* Memory of another process: `any` is a cpu of its aspace that is kept alive, running or not. */
	ssize_t (*aspace_read)(struct cpu *any, void *dst, uint64_t addr, size_t size);
	ssize_t (*aspace_write)(struct cpu *any, uint64_t addr, const void *src, size_t size);

	void (*cpu_set_fast)(struct cpu *cpu, const struct cpu_fast *fast);
	/*
	 * May be absent. The signal mask of the thread that the cpu runs. While it is open the platform may answer rt_sigprocmask(2) by itself and
	 * change it. give: on a cpu that is stopped, or whose upcall runs: what it is from now on. cpu_mask: what it has become; the guest may forge it. From
	 * any thread: close: no change without an event from now on. A change that is on its way may be seen by cpu_mask() and then not be made; its call is an
	 * event in that case.
	 */
	void (*cpu_give_mask)(struct cpu *cpu, uint64_t mask, bool open);
	uint64_t (*cpu_mask)(struct cpu *cpu);
	void (*cpu_close_mask)(struct cpu *cpu);
	/*
	 * CPU time in nanoseconds: of this cpu since it was given out, and of everything the aspace ever ran. From any
	 * thread that keeps the cpu alive, whether it runs or not. -EOPNOTSUPP: the host does not tell a thread's time.
	 */
	int (*cpu_time)(struct cpu *cpu, uint64_t *ret_ns);
	int (*aspace_time)(struct cpu *any, uint64_t *ret_user, uint64_t *ret_sys);
	/* Resident bytes of the aspace, and those of them that belong to no file; likewise. */
	int (*aspace_rss)(struct cpu *any, uint64_t *ret_bytes, uint64_t *ret_anon);
	/*
	 * May be absent. The host's own account of the aspace by mapping or page, for platform/hostproc.h: a descriptor of the file of that
	 * name, the caller's; likewise. -EOPNOTSUPP.
	 */
	int (*aspace_account)(struct cpu *any, const char *name);
	/* sched_setaffinity(2) of the host thread; mask of `size` bytes. */
	int (*cpu_affinity)(struct cpu *cpu, const void *mask, size_t size);
	const struct platform_vdso *(*vdso)(void);
};

/*
 * The host ends an address space while its parent goes on. Who needs to see its pages gone (those shared with another) calls aspaces_settle(),
 * which waits until about all ends that had begun are over, for a second at most; who has one go on in the background tells both moments.
 */
void aspace_end_begin(void);
void aspace_end_over(void);
void aspaces_settle(void);

/* Each cpu has one pointer of its owner's: set before it is started, read by the upcall. */
void *cpu_client(const struct cpu *cpu);
void cpu_set_client(struct cpu *cpu, void *client);
/* True if both are cpus of one aspace. */
bool cpu_same_aspace(const struct cpu *a, const struct cpu *b);

extern const struct platform_ops platform_trap, platform_ptrace, platform_fake;

/* The one in use: set once at start by platform_select() and constant from then on. */
extern const struct platform_ops *platform;

/*
 * name: "auto", "trap" or "ptrace". 0, -EINVAL for an unknown name, or the last probe's error with *ret_why: what each said, valid until the next
 * call.
 */
int platform_select(const char *name, const char **ret_why);
