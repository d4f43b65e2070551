/*
 * TCP endpoints: making, connecting, closing. RFC 9293 3.10.1 and 3.10.4 to 3.10.6, with tcp(7)'s and Linux's errors.
 *
 * Where it is: tcp_input.c (segments), tcp_ack.c (acknowledgments), tcp_data.c (received bytes), tcp_output.c
 * (sending), tcp_timer.c, tcp_sack.c, tcp_rack.c, tcp_recovery.c (losses), tcp_cong.c and the algorithms, tcp_window.c
 * (offers, buffers), tcp_path.c (routes, MTU), tcp_listen.c, tcp_cookie.c, tcp_timewait.c, tcp_user.c (send, receive,
 * poll), tcp_option.c, tcp_table.c (who is who), tcp_packet.c.
 *
 * An endpoint is a state machine under the stack's lock: it acts when a segment, a call or a timer comes, and never
 * waits. It has an owner (the socket), or is in a listener's accept queue, or is an orphan, which is freed when it
 * reaches CLOSE. The owner's endpoint stays after its connection has ended, so that what it received can be read and
 * its error be asked for. Memory is freed by tcp_reap(), at the end of what was called.
 */
#include "net/stack/tcp_priv.h"

#include <poll.h>

#include "sentry/base/slab.h"

#define POLL_ALL (POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLWRBAND | POLLRDHUP | POLLHUP)

static struct slab tcp_slab = SLAB_INIT(struct tcp_sock);

/* ---- life ---- */

/* What accept() inherits from a listener. */
static void inherit(struct tcp_sock *tp, const struct tcp_sock *l)
{
	tp->tos = l->tos;
	tp->ttl = l->ttl;
	tp->mark = l->mark;
	tp->oobinline = l->oobinline;
	tp->recverr = l->recverr;
	tp->rcvlowat = l->rcvlowat;
	tp->notsent_lowat = l->notsent_lowat;
	tp->nodelay = l->nodelay;
	tp->cork = l->cork;
	tp->keepalive = l->keepalive;
	tp->rcvbuf_locked = l->rcvbuf_locked;
	tp->sndbuf_locked = l->sndbuf_locked;
	tp->user_mss = l->user_mss;
	tp->keep_idle = l->keep_idle;
	tp->keep_interval = l->keep_interval;
	tp->keep_count = l->keep_count;
	tp->linger2 = l->linger2;
	tp->user_timeout = l->user_timeout;
	tp->window_clamp = l->window_clamp;
	tp->pacing_rate = l->pacing_rate;
	tp->sndbuf = l->sndbuf;
	tp->rcvbuf = l->rcvbuf;
	tp->cong = l->cong;
	tp->ep.bind.bound_dev = l->ep.bind.bound_dev;
	tp->ep.bind.uid = l->ep.bind.uid;
	tp->ep.bind.reuse_addr = l->ep.bind.reuse_addr;
	tp->ep.bind.reuse_port = l->ep.bind.reuse_port;
	tp->ep.bind.v6only = l->ep.bind.v6only;
}

/* What a connection leaves behind is reset; options stay. */
static void reset_state(struct tcp_sock *tp) REQUIRES(L_NET)
{
	tp->rtt = (struct tcp_rtt){.rto = TCP_RTO_INIT};
	tp->rack = (struct tcp_rack){0};
	tp->mss = tp->mss_clamp = TCP_MSS_DEFAULT;
	tp->rcv_mss = TCP_MSS_DEFAULT;
	tp->syn_data = tp->syn_data_acked = false;
	tp->ts_ok = tp->sack_ok = tp->wscale_ok = tp->ecn_ok = tp->ecn_echo = tp->ecn_cwr = false;
	tp->snd_wscale = tp->rcv_wscale = 0;
	tp->snd_una = tp->snd_nxt = tp->write_seq = tp->snd_sml = tp->snd_up = 0;
	tp->rcv_nxt = tp->copied_seq = tp->rcv_wup = tp->rcv_wnd = 0;
	tp->snd_wnd = tp->max_window = 0;
	tp->urgent_out = tp->fin_queued = tp->fin_sent = tp->more = false;
	tp->urgent_in = tp->urg_here = tp->done = false;
	tp->sack_count = 0;
	tp->dsack_pending = tp->ack_due = tp->ack_now = tp->pingpong = false;
	tp->quick = 0;
	tp->ato = tp->last_sent_at = tp->pace_at = 0;
	tp->route = (struct ip_route){0};
	tp->total_retrans = 0;
	tp->probes_out = tp->keep_probes = 0;
	tcp_clear_recovery(tp);
}

struct tcp_sock *tcp_sock_create(struct stack *s, const struct tcp_sock *like)
{
	struct tcp_sock *tp = slab_alloc(&tcp_slab);
	const struct tcp_conf *c = tcp_conf(s);

	if (!tp)
		return NULL;
	list_init(&tp->ep.hash);
	port_bind_init(&tp->ep.bind, PORT_TCP);
	tp->ep.stack = s;
	tp->ep.kind = TCP_IS_SOCK;
	tp->ep.state = TCP_CLOSE;
	list_init(&tp->accept);
	list_init(&tp->dead);
	list_init(&tp->sendq);
	list_init(&tp->flight);
	list_init(&tp->by_time);
	list_init(&tp->recvq);
	list_init(&tp->early);
	list_init(&tp->requests);
	tcp_timers_init(tp);
	tp->rcvlowat = 1;
	tp->pacing_rate = UINT64_MAX;
	tp->sndbuf = c->wmem[1];
	tp->rcvbuf = c->rmem[1];
	tp->cong = tcp_cong_find(c->congestion);
	if (!tp->cong)
		tp->cong = &tcp_cubic;
	reset_state(tp);
	if (like)
		inherit(tp, like);
	return tp;
}

struct tcp_sock *tcp_create(struct stack *s, bool v6)
{
	struct tcp_sock *tp = tcp_sock_create(s, NULL);

	if (tp && !v6)
		tp->ep.key.laddr = tp->ep.key.raddr = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
	if (tp)
		tp->ep.bind.addr = tp->ep.key.laddr;
	return tp;
}

static void drop_flight(struct tcp_sock *tp) REQUIRES(L_NET)
{
	struct tcp_tx *tx;

	while ((tx = tcp_tx_head(tp)))
		tcp_tx_free(tp, tx);
	tcp_chunks_free(&tp->sendq);
	tp->send_head = NULL;
	tp->wmem = 0;
	tp->sacked = 0;
	tp->sack_hint = NULL;
}

static void drop_received(struct tcp_sock *tp) REQUIRES(L_NET)
{
	tcp_early_free_all(tp);
	tcp_chunks_free(&tp->recvq);
	tp->rmem = 0;
	tcp_memory_sync(tp);
}

void tcp_sock_free(struct tcp_sock *tp)
{
	BUG_ON(!list_empty(&tp->ep.hash) || !list_empty(&tp->requests));
	drop_flight(tp);
	drop_received(tp);
	tcp_memory_sync(tp);
	buf_put(tp->recv_buf);
	port_unbind(tp->ep.stack, &tp->ep.bind);
	if (tp->orphan)
		tcp_stack(tp->ep.stack)->orphans--;
	slab_free(&tcp_slab, tp);
}

void tcp_wake(struct tcp_sock *tp, uint32_t events)
{
	if (events & POLLOUT)
		tp->nospace = false;
	if (tp->wakeup)
		stack_wake(tp->ep.stack, tp->wakeup, events);
}

static bool counted(uint8_t state)
{
	return state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT;
}

void tcp_set_state(struct tcp_sock *tp, uint8_t state)
{
	struct stack *s = tp->ep.stack;

	if (counted(state) != counted(tp->ep.state))
		mib_add(s, MIB_TCP_CURR_ESTAB, counted(state) ? 1 : UINT64_MAX);
	if (state == TCP_CLOSE && counted(tp->ep.state))
		mib_add(s, MIB_TCP_ESTAB_RESETS, 1);
	tp->ep.state = state;
}

void tcp_done(struct tcp_sock *tp, int err)
{
	if (tp->dying)
		return;
	if (tp->ep.state == TCP_SYN_SENT || tp->ep.state == TCP_SYN_RECV)
		mib_add(tp->ep.stack, MIB_TCP_ATTEMPT_FAILS, 1);
	tcp_timers_off(tp);
	tcp_fastopen_done(tp);
	drop_flight(tp);
	tcp_early_free_all(tp);
	tcp_memory_sync(tp);
	tcp_unhash(&tp->ep);
	if (!tp->port_locked || tp->orphan)
		port_unbind(tp->ep.stack, &tp->ep.bind);
	tcp_set_state(tp, TCP_CLOSE);
	tp->shutdown = TCP_SHUT_BOTH;
	if (err)
		tp->err = err;
	tcp_wake(tp, POLL_ALL | (err ? POLLERR : 0));
	if (tp->orphan) {
		tp->dying = true;
		list_append(&tcp_stack(tp->ep.stack)->dead, &tp->dead);
	}
}

static bool needs_reset(uint8_t state)
{
	return state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT || state == TCP_FIN_WAIT1 ||
	       state == TCP_FIN_WAIT2 || state == TCP_SYN_RECV;
}

void tcp_abort(struct tcp_sock *tp, int err)
{
	if (needs_reset(tp->ep.state))
		tcp_send_reset(tp);
	tcp_done(tp, err);
}

/* ---- bind and connect ---- */

int tcp_bind(struct tcp_sock *tp, const struct in6_addr *addr, uint16_t port)
{
	int err;

	if (tp->ep.state != TCP_CLOSE || tp->ep.bind.port)
		return -EINVAL;
	tp->ep.bind.addr = *addr;
	err = port_bind(tp->ep.stack, &tp->ep.bind, port);
	if (err)
		return err;
	tp->ep.key.laddr = *addr;
	tp->ep.key.lport = tp->ep.bind.port;
	tp->port_locked = port != 0;
	tp->addr_locked = !tcp_any_address(addr);
	return 0;
}

/* The answer of a connect() that is not the first. 1: it is the first. */
static int connect_again(struct tcp_sock *tp)
{
	uint8_t state = tp->ep.state;
	int err = tp->err;

	if (tp->connecting) {
		if (state == TCP_SYN_SENT || state == TCP_SYN_RECV)
			return -EALREADY;
		tp->connecting = false;
		tp->err = 0;
		if (state == TCP_CLOSE)
			return err ? -err : -ECONNABORTED;
		tp->connected = true;
		return 0;
	}
	return state != TCP_CLOSE || tp->connected ? -EISCONN : 1;
}

/* Fills in tp->ep.key and the route. */
static int choose_pair(struct tcp_sock *tp, const struct in6_addr *addr, uint16_t port) REQUIRES(L_NET)
{
	struct tcp_key *key = &tp->ep.key;
	struct ip_out o;
	int err;

	key->raddr = *addr;
	key->rport = port;
	if (IN6_IS_ADDR_UNSPECIFIED(addr))
		key->raddr = in6addr_loopback;
	else if (tcp_any_address(addr))
		key->raddr.s6_addr32[3] = htonl(INADDR_LOOPBACK);
	tcp_ip_out(tp, &o);
	if (tcp_any_address(&key->laddr))
		o.src = in6addr_any;
	err = ip_route(tp->ep.stack, &o, &tp->route);
	if (err)
		return err;
	if (tcp_any_address(&key->laddr))
		key->laddr = tp->route.src;
	err = tcp_port_connect(tp);
	if (!err && ip_route_by_ports(tp->ep.stack, &key->raddr)) {
		tcp_ip_out(tp, &o);
		(void)!ip_route(tp->ep.stack, &o, &tp->route);
	}
	return err;
}

/* Everything that a SYN says. */
static void prepare(struct tcp_sock *tp) REQUIRES(L_NET)
{
	struct tcp_stack *n = tcp_stack(tp->ep.stack);
	struct tcp_key *key = &tp->ep.key;

	if (!tp->iss)
		tp->iss = tcp_initial_seq(n, key);
	tp->snd_una = tp->snd_nxt = tp->snd_sml = tp->iss;
	tp->write_seq = tp->iss + 1;
	tp->ts_offset = tcp_ts_offset(n, key);
	tp->advmss = tcp_advertised_mss(&key->raddr, &tp->route);
	if (tp->user_mss)
		tp->advmss = MIN(tp->advmss, tp->user_mss);
	tp->mss_clamp = PKT_MAX;
	tcp_sync_mss(tp);
	tcp_initial_window(&n->conf, tp->rcvbuf, tp->window_clamp, tp->advmss, n->conf.window_scaling, &tp->rcv_wnd,
			   &tp->rcv_wscale);
	tp->ecn_ok = n->conf.ecn == 1;
	tcp_cong_init(tp);
}

/* The attempt has not come so far that anybody knows of it. */
static void unprepare(struct tcp_sock *tp) REQUIRES(L_NET)
{
	tcp_done(tp, 0);
	tp->shutdown = 0;
	if (!tp->addr_locked)
		tp->ep.key.laddr = tp->ep.bind.addr = tcp_is_mapped(&tp->ep.key.raddr)
							  ? (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}}
							  : in6addr_any;
	tp->ep.key.lport = tp->ep.bind.port;
}

/* The first bytes of s go with the SYN. */
static int queue_first(struct tcp_sock *tp, const struct slice *s, uint32_t *ret) REQUIRES(L_NET)
{
	struct slice part = *s;

	part.len = MIN(s->len, tcp_fastopen_room(tp));
	if (part.len == 0)
		return 0;
	if (!tcp_chunk_append(&tp->sendq, tp->write_seq, &part))
		return -ENOMEM;
	list_first(&tp->sendq, struct tcp_chunk, link)->cost = TCP_CHUNK_COST + s->buf->size;
	tp->wmem += TCP_CHUNK_COST + s->buf->size;
	tp->write_seq += part.len;
	*ret = part.len;
	tp->syn_data = true;
	return 0;
}

static int begin(struct tcp_sock *tp, const struct slice *s, uint32_t *ret_sent) REQUIRES(L_NET)
{
	int err;

	prepare(tp);
	tcp_set_state(tp, TCP_SYN_SENT);
	tcp_hash(&tp->ep);
	err = s ? queue_first(tp, s, ret_sent) : 0;
	return err ? err : tcp_send_syn(tp);
}

static int connect_with(struct tcp_sock *tp, const struct in6_addr *addr, uint16_t port, const struct slice *s,
			uint32_t *ret_sent) REQUIRES(L_NET)
{
	int err = connect_again(tp);

	if (err != 1)
		return err;
	drop_received(tp); /* what an earlier connection left */
	reset_state(tp);
	tp->shutdown = 0;
	tp->err = tp->err_soft = 0;
	err = choose_pair(tp, addr, port);
	if (err) {
		unprepare(tp);
		return err;
	}
	err = begin(tp, s, ret_sent);
	if (err) {
		unprepare(tp);
		return err;
	}
	tp->connecting = true;
	tcp_arm_rto(tp);
	mib_add(tp->ep.stack, MIB_TCP_ACTIVE_OPENS, 1);
	return -EINPROGRESS;
}

int tcp_connect(struct tcp_sock *tp, const struct in6_addr *addr, uint16_t port)
{
	return connect_with(tp, addr, port, NULL, NULL);
}

int tcp_connect_data(struct tcp_sock *tp, const struct in6_addr *addr, uint16_t port, const struct slice *s,
		     uint32_t *ret_sent)
{
	int err;

	*ret_sent = 0;
	err = connect_with(tp, addr, port, s, ret_sent);
	buf_put(s->buf);
	tcp_memory_sync(tp);
	return err;
}

int tcp_disconnect(struct tcp_sock *tp)
{
	struct in6_addr raddr = tp->ep.key.raddr;

	if (tp->ep.state == TCP_LISTEN)
		tcp_listen_stop(tp);
	tcp_abort(tp, tp->ep.state == TCP_SYN_SENT ? ECONNRESET : 0);
	drop_received(tp);
	reset_state(tp);
	tp->shutdown = 0;
	tp->connecting = tp->connected = false;
	tp->ep.key.rport = 0;
	tp->ep.key.raddr = tcp_is_mapped(&raddr) ? (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}}
						 : in6addr_any;
	if (!tp->addr_locked)
		tp->ep.key.laddr = tp->ep.key.raddr;
	tp->ep.key.lport = tp->ep.bind.port;
	tcp_reap(tcp_stack(tp->ep.stack));
	return 0;
}

/* ---- the end ---- */

/* The user sends no more. True: a FIN is due. */
static bool close_state(struct tcp_sock *tp) REQUIRES(L_NET)
{
	if (tp->ep.state == TCP_ESTABLISHED || tp->ep.state == TCP_SYN_RECV)
		tcp_set_state(tp, TCP_FIN_WAIT1);
	else if (tp->ep.state == TCP_CLOSE_WAIT)
		tcp_set_state(tp, TCP_LAST_ACK);
	else
		return false;
	return true;
}

int tcp_shutdown(struct tcp_sock *tp, int how)
{
	uint8_t state = tp->ep.state;
	int err = 0;

	if (state == TCP_LISTEN || state == TCP_SYN_SENT) {
		if (state == TCP_LISTEN && !(how & TCP_SHUT_RCV))
			return 0;
		err = tcp_disconnect(tp);
	} else {
		err = state == TCP_CLOSE ? -ENOTCONN : 0;
		tp->shutdown |= (uint8_t)how;
		if (how & TCP_SHUT_SEND && close_state(tp))
			tcp_send_fin(tp);
	}
	tcp_wake(tp, POLL_ALL);
	tcp_reap(tcp_stack(tp->ep.stack));
	return err;
}

void tcp_close(struct tcp_sock *tp, bool abort)
{
	bool unread = !list_empty(&tp->recvq);

	tp->shutdown = TCP_SHUT_BOTH;
	if (tp->ep.state == TCP_LISTEN) {
		tcp_listen_stop(tp);
		tcp_done(tp, 0);
		return;
	}
	drop_received(tp);
	if (tp->ep.state == TCP_SYN_SENT)
		tcp_done(tp, 0);
	else if (tp->ep.state != TCP_CLOSE && (unread || abort))
		tcp_abort(tp, 0);
	else if (close_state(tp))
		tcp_send_fin(tp);
}

bool tcp_lingers(const struct tcp_sock *tp)
{
	return tp->ep.state == TCP_FIN_WAIT1 || tp->ep.state == TCP_CLOSING || tp->ep.state == TCP_LAST_ACK;
}

static void release_fin_wait2(struct tcp_sock *tp) REQUIRES(L_NET)
{
	int64_t time = tcp_fin_time(tp);

	if (tp->linger2 < 0)
		tcp_abort(tp, 0);
	else if (time > TCP_TIMEWAIT_TIME)
		tcp_arm_keepalive(tp, time - TCP_TIMEWAIT_TIME);
	else
		tcp_time_wait(tp, true, time);
}

void tcp_release(struct tcp_sock *tp)
{
	struct tcp_stack *n = tcp_stack(tp->ep.stack);

	if (tp->ep.state != TCP_CLOSE && tp->shutdown != TCP_SHUT_BOTH)
		tcp_close(tp, false);
	tp->shutdown = TCP_SHUT_BOTH;
	tp->wakeup = NULL;
	tp->owner = NULL;
	tp->orphan = true;
	n->orphans++;
	if (tp->ep.state == TCP_CLOSE)
		tcp_done(tp, 0);
	else if (tcp_orphan_too_dear(tp))
		tcp_abort(tp, 0);
	else if (tp->ep.state == TCP_FIN_WAIT2)
		release_fin_wait2(tp);
	tcp_reap(n);
}
