/* What the tests of packet sockets share: frames on lo, of a network namespace of its own where there are any, since others may be at it, too. */
#pragma once

#include "guest.h"

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define TYPE 0x88b5 /* for experiments */
#define FRAME (ETH_HLEN + 46)

#ifndef PACKET_TX_HAS_OFF
#define PACKET_TX_HAS_OFF 19
#endif
#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif
#define S(code, k) BPF_STMT(code, k)
#define J(code, k, t, f) BPF_JUMP(code, k, t, f)
#define AD(what) ((uint32_t)(SKF_AD_OFF + (what)))

static int lo;

static inline struct sockaddr_ll at(int dev, int type)
{
	return (struct sockaddr_ll){
	    .sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)type), .sll_ifindex = dev, .sll_halen = 6};
}

static inline long bind_to(int s, int dev, int type)
{
	struct sockaddr_ll a = at(dev, type);

	return bind(s, (struct sockaddr *)&a, sizeof(a));
}

static inline long filter(int s, const struct sock_filter *f, size_t count)
{
	struct sock_fprog p = {(unsigned short)count, (struct sock_filter *)f};

	return setsockopt(s, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof(p));
}

/* Bound to lo; one for all types sees ours only. */
static inline int opened(int kind, int type)
{
	struct sock_filter ours[] = {S(BPF_LD | BPF_W | BPF_ABS, AD(SKF_AD_PROTOCOL)),
				     J(BPF_JMP | BPF_JEQ | BPF_K, TYPE, 0, 1), S(BPF_RET | BPF_K, 0x40000),
				     S(BPF_RET | BPF_K, 0)};
	int s = MUST(socket(AF_PACKET, kind, 0));

	if (type == ETH_P_ALL)
		MUST(filter(s, ours, COUNT(ours)));
	MUST(bind_to(s, lo, type));
	return s;
}

/* A frame to that address, whose payload counts up from `first`. */
static inline void make_frame(unsigned char *to, unsigned char mac, unsigned char first)
{
	memset(to, 0, ETH_HLEN);
	to[0] = mac;
	to[12] = TYPE >> 8;
	to[13] = TYPE & 0xff;
	for (int i = ETH_HLEN; i < FRAME; i++)
		to[i] = (unsigned char)(first + i - ETH_HLEN);
}

static inline long send_frame(unsigned char mac, unsigned char first)
{
	static int s = -1;
	unsigned char f[FRAME];

	if (s < 0) {
		s = MUST(socket(AF_PACKET, SOCK_RAW, 0));
		MUST(bind_to(s, lo, 0));
	}
	make_frame(f, mac, first);
	return send(s, f, sizeof(f), 0);
}

static inline bool waits(int s, int ms)
{
	struct pollfd p = {s, POLLIN, 0};

	return poll(&p, 1, ms) == 1 && p.revents & POLLIN;
}

/* What has come: the name, how much, and what. */
static inline void show(int s, const char *what)
{
	unsigned char buf[2048] = {0};
	struct sockaddr_ll a = {0};
	socklen_t len = sizeof(a);
	long n = recvfrom(s, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&a, &len);

	if (n < 0) {
		SAY("%s: %s", what, strerrorname_np(errno));
		return;
	}
	SAY("%s: %ld bytes %02x %02x %02x, protocol %04x type %d hatype %d halen %d len %u, of lo %d", what, n, buf[0],
	    buf[n - 1], n > ETH_HLEN ? buf[ETH_HLEN] : 0, ntohs(a.sll_protocol), a.sll_pkttype, a.sll_hatype,
	    a.sll_halen, len, a.sll_ifindex == lo);
}

static inline long flag(int s, int name, int v)
{
	return setsockopt(s, SOL_PACKET, name, &v, sizeof(v));
}

static inline long get(int s, int name, int v)
{
	socklen_t len = sizeof(v);

	return getsockopt(s, SOL_PACKET, name, &v, &len) ? -errno : v;
}

static inline void own_network(void)
{
	struct ifreq r = {.ifr_name = "lo"};
	int s;

	if (unshare(CLONE_NEWNET))
		return;
	s = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(ioctl(s, SIOCGIFFLAGS, &r));
	r.ifr_flags |= IFF_UP;
	MUST(ioctl(s, SIOCSIFFLAGS, &r));
	close(s);
}

/* First of all. */
static inline void packet_begin(void)
{
	own_network();
	lo = (int)if_nametoindex("lo");
	if (socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == EPERM)
		skip("packet sockets need CAP_NET_RAW");
}
