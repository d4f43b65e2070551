/*
 * Raw sockets: raw(7), RFC 3542 (3). Every packet that is delivered on this machine, reassembled, goes also to those
 * that want its protocol: of IPv4 with the IP header, of IPv6 without. ICMP is filtered by type. What they send gets an
 * IP header, unless they make it themselves; IPv6 has its checksum filled in where the socket says, and ICMPv6 always.
 */
#include <netinet/icmp6.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/dgram.h"
#include "net/stack/inet.h"

static struct list *chain(struct stack *s, uint8_t protocol)
{
	return &s->raws[protocol % RAW_CHAINS];
}

void raw_open(struct stack *s, struct raw_sock *r, bool v6, uint8_t protocol)
{
	dgram_init(&r->d, v6);
	r->d.protocol = protocol;
	r->protocol = protocol;
	r->bound = r->header_included = false;
	r->checksum_at = v6 && protocol == IPPROTO_ICMPV6 ? 2 : -1;
	memset(r->filter, 0, sizeof(r->filter));
	list_append(chain(s, protocol), &r->link);
}

void raw_close(struct stack *s, struct raw_sock *r)
{
	list_remove(&r->link);
	dgram_fini(s, &r->d);
}

int raw_bind(struct stack *s, struct raw_sock *r, const struct in6_addr *addr, unsigned dev)
{
	int err = dgram_check_bind(s, &r->d, addr, dev);

	if (err)
		return err;
	r->d.local = *addr;
	r->bound = !addr_is_any(addr);
	if (dev && addr_needs_dev(addr))
		r->d.bound_dev = dev;
	return 0;
}

int raw_connect(struct stack *s, struct raw_sock *r, const struct in6_addr *addr, unsigned dev)
{
	struct dgram_to to = {.addr = *addr, .dev = dev, .ttl = -1, .tos = -1, .src = in6addr_any};
	struct ip_route route;
	struct ip_out o;
	int err;

	err = r->d.v6 && addr_is_v4(addr) ? -ENETUNREACH : dgram_route(s, &r->d, &to, &o, &route);
	if (err)
		return err;
	r->d.local = route.src;
	r->bound = true;
	r->d.peer = addr_is_any(addr) ? route.next_hop : *addr;
	r->d.connected = true;
	r->d.route = route;
	return 0;
}

void raw_disconnect(struct raw_sock *r)
{
	r->d.connected = false;
	r->d.route.dev = NULL;
}

/* ---- input ---- */

static bool filtered(const struct raw_sock *r, const struct pkt *p)
{
	uint8_t type;

	if (r->protocol != (r->d.v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) || !pkt_copy(p, 0, &type, 1))
		return false;
	return (r->d.v6 || type < 32) && r->filter[type / 32] >> type % 32 & 1;
}

static bool wants(const struct raw_sock *r, const struct pkt *p, const struct ip_in *in)
{
	if (r->protocol != in->protocol || r->d.v6 == addr_is_v4(&in->dst))
		return false;
	if (r->bound && !addr_eq(&r->d.local, &in->dst))
		return false;
	if (r->d.connected && !addr_eq(&r->d.peer, &in->src))
		return false;
	if (r->d.bound_dev && r->d.bound_dev != in->dev->index)
		return false;
	if (addr_is_multicast(&in->dst) && !dgram_wants_group(&r->d, &in->dst, &in->src, in->dev->index))
		return false;
	return !filtered(r, p);
}

static bool sum_ok(const struct raw_sock *r, const struct pkt *p, const struct ip_in *in)
{
	if (r->checksum_at < 0 || p->checksum_ok)
		return true;
	return sum_fold(sum_pkt(sum_pseudo(&in->src, &in->dst, in->protocol, p->len), p, 0)) == 0;
}

bool raw_input(struct stack *s, struct pkt *p, const struct ip_in *in)
{
	struct raw_sock *r;
	bool any = false;

	list_for_each(r, chain(s, in->protocol), link) {
		struct pkt *copy;

		if (!wants(r, p, in))
			continue;
		any = true;
		copy = sum_ok(r, p, in) ? pkt_clone(p) : NULL;
		if (!copy)
			continue;
		if (!r->d.v6)
			pkt_unpull(copy, copy->net);
		copy->info = (struct pkt_info){in->src, in->dst, 0, in->ttl, in->tos, in->dev->index};
		if (dgram_filter(s, &r->d, copy, copy->head, 1))
			dgram_queue(s, &r->d, copy);
		else
			pkt_free(copy);
	}
	return any;
}

void raw_error(struct stack *s, const struct ip_error *e, uint8_t protocol)
{
	struct raw_sock *r;

	list_for_each(r, chain(s, protocol), link)
		if (r->protocol == protocol && r->d.v6 != addr_is_v4(&e->dst) &&
		    (!r->bound || addr_eq(&r->d.local, &e->src)) && (!r->d.connected || addr_eq(&r->d.peer, &e->dst)))
			dgram_error(s, &r->d, e, NULL);
}

/* ---- output ---- */

static int fill_sum(const struct raw_sock *r, struct pkt *p, const struct ip_out *o, const struct ip_route *route)
{
	uint8_t *h = pkt_peek(p, (size_t)r->checksum_at + 2);
	uint16_t sum = 0;

	if (!h)
		return -EINVAL;
	memcpy(h + r->checksum_at, &sum, sizeof(sum));
	sum = sum_fold(sum_pkt(sum_pseudo(&route->src, &o->dst, r->protocol, p->len), p, 0));
	if (sum == 0 && r->protocol == IPPROTO_UDP)
		sum = UINT16_MAX;
	memcpy(h + r->checksum_at, &sum, sizeof(sum));
	return 0;
}

/* The header that the socket made, completed as raw(7) says; the packet is not fragmented. */
static int check_header(struct stack *s, struct pkt *p, const struct ip_route *route) REQUIRES(L_NET)
{
	struct ip4_head *h = pkt_peek(p, sizeof(*h));
	unsigned head = h ? (h->version_len & 15) * 4u : 0;
	struct in6_addr dst;

	if (head < sizeof(*h) || h->version_len >> 4 != 4 || !(h = pkt_peek(p, head)))
		return -EINVAL;
	if (p->len > route->mtu)
		return -EMSGSIZE;
	p->net = p->head;
	h->len = htons((uint16_t)p->len);
	if (!h->src)
		h->src = addr_v4(&route->src);
	dst = addr_from_v4(h->dst);
	if (!h->id)
		h->id = htons((uint16_t)ip_ident(s, &route->src, &dst, h->protocol));
	h->sum = 0;
	h->sum = sum_fold(sum_add(0, h, head, false));
	return 0;
}

static int send_with_header(struct stack *s, struct raw_sock *r, struct pkt *p, const struct ip_route *route)
    REQUIRES(L_NET)
{
	int err;

	if (!r->d.v6) {
		err = check_header(s, p, route);
	} else {
		err = p->len < sizeof(struct ip6_head) || !pkt_peek(p, sizeof(struct ip6_head)) ? -EINVAL
		      : p->len > route->mtu                                                     ? -EMSGSIZE
												: 0;
		p->net = p->head;
	}
	if (!err)
		return ip_transmit(s, p, route);
	pkt_free(p);
	return err;
}

int raw_send(struct stack *s, struct raw_sock *r, struct pkt *p, const struct dgram_to *to)
{
	struct ip_route route;
	struct ip_out o;
	int err = dgram_take_error(&r->d);

	if (!err && IN6_IS_ADDR_UNSPECIFIED(&to->addr) && !r->d.connected && !r->d.v6)
		err = -EDESTADDRREQ;
	if (!err && r->d.v6 && addr_is_v4(&to->addr))
		err = -ENETUNREACH;
	if (!err && p->len > PKT_MAX)
		err = -EMSGSIZE;
	err = err ? err : dgram_route(s, &r->d, to, &o, &route);
	if (!err && r->header_included)
		return send_with_header(s, r, p, &route);
	if (!err) {
		o.protocol = r->protocol;
		err = dgram_fits(s, &r->d, &o, &route, p->len);
	}
	if (!err && r->checksum_at >= 0)
		err = fill_sum(r, p, &o, &route);
	if (!err)
		return ip_output(s, p, &o, &route);
	pkt_free(p);
	return err;
}
