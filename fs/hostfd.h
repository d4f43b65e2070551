/*
 * Files over descriptors of the host that the launcher handed over: standard streams. Regular files keep the host's own, shared position; pipes, terminals
 * and devices are read and written without ever blocking a thread in the host, so that signals and kills end every wait.
 */
#pragma once

#include "fs/file.h"

/*
 * In the launcher, while it sees the host's /proc: a descriptor (close-on-exec, the caller's) for the same object as fd, with an open description of
 * its own where that helps (pipes, terminals, devices: O_NONBLOCK there does not touch those who share fd), else a duplicate. -errno.
 */
int hostfd_reopen(int fd);

/*
 * A file over host_fd, with the access mode that it has on the host; it belongs to the file from then on. A terminal becomes the guest's
 * terminal (fs/dev/hosttty.c). -EBADF: it is not open; -ENOMEM; -EINVAL for directories, O_PATH and block devices. On failure host_fd stays the caller's.
 */
int __must_check hostfd_open(struct ctx *c, int host_fd, struct file **ret);

/* A FIFO of the host that f is opening: fd becomes its end, or is closed. -ENOMEM. */
int __must_check hostfd_attach(struct file *f, int fd);

/* How terminals are opened: set by fs/dev. NULL: as other devices. */
extern int (*hostfd_open_tty)(struct ctx *c, int host_fd, struct file **ret);

/*
 * Has the thread that watches host descriptors call fn(fd) whenever fd can be read, until that returns false. fn must not block, and holds up everybody who waits
 * for the host. For the sandbox's own few descriptors, which stay open. 0 or -errno.
 */
int __must_check hostfd_call(int fd, bool (*fn)(int fd));

/* ---- for fs/dev/hosttty.c, net/hostsock.c and net/hostinet.c ---- */

/* A host descriptor and who waits for it. */
struct hostfd;

/* Takes over fd. NULL: no memory. */
struct hostfd *hostfd_create(int fd);
/*
 * Before it is first waited for: while somebody polls it, the host's every event wakes them (EPOLLET), not the first one after each hostfd_rearm() only, so
 * that those who poll it edge-triggered need not read until -EAGAIN. For sockets.
 */
void hostfd_set_edges(struct hostfd *h);
struct hostfd *hostfd_get(struct hostfd *h);
void hostfd_put(struct hostfd *h);
/* As hostfd_put() of the last reference, but the descriptor stays open: the caller's again. */
void hostfd_forget(struct hostfd *h);
int hostfd_fd(const struct hostfd *h);
/* One try that does not block: bytes or -errno (-EAGAIN). */
ssize_t hostfd_read_once(struct hostfd *h, void *buf, size_t size);
ssize_t hostfd_write_once(struct hostfd *h, const void *buf, size_t size);
/* Until the host says that events (POLLIN, POLLOUT) or an error are there. 0, -ERESTARTSYS, -ETIMEDOUT, or why it cannot be watched. */
int __must_check hostfd_wait(struct ctx *c, struct hostfd *h, uint32_t events, int64_t deadline);
/* The poll op. */
uint32_t hostfd_poll(struct hostfd *h, struct poll_table *p);
/* After an -EAGAIN that went to the guest: whoever polls it edge-triggered hears of the next change. */
void hostfd_rearm(struct hostfd *h, uint32_t events);
