/* The parts of execve: arguments (execargs.c), credentials (execcred.c), the flow (exec.c). Not for others. */
#pragma once

#include "sentry/elf.h"
#include "sentry/task_impl.h"

/* NUL-terminated strings, one after the other. */
struct exec_strings {
	char *data; /* owned */
	size_t size, capacity, count;
};

struct exec_args {
	struct exec_strings argv, envp;
	size_t limit; /* of strings and pointers together, bytes */
};

/* limit: from the stack's rlimit. */
void exec_args_init(struct exec_args *a, uint64_t stack_rlimit);
void exec_args_release(struct exec_args *a);
/* From guest arrays (NULL: empty), or from ours. -EFAULT, -E2BIG, -ENOMEM. */
int __must_check exec_args_copy(struct ctx *c, struct exec_args *a, uaddr_t argv, uaddr_t envp);
int __must_check exec_args_set(struct exec_args *a, char *const *argv, char *const *envp);
/* A script: argv[0] is replaced by interp, arg (NULL: none) and the script's own name. */
int __must_check exec_args_script(struct exec_args *a, const char *interp, const char *arg, const char *script);

/* What is to be executed, and what it will be like. */
struct exec_image {
	struct task *task;
	struct exec_args args;
	char *filename;    /* as the caller gave it: AT_EXECFN, comm; borrowed */
	bool inaccessible; /* the name will not be there after close-on-exec */
	struct file *file; /* the program itself, after scripts; a reference */
	struct file *interp_file;
	struct elf_program program, interp;
	struct cred *cred; /* the new ones, unpublished; owned */
	bool secure;       /* AT_SECURE */
	bool id_changed, unreadable;
	char *ret_interp; /* see init_spec; NULL for a guest's execve */
	/* Being built. */
	struct mm *mm;
	struct cpu *cpu;
	struct elf_place at, interp_at;
	uint64_t sp;
};

/*
 * Identity after executing im->file: set-uid and set-gid bits, capabilities. Fills im->cred, im->secure,
 * im->id_changed.
 */
int __must_check exec_cred_prepare(struct exec_image *im);
