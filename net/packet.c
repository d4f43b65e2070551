/*
 * AF_PACKET: see packet.h. Life, names, the interface that a socket is bound to.
 *
 * As on Linux: making one needs CAP_NET_RAW; one without a protocol sees nothing until bind(2) gives it one. One that is bound stays on its interface's list of
 * taps while that is down, so that it hears when it comes back; ENETDOWN is its pending error then. When the interface goes, it is bound to
 * nothing, which getsockname(2) shows as -1. The obsolete SOCK_PACKET is not there.
 */
#include "net/packet.h"

#include <linux/capability.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#include "net/hostinet.h"
#include "net/inet.h"
#include "net/netstack.h"
#include "net/sockinfo.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

#define K_SIOCGSTAMP 0x8906
#define K_SIOCGSTAMPNS 0x8907

static struct slab packet_slab = SLAB_INIT(struct packet_sock);

static const struct proto_ops packet_ops;

/* ---- life ---- */

static void hold(struct wakeup *w)
{
	socket_get(&container_of(w, struct packet_sock, wakeup)->s);
}

static void deliver(struct wakeup *w, uint32_t events)
{
	struct socket *s = &container_of(w, struct packet_sock, wakeup)->s;

	socket_wake(s, events);
	socket_put(s);
}

void packet_hook(struct packet_sock *k, bool on)
{
	packet_fanout_run(k, on);
	k->running = on;
}

static void fail(struct packet_sock *k, int err) REQUIRES(L_NET)
{
	socket_set_error(&k->s, err);
	stack_wake(k->stack, &k->wakeup, POLLERR);
}

/* What becomes of the interface that k is bound to. */
static void on_event(struct stack *s __unused, struct netdev_tap *t, struct netdev *dev, enum tap_event e)
    REQUIRES(L_NET)
{
	struct packet_sock *k = container_of(t, struct packet_sock, tap);

	if (k->dev != dev->index)
		return;
	switch (e) {
	case TAP_UP:
		packet_hook(k, k->protocol);
		break;
	case TAP_DOWN:
	case TAP_GONE:
		if (k->running) {
			packet_hook(k, false);
			fail(k, ENETDOWN);
		}
		if (e == TAP_DOWN)
			break;
		netdev_tap_remove(t);
		k->dev = PACKET_DEV_GONE;
	}
}

static int packet_create(struct ctx *c, int type, int protocol, struct socket **ret)
{
	struct stack *stack = netstack_of(c);
	struct packet_sock *k;

	if (hostinet_used() || !cred_capable(c->cred, CAP_NET_RAW))
		return -EPERM;
	if (type != SOCK_RAW && type != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	k = stack && inet_count() ? slab_alloc(&packet_slab) : NULL;
	if (!k) {
		if (stack)
			inet_uncount();
		return -ENOMEM;
	}
	socket_init(&k->s, &packet_ops, AF_PACKET, type, protocol & 0xffff);
	k->stack = stack_get(stack);
	list_init(&k->queue);
	list_init(&k->members);
	list_init(&k->fanout_link);
	k->wakeup = (struct wakeup){.deliver = deliver, .hold = hold};
	list_init(&k->wakeup.link);
	k->tap = (struct netdev_tap){.see = packet_see, .event = on_event};
	stack_enter(stack);
	k->protocol = ntohs((uint16_t)protocol);
	stack_tap_add(stack, &k->tap);
	k->open = true;
	packet_hook(k, k->protocol);
	stack_leave(stack);
	*ret = &k->s;
	return 0;
}

static void packet_release(struct socket *s)
{
	struct packet_sock *k = packet_of(s);

	stack_enter(k->stack);
	packet_hook(k, false);
	packet_fanout_leave(k);
	netdev_tap_remove(&k->tap);
	packet_drop_members(k);
	packet_drop_queue(k);
	k->open = false;
	stack_leave(k->stack);
	packet_rings_end(k);
}

static void packet_destroy(struct socket *s)
{
	struct packet_sock *k = packet_of(s);

	stack_put(k->stack);
	socket_fini(s);
	slab_free(&packet_slab, k);
	inet_uncount();
}

/* ---- names ---- */

static int bind_to(struct packet_sock *k, const struct sockaddr_ll *sa) REQUIRES(L_NET)
{
	unsigned index = (unsigned)sa->sll_ifindex;
	struct netdev *dev = index ? netdev_by_index(k->stack, index) : NULL;
	uint16_t protocol = sa->sll_protocol ? ntohs(sa->sll_protocol) : k->protocol;

	if (k->fanout)
		return -EINVAL;
	if (index && !dev)
		return -ENODEV;
	if (protocol == k->protocol && index == k->dev && k->running)
		return 0;
	packet_hook(k, false);
	netdev_tap_remove(&k->tap);
	if (dev)
		netdev_tap_add(dev, &k->tap);
	else
		stack_tap_add(k->stack, &k->tap);
	k->dev = index;
	k->protocol = protocol;
	if (!protocol)
		return 0;
	if (dev && !(dev->flags & IFF_UP))
		fail(k, ENETDOWN);
	else
		packet_hook(k, true);
	return 0;
}

static int packet_bind(struct ctx *c __unused, struct socket *s, const struct sockaddr *addr, size_t len)
{
	struct packet_sock *k = packet_of(s);
	struct sockaddr_ll sa;
	int err;

	if (len < sizeof(sa))
		return -EINVAL;
	memcpy(&sa, addr, sizeof(sa));
	if (sa.sll_family != AF_PACKET)
		return -EINVAL;
	stack_enter(k->stack);
	err = bind_to(k, &sa);
	stack_leave(k->stack);
	return err;
}

static int packet_getname(struct socket *s, bool peer, struct sockaddr_storage *ret)
{
	struct sockaddr_ll sa = {.sll_family = AF_PACKET};
	struct packet_sock *k = packet_of(s);
	const struct netdev *dev;

	if (peer)
		return -EOPNOTSUPP;
	stack_enter(k->stack);
	sa.sll_ifindex = (int)k->dev;
	sa.sll_protocol = htons(k->protocol);
	dev = netdev_by_index(k->stack, k->dev);
	if (dev) {
		sa.sll_hatype = dev->type;
		sa.sll_halen = dev->type == ARPHRD_ETHER || dev->type == ARPHRD_LOOPBACK ? MAC_LEN : 0;
		memcpy(sa.sll_addr, dev->mac, sa.sll_halen);
	}
	stack_leave(k->stack);
	memset(ret, 0, sizeof(*ret));
	memcpy(ret, &sa, sizeof(sa));
	return (int)offsetof(struct sockaddr_ll, sll_addr) + sa.sll_halen;
}

/* ---- the rest ---- */

static uint32_t packet_poll(struct socket *s, struct poll_table *p)
{
	struct packet_sock *k = packet_of(s);
	uint32_t bits = POLLOUT | POLLWRNORM | POLLWRBAND;

	poll_wait(p, &s->wq);
	stack_enter(k->stack);
	if (!list_empty(&k->queue) || (k->ring && packet_ring_ready(k->ring)))
		bits |= POLLIN | POLLRDNORM;
	stack_leave(k->stack);
	return s->err ? bits | POLLERR : bits;
}

/* SIOCGSTAMP, SIOCGSTAMPNS: when the last packet that was read had come. */
static long get_stamp(struct ctx *c, struct packet_sock *k, uint32_t cmd, uint64_t arg)
{
	struct timespec ts;
	struct timeval tv;
	int64_t stamp;

	stack_enter(k->stack);
	stamp = k->last_stamp;
	stack_leave(k->stack);
	if (!stamp)
		return -ENOENT;
	ts = ns_to_timespec(stamp);
	tv = (struct timeval){ts.tv_sec, ts.tv_nsec / NSEC_PER_USEC};
	if (cmd == K_SIOCGSTAMP)
		return copy_out(c, UADDR(arg), &tv, sizeof(tv));
	return copy_out(c, UADDR(arg), &ts, sizeof(ts));
}

static long packet_ioctl(struct ctx *c, struct socket *s, uint32_t cmd, uint64_t arg)
{
	struct packet_sock *k = packet_of(s);
	int value = 0;

	switch (cmd) {
	case SIOCINQ:
		stack_enter(k->stack);
		value = (int)packet_first_size(k);
		stack_leave(k->stack);
		break;
	case SIOCOUTQ:
		break;
	case K_SIOCGSTAMP:
	case K_SIOCGSTAMPNS:
		return get_stamp(c, k, cmd, arg);
	default:
		return -ENOTTY;
	}
	return copy_out(c, UADDR(arg), &value, sizeof(value));
}

static bool packet_info(struct socket *s, struct sock_info *i)
{
	struct packet_sock *k = packet_of(s);
	bool open;

	stack_enter(k->stack);
	open = k->open;
	i->local_port = k->protocol;
	i->dev = k->dev;
	i->running = k->running;
	i->unread = i->charged = k->bytes;
	i->drops = k->lost;
	stack_leave(k->stack);
	return open;
}

static const struct proto_ops packet_ops = {
    .bind = packet_bind,
    .getname = packet_getname,
    .sendmsg = packet_sendmsg,
    .recvmsg = packet_recvmsg,
    .poll = packet_poll,
    .ioctl = packet_ioctl,
    .mmap = packet_mmap,
    .setsockopt = packet_setsockopt,
    .getsockopt = packet_getsockopt,
    .info = packet_info,
    .release = packet_release,
    .destroy = packet_destroy,
};

const struct net_family packet_family = {.family = AF_PACKET, .create = packet_create};
