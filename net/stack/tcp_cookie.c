/*
 * SYN cookies (RFC 4987 3.6): a request that needs no memory, for a listener whose queue of requests is full.
 *
 * The SYN+ACK's sequence number is 29 bits of a keyed hash over the pair, the peer's sequence number, the minute and an
 * index of a segment size, and that index in 3 bits. What else the SYN had - window scale, SACK, ECN - goes into the
 * low bits of our timestamp, which the peer echoes; without timestamps it is lost. A cookie is good for two minutes,
 * and only while or shortly after a queue was full.
 */
#include "net/stack/tcp_priv.h"

#include "net/stack/siphash.h"

#define MSS_BITS 3
#define MINUTE (64 * NSEC_PER_SEC)
#define RECENT (2 * MINUTE)
#define TS_BITS 6u
#define TS_NO_WSCALE 15u
#define TS_SACK (1u << 4)
#define TS_ECN (1u << 5)

static const uint16_t sizes[1 << MSS_BITS] = {216, 536, 1220, 1300, 1440, 1460, 8940, 65475};

static uint32_t cookie(struct tcp_stack *n, const struct tcp_key *key, uint32_t irs, uint32_t minute, uint32_t mss)
{
	struct {
		struct tcp_key key;
		uint32_t irs, minute, mss;
	} in = {*key, irs, minute, mss};

	_Static_assert(sizeof(in) == 48, "no padding in what is hashed");
	return (uint32_t)siphash(n->secret, &in, sizeof(in)) << MSS_BITS | mss;
}

static uint32_t minute_of(int64_t now)
{
	return (uint32_t)(now / MINUTE);
}

/* The latest time that ends in these bits. */
static uint32_t timestamp(struct tcp_stack *n, const struct tcp_request *r) REQUIRES(L_NET)
{
	uint32_t now = tcp_ts(stack_now(n->stack), 0), bits = r->wscale_ok ? r->snd_wscale : TS_NO_WSCALE, ts;

	bits |= r->sack_ok ? TS_SACK : 0;
	bits |= r->ecn_ok ? TS_ECN : 0;
	ts = now >> TS_BITS << TS_BITS | bits;
	if (ts > now)
		ts -= 1u << TS_BITS;
	return ts + r->ts_offset;
}

uint32_t tcp_cookie_make(struct tcp_stack *n, struct tcp_request *r, uint32_t *ret_tsval)
{
	uint32_t mss = ARRAY_SIZE(sizes) - 1;

	while (mss > 0 && sizes[mss] > r->mss)
		mss--;
	*ret_tsval = timestamp(n, r);
	return cookie(n, &r->ep.key, r->irs, minute_of(stack_now(n->stack)), mss);
}

static bool valid(struct tcp_stack *n, const struct tcp_in *in, uint32_t c) REQUIRES(L_NET)
{
	uint32_t minute = minute_of(stack_now(n->stack)), mss = c & (ARRAY_SIZE(sizes) - 1);

	return c == cookie(n, &in->key, in->seq - 1, minute, mss) ||
	       c == cookie(n, &in->key, in->seq - 1, minute - 1, mss);
}

bool tcp_cookie_check(struct tcp_stack *n, struct tcp_sock *l, const struct tcp_in *in, struct tcp_request *r)
{
	uint32_t c = in->ack - 1, bits;

	if (stack_now(n->stack) - n->overflow_at > RECENT || !valid(n, in, c))
		return false;
	tcp_request_fill(r, l, in);
	r->iss = c;
	r->irs = in->seq - 1;
	r->mss = sizes[c & (ARRAY_SIZE(sizes) - 1)];
	r->sack_ok = r->wscale_ok = r->ecn_ok = false;
	r->snd_wscale = 0;
	if (!r->ts_ok)
		return true;
	bits = in->opt.tsecr - r->ts_offset;
	r->sack_ok = bits & TS_SACK;
	r->ecn_ok = bits & TS_ECN;
	r->wscale_ok = (bits & TS_NO_WSCALE) != TS_NO_WSCALE;
	if (r->wscale_ok)
		r->snd_wscale = bits & TS_NO_WSCALE;
	return r->snd_wscale <= 14;
}
