/*
 * Sockets of the host: see hostsock.h. Data, shutdown(2), names and SO_ERROR are the host's; waiting, O_NONBLOCK, SO_RCVTIMEO and SO_SNDTIMEO are
 * ours (fs/hostfd.h). Other options of SOL_SOCKET are remembered and have no effect; other levels have none.
 *
 * A guest has what was handed over and nothing beyond it. What would reach another socket of the host's network is refused with EPERM, which is
 * what a firewall says: connect, bind, listen, accept, a datagram to an address. So the sentry needs neither sendmsg nor recvmsg: sendto
 * without an address and recvfrom do, whose arguments its filter can see. Nor can descriptors travel: a guest's mean nothing to a process of the host
 * (EPERM), and the host drops those that such a process sends, which the guest is not told (MSG_CTRUNC is recvmsg's).
 */
#include "net/hostsock.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fs/hostfd.h"
#include "net/socket.h"
#include "sentry/base/restart.h"
#include "sentry/base/slab.h"

#define STREAM_PIECE (64ul << 10)
#define MESSAGE_MAX (1ul << 20)
#define SEND_FLAGS (MSG_OOB | MSG_EOR | MSG_MORE)
#define RECV_FLAGS (MSG_OOB | MSG_PEEK)

struct hostsock {
	struct socket s; /* first member */
	struct hostfd *h;
};

static struct slab hostsock_slab = SLAB_INIT(struct hostsock);

static struct hostsock *hostsock_of(struct socket *s)
{
	return container_of(s, struct hostsock, s);
}

static int host_fd(struct socket *s)
{
	return hostfd_fd(hostsock_of(s)->h);
}

static int refuse_name(struct ctx *c __unused, struct socket *s __unused, const struct sockaddr *addr __unused,
		       size_t len __unused)
{
	return -EPERM;
}

static int refuse_connect(struct ctx *c __unused, struct socket *s __unused, const struct sockaddr *addr __unused,
			  size_t len __unused, int flags __unused)
{
	return -EPERM;
}

static int refuse_listen(struct ctx *c __unused, struct socket *s __unused, int backlog __unused)
{
	return -EPERM;
}

static int refuse_accept(struct ctx *c __unused, struct socket *s __unused, int flags __unused,
			 struct socket **ret __unused)
{
	return -EPERM;
}

/* As socket_wait(). */
static int wait_host(struct ctx *c, struct socket *s, uint32_t events, int64_t deadline)
{
	struct hostfd *h = hostsock_of(s)->h;
	int err;

	if (deadline == 0) {
		hostfd_rearm(h, events);
		return -EAGAIN;
	}
	err = hostfd_wait(c, h, events, deadline);
	if (err == -ETIMEDOUT)
		return -EAGAIN;
	return err == -ERESTARTSYS && deadline != TIME_NEVER ? -EINTR : err;
}

/* ---- sending ---- */

/* The address and the control messages of a send. */
static int check_send(struct ctx *c, struct socket *s, const struct net_msg *m)
{
	struct scm scm = {0};
	int err = s->family == AF_UNIX ? scm_parse(c, m, &scm) : 0;

	if (err)
		return err;
	if (scm.file_count)
		err = -EPERM;
	scm_drop(&scm);
	if (err || !m->addr_len || s->type == SOCK_SEQPACKET)
		return err;
	if (s->type != SOCK_STREAM)
		return -EPERM;
	return s->family == AF_UNIX ? -EISCONN : 0;
}

/* All of it, unless something comes in between: what was sent, or an error before the first byte. */
static ssize_t send_piece(struct ctx *c, struct socket *s, const char *buf, size_t size, int flags, int64_t deadline)
{
	size_t done = 0;
	ssize_t n;

	do {
		n = sendto(host_fd(s), buf + done, size - done, (flags & SEND_FLAGS) | MSG_DONTWAIT | MSG_NOSIGNAL,
			   NULL, 0);
		if (n >= 0)
			done += (size_t)n;
		else
			n = errno == EAGAIN ? wait_host(c, s, POLLOUT, deadline) : -errno;
	} while (n >= 0 && done < size);
	return done ? (ssize_t)done : n;
}

static ssize_t send_data(struct ctx *c, struct socket *s, struct net_msg *m, char *buf, size_t room)
{
	int64_t deadline = socket_deadline(s->sndtimeo, m->flags & MSG_DONTWAIT);
	ssize_t done = 0, got, n;

	do {
		got = iobuf_get(m->data, buf, room);
		if (got < 0 || ((size_t)got < room && s->type != SOCK_STREAM))
			n = -EFAULT;
		else
			n = send_piece(c, s, buf, (size_t)got, m->flags, deadline);
		done += MAX(n, 0);
		room = MIN(iobuf_left(m->data), room);
	} while (room && n == got);
	return done ? done : n;
}

static ssize_t hostsock_send(struct ctx *c, struct socket *s, struct net_msg *m)
{
	bool stream = s->type == SOCK_STREAM;
	size_t room = MIN(iobuf_left(m->data), stream ? STREAM_PIECE : MESSAGE_MAX);
	ssize_t n = check_send(c, s, m);
	char *buf;

	if (n)
		return n;
	if (!stream && room < iobuf_left(m->data))
		return -EMSGSIZE;
	buf = kalloc(MAX(room, 1ul));
	if (!buf)
		return -ENOBUFS;
	n = send_data(c, s, m, buf, room);
	kfree(buf, MAX(room, 1ul));
	return n == -EPIPE && stream ? socket_pipe_error(c, m->flags) : n;
}

/* ---- receiving ---- */

static ssize_t recv_piece(struct ctx *c, struct socket *s, struct net_msg *m, char *buf, size_t size, int flags)
{
	int64_t deadline = socket_deadline(s->rcvtimeo, m->flags & MSG_DONTWAIT);
	socklen_t len = sizeof(m->addr);
	ssize_t n;
	int err;

	while ((n = recvfrom(host_fd(s), buf, size, flags | MSG_DONTWAIT, (struct sockaddr *)&m->addr, &len)) < 0) {
		err = errno == EAGAIN ? wait_host(c, s, POLLIN, deadline) : -errno;
		if (err)
			return err;
	}
	m->addr_len = len;
	return n;
}

/* A message is received whole or cut; the host says how long it was. */
static ssize_t recv_message(struct ctx *c, struct socket *s, struct net_msg *m, char *buf, size_t room)
{
	ssize_t n = recv_piece(c, s, m, buf, room, (m->flags & RECV_FLAGS) | MSG_TRUNC);
	size_t fits = MIN((size_t)MAX(n, 0), room);

	if (n < 0)
		return n;
	if (iobuf_put(m->data, buf, fits) != (ssize_t)fits)
		return -EFAULT;
	if ((size_t)n > fits)
		m->out_flags |= MSG_TRUNC;
	return m->flags & MSG_TRUNC ? n : (ssize_t)fits;
}

static ssize_t recv_stream(struct ctx *c, struct socket *s, struct net_msg *m, char *buf, size_t room)
{
	bool all = (m->flags & (MSG_WAITALL | MSG_PEEK | MSG_OOB)) == MSG_WAITALL;
	/* TCP throws the data away then. */
	bool discard = (m->flags & MSG_TRUNC) && s->family != AF_UNIX;
	ssize_t done = 0, n;

	if (discard)
		return recv_piece(c, s, m, buf, room, (m->flags & RECV_FLAGS) | MSG_TRUNC);
	do {
		n = recv_piece(c, s, m, buf, MIN(room, iobuf_left(m->data)), m->flags & RECV_FLAGS);
		if (n > 0)
			n = iobuf_put(m->data, buf, (size_t)n);
		done += MAX(n, 0);
	} while (all && n > 0 && iobuf_left(m->data));
	return done ? done : n;
}

static ssize_t hostsock_recv(struct ctx *c, struct socket *s, struct net_msg *m)
{
	bool stream = s->type == SOCK_STREAM;
	size_t room = MIN(iobuf_left(m->data), stream ? STREAM_PIECE : MESSAGE_MAX);
	char *buf = kalloc(MAX(room, 1ul));
	ssize_t n;

	if (!buf)
		return -ENOBUFS;
	n = stream ? recv_stream(c, s, m, buf, room) : recv_message(c, s, m, buf, room);
	kfree(buf, MAX(room, 1ul));
	return n;
}

/* ---- the rest ---- */

static int hostsock_getname(struct socket *s, bool peer, struct sockaddr_storage *ret)
{
	struct sockaddr *addr = (struct sockaddr *)ret;
	socklen_t len = sizeof(*ret);
	int r = peer ? getpeername(host_fd(s), addr, &len) : getsockname(host_fd(s), addr, &len);

	return r < 0 ? -errno : (int)len;
}

static int hostsock_shutdown(struct ctx *c __unused, struct socket *s, int how)
{
	return shutdown(host_fd(s), how) < 0 ? -errno : 0;
}

static uint32_t hostsock_poll(struct socket *s, struct poll_table *p)
{
	return hostfd_poll(hostsock_of(s)->h, p);
}

static long hostsock_ioctl(struct ctx *c, struct socket *s, uint32_t cmd, uint64_t arg)
{
	int n = 0;

	if (cmd != SIOCINQ && cmd != SIOCOUTQ)
		return -ENOTTY;
	if (ioctl(host_fd(s), cmd, &n) < 0)
		return -errno;
	return copy_out(c, UADDR(arg), &n, sizeof(n));
}

/* An int option of SOL_SOCKET: those that hostcalls.def names. */
static int host_option(int fd, int name, int *ret)
{
	socklen_t size = sizeof(*ret);

	return getsockopt(fd, SOL_SOCKET, name, ret, &size) < 0 ? -errno : 0;
}

static int hostsock_take_error(struct socket *s)
{
	int err = 0;

	return host_option(host_fd(s), SO_ERROR, &err) ? 0 : -err;
}

static int hostsock_getsockopt(struct ctx *c __unused, struct socket *s, int level, int name, void *value, size_t *size)
{
	if (level != SOL_SOCKET)
		return -EOPNOTSUPP;
	if (name != SO_ACCEPTCONN)
		return -ENOPROTOOPT;
	*size = MIN(*size, sizeof(int));
	return host_option(host_fd(s), SO_ACCEPTCONN, value);
}

static void hostsock_destroy(struct socket *s)
{
	struct hostsock *hs = hostsock_of(s);

	socket_fini(s);
	hostfd_put(hs->h);
	slab_free(&hostsock_slab, hs);
}

static const struct proto_ops hostsock_ops = {
    .bind = refuse_name,
    .connect = refuse_connect,
    .listen = refuse_listen,
    .accept = refuse_accept,
    .getname = hostsock_getname,
    .shutdown = hostsock_shutdown,
    .sendmsg = hostsock_send,
    .recvmsg = hostsock_recv,
    .poll = hostsock_poll,
    .ioctl = hostsock_ioctl,
    .getsockopt = hostsock_getsockopt,
    .take_error = hostsock_take_error,
    .destroy = hostsock_destroy,
};

static struct hostsock *hostsock_create(int fd, int family, int type, int protocol)
{
	struct hostsock *hs = slab_alloc(&hostsock_slab);

	if (!hs)
		return NULL;
	hs->h = hostfd_create(fd);
	if (!hs->h) {
		slab_free(&hostsock_slab, hs);
		return NULL;
	}
	socket_init(&hs->s, &hostsock_ops, family, type, protocol);
	return hs;
}

int hostsock_open(struct ctx *c, int fd, struct file **ret)
{
	struct hostsock *hs = NULL;
	int family, type, protocol, err;

	if (!(err = host_option(fd, SO_DOMAIN, &family)) && !(err = host_option(fd, SO_TYPE, &type)) &&
	    !(err = host_option(fd, SO_PROTOCOL, &protocol))) {
		hs = hostsock_create(fd, family, type, protocol);
		err = -ENOMEM;
	}
	if (hs)
		return socket_file(c, &hs->s, 0, ret);
	close(fd);
	return err;
}
