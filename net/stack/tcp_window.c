/*
 * The receiver's window (RFC 9293 3.8.6), and buffers that grow with the path.
 *
 * Half of the receive buffer's free space is offered; the rest is for what the bytes need beside themselves. An offer
 * is never taken back. It is zero, or stays where it is, while it could grow only by less than a segment (the
 * receiver's side of silly window avoidance, RFC 1122 4.2.3.3), and an update is sent by itself when what the peer can
 * use has at least doubled.
 *
 * Tuning of the receive buffer is Linux's dynamic right-sizing: what the application has read within a round trip is
 * measured, and the buffer made to hold twice as much and the growth that slow start will bring. The round trip is
 * known to a receiver from echoed timestamps, or from the time that a full window takes to arrive. The send buffer
 * holds some congestion windows. Neither is touched once the user has set it.
 */
#include "net/stack/tcp_priv.h"

#define WSCALE_MAX 14
#define PRESSURE_SEGMENTS 4u /* that a window has when memory is short */

void tcp_initial_window(const struct tcp_conf *c, uint32_t rcvbuf, uint32_t clamp, uint32_t mss, bool scaling,
			uint32_t *ret_window, uint8_t *ret_shift)
{
	uint32_t space = tcp_window_of_space(rcvbuf), most = MAX(c->rmem[2], rcvbuf);

	if (clamp)
		space = MIN(space, clamp);
	if (clamp)
		most = MIN(most, clamp);
	if (space > mss)
		space -= space % mss;
	*ret_shift = 0;
	while (scaling && *ret_shift < WSCALE_MAX && most >> *ret_shift > TCP_WINDOW_MAX)
		++*ret_shift;
	*ret_window = MIN(space, TCP_WINDOW_MAX - (mss < TCP_WINDOW_MAX ? TCP_WINDOW_MAX % mss : 0));
}

static uint32_t align(uint32_t n, unsigned shift)
{
	uint32_t mask = (1u << shift) - 1;

	return (n + mask) & ~mask;
}

/* What would be offered, were there no earlier offer. */
static uint32_t window_wanted(const struct tcp_sock *tp)
{
	uint32_t space = tcp_window_of_space(tp->rcvbuf > tp->rmem ? tp->rcvbuf - tp->rmem : 0);
	uint32_t full = tcp_window_of_space(tp->rcvbuf), mss = tp->rcv_mss;

	if (tp->window_clamp)
		full = MIN(full, tp->window_clamp);
	if (net_memory_pressure(&tcp_memory))
		full = MIN(full, PRESSURE_SEGMENTS * tp->advmss);
	space = MIN(space, full);
	mss = MIN(mss, full);
	if (space < full / 2 && (space < full / 16 || space < mss))
		return 0;
	if (tp->rcv_wscale)
		return align(space, tp->rcv_wscale);
	if (tp->rcv_wnd + mss <= space || tp->rcv_wnd > space)
		return mss ? space - space % mss : space;
	return tp->rcv_wnd;
}

uint32_t tcp_select_window(struct tcp_sock *tp)
{
	uint32_t now = tcp_receive_window(tp), wanted = window_wanted(tp);

	if (wanted < now)
		wanted = align(now, tp->rcv_wscale);
	tp->rcv_wnd = MIN(wanted, TCP_WINDOW_MAX << tp->rcv_wscale);
	tp->rcv_wup = tp->rcv_nxt;
	return tp->rcv_wnd;
}

void tcp_window_update(struct tcp_sock *tp, size_t n)
{
	uint32_t now = tcp_receive_window(tp), full = tcp_window_of_space(tp->rcvbuf), wanted;

	if (!tcp_connected_state(tp->ep.state))
		return;
	if (tp->ack_due &&
	    (tp->rcv_nxt - tp->rcv_wup > tp->rcv_mss || (n && !tp->pingpong && tp->rcv_nxt == tp->copied_seq))) {
		tcp_send_ack(tp);
		return;
	}
	if (tp->window_clamp)
		full = MIN(full, tp->window_clamp);
	if (!n || tp->shutdown & TCP_SHUT_RCV || now > full / 2)
		return;
	wanted = window_wanted(tp);
	if (wanted && wanted >= 2 * now)
		tcp_send_ack(tp);
}

static void rtt_sample(struct tcp_sock *tp, int64_t rtt)
{
	rtt = MAX(rtt, NSEC_PER_MSEC);
	if (!tp->drs.rtt || rtt < tp->drs.rtt)
		tp->drs.rtt = rtt;
	else
		tp->drs.rtt += (rtt - tp->drs.rtt) / 8;
}

void tcp_measure_rcv(struct tcp_sock *tp, const struct tcp_in *in)
{
	int64_t now = tcp_now(tp);

	if (in->mss >= tp->rcv_mss)
		tp->rcv_mss = (uint16_t)MIN(MIN(in->mss, tp->advmss), PKT_MAX);
	if (tp->ts_ok && in->opt.ts_ok) {
		int32_t ms = (int32_t)(tcp_ts(now, tp->ts_offset) - in->opt.tsecr);

		if (in->mss >= tp->rcv_mss && ms >= 0 && ms < 60000)
			rtt_sample(tp, ms * NSEC_PER_MSEC);
		return;
	}
	if (tp->drs.rtt_at && seq_before(tp->rcv_nxt, tp->drs.rtt_seq))
		return;
	if (tp->drs.rtt_at)
		rtt_sample(tp, now - tp->drs.rtt_at);
	tp->drs.rtt_seq = tp->rcv_nxt + tp->rcv_wnd;
	tp->drs.rtt_at = now;
}

static void grow_rcvbuf(struct tcp_sock *tp, uint32_t copied) REQUIRES(L_NET)
{
	const struct tcp_conf *c = tcp_conf(tp->ep.stack);
	uint64_t window = 2ull * copied + 16ull * tp->advmss;

	window += 2 * window * (copied - tp->drs.space) / MAX(tp->drs.space, 1u);
	if (c->moderate_rcvbuf && !tp->rcvbuf_locked && !net_memory_pressure(&tcp_memory))
		tp->rcvbuf = MAX(tp->rcvbuf, (uint32_t)MIN(2 * window, c->rmem[2]));
}

void tcp_tune_rcvbuf(struct tcp_sock *tp)
{
	int64_t now = tcp_now(tp);
	uint32_t copied = tp->copied_seq - tp->drs.seq;

	if (!tp->drs.rtt || now - tp->drs.at < tp->drs.rtt)
		return;
	if (copied > tp->drs.space) {
		grow_rcvbuf(tp, copied);
		tp->drs.space = copied;
	}
	tp->drs.seq = tp->copied_seq;
	tp->drs.at = now;
}

void tcp_tune_sndbuf(struct tcp_sock *tp)
{
	uint64_t want = 4ull * MAX(tp->cwnd, TCP_INIT_CWND * tp->mss);

	if (!tp->sndbuf_locked && !net_memory_pressure(&tcp_memory))
		tp->sndbuf = MAX(tp->sndbuf, (uint32_t)MIN(want, tcp_conf(tp->ep.stack)->wmem[2]));
}
