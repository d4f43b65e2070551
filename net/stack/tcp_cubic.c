/*
 * CUBIC: RFC 9438, and HyStart++: RFC 9406.
 *
 * After a loss the window is 0.7 of what it was, and then follows a cubic function of time whose plateau is the window
 * at which the loss happened; never slower than Reno would with the same average (the Reno-friendly region). HyStart++
 * leaves slow start when round-trip times rise: first for a more careful phase (CSS) of five rounds, in case the rise
 * was noise.
 *
 * Integers: time is in units of 1/1024 s, the window in bytes, C = 0.4 segments a second cubed.
 */
#include "net/stack/tcp_priv.h"

#define BETA_NUM 7u
#define BETA_DEN 10u
#define TIME_MAX (1 << 17) /* 128 s from the plateau: its cube times a segment fits in 64 bits */
#define HYSTART_SAMPLES 8
#define HYSTART_MIN (4 * NSEC_PER_MSEC)
#define HYSTART_MAX (16 * NSEC_PER_MSEC)
#define CSS_ROUNDS 5
#define CSS_DIVISOR 4

struct cubic {
	int64_t epoch;   /* ns; 0: the next growth begins one */
	uint64_t credit; /* bytes, of fractional growth */
	uint64_t est_credit;
	uint32_t w_max, origin, w_est, prior;
	int32_t k;
	/* HyStart++ */
	uint32_t round_end;
	uint32_t samples;
	int64_t last_min, round_min, baseline; /* ns; 0: none */
	uint8_t css, css_rounds;
} __attribute__((may_alias)); /* it lives in cong_state */
_Static_assert(sizeof(struct cubic) <= sizeof(((struct tcp_sock *)NULL)->cong_state), "CUBIC's state");

static struct cubic *cubic_of(struct tcp_sock *tp)
{
	return (struct cubic *)tp->cong_state;
}

static uint32_t cube_root(uint64_t x)
{
	uint64_t r = 0;

	for (int bit = 20; bit >= 0; bit--) {
		uint64_t c = r | 1ull << bit;

		if (c * c * c <= x)
			r = c;
	}
	return (uint32_t)r;
}

/* C (t - K)^3 + origin, in bytes; t in 1/1024 s since the epoch. */
static uint32_t w_cubic(const struct tcp_sock *tp, const struct cubic *c, int64_t t)
{
	int64_t d = t - c->k, w;

	d = MIN(MAX(d, -TIME_MAX), TIME_MAX);
	w = (int64_t)c->origin + ((d * d * d / 1024 * tp->mss) >> 20) * 2 / 5;
	return (uint32_t)MIN(MAX(w, (int64_t)tp->mss), (int64_t)TCP_CWND_MAX);
}

static void begin_epoch(struct tcp_sock *tp, struct cubic *c, int64_t now)
{
	c->epoch = now;
	c->credit = c->est_credit = 0;
	c->w_est = tp->cwnd;
	c->k = 0;
	c->origin = tp->cwnd;
	if (tp->cwnd < c->w_max) {
		uint64_t segments = (c->w_max - tp->cwnd) / tp->mss;

		c->k = (int32_t)cube_root((segments * 5 / 2) << 30);
		c->origin = c->w_max;
	}
}

/*
 * What Reno with CUBIC's beta would have: alpha segments a round, 3 (1 - beta) / (1 + beta) = 9/17 until the old window
 * is reached.
 */
static void grow_estimate(struct tcp_sock *tp, struct cubic *c, uint32_t bytes)
{
	uint64_t scaled = c->w_est < c->prior ? bytes * 9ull / 17 : bytes;

	c->est_credit += scaled * tp->mss;
	c->w_est += (uint32_t)(c->est_credit / MAX(tp->cwnd, 1u));
	c->est_credit %= MAX(tp->cwnd, 1u);
}

static int64_t ticks(int64_t ns)
{
	return (ns >> 10) * 1024 / (NSEC_PER_SEC >> 10);
}

static void cubic_growth(struct tcp_sock *tp, uint32_t bytes, int64_t now)
{
	struct cubic *c = cubic_of(tp);
	uint32_t target;
	int64_t t;

	if (!c->epoch)
		begin_epoch(tp, c, now);
	t = ticks(now - c->epoch);
	grow_estimate(tp, c, bytes);
	if (w_cubic(tp, c, t) < c->w_est) {
		tp->cwnd = MIN(MAX(tp->cwnd, c->w_est), TCP_CWND_MAX);
		return;
	}
	target = w_cubic(tp, c, t + ticks(tp->rtt.srtt));
	target = MIN(MAX(target, tp->cwnd), tp->cwnd + tp->cwnd / 2);
	c->credit += (uint64_t)bytes * (target - tp->cwnd);
	tp->cwnd = (uint32_t)MIN(tp->cwnd + c->credit / tp->cwnd, TCP_CWND_MAX);
	c->credit %= tp->cwnd;
}

static void cubic_avoid(struct tcp_sock *tp, uint32_t bytes, int64_t now)
{
	struct cubic *c = cubic_of(tp);

	if (tp->cwnd < tp->ssthresh) {
		if (c->css)
			bytes = MAX(bytes / CSS_DIVISOR, 1u);
		bytes = tcp_slow_start(tp, bytes);
	}
	if (bytes && tp->cwnd >= tp->ssthresh)
		cubic_growth(tp, bytes, now);
}

static uint32_t cubic_ssthresh(struct tcp_sock *tp)
{
	struct cubic *c = cubic_of(tp);
	uint64_t cwnd = tp->cwnd;

	c->epoch = 0;
	/* Fast convergence: a flow that did not reach its old plateau makes room. */
	c->w_max = (uint32_t)(cwnd < c->w_max ? cwnd * (BETA_DEN + BETA_NUM) / (2 * BETA_DEN) : cwnd);
	c->prior = tp->cwnd;
	return (uint32_t)(cwnd * BETA_NUM / BETA_DEN);
}

/* ---- HyStart++ ---- */

static void next_round(struct tcp_sock *tp, struct cubic *c)
{
	c->round_end = tp->snd_nxt;
	c->last_min = c->round_min;
	c->round_min = 0;
	c->samples = 0;
	if (c->css && ++c->css_rounds > CSS_ROUNDS)
		tp->ssthresh = tp->cwnd;
}

static void cubic_sample(struct tcp_sock *tp, int64_t rtt, int64_t now __unused)
{
	struct cubic *c = cubic_of(tp);
	int64_t rise;

	if (tp->cwnd >= tp->ssthresh)
		return;
	if (!c->round_end || !seq_before(tp->snd_una, c->round_end))
		next_round(tp, c);
	c->round_min = c->round_min ? MIN(c->round_min, rtt) : rtt;
	if (++c->samples < HYSTART_SAMPLES || !c->last_min)
		return;
	rise = MIN(MAX(c->last_min / 8, HYSTART_MIN), HYSTART_MAX);
	if (c->css) {
		c->css = c->round_min >= c->baseline;
	} else if (c->round_min >= c->last_min + rise) {
		c->css = 1;
		c->css_rounds = 0;
		c->baseline = c->round_min;
	}
}

static void cubic_timeout(struct tcp_sock *tp)
{
	struct cubic *c = cubic_of(tp);

	c->epoch = 0;
	c->css = 0;
	c->round_end = 0;
	c->round_min = c->last_min = 0;
}

static void cubic_restart(struct tcp_sock *tp, int64_t now __unused)
{
	cubic_of(tp)->epoch = 0;
}

const struct tcp_cong_ops tcp_cubic = {
    .name = "cubic",
    .ssthresh = cubic_ssthresh,
    .avoid = cubic_avoid,
    .sample = cubic_sample,
    .timeout = cubic_timeout,
    .restart = cubic_restart,
};
