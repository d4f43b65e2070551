/*
 * Segments arrive: RFC 9293 3.10.7, step by step, with RFC 5961 (blind attacks: resets and SYNs must match exactly,
 * else a challenge ACK) and RFC 7323 5 (PAWS).
 *
 * A segment is checked, parsed once into a struct tcp_in, and given to what its pair of addresses belongs to: an
 * endpoint, a request, a TIME_WAIT rest, a listener. What belongs to nobody is answered by a reset. Linux's liberties
 * are taken where they are documented: the left edge of acceptance is what was last acknowledged rather than rcv_nxt,
 * so that reordered pure acknowledgments count; segments without a timestamp on a connection that has them are
 * accepted; answers to empty segments out of the window are limited to one in half a second, so that two ends never
 * acknowledge each other's acknowledgments for ever.
 */
#include "net/stack/tcp_priv.h"

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>

#define OOW_PAUSE (500 * NSEC_PER_MSEC)

/* ---- SYN_SENT ---- */

static void take_syn_options(struct tcp_sock *tp, const struct tcp_in *in) REQUIRES(L_NET)
{
	const struct tcp_conf *c = tcp_conf(tp->ep.stack);
	const struct tcp_options *o = &in->opt;

	tp->ts_ok = o->ts_ok && c->timestamps;
	tp->sack_ok = o->sack_ok && c->sack;
	tp->wscale_ok = o->wscale_ok && c->window_scaling;
	tp->snd_wscale = tp->wscale_ok ? o->wscale : 0;
	if (!tp->wscale_ok)
		tp->rcv_wscale = 0;
	if (tp->ts_ok) {
		tp->ts_recent = o->tsval;
		tp->ts_recent_at = tcp_now(tp);
	}
	tp->mss_clamp = o->mss ? MAX(o->mss, TCP_MSS_MIN) : TCP_MSS_DEFAULT;
	if (tp->user_mss)
		tp->mss_clamp = MIN(tp->mss_clamp, tp->user_mss);
	tp->irs = in->seq;
	tp->rcv_nxt = tp->rcv_wup = tp->copied_seq = in->seq + 1;
	tp->drs.seq = tp->copied_seq;
	tp->snd_wl1 = in->seq;
	tp->snd_wnd = tp->max_window = in->window;
	tp->last_ack_at = tp->last_data_at = tcp_now(tp);
}

void tcp_establish(struct tcp_sock *tp, const struct tcp_in *in)
{
	bool troubled = tp->total_retrans > 1;

	tcp_fastopen_done(tp);
	tcp_clear_recovery(tp);
	tp->snd_wl1 = in->seq;
	tcp_sync_mss(tp);
	tcp_cong_init(tp);
	if (troubled)
		tp->cwnd = tp->mss; /* RFC 5681 3.1 */
	tp->rcv_mss = (uint16_t)MAX(MIN(MIN(tp->advmss, tp->mss), MIN(tp->rcv_wnd / 2, TCP_MSS_DEFAULT)), 88u);
	tp->drs.space = MIN(tp->rcv_wnd, (uint32_t)TCP_INIT_CWND * tp->advmss);
	tp->drs.at = tcp_now(tp);
	tcp_tune_sndbuf(tp);
	tp->last_sent_at = tcp_now(tp);
	tcp_set_state(tp, TCP_ESTABLISHED);
	tcp_rearm(tp);
	if (tp->keepalive)
		tcp_arm_keepalive(tp, tcp_keep_idle(tp));
	tcp_wake(tp, POLLOUT | POLLWRNORM | POLLWRBAND);
}

static void connected(struct tcp_sock *tp, struct tcp_in *in) REQUIRES(L_NET)
{
	struct tcp_acked a = {.rtt = -1, .last_rtt = -1, .sack_rtt = -1};

	take_syn_options(tp, in);
	tp->rcv_tsecr = tp->ts_ok ? in->opt.tsecr : 0;
	tp->ecn_ok = tp->ecn_ok && (in->flags & (TCP_ECE | TCP_CWR)) == TCP_ECE;
	tcp_ack_clean(tp, in->ack, &a);
	if (a.rtt >= 0)
		tcp_rtt_sample(tp, a.rtt);
	else if (tp->rcv_tsecr)
		tcp_rtt_sample(tp, (int32_t)(tcp_ts(tcp_now(tp), tp->ts_offset) - tp->rcv_tsecr) * NSEC_PER_MSEC);
	tcp_establish(tp, in);
	tcp_send_ack(tp);
	tcp_fastopen_learn(tp, in);
	tcp_push(tp, 0);
}

/* RFC 9293 3.5: both ends have sent a SYN. */
static void simultaneous_open(struct tcp_sock *tp, struct tcp_in *in) REQUIRES(L_NET)
{
	struct tcp_tx *syn = tcp_tx_head(tp);

	take_syn_options(tp, in);
	tp->ecn_ok = false;
	tcp_set_state(tp, TCP_SYN_RECV);
	if (syn)
		(void)tcp_retransmit(tp, syn);
}

/* 3.10.7.3 */
static void syn_sent(struct tcp_sock *tp, struct tcp_in *in) REQUIRES(L_NET)
{
	if (in->flags & TH_ACK && (!seq_after(in->ack, tp->iss) || seq_after(in->ack, tp->snd_nxt))) {
		tcp_reply_reset(tp->ep.stack, in);
		return;
	}
	if (in->flags & TH_RST) {
		if (in->flags & TH_ACK)
			tcp_done(tp, ECONNREFUSED);
		return;
	}
	if (!(in->flags & TH_SYN))
		return;
	if (in->flags & TH_ACK)
		connected(tp, in);
	else
		simultaneous_open(tp, in);
}

/* ---- first: the sequence number ---- */

bool tcp_paws_reject(uint32_t ts_recent, int64_t ts_recent_at, const struct tcp_options *o, int64_t now)
{
	if (!o->ts_ok || (int32_t)(o->tsval - ts_recent) >= 0)
		return false;
	return now - ts_recent_at < TCP_PAWS_DAYS;
}

void tcp_challenge(struct tcp_sock *tp)
{
	if (!tcp_challenge_allowed(tcp_stack(tp->ep.stack), &tp->challenge_at))
		return;
	mib_add(tp->ep.stack, MIB_TCPX_CHALLENGE_ACK, 1);
	tcp_send_ack(tp);
}

bool tcp_answer_allowed(struct stack *s, int64_t *at, const struct tcp_in *in)
{
	int64_t now = stack_now(s);

	if (in->len == 0 && !(in->flags & TH_FIN) && *at && now - *at < OOW_PAUSE)
		return false;
	*at = now;
	return true;
}

/* An acknowledgment for what is not acceptable. */
static void answer_unacceptable(struct tcp_sock *tp, const struct tcp_in *in) REQUIRES(L_NET)
{
	if (!tcp_answer_allowed(tp->ep.stack, &tp->oow_at, in))
		return;
	if (in->len && seq_before(in->seq, tp->rcv_nxt)) {
		tcp_quick_acks(tp);
		tcp_sack_dup(tp, in->seq, seq_min(in->end, tp->rcv_nxt));
	}
	tcp_send_ack(tp);
}

static bool sequence_ok(struct tcp_sock *tp, const struct tcp_in *in) REQUIRES(L_NET)
{
	bool rst = in->flags & TH_RST;

	if (tp->ts_ok && !rst && tcp_paws_reject(tp->ts_recent, tp->ts_recent_at, &in->opt, tcp_now(tp))) {
		mib_add(tp->ep.stack, MIB_TCPX_PAWS_ESTAB, 1);
		answer_unacceptable(tp, in);
		return false;
	}
	if (!seq_before(in->end, tp->rcv_wup) && !seq_after(in->seq, tp->rcv_nxt + tcp_receive_window(tp)))
		return true;
	if (!rst && in->flags & TH_SYN)
		tcp_challenge(tp);
	else if (!rst)
		answer_unacceptable(tp, in);
	return false;
}

/* ---- second: RST ---- */

static int reset_error(const struct tcp_sock *tp)
{
	if (tp->ep.state == TCP_SYN_SENT)
		return ECONNREFUSED;
	return tp->ep.state == TCP_CLOSE_WAIT ? EPIPE : ECONNRESET;
}

/* RFC 5961 3.2; behind the highest SACK block is as good as rcv_nxt, as the peer cannot know better. */
static void take_reset(struct tcp_sock *tp, const struct tcp_in *in) REQUIRES(L_NET)
{
	bool exact = in->seq == tp->rcv_nxt;

	for (unsigned i = 0; i < tp->sack_count; i++)
		exact |= in->seq == tp->sacks[i].end;
	if (exact)
		tcp_done(tp, reset_error(tp));
	else
		tcp_challenge(tp);
}

/* ---- fourth: SYN. In a simultaneous open the peer's SYN comes once more, with an acknowledgment. ---- */

static bool syn_ok(const struct tcp_sock *tp, const struct tcp_in *in)
{
	return tp->ep.state == TCP_SYN_RECV && in->flags & TH_ACK && in->seq + 1 == tp->rcv_nxt &&
	       in->ack == tp->snd_nxt;
}

/* ---- fifth: ACK ---- */

static bool our_fin_acked(const struct tcp_sock *tp)
{
	return tp->fin_sent && tp->snd_una == tcp_send_end(tp);
}

/* SYN_RECV becomes ESTABLISHED. */
static bool complete(struct tcp_sock *tp, struct tcp_in *in) REQUIRES(L_NET)
{
	struct tcp_acked a = {.rtt = -1, .last_rtt = -1, .sack_rtt = -1};

	if (!seq_after(in->ack, tp->snd_una) || seq_after(in->ack, tp->snd_nxt)) {
		tcp_reply_reset(tp->ep.stack, in);
		return false;
	}
	tcp_ack_clean(tp, in->ack, &a);
	if (a.rtt >= 0)
		tcp_rtt_sample(tp, a.rtt);
	tp->snd_wnd = in->flags & TH_SYN ? in->window : in->window << tp->snd_wscale;
	tp->max_window = tp->snd_wnd;
	tcp_establish(tp, in);
	if (in->flags & TH_SYN)
		tcp_send_ack(tp);
	return true;
}

/* FIN_WAIT_1, and our FIN is acknowledged. False: tp is no more. */
static bool to_fin_wait2(struct tcp_sock *tp, const struct tcp_in *in) REQUIRES(L_NET)
{
	int64_t time = tcp_fin_time(tp);

	tcp_set_state(tp, TCP_FIN_WAIT2);
	tp->shutdown |= TCP_SHUT_SEND;
	if (!tp->orphan) {
		tcp_wake(tp, POLLOUT | POLLWRNORM | POLLWRBAND);
		return true;
	}
	if (tp->linger2 < 0) {
		tcp_abort(tp, 0);
		return false;
	}
	if (in->flags & TH_FIN || in->len || time > TCP_TIMEWAIT_TIME) {
		tcp_arm_keepalive(tp, time > TCP_TIMEWAIT_TIME ? time - TCP_TIMEWAIT_TIME : time);
		return true;
	}
	tcp_time_wait(tp, true, time);
	return false;
}

/* False: the segment has ended its endpoint, or is not to be looked at further. */
static bool ack_step(struct tcp_sock *tp, struct tcp_in *in) REQUIRES(L_NET)
{
	if (tp->ep.state == TCP_SYN_RECV && !complete(tp, in))
		return false;
	if (!tcp_ack(tp, in))
		return false;
	if (!our_fin_acked(tp))
		return true;
	if (tp->ep.state == TCP_FIN_WAIT1)
		return to_fin_wait2(tp, in);
	if (tp->ep.state == TCP_CLOSING)
		tcp_time_wait(tp, false, TCP_TIMEWAIT_TIME);
	else if (tp->ep.state == TCP_LAST_ACK)
		tcp_done(tp, 0);
	return tp->ep.state != TCP_CLOSE;
}

/* ---- sixth to eighth ---- */

/* Nobody will read it: RFC 9293 3.6.1, RFC 2525 2.17. */
static bool data_for_nobody(const struct tcp_sock *tp, const struct tcp_in *in)
{
	if (tp->ep.state != TCP_FIN_WAIT1 && tp->ep.state != TCP_FIN_WAIT2)
		return false;
	return tp->shutdown & TCP_SHUT_RCV && in->len && seq_after(in->seq + in->len, tp->rcv_nxt);
}

static void take_timestamp(struct tcp_sock *tp, const struct tcp_in *in) REQUIRES(L_NET)
{
	if (!tp->ts_ok || !in->opt.ts_ok || seq_after(in->seq, tp->last_ack_sent))
		return;
	if ((int32_t)(in->opt.tsval - tp->ts_recent) < 0 && tcp_now(tp) - tp->ts_recent_at < TCP_PAWS_DAYS)
		return;
	tp->ts_recent = in->opt.tsval;
	tp->ts_recent_at = tcp_now(tp);
}

static void segment(struct tcp_sock *tp, struct tcp_in *in) REQUIRES(L_NET)
{
	tp->segs_in++;
	if (!sequence_ok(tp, in))
		return;
	if (in->flags & TH_RST) {
		take_reset(tp, in);
		return;
	}
	if (in->flags & TH_SYN && !syn_ok(tp, in)) {
		tcp_challenge(tp);
		return;
	}
	if (!(in->flags & TH_ACK))
		return;
	take_timestamp(tp, in);
	if (!ack_step(tp, in))
		return;
	if (data_for_nobody(tp, in)) {
		mib_add(tp->ep.stack, MIB_TCPX_ABORT_ON_DATA, 1);
		tcp_abort(tp, ECONNRESET);
		return;
	}
	tcp_urgent(tp, in);
	tcp_data(tp, in);
	if (tp->ep.state == TCP_CLOSE)
		return;
	tcp_push(tp, 0);
	tcp_write_space(tp);
	tcp_ack_check(tp);
}

void tcp_segment(struct tcp_sock *tp, struct tcp_in *in)
{
	segment(tp, in);
	tcp_memory_sync(tp);
}

/* ---- the way in ---- */

static bool checksum_ok(const struct pkt *p, const struct ip_in *ip)
{
	return p->checksum_ok || sum_fold(sum_pkt(sum_pseudo(&ip->src, &ip->dst, IPPROTO_TCP, p->len), p, 0)) == 0;
}

/* The header is pulled off in->pkt. False: it is none. */
static bool parse(struct stack *s, struct tcp_in *in) REQUIRES(L_NET)
{
	const uint8_t *at = pkt_peek(in->pkt, sizeof(struct tcphdr));
	struct tcphdr th; /* a copy: behind an Ethernet header it is not aligned */
	size_t size;

	if (!at)
		return false;
	memcpy(&th, at, sizeof(th));
	size = th.th_off * 4u;
	if (size < sizeof(th) || size > in->pkt->len)
		return false;
	if (!checksum_ok(in->pkt, in->ip)) {
		mib_add(s, MIB_TCP_IN_CSUM_ERRORS, 1);
		return false;
	}
	in->pkt->transport = in->pkt->head;
	at = pkt_pull(in->pkt, size);
	if (!at)
		return false;
	in->key = (struct tcp_key){in->ip->dst, in->ip->src, ntohs(th.th_dport), ntohs(th.th_sport)};
	in->seq = ntohl(th.th_seq);
	in->ack = ntohl(th.th_ack);
	in->flags = th.th_flags;
	in->window = ntohs(th.th_win);
	in->urg = ntohs(th.th_urp);
	in->len = in->pkt->len;
	in->mss = (uint16_t)MIN(in->pkt->gso_size ? in->pkt->gso_size : in->len, PKT_MAX);
	in->end = in->seq + in->len + !!(in->flags & TH_SYN) + !!(in->flags & TH_FIN);
	tcp_options_parse(&in->opt, at + sizeof(th), size - sizeof(th), in->flags & TH_SYN);
	return true;
}

/* Whose segment it is does not want it. */
static bool filtered(struct tcp_sock *tp, const struct tcp_in *in)
{
	if (tp->listener)
		tp = tp->listener;
	return unlikely(tp->filter) && !tp->filter(tp, in->pkt);
}

static void dispatch(struct stack *s, struct tcp_in *in) REQUIRES(L_NET)
{
	struct tcp_stack *n = tcp_stack(s);
	unsigned dev = tcp_dev_index(in->ip->dev);
	struct tcp_ep *ep = tcp_find(n, &in->key, dev);
	struct tcp_sock *tp = ep && ep->kind == TCP_IS_SOCK ? tcp_sock_of(ep) : NULL;

	if (!ep)
		tp = tcp_find_listener(n, &in->key, dev);
	if (ep && ep->kind == TCP_IS_REQUEST)
		tp = ((struct tcp_request *)ep)->listener;
	if (tp && filtered(tp, in))
		return;
	if (ep && ep->kind == TCP_IS_REQUEST)
		tcp_request_input((struct tcp_request *)ep, in);
	else if (ep && ep->kind == TCP_IS_TIMEWAIT)
		tcp_timewait_input((struct tcp_timewait *)ep, in);
	else if (ep && tp->ep.state == TCP_SYN_SENT)
		syn_sent(tp, in);
	else if (ep)
		tcp_segment(tp, in);
	else if (tp)
		tcp_listen_input(tp, in, 0);
	else
		tcp_syn_input(s, in, 0);
}

void tcp_input(struct stack *s, struct pkt *p, const struct ip_in *ip)
{
	struct tcp_in in = {.pkt = p, .ip = ip};

	mib_add(s, MIB_TCP_IN_SEGS, 1);
	if (ip->broadcast || !parse(s, &in))
		mib_add(s, MIB_TCP_IN_ERRS, !ip->broadcast);
	else
		dispatch(s, &in);
	pkt_free(in.pkt);
	tcp_reap(tcp_stack(s));
}
