/*
 * Selective acknowledgments: RFC 2018, RFC 2883 (duplicates), RFC 6675's scoreboard.
 *
 * Sender: the flight itself is the scoreboard; its records have a flag for what has arrived. A block that covers part
 * of a record splits it, at the boundaries of the segments that it went out as only, and neighbours that have arrived
 * become one record: so a hostile peer cannot make more records than there are segments, nor a loss a longer list than
 * there are holes. Blocks that are no part of the flight are ignored.
 *
 * What one acknowledgment costs is bounded: a flight has at most TCP_TX_MAX records, beyond which blocks that would cut
 * one are passed over (the peer will have it twice, at worst); blocks that the last acknowledgment had too are not looked
 * for again; the rest is found in one walk, from where the last block ended if that is not beyond.
 *
 * Receiver: up to four blocks, the most recently changed first, and before them once each block of bytes that came
 * twice.
 */
#include "net/stack/tcp_priv.h"

#include <string.h>

static void mark(struct tcp_sock *tp, struct tcp_tx *tx, struct tcp_acked *a) REQUIRES(L_NET)
{
	uint32_t n = tx->end - tx->seq;

	if (!tx->ever_retrans) {
		a->sack_rtt = a->sack_rtt < 0 ? tcp_now(tp) - tx->sent_at : a->sack_rtt;
		a->orig_sacked |= !seq_after(tx->end, tp->high_seq);
	}
	a->sacked += n;
	tp->delivered += n;
	tcp_rack_delivered(tp, tx);
	tcp_tx_mark_sacked(tp, tx);
}

static struct tcp_tx *next_of(const struct tcp_sock *tp, const struct tcp_tx *tx)
{
	return tx->link.next == &tp->flight ? NULL : list_entry(tx->link.next, struct tcp_tx, link);
}

/* Makes tx begin in the block, if that is possible: the record that does; NULL: none. */
static struct tcp_tx *cut_front(struct tcp_sock *tp, struct tcp_tx *tx, const struct tcp_sack_block *b) REQUIRES(L_NET)
{
	uint32_t mss = MAX(tx->mss, 1u), off;

	if (!seq_before(tx->seq, b->start))
		return tx;
	off = (b->start - tx->seq + mss - 1) / mss * mss;
	if (off >= tx->end - tx->seq || !seq_before(tx->seq + off, b->end))
		return NULL;
	return tp->tx_count < TCP_TX_MAX && tcp_tx_split(tp, tx, tx->seq + off) ? next_of(tp, tx) : NULL;
}

/* Makes tx end in the block; false: not even its first segment does. */
static bool cut_end(struct tcp_sock *tp, struct tcp_tx *tx, const struct tcp_sack_block *b) REQUIRES(L_NET)
{
	uint32_t mss = MAX(tx->mss, 1u), off;

	if (!seq_after(tx->end, b->end))
		return true;
	off = (b->end - tx->seq) / mss * mss;
	return off && tp->tx_count < TCP_TX_MAX && tcp_tx_split(tp, tx, tx->seq + off);
}

static struct tcp_tx *merge_around(struct tcp_sock *tp, struct tcp_tx *tx) REQUIRES(L_NET)
{
	struct tcp_tx *next = next_of(tp, tx), *prev;

	if (next && next->sacked)
		tcp_tx_merge(tp, tx, next);
	if (tx->link.prev == &tp->flight)
		return tx;
	prev = list_entry(tx->link.prev, struct tcp_tx, link);
	if (!prev->sacked)
		return tx;
	tcp_tx_merge(tp, prev, tx);
	return prev;
}

static void mark_block(struct tcp_sock *tp, const struct tcp_sack_block *b, struct tcp_acked *a) REQUIRES(L_NET)
{
	struct tcp_tx *tx = tp->sack_hint, *cut;

	if (!tx || seq_before(b->start, tx->seq))
		tx = tcp_tx_head(tp);
	for (; tx && seq_before(tx->seq, b->end); tx = next_of(tp, tx)) {
		tp->sack_hint = tx;
		if (tx->sacked || !seq_after(tx->end, b->start))
			continue;
		cut = cut_front(tp, tx, b);
		if (!cut || !cut_end(tp, cut, b))
			continue;
		mark(tp, cut, a);
		tp->sack_hint = tx = merge_around(tp, cut);
	}
}

/* RFC 2883 4: the first block tells of a duplicate if it is acknowledged already, or part of the second. */
static bool is_dsack(const struct tcp_in *in)
{
	const struct tcp_sack_block *b = in->opt.sacks;

	if (!seq_before(b[0].start, b[0].end))
		return false;
	if (seq_before(b[0].start, in->ack))
		return true;
	return in->opt.sack_count > 1 && !seq_before(b[0].start, b[1].start) && !seq_after(b[0].end, b[1].end);
}

static void take_dsack(struct tcp_sock *tp, const struct tcp_in *in, struct tcp_acked *a) REQUIRES(L_NET)
{
	const struct tcp_sack_block *b = in->opt.sacks;
	uint32_t n = b->end - b->start;

	if (seq_after(b->end, tp->snd_nxt) || seq_before(b->start, a->prior_una - tp->max_window))
		return;
	a->dsack = true;
	tp->dsack_dups++;
	mib_add(tp->ep.stack, MIB_TCPX_DSACK_RECV, 1);
	if (tp->undo.armed && seq_after(b->end, tp->undo.una))
		tp->undo.retrans -= MIN(tp->undo.retrans, n);
}

static bool valid(const struct tcp_sock *tp, const struct tcp_sack_block *b)
{
	return seq_before(b->start, b->end) && !seq_before(b->start, tp->snd_una) && !seq_after(b->end, tp->snd_nxt);
}

static bool seen(const struct tcp_sock *tp, const struct tcp_sack_block *b)
{
	for (unsigned i = 0; i < tp->sacks_seen_count; i++)
		if (tp->sacks_seen[i].start == b->start && tp->sacks_seen[i].end == b->end)
			return true;
	return false;
}

/* Those that are new, in the order of their numbers. */
static unsigned new_blocks(const struct tcp_sock *tp, const struct tcp_in *in, unsigned first,
			   struct tcp_sack_block *to)
{
	unsigned count = 0;

	for (unsigned i = first; i < in->opt.sack_count; i++) {
		const struct tcp_sack_block *b = &in->opt.sacks[i];
		unsigned at = count;

		if (!valid(tp, b) || seen(tp, b))
			continue;
		for (; at && seq_before(b->start, to[at - 1].start); at--)
			to[at] = to[at - 1];
		to[at] = *b;
		count++;
	}
	return count;
}

void tcp_sack_receive(struct tcp_sock *tp, const struct tcp_in *in, struct tcp_acked *a)
{
	struct tcp_sack_block blocks[ARRAY_SIZE(in->opt.sacks)];
	unsigned first = is_dsack(in), count;

	_Static_assert(sizeof(tp->sacks_seen) == sizeof(in->opt.sacks), "all blocks of a segment");
	if (first)
		take_dsack(tp, in, a);
	count = new_blocks(tp, in, first, blocks);
	for (unsigned i = 0; i < count; i++)
		mark_block(tp, &blocks[i], a);
	tp->sacks_seen_count = (uint8_t)(in->opt.sack_count - first);
	memcpy(tp->sacks_seen, in->opt.sacks + first, tp->sacks_seen_count * sizeof(blocks[0]));
}

/* ---- the receiver's side ---- */

static void remove_block(struct tcp_sock *tp, unsigned i)
{
	tp->sack_count--;
	for (; i < tp->sack_count; i++)
		tp->sacks[i] = tp->sacks[i + 1];
}

void tcp_sack_add(struct tcp_sock *tp, uint32_t start, uint32_t end)
{
	struct tcp_sack_block b = {start, end};

	if (!tp->sack_ok)
		return;
	for (unsigned i = 0; i < tp->sack_count;) {
		struct tcp_sack_block *o = &tp->sacks[i];

		if (seq_after(o->start, b.end) || seq_after(b.start, o->end)) {
			i++;
			continue;
		}
		b.start = seq_min(b.start, o->start);
		b.end = seq_max(b.end, o->end);
		remove_block(tp, i);
	}
	if (tp->sack_count == ARRAY_SIZE(tp->sacks))
		tp->sack_count--;
	for (unsigned i = tp->sack_count; i > 0; i--)
		tp->sacks[i] = tp->sacks[i - 1];
	tp->sacks[0] = b;
	tp->sack_count++;
}

void tcp_sack_trim(struct tcp_sock *tp)
{
	if (list_empty(&tp->early))
		tp->sack_count = 0;
	for (unsigned i = 0; i < tp->sack_count;) {
		if (seq_before(tp->rcv_nxt, tp->sacks[i].start))
			i++;
		else
			remove_block(tp, i);
	}
}

void tcp_sack_dup(struct tcp_sock *tp, uint32_t start, uint32_t end)
{
	if (!tp->sack_ok || start == end)
		return;
	tp->dsack = (struct tcp_sack_block){start, end};
	tp->dsack_pending = true;
}

void tcp_sack_fill(struct tcp_sock *tp, struct tcp_options *o)
{
	unsigned most = o->ts_ok ? 3 : 4;

	if (tp->dsack_pending)
		o->sacks[o->sack_count++] = tp->dsack;
	tp->dsack_pending = false;
	for (unsigned i = 0; i < tp->sack_count && o->sack_count < most; i++)
		o->sacks[o->sack_count++] = tp->sacks[i];
}
