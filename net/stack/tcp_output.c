/*
 * Sending: RFC 9293 3.8.
 *
 * The send queue is a list of chunks, references to the sender's buffers; sending copies nothing. What has been
 * transmitted is described by struct tcp_tx, each a range of sequence numbers: as much as went out at once. That may be
 * many segments, which IP or the receiver's own stack sees as one packet with gso_size. A retransmission builds the
 * packet again from the chunks, with today's segment size, acknowledgment and options.
 *
 * Whether a tail that fills no segment may go follows Nagle in Minshall's form, as Linux has it: unless a small segment
 * is already under way. TCP_CORK and MSG_MORE keep it back even then; the persist timer sends it in the end (200 ms).
 * The sender's side of silly window avoidance is the same rule, with tp->mss at most half of the largest window
 * (tcp_sync_mss()).
 *
 * All sizes are bytes: the congestion window too. A FIN may exceed it.
 */
#include "net/stack/tcp_priv.h"

#include <string.h>

#include "sentry/base/slab.h"

#define GSO_MAX (PKT_MAX - 100u) /* payload: IPv6 and TCP headers with options fit */
#define TX_COST ((uint32_t)sizeof(struct tcp_tx))

static struct slab tx_slab = SLAB_INIT(struct tcp_tx);

/* ---- records of what is under way ---- */

struct tcp_tx *tcp_tx_head(const struct tcp_sock *tp)
{
	return list_first(&tp->flight, struct tcp_tx, link);
}

static struct tcp_tx *tx_create(struct tcp_sock *tp, uint32_t seq, uint32_t end, uint8_t flags)
{
	struct tcp_tx *tx = slab_alloc(&tx_slab);

	if (!tx)
		return NULL;
	tx->seq = seq;
	tx->end = end;
	tx->flags = flags;
	list_init(&tx->link);
	list_init(&tx->time);
	tp->wmem += TX_COST;
	tp->tx_count++;
	return tx;
}

static void sums_drop(struct tcp_sock *tp, const struct tcp_tx *tx, uint32_t n)
{
	if (tx->sacked)
		tp->sacked -= n;
	if (tx->lost)
		tp->lost -= n;
	if (tx->retrans)
		tp->retrans -= n;
}

void tcp_tx_free(struct tcp_sock *tp, struct tcp_tx *tx)
{
	sums_drop(tp, tx, tx->end - tx->seq);
	if (tp->rtx_hint == tx)
		tp->rtx_hint = tx->link.next == &tp->flight ? NULL : list_entry(tx->link.next, struct tcp_tx, link);
	if (tp->sack_hint == tx)
		tp->sack_hint = NULL;
	tp->tx_count--;
	list_remove(&tx->link);
	list_remove(&tx->time);
	tp->wmem -= TX_COST;
	slab_free(&tx_slab, tx);
}

/* The chunk that holds seq, from c on. */
static struct tcp_chunk *chunk_at(const struct tcp_sock *tp, struct tcp_chunk *c, uint32_t seq)
{
	while (c && !seq_before(seq, c->seq + c->s.len))
		c = c->link.next == &tp->sendq ? NULL : list_entry(c->link.next, struct tcp_chunk, link);
	return c;
}

bool tcp_tx_split(struct tcp_sock *tp, struct tcp_tx *tx, uint32_t at)
{
	struct tcp_tx *rest = tx_create(tp, at, tx->end, tx->flags);

	if (!rest)
		return false;
	rest->chunk = chunk_at(tp, tx->chunk, at);
	rest->mss = tx->mss;
	rest->sent_at = tx->sent_at;
	rest->sacked = tx->sacked;
	rest->lost = tx->lost;
	rest->retrans = tx->retrans;
	rest->ever_retrans = tx->ever_retrans;
	tx->end = at;
	tx->flags &= (uint8_t)~TH_FIN;
	list_push(&tx->link, &rest->link);
	if (!list_empty(&tx->time))
		list_push(&tx->time, &rest->time);
	return true;
}

void tcp_tx_trim(struct tcp_sock *tp, struct tcp_tx *tx, uint32_t una)
{
	sums_drop(tp, tx, una - tx->seq);
	tx->seq = una;
	tx->chunk = chunk_at(tp, tx->chunk, una);
}

void tcp_tx_mark_sacked(struct tcp_sock *tp, struct tcp_tx *tx)
{
	uint32_t n = tx->end - tx->seq;

	sums_drop(tp, tx, n);
	tx->lost = tx->retrans = false;
	tx->sacked = true;
	tp->sacked += n;
	list_remove(&tx->time);
}

void tcp_tx_merge(struct tcp_sock *tp, struct tcp_tx *tx, struct tcp_tx *next)
{
	tx->end = next->end;
	tx->flags |= next->flags;
	tx->ever_retrans |= next->ever_retrans;
	next->seq = next->end;
	if (tp->sack_hint == next)
		tp->sack_hint = tx;
	tcp_tx_free(tp, next);
}

void tcp_tx_mark_lost(struct tcp_sock *tp, struct tcp_tx *tx)
{
	uint32_t n = tx->end - tx->seq;

	if (tx->sacked)
		return;
	if (tx->retrans) {
		tx->retrans = false;
		tp->retrans -= n;
	}
	if (tp->rtx_hint && seq_before(tx->seq, tp->rtx_hint->seq))
		tp->rtx_hint = tx;
	if (!tx->lost) {
		tx->lost = true;
		tp->lost += n;
	}
	list_remove(&tx->time);
}

/* ---- one packet ---- */

/* Copies n bytes from seq on, which are in too many chunks for one packet. */
static bool copy_data(const struct tcp_sock *tp, struct pkt *p, struct tcp_chunk *c, uint32_t seq, uint32_t n)
{
	struct buf *b = buf_create(n);
	bool ok;

	if (!b)
		return false;
	while (b->used < n) {
		uint32_t off = seq + b->used - c->seq, part = MIN(c->s.len - off, n - b->used);

		memcpy(b->data + b->used, c->s.buf->data + c->s.off + off, part);
		b->used += part;
		c = chunk_at(tp, c, seq + b->used);
	}
	ok = pkt_append(p, b, 0, n);
	buf_put(b);
	return ok;
}

static bool append_data(const struct tcp_sock *tp, struct pkt *p, struct tcp_chunk *c, uint32_t seq, uint32_t n)
{
	struct tcp_chunk *first = c;

	for (uint32_t done = 0; done < n; c = chunk_at(tp, c, seq + done)) {
		uint32_t off = seq + done - c->seq, part = MIN(c->s.len - off, n - done);

		if (!pkt_append(p, c->s.buf, c->s.off + off, part)) {
			pkt_trim(p, 0);
			return copy_data(tp, p, first, seq, n);
		}
		done += part;
	}
	return true;
}

static void fill_options(struct tcp_sock *tp, struct tcp_header *h) REQUIRES(L_NET)
{
	const struct tcp_conf *c = tcp_conf(tp->ep.stack);
	bool syn = h->flags & TH_SYN, answer = syn && h->flags & TH_ACK;

	h->opt.ts_ok = tp->ts_ok || (syn && !answer && c->timestamps);
	h->opt.tsval = tcp_ts(tcp_now(tp), tp->ts_offset);
	h->opt.tsecr = tp->ts_recent;
	if (syn) {
		h->opt.mss = tp->advmss;
		h->opt.wscale_ok = answer ? tp->wscale_ok : c->window_scaling;
		h->opt.wscale = tp->rcv_wscale;
		h->opt.sack_ok = answer ? tp->sack_ok : c->sack;
		if (!answer)
			tcp_fastopen_fill(tp, &h->opt);
	} else if (tp->sack_ok) {
		tcp_sack_fill(tp, &h->opt);
	}
}

/* RFC 3168 6.1: ECE until the sender has answered; CWR once with new data. */
static void fill_ecn(struct tcp_sock *tp, struct tcp_header *h, struct ip_out *o, bool fresh_data)
{
	if (h->flags & TH_SYN) {
		if (!(h->flags & TH_ACK) && tp->ecn_ok)
			h->flags |= TCP_ECE | TCP_CWR;
		else if (tp->ecn_ok)
			h->flags |= TCP_ECE;
		return;
	}
	if (!tp->ecn_ok || h->flags & TH_RST)
		return;
	if (tp->ecn_echo)
		h->flags |= TCP_ECE;
	if (fresh_data) {
		o->tos = (uint8_t)((o->tos & ~3) | 2); /* ECT(0) */
		if (tp->ecn_cwr)
			h->flags |= TCP_CWR;
		tp->ecn_cwr = false;
	}
}

static void fill_urgent(const struct tcp_sock *tp, struct tcp_header *h)
{
	if (!tp->urgent_out || !seq_before(h->seq, tp->snd_up))
		return;
	if (tp->snd_up - h->seq <= 0xffff) {
		h->urg = (uint16_t)(tp->snd_up - h->seq);
		h->flags |= TH_URG;
	} else if (seq_after(h->seq + 0xffff, tp->snd_nxt)) {
		h->urg = 0xffff;
		h->flags |= TH_URG;
	}
}

/* Everything that an endpoint sends goes through here. p has the data; takes it. */
static int transmit(struct tcp_sock *tp, struct pkt *p, uint32_t seq, uint8_t flags, bool fresh) REQUIRES(L_NET)
{
	struct tcp_header h = {.seq = seq, .flags = flags};
	uint32_t data = p->len, mss = tcp_current_mss(tp);
	struct ip_out o;
	int err = tcp_route(tp);

	if (err) {
		pkt_free(p);
		return err;
	}
	tcp_ip_out(tp, &o);
	if (flags & TH_ACK)
		h.ack = tp->rcv_nxt;
	h.window = flags & TH_SYN ? tp->rcv_wnd : flags & TH_RST ? 0 : tcp_select_window(tp) >> tp->rcv_wscale;
	fill_options(tp, &h);
	fill_ecn(tp, &h, &o, fresh && data);
	fill_urgent(tp, &h);
	if (data > mss)
		p->gso_size = (uint16_t)mss;
	if (flags & TH_ACK)
		tcp_ack_sent(tp);
	tp->last_ack_sent = h.ack;
	tp->segs_out += data > mss ? (data + mss - 1) / mss : 1;
	tp->bytes_sent += data;
	if (data)
		tp->last_sent_at = tcp_now(tp);
	return tcp_packet_send(tp->ep.stack, p, &tp->ep.key, &h, &o, &tp->route);
}

/* A packet for a record. -ENOMEM: nothing went out. What IP drops is as lost as what the network drops. */
static int transmit_tx(struct tcp_sock *tp, struct tcp_tx *tx, bool fresh) REQUIRES(L_NET)
{
	bool fin = tx->flags & TH_FIN;
	uint32_t data = tx->end - tx->seq - fin - !!(tx->flags & TH_SYN);
	uint8_t flags = tx->flags;
	struct pkt *p = pkt_create();

	if (!p || (data && !append_data(tp, p, tx->chunk, tx->seq, data))) {
		pkt_free(p);
		return -ENOMEM;
	}
	if (!(flags & TH_SYN) || tp->ep.state != TCP_SYN_SENT)
		flags |= TH_ACK;
	if (data && tx->end - fin == tp->write_seq)
		flags |= TH_PUSH;
	tx->sent_at = tcp_now(tp);
	tx->mss = (uint16_t)MIN(tcp_current_mss(tp), PKT_MAX);
	list_remove(&tx->time);
	list_append(&tp->by_time, &tx->time);
	return transmit(tp, p, tx->seq, flags, fresh);
}

/* ---- new data ---- */

static uint32_t window_left(const struct tcp_sock *tp)
{
	int32_t left = (int32_t)(tp->snd_una + tp->snd_wnd - tp->snd_nxt);

	return left > 0 ? (uint32_t)left : 0;
}

static uint32_t cwnd_left(const struct tcp_sock *tp, uint32_t mss)
{
	uint32_t flight = tcp_in_flight(tp);

	if (flight == 0)
		return MAX(tp->cwnd, mss);
	return tp->cwnd > flight ? tp->cwnd - flight : 0;
}

/* May a tail of less than a segment go, there being nothing behind it? */
static bool tail_ok(const struct tcp_sock *tp, int flags)
{
	if (tp->fin_queued || tp->urgent_out || flags & TCP_PUSH_FORCE)
		return true;
	if (tp->cork || tp->more)
		return false;
	return tp->nodelay || !seq_after(tp->snd_sml, tp->snd_una);
}

/* Bytes of the next packet; 0: it has to wait. */
static uint32_t next_size(struct tcp_sock *tp, uint32_t mss, int flags)
{
	uint32_t left = tp->write_seq - tp->snd_nxt, gso = MAX(GSO_MAX / mss * mss, mss);
	uint32_t cwnd = flags & TCP_PUSH_ONE ? mss : cwnd_left(tp, mss);
	uint32_t n = MIN(left, MIN(MIN(window_left(tp), gso), cwnd));

	if (cwnd < MIN(left, window_left(tp)))
		tp->cwnd_limited = true;
	/* As many small ones as there may be full ones: what waits grows together. And never more than can be looked through. */
	if (!(flags & TCP_PUSH_ONE) &&
	    (tp->tx_count >= TCP_TX_MAX || (n < mss && tp->tx_count >= MAX(tp->cwnd / mss, TCP_INIT_CWND)))) {
		tp->cwnd_limited = true;
		return 0;
	}
	if (n == left && n % mss && !tail_ok(tp, flags))
		return n - n % mss;
	if (n < left)
		return n - n % mss;
	return n;
}

/* ---- pacing: SO_MAX_PACING_RATE, of new data ---- */

static bool is_paced(const struct tcp_sock *tp)
{
	return tp->pacing_rate != UINT64_MAX;
}

/* Has the next packet to wait? */
static bool pace_wait(struct tcp_sock *tp) REQUIRES(L_NET)
{
	if (!is_paced(tp) || tp->pace_at <= tcp_now(tp))
		return false;
	if (!net_timer_armed(&tp->pace_timer))
		net_timer_arm(tp->ep.stack, &tp->pace_timer, tp->pace_at);
	return true;
}

/* A millisecond's worth at once, two segments at least. */
static uint32_t pace_size(const struct tcp_sock *tp, uint32_t n, uint32_t mss)
{
	uint64_t most = is_paced(tp) ? MAX(tp->pacing_rate / 1000, 2ull * mss) : UINT32_MAX;

	return n > most ? (uint32_t)(most - most % mss) : n;
}

static void pace_sent(struct tcp_sock *tp, uint32_t n) REQUIRES(L_NET)
{
	if (is_paced(tp))
		tp->pace_at = MAX(tp->pace_at, tcp_now(tp)) +
			      (int64_t)MIN(n * (uint64_t)NSEC_PER_SEC / MAX(tp->pacing_rate, 1ull), 1ull << 40);
}

/* Makes the next n bytes, and the FIN if it is behind them, a record and sends it. */
static int send_new(struct tcp_sock *tp, uint32_t n, uint32_t mss) REQUIRES(L_NET)
{
	bool fin = tp->fin_queued && tp->snd_nxt + n == tp->write_seq && window_left(tp) > n;
	struct tcp_tx *tx = tx_create(tp, tp->snd_nxt, tp->snd_nxt + n + fin, fin ? TH_FIN : 0);
	struct tcp_chunk *from = tp->send_head ? tp->send_head : list_first(&tp->sendq, struct tcp_chunk, link);
	int err;

	if (!tx)
		return -ENOMEM;
	tx->chunk = n ? chunk_at(tp, from, tp->snd_nxt) : NULL;
	list_append(&tp->flight, &tx->link);
	tp->snd_nxt = tx->end;
	err = transmit_tx(tp, tx, true);
	if (err == -ENOMEM) {
		tp->snd_nxt = tx->seq;
		tcp_tx_free(tp, tx);
		return err;
	}
	if (n)
		tp->send_head = chunk_at(tp, tx->chunk, tx->seq + n - 1);
	tp->fin_sent |= fin;
	if (n % mss)
		tp->snd_sml = tx->seq + n;
	tp->prr.out += n;
	pace_sent(tp, n);
	tcp_cong_sent(tp);
	return 0;
}

void tcp_push(struct tcp_sock *tp, int flags)
{
	bool sent = false;

	if (!tcp_connected_state(tp->ep.state) || tp->ep.state == TCP_SYN_RECV)
		return;
	if (tp->snd_nxt == tp->snd_una)
		tcp_cong_after_idle(tp, tcp_now(tp));
	while (tp->snd_nxt != tcp_send_end(tp)) {
		uint32_t mss = tcp_current_mss(tp), n = pace_size(tp, next_size(tp, mss, flags), mss);

		if (n && !(flags & TCP_PUSH_ONE) && pace_wait(tp))
			break;
		if (n == 0 && (tp->snd_nxt != tp->write_seq || window_left(tp) == 0))
			break;
		if (send_new(tp, n, mss))
			break;
		sent = true;
		if (flags & TCP_PUSH_ONE)
			break;
	}
	if (sent || list_empty(&tp->flight))
		tcp_arm(tp);
}

/* ---- what is not data ---- */

/* The SYN and the data with it are records of their own, as only the data may have to be sent again; they go as one. */
static int send_syn_data(struct tcp_sock *tp, struct tcp_tx *syn, struct tcp_tx *tx) REQUIRES(L_NET)
{
	struct pkt *p = pkt_create();

	if (!p || !append_data(tp, p, tx->chunk, tx->seq, tx->end - tx->seq)) {
		pkt_free(p);
		return -ENOMEM;
	}
	list_append(&tp->flight, &tx->link);
	tp->snd_nxt = tx->end;
	syn->sent_at = tx->sent_at = tcp_now(tp);
	syn->mss = tx->mss = (uint16_t)tcp_current_mss(tp);
	list_append(&tp->by_time, &syn->time);
	list_append(&tp->by_time, &tx->time);
	return transmit(tp, p, syn->seq, TH_SYN, true);
}

int tcp_send_syn(struct tcp_sock *tp)
{
	struct tcp_tx *syn = tx_create(tp, tp->iss, tp->iss + 1, TH_SYN), *tx = NULL;
	int err;

	if (!syn)
		return -ENOMEM;
	list_append(&tp->flight, &syn->link);
	tp->snd_nxt = syn->end;
	if (tp->write_seq != syn->end) {
		tx = tx_create(tp, syn->end, tp->write_seq, 0);
		if (!tx)
			return -ENOMEM;
		tx->chunk = list_first(&tp->sendq, struct tcp_chunk, link);
	}
	err = tx ? send_syn_data(tp, syn, tx) : transmit_tx(tp, syn, true);
	return err == -ENOMEM ? err : 0;
}

void tcp_send_ack(struct tcp_sock *tp)
{
	struct pkt *p;

	if (tp->ep.state == TCP_CLOSE)
		return;
	p = pkt_create();
	if (p) {
		(void)transmit(tp, p, tp->snd_nxt, TH_ACK, false);
		return;
	}
	tp->ack_due = true;
	tcp_arm_ack(tp);
}

void tcp_send_reset(struct tcp_sock *tp)
{
	struct pkt *p = pkt_create();

	if (p)
		(void)transmit(tp, p, tp->snd_nxt, TH_RST | TH_ACK, false);
}

int tcp_send_probe(struct tcp_sock *tp)
{
	uint32_t left = tp->write_seq - tp->snd_nxt, n = MIN(left, MIN(window_left(tp), tcp_current_mss(tp)));
	struct pkt *p;

	if (n || (left == 0 && tp->snd_nxt != tcp_send_end(tp) && window_left(tp)))
		return send_new(tp, n, tcp_current_mss(tp));
	p = pkt_create();
	return p ? transmit(tp, p, tp->snd_una - 1, TH_ACK, false) : -ENOMEM;
}

void tcp_send_fin(struct tcp_sock *tp)
{
	tp->fin_queued = true;
	tcp_push(tp, TCP_PUSH_FORCE);
}

/* ---- again ---- */

int tcp_retransmit(struct tcp_sock *tp, struct tcp_tx *tx)
{
	uint32_t n = tx->end - tx->seq, mss = tcp_current_mss(tp);
	int err;

	if (n > mss && tx->chunk && n > MAX(GSO_MAX / mss * mss, mss)) {
		if (!tcp_tx_split(tp, tx, tx->seq + MAX(GSO_MAX / mss * mss, mss)))
			return -ENOMEM;
		n = tx->end - tx->seq;
	}
	err = transmit_tx(tp, tx, false);
	if (err == -ENOMEM)
		return err;
	if (!tx->retrans)
		tp->retrans += n;
	tx->retrans = tx->ever_retrans = true;
	if (!tp->undo.retrans_stamp)
		tp->undo.retrans_stamp = MAX(tcp_ts(tcp_now(tp), tp->ts_offset), 1u);
	tp->undo.retrans += n;
	tp->undo.sent = true;
	tp->total_retrans += (n + mss - 1) / mss;
	tp->bytes_retrans += n;
	tp->prr.out += n;
	mib_add(tp->ep.stack, MIB_TCP_RETRANS_SEGS, (n + mss - 1) / mss);
	return 0;
}

int tcp_retransmit_head(struct tcp_sock *tp)
{
	struct tcp_tx *tx = tcp_tx_head(tp);
	uint32_t mss = tcp_current_mss(tp);

	if (tx->chunk && tx->end - tx->seq > mss && !tcp_tx_split(tp, tx, tx->seq + mss))
		return -ENOMEM;
	return tcp_retransmit(tp, tx);
}

/* Cuts tx to what cwnd allows; false: not even a segment. */
static bool fit(struct tcp_sock *tp, struct tcp_tx *tx) REQUIRES(L_NET)
{
	uint32_t n = tx->end - tx->seq, mss = tcp_current_mss(tp), room = cwnd_left(tp, mss);

	if (n <= room)
		return true;
	if (room < mss || !tx->chunk)
		return false;
	return tcp_tx_split(tp, tx, tx->seq + room - room % mss);
}

void tcp_retransmit_lost(struct tcp_sock *tp)
{
	struct tcp_tx *tx = tp->rtx_hint ? tp->rtx_hint : tcp_tx_head(tp);
	bool sent = false;

	if (tp->lost <= tp->retrans)
		return;
	for (; tx && &tx->link != &tp->flight; tx = list_entry(tx->link.next, struct tcp_tx, link)) {
		tp->rtx_hint = tx;
		if (!tx->lost || tx->retrans)
			continue;
		if (seq_after(tx->end, tp->snd_una + MAX(tp->snd_wnd, tp->mss)) && tx != tcp_tx_head(tp))
			break;
		if (!fit(tp, tx) || tcp_retransmit(tp, tx))
			break;
		sent = true;
	}
	if (sent)
		tcp_arm_rto(tp);
}
