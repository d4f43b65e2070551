/*
 * A stack that stands for all the world: see gateway.h.
 *
 * Requests are tcp_listen.c's, of a listener that no port has (tcp_stack.anybody). One that waits for its owner's decision keeps its SYN, which
 * answers a failure by ICMP must quote, and has no timer: the owner comes back. Repetitions of the SYN find it in the table of connections. Its
 * number is bounded by the owner, who refuses more than he can look after.
 */
#include "net/stack/gateway.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#include "net/stack/addr.h"
#include "net/stack/core.h"
#include "net/stack/inet.h"
#include "net/stack/tcp_priv.h"

int gateway_begin(struct stack *s, const struct gateway_ops *ops, void *arg)
{
	struct tcp_sock *tp = tcp_create(s, true);

	if (!tp)
		return -ENOMEM;
	tp->ep.state = TCP_LISTEN;
	tcp_stack(s)->anybody = tp;
	tcp_stack(s)->conf.tw_reuse = 1; /* the world has many more ports than we */
	s->gateway = ops;
	s->gateway_arg = arg;
	s->route_generation++;
	return 0;
}

void gateway_end(struct stack *s)
{
	struct tcp_sock *tp = take(tcp_stack(s)->anybody);

	if (!tp)
		return;
	tcp_close(tp, false);
	tcp_release(tp);
	s->gateway = NULL;
	s->route_generation++;
}

void gateway_buffers(struct stack *s, uint32_t size)
{
	tcp_set_sndbuf(tcp_stack(s)->anybody, size);
	tcp_set_rcvbuf(tcp_stack(s)->anybody, size);
	tcp_stack(s)->anybody->nodelay = true;
}

struct tcp_sock *gateway_endpoint(struct stack *s)
{
	struct tcp_sock *tp = tcp_sock_create(s, tcp_stack(s)->anybody);

	if (tp)
		tp->ep.bind.reuse_addr = true;
	return tp;
}

void gateway_complain(struct stack *s, struct pkt *p, int err)
{
	bool v4;

	pkt_unpull(p, p->net);
	v4 = p->room[p->net] >> 4 == 4;
	switch (err) {
	case -EHOSTUNREACH:
		if (v4)
			icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0);
		else
			icmp6_send_error(s, p, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADDR, 0);
		break;
	case -ENETUNREACH:
		if (v4)
			icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_NET_UNREACH, 0);
		else
			icmp6_send_error(s, p, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOROUTE, 0);
		break;
	case -EACCES:
		if (v4)
			icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, 0);
		else
			icmp6_send_error(s, p, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADMIN, 0);
		break;
	default:
		break;
	}
}

static void reset(struct tcp_request *r) REQUIRES(L_NET)
{
	struct tcp_header h = {.flags = TH_RST | TH_ACK, .ack = r->irs + 1};

	tcp_reply(r->ep.stack, &r->ep.key, &h, NULL, r->ep.bind.bound_dev);
}

void gateway_refuse(struct tcp_request *r, int err)
{
	r->owner = NULL;
	if (err == -ECONNREFUSED)
		reset(r);
	else if (r->syn)
		gateway_complain(r->ep.stack, r->syn, err);
	mib_add(r->ep.stack, MIB_TCP_ATTEMPT_FAILS, 1);
	tcp_request_free(r);
}

void gateway_accept(struct tcp_request *r)
{
	pkt_free(take(r->syn));
	tcp_request_answer(r);
}

bool gateway_syn(struct stack *s, struct tcp_in *in, uint32_t iss)
{
	struct tcp_sock *l = tcp_stack(s)->anybody;
	struct tcp_request *r;
	uint8_t ttl = in->ip->ttl;
	int err;

	if (!l || (in->flags & (TH_SYN | TH_ACK | TH_RST | TH_FIN)) != TH_SYN)
		return false;
	r = tcp_request_create(l, in, iss);
	if (!r)
		return true;
	r->syn = take(in->pkt);
	err = s->gateway->syn(s->gateway_arg, r, &in->key, ttl, &r->owner);
	if (err)
		gateway_refuse(r, err);
	return true;
}
