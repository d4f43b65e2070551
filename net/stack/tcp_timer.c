/*
 * TCP's timers.
 *
 * An endpoint has four: `timer` is the retransmission timer (RFC 6298), the tail loss probe or the reordering timer
 * (RFC 8985), or the persist timer (RFC 9293 3.8.6.1), of which only one can be needed at a time; ack_timer sends a
 * delayed acknowledgment; keep_timer is for keep-alive (RFC 1122 4.2.3.6) and the end of FIN_WAIT_2 of an endpoint that
 * nobody owns; pace_timer goes on with what a pacing rate keeps back.
 *
 * How long is tried follows Linux: tcp_retries2 is no count but the time that so many doublings of 200 ms would take;
 * TCP_USER_TIMEOUT (RFC 5482) replaces it. SYNs count. The error is ETIMEDOUT, or what ICMP has said meanwhile.
 */
#include "net/stack/tcp_priv.h"

#define RETRY_SOON (500 * NSEC_PER_MSEC) /* memory was short */
#define BACKOFF_MAX 15

/* ---- arming ---- */

void tcp_arm_kind(struct tcp_sock *tp, enum tcp_timer_kind kind, int64_t deadline)
{
	tp->timer_kind = kind;
	net_timer_arm(tp->ep.stack, &tp->timer, deadline);
}

static void disarm(struct tcp_sock *tp) REQUIRES(L_NET)
{
	tp->timer_kind = TCP_TIMER_NONE;
	net_timer_cancel(tp->ep.stack, &tp->timer);
}

static int64_t backed_off(const struct tcp_sock *tp)
{
	return MIN(tp->rtt.rto << MIN(tp->backoff, BACKOFF_MAX), TCP_RTO_MAX);
}

/* Not later than the user's timeout ends. since 0: it has not begun. */
static int64_t clamp_user(const struct tcp_sock *tp, int64_t deadline, int64_t since)
{
	int64_t limit = since + tp->user_timeout * NSEC_PER_MSEC;

	return tp->user_timeout && since ? MIN(deadline, limit) : deadline;
}

void tcp_arm_rto(struct tcp_sock *tp)
{
	int64_t now = tcp_now(tp), from = now;
	struct tcp_tx *head = tcp_tx_head(tp);

	if (head && (tp->timer_kind == TCP_TIMER_TLP || tp->timer_kind == TCP_TIMER_REORDER))
		from = head->sent_at;
	tcp_arm_kind(tp, TCP_TIMER_RTO,
		     clamp_user(tp, MAX(from + backed_off(tp), now + NSEC_PER_MSEC), tp->first_retrans_at));
}

static void arm_probe(struct tcp_sock *tp) REQUIRES(L_NET)
{
	int64_t now = tcp_now(tp);

	if (!tp->probe_since)
		tp->probe_since = now;
	tcp_arm_kind(tp, TCP_TIMER_PROBE, clamp_user(tp, now + MAX(backed_off(tp), TCP_RTO_MIN), tp->probe_since));
}

/* Nothing is under way. */
static void arm_idle(struct tcp_sock *tp) REQUIRES(L_NET)
{
	if (tp->snd_nxt == tcp_send_end(tp))
		disarm(tp);
	else if (tp->timer_kind != TCP_TIMER_PROBE)
		arm_probe(tp);
}

void tcp_arm(struct tcp_sock *tp)
{
	if (list_empty(&tp->flight)) {
		arm_idle(tp);
		return;
	}
	tp->probe_since = 0;
	if (tp->timer_kind == TCP_TIMER_REORDER || tcp_tlp_arm(tp))
		return;
	if (tp->timer_kind != TCP_TIMER_RTO)
		tcp_arm_rto(tp);
}

void tcp_rearm(struct tcp_sock *tp)
{
	if (list_empty(&tp->flight))
		arm_idle(tp);
	else if (tp->timer_kind != TCP_TIMER_REORDER && !tcp_tlp_arm(tp))
		tcp_arm_rto(tp);
}

/* ---- giving up ---- */

/* The time that `count` retransmissions take if the first comes after 200 ms. */
static int64_t model_timeout(int count)
{
	const int doublings = 9; /* until TCP_RTO_MAX */

	if (count <= doublings)
		return ((2ll << count) - 1) * TCP_RTO_MIN;
	return ((2ll << doublings) - 1) * TCP_RTO_MIN + (count - doublings) * TCP_RTO_MAX;
}

static bool syn_state(const struct tcp_sock *tp)
{
	return tp->ep.state == TCP_SYN_SENT || tp->ep.state == TCP_SYN_RECV;
}

static int orphan_retries(const struct tcp_sock *tp) REQUIRES(L_NET)
{
	int n = tcp_conf(tp->ep.stack)->orphan_retries;

	return n ? n : 8;
}

static bool retransmits_expired(const struct tcp_sock *tp) REQUIRES(L_NET)
{
	const struct tcp_conf *c = tcp_conf(tp->ep.stack);
	int64_t gone = tcp_now(tp) - tp->first_retrans_at;

	if (!tp->retransmits || !tp->first_retrans_at)
		return false;
	if (tp->user_timeout)
		return gone >= tp->user_timeout * NSEC_PER_MSEC;
	if (syn_state(tp))
		return tp->retransmits >= (tp->syn_retries ? tp->syn_retries : c->syn_retries);
	return gone >= model_timeout(tp->orphan ? orphan_retries(tp) : c->retries2);
}

static void give_up(struct tcp_sock *tp) REQUIRES(L_NET)
{
	mib_add(tp->ep.stack, MIB_TCPX_ABORT_ON_TIMEOUT, 1);
	tcp_done(tp, tp->err_soft ? tp->err_soft : ETIMEDOUT);
}

/* ---- what fires ---- */

static void rto_timeout(struct tcp_sock *tp) REQUIRES(L_NET)
{
	struct tcp_tx *head = tcp_tx_head(tp);

	if (!head) {
		tcp_arm(tp);
		return;
	}
	if (retransmits_expired(tp)) {
		give_up(tp);
		return;
	}
	if (tp->orphan && tcp_orphan_too_dear(tp)) {
		tcp_abort(tp, 0);
		return;
	}
	mib_add(tp->ep.stack, syn_state(tp) ? MIB_TCPX_SYN_RETRANS : MIB_TCPX_TIMEOUTS, 1);
	if (!tp->first_retrans_at)
		tp->first_retrans_at = syn_state(tp) ? head->sent_at : tcp_now(tp);
	tcp_enter_loss(tp);
	if (tcp_retransmit_head(tp) == -ENOMEM) {
		tcp_arm_kind(tp, TCP_TIMER_RTO, tcp_now(tp) + MIN(tp->rtt.rto, RETRY_SOON));
		return;
	}
	tp->backoff += tp->backoff < BACKOFF_MAX;
	tp->retransmits += tp->retransmits < UINT8_MAX;
	if (tp->retransmits > tcp_conf(tp->ep.stack)->retries1)
		tcp_route_renew(tp); /* perhaps there is a better one */
	tp->timer_kind = TCP_TIMER_RTO;
	tcp_arm_rto(tp);
}

static bool probes_expired(const struct tcp_sock *tp) REQUIRES(L_NET)
{
	int most = tp->orphan ? orphan_retries(tp) : tcp_conf(tp->ep.stack)->retries2;

	if (tp->user_timeout && tcp_now(tp) - tp->probe_since >= tp->user_timeout * NSEC_PER_MSEC)
		return true;
	return tp->probes_out >= most;
}

static void probe_timeout(struct tcp_sock *tp) REQUIRES(L_NET)
{
	if (!list_empty(&tp->flight) || tp->snd_nxt == tcp_send_end(tp)) {
		tcp_arm(tp);
		return;
	}
	if (probes_expired(tp)) {
		give_up(tp);
		return;
	}
	if (tp->orphan && tcp_orphan_too_dear(tp)) {
		tcp_abort(tp, 0);
		return;
	}
	if (tcp_send_probe(tp) == -ENOMEM) {
		tcp_arm_kind(tp, TCP_TIMER_PROBE, tcp_now(tp) + RETRY_SOON);
		return;
	}
	if (!list_empty(&tp->flight)) {
		tp->backoff = tp->probes_out = 0;
		tcp_arm(tp);
		return;
	}
	tp->probes_out++;
	tp->backoff += tp->backoff < BACKOFF_MAX;
	arm_probe(tp);
}

static void timer_fire(struct stack *s, struct net_timer *t) NO_TSA;
static void timer_fire(struct stack *s, struct net_timer *t)
{
	struct tcp_sock *tp = container_of(t, struct tcp_sock, timer);
	enum tcp_timer_kind kind = tp->timer_kind;

	tp->timer_kind = TCP_TIMER_NONE;
	if (kind == TCP_TIMER_RTO)
		rto_timeout(tp);
	else if (kind == TCP_TIMER_TLP)
		tcp_tlp_timeout(tp);
	else if (kind == TCP_TIMER_REORDER)
		tcp_rack_timeout(tp);
	else if (kind == TCP_TIMER_PROBE)
		probe_timeout(tp);
	tcp_memory_sync(tp);
	tcp_reap(tcp_stack(s));
}

/* ---- delayed acknowledgments ---- */

void tcp_arm_ack(struct tcp_sock *tp)
{
	int64_t most = tp->pingpong ? TCP_DELACK_MAX : NSEC_PER_SEC / 2, wait = tp->ato ? tp->ato : TCP_ATO_MIN;
	int64_t deadline;

	if (tp->rtt.srtt)
		most = MIN(most, MAX(tp->rtt.srtt, TCP_ATO_MIN));
	deadline = tcp_now(tp) + MIN(wait, most);
	tp->ack_due = true;
	if (!net_timer_armed(&tp->ack_timer) || deadline < tp->ack_timer.deadline)
		net_timer_arm(tp->ep.stack, &tp->ack_timer, deadline);
}

void tcp_ack_sent(struct tcp_sock *tp)
{
	tp->ack_due = tp->ack_now = false;
	if (tp->quick)
		tp->quick--;
	if (net_timer_armed(&tp->ack_timer))
		net_timer_cancel(tp->ep.stack, &tp->ack_timer);
}

static void ack_fire(struct stack *s __unused, struct net_timer *t) NO_TSA;
static void ack_fire(struct stack *s __unused, struct net_timer *t)
{
	struct tcp_sock *tp = container_of(t, struct tcp_sock, ack_timer);

	if (!tp->ack_due)
		return;
	if (tp->pingpong) {
		/* The answer did not come in time: the application is no ping-pong. */
		tp->pingpong = false;
		tp->ato = TCP_ATO_MIN;
	} else {
		tp->ato = MIN(tp->ato * 2, tp->rtt.rto);
	}
	mib_add(tp->ep.stack, MIB_TCPX_DELAYED_ACKS, 1);
	tcp_send_ack(tp);
}

/* ---- keep-alive, FIN_WAIT_2 ---- */

int64_t tcp_keep_idle(const struct tcp_sock *tp)
{
	return (tp->keep_idle ? tp->keep_idle : tcp_conf(tp->ep.stack)->keepalive_time) * NSEC_PER_SEC;
}

int64_t tcp_fin_time(const struct tcp_sock *tp)
{
	int64_t time = (tp->linger2 ? tp->linger2 : tcp_conf(tp->ep.stack)->fin_timeout) * NSEC_PER_SEC;

	return MAX(time, 4 * tp->rtt.rto - tp->rtt.rto / 2);
}

void tcp_arm_keepalive(struct tcp_sock *tp, int64_t after)
{
	net_timer_arm(tp->ep.stack, &tp->keep_timer, tcp_now(tp) + after);
}

static bool keepalive_expired(const struct tcp_sock *tp, int64_t idle) REQUIRES(L_NET)
{
	int count = tp->keep_count ? tp->keep_count : tcp_conf(tp->ep.stack)->keepalive_probes;

	if (tp->user_timeout)
		return tp->keep_probes && idle >= tp->user_timeout * NSEC_PER_MSEC;
	return tp->keep_probes >= count;
}

static void keepalive(struct tcp_sock *tp) REQUIRES(L_NET)
{
	int interval = tp->keep_interval ? tp->keep_interval : tcp_conf(tp->ep.stack)->keepalive_interval;
	int64_t idle = tcp_now(tp) - MAX(tp->last_data_at, tp->last_ack_at), after = tcp_keep_idle(tp);

	if (!list_empty(&tp->flight) || tp->snd_nxt != tcp_send_end(tp)) {
		tcp_arm_keepalive(tp, after);
	} else if (idle < after) {
		tcp_arm_keepalive(tp, after - idle);
	} else if (keepalive_expired(tp, idle)) {
		tcp_send_reset(tp);
		give_up(tp);
	} else {
		bool sent = tcp_send_probe(tp) != -ENOMEM;

		tp->keep_probes += sent;
		tcp_arm_keepalive(tp, sent ? interval * NSEC_PER_SEC : RETRY_SOON);
	}
}

static void keep_fire(struct stack *s, struct net_timer *t) NO_TSA;
static void keep_fire(struct stack *s, struct net_timer *t)
{
	struct tcp_sock *tp = container_of(t, struct tcp_sock, keep_timer);

	if (tp->ep.state == TCP_FIN_WAIT2 && tp->orphan) {
		int64_t left = tcp_fin_time(tp) - TCP_TIMEWAIT_TIME;

		if (tp->linger2 >= 0 && left > 0)
			tcp_time_wait(tp, true, left);
		else
			tcp_abort(tp, 0);
	} else if (tp->keepalive && tcp_connected_state(tp->ep.state)) {
		keepalive(tp);
	}
	tcp_reap(tcp_stack(s));
}

/* ---- pacing ---- */

static void pace_fire(struct stack *s, struct net_timer *t) NO_TSA;
static void pace_fire(struct stack *s, struct net_timer *t)
{
	struct tcp_sock *tp = container_of(t, struct tcp_sock, pace_timer);

	tcp_push(tp, 0);
	tcp_memory_sync(tp);
	tcp_reap(tcp_stack(s));
}

void tcp_timers_init(struct tcp_sock *tp)
{
	net_timer_init(&tp->timer, timer_fire);
	net_timer_init(&tp->ack_timer, ack_fire);
	net_timer_init(&tp->keep_timer, keep_fire);
	net_timer_init(&tp->pace_timer, pace_fire);
}

void tcp_timers_off(struct tcp_sock *tp)
{
	disarm(tp);
	net_timer_cancel(tp->ep.stack, &tp->ack_timer);
	net_timer_cancel(tp->ep.stack, &tp->keep_timer);
	net_timer_cancel(tp->ep.stack, &tp->pace_timer);
}

int tcp_timer_kind(const struct tcp_ep *ep, int64_t *ret_deadline)
{
	const struct tcp_sock *tp = (const struct tcp_sock *)ep;

	if (ep->kind == TCP_IS_TIMEWAIT) {
		*ret_deadline = ((const struct tcp_timewait *)ep)->timer.deadline;
		return 3;
	}
	if (ep->kind == TCP_IS_REQUEST) {
		*ret_deadline = ((const struct tcp_request *)ep)->timer.deadline;
		return 1;
	}
	*ret_deadline = tp->timer.deadline;
	if (tp->timer_kind != TCP_TIMER_NONE)
		return tp->timer_kind == TCP_TIMER_PROBE ? 4 : 1;
	*ret_deadline = tp->keep_timer.deadline;
	return net_timer_armed(&tp->keep_timer) ? 2 : 0;
}
