/*
 * The tables of ports: see port.h. RFC 6056 (3.3.4 for connections, 3.3.1 for others).
 *
 * The ports in use stand in a map of bits, in which a free one is found at once though there be few, and their buckets in
 * a table of two levels. A bucket has two lists: those that listen, which look-ups search, and the rest, which only
 * conflicts search, so that a listener with ten thousand connections is still found at once. A new listener goes to the
 * front: of several that suit a packet equally, the last one bound gets it, as on Linux. It also knows whether all in it
 * would share with whoever shares, so that the ten thousandth socket with SO_REUSEPORT looks at none of the others.
 */
#include "net/stack/port.h"

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/siphash.h"
#include "sentry/base/slab.h"

struct port_bucket {
	uint8_t space;
	uint16_t port;
	unsigned no_addr, no_port; /* who does not share by SO_REUSEADDR; by SO_REUSEPORT */
	uint32_t uid;              /* of all */
	bool uids_differ;
	unsigned users, manual; /* manual: not by port_connect() */
	struct list listeners, others;
};

/* 256 ports. */
struct port_page {
	unsigned count;
	struct port_bucket *at[256];
};

static struct slab page_slab = SLAB_INIT(struct port_page);
static struct slab bucket_slab = SLAB_INIT(struct port_bucket);

uint32_t port_hash(struct stack *s, const struct in6_addr *a, uint16_t aport, const struct in6_addr *b, uint16_t bport)
{
	struct {
		struct in6_addr a, b;
		uint16_t aport, bport;
	} key = {*a, *b, aport, bport};

	return (uint32_t)siphash(s->key, &key, sizeof(key));
}

/* ---- buckets ---- */

static struct port_page **page_of(struct stack *s, uint8_t space, uint16_t port)
{
	return &s->ports[space * 256 + port / 256];
}

static struct port_bucket *find(struct stack *s, uint8_t space, uint16_t port)
{
	struct port_page *page = *page_of(s, space, port);

	return page ? page->at[port % 256] : NULL;
}

static void note_used(struct stack *s, const struct port_bucket *k, bool used)
{
	uint64_t *word = &s->port_used[k->space * (65536 / 64) + k->port / 64], bit = 1ull << k->port % 64;

	*word = used ? *word | bit : *word & ~bit;
}

static struct port_bucket *create(struct stack *s, uint8_t space, uint16_t port)
{
	struct port_page **page = page_of(s, space, port);
	struct port_bucket *k;

	if (!*page)
		*page = slab_alloc(&page_slab);
	k = *page ? slab_alloc(&bucket_slab) : NULL;
	if (!k)
		return NULL;
	k->space = space;
	k->port = port;
	list_init(&k->listeners);
	list_init(&k->others);
	(*page)->at[port % 256] = k;
	(*page)->count++;
	note_used(s, k, true);
	return k;
}

static void destroy(struct stack *s, struct port_bucket *k)
{
	struct port_page **page = page_of(s, k->space, k->port);

	note_used(s, k, false);
	(*page)->at[k->port % 256] = NULL;
	if (--(*page)->count == 0)
		slab_free(&page_slab, take(*page));
	slab_free(&bucket_slab, k);
}

void port_fini(struct stack *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->ports); i++)
		slab_free(&page_slab, take(s->ports[i])); /* made for a bucket for which there was no memory */
}

/* A port without a bucket, from the one with that number on; 0: there is none. */
static uint16_t find_free(const struct stack *s, uint8_t space, uint32_t start)
{
	const uint64_t *map = s->port_used + space * (65536 / 64);
	uint32_t count = s->port_high - s->port_low + 1u;

	for (uint32_t i = 0; i < count;) {
		uint32_t port = s->port_low + (start + i) % count;
		uint64_t free = ~map[port / 64] >> port % 64;

		if (free & 1)
			return (uint16_t)port;
		i += MIN(free ? (uint32_t)__builtin_ctzll(free) : 64 - port % 64, s->port_high - port + 1u);
	}
	return 0;
}

/* ---- who shares ---- */

static void count_sharing(struct port_bucket *k, struct port_bind *b, bool in)
{
	if (in) {
		b->counts_addr = !b->reuse_addr || (k->space == PORT_TCP && b->listening);
		b->counts_port = !b->reuse_port;
		if (k->users == 0) {
			k->uid = b->uid;
			k->uids_differ = false;
		}
		k->uids_differ |= k->uid != b->uid;
	}
	k->no_addr += in ? b->counts_addr : -(unsigned)b->counts_addr;
	k->no_port += in ? b->counts_port : -(unsigned)b->counts_port;
}

void port_refresh(struct port_bind *b)
{
	if (!b->bucket)
		return;
	count_sharing(b->bucket, b, false);
	count_sharing(b->bucket, b, true);
}

static bool all_share(const struct port_bucket *k, const struct port_bind *b)
{
	return (b->reuse_addr && !k->no_addr) || (b->reuse_port && !k->no_port && !k->uids_differ && k->uid == b->uid);
}

static void enter(struct port_bucket *k, struct port_bind *b)
{
	b->port = k->port;
	b->bucket = k;
	count_sharing(k, b, true);
	k->users++;
	k->manual += !b->automatic;
	list_push(b->listening ? &k->listeners : &k->others, &b->link);
}

void port_bind_init(struct port_bind *b, enum port_space space)
{
	memset(b, 0, sizeof(*b));
	b->space = (uint8_t)space;
	b->listening = space != PORT_TCP;
	list_init(&b->link);
}

void port_unbind(struct stack *s, struct port_bind *b)
{
	struct port_bucket *k = b->bucket;

	if (!k)
		return;
	list_remove(&b->link);
	k->manual -= !b->automatic;
	count_sharing(k, b, false);
	if (--k->users == 0)
		destroy(s, k);
	b->bucket = NULL;
	b->port = 0;
	b->automatic = false;
}

/* ---- conflicts ---- */

static bool overlap(const struct port_bind *a, const struct port_bind *b)
{
	bool a4 = addr_is_v4(&a->addr), b4 = addr_is_v4(&b->addr);

	if (a->bound_dev && b->bound_dev && a->bound_dev != b->bound_dev)
		return false;
	if (a4 == b4)
		return addr_is_any(&a->addr) || addr_is_any(&b->addr) || addr_eq(&a->addr, &b->addr);
	return a4 ? addr_is_any(&b->addr) && !b->v6only : addr_is_any(&a->addr) && !a->v6only;
}

/* a comes to a port that b has. */
static bool conflict(const struct port_bind *a, const struct port_bind *b)
{
	bool listens = a->space == PORT_TCP && b->listening;

	if (a == b || !overlap(a, b))
		return false;
	if (a->reuse_addr && b->reuse_addr && !listens)
		return false;
	return !(a->reuse_port && b->reuse_port && a->uid == b->uid);
}

static bool conflicts(const struct port_bucket *k, const struct port_bind *b)
{
	const struct port_bind *other;

	if (all_share(k, b))
		return false;
	list_for_each(other, &k->listeners, link)
		if (conflict(b, other))
			return true;
	list_for_each(other, &k->others, link)
		if (conflict(b, other))
			return true;
	return false;
}

static int bind_to(struct stack *s, struct port_bind *b, uint16_t port)
{
	struct port_bucket *k = find(s, b->space, port);

	if (k && conflicts(k, b))
		return -EADDRINUSE;
	if (!k && !(k = create(s, b->space, port)))
		return -ENOMEM;
	enter(k, b);
	return 0;
}

int port_bind(struct stack *s, struct port_bind *b, uint16_t port)
{
	uint32_t count = s->port_high - s->port_low + 1u, start;
	int err = -EADDRINUSE;

	b->automatic = false;
	if (port)
		return bind_to(s, b, port);
	start = stack_random32(s) % count;
	port = find_free(s, b->space, start);
	if (port)
		return bind_to(s, b, port);
	/* None is free: perhaps one can be shared. */
	for (uint32_t i = 0; i < count && err == -EADDRINUSE; i++)
		err = bind_to(s, b, (uint16_t)(s->port_low + (start + i) % count));
	return err;
}

int port_connect(struct stack *s, struct port_bind *b, const struct in6_addr *peer, uint16_t peer_port,
		 bool (*usable)(void *arg, uint16_t port), void *arg)
{
	uint32_t count = s->port_high - s->port_low + 1u, h = port_hash(s, &b->addr, 0, peer, peer_port);
	uint32_t *moved = &s->port_moved[h % PORT_MOVES], start = (h >> 8) + *moved;

	for (uint32_t i = 0; i < count; i++) {
		uint16_t port = (uint16_t)(s->port_low + (start + i) % count);
		struct port_bucket *k = find(s, b->space, port);

		if (k && (k->manual || !usable(arg, port)))
			continue;
		k = find(s, b->space, port); /* usable() may have freed who used it last */
		if (!k && !(k = create(s, b->space, port)))
			return -ENOMEM;
		/* Further than need be by chance, so that what others do does not show in the numbers. */
		*moved += i + 1 + stack_random32(s) % 2;
		b->automatic = true;
		enter(k, b);
		return 0;
	}
	return -EADDRNOTAVAIL;
}

void port_inherit(struct stack *s __unused, struct port_bind *b, const struct port_bind *from)
{
	BUG_ON(!from->bucket || b->bucket);
	b->automatic = from->automatic;
	enter(from->bucket, b);
}

static void move(struct port_bind *b, bool listening) REQUIRES(L_NET)
{
	struct port_bucket *k = b->bucket;

	b->listening = listening;
	list_remove(&b->link);
	list_push(listening ? &k->listeners : &k->others, &b->link);
	port_refresh(b);
}

int port_listen(struct stack *s __unused, struct port_bind *b)
{
	if (conflicts(b->bucket, b))
		return -EADDRINUSE;
	move(b, true);
	return 0;
}

void port_unlisten(struct stack *s __unused, struct port_bind *b)
{
	if (b->bucket && b->listening)
		move(b, false);
	b->listening = false;
}

void port_range_get(struct stack *s, uint16_t *ret_low, uint16_t *ret_high)
{
	*ret_low = s->port_low;
	*ret_high = s->port_high;
}

void port_range_set(struct stack *s, uint16_t low, uint16_t high)
{
	s->port_low = low;
	s->port_high = high;
}

/* ---- look-up ---- */

/* How well b suits a packet; -1: not at all. */
static int score(const struct port_bind *b, const struct in6_addr *dst, const struct in6_addr *src, uint16_t sport,
		 unsigned dev)
{
	bool any = addr_is_any(&b->addr), v4 = addr_is_v4(&b->addr);
	int n = v4;

	if (any ? v4 != addr_is_v4(dst) && (v4 || b->v6only) : !addr_eq(&b->addr, dst))
		return -1;
	n += any ? 0 : 4;
	if (b->bound_dev) {
		if (b->bound_dev != dev)
			return -1;
		n += 4;
	}
	if (b->peer_port) {
		if (b->peer_port != sport || !addr_eq(&b->peer, src))
			return -1;
		n += 8;
	}
	return n;
}

bool port_suits(const struct port_bind *b, const struct in6_addr *dst, const struct in6_addr *src, uint16_t sport,
		unsigned dev)
{
	return score(b, dst, src, sport, dev) >= 0;
}

struct port_bind *port_lookup(struct stack *s, enum port_space space, const struct in6_addr *dst, uint16_t dport,
			      const struct in6_addr *src, uint16_t sport, unsigned dev, uint32_t hash)
{
	struct port_bucket *k = find(s, space, dport);
	struct port_bind *b, *best = NULL;
	int best_score = -1;
	uint32_t group = 0, pick;

	if (!k)
		return NULL;
	list_for_each(b, &k->listeners, link) {
		int n = score(b, dst, src, sport, dev);

		if (n > best_score) {
			best = b;
			best_score = n;
			group = 0;
		}
		group += n >= 0 && n == best_score && b->reuse_port;
	}
	if (!best || !best->reuse_port || group < 2 || best->peer_port)
		return best;
	if (!hash)
		hash = port_hash(s, src, sport, dst, dport);
	pick = (uint32_t)((uint64_t)hash * group >> 32);
	list_for_each(b, &k->listeners, link)
		if (b->reuse_port && score(b, dst, src, sport, dev) == best_score && pick-- == 0)
			return b;
	return best;
}

struct port_bind *port_next(struct stack *s, enum port_space space, uint16_t port, struct port_bind *after)
{
	struct port_bucket *k = after ? after->bucket : find(s, space, port);
	struct list *next;

	if (!k)
		return NULL;
	next = after ? after->link.next : k->listeners.next;
	return next == &k->listeners ? NULL : list_entry(next, struct port_bind, link);
}
