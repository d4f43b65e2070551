/*
 * net/stack/tcp*.c: two of our own TCPs and a bad link between them, by a seed.
 *
 * Each seed makes a link (loss, delay, jitter, duplicates, corruption, MTU, bandwidth) and what each end does: how many
 * bytes it sends, in which pieces, how it reads, when it shuts down. Every byte must be right, both ends must see the
 * other's end, and nothing may be left when TIME_WAIT is over. TCPSIM_SEEDS=5000 runs more of them, TCPSIM_FIRST=77
 * from there on; TCPSIM_TRACE=1 prints the segments.
 */
#include "tests/unit/tcpscript.h"

/* Sanitizers take their time. */
#if defined(__SANITIZE_THREAD__)
#define SEEDS 20
#define CASE_STEP 4
#elif defined(__SANITIZE_ADDRESS__)
#define SEEDS 60
#define CASE_STEP 2
#else
#define SEEDS 200
#define CASE_STEP 1
#endif
#define LIMIT (24 * 3600 * NSEC_PER_SEC)

struct end {
	struct stack *s;
	int64_t wake_at;
	struct in6_addr addr;
	struct tcp_sock *tp;
	uint32_t to_send, sent, to_get, got;
	uint32_t write_max, read_max;
	uint64_t pacing;
	bool nodelay, half_close, eof, finished, released;
	int64_t think; /* between what it does */
	int64_t next;
	bool slow_reader;
};

static struct {
	uint64_t random;
	unsigned loss, dup, corrupt; /* in 1000 */
	int64_t queue;               /* ns of waiting at most */
	int64_t delay, jitter, per_byte;
	int64_t busy_until[2];
	struct list flight; /* struct wire, by time */
	unsigned count;
	bool trace;
	struct end end[2];
	struct tcp_sock *listener;
	bool v6;
} sim;

static uint32_t pick(uint32_t n)
{
	return (uint32_t)(next_random(&sim.random) % MAX(n, 1u));
}

static uint32_t pick_log(uint32_t most)
{
	return 1 + pick(1u << pick(32 - (unsigned)__builtin_clz(most)));
}

static bool chance(unsigned in_1000)
{
	return pick(1000) < in_1000;
}

/* ---- the link ---- */

static void enqueue(struct wire *w)
{
	struct list *l;

	for (l = sim.flight.prev; l != &sim.flight && list_entry(l, struct wire, link)->at > w->at; l = l->prev)
		;
	list_push(l, &w->link);
	sim.count++;
}

static void trace(const struct wire *w, const char *what)
{
	const struct tcphdr *th = (const struct tcphdr *)w->data;

	if (!sim.trace)
		return;
	fprintf(stderr, "%12.6f %c %s flags %02x seq %u len %u ack %u win %u\n", (double)net.now / 1e9,
		w->src.s6_addr[15] == 1 ? 'A' : 'B', what, th->th_flags, ntohl(th->th_seq),
		(unsigned)(w->size - th->th_off * 4u), ntohl(th->th_ack), ntohs(th->th_win));
}

static void sim_out(struct stack *s __unused, struct wire *w)
{
	int side = w->src.s6_addr[15] - 1;
	struct wire *copy;

	if (chance(sim.loss) || sim.busy_until[side] - net.now > sim.queue) {
		trace(w, "lost");
		free(w);
		return;
	}
	trace(w, "sent");
	MUST(w->size <= net.mtu - (sim.v6 ? 40 : 20));
	sim.busy_until[side] = MAX(sim.busy_until[side], net.now) + (int64_t)w->size * sim.per_byte;
	w->at = sim.busy_until[side] + sim.delay + (sim.jitter ? (int64_t)pick((uint32_t)sim.jitter) * 1000 : 0);
	if (chance(sim.dup)) {
		copy = malloc(sizeof(*w) + w->size);
		memcpy(copy, w, sizeof(*w) + w->size);
		copy->at += (int64_t)pick(50) * MS;
		enqueue(copy);
	}
	if (chance(sim.corrupt))
		w->data[pick((uint32_t)w->size)] ^= (uint8_t)(1 + pick(255));
	enqueue(w);
}

static void arrive(struct wire *w)
{
	list_remove(&w->link);
	sim.count--;
	wire_in(sim.end[w->dst.s6_addr[15] - 1].s, w);
	free(w);
}

/* ---- the ends ---- */

static void do_send(struct end *e)
{
	ssize_t room = DO(e->s, tcp_send_room(e->tp));
	uint32_t want = pick_log(e->write_max), n = MIN(want, e->to_send - e->sent);
	ssize_t r;

	if (room == -EAGAIN || n == 0)
		return;
	MUST(room > 0);
	r = send_bytes(e->s, e->tp, e->sent, (uint32_t)MIN(n, room), chance(100) ? MSG_MORE : 0);
	MUST(r > 0);
	e->sent += (uint32_t)r;
}

static void do_recv(struct end *e)
{
	ssize_t r = recv_bytes(e->s, e->tp, e->got, pick_log(e->read_max), 0);

	if (r == -EAGAIN)
		return;
	MUST(r >= 0);
	e->eof |= r == 0;
	e->got += (uint32_t)r;
	MUST(e->got <= e->to_get);
	MUST(!e->eof || e->got == e->to_get);
}

static void act(struct end *e)
{
	unsigned rounds = 1 + pick(4);

	if (!e->tp || e->released)
		return;
	e->tp->pacing_rate = e->pacing;
	while (rounds--) {
		if (e->sent < e->to_send && e->tp->ep.state != TCP_SYN_SENT)
			do_send(e);
		if (!e->eof && e->tp->ep.state != TCP_SYN_SENT && !(e->slow_reader && chance(700)))
			do_recv(e);
	}
	if (e->sent == e->to_send && !e->finished && e->tp->ep.state != TCP_SYN_SENT && (e->half_close || e->eof)) {
		IS(DO(e->s, tcp_shutdown(e->tp, TCP_SHUT_SEND)), 0);
		e->finished = true;
	}
	if (e->eof && e->finished) {
		stack_enter(e->s);
		tcp_close(e->tp, false);
		tcp_release(e->tp);
		stack_leave(e->s);
		e->released = true;
	}
}

static void try_accept(struct end *e)
{
	stack_enter(e->s);
	if (!e->tp && tcp_accept(sim.listener, &e->tp) != 0)
		e->tp = NULL;
	stack_leave(e->s);
}

/* ---- a run ---- */

static void make_link(void)
{
	static const uint32_t mtus[] = {68 + 40, 296, 576, 1280, 1500, 9000, 65535};
	unsigned bad = pick(4);

	net.mtu = mtus[pick(ARRAY_SIZE(mtus))];
	sim.queue = (int64_t)(1 + pick(1000)) * MS;
	sim.loss = bad ? pick(bad * 60) : 0;
	sim.dup = bad > 1 ? pick(100) : 0;
	sim.corrupt = bad > 2 ? pick(50) : 0;
	sim.delay = (int64_t)pick_log(200) * MS / (1 + pick(20));
	sim.jitter = chance(500) ? pick(100000) : 0; /* us */
	sim.per_byte = chance(500) ? pick(10000) : 0;
	list_init(&sim.flight);
	sim.count = 0;
	sim.busy_until[0] = sim.busy_until[1] = 0;
}

static void make_end(struct end *e, int n)
{
	uint32_t mss = net.mtu - 40;

	*e = (struct end){.addr = n ? peer_addr : our_addr};
	if (sim.v6)
		MUST(inet_pton(AF_INET6, n ? "2001:db8::2" : "2001:db8::1", &e->addr) == 1);
	e->s = stack_at(&e->wake_at);
	net_setup(e->s, &e->addr);
	e->to_send = chance(200) ? 0 : pick_log(MIN(1u << 20, mss * 400));
	e->write_max = pick_log(60000);
	e->read_max = pick_log(100000);
	if (e->to_send / e->write_max > 3000)
		e->write_max = e->to_send / 3000;
	e->nodelay = chance(300);
	e->half_close = n == 0 || chance(500);
	e->think = chance(300) ? (int64_t)(1 + pick(20)) * MS : MS / 4;
	e->slow_reader = chance(200);
	e->pacing = chance(150) ? 50000 + pick_log(10000000) : UINT64_MAX;
}

static void make_conf(struct end *e)
{
	struct tcp_conf *c;

	stack_enter(e->s);
	c = tcp_conf(e->s);
	c->retries2 = c->orphan_retries = 40; /* nobody gives up */
	c->syn_retries = c->synack_retries = 20;
	c->timestamps = chance(700);
	c->sack = chance(700);
	c->window_scaling = chance(700);
	c->ecn = (int)pick(3);
	strcpy(c->congestion, chance(700) ? "cubic" : "reno");
	if (chance(300))
		c->rmem[1] = c->rmem[2] = 2304 + pick(30000);
	if (chance(300))
		c->wmem[1] = c->wmem[2] = 4608 + pick(30000);
	stack_leave(e->s);
}

/* Of both ends together: mostly enough, sometimes pressure. Not none, which would reset orphans (tcpmem.c has that). */
static void make_memory(void)
{
	uint32_t pages = chance(300) ? 2 + pick_log(100) : 100000;

	net_memory_set_limits(&tcp_memory, (const uint32_t[]){pages / 2, pages, 100000});
}

/* The next thing that happens; TIME_NEVER: none. */
static int64_t next_event(void)
{
	struct wire *w = list_first(&sim.flight, struct wire, link);
	int64_t t = w ? w->at : TIME_NEVER;

	for (int i = 0; i < 2; i++) {
		struct end *e = &sim.end[i];

		t = MIN(t, e->wake_at);
		if (!e->released)
			t = MIN(t, e->next);
	}
	return t;
}

static void step(void)
{
	struct wire *w = list_first(&sim.flight, struct wire, link);

	net.now = MAX(net.now, next_event());
	if (w && w->at <= net.now)
		arrive(w);
	for (int i = 0; i < 2; i++) {
		struct end *e = &sim.end[i];

		if (e->wake_at <= net.now) {
			e->wake_at = INT64_MAX;
			stack_run(e->s);
		}
		if (i == 1)
			try_accept(e);
		if (e->next <= net.now) {
			act(e);
			e->next = net.now + e->think + 1;
		}
	}
}

static bool quiet(void)
{
	return list_empty(&sim.flight) && sim.end[0].s->tcp->conn_count == 0 && sim.end[1].s->tcp->conn_count == 0;
}

static void open_both(bool simultaneous)
{
	struct end *a = &sim.end[0], *b = &sim.end[1];

	S = b->s;
	if (simultaneous) {
		b->tp = sock_new(sim.v6);
		IS(DO(S, tcp_bind(b->tp, &b->addr, 80)), 0);
		IS(DO(S, tcp_connect(b->tp, &a->addr, 81)), -EINPROGRESS);
	} else {
		sim.listener = listener(3, sim.v6);
	}
	S = a->s;
	a->tp = sock_new(sim.v6);
	IS(DO(S, tcp_bind(a->tp, &a->addr, 81)), 0);
	a->tp->nodelay = a->nodelay;
	IS(DO(S, tcp_connect(a->tp, &b->addr, simultaneous ? 80 : 8080)), -EINPROGRESS);
}

static void close_all(void)
{
	if (sim.listener) {
		stack_enter(sim.end[1].s);
		tcp_release(sim.listener);
		stack_leave(sim.end[1].s);
		sim.listener = NULL;
	}
	for (int i = 0; i < 2; i++)
		stack_destroy(sim.end[i].s);
}

static void run_seed(unsigned seed)
{
	struct end *a = &sim.end[0], *b = &sim.end[1];
	int64_t start;

	sim.random = net.random = seed * 7919ull + 1;
	net.now = start = 1000 * NSEC_PER_SEC + (int64_t)pick(1000000) * MS;
	net.wire_out = sim_out;
	make_link();
	sim.v6 = net.mtu >= 1280 && chance(300);
	make_end(a, 0);
	make_end(b, 1);
	make_conf(a);
	make_conf(b);
	make_memory();
	a->to_get = b->to_send;
	b->to_get = a->to_send;
	open_both(chance(100));
	for (unsigned n = 0; !a->released || !b->released || !quiet(); n++) {
		step();
		if (n % 32 == 0) {
			check(a->s);
			check(b->s);
		}
		if (net.now - start > LIMIT)
			ck_abort_msg("seed %u: A sent %u of %u got %u of %u, B sent %u of %u got %u of %u", seed,
				     a->sent, a->to_send, a->got, a->to_get, b->sent, b->to_send, b->got, b->to_get);
	}
	if (sim.trace)
		printf("seed %u: %.3f s\n", seed, (double)(net.now - start) / 1e9);
	close_all();
	ck_assert_uint_eq(slab_live("struct tcp_sock"), 0);
	ck_assert_uint_eq(slab_live("struct tcp_tx"), 0);
	ck_assert_uint_eq(slab_live("struct tcp_chunk"), 0);
	ck_assert_uint_eq(slab_live("struct tcp_early"), 0);
	ck_assert_uint_eq(slab_live("struct tcp_timewait"), 0);
	ck_assert_uint_eq(slab_live("struct tcp_request"), 0);
	ck_assert_uint_eq(slab_live("struct pkt"), 0);
	ck_assert_uint_eq(net_memory_used(&tcp_memory), 0);
}

/* Bytes one way over a link: the time that it takes, in ms. */
static int64_t transfer(uint32_t bytes, const char *congestion)
{
	struct end *a = &sim.end[0], *b = &sim.end[1];
	int64_t start;

	sim.random = net.random = 5;
	net.now = start = 1000 * NSEC_PER_SEC;
	net.wire_out = sim_out;
	list_init(&sim.flight);
	sim.count = 0;
	sim.busy_until[0] = sim.busy_until[1] = 0;
	sim.v6 = false;
	net.mtu = 1500;
	for (int i = 0; i < 2; i++) {
		make_end(&sim.end[i], i);
		sim.end[i].to_send = i ? 0 : bytes;
		sim.end[i].write_max = 65536;
		sim.end[i].read_max = 1 << 20;
		sim.end[i].think = MS / 10;
		sim.end[i].slow_reader = false;
		sim.end[i].pacing = UINT64_MAX;
		stack_enter(sim.end[i].s);
		strcpy(tcp_conf(sim.end[i].s)->congestion, congestion);
		stack_leave(sim.end[i].s);
	}
	a->to_get = 0;
	b->to_get = bytes;
	open_both(false);
	while (!b->eof && net.now - start < LIMIT)
		step();
	start = (net.now - start) / MS;
	while (!a->released || !b->released || !quiet())
		step();
	close_all();
	return start;
}

/* A link of 100 Mbit/s and a round trip of 40 ms: 20 MB take 1.6 s at best. */
START_TEST(throughput)
{
	static const struct {
		const char *congestion;
		unsigned loss, jitter; /* in 1000; us */
		int64_t queue, most;   /* ms */
	} cases[] = {
	    {"cubic", 0, 0, 200, 2300},  {"cubic", 0, 0, 20, 2600},     {"cubic", 0, 0, 5, 3200},
	    {"reno", 0, 0, 20, 3000},    {"cubic", 1, 0, 50, 9000},     {"reno", 1, 0, 50, 12000},
	    {"cubic", 10, 0, 50, 60000}, {"cubic", 0, 8000, 200, 4000},
	};

	sim.trace = getenv("TCPSIM_TRACE") != NULL;
	sim.per_byte = 80;
	sim.delay = 20 * MS;
	sim.dup = sim.corrupt = 0;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i += CASE_STEP) {
		int64_t ms;

		sim.loss = cases[i].loss;
		sim.jitter = cases[i].jitter;
		sim.queue = cases[i].queue * MS;
		ms = transfer(20000000, cases[i].congestion);
		if (getenv("TCPSIM_SHOW"))
			fprintf(stderr, "case %zu: %ld ms\n", i, (long)ms);
		else
			ck_assert_msg(ms <= cases[i].most, "case %zu: %ld ms", i, (long)ms);
	}
}
END_TEST

START_TEST(seeds)
{
	const char *count = getenv("TCPSIM_SEEDS"), *first = getenv("TCPSIM_FIRST");
	unsigned from = first ? (unsigned)atoi(first) : 1, n = count ? (unsigned)atoi(count) : SEEDS;

	sim.trace = getenv("TCPSIM_TRACE") != NULL;
	for (unsigned seed = from; seed < from + n; seed++) {
		if (count)
			fprintf(stderr, "%u\r", seed);
		run_seed(seed);
	}
}
END_TEST

UNIT_MAIN(throughput, seeds)
