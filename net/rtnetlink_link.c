/* NETLINK_ROUTE: interfaces and their addresses. rtnetlink(7). */
#include <linux/if_addr.h>
#include <linux/if_link.h>

#include "net/rtnetlink.h"
#include "net/stack/addr.h"
#include "sentry/base/clock.h"

/* Of <linux/if.h>, which does not go with <net/if.h>. */
#define IFF_LOWER_UP (1u << 16)
#define OPER_UNKNOWN 0
#define OPER_DOWN 2
#define OPER_UP 6

#define TX_QUEUE 1000

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

static uint8_t operstate(const struct netdev *d)
{
	if (!(d->flags & IFF_UP))
		return OPER_DOWN;
	return d->flags & IFF_LOOPBACK ? OPER_UNKNOWN : OPER_UP;
}

void rtnetlink_put_link(struct nlbuf *b, const struct netdev *d, uint16_t type, uint16_t flags)
{
	static const uint8_t all_ones[MAC_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, zero[MAC_LEN];
	struct ifinfomsg m = {.ifi_type = d->type, .ifi_index = (int)d->index, .ifi_flags = d->flags};
	size_t msg;

	if (d->flags & IFF_UP)
		m.ifi_flags |= IFF_LOWER_UP;
	msg = nl_begin(b, type, flags, &m, sizeof(m));
	nl_string(b, msg, IFLA_IFNAME, d->name);
	nl_u32(b, msg, IFLA_TXQLEN, TX_QUEUE);
	nl_u8(b, msg, IFLA_OPERSTATE, operstate(d));
	nl_u8(b, msg, IFLA_LINKMODE, 0);
	nl_u32(b, msg, IFLA_MTU, d->mtu);
	nl_u32(b, msg, IFLA_GROUP, 0);
	nl_string(b, msg, IFLA_QDISC, "noqueue");
	nl_attr(b, msg, IFLA_ADDRESS, d->mac, MAC_LEN);
	nl_attr(b, msg, IFLA_BROADCAST, d->flags & IFF_LOOPBACK ? zero : all_ones, MAC_LEN);
	put_stats(b, msg, &d->stats);
}

void rtnetlink_dump_links(struct stack *s, struct nlbuf *b, const struct nlreq *r __unused)
{
	const struct netdev *d = NULL;

	while ((d = netdev_next(s, d ? d->index : 0)))
		rtnetlink_put_link(b, d, RTM_NEWLINK, NLM_F_MULTI);
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
	const struct netdev *d;
	struct ifinfomsg m;

	if (!nl_fixed(r, &m, sizeof(m)))
		return -EINVAL;
	d = find(s, r, &m);
	if (!d)
		return -ENODEV;
	rtnetlink_put_link(b, d, RTM_NEWLINK, 0);
	return 0;
}

static int set_name(struct stack *s, struct netdev *d, const char *data, size_t size) REQUIRES(L_NET)
{
	char name[IFNAMSIZ] = "";

	memcpy(name, data, MIN(size, sizeof(name) - 1));
	if (strcmp(name, d->name) == 0)
		return 0;
	return d->flags & IFF_UP ? -EBUSY : netdev_set_name(s, d, name);
}

int rtnetlink_set_link(struct stack *s, const struct nlreq *r)
{
	struct ifinfomsg m;
	struct netdev *d;
	const char *data;
	uint32_t mtu;
	size_t size;
	int err = 0;

	if (!nl_fixed(r, &m, sizeof(m)))
		return -EINVAL;
	d = find(s, r, &m);
	if (!d)
		return r->h->nlmsg_flags & NLM_F_CREATE ? -EOPNOTSUPP : -ENODEV;
	if (r->h->nlmsg_flags & NLM_F_EXCL)
		return -EEXIST;
	data = nl_find(r, sizeof(m), IFLA_ADDRESS, MAC_LEN, &size);
	if (data && d->flags & IFF_LOOPBACK)
		return -EOPNOTSUPP;
	if (data)
		netdev_set_mac(s, d, (const uint8_t *)data);
	if (nl_find_u32(r, sizeof(m), IFLA_MTU, &mtu))
		err = netdev_set_mtu(s, d, mtu);
	data = nl_find(r, sizeof(m), IFLA_IFNAME, 1, &size);
	if (!err && data)
		err = set_name(s, d, data, size);
	if (!err && (m.ifi_change || m.ifi_flags))
		err = netdev_set_flags(s, d, m.ifi_flags, m.ifi_change ? m.ifi_change : UINT32_MAX);
	return err;
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
