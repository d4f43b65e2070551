/* TCP Fast Open, RFC 7413: both sides, and what strangers may do with it. */
#include "tests/unit/tcpnet.h"

#include "tests/unit/tcpscript.h"

static struct tcp_sock *fast_listener(unsigned queue)
{
	struct tcp_sock *l = listener(5, false);

	stack_enter(S);
	tcp_conf(S)->fastopen = TCP_FASTOPEN_CLIENT | TCP_FASTOPEN_SERVER;
	l->fastopen_queue = queue;
	stack_leave(S);
	return l;
}

/* A SYN from the peer with a cookie, if c, and n bytes. */
static void syn(const struct tcp_cookie *c, unsigned n)
{
	char text[100];
	struct text_seg t;
	struct wire *w;

	snprintf(text, sizeof(text), "S 0:%u(%u) win 20000 <mss 1000,sackOK>", n, n);
	t = text_parse(text);
	t.opt.fastopen = c != NULL;
	if (c)
		t.opt.cookie = *c;
	w = wire_make(&t);
	wire_in(S, w);
	free(w);
}

/* The next segment that we sent. */
static struct text_seg next(struct tcp_cookie *ret)
{
	struct wire *w = list_first(&net.sent, struct wire, link);
	const struct tcphdr *th;
	struct tcp_options o;
	struct text_seg t;

	ck_assert_ptr_nonnull(w);
	list_remove(&w->link);
	t = wire_parse(w);
	th = (const struct tcphdr *)w->data;
	tcp_options_parse(&o, (const uint8_t *)(th + 1), th->th_off * 4u - sizeof(*th), t.flags & TH_SYN);
	if (ret)
		*ret = o.fastopen ? o.cookie : (struct tcp_cookie){.size = 99};
	free(w);
	return t;
}

static struct tcp_cookie ask(void)
{
	static const struct tcp_cookie none;
	struct tcp_cookie c;

	syn(&none, 0);
	ck_assert_uint_eq(next(&c).flags, TH_SYN | TH_ACK);
	inject("R 1:1(0)");
	net.rport++;
	return c;
}

START_TEST(server)
{
	struct tcp_sock *l, *tp;
	struct tcp_cookie c;
	struct text_seg t;

	setup();
	l = fast_listener(2);
	c = ask();
	IS(c.size, 8);
	syn(&c, 100);
	t = next(NULL);
	IS(t.flags, TH_SYN | TH_ACK);
	IS(t.ack, 101);
	tp = accepted(l);
	IS(tp->ep.state, TCP_SYN_RECV);
	ck_assert(DO(S, tcp_poll(tp)) & POLLIN);
	IS(DO(S, tcp_inq(tp)), 100);
	IS(recv_bytes(S, tp, 0, 1000, 0), 100);
	IS(DO(S, tcp_send_room(tp)), -EAGAIN);
	/* The SYN+ACK is lost, and comes again. */
	pass(1500);
	t = next(NULL);
	IS(t.flags, TH_SYN | TH_ACK);
	IS(t.ack, 101);
	IS(S->tcp->fastopen_pending, 1);
	inject(". 101:101(0) ack 1 win 20000");
	IS(tp->ep.state, TCP_ESTABLISHED);
	IS(S->tcp->fastopen_pending, 0);
	forget();
	IS(send_bytes(S, tp, 0, 500, 0), 500);
	expect("P. 1:501(500) ack 101");
	inject("F. 101:101(0) ack 501");
	IS(tp->ep.state, TCP_CLOSE_WAIT);
}
END_TEST

START_TEST(refused)
{
	struct tcp_sock *l, *tp;
	struct tcp_cookie c, wrong, got;
	struct text_seg t;

	setup();
	l = fast_listener(2);
	c = ask();
	wrong = c;
	wrong.bytes[3] ^= 1;
	syn(&wrong, 100);
	t = next(&got);
	IS(t.ack, 1); /* the data is not taken, and a cookie given */
	IS(got.size, 8);
	IS(memcmp(got.bytes, c.bytes, 8), 0);
	IS(DO(S, tcp_poll(l)), 0);
	net.rport++;
	/* No more than the listener allows at once. */
	for (unsigned i = 0; i < 5; i++, net.rport++) {
		syn(&c, 10);
		IS(next(NULL).ack, i < 2 ? 11 : 1);
	}
	IS(S->tcp->fastopen_pending, 2);
	tp = accepted(l);
	IS(recv_bytes(S, tp, 0, 100, 0), 10);
	DO_VOID(S, tcp_close(tp, false));
	DO_VOID(S, tcp_release(tp));
	pass(1000000);
	forget();
	IS(S->tcp->fastopen_pending, 0);
	DO_VOID(S, tcp_release(l));
	forget();
	/* Another address has another cookie. */
	peer_addr.s6_addr[15] = 77;
	l = fast_listener(2);
	syn(&c, 10);
	IS(next(NULL).ack, 1);
}
END_TEST

static struct tcp_sock *client(uint32_t n, uint32_t *ret_sent)
{
	struct tcp_sock *tp = sock_new(false);
	struct slice s = {buf_create(1460), 0, n};

	for (uint32_t i = 0; i < n; i++)
		s.buf->data[i] = byte_at(1 + i);
	s.buf->used = n;
	tp->fastopen_ask = true;
	IS(DO(S, tcp_connect_data(tp, &peer_addr, 80, &s, ret_sent)), -EINPROGRESS);
	return tp;
}

/* The peer's answer to our SYN. */
static void answer(uint32_t ack, const struct tcp_cookie *c)
{
	char text[100];
	struct text_seg t;
	struct wire *w;

	snprintf(text, sizeof(text), "S. 0:0(0) ack %u win 20000 <mss 1000,sackOK>", ack);
	t = text_parse(text);
	t.opt.fastopen = c != NULL;
	if (c)
		t.opt.cookie = *c;
	w = wire_make(&t);
	wire_in(S, w);
	free(w);
}

START_TEST(clients)
{
	static const struct tcp_cookie given = {6, {1, 2, 3, 4, 5, 6}};
	struct tcp_sock *tp;
	struct tcp_cookie c;
	struct text_seg t;
	uint32_t sent;

	setup();
	IS(DO(S, tcp_fastopen_known(S, &peer_addr)), false);
	tp = client(100, &sent);
	IS(sent, 0);
	t = next(&c);
	IS(t.len, 0);
	IS(c.size, 0); /* asks */
	answer(1, &given);
	IS(tp->ep.state, TCP_ESTABLISHED);
	forget();
	IS(DO(S, tcp_fastopen_known(S, &peer_addr)), true);
	/* The next one brings it, and data. */
	tp = client(100, &sent);
	IS(sent, 100);
	t = next(&c);
	IS(t.flags, TH_SYN);
	IS(t.len, 100);
	IS(c.size, 6);
	answer(101, NULL);
	IS(tp->ep.state, TCP_ESTABLISHED);
	expect(". 101:101(0) ack 1");
	nothing();
	/* The server does not want it: it comes again at once. */
	tp = client(100, &sent);
	IS(sent, 100);
	forget();
	answer(1, NULL);
	expect(". 101:101(0) ack 1");
	t = next(NULL);
	IS(t.seq, 1);
	IS(t.len, 100);
	inject(". 1:1(0) ack 101");
	IS(DO(S, tcp_outq(tp)), 0);
	/* Nobody answers: without data and cookie, then. */
	tp = client(1460, &sent);
	ck_assert_uint_gt(sent, 1000);
	forget();
	pass(1500);
	t = next(&c);
	IS(t.flags, TH_SYN);
	IS(t.len, 0);
	IS(c.size, 99);
	answer(1, NULL);
	t = next(NULL);
	t = next(NULL);
	IS(t.seq, 1);
	ck_assert_uint_gt(t.len, 0);
	DO_VOID(S, tcp_close(tp, true));
	forget();
}
END_TEST

UNIT_MAIN(server, refused, clients)
