/* net/stack/tcp*.c: how connections end, as scripts of segments. */
#include "tests/unit/tcpscript.h"

START_TEST(active_close)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	IS(DO(S, tcp_shutdown(tp, TCP_SHUT_SEND)), 0);
	expect("F. 1:1(0) ack 1");
	IS(tp->ep.state, TCP_FIN_WAIT1);
	inject(". 1:1(0) ack 2");
	IS(tp->ep.state, TCP_FIN_WAIT2);
	inject("P. 1:11(10) ack 2");
	expect(". 2:2(0) ack 11");
	IS(recv_bytes(S, tp, 1, 100, 0), 10);
	inject("F. 11:11(0) ack 2");
	expect(". 2:2(0) ack 12");
	IS(DO(S, tcp_poll(tp)), POLLOUT | POLLWRNORM | POLLIN | POLLRDNORM | POLLRDHUP | POLLHUP);
	IS(recv_bytes(S, tp, 11, 100, 0), 0);
	IS(slab_live("struct tcp_timewait"), 1);
	pass(1000);
	inject("F. 11:11(0) ack 2");
	expect(". 2:2(0) ack 12");
	pass(59000);
	IS(slab_live("struct tcp_timewait"), 1);
	pass(2000);
	IS(slab_live("struct tcp_timewait"), 0);
	DO_VOID(S, tcp_release(tp));
	IS(slab_live("struct tcp_sock"), 1); /* the listener */
}
END_TEST

START_TEST(passive_close)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	inject("FP. 1:11(10) ack 1");
	nothing(); /* the answer may be a FIN soon */
	pass(41);
	expect(". 1:1(0) ack 12");
	IS(tp->ep.state, TCP_CLOSE_WAIT);
	IS(DO(S, tcp_poll(tp)), POLLOUT | POLLWRNORM | POLLIN | POLLRDNORM | POLLRDHUP);
	IS(recv_bytes(S, tp, 1, 100, 0), 10);
	IS(recv_bytes(S, tp, 11, 100, 0), 0);
	IS(send_bytes(S, tp, 0, 10, 0), 10);
	expect("P. 1:11(10) ack 12");
	DO_VOID(S, tcp_close(tp, false));
	expect("F. 11:11(0) ack 12");
	IS(DO(S, tcp_lingers(tp)), 1);
	DO_VOID(S, tcp_release(tp));
	inject(". 12:12(0) ack 12");
	nothing();
	IS(slab_live("struct tcp_sock"), 1);
	IS(slab_live("struct tcp_timewait"), 0);
}
END_TEST

START_TEST(simultaneous_close)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	IS(DO(S, tcp_shutdown(tp, TCP_SHUT_SEND)), 0);
	expect("F. 1:1(0) ack 1");
	inject("F. 1:1(0) ack 1");
	expect(". 2:2(0) ack 2");
	IS(tp->ep.state, TCP_CLOSING);
	inject(". 2:2(0) ack 2");
	IS(tp->ep.state, TCP_CLOSE);
	IS(slab_live("struct tcp_timewait"), 1);
	/* A new SYN takes the pair over: RFC 6191. */
	inject("S 70000:70000(0) win 1000");
	expect("S. 0:0(0)");
	IS(slab_live("struct tcp_timewait"), 0);
}
END_TEST

START_TEST(abort_on_close)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	inject("P. 1:11(10) ack 1");
	forget();
	DO_VOID(S, tcp_close(tp, false)); /* unread bytes */
	expect("R. 1:1(0) ack 11");
	IS(tp->ep.state, TCP_CLOSE);
	DO_VOID(S, tcp_release(tp));
	net.rport++;
	inject("S 0:0(0) win 1000");
	inject(". 1:1(0) ack 1");
	forget();
	tp = accepted(the_listener());
	DO_VOID(S, tcp_release(tp));
	expect("F. 1:1(0) ack 1");
	inject("P. 1:11(10) ack 1"); /* bytes for nobody */
	expect("R. 2:2(0)");
	net.rport++;
	inject("S 0:0(0) win 1000");
	inject(". 1:1(0) ack 1");
	forget();
	tp = accepted(the_listener());
	DO_VOID(S, tcp_close(tp, true));
	expect("R. 1:1(0) ack 1");
	DO_VOID(S, tcp_release(tp));
	IS(slab_live("struct tcp_sock"), 1);
}
END_TEST

START_TEST(orphans)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	DO_VOID(S, tcp_release(tp));
	expect("F. 1:1(0) ack 1");
	inject(". 1:1(0) ack 2");
	IS(slab_live("struct tcp_sock"), 1);
	IS(slab_live("struct tcp_timewait"), 1); /* in FIN_WAIT_2 */
	inject("F. 1:1(0) ack 2");
	expect(". 2:2(0) ack 2");
	pass(61000);
	IS(slab_live("struct tcp_timewait"), 0);
	IS(S->tcp->orphans, 0);
}
END_TEST

START_TEST(keepalive)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	IS(DO(S, tcp_set_option(tp, TCP_KEEPIDLE, 10)), 0);
	IS(DO(S, tcp_set_option(tp, TCP_KEEPINTVL, 5)), 0);
	IS(DO(S, tcp_set_option(tp, TCP_KEEPCNT, 2)), 0);
	DO_VOID(S, tcp_set_keepalive(tp, true));
	pass(9990);
	nothing();
	pass(20);
	expect(". 0:0(0) ack 1");
	inject(". 1:1(0) ack 1");
	pass(10010);
	expect(". 0:0(0) ack 1");
	pass(5000);
	expect(". 0:0(0) ack 1");
	pass(5000);
	expect("R. 1:1(0) ack 1");
	IS(DO(S, tcp_take_error(tp)), ETIMEDOUT);
}
END_TEST

UNIT_MAIN(active_close, passive_close, simultaneous_close, abort_on_close, orphans, keepalive)
