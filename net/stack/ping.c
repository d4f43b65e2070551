/*
 * Ping sockets: icmp(7), "ping socket". They send echo requests, whose identifier is the port that they are bound to,
 * and get the replies to those.
 */
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/dgram.h"
#include "net/stack/inet.h"

struct echo_head {
	uint8_t type, code;
	uint16_t sum, ident, seq;
} __packed;

static struct ping_sock *ping_of(struct port_bind *b)
{
	return container_of(b, struct ping_sock, bind);
}

void ping_init(struct ping_sock *g, bool v6)
{
	dgram_init(&g->d, v6);
	g->d.protocol = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	port_bind_init(&g->bind, PORT_PING);
	g->bind.addr = g->d.local;
	g->bind.v6only = true;
}

void ping_close(struct stack *s, struct ping_sock *g)
{
	port_unbind(s, &g->bind);
	dgram_fini(s, &g->d);
}

int ping_bind(struct stack *s, struct ping_sock *g, const struct in6_addr *addr, uint16_t ident, unsigned dev)
{
	int err = g->bind.bucket ? -EINVAL : dgram_check_bind(s, &g->d, addr, dev);

	if (err)
		return err;
	g->bind.addr = *addr;
	err = port_bind(s, &g->bind, ident);
	if (err)
		g->bind.addr = g->d.local;
	else
		g->d.local = *addr;
	return err;
}

int ping_connect(struct stack *s, struct ping_sock *g, const struct in6_addr *addr, unsigned dev)
{
	struct dgram_to to = {.addr = *addr, .dev = dev, .ttl = -1, .tos = -1, .src = in6addr_any};
	struct ip_route r;
	struct ip_out o;
	int err;

	err = g->d.v6 && addr_is_v4(addr) ? -ENETUNREACH : dgram_route(s, &g->d, &to, &o, &r);
	if (!err && !g->bind.bucket)
		err = port_bind(s, &g->bind, 0);
	if (err)
		return err;
	g->d.local = g->bind.addr = r.src;
	g->d.peer = addr_is_any(addr) ? r.next_hop : *addr;
	g->d.connected = true;
	g->d.route = r;
	return 0;
}

void ping_disconnect(struct stack *s __unused, struct ping_sock *g)
{
	g->d.connected = false;
	g->d.route.dev = NULL;
}

static int prepare(struct stack *s, struct ping_sock *g, struct pkt *p, const struct dgram_to *to, struct ip_out *o,
		   struct ip_route *r) REQUIRES(L_NET)
{
	const struct echo_head *h = pkt_peek(p, sizeof(*h));
	int err = dgram_take_error(&g->d);

	if (err)
		return err;
	if (!h || h->code != 0 || h->type != (g->d.v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO))
		return -EINVAL;
	if (IN6_IS_ADDR_UNSPECIFIED(&to->addr) && !g->d.connected && !g->d.v6)
		return -EDESTADDRREQ;
	if (g->d.v6 && addr_is_v4(&to->addr))
		return -EINVAL;
	if (!g->bind.bucket)
		err = port_bind(s, &g->bind, 0);
	err = err ? err : dgram_route(s, &g->d, to, o, r);
	return err ? err : dgram_fits(s, &g->d, o, r, p->len);
}

int ping_send(struct stack *s, struct ping_sock *g, struct pkt *p, const struct dgram_to *to)
{
	struct echo_head *h;
	struct ip_route r;
	struct ip_out o;
	int err;

	err = p->len > PKT_MAX - 20 ? -EMSGSIZE : prepare(s, g, p, to, &o, &r);
	if (err) {
		pkt_free(p);
		return err;
	}
	h = (struct echo_head *)(p->room + p->head);
	h->ident = htons(g->bind.port);
	h->sum = 0;
	o.protocol = g->d.v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	h->sum = sum_fold(sum_pkt(g->d.v6 ? sum_pseudo(&r.src, &o.dst, IPPROTO_ICMPV6, p->len) : 0, p, 0));
	p->transport = p->head;
	return ip_output(s, p, &o, &r);
}

void ping_input(struct stack *s, struct pkt *p, const struct ip_in *in)
{
	struct echo_head h;
	struct port_bind *b;

	b = pkt_copy(p, 0, &h, sizeof(h))
		? port_lookup(s, PORT_PING, &in->dst, ntohs(h.ident), &in->src, 0, in->dev->index, 0)
		: NULL;
	if (!b) {
		pkt_free(p);
		return;
	}
	p->info = (struct pkt_info){in->src, in->dst, 0, in->ttl, in->tos, in->dev->index};
	dgram_queue(s, &ping_of(b)->d, p);
}

void ping_error(struct stack *s, const struct ip_error *e, uint16_t ident, const struct pkt *quoted)
{
	struct port_bind *b = port_lookup(s, PORT_PING, &e->src, ident, &e->dst, 0, 0, 0);

	if (b)
		dgram_error(s, &ping_of(b)->d, e, quoted);
}
