/*
 * Where segments go and how large they may be.
 *
 * The route is cached until the stack's routes change. The segment size follows from the path's MTU (RFC 9293 3.7.1,
 * RFC 6691: without options), the peer's MSS option, the user's TCP_MAXSEG, and half of the largest window that the
 * peer has offered (RFC 9293 3.8.6.2.1), so that a receiver with a small buffer still gets more than one segment at a
 * time. "Fragmentation needed" and "packet too big" end in a smaller MTU of the route: what was sent too large is sent
 * again at once, and not counted as congestion (RFC 1191 6.5).
 */
#include "net/stack/tcp_priv.h"

#include <poll.h>

#include "net/stack/netdev.h"

void tcp_ip_out(const struct tcp_sock *tp, struct ip_out *ret)
{
	*ret = (struct ip_out){
	    .src = tp->ep.key.laddr,
	    .dst = tp->ep.key.raddr,
	    .bound_dev = tp->ep.bind.bound_dev,
	    .protocol = IPPROTO_TCP,
	    .ttl = tp->ttl,
	    .tos = tp->tos,
	    .dont_fragment = true,
	    .mark = tp->mark,
	    .uid = tp->ep.bind.uid,
	    .sport = tp->ep.key.lport,
	    .dport = tp->ep.key.rport,
	};
}

void tcp_route_renew(struct tcp_sock *tp)
{
	tp->route.dev = NULL;
}

int tcp_route(struct tcp_sock *tp)
{
	struct ip_out o;
	int err;

	if (!ip_route_stale(tp->ep.stack, &tp->route))
		return 0;
	tcp_ip_out(tp, &o);
	err = ip_route(tp->ep.stack, &o, &tp->route);
	if (!err && tp->ep.state != TCP_CLOSE)
		tcp_sync_mss(tp);
	return err;
}

static uint32_t header_size(const struct in6_addr *peer)
{
	return 20 + (tcp_is_mapped(peer) ? 20 : 40);
}

uint16_t tcp_advertised_mss(const struct in6_addr *peer, const struct ip_route *r)
{
	return (uint16_t)MIN(MAX(ip_mss(peer, r), TCP_MSS_MIN), PKT_MAX - header_size(peer));
}

unsigned tcp_dev_index(const struct netdev *dev)
{
	return dev ? dev->index : 0;
}

unsigned tcp_scope(const struct in6_addr *peer, const struct ip_in *in)
{
	return IN6_IS_ADDR_LINKLOCAL(peer) ? tcp_dev_index(in->dev) : 0;
}

void tcp_sync_mss(struct tcp_sock *tp)
{
	uint32_t mss = MIN(tp->route.mtu, PKT_MAX), head = header_size(&tp->ep.key.raddr);

	mss = MIN(mss > head ? mss - head : 0, tp->mss_clamp);
	if (tp->max_window > TCP_MSS_DEFAULT)
		mss = MIN(mss, MAX(tp->max_window / 2, TCP_MSS_DEFAULT));
	else if (tp->max_window)
		mss = MIN(mss, MAX(tp->max_window, TCP_MSS_MIN + 20));
	tp->mss = MAX(mss, (uint32_t)tcp_conf(tp->ep.stack)->min_snd_mss);
}

uint32_t tcp_current_mss(const struct tcp_sock *tp)
{
	uint32_t options = tp->ts_ok ? 12 : 0;
	uint32_t blocks = tp->sack_count + tp->dsack_pending;

	if (blocks && tp->sack_ok)
		options += 4 + 8 * MIN(blocks, tp->ts_ok ? 3u : 4u);
	return tp->mss > options + 8 ? tp->mss - options : 8;
}

/* The path takes less than was thought. */
static void shrink(struct tcp_sock *tp, uint32_t mtu) REQUIRES(L_NET)
{
	uint32_t before = tp->mss;

	ip_pmtu(tp->ep.stack, &tp->ep.key.raddr, mtu);
	tcp_route_renew(tp);
	if (tcp_route(tp))
		return;
	tcp_sync_mss(tp);
	if (tp->mss < before)
		tcp_mark_path_lost(tp, tcp_current_mss(tp));
}

static void sock_error(struct tcp_sock *tp, const struct ip_error *e) REQUIRES(L_NET)
{
	bool making = tp->ep.state == TCP_SYN_SENT || tp->ep.state == TCP_SYN_RECV;

	if (tp->ep.state == TCP_CLOSE || !seq_between(e->seq, tp->snd_una, tp->snd_nxt))
		return;
	if (e->mtu) {
		shrink(tp, e->mtu);
	} else if (making) {
		tcp_done(tp, e->err);
	} else if (tp->recverr) {
		tp->err = e->err;
		tcp_wake(tp, POLLERR);
	} else {
		tp->err_soft = e->err;
	}
}

void tcp_error(struct stack *s, const struct ip_error *e)
{
	struct tcp_key key = {e->src, e->dst, e->sport, e->dport};
	struct tcp_ep *ep = tcp_find(tcp_stack(s), &key, 0);

	if (!ep)
		return;
	if (ep->kind == TCP_IS_SOCK)
		sock_error(tcp_sock_of(ep), e);
	else if (ep->kind == TCP_IS_REQUEST)
		tcp_request_error((struct tcp_request *)ep, e);
	tcp_reap(tcp_stack(s));
}
