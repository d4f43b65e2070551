/*
 * Received bytes: RFC 9293 3.10.7.4, sixth to eighth step.
 *
 * What is in sequence goes to the receive queue by reference to the packet's buffers; small pieces, and those that are
 * less than half of the buffer that they would keep, are copied into a buffer of the endpoint's, so that a stream of
 * tiny segments does not hold a page for each byte, nor a packet cut short 64 KiB. What is early waits as a packet, made
 * compact likewise, in order and without overlaps: the bytes that came first stay. Both are charged to the receive
 * buffer with what they cost beside their bytes: what is kept is at most twice what is charged. Bytes in sequence are refused only when the buffer is exceeded, after the
 * early ones have been given up, the last ones first; the peer will send them again (RFC 2018 8 permits it).
 *
 * The urgent mark follows Linux: the urgent byte is the one before the pointer's (tcp(7)), it is kept aside unless
 * SO_OOBINLINE, a later mark replaces an earlier one, and reads stop at it.
 */
#include "net/stack/tcp_priv.h"

#include <poll.h>
#include <string.h>

#include "sentry/base/slab.h"

#define SMALL 512u /* bytes: copied */
#define GATHER 4000u
#define SLACK 64u /* a packet's headers were in its buffer too */
#define EARLY_MAX 4096u
#define EARLY_COST ((uint32_t)(sizeof(struct tcp_early) + sizeof(struct pkt)))
#define POLL_IN (POLLIN | POLLRDNORM)

static struct slab chunk_slab = SLAB_INIT(struct tcp_chunk);
static struct slab early_slab = SLAB_INIT(struct tcp_early);

void tcp_chunk_free(struct tcp_chunk *c)
{
	list_remove(&c->link);
	buf_put(c->s.buf);
	slab_free(&chunk_slab, c);
}

void tcp_chunks_free(struct list *q)
{
	struct tcp_chunk *c;

	while ((c = list_first(q, struct tcp_chunk, link)))
		tcp_chunk_free(c);
}

bool tcp_chunk_continues(const struct list *q, const struct buf *b, uint32_t off)
{
	const struct tcp_chunk *c = list_last(q, struct tcp_chunk, link);

	return c && c->s.buf == b && c->s.off + c->s.len == off;
}

bool tcp_chunk_append(struct list *q, uint32_t seq, const struct slice *s)
{
	struct tcp_chunk *c;

	if (tcp_chunk_continues(q, s->buf, s->off)) {
		list_last(q, struct tcp_chunk, link)->s.len += s->len;
		return true;
	}
	c = slab_alloc(&chunk_slab);
	if (!c)
		return false;
	c->seq = seq;
	c->s = (struct slice){buf_get(s->buf), s->off, s->len};
	list_append(q, &c->link);
	return true;
}

/* ---- in sequence ---- */

/* A buffer with room for n bytes more, in tp->recv_buf. */
static bool gather_room(struct tcp_sock *tp, uint32_t n)
{
	struct buf *b = tp->recv_buf;

	if (b && list_empty(&tp->recvq) && ref_count(&b->ref) == 1)
		b->used = 0;
	if (b && b->size - b->used >= n)
		return true;
	b = buf_create(MAX(n, GATHER));
	if (!b)
		return false;
	buf_put(tp->recv_buf);
	tp->recv_buf = b;
	return true;
}

static bool append_slice(struct tcp_sock *tp, const struct slice *s)
{
	bool more = tcp_chunk_continues(&tp->recvq, s->buf, s->off);

	if (!tcp_chunk_append(&tp->recvq, tp->rcv_nxt, s))
		return false;
	tp->rmem += s->len + (more ? 0 : TCP_CHUNK_COST);
	return true;
}

static bool append_copy(struct tcp_sock *tp, const void *data, uint32_t n)
{
	struct slice s;

	if (!gather_room(tp, n))
		return false;
	s = (struct slice){tp->recv_buf, tp->recv_buf->used, n};
	memcpy(s.buf->data + s.off, data, n);
	s.buf->used += n;
	return append_slice(tp, &s);
}

/* A reference would keep too much memory for its bytes. */
static bool too_little(const struct tcp_sock *tp, const struct slice *s)
{
	return s->len < SMALL ||
	       (2 * s->len + SLACK < s->buf->size && !tcp_chunk_continues(&tp->recvq, s->buf, s->off));
}

/* The packet's payload goes behind rcv_nxt. False: memory was short; what was taken counts. */
static bool append_payload(struct tcp_sock *tp, const struct pkt *p)
{
	uint32_t n = p->tail - p->head;

	if (n) {
		if (!append_copy(tp, p->room + p->head, n))
			return false;
		tp->rcv_nxt += n;
	}
	for (unsigned i = 0; i < p->count; i++) {
		const struct slice *s = &p->slice[i];

		if (too_little(tp, s) ? !append_copy(tp, s->buf->data + s->off, s->len) : !append_slice(tp, s))
			return false;
		tp->rcv_nxt += s->len;
	}
	return true;
}

/* What has been put together up to rcv_nxt ends the peer's side. */
static void take_fin(struct tcp_sock *tp) REQUIRES(L_NET)
{
	tp->rcv_nxt++;
	tp->shutdown |= TCP_SHUT_RCV;
	tp->done = true;
	tp->ack_due = true;
	tcp_early_free_all(tp);
	if (tp->ep.state == TCP_ESTABLISHED || tp->ep.state == TCP_SYN_RECV) {
		tcp_set_state(tp, TCP_CLOSE_WAIT);
		tp->pingpong = true;
	} else if (tp->ep.state == TCP_FIN_WAIT1) {
		tp->ack_now = true;
		tcp_set_state(tp, TCP_CLOSING);
	} else if (tp->ep.state == TCP_FIN_WAIT2) {
		tcp_send_ack(tp);
		tcp_time_wait(tp, false, TCP_TIMEWAIT_TIME);
		return;
	}
	tcp_wake(tp, POLL_IN | POLLRDHUP | (tp->shutdown == TCP_SHUT_BOTH ? POLLHUP : 0));
}

/* ---- early ---- */

static void early_free(struct tcp_sock *tp, struct tcp_early *e)
{
	tp->rmem -= e->end - e->seq + EARLY_COST;
	tp->early_count--;
	list_remove(&e->link);
	pkt_free(e->pkt);
	slab_free(&early_slab, e);
}

void tcp_early_free_all(struct tcp_sock *tp)
{
	struct tcp_early *e;

	while ((e = list_first(&tp->early, struct tcp_early, link)))
		early_free(tp, e);
	tp->sack_count = 0;
}

static bool no_memory(const struct tcp_sock *tp) REQUIRES(L_NET)
{
	return tcp_memory_full(tp->rmem, tcp_conf(tp->ep.stack)->rmem[0]);
}

/* Room for n bytes in the receive buffer, if need be at the cost of early ones that begin at or behind seq. */
static bool make_room(struct tcp_sock *tp, uint32_t n, uint32_t seq) REQUIRES(L_NET)
{
	struct tcp_early *e;
	bool pruned = false;

	while ((tp->rmem + n > tp->rcvbuf || no_memory(tp)) && (e = list_last(&tp->early, struct tcp_early, link)) &&
	       !seq_before(e->seq, seq)) {
		early_free(tp, e);
		pruned = true;
	}
	if (pruned) {
		tp->sack_count = 0;
		mib_add(tp->ep.stack, MIB_TCPX_RCV_PRUNED, 1);
	}
	return tp->rmem + n <= tp->rcvbuf && !no_memory(tp);
}

/* The last one that begins at or before seq; NULL: none. */
static struct tcp_early *early_before(const struct tcp_sock *tp, uint32_t seq)
{
	for (struct list *l = tp->early.prev; l != &tp->early; l = l->prev) {
		struct tcp_early *e = list_entry(l, struct tcp_early, link);

		if (!seq_after(e->seq, seq))
			return e;
	}
	return NULL;
}

/* Removes what [in->seq, end) covers wholly, and cuts its end where the next begins. */
static void resolve_after(struct tcp_sock *tp, struct list *at, struct tcp_in *in, bool *fin) REQUIRES(L_NET)
{
	while (at->next != &tp->early) {
		struct tcp_early *e = list_entry(at->next, struct tcp_early, link);
		uint32_t end = in->seq + in->len;

		if (!seq_before(e->seq, end))
			return;
		tcp_sack_dup(tp, e->seq, seq_min(e->end, end));
		if (seq_after(e->end, end)) {
			in->len = e->seq - in->seq;
			pkt_trim(in->pkt, in->len);
			*fin = false;
			return;
		}
		*fin |= e->fin;
		early_free(tp, e);
	}
}

/* Where in's data goes; NULL: all of it is there already. */
static struct list *early_place(struct tcp_sock *tp, struct tcp_in *in, bool *fin) REQUIRES(L_NET)
{
	struct tcp_early *prev = early_before(tp, in->seq);
	uint32_t over;

	if (prev && !seq_before(prev->end, in->seq + in->len)) {
		tcp_sack_dup(tp, in->seq, in->seq + in->len);
		prev->fin |= *fin && prev->end == in->seq + in->len;
		return NULL;
	}
	if (prev && seq_after(prev->end, in->seq)) {
		over = prev->end - in->seq;
		tcp_sack_dup(tp, in->seq, prev->end);
		pkt_skip(in->pkt, over);
		in->seq += over;
		in->len -= over;
	}
	resolve_after(tp, prev ? &prev->link : &tp->early, in, fin);
	return prev ? &prev->link : &tp->early;
}

static void queue_early(struct tcp_sock *tp, struct tcp_in *in) REQUIRES(L_NET)
{
	bool fin = in->flags & TH_FIN;
	struct tcp_early *e;
	struct list *place;

	tp->ack_now = true;
	if (tp->early_count >= EARLY_MAX || !make_room(tp, in->len + EARLY_COST, in->seq))
		return;
	place = early_place(tp, in, &fin);
	if (!place || (in->len == 0 && !fin) || !pkt_compact(in->pkt))
		return;
	e = slab_alloc(&early_slab);
	if (!e)
		return;
	e->seq = in->seq;
	e->end = in->seq + in->len;
	e->fin = fin;
	e->pkt = take(in->pkt);
	list_push(place, &e->link);
	tp->early_count++;
	tp->rmem += in->len + EARLY_COST;
	mib_add(tp->ep.stack, MIB_TCPX_OFO_QUEUE, 1);
	tcp_sack_add(tp, e->seq, e->end + fin);
}

/* What rcv_nxt has reached is early no more. */
static void drain_early(struct tcp_sock *tp) REQUIRES(L_NET)
{
	struct tcp_early *e;

	while ((e = list_first(&tp->early, struct tcp_early, link)) && !seq_after(e->seq, tp->rcv_nxt)) {
		bool fin = e->fin && !seq_before(e->end, tp->rcv_nxt), ok = true;

		if (seq_after(e->end, tp->rcv_nxt)) {
			pkt_skip(e->pkt, tp->rcv_nxt - e->seq);
			ok = append_payload(tp, e->pkt);
		}
		early_free(tp, e);
		if (ok && fin) {
			take_fin(tp);
			return;
		}
	}
	tcp_sack_trim(tp);
}

/* ---- a segment ---- */

/* What a segment with data means for acknowledging: the estimate of the time between segments, RFC 3168's echo. */
static void note_data(struct tcp_sock *tp, const struct tcp_in *in) REQUIRES(L_NET)
{
	int64_t now = tcp_now(tp), gap = now - tp->last_data_at;

	tp->ack_due = true;
	tcp_measure_rcv(tp, in);
	if (!tp->ato) {
		tcp_quick_acks(tp);
		tp->ato = TCP_ATO_MIN;
	} else if (gap <= TCP_ATO_MIN / 2) {
		tp->ato = tp->ato / 2 + TCP_ATO_MIN / 2;
	} else if (gap < tp->ato) {
		tp->ato = MIN(tp->ato / 2 + gap, tp->rtt.rto);
	} else if (gap > tp->rtt.rto) {
		tcp_quick_acks(tp);
	}
	tp->last_data_at = now;
	if (!tp->ecn_ok)
		return;
	if (in->flags & TCP_CWR)
		tp->ecn_echo = false;
	if ((in->ip->tos & 3) == 3) {
		tp->ack_now |= !tp->ecn_echo;
		tp->ecn_echo = true;
	}
}

/* Cuts what is before rcv_nxt, and what is beyond the window with the FIN behind it. */
static void trim(struct tcp_sock *tp, struct tcp_in *in) REQUIRES(L_NET)
{
	uint32_t limit = tp->rcv_nxt + tcp_receive_window(tp), old;

	if (seq_before(in->seq, tp->rcv_nxt)) {
		old = MIN(tp->rcv_nxt - in->seq, in->len);
		tcp_sack_dup(tp, in->seq, tp->rcv_nxt);
		pkt_skip(in->pkt, old);
		in->seq += old;
		in->len -= old;
	}
	if (in->len && seq_after(in->seq + in->len, limit)) {
		in->len = seq_before(in->seq, limit) ? limit - in->seq : 0;
		pkt_trim(in->pkt, in->len);
		in->flags &= (uint8_t)~TH_FIN;
		tp->ack_now = true;
	}
}

static void queue_next(struct tcp_sock *tp, struct tcp_in *in) REQUIRES(L_NET)
{
	uint32_t before = tp->rcv_nxt;
	bool had_early = !list_empty(&tp->early);

	if (in->len && !make_room(tp, in->len, in->seq) && (tp->rmem > tp->rcvbuf || no_memory(tp))) {
		tp->ack_now = true;
		return;
	}
	if (append_payload(tp, in->pkt) && in->flags & TH_FIN)
		take_fin(tp);
	else if (had_early)
		drain_early(tp);
	if (tp->ep.state == TCP_CLOSE)
		return;           /* in TIME_WAIT */
	tp->ack_now |= had_early; /* RFC 5681 4.2 */
	tp->bytes_received += tp->rcv_nxt - before;
	if (tp->rcv_nxt != before)
		tcp_wake(tp, POLL_IN);
}

void tcp_data(struct tcp_sock *tp, struct tcp_in *in)
{
	uint32_t end = in->seq + in->len + !!(in->flags & TH_FIN);

	if (in->seq == end)
		return;
	if (!seq_after(end, tp->rcv_nxt)) {
		tcp_sack_dup(tp, in->seq, end);
		tcp_quick_acks(tp);
		tp->ack_now = true;
		return;
	}
	if (tp->done)
		return; /* beyond the FIN */
	note_data(tp, in);
	trim(tp, in);
	if (in->len == 0 && !(in->flags & TH_FIN))
		tp->ack_now = true;
	else if (in->seq == tp->rcv_nxt)
		queue_next(tp, in);
	else
		queue_early(tp, in);
}

/* ---- acknowledging ---- */

void tcp_quick_acks(struct tcp_sock *tp)
{
	uint32_t n = tp->rcv_wnd / (2 * MAX(tp->rcv_mss, 1u));

	tp->quick = (uint8_t)MAX(tp->quick, MIN(MAX(n, 2u), (uint32_t)TCP_QUICK_MAX));
	tp->pingpong = false;
	tp->ato = TCP_ATO_MIN;
}

void tcp_ack_check(struct tcp_sock *tp)
{
	uint32_t waiting = tp->rcv_nxt - tp->rcv_wup;

	if (!tp->ack_due && !tp->ack_now)
		return;
	if (tp->ack_now || (tp->quick && !tp->pingpong) || waiting > tp->rcv_mss)
		tcp_send_ack(tp);
	else
		tcp_arm_ack(tp);
}

/* ---- urgent ---- */

/* A new mark: RFC 9293 3.8.5 as Linux reads it. */
static void new_mark(struct tcp_sock *tp, const struct tcp_in *in) REQUIRES(L_NET)
{
	uint32_t at = in->seq + in->urg - (in->urg ? 1 : 0);

	if (seq_after(tp->copied_seq, at) || seq_before(at, tp->rcv_nxt))
		return;
	if (tp->urgent_in && !seq_after(at, tp->urg_seq))
		return;
	tp->urgent_in = true;
	tp->urg_here = tp->urg_taken = false;
	tp->urg_seq = at;
	tcp_wake(tp, POLLPRI);
}

void tcp_urgent(struct tcp_sock *tp, const struct tcp_in *in)
{
	uint32_t off;

	if (in->flags & TH_URG)
		new_mark(tp, in);
	if (!tp->urgent_in || tp->urg_here)
		return;
	off = tp->urg_seq - in->seq;
	if (off >= in->len || !pkt_copy(in->pkt, off, &tp->urg_byte, 1))
		return;
	tp->urg_here = true;
	tcp_wake(tp, POLLPRI);
}
