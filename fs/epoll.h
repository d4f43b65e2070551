/* epoll(7). An instance is an anonymous file; its interests hang at the watched descriptions (struct file.epoll_items). */
#pragma once

#include <sys/epoll.h>

#include "fs/file.h"

int __must_check epoll_create_file(struct ctx *c, struct file **ret);
/* EPOLL_CTL_*: fd is what the guest called the file f. ev is a copy. */
int epoll_control(struct ctx *c, struct file *ep, int op, int fd, struct file *f, const struct epoll_event *ev);
/* Up to max events to the guest's array; deadline: CLOCK_MONOTONIC ns, 0 does not sleep, TIME_NEVER. Count, 0, -EINTR, -EFAULT. */
long epoll_wait_events(struct ctx *c, struct file *ep, uaddr_t events, int max, int64_t deadline);

void epoll_file_gone_slow(struct file *f);
/* The last reference of f goes: its interests are dropped. Before the release op; no lock held. */
static inline void epoll_file_gone(struct file *f)
{
	if (f->epolled)
		epoll_file_gone_slow(f);
}
