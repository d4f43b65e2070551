/* Reno: RFC 5681. One segment more a round trip, half after a loss. */
#include "net/stack/tcp_priv.h"

static uint32_t reno_ssthresh(struct tcp_sock *tp)
{
	return tp->cwnd / 2;
}

static void reno_avoid(struct tcp_sock *tp, uint32_t bytes, int64_t now __unused)
{
	if (tp->cwnd < tp->ssthresh)
		bytes = tcp_slow_start(tp, bytes);
	if (bytes)
		tcp_cong_additive(tp, bytes, tp->cwnd, &tp->cong_state[0]);
}

const struct tcp_cong_ops tcp_reno = {
    .name = "reno",
    .ssthresh = reno_ssthresh,
    .avoid = reno_avoid,
};
