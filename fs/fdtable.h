/* Descriptor tables: small integers to open descriptions, shared by CLONE_FILES. Lock: L_FDTABLE, a leaf. */
#pragma once

#include "fs/file.h"

struct fdtable;

struct fdtable *fdtable_create(void);
/* A copy with references to every file up to and excluding descriptor `max` (close_range with CLOSE_RANGE_UNSHARE; INT_MAX: all). */
struct fdtable *fdtable_clone(struct fdtable *t, unsigned max);
struct fdtable *fdtable_get(struct fdtable *t);
void fdtable_put(struct fdtable *t);

/* A reference to what fd refers to, or NULL (-EBADF). fd_get() refuses O_PATH descriptors; fd_get_raw() gives those too. */
struct file *fd_get(struct ctx *c, int fd);
struct file *fd_get_raw(struct ctx *c, int fd);

/* The lowest free descriptor >= min below RLIMIT_NOFILE, reserved; -EMFILE, -EINVAL. Then exactly one of fd_fill(), fd_unreserve(). */
int __must_check fd_reserve(struct ctx *c, int min);
void fd_unreserve(struct ctx *c, int fd);
/* Publishes: the table takes over the reference. flags: O_CLOEXEC or 0. */
void fd_fill(struct ctx *c, int fd, struct file *f, int flags);
/* fd_reserve(0) and fd_fill(). Takes over the reference in every case. The descriptor or -errno. */
int __must_check fd_install(struct ctx *c, struct file *f, int flags);
/* dup2/dup3: replaces and closes what was at fd. Takes over the reference. */
int __must_check fd_replace(struct ctx *c, int fd, struct file *f, int flags);
/* close(2): flush, POSIX locks, put. */
int fd_close(struct ctx *c, int fd);
int fd_close_range(struct ctx *c, unsigned first, unsigned last, bool cloexec_only);
int fd_get_cloexec(struct ctx *c, int fd);
int fd_set_cloexec(struct ctx *c, int fd, bool on);
/* Descriptors that the caller's table has room for: 64, doubled as needed, and as many as needed after a fork. select() ignores those above. */
unsigned fd_slots(struct ctx *c);
/* Somebody else uses t too. */
bool fdtable_is_shared(const struct fdtable *t);
/* execve: closes those with FD_CLOEXEC. */
void fdtable_exec(struct ctx *c);
/* The next used descriptor >= fd of t with a reference in *ret, or -1: for /proc/PID/fd. */
int fdtable_next(struct fdtable *t, int fd, struct file **ret);
