/*
 * The neighbour table of ARP and NDP: RFC 4861, section 7.3, which Linux also follows for ARP.
 *
 *	INCOMPLETE  asked for, packets wait       -> REACHABLE by an answer, FAILED after three questions, a second apart
 *	REACHABLE   confirmed lately              -> STALE when that is too long ago, which is seen when it is next used
 *	STALE       may be used                   -> DELAY when it is
 *	DELAY       used, waiting for a hint      -> REACHABLE by a transport's or an answer's word, PROBE after five seconds
 *	PROBE       asked directly                -> REACHABLE, FAILED
 *	PERMANENT   an administrator's word
 *
 * An entry that nobody uses has no timer. The table is bounded: the entry that has not been used for longest goes when
 * a new one finds no room, so that there is no collector. Packets that wait are bounded for each neighbour, where the
 * oldest goes, and altogether. If a neighbour does not answer, their senders are told by ICMP.
 */
#include "net/stack/neigh.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "sentry/base/slab.h"

#define SECOND 1000000000ll
#define MS 1000000ll
#define REACHABLE_TIME (30 * SECOND) /* times 0.5 to 1.5 */
#define DELAY_TIME (5 * SECOND)
#define RETRANS_TIME SECOND
#define LOCK_TIME SECOND /* a changed address by ARP counts only after that, against ping-pong of two that answer */
#define PROBES 3
#define NEIGHS_MAX 1024
#define QUEUE_MAX 64
#define QUEUED_MAX 2048
#define CONNECTED (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE)
#define VALID (CONNECTED | NUD_STALE | NUD_DELAY | NUD_PROBE)

static struct slab neigh_slab = SLAB_INIT(struct neigh);

void neigh_init(struct stack *s)
{
	for (unsigned i = 0; i < NEIGH_CHAINS; i++)
		list_init(&s->neighs[i]);
	list_init(&s->neigh_lru);
}

static struct list *chain(struct stack *s, const struct netdev *dev, const struct in6_addr *addr)
{
	return &s->neighs[addr_hash(s, addr, dev->index) % NEIGH_CHAINS];
}

struct neigh *neigh_find(struct stack *s, struct netdev *dev, const struct in6_addr *addr)
{
	struct neigh *n;

	list_for_each(n, chain(s, dev, addr), hash)
		if (n->dev == dev && addr_eq(&n->addr, addr))
			return n;
	return NULL;
}

static struct pkt *take_queued(struct stack *s, struct neigh *n)
{
	struct pkt *p = list_first(&n->queue, struct pkt, link);

	if (p) {
		list_remove(&p->link);
		n->queued--;
		s->neigh_queued--;
	}
	return p;
}

static void drop(struct stack *s, struct neigh *n) REQUIRES(L_NET)
{
	struct pkt *p;

	while ((p = take_queued(s, n)))
		pkt_free(p);
	net_timer_cancel(s, &n->timer);
	list_remove(&n->hash);
	list_remove(&n->lru);
	s->neigh_count--;
	stack_notify(s, STACK_NEIGH, true, n);
	slab_free(&neigh_slab, n);
}

static void solicit(struct stack *s, struct neigh *n, bool direct) REQUIRES(L_NET)
{
	const uint8_t *to = direct ? n->mac : NULL;

	if (addr_is_v4(&n->addr))
		arp_solicit(s, n->dev, &n->addr, to);
	else
		ndp_solicit(s, n->dev, &n->addr, to);
}

static void set_state(struct stack *s, struct neigh *n, uint8_t state) REQUIRES(L_NET)
{
	if (n->state == state)
		return;
	n->state = state;
	stack_notify(s, STACK_NEIGH, false, n);
}

static void fail(struct stack *s, struct neigh *n) REQUIRES(L_NET)
{
	struct list lost = LIST_INIT(lost);
	struct pkt *p;

	set_state(s, n, NUD_FAILED);
	list_splice(&lost, &n->queue);
	s->neigh_queued -= n->queued;
	n->queued = 0;
	/* n may go while the errors are sent. */
	while ((p = list_first(&lost, struct pkt, link))) {
		list_remove(&p->link);
		if (p->net == PKT_HEAD)
			p->net = p->head;
		if (p->room[p->net] >> 4 == 4)
			icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0);
		else
			icmp6_send_error(s, p, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADDR, 0);
		pkt_free(p);
	}
}

static void on_timer(struct stack *s, struct net_timer *t) REQUIRES(L_NET)
{
	struct neigh *n = container_of(t, struct neigh, timer);

	if (n->state == NUD_DELAY) {
		n->probes = 0;
		set_state(s, n, NUD_PROBE);
	}
	if (n->probes == PROBES) {
		fail(s, n);
		return;
	}
	n->probes++;
	net_timer_arm(s, t, s->now + RETRANS_TIME);
	solicit(s, n, n->state == NUD_PROBE);
}

static struct neigh *create(struct stack *s, struct netdev *dev, const struct in6_addr *addr) REQUIRES(L_NET)
{
	struct neigh *n = list_first(&s->neigh_lru, struct neigh, lru);

	if (s->neigh_count >= NEIGHS_MAX) {
		if (!n)
			return NULL;
		drop(s, n);
	}
	n = slab_alloc(&neigh_slab);
	if (!n)
		return NULL;
	n->dev = dev;
	n->addr = *addr;
	n->used = n->updated = s->now;
	list_init(&n->queue);
	net_timer_init(&n->timer, on_timer);
	list_append(&s->neigh_lru, &n->lru);
	list_push(chain(s, dev, addr), &n->hash);
	s->neigh_count++;
	return n;
}

static int send_to(struct stack *s, struct neigh *n, struct pkt *p) REQUIRES(L_NET)
{
	return ether_output(s, n->dev, p, n->mac, p->room[p->head] >> 4 == 4 ? 0x0800 : 0x86dd);
}

static int wait_for(struct stack *s, struct neigh *n, struct pkt *p) REQUIRES(L_NET)
{
	if (n->queued == QUEUE_MAX)
		pkt_free(take_queued(s, n));
	if (s->neigh_queued >= QUEUED_MAX) {
		pkt_free(p);
		return -ENOBUFS;
	}
	list_append(&n->queue, &p->link);
	n->queued++;
	s->neigh_queued++;
	if (n->state == NUD_INCOMPLETE)
		return 0;
	n->probes = 1;
	set_state(s, n, NUD_INCOMPLETE);
	net_timer_arm(s, &n->timer, s->now + RETRANS_TIME);
	solicit(s, n, false);
	return 0;
}

int neigh_output(struct stack *s, struct netdev *dev, const struct in6_addr *addr, struct pkt *p)
{
	struct neigh *n;

	if (dev->flags & IFF_NOARP)
		return ether_output(s, dev, p, dev->mac, p->room[p->head] >> 4 == 4 ? 0x0800 : 0x86dd);
	n = neigh_find(s, dev, addr);
	if (!n && !(n = create(s, dev, addr))) {
		pkt_free(p);
		return -ENOBUFS;
	}
	n->used = s->now;
	if (n->state == NUD_PERMANENT)
		return send_to(s, n, p);
	list_remove(&n->lru);
	list_append(&s->neigh_lru, &n->lru);
	if (!(n->state & VALID))
		return wait_for(s, n, p);
	if (n->state == NUD_REACHABLE && s->now >= n->reachable_until)
		n->state = NUD_STALE;
	if (n->state == NUD_STALE) {
		set_state(s, n, NUD_DELAY);
		net_timer_arm(s, &n->timer, s->now + DELAY_TIME);
	}
	return send_to(s, n, p);
}

/* Its address is known: what waits for it goes. */
static void settle(struct stack *s, struct neigh *n, uint8_t state) REQUIRES(L_NET)
{
	struct list ready = LIST_INIT(ready);
	struct pkt *p;

	if (state == NUD_REACHABLE)
		n->reachable_until = s->now + REACHABLE_TIME / 2 + stack_random32(s) % (REACHABLE_TIME / MS) * MS;
	if (state == NUD_PERMANENT)
		list_remove(&n->lru);
	else if (list_empty(&n->lru))
		list_append(&s->neigh_lru, &n->lru);
	net_timer_cancel(s, &n->timer);
	set_state(s, n, state);
	n->updated = s->now;
	list_splice(&ready, &n->queue);
	s->neigh_queued -= n->queued;
	n->queued = 0;
	while ((p = list_first(&ready, struct pkt, link))) {
		list_remove(&p->link);
		send_to(s, n, p);
	}
}

/* An administrator says that its address is not known: the next packet asks. */
static int unknown(struct stack *s, struct neigh *n) REQUIRES(L_NET)
{
	net_timer_cancel(s, &n->timer);
	if (list_empty(&n->lru))
		list_append(&s->neigh_lru, &n->lru);
	fail(s, n);
	return 0;
}

/* What an administrator may say: of those that a timer belongs to, it is made so that one comes to run. -EINVAL. */
static int admin_state(uint8_t state, uint8_t *ret)
{
	switch (state) {
	case NUD_PERMANENT:
	case NUD_REACHABLE:
	case NUD_STALE:
	case NUD_NOARP:
		*ret = state;
		return 0;
	case NUD_DELAY:
	case NUD_PROBE:
		*ret = NUD_STALE;
		return 0;
	case NUD_INCOMPLETE:
	case NUD_FAILED:
		*ret = NUD_FAILED;
		return 0;
	default:
		return -EINVAL;
	}
}

int neigh_update(struct stack *s, struct netdev *dev, const struct in6_addr *addr, const uint8_t *mac, uint8_t state,
		 unsigned flags)
{
	struct neigh *n = neigh_find(s, dev, addr);
	bool differs;

	if (flags & NEIGH_ADMIN && admin_state(state, &state))
		return -EINVAL;
	if (!n && (!(flags & NEIGH_CREATE) || !mac))
		return -ENOENT;
	if (!n && !(n = create(s, dev, addr)))
		return -ENOBUFS;
	if (n->state == NUD_PERMANENT && !(flags & NEIGH_ADMIN))
		return 0;
	if (state == NUD_FAILED)
		return unknown(s, n);
	if (!mac && !(n->state & VALID))
		return -EINVAL;
	differs = mac && n->state & VALID && memcmp(mac, n->mac, MAC_LEN) != 0;
	if (flags & NEIGH_ROUTER)
		n->router = flags & NEIGH_IS_ROUTER;
	if (differs && !(flags & (NEIGH_OVERRIDE | NEIGH_ADMIN))) {
		if (n->state == NUD_REACHABLE)
			set_state(s, n, NUD_STALE);
		return 0;
	}
	if (mac)
		memcpy(n->mac, mac, MAC_LEN);
	/* Hearsay of what is known confirms nothing. */
	if (state == NUD_STALE && n->state & VALID && !differs)
		return 0;
	settle(s, n, state);
	return 0;
}

void neigh_confirm(struct stack *s, struct netdev *dev, const struct in6_addr *addr)
{
	struct neigh *n = neigh_find(s, dev, addr);

	if (!n || !(n->state & VALID) || n->state == NUD_PERMANENT)
		return;
	/* For each acknowledgement of a transport: no more than need be. */
	if (n->state == NUD_REACHABLE)
		n->reachable_until = MAX(n->reachable_until, s->now + REACHABLE_TIME / 2);
	else
		settle(s, n, NUD_REACHABLE);
}

int neigh_del(struct stack *s, struct netdev *dev, const struct in6_addr *addr)
{
	struct neigh *n = neigh_find(s, dev, addr);

	if (!n)
		return -ENOENT;
	drop(s, n);
	return 0;
}

void neigh_flush_dev(struct stack *s, struct netdev *dev)
{
	for (unsigned i = 0; i < NEIGH_CHAINS; i++) {
		struct neigh *n, *next;

		list_for_each_safe(n, next, &s->neighs[i], hash)
			if (n->dev == dev)
				drop(s, n);
	}
}

void neigh_forget_dev(struct stack *s, const struct netdev *dev)
{
	for (unsigned i = 0; i < NEIGH_CHAINS; i++) {
		struct neigh *n;

		list_for_each(n, &s->neighs[i], hash) {
			struct pkt *p;

			list_for_each(p, &n->queue, link)
				if (p->dev == dev)
					p->dev = NULL;
		}
	}
}

void neigh_each(struct stack *s, bool (*fn)(void *arg, const struct neigh *n), void *arg)
{
	struct neigh *n;

	for (unsigned i = 0; i < NEIGH_CHAINS; i++)
		list_for_each(n, &s->neighs[i], hash)
			if (!fn(arg, n))
				return;
}

bool neigh_may_change(struct stack *s, const struct neigh *n)
{
	return s->now >= n->updated + LOCK_TIME;
}
