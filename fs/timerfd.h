/* timerfd_create(2). */
#pragma once

#include "fs/file.h"
#include "sentry/base/clock.h"

/* flags: TFD_NONBLOCK, TFD_CLOEXEC (ignored here). -EINVAL, -EPERM (alarm clocks), -ENOMEM. */
int __must_check timerfd_create_file(struct ctx *c, int clock, int flags, struct file **ret);
/* value and interval are copies, checked here; ret_old may not be NULL. -EINVAL if f is no timerfd. */
int __must_check timerfd_set(struct file *f, int flags, const struct itimerspec *value, struct itimerspec *ret_old);
int __must_check timerfd_get(struct file *f, struct itimerspec *ret);
