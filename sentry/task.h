/*
 * Tasks and thread groups: the guest's threads and processes. Linux's model: a task is a thread; a thread group is a
 * process; pids are those of thread group leaders.
 *
 * The tree (groups, parents and children, process groups, sessions, the pid table) is under one lock, L_PIDTREE.
 * Signal state of a group is under its sighand lock (L_SIGHAND). Everything else in a task is its own: touched by the
 * thread that runs its upcall only.
 *
 * Life: task_create() makes a task that is not yet visible; task_start() publishes it and starts its cpu. A task
 * leaves by task_exit(), always called by itself from the run loop, never from inside a handler: a handler that ends
 * the task sets t->exiting and returns. A dead leader stays as a zombie until it is waited for.
 */
#pragma once

#include <sys/resource.h>

#include "platform/platform.h"
#include "sentry/base/clock.h"
#include "sentry/base/ctx.h"
#include "sentry/base/ref.h"
#include "sentry/base/timer.h"
#include "sentry/signal.h"

struct mm;
struct tty;
struct posix_timer;
struct ipc_namespace;
struct sem_undo_list;

struct session {
	struct ref ref;
	int32_t id;
	struct tty *tty;        /* controlling terminal, a reference, L_CTTY; see fs/dev/tty.h */
	int32_t old_foreground; /* the foreground group when the terminal was hung up, 0 none; L_CTTY */
};

struct pgrp {
	struct ref ref;
	int32_t id;
	struct session *session; /* a reference */
	struct list members;     /* thread_group.pgrp_link, L_PIDTREE */
	struct list link;        /* in the table, L_PIDTREE */
};

/* Resource use in ns and counts, as getrusage(2). */
struct usage {
	uint64_t utime, stime;
	uint64_t minflt, majflt, inblock, oublock, nvcsw, nivcsw, maxrss_kb;
};

struct thread_group {
	struct ref ref;
	int32_t pid;
	struct task *leader; /* L_PIDTREE; not a reference while it lives, kept by the pid table */
	struct list tasks;   /* task.tg_link; changed under L_PIDTREE *and* L_SIGHAND, read under either */
	unsigned task_count; /* live ones, L_PIDTREE */
	bool threaded;       /* it has had more than one task; L_PIDTREE, and constant for its only task */
	_Atomic unsigned
	    live; /* as task_count, but counted down at the begin of an exit: 0 for the last one to leave */
	struct task *exec_task;      /* replaces the whole group and waits until it is alone; L_SIGHAND */
	struct thread_group *parent; /* L_PIDTREE; init (pid 1) has none */
	int32_t parent_tid;          /* the thread of it that made us, or took over; L_PIDTREE */
	struct list children;        /* thread_group.sibling, L_PIDTREE */
	struct list sibling;
	struct pgrp *pgrp; /* a reference, L_PIDTREE */
	struct list pgrp_link;
	bool zombie;   /* all tasks are dead, status not collected; L_PIDTREE */
	bool did_exec; /* setpgid is refused then */
	bool is_subreaper, has_subreaper;
	int exit_signal;              /* sent to the parent at the end; 0 none */
	struct wait_queue child_wait; /* the parent's wait4: woken when a child changes state */
	struct wait_queue exit_wait;  /* pidfd polls, vfork parents */

	/* Group exit: L_SIGHAND. */
	bool group_exit; /* every task must die */
	int exit_code;   /* as wait status */
	bool lost;       /* its host process is gone, and that has been told */

	struct sighand *sighand;   /* a reference; shared by CLONE_SIGHAND */
	struct sigpending pending; /* shared pending; L_SIGHAND */
	/* Job control: L_SIGHAND. */
	bool stopped;        /* group stop complete: every task is parked (what wait4 reports) */
	unsigned stop_count; /* tasks that have yet to park for the stop under way */
	int stop_signal;
	bool stop_reported, continued_reportable;
	unsigned cont_count; /* SIGCONTs seen: a stop decided before one is void */
	int cld_pending;     /* CLD_* that the next task through signal_work() tells the parent; 0 none */
	bool unkillable;     /* a container's init: ignores what it has no handler for, unless forced */

	struct rlimit64 rlimit[RLIM_NLIMITS];  /* L_TASK of lock */
	struct mutex lock;                     /* L_TASK: rlimits, usage, timers */
	struct usage dead_usage;               /* of the whole group, as of the last thread's exit */
	uint64_t earlier_utime, earlier_stime; /* sentry/usage.c: of address spaces left behind; L_TASK */
	struct usage child_usage;              /* of collected children */
	int64_t start_time;                    /* CLOCK_BOOTTIME ns */
	struct itimer *itimers;                /* sentry/timers.c: ITIMER_* and timer_create() */
	struct list posix_timers;
	int oom_score_adj;
	uint32_t personality;
	int32_t pdeath_signal; /* of the leader's prctl; per task in Linux, see task */
};

#define TASK_AFFINITY_WORDS 16 /* 1,024 processors */

enum task_exit_kind { TASK_RUNS, TASK_EXITS, TASK_EXITS_GROUP };

struct task {
	struct ctx ctx; /* first member */
	struct ref ref;
	struct thread_group *tg; /* a reference, constant (but for exec by a non-leader) */
	struct list tg_link;     /* L_PIDTREE and L_SIGHAND */
	struct list pid_link;    /* pid table; L_PIDTREE */
	struct cpu *cpu;         /* replaced by exec; others use it under L_SIGHAND for a kick */
	struct mm *mm;           /* a reference; NULL once dead */

	enum task_exit_kind exiting; /* set by handlers; acted on by the run loop */
	int exit_code;               /* wait status */
	bool dead;                   /* L_PIDTREE */

	/* Signals: see sentry/signal.h. */
	k_sigset_t blocked; /* L_SIGHAND for writers, atomic; the task reads its own freely; see sentry/sigmask.c */
	k_sigset_t saved_blocked; /* to restore after sigsuspend, ppoll... */
	bool restore_blocked;
	/* sentry/sigmask.c */
	k_sigset_t given_mask;     /* what the cpu was given last */
	bool mask_given;           /* it was given one */
	bool mask_open;            /* the platform may change it; L_SIGHAND */
	bool mask_seen;            /* it has been looked at from outside since the task came in; atomic */
	k_sigset_t real_blocked;   /* what was blocked before sigtimedwait opened its set, else 0; L_SIGHAND */
	struct sigpending pending; /* L_SIGHAND */
	struct k_stack altstack;
	bool stop_pending; /* has yet to park for a group stop; L_SIGHAND */
	bool stop_waiting; /* parked in a group stop; L_SIGHAND */
	/*
	 * Run loop: set (seq_cst) as the last thing before the cpu resumes, then ctx_interrupts() is looked at once
	 * more; cleared first in the upcall. Who interrupts the task sets the ctx flag first and kicks the cpu only
	 * if this is set.
	 */
	_Atomic bool in_guest;
	uint64_t fault_trapno, fault_err, fault_cr2; /* of the last CPU_FAULT, for sigcontext */
	struct vfork_done *vfork;                    /* a parent waits for our exec or exit; sentry/clone.c */
	uint64_t earlier_time;                       /* CPU time in ns of cpus given back at exec; L_TASK of tg->lock */

	/* System call in progress. */
	uint64_t syscall_nr; /* orig_rax, or UINT64_MAX outside of a call */
	bool regs_final;     /* the handler has set the registers (sigreturn, execve): do not store the result */
	struct restart_block {
		sysret_t (*fn)(struct task *t, struct restart_block *rb); /* for restart_syscall(2) */
		int64_t deadline;                                         /* absolute, CLOCK_MONOTONIC ns */
		uint64_t arg[5];
	} restart;

	struct ipc_namespace *ipc_ns;   /* a reference */
	struct sem_undo_list *sem_undo; /* a reference; NULL: none yet; sentry/sysvsem.c */

	uaddr_t clear_child_tid;
	uaddr_t robust_list;
	_Atomic bool futex_exited; /* sentry/futex_pi.c: it owns no lock any more */
	uaddr_t rseq;
	uint32_t rseq_len, rseq_sig;

	char comm[16]; /* L_TASK of tg->lock for others */
	int nice, sched_policy, sched_priority, ioprio;
	bool sched_reset_on_fork;
	bool has_affinity; /* affinity was set: bits are the sandbox's processors */
	uint64_t affinity[TASK_AFFINITY_WORDS];
	int32_t pdeath_signal;
	uint64_t timer_slack;
	bool no_setgroups;
	bool nproc_exceeded; /* its user had too many tasks when it took his id: it may not exec */
	bool dumpable_hint;
	uint64_t min_faults;
	int64_t start_time;
	void *strace; /* sentry/trace.c */
	char state;   /* 'R', 'S', 'T', 'Z' for /proc; a hint */
};

static inline struct task *ctx_task(struct ctx *c)
{
	return container_of(c, struct task, ctx);
}

struct task *task_get(struct task *t);
void task_put(struct task *t);

/* The first task, and so all others, is traced (--strace): set before it is made. */
extern bool task_strace;
/* Ids are below this; /proc/sys/kernel/pid_max. */
#define PID_MAX 4194304

/* By thread id (or pid of a leader, zombies included); a reference or NULL. */
struct task *task_find(int32_t tid);
/* The group by pid, zombies included; its reference or NULL. */
struct thread_group *tg_find(int32_t pid);
struct thread_group *tg_get(struct thread_group *tg);
void tg_put(struct thread_group *tg);
extern struct mutex pidtree_lock; /* L_PIDTREE */
/* Calls fn for each live group / each task of one group, under pidtree_lock; stops if fn returns false. */
void tg_for_each(bool (*fn)(struct thread_group *tg, void *arg), void *arg) REQUIRES(L_PIDTREE);
void task_for_each(struct thread_group *tg, bool (*fn)(struct task *t, void *arg), void *arg) REQUIRES(L_PIDTREE);

/* The upcall given to the platform: sentry/run.c. */
enum cpu_action task_event(struct cpu *cpu, const struct cpu_event *ev);
/* platform->watch() says that processes of the host have gone: their tasks end, whatever they wait for. */
void tasks_lost(void) EXCLUDES(L_PIDTREE);
/* What platform->init() is given; the answers about call sites are in sentry/callsite.c. */
bool task_code_range(struct cpu *cpu, uint64_t addr, uint64_t *ret_start, uint64_t *ret_end);
uint64_t task_reserve(struct cpu *cpu, uint64_t near, size_t size);
extern const struct platform_client task_client;
/*
 * Given by syscalls/dispatch.c and trace.c: the handler of nr, or -ENOSYS; and the same with a line about it, for a
 * task with t->strace.
 */
sysret_t syscall_dispatch(struct task *t, uint32_t nr, const uint64_t args[6]);
sysret_t trace_syscall(struct task *t, uint32_t nr, const uint64_t args[6]);
void trace_signal(struct task *t, const siginfo_t *info);
/* A line of t's stack; nothing in it steers a terminal. */
void trace_frame(struct task *t, const char *text);
void trace_exit(struct task *t);

/* sentry/clone.c. The arguments of clone3(2), already checked for size. */
struct clone_args_k {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
	    cgroup;
};
sysret_t task_clone(struct task *t, const struct clone_args_k *args);

/* RLIMIT_NPROC, as exec sees it: -EAGAIN for who has become a user with too many tasks, while there are that many. */
int task_check_nproc(struct task *t) EXCLUDES(L_PIDTREE);
/*
 * sentry/exec.c: exe by exec_open(); argv, envp: guest arrays. inaccessible: filename will not lead to it after
 * close-on-exec, so that a script could not be found by its interpreter. 0 with t->regs_final, or -errno.
 */
struct file;
sysret_t task_exec(struct task *t, struct file *exe, const char *filename, bool inaccessible, uaddr_t argv,
		   uaddr_t envp);

/* The first process: made by the front end. argv and envp are ours. Then task_start(). */
struct init_spec {
	const char *path; /* already looked up in PATH, absolute in the guest or relative to cwd */
	char *const *argv, *const *envp;
	const struct cred *cred;
	struct fs_struct *fs;
	struct fdtable *fdt;
	struct mnt_ns *mnt_ns;
	const struct rlimit64 *rlimits; /* RLIM_NLIMITS, or NULL for the sandbox's defaults */
	int nice;
	k_sigset_t ignored, blocked; /* what the launcher has inherited: nohup(1), shells' background jobs */
	char *ret_interp;            /* PATH_MAX bytes, or NULL: the interpreter that failed, if one did */
};
int task_create_init(const struct init_spec *spec, struct task **ret);
void task_start(struct task *t);
/* Blocks until pid 1 has ended; its wait status. */
int task_wait_init(void);

/*
 * Ends the whole group with a wait status (exit_group, fatal signals): marks, wakes and kicks; the tasks die by
 * themselves.
 */
void tg_kill(struct thread_group *tg, int status) EXCLUDES(L_SIGHAND);
void tg_kill_locked(struct thread_group *tg, int status) REQUIRES(L_SIGHAND);
/* For senders: sets CTX_* in t and, if it runs guest code, kicks it out. t->cpu is stable under the lock. */
void task_interrupt(struct task *t, uint32_t why) REQUIRES(L_SIGHAND);
/* Replaces the calling task's credentials: takes over the reference. Keeps what is derived from them current. */
void task_set_cred(struct task *t, const struct cred *cred);
/* Tells the platform the ids that it may answer by itself. By the task itself, or before it runs. */
void task_update_fast(struct task *t) EXCLUDES(L_PIDTREE);
/* The same for another task, whose cpu the caller holds still (L_TASK of its group's lock). */
void task_update_fast_locked(struct task *t) REQUIRES(L_PIDTREE);
/* mask: TASK_AFFINITY_WORDS. -EINVAL if it leaves no processor. sentry/sched.c */
int task_set_affinity(struct task *target, const uint64_t *mask);
/* getrusage(2) of a live or dead group and all of its threads; ru of one task. */
void tg_usage(struct thread_group *tg, struct usage *ret);
void tg_usage_locked(struct thread_group *tg, struct usage *ret) REQUIRES(L_PIDTREE);
void task_usage(struct task *t, struct usage *ret);
void usage_add(struct usage *to, const struct usage *from);
/* Resident bytes of t's memory now; -ESRCH, -EOPNOTSUPP. The most that was ever seen of its group, in KiB. */
int task_rss(struct task *t, uint64_t *ret_bytes);
int tg_rss(struct thread_group *tg, uint64_t *ret_bytes, uint64_t *ret_anon) REQUIRES(L_PIDTREE);
uint64_t task_peak_rss(struct task *t);
/* The host's account of t's memory, as platform->aspace_account() has it: a descriptor, or -errno. */
int task_account(struct task *t, const char *name);
/* Accounts: t leaves its group; its cpu is about to be replaced by exec; a new group begins in somebody's address space. */
void usage_exit(struct task *t);
void usage_exec(struct task *t);
void usage_share(struct task *child);
/*
 * What other tasks may look at: references taken under tg->lock (L_TASK), under which the task itself replaces these
 * pointers (exec, exit, unshare, setuid). NULL once the task is dead. Results are released with mm_put(),
 * fdtable_put(), fs_struct_put(), cred_put().
 */
struct mm *task_get_mm(struct task *t);
struct fdtable *task_get_fdtable(struct task *t);
struct fs_struct *task_get_fs(struct task *t);
const struct cred *task_get_cred(struct task *t);
/* Its network namespace. NULL: it has exited. */
struct netns *task_get_net(struct task *t);

/* What the end of a task needs of futexes and timers: sentry/futex.c, sentry/timers.c. */
/* FUTEX_WAKE (not private) of one waiter at an address of t's memory. */
void futex_wake_addr(struct task *t, uint64_t addr);
/*
 * The last task of the group leaves, or it executes another program (itimers go on then, POSIX timers do not). No
 * lock held.
 */
void timers_exit(struct thread_group *tg);
void timers_exec(struct thread_group *tg);
/* RLIMIT_CPU was changed. */
void timers_rlimit_cpu(struct thread_group *tg);

/*
 * PTRACE_MODE_ATTACH_REALCREDS of ptrace(2): may t look into target? 0 or -EPERM. /proc asks with its file-system
 * ids: fs.
 */
int task_may_access(struct task *t, struct task *target, bool fs);

/* Ids, limits. */
uint64_t task_rlimit(struct task *t, int resource);
bool task_capable(struct task *t, int cap);
