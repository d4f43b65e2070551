/* UDP, raw and ping sockets: control messages, error queues, groups, options. Loopback only, ports as they come. */
#include "guest.h"

#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static struct sockaddr_in at(int port)
{
	return (struct sockaddr_in){
	    .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static int port_of(int s)
{
	struct sockaddr_in6 a;

	MUST(getsockname(s, (struct sockaddr *)&a, &(socklen_t){sizeof(a)}));
	return ntohs(a.sin6_port);
}

static int bound(void)
{
	int s = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in a = at(0);

	MUST(bind(s, (struct sockaddr *)&a, sizeof(a)));
	return s;
}

static long send_to(int s, int port, const char *text)
{
	struct sockaddr_in a = at(port);

	return sendto(s, text, strlen(text), 0, (struct sockaddr *)&a, sizeof(a));
}

static long set(int s, int level, int name, int v)
{
	return setsockopt(s, level, name, &v, sizeof(v));
}

static int number(int s, int level, int name)
{
	int v = 0;

	return getsockopt(s, level, name, &v, &(socklen_t){sizeof(v)}) ? -errno : v;
}

static int bits(int fd, int events)
{
	struct pollfd p = {fd, (short)events, 0};

	poll(&p, 1, 0);
	return p.revents;
}

static void show_int(const struct cmsghdr *c)
{
	int v = 0;

	memcpy(&v, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0) < sizeof(v) ? c->cmsg_len - CMSG_LEN(0) : sizeof(v));
	SAY("  level %d type %d size %zu: %d", c->cmsg_level, c->cmsg_type, (size_t)(c->cmsg_len - CMSG_LEN(0)), v);
}

static void show_error(const struct cmsghdr *c)
{
	struct sock_extended_err e;

	memcpy(&e, CMSG_DATA(c), sizeof(e));
	SAY("  error %s origin %d type %d code %d info %u, size %zu", strerrorname_np((int)e.ee_errno), e.ee_origin,
	    e.ee_type, e.ee_code, e.ee_info, (size_t)(c->cmsg_len - CMSG_LEN(0)));
}

static void show_control(struct msghdr *m)
{
	char text[64];

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo *i = (struct in_pktinfo *)CMSG_DATA(c);

			SAY("  for %s", inet_ntoa(i->ipi_addr));
			SAY("  local %s on %d", inet_ntoa(i->ipi_spec_dst), i->ipi_ifindex);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo *i = (struct in6_pktinfo *)CMSG_DATA(c);

			SAY("  for %s on %d", inet_ntop(AF_INET6, &i->ipi6_addr, text, sizeof(text)), i->ipi6_ifindex);
		} else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
			   (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
			show_error(c);
		} else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMP) {
			SAY("  a time");
		} else {
			show_int(c);
		}
	}
}

static long receive(int s, size_t size, int flags)
{
	char data[256] = "", control[512];
	struct sockaddr_storage from;
	struct iovec v = {data, size};
	struct msghdr m = {.msg_name = &from,
			   .msg_namelen = sizeof(from),
			   .msg_iov = &v,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	long n = recvmsg(s, &m, flags | MSG_DONTWAIT);
	int err = errno;

	if (n >= 0) {
		SAY("  \"%.*s\" flags %x, name of %u", (int)(n < (long)size ? n : (long)size), data,
		    m.msg_flags & ~MSG_CMSG_CLOEXEC, m.msg_namelen);
		show_control(&m);
	}
	errno = err;
	return n;
}

static void control(void)
{
	int a = bound(), b = bound(), port = port_of(a);
	char buf[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in_pktinfo))] = "";
	struct sockaddr_in to = at(port);
	struct iovec v = {"options", 7};
	struct msghdr m = {.msg_name = &to,
			   .msg_namelen = sizeof(to),
			   .msg_iov = &v,
			   .msg_iovlen = 1,
			   .msg_control = buf,
			   .msg_controllen = CMSG_SPACE(sizeof(int))};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	T(set(a, IPPROTO_IP, IP_PKTINFO, 1));
	T(set(a, IPPROTO_IP, IP_RECVTTL, 1));
	T(set(a, IPPROTO_IP, IP_RECVTOS, 1));
	T(set(a, SOL_SOCKET, SO_TIMESTAMP, 1));
	T(send_to(b, port, "plain"));
	T(receive(a, 256, 0));
	T(set(b, IPPROTO_IP, IP_TTL, 7));
	T(set(b, IPPROTO_IP, IP_TOS, 0x28));
	T(send_to(b, port, "set"));
	T(receive(a, 256, MSG_PEEK));
	T(receive(a, 2, MSG_TRUNC));
	*c = (struct cmsghdr){.cmsg_level = IPPROTO_IP, .cmsg_type = IP_TTL, .cmsg_len = CMSG_LEN(sizeof(int))};
	*(int *)CMSG_DATA(c) = 9;
	T(sendmsg(b, &m, 0));
	T(receive(a, 256, 0));
	*(int *)CMSG_DATA(c) = 256;
	T(sendmsg(b, &m, 0));
	c->cmsg_type = 77;
	T(sendmsg(b, &m, 0));
	c->cmsg_level = 77;
	T(sendmsg(b, &m, 0));
	T(receive(a, 256, 0));
	m.msg_controllen = CMSG_SPACE(sizeof(struct in_pktinfo));
	*c = (struct cmsghdr){
	    .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO, .cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo))};
	*(struct in_pktinfo *)CMSG_DATA(c) = (struct in_pktinfo){.ipi_spec_dst = {htonl(0x7f000005)}};
	close(b);
	b = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	T(sendmsg(b, &m, 0));
	T(receive(a, 256, 0));
	close(a);
	close(b);
}

static void errors(void)
{
	int a = bound(), b = MUST(socket(AF_INET, SOCK_DGRAM, 0)), port = port_of(a), v;
	struct sockaddr_in to = at(port);
	static char large[65508];

	close(a);
	T(send_to(b, port, "nobody"));
	sleep_ms(10);
	T(bits(b, POLLIN | POLLOUT));
	T(receive(b, 64, 0));
	T(set(b, IPPROTO_IP, IP_RECVERR, 1));
	T(send_to(b, port, "nobody"));
	sleep_ms(10);
	T(bits(b, POLLIN | POLLOUT));
	T(receive(b, 64, 0));
	T(bits(b, POLLIN | POLLOUT));
	T(receive(b, 64, MSG_ERRQUEUE));
	T(bits(b, POLLIN | POLLOUT));
	T(receive(b, 64, MSG_ERRQUEUE));
	T(connect(b, (struct sockaddr *)&to, sizeof(to)));
	T(send(b, "x", 1, 0));
	sleep_ms(10);
	T(send(b, "x", 1, 0));
	T(number(b, SOL_SOCKET, SO_ERROR));
	T(connect(b, (struct sockaddr *)&(struct sockaddr){.sa_family = AF_UNSPEC}, 16));
	T(send(b, "x", 1, 0));
	to.sin_port = 0;
	T(connect(b, (struct sockaddr *)&to, sizeof(to)));
	T(getpeername(b, (struct sockaddr *)&(struct sockaddr_in){0}, &(socklen_t){16}));
	T(send(b, "nowhere", 7, 0));
	sleep_ms(10);
	T(bits(b, POLLIN | POLLOUT));
	T(number(b, SOL_SOCKET, SO_ERROR));
	T(sendto(b, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)));
	T(sendto(b, large, 65507, 0, (struct sockaddr *)&to, sizeof(to)));
	T(sendto(b, large, 65508, 0, (struct sockaddr *)&to, sizeof(to)));
	T(sendto(b, "x", 1, MSG_OOB, (struct sockaddr *)&to, sizeof(to)));
	to.sin_port = 0;
	T(sendto(b, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)));
	T(sendto(b, "x", 1, 0, (struct sockaddr *)&to, 8));
	to.sin_family = AF_INET6;
	T(sendto(b, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)));
	to = at(port);
	to.sin_addr.s_addr = htonl(0x7fffffff);
	T(sendto(b, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)));
	T(ioctl(b, FIONREAD, &v));
	T(getpeername(b, (struct sockaddr *)&to, &(socklen_t){sizeof(to)}));
	T(accept(b, NULL, NULL));
	T(shutdown(b, SHUT_RD));
	close(b);
}

static void ends(void)
{
	int a = bound(), b = bound();
	struct sockaddr_in to = at(port_of(a));

	T(connect(b, (struct sockaddr *)&to, sizeof(to)));
	T(shutdown(b, SHUT_WR));
	T(send(b, "x", 1, 0));
	T(shutdown(b, SHUT_RD));
	T(recv(b, &to, 1, 0));
	T(bits(b, POLLIN | POLLOUT | POLLRDHUP));
	close(a);
	close(b);
}

static void pieces(void)
{
	int a = bound(), b = bound();
	struct sockaddr_in to = at(port_of(a));

	MUST(connect(b, (struct sockaddr *)&to, sizeof(to)));
	T(send(b, "one ", 4, MSG_MORE));
	T(send(b, "datagram", 8, 0));
	T(receive(a, 64, 0));
	T(set(b, IPPROTO_UDP, UDP_CORK, 1));
	T(send(b, "held ", 5, 0));
	T(send(b, "back", 4, 0));
	T(receive(a, 64, 0));
	T(set(b, IPPROTO_UDP, UDP_CORK, 0));
	T(receive(a, 64, 0));
	T(set(b, IPPROTO_UDP, UDP_SEGMENT, 4));
	T(send(b, "segments!!", 10, 0));
	T(receive(a, 64, 0));
	T(receive(a, 64, 0));
	T(receive(a, 64, 0));
	T(receive(a, 64, 0));
	close(a);
	close(b);
}

static void options(void)
{
	static const struct {
		int level, name;
	} all[] = {{IPPROTO_IP, IP_TOS},
		   {IPPROTO_IP, IP_TTL},
		   {IPPROTO_IP, IP_MULTICAST_TTL},
		   {IPPROTO_IP, IP_MULTICAST_LOOP},
		   {IPPROTO_IP, IP_MTU_DISCOVER},
		   {IPPROTO_IP, IP_RECVERR},
		   {IPPROTO_IP, IP_PKTINFO},
		   {IPPROTO_IP, IP_RECVTTL},
		   {IPPROTO_IP, IP_FREEBIND},
		   {IPPROTO_IP, IP_HDRINCL},
		   {IPPROTO_IPV6, IPV6_V6ONLY},
		   {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
		   {IPPROTO_IPV6, IPV6_MULTICAST_HOPS},
		   {IPPROTO_IPV6, IPV6_MULTICAST_LOOP},
		   {IPPROTO_IPV6, IPV6_TCLASS},
		   {IPPROTO_IPV6, IPV6_RECVPKTINFO},
		   {IPPROTO_IPV6, IPV6_RECVHOPLIMIT},
		   {IPPROTO_IPV6, IPV6_MTU_DISCOVER},
		   {IPPROTO_IPV6, IPV6_RECVERR}};
	int s[2] = {MUST(socket(AF_INET, SOCK_DGRAM, 0)), MUST(socket(AF_INET6, SOCK_DGRAM, 0))};

	for (size_t i = 0; i < COUNT(all); i++) {
		for (int k = 0; k < 2; k++) {
			int l = all[i].level, n = all[i].name, first = number(s[k], l, n);

			SAY("%d %d %d: %d; %ld %ld %ld %ld: %d", k, l, n, first, set(s[k], l, n, -2),
			    set(s[k], l, n, 256), set(s[k], l, n, -1), set(s[k], l, n, 1), number(s[k], l, n));
		}
	}
	T(setsockopt(s[0], IPPROTO_IP, IP_TTL, &(char){33}, 1));
	T(number(s[0], IPPROTO_IP, IP_TTL));
	T(setsockopt(s[1], IPPROTO_IPV6, IPV6_UNICAST_HOPS, &(char){33}, 1));
	close(s[0]);
	close(s[1]);
}

static void group(void)
{
	struct ip_mreqn on_lo = {{htonl(0xe8000001)}, {htonl(INADDR_LOOPBACK)}, 0};
	int a = MUST(socket(AF_INET, SOCK_DGRAM, 0)), b = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in any = {.sin_family = AF_INET}, to;

	MUST(bind(a, (struct sockaddr *)&any, sizeof(any)));
	MUST(set(a, IPPROTO_IP, IP_PKTINFO, 1));
	MUST(set(a, IPPROTO_IP, IP_MULTICAST_ALL, 0)); /* others on this host may be members */
	to = at(port_of(a));
	to.sin_addr = on_lo.imr_multiaddr;
	T(setsockopt(a, IPPROTO_IP, IP_ADD_MEMBERSHIP, &on_lo, sizeof(on_lo)));
	T(setsockopt(a, IPPROTO_IP, IP_ADD_MEMBERSHIP, &on_lo, sizeof(on_lo)));
	T(setsockopt(a, IPPROTO_IP, IP_ADD_MEMBERSHIP, &on_lo, 4));
	T(setsockopt(b, IPPROTO_IP, IP_MULTICAST_IF, &on_lo, sizeof(on_lo)));
	T(sendto(b, "to all", 6, 0, (struct sockaddr *)&to, sizeof(to)));
	sleep_ms(10);
	T(receive(a, 64, 0));
	T(setsockopt(a, IPPROTO_IP, IP_DROP_MEMBERSHIP, &on_lo, sizeof(on_lo)));
	T(setsockopt(a, IPPROTO_IP, IP_DROP_MEMBERSHIP, &on_lo, sizeof(on_lo)));
	T(sendto(b, "to none", 7, 0, (struct sockaddr *)&to, sizeof(to)));
	sleep_ms(10);
	T(receive(a, 64, 0));
	on_lo.imr_multiaddr.s_addr = htonl(0x0a000001);
	T(setsockopt(a, IPPROTO_IP, IP_ADD_MEMBERSHIP, &on_lo, sizeof(on_lo)));
	on_lo.imr_ifindex = 9999;
	T(setsockopt(a, IPPROTO_IP, IP_ADD_MEMBERSHIP, &on_lo, sizeof(on_lo)));
	close(a);
	close(b);
}

static void six(void)
{
	int a = MUST(socket(AF_INET6, SOCK_DGRAM, 0)), b = MUST(socket(AF_INET6, SOCK_DGRAM, 0)), four = bound();
	struct sockaddr_in6 any = {.sin6_family = AF_INET6}, to = {.sin6_family = AF_INET6};

	T(bind(a, (struct sockaddr *)&any, sizeof(any)));
	to.sin6_port = htons((uint16_t)port_of(a));
	to.sin6_addr = in6addr_loopback;
	T(set(a, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
	T(set(a, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1));
	T(set(a, IPPROTO_IPV6, IPV6_RECVTCLASS, 1));
	T(set(b, IPPROTO_IPV6, IPV6_TCLASS, 4));
	T(sendto(b, "six", 3, 0, (struct sockaddr *)&to, sizeof(to)));
	T(receive(a, 64, 0));
	T(send_to(four, port_of(a), "four"));
	T(receive(a, 64, 0));
	T(set(a, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	T(set(b, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	T(sendto(b, "x", 1, 0, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET}, 16));
	T(connect(b, (struct sockaddr *)&any, sizeof(any)));
	T(bind(b, (struct sockaddr *)&any, 20));
	close(b);
	b = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
	T(set(b, IPPROTO_IPV6, IPV6_RECVERR, 1));
	to.sin6_port = htons((uint16_t)port_of(a));
	close(a);
	T(connect(b, (struct sockaddr *)&to, sizeof(to)));
	T(send(b, "gone", 4, 0));
	sleep_ms(10);
	T(receive(b, 64, MSG_ERRQUEUE));
	T(send(b, "x", 1, 0));
	close(b);
	close(four);
}

static void sharing(void)
{
	int a = MUST(socket(AF_INET, SOCK_DGRAM, 0)), b = MUST(socket(AF_INET, SOCK_DGRAM, 0)), got = 0;
	struct sockaddr_in to = at(0);

	MUST(set(a, SOL_SOCKET, SO_REUSEPORT, 1));
	MUST(bind(a, (struct sockaddr *)&to, sizeof(to)));
	to = at(port_of(a));
	T(bind(b, (struct sockaddr *)&to, sizeof(to)));
	MUST(set(b, SOL_SOCKET, SO_REUSEPORT, 1));
	T(bind(b, (struct sockaddr *)&to, sizeof(to)));
	T(bind(b, (struct sockaddr *)&to, sizeof(to)));
	for (int i = 0; i < 64; i++) {
		int s = bound();

		MUST(send_to(s, port_of(a), "x"));
		close(s);
	}
	sleep_ms(10);
	while (recv(a, &to, 1, MSG_DONTWAIT) >= 0)
		got++;
	HOLDS(got > 0 && got < 64);
	while (recv(b, &to, 1, MSG_DONTWAIT) >= 0)
		got++;
	HOLDS(got == 64);
	close(a);
	close(b);
}

static void kinds(void)
{
	T(socket(AF_INET, SOCK_RAW, 0));
	T(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
	T(socket(AF_INET, SOCK_STREAM, 9999));
	T(socket(AF_INET, SOCK_DGRAM, -1));
	T(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMP));
	T(socket(AF_INET, SOCK_RDM, 0));
	T(socket(AF_INET, 77, 0));
	T(socket(77, SOCK_DGRAM, 0));
	CHILD
	{
		MUST(setuid(12345));
		T(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
		T(socket(AF_INET, SOCK_RAW, 0));
		T(bind(MUST(socket(AF_INET, SOCK_DGRAM, 0)),
		       (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(77)}, 16));
		T(setsockopt(MUST(socket(AF_INET, SOCK_DGRAM, 0)), SOL_SOCKET, SO_BINDTODEVICE, "lo", 2));
		T(set(MUST(socket(AF_INET, SOCK_DGRAM, 0)), IPPROTO_IP, IP_TRANSPARENT, 1));
	}
}

static void device(void)
{
	int a = bound(), b = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	char name[IFNAMSIZ] = "";
	socklen_t len = sizeof(name);

	T(setsockopt(a, SOL_SOCKET, SO_BINDTODEVICE, "none0", 5));
	T(setsockopt(a, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2));
	T(getsockopt(a, SOL_SOCKET, SO_BINDTODEVICE, name, &len));
	SAY("%s %u", name, len);
	T(send_to(b, port_of(a), "by lo"));
	T(receive(a, 64, 0));
	T(setsockopt(a, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
	len = sizeof(name);
	T(getsockopt(a, SOL_SOCKET, SO_BINDTODEVICE, name, &len));
	SAY("%u", len);
	close(a);
	close(b);
}

static void raw(void)
{
	uint16_t id = (uint16_t)getpid();
	struct icmphdr echo = {.type = ICMP_ECHO, .un.echo = {id, htons(1)}}, got;
	int s = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), replies = 0;
	struct sockaddr_in to = at(0);
	char buf[256];
	uint32_t sum;
	ssize_t n;

	if (s < 0)
		return;
	sum = (uint32_t)(ICMP_ECHO + id + htons(1));
	echo.checksum = (uint16_t) ~(sum + (sum >> 16));
	T(setsockopt(s, 255, 1, &(uint32_t){~(1u << ICMP_ECHOREPLY)}, 4));
	T(sendto(s, &echo, sizeof(echo), 0, (struct sockaddr *)&to, sizeof(to)));
	sleep_ms(20);
	while ((n = recv(s, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		memcpy(&got, buf + 20, sizeof(got));
		if (n != 28 || (buf[0] & 0xff) != 0x45)
			SAY("no packet");
		else if (got.un.echo.id == id)
			replies++;
	}
	HOLDS(replies == 1);
	T(set(s, IPPROTO_IP, IP_HDRINCL, 1));
	T(number(s, IPPROTO_IP, IP_HDRINCL));
	T(sendto(s, "short", 5, 0, (struct sockaddr *)&to, sizeof(to)));
	T(connect(s, (struct sockaddr *)&to, sizeof(to)));
	T(bind(s, (struct sockaddr *)&to, sizeof(to)));
	close(s);
	s = MUST(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
	T(set(s, IPPROTO_IPV6, IPV6_CHECKSUM, 2));
	T(number(s, IPPROTO_IPV6, IPV6_CHECKSUM));
	close(s);
	s = MUST(socket(AF_INET6, SOCK_RAW, 200));
	T(set(s, IPPROTO_IPV6, IPV6_CHECKSUM, 3));
	T(set(s, IPPROTO_IPV6, IPV6_CHECKSUM, 2));
	T(number(s, IPPROTO_IPV6, IPV6_CHECKSUM));
	close(s);
}

int main(void)
{
	control();
	errors();
	ends();
	pieces();
	options();
	group();
	six();
	sharing();
	kinds();
	device();
	raw();
	return 0;
}
