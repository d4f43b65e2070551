/*
 * Loss detection by time: RACK-TLP, RFC 8985.
 *
 * A segment is lost if one that was sent later has been delivered, and a round trip and a bit more have passed since it
 * was sent. The bit, the reordering window, is a quarter of the smallest round trip, grows with each round in which
 * DSACK tells of a needless retransmission (6.2.4), and is nothing while no reordering has been seen and losses are
 * plain (recovery, or three segments' worth sacked). tp->by_time has the flight in the order of transmission, so that
 * only what may be lost is looked at. A timer returns for what is not lost yet.
 *
 * The tail has nothing behind it: after two round trips without news the last segment, or a new one, is sent as a probe
 * (7). If the probe has repaired a loss, which the lack of a DSACK tells, the sender reduces its window once.
 *
 * Connections without SACK have neither; they count duplicate acknowledgments (tcp_recovery.c).
 */
#include "net/stack/tcp_priv.h"

static bool sent_after(int64_t at1, uint32_t end1, int64_t at2, uint32_t end2)
{
	return at1 > at2 || (at1 == at2 && seq_after(end1, end2));
}

void tcp_rack_delivered(struct tcp_sock *tp, const struct tcp_tx *tx)
{
	struct tcp_rack *r = &tp->rack;
	int64_t rtt = tcp_now(tp) - tx->sent_at;

	if (!r->fack_ok || seq_after(tx->end, r->fack)) {
		r->fack = tx->end;
		r->fack_ok = true;
	} else if (seq_before(tx->end, r->fack) && !tx->ever_retrans) {
		r->reordering = true;
		tp->reordering_seen++;
	}
	if (tx->ever_retrans) {
		/*
		 * Is it the first transmission that was delivered? Then nothing is known of the others (6.2, step 2).
		 */
		if (rtt < tp->rtt.min)
			return;
		if (tp->rcv_tsecr && (int32_t)(tp->rcv_tsecr - tcp_ts(tx->sent_at, tp->ts_offset)) < 0)
			return;
	}
	if (!sent_after(tx->sent_at, tx->end, r->sent_at, r->end))
		return;
	r->sent_at = tx->sent_at;
	r->end = tx->end;
	r->rtt = rtt;
}

void tcp_rack_dsack(struct tcp_sock *tp, const struct tcp_acked *a)
{
	struct tcp_rack *r = &tp->rack;

	if (r->dsack_seen && !seq_before(tp->snd_una, r->dsack_round))
		r->dsack_seen = false;
	if (!a->dsack || r->dsack_seen)
		return;
	r->dsack_seen = true;
	r->dsack_round = tp->snd_nxt;
	r->reo_mult += r->reo_mult < UINT8_MAX;
	r->reo_persist = 16;
}

static int64_t reordering_window(const struct tcp_sock *tp)
{
	const struct tcp_rack *r = &tp->rack;

	if (!r->reordering && (tp->ca_state >= TCP_CA_Recovery || tp->sacked >= TCP_DUP_THRESH * tp->mss))
		return 0;
	return MIN(tp->rtt.min / 4 * (r->reo_mult + 1), tp->rtt.srtt);
}

void tcp_rack_detect(struct tcp_sock *tp)
{
	struct tcp_rack *r = &tp->rack;
	int64_t now = tcp_now(tp), window = reordering_window(tp), wait = 0;
	struct tcp_tx *tx, *next;

	if (!r->sent_at)
		return;
	list_for_each_safe(tx, next, &tp->by_time, time) {
		int64_t left = tx->sent_at + r->rtt + window - now;

		if (!sent_after(r->sent_at, r->end, tx->sent_at, tx->end))
			break;
		if (left <= 0)
			tcp_tx_mark_lost(tp, tx);
		else
			wait = MAX(wait, left);
	}
	if (wait)
		tcp_arm_kind(tp, TCP_TIMER_REORDER, now + wait);
	else if (tp->timer_kind == TCP_TIMER_REORDER)
		tcp_arm_rto(tp);
}

void tcp_rack_timeout(struct tcp_sock *tp)
{
	struct tcp_acked a = {.prior_una = tp->snd_una, .rtt = -1, .last_rtt = -1, .sack_rtt = -1};

	a.prior_delivered = (uint32_t)tp->delivered;
	tcp_recover(tp, &a);
	tcp_push(tp, 0);
	if (tp->timer_kind == TCP_TIMER_NONE)
		tcp_arm(tp);
}

/* ---- the tail ---- */

bool tcp_tlp_arm(struct tcp_sock *tp)
{
	const struct tcp_tx *head = tcp_tx_head(tp);
	int64_t now = tcp_now(tp), wait = NSEC_PER_SEC;

	if (!tp->sack_ok || tp->ca_state != TCP_CA_Open || tp->sacked || tp->rack.tlp || tp->retransmits ||
	    !tcp_connected_state(tp->ep.state) || tp->ep.state == TCP_SYN_RECV)
		return false;
	if (tp->rtt.srtt) {
		wait = 2 * tp->rtt.srtt;
		wait += tcp_flight_size(tp) <= tp->mss ? TCP_DELACK_MAX : 2 * NSEC_PER_MSEC;
	}
	tcp_arm_kind(tp, TCP_TIMER_TLP, MAX(now, MIN(now + wait, head->sent_at + tp->rtt.rto)));
	return true;
}

static bool probe_with_old(struct tcp_sock *tp) REQUIRES(L_NET)
{
	struct tcp_tx *tx = list_last(&tp->flight, struct tcp_tx, link);
	uint32_t mss = tcp_current_mss(tp), n = tx->end - tx->seq;

	if (tx->sacked)
		return false;
	if (n > mss && tx->chunk) {
		if (!tcp_tx_split(tp, tx, tx->end - ((n - 1) % mss + 1)))
			return false;
		tx = list_last(&tp->flight, struct tcp_tx, link);
	}
	return tcp_retransmit(tp, tx) != -ENOMEM;
}

void tcp_tlp_timeout(struct tcp_sock *tp)
{
	uint32_t before = tp->snd_nxt;

	if (list_empty(&tp->flight)) {
		tcp_arm(tp);
		return;
	}
	tp->rack.tlp = true;
	tp->rack.tlp_retrans = false;
	mib_add(tp->ep.stack, MIB_TCPX_LOSS_PROBES, 1);
	if (before != tcp_send_end(tp))
		tcp_push(tp, TCP_PUSH_ONE);
	if (tp->snd_nxt == before) {
		tp->rack.tlp_retrans = true;
		tp->rack.tlp = probe_with_old(tp);
	}
	tp->rack.tlp_end = tp->snd_nxt;
	tp->timer_kind = TCP_TIMER_NONE;
	tcp_arm_rto(tp);
}

void tcp_tlp_ack(struct tcp_sock *tp, uint32_t ack, const struct tcp_acked *a)
{
	struct tcp_rack *r = &tp->rack;

	if (seq_before(ack, r->tlp_end))
		return;
	if (!r->tlp_retrans || a->dsack) {
		r->tlp = false;
	} else if (seq_after(ack, r->tlp_end)) {
		/* The probe has repaired a loss. */
		r->tlp = false;
		tcp_enter_cwr(tp);
		tcp_end_reduction(tp);
	} else if (!a->advanced && !a->sacked && !a->window) {
		r->tlp = false;
	}
}
