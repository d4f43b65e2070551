/*
 * A learning bridge: see bridge.h.
 *
 * A frame that comes in by a port is learnt from (its source is behind that port) and goes where its destination was learnt, to the bridge's own interface,
 * or everywhere: to each other port, and to the bridge if it is for a group or for all. The table has an entry for each address, the least lately seen first
 * in `age`; an entry that is older than the ageing time counts no longer and is dropped when it is looked at, and the oldest goes when a new one finds no
 * room, so that no timer runs. Frames for 01:80:c2:00:00:01 to 0f never cross a bridge (802.1D, 7.12.6).
 *
 * There is no spanning tree: a loop of cables carries broadcasts for ever, as Linux's bridges do with it turned off.
 *
 * The bridge is guarded by the stack's lock, as everything here. A port's interface points to its bridge_port; whoever goes first, the port is dissolved.
 */
#include "net/stack/bridge.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <string.h>

#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "sentry/base/slab.h"

#define PORTS_MAX 1024
#define FDB_CHAINS 256
#define FDB_MAX 4096
#define AGEING (300 * 1000000000ll)
#define TICK 10000000ll /* a hundredth of a second */
#define MTU_DEFAULT 1500

struct fdb_entry {
	struct list hash, age;
	struct bridge_port *port;
	uint8_t mac[MAC_LEN];
	int64_t seen;
};

struct bridge_port {
	struct list link;
	struct netdev *dev;
	struct bridge *bridge;
	unsigned number;
};

struct bridge {
	struct netdev *dev;
	struct list ports; /* in the order of joining */
	unsigned count;
	struct list fdb[FDB_CHAINS], age;
	unsigned fdb_count;
	int64_t ageing;
	uint32_t own_mtu; /* as somebody set it; 0: the smallest of the ports' */
};

static struct slab bridge_slab = SLAB_INIT(struct bridge);
static struct slab port_slab = SLAB_INIT(struct bridge_port);
static struct slab fdb_slab = SLAB_INIT(struct fdb_entry);
static const struct link_ops bridge_ops;

bool netdev_is_bridge(const struct netdev *dev)
{
	return dev->ops == &bridge_ops;
}

struct netdev *bridge_of(const struct netdev *dev)
{
	return dev->port ? dev->port->bridge->dev : NULL;
}

unsigned bridge_port_number(const struct netdev *dev)
{
	return dev->port->number;
}

/* ---- the table of addresses ---- */

static struct list *chain(struct bridge *b, const uint8_t *mac)
{
	uint32_t h;

	memcpy(&h, mac + 2, sizeof(h));
	return &b->fdb[(h * 0x9e3779b1u >> 16) % FDB_CHAINS];
}

static void forget(struct bridge *b, struct fdb_entry *e)
{
	list_remove(&e->hash);
	list_remove(&e->age);
	b->fdb_count--;
	slab_free(&fdb_slab, e);
}

static struct fdb_entry *find(struct stack *s, struct bridge *b, const uint8_t *mac) REQUIRES(L_NET)
{
	struct fdb_entry *e;

	list_for_each(e, chain(b, mac), hash) {
		if (memcmp(e->mac, mac, MAC_LEN) != 0)
			continue;
		if (s->now - e->seen < b->ageing)
			return e;
		forget(b, e);
		return NULL;
	}
	return NULL;
}

static void learn(struct stack *s, struct bridge_port *port, const uint8_t *mac) REQUIRES(L_NET)
{
	struct bridge *b = port->bridge;
	struct fdb_entry *e = find(s, b, mac);

	if (!e && b->fdb_count == FDB_MAX)
		forget(b, list_first(&b->age, struct fdb_entry, age));
	if (!e) {
		e = slab_alloc(&fdb_slab);
		if (!e)
			return;
		memcpy(e->mac, mac, MAC_LEN);
		list_append(chain(b, mac), &e->hash);
		b->fdb_count++;
	} else {
		list_remove(&e->age);
	}
	list_append(&b->age, &e->age);
	e->port = port;
	e->seen = s->now;
}

static void forget_port(struct bridge *b, const struct bridge_port *port)
{
	struct fdb_entry *e, *next;

	list_for_each_safe(e, next, &b->age, age)
		if (!port || e->port == port)
			forget(b, e);
}

void bridge_each(struct stack *s, struct netdev *br, bool (*fn)(void *arg, const struct bridge_entry *e), void *arg)
{
	struct bridge *b = br->priv;
	struct fdb_entry *e;

	list_for_each(e, &b->age, age) {
		struct bridge_entry told = {.port = e->port->dev, .age = s->now - e->seen};

		memcpy(told.mac, e->mac, MAC_LEN);
		if (told.age < b->ageing && !fn(arg, &told))
			return;
	}
}

/* ---- frames ---- */

static bool forwards(const struct bridge_port *port)
{
	return port->dev->flags & IFF_UP && port->dev->carrier;
}

/* Takes p. */
static void send_by(struct stack *s, struct bridge_port *port, struct pkt *p) REQUIRES(L_NET)
{
	const unsigned does = port->dev->features;

	p->dev = NULL;
	if (p->len > port->dev->mtu + ETHER_HEAD && !p->gso_size) {
		pkt_free(p);
		return;
	}
	if ((p->gso_size && !(does & NETDEV_TSO)) || (p->checksum_partial && !(does & NETDEV_CHECKSUM)))
		pkt_find_headers(p);
	(void)netdev_transmit(s, port->dev, p);
}

/* Copies for all ports but one; p stays the caller's. */
static void flood(struct stack *s, struct bridge *b, const struct pkt *p, const struct bridge_port *but) REQUIRES(L_NET)
{
	struct bridge_port *port, *next;

	list_for_each_safe(port, next, &b->ports, link) {
		struct pkt *copy = port != but && forwards(port) ? pkt_clone(p) : NULL;

		if (copy)
			send_by(s, port, copy);
	}
}

/* Up to the bridge's own interface; takes p. */
static void pass_up(struct stack *s, struct bridge *b, struct pkt *p) REQUIRES(L_NET)
{
	netdev_receive(s, b->dev, p);
}

static bool is_local(const struct bridge *b, const uint8_t *mac)
{
	const struct bridge_port *port;

	if (memcmp(mac, b->dev->mac, MAC_LEN) == 0)
		return true;
	list_for_each(port, &b->ports, link)
		if (memcmp(mac, port->dev->mac, MAC_LEN) == 0)
			return true;
	return false;
}

static void forward(struct stack *s, struct bridge_port *from, struct pkt *p, const uint8_t *to) REQUIRES(L_NET)
{
	struct bridge *b = from->bridge;
	struct fdb_entry *e;

	if (to[0] & 1) {
		flood(s, b, p, from);
		pass_up(s, b, p);
		return;
	}
	if (is_local(b, to)) {
		pass_up(s, b, p);
		return;
	}
	e = find(s, b, to);
	if (!e) {
		flood(s, b, p, from);
		pkt_free(p);
	} else if (e->port == from || !forwards(e->port)) {
		pkt_free(p);
	} else {
		send_by(s, e->port, p);
	}
}

struct pkt *bridge_input(struct stack *s, struct netdev *dev, struct pkt *p)
{
	static const uint8_t reserved[5] = {0x01, 0x80, 0xc2, 0, 0};
	struct bridge_port *port = dev->port;
	uint8_t head[ETHER_HEAD];

	if (!pkt_copy(p, 0, head, sizeof(head)) || head[MAC_LEN] & 1) {
		dev->stats.rx_errors++;
		pkt_free(p);
		return NULL;
	}
	if (memcmp(head, reserved, sizeof(reserved)) == 0 && head[5] > 0 && head[5] < 16)
		return p;
	if (!(port->bridge->dev->flags & IFF_UP) || !forwards(port)) {
		dev->stats.rx_dropped++;
		pkt_free(p);
		return NULL;
	}
	if (!is_local(port->bridge, head + MAC_LEN))
		learn(s, port, head + MAC_LEN);
	forward(s, port, p, head);
	return NULL;
}

/* From this machine. */
static int bridge_transmit(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET)
{
	struct bridge *b = dev->priv;
	struct fdb_entry *e = NULL;
	uint8_t to[MAC_LEN];

	if (!pkt_copy(p, 0, to, sizeof(to))) {
		pkt_free(p);
		return -EINVAL;
	}
	if (!(to[0] & 1))
		e = find(s, b, to);
	if (e && forwards(e->port)) {
		send_by(s, e->port, p);
		return 0;
	}
	if (!e)
		flood(s, b, p, NULL);
	pkt_free(p);
	return 0;
}

/* ---- ports ---- */

/* What the bridge has from its ports: carrier if one forwards, the lowest address, the smallest MTU. */
static void follow_ports(struct stack *s, struct bridge *b) REQUIRES(L_NET)
{
	uint32_t mtu = b->count ? UINT32_MAX : MTU_DEFAULT;
	const struct bridge_port *port;
	const uint8_t *lowest = NULL;
	bool carrier = false;

	list_for_each(port, &b->ports, link) {
		carrier |= forwards(port);
		mtu = MIN(mtu, port->dev->mtu);
		if (!lowest || memcmp(port->dev->mac, lowest, MAC_LEN) < 0)
			lowest = port->dev->mac;
	}
	if (!b->dev->mac_set && lowest && memcmp(b->dev->mac, lowest, MAC_LEN) != 0) {
		netdev_set_mac(s, b->dev, lowest);
		b->dev->mac_set = false;
	}
	if (!b->own_mtu)
		(void)!netdev_set_mtu(s, b->dev, mtu);
	netdev_set_carrier(s, b->dev, carrier);
}

int bridge_port_add(struct stack *s, struct netdev *br, struct netdev *dev)
{
	struct bridge *b = br->priv;
	struct bridge_port *port;

	if (netdev_is_bridge(dev))
		return -ELOOP;
	if (dev->flags & IFF_LOOPBACK || dev->type != ARPHRD_ETHER)
		return -EINVAL;
	if (dev->port)
		return -EBUSY;
	if (b->count == PORTS_MAX)
		return -EXFULL;
	port = slab_alloc(&port_slab);
	if (!port)
		return -ENOMEM;
	port->dev = dev;
	port->bridge = b;
	port->number = 1;
	while (port->number) {
		const struct bridge_port *other;
		bool taken = false;

		list_for_each(other, &b->ports, link)
			taken |= other->number == port->number;
		if (!taken)
			break;
		port->number++;
	}
	list_append(&b->ports, &port->link);
	b->count++;
	dev->port = port;
	netdev_promisc(s, dev, 1);
	follow_ports(s, b);
	stack_notify(s, STACK_LINK, false, dev);
	return 0;
}

void bridge_port_remove(struct stack *s, struct netdev *dev)
{
	struct bridge_port *port = take(dev->port);
	struct bridge *b = port->bridge;

	forget_port(b, port);
	list_remove(&port->link);
	b->count--;
	slab_free(&port_slab, port);
	netdev_promisc(s, dev, -1);
	follow_ports(s, b);
	stack_notify(s, STACK_LINK, false, dev);
}

void bridge_port_changed(struct stack *s, struct netdev *dev)
{
	struct bridge_port *port = dev->port;

	if (!forwards(port))
		forget_port(port->bridge, port);
	follow_ports(s, port->bridge);
}

/* ---- the interface ---- */

static void bridge_changed(struct stack *s __unused, struct netdev *dev) REQUIRES(L_NET)
{
	struct bridge *b = dev->priv;
	const struct bridge_port *port;
	uint32_t smallest = b->count ? UINT32_MAX : MTU_DEFAULT;

	if (!(dev->flags & IFF_UP))
		forget_port(b, NULL);
	list_for_each(port, &b->ports, link)
		smallest = MIN(smallest, port->dev->mtu);
	if (dev->mtu != smallest)
		b->own_mtu = dev->mtu;
}

static void bridge_destroy(struct stack *s, struct netdev *dev) REQUIRES(L_NET)
{
	struct bridge *b = dev->priv;
	struct bridge_port *port;

	forget_port(b, NULL);
	while ((port = list_first(&b->ports, struct bridge_port, link))) {
		struct netdev *of = port->dev;

		list_remove(&port->link);
		of->port = NULL;
		slab_free(&port_slab, port);
		netdev_promisc(s, of, -1);
		stack_notify(s, STACK_LINK, false, of);
	}
	slab_free(&bridge_slab, b);
}

static const struct link_ops bridge_ops = {
    .transmit = bridge_transmit, .changed = bridge_changed, .destroy = bridge_destroy, .kind = "bridge"};

int bridge_create(struct stack *s, const struct netdev_config *c, struct netdev **ret)
{
	struct bridge *b = slab_alloc(&bridge_slab);
	struct netdev_config full = {
	    .name = c->name,
	    .index = c->index,
	    .type = ARPHRD_ETHER,
	    .flags = IFF_BROADCAST | IFF_MULTICAST,
	    .features = NETDEV_ETHER | NETDEV_CHECKSUM | NETDEV_TSO,
	    .mtu = c->mtu,
	    .mtu_max = 65535,
	    .mac = c->mac,
	    .no_carrier = true,
	    .ops = &bridge_ops,
	    .priv = b,
	};
	int err;

	if (!b)
		return -ENOMEM;
	list_init(&b->ports);
	list_init(&b->age);
	for (unsigned i = 0; i < FDB_CHAINS; i++)
		list_init(&b->fdb[i]);
	b->ageing = AGEING;
	err = netdev_create(s, &full, ret);
	if (err) {
		slab_free(&bridge_slab, b);
		return err;
	}
	b->dev = *ret;
	if (c->mtu != MTU_DEFAULT)
		b->own_mtu = c->mtu;
	return 0;
}

void bridge_info(const struct netdev *br, struct bridge_info *ret)
{
	const struct bridge *b = br->priv;

	*ret = (struct bridge_info){.ageing = (uint32_t)(b->ageing / TICK), .ports = b->count};
	memcpy(ret->mac, br->mac, MAC_LEN);
}

void bridge_set_ageing(struct netdev *br, uint32_t hundredths)
{
	((struct bridge *)br->priv)->ageing = hundredths * TICK;
}
