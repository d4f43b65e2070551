/*
 * TCP for the socket layer: endpoints, and what can be asked of them. All of it under the stack's lock.
 *
 * An endpoint belongs to who made it (tcp_create(), tcp_accept()) until tcp_release(); from then on it belongs to TCP,
 * which finishes the connection. The owner learns of events by the wakeup that it sets, and asks tcp_poll() for their
 * meaning, as poll(2) has it.
 *
 * Nothing here sleeps. A call that would block in Linux returns -EAGAIN (or -EINPROGRESS, connect), and its caller
 * waits for the event: POLLOUT for connect and send, POLLIN for accept and recv, POLLHUP for a lingering close.
 */
#pragma once

#include <netinet/tcp.h>

#include "net/stack/ip.h"
#include "net/stack/port.h"

#define TCP_NEW_SYN_RECV 12 /* of a connection request, as /proc/net/tcp shows it */
#define TCP_FASTOPEN_CLIENT 1
#define TCP_FASTOPEN_SERVER 2
#define TCP_SHUT_RCV 1
#define TCP_SHUT_SEND 2
#define TCP_SHUT_BOTH 3
#define TCP_CONG_STATE 15 /* words that a congestion control algorithm has in an endpoint */

struct tcp_cong_ops;
struct tcp_tx;

/*
 * What the table of connections finds: an endpoint, a request that is being answered, or the rest of a closed
 * connection.
 */
enum tcp_kind { TCP_IS_SOCK, TCP_IS_REQUEST, TCP_IS_TIMEWAIT };

struct tcp_key {
	struct in6_addr laddr, raddr; /* IPv4 is mapped; :: and ::ffff:0.0.0.0 are wildcards */
	uint16_t lport, rport;
};

struct tcp_ep {
	struct list hash; /* of connections */
	struct tcp_key key;
	struct stack *stack;
	enum tcp_kind kind : 8;
	uint8_t state;
	struct port_bind bind; /* the local port, and whose it is; the owner sets uid, v6only, reuse_*, bound_dev */
};

/* Bytes in sequence, by reference. */
struct tcp_chunk {
	struct list link;
	uint32_t seq;
	uint32_t cost; /* in the send queue: what of wmem is for it */
	struct slice s;
};

/* Bytes that arrived ahead of others. */
struct tcp_early {
	struct list link; /* by seq, no overlaps */
	uint32_t seq, end;
	bool fin;
	struct pkt *pkt;
};

struct tcp_sack_block {
	uint32_t start, end;
};

/* Round-trip time, RFC 6298; ns. */
struct tcp_rtt {
	int64_t srtt, var, rto, last;
	int64_t min, min_at; /* the smallest of the last minutes */
};

/* RFC 8985 6.1 */
struct tcp_rack {
	int64_t sent_at, rtt; /* of the most recently sent segment that was delivered */
	uint32_t end;
	uint32_t fack;        /* the highest sequence delivered */
	uint32_t dsack_round; /* rounds end here */
	uint8_t reo_mult, reo_persist;
	bool reordering, dsack_seen, fack_ok;
	uint32_t tlp_end; /* the probe's snd_nxt */
	bool tlp, tlp_retrans;
};

/* RFC 6937; bytes. */
struct tcp_prr {
	uint32_t delivered, out, recover_fs;
};

/* To take back a reduction that was not due. */
struct tcp_undo {
	uint32_t una, cwnd, ssthresh;
	uint32_t retrans;       /* bytes sent again that no DSACK has told to be superfluous */
	uint32_t retrans_stamp; /* timestamp of the first retransmission; 0: none */
	bool armed, sent;       /* sent: something was sent again */
};

enum tcp_timer_kind { TCP_TIMER_NONE, TCP_TIMER_RTO, TCP_TIMER_TLP, TCP_TIMER_REORDER, TCP_TIMER_PROBE };

struct tcp_sock {
	struct tcp_ep ep;      /* first; all fields: L_NET */
	struct wakeup *wakeup; /* the owner's; NULL: nobody listens */
	void *owner;           /* the owner's */
	/* Whether the owner wants a segment, whose header is at p->transport; NULL: every one. A listener's is asked about what is not accepted, too. */
	bool (*filter)(struct tcp_sock *tp, const struct pkt *p);
	struct tcp_sock *listener; /* of one that has not been accepted; NULL */
	struct list accept;        /* of a listener: who waits for accept(); else the place in it */
	struct list dead;          /* to be freed when the entry point returns */
	int err, err_soft;         /* positive errno */
	uint8_t shutdown;
	bool orphan, done, dying;
	bool port_locked, addr_locked; /* by bind(): they outlive a connection */
	bool connecting, connected;    /* what connect() answers next */
	bool fastopen_ask;             /* connect() asks for a cookie: by the owner */
	bool fastopen_child;           /* in SYN_RECV, with data that came with the SYN */
	bool syn_data, syn_data_acked; /* the SYN had data; it was taken */

	/* ---- options; the owner may set the ones of this block at will ---- */
	uint8_t tos, ttl;
	uint32_t mark;
	bool oobinline, recverr;
	uint32_t rcvlowat, notsent_lowat;
	bool nodelay, cork, keepalive, rcvbuf_locked, sndbuf_locked;
	uint16_t user_mss;
	int keep_idle, keep_interval, keep_count; /* s; 0: as configured */
	int syn_retries, linger2, defer_accept;   /* linger2 in s, < 0: none */
	uint32_t user_timeout;                    /* ms */
	uint32_t window_clamp;
	uint64_t pacing_rate; /* bytes in a second; UINT64_MAX: any */

	/* ---- the path ---- */
	struct ip_route route;
	uint32_t mss;       /* of what is sent, without options */
	uint32_t mss_clamp; /* the peer's option, and the user's */
	uint16_t advmss, rcv_mss;
	uint8_t snd_wscale, rcv_wscale;
	bool wscale_ok, sack_ok, ts_ok, ecn_ok;
	bool ecn_echo, ecn_cwr; /* tell ECE; CWR is due */
	uint32_t ts_offset, ts_recent;
	int64_t ts_recent_at;
	uint32_t last_ack_sent;
	uint32_t rcv_tsecr; /* of the segment at hand; 0: none */

	/* ---- sending ---- */
	struct list sendq;       /* chunks from snd_una, or a little before, to write_seq */
	struct list flight;      /* struct tcp_tx by seq: sent and not acknowledged */
	struct list by_time;     /* the same in the order of their transmission, but what is known as lost or arrived */
	struct tcp_tx *rtx_hint; /* what is before it needs no retransmission now; NULL: not known */
	struct tcp_tx *sack_hint;            /* where the last SACK block ended; NULL: not known */
	struct tcp_sack_block sacks_seen[4]; /* of the last acknowledgment, in its order */
	uint8_t sacks_seen_count;
	uint32_t tx_count;           /* records of the flight */
	struct tcp_chunk *send_head; /* the one that holds snd_nxt; NULL: none yet, or all is sent */
	uint32_t iss, snd_una, snd_nxt, write_seq;
	uint32_t snd_wnd, snd_wl1, max_window;
	uint32_t snd_sml; /* end of the last small segment, for Nagle */
	uint32_t snd_up;
	bool urgent_out, fin_queued, fin_sent, nospace;
	bool more;             /* MSG_MORE with the last bytes */
	uint32_t wmem, sndbuf; /* bytes, what describes them included */
	int64_t pace_at;       /* not before then, with a pacing rate */

	/* ---- receiving ---- */
	struct list recvq;    /* chunks */
	struct buf *recv_buf; /* where small payloads are gathered; a reference */
	struct list early;
	uint32_t irs, rcv_nxt, copied_seq, rcv_wup, rcv_wnd;
	uint32_t urg_seq;
	bool urgent_in, urg_here; /* a mark is ahead or reached; its byte has come */
	uint8_t urg_byte;
	bool urg_taken;
	uint32_t rmem, rcvbuf; /* as wmem */
	uint32_t mem_pages;    /* of both, what tcp_memory has been charged with */
	uint32_t early_count;
	struct tcp_sack_block sacks[4]; /* the most recent first */
	struct tcp_sack_block dsack;
	uint8_t sack_count;
	bool dsack_pending;
	struct {
		uint32_t seq, space;
		int64_t at, rtt;
		uint32_t rtt_seq;
		int64_t rtt_at;
	} drs; /* of the receive buffer's tuning */

	/* ---- acknowledging ---- */
	bool ack_due, ack_now, pingpong;
	uint8_t quick; /* segments to acknowledge at once */
	int64_t ato, last_data_at, last_sent_at, last_ack_at;
	int64_t challenge_at, oow_at; /* challenge ACKs; answers to what is out of the window */

	/* ---- retransmission ---- */
	struct tcp_rtt rtt;
	struct tcp_rack rack;
	struct tcp_prr prr;
	struct tcp_undo undo;
	enum tcp_ca_state ca_state : 8;
	enum tcp_timer_kind timer_kind : 8;
	bool frto;
	uint8_t backoff, retransmits, probes_out, keep_probes;
	uint8_t dup_acks;
	uint32_t high_seq;              /* the episode ends when this is acknowledged */
	uint32_t sacked, lost, retrans; /* bytes of the flight */
	uint32_t total_retrans;
	int64_t first_retrans_at, probe_since;
	struct net_timer timer, ack_timer, keep_timer, pace_timer;

	/* ---- congestion control; bytes ---- */
	const struct tcp_cong_ops *cong;
	uint64_t cong_state[TCP_CONG_STATE];
	uint32_t cwnd, ssthresh;
	bool cwnd_limited;
	uint32_t limited_seq, max_flight;
	uint64_t bytes_acked, bytes_received, bytes_sent, bytes_retrans, delivered;
	uint32_t segs_out, segs_in, dsack_dups, reordering_seen;

	/* ---- of a listener ---- */
	uint32_t backlog, accept_count, request_count;
	uint32_t fastopen_queue; /* TCP_FASTOPEN, by the owner: how many may wait in SYN_RECV; 0: none */
	struct list requests;    /* struct tcp_request */
};

/* A connection end in CLOSE. NULL: no memory. v6: its wildcard is ::, else ::ffff:0.0.0.0. */
struct tcp_sock *tcp_create(struct stack *s, bool v6) REQUIRES(L_NET);
/*
 * port 0: any. -EADDRINUSE, -EINVAL (bound). Whether the address is ours is the caller's to check, as are privileges.
 */
int __must_check tcp_bind(struct tcp_sock *tp, const struct in6_addr *addr, uint16_t port) REQUIRES(L_NET);
/*
 * Sends the SYN: -EINPROGRESS. Later calls: -EALREADY, the error that came (ECONNREFUSED, ETIMEDOUT, ...), 0 once, then
 * -EISCONN. At once: what ip_route() says, -EADDRNOTAVAIL (no port, or the pair is in use), -EINVAL (listening).
 */
int __must_check tcp_connect(struct tcp_sock *tp, const struct in6_addr *addr, uint16_t port) REQUIRES(L_NET);
/*
 * RFC 7413: whether connect() may bring data, and, as tcp_connect(), with data in the SYN: as much of s, a reference that
 * changes hands, as fits; *ret_sent has it if the result is -EINPROGRESS.
 */
bool tcp_fastopen_known(struct stack *s, const struct in6_addr *peer) REQUIRES(L_NET);
int __must_check tcp_connect_data(struct tcp_sock *tp, const struct in6_addr *addr, uint16_t port,
				  const struct slice *s, uint32_t *ret_sent) REQUIRES(L_NET);
/* connect() to AF_UNSPEC: resets what there was; a new life in CLOSE. */
int tcp_disconnect(struct tcp_sock *tp) REQUIRES(L_NET);
/* Also changes the backlog. -EINVAL, -EADDRINUSE. */
int __must_check tcp_listen(struct tcp_sock *tp, int backlog) REQUIRES(L_NET);
/* The caller becomes the owner. -EAGAIN, -EINVAL (not listening). */
int __must_check tcp_accept(struct tcp_sock *tp, struct tcp_sock **ret) REQUIRES(L_NET);

/*
 * Bytes that a send may append now, > 0; or -EAGAIN (POLLOUT will come), -EPIPE, the pending error (taken). What a call
 * appends may go beyond by a buffer, as in Linux.
 */
ssize_t tcp_send_room(struct tcp_sock *tp) REQUIRES(L_NET);
/*
 * Appends; the references of all slices change hands in every case. flags: MSG_MORE, MSG_OOB. A writer that fills a
 * buffer further appends the new part of it, which costs no further memory. Bytes, or as tcp_send_room(); -ENOMEM.
 */
ssize_t tcp_send(struct tcp_sock *tp, const struct slice *slices, unsigned count, int flags) REQUIRES(L_NET);
/*
 * Takes up to `size` bytes: slices with references, at most *count of them, which is updated. flags: MSG_PEEK leaves
 * them, and starts `peek_off` bytes in. Never across an urgent mark. 0: end of file. -EAGAIN, -ENOTCONN, the pending
 * error (taken).
 */
ssize_t tcp_recv(struct tcp_sock *tp, struct slice *slices, unsigned *count, size_t size, int flags, uint32_t peek_off)
    REQUIRES(L_NET);
/* After tcp_recv(MSG_PEEK): takes n bytes that have been copied. */
void tcp_consume(struct tcp_sock *tp, size_t n) REQUIRES(L_NET);
/* MSG_OOB: 1 and the byte; 0 (at the end), -EINVAL (none, inline, or taken), -EAGAIN (announced only). */
int tcp_recv_urgent(struct tcp_sock *tp, uint8_t *ret, bool peek) REQUIRES(L_NET);

/* how: TCP_SHUT_*. -ENOTCONN. */
int tcp_shutdown(struct tcp_sock *tp, int how) REQUIRES(L_NET);
/*
 * close(2): a reset if bytes are unread or `abort` (SO_LINGER of 0 seconds), else FIN. The owner may wait then, while
 * tcp_lingers(), for POLLHUP; it ends with tcp_release(), after which tp is not the caller's any more.
 */
void tcp_close(struct tcp_sock *tp, bool abort) REQUIRES(L_NET);
bool tcp_lingers(const struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_release(struct tcp_sock *tp) REQUIRES(L_NET);

/* POLL*; it notes that who asked waits for room. */
uint32_t tcp_poll(struct tcp_sock *tp) REQUIRES(L_NET);
/* SO_ERROR: a positive errno, taken. */
int tcp_take_error(struct tcp_sock *tp) REQUIRES(L_NET);
/* SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK. */
uint32_t tcp_inq(const struct tcp_sock *tp) REQUIRES(L_NET);
uint32_t tcp_outq(const struct tcp_sock *tp) REQUIRES(L_NET);
uint32_t tcp_outq_unsent(const struct tcp_sock *tp) REQUIRES(L_NET);
bool tcp_at_mark(const struct tcp_sock *tp) REQUIRES(L_NET);

/* Of IPPROTO_TCP with an int value. -ENOPROTOOPT, -EINVAL. */
int tcp_set_option(struct tcp_sock *tp, int name, int value) REQUIRES(L_NET);
int tcp_get_option(struct tcp_sock *tp, int name, int *ret) REQUIRES(L_NET);
/* TCP_CONGESTION. -ENOENT. */
int tcp_set_congestion(struct tcp_sock *tp, const char *name) REQUIRES(L_NET);
const char *tcp_congestion(const struct tcp_sock *tp) REQUIRES(L_NET);
void tcp_set_keepalive(struct tcp_sock *tp, bool on) REQUIRES(L_NET);
/* Bytes as kept, which are twice what SO_SNDBUF and SO_RCVBUF were given; no tuning from then on. */
void tcp_set_sndbuf(struct tcp_sock *tp, uint32_t size) REQUIRES(L_NET);
void tcp_set_rcvbuf(struct tcp_sock *tp, uint32_t size) REQUIRES(L_NET);

/* struct tcp_info of Linux 6.x's <linux/tcp.h>. */
struct k_tcp_info {
	uint8_t state, ca_state, retransmits, probes, backoff, options, wscales, app_limited;
	uint32_t rto, ato, snd_mss, rcv_mss;
	uint32_t unacked, sacked, lost, retrans, fackets;
	uint32_t last_data_sent, last_ack_sent, last_data_recv, last_ack_recv;
	uint32_t pmtu, rcv_ssthresh, rtt, rttvar, snd_ssthresh, snd_cwnd, advmss, reordering;
	uint32_t rcv_rtt, rcv_space, total_retrans;
	uint64_t pacing_rate, max_pacing_rate, bytes_acked, bytes_received;
	uint32_t segs_out, segs_in, notsent_bytes, min_rtt, data_segs_in, data_segs_out;
	uint64_t delivery_rate, busy_time, rwnd_limited, sndbuf_limited;
	uint32_t delivered, delivered_ce;
	uint64_t bytes_sent, bytes_retrans;
	uint32_t dsack_dups, reord_seen, rcv_ooopack, snd_wnd;
};
_Static_assert(sizeof(struct k_tcp_info) == 232, "struct tcp_info");
_Static_assert(offsetof(struct k_tcp_info, total_retrans) == 100, "struct tcp_info");
void tcp_info(struct tcp_sock *tp, struct k_tcp_info *ret) REQUIRES(L_NET);

/* net.ipv4.tcp_* of this namespace. Times in seconds; memory is {smallest, at first, largest} in bytes. */
struct tcp_conf {
	uint32_t rmem[3], wmem[3];
	int min_snd_mss;
	int syn_retries, synack_retries, retries1, retries2, orphan_retries;
	int keepalive_time, keepalive_interval, keepalive_probes;
	int fin_timeout, max_syn_backlog, somaxconn, max_tw_buckets, max_orphans;
	int tw_reuse; /* 2: loopback only */
	int ecn;      /* 1: ask, 2: only answer */
	int fastopen; /* TCP_FASTOPEN_* */
	bool syncookies, timestamps, sack, window_scaling, rfc1337, abort_on_overflow, idle_restart, moderate_rcvbuf;
	char congestion[16];
};
struct tcp_conf *tcp_conf(struct stack *s) REQUIRES(L_NET);
/*
 * Calls fn for each listener, connection, request and TIME_WAIT rest, for /proc/net/tcp and SOCK_DIAG; it must not
 * change any.
 */
void tcp_for_each(struct stack *s, void (*fn)(const struct tcp_ep *ep, void *arg), void *arg) REQUIRES(L_NET);
/*
 * When what its timer does is due; kind as in /proc/net/tcp: 0 none, 1 retransmission, 2 keep-alive, 3 TIME_WAIT, 4
 * probe.
 */
int tcp_timer_kind(const struct tcp_ep *ep, int64_t *ret_deadline) REQUIRES(L_NET);
