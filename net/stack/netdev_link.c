/*
 * Interfaces that come, go and move while the stack runs: carrier, moving to another namespace, and the link that leads nowhere.
 *
 * No thread holds the locks of two stacks. An interface that moves is taken out of one (as if it were destroyed, but for its link), belongs to nobody but
 * the mover for a moment, and is put into the other. Nobody can have a pointer to it meanwhile: such pointers are good under the lock only. Its link hears of
 * both steps; between them, when the first stack has been left, what the link had asked to be woken for has been delivered.
 *
 * A name that is taken in the other stack refuses the move before it begins; one that is taken in the meantime gives way to "dev%d", as on Linux.
 */
#include <string.h>

#include "net/stack/bridge.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/neigh.h"

void netdev_set_carrier(struct stack *s, struct netdev *dev, bool on)
{
	if (dev->carrier == on)
		return;
	dev->carrier = on;
	dev->carrier_changes++;
	if (!(dev->flags & IFF_UP))
		return;
	dev->flags ^= IFF_RUNNING;
	if (!on)
		neigh_flush_dev(s, dev);
	netdev_changed(s, dev);
}

static bool movable(const struct netdev *dev)
{
	return dev->ops->leave && dev->ops->join;
}

static int take_out(struct stack *from, unsigned index, struct netdev **ret) REQUIRES(L_NET)
{
	struct netdev *dev = netdev_by_index(from, index);

	if (!dev)
		return -ENODEV;
	if (!movable(dev))
		return -EINVAL;
	netdev_remove(from, dev);
	dev->ops->leave(from, dev);
	*ret = dev;
	return 0;
}

static void put_in(struct stack *to, struct netdev *dev, const char *name) REQUIRES(L_NET)
{
	char picked[IFNAMSIZ];

	if (netdev_pick_name(to, name ? name : dev->name, picked) == 0 || netdev_pick_name(to, "dev%d", picked) == 0)
		memcpy(dev->name, picked, sizeof(dev->name));
	netdev_insert(to, dev);
	dev->hop_limit = 0;
	dev->mtu6 = 0;
	dev->solicits = 0;
	to->route_generation++;
	stack_notify(to, STACK_LINK, false, dev);
	stack_notify(to, STACK_UEVENT, false, dev);
	dev->ops->join(to, dev);
}

/* Whether the name that it will have is free there. */
static int check_name(struct stack *from, struct stack *to, unsigned index, const char *name)
{
	char old[IFNAMSIZ], picked[IFNAMSIZ];
	struct netdev *dev;
	int err = 0;

	stack_enter(from);
	dev = netdev_by_index(from, index);
	if (!dev)
		err = -ENODEV;
	else if (!movable(dev))
		err = -EINVAL;
	else
		memcpy(old, dev->name, sizeof(old));
	stack_leave(from);
	if (err)
		return err;
	stack_enter(to);
	err = netdev_pick_name(to, name ? name : old, picked);
	stack_leave(to);
	return err;
}

int netdev_move(struct stack *from, struct stack *to, unsigned index, const char *name, unsigned *ret_index)
{
	struct netdev *dev;
	int err;

	*ret_index = index;
	if (from == to)
		return 0;
	err = check_name(from, to, index, name);
	if (err)
		return err;
	stack_enter(from);
	err = take_out(from, index, &dev);
	stack_leave(from);
	if (err)
		return err;
	stack_enter(to);
	put_in(to, dev, name);
	*ret_index = dev->index;
	stack_leave(to);
	return 0;
}

/* ---- dummy ---- */

static int dummy_transmit(struct stack *s __unused, struct netdev *dev __unused, struct pkt *p)
{
	pkt_free(p);
	return 0;
}

static void dummy_moves(struct stack *s __unused, struct netdev *dev __unused)
{
}

int dummy_create(struct stack *s, const struct netdev_config *c, struct netdev **ret)
{
	static const struct link_ops ops = {
	    .transmit = dummy_transmit, .kind = "dummy", .leave = dummy_moves, .join = dummy_moves};
	struct netdev_config full = {
	    .name = c->name,
	    .index = c->index,
	    .type = ARPHRD_ETHER,
	    .flags = IFF_BROADCAST | IFF_NOARP,
	    .features = NETDEV_ETHER | NETDEV_CHECKSUM | NETDEV_TSO,
	    .mtu = c->mtu,
	    .mac = c->mac,
	    .quiet_carrier = true,
	    .ops = &ops,
	};

	return netdev_create(s, &full, ret);
}
