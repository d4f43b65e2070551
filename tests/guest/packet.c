/* Packet sockets, and classic BPF filters on these and other sockets. */
#include "packet.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <net/if_arp.h>
#include <netinet/tcp.h>
#include <sys/un.h>

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

int main(void)
{
	packet_begin();
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
	fanout();
	in_proc();
	return 0;
}
