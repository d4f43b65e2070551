/*
 * TCP Fast Open: RFC 7413, as Linux has it (net.ipv4.tcp_fastopen: 1 clients, 2 servers).
 *
 * A server whose listener has TCP_FASTOPEN gives who asks a cookie: a keyed hash of the pair of addresses. A SYN that brings
 * it back has proved its address, so its data is taken at once: the accepted end exists from then on, in SYN_RECV, with
 * the data to be read. There are at most as many of these as the listener allows; beyond, and with a wrong cookie, the
 * data is not acknowledged, and comes again after the handshake. What the server sends waits for that.
 *
 * A client keeps the cookies of its servers in a small table, by a secret hash: whoever comes later replaces who was
 * there. Its first SYN has the user's first bytes; they are sent again if the SYN+ACK did not acknowledge them. What was
 * sent twice may be read twice by a server: that is the user's bargain, who asked by MSG_FASTOPEN.
 */
#include "net/stack/tcp_priv.h"

#include <string.h>

#include "net/stack/siphash.h"

#define OPTIONS_ROOM 40u

static bool same(const struct tcp_cookie *a, const struct tcp_cookie *b)
{
	return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

/* ---- servers ---- */

static void make_cookie(const struct tcp_stack *n, const struct tcp_key *key, struct tcp_cookie *ret)
{
	struct in6_addr pair[2] = {key->raddr, key->laddr};
	uint64_t h = siphash(n->fastopen_key, pair, sizeof(pair));

	*ret = (struct tcp_cookie){.size = sizeof(h)};
	memcpy(ret->bytes, &h, sizeof(h));
}

bool tcp_fastopen_accepts(struct tcp_sock *l, const struct tcp_in *in, struct tcp_cookie *ret)
{
	struct tcp_stack *n = tcp_stack(l->ep.stack);
	struct tcp_cookie good;

	ret->size = 0;
	if (!in->opt.fastopen || !(n->conf.fastopen & TCP_FASTOPEN_SERVER) || !l->fastopen_queue)
		return false;
	make_cookie(n, &in->key, &good);
	if (same(&good, &in->opt.cookie))
		return in->len && n->fastopen_pending < l->fastopen_queue && l->accept_count <= l->backlog;
	*ret = good;
	return false;
}

/* The accepted end of a SYN whose cookie was right; its data is there to be read. */
void tcp_fastopen_child(struct tcp_sock *tp, struct tcp_in *in)
{
	tp->fastopen_child = true;
	tcp_stack(tp->ep.stack)->fastopen_pending++;
	tp->snd_wnd = tp->max_window = in->window;
	tp->snd_wl1 = in->seq;
	tcp_sync_mss(tp);
	tcp_cong_init(tp);
	tp->rcv_mss = (uint16_t)MIN(tp->advmss, TCP_MSS_DEFAULT);
	tp->syn_data_acked = true;
	in->seq++;
	in->flags &= (uint8_t) ~(TH_SYN | TH_FIN);
	tcp_data(tp, in);
	if (tcp_send_syn(tp) == 0)
		tcp_arm_rto(tp);
	else
		tcp_arm_kind(tp, TCP_TIMER_RTO, tcp_now(tp) + TCP_RTO_INIT);
	tcp_memory_sync(tp);
}

void tcp_fastopen_done(struct tcp_sock *tp)
{
	if (!tp->fastopen_child)
		return;
	tp->fastopen_child = false;
	tcp_stack(tp->ep.stack)->fastopen_pending--;
}

/* ---- clients ---- */

static struct tcp_cookie_entry *entry_of(const struct tcp_stack *n, const struct in6_addr *peer)
{
	return &tcp_stack(n->stack)->cookies[addr_hash(n->stack, peer, 0) % TCP_COOKIES];
}

static const struct tcp_cookie *find(const struct tcp_stack *n, const struct in6_addr *peer)
{
	const struct tcp_cookie_entry *e = entry_of(n, peer);

	return e->cookie.size && memcmp(&e->peer, peer, sizeof(*peer)) == 0 ? &e->cookie : NULL;
}

void tcp_fastopen_fill(const struct tcp_sock *tp, struct tcp_options *o)
{
	const struct tcp_stack *n = tcp_stack(tp->ep.stack);
	const struct tcp_cookie *c = find(n, &tp->ep.key.raddr);

	/* Not with a SYN that is sent again: perhaps somebody on the way drops what he does not know. */
	if (!tp->fastopen_ask || tp->first_retrans_at)
		return;
	o->fastopen = true;
	if (c)
		o->cookie = *c;
}

void tcp_fastopen_learn(struct tcp_sock *tp, const struct tcp_in *in)
{
	struct tcp_cookie_entry *e = entry_of(tcp_stack(tp->ep.stack), &tp->ep.key.raddr);
	struct tcp_tx *tx = tcp_tx_head(tp);

	if (tp->fastopen_ask && in->opt.fastopen && in->opt.cookie.size)
		*e = (struct tcp_cookie_entry){tp->ep.key.raddr, in->opt.cookie};
	tp->syn_data_acked = tp->syn_data && !tx;
	if (tx && tcp_retransmit(tp, tx) == 0) /* the data that went with the SYN was not taken */
		tcp_arm_rto(tp);
}

bool tcp_fastopen_known(struct stack *s, const struct in6_addr *peer)
{
	return find(tcp_stack(s), peer) != NULL;
}

uint32_t tcp_fastopen_room(const struct tcp_sock *tp)
{
	uint32_t mss = tcp_current_mss(tp);

	return find(tcp_stack(tp->ep.stack), &tp->ep.key.raddr) && mss > OPTIONS_ROOM ? mss - OPTIONS_ROOM : 0;
}
