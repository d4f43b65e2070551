/*
 * TIME_WAIT (RFC 9293 3.6.1), and FIN_WAIT_2 of a connection that nobody owns: a small object that keeps the pair of
 * addresses and the port, acknowledges what comes again, and is gone after a minute, as in Linux (which is shorter than
 * RFC 9293's four).
 *
 * A new SYN may take the pair over if it is certainly new: its number is behind what was received, or its timestamp is
 * later (RFC 6191). Our own connects may do so if timestamps were used and a second has passed (tcp_tw_reuse). Resets
 * end it, unless tcp_rfc1337 is set. There are at most tcp_max_tw_buckets; beyond that connections just end.
 */
#include "net/stack/tcp_priv.h"

#include "sentry/base/slab.h"

static struct slab timewait_slab = SLAB_INIT(struct tcp_timewait);

static struct tcp_stack *net_of(const struct tcp_timewait *tw)
{
	return tcp_stack(tw->ep.stack);
}

void tcp_timewait_free(struct tcp_timewait *tw)
{
	net_timer_cancel(tw->ep.stack, &tw->timer);
	tcp_unhash(&tw->ep);
	port_unbind(tw->ep.stack, &tw->ep.bind);
	net_of(tw)->tw_count--;
	slab_free(&timewait_slab, tw);
}

static void timewait_fire(struct stack *s __unused, struct net_timer *t) NO_TSA;
static void timewait_fire(struct stack *s __unused, struct net_timer *t)
{
	tcp_timewait_free(container_of(t, struct tcp_timewait, timer));
}

static void arm(struct tcp_timewait *tw, int64_t after) REQUIRES(L_NET)
{
	net_timer_arm(tw->ep.stack, &tw->timer, stack_now(tw->ep.stack) + after);
}

static void inherit(struct tcp_timewait *tw, const struct tcp_sock *tp)
{
	list_init(&tw->ep.hash);
	port_bind_init(&tw->ep.bind, PORT_TCP);
	tw->ep.key = tp->ep.key;
	tw->ep.stack = tp->ep.stack;
	tw->ep.kind = TCP_IS_TIMEWAIT;
	tw->ep.bind.addr = tp->ep.bind.addr;
	tw->ep.bind.bound_dev = tp->ep.bind.bound_dev;
	tw->ep.bind.uid = tp->ep.bind.uid;
	tw->ep.bind.v6only = tp->ep.bind.v6only;
	tw->ep.bind.reuse_addr = tp->ep.bind.reuse_addr;
	tw->ep.bind.reuse_port = tp->ep.bind.reuse_port;
	tw->snd_nxt = tp->snd_nxt;
	tw->rcv_nxt = tp->rcv_nxt;
	tw->rcv_wnd = tcp_receive_window(tp);
	tw->rcv_wscale = tp->rcv_wscale;
	tw->ts_ok = tp->ts_ok;
	tw->ts_recent = tp->ts_recent;
	tw->ts_recent_at = tp->ts_recent_at;
	tw->ts_offset = tp->ts_offset;
}

void tcp_time_wait(struct tcp_sock *tp, bool fin_wait2, int64_t after)
{
	struct tcp_stack *n = tcp_stack(tp->ep.stack);
	struct tcp_timewait *tw = n->tw_count < n->conf.max_tw_buckets ? slab_alloc(&timewait_slab) : NULL;

	if (!tw) {
		tcp_done(tp, 0);
		return;
	}
	inherit(tw, tp);
	tw->fin_wait2 = fin_wait2;
	tw->ep.state = fin_wait2 ? TCP_FIN_WAIT2 : TCP_TIME_WAIT;
	net_timer_init(&tw->timer, timewait_fire);
	if (tp->ep.bind.port)
		port_inherit(n->stack, &tw->ep.bind, &tp->ep.bind);
	tcp_done(tp, 0);
	tcp_hash(&tw->ep);
	n->tw_count++;
	mib_add(n->stack, MIB_TCPX_TW, 1);
	arm(tw, after);
}

static void ack(struct tcp_timewait *tw, const struct tcp_in *in) REQUIRES(L_NET)
{
	struct tcp_header h = {
	    .seq = tw->snd_nxt, .ack = tw->rcv_nxt, .window = tw->rcv_wnd >> tw->rcv_wscale, .flags = TH_ACK};

	if (!tcp_answer_allowed(tw->ep.stack, &tw->oow_at, in))
		return;
	h.opt.ts_ok = tw->ts_ok;
	h.opt.tsval = tcp_ts(stack_now(tw->ep.stack), tw->ts_offset);
	h.opt.tsecr = tw->ts_recent;
	tcp_reply(tw->ep.stack, &tw->ep.key, &h, in->ip, tw->ep.bind.bound_dev);
}

static void take_timestamp(struct tcp_timewait *tw, const struct tcp_in *in) REQUIRES(L_NET)
{
	if (!tw->ts_ok || !in->opt.ts_ok)
		return;
	tw->ts_recent = in->opt.tsval;
	tw->ts_recent_at = stack_now(tw->ep.stack);
}

/* The other side has not closed yet. */
static void fin_wait2_input(struct tcp_timewait *tw, struct tcp_in *in) REQUIRES(L_NET)
{
	bool inside = !seq_before(in->end, tw->rcv_nxt) && !seq_after(in->seq, tw->rcv_nxt + tw->rcv_wnd);

	if (!inside) {
		if (!(in->flags & TH_RST))
			ack(tw, in);
	} else if (in->flags & TH_RST) {
		if (in->seq == tw->rcv_nxt)
			tcp_timewait_free(tw);
	} else if (in->flags & TH_SYN && !seq_before(in->seq, tw->rcv_nxt)) {
		ack(tw, in);
	} else if (!(in->flags & TH_ACK) || !seq_after(in->end, tw->rcv_nxt)) {
		/* Old news. */
	} else if (!(in->flags & TH_FIN) || in->end != tw->rcv_nxt + 1) {
		tcp_reply_reset(tw->ep.stack, in); /* data for nobody */
		tcp_timewait_free(tw);
	} else {
		take_timestamp(tw, in);
		tw->fin_wait2 = false;
		tw->ep.state = TCP_TIME_WAIT;
		tw->rcv_nxt = in->end;
		arm(tw, TCP_TIMEWAIT_TIME);
		ack(tw, in);
	}
}

/* RFC 6191 */
static bool is_new(const struct tcp_timewait *tw, const struct tcp_in *in)
{
	if ((in->flags & (TH_SYN | TH_ACK | TH_RST)) != TH_SYN)
		return false;
	return seq_after(in->seq, tw->rcv_nxt) ||
	       (tw->ts_ok && in->opt.ts_ok && (int32_t)(in->opt.tsval - tw->ts_recent) > 0);
}

static void begin_anew(struct tcp_timewait *tw, struct tcp_in *in) REQUIRES(L_NET)
{
	struct stack *s = tw->ep.stack;
	uint32_t iss = tw->snd_nxt + 65535 + 2;

	tcp_timewait_free(tw);
	tcp_syn_input(s, in, iss ? iss : 1);
}

void tcp_timewait_input(struct tcp_timewait *tw, struct tcp_in *in)
{
	int64_t now = stack_now(tw->ep.stack);
	bool old = tw->ts_ok && tcp_paws_reject(tw->ts_recent, tw->ts_recent_at, &in->opt, now),
	     rst = in->flags & TH_RST;

	if (tw->fin_wait2 && !old) {
		fin_wait2_input(tw, in);
	} else if (!old && in->seq == tw->rcv_nxt && (in->seq == in->end || rst)) {
		if (rst && !net_of(tw)->conf.rfc1337) {
			tcp_timewait_free(tw);
			return;
		}
		take_timestamp(tw, in);
		arm(tw, TCP_TIMEWAIT_TIME);
	} else if (!old && is_new(tw, in)) {
		begin_anew(tw, in);
	} else if (!rst) {
		if (in->flags & TH_ACK || old)
			arm(tw, TCP_TIMEWAIT_TIME);
		ack(tw, in);
	}
}

static bool loopback(const struct in6_addr *a)
{
	return IN6_IS_ADDR_LOOPBACK(a) || (tcp_is_mapped(a) && a->s6_addr[12] == 127);
}

bool tcp_timewait_reusable(const struct tcp_timewait *tw, bool ts, uint32_t *ret_iss)
{
	int mode = net_of(tw)->conf.tw_reuse;
	uint32_t iss = tw->snd_nxt + 65535 + 2;

	if (!mode || tw->fin_wait2 || !ts || !tw->ts_ok || stack_now(tw->ep.stack) - tw->ts_recent_at <= NSEC_PER_SEC)
		return false;
	if (mode == 2 && !loopback(&tw->ep.key.raddr))
		return false;
	*ret_iss = iss ? iss : 1;
	return true;
}
