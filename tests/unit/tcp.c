/* net/stack/tcp*.c: connections, as scripts of segments. */
#include "tests/unit/tcpnet.h"

START_TEST(passive_open)
{
	struct tcp_sock *l, *tp;

	setup();
	l = listener(5);
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
	tp = sock_new();
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

UNIT_MAIN(passive_open, active_open)
