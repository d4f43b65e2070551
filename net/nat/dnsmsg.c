/*
 * DNS messages: see dnsmsg.h.
 *
 * A filtered answer is made anew, record by record: leaving records out in place would break the pointers of compressed names behind them.
 * Names in the data of types that RFC 3597 (4) lists as compressible are written out; data of other types is copied as it is. An owner's name is
 * compressed if it is the question's, the last owner's or the last target's, which is what answers consist of.
 */
#include "net/nat/dnsmsg.h"

#include <string.h>

#include "net/stack/addr.h"

#define CHAIN_MAX 16
#define POINTERS_MAX 32 /* in one name */
#define FLAG_QR 0x8000
#define FLAG_AA 0x0400
#define FLAG_TC 0x0200
#define FLAG_RD 0x0100
#define FLAG_RA 0x0080
#define FLAG_AD 0x0020
#define FLAG_CD 0x0010
#define OPCODE(flags) ((flags) >> 11 & 15)
#define EDNS_DO 0x8000u
#define EDNS_SIZE 1232 /* what passes everywhere unfragmented */
#define OPTION_EDE 15
#define EDE_BLOCKED 15

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* ---- names ---- */

/* Pointers lead backwards only, each before the one that it is in: so they come to an end. */
bool dns_name_read(const uint8_t *msg, size_t n, size_t *at, struct dns_name *ret)
{
	size_t i = *at, limit = *at, size = 0;
	unsigned jumps = 0;

	while (i < n) {
		unsigned len = msg[i];

		if ((len & 0xc0) == 0xc0) {
			if (i + 1 >= n)
				return false;
			if (!jumps++)
				*at = i + 2;
			i = (len & 0x3fu) << 8 | msg[i + 1];
			if (i >= limit || jumps > POINTERS_MAX)
				return false;
			limit = i;
			continue;
		}
		if (len & 0xc0 || len >= n - i || size + len + 1 > sizeof(ret->wire))
			return false;
		memcpy(ret->wire + size, msg + i, len + 1);
		size += len + 1;
		i += len + 1;
		if (len)
			continue;
		if (!jumps)
			*at = i;
		ret->size = (uint8_t)size;
		return true;
	}
	return false;
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

bool dns_name_eq(const struct dns_name *a, const struct dns_name *b)
{
	if (a->size != b->size)
		return false;
	/* Lengths of labels are below 64 and not letters. */
	for (unsigned i = 0; i < a->size; i++)
		if (lower(a->wire[i]) != lower(b->wire[i]))
			return false;
	return true;
}

bool dns_name_text(const struct dns_name *name, char ret[NAME_MAX_SIZE])
{
	char text[255];
	unsigned n = 0;

	for (unsigned i = 0; i < name->size && name->wire[i]; i += name->wire[i] + 1u) {
		/* A dot inside of a label is none. */
		if (memchr(name->wire + i + 1, '.', name->wire[i]))
			n = sizeof(text);
		if (n + name->wire[i] + 1 > sizeof(text))
			break;
		memcpy(text + n, name->wire + i + 1, name->wire[i]);
		n += name->wire[i];
		text[n++] = '.';
	}
	if (n < sizeof(text) && name_from_text(text, n, ret))
		return true;
	ret[0] = 0;
	return false;
}

/* ---- queries ---- */

struct record {
	struct dns_name owner;
	uint16_t type, class;
	uint32_t ttl;
	size_t data; /* offset */
	uint16_t size;
};

static bool record_read(const uint8_t *msg, size_t n, size_t *at, struct record *ret)
{
	const uint8_t *p;

	if (!dns_name_read(msg, n, at, &ret->owner) || n - *at < 10)
		return false;
	p = msg + *at;
	ret->type = get16(p);
	ret->class = get16(p + 2);
	ret->ttl = get32(p + 4);
	ret->size = get16(p + 8);
	ret->data = *at + 10;
	if (ret->size > n - ret->data)
		return false;
	*at = ret->data + ret->size;
	return true;
}

static bool question_read(const uint8_t *msg, size_t n, size_t *at, struct dns_query *ret)
{
	if (!dns_name_read(msg, n, at, &ret->name) || n - *at < 4)
		return false;
	ret->type = get16(msg + *at);
	ret->class = get16(msg + *at + 2);
	*at += 4;
	return true;
}

int dns_query_parse(const uint8_t *msg, size_t n, struct dns_query *ret)
{
	size_t at = DNS_HEAD;
	unsigned records;
	struct record r;

	*ret = (struct dns_query){.udp_size = DNS_UDP_MIN};
	if (n < DNS_HEAD)
		return -1;
	ret->id = get16(msg);
	ret->flags = get16(msg + 2);
	if (ret->flags & FLAG_QR)
		return -1;
	if (OPCODE(ret->flags))
		return DNS_NOTIMP;
	/* Answers in a question are of dynamic updates. */
	if (get16(msg + 4) != 1 || get16(msg + 6) || !question_read(msg, n, &at, ret)) {
		ret->name.size = 0;
		return DNS_FORMERR;
	}
	records = get16(msg + 8) + (unsigned)get16(msg + 10);
	for (; records; records--) {
		if (!record_read(msg, n, &at, &r) || (r.type == DNS_OPT && (ret->edns || r.owner.size != 1)))
			return DNS_FORMERR;
		if (r.type != DNS_OPT)
			continue;
		ret->edns = true;
		ret->udp_size = MAX(r.class, DNS_UDP_MIN);
		ret->dnssec_ok = r.ttl & EDNS_DO;
	}
	return DNS_NOERROR;
}

static size_t head_write(const struct dns_query *q, uint16_t id, unsigned flags, uint8_t *to, size_t room)
{
	if (room < DNS_HEAD + q->name.size + 4u)
		return 0;
	memset(to, 0, DNS_HEAD);
	put16(to, id);
	put16(to + 2, flags);
	if (!q->name.size)
		return DNS_HEAD;
	put16(to + 4, 1);
	memcpy(to + DNS_HEAD, q->name.wire, q->name.size);
	put16(to + DNS_HEAD + q->name.size, q->type);
	put16(to + DNS_HEAD + q->name.size + 2, q->class);
	return DNS_HEAD + q->name.size + 4u;
}

/* The only record of the additional section. */
static size_t opt_write(uint8_t *msg, size_t n, size_t room, unsigned size, bool dnssec_ok, const uint8_t *option,
			size_t option_size)
{
	uint8_t *p = msg + n;

	if (room - n < 11 + option_size)
		return 0;
	memset(p, 0, 11);
	put16(p + 1, DNS_OPT);
	put16(p + 3, size);
	put16(p + 7, dnssec_ok ? EDNS_DO : 0);
	put16(p + 9, (unsigned)option_size);
	memcpy(p + 11, option, option_size);
	put16(msg + 10, 1);
	return n + 11 + option_size;
}

size_t dns_query_build(const struct dns_query *q, uint16_t id, uint8_t *to, size_t room)
{
	size_t n = head_write(q, id, q->flags & (FLAG_RD | FLAG_AD | FLAG_CD), to, room);

	if (!n || !q->edns)
		return n;
	return opt_write(to, n, room, q->udp_size, q->dnssec_ok, NULL, 0);
}

/* ---- answers of our own ---- */

static size_t address_write(uint8_t *msg, size_t n, size_t room, const struct dns_query *q, const struct in6_addr *addr)
{
	unsigned size = q->type == DNS_A ? 4 : 16;
	uint8_t *p = msg + n;

	if (room - n < 12u + size)
		return 0;
	memset(p, 0, 12);
	put16(p, 0xc000 | DNS_HEAD);
	put16(p + 2, q->type);
	put16(p + 4, q->class);
	put16(p + 10, size);
	memcpy(p + 12, addr->s6_addr + 16 - size, size);
	put16(msg + 6, 1);
	return n + 12 + size;
}

size_t dns_reply_build(const struct dns_query *q, enum dns_rcode rcode, const struct in6_addr *addr, bool blocked,
		       uint8_t *to, size_t room)
{
	static const uint8_t blocked_option[] = {0, OPTION_EDE, 0, 2, 0, EDE_BLOCKED};
	unsigned flags = FLAG_QR | FLAG_RA | (q->flags & (0x7800 | FLAG_RD | FLAG_CD)) | rcode;
	size_t n = head_write(q, q->id, flags, to, room);

	if (n && addr)
		n = address_write(to, n, room, q, addr);
	if (!n || !q->edns)
		return n;
	return opt_write(to, n, room, EDNS_SIZE, q->dnssec_ok, blocked_option, blocked ? sizeof(blocked_option) : 0);
}

/* ---- answers of servers ---- */

bool dns_is_answer(const struct dns_query *q, uint16_t id, const uint8_t *msg, size_t n)
{
	struct dns_query of;
	size_t at = DNS_HEAD;

	if (n < DNS_HEAD || get16(msg) != id || !(get16(msg + 2) & FLAG_QR) || OPCODE(get16(msg + 2)))
		return false;
	/* A server that understands nothing may leave the question out. */
	if (get16(msg + 4) == 0)
		return dns_rcode(msg) == DNS_FORMERR || dns_rcode(msg) == DNS_NOTIMP;
	return get16(msg + 4) == 1 && question_read(msg, n, &at, &of) && of.type == q->type && of.class == q->class &&
	       dns_name_eq(&of.name, &q->name);
}

enum dns_rcode dns_rcode(const uint8_t *msg)
{
	return msg[3] & 15;
}

void dns_set_id(uint8_t *msg, uint16_t id)
{
	put16(msg, id);
}

size_t dns_truncate(const struct dns_query *q, uint8_t *msg, size_t n)
{
	unsigned flags = get16(msg + 2) | FLAG_TC;

	if (n <= q->udp_size)
		return n;
	return head_write(q, get16(msg), flags, msg, n);
}

/* ---- the sieve ---- */

struct sifting {
	const struct dns_query *q;
	const uint8_t *msg;
	size_t n;
	const struct dns_sieve *sieve;
	uint8_t *to;
	size_t room, used;
	size_t owner_at, target_at; /* in to: the last ones; 0: none */
	struct dns_name chain[CHAIN_MAX];
	uint32_t chain_ttl;
	unsigned chain_count;
	bool full;
};

/* The target of the CNAME of that owner. */
static bool find_alias(const struct sifting *s, size_t at, unsigned records, const struct dns_name *owner,
		       struct dns_name *ret, uint32_t *ttl)
{
	struct record r;

	for (; records; records--) {
		if (!record_read(s->msg, s->n, &at, &r))
			return false;
		if (r.type == DNS_CNAME && dns_name_eq(&r.owner, owner)) {
			size_t data = r.data;

			*ttl = MIN(*ttl, r.ttl);
			return dns_name_read(s->msg, s->n, &data, ret);
		}
	}
	return false;
}

static void follow(struct sifting *s, size_t at, unsigned records)
{
	s->chain[0] = s->q->name;
	s->chain_count = 1;
	s->chain_ttl = UINT32_MAX;
	while (s->chain_count < CHAIN_MAX &&
	       find_alias(s, at, records, &s->chain[s->chain_count - 1], &s->chain[s->chain_count], &s->chain_ttl))
		s->chain_count++;
}

static bool in_chain(const struct sifting *s, const struct dns_name *name)
{
	for (unsigned i = 0; i < s->chain_count; i++)
		if (dns_name_eq(&s->chain[i], name))
			return true;
	return false;
}

static void out(struct sifting *s, const void *data, size_t n)
{
	if (s->full || s->room - s->used < n) {
		s->full = true;
		return;
	}
	memcpy(s->to + s->used, data, n);
	s->used += n;
}

static bool same_at(const struct sifting *s, size_t at, const struct dns_name *name)
{
	struct dns_name there;

	return at && at < 0x4000 && dns_name_read(s->to, s->used, &at, &there) && dns_name_eq(&there, name);
}

static void out_owner(struct sifting *s, const struct dns_name *name)
{
	const size_t before[] = {DNS_HEAD, s->owner_at, s->target_at};
	uint8_t pointer[2];

	for (unsigned i = 0; i < ARRAY_SIZE(before); i++) {
		if (!same_at(s, before[i], name))
			continue;
		put16(pointer, 0xc000 | (unsigned)before[i]);
		out(s, pointer, 2);
		return;
	}
	s->owner_at = s->used;
	out(s, name->wire, name->size);
}

/* Where names are in data, behind how many bytes. */
static const struct {
	uint16_t type;
	uint8_t before, names;
} compressible[] = {{DNS_NS, 0, 1}, {3, 0, 1},  {4, 0, 1},       {DNS_CNAME, 0, 1}, {DNS_SOA, 0, 2}, {7, 0, 1},
		    {8, 0, 1},      {9, 0, 1},  {DNS_PTR, 0, 1}, {14, 0, 2},        {DNS_MX, 2, 1},  {17, 0, 2},
		    {18, 2, 1},     {21, 2, 1}, {26, 2, 2},      {39, 0, 1},        {DNS_SRV, 6, 1}};

static bool out_data(struct sifting *s, const struct record *r)
{
	size_t at = r->data, end = r->data + r->size;
	unsigned names = 0, before = 0;
	struct dns_name name;

	for (unsigned i = 0; i < ARRAY_SIZE(compressible); i++)
		if (compressible[i].type == r->type) {
			names = compressible[i].names;
			before = compressible[i].before;
		}
	if (before > r->size)
		return false;
	out(s, s->msg + at, before);
	for (at += before; names; names--) {
		if (!dns_name_read(s->msg, end, &at, &name))
			return false;
		s->target_at = s->used;
		out(s, name.wire, name.size);
	}
	out(s, s->msg + at, end - at);
	return true;
}

/* False: malformed. */
static bool out_record(struct sifting *s, const struct record *r)
{
	uint8_t fixed[10];
	size_t at;

	out_owner(s, &r->owner);
	put16(fixed, r->type);
	put16(fixed + 2, r->class);
	put16(fixed + 4, r->ttl >> 16);
	put16(fixed + 6, r->ttl & 0xffff);
	put16(fixed + 8, 0);
	out(s, fixed, sizeof(fixed));
	at = s->used;
	if (!out_data(s, r))
		return false;
	if (!s->full)
		put16(s->to + at - 2, (unsigned)(s->used - at));
	return true;
}

static bool keep_address(struct sifting *s, const struct record *r)
{
	struct in6_addr addr = addr_from_v4(0);
	unsigned size = r->type == DNS_A ? 4 : 16;

	if (r->size != size || r->class != 1 || !in_chain(s, &r->owner))
		return false;
	memcpy(addr.s6_addr + 16 - size, s->msg + r->data, size);
	return s->sieve->address(s->sieve->arg, &addr, MIN(r->ttl, s->chain_ttl));
}

static bool keep(struct sifting *s, const struct record *r, unsigned section)
{
	if (section == 2)
		return r->type == DNS_OPT;
	if (r->type == DNS_A || r->type == DNS_AAAA)
		return section == 0 && keep_address(s, r);
	return r->type != DNS_SVCB && r->type != DNS_HTTPS && r->type != DNS_OPT;
}

/* The records of one section: how many were kept, or -1. */
static int sift_section(struct sifting *s, unsigned section, size_t *at, unsigned records)
{
	struct record r;
	int kept = 0;

	for (; records; records--) {
		if (!record_read(s->msg, s->n, at, &r))
			return -1;
		if (!keep(s, &r, section))
			continue;
		if (!out_record(s, &r))
			return -1;
		kept++;
	}
	return kept;
}

size_t dns_filter(const struct dns_query *q, const uint8_t *msg, size_t n, const struct dns_sieve *sieve, uint8_t *to,
		  size_t room)
{
	struct sifting s = {.q = q, .msg = msg, .n = n, .sieve = sieve, .to = to, .room = room};
	unsigned flags = get16(msg + 2) & ~FLAG_AA;
	struct dns_query of;
	size_t at = DNS_HEAD;
	int kept;

	s.used = head_write(q, q->id, flags, to, room);
	if (!s.used || get16(msg + 4) != 1)
		return s.used;
	if (!question_read(msg, n, &at, &of))
		return 0;
	follow(&s, at, get16(msg + 6));
	for (unsigned i = 0; i < 3; i++) {
		kept = sift_section(&s, i, &at, get16(msg + 6 + 2 * i));
		if (kept < 0)
			return 0;
		put16(to + 6 + 2 * i, (unsigned)kept);
	}
	return s.full ? head_write(q, q->id, flags | FLAG_TC, to, room) : s.used;
}
