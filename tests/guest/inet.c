/* TCP and UDP over the loopback interface. Ports differ from run to run, so only whether they agree is printed. */
#include "guest.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <net/if.h>

static struct sockaddr_in at(int port)
{
	return (struct sockaddr_in){
	    .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static int port_of(int s)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	MUST(getsockname(s, (struct sockaddr *)&a, &len));
	return ntohs(((struct sockaddr_in *)&a)->sin_port);
}

static long do_bind(int s, int port)
{
	struct sockaddr_in a = at(port);

	return bind(s, (struct sockaddr *)&a, sizeof(a));
}

static long do_connect(int s, int port)
{
	struct sockaddr_in a = at(port);

	return connect(s, (struct sockaddr *)&a, sizeof(a));
}

static int bits(int fd, int events)
{
	struct pollfd p = {fd, (short)events, 0};

	poll(&p, 1, 0);
	return p.revents;
}

static void tcp(void)
{
	int l = MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), c, s, port;
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	char buf[64] = "";

	T(do_bind(l, 0));
	port = port_of(l);
	HOLDS(port >= 1024);
	c = MUST(socket(AF_INET, SOCK_STREAM, 0));
	T(do_connect(c, port));
	T(listen(l, 5));
	T(bits(l, POLLIN));
	T(do_bind(c, port));
	close(c);
	c = MUST(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
	T(bits(c, POLLIN | POLLOUT));
	T(do_connect(c, port));
	T(do_connect(c, port));
	s = MUST(accept(l, (struct sockaddr *)&peer, &len));
	HOLDS(len == sizeof(peer) && ntohs(peer.sin_port) == port_of(c));
	HOLDS(port_of(s) == port);
	T(send(c, "hello", 5, 0));
	T(recv(s, buf, 3, MSG_PEEK));
	T(recv(s, buf, sizeof(buf), 0));
	SAY("%s", buf);
	T(recv(s, buf, sizeof(buf), MSG_DONTWAIT));
	T(bits(s, POLLIN | POLLOUT | POLLRDHUP));
	T(shutdown(c, SHUT_WR));
	T(recv(s, buf, sizeof(buf), 0));
	T(bits(s, POLLIN | POLLOUT | POLLRDHUP));
	T(send(s, "answer", 6, 0));
	T(recv(c, buf, 6, MSG_WAITALL));
	T(send(c, "x", 1, MSG_NOSIGNAL));
	close(s);
	T(recv(c, buf, sizeof(buf), 0));
	close(c);
	T(accept4(l, NULL, NULL, 1));
	T(accept(0, NULL, NULL));
	close(l);
}

static void ends(void)
{
	int l = MUST(socket(AF_INET, SOCK_STREAM, 0)), c, s;
	char buf[8];

	MUST(do_bind(l, 0));
	MUST(listen(l, 1));
	c = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(do_connect(c, port_of(l)));
	s = MUST(accept(l, NULL, NULL));
	T(send(c, "unread", 6, 0));
	sleep_ms(10);
	close(s);
	sleep_ms(10);
	T(recv(c, buf, sizeof(buf), 0));
	T(recv(c, buf, sizeof(buf), 0));
	T(send(c, "x", 1, MSG_NOSIGNAL));
	close(c);
	c = MUST(socket(AF_INET, SOCK_STREAM, 0));
	T(send(c, "x", 1, MSG_NOSIGNAL));
	T(recv(c, buf, 1, 0));
	T(shutdown(c, SHUT_WR));
	T(getpeername(c, (struct sockaddr *)buf, &(socklen_t){8}));
	T(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)));
	T(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &(int){1}, 1));
	T(setsockopt(c, IPPROTO_TCP, 9999, &(int){1}, sizeof(int)));
	T(setsockopt(c, IPPROTO_UDP, 1, &(int){1}, sizeof(int)));
	T(bind(c, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(0x08080808)}},
	       16));
	T(bind(c, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_UNIX}, 16));
	T(bind(c, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET}, 8));
	close(c);
	close(l);
	T(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	T(socket(AF_INET, SOCK_SEQPACKET, 0));
}

static void udp(void)
{
	int a = MUST(socket(AF_INET, SOCK_DGRAM, 0)), b = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in to, from;
	socklen_t len = sizeof(from);
	char buf[32] = "";

	MUST(do_bind(a, 0));
	to = at(port_of(a));
	T(sendto(b, "one", 3, 0, (struct sockaddr *)&to, sizeof(to)));
	T(sendto(b, "", 0, 0, (struct sockaddr *)&to, sizeof(to)));
	T(recvfrom(a, buf, 2, MSG_TRUNC, (struct sockaddr *)&from, &len));
	HOLDS(len == sizeof(from) && ntohs(from.sin_port) == port_of(b) &&
	      from.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	T(recv(a, buf, sizeof(buf), 0));
	T(recv(a, buf, sizeof(buf), MSG_DONTWAIT));
	T(send(b, "x", 1, 0));
	T(connect(b, (struct sockaddr *)&to, sizeof(to)));
	T(send(b, "connected", 9, 0));
	T(recv(a, buf, sizeof(buf), 0));
	T(sendto(a, "back", 4, 0, (struct sockaddr *)&from, len));
	T(recv(b, buf, sizeof(buf), 0));
	T(sendto(b, buf, 70000, 0, (struct sockaddr *)&to, sizeof(to)) == -1);
	close(a);
	T(send(b, "gone", 4, 0));
	sleep_ms(10);
	T(bits(b, POLLIN | POLLOUT) & POLLERR);
	T(recv(b, buf, 1, MSG_DONTWAIT));
	T(recv(b, buf, 1, MSG_DONTWAIT));
	T(listen(b, 1));
	T(shutdown(b, SHUT_RDWR));
	close(b);
}

static void both(void)
{
	int l = MUST(socket(AF_INET6, SOCK_STREAM, 0)), c, s, port;
	struct sockaddr_in6 any = {.sin6_family = AF_INET6}, peer;
	socklen_t len = sizeof(peer);
	char text[64];

	T(bind(l, (struct sockaddr *)&any, sizeof(any)));
	MUST(listen(l, 4));
	port = port_of(l);
	c = MUST(socket(AF_INET, SOCK_STREAM, 0));
	T(do_connect(c, port));
	s = MUST(accept(l, (struct sockaddr *)&peer, &len));
	SAY("%s", inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof(text)));
	close(s);
	close(c);
	c = MUST(socket(AF_INET6, SOCK_STREAM, 0));
	any.sin6_port = htons((uint16_t)port);
	any.sin6_addr = in6addr_loopback;
	T(connect(c, (struct sockaddr *)&any, sizeof(any)));
	s = MUST(accept(l, (struct sockaddr *)&peer, &len));
	SAY("%s", inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof(text)));
	T(setsockopt(c, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int)));
	close(s);
	close(c);
	close(l);
}

static void interface(void)
{
	int s = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	struct ifreq r = {.ifr_name = "lo"};

	T(ioctl(s, SIOCGIFINDEX, &r));
	T(ioctl(s, SIOCGIFADDR, &r));
	SAY("%s", inet_ntoa(((struct sockaddr_in *)&r.ifr_addr)->sin_addr));
	T(ioctl(s, SIOCGIFMTU, &r));
	SAY("mtu %d", r.ifr_mtu);
	strcpy(r.ifr_name, "none0");
	T(ioctl(s, SIOCGIFINDEX, &r));
	close(s);
	s = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	strcpy(r.ifr_name, "lo");
	T(ioctl(s, SIOCGIFINDEX, &r));
	close(s);
}

/* getifaddrs() speaks netlink. Of a host's interfaces only lo's addresses are told. */
static void listing(void)
{
	struct ifaddrs *list, *i;
	int s = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	struct sockaddr_nl me = {.nl_family = AF_NETLINK};
	socklen_t len = sizeof(me);
	char text[64];

	T(getifaddrs(&list));
	for (i = list; i; i = i->ifa_next) {
		struct sockaddr *a = i->ifa_addr;

		if (strcmp(i->ifa_name, "lo") != 0 || !a)
			continue;
		if (a->sa_family == AF_INET)
			SAY("lo %s", inet_ntop(AF_INET, &((struct sockaddr_in *)a)->sin_addr, text, sizeof(text)));
		else if (a->sa_family == AF_PACKET)
			SAY("lo up %d", (i->ifa_flags & (IFF_UP | IFF_LOOPBACK)) == (IFF_UP | IFF_LOOPBACK));
	}
	freeifaddrs(list);
	T(bind(s, (struct sockaddr *)&me, sizeof(me)));
	T(getsockname(s, (struct sockaddr *)&me, &len));
	HOLDS(me.nl_family == AF_NETLINK && me.nl_pid != 0);
	T(recv(s, text, sizeof(text), MSG_DONTWAIT));
	T(send(s, text, 0, 0) <= 0);
	T(bind(s, (struct sockaddr *)&me, 2));
	close(s);
	T(socket(AF_NETLINK, SOCK_STREAM, 0));
	T(socket(AF_NETLINK, SOCK_RAW, 31));
}

int main(void)
{
	struct ifreq r = {.ifr_name = "lo"};
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	if (s < 0 || ioctl(s, SIOCGIFFLAGS, &r) || !(r.ifr_flags & IFF_UP))
		skip("no loopback interface");
	close(s);
	tcp();
	ends();
	udp();
	both();
	interface();
	listing();
	return 0;
}
