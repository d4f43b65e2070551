/* What TCP endpoints keep in memory: one by one, and all together. */
#include "tests/unit/tcpnet.h"

#include "tests/unit/tcpscript.h"

/* As inject(), in a buffer of 64 KiB, as a guest's raw packet may be. */
static void inject_large(const char *text)
{
	struct text_seg t = text_parse(text);
	struct wire *w = wire_make(&t);
	struct buf *b = buf_create(65000);
	struct pkt *p = pkt_create();
	size_t head = put_ip4(b->data, w);

	memcpy(b->data + head, w->data, w->size);
	b->used = b->size;
	MUST(pkt_append(p, b, 0, b->size));
	pkt_trim(p, (uint32_t)(head + w->size));
	buf_put(b);
	free(w);
	stack_enter(S);
	netdev_receive(S, netdev_by_name(S, "test0"), p);
	stack_leave(S);
}

/* Bytes of the buffers of a queue of chunks; those that stand in a row count once. */
static uint64_t pinned(const struct list *q)
{
	const struct buf *last = NULL;
	const struct tcp_chunk *c;
	uint64_t sum = 0;

	list_for_each(c, q, link) {
		if (c->s.buf != last)
			sum += c->s.buf->size;
		last = c->s.buf;
	}
	return sum;
}

static uint64_t pinned_early(const struct tcp_sock *tp)
{
	const struct tcp_early *e;
	uint64_t sum = 0;

	list_for_each(e, &tp->early, link)
		sum += sizeof(*e) + sizeof(*e->pkt) + pkt_pinned(e->pkt);
	return sum;
}

START_TEST(received)
{
	struct tcp_sock *tp;
	uint32_t at = 1;
	char text[100];

	setup();
	tp = established("mss 1460,sackOK");
	for (unsigned n = 1; n < 1500; n += 7) {
		snprintf(text, sizeof(text), ". %u:%u(%u) ack 1", at, at + n, n);
		inject_large(text);
		forget();
		if (tp->rcv_nxt - tp->irs - 1 == at - 1)
			break; /* the window is full */
		at += n;
		ck_assert_uint_le(pinned(&tp->recvq), 2 * tp->rmem + 4096);
	}
	ck_assert_uint_gt(at, 30000);
	IS(recv_bytes(S, tp, 1, 10000, 0), 10000);
}
END_TEST

START_TEST(early)
{
	struct tcp_sock *tp;
	char text[100];

	setup();
	tp = established("mss 1460,sackOK");
	for (unsigned at = 2; at < 30000; at += 300 + at % 700) {
		snprintf(text, sizeof(text), ". %u:%u(%u) ack 1", at, at + 1 + at % 200, 1 + at % 200);
		inject_large(text);
		forget();
	}
	ck_assert_uint_gt(tp->early_count, 20);
	ck_assert_uint_le(pinned_early(tp), 2 * tp->rmem);
}
END_TEST

START_TEST(sent)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1460,sackOK");
	for (unsigned i = 0; i < 1000 && DO(S, tcp_send_room(tp)) > 0; i++) {
		struct slice s = {buf_create(65000), 0, 1};

		s.buf->data[0] = 0;
		s.buf->used = 1;
		IS(DO(S, tcp_send(tp, &s, 1, 0)), 1);
	}
	ck_assert_uint_le(pinned(&tp->sendq), 2 * tp->wmem);
	forget();
}
END_TEST

static void limit_to(uint32_t low, uint32_t pressure, uint32_t high)
{
	net_memory_set_limits(&tcp_memory, (const uint32_t[]){low, pressure, high});
}

/* Sends until there is no room: how much. */
static uint32_t fill(struct tcp_sock *tp)
{
	uint32_t n = 0;

	while (DO(S, tcp_send_room(tp)) > 0)
		n += (uint32_t)send_bytes(S, tp, n, 1000, 0);
	return n;
}

START_TEST(senders)
{
	struct tcp_sock *tp;
	uint32_t n;

	setup();
	IS(net_memory_used(&tcp_memory), 0);
	tp = established("mss 1000,sackOK");
	limit_to(1, 2, 2);
	events();
	n = fill(tp);
	ck_assert_uint_ge(n, 3000); /* the smallest buffer */
	ck_assert_uint_le(n, 12000);
	ck_assert(net_memory_pressure(&tcp_memory));
	IS(DO(S, tcp_poll(tp)) & POLLOUT, 0);
	inject(". 1:1(0) ack 2001 win 65535");
	ck_assert_uint_le(net_memory_used(&tcp_memory), 3);
	for (uint32_t at = 3001; at <= n + 1; at += 1000) {
		char text[100];

		snprintf(text, sizeof(text), ". 1:1(0) ack %u win 65535", at);
		inject(text);
	}
	ck_assert(events() & POLLOUT);
	IS(net_memory_used(&tcp_memory), 0);
	ck_assert(!net_memory_pressure(&tcp_memory));
	limit_to(1000, 2000, 4000);
	ck_assert_uint_gt(fill(tp), 12000);
	forget();
	DO_VOID(S, tcp_close(tp, true));
	DO_VOID(S, tcp_release(tp));
	IS(net_memory_used(&tcp_memory), 0);
}
END_TEST

START_TEST(receivers)
{
	struct tcp_sock *tp;
	uint32_t at = 1;
	char text[100];

	setup();
	tp = established("mss 1000,sackOK");
	limit_to(1, 2, 4);
	for (unsigned i = 0; i < 60; i++, at += 1000) {
		snprintf(text, sizeof(text), ". %u:%u(1000) ack 1", at, at + 1000);
		inject(text);
	}
	ck_assert_uint_ge(tp->rmem, 4096);
	ck_assert_uint_le(tp->rmem, 5 * 4096);
	forget();
	/* Early ones go first. */
	at = tp->rcv_nxt - tp->irs;
	IS(recv_bytes(S, tp, 1, 100000, 0) > 0, true);
	while (recv_bytes(S, tp, 0, 0, 0) > 0)
		;
	forget();
	/* The window is some segments while there is pressure. */
	limit_to(0, 0, 4000);
	tp->rcv_wup = tp->rcv_nxt;
	tp->rcv_wnd = 0;
	IS(DO(S, tcp_select_window(tp)) <= 4u * tp->advmss + 1, true);
	IS(DO(S, tcp_select_window(tp)) > 0, true);
	limit_to(1000, 2000, 4000);
}
END_TEST

START_TEST(orphans)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000,sackOK");
	send_bytes(S, tp, 0, 16000, 0);
	forget();
	limit_to(1, 1, 1);
	DO_VOID(S, tcp_close(tp, false));
	DO_VOID(S, tcp_release(tp));
	IS(slab_live("struct tcp_sock"), 1); /* the listener */
	IS(net_memory_used(&tcp_memory), 0);
	forget();
	limit_to(1000, 2000, 4000);
}
END_TEST

/* What an acknowledgment has to look through. */
START_TEST(records)
{
	struct tcp_sock *tp;
	char text[200];

	setup();
	tp = established("mss 48,sackOK");
	IS(tp->mss, 48);
	tp->cwnd = 1000000;
	tp->snd_wnd = tp->max_window = 1000000;
	DO_VOID(S, tcp_set_sndbuf(tp, 4000000));
	for (uint32_t at = 0; at < 500000; at += 50000)
		IS(send_bytes(S, tp, at, 50000, 0), 50000);
	for (unsigned i = 1; i < 9000; i++) {
		uint32_t from = 1 + i * 96;

		if (from + 48 > tp->snd_nxt - tp->iss)
			break;
		snprintf(text, sizeof(text), ". 1:1(0) ack 1 win 65535 <sack %u:%u>", from, from + 48);
		inject(text);
		forget();
		ck_assert_uint_le(tp->tx_count, TCP_TX_MAX + 2);
	}
	ck_assert_uint_gt(tp->tx_count, TCP_TX_MAX / 2);
	/* It goes on nevertheless. */
	snprintf(text, sizeof(text), ". 1:1(0) ack %u win 65535", tp->snd_nxt - tp->iss);
	inject(text);
	forget();
	IS(tp->tx_count <= 1, true);
	IS(tp->sacked, 0);
}
END_TEST

UNIT_MAIN(received, early, sent, senders, receivers, orphans, records)
