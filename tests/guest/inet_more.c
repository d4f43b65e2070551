/* What sockets of IP have beyond the usual: TCP_INQ, segmentation of UDP, pacing, fast open, source filters. Loopback only. */
#include "guest.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef TCP_INQ
#define TCP_INQ 36
#endif
#ifndef TCP_CM_INQ
#define TCP_CM_INQ TCP_INQ
#endif
#ifndef TCP_FASTOPEN_CONNECT
#define TCP_FASTOPEN_CONNECT 30
#endif
#ifndef SO_MAX_PACING_RATE
#define SO_MAX_PACING_RATE 47
#endif

static struct sockaddr_in at(int port)
{
	return (struct sockaddr_in){
	    .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static int port_of(int s)
{
	struct sockaddr_in a;

	MUST(getsockname(s, (struct sockaddr *)&a, &(socklen_t){sizeof(a)}));
	return ntohs(a.sin_port);
}

static int set(int s, int level, int name, int v)
{
	return setsockopt(s, level, name, &v, sizeof(v));
}

static int number(int s, int level, int name)
{
	int v = 0;

	return getsockopt(s, level, name, &v, &(socklen_t){sizeof(v)}) ? -errno : v;
}

static int listener(void)
{
	int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in a = at(0);

	MUST(bind(s, (struct sockaddr *)&a, sizeof(a)));
	MUST(listen(s, 5));
	return s;
}

static void tcp_pair(int *c, int *s)
{
	int l = listener();
	struct sockaddr_in a = at(port_of(l));

	*c = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(*c, (struct sockaddr *)&a, sizeof(a)));
	*s = MUST(accept(l, NULL, NULL));
	close(l);
}

static int bound(void)
{
	int s = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in a = at(0);

	MUST(bind(s, (struct sockaddr *)&a, sizeof(a)));
	return s;
}

/* recvmsg(), and the control messages that came. */
static long receive(int s, void *to, size_t size, int flags)
{
	char control[200];
	struct iovec v = {to, size};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	long n = recvmsg(s, &m, flags);
	int value;

	if (n < 0) {
		SAY("receive: %s", strerrorname_np(errno));
		return n;
	}
	SAY("received %ld flags %#x", n, (unsigned)m.msg_flags);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		memcpy(&value, CMSG_DATA(c), sizeof(value));
		SAY("  level %d type %d size %zu: %d", c->cmsg_level, c->cmsg_type, (size_t)c->cmsg_len - CMSG_LEN(0),
		    value);
	}
	return n;
}

/* ---- TCP ---- */

static void inq(void)
{
	char buf[1000];
	int c, s;

	tcp_pair(&c, &s);
	SAY("TCP_INQ %d", number(s, IPPROTO_TCP, TCP_INQ));
	T(set(s, IPPROTO_TCP, TCP_INQ, 2));
	T(set(s, IPPROTO_TCP, TCP_INQ, -1));
	T(set(s, IPPROTO_TCP, TCP_INQ, 1));
	SAY("TCP_INQ %d", number(s, IPPROTO_TCP, TCP_INQ));
	T(write(c, buf, 100));
	receive(s, buf, 10, MSG_PEEK);
	receive(s, buf, 10, 0);
	receive(s, buf, 80, 0);
	receive(s, buf, 100, 0);
	receive(s, buf, 100, MSG_DONTWAIT);
	T(write(c, buf, 3));
	T(shutdown(c, SHUT_WR));
	usleep(20000);
	receive(s, buf, 1, 0);
	receive(s, buf, 100, 0);
	receive(s, buf, 100, 0);
	close(c);
	close(s);
}

static void pacing(void)
{
	uint64_t rate = 0;
	uint32_t small = 0;
	socklen_t size = sizeof(rate);
	struct timespec from, to;
	char buf[5000];
	int c, s, u = bound();
	long n, sum = 0;
	pid_t child;

	tcp_pair(&c, &s);
	T(getsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &size));
	SAY("rate %#llx size %u", (unsigned long long)rate, size);
	size = sizeof(small);
	T(getsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &small, &size));
	SAY("rate %#x size %u", small, size);
	small = 1000000;
	T(setsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &small, sizeof(small)));
	rate = 0;
	size = sizeof(rate);
	T(getsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &size));
	SAY("rate %llu", (unsigned long long)rate);
	rate = 1ull << 40;
	T(setsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)));
	size = sizeof(small);
	T(getsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &small, &size));
	SAY("rate %#x", small);
	T(setsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &small, 2));
	T(setsockopt(u, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)));
	/* 10 MB/s: 3 MB take a while, but for the first ten segments. */
	rate = 10000000;
	MUST(setsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)));
	clock_gettime(CLOCK_MONOTONIC, &from);
	child = MUST(fork());
	if (child == 0) {
		for (long left = 3000000; left > 0; left -= (long)sizeof(buf))
			if (write(c, buf, sizeof(buf)) <= 0)
				_exit(1);
		_exit(0);
	}
	close(c);
	while ((n = read(s, buf, sizeof(buf))) > 0)
		sum += n;
	clock_gettime(CLOCK_MONOTONIC, &to);
	waitpid(child, NULL, 0);
	SAY("read %ld", sum);
	HOLDS((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 100);
	close(s);
	close(u);
}

/* ---- fast open ---- */

static void fastopen(void)
{
	int l = listener(), c, s;
	struct sockaddr_in a = at(port_of(l));
	char buf[100];

	T(set(l, IPPROTO_TCP, TCP_FASTOPEN, 5));
	SAY("queue %d", number(l, IPPROTO_TCP, TCP_FASTOPEN));
	SAY("connect %d", number(l, IPPROTO_TCP, TCP_FASTOPEN_CONNECT));
	c = MUST(socket(AF_INET, SOCK_STREAM, 0));
	T(sendto(c, "hello", 5, MSG_FASTOPEN, (struct sockaddr *)&a, sizeof(a)));
	s = MUST(accept(l, NULL, NULL));
	T(recv(s, buf, 100, 0));
	T(sendto(c, "hello", 5, MSG_FASTOPEN, (struct sockaddr *)&a, sizeof(a)));
	T(send(s, "answer", 6, 0));
	T(recv(c, buf, 100, 0));
	close(c);
	close(s);
	c = MUST(socket(AF_INET, SOCK_STREAM, 0));
	T(set(c, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 2));
	T(set(c, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1));
	SAY("connect %d", number(c, IPPROTO_TCP, TCP_FASTOPEN_CONNECT));
	T(connect(c, (struct sockaddr *)&a, sizeof(a)));
	T(set(c, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 0));
	T(send(c, "data", 4, 0));
	s = MUST(accept(l, NULL, NULL));
	T(recv(s, buf, 100, 0));
	T(connect(c, (struct sockaddr *)&a, sizeof(a)));
	close(c);
	close(s);
	c = MUST(socket(AF_INET, SOCK_STREAM, 0));
	T(sendto(c, "x", 1, MSG_FASTOPEN, NULL, 0));
	T(sendto(c, "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&a, sizeof(a)));
	close(c);
	close(l);
	/* Nobody listens. */
	c = MUST(socket(AF_INET, SOCK_STREAM, 0));
	T(sendto(c, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&a, sizeof(a)));
	close(c);
	c = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	l = listener();
	a = at(port_of(l));
	T(sendto(c, "hello", 5, MSG_FASTOPEN, (struct sockaddr *)&a, sizeof(a)));
	close(c);
	close(l);
}

/* ---- UDP ---- */

static void segments(void)
{
	int a = bound(), b = bound();
	struct sockaddr_in to = at(port_of(b));
	char buf[70000];

	MUST(connect(a, (struct sockaddr *)&to, sizeof(to)));
	SAY("segment %d gro %d", number(a, IPPROTO_UDP, UDP_SEGMENT), number(b, IPPROTO_UDP, UDP_GRO));
	T(set(a, IPPROTO_UDP, UDP_SEGMENT, 65536));
	T(set(a, IPPROTO_UDP, UDP_SEGMENT, 1000));
	memset(buf, 'x', sizeof(buf));
	T(send(a, buf, 3500, 0));
	for (int i = 0; i < 4; i++)
		receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	T(set(b, IPPROTO_UDP, UDP_GRO, 1));
	T(send(a, buf, 3500, 0));
	receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	T(send(a, buf, 1000, 0));
	receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	T(send(a, buf, 2000, 0));
	receive(b, buf, 100, MSG_DONTWAIT);
	T(send(a, buf, 500, 0));
	receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	T(send(a, buf, 65000, 0));
	for (int n = 0; n < 66 && receive(b, buf, sizeof(buf), MSG_DONTWAIT) > 0; n++)
		;
	T(set(a, IPPROTO_UDP, UDP_SEGMENT, 1));
	T(send(a, buf, 64, 0));
	receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	T(send(a, buf, 129, 0));
	receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	T(set(a, IPPROTO_UDP, UDP_SEGMENT, 10000));
	T(set(b, IPPROTO_UDP, UDP_GRO, 0));
	T(send(a, buf, 30000, 0));
	for (int i = 0; i < 4; i++)
		receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	close(a);
	close(b);
}

static void corked(void)
{
	int a = bound(), b = bound();
	struct sockaddr_in to = at(port_of(b));
	char buf[70000] = "";

	MUST(connect(a, (struct sockaddr *)&to, sizeof(to)));
	T(set(a, IPPROTO_UDP, UDP_CORK, 1));
	T(send(a, "abc", 3, 0));
	T(send(a, "defg", 4, 0));
	receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	T(set(a, IPPROTO_UDP, UDP_CORK, 0));
	receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	T(send(a, buf, 60000, MSG_MORE));
	T(send(a, buf, 6000, 0));
	T(send(a, "z", 1, 0));
	receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	T(send(a, "", 0, MSG_MORE));
	T(send(a, "y", 1, 0));
	receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	T(set(a, IPPROTO_UDP, UDP_SEGMENT, 2));
	T(send(a, "123", 3, MSG_MORE));
	T(send(a, "45", 2, 0));
	for (int i = 0; i < 3; i++)
		receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	close(a);
	close(b);
}

static void after_shutdown(void)
{
	int a = bound(), b = bound();
	struct sockaddr_in to = at(port_of(b));
	char buf[10];

	MUST(connect(a, (struct sockaddr *)&to, sizeof(to)));
	T(shutdown(a, SHUT_RD));
	T(recv(a, buf, 10, MSG_DONTWAIT));
	T(recv(a, buf, 10, 0));
	close(a);
	close(b);
}

static void freebind(void)
{
	int s = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(0xc0000201)}};

	T(bind(s, (struct sockaddr *)&a, sizeof(a)));
	T(set(s, IPPROTO_IP, IP_FREEBIND, 1));
	T(bind(s, (struct sockaddr *)&a, sizeof(a)));
	T(getsockname(s, (struct sockaddr *)&a, &(socklen_t){sizeof(a)}));
	SAY("%s", inet_ntoa(a.sin_addr));
	close(s);
}

static void large6(void)
{
	int a = MUST(socket(AF_INET6, SOCK_DGRAM, 0)), b = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	static char buf[70000];

	if (bind(b, (struct sockaddr *)&to, sizeof(to)))
		return;
	MUST(getsockname(b, (struct sockaddr *)&to, &(socklen_t){sizeof(to)}));
	MUST(connect(a, (struct sockaddr *)&to, sizeof(to)));
	T(set(a, SOL_SOCKET, SO_SNDBUF, 200000));
	T(send(a, buf, 65487, 0));
	receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	T(send(a, buf, 65500, 0));
	receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	T(send(a, buf, 65527, 0));
	receive(b, buf, sizeof(buf), MSG_DONTWAIT);
	T(send(a, buf, 65528, 0));
	close(a);
	close(b);
}

/* ---- groups ---- */

static long of_source(int s, int name, const char *group, const char *source)
{
	struct ip_mreq_source m = {{inet_addr(group)}, {htonl(INADDR_LOOPBACK)}, {inet_addr(source)}};

	return setsockopt(s, IPPROTO_IP, name, &m, sizeof(m));
}

static long of_group(int s, int name, const char *group)
{
	struct ip_mreq m = {{inet_addr(group)}, {htonl(INADDR_LOOPBACK)}};

	return setsockopt(s, IPPROTO_IP, name, &m, sizeof(m));
}

static void send_group(int from, const char *group, int port, const char *text)
{
	struct sockaddr_in a = {
	    .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {inet_addr(group)}};
	struct in_addr lo = {htonl(INADDR_LOOPBACK)};

	MUST(setsockopt(from, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof(lo)));
	SAY("send to %s: %ld", group, (long)sendto(from, text, strlen(text), 0, (struct sockaddr *)&a, sizeof(a)));
}

static void show_filter(int s, const char *group)
{
	char room[IP_MSFILTER_SIZE(10)];
	struct ip_msfilter *f = (struct ip_msfilter *)room;
	socklen_t size = sizeof(room);

	memset(room, 0, sizeof(room));
	f->imsf_multiaddr.s_addr = inet_addr(group);
	f->imsf_interface.s_addr = htonl(INADDR_LOOPBACK);
	f->imsf_numsrc = 10;
	if (getsockopt(s, IPPROTO_IP, IP_MSFILTER, f, &size)) {
		SAY("filter of %s: %s", group, strerrorname_np(errno));
		return;
	}
	SAY("filter of %s: mode %u count %u size %u", group, f->imsf_fmode, f->imsf_numsrc, size);
	for (unsigned i = 0; i < f->imsf_numsrc && i < 10; i++)
		SAY("  %s", inet_ntoa(f->imsf_slist[i]));
}

static void sources(void)
{
	const char *g = "239.1.2.3";
	int s = MUST(socket(AF_INET, SOCK_DGRAM, 0)), from = bound(), port;
	struct sockaddr_in a = {.sin_family = AF_INET};
	char buf[100], room[IP_MSFILTER_SIZE(4)];
	struct ip_msfilter *f = (struct ip_msfilter *)room;

	MUST(bind(s, (struct sockaddr *)&a, sizeof(a)));
	port = port_of(s);
	T(set(s, IPPROTO_IP, IP_MULTICAST_ALL, 0));
	T(of_source(s, IP_DROP_SOURCE_MEMBERSHIP, g, "127.0.0.1"));
	T(of_source(s, IP_BLOCK_SOURCE, g, "127.0.0.1"));
	show_filter(s, g);
	/* Only that source. */
	T(of_source(s, IP_ADD_SOURCE_MEMBERSHIP, g, "127.0.0.1"));
	T(of_source(s, IP_ADD_SOURCE_MEMBERSHIP, g, "127.0.0.1"));
	send_group(from, g, port, "one");
	receive(s, buf, 100, MSG_DONTWAIT);
	T(of_source(s, IP_ADD_SOURCE_MEMBERSHIP, g, "10.1.1.1"));
	show_filter(s, g);
	T(of_source(s, IP_BLOCK_SOURCE, g, "127.0.0.1"));
	T(of_source(s, IP_DROP_SOURCE_MEMBERSHIP, g, "127.0.0.1"));
	send_group(from, g, port, "two");
	receive(s, buf, 100, MSG_DONTWAIT);
	T(of_group(s, IP_ADD_MEMBERSHIP, g));
	T(of_source(s, IP_DROP_SOURCE_MEMBERSHIP, g, "10.1.1.1"));
	show_filter(s, g);
	T(of_group(s, IP_DROP_MEMBERSHIP, g));
	/* All but those. */
	T(of_group(s, IP_ADD_MEMBERSHIP, g));
	T(of_group(s, IP_ADD_MEMBERSHIP, g));
	show_filter(s, g);
	send_group(from, g, port, "three");
	receive(s, buf, 100, MSG_DONTWAIT);
	T(of_source(s, IP_BLOCK_SOURCE, g, "127.0.0.1"));
	T(of_source(s, IP_BLOCK_SOURCE, g, "127.0.0.1"));
	T(of_source(s, IP_BLOCK_SOURCE, g, "10.0.0.9"));
	show_filter(s, g);
	send_group(from, g, port, "four");
	receive(s, buf, 100, MSG_DONTWAIT);
	T(of_source(s, IP_ADD_SOURCE_MEMBERSHIP, g, "10.0.0.1"));
	T(of_source(s, IP_UNBLOCK_SOURCE, g, "127.0.0.1"));
	T(of_source(s, IP_UNBLOCK_SOURCE, g, "127.0.0.1"));
	send_group(from, g, port, "five");
	receive(s, buf, 100, MSG_DONTWAIT);
	/* The whole filter at once. */
	memset(room, 0, sizeof(room));
	f->imsf_multiaddr.s_addr = inet_addr(g);
	f->imsf_interface.s_addr = htonl(INADDR_LOOPBACK);
	f->imsf_fmode = MCAST_INCLUDE;
	f->imsf_numsrc = 2;
	f->imsf_slist[0].s_addr = htonl(INADDR_LOOPBACK);
	f->imsf_slist[1].s_addr = inet_addr("10.9.9.9");
	T(setsockopt(s, IPPROTO_IP, IP_MSFILTER, room, IP_MSFILTER_SIZE(1)));
	T(setsockopt(s, IPPROTO_IP, IP_MSFILTER, room, 8));
	T(setsockopt(s, IPPROTO_IP, IP_MSFILTER, room, IP_MSFILTER_SIZE(2)));
	show_filter(s, g);
	send_group(from, g, port, "six");
	receive(s, buf, 100, MSG_DONTWAIT);
	f->imsf_fmode = MCAST_EXCLUDE;
	f->imsf_numsrc = 1;
	T(setsockopt(s, IPPROTO_IP, IP_MSFILTER, room, IP_MSFILTER_SIZE(1)));
	show_filter(s, g);
	send_group(from, g, port, "seven");
	receive(s, buf, 100, MSG_DONTWAIT);
	f->imsf_fmode = 7;
	T(setsockopt(s, IPPROTO_IP, IP_MSFILTER, room, IP_MSFILTER_SIZE(1)));
	f->imsf_multiaddr.s_addr = htonl(INADDR_LOOPBACK);
	T(setsockopt(s, IPPROTO_IP, IP_MSFILTER, room, IP_MSFILTER_SIZE(1)));
	T(of_group(s, IP_DROP_MEMBERSHIP, g));
	close(s);
	close(from);
}

static long request(int s, int level, int name, const char *group, const char *source)
{
	struct group_source_req r = {.gsr_interface = if_nametoindex("lo")};
	int family = level == IPPROTO_IP ? AF_INET : AF_INET6;

	r.gsr_group.ss_family = r.gsr_source.ss_family = (sa_family_t)family;
	if (level == IPPROTO_IP) {
		inet_pton(AF_INET, group, &((struct sockaddr_in *)&r.gsr_group)->sin_addr);
		inet_pton(AF_INET, source, &((struct sockaddr_in *)&r.gsr_source)->sin_addr);
	} else {
		inet_pton(AF_INET6, group, &((struct sockaddr_in6 *)&r.gsr_group)->sin6_addr);
		inet_pton(AF_INET6, source, &((struct sockaddr_in6 *)&r.gsr_source)->sin6_addr);
	}
	return setsockopt(s, level, name, &r, sizeof(r));
}

static void requests(int family, int level, const char *group, const char *own, const char *other)
{
	int s = MUST(socket(family, SOCK_DGRAM, 0));

	T(request(s, level, MCAST_JOIN_SOURCE_GROUP, group, own));
	T(request(s, level, MCAST_JOIN_SOURCE_GROUP, group, other));
	T(request(s, level, MCAST_JOIN_SOURCE_GROUP, group, other));
	T(request(s, level, MCAST_LEAVE_SOURCE_GROUP, group, own));
	T(request(s, level, MCAST_LEAVE_SOURCE_GROUP, group, own));
	T(request(s, level, MCAST_BLOCK_SOURCE, group, own));
	T(request(s, level, MCAST_LEAVE_SOURCE_GROUP, group, other));
	T(request(s, level, MCAST_LEAVE_SOURCE_GROUP, group, other));
	T(request(s, level, MCAST_JOIN_GROUP, group, own));
	T(request(s, level, MCAST_BLOCK_SOURCE, group, own));
	T(request(s, level, MCAST_BLOCK_SOURCE, group, own));
	T(request(s, level, MCAST_UNBLOCK_SOURCE, group, own));
	T(request(s, level, MCAST_UNBLOCK_SOURCE, group, own));
	T(request(s, level, MCAST_LEAVE_GROUP, group, own));
	T(request(s, level, MCAST_JOIN_SOURCE_GROUP, own, own));
	close(s);
}

static void group4_on_6(void)
{
	int s = MUST(socket(AF_INET6, SOCK_DGRAM, 0));

	T(of_group(s, IP_ADD_MEMBERSHIP, "239.1.2.4"));
	T(of_group(s, IP_ADD_MEMBERSHIP, "239.1.2.4"));
	T(of_group(s, IP_DROP_MEMBERSHIP, "239.1.2.4"));
	T(of_group(s, IP_DROP_MEMBERSHIP, "239.1.2.4"));
	close(s);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} parts[] = {
	    {"inq", inq},           {"pacing", pacing},
	    {"fastopen", fastopen}, {"segments", segments},
	    {"corked", corked},     {"after_shutdown", after_shutdown},
	    {"freebind", freebind}, {"large6", large6},
	    {"sources", sources},   {"group4_on_6", group4_on_6},
	};

	for (size_t i = 0; i < COUNT(parts); i++) {
		if (argc > 1 && strcmp(argv[1], parts[i].name) != 0)
			continue;
		SAY("== %s", parts[i].name);
		parts[i].fn();
	}
	if (argc == 1 || strcmp(argv[1], "requests") == 0) {
		requests(AF_INET, IPPROTO_IP, "239.1.2.5", "127.0.0.1", "10.0.0.1");
		requests(AF_INET6, IPPROTO_IPV6, "ff15::5", "::1", "2001:db8::1");
	}
	return 0;
}
