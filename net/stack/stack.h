/*
 * The TCP/IP stack of one network namespace.
 *
 * It is a state machine: packets, calls and the time come in, packets and wake-ups go out. It has no thread, reads no
 * clock and asks nobody for random numbers but its env, so that tests run it in-process, and a simulator by a seed.
 *
 * One mutex (L_NET) guards all of it. stack_enter() takes it and reads the clock once; stack_leave() first runs what
 * has been queued meanwhile (packets for the loopback interface: a call to the receiver, not a thread switch, and never
 * deeper than one), then unlocks, then does the wake-ups. Data is copied between guests and buffers outside of it.
 *
 * Addresses are struct in6_addr everywhere, IPv4 in its mapped form; ports and protocol fields in structures are in
 * host order.
 */
#pragma once

#include "net/stack/pkt.h"
#include "sentry/base/lock.h"

struct stack;
struct netdev;

struct stack_env {
	int64_t (*now)(void *arg);                     /* CLOCK_MONOTONIC, ns */
	void (*random)(void *arg, void *to, size_t n); /* unpredictable: ports, sequence numbers, keys */
	void (*wake_at)(void *arg, int64_t deadline);  /* stack_run() then, once; replaces an earlier wish */
	void *arg;
	void (*release)(void *arg); /* the last reference to the stack is gone, its memory goes next; may be absent */
};

/* env is copied. NULL: no memory. With a loopback interface, down, as Linux makes a namespace. */
struct stack *stack_create(const struct stack_env *env);
/*
 * All sockets have been closed. Its interfaces and connections go; it can still be entered, though nothing happens there, by who has a reference from
 * stack_get(). It ends the creator's.
 */
void stack_destroy(struct stack *s);
struct stack *stack_get(struct stack *s);
void stack_put(struct stack *s);
/* For env's, which holds none: false if the last reference is being given up. */
bool __must_check stack_try_get(struct stack *s);
/* env's. */
void *stack_env_arg(struct stack *s);
/* A name for the stack, for others: the namespace's cookie. Set once, before others know it; 0: none. */
void stack_set_id(struct stack *s, uint64_t id);
uint64_t stack_id(const struct stack *s);
/* A small number for another stack, as this one's users see it (nsid); -1: it has none, and there is no room or no wish for one. */
int stack_peer_number(struct stack *s, uint64_t id, bool make) REQUIRES(L_NET);
void stack_enter(struct stack *s) ACQUIRE(L_NET);
void stack_leave(struct stack *s) RELEASE(L_NET);
/* The timers that are due. */
void stack_run(struct stack *s) EXCLUDES(L_NET);
/* The time of this stack_enter(). */
int64_t stack_now(const struct stack *s) REQUIRES(L_NET);
/* From env. */
void stack_random(struct stack *s, void *to, size_t n) REQUIRES(L_NET);
uint32_t stack_random32(struct stack *s) REQUIRES(L_NET);
/* Whether packets for others are passed on: net.ipv4.ip_forward, net.ipv6.conf.all.forwarding. */
bool stack_forwarding(const struct stack *s, bool v6) REQUIRES(L_NET);
void stack_set_forwarding(struct stack *s, bool v6, bool on) REQUIRES(L_NET);
/* Whether flows that may go several ways are told apart by addresses (0) or by ports too (1): net.ipv4.fib_multipath_hash_policy. */
uint8_t stack_hash_policy(const struct stack *s, bool v6) REQUIRES(L_NET);
void stack_set_hash_policy(struct stack *s, bool v6, uint8_t policy) REQUIRES(L_NET);
/*
 * Takes p, whose head is an IP header, for the receiver on this machine: it is delivered by stack_leave(), as received
 * by p->dev, or by the loopback interface if that is NULL.
 */
void stack_loopback(struct stack *s, struct pkt *p) REQUIRES(L_NET);

/*
 * An endpoint's link to what sleeps on it (link is set up with list_init()): stack_wake() notes the events,
 * stack_leave() delivers them.
 */
struct wakeup {
	struct list link; /* L_NET */
	uint32_t events;  /* L_NET: POLL* */
	/* No lock held. It ends what hold() began. */
	void (*deliver)(struct wakeup *w, uint32_t events);
	/* L_NET held: the owner lives until deliver() has run. */
	void (*hold)(struct wakeup *w);
};
void stack_wake(struct stack *s, struct wakeup *w, uint32_t events) REQUIRES(L_NET);

/* Timers: a hierarchical wheel, 1 ms; nothing wakes up while none is armed. */
struct net_timer {
	struct list link; /* L_NET */
	int64_t deadline; /* ns; L_NET */
	void (*fire)(struct stack *s, struct net_timer *t);
};
void net_timer_init(struct net_timer *t, void (*fire)(struct stack *s, struct net_timer *t));
/*
 * Arms or moves it. It fires in stack_run(), never early, at most 1 ms late; with the lock held; it may arm itself
 * again or be freed by fire().
 */
void net_timer_arm(struct stack *s, struct net_timer *t, int64_t deadline) REQUIRES(L_NET);
void net_timer_cancel(struct stack *s, struct net_timer *t) REQUIRES(L_NET);
bool net_timer_armed(const struct net_timer *t) REQUIRES(L_NET);

/* Counters of /proc/net/snmp and netstat: one enum, one line each in net/stack/mib.def. */
enum mib {
#define MIB(id, group, name) MIB_##id,
#include "net/stack/mib.def"
#undef MIB
	MIB_COUNT,
};
void mib_add(struct stack *s, enum mib counter, uint64_t n) REQUIRES(L_NET);
uint64_t mib_get(struct stack *s, enum mib counter) REQUIRES(L_NET);
/* The names as /proc/net has them: "Ip", "InReceives". */
const char *mib_group(enum mib counter);
const char *mib_name(enum mib counter);

/* What a transport keeps for each stack; they are called by stack_create() (0, -ENOMEM) and stack_destroy(). */
int tcp_stack_init(struct stack *s);
void tcp_stack_fini(struct stack *s) REQUIRES(L_NET);
