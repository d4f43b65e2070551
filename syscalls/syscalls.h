/*
 * The prototypes of all system call handlers, made from table.def. A handler runs in the upcall of its task and returns
 * a result, -errno or a restart code (sentry/base/restart.h). Calls of level NONE have a prototype and no definition.
 */
#pragma once

#include "syscalls/argkind.h"

struct task;

#define T(kind) arg_##kind##_t
#define SYS0(nr, name, level, note) sysret_t sys_##name(struct task *t);
#define SYS1(nr, name, level, k1, note) sysret_t sys_##name(struct task *t, T(k1));
#define SYS2(nr, name, level, k1, k2, note) sysret_t sys_##name(struct task *t, T(k1), T(k2));
#define SYS3(nr, name, level, k1, k2, k3, note) sysret_t sys_##name(struct task *t, T(k1), T(k2), T(k3));
#define SYS4(nr, name, level, k1, k2, k3, k4, note) sysret_t sys_##name(struct task *t, T(k1), T(k2), T(k3), T(k4));
#define SYS5(nr, name, level, k1, k2, k3, k4, k5, note)                                                                \
	sysret_t sys_##name(struct task *t, T(k1), T(k2), T(k3), T(k4), T(k5));
#define SYS6(nr, name, level, k1, k2, k3, k4, k5, k6, note)                                                            \
	sysret_t sys_##name(struct task *t, T(k1), T(k2), T(k3), T(k4), T(k5), T(k6));
#include "syscalls/table.def"
#undef T
