/* For tests of links between stacks: stacks that share one clock, whose timers run when the test says so. */
#pragma once

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <string.h>

#include "net/stack/bridge.h"
#include "net/stack/tcp_priv.h"
#include "net/stack/veth.h"
#include "sentry/base/slab.h"
#include "tests/unit/unit.h"

#define IS(call, want) ck_assert_int_eq((call), (want))
#define MUST(cond)                                                                                                     \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			ck_abort_msg("%s", #cond);                                                                     \
	} while (0)
/* One call inside of a stack. */
#define DO(s, call)                                                                                                    \
	({                                                                                                             \
		stack_enter(s);                                                                                        \
		__typeof__(call) do_r_ = (call);                                                                       \
		stack_leave(s);                                                                                        \
		do_r_;                                                                                                 \
	})

static _Atomic int64_t clock_ns __attribute__((unused)) = 1000 * 1000000000ll;
static _Atomic uint64_t random_state __attribute__((unused)) = 1;
static _Atomic int released __attribute__((unused));

static inline int64_t env_now(void *arg __unused)
{
	return clock_ns;
}

static inline void env_random(void *arg __unused, void *to, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t z = __atomic_add_fetch((uint64_t *)&random_state, 0x9e3779b97f4a7c15, __ATOMIC_RELAXED);

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
		((uint8_t *)to)[i] = (uint8_t)(z >> 40);
	}
}

static inline void env_wake_at(void *arg __unused, int64_t deadline __unused)
{
}

static inline void env_release(void *arg __unused)
{
	released++;
}

static inline struct stack *make_stack(uint64_t id)
{
	struct stack_env env = {env_now, env_random, env_wake_at, NULL, env_release};
	struct stack *s = stack_create(&env);

	ck_assert_ptr_nonnull(s);
	stack_set_id(s, id);
	return s;
}

static inline void pass(int64_t ms, struct stack **all, unsigned n)
{
	for (int64_t i = 0; i < ms; i += 10) {
		clock_ns += 10000000;
		for (unsigned k = 0; k < n; k++)
			stack_run(all[k]);
	}
}

static inline struct netdev *dev_of(struct stack *s, const char *name)
{
	return DO(s, netdev_by_name(s, name));
}

static inline void up(struct stack *s, const char *name, bool on)
{
	stack_enter(s);
	IS(netdev_set_flags(s, netdev_by_name(s, name), on ? IFF_UP : 0, IFF_UP), 0);
	stack_leave(s);
}

static inline unsigned flags(struct stack *s, const char *name)
{
	struct netdev *d;
	unsigned f;

	stack_enter(s);
	d = netdev_by_name(s, name);
	f = d ? d->flags : 0;
	stack_leave(s);
	return f;
}

static inline void cable(struct stack *a, const char *na, struct stack *b, const char *nb)
{
	struct netdev_config ca = {.name = na, .mtu = 1500}, cb = {.name = nb, .mtu = 1500};

	IS(veth_create(a, &ca, b, &cb, NULL, NULL), 0);
}

static inline struct in6_addr ip(const char *text)
{
	struct in6_addr a = {.s6_addr = {[10] = 0xff, 0xff}};

	inet_pton(AF_INET, text, a.s6_addr + 12);
	return a;
}

static inline void address(struct stack *s, const char *name, const char *addr)
{
	struct addr_config c = {.addr = ip(addr), .plen = 96 + 24, .valid = INT64_MAX, .preferred = INT64_MAX};

	stack_enter(s);
	IS(netdev_add_addr(s, netdev_by_name(s, name), &c), 0);
	stack_leave(s);
}

/* An Ethernet frame of no known type, with a number in it. */
static inline struct pkt *frame(uint8_t to, uint8_t from, uint8_t n, size_t size)
{
	uint8_t bytes[2000] = {2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5, n};

	if (to == 255)
		memset(bytes, 255, 6);
	return pkt_from(bytes, size);
}

/* Sends it out of an interface: 0 or -errno. */
static inline int emit(struct stack *s, const char *name, struct pkt *p)
{
	struct netdev *d;
	int err = -ENODEV;

	stack_enter(s);
	d = netdev_by_name(s, name);
	if (d)
		err = netdev_transmit(s, d, p);
	else
		pkt_free(p);
	stack_leave(s);
	return err;
}

/* What an interface receives of those frames. */
struct ear {
	struct netdev_tap tap;
	unsigned count;
	uint8_t last;
};

static inline void hear(struct stack *s __unused, struct netdev_tap *t, struct netdev *dev __unused,
			const struct pkt *p, bool out)
{
	struct ear *e = container_of(t, struct ear, tap);
	uint8_t head[15];

	if (out || !pkt_copy(p, 0, head, sizeof(head)) || head[12] != 0x88 || head[13] != 0xb5)
		return;
	e->count++;
	e->last = head[14];
}

static inline void listen_at(struct stack *s, const char *name, struct ear *e)
{
	*e = (struct ear){.tap = {.see = hear}};
	list_init(&e->tap.link);
	stack_enter(s);
	netdev_tap_add(netdev_by_name(s, name), &e->tap);
	stack_leave(s);
}
