/*
 * Packet sockets and their rings, and classic BPF filters on these and other sockets. On lo, of a network namespace of its own where there are any: others may be at it,
 * too.
 */
#include "guest.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

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

static struct sockaddr_ll at(int dev, int type)
{
	return (struct sockaddr_ll){
	    .sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)type), .sll_ifindex = dev, .sll_halen = 6};
}

static long bind_to(int s, int dev, int type)
{
	struct sockaddr_ll a = at(dev, type);

	return bind(s, (struct sockaddr *)&a, sizeof(a));
}

static long filter(int s, const struct sock_filter *f, size_t count)
{
	struct sock_fprog p = {(unsigned short)count, (struct sock_filter *)f};

	return setsockopt(s, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof(p));
}

/* Bound to lo; one for all types sees ours only. */
static int opened(int kind, int type)
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
static void make_frame(unsigned char *to, unsigned char mac, unsigned char first)
{
	memset(to, 0, ETH_HLEN);
	to[0] = mac;
	to[12] = TYPE >> 8;
	to[13] = TYPE & 0xff;
	for (int i = ETH_HLEN; i < FRAME; i++)
		to[i] = (unsigned char)(first + i - ETH_HLEN);
}

static long send_frame(unsigned char mac, unsigned char first)
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

static bool waits(int s, int ms)
{
	struct pollfd p = {s, POLLIN, 0};

	return poll(&p, 1, ms) == 1 && p.revents & POLLIN;
}

/* What has come: the name, how much, and what. */
static void show(int s, const char *what)
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

static void names(void)
{
	struct sockaddr_storage a;
	struct sockaddr_ll *ll = (void *)&a;
	int s = MUST(socket(AF_PACKET, SOCK_RAW, 0));
	socklen_t len = sizeof(a);

	T(socket(AF_PACKET, SOCK_STREAM, 0));
	T(socket(AF_PACKET, SOCK_SEQPACKET, 0));
	T(getsockname(s, (void *)&a, &len));
	SAY("len %u dev %d protocol %x halen %d", len, ll->sll_ifindex, ll->sll_protocol, ll->sll_halen);
	T(bind_to(s, lo, TYPE));
	len = sizeof(a);
	T(getsockname(s, (void *)&a, &len));
	SAY("len %u protocol %x hatype %d halen %d", len, ntohs(ll->sll_protocol), ll->sll_hatype, ll->sll_halen);
	T(bind_to(s, lo, 0));
	T(bind_to(s, 987654, TYPE));
	T(bind_to(s, -1, TYPE));
	T(bind(s, (void *)&a, sizeof(struct sockaddr_ll) - 1));
	ll->sll_family = AF_INET;
	T(bind(s, (void *)&a, sizeof(struct sockaddr_ll)));
	T(bind_to(s, 0, TYPE));
	T(getpeername(s, (void *)&a, &len));
	T(connect(s, (void *)&a, sizeof(*ll)));
	T(listen(s, 1));
	T(accept(s, NULL, NULL));
	T(shutdown(s, SHUT_RD));
	T(socketpair(AF_PACKET, SOCK_RAW, 0, (int[2]){0}));
	close(s);
	CHILD
	{
		MUST(setresuid(65534, 65534, 65534));
		T(socket(AF_PACKET, SOCK_RAW, 0));
		T(socket(AF_PACKET, SOCK_STREAM, 0));
	}
}

static void receiving(void)
{
	int all = opened(SOCK_RAW, ETH_P_ALL), one = opened(SOCK_RAW, TYPE), cooked = opened(SOCK_DGRAM, TYPE);
	int quiet = opened(SOCK_DGRAM, ETH_P_ALL), other = opened(SOCK_RAW, TYPE + 1), n = -1;
	unsigned char buf[FRAME];
	struct iovec v = {buf, 10};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

	MUST(setsockopt(quiet, SOL_PACKET, PACKET_IGNORE_OUTGOING, &(int){1}, sizeof(int)));
	T(send_frame(0, 1));
	HOLDS(waits(all, 1000) && waits(one, 1000) && waits(cooked, 1000));
	show(all, "all, out");
	show(all, "all, in");
	show(all, "all");
	show(one, "one");
	show(one, "one");
	show(cooked, "cooked");
	show(quiet, "without what goes out");
	show(quiet, "without what goes out");
	show(other, "another type");
	T(send_frame(2, 1));
	show(one, "to another host");
	T(send_frame(3, 1));
	show(one, "to a group");
	T(send_frame(0xff, 1));
	show(one, "to a group");
	while (recv(all, buf, 1, MSG_DONTWAIT) >= 0 || recv(cooked, buf, 1, MSG_DONTWAIT) >= 0)
		;
	send_frame(0, 9);
	T0(ioctl(one, FIONREAD, &n));
	SAY("first: %d", n);
	T(recv(one, buf, 20, MSG_PEEK));
	T(recv(one, buf, 20, MSG_PEEK | MSG_TRUNC));
	T(recvmsg(one, &m, 0));
	SAY("flags %#x name %u", m.msg_flags, m.msg_namelen);
	T(recv(one, buf, 20, MSG_DONTWAIT));
	T(recv(one, buf, 20, MSG_DONTWAIT | MSG_WAITALL));
	T(recv(one, buf, 20, MSG_DONTWAIT | MSG_OOB));
	T(recv(one, buf, 20, MSG_DONTWAIT | MSG_ERRQUEUE));
	close(all);
	close(one);
	close(cooked);
	close(quiet);
	close(other);
}

static void sending(void)
{
	int raw = opened(SOCK_RAW, TYPE), cooked = opened(SOCK_DGRAM, TYPE),
	    free = MUST(socket(AF_PACKET, SOCK_RAW, 0));
	static unsigned char big[70000];
	struct sockaddr_ll a = at(lo, TYPE);

	make_frame(big, 0, 1);
	T(send(free, big, FRAME, 0));
	T(sendto(free, big, FRAME, 0, (void *)&a, sizeof(a)));
	show(raw, "raw");
	show(cooked, "cooked");
	T(sendto(free, big, FRAME, 0, (void *)&a, sizeof(a) - 1));
	a.sll_halen = 8;
	T(sendto(free, big, FRAME, 0, (void *)&a, sizeof(a)));
	a.sll_halen = 200;
	T(sendto(free, big, FRAME, 0, (void *)&a, sizeof(a)));
	a = at(987654, TYPE);
	T(sendto(free, big, FRAME, 0, (void *)&a, sizeof(a)));
	a = at(lo, TYPE);
	while (recv(raw, big + FRAME, 1, MSG_DONTWAIT) >= 0 || recv(cooked, big + FRAME, 1, MSG_DONTWAIT) >= 0)
		;
	T(send(raw, big, sizeof(big), 0));
	T(send(cooked, big, 65541, 0));
	T(send(cooked, BAD, 20, 0));
	a.sll_addr[0] = 2;
	T(sendto(cooked, big, 30, 0, (void *)&a, sizeof(a)));
	show(raw, "raw");
	a.sll_protocol = htons(TYPE + 1);
	T(sendto(cooked, big, 30, 0, (void *)&a, sizeof(a)));
	show(raw, "of another type");
	T(send(raw, big, ETH_HLEN, 0));
	show(cooked, "an empty one");
	close(raw);
	close(cooked);
	close(free);
}

static long flag(int s, int name, int v)
{
	return setsockopt(s, SOL_PACKET, name, &v, sizeof(v));
}

static long get(int s, int name, int v)
{
	socklen_t len = sizeof(v);

	return getsockopt(s, SOL_PACKET, name, &v, &len) ? -errno : v;
}

static void options(void)
{
	int raw = opened(SOCK_RAW, TYPE), cooked = opened(SOCK_DGRAM, TYPE);
	struct packet_mreq r = {.mr_ifindex = lo, .mr_type = PACKET_MR_PROMISC};
	struct tpacket_stats st = {0};
	socklen_t len = sizeof(st);

	T(flag(raw, PACKET_AUXDATA, 5));
	T(get(raw, PACKET_AUXDATA, 0));
	T(setsockopt(raw, SOL_PACKET, PACKET_AUXDATA, &(char){1}, 1));
	T(flag(raw, PACKET_ORIGDEV, 1));
	T(get(raw, PACKET_ORIGDEV, 0));
	T(flag(cooked, PACKET_VNET_HDR, 1));
	T(flag(raw, PACKET_IGNORE_OUTGOING, 2));
	T(get(raw, PACKET_VERSION, 0));
	T(flag(raw, PACKET_VERSION, 3));
	T(flag(raw, PACKET_VERSION, TPACKET_V3));
	T(get(raw, PACKET_HDRLEN, TPACKET_V1));
	T(get(raw, PACKET_HDRLEN, TPACKET_V2));
	T(get(raw, PACKET_HDRLEN, TPACKET_V3));
	T(get(raw, PACKET_HDRLEN, 7));
	T(flag(raw, PACKET_RESERVE, -1));
	T(flag(raw, PACKET_RESERVE, 4));
	T(get(raw, PACKET_RESERVE, 0));
	T(flag(raw, 99, 0));
	T(get(raw, 99, 0));
	T(get(raw, PACKET_COPY_THRESH, 0));
	T(getsockopt(raw, SOL_IP, 1, &st, &len));
	T(setsockopt(raw, SOL_IP, 1, &len, sizeof(len)));
	T(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &r, sizeof(r)));
	T(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &r, sizeof(r)));
	T(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &r, sizeof(r) - 1));
	T(setsockopt(raw, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &r, sizeof(r)));
	T(setsockopt(raw, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &r, sizeof(r)));
	T(setsockopt(raw, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &r, sizeof(r)));
	r.mr_type = PACKET_MR_MULTICAST;
	T(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &r, sizeof(r)));
	r.mr_alen = 6;
	T(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &r, sizeof(r)));
	r.mr_alen = 7;
	T(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &r, sizeof(r)));
	r.mr_ifindex = 987654;
	T(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &r, sizeof(r)));
	T(send_frame(0, 1));
	T0(getsockopt(raw, SOL_PACKET, PACKET_STATISTICS, &st, &len));
	SAY("%u packets, %u lost, len %u", st.tp_packets, st.tp_drops, len);
	len = sizeof(st);
	T0(getsockopt(cooked, SOL_PACKET, PACKET_STATISTICS, &st, &len));
	SAY("%u packets, %u lost, len %u", st.tp_packets, st.tp_drops, len);
	T0(getsockopt(cooked, SOL_PACKET, PACKET_STATISTICS, &st, &len));
	SAY("%u packets, %u lost, len %u", st.tp_packets, st.tp_drops, len);
	close(raw);
	close(cooked);
}

static void control(void)
{
	int s = opened(SOCK_RAW, TYPE), on = 1;
	unsigned char buf[FRAME];
	char room[256];
	struct iovec v = {buf, 20};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
	struct timeval tv;

	T(ioctl(s, SIOCGSTAMP, &tv));
	MUST(setsockopt(s, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)));
	MUST(setsockopt(s, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof(on)));
	send_frame(0, 1);
	T(recvmsg(s, &m, 0));
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		struct tpacket_auxdata aux;

		SAY("level %d type %d len %zu", h->cmsg_level, h->cmsg_type, h->cmsg_len);
		if (h->cmsg_level != SOL_PACKET)
			continue;
		memcpy(&aux, CMSG_DATA(h), sizeof(aux));
		SAY("status %#x len %u snap %u mac %u net %u", aux.tp_status, aux.tp_len, aux.tp_snaplen, aux.tp_mac,
		    aux.tp_net);
	}
	T(ioctl(s, SIOCGSTAMP, &tv));
	MUST(setsockopt(s, SOL_SOCKET, SO_TIMESTAMP, &(int){0}, sizeof(int)));
	send_frame(0, 1);
	T(recv(s, buf, sizeof(buf), 0));
	T(ioctl(s, SIOCGSTAMP, &tv));
	HOLDS(time(NULL) - tv.tv_sec < 5);
	close(s);
}

static void bounds(void)
{
	int s = opened(SOCK_RAW, TYPE), n = 0, small = 1;
	struct tpacket_stats st;
	socklen_t len = sizeof(st);
	char byte;

	MUST(setsockopt(s, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	for (int i = 0; i < 500; i++)
		send_frame(0, 1);
	while (recv(s, &byte, 1, MSG_DONTWAIT) >= 0)
		n++;
	MUST(getsockopt(s, SOL_PACKET, PACKET_STATISTICS, &st, &len));
	HOLDS(n > 0 && n < 100);
	HOLDS(st.tp_packets == 500 && (int)st.tp_drops == 500 - n);
	close(s);
}

static void virtio(void)
{
	int s = opened(SOCK_RAW, TYPE);
	unsigned char buf[100] = {0};
	struct virtio_net_hdr h = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 20, .csum_offset = 2};

	T(flag(s, PACKET_VNET_HDR, 1));
	T(get(s, PACKET_VNET_HDR, 0));
	T(send(s, buf, 9, 0));
	memcpy(buf, &h, sizeof(h));
	make_frame(buf + sizeof(h), 0, 1);
	T(send(s, buf, sizeof(h) + FRAME, 0));
	T(recv(s, buf, 5, MSG_DONTWAIT));
	memcpy(buf, &h, sizeof(h));
	make_frame(buf + sizeof(h), 0, 1);
	T(send(s, buf, sizeof(h) + FRAME, 0));
	T(recv(s, buf, sizeof(buf), MSG_DONTWAIT));
	h.csum_start = 300;
	memcpy(buf, &h, sizeof(h));
	T(send(s, buf, sizeof(h) + FRAME, 0));
	close(s);
}

/* ---- filters ---- */

static void try_filter(int s, const char *what, const struct sock_filter *f, size_t count)
{
	MUST(filter(s, f, count));
	while (recv(s, (char[1]){0}, 1, MSG_DONTWAIT) >= 0)
		;
	send_frame(0, 0x10);
	show(s, what);
}

#define TRY(s, what, ...)                                                                                              \
	do {                                                                                                           \
		struct sock_filter f_[] = {__VA_ARGS__};                                                               \
		try_filter(s, what, f_, COUNT(f_));                                                                    \
	} while (0)
#define RETA S(BPF_RET | BPF_A, 0)
/* The value as a length: what cannot be one is nothing. */
#define LENGTH(what, ...) TRY(s, what, __VA_ARGS__, RETA)

static void filters(void)
{
	struct sock_filter bad[] = {S(BPF_JMP | BPF_JA, 5), S(BPF_RET | BPF_K, 0)}, back[8],
			   good[] = {S(BPF_RET | BPF_K, 30)};
	int s = opened(SOCK_RAW, TYPE), c = opened(SOCK_DGRAM, TYPE);
	socklen_t len;

	TRY(s, "nothing", S(BPF_RET | BPF_K, 0));
	TRY(s, "a part", S(BPF_RET | BPF_K, 20));
	TRY(s, "more than there is", S(BPF_RET | BPF_K, 2000));
	LENGTH("a byte of the payload", S(BPF_LD | BPF_B | BPF_ABS, ETH_HLEN));
	LENGTH("from the network header on", S(BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_NET_OFF + 1)));
	LENGTH("from the link header on", S(BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_LL_OFF + 15)));
	LENGTH("by X", S(BPF_LDX | BPF_IMM, 10), S(BPF_LD | BPF_B | BPF_IND, 10));
	LENGTH("beyond", S(BPF_LD | BPF_B | BPF_ABS, 2000));
	LENGTH("the length", S(BPF_LD | BPF_W | BPF_LEN, 0));
	LENGTH("the protocol", S(BPF_LD | BPF_W | BPF_ABS, AD(SKF_AD_PROTOCOL)), S(BPF_ALU | BPF_RSH | BPF_K, 10));
	LENGTH("the type", S(BPF_LD | BPF_W | BPF_ABS, AD(SKF_AD_PKTTYPE)), S(BPF_ALU | BPF_ADD | BPF_K, 21));
	LENGTH("hatype", S(BPF_LD | BPF_W | BPF_ABS, AD(SKF_AD_HATYPE)), S(BPF_ALU | BPF_RSH | BPF_K, 5));
	LENGTH("VLAN", S(BPF_LD | BPF_W | BPF_ABS, AD(SKF_AD_VLAN_TAG_PRESENT)), S(BPF_ALU | BPF_ADD | BPF_K, 22));
	LENGTH("XOR", S(BPF_LD | BPF_IMM, 5), S(BPF_LDX | BPF_IMM, 18),
	       S(BPF_LD | BPF_W | BPF_ABS, AD(SKF_AD_ALU_XOR_X)));
	LENGTH("division by 0", S(BPF_LDX | BPF_IMM, 0), S(BPF_ALU | BPF_DIV | BPF_X, 0));
	TRY(c, "cooked: a byte of the payload", S(BPF_LD | BPF_B | BPF_ABS, 0), RETA);
	TRY(c, "cooked: from the link header on", S(BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_LL_OFF + 13)),
	    S(BPF_ALU | BPF_RSH | BPF_K, 3), RETA);
	T(filter(s, bad, COUNT(bad)));
	T(filter(s, bad, 0));
	T(filter(s, NULL, 1));
	T(filter(s, BAD, 1));
	T(filter(s, good, 5000));
	T(setsockopt(s, SOL_SOCKET, SO_ATTACH_FILTER, good, 8));
	T(setsockopt(s, SOL_SOCKET, SO_ATTACH_BPF, &s, sizeof(s)));
	T(setsockopt(s, SOL_SOCKET, SO_ATTACH_BPF, &(int){-1}, sizeof(int)));
	T(filter(s, good, 1));
	len = 0;
	T(getsockopt(s, SOL_SOCKET, SO_GET_FILTER, back, &len));
	SAY("%u", len);
	len = 8;
	T(getsockopt(s, SOL_SOCKET, SO_GET_FILTER, back, &len));
	HOLDS(len == 1 && memcmp(back, good, sizeof(good)) == 0);
	T(setsockopt(s, SOL_SOCKET, SO_DETACH_FILTER, &(int){0}, sizeof(int)));
	T(setsockopt(s, SOL_SOCKET, SO_DETACH_FILTER, &(int){0}, sizeof(int)));
	T(setsockopt(s, SOL_SOCKET, SO_DETACH_FILTER, NULL, 0));
	len = 8;
	T(getsockopt(s, SOL_SOCKET, SO_GET_FILTER, back, &len));
	SAY("%u", len);
	T(setsockopt(s, SOL_SOCKET, SO_LOCK_FILTER, &(int){1}, sizeof(int)));
	T(setsockopt(s, SOL_SOCKET, SO_LOCK_FILTER, &(int){0}, sizeof(int)));
	T(filter(s, good, 1));
	T(setsockopt(s, SOL_SOCKET, SO_DETACH_FILTER, &(int){0}, sizeof(int)));
	close(s);
	close(c);
}

static void of_udp(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	/* The port is where the header is; of the payload 3 bytes are kept. */
	struct sock_filter f[] = {S(BPF_LD | BPF_B | BPF_ABS, 8), J(BPF_JMP | BPF_JEQ | BPF_K, 'a', 0, 1),
				  S(BPF_RET | BPF_K, 11),         J(BPF_JMP | BPF_JEQ | BPF_K, 'b', 0, 1),
				  S(BPF_RET | BPF_K, 1),          S(BPF_RET | BPF_K, 0)};
	struct sock_filter net[] = {S(BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_NET_OFF + 9)),
				    S(BPF_ALU | BPF_SUB | BPF_K, 5), RETA};
	int s = MUST(socket(AF_INET, SOCK_DGRAM, 0)), t = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	char buf[20];

	MUST(bind(s, (void *)&a, sizeof(a)));
	MUST(getsockname(s, (void *)&a, &(socklen_t){sizeof(a)}));
	MUST(connect(t, (void *)&a, sizeof(a)));
	T(filter(s, f, COUNT(f)));
	T(send(t, "axxxx", 5, 0));
	T(recv(s, buf, sizeof(buf), MSG_DONTWAIT));
	T(send(t, "bxxxx", 5, 0));
	T(recv(s, buf, sizeof(buf), MSG_DONTWAIT));
	T(send(t, "cxxxx", 5, 0));
	T(recv(s, buf, sizeof(buf), MSG_DONTWAIT));
	T(send(t, "", 0, 0));
	T(recv(s, buf, sizeof(buf), MSG_DONTWAIT));
	T(filter(s, net, COUNT(net)));
	T(send(t, "axxxxxxxx", 9, 0));
	T(recv(s, buf, sizeof(buf), MSG_DONTWAIT));
	close(s);
	close(t);
}

static void of_unix(void)
{
	struct sock_filter f[] = {S(BPF_LD | BPF_B | BPF_ABS, 0), J(BPF_JMP | BPF_JEQ | BPF_K, 'a', 0, 1),
				  S(BPF_RET | BPF_K, 3), S(BPF_RET | BPF_K, 0)};
	char buf[20];
	int p[2];

	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
	T(filter(p[0], f, COUNT(f)));
	T(send(p[1], "axxxx", 5, 0));
	T(recv(p[0], buf, sizeof(buf), MSG_DONTWAIT));
	T(send(p[1], "bxxxx", 5, 0));
	T(recv(p[0], buf, sizeof(buf), MSG_DONTWAIT));
	close(p[0]);
	close(p[1]);
}

/* The answer to a request for an interface that is not there: an error, if the filter lets it through. */
static void of_netlink(void)
{
	struct sock_filter no_errors[] = {S(BPF_LD | BPF_B | BPF_ABS, 4),
					  J(BPF_JMP | BPF_JEQ | BPF_K, NLMSG_ERROR, 0, 1), S(BPF_RET | BPF_K, 0),
					  S(BPF_RET | BPF_K, UINT32_MAX)};
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} q = {{sizeof(q), RTM_GETLINK, NLM_F_REQUEST, 1, 0}, {.ifi_index = 987654}};
	int s = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	char buf[4096];

	T(send(s, &q, sizeof(q), 0));
	HOLDS(recv(s, buf, sizeof(buf), MSG_DONTWAIT) > 0);
	T(filter(s, no_errors, COUNT(no_errors)));
	T(send(s, &q, sizeof(q), 0));
	T(recv(s, buf, sizeof(buf), MSG_DONTWAIT));
	q.i.ifi_index = lo;
	T(send(s, &q, sizeof(q), 0));
	HOLDS(recv(s, buf, sizeof(buf), MSG_DONTWAIT) > 0);
	close(s);
}

static void of_tcp(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sock_filter none[] = {S(BPF_RET | BPF_K, 0)}, all[] = {S(BPF_RET | BPF_K, UINT32_MAX)}, back[4];
	int l = MUST(socket(AF_INET, SOCK_STREAM, 0)), s = MUST(socket(AF_INET, SOCK_STREAM, 0)), t;
	socklen_t len = 4;

	MUST(bind(l, (void *)&a, sizeof(a)));
	MUST(listen(l, 4));
	MUST(getsockname(l, (void *)&a, &(socklen_t){sizeof(a)}));
	T(filter(l, all, COUNT(all)));
	T(connect(s, (void *)&a, sizeof(a)));
	t = MUST(accept(l, NULL, NULL));
	T(getsockopt(t, SOL_SOCKET, SO_GET_FILTER, back, &len));
	SAY("%u", len);
	T(filter(t, none, COUNT(none)));
	T(send(s, "x", 1, 0));
	HOLDS(!waits(t, 100));
	T(setsockopt(t, SOL_SOCKET, SO_DETACH_FILTER, &(int){0}, sizeof(int)));
	HOLDS(waits(t, 5000));
	close(s);
	close(t);
	/* A listener that hears nothing. */
	T(filter(l, none, COUNT(none)));
	s = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	T(connect(s, (void *)&a, sizeof(a)));
	HOLDS(!waits(l, 100));
	close(s);
	close(l);
}

/* ---- rings ---- */

struct ring {
	int s, version;
	struct tpacket_req3 q;
	unsigned char *at;
	size_t size;
};

static long set_ring(int s, int version, const struct tpacket_req3 *q)
{
	return setsockopt(s, SOL_PACKET, PACKET_RX_RING, q,
			  version == TPACKET_V3 ? sizeof(*q) : sizeof(struct tpacket_req));
}

static void ring_open(struct ring *r, int version, int type)
{
	r->s = opened(SOCK_RAW, type);
	r->version = version;
	r->q = (struct tpacket_req3){4096, 4, 1024, 16, 0, 0, 0};
	if (version == TPACKET_V3)
		r->q.tp_retire_blk_tov = 20;
	MUST(flag(r->s, PACKET_VERSION, version));
	MUST(set_ring(r->s, version, &r->q));
	r->size = (size_t)r->q.tp_block_size * r->q.tp_block_nr;
	r->at = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, r->s, 0);
	if (r->at == MAP_FAILED)
		SAY("mmap: %s", strerrorname_np(errno));
}

static void ring_close(struct ring *r)
{
	munmap(r->at, r->size);
	close(r->s);
}

static void requests(int version)
{
	struct tpacket_req3 good = {4096, 4, 1024, 16, 0, 0, 0}, q;
	int s = opened(SOCK_RAW, TYPE);
	char *p, *half;

	SAY("version %d", version);
	MUST(flag(s, PACKET_VERSION, version));
#define TRY_RING(what, change)                                                                                         \
	q = good;                                                                                                      \
	change;                                                                                                        \
	TN(what, set_ring(s, version, &q))
	TRY_RING("block not of pages", q.tp_block_size = 4000);
	TRY_RING("no block", q.tp_block_size = 0);
	TRY_RING("a frame that is too small", q.tp_frame_size = 32);
	TRY_RING("a crooked frame", q.tp_frame_size = 1000);
	TRY_RING("a frame larger than a block", q.tp_frame_size = 8192);
	TRY_RING("too few frames", q.tp_frame_nr = 15);
	TRY_RING("frames without blocks", q.tp_block_nr = 0);
	TRY_RING("nothing, for nothing", memset(&q, 0, sizeof(q)));
	if (version == TPACKET_V3) {
		TRY_RING("a private area that is too large", q.tp_sizeof_priv = 4096);
	}
	T(setsockopt(s, SOL_PACKET, PACKET_RX_RING, &q, 8));
	T((long)mmap(NULL, 16384, PROT_READ, MAP_SHARED, s, 0));
	TRY_RING("good", (void)0);
	TRY_RING("again", (void)0);
	T(flag(s, PACKET_VERSION, TPACKET_V1));
	T(flag(s, PACKET_RESERVE, 0));
	T((long)mmap(NULL, 8192, PROT_READ, MAP_SHARED, s, 0));
	T((long)mmap(NULL, 16384, PROT_READ, MAP_SHARED, s, 4096));
	p = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, s, 0);
	HOLDS(p != MAP_FAILED);
	TRY_RING("gone while mapped", memset(&q, 0, sizeof(q)));
	half = p + 8192;
	T(munmap(p, 8192));
	TRY_RING("gone while half of it is mapped", memset(&q, 0, sizeof(q)));
	T(munmap(half, 8192));
	TRY_RING("gone", memset(&q, 0, sizeof(q)));
	TRY_RING("another", (void)0);
	close(s);
}

static uint32_t status_of(const struct ring *r, int frame)
{
	unsigned char *p = r->at + 1024 * frame;

	return r->version == TPACKET_V1 ? (uint32_t)((volatile struct tpacket_hdr *)p)->tp_status
					: ((volatile struct tpacket2_hdr *)p)->tp_status;
}

static void give_back(const struct ring *r, int frame)
{
	unsigned char *p = r->at + 1024 * frame;

	if (r->version == TPACKET_V1)
		((volatile struct tpacket_hdr *)p)->tp_status = TP_STATUS_KERNEL;
	else
		((volatile struct tpacket2_hdr *)p)->tp_status = TP_STATUS_KERNEL;
}

static void show_frame(const struct ring *r, int frame)
{
	unsigned char *p = r->at + 1024 * frame;
	struct tpacket_hdr *h1 = (void *)p;
	struct tpacket2_hdr *h2 = (void *)p;
	struct sockaddr_ll *a = (void *)(p + TPACKET_ALIGN(r->version == TPACKET_V1 ? sizeof(*h1) : sizeof(*h2)));
	unsigned mac = r->version == TPACKET_V1 ? h1->tp_mac : h2->tp_mac;

	if (r->version == TPACKET_V1)
		SAY("status %lx len %u snap %u mac %u net %u", h1->tp_status, h1->tp_len, h1->tp_snaplen, h1->tp_mac,
		    h1->tp_net);
	else
		SAY("status %x len %u snap %u mac %u net %u vlan %u", h2->tp_status, h2->tp_len, h2->tp_snaplen,
		    h2->tp_mac, h2->tp_net, h2->tp_vlan_tci);
	SAY("protocol %x type %d hatype %d; %02x%02x %02x %02x", ntohs(a->sll_protocol), a->sll_pkttype, a->sll_hatype,
	    p[mac + 12], p[mac + 13], p[mac + 14], p[mac + 15]);
	HOLDS(llabs(time(NULL) - (r->version == TPACKET_V1 ? h1->tp_sec : h2->tp_sec)) < 5);
}

static void show_stats(int s)
{
	struct tpacket_stats_v3 st = {0};
	socklen_t len = sizeof(st);

	T0(getsockopt(s, SOL_PACKET, PACKET_STATISTICS, &st, &len));
	SAY("%u packets, %u lost, frozen %u, len %u", st.tp_packets, st.tp_drops, st.tp_freeze_q_cnt, len);
}

static void frames(int version)
{
	struct ring r;

	ring_open(&r, version, TYPE);
	HOLDS(!waits(r.s, 0));
	send_frame(0, 7);
	HOLDS(waits(r.s, 1000));
	show_frame(&r, 0);
	T(recv(r.s, (char[1]){0}, 1, MSG_DONTWAIT));
	give_back(&r, 0);
	HOLDS(!waits(r.s, 0));
	for (int i = 0; i < 20; i++)
		send_frame(0, (unsigned char)i);
	SAY("%x %x %x", status_of(&r, 0), status_of(&r, 1), status_of(&r, 15));
	show_stats(r.s);
	give_back(&r, 1);
	give_back(&r, 2);
	for (int i = 0; i < 3; i++)
		send_frame(0, 1);
	SAY("%x %x %x", status_of(&r, 1), status_of(&r, 2), status_of(&r, 3));
	show_stats(r.s);
	ring_close(&r);
}

/* What is too long for a frame. */
static void cut(int thresh)
{
	unsigned char buf[2000] = {0};
	struct ring r;

	ring_open(&r, TPACKET_V2, TYPE);
	MUST(flag(r.s, PACKET_COPY_THRESH, thresh));
	make_frame(buf, 0, 1);
	MUST(send(r.s, buf, 1500, 0));
	show_frame(&r, 0);
	T(recv(r.s, buf, sizeof(buf), MSG_DONTWAIT));
	show_stats(r.s);
	ring_close(&r);
}

static volatile struct tpacket_block_desc *block(const struct ring *r, int n)
{
	return (void *)(r->at + 4096 * n);
}

static void show_block(const struct ring *r, int n)
{
	volatile struct tpacket_block_desc *b = block(r, n);
	unsigned at = b->hdr.bh1.offset_to_first_pkt;

	SAY("status %x packets %u first %u len %u sequence %llu priv %u version %u", b->hdr.bh1.block_status,
	    b->hdr.bh1.num_pkts, at, b->hdr.bh1.blk_len, (unsigned long long)b->hdr.bh1.seq_num, b->offset_to_priv,
	    b->version);
	for (unsigned i = 0; i < b->hdr.bh1.num_pkts && i < 2; i++) {
		struct tpacket3_hdr *h = (void *)((char *)b + at);

		SAY("next %u len %u snap %u mac %u net %u status %x %02x", h->tp_next_offset, h->tp_len, h->tp_snaplen,
		    h->tp_mac, h->tp_net, h->tp_status, ((unsigned char *)h)[h->tp_net]);
		at += h->tp_next_offset;
	}
}

static void blocks(void)
{
	struct ring r;

	ring_open(&r, TPACKET_V3, TYPE);
	HOLDS(!waits(r.s, 50));
	send_frame(0, 7);
	send_frame(0, 8);
	HOLDS(waits(r.s, 2000));
	show_block(&r, 0);
	block(&r, 0)->hdr.bh1.block_status = TP_STATUS_KERNEL;
	HOLDS(!waits(r.s, 50));
	/* 26 fit into a block; the last ones find none. */
	for (int i = 0; i < 130; i++)
		send_frame(0, (unsigned char)i);
	HOLDS(waits(r.s, 2000));
	for (int i = 0; i < 4; i++)
		SAY("block %d: %x %u", i, block(&r, i)->hdr.bh1.block_status & ~TP_STATUS_BLK_TMO,
		    block(&r, i)->hdr.bh1.num_pkts);
	show_stats(r.s);
	for (int i = 0; i < 4; i++)
		block(&r, i)->hdr.bh1.block_status = TP_STATUS_KERNEL;
	send_frame(0, 9);
	HOLDS(waits(r.s, 2000));
	ring_close(&r);
}

/* Whatever is written into a ring harms nobody else. */
static void scribble(int version)
{
	unsigned seed = 1;
	struct ring r;
	pid_t child;

	ring_open(&r, version, TYPE);
	child = fork();
	if (child == 0)
		for (;;)
			for (size_t i = 0; i < r.size; i += 4)
				*(volatile unsigned *)(r.at + i) = seed = seed * 1103515245 + 12345;
	for (int i = 0; i < 2000; i++) {
		send_frame(0, (unsigned char)i);
		if (i % 10 == 0)
			for (size_t j = 0; j < r.size; j += 8)
				*(volatile uint64_t *)(r.at + j) = i % 20 ? 0 : UINT64_MAX;
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	memset(r.at, 0, r.size);
	SAY("version %d survived", version);
	ring_close(&r);
}

/* ---- sending from a ring ---- */

static void tx_put(const struct ring *r, int frame, uint32_t len, uint32_t off)
{
	unsigned char *p = r->at + 1024 * frame;
	struct tpacket_hdr *h1 = (void *)p;
	struct tpacket2_hdr *h2 = (void *)p;
	struct tpacket3_hdr *h3 = (void *)p;
	size_t head = r->version == TPACKET_V1 ? sizeof(*h1) : r->version == TPACKET_V2 ? sizeof(*h2) : sizeof(*h3);

	make_frame(p + TPACKET_ALIGN(head) + off, 0, (unsigned char)(frame + 1));
	if (r->version == TPACKET_V1) {
		h1->tp_len = len;
		h1->tp_mac = (unsigned short)(TPACKET_ALIGN(head) + off);
		h1->tp_status = TP_STATUS_SEND_REQUEST;
	} else if (r->version == TPACKET_V2) {
		h2->tp_len = len;
		h2->tp_mac = (unsigned short)(TPACKET_ALIGN(head) + off);
		h2->tp_status = TP_STATUS_SEND_REQUEST;
	} else {
		h3->tp_len = len;
		h3->tp_mac = (unsigned short)(TPACKET_ALIGN(head) + off);
		h3->tp_status = TP_STATUS_SEND_REQUEST;
	}
}

static uint32_t tx_status(const struct ring *r, int frame)
{
	unsigned char *p = r->at + 1024 * frame;

	sleep_ms(10); /* Linux gives a frame back when it is out */
	return r->version == TPACKET_V3 ? ((volatile struct tpacket3_hdr *)p)->tp_status : status_of(r, frame);
}

static void tx_open(struct ring *r, int version)
{
	r->s = MUST(socket(AF_PACKET, SOCK_RAW, 0));
	MUST(bind_to(r->s, lo, 0));
	r->version = version;
	r->q = (struct tpacket_req3){4096, 2, 1024, 8, 0, 0, 0};
	r->size = 8192;
	MUST(flag(r->s, PACKET_VERSION, version));
}

static void transmitting(int version)
{
	int s = opened(SOCK_RAW, TYPE);
	struct ring r;

	SAY("version %d", version);
	tx_open(&r, version);
	MUST(flag(r.s, PACKET_TX_HAS_OFF, 0));
	if (version == TPACKET_V3) {
		r.q.tp_retire_blk_tov = 10;
		T(setsockopt(r.s, SOL_PACKET, PACKET_TX_RING, &r.q, sizeof(r.q)));
		r.q.tp_retire_blk_tov = 0;
	}
	T(setsockopt(r.s, SOL_PACKET, PACKET_TX_RING, &r.q,
		     version == TPACKET_V3 ? sizeof(r.q) : sizeof(struct tpacket_req)));
	T(setsockopt(r.s, SOL_PACKET, PACKET_TX_RING, &r.q,
		     version == TPACKET_V3 ? sizeof(r.q) : sizeof(struct tpacket_req)));
	T(flag(r.s, PACKET_LOSS, 1));
	r.at = mmap(NULL, r.size, PROT_READ | PROT_WRITE, MAP_SHARED, r.s, 0);
	must(r.at != MAP_FAILED, "map");
	T(send(r.s, NULL, 0, MSG_DONTWAIT));
	for (int i = 0; i < 3; i++)
		tx_put(&r, i, FRAME, 0);
	T(send(r.s, NULL, 0, MSG_DONTWAIT));
	SAY("%x %x", tx_status(&r, 0), tx_status(&r, 2));
	for (int i = 0; i < 4; i++)
		show(s, "sent");
	tx_put(&r, 3, FRAME, 0);
	tx_put(&r, 4, 2000, 0);
	tx_put(&r, 5, FRAME, 0);
	T(send(r.s, NULL, 0, MSG_DONTWAIT));
	SAY("%x %x %x", tx_status(&r, 3), tx_status(&r, 4), tx_status(&r, 5));
	show(s, "sent");
	show(s, "sent");
	tx_put(&r, 4, FRAME, 0);
	T(send(r.s, NULL, 0, MSG_DONTWAIT));
	tx_put(&r, 6, 10, 0);
	T(send(r.s, NULL, 0, MSG_DONTWAIT));
	SAY("%x", tx_status(&r, 6));
	ring_close(&r);
	close(s);
}

static void offsets(void)
{
	int s = opened(SOCK_RAW, TYPE);
	struct ring r;

	tx_open(&r, TPACKET_V2);
	T(flag(r.s, PACKET_TX_HAS_OFF, 1));
	T(flag(r.s, PACKET_LOSS, 1));
	T(set_ring(r.s, TPACKET_V2, &r.q));
	MUST(setsockopt(r.s, SOL_PACKET, PACKET_TX_RING, &r.q, sizeof(struct tpacket_req)));
	/* Both rings in one mapping, the receiving one first. */
	T((long)mmap(NULL, r.size, PROT_READ | PROT_WRITE, MAP_SHARED, r.s, 0));
	r.at = mmap(NULL, 2 * r.size, PROT_READ | PROT_WRITE, MAP_SHARED, r.s, 0);
	must(r.at != MAP_FAILED, "map");
	r.at += r.size;
	tx_put(&r, 0, FRAME, 100);
	tx_put(&r, 1, FRAME, 900);
	((struct tpacket2_hdr *)(r.at + 1024))->tp_mac = 1000;
	tx_put(&r, 2, FRAME, 0);
	((struct tpacket2_hdr *)(r.at + 2048))->tp_mac = 3;
	tx_put(&r, 3, 5000, 0);
	tx_put(&r, 4, FRAME, 8);
	T(send(r.s, NULL, 0, MSG_DONTWAIT) > 0);
	SAY("%x %x %x", tx_status(&r, 0), tx_status(&r, 1), tx_status(&r, 4));
	for (int i = 0; i < 3; i++)
		show(s, "sent");
	r.at -= r.size;
	munmap(r.at, 2 * r.size);
	close(r.s);
	close(s);
}

/* The mapping outlives the descriptor, and a child has it too. */
static void outlives(void)
{
	struct ring r;

	ring_open(&r, TPACKET_V2, TYPE);
	close(r.s);
	send_frame(0, 1);
	SAY("status %x", status_of(&r, 0));
	CHILD
	{
		SAY("status %x", status_of(&r, 0));
	}
	munmap(r.at, r.size);
}

static void fanout(void)
{
	int a = opened(SOCK_RAW, TYPE), b = opened(SOCK_RAW, TYPE), c = MUST(socket(AF_PACKET, SOCK_RAW, 0)),
	    n[2] = {0, 0};
	int id = getpid() & 0xffff, lb = id | PACKET_FANOUT_LB << 16;
	char byte;

	T(flag(a, PACKET_FANOUT, id | 99 << 16));
	T(flag(c, PACKET_FANOUT, lb));
	T(flag(a, PACKET_FANOUT, lb));
	T(flag(a, PACKET_FANOUT, lb));
	T(flag(b, PACKET_FANOUT, id | PACKET_FANOUT_HASH << 16));
	T(flag(b, PACKET_FANOUT, lb));
	HOLDS(get(b, PACKET_FANOUT, 0) == lb);
	T(bind_to(b, lo, TYPE + 1));
	for (int i = 0; i < 40; i++)
		send_frame(0, 1);
	while (recv(a, &byte, 1, MSG_DONTWAIT) >= 0)
		n[0]++;
	while (recv(b, &byte, 1, MSG_DONTWAIT) >= 0)
		n[1]++;
	SAY("%d %d", n[0], n[1]);
	close(a);
	send_frame(0, 1);
	T(recv(b, &byte, 1, MSG_DONTWAIT));
	close(b);
	close(c);
}

static void in_proc(void)
{
	int s = opened(SOCK_DGRAM, TYPE);
	char line[256], want[64];
	struct stat st;
	bool found = false;
	FILE *f = fopen("/proc/net/packet", "r");

	MUST(fstat(s, &st));
	snprintf(want, sizeof(want), " %lu", (unsigned long)st.st_ino);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, want) && strlen(line) > 17) {
			found = true;
			line[strcspn(line, "\n")] = 0;
			*strstr(line, want) = 0;
			SAY("%s", line + 17);
		}
	HOLDS(found);
	fclose(f);
	close(s);
}

static void own_network(void)
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

int main(void)
{
	own_network();
	lo = (int)if_nametoindex("lo");
	if (socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == EPERM)
		skip("packet sockets need CAP_NET_RAW");
	names();
	receiving();
	sending();
	options();
	control();
	bounds();
	virtio();
	filters();
	of_udp();
	of_unix();
	of_netlink();
	of_tcp();
	for (int v = TPACKET_V1; v <= TPACKET_V3; v++)
		requests(v);
	frames(TPACKET_V1);
	frames(TPACKET_V2);
	cut(0);
	cut(1);
	blocks();
	for (int v = TPACKET_V1; v <= TPACKET_V3; v++)
		scribble(v);
	for (int v = TPACKET_V1; v <= TPACKET_V3; v++)
		transmitting(v);
	offsets();
	outlives();
	fanout();
	in_proc();
	return 0;
}
