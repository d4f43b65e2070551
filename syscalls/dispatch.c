/*
 * The system call table, expanded twice: into a switch from numbers to typed handlers, and into an array of names,
 * levels, argument kinds and notes for the tracer and for `runsc syscalls`.
 *
 * A switch is used, not an array of function pointers: each call is made with the handler's own types, a handler of the
 * wrong type does not compile, and neither does a number that is given twice.
 *
 * Calls without a handler return ENOSYS, as an older kernel would: programs are prepared for that. Each is counted, and
 * the first of each number goes to the log, so that a program that behaves oddly can be traced to what it missed.
 */
#include "syscalls/dispatch.h"

#include "sentry/base/log.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

static _Atomic uint64_t missing[SYSCALL_MAX];

static sysret_t syscall_missing(uint32_t nr)
{
	if (__atomic_fetch_add((uint64_t *)&missing[nr], 1, __ATOMIC_RELAXED) == 0)
		log_info("system call %u (%s) is not implemented", nr, syscall_info(nr)->name);
	return -ENOSYS;
}

#define CALL_FULL(call) return call
#define CALL_PARTIAL(call) return call
#define CALL_NONE(call) return syscall_missing(nr)
#define A(n, kind) arg_##kind(args[n])

#define SYS0(number, name, level, note)                                                                                \
	case number:                                                                                                   \
		CALL_##level(sys_##name(t));
#define SYS1(number, name, level, k1, note)                                                                            \
	case number:                                                                                                   \
		CALL_##level(sys_##name(t, A(0, k1)));
#define SYS2(number, name, level, k1, k2, note)                                                                        \
	case number:                                                                                                   \
		CALL_##level(sys_##name(t, A(0, k1), A(1, k2)));
#define SYS3(number, name, level, k1, k2, k3, note)                                                                    \
	case number:                                                                                                   \
		CALL_##level(sys_##name(t, A(0, k1), A(1, k2), A(2, k3)));
#define SYS4(number, name, level, k1, k2, k3, k4, note)                                                                \
	case number:                                                                                                   \
		CALL_##level(sys_##name(t, A(0, k1), A(1, k2), A(2, k3), A(3, k4)));
#define SYS5(number, name, level, k1, k2, k3, k4, k5, note)                                                            \
	case number:                                                                                                   \
		CALL_##level(sys_##name(t, A(0, k1), A(1, k2), A(2, k3), A(3, k4), A(4, k5)));
#define SYS6(number, name, level, k1, k2, k3, k4, k5, k6, note)                                                        \
	case number:                                                                                                   \
		CALL_##level(sys_##name(t, A(0, k1), A(1, k2), A(2, k3), A(3, k4), A(4, k5), A(5, k6)));

sysret_t syscall_dispatch(struct task *t __unused, uint32_t nr, const uint64_t args[6] __unused)
{
	switch (nr) {
#include "syscalls/table.def"
	}
	return -ENOSYS;
}

#define K(kind) ARG_##kind
#define INFO(number, text, level, note, count, ...) [number] = {text, SYSCALL_##level, count, {__VA_ARGS__}, note},
#define SYS0(number, name, level, note) INFO(number, #name, level, note, 0, 0)
#define SYS1(number, name, level, k1, note) INFO(number, #name, level, note, 1, K(k1))
#define SYS2(number, name, level, k1, k2, note) INFO(number, #name, level, note, 2, K(k1), K(k2))
#define SYS3(number, name, level, k1, k2, k3, note) INFO(number, #name, level, note, 3, K(k1), K(k2), K(k3))
#define SYS4(number, name, level, k1, k2, k3, k4, note) INFO(number, #name, level, note, 4, K(k1), K(k2), K(k3), K(k4))
#define SYS5(number, name, level, k1, k2, k3, k4, k5, note)                                                            \
	INFO(number, #name, level, note, 5, K(k1), K(k2), K(k3), K(k4), K(k5))
#define SYS6(number, name, level, k1, k2, k3, k4, k5, k6, note)                                                        \
	INFO(number, #name, level, note, 6, K(k1), K(k2), K(k3), K(k4), K(k5), K(k6))

static const struct syscall_info infos[SYSCALL_MAX] = {
#include "syscalls/table.def"
};

const struct syscall_info *syscall_info(uint32_t nr)
{
	return nr < SYSCALL_MAX && infos[nr].name ? &infos[nr] : NULL;
}

uint64_t syscall_missing_count(uint32_t nr)
{
	return nr < SYSCALL_MAX ? __atomic_load_n((uint64_t *)&missing[nr], __ATOMIC_RELAXED) : 0;
}

void syscall_list(void (*line)(uint32_t nr, const struct syscall_info *info, void *arg), void *arg,
		  struct syscall_report *ret_report)
{
	struct syscall_report r = {0};

	for (uint32_t nr = 0; nr < SYSCALL_MAX; nr++) {
		const struct syscall_info *info = syscall_info(nr);

		if (!info)
			continue;
		r.full += info->level == SYSCALL_FULL;
		r.partial += info->level == SYSCALL_PARTIAL;
		r.none += info->level == SYSCALL_NONE;
		line(nr, info, arg);
	}
	*ret_report = r;
}
