/* wip */
#include "syscalls/trace.h"

#include <stdio.h>
#include <unistd.h>
#include "sentry/task.h"
#include "syscalls/dispatch.h"

static int trace_fd = 2;
void trace_init(int fd)
{
	trace_fd = fd;
	task_strace = true;
}

sysret_t trace_syscall(struct task *t, uint32_t nr, const uint64_t args[6])
{
	const struct syscall_info *i = syscall_info(nr);
	dprintf(trace_fd, "[%d] %s(%#lx, %#lx, %#lx, %#lx)...\n", t->ctx.tid, i ? i->name : "?", args[0], args[1], args[2], args[3]);
	sysret_t r = syscall_dispatch(t, nr, args);
	dprintf(trace_fd, "[%d] %s(%#lx, %#lx, %#lx, %#lx) = %#lx\n", t->ctx.tid, i ? i->name : "?", args[0], args[1], args[2], args[3], r);
	return r;
}

void trace_signal(struct task *t, const siginfo_t *info)
{
	dprintf(trace_fd, "[%d] --- signal %d code %d addr %p ---\n", t->ctx.tid, info->si_signo, info->si_code, info->si_addr);
}
