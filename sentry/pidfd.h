/* Descriptors that refer to processes: pidfd_open(2). */
#pragma once

#include <fcntl.h>

#include "fs/file.h"

struct task;
struct thread_group;

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

/* flags: O_NONBLOCK; PIDFD_THREAD: the one thread instead of its process. t need not be published yet. */
int __must_check pidfd_create(struct ctx *c, struct task *t, int flags, struct file **ret);
/*
 * What f refers to, a reference, if it is a pidfd; else NULL (-EBADF). *ret_thread (may be NULL): a reference to the
 * task of a PIDFD_THREAD one.
 */
struct thread_group *pidfd_group(struct file *f, struct task **ret_thread);
