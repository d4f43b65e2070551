/* UDP-Lite: udplite(7), RFC 3828. Loopback only. */
#include "guest.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <sys/socket.h>

#define SEND_CSCOV 10
#define RECV_CSCOV 11

static int lite(int family)
{
	int s = socket(family, SOCK_DGRAM, IPPROTO_UDPLITE);

	if (s < 0 && errno == EPROTONOSUPPORT)
		skip("this kernel has no UDP-Lite");
	return s;
}

static socklen_t local(int family, struct sockaddr_storage *a)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

	if (family == AF_INET)
		memcpy(a, &in, sizeof(in));
	else
		memcpy(a, &in6, sizeof(in6));
	return family == AF_INET ? sizeof(in) : sizeof(in6);
}

static int set(int s, int level, int name, int value)
{
	return setsockopt(s, level, name, &value, sizeof(value));
}

static int get(int s, int level, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(s, level, name, &value, &size) ? -1 : value;
}

/* How many bytes come within a moment; -1 EAGAIN: none. */
static long came(int s)
{
	struct pollfd p = {.fd = s, .events = POLLIN};
	char buf[3000];

	poll(&p, 1, 50);
	return recv(s, buf, sizeof(buf), MSG_DONTWAIT);
}

static void coverage(int family)
{
	static const int sent[] = {0, 8, 20, 108, 500}, wanted[] = {8, 20, 60, 0};
	struct sockaddr_storage a;
	socklen_t size = local(family, &a);
	int r = lite(family), s = lite(family);
	char data[2000] = "data";

	T(bind(r, (struct sockaddr *)&a, size));
	getsockname(r, (struct sockaddr *)&a, &size);
	T(connect(s, (struct sockaddr *)&a, size));
	for (unsigned w = 0; w <= COUNT(wanted); w++) {
		if (w)
			set(r, IPPROTO_UDPLITE, RECV_CSCOV, wanted[w - 1]);
		for (unsigned i = 0; i < COUNT(sent); i++) {
			char name[64];

			set(s, IPPROTO_UDPLITE, SEND_CSCOV, sent[i]);
			snprintf(name, sizeof(name), "wanted %d, sent %d", w ? wanted[w - 1] : -1, sent[i]);
			send(s, data, 100, 0);
			TN(name, came(r));
		}
	}
	T(send(s, data, 2000, 0));
	T(came(r));
	T(send(s, data, 0, 0));
	T(came(r));
	close(r);
	T(send(s, "nobody", 6, 0));
	usleep(10000);
	T(send(s, "nobody", 6, 0));
	close(s);
}

static void options(void)
{
	static const int values[] = {0, 1, 8, 9, -1, 65535, 65536, 1 << 30};
	int s = lite(AF_INET), u = socket(AF_INET, SOCK_DGRAM, 0);
	long wide = 20;

	T(get(s, SOL_SOCKET, SO_PROTOCOL));
	T(get(s, IPPROTO_UDPLITE, SEND_CSCOV));
	for (unsigned i = 0; i < COUNT(values); i++) {
		T(set(s, IPPROTO_UDPLITE, SEND_CSCOV, values[i]));
		T(get(s, IPPROTO_UDPLITE, SEND_CSCOV));
		T(set(s, IPPROTO_UDPLITE, RECV_CSCOV, values[i]));
		T(get(s, IPPROTO_UDPLITE, RECV_CSCOV));
	}
	T(setsockopt(s, IPPROTO_UDPLITE, SEND_CSCOV, &wide, 2));
	T(setsockopt(s, IPPROTO_UDPLITE, SEND_CSCOV, NULL, 4));
	T(set(s, IPPROTO_UDPLITE, 99, 1));
	T(set(u, IPPROTO_UDPLITE, SEND_CSCOV, 20));
	T(get(u, IPPROTO_UDPLITE, SEND_CSCOV));
	T(socket(AF_INET, SOCK_STREAM, IPPROTO_UDPLITE));
	close(s);
	close(u);
}

/* Its ports are its own; what a raw socket makes is checked. */
static void wire(void)
{
	struct sockaddr_storage a;
	socklen_t size = local(AF_INET, &a);
	int r = lite(AF_INET), u = socket(AF_INET, SOCK_DGRAM, 0), raw = socket(AF_INET, SOCK_RAW, IPPROTO_UDPLITE);
	uint16_t head[6] = {0};

	MUST(bind(r, (struct sockaddr *)&a, size));
	getsockname(r, (struct sockaddr *)&a, &size);
	T(bind(u, (struct sockaddr *)&a, size));
	T(sendto(u, "udp", 3, 0, (struct sockaddr *)&a, size));
	T(came(u));
	T(came(r));
	if (raw < 0)
		return; /* no right to: the same natively */
	head[1] = ((struct sockaddr_in *)&a)->sin_port;
	head[3] = 0; /* no checksum: not allowed */
	T(sendto(raw, head, 12, 0, (struct sockaddr *)&a, size));
	T(came(r));
	head[3] = 0x1234;
	T(sendto(raw, head, 12, 0, (struct sockaddr *)&a, size));
	T(came(r));
	head[2] = htons(7); /* less than the header is covered */
	T(sendto(raw, head, 12, 0, (struct sockaddr *)&a, size));
	T(came(r));
	T(sendto(raw, head, 5, 0, (struct sockaddr *)&a, size));
	T(came(r));
	close(raw);
}

int main(void)
{
	options();
	coverage(AF_INET);
	coverage(AF_INET6);
	wire();
	return 0;
}
