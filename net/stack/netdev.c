/*
 * Network interfaces: netdevice(7), rtnetlink(7). Making, naming, flags, MTU, and the way of frames in and out.
 *
 * Routes that follow from flags and addresses are the kernel's own (RTPROT_KERNEL): whenever one of them changes, those
 * of the interface are dropped and made anew from what it is now (netdev_addr.c). An interface that goes down loses its
 * other routes too, as on Linux, and its neighbours; its addresses stay, also those of IPv6, which Linux drops unless
 * keep_addr_on_down is set.
 *
 * Going out, a packet is made into what the link can take: segments of it (gso.c), checksums completed. Taps see what
 * the wire sees.
 */
#include "net/stack/netdev.h"

#include <linux/if_packet.h>
#include <stdio.h>

#include "net/stack/addr.h"
#include "net/stack/bridge.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/neigh.h"
#include "net/stack/route.h"
#include "sentry/base/slab.h"

#define NETDEVS_MAX 4096
#define MTU_MIN 68u /* RFC 791 */
#define MTU_MAX 65536u

static struct slab netdev_slab = SLAB_INIT(struct netdev);

struct netdev *netdev_by_index(struct stack *s, unsigned index)
{
	struct netdev *dev;

	list_for_each(dev, &s->netdevs, link)
		if (dev->index == index)
			return dev;
	return NULL;
}

struct netdev *netdev_by_name(struct stack *s, const char *name)
{
	struct netdev *dev;

	list_for_each(dev, &s->netdevs, link)
		if (strncmp(dev->name, name, sizeof(dev->name)) == 0)
			return dev;
	return NULL;
}

struct netdev *netdev_next(struct stack *s, unsigned index)
{
	struct netdev *dev;

	list_for_each(dev, &s->netdevs, link)
		if (dev->index > index)
			return dev;
	return NULL;
}

/* As Linux's dev_valid_name(). */
bool netdev_valid_name(const char *name)
{
	size_t n = strnlen(name, IFNAMSIZ);

	if (n == 0 || n == IFNAMSIZ || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (; *name; name++)
		if (*name == '/' || *name == ':' || (*name >= 0 && *name <= ' '))
			return false;
	return true;
}

/* The name itself, or with a number in the place of %d. */
int netdev_pick_name(struct stack *s, const char *name, char *to)
{
	const char *percent = strchr(name, '%');

	if (!percent) {
		if (!netdev_valid_name(name))
			return -EINVAL;
		if (netdev_by_name(s, name))
			return -EEXIST;
		strcpy(to, name);
		return 0;
	}
	if (percent[1] != 'd' || strchr(percent + 1, '%'))
		return -EINVAL;
	for (unsigned i = 0; i < NETDEVS_MAX; i++) {
		char full[2 * IFNAMSIZ];

		if (snprintf(full, sizeof(full), "%.*s%u%s", (int)(percent - name), name, i, percent + 2) >= IFNAMSIZ ||
		    !netdev_valid_name(full))
			return -EINVAL;
		if (netdev_by_name(s, full))
			continue;
		strcpy(to, full);
		return 0;
	}
	return -ENFILE;
}

void netdev_insert(struct stack *s, struct netdev *dev)
{
	struct netdev *after;

	while (!dev->index || netdev_by_index(s, dev->index))
		dev->index = s->last_index = s->last_index % INT32_MAX + 1;
	list_for_each(after, &s->netdevs, link)
		if (after->index > dev->index)
			break;
	/* The list's head is behind the last. */
	list_append(&after->link, &dev->link);
	s->netdev_count++;
}

int netdev_create(struct stack *s, const struct netdev_config *c, struct netdev **ret)
{
	char name[IFNAMSIZ];
	struct netdev *dev;
	int err;

	if (c->mtu < MTU_MIN || c->mtu > (c->mtu_max ? c->mtu_max : MTU_MAX))
		return -EINVAL;
	if (c->index && netdev_by_index(s, c->index))
		return -EBUSY;
	if (s->netdev_count == NETDEVS_MAX)
		return -ENFILE;
	err = netdev_pick_name(s, c->name, name);
	if (err)
		return err;
	dev = slab_alloc(&netdev_slab);
	if (!dev)
		return -ENOMEM;
	memcpy(dev->name, name, sizeof(dev->name));
	dev->index = c->index;
	dev->type = c->type;
	dev->flags = c->flags & ~(unsigned)(IFF_UP | IFF_RUNNING);
	dev->features = c->features;
	dev->mtu = c->mtu;
	dev->mtu_max = c->mtu_max ? c->mtu_max : MTU_MAX;
	dev->carrier = !c->no_carrier;
	dev->quiet_carrier = c->quiet_carrier;
	if (c->mac)
		memcpy(dev->mac, c->mac, MAC_LEN);
	dev->ops = c->ops;
	dev->priv = c->priv;
	list_init(&dev->addrs);
	list_init(&dev->groups);
	list_init(&dev->taps);
	net_timer_init(&dev->solicit_timer, ndp_solicit_timer);
	net_timer_init(&dev->report_timer, mcast_report_timer);
	netdev_insert(s, dev);
	stack_notify(s, STACK_LINK, false, dev);
	stack_notify(s, STACK_UEVENT, false, dev);
	*ret = dev;
	return 0;
}

void netdev_changed(struct stack *s, struct netdev *dev)
{
	s->route_generation++;
	if (dev->port)
		bridge_port_changed(s, dev);
	if (dev->ops->changed)
		dev->ops->changed(s, dev);
	stack_notify(s, STACK_LINK, false, dev);
}

static void tell_taps(struct stack *s, struct netdev *dev, enum tap_event e) REQUIRES(L_NET)
{
	struct netdev_tap *t, *next;

	list_for_each_safe(t, next, &dev->taps, link)
		if (t->event)
			t->event(s, t, dev, e);
	list_for_each_safe(t, next, &s->taps, link)
		if (t->event)
			t->event(s, t, dev, e);
}

static void go_down(struct stack *s, struct netdev *dev) REQUIRES(L_NET)
{
	net_timer_cancel(s, &dev->solicit_timer);
	net_timer_cancel(s, &dev->report_timer);
	route_flush_dev(s, dev, false);
	neigh_flush_dev(s, dev);
	frag_flush_dev(s, dev);
	ndp_down(s, dev);
}

static int go_up(struct stack *s, struct netdev *dev) REQUIRES(L_NET)
{
	int err = netdev_sync_routes(s, dev);

	err = err ? err : netdev_auto_addrs(s, dev);
	if (err || dev->flags & IFF_LOOPBACK)
		return err;
	mcast_join_all(s, dev);
	ndp_up(s, dev);
	return 0;
}

void netdev_remove(struct stack *s, struct netdev *dev)
{
	if (dev->port)
		bridge_port_remove(s, dev);
	if (dev->flags & IFF_UP) {
		dev->flags &= ~(unsigned)(IFF_UP | IFF_RUNNING);
		tell_taps(s, dev, TAP_DOWN);
		go_down(s, dev);
	}
	stack_drop_dev(s, dev);
	neigh_forget_dev(s, dev);
	netdev_drop_addrs(s, dev);
	route_forget_dev(s, dev);
	mcast_drop_all(s, dev);
	net_timer_cancel(s, &dev->solicit_timer);
	net_timer_cancel(s, &dev->report_timer);
	tell_taps(s, dev, TAP_GONE);
	while (!list_empty(&dev->taps))
		list_remove(dev->taps.next);
	list_remove(&dev->link);
	s->netdev_count--;
	s->route_generation++;
	stack_notify(s, STACK_LINK, true, dev);
	stack_notify(s, STACK_UEVENT, true, dev);
}

void netdev_destroy(struct stack *s, struct netdev *dev)
{
	netdev_remove(s, dev);
	if (dev->ops->destroy)
		dev->ops->destroy(s, dev);
	slab_free(&netdev_slab, dev);
}

int netdev_set_flags(struct stack *s, struct netdev *dev, unsigned flags, unsigned mask)
{
	unsigned old = dev->flags, new;
	int err = 0;

	mask &= IFF_UP | IFF_PROMISC | IFF_ALLMULTI | IFF_NOARP;
	new = (old & ~mask) | (flags & mask);
	if (new &IFF_UP && dev->carrier)
		new |= IFF_RUNNING;
	else
		new &= ~(unsigned)IFF_RUNNING;
	dev->flags = new;
	if (old & ~new &IFF_UP)
		go_down(s, dev);
	if (new != old)
		netdev_changed(s, dev);
	if (new & ~old & IFF_UP)
		err = go_up(s, dev);
	if (err) {
		dev->flags = old;
		go_down(s, dev);
		netdev_changed(s, dev);
	}
	if (!err && (old ^ new) & IFF_UP)
		tell_taps(s, dev, new &IFF_UP ? TAP_UP : TAP_DOWN);
	return err;
}

int netdev_set_mtu(struct stack *s, struct netdev *dev, uint32_t mtu)
{
	if (mtu < MTU_MIN || mtu > dev->mtu_max)
		return -EINVAL;
	if (dev->mtu == mtu)
		return 0;
	dev->mtu = mtu;
	netdev_changed(s, dev);
	return 0;
}

int netdev_set_name(struct stack *s, struct netdev *dev, const char *name)
{
	char to[IFNAMSIZ];
	int err = netdev_pick_name(s, name, to);

	if (err)
		return err;
	memcpy(dev->name, to, sizeof(to));
	stack_notify(s, STACK_LINK, false, dev);
	return 0;
}

int netdev_set_v6(struct stack *s, struct netdev *dev, bool on)
{
	if (on == !(dev->features & NETDEV_NO_V6))
		return 0;
	dev->features ^= NETDEV_NO_V6;
	if (!on) {
		netdev_drop_v6(s, dev);
		return 0;
	}
	return dev->flags & IFF_UP ? go_up(s, dev) : 0;
}

void netdev_set_mac(struct stack *s, struct netdev *dev, const uint8_t *mac)
{
	memcpy(dev->mac, mac, MAC_LEN);
	dev->mac_set = true;
	neigh_flush_dev(s, dev);
	netdev_changed(s, dev);
}

void netdev_random_mac(struct stack *s, uint8_t *mac)
{
	stack_random(s, mac, MAC_LEN);
	mac[0] = (uint8_t)((mac[0] & 0xfe) | 2);
}

void netdev_promisc(struct stack *s, struct netdev *dev, int add)
{
	bool was = dev->promisc;

	dev->promisc += (unsigned)add;
	if (was == !dev->promisc)
		netdev_changed(s, dev);
}

void netdev_allmulti(struct stack *s, struct netdev *dev, int add)
{
	bool was = dev->allmulti;

	dev->allmulti += (unsigned)add;
	if (was == !dev->allmulti)
		netdev_changed(s, dev);
}

uint32_t netdev_mtu6(const struct netdev *dev)
{
	return dev->mtu6 ? MIN(dev->mtu6, dev->mtu) : dev->mtu;
}

/* ---- frames ---- */

void netdev_tap_add(struct netdev *dev, struct netdev_tap *t)
{
	list_append(&dev->taps, &t->link);
}

void stack_tap_add(struct stack *s, struct netdev_tap *t)
{
	list_append(&s->taps, &t->link);
}

void netdev_tap_remove(struct netdev_tap *t)
{
	list_remove(&t->link);
}

static void see(struct stack *s, struct netdev *dev, const struct pkt *p, bool out)
{
	struct netdev_tap *t, *next;

	list_for_each_safe(t, next, &s->taps, link)
		t->see(s, t, dev, p, out);
	list_for_each_safe(t, next, &dev->taps, link)
		t->see(s, t, dev, p, out);
}

static bool is_tapped(struct stack *s, const struct netdev *dev)
{
	return !list_empty(&s->taps) || !list_empty(&dev->taps);
}

void netdev_receive(struct stack *s, struct netdev *dev, struct pkt *p)
{
	if (!(dev->flags & IFF_UP)) {
		dev->stats.rx_dropped++;
		pkt_free(p);
		return;
	}
	dev->stats.rx_packets++;
	dev->stats.rx_bytes += p->len;
	p->dev = dev;
	if (is_tapped(s, dev))
		see(s, dev, p, false);
	if (dev->port && !(p = bridge_input(s, dev, p)))
		return;
	if (dev->features & NETDEV_ETHER || p->link_header) {
		ether_input(s, dev, p);
	} else {
		p->link_type = PACKET_HOST;
		ip_receive(s, dev, p);
	}
}

/* One frame, as the wire has it. */
static int transmit_one(struct stack *s, struct netdev *dev, struct pkt *p)
{
	uint32_t len = p->len;
	unsigned count = p->gso_size ? (p->len + p->gso_size - 1) / p->gso_size : 1;
	int err;

	if (p->checksum_partial && !(dev->features & NETDEV_CHECKSUM) && !pkt_complete_checksum(p)) {
		dev->stats.tx_errors++;
		pkt_free(p);
		return -EINVAL;
	}
	if (is_tapped(s, dev))
		see(s, dev, p, true);
	err = dev->ops->transmit(s, dev, p);
	if (err) {
		dev->stats.tx_dropped++;
		return err;
	}
	dev->stats.tx_packets += count;
	dev->stats.tx_bytes += len;
	return 0;
}

static int transmit_segments(struct stack *s, struct netdev *dev, struct pkt *p)
{
	struct list segments = LIST_INIT(segments);
	int err = gso_segment(p, &segments), sent;

	pkt_free(p);
	while ((p = list_first(&segments, struct pkt, link))) {
		list_remove(&p->link);
		sent = transmit_one(s, dev, p);
		err = err ? err : sent;
	}
	return err;
}

int netdev_transmit(struct stack *s, struct netdev *dev, struct pkt *p)
{
	if (!(dev->flags & IFF_UP)) {
		dev->stats.tx_dropped++;
		pkt_free(p);
		return -ENETDOWN;
	}
	if (p->gso_size && !(dev->features & NETDEV_TSO))
		return transmit_segments(s, dev, p);
	return transmit_one(s, dev, p);
}

/* ---- loopback ---- */

static int loopback_transmit(struct stack *s, struct netdev *dev __unused, struct pkt *p) REQUIRES(L_NET)
{
	p->dev = NULL;
	stack_loopback(s, p);
	return 0;
}

int loopback_create(struct stack *s)
{
	static const struct link_ops ops = {.transmit = loopback_transmit};
	static const uint8_t mac[MAC_LEN];
	const struct netdev_config c = {
	    .name = "lo",
	    .type = ARPHRD_LOOPBACK,
	    .flags = IFF_LOOPBACK,
	    .features = NETDEV_CHECKSUM | NETDEV_TSO,
	    .mtu = MTU_MAX,
	    .mac = mac,
	    .quiet_carrier = true,
	    .ops = &ops,
	};

	return netdev_create(s, &c, &s->lo);
}
