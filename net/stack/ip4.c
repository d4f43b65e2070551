/*
 * IPv4: RFC 791, 1122 (3.2.1), 1812 (forwarding), 6864 (identification).
 *
 * A header is taken only if every length fits and its checksum is right. Options are parsed to see that they are well
 * formed; source routes are refused, as Linux does by default, and the rest has no effect. Addresses that no host may
 * have, or ours from outside, are martians: dropped. Forwarding is off unless somebody asks for it; then the limits on
 * TTL and MTU are told to the source by ICMP.
 *
 * Fragments that we make carry what the header had; options that are not to be copied become no-operations.
 */
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/route.h"

#define HEAD 20u

_Static_assert(sizeof(struct ip4_head) == HEAD, "");

/* Pulls the header, checked; the packet ends where it says. NULL: dropped, counted. */
static const struct ip4_head *pull_header(struct stack *s, struct pkt *p) REQUIRES(L_NET)
{
	const struct ip4_head *h = pkt_peek(p, HEAD);
	size_t head, len;

	if (!h)
		goto bad;
	head = (h->version_len & 15) * 4u;
	len = ntohs(h->len);
	if (h->version_len >> 4 != 4 || head < HEAD || len < head || len > p->len)
		goto bad;
	h = pkt_pull(p, head);
	if (!h || sum_fold(sum_add(0, h, head, false)) != 0)
		goto bad;
	p->net = (uint16_t)(p->head - head);
	pkt_trim(p, (uint32_t)(len - head));
	return h;
bad:
	mib_add(s, MIB_IP_IN_HDR_ERRORS, 1);
	return NULL;
}

static bool martian(struct stack *s, const struct pkt *p, const struct ip_in *in, const struct route_flow *f)
    REQUIRES(L_NET)
{
	bool ours = in->dev->flags & IFF_LOOPBACK || p->looped;

	if (addr_is_multicast(&in->src) || addr_is_limited_broadcast(&in->src) || in->dst.s6_addr[12] == 0)
		return true;
	if (in->src.s6_addr[12] == 0 && !addr_is_limited_broadcast(&in->dst) && !addr_is_multicast(&in->dst))
		return true;
	if (ours)
		return false;
	return addr_is_loopback(&in->src) || addr_is_loopback(&in->dst) || route_source_is_ours(s, f);
}

/* The byte at which options are wrong, or 0; *ret_source_route: they route. */
static unsigned bad_option(const uint8_t *o, unsigned n, bool *ret_source_route)
{
	unsigned at = 0;

	while (at < n && o[at] != IPOPT_EOL) {
		unsigned len;

		if (o[at] == IPOPT_NOP) {
			at++;
			continue;
		}
		if (at + 1 >= n)
			return HEAD + at;
		len = o[at + 1];
		if (len < 2 || len > n - at)
			return HEAD + at + 1;
		if (o[at] == IPOPT_LSRR || o[at] == IPOPT_SSRR)
			*ret_source_route = true;
		/* A pointer is into what follows it. */
		if ((o[at] == IPOPT_RR || o[at] == IPOPT_TS) && (len < 3 || o[at + 2] < (o[at] == IPOPT_TS ? 5 : 4)))
			return HEAD + at + 2;
		at += len;
	}
	return 0;
}

static bool options_ok(struct stack *s, struct pkt *p) REQUIRES(L_NET)
{
	unsigned n = p->head - p->net - HEAD, at;
	bool source_route = false;

	at = n ? bad_option(p->room + p->net + HEAD, n, &source_route) : 0;
	if (!at && !source_route)
		return true;
	mib_add(s, MIB_IP_IN_HDR_ERRORS, 1);
	if (at) {
		pkt_unpull(p, p->net);
		icmp_send_error(s, p, ICMP_PARAMETERPROB, 0, at << 24);
	}
	return false;
}

static void deliver(struct stack *s, struct pkt *p, struct ip_in *in, const struct ip4_head *h) REQUIRES(L_NET)
{
	uint16_t off = ntohs(h->off);

	if (off & (IP4_MF | IP4_OFF)) {
		struct frag_id id = {in->src, in->dst, ntohs(h->id), in->protocol, in->dev->index};

		p = frag_input(s, p, &id, (off & IP4_OFF) * 8u, off & IP4_MF, &in->tos);
		if (!p)
			return;
	}
	if (ip_deliver(s, p, in))
		return;
	pkt_unpull(p, p->net);
	icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0);
	pkt_free(p);
}

/* Options of which every fragment has its own copy stay; others are blotted out. */
static void keep_copied_options(uint8_t *o, unsigned n)
{
	unsigned at = 0;

	while (at < n && o[at] != IPOPT_EOL) {
		unsigned len = o[at] == IPOPT_NOP || at + 1 >= n ? 1 : MAX(o[at + 1], 1);

		len = MIN(len, n - at);
		if (!(o[at] & 0x80))
			memset(o + at, IPOPT_NOP, len);
		at += len;
	}
}

static void finish_header(struct ip4_head *h, unsigned head)
{
	h->sum = 0;
	h->sum = sum_fold(sum_add(0, h, head, false));
}

static struct pkt *make_fragment(const struct pkt *p, unsigned head, uint32_t at, uint32_t n)
{
	struct ip4_head *h;
	struct pkt *f = pkt_create();
	uint32_t off;

	if (!f || !pkt_append_from(f, p, head + at, n) || !(h = pkt_push(f, head))) {
		pkt_free(f);
		return NULL;
	}
	f->net = f->head;
	memcpy(h, p->room + p->net, head);
	off = (ntohs(h->off) & IP4_OFF) + at / 8;
	h->off = htons((uint16_t)(off | (ntohs(h->off) & IP4_MF) | (at + n < p->len - head ? IP4_MF : 0)));
	h->len = htons((uint16_t)(head + n));
	if (at)
		keep_copied_options((uint8_t *)(h + 1), head - HEAD);
	finish_header(h, head);
	return f;
}

/* Takes p, with its header. */
static int send_fragments(struct stack *s, struct pkt *p, const struct ip_route *r) REQUIRES(L_NET)
{
	unsigned head = (p->room[p->net] & 15) * 4u;
	uint32_t most = (r->mtu - head) & ~7u, payload = p->len - head;
	int err = p->checksum_partial && !pkt_complete_checksum(p) ? -EINVAL : 0;

	for (uint32_t at = 0; !err && at < payload; at += most) {
		struct pkt *f = make_fragment(p, head, at, MIN(most, payload - at));

		err = f ? ip_transmit(s, f, r) : -ENOMEM;
		mib_add(s, MIB_IP_FRAG_CREATES, !err);
	}
	mib_add(s, err ? MIB_IP_FRAG_FAILS : MIB_IP_FRAG_OKS, 1);
	pkt_free(p);
	return err;
}

static bool too_big(const struct pkt *p, uint32_t mtu)
{
	return p->len > mtu && !p->gso_size;
}

static int unreachable_code(int err)
{
	return err == -EHOSTUNREACH ? ICMP_HOST_UNREACH : err == -EACCES ? ICMP_PKT_FILTERED : ICMP_NET_UNREACH;
}

static void forward(struct stack *s, struct pkt *p, const struct route_flow *f) REQUIRES(L_NET)
{
	struct ip4_head *h;
	struct ip_route r;
	int err;

	pkt_unpull(p, p->net);
	h = (struct ip4_head *)(p->room + p->net);
	err = route_forward(s, f, &r);
	if (err) {
		icmp_send_error(s, p, ICMP_DEST_UNREACH, (uint8_t)unreachable_code(err), 0);
	} else if (h->ttl <= 1) {
		icmp_send_error(s, p, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0);
	} else if (too_big(p, r.mtu) && h->off & htons(IP4_DF)) {
		mib_add(s, MIB_IP_FRAG_FAILS, 1);
		icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, r.mtu);
	} else {
		h->ttl--;
		finish_header(h, (h->version_len & 15) * 4u);
		mib_add(s, MIB_IP_FORW_DATAGRAMS, 1);
		if (too_big(p, r.mtu))
			send_fragments(s, p, &r);
		else
			ip_transmit(s, p, &r);
		return;
	}
	pkt_free(p);
}

static void route(struct stack *s, struct pkt *p, struct ip_in *in, const struct ip4_head *h,
		  const struct route_flow *f) REQUIRES(L_NET)
{
	uint8_t type = route_input_type(s, f);

	if (type == RTN_LOCAL && in->ttl <= 1 && ip_is_beyond(s, &in->dst)) {
		pkt_unpull(p, p->net);
		icmp_send_error(s, p, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0);
		pkt_free(p);
	} else if (type == RTN_LOCAL || type == RTN_BROADCAST ||
		   (type == RTN_MULTICAST && mcast_member(in->dev, &in->dst))) {
		deliver(s, p, in, h);
	} else if (s->forward4 && p->link_type == PACKET_HOST && type != RTN_MULTICAST) {
		forward(s, p, f);
	} else {
		if (type != RTN_MULTICAST)
			mib_add(s, MIB_IP_IN_ADDR_ERRORS, 1);
		pkt_free(p);
	}
}

void ip4_input(struct stack *s, struct netdev *dev, struct pkt *p)
{
	const struct ip4_head *at;
	struct route_flow f;
	struct ip4_head h;
	struct ip_in in;

	mib_add(s, MIB_IP_IN_RECEIVES, 1);
	at = pull_header(s, p);
	if (!at) {
		pkt_free(p);
		return;
	}
	h = *at;
	p->dev = dev;
	in = (struct ip_in){
	    .src = addr_from_v4(h.src),
	    .dst = addr_from_v4(h.dst),
	    .dev = dev,
	    .protocol = h.protocol,
	    .ttl = h.ttl,
	    .tos = h.tos,
	};
	route_flow_of(s, &in, ntohs(h.off) & (IP4_MF | IP4_OFF) ? NULL : p, &f);
	if (martian(s, p, &in, &f)) {
		mib_add(s, MIB_IP_IN_ADDR_ERRORS, 1);
		pkt_free(p);
		return;
	}
	in.broadcast = p->link_type != PACKET_HOST || addr_is_multicast(&in.dst) ||
		       route_input_type(s, &f) == RTN_BROADCAST;
	if (options_ok(s, p))
		route(s, p, &in, &h, &f);
	else
		pkt_free(p);
}

static struct ip4_head *push_header(struct pkt *p, const struct ip_out *o)
{
	unsigned head = HEAD + o->options_len;
	struct ip4_head *h = pkt_push(p, head);

	if (!h)
		return NULL;
	p->net = p->head;
	if (o->options_len)
		memcpy(h + 1, o->options, o->options_len);
	h->version_len = (uint8_t)(4 << 4 | head / 4);
	return h;
}

int ip4_output(struct stack *s, struct pkt *p, const struct ip_out *o, const struct ip_route *r)
{
	uint8_t ttl = o->ttl ? o->ttl : r->type == RTN_MULTICAST ? 1 : s->default_ttl;
	struct ip4_head *h;

	mib_add(s, MIB_IP_OUT_REQUESTS, 1);
	if (p->len > PKT_MAX - HEAD - o->options_len ||
	    (o->dont_fragment && p->len + HEAD + o->options_len > r->mtu && !p->gso_size)) {
		pkt_free(p);
		return -EMSGSIZE;
	}
	h = push_header(p, o);
	if (!h) {
		pkt_free(p);
		return -ENOBUFS;
	}
	h->tos = o->tos;
	h->len = htons((uint16_t)p->len);
	h->off = htons(o->dont_fragment ? IP4_DF : 0);
	h->id = 0;
	if (!o->dont_fragment || p->gso_size)
		h->id = htons((uint16_t)ip_ident(s, &r->src, &o->dst, o->protocol));
	h->ttl = ttl;
	h->protocol = o->protocol;
	h->src = addr_v4(&r->src);
	h->dst = addr_v4(&r->next_hop);
	if (!addr_is_any(&o->dst))
		h->dst = addr_v4(&o->dst);
	finish_header(h, HEAD + o->options_len);
	if ((r->type == RTN_MULTICAST && !o->no_loop && mcast_member(r->dev, &o->dst)) || r->type == RTN_BROADCAST)
		ip_loop_copy(s, p, r);
	if (o->host_only && r->type == RTN_MULTICAST && !r->local) {
		pkt_free(p);
		return 0;
	}
	return too_big(p, r->mtu) ? send_fragments(s, p, r) : ip_transmit(s, p, r);
}
