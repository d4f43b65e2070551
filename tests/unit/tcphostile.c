/*
 * net/stack/tcp*.c: segments from somebody who means harm, at every state of a connection. They may end a connection as
 * the rules say; they must not break an invariant, read what is not theirs, or make us keep more than buffers allow.
 */
#include "tests/unit/tcpscript.h"

#define ROUNDS 3000

static uint64_t seed;

static uint32_t pick(uint32_t n)
{
	return (uint32_t)(next_random(&seed) % MAX(n, 1u));
}

/* A number near one that matters, or anywhere. */
static uint32_t near_to(uint32_t n, uint32_t span)
{
	switch (pick(6)) {
	case 0:
		return n;
	case 1:
		return n + pick(span);
	case 2:
		return n - pick(span);
	case 3:
		return n + pick(4) - 2;
	case 4:
		return n + span / 2;
	default:
		return pick(UINT32_MAX);
	}
}

/* ---- segments ---- */

static void random_options(uint8_t *p, size_t n, const struct tcp_sock *tp)
{
	struct tcp_options o = {0};
	uint8_t good[TCP_OPTIONS_MAX] = {0};
	size_t used;

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(pick(3) ? pick(12) : pick(256));
	if (pick(2) || n < TCP_OPTIONS_MAX)
		return;
	o.ts_ok = pick(2);
	o.tsval = near_to(tp->ts_recent, 1000);
	o.tsecr = near_to(tcp_ts(net.now, tp->ts_offset), 5000);
	o.sack_count = (uint8_t)pick(4);
	for (unsigned i = 0; i < o.sack_count; i++) {
		o.sacks[i].start = near_to(tp->snd_una, 20000);
		o.sacks[i].end = near_to(o.sacks[i].start, 8000);
	}
	memset(p, 0, n);
	used = tcp_options_build(&o, good);
	memcpy(p, good, used);
}

static void attack(const struct tcp_sock *tp)
{
	size_t options = pick(3) ? 4 * pick(11) : TCP_OPTIONS_MAX, data = pick(3) ? 0 : pick(3000);
	struct wire *w = calloc(1, sizeof(*w) + sizeof(struct tcphdr) + options + data);
	struct tcphdr *th = (struct tcphdr *)w->data;

	*w = (struct wire){.src = tp->ep.key.raddr, .dst = tp->ep.key.laddr, .tos = (uint8_t)pick(4)};
	w->size = sizeof(*th) + options + data;
	*th = (struct tcphdr){.th_sport = htons(tp->ep.key.rport),
			      .th_dport = htons(tp->ep.key.lport),
			      .th_seq = htonl(near_to(tp->rcv_nxt, 70000)),
			      .th_ack = htonl(near_to(pick(2) ? tp->snd_una : tp->snd_nxt, 20000)),
			      .th_off = (uint8_t)(pick(50) ? (sizeof(*th) + options) / 4 : pick(16)) & 15,
			      .th_flags = (uint8_t)(pick(2)   ? TH_ACK
						    : pick(4) ? TH_ACK | (1u << pick(8))
							      : pick(256)),
			      .th_win = htons((uint16_t)(pick(3) ? pick(65536) : pick(3))),
			      .th_urp = htons((uint16_t)pick(65536))};
	random_options((uint8_t *)(th + 1), options, tp);
	if (pick(20) == 0)
		w->size = pick((uint32_t)w->size);
	if (w->size >= sizeof(*th))
		th->th_sum = tcp_sum(w);
	wire_in(S, w);
	free(w);
}

/* ---- the victim ---- */

static const uint8_t states[] = {TCP_LISTEN,    TCP_SYN_SENT,   TCP_SYN_RECV, TCP_ESTABLISHED, TCP_FIN_WAIT1,
				 TCP_FIN_WAIT2, TCP_CLOSE_WAIT, TCP_CLOSING,  TCP_LAST_ACK,    TCP_TIME_WAIT};

static struct tcp_sock *victim(uint8_t state, struct tcp_sock **l)
{
	static const char *const options[] = {"mss 1000", "mss 1000,sackOK",
					      "mss 500,sackOK,TS val 100 ecr 0,wscale 3"};
	struct tcp_sock *tp;

	*l = NULL;
	net.lport = 8080;
	net.rport = 4000;
	if (state == TCP_SYN_SENT || state == TCP_SYN_RECV) {
		tp = sock_new(false);
		IS(DO(S, tcp_connect(tp, &peer_addr, 80)), -EINPROGRESS);
		if (state == TCP_SYN_RECV)
			inject("S 0:0(0) win 1000 <mss 1000,sackOK>");
		return tp;
	}
	if (state == TCP_LISTEN)
		return listener(3, false);
	tp = established(options[pick(3)]);
	*l = the_listener();
	send_bytes(S, tp, 0, pick(30000) + 1, 0);
	if (state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK)
		inject("F. 1:1(0) ack 1");
	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT)
		DO_VOID(S, (void)tcp_shutdown(tp, TCP_SHUT_SEND));
	if (state == TCP_CLOSING)
		inject("F. 1:1(0) ack 1");
	return tp;
}

static void act(struct tcp_sock *tp)
{
	switch (pick(8)) {
	case 0:
		pass(pick(3000));
		break;
	case 1:
		pass(pick(20));
		break;
	case 2:
		send_bytes(S, tp, 0, pick(5000) + 1, pick(8) ? 0 : MSG_OOB);
		break;
	case 3: {
		struct slice slices[4];
		unsigned count = 4;

		DO_VOID(S, (void)tcp_recv(tp, slices, &count, pick(5000), 0, 0));
		for (unsigned i = 0; i < count; i++)
			buf_put(slices[i].buf);
		break;
	}
	default:
		break;
	}
}

static void let_go(struct tcp_sock *l)
{
	struct tcp_sock *c = NULL;

	if (!l)
		return;
	while (DO(S, tcp_accept(l, &c)) == 0)
		DO_VOID(S, tcp_release(c));
	DO_VOID(S, tcp_release(l));
}

static void torture(unsigned round)
{
	uint8_t state = states[round % ARRAY_SIZE(states)];
	struct tcp_sock *l, *tp = victim(state, &l);
	bool is_listener = tp->ep.state == TCP_LISTEN;

	tp->rcvbuf_locked = tp->sndbuf_locked = true;
	for (unsigned i = pick(60); i > 0; i--) {
		attack(tp);
		check(S);
		forget();
		if (!is_listener)
			act(tp);
		check(S);
	}
	if (is_listener) {
		let_go(tp);
	} else {
		DO_VOID(S, tcp_release(tp));
		let_go(l);
	}
	pass(10000000); /* everything ends by itself */
	forget();
	MUST(S->tcp->conn_count == 0);
}

START_TEST(every_state)
{
	const char *from = getenv("TCPHOSTILE_SEED");

	seed = from ? strtoull(from, NULL, 0) : 1;
	setup();
	for (unsigned i = 0; i < ROUNDS; i++)
		torture(i);
	IS(slab_live("struct tcp_sock"), 0);
	IS(slab_live("struct tcp_tx"), 0);
	IS(slab_live("struct tcp_chunk"), 0);
	IS(slab_live("struct tcp_early"), 0);
	IS(slab_live("struct pkt"), 0);
}
END_TEST

/* ---- memory ---- */

START_TEST(tiny_early_segments)
{
	struct tcp_sock *tp;
	char text[100];

	setup();
	tp = established("mss 1000,sackOK");
	for (unsigned i = 0; i < 30000; i++) {
		snprintf(text, sizeof(text), ". %u:%u(1) ack 1", 3 + 2 * i, 4 + 2 * i);
		inject(text);
		forget();
	}
	ck_assert_uint_le(tp->rmem, tp->rcvbuf);
	ck_assert_uint_le(slab_live("struct pkt"), 400);
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(text, sizeof(text), ". %u:%u(1) ack 1", 1 + i, 2 + i);
		inject(text);
		forget();
	}
	IS(recv_bytes(S, tp, 1, 100000, 0), 3000);
}
END_TEST

START_TEST(syn_flood)
{
	struct tcp_sock *l;

	setup();
	l = listener(100, false);
	for (unsigned i = 0; i < 20000; i++) {
		net.rport = (uint16_t)i;
		peer_addr.s6_addr[15] = (uint8_t)(2 + i % 200);
		inject("S 0:0(0) win 1000 <mss 1000,sackOK,TS val 1 ecr 0,wscale 3>");
		forget();
	}
	IS(l->request_count, 100);
	IS(slab_live("struct tcp_request"), 100);
	DO_VOID(S, tcp_release(l));
	IS(slab_live("struct tcp_request"), 0);
}
END_TEST

START_TEST(alternate_sacks)
{
	struct tcp_sock *tp;
	char text[200];

	setup();
	tp = established("mss 1000,sackOK");
	tp->cwnd = 60000;
	IS(send_bytes(S, tp, 0, 60000, 0), 60000);
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(text, sizeof(text), ". 1:1(0) ack 1 win 65535 <sack %u:%u,sack %u:%u>", 3 * i + 1, 3 * i + 2,
			 3 * i + 700, 3 * i + 701);
		inject(text);
		forget();
	}
	ck_assert_uint_le(slab_live("struct tcp_tx"), 130);
}
END_TEST

START_TEST(every_truncation)
{
	static const uint8_t all[] = {2, 4,  5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7,
				      5, 18, 0, 0,   0, 1, 0, 0,  0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0};
	struct tcp_options o;

	/* Each in memory of its own, so that the sanitizer sees a byte too far. */
	for (size_t n = 0; n <= sizeof(all); n++) {
		for (int syn = 0; syn < 2; syn++) {
			uint8_t *copy = malloc(MAX(n, (size_t)1));

			memcpy(copy, all, n);
			tcp_options_parse(&o, copy, n, syn);
			for (size_t i = 0; i < n; i++) {
				uint8_t was = copy[i];

				for (unsigned v = 0; v < 256; v += 1 + v / 20) {
					copy[i] = (uint8_t)v;
					tcp_options_parse(&o, copy, n, syn);
				}
				copy[i] = was;
			}
			free(copy);
		}
	}
	tcp_options_parse(&o, all, sizeof(all), true);
	IS(o.mss, 1460);
	IS(o.wscale, 7);
	IS(o.tsecr, 2);
	IS(o.sack_count, 0);
	setup();
	listener(3, false);
	for (size_t n = 0; n < 60; n++) {
		struct text_seg t = text_parse("S 0:0(0) win 1000 <mss 1000,sackOK,TS val 1 ecr 0,wscale 3>");
		struct wire *w = wire_make(&t);

		w->size = MIN(w->size, n);
		wire_in(S, w);
		free(w);
	}
	forget();
}
END_TEST

/* ---- no memory ---- */

static int conversation(void *arg __unused)
{
	struct tcp_sock *l = NULL, *tp = NULL;
	int err = -ENOMEM;

	stack_enter(S);
	l = tcp_create(S, false);
	stack_leave(S);
	if (!l)
		return -ENOMEM;
	net.rport++;
	if (DO(S, tcp_bind(l, &any4, 8080)) || DO(S, tcp_listen(l, 5)))
		goto out;
	inject("S 0:0(0) win 65535 <mss 1000,sackOK>");
	forget();
	inject(". 1:1(0) ack 1");
	if (DO(S, tcp_accept(l, &tp)))
		goto out;
	inject("P. 1001:2001(1000) ack 1");
	inject("P. 1:1001(1000) ack 1");
	err = (int)send_bytes(S, tp, 0, 3000, 0);
	err = err > 0 ? 0 : err;
	if (!err && recv_bytes(S, tp, 1, 5000, 0) != 2000)
		err = -ENOMEM;
out:
	if (tp)
		DO_VOID(S, tcp_release(tp));
	DO_VOID(S, tcp_release(l));
	pass(4000000);
	if (!err && list_empty(&net.sent))
		err = -ENOMEM;
	forget();
	return err;
}

START_TEST(no_memory)
{
	setup();
	unit_each_allocation_fails(conversation, NULL);
	IS(S->tcp->conn_count, 0);
	IS(slab_live("struct tcp_sock"), 0);
}
END_TEST

UNIT_MAIN(every_state, tiny_early_segments, syn_flood, alternate_sacks, every_truncation, no_memory)
