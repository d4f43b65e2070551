/*
 * Congestion control: RFC 5681, in bytes (its own unit; Linux counts packets).
 *
 * The algorithm says how the window grows and what a loss leaves of it; everything else is common: slow start, the
 * initial window (RFC 6928), no growth of a window that is not used (RFC 7661 in spirit: Linux's rule), and decay while
 * idle (RFC 2861).
 */
#include "net/stack/tcp_priv.h"

#include <string.h>

static const struct tcp_cong_ops *const algorithms[] = {&tcp_cubic, &tcp_reno};

const struct tcp_cong_ops *tcp_cong_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++)
		if (strcmp(algorithms[i]->name, name) == 0)
			return algorithms[i];
	return NULL;
}

uint32_t tcp_initial_cwnd(const struct tcp_sock *tp)
{
	return TCP_INIT_CWND * tp->mss;
}

void tcp_cong_init(struct tcp_sock *tp)
{
	tp->cwnd = tcp_initial_cwnd(tp);
	tp->ssthresh = TCP_CWND_MAX;
	tp->limited_seq = tp->snd_nxt;
	memset(tp->cong_state, 0, sizeof(tp->cong_state));
	if (tp->cong->init)
		tp->cong->init(tp);
}

uint32_t tcp_slow_start(struct tcp_sock *tp, uint32_t bytes)
{
	uint32_t n = MIN(bytes, tp->ssthresh > tp->cwnd ? tp->ssthresh - tp->cwnd : 0);

	tp->cwnd = MIN(tp->cwnd + n, TCP_CWND_MAX);
	return bytes - n;
}

void tcp_cong_additive(struct tcp_sock *tp, uint32_t bytes, uint32_t window, uint64_t *credit)
{
	uint64_t n;

	*credit += bytes;
	n = *credit / MAX(window, tp->mss);
	*credit %= MAX(window, tp->mss);
	tp->cwnd = (uint32_t)MIN(tp->cwnd + n * tp->mss, TCP_CWND_MAX);
}

void tcp_cong_sent(struct tcp_sock *tp)
{
	tp->max_flight = MAX(tp->max_flight, tcp_in_flight(tp));
}

void tcp_cong_grow(struct tcp_sock *tp, const struct tcp_acked *a, int64_t now)
{
	uint32_t delivered = (uint32_t)tp->delivered - a->prior_delivered;
	bool slow_start = tp->cwnd < tp->ssthresh;

	if (slow_start ? tp->cwnd / 2 < tp->max_flight : tp->cwnd_limited)
		tp->cong->avoid(tp, delivered, now);
	if (seq_before(tp->snd_una, tp->limited_seq))
		return;
	tp->limited_seq = tp->snd_nxt;
	tp->max_flight = tcp_in_flight(tp);
	tp->cwnd_limited = false;
}

void tcp_cong_after_idle(struct tcp_sock *tp, int64_t now)
{
	int64_t idle = now - tp->last_sent_at;
	uint32_t least = MIN(tcp_initial_cwnd(tp), tp->cwnd);

	if (!tcp_conf(tp->ep.stack)->idle_restart || !tp->last_sent_at || idle <= tp->rtt.rto)
		return;
	tp->ssthresh = MAX(tp->ssthresh, tp->cwnd / 4 * 3);
	for (; (idle -= tp->rtt.rto) > 0 && tp->cwnd > least; tp->cwnd /= 2)
		;
	tp->cwnd = MAX(tp->cwnd, least);
	tp->limited_seq = tp->snd_nxt;
	tp->max_flight = 0;
	if (tp->cong->restart)
		tp->cong->restart(tp, now);
}
