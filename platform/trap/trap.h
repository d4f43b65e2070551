/*
 * Inside the trap platform: an aspace is a stub process, a cpu is one of its guest threads with the listener through
 * which it reports. See docs/platform-trap.md for the whole.
 *
 * Locks: aspace.lock (L_ASPACE) guards an aspace's slots, its parked cpus and its mother. What belongs to a cpu is used
 * by whoever owns the stopped cpu (its upcall, or its creator); only `state` is touched by others.
 */
#pragma once

#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>

#include "platform/cpu.h"
#include "platform/trap/layout.h"
#include "sentry/base/lock.h"

#define NOWHERE ~0u
#define ASPACES_DEFAULT 1024
#define PARKED_MAX 8 /* threads that an aspace keeps for reuse */

struct aspace {
	unsigned index; /* constant; place in the two files */
	pid_t pid;      /* constant until the aspace is destroyed; not reaped before. Also the mother's tid */
	int pidfd;
	unsigned mother_at; /* lock of the parent or its own: the processor that she is bound to, or NOWHERE */
	char *ctl, *thr;    /* our views of its control pages and thread areas */
	struct mutex lock;
	unsigned cpus;                  /* L_ASPACE: not parked */
	unsigned top_slot;              /* L_ASPACE: highest slot ever used */
	uint64_t slots[MAX_SLOTS / 64]; /* L_ASPACE: in use, parked ones included */
	struct trap_cpu *parked;        /* L_ASPACE */
	unsigned parked_count;          /* L_ASPACE */
	struct patches *patches;        /* L_ASPACE; NULL until there are any */
	_Atomic bool killed;            /* by us */
	_Atomic bool lost, outside;     /* its process has ended, and not by what it did or we */
	struct aspace *next;            /* in the free list or the pool */
};

/* trap_cpu.state */
enum {
	CPU_RUNNING = 1, /* guest code may be running: a kick needs a signal */
	CPU_KICKED = 2,  /* somebody wants an event */
	CPU_HELD =
	    8, /* for a moment nobody may claim the event: it is being answered, or the spinner looks at the door */
	CPU_ATTACHED = 16, /* a worker waits for reports */
	CPU_SIGNAL =
	    4, /* a signal has been sent and has not been reported yet: never two, their frames would pile up */
};

struct trap_cpu {
	struct cpu cpu;
	unsigned slot;
	int listener;
	pid_t tid;             /* as the sentry sees it; 0 before its first report */
	uint64_t notification; /* the report that has not been answered */
	struct k_user_regs regs;
	uint64_t fs_base, gs_base;     /* what the host thread has */
	uint32_t frame;                /* offset of the ucontext in the thread's area */
	uint32_t fpstate;              /* offset of the XSAVE image there; 0: the initial state */
	bool fp_live;                  /* the thread has it in its registers; fpstate is a copy, or 0 */
	uint64_t trapped;              /* return address of a call that trapped, to be counted; 0 none */
	uint64_t raw_rip, shown_rip;   /* of the last event: in a trampoline, and what the guest sees */
	bool list_failed;              /* what the guest had queued failed when it was run early */
	unsigned queued;               /* commands in the list */
	uint64_t queued_lo, queued_hi; /* addresses they may touch */
	int map_fd;                    /* ours, to be handed over with the list; -1 none */
	uint64_t map_dev, map_ino;
	int map_flags;
	uint64_t staged; /* stage.c */
	uint32_t staged_size;
	bool door;          /* the event came by the door: there is no report to answer. The event's owner's */
	unsigned hot;       /* fast calls in quick succession; the worker's */
	uint64_t answered;  /* time stamp of the last answer */
	cpu_set_t affinity; /* of the guest's choice, if it has_affinity */
	bool has_affinity;
	bool turned_back;    /* a resume was undone by a kick: regs and FP state are still what they were */
	bool kicked_inside;  /* a kick came to the stub's code: a report is due */
	bool own_list;       /* list_run() waits for its result: the event stays with it */
	uint64_t nested;     /* a report from inside the stub's code */
	int64_t list_result; /* of the last list that was reported */
	uint64_t list_limit; /* how long the list that is queued may take, in ns; until when, while list_run() waits */
	uint64_t list_until;
	uint64_t kicked_at; /* when the stub's code was first kicked after the answer of the time stamp kicked_answer */
	uint64_t kicked_answer;
	_Atomic uint32_t state;
	bool set_off;                 /* on its way to a worker: resumed already, or */
	struct cpu_event start_event; /* with an event that prevented that */
	struct trap_cpu *next;        /* parked, in the pool, or started and waiting for a worker */
};

/* What wait_report() brings. */
enum report {
	REPORTED_EVENT, /* registers and the event are filled in */
	REPORTED_LIST,  /* a list has ended with list_result */
	REPORTED_LOST,
	REPORTED_DETACHED, /* another thread has taken over the cpu, which may be gone */
};

static inline struct trap_cpu *to_trap(struct cpu *c)
{
	return container_of(c, struct trap_cpu, cpu);
}

static inline char *cpu_ctl(const struct trap_cpu *c)
{
	return c->cpu.aspace->ctl + (size_t)c->slot * CTL_PAGE;
}

static inline char *cpu_thr(const struct trap_cpu *c)
{
	return c->cpu.aspace->thr + (size_t)c->slot * SLOT_SIZE;
}

static inline uint64_t slot_address(unsigned slot)
{
	return STUB_THR + (uint64_t)slot * SLOT_SIZE;
}

static inline uint64_t ctl_address(unsigned slot)
{
	return STUB_CTL + (uint64_t)slot * CTL_PAGE;
}

/* stub.S; STUB_ADDR() is where a label lies in every stub. */
extern const char stub_start[], stub_end[], stub_boot[], stub_signal[], stub_restorer[];
extern const char stub_report[], stub_answered[], stub_list[], stub_resume[], stub_resume_end[];
extern const char stub_list_test[], stub_list_branch[], stub_cas[], stub_cas_fault[];
extern const char stub_stage[], stub_stage_fault[], stub_resume_sp[], stub_list_failed[], stub_door_answered[];
extern const char stub_store1[], stub_store8[], stub_xsave[], stub_store_fault[], stub_resume_fast[], stub_door[];
extern const char stub_fast[], stub_fast_any[], stub_fast_pid[], stub_fast_tid[], stub_fast_ppid[], stub_fast_uid[],
    stub_fast_euid[];
extern const char stub_fast_gid[], stub_fast_egid[], stub_fast_event[];
extern const char stub_mask[], stub_mask_load[], stub_mask_store[], stub_mask_commit[], stub_mask_undo[];
extern const char stub_mask_return[], stub_mask_end[];
#define STUB_ADDR(label) (STUB_CODE + (uint64_t)((label)-stub_start))

/* filter.c: the two programs; their lengths in instructions, at most `max`. */
struct sock_filter;
unsigned filter_base(struct sock_filter *prog, unsigned max);
unsigned filter_thread(struct sock_filter *prog, unsigned max);

/* fp.c */
void fp_init(void);
size_t fp_size(uint64_t *ret_xcr0);
uint64_t fp_mask(void);
/* An image of the initial state, as far as MXCSR and the header go: 576 bytes. */
void fp_initial(void *image);
const void *trap_fpstate(struct cpu *cpu, size_t *ret_size);
int trap_save_fpstate(struct cpu *cpu, uint64_t addr);
int trap_set_fpstate(struct cpu *cpu, const void *image, size_t size);

/* frame.c: signal frames in the thread area. */
/* Takes over the frame at stub address `va`; false if it does not lie in the cpu's own signal stack. */
bool frame_take(struct trap_cpu *c, uint64_t va);
/* Offsets of the frame at `va`, without taking it; 0 if it is not one. */
uint32_t frame_offset(const struct trap_cpu *c, uint64_t va);
void frame_read(struct trap_cpu *c);
/* Returns how the stub is to resume: ANSWER_RESUME, _IRET or _FAST. */
uint64_t frame_write(struct trap_cpu *c);
/* Writes a frame for a new thread with c's registers and the given FP image (NULL: initial). */
void frame_create(struct trap_cpu *c, const void *fp, size_t fp_bytes);
uint64_t frame_reg(const struct trap_cpu *c, uint32_t frame, int reg);
void frame_set_reg(const struct trap_cpu *c, uint32_t frame, int reg, uint64_t v);
/* Of a SIGSYS frame: whether the call was made through a 32-bit entry. */
bool frame_is_32bit(const struct trap_cpu *c);
void frame_event(const struct trap_cpu *c, int signo, struct cpu_event *ret_ev);

/* aspace.c */
int aspaces_init(const struct platform_config *config);
int trap_watch_fd(void);
enum platform_loss trap_watch(void);
bool trap_aspace_lost(struct cpu *any, bool *ret_outside);
/* A thread of its process has gone, and it too, perhaps: for trap_aspace_lost(). */
void aspace_note_lost(struct aspace *a);
void aspace_kill(struct aspace *a);
/* Logs how a stub ended that nobody has killed: its exit status says at which step of stub.S, if it left by itself. */
void aspace_log_lost(const struct aspace *a, const char *when, int err);
int trap_aspace_create(struct cpu **ret_cpu);
int trap_aspace_fork(struct cpu *parent, struct cpu **ret_cpu);
int trap_cpu_create(struct cpu *from, struct cpu **ret_cpu);
void trap_cpu_put(struct cpu *cpu);
void trap_aspace_kill(struct cpu *any);

/* mother.c: what a stub's mother thread does. */
/* Its process has ended, and has yet to be waited for. */
bool aspace_dead(const struct aspace *a);
int mother_init(int ctl_fd);
/* Forks `from` into c's aspace, with c as its first thread: sets pid, pidfd and c's listener. Takes from's lock. */
int mother_fork(struct aspace *from, struct trap_cpu *c);
/* Starts a thread in c's slot and fetches its listener. Takes the aspace's lock. */
int mother_thread(struct trap_cpu *c);

/* template.c: the process that all stubs come from. */
int template_init(int ctl_fd, int thr_fd, pid_t *ret_pid);
const struct platform_vdso *trap_vdso(void);

/* cpu.c */
/* CLOCK_MONOTONIC. */
uint64_t now_ns(void);
/* The next report; nested ones are sorted out. */
enum report wait_report(struct trap_cpu *c, struct cpu_event *ret_ev);
/* Answers the event's report, or the call at the door; false if the thread is gone. */
bool answer(struct trap_cpu *c, int64_t value);
bool answer_report(const struct trap_cpu *c, uint64_t notification, int64_t value);
/* Waits for a new thread's first report; false if there is none. */
bool first_report(struct trap_cpu *c);
/* Makes an event of the frame that has been taken. */
void make_event(struct trap_cpu *c, int signo, struct cpu_event *ret_ev);
/* A fault of a thread that met a call site while it was patched: its frame goes on in the trampoline. */
bool patch_diverted(struct trap_cpu *c, int signo);
/* What the resume needs and may have to wait for. The cpu is not RUNNING yet. */
void prepare_resume(struct trap_cpu *c);
/*
 * Sets RUNNING, HELD and `also`, unless there is a kick to be told, which is taken, or a bit of `need` is missing. HELD stays until the
 * event is answered, because a guest can report, or have a call at the door, before that.
 */
bool enter_guest(struct trap_cpu *c, uint32_t also, uint32_t need);
/* The answer is out: the next event may be claimed, and c be gone. */
void let_go(struct trap_cpu *c);
/* Takes the event of a running cpu: false if somebody else has it. */
bool claim_event(struct trap_cpu *c, uint32_t *ret_old);
bool resume(struct trap_cpu *c);
/* Runs c until it stops, on the calling thread. */
void run(struct trap_cpu *c);
/* The same for a cpu that was started: it may have been resumed already, or have an event instead. */
void take_over(struct trap_cpu *c);
/* An event of c is to be handled first. */
void run_event(struct trap_cpu *c, struct cpu_event *ev);
void trap_cpu_start(struct cpu *cpu);
void trap_cpu_kick(struct cpu *cpu);
void run_init(const struct platform_config *config);

/* worker.c: the threads that run cpus. */
/* Sees to it that there is a thread for one cpu, or spinner, more: 0 or -errno. */
int worker_reserve(void);
void worker_release(void);
/* Has a cpu run, or NULL: a thread spin. One is reserved for it. */
void worker_give(struct trap_cpu *c);

/* spin.c: calls of busy threads are handed over in shared memory. */
void spin_init(const struct platform_config *config, char *beat);
/* An event of c has been reported: enough of them in quick succession call the spinner. */
void spin_note(struct trap_cpu *c);
/* What a worker that has got the role runs. */
void spin_main(void);
/* The spinner must not look at c any more when this returns; the thread may run anywhere. */
void spin_forget(struct trap_cpu *c);
/* The calling thread gives up the role of the spinner, if it has it. */
void spin_stop(void);
/* There is no call at the door, whatever the guest has left there: for a cpu that nobody else can write to. */
void door_clear(struct trap_cpu *c);
/* Answers a call at the door. */
void door_answer(struct trap_cpu *c, int64_t value);
/* Makes an event at the door an ordinary one, with a report to answer; the former worker leaves. */
void door_own(struct trap_cpu *c);

/* affinity.c: which processors host threads may use; a tid of 0 is the caller. */
/* Returns how many the sandbox has. */
unsigned affinity_init(void);
bool affinity_bind(pid_t tid, unsigned processor);
void affinity_avoid(pid_t tid, unsigned processor);
/* All that the sandbox has. */
void affinity_free(pid_t tid);
/* What the guest has chosen, or all. */
void affinity_restore(const struct trap_cpu *c);
int trap_affinity(struct cpu *cpu, const void *mask, size_t size);

/* kick.c */
/* Sends the signal for a kick, unless one is in flight. */
void kick_signal(struct trap_cpu *c);
/* A report from inside the stub's own code: true if it has been answered, false if the stub must die. */
bool nested_report(struct trap_cpu *c, int signo, uint32_t frame, uint64_t rip);

/* stage.c: small inputs that the stub has copied for the event. */
/* The table for the constants page: STAGE_CALLS words, zero. */
void stage_fill(uint32_t *table);
/* Of the frame that has just been taken. */
void stage_take(struct trap_cpu *c);
/* False: it is not there as a whole. */
bool stage_read(const struct trap_cpu *c, void *dst, uint64_t addr, size_t size);
/* This memory changes. */
void stage_drop(struct trap_cpu *c, uint64_t addr, uint64_t size);

/* patch.c: call sites that jump to the stub instead of trapping. */
/* Counts a trap of call nr that returns to `ret`, and patches a hot one. The cpu is about to resume. */
void patch_count(struct trap_cpu *c, uint64_t ret, uint32_t nr);
/* The address that the guest knows for one in a trampoline. Other addresses are their own. */
uint64_t patch_show(struct trap_cpu *c, uint64_t rip);
/* The reverse, for an address in the middle of a patched site. */
uint64_t patch_hide(struct trap_cpu *c, uint64_t rip);
/* A SIGTRAP or SIGSEGV of a thread that met a site while it was patched: where it goes on; 0 if it is the guest's own. */
uint64_t patch_redirect(struct trap_cpu *c, int signo, uint64_t rip);
/* The memory is about to change: its patches are forgotten; if `restore`, the original bytes are put back first. */
void patch_forget(struct trap_cpu *c, uint64_t addr, uint64_t size, bool restore);
/* A fork's copy, made after the fork: records of what has not been written are harmless, the reverse is not. The child does not run
 * yet. False: no memory. */
bool patch_fork(struct aspace *from, struct aspace *to);
void patch_free(struct aspace *a);
void patch_init(const struct platform_config *config);

/* A kick while the stub answers a call by itself: makes the frame one of the guest before the call. */
bool undo_fast_answer(struct trap_cpu *c, int signo, uint32_t frame, uint64_t rip);

/* list.c: the command list. */
/* Runs what is queued, keeping the cpu stopped. 0 or -errno, -ESRCH if the stub is gone. */
int list_run(struct trap_cpu *c);
void list_add(struct trap_cpu *c, int64_t nr, const uint64_t args[6], uint64_t flags);
/* Answers the pending report with the queued list. final: 0 to have its result reported, else how to resume (layout.h). */
bool list_send(struct trap_cpu *c, uint64_t final);
void list_reset(struct trap_cpu *c);
int list_queue_fd(struct trap_cpu *c, int fd);
void list_touch(struct trap_cpu *c, uint64_t addr, uint64_t size);

/* mem.c */
int trap_map(struct cpu *cpu, uint64_t addr, size_t size, int prot, int flags, int fd, uint64_t off);
int trap_unmap(struct cpu *cpu, uint64_t addr, size_t size);
int trap_protect(struct cpu *cpu, uint64_t addr, size_t size, int prot);
int trap_advise(struct cpu *cpu, uint64_t addr, size_t size, int advice);
int trap_move(struct cpu *cpu, uint64_t old, size_t old_size, uint64_t new_addr, size_t new_size);
int trap_sync_range(struct cpu *cpu, uint64_t addr, size_t size, int flags);
int trap_mincore(struct cpu *cpu, uint64_t addr, size_t size, unsigned char *vec);
int trap_cpu_sync(struct cpu *cpu);
ssize_t trap_read(struct cpu *cpu, void *dst, uint64_t addr, size_t size);
ssize_t trap_write(struct cpu *cpu, uint64_t addr, const void *src, size_t size);
int trap_cas32(struct cpu *cpu, uint64_t addr, uint32_t *expected, uint32_t desired);
ssize_t trap_aspace_read(struct cpu *any, void *dst, uint64_t addr, size_t size);
ssize_t trap_aspace_write(struct cpu *any, uint64_t addr, const void *src, size_t size);
