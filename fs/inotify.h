/* inotify(7): queues of file events that are read. Events come from fs/notify.h. */
#pragma once

#include <sys/inotify.h>

#include "fs/file.h"

/* flags: IN_NONBLOCK, IN_CLOEXEC (ignored here). -EINVAL, -EMFILE, -ENOMEM. */
int __must_check inotify_create(struct ctx *c, int flags, struct file **ret);
bool inotify_is(const struct file *f);
/* Watches i or changes the mask of what is there; the descriptor. -EINVAL (also: f is no inotify), -EEXIST, -ENOSPC, -ENOMEM. */
int inotify_add(struct file *f, struct inode *i, uint32_t mask);
int inotify_remove(struct file *f, int wd);
