/*
 * Data between two descriptions without a guest buffer: splice(2), tee(2), vmsplice(2), sendfile(2), copy_file_range(2). Positions are copies: NULL uses
 * and advances the description's own. Bytes, 0 at the end, -errno.
 */
#pragma once

#include "fs/file.h"

ssize_t splice_files(struct ctx *c, struct file *in, off_t *in_pos, struct file *out, off_t *out_pos, size_t size,
		     unsigned flags);
ssize_t tee_pipes(struct ctx *c, struct file *in, struct file *out, size_t size, unsigned flags);
/* b is guest memory; to or from the pipe f, as f is open. */
ssize_t vmsplice_pipe(struct ctx *c, struct file *f, struct iobuf *b, unsigned flags);
ssize_t sendfile_files(struct ctx *c, struct file *out, struct file *in, off_t *in_pos, size_t size);
ssize_t copy_range(struct ctx *c, struct file *in, off_t *in_pos, struct file *out, off_t *out_pos, size_t size);
