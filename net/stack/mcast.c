/*
 * Multicast groups of interfaces, and the reports of them: IGMPv3 (RFC 3376) and MLDv2 (RFC 3810), enough to receive.
 *
 * Memberships are counted. The first of a group is reported at once and, with all others of the interface, once more
 * within a second; the last one's end is reported too. Queries of any version are answered by one report of everything
 * after a random part of the time that they allow. No versions 1 and 2: what a querier of these says is understood as a
 * query, but answered in version 3 or 2 of MLD. 224.0.0.1 and ff02::1 are everybody's and never reported.
 *
 * A group is wanted from all sources as long as one member does, and reported as such even if all of them exclude the
 * same one: what comes too much is filtered at the endpoints (dgram_group.c). If not, the sources that somebody wants
 * are reported.
 */
#include <netinet/icmp6.h>
#include <netinet/igmp.h>
#include <linux/rtnetlink.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/route.h"
#include "sentry/base/slab.h"

#define SECOND 1000000000ll
#define GROUPS_MAX 4096
#define RECORDS_MAX 32 /* in one report */
#define IGMP3_REPORT 0x22
#define MLD2_REPORT 143

#define SOURCES_MAX 64
#define REPORT_SIZE 1200u

enum { IS_INCLUDE = 1, IS_EXCLUDE = 2, TO_INCLUDE = 3, TO_EXCLUDE = 4, ALLOW_NEW = 5, BLOCK_OLD = 6 };

struct group_source {
	struct list link;
	struct in6_addr addr;
	unsigned users;
};

struct group {
	struct list link;
	struct in6_addr addr;
	unsigned users; /* from all sources */
	unsigned source_count;
	struct list sources; /* struct group_source */
};

static struct slab group_slab = SLAB_INIT(struct group);
static struct slab source_slab = SLAB_INIT(struct group_source);

static struct group *find(const struct netdev *dev, const struct in6_addr *addr)
{
	struct group *g;

	list_for_each(g, &dev->groups, link)
		if (addr_eq(&g->addr, addr))
			return g;
	return NULL;
}

static bool everybodys(const struct in6_addr *a)
{
	static const struct in6_addr nodes = {.s6_addr = {0xff, 2, [15] = 1}}, own = {.s6_addr = {0xff, 1, [15] = 1}};

	return addr_is_v4(a) ? addr_v4(a) == htonl(INADDR_ALLHOSTS_GROUP) : addr_eq(a, &nodes) || addr_eq(a, &own);
}

bool mcast_member(const struct netdev *dev, const struct in6_addr *addr)
{
	return everybodys(addr) || find(dev, addr);
}

/* ---- reports ---- */

static void send4(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET)
{
	static const uint8_t router_alert[4] = {148, 4, 0, 0};
	struct in6_addr routers = addr_from_v4(htonl(0xe0000016)), src;
	struct ip_out o = {.dst = routers,
			   .protocol = IPPROTO_IGMP,
			   .ttl = 1,
			   .tos = 0xc0,
			   .no_loop = true,
			   .dont_fragment = true,
			   .options_len = sizeof(router_alert),
			   .options = router_alert};
	struct ip_route r = {
	    .dev = dev, .mtu = dev->mtu, .generation = s->route_generation, .type = RTN_MULTICAST, .next_hop = routers};

	r.src = route_source(s, dev, &routers, &src) ? src : addr_from_v4(0);
	ip4_output(s, p, &o, &r);
}

static void send6(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET)
{
	static const uint8_t router_alert[8] = {IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0};
	struct in6_addr routers = {.s6_addr = {0xff, 2, [15] = 0x16}}, src;
	struct ip_out o = {.dst = routers, .protocol = IPPROTO_HOPOPTS, .ttl = 1, .no_loop = true};
	struct ip_route r = {
	    .dev = dev, .mtu = dev->mtu, .generation = s->route_generation, .type = RTN_MULTICAST, .next_hop = routers};
	uint8_t *h = p->room + p->head;
	uint16_t sum;
	void *hop;

	r.src = route_source(s, dev, &routers, &src) && IN6_IS_ADDR_LINKLOCAL(&src) ? src : in6addr_any;
	sum = sum_fold(sum_pkt(sum_pseudo(&r.src, &routers, IPPROTO_ICMPV6, p->len), p, 0));
	memcpy(h + 2, &sum, sizeof(sum));
	hop = pkt_push(p, sizeof(router_alert));
	if (!hop) {
		pkt_free(p);
		return;
	}
	memcpy(hop, router_alert, sizeof(router_alert));
	mib_add(s, MIB_ICMP6_OUT_MSGS, 1);
	mib_add(s, MIB_ICMP6_OUT_MLDV2_REPORTS, 1);
	ip6_output(s, p, &o, &r);
}

/* The header in front of `count` records, and away. Takes b, whose records begin at 0. */
static void send_report(struct stack *s, struct netdev *dev, struct buf *b, unsigned count, bool v4) REQUIRES(L_NET)
{
	struct pkt *p = pkt_create();
	uint8_t *h = p && pkt_append(p, b, 0, b->used) ? pkt_push(p, 8) : NULL;
	uint16_t sum;

	buf_put(b);
	if (!h) {
		pkt_free(p);
		return;
	}
	memset(h, 0, 8);
	h[0] = v4 ? IGMP3_REPORT : MLD2_REPORT;
	h[7] = (uint8_t)count;
	if (!v4) {
		send6(s, dev, p);
		return;
	}
	sum = sum_fold(sum_pkt(0, p, 0));
	memcpy(h + 2, &sum, sizeof(sum));
	send4(s, dev, p);
}

static void put_addr(struct buf *b, const struct in6_addr *addr)
{
	size_t size = addr_is_v4(addr) ? 4 : 16;

	memcpy(b->data + b->used, addr->s6_addr + 16 - size, size);
	b->used += (uint32_t)size;
}

/* With sources: room for them must be there. */
static void put_record(struct buf *b, const struct in6_addr *addr, uint8_t type, unsigned sources)
{
	uint8_t *r = b->data + b->used;

	memset(r, 0, 4);
	r[0] = type;
	r[3] = (uint8_t)sources;
	b->used += 4;
	put_addr(b, addr);
}

static void put_group(struct buf *b, const struct group *g, uint8_t type)
{
	const struct group_source *src;

	put_record(b, &g->addr, type, g->source_count);
	list_for_each(src, &g->sources, link)
		put_addr(b, &src->addr);
}

static uint32_t record_size(const struct group *g)
{
	return 4 + (addr_is_v4(&g->addr) ? 4 : 16) * (1 + (g->users ? 0 : g->source_count));
}

static bool reports(const struct netdev *dev, const struct in6_addr *addr)
{
	return dev->flags & IFF_UP && dev->features & NETDEV_ETHER && !everybodys(addr) &&
	       (addr_is_v4(addr) || (!(dev->features & NETDEV_NO_V6) && (addr->s6_addr[1] & 15) > 1));
}

/* source: NULL, or the one that the record is about. */
static void report_one(struct stack *s, struct netdev *dev, const struct in6_addr *addr, uint8_t type,
		       const struct in6_addr *source) REQUIRES(L_NET)
{
	struct buf *b = reports(dev, addr) ? buf_create(36) : NULL;

	if (!b)
		return;
	put_record(b, addr, type, source != NULL);
	if (source)
		put_addr(b, source);
	send_report(s, dev, b, 1, addr_is_v4(addr));
}

static void report_all(struct stack *s, struct netdev *dev, bool v4) REQUIRES(L_NET)
{
	struct buf *b = NULL;
	unsigned count = 0;
	struct group *g;

	list_for_each(g, &dev->groups, link) {
		if (addr_is_v4(&g->addr) != v4 || !reports(dev, &g->addr))
			continue;
		if (b && (count == RECORDS_MAX || b->used + record_size(g) > REPORT_SIZE)) {
			send_report(s, dev, take(b), count, v4);
			count = 0;
		}
		if (!b && !(b = buf_create(REPORT_SIZE)))
			return;
		if (g->users)
			put_record(b, &g->addr, IS_EXCLUDE, 0);
		else
			put_group(b, g, IS_INCLUDE);
		count++;
	}
	if (b)
		send_report(s, dev, b, count, v4);
}

void mcast_report_timer(struct stack *s, struct net_timer *t)
{
	struct netdev *dev = container_of(t, struct netdev, report_timer);

	report_all(s, dev, true);
	report_all(s, dev, false);
}

/* All groups will be reported within that time. */
static void report_soon(struct stack *s, struct netdev *dev, int64_t within) REQUIRES(L_NET)
{
	int64_t at = s->now + (int64_t)(stack_random32(s) % (uint32_t)MAX(within / 1000000, 1)) * 1000000;

	if (!(dev->features & NETDEV_ETHER) ||
	    (net_timer_armed(&dev->report_timer) && dev->report_timer.deadline <= at))
		return;
	net_timer_arm(s, &dev->report_timer, at);
}

void mcast_join_all(struct stack *s, struct netdev *dev)
{
	if (!list_empty(&dev->groups))
		report_soon(s, dev, SECOND);
}

/* ---- memberships ---- */

/* What there is, or a new one that nobody uses. */
static int need(struct stack *s, struct netdev *dev, const struct in6_addr *addr, struct group **ret) REQUIRES(L_NET)
{
	struct group *g = find(dev, addr);

	*ret = g;
	if (g)
		return 0;
	if (dev->group_count == GROUPS_MAX)
		return -ENOBUFS;
	*ret = g = slab_alloc(&group_slab);
	if (!g)
		return -ENOMEM;
	g->addr = *addr;
	list_init(&g->sources);
	list_append(&dev->groups, &g->link);
	dev->group_count++;
	if (dev->ops->changed)
		dev->ops->changed(s, dev);
	return 0;
}

static void report_change(struct stack *s, struct netdev *dev, const struct in6_addr *addr, uint8_t type,
			  const struct in6_addr *source) REQUIRES(L_NET)
{
	if (!reports(dev, addr))
		return;
	report_one(s, dev, addr, type, source);
	report_soon(s, dev, SECOND);
}

int mcast_join(struct stack *s, struct netdev *dev, const struct in6_addr *addr)
{
	struct group *g;
	int err = need(s, dev, addr, &g);

	if (!err && g->users++ == 0)
		report_change(s, dev, addr, TO_EXCLUDE, NULL);
	return err;
}

static void drop(struct netdev *dev, struct group *g)
{
	struct group_source *src;

	while ((src = list_first(&g->sources, struct group_source, link))) {
		list_remove(&src->link);
		slab_free(&source_slab, src);
	}
	list_remove(&g->link);
	dev->group_count--;
	slab_free(&group_slab, g);
}

/* Nobody wants it from all sources; goes if nobody wants it at all. */
static void drop_unused(struct stack *s, struct netdev *dev, struct group *g) REQUIRES(L_NET)
{
	if (g->users || g->source_count)
		return;
	drop(dev, g);
	if (dev->ops->changed)
		dev->ops->changed(s, dev);
}

static void report_sources(struct stack *s, struct netdev *dev, const struct group *g) REQUIRES(L_NET)
{
	struct buf *b = reports(dev, &g->addr) ? buf_create(REPORT_SIZE) : NULL;

	if (!b)
		return;
	put_group(b, g, TO_INCLUDE);
	send_report(s, dev, b, 1, addr_is_v4(&g->addr));
}

int mcast_leave(struct stack *s, struct netdev *dev, const struct in6_addr *addr)
{
	struct group *g = find(dev, addr);

	if (!g || !g->users)
		return -EADDRNOTAVAIL;
	if (--g->users)
		return 0;
	report_sources(s, dev, g);
	drop_unused(s, dev, g);
	return 0;
}

static struct group_source *find_source(const struct group *g, const struct in6_addr *source)
{
	struct group_source *src;

	list_for_each(src, &g->sources, link)
		if (addr_eq(&src->addr, source))
			return src;
	return NULL;
}

static int add_source(struct group *g, const struct in6_addr *source)
{
	struct group_source *src = g->source_count < SOURCES_MAX ? slab_alloc(&source_slab) : NULL;

	if (!src)
		return g->source_count < SOURCES_MAX ? -ENOMEM : -ENOBUFS;
	src->addr = *source;
	src->users = 1;
	list_append(&g->sources, &src->link);
	g->source_count++;
	return 0;
}

int mcast_join_source(struct stack *s, struct netdev *dev, const struct in6_addr *addr, const struct in6_addr *source)
{
	struct group_source *src;
	struct group *g;
	int err = need(s, dev, addr, &g);

	if (err)
		return err;
	src = find_source(g, source);
	if (src) {
		src->users++;
		return 0;
	}
	err = add_source(g, source);
	if (err)
		drop_unused(s, dev, g);
	else if (!g->users)
		report_change(s, dev, addr, ALLOW_NEW, source);
	return err;
}

void mcast_leave_source(struct stack *s, struct netdev *dev, const struct in6_addr *addr, const struct in6_addr *source)
{
	struct group *g = find(dev, addr);
	struct group_source *src = g ? find_source(g, source) : NULL;

	if (!src || --src->users)
		return;
	list_remove(&src->link);
	slab_free(&source_slab, src);
	g->source_count--;
	if (!g->users)
		report_one(s, dev, addr, BLOCK_OLD, source);
	drop_unused(s, dev, g);
}

void mcast_drop_all(struct stack *s __unused, struct netdev *dev)
{
	struct group *g;

	while ((g = list_first(&dev->groups, struct group, link)))
		drop(dev, g);
}

void mcast_each(const struct netdev *dev, void (*fn)(void *arg, const struct in6_addr *addr, unsigned users), void *arg)
{
	static const struct in6_addr nodes = {.s6_addr = {0xff, 2, [15] = 1}},
				     of_host = {.s6_addr = {0xff, 1, [15] = 1}};
	const struct in6_addr hosts = addr_from_v4(htonl(INADDR_ALLHOSTS_GROUP));
	bool v6 = !(dev->features & NETDEV_NO_V6);

	for (const struct list *at = dev->groups.prev; at != &dev->groups; at = at->prev) {
		const struct group *g = list_entry(at, struct group, link);

		fn(arg, &g->addr, g->users ? g->users : g->source_count);
	}
	if (!(dev->flags & IFF_UP))
		return;
	fn(arg, &hosts, 1);
	if (v6) {
		fn(arg, &nodes, 1);
		fn(arg, &of_host, 1);
	}
}

/* ---- queries ---- */

/* Tenths of a second or milliseconds, with a floating-point form for large values. */
static int64_t max_response(uint32_t code, unsigned mantissa_bits)
{
	uint32_t limit = 1u << (mantissa_bits + 3), mantissa = code & ((1u << mantissa_bits) - 1);

	if (code < limit)
		return code;
	return (int64_t)(mantissa | 1u << mantissa_bits) << (((code >> mantissa_bits) & 7) + 3);
}

void igmp_input(struct stack *s, struct pkt *p, const struct ip_in *in)
{
	uint8_t h[8];

	if (pkt_copy(p, 0, h, sizeof(h)) && sum_fold(sum_pkt(0, p, 0)) == 0 && h[0] == IGMP_MEMBERSHIP_QUERY &&
	    in->broadcast)
		report_soon(s, in->dev, max_response(h[1] ? h[1] : 100, 4) * (SECOND / 10));
	pkt_free(p);
}

void mld_input(struct stack *s, struct pkt *p, const struct ip_in *in)
{
	uint8_t h[24];

	if (!pkt_copy(p, 0, h, sizeof(h)) || !IN6_IS_ADDR_LINKLOCAL(&in->src) || in->ttl != 1)
		return;
	report_soon(s, in->dev, max_response((uint32_t)h[4] << 8 | h[5], 12) * (SECOND / 1000));
}
