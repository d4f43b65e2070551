/* net/stack/bridge.c: learning, flooding, ageing, ports that come and go. */
#include "tests/unit/linknet.h"

#define HOSTS 3

static struct stack *sw, *host[HOSTS];
static struct ear ear[HOSTS], own;
static const char *const ports[] = {"p0", "p1", "p2"};

static int port_add(const char *br, const char *port)
{
	int err;

	stack_enter(sw);
	err = bridge_port_add(sw, netdev_by_name(sw, br), netdev_by_name(sw, port));
	stack_leave(sw);
	return err;
}

static int make_bridge(const char *name)
{
	const struct netdev_config c = {.name = name, .mtu = 1500};
	struct netdev *d;

	return DO(sw, bridge_create(sw, &c, &d));
}

static void make_switch(void)
{
	sw = make_stack(1);
	IS(make_bridge("br0"), 0);
	up(sw, "br0", true);
	for (int i = 0; i < HOSTS; i++) {
		host[i] = make_stack((uint64_t)i + 2);
		cable(sw, ports[i], host[i], "eth0");
		IS(port_add("br0", ports[i]), 0);
		up(sw, ports[i], true);
		up(host[i], "eth0", true);
		listen_at(host[i], "eth0", &ear[i]);
	}
	listen_at(sw, "br0", &own);
}

static void drop_switch(void)
{
	for (int i = 0; i < HOSTS; i++)
		stack_destroy(host[i]);
	stack_destroy(sw);
	IS(released, HOSTS + 1);
}

/* The frame from host i reaches those in the set, bit 3 being the bridge itself. */
static void reaches(int i, struct pkt *p, unsigned set)
{
	unsigned got = 0;

	for (int k = 0; k < HOSTS; k++)
		ear[k].count = 0;
	own.count = 0;
	IS(emit(host[i], "eth0", p), 0);
	for (int k = 0; k < HOSTS; k++)
		got |= ear[k].count ? 1u << k : 0;
	got |= own.count ? 8 : 0;
	IS(got, set);
}

START_TEST(learning)
{
	make_switch();
	IS(!!(flags(sw, "br0") & IFF_RUNNING), 1);
	reaches(0, frame(11, 10, 1, 60), 6); /* unknown: everywhere */
	reaches(1, frame(10, 11, 2, 60), 1); /* learnt */
	reaches(0, frame(11, 10, 3, 60), 2);
	reaches(2, frame(255, 12, 4, 60), 1 | 2 | 8);
	reaches(0, frame(10, 10, 5, 60), 0); /* behind the port that it came by */
	reaches(2, frame(12, 10, 6, 60), 0); /* that address has moved here */
	reaches(0, frame(10, 12, 7, 60), 4);
	/* For the bridge itself. */
	{
		struct pkt *p = frame(0, 13, 8, 60);

		memcpy(p->count ? p->slice[0].buf->data + p->slice[0].off : p->room + p->head, dev_of(sw, "br0")->mac,
		       MAC_LEN);
		reaches(1, p, 8);
	}
	/* A sender that is a group is none. */
	{
		uint8_t bytes[60] = {2, 0, 0, 0, 0, 10, 3, 0, 0, 0, 0, 1, 0x88, 0xb5};

		reaches(1, pkt_from(bytes, sizeof(bytes)), 0);
	}
	drop_switch();
}
END_TEST

static bool count_entry(void *arg, const struct bridge_entry *e __unused)
{
	++*(unsigned *)arg;
	return true;
}

static unsigned entries(void)
{
	unsigned n = 0;

	stack_enter(sw);
	bridge_each(sw, netdev_by_name(sw, "br0"), count_entry, &n);
	stack_leave(sw);
	return n;
}

START_TEST(ageing)
{
	make_switch();
	reaches(0, frame(11, 10, 1, 60), 6);
	clock_ns += 299ll * 1000000000;
	reaches(1, frame(10, 11, 2, 60), 1);
	clock_ns += 2ll * 1000000000;
	reaches(1, frame(10, 11, 3, 60), 5);
	/* More addresses than there is room for. */
	for (unsigned i = 0; i < 10000; i++) {
		uint8_t bytes[60] = {2,          0, 0,    0,   0, 10, 2, 1, (uint8_t)(i >> 16), (uint8_t)(i >> 8),
				     (uint8_t)i, 1, 0x88, 0xb5};

		IS(emit(host[2], "eth0", pkt_from(bytes, sizeof(bytes))), 0);
	}
	IS(entries(), 4096);
	up(sw, "p2", false);
	IS(entries(), 0);
	drop_switch();
}
END_TEST

START_TEST(coming_and_going)
{
	make_switch();
	IS(make_bridge("br1"), 0);
	IS(port_add("br0", "br1"), -ELOOP);
	IS(port_add("br0", "lo"), -EINVAL);
	IS(port_add("br1", "p0"), -EBUSY);
	reaches(0, frame(11, 10, 1, 60), 6);
	stack_enter(sw);
	bridge_port_remove(sw, netdev_by_name(sw, "p1"));
	stack_leave(sw);
	reaches(0, frame(255, 10, 2, 60), 4 | 8);
	reaches(1, frame(255, 11, 2, 60), 0);
	IS(port_add("br1", "p1"), 0);
	up(host[2], "eth0", false); /* no carrier there */
	reaches(0, frame(255, 10, 3, 60), 8);
	up(host[2], "eth0", true);
	reaches(0, frame(255, 10, 4, 60), 4 | 8);
	up(sw, "br0", false);
	reaches(0, frame(255, 10, 5, 60), 0);
	up(sw, "br0", true);
	/* The least MTU; a frame that is too large for a port stays away from it. */
	stack_enter(sw);
	IS(netdev_set_mtu(sw, netdev_by_name(sw, "p2"), 1000), 0);
	IS(netdev_by_name(sw, "br0")->mtu, 1000);
	stack_leave(sw);
	reaches(0, frame(255, 10, 6, 1400), 8);
	/* A host goes, and its port with it. */
	stack_destroy(host[2]);
	ck_assert_ptr_null(dev_of(sw, "p2"));
	stack_enter(sw);
	netdev_destroy(sw, netdev_by_name(sw, "br0"));
	stack_leave(sw);
	ck_assert_ptr_null(dev_of(sw, "p0")->port);
	ck_assert_ptr_nonnull(dev_of(sw, "p1")->port);
	host[2] = make_stack(9);
	stack_destroy(host[0]);
	stack_destroy(host[1]);
	stack_destroy(host[2]);
	stack_destroy(sw);
	IS(released, HOSTS + 2);
}
END_TEST

/* A cable from the bridge to itself: what goes round does not for ever in one call, and ends with the cable. */
START_TEST(loop)
{
	make_switch();
	cable(sw, "l0", sw, "l1");
	IS(port_add("br0", "l0"), 0);
	IS(port_add("br0", "l1"), 0);
	up(sw, "l0", true);
	up(sw, "l1", true);
	IS(emit(host[0], "eth0", frame(255, 10, 1, 60)), 0);
	pass(30, &sw, 1);
	ck_assert_uint_gt(ear[1].count, 1000);
	up(sw, "l0", false);
	pass(50, &sw, 1);
	ear[1].count = 0;
	pass(50, &sw, 1);
	IS(ear[1].count, 0);
	drop_switch();
}
END_TEST

UNIT_MAIN(learning, ageing, coming_and_going, loop)
