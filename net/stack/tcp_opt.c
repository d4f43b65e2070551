/*
 * TCP options: RFC 9293 3.2 (end, no-op, MSS), RFC 7323 (window scale, timestamps), RFC 2018 (SACK).
 *
 * The parser reads hostile bytes: a length that is below 2 or beyond the header ends it (RFC 9293 MUST-7 asks only that
 * it does not break), an option whose length is not the one that its kind has is skipped. Window scale and
 * SACK-permitted count in a SYN only. A shift above 14 is taken as 14 (RFC 7323 2.3). The builder lays them out in the
 * order in which Linux does, so that fast paths of others match: MSS, SACK-permitted within the timestamps' padding,
 * timestamps, window scale, fast open, SACK blocks.
 */
#include "net/stack/tcp_opt.h"

#include <arpa/inet.h>
#include <string.h>

#define OPT_END 0
#define OPT_NOP 1
#define OPT_MSS 2
#define OPT_WSCALE 3
#define OPT_SACK_OK 4
#define OPT_SACK 5
#define OPT_TS 8
#define OPT_FASTOPEN 34
#define WSCALE_MAX 14

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return ntohl(v);
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

static uint8_t *put4(uint8_t *p, uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return put32(p, (uint32_t)a << 24 | (uint32_t)b << 16 | (uint32_t)c << 8 | d);
}

static void parse_sacks(struct tcp_options *o, const uint8_t *p, size_t size)
{
	if (size % 8)
		return;
	o->sack_count = (uint8_t)MIN(size / 8, (size_t)TCP_SACKS_MAX);
	for (unsigned i = 0; i < o->sack_count; i++)
		o->sacks[i] = (struct tcp_sack_block){get32(p + 8 * i), get32(p + 8 * i + 4)};
}

/* One option: p is its value. */
static void parse_one(struct tcp_options *o, uint8_t kind, const uint8_t *p, size_t size, bool syn)
{
	if (kind == OPT_MSS && size == 2 && syn) {
		o->mss = (uint16_t)(p[0] << 8 | p[1]);
	} else if (kind == OPT_WSCALE && size == 1 && syn) {
		o->wscale = MIN(p[0], WSCALE_MAX);
		o->wscale_ok = true;
	} else if (kind == OPT_SACK_OK && size == 0 && syn) {
		o->sack_ok = true;
	} else if (kind == OPT_TS && size == 8) {
		o->ts_ok = true;
		o->tsval = get32(p);
		o->tsecr = get32(p + 4);
	} else if (kind == OPT_FASTOPEN && syn && (size == 0 || (size >= 4 && size <= 16 && size % 2 == 0))) {
		o->fastopen = true;
		o->cookie.size = (uint8_t)size;
		memcpy(o->cookie.bytes, p, size);
	} else if (kind == OPT_SACK && !syn) {
		parse_sacks(o, p, size);
	}
}

void tcp_options_parse(struct tcp_options *ret, const uint8_t *p, size_t n, bool syn)
{
	memset(ret, 0, sizeof(*ret));
	while (n > 0 && *p != OPT_END) {
		size_t size = 1;

		if (*p != OPT_NOP) {
			if (n < 2 || p[1] < 2 || p[1] > n)
				return;
			size = p[1];
			parse_one(ret, p[0], p + 2, size - 2, syn);
		}
		p += size;
		n -= size;
	}
}

static uint8_t *build_sacks(const struct tcp_options *o, uint8_t *p, size_t room)
{
	unsigned count = MIN(o->sack_count, room < 12 ? 0 : (room - 4) / 8);

	if (count == 0)
		return p;
	p = put4(p, OPT_NOP, OPT_NOP, OPT_SACK, (uint8_t)(2 + 8 * count));
	for (unsigned i = 0; i < count; i++) {
		p = put32(p, o->sacks[i].start);
		p = put32(p, o->sacks[i].end);
	}
	return p;
}

static uint8_t *build_fastopen(const struct tcp_options *o, uint8_t *p, size_t room)
{
	size_t size = 2u + o->cookie.size, padded = (size + 3) & ~3ul;

	if (!o->fastopen || padded > room)
		return p;
	memset(p, OPT_NOP, padded);
	p += padded - size;
	*p++ = OPT_FASTOPEN;
	*p++ = (uint8_t)size;
	memcpy(p, o->cookie.bytes, o->cookie.size);
	return p + o->cookie.size;
}

size_t tcp_options_build(const struct tcp_options *o, uint8_t to[TCP_OPTIONS_MAX])
{
	uint8_t *p = to;

	if (o->mss)
		p = put4(p, OPT_MSS, 4, (uint8_t)(o->mss >> 8), (uint8_t)o->mss);
	if (o->sack_ok && o->ts_ok)
		p = put4(p, OPT_SACK_OK, 2, OPT_TS, 10);
	else if (o->ts_ok)
		p = put4(p, OPT_NOP, OPT_NOP, OPT_TS, 10);
	else if (o->sack_ok)
		p = put4(p, OPT_NOP, OPT_NOP, OPT_SACK_OK, 2);
	if (o->ts_ok) {
		p = put32(p, o->tsval);
		p = put32(p, o->tsecr);
	}
	if (o->wscale_ok)
		p = put4(p, OPT_NOP, OPT_WSCALE, 3, o->wscale);
	p = build_fastopen(o, p, (size_t)(to + TCP_OPTIONS_MAX - p));
	p = build_sacks(o, p, (size_t)(to + TCP_OPTIONS_MAX - p));
	return (size_t)(p - to);
}
