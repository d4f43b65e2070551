/*
 * The simulator's two ends of connections and datagrams: see simlinux.c. None of these waits: they do what can be done now.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "tests/net/sim.h"

#define DATAGRAM_MAX 9000

static size_t draw_size(void)
{
	static const size_t sizes[] = {0, 1, 3000, 100000, 600000, 3000000};
	size_t most = sizes[rnd(ARRAY_SIZE(sizes))];

	/* A bad wire moves little in a second. */
	if (sim.p.loss + sim.p.corrupt >= 50)
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
/* ---- both sides' calls ---- */

socklen_t linux_name(struct sockaddr_storage *ret, const struct in6_addr *a, uint16_t port)
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

int linux_socket(int type)
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

void open_flow(struct flow *f, uint16_t port)
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

bool run_flow(struct flow *f, uint16_t port, int64_t now)
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

bool finished(const struct flow *f)
{
	return f->out.ended && f->in.ended;
}

void close_flow(struct flow *f)
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

void send_datagrams(void)
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

void receive_datagrams(void)
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
