/*
 * /sys/class/net: see net.h; sysfs-class-net. Links to the directories of /sys/devices/virtual/net, where each attribute is a file. All interfaces are virtual
 * ones here.
 *
 * A reference's first key is the interface's index, its second one a hash of the name by which it was found. Both are compared on each walk, in the namespace
 * of who walks, so that what the dentry cache knows of another namespace, or by an old name, is not believed. A file that stays open tells EINVAL when its
 * interface has gone.
 */
#include "fs/sys/net.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "net/netstack.h"
#include "net/rtnetlink.h"
#include "net/stack/bridge.h"
#include "net/stack/netdev.h"
#include "net/tun.h"

#define TX_QUEUE 1000

static uint64_t name_hash(const char *name)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3u;
	return h;
}

/* The stack entered, if the interface is there; leave it then. */
static struct netdev *enter_dev(struct ctx *c, const struct pseudo_ref *r, struct stack **ret)
    TRY_ACQUIRE(true, L_NET) NO_TSA;
static struct netdev *enter_dev(struct ctx *c, const struct pseudo_ref *r, struct stack **ret)
{
	struct stack *s = netstack_of(c);
	struct netdev *d;

	if (!s)
		return NULL;
	stack_enter(s);
	d = netdev_by_index(s, (unsigned)r->key[0]);
	if (d && name_hash(d->name) == r->key[1]) {
		*ret = s;
		return d;
	}
	stack_leave(s);
	return NULL;
}

static void leave(struct stack *s) RELEASE(L_NET) NO_TSA;
static void leave(struct stack *s)
{
	stack_leave(s);
}

/* ---- attributes ---- */

static void put_mac(struct seq *s, const uint8_t *mac)
{
	seq_printf(s, "%02x:%02x:%02x:%02x:%02x:%02x\n", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static int put_address(struct netdev *d, struct seq *s)
{
	if (d->type == ARPHRD_NONE)
		seq_puts(s, "\n");
	else
		put_mac(s, d->mac);
	return 0;
}

static int put_broadcast(struct netdev *d, struct seq *s)
{
	static const uint8_t ones[MAC_LEN] = {255, 255, 255, 255, 255, 255}, zero[MAC_LEN];

	if (d->type == ARPHRD_NONE)
		seq_puts(s, "\n");
	else
		put_mac(s, d->flags & IFF_LOOPBACK ? zero : ones);
	return 0;
}

static int put_carrier(struct netdev *d, struct seq *s)
{
	if (!(d->flags & IFF_UP))
		return -EINVAL;
	seq_printf(s, "%d\n", d->carrier);
	return 0;
}

static int put_operstate(struct netdev *d, struct seq *s)
{
	static const char *const names[] = {"unknown", "notpresent", "down", "lowerlayerdown",
					    "testing", "dormant",    "up"};

	seq_printf(s, "%s\n", names[rtnetlink_operstate(d)]);
	return 0;
}

static int put_iflink(struct netdev *d, struct seq *s) REQUIRES(L_NET)
{
	uint64_t id;
	unsigned index = rtnetlink_other(d, &id);

	seq_printf(s, "%u\n", index ? index : d->index);
	return 0;
}

static int put_uevent(struct netdev *d, struct seq *s)
{
	if (netdev_is_bridge(d))
		seq_puts(s, "DEVTYPE=bridge\n");
	seq_printf(s, "INTERFACE=%s\nIFINDEX=%u\n", d->name, d->index);
	return 0;
}

/* Only a veth says that it has any. */
static bool has_speed(const struct netdev *d)
{
	return d->flags & IFF_RUNNING && d->ops->kind && strcmp(d->ops->kind, "veth") == 0;
}

static int put_speed(struct netdev *d, struct seq *s)
{
	if (!has_speed(d))
		return -EINVAL;
	seq_puts(s, "10000\n");
	return 0;
}

static int put_duplex(struct netdev *d, struct seq *s)
{
	if (!has_speed(d))
		return -EINVAL;
	seq_puts(s, "full\n");
	return 0;
}

static int put_dormant(struct netdev *d, struct seq *s)
{
	if (!(d->flags & IFF_UP))
		return -EINVAL;
	seq_puts(s, "0\n");
	return 0;
}

static int put_tun_flags(struct netdev *d, struct seq *s)
{
	seq_printf(s, "0x%x\n", tun_flags_of(d));
	return 0;
}

static int put_owner(struct netdev *d, struct seq *s)
{
	int64_t owner, group;

	tun_owner_of(d, &owner, &group);
	seq_printf(s, "%" PRId64 "\n", owner);
	return 0;
}

static int put_group(struct netdev *d, struct seq *s)
{
	int64_t owner, group;

	tun_owner_of(d, &owner, &group);
	seq_printf(s, "%" PRId64 "\n", group);
	return 0;
}

#define NUMBER(name, format, value)                                                                                    \
	static int put_##name(struct netdev *d __unused, struct seq *s)                                                \
	{                                                                                                              \
		seq_printf(s, format "\n", value);                                                                     \
		return 0;                                                                                              \
	}
NUMBER(addr_assign_type, "%d", d->type == ARPHRD_ETHER ? d->mac_set ? 3 : 1 : 0)
NUMBER(addr_len, "%d", d->type == ARPHRD_NONE ? 0 : MAC_LEN)
NUMBER(carrier_changes, "%u", d->carrier_changes)
NUMBER(flags, "0x%x", d->flags & 0xffffu & ~(unsigned)IFF_RUNNING)
NUMBER(ifindex, "%u", d->index)
NUMBER(mtu, "%u", d->mtu)
NUMBER(type, "%u", d->type)
NUMBER(tx_queue_len, "%d", TX_QUEUE)
NUMBER(zero, "%d", 0)
NUMBER(hex_zero, "0x%x", 0)
NUMBER(nothing, "%s", "")

static const struct attribute {
	const char *name;
	int (*put)(struct netdev *d, struct seq *s);
} attributes[] = {
    {"addr_assign_type", put_addr_assign_type},
    {"addr_len", put_addr_len},
    {"address", put_address},
    {"broadcast", put_broadcast},
    {"carrier", put_carrier},
    {"carrier_changes", put_carrier_changes},
    {"dev_id", put_hex_zero},
    {"dev_port", put_zero},
    {"dormant", put_dormant},
    {"duplex", put_duplex},
    {"flags", put_flags},
    {"group", put_group},
    {"ifalias", put_nothing},
    {"ifindex", put_ifindex},
    {"iflink", put_iflink},
    {"link_mode", put_zero},
    {"mtu", put_mtu},
    {"netdev_group", put_zero},
    {"operstate", put_operstate},
    {"owner", put_owner},
    {"proto_down", put_zero},
    {"speed", put_speed},
    {"tun_flags", put_tun_flags},
    {"tx_queue_len", put_tx_queue_len},
    {"type", put_type},
    {"uevent", put_uevent},
};

static int attribute_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	const struct attribute *a = attributes;
	struct stack *st;
	struct netdev *d = enter_dev(c, r, &st);
	int err;

	if (!d)
		return -EINVAL;
	while (strcmp(a->name, r->node->name) != 0)
		a++;
	err = a->put(d, s);
	leave(st);
	return err;
}

/* ---- statistics ---- */

#define STAT(name)                                                                                                     \
	{                                                                                                              \
#name, offsetof(struct netdev_stats, name)                                                             \
	}
static const struct {
	const char *name;
	size_t offset;
} counters[] = {
    STAT(multicast), STAT(rx_bytes),   STAT(rx_dropped), STAT(rx_errors),  STAT(rx_packets),
    STAT(tx_bytes),  STAT(tx_dropped), STAT(tx_errors),  STAT(tx_packets),
};

static int counter_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	struct stack *st;
	struct netdev *d = enter_dev(c, r, &st);
	uint64_t v = 0;

	if (!d)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		if (strcmp(counters[i].name, r->node->name) == 0)
			memcpy(&v, (const char *)&d->stats + counters[i].offset, sizeof(v));
	leave(st);
	seq_printf(s, "%" PRIu64 "\n", v);
	return 0;
}

#define COUNTER(n)                                                                                                     \
	{                                                                                                              \
		.name = n, .mode = 0444, .show = counter_show                                                          \
	}
static const struct pseudo_node counter_nodes[] = {
    COUNTER("collisions"),
    COUNTER("multicast"),
    COUNTER("rx_bytes"),
    COUNTER("rx_compressed"),
    COUNTER("rx_crc_errors"),
    COUNTER("rx_dropped"),
    COUNTER("rx_errors"),
    COUNTER("rx_fifo_errors"),
    COUNTER("rx_frame_errors"),
    COUNTER("rx_length_errors"),
    COUNTER("rx_missed_errors"),
    COUNTER("rx_nohandler"),
    COUNTER("rx_over_errors"),
    COUNTER("rx_packets"),
    COUNTER("tx_aborted_errors"),
    COUNTER("tx_bytes"),
    COUNTER("tx_carrier_errors"),
    COUNTER("tx_compressed"),
    COUNTER("tx_dropped"),
    COUNTER("tx_errors"),
    COUNTER("tx_fifo_errors"),
    COUNTER("tx_heartbeat_errors"),
    COUNTER("tx_packets"),
    COUNTER("tx_window_errors"),
    PSEUDO_END,
};

/* ---- bridges and their ports ---- */

static int bridge_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	const char *name = r->node->name;
	struct bridge_info i;
	struct stack *st;
	struct netdev *d = enter_dev(c, r, &st);
	bool is;

	if (!d)
		return -EINVAL;
	is = netdev_is_bridge(d);
	if (is)
		bridge_info(d, &i);
	leave(st);
	if (!is)
		return -EINVAL;
	if (strcmp(name, "ageing_time") == 0)
		seq_printf(s, "%u\n", i.ageing);
	else if (name[0] == 's' || name[0] == 'v' || name[0] == 't')
		seq_puts(s, "0\n"); /* stp_state, vlan_filtering, topology_change */
	else
		seq_printf(s, "8000.%02x%02x%02x%02x%02x%02x\n", i.mac[0], i.mac[1], i.mac[2], i.mac[3], i.mac[4],
			   i.mac[5]);
	return 0;
}

#define BRIDGE(n)                                                                                                      \
	{                                                                                                              \
		.name = n, .mode = 0444, .show = bridge_show                                                           \
	}
static const struct pseudo_node bridge_nodes[] = {
    BRIDGE("ageing_time"),     BRIDGE("bridge_id"),      BRIDGE("root_id"), BRIDGE("stp_state"),
    BRIDGE("topology_change"), BRIDGE("vlan_filtering"), PSEUDO_END,
};

static int port_show(struct ctx *c, const struct pseudo_ref *r, struct seq *s)
{
	struct stack *st;
	struct netdev *d = enter_dev(c, r, &st);
	bool is;

	if (!d)
		return -EINVAL;
	is = d->port;
	if (is && strcmp(r->node->name, "port_no") == 0)
		seq_printf(s, "0x%x\n", bridge_port_number(d));
	else if (is)
		seq_printf(s, "%d\n", d->flags & IFF_RUNNING ? 3 : 0);
	leave(st);
	return is ? 0 : -EINVAL;
}

static int master_readlink(struct ctx *c, const struct pseudo_ref *r, char *buf, size_t size)
{
	struct stack *st;
	struct netdev *d = enter_dev(c, r, &st);
	bool is;

	if (!d)
		return -ENOENT;
	is = d->port;
	if (is)
		snprintf(buf, size, "%s../%s", r->node->name[0] == 'b' ? "../" : "", bridge_of(d)->name);
	leave(st);
	return is ? 0 : -ENOENT;
}

static const struct pseudo_node port_nodes[] = {
    {.name = "bridge", .mode = 0777, .readlink = master_readlink},
    {.name = "port_no", .mode = 0444, .show = port_show},
    {.name = "state", .mode = 0444, .show = port_show},
    PSEUDO_END,
};

/* brif: a link for each port. */

static int port_readlink(struct ctx *c, const struct pseudo_ref *r, char *buf, size_t size)
{
	struct stack *st;
	struct netdev *d = enter_dev(c, r, &st);

	if (!d)
		return -ENOENT;
	snprintf(buf, size, "../../%s/brport", d->name);
	leave(st);
	return 0;
}

static bool dev_valid(struct ctx *c, const struct pseudo_ref *r)
{
	struct stack *st;
	struct netdev *d = enter_dev(c, r, &st);

	if (d)
		leave(st);
	return d;
}

static const struct pseudo_node port_link = {
    .name = "PORT", .mode = 0777, .readlink = port_readlink, .valid = dev_valid};

static int brif_lookup(struct ctx *c, const struct pseudo_ref *dir, const char *name, struct pseudo_ref *ret)
{
	struct stack *st;
	struct netdev *br = enter_dev(c, dir, &st), *d;
	bool is;

	if (!br)
		return -ENOENT;
	d = netdev_by_name(st, name);
	is = d && bridge_of(d) == br;
	if (is)
		*ret = (struct pseudo_ref){&port_link, {d->index, name_hash(d->name)}};
	leave(st);
	return is ? 0 : -ENOENT;
}

static bool brif_next(struct ctx *c, const struct pseudo_ref *dir, uint64_t *cursor, char name[32],
		      const struct pseudo_node **ret)
{
	struct stack *st;
	struct netdev *br = enter_dev(c, dir, &st), *d = NULL;

	if (!br)
		return false;
	while ((d = netdev_next(st, (unsigned)*cursor)) && bridge_of(d) != br)
		*cursor = d->index;
	if (d) {
		*cursor = d->index;
		snprintf(name, 32, "%s", d->name);
		*ret = &port_link;
	}
	leave(st);
	return d;
}

static const struct pseudo_dir brif_dir = {.lookup = brif_lookup, .next = brif_next};

/* ---- the directory of an interface ---- */

#define ATTRIBUTE(n)                                                                                                   \
	{                                                                                                              \
		.name = n, .mode = 0444, .show = attribute_show                                                        \
	}
static const struct pseudo_node dev_nodes[] = {
    ATTRIBUTE("addr_assign_type"),
    ATTRIBUTE("addr_len"),
    ATTRIBUTE("address"),
    ATTRIBUTE("broadcast"),
    ATTRIBUTE("carrier"),
    ATTRIBUTE("carrier_changes"),
    ATTRIBUTE("dev_id"),
    ATTRIBUTE("dev_port"),
    ATTRIBUTE("dormant"),
    ATTRIBUTE("duplex"),
    ATTRIBUTE("flags"),
    ATTRIBUTE("ifalias"),
    ATTRIBUTE("ifindex"),
    ATTRIBUTE("iflink"),
    ATTRIBUTE("link_mode"),
    ATTRIBUTE("mtu"),
    ATTRIBUTE("netdev_group"),
    ATTRIBUTE("operstate"),
    ATTRIBUTE("proto_down"),
    ATTRIBUTE("speed"),
    {.name = "statistics", .mode = 0755, .children = counter_nodes},
    {.name = "subsystem", .mode = 0777, .target = "../../../../class/net"},
    ATTRIBUTE("tx_queue_len"),
    ATTRIBUTE("type"),
    ATTRIBUTE("uevent"),
    PSEUDO_END,
};

/* What only some interfaces have. */
static const struct pseudo_node some_nodes[] = {
    {.name = "bridge", .mode = 0755, .children = bridge_nodes},
    {.name = "brif", .mode = 0755, .dir = &brif_dir},
    {.name = "brport", .mode = 0755, .children = port_nodes},
    {.name = "master", .mode = 0777, .readlink = master_readlink},
    ATTRIBUTE("group"),
    ATTRIBUTE("owner"),
    ATTRIBUTE("tun_flags"),
};

static bool has_node(struct ctx *c, const struct pseudo_ref *dir, const struct pseudo_node *n)
{
	struct stack *st;
	struct netdev *d = enter_dev(c, dir, &st);
	bool has = false;

	if (!d)
		return false;
	if (n->show == attribute_show)
		has = tun_is(d);
	else if (n->name[0] == 'm' || strcmp(n->name, "brport") == 0)
		has = d->port;
	else
		has = netdev_is_bridge(d);
	leave(st);
	return has;
}

static int some_lookup(struct ctx *c, const struct pseudo_ref *dir, const char *name, struct pseudo_ref *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(some_nodes); i++) {
		if (strcmp(some_nodes[i].name, name) != 0 || !has_node(c, dir, &some_nodes[i]))
			continue;
		ret->node = &some_nodes[i];
		return 0;
	}
	return -ENOENT;
}

static bool some_next(struct ctx *c, const struct pseudo_ref *dir, uint64_t *cursor, char name[32],
		      const struct pseudo_node **ret)
{
	while (*cursor < ARRAY_SIZE(some_nodes)) {
		const struct pseudo_node *n = &some_nodes[(*cursor)++];

		if (!has_node(c, dir, n))
			continue;
		snprintf(name, 32, "%s", n->name);
		*ret = n;
		return true;
	}
	return false;
}

static const struct pseudo_dir some_dir = {.lookup = some_lookup, .next = some_next};

static const struct pseudo_node dev_node = {
    .name = "DEV", .mode = 0755, .children = dev_nodes, .dir = &some_dir, .valid = dev_valid};

static int dev_readlink(struct ctx *c, const struct pseudo_ref *r, char *buf, size_t size)
{
	struct stack *st;
	struct netdev *d = enter_dev(c, r, &st);

	if (!d)
		return -ENOENT;
	snprintf(buf, size, "../../devices/virtual/net/%s", d->name);
	leave(st);
	return 0;
}

static const struct pseudo_node dev_link = {.name = "DEV", .mode = 0777, .readlink = dev_readlink, .valid = dev_valid};

/* ---- the two lists ---- */

static int lookup(struct ctx *c, const char *name, const struct pseudo_node *node, struct pseudo_ref *ret)
{
	struct stack *s = netstack_of(c);
	struct netdev *d;

	if (!s || strlen(name) >= IFNAMSIZ)
		return -ENOENT;
	stack_enter(s);
	d = netdev_by_name(s, name);
	if (d)
		*ret = (struct pseudo_ref){node, {d->index, name_hash(d->name)}};
	stack_leave(s);
	return d ? 0 : -ENOENT;
}

static bool next(struct ctx *c, uint64_t *cursor, char name[32])
{
	struct stack *s = netstack_of(c);
	struct netdev *d;

	if (!s)
		return false;
	stack_enter(s);
	d = netdev_next(s, (unsigned)*cursor);
	if (d) {
		*cursor = d->index;
		snprintf(name, 32, "%s", d->name);
	}
	stack_leave(s);
	return d;
}

static int class_lookup(struct ctx *c, const struct pseudo_ref *dir __unused, const char *name, struct pseudo_ref *ret)
{
	return lookup(c, name, &dev_link, ret);
}

static bool class_next(struct ctx *c, const struct pseudo_ref *dir __unused, uint64_t *cursor, char name[32],
		       const struct pseudo_node **ret)
{
	*ret = &dev_link;
	return next(c, cursor, name);
}

static int virtual_lookup(struct ctx *c, const struct pseudo_ref *dir __unused, const char *name,
			  struct pseudo_ref *ret)
{
	return lookup(c, name, &dev_node, ret);
}

static bool virtual_next(struct ctx *c, const struct pseudo_ref *dir __unused, uint64_t *cursor, char name[32],
			 const struct pseudo_node **ret)
{
	*ret = &dev_node;
	return next(c, cursor, name);
}

const struct pseudo_dir sys_class_net_dir = {.lookup = class_lookup, .next = class_next};
const struct pseudo_dir sys_virtual_net_dir = {.lookup = virtual_lookup, .next = virtual_next};
