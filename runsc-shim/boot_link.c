/*
 * See boot_link.h. What the launcher has read of the host's interfaces (hostnet.h), or has been told, is applied to the guest's stack by the stack's own
 * calls: what the stack would refuse a guest it refuses here, and a route that cannot be had is named in the log, not fatal.
 *
 * `--net host` has interfaces to be looked at only: the guest's sockets are the host's (net/hostinet.h).
 */
#include "runsc-shim/boot_link.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "net/hostinet.h"
#include "net/link/hostlink.h"
#include "net/netstack.h"
#include "net/stack/addr.h"
#include "net/stack/neigh.h"
#include "net/stack/route.h"
#include "runsc-shim/hostnet.h"
#include "sentry/base/clock.h"
#include "sentry/base/log.h"

static int64_t lifetime(uint32_t seconds)
{
	return seconds == UINT32_MAX ? INT64_MAX : (int64_t)seconds * NSEC_PER_SEC;
}

/* -EEXIST is no error: the stack has made it by itself. */
static int add_addr(struct stack *s, struct netdev *dev, const struct hostnet_addr *a) REQUIRES(L_NET)
{
	struct addr_config c = {.addr = a->addr,
				.peer = addr_is_any(&a->peer) ? a->addr : a->peer,
				.broadcast = a->broadcast,
				.plen = a->plen,
				.scope = a->scope,
				.flags = a->flags & (IFA_F_PERMANENT | IFA_F_NOPREFIXROUTE | IFA_F_DEPRECATED),
				.valid = lifetime(a->valid),
				.preferred = lifetime(a->preferred)};
	int err = netdev_add_addr(s, dev, &c);

	return err == -EEXIST ? 0 : err;
}

/* A gateway that is said to be on the link is made so. */
static int add_onlink(struct stack *s, const struct route_config *c) REQUIRES(L_NET)
{
	struct route_config to = {.table = RT_TABLE_MAIN,
				  .type = RTN_UNICAST,
				  .v6 = c->v6,
				  .dst = c->gateway,
				  .plen = 128,
				  .protocol = c->protocol,
				  .scope = RT_SCOPE_LINK,
				  .metric = c->v6 ? 1024 : 0,
				  .dev = c->dev};
	int err = route_add(s, &to, ROUTE_EXCL);

	return err && err != -EEXIST ? err : route_add(s, c, ROUTE_EXCL);
}

static int add_route(struct stack *s, const struct hostnet_route *r) REQUIRES(L_NET)
{
	struct route_config c = {.table = r->table,
				 .type = r->type,
				 .v6 = r->v6,
				 .dst = r->dst,
				 .plen = r->plen,
				 .protocol = r->protocol,
				 .scope = r->scope,
				 .metric = r->v6 && !r->metric ? 1024 : r->metric,
				 .gateway = r->gateway,
				 .prefsrc = r->prefsrc,
				 .mtu = r->mtu};
	int err;

	c.dev = r->index ? netdev_by_index(s, r->index) : NULL;
	if (r->index && !c.dev)
		return -ENODEV;
	err = route_add(s, &c, ROUTE_EXCL);
	if (err == -ENETUNREACH && r->flags & RTNH_F_ONLINK)
		err = add_onlink(s, &c);
	return err == -EEXIST ? 0 : err;
}

/* What gateways are reached by comes first. */
static void add_routes(struct stack *s, const struct hostnet *h, enum log_level level) REQUIRES(L_NET)
{
	for (int gateways = 0; gateways < 2; gateways++)
		for (size_t i = 0; i < h->route_count; i++) {
			int err = gateways == !addr_is_any(&h->routes[i].gateway) ? add_route(s, &h->routes[i]) : 0;

			if (err)
				log_write(level, "a route of the host's is left out: %s", strerror(-err));
		}
}

static void add_neighs(struct stack *s, const struct hostnet *h) REQUIRES(L_NET)
{
	for (size_t i = 0; i < h->neigh_count; i++) {
		const struct hostnet_neigh *n = &h->neighs[i];
		struct netdev *dev = netdev_by_index(s, n->index);
		uint8_t state = n->state & NUD_PERMANENT ? NUD_PERMANENT : NUD_STALE;
		unsigned flags = NEIGH_CREATE | NEIGH_OVERRIDE | NEIGH_ADMIN;

		if (n->flags & NTF_ROUTER)
			flags |= NEIGH_ROUTER | NEIGH_IS_ROUTER;
		if (dev && neigh_update(s, dev, &n->addr, n->mac, state, flags))
			log_debug("a neighbour of the host's is left out");
	}
}

static bool has_v6(const struct hostnet *h, unsigned index)
{
	for (size_t i = 0; i < h->addr_count; i++)
		if (h->addrs[i].index == index && !addr_is_v4(&h->addrs[i].addr))
			return true;
	return false;
}

/* Addresses of one interface. */
static int add_addrs(struct stack *s, const struct hostnet *h, struct netdev *dev) REQUIRES(L_NET)
{
	int err = 0;

	for (size_t i = 0; !err && i < h->addr_count; i++)
		if (h->addrs[i].index == dev->index)
			err = add_addr(s, dev, &h->addrs[i]);
	return err;
}

static int configure(struct stack *s, const struct hostnet *h, enum log_level level) REQUIRES(L_NET)
{
	int err = 0;

	for (size_t i = 0; !err && i < h->link_count; i++) {
		struct netdev *dev = netdev_by_index(s, h->links[i].index);

		/* First, so that it makes up no link-local one of its own. */
		err = dev ? add_addrs(s, h, dev) : 0;
		if (!err && dev && h->links[i].flags & IFF_UP)
			err = netdev_set_flags(s, dev, IFF_UP, IFF_UP);
	}
	if (err)
		return err;
	add_routes(s, h, level);
	add_neighs(s, h);
	return 0;
}

static int failed(int err, struct error *e)
{
	return error_set(e, EXIT_SANDBOX, -err, NULL, "cannot set up the sandbox's network");
}

/* The one interface gets the guest's index: so does what belongs to it. */
static void renumber(struct hostnet *h, unsigned index)
{
	h->links[0].index = index;
	for (size_t i = 0; i < h->addr_count; i++)
		h->addrs[i].index = index;
	for (size_t i = 0; i < h->route_count; i++)
		h->routes[i].index = index;
	for (size_t i = 0; i < h->neigh_count; i++)
		h->neighs[i].index = index;
}

static int boot_link(const struct net_spec *n, struct error *e)
{
	const struct hostnet_link *l = n->host->links;
	struct netdev_config c = {.name = l->name, .mtu = l->mtu, .mac = l->mac};
	struct stack *s = netstack_of(NULL);
	unsigned index;
	int err;

	/* A namespace where IPv6 is off stays so. */
	if (n->kind == NET_DEVICE && l->flags & IFF_UP && !has_v6(n->host, l->index))
		c.features = NETDEV_NO_V6;
	err = s ? hostlink_create(s, &c, n->link_fd, &index) : -ENOMEM;
	if (err)
		return failed(err, e);
	renumber(n->host, index);
	stack_enter(s);
	err = configure(s, n->host, LOG_WARN);
	stack_leave(s);
	return err ? failed(err, e) : 0;
}

static int boot_host(const struct net_spec *n, struct error *e)
{
	struct stack *s = netstack_of(NULL);
	int err = s ? 0 : -ENOMEM;

	/* Nobody renews here what the host renews. */
	for (size_t i = 0; i < n->host->addr_count; i++)
		n->host->addrs[i].valid = n->host->addrs[i].preferred = UINT32_MAX;
	if (s) {
		stack_enter(s);
		for (size_t i = 0; !err && i < n->host->link_count; i++) {
			const struct hostnet_link *l = &n->host->links[i];

			err = hostinet_add_netdev(s, l->index, l->name, l->flags, l->type, l->mtu, l->mac);
		}
		/* A picture may lack what leads nowhere. */
		err = err ? err : configure(s, n->host, LOG_DEBUG);
		stack_leave(s);
	}
	if (err)
		return failed(err, e);
	hostinet_use();
	return 0;
}

int boot_net_link(const struct net_spec *n, struct error *e)
{
	switch (n->kind) {
	case NET_TAP:
	case NET_DEVICE:
		return boot_link(n, e);
	case NET_HOST:
		return boot_host(n, e);
	default:
		return 0;
	}
}
