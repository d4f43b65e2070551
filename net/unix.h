/*
 * AF_UNIX: unix(7). What the files net/unix*.c share.
 *
 * Locks: L_SOCK of each socket for its state and receive queue; two sockets are locked by address (mutex_lock_two). It is not held while data is copied
 * from or to a guest, which can make that last. L_SOCKREAD, before it: those who read a stream. L_SOCKNAME: the table of names, after L_SOCK.
 * L_INFLIGHT: counts of descriptors in messages, before L_SOCK.
 */
#pragma once

#include <sys/un.h>

#include "net/socket.h"

/* A name: immutable, shared by a listener and what it accepts. */
struct unix_addr {
	struct ref ref;
	uint32_t len; /* of the address, sun_family included */
	struct sockaddr_un sun;
};

enum unix_state { UNIX_CLOSED, UNIX_LISTENING, UNIX_CONNECTED };

enum { UNIX_RCV_SHUTDOWN = 1, UNIX_SEND_SHUTDOWN = 2, UNIX_SHUTDOWN_BOTH = 3 };

struct unix_sock {
	struct socket s;      /* first member */
	struct mutex reading; /* L_SOCKREAD */
	/* L_SOCK of s.lock: */
	struct unix_addr *addr; /* a reference; NULL: no name. Set once */
	struct path path;       /* of a name in the file system: references */
	struct unix_sock *peer; /* a reference */
	enum unix_state state;
	bool dead; /* its file is closed */
	uint8_t shutdown;
	int backlog;
	struct list queue; /* unix_msg, received; of a listener: connections to accept */
	unsigned qlen;
	size_t qbytes;               /* unread bytes in queue */
	struct wait_queue peer_wait; /* senders waiting for room in our queue, connectors for the backlog */
	struct wait_entry relay;     /* on the peer's peer_wait: wakes our own queue for pollers */
	_Atomic int64_t sent;        /* charged bytes of messages that we sent and nobody has read */
	/* L_SOCKNAME: */
	struct unix_sock *name_next;
	/* L_INFLIGHT: see unix_gc.c */
	unsigned inflight;
	struct list gc_link;
	bool gc_candidate, gc_maybe_cycle;
	struct file *gc_file;
};

struct unix_msg {
	struct ref ref; /* of whoever has it on a list, and of those who copy from it */
	struct list link;
	bool queued;              /* at its receiver: whose L_SOCK it is under */
	struct unix_sock *from;   /* a reference: whom it is charged to, whose name recvfrom tells */
	struct unix_sock *embryo; /* in a listener's queue: the connection, a reference; no data */
	struct unix_addr *source; /* what recvfrom tells instead of the sender's name; a reference or NULL */
	struct scm scm;
	size_t size, off; /* off: read already, streams */
	size_t room;      /* of data: a filter may have made size smaller */
	size_t charge;
	char data[];
};

static inline struct unix_sock *unix_of(struct socket *s)
{
	return container_of(s, struct unix_sock, s);
}

static inline struct unix_sock *unix_get(struct unix_sock *u)
{
	if (u)
		socket_get(&u->s);
	return u;
}

static inline void unix_put(struct unix_sock *u)
{
	if (u)
		socket_put(&u->s);
}

static inline void unix_put_cleanup(struct unix_sock **u)
{
	unix_put(*u);
}
#define UNIX_REF __cleanup(unix_put_cleanup) struct unix_sock *

/* What a message takes beside its data, as Linux accounts for it. */
#define UNIX_MSG_OVERHEAD 768

extern const struct net_family unix_family;

/* unix_name.c. All results are references. */
int unix_check_addr(const struct sockaddr *addr, size_t len);
int unix_bind(struct ctx *c, struct socket *s, const struct sockaddr *addr, size_t len);
int unix_autobind(struct unix_sock *u);
/* The socket of that name (in net, if it is an abstract one) and type: -ECONNREFUSED, -ENOENT, -EACCES, -EPROTOTYPE. */
int __must_check unix_find(struct ctx *c, const struct netns *net, const struct sockaddr *addr, size_t len, int type,
			   struct unix_sock **ret);
/* Takes the name off the table; the socket is closing. */
void unix_unname(struct unix_sock *u);
/* A copy of len bytes, at most sizeof(struct sockaddr_un); NULL: no memory. */
struct unix_addr *unix_addr_create(const void *addr, size_t len);
struct unix_addr *unix_addr_get(struct unix_addr *a);
void unix_addr_put(struct unix_addr *a);
int unix_getname(struct socket *s, bool peer, struct sockaddr_storage *ret);

/* unix_msg.c */
ssize_t unix_stream_send(struct ctx *c, struct socket *s, struct net_msg *m);
ssize_t unix_stream_recv(struct ctx *c, struct socket *s, struct net_msg *m);
ssize_t unix_dgram_send(struct ctx *c, struct socket *s, struct net_msg *m);
ssize_t unix_dgram_recv(struct ctx *c, struct socket *s, struct net_msg *m);
ssize_t unix_seqpacket_send(struct ctx *c, struct socket *s, struct net_msg *m);
ssize_t unix_seqpacket_recv(struct ctx *c, struct socket *s, struct net_msg *m);
/* A message with room for size bytes, charged to `from`; NULL: no memory. */
struct unix_msg *unix_msg_create(struct unix_sock *from, size_t size);
/* A message with the next size bytes of b, after waiting for room in SO_SNDBUF. -EAGAIN, -EPIPE (shut down), -EFAULT, -ENOBUFS. */
int __must_check unix_msg_fill(struct ctx *c, struct unix_sock *u, struct iobuf *b, size_t size, int64_t deadline,
			       struct unix_msg **ret);
/* Drops a reference to a message that is on no queue; the last one frees it, with the descriptors in it and its charge. No lock held. */
void unix_msg_free(struct unix_msg *m);
void unix_msg_free_list(struct list *l);
/* The next one of a queue, or NULL. */
struct unix_msg *unix_dequeue(struct unix_sock *u) REQUIRES(L_SOCK);
void unix_enqueue(struct unix_sock *u, struct unix_msg *m) REQUIRES(L_SOCK);
/* Takes one off the queue, or all of them. */
void unix_unqueue(struct unix_sock *u, struct unix_msg *m) REQUIRES(L_SOCK);
void unix_unqueue_all(struct unix_sock *u, struct list *to) REQUIRES(L_SOCK);
/* Nobody may queue any more to u, whose queue has more messages than its backlog allows. */
static inline bool unix_queue_full(const struct unix_sock *u)
{
	return u->qlen > (unsigned)u->backlog;
}
/* Little enough is on its way that pollers are told POLLOUT. */
static inline bool unix_writable(struct unix_sock *u)
{
	return u->state != UNIX_LISTENING && u->sent * 4 <= u->s.sndbuf;
}

/* unix.c. What the loopback family (loop.c) is made of, too: connections are pairs of sockets there as well. */
/* A socket of this family that is ours: the host's (hostsock.c) may be of it, too. */
bool unix_is(const struct socket *s);
void unix_sock_init(struct unix_sock *u, const struct proto_ops *ops, int family, int type);
/* By ops->destroy, before the memory is freed. */
void unix_sock_fini(struct unix_sock *u);
int unix_accept(struct ctx *c, struct socket *s, int flags, struct socket **ret);
int unix_shutdown(struct ctx *c, struct socket *s, int how);
uint32_t unix_poll(struct socket *s, struct poll_table *p);
long unix_ioctl(struct ctx *c, struct socket *s, uint32_t cmd, uint64_t arg);
bool unix_info(struct socket *s, struct sock_info *i);
void unix_release(struct socket *s);
/* u leaves its peer, which it had as a datagram destination. */
void unix_dgram_disconnected(struct unix_sock *u, struct unix_sock *old_peer);
/* Ends u's connections: what closing does. */
void unix_close(struct unix_sock *u);

/* unix_gc.c: descriptors enter and leave messages. No lock held. */
int __must_check unix_scm_attach(struct ctx *c, struct scm *scm);
void unix_scm_detach(struct scm *scm);
/* Waits until no collection runs: after taking further references out of queued messages (MSG_PEEK). */
void unix_gc_barrier(void);
/* A socket was closed, or descriptors were sent: if it is worth it, frees sockets that only messages among themselves hold. */
void unix_gc_closed(void);
