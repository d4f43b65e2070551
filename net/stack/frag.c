/*
 * Reassembly: RFC 791, 815, 8200 (4.5), 5722 (overlaps), 3168 (5.3).
 *
 * A queue for each packet whose fragments come keeps them in order. What overlaps another fragment ends the queue, of
 * IPv4 too, as on Linux: nobody overlaps in good faith. An exact copy is only ignored. All queues together hold at most
 * MEMORY_MAX, each at most FRAGS_MAX fragments; when there is no room, the oldest queue goes. One that is not complete
 * after 30 seconds (IPv6: 60) goes too, and if its first fragment is there, the source is told.
 *
 * A complete packet is copied into one buffer: it has more fragments than a packet has slices. A fragment's offset
 * waits in its pkt's info.dev.
 */
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/port.h"
#include "sentry/base/slab.h"

#define SECOND 1000000000ll
#define MEMORY_MAX (4u << 20)
#define FRAGS_MAX 256

struct frag_queue {
	struct list hash, age;
	struct frag_id id;
	struct list frags;
	unsigned count;
	uint32_t have, total; /* bytes; total 0: the last fragment is not there */
	uint32_t memory;
	uint8_t ecn; /* bit n: a fragment had ECN field n */
	struct net_timer timer;
};

static struct slab queue_slab = SLAB_INIT(struct frag_queue);

static uint32_t offset_of(const struct pkt *p)
{
	return p->info.dev;
}

static struct list *chain(struct stack *s, const struct frag_id *id) REQUIRES(L_NET)
{
	return &s->frags[port_hash(s, &id->src, (uint16_t)id->id, &id->dst, (uint16_t)(id->id >> 16)) % FRAG_CHAINS];
}

static bool v4_of(const struct frag_queue *q)
{
	return addr_is_v4(&q->id.dst);
}

static void count(struct stack *s, bool v4, enum mib m4, enum mib m6) REQUIRES(L_NET)
{
	mib_add(s, v4 ? m4 : m6, 1);
}

static void drop(struct stack *s, struct frag_queue *q) REQUIRES(L_NET)
{
	net_timer_cancel(s, &q->timer);
	pkt_free_all(&q->frags);
	list_remove(&q->hash);
	list_remove(&q->age);
	s->frag_memory -= q->memory;
	slab_free(&queue_slab, q);
}

static void drop_failed(struct stack *s, struct frag_queue *q) REQUIRES(L_NET)
{
	count(s, v4_of(q), MIB_IP_REASM_FAILS, MIB_IP6_REASM_FAILS);
	drop(s, q);
}

static void timeout(struct stack *s, struct net_timer *t) REQUIRES(L_NET)
{
	struct frag_queue *q = container_of(t, struct frag_queue, timer);
	struct pkt *first = list_first(&q->frags, struct pkt, link);
	bool v4 = v4_of(q);

	count(s, v4, MIB_IP_REASM_TIMEOUT, MIB_IP6_REASM_TIMEOUT);
	if (first && offset_of(first) == 0)
		list_remove(&first->link);
	else
		first = NULL;
	drop_failed(s, q);
	if (!first)
		return;
	pkt_unpull(first, first->net);
	if (v4)
		icmp_send_error(s, first, ICMP_TIME_EXCEEDED, ICMP_EXC_FRAGTIME, 0);
	else
		icmp6_send_error(s, first, ICMP6_TIME_EXCEEDED, ICMP6_TIME_EXCEED_REASSEMBLY, 0);
	pkt_free(first);
}

static struct frag_queue *find(struct stack *s, const struct frag_id *id) REQUIRES(L_NET)
{
	struct frag_queue *q;

	list_for_each(q, chain(s, id), hash)
		if (q->id.id == id->id && q->id.protocol == id->protocol && q->id.dev == id->dev &&
		    addr_eq(&q->id.src, &id->src) && addr_eq(&q->id.dst, &id->dst))
			return q;
	q = slab_alloc(&queue_slab);
	if (!q)
		return NULL;
	q->id = *id;
	list_init(&q->frags);
	net_timer_init(&q->timer, timeout);
	net_timer_arm(s, &q->timer, s->now + (addr_is_v4(&id->dst) ? 30 : 60) * SECOND);
	list_append(chain(s, id), &q->hash);
	list_append(&s->frag_age, &q->age);
	return q;
}

/* Notes where the packet ends. False: the fragments contradict each other. */
static bool note_end(struct frag_queue *q, uint32_t end, bool more)
{
	const struct pkt *last = list_last(&q->frags, struct pkt, link);
	uint32_t known = last ? offset_of(last) + last->len : 0;

	if (more)
		return !q->total || end <= q->total;
	if ((q->total && q->total != end) || known > end)
		return false;
	q->total = end;
	return true;
}

enum place { PLACED, COPY, OVERLAP };

static enum place insert(struct frag_queue *q, struct pkt *p)
{
	uint32_t off = offset_of(p), end = off + p->len;
	struct list *at = q->frags.prev;

	for (; at != &q->frags; at = at->prev) {
		const struct pkt *other = list_entry(at, struct pkt, link);

		if (offset_of(other) == off && other->len == p->len)
			return COPY;
		if (offset_of(other) + other->len <= off)
			break;
		if (offset_of(other) < end)
			return OVERLAP;
	}
	list_link(&p->link, at, at->next);
	return PLACED;
}

/* Congestion that one fragment met, all have met; a mixture with packets that do not speak ECN is none. False: drop it. */
static bool merge_ecn(const struct frag_queue *q, uint8_t *tos)
{
	bool not_ect = q->ecn & 1, ce = q->ecn & 8;

	if (not_ect && q->ecn != 1)
		return false;
	if (ce)
		*tos |= 3;
	return true;
}

static struct pkt *assemble(struct frag_queue *q)
{
	struct pkt *first = list_first(&q->frags, struct pkt, link), *f, *p = pkt_create();
	uint16_t head = first->head - first->net;
	struct buf *b = p ? buf_create(q->total) : NULL;
	void *h = b ? pkt_push(p, head) : NULL;
	bool ok = h != NULL;

	if (ok) {
		memcpy(h, first->room + first->net, head);
		p->net = p->head;
		list_for_each(f, &q->frags, link)
			ok = ok && pkt_copy(f, 0, b->data + offset_of(f), f->len);
		b->used = q->total;
		ok = ok && pkt_append(p, b, 0, q->total) && pkt_pull(p, head);
		p->dev = first->dev;
		p->link_type = first->link_type;
	}
	buf_put(b);
	if (ok)
		return p;
	pkt_free(p);
	return NULL;
}

static struct pkt *complete(struct stack *s, struct frag_queue *q, uint8_t *tos) REQUIRES(L_NET)
{
	const struct pkt *first = list_first(&q->frags, struct pkt, link);
	/* IPv6 counts what is behind its header; the fragment header goes. */
	bool fits = q->total + (uint32_t)(first->head - first->net) <= PKT_MAX + (v4_of(q) ? 0 : 48u);
	struct pkt *p = fits && merge_ecn(q, tos) ? assemble(q) : NULL;

	if (!p) {
		drop_failed(s, q);
		return NULL;
	}
	count(s, v4_of(q), MIB_IP_REASM_OKS, MIB_IP6_REASM_OKS);
	drop(s, q);
	return p;
}

static void make_room(struct stack *s, const struct frag_queue *keep) REQUIRES(L_NET)
{
	struct frag_queue *q;

	while (s->frag_memory > MEMORY_MAX && (q = list_first(&s->frag_age, struct frag_queue, age)) && q != keep)
		drop_failed(s, q);
}

struct pkt *frag_input(struct stack *s, struct pkt *p, const struct frag_id *id, uint32_t off, bool more, uint8_t *ecn)
{
	uint32_t memory = (uint32_t)sizeof(*p) + p->len, end = off + p->len;
	bool v4 = addr_is_v4(&id->dst);
	struct frag_queue *q;

	count(s, v4, MIB_IP_REASM_REQDS, MIB_IP6_REASM_REQDS);
	if (end > PKT_MAX || p->len == 0 || (more && p->len % 8) || !(q = find(s, id))) {
		count(s, v4, MIB_IP_REASM_FAILS, MIB_IP6_REASM_FAILS);
		pkt_free(p);
		return NULL;
	}
	p->info.dev = off;
	p->checksum_ok = p->checksum_partial = false;
	switch (q->count < FRAGS_MAX && note_end(q, end, more) ? insert(q, p) : OVERLAP) {
	case COPY:
		pkt_free(p);
		return NULL;
	case OVERLAP:
		pkt_free(p);
		drop_failed(s, q);
		return NULL;
	case PLACED:
		break;
	}
	q->count++;
	q->have += p->len;
	q->memory += memory;
	q->ecn |= (uint8_t)(1u << (*ecn & 3));
	s->frag_memory += memory;
	if (q->have == q->total)
		return complete(s, q, ecn);
	make_room(s, q);
	return NULL;
}

void frag_flush_dev(struct stack *s, struct netdev *dev)
{
	struct frag_queue *q, *next;

	list_for_each_safe(q, next, &s->frag_age, age)
		if (q->id.dev == dev->index)
			drop(s, q);
}

void frag_flush_all(struct stack *s)
{
	struct frag_queue *q;

	while ((q = list_first(&s->frag_age, struct frag_queue, age)))
		drop(s, q);
}
