/*
 * The TCP/IP stack of one network namespace.
 *
 * It is a state machine: packets, calls and the time come in, packets and wake-ups go out. It has no thread, reads no clock and asks nobody for
 * random numbers but its env, so that tests run it in-process, and a simulator by a seed.
 *
 * One mutex (L_NET) guards all of it. stack_enter() takes it and reads the clock once; stack_leave() first runs what has
 * been queued meanwhile (packets for the loopback interface: a call to the receiver, not a thread switch, and never deeper than one), then unlocks, then
 * does the wake-ups. Data is copied between guests and buffers outside of it.
 *
 * Addresses are struct in6_addr everywhere, IPv4 in its mapped form; ports and protocol fields in structures are in host order.
 */
#pragma once

#include "net/stack/pkt.h"
#include "sentry/base/lock.h"

struct stack;
struct netdev;

struct stack_env {
	int64_t (*now)(void *arg);                       /* CLOCK_MONOTONIC, ns */
	void (*random)(void *arg, void *to, size_t n);   /* unpredictable: ports, sequence numbers, keys */
	void (*wake_at)(void *arg, int64_t deadline);    /* stack_run() then, once; replaces an earlier wish */
	void *arg;
};

/* NULL: no memory. With a loopback interface, down, as Linux makes a namespace. */
struct stack *stack_create(const struct stack_env *env);
/* All sockets have been closed. */
void stack_destroy(struct stack *s);
void stack_enter(struct stack *s) ACQUIRE(L_NET);
void stack_leave(struct stack *s) RELEASE(L_NET);
/* The timers that are due. */
void stack_run(struct stack *s) EXCLUDES(L_NET);
/* The time of this stack_enter(). */
int64_t stack_now(const struct stack *s) REQUIRES(L_NET);

/* An endpoint's link to what sleeps on it: stack_wake() notes the events, stack_leave() delivers them. */
struct wakeup {
	struct list link; /* L_NET */
	uint32_t events;  /* L_NET: POLL* */
	void (*deliver)(struct wakeup *w, uint32_t events); /* no lock held; keeps its owner alive until then by hold/release */
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
void net_timer_arm(struct stack *s, struct net_timer *t, int64_t deadline) REQUIRES(L_NET);
void net_timer_cancel(struct stack *s, struct net_timer *t) REQUIRES(L_NET);
bool net_timer_armed(const struct net_timer *t) REQUIRES(L_NET);

/* Counters of /proc/net/snmp and netstat: one enum, one line each in net/stack/mib.def. */
void mib_add(struct stack *s, unsigned counter, uint64_t n) REQUIRES(L_NET);
