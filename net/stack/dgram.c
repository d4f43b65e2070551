/*
 * What datagram endpoints share: see dgram.h. Behaviour as ip(7), ipv6(7), udp(7).
 *
 * A queue counts a packet's bytes with those of its bookkeeping, so that many small ones are bounded too; a single
 * packet always fits in an empty one. An ICMP error becomes the pending error of a connected endpoint if it is a hard
 * one, of any endpoint with IP_RECVERR, which also has it in its error queue. Path MTUs are believed only by endpoints
 * that discover them.
 */
#include "net/stack/dgram.h"

#include <linux/rtnetlink.h>
#include <poll.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/netmem.h"
#include "net/stack/route.h"
#include "sentry/base/slab.h"

#define RCVBUF_DEFAULT 212992
#define RCVBUF_LEAST 4096 /* net.ipv4.udp_rmem_min: what everybody may have */

static struct slab error_slab = SLAB_INIT(struct dgram_error);

void dgram_init(struct dgram *d, bool v6)
{
	memset(d, 0, sizeof(*d));
	d->v6 = v6;
	d->rcvbuf = RCVBUF_DEFAULT;
	d->pmtu = PMTU_WANT;
	d->local = d->peer = d->mc_addr = v6 ? in6addr_any : addr_from_v4(0);
	list_init(&d->wakeup.link);
	list_init(&d->queue);
	list_init(&d->errors);
	list_init(&d->members);
}

static void charge(struct dgram *d, uint32_t bytes)
{
	d->bytes = bytes;
	net_memory_adjust(&udp_memory, &d->mem_pages, bytes);
}

void dgram_fini(struct stack *s, struct dgram *d)
{
	struct dgram_error *e;

	pkt_free_all(&d->queue);
	charge(d, 0);
	while ((e = dgram_take_queued_error(d)))
		dgram_error_free(e);
	dgram_leave_all(s, d);
}

/* ---- receiving ---- */

/* What it keeps in memory: all of a buffer, however little of it is meant. */
static uint32_t weight(const struct pkt *p)
{
	return (uint32_t)sizeof(*p) + pkt_pinned(p);
}

static bool fits(const struct dgram *d, uint32_t more)
{
	if (d->bytes && d->bytes + more > d->rcvbuf)
		return false;
	return d->bytes < RCVBUF_LEAST || !net_memory_full(&udp_memory);
}

bool dgram_queue(struct stack *s, struct dgram *d, struct pkt *p)
{
	if (!fits(d, weight(p))) {
		d->drops++;
		pkt_free(p);
		return false;
	}
	p->info.stamp = s->now;
	charge(d, d->bytes + weight(p));
	list_append(&d->queue, &p->link);
	stack_wake(s, &d->wakeup, POLLIN | POLLRDNORM);
	return true;
}

bool dgram_filter(struct stack *s, struct dgram *d, struct pkt *p, uint16_t start, uint32_t least)
{
	uint32_t front = p->head - start, keep = UINT32_MAX;

	if (d->filter)
		keep = d->filter(s, d, p, start);
	if (keep == 0) {
		d->drops++;
		return false;
	}
	pkt_trim(p, MAX(keep, least) - front);
	return true;
}

struct pkt *dgram_take(struct dgram *d, bool peek)
{
	struct pkt *p = list_first(&d->queue, struct pkt, link);

	if (!p)
		return NULL;
	if (peek)
		return pkt_clone(p);
	list_remove(&p->link);
	charge(d, d->bytes - weight(p));
	return p;
}

uint32_t dgram_first_size(const struct dgram *d)
{
	const struct pkt *p = list_first(&d->queue, struct pkt, link);

	return p ? p->len : 0;
}

uint32_t dgram_poll(const struct dgram *d)
{
	uint32_t events = POLLOUT | POLLWRNORM | POLLWRBAND;

	if (!list_empty(&d->queue))
		events |= POLLIN | POLLRDNORM;
	if (d->err || !list_empty(&d->errors))
		events |= POLLERR;
	return events;
}

/* ---- errors ---- */

int dgram_take_error(struct dgram *d)
{
	int err = d->err;

	d->err = 0;
	return -err;
}

void dgram_error_free(struct dgram_error *e)
{
	if (!e)
		return;
	pkt_free(e->data);
	slab_free(&error_slab, e);
}

struct dgram_error *dgram_take_queued_error(struct dgram *d)
{
	struct dgram_error *e = list_first(&d->errors, struct dgram_error, link);

	if (!e)
		return NULL;
	list_remove(&e->link);
	d->error_count--;
	/* What is pending is what is first: as Linux, when one has been read. */
	if (!list_empty(&d->errors))
		d->err = list_first(&d->errors, struct dgram_error, link)->e.err;
	else
		d->err = 0;
	return e;
}

static void queue_error(struct dgram *d, const struct ip_error *e, bool local, const struct pkt *data)
{
	struct dgram_error *q = d->error_count < DGRAM_ERRORS_MAX ? slab_alloc(&error_slab) : NULL;

	if (!q)
		return;
	q->e = *e;
	q->local = local;
	q->data = data ? pkt_clone(data) : NULL;
	list_append(&d->errors, &q->link);
	d->error_count++;
}

void dgram_error(struct stack *s, struct dgram *d, const struct ip_error *e, const struct pkt *data)
{
	bool hard = e->hard;

	if (e->mtu) {
		if (d->pmtu == PMTU_DONT || d->pmtu >= PMTU_INTERFACE)
			return;
		ip_pmtu(s, &e->dst, e->mtu);
		hard = d->recverr || !addr_is_v4(&e->dst);
	}
	if (d->recverr)
		queue_error(d, e, false, data);
	else if (!hard || !d->connected)
		return;
	d->err = e->err;
	stack_wake(s, &d->wakeup, POLLERR);
}

/* ---- sending ---- */

static bool is_group(const struct in6_addr *a)
{
	return addr_is_multicast(a) || addr_is_limited_broadcast(a);
}

/* Fills in o from the endpoint's options and the destination. */
static void fill(const struct dgram *d, const struct dgram_to *to, struct ip_out *o)
{
	bool to_peer = IN6_IS_ADDR_UNSPECIFIED(&to->addr) && d->connected, group;

	*o = (struct ip_out){.dst = to_peer ? d->peer : to->addr,
			     .src = to->src,
			     .bound_dev = d->bound_dev ? d->bound_dev : to->dev,
			     .tos = to->tos < 0 ? d->tos : (uint8_t)to->tos,
			     .mark = d->mark,
			     .uid = d->uid,
			     .protocol = d->protocol,
			     .sport = d->port,
			     .dport = to_peer ? d->peer_port : to->port,
			     .no_loop = d->no_mc_loop,
			     .options_len = to->options_len,
			     .options = to->options};
	group = is_group(&o->dst);
	o->host_only = d->mc_host_only;
	if (addr_is_any(&o->src) && !addr_is_multicast(&d->local) && addr_is_v4(&d->local) == addr_is_v4(&o->dst))
		o->src = d->local;
	if (group && !o->bound_dev)
		o->bound_dev = d->mc_dev;
	if (group && addr_is_any(&o->src) && addr_is_v4(&d->mc_addr) == addr_is_v4(&o->dst))
		o->src = d->mc_addr;
	o->ttl = to->ttl > 0 ? (uint8_t)to->ttl : addr_is_multicast(&o->dst) ? d->mc_ttl : d->ttl;
}

int dgram_route(struct stack *s, struct dgram *d, const struct dgram_to *to, struct ip_out *ret_o,
		struct ip_route *ret_r)
{
	bool to_peer = IN6_IS_ADDR_UNSPECIFIED(&to->addr) && d->connected;
	int err;

	if (!d->v6 && !to_peer && !addr_is_v4(&to->addr) && !IN6_IS_ADDR_UNSPECIFIED(&to->addr))
		return -EAFNOSUPPORT;
	fill(d, to, ret_o);
	if (addr_is_v4(&ret_o->dst) ? d->v6 && !addr_is_v4(&d->local) && !addr_is_any(&d->local)
				    : addr_is_v4(&d->local) && !addr_is_any(&d->local))
		return -ENETUNREACH;
	if (to_peer && !to->dev && addr_is_any(&to->src) && !ip_route_stale(s, &d->route)) {
		*ret_r = d->route;
	} else {
		err = ip_route(s, ret_o, ret_r);
		if (err)
			return err;
		if (to_peer && !to->dev && addr_is_any(&to->src))
			d->route = *ret_r;
	}
	return ret_r->type == RTN_BROADCAST && !d->broadcast ? -EACCES : 0;
}

int dgram_fits(struct stack *s, struct dgram *d, struct ip_out *o, struct ip_route *r, uint32_t size)
{
	uint32_t head = addr_is_v4(&o->dst) ? 20u + o->options_len : 40;

	if (d->pmtu >= PMTU_PROBE)
		r->mtu = MIN(r->dev->mtu, PKT_MAX);
	if (size + head <= r->mtu) {
		o->dont_fragment = d->pmtu != PMTU_DONT && d->pmtu != PMTU_OMIT;
		return 0;
	}
	if (d->pmtu != PMTU_DO && d->pmtu != PMTU_PROBE && d->pmtu != PMTU_INTERFACE)
		return 0;
	if (d->recverr) {
		struct ip_error e = {.src = r->src, .dst = o->dst, .err = EMSGSIZE, .mtu = r->mtu};

		queue_error(d, &e, true, NULL);
		stack_wake(s, &d->wakeup, POLLERR);
	}
	return -EMSGSIZE;
}
