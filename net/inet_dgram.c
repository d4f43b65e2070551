/*
 * Datagram sockets of IP: what UDP, raw and ping sockets have in common. ip(7), udp(7), raw(7), icmp(7).
 *
 * A message is copied from the guest into a packet before the stack's lock is taken, and a received packet is taken from the queue under the lock and
 * copied after; if that faults it is lost, as on Linux. Sending never waits: what does not fit on the way or at the receiver is dropped.
 *
 * MSG_MORE and UDP_CORK gather one datagram in g->cork, a buffer of the largest size; its destination is the first piece's. shutdown() marks the
 * socket even if it fails because there is no peer, as inet_shutdown() does for those who poll.
 */
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "net/filter.h"
#include "net/inet.h"
#include "net/sockinfo.h"
#include "net/stack/addr.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

#define CORK_SIZE 65536u
#define SEGMENTS_MAX 128u /* UDP_MAX_SEGMENTS */
#define UDP6_MAX 65527u   /* a payload of IPv6 is 20 bytes larger: its header does not count */
#define INLINE_HEAD 112u  /* room in front of what lies in the packet itself */
#define INLINE_MAX (PKT_HEAD - INLINE_HEAD)
#define LINEAR 64u /* of a larger one: what a transport reads or writes */
#define POLL_IN ((uint32_t)(POLLIN | POLLRDNORM))

static struct slab dgram_slab = SLAB_INIT(struct inet_dgram);

/* ---- life ---- */

static void hold(struct wakeup *w)
{
	socket_get(&container_of(w, struct inet_dgram, d.wakeup)->i.s);
}

static void deliver(struct wakeup *w, uint32_t events)
{
	struct socket *s = &container_of(w, struct inet_dgram, d.wakeup)->i.s;

	socket_wake(s, events);
	socket_put(s);
}

static struct port_bind *port_of(struct inet_dgram *g)
{
	return g->kind->port ? g->kind->port(g) : NULL;
}

static uint32_t filter(struct stack *s, struct dgram *d, const struct pkt *p, uint16_t start) REQUIRES(L_NET)
{
	struct socket *sock = &container_of(d, struct inet_dgram, d)->i.s;
	struct pkt_view v = pkt_view_at(p, start, netdev_by_index(s, p->info.dev));

	v.protocol = sock->family == AF_INET ? ETH_P_IP : ETH_P_IPV6;
	v.random = stack_random32(s);
	return filter_packet(sock, &v);
}

static void sync_port(struct inet_dgram *g, struct port_bind *b) REQUIRES(L_NET)
{
	bool v6 = g->i.s.family == AF_INET6;

	b->uid = g->i.uid;
	b->reuse_addr = socket_option(&g->i.s, SOCK_OPT_REUSEADDR);
	b->reuse_port = socket_option(&g->i.s, SOCK_OPT_REUSEPORT);
	b->v6only = v6 && (g->i.value[INET6_V6ONLY] || !g->kind->udp);
	b->bound_dev = g->i.bound_dev;
	port_refresh(b);
}

static void sync_groups(struct inet_dgram *g, bool v6) REQUIRES(L_NET)
{
	const struct inet_sock *i = &g->i;

	g->d.no_mc_loop = !i->value[v6 ? INET6_MC_LOOP : INET_MC_LOOP];
	g->d.no_mc_all = !i->value[v6 ? INET6_MC_ALL : INET_MC_ALL];
	g->d.mc_ttl = (uint8_t)MAX(i->value[v6 ? INET6_MC_HOPS : INET_MC_TTL], 0);
	g->d.mc_host_only = i->value[v6 ? INET6_MC_HOPS : INET_MC_TTL] == 0;
	g->d.mc_dev = v6 ? i->mc_dev6 : i->mc_dev;
	if (!v6)
		g->d.mc_addr = i->mc_addr;
}

/* What decides on the route to the peer. */
static void sync_way(struct dgram *d, const struct inet_sock *i, uint8_t tos)
{
	if (d->bound_dev != i->bound_dev || d->mark != i->s.mark || d->tos != tos || d->uid != i->uid)
		d->route.dev = NULL; /* it is looked up again */
	d->bound_dev = i->bound_dev;
	d->mark = i->s.mark;
	d->tos = tos;
	d->uid = i->uid;
}

/* Options that the endpoint must know. */
static void dgram_sync(struct inet_sock *i) REQUIRES(L_NET)
{
	struct inet_dgram *g = container_of(i, struct inet_dgram, i);
	bool v6 = i->s.family == AF_INET6;
	struct dgram *d = &g->d;

	d->rcvbuf = (uint32_t)i->s.rcvbuf;
	d->broadcast = socket_option(&i->s, SOCK_OPT_BROADCAST);
	d->no_checksum = socket_option(&i->s, SOCK_OPT_NO_CHECK) || i->value[UDP_V_NO_CHECK_TX];
	d->recverr = i->value[INET_RECVERR] || i->value[INET6_RECVERR];
	d->ttl = (uint8_t)MAX(i->value[v6 ? INET6_HOPS : INET_TTL], 0);
	d->pmtu = (uint8_t)i->value[v6 ? INET6_PMTU : INET_PMTU];
	d->gro = i->value[UDP_V_GRO];
	d->freebind = i->value[v6 ? INET6_FREEBIND : INET_FREEBIND] || i->value[INET_FREEBIND] ||
		      i->value[v6 ? INET6_TRANSPARENT : INET_TRANSPARENT];
	d->filter = i->s.filter ? filter : NULL;
	sync_way(d, i, (uint8_t)MAX(i->value[v6 ? INET6_TCLASS : INET_TOS], 0));
	sync_groups(g, v6);
	if (port_of(g))
		sync_port(g, port_of(g));
	if (g->kind->udp) {
		g->udp.send_cover = i->value[UDPLITE_V_SEND_CSCOV];
		g->udp.recv_cover = i->value[UDPLITE_V_RECV_CSCOV];
	}
	if (g->kind == &raw_kind) {
		g->raw.header_included = i->value[INET_HDRINCL];
		g->raw.checksum_at = v6 ? i->value[INET6_CHECKSUM] : -1;
	}
}

int inet_dgram_create(struct ctx *c, struct stack *stack, const struct dgram_kind *kind, int family, int protocol,
		      struct socket **ret)
{
	struct inet_dgram *g;

	if (!inet_count())
		return -ENOMEM;
	g = slab_alloc(&dgram_slab);
	if (!g) {
		inet_uncount();
		return -ENOMEM;
	}
	inet_init(&g->i, stack, &inet_dgram_ops, family, kind->type, protocol);
	g->i.sync = dgram_sync;
	inet_set_maker(&g->i, c);
	g->kind = kind;
	if (kind == &raw_kind && protocol == IPPROTO_RAW)
		g->i.value[INET_HDRINCL] = 1;
	if (kind == &raw_kind && protocol == IPPROTO_ICMPV6 && family == AF_INET6)
		g->i.value[INET6_CHECKSUM] = 2;
	stack_enter(stack);
	kind->open(g);
	g->open = true;
	g->d.wakeup.hold = hold;
	g->d.wakeup.deliver = deliver;
	dgram_sync(&g->i);
	stack_leave(stack);
	*ret = &g->i.s;
	return 0;
}

static void dgram_release(struct socket *s)
{
	struct inet_dgram *g = inet_dgram_of(s);

	stack_enter(g->i.stack);
	if (g->open)
		g->kind->close(g);
	g->open = false;
	stack_leave(g->i.stack);
}

static void dgram_destroy(struct socket *s)
{
	struct inet_dgram *g = inet_dgram_of(s);

	buf_put(g->cork);
	socket_fini(s);
	slab_free(&dgram_slab, g);
	inet_uncount();
}

/* ---- names ---- */

static int dgram_bind(struct ctx *c, struct socket *s, const struct sockaddr *sa, size_t len)
{
	struct inet_dgram *g = inet_dgram_of(s);
	struct inet_name n;
	int err = inet_parse(&g->i, sa, len, INET_PARSE_BIND, &n);

	if (err)
		return err == -ENETUNREACH ? -EINVAL : err;
	if (!g->kind->udp && s->family == AF_INET6 && addr_is_v4(&n.addr))
		return g->kind == &raw_kind ? -EADDRNOTAVAIL : -EINVAL;
	if (g->kind == &raw_kind)
		n.port = 0;
	stack_enter(g->i.stack);
	err = g->kind == &raw_kind && g->d.connected ? -EINVAL : inet_check_bind(c, &g->i, &n);
	if (!err)
		err = g->kind->bind(g, &n);
	if (!err && !g->i.bound_dev)
		g->i.bound_dev = g->d.bound_dev;
	stack_leave(g->i.stack);
	return err;
}

static int disconnect(struct inet_dgram *g)
{
	stack_enter(g->i.stack);
	g->kind->disconnect(g);
	stack_leave(g->i.stack);
	return 0;
}

static int dgram_connect(struct ctx *c __unused, struct socket *s, const struct sockaddr *sa, size_t len,
			 int flags __unused)
{
	struct inet_dgram *g = inet_dgram_of(s);
	struct inet_name n;
	int err;

	if (len < sizeof(sa->sa_family))
		return -EINVAL;
	if (sa->sa_family == AF_UNSPEC)
		return disconnect(g);
	err = inet_parse(&g->i, sa, len, INET_PARSE_V4 | INET_PARSE_TO, &n);
	if (!err && !g->kind->udp && s->family == AF_INET6 && addr_is_v4(&n.addr))
		err = -EINVAL;
	if (err)
		return err;
	stack_enter(g->i.stack);
	err = g->kind->connect(g, &n);
	stack_leave(g->i.stack);
	return err;
}

static int dgram_getname(struct socket *s, bool peer, struct sockaddr_storage *ret)
{
	struct inet_dgram *g = inet_dgram_of(s);
	struct inet_name n = {.port = 0};
	const struct port_bind *b;
	int err = 0;

	stack_enter(g->i.stack);
	b = port_of(g);
	if (peer && (!g->d.connected || (g->kind->udp && !g->d.peer_port)))
		err = -ENOTCONN;
	else if (peer)
		n = (struct inet_name){g->d.peer, g->kind->udp ? g->d.peer_port : 0, g->d.bound_dev};
	else
		n = (struct inet_name){g->d.local, b ? b->port : 0, g->d.bound_dev};
	if (!peer && g->kind == &raw_kind && s->family == AF_INET)
		n.port = (uint16_t)s->protocol;
	stack_leave(g->i.stack);
	return err ? err : inet_format(s->family, &n, ret);
}

static int dgram_shutdown(struct ctx *c __unused, struct socket *s, int how)
{
	struct inet_dgram *g = inet_dgram_of(s);
	bool connected;

	stack_enter(g->i.stack);
	connected = g->d.connected;
	stack_leave(g->i.stack);
	__atomic_fetch_or((uint8_t *)&g->shutdown, (uint8_t)(how + 1), __ATOMIC_SEQ_CST);
	socket_wake(s, POLL_IN | POLLRDHUP | POLLHUP | POLLOUT);
	return connected ? 0 : -ENOTCONN;
}

/* ---- sending ---- */

/* Where m goes: as its address says, or to the peer. */
static int destination(struct inet_dgram *g, const struct net_msg *m, struct dgram_to *to)
{
	const struct sockaddr *sa = (const struct sockaddr *)&m->addr;
	bool v6 = g->i.s.family == AF_INET6, none = !m->addr_len;
	struct inet_name n = {.addr = in6addr_any};
	int err = 0;

	/* A socket of IPv6 takes AF_UNSPEC for no address at all. */
	none |= v6 && m->addr_len >= sizeof(sa->sa_family) && sa->sa_family == AF_UNSPEC;
	if (!none)
		err = inet_parse(&g->i, sa, m->addr_len, INET_PARSE_V4 | INET_PARSE_TO, &n);
	if (err == -EAFNOSUPPORT && v6)
		err = -EINVAL;
	if (err)
		return err;
	if (!none && g->kind->udp && !n.port)
		return -EINVAL;
	if (none && !g->d.connected && !g->cork)
		return -EDESTADDRREQ;
	*to = (struct dgram_to){.addr = n.addr, .port = n.port, .dev = n.dev, .src = in6addr_any, .ttl = -1, .tos = -1};
	/* IPv4's options hold for what a socket of IPv6 sends by IPv4. */
	if (v6 && !none && addr_is_v4(&n.addr)) {
		to->ttl = g->i.value[INET_TTL];
		to->tos = g->i.value[INET_TOS];
	}
	return 0;
}

/* A packet with the next size bytes of b: in itself if they are few, else but for the first ones, where headers may be. */
static int fill_packet(struct iobuf *b, size_t size, struct pkt **ret)
{
	size_t linear = size > INLINE_MAX ? LINEAR : size, rest = size - linear;
	struct pkt *p = pkt_create();
	struct buf *data = rest ? buf_create((uint32_t)rest) : NULL;

	if (!p || (rest && !data)) {
		pkt_free(p);
		buf_put(data);
		return -ENOBUFS;
	}
	if (iobuf_get(b, p->room + INLINE_HEAD, linear) != (ssize_t)linear ||
	    (rest && iobuf_get(b, data->data, rest) != (ssize_t)rest)) {
		pkt_free(p);
		buf_put(data);
		return -EFAULT;
	}
	p->head = INLINE_HEAD;
	p->tail = (uint16_t)(INLINE_HEAD + linear);
	p->len = (uint32_t)linear;
	if (data) {
		data->used = (uint32_t)rest;
		BUG_ON(!pkt_append(p, data, 0, (uint32_t)rest)); /* the first slice */
		buf_put(data);
	}
	*ret = p;
	return 0;
}

static int send_packet(struct inet_dgram *g, struct pkt *p, const struct dgram_to *to)
{
	int err;

	stack_enter(g->i.stack);
	err = g->kind->send(g, p, to);
	stack_leave(g->i.stack);
	return err;
}

/* With UDP_SEGMENT: each `segment` bytes of p are a datagram. p is used up. */
static int send_segments(struct inet_dgram *g, struct pkt *p, const struct dgram_to *to, uint16_t segment)
{
	if (!segment || segment >= p->len)
		return send_packet(g, p, to);
	if (p->len > SEGMENTS_MAX * segment) {
		pkt_free(p);
		return -EINVAL;
	}
	p->gso_size = segment;
	return send_packet(g, p, to);
}

/* Room for size bytes more behind what is held back. */
static bool cork_grow(struct inet_dgram *g, size_t size) REQUIRES(L_SOCK)
{
	struct buf *b = g->cork, *more;

	if (b && b->size - b->used >= size)
		return true;
	more = buf_create((uint32_t)MIN((b ? b->used : 0) * 2 + size, (size_t)CORK_SIZE));
	if (!more)
		return false;
	if (b) {
		memcpy(more->data, b->data, b->used);
		more->used = b->used;
	}
	buf_put(b);
	g->cork = more;
	return true;
}

static size_t size_max(const struct inet_dgram *g)
{
	return g->kind->udp && g->i.s.family == AF_INET6 ? UDP6_MAX : g->kind->size_max;
}

/* Adds m's bytes to what is held back. */
static int cork_add(struct inet_dgram *g, struct net_msg *m, size_t size, const struct dgram_to *to, uint16_t segment)
    REQUIRES(L_SOCK)
{
	struct buf *b = g->cork;

	if (size > size_max(g) - (b ? b->used : 0))
		return -EMSGSIZE;
	if (!b) {
		g->cork_to = *to;
		g->cork_segment = segment;
	}
	if (!cork_grow(g, size))
		return -ENOBUFS;
	b = g->cork;
	if (iobuf_get(m->data, b->data + b->used, size) != (ssize_t)size)
		return -EFAULT;
	b->used += (uint32_t)size;
	return 0;
}

/* What was held back as a packet; NULL: no memory, it is lost. */
static struct pkt *uncork(struct inet_dgram *g) REQUIRES(L_SOCK)
{
	struct pkt *p = pkt_create();
	struct buf *b = take(g->cork);

	if (p && !pkt_append(p, b, 0, b->used))
		p = NULL; /* cannot be: it has no other */
	buf_put(b);
	return p;
}

void inet_dgram_uncork(struct inet_sock *i)
{
	struct inet_dgram *g = container_of(i, struct inet_dgram, i);
	struct dgram_to to;
	struct pkt *p = NULL;
	uint16_t segment = 0;

	mutex_lock(&i->s.lock, L_SOCK);
	if (g->cork) {
		to = g->cork_to;
		segment = g->cork_segment;
		p = uncork(g);
	}
	mutex_unlock(&i->s.lock, L_SOCK);
	if (p && send_segments(g, p, &to, segment) < 0)
		return; /* as if it had been lost */
}

static bool corks(struct inet_dgram *g, int flags)
{
	return g->kind->udp && (flags & MSG_MORE || g->i.value[UDP_V_CORK]);
}

static ssize_t send_corked(struct inet_dgram *g, struct net_msg *m, size_t size, struct dgram_to *to, uint16_t segment)
{
	struct pkt *p = NULL;
	int err;

	mutex_lock(&g->i.s.lock, L_SOCK);
	err = cork_add(g, m, size, to, segment);
	if (err && g->cork) {
		buf_put(take(g->cork));
	} else if (!err && !corks(g, m->flags)) {
		*to = g->cork_to;
		segment = g->cork_segment;
		p = uncork(g);
		err = p ? 0 : -ENOBUFS;
	}
	mutex_unlock(&g->i.s.lock, L_SOCK);
	if (p)
		err = send_segments(g, p, to, segment);
	return err ? err : (ssize_t)size;
}

static int check_send(struct ctx *c, struct inet_dgram *g, const struct net_msg *m, struct dgram_to *to,
		      uint16_t *segment)
{
	int err = 0;

	if (iobuf_left(m->data) > 65535)
		return -EMSGSIZE;
	if (m->flags & MSG_OOB)
		return -EOPNOTSUPP;
	err = destination(g, m, to);
	if (!err && m->control_size)
		err = inet_cmsg_send(c, &g->i, m, to, segment);
	if (!err && __atomic_load_n((uint8_t *)&g->shutdown, __ATOMIC_RELAXED) & TCP_SHUT_SEND)
		err = -EPIPE;
	if (!err && iobuf_left(m->data) > size_max(g))
		err = -EMSGSIZE;
	return err;
}

static ssize_t dgram_sendmsg(struct ctx *c, struct socket *s, struct net_msg *m)
{
	struct inet_dgram *g = inet_dgram_of(s);
	uint16_t segment = (uint16_t)g->i.value[UDP_V_SEGMENT];
	size_t size = iobuf_left(m->data);
	struct dgram_to to;
	struct pkt *p;
	int err = s->err ? socket_take_error(s) : 0;

	err = err ? err : check_send(c, g, m, &to, &segment);
	if (err)
		return err;
	if (corks(g, m->flags) || __atomic_load_n(&g->cork, __ATOMIC_RELAXED))
		return send_corked(g, m, size, &to, segment);
	err = fill_packet(m->data, size, &p);
	if (!err)
		err = g->kind->udp ? send_segments(g, p, &to, segment) : send_packet(g, p, &to);
	return err ? err : (ssize_t)size;
}

/* ---- receiving ---- */

ssize_t inet_put_pkt(struct iobuf *b, const struct pkt *p)
{
	size_t linear = MIN((size_t)(p->tail - p->head), iobuf_left(b));
	ssize_t done = linear ? iobuf_put(b, p->room + p->head, linear) : 0;

	if (done != (ssize_t)linear)
		return -EFAULT;
	for (unsigned i = 0; i < p->count && iobuf_left(b); i++) {
		const struct slice *s = &p->slice[i];
		size_t part = MIN((size_t)s->len, iobuf_left(b));

		if (iobuf_put(b, s->buf->data + s->off, part) != (ssize_t)part)
			return -EFAULT;
		done += (ssize_t)part;
	}
	return done;
}

/* 1 and a packet, 0: the receiving side is shut down, or an error. */
static int take_packet(struct inet_dgram *g, const struct net_msg *m, struct pkt **ret, uint32_t *ret_drops)
{
	bool shut = __atomic_load_n((uint8_t *)&g->shutdown, __ATOMIC_RELAXED) & TCP_SHUT_RCV;
	int err;

	stack_enter(g->i.stack);
	err = dgram_take_error(&g->d);
	*ret = err ? NULL : dgram_take(&g->d, m->flags & MSG_PEEK);
	*ret_drops = (uint32_t)g->d.drops;
	stack_leave(g->i.stack);
	if (err)
		return err;
	if (*ret)
		return 1;
	/* The end is only for those who would wait. */
	return shut && !(m->flags & MSG_DONTWAIT) ? 0 : -EAGAIN;
}

static void set_source(struct inet_dgram *g, struct net_msg *m, const struct pkt *p)
{
	struct inet_name n = {p->info.src, g->kind->udp ? p->info.sport : 0, p->info.dev};

	m->addr_len = (uint32_t)inet_format(g->i.s.family, &n, &m->addr);
}

static ssize_t dgram_recvmsg(struct ctx *c, struct socket *s, struct net_msg *m)
{
	struct inet_dgram *g = inet_dgram_of(s);
	INET_WAIT w = {c, s, socket_deadline(s->rcvtimeo, m->flags & MSG_DONTWAIT)};
	struct pkt *p = NULL;
	uint32_t drops, size;
	ssize_t n = s->err ? socket_take_error(s) : 0;

	if (n || m->flags & MSG_ERRQUEUE)
		return n ? n : inet_err_recv(c, g, m);
	while ((n = take_packet(g, m, &p, &drops)) == -EAGAIN && (n = inet_wait(&w, POLL_IN | POLLERR | POLLHUP)) == 0)
		;
	if (n <= 0)
		return n;
	size = p->len;
	n = inet_put_pkt(m->data, p);
	if (n >= 0) {
		set_source(g, m, p);
		inet_cmsg_recv(c, g, m, p, drops);
		if ((size_t)n < size)
			m->out_flags |= MSG_TRUNC;
	}
	pkt_free(p);
	return n >= 0 && m->flags & MSG_TRUNC ? (ssize_t)size : n;
}

/* ---- the rest ---- */

static uint32_t dgram_poll_socket(struct socket *s, struct poll_table *p)
{
	struct inet_dgram *g = inet_dgram_of(s);
	uint8_t ends = __atomic_load_n((uint8_t *)&g->shutdown, __ATOMIC_RELAXED);
	uint32_t bits;

	poll_wait(p, &s->wq);
	stack_enter(g->i.stack);
	bits = dgram_poll(&g->d);
	stack_leave(g->i.stack);
	if (ends & TCP_SHUT_RCV)
		bits |= POLL_IN | POLLRDHUP;
	if (ends == TCP_SHUT_BOTH)
		bits |= POLLHUP;
	return s->err ? bits | POLLERR : bits;
}

static long dgram_ioctl(struct ctx *c, struct socket *s, uint32_t cmd, uint64_t arg)
{
	struct inet_dgram *g = inet_dgram_of(s);
	int value = 0;

	if (cmd != SIOCINQ && cmd != SIOCOUTQ)
		return -ENOTTY;
	if (cmd == SIOCINQ) {
		stack_enter(g->i.stack);
		value = (int)dgram_first_size(&g->d);
		stack_leave(g->i.stack);
	}
	return copy_out(c, UADDR(arg), &value, sizeof(value));
}

static int dgram_take_socket_error(struct socket *s)
{
	struct inet_dgram *g = inet_dgram_of(s);
	int err;

	stack_enter(g->i.stack);
	err = dgram_take_error(&g->d);
	stack_leave(g->i.stack);
	return err;
}

static void dgram_changed(struct socket *s, int name __unused)
{
	struct inet_sock *i = inet_of(s);

	stack_enter(i->stack);
	dgram_sync(i);
	stack_leave(i->stack);
}

static bool dgram_info(struct socket *s, struct sock_info *i)
{
	struct inet_dgram *g = inet_dgram_of(s);
	const struct port_bind *b;
	bool open;

	stack_enter(g->i.stack);
	open = g->open;
	if (open) {
		b = port_of(g);
		i->state = g->d.connected ? TCP_ESTABLISHED : TCP_CLOSE;
		i->local = g->d.local;
		i->local_port = b ? b->port : (uint16_t)s->protocol;
		i->remote = g->d.peer;
		i->remote_port = g->kind->udp ? g->d.peer_port : 0;
		if (!g->d.connected) {
			i->remote = s->family == AF_INET ? addr_from_v4(0) : in6addr_any;
			i->remote_port = 0;
		}
		i->unread = i->charged = g->d.bytes;
		i->drops = (uint32_t)g->d.drops;
	}
	stack_leave(g->i.stack);
	return open;
}

const struct proto_ops inet_dgram_ops = {
    .bind = dgram_bind,
    .connect = dgram_connect,
    .getname = dgram_getname,
    .shutdown = dgram_shutdown,
    .sendmsg = dgram_sendmsg,
    .recvmsg = dgram_recvmsg,
    .poll = dgram_poll_socket,
    .ioctl = dgram_ioctl,
    .setsockopt = inet_setsockopt,
    .getsockopt = inet_getsockopt,
    .take_error = dgram_take_socket_error,
    .changed = dgram_changed,
    .info = dgram_info,
    .release = dgram_release,
    .destroy = dgram_destroy,
};
