/*
 * AF_INET and AF_INET6 inside the sandbox: see loop.h. tcp(7), udp(7), ip(7).
 *
 * A TCP connection is a pair of sockets that queue messages at each other, as a unix stream is (net/unix_msg.c), with ports instead of names and TCP's
 * answers at the edges: ENOTCONN, a half-closed peer that may still be written to once, resets. UDP puts a message into the receiver's queue or
 * drops it. There are no packets, so nothing is lost, reordered or delayed. Destinations outside of the sandbox are ENETUNREACH.
 *
 * Bound sockets stand in a hash by port under L_SOCKNAME, TCP and UDP apart. Accepted connections share their listener's port and do not
 * stand there. The table holds no references: a look-up takes one only from a socket that still lives.
 */
#include "net/loop.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <string.h>

#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

#define BUCKETS 256
#define EPHEMERAL_FIRST 32768
#define EPHEMERAL_LAST 60999
#define BACKLOG_MAX 4096
#define POLL_IN ((uint32_t)(POLLIN | POLLRDNORM))
#define POLL_STATE ((uint32_t)(POLL_IN | POLLOUT | POLLWRNORM | POLLHUP | POLLRDHUP | POLLERR))
#define SOCKETS_MAX (1 << 18)

static struct slab loop_slab = SLAB_INIT(struct loop_sock);
static struct mutex table_lock = MUTEX_INIT;
static struct loop_sock *table[2][BUCKETS]; /* L_SOCKNAME: streams, datagrams */
static uint16_t next_ephemeral[2];          /* L_SOCKNAME */
static _Atomic int socket_count;
static const struct proto_ops tcp_ops, udp_ops;

/* ---- addresses ---- */

static const struct in6_addr any4 = {.s6_addr = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0}};
static const struct in6_addr loop4 = {.s6_addr = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}};

static bool same_addr(const struct in6_addr *a, const struct in6_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static bool is_v4(const struct in6_addr *a)
{
	return IN6_IS_ADDR_V4MAPPED(a);
}

static bool is_any(const struct in6_addr *a)
{
	return IN6_IS_ADDR_UNSPECIFIED(a) || same_addr(a, &any4);
}

static bool is_loopback(const struct in6_addr *a)
{
	return IN6_IS_ADDR_LOOPBACK(a) || (is_v4(a) && a->s6_addr[12] == 127);
}

static int name_from_user(const struct loop_sock *l, const struct sockaddr *sa, size_t len, struct loop_name *ret)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

	if (l->u.s.family == AF_INET6) {
		if (len < offsetof(struct sockaddr_in6, sin6_scope_id))
			return -EINVAL;
		if (sa->sa_family != AF_INET6)
			return -EAFNOSUPPORT;
		*ret = (struct loop_name){in6->sin6_addr, ntohs(in6->sin6_port)};
		return is_v4(&ret->addr) && l->v6only ? -ENETUNREACH : 0;
	}
	if (len < sizeof(*in))
		return -EINVAL;
	if (sa->sa_family != AF_INET && (sa->sa_family != AF_UNSPEC || in->sin_addr.s_addr != INADDR_ANY))
		return -EAFNOSUPPORT;
	ret->addr = any4;
	memcpy(&ret->addr.s6_addr[12], &in->sin_addr, 4);
	ret->port = ntohs(in->sin_port);
	return 0;
}

/* As a socket of that family sees it; the length. */
static int name_to_user(int family, const struct loop_name *n, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (family == AF_INET6) {
		in6->sin6_family = AF_INET6;
		in6->sin6_addr = n->addr;
		in6->sin6_port = htons(n->port);
		return (int)sizeof(*in6);
	}
	in->sin_family = AF_INET;
	memcpy(&in->sin_addr, &n->addr.s6_addr[12], 4);
	in->sin_port = htons(n->port);
	return (int)sizeof(*in);
}

/* ---- ports ---- */

static bool is_stream(const struct loop_sock *l)
{
	return l->u.s.type == SOCK_STREAM;
}

static struct loop_sock **bucket_of(const struct loop_sock *l, uint16_t port)
{
	return &table[is_stream(l) ? 0 : 1][port % BUCKETS];
}

/* Would packets for one of them reach the other? */
static bool overlap(const struct loop_sock *a, const struct in6_addr *x, const struct loop_sock *b,
		    const struct in6_addr *y)
{
	bool a_all = IN6_IS_ADDR_UNSPECIFIED(x) && !a->v6only, b_all = IN6_IS_ADDR_UNSPECIFIED(y) && !b->v6only;

	if (a_all || b_all)
		return true;
	if (is_v4(x) != is_v4(y))
		return false;
	return is_any(x) || is_any(y) || same_addr(x, y);
}

/* With L_SOCKNAME: may l be bound to that, too? */
static bool port_free(const struct loop_sock *l, const struct in6_addr *addr, uint16_t port)
{
	struct loop_sock *o;

	for (o = *bucket_of(l, port); o; o = o->port_next) {
		if (o->local.port != port || !overlap(l, addr, o, &o->local.addr))
			continue;
		if (socket_option(&l->u.s, SOCK_OPT_REUSEPORT) && socket_option(&o->u.s, SOCK_OPT_REUSEPORT))
			continue;
		if (socket_option(&l->u.s, SOCK_OPT_REUSEADDR) && socket_option(&o->u.s, SOCK_OPT_REUSEADDR) &&
		    o->u.state != UNIX_LISTENING)
			continue;
		return false;
	}
	return true;
}

/* With L_SOCKNAME: the next free one of the range that connect() and port 0 use; 0: none. */
static uint16_t ephemeral_port(const struct loop_sock *l, const struct in6_addr *addr)
{
	uint16_t *next = &next_ephemeral[is_stream(l) ? 0 : 1];

	for (int tries = 0; tries <= EPHEMERAL_LAST - EPHEMERAL_FIRST; tries++) {
		uint16_t port = *next < EPHEMERAL_FIRST || *next >= EPHEMERAL_LAST ? EPHEMERAL_FIRST : *next + 1;

		*next = port;
		if (port_free(l, addr, port))
			return port;
	}
	return 0;
}

/* Gives l a port; 0: any. */
static int bind_port(struct loop_sock *l, const struct loop_name *want)
{
	uint16_t port;
	int err = 0;

	mutex_lock(&l->u.s.lock, L_SOCK);
	mutex_lock(&table_lock, L_SOCKNAME);
	port = want->port ? want->port : ephemeral_port(l, &want->addr);
	if (l->local.port)
		err = -EINVAL;
	else if (!port || !port_free(l, &want->addr, port))
		err = -EADDRINUSE;
	if (!err) {
		struct loop_sock **at = bucket_of(l, port);

		l->local = (struct loop_name){want->addr, port};
		l->port_next = *at;
		*at = l;
	}
	mutex_unlock(&table_lock, L_SOCKNAME);
	mutex_unlock(&l->u.s.lock, L_SOCK);
	return err;
}

static void unbind_port(struct loop_sock *l)
{
	struct loop_sock **at;

	mutex_lock(&l->u.s.lock, L_SOCK);
	mutex_lock(&table_lock, L_SOCKNAME);
	at = bucket_of(l, l->local.port);
	while (*at && *at != l)
		at = &(*at)->port_next;
	if (*at)
		*at = l->port_next;
	l->local = (struct loop_name){.addr = l->u.s.family == AF_INET ? any4 : in6addr_any};
	mutex_unlock(&table_lock, L_SOCKNAME);
	mutex_unlock(&l->u.s.lock, L_SOCK);
}

/* A port for a socket that has none and needs one now. */
static int autobind(struct loop_sock *l)
{
	struct loop_name any = {.addr = l->u.s.family == AF_INET ? any4 : in6addr_any};
	int err = l->local.port ? 0 : bind_port(l, &any);

	return err == -EINVAL ? 0 : err; /* another thread did it */
}

/* How well a bound socket fits a destination: 0 not at all. */
static int fit(const struct loop_sock *o, const struct loop_name *to, const struct loop_name *from)
{
	if (o->local.port != to->port)
		return 0;
	if (o->has_remote && (!is_stream(o)) &&
	    (o->remote.port != from->port || !same_addr(&o->remote.addr, &from->addr)))
		return 0;
	if (same_addr(&o->local.addr, &to->addr))
		return o->has_remote ? 4 : 3;
	if (IN6_IS_ADDR_UNSPECIFIED(&o->local.addr))
		return !is_v4(&to->addr) ? 2 : o->v6only ? 0 : 1;
	return same_addr(&o->local.addr, &any4) && is_v4(&to->addr) ? 2 : 0;
}

/* The socket of l's kind that receives what is sent to `to`: a reference, or NULL. Streams: listeners only. */
static struct loop_sock *find_bound(const struct loop_sock *l, const struct loop_name *to, const struct loop_name *from)
{
	struct loop_sock *o, *best = NULL;
	int best_fit = 0;

	mutex_lock(&table_lock, L_SOCKNAME);
	for (o = *bucket_of(l, to->port); o; o = o->port_next) {
		int f = is_stream(o) && o->u.state != UNIX_LISTENING ? 0 : fit(o, to, from);

		if (f <= best_fit || !ref_get_unless_zero(&o->u.s.ref))
			continue;
		if (best)
			socket_put(&best->u.s); /* not the last reference: it is in the table */
		best = o;
		best_fit = f;
	}
	mutex_unlock(&table_lock, L_SOCKNAME);
	return best;
}

static int loop_bind(struct ctx *c, struct socket *s, const struct sockaddr *sa, size_t len)
{
	struct loop_sock *l = loop_of(s);
	struct loop_name n;
	int err = name_from_user(l, sa, len, &n);

	if (err)
		return err == -ENETUNREACH ? -EINVAL : err;
	if (!is_any(&n.addr) && !is_loopback(&n.addr))
		return -EADDRNOTAVAIL;
	if (n.port && n.port < 1024 && !cred_capable(c->cred, CAP_NET_BIND_SERVICE))
		return -EACCES;
	return bind_port(l, &n);
}

/* ---- making and ending ---- */

static void loop_destroy(struct socket *s)
{
	struct loop_sock *l = loop_of(s);

	unix_sock_fini(&l->u);
	slab_free(&loop_slab, l);
	__atomic_sub_fetch((int *)&socket_count, 1, __ATOMIC_RELAXED);
}

static void loop_release(struct socket *s)
{
	struct loop_sock *l = loop_of(s);

	if (l->local.port)
		unbind_port(l);
	unix_release(s);
}

static struct loop_sock *loop_alloc(int family, int type)
{
	struct loop_sock *l = NULL;

	if (__atomic_add_fetch((int *)&socket_count, 1, __ATOMIC_RELAXED) <= SOCKETS_MAX)
		l = slab_alloc(&loop_slab);
	if (!l) {
		__atomic_sub_fetch((int *)&socket_count, 1, __ATOMIC_RELAXED);
		return NULL;
	}
	unix_sock_init(&l->u, type == SOCK_STREAM ? &tcp_ops : &udp_ops, family, type);
	l->u.s.protocol = type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
	l->local.addr = l->remote.addr = family == AF_INET ? any4 : in6addr_any;
	loop_options_init(l);
	return l;
}

static int loop_create(struct ctx *c, int family, int type, int protocol, struct socket **ret)
{
	struct loop_sock *l;

	if (type == SOCK_RAW)
		return cred_capable(c->cred, CAP_NET_RAW) ? -EPROTONOSUPPORT : -EPERM;
	if (type != SOCK_STREAM && type != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	if (protocol && protocol != (type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP))
		return -EPROTONOSUPPORT;
	l = loop_alloc(family, type);
	if (!l)
		return -ENOMEM;
	*ret = &l->u.s;
	return 0;
}

static int loop_create4(struct ctx *c, int type, int protocol, struct socket **ret)
{
	return loop_create(c, AF_INET, type, protocol, ret);
}

static int loop_create6(struct ctx *c, int type, int protocol, struct socket **ret)
{
	return loop_create(c, AF_INET6, type, protocol, ret);
}

static int loop_getname(struct socket *s, bool peer, struct sockaddr_storage *ret)
{
	struct loop_sock *l = loop_of(s);
	struct loop_name n;
	bool has;

	mutex_lock(&s->lock, L_SOCK);
	n = peer ? l->remote : l->local;
	has = !peer || (l->has_remote && !l->reset);
	mutex_unlock(&s->lock, L_SOCK);
	return has ? name_to_user(s->family, &n, ret) : -ENOTCONN;
}

/* ---- TCP ---- */

static int tcp_listen(struct ctx *c __unused, struct socket *s, int backlog)
{
	struct loop_sock *l = loop_of(s);
	int err = autobind(l);

	if (err)
		return err;
	mutex_lock(&s->lock, L_SOCK);
	if (l->u.state == UNIX_CONNECTED) {
		err = -EINVAL;
	} else {
		l->u.backlog = (unsigned)backlog > BACKLOG_MAX ? BACKLOG_MAX : backlog;
		l->u.state = UNIX_LISTENING;
	}
	mutex_unlock(&s->lock, L_SOCK);
	if (!err)
		wake_up_all(&l->u.peer_wait, 0);
	return err;
}

/* The accepted end of a connection from l to `to`. */
static struct unix_msg *tcp_embryo(struct loop_sock *l, const struct loop_sock *listener, const struct loop_name *to)
{
	struct loop_sock *e = loop_alloc(listener->u.s.family, SOCK_STREAM);
	struct unix_msg *m = e ? unix_msg_create(NULL, 0) : NULL;

	if (!m) {
		if (e)
			socket_put(&e->u.s);
		return NULL;
	}
	e->u.state = UNIX_CONNECTED;
	e->u.peer = unix_get(&l->u);
	e->has_remote = true;
	e->remote = l->local;
	e->local = *to;
	memcpy(e->options, listener->options, sizeof(e->options));
	e->u.s.options = listener->u.s.options;
	e->u.s.sndbuf = listener->u.s.sndbuf;
	e->u.s.rcvbuf = listener->u.s.rcvbuf;
	m->embryo = &e->u;
	return m;
}

/* With both locks. */
static int tcp_connect_locked(struct loop_sock *l, struct loop_sock *listener, const struct loop_name *to,
			      struct unix_msg *m) REQUIRES(L_SOCK)
{
	struct loop_sock *e = container_of(m->embryo, struct loop_sock, u);

	if (l->u.state != UNIX_CLOSED || l->has_remote)
		return -EISCONN;
	if (listener->u.dead || listener->u.state != UNIX_LISTENING || listener->u.shutdown & UNIX_RCV_SHUTDOWN)
		return -ECONNREFUSED;
	if (unix_queue_full(&listener->u))
		return -EAGAIN;
	/* A wildcard becomes the address that is used. */
	if (is_any(&l->local.addr))
		l->local.addr = is_v4(&to->addr) ? loop4 : in6addr_loopback;
	e->remote = l->local;
	l->remote = *to;
	l->has_remote = true;
	l->u.state = UNIX_CONNECTED;
	l->u.shutdown = 0;
	l->u.peer = unix_get(m->embryo);
	unix_enqueue(&listener->u, m);
	socket_publish(&e->u.s);
	return 0;
}

static int tcp_connect_to(struct loop_sock *l, struct loop_sock *listener, const struct loop_name *to)
{
	struct unix_msg *m = tcp_embryo(l, listener, to);
	int err;

	if (!m)
		return -ENOBUFS;
	mutex_lock_two(&l->u.s.lock, &listener->u.s.lock, L_SOCK);
	err = tcp_connect_locked(l, listener, to, m);
	mutex_unlock_two(&l->u.s.lock, &listener->u.s.lock, L_SOCK);
	if (err) {
		unix_put(take(m->embryo->peer));
		unix_msg_free(m);
		return err;
	}
	socket_wake(&listener->u.s, POLL_IN);
	socket_wake(&l->u.s, POLL_STATE);
	return 0;
}

static int wait_backlog(struct ctx *c, struct loop_sock *listener, int64_t deadline)
{
	int err = 0;

	mutex_lock(&listener->u.s.lock, L_SOCK);
	if (!listener->u.dead && unix_queue_full(&listener->u))
		err = socket_wait(c, &listener->u.s, &listener->u.peer_wait, deadline);
	mutex_unlock(&listener->u.s.lock, L_SOCK);
	return err;
}

/* Where a connection or datagram goes: the wildcard is this host, another host is unreachable. */
static int destination(const struct loop_sock *l, const struct sockaddr *sa, size_t len, struct loop_name *ret)
{
	int err = name_from_user(l, sa, len, ret);

	if (err)
		return err;
	if (is_any(&ret->addr))
		ret->addr = is_v4(&ret->addr) ? loop4 : in6addr_loopback;
	return is_loopback(&ret->addr) ? 0 : -ENETUNREACH;
}

/* Until the destination takes the connection or refuses it. */
static int tcp_connect_loop(struct ctx *c, struct loop_sock *l, const struct loop_name *to, int64_t deadline)
{
	for (;;) {
		struct loop_sock *listener = find_bound(l, to, &l->local);
		bool full;
		int err;

		if (!listener)
			return -ECONNREFUSED;
		err = tcp_connect_to(l, listener, to);
		full = err == -EAGAIN;
		if (full)
			err = wait_backlog(c, listener, deadline);
		socket_put(&listener->u.s);
		if (!full || err)
			return err;
	}
}

static int tcp_connect(struct ctx *c, struct socket *s, const struct sockaddr *sa, size_t len, int flags)
{
	struct loop_sock *l = loop_of(s);
	int64_t deadline = socket_deadline(s->sndtimeo, flags & O_NONBLOCK);
	bool had_port = l->local.port;
	struct loop_name to;
	int err = socket_take_error(s);

	if (!err)
		err = l->u.state != UNIX_CLOSED ? -EISCONN : destination(l, sa, len, &to);
	if (!err)
		err = autobind(l);
	if (err)
		return err;
	err = tcp_connect_loop(c, l, &to, deadline);
	if (err && !had_port && l->u.state == UNIX_CLOSED)
		unbind_port(l);
	return err;
}

/* Without a connection it fails, and marks the socket all the same, as inet_shutdown() does for those who poll. */
static int shutdown_own(struct loop_sock *l, int how, int err)
{
	mutex_lock(&l->u.s.lock, L_SOCK);
	l->u.shutdown |= (uint8_t)(how + 1);
	mutex_unlock(&l->u.s.lock, L_SOCK);
	socket_wake(&l->u.s, POLL_STATE);
	return err;
}

static int tcp_shutdown(struct ctx *c, struct socket *s, int how)
{
	struct loop_sock *l = loop_of(s);

	if (l->u.state == UNIX_CLOSED)
		return shutdown_own(l, how, -ENOTCONN);
	if (how != SHUT_WR)
		shutdown_own(l, SHUT_RD, 0);
	return how == SHUT_RD ? 0 : unix_shutdown(c, s, SHUT_WR);
}

/* A first write to a peer that closed its socket is taken; the reset that it causes shows in what follows. */
static bool peer_reset(struct loop_sock *l)
{
	bool gone;

	mutex_lock(&l->u.s.lock, L_SOCK);
	gone = l->u.peer && l->u.peer->dead && !l->reset && !(l->u.shutdown & UNIX_SEND_SHUTDOWN);
	if (gone) {
		l->reset = true;
		l->u.shutdown = UNIX_SHUTDOWN_BOTH;
		socket_set_error(&l->u.s, EPIPE);
	}
	mutex_unlock(&l->u.s.lock, L_SOCK);
	if (gone)
		socket_wake(&l->u.s, POLL_STATE);
	return gone;
}

static ssize_t tcp_send(struct ctx *c, struct socket *s, struct net_msg *nm)
{
	struct loop_sock *l = loop_of(s);
	int err = socket_take_error(s);
	ssize_t n;

	if (err)
		return err == -EPIPE ? socket_pipe_error(c, nm->flags) : err;
	if (l->u.state != UNIX_CONNECTED)
		return socket_pipe_error(c, nm->flags);
	if (iobuf_left(nm->data) && peer_reset(l))
		return (ssize_t)iobuf_left(nm->data);
	nm->addr_len = 0;
	nm->control_size = 0;
	n = unix_stream_send(c, s, nm);
	if (n > 0)
		netdev_count((size_t)n);
	return n;
}

static ssize_t tcp_recv(struct ctx *c, struct socket *s, struct net_msg *nm)
{
	ssize_t n;

	if (unix_of(s)->state != UNIX_CONNECTED)
		return -ENOTCONN;
	if (nm->flags & MSG_OOB)
		return -EINVAL;
	n = unix_stream_recv(c, s, nm);
	nm->addr_len = 0;
	return n == -EPIPE ? 0 : n;
}

/* ---- UDP ---- */

static int udp_connect(struct ctx *c __unused, struct socket *s, const struct sockaddr *sa, size_t len,
		       int flags __unused)
{
	struct loop_sock *l = loop_of(s);
	struct loop_name to;
	int err;

	if (len < sizeof(sa->sa_family))
		return -EINVAL;
	if (sa->sa_family == AF_UNSPEC) {
		mutex_lock(&s->lock, L_SOCK);
		l->has_remote = false;
		l->u.state = UNIX_CLOSED;
		mutex_unlock(&s->lock, L_SOCK);
		return 0;
	}
	err = destination(l, sa, len, &to);
	if (!err)
		err = autobind(l);
	if (err)
		return err;
	mutex_lock(&s->lock, L_SOCK);
	if (is_any(&l->local.addr))
		l->local.addr = is_v4(&to.addr) ? loop4 : in6addr_loopback;
	l->remote = to;
	l->has_remote = true;
	l->u.state = UNIX_CONNECTED;
	mutex_unlock(&s->lock, L_SOCK);
	return 0;
}

/* The source that receivers of l's datagrams see; IPv4 or not as the destination is. */
static struct loop_name source_name(struct loop_sock *l, const struct loop_name *to)
{
	struct loop_name n = l->local;

	if (is_any(&n.addr))
		n.addr = is_v4(&to->addr) ? loop4 : in6addr_loopback;
	return n;
}

static int udp_target(struct loop_sock *l, const struct net_msg *nm, struct loop_name *ret)
{
	if (nm->addr_len)
		return destination(l, (const struct sockaddr *)&nm->addr, nm->addr_len, ret);
	*ret = l->remote;
	return l->has_remote ? 0 : -EDESTADDRREQ;
}

/* Into the receiver's queue, or dropped: it is full, or closing. m is used up. */
static void udp_deliver(struct loop_sock *to, struct unix_msg *m)
{
	bool taken;

	mutex_lock(&to->u.s.lock, L_SOCK);
	taken = !to->u.dead && !(to->u.shutdown & UNIX_RCV_SHUTDOWN) && to->u.qbytes <= (size_t)to->u.s.rcvbuf &&
		to->u.qlen < 65536;
	if (taken)
		unix_enqueue(&to->u, m);
	else
		to->drops++;
	mutex_unlock(&to->u.s.lock, L_SOCK);
	if (taken)
		socket_wake(&to->u.s, POLL_IN);
	else
		unix_msg_free(m);
}

/* The sender's name goes in front of the data. */
static int udp_fill(struct ctx *c, struct loop_sock *l, struct net_msg *nm, const struct loop_name *from, size_t size,
		    struct unix_msg **ret)
{
	int64_t deadline = socket_deadline(l->u.s.sndtimeo, nm->flags & MSG_DONTWAIT);
	struct unix_msg *m;
	int err = unix_msg_fill(c, &l->u, nm->data, size, deadline, &m);

	if (!err) {
		m->source = unix_addr_create(from, sizeof(*from));
		if (m->source) {
			*ret = m;
			return 0;
		}
		unix_msg_free(m);
		err = -ENOBUFS;
	}
	return err;
}

static ssize_t udp_send(struct ctx *c, struct socket *s, struct net_msg *nm)
{
	struct loop_sock *l = loop_of(s), *to;
	size_t size = iobuf_left(nm->data);
	struct loop_name dest = {.port = 0}, from;
	struct unix_msg *m;
	int err = socket_take_error(s);

	if (!err)
		err = nm->flags & MSG_OOB ? -EOPNOTSUPP : udp_target(l, nm, &dest);
	if (!err)
		err = dest.port ? autobind(l) : -EINVAL;
	if (err)
		return err;
	if (size > 65507)
		return -EMSGSIZE;
	from = source_name(l, &dest);
	err = udp_fill(c, l, nm, &from, size, &m);
	if (err)
		return err;
	netdev_count(size);
	to = find_bound(l, &dest, &from);
	if (to) {
		udp_deliver(to, m);
		socket_put(&to->u.s);
		return (ssize_t)size;
	}
	unix_msg_free(m);
	/* "Port unreachable" comes back to a connected sender. */
	if (l->has_remote && !nm->addr_len) {
		socket_set_error(s, ECONNREFUSED);
		socket_wake(s, POLLERR);
	}
	return (ssize_t)size;
}

static ssize_t udp_recv(struct ctx *c, struct socket *s, struct net_msg *nm)
{
	struct loop_name from;
	ssize_t n = unix_dgram_recv(c, s, nm);

	if (n < 0 || nm->addr_len != sizeof(from))
		return n;
	memcpy(&from, &nm->addr, sizeof(from));
	nm->addr_len = (uint32_t)name_to_user(s->family, &from, &nm->addr);
	return n;
}

static int udp_shutdown(struct ctx *c, struct socket *s, int how)
{
	struct loop_sock *l = loop_of(s);

	return l->has_remote ? unix_shutdown(c, s, how) : shutdown_own(l, how, -ENOTCONN);
}

static const struct proto_ops tcp_ops = {
    .bind = loop_bind,
    .connect = tcp_connect,
    .listen = tcp_listen,
    .accept = unix_accept,
    .getname = loop_getname,
    .shutdown = tcp_shutdown,
    .sendmsg = tcp_send,
    .recvmsg = tcp_recv,
    .poll = unix_poll,
    .ioctl = unix_ioctl,
    .setsockopt = loop_setsockopt,
    .getsockopt = loop_getsockopt,
    .info = loop_info,
    .release = loop_release,
    .destroy = loop_destroy,
};

static const struct proto_ops udp_ops = {
    .bind = loop_bind,
    .connect = udp_connect,
    .getname = loop_getname,
    .shutdown = udp_shutdown,
    .sendmsg = udp_send,
    .recvmsg = udp_recv,
    .poll = unix_poll,
    .ioctl = unix_ioctl,
    .setsockopt = loop_setsockopt,
    .getsockopt = loop_getsockopt,
    .info = loop_info,
    .release = loop_release,
    .destroy = loop_destroy,
};

const struct net_family loop_family4 = {.family = AF_INET, .create = loop_create4};
const struct net_family loop_family6 = {.family = AF_INET6, .create = loop_create6};
