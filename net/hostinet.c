/*
 * See hostinet.h. Addresses, ports, connections and data are the host's; waiting, O_NONBLOCK, SO_RCVTIMEO and SO_SNDTIMEO are ours: every call on the host's socket
 * returns at once, and who has to wait does so on our own queue, which signals end (fs/hostfd.h). What the guest may say to the host is bounded by tables: options
 * (hostinet_opt.c), control messages (hostinet_msg.c), and by the sentry's filter the families and types.
 *
 * The sentry has no capability in the host's namespace, whoever started it: ports below ip_unprivileged_port_start and raw sockets are refused; ping sockets are had
 * where net.ipv4.ping_group_range allows. A wait for SO_LINGER does not take place: close() returns at once, and data that was sent goes out; with a time of 0 the
 * connection is reset, as on Linux.
 */
#include "net/hostinet.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net/inet.h"
#include "net/stack/netdev.h"
#include "sentry/base/restart.h"
#include "sentry/base/slab.h"

static struct slab hostinet_slab = SLAB_INIT(struct hostinet);
static bool used;

void hostinet_use(void)
{
	used = true;
}

bool hostinet_used(void)
{
	return used;
}

static struct hostfd *hostfd_of(struct socket *s)
{
	return container_of(s, struct hostinet, s)->h;
}

int hostinet_wait(struct ctx *c, struct socket *s, uint32_t events, int64_t deadline)
{
	int err;

	if (deadline == 0)
		return -EAGAIN;
	err = hostfd_wait(c, hostfd_of(s), events, deadline);
	if (err == -ETIMEDOUT)
		return -EAGAIN;
	return err == -ERESTARTSYS && deadline != TIME_NEVER ? -EINTR : err;
}

/* ---- names and connections ---- */

static int hostinet_bind(struct ctx *c __unused, struct socket *s, const struct sockaddr *addr, size_t len)
{
	return bind(hostinet_fd(s), addr, (socklen_t)len) < 0 ? -errno : 0;
}

/* Until the connection is there, or its failure. The host is asked again then: it tells, and believes that we know. */
static int wait_connected(struct ctx *c, struct socket *s, const struct sockaddr *addr, size_t len, int64_t deadline)
{
	int err;

	do {
		err = hostinet_wait(c, s, POLLOUT, deadline);
		if (err)
			return err == -EAGAIN ? -EINPROGRESS : err;
		err = connect(hostinet_fd(s), addr, (socklen_t)len) < 0 ? -errno : 0;
	} while (err == -EALREADY);
	return err;
}

/* A call that a signal has interrupted, and that is restarted, finds -EALREADY. */
static int hostinet_connect(struct ctx *c, struct socket *s, const struct sockaddr *addr, size_t len, int flags)
{
	int err = connect(hostinet_fd(s), addr, (socklen_t)len) < 0 ? -errno : 0;

	if ((err != -EINPROGRESS && err != -EALREADY) || flags & O_NONBLOCK)
		return err;
	return wait_connected(c, s, addr, len, socket_deadline(s->sndtimeo, false));
}

static int hostinet_listen(struct ctx *c __unused, struct socket *s, int backlog)
{
	return listen(hostinet_fd(s), backlog) < 0 ? -errno : 0;
}

static struct hostinet *new_object(int fd)
{
	struct hostinet *i = slab_alloc(&hostinet_slab);

	if (!i)
		return NULL;
	i->h = hostfd_create(fd);
	if (i->h)
		return i;
	slab_free(&hostinet_slab, i);
	return NULL;
}

/* Takes over fd, also on failure. */
static int wrap(int fd, const struct proto_ops *ops, int family, int type, int protocol, struct socket **ret)
{
	bool counted = inet_count();
	struct hostinet *i = counted ? new_object(fd) : NULL;

	if (!i) {
		if (counted)
			inet_uncount();
		close(fd);
		return -ENOBUFS;
	}
	hostfd_set_edges(i->h);
	socket_init(&i->s, ops, family, type, protocol);
	*ret = &i->s;
	return 0;
}

/* What the host's socket has from its listener. */
static void inherit(struct socket *to, const struct socket *from)
{
	to->options = from->options;
	to->rcvlowat = from->rcvlowat;
	to->rcvtimeo = from->rcvtimeo;
	to->sndtimeo = from->sndtimeo;
	to->priority = from->priority;
	to->linger_on = from->linger_on;
	to->linger_seconds = from->linger_seconds;
}

/* The host's own lack of descriptors is nothing that a guest could mend by closing some. */
static int host_error(int err)
{
	return err == EMFILE ? -ENFILE : -err;
}

static int hostinet_accept(struct ctx *c, struct socket *s, int flags, struct socket **ret)
{
	int64_t deadline = socket_deadline(s->rcvtimeo, flags & O_NONBLOCK);
	struct sockaddr_in6 peer;
	socklen_t len = sizeof(peer);
	struct hostinet *i;
	int fd, err;

	while ((fd = accept4(hostinet_fd(s), (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0) {
		err = errno == EAGAIN ? hostinet_wait(c, s, POLLIN, deadline) : host_error(errno);
		if (err)
			return err;
		len = sizeof(peer);
	}
	err = wrap(fd, s->ops, s->family, s->type, s->protocol, ret);
	if (err)
		return err;
	i = container_of(*ret, struct hostinet, s);
	i->accepted = peer;
	i->accepted_len = MIN(len, (socklen_t)sizeof(peer));
	inherit(*ret, s);
	socket_publish(*ret);
	return 0;
}

static int hostinet_accepted_name(struct socket *s, struct sockaddr_storage *ret)
{
	struct hostinet *i = container_of(s, struct hostinet, s);

	memcpy(ret, &i->accepted, i->accepted_len);
	return (int)i->accepted_len;
}

static int hostinet_getname(struct socket *s, bool peer, struct sockaddr_storage *ret)
{
	struct sockaddr *addr = (struct sockaddr *)ret;
	socklen_t len = sizeof(*ret);
	int r = peer ? getpeername(hostinet_fd(s), addr, &len) : getsockname(hostinet_fd(s), addr, &len);

	return r < 0 ? -errno : (int)len;
}

static int hostinet_shutdown(struct ctx *c __unused, struct socket *s, int how)
{
	return shutdown(hostinet_fd(s), how) < 0 ? -errno : 0;
}

static uint32_t hostinet_poll(struct socket *s, struct poll_table *p)
{
	return hostfd_poll(hostfd_of(s), p);
}

static long hostinet_ioctl(struct ctx *c, struct socket *s, uint32_t cmd, uint64_t arg)
{
	int n = 0;

	if (cmd != SIOCINQ && cmd != SIOCOUTQ && ((cmd != SIOCATMARK && cmd != SIOCOUTQNSD) || s->type != SOCK_STREAM))
		return -ENOTTY;
	if (ioctl(hostinet_fd(s), cmd, &n) < 0)
		return -errno;
	return copy_out(c, UADDR(arg), &n, sizeof(n));
}

static void hostinet_destroy(struct socket *s)
{
	struct hostinet *i = container_of(s, struct hostinet, s);

	socket_fini(s);
	inet_uncount();
	hostfd_put(i->h);
	slab_free(&hostinet_slab, i);
}

static const struct proto_ops hostinet_ops = {
    .bind = hostinet_bind,
    .connect = hostinet_connect,
    .listen = hostinet_listen,
    .accept = hostinet_accept,
    .accepted_name = hostinet_accepted_name,
    .getname = hostinet_getname,
    .shutdown = hostinet_shutdown,
    .sendmsg = hostinet_sendmsg,
    .recvmsg = hostinet_recvmsg,
    .poll = hostinet_poll,
    .ioctl = hostinet_ioctl,
    .setsockopt = hostinet_setsockopt,
    .getsockopt = hostinet_getsockopt,
    .changed = hostinet_changed,
    .buffer = hostinet_buffer,
    .take_error = hostinet_take_error,
    .destroy = hostinet_destroy,
};

int hostinet_create(int family, int type, int protocol, struct socket **ret)
{
	int fd;

	if (type == SOCK_RAW)
		return -EPERM;
	fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return host_error(errno);
	return wrap(fd, &hostinet_ops, family, type, protocol ? protocol : IPPROTO_TCP, ret);
}

/* ---- the picture of the host's interfaces ---- */

static int refuse_transmit(struct stack *s __unused, struct netdev *dev __unused, struct pkt *p)
{
	pkt_free(p);
	return -ENETDOWN;
}

int hostinet_add_netdev(struct stack *s, unsigned index, const char *name, unsigned flags, uint16_t type, uint32_t mtu,
			const uint8_t *mac)
{
	static const struct link_ops ops = {.transmit = refuse_transmit};
	const struct netdev_config c = {
	    .name = name,
	    .index = index,
	    .type = type,
	    .flags = flags & (IFF_BROADCAST | IFF_POINTOPOINT | IFF_NOARP | IFF_MULTICAST),
	    .features = NETDEV_NO_RA,
	    .mtu = MIN(MAX(mtu, 68u), 65536u),
	    .mac = mac,
	    .ops = &ops,
	};
	struct netdev *dev;

	return flags & IFF_LOOPBACK && index == LO_INDEX ? 0 : netdev_create(s, &c, &dev);
}
