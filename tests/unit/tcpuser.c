/*
 * net/stack/tcp*.c: what a user sees - poll bits and wake-ups, options, peeking, the accept queue, pairs in TIME_WAIT.
 */
#include "tests/unit/tcpscript.h"

#define POLL_IN (POLLIN | POLLRDNORM)
#define POLL_OUT (POLLOUT | POLLWRNORM)

START_TEST(room)
{
	struct tcp_sock *tp;
	uint32_t sent = 0;
	char text[100];

	setup();
	tp = established("mss 1000");
	DO_VOID(S, tcp_set_sndbuf(tp, 30000));
	while (DO(S, tcp_send_room(tp)) > 0)
		sent += (uint32_t)send_bytes(S, tp, sent, 1000, 0);
	ck_assert_uint_ge(sent, 25000);
	ck_assert_uint_le(sent, 30000);
	IS(DO(S, tcp_send_room(tp)), -EAGAIN);
	IS(DO(S, tcp_poll(tp)), 0);
	IS(DO(S, tcp_outq(tp)), sent);
	IS(DO(S, tcp_outq_unsent(tp)), sent - 10000);
	events();
	inject(". 1:1(0) ack 1001");
	IS(events(), 0); /* not yet a third */
	for (uint32_t ack = 2001; ack <= sent + 1; ack += 1000) {
		snprintf(text, sizeof(text), ". 1:1(0) ack %u", ack);
		inject(text);
	}
	IS(events() & POLLOUT, POLLOUT);
	IS(DO(S, tcp_poll(tp)), POLL_OUT);
	IS(tp->wmem, 0);
	IS(DO(S, tcp_set_option(tp, TCP_NOTSENT_LOWAT, 2000)), 0);
	inject(". 1:1(0) ack 28001 win 0");
	forget();
	IS(send_bytes(S, tp, sent, 3000, 0), 3000);
	forget();
}
END_TEST

START_TEST(peek)
{
	struct tcp_sock *tp;
	struct slice slices[4];
	unsigned count = 1;

	setup();
	tp = established("mss 1000");
	inject("P. 1:601(600) ack 1");
	inject("P. 601:1201(600) ack 1");
	IS(events() & POLLIN, POLLIN);
	IS(DO(S, tcp_inq(tp)), 1200);
	IS(recv_bytes(S, tp, 1, 100, MSG_PEEK), 100);
	IS(recv_bytes(S, tp, 1, 5000, MSG_PEEK), 1200);
	IS(DO(S, tcp_recv(tp, slices, &count, 5000, MSG_PEEK, 700)), 500);
	IS(slices[0].buf->data[slices[0].off], byte_at(701));
	buf_put(slices[0].buf);
	DO_VOID(S, tcp_consume(tp, 1000));
	IS(recv_bytes(S, tp, 1001, 5000, 0), 200);
	IS(recv_bytes(S, tp, 1201, 0, 0), 0);
	IS(DO(S, tcp_poll(tp)), POLL_OUT);
	tp->rcvlowat = 100;
	inject("P. 1201:1251(50) ack 1");
	IS(DO(S, tcp_poll(tp)), POLL_OUT);
	inject("P. 1251:1301(50) ack 1");
	IS(DO(S, tcp_poll(tp)), POLL_OUT | POLL_IN);
}
END_TEST

static void client(uint16_t port, const char *last)
{
	net.lport = 8080;
	net.rport = port;
	inject("S 0:0(0) win 1000 <mss 1000>");
	if (last)
		inject(last);
	forget();
}

START_TEST(overflow)
{
	struct tcp_sock *l, *tp, *none;
	uint32_t iss;

	setup();
	l = listener(1, false);
	client(1, NULL);
	client(2, ". 1:1(0) ack 1"); /* by a cookie */
	IS(l->accept_count, 1);
	client(3, ". 1:1(0) ack 1");
	IS(l->accept_count, 2);
	net.rport = 1;
	net.iss = ((struct tcp_request *)list_first(&l->requests, struct tcp_request, link))->iss;
	inject(". 1:1(0) ack 1");
	nothing();
	IS(l->accept_count, 2);
	pass(1000); /* the request asks again */
	expect("S. 0:0(0) ack 1");
	accepted(l);
	inject(". 1:1(0) ack 1");
	IS(l->accept_count, 2);
	IS(l->request_count, 0);
	accepted(l);
	client(4, NULL);
	iss = list_first(&l->requests, struct tcp_request, link)->iss;
	client(5, ". 1:1(0) ack 1");
	stack_enter(S);
	tcp_conf(S)->abort_on_overflow = true;
	stack_leave(S);
	net.rport = 4;
	net.iss = iss;
	inject(". 1:1(0) ack 1");
	expect("R 1:1(0)");
	IS(l->request_count, 0);
	accepted(l);
	tp = accepted(l);
	IS(DO(S, tcp_accept(l, &none)), -EAGAIN);
	IS(DO(S, tcp_accept(tp, &none)), -EINVAL);
}
END_TEST

START_TEST(deferred_accept)
{
	struct tcp_sock *l, *tp;

	setup();
	l = listener(5, false);
	IS(DO(S, tcp_set_option(l, TCP_DEFER_ACCEPT, 3)), 0);
	client(1, ". 1:1(0) ack 1");
	IS(l->accept_count, 0);
	inject("P. 1:11(10) ack 1");
	tp = accepted(l);
	IS(recv_bytes(S, tp, 1, 100, 0), 10);
	client(2, ". 1:1(0) ack 1");
	pass(3100); /* it lasts no longer */
	expect("S. 0:0(0) ack 1");
	inject(". 1:1(0) ack 1");
	accepted(l);
}
END_TEST

START_TEST(reset_before_accept)
{
	struct tcp_sock *l, *tp;

	setup();
	l = listener(5, false);
	client(1, ". 1:1(0) ack 1");
	inject("R 1:1(0)");
	IS(DO(S, tcp_poll(l)), POLL_IN);
	tp = accepted(l);
	IS(DO(S, tcp_poll(tp)), POLL_IN | POLL_OUT | POLLHUP | POLLRDHUP | POLLERR);
	IS(recv_bytes(S, tp, 1, 100, 0), -ECONNRESET);
	DO_VOID(S, tcp_release(tp));
	client(2, ". 1:1(0) ack 1");
	DO_VOID(S, tcp_close(l, false));
	expect("R. 1:1(0) ack 1");
	IS(DO(S, tcp_accept(l, &tp)), -EINVAL);
	DO_VOID(S, tcp_release(l));
	IS(slab_live("struct tcp_sock"), 0);
}
END_TEST

START_TEST(not_connected)
{
	struct tcp_sock *tp, *other;

	setup();
	tp = sock_new(false);
	IS(recv_bytes(S, tp, 0, 1, 0), -ENOTCONN);
	IS(send_bytes(S, tp, 0, 1, 0), -EPIPE);
	IS(DO(S, tcp_shutdown(tp, TCP_SHUT_BOTH)), -ENOTCONN);
	IS(DO(S, tcp_accept(tp, &other)), -EINVAL);
	IS(DO(S, tcp_bind(tp, &any4, 8080)), 0);
	IS(DO(S, tcp_bind(tp, &any4, 8081)), -EINVAL);
	other = sock_new(false);
	IS(DO(S, tcp_bind(other, &any4, 8080)), -EADDRINUSE);
	IS(DO(S, tcp_listen(tp, -1)), 0);
	IS(tp->backlog, 4096);
	IS(DO(S, tcp_connect(tp, &peer_addr, 1)), -EISCONN);
	IS(recv_bytes(S, tp, 0, 1, 0), -ENOTCONN);
	IS(DO(S, tcp_shutdown(tp, TCP_SHUT_RCV)), 0); /* listens no longer */
	IS(tp->ep.state, TCP_CLOSE);
	IS(DO(S, tcp_connect(tp, &peer_addr, 1)), -EINPROGRESS);
	IS(tp->ep.key.lport, 8080);
	IS(send_bytes(S, tp, 0, 1, 0), -EAGAIN);
	IS(recv_bytes(S, tp, 0, 1, 0), -EAGAIN);
	IS(DO(S, tcp_listen(tp, 1)), -EINVAL);
	IS(DO(S, tcp_disconnect(tp)), 0);
	IS(DO(S, tcp_listen(tp, 1)), 0);
}
END_TEST

START_TEST(options)
{
	struct tcp_sock *tp;
	int value = 0;

	setup();
	tp = established("mss 1000,sackOK,TS val 100 ecr 0");
	IS(DO(S, tcp_set_option(tp, TCP_KEEPIDLE, 0)), -EINVAL);
	IS(DO(S, tcp_set_option(tp, TCP_KEEPIDLE, 32768)), -EINVAL);
	IS(DO(S, tcp_set_option(tp, TCP_KEEPCNT, 128)), -EINVAL);
	IS(DO(S, tcp_set_option(tp, TCP_USER_TIMEOUT, -1)), -EINVAL);
	IS(DO(S, tcp_set_option(tp, TCP_MAXSEG, 40)), -EINVAL);
	IS(DO(S, tcp_set_option(tp, 4711, 1)), -ENOPROTOOPT);
	IS(DO(S, tcp_get_option(tp, 4711, &value)), -ENOPROTOOPT);
	IS(DO(S, tcp_get_option(tp, TCP_MAXSEG, &value)), 0);
	IS(value, 988);
	IS(DO(S, tcp_get_option(tp, TCP_KEEPIDLE, &value)), 0);
	IS(value, 7200);
	IS(DO(S, tcp_get_option(tp, TCP_LINGER2, &value)), 0);
	IS(value, 60);
	IS(DO(S, tcp_set_congestion(tp, "reno")), 0);
	IS(DO(S, tcp_set_congestion(tp, "bbr")), -ENOENT);
	ck_assert_str_eq(DO(S, tcp_congestion(tp)), "reno");
}
END_TEST

START_TEST(info)
{
	struct tcp_sock *tp;
	struct k_tcp_info i;

	setup();
	net.rtt = 30 * MS;
	tp = established("mss 1000,sackOK,wscale 5");
	IS(send_bytes(S, tp, 0, 3000, 0), 3000);
	DO_VOID(S, tcp_info(tp, &i));
	IS(i.state, TCP_ESTABLISHED);
	IS(i.snd_mss, 1000);
	IS(i.unacked, 3);
	IS(i.rtt, 30000);
	IS(i.snd_cwnd, 10);
	IS(i.snd_ssthresh, INT32_MAX);
	IS(i.wscales, 0x75);
	IS(i.options, TCPI_OPT_SACK | TCPI_OPT_WSCALE);
	IS(i.pmtu, 1500);
	tp = the_listener();
	DO_VOID(S, tcp_info(tp, &i));
	IS(i.state, TCP_LISTEN);
	IS(i.sacked, 5);
}
END_TEST

START_TEST(timewait_and_connect)
{
	struct tcp_sock *tp;

	setup();
	tp = sock_new(false);
	tp->ep.bind.reuse_addr = true;
	IS(DO(S, tcp_bind(tp, &our_addr, 5000)), 0);
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), -EINPROGRESS);
	forget();
	inject("S. 0:0(0) ack 1 win 1000 <mss 1000,sackOK,TS val 5 ecr 0>");
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), 0);
	DO_VOID(S, tcp_release(tp));
	forget();
	inject("F. 1:1(0) ack 2 <TS val 6 ecr 0>");
	IS(slab_live("struct tcp_timewait"), 1);
	forget();
	tp = sock_new(false);
	tp->ep.bind.reuse_addr = true;
	IS(DO(S, tcp_bind(tp, &our_addr, 5000)), 0);
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), -EADDRNOTAVAIL);
	stack_enter(S);
	tcp_conf(S)->tw_reuse = 1;
	stack_leave(S);
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), -EADDRNOTAVAIL);
	net.now += 2 * NSEC_PER_SEC;
	IS(DO(S, tcp_connect(tp, &peer_addr, 80)), -EINPROGRESS);
	expect("S 0:0(0)");
	IS(slab_live("struct tcp_timewait"), 0);
}
END_TEST

START_TEST(timewait_segments)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000,sackOK,TS val 100 ecr 0");
	DO_VOID(S, tcp_release(tp));
	forget();
	inject("F. 1:1(0) ack 2 <TS val 200 ecr 0>");
	expect(". 2:2(0) ack 2 <TS val 0 ecr 200>");
	inject("P. 1:11(10) ack 2 <TS val 201 ecr 0>"); /* old */
	expect(". 2:2(0) ack 2");
	inject("S 0:0(0) win 1000 <TS val 150 ecr 0>"); /* answers to what is empty are limited */
	net.now += 600 * NSEC_PER_MSEC;
	inject("S 0:0(0) win 1000 <TS val 150 ecr 0>");
	expect(". 2:2(0) ack 2");
	inject("S 0:0(0) win 1000 <TS val 300 ecr 0>"); /* an older number, but later: RFC 6191 */
	expect("S. 0:0(0) ack 1");
	IS(slab_live("struct tcp_timewait"), 0);
	tp = accepted(the_listener()->accept_count ? the_listener()
						   : (inject(". 1:1(0) ack 1 <TS val 301 ecr 0>"), the_listener()));
	DO_VOID(S, tcp_release(tp));
	forget();
	inject("F. 1:1(0) ack 2 <TS val 302 ecr 0>");
	forget();
	IS(slab_live("struct tcp_timewait"), 1);
	inject("R 2:2(0)");
	IS(slab_live("struct tcp_timewait"), 0);
}
END_TEST

/* RFC 5682: what is acknowledged after a timeout was never sent twice. */
START_TEST(spurious_timeout)
{
	struct tcp_sock *tp;
	uint32_t cwnd;

	setup();
	net.rtt = 40 * MS;
	tp = established("mss 1000");
	IS(send_bytes(S, tp, 0, 6000, 0), 6000);
	forget();
	cwnd = tp->cwnd;
	pass(250);
	expect(". 1:1001(1000) ack 1");
	IS(tp->ca_state, TCP_CA_Loss);
	IS(send_bytes(S, tp, 6000, 4000, 0), 4000);
	inject(". 1:1(0) ack 1001");
	expect(". 6001:7001(1000) ack 1"); /* new bytes, not old ones */
	expect(". 7001:8001(1000) ack 1");
	nothing();
	inject(". 1:1(0) ack 3001");
	IS(tp->ca_state, TCP_CA_Open);
	ck_assert_uint_ge(tp->cwnd, cwnd);
}
END_TEST

START_TEST(linger2)
{
	struct tcp_sock *tp;

	setup();
	tp = established("mss 1000");
	IS(DO(S, tcp_set_option(tp, TCP_LINGER2, -1)), 0);
	DO_VOID(S, tcp_release(tp));
	expect("F. 1:1(0) ack 1");
	inject(". 1:1(0) ack 2");
	expect("R. 2:2(0) ack 1");
	IS(slab_live("struct tcp_timewait"), 0);
	client(7, ". 1:1(0) ack 1");
	tp = accepted(the_listener());
	IS(DO(S, tcp_set_option(tp, TCP_LINGER2, 100)), 0);
	DO_VOID(S, tcp_release(tp));
	inject(". 1:1(0) ack 2");
	IS(slab_live("struct tcp_timewait"), 0);
	pass(41000); /* the rest as a small object */
	IS(slab_live("struct tcp_timewait"), 1);
	pass(61000);
	IS(slab_live("struct tcp_timewait"), 0);
	forget();
}
END_TEST

static unsigned listed[16];

static void count_state(const struct tcp_ep *ep, void *arg __unused)
{
	listed[ep->state]++;
}

START_TEST(listing)
{
	struct tcp_sock *tp;
	int64_t deadline = 0;

	setup();
	tp = established("mss 1000");
	client(9, NULL);
	DO_VOID(S, tcp_for_each(S, count_state, NULL));
	IS(listed[TCP_LISTEN], 1);
	IS(listed[TCP_ESTABLISHED], 1);
	IS(listed[TCP_NEW_SYN_RECV], 1);
	IS(DO(S, tcp_timer_kind(&tp->ep, &deadline)), 0);
	IS(send_bytes(S, tp, 0, 10, 0), 10);
	forget();
	IS(DO(S, tcp_timer_kind(&tp->ep, &deadline)), 1);
	ck_assert_int_gt(deadline, net.now);
}
END_TEST

UNIT_MAIN(room, peek, overflow, deferred_accept, reset_before_accept, not_connected, options, info,
	  timewait_and_connect, timewait_segments, spurious_timeout, linger2, listing)
