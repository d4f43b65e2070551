/*
 * UDP: RFC 768, 1122 (4.1), 8200 (8.1), 8085. UDP-Lite: RFC 3828, udplite(7).
 *
 * An endpoint that is bound stands in the table of ports, connected or not; a look-up finds the one that suits a packet
 * best. Packets to groups and broadcasts go to all that suit. Checksums: none is accepted from IPv4 and refused from
 * IPv6; a sender leaves its own partial, so that what stays on this machine is never summed. A datagram for a port
 * where nobody is draws an ICMP error, unless it was sent to many.
 *
 * UDP-Lite is the same with ports and counters of its own. Its header says how much is summed, in the place of the length; the sum is made when it is sent.
 */
#include <linux/rtnetlink.h>
#include <poll.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/dgram.h"
#include "net/stack/gateway.h"
#include "net/stack/inet.h"
#include "net/stack/route.h"

struct udp_head {
	uint16_t sport, dport, len, sum;
} __packed;

static struct udp_sock *udp_of(struct port_bind *b)
{
	return container_of(b, struct udp_sock, bind);
}

void udp_init(struct udp_sock *u, bool v6)
{
	dgram_init(&u->d, v6);
	u->d.protocol = IPPROTO_UDP;
	port_bind_init(&u->bind, PORT_UDP);
	u->addr_given = u->port_given = false;
	u->bind.addr = u->d.local;
}

void udplite_init(struct udp_sock *u, bool v6)
{
	udp_init(u, v6);
	u->d.protocol = IPPROTO_UDPLITE;
	port_bind_init(&u->bind, PORT_UDPLITE);
	u->bind.addr = u->d.local;
	u->send_cover = u->recv_cover = -1;
}

static enum port_space space_of(uint8_t protocol)
{
	return protocol == IPPROTO_UDPLITE ? PORT_UDPLITE : PORT_UDP;
}

static bool is_lite(const struct udp_sock *u)
{
	return u->bind.space == PORT_UDPLITE;
}

void udp_close(struct stack *s, struct udp_sock *u)
{
	port_unbind(s, &u->bind);
	dgram_fini(s, &u->d);
}

void udp_bind_dev(struct udp_sock *u, unsigned dev)
{
	u->d.bound_dev = u->bind.bound_dev = dev;
	u->d.route.dev = NULL;
}

int dgram_check_bind(struct stack *s, const struct dgram *d, const struct in6_addr *addr, unsigned dev)
{
	if (!addr_is_v4(addr) && !d->v6)
		return -EAFNOSUPPORT;
	if (dev && !netdev_by_index(s, dev))
		return -ENODEV;
	if (addr_is_any(addr) || addr_is_multicast(addr) || ip_is_local(s, addr, dev) || d->freebind)
		return 0;
	if (addr_is_v4(addr)) {
		const struct route *r = route_find_in(s, RT_TABLE_LOCAL, addr, 0);

		if (addr_is_limited_broadcast(addr) || (r && r->c.type == RTN_BROADCAST))
			return 0;
	}
	return -EADDRNOTAVAIL;
}

int udp_bind(struct stack *s, struct udp_sock *u, const struct in6_addr *addr, uint16_t port, unsigned dev)
{
	int err = u->bind.bucket ? -EINVAL : dgram_check_bind(s, &u->d, addr, dev);

	if (err)
		return err;
	u->bind.addr = *addr;
	if (dev && !u->bind.bound_dev && addr_needs_dev(addr))
		u->bind.bound_dev = u->d.bound_dev = dev;
	err = port_bind(s, &u->bind, port);
	/* A group or a broadcast address says what is received, not where from to send. */
	if (err)
		u->bind.addr = u->d.local;
	else if (ip_is_local(s, addr, dev) || (u->d.freebind && !addr_is_multicast(addr)))
		u->d.local = *addr;
	u->addr_given = !err && !addr_is_any(addr);
	u->port_given = !err && port;
	return err;
}

static int bind_any(struct stack *s, struct udp_sock *u) REQUIRES(L_NET)
{
	return u->bind.bucket ? 0 : port_bind(s, &u->bind, 0);
}

int udp_connect(struct stack *s, struct udp_sock *u, const struct in6_addr *addr, uint16_t port, unsigned dev)
{
	struct dgram_to to = {.addr = *addr, .port = port, .dev = dev, .ttl = -1, .tos = -1, .src = in6addr_any};
	struct ip_route r;
	struct ip_out o;
	int err;

	if (addr_is_v4(addr) && u->d.v6 && u->bind.v6only)
		return -ENETUNREACH;
	u->d.port = u->bind.port;
	err = dgram_route(s, &u->d, &to, &o, &r);
	err = err ? err : bind_any(s, u);
	if (err)
		return err;
	/* Bound to an address from now on: that of the route. */
	if (addr_is_any(&u->bind.addr))
		u->bind.addr = u->d.local = r.src;
	if (addr_is_any(addr))
		u->d.peer = u->bind.peer = r.next_hop;
	else
		u->d.peer = u->bind.peer = *addr;
	u->d.peer_port = u->bind.peer_port = port;
	u->d.connected = true;
	u->d.route = r;
	return 0;
}

void udp_disconnect(struct stack *s, struct udp_sock *u)
{
	if (!u->addr_given)
		u->bind.addr = u->d.local = u->d.v6 ? in6addr_any : addr_from_v4(0);
	if (!u->port_given)
		port_unbind(s, &u->bind);
	u->d.connected = false;
	u->d.peer_port = u->bind.peer_port = 0;
	u->d.route.dev = NULL;
}

/* Of the first n bytes of p; it is right if a sum over them with their checksum is 0. */
static uint16_t lite_sum(const struct in6_addr *src, const struct in6_addr *dst, const struct pkt *p, uint32_t n)
{
	struct pkt *covered = n < p->len ? pkt_clone(p) : NULL;
	uint32_t sum = sum_pseudo(src, dst, IPPROTO_UDPLITE, p->len);

	if (covered)
		pkt_trim(covered, n);
	else if (n < p->len)
		return 1; /* no memory: it is wrong */
	sum = sum_pkt(sum, covered ? covered : p, 0);
	pkt_free(covered);
	return sum_fold(sum);
}

/* The counters of UDP-Lite come in the same order. */
static void count(struct stack *s, uint8_t protocol, bool v4, enum mib m4, enum mib m6) REQUIRES(L_NET)
{
	unsigned m = v4 ? m4 : m6;

	if (protocol == IPPROTO_UDPLITE)
		m += v4 ? MIB_UDPLITE_IN_DATAGRAMS - MIB_UDP_IN_DATAGRAMS
			: MIB_UDPLITE6_IN_DATAGRAMS - MIB_UDP6_IN_DATAGRAMS;
	mib_add(s, (enum mib)m, 1);
}
_Static_assert(MIB_UDPLITE_MEM_ERRORS - MIB_UDP_MEM_ERRORS == MIB_UDPLITE_IN_DATAGRAMS - MIB_UDP_IN_DATAGRAMS, "order");
_Static_assert(MIB_UDPLITE6_MEM_ERRORS - MIB_UDP6_MEM_ERRORS == MIB_UDPLITE6_IN_DATAGRAMS - MIB_UDP6_IN_DATAGRAMS,
	       "order");

static void set_lite_sum(const struct udp_sock *u, struct pkt *p, struct udp_head *h, const struct ip_out *o,
			 const struct ip_route *r)
{
	uint32_t cover = p->len;

	if (u->send_cover > 0 && (uint32_t)u->send_cover < p->len) {
		cover = (uint32_t)u->send_cover;
		h->len = htons((uint16_t)cover);
	}
	h->sum = 0;
	h->sum = lite_sum(&r->src, addr_is_any(&o->dst) ? &r->next_hop : &o->dst, p, cover);
	if (h->sum == 0)
		h->sum = 0xffff;
}

static void set_sum(const struct udp_sock *u, struct pkt *p, struct udp_head *h, const struct ip_out *o,
		    const struct ip_route *r)
{
	h->sum = 0;
	if (u->d.no_checksum && addr_is_v4(&o->dst))
		return;
	h->sum = (uint16_t)~sum_fold(
	    sum_pseudo(&r->src, addr_is_any(&o->dst) ? &r->next_hop : &o->dst, IPPROTO_UDP, p->len));
	p->checksum_partial = true;
}

static bool to_v4(const struct udp_sock *u, const struct dgram_to *to)
{
	return addr_is_v4(IN6_IS_ADDR_UNSPECIFIED(&to->addr) && u->d.connected ? &u->d.peer : &to->addr);
}

/* Does one datagram of p fit? */
static int fits(struct stack *s, struct udp_sock *u, const struct pkt *p, struct ip_out *o, struct ip_route *r)
    REQUIRES(L_NET)
{
	uint32_t size = (p->gso_size ? p->gso_size : p->len) + (uint32_t)sizeof(struct udp_head);

	if (p->gso_size && (size + (addr_is_v4(&o->dst) ? 20 : 40) > r->mtu || u->d.no_checksum))
		return -EINVAL;
	return dgram_fits(s, &u->d, o, r, size);
}

static int prepare(struct stack *s, struct udp_sock *u, const struct pkt *p, const struct dgram_to *to,
		   struct ip_out *o, struct ip_route *r) REQUIRES(L_NET)
{
	bool named = !IN6_IS_ADDR_UNSPECIFIED(&to->addr);
	int err;

	if (!named && !u->d.connected && !u->d.v6)
		return -EDESTADDRREQ;
	/* Port 0 can be connected to, and draws an ICMP error. */
	if (!to->port && (named || !u->d.connected))
		return named ? -EINVAL : -EDESTADDRREQ;
	if (addr_is_v4(&to->addr) && u->d.v6 && u->bind.v6only)
		return -ENETUNREACH;
	if (p->len > PKT_MAX - sizeof(struct udp_head) - (to_v4(u, to) ? 20 : 0))
		return -EMSGSIZE;
	err = bind_any(s, u);
	u->d.port = u->bind.port;
	err = err ? err : dgram_route(s, &u->d, to, o, r);
	/* What is wrong with this datagram comes before what was with an earlier one. */
	err = err ? err : dgram_take_error(&u->d);
	if (!err && p->gso_size && is_lite(u))
		err = -EIO;
	o->protocol = is_lite(u) ? IPPROTO_UDPLITE : IPPROTO_UDP;
	return err ? err : fits(s, u, p, o, r);
}

static int send_one(struct stack *s, struct udp_sock *u, struct pkt *p, const struct dgram_to *to,
		    const struct ip_out *o, const struct ip_route *r) REQUIRES(L_NET)
{
	struct udp_head *h = pkt_push(p, sizeof(*h));
	bool v4 = addr_is_v4(&o->dst);
	int err;

	if (!h) {
		pkt_free(p);
		return -ENOBUFS;
	}
	p->transport = p->head;
	h->sport = htons(u->bind.port);
	h->dport = htons(IN6_IS_ADDR_UNSPECIFIED(&to->addr) && u->d.connected ? u->d.peer_port : to->port);
	h->len = htons((uint16_t)p->len);
	if (is_lite(u))
		set_lite_sum(u, p, h, o, r);
	else
		set_sum(u, p, h, o, r);
	err = ip_output(s, p, o, r);
	if (err == -ENOBUFS && !u->d.recverr)
		err = 0; /* lost, as on the way */
	if (!err)
		count(s, o->protocol, v4, MIB_UDP_OUT_DATAGRAMS, MIB_UDP6_OUT_DATAGRAMS);
	return err;
}

/* A copy of one of the datagrams that p is, for a queue that must not keep all of it. NULL: no memory. */
static struct pkt *segment_of(const struct pkt *p, uint32_t off)
{
	uint32_t n = MIN(p->gso_size, p->len - off);
	struct pkt *part = pkt_create();
	struct buf *b = buf_create(n);
	bool ok = part && b && pkt_copy(p, off, b->data, n);

	if (ok) {
		b->used = n;
		part->dev = p->dev;
		part->link_type = p->link_type;
		ok = pkt_append(part, b, 0, n);
	}
	buf_put(b);
	if (ok)
		return part;
	pkt_free(part);
	return NULL;
}

int udp_send(struct stack *s, struct udp_sock *u, struct pkt *p, const struct dgram_to *to)
{
	struct ip_out o;
	struct ip_route r;
	int err = prepare(s, u, p, to, &o, &r);

	/* What stays here may stay together: the receiver says. */
	if (!err && (!p->gso_size || r.local))
		return send_one(s, u, p, to, &o, &r);
	for (uint32_t off = 0; !err && off < p->len; off += p->gso_size) {
		struct pkt *part = segment_of(p, off);

		err = part ? send_one(s, u, part, to, &o, &r) : -ENOMEM;
	}
	pkt_free(p);
	return err;
}

/* ---- input ---- */

/* All of it is there; what counts is whether the covered part is whole. A receiver may refuse less than all (deliver()). */
static bool lite_ok(const struct pkt *p, const struct ip_in *in, const struct udp_head *h)
{
	uint32_t cover = ntohs(h->len) ? ntohs(h->len) : p->len;

	return cover >= sizeof(*h) && cover <= p->len && h->sum && lite_sum(&in->src, &in->dst, p, cover) == 0;
}

/* Is enough of it summed for u? UDPLITE_RECV_CSCOV. */
static bool covered_enough(const struct udp_sock *u, const struct pkt *p, const struct udp_head *h)
{
	uint32_t cover = ntohs(h->len), len = p->len + (uint32_t)sizeof(*h);

	if (!is_lite(u) || u->recv_cover < 0 || cover == 0 || cover == len)
		return true;
	return u->recv_cover && cover >= (uint32_t)u->recv_cover;
}

/* Pulls the header, checked. False: dropped, counted. */
static bool pull_header(struct stack *s, struct pkt *p, const struct ip_in *in, struct udp_head *ret) REQUIRES(L_NET)
{
	bool v4 = addr_is_v4(&in->dst), lite = in->protocol == IPPROTO_UDPLITE, ok;
	const struct udp_head *h = pkt_peek(p, sizeof(*h));
	unsigned len = h ? ntohs(h->len) : 0;

	if (!h || (!lite && (len < sizeof(*h) || len > p->len))) {
		count(s, in->protocol, v4, MIB_UDP_IN_ERRORS, MIB_UDP6_IN_ERRORS);
		return false;
	}
	*ret = *h;
	if (lite)
		ok = lite_ok(p, in, ret);
	else {
		pkt_trim(p, len);
		ok = p->checksum_ok ||
		     (h->sum ? sum_fold(sum_pkt(sum_pseudo(&in->src, &in->dst, IPPROTO_UDP, len), p, 0)) == 0 : v4);
	}
	if (!ok) {
		count(s, in->protocol, v4, MIB_UDP_IN_CSUM_ERRORS, MIB_UDP6_IN_CSUM_ERRORS);
		count(s, in->protocol, v4, MIB_UDP_IN_ERRORS, MIB_UDP6_IN_ERRORS);
		return false;
	}
	pkt_skip(p, sizeof(*h));
	return true;
}

static void queue(struct stack *s, struct udp_sock *u, struct pkt *p, const struct ip_in *in, uint16_t sport)
    REQUIRES(L_NET)
{
	bool v4 = addr_is_v4(&in->dst);

	p->info = (struct pkt_info){in->src, in->dst, sport, in->ttl, in->tos, in->dev->index};
	if (!dgram_filter(s, &u->d, p, (uint16_t)(p->head - sizeof(struct udp_head)), sizeof(struct udp_head))) {
		count(s, in->protocol, v4, MIB_UDP_IN_ERRORS, MIB_UDP6_IN_ERRORS);
		pkt_free(p);
		return;
	}
	if (dgram_queue(s, &u->d, p)) {
		count(s, in->protocol, v4, MIB_UDP_IN_DATAGRAMS, MIB_UDP6_IN_DATAGRAMS);
	} else {
		count(s, in->protocol, v4, MIB_UDP_RCVBUF_ERRORS, MIB_UDP6_RCVBUF_ERRORS);
		count(s, in->protocol, v4, MIB_UDP_IN_ERRORS, MIB_UDP6_IN_ERRORS);
	}
}

/* The headers of p, as if part had come by itself: a filter looks at them. */
static void give_headers(struct pkt *part, const struct pkt *p)
{
	uint16_t low = MIN(p->net, (uint16_t)(p->head - sizeof(struct udp_head)));
	struct udp_head h;

	part->head = part->tail = p->head;
	part->net = p->net;
	part->transport = (uint16_t)(p->head - sizeof(h));
	memcpy(part->room + low, p->room + low, p->head - low);
	memcpy(&h, part->room + part->transport, sizeof(h));
	h.len = htons((uint16_t)(sizeof(h) + part->len));
	memcpy(part->room + part->transport, &h, sizeof(h));
}

/* Together or one by one, as u wants them. */
static void queue_segments(struct stack *s, struct udp_sock *u, struct pkt *p, const struct ip_in *in,
			   const struct udp_head *h) REQUIRES(L_NET)
{
	uint16_t sport = ntohs(h->sport);

	if (!covered_enough(u, p, h)) {
		count(s, in->protocol, addr_is_v4(&in->dst), MIB_UDP_IN_ERRORS, MIB_UDP6_IN_ERRORS);
		pkt_free(p);
		return;
	}
	if (!p->gso_size || u->d.gro) {
		queue(s, u, p, in, sport);
		return;
	}
	for (uint32_t off = 0; off < p->len; off += p->gso_size) {
		struct pkt *part = segment_of(p, off);

		if (!part)
			continue;
		give_headers(part, p);
		queue(s, u, part, in, sport);
	}
	pkt_free(p);
}

/* To every endpoint that suits; each has references to the same bytes. */
static void deliver_all(struct stack *s, struct pkt *p, const struct ip_in *in, const struct udp_head *h)
    REQUIRES(L_NET)
{
	uint16_t sport = ntohs(h->sport);
	struct port_bind *b = NULL;
	bool any = false;

	while ((b = port_next(s, space_of(in->protocol), ntohs(h->dport), b))) {
		struct pkt *copy;

		if (!port_suits(b, &in->dst, &in->src, sport, in->dev->index) ||
		    (addr_is_multicast(&in->dst) &&
		     !dgram_wants_group(&udp_of(b)->d, &in->dst, &in->src, in->dev->index)))
			continue;
		any = true;
		copy = pkt_clone(p);
		if (copy)
			queue_segments(s, udp_of(b), copy, in, h);
	}
	if (!any)
		count(s, in->protocol, addr_is_v4(&in->dst), MIB_UDP_IGNORED_MULTI, MIB_UDP6_IGNORED_MULTI);
	pkt_free(p);
}

bool udp_input(struct stack *s, struct pkt *p, const struct ip_in *in)
{
	struct port_bind *b;
	struct udp_head h;

	if (!pull_header(s, p, in, &h)) {
		pkt_free(p);
		return true;
	}
	if (in->broadcast) {
		deliver_all(s, p, in, &h);
		return true;
	}
	if (s->gateway && s->gateway->datagram && in->protocol == IPPROTO_UDP &&
	    s->gateway->datagram(s->gateway_arg, p, in, ntohs(h.sport), ntohs(h.dport)))
		return true;
	b = port_lookup(s, space_of(in->protocol), &in->dst, ntohs(h.dport), &in->src, ntohs(h.sport), in->dev->index,
			0);
	if (!b) {
		count(s, in->protocol, addr_is_v4(&in->dst), MIB_UDP_NO_PORTS, MIB_UDP6_NO_PORTS);
		return false;
	}
	queue_segments(s, udp_of(b), p, in, &h);
	return true;
}

void udp_error(struct stack *s, const struct ip_error *e, uint8_t protocol, const struct pkt *quoted)
{
	struct port_bind *b = port_lookup(s, space_of(protocol), &e->src, e->sport, &e->dst, e->dport, 0, 0);
	struct pkt *data;

	if (!b)
		return;
	data = pkt_clone(quoted);
	if (data)
		pkt_skip(data, sizeof(struct udp_head));
	dgram_error(s, &udp_of(b)->d, e, data);
	pkt_free(data);
}
