/*
 * UDP: RFC 768, 1122 (4.1), 8200 (8.1), 8085.
 *
 * An endpoint that is bound stands in the table of ports, connected or not; a look-up finds the one that suits a packet
 * best. Packets to groups and broadcasts go to all that suit. Checksums: none is accepted from IPv4 and refused from
 * IPv6; a sender leaves its own partial, so that what stays on this machine is never summed. A datagram for a port
 * where nobody is draws an ICMP error, unless it was sent to many.
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
	port_bind_init(&u->bind, PORT_UDP);
	u->addr_given = u->port_given = false;
	u->bind.addr = u->d.local;
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
	if (addr_is_any(addr) || addr_is_multicast(addr) || ip_is_local(s, addr, dev))
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
	else if (ip_is_local(s, addr, dev))
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
	struct dgram_to to = {.addr = *addr, .dev = dev, .ttl = -1, .tos = -1, .src = in6addr_any};
	struct ip_route r;
	struct ip_out o;
	int err;

	if (addr_is_v4(addr) && u->d.v6 && u->bind.v6only)
		return -ENETUNREACH;
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
	if (p->len > PKT_MAX - sizeof(struct udp_head) - 20)
		return -EMSGSIZE;
	err = bind_any(s, u);
	err = err ? err : dgram_route(s, &u->d, to, o, r);
	/* What is wrong with this datagram comes before what was with an earlier one. */
	err = err ? err : dgram_take_error(&u->d);
	o->protocol = IPPROTO_UDP;
	return err ? err : dgram_fits(s, &u->d, o, r, p->len + (uint32_t)sizeof(struct udp_head));
}

int udp_send(struct stack *s, struct udp_sock *u, struct pkt *p, const struct dgram_to *to)
{
	struct ip_out o;
	struct ip_route r;
	int err = prepare(s, u, p, to, &o, &r);
	struct udp_head *h = err ? NULL : pkt_push(p, sizeof(*h));
	bool v4;

	if (!h) {
		pkt_free(p);
		return err ? err : -ENOBUFS;
	}
	v4 = addr_is_v4(&o.dst);
	p->transport = p->head;
	h->sport = htons(u->bind.port);
	h->dport = htons(IN6_IS_ADDR_UNSPECIFIED(&to->addr) && u->d.connected ? u->d.peer_port : to->port);
	h->len = htons((uint16_t)p->len);
	set_sum(u, p, h, &o, &r);
	err = ip_output(s, p, &o, &r);
	if (err == -ENOBUFS && !u->d.recverr)
		err = 0; /* lost, as on the way */
	mib_add(s, v4 ? MIB_UDP_OUT_DATAGRAMS : MIB_UDP6_OUT_DATAGRAMS, !err);
	return err;
}

/* ---- input ---- */

static void count(struct stack *s, bool v4, enum mib m4, enum mib m6) REQUIRES(L_NET)
{
	mib_add(s, v4 ? m4 : m6, 1);
}

/* Pulls the header, checked. False: dropped, counted. */
static bool pull_header(struct stack *s, struct pkt *p, const struct ip_in *in, struct udp_head *ret) REQUIRES(L_NET)
{
	bool v4 = addr_is_v4(&in->dst);
	const struct udp_head *h = pkt_peek(p, sizeof(*h));
	unsigned len = h ? ntohs(h->len) : 0;

	if (len < sizeof(*h) || len > p->len) {
		count(s, v4, MIB_UDP_IN_ERRORS, MIB_UDP6_IN_ERRORS);
		return false;
	}
	*ret = *h;
	pkt_trim(p, len);
	if (!p->checksum_ok &&
	    (h->sum ? sum_fold(sum_pkt(sum_pseudo(&in->src, &in->dst, IPPROTO_UDP, len), p, 0)) != 0 : !v4)) {
		count(s, v4, MIB_UDP_IN_CSUM_ERRORS, MIB_UDP6_IN_CSUM_ERRORS);
		count(s, v4, MIB_UDP_IN_ERRORS, MIB_UDP6_IN_ERRORS);
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
		count(s, v4, MIB_UDP_IN_ERRORS, MIB_UDP6_IN_ERRORS);
		pkt_free(p);
		return;
	}
	if (dgram_queue(s, &u->d, p)) {
		count(s, v4, MIB_UDP_IN_DATAGRAMS, MIB_UDP6_IN_DATAGRAMS);
	} else {
		count(s, v4, MIB_UDP_RCVBUF_ERRORS, MIB_UDP6_RCVBUF_ERRORS);
		count(s, v4, MIB_UDP_IN_ERRORS, MIB_UDP6_IN_ERRORS);
	}
}

/* To every endpoint that suits; each has references to the same bytes. */
static void deliver_all(struct stack *s, struct pkt *p, const struct ip_in *in, const struct udp_head *h)
    REQUIRES(L_NET)
{
	uint16_t sport = ntohs(h->sport);
	struct port_bind *b = NULL;
	bool any = false;

	while ((b = port_next(s, PORT_UDP, ntohs(h->dport), b))) {
		struct pkt *copy;

		if (!port_suits(b, &in->dst, &in->src, sport, in->dev->index) ||
		    (addr_is_multicast(&in->dst) && !dgram_wants_group(&udp_of(b)->d, &in->dst, in->dev->index)))
			continue;
		any = true;
		copy = pkt_clone(p);
		if (copy)
			queue(s, udp_of(b), copy, in, sport);
	}
	if (!any)
		count(s, addr_is_v4(&in->dst), MIB_UDP_IGNORED_MULTI, MIB_UDP6_IGNORED_MULTI);
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
	if (s->gateway && s->gateway->datagram &&
	    s->gateway->datagram(s->gateway_arg, p, in, ntohs(h.sport), ntohs(h.dport)))
		return true;
	b = port_lookup(s, PORT_UDP, &in->dst, ntohs(h.dport), &in->src, ntohs(h.sport), in->dev->index, 0);
	if (!b) {
		count(s, addr_is_v4(&in->dst), MIB_UDP_NO_PORTS, MIB_UDP6_NO_PORTS);
		return false;
	}
	queue(s, udp_of(b), p, in, ntohs(h.sport));
	return true;
}

void udp_error(struct stack *s, const struct ip_error *e, const struct pkt *quoted)
{
	struct port_bind *b = port_lookup(s, PORT_UDP, &e->src, e->sport, &e->dst, e->dport, 0, 0);
	struct pkt *data;

	if (!b)
		return;
	data = pkt_clone(quoted);
	if (data)
		pkt_skip(data, sizeof(struct udp_head));
	dgram_error(s, &udp_of(b)->d, e, data);
	pkt_free(data);
}
