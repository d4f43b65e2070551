/* net/stack/tcp_window.c and the persist timer: windows that close and open. */
#include "tests/unit/tcpscript.h"

START_TEST(zero_window)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	IS(send_bytes(S, tp, 0, 1000, 0), 1000);
	forget();
	inject(". 1:1(0) ack 1001 win 0");
	IS(send_bytes(S, tp, 1000, 3000, 0), 3000);
	nothing();
	pass(201);
	expect(". 1000:1000(0) ack 1");
	inject(". 1:1(0) ack 1001 win 0");
	pass(390);
	nothing();
	pass(20);
	expect(". 1000:1000(0) ack 1");
	inject(". 1:1(0) ack 1001 win 500"); /* too little to be worth it */
	nothing();
	inject(". 1:1(0) ack 1001 win 2500");
	expect(". 1001:2001(1000) ack 1");
	expect(". 2001:3001(1000) ack 1");
	nothing();
	inject(". 1:1(0) ack 3001 win 2500");
	expect("P. 3001:4001(1000) ack 1");
}
END_TEST

START_TEST(probes_give_up)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	inject(". 1:1(0) ack 1 win 0");
	IS(send_bytes(S, tp, 0, 3000, 0), 3000);
	pass(3600000);
	IS(tp->ep.state, TCP_CLOSE);
	IS(DO(S, tcp_take_error(tp)), ETIMEDOUT);
}
END_TEST

START_TEST(full_receiver)
{
	struct tcp_sock *l, *tp;
	uint32_t at = 1;
	char text[100];

	setup();
	l = listener(5, false);
	DO_VOID(S, tcp_set_rcvbuf(l, 20000));
	inject("S 0:0(0) win 65535 <mss 1000>");
	inject(". 1:1(0) ack 1");
	tp = accepted(l);
	/* Whatever the window says. */
	for (int i = 0; i < 200; i++, at += 1000) {
		snprintf(text, sizeof(text), ". %u:%u(1000) ack 1", at, at + 1000);
		inject(text);
	}
	ck_assert_uint_le(tp->rmem, 21000);
	ck_assert_uint_ge(tp->rcv_nxt - tp->irs, 9000);
	forget();
	IS(recv_bytes(S, tp, 1, 100000, 0), 8000);
	ck_assert_ptr_nonnull(list_first(&net.sent, struct wire, link)); /* a window update */
	expect(". 1:1(0) ack 17001 win 5000");
}
END_TEST

UNIT_MAIN(zero_window, probes_give_up, full_receiver)
