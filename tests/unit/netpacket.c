/* Packet sockets on the platform for tests: interfaces that go down, come back and go, frames of an Ethernet, memory that runs out at every place. */
#include "tests/unit/ipc.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "net/netstack.h"
#include "net/stack/netdev.h"
#include "net/stack/veth.h"

#define TYPE 0x88b5
#define FRAME 60

static const uint8_t mac_a[6] = {2, 0, 0, 0, 0, 1}, mac_b[6] = {2, 0, 0, 0, 0, 2};
static unsigned end_a, end_b;

static uint64_t at(unsigned dev, uint16_t type)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_ifindex = (int)dev, .sll_halen = 6};
	uint16_t protocol = htons(type);

	memcpy(&a.sll_protocol, &protocol, sizeof(protocol)); /* whose type is sparse's own */
	kernel_poke(init, ARG, &a, sizeof(a));
	return ARG;
}

#define LEN sizeof(struct sockaddr_ll)

static int64_t opened(unsigned dev, uint16_t type)
{
	int64_t s = CALL(socket, AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);

	CALL(bind, s, at(dev, type), LEN);
	return s;
}

static struct netdev *dev_of(unsigned index) REQUIRES(L_NET)
{
	return netdev_by_index(netstack_of(NULL), index);
}

static void set_up(unsigned index, bool up) NO_TSA;
static void set_up(unsigned index, bool up)
{
	struct stack *s = netstack_of(NULL);

	stack_enter(s);
	ck_assert_int_eq(netdev_set_flags(s, dev_of(index), up ? IFF_UP : 0, IFF_UP), 0);
	stack_leave(s);
}

static void destroy(unsigned index) NO_TSA;
static void destroy(unsigned index)
{
	struct stack *s = netstack_of(NULL);

	stack_enter(s);
	netdev_destroy(s, dev_of(index));
	stack_leave(s);
}

/* A pair in the guest's own stack. */
static void begin(void)
{
	const struct netdev_config a = {.name = "a", .mtu = 1500, .mac = mac_a},
				   b = {.name = "b", .mtu = 1500, .mac = mac_b};

	init = kernel_boot();
	ck_assert_int_eq(veth_create(netstack_of(NULL), &a, netstack_of(NULL), &b, &end_a, &end_b), 0);
	set_up(end_a, true);
	set_up(end_b, true);
}

static void poke_frame(const uint8_t *to, size_t size)
{
	uint8_t f[2000] = {[12] = TYPE >> 8, [13] = TYPE & 0xff};

	memcpy(f, to, 6);
	kernel_poke(init, BUF, f, size);
}

static int64_t send_frame(int64_t s, const uint8_t *to, size_t size)
{
	poke_frame(to, size);
	return CALL(write, s, BUF, size);
}

static int error_of(int64_t s)
{
	int v = -1;

	kernel_poke(init, OUT, (uint32_t[1]){4}, 4);
	IS(CALL(getsockopt, s, SOL_SOCKET, SO_ERROR, ARG, OUT), 0);
	kernel_peek(init, ARG, &v, sizeof(v));
	return v;
}

static int type_of(int64_t s)
{
	struct sockaddr_ll a;

	kernel_poke(init, OUT, (uint32_t[1]){sizeof(a)}, 4);
	if (CALL(recvfrom, s, BUF, 2000, 0, ARG, OUT) < 0)
		return -1;
	kernel_peek(init, ARG, &a, sizeof(a));
	return a.sll_pkttype;
}

START_TEST(frames)
{
	static const uint8_t group[6] = {1, 0, 0x5e}, all[6] = {255, 255, 255, 255, 255, 255}, third[6] = {2, 9};
	int64_t a, b;

	begin();
	a = opened(end_a, TYPE);
	b = opened(end_b, TYPE);
	IS(send_frame(a, mac_b, FRAME), FRAME);
	IS(type_of(b), PACKET_HOST);
	IS(type_of(a), -1);
	IS(send_frame(a, third, FRAME), FRAME);
	IS(type_of(b), PACKET_OTHERHOST);
	IS(send_frame(a, group, FRAME), FRAME);
	IS(type_of(b), PACKET_MULTICAST);
	IS(send_frame(a, all, FRAME), FRAME);
	IS(type_of(b), PACKET_BROADCAST);
	IS(send_frame(a, mac_b, 1514), 1514);
	IS(send_frame(a, mac_b, 1515), -EMSGSIZE);
	IS(send_frame(a, mac_b, 13), -EINVAL);
	IS(send_frame(a, mac_b, 14), 14);
	IS(CALL(close, a), 0);
	IS(CALL(close, b), 0);
}
END_TEST

START_TEST(down_and_gone)
{
	struct sockaddr_ll name;
	int64_t s, far;

	begin();
	s = opened(end_a, TYPE);
	far = opened(end_b, 0);
	set_up(end_a, false);
	IS(bits((int)s, POLLIN), POLLERR);
	IS(CALL(read, s, BUF, 100), -ENETDOWN);
	IS(CALL(read, s, BUF, 100), -EAGAIN);
	IS(send_frame(s, mac_b, FRAME), -ENETDOWN);
	IS(error_of(s), 0);
	/* It sees again what comes. */
	set_up(end_a, true);
	IS(send_frame(far, mac_a, FRAME), FRAME);
	IS(type_of(s), PACKET_HOST);
	/* One that is bound to what is down hears of it at once. */
	set_up(end_b, false);
	IS(CALL(bind, far, at(end_b, TYPE), LEN), 0);
	IS(error_of(far), ENETDOWN);
	set_up(end_b, true);
	destroy(end_b); /* and the other end with it */
	IS(error_of(s), ENETDOWN);
	IS(send_frame(s, mac_b, FRAME), -ENXIO);
	kernel_poke(init, OUT, (uint32_t[1]){sizeof(name)}, 4);
	IS(CALL(getsockname, s, ARG, OUT), 0);
	kernel_peek(init, ARG, &name, sizeof(name));
	IS(name.sll_ifindex, -1);
	IS(CALL(bind, s, at(end_a, TYPE), LEN), -ENODEV);
	IS(CALL(bind, s, at(0, TYPE), LEN), 0);
	IS(CALL(close, s), 0);
	IS(CALL(close, far), 0);
}
END_TEST

static unsigned promisc_of(unsigned index) NO_TSA;
static unsigned promisc_of(unsigned index)
{
	struct stack *s = netstack_of(NULL);
	unsigned n;

	stack_enter(s);
	n = dev_of(index)->promisc * 10 + dev_of(index)->allmulti;
	stack_leave(s);
	return n;
}

static int64_t member(int64_t s, int name, uint16_t type)
{
	struct packet_mreq r = {.mr_ifindex = (int)end_a, .mr_type = type};

	kernel_poke(init, ARG, &r, sizeof(r));
	return CALL(setsockopt, s, SOL_PACKET, name, ARG, sizeof(r));
}

START_TEST(memberships)
{
	int64_t s, t;

	begin();
	s = opened(end_a, TYPE);
	t = opened(0, TYPE);
	IS(member(s, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC), 0);
	IS(member(s, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC), 0);
	IS(member(s, PACKET_ADD_MEMBERSHIP, PACKET_MR_ALLMULTI), 0);
	IS(member(t, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC), 0);
	IS(promisc_of(end_a), 21);
	IS(member(s, PACKET_DROP_MEMBERSHIP, PACKET_MR_PROMISC), 0);
	IS(promisc_of(end_a), 21);
	IS(member(s, PACKET_DROP_MEMBERSHIP, PACKET_MR_PROMISC), 0);
	IS(promisc_of(end_a), 11);
	IS(CALL(close, t), 0);
	IS(promisc_of(end_a), 1);
	destroy(end_a);
	IS(CALL(close, s), 0);
	IS(live_in("struct packet_member"), 0);
}
END_TEST

static void with_ring(int64_t s, int name, int version)
{
	struct tpacket_req3 q = {4096, 2, 1024, 8, 0, 0, 0};
	size_t size = version == TPACKET_V3 ? sizeof(q) : sizeof(struct tpacket_req);

	kernel_poke(init, ARG, &version, sizeof(version));
	CALL(setsockopt, s, SOL_PACKET, PACKET_VERSION, ARG, sizeof(version));
	kernel_poke(init, ARG, &q, sizeof(q));
	CALL(setsockopt, s, SOL_PACKET, name, ARG, size);
}

static void act(void)
{
	int64_t a = opened(end_a, 0), b = opened(end_b, ETH_P_ALL), c = opened(0, TYPE);

	send_frame(a, mac_b, FRAME);
	send_frame(a, mac_b, 1500);
	CALL(recvfrom, b, BUF, 2000, MSG_PEEK, 0, 0);
	type_of(b);
	member(b, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC);
	with_ring(b, PACKET_RX_RING, TPACKET_V3);
	with_ring(b, PACKET_TX_RING, TPACKET_V3);
	with_ring(c, PACKET_RX_RING, TPACKET_V1);
	for (int i = 0; i < 20; i++)
		send_frame(a, mac_b, 900);
	kernel_poke(init, ARG, (uint32_t[1]){7 | PACKET_FANOUT_LB << 16}, 4);
	CALL(setsockopt, b, SOL_PACKET, PACKET_FANOUT, ARG, 4);
	send_frame(a, mac_b, FRAME);
	if (a >= 0)
		CALL(close, a);
	if (b >= 0)
		CALL(close, b);
	if (c >= 0)
		CALL(close, c);
}

START_TEST(each_allocation_fails)
{
	static const char *const slabs[] = {"struct packet_sock", "struct packet_msg",    "struct packet_member",
					    "struct packet_ring", "struct packet_memory", "struct packet_fanout",
					    "struct pkt"};

	begin();
	for (unsigned n = 1, left = 0; !left; n++) {
		ck_assert_uint_lt(n, 5000);
		slab_fail_nth(n);
		act();
		left = slab_fail_nth(0);
	}
	act();
	for (size_t i = 0; i < ARRAY_SIZE(slabs); i++)
		ck_assert_msg(live_in(slabs[i]) == 0, "%zu of %s left", live_in(slabs[i]), slabs[i]);
}
END_TEST

UNIT_MAIN(frames, down_and_gone, memberships, each_allocation_fails)
