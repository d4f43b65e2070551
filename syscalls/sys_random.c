/* getrandom(2): the host's generator, which is seeded long before a sandbox starts. */
#include <sys/random.h>

#include "sentry/task.h"
#include "syscalls/syscalls.h"

#ifndef GRND_INSECURE
#define GRND_INSECURE 4
#endif

sysret_t sys_getrandom(struct task *t, uaddr_t buf, size_t size, unsigned flags)
{
	unsigned char chunk[PAGE_SIZE];
	size_t done = 0;

	if (flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) ||
	    (flags & (GRND_RANDOM | GRND_INSECURE)) == (GRND_RANDOM | GRND_INSECURE))
		return -EINVAL;
	size = MIN(size, (size_t)INT32_MAX);
	while (done < size) {
		size_t n = MIN(size - done, sizeof(chunk));
		ssize_t got = getrandom(chunk, n, 0);

		if (got <= 0 || copy_out(&t->ctx, uaddr_add(buf, done), chunk, (size_t)got))
			return done ? (sysret_t)done : -EFAULT;
		done += (size_t)got;
		if (done < size && ctx_interrupts(&t->ctx))
			break;
	}
	return (sysret_t)done;
}
