/*
 * What only /proc tells about host processes: resident memory, and the CPU time of single threads. The sentry has an empty root; it is
 * handed a descriptor of a proc file system of its own pid namespace, with processes only (subset=pid), read-only. A host that does not let us mount
 * one (a container with a masked /proc) leaves these unknown.
 */
#pragma once

#include "sentry/base/types.h"

/* Once, before the platform's init. proc_fd stays open for ever; -1: there is none. */
void hostproc_init(int proc_fd);
bool hostproc_available(void);
/* Bytes of RAM that the process's memory occupies, and how many of them belong to no file. -EOPNOTSUPP, or -ESRCH. */
int hostproc_rss(pid_t pid, uint64_t *ret_bytes, uint64_t *ret_anon);
/* CPU time of one thread in ns; it may lag by a scheduler's tick while the thread runs. -EOPNOTSUPP, or -ESRCH. */
int hostproc_thread_time(pid_t pid, pid_t tid, uint64_t *ret_ns);
/* CPU time of a whole process, its dead threads included. Any process of our pid namespace; needs no /proc. -errno. */
int hostproc_process_time(pid_t pid, uint64_t *ret_user, uint64_t *ret_sys);
