/*
 * Recovery from losses.
 *
 * A connection is in one of Linux's five states. Open: nothing is amiss. Disorder: something arrived out of order. CWR:
 * the window is being reduced without a loss (ECN). Recovery: losses are repaired. Loss: after a retransmission
 * timeout. high_seq is what had been sent when an episode began; it ends when that is acknowledged.
 *
 * With SACK, RACK says what is lost. Without, three duplicate acknowledgments do, and each partial acknowledgment in
 * recovery (NewReno, RFC 6582); each duplicate stands for a segment that has left the network, so tp->sacked counts
 * those too.
 *
 * The window shrinks by Proportional Rate Reduction (RFC 6937, with its safe bound), whether in CWR or Recovery. A
 * reduction is taken back if it turns out that nothing was lost: by timestamps (Eifel, RFC 3522), by DSACKs for all
 * that was retransmitted, or, after a timeout, because new data is acknowledged that was never sent twice (F-RTO, RFC
 * 5682).
 */
#include "net/stack/tcp_priv.h"

static bool reducing(const struct tcp_sock *tp)
{
	return tp->ca_state == TCP_CA_CWR || tp->ca_state == TCP_CA_Recovery;
}

/* ---- the beginning and the end of an episode ---- */

static void arm_undo(struct tcp_sock *tp)
{
	tp->undo = (struct tcp_undo){
	    .una = tp->snd_una, .cwnd = tp->cwnd, .ssthresh = tp->ssthresh, .retrans = tp->retrans, .armed = true};
}

static void begin_reduction(struct tcp_sock *tp)
{
	tp->high_seq = tp->snd_nxt;
	tp->rack.tlp = false;
	tp->prr = (struct tcp_prr){.recover_fs = MAX(tcp_flight_size(tp), tp->mss)};
	tp->ssthresh = MAX(tp->cong->ssthresh(tp), 2 * tp->mss);
	tp->ecn_cwr = tp->ecn_ok;
}

void tcp_enter_cwr(struct tcp_sock *tp)
{
	if (tp->ca_state >= TCP_CA_CWR)
		return;
	tp->undo.armed = false;
	begin_reduction(tp);
	tp->ca_state = TCP_CA_CWR;
}

static void enter_recovery(struct tcp_sock *tp, const struct tcp_acked *a) REQUIRES(L_NET)
{
	if (tp->ca_state < TCP_CA_CWR) {
		arm_undo(tp);
		if (a->ece)
			tp->undo.armed = false;
		begin_reduction(tp);
	} else {
		tp->high_seq = tp->snd_nxt;
	}
	tp->ca_state = TCP_CA_Recovery;
	mib_add(tp->ep.stack, tp->sack_ok ? MIB_TCPX_SACK_RECOVERY : MIB_TCPX_RENO_RECOVERY, 1);
}

static void settle(struct tcp_sock *tp)
{
	bool quiet = !tp->sacked && !tp->lost && !tp->retrans && !tp->dup_acks;

	tp->ca_state = quiet ? TCP_CA_Open : TCP_CA_Disorder;
	if (quiet)
		tp->undo.retrans_stamp = 0;
}

void tcp_end_reduction(struct tcp_sock *tp)
{
	if (reducing(tp))
		tp->cwnd = MAX(tp->ssthresh, 2 * tp->mss);
	if (tp->ca_state == TCP_CA_Recovery && tp->rack.reo_persist && --tp->rack.reo_persist == 0)
		tp->rack.reo_mult = 0;
	settle(tp);
}

/* No memory of losses: nothing is under way. */
void tcp_clear_recovery(struct tcp_sock *tp)
{
	tp->ca_state = TCP_CA_Open;
	tp->sacked = tp->lost = tp->retrans = 0;
	tp->dup_acks = tp->retransmits = tp->backoff = 0;
	tp->undo.armed = false;
	tp->undo.retrans_stamp = 0;
	tp->frto = false;
	tp->sacks_seen_count = 0;
	tp->first_retrans_at = tp->probe_since = 0;
}

static void reno_reset(struct tcp_sock *tp)
{
	tp->dup_acks = 0;
	if (!tp->sack_ok)
		tp->sacked = 0;
}

/* A duplicate acknowledgment: a segment has left the network. */
static void reno_dup(struct tcp_sock *tp)
{
	uint32_t most = tcp_flight_size(tp), head = MIN(most, tp->mss);

	tp->dup_acks += tp->dup_acks < UINT8_MAX;
	tp->sacked = MIN(tp->sacked + tp->mss, most - MIN(most, MAX(head, tp->lost)));
}

/* ---- taking it back ---- */

static void unmark_lost(struct tcp_sock *tp) REQUIRES(L_NET)
{
	struct tcp_tx *tx;

	for (struct list *l = tp->flight.prev; l != &tp->flight; l = l->prev) {
		tx = list_entry(l, struct tcp_tx, link);
		if (!tx->lost)
			continue;
		tx->lost = false;
		if (list_empty(&tx->time))
			list_push(&tp->by_time, &tx->time);
	}
	tp->lost = 0;
}

static void undo(struct tcp_sock *tp) REQUIRES(L_NET)
{
	unmark_lost(tp);
	tp->cwnd = MAX(tp->cwnd, tp->undo.cwnd);
	tp->ssthresh = MAX(tp->ssthresh, tp->undo.ssthresh);
	tp->undo.armed = false;
	tp->ecn_cwr = false;
}

static bool nothing_was_lost(const struct tcp_sock *tp)
{
	const struct tcp_undo *u = &tp->undo;

	if (!u->armed || !u->sent)
		return false;
	if (u->retrans == 0)
		return true;
	return u->retrans_stamp && tp->rcv_tsecr && (int32_t)(tp->rcv_tsecr - u->retrans_stamp) < 0;
}

/* ---- the states ---- */

/* Without SACK: the first segment of the flight is lost. */
static void mark_head(struct tcp_sock *tp) REQUIRES(L_NET)
{
	struct tcp_tx *tx = tcp_tx_head(tp);

	if (!tx || tx->lost)
		return;
	if (tx->end - tx->seq > tp->mss && tx->chunk && !tcp_tx_split(tp, tx, tx->seq + tp->mss))
		return;
	tcp_tx_mark_lost(tp, tx);
}

static void find_losses(struct tcp_sock *tp, struct tcp_acked *a) REQUIRES(L_NET)
{
	uint32_t before = tp->lost;

	if (tp->sack_ok)
		tcp_rack_detect(tp);
	else if (tp->dup_acks >= TCP_DUP_THRESH && tp->ca_state < TCP_CA_Recovery)
		mark_head(tp);
	a->lost = tp->lost > before ? tp->lost - before : 0;
}

static void in_open(struct tcp_sock *tp, struct tcp_acked *a) REQUIRES(L_NET)
{
	if (!tp->sack_ok && a->advanced)
		reno_reset(tp);
	else if (!tp->sack_ok && a->dup)
		reno_dup(tp);
	if (tp->ca_state <= TCP_CA_Disorder && tp->undo.retrans == 0 && nothing_was_lost(tp))
		undo(tp);
	find_losses(tp, a);
	if (tp->lost)
		enter_recovery(tp, a);
	else if (tp->ca_state != TCP_CA_CWR)
		settle(tp);
}

static void in_recovery(struct tcp_sock *tp, struct tcp_acked *a) REQUIRES(L_NET)
{
	if (!tp->sack_ok && a->advanced) {
		tp->sacked -= MIN(tp->sacked, a->bytes);
		mark_head(tp);
	} else if (!tp->sack_ok && a->dup) {
		reno_dup(tp);
	}
	if (a->advanced && nothing_was_lost(tp)) {
		undo(tp);
		settle(tp);
		return;
	}
	find_losses(tp, a);
}

/* RFC 5682, with SACK or without: is what is acknowledged what was never sent twice? */
static bool frto_step(struct tcp_sock *tp, struct tcp_acked *a) REQUIRES(L_NET)
{
	if (a->orig_sacked) {
		undo(tp);
		return true;
	}
	if (seq_after(tp->snd_nxt, tp->high_seq)) {
		if (a->sacked || a->dup)
			tp->frto = false;
		return false;
	}
	if (!a->advanced)
		return false;
	tp->high_seq = tp->snd_nxt;
	a->frto_new = true;
	return false;
}

static void in_loss(struct tcp_sock *tp, struct tcp_acked *a) REQUIRES(L_NET)
{
	bool over = !seq_before(tp->snd_una, tp->high_seq), spurious = false;

	if (a->advanced && nothing_was_lost(tp)) {
		undo(tp);
		spurious = true;
	} else if (tp->frto && !over) {
		spurious = frto_step(tp, a);
	}
	if (!tp->sack_ok && a->advanced)
		reno_reset(tp);
	else if (!tp->sack_ok && a->dup)
		reno_dup(tp);
	if (spurious || over) {
		tp->frto = false;
		tp->retransmits = 0;
		settle(tp);
		return;
	}
	find_losses(tp, a);
}

/* What high_seq closes has been acknowledged. */
static void finish(struct tcp_sock *tp) REQUIRES(L_NET)
{
	if (tp->ca_state == TCP_CA_Recovery) {
		if (!tp->sack_ok)
			reno_reset(tp);
		if (nothing_was_lost(tp)) {
			undo(tp);
			settle(tp);
			return;
		}
	}
	tcp_end_reduction(tp);
}

/* RFC 6937 3.1 */
static void reduce(struct tcp_sock *tp, uint32_t delivered, const struct tcp_acked *a)
{
	uint32_t pipe = tcp_in_flight(tp), send;
	struct tcp_prr *p = &tp->prr;

	if (!delivered || !p->recover_fs)
		return;
	p->delivered += delivered;
	if (pipe > tp->ssthresh) {
		uint64_t due = ((uint64_t)p->delivered * tp->ssthresh + p->recover_fs - 1) / p->recover_fs;

		send = due > p->out ? (uint32_t)due - p->out : 0;
	} else {
		uint32_t limit = MAX(p->delivered > p->out ? p->delivered - p->out : 0, delivered);

		if (a->advanced && !a->lost)
			limit += tp->mss;
		send = MIN(tp->ssthresh - pipe, limit);
	}
	if (p->out == 0)
		send = MAX(send, tp->mss);
	tp->cwnd = pipe + send;
}

void tcp_recover(struct tcp_sock *tp, struct tcp_acked *a)
{
	uint32_t delivered;

	if (reducing(tp) && seq_after(tp->snd_una, tp->high_seq - (tp->ca_state == TCP_CA_Recovery)))
		finish(tp);
	if (a->ece)
		tcp_enter_cwr(tp);
	if (tp->ca_state == TCP_CA_Loss)
		in_loss(tp, a);
	else if (tp->ca_state == TCP_CA_Recovery)
		in_recovery(tp, a);
	else
		in_open(tp, a);
	delivered = (uint32_t)tp->delivered - a->prior_delivered;
	if (reducing(tp))
		reduce(tp, delivered, a);
	else if (a->advanced)
		tcp_cong_grow(tp, a, tcp_now(tp));
	if (a->frto_new) {
		/* RFC 5682 2.1, step 2b: new data instead of old, if there is some. */
		tcp_push(tp, TCP_PUSH_FORCE);
		if (tp->snd_nxt != tp->high_seq)
			return;
		tp->frto = false;
	}
	tcp_retransmit_lost(tp);
}

/* ---- from outside ---- */

/* The receiver has forgotten what it had: RFC 2018 8. */
static bool reneged(const struct tcp_sock *tp)
{
	const struct tcp_tx *head = tcp_tx_head(tp);

	return head && head->sacked;
}

static void mark_all_lost(struct tcp_sock *tp) REQUIRES(L_NET)
{
	bool forget = reneged(tp);
	struct tcp_tx *tx;

	if (!tp->sack_ok)
		tp->sacked = 0;
	if (forget)
		tp->sacks_seen_count = 0;
	list_for_each(tx, &tp->flight, link) {
		if (tx->sacked && forget) {
			tx->sacked = false;
			tp->sacked -= tx->end - tx->seq;
		}
		tcp_tx_mark_lost(tp, tx);
	}
}

void tcp_enter_loss(struct tcp_sock *tp)
{
	bool fresh = tp->ca_state < TCP_CA_Recovery;

	mark_all_lost(tp);
	if (tp->ca_state <= TCP_CA_Disorder || !seq_before(tp->snd_una, tp->high_seq) ||
	    (tp->ca_state == TCP_CA_Loss && !tp->retransmits)) {
		arm_undo(tp);
		begin_reduction(tp);
		if (tp->cong->timeout)
			tp->cong->timeout(tp);
	}
	tp->cwnd = tcp_in_flight(tp) + tp->mss;
	tp->ca_state = TCP_CA_Loss;
	tp->high_seq = tp->snd_nxt;
	tp->dup_acks = 0;
	tp->rack.tlp = false;
	tp->frto = fresh || tp->retransmits;
}

void tcp_mark_path_lost(struct tcp_sock *tp, uint32_t mss)
{
	struct tcp_tx *tx;

	list_for_each(tx, &tp->flight, link)
		if (!tx->sacked && tx->mss > mss && tx->end - tx->seq > mss)
			tcp_tx_mark_lost(tp, tx);
	tcp_retransmit_lost(tp);
}
