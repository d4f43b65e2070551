/* The inside of struct stack, for the files of net/stack. All of it is guarded by L_NET. */
#pragma once

#include "net/stack/netdev.h"
#include "net/stack/port.h"
#include "net/stack/rule.h"
#include "net/stack/stack.h"

#define WHEEL_BITS 6
#define WHEEL_SLOTS (1 << WHEEL_BITS)
#define WHEEL_LEVELS 8 /* 48 bits of milliseconds: every deadline in nanoseconds fits */

struct wheel {
	int64_t tick;      /* milliseconds: what was due until then has fired */
	uint32_t occupied; /* levels with timers */
	uint64_t map[WHEEL_LEVELS];
	struct list slot[WHEEL_LEVELS][WHEEL_SLOTS];
};

#define NEIGH_CHAINS 256
#define ROUTE_CHAINS 256
#define PMTU_CHAINS 256
#define FRAG_CHAINS 64
#define RAW_CHAINS 64
#define MIX_WORDS 8
#define PORT_MOVES 64
#define ICMP_BUCKETS 256
#define IDENTS 1024
#define PEERS_MAX 64

struct icmp_bucket {
	bool used;
	uint16_t tokens;
	int64_t since;
};

/* What route_input_type() last said, where there are no rules. */
struct input_type {
	uint64_t generation;
	unsigned dev;
	struct in6_addr dst;
	uint8_t type;
};

/* Whether the last source address that was asked about is one that no packet from outside may have. */
struct source_check {
	uint64_t generation;
	bool known, ours;
	struct in6_addr src;
};

struct tcp_stack;
struct port_page;
struct gateway_ops;

struct stack {
	struct ref ref;
	struct mutex lock; /* L_NET */
	struct stack_env env;
	int64_t now; /* as of the last stack_enter() */
	struct wheel wheel;
	int64_t wake_at;   /* what env.wake_at() was last asked for; INT64_MAX: nothing */
	struct list wakes; /* struct wakeup */
	struct list loop;  /* packets for stack_leave() to deliver */
	unsigned loop_count;
	uint64_t mib[MIB_COUNT];
	struct tcp_stack *tcp;             /* TCP's own */
	uint64_t key[2];                   /* of port_hash() */
	uint64_t mix[MIX_WORDS];           /* of addr_hash() */
	const struct gateway_ops *gateway; /* NULL: it is a host like others */
	void *gateway_arg;
	uint64_t id, peers[PEERS_MAX]; /* of this stack, constant; of those that it has numbers for */
	unsigned peer_count;
	/* netdev.c */
	struct list netdevs; /* in the order of their indices */
	struct list taps;    /* struct netdev_tap: of all interfaces */
	unsigned netdev_count, last_index;
	struct netdev *lo;
	void (*watch)(void *arg, enum stack_event e, bool gone, const void *what);
	void *watch_arg;
	/* route.c, rule.c, ip_route.c */
	uint64_t route_generation;
	struct rules rules;
	uint8_t hash_policy[2]; /* net.ipv4.fib_multipath_hash_policy, ipv6's: 0 by addresses, 1 by ports too */
	struct input_type input_type;
	struct source_check source_check;
	struct list tables;
	unsigned table_count, route_count;
	struct list routes[ROUTE_CHAINS];
	struct list pmtus[PMTU_CHAINS], pmtu_age;
	unsigned pmtu_count;
	/* neigh.c */
	struct list neighs[NEIGH_CHAINS], neigh_lru;
	unsigned neigh_count, neigh_queued;
	/* ip4.c, ip6.c, frag.c, icmp.c */
	bool forward4, forward6; /* net.ipv4.ip_forward, net.ipv6.conf.all.forwarding */
	uint8_t default_ttl;
	uint32_t ident[IDENTS];
	struct list frags[FRAG_CHAINS], frag_age;
	uint32_t frag_memory;
	struct icmp_bucket icmp_all, icmp_dst[ICMP_BUCKETS];
	/* port.c, raw.c */
	struct port_page *ports[PORT_SPACES * 256]; /* by enum port_space, and the port's upper half */
	uint64_t port_used[PORT_SPACES * 65536 / 64];
	uint16_t port_low, port_high;
	uint32_t port_moved[PORT_MOVES];
	struct list raws[RAW_CHAINS]; /* by protocol */
};

/*
 * For tables that whoever sends packets or makes routes must not aim at: a universal hash (multilinear, Lemire and Kaser
 * 2012) of an address and what else the key has, with a secret of the stack's.
 */
static inline uint32_t addr_hash(const struct stack *s, const struct in6_addr *a, uint64_t more)
{
	uint64_t h = s->mix[0];

	for (unsigned i = 0; i < 4; i++)
		h += s->mix[i + 1] * a->s6_addr32[i];
	h += s->mix[5] * (uint32_t)more + s->mix[6] * (uint32_t)(more >> 32);
	return (uint32_t)(h >> 32);
}

void wheel_init(struct wheel *w, int64_t now);
/* Nothing is due before `now`: what is armed next is reckoned from there. */
void wheel_sync(struct wheel *w, int64_t now);
/* When something may be due, in ns; INT64_MAX: nothing is armed. It may be earlier than the earliest deadline. */
int64_t wheel_next(const struct wheel *w);
/* Fires what is due at s->now. */
void wheel_run(struct stack *s) REQUIRES(L_NET);
