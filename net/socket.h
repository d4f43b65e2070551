/*
 * Sockets: socket(7). What all families share: the object, its file, SOL_SOCKET options, control messages. A family stands in the
 * table of net/socket.c and gives each socket its proto_ops; an absent op means the errno that Linux's sock_no_*() has.
 *
 * A socket is reference counted, because peers and messages refer to it beyond close(2). The file holds one reference; its release calls ops->release,
 * which ends connections; the last reference calls ops->destroy, which frees the memory. Families embed struct socket as their first
 * member.
 */
#pragma once

#include <sys/socket.h>

#include "fs/file.h"
#include "sentry/base/clock.h"
#include "sentry/base/ref.h"

struct socket;
struct net_msg;
struct cred;
struct netns;
struct sock_info;
struct bpf_prog;

/* A received or sent message, as sendmsg(2) and recvmsg(2) have it, with the pointers resolved. */
struct net_msg {
	struct iobuf *data;
	struct sockaddr_storage addr; /* send: the destination; recv: filled with the source */
	uint32_t addr_len;            /* 0: none */
	int flags;                    /* MSG_*; MSG_DONTWAIT is set for O_NONBLOCK descriptions */
	int out_flags;                /* recv: MSG_TRUNC, MSG_CTRUNC, MSG_EOR... */
	/* send: a copy of the control messages; owned by the caller. */
	const char *control;
	size_t control_size;
	/* recv: where control messages go; cmsg_put() advances. */
	uaddr_t control_to;
	size_t control_room;
	size_t control_used;
};

struct proto_ops {
	/* Addresses are copies, len <= sizeof(struct sockaddr_storage). flags: O_NONBLOCK of the description. */
	int (*bind)(struct ctx *c, struct socket *s, const struct sockaddr *addr, size_t len);
	int (*connect)(struct ctx *c, struct socket *s, const struct sockaddr *addr, size_t len, int flags);
	int (*listen)(struct ctx *c, struct socket *s, int backlog);
	/* A connected socket without a file; a reference. */
	int (*accept)(struct ctx *c, struct socket *s, int flags, struct socket **ret);
	/* The length of the address, or -errno. */
	int (*getname)(struct socket *s, bool peer, struct sockaddr_storage *ret);
	/* The peer's, of a socket that was just accepted: also if the connection has ended already. Default: getname. */
	int (*accepted_name)(struct socket *s, struct sockaddr_storage *ret);
	int (*socketpair)(struct ctx *c, struct socket *a, struct socket *b);
	/* how: SHUT_RD, SHUT_WR, SHUT_RDWR, checked. */
	int (*shutdown)(struct ctx *c, struct socket *s, int how);
	ssize_t (*sendmsg)(struct ctx *c, struct socket *s, struct net_msg *m);
	ssize_t (*recvmsg)(struct ctx *c, struct socket *s, struct net_msg *m);
	uint32_t (*poll)(struct socket *s, struct poll_table *p);
	/* SIOCINQ, SIOCOUTQ and the family's own. -ENOTTY if unknown. */
	long (*ioctl)(struct ctx *c, struct socket *s, uint32_t cmd, uint64_t arg);
	/* Levels other than SOL_SOCKET, and SOL_SOCKET options that socket.c does not know. -ENOPROTOOPT. */
	int (*setsockopt)(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, size_t size);
	int (*getsockopt)(struct ctx *c, struct socket *s, int level, int name, void *value, size_t *size);
	/* An option of SOL_SOCKET has been set. May be absent, as the two that follow. */
	void (*changed)(struct socket *s, int name);
	/* SO_SNDBUF or SO_RCVBUF, where it is kept elsewhere than in the socket. */
	int (*buffer)(struct socket *s, bool send);
	/* close(2) of the last descriptor of a socket with SO_LINGER: waits for what is on its way. */
	void (*linger)(struct ctx *c, struct socket *s);
	/* Where errors are kept elsewhere than in socket.err: the pending one as -errno, cleared; 0. */
	int (*take_error)(struct socket *s);
	/* Fills in what the family knows (net/sockinfo.h). False: it is closed. No lock held. */
	bool (*info)(struct socket *s, struct sock_info *i);
	/* mmap(2), as file_ops have it. */
	int (*mmap)(struct socket *s, uint64_t off, size_t size, struct file_backing *ret);
	/* The description is closed. */
	void (*release)(struct socket *s);
	/* The last reference: frees s. */
	void (*destroy)(struct socket *s);
};

/* Boolean options: bits of socket.options. */
enum sock_option {
	SOCK_OPT_DEBUG = 1 << 0,
	SOCK_OPT_REUSEADDR = 1 << 1,
	SOCK_OPT_REUSEPORT = 1 << 2,
	SOCK_OPT_KEEPALIVE = 1 << 3,
	SOCK_OPT_BROADCAST = 1 << 4,
	SOCK_OPT_OOBINLINE = 1 << 5,
	SOCK_OPT_DONTROUTE = 1 << 6,
	SOCK_OPT_PASSCRED = 1 << 7,
	SOCK_OPT_TIMESTAMP = 1 << 8,
	SOCK_OPT_TIMESTAMPNS = 1 << 9,
	SOCK_OPT_RXQ_OVFL = 1 << 10,
	SOCK_OPT_ZEROCOPY = 1 << 11,
	SOCK_OPT_PASSSEC = 1 << 12,
	SOCK_OPT_NO_CHECK = 1 << 13,
};

struct socket {
	struct ref ref;
	const struct proto_ops *ops;
	uint16_t family, type; /* constant */
	int protocol;          /* constant */
	struct inode *inode;   /* of the file, borrowed; NULL: none yet, or closed */
	struct file *file;     /* borrowed, as inode */
	struct mutex lock;     /* L_SOCK: the family's state, and: */
	struct list async;     /* O_ASYNC descriptions */
	struct list all;       /* L_SOCKLIST */
	struct netns *net;     /* where it was made: a reference, constant once others can find it; NULL: the host's */
	struct wait_queue wq;  /* sleepers and pollers; POLL* bits */
	_Atomic int err;       /* SO_ERROR: a positive errno, taken by who reads it */
	_Atomic uint32_t options; /* enum sock_option */
	_Atomic int sndbuf, rcvbuf;
	_Atomic int rcvlowat;
	_Atomic uint64_t pacing_rate;       /* SO_MAX_PACING_RATE: bytes in a second; UINT64_MAX: any */
	_Atomic int64_t rcvtimeo, sndtimeo; /* ns; TIME_NEVER: none */
	int priority, linger_on, linger_seconds;
	uint32_t mark;
	struct bpf_prog *filter; /* L_FILTER: net/filter.h */
	bool filter_locked;      /* L_FILTER */
	/* SO_PEERCRED: who is at the other end; NULL before a connection. L_SOCK. */
	const struct cred *peer_cred;
	int32_t peer_pid;
};

/* Set up the shared part of a family's new, zeroed object; count 1. */
void socket_init(struct socket *s, const struct proto_ops *ops, int family, int type, int protocol);
/* Frees what socket_init() and options hold; by ops->destroy before it frees s. */
void socket_fini(struct socket *s);
struct socket *socket_get(struct socket *s);
void socket_put(struct socket *s);
/* Ends a socket that has got no file: what closing its file would do. */
void socket_discard(struct socket *s);
static inline void socket_discard_cleanup(struct socket **s)
{
	socket_discard(*s);
}
#define SOCKET_NEW __cleanup(socket_discard_cleanup) struct socket *

/* One of the families in socket.c's table. */
struct net_family {
	int family;
	/* type without SOCK_NONBLOCK and SOCK_CLOEXEC. */
	int (*create)(struct ctx *c, int type, int protocol, struct socket **ret);
};

/* -EAFNOSUPPORT, -EINVAL (type), -ESOCKTNOSUPPORT, -EPROTONOSUPPORT, -ENOMEM. */
int __must_check socket_create(struct ctx *c, int family, int type, int protocol, struct socket **ret);
/* Puts a socket on the list of all, when others can find it; by socket_create(), or for the end that accept() gives out. */
void socket_publish(struct socket *s);
/* By socket_fini(). */
void socket_unpublish(struct socket *s);
/* A file for s; takes over the reference in every case. flags: O_NONBLOCK. */
int __must_check socket_file(struct ctx *c, struct socket *s, int flags, struct file **ret);
/* The socket behind f, borrowed; NULL: f is no socket. */
struct socket *socket_of(struct file *f);

/* send and recv with the description's O_NONBLOCK merged into m->flags. */
ssize_t socket_sendmsg(struct ctx *c, struct file *f, struct net_msg *m);
ssize_t socket_recvmsg(struct ctx *c, struct file *f, struct net_msg *m);

/* net/sockopt.c */
int socket_setsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, size_t size);
int socket_getsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, uaddr_t size_ptr);
/* An int option: -EINVAL if size is too small, -EFAULT. */
int __must_check sockopt_int(struct ctx *c, uaddr_t value, size_t size, int *ret);

/* net/netdev.c: interface ioctls, on sockets of any family. -ENOTTY if cmd is none. */
long netdev_ioctl(struct ctx *c, struct socket *s, uint32_t cmd, uint64_t arg);
/* For families. */
static inline bool socket_option(const struct socket *s, enum sock_option o)
{
	return s->options & o;
}
/* The pending error as -errno, cleared; 0. */
int socket_take_error(struct socket *s);
void socket_set_error(struct socket *s, int err);
/* Wakes sleepers and pollers, and signals O_ASYNC owners if there are any. No lock of L_SOCK held. */
void socket_wake(struct socket *s, uint32_t events);
/* The deadline that SO_RCVTIMEO or SO_SNDTIMEO sets for a call that starts now; 0 with MSG_DONTWAIT or O_NONBLOCK. */
int64_t socket_deadline(int64_t timeo, bool nonblock);
/*
 * Sleeps on q with s->lock dropped. 0: look again; -EAGAIN: the deadline passed (or it is 0); a signal gives -ERESTARTSYS, or -EINTR
 * if there is a deadline, as sock_intr_errno() has it.
 */
int socket_wait(struct ctx *c, struct socket *s, struct wait_queue *q, int64_t deadline) REQUIRES(L_SOCK);
/* SIGPIPE unless MSG_NOSIGNAL; -EPIPE. */
int socket_pipe_error(struct ctx *c, int flags);

/* net/scm.c: control messages, cmsg(3). */
#define SCM_FD_MAX 253

struct scm_files {
	struct scm_files *next; /* scm_drop()'s own */
	unsigned dropped;
	struct file *at[SCM_FD_MAX]; /* references */
};

struct scm {
	struct scm_files *files; /* NULL: none */
	unsigned file_count;
	bool has_cred; /* the sender named them */
	int32_t pid;
	uint32_t uid, gid;
};
/* Reads the SOL_SOCKET part of m's control data; without SCM_CREDENTIALS the ids are the caller's. -EINVAL, -EBADF, -EPERM, -ETOOMANYREFS. */
int __must_check scm_parse(struct ctx *c, const struct net_msg *m, struct scm *ret);
/* Zeroed, or NULL. */
struct scm_files *scm_files_create(void);
/* Drops the references. No lock held. */
void scm_drop(struct scm *scm);
/* This thread is in scm_drop(): what is released now is released by that. */
bool scm_dropping(void);
/* Appends one control message, or sets MSG_CTRUNC. */
void cmsg_put(struct ctx *c, struct net_msg *m, int level, int type, const void *data, size_t size);
/* Installs the files as descriptors of c, as many as there is room for; the rest are dropped with MSG_CTRUNC. */
void scm_put_files(struct ctx *c, struct net_msg *m, const struct scm_files *files, unsigned count);
