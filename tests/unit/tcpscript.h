/*
 * For tests of TCP: segments as text, in the manner of packetdrill.
 *
 *	inject("S 0:0(0) win 65535 <mss 1460,sackOK,wscale 7>");	from the peer to us
 *	expect("S. 0:0(0) ack 1 win 64240 <mss 1460>");		from us: what is not written may be anything
 *	nothing();						we have sent no more
 *	pass(200);							milliseconds
 *
 * Flags: S F R P . U, E (ECE), W (CWR). Sequence numbers count from each side's initial one. Options: mss N, sackOK,
 * wscale N, TS val N ecr N, sack A:B ..., none. Besides: urg N, ce (in inject), ect (in expect).
 */
#pragma once

#include "tests/unit/tcpnet.h"

/* ---- text ---- */

enum {
	HAS_ACK = 1,
	HAS_WIN = 2,
	HAS_OPT = 4,
	HAS_ECR = 8,
	HAS_URG = 16,
	HAS_ECT = 32,
};

struct text_seg {
	uint8_t flags, tos;
	uint32_t seq, len, ack, win, urg;
	struct tcp_options opt;
	unsigned has;
};

static inline uint8_t flag_of(char c)
{
	static const char letters[] = "FSRP.UEW";
	const char *at = strchr(letters, c);

	ck_assert_msg(at && c, "no flag: %c", c);
	return (uint8_t)(1u << (at - letters));
}

static inline const char *text_sacks(const char *s, struct text_seg *t)
{
	struct tcp_options *o = &t->opt;
	int n;

	while (sscanf(s, " %u:%u%n", &o->sacks[o->sack_count].start, &o->sacks[o->sack_count].end, &n) == 2) {
		o->sack_count++;
		s += n;
	}
	return s;
}

static inline void text_options(const char *s, struct text_seg *t)
{
	int n;

	t->has |= HAS_OPT;
	while (*s && *s != '>') {
		unsigned a, b;

		n = 0;
		if (sscanf(s, "mss %u%n", &a, &n) == 1) {
			t->opt.mss = (uint16_t)a;
		} else if (sscanf(s, "wscale %u%n", &a, &n) == 1) {
			t->opt.wscale = (uint8_t)a;
			t->opt.wscale_ok = true;
		} else if (sscanf(s, "TS val %u ecr %u%n", &a, &b, &n) == 2) {
			t->opt.ts_ok = true;
			t->opt.tsval = a;
			t->opt.tsecr = b;
			t->has |= HAS_ECR;
		} else if (strncmp(s, "TS", 2) == 0) {
			t->opt.ts_ok = true;
			n = 2;
		} else if (strncmp(s, "sackOK", 6) == 0) {
			t->opt.sack_ok = true;
			n = 6;
		} else if (strncmp(s, "sack", 4) == 0) {
			n = (int)(text_sacks(s + 4, t) - s);
		} else if (strncmp(s, "none", 4) == 0) {
			n = 4;
		}
		ck_assert_msg(n > 0, "no option: %s", s);
		s += n + (s[n] == ',');
	}
}

static inline struct text_seg text_parse(const char *s)
{
	struct text_seg t = {0};
	unsigned end;
	int n = 0;

	for (; *s && *s != ' '; s++)
		t.flags |= flag_of(*s);
	ck_assert_msg(sscanf(s, " %u:%u(%u)%n", &t.seq, &end, &t.len, &n) == 3 && end - t.seq == t.len,
		      "no segment: %s", s);
	for (s += n; *s; s += n) {
		n = 0;
		if (*s == ' ')
			n = 1;
		else if (sscanf(s, "ack %u%n", &t.ack, &n) == 1)
			t.has |= HAS_ACK;
		else if (sscanf(s, "win %u%n", &t.win, &n) == 1)
			t.has |= HAS_WIN;
		else if (sscanf(s, "urg %u%n", &t.urg, &n) == 1)
			t.has |= HAS_URG;
		else if (strncmp(s, "ce", 2) == 0)
			t.tos = 3, n = 2;
		else if (strncmp(s, "ect", 3) == 0)
			t.has |= HAS_ECT, n = 3;
		else if (*s == '<')
			text_options(s + 1, &t), n = (int)strlen(s);
		ck_assert_msg(n > 0, "what is: %s", s);
	}
	return t;
}

/* What byte n of a stream is. */
static inline uint8_t byte_at(uint32_t n)
{
	return (uint8_t)(n * 7 + (n >> 8) * 13);
}

static inline struct wire *wire_make(const struct text_seg *t)
{
	uint8_t options[TCP_OPTIONS_MAX];
	struct tcp_options o = t->opt;
	struct tcphdr *th;
	struct wire *w;
	size_t n;

	for (unsigned i = 0; i < o.sack_count; i++) {
		o.sacks[i].start += net.iss;
		o.sacks[i].end += net.iss;
	}
	n = tcp_options_build(&o, options);
	w = calloc(1, sizeof(*w) + sizeof(*th) + n + t->len);
	ck_assert_ptr_nonnull(w);
	*w = (struct wire){.src = peer_addr, .dst = our_addr, .tos = t->tos, .size = sizeof(*th) + n + t->len};
	th = (struct tcphdr *)w->data;
	*th = (struct tcphdr){.th_sport = htons(net.rport),
			      .th_dport = htons(net.lport),
			      .th_seq = htonl(t->seq + PEER_ISN),
			      .th_ack = t->flags & TH_ACK ? htonl(t->ack + net.iss) : 0,
			      .th_off = (uint8_t)((sizeof(*th) + n) / 4) & 15,
			      .th_flags = t->flags,
			      .th_win = htons((uint16_t)(t->has & HAS_WIN ? t->win : 65535)),
			      .th_urp = htons((uint16_t)t->urg)};
	memcpy(th + 1, options, n);
	for (uint32_t i = 0; i < t->len; i++)
		w->data[sizeof(*th) + n + i] = byte_at(t->seq + i);
	th->th_sum = tcp_sum(w);
	return w;
}

static inline void inject(const char *text)
{
	struct text_seg t = text_parse(text);
	struct wire *w = wire_make(&t);

	wire_in(S, w);
	free(w);
}

static inline struct text_seg wire_parse(const struct wire *w)
{
	const struct tcphdr *th = (const struct tcphdr *)w->data;
	struct text_seg t = {.flags = th->th_flags,
			     .tos = w->tos,
			     .seq = ntohl(th->th_seq) - net.iss,
			     .len = (uint32_t)(w->size - th->th_off * 4u),
			     .ack = th->th_flags & TH_ACK ? ntohl(th->th_ack) - PEER_ISN : 0,
			     .win = ntohs(th->th_win),
			     .urg = ntohs(th->th_urp)};

	tcp_options_parse(&t.opt, (const uint8_t *)(th + 1), th->th_off * 4u - sizeof(*th), t.flags & TH_SYN);
	for (unsigned i = 0; i < t.opt.sack_count; i++) {
		t.opt.sacks[i].start -= PEER_ISN;
		t.opt.sacks[i].end -= PEER_ISN;
	}
	return t;
}

static inline const char *text_of(const struct text_seg *t)
{
	static char text[300];
	int n = 0;

	for (unsigned i = 0; i < 8; i++)
		if (t->flags & 1 << i)
			text[n++] = "FSRP.UEW"[i];
	n += sprintf(text + n, " %u:%u(%u) ack %u win %u <", t->seq, t->seq + t->len, t->len, t->ack, t->win);
	if (t->opt.mss)
		n += sprintf(text + n, "mss %u,", t->opt.mss);
	if (t->opt.sack_ok)
		n += sprintf(text + n, "sackOK,");
	if (t->opt.ts_ok)
		n += sprintf(text + n, "TS val %u ecr %u,", t->opt.tsval, t->opt.tsecr);
	if (t->opt.wscale_ok)
		n += sprintf(text + n, "wscale %u,", t->opt.wscale);
	for (unsigned i = 0; i < t->opt.sack_count; i++)
		n += sprintf(text + n, "sack %u:%u,", t->opt.sacks[i].start, t->opt.sacks[i].end);
	sprintf(text + n, ">%s", t->tos & 3 ? " ect" : "");
	return text;
}

static inline bool options_match(const struct text_seg *t, const struct text_seg *got)
{
	const struct tcp_options *a = &t->opt, *b = &got->opt;

	return a->mss == b->mss && a->sack_ok == b->sack_ok && a->ts_ok == b->ts_ok && a->wscale_ok == b->wscale_ok &&
	       a->wscale == b->wscale && a->sack_count == b->sack_count &&
	       memcmp(a->sacks, b->sacks, a->sack_count * sizeof(a->sacks[0])) == 0 &&
	       (!(t->has & HAS_ECR) || a->tsecr == b->tsecr);
}

static inline bool text_match(const struct text_seg *t, const struct text_seg *got)
{
	return t->flags == got->flags && t->seq == got->seq && t->len == got->len &&
	       (!(t->has & HAS_ACK) || t->ack == got->ack) && (!(t->has & HAS_WIN) || t->win == got->win) &&
	       (!(t->has & HAS_URG) || t->urg == got->urg) && (!(t->has & HAS_ECT) || got->tos & 3) &&
	       (!(t->has & HAS_OPT) || options_match(t, got));
}

static inline void expect_at(const char *text, int line)
{
	struct wire *w = list_first(&net.sent, struct wire, link);
	struct text_seg t = text_parse(text), got;

	ck_assert_msg(w != NULL, "line %d: nothing was sent, not %s", line, text);
	list_remove(&w->link);
	got = wire_parse(w);
	ck_assert_msg(text_match(&t, &got), "line %d: %s, not %s", line, text_of(&got), text);
	free(w);
}

static inline void nothing_at(int line)
{
	struct wire *w = list_first(&net.sent, struct wire, link);
	struct text_seg got;

	if (!w)
		return;
	got = wire_parse(w);
	ck_abort_msg("line %d: %s, not nothing", line, text_of(&got));
}

#define expect(text) expect_at(text, __LINE__)
#define nothing() nothing_at(__LINE__)

static inline void forget(void)
{
	struct wire *w;

	while ((w = list_first(&net.sent, struct wire, link))) {
		list_remove(&w->link);
		free(w);
	}
}

/* ---- endpoints ---- */

static inline void deliver(struct wakeup *w __unused, uint32_t events)
{
	net.events |= events;
}

static inline void hold(struct wakeup *w __unused)
{
}

static struct wakeup waker __attribute__((unused)) = {.link = LIST_INIT(waker.link), .deliver = deliver, .hold = hold};

/* The events since the last call. */
static inline uint32_t events(void)
{
	uint32_t e = net.events;

	net.events = 0;
	return e;
}

/* So that the leak checker finds what a test has left. */
static struct tcp_sock *kept[64] __attribute__((unused));
static unsigned kept_count __attribute__((unused));

static inline struct tcp_sock *keep(struct tcp_sock *tp)
{
	kept[kept_count++ % ARRAY_SIZE(kept)] = tp;
	tp->wakeup = &waker;
	return tp;
}

static inline struct tcp_sock *sock_new(bool v6)
{
	struct tcp_sock *tp;

	stack_enter(S);
	tp = tcp_create(S, v6);
	ck_assert_ptr_nonnull(tp);
	stack_leave(S);
	return keep(tp);
}

/* A call with the lock held. */
#define DO(s, call)                                                                                                    \
	({                                                                                                             \
		__typeof__(call) r_;                                                                                   \
		stack_enter(s);                                                                                        \
		r_ = (call);                                                                                           \
		stack_leave(s);                                                                                        \
		r_;                                                                                                    \
	})
#define DO_VOID(s, call)                                                                                               \
	do {                                                                                                           \
		stack_enter(s);                                                                                        \
		call;                                                                                                  \
		stack_leave(s);                                                                                        \
	} while (0)

/* n bytes in one buffer: the stream's, from its byte `at` on. */
static inline ssize_t send_bytes(struct stack *s, struct tcp_sock *tp, uint32_t at, uint32_t n, int flags)
{
	struct slice slice = {buf_create(n), 0, n};
	ssize_t r;

	if (!slice.buf)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		slice.buf->data[i] = byte_at(at + i);
	slice.buf->used = n;
	r = DO(s, tcp_send(tp, &slice, 1, flags));
	return r;
}

/* Up to n bytes, which must be those of the stream from `at` on. */
static inline ssize_t recv_bytes(struct stack *s, struct tcp_sock *tp, uint32_t at, size_t n, int flags)
{
	struct slice slices[8];
	unsigned count = ARRAY_SIZE(slices);
	ssize_t r = DO(s, tcp_recv(tp, slices, &count, n, flags, 0));

	for (unsigned i = 0; i < count; i++) {
		for (uint32_t j = 0; j < slices[i].len; j++, at++)
			MUST(slices[i].buf->data[slices[i].off + j] == byte_at(at));
		buf_put(slices[i].buf);
	}
	return r;
}

static inline void setup(void)
{
	net.now = 1000 * NSEC_PER_SEC;
	net.random = 1;
	net.mtu = 1500;
	net.lport = 8080;
	net.rport = 4000;
	list_init(&net.sent);
	S = stack_at(&net.wake_at);
	net_setup(S, &our_addr);
}

static inline struct tcp_sock *listener(int backlog, bool v6)
{
	struct tcp_sock *tp = sock_new(v6);

	IS(DO(S, tcp_bind(tp, v6 ? &in6addr_any : &any4, 8080)), 0);
	IS(DO(S, tcp_listen(tp, backlog)), 0);
	return tp;
}

static inline struct tcp_sock *accepted(struct tcp_sock *l)
{
	struct tcp_sock *tp = NULL;

	IS(DO(S, tcp_accept(l, &tp)), 0);
	return keep(tp);
}

/* The listener that a SYN to us finds. */
static inline struct tcp_sock *the_listener(void)
{
	struct tcp_key key = {our_addr, peer_addr, 8080, 1};

	return DO(S, tcp_find_listener(S->tcp, &key, 0));
}

/* A passive connection with the options that the peer's SYN has. */
static inline struct tcp_sock *established(const char *options)
{
	struct tcp_sock *l = listener(5, false), *tp;
	char text[200];

	snprintf(text, sizeof(text), "S 0:0(0) win 65535 <%s>", options);
	inject(text);
	forget();
	net.now += net.rtt;
	inject(strstr(options, "TS") ? ". 1:1(0) ack 1 win 65535 <TS val 101 ecr 0>" : ". 1:1(0) ack 1 win 65535");
	tp = accepted(l);
	events();
	return tp;
}

struct live_query {
	const char *name;
	size_t live;
};

static inline void count_live(const struct slab *s, void *arg)
{
	struct live_query *q = arg;

	if (strcmp(s->name, q->name) == 0)
		q->live += s->live;
}

static inline size_t slab_live(const char *name)
{
	struct live_query q = {name, 0};

	slab_for_each(count_live, &q);
	return q.live;
}

/* ---- invariants ---- */

/* What the sums say must be what the lists have. */
static inline void check_sock(const struct tcp_sock *tp)
{
	uint32_t sacked = 0, lost = 0, retrans = 0, at = tp->snd_una;
	const struct tcp_tx *tx;
	const struct tcp_early *e;
	const struct tcp_chunk *c;
	uint32_t rmem = 0, early = 0;

	list_for_each(tx, &tp->flight, link) {
		MUST(tx->seq == at);
		MUST(seq_before(tx->seq, tx->end));
		MUST(!(tx->sacked && tx->lost));
		at = tx->end;
		sacked += tx->sacked ? tx->end - tx->seq : 0;
		lost += tx->lost ? tx->end - tx->seq : 0;
		retrans += tx->retrans ? tx->end - tx->seq : 0;
	}
	MUST(at == tp->snd_nxt || list_empty(&tp->flight));
	MUST(lost == tp->lost && retrans == tp->retrans);
	MUST(!tp->sack_ok || sacked == tp->sacked);
	list_for_each(c, &tp->recvq, link)
		rmem += c->s.len + TCP_CHUNK_COST;
	list_for_each(e, &tp->early, link) {
		MUST(early == 0 || !seq_before(e->seq, at));
		MUST(e->pkt->len == e->end - e->seq);
		rmem += e->end - e->seq + (uint32_t)(sizeof(struct tcp_early) + sizeof(struct pkt));
		at = e->end;
		early++;
	}
	MUST(rmem == tp->rmem && early == tp->early_count);
	MUST(tp->rmem <= tp->rcvbuf + 70000);
	MUST(tp->cwnd > 0 || tp->ep.state == TCP_CLOSE);
}

static inline void check_all(const struct tcp_ep *ep, void *arg)
{
	*(unsigned *)arg += ep->state != TCP_LISTEN;
	if (ep->kind == TCP_IS_SOCK && ep->state != TCP_LISTEN)
		check_sock((const struct tcp_sock *)ep);
}

static inline void check(struct stack *s)
{
	unsigned count = 0;

	stack_enter(s);
	tcp_for_each(s, check_all, &count);
	MUST(count == s->tcp->conn_count);
	stack_leave(s);
}
