/*
 * The socket layer: socket(7). Objects, their files, families; what is the same for every family.
 *
 * A socket's file is an anonymous inode of type S_IFSOCK, as on Linux's sockfs. read(2) and write(2) are recvmsg and sendmsg without an address and control
 * messages. Waiting follows Linux's rule for restarts: a call that has a time limit (SO_RCVTIMEO, SO_SNDTIMEO) is never
 * restarted after a signal, because the limit would start anew.
 */
#include "net/socket.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "fs/fasync.h"
#include "net/filter.h"
#include "net/inet.h"
#include "net/netlink.h"
#include "net/netstack.h"
#include "net/packet.h"
#include "net/unix.h"
#include "sentry/base/cred.h"
#include "sentry/base/restart.h"

#define BUF_DEFAULT 212992

static const struct net_family *const families[] = {&unix_family, &inet_family, &inet6_family, &netlink_family,
						    &packet_family};
static const struct file_ops socket_file_ops;

void socket_init(struct socket *s, const struct proto_ops *ops, int family, int type, int protocol)
{
	ref_init(&s->ref);
	s->ops = ops;
	s->family = (uint16_t)family;
	s->type = (uint16_t)type;
	s->protocol = protocol;
	mutex_init(&s->lock);
	list_init(&s->async);
	list_init(&s->all);
	wait_queue_init(&s->wq);
	s->sndbuf = s->rcvbuf = BUF_DEFAULT;
	s->rcvlowat = 1;
	s->pacing_rate = UINT64_MAX;
	s->rcvtimeo = s->sndtimeo = TIME_NEVER;
}

void socket_fini(struct socket *s)
{
	socket_unpublish(s);
	netns_put(s->net);
	filter_fini(s);
	if (s->peer_cred)
		cred_put(s->peer_cred);
}

struct socket *socket_get(struct socket *s)
{
	ref_get(&s->ref);
	return s;
}

void socket_put(struct socket *s)
{
	if (s && ref_put(&s->ref))
		s->ops->destroy(s);
}

void socket_discard(struct socket *s)
{
	if (s && s->ops->release)
		s->ops->release(s);
	socket_put(s);
}

int socket_create(struct ctx *c, int family, int type, int protocol, struct socket **ret)
{
	int err = -EAFNOSUPPORT;

	if (family < 0 || family >= AF_MAX)
		return -EAFNOSUPPORT;
	if (type < 0 || type > SOCK_PACKET)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(families) && err == -EAFNOSUPPORT; i++)
		if (families[i]->family == family)
			err = families[i]->create(c, type, protocol, ret);
	if (err)
		return err;
	(*ret)->net = netns_get(netns_of(c));
	socket_publish(*ret);
	return 0;
}

int socket_file(struct ctx *c, struct socket *s, int flags, struct file **ret)
{
	int err =
	    anon_file_create(c, "socket:", S_IFSOCK | 0777, &socket_file_ops, s, O_RDWR | (flags & O_NONBLOCK), ret);

	if (err) {
		socket_discard(s);
		return err;
	}
	mutex_lock(&s->lock, L_SOCK);
	s->inode = (*ret)->inode;
	s->file = *ret;
	mutex_unlock(&s->lock, L_SOCK);
	return 0;
}

struct socket *socket_of(struct file *f)
{
	return f->ops == &socket_file_ops ? f->priv : NULL;
}

/* ---- for families ---- */

int socket_take_error(struct socket *s)
{
	int err = s->err ? -__atomic_exchange_n((int *)&s->err, 0, __ATOMIC_ACQ_REL) : 0;

	return err || !s->ops->take_error ? err : s->ops->take_error(s);
}

void socket_set_error(struct socket *s, int err)
{
	__atomic_store_n((int *)&s->err, err, __ATOMIC_RELEASE);
}

void socket_wake(struct socket *s, uint32_t events)
{
	wake_up(&s->wq, events);
	if (__atomic_load_n(&s->async.next, __ATOMIC_RELAXED) == &s->async)
		return;
	mutex_lock(&s->lock, L_SOCK);
	fasync_notify(&s->async, events);
	mutex_unlock(&s->lock, L_SOCK);
}

int64_t socket_deadline(int64_t timeo, bool nonblock)
{
	if (nonblock)
		return 0;
	return timeo == TIME_NEVER ? TIME_NEVER : deadline_after(clock_now(CLOCK_MONOTONIC), timeo);
}

int socket_wait(struct ctx *c, struct socket *s, struct wait_queue *q, int64_t deadline)
{
	int err;

	if (deadline == 0)
		return -EAGAIN;
	err = wait_on_until(c, q, &s->lock, L_SOCK, deadline);
	if (err == -ETIMEDOUT)
		return -EAGAIN;
	return err == -ERESTARTSYS && deadline != TIME_NEVER ? -EINTR : err;
}

int socket_pipe_error(struct ctx *c, int flags)
{
	if (!(flags & MSG_NOSIGNAL))
		c->raise(c, SIGPIPE);
	return -EPIPE;
}

/* ---- the file ---- */

ssize_t socket_sendmsg(struct ctx *c, struct file *f, struct net_msg *m)
{
	struct socket *s = f->priv;

	if (f->flags & O_NONBLOCK)
		m->flags |= MSG_DONTWAIT;
	return s->ops->sendmsg ? s->ops->sendmsg(c, s, m) : -EOPNOTSUPP;
}

ssize_t socket_recvmsg(struct ctx *c, struct file *f, struct net_msg *m)
{
	struct socket *s = f->priv;

	if (f->flags & O_NONBLOCK)
		m->flags |= MSG_DONTWAIT;
	return s->ops->recvmsg ? s->ops->recvmsg(c, s, m) : -EOPNOTSUPP;
}

static ssize_t socket_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	struct net_msg m = {.data = b};

	if (!iobuf_left(b))
		return 0; /* "match SYS5 behaviour", says Linux */
	return socket_recvmsg(c, f, &m);
}

static ssize_t socket_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	struct net_msg m = {.data = b};

	return socket_sendmsg(c, f, &m);
}

static uint32_t socket_poll(struct file *f, struct poll_table *p)
{
	struct socket *s = f->priv;

	return s->ops->poll(s, p);
}

static long socket_ioctl(struct ctx *c, struct file *f, uint32_t cmd, uint64_t arg)
{
	struct socket *s = f->priv;
	long r = s->ops->ioctl ? s->ops->ioctl(c, s, cmd, arg) : -ENOTTY;

	return r == -ENOTTY ? netdev_ioctl(c, s, cmd, arg) : r;
}

static int socket_mmap(struct ctx *c __unused, struct file *f, uint64_t off, size_t size, int prot __unused,
		       int flags __unused, struct file_backing *ret)
{
	struct socket *s = f->priv;

	return s->ops->mmap ? s->ops->mmap(s, off, size, ret) : -ENODEV;
}

static int socket_set_flags(struct file *f, int flags)
{
	struct socket *s = f->priv;
	int err;

	mutex_lock(&s->lock, L_SOCK);
	err = fasync_set(f, &s->async, flags);
	mutex_unlock(&s->lock, L_SOCK);
	return err;
}

/* A descriptor is closed. Who has the only reference will end the socket. */
static int socket_flush(struct ctx *c, struct file *f)
{
	struct socket *s = f->priv;

	if (s->linger_on && s->ops->linger && ref_count(&f->ref) == 1)
		s->ops->linger(c, s);
	return 0;
}

static void socket_release(struct file *f)
{
	struct socket *s = f->priv;

	mutex_lock(&s->lock, L_SOCK);
	fasync_remove(f);
	s->inode = NULL;
	s->file = NULL;
	mutex_unlock(&s->lock, L_SOCK);
	if (s->ops->release)
		s->ops->release(s);
	socket_put(s);
}

static const struct file_ops socket_file_ops = {
    .read = socket_read,
    .write = socket_write,
    .poll = socket_poll,
    .ioctl = socket_ioctl,
    .mmap = socket_mmap,
    .flush = socket_flush,
    .release = socket_release,
    .set_flags = socket_set_flags,
};
