/*
 * Listening: RFC 9293 3.10.7.2, and Linux's backlog rules.
 *
 * A SYN makes a request, a small object in the table of connections that answers and repeats SYN+ACK; the last
 * acknowledgment of the handshake makes an endpoint of it, in the accept queue. There are at most `backlog` requests;
 * beyond that SYNs are answered by cookies (tcp_cookie.c) or dropped. The accept queue takes one more than `backlog`:
 * while it is full SYNs are dropped, and so are last acknowledgments, so that the client, which believes to be
 * connected, sends again and the request repeats its SYN+ACK (unless tcp_abort_on_overflow resets it). TCP_DEFER_ACCEPT
 * lets a bare acknowledgment wait for data.
 */
#include "net/stack/tcp_priv.h"

#include <poll.h>

#include "net/stack/gateway.h"
#include "sentry/base/slab.h"

#define SYNACK_PAUSE (500 * NSEC_PER_MSEC) /* between answers to repeated SYNs */

static struct slab request_slab = SLAB_INIT(struct tcp_request);

/* ---- requests ---- */

void tcp_request_free(struct tcp_request *r)
{
	net_timer_cancel(r->ep.stack, &r->timer);
	tcp_unhash(&r->ep);
	list_remove(&r->link);
	r->listener->request_count--;
	pkt_free(r->syn);
	slab_free(&request_slab, r);
}

/* The route back; asked for again if it is stale. */
static int request_path(struct tcp_request *r) REQUIRES(L_NET)
{
	struct ip_out o = {.src = r->ep.key.laddr,
			   .dst = r->ep.key.raddr,
			   .bound_dev = r->ep.bind.bound_dev,
			   .protocol = IPPROTO_TCP,
			   .tos = r->listener->tos,
			   .mark = r->listener->mark,
			   .uid = r->listener->ep.bind.uid,
			   .sport = r->ep.key.lport,
			   .dport = r->ep.key.rport};

	return ip_route_stale(r->ep.stack, &r->route) ? ip_route(r->ep.stack, &o, &r->route) : 0;
}

/* The route, and the window that goes with it. */
static int request_route(struct tcp_request *r) REQUIRES(L_NET)
{
	int err = request_path(r);

	if (err)
		return err;
	/* The interface may be gone when it is needed again. */
	r->advmss = tcp_advertised_mss(&r->ep.key.raddr, &r->route);
	tcp_initial_window(tcp_conf(r->ep.stack), r->listener->rcvbuf, r->listener->window_clamp, r->advmss,
			   r->wscale_ok, &r->window, &r->rcv_wscale);
	return 0;
}

/* It will never be a connection. */
static void request_drop(struct tcp_request *r) REQUIRES(L_NET)
{
	if (r->owner)
		r->ep.stack->gateway->gone(r->owner);
	tcp_request_free(r);
}

void tcp_request_synack(struct tcp_request *r, uint32_t tsval)
{
	struct tcp_header h = {.seq = r->iss, .ack = r->irs + 1, .window = r->window, .flags = TH_SYN | TH_ACK};
	struct ip_out o = {.bound_dev = r->ep.bind.bound_dev,
			   .ttl = r->listener->ttl,
			   .tos = r->listener->tos,
			   .mark = r->listener->mark,
			   .dont_fragment = true};
	struct pkt *p = request_path(r) ? NULL : pkt_create();

	if (!p)
		return;
	h.opt.mss = r->advmss;
	if (r->listener->user_mss)
		h.opt.mss = MIN(h.opt.mss, r->listener->user_mss);
	h.opt.wscale_ok = r->wscale_ok;
	h.opt.wscale = r->rcv_wscale;
	h.opt.sack_ok = r->sack_ok;
	h.opt.ts_ok = r->ts_ok;
	h.opt.tsval = tsval;
	h.opt.tsecr = r->ts_recent;
	h.opt.fastopen = r->cookie.size;
	h.opt.cookie = r->cookie;
	if (r->ecn_ok)
		h.flags |= TCP_ECE;
	r->sent_at = stack_now(r->ep.stack);
	(void)tcp_packet_send(r->ep.stack, p, &r->ep.key, &h, &o, &r->route);
}

static void answer(struct tcp_request *r) REQUIRES(L_NET)
{
	tcp_request_synack(r, tcp_ts(stack_now(r->ep.stack), r->ts_offset));
}

/* Linux counts TCP_DEFER_ACCEPT in repetitions of the SYN+ACK: 1, 3, 7, ... seconds. */
static int defer_retries(const struct tcp_sock *l)
{
	int n = 0;

	while (n < 8 && (1 << n) - 1 < l->defer_accept)
		n++;
	return n;
}

static void request_fire(struct stack *s, struct net_timer *t) NO_TSA;
static void request_fire(struct stack *s, struct net_timer *t)
{
	struct tcp_request *r = container_of(t, struct tcp_request, timer);
	int most = r->listener->syn_retries ? r->listener->syn_retries : tcp_conf(s)->synack_retries;

	most = MAX(most, defer_retries(r->listener));
	if (r->retries >= most) {
		mib_add(s, MIB_TCP_ATTEMPT_FAILS, 1);
		request_drop(r);
		return;
	}
	r->retries++;
	if (!r->acked || r->retries >= defer_retries(r->listener)) {
		answer(r);
		mib_add(s, MIB_TCP_RETRANS_SEGS, 1);
	}
	net_timer_arm(s, t, stack_now(s) + MIN(TCP_RTO_INIT << MIN(r->retries, 10), TCP_RTO_MAX));
}

void tcp_request_fill(struct tcp_request *r, struct tcp_sock *l, const struct tcp_in *in)
{
	struct tcp_stack *n = tcp_stack(l->ep.stack);
	const struct tcp_conf *c = &n->conf;
	const struct tcp_options *o = &in->opt;

	list_init(&r->ep.hash);
	list_init(&r->link);
	port_bind_init(&r->ep.bind, PORT_TCP);
	r->ep.key = in->key;
	r->ep.stack = l->ep.stack;
	r->ep.kind = TCP_IS_REQUEST;
	r->ep.state = TCP_NEW_SYN_RECV;
	r->ep.bind.bound_dev = l->ep.bind.bound_dev ? l->ep.bind.bound_dev : tcp_scope(&in->key.raddr, in->ip);
	r->ep.bind.uid = l->ep.bind.uid;
	r->listener = l;
	r->irs = in->seq;
	r->mss = o->mss ? (uint16_t)MAX(o->mss, TCP_MSS_MIN) : (uint16_t)TCP_MSS_DEFAULT;
	r->ts_ok = o->ts_ok && c->timestamps;
	r->ts_recent = r->ts_ok ? o->tsval : 0;
	r->ts_offset = tcp_ts_offset(n, &in->key);
	r->sack_ok = o->sack_ok && c->sack;
	r->wscale_ok = o->wscale_ok && c->window_scaling;
	r->snd_wscale = r->wscale_ok ? o->wscale : 0;
	r->ecn_ok = c->ecn && (in->flags & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR) && (in->ip->tos & 3) == 0;
}

static void cookie_answer(struct tcp_stack *n, struct tcp_sock *l, const struct tcp_in *in) REQUIRES(L_NET)
{
	struct tcp_request r = {0};
	uint32_t tsval;

	n->overflow_at = stack_now(n->stack);
	mib_add(n->stack, MIB_TCPX_SYNCOOKIES_SENT, 1);
	tcp_request_fill(&r, l, in);
	if (request_route(&r))
		return;
	r.iss = tcp_cookie_make(n, &r, &tsval);
	tcp_request_synack(&r, tsval);
}

/* The SYN has brought data, and a cookie that says that this may be taken. */
static void fast_open(struct tcp_sock *l, struct tcp_in *in, uint32_t iss) REQUIRES(L_NET)
{
	struct tcp_request r = {0};
	struct tcp_sock *tp;

	tcp_request_fill(&r, l, in);
	if (request_route(&r))
		return;
	r.iss = iss ? iss : tcp_initial_seq(tcp_stack(l->ep.stack), &in->key);
	tp = tcp_request_finish(&r);
	if (!tp)
		return;
	tp->snd_nxt = tp->iss;
	tcp_fastopen_child(tp, in);
}

struct tcp_request *tcp_request_create(struct tcp_sock *l, const struct tcp_in *in, uint32_t iss)
{
	struct tcp_request *r = slab_alloc(&request_slab);

	if (!r)
		return NULL;
	tcp_request_fill(r, l, in);
	if (request_route(r)) {
		slab_free(&request_slab, r);
		return NULL;
	}
	r->iss = iss ? iss : tcp_initial_seq(tcp_stack(r->ep.stack), &in->key);
	net_timer_init(&r->timer, request_fire);
	tcp_hash(&r->ep);
	list_append(&l->requests, &r->link);
	l->request_count++;
	return r;
}

void tcp_request_answer(struct tcp_request *r)
{
	struct stack *s = r->ep.stack;

	answer(r);
	net_timer_arm(s, &r->timer, stack_now(s) + TCP_RTO_INIT);
}

static void new_request(struct tcp_sock *l, struct tcp_in *in, uint32_t iss) REQUIRES(L_NET)
{
	struct tcp_stack *n = tcp_stack(l->ep.stack);
	struct tcp_cookie cookie;
	struct tcp_request *r;

	if (tcp_fastopen_accepts(l, in, &cookie)) {
		fast_open(l, in, iss);
		return;
	}

	if (l->accept_count > l->backlog) {
		mib_add(n->stack, MIB_TCPX_LISTEN_OVERFLOWS, 1);
		mib_add(n->stack, MIB_TCPX_LISTEN_DROPS, 1);
		return;
	}
	if (l->request_count >= MAX(l->backlog, 1u) && !iss) {
		if (n->conf.syncookies)
			cookie_answer(n, l, in);
		return;
	}
	r = tcp_request_create(l, in, iss);
	if (!r)
		return;
	r->cookie = cookie;
	tcp_request_answer(r);
}

/* An acknowledgment for nobody: perhaps it brings a cookie back. */
static void late_ack(struct tcp_sock *l, struct tcp_in *in) REQUIRES(L_NET)
{
	struct tcp_stack *n = tcp_stack(l->ep.stack);
	struct tcp_request r = {0};
	struct tcp_sock *tp;

	if (in->flags & TH_SYN || !n->conf.syncookies || !tcp_cookie_check(n, l, in, &r)) {
		mib_add(n->stack, MIB_TCPX_SYNCOOKIES_FAILED, !(in->flags & TH_SYN) && n->conf.syncookies);
		tcp_reply_reset(l->ep.stack, in);
		return;
	}
	if (l->accept_count > l->backlog || request_route(&r))
		return;
	mib_add(n->stack, MIB_TCPX_SYNCOOKIES_RECV, 1);
	tp = tcp_request_finish(&r);
	if (tp)
		tcp_segment(tp, in);
}

void tcp_listen_input(struct tcp_sock *tp, struct tcp_in *in, uint32_t iss)
{
	if (in->flags & TH_RST)
		return;
	if (in->flags & TH_ACK)
		late_ack(tp, in);
	else if ((in->flags & (TH_SYN | TH_FIN)) == TH_SYN)
		new_request(tp, in, iss);
}

void tcp_syn_input(struct stack *s, struct tcp_in *in, uint32_t iss)
{
	struct tcp_sock *l = tcp_find_listener(tcp_stack(s), &in->key, tcp_dev_index(in->ip->dev));

	if (l)
		tcp_listen_input(l, in, iss);
	else if (!gateway_syn(s, in, iss))
		tcp_reply_reset(s, in);
}

/* ---- the end of the handshake ---- */

static void inherit_request(struct tcp_sock *tp, const struct tcp_request *r) REQUIRES(L_NET)
{
	tp->ep.key = r->ep.key;
	tp->route = r->route;
	tp->iss = tp->snd_una = tp->snd_sml = r->iss;
	tp->snd_nxt = tp->write_seq = r->iss + 1;
	tp->irs = r->irs;
	tp->rcv_nxt = tp->rcv_wup = tp->copied_seq = tp->drs.seq = tp->last_ack_sent = r->irs + 1;
	tp->rcv_wnd = r->window;
	tp->rcv_wscale = r->rcv_wscale;
	tp->snd_wscale = r->snd_wscale;
	tp->wscale_ok = r->wscale_ok;
	tp->sack_ok = r->sack_ok;
	tp->ts_ok = r->ts_ok;
	tp->ecn_ok = r->ecn_ok;
	tp->ts_offset = r->ts_offset;
	tp->ts_recent = r->ts_recent;
	tp->ts_recent_at = tp->last_ack_at = tp->last_data_at = stack_now(r->ep.stack);
	tp->total_retrans = r->retries;
	tp->advmss = r->advmss;
	tp->mss_clamp = tp->user_mss ? MIN(r->mss, tp->user_mss) : r->mss;
	if (!r->retries && r->sent_at)
		tcp_rtt_sample(tp, stack_now(r->ep.stack) - r->sent_at);
}

struct tcp_sock *tcp_request_finish(struct tcp_request *r)
{
	struct tcp_sock *l = r->listener, *tp = request_path(r) ? NULL : tcp_sock_create(r->ep.stack, l);
	bool kept = !list_empty(&r->link);
	void *owner = r->owner;

	if (!tp)
		return NULL;
	inherit_request(tp, r);
	tp->ep.bind.addr = tp->ep.key.laddr;
	tp->ep.bind.bound_dev = r->ep.bind.bound_dev;
	if (kept)
		tcp_request_free(r);
	if (!owner)
		port_inherit(l->ep.stack, &tp->ep.bind, &l->ep.bind);
	tp->ep.state = TCP_SYN_RECV;
	tcp_hash(&tp->ep);
	tp->connected = true;
	mib_add(tp->ep.stack, MIB_TCP_PASSIVE_OPENS, 1);
	if (owner) {
		tp->ep.stack->gateway->established(owner, tp);
		return tp;
	}
	tp->listener = l;
	list_append(&l->accept, &tp->accept);
	l->accept_count++;
	tcp_wake(l, POLLIN | POLLRDNORM);
	return tp;
}

static void request_ack(struct tcp_request *r, const struct tcp_in *in) REQUIRES(L_NET)
{
	struct tcp_header h = {
	    .seq = r->iss + 1, .ack = r->irs + 1, .window = r->window >> r->rcv_wscale, .flags = TH_ACK};

	if (!tcp_answer_allowed(r->ep.stack, &r->oow_at, in))
		return;
	h.opt.ts_ok = r->ts_ok;
	h.opt.tsval = tcp_ts(stack_now(r->ep.stack), r->ts_offset);
	h.opt.tsecr = r->ts_recent;
	tcp_reply(r->ep.stack, &r->ep.key, &h, in->ip, r->ep.bind.bound_dev);
}

/* The handshake is complete. */
static void complete(struct tcp_request *r, struct tcp_in *in) REQUIRES(L_NET)
{
	struct tcp_sock *l = r->listener, *tp;

	if (l->defer_accept && r->retries < defer_retries(l) && in->end == r->irs + 1) {
		r->acked = true;
		return;
	}
	if (l->accept_count > l->backlog) {
		r->acked = true;
		mib_add(l->ep.stack, MIB_TCPX_LISTEN_OVERFLOWS, 1);
		if (tcp_conf(l->ep.stack)->abort_on_overflow) {
			tcp_reply_reset(l->ep.stack, in);
			request_drop(r);
		}
		return;
	}
	tp = tcp_request_finish(r);
	if (tp)
		tcp_segment(tp, in);
}

void tcp_request_input(struct tcp_request *r, struct tcp_in *in)
{
	uint32_t next = r->irs + 1;
	bool inside = !seq_before(in->end, next) && !seq_after(in->seq, next + r->window);

	if (in->seq == r->irs && (in->flags & (TH_SYN | TH_ACK | TH_RST)) == TH_SYN) {
		if (r->ts_ok && in->opt.ts_ok && (int32_t)(in->opt.tsval - r->ts_recent) > 0)
			r->ts_recent = in->opt.tsval;
		if (!r->syn && stack_now(r->ep.stack) - r->sent_at >= SYNACK_PAUSE)
			answer(r);
		return;
	}
	if (in->flags & TH_ACK && in->ack != r->iss + 1) {
		tcp_reply_reset(r->ep.stack, in);
		return;
	}
	if (!inside || (r->ts_ok && in->opt.ts_ok && (int32_t)(in->opt.tsval - r->ts_recent) < 0)) {
		if (!(in->flags & TH_RST))
			request_ack(r, in);
		return;
	}
	if (in->flags & TH_RST) {
		if (in->seq == next) {
			mib_add(r->ep.stack, MIB_TCP_ATTEMPT_FAILS, 1);
			request_drop(r);
		}
		return;
	}
	if (in->flags & TH_SYN)
		request_ack(r, in);
	else if (in->flags & TH_ACK)
		complete(r, in);
}

void tcp_request_error(struct tcp_request *r, const struct ip_error *e)
{
	if (e->seq == r->iss && e->hard)
		request_drop(r);
}

/* ---- the user's side ---- */

int tcp_listen(struct tcp_sock *tp, int backlog)
{
	unsigned most = (unsigned)tcp_conf(tp->ep.stack)->somaxconn;
	int err;

	if (tp->ep.state == TCP_CLOSE && !tp->connected && !tp->connecting) {
		if (!tp->ep.bind.port) {
			tp->ep.bind.addr = tp->ep.key.laddr;
			err = port_bind(tp->ep.stack, &tp->ep.bind, 0);
			if (err)
				return err;
			tp->ep.key.lport = tp->ep.bind.port;
		}
		err = port_listen(tp->ep.stack, &tp->ep.bind);
		if (err)
			return err;
		tp->shutdown = 0;
		tp->ep.state = TCP_LISTEN;
		list_append(&tcp_stack(tp->ep.stack)->listeners, &tp->ep.hash);
	} else if (tp->ep.state != TCP_LISTEN) {
		return -EINVAL;
	}
	tp->backlog = MIN((unsigned)backlog, most);
	return 0;
}

int tcp_accept(struct tcp_sock *tp, struct tcp_sock **ret)
{
	struct tcp_sock *c = list_first(&tp->accept, struct tcp_sock, accept);

	if (tp->ep.state != TCP_LISTEN)
		return -EINVAL;
	if (!c)
		return -EAGAIN;
	list_remove(&c->accept);
	tp->accept_count--;
	c->listener = NULL;
	*ret = c;
	return 0;
}

void tcp_listen_stop(struct tcp_sock *tp)
{
	struct tcp_request *r;
	struct tcp_sock *c;

	while ((r = list_first(&tp->requests, struct tcp_request, link)))
		request_drop(r);
	while ((c = list_first(&tp->accept, struct tcp_sock, accept))) {
		list_remove(&c->accept);
		c->listener = NULL;
		c->orphan = true;
		tcp_stack(tp->ep.stack)->orphans++;
		tcp_abort(c, 0);
	}
	tp->accept_count = 0;
	port_unlisten(tp->ep.stack, &tp->ep.bind);
}
