/*
 * The ptrace platform's own structures. See tracer.c for the life of a cpu and stub.c for the address spaces.
 *
 * Who may touch what: a cpu's registers and its host thread belong to its tracer, the sentry thread that runs
 * tracer_main() for it; other threads reach it by tracer_call() while it is stopped. Flags that are read from other
 * threads without the lock are _Atomic.
 */
#pragma once

#include <sched.h>
#include <signal.h>

#include "platform/cpu.h"
#include "platform/platform.h"
#include "sentry/base/list.h"
#include "sentry/base/lock.h"
#include "sentry/base/ref.h"

/* The platform's own range in each aspace: `stub.base` is chosen at start between GUEST_END and this. */
#define STUB_TOP 0x7ffffffff000ul
/* code page, scratch page, gap, vvar and vDSO */
#define STUB_SCRATCH PAGE_SIZE
#define STUB_VVAR (16 * PAGE_SIZE)
#define STUB_SIZE (128 * PAGE_SIZE)

/* The only two clones. tid and registers are the sentry's matter. */
#define STUB_CLONE_THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)
#define STUB_CLONE_PROCESS (CLONE_FILES | CLONE_PARENT | SIGCHLD)

/* Blocked in no stub, used for nothing else there. */
#define KICK_SIGNAL SIGUSR1

/* Fds of the sentry that the stubs, which share its table, may map: see stub.c. */
#define FD_SLOTS 8

struct pcpu;

struct aspace {
	struct ref ref;         /* one for each cpu whose tracer exists */
	pid_t pid;              /* the host process; constant */
	_Atomic bool dead;      /* aspace_kill(), or lost */
	_Atomic bool lost;      /* the process has ended, and not by us */
	_Atomic bool outside;   /* and not by what it did */
	struct list link;       /* watch.c */
	_Atomic unsigned given; /* cpus that the client has */
	_Atomic bool ending;    /* it has none any more */
	struct mutex lock;
	struct list cpus;      /* L_ASPACE: pcpu.link, those in use */
	struct list parked;    /* L_ASPACE: pcpu.link, given back, their host thread kept */
	unsigned users;        /* L_ASPACE: length of cpus */
	unsigned parked_count; /* L_ASPACE */
	struct mutex scratch;  /* held while the stub's scratch page is in use */
};

struct tracer_request {
	long (*fn)(struct pcpu *c, void *arg);
	void *arg;
	long result;
	bool done;
};

struct pcpu {
	struct cpu cpu;
	struct list link;      /* in aspace.cpus or .parked; L_ASPACE */
	pid_t tid;             /* the host thread */
	uint64_t time_base;    /* CPU time in ns that it had used when it was parked */
	bool leader;           /* it is the host process's first thread */
	bool seized, attached; /* tracer only: it was our tracee once; it is */
	bool lost;             /* tracer only: the host thread is gone */
	bool killed;           /* tracer only: by SIGKILL */
	_Atomic bool kicked;   /* cpu_kick() since the last CPU_KICK */
	_Atomic bool in_guest; /* a kick must interrupt the host thread */
	struct k_user_regs regs;
	/* place.c: place.lock, or before the tracer exists */
	struct list place_link;
	cpu_set_t mask; /* if limited: the processors that the guest chose */
	int64_t running_since;
	pid_t tracer_tid;
	int home; /* processor; -1: none yet */
	bool bound, limited, counted;
	void *fpstate; /* tracer only: buffer of xstate_size(), allocated at first use */

	struct mutex lock;
	pthread_cond_t wake;            /* for the tracer: one of the following has changed */
	pthread_cond_t answered;        /* for those who wait for a request's end */
	struct tracer_request *request; /* lock */
	bool start, put, reuse, die;    /* lock */
};

/* stub.c */
struct stub_info {
	uint64_t base;
	struct platform_vdso vdso;
	pid_t template_pid;
};
extern struct stub_info stub;
/* The address of a symbol of stub.S in every aspace. */
#define STUB_ADDR(sym) (stub.base + (uint64_t)((sym)-ptrace_stub_begin))
extern const char ptrace_stub_begin[], ptrace_stub_boot[], ptrace_stub_wait[], ptrace_stub_call[], ptrace_stub_clone[],
    ptrace_stub_cas[], ptrace_stub_end[];
int stub_init(const struct platform_config *config);
int stub_probe(const char **ret_why);
/* Puts fd where the stubs' filter lets it be mapped; returns its number there, for stub_fd_end(). Waits for a free place. */
int stub_fd_begin(int fd);
void stub_fd_end(int slot_fd);
/* Ends a process that got no tracer. */
void stub_discard(pid_t pid);

/* xstate.c */
size_t xstate_size(uint64_t *ret_xcr0);
const void *xstate_get(struct pcpu *c, size_t *ret_size);
int xstate_set(struct pcpu *c, const void *image, size_t size);

/* place.c */
void place_init(void);
/* The tracer is about to run guest code, or to sleep or stop. */
void place_running(struct pcpu *c);
void place_idle(struct pcpu *c);
/* sched_setaffinity(2) of the guest thread. */
int place_limit(struct pcpu *c, const void *mask, size_t size);
/* A new cpu starts at its parent's (NULL: none) home; bound: its host thread has inherited the binding. */
void place_inherit(struct pcpu *c, const struct pcpu *parent, bool bound);

/* tracer.c: all on the cpu's tracer thread but tracer_start and tracer_call */
extern const struct platform_client *ptrace_client;
/* A cpu for the host thread tid, cloned from `from` (NULL: the template), which waits in the stub, and the thread that
 * traces it. Takes a reference of a. */
int tracer_start(struct aspace *a, pid_t tid, bool leader, const struct pcpu *from, struct pcpu **ret);
/* The cpu whose tracer the calling thread is; NULL if none. */
struct pcpu *tracer_self(void);
/* Runs fn on c's tracer thread and returns its result. c is stopped, or this is its tracer. */
long tracer_call(struct pcpu *c, long (*fn)(struct pcpu *c, void *arg), void *arg);
/* Wakes the tracer after a flag under c->lock has been set by fn of the caller. */
void tracer_signal(struct pcpu *c, bool *flag);
/* The client has no use for c any more. */
void tracer_put(struct pcpu *c);
struct aspace *aspace_new(pid_t pid);
void aspace_put(struct aspace *a);

/* watch.c */
/* Before there are threads. */
int watch_init(void);
void ptrace_watch_add(struct aspace *a);
void ptrace_watch_remove(struct aspace *a);
int ptrace_watch_fd(void);
enum platform_loss ptrace_watch(void);
bool ptrace_aspace_lost(struct cpu *any, bool *ret_outside);

/* inject.c */
enum inject_end { INJECT_DONE, INJECT_FAULT, INJECT_LOST };
/* Waits for the next stop of c's thread; false if it is gone. */
bool tracee_wait(struct pcpu *c, int *ret_status);
bool tracee_set_regs(struct pcpu *c, const struct k_user_regs *regs);
/* Runs the stub's code at `entry` with regs (rip is set here) until its int3; regs are those at the end. */
enum inject_end inject_run(struct pcpu *c, uint64_t entry, struct k_user_regs *regs);
/* One system call in c's host thread: its result, -ESRCH if the thread is gone. */
long inject_syscall(struct pcpu *c, const char *entry, long nr, const uint64_t args[6]);
#define inject(c, nr, ...) inject_syscall(c, ptrace_stub_call, nr, (const uint64_t[6]){__VA_ARGS__})

/* event.c: fill ev from a stop whose registers are in c->regs; false if the guest has nothing to do with it */
bool syscall_event(struct pcpu *c, struct cpu_event *ev);
bool fault_event(struct pcpu *c, struct cpu_event *ev);

/* memory.c */
int ptrace_map(struct cpu *cpu, uint64_t addr, size_t size, int prot, int flags, int fd, uint64_t off);
int ptrace_unmap(struct cpu *cpu, uint64_t addr, size_t size);
int ptrace_protect(struct cpu *cpu, uint64_t addr, size_t size, int prot);
int ptrace_advise(struct cpu *cpu, uint64_t addr, size_t size, int advice);
int ptrace_move(struct cpu *cpu, uint64_t old, size_t old_size, uint64_t new_addr, size_t new_size);
int ptrace_sync(struct cpu *cpu, uint64_t addr, size_t size, int flags);
int ptrace_mincore(struct cpu *cpu, uint64_t addr, size_t size, unsigned char *vec);
ssize_t ptrace_read(struct cpu *cpu, void *dst, uint64_t addr, size_t size);
ssize_t ptrace_write(struct cpu *cpu, uint64_t addr, const void *src, size_t size);
int ptrace_cas32(struct cpu *cpu, uint64_t addr, uint32_t *expected, uint32_t desired);
