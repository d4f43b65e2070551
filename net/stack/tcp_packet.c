/*
 * Segments on their way to IP, and what is answered without an endpoint.
 *
 * The checksum field gets the pseudo header's sum; whoever puts the packet on a wire completes it, and nobody does on
 * the way to this machine. Resets for segments that belong to nobody follow RFC 9293 3.10.7.1. Challenge ACKs are
 * limited for the whole stack, by a number with a random part so that it tells nothing (RFC 5961 7 and its later
 * attack, CVE-2016-5696), and to one in half a second for an endpoint, as Linux does.
 */
#include "net/stack/tcp_priv.h"

#include <arpa/inet.h>
#include <string.h>

#define CHALLENGES 1000u
#define CHALLENGE_PAUSE (500 * NSEC_PER_MSEC)

int tcp_packet_send(struct stack *s, struct pkt *p, const struct tcp_key *key, const struct tcp_header *h,
		    struct ip_out *o, const struct ip_route *r)
{
	uint8_t options[TCP_OPTIONS_MAX];
	size_t n = tcp_options_build(&h->opt, options);
	struct tcphdr *th = pkt_push(p, sizeof(*th) + n);

	if (!th) {
		pkt_free(p);
		return -ENOBUFS;
	}
	*th = (struct tcphdr){
	    .th_sport = htons(key->lport),
	    .th_dport = htons(key->rport),
	    .th_seq = htonl(h->seq),
	    .th_ack = htonl(h->flags & TH_ACK ? h->ack : 0),
	    .th_off = (uint8_t)((sizeof(*th) + n) / 4) & 15,
	    .th_flags = h->flags,
	    .th_win = htons((uint16_t)MIN(h->window, TCP_WINDOW_MAX)),
	    .th_urp = htons(h->urg),
	};
	memcpy(th + 1, options, n);
	p->transport = p->head;
	p->checksum_partial = true;
	th->th_sum = (uint16_t)~sum_fold(sum_pseudo(&key->laddr, &key->raddr, IPPROTO_TCP, p->len));
	o->src = key->laddr;
	o->dst = key->raddr;
	o->protocol = IPPROTO_TCP;
	mib_add(s, MIB_TCP_OUT_SEGS, 1);
	if (h->flags & TH_RST)
		mib_add(s, MIB_TCP_OUT_RSTS, 1);
	return ip_output(s, p, o, r);
}

void tcp_reply(struct stack *s, const struct tcp_key *key, const struct tcp_header *h, const struct ip_in *in,
	       unsigned bound_dev)
{
	struct ip_out o = {.src = key->laddr,
			   .dst = key->raddr,
			   .protocol = IPPROTO_TCP,
			   .bound_dev = bound_dev,
			   .sport = key->lport,
			   .dport = key->rport};
	struct ip_route r;
	struct pkt *p;

	o.dont_fragment = true;
	o.tos = in ? in->tos & 0xfc : 0;
	if (ip_route(s, &o, &r) || !(p = pkt_create()))
		return;
	(void)tcp_packet_send(s, p, key, h, &o, &r);
}

void tcp_reply_reset(struct stack *s, const struct tcp_in *in)
{
	struct tcp_header h = {.flags = TH_RST};

	if (in->flags & TH_RST)
		return;
	if (in->flags & TH_ACK) {
		h.seq = in->ack;
	} else {
		h.flags |= TH_ACK;
		h.ack = in->end;
	}
	tcp_reply(s, &in->key, &h, in->ip, tcp_scope(&in->key.raddr, in->ip));
}

bool tcp_challenge_allowed(struct tcp_stack *n, int64_t *last)
{
	int64_t now = stack_now(n->stack);

	if (*last && now - *last < CHALLENGE_PAUSE)
		return false;
	if (now / NSEC_PER_SEC != n->challenge_second) {
		n->challenge_second = now / NSEC_PER_SEC;
		n->challenge_left = CHALLENGES / 2 + stack_random32(n->stack) % CHALLENGES;
	}
	if (n->challenge_left == 0)
		return false;
	n->challenge_left--;
	*last = now;
	return true;
}
