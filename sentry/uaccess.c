/*
 * Guest memory as the handlers see it: the accessors that a task's ctx carries, and another process's memory.
 *
 * A task's own memory is reached through its stopped cpu and through its own protections. A stack that has to grow is found here
 * only by the fault: as in Linux, a system call may write below the stack pointer's page before the program does. Then the
 * mapping is extended and the copy goes on where it stopped.
 *
 * Another task's cpu is kept alive by its group's lock (L_TASK), under which exec and exit replace it; the copies are done in pieces, so that nobody waits for
 * long.
 */
#include "sentry/mm.h"
#include "sentry/task.h"

#define PEEK_CHUNK (64ul << 10)

/* After `done` bytes (or -errno) of a copy at addr: is there a stack that may grow to where it stopped? */
static bool grow_and_retry(struct task *t, uint64_t addr, ssize_t done)
{
	return t->mm && mm_fault_stack(t->mm, t->cpu, addr + (uint64_t)MAX(done, 0), task_rlimit(t, RLIMIT_STACK));
}

static ssize_t task_read(struct ctx *c, void *dst, uaddr_t src, size_t size)
{
	struct task *t = ctx_task(c);
	ssize_t n = platform->cpu_read(t->cpu, dst, src.v, size);
	size_t done = (size_t)MAX(n, 0);
	ssize_t more;

	if (likely(n == (ssize_t)size) || !grow_and_retry(t, src.v, n))
		return n;
	more = platform->cpu_read(t->cpu, (char *)dst + done, src.v + done, size - done);
	return more > 0 ? (ssize_t)done + more : n;
}

static ssize_t task_write(struct ctx *c, uaddr_t dst, const void *src, size_t size)
{
	struct task *t = ctx_task(c);
	ssize_t n = platform->cpu_write(t->cpu, dst.v, src, size);
	size_t done = (size_t)MAX(n, 0);
	ssize_t more;

	if (likely(n == (ssize_t)size) || !grow_and_retry(t, dst.v, n))
		return n;
	more = platform->cpu_write(t->cpu, dst.v + done, (const char *)src + done, size - done);
	return more > 0 ? (ssize_t)done + more : n;
}

const struct uaccess_ops task_uaccess = {
    .read = task_read,
    .write = task_write,
};

/* One piece of at most PEEK_CHUNK; dst or src is NULL. */
static ssize_t access_piece(struct task *target, void *dst, uint64_t addr, const void *src, size_t size)
{
	ssize_t n = -ESRCH;

	mutex_lock(&target->tg->lock, L_TASK);
	if (target->cpu && target->mm)
		n = dst ? platform->aspace_read(target->cpu, dst, addr, size)
			: platform->aspace_write(target->cpu, addr, src, size);
	mutex_unlock(&target->tg->lock, L_TASK);
	return n;
}

static ssize_t access_other(struct task *target, void *dst, uint64_t addr, const void *src, size_t size)
{
	size_t done = 0;

	while (done < size) {
		size_t chunk = MIN(size - done, PEEK_CHUNK);
		ssize_t n = access_piece(target, dst ? (char *)dst + done : NULL, addr + done,
					 src ? (const char *)src + done : NULL, chunk);

		if (n <= 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if ((size_t)n < chunk)
			break;
	}
	return (ssize_t)done;
}

ssize_t task_peek(struct task *target, void *dst, uint64_t addr, size_t size)
{
	return access_other(target, dst, addr, NULL, size);
}

ssize_t task_poke(struct task *target, uint64_t addr, const void *src, size_t size)
{
	return access_other(target, NULL, addr, src, size);
}
