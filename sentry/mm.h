/*
 * A guest's address space: the VMA tree, the authority on what is mapped where. Pages and copy-on-write are the platform's.
 * mmap(2), mremap(2), mprotect(2), madvise(2), brk(2).
 *
 * Operations work on the calling task's own mm through its stopped cpu (see platform.h). mm->lock (L_MM) protects the tree; host work that must not be
 * overtaken by another thread's is synced before the lock is dropped. Guest memory is never copied while L_MM is held.
 */
#pragma once

#include "fs/file.h"
#include "platform/platform.h"
#include "sentry/base/lock.h"
#include "sentry/base/ref.h"

struct task;

/* A mapping. Fields are changed under L_MM only; readers outside of sentry/{mm,vma,...}.c get it from mm_for_each(). */
struct vma {
	uint64_t start, end; /* page aligned, end exclusive */
	int prot;            /* PROT_* now */
	int max_prot; /* what mprotect may allow: a shared mapping of a file not open for writing never gets PROT_WRITE */
	int flags; /* MAP_SHARED or MAP_PRIVATE, MAP_NORESERVE, MAP_GROWSDOWN, MAP_STACK, MAP_LOCKED, MAP_ANONYMOUS */
	struct file *file; /* a reference; NULL: anonymous private */
	uint64_t off;      /* of start, in file; 0 if anonymous */
	int host_fd;       /* what backs it, borrowed from file; -1: anonymous */
	uint64_t host_off; /* of start, in host_fd */
	const char *name;  /* "[heap]", "[stack]", "/dev/zero (deleted)", NULL: the file's own; static */
	uint32_t advice;   /* VMA_* */

	/* sentry/vma.c */
	struct vma *left, *right; /* a treap by start */
	struct vma *prev, *next;  /* in address order */
	uint64_t max_gap;         /* the largest free range right below a vma of this subtree */
	uint32_t priority;
};

/* vma.advice: what madvise set for good. */
enum { VMA_DONTFORK = 1, VMA_WIPEONFORK = 2, VMA_DONTDUMP = 4, VMA_LOCK_ONFAULT = 8 };

struct vma_tree {
	struct vma *root, *first, *last;
	size_t count;
};

#define MM_MAX_MAP_COUNT 65530
/* Where a guest believes its addresses to end. */
#define MM_TASK_SIZE 0x7ffffffff000ul

struct mm {
	struct ref ref;
	struct mutex lock;    /* L_MM */
	struct vma_tree vmas; /* L_MM; at most MM_MAX_MAP_COUNT */
	struct vma *garbage;  /* unlinked ones, freed when the lock is dropped; L_MM */
	struct vma *spare;    /* made in advance, so that a split cannot fail; L_MM */
	uint64_t total_vm, locked_vm, data_vm, exec_vm, stack_vm; /* pages, L_MM */
	uint64_t hiwater_vm;                                      /* the highest total_vm, L_MM */
	uint64_t mmap_base;                                       /* top-down from here */
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
	uint64_t arg_start, arg_end, env_start, env_end;
	uint64_t auxv[64]; /* pairs, AT_NULL ended: /proc/PID/auxv */
	struct file *exe;  /* a reference */
	bool dumpable;
	bool lock_future, lock_onfault; /* mlockall(MCL_FUTURE, MCL_ONFAULT); L_MM */
	_Atomic uint32_t users;         /* tasks */
};

/* Empty; count 1, users 1. NULL: no memory. */
struct mm *mm_create(void);
/* fork: a copy of the tree (DONTFORK left out, which the caller's child cpu must unmap; WIPEONFORK wiped). The platform's pages were copied by
 * aspace_fork() to `child`, a stopped cpu. */
int mm_fork(struct task *parent, struct cpu *child, struct mm **ret);
struct mm *mm_get(struct mm *mm);
void mm_put(struct mm *mm);
/* The last task that used mm gives it up; cpu is its stopped cpu: nobody finds a file mapped there any more. */
void mm_exit(struct mm *mm, struct cpu *cpu);

/* mmap(2) for handlers and the ELF loader: cpu is a stopped cpu of mm's aspace. The address or -errno. file may be NULL; off in bytes. */
sysret_t mm_map(struct mm *mm, struct ctx *c, struct cpu *cpu, uint64_t addr, size_t size, int prot, int flags,
		struct file *file, uint64_t off);
int mm_unmap(struct mm *mm, struct cpu *cpu, uint64_t addr, size_t size);
/* shmdt(2): unmaps what is left of the mapping, once made at addr, of a file with those ops. -EINVAL: there is none. */
int mm_detach(struct mm *mm, struct cpu *cpu, uint64_t addr, const struct file_ops *ops);
int mm_protect(struct mm *mm, struct cpu *cpu, uint64_t addr, size_t size, int prot);
/* As mm_protect(), under the limits of c's task. */
int mm_protect_limited(struct mm *mm, struct ctx *c, struct cpu *cpu, uint64_t addr, size_t size, int prot);
/* brk(2): the break as it is then. */
uint64_t mm_brk(struct mm *mm, struct ctx *c, struct cpu *cpu, uint64_t brk);
/* mremap(2): the address or -errno. */
sysret_t mm_remap(struct mm *mm, struct ctx *c, struct cpu *cpu, uint64_t old_addr, size_t old_size, size_t new_size,
		  int flags, uint64_t new_addr);
int mm_advise(struct mm *mm, struct cpu *cpu, uint64_t addr, size_t size, int advice);
int mm_sync(struct mm *mm, struct cpu *cpu, uint64_t addr, size_t size, int flags);
/* mlock2(2) and munlock(2): flags MLOCK_ONFAULT. mlockall(2): MCL_*; 0 is munlockall(). */
int mm_mlock(struct mm *mm, struct ctx *c, struct cpu *cpu, uint64_t addr, size_t size, int flags);
int mm_munlock(struct mm *mm, uint64_t addr, size_t size);
int mm_mlockall(struct mm *mm, struct ctx *c, struct cpu *cpu, int flags);
/* mincore(2) of a range that lies in one piece of memory: -ENOMEM if something in it is not mapped. vec: a byte a page. */
int mm_mincore(struct mm *mm, struct cpu *cpu, uint64_t addr, size_t size, unsigned char *vec);
/* The program that runs here; its file cannot be opened for writing until mm is gone. -ETXTBSY: it is open for writing. */
int __must_check mm_set_exe(struct mm *mm, struct file *exe);
/* Names a mapping ("[stack]", "[heap]"): static text. */
void mm_set_name(struct mm *mm, uint64_t addr, const char *name);
/*
 * Before anything is mapped: chooses mmap_base (top-down, a random gap below the stack) and start_stack, the page-aligned end
 * of the stack, right below which the loader maps it (MAP_GROWSDOWN | MAP_STACK; it grows by itself).
 */
void mm_layout(struct mm *mm, uint64_t stack_rlimit);
/* The heap begins at a random place right behind end, the end of the program's bss. */
void mm_set_brk(struct mm *mm, uint64_t end);
/* A SIGSEGV below a growing stack: extends it if the limits allow. True: retry the instruction. */
bool mm_fault_stack(struct mm *mm, struct cpu *cpu, uint64_t addr, uint64_t stack_rlimit);
/* What the sentry says of a fault address: SEGV_MAPERR or SEGV_ACCERR (or BUS_ADRERR behind the end of a file). */
int mm_fault_code(struct mm *mm, uint64_t addr, bool write);
/* In address order, under L_MM: for /proc/PID/maps. The vma may not be kept. False stops. */
void mm_for_each(struct mm *mm, bool (*fn)(const struct vma *v, void *arg), void *arg);

/* Futex identity: private (mm, addr) or shared (inode, offset) or (mm) for anonymous. */
struct futex_key {
	const void *object; /* a reference to an inode if `shared` */
	uint64_t offset;
	bool shared;
};
int mm_futex_key(struct mm *mm, uint64_t addr, bool want_private, struct futex_key *ret);
void futex_key_put(struct futex_key *k);

/* sentry/uaccess.c: the accessors of a task's ctx, over platform->cpu_read/cpu_write of t->cpu. */
extern const struct uaccess_ops task_uaccess;
/* Another process's memory, as much as is there (ptrace-like rights checked by the caller): /proc/PID/cmdline, process_vm_readv. */
ssize_t task_peek(struct task *target, void *dst, uint64_t addr, size_t size);
ssize_t task_poke(struct task *target, uint64_t addr, const void *src, size_t size);
