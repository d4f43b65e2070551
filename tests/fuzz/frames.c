/*
 * Fuzzes the network stack below the sockets: an input is a list of frames for a configured stack, with endpoints that
 * listen, and of little steps in between. Checksums of frames are mended as often as not, so that what lies behind them
 * is reached.
 *
 *	STEP SIZE_LOW SIZE_HIGH BYTE...		STEP & 7: 0 to 4 a frame, 5 time passes, 6 a datagram is sent, 7 an interface, an address, a rule or a route changes
 *						STEP & 8: mend the checksums; STEP & 16: put the usual Ethernet header in front; 32: a batch
 */
#include <linux/rtnetlink.h>
#include <string.h>

#include "net/packet.h"
#include "net/stack/core.h"
#include "net/stack/dgram.h"
#include "net/stack/nexthop.h"
#include "net/stack/rule.h"
#include "sentry/base/slab.h"
#include "tests/kernel/netbed.h"

#define STEPS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct netbed bed;
static struct udp_sock udp[2];
static struct raw_sock raw[2];
static struct ping_sock ping;

static void hold(struct wakeup *w __unused)
{
}

static void deliver(struct wakeup *w __unused, uint32_t events __unused)
{
}

/* All that a packet socket looks at. */
static void see(struct stack *s __unused, struct netdev_tap *t __unused, struct netdev *dev, const struct pkt *p,
		bool out)
{
	static uint8_t copy[PKT_MAX + ETH_HLEN];
	struct virtio_net_hdr vnet;
	struct packet_frame f;
	struct sockaddr_ll sa;

	packet_frame_init(&f, dev, p, out);
	packet_frame_name(&f, &sa);
	packet_frame_vnet(&f, &vnet);
	packet_frame_copy(&f, 0, copy, MIN(f.len, (uint32_t)sizeof(copy)));
}

static struct netdev_tap tap = {.see = see};

static void set_up(struct dgram *d)
{
	d->wakeup.hold = hold;
	d->wakeup.deliver = deliver;
	d->recverr = true;
}

static void open_all(void)
{
	struct in6_addr any4 = netbed_addr("0.0.0.0"), peer = netbed_addr("2001:db8::2"),
			group = netbed_addr("224.1.2.3");

	udp_init(&udp[0], false);
	udp_init(&udp[1], true);
	ping_init(&ping, false);
	stack_enter(bed.s);
	stack_tap_add(bed.s, &tap);
	raw_open(bed.s, &raw[0], false, IPPROTO_ICMP);
	raw_open(bed.s, &raw[1], true, IPPROTO_ICMPV6);
	set_up(&udp[0].d);
	set_up(&udp[1].d);
	set_up(&raw[0].d);
	set_up(&raw[1].d);
	set_up(&ping.d);
	if (udp_bind(bed.s, &udp[0], &any4, 7, 0) || udp_connect(bed.s, &udp[1], &peer, 7, 0) ||
	    ping_bind(bed.s, &ping, &any4, 7, 0) || dgram_join(bed.s, &udp[0].d, &group, bed.dev->index))
		__builtin_trap();
	stack_leave(bed.s);
}

static void close_all(void)
{
	stack_enter(bed.s);
	for (unsigned i = 0; i < 2; i++) {
		udp_close(bed.s, &udp[i]);
		raw_close(bed.s, &raw[i]);
	}
	ping_close(bed.s, &ping);
	netdev_tap_remove(&tap);
	stack_leave(bed.s);
}

static uint16_t load16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void store(uint8_t *p, uint16_t sum)
{
	memcpy(p, &sum, sizeof(sum));
}

static void mend_transport(uint8_t *p, size_t n, uint8_t protocol, uint32_t sum)
{
	size_t at = protocol == IPPROTO_TCP ? 16 : protocol == IPPROTO_UDP ? 6 : 2;

	if (n < at + 2 || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_ICMP &&
			   protocol != IPPROTO_ICMPV6 && protocol != IPPROTO_IGMP))
		return;
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_IGMP)
		sum = 0;
	if (protocol == IPPROTO_UDP && n < load16(p + 4))
		return;
	store(p + at, 0);
	store(p + at, sum_fold(sum_add(sum, p, protocol == IPPROTO_UDP ? load16(p + 4) : n, false)));
}

static void mend4(uint8_t *p, size_t n)
{
	size_t head = (p[0] & 15) * 4u;
	struct in6_addr src = netbed_addr("0.0.0.0"), dst = src;

	if (head < 20 || head > n)
		return;
	p[0] = (uint8_t)(4 << 4 | head / 4);
	p[2] = (uint8_t)(n >> 8);
	p[3] = (uint8_t)n;
	memcpy(src.s6_addr + 12, p + 12, 4);
	memcpy(dst.s6_addr + 12, p + 16, 4);
	mend_transport(p + head, n - head, p[9], sum_pseudo(&src, &dst, p[9], (uint32_t)(n - head)));
	store(p + 10, 0);
	store(p + 10, sum_fold(sum_add(0, p, head, false)));
}

static void mend6(uint8_t *p, size_t n)
{
	struct in6_addr src, dst;
	size_t head = 40;
	uint8_t next = p[6];

	p[0] = 6 << 4;
	p[4] = (uint8_t)((n - 40) >> 8);
	p[5] = (uint8_t)(n - 40);
	for (unsigned i = 0; i < 4 && (next == 0 || next == 43 || next == 60 || next == 44) && head + 8 <= n; i++) {
		size_t len = next == 44 ? 8 : (p[head + 1] + 1u) * 8;

		next = p[head];
		head += len;
	}
	memcpy(&src, p + 8, 16);
	memcpy(&dst, p + 24, 16);
	if (head < n)
		mend_transport(p + head, n - head, next, sum_pseudo(&src, &dst, next, (uint32_t)(n - head)));
}

/* The frame thrice at once, as segments that might follow each other. */
static void batch(uint8_t *f, size_t n)
{
	struct list l = LIST_INIT(l);

	for (unsigned i = 0; i < 3; i++) {
		struct pkt *p = pkt_from(f, n);

		if (!p)
			break;
		list_append(&l, &p->link);
		/* TCP over IPv4 without options: the next sequence number. */
		if (n > 54 && f[23] == IPPROTO_TCP) {
			f[41] = (uint8_t)(f[41] + n - 54);
			mend4(f + 14, n - 14);
		}
	}
	stack_enter(bed.s);
	netdev_receive_batch(bed.s, bed.dev, &l);
	stack_leave(bed.s);
}

static void frame(uint8_t step, const uint8_t *bytes, size_t n)
{
	static const uint8_t types[][2] = {{8, 0}, {0x86, 0xdd}, {8, 6}};
	uint8_t f[NETBED_FRAME];
	size_t at = 0;

	if (step & 16) {
		memcpy(f, netbed_mac, 6);
		memcpy(f + 6, netbed_peer, 6);
		memcpy(f + 12, types[(step & 7) % 3], 2);
		at = 14;
	}
	n = MIN(n, sizeof(f) - at);
	memcpy(f + at, bytes, n);
	n += at;
	if (step & 8 && n >= 34 && f[12] == 8 && f[13] == 0)
		mend4(f + 14, n - 14);
	else if (step & 8 && n >= 54 && f[12] == 0x86)
		mend6(f + 14, n - 14);
	if (step & 32)
		batch(f, n);
	else
		netbed_input(&bed, f, n);
}

static void send_datagram(const uint8_t *bytes, size_t n)
{
	struct dgram_to to = {.port = 9, .ttl = -1, .tos = -1};
	unsigned which = n ? bytes[0] & 1 : 0;
	struct pkt *p = pkt_from(bytes, n);

	if (!p)
		return;
	if (n > 16)
		memcpy(&to.addr, bytes + 1, 16);
	if (n && bytes[0] & 2)
		to.addr = netbed_addr("10.0.0.9");
	stack_enter(bed.s);
	if (n && bytes[0] & 4)
		(void)!raw_send(bed.s, &raw[which], p, &to);
	else
		(void)!udp_send(bed.s, &udp[which], p, &to);
	pkt_free(dgram_take(&udp[which].d, false));
	pkt_free(dgram_take(&raw[which].d, false));
	dgram_error_free(dgram_take_queued_error(&udp[which].d));
	stack_leave(bed.s);
}

static struct in6_addr addr_any(bool v6)
{
	return v6 ? in6addr_any : netbed_addr("0.0.0.0");
}

/* A rule about whatever the bytes say, in one of three tables. */
static void change_rule(uint8_t what, const uint8_t *bytes, size_t n) REQUIRES(L_NET)
{
	bool v6 = what & 16;
	struct rule_config c = {.v6 = v6,
				.action = n > 20 ? bytes[20] % 8 + 1 : FR_ACT_TO_TBL,
				.src_plen = n > 18 ? (uint8_t)(v6 ? bytes[18] % 129 : 96 + bytes[18] % 33) : 96,
				.dst_plen = v6 ? 0 : 96,
				.src = addr_any(v6),
				.dst = addr_any(v6),
				.has_priority = what & 32,
				.priority = n > 19 ? bytes[19] : 1,
				.target = 40,
				.table = n > 21 ? 252 + bytes[21] % 4 : RT_TABLE_MAIN,
				.flags = what & 64 ? FIB_RULE_INVERT : 0,
				.suppress_plen = n > 22 ? (int8_t)bytes[22] : -1,
				.suppress_group = -1,
				.uid = {0, UINT32_MAX}};

	if (n > 17 && v6)
		memcpy(&c.src, bytes + 1, sizeof(c.src));
	if (n > 23 && bytes[23] & 1)
		c.dport = (struct fib_rule_port_range){1, 1000};
	if (n > 23 && bytes[23] & 2)
		memcpy(c.iif, "eth0", 5);
	if (what & 128)
		(void)!rule_del(bed.s, &c);
	else
		(void)!rule_add(bed.s, &c, bytes[0] & 8);
}

/* One of two ways, or both. */
static void change_route(uint8_t what, const uint8_t *bytes, size_t n) REQUIRES(L_NET)
{
	static const char *const gateways[2][2] = {{"10.0.0.2", "10.0.0.3"}, {"2001:db8::2", "2001:db8::3"}};
	bool v6 = what & 16;
	struct route_config c = {.table = n > 21 ? 252 + bytes[21] % 4 : RT_TABLE_MAIN,
				 .type = n > 22 ? bytes[22] % 10 : RTN_UNICAST,
				 .v6 = v6,
				 .dst = addr_any(v6),
				 .plen = v6 ? 0 : 96,
				 .gateway = netbed_addr(gateways[v6][what >> 5 & 1])};

	if (what & 8 && (c.hops = nexthops_create(2)))
		for (unsigned i = 0; i < 2; i++)
			c.hops->hop[i] = (struct nexthop){NULL, netbed_addr(gateways[v6][i]), 1 + i};
	if (what & 128)
		(void)!route_del(bed.s, &c);
	else
		(void)!route_add(bed.s, &c, n > 23 ? bytes[23] % 32 : ROUTE_USER | ROUTE_APPEND);
	nexthops_free(c.hops);
}

static void change(const uint8_t *bytes, size_t n)
{
	struct addr_config c = {.valid = INT64_MAX, .preferred = INT64_MAX};
	uint8_t what = n ? bytes[0] : 0;

	if (n > 17)
		memcpy(&c.addr, bytes + 1, 16);
	c.plen = n > 17 ? bytes[17] : 128;
	stack_enter(bed.s);
	switch (what & 7) {
	case 0:
		(void)!netdev_set_flags(bed.s, bed.dev, 0, IFF_UP);
		(void)!netdev_set_flags(bed.s, bed.dev, IFF_UP, IFF_UP);
		break;
	case 1:
		(void)!netdev_set_mtu(bed.s, bed.dev, 68 + what * 8u);
		break;
	case 2:
		bed.s->forward4 = bed.s->forward6 = what & 8;
		break;
	case 3:
		(void)!netdev_del_addr(bed.s, bed.dev, &c.addr, c.plen);
		break;
	case 4:
		change_rule(what, bytes, n);
		break;
	case 5:
		change_route(what, bytes, n);
		break;
	default:
		(void)!netdev_add_addr(bed.s, bed.dev, &c);
	}
	stack_leave(bed.s);
}

static size_t live_total;

static void add_live(const struct slab *s, void *arg __unused)
{
	live_total += s->live;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!netbed_init(&bed))
		return 0;
	bed.quiet = true;
	open_all();
	for (unsigned i = 0; size >= 3 && i < STEPS_MAX; i++) {
		uint8_t step = data[0];
		size_t n = MIN((size_t)(data[1] | (data[2] & 7) << 8), size - 3);

		if ((step & 7) <= 4)
			frame(step, data + 3, n);
		else if ((step & 7) == 5)
			netbed_pass(&bed, (int64_t)(n + 1) * 100000000);
		else if ((step & 7) == 6)
			send_datagram(data + 3, n);
		else
			change(data + 3, n);
		data += 3 + n;
		size -= 3 + n;
	}
	netbed_pass(&bed, 70 * NETBED_SECOND);
	close_all();
	netbed_fini(&bed);
	live_total = 0;
	slab_for_each(add_live, NULL);
	if (live_total)
		__builtin_trap();
	return 0;
}
