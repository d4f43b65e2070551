/*
 * Pipes and FIFOs. pipe(7), fifo(7). A struct pipe hangs at its inode's `fifo` field for as long as it has an open end.
 */
#pragma once

#include "fs/file.h"

/* Both ends of a new pipe, references. flags: O_NONBLOCK, O_DIRECT, O_CLOEXEC (ignored here). -ENOMEM, -ENFILE. */
int __must_check pipe_create(struct ctx *c, int flags, struct file **ret_read, struct file **ret_write);
/*
 * What the VFS calls for an open of a S_IFIFO inode instead of its open op: waits for the other end as fifo(7) says, and sets f->ops and
 * f->priv. No lock held. -ENXIO, -ERESTARTSYS, -ENOMEM.
 */
int __must_check fifo_open(struct ctx *c, struct inode *i, struct file *f);

/* The pipe behind f, or NULL if it is not one. Borrowed. */
struct pipe *pipe_of(struct file *f);
/* F_GETPIPE_SZ, F_SETPIPE_SZ; arg in bytes. The size in bytes or -EBADF, -EPERM, -EBUSY, -EINVAL, -ENOMEM. */
long pipe_fcntl(struct ctx *c, struct file *f, int cmd, uint64_t arg);

/*
 * Moves up to size bytes from one pipe to another; `keep`: a copy (tee). nonblock: neither end sleeps. Bytes, 0 at end of file,
 * -EAGAIN, -EPIPE (after SIGPIPE), -ERESTARTSYS, -EINVAL for one pipe with itself.
 */
ssize_t pipe_to_pipe(struct ctx *c, struct file *in, struct file *out, size_t size, bool keep, bool nonblock);
/* Bytes that a write end takes now, after waiting for some unless nonblock; -EAGAIN, -EPIPE (after SIGPIPE), -ERESTARTSYS. */
ssize_t pipe_wait_space(struct ctx *c, struct file *f, bool nonblock);
/*
 * Copies up to size bytes out of a read end without taking them, and keeps other readers away until pipe_peek_end() has been told how
 * many were used. Bytes; 0: end of file, -EAGAIN, -ERESTARTSYS: then without pipe_peek_end(). No lock is held in between.
 */
ssize_t pipe_peek_begin(struct ctx *c, struct file *f, void *buf, size_t size, bool nonblock);
void pipe_peek_end(struct file *f, size_t used);
/* As read(2) and write(2) but with O_NONBLOCK as given. */
ssize_t pipe_read_from(struct ctx *c, struct file *f, struct iobuf *b, bool nonblock);
ssize_t pipe_write_to(struct ctx *c, struct file *f, struct iobuf *b, bool nonblock);
