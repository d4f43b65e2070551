/*
 * ICMP: RFC 792, 1122 (3.2.2), 1812 (4.3), 5927.
 *
 * Errors that come are handed to the transport that the quoted header names, as the errno that Linux gives. Errors that
 * go are never about errors, about later fragments, or to or about groups; they quote as much as fits into 576 bytes,
 * and are limited: for each destination a bucket of six that gains one a second, and a thousand a second altogether.
 * Echoes are answered, except to groups; redirects and source quenches are counted and have no effect (RFC 6633).
 */
#include <linux/if_packet.h>
#include <netinet/ip_icmp.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/gateway.h"
#include "net/stack/inet.h"
#include "net/stack/port.h"
#include "net/stack/route.h"

#define SECOND 1000000000ll
#define QUOTE_MAX (576u - 20 - 8)
#define BURST 6
#define GLOBAL_BURST 50
#define GLOBAL_RATE 1000 /* a second */

struct icmp_head {
	uint8_t type, code;
	uint16_t sum;
	uint32_t rest; /* identifier and sequence number, MTU, pointer */
} __packed;

/* A bucket of `burst` tokens that gains one in `interval`. */
static bool take_token(struct icmp_bucket *b, int64_t now, int64_t interval, int64_t burst)
{
	int64_t gained = (now - b->since) / interval;

	if (!b->used || gained >= burst) {
		*b = (struct icmp_bucket){.used = true, .since = now, .tokens = (uint16_t)burst};
	} else {
		b->tokens = (uint16_t)MIN(b->tokens + gained, burst);
		b->since += gained * interval;
	}
	if (!b->tokens)
		return false;
	b->tokens--;
	return true;
}

bool icmp_allowed(struct stack *s, const struct in6_addr *dst)
{
	if (s->gateway || ip_is_local(s, dst, 0))
		return true;
	if (!take_token(&s->icmp_dst[port_hash(s, dst, 0, dst, 0) % ICMP_BUCKETS], s->now, SECOND, BURST)) {
		mib_add(s, addr_is_v4(dst) ? MIB_ICMP_OUT_RATE_LIMIT_HOST : MIB_ICMP6_OUT_RATE_LIMIT_HOST, 1);
		return false;
	}
	if (!take_token(&s->icmp_all, s->now, SECOND / GLOBAL_RATE, GLOBAL_BURST)) {
		mib_add(s, MIB_ICMP_OUT_RATE_LIMIT_GLOBAL, 1);
		return false;
	}
	return true;
}

/* ---- errors that go ---- */

static bool is_error(uint8_t type)
{
	return type != ICMP_ECHOREPLY && type != ICMP_ECHO && type != ICMP_TIMESTAMP && type != ICMP_TIMESTAMPREPLY &&
	       type != ICMP_INFO_REQUEST && type != ICMP_INFO_REPLY && type != ICMP_ADDRESS &&
	       type != ICMP_ADDRESSREPLY;
}

/* Whether RFC 1122, 3.2.2 allows an error about it. */
static bool may_complain(struct stack *s, const struct pkt *p, const struct ip4_head *h) REQUIRES(L_NET)
{
	struct in6_addr src = addr_from_v4(h->src), dst = addr_from_v4(h->dst);
	unsigned head = (h->version_len & 15) * 4u;
	struct route_flow f;
	uint8_t type;

	if (ntohs(h->off) & IP4_OFF || p->link_type != PACKET_HOST)
		return false;
	if (addr_is_multicast(&dst) || addr_is_limited_broadcast(&dst) || addr_is_multicast(&src) ||
	    addr_is_any(&src) || addr_is_limited_broadcast(&src))
		return false;
	f = (struct route_flow){.src = src, .dst = dst, .iif = p->dev ? p->dev->index : 0, .tos = h->tos};
	if (p->dev && route_input_type(s, &f) == RTN_BROADCAST)
		return false;
	return h->protocol != IPPROTO_ICMP || (pkt_copy(p, head, &type, 1) && !is_error(type));
}

void icmp_send_error(struct stack *s, struct pkt *p, uint8_t type, uint8_t code, uint32_t info)
{
	const struct ip4_head *h = (const struct ip4_head *)(p->room + p->net);
	struct ip_out o = {.protocol = IPPROTO_ICMP, .tos = (uint8_t)((h->tos & 0x1e) | 0xc0)};
	struct icmp_head *out;
	struct in6_addr to_us;
	struct pkt *e;

	if (p->head != p->net || p->tail < p->net + sizeof(*h) || !may_complain(s, p, h))
		return;
	o.dst = addr_from_v4(h->src);
	to_us = addr_from_v4(h->dst);
	if (ip_is_local(s, &to_us, 0) && !ip_is_beyond(s, &to_us))
		o.src = to_us;
	if (!icmp_allowed(s, &o.dst))
		return;
	e = pkt_create();
	if (!e || !pkt_append_from(e, p, 0, MIN(p->len, QUOTE_MAX)) || !(out = pkt_push(e, sizeof(*out)))) {
		pkt_free(e);
		return;
	}
	*out = (struct icmp_head){.type = type, .code = code, .rest = htonl(info)};
	out->sum = sum_fold(sum_pkt(0, e, 0));
	mib_add(s, MIB_ICMP_OUT_MSGS, 1);
	mib_add(s,
		type == ICMP_DEST_UNREACH    ? MIB_ICMP_OUT_DEST_UNREACHS
		: type == ICMP_TIME_EXCEEDED ? MIB_ICMP_OUT_TIME_EXCDS
					     : MIB_ICMP_OUT_PARM_PROBS,
		1);
	if (ip_output(s, e, &o, NULL))
		mib_add(s, MIB_ICMP_OUT_ERRORS, 1);
}

/* ---- errors that come ---- */

/* As Linux's icmp_err_convert: destination unreachable, by code. */
static const struct {
	uint8_t err;
	bool hard;
} unreachable[] = {
    {ENETUNREACH, false},  {EHOSTUNREACH, false}, {ENOPROTOOPT, true},  {ECONNREFUSED, true},
    {EMSGSIZE, false},     {EOPNOTSUPP, false},   {ENETUNREACH, true},  {EHOSTDOWN, true},
    {ENONET, true},        {ENETUNREACH, true},   {EHOSTUNREACH, true}, {ENETUNREACH, false},
    {EHOSTUNREACH, false}, {EHOSTUNREACH, true},  {EHOSTUNREACH, true}, {EHOSTUNREACH, true},
};

static bool convert(const struct icmp_head *h, struct ip_error *e)
{
	switch (h->type) {
	case ICMP_DEST_UNREACH:
		if (h->code >= ARRAY_SIZE(unreachable))
			return false;
		e->err = unreachable[h->code].err;
		e->hard = unreachable[h->code].hard;
		if (h->code == ICMP_FRAG_NEEDED)
			e->mtu = ntohl(h->rest) & 0xffff;
		return true;
	case ICMP_TIME_EXCEEDED:
		e->err = EHOSTUNREACH;
		return true;
	case ICMP_PARAMETERPROB:
		e->err = EPROTO;
		e->hard = true;
		return true;
	default:
		return false;
	}
}

/* A router that does not say what fits (RFC 1191, section 5): the next lower plateau. */
static uint32_t plateau(uint32_t len)
{
	static const uint16_t plateaus[] = {32000, 17914, 8166, 4352, 2002, 1492, 576, 296};

	for (unsigned i = 0; i < ARRAY_SIZE(plateaus); i++)
		if (plateaus[i] < len)
			return plateaus[i];
	return 68;
}

void icmp_dispatch_error(struct stack *s, const struct ip_error *error, uint8_t protocol, const struct pkt *quoted)
{
	struct ip_error e = *error;
	uint16_t words[4] = {0};

	raw_error(s, &e, protocol);
	/* The ports, and TCP's sequence number: eight bytes that every error has (RFC 792). */
	if (!pkt_copy(quoted, 0, words, sizeof(words)))
		return;
	e.sport = ntohs(words[0]);
	e.dport = ntohs(words[1]);
	if (protocol == IPPROTO_TCP) {
		memcpy(&e.seq, words + 2, sizeof(e.seq));
		e.seq = ntohl(e.seq);
		tcp_error(s, &e);
	} else if (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE) {
		udp_error(s, &e, protocol, quoted);
	} else if (protocol == (addr_is_v4(&e.dst) ? IPPROTO_ICMP : IPPROTO_ICMPV6)) {
		ping_error(s, &e, ntohs(words[2]), quoted);
	}
}

/* p's head is the quoted IP header. */
static void error_input(struct stack *s, struct pkt *p, const struct ip_in *in, const struct icmp_head *h)
    REQUIRES(L_NET)
{
	struct ip_error e = {.type = h->type, .code = h->code, .from = in->src};
	const struct ip4_head *q = pkt_peek(p, sizeof(*q));
	uint8_t protocol;
	uint32_t head;

	if (!q || q->version_len >> 4 != 4 || (q->version_len & 15) < 5 || !convert(h, &e)) {
		mib_add(s, MIB_ICMP_IN_ERRORS, 1);
		return;
	}
	head = (q->version_len & 15) * 4u;
	if (h->code == ICMP_FRAG_NEEDED && h->type == ICMP_DEST_UNREACH && (e.mtu < 68 || e.mtu >= ntohs(q->len)))
		e.mtu = e.mtu && e.mtu < 68 ? 68 : e.mtu ? e.mtu : plateau(ntohs(q->len));
	e.src = addr_from_v4(q->src);
	e.dst = addr_from_v4(q->dst);
	protocol = q->protocol;
	/* Later fragments have no ports; what we did not send is not for us. */
	if (ntohs(q->off) & IP4_OFF || !ip_is_local(s, &e.src, 0) || p->len < head)
		return;
	pkt_skip(p, head);
	icmp_dispatch_error(s, &e, protocol, p);
}

/* ---- input ---- */

/* Takes p, whose head is the ICMP header. */
static void echo(struct stack *s, struct pkt *p, const struct ip_in *in) REQUIRES(L_NET)
{
	struct ip_out o = {.dst = in->src, .src = in->dst, .protocol = IPPROTO_ICMP, .tos = in->tos};
	struct pkt *reply = pkt_create();
	struct icmp_head *h;

	mib_add(s, MIB_ICMP_IN_ECHOS, 1);
	if (in->broadcast || !reply || !pkt_append_from(reply, p, sizeof(*h), p->len - (uint32_t)sizeof(*h)) ||
	    !(h = pkt_push(reply, sizeof(*h))) || !pkt_copy(p, 0, h, sizeof(*h))) {
		pkt_free(reply);
		return;
	}
	h->type = ICMP_ECHOREPLY;
	h->sum = 0;
	h->sum = sum_fold(sum_pkt(0, reply, 0));
	mib_add(s, MIB_ICMP_OUT_MSGS, 1);
	mib_add(s, MIB_ICMP_OUT_ECHO_REPS, 1);
	if (ip_output(s, reply, &o, NULL))
		mib_add(s, MIB_ICMP_OUT_ERRORS, 1);
}

void icmp_input(struct stack *s, struct pkt *p, const struct ip_in *in)
{
	const struct icmp_head *at;
	struct icmp_head h;

	mib_add(s, MIB_ICMP_IN_MSGS, 1);
	if (sum_fold(sum_pkt(0, p, 0)) != 0)
		mib_add(s, MIB_ICMP_IN_CSUM_ERRORS, 1);
	else if ((at = pkt_peek(p, sizeof(h)))) {
		h = *at;
		switch (h.type) {
		case ICMP_ECHO:
			if (s->gateway && s->gateway->echo && s->gateway->echo(s->gateway_arg, p, in))
				return;
			echo(s, p, in);
			break;
		case ICMP_ECHOREPLY:
			mib_add(s, MIB_ICMP_IN_ECHO_REPS, 1);
			ping_input(s, p, in);
			return;
		case ICMP_REDIRECT:
			mib_add(s, MIB_ICMP_IN_REDIRECTS, 1);
			break;
		case ICMP_SOURCE_QUENCH:
			mib_add(s, MIB_ICMP_IN_SRC_QUENCHS, 1);
			break;
		case ICMP_DEST_UNREACH:
		case ICMP_TIME_EXCEEDED:
		case ICMP_PARAMETERPROB:
			mib_add(s,
				h.type == ICMP_DEST_UNREACH    ? MIB_ICMP_IN_DEST_UNREACHS
				: h.type == ICMP_TIME_EXCEEDED ? MIB_ICMP_IN_TIME_EXCDS
							       : MIB_ICMP_IN_PARM_PROBS,
				1);
			pkt_skip(p, sizeof(h));
			error_input(s, p, in, &h);
			break;
		default:
			break;
		}
		pkt_free(p);
		return;
	}
	mib_add(s, MIB_ICMP_IN_ERRORS, 1);
	pkt_free(p);
}
