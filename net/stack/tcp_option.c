/*
 * Options of IPPROTO_TCP, and TCP_INFO: tcp(7), with the ranges that Linux checks.
 *
 * The window is counted in bytes here and shown in segments, as Linux has it. Numbers of segments in TCP_INFO are made
 * from bytes likewise.
 */
#include "net/stack/tcp_priv.h"

#include <limits.h>
#include <string.h>

#define MAX_KEEPALIVE 32767
#define MAX_KEEPCOUNT 127
#define MAX_SYNCNT 127
#define MIN_BUF 2304u
#define MIN_SNDBUF 4608u
#ifndef TCP_NOTSENT_LOWAT
#define TCP_NOTSENT_LOWAT 25
#endif

static bool within(int value, int low, int high)
{
	return value >= low && value <= high;
}

static int set_int(int *field, int value, int low, int high)
{
	if (!within(value, low, high))
		return -EINVAL;
	*field = value;
	return 0;
}

static int set_keep_idle(struct tcp_sock *tp, int value) REQUIRES(L_NET)
{
	int err = set_int(&tp->keep_idle, value, 1, MAX_KEEPALIVE);
	int64_t idle = tcp_now(tp) - MAX(tp->last_data_at, tp->last_ack_at);

	if (!err && tp->keepalive && tcp_connected_state(tp->ep.state))
		tcp_arm_keepalive(tp, MAX(tcp_keep_idle(tp) - idle, 0));
	return err;
}

void tcp_set_keepalive(struct tcp_sock *tp, bool on)
{
	if (on && !tp->keepalive && tcp_connected_state(tp->ep.state))
		tcp_arm_keepalive(tp, tcp_keep_idle(tp));
	else if (!on && !(tp->orphan && tp->ep.state == TCP_FIN_WAIT2))
		net_timer_cancel(tp->ep.stack, &tp->keep_timer);
	tp->keepalive = on;
}

static void set_quickack(struct tcp_sock *tp, int value) REQUIRES(L_NET)
{
	tp->pingpong = !value;
	if (!value)
		return;
	tp->quick = TCP_QUICK_MAX;
	if (tp->ack_due && (tp->ep.state == TCP_ESTABLISHED || tp->ep.state == TCP_CLOSE_WAIT))
		tcp_send_ack(tp);
}

static int set_window_clamp(struct tcp_sock *tp, int value)
{
	if (value == 0 && tp->ep.state != TCP_CLOSE)
		return -EINVAL;
	tp->window_clamp = value ? (uint32_t)MAX(value, (int)MIN_BUF / 2) : 0;
	return 0;
}

static void set_pushing(struct tcp_sock *tp, bool *field, int value) REQUIRES(L_NET)
{
	bool push = field == &tp->nodelay ? value != 0 : value == 0;

	*field = value != 0;
	tp->more &= !push;
	if (push)
		tcp_push(tp, field == &tp->nodelay && !tp->cork ? TCP_PUSH_FORCE : 0);
}

int tcp_set_option(struct tcp_sock *tp, int name, int value)
{
	switch (name) {
	case TCP_NODELAY:
		set_pushing(tp, &tp->nodelay, value);
		return 0;
	case TCP_CORK:
		set_pushing(tp, &tp->cork, value);
		return 0;
	case TCP_MAXSEG:
		if (value && !within(value, (int)TCP_MSS_MIN + 40, 32767))
			return -EINVAL;
		tp->user_mss = (uint16_t)value;
		return 0;
	case TCP_KEEPIDLE:
		return set_keep_idle(tp, value);
	case TCP_KEEPINTVL:
		return set_int(&tp->keep_interval, value, 1, MAX_KEEPALIVE);
	case TCP_KEEPCNT:
		return set_int(&tp->keep_count, value, 1, MAX_KEEPCOUNT);
	case TCP_SYNCNT:
		return set_int(&tp->syn_retries, value, 1, MAX_SYNCNT);
	case TCP_LINGER2:
		tp->linger2 = value < 0 ? -1 : value > 120 ? 0 : value;
		return 0;
	case TCP_DEFER_ACCEPT:
		tp->defer_accept = MAX(value, 0);
		return 0;
	case TCP_WINDOW_CLAMP:
		return set_window_clamp(tp, value);
	case TCP_QUICKACK:
		set_quickack(tp, value);
		return 0;
	case TCP_USER_TIMEOUT:
		if (value < 0)
			return -EINVAL;
		tp->user_timeout = (uint32_t)value;
		return 0;
	case TCP_NOTSENT_LOWAT:
		tp->notsent_lowat = (uint32_t)value;
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

static int get_maxseg(const struct tcp_sock *tp)
{
	bool idle = tp->ep.state == TCP_CLOSE || tp->ep.state == TCP_LISTEN;

	return idle && tp->user_mss ? tp->user_mss : (int)tcp_current_mss(tp);
}

int tcp_get_option(struct tcp_sock *tp, int name, int *ret)
{
	const struct tcp_conf *c = tcp_conf(tp->ep.stack);

	switch (name) {
	case TCP_NODELAY:
		*ret = tp->nodelay;
		return 0;
	case TCP_CORK:
		*ret = tp->cork;
		return 0;
	case TCP_MAXSEG:
		*ret = get_maxseg(tp);
		return 0;
	case TCP_KEEPIDLE:
		*ret = tp->keep_idle ? tp->keep_idle : c->keepalive_time;
		return 0;
	case TCP_KEEPINTVL:
		*ret = tp->keep_interval ? tp->keep_interval : c->keepalive_interval;
		return 0;
	case TCP_KEEPCNT:
		*ret = tp->keep_count ? tp->keep_count : c->keepalive_probes;
		return 0;
	case TCP_SYNCNT:
		*ret = tp->syn_retries ? tp->syn_retries : c->syn_retries;
		return 0;
	case TCP_LINGER2:
		*ret = tp->linger2 ? tp->linger2 : c->fin_timeout;
		return 0;
	case TCP_DEFER_ACCEPT:
		*ret = tp->defer_accept;
		return 0;
	case TCP_WINDOW_CLAMP:
		*ret = (int)tp->window_clamp;
		return 0;
	case TCP_QUICKACK:
		*ret = !tp->pingpong;
		return 0;
	case TCP_USER_TIMEOUT:
		*ret = (int)tp->user_timeout;
		return 0;
	case TCP_NOTSENT_LOWAT:
		*ret = (int)tp->notsent_lowat;
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

int tcp_set_congestion(struct tcp_sock *tp, const char *name)
{
	const struct tcp_cong_ops *ops = tcp_cong_find(name);

	if (!ops)
		return -ENOENT;
	tp->cong = ops;
	memset(tp->cong_state, 0, sizeof(tp->cong_state));
	if (ops->init)
		ops->init(tp);
	return 0;
}

const char *tcp_congestion(const struct tcp_sock *tp)
{
	return tp->cong->name;
}

void tcp_set_sndbuf(struct tcp_sock *tp, uint32_t size)
{
	tp->sndbuf = MAX(size, MIN_SNDBUF);
	tp->sndbuf_locked = true;
	tcp_write_space(tp);
}

void tcp_set_rcvbuf(struct tcp_sock *tp, uint32_t size)
{
	tp->rcvbuf = MAX(size, MIN_BUF);
	tp->rcvbuf_locked = true;
}

/* ---- TCP_INFO ---- */

static uint32_t us(int64_t ns)
{
	return (uint32_t)MIN(MAX(ns, 0) / NSEC_PER_USEC, (int64_t)UINT32_MAX);
}

static uint32_t ms_since(const struct tcp_sock *tp, int64_t at) REQUIRES(L_NET)
{
	return at ? (uint32_t)((tcp_now(tp) - at) / NSEC_PER_MSEC) : 0;
}

static uint32_t segments(const struct tcp_sock *tp, uint32_t bytes)
{
	return (bytes + tp->mss - 1) / tp->mss;
}

static void info_counts(const struct tcp_sock *tp, struct k_tcp_info *i)
{
	i->unacked = segments(tp, tcp_flight_size(tp));
	i->sacked = segments(tp, tp->sacked);
	i->lost = segments(tp, tp->lost);
	i->retrans = segments(tp, tp->retrans);
	i->total_retrans = tp->total_retrans;
	i->bytes_acked = tp->bytes_acked;
	i->bytes_received = tp->bytes_received;
	i->segs_out = tp->segs_out;
	i->segs_in = tp->segs_in;
	i->notsent_bytes = tp->write_seq - tp->snd_nxt;
	i->delivered = segments(tp, (uint32_t)MIN(tp->delivered, UINT32_MAX - tp->mss));
	i->bytes_sent = tp->bytes_sent;
	i->bytes_retrans = tp->bytes_retrans;
	i->dsack_dups = tp->dsack_dups;
	i->reord_seen = tp->reordering_seen;
	i->rcv_ooopack = tp->early_count;
}

static void info_times(const struct tcp_sock *tp, struct k_tcp_info *i) REQUIRES(L_NET)
{
	i->rto = us(tp->rtt.rto);
	i->ato = us(tp->ato);
	i->rtt = us(tp->rtt.srtt);
	i->rttvar = us(tp->rtt.var);
	i->min_rtt = tp->rtt.min ? us(tp->rtt.min) : UINT32_MAX;
	i->rcv_rtt = us(tp->drs.rtt);
	i->last_data_sent = ms_since(tp, tp->last_sent_at);
	i->last_data_recv = ms_since(tp, tp->last_data_at);
	i->last_ack_recv = ms_since(tp, tp->last_ack_at);
}

void tcp_info(struct tcp_sock *tp, struct k_tcp_info *ret)
{
	*ret = (struct k_tcp_info){.state = tp->ep.state};
	if (tp->ep.state == TCP_LISTEN) {
		ret->unacked = tp->accept_count;
		ret->sacked = tp->backlog;
		return;
	}
	ret->ca_state = tp->ca_state;
	ret->retransmits = tp->retransmits;
	ret->probes = MAX(tp->probes_out, tp->keep_probes);
	ret->backoff = tp->backoff;
	ret->options = (uint8_t)((tp->ts_ok ? TCPI_OPT_TIMESTAMPS : 0) | (tp->sack_ok ? TCPI_OPT_SACK : 0) |
				 (tp->wscale_ok ? TCPI_OPT_WSCALE : 0) | (tp->ecn_ok ? TCPI_OPT_ECN : 0) |
				 (tp->syn_data_acked ? TCPI_OPT_SYN_DATA : 0));
	ret->wscales = (uint8_t)(tp->snd_wscale | tp->rcv_wscale << 4);
	ret->snd_mss = tcp_current_mss(tp);
	ret->rcv_mss = tp->rcv_mss;
	ret->advmss = tp->advmss;
	ret->pmtu = tp->route.mtu;
	ret->rcv_ssthresh = tcp_window_of_space(tp->rcvbuf);
	ret->rcv_space = tp->drs.space;
	ret->snd_cwnd = MAX(tp->cwnd / tp->mss, 1u);
	ret->snd_ssthresh = tp->ssthresh >= TCP_CWND_MAX ? INT_MAX : tp->ssthresh / tp->mss;
	ret->reordering = TCP_DUP_THRESH;
	ret->snd_wnd = tp->snd_wnd;
	ret->pacing_rate = ret->max_pacing_rate = tp->pacing_rate;
	info_counts(tp, ret);
	info_times(tp, ret);
}
