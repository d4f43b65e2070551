/*
 * ICMPv6: RFC 4443. As icmp.c, with IPv6's rules: errors quote as much as fits into 1280 bytes; Packet Too Big and
 * unknown options are answered also where the packet went to a group. Neighbour discovery and MLD are in ndp.c and
 * mcast.c, behind the same checksum.
 */
#include <linux/if_packet.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/gateway.h"
#include "net/stack/inet.h"
#include "net/stack/route.h"

#define QUOTE_MAX (1280u - 40 - 8)
#define QUOTED_EXT_MAX 8

struct icmp6_head {
	uint8_t type, code;
	uint16_t sum;
	uint32_t rest;
} __packed;

/* Passes over extension headers from `off` on. False: it ends before the transport, or is a later fragment. */
static bool find_transport(const struct pkt *p, uint8_t *next, uint32_t *off)
{
	for (unsigned i = 0; i < QUOTED_EXT_MAX; i++) {
		uint8_t ext[8];

		if (*next != IPPROTO_HOPOPTS && *next != IPPROTO_ROUTING && *next != IPPROTO_DSTOPTS &&
		    *next != IPPROTO_FRAGMENT)
			return true;
		if (!pkt_copy(p, *off, ext, sizeof(ext)))
			return false;
		if (*next == IPPROTO_FRAGMENT && (ext[2] || ext[3] & 0xf8))
			return false;
		*off += *next == IPPROTO_FRAGMENT ? 8 : (ext[1] + 1u) * 8;
		*next = ext[0];
	}
	return false;
}

/* Whether RFC 4443, 2.4 (e) allows an error about it. */
static bool may_complain(const struct pkt *p, const struct ip6_head *h, bool about_groups)
{
	struct in6_addr src = h->src, dst = h->dst;
	uint32_t off = sizeof(*h);
	uint8_t next = h->next, type;

	if (addr_is_multicast(&src) || addr_is_any(&src) || addr_is_v4(&src))
		return false;
	if (!about_groups && (addr_is_multicast(&dst) || p->link_type != PACKET_HOST))
		return false;
	if (!find_transport(p, &next, &off))
		return true;
	return next != IPPROTO_ICMPV6 || (pkt_copy(p, off, &type, 1) && type & ICMP6_INFOMSG_MASK && type != 137);
}

static void count_error(struct stack *s, uint8_t type) REQUIRES(L_NET)
{
	static const enum mib counters[] = {MIB_ICMP6_OUT_DEST_UNREACHS, MIB_ICMP6_OUT_PKT_TOO_BIGS,
					    MIB_ICMP6_OUT_TIME_EXCDS, MIB_ICMP6_OUT_PARM_PROBLEMS};

	mib_add(s, MIB_ICMP6_OUT_MSGS, 1);
	if (type >= 1 && type <= 4)
		mib_add(s, counters[type - 1], 1);
}

void icmp6_send_error(struct stack *s, struct pkt *p, uint8_t type, uint8_t code, uint32_t info)
{
	const struct ip6_head *h = (const struct ip6_head *)(p->room + p->net);
	bool about_groups = type == ICMP6_PACKET_TOO_BIG ||
			    (type == ICMP6_PARAM_PROB && code == ICMP6_PARAMPROB_OPTION);
	struct ip_out o = {.protocol = IPPROTO_ICMPV6};
	struct icmp6_head *out;
	struct in6_addr to_us;
	struct ip_route r;
	struct pkt *e;

	if (p->head != p->net || p->tail < p->net + sizeof(*h) || !may_complain(p, h, about_groups))
		return;
	o.dst = h->src;
	to_us = h->dst;
	if (ip_is_local(s, &to_us, p->dev ? p->dev->index : 0) && !ip_is_beyond(s, &to_us))
		o.src = to_us;
	if (p->dev && addr_needs_dev(&o.dst) && !(p->dev->flags & IFF_LOOPBACK))
		o.bound_dev = p->dev->index;
	if (!icmp_allowed(s, &o.dst) || ip_route(s, &o, &r))
		return;
	e = pkt_create();
	if (!e || !pkt_append_from(e, p, 0, MIN(p->len, QUOTE_MAX)) || !(out = pkt_push(e, sizeof(*out)))) {
		pkt_free(e);
		return;
	}
	*out = (struct icmp6_head){.type = type, .code = code, .rest = htonl(info)};
	out->sum = sum_fold(sum_pkt(sum_pseudo(&r.src, &o.dst, IPPROTO_ICMPV6, e->len), e, 0));
	count_error(s, type);
	if (ip_output(s, e, &o, &r))
		mib_add(s, MIB_ICMP6_OUT_ERRORS, 1);
}

/* As Linux's icmpv6_err_convert(). */
static bool convert(const struct icmp6_head *h, struct ip_error *e)
{
	static const struct {
		uint8_t err;
		bool hard;
	} unreachable[] = {
	    {ENETUNREACH, false}, {EACCES, true}, {EHOSTUNREACH, false}, {EHOSTUNREACH, false},
	    {ECONNREFUSED, true}, {EACCES, true}, {EACCES, true},
	};

	e->err = EPROTO;
	switch (h->type) {
	case ICMP6_DST_UNREACH:
		e->hard = true;
		if (h->code < ARRAY_SIZE(unreachable)) {
			e->err = unreachable[h->code].err;
			e->hard = unreachable[h->code].hard;
		}
		return true;
	case ICMP6_PACKET_TOO_BIG:
		e->err = EMSGSIZE;
		e->mtu = ntohl(h->rest);
		return true;
	case ICMP6_TIME_EXCEEDED:
		e->err = EHOSTUNREACH;
		return true;
	case ICMP6_PARAM_PROB:
		e->hard = true;
		return true;
	default:
		return false;
	}
}

/* p's head is the quoted IP header. */
static void error_input(struct stack *s, struct pkt *p, const struct ip_in *in, const struct icmp6_head *h)
    REQUIRES(L_NET)
{
	struct ip_error e = {.type = h->type, .code = h->code, .from = in->src};
	uint32_t off = sizeof(struct ip6_head);
	struct ip6_head q;

	if (pkt_copy(p, 0, &q, sizeof(q))) {
		e.src = q.src;
		e.dst = q.dst;
	}
	/* Without a copy they are ::, which no route is for. */
	if (addr_is_any(&e.src) || ntohl(q.version_class_flow) >> 28 != 6 || addr_is_v4(&e.src) || addr_is_v4(&e.dst) ||
	    !convert(h, &e)) {
		mib_add(s, MIB_ICMP6_IN_ERRORS, 1);
		return;
	}
	if (!ip_is_local(s, &e.src, 0) || !find_transport(p, &q.next, &off) || off > p->len)
		return;
	pkt_skip(p, off);
	icmp_dispatch_error(s, &e, q.next, p);
}

static void echo(struct stack *s, struct pkt *p, const struct ip_in *in) REQUIRES(L_NET)
{
	struct ip_out o = {.dst = in->src, .protocol = IPPROTO_ICMPV6, .tos = in->tos};
	struct icmp6_head *h;
	struct ip_route r;
	struct pkt *reply;

	mib_add(s, MIB_ICMP6_IN_ECHOS, 1);
	if (!addr_is_multicast(&in->dst))
		o.src = in->dst;
	if (addr_needs_dev(&o.dst) && !(in->dev->flags & IFF_LOOPBACK))
		o.bound_dev = in->dev->index;
	if (addr_is_any(&o.dst) || ip_route(s, &o, &r))
		return;
	reply = pkt_create();
	if (!reply || !pkt_append_from(reply, p, sizeof(*h), p->len - (uint32_t)sizeof(*h)) ||
	    !(h = pkt_push(reply, sizeof(*h))) || !pkt_copy(p, 0, h, sizeof(*h))) {
		pkt_free(reply);
		return;
	}
	h->type = ICMP6_ECHO_REPLY;
	h->sum = 0;
	h->sum = sum_fold(sum_pkt(sum_pseudo(&r.src, &o.dst, IPPROTO_ICMPV6, reply->len), reply, 0));
	mib_add(s, MIB_ICMP6_OUT_MSGS, 1);
	mib_add(s, MIB_ICMP6_OUT_ECHO_REPLIES, 1);
	if (ip_output(s, reply, &o, &r))
		mib_add(s, MIB_ICMP6_OUT_ERRORS, 1);
}

static void count_in(struct stack *s, uint8_t type) REQUIRES(L_NET)
{
	static const enum mib counters[] = {MIB_ICMP6_IN_DEST_UNREACHS, MIB_ICMP6_IN_PKT_TOO_BIGS,
					    MIB_ICMP6_IN_TIME_EXCDS, MIB_ICMP6_IN_PARM_PROBLEMS};

	mib_add(s, counters[type - 1], 1);
}

/* Takes p unless it returns false. */
static bool demultiplex(struct stack *s, struct pkt *p, const struct ip_in *in, const struct icmp6_head *h)
    REQUIRES(L_NET)
{
	switch (h->type) {
	case ICMP6_ECHO_REQUEST:
		if (s->gateway && s->gateway->echo && s->gateway->echo(s->gateway_arg, p, in))
			return true;
		echo(s, p, in);
		return false;
	case ICMP6_ECHO_REPLY:
		mib_add(s, MIB_ICMP6_IN_ECHO_REPLIES, 1);
		ping_input(s, p, in);
		return true;
	case ICMP6_DST_UNREACH:
	case ICMP6_PACKET_TOO_BIG:
	case ICMP6_TIME_EXCEEDED:
	case ICMP6_PARAM_PROB:
		count_in(s, h->type);
		pkt_skip(p, sizeof(*h));
		error_input(s, p, in, h);
		return false;
	case MLD_LISTENER_QUERY:
		mld_input(s, p, in);
		return false;
	default:
		if (h->type >= 133 && h->type <= 137)
			ndp_input(s, p, in);
		return false;
	}
}

void icmp6_input(struct stack *s, struct pkt *p, const struct ip_in *in)
{
	struct icmp6_head h;

	mib_add(s, MIB_ICMP6_IN_MSGS, 1);
	if (!p->checksum_ok && sum_fold(sum_pkt(sum_pseudo(&in->src, &in->dst, IPPROTO_ICMPV6, p->len), p, 0)) != 0)
		mib_add(s, MIB_ICMP6_IN_CSUM_ERRORS, 1);
	else if (pkt_copy(p, 0, &h, sizeof(h))) {
		if (!demultiplex(s, p, in, &h))
			pkt_free(p);
		return;
	}
	mib_add(s, MIB_ICMP6_IN_ERRORS, 1);
	pkt_free(p);
}
