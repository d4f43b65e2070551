/*
 * NETLINK_ROUTE: neighbours. rtnetlink(7), ip-neighbour(8); and what bridges have learnt.
 */
#include <linux/neighbour.h>

#include "net/rtnetlink.h"
#include "net/stack/addr.h"
#include "net/stack/bridge.h"
#include "net/stack/neigh.h"

struct dump {
	struct nlbuf *b;
	uint8_t family;
};

void rtnetlink_put_neigh(struct nlbuf *b, const struct neigh *n, uint16_t type, uint16_t flags)
{
	struct ndmsg m = {.ndm_family = addr_is_v4(&n->addr) ? AF_INET : AF_INET6,
			  .ndm_ifindex = (int)n->dev->index,
			  .ndm_state = n->state,
			  .ndm_flags = n->router ? NTF_ROUTER : 0,
			  .ndm_type = RTN_UNICAST};
	struct nda_cacheinfo cache = {0};
	size_t msg = nl_begin(b, type, flags, &m, sizeof(m));

	nl_addr(b, msg, NDA_DST, &n->addr);
	if (n->state & ~(NUD_INCOMPLETE | NUD_FAILED))
		nl_attr(b, msg, NDA_LLADDR, n->mac, MAC_LEN);
	nl_u32(b, msg, NDA_PROBES, n->probes);
	nl_attr(b, msg, NDA_CACHEINFO, &cache, sizeof(cache));
}

static bool put_one_neigh(void *arg, const struct neigh *n)
{
	struct dump *d = arg;

	if (d->family == AF_UNSPEC || d->family == (addr_is_v4(&n->addr) ? AF_INET : AF_INET6))
		rtnetlink_put_neigh(d->b, n, RTM_NEWNEIGH, NLM_F_MULTI);
	return !d->b->failed;
}

/* What a bridge has learnt: bridge(8) fdb. */
static bool put_fdb(void *arg, const struct bridge_entry *e) REQUIRES(L_NET)
{
	struct nlbuf *b = arg;
	struct ndmsg m = {.ndm_family = AF_BRIDGE, .ndm_ifindex = (int)e->port->index, .ndm_state = NUD_REACHABLE};
	size_t msg = nl_begin(b, RTM_NEWNEIGH, NLM_F_MULTI, &m, sizeof(m));

	nl_attr(b, msg, NDA_LLADDR, e->mac, MAC_LEN);
	nl_u32(b, msg, NDA_MASTER, bridge_of(e->port)->index);
	return !b->failed;
}

static void dump_fdb(struct stack *s, struct nlbuf *b) REQUIRES(L_NET)
{
	struct netdev *d = NULL;

	while ((d = netdev_next(s, d ? d->index : 0)))
		if (netdev_is_bridge(d))
			bridge_each(s, d, put_fdb, b);
}

void rtnetlink_dump_neighs(struct stack *s, struct nlbuf *b, const struct nlreq *r)
{
	struct dump d = {.b = b, .family = r->size ? (uint8_t)r->data[0] : AF_UNSPEC};

	if (d.family == AF_BRIDGE) {
		dump_fdb(s, b);
		return;
	}
	neigh_each(s, put_one_neigh, &d);
}

int rtnetlink_change_neigh(struct stack *s, const struct nlreq *r)
{
	unsigned flags = NEIGH_OVERRIDE | NEIGH_ADMIN;
	struct in6_addr addr;
	struct netdev *d;
	const char *mac;
	struct ndmsg m;
	size_t size;

	if (!nl_fixed(r, &m, sizeof(m)) || (m.ndm_family != AF_INET && m.ndm_family != AF_INET6) ||
	    !nl_find_addr(r, sizeof(m), NDA_DST, m.ndm_family, &addr))
		return -EINVAL;
	d = netdev_by_index(s, (unsigned)MAX(m.ndm_ifindex, 0));
	if (!d)
		return -ENODEV;
	if (r->h->nlmsg_type == RTM_DELNEIGH)
		return neigh_del(s, d, &addr);
	mac = nl_find(r, sizeof(m), NDA_LLADDR, MAC_LEN, &size);
	if (r->h->nlmsg_flags & NLM_F_EXCL && neigh_find(s, d, &addr))
		return -EEXIST;
	if (r->h->nlmsg_flags & NLM_F_CREATE)
		flags |= NEIGH_CREATE;
	return neigh_update(s, d, &addr, (const uint8_t *)mac, m.ndm_state ? (uint8_t)m.ndm_state : NUD_PERMANENT,
			    flags);
}
