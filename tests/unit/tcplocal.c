/*
 * net/stack/tcp*.c: both ends on one machine, where everything happens inside of one call: ports that are given out again while their last user
 * goes, TIME_WAITs that disagree, a reader who comes back to another connection.
 */
#include "tests/unit/tcpscript.h"

static const struct in6_addr here = {.s6_addr = {[10] = 0xff, 0xff, 127, 0, 0, 1}};
static struct tcp_sock *server;

static void setup_loopback(void)
{
	net.now = 1000 * NSEC_PER_SEC;
	net.mtu = 1500;
	S = stack_at(&net.wake_at);
	stack_enter(S);
	IS(netdev_set_flags(S, netdev_by_index(S, LO_INDEX), IFF_UP, IFF_UP), 0);
	server = tcp_create(S, false);
	IS(tcp_bind(server, &here, 80), 0);
	IS(tcp_listen(server, 16), 0);
	stack_leave(S);
}

/* A connection from `port`, 0: any. */
static void connect_pair(struct tcp_sock **client, struct tcp_sock **accepted, uint16_t port)
{
	stack_enter(S);
	*client = tcp_create(S, false);
	if (port)
		IS(tcp_bind(*client, &here, port), 0);
	IS(tcp_connect(*client, &here, 80), -EINPROGRESS);
	stack_leave(S);
	IS(DO(S, tcp_accept(server, accepted)), 0);
}

static void end(struct tcp_sock *tp, bool abort)
{
	stack_enter(S);
	tcp_close(tp, abort);
	tcp_release(tp);
	stack_leave(S);
}

/* As a raw socket sends it. */
static void forge(uint16_t sport, uint16_t dport, uint32_t seq, uint32_t ack, uint8_t flags, size_t len)
{
	struct tcphdr th = {.th_sport = htons(sport),
			    .th_dport = htons(dport),
			    .th_seq = htonl(seq),
			    .th_ack = htonl(ack),
			    .th_off = 5,
			    .th_flags = flags,
			    .th_win = htons(1000)};
	struct wire *w = calloc(1, sizeof(*w) + 100);
	uint8_t bytes[200] = {0};
	size_t head;

	w->src = w->dst = here;
	w->size = sizeof(th) + len;
	memcpy(w->data, &th, sizeof(th));
	((struct tcphdr *)w->data)->th_sum = tcp_sum(w);
	head = put_ip4(bytes, w);
	memcpy(bytes + head, w->data, w->size);
	stack_enter(S);
	stack_loopback(S, pkt_from(bytes, head + w->size));
	stack_leave(S);
	free(w);
}

/* The only port is in TIME_WAIT, and its bucket goes with it. */
START_TEST(port_of_a_timewait)
{
	struct tcp_sock *c, *a;

	setup_loopback();
	stack_enter(S);
	port_range_set(S, 40000, 40000);
	stack_leave(S);
	for (int i = 0; i < 3; i++) {
		connect_pair(&c, &a, 0);
		end(c, false);
		end(a, false);
		net.now += 3 * NSEC_PER_SEC;
	}
}
END_TEST

/* What one sends is old for the other: they must not tell each other for ever. */
START_TEST(timewaits_that_disagree)
{
	struct tcp_sock *a, *b;
	uint32_t from_a, from_b;

	setup_loopback();
	connect_pair(&a, &b, 5000);
	from_a = a->snd_nxt;
	from_b = b->snd_nxt;
	forge(80, 5000, from_b, from_a, TH_ACK, 10);
	forge(5000, 80, from_a, from_b, TH_ACK, 10);
	IS(DO(S, tcp_shutdown(a, TCP_SHUT_SEND)), 0);
	forge(80, 5000, from_b + 10, from_a + 1, TH_ACK, 0);
	forge(80, 5000, from_b + 10, from_a + 1, TH_ACK | TH_FIN, 0);
	IS(DO(S, tcp_shutdown(b, TCP_SHUT_SEND)), 0);
	forge(5000, 80, from_a + 10, from_b + 1, TH_ACK, 0);
	forge(5000, 80, from_a + 10, from_b + 1, TH_ACK | TH_FIN, 0);
	ck_assert_uint_ge(slab_live("struct tcp_timewait"), 1);
	end(a, false);
	end(b, false);
}
END_TEST

/* He has peeked at bytes of a connection, and takes them when there is another one. */
START_TEST(reader_comes_back)
{
	struct tcp_sock *c, *a, *other;

	setup_loopback();
	for (int i = 0; i < 32; i++) {
		connect_pair(&c, &a, 0);
		IS(send_bytes(S, a, 0, 100, 0), 100);
		IS(recv_bytes(S, c, 0, 100, MSG_PEEK), 100);
		stack_enter(S);
		tcp_disconnect(c);
		IS(tcp_connect(c, &here, 80), -EINPROGRESS);
		stack_leave(S);
		IS(DO(S, tcp_accept(server, &other)), 0);
		IS(send_bytes(S, other, 0, 10, 0), 10);
		end(other, true);
		DO(S, tcp_connect(c, &here, 80));
		DO(S, tcp_connect(c, &here, 81));
		IS(DO(S, tcp_inq(c)), 0);
		DO_VOID(S, tcp_consume(c, 100));
		end(c, true);
		end(a, true);
	}
}
END_TEST

UNIT_MAIN(port_of_a_timewait, timewaits_that_disagree, reader_comes_back)
