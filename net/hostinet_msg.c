/*
 * Data of sockets of the host: see hostinet.h. One bounce buffer for each call, of at most BOUNCE_MAX; a stream goes through it in pieces, a datagram as a whole.
 *
 * A fault of the guest's memory loses what was received by then: the host does not take bytes back.
 *
 * Control messages are rebuilt, not passed on: those of the levels of IP, with the types and sizes that are known here. What SOL_SOCKET has on sending (descriptors,
 * credentials) means nothing to such a socket and is left out, as Linux leaves it. The host makes none that carries a descriptor.
 */
#include <poll.h>
#include <string.h>

#include "net/hostinet.h"
#include "platform/hostopts.h"
#include "sentry/base/slab.h"

#define BOUNCE_MAX (64ul << 10)
#define PEEK_MAX (1ul << 20)
#define DATAGRAM_MAX (128ul << 10) /* larger ones do not exist */
#define CONTROL_MAX 1024
#define SEND_FLAGS (MSG_OOB | MSG_EOR | MSG_MORE | MSG_DONTROUTE | MSG_CONFIRM)
#define RECV_FLAGS (MSG_OOB | MSG_PEEK | MSG_ERRQUEUE)
#define RESULT_FLAGS (MSG_TRUNC | MSG_CTRUNC | MSG_OOB | MSG_ERRQUEUE | MSG_EOR)
#define PEEK_AGAIN_NS (5 * NSEC_PER_MSEC)

/* ---- sending ---- */

/* What a sender may say at the levels of IP; what others have is left out, as Linux does. */
static const struct {
	int level, type;
	size_t size, least;
} send_control[] = {
    {IPPROTO_IP, IP_TOS, 4, 1},           {IPPROTO_IP, IP_TTL, 4, 4},          {IPPROTO_IP, IP_PKTINFO, 12, 12},
    {IPPROTO_IPV6, IPV6_PKTINFO, 20, 20}, {IPPROTO_IPV6, IPV6_HOPLIMIT, 4, 4}, {IPPROTO_IPV6, IPV6_TCLASS, 4, 4},
    {IPPROTO_IPV6, IPV6_DONTFRAG, 4, 4},  {IPPROTO_UDP, UDP_SEGMENT, 2, 2},
};

static bool is_ours(int level)
{
	return level == IPPROTO_IP || level == IPPROTO_IPV6 || level == IPPROTO_UDP;
}

static bool may_send(const struct cmsghdr *h, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(send_control); i++)
		if (send_control[i].level == h->cmsg_level && send_control[i].type == h->cmsg_type)
			return size <= send_control[i].size && size >= send_control[i].least;
	return false;
}

/* What m has of control messages, into `to`; *ret_size of it. -EINVAL: one is malformed, or of no known kind. */
static int rebuild_control(const struct net_msg *m, char *to, size_t *ret_size)
{
	size_t at = 0, used = 0;

	while (m->control_size - at >= sizeof(struct cmsghdr)) {
		struct cmsghdr h;
		size_t size;

		memcpy(&h, m->control + at, sizeof(h));
		if (h.cmsg_len < sizeof(h) || h.cmsg_len > m->control_size - at)
			return -EINVAL;
		size = h.cmsg_len - sizeof(h);
		if (is_ours(h.cmsg_level)) {
			if (!may_send(&h, size) || used + CMSG_SPACE(size) > CONTROL_MAX)
				return -EINVAL;
			memcpy(to + used, m->control + at, h.cmsg_len);
			used += CMSG_SPACE(size);
		}
		at += MIN(CMSG_ALIGN(h.cmsg_len), m->control_size - at);
	}
	*ret_size = used;
	return 0;
}

struct sending {
	struct ctx *c;
	struct socket *s;
	int64_t deadline;
	struct msghdr h;
	struct iovec iov;
	int flags;
};

/* All of it, unless something comes in between: what was sent, or an error before the first byte. */
static ssize_t send_piece(struct sending *w, char *buf, size_t size)
{
	size_t done = 0;
	ssize_t n;

	do {
		w->iov = (struct iovec){buf + done, size - done};
		n = sendmsg(hostinet_fd(w->s), &w->h, w->flags | MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0)
			done += (size_t)n;
		else
			n = errno == EAGAIN ? hostinet_wait(w->c, w->s, POLLOUT, w->deadline) : -errno;
	} while (n >= 0 && done < size);
	return done ? (ssize_t)done : n;
}

/* A datagram may be empty; the host has sent it when it returns 0. */
static ssize_t send_datagram(struct sending *w, char *buf, size_t size)
{
	ssize_t n;

	w->iov = (struct iovec){buf, size};
	do {
		n = sendmsg(hostinet_fd(w->s), &w->h, w->flags | MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0)
			return n;
		n = errno == EAGAIN ? hostinet_wait(w->c, w->s, POLLOUT, w->deadline) : -errno;
	} while (n == 0);
	return n;
}

static ssize_t send_stream(struct sending *w, struct iobuf *data, char *buf, size_t room)
{
	ssize_t done = 0, got, n;

	do {
		got = iobuf_get(data, buf, room);
		n = got < 0 ? got : send_piece(w, buf, (size_t)got);
		done += MAX(n, 0);
		room = MIN(iobuf_left(data), room);
	} while (room && n > 0 && n == got);
	return done ? done : n;
}

static ssize_t send_data(struct sending *w, struct net_msg *m, char *buf, size_t room)
{
	ssize_t got;

	if (w->s->type == SOCK_STREAM)
		return send_stream(w, m->data, buf, room);
	got = iobuf_get(m->data, buf, room);
	return got != (ssize_t)room ? -EFAULT : send_datagram(w, buf, room);
}

ssize_t hostinet_sendmsg(struct ctx *c, struct socket *s, struct net_msg *m)
{
	bool stream = s->type == SOCK_STREAM;
	size_t room = MIN(iobuf_left(m->data), stream ? BOUNCE_MAX : DATAGRAM_MAX);
	struct sending w = {.c = c, .s = s, .flags = m->flags & SEND_FLAGS};
	char control[CONTROL_MAX] __attribute__((aligned(8)));
	size_t control_size = 0;
	ssize_t n;
	char *buf;

	if (m->flags & MSG_FASTOPEN)
		return -EOPNOTSUPP;
	if (!stream && room < iobuf_left(m->data))
		return -EMSGSIZE;
	n = stream ? 0 : rebuild_control(m, control, &control_size);
	if (n)
		return n;
	buf = kalloc(MAX(room, 1ul));
	if (!buf)
		return -ENOBUFS;
	w.h = (struct msghdr){.msg_iov = &w.iov, .msg_iovlen = 1, .msg_control = control_size ? control : NULL};
	w.h.msg_controllen = control_size;
	if (!stream && m->addr_len) {
		w.h.msg_name = &m->addr;
		w.h.msg_namelen = m->addr_len;
	}
	w.deadline = socket_deadline(s->sndtimeo, m->flags & MSG_DONTWAIT);
	n = send_data(&w, m, buf, room);
	kfree(buf, MAX(room, 1ul));
	return n == -EPIPE && stream ? socket_pipe_error(c, m->flags) : n;
}

/* ---- receiving ---- */

static bool may_receive(const struct cmsghdr *h)
{
	switch (h->cmsg_level) {
	case SOL_SOCKET:
		return h->cmsg_type == SO_TIMESTAMP || h->cmsg_type == SO_TIMESTAMPNS || h->cmsg_type == SO_RXQ_OVFL;
	case IPPROTO_IP:
	case IPPROTO_IPV6:
		return true;
	case IPPROTO_UDP:
		return h->cmsg_type == UDP_GRO;
	case IPPROTO_TCP:
		return h->cmsg_type == TCP_INQ;
	default:
		return false;
	}
}

struct receiving {
	struct ctx *c;
	struct socket *s;
	struct net_msg *m;
	int64_t deadline;
	struct msghdr h; /* what the last piece came with */
	struct iovec iov;
	char control[CONTROL_MAX] __attribute__((aligned(8)));
};

static void put_control(struct receiving *r)
{
	struct cmsghdr *h;

	for (h = CMSG_FIRSTHDR(&r->h); h; h = CMSG_NXTHDR(&r->h, h))
		if (may_receive(h) && h->cmsg_len >= sizeof(*h))
			cmsg_put(r->c, r->m, h->cmsg_level, h->cmsg_type, CMSG_DATA(h), h->cmsg_len - sizeof(*h));
	r->m->out_flags |= r->h.msg_flags & RESULT_FLAGS;
	r->m->addr_len = r->h.msg_namelen;
}

/* Datagrams: a call that may wait has its end then, one that may not has none, says the host. */
static bool is_shut(struct socket *s)
{
	return hostfd_poll(container_of(s, struct hostinet, s)->h, NULL) & POLLRDHUP;
}

static ssize_t recv_piece(struct receiving *r, char *buf, size_t size, int flags, int64_t deadline)
{
	uint32_t events = flags & MSG_OOB ? POLLPRI : POLLIN;
	ssize_t n;
	int err;

	for (;;) {
		r->iov = (struct iovec){buf, size};
		r->h = (struct msghdr){.msg_name = &r->m->addr,
				       .msg_namelen = sizeof(r->m->addr),
				       .msg_iov = &r->iov,
				       .msg_iovlen = 1,
				       .msg_control = r->control,
				       .msg_controllen = sizeof(r->control)};
		n = recvmsg(hostinet_fd(r->s), &r->h, flags | MSG_DONTWAIT);
		if (n >= 0)
			return n;
		if (errno != EAGAIN || flags & (MSG_ERRQUEUE | MSG_OOB))
			return -errno;
		if (deadline && r->s->type != SOCK_STREAM && is_shut(r->s))
			return 0;
		err = hostinet_wait(r->c, r->s, events, deadline);
		if (err)
			return err;
	}
}

static ssize_t recv_datagram(struct receiving *r, char *buf, size_t room)
{
	ssize_t n = recv_piece(r, buf, room, (r->m->flags & RECV_FLAGS) | MSG_TRUNC, r->deadline);
	size_t fits = MIN((size_t)MAX(n, 0), room);

	if (n < 0)
		return n;
	if (iobuf_put(r->m->data, buf, fits) != (ssize_t)fits)
		return -EFAULT;
	put_control(r);
	return r->m->flags & MSG_TRUNC ? n : (ssize_t)fits;
}

/* Nothing more will come. */
static bool at_end(struct socket *s)
{
	return hostfd_poll(container_of(s, struct hostinet, s)->h, NULL) & (POLLRDHUP | POLLHUP | POLLERR);
}

/* MSG_PEEK with MSG_WAITALL: what is there stays, so nothing tells of more. It is looked at again and again. */
static ssize_t peek_all(struct receiving *r, char *buf, size_t size)
{
	for (;;) {
		ssize_t n = recv_piece(r, buf, size, MSG_PEEK, r->deadline);
		int64_t now = clock_now(CLOCK_MONOTONIC);
		int err;

		if (n < 0 || (size_t)n == size || r->deadline <= now || at_end(r->s))
			return n;
		err = hostinet_wait(r->c, r->s, POLLPRI, MIN(r->deadline, now + PEEK_AGAIN_NS));
		if (err && err != -EAGAIN)
			return n ? n : err;
	}
}

static ssize_t peek_stream(struct receiving *r, char *buf, size_t room)
{
	bool all = r->m->flags & MSG_WAITALL && r->deadline;
	ssize_t n = all ? peek_all(r, buf, room) : recv_piece(r, buf, room, MSG_PEEK, r->deadline);

	return n > 0 ? iobuf_put(r->m->data, buf, (size_t)n) : n;
}

/* How many bytes it waits for. */
static size_t wanted(const struct receiving *r)
{
	size_t left = iobuf_left(r->m->data);

	return r->m->flags & MSG_WAITALL ? left : MIN(left, (size_t)r->s->rcvlowat);
}

static ssize_t recv_pieces(struct receiving *r, char *buf, size_t room)
{
	size_t target = wanted(r), done = 0, piece;
	ssize_t n;

	do {
		piece = MIN(room, iobuf_left(r->m->data));
		n = recv_piece(r, buf, piece, 0, done < target ? r->deadline : 0);
		if (n > 0)
			n = iobuf_put(r->m->data, buf, (size_t)n);
		done += (size_t)MAX(n, 0);
	} while (n > 0 && (done < target || (size_t)n == piece) && iobuf_left(r->m->data));
	return done ? (ssize_t)done : n;
}

static ssize_t recv_stream(struct receiving *r, char *buf, size_t room)
{
	int flags = r->m->flags & RECV_FLAGS;
	ssize_t n;

	if (flags & (MSG_OOB | MSG_ERRQUEUE)) {
		n = recv_piece(r, buf, room, flags, r->deadline);
		if (n > 0)
			n = iobuf_put(r->m->data, buf, (size_t)n);
	} else if (r->m->flags & MSG_TRUNC) {
		/* TCP throws the data away. */
		n = recv_piece(r, buf, room, flags | MSG_TRUNC, r->deadline);
	} else if (flags & MSG_PEEK) {
		n = peek_stream(r, buf, room);
	} else if (!room) {
		n = recv_piece(r, buf, 0, 0, 0);
		n = n == -EAGAIN ? 0 : n;
	} else {
		n = recv_pieces(r, buf, room);
	}
	if (n >= 0)
		put_control(r);
	return n;
}

ssize_t hostinet_recvmsg(struct ctx *c, struct socket *s, struct net_msg *m)
{
	struct receiving r = {
	    .c = c, .s = s, .m = m, .deadline = socket_deadline(s->rcvtimeo, m->flags & MSG_DONTWAIT)};
	bool stream = s->type == SOCK_STREAM;
	size_t room = MIN(iobuf_left(m->data), stream && m->flags & MSG_PEEK ? PEEK_MAX : BOUNCE_MAX);
	char *buf = kalloc(MAX(room, 1ul));
	ssize_t n;

	if (!buf)
		return -ENOBUFS;
	n = stream ? recv_stream(&r, buf, room) : recv_datagram(&r, buf, room);
	kfree(buf, MAX(room, 1ul));
	return n;
}
