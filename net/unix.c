/*
 * Unix sockets: unix(7). Making, connecting, accepting, closing; polling. Names are in unix_name.c, data in unix_msg.c, the collection of
 * sockets that only messages refer to in unix_gc.c.
 *
 * A connection is two sockets that have each other as peer, with a reference. A connecting stream makes the accepted end itself and queues it at
 * the listener, so that connect() does not wait for accept(), as on Linux. A datagram socket's peer is only where it sends by default.
 *
 * Closing marks a socket dead and tells its peer; memory goes with the last reference. Peers are cut at the close, so that two sockets do not keep each
 * other. A poller of a connected datagram socket must also learn of room in the *peer's* queue: u->relay stands on the peer's
 * peer_wait and passes its wake-ups on. It comes there and goes under u's lock, with u->peer, whose reference keeps the queue alive.
 */
#include "net/unix.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "net/netstack.h"
#include "net/sockinfo.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

#define DGRAM_BACKLOG 10 /* net.unix.max_dgram_qlen */
#define SOMAXCONN_LIMIT 4096
#define POLL_IN ((uint32_t)(POLLIN | POLLRDNORM))
#define POLL_OUT ((uint32_t)(POLLOUT | POLLWRNORM | POLLWRBAND))
#define POLL_STATE ((uint32_t)(POLL_IN | POLL_OUT | POLLHUP | POLLRDHUP | POLLERR))
#define SOCKETS_MAX (1 << 18)

static struct slab unix_slab = SLAB_INIT(struct unix_sock);
static _Atomic int socket_count;
static const struct proto_ops stream_ops, dgram_ops, seqpacket_ops;

static void relay_wake(struct wait_entry *e, uint32_t events __unused)
{
	struct unix_sock *u = e->priv;

	wake_up_nested(&u->s.wq, POLL_OUT);
}

static const struct proto_ops *ops_of(int type)
{
	if (type == SOCK_STREAM)
		return &stream_ops;
	return type == SOCK_DGRAM ? &dgram_ops : &seqpacket_ops;
}

bool unix_is(const struct socket *s)
{
	return s->ops == ops_of(s->type);
}

void unix_sock_init(struct unix_sock *u, const struct proto_ops *ops, int family, int type)
{
	socket_init(&u->s, ops, family, type, 0);
	mutex_init(&u->reading);
	list_init(&u->queue);
	list_init(&u->gc_link);
	wait_queue_init(&u->peer_wait);
	wait_entry_init(&u->relay, relay_wake, u, 0);
	u->backlog = DGRAM_BACKLOG;
}

void unix_sock_fini(struct unix_sock *u)
{
	BUG_ON(!list_empty(&u->queue));
	unix_addr_put(u->addr);
	path_put(&u->path);
	socket_fini(&u->s);
}

static struct unix_sock *unix_alloc(int type)
{
	struct unix_sock *u = NULL;

	if (__atomic_add_fetch((int *)&socket_count, 1, __ATOMIC_RELAXED) <= SOCKETS_MAX)
		u = slab_alloc(&unix_slab);
	if (!u) {
		__atomic_sub_fetch((int *)&socket_count, 1, __ATOMIC_RELAXED);
		return NULL;
	}
	unix_sock_init(u, ops_of(type), AF_UNIX, type);
	return u;
}

static int unix_create(struct ctx *c __unused, int type, int protocol, struct socket **ret)
{
	struct unix_sock *u;

	if (protocol && protocol != AF_UNIX)
		return -EPROTONOSUPPORT;
	if (type == SOCK_RAW)
		type = SOCK_DGRAM; /* a BSD heritage that Linux keeps */
	if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET)
		return -ESOCKTNOSUPPORT;
	u = unix_alloc(type);
	if (!u)
		return -ENOMEM;
	*ret = &u->s;
	return 0;
}

static void unix_destroy(struct socket *s)
{
	struct unix_sock *u = unix_of(s);

	unix_sock_fini(u);
	slab_free(&unix_slab, u);
	__atomic_sub_fetch((int *)&socket_count, 1, __ATOMIC_RELAXED);
}

/* Both references change hands: who is at the other end. */
static void set_peer_cred(struct unix_sock *u, const struct cred *cred, int32_t pid) REQUIRES(L_SOCK)
{
	if (u->s.peer_cred)
		cred_put(u->s.peer_cred);
	u->s.peer_cred = cred_get(cred);
	u->s.peer_pid = pid;
}

static bool connection_based(const struct unix_sock *u)
{
	return u->s.type != SOCK_DGRAM;
}

/* ---- closing ---- */

/* The peer of a connection learns that u is gone; `unread`: what it sent was never read. */
static void tell_peer(struct unix_sock *peer, bool unread)
{
	mutex_lock(&peer->s.lock, L_SOCK);
	/* The end of a TCP connection is told one way only, unless it is a reset. */
	peer->shutdown |= peer->s.family == AF_UNIX || unread ? UNIX_SHUTDOWN_BOTH : UNIX_RCV_SHUTDOWN;
	if (unread)
		socket_set_error(&peer->s, ECONNRESET);
	mutex_unlock(&peer->s.lock, L_SOCK);
	socket_wake(&peer->s, POLL_STATE);
}

/* Takes u out of service; what it had is moved to the caller. */
static struct unix_sock *mark_dead(struct unix_sock *u, struct list *queue, bool *ret_unread)
{
	struct unix_sock *peer;

	mutex_lock(&u->s.lock, L_SOCK);
	u->dead = true;
	u->shutdown = UNIX_SHUTDOWN_BOTH;
	peer = take(u->peer);
	wait_entry_remove(&u->relay);
	*ret_unread = u->state == UNIX_CONNECTED ? !list_empty(&u->queue) : false;
	u->state = UNIX_CLOSED;
	unix_unqueue_all(u, queue);
	mutex_unlock(&u->s.lock, L_SOCK);
	return peer;
}

/* Messages of a closed queue. A connection that nobody accepted is closed with it. */
static void drop_queue(struct list *queue)
{
	struct unix_msg *m;

	while ((m = list_first(queue, struct unix_msg, link))) {
		struct unix_sock *embryo = m->embryo;

		list_remove(&m->link);
		if (embryo) {
			struct list inner = LIST_INIT(inner);
			struct unix_sock *peer;
			bool unread;

			/* An embryo has no embryos of its own: no recursion. */
			peer = mark_dead(embryo, &inner, &unread);
			if (peer)
				tell_peer(peer, true);
			unix_put(peer);
			unix_msg_free_list(&inner);
		}
		unix_msg_free(m);
	}
}

void unix_close(struct unix_sock *u)
{
	struct list queue = LIST_INIT(queue);
	struct unix_sock *peer;
	bool unread;

	unix_unname(u);
	peer = mark_dead(u, &queue, &unread);
	wake_up_all(&u->peer_wait, 0);
	socket_wake(&u->s, POLL_STATE);
	if (peer && connection_based(u))
		tell_peer(peer, unread);
	unix_put(peer);
	drop_queue(&queue);
	path_put(&u->path);
	u->path = (struct path){NULL, NULL};
}

void unix_release(struct socket *s)
{
	unix_close(unix_of(s));
	unix_gc_closed();
}

/* ---- connecting ---- */

static int unix_listen(struct ctx *c, struct socket *s, int backlog)
{
	struct unix_sock *u = unix_of(s);
	int err = 0;

	mutex_lock(&s->lock, L_SOCK);
	if (!u->addr || u->state == UNIX_CONNECTED) {
		err = -EINVAL;
	} else {
		u->backlog = (unsigned)backlog > SOMAXCONN_LIMIT ? SOMAXCONN_LIMIT : backlog;
		u->state = UNIX_LISTENING;
		set_peer_cred(u, c->cred, c->tgid); /* what connecting ends will see */
	}
	mutex_unlock(&s->lock, L_SOCK);
	if (!err)
		wake_up_all(&u->peer_wait, 0);
	return err;
}

/* The end that accept() will give out. */
static struct unix_msg *embryo_create(struct ctx *c, struct unix_sock *u, struct unix_sock *listener)
{
	struct unix_sock *e = unix_alloc(u->s.type);
	struct unix_msg *m = e ? unix_msg_create(NULL, 0) : NULL;

	if (!m) {
		unix_put(e);
		return NULL;
	}
	e->state = UNIX_CONNECTED;
	e->peer = unix_get(u);
	e->addr = unix_addr_get(listener->addr);
	e->s.net = netns_get(listener->s.net);
	e->s.options = listener->s.options & SOCK_OPT_PASSCRED;
	e->s.peer_cred = cred_get(c->cred);
	e->s.peer_pid = c->tgid;
	m->embryo = e;
	return m;
}

/* With both locks: 0 if the listener takes a connection now, -EAGAIN if its backlog is full. */
static int connect_check(const struct unix_sock *u, const struct unix_sock *listener)
{
	if (listener->dead || listener->state != UNIX_LISTENING || listener->shutdown & UNIX_RCV_SHUTDOWN)
		return -ECONNREFUSED;
	if (u->state == UNIX_CONNECTED)
		return -EISCONN;
	if (u->state != UNIX_CLOSED)
		return -EINVAL;
	return unix_queue_full(listener) ? -EAGAIN : 0;
}

/* One attempt. m is used up on success only. */
static int connect_try(struct unix_sock *u, struct unix_sock *listener, struct unix_msg *m)
{
	int err;

	mutex_lock_two(&u->s.lock, &listener->s.lock, L_SOCK);
	err = connect_check(u, listener);
	if (!err) {
		u->state = UNIX_CONNECTED;
		u->peer = unix_get(m->embryo);
		set_peer_cred(u, listener->s.peer_cred, listener->s.peer_pid);
		unix_enqueue(listener, m);
		socket_publish(&m->embryo->s);
	}
	mutex_unlock_two(&u->s.lock, &listener->s.lock, L_SOCK);
	return err;
}

/* Sleeps until the listener may have room. */
static int connect_wait(struct ctx *c, struct unix_sock *listener, int64_t deadline)
{
	int err = 0;

	mutex_lock(&listener->s.lock, L_SOCK);
	if (!listener->dead && listener->state == UNIX_LISTENING && unix_queue_full(listener))
		err = socket_wait(c, &listener->s, &listener->peer_wait, deadline);
	mutex_unlock(&listener->s.lock, L_SOCK);
	return err;
}

static int connect_to(struct ctx *c, struct unix_sock *u, struct unix_sock *listener)
{
	struct unix_msg *m = embryo_create(c, u, listener);
	int err;

	if (!m)
		return -ENOMEM;
	err = connect_try(u, listener, m);
	if (err) {
		unix_put(take(m->embryo->peer));
		unix_msg_free(m);
		return err;
	}
	socket_wake(&listener->s, POLL_IN);
	return 0;
}

static int unix_stream_connect(struct ctx *c, struct socket *s, const struct sockaddr *addr, size_t len, int flags)
{
	struct unix_sock *u = unix_of(s);
	int64_t deadline = socket_deadline(s->sndtimeo, flags & O_NONBLOCK);
	int err = unix_check_addr(addr, len);

	if (!err && socket_option(s, SOCK_OPT_PASSCRED))
		err = unix_autobind(u);
	while (!err) {
		UNIX_REF listener = NULL;

		err = unix_find(c, s->net, addr, len, s->type, &listener);
		if (err)
			return err;
		err = connect_to(c, u, listener);
		if (err != -EAGAIN)
			return err;
		err = connect_wait(c, listener, deadline);
	}
	return err;
}

/* Datagram sockets: u no longer sends to old_peer. */
void unix_dgram_disconnected(struct unix_sock *u, struct unix_sock *old_peer)
{
	struct list queue = LIST_INIT(queue);
	bool reset;

	mutex_lock(&u->s.lock, L_SOCK);
	unix_unqueue_all(u, &queue);
	mutex_unlock(&u->s.lock, L_SOCK);
	if (!list_empty(&queue))
		wake_up_all(&u->peer_wait, 0);
	unix_msg_free_list(&queue);
	mutex_lock(&old_peer->s.lock, L_SOCK);
	reset = !old_peer->dead && old_peer->peer == u;
	if (reset)
		socket_set_error(&old_peer->s, ECONNRESET);
	mutex_unlock(&old_peer->s.lock, L_SOCK);
	if (reset)
		socket_wake(&old_peer->s, POLL_STATE);
}

/* Replaces u's default destination by `to` (its reference is taken over; NULL: none). */
static int dgram_set_peer(struct unix_sock *u, struct unix_sock *to)
{
	struct unix_sock *old;
	int err = 0;

	if (to)
		mutex_lock_two(&u->s.lock, &to->s.lock, L_SOCK);
	else
		mutex_lock(&u->s.lock, L_SOCK);
	old = u->peer;
	if (to && to->dead)
		err = -ECONNREFUSED;
	else if (to && to->peer && to->peer != u)
		err = -EPERM;
	if (err) {
		old = to;
	} else {
		wait_entry_remove(&u->relay);
		u->peer = to;
		u->state = to ? UNIX_CONNECTED : UNIX_CLOSED;
	}
	if (to)
		mutex_unlock_two(&u->s.lock, &to->s.lock, L_SOCK);
	else
		mutex_unlock(&u->s.lock, L_SOCK);
	if (!err && old && old != to)
		unix_dgram_disconnected(u, old);
	unix_put(old);
	return err;
}

static int unix_dgram_connect(struct ctx *c, struct socket *s, const struct sockaddr *addr, size_t len,
			      int flags __unused)
{
	struct unix_sock *u = unix_of(s), *to;
	int err;

	if (len < sizeof(addr->sa_family))
		return -EINVAL;
	if (addr->sa_family == AF_UNSPEC)
		return dgram_set_peer(u, NULL);
	err = unix_check_addr(addr, len);
	if (!err && socket_option(s, SOCK_OPT_PASSCRED))
		err = unix_autobind(u);
	if (!err)
		err = unix_find(c, s->net, addr, len, s->type, &to);
	return err ? err : dgram_set_peer(u, to);
}

static int unix_socketpair(struct ctx *c, struct socket *sa, struct socket *sb)
{
	struct unix_sock *a = unix_of(sa), *b = unix_of(sb);

	mutex_lock_two(&sa->lock, &sb->lock, L_SOCK);
	a->peer = unix_get(b);
	b->peer = unix_get(a);
	set_peer_cred(a, c->cred, c->tgid);
	set_peer_cred(b, c->cred, c->tgid);
	a->state = b->state = UNIX_CONNECTED;
	mutex_unlock_two(&sa->lock, &sb->lock, L_SOCK);
	return 0;
}

/* ---- accepting ---- */

int unix_accept(struct ctx *c, struct socket *s, int flags, struct socket **ret)
{
	struct unix_sock *u = unix_of(s);
	int64_t deadline = socket_deadline(s->rcvtimeo, flags & O_NONBLOCK);
	struct unix_msg *m = NULL;
	int err = 0;

	mutex_lock(&s->lock, L_SOCK);
	while (!err && !m) {
		if (u->state != UNIX_LISTENING || (list_empty(&u->queue) && u->shutdown & UNIX_RCV_SHUTDOWN))
			err = -EINVAL;
		else if (list_empty(&u->queue))
			err = socket_wait(c, s, &s->wq, deadline);
		else
			m = unix_dequeue(u);
	}
	mutex_unlock(&s->lock, L_SOCK);
	if (err)
		return err;
	wake_up_all(&u->peer_wait, 0);
	*ret = &take(m->embryo)->s;
	unix_msg_free(m);
	return 0;
}

/* ---- shutdown, poll, ioctl ---- */

int unix_shutdown(struct ctx *c __unused, struct socket *s, int how)
{
	struct unix_sock *u = unix_of(s);
	uint8_t mode = (uint8_t)(how + 1), peer_mode = 0;
	UNIX_REF peer = NULL;

	mutex_lock(&s->lock, L_SOCK);
	u->shutdown |= mode;
	if (connection_based(u))
		peer = unix_get(u->peer);
	mutex_unlock(&s->lock, L_SOCK);
	socket_wake(s, POLL_STATE);
	wake_up_all(&u->peer_wait, 0);
	if (!peer)
		return 0;
	if (mode & UNIX_RCV_SHUTDOWN)
		peer_mode |= UNIX_SEND_SHUTDOWN;
	if (mode & UNIX_SEND_SHUTDOWN)
		peer_mode |= UNIX_RCV_SHUTDOWN;
	mutex_lock(&peer->s.lock, L_SOCK);
	peer->shutdown |= peer_mode;
	mutex_unlock(&peer->s.lock, L_SOCK);
	socket_wake(&peer->s, POLL_STATE);
	return 0;
}

uint32_t unix_poll(struct socket *s, struct poll_table *p)
{
	struct unix_sock *u = unix_of(s);
	uint32_t bits = 0;

	poll_wait(p, &s->wq);
	mutex_lock(&s->lock, L_SOCK);
	if (s->err)
		bits |= POLLERR;
	if (u->shutdown == UNIX_SHUTDOWN_BOTH)
		bits |= POLLHUP;
	if (u->shutdown & UNIX_RCV_SHUTDOWN)
		bits |= POLLRDHUP | POLL_IN;
	if (!list_empty(&u->queue))
		bits |= POLL_IN;
	if (connection_based(u) && u->state == UNIX_CLOSED)
		bits |= POLLHUP;
	if (unix_writable(u))
		bits |= POLL_OUT;
	mutex_unlock(&s->lock, L_SOCK);
	return bits;
}

/* Room in the queue of a connected destination that is not connected back. */
static bool peer_has_room(struct unix_sock *u)
{
	UNIX_REF peer = NULL;
	bool room = true;

	mutex_lock(&u->s.lock, L_SOCK);
	peer = unix_get(u->peer);
	if (peer && peer != u && !u->relay.queue)
		wait_queue_add(&peer->peer_wait, &u->relay);
	mutex_unlock(&u->s.lock, L_SOCK);
	if (!peer || peer == u)
		return true;
	mutex_lock(&peer->s.lock, L_SOCK);
	room = peer->dead || peer->peer == u || !unix_queue_full(peer);
	mutex_unlock(&peer->s.lock, L_SOCK);
	return room;
}

static uint32_t unix_dgram_poll(struct socket *s, struct poll_table *p)
{
	uint32_t bits = unix_poll(s, p);

	if (bits & POLLOUT && p && p->events & POLL_OUT && !peer_has_room(unix_of(s)))
		bits &= ~POLL_OUT;
	return bits;
}

static int unread_bytes(struct unix_sock *u)
{
	struct unix_msg *m;

	if (u->state == UNIX_LISTENING)
		return -EINVAL;
	if (connection_based(u))
		return (int)MIN(u->qbytes, (size_t)INT32_MAX);
	m = list_first(&u->queue, struct unix_msg, link);
	return m ? (int)m->size : 0;
}

long unix_ioctl(struct ctx *c, struct socket *s, uint32_t cmd, uint64_t arg)
{
	struct unix_sock *u = unix_of(s);
	int value;

	switch (cmd) {
	case SIOCINQ:
		mutex_lock(&s->lock, L_SOCK);
		value = unread_bytes(u);
		mutex_unlock(&s->lock, L_SOCK);
		break;
	case SIOCOUTQ:
		value = (int)u->sent;
		break;
	default:
		return -ENOTTY;
	}
	return value < 0 ? value : copy_out(c, UADDR(arg), &value, sizeof(value));
}

bool unix_info(struct socket *s, struct sock_info *i)
{
	struct unix_sock *u = unix_of(s);
	bool dead;

	mutex_lock(&s->lock, L_SOCK);
	dead = u->dead;
	if (u->state == UNIX_LISTENING)
		i->state = TCP_LISTEN;
	else if (u->state == UNIX_CONNECTED)
		i->state = TCP_ESTABLISHED;
	i->unread = (uint32_t)MIN(i->state == TCP_LISTEN ? u->qlen : u->qbytes, (size_t)INT32_MAX);
	i->charged = (uint32_t)MIN(u->qbytes + (size_t)u->qlen * UNIX_MSG_OVERHEAD, (size_t)INT32_MAX);
	if (u->addr) {
		/* A name in the file system ends in a NUL that is not told. */
		i->name_len = (uint16_t)(u->addr->len - offsetof(struct sockaddr_un, sun_path));
		i->name_len = (uint16_t)(i->name_len - (u->addr->sun.sun_path[0] != 0));
		memcpy(i->name, u->addr->sun.sun_path, i->name_len);
	}
	mutex_unlock(&s->lock, L_SOCK);
	return !dead;
}

static int unix_getsockopt(struct ctx *c __unused, struct socket *s, int level, int name, void *value, size_t *size)
{
	int listening = unix_of(s)->state == UNIX_LISTENING;

	if (level != SOL_SOCKET)
		return -EOPNOTSUPP;
	if (name != SO_ACCEPTCONN)
		return -ENOPROTOOPT;
	*(int *)value = listening;
	*size = MIN(*size, sizeof(int));
	return 0;
}

static const struct proto_ops stream_ops = {
    .bind = unix_bind,
    .connect = unix_stream_connect,
    .listen = unix_listen,
    .accept = unix_accept,
    .getname = unix_getname,
    .socketpair = unix_socketpair,
    .shutdown = unix_shutdown,
    .sendmsg = unix_stream_send,
    .recvmsg = unix_stream_recv,
    .poll = unix_poll,
    .ioctl = unix_ioctl,
    .getsockopt = unix_getsockopt,
    .info = unix_info,
    .release = unix_release,
    .destroy = unix_destroy,
};

static const struct proto_ops dgram_ops = {
    .bind = unix_bind,
    .connect = unix_dgram_connect,
    .getname = unix_getname,
    .socketpair = unix_socketpair,
    .shutdown = unix_shutdown,
    .sendmsg = unix_dgram_send,
    .recvmsg = unix_dgram_recv,
    .poll = unix_dgram_poll,
    .ioctl = unix_ioctl,
    .getsockopt = unix_getsockopt,
    .info = unix_info,
    .release = unix_release,
    .destroy = unix_destroy,
};

static const struct proto_ops seqpacket_ops = {
    .bind = unix_bind,
    .connect = unix_stream_connect,
    .listen = unix_listen,
    .accept = unix_accept,
    .getname = unix_getname,
    .socketpair = unix_socketpair,
    .shutdown = unix_shutdown,
    .sendmsg = unix_seqpacket_send,
    .recvmsg = unix_seqpacket_recv,
    .poll = unix_dgram_poll,
    .ioctl = unix_ioctl,
    .getsockopt = unix_getsockopt,
    .info = unix_info,
    .release = unix_release,
    .destroy = unix_destroy,
};

const struct net_family unix_family = {.family = AF_UNIX, .create = unix_create};
