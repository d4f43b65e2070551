/* net/stack/veth.c, netdev_link.c: pairs of interfaces, their carrier, moves, ends; TCP over them, also under faults and attack. */
#include "tests/unit/linknet.h"

#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

START_TEST(carrier)
{
	struct stack *a = make_stack(1), *b = make_stack(2);
	uint64_t id;

	cable(a, "v0", b, "v1");
	IS(flags(a, "v0") & (IFF_UP | IFF_RUNNING), 0);
	up(a, "v0", true);
	IS(flags(a, "v0") & IFF_RUNNING, 0);
	up(b, "v1", true);
	IS(!!(flags(a, "v0") & IFF_RUNNING), 1);
	IS(!!(flags(b, "v1") & IFF_RUNNING), 1);
	up(b, "v1", false);
	IS(flags(a, "v0") & IFF_RUNNING, 0);
	IS(!!(flags(a, "v0") & IFF_UP), 1);
	IS(dev_of(a, "v0")->ops->other(dev_of(a, "v0"), &id), 2);
	IS(id, 2);
	up(b, "v1", true);
	IS(!!(flags(a, "v0") & IFF_RUNNING), 1);
	/* The address is one that an interface may have, and another one's. */
	IS(dev_of(a, "v0")->mac[0] & 3, 2);
	ck_assert(memcmp(dev_of(a, "v0")->mac, dev_of(b, "v1")->mac, MAC_LEN) != 0);
	stack_destroy(a);
	ck_assert_ptr_null(dev_of(b, "v1"));
	stack_destroy(b);
	IS(released, 2);
}
END_TEST

START_TEST(frames)
{
	struct stack *a = make_stack(1), *b = make_stack(2);
	struct ear e;

	cable(a, "v0", b, "v1");
	listen_at(b, "v1", &e);
	up(a, "v0", true);
	IS(emit(a, "v0", frame(9, 1, 1, 60)), 0);
	ck_assert_uint_ge(dev_of(b, "v1")->stats.rx_dropped, 1); /* it is down */
	up(b, "v1", true);
	for (uint8_t i = 0; i < 100; i++)
		IS(emit(a, "v0", frame(9, 1, i, 60)), 0);
	IS(e.count, 100);
	IS(e.last, 99);
	up(a, "v0", false);
	IS(emit(a, "v0", frame(9, 1, 1, 60)), -ENETDOWN);
	stack_destroy(b);
	IS(emit(a, "v0", frame(9, 1, 1, 60)), -ENODEV);
	stack_destroy(a);
}
END_TEST

START_TEST(moves)
{
	struct stack *s[3] = {make_stack(1), make_stack(2), make_stack(3)};
	unsigned index, lo = LO_INDEX;
	struct ear e;

	cable(s[0], "v0", s[1], "v1");
	up(s[0], "v0", true);
	up(s[1], "v1", true);
	address(s[1], "v1", "10.0.0.1");
	IS(netdev_move(s[1], s[2], 77, NULL, &index), -ENODEV);
	IS(netdev_move(s[1], s[2], lo, NULL, &index), -EINVAL);
	IS(netdev_move(s[1], s[2], 2, "lo", &index), -EEXIST);
	ck_assert_ptr_nonnull(dev_of(s[1], "v1"));
	IS(netdev_move(s[1], s[2], 2, NULL, &index), 0);
	IS(index, 2);
	ck_assert_ptr_null(dev_of(s[1], "v1"));
	IS(flags(s[2], "v1") & IFF_UP, 0);
	IS(flags(s[0], "v0") & IFF_RUNNING, 0);
	IS(dev_of(s[2], "v1")->addr_count, 0);
	up(s[2], "v1", true);
	IS(!!(flags(s[0], "v0") & IFF_RUNNING), 1);
	listen_at(s[2], "v1", &e);
	IS(emit(s[0], "v0", frame(9, 1, 5, 60)), 0);
	IS(e.count, 1);
	/* The index is taken where it goes. */
	cable(s[0], "x0", s[1], "x1");
	IS(netdev_move(s[0], s[1], 3, NULL, &index), 0);
	IS(index, 4);
	IS(netdev_move(s[2], s[1], 2, "y1", &index), 0);
	IS(index, 2);
	ck_assert_ptr_nonnull(dev_of(s[1], "y1"));
	/* Both in one, and then none. */
	IS(netdev_move(s[0], s[1], 2, NULL, &index), 0);
	IS(index, 5);
	up(s[1], "v0", true);
	up(s[1], "y1", true);
	listen_at(s[1], "y1", &e);
	IS(emit(s[1], "v0", frame(9, 1, 6, 60)), 0);
	IS(e.last, 6);
	stack_enter(s[1]);
	netdev_destroy(s[1], netdev_by_name(s[1], "v0"));
	stack_leave(s[1]);
	ck_assert_ptr_null(dev_of(s[1], "y1"));
	for (int i = 0; i < 3; i++)
		stack_destroy(s[i]);
	IS(released, 3);
}
END_TEST

static int make_pair(void *arg)
{
	struct stack **s = arg;
	struct netdev_config ca = {.name = "v0", .mtu = 1500}, cb = {.name = "v1", .mtu = 1500};
	int err = veth_create(s[0], &ca, s[1], &cb, NULL, NULL);

	if (err) {
		ck_assert_ptr_null(dev_of(s[0], "v0"));
		ck_assert_ptr_null(dev_of(s[1], "v1"));
	}
	return err;
}

START_TEST(no_memory)
{
	struct stack *s[2] = {make_stack(1), make_stack(2)};

	unit_each_allocation_fails(make_pair, s);
	stack_destroy(s[0]);
	stack_destroy(s[1]);
}
END_TEST

/* ---- TCP ---- */

static struct stack *s[2];

static void two_hosts(void)
{
	for (int i = 0; i < 2; i++)
		s[i] = make_stack((uint64_t)i + 1);
	cable(s[0], "v0", s[1], "v0");
	address(s[0], "v0", "10.0.0.1");
	address(s[1], "v0", "10.0.0.2");
	up(s[0], "v0", true);
	up(s[1], "v0", true);
}

static struct tcp_sock *serve(struct stack *at, unsigned backlog)
{
	struct in6_addr any = ip("0.0.0.0");
	struct tcp_sock *l;

	stack_enter(at);
	l = tcp_create(at, false);
	IS(tcp_bind(l, &any, 80), 0);
	IS(tcp_listen(l, (int)backlog), 0);
	stack_leave(at);
	return l;
}

static struct tcp_sock *dial(struct stack *from, const char *to)
{
	struct in6_addr a = ip(to);
	struct tcp_sock *c;

	stack_enter(from);
	c = tcp_create(from, false);
	IS(tcp_connect(c, &a, 80), -EINPROGRESS);
	stack_leave(from);
	return c;
}

static void end(struct stack *at, struct tcp_sock *tp)
{
	stack_enter(at);
	tcp_close(tp, true);
	tcp_release(tp);
	stack_leave(at);
}

/* Sends until it is full or size is done; the bytes. */
static size_t push(struct stack *at, struct tcp_sock *tp, size_t size)
{
	size_t done = 0;

	while (done < size) {
		struct buf *b = buf_create(16384);
		struct slice piece = {.buf = b};
		ssize_t n;

		b->used = 16384;
		memset(b->data, 'x', 16384);
		piece.len = (uint32_t)MIN(size - done, (size_t)16384);
		n = DO(at, tcp_send(tp, &piece, 1, 0));
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done;
}

static size_t drain(struct stack *at, struct tcp_sock *tp)
{
	size_t n;

	stack_enter(at);
	n = tcp_inq(tp);
	tcp_consume(tp, (uint32_t)n);
	stack_leave(at);
	return n;
}

/* Moves so many bytes from one to the other, with time passing; what arrived. */
static size_t transfer(struct tcp_sock *c, struct tcp_sock *a, size_t size, int rounds)
{
	size_t sent = 0, got = 0;

	while (got < size && rounds-- > 0) {
		sent += push(s[0], c, size - sent);
		got += drain(s[1], a);
		pass(10, s, 2);
	}
	return got;
}

static void finish(void)
{
	stack_destroy(s[0]);
	stack_destroy(s[1]);
	IS(released, 2);
}

START_TEST(bulk_and_faults)
{
	struct tcp_sock *l, *c, *a;

	two_hosts();
	l = serve(s[1], 8);
	c = dial(s[0], "10.0.0.2");
	pass(100, s, 2);
	IS(DO(s[1], tcp_accept(l, &a)), 0);
	IS(transfer(c, a, 1 << 20, 1000), 1 << 20);
	/* The peer is down for two seconds. */
	up(s[1], "v0", false);
	IS(transfer(c, a, 1 << 18, 200), 0);
	up(s[1], "v0", true);
	ck_assert_uint_gt(transfer(c, a, 1 << 18, 3000), 0);
	/* The MTU shrinks under way. */
	for (int i = 0; i < 2; i++) {
		stack_enter(s[i]);
		IS(netdev_set_mtu(s[i], netdev_by_name(s[i], "v0"), 600), 0);
		stack_leave(s[i]);
	}
	ck_assert_uint_ge(transfer(c, a, 1 << 18, 3000), 1 << 17);
	/* Both ends go while there is data on its way. */
	push(s[0], c, 1 << 20);
	stack_enter(s[0]);
	netdev_destroy(s[0], netdev_by_name(s[0], "v0"));
	stack_leave(s[0]);
	ck_assert_ptr_null(dev_of(s[1], "v0"));
	push(s[0], c, 1000);
	pass(2000, s, 2);
	end(s[0], c);
	end(s[1], a);
	end(s[1], l);
	finish();
}
END_TEST

/* A SYN of nobody's. */
static void forge_syn(uint32_t n)
{
	struct {
		uint8_t ether[14];
		struct iphdr ip;
		struct tcphdr tcp;
	} __packed f = {.ether = {[12] = 8}, .ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP}};
	struct in6_addr src = ip("10.0.0.1"), dst = ip("10.0.0.2");

	src.s6_addr[13] = 1;
	src.s6_addr[14] = (uint8_t)(n >> 8);
	src.s6_addr[15] = (uint8_t)n;
	memcpy(f.ether, dev_of(s[1], "v0")->mac, 6);
	memcpy(f.ether + 6, dev_of(s[0], "v0")->mac, 6);
	f.ip.tot_len = htons(sizeof(f.ip) + sizeof(f.tcp));
	memcpy(&f.ip.saddr, src.s6_addr + 12, 4);
	memcpy(&f.ip.daddr, dst.s6_addr + 12, 4);
	f.ip.check = sum_fold(sum_add(0, &f.ip, sizeof(f.ip), false));
	f.tcp.th_sport = htons((uint16_t)(1024 + n % 60000));
	f.tcp.th_dport = htons(80);
	f.tcp.th_seq = htonl(n);
	f.tcp.th_off = 5;
	f.tcp.th_flags = TH_SYN;
	f.tcp.th_win = htons(1000);
	f.tcp.th_sum =
	    sum_fold(sum_add(sum_pseudo(&src, &dst, IPPROTO_TCP, sizeof(f.tcp)), &f.tcp, sizeof(f.tcp), false));
	IS(emit(s[0], "v0", pkt_from(&f, sizeof(f))), 0);
}

START_TEST(syn_flood)
{
	struct tcp_sock *l, *c, *a;

	two_hosts();
	l = serve(s[1], 16);
	for (uint32_t i = 0; i < 5000; i++)
		forge_syn(i);
	ck_assert_uint_le(l->request_count, 16);
	/* By a cookie. */
	c = dial(s[0], "10.0.0.2");
	pass(100, s, 2);
	IS(DO(s[1], tcp_accept(l, &a)), 0);
	IS(transfer(c, a, 1 << 16, 1000), 1 << 16);
	/* The interface goes under the requests, whose timers go on. */
	stack_enter(s[1]);
	netdev_destroy(s[1], netdev_by_name(s[1], "v0"));
	stack_leave(s[1]);
	pass(20000, s, 2);
	end(s[0], c);
	end(s[1], a);
	end(s[1], l);
	finish();
}
END_TEST

START_TEST(half_open)
{
	struct tcp_sock *l, *c, *a;

	two_hosts();
	l = serve(s[1], 8);
	c = dial(s[0], "10.0.0.2");
	pass(100, s, 2);
	IS(DO(s[1], tcp_accept(l, &a)), 0);
	/* It forgets, while nobody hears it. */
	up(s[0], "v0", false);
	end(s[1], a);
	pass(100, s, 2);
	up(s[0], "v0", true);
	IS(push(s[0], c, 100), 100);
	pass(5000, s, 2);
	IS(c->ep.state, TCP_CLOSE);
	IS(DO(s[0], tcp_take_error(c)), ECONNRESET);
	end(s[0], c);
	end(s[1], l);
	finish();
}
END_TEST

/* ---- all at once ---- */

static atomic_bool stop;
static struct stack *place[3];

static void *sender(void *arg)
{
	const char *name = arg;

	for (unsigned i = 0; !stop; i++)
		for (int k = 0; k < 3; k++)
			(void)emit(place[k], name, frame(i % 3 ? 9 : 255, 1, 1, 100));
	return NULL;
}

static void *mover(void *arg)
{
	const char *name = arg;

	for (unsigned i = 0; !stop; i++) {
		struct stack *from = place[i % 3], *to = place[(i / 3) % 3];
		struct netdev *d;
		unsigned index;

		stack_enter(from);
		d = netdev_by_name(from, name);
		index = d ? d->index : 0;
		if (d)
			MUST(netdev_set_flags(from, d, i & 1 ? IFF_UP : 0, IFF_UP) == 0);
		stack_leave(from);
		if (index)
			(void)!netdev_move(from, to, index, NULL, &index);
	}
	return NULL;
}

static void *maker(void *arg __unused)
{
	for (unsigned i = 0; !stop; i++) {
		struct netdev_config ca = {.name = "v0", .mtu = 1500}, cb = {.name = "v1", .mtu = 1500};
		struct stack *at = place[i % 3];
		struct netdev *d;

		(void)!veth_create(at, &ca, place[(i + i / 3) % 3], &cb, NULL, NULL);
		stack_enter(at);
		d = netdev_by_name(at, i & 1 ? "v0" : "v1");
		if (d && i % 7 == 0)
			netdev_destroy(at, d);
		stack_leave(at);
	}
	return NULL;
}

START_TEST(all_at_once)
{
	pthread_t t[6];

	for (unsigned i = 0; i < 3; i++)
		place[i] = make_stack(i + 1);
	pthread_create(&t[0], NULL, sender, (void *)"v0");
	pthread_create(&t[1], NULL, sender, (void *)"v1");
	pthread_create(&t[2], NULL, mover, (void *)"v0");
	pthread_create(&t[3], NULL, mover, (void *)"v1");
	pthread_create(&t[4], NULL, maker, NULL);
	usleep(500000);
	stop = true;
	for (unsigned i = 0; i < 5; i++)
		pthread_join(t[i], NULL);
	for (unsigned i = 0; i < 3; i++)
		stack_destroy(place[i]);
	IS(released, 3);
}
END_TEST

UNIT_MAIN(carrier, frames, moves, no_memory, bulk_and_faults, syn_flood, half_open, all_at_once)
