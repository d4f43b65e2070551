/*
 * IPv6: RFC 8200, with 5095 (no routing headers of type 0), 6946 (atomic fragments), 8504, section 5.3 (bounds on
 * extension headers).
 *
 * Extension headers are walked in the order in which they come, at most EXT_COUNT of them and EXT_BYTES altogether, so
 * that all of them stay in the packet's room; a packet with more is dropped. Unknown options are treated as their two
 * highest bits say. A routing header with segments left, or a header that is not known, is answered by a parameter
 * problem.
 *
 * IPv4-mapped addresses never come from a wire, since inside they mean IPv4. Only the source fragments.
 */
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/route.h"

#define HEAD 40u
#define EXT_COUNT 8
#define EXT_BYTES 136u

_Static_assert(sizeof(struct ip6_head) == HEAD, "");

/* Where a walk over the headers is. */
struct walk {
	uint8_t next;
	unsigned next_at; /* offset in the packet of the field that says so */
	unsigned count, bytes;
};

static const struct ip6_head *pull_header(struct stack *s, struct pkt *p) REQUIRES(L_NET)
{
	const struct ip6_head *h = pkt_pull(p, HEAD);

	if (!h || ntohl(h->version_class_flow) >> 28 != 6) {
		mib_add(s, MIB_IP6_IN_HDR_ERRORS, 1);
		return NULL;
	}
	if (ntohs(h->len) > p->len) {
		mib_add(s, MIB_IP6_IN_TRUNCATED_PKTS, 1);
		return NULL;
	}
	p->net = p->head - HEAD;
	pkt_trim(p, ntohs(h->len));
	return h;
}

static bool martian(const struct netdev *dev, const struct ip_in *in)
{
	bool lo = dev->flags & IFF_LOOPBACK;

	if (addr_is_multicast(&in->src) || addr_is_v4(&in->src) || addr_is_v4(&in->dst) || addr_is_any(&in->dst))
		return true;
	if (lo)
		return false;
	if (in->dst.s6_addr[0] == 0xff && (in->dst.s6_addr[1] & 15) < 2)
		return true;
	return addr_is_loopback(&in->src) || addr_is_loopback(&in->dst);
}

/* A gateway's: it has no hop left. */
static bool too_far(struct stack *s, const struct ip_in *in) REQUIRES(L_NET)
{
	return in->ttl <= 1 && ip_is_beyond(s, &in->dst);
}

static void problem(struct stack *s, struct pkt *p, uint8_t code, unsigned at) REQUIRES(L_NET)
{
	mib_add(s, MIB_IP6_IN_HDR_ERRORS, 1);
	pkt_unpull(p, p->net);
	icmp6_send_error(s, p, ICMP6_PARAM_PROB, code, at);
}

/* An option that we do not know, at offset `at` of the packet. True: go on. */
static bool unknown_option(struct stack *s, struct pkt *p, uint8_t type, unsigned at, bool group) REQUIRES(L_NET)
{
	if (type >> 6 == 0)
		return true;
	if (type >> 6 == 2 || (type >> 6 == 3 && !group))
		problem(s, p, ICMP6_PARAMPROB_OPTION, at);
	return false;
}

/* The options of a header of `len` bytes whose end is the packet's head. */
static bool options_ok(struct stack *s, struct pkt *p, unsigned len, bool group) REQUIRES(L_NET)
{
	const uint8_t *o = p->room + p->head - len;
	unsigned base = p->head - len - p->net, at = 2;

	while (at < len) {
		unsigned size;

		if (o[at] == IP6OPT_PAD1) {
			at++;
			continue;
		}
		if (at + 1 >= len || at + 2u + o[at + 1] > len) {
			mib_add(s, MIB_IP6_IN_HDR_ERRORS, 1);
			return false;
		}
		size = 2u + o[at + 1];
		if (o[at] != IP6OPT_PADN && o[at] != IP6OPT_ROUTER_ALERT &&
		    !unknown_option(s, p, o[at], base + at, group))
			return false;
		at += size;
	}
	return true;
}

static bool routing_ok(struct stack *s, struct pkt *p, unsigned len) REQUIRES(L_NET)
{
	const uint8_t *h = p->room + p->head - len;

	if (h[3] == 0)
		return true;
	problem(s, p, ICMP6_PARAMPROB_HEADER, p->head - len - p->net + 2u);
	return false;
}

/* Pulls an extension header and moves w behind it. Its length, or 0. */
static unsigned pull_ext(struct pkt *p, struct walk *w)
{
	const uint8_t *h = pkt_peek(p, 8);
	unsigned len;

	if (!h || ++w->count > EXT_COUNT)
		return 0;
	len = w->next == IPPROTO_FRAGMENT ? 8 : (h[1] + 1u) * 8;
	w->bytes += len;
	if (w->bytes > EXT_BYTES)
		return 0;
	h = pkt_pull(p, len);
	if (!h)
		return 0;
	w->next = h[0];
	w->next_at = p->head - len - p->net;
	return len;
}

/* Behind a fragment header. The packet to go on with, or NULL. */
static struct pkt *fragment(struct stack *s, struct pkt *p, struct ip_in *in, struct walk *w) REQUIRES(L_NET)
{
	struct ip6_fragment f;
	struct frag_id id = {in->src, in->dst, 0, 0, in->dev->index};
	uint16_t off;

	memcpy(&f, p->room + p->head - sizeof(f), sizeof(f));
	off = ntohs(f.off);
	if (!(off & 0xfff9))
		return p; /* atomic */
	if (off & 1 && p->len % 8) {
		problem(s, p, ICMP6_PARAMPROB_HEADER, 4);
		pkt_free(p);
		return NULL;
	}
	id.id = ntohl(f.id);
	p = frag_input(s, p, &id, off & 0xfff8, off & 1, &in->tos);
	if (!p)
		return NULL;
	/* The first fragment says what follows: RFC 8200, 4.5. */
	w->next_at = p->head - 8 - p->net;
	w->next = p->room[p->head - 8];
	return p;
}

/* Over all extension headers. The packet, whose head is the transport header, or NULL. */
static struct pkt *walk(struct stack *s, struct pkt *p, struct ip_in *in, struct walk *w) REQUIRES(L_NET)
{
	bool group = addr_is_multicast(&in->dst), ok = true;

	for (;;) {
		uint8_t type = w->next;
		unsigned at = w->next_at, len;

		if (type != IPPROTO_HOPOPTS && type != IPPROTO_ROUTING && type != IPPROTO_DSTOPTS &&
		    type != IPPROTO_FRAGMENT)
			return p;
		if (type == IPPROTO_HOPOPTS && w->count) {
			problem(s, p, ICMP6_PARAMPROB_NEXTHEADER, at);
			break;
		}
		len = pull_ext(p, w);
		if (!len) {
			mib_add(s, MIB_IP6_IN_HDR_ERRORS, 1);
			break;
		}
		if (type == IPPROTO_FRAGMENT) {
			p = fragment(s, p, in, w);
			if (!p)
				return NULL;
		} else {
			ok = type == IPPROTO_ROUTING ? routing_ok(s, p, len) : options_ok(s, p, len, group);
		}
		if (!ok)
			break;
	}
	pkt_free(p);
	return NULL;
}

static void deliver(struct stack *s, struct pkt *p, struct ip_in *in, uint8_t next) REQUIRES(L_NET)
{
	struct walk w = {.next = next, .next_at = offsetof(struct ip6_head, next)};

	p = walk(s, p, in, &w);
	if (!p)
		return;
	in->protocol = w.next;
	if (w.next != IPPROTO_NONE && ip_deliver(s, p, in))
		return;
	if (w.next != IPPROTO_NONE)
		problem(s, p, ICMP6_PARAMPROB_NEXTHEADER, w.next_at);
	pkt_free(p);
}

static void forward(struct stack *s, struct pkt *p, const struct route_flow *f) REQUIRES(L_NET)
{
	struct ip6_head *h;
	struct ip_route r;
	int err;

	pkt_unpull(p, p->net);
	h = (struct ip6_head *)(p->room + p->net);
	err = route_forward(s, f, &r);
	if (err) {
		mib_add(s, MIB_IP6_IN_NO_ROUTES, 1);
		icmp6_send_error(s, p, ICMP6_DST_UNREACH,
				 err == -EACCES ? ICMP6_DST_UNREACH_ADMIN : ICMP6_DST_UNREACH_NOROUTE, 0);
	} else if (h->hops <= 1) {
		icmp6_send_error(s, p, ICMP6_TIME_EXCEEDED, ICMP6_TIME_EXCEED_TRANSIT, 0);
	} else if (p->len > r.mtu && !p->gso_size) {
		mib_add(s, MIB_IP6_IN_TOO_BIG_ERRORS, 1);
		icmp6_send_error(s, p, ICMP6_PACKET_TOO_BIG, 0, MAX(r.mtu, 1280u));
	} else {
		h->hops--;
		mib_add(s, MIB_IP6_OUT_FORW_DATAGRAMS, 1);
		ip_transmit(s, p, &r);
		return;
	}
	pkt_free(p);
}

void ip6_input(struct stack *s, struct netdev *dev, struct pkt *p)
{
	const struct ip6_head *h;
	struct route_flow f;
	struct ip_in in;
	uint8_t type, next;

	mib_add(s, MIB_IP6_IN_RECEIVES, 1);
	h = pull_header(s, p);
	if (!h) {
		pkt_free(p);
		return;
	}
	p->dev = dev;
	next = h->next;
	in = (struct ip_in){
	    .src = h->src,
	    .dst = h->dst,
	    .dev = dev,
	    .protocol = h->next,
	    .ttl = h->hops,
	    .tos = (uint8_t)(ntohl(h->version_class_flow) >> 20),
	};
	in.broadcast = p->link_type != PACKET_HOST || addr_is_multicast(&in.dst);
	route_flow_of(s, &in, p, &f);
	type = martian(dev, &in) || dev->features & NETDEV_NO_V6 ? RTN_UNREACHABLE : route_input_type(s, &f);
	if (s->gateway && !addr_is_any(&in.src) && !addr_needs_dev(&in.src) && ip_is_local(s, &in.src, 0))
		type = RTN_UNREACHABLE; /* nobody is there whom it could answer */
	if (type == RTN_LOCAL && too_far(s, &in)) {
		pkt_unpull(p, p->net);
		icmp6_send_error(s, p, ICMP6_TIME_EXCEEDED, ICMP6_TIME_EXCEED_TRANSIT, 0);
		pkt_free(p);
	} else if (type == RTN_LOCAL || (type == RTN_MULTICAST && mcast_member(dev, &in.dst))) {
		deliver(s, p, &in, next);
	} else if (type == RTN_UNICAST && s->forward6 && p->link_type == PACKET_HOST && !addr_needs_dev(&in.src) &&
		   !addr_needs_dev(&in.dst) && !addr_is_any(&in.src)) {
		forward(s, p, &f);
	} else {
		if (type != RTN_MULTICAST)
			mib_add(s, MIB_IP6_IN_ADDR_ERRORS, 1);
		pkt_free(p);
	}
}

static struct pkt *make_fragment(const struct pkt *p, uint32_t at, uint32_t n, uint32_t id)
{
	struct pkt *f = pkt_create();
	struct ip6_fragment *fh;
	struct ip6_head *h;

	if (!f || !pkt_append_from(f, p, HEAD + at, n) || !(fh = pkt_push(f, sizeof(*fh))) ||
	    !(h = pkt_push(f, HEAD))) {
		pkt_free(f);
		return NULL;
	}
	f->net = f->head;
	memcpy(h, p->room + p->net, HEAD);
	*fh = (struct ip6_fragment){.next = h->next, .id = htonl(id)};
	fh->off = htons((uint16_t)(at | (at + n < p->len - HEAD)));
	h->next = IPPROTO_FRAGMENT;
	h->len = htons((uint16_t)(sizeof(*fh) + n));
	return f;
}

/* Takes p, with its header. */
static int send_fragments(struct stack *s, struct pkt *p, const struct ip_route *r, uint32_t id) REQUIRES(L_NET)
{
	uint32_t most = (MAX(r->mtu, 1280u) - HEAD - (uint32_t)sizeof(struct ip6_fragment)) & ~7u,
		 payload = p->len - HEAD;
	int err = p->checksum_partial && !pkt_complete_checksum(p) ? -EINVAL : 0;

	for (uint32_t at = 0; !err && at < payload; at += most) {
		struct pkt *f = make_fragment(p, at, MIN(most, payload - at), id);

		err = f ? ip_transmit(s, f, r) : -ENOMEM;
		mib_add(s, MIB_IP6_FRAG_CREATES, !err);
	}
	mib_add(s, err ? MIB_IP6_FRAG_FAILS : MIB_IP6_FRAG_OKS, 1);
	pkt_free(p);
	return err;
}

static uint8_t hop_limit(const struct stack *s, const struct ip_out *o, const struct ip_route *r)
{
	if (o->ttl)
		return o->ttl;
	if (r->type == RTN_MULTICAST)
		return 1;
	return r->dev->hop_limit ? r->dev->hop_limit : s->default_ttl;
}

int ip6_output(struct stack *s, struct pkt *p, const struct ip_out *o, const struct ip_route *r)
{
	bool fragments = p->len + HEAD > r->mtu && !p->gso_size;
	struct ip6_head *h = NULL;

	mib_add(s, MIB_IP6_OUT_REQUESTS, 1);
	if (p->len > PKT_MAX || (fragments && o->dont_fragment)) {
		pkt_free(p);
		return -EMSGSIZE;
	}
	h = pkt_push(p, HEAD);
	if (!h) {
		pkt_free(p);
		return -ENOBUFS;
	}
	p->net = p->head;
	h->version_class_flow = htonl(6u << 28 | (uint32_t)o->tos << 20);
	h->len = htons((uint16_t)(p->len - HEAD));
	h->next = o->protocol;
	h->hops = hop_limit(s, o, r);
	h->src = r->src;
	h->dst = addr_is_any(&o->dst) ? r->next_hop : o->dst;
	if (r->type == RTN_MULTICAST) {
		mib_add(s, MIB_IP6_OUT_MCAST_PKTS, 1);
		if (!o->no_loop && mcast_member(r->dev, &o->dst))
			ip_loop_copy(s, p, r);
		if (o->host_only && !r->local) {
			pkt_free(p);
			return 0;
		}
	}
	if (fragments)
		return send_fragments(s, p, r, ip_ident(s, &r->src, &o->dst, o->protocol));
	return ip_transmit(s, p, r);
}
