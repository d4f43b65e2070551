/*
 * Unix sockets: the data. unix(7), send(2), recv(2).
 *
 * A send copies from the guest into a message before any lock is taken and then queues it at the receiver. Messages are charged to the sender (SO_SNDBUF) with an
 * overhead like that of Linux's buffers, and given back when they are freed; a sender waits while it has SO_SNDBUF on its way and is woken when a
 * quarter is left. Datagram queues are also bounded in number (the receiver's backlog).
 *
 * A receive copies to the guest without the receiver's lock, which senders need; a reference keeps the message meanwhile. Two readers of a stream take
 * turns (L_SOCKREAD). Used-up messages are freed after all locks were dropped, because that may close files. A stream is never read beyond a
 * message that carries descriptors.
 */
#include <poll.h>
#include <string.h>

#include "net/filter.h"
#include "net/unix.h"
#include "sentry/base/restart.h"
#include "sentry/base/slab.h"

#define OVERFLOW_ID 65534
#define STREAM_CHUNK 32768u
#define POLL_IN ((uint32_t)(POLLIN | POLLRDNORM))
#define POLL_OUT ((uint32_t)(POLLOUT | POLLWRNORM | POLLWRBAND))

struct unix_msg *unix_msg_create(struct unix_sock *from, size_t size)
{
	struct unix_msg *m = kalloc(sizeof(*m) + size);

	if (!m)
		return NULL;
	ref_init(&m->ref);
	list_init(&m->link);
	m->size = m->room = size;
	m->charge = size + UNIX_MSG_OVERHEAD;
	if (from) {
		m->from = unix_get(from);
		__atomic_fetch_add((int64_t *)&from->sent, (int64_t)m->charge, __ATOMIC_SEQ_CST);
	}
	return m;
}

/* Gives the charge back to the sender. */
static void msg_uncharge(struct unix_msg *m)
{
	struct unix_sock *from = take(m->from);

	if (!from)
		return;
	__atomic_fetch_sub((int64_t *)&from->sent, (int64_t)m->charge, __ATOMIC_SEQ_CST);
	if (wait_queue_active(&from->s.wq) && unix_writable(from))
		wake_up(&from->s.wq, POLL_OUT);
	unix_put(from);
}

void unix_msg_free(struct unix_msg *m)
{
	if (!ref_put(&m->ref))
		return;
	msg_uncharge(m);
	if (m->scm.file_count)
		unix_scm_detach(&m->scm);
	scm_drop(&m->scm);
	unix_addr_put(m->source);
	unix_put(m->embryo);
	kfree(m, sizeof(*m) + m->room);
}

void unix_msg_free_list(struct list *l)
{
	struct unix_msg *m;

	while ((m = list_first(l, struct unix_msg, link))) {
		list_remove(&m->link);
		unix_msg_free(m);
	}
}

void unix_enqueue(struct unix_sock *u, struct unix_msg *m)
{
	m->queued = true;
	list_append(&u->queue, &m->link);
	u->qlen++;
	u->qbytes += m->size;
}

void unix_unqueue(struct unix_sock *u, struct unix_msg *m)
{
	m->queued = false;
	list_remove(&m->link);
	u->qlen--;
	u->qbytes -= m->size - m->off;
}

void unix_unqueue_all(struct unix_sock *u, struct list *to)
{
	struct unix_msg *m;

	while ((m = unix_dequeue(u)))
		list_append(to, &m->link);
}

struct unix_msg *unix_dequeue(struct unix_sock *u)
{
	struct unix_msg *m = list_first(&u->queue, struct unix_msg, link);

	if (m)
		unix_unqueue(u, m);
	return m;
}

/* ---- sending ---- */

/* Until less than SO_SNDBUF is on its way. 0 or -errno. */
static int wait_for_sndbuf(struct ctx *c, struct unix_sock *u, int64_t deadline)
{
	int err = 0;

	if (u->sent < u->s.sndbuf && !u->s.err && !(u->shutdown & UNIX_SEND_SHUTDOWN))
		return 0;
	mutex_lock(&u->s.lock, L_SOCK);
	for (;;) {
		struct wait_entry e;

		err = socket_take_error(&u->s);
		if (!err && u->shutdown & UNIX_SEND_SHUTDOWN)
			err = -EPIPE;
		if (err || u->sent < u->s.sndbuf)
			break;
		if (deadline == 0) {
			err = -EAGAIN;
			break;
		}
		/* Charges change without our lock: look once more when we stand on the queue. */
		wait_entry_init_ctx(&e, c, 0);
		wait_queue_add(&u->s.wq, &e);
		mutex_unlock(&u->s.lock, L_SOCK);
		if (u->sent >= u->s.sndbuf)
			err = park(c, deadline);
		wait_entry_remove(&e);
		mutex_lock(&u->s.lock, L_SOCK);
		if (err == -ETIMEDOUT)
			err = -EAGAIN;
		if (err == -ERESTARTSYS && deadline != TIME_NEVER)
			err = -EINTR;
		if (err)
			break;
	}
	mutex_unlock(&u->s.lock, L_SOCK);
	return err;
}

int unix_msg_fill(struct ctx *c, struct unix_sock *u, struct iobuf *b, size_t size, int64_t deadline,
		  struct unix_msg **ret)
{
	int err = wait_for_sndbuf(c, u, deadline);
	struct unix_msg *m;

	if (err)
		return err;
	m = unix_msg_create(u, size);
	if (!m)
		return -ENOBUFS;
	if (size && iobuf_get(b, m->data, size) != (ssize_t)size) {
		unix_msg_free(m);
		return -EFAULT;
	}
	*ret = m;
	return 0;
}

/*
 * What the message says of its sender; descriptors go with the first one. The sender's ids are in it only if he named them or one end wanted them
 * when it was sent; else they are those of nobody.
 */
static void msg_set_scm(struct unix_msg *m, struct scm *scm, const struct unix_sock *from, const struct unix_sock *to)
{
	m->scm = *scm;
	scm->files = NULL;
	scm->file_count = 0;
	if (scm->has_cred || socket_option(&from->s, SOCK_OPT_PASSCRED) || socket_option(&to->s, SOCK_OPT_PASSCRED))
		return;
	m->scm.pid = 0;
	m->scm.uid = m->scm.gid = OVERFLOW_ID;
}

/* Queues one piece of a stream at the peer. */
static int stream_push(struct unix_sock *peer, struct unix_msg *m)
{
	int err = 0;

	mutex_lock(&peer->s.lock, L_SOCK);
	if (peer->dead || peer->shutdown & UNIX_RCV_SHUTDOWN)
		err = -EPIPE;
	else
		unix_enqueue(peer, m);
	mutex_unlock(&peer->s.lock, L_SOCK);
	if (!err)
		socket_wake(&peer->s, POLL_IN);
	else
		unix_msg_free(m);
	return err;
}

static ssize_t stream_send_all(struct ctx *c, struct unix_sock *u, struct unix_sock *peer, struct net_msg *nm,
			       struct scm *scm)
{
	int64_t deadline = socket_deadline(u->s.sndtimeo, nm->flags & MSG_DONTWAIT);
	ssize_t done = 0;
	int err = 0;

	while (!err && iobuf_left(nm->data)) {
		size_t size = MIN(iobuf_left(nm->data), MIN(STREAM_CHUNK, (size_t)u->s.sndbuf / 2));
		struct unix_msg *m;

		err = unix_msg_fill(c, u, nm->data, size, deadline, &m);
		if (err)
			break;
		msg_set_scm(m, scm, u, peer);
		err = stream_push(peer, m);
		done += err ? 0 : (ssize_t)size;
	}
	if (err == -EPIPE && !done)
		return socket_pipe_error(c, nm->flags);
	return done ? done : err;
}

/* The peer of a connected socket that may send; checks what send(2) checks first. */
static int stream_peer(struct ctx *c, struct unix_sock *u, const struct net_msg *nm, struct unix_sock **ret)
{
	bool shut;

	if (nm->flags & MSG_OOB)
		return -EOPNOTSUPP;
	mutex_lock(&u->s.lock, L_SOCK);
	*ret = unix_get(u->peer);
	shut = u->shutdown & UNIX_SEND_SHUTDOWN;
	mutex_unlock(&u->s.lock, L_SOCK);
	if (nm->addr_len)
		return u->state == UNIX_CONNECTED ? -EISCONN : -EOPNOTSUPP;
	if (!*ret)
		return -ENOTCONN;
	return shut ? socket_pipe_error(c, nm->flags) : 0;
}

ssize_t unix_stream_send(struct ctx *c, struct socket *s, struct net_msg *nm)
{
	struct unix_sock *u = unix_of(s);
	UNIX_REF peer = NULL;
	struct scm scm;
	ssize_t r;

	r = scm_parse(c, nm, &scm);
	if (r)
		return r;
	r = stream_peer(c, u, nm, &peer);
	if (!r && scm.file_count)
		r = unix_scm_attach(c, &scm);
	if (!r) {
		r = stream_send_all(c, u, peer, nm, &scm);
		if (scm.file_count)
			unix_scm_detach(&scm);
	}
	scm_drop(&scm);
	return r;
}

/* Where a datagram goes: the address in the call, or the peer. */
static int dgram_target(struct ctx *c, struct unix_sock *u, const struct net_msg *nm, struct unix_sock **ret)
{
	const struct sockaddr *addr = (const struct sockaddr *)&nm->addr;
	int err;

	if (nm->addr_len) {
		err = unix_check_addr(addr, nm->addr_len);
		return err ? err : unix_find(c, u->s.net, addr, nm->addr_len, u->s.type, ret);
	}
	mutex_lock(&u->s.lock, L_SOCK);
	*ret = unix_get(u->peer);
	mutex_unlock(&u->s.lock, L_SOCK);
	return *ret ? 0 : -ENOTCONN;
}

/* The destination is closed: a connected sender loses it. */
static int dgram_target_dead(struct unix_sock *u, struct unix_sock *to)
{
	struct unix_sock *old = NULL;

	if (u->s.type == SOCK_SEQPACKET)
		return -EPIPE;
	mutex_lock(&u->s.lock, L_SOCK);
	if (u->peer == to) {
		old = take(u->peer);
		wait_entry_remove(&u->relay);
		u->state = UNIX_CLOSED;
	}
	mutex_unlock(&u->s.lock, L_SOCK);
	if (old) {
		unix_dgram_disconnected(u, old);
		unix_put(old);
	}
	return -ECONNREFUSED;
}

/* Queues m at `to`, waiting for room. 0, or -errno with m still the caller's. */
static int dgram_push(struct ctx *c, struct unix_sock *u, struct unix_sock *to, struct unix_msg *m, int64_t deadline)
{
	bool dead = false;
	int err = 0;

	mutex_lock(&to->s.lock, L_SOCK);
	for (;;) {
		dead = to->dead;
		if (dead)
			break;
		if (to->peer && to->peer != u)
			err = -EPERM;
		else if (to->shutdown & UNIX_RCV_SHUTDOWN)
			err = -EPIPE;
		if (err || to == u || !unix_queue_full(to))
			break;
		err = socket_wait(c, &to->s, &to->peer_wait, deadline);
		if (err)
			break;
	}
	if (!dead && !err)
		unix_enqueue(to, m);
	mutex_unlock(&to->s.lock, L_SOCK);
	if (dead)
		return dgram_target_dead(u, to);
	if (!err)
		socket_wake(&to->s, POLL_IN);
	return err;
}

static ssize_t dgram_send_scm(struct ctx *c, struct unix_sock *u, struct net_msg *nm, struct scm *scm)
{
	int64_t deadline = socket_deadline(u->s.sndtimeo, nm->flags & MSG_DONTWAIT);
	size_t size = iobuf_left(nm->data);
	UNIX_REF to = NULL;
	struct unix_msg *m;
	uint32_t keep;
	int err;

	err = dgram_target(c, u, nm, &to);
	if (err)
		return err;
	if (size + 32 > (size_t)u->s.sndbuf)
		return -EMSGSIZE;
	err = unix_msg_fill(c, u, nm->data, size, deadline, &m);
	if (err)
		return err;
	msg_set_scm(m, scm, u, to);
	keep = u->s.type == SOCK_DGRAM ? filter_bytes(&to->s, m->data, (uint32_t)size) : UINT32_MAX;
	m->size = MIN(size, keep);
	/* What the receiver does not want is gone, and its sender does not hear of it. */
	err = keep ? dgram_push(c, u, to, m, deadline) : 0;
	if (err || !keep)
		unix_msg_free(m);
	return err ? err : (ssize_t)size;
}

ssize_t unix_dgram_send(struct ctx *c, struct socket *s, struct net_msg *nm)
{
	struct unix_sock *u = unix_of(s);
	struct scm scm;
	ssize_t r;

	if (nm->flags & MSG_OOB)
		return -EOPNOTSUPP;
	r = scm_parse(c, nm, &scm);
	if (r)
		return r;
	if (socket_option(s, SOCK_OPT_PASSCRED))
		r = unix_autobind(u);
	if (!r && scm.file_count)
		r = unix_scm_attach(c, &scm);
	if (!r) {
		r = dgram_send_scm(c, u, nm, &scm);
		if (scm.file_count)
			unix_scm_detach(&scm);
	}
	scm_drop(&scm);
	return r;
}

ssize_t unix_seqpacket_send(struct ctx *c, struct socket *s, struct net_msg *nm)
{
	int err = socket_take_error(s);

	if (err)
		return err;
	if (unix_of(s)->state != UNIX_CONNECTED)
		return -ENOTCONN;
	nm->addr_len = 0;
	return unix_dgram_send(c, s, nm);
}

/* ---- receiving ---- */

/* The sender's name. */
static void put_name(struct net_msg *nm, const struct unix_msg *m)
{
	struct unix_addr *a = m->source;

	nm->addr_len = 0;
	/* Names are set once: no lock. */
	if (!a && m->from)
		a = __atomic_load_n(&m->from->addr, __ATOMIC_ACQUIRE);
	if (a) {
		memcpy(&nm->addr, &a->sun, sizeof(a->sun));
		nm->addr_len = a->len;
	}
}

/* Control messages of a received message. Descriptors are taken out of m unless `peek`. No lock held. */
static void put_control(struct ctx *c, struct socket *s, struct net_msg *nm, const struct scm *scm)
{
	struct ucred u = {scm->pid, scm->uid, scm->gid};

	if (socket_option(s, SOCK_OPT_PASSCRED))
		cmsg_put(c, nm, SOL_SOCKET, SCM_CREDENTIALS, &u, sizeof(u));
	if (scm->file_count)
		scm_put_files(c, nm, scm->files, scm->file_count);
}

/* The message's scm for the receiver: the references move, or with `peek` are copied. */
static void scm_receive(struct unix_msg *m, bool peek, struct scm *ret)
{
	*ret = m->scm;
	ret->files = NULL;
	ret->file_count = 0;
	if (!m->scm.file_count)
		return;
	if (!peek) {
		ret->files = take(m->scm.files);
		ret->file_count = m->scm.file_count;
		m->scm.file_count = 0;
		return;
	}
	ret->files = scm_files_create();
	if (!ret->files)
		return;
	for (unsigned i = 0; i < m->scm.file_count; i++)
		ret->files->at[i] = file_get(m->scm.files->at[i]);
	ret->file_count = m->scm.file_count;
}

/* Ends a receive: control messages, and the receiver's references. No lock held. */
static void scm_deliver(struct ctx *c, struct socket *s, struct net_msg *nm, struct scm *scm, bool peek)
{
	if (scm->file_count && !peek)
		unix_scm_detach(scm);
	else if (scm->file_count)
		unix_gc_barrier();
	put_control(c, s, nm, scm);
	scm_drop(scm);
}

/* State of one stream receive over its messages and sleeps. */
struct stream_reader {
	struct net_msg *nm;
	size_t done, target;
	int64_t deadline;
	bool peek, have_scm, stop;
	struct scm scm;
	struct list used;      /* messages to free */
	struct unix_msg *lost; /* and one that somebody else took off the queue */
};

static bool same_sender(const struct scm *a, const struct scm *b)
{
	return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid;
}

/* Copies from m with the lock dropped. If m is off the queue then, this is the end. */
static ssize_t stream_copy(struct stream_reader *r, struct unix_sock *u, struct unix_msg *m) REQUIRES(L_SOCK)
{
	ssize_t n;

	ref_get(&m->ref);
	mutex_unlock(&u->s.lock, L_SOCK);
	n = iobuf_put(r->nm->data, m->data + m->off, m->size - m->off);
	mutex_lock(&u->s.lock, L_SOCK);
	if (m->queued) {
		BUG_ON(ref_put(&m->ref));
		return n;
	}
	r->lost = m;
	r->stop = true;
	return n;
}

/* Takes from one message; `m` is the head of the queue unless this peeks. 0, or -EFAULT before the first byte. */
static int stream_take(struct stream_reader *r, struct unix_sock *u, struct unix_msg *m) REQUIRES(L_SOCK)
{
	ssize_t n;

	if (r->have_scm && socket_option(&u->s, SOCK_OPT_PASSCRED) && !same_sender(&r->scm, &m->scm)) {
		r->stop = true;
		return 0;
	}
	n = stream_copy(r, u, m);
	if (n < 0) {
		r->stop = true;
		return r->done ? 0 : -EFAULT;
	}
	r->done += (size_t)n;
	if (!r->have_scm && !r->peek)
		put_name(r->nm, m);
	/* The first message, or the one with descriptors, says who it was. */
	if (!r->have_scm || m->scm.file_count) {
		r->stop |= m->scm.file_count != 0;
		scm_receive(m, r->peek, &r->scm);
		r->have_scm = true;
	}
	if (r->peek || r->lost)
		return 0;
	m->off += (size_t)n;
	u->qbytes -= (size_t)n;
	if (m->off == m->size) {
		unix_unqueue(u, m);
		list_append(&r->used, &m->link);
	}
	return 0;
}

/* What is there now. A peek walks along the queue without taking. */
static int stream_drain(struct stream_reader *r, struct unix_sock *u) REQUIRES(L_SOCK)
{
	struct unix_msg *m = list_first(&u->queue, struct unix_msg, link);
	int err = 0;

	while (m && iobuf_left(r->nm->data)) {
		err = stream_take(r, u, m);
		if (err || r->stop)
			break;
		if (!r->peek)
			m = list_first(&u->queue, struct unix_msg, link);
		else
			m = m->link.next == &u->queue ? NULL : list_entry(m->link.next, struct unix_msg, link);
	}
	return err;
}

/* Nothing is queued: 0 to wait and look again, 1 for the end of the stream, or -errno. */
static int stream_idle(struct unix_sock *u)
{
	int err = socket_take_error(&u->s);

	if (err)
		return err;
	return u->shutdown & UNIX_RCV_SHUTDOWN ? 1 : 0;
}

/* As socket_wait(); meanwhile others may read. */
static int stream_wait(struct ctx *c, struct unix_sock *u, int64_t deadline) REQUIRES(L_SOCKREAD, L_SOCK)
{
	int err;

	mutex_unlock(&u->reading, L_SOCKREAD);
	err = socket_wait(c, &u->s, &u->s.wq, deadline);
	mutex_unlock(&u->s.lock, L_SOCK);
	mutex_lock(&u->reading, L_SOCKREAD);
	mutex_lock(&u->s.lock, L_SOCK);
	return err;
}

static int stream_read_all(struct ctx *c, struct unix_sock *u, struct stream_reader *r) REQUIRES(L_SOCKREAD, L_SOCK)
{
	for (;;) {
		int err = stream_drain(r, u);

		if (err || r->stop || r->peek ? r->done || err : r->done >= r->target)
			return err;
		if (!iobuf_left(r->nm->data) && (r->done || !list_empty(&u->queue)))
			return 0;
		err = stream_idle(u);
		if (err)
			return err < 0 ? err : 0;
		err = stream_wait(c, u, r->deadline);
		if (err)
			return err;
	}
}

ssize_t unix_stream_recv(struct ctx *c, struct socket *s, struct net_msg *nm)
{
	struct unix_sock *u = unix_of(s);
	struct stream_reader r = {.nm = nm, .peek = nm->flags & MSG_PEEK};
	size_t size = iobuf_left(nm->data);
	int err;

	if (nm->flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (u->state != UNIX_CONNECTED)
		return -EINVAL;
	nm->addr_len = 0;
	list_init(&r.used);
	r.target = MAX(nm->flags & MSG_WAITALL ? size : MIN((size_t)s->rcvlowat, size), 1u);
	r.deadline = socket_deadline(s->rcvtimeo, nm->flags & MSG_DONTWAIT);
	mutex_lock(&u->reading, L_SOCKREAD);
	mutex_lock(&s->lock, L_SOCK);
	err = stream_read_all(c, u, &r);
	mutex_unlock(&s->lock, L_SOCK);
	mutex_unlock(&u->reading, L_SOCKREAD);
	unix_msg_free_list(&r.used);
	if (r.lost)
		unix_msg_free(r.lost);
	if (r.have_scm)
		scm_deliver(c, s, nm, &r.scm, r.peek);
	return r.done ? (ssize_t)r.done : err;
}

/* The next datagram, after waiting. NULL with *ret_err: 0 means the end. */
static struct unix_msg *dgram_next(struct ctx *c, struct unix_sock *u, int64_t deadline, int *ret_err) REQUIRES(L_SOCK)
{
	bool ends = u->s.type == SOCK_SEQPACKET || deadline != 0;
	struct unix_msg *m;

	for (;;) {
		int err = socket_take_error(&u->s);

		m = list_first(&u->queue, struct unix_msg, link);
		if (m && !err)
			return m;
		*ret_err = err;
		if (err || (u->shutdown & UNIX_RCV_SHUTDOWN && ends))
			return NULL;
		*ret_err = socket_wait(c, &u->s, &u->s.wq, deadline);
		if (*ret_err)
			return NULL;
	}
}

/*
 * Copies one datagram out with the lock dropped, and takes it off the queue unless this peeks. In both cases there is a reference for the caller to
 * drop.
 */
static ssize_t dgram_take(struct unix_sock *u, struct net_msg *nm, struct unix_msg *m, struct scm *scm) REQUIRES(L_SOCK)
{
	bool peek = nm->flags & MSG_PEEK;
	size_t size = iobuf_left(nm->data);
	ssize_t n = 0;

	put_name(nm, m);
	if (size < m->size)
		nm->out_flags |= MSG_TRUNC;
	size = MIN(size, m->size);
	if (peek)
		ref_get(&m->ref);
	else
		unix_unqueue(u, m);
	mutex_unlock(&u->s.lock, L_SOCK);
	if (size)
		n = iobuf_put(nm->data, m->data, size);
	mutex_lock(&u->s.lock, L_SOCK);
	if (n < 0 || (size_t)n < size)
		return -EFAULT; /* the datagram is lost, as on Linux */
	scm_receive(m, peek, scm);
	return nm->flags & MSG_TRUNC ? (ssize_t)m->size : n;
}

ssize_t unix_dgram_recv(struct ctx *c, struct socket *s, struct net_msg *nm)
{
	struct unix_sock *u = unix_of(s);
	int64_t deadline = socket_deadline(s->rcvtimeo, nm->flags & MSG_DONTWAIT);
	struct scm scm = {0};
	struct unix_msg *m;
	ssize_t n;
	int err = 0;

	if (nm->flags & MSG_OOB)
		return -EOPNOTSUPP;
	mutex_lock(&s->lock, L_SOCK);
	m = dgram_next(c, u, deadline, &err);
	n = m ? dgram_take(u, nm, m, &scm) : err;
	mutex_unlock(&s->lock, L_SOCK);
	if (!m) {
		nm->addr_len = 0;
		return n;
	}
	unix_msg_free(m);
	if (!(nm->flags & MSG_PEEK))
		wake_up(&u->peer_wait, 0);
	if (n >= 0)
		scm_deliver(c, s, nm, &scm, nm->flags & MSG_PEEK);
	return n;
}

ssize_t unix_seqpacket_recv(struct ctx *c, struct socket *s, struct net_msg *nm)
{
	if (unix_of(s)->state != UNIX_CONNECTED)
		return -ENOTCONN;
	return unix_dgram_recv(c, s, nm);
}
