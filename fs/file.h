/*
 * Open descriptions: what a descriptor refers to and dup() and fork() share. open(2).
 *
 * Position: ops get `pos`: f->pos (with f->pos_lock, L_POS, held) for read/write/lseek of seekable files, or the caller's own for pread/pwrite. Ops of
 * streams ignore it. Ops take their own locks; none is held when they are called except pos_lock.
 */
#pragma once

#include "fs/mount.h"
#include "sentry/base/iobuf.h"
#include "sentry/base/wait.h"

struct file;
struct pipe;
struct poll_table;
struct fasync;

/* Receives directory entries; false: full, stop and do not advance. */
struct dir_sink {
	bool (*emit)(struct dir_sink *s, const char *name, size_t len, uint64_t ino, unsigned d_type, off_t next_off);
};

/*
 * What a mapping of a file is backed by: a host fd, borrowed from the file: valid while the file or its inode is referenced.
 * host_fd -1: no file at all, but zeros (/dev/zero). The identity for futex keys and /proc/PID/maps is the file's inode.
 */
struct file_backing {
	int host_fd;
	uint64_t off;
	int deny_prot; /* PROT_* that mprotect must never add (seals); 0 by default */
};

struct file_ops {
	/* Bytes, 0 at the end, -EAGAIN, -ERESTARTSYS... iobuf_left() is > 0. */
	ssize_t (*read)(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos);
	ssize_t (*write)(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos);
	/* Without it: -ESPIPE. file_llseek_generic() serves those with a size. */
	off_t (*llseek)(struct ctx *c, struct file *f, off_t off, int whence);
	/* From *pos; advances it. "." and ".." included. */
	int (*iterate)(struct ctx *c, struct file *f, struct dir_sink *s, off_t *pos);
	/*
	 * The ready POLL* bits. If e is given, it is put on the file's wait queue first (file_poll_add()), so that no change is
	 * missed. Without it: always POLLIN | POLLOUT, and epoll_ctl says -EPERM.
	 */
	uint32_t (*poll)(struct file *f, struct poll_table *p);
	/* -ENOTTY if unknown. FIONREAD, FIONBIO, FIOCLEX... are done by the caller where generic. */
	long (*ioctl)(struct ctx *c, struct file *f, uint32_t cmd, uint64_t arg);
	/* What MAP_SHARED or MAP_PRIVATE of [off, off+size) is made from. -ENODEV without it. prot, flags: mmap's. */
	int (*mmap)(struct ctx *c, struct file *f, uint64_t off, size_t size, int prot, int flags,
		    struct file_backing *ret);
	int (*fsync)(struct ctx *c, struct file *f, bool data_only);
	int (*fallocate)(struct ctx *c, struct file *f, int mode, off_t off, off_t size);
	/* One more part of an address space maps the file, or one fewer. The first is called with L_MM. */
	void (*map_open)(struct file *f);
	void (*map_close)(struct file *f);
	/* Each close of a descriptor (POSIX locks go here by the caller); errors are reported by close(2). */
	int (*flush)(struct ctx *c, struct file *f);
	/* The last reference: free f->priv. No ctx: it may be any thread. */
	void (*release)(struct file *f);
	/* F_SETFL changed O_NONBLOCK, O_APPEND, O_DIRECT, O_ASYNC. 0 or -errno. */
	int (*set_flags)(struct file *f, int flags);
	/* /proc/PID/fdinfo: extra lines after pos, flags, mnt_id. */
	void (*show_fdinfo)(struct file *f, char *buf, size_t size);
};

struct file {
	struct ref ref;
	const struct file_ops *ops;
	struct path path;      /* references; {NULL, NULL} never: anonymous ones have a dentry in anonfs */
	struct inode *inode;   /* path.dentry->inode, borrowed */
	_Atomic int flags;     /* O_*; access mode and status flags, without O_CLOEXEC and O_CREAT... */
	bool seekable;         /* has a position: pread is allowed. Set by the open if the ops have llseek */
	bool opened;           /* the open op has succeeded: release will be called */
	struct mutex pos_lock; /* L_POS */
	off_t pos;
	void *priv;              /* the ops' own */
	const struct cred *cred; /* the opener's; a reference */
	struct list epoll_items; /* fs/epoll.c: interests in this file, so that release can drop them */
	uint64_t epoll_checked;  /* fs/epoll.c: the path check that saw it last; L_EPOLLCTL */
	bool epolled;            /* there was an interest once */
	struct fasync *fasync;   /* F_SETOWN, O_ASYNC */
	void *flock_owner;
	_Atomic uint32_t mappings; /* how many parts of address spaces map it: file_map_get() */
};

/* One registration of a poller with the wait queues of a file (a file may have more than one queue). */
struct poll_table {
	/* Called by the poll op for each queue; may be NULL: only the bits are asked for. */
	void (*add)(struct poll_table *p, struct wait_queue *q);
	uint32_t events; /* POLL* bits wanted */
	struct ctx *c;   /* who asks; may be NULL */
};

static inline void poll_wait(struct poll_table *p, struct wait_queue *q)
{
	if (p && p->add)
		p->add(p, q);
}

/* count 1; takes references to path's parts. ops may be changed by the open op. NULL: no memory. */
struct file *file_create(const struct path *path, const struct file_ops *ops, int flags, const struct cred *cred);
struct file *file_get(struct file *f);
void file_put(struct file *f);
static inline void file_put_cleanup(struct file **f)
{
	file_put(*f);
}
/* The reference of a mapping, counted: who wants to change what is mapped asks whether anybody has it. */
static inline struct file *file_map_get(struct file *f)
{
	__atomic_fetch_add((uint32_t *)&f->mappings, 1, __ATOMIC_RELAXED);
	if (unlikely(f->ops->map_open))
		f->ops->map_open(f);
	return file_get(f);
}
static inline void file_map_put(struct file *f)
{
	if (!f)
		return;
	__atomic_fetch_sub((uint32_t *)&f->mappings, 1, __ATOMIC_RELEASE);
	if (unlikely(f->ops->map_close))
		f->ops->map_close(f);
	file_put(f);
}
static inline bool file_is_mapped(const struct file *f)
{
	return __atomic_load_n((const uint32_t *)&f->mappings, __ATOMIC_ACQUIRE);
}
#define FILE_REF __cleanup(file_put_cleanup) struct file *

/* A file without a name: pipes, sockets, eventfds. name as in /proc/PID/fd: "pipe:[%lu]" style if it ends in ':', else "anon_inode:NAME".
 * mode: S_IFIFO, S_IFSOCK or 0. */
int __must_check anon_file_create(struct ctx *c, const char *name, uint32_t mode, const struct file_ops *ops,
				  void *priv, int flags, struct file **ret);

/* The checks and the position of read(2)/write(2); pos NULL uses and advances f->pos. */
ssize_t file_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos);
ssize_t file_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos);
uint32_t file_poll(struct file *f, struct poll_table *p);
off_t file_llseek_generic(struct ctx *c, struct file *f, off_t off, int whence);
/* RLIMIT_FSIZE for a write at pos: cuts b, or SIGXFSZ and -EFBIG. For write ops of regular files. */
int file_write_limit(struct ctx *c, struct file *f, struct iobuf *b, off_t pos);
/* lseek(2) with the checks and the lock; and the arithmetic for llseek ops that know a size. */
off_t file_llseek(struct ctx *c, struct file *f, off_t off, int whence);
off_t file_llseek_size(struct file *f, off_t off, int whence, off_t size);
/* getdents at the file's position. -ENOTDIR, -ENOENT for a removed directory. */
int file_iterate(struct ctx *c, struct file *f, struct dir_sink *s);
/* A regular file for execution: reading it needs no permission to read. The caller has checked what there is to check. */
int __must_check file_open_exec(struct ctx *c, const struct path *p, struct file **ret);
/* Open an already resolved path. */
int __must_check file_open_path(struct ctx *c, const struct path *p, int flags, struct file **ret);
