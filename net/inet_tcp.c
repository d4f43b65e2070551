/*
 * TCP sockets: tcp(7).
 *
 * Sending: bytes are copied into a buffer without any lock, then the endpoint takes a reference to them under the stack's. Small writes share a buffer: it
 * is kept in t->tail, taken by a writer, who thus has it for himself, and filled up behind what the endpoint refers to; once that has been
 * acknowledged and nobody else refers to it, it begins anew. Large writes have a buffer for each piece. The room in the send buffer is asked for after the
 * copy: who has to wait for it waits with his bytes ready.
 *
 * Receiving: a reader peeks at slices, copies them to the guest, and takes from the queue what was copied, so that a fault loses nothing and the window
 * opens for what has left us. t->reading makes one reader at a time of them; it is not held while one sleeps.
 *
 * Closing with SO_LINGER waits in the flush of the last descriptor, which a signal may end; what is not sent by then is sent all the same.
 */
#include "net/inet.h"

#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "net/filter.h"
#include "net/sockinfo.h"
#include "net/stack/addr.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

#ifndef TCP_CM_INQ
#define TCP_CM_INQ 36
#endif
#define FIRST_MAX 1460u /* bytes with a SYN */
#define PIECE 65440u    /* of a large write: a packet of the loopback interface takes it */
#define TAIL_SIZE 2000u
#define SLICES 16
#define POLL_IN ((uint32_t)(POLLIN | POLLRDNORM | POLLRDHUP | POLLHUP | POLLERR))
#define POLL_OUT ((uint32_t)(POLLOUT | POLLWRNORM | POLLHUP | POLLERR))

static struct slab tcp_slab = SLAB_INIT(struct inet_tcp);

/* ---- life ---- */

static struct inet_tcp *of_wakeup(struct wakeup *w)
{
	return container_of(w, struct inet_tcp, wakeup);
}

static void hold(struct wakeup *w)
{
	socket_get(&of_wakeup(w)->i.s);
}

static void deliver(struct wakeup *w, uint32_t events)
{
	struct socket *s = &of_wakeup(w)->i.s;

	socket_wake(s, events);
	socket_put(s);
}

static bool filter(struct tcp_sock *tp, const struct pkt *p) REQUIRES(L_NET)
{
	struct inet_tcp *t = tp->owner;
	struct pkt_view v = pkt_view_at(p, p->transport, p->dev);

	v.protocol = p->room[p->net] >> 4 == 4 ? ETH_P_IP : ETH_P_IPV6;
	return !t || filter_packet(&t->i.s, &v);
}

/* Options that the endpoint must know. */
static void tcp_sync(struct inet_sock *i) REQUIRES(L_NET)
{
	struct inet_tcp *t = container_of(i, struct inet_tcp, i);
	struct tcp_sock *tp = t->tp;
	bool v6 = i->s.family == AF_INET6;
	int ttl = v6 && i->value[INET6_HOPS] >= 0 ? i->value[INET6_HOPS] : i->value[INET_TTL];
	uint8_t tos = (uint8_t)MAX(v6 && i->value[INET6_TCLASS] ? i->value[INET6_TCLASS] : i->value[INET_TOS], 0);

	if (tp->tos != tos || tp->mark != i->s.mark)
		tp->route.dev = NULL; /* rules may say another way: it is looked up again */
	tp->ep.bind.bound_dev = i->bound_dev;
	tp->ep.bind.v6only = v6 && i->value[INET6_V6ONLY];
	tp->ep.bind.reuse_addr = socket_option(&i->s, SOCK_OPT_REUSEADDR);
	tp->ep.bind.reuse_port = socket_option(&i->s, SOCK_OPT_REUSEPORT);
	port_refresh(&tp->ep.bind);
	tp->ttl = (uint8_t)MAX(ttl, 0);
	tp->tos = tos;
	tp->recverr = i->value[INET_RECVERR] || i->value[INET6_RECVERR];
	tp->mark = i->s.mark;
	tp->filter = i->s.filter ? filter : NULL;
	tp->oobinline = socket_option(&i->s, SOCK_OPT_OOBINLINE);
	tp->rcvlowat = (uint32_t)i->s.rcvlowat;
	tp->pacing_rate = i->s.pacing_rate;
	tp->fastopen_queue = (uint32_t)i->value[TCP_V_FASTOPEN];
	tp->fastopen_ask = i->value[TCP_V_FASTOPEN_CONNECT] && tcp_conf(i->stack)->fastopen & TCP_FASTOPEN_CLIENT;
	if (tp->keepalive != socket_option(&i->s, SOCK_OPT_KEEPALIVE))
		tcp_set_keepalive(tp, !tp->keepalive);
}

static struct inet_tcp *tcp_alloc(struct stack *stack, int family)
{
	struct inet_tcp *t;

	if (!inet_count())
		return NULL;
	t = slab_alloc(&tcp_slab);
	if (!t) {
		inet_uncount();
		return NULL;
	}
	inet_init(&t->i, stack, &inet_tcp_ops, family, SOCK_STREAM, IPPROTO_TCP);
	t->i.sync = tcp_sync;
	mutex_init(&t->reading);
	list_init(&t->wakeup.link);
	t->wakeup.hold = hold;
	t->wakeup.deliver = deliver;
	return t;
}

static void attach(struct inet_tcp *t, struct tcp_sock *tp) REQUIRES(L_NET)
{
	t->tp = tp;
	tp->owner = t;
	tp->wakeup = &t->wakeup;
}

int inet_tcp_create(struct ctx *c, struct stack *stack, int family, struct socket **ret)
{
	struct inet_tcp *t = tcp_alloc(stack, family);
	struct tcp_sock *tp;

	if (!t)
		return -ENOMEM;
	inet_set_maker(&t->i, c);
	stack_enter(stack);
	tp = tcp_create(stack, family == AF_INET6);
	if (tp) {
		tp->ep.bind.uid = t->i.uid;
		attach(t, tp);
	}
	stack_leave(stack);
	if (!tp) {
		socket_put(&t->i.s);
		return -ENOMEM;
	}
	*ret = &t->i.s;
	return 0;
}

static void tcp_release_socket(struct socket *s)
{
	struct inet_tcp *t = inet_tcp_of(s);

	stack_enter(t->i.stack);
	if (t->tp) {
		tcp_close(t->tp, s->linger_on && s->linger_seconds == 0);
		tcp_release(take(t->tp));
	}
	stack_leave(t->i.stack);
}

static void tcp_destroy(struct socket *s)
{
	struct inet_tcp *t = inet_tcp_of(s);

	buf_put(t->tail);
	socket_fini(s);
	slab_free(&tcp_slab, t);
	inet_uncount();
}

/* The last descriptor is closed: close(2) waits for what is on its way, as SO_LINGER says. */
static void tcp_linger(struct ctx *c, struct socket *s)
{
	struct inet_tcp *t = inet_tcp_of(s);
	INET_WAIT w = {c, s, deadline_after(clock_now(CLOCK_MONOTONIC), s->linger_seconds * NSEC_PER_SEC)};
	bool lingers;

	do {
		stack_enter(t->i.stack);
		tcp_close(t->tp, s->linger_seconds == 0);
		lingers = tcp_lingers(t->tp);
		stack_leave(t->i.stack);
	} while (lingers && s->linger_seconds && inet_wait(&w, POLLHUP | POLLOUT) == 0);
}

/* ---- names ---- */

static int tcp_bind_socket(struct ctx *c, struct socket *s, const struct sockaddr *sa, size_t len)
{
	struct inet_tcp *t = inet_tcp_of(s);
	struct inet_name n;
	int err = inet_parse(&t->i, sa, len, INET_PARSE_BIND, &n);

	if (err)
		return err == -ENETUNREACH ? -EINVAL : err;
	stack_enter(t->i.stack);
	err = inet_check_bind(c, &t->i, &n);
	if (!err)
		err = tcp_bind(t->tp, &n.addr, n.port);
	if (!err && n.dev && !t->i.bound_dev && addr_needs_dev(&n.addr))
		t->i.bound_dev = t->tp->ep.bind.bound_dev = n.dev;
	stack_leave(t->i.stack);
	return err;
}

static int tcp_getname(struct socket *s, bool peer, struct sockaddr_storage *ret)
{
	struct inet_tcp *t = inet_tcp_of(s);
	struct inet_name n = {.port = 0};
	int err = 0;

	stack_enter(t->i.stack);
	if (peer && (!t->tp->ep.key.rport || t->tp->ep.state == TCP_CLOSE || t->tp->ep.state == TCP_SYN_SENT))
		err = -ENOTCONN;
	else if (peer)
		n = (struct inet_name){t->tp->ep.key.raddr, t->tp->ep.key.rport, t->i.bound_dev};
	else
		n = (struct inet_name){t->tp->ep.key.laddr, t->tp->ep.key.lport, t->i.bound_dev};
	stack_leave(t->i.stack);
	return err ? err : inet_format(s->family, &n, ret);
}

static int tcp_accepted_name(struct socket *s, struct sockaddr_storage *ret)
{
	struct inet_tcp *t = inet_tcp_of(s);
	struct inet_name n;

	stack_enter(t->i.stack);
	n = (struct inet_name){t->tp->ep.key.raddr, t->tp->ep.key.rport, t->i.bound_dev};
	stack_leave(t->i.stack);
	return inet_format(s->family, &n, ret);
}

/* ---- connections ---- */

static int disconnect(struct inet_tcp *t)
{
	int err;

	stack_enter(t->i.stack);
	err = tcp_disconnect(t->tp);
	stack_leave(t->i.stack);
	return err;
}

static int start_connect(struct inet_tcp *t, const struct inet_name *n)
{
	int err;

	stack_enter(t->i.stack);
	if (n->dev && !t->i.bound_dev)
		t->i.bound_dev = t->tp->ep.bind.bound_dev = n->dev;
	err = tcp_connect(t->tp, &n->addr, n->port);
	stack_leave(t->i.stack);
	return err;
}

static int tcp_connect_socket(struct ctx *c, struct socket *s, const struct sockaddr *sa, size_t len, int flags)
{
	struct inet_tcp *t = inet_tcp_of(s);
	INET_WAIT w = {c, s, socket_deadline(s->sndtimeo, flags & O_NONBLOCK)};
	struct inet_name n;
	int err, first, slept;

	if (len < sizeof(sa->sa_family))
		return -EINVAL;
	if (sa->sa_family == AF_UNSPEC)
		return disconnect(t);
	err = inet_parse(&t->i, sa, len, INET_PARSE_TO, &n);
	if (!err && (addr_is_multicast(&n.addr) || addr_is_limited_broadcast(&n.addr)))
		err = -ENETUNREACH;
	if (err)
		return err;
	first = err = start_connect(t, &n);
	while (err == -EINPROGRESS || err == -EALREADY) {
		slept = inet_wait(&w, POLL_OUT);
		if (slept)
			return slept == -EAGAIN ? first : slept;
		err = start_connect(t, &n);
	}
	return err;
}

static int tcp_listen_socket(struct ctx *c __unused, struct socket *s, int backlog)
{
	struct inet_tcp *t = inet_tcp_of(s);
	int err;

	stack_enter(t->i.stack);
	err = tcp_listen(t->tp, backlog);
	stack_leave(t->i.stack);
	return err;
}

/* What an accepted socket has from its listener, beside what the endpoint has. */
static void inherit(struct inet_tcp *t, struct inet_tcp *from) REQUIRES(L_NET)
{
	struct socket *s = &t->i.s, *l = &from->i.s;

	for (unsigned v = 0; v < INET_VALUES; v++)
		t->i.value[v] = from->i.value[v];
	t->i.bound_dev = from->i.bound_dev;
	t->i.uid = from->i.uid;
	t->i.maker = from->i.maker;
	s->options = l->options;
	s->sndbuf = l->sndbuf;
	s->rcvbuf = l->rcvbuf;
	s->rcvlowat = l->rcvlowat;
	s->rcvtimeo = l->rcvtimeo;
	s->sndtimeo = l->sndtimeo;
	s->priority = l->priority;
	s->linger_on = l->linger_on;
	s->linger_seconds = l->linger_seconds;
	s->mark = l->mark;
	filter_inherit(s, l);
	t->tp->filter = s->filter ? filter : NULL;
}

static int try_accept(struct inet_tcp *t, struct inet_tcp *n)
{
	struct tcp_sock *tp;
	int err;

	stack_enter(t->i.stack);
	err = tcp_accept(t->tp, &tp);
	if (!err) {
		attach(n, tp);
		inherit(n, t);
	}
	stack_leave(t->i.stack);
	return err;
}

static int tcp_accept_socket(struct ctx *c, struct socket *s, int flags, struct socket **ret)
{
	struct inet_tcp *t = inet_tcp_of(s), *n = tcp_alloc(t->i.stack, s->family);
	INET_WAIT w = {c, s, socket_deadline(s->rcvtimeo, flags & O_NONBLOCK)};
	int err;

	if (!n)
		return -ENOMEM;
	while ((err = try_accept(t, n)) == -EAGAIN && (err = inet_wait(&w, POLL_IN)) == 0)
		;
	if (err) {
		socket_put(&n->i.s);
		return err;
	}
	n->i.s.net = netns_get(s->net);
	socket_publish(&n->i.s);
	*ret = &n->i.s;
	return 0;
}

static int tcp_shutdown_socket(struct ctx *c __unused, struct socket *s, int how)
{
	struct inet_tcp *t = inet_tcp_of(s);
	int err;

	stack_enter(t->i.stack);
	err = tcp_shutdown(t->tp, how + 1);
	stack_leave(t->i.stack);
	return err;
}

/* ---- sending ---- */

/* A buffer of the caller's own, with room for size bytes more. NULL: no memory. */
static struct buf *take_buffer(struct inet_tcp *t, size_t size)
{
	struct buf *b = __atomic_exchange_n((struct buf **)&t->tail, NULL, __ATOMIC_ACQUIRE);

	if (b && ref_count(&b->ref) == 1) {
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		b->used = 0;
	}
	if (b && b->size - b->used >= size)
		return b;
	buf_put(b);
	return buf_create(MAX((uint32_t)size, TAIL_SIZE));
}

static void give_back_buffer(struct inet_tcp *t, struct buf *b)
{
	if (b->size <= 2 * TAIL_SIZE)
		b = __atomic_exchange_n((struct buf **)&t->tail, b, __ATOMIC_ACQ_REL);
	buf_put(b);
}

/* -EAGAIN: the slice is still the caller's. */
static ssize_t try_send(struct inet_tcp *t, const struct slice *slice, int flags, bool *ret_taken)
{
	ssize_t n;

	stack_enter(t->i.stack);
	n = tcp_send_room(t->tp);
	*ret_taken = n > 0;
	if (n > 0)
		n = tcp_send(t->tp, slice, 1, flags);
	stack_leave(t->i.stack);
	return n;
}

/* Sends what is in the slice, whose reference is used up. */
static ssize_t send_slice(struct inet_tcp *t, const struct slice *slice, int flags, struct inet_wait *w)
{
	bool taken;
	ssize_t n;
	int err;

	while ((n = try_send(t, slice, flags, &taken)) == -EAGAIN) {
		err = inet_wait(w, POLL_OUT);
		if (err) {
			n = err;
			break;
		}
	}
	if (!taken)
		buf_put(slice->buf);
	return n;
}

static ssize_t send_piece(struct inet_tcp *t, struct net_msg *m, size_t size, struct inet_wait *w)
{
	struct buf *b = take_buffer(t, size);
	struct slice slice;
	ssize_t n;

	if (!b)
		return -ENOBUFS;
	n = iobuf_get(m->data, b->data + b->used, size);
	if (n > 0) {
		slice = (struct slice){buf_get(b), b->used, (uint32_t)n};
		b->used += (uint32_t)n;
		n = send_slice(t, &slice, m->flags & (MSG_MORE | MSG_OOB), w);
	}
	give_back_buffer(t, b);
	return n;
}

/* Nothing is to be sent: only whether it could. */
static ssize_t send_nothing(struct inet_tcp *t)
{
	ssize_t n;

	stack_enter(t->i.stack);
	n = tcp_send_room(t->tp);
	stack_leave(t->i.stack);
	return n > 0 || n == -EAGAIN ? 0 : n;
}

/* With a cookie: connects with the first bytes in the SYN, for which nobody waits: how many. -EAGAIN: there is none. */
static ssize_t connect_fast(struct inet_tcp *t, struct net_msg *m, const struct inet_name *n)
{
	struct iobuf again = *m->data;
	size_t size = MIN(iobuf_left(m->data), (size_t)FIRST_MAX);
	struct buf *b = size ? buf_create((uint32_t)size) : NULL;
	struct slice s = {b, 0, (uint32_t)size};
	uint8_t first[FIRST_MAX];
	uint32_t sent = 0;
	int err;

	if (!b)
		return size ? -ENOBUFS : -EAGAIN;
	if (iobuf_get(m->data, b->data, size) != (ssize_t)size) {
		buf_put(b);
		return -EFAULT;
	}
	b->used = (uint32_t)size;
	stack_enter(t->i.stack);
	err = tcp_connect_data(t->tp, &n->addr, n->port, &s, &sent);
	stack_leave(t->i.stack);
	/* What was not sent is taken once more. */
	*m->data = again;
	if (sent && iobuf_get(m->data, first, sent) != (ssize_t)sent)
		*m->data = (struct iobuf){0};
	if (err == -EINPROGRESS)
		return sent ? (ssize_t)sent : -EAGAIN;
	return err;
}

/*
 * MSG_FASTOPEN (RFC 7413): connects, and asks the peer for a cookie; with one from earlier, data goes with the SYN. Bytes that did; 0: connected;
 * -EINPROGRESS and other errors of connect().
 */
static ssize_t open_fast(struct ctx *c, struct inet_tcp *t, struct net_msg *m)
{
	const struct sockaddr *sa = (const struct sockaddr *)&m->addr;
	bool off, known = false;
	struct inet_name n;
	ssize_t sent;

	if (!m->addr_len)
		return -EINVAL;
	stack_enter(t->i.stack);
	off = !(tcp_conf(t->i.stack)->fastopen & TCP_FASTOPEN_CLIENT);
	t->tp->fastopen_ask = !off;
	if (!off && t->tp->ep.state == TCP_CLOSE && !inet_parse(&t->i, sa, m->addr_len, INET_PARSE_TO, &n))
		known = tcp_fastopen_known(t->i.stack, &n.addr) && !n.dev;
	stack_leave(t->i.stack);
	if (off)
		return -EOPNOTSUPP;
	sent = known ? connect_fast(t, m, &n) : -EAGAIN;
	if (sent != -EAGAIN)
		return sent;
	return tcp_connect_socket(c, &t->i.s, (const struct sockaddr *)&m->addr, m->addr_len,
				  m->flags & MSG_DONTWAIT ? O_NONBLOCK : 0);
}

static ssize_t tcp_sendmsg(struct ctx *c, struct socket *s, struct net_msg *m)
{
	struct inet_tcp *t = inet_tcp_of(s);
	INET_WAIT w = {c, s, socket_deadline(s->sndtimeo, m->flags & MSG_DONTWAIT)};
	size_t most = MIN(PIECE, (uint32_t)s->sndbuf), size;
	ssize_t done = 0, n = 0;

	if (m->flags & MSG_FASTOPEN && (done = open_fast(c, t, m)) < 0)
		return done == -EPIPE ? socket_pipe_error(c, m->flags) : done;
	if (!iobuf_left(m->data) && !done)
		n = send_nothing(t);
	while ((size = MIN(iobuf_left(m->data), most))) {
		n = send_piece(t, m, size, &w);
		if (n > 0)
			done += n;
		if (n < (ssize_t)size)
			break;
	}
	if (done)
		return done;
	return n == -EPIPE ? socket_pipe_error(c, m->flags) : n;
}

/* ---- receiving ---- */

struct reader {
	struct inet_tcp *t;
	struct net_msg *m;
	size_t left, done, target;
	size_t copied; /* not taken from the queue yet */
};

static void consume_locked(struct reader *r) REQUIRES(L_NET)
{
	if (r->copied && !(r->m->flags & MSG_PEEK))
		tcp_consume(r->t->tp, r->copied);
	r->copied = 0;
}

static void consume(struct reader *r)
{
	stack_enter(r->t->i.stack);
	consume_locked(r);
	stack_leave(r->t->i.stack);
}

/* Takes what was copied, and refers to what comes next. -EAGAIN: that is all for now. */
static ssize_t next_slices(struct reader *r, struct slice *slices, unsigned *count)
{
	struct tcp_sock *tp = r->t->tp;
	bool peek = r->m->flags & MSG_PEEK, at_mark;
	ssize_t n = -EAGAIN;

	stack_enter(r->t->i.stack);
	consume_locked(r);
	*count = SLICES;
	at_mark = peek ? tp->urgent_in && tp->urg_seq == tp->copied_seq + (uint32_t)r->done : tcp_at_mark(tp);
	/* Beyond bytes that have been read are neither an error nor what follows an urgent byte. */
	if (!r->done || (!tp->err && !at_mark))
		n = tcp_recv(tp, slices, count, r->left, MSG_PEEK, peek ? (uint32_t)r->done : 0);
	else
		*count = 0;
	stack_leave(r->t->i.stack);
	return n;
}

/* Copies them out and drops the references. -EFAULT: not all. */
static ssize_t copy_slices(struct reader *r, struct slice *slices, unsigned count)
{
	bool discard = (r->m->flags & (MSG_TRUNC | MSG_PEEK)) == MSG_TRUNC;
	ssize_t err = 0;

	for (unsigned i = 0; i < count; i++) {
		struct slice *s = &slices[i];
		ssize_t n = (ssize_t)s->len;

		if (!err && !discard)
			n = iobuf_put(r->m->data, s->buf->data + s->off, s->len);
		if (!err && n > 0) {
			r->copied += (size_t)n;
			r->left -= (size_t)n;
			r->done += (size_t)n;
		}
		if (n < (ssize_t)s->len)
			err = -EFAULT;
		buf_put(s->buf);
	}
	return err;
}

/* All that is there. 0: the end, or enough; -EAGAIN: the target is not reached. */
static ssize_t read_queue(struct reader *r)
{
	struct slice slices[SLICES];
	unsigned count;
	ssize_t n;

	mutex_lock(&r->t->reading, L_SOCKREAD);
	do {
		n = next_slices(r, slices, &count);
		if (n > 0)
			n = copy_slices(r, slices, count) ?: 1;
	} while (n > 0 && r->left);
	if (r->copied)
		consume(r);
	mutex_unlock(&r->t->reading, L_SOCKREAD);
	if (n > 0 || (n == -EAGAIN && r->done >= r->target))
		n = 0;
	return n;
}

/* The byte that is kept aside. It is never waited for. */
static ssize_t recv_urgent(struct inet_tcp *t, struct net_msg *m)
{
	uint8_t byte;
	int n;

	stack_enter(t->i.stack);
	n = tcp_recv_urgent(t->tp, &byte, m->flags & MSG_PEEK);
	stack_leave(t->i.stack);
	if (n <= 0)
		return n;
	m->out_flags |= MSG_OOB;
	if (m->flags & MSG_TRUNC)
		return n;
	if (iobuf_left(m->data))
		return iobuf_put(m->data, &byte, 1);
	m->out_flags |= MSG_TRUNC;
	return 0;
}

/* TCP_INQ: what is left to be read. The end counts as a byte, as long as it has not been read. */
static void tell_left(struct ctx *c, struct inet_tcp *t, struct net_msg *m)
{
	const struct tcp_sock *tp = t->tp;
	int left;

	stack_enter(t->i.stack);
	left = (int)(tp->rcv_nxt - tp->copied_seq);
	if (left == 0)
		left = tp->done;
	stack_leave(t->i.stack);
	cmsg_put(c, m, IPPROTO_TCP, TCP_CM_INQ, &left, sizeof(left));
}

static ssize_t tcp_recvmsg(struct ctx *c, struct socket *s, struct net_msg *m)
{
	struct inet_tcp *t = inet_tcp_of(s);
	INET_WAIT w = {c, s, socket_deadline(s->rcvtimeo, m->flags & MSG_DONTWAIT)};
	struct reader r = {.t = t, .m = m, .left = iobuf_left(m->data)};
	ssize_t n;
	int err = 0;

	if (m->flags & MSG_ERRQUEUE)
		return -EAGAIN;
	if (m->flags & MSG_OOB)
		return recv_urgent(t, m);
	r.target = m->flags & MSG_WAITALL ? r.left : MIN(r.left, (size_t)MAX(s->rcvlowat, 1));
	do
		n = read_queue(&r);
	while (n == -EAGAIN && (err = inet_wait(&w, POLL_IN)) == 0);
	if (!r.done && n)
		return n == -EAGAIN ? err : n;
	if (t->i.value[TCP_V_INQ] && m->control_room)
		tell_left(c, t, m);
	return (ssize_t)r.done;
}

/* ---- the rest ---- */

static uint32_t tcp_poll_socket(struct socket *s, struct poll_table *p)
{
	struct inet_tcp *t = inet_tcp_of(s);
	uint32_t bits;

	poll_wait(p, &s->wq);
	stack_enter(t->i.stack);
	bits = tcp_poll(t->tp);
	stack_leave(t->i.stack);
	return s->err ? bits | POLLERR : bits;
}

static int queue_size(struct inet_tcp *t, uint32_t cmd) REQUIRES(L_NET)
{
	if (cmd == SIOCATMARK)
		return tcp_at_mark(t->tp);
	if (t->tp->ep.state == TCP_LISTEN)
		return -EINVAL;
	if (cmd == SIOCINQ)
		return (int)tcp_inq(t->tp);
	return (int)(cmd == SIOCOUTQ ? tcp_outq(t->tp) : tcp_outq_unsent(t->tp));
}

static long tcp_ioctl(struct ctx *c, struct socket *s, uint32_t cmd, uint64_t arg)
{
	struct inet_tcp *t = inet_tcp_of(s);
	int value;

	if (cmd != SIOCINQ && cmd != SIOCOUTQ && cmd != SIOCOUTQNSD && cmd != SIOCATMARK)
		return -ENOTTY;
	stack_enter(t->i.stack);
	value = queue_size(t, cmd);
	stack_leave(t->i.stack);
	return value < 0 ? value : copy_out(c, UADDR(arg), &value, sizeof(value));
}

static int tcp_take_socket_error(struct socket *s)
{
	struct inet_tcp *t = inet_tcp_of(s);
	int err;

	stack_enter(t->i.stack);
	err = -tcp_take_error(t->tp);
	stack_leave(t->i.stack);
	return err;
}

/* An option of SOL_SOCKET was set. */
static void tcp_changed(struct socket *s, int name)
{
	struct inet_tcp *t = inet_tcp_of(s);

	stack_enter(t->i.stack);
	if (name == SO_SNDBUF || name == SO_SNDBUFFORCE)
		tcp_set_sndbuf(t->tp, (uint32_t)s->sndbuf);
	else if (name == SO_RCVBUF || name == SO_RCVBUFFORCE)
		tcp_set_rcvbuf(t->tp, (uint32_t)s->rcvbuf);
	else
		tcp_sync(&t->i);
	stack_leave(t->i.stack);
}

static int tcp_buffer(struct socket *s, bool send)
{
	struct inet_tcp *t = inet_tcp_of(s);
	uint32_t size;

	stack_enter(t->i.stack);
	size = send ? t->tp->sndbuf : t->tp->rcvbuf;
	stack_leave(t->i.stack);
	return (int)MIN(size, (uint32_t)INT32_MAX);
}

static void info_timer(const struct tcp_sock *tp, struct sock_info *i) REQUIRES(L_NET)
{
	int64_t deadline = 0;

	i->timer = (uint8_t)tcp_timer_kind(&tp->ep, &deadline);
	i->timer_left = i->timer ? MAX(deadline - stack_now(tp->ep.stack), 0) : 0;
	i->retransmits = tp->retransmits;
	i->probes = tp->probes_out;
	i->rto = tp->rtt.rto;
	i->ato = tp->ato;
	i->quick = (uint8_t)(tp->quick << 1 | tp->pingpong);
	i->cwnd = tp->mss ? MAX(tp->cwnd / tp->mss, 1u) : 10;
	i->ssthresh = tp->mss && tp->ssthresh < INT32_MAX ? (int32_t)(tp->ssthresh / tp->mss) : -1;
	if (tp->ep.state == TCP_LISTEN)
		i->ssthresh = 0;
}

static bool tcp_socket_info(struct socket *s, struct sock_info *i)
{
	struct inet_tcp *t = inet_tcp_of(s);
	const struct tcp_sock *tp;
	bool open;

	stack_enter(t->i.stack);
	tp = t->tp;
	open = tp;
	if (open) {
		i->state = tp->ep.state;
		i->local = tp->ep.key.laddr;
		i->local_port = tp->ep.key.lport;
		i->remote = tp->ep.key.raddr;
		i->remote_port = tp->ep.key.rport;
		i->unread = tp->ep.state == TCP_LISTEN ? tp->accept_count : tcp_inq(tp);
		i->unsent = tp->ep.state == TCP_LISTEN ? 0 : tcp_outq(tp);
		i->charged = tp->rmem + tp->wmem;
		i->backlog = tp->backlog;
		info_timer(tp, i);
	}
	stack_leave(t->i.stack);
	return open;
}

const struct proto_ops inet_tcp_ops = {
    .bind = tcp_bind_socket,
    .connect = tcp_connect_socket,
    .listen = tcp_listen_socket,
    .accept = tcp_accept_socket,
    .getname = tcp_getname,
    .accepted_name = tcp_accepted_name,
    .shutdown = tcp_shutdown_socket,
    .sendmsg = tcp_sendmsg,
    .recvmsg = tcp_recvmsg,
    .poll = tcp_poll_socket,
    .ioctl = tcp_ioctl,
    .setsockopt = inet_setsockopt,
    .getsockopt = inet_getsockopt,
    .take_error = tcp_take_socket_error,
    .changed = tcp_changed,
    .buffer = tcp_buffer,
    .linger = tcp_linger,
    .info = tcp_socket_info,
    .release = tcp_release_socket,
    .destroy = tcp_destroy,
};
