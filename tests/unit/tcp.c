/* net/stack/tcp*.c: connections, as scripts of segments. */
#include "tests/unit/tcpscript.h"

START_TEST(passive_open)
{
	struct tcp_sock *l, *tp;

	setup();
	l = listener(5, false);
	IS(DO(S, tcp_poll(l)), 0);
	inject("S 0:0(0) win 32000 <mss 1460,sackOK,wscale 7>");
	expect("S. 0:0(0) ack 1 win 64240 <mss 1460,sackOK,wscale 7>");
	inject(". 1:1(0) ack 1 win 250");
	nothing();
	IS(DO(S, tcp_poll(l)), POLLIN | POLLRDNORM);
	tp = accepted(l);
	IS(tp->ep.state, TCP_ESTABLISHED);
	IS(tp->snd_wnd, 250 << 7);
	IS(DO(S, tcp_poll(tp)), POLLOUT | POLLWRNORM);
	inject("P. 1:101(100) ack 1 win 250");
	expect(". 1:1(0) ack 101");
	IS(recv_bytes(S, tp, 1, 1000, 0), 100);
	IS(recv_bytes(S, tp, 1, 1000, 0), -EAGAIN);
	IS(send_bytes(S, tp, 0, 10, 0), 10);
	expect("P. 1:11(10) ack 101");
}
END_TEST

START_TEST(active_open)
{
	struct tcp_sock *tp;

	setup();
	tp = sock_new(false);
	IS(DO(S, tcp_poll(tp)), POLLOUT | POLLWRNORM | POLLHUP);
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), -EINPROGRESS);
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), -EALREADY);
	expect("S 0:0(0) win 64240 <mss 1460,sackOK,TS,wscale 7>");
	IS(DO(S, tcp_poll(tp)), 0);
	pass(1000);
	expect("S 0:0(0)");
	pass(2000);
	expect("S 0:0(0)");
	inject("S. 0:0(0) ack 1 win 60000 <mss 1000>");
	expect(". 1:1(0) ack 1 <none>");
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), 0);
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), -EISCONN);
	ck_assert_uint_eq(events() & POLLOUT, POLLOUT);
	IS(send_bytes(S, tp, 0, 3000, 0), 3000);
	expect(". 1:1001(1000) ack 1"); /* the SYN was lost: one segment at first */
	nothing();
	inject(". 1:1(0) ack 1001");
	expect(". 1001:2001(1000) ack 1");
	expect("P. 2001:3001(1000) ack 1");
}
END_TEST

/* ---- opening ---- */

START_TEST(refused_and_unanswered)
{
	struct tcp_sock *tp;

	setup();
	tp = sock_new(false);
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), -EINPROGRESS);
	expect("S 0:0(0)");
	inject("R. 0:0(0) ack 2");
	IS(tp->ep.state, TCP_SYN_SENT); /* not for our SYN */
	inject("R. 0:0(0) ack 1");
	IS(DO(S, tcp_poll(tp)), POLLOUT | POLLWRNORM | POLLIN | POLLRDNORM | POLLRDHUP | POLLHUP | POLLERR);
	IS(DO(S, tcp_take_error(tp)), ECONNREFUSED);
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), -ECONNABORTED);
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), -EINPROGRESS);
	inject(". 0:0(0) ack 77"); /* half open: the peer has an older connection */
	expect("S 0:0(0)");
	expect("R 77:77(0)");
	pass(126000);
	IS(tp->ep.state, TCP_SYN_SENT);
	pass(2000);
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), -ETIMEDOUT);
	for (int i = 0; i < 6; i++)
		expect("S 0:0(0)");
	nothing();
}
END_TEST

START_TEST(simultaneous_open)
{
	struct tcp_sock *tp;

	setup();
	tp = sock_new(false);
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), -EINPROGRESS);
	expect("S 0:0(0) <mss 1460,sackOK,TS,wscale 7>");
	inject("S 0:0(0) win 1000 <mss 1000,wscale 2>");
	expect("S. 0:0(0) ack 1 <mss 1460,wscale 7>");
	IS(tp->ep.state, TCP_SYN_RECV);
	inject("S. 0:0(0) ack 1 win 1000 <mss 1000,wscale 2>");
	expect(". 1:1(0) ack 1");
	IS(tp->ep.state, TCP_ESTABLISHED);
	inject(". 1:1(0) ack 1 win 1000");
	IS(tp->snd_wnd, 4000);
	nothing();
}
END_TEST

START_TEST(nobody_listens)
{
	setup();
	inject("S 0:0(0) win 1000");
	expect("R. 0:0(0) ack 1");
	inject(". 5:15(10) ack 9");
	expect("R 9:9(0)");
	inject("R 5:5(0)");
	nothing();
}
END_TEST

START_TEST(synack_again)
{
	struct tcp_sock *l;

	setup();
	l = listener(5, false);
	inject("S 0:0(0) win 1000 <mss 1460>");
	expect("S. 0:0(0) ack 1 <mss 1460>");
	pass(1000);
	expect("S. 0:0(0) ack 1 <mss 1460>");
	pass(2000);
	expect("S. 0:0(0) ack 1 <mss 1460>");
	pass(1000);
	inject("S 0:0(0) win 1000 <mss 1460>");
	expect("S. 0:0(0) ack 1 <mss 1460>");
	inject(". 1:1(0) ack 2");
	expect("R 2:2(0)");
	inject("R 9:9(0)");
	IS(l->request_count, 1);
	inject("R 1:1(0)");
	IS(l->request_count, 0);
	inject("S 0:0(0) win 1000 <mss 1460>");
	IS(l->request_count, 1);
	pass(64000);
	IS(l->request_count, 0);
}
END_TEST

START_TEST(backlog)
{
	struct tcp_sock *l, *tp;

	setup();
	l = listener(1, false);
	for (net.rport = 1; net.rport <= 2; net.rport++) {
		inject("S 0:0(0) win 1000");
		inject(". 1:1(0) ack 1");
	}
	IS(l->accept_count, 2);
	forget();
	net.rport = 3;
	inject("S 0:0(0) win 1000");
	nothing();
	tp = accepted(l);
	inject("S 0:0(0) win 1000");
	expect("S. 0:0(0) ack 1");
	net.rport = 4;
	inject("S 0:0(0) win 1000"); /* the queue of requests is full: a cookie */
	expect("S. 0:0(0) ack 1");
	IS(l->request_count, 1);
	inject(". 1:1(0) ack 1");
	IS(l->accept_count, 2);
	net.rport = 5;
	net.iss ^= 0x10000;
	inject(". 1:1(0) ack 1");
	expect("R 1:1(0)");
	DO_VOID(S, tcp_release(tp));
	DO_VOID(S, tcp_release(l));
	IS(slab_live("struct tcp_sock"), 1); /* tp, whose FIN is on its way */
	IS(slab_live("struct tcp_request"), 0);
}
END_TEST

START_TEST(cookie_options)
{
	struct tcp_sock *l, *tp;
	uint32_t tsval;

	setup();
	l = listener(1, false);
	net.rport = 1;
	inject("S 0:0(0) win 1000");
	forget();
	net.rport = 2;
	inject("S 0:0(0) win 1000 <mss 1300,sackOK,TS val 5 ecr 0,wscale 9>");
	tsval = wire_parse(list_first(&net.sent, struct wire, link)).opt.tsval;
	expect("S. 0:0(0) ack 1 <mss 1460,sackOK,TS val 0 ecr 5,wscale 7>");
	{
		char text[100];

		snprintf(text, sizeof(text), "P. 1:11(10) ack 1 win 3 <TS val 6 ecr %u>", tsval);
		inject(text);
	}
	tp = accepted(l);
	IS(tp->sack_ok, 1);
	IS(tp->snd_wscale, 9);
	IS(tp->mss_clamp, 1300);
	IS(recv_bytes(S, tp, 1, 100, 0), 10);
}
END_TEST

/* ---- acknowledging ---- */

START_TEST(delayed_ack)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1460");
	tp->quick = 0;
	tp->ato = 40 * MS;
	inject("P. 1:101(100) ack 1");
	nothing();
	pass(39);
	nothing();
	pass(2);
	expect(". 1:1(0) ack 101");
	inject(". 101:1561(1460) ack 1");
	nothing();
	inject(". 1561:3021(1460) ack 1");
	expect(". 1:1(0) ack 3021");
	inject("P. 3021:3121(100) ack 1");
	IS(send_bytes(S, tp, 0, 5, 0), 5);
	expect("P. 1:6(5) ack 3121");
	pass(30);
	nothing();
}
END_TEST

START_TEST(nagle)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	IS(send_bytes(S, tp, 0, 10, 0), 10);
	expect("P. 1:11(10) ack 1");
	IS(send_bytes(S, tp, 10, 10, 0), 10);
	nothing();
	IS(send_bytes(S, tp, 20, 1000, 0), 1000);
	expect(". 11:1011(1000) ack 1");
	nothing();
	inject(". 1:1(0) ack 11");
	expect("P. 1011:1021(10) ack 1"); /* Minshall: no small one is under way */
	IS(send_bytes(S, tp, 1020, 10, 0), 10);
	nothing();
	IS(DO(S, tcp_set_option(tp, TCP_NODELAY, 1)), 0);
	expect("P. 1021:1031(10) ack 1");
	IS(send_bytes(S, tp, 1030, 10, 0), 10);
	expect("P. 1031:1041(10) ack 1");
	IS(send_bytes(S, tp, 1040, 10, MSG_MORE), 10);
	nothing();
	IS(send_bytes(S, tp, 1050, 10, 0), 10);
	expect("P. 1041:1061(20) ack 1");
	IS(DO(S, tcp_set_option(tp, TCP_CORK, 1)), 0);
	IS(send_bytes(S, tp, 1060, 1010, 0), 1010);
	expect(". 1061:2061(1000) ack 1");
	nothing();
	inject(". 1:1(0) ack 2061");
	nothing();
	IS(DO(S, tcp_set_option(tp, TCP_CORK, 0)), 0);
	expect("P. 2061:2071(10) ack 1");
	IS(DO(S, tcp_set_option(tp, TCP_CORK, 1)), 0);
	inject(". 1:1(0) ack 2071");
	IS(send_bytes(S, tp, 2070, 10, 0), 10);
	nothing();
	pass(210);
	expect("P. 2071:2081(10) ack 1");
}
END_TEST

/* ---- losses ---- */

START_TEST(timeout)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	pass(100);
	IS(send_bytes(S, tp, 0, 100, 0), 100);
	expect("P. 1:101(100) ack 1");
	inject(". 1:1(0) ack 101");
	IS(send_bytes(S, tp, 100, 2100, 0), 2100);
	expect(". 101:1101(1000) ack 1");
	expect(". 1101:2101(1000) ack 1");
	expect("P. 2101:2201(100) ack 1");
	pass(199);
	nothing();
	pass(3);
	expect(". 101:1101(1000) ack 1");
	nothing();
	pass(410);
	expect(". 101:1101(1000) ack 1");
	inject(". 1:1(0) ack 1101");
	expect(". 1101:2101(1000) ack 1");
	expect("P. 2101:2201(100) ack 1");
	inject(". 1:1(0) ack 2201");
	nothing();
	IS(tp->ca_state, TCP_CA_Open);
	IS(tp->backoff, 0);
}
END_TEST

START_TEST(gives_up)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	IS(send_bytes(S, tp, 0, 100, 0), 100);
	pass(900000);
	IS(tp->ep.state, TCP_ESTABLISHED);
	pass(240000);
	IS(tp->ep.state, TCP_CLOSE);
	ck_assert_uint_eq(events() & (POLLERR | POLLHUP | POLLIN), POLLERR | POLLHUP | POLLIN);
	IS(recv_bytes(S, tp, 0, 1, 0), -ETIMEDOUT);
	IS(recv_bytes(S, tp, 0, 1, 0), 0);
	IS(send_bytes(S, tp, 0, 1, 0), -EPIPE);
}
END_TEST

START_TEST(user_timeout)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	IS(DO(S, tcp_set_option(tp, TCP_USER_TIMEOUT, 3000)), 0);
	IS(send_bytes(S, tp, 0, 100, 0), 100);
	pass(3000);
	IS(tp->ep.state, TCP_ESTABLISHED);
	pass(500);
	IS(tp->ep.state, TCP_CLOSE);
	IS(DO(S, tcp_take_error(tp)), ETIMEDOUT);
}
END_TEST

START_TEST(newreno)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	IS(send_bytes(S, tp, 0, 8000, 0), 8000);
	forget();
	inject(". 1:1(0) ack 1001");
	for (int i = 0; i < 2; i++)
		inject(". 1:1(0) ack 1001");
	nothing();
	inject(". 1:1(0) ack 1001");
	expect(". 1001:2001(1000) ack 1");
	IS(tp->ca_state, TCP_CA_Recovery);
	inject(". 1:1(0) ack 1001");
	inject(". 1:1(0) ack 4001"); /* a partial one: the next is lost too */
	expect(". 4001:5001(1000) ack 1");
	inject(". 1:1(0) ack 8001");
	IS(tp->ca_state, TCP_CA_Open);
	nothing();
	ck_assert_uint_le(tp->cwnd, 8000);
	IS(tp->cwnd, tp->ssthresh);
}
END_TEST

START_TEST(rack)
{
	struct tcp_sock *tp;

	setup();
	net.rtt = 40 * MS;
	tp = established("mss 1000,sackOK");
	pass(50);
	IS(send_bytes(S, tp, 0, 100, 0), 100);
	pass(40);
	inject(". 1:1(0) ack 101"); /* a round trip of 40 ms */
	forget();
	IS(send_bytes(S, tp, 100, 5000, 0), 5000);
	forget();
	pass(40);
	inject(". 1:1(0) ack 101 <sack 1101:2101>");
	nothing(); /* perhaps reordered: a quarter of the round trip */
	IS(tp->ca_state, TCP_CA_Disorder);
	pass(5);
	inject(". 1:1(0) ack 101 <sack 1101:3101>");
	nothing();
	pass(11);
	expect(". 101:1101(1000) ack 1");
	IS(tp->ca_state, TCP_CA_Recovery);
	inject(". 1:1(0) ack 101 <sack 1101:5101>");
	nothing();
	pass(40);
	inject(". 1:1(0) ack 5101");
	IS(tp->ca_state, TCP_CA_Open);
	nothing();
	/* Three segments' worth sacked: no waiting. */
	IS(send_bytes(S, tp, 5100, 6000, 0), 6000);
	forget();
	pass(40);
	inject(". 1:1(0) ack 5101 <sack 6101:9101>");
	expect(". 5101:6101(1000) ack 1");
	inject(". 1:1(0) ack 11101");
	IS(tp->ca_state, TCP_CA_Open);
}
END_TEST

START_TEST(lost_retransmission)
{
	struct tcp_sock *tp;

	setup();
	net.rtt = 40 * MS;
	tp = established("mss 1000,sackOK");
	pass(10);
	IS(send_bytes(S, tp, 0, 9000, 0), 9000);
	forget();
	pass(40);
	inject(". 1:1(0) ack 1 <sack 1001:5001>");
	expect(". 1:1001(1000) ack 1");
	IS(send_bytes(S, tp, 9000, 2000, 0), 2000);
	pass(1);
	inject(". 1:1(0) ack 1 <sack 1001:9001>");
	pass(1);
	inject(". 1:1(0) ack 1 <sack 1001:9001>");
	forget();
	pass(60); /* what was sent after the retransmission arrives, it does not */
	inject(". 1:1(0) ack 1 <sack 1001:11001>");
	expect(". 1:1001(1000) ack 1");
	inject(". 1:1(0) ack 11001");
	IS(tp->ca_state, TCP_CA_Open);
	IS(tp->lost, 0);
	IS(tp->sacked, 0);
	IS(tp->retrans, 0);
}
END_TEST

START_TEST(tail_loss_probe)
{
	struct tcp_sock *tp;

	setup();
	net.rtt = 40 * MS;
	tp = established("mss 1000,sackOK");
	pass(50);
	IS(send_bytes(S, tp, 0, 100, 0), 100);
	pass(40);
	inject(". 1:1(0) ack 101");
	forget();
	IS(send_bytes(S, tp, 100, 3000, 0), 3000);
	forget();
	pass(79);
	nothing();
	pass(6);
	expect("P. 2101:3101(1000) ack 1");
	pass(40);
	inject(". 1:1(0) ack 101 <sack 2101:3101>");
	pass(11);
	expect(". 101:1101(1000) ack 1");
	IS(tp->ca_state, TCP_CA_Recovery);
}
END_TEST

START_TEST(dsack_undo)
{
	struct tcp_sock *tp;
	uint32_t cwnd;

	setup();
	net.rtt = 40 * MS;
	tp = established("mss 1000,sackOK");
	pass(10);
	IS(send_bytes(S, tp, 0, 8000, 0), 8000);
	forget();
	cwnd = tp->cwnd;
	pass(40);
	inject(". 1:1(0) ack 1 <sack 1001:5001>");
	expect(". 1:1001(1000) ack 1");
	pass(5);
	inject(". 1:1(0) ack 5001"); /* it was only late */
	pass(40);
	inject(". 1:1(0) ack 8001 <sack 1:1001>");
	IS(tp->ca_state, TCP_CA_Open);
	ck_assert_uint_ge(tp->cwnd, cwnd);
	IS(tp->dsack_dups, 1);
}
END_TEST

START_TEST(eifel_undo)
{
	struct tcp_sock *tp;
	uint32_t cwnd, ts;
	char text[100];

	setup();
	tp = established("mss 1000,sackOK,TS val 100 ecr 0");
	pass(10);
	IS(send_bytes(S, tp, 0, 5000, 0), 5000);
	ts = wire_parse(list_first(&net.sent, struct wire, link)).opt.tsval;
	forget();
	cwnd = tp->cwnd;
	pass(1500);
	IS(tp->ca_state, TCP_CA_Loss);
	snprintf(text, sizeof(text), ". 1:1(0) ack 1977 <TS val 300 ecr %u>", ts);
	inject(text);
	IS(tp->ca_state == TCP_CA_Open || tp->ca_state == TCP_CA_Disorder, 1);
	ck_assert_uint_ge(tp->cwnd, cwnd);
}
END_TEST

START_TEST(receiver_sacks)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000,sackOK");
	inject(". 1001:2001(1000) ack 1");
	expect(". 1:1(0) ack 1 <sack 1001:2001>");
	inject(". 3001:4001(1000) ack 1");
	expect(". 1:1(0) ack 1 <sack 3001:4001,sack 1001:2001>");
	inject(". 5001:6001(1000) ack 1");
	expect(". 1:1(0) ack 1 <sack 5001:6001,sack 3001:4001,sack 1001:2001>");
	inject(". 2001:3001(1000) ack 1");
	expect(". 1:1(0) ack 1 <sack 1001:4001,sack 5001:6001>");
	inject(". 3501:4501(1000) ack 1"); /* half of it again */
	expect(". 1:1(0) ack 1 <sack 3501:4001,sack 1001:4501,sack 5001:6001>");
	inject(". 1:1001(1000) ack 1");
	expect(". 1:1(0) ack 4501 <sack 5001:6001>");
	inject(". 1:1001(1000) ack 1");
	expect(". 1:1(0) ack 4501 <sack 1:1001,sack 5001:6001>");
	inject(". 4001:5001(1000) ack 1");
	expect(". 1:1(0) ack 6001 <sack 4001:4501>");
	IS(recv_bytes(S, tp, 1, 10000, 0), 6000);
	IS(tp->rmem, 0);
}
END_TEST

/* ---- RFC 5961, PAWS ---- */

START_TEST(resets)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	inject("R 100:100(0)");
	expect(". 1:1(0) ack 1"); /* in the window, but not exact */
	IS(tp->ep.state, TCP_ESTABLISHED);
	inject("R 100000:100000(0)");
	nothing();
	pass(600);
	inject("S 1:1(0)");
	expect(". 1:1(0) ack 1");
	inject("S 1:1(0)");
	nothing(); /* one in half a second */
	inject("R 1:1(0)");
	IS(tp->ep.state, TCP_CLOSE);
	IS(DO(S, tcp_poll(tp)), POLLOUT | POLLWRNORM | POLLIN | POLLRDNORM | POLLRDHUP | POLLHUP | POLLERR);
	IS(send_bytes(S, tp, 0, 1, 0), -ECONNRESET);
	IS(send_bytes(S, tp, 0, 1, 0), -EPIPE);
	IS(recv_bytes(S, tp, 0, 1, 0), 0);
}
END_TEST

START_TEST(challenges)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	inject("P. 1:11(10) ack 500"); /* what was never sent */
	expect(". 1:1(0) ack 1");
	IS(recv_bytes(S, tp, 1, 10, 0), -EAGAIN);
	pass(600);
	inject("P. 1:11(10) ack 4000000000");
	expect(". 1:1(0) ack 1");
	IS(recv_bytes(S, tp, 1, 10, 0), -EAGAIN);
	inject("P. 1:11(10) ack 1");
	expect(". 1:1(0) ack 11");
	inject(". 0:0(0) ack 1"); /* a keep-alive */
	expect(". 1:1(0) ack 11");
	inject(". 0:0(0) ack 1");
	nothing();
}
END_TEST

START_TEST(paws)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000,TS val 100 ecr 0");
	inject("P. 1:11(10) ack 1 <TS val 200 ecr 0>");
	expect(". 1:1(0) ack 11 <TS val 0 ecr 200>");
	inject("P. 11:21(10) ack 1 <TS val 150 ecr 0>");
	expect(". 1:1(0) ack 11 <TS val 0 ecr 200>");
	IS(recv_bytes(S, tp, 1, 100, 0), 10);
	inject("R 11:11(0) <TS val 1 ecr 0>"); /* resets are not tested */
	IS(tp->ep.state, TCP_CLOSE);
}
END_TEST

/* ---- urgent, ECN, errors from outside ---- */

START_TEST(urgent)
{
	struct tcp_sock *tp;
	uint8_t byte = 0;

	setup();
	tp = established("mss 1000");
	IS(DO(S, tcp_recv_urgent(tp, &byte, false)), -EINVAL);
	inject("PU. 1:11(10) ack 1 urg 6");
	ck_assert_uint_eq(events() & POLLPRI, POLLPRI);
	IS(DO(S, tcp_poll(tp)) & POLLPRI, POLLPRI);
	IS(recv_bytes(S, tp, 1, 100, 0), 5); /* as far as the mark */
	IS(DO(S, tcp_at_mark(tp)), 1);
	IS(DO(S, tcp_recv_urgent(tp, &byte, true)), 1);
	IS(DO(S, tcp_recv_urgent(tp, &byte, false)), 1);
	IS(byte, byte_at(6));
	IS(DO(S, tcp_recv_urgent(tp, &byte, false)), -EINVAL);
	IS(recv_bytes(S, tp, 7, 100, 0), 4); /* the urgent byte is no part of it */
	IS(DO(S, tcp_at_mark(tp)), 0);
	forget();
	IS(send_bytes(S, tp, 0, 3, MSG_OOB), 3);
	expect("PU. 1:4(3) ack 11 urg 3");
	tp->oobinline = true;
	inject("PU. 11:21(10) ack 4 urg 1");
	IS(recv_bytes(S, tp, 11, 100, 0), 10);
}
END_TEST

START_TEST(ecn)
{
	struct tcp_sock *l, *tp;

	setup();
	l = listener(5, false);
	inject("SEW 0:0(0) win 65535 <mss 1000,sackOK>");
	expect("S.E 0:0(0) ack 1");
	inject(". 1:1(0) ack 1");
	tp = accepted(l);
	IS(tp->ecn_ok, 1);
	IS(send_bytes(S, tp, 0, 5000, 0), 5000);
	expect(". 1:1001(1000) ack 1 ect");
	forget();
	inject(".E 1:1(0) ack 1001");
	IS(tp->ca_state, TCP_CA_CWR);
	inject(". 1:1(0) ack 5001");
	IS(send_bytes(S, tp, 5000, 100, 0), 100);
	expect("P.W 5001:5101(100) ack 1 ect");
	inject("P. 1:11(10) ack 5101 ce");
	expect(".E 5101:5101(0) ack 11");
	inject("P. 11:21(10) ack 5101");
	expect(".E 5101:5101(0) ack 21");
	inject("P.W 21:31(10) ack 5101");
	expect(". 5101:5101(0) ack 31");
}
END_TEST

START_TEST(icmp)
{
	struct tcp_sock *tp;
	struct ip_error e = {
	    .src = our_addr, .dst = peer_addr, .sport = 8080, .dport = 4000, .err = EHOSTUNREACH, .hard = true};

	setup();
	tp = established("mss 1460");
	IS(send_bytes(S, tp, 0, 2000, 0), 2000);
	expect(". 1:1461(1460) ack 1");
	expect("P. 1461:2001(540) ack 1");
	e.seq = tp->snd_nxt + 5;
	e.mtu = 600;
	DO_VOID(S, tcp_error(S, &e));
	nothing(); /* a number that we did not send */
	e.seq = tp->snd_una;
	DO_VOID(S, tcp_error(S, &e));
	expect(". 1:561(560) ack 1");
	expect(". 561:1121(560) ack 1");
	expect(". 1121:1681(560) ack 1");
	expect("P. 1681:2001(320) ack 1");
	nothing();
	e.mtu = 0;
	DO_VOID(S, tcp_error(S, &e));
	IS(tp->ep.state, TCP_ESTABLISHED);
	IS(tp->err_soft, EHOSTUNREACH);
	tp = sock_new(false);
	IS(DO(S, tcp_connect(tp, &peer_addr, 81)), -EINPROGRESS);
	e.sport = tp->ep.key.lport;
	e.dport = 81;
	e.seq = tp->iss;
	e.err = ECONNREFUSED;
	DO_VOID(S, tcp_error(S, &e));
	IS(DO(S, tcp_connect(tp, &peer_addr, 81)), -ECONNREFUSED);
}
END_TEST

START_TEST(half_open)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	/* The peer has restarted and connects again from the same port. */
	inject("S 500000:500000(0) win 1000");
	expect(". 1:1(0) ack 1");
	inject("R 1:1(0)");
	IS(tp->ep.state, TCP_CLOSE);
	inject("S 500000:500000(0) win 1000");
	expect("S. 0:0(0) ack 500001");
}
END_TEST

/* ---- this machine itself ---- */

START_TEST(loopback)
{
	struct tcp_sock *l, *a, *b;
	uint32_t sent = 0, got = 0;
	struct in6_addr lo = any4;

	setup();
	lo.s6_addr[12] = 127;
	lo.s6_addr[15] = 1;
	l = listener(5, true); /* on ::, which stands for IPv4 too */
	a = sock_new(false);
	IS(DO(S, tcp_connect(a, &any4, 8080)), -EINPROGRESS); /* nowhere is here */
	IS(DO(S, tcp_connect(a, &lo, 8080)), 0);
	b = accepted(l);
	IS(memcmp(&b->ep.key.raddr, &lo, sizeof(lo)), 0);
	while (got < 20000000) {
		if (sent < 20000000 && DO(S, tcp_send_room(a)) > 0)
			sent += (uint32_t)send_bytes(S, a, sent, 50000, 0);
		for (ssize_t n; (n = recv_bytes(S, b, got, 1 << 20, 0)) > 0;)
			got += (uint32_t)n;
		net.now += MS / 10;
	}
	IS(got, sent);
	ck_assert_uint_le(a->segs_out * 20000, got); /* large ones */
	DO_VOID(S, tcp_release(a));
	IS(recv_bytes(S, b, got, 1, 0), 0);
	DO_VOID(S, tcp_release(b));
	IS(slab_live("struct tcp_sock"), 1);
	IS(slab_live("struct tcp_timewait"), 1);
	a = sock_new(false);
	IS(DO(S, tcp_bind(a, &lo, 999)), 0);
	IS(DO(S, tcp_connect(a, &lo, 1000)), -EINPROGRESS);
	IS(DO(S, tcp_connect(a, &lo, 1000)), -ECONNREFUSED);
	IS(DO(S, tcp_connect(a, &lo, 999)), -EINPROGRESS); /* to itself: a simultaneous open */
	IS(a->ep.state, TCP_ESTABLISHED);
	IS(send_bytes(S, a, 0, 10, 0), 10);
	IS(recv_bytes(S, a, 0, 100, 0), 10);
	nothing();
}
END_TEST

UNIT_MAIN(passive_open, active_open, refused_and_unanswered, simultaneous_open, nobody_listens, synack_again, backlog,
	  cookie_options, delayed_ack, nagle, timeout, gives_up, user_timeout, newreno, rack, lost_retransmission,
	  tail_loss_probe, dsack_undo, eifel_undo, receiver_sacks, resets, challenges, paws, urgent, ecn, icmp,
	  half_open, loopback)
