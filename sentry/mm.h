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

struct vma {
	uint64_t start, end;     /* page aligned, end exclusive */
	int prot;                /* PROT_* now */
	int max_prot;            /* what mprotect may allow: a shared mapping of a file not open for writing never gets PROT_WRITE */
	int flags;               /* MAP_SHARED or MAP_PRIVATE, MAP_NORESERVE, MAP_GROWSDOWN, MAP_STACK, MAP_LOCKED, MAP_ANONYMOUS */
	struct file *file;       /* a reference; NULL: anonymous private */
	uint64_t off;            /* of start, in file */
	const char *name;        /* "[heap]", "[stack]", NULL; static */
	uint32_t advice;         /* DONTFORK, WIPEONFORK, DONTDUMP as madvise set them */
	struct vma *left, *right, *up; /* tree links; or use of a library tree */
	int color;
};

struct mm {
	struct ref ref;
	struct mutex lock;       /* L_MM */
	void *tree;              /* of struct vma by start; L_MM */
	size_t vma_count;        /* L_MM; at most 65,530 (vm.max_map_count) */
	uint64_t total_vm, locked_vm, data_vm, exec_vm, stack_vm; /* pages, L_MM */
	uint64_t mmap_base;      /* top-down from here */
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
	uint64_t arg_start, arg_end, env_start, env_end;
	uint64_t auxv[64];       /* pairs, AT_NULL ended: /proc/PID/auxv */
	struct file *exe;        /* a reference */
	bool dumpable;
	_Atomic uint32_t users;  /* tasks */
};

/* Empty; count 1. NULL: no memory. */
struct mm *mm_create(void);
/* fork: a copy of the tree (DONTFORK left out, which the caller's child cpu must unmap; WIPEONFORK wiped). The platform's pages were copied by
 * aspace_fork() to `child`, a stopped cpu. */
int mm_fork(struct task *parent, struct cpu *child, struct mm **ret);
struct mm *mm_get(struct mm *mm);
void mm_put(struct mm *mm);

/* mmap(2) for handlers and the ELF loader: cpu is a stopped cpu of mm's aspace. The address or -errno. file may be NULL; off in bytes. */
sysret_t mm_map(struct mm *mm, struct ctx *c, struct cpu *cpu, uint64_t addr, size_t size, int prot, int flags,
		struct file *file, uint64_t off);
int mm_unmap(struct mm *mm, struct cpu *cpu, uint64_t addr, size_t size);
int mm_protect(struct mm *mm, struct cpu *cpu, uint64_t addr, size_t size, int prot);
/* Names a mapping ("[stack]", "[heap]"): static text. */
void mm_set_name(struct mm *mm, uint64_t addr, const char *name);
/* Chooses mmap_base (top-down, random gap below the stack) and start_brk. */
void mm_layout(struct mm *mm, uint64_t stack_rlimit);
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
