/*
 * net/nat: a guest's stack, the gateway, and real sockets of the host, in a network namespace of the test's own where 198.51.100.1 is this machine. Where
 * none can be made there is nothing to test, which is said.
 */
#include "net/nat/nat.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/nat/forbid.h"
#include "net/stack/dgram.h"
#include "net/stack/netmem.h"
#include "net/stack/tcp_priv.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"
#include "tests/unit/unit.h"

#define IS(call, want) ck_assert_int_eq((call), (want))
#define SOON (10 * NSEC_PER_SEC)
/* Other threads do their part. */
#define EVENTUALLY(cond)                                                                                               \
	do {                                                                                                           \
		int64_t end_ = clock_now(CLOCK_MONOTONIC) + SOON;                                                      \
		bool met_;                                                                                             \
		while (!(met_ = (cond)) && clock_now(CLOCK_MONOTONIC) < end_)                                          \
			pass();                                                                                        \
		ck_assert_msg(met_, "%s", #cond);                                                                      \
	} while (0)

static struct in6_addr host = {.s6_addr = {[10] = 0xff, 0xff, 198, 51, 100, 1}};
static struct stack *guest;
static struct nat *nat;
static enum nat_verdict verdict;
static enum nat_look look_at_most[3]; /* what policy_look() says: the first that is not LOOK_MORE counts */
static unsigned looks;
static size_t looked_at, heard;
/* It allows four bytes at a time, refuses '!', and lets what follows "?..." wait until the server says 'y'. */
static bool step_by_step;

/* ---- the stacks' surroundings; their timers are the test's business ---- */

static struct env {
	struct stack *stack;
	_Atomic int64_t wake_at;
	uint64_t random;
} envs[2];

static int64_t env_now(void *arg __unused)
{
	return clock_now(CLOCK_MONOTONIC);
}

static void env_random(void *arg, void *to, size_t n)
{
	struct env *e = arg;

	for (size_t i = 0; i < n; i++) {
		e->random = e->random * 6364136223846793005u + 1442695040888963407u;
		((uint8_t *)to)[i] = (uint8_t)(e->random >> 56);
	}
}

static void env_wake_at(void *arg, int64_t deadline)
{
	((struct env *)arg)->wake_at = deadline;
}

static struct stack *make_stack(struct env *e)
{
	const struct stack_env env = {.now = env_now, .random = env_random, .wake_at = env_wake_at, .arg = e};

	*e = (struct env){.wake_at = INT64_MAX, .random = (uint64_t)(e - envs) + 1};
	e->stack = stack_create(&env);
	return e->stack;
}

/* A moment. */
static void pass(void)
{
	usleep(500);
	for (int i = 0; i < 2; i++)
		if (envs[i].stack && envs[i].wake_at <= clock_now(CLOCK_MONOTONIC)) {
			envs[i].wake_at = INT64_MAX;
			stack_run(envs[i].stack);
		}
}

/* The policy of these tests. */
static enum nat_verdict flow(struct policy *p, const struct nat_flow *f)
{
	ck_assert_ptr_nonnull(p);
	ck_assert(f->dport);
	return verdict;
}

static enum nat_look look(struct policy *p __unused, const struct nat_flow *f __unused, struct nat_talk *t,
			  const void *bytes, size_t n)
{
	looked_at = n;
	if (!step_by_step) {
		t->clear = UINT64_MAX;
		return look_at_most[looks++];
	}
	looks++;
	if (t->listens || (n < 4 && *(const char *)bytes != '!'))
		return LOOK_MORE;
	t->clear = 4;
	t->listens = *(const char *)bytes == '?';
	return *(const char *)bytes == '!' ? LOOK_REFUSE : LOOK_ALLOW;
}

static void hear(struct policy *p __unused, struct nat_talk *t, const void *bytes, size_t n)
{
	heard = n;
	t->listens = *(const char *)bytes != 'y';
}

static void silent(struct policy *p __unused, const struct nat_flow *f __unused)
{
}

static const struct policy_ops ops = {.flow = flow, .look = look, .listen = hear, .silent = silent};
static struct policy some_policy = {.ops = &ops}, *const some = &some_policy;

/* ---- the world ---- */

static bool alone(void)
{
	struct ifreq r = {.ifr_name = "lo"};
	struct sockaddr_in *sa = (struct sockaddr_in *)&r.ifr_addr;
	int s;

	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		fprintf(stderr, "nat: no network namespace can be made here: not tested\n");
		return false;
	}
	s = socket(AF_INET, SOCK_DGRAM, 0);
	r.ifr_flags = IFF_UP;
	IS(ioctl(s, SIOCSIFFLAGS, &r), 0);
	strcpy(r.ifr_name, "lo:1");
	*sa = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = host.s6_addr32[3]};
	IS(ioctl(s, SIOCSIFADDR, &r), 0);
	close(s);
	return true;
}

static void start_with(const struct nat_port *ports, size_t count, unsigned flows_max, struct policy *policy)
{
	struct nat_config c = {.guest = make_stack(&envs[0]),
			       .gateway = make_stack(&envs[1]),
			       .policy = policy,
			       .ports = ports,
			       .port_count = count,
			       .flows_max = flows_max};

	guest = c.guest;
	IS(nat_start(&c, &nat), 0);
}

static void stop(void)
{
	envs[0].stack = envs[1].stack = NULL;
	nat_stop(nat);
	stack_destroy(guest);
}

static struct sockaddr_in host_name(uint16_t port)
{
	return (struct sockaddr_in){
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = host.s6_addr32[3]};
}

static int host_socket(int type, uint16_t port)
{
	struct sockaddr_in sa = host_name(port);
	int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	IS(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	if (type == SOCK_STREAM)
		IS(listen(fd, 4096), 0);
	return fd;
}

static int host_accept(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	IS(poll(&p, 1, 10000), 1);
	return accept4(fd, NULL, NULL, 0);
}

static unsigned descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---- the guest ---- */

static struct tcp_sock *guest_connect(const struct in6_addr *to, uint16_t port)
{
	struct tcp_sock *tp;

	stack_enter(guest);
	tp = tcp_create(guest, false);
	IS(tcp_connect(tp, to, port), -EINPROGRESS);
	stack_leave(guest);
	return tp;
}

static uint8_t guest_state(const struct tcp_sock *tp)
{
	uint8_t state;

	stack_enter(guest);
	state = tp->ep.state;
	stack_leave(guest);
	return state;
}

static int guest_error(const struct tcp_sock *tp)
{
	int err;

	stack_enter(guest);
	err = tp->err;
	stack_leave(guest);
	return err;
}

static ssize_t guest_send(struct tcp_sock *tp, const char *data, size_t n)
{
	struct slice s = {buf_create((uint32_t)n), 0, (uint32_t)n};
	ssize_t done;

	memcpy(s.buf->data, data, n);
	s.buf->used = (uint32_t)n;
	stack_enter(guest);
	done = tcp_send(tp, &s, 1, 0);
	stack_leave(guest);
	return done;
}

/* Bytes, 0 at the end, -errno. */
static ssize_t guest_recv(struct tcp_sock *tp, char *to, size_t size)
{
	struct slice s[8];
	unsigned count = 8;
	ssize_t n, at = 0;

	stack_enter(guest);
	n = tcp_recv(tp, s, &count, size, 0, 0);
	stack_leave(guest);
	for (unsigned i = 0; n > 0 && i < count; i++) {
		memcpy(to + at, s[i].buf->data + s[i].off, s[i].len);
		at += s[i].len;
		buf_put(s[i].buf);
	}
	return n;
}

static ssize_t guest_wait(struct tcp_sock *tp, char *to, size_t size)
{
	ssize_t n = -EAGAIN;

	EVENTUALLY((n = guest_recv(tp, to, size)) != -EAGAIN);
	return n;
}

static void guest_close(struct tcp_sock *tp, bool abort)
{
	stack_enter(guest);
	tcp_close(tp, abort);
	tcp_release(tp);
	stack_leave(guest);
}

static void guest_udp(uint16_t from, uint16_t to)
{
	struct dgram_to dst = {.addr = host, .port = to, .ttl = -1, .tos = -1};
	struct in6_addr any = {.s6_addr = {[10] = 0xff, 0xff}};
	struct udp_sock u;

	stack_enter(guest);
	udp_init(&u, false);
	u.d.wakeup = (struct wakeup){0};
	list_init(&u.d.wakeup.link);
	IS(udp_bind(guest, &u, &any, from, 0), 0);
	(void)!udp_send(guest, &u, pkt_from("x", 1), &dst);
	udp_close(guest, &u);
	stack_leave(guest);
}

/* ---- tests ---- */

START_TEST(forbidden)
{
	static const struct {
		const char *addr;
		bool forbidden;
	} all[] = {
	    {"::ffff:127.0.0.1", true},
	    {"::ffff:127.255.0.9", true},
	    {"::ffff:0.0.0.0", true},
	    {"::ffff:0.1.2.3", true},
	    {"::ffff:169.254.169.254", true},
	    {"::ffff:224.0.0.1", true},
	    {"::ffff:239.255.255.250", true},
	    {"::ffff:255.255.255.255", true},
	    {"::ffff:240.0.0.1", true},
	    {"::ffff:128.0.0.1", false},
	    {"::ffff:169.253.0.1", false},
	    {"::ffff:10.0.0.1", false},
	    {"::ffff:1.1.1.1", false},
	    {"::1", true},
	    {"::", true},
	    {"::7f00:1", true},
	    {"fe80::1", true},
	    {"febf::1", true},
	    {"fec0::1", false},
	    {"ff02::1", true},
	    {"2001:db8::1", false},
	    {"64:ff9b::127.0.0.1", true},
	    {"64:ff9b::8.8.8.8", false},
	    {"2002:7f00:1::1", true},
	    {"2002:a9fe:a9fe::", true},
	    {"2002:0808:0808::1", false},
	    {"fd00::1", false},
	    {"64:ff9b:1::169.254.169.254", true},
	    {"64:ff9b:1:a9fe:a9:fe00::", true},
	    {"64:ff9b:1::808:808", false},
	    {"::ffff:0:169.254.169.254", true},
	    {"::ffff:0:8.8.8.8", false},
	    {"::ffff:168.63.129.16", true},
	    {"::ffff:168.63.129.17", false},
	    {"::ffff:100.100.100.200", true},
	    {"::ffff:100.100.100.100", false},
	    {"::ffff:192.0.0.192", true},
	    {"64:ff9b::168.63.129.16", true},
	    {"fd00:ec2::254", true},
	    {"fd00:ec2:1::23", true},
	    {"fd00:ec3::254", false},
	    {"fd20:ce::254", true},
	    {"fd20:ce::253", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct in6_addr a;

		IS(inet_pton(AF_INET6, all[i].addr, &a), 1);
		ck_assert_msg(nat_forbidden(&a) == all[i].forbidden, "%s", all[i].addr);
	}
}
END_TEST

START_TEST(both_ways)
{
	char text[100];
	struct tcp_sock *tp;
	int l, c;

	if (!alone())
		return;
	start_with(NULL, 0, 100, NULL);
	l = host_socket(SOCK_STREAM, 80);
	tp = guest_connect(&host, 80);
	c = host_accept(l);
	EVENTUALLY(guest_state(tp) == TCP_ESTABLISHED);
	IS(guest_send(tp, "hello", 5), 5);
	IS(read(c, text, 100), 5);
	IS(write(c, "world!", 6), 6);
	IS(guest_wait(tp, text, 100), 6);
	/* Each end by itself. */
	stack_enter(guest);
	IS(tcp_shutdown(tp, TCP_SHUT_SEND), 0);
	stack_leave(guest);
	IS(read(c, text, 100), 0);
	IS(write(c, "more", 4), 4);
	IS(guest_wait(tp, text, 100), 4);
	IS(nat_flows(nat), 1);
	close(c);
	IS(guest_wait(tp, text, 100), 0);
	EVENTUALLY(nat_flows(nat) == 0);
	guest_close(tp, false);
	stop();
}
END_TEST

START_TEST(refusals)
{
	struct in6_addr metadata = {.s6_addr = {[10] = 0xff, 0xff, 169, 254, 169, 254}}, nowhere = host;
	struct tcp_sock *a, *b, *c;

	if (!alone())
		return;
	nowhere.s6_addr[12] = 203;
	start_with(NULL, 0, 100, NULL);
	a = guest_connect(&host, 81);
	b = guest_connect(&metadata, 80);
	c = guest_connect(&nowhere, 80);
	EVENTUALLY(guest_error(a) == ECONNREFUSED);
	EVENTUALLY(guest_error(b) == EHOSTUNREACH);
	EVENTUALLY(guest_error(c) == ENETUNREACH);
	IS(nat_count(nat, NAT_FORBIDDEN), 1);
	EVENTUALLY(nat_flows(nat) == 0);
	guest_close(a, false);
	guest_close(b, false);
	guest_close(c, false);
	stop();
}
END_TEST

START_TEST(resets)
{
	const struct linger now = {.l_onoff = 1};
	struct tcp_sock *tp;
	char byte;
	int l, c;

	if (!alone())
		return;
	start_with(NULL, 0, 100, NULL);
	l = host_socket(SOCK_STREAM, 80);
	tp = guest_connect(&host, 80);
	c = host_accept(l);
	setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(c);
	EVENTUALLY(guest_error(tp) == ECONNRESET);
	guest_close(tp, false);
	tp = guest_connect(&host, 80);
	c = host_accept(l);
	EVENTUALLY(guest_state(tp) == TCP_ESTABLISHED);
	guest_close(tp, true);
	EVENTUALLY(recv(c, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET);
	EVENTUALLY(nat_flows(nat) == 0);
	stop();
}
END_TEST

/* Nobody reads, on either side: it stops somewhere, and others go on. */
START_TEST(nobody_reads)
{
	static char block[60000];
	struct tcp_sock *out, *in, *other;
	size_t sent = 0, before;
	int l, c[3];
	ssize_t n;

	if (!alone())
		return;
	start_with(NULL, 0, 100, NULL);
	l = host_socket(SOCK_STREAM, 80);
	out = guest_connect(&host, 80);
	c[0] = host_accept(l);
	in = guest_connect(&host, 80);
	c[1] = host_accept(l);
	before = arena_bytes();
	for (int idle = 0; idle < 200; idle++) {
		stack_enter(guest);
		n = tcp_send_room(out);
		stack_leave(guest);
		if (n > 0 && guest_send(out, block, sizeof(block)) > 0)
			idle = 0;
		n = send(c[1], block, sizeof(block), MSG_DONTWAIT);
		if (n > 0) {
			sent += (size_t)n;
			idle = 0;
		}
		pass();
	}
	ck_assert_uint_lt(arena_bytes() - before, 64u << 20);
	other = guest_connect(&host, 80);
	c[2] = host_accept(l);
	EVENTUALLY(guest_state(other) == TCP_ESTABLISHED);
	IS(guest_send(other, "x", 1), 1);
	IS(read(c[2], block, 100), 1);
	/* What did get in is all there. */
	while (sent) {
		n = guest_wait(in, block, sizeof(block));
		ck_assert_int_gt(n, 0);
		sent -= (size_t)n;
	}
	guest_close(out, true);
	guest_close(in, false);
	guest_close(other, false);
	for (int i = 0; i < 3; i++)
		close(c[i]);
	EVENTUALLY(nat_flows(nat) == 0);
	EVENTUALLY(net_memory_used(&tcp_memory) == 0);
	stop();
}
END_TEST

START_TEST(too_many_connections)
{
	struct tcp_sock *tp[8];
	int l, c[4];

	if (!alone())
		return;
	start_with(NULL, 0, 4, NULL);
	l = host_socket(SOCK_STREAM, 80);
	for (int i = 0; i < 8; i++)
		tp[i] = guest_connect(&host, 80);
	for (int i = 0; i < 4; i++)
		c[i] = host_accept(l);
	IS(nat_flows(nat), 4);
	IS(nat_count(nat, NAT_DROPPED_FLOWS), 4);
	for (int i = 0; i < 4; i++)
		close(c[i]);
	for (int i = 0; i < 8; i++)
		guest_close(tp[i], true);
	EVENTUALLY(nat_flows(nat) == 0);
	tp[0] = guest_connect(&host, 80);
	c[0] = host_accept(l);
	EVENTUALLY(guest_state(tp[0]) == TCP_ESTABLISHED);
	guest_close(tp[0], false);
	stop();
}
END_TEST

START_TEST(datagrams)
{
	struct sockaddr_in from;
	socklen_t size = sizeof(from);
	unsigned before;
	char text[10];
	int s;

	if (!alone())
		return;
	start_with(NULL, 0, 16, NULL);
	s = host_socket(SOCK_DGRAM, 53);
	guest_udp(1000, 53);
	IS(recvfrom(s, text, sizeof(text), 0, (struct sockaddr *)&from, &size), 1);
	IS(nat_flows(nat), 1);
	IS(sendto(s, "yy", 2, 0, (struct sockaddr *)&from, size), 2);
	/* The guest's socket is gone: an ICMP error for the gateway, which is nobody's. */
	before = descriptors();
	for (unsigned i = 0; i < 2000; i++)
		guest_udp((uint16_t)(2000 + i), 53);
	IS(nat_flows(nat), 16);
	IS(nat_count(nat, NAT_DATAGRAM_FLOWS), 2001);
	IS(nat_count(nat, NAT_EVICTED_FLOWS), 2001 - 16);
	ck_assert_uint_le(descriptors(), before + 16);
	stop();
	IS(descriptors(), before - 1);
}
END_TEST

START_TEST(policy_refuses)
{
	struct tcp_sock *tp;

	if (!alone())
		return;
	start_with(NULL, 0, 16, some);
	verdict = NAT_REFUSE;
	tp = guest_connect(&host, 80);
	EVENTUALLY(guest_error(tp) == ECONNREFUSED);
	guest_udp(1000, 53);
	IS(nat_count(nat, NAT_REFUSED), 2);
	IS(nat_flows(nat), 0);
	guest_close(tp, false);
	stop();
}
END_TEST

/* The host hears nothing before the policy has seen enough. */
START_TEST(policy_looks)
{
	struct pollfd p = {.events = POLLIN};
	struct tcp_sock *tp;
	char text[100];
	int c;

	if (!alone())
		return;
	start_with(NULL, 0, 16, some);
	verdict = NAT_LOOK;
	look_at_most[1] = LOOK_ALLOW;
	p.fd = host_socket(SOCK_STREAM, 80);
	tp = guest_connect(&host, 80);
	EVENTUALLY(guest_state(tp) == TCP_ESTABLISHED);
	IS(poll(&p, 1, 100), 0);
	IS(guest_send(tp, "GET ", 4), 4);
	EVENTUALLY(looks == 1);
	IS(looked_at, 4);
	IS(poll(&p, 1, 100), 0);
	IS(guest_send(tp, "/", 1), 1);
	c = host_accept(p.fd);
	IS(looked_at, 5);
	IS(read(c, text, 100), 5);
	IS(write(c, "ok", 2), 2);
	IS(guest_wait(tp, text, 100), 2);
	guest_close(tp, false);
	close(c);
	EVENTUALLY(nat_flows(nat) == 0);
	stop();
}
END_TEST

START_TEST(policy_goes_on)
{
	struct tcp_sock *tp;
	char text[100];
	int l, c;

	if (!alone())
		return;
	start_with(NULL, 0, 16, some);
	verdict = NAT_LOOK;
	step_by_step = true;
	l = host_socket(SOCK_STREAM, 80);
	tp = guest_connect(&host, 80);
	EVENTUALLY(guest_state(tp) == TCP_ESTABLISHED);
	IS(guest_send(tp, "aaaabbbbcc", 10), 10);
	c = host_accept(l);
	EVENTUALLY(recv(c, text, 100, MSG_PEEK) == 8);
	EVENTUALLY(looks == 3);
	IS(guest_send(tp, "cc", 2), 2);
	EVENTUALLY(recv(c, text, 100, MSG_PEEK) == 12);
	IS(guest_send(tp, "?...dddd", 8), 8);
	EVENTUALLY(recv(c, text, 100, MSG_PEEK) == 16);
	IS(write(c, "no", 2), 2);
	IS(guest_wait(tp, text, 100), 2);
	IS(heard, 2);
	IS(recv(c, text, 100, MSG_PEEK), 16);
	if (_i > 2) { /* the server never says it */
		if (_i == 3)
			guest_close(tp, false);
		pass();
		IS(read(c, text, 100), 16);
		close(c);
		if (_i == 4)
			IS(guest_wait(tp, text, 100), 0);
		if (_i == 4)
			guest_close(tp, false);
		EVENTUALLY(nat_flows(nat) == 0);
		stop();
		return;
	}
	IS(write(c, "yes", 3), 3);
	EVENTUALLY(recv(c, text, 100, MSG_PEEK) == 20);
	IS(guest_wait(tp, text, 100), 3);
	/* An end between two of them is one; inside of one, or what is refused, resets. */
	guest_send(tp, _i == 0 ? "eeee" : _i == 1 ? "ee" : "!!!!", _i == 1 ? 2 : 4);
	if (_i < 2) {
		stack_enter(guest);
		IS(tcp_shutdown(tp, TCP_SHUT_SEND), 0);
		stack_leave(guest);
	}
	if (_i == 0) {
		EVENTUALLY(recv(c, text, 100, MSG_PEEK) == 24);
		IS(read(c, text, 100), 24);
		IS(read(c, text, 100), 0);
	} else {
		EVENTUALLY(guest_error(tp) == ECONNRESET || guest_error(tp) == EPIPE);
		IS(nat_count(nat, NAT_REFUSED), 1);
	}
	guest_close(tp, false);
	close(c);
	EVENTUALLY(nat_flows(nat) == 0);
	stop();
}
END_TEST

/* _i 0: it refuses; 1: the guest ends before it has said enough; 2: it says 16 KiB of nothing. */
START_TEST(policy_has_seen_enough)
{
	static char block[20000];
	struct pollfd p = {.events = POLLIN};
	struct tcp_sock *tp;

	if (!alone())
		return;
	start_with(NULL, 0, 16, some);
	verdict = NAT_LOOK;
	if (_i == 0)
		look_at_most[0] = LOOK_REFUSE;
	p.fd = host_socket(SOCK_STREAM, 80);
	tp = guest_connect(&host, 80);
	EVENTUALLY(guest_state(tp) == TCP_ESTABLISHED);
	guest_send(tp, block, _i == 2 ? sizeof(block) : 10);
	if (_i == 1) {
		stack_enter(guest);
		IS(tcp_shutdown(tp, TCP_SHUT_SEND), 0);
		stack_leave(guest);
	}
	EVENTUALLY(guest_error(tp) == ECONNRESET || guest_error(tp) == EPIPE);
	IS(poll(&p, 1, 50), 0);
	IS(nat_flows(nat), 0);
	IS(nat_count(nat, NAT_REFUSED), 1);
	guest_close(tp, false);
	stop();
}
END_TEST

START_TEST(looks_refuse)
{
	struct tcp_sock *tp;

	if (!alone())
		return;
	start_with(NULL, 0, 16, some);
	verdict = NAT_LOOK;
	tp = guest_connect(&host, 80);
	EVENTUALLY(guest_state(tp) == TCP_ESTABLISHED);
	guest_close(tp, true);
	EVENTUALLY(nat_flows(nat) == 0);
	stop();
}
END_TEST

static int guest_accept(struct tcp_sock *l, struct tcp_sock **ret)
{
	int err;

	stack_enter(guest);
	err = tcp_accept(l, ret);
	stack_leave(guest);
	return err;
}

static int client_from(const struct sockaddr_in *from, const struct sockaddr_in *to)
{
	int c = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(c, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	IS(bind(c, (const struct sockaddr *)from, sizeof(*from)), 0);
	IS(connect(c, (const struct sockaddr *)to, sizeof(*to)), 0);
	return c;
}

START_TEST(published)
{
	struct nat_port ports[2] = {{.guest_port = 8000}, {.guest_port = 8000}};
	struct sockaddr_in sa = host_name(80), other = host_name(81), from = host_name(4000);
	struct tcp_sock *l, *tp, *tp2;
	struct in6_addr any = {.s6_addr = {[10] = 0xff, 0xff}};
	char text[10];
	int c, twin;

	if (!alone())
		return;
	ports[0].fd = host_socket(SOCK_STREAM, 80);
	ports[1].fd = host_socket(SOCK_STREAM, 81);
	start_with(ports, 2, 16, NULL);
	stack_enter(guest);
	l = tcp_create(guest, false);
	IS(tcp_bind(l, &any, 8000), 0);
	IS(tcp_listen(l, 10), 0);
	stack_leave(guest);
	c = client_from(&from, &sa);
	IS(write(c, "hi", 2), 2);
	stack_enter(guest);
	stack_leave(guest);
	EVENTUALLY(guest_accept(l, &tp) == 0);
	ck_assert_mem_eq(&tp->ep.key.raddr, &host, sizeof(host));
	IS(guest_wait(tp, text, 10), 2);
	/* By another port that leads there a client may come from the same port. */
	twin = client_from(&from, &other);
	EVENTUALLY(guest_accept(l, &tp2) == 0);
	guest_close(tp2, false);
	IS(read(twin, text, 10), 0);
	close(twin);
	guest_close(l, false);
	guest_close(tp, false);
	IS(read(c, text, 10), 0);
	close(c);
	/* Nobody listens any more. */
	c = socket(AF_INET, SOCK_STREAM, 0);
	(void)!connect(c, (struct sockaddr *)&sa, sizeof(sa));
	EVENTUALLY(recv(c, text, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET);
	EVENTUALLY(nat_flows(nat) == 0);
	stop();
}
END_TEST

/* Clients of published ports leave something for the guest. */
START_TEST(many_clients)
{
	struct nat_port ports[2] = {{.guest_port = 8000}, {.guest_port = 8001, .udp = true}};
	struct in6_addr any = {.s6_addr = {[10] = 0xff, 0xff}};
	struct sockaddr_in sa = host_name(80);
	struct tcp_sock *l, *tp;
	int c[4], own;
	char byte;

	if (!alone())
		return;
	ports[0].fd = host_socket(SOCK_STREAM, 80);
	ports[1].fd = host_socket(SOCK_DGRAM, 80);
	start_with(ports, 2, 4, NULL);
	stack_enter(guest);
	l = tcp_create(guest, false);
	IS(tcp_bind(l, &any, 8000), 0);
	IS(tcp_listen(l, 10), 0);
	stack_leave(guest);
	for (int i = 0; i < 4; i++) {
		c[i] = socket(AF_INET, SOCK_STREAM, 0);
		IS(connect(c[i], (struct sockaddr *)&sa, sizeof(sa)), 0);
	}
	EVENTUALLY(recv(c[3], &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET);
	IS(recv(c[2], &byte, 1, MSG_DONTWAIT), -1);
	IS(errno, EAGAIN);
	IS(nat_flows(nat), 3);
	own = host_socket(SOCK_STREAM, 81);
	tp = guest_connect(&host, 81);
	IS(close(host_accept(own)), 0);
	guest_close(tp, true);
	for (int i = 0; i < 4; i++)
		close(c[i]);
	guest_close(l, true);
	EVENTUALLY(nat_flows(nat) == 0);
	host_socket(SOCK_DGRAM, 53);
	guest_udp(1000, 53);
	for (int i = 0; i < 20; i++) {
		int s = socket(AF_INET, SOCK_DGRAM, 0);

		IS(sendto(s, "x", 1, 0, (struct sockaddr *)&sa, sizeof(sa)), 1);
		close(s);
	}
	EVENTUALLY(nat_count(nat, NAT_EVICTED_FLOWS) == 17);
	EVENTUALLY(nat_flows(nat) == 4);
	IS(nat_count(nat, NAT_DATAGRAM_FLOWS), 21);
	guest_udp(1000, 53);
	IS(nat_count(nat, NAT_DATAGRAM_FLOWS), 21);
	stop();
}
END_TEST

struct forged {
	uint8_t version_len, tos;
	uint16_t len, id, off;
	uint8_t ttl, protocol;
	uint16_t sum;
	uint32_t src, dst;
	uint16_t sport, dport, size, usum;
} __attribute__((packed));

/* As a raw socket of the guest sends it: with any addresses. */
static void forge(const char *src, const char *dst)
{
	struct forged f = {.version_len = 0x45,
			   .len = htons(sizeof(f)),
			   .ttl = 64,
			   .protocol = IPPROTO_UDP,
			   .src = inet_addr(src),
			   .dst = inet_addr(dst),
			   .sport = htons(5),
			   .dport = htons(53),
			   .size = htons(8)};
	struct dgram_to to = {.addr = host, .ttl = -1, .tos = -1};
	struct raw_sock r = {0};

	stack_enter(guest);
	list_init(&r.d.wakeup.link);
	raw_open(guest, &r, false, IPPROTO_RAW);
	r.header_included = true;
	(void)!raw_send(guest, &r, pkt_from(&f, sizeof(f)), &to);
	raw_close(guest, &r);
	stack_leave(guest);
}

/* Addresses that no routing table would have let out. */
START_TEST(forged)
{
	static const char *const destinations[] = {"127.0.0.1",   "0.0.0.0",    "224.0.0.1", "255.255.255.255",
						   "169.254.1.1", "10.0.2.255", "10.0.2.2",  "10.0.2.3"};

	if (!alone())
		return;
	start_with(NULL, 0, 100, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(destinations); i++)
		forge("10.0.2.100", destinations[i]);
	/* Whom the gateway could not answer. */
	forge("127.0.0.1", "198.51.100.1");
	forge("8.8.8.8", "198.51.100.1");
	forge("10.0.2.2", "198.51.100.1");
	IS(nat_count(nat, NAT_DATAGRAM_FLOWS), 0);
	forge("10.0.2.100", "198.51.100.1");
	IS(nat_count(nat, NAT_DATAGRAM_FLOWS), 1);
	stop();
}
END_TEST

/* It ends in the middle of everything. */
START_TEST(stopped)
{
	unsigned before = descriptors();
	struct tcp_sock *tp[20];
	int l;

	if (!alone())
		return;
	start_with(NULL, 0, 100, NULL);
	l = host_socket(SOCK_STREAM, 80);
	for (int i = 0; i < 20; i++) {
		tp[i] = guest_connect(&host, i % 4 ? 80 : 81);
		guest_udp((uint16_t)(1000 + i), 53);
	}
	nat_stop(nat);
	for (int i = 0; i < 20; i++)
		guest_close(tp[i], true);
	stack_destroy(guest);
	close(l);
	EVENTUALLY(descriptors() <= before + 1); /* the watcher's */
}
END_TEST

static int begin_and_end(void *arg __unused)
{
	struct nat_config c = {.guest = make_stack(&envs[0]), .gateway = make_stack(&envs[1]), .flows_max = 10};
	int err;

	if (!c.guest || !c.gateway) {
		if (c.guest)
			stack_destroy(c.guest);
		if (c.gateway)
			stack_destroy(c.gateway);
		return -ENOMEM;
	}
	err = nat_start(&c, &nat);
	if (!err)
		nat_stop(nat);
	stack_destroy(c.guest);
	return err;
}

START_TEST(no_memory)
{
	if (alone())
		unit_each_allocation_fails(begin_and_end, NULL);
}
END_TEST

/* Whatever fails in between, the next one works. */
START_TEST(no_memory_later)
{
	int l;

	if (!alone())
		return;
	start_with(NULL, 0, 100, NULL);
	l = host_socket(SOCK_STREAM, 80);
	for (unsigned n = 1; n < 60; n++) {
		struct tcp_sock *tp;
		int err;

		stack_enter(guest);
		tp = tcp_create(guest, false);
		stack_leave(guest);
		slab_fail_nth(n);
		stack_enter(guest);
		err = tcp_connect(tp, &host, 80);
		stack_leave(guest);
		if (err == -EINPROGRESS)
			guest_send(tp, "x", 1);
		slab_fail_nth(0);
		guest_close(tp, true);
	}
	EVENTUALLY(nat_flows(nat) == 0);
	close(l);
	stop();
}
END_TEST

int main(void)
{
	int failed = unit_run(__FILE__, (const TTest *const[]){forbidden, both_ways, refusals, resets, nobody_reads,
							       too_many_connections, datagrams, policy_refuses,
							       policy_looks, looks_refuse, published, many_clients,
							       forged, stopped, no_memory, no_memory_later, NULL});

	failed |= unit_run_loop(__FILE__, policy_has_seen_enough, 3);
	return failed | unit_run_loop(__FILE__, policy_goes_on, 5);
}
