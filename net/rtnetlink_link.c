/* NETLINK_ROUTE: interfaces and their addresses. rtnetlink(7). */
#include <linux/if_addr.h>
#include <linux/if_link.h>

#include "net/rtnetlink.h"
#include "net/stack/addr.h"
#include "net/stack/bridge.h"
#include "sentry/base/clock.h"

/* Of <linux/if.h>, which does not go with <net/if.h>. */
#define IFF_LOWER_UP (1u << 16)
#define OPER_UNKNOWN 0
#define OPER_DOWN 2
#define OPER_LOWERLAYERDOWN 3
#define OPER_UP 6

#define TX_QUEUE 1000
#define MTU_UNLIMITED 65536
/* BR_STATE_* of <linux/if_bridge.h> */
#define PORT_DISABLED 0
#define PORT_FORWARDING 3

/* ---- interfaces ---- */

static void put_stats(struct nlbuf *b, size_t msg, const struct netdev_stats *n)
{
	struct rtnl_link_stats64 s = {
	    .rx_packets = n->rx_packets,
	    .tx_packets = n->tx_packets,
	    .rx_bytes = n->rx_bytes,
	    .tx_bytes = n->tx_bytes,
	    .rx_errors = n->rx_errors,
	    .tx_errors = n->tx_errors,
	    .rx_dropped = n->rx_dropped,
	    .tx_dropped = n->tx_dropped,
	    .multicast = n->multicast,
	};

	nl_attr(b, msg, IFLA_STATS64, &s, sizeof(s));
}

uint8_t rtnetlink_operstate(struct netdev *d)
{
	uint64_t id;

	if (!(d->flags & IFF_UP))
		return OPER_DOWN;
	/* As Linux, which takes any other index for a lower interface's. */
	if (!d->carrier)
		return d->ops->other && d->ops->other(d, &id) != d->index ? OPER_LOWERLAYERDOWN : OPER_DOWN;
	return d->quiet_carrier ? OPER_UNKNOWN : OPER_UP;
}

unsigned rtnetlink_other(struct netdev *d, uint64_t *ret_id)
{
	unsigned index = d->ops->other ? d->ops->other(d, ret_id) : 0;

	return index && *ret_id ? index : 0;
}

/* The interface at the other end, and where that is. */
static void put_other(struct stack *s, struct nlbuf *b, size_t msg, struct netdev *d) REQUIRES(L_NET)
{
	uint64_t id;
	unsigned index = rtnetlink_other(d, &id);
	int number;

	if (!index)
		return;
	nl_u32(b, msg, IFLA_LINK, index);
	if (id == stack_id(s))
		return;
	number = stack_peer_number(s, id, true);
	if (number >= 0)
		nl_u32(b, msg, IFLA_LINK_NETNSID, (uint32_t)number);
}

static void put_bridge(struct nlbuf *b, size_t msg, const struct netdev *d) REQUIRES(L_NET)
{
	size_t nest = nl_nest(b, msg, IFLA_INFO_DATA);
	struct ifla_bridge_id id = {.prio = {0x80, 0}};
	struct bridge_info i;

	bridge_info(d, &i);
	memcpy(id.addr, i.mac, MAC_LEN);
	nl_u32(b, msg, IFLA_BR_FORWARD_DELAY, 1500);
	nl_u32(b, msg, IFLA_BR_HELLO_TIME, 200);
	nl_u32(b, msg, IFLA_BR_MAX_AGE, 2000);
	nl_u32(b, msg, IFLA_BR_AGEING_TIME, i.ageing);
	nl_u32(b, msg, IFLA_BR_STP_STATE, 0);
	nl_attr(b, msg, IFLA_BR_PRIORITY, &(uint16_t){0x8000}, sizeof(uint16_t));
	nl_u8(b, msg, IFLA_BR_VLAN_FILTERING, 0);
	nl_attr(b, msg, IFLA_BR_BRIDGE_ID, &id, sizeof(id));
	nl_attr(b, msg, IFLA_BR_ROOT_ID, &id, sizeof(id));
	nl_nest_end(b, nest);
}

static void put_info(struct nlbuf *b, size_t msg, const struct netdev *d) REQUIRES(L_NET)
{
	size_t nest, data;

	if (!d->ops->kind && !d->port)
		return;
	nest = nl_nest(b, msg, IFLA_LINKINFO);
	if (d->ops->kind)
		nl_string(b, msg, IFLA_INFO_KIND, d->ops->kind);
	if (netdev_is_bridge(d))
		put_bridge(b, msg, d);
	if (d->port) {
		nl_string(b, msg, IFLA_INFO_SLAVE_KIND, "bridge");
		data = nl_nest(b, msg, IFLA_INFO_SLAVE_DATA);
		nl_u8(b, msg, IFLA_BRPORT_STATE, d->flags & IFF_RUNNING ? PORT_FORWARDING : PORT_DISABLED);
		nl_attr(b, msg, IFLA_BRPORT_PRIORITY, &(uint16_t){32}, sizeof(uint16_t));
		nl_u32(b, msg, IFLA_BRPORT_COST, 2);
		nl_attr(b, msg, IFLA_BRPORT_NO, &(uint16_t){(uint16_t)bridge_port_number(d)}, sizeof(uint16_t));
		nl_nest_end(b, data);
	}
	nl_nest_end(b, nest);
}

/* What is the same for all, or nearly. */
static void put_limits(struct nlbuf *b, size_t msg, const struct netdev *d)
{
	nl_u32(b, msg, IFLA_MIN_MTU, d->flags & IFF_LOOPBACK ? 0 : 68);
	nl_u32(b, msg, IFLA_MAX_MTU, d->mtu_max == MTU_UNLIMITED ? 0 : d->mtu_max);
	nl_u32(b, msg, IFLA_GROUP, 0);
	nl_u32(b, msg, IFLA_PROMISCUITY, d->promisc);
	nl_u32(b, msg, IFLA_NUM_TX_QUEUES, 1);
	nl_u32(b, msg, IFLA_NUM_RX_QUEUES, 1);
	nl_u32(b, msg, IFLA_GSO_MAX_SEGS, 65535);
	nl_u32(b, msg, IFLA_GSO_MAX_SIZE, 65536);
	nl_u32(b, msg, IFLA_CARRIER_CHANGES, d->carrier_changes);
	nl_u8(b, msg, IFLA_PROTO_DOWN, 0);
}

void rtnetlink_put_link(struct stack *s, struct nlbuf *b, struct netdev *d, uint16_t type, uint16_t flags)
{
	static const uint8_t all_ones[MAC_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, zero[MAC_LEN];
	struct ifinfomsg m = {
	    .ifi_family = AF_UNSPEC, .ifi_type = d->type, .ifi_index = (int)d->index, .ifi_flags = d->flags};
	bool has_mac = d->type != ARPHRD_NONE;
	size_t msg;

	if (d->flags & IFF_RUNNING)
		m.ifi_flags |= IFF_LOWER_UP;
	msg = nl_begin(b, type, flags, &m, sizeof(m));
	nl_string(b, msg, IFLA_IFNAME, d->name);
	nl_u32(b, msg, IFLA_TXQLEN, TX_QUEUE);
	nl_u8(b, msg, IFLA_OPERSTATE, rtnetlink_operstate(d));
	nl_u8(b, msg, IFLA_LINKMODE, 0);
	nl_u32(b, msg, IFLA_MTU, d->mtu);
	put_limits(b, msg, d);
	put_other(s, b, msg, d);
	if (d->port)
		nl_u32(b, msg, IFLA_MASTER, bridge_of(d)->index);
	nl_u8(b, msg, IFLA_CARRIER, d->carrier);
	nl_string(b, msg, IFLA_QDISC, d->flags & IFF_UP || d->flags & IFF_LOOPBACK ? "noqueue" : "noop");
	if (has_mac) {
		nl_attr(b, msg, IFLA_ADDRESS, d->mac, MAC_LEN);
		nl_attr(b, msg, IFLA_BROADCAST, d->flags & IFF_LOOPBACK ? zero : all_ones, MAC_LEN);
	}
	put_stats(b, msg, &d->stats);
	put_info(b, msg, d);
}

void rtnetlink_dump_links(struct stack *s, struct nlbuf *b, const struct nlreq *r)
{
	bool ports = r->size && r->data[0] == AF_BRIDGE; /* bridge(8) link */
	struct netdev *d = NULL;

	while ((d = netdev_next(s, d ? d->index : 0)))
		if (!ports || d->port)
			rtnetlink_put_link(s, b, d, RTM_NEWLINK, NLM_F_MULTI);
}

/* The interface that a request means, by index or name. */
static struct netdev *find(struct stack *s, const struct nlreq *r, const struct ifinfomsg *m) REQUIRES(L_NET)
{
	char name[IFNAMSIZ] = "";
	const char *data;
	size_t size;

	if (m->ifi_index > 0)
		return netdev_by_index(s, (unsigned)m->ifi_index);
	data = nl_find(r, sizeof(*m), IFLA_IFNAME, 1, &size);
	if (!data)
		return NULL;
	memcpy(name, data, MIN(size, sizeof(name) - 1));
	return netdev_by_name(s, name);
}

int rtnetlink_get_link(struct stack *s, struct nlbuf *b, const struct nlreq *r)
{
	struct netdev *d;
	struct ifinfomsg m;

	if (!nl_fixed(r, &m, sizeof(m)))
		return -EINVAL;
	d = find(s, r, &m);
	if (!d)
		return -ENODEV;
	rtnetlink_put_link(s, b, d, RTM_NEWLINK, 0);
	return 0;
}

/* ---- addresses ---- */

static uint32_t seconds(int64_t until, int64_t now)
{
	if (until == INT64_MAX)
		return UINT32_MAX;
	return (uint32_t)MIN(MAX(until - now, 0) / NSEC_PER_SEC, (int64_t)INT32_MAX);
}

void rtnetlink_put_addr(struct nlbuf *b, const struct netdev_addr *a, int64_t now, uint16_t type, uint16_t flags)
{
	bool v4 = addr_is_v4(&a->addr);
	struct ifaddrmsg m = {.ifa_family = v4 ? AF_INET : AF_INET6,
			      .ifa_prefixlen = (uint8_t)(v4 ? a->plen - V4_BITS : a->plen),
			      .ifa_flags = (uint8_t)a->flags,
			      .ifa_scope = a->scope,
			      .ifa_index = a->dev->index};
	struct ifa_cacheinfo life = {seconds(a->preferred_until, now), seconds(a->valid_until, now), 0, 0};
	size_t msg = nl_begin(b, type, flags, &m, sizeof(m));

	nl_addr(b, msg, IFA_ADDRESS, &a->peer);
	if (v4 || !addr_eq(&a->peer, &a->addr))
		nl_addr(b, msg, IFA_LOCAL, &a->addr);
	if (v4 && !addr_is_any(&a->broadcast))
		nl_addr(b, msg, IFA_BROADCAST, &a->broadcast);
	if (v4)
		nl_string(b, msg, IFA_LABEL, a->dev->name);
	nl_u32(b, msg, IFA_FLAGS, a->flags);
	nl_attr(b, msg, IFA_CACHEINFO, &life, sizeof(life));
}

static void dump_addrs_of(struct stack *s, struct nlbuf *b, bool v4) REQUIRES(L_NET)
{
	const struct netdev *d = NULL;
	const struct netdev_addr *a;

	while ((d = netdev_next(s, d ? d->index : 0)))
		list_for_each(a, &d->addrs, link)
			if (addr_is_v4(&a->addr) == v4)
				rtnetlink_put_addr(b, a, stack_now(s), RTM_NEWADDR, NLM_F_MULTI);
}

void rtnetlink_dump_addrs(struct stack *s, struct nlbuf *b, const struct nlreq *r)
{
	uint8_t family = r->size ? (uint8_t)r->data[0] : AF_UNSPEC;

	if (family == AF_UNSPEC || family == AF_INET)
		dump_addrs_of(s, b, true);
	if (family == AF_UNSPEC || family == AF_INET6)
		dump_addrs_of(s, b, false);
}

static int64_t lifetime(uint32_t s)
{
	return s == UINT32_MAX ? INT64_MAX : s * NSEC_PER_SEC;
}

/* What a request says of an address. -EINVAL. */
static int parse_addr(const struct nlreq *r, struct ifaddrmsg *m, struct addr_config *c)
{
	struct ifa_cacheinfo life;
	const char *data;
	size_t size;
	bool local;

	if (!nl_fixed(r, m, sizeof(*m)) || (m->ifa_family != AF_INET && m->ifa_family != AF_INET6) ||
	    m->ifa_prefixlen > (m->ifa_family == AF_INET ? 32 : 128))
		return -EINVAL;
	*c = (struct addr_config){.scope = m->ifa_scope, .flags = m->ifa_flags};
	c->plen = (uint8_t)(m->ifa_prefixlen + (m->ifa_family == AF_INET ? V4_BITS : 0));
	c->valid = c->preferred = INT64_MAX;
	local = nl_find_addr(r, sizeof(*m), IFA_LOCAL, m->ifa_family, &c->addr);
	if (!nl_find_addr(r, sizeof(*m), IFA_ADDRESS, m->ifa_family, local ? &c->peer : &c->addr) && !local)
		return -EINVAL;
	nl_find_addr(r, sizeof(*m), IFA_BROADCAST, m->ifa_family, &c->broadcast);
	nl_find_u32(r, sizeof(*m), IFA_FLAGS, &c->flags);
	data = nl_find(r, sizeof(*m), IFA_CACHEINFO, sizeof(life), &size);
	if (data) {
		memcpy(&life, data, sizeof(life));
		c->valid = lifetime(life.ifa_valid);
		c->preferred = lifetime(life.ifa_prefered);
	}
	return c->preferred > c->valid || !c->valid ? -EINVAL : 0;
}

int rtnetlink_change_addr(struct stack *s, const struct nlreq *r)
{
	struct addr_config c;
	struct ifaddrmsg m;
	struct netdev *d;
	int err = parse_addr(r, &m, &c);

	if (err)
		return err;
	d = netdev_by_index(s, m.ifa_index);
	if (!d)
		return -ENODEV;
	if (r->h->nlmsg_type == RTM_DELADDR)
		return netdev_del_addr(s, d, &c.addr, c.plen);
	err = netdev_add_addr(s, d, &c);
	if (err != -EEXIST || !(r->h->nlmsg_flags & NLM_F_REPLACE))
		return err;
	err = netdev_del_addr(s, d, &c.addr, c.plen);
	return err ? err : netdev_add_addr(s, d, &c);
}
