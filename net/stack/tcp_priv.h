/* What the files of TCP share. Everything here is called with the stack's lock held. */
#pragma once

#include "net/stack/core.h"
#include "net/stack/netmem.h"
#include "net/stack/tcp_opt.h"
#include "net/stack/tcp_seq.h"
#include "sentry/base/clock.h"

#undef TCP_MSS_DEFAULT
#define TCP_MSS_DEFAULT 536u
#define TCP_MSS_MIN 48u
#define TCP_WINDOW_MAX 65535u /* without scaling */
#define TCP_INIT_CWND 10
#define TCP_DUP_THRESH 3
#define TCP_RTO_MIN (200 * NSEC_PER_MSEC)
#define TCP_RTO_MAX (120 * NSEC_PER_SEC)
#define TCP_RTO_INIT (1 * NSEC_PER_SEC)
#define TCP_ATO_MIN (40 * NSEC_PER_MSEC)
#define TCP_DELACK_MAX (200 * NSEC_PER_MSEC)
#define TCP_QUICK_MAX 16
#define TCP_TIMEWAIT_TIME (60 * NSEC_PER_SEC)
#define TCP_PAWS_DAYS (24 * 24 * 3600 * NSEC_PER_SEC) /* RFC 7323 5.5 */
#define TCP_ECE 0x40
#define TCP_CWR 0x80
#define TCP_CWND_MAX (1u << 30)
#define TCP_CHUNK_COST ((uint32_t)sizeof(struct tcp_chunk))
#define TCP_TX_MAX 4096u /* records that a flight is cut into */

/* A part of the send queue that has been transmitted. */
struct tcp_tx {
	struct list link;        /* tp->flight */
	struct list time;        /* tp->by_time */
	uint32_t seq, end;       /* SYN and FIN have a number each */
	struct tcp_chunk *chunk; /* holds seq; NULL: no data */
	int64_t sent_at;
	uint16_t mss;  /* of the segments that it went out as */
	uint8_t flags; /* TH_SYN, TH_FIN */
	bool sacked, lost, retrans, ever_retrans;
};

/* A received segment. */
struct tcp_in {
	struct pkt *pkt; /* its data; NULL once taken */
	const struct ip_in *ip;
	struct tcp_key key;     /* as the receiver sees it */
	uint32_t seq, ack, end; /* end: behind data, SYN and FIN */
	uint32_t len;           /* of data */
	uint32_t window;        /* not scaled */
	uint16_t urg, mss;      /* mss: size of the segments that it was made of */
	uint8_t flags;
	struct tcp_options opt;
};

/* What an acknowledgment has told. */
struct tcp_acked {
	uint32_t prior_una, prior_delivered;
	uint32_t bytes;                  /* newly acknowledged, cumulatively */
	uint32_t sacked;                 /* newly, selectively */
	uint32_t lost;                   /* newly found so */
	int64_t rtt, last_rtt, sack_rtt; /* of the first and last acknowledged, of the first sacked; ns; < 0: none */
	bool advanced, dup, dsack, ece, window; /* window: it changed */
	bool frto_new;                          /* F-RTO: new data may tell whether anything was lost */
	bool retrans_acked, orig_sacked;        /* something that was sent twice; once */
};

/* A connection request that has been answered with SYN+ACK. */
struct tcp_request {
	struct tcp_ep ep; /* first */
	struct list link; /* of listener->requests */
	struct tcp_sock *listener;
	struct net_timer timer;
	struct ip_route route;
	int64_t sent_at, oow_at;
	uint32_t iss, irs, ts_recent, ts_offset, window;
	uint16_t mss, advmss; /* the peer's, ours */
	uint8_t snd_wscale, rcv_wscale, retries;
	bool wscale_ok, ts_ok, sack_ok, ecn_ok;
	struct tcp_cookie cookie; /* for the SYN+ACK */
	bool acked;               /* the handshake is complete, but the queue was full or data is awaited */
	/* Of a gateway: */
	void *owner;     /* who decides, and gets the endpoint; NULL: an ordinary one */
	struct pkt *syn; /* until it is answered */
};

struct tcp_timewait {
	struct tcp_ep ep; /* first */
	struct net_timer timer;
	int64_t ts_recent_at, expires;
	uint32_t snd_nxt, rcv_nxt, rcv_wnd, ts_recent, ts_offset, mark;
	uint8_t rcv_wscale, tos;
	bool ts_ok, fin_wait2;
	int64_t oow_at; /* tcp_answer_allowed() */
};

#define TCP_COOKIES 64

struct tcp_cookie_entry {
	struct in6_addr peer;
	struct tcp_cookie cookie;
};

struct tcp_stack {
	struct stack *stack;
	uint64_t key[2], secret[2]; /* of the table; of sequence numbers and cookies */
	struct list *conns;
	uint32_t conn_buckets, conn_count;
	struct list listeners; /* struct tcp_ep, by hash */
	struct list dead;
	int tw_count, orphans;
	uint64_t fastopen_key[2];
	uint32_t fastopen_pending; /* fastopen_child */
	struct tcp_cookie_entry cookies[TCP_COOKIES];
	struct tcp_conf conf;
	int64_t challenge_second;
	uint32_t challenge_left;
	struct tcp_sock *anybody; /* of a gateway: stands for the listener of its requests, at no port */
	int64_t overflow_at;      /* a SYN queue was full: cookies may come back until two minutes later */
};

struct tcp_cong_ops {
	const char *name;
	void (*init)(struct tcp_sock *tp);
	/* After a loss: what the flight may be. */
	uint32_t (*ssthresh)(struct tcp_sock *tp);
	/* bytes were delivered while the window was in use. */
	void (*avoid)(struct tcp_sock *tp, uint32_t bytes, int64_t now);
	/* Optional: a sample of the round-trip time, ns. */
	void (*sample)(struct tcp_sock *tp, int64_t rtt, int64_t now);
	/* Optional: an RTO; a start after idleness. */
	void (*timeout)(struct tcp_sock *tp);
	void (*restart)(struct tcp_sock *tp, int64_t now);
};

static inline struct tcp_sock *tcp_sock_of(struct tcp_ep *ep)
{
	return (struct tcp_sock *)ep;
}

static inline int64_t tcp_now(const struct tcp_sock *tp) REQUIRES(L_NET);
static inline int64_t tcp_now(const struct tcp_sock *tp)
{
	return stack_now(tp->ep.stack);
}

/* The clock of the timestamps option: 1 ms. */
static inline uint32_t tcp_ts(int64_t now, uint32_t offset)
{
	return (uint32_t)(now / NSEC_PER_MSEC) + offset;
}

static inline uint32_t tcp_flight_size(const struct tcp_sock *tp)
{
	return tp->snd_nxt - tp->snd_una;
}

/* RFC 6675's pipe, in bytes. */
static inline uint32_t tcp_in_flight(const struct tcp_sock *tp)
{
	uint32_t left = tp->sacked + tp->lost;
	uint32_t size = tcp_flight_size(tp) + tp->retrans;

	return size > left ? size - left : 0;
}

static inline uint32_t tcp_send_end(const struct tcp_sock *tp)
{
	return tp->write_seq + tp->fin_queued;
}

/* Of the window that the peer has from us. */
static inline uint32_t tcp_receive_window(const struct tcp_sock *tp)
{
	int32_t left = (int32_t)(tp->rcv_wup + tp->rcv_wnd - tp->rcv_nxt);

	return left > 0 ? (uint32_t)left : 0;
}

static inline bool tcp_is_mapped(const struct in6_addr *a)
{
	return IN6_IS_ADDR_V4MAPPED(a);
}

static inline bool tcp_any_address(const struct in6_addr *a)
{
	return IN6_IS_ADDR_UNSPECIFIED(a) || (tcp_is_mapped(a) && a->s6_addr32[3] == 0);
}

/* Half of a buffer is window, the other is for what describes the bytes. */
static inline uint32_t tcp_window_of_space(uint32_t space)
{
	return space / 2;
}

static inline bool tcp_connected_state(uint8_t state)
{
	return state != TCP_CLOSE && state != TCP_LISTEN && state != TCP_SYN_SENT;
}

/* ---- tcp_table.c: the state of a stack; the table of connections ---- */
static inline struct tcp_stack *tcp_stack(struct stack *s)
{
	return s->tcp;
}
/* Puts an endpoint into the table of connections; the key must be new. */
void tcp_hash(struct tcp_ep *ep) REQUIRES(L_NET);
void tcp_unhash(struct tcp_ep *ep) REQUIRES(L_NET);
struct tcp_ep *tcp_find(struct tcp_stack *n, const struct tcp_key *key, unsigned dev) REQUIRES(L_NET);
/* The listener that suits best; NULL. */
struct tcp_sock *tcp_find_listener(struct tcp_stack *n, const struct tcp_key *key, unsigned dev) REQUIRES(L_NET);
/* By RFC 6528, and the offset of the timestamps by RFC 7323 5.4. */
uint32_t tcp_initial_seq(struct tcp_stack *n, const struct tcp_key *key) REQUIRES(L_NET);
uint32_t tcp_ts_offset(struct tcp_stack *n, const struct tcp_key *key) REQUIRES(L_NET);
/*
 * A local port for a connection to key.raddr:rport, into key.lport, if it has none; the pair is free then.
 * -EADDRNOTAVAIL, -ENOMEM.
 */
int __must_check tcp_port_connect(struct tcp_sock *tp) REQUIRES(L_NET);
/* Frees what died meanwhile: at the end of each entry point. */
void tcp_reap(struct tcp_stack *n) REQUIRES(L_NET);

/* ---- tcp.c ---- */
/* New, in CLOSE, with the options of `like` if not NULL. NULL: no memory. */
struct tcp_sock *tcp_sock_create(struct stack *s, const struct tcp_sock *like) REQUIRES(L_NET);
void tcp_sock_free(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_wake(struct tcp_sock *tp, uint32_t events) REQUIRES(L_NET);
/* tcp_user.c: wakes who waits for room, if there is some. */
void tcp_write_space(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_set_state(struct tcp_sock *tp, uint8_t state) REQUIRES(L_NET);
/* The connection is over: out of the tables, timers off; freed if nobody owns it. err: 0, or what the owner is told. */
void tcp_done(struct tcp_sock *tp, int err) REQUIRES(L_NET);
/* A reset to the peer, if it has a connection, then tcp_done(). */
void tcp_abort(struct tcp_sock *tp, int err) REQUIRES(L_NET);
void tcp_chunk_free(struct tcp_chunk *c);
void tcp_chunks_free(struct list *q);
/* Would bytes of b from off on be a part of the last chunk of q? */
bool tcp_chunk_continues(const struct list *q, const struct buf *b, uint32_t off);
/* A reference behind what is in q, which may become part of the last chunk. False: no memory. */
bool __must_check tcp_chunk_append(struct list *q, uint32_t seq, const struct slice *s);

/* ---- tcp_mem.c: the memory of all endpoints ---- */
/* What tp holds is charged: at the end of each entry point that may have changed it. */
void tcp_memory_sync(struct tcp_sock *tp);
/* An endpoint that holds `have` bytes, of a buffer whose smallest size is `least`, may not have more. */
bool tcp_memory_full(uint32_t have, uint32_t least);
/* Who owns nothing but memory, when there is none: an endpoint that nobody reads or writes. */
bool tcp_orphan_too_dear(const struct tcp_sock *tp) REQUIRES(L_NET);

/* ---- tcp_path.c: routes and segment sizes ---- */
/* Renews tp->route if it is stale. Errors of ip_route(). */
int __must_check tcp_route(struct tcp_sock *tp) REQUIRES(L_NET);
/* The next tcp_route() asks again. */
void tcp_route_renew(struct tcp_sock *tp);
void tcp_ip_out(const struct tcp_sock *tp, struct ip_out *ret) REQUIRES(L_NET);
/* The MSS option for a peer that is reached by r. */
uint16_t tcp_advertised_mss(const struct in6_addr *peer, const struct ip_route *r) REQUIRES(L_NET);
unsigned tcp_dev_index(const struct netdev *dev) REQUIRES(L_NET);
/* The device that answers have to leave by: of a peer whose address means something on one link only; else 0. */
unsigned tcp_scope(const struct in6_addr *peer, const struct ip_in *in) REQUIRES(L_NET);
/* tp->mss by the route's MTU, the peer and half of its window. */
void tcp_sync_mss(struct tcp_sock *tp) REQUIRES(L_NET);
/* Payload of a full segment now: tp->mss without options. */
uint32_t tcp_current_mss(const struct tcp_sock *tp);

/* ---- tcp_output.c ---- */
/* Sends what may be sent. flags: TCP_PUSH_*. */
enum { TCP_PUSH_FORCE = 1 /* no Nagle */, TCP_PUSH_ONE = 2 /* one segment, whatever cwnd says */ };
void tcp_push(struct tcp_sock *tp, int flags) REQUIRES(L_NET);
void tcp_send_ack(struct tcp_sock *tp) REQUIRES(L_NET);
/* An empty segment with an old number, which the peer must answer; or the first bytes that fit. 0, -errno. */
int tcp_send_probe(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_send_fin(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_send_reset(struct tcp_sock *tp) REQUIRES(L_NET);
/* Of a client: with what is in the send queue. */
int __must_check tcp_send_syn(struct tcp_sock *tp) REQUIRES(L_NET);
/* Sends tx again. 0, -errno. */
int tcp_retransmit(struct tcp_sock *tp, struct tcp_tx *tx) REQUIRES(L_NET);
/* The first segment of the flight. */
int tcp_retransmit_head(struct tcp_sock *tp) REQUIRES(L_NET);
/* Everything that is queued before una has arrived. */
void tcp_sendq_clean(struct tcp_sock *tp, uint32_t una) REQUIRES(L_NET);
/* What is lost, as far as cwnd allows. */
void tcp_retransmit_lost(struct tcp_sock *tp) REQUIRES(L_NET);
/* Cuts off [at, tx->end) as a record of its own; false: no memory. */
bool __must_check tcp_tx_split(struct tcp_sock *tp, struct tcp_tx *tx, uint32_t at) REQUIRES(L_NET);
/* Takes tx out of the flight and its sums. */
void tcp_tx_free(struct tcp_sock *tp, struct tcp_tx *tx) REQUIRES(L_NET);
/* Everything before una has arrived. */
void tcp_tx_trim(struct tcp_sock *tp, struct tcp_tx *tx, uint32_t una) REQUIRES(L_NET);
void tcp_tx_mark_lost(struct tcp_sock *tp, struct tcp_tx *tx);
void tcp_tx_mark_sacked(struct tcp_sock *tp, struct tcp_tx *tx);
/* Both are sacked, one after the other: makes them one. */
void tcp_tx_merge(struct tcp_sock *tp, struct tcp_tx *tx, struct tcp_tx *next) REQUIRES(L_NET);
struct tcp_tx *tcp_tx_head(const struct tcp_sock *tp);

/* ---- tcp_packet.c: segments on their way to IP ---- */
struct tcp_header {
	uint32_t seq, ack;
	uint32_t window; /* as it goes out */
	uint16_t urg;
	uint8_t flags;
	struct tcp_options opt;
};
/* Pushes h in front of p, which has the data, and sends it. Takes p. */
int tcp_packet_send(struct stack *s, struct pkt *p, const struct tcp_key *key, const struct tcp_header *h,
		    struct ip_out *o, const struct ip_route *r) REQUIRES(L_NET);
/* Without an endpoint: a route is asked for. like: whose device, or NULL. */
void tcp_reply(struct stack *s, const struct tcp_key *key, const struct tcp_header *h, const struct ip_in *in,
	       unsigned bound_dev) REQUIRES(L_NET);
/* RFC 9293 3.10.7.1: the reset that answers a segment for nobody. */
void tcp_reply_reset(struct stack *s, const struct tcp_in *in) REQUIRES(L_NET);
/* May a challenge ACK go out? RFC 5961 7: so many a second in all, and one each half second for an endpoint. */
bool tcp_challenge_allowed(struct tcp_stack *n, int64_t *last) REQUIRES(L_NET);

/* ---- tcp_window.c: what we offer ---- */
/* The window for a SYN and its shift. */
void tcp_initial_window(const struct tcp_conf *c, uint32_t rcvbuf, uint32_t clamp, uint32_t mss, bool scaling,
			uint32_t *ret_window, uint8_t *ret_shift);
/* The header's window, noted in tp. */
uint32_t tcp_select_window(struct tcp_sock *tp) REQUIRES(L_NET);
/* Is a window update due, now that n bytes have been read? */
void tcp_window_update(struct tcp_sock *tp, size_t n) REQUIRES(L_NET);
void tcp_measure_rcv(struct tcp_sock *tp, const struct tcp_in *in) REQUIRES(L_NET);
void tcp_tune_rcvbuf(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_tune_sndbuf(struct tcp_sock *tp) REQUIRES(L_NET);

/* ---- tcp_input.c, tcp_ack.c, tcp_data.c ---- */
/* A segment of a connection in SYN_RECV or later. */
void tcp_segment(struct tcp_sock *tp, struct tcp_in *in) REQUIRES(L_NET);
/*
 * Whether a segment that is not acceptable may be answered, by when the last one was (*at): two ends must not answer each other's empty answers for
 * ever.
 */
bool tcp_answer_allowed(struct stack *s, int64_t *at, const struct tcp_in *in) REQUIRES(L_NET);
/* RFC 7323 5: true: too old. */
bool tcp_paws_reject(uint32_t ts_recent, int64_t ts_recent_at, const struct tcp_options *o, int64_t now);
/* A connection is established: what that takes on either side. */
void tcp_establish(struct tcp_sock *tp, const struct tcp_in *in) REQUIRES(L_NET);
/* False: the segment is to be dropped. */
bool tcp_ack(struct tcp_sock *tp, struct tcp_in *in) REQUIRES(L_NET);
/* Everything up to `una` has arrived. */
void tcp_ack_clean(struct tcp_sock *tp, uint32_t una, struct tcp_acked *a) REQUIRES(L_NET);
void tcp_rtt_sample(struct tcp_sock *tp, int64_t rtt) REQUIRES(L_NET);
void tcp_data(struct tcp_sock *tp, struct tcp_in *in) REQUIRES(L_NET);
void tcp_urgent(struct tcp_sock *tp, const struct tcp_in *in) REQUIRES(L_NET);
void tcp_early_free_all(struct tcp_sock *tp) REQUIRES(L_NET);
/* Sends the acknowledgment that is due, or arms its timer. */
void tcp_ack_check(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_quick_acks(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_challenge(struct tcp_sock *tp) REQUIRES(L_NET);

/* ---- tcp_sack.c ---- */
void tcp_sack_receive(struct tcp_sock *tp, const struct tcp_in *in, struct tcp_acked *a) REQUIRES(L_NET);
/* Receiver's side: bytes ahead have come; came twice; what is below rcv_nxt is told no more. */
void tcp_sack_add(struct tcp_sock *tp, uint32_t start, uint32_t end) REQUIRES(L_NET);
void tcp_sack_dup(struct tcp_sock *tp, uint32_t start, uint32_t end) REQUIRES(L_NET);
void tcp_sack_trim(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_sack_fill(struct tcp_sock *tp, struct tcp_options *o) REQUIRES(L_NET);

/* ---- tcp_rack.c ---- */
/* tx was delivered. */
void tcp_rack_delivered(struct tcp_sock *tp, const struct tcp_tx *tx) REQUIRES(L_NET);
void tcp_rack_dsack(struct tcp_sock *tp, const struct tcp_acked *a) REQUIRES(L_NET);
/* Marks what is lost; arms the reordering timer for what may be. */
void tcp_rack_detect(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_rack_timeout(struct tcp_sock *tp) REQUIRES(L_NET);
bool tcp_tlp_arm(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_tlp_timeout(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_tlp_ack(struct tcp_sock *tp, uint32_t ack, const struct tcp_acked *a) REQUIRES(L_NET);

/* ---- tcp_recovery.c ---- */
void tcp_recover(struct tcp_sock *tp, struct tcp_acked *a) REQUIRES(L_NET);
void tcp_enter_loss(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_enter_cwr(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_end_reduction(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_clear_recovery(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_mark_path_lost(struct tcp_sock *tp, uint32_t mss) REQUIRES(L_NET);

/* ---- tcp_cong.c ---- */
void tcp_cong_init(struct tcp_sock *tp);
const struct tcp_cong_ops *tcp_cong_find(const char *name);
uint32_t tcp_slow_start(struct tcp_sock *tp, uint32_t bytes);
/* Additive increase by one segment each `window` bytes. */
void tcp_cong_additive(struct tcp_sock *tp, uint32_t bytes, uint32_t window, uint64_t *credit);
void tcp_cong_grow(struct tcp_sock *tp, const struct tcp_acked *a, int64_t now);
void tcp_cong_sent(struct tcp_sock *tp);
void tcp_cong_after_idle(struct tcp_sock *tp, int64_t now) REQUIRES(L_NET);
uint32_t tcp_initial_cwnd(const struct tcp_sock *tp);
extern const struct tcp_cong_ops tcp_reno, tcp_cubic;

/* ---- tcp_timer.c ---- */
void tcp_timers_init(struct tcp_sock *tp);
void tcp_timers_off(struct tcp_sock *tp) REQUIRES(L_NET);
/*
 * What the flight and the queue need: RTO or TLP, probe, or nothing. tcp_arm(): more was sent; tcp_rearm(): something
 * was acknowledged.
 */
void tcp_arm(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_rearm(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_arm_rto(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_arm_kind(struct tcp_sock *tp, enum tcp_timer_kind kind, int64_t deadline) REQUIRES(L_NET);
void tcp_arm_ack(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_ack_sent(struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_arm_keepalive(struct tcp_sock *tp, int64_t after) REQUIRES(L_NET);
int64_t tcp_keep_idle(const struct tcp_sock *tp) REQUIRES(L_NET);
int64_t tcp_fin_time(const struct tcp_sock *tp) REQUIRES(L_NET);

/* ---- tcp_fastopen.c ---- */
/* Does the SYN's cookie admit its data? If not, *ret is what the answer gives, if not empty. */
bool tcp_fastopen_accepts(struct tcp_sock *l, const struct tcp_in *in, struct tcp_cookie *ret) REQUIRES(L_NET);
void tcp_fastopen_child(struct tcp_sock *tp, struct tcp_in *in) REQUIRES(L_NET);
/* The handshake is complete, or has failed. */
void tcp_fastopen_done(struct tcp_sock *tp) REQUIRES(L_NET);
/* Of a SYN. */
void tcp_fastopen_fill(const struct tcp_sock *tp, struct tcp_options *o) REQUIRES(L_NET);
/* A SYN+ACK has come. */
void tcp_fastopen_learn(struct tcp_sock *tp, const struct tcp_in *in) REQUIRES(L_NET);
/* Bytes that may go with the SYN. */
uint32_t tcp_fastopen_room(const struct tcp_sock *tp) REQUIRES(L_NET);

/* ---- tcp_listen.c, tcp_cookie.c, tcp_timewait.c ---- */
void tcp_listen_input(struct tcp_sock *tp, struct tcp_in *in, uint32_t iss) REQUIRES(L_NET);
/* A SYN for a listener, or the gateway; others are reset. iss 0: any. */
void tcp_syn_input(struct stack *s, struct tcp_in *in, uint32_t iss) REQUIRES(L_NET);
/* A request of l, in the tables, that has not been answered. iss 0: any. NULL: no memory, no route. */
struct tcp_request *tcp_request_create(struct tcp_sock *l, const struct tcp_in *in, uint32_t iss) REQUIRES(L_NET);
/* Its owner is not told. */
void tcp_request_free(struct tcp_request *r) REQUIRES(L_NET);
/* It is answered, and repeated until the handshake is complete. */
void tcp_request_answer(struct tcp_request *r) REQUIRES(L_NET);
void tcp_request_input(struct tcp_request *r, struct tcp_in *in) REQUIRES(L_NET);
/* gateway.c: a SYN that finds no listener. False: the stack is no gateway. */
bool gateway_syn(struct stack *s, struct tcp_in *in, uint32_t iss) REQUIRES(L_NET);
void tcp_request_error(struct tcp_request *r, const struct ip_error *e) REQUIRES(L_NET);
/* The accepted end for a request whose handshake is complete, in the accept queue; NULL: no memory. */
struct tcp_sock *tcp_request_finish(struct tcp_request *r) REQUIRES(L_NET);
void tcp_request_fill(struct tcp_request *r, struct tcp_sock *l, const struct tcp_in *in) REQUIRES(L_NET);
void tcp_request_synack(struct tcp_request *r, uint32_t tsval) REQUIRES(L_NET);
void tcp_listen_stop(struct tcp_sock *tp) REQUIRES(L_NET);
/* The SYN+ACK's number, and its timestamp if the peer has them. */
uint32_t tcp_cookie_make(struct tcp_stack *n, struct tcp_request *r, uint32_t *ret_tsval) REQUIRES(L_NET);
/* Does `in` acknowledge a cookie? Fills r. */
bool tcp_cookie_check(struct tcp_stack *n, struct tcp_sock *l, const struct tcp_in *in, struct tcp_request *r)
    REQUIRES(L_NET);
/* Replaces tp by a small object. */
void tcp_time_wait(struct tcp_sock *tp, bool fin_wait2, int64_t after) REQUIRES(L_NET);
void tcp_timewait_input(struct tcp_timewait *tw, struct tcp_in *in) REQUIRES(L_NET);
void tcp_timewait_free(struct tcp_timewait *tw) REQUIRES(L_NET);
/* A connection of ours may take the pair: its first sequence number. */
bool tcp_timewait_reusable(const struct tcp_timewait *tw, bool ts, uint32_t *ret_iss) REQUIRES(L_NET);
