/*
 * What only /proc tells about host processes: resident memory, as a whole and by mapping, and the CPU time of single threads. The sentry has an empty root; it is
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

/* What proc_pid_smaps(5) says of one mapping, in kB; which of them there are depends on the host's kernel. */
enum host_size {
	HOST_RSS,
	HOST_PSS,
	HOST_PSS_DIRTY,
	HOST_SHARED_CLEAN,
	HOST_SHARED_DIRTY,
	HOST_PRIVATE_CLEAN,
	HOST_PRIVATE_DIRTY,
	HOST_REFERENCED,
	HOST_ANONYMOUS,
	HOST_KSM,
	HOST_LAZYFREE,
	HOST_ANON_HUGE,
	HOST_SHMEM_HUGE,
	HOST_FILE_HUGE,
	HOST_SHARED_HUGETLB,
	HOST_PRIVATE_HUGETLB,
	HOST_SWAP,
	HOST_SWAP_PSS,
	HOST_LOCKED,
	HOST_SIZES,
};
extern const char *const hostproc_size_names[HOST_SIZES];

struct host_map {
	uint64_t start, end;
	uint32_t known; /* bits by host_size */
	uint64_t kb[HOST_SIZES];
};

/* A descriptor of a process's "smaps" or "pagemap", which stays that of the memory it has now; -EOPNOTSUPP, or -ESRCH. */
int hostproc_open(pid_t pid, const char *name);
/* Of smaps: calls fn for each mapping in the order of addresses, until it says false. 0, or -errno with some mappings not seen. */
int hostproc_smaps(int fd, bool (*fn)(const struct host_map *m, void *arg), void *arg);
/*
 * Of pagemap: the same sizes for any range of pages, as far as they follow from it (HOST_RSS, HOST_ANONYMOUS, HOST_SWAP; HOST_PSS if no page is shared).
 * -EOPNOTSUPP: they do not, or the range is too large to look at.
 */
int hostproc_pages(int fd, uint64_t start, uint64_t end, struct host_map *ret);
/* CPU time of one thread in ns; it may lag by a scheduler's tick while the thread runs. -EOPNOTSUPP, or -ESRCH. */
int hostproc_thread_time(pid_t pid, pid_t tid, uint64_t *ret_ns);
/* CPU time of a whole process, its dead threads included. Any process of our pid namespace; needs no /proc. -errno. */
int hostproc_process_time(pid_t pid, uint64_t *ret_user, uint64_t *ret_sys);
