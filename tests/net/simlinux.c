/*
 * A simulator between this stack's TCP/IP and Linux's: both on one wire that loses, delays, duplicates, reorders, corrupts, cuts by a queue and a rate, as a
 * seed says. Every byte of every connection is verified, in both directions, and every datagram that arrives; with an undamaged wire Linux may not have found a bad checksum.
 *
 * Each seed is a process in a network namespace of its own (and a user namespace, if need be), which go with it, whatever happens. A TAP device there is
 * Linux's end of the wire; its other end, the wire itself and our stack are in the process: so netem is not needed, and what happens to frames follows from the seed. When it happens
 * does not, since Linux runs in real time. What else a seed decides: MTU, offloads (virtio-net headers, large packets), what both
 * TCPs may use (SACK, timestamps, window scaling, ECN), congestion control, buffers, who connects, pauses of readers. ARP and NDP pass unharmed.
 *
 *	simlinux [--first SEED] [--seeds COUNT] [--jobs COUNT]		simlinux --seed SEED (says what happens)
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "net/link/vnet.h"
#include "net/stack/dgram.h"
#include "net/stack/neigh.h"
#include "net/stack/netdev.h"
#include "net/stack/tcp.h"
#include "runsc-shim/hostnet.h"
#include "sentry/base/clock.h"

#define SKIP 77
#define FLOWS_MAX 3
#define SECONDS_MAX 100
#define FRAME_MAX 66000
#define DATAGRAMS 40
#define DATAGRAM_MAX 9000
#define MS NSEC_PER_MSEC

struct params {
	uint64_t seed;
	unsigned mtu, loss, duplicate, reorder, corrupt; /* of 1000 frames */
	int64_t delay, jitter, reorder_by;               /* ns */
	uint64_t rate;                                   /* bytes a second; 0: any */
	int64_t queue;                                   /* ns of it */
	bool v6, offload, sack, timestamps, scaling, cubic, our_cubic;
	int ecn;
	unsigned flows, pause;                                  /* pause: of 1000 reads */
	int linux_sndbuf, linux_rcvbuf, our_sndbuf, our_rcvbuf; /* 0: tuned */
};

struct frame {
	int64_t at;
	uint64_t order;
	bool to_linux;
	size_t size; /* with the virtio-net header */
	uint8_t data[];
};

struct way {
	size_t total, sent, received;
	bool shut, ended;
	int64_t read_at; /* when its reader goes on */
};

struct flow {
	struct tcp_sock *tp, *listener; /* ours */
	int fd, listen_fd;              /* Linux's */
	bool we_connect, ours_up, linux_up;
	struct way out, in; /* out: from us */
};

static struct {
	struct params p;
	uint64_t random; /* what happens on the wire and to the calls */
	uint64_t secret; /* the stack's */
	struct stack *s;
	struct netdev *dev;
	int tap;
	struct frame **heap;
	size_t heap_count, heap_room;
	uint64_t order;
	int64_t busy[2], wish;
	struct flow flow[FLOWS_MAX];
	struct udp_sock udp;
	int udp_fd;
	unsigned udp_out, udp_in, udp_out_seen, udp_in_seen;
	uint64_t frames, lost, harmed;
	bool verbose;
} sim;

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1};
static struct in6_addr ours, theirs;

static void fail(const char *fmt, ...) __printf(1, 2) __noreturn;

static uint64_t rnd(uint64_t below)
{
	sim.random ^= sim.random << 13;
	sim.random ^= sim.random >> 7;
	sim.random ^= sim.random << 17;
	return below ? (sim.random >> 11) % below : 0;
}

static bool chance(unsigned of_1000)
{
	return rnd(1000) < of_1000;
}

static void describe(char *to, size_t size)
{
	const struct params *p = &sim.p;

	snprintf(
	    to, size,
	    "seed %lu: IPv%d mtu %u offload %d loss %u dup %u reorder %u corrupt %u delay %.1f+%.1f ms rate %lu sack %d ts %d "
	    "ws %d ecn %d linux %s we %s bufs %d/%d %d/%d flows %u pause %u",
	    (unsigned long)p->seed, p->v6 ? 6 : 4, p->mtu, p->offload, p->loss, p->duplicate, p->reorder, p->corrupt,
	    (double)p->delay / 1e6, (double)p->jitter / 1e6, (unsigned long)p->rate, p->sack, p->timestamps, p->scaling,
	    p->ecn, p->cubic ? "cubic" : "reno", p->our_cubic ? "cubic" : "reno", p->our_sndbuf, p->our_rcvbuf,
	    p->linux_sndbuf, p->linux_rcvbuf, p->flows, p->pause);
}

static void describe_flow(unsigned i)
{
	const struct flow *f = &sim.flow[i];
	struct k_tcp_info t = {0};
	struct tcp_info l = {0};
	socklen_t n = sizeof(l);

	printf("  flow %u: we %s, up %d/%d; out %zu sent %zu seen of %zu%s; in %zu sent %zu seen of %zu%s\n", i,
	       f->we_connect ? "connect" : "accept", f->ours_up, f->linux_up, f->out.sent, f->out.received,
	       f->out.total, f->out.ended ? " ended" : "", f->in.sent, f->in.received, f->in.total,
	       f->in.ended ? " ended" : "");
	if (f->tp) {
		stack_enter(sim.s);
		tcp_info(f->tp, &t);
		stack_leave(sim.s);
		printf(
		    "    we: state %u ca %u retransmits %u probes %u backoff %u rto %u cwnd %u unacked %u sacked %u lost %u wnd %u\n",
		    t.state, t.ca_state, t.retransmits, t.probes, t.backoff, t.rto, t.snd_cwnd, t.unacked, t.sacked,
		    t.lost, t.snd_wnd);
	}
	if (f->fd >= 0 && getsockopt(f->fd, IPPROTO_TCP, TCP_INFO, &l, &n) == 0)
		printf(
		    "    Linux: state %u ca %u retransmits %u probes %u backoff %u rto %u cwnd %u unacked %u sacked %u lost %u\n",
		    l.tcpi_state, l.tcpi_ca_state, l.tcpi_retransmits, l.tcpi_probes, l.tcpi_backoff, l.tcpi_rto,
		    l.tcpi_snd_cwnd, l.tcpi_unacked, l.tcpi_sacked, l.tcpi_lost);
}

static void fail(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	describe(line, sizeof(line));
	printf("FAILED %s\n  ", line);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	for (unsigned i = 0; i < sim.p.flows && sim.s; i++)
		describe_flow(i);
	fflush(stdout);
	_exit(1);
}

static void must(long r, const char *what)
{
	if (r < 0)
		fail("%s: %s", what, strerror(r == -1 ? errno : (int)-r));
}

/* ---- what a seed means ---- */

static void draw(uint64_t seed)
{
	static const unsigned mtus[] = {576, 600, 1280, 1400, 1500, 1500, 4000, 9000},
			      bad[] = {0, 0, 0, 5, 20, 50, 100};
	static const int bufs[] = {0, 0, 0, 4096, 16384, 65536};
	struct params *p = &sim.p;

	sim.random = seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
	for (int i = 0; i < 16; i++)
		rnd(0);
	sim.secret = sim.random;
	*p = (struct params){.seed = seed};
	p->v6 = rnd(2);
	p->mtu = mtus[rnd(ARRAY_SIZE(mtus))];
	if (p->v6 && p->mtu < 1280)
		p->mtu = 1280 + (unsigned)rnd(100);
	p->offload = rnd(3) == 0;
	p->loss = bad[rnd(ARRAY_SIZE(bad))];
	p->duplicate = bad[rnd(ARRAY_SIZE(bad))];
	p->reorder = bad[rnd(ARRAY_SIZE(bad))];
	/* What a checksum is put on later cannot be found harmed. */
	p->corrupt = p->offload ? 0 : bad[rnd(ARRAY_SIZE(bad) - 1)];
	p->delay = rnd(2) ? (int64_t)rnd(20) * MS : 0;
	p->jitter = rnd(3) == 0 ? (int64_t)rnd(8) * MS : 0;
	p->reorder_by = 1 + (int64_t)rnd(10) * MS;
	p->rate = rnd(3) == 0 ? 200000 + rnd(4000000) : 0;
	p->queue = (5 + (int64_t)rnd(100)) * MS;
	p->sack = rnd(4);
	p->timestamps = rnd(4);
	p->scaling = rnd(4);
	p->ecn = (int)rnd(3);
	p->cubic = rnd(2);
	p->our_cubic = rnd(2);
	p->flows = 1 + (unsigned)rnd(FLOWS_MAX);
	p->pause = bad[rnd(ARRAY_SIZE(bad))];
	p->linux_sndbuf = bufs[rnd(ARRAY_SIZE(bufs))];
	p->linux_rcvbuf = bufs[rnd(ARRAY_SIZE(bufs))];
	p->our_sndbuf = bufs[rnd(ARRAY_SIZE(bufs))];
	p->our_rcvbuf = bufs[rnd(ARRAY_SIZE(bufs))];
}

static size_t draw_size(void)
{
	static const size_t sizes[] = {0, 1, 3000, 100000, 600000, 3000000};
	size_t most = sizes[rnd(ARRAY_SIZE(sizes))];

	/* A bad wire moves little in a second. */
	if (sim.p.loss + sim.p.corrupt > 100)
		most = MIN(most, 100000ul);
	return most ? rnd(most) + 1 : 0;
}

/* The byte at a place of a flow, of each direction. */
static uint8_t pattern(const struct way *w, size_t at)
{
	uint64_t x = ((uint64_t)(uintptr_t)(w - (const struct way *)sim.flow) + 1) * 0x9e3779b97f4a7c15u +
		     at * 0xbf58476d1ce4e5b9u;

	return (uint8_t)((x ^ x >> 29) * 0x94d049bb133111ebu >> 56);
}

static void fill(const struct way *w, size_t at, uint8_t *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = pattern(w, at + i);
}

static void verify(struct way *w, const uint8_t *data, size_t n, const char *who)
{
	if (n > w->sent - w->received)
		fail("%s got %zu bytes of %zu that were sent", who, w->received + n, w->sent);
	for (size_t i = 0; i < n; i++)
		if (data[i] != pattern(w, w->received + i))
			fail("%s got a wrong byte at %zu", who, w->received + i);
	w->received += n;
	if (sim.p.pause && chance(sim.p.pause))
		w->read_at = clock_now(CLOCK_MONOTONIC) + (int64_t)rnd(100) * MS;
}

/* ---- the wire ---- */

static bool earlier(const struct frame *a, const struct frame *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void swap(size_t i, size_t j)
{
	struct frame *f = sim.heap[i];

	sim.heap[i] = sim.heap[j];
	sim.heap[j] = f;
}

static void heap_add(struct frame *f)
{
	size_t i = sim.heap_count++;

	if (sim.heap_count > sim.heap_room) {
		sim.heap_room = 2 * sim.heap_count;
		sim.heap = realloc(sim.heap, sim.heap_room * sizeof(struct frame *));
	}
	sim.heap[i] = f;
	for (; i && earlier(sim.heap[i], sim.heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(i, (i - 1) / 2);
}

static struct frame *heap_take(void)
{
	struct frame *f = sim.heap[0];

	swap(0, --sim.heap_count);
	for (size_t i = 0, next; (next = 2 * i + 1) < sim.heap_count; i = next) {
		if (next + 1 < sim.heap_count && earlier(sim.heap[next + 1], sim.heap[next]))
			next++;
		if (!earlier(sim.heap[next], sim.heap[i]))
			break;
		swap(i, next);
	}
	return f;
}

static bool is_neighbour_traffic(const uint8_t *frame, size_t n)
{
	unsigned type = n >= 14 ? (unsigned)frame[12] << 8 | frame[13] : 0;

	return type == ETHERTYPE_ARP ||
	       (type == ETHERTYPE_IPV6 && n >= 54 && frame[20] == IPPROTO_ICMPV6 && (n < 55 || frame[54] >= 133));
}

static void put_on_wire(const uint8_t *data, size_t n, bool to_linux, int64_t at)
{
	struct frame *f = malloc(sizeof(*f) + n);

	*f = (struct frame){.at = at, .order = sim.order++, .to_linux = to_linux, .size = n};
	memcpy(f->data, data, n);
	heap_add(f);
}

/* When a frame has left by a wire of that rate; -1: the queue was full. */
static int64_t leaves(size_t n, bool to_linux, int64_t now)
{
	int64_t *busy = &sim.busy[to_linux];

	if (!sim.p.rate)
		return now;
	if (*busy - now > sim.p.queue)
		return -1;
	*busy = MAX(*busy, now) + (int64_t)(n * NSEC_PER_SEC / sim.p.rate);
	return *busy;
}

/* data: a virtio-net header and a frame. */
static void send_frame(uint8_t *data, size_t n, bool to_linux)
{
	size_t head = sizeof(struct vnet_head);
	int64_t now = clock_now(CLOCK_MONOTONIC), at;

	sim.frames++;
	if (is_neighbour_traffic(data + head, n - head)) {
		put_on_wire(data, n, to_linux, now);
		return;
	}
	at = leaves(n, to_linux, now);
	if (at < 0 || chance(sim.p.loss)) {
		sim.lost++;
		return;
	}
	at += sim.p.delay + (sim.p.jitter ? (int64_t)rnd((uint64_t)sim.p.jitter) : 0);
	if (chance(sim.p.reorder))
		at += sim.p.reorder_by;
	if (chance(sim.p.duplicate))
		put_on_wire(data, n, to_linux, at + (int64_t)rnd(3) * MS);
	if (chance(sim.p.corrupt)) {
		sim.harmed++;
		/* Not in the addresses: another MAC is loss, and the same for all seeds. */
		data[head + 12 + rnd(n - head - 12)] ^= (uint8_t)(1u << rnd(8));
	}
	put_on_wire(data, n, to_linux, at);
}

static int transmit(struct stack *s __unused, struct netdev *dev __unused, struct pkt *p)
{
	uint8_t data[FRAME_MAX];
	struct vnet_head *h = (struct vnet_head *)data;

	vnet_describe(p, h);
	if (!sim.p.offload && (h->flags || h->gso_type))
		fail("the stack leaves work to a link that does none");
	if (p->len > FRAME_MAX - sizeof(*h) || !pkt_copy(p, 0, data + sizeof(*h), p->len))
		fail("a packet of %u bytes", p->len);
	send_frame(data, sizeof(*h) + p->len, true);
	pkt_free(p);
	return 0;
}

static void receive(const struct frame *f)
{
	struct list batch = LIST_INIT(batch);
	struct vnet_head h;
	struct pkt *p;

	memcpy(&h, f->data, sizeof(h));
	p = pkt_from(f->data + sizeof(h), f->size - sizeof(h));
	if (!p)
		fail("no memory");
	vnet_accept(&h, p, &batch);
	stack_enter(sim.s);
	netdev_receive_batch(sim.s, sim.dev, &batch);
	stack_leave(sim.s);
	pkt_free_all(&batch);
}

/* Frames whose time has come. */
static bool deliver_frames(int64_t now)
{
	bool any = false;

	while (sim.heap_count && sim.heap[0]->at <= now) {
		struct frame *f = heap_take();

		if (!f->to_linux)
			receive(f);
		else if (write(sim.tap, f->data, f->size) < 0 && errno != EINVAL && errno != EAGAIN)
			fail("write to the TAP device: %s", strerror(errno));
		free(f);
		any = true;
	}
	return any;
}

static bool read_tap(void)
{
	uint8_t data[FRAME_MAX];
	bool any = false;
	ssize_t n;

	for (int i = 0; i < 64 && (n = read(sim.tap, data, sizeof(data))) > 0; i++) {
		send_frame(data, (size_t)n, false);
		any = true;
	}
	return any;
}

/* ---- both sides' calls ---- */

static socklen_t linux_name(struct sockaddr_storage *ret, const struct in6_addr *a, uint16_t port)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = *a};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

	memcpy(&in.sin_addr, a->s6_addr + 12, 4);
	if (sim.p.v6)
		memcpy(ret, &in6, sizeof(in6));
	else
		memcpy(ret, &in, sizeof(in));
	return sim.p.v6 ? sizeof(in6) : sizeof(in);
}

static int linux_socket(int type)
{
	int fd = socket(sim.p.v6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK, 0);

	must(fd, "socket");
	/* Not every machine lets everybody choose. */
	setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, sim.p.cubic ? "cubic" : "reno", sim.p.cubic ? 5 : 4);
	if (sim.p.linux_sndbuf && type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sim.p.linux_sndbuf, sizeof(int));
	if (sim.p.linux_rcvbuf && type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &sim.p.linux_rcvbuf, sizeof(int));
	return fd;
}

static struct tcp_sock *our_socket(void) REQUIRES(L_NET)
{
	struct tcp_sock *tp = tcp_create(sim.s, sim.p.v6);

	if (!tp)
		fail("no memory");
	if (sim.p.our_sndbuf)
		tcp_set_sndbuf(tp, (uint32_t)sim.p.our_sndbuf * 2);
	if (sim.p.our_rcvbuf)
		tcp_set_rcvbuf(tp, (uint32_t)sim.p.our_rcvbuf * 2);
	return tp;
}

static void open_flow(struct flow *f, uint16_t port)
{
	struct sockaddr_storage to;
	socklen_t n;

	f->we_connect = rnd(2);
	f->out.total = draw_size();
	f->in.total = draw_size();
	f->fd = f->listen_fd = -1;
	stack_enter(sim.s);
	if (f->we_connect) {
		f->listen_fd = linux_socket(SOCK_STREAM);
		n = linux_name(&to, &theirs, port);
		must(bind(f->listen_fd, (struct sockaddr *)&to, n), "bind");
		must(listen(f->listen_fd, 5), "listen");
		f->tp = our_socket();
		if (tcp_connect(f->tp, &theirs, port) != -EINPROGRESS)
			fail("tcp_connect");
	} else {
		f->listener = our_socket();
		must(tcp_bind(f->listener, &ours, port), "tcp_bind");
		must(tcp_listen(f->listener, 5), "tcp_listen");
	}
	stack_leave(sim.s);
	if (f->we_connect)
		return;
	f->fd = linux_socket(SOCK_STREAM);
	n = linux_name(&to, &ours, port);
	if (connect(f->fd, (struct sockaddr *)&to, n) == 0 || errno != EINPROGRESS)
		fail("connect: %s", strerror(errno));
}

static void linux_connected(struct flow *f)
{
	struct pollfd p = {.fd = f->fd, .events = POLLOUT};
	int err = 0;
	socklen_t n = sizeof(err);

	if (poll(&p, 1, 0) != 1)
		return;
	getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &err, &n);
	if (err)
		fail("Linux cannot connect: %s", strerror(err));
	f->linux_up = true;
}

/* Progress of a connection that is not there yet. */
static bool establish(struct flow *f, uint16_t port)
{
	bool was = f->ours_up && f->linux_up;
	int err;

	if (was)
		return false;
	stack_enter(sim.s);
	if (f->we_connect && !f->ours_up) {
		err = tcp_connect(f->tp, &theirs, port);
		f->ours_up = err == 0;
		if (err && err != -EALREADY)
			fail("we cannot connect: %s", strerror(-err));
	} else if (!f->we_connect && !f->ours_up) {
		f->ours_up = tcp_accept(f->listener, &f->tp) == 0;
	}
	stack_leave(sim.s);
	if (f->we_connect && !f->linux_up) {
		f->fd = accept4(f->listen_fd, NULL, NULL, SOCK_NONBLOCK);
		f->linux_up = f->fd >= 0;
	} else if (!f->linux_up) {
		linux_connected(f);
	}
	return f->ours_up && f->linux_up;
}

static bool we_send(struct flow *f)
{
	size_t left = f->out.total - f->out.sent, chunk = rnd(30000) + 1, n = MIN(left, chunk);
	struct slice slice = {.len = (uint32_t)n};
	ssize_t r;

	if (!left) {
		if (f->out.shut)
			return false;
		stack_enter(sim.s);
		must(tcp_shutdown(f->tp, TCP_SHUT_SEND), "tcp_shutdown");
		stack_leave(sim.s);
		f->out.shut = true;
		return true;
	}
	stack_enter(sim.s);
	r = tcp_send_room(f->tp);
	stack_leave(sim.s);
	if (r == -EAGAIN)
		return false;
	must(r, "tcp_send_room");
	slice.buf = buf_create((uint32_t)n);
	if (!slice.buf)
		fail("no memory");
	fill(&f->out, f->out.sent, slice.buf->data, n);
	slice.buf->used = (uint32_t)n;
	stack_enter(sim.s);
	r = tcp_send(f->tp, &slice, 1, rnd(4) ? 0 : MSG_MORE);
	if (r > 0)
		f->out.sent += (size_t)r;
	stack_leave(sim.s);
	if (r == -EAGAIN)
		return false;
	must(r, "tcp_send");
	return true;
}

static bool we_receive(struct flow *f, int64_t now)
{
	struct slice slices[8];
	unsigned count = ARRAY_SIZE(slices);
	ssize_t r;

	if (f->in.ended || now < f->in.read_at)
		return false;
	stack_enter(sim.s);
	r = tcp_recv(f->tp, slices, &count, 1 + rnd(50000), 0, 0);
	stack_leave(sim.s);
	if (r == -EAGAIN)
		return false;
	must(r, "tcp_recv");
	if (r == 0) {
		if (f->in.received != f->in.total)
			fail("we see the end after %zu bytes of %zu", f->in.received, f->in.total);
		f->in.ended = true;
		return true;
	}
	for (unsigned i = 0; i < count; i++) {
		verify(&f->in, slices[i].buf->data + slices[i].off, slices[i].len, "we");
		buf_put(slices[i].buf);
	}
	return true;
}

static bool linux_sends(struct flow *f)
{
	uint8_t data[30000];
	size_t left = f->in.total - f->in.sent, chunk = rnd(sizeof(data)) + 1, n = MIN(left, chunk);
	ssize_t r;

	if (!left) {
		if (f->in.shut)
			return false;
		must(shutdown(f->fd, SHUT_WR), "shutdown");
		f->in.shut = true;
		return true;
	}
	fill(&f->in, f->in.sent, data, n);
	r = send(f->fd, data, n, MSG_NOSIGNAL | (rnd(4) ? 0 : MSG_MORE));
	if (r < 0 && errno == EAGAIN)
		return false;
	must(r, "send");
	f->in.sent += (size_t)r;
	return true;
}

static bool linux_receives(struct flow *f, int64_t now)
{
	uint8_t data[50000];
	ssize_t r;

	if (f->out.ended || now < f->out.read_at)
		return false;
	r = recv(f->fd, data, 1 + rnd(sizeof(data)), 0);
	if (r < 0 && errno == EAGAIN)
		return false;
	must(r, "recv");
	if (r) {
		verify(&f->out, data, (size_t)r, "Linux");
		return true;
	}
	if (f->out.received != f->out.total)
		fail("Linux sees the end after %zu bytes of %zu", f->out.received, f->out.total);
	f->out.ended = true;
	return true;
}

static bool run_flow(struct flow *f, uint16_t port, int64_t now)
{
	bool any = establish(f, port);

	if (f->ours_up) {
		any |= we_send(f);
		any |= we_receive(f, now);
	}
	if (f->linux_up) {
		any |= linux_sends(f);
		any |= linux_receives(f, now);
	}
	return any;
}

static bool finished(const struct flow *f)
{
	return f->out.ended && f->in.ended;
}

static void close_flow(struct flow *f)
{
	stack_enter(sim.s);
	if (tcp_take_error(f->tp))
		fail("an error at the end");
	tcp_close(f->tp, false);
	tcp_release(f->tp);
	if (f->listener) {
		tcp_close(f->listener, false);
		tcp_release(f->listener);
	}
	stack_leave(sim.s);
	close(f->fd);
	if (f->listen_fd >= 0)
		close(f->listen_fd);
}

/* ---- datagrams: number, length, and bytes that follow from these ---- */

static size_t make_datagram(unsigned number, bool out, uint8_t *to)
{
	size_t n = rnd(4) ? rnd(1400) : rnd(DATAGRAM_MAX - 8);
	uint32_t head[2] = {number << 1 | out, (uint32_t)n};

	memcpy(to, head, sizeof(head));
	for (size_t i = 0; i < n; i++)
		to[8 + i] = (uint8_t)(number * 31 + i * 7 + out);
	return n + 8;
}

static void check_datagram(const uint8_t *data, size_t n, bool out)
{
	uint32_t head[2];

	if (n < sizeof(head))
		fail("a datagram of %zu bytes", n);
	memcpy(head, data, sizeof(head));
	if (head[0] >> 1 >= DATAGRAMS || (head[0] & 1) != out || head[1] != n - 8)
		fail("a datagram that nobody sent: %x %u of %zu", head[0], head[1], n);
	for (size_t i = 0; i < n - 8; i++)
		if (data[8 + i] != (uint8_t)((head[0] >> 1) * 31 + i * 7 + out))
			fail("a wrong byte in a datagram");
}

static void send_datagrams(void)
{
	struct dgram_to to = {.addr = theirs, .port = 9000, .ttl = -1, .tos = -1};
	uint8_t data[DATAGRAM_MAX];
	struct sockaddr_storage name;
	socklen_t len = linux_name(&name, &ours, 9001);
	struct pkt *p;
	int err;

	if (sim.udp_out < DATAGRAMS && rnd(4) == 0) {
		p = pkt_from(data, make_datagram(sim.udp_out++, true, data));
		stack_enter(sim.s);
		err = p ? udp_send(sim.s, &sim.udp, p, &to) : -ENOMEM;
		stack_leave(sim.s);
		if (err && err != -ENOBUFS)
			fail("udp_send: %s", strerror(-err));
	}
	if (sim.udp_in < DATAGRAMS && rnd(4) == 0)
		must(sendto(sim.udp_fd, data, make_datagram(sim.udp_in++, false, data), 0, (struct sockaddr *)&name,
			    len),
		     "sendto");
}

static void receive_datagrams(void)
{
	uint8_t data[65536];
	struct pkt *p;
	ssize_t n;

	while ((n = recv(sim.udp_fd, data, sizeof(data), 0)) >= 0) {
		check_datagram(data, (size_t)n, true);
		sim.udp_out_seen++;
	}
	for (;;) {
		stack_enter(sim.s);
		p = dgram_take(&sim.udp.d, false);
		stack_leave(sim.s);
		if (!p)
			break;
		if (!pkt_copy(p, 0, data, p->len))
			fail("pkt_copy");
		check_datagram(data, p->len, false);
		pkt_free(p);
		sim.udp_in_seen++;
	}
}

/* ---- setting up ---- */

static void write_text(const char *path, const char *fmt, ...) __printf(2, 3);
static void write_text(const char *path, const char *fmt, ...)
{
	char text[128];
	va_list ap;
	int fd = open(path, O_WRONLY), n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		fail("%s: %s", path, strerror(errno));
	close(fd);
}

static void skip(const char *why)
{
	printf("%s: %s\n", why, strerror(errno));
	fflush(stdout);
	_exit(SKIP);
}

static void enter_namespaces(void)
{
	unsigned uid = getuid(), gid = getgid();

	if (unshare(CLONE_NEWNET) == 0)
		return;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		skip("no network namespace can be made");
	write_text("/proc/self/setgroups", "deny");
	write_text("/proc/self/uid_map", "0 %u 1", uid);
	write_text("/proc/self/gid_map", "0 %u 1", gid);
}

static void open_tap(void)
{
	struct ifreq r = {.ifr_name = "tap0", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	unsigned offload = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

	sim.tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	if (sim.tap < 0)
		skip("/dev/net/tun cannot be opened");
	must(ioctl(sim.tap, TUNSETIFF, &r), "TUNSETIFF");
	must(ioctl(sim.tap, TUNSETOFFLOAD, sim.p.offload ? offload : 0), "TUNSETOFFLOAD");
}

/* Linux's end: address, neighbour, MTU, up. */
static void set_up_linux(uint8_t *ret_mac)
{
	struct hostnet_link link;
	struct hostnet_addr addr = {
	    .addr = theirs, .plen = sim.p.v6 ? 64 : 120, .valid = UINT32_MAX, .preferred = UINT32_MAX};
	struct hostnet_neigh neigh = {.addr = ours, .state = NUD_PERMANENT};
	struct hostnet h = {.addrs = &addr, .addr_count = 1, .neighs = &neigh, .neigh_count = 1}, now;
	struct ifreq r = {.ifr_name = "tap0", .ifr_mtu = (int)sim.p.mtu};
	int nl = hostnet_socket(-1), fd = socket(AF_INET, SOCK_DGRAM, 0);

	must(nl, "netlink");
	must(ioctl(fd, SIOCSIFMTU, &r), "SIOCSIFMTU");
	r.ifr_flags = IFF_UP;
	must(ioctl(fd, SIOCSIFFLAGS, &r), "SIOCSIFFLAGS");
	must(hostnet_read(nl, if_nametoindex("tap0"), &now), "hostnet_read");
	link = now.links[0];
	memcpy(ret_mac, link.mac, 6);
	addr.index = neigh.index = link.index;
	memcpy(neigh.mac, our_mac, 6);
	must(hostnet_restore(nl, &h), "hostnet_restore");
	hostnet_free(&now);
	close(nl);
	close(fd);
	write_text("/proc/sys/net/ipv4/tcp_sack", "%d", sim.p.sack);
	write_text("/proc/sys/net/ipv4/tcp_timestamps", "%d", sim.p.timestamps);
	write_text("/proc/sys/net/ipv4/tcp_window_scaling", "%d", sim.p.scaling);
	write_text("/proc/sys/net/ipv4/tcp_ecn", "%d", sim.p.ecn);
}

static int64_t env_now(void *arg __unused)
{
	return clock_now(CLOCK_MONOTONIC);
}

static void env_random(void *arg __unused, void *to, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		sim.secret = sim.secret * 6364136223846793005u + 1442695040888963407u;
		((uint8_t *)to)[i] = (uint8_t)(sim.secret >> 40);
	}
}

static void env_wake_at(void *arg __unused, int64_t deadline)
{
	sim.wish = deadline;
}

static void hold_nothing(struct wakeup *w __unused)
{
}

static void deliver_nothing(struct wakeup *w __unused, uint32_t events __unused)
{
}

static void configure(const uint8_t *their_mac) REQUIRES(L_NET)
{
	static const struct link_ops ops = {.transmit = transmit};
	const struct netdev_config c = {.name = "eth0",
					.type = ARPHRD_ETHER,
					.flags = IFF_BROADCAST | IFF_MULTICAST,
					.features = NETDEV_ETHER | (sim.p.offload ? NETDEV_CHECKSUM | NETDEV_TSO : 0),
					.mtu = sim.p.mtu,
					.mac = our_mac,
					.ops = &ops};
	struct addr_config a = {
	    .addr = ours, .peer = ours, .plen = sim.p.v6 ? 64 : 120, .valid = INT64_MAX, .preferred = INT64_MAX};
	struct tcp_conf *conf = tcp_conf(sim.s);

	must(netdev_create(sim.s, &c, &sim.dev), "netdev_create");
	must(netdev_add_addr(sim.s, sim.dev, &a), "netdev_add_addr");
	must(netdev_set_flags(sim.s, sim.dev, IFF_UP, IFF_UP), "up");
	must(neigh_update(sim.s, sim.dev, &theirs, their_mac, NUD_PERMANENT, NEIGH_CREATE | NEIGH_ADMIN),
	     "neigh_update");
	conf->sack = rnd(4);
	conf->timestamps = rnd(4);
	conf->window_scaling = rnd(4);
	conf->ecn = (int)rnd(3);
	strcpy(conf->congestion, sim.p.our_cubic ? "cubic" : "reno");
	udp_init(&sim.udp, sim.p.v6);
	sim.udp.d.wakeup.hold = hold_nothing;
	sim.udp.d.wakeup.deliver = deliver_nothing;
	sim.udp.d.rcvbuf = 1 << 20;
	must(udp_bind(sim.s, &sim.udp, &ours, 9001, 0), "udp_bind");
}

static void set_up(void)
{
	const struct stack_env env = {env_now, env_random, env_wake_at, NULL};
	struct sockaddr_storage name;
	socklen_t len;
	uint8_t mac[6];

	inet_pton(AF_INET6, sim.p.v6 ? "fd00::2" : "::ffff:10.0.0.2", &ours);
	inet_pton(AF_INET6, sim.p.v6 ? "fd00::1" : "::ffff:10.0.0.1", &theirs);
	sim.wish = INT64_MAX;
	enter_namespaces();
	write_text("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
	open_tap();
	set_up_linux(mac);
	sim.s = stack_create(&env);
	if (!sim.s)
		fail("no memory");
	stack_enter(sim.s);
	configure(mac);
	stack_leave(sim.s);
	sim.udp_fd = linux_socket(SOCK_DGRAM);
	len = linux_name(&name, &theirs, 9000);
	must(bind(sim.udp_fd, (struct sockaddr *)&name, len), "bind");
	for (unsigned i = 0; i < sim.p.flows; i++)
		open_flow(&sim.flow[i], (uint16_t)(7000 + i));
}

/* ---- the run ---- */

static void sleep_a_little(int64_t now)
{
	int64_t until = MIN(sim.wish, now + 20 * MS);
	struct pollfd p[1 + 2 * FLOWS_MAX] = {{.fd = sim.tap, .events = POLLIN}};
	unsigned n = 1;

	if (sim.heap_count)
		until = MIN(until, sim.heap[0]->at);
	for (unsigned i = 0; i < sim.p.flows; i++) {
		struct flow *f = &sim.flow[i];

		if (now < f->out.read_at)
			until = MIN(until, f->out.read_at);
		if (now < f->in.read_at)
			until = MIN(until, f->in.read_at);
	}
	if (until > now)
		ppoll(p, n, &(struct timespec){0, MIN(until - now, 20 * MS)}, NULL);
}

/* Of /proc/net/snmp: the value in a column of a group. */
static unsigned long snmp(const char *group, const char *column)
{
	char names[1024], values[1024];
	char *n, *v, *n_rest, *v_rest;
	FILE *f = fopen("/proc/net/snmp", "re");

	while (f && fgets(names, sizeof(names), f) && fgets(values, sizeof(values), f)) {
		if (strncmp(names, group, strlen(group)) != 0)
			continue;
		n = strtok_r(names, " \n", &n_rest);
		v = strtok_r(values, " \n", &v_rest);
		for (; n && v; n = strtok_r(NULL, " \n", &n_rest), v = strtok_r(NULL, " \n", &v_rest))
			if (strcmp(n, column) == 0) {
				fclose(f);
				return strtoul(v, NULL, 10);
			}
	}
	fail("/proc/net/snmp has no %s of %s", column, group);
}

static void check_counters(void)
{
	if (sim.p.corrupt)
		return;
	if (snmp("Tcp:", "InCsumErrors") || snmp("Udp:", "InCsumErrors") || snmp("Ip:", "InHdrErrors"))
		fail("Linux has found bad checksums or headers of ours");
	stack_enter(sim.s);
	if (mib_get(sim.s, MIB_TCP_IN_CSUM_ERRORS) || mib_get(sim.s, MIB_IP_IN_HDR_ERRORS))
		fail("we have found bad checksums or headers of Linux's");
	stack_leave(sim.s);
	if (!sim.p.loss && !sim.p.rate && sim.udp_out && sim.udp_in && !(sim.udp_out_seen && sim.udp_in_seen))
		fail("no datagram arrives: %u of %u, %u of %u", sim.udp_out_seen, sim.udp_out, sim.udp_in_seen,
		     sim.udp_in);
}

static bool all_finished(void)
{
	for (unsigned i = 0; i < sim.p.flows; i++)
		if (!finished(&sim.flow[i]))
			return false;
	return true;
}

static void step(int64_t now)
{
	bool any = read_tap();

	any |= deliver_frames(now);
	if (now >= sim.wish) {
		sim.wish = INT64_MAX;
		stack_run(sim.s);
	}
	for (unsigned i = 0; i < sim.p.flows; i++)
		any |= run_flow(&sim.flow[i], (uint16_t)(7000 + i), now);
	send_datagrams();
	receive_datagrams();
	if (!any)
		sleep_a_little(now);
}

static int run_seed(uint64_t seed)
{
	int64_t start, now;
	char line[512];

	draw(seed);
	set_up();
	start = now = clock_now(CLOCK_MONOTONIC);
	/* The last datagrams have 300 ms. */
	for (int64_t end = INT64_MAX; now < end; now = clock_now(CLOCK_MONOTONIC)) {
		if (now - start > SECONDS_MAX * NSEC_PER_SEC)
			fail("stalled: %lu frames, %lu lost, %lu harmed", (unsigned long)sim.frames,
			     (unsigned long)sim.lost, (unsigned long)sim.harmed);
		step(now);
		if (end == INT64_MAX && all_finished())
			end = now + 300 * MS;
	}
	check_counters();
	for (unsigned i = 0; i < sim.p.flows; i++)
		close_flow(&sim.flow[i]);
	stack_enter(sim.s);
	udp_close(sim.s, &sim.udp);
	stack_leave(sim.s);
	describe(line, sizeof(line));
	if (sim.verbose)
		printf("%s\n  %.2f s, %lu frames, %lu lost, %lu harmed, datagrams %u of %u and %u of %u\n", line,
		       (double)(now - start) / 1e9, (unsigned long)sim.frames, (unsigned long)sim.lost,
		       (unsigned long)sim.harmed, sim.udp_out_seen, sim.udp_out, sim.udp_in_seen, sim.udp_in);
	stack_destroy(sim.s);
	stack_put(sim.s);
	return 0;
}

static void start(uint64_t seed)
{
	fflush(stdout);
	if (fork() == 0) {
		int status = run_seed(seed);

		fflush(stdout);
		_exit(status);
	}
}

static int run_all(uint64_t first, unsigned count, unsigned jobs)
{
	unsigned started = 0, running = 0, failed = 0, skipped = 0;
	int status;

	while (started < count || running) {
		if (started < count && running < jobs && !skipped) {
			start(first + started++);
			running++;
			continue;
		}
		if (!running || wait(&status) < 0)
			break;
		running--;
		if (WIFEXITED(status) && WEXITSTATUS(status) == SKIP)
			skipped++;
		else if (status)
			failed++;
		if (WIFSIGNALED(status))
			printf("FAILED a seed near %lu: signal %d\n", (unsigned long)(first + started),
			       WTERMSIG(status));
	}
	if (skipped)
		return SKIP;
	printf("%u seeds from %lu on, %u failed\n", count, (unsigned long)first, failed);
	return failed != 0;
}

int main(int argc, char **argv)
{
	static const struct option known[] = {{"first", required_argument, NULL, 'f'},
					      {"seeds", required_argument, NULL, 'n'},
					      {"jobs", required_argument, NULL, 'j'},
					      {"seed", required_argument, NULL, 's'},
					      {NULL, 0, NULL, 0}};
	unsigned count = 20, jobs = 8;
	uint64_t first = 1;
	int opt;

	signal(SIGPIPE, SIG_IGN);
	while ((opt = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		if (opt == 'f')
			first = strtoul(optarg, NULL, 0);
		else if (opt == 'n')
			count = (unsigned)strtoul(optarg, NULL, 0);
		else if (opt == 'j')
			jobs = (unsigned)strtoul(optarg, NULL, 0);
		else if (opt != 's')
			return 2;
		if (opt != 's')
			continue;
		sim.verbose = true;
		return run_seed(strtoul(optarg, NULL, 0));
	}
	return run_all(first, count, jobs);
}
