/* TCP sockets beyond the basics of inet.c: blocking, partial and urgent data, options, errors, epoll. Loopback only, ports as they come. */
#include "guest.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

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

static long connect_to(int s, int port)
{
	struct sockaddr_in a = at(port);

	return connect(s, (struct sockaddr *)&a, sizeof(a));
}

static int listener(int backlog)
{
	int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
	struct sockaddr_in a = at(0);

	MUST(bind(l, (struct sockaddr *)&a, sizeof(a)));
	MUST(listen(l, backlog));
	return l;
}

static void make_pair(int *c, int *s)
{
	int l = listener(5);

	*c = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect_to(*c, port_of(l)));
	*s = MUST(accept(l, NULL, NULL));
	close(l);
}

static int bits(int fd, int events)
{
	struct pollfd p = {fd, (short)events, 0};

	poll(&p, 1, 0);
	return p.revents;
}

static int error_of(int s)
{
	int err = -1;

	MUST(getsockopt(s, SOL_SOCKET, SO_ERROR, &err, &(socklen_t){sizeof(err)}));
	return err;
}

static int number(int s, int level, int name)
{
	int v = -1;

	return getsockopt(s, level, name, &v, &(socklen_t){sizeof(v)}) ? -errno : v;
}

static long set(int s, int level, int name, int v)
{
	return setsockopt(s, level, name, &v, sizeof(v));
}

static void connecting(void)
{
	int l = listener(5), s = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)), port = port_of(l), a;

	T(connect_to(s, port));
	sleep_ms(20);
	T(bits(s, POLLOUT | POLLIN));
	T(connect_to(s, port));
	T(connect_to(s, port));
	T(error_of(s));
	a = MUST(accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
	T(fcntl(a, F_GETFD));
	HOLDS(fcntl(a, F_GETFL) & O_NONBLOCK);
	close(a);
	close(s);
	close(l);
	s = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	T(connect_to(s, port));
	sleep_ms(20);
	T(bits(s, POLLOUT | POLLIN));
	T(error_of(s));
	T(error_of(s));
	T(send(s, "x", 1, MSG_NOSIGNAL));
	close(s);
	s = MUST(socket(AF_INET, SOCK_STREAM, 0));
	T(connect_to(s, port));
	T(connect_to(s, port));
	T(connect(s, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET6}, 16));
	T(connect(s, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET}, 15));
	T(connect(s, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_UNSPEC}, 16));
	T(connect(s, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(0xe0000001)}},
		  16));
	close(s);
}

static void *send_late(void *arg)
{
	sleep_ms(30);
	MUST(send(*(int *)arg, "rest", 4, 0));
	return NULL;
}

static void receiving(void)
{
	struct timeval tv = {0, 30000};
	char buf[64] = "";
	pthread_t t;
	int c, s;

	make_pair(&c, &s);
	T(send(c, "first", 5, 0));
	sleep_ms(10);
	T(recv(s, buf, 3, MSG_PEEK));
	T(recv(s, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT));
	MUST(pthread_create(&t, NULL, send_late, &c));
	T(recv(s, buf, 9, MSG_WAITALL));
	SAY("%.9s", buf);
	pthread_join(t, NULL);
	T(recv(s, buf, 1, MSG_DONTWAIT));
	MUST(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	T(recv(s, buf, 1, 0));
	T(send(c, "abc", 3, 0));
	T(recv(s, buf, 9, MSG_WAITALL));
	T(send(c, "discard", 7, 0));
	sleep_ms(10);
	T(recv(s, NULL, 4, MSG_TRUNC));
	T(recv(s, buf, sizeof(buf), 0));
	SAY("%.3s", buf);
	T(recv(s, buf, 0, 0));
	T(recv(s, buf, sizeof(buf), MSG_ERRQUEUE));
	T(send(c, "fault", 5, 0));
	sleep_ms(10);
	T(recv(s, (void *)8, 5, 0));
	T(recv(s, buf, sizeof(buf), 0));
	T(send(c, (void *)8, 5, 0));
	T(setsockopt(s, SOL_SOCKET, SO_RCVLOWAT, &(int){4}, sizeof(int)));
	T(send(c, "ab", 2, 0));
	sleep_ms(10);
	T(bits(s, POLLIN));
	T(send(c, "cd", 2, 0));
	sleep_ms(10);
	T(bits(s, POLLIN));
	close(c);
	close(s);
}

static void queues(void)
{
	char buf[64];
	int c, s, n;

	make_pair(&c, &s);
	T(ioctl(s, SIOCINQ, &n));
	SAY("%d", n);
	MUST(send(c, "hello", 5, MSG_MORE));
	MUST(send(c, "hello", 5, 0));
	sleep_ms(10);
	T(ioctl(s, FIONREAD, &n));
	SAY("%d", n);
	T(ioctl(c, SIOCOUTQ, &n));
	SAY("%d", n);
	T(ioctl(c, SIOCOUTQNSD, &n));
	SAY("%d", n);
	MUST(recv(s, buf, 5, 0));
	T(ioctl(s, SIOCINQ, &n));
	SAY("%d", n);
	close(c);
	close(s);
	c = listener(1);
	T(ioctl(c, SIOCINQ, &n));
	T(ioctl(c, SIOCOUTQ, &n));
	close(c);
}

static void urgent(void)
{
	char buf[16] = "";
	int c, s, n;

	make_pair(&c, &s);
	T(recv(s, buf, 1, MSG_OOB));
	T(send(c, "abc", 3, 0));
	T(send(c, "XY", 2, MSG_OOB));
	T(send(c, "def", 3, 0));
	sleep_ms(20);
	T(bits(s, POLLIN | POLLPRI));
	T(ioctl(s, SIOCATMARK, &n));
	SAY("%d", n);
	T(recv(s, buf, sizeof(buf), 0));
	SAY("%.4s", buf);
	T(ioctl(s, SIOCATMARK, &n));
	SAY("%d", n);
	T(recv(s, buf, 1, MSG_OOB | MSG_PEEK));
	T(recv(s, buf, 1, MSG_OOB));
	SAY("%.1s", buf);
	T(recv(s, buf, 1, MSG_OOB));
	T(recv(s, buf, sizeof(buf), 0));
	SAY("%.3s", buf);
	T(set(s, SOL_SOCKET, SO_OOBINLINE, 1));
	T(send(c, "z", 1, MSG_OOB));
	sleep_ms(10);
	T(recv(s, buf, sizeof(buf), 0));
	SAY("%.1s", buf);
	close(c);
	close(s);
}

static size_t wrong_bytes;

static void *drain(void *arg)
{
	char *buf = malloc(1 << 16);
	size_t total = 0;
	ssize_t n;

	while ((n = recv(*(int *)arg, buf, 1 << 16, 0)) > 0)
		for (ssize_t i = 0; i < n; i++, total++)
			if (buf[i] != (char)(total * 7 + total / 251))
				wrong_bytes++;
	free(buf);
	return (void *)total;
}

/* Much data, in one write, many vectors, and from a file. */
static void bulk(void)
{
	static char data[3 << 20];
	struct iovec v[48];
	pthread_t t;
	void *total;
	off_t off = 0;
	int c, s, f;
	ssize_t n, sent = 0;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7 + i / 251);
	make_pair(&c, &s);
	MUST(pthread_create(&t, NULL, drain, &s));
	T(send(c, data, 1 << 20, 0));
	for (size_t i = 0; i < COUNT(v); i++)
		v[i] = (struct iovec){data + (1 << 20) + i * 21845, 21845};
	T(writev(c, v, COUNT(v)));
	sent = (1 << 20) + (ssize_t)COUNT(v) * 21845;
	f = MUST(open("bulk", O_RDWR | O_CREAT | O_TRUNC, 0600));
	MUST(write(f, data + sent, sizeof(data) - (size_t)sent));
	while ((n = sendfile(c, f, &off, sizeof(data))) > 0)
		;
	T(shutdown(c, SHUT_WR));
	pthread_join(t, &total);
	HOLDS((size_t)total == sizeof(data) && wrong_bytes == 0);
	close(f);
	unlink("bulk");
	close(c);
	close(s);
}

/* A sender that nobody reads is stopped, and goes on when somebody does. */
static void full(void)
{
	static char data[1 << 16];
	size_t sent = 0, got = 0;
	ssize_t n;
	int c, s;

	make_pair(&c, &s);
	MUST(set(s, SOL_SOCKET, SO_RCVBUF, 20000));
	MUST(set(c, SOL_SOCKET, SO_SNDBUF, 20000));
	while ((n = send(c, data, sizeof(data), MSG_DONTWAIT)) > 0)
		sent += (size_t)n;
	T(n);
	HOLDS(sent > 20000);
	T(bits(c, POLLOUT));
	MUST(fcntl(c, F_SETFL, O_NONBLOCK));
	while (got < sent && (n = recv(s, data, sizeof(data), 0)) > 0)
		got += (size_t)n;
	HOLDS(got == sent);
	sleep_ms(50);
	T(bits(c, POLLOUT));
	close(c);
	close(s);
}

static void options(void)
{
	static const int tcp[] = {TCP_NODELAY,      TCP_CORK,         TCP_KEEPIDLE, TCP_KEEPINTVL,
				  TCP_KEEPCNT,      TCP_SYNCNT,       TCP_LINGER2,  TCP_DEFER_ACCEPT,
				  TCP_WINDOW_CLAMP, TCP_USER_TIMEOUT, TCP_QUICKACK, TCP_NOTSENT_LOWAT};
	char name[32] = "";
	socklen_t len = sizeof(name);
	int s = MUST(socket(AF_INET, SOCK_STREAM, 0));

	for (size_t i = 0; i < COUNT(tcp); i++)
		SAY("%d: %d", tcp[i], number(s, IPPROTO_TCP, tcp[i]));
	for (size_t i = 0; i < COUNT(tcp); i++)
		SAY("%d: %ld %ld %ld %ld", tcp[i], set(s, IPPROTO_TCP, tcp[i], -1), set(s, IPPROTO_TCP, tcp[i], 0),
		    set(s, IPPROTO_TCP, tcp[i], 40000), set(s, IPPROTO_TCP, tcp[i], 5));
	for (size_t i = 0; i < COUNT(tcp); i++)
		if (tcp[i] != TCP_DEFER_ACCEPT && tcp[i] != TCP_WINDOW_CLAMP)
			SAY("%d: %d", tcp[i], number(s, IPPROTO_TCP, tcp[i]));
	T(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	T(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &len));
	SAY("%s %d", name, (int)len);
	T(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "none of these", 13));
	T(set(s, IPPROTO_TCP, TCP_MAXSEG, 10));
	T(set(s, IPPROTO_TCP, TCP_MAXSEG, 1000));
	T(number(s, IPPROTO_TCP, TCP_MAXSEG));
	T(set(s, SOL_SOCKET, SO_KEEPALIVE, 1));
	T(number(s, SOL_SOCKET, SO_KEEPALIVE));
	T(number(s, SOL_SOCKET, SO_ACCEPTCONN));
	T(number(s, SOL_SOCKET, SO_PROTOCOL));
	T(set(s, SOL_SOCKET, SO_SNDBUF, 10000));
	T(number(s, SOL_SOCKET, SO_SNDBUF));
	T(set(s, SOL_SOCKET, SO_RCVBUF, 1));
	T(number(s, SOL_SOCKET, SO_RCVBUF));
	T(set(s, IPPROTO_IP, IP_TOS, 0x13));
	T(number(s, IPPROTO_IP, IP_TOS));
	T(set(s, IPPROTO_IP, IP_MULTICAST_TTL, 1));
	T(set(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, 1));
	T(number(s, IPPROTO_IP, IP_MTU));
	T(number(s, IPPROTO_IPV6, IPV6_V6ONLY));
	T(set(s, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	T(number(s, IPPROTO_UDP, 1));
	close(s);
}

static void reset(void)
{
	struct linger l = {1, 0};
	char buf[8];
	int c, s;

	make_pair(&c, &s);
	MUST(setsockopt(c, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	close(c);
	sleep_ms(10);
	T(bits(s, POLLIN | POLLOUT | POLLRDHUP));
	T(recv(s, buf, 1, 0));
	T(recv(s, buf, 1, 0));
	T(send(s, "x", 1, MSG_NOSIGNAL));
	T(getpeername(s, (struct sockaddr *)&(struct sockaddr_in){0}, &(socklen_t){16}));
	close(s);
	make_pair(&c, &s);
	l.l_linger = 1;
	MUST(setsockopt(c, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	MUST(send(c, "bye", 3, 0));
	T(close(c));
	T(recv(s, buf, 8, 0));
	T(recv(s, buf, 8, 0));
	close(s);
}

/* Who was reset before accept() is accepted all the same, by its name. */
static void reset_early(void)
{
	int l = listener(5), c = MUST(socket(AF_INET, SOCK_STREAM, 0)), s, port;
	struct sockaddr_in name = {0};
	socklen_t size = sizeof(name);
	char buf[8];

	MUST(connect_to(c, port_of(l)));
	port = port_of(c);
	MUST(setsockopt(c, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger)));
	close(c);
	sleep_ms(10);
	s = MUST(accept(l, (struct sockaddr *)&name, &size));
	HOLDS(ntohs(name.sin_port) == port && name.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	T(recv(s, buf, 1, 0));
	T(recv(s, buf, 1, 0));
	T(getpeername(s, (struct sockaddr *)&name, &size));
	close(s);
	close(l);
}

static void halves(void)
{
	char buf[8];
	int c, s;

	make_pair(&c, &s);
	T(shutdown(c, SHUT_RD));
	T(recv(c, buf, 8, 0));
	T(send(s, "late", 4, 0));
	sleep_ms(10);
	T(recv(c, buf, 8, MSG_DONTWAIT));
	T(bits(c, POLLIN | POLLOUT | POLLRDHUP));
	T(shutdown(c, SHUT_WR));
	T(bits(c, POLLIN | POLLOUT | POLLRDHUP));
	T(send(c, "x", 1, MSG_NOSIGNAL));
	T(shutdown(c, 3));
	close(c);
	close(s);
	c = listener(1);
	T(shutdown(c, SHUT_WR));
	T(shutdown(c, SHUT_RD));
	T(accept(c, NULL, NULL));
	close(c);
}

static void edges(void)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET}, got[4];
	int ep = MUST(epoll_create1(0)), c, s;
	char buf[8];

	make_pair(&c, &s);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, s, &e));
	T(epoll_wait(ep, got, 4, 100));
	SAY("%x", got[0].events);
	T(epoll_wait(ep, got, 4, 10));
	MUST(send(c, "ab", 2, 0));
	T(epoll_wait(ep, got, 4, 100));
	SAY("%x", got[0].events);
	MUST(recv(s, buf, 1, 0));
	T(epoll_wait(ep, got, 4, 10));
	MUST(shutdown(c, SHUT_WR));
	T(epoll_wait(ep, got, 4, 100));
	SAY("%x", got[0].events);
	close(c);
	close(s);
	close(ep);
}

static void sharing(void)
{
	int a = MUST(socket(AF_INET, SOCK_STREAM, 0)), b = MUST(socket(AF_INET, SOCK_STREAM, 0)), port;
	struct sockaddr_in to = at(0);

	MUST(set(a, SOL_SOCKET, SO_REUSEADDR, 1));
	MUST(set(b, SOL_SOCKET, SO_REUSEADDR, 1));
	MUST(bind(a, (struct sockaddr *)&to, sizeof(to)));
	port = port_of(a);
	to = at(port);
	T(bind(b, (struct sockaddr *)&to, sizeof(to)));
	T(listen(a, 1));
	T(listen(b, 1));
	close(b);
	b = MUST(socket(AF_INET, SOCK_STREAM, 0));
	T(bind(b, (struct sockaddr *)&to, sizeof(to)));
	close(b);
	close(a);
	a = MUST(socket(AF_INET, SOCK_STREAM, 0));
	b = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(set(a, SOL_SOCKET, SO_REUSEPORT, 1));
	MUST(set(b, SOL_SOCKET, SO_REUSEPORT, 1));
	to = at(0);
	MUST(bind(a, (struct sockaddr *)&to, sizeof(to)));
	to = at(port_of(a));
	T(bind(b, (struct sockaddr *)&to, sizeof(to)));
	T(listen(a, 1));
	T(listen(b, 1));
	close(a);
	close(b);
}

int main(void)
{
	connecting();
	receiving();
	queues();
	urgent();
	bulk();
	full();
	options();
	reset();
	reset_early();
	halves();
	edges();
	sharing();
	return 0;
}
