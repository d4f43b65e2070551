/*
 * nat: see nat.h. Here: its beginning, its end, and who may go where.
 *
 * The two stacks are the ends of a cable (net/stack/veth.h), over which packets of 64 KiB pass by reference, in the thread that sends them. The gateway has
 * addresses on its end, and a route that makes everything else its own: of type local, in the main table, so that the guest's prefix, being longer,
 * still leads to the guest.
 */
#include "net/nat/nat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/nat/flow.h"
#include "net/nat/forbid.h"
#include "net/stack/addr.h"
#include "net/stack/route.h"
#include "net/stack/veth.h"
#include "sentry/base/log.h"
#include "sentry/base/slab.h"

#define PLEN4 (V4_BITS + 24)
#define PLEN6 64
#define BUFFERS (512u << 10)

#define V4(d)                                                                                                          \
	{                                                                                                              \
		.s6_addr = { [10] = 0xff, [11] = 0xff, [12] = 10, [13] = 0, [14] = 2, [15] = d }                       \
	}
/* A unique local prefix (RFC 4193) by dice: a host's own network is hardly the same. */
#define V6(d)                                                                                                          \
	{                                                                                                              \
		.s6_addr = { 0xfd, 0x9c, 0x4f, 0x3a, 0x21, 0xd7, [14] = (d) / 256, [15] = (d) % 256 }                  \
	}
const struct in6_addr nat_guest4 = V4(100), nat_gateway4 = V4(2), nat_dns4 = V4(3);
const struct in6_addr nat_guest6 = V6(0x100), nat_gateway6 = V6(2), nat_dns6 = V6(3);

static struct slab nat_slab = SLAB_INIT(struct nat);

void nat_put(struct nat *n)
{
	if (!ref_put(&n->ref))
		return;
	stack_put(n->s);
	slab_free(&nat_slab, n);
}

void nat_dropped(struct nat *n)
{
	if (n->counters[NAT_DROPPED_FLOWS]++ == 0)
		log_info(
		    "--net nat: %u connections and %u other flows, of %u each at most: one is dropped, and further ones may be",
		    n->stream_count, n->dgram_count, n->flows_max);
}

unsigned nat_clients_max(const struct nat *n)
{
	return n->flows_max - n->flows_max / 4;
}

/* ---- who may go where ---- */

static void log_forbidden(struct nat *n, const struct in6_addr *dst) REQUIRES(L_NET)
{
	char text[INET6_ADDRSTRLEN];

	for (unsigned i = 0; i < n->logged_count; i++)
		if (addr_eq(&n->logged[i], dst))
			return;
	if (n->logged_count == NAT_LOGGED)
		return;
	n->logged[n->logged_count++] = *dst;
	if (addr_is_v4(dst))
		inet_ntop(AF_INET, dst->s6_addr + 12, text, sizeof(text));
	else
		inet_ntop(AF_INET6, dst, text, sizeof(text));
	log_info("the guest may not reach %s by --net nat%s", text,
		 n->logged_count == NAT_LOGGED ? "; further ones are not logged" : "");
}

static bool forbidden(const struct nat *n, const struct in6_addr *dst)
{
	if (n->allow_loopback && addr_is_v4(dst) && addr_is_loopback(dst))
		return false;
	return nat_forbidden(dst);
}

int nat_permit(struct nat *n, const struct nat_flow *id, bool *ret_look)
{
	enum nat_verdict v;

	if (forbidden(n, &id->dst)) {
		n->counters[NAT_FORBIDDEN]++;
		log_forbidden(n, &id->dst);
		return -EACCES;
	}
	v = policy_flow(n->policy, id);
	*ret_look = v == NAT_LOOK && id->protocol == IPPROTO_TCP;
	if (v != NAT_REFUSE)
		return 0;
	n->counters[NAT_REFUSED]++;
	return id->protocol == IPPROTO_TCP ? -ECONNREFUSED : -EACCES;
}

struct in6_addr nat_source(struct nat *n, const struct in6_addr *d)
{
	if (!addr_is_loopback(d) && !addr_is_link_local(d) && ip_is_beyond(n->s, d) && ip_is_local(n->s, d, 0))
		return *d;
	return nat_gateway4;
}

static const struct gateway_ops ops = {
    .syn = stream_syn,
    .established = stream_established,
    .gone = stream_gone,
    .datagram = datagram_input,
    .echo = echo_input,
};

/* ---- beginning ---- */

static int add_addr(struct stack *s, struct netdev *dev, const struct in6_addr *addr, const char *broadcast)
    REQUIRES(L_NET)
{
	bool v4 = addr_is_v4(addr);
	struct addr_config c = {
	    .addr = *addr,
	    .peer = *addr,
	    .plen = v4 ? PLEN4 : PLEN6,
	    .scope = RT_SCOPE_UNIVERSE,
	    .flags = IFA_F_PERMANENT | (v4 ? 0 : IFA_F_NODAD),
	    .valid = INT64_MAX,
	    .preferred = INT64_MAX,
	};

	if (broadcast)
		c.broadcast = addr_from_v4(inet_addr(broadcast));
	return netdev_add_addr(s, dev, &c);
}

static int add_default(struct stack *s, struct netdev *dev, bool v6, const struct in6_addr *gateway) REQUIRES(L_NET)
{
	struct route_config c = {
	    .table = RT_TABLE_MAIN,
	    .type = gateway ? RTN_UNICAST : RTN_LOCAL,
	    .v6 = v6,
	    .dst = v6 ? in6addr_any : addr_from_v4(0),
	    .plen = v6 ? 0 : V4_BITS,
	    .protocol = RTPROT_BOOT,
	    .scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_HOST,
	    .metric = v6 ? 1024 : 0,
	    .dev = dev,
	};

	if (gateway)
		c.gateway = *gateway;
	return route_add(s, &c, ROUTE_EXCL);
}

/* Everything is known here: neither end asks for routers, which would take ten seconds to find that nobody answers. */
static struct netdev *cable_end(struct stack *s, unsigned index) REQUIRES(L_NET)
{
	struct netdev *dev = netdev_by_index(s, index);

	if (dev)
		dev->features |= NETDEV_NO_RA;
	return dev;
}

static int configure_guest(struct stack *s, unsigned index, bool v6)
{
	struct netdev *dev;
	int err = -ENODEV;

	stack_enter(s);
	dev = cable_end(s, index);
	if (dev)
		err = add_addr(s, dev, &nat_guest4, "10.0.2.255");
	err = err ? err : netdev_set_flags(s, dev, IFF_UP, IFF_UP);
	err = err ? err : add_addr(s, dev, &nat_guest6, NULL);
	err = err ? err : add_default(s, dev, false, &nat_gateway4);
	if (v6)
		err = err ? err : add_default(s, dev, true, &nat_gateway6);
	stack_leave(s);
	return err;
}

static int configure_gateway(struct nat *n, unsigned index)
{
	struct stack *s = n->s;
	struct netdev *dev, *lo;
	int err = -ENODEV;

	stack_enter(s);
	lo = netdev_by_index(s, LO_INDEX);
	dev = cable_end(s, index);
	if (dev)
		err = add_addr(s, dev, &nat_gateway4, "10.0.2.255");
	err = err ? err : add_addr(s, dev, &nat_dns4, NULL);
	err = err ? err : netdev_set_flags(s, dev, IFF_UP, IFF_UP);
	err = err ? err : add_addr(s, dev, &nat_gateway6, NULL);
	err = err ? err : add_addr(s, dev, &nat_dns6, NULL);
	err = err ? err : netdev_set_flags(s, lo, IFF_UP, IFF_UP);
	err = err ? err : add_default(s, lo, false, NULL);
	err = err ? err : add_default(s, lo, true, NULL);
	err = err ? err : gateway_begin(s, &ops, n);
	if (!err)
		gateway_buffers(s, BUFFERS);
	stack_leave(s);
	return err;
}

static struct nat *create(const struct nat_config *c)
{
	struct nat *n = slab_alloc(&nat_slab);

	if (!n)
		return NULL;
	ref_init(&n->ref);
	n->s = stack_get(c->gateway);
	n->policy = c->policy;
	n->flows_max = c->flows_max;
	n->allow_loopback = c->allow_loopback;
	list_init(&n->streams);
	for (unsigned i = 0; i < NAT_CHAINS; i++)
		list_init(&n->chains[i]);
	for (unsigned i = 0; i < DGRAM_AGES; i++)
		list_init(&n->ages[i]);
	list_init(&n->ports);
	net_timer_init(&n->age_timer, datagram_age);
	return n;
}

static int connect_stacks(struct nat *n, const struct nat_config *c)
{
	static const uint8_t guest_mac[] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
	static const uint8_t gateway_mac[] = {0x52, 0x55, 0x0a, 0x00, 0x02, 0x02};
	const struct netdev_config inside = {.name = "eth0", .mtu = 1500, .mac = guest_mac};
	const struct netdev_config outside = {.name = "eth0", .mtu = 1500, .mac = gateway_mac};
	unsigned guest, gateway;
	int err = veth_create(c->guest, &inside, c->gateway, &outside, &guest, &gateway);

	err = err ? err : configure_gateway(n, gateway);
	return err ? err : configure_guest(c->guest, guest, c->v6);
}

int nat_start(const struct nat_config *c, struct nat **ret)
{
	struct nat *n = create(c);
	int err;

	if (!n) {
		stack_destroy(c->gateway);
		return -ENOMEM;
	}
	err = connect_stacks(n, c);
	err = err ? err : publish_start(n, c->ports, c->port_count);
	if (err)
		nat_stop(n);
	else
		*ret = n;
	return err;
}

struct stack *nat_gateway(struct nat *n)
{
	return n->s;
}

void nat_stop(struct nat *n)
{
	stack_enter(n->s);
	n->stopped = true;
	stack_leave(n->s);
	publish_stop(n);
	streams_stop(n);
	datagrams_stop(n);
	stack_enter(n->s);
	gateway_end(n->s);
	stack_leave(n->s);
	stack_destroy(n->s);
	buf_put(__atomic_exchange_n((struct buf **)&n->spare, NULL, __ATOMIC_ACQ_REL));
	nat_put(n);
}

uint64_t nat_count(struct nat *n, enum nat_counter c)
{
	uint64_t count;

	stack_enter(n->s);
	count = n->counters[c];
	stack_leave(n->s);
	return count;
}

unsigned nat_flows(struct nat *n)
{
	unsigned count;

	stack_enter(n->s);
	count = n->stream_count + n->dgram_count;
	stack_leave(n->s);
	return count;
}

bool nat_host_has_v6(void)
{
	const struct sockaddr_in6 far = {.sin6_family = AF_INET6, .sin6_port = htons(53), .sin6_addr.s6_addr = {0x20}};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool found = fd >= 0 && connect(fd, (const struct sockaddr *)&far, sizeof(far)) == 0;

	if (fd >= 0)
		close(fd);
	return found;
}
