/* eventfd, timerfd and signalfd. */
#include <fcntl.h>
#include <sys/timerfd.h>

#include "fs/eventfd.h"
#include "fs/fdtable.h"
#include "fs/timerfd.h"
#include "sentry/signalfd.h"
#include "sentry/task.h"
#include "syscalls/syscalls.h"

sysret_t sys_eventfd2(struct task *t, unsigned initial, int flags)
{
	struct file *f;
	int err = eventfd_create(&t->ctx, initial, flags, &f);

	return err ? err : fd_install(&t->ctx, f, flags & O_CLOEXEC);
}

sysret_t sys_eventfd(struct task *t, unsigned initial)
{
	return sys_eventfd2(t, initial, 0);
}

sysret_t sys_timerfd_create(struct task *t, int clock, int flags)
{
	struct file *f;
	int err = timerfd_create_file(&t->ctx, clock, flags, &f);

	return err ? err : fd_install(&t->ctx, f, flags & O_CLOEXEC);
}

sysret_t sys_timerfd_settime(struct task *t, int fd, int flags, uaddr_t value, uaddr_t old_value)
{
	struct itimerspec value_in, old;
	FILE_REF f = NULL;
	int err;

	if (copy_in(&t->ctx, &value_in, value, sizeof(value_in)))
		return -EFAULT;
	if (flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET))
		return -EINVAL;
	f = fd_get(&t->ctx, fd);
	if (!f)
		return -EBADF;
	err = timerfd_set(f, flags, &value_in, &old);
	if (!err && old_value.v)
		err = copy_out(&t->ctx, old_value, &old, sizeof(old));
	return err;
}

sysret_t sys_timerfd_gettime(struct task *t, int fd, uaddr_t value)
{
	FILE_REF f = fd_get(&t->ctx, fd);
	struct itimerspec left;
	int err;

	if (!f)
		return -EBADF;
	err = timerfd_get(f, &left);
	return err ? err : copy_out(&t->ctx, value, &left, sizeof(left));
}

/* A mask comes in; fd -1 makes a new descriptor, else that one's mask is replaced. */
sysret_t sys_signalfd4(struct task *t, int fd, uaddr_t mask, size_t mask_size, int flags)
{
	FILE_REF f = NULL;
	k_sigset_t set;
	int err;

	if (mask_size != sizeof(set))
		return -EINVAL;
	if (copy_in(&t->ctx, &set, mask, sizeof(set)))
		return -EFAULT;
	if (flags & ~(O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	if (fd == -1) {
		err = signalfd_create(&t->ctx, set, flags, &f);
		return err ? err : fd_install(&t->ctx, take(f), flags & O_CLOEXEC);
	}
	f = fd_get(&t->ctx, fd);
	if (!f)
		return -EBADF;
	err = signalfd_set_mask(f, set);
	return err ? err : fd;
}

sysret_t sys_signalfd(struct task *t, int fd, uaddr_t mask, size_t mask_size)
{
	return sys_signalfd4(t, fd, mask, mask_size, 0);
}
