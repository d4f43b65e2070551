/*
 * See netbed.h. Frames are made and read here with code of their own, not the stack's, so that both would have to be
 * wrong alike.
 */
#include "tests/kernel/netbed.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "net/stack/neigh.h"
#include "net/stack/route.h"

const uint8_t netbed_mac[6] = {2, 0, 0, 0, 0, 1}, netbed_peer[6] = {2, 0, 0, 0, 0, 2};

struct in6_addr netbed_addr(const char *text)
{
	struct in6_addr a = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	if (strchr(text, ':'))
		inet_pton(AF_INET6, text, &a);
	else
		inet_pton(AF_INET, text, a.s6_addr + 12);
	return a;
}

/* ---- the stack's surroundings ---- */

static int64_t env_now(void *arg)
{
	return ((struct netbed *)arg)->now;
}

static void env_random(void *arg, void *to, size_t n)
{
	struct netbed *b = arg;

	for (size_t i = 0; i < n; i++) {
		b->seed = b->seed * 6364136223846793005u + 1442695040888963407u;
		((uint8_t *)to)[i] = (uint8_t)(b->seed >> 40);
	}
}

static void env_wake_at(void *arg, int64_t deadline)
{
	((struct netbed *)arg)->wish = deadline;
}

static int transmit(struct stack *s __unused, struct netdev *dev, struct pkt *p)
{
	struct netbed *b = dev->priv;

	b->sent_count++;
	if (b->quiet)
		pkt_free(p);
	else
		list_append(&b->sent, &p->link);
	return 0;
}

static int add_addr(struct netbed *b, const char *addr, uint8_t plen) REQUIRES(L_NET)
{
	struct addr_config c = {.addr = netbed_addr(addr), .plen = plen, .valid = INT64_MAX, .preferred = INT64_MAX};

	return netdev_add_addr(b->s, b->dev, &c);
}

static int add_gateway(struct netbed *b, const char *gateway) REQUIRES(L_NET)
{
	struct in6_addr via = netbed_addr(gateway);
	struct route_config c = {.table = RT_TABLE_MAIN, .type = RTN_UNICAST, .gateway = via};

	c.v6 = !IN6_IS_ADDR_V4MAPPED(&via);
	c.dst = c.v6 ? in6addr_any : netbed_addr("0.0.0.0");
	c.plen = c.v6 ? 0 : 96;
	return route_add(b->s, &c, ROUTE_EXCL);
}

static int add_neighbour(struct netbed *b, const char *addr) REQUIRES(L_NET)
{
	struct in6_addr a = netbed_addr(addr);

	return neigh_update(b->s, b->dev, &a, netbed_peer, NUD_PERMANENT, NEIGH_CREATE | NEIGH_ADMIN);
}

static int configure(struct netbed *b) REQUIRES(L_NET)
{
	static const struct link_ops ops = {.transmit = transmit};
	const struct netdev_config c = {.name = "eth%d",
					.type = ARPHRD_ETHER,
					.flags = IFF_BROADCAST | IFF_MULTICAST,
					.features = NETDEV_ETHER,
					.mtu = 1500,
					.mac = netbed_mac,
					.ops = &ops,
					.priv = b};
	int err = netdev_create(b->s, &c, &b->dev);

	err = err ? err : netdev_set_flags(b->s, netdev_by_index(b->s, LO_INDEX), IFF_UP, IFF_UP);
	err = err ? err : netdev_set_flags(b->s, b->dev, IFF_UP, IFF_UP);
	err = err ? err : add_addr(b, "10.0.0.1", 120);
	err = err ? err : add_addr(b, "2001:db8::1", 64);
	err = err ? err : add_gateway(b, "10.0.0.254");
	err = err ? err : add_gateway(b, "2001:db8::fe");
	err = err ? err : add_neighbour(b, "10.0.0.2");
	err = err ? err : add_neighbour(b, "10.0.0.254");
	err = err ? err : add_neighbour(b, "2001:db8::2");
	return err ? err : add_neighbour(b, "2001:db8::fe");
}

bool netbed_init(struct netbed *b)
{
	const struct stack_env env = {env_now, env_random, env_wake_at, b};
	int err;

	*b = (struct netbed){.now = 1000 * NETBED_SECOND, .wish = INT64_MAX, .seed = 1};
	list_init(&b->sent);
	b->s = stack_create(&env);
	if (!b->s)
		return false;
	stack_enter(b->s);
	err = configure(b);
	stack_leave(b->s);
	/* Group reports and router solicitations of the beginning. */
	netbed_pass(b, 20 * NETBED_SECOND);
	netbed_drop_output(b);
	if (!err)
		return true;
	netbed_fini(b);
	return false;
}

void netbed_fini(struct netbed *b)
{
	netbed_drop_output(b);
	stack_destroy(b->s);
	b->s = NULL;
	netbed_drop_output(b);
}

void netbed_input(struct netbed *b, const void *frame, size_t n)
{
	struct pkt *p = pkt_from(frame, n);

	if (!p)
		return;
	stack_enter(b->s);
	netdev_receive(b->s, b->dev, p);
	stack_leave(b->s);
}

void netbed_pass(struct netbed *b, int64_t ns)
{
	int64_t end = b->now + ns;

	while (b->wish <= end) {
		b->now = b->wish > b->now ? b->wish : b->now;
		b->wish = INT64_MAX;
		stack_run(b->s);
	}
	b->now = end;
}

void netbed_drop_output(struct netbed *b)
{
	pkt_free_all(&b->sent);
}

size_t netbed_output_bytes(struct netbed *b, uint8_t *to, size_t room)
{
	struct pkt *p = list_first(&b->sent, struct pkt, link);
	size_t n = 0;

	if (!p)
		return 0;
	list_remove(&p->link);
	if (p->len <= room && pkt_copy(p, 0, to, p->len))
		n = p->len;
	pkt_free(p);
	return n;
}

/* ---- making frames ---- */

static uint32_t add_up(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	return sum;
}

static uint16_t finish(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t pseudo(const uint8_t *src, const uint8_t *dst, size_t size, uint8_t protocol, size_t n)
{
	return add_up(add_up(0, src, size), dst, size) + protocol + (uint32_t)(n & 0xffff) + (uint32_t)(n >> 16);
}

/* The transport header; its length, and where its checksum is. */
static size_t put_transport(const struct netbed_packet *p, uint8_t *to, size_t *ret_sum_at)
{
	bool ports = p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_TCP;
	size_t n = p->protocol == IPPROTO_TCP ? 20 : 8;

	memset(to, 0, n);
	*ret_sum_at = p->protocol == IPPROTO_TCP ? 16 : p->protocol == IPPROTO_UDP ? 6 : 2;
	if (ports) {
		put16(to, p->sport);
		put16(to + 2, p->dport);
		if (p->protocol == IPPROTO_TCP)
			to[12] = 5 << 4;
		else
			put16(to + 4, (unsigned)(8 + p->size));
		return n;
	}
	to[0] = p->type;
	to[1] = p->code;
	put16(to + 4, p->rest ? p->rest >> 16 : p->sport);
	put16(to + 6, p->rest ? p->rest : p->dport);
	return n;
}

static size_t put_payload(const struct netbed_packet *p, uint8_t *to, const uint8_t *src, const uint8_t *dst,
			  size_t addr_size)
{
	size_t sum_at = 0, head = p->bare ? 0 : put_transport(p, to, &sum_at);
	uint32_t sum = p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_IGMP
			   ? 0
			   : pseudo(src, dst, addr_size, p->protocol, head + p->size);

	for (size_t i = 0; i < p->size; i++)
		to[head + i] = p->data ? ((const uint8_t *)p->data)[i] : (uint8_t)i;
	if (!p->bare && !p->no_sum)
		put16(to + sum_at, finish(add_up(sum, to, head + p->size)) ^ p->bad_sum);
	return head + p->size;
}

static size_t put_ip4(const struct netbed_packet *p, uint8_t *to)
{
	struct in6_addr src = netbed_addr(p->src), dst = netbed_addr(p->dst);
	size_t head = 20 + p->options_size, n;

	memset(to, 0, 20);
	to[0] = (uint8_t)(4 << 4 | head / 4);
	to[1] = p->tos;
	put16(to + 4, p->id);
	put16(to + 6, p->frag);
	to[8] = p->ttl ? p->ttl : 64;
	to[9] = p->protocol;
	memcpy(to + 12, src.s6_addr + 12, 4);
	memcpy(to + 16, dst.s6_addr + 12, 4);
	if (p->options_size)
		memcpy(to + 20, p->options, p->options_size);
	n = head + put_payload(p, to + head, to + 12, to + 16, 4);
	put16(to + 2, (unsigned)n);
	put16(to + 10, finish(add_up(0, to, head)));
	return n;
}

static size_t put_ip6(const struct netbed_packet *p, uint8_t *to)
{
	struct in6_addr src = netbed_addr(p->src), dst = netbed_addr(p->dst);
	bool fragment = p->id || p->frag;
	size_t n = 40;

	memset(to, 0, 48);
	to[0] = (uint8_t)(6 << 4 | p->tos >> 4);
	to[1] = (uint8_t)(p->tos << 4);
	to[6] = p->options_size ? p->first_ext : fragment ? IPPROTO_FRAGMENT : p->protocol;
	to[7] = p->ttl ? p->ttl : 64;
	memcpy(to + 8, &src, 16);
	memcpy(to + 24, &dst, 16);
	if (p->options_size)
		memcpy(to + n, p->options, p->options_size);
	n += p->options_size;
	if (fragment) {
		memset(to + n, 0, 8);
		to[n] = p->protocol;
		put16(to + n + 2, p->frag);
		put16(to + n + 6, p->id);
		n += 8;
	}
	n += put_payload(p, to + n, src.s6_addr, dst.s6_addr, 16);
	put16(to + 4, (unsigned)(n - 40));
	return n;
}

size_t netbed_frame(const struct netbed_packet *p, uint8_t *to)
{
	struct in6_addr dst = netbed_addr(p->dst);
	bool v6 = !IN6_IS_ADDR_V4MAPPED(&dst);
	size_t link = p->no_link ? 0 : 14;

	if (link) {
		memcpy(to, netbed_mac, 6);
		if (p->to_all)
			memset(to, 0xff, 6);
		memcpy(to + 6, netbed_peer, 6);
		put16(to + 12, v6 ? 0x86dd : 0x0800);
	}
	return link + (v6 ? put_ip6(p, to + link) : put_ip4(p, to + link));
}

void netbed_send(struct netbed *b, const struct netbed_packet *p)
{
	uint8_t frame[NETBED_FRAME];

	netbed_input(b, frame, netbed_frame(p, frame));
}

size_t netbed_arp(uint8_t *to, uint16_t op, const char *from, const char *target, const uint8_t *mac, bool all)
{
	static const uint8_t fixed[] = {8, 6, 0, 1, 8, 0, 6, 4, 0};
	struct in6_addr f = netbed_addr(from), t = netbed_addr(target);

	memset(to, 0, 42);
	memcpy(to, netbed_mac, 6);
	if (all)
		memset(to, 0xff, 6);
	memcpy(to + 6, mac, 6);
	memcpy(to + 12, fixed, sizeof(fixed));
	to[21] = (uint8_t)op;
	memcpy(to + 22, mac, 6);
	memcpy(to + 28, f.s6_addr + 12, 4);
	memcpy(to + 38, t.s6_addr + 12, 4);
	return 42;
}

/* ---- reading frames ---- */

struct text {
	char *at;
	size_t left;
};

static void say(struct text *t, const char *fmt, ...) __printf(2, 3);
static void say(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->at, t->left, fmt, ap);
	va_end(ap);
	n = n < 0 ? 0 : (size_t)n >= t->left ? (int)t->left - 1 : n;
	t->at += n;
	t->left -= (size_t)n;
}

static const char *addr_text(const uint8_t *a, bool v6, char *to)
{
	inet_ntop(v6 ? AF_INET6 : AF_INET, a, to, INET6_ADDRSTRLEN);
	return to;
}

static void say_icmp6(struct text *t, const uint8_t *p, size_t n)
{
	char a[INET6_ADDRSTRLEN];

	if ((p[0] == 135 || p[0] == 136) && n >= 24)
		say(t, "icmp6 %u for %s flags %x", p[0], addr_text(p + 8, true, a), p[4]);
	else
		say(t, "icmp6 %u/%u %u.%u, %zu bytes", p[0], p[1], get16(p + 4), get16(p + 6), n - 8);
}

static void say_transport(struct text *t, uint8_t protocol, const uint8_t *p, size_t n, uint32_t sum)
{
	if (protocol == IPPROTO_UDP && n >= 8) {
		say(t, "udp %u > %u, %zu bytes", get16(p), get16(p + 2), n - 8);
		if (get16(p + 4) != n || (get16(p + 6) && finish(add_up(sum, p, n))))
			say(t, " BAD");
		return;
	}
	if (protocol == IPPROTO_ICMP && n >= 8)
		say(t, "icmp %u/%u %u.%u, %zu bytes", p[0], p[1], get16(p + 4), get16(p + 6), n - 8);
	else if (protocol == IPPROTO_ICMPV6 && n >= 8)
		say_icmp6(t, p, n);
	else if (protocol == IPPROTO_IGMP && n >= 16)
		say(t, "igmp %x, %u records, first %u %u.%u.%u.%u", p[0], get16(p + 6), p[8], p[12], p[13], p[14],
		    p[15]);
	else
		say(t, "protocol %u, %zu bytes", protocol, n);
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_IGMP)
		sum = 0;
	if ((protocol == IPPROTO_ICMP || protocol == IPPROTO_IGMP || protocol == IPPROTO_ICMPV6) &&
	    finish(add_up(sum, p, n)))
		say(t, " BAD");
}

static void say_ip4(struct text *t, const uint8_t *p, size_t n)
{
	char a[INET6_ADDRSTRLEN], c[INET6_ADDRSTRLEN];
	size_t head = (p[0] & 15) * 4u;
	unsigned frag = get16(p + 6);

	say(t, "%s > %s: ", addr_text(p + 12, false, a), addr_text(p + 16, false, c));
	if (n < head || get16(p + 2) != n || finish(add_up(0, p, head)))
		say(t, "BAD HEADER ");
	if (p[8] != 64)
		say(t, "ttl %u ", p[8]);
	if (frag & 0x3fff)
		say(t, "fragment %u%s, %zu bytes", (frag & 0x1fff) * 8, frag & 0x2000 ? "+" : "", n - head);
	else
		say_transport(t, p[9], p + head, n - head, pseudo(p + 12, p + 16, 4, p[9], n - head));
}

static void say_ip6(struct text *t, const uint8_t *p, size_t n)
{
	char a[INET6_ADDRSTRLEN], c[INET6_ADDRSTRLEN];
	size_t head = 40;
	uint8_t next = p[6];

	say(t, "%s > %s: ", addr_text(p + 8, true, a), addr_text(p + 24, true, c));
	if (get16(p + 4) != n - 40)
		say(t, "BAD HEADER ");
	if (p[7] != 64)
		say(t, "ttl %u ", p[7]);
	if (next == IPPROTO_HOPOPTS && n >= 48) {
		next = p[40];
		head = 48;
	}
	if (next == IPPROTO_FRAGMENT)
		say(t, "fragment %u%s, %zu bytes", get16(p + 42) & ~7u, p[43] & 1 ? "+" : "", n - 48);
	else
		say_transport(t, next, p + head, n - head, pseudo(p + 8, p + 24, 16, next, n - head));
}

static void say_arp(struct text *t, const uint8_t *p)
{
	char a[INET6_ADDRSTRLEN], c[INET6_ADDRSTRLEN];

	say(t, "arp %u from %s for %s", get16(p + 6), addr_text(p + 14, false, a), addr_text(p + 24, false, c));
}

const char *netbed_output(struct netbed *b)
{
	struct text t = {b->line, sizeof(b->line)};
	uint8_t f[NETBED_FRAME];
	size_t n = netbed_output_bytes(b, f, sizeof(f));

	b->line[0] = 0;
	if (!n)
		return b->line;
	say(&t, "%s", f[0] == 0xff ? "all: " : f[0] & 1 ? "group: " : memcmp(f, netbed_peer, 6) == 0 ? "" : "other: ");
	if (n >= 34 && get16(f + 12) == 0x0800)
		say_ip4(&t, f + 14, n - 14);
	else if (n >= 54 && get16(f + 12) == 0x86dd)
		say_ip6(&t, f + 14, n - 14);
	else if (n >= 42 && get16(f + 12) == 0x0806)
		say_arp(&t, f + 14);
	else
		say(&t, "frame of %zu bytes", n);
	return b->line;
}
