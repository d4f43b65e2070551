/* An interface over a descriptor, whose other end is here: a pair of sockets that keep messages apart, as TAP devices and packet sockets do. */
#include "net/link/hostlink.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/link/vnet.h"
#include "tests/kernel/netbed.h"
#include "tests/unit/unit.h"

static struct netbed b;
static int peer;
static unsigned link_index;
static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};

static void setup(void) NO_TSA
{
	const struct netdev_config c = {.name = "tap%d", .mtu = 1500, .mac = mac};
	struct addr_config a = {.addr = netbed_addr("10.1.0.1"),
				.peer = netbed_addr("10.1.0.1"),
				.plen = 120,
				.valid = INT64_MAX,
				.preferred = INT64_MAX};
	struct netdev *dev;
	int pair[2];

	ck_assert(netbed_init(&b));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	peer = pair[1];
	ck_assert_int_eq(hostlink_create(b.s, &c, pair[0], &link_index), 0);
	stack_enter(b.s);
	dev = netdev_by_index(b.s, link_index);
	ck_assert_str_eq(dev->name, "tap0");
	ck_assert_int_eq(netdev_add_addr(b.s, dev, &a), 0);
	ck_assert_int_eq(netdev_set_flags(b.s, dev, IFF_UP, IFF_UP), 0);
	stack_leave(b.s);
}

static void teardown(void) NO_TSA
{
	stack_enter(b.s);
	netdev_destroy(b.s, netdev_by_index(b.s, link_index));
	stack_leave(b.s);
}

/* A frame, behind an empty header. */
static bool put(const uint8_t *frame, size_t n)
{
	uint8_t all[4096] = {0};

	memcpy(all + sizeof(struct vnet_head), frame, n);
	return write(peer, all, sizeof(struct vnet_head) + n) > 0;
}

/* The next frame; 0: none within a second. */
static size_t next(uint8_t *frame, size_t room)
{
	struct pollfd p = {.fd = peer, .events = POLLIN};
	uint8_t all[4096];
	ssize_t n = poll(&p, 1, 1000) > 0 ? read(peer, all, sizeof(all)) : 0;

	if (n < (ssize_t)sizeof(struct vnet_head))
		return 0;
	n -= (ssize_t)sizeof(struct vnet_head);
	ck_assert_uint_le((size_t)n, room);
	memcpy(frame, all + sizeof(struct vnet_head), (size_t)n);
	return (size_t)n;
}

/* The next frame of that Ethernet type: group reports and the like come between. */
static size_t next_of(unsigned type, uint8_t *frame, size_t room)
{
	size_t n;

	do
		n = next(frame, room);
	while (n && (unsigned)(frame[12] << 8 | frame[13]) != type);
	return n;
}

START_TEST(answers)
{
	uint8_t f[2048] = {0};

	setup();
	ck_assert(put(f, netbed_arp(f, 1, "10.1.0.2", "10.1.0.1", netbed_peer, true)));
	ck_assert_uint_eq(next_of(0x0806, f, sizeof(f)), 42);
	ck_assert_uint_eq(f[21], 2);
	for (size_t size = 0; size <= 1400; size += 200) {
		struct netbed_packet p = {
		    .src = "10.1.0.2", .dst = "10.1.0.1", .protocol = IPPROTO_ICMP, .type = 8, .size = size};
		size_t n = netbed_frame(&p, f);

		ck_assert(put(f, n));
		ck_assert_uint_eq(next_of(0x0800, f, sizeof(f)), n);
		ck_assert_uint_eq(f[34], 0);
		for (size_t i = 0; i < size; i++)
			ck_assert_uint_eq(f[42 + i], (uint8_t)i);
	}
	teardown();
}
END_TEST

/* The other end does not read for a while: what waited comes then, in order. */
START_TEST(stuck)
{
	struct netbed_packet p = {
	    .src = "10.1.0.2", .dst = "10.1.0.1", .protocol = IPPROTO_ICMP, .type = 8, .size = 1000};
	unsigned sent = 0, came = 0;
	uint8_t f[2048] = {0};

	setup();
	put(f, netbed_arp(f, 1, "10.1.0.2", "10.1.0.1", netbed_peer, true));
	ck_assert_uint_eq(next_of(0x0806, f, sizeof(f)), 42);
	for (int i = 0; i < 2000; i++) {
		p.sport = (uint16_t)(sent + 1);
		if (put(f, netbed_frame(&p, f)))
			sent++;
		else
			usleep(500);
	}
	ck_assert_uint_gt(sent, 500);
	while (came < sent && next_of(0x0800, f, sizeof(f))) {
		came++;
		ck_assert_uint_eq((unsigned)(f[38] << 8 | f[39]), came);
	}
	ck_assert_uint_eq(came, sent);
	teardown();
}
END_TEST

/* Destroyed, it lets go of the descriptor, also while frames wait. */
START_TEST(goes)
{
	struct pollfd p = {.fd = -1, .events = POLLIN};
	uint8_t f[2048] = {0};

	setup();
	p.fd = peer;
	teardown();
	while (next(f, sizeof(f)))
		continue;
	ck_assert_int_eq(poll(&p, 1, 1000), 1);
	ck_assert_int_ne(p.revents & POLLHUP, 0);
}
END_TEST

/* The other end goes: the interface stays, and what is sent is lost. */
START_TEST(peer_goes)
{
	setup();
	close(peer);
	usleep(50000);
	netbed_pass(&b, 10 * NETBED_SECOND);
	teardown();
}
END_TEST

START_TEST(runts)
{
	uint8_t f[2048] = {0};

	setup();
	for (size_t n = 0; n < 60; n++)
		put(f, n);
	ck_assert_int_gt(write(peer, f, 3), 0);
	ck_assert(put(f, netbed_arp(f, 1, "10.1.0.2", "10.1.0.1", netbed_peer, true)));
	ck_assert_uint_eq(next_of(0x0806, f, sizeof(f)), 42);
	teardown();
}
END_TEST

UNIT_MAIN(answers, stuck, goes, peer_goes, runts)
