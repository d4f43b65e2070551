/*
 * TCP through nat.
 *
 * A connection of the guest begins as a request that the gateway's stack keeps (net/stack/gateway.h). The host is asked first: only when its connect()
 * has succeeded is the guest's SYN answered, and a failure is told as the host would have told it: a reset, ICMP, or silence. Where the policy wants
 * to see what the guest says, it is the other way round: the guest's connection is accepted, and the host hears of it when its first bytes are allowed.
 * A connection to a published port is accepted by the host's kernel, then made to the guest from the client's address.
 *
 * Once both ends are there, bytes are pumped: from the gateway's endpoint by reference into sendmsg(), from recv() into a buffer that the endpoint, and later the
 * guest, refer to. Each direction goes on until there is nothing to take or the other side takes no more; what was taken from the guest and not sent
 * is kept in st->out, which bounds it, and the window does the rest. An end of file goes on as one, in each direction by itself; a reset of one side resets
 * the other. Urgent bytes become ordinary ones.
 *
 * A policy that looks goes on to do so for as long as it wants (st->talk): bytes of the guest stay in the endpoint's queue until it has cleared them, so that
 * what is half a request waits there, within its window. What the server says passes by the policy, too, where that decides what the guest may say.
 *
 * The pump runs in the thread that caused it (flow.c): of a guest that sends or reads, of the watcher for the host. After BUDGET bytes it is left to the watcher,
 * behind what else waits there, so that no guest thread works for others for long, and no connection starves another.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "net/nat/flow.h"
#include "net/stack/addr.h"
#include "net/stack/netmem.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"

#define PIECE 65440u     /* a packet takes it */
#define WANT_FIRST 4000u /* bytes of the first buffer */
#define OUT_SLICES 17
#define BUDGET (1 << 20)
#define DEFAULT_TTL 64
#define PATIENCE (10 * NSEC_PER_SEC) /* for what a guest says first */
#define OTHER_PORTS 8                /* that are tried for a client whose own is taken */

enum phase {
	STREAM_ASKED,      /* the guest has sent a SYN */
	STREAM_LOOKING,    /* its connection is accepted; the policy has not seen enough */
	STREAM_CONNECTING, /* to the host's peer */
	STREAM_ANSWERED,   /* connected there; the guest's handshake is not complete */
	STREAM_CALLING,    /* to the guest */
	STREAM_OPEN,
	STREAM_OVER,
};

struct stream {
	struct flow f;               /* first */
	struct list link;            /* L_NET: nat's list */
	struct tcp_request *request; /* L_NET: the guest's, not complete; NULL */
	struct tcp_sock *tp;         /* L_NET: the gateway's endpoint; NULL: not yet, or over */
	bool look, published;        /* constant */
	bool late;                   /* L_NET: there has been time enough to say something */
	struct net_timer patience;   /* L_NET: while the policy looks */
	uint8_t ttl;                 /* constant: of the SYN */
	/* Of who runs: */
	enum phase phase;
	bool guest_in, guest_out; /* there may be bytes; it may take some */
	bool host_in, host_out;   /* the same of the host */
	bool host_ends;           /* all that is left can be read without waiting */
	bool guest_eof, host_eof; /* seen */
	bool watches_out;         /* the host tells when it takes more */
	bool guest_eof_sent;      /* to the host */
	int budget;
	struct slice out[OUT_SLICES]; /* taken from the guest: references */
	unsigned out_at, out_count;
	uint32_t out_pages; /* what it keeps, charged while the host takes no more */
	struct buf *in;     /* the host's bytes; a reference */
	uint32_t want;      /* bytes of the next buffer */
	struct nat_talk talk;
};

static struct slab stream_slab = SLAB_INIT(struct stream);

static struct stream *stream_of(struct flow *f)
{
	return container_of(f, struct stream, f);
}

/* What has left the endpoint's queue, whose account it was on, and stays here is still TCP's memory. */
static void charge_out(struct stream *st)
{
	uint64_t sum = 0;

	for (unsigned i = st->out_at; i < st->out_count; i++)
		sum += st->out[i].buf->size;
	net_memory_adjust(&tcp_memory, &st->out_pages, sum);
}

static void drop_out(struct stream *st)
{
	for (; st->out_at < st->out_count; st->out_at++)
		buf_put(st->out[st->out_at].buf);
	charge_out(st);
}

static void destroy(struct flow *f)
{
	struct stream *st = stream_of(f);

	drop_out(st);
	buf_put(st->in);
	slab_free(&stream_slab, st);
}

/* Both ends go, and the stream; reset: with resets. */
static void finish(struct stream *st, bool reset)
{
	struct nat *n = st->f.nat;

	st->phase = STREAM_OVER;
	stack_enter(n->s);
	net_timer_cancel(n->s, &st->patience);
	if (st->request)
		gateway_refuse(take(st->request), reset ? -ECONNREFUSED : -ETIMEDOUT);
	if (st->tp) {
		tcp_close(st->tp, reset);
		tcp_release(take(st->tp));
	}
	list_remove(&st->link);
	n->stream_count--;
	n->stream_clients -= st->published;
	stack_leave(n->s);
	flow_close(&st->f, reset);
	flow_put(&st->f);
}

/* The host's side has failed before there was a connection. */
static void fail(struct stream *st, int err)
{
	struct nat *n = st->f.nat;

	stack_enter(n->s);
	if (err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -ENOBUFS)
		nat_dropped(n);
	err = host_error(err);
	if (st->request)
		gateway_refuse(take(st->request), err);
	stack_leave(n->s);
	finish(st, true);
}

/* ---- guest to host ---- */

/* The first bytes of the guest, which stay in its queue. All of them, or as much as is looked at. */
static size_t peek(struct stream *st, uint8_t *to, bool *ret_end)
{
	struct slice slices[OUT_SLICES];
	unsigned count;
	size_t done = 0;
	ssize_t n;

	do {
		count = OUT_SLICES;
		stack_enter(st->f.nat->s);
		n = tcp_recv(st->tp, slices, &count, NAT_LOOK_MAX - done, MSG_PEEK, (uint32_t)done);
		stack_leave(st->f.nat->s);
		for (unsigned i = 0; n > 0 && i < count; i++) {
			memcpy(to + done, slices[i].buf->data + slices[i].off, slices[i].len);
			done += slices[i].len;
			buf_put(slices[i].buf);
		}
	} while (n > 0 && done < NAT_LOOK_MAX);
	*ret_end = n != -EAGAIN;
	return done;
}

/* What the policy says of what the guest says next. *ret_end: nothing follows, and there is nothing. */
static enum nat_look ask_policy(struct stream *st, bool *ret_end)
{
	uint8_t *bytes = kalloc(NAT_LOOK_MAX);
	enum nat_look verdict = LOOK_MORE;
	bool end = false;
	size_t n;

	*ret_end = false;
	if (!bytes)
		return LOOK_REFUSE;
	n = peek(st, bytes, &end);
	if (n)
		verdict = policy_look(st->f.nat->policy, &st->f.id, &st->talk, bytes, n);
	kfree(bytes, NAT_LOOK_MAX);
	*ret_end = end && !n;
	/* What says nothing yet, and cannot any more. */
	if (verdict == LOOK_MORE && end && n && (!st->talk.listens || st->host_eof))
		verdict = LOOK_REFUSE;
	return verdict;
}

static void refuse(struct stream *st)
{
	stack_enter(st->f.nat->s);
	st->f.nat->counters[NAT_REFUSED]++;
	stack_leave(st->f.nat->s);
	finish(st, true);
}

/* Whether some of the guest's bytes may go, or its end. What comes from now on is told. */
static bool is_clear(struct stream *st)
{
	bool end;

	if (st->talk.clear)
		return true;
	switch (ask_policy(st, &end)) {
	case LOOK_ALLOW:
		return true;
	case LOOK_REFUSE:
		refuse(st);
		return false;
	default:
		st->guest_in = end;
		return end;
	}
}

/* Refers to what the guest has sent. False: nothing. */
static bool take_from_guest(struct stream *st)
{
	struct stack *s = st->f.nat->s;
	size_t most;
	ssize_t n;

	if (st->look && !is_clear(st))
		return false;
	st->out_at = st->out_count = 0;
	charge_out(st);
	most = st->look && st->talk.clear ? MIN(st->talk.clear, SIZE_MAX / 2) : SIZE_MAX / 2;
	if (net_memory_pressure(&tcp_memory))
		most = MIN(most, (size_t)PIECE);
	stack_enter(s);
	st->out_count = OUT_SLICES;
	n = tcp_recv(st->tp, st->out, &st->out_count, most, 0, 0);
	/* What comes from now on is told. */
	st->guest_in = n != -EAGAIN && (n <= 0 || tcp_inq(st->tp) || st->tp->ep.state != TCP_ESTABLISHED);
	stack_leave(s);
	if (n > 0 && st->talk.clear != UINT64_MAX)
		st->talk.clear -= st->look ? (size_t)n : 0;
	if (n < 0 && n != -EAGAIN)
		finish(st, true);
	if (n == 0) {
		st->guest_eof = true;
		st->guest_in = false;
	}
	return n > 0;
}

/* n bytes of st->out are gone. */
static void advance(struct stream *st, size_t n)
{
	while (n) {
		struct slice *s = &st->out[st->out_at];
		uint32_t part = (uint32_t)MIN(n, (size_t)s->len);

		s->off += part;
		s->len -= part;
		n -= part;
		if (s->len == 0) {
			buf_put(s->buf);
			st->out_at++;
		}
	}
}

static ssize_t send_out(struct stream *st)
{
	struct iovec iov[OUT_SLICES];
	struct msghdr m = {.msg_iov = iov};
	ssize_t n;

	for (unsigned i = st->out_at; i < st->out_count; i++)
		iov[m.msg_iovlen++] = (struct iovec){st->out[i].buf->data + st->out[i].off, st->out[i].len};
	n = sendmsg(st->f.watched.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

/* Room at the host is reported from now on: before, it would only be said that there is some. */
static void wait_for_host(struct stream *st)
{
	st->host_out = false;
	charge_out(st);
	if (!st->watches_out)
		watch_again(&st->f.watched, EPOLLIN | EPOLLOUT);
	st->watches_out = true;
}

static void to_host(struct stream *st)
{
	while (st->phase == STREAM_OPEN && st->budget > 0 && st->host_out) {
		ssize_t n;

		if (st->out_at == st->out_count && (!st->guest_in || !take_from_guest(st)))
			break;
		n = send_out(st);
		if (n > 0) {
			advance(st, (size_t)n);
			st->budget -= (int)n;
		} else if (n == -EAGAIN) {
			wait_for_host(st);
		} else if (n != -EINTR) {
			finish(st, true);
		}
	}
	if (st->phase == STREAM_OPEN && st->guest_eof && !st->guest_eof_sent && st->out_at == st->out_count) {
		st->guest_eof_sent = true;
		shutdown(st->f.watched.fd, SHUT_WR);
	}
}

/* ---- host to guest ---- */

/* A buffer with room, in st->in. Small pieces share one, as long as nobody has asked for more. */
static bool make_room(struct stream *st)
{
	struct buf *b = st->in;

	if (b && ref_count(&b->ref) == 1) {
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		b->used = 0;
	}
	if (b && b->size - b->used >= st->want / 2)
		return true;
	buf_put(take(st->in));
	st->in = buf_create(st->want);
	return st->in;
}

/* What the next buffer is for, by what the last one got. */
static void adapt(struct stream *st, size_t asked, size_t got)
{
	if (got == asked)
		st->want = MIN(st->want * 4, PIECE);
	else if (got < st->want / 8)
		st->want = MAX(st->want / 2, WANT_FIRST);
}

/* The endpoint takes bytes. Its error is the guest's reset. */
static bool guest_has_room(struct stream *st)
{
	ssize_t n;

	stack_enter(st->f.nat->s);
	n = tcp_send_room(st->tp);
	stack_leave(st->f.nat->s);
	st->guest_out = n > 0;
	if (n < 0 && n != -EAGAIN)
		finish(st, true);
	return n > 0;
}

/* Gives n bytes at the end of st->in to the guest. */
static void give_to_guest(struct stream *st, size_t size)
{
	struct slice slice = {buf_get(st->in), st->in->used, (uint32_t)size};
	struct stack *s = st->f.nat->s;
	ssize_t n;

	st->in->used += (uint32_t)size;
	stack_enter(s);
	n = tcp_send(st->tp, &slice, 1, 0);
	st->guest_out = n > 0 && tcp_send_room(st->tp) > 0;
	stack_leave(s);
	if (n != (ssize_t)size)
		finish(st, true);
}

static void host_ended(struct stream *st)
{
	struct stack *s = st->f.nat->s;

	st->host_eof = true;
	st->host_in = false;
	st->guest_in |= st->talk.listens && !st->guest_eof;
	stack_enter(s);
	(void)!tcp_shutdown(st->tp, TCP_SHUT_SEND);
	stack_leave(s);
}

/* The policy hears it, if it wants to; the guest's bytes may have waited for that. */
static void let_hear(struct stream *st, size_t n)
{
	bool listens = st->talk.listens;

	policy_listen(st->f.nat->policy, &st->talk, st->in->data + st->in->used, n);
	st->guest_in |= listens && !st->talk.listens && !st->guest_eof;
}

static void recv_in(struct stream *st)
{
	uint32_t size = MIN(st->in->size - st->in->used, PIECE);
	ssize_t n = recv(st->f.watched.fd, st->in->data + st->in->used, size, MSG_DONTWAIT);

	if (n > 0) {
		adapt(st, size, (size_t)n);
		st->budget -= (int)n;
		/* Less than asked for: that was all, and more would be reported. */
		st->host_in = n == (ssize_t)size || st->host_ends;
		let_hear(st, (size_t)n);
		give_to_guest(st, (size_t)n);
	} else if (n == 0) {
		host_ended(st);
	} else if (errno == EAGAIN) {
		st->host_in = false;
	} else if (errno != EINTR) {
		finish(st, true);
	}
}

static void to_guest(struct stream *st)
{
	while (st->phase == STREAM_OPEN && st->host_in && st->budget > 0) {
		if (!st->guest_out && !guest_has_room(st))
			return;
		if (!make_room(st)) {
			finish(st, true);
			return;
		}
		recv_in(st);
	}
}

static void go_on_later(struct stream *st)
{
	st->watches_out = true;
	watch_again(&st->f.watched, EPOLLIN | EPOLLOUT);
}

static void pump(struct stream *st)
{
	to_host(st);
	to_guest(st);
	if (st->look && st->guest_in)
		to_host(st);
	if (st->phase != STREAM_OPEN)
		return;
	if (st->guest_eof_sent && st->host_eof)
		finish(st, false);
	else if (st->budget <= 0)
		go_on_later(st);
}

/* ---- the beginning ---- */

static int watch_host(struct stream *st, bool out)
{
	st->watches_out = out;
	return watch_add(&st->f.watched, EPOLLIN | (out ? EPOLLOUT : 0u));
}

static void prepare(struct flow *f, int fd)
{
	bool v4 = addr_is_v4(&f->id.dst);
	uint8_t ttl = stream_of(f)->ttl;

	host_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	host_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	host_option(fd, SOL_SOCKET, SO_OOBINLINE, 1);
	if (ttl > 1 && ttl != DEFAULT_TTL)
		host_option(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_UNICAST_HOPS, ttl - 1);
}

/* There is an end for the bytes on both sides, or there will be. */
static void host_connected(struct stream *st)
{
	struct stack *s = st->f.nat->s;
	bool open, gone;

	st->host_out = true;
	stack_enter(s);
	if (st->request)
		gateway_accept(st->request);
	open = st->tp;
	gone = !open && !st->request;
	stack_leave(s);
	st->phase = open ? STREAM_OPEN : STREAM_ANSWERED;
	if (gone)
		finish(st, true);
}

/* The host's connect() has an end: SO_ERROR says which. */
static void host_answered(struct stream *st)
{
	socklen_t size = sizeof(int);
	int err = 0;

	if (getsockopt(st->f.watched.fd, SOL_SOCKET, SO_ERROR, &err, &size))
		err = errno;
	if (err)
		fail(st, -err);
	else
		host_connected(st);
}

static void call_host(struct stream *st)
{
	int err = flow_connect(&st->f, SOCK_STREAM, 0, prepare);
	struct pollfd p = {.fd = st->f.watched.fd, .events = POLLOUT};

	st->phase = STREAM_CONNECTING;
	if (err && err != -EINPROGRESS) {
		fail(st, err);
		return;
	}
	/* A peer on this machine has answered by now. */
	(void)!poll(&p, 1, 0);
	err = watch_host(st, !p.revents);
	if (err)
		fail(st, err);
	else if (p.revents == POLLOUT)
		host_connected(st);
	else if (p.revents)
		host_answered(st);
}

/* True: the guest's end is neither there nor on its way. */
static bool guest_gone(struct stream *st, bool *ret_open)
{
	bool gone;

	stack_enter(st->f.nat->s);
	gone = !st->request && !st->tp;
	*ret_open = st->tp;
	stack_leave(st->f.nat->s);
	return gone;
}

static void lose_patience(struct stack *s, struct net_timer *t) REQUIRES(L_NET)
{
	struct stream *st = container_of(t, struct stream, patience);

	st->late = true;
	stack_wake(s, &st->f.wakeup, POLLIN);
}

/* No longer MORE, if it has been long enough. */
static bool is_late(struct stream *st, bool looking)
{
	bool late;

	stack_enter(st->f.nat->s);
	late = st->late;
	if (!looking)
		net_timer_cancel(st->f.nat->s, &st->patience);
	stack_leave(st->f.nat->s);
	return late;
}

static void look(struct stream *st)
{
	bool end;
	enum nat_look verdict = ask_policy(st, &end);

	if (end)
		verdict = LOOK_REFUSE;
	if (is_late(st, verdict == LOOK_MORE) && verdict == LOOK_MORE) {
		policy_silent(st->f.nat->policy, &st->f.id);
		verdict = LOOK_REFUSE;
	}
	if (verdict == LOOK_ALLOW)
		call_host(st);
	else if (verdict == LOOK_REFUSE)
		refuse(st);
}

static void adopt(struct stream *st, struct tcp_sock *tp) REQUIRES(L_NET)
{
	st->tp = tp;
	tp->owner = st;
	tp->wakeup = &st->f.wakeup;
	tp->oobinline = true;
}

/* From this port of the client's address; 0: from any. */
static int connect_from(struct stream *st, uint16_t port) REQUIRES(L_NET)
{
	struct tcp_sock *tp = gateway_endpoint(st->f.nat->s);
	const struct nat_flow *id = &st->f.id;
	int err;

	if (!tp)
		return -ENOMEM;
	adopt(st, tp);
	err = tcp_bind(tp, &id->dst, port);
	err = err ? err : tcp_connect(tp, &id->src, id->sport);
	if (err != -EINPROGRESS) {
		tcp_close(tp, true);
		tcp_release(take(st->tp));
	}
	return err;
}

/* The host may give a client a port again that an old connection still has here. */
static int connect_guest(struct stream *st) REQUIRES(L_NET)
{
	int err = connect_from(st, st->f.id.dport);

	for (int i = 0; i < OTHER_PORTS && (err == -EADDRINUSE || err == -EADDRNOTAVAIL); i++)
		err = connect_from(st, 0);
	return err;
}

static void call_guest(struct stream *st)
{
	int err = watch_host(st, false);

	st->phase = STREAM_CALLING;
	prepare(&st->f, st->f.watched.fd);
	if (!err) {
		stack_enter(st->f.nat->s);
		err = connect_guest(st);
		stack_leave(st->f.nat->s);
	}
	if (err != -EINPROGRESS)
		finish(st, true);
}

static void begin(struct stream *st)
{
	if (st->published)
		call_guest(st);
	else if (!st->look)
		call_host(st);
	if (st->phase != STREAM_ASKED)
		return;
	st->phase = STREAM_LOOKING;
	stack_enter(st->f.nat->s);
	if (st->request)
		gateway_accept(st->request);
	net_timer_arm(st->f.nat->s, &st->patience, stack_now(st->f.nat->s) + PATIENCE);
	stack_leave(st->f.nat->s);
}

/* The guest's end may have come into being, or gone. */
static void check_guest(struct stream *st)
{
	bool open;

	if (guest_gone(st, &open))
		finish(st, true);
	else if (open && st->phase == STREAM_ANSWERED)
		st->phase = STREAM_OPEN;
	else if (open && st->phase == STREAM_LOOKING)
		look(st);
}

/* Published: the guest has answered, perhaps. */
static void check_call(struct stream *st)
{
	int err;

	stack_enter(st->f.nat->s);
	err = tcp_connect(st->tp, &st->f.id.src, st->f.id.sport);
	stack_leave(st->f.nat->s);
	if (err == 0)
		st->phase = STREAM_OPEN;
	else if (err != -EALREADY)
		finish(st, true);
}

static void step(struct stream *st, uint32_t work)
{
	switch (st->phase) {
	case STREAM_ASKED:
		begin(st);
		break;
	case STREAM_CONNECTING:
		if (work & (WORK_HOST_OUT | WORK_HOST_END))
			host_answered(st);
		else
			check_guest(st);
		break;
	case STREAM_LOOKING:
	case STREAM_ANSWERED:
		check_guest(st);
		break;
	case STREAM_CALLING:
		check_call(st);
		break;
	default:
		break;
	}
}

static void run(struct flow *f, uint32_t work)
{
	struct stream *st = stream_of(f);

	if (st->phase == STREAM_OVER)
		return;
	if (work & WORK_STOP) {
		finish(st, true);
		return;
	}
	if (work & WORK_GUEST)
		st->guest_in = st->guest_out = true;
	if (work & WORK_HOST_IN)
		st->host_in = true;
	if (work & WORK_HOST_OUT)
		st->host_out = true;
	if (work & WORK_HOST_END)
		st->host_ends = true;
	st->host_in &= !st->host_eof;
	st->guest_in &= !st->guest_eof;
	if (st->phase != STREAM_OPEN)
		step(st, work);
	st->budget = BUDGET;
	if (st->phase == STREAM_OPEN)
		pump(st);
}

/* ---- where they come from ---- */

static struct stream *create(struct nat *n, const struct nat_flow *id, enum phase phase) REQUIRES(L_NET)
{
	struct stream *st = n->stream_count < n->flows_max && !n->stopped ? slab_alloc(&stream_slab) : NULL;

	if (!st) {
		nat_dropped(n);
		return NULL;
	}
	flow_init(&st->f, n, id, run, destroy);
	st->phase = phase;
	st->want = WANT_FIRST;
	net_timer_init(&st->patience, lose_patience);
	list_append(&n->streams, &st->link);
	n->stream_count++;
	return st;
}

int stream_syn(void *arg, struct tcp_request *r, const struct tcp_key *key, uint8_t ttl, void **ret_owner)
{
	struct nat *n = arg;
	struct nat_flow id = {IPPROTO_TCP, key->raddr, key->laddr, key->rport, key->lport};
	bool look_first = false;
	struct stream *st;
	int err;

	if (!ip_is_beyond(n->s, &id.dst))
		return -ECONNREFUSED;
	err = nat_permit(n, &id, &look_first);
	if (err)
		return err;
	st = create(n, &id, STREAM_ASKED);
	if (!st)
		return -EAGAIN;
	st->look = look_first;
	st->ttl = ttl;
	st->request = r;
	n->counters[NAT_CONNECTIONS]++;
	stack_wake(n->s, &st->f.wakeup, POLLIN);
	*ret_owner = st;
	return 0;
}

void stream_established(void *owner, struct tcp_sock *tp)
{
	struct stream *st = owner;

	st->request = NULL;
	adopt(st, tp);
	stack_wake(st->f.nat->s, &st->f.wakeup, POLLIN);
}

void stream_gone(void *owner)
{
	struct stream *st = owner;

	st->request = NULL;
	stack_wake(st->f.nat->s, &st->f.wakeup, POLLHUP);
}

void stream_publish(struct nat *n, int fd, const struct in6_addr *client, uint16_t client_port, uint16_t guest_port)
{
	struct nat_flow id = {.protocol = IPPROTO_TCP, .sport = guest_port, .dport = client_port};
	struct stream *st = NULL;

	stack_enter(n->s);
	id.dst = nat_source(n, client);
	id.src = addr_is_v4(&id.dst) ? nat_guest4 : nat_guest6;
	if (n->stream_clients < nat_clients_max(n))
		st = create(n, &id, STREAM_ASKED);
	else
		nat_dropped(n);
	if (st) {
		st->published = st->host_out = true;
		n->stream_clients++;
		st->ttl = DEFAULT_TTL;
		st->f.watched.fd = fd;
		flow_get(&st->f);
		n->counters[NAT_PUBLISHED]++;
	}
	stack_leave(n->s);
	if (!st) {
		host_reset(fd);
		return;
	}
	flow_kick(&st->f, WORK_GUEST);
	flow_put(&st->f);
}

void streams_stop(struct nat *n)
{
	struct stream *st;

	do {
		stack_enter(n->s);
		st = list_first(&n->streams, struct stream, link);
		if (st) {
			flow_get(&st->f);
			list_remove(&st->link);
			list_append(&n->streams, &st->link);
		}
		stack_leave(n->s);
		if (st) {
			flow_kick(&st->f, WORK_STOP);
			flow_put(&st->f);
		}
	} while (st);
}
