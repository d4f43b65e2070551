/*
 * /dev/net/tun: Documentation/networking/tuntap.
 *
 * A description is attached to an interface by TUNSETIFF, for good; an interface has one description at most (no IFF_MULTI_QUEUE), or none if it is
 * persistent. What the stack sends waits in a queue under L_LINK, of QUEUE_MAX packets, what finds no room there is dropped; reads take from it. What is
 * written is received by the writer's own thread.
 *
 * struct tun is shared by the two and lives as long as either, and while a wake-up is on its way. As with veth, its place (stack and interface) changes
 * when the interface moves to another namespace or is deleted, under L_LINK: who enters the stack takes a reference to it first, and looks again inside.
 * A description whose interface has gone answers EBADFD, as one that has never had any.
 *
 * Packets of ours are complete and segmented always, whatever TUNSETOFFLOAD allows; those that are written may leave it to us.
 */
#include "net/tun.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "fs/dev.h"
#include "fs/poll.h"
#include "net/inet.h"
#include "net/netstack.h"
#include "net/stack/netdev.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

#define QUEUE_MAX 500
#define MTU_DEFAULT 1500
#define MTU_LARGEST 65535
#define ETHER_LEN 14u
#define WRITE_MAX (PKT_MAX + ETHER_LEN)
#define GSO_LEAST 64
#define MODES (IFF_TUN | IFF_TAP)
#define FEATURES (MODES | IFF_NO_PI | IFF_ONE_QUEUE | IFF_VNET_HDR)
#define NOBODY UINT32_MAX
#define OFFLOADS (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_UFO | TUN_F_USO4 | TUN_F_USO6)
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

struct tun {
	struct ref ref; /* of the interface, the description, who delivers */
	struct mutex lock;
	struct wait_queue wq;
	struct wakeup wakeup;
	struct stack *stack;   /* L_LINK: a reference */
	struct netdev *dev;    /* L_LINK; NULL: it has gone, or moves */
	bool attached;         /* L_LINK: has a description */
	bool persist;          /* L_LINK */
	struct list queue;     /* L_LINK */
	unsigned queued;       /* L_LINK */
	unsigned flags;        /* L_LINK: IFF_TUN... */
	uint32_t owner, group; /* L_LINK; NOBODY: anybody with the capability */
	_Atomic int vnet_size, sndbuf;
};

/* An open description. */
struct tun_file {
	struct tun *_Atomic tun; /* a reference; NULL: not attached yet */
	struct netns *net;       /* of who opened it: a reference */
};

static struct slab tun_slab = SLAB_INIT(struct tun);
static struct slab tun_file_slab = SLAB_INIT(struct tun_file);
static const struct link_ops tun_ops;

static void tun_put(struct tun *t)
{
	if (!ref_put(&t->ref))
		return;
	pkt_free_all(&t->queue);
	stack_put(t->stack);
	slab_free(&tun_slab, t);
}

static void hold(struct wakeup *w)
{
	ref_get(&container_of(w, struct tun, wakeup)->ref);
}

static void deliver(struct wakeup *w, uint32_t events)
{
	struct tun *t = container_of(w, struct tun, wakeup);

	wake_up(&t->wq, events);
	tun_put(t);
}

static unsigned flags_of(struct tun *t)
{
	unsigned flags;

	mutex_lock(&t->lock, L_LINK);
	flags = t->flags | (t->persist ? IFF_PERSIST : 0);
	mutex_unlock(&t->lock, L_LINK);
	return flags;
}

bool tun_is(const struct netdev *dev)
{
	return dev->ops == &tun_ops;
}

unsigned tun_flags_of(const struct netdev *dev)
{
	return tun_is(dev) ? flags_of(dev->priv) : 0;
}

void tun_owner_of(const struct netdev *dev, int64_t *ret_uid, int64_t *ret_gid)
{
	struct tun *t = tun_is(dev) ? dev->priv : NULL;

	*ret_uid = *ret_gid = -1;
	if (!t)
		return;
	mutex_lock(&t->lock, L_LINK);
	if (t->owner != NOBODY)
		*ret_uid = t->owner;
	if (t->group != NOBODY)
		*ret_gid = t->group;
	mutex_unlock(&t->lock, L_LINK);
}

/* Enters the stack where the interface is; NULL: it is nowhere, and nothing was entered. The reference to *ret is the caller's. */
static struct netdev *enter(struct tun *t, struct stack **ret) TRY_ACQUIRE(true, L_NET) NO_TSA;
static struct netdev *enter(struct tun *t, struct stack **ret)
{
	struct netdev *dev;
	struct stack *s;

	mutex_lock(&t->lock, L_LINK);
	s = stack_get(t->stack);
	mutex_unlock(&t->lock, L_LINK);
	stack_enter(s);
	mutex_lock(&t->lock, L_LINK);
	dev = t->stack == s ? t->dev : NULL;
	mutex_unlock(&t->lock, L_LINK);
	if (dev) {
		*ret = s;
		return dev;
	}
	stack_leave(s);
	stack_put(s);
	return NULL;
}

static void leave_stack(struct stack *s) RELEASE(L_NET) NO_TSA;
static void leave_stack(struct stack *s)
{
	stack_leave(s);
	stack_put(s);
}

/* ---- the interface ---- */

static int transmit(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET)
{
	struct tun *t = dev->priv;
	bool full;

	p->dev = NULL;
	mutex_lock(&t->lock, L_LINK);
	full = !t->attached || t->queued == QUEUE_MAX;
	if (!full) {
		list_append(&t->queue, &p->link);
		t->queued++;
	}
	mutex_unlock(&t->lock, L_LINK);
	if (full) {
		pkt_free(p);
		return -ENOBUFS;
	}
	stack_wake(s, &t->wakeup, POLLIN | POLLRDNORM);
	return 0;
}

static void set_place(struct tun *t, struct stack *s, struct netdev *dev)
{
	struct stack *old = NULL;

	mutex_lock(&t->lock, L_LINK);
	if (s) {
		old = t->stack;
		t->stack = stack_get(s);
	}
	t->dev = dev;
	mutex_unlock(&t->lock, L_LINK);
	if (old)
		stack_put(old);
}

static void changed(struct stack *s, struct netdev *dev) REQUIRES(L_NET)
{
	struct tun *t = dev->priv;

	if (dev->flags & IFF_UP)
		stack_wake(s, &t->wakeup, POLLOUT | POLLWRNORM);
}

static void tun_leave(struct stack *s __unused, struct netdev *dev) REQUIRES(L_NET)
{
	set_place(dev->priv, NULL, NULL);
}

static void tun_join(struct stack *s, struct netdev *dev) REQUIRES(L_NET)
{
	set_place(dev->priv, s, dev);
}

static void tun_destroy(struct stack *s, struct netdev *dev) REQUIRES(L_NET)
{
	struct tun *t = dev->priv;

	set_place(t, NULL, NULL);
	stack_wake(s, &t->wakeup, POLLERR | POLLHUP | POLLIN);
	tun_put(t);
}

static const struct link_ops tun_ops = {
    .transmit = transmit,
    .changed = changed,
    .destroy = tun_destroy,
    .kind = "tun",
    .leave = tun_leave,
    .join = tun_join,
};

static struct tun *tun_create(struct stack *s, unsigned flags)
{
	struct tun *t = slab_alloc(&tun_slab);

	if (!t)
		return NULL;
	ref_init(&t->ref);
	mutex_init(&t->lock);
	wait_queue_init(&t->wq);
	list_init(&t->queue);
	list_init(&t->wakeup.link);
	t->wakeup.hold = hold;
	t->wakeup.deliver = deliver;
	t->stack = stack_get(s);
	t->flags = flags;
	t->owner = t->group = NOBODY;
	t->vnet_size = sizeof(struct virtio_net_hdr);
	t->sndbuf = INT32_MAX;
	return t;
}

/* A new interface, attached; its own reference and the description's are made. */
static int make_dev(struct ctx *c, struct stack *s, const char *name, unsigned flags, struct tun **ret) REQUIRES(L_NET)
{
	bool tap = flags & IFF_TAP;
	uint8_t mac[MAC_LEN];
	struct netdev_config cfg = {
	    .name = *name ? name
		    : tap ? "tap%d"
			  : "tun%d",
	    .type = tap ? ARPHRD_ETHER : ARPHRD_NONE,
	    .flags = tap ? IFF_BROADCAST | IFF_MULTICAST : IFF_POINTOPOINT | IFF_NOARP | IFF_MULTICAST,
	    .features = tap ? NETDEV_ETHER : 0,
	    .mtu = MTU_DEFAULT,
	    .mtu_max = MTU_LARGEST,
	    .ops = &tun_ops,
	};
	struct netdev *dev;
	struct tun *t;
	int err;

	if (!cred_capable(c->cred, CAP_NET_ADMIN))
		return -EPERM;
	cfg.priv = t = tun_create(s, flags);
	if (!t)
		return -ENOMEM;
	netdev_random_mac(s, mac);
	if (tap)
		cfg.mac = mac;
	ref_get(&t->ref);
	t->attached = true;
	err = netdev_create(s, &cfg, &dev);
	if (err) {
		tun_put(t);
		tun_put(t);
		return err;
	}
	set_place(t, NULL, dev);
	*ret = t;
	return 0;
}

static bool may_attach(struct ctx *c, const struct tun *t)
{
	const struct cred *cr = c->cred;

	if (cred_capable(cr, CAP_NET_ADMIN))
		return true;
	return (t->owner != NOBODY || t->group != NOBODY) && (t->owner == NOBODY || t->owner == cr->euid) &&
	       (t->group == NOBODY || cred_in_group(cr, t->group));
}

static int attach_dev(struct ctx *c, struct stack *s, struct netdev *dev, unsigned flags, struct tun **ret)
    REQUIRES(L_NET)
{
	struct tun *t = dev->priv;
	int err = 0;

	if (flags & IFF_TUN_EXCL)
		return -EBUSY;
	if (!tun_is(dev) || (flags & MODES) != (t->flags & MODES))
		return -EINVAL;
	mutex_lock(&t->lock, L_LINK);
	if (!may_attach(c, t))
		err = -EPERM;
	else if (t->attached)
		err = -EBUSY;
	else
		t->attached = true;
	if (!err)
		t->flags = flags & FEATURES;
	mutex_unlock(&t->lock, L_LINK);
	if (err)
		return err;
	ref_get(&t->ref);
	netdev_set_carrier(s, dev, true);
	*ret = t;
	return 0;
}

/* The description goes, and the interface too, unless it is persistent. */
static void detach(struct tun *t)
{
	struct list gone = LIST_INIT(gone);
	struct netdev *dev;
	struct stack *s;
	bool persist;

	mutex_lock(&t->lock, L_LINK);
	t->attached = false;
	persist = t->persist;
	list_splice(&gone, &t->queue);
	t->queued = 0;
	mutex_unlock(&t->lock, L_LINK);
	pkt_free_all(&gone);
	dev = enter(t, &s);
	if (dev) {
		if (persist)
			netdev_set_carrier(s, dev, false);
		else
			netdev_destroy(s, dev);
		leave_stack(s);
	}
	tun_put(t);
}

/* ---- the description ---- */

static struct tun *tun_of(const struct file *f)
{
	struct tun_file *tf = f->priv;

	return __atomic_load_n((struct tun **)&tf->tun, __ATOMIC_ACQUIRE);
}

static struct pkt *next_packet(struct tun *t, bool *gone)
{
	struct pkt *p;

	mutex_lock(&t->lock, L_LINK);
	p = list_first(&t->queue, struct pkt, link);
	if (p) {
		list_remove(&p->link);
		t->queued--;
	}
	*gone = !t->dev;
	mutex_unlock(&t->lock, L_LINK);
	return p;
}

static int wait_packet(struct ctx *c, struct file *f, struct tun *t, struct pkt **ret)
{
	struct wait_entry e;
	bool waits = false, gone;
	int err = 0;

	while (!(*ret = next_packet(t, &gone))) {
		if (gone)
			err = -EBADFD;
		else if (f->flags & O_NONBLOCK)
			err = -EAGAIN;
		else if (waits)
			err = park(c, TIME_NEVER);
		if (err)
			break;
		if (!waits) {
			wait_entry_init_ctx(&e, c, 0);
			wait_queue_add(&t->wq, &e);
			waits = true;
		}
	}
	if (waits)
		wait_entry_remove(&e);
	return err;
}

/* What stands in front of a packet that is read; its size. */
static size_t read_headers(const struct tun *t, unsigned flags, const struct pkt *p, size_t room, char *to)
{
	struct tun_pi pi = {0};
	size_t vnet = flags & IFF_VNET_HDR ? (size_t)t->vnet_size : 0, n = 0;
	uint8_t first = 0, type[2];

	if (!(flags & IFF_NO_PI)) {
		if (p->len + sizeof(pi) + vnet > room)
			pi.flags = TUN_PKT_STRIP;
		if (flags & IFF_TAP && pkt_copy(p, 12, type, sizeof(type)))
			pi.proto = htons((uint16_t)(type[0] << 8 | type[1]));
		else if (flags & IFF_TUN && pkt_copy(p, 0, &first, 1))
			pi.proto = htons(first >> 4 == 6 ? 0x86dd : 0x0800);
		memcpy(to, &pi, sizeof(pi));
		n = sizeof(pi);
	}
	memset(to + n, 0, vnet);
	return n + vnet;
}

static ssize_t tun_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	struct tun *t = tun_of(f);
	char head[sizeof(struct tun_pi) + 256];
	size_t room = iobuf_left(b), n;
	struct pkt *p = NULL;
	unsigned flags;
	ssize_t r;

	if (!t)
		return -EBADFD;
	r = wait_packet(c, f, t, &p);
	if (r)
		return r;
	flags = flags_of(t);
	n = read_headers(t, flags, p, room, head);
	if (n > room) {
		r = -EINVAL;
	} else if (n && iobuf_put(b, head, n) != (ssize_t)n) {
		r = -EFAULT;
	} else {
		r = inet_put_pkt(b, p);
		if (r >= 0)
			r += (ssize_t)n;
	}
	pkt_free(p);
	return r;
}

/* Of what is written: whether the rest is left to us. -EINVAL. */
static int apply_vnet(struct pkt *p, const struct virtio_net_hdr *h)
{
	unsigned kind = h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;

	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		if (h->csum_start + h->csum_offset + 2u > p->len)
			return -EINVAL;
		p->checksum_partial = p->checksum_ok = true;
	}
	if (kind == VIRTIO_NET_HDR_GSO_NONE)
		return 0;
	if ((kind != VIRTIO_NET_HDR_GSO_TCPV4 && kind != VIRTIO_NET_HDR_GSO_TCPV6) || !p->checksum_partial ||
	    h->gso_size < GSO_LEAST)
		return -EINVAL;
	p->gso_size = h->gso_size;
	return 0;
}

/* A packet of the bytes that are left. NULL and *ret: -EINVAL, -EMSGSIZE, -ENOMEM, -EFAULT. */
static struct pkt *packet_from(struct iobuf *b, int *ret)
{
	size_t n = iobuf_left(b);
	struct buf *data;
	struct pkt *p;

	*ret = n > WRITE_MAX ? -EMSGSIZE : -EINVAL;
	if (!n || n > WRITE_MAX)
		return NULL;
	*ret = -ENOMEM;
	data = buf_create((uint32_t)n);
	p = data ? pkt_create() : NULL;
	if (p && iobuf_get(b, data->data, n) != (ssize_t)n) {
		*ret = -EFAULT;
		pkt_free(p);
		p = NULL;
	}
	if (p) {
		data->used = (uint32_t)n;
		if (pkt_append(p, data, 0, (uint32_t)n))
			*ret = 0;
	}
	if (data)
		buf_put(data);
	return p;
}

static int check_packet(const struct pkt *p, unsigned flags, unsigned proto)
{
	uint8_t first;

	if (flags & IFF_TAP)
		return p->len < ETHER_LEN ? -EINVAL : 0;
	if (!pkt_copy(p, 0, &first, 1))
		return -EINVAL;
	if (flags & IFF_NO_PI)
		return first >> 4 == 4 || first >> 4 == 6 ? 0 : -EINVAL;
	return proto == 0x0800 || proto == 0x86dd ? 0 : -EINVAL;
}

static int receive(struct tun *t, struct pkt *p)
{
	struct stack *s;
	struct netdev *dev = enter(t, &s);
	bool up;

	if (!dev) {
		pkt_free(p);
		return -EBADFD;
	}
	up = dev->flags & IFF_UP;
	if (up)
		netdev_receive(s, dev, p);
	else
		pkt_free(p);
	leave_stack(s);
	return up ? 0 : -EIO;
}

static ssize_t tun_write(struct ctx *c __unused, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	struct tun *t = tun_of(f);
	struct virtio_net_hdr h = {0};
	struct tun_pi pi = {0};
	size_t all = iobuf_left(b), vnet;
	unsigned flags;
	char skipped[256];
	struct pkt *p;
	int err;

	if (!t)
		return -EBADFD;
	flags = flags_of(t);
	vnet = flags & IFF_VNET_HDR ? (size_t)t->vnet_size : 0;
	if (!(flags & IFF_NO_PI)) {
		if (all < sizeof(pi))
			return -EINVAL;
		if (iobuf_get(b, &pi, sizeof(pi)) != sizeof(pi))
			return -EFAULT;
	}
	if (vnet) {
		if (iobuf_left(b) < vnet)
			return -EINVAL;
		if (iobuf_get(b, skipped, vnet) != (ssize_t)vnet)
			return -EFAULT;
		memcpy(&h, skipped, sizeof(h));
	}
	p = packet_from(b, &err);
	if (!err)
		err = check_packet(p, flags, ntohs(pi.proto));
	if (!err)
		err = apply_vnet(p, &h);
	if (err) {
		pkt_free(p);
		return err;
	}
	err = receive(t, p);
	return err ? err : (ssize_t)all;
}

static uint32_t tun_poll(struct file *f, struct poll_table *p)
{
	struct tun *t = tun_of(f);
	uint32_t events = 0;
	struct netdev *dev;
	struct stack *s;

	if (!t)
		return POLLERR;
	poll_wait(p, &t->wq);
	mutex_lock(&t->lock, L_LINK);
	if (t->queued)
		events |= POLLIN | POLLRDNORM;
	mutex_unlock(&t->lock, L_LINK);
	dev = enter(t, &s);
	if (!dev)
		return POLLERR;
	if (dev->flags & IFF_UP)
		events |= POLLOUT | POLLWRNORM;
	leave_stack(s);
	return events;
}

/* ---- ioctls ---- */

static int attach(struct ctx *c, struct tun_file *tf, struct ifreq *r)
{
	unsigned flags = (unsigned)(unsigned short)r->ifr_flags;
	struct stack *s = netns_stack(tf->net);
	struct tun *t = NULL, *none = NULL;
	struct netdev *dev;
	int err;

	r->ifr_name[IFNAMSIZ - 1] = 0;
	if (flags & ~(unsigned)(FEATURES | IFF_TUN_EXCL) || (flags & MODES) == 0 || (flags & MODES) == MODES)
		return -EINVAL;
	if (!s)
		return -ENOMEM;
	stack_enter(s);
	dev = *r->ifr_name ? netdev_by_name(s, r->ifr_name) : NULL;
	err = dev ? attach_dev(c, s, dev, flags, &t) : make_dev(c, s, r->ifr_name, flags & FEATURES, &t);
	if (!err)
		memcpy(r->ifr_name, t->dev->name, IFNAMSIZ);
	stack_leave(s);
	if (err)
		return err;
	r->ifr_flags = (short)flags_of(t);
	if (__atomic_compare_exchange_n((struct tun **)&tf->tun, &none, t, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return 0;
	detach(t); /* another thread was faster */
	return -EEXIST;
}

static long set_if(struct ctx *c, struct file *f, uaddr_t arg)
{
	struct ifreq r;
	long err;

	if (copy_in(c, &r, arg, sizeof(r)))
		return -EFAULT;
	if (tun_of(f))
		return -EEXIST;
	err = attach(c, f->priv, &r);
	return err ? err : copy_out(c, arg, &r, sizeof(r));
}

/* With the interface: TUNGETIFF, its address, its carrier. */
static long on_dev(struct tun *t, uint32_t cmd, struct ifreq *r)
{
	struct stack *s;
	struct netdev *dev = enter(t, &s);
	long err = 0;

	if (!dev)
		return -EBADFD;
	memcpy(r->ifr_name, dev->name, IFNAMSIZ);
	switch (cmd) {
	case TUNGETIFF:
		r->ifr_flags = (short)flags_of(t);
		break;
	case SIOCGIFHWADDR:
		memset(&r->ifr_hwaddr, 0, sizeof(r->ifr_hwaddr));
		r->ifr_hwaddr.sa_family = dev->type;
		memcpy(r->ifr_hwaddr.sa_data, dev->mac, MAC_LEN);
		break;
	case SIOCSIFHWADDR:
		if (dev->type != ARPHRD_ETHER)
			err = -EOPNOTSUPP;
		else if (r->ifr_hwaddr.sa_family != dev->type)
			err = -EINVAL;
		else if (r->ifr_hwaddr.sa_data[0] & 1)
			err = -EADDRNOTAVAIL;
		else
			netdev_set_mac(s, dev, (const uint8_t *)r->ifr_hwaddr.sa_data);
		break;
	}
	leave_stack(s);
	return err;
}

static long ifreq_ioctl(struct ctx *c, struct tun *t, uint32_t cmd, uaddr_t arg)
{
	struct ifreq r = {0};
	long err;

	if (cmd != TUNGETIFF && copy_in(c, &r, arg, sizeof(r)))
		return -EFAULT;
	err = on_dev(t, cmd, &r);
	return err || cmd == SIOCSIFHWADDR ? err : copy_out(c, arg, &r, sizeof(r));
}

static long set_carrier(struct tun *t, bool on)
{
	struct stack *s;
	struct netdev *dev = enter(t, &s);

	if (!dev)
		return -EBADFD;
	netdev_set_carrier(s, dev, on);
	leave_stack(s);
	return 0;
}

/* Those whose argument is the value itself. */
static long set_value(struct tun *t, uint32_t cmd, uint64_t arg)
{
	mutex_lock(&t->lock, L_LINK);
	switch (cmd) {
	case TUNSETPERSIST:
		t->persist = arg != 0;
		break;
	case TUNSETOWNER:
		t->owner = (uint32_t)arg;
		break;
	case TUNSETGROUP:
		t->group = (uint32_t)arg;
		break;
	}
	mutex_unlock(&t->lock, L_LINK);
	return 0;
}

static long set_number(struct ctx *c, struct tun *t, uint32_t cmd, uaddr_t arg)
{
	int v;

	if (copy_in(c, &v, arg, sizeof(v)))
		return -EFAULT;
	switch (cmd) {
	case TUNSETVNETHDRSZ:
		if (v < (int)sizeof(struct virtio_net_hdr) || v > 256)
			return -EINVAL;
		t->vnet_size = v;
		return 0;
	case TUNSETSNDBUF:
		if (v <= 0)
			return -EINVAL;
		t->sndbuf = v;
		return 0;
	case TUNSETCARRIER:
		return set_carrier(t, v);
	default:
		return v ? -EINVAL : 0; /* byte order, filters: as it is */
	}
}

static long attached_ioctl(struct ctx *c, struct tun *t, uint32_t cmd, uint64_t arg)
{
	int v;

	switch (cmd) {
	case TUNGETIFF:
	case SIOCGIFHWADDR:
	case SIOCSIFHWADDR:
		return ifreq_ioctl(c, t, cmd, UADDR(arg));
	case TUNSETPERSIST:
	case TUNSETOWNER:
	case TUNSETGROUP:
		return set_value(t, cmd, arg);
	case TUNSETNOCSUM:
		return 0;
	case TUNSETOFFLOAD:
		return arg & ~(uint64_t)OFFLOADS ? -EINVAL : 0;
	case TUNSETVNETHDRSZ:
	case TUNSETSNDBUF:
	case TUNSETCARRIER:
	case TUNSETVNETLE:
	case TUNSETVNETBE:
		return set_number(c, t, cmd, UADDR(arg));
	case TUNGETVNETHDRSZ:
	case TUNGETSNDBUF:
		v = cmd == TUNGETSNDBUF ? t->sndbuf : t->vnet_size;
		return copy_out(c, UADDR(arg), &v, sizeof(v));
	default:
		return -EINVAL;
	}
}

static long tun_ioctl(struct ctx *c, struct file *f, uint32_t cmd, uint64_t arg)
{
	unsigned features = FEATURES;
	struct tun *t = tun_of(f);

	if (cmd == TUNGETFEATURES)
		return copy_out(c, UADDR(arg), &features, sizeof(features));
	if (cmd == TUNSETIFF)
		return set_if(c, f, UADDR(arg));
	if (cmd == TUNSETQUEUE)
		return -EINVAL;
	return t ? attached_ioctl(c, t, cmd, arg) : -EBADFD;
}

static int tun_open(struct ctx *c, struct inode *i __unused, struct file *f)
{
	struct tun_file *tf = slab_alloc(&tun_file_slab);

	if (!tf)
		return -ENOMEM;
	tf->net = netns_get(netns_of(c));
	f->priv = tf;
	return 0;
}

static void tun_release(struct file *f)
{
	struct tun_file *tf = f->priv;
	struct tun *t = tun_of(f);

	if (t)
		detach(t);
	netns_put(tf->net);
	slab_free(&tun_file_slab, tf);
}

static const struct file_ops tun_fops = {
    .read = tun_read,
    .write = tun_write,
    .poll = tun_poll,
    .ioctl = tun_ioctl,
    .release = tun_release,
};

void tun_init(void)
{
	static struct chrdev tun = {10, 200, 200, &tun_fops, tun_open, NULL};

	chrdev_register(&tun);
}
