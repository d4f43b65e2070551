/*
 * Acknowledgments: RFC 9293 3.10.7.4, fifth step, and RFC 5681.
 *
 * An acknowledgment is judged first: far too old, or for what was never sent, it is answered by a challenge ACK and
 * dropped with its segment (RFC 5961 5.2). Then the window is taken, what is acknowledged leaves the flight, SACK
 * blocks are noted, losses are looked for (tcp_recovery.c), and the congestion window moves. Cumulative news are taken
 * before selective ones, so that reordering is seen only where there is some.
 *
 * Round-trip times come from segments that were sent once (Karn), else from the timestamp's echo (RFC 7323 4). RTO is
 * RFC 6298's with Linux's bounds: the variance counts for at least 200 ms.
 */
#include "net/stack/tcp_priv.h"

#define MIN_RTT_TIME (300 * NSEC_PER_SEC)

void tcp_rtt_sample(struct tcp_sock *tp, int64_t rtt)
{
	struct tcp_rtt *r = &tp->rtt;
	int64_t now = tcp_now(tp), off;

	rtt = MAX(rtt, NSEC_PER_USEC);
	if (!r->min || rtt <= r->min || now - r->min_at > MIN_RTT_TIME) {
		r->min = rtt;
		r->min_at = now;
	}
	if (!r->srtt) {
		r->srtt = rtt;
		r->var = rtt / 2;
	} else {
		off = rtt > r->srtt ? rtt - r->srtt : r->srtt - rtt;
		r->var += (off - r->var) / 4;
		r->srtt += (rtt - r->srtt) / 8;
	}
	r->last = rtt;
	r->rto = MIN(r->srtt + MAX(4 * r->var, TCP_RTO_MIN), TCP_RTO_MAX);
}

static void take_samples(struct tcp_sock *tp, struct tcp_acked *a) REQUIRES(L_NET)
{
	int64_t rtt;

	/* What waited for a retransmission at the receiver tells nothing. */
	if (a->retrans_acked)
		a->rtt = a->last_rtt = -1;
	rtt = a->rtt >= 0 ? a->rtt : a->sack_rtt;
	if (rtt < 0 && a->advanced && tp->rcv_tsecr) {
		int32_t ms = (int32_t)(tcp_ts(tcp_now(tp), tp->ts_offset) - tp->rcv_tsecr);

		if (ms >= 0 && ms < 120000)
			rtt = ms * NSEC_PER_MSEC;
	}
	if (rtt < 0)
		return;
	tcp_rtt_sample(tp, rtt);
	if (tp->cong->sample && a->last_rtt >= 0)
		tp->cong->sample(tp, a->last_rtt, tcp_now(tp));
}

/* tx, or its part before una, is acknowledged. */
static void note_acked(struct tcp_sock *tp, const struct tcp_tx *tx, uint32_t una, struct tcp_acked *a) REQUIRES(L_NET)
{
	int64_t rtt = tcp_now(tp) - tx->sent_at;
	bool whole = !seq_before(una, tx->end);

	if (tx->ever_retrans)
		a->retrans_acked = true;
	if (tx->sacked)
		return;
	tp->delivered += (whole ? tx->end : una) - tx->seq;
	a->orig_sacked |= !tx->ever_retrans && !seq_after(whole ? tx->end : una, tp->high_seq);
	if (!whole)
		return;
	if (!tx->ever_retrans) {
		a->rtt = a->rtt < 0 ? rtt : a->rtt;
		a->last_rtt = rtt;
	}
	tcp_rack_delivered(tp, tx);
}

void tcp_ack_clean(struct tcp_sock *tp, uint32_t una, struct tcp_acked *a)
{
	struct tcp_tx *tx;

	while ((tx = tcp_tx_head(tp)) && seq_after(una, tx->seq)) {
		note_acked(tp, tx, una, a);
		if (seq_before(una, tx->end)) {
			tcp_tx_trim(tp, tx, una);
			break;
		}
		tcp_tx_free(tp, tx);
	}
	a->bytes = una - tp->snd_una;
	a->advanced = a->bytes != 0;
	tp->snd_una = una;
	tp->bytes_acked += a->bytes;
	if (tp->urgent_out && !seq_before(una, tp->snd_up))
		tp->urgent_out = false;
	tcp_sendq_clean(tp, una);
}

static void take_window(struct tcp_sock *tp, const struct tcp_in *in, struct tcp_acked *a) REQUIRES(L_NET)
{
	uint32_t window = in->flags & TH_SYN ? in->window : in->window << tp->snd_wscale;

	if (!seq_after(in->ack, tp->snd_una) && !seq_after(in->seq, tp->snd_wl1) &&
	    !(in->seq == tp->snd_wl1 && window > tp->snd_wnd))
		return;
	tp->snd_wl1 = in->seq;
	a->window = window != tp->snd_wnd;
	tp->snd_wnd = window;
	if (window > tp->max_window) {
		tp->max_window = window;
		tcp_sync_mss(tp);
	}
}

/* Nothing is under way: does the window admit more, or has the probing to go on? */
static void ack_of_probe(struct tcp_sock *tp) REQUIRES(L_NET)
{
	uint32_t left = tcp_send_end(tp) - tp->snd_nxt;

	if (left == 0 || tp->timer_kind != TCP_TIMER_PROBE)
		return;
	if (tp->snd_wnd < MIN(left, tcp_current_mss(tp)))
		return;
	tp->backoff = 0;
	tp->probe_since = 0;
	tp->timer_kind = TCP_TIMER_NONE;
	net_timer_cancel(tp->ep.stack, &tp->timer);
}

static void progress(struct tcp_sock *tp) REQUIRES(L_NET)
{
	tp->err_soft = 0;
	ip_confirm(tp->ep.stack, &tp->route);
	tp->retransmits = tp->backoff = 0;
	tp->first_retrans_at = 0;
}

/* RFC 5961 5.2: not before what may still be under way, not behind what was sent. */
static bool acceptable(struct tcp_sock *tp, const struct tcp_in *in) REQUIRES(L_NET)
{
	uint32_t oldest = tp->snd_una - MIN(tp->max_window, (uint32_t)tp->bytes_acked);

	if (!seq_before(in->ack, oldest) && !seq_after(in->ack, tp->snd_nxt))
		return true;
	tcp_challenge(tp);
	return false;
}

static bool is_dup(const struct tcp_sock *tp, const struct tcp_in *in, const struct tcp_acked *a)
{
	return in->ack == a->prior_una && !in->len && !a->window && !(in->flags & (TH_SYN | TH_FIN)) &&
	       !list_empty(&tp->flight);
}

bool tcp_ack(struct tcp_sock *tp, struct tcp_in *in)
{
	struct tcp_acked a = {.prior_una = tp->snd_una, .rtt = -1, .last_rtt = -1, .sack_rtt = -1};

	if (!acceptable(tp, in))
		return false;
	a.prior_delivered = (uint32_t)tp->delivered;
	tp->last_ack_at = tcp_now(tp);
	tp->probes_out = tp->keep_probes = 0;
	tp->rcv_tsecr = tp->ts_ok && in->opt.ts_ok ? in->opt.tsecr : 0;
	a.ece = tp->ecn_ok && in->flags & TCP_ECE && !(in->flags & TH_SYN);
	if (!seq_before(in->ack, tp->snd_una)) {
		take_window(tp, in, &a);
		a.dup = is_dup(tp, in, &a);
		if (in->ack != tp->snd_una)
			tcp_ack_clean(tp, in->ack, &a);
	}
	if (a.advanced)
		progress(tp);
	if (tp->sack_ok && in->opt.sack_count)
		tcp_sack_receive(tp, in, &a);
	take_samples(tp, &a);
	tcp_rack_dsack(tp, &a);
	if (tp->rack.tlp)
		tcp_tlp_ack(tp, in->ack, &a);
	tcp_recover(tp, &a);
	if (list_empty(&tp->flight))
		ack_of_probe(tp);
	if (a.advanced)
		tcp_rearm(tp);
	return true;
}
