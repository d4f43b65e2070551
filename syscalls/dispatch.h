/* From a system call's number to its handler, and what is known about each call. */
#pragma once

#include "syscalls/argkind.h"

struct task;

enum syscall_level { SYSCALL_UNKNOWN, SYSCALL_NONE, SYSCALL_PARTIAL, SYSCALL_FULL };

struct syscall_info {
	const char *name;
	enum syscall_level level;
	unsigned char arg_count;
	unsigned char kinds[6]; /* enum argkind */
	const char *note;
};

/* One past the highest number in the table. */
#define SYSCALL_MAX 470

/* NULL for a number that Linux does not know either. */
const struct syscall_info *syscall_info(uint32_t nr);
/* How often a call without a handler was made since the start. */
uint64_t syscall_missing_count(uint32_t nr);
/* The compatibility table: `runsc syscalls`. */
struct syscall_report {
	unsigned full, partial, none;
};
void syscall_list(void (*line)(uint32_t nr, const struct syscall_info *info, void *arg), void *arg,
		  struct syscall_report *ret_report);
