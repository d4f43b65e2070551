/*
 * Packets: see pkt.h.
 *
 * What has been pulled stays in the room in front of the head until something is pushed over it, so that an ICMP error
 * can quote it (pkt_unpull()). When a header must be made linear and the room behind the tail does not suffice, all
 * that is still of use moves to the room's beginning: from the lowest of head, net and transport on. A packet whose
 * headers do not fit there is refused: RFC 8504, section 5.3, allows a bound.
 *
 * No lock: a packet has one owner. Buffers are shared, counted, and written only by whoever fills them, beyond `used`.
 */
#include "net/stack/pkt.h"

#include <string.h>

#include "sentry/base/slab.h"

#define BUF_MAX (1u << 20)
#define SMALL_MAX 160u /* a packet from outside of at most that size needs no buffer */
#define LINK_ROOM 64u

static struct slab pkt_slab = SLAB_INIT(struct pkt);

struct buf *buf_create(uint32_t size)
{
	size_t whole = 64;
	struct buf *b;

	if (size > BUF_MAX)
		return NULL;
	while (whole < sizeof(*b) + size)
		whole *= 2;
	b = kalloc_dirty(whole);
	if (!b)
		return NULL;
	ref_init(&b->ref);
	b->used = 0;
	b->size = (uint32_t)(whole - sizeof(*b));
	return b;
}

struct buf *buf_get(struct buf *b)
{
	ref_get(&b->ref);
	return b;
}

void buf_put(struct buf *b)
{
	if (b && ref_put(&b->ref))
		kfree(b, sizeof(*b) + b->size);
}

struct pkt *pkt_create(void)
{
	struct pkt *p = slab_alloc_dirty(&pkt_slab);

	if (!p)
		return NULL;
	memset(p, 0, offsetof(struct pkt, slice));
	list_init(&p->link);
	p->head = p->tail = p->net = p->transport = PKT_HEAD;
	return p;
}

struct pkt *pkt_clone(const struct pkt *p)
{
	uint16_t low = MIN(p->head, MIN(p->net, p->transport));
	struct pkt *copy = slab_alloc_dirty(&pkt_slab);

	if (!copy)
		return NULL;
	memcpy(copy, p, offsetof(struct pkt, slice) + p->count * sizeof(p->slice[0]));
	memcpy(copy->room + low, p->room + low, p->tail - low);
	list_init(&copy->link);
	for (unsigned i = 0; i < copy->count; i++)
		buf_get(copy->slice[i].buf);
	return copy;
}

static void drop_slices(struct pkt *p, unsigned from)
{
	while (p->count > from)
		buf_put(p->slice[--p->count].buf);
}

void pkt_free(struct pkt *p)
{
	if (!p)
		return;
	drop_slices(p, 0);
	slab_free(&pkt_slab, p);
}

void pkt_free_all(struct list *queue)
{
	struct pkt *p;

	while ((p = list_first(queue, struct pkt, link))) {
		list_remove(&p->link);
		pkt_free(p);
	}
}

struct pkt *pkt_from(const void *data, size_t n)
{
	struct pkt *p = pkt_create();
	struct buf *b;
	bool ok;

	if (!p)
		return NULL;
	if (n <= SMALL_MAX) {
		p->head = LINK_ROOM;
		p->tail = (uint16_t)(LINK_ROOM + n);
		p->len = (uint32_t)n;
		memcpy(p->room + p->head, data, n);
		return p;
	}
	b = n > BUF_MAX ? NULL : buf_create((uint32_t)n);
	if (b) {
		memcpy(b->data, data, n);
		b->used = (uint32_t)n;
	}
	ok = b && pkt_append(p, b, 0, (uint32_t)n);
	buf_put(b);
	if (ok)
		return p;
	pkt_free(p);
	return NULL;
}

void *pkt_push(struct pkt *p, size_t n)
{
	if (n > p->head)
		return NULL;
	p->head -= (uint16_t)n;
	p->len += (uint32_t)n;
	return p->room + p->head;
}

void pkt_unpull(struct pkt *p, uint16_t at)
{
	if (at >= p->head)
		return;
	p->len += p->head - at;
	p->head = at;
}

/* Room for `need` bytes behind the tail. */
static bool make_room(struct pkt *p, size_t need)
{
	uint16_t low = MIN(p->head, MIN(p->net, p->transport));

	if (PKT_HEAD - p->tail >= (int)need)
		return true;
	if (need > PKT_HEAD || (size_t)(p->tail - low) > PKT_HEAD - need)
		return false;
	memmove(p->room, p->room + low, p->tail - low);
	p->head -= low;
	p->tail -= low;
	if (p->net != PKT_HEAD)
		p->net -= low;
	if (p->transport != PKT_HEAD)
		p->transport -= low;
	return true;
}

/* Takes n bytes off the first slices. The caller knows that they are there; they go to `to`, unless it is NULL. */
static void eat_slices(struct pkt *p, uint8_t *to, uint32_t n)
{
	unsigned gone = 0;

	while (n) {
		struct slice *s = &p->slice[gone];
		uint32_t part = MIN(n, s->len);

		if (to) {
			memcpy(to, s->buf->data + s->off, part);
			to += part;
		}
		s->off += part;
		s->len -= part;
		n -= part;
		if (s->len == 0)
			buf_put(p->slice[gone++].buf);
	}
	p->count -= (uint8_t)gone;
	if (gone)
		memmove(p->slice, p->slice + gone, p->count * sizeof(p->slice[0]));
}

void *pkt_peek(struct pkt *p, size_t n)
{
	uint32_t linear = p->tail - p->head;

	if (n > p->len || n > PKT_HEAD)
		return NULL;
	if (n > linear) {
		uint32_t more = (uint32_t)n - linear;

		if (!make_room(p, more))
			return NULL;
		eat_slices(p, p->room + p->tail, more);
		p->tail += (uint16_t)more;
	}
	return p->room + p->head;
}

void *pkt_pull(struct pkt *p, size_t n)
{
	void *at = pkt_peek(p, n);

	if (!at)
		return NULL;
	p->head += (uint16_t)n;
	p->len -= (uint32_t)n;
	return at;
}

void pkt_trim(struct pkt *p, uint32_t len)
{
	uint32_t linear = p->tail - p->head;
	uint32_t over = p->len > len ? p->len - len : 0;

	while (over && p->count) {
		struct slice *s = &p->slice[p->count - 1];
		uint32_t part = MIN(over, s->len);

		s->len -= part;
		p->len -= part;
		over -= part;
		if (s->len == 0)
			drop_slices(p, p->count - 1u);
	}
	over = MIN(over, linear);
	p->tail -= (uint16_t)over;
	p->len -= over;
}

void pkt_skip(struct pkt *p, uint32_t n)
{
	uint32_t linear = MIN(n, (uint32_t)(p->tail - p->head));

	n = MIN(n, p->len);
	linear = MIN(linear, n);
	p->head += (uint16_t)linear;
	eat_slices(p, NULL, n - linear);
	p->len -= n;
}

bool pkt_append(struct pkt *p, struct buf *b, uint32_t off, uint32_t len)
{
	struct slice *last = p->count ? &p->slice[p->count - 1] : NULL;

	if (len == 0)
		return true;
	if (last && last->buf == b && last->off + last->len == off) {
		last->len += len;
	} else {
		if (p->count == PKT_SLICES)
			return false;
		p->slice[p->count++] = (struct slice){buf_get(b), off, len};
	}
	p->len += len;
	return true;
}

static bool append_copy(struct pkt *p, const void *data, uint32_t n)
{
	struct buf *b = buf_create(n);
	bool ok;

	if (!b)
		return false;
	memcpy(b->data, data, n);
	b->used = n;
	ok = pkt_append(p, b, 0, n);
	buf_put(b);
	return ok;
}

bool pkt_append_from(struct pkt *p, const struct pkt *from, uint32_t off, uint32_t len)
{
	uint32_t linear = from->tail - from->head, was = p->len;
	bool ok = off <= from->len && len <= from->len - off;

	if (ok && len && off < linear) {
		uint32_t part = MIN(len, linear - off);

		ok = append_copy(p, from->room + from->head + off, part);
		off += part;
		len -= part;
	}
	off -= MIN(off, linear);
	for (unsigned i = 0; ok && len && i < from->count; i++) {
		const struct slice *s = &from->slice[i];
		uint32_t part = off < s->len ? MIN(len, s->len - off) : 0;

		ok = pkt_append(p, s->buf, s->off + off, part);
		off -= MIN(off, s->len);
		len -= part;
	}
	if (!ok)
		pkt_trim(p, was);
	return ok;
}

uint32_t pkt_pinned(const struct pkt *p)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < p->count; i++)
		sum += MAX(p->slice[i].buf->size, p->slice[i].len);
	return sum;
}

bool pkt_compact(struct pkt *p)
{
	uint32_t linear = p->tail - p->head, n = p->len - linear;
	struct buf *b;
	bool ok;

	if (pkt_pinned(p) <= 2 * n + PKT_HEAD)
		return true;
	b = buf_create(n);
	if (!b)
		return false;
	ok = pkt_copy(p, linear, b->data, n);
	BUG_ON(!ok);
	b->used = n;
	drop_slices(p, 0);
	p->len = linear;
	ok = pkt_append(p, b, 0, n);
	BUG_ON(!ok);
	buf_put(b);
	return true;
}

bool pkt_copy(const struct pkt *p, uint32_t off, void *dst, size_t n)
{
	uint32_t linear = p->tail - p->head;
	uint8_t *to = dst;

	if (off > p->len || n > p->len - off)
		return false;
	if (off < linear) {
		size_t part = MIN(n, (size_t)(linear - off));

		memcpy(to, p->room + p->head + off, part);
		to += part;
		n -= part;
		off = linear;
	}
	off -= linear;
	for (unsigned i = 0; n; i++) {
		const struct slice *s = &p->slice[i];
		size_t part = off < s->len ? MIN(n, (size_t)(s->len - off)) : 0;

		if (part)
			memcpy(to, s->buf->data + s->off + off, part);
		to += part;
		n -= part;
		off -= MIN(off, s->len);
	}
	return true;
}
