/*
 * TCP's state in a stack: the table of connections, secrets, configuration.
 *
 * One table holds everything that has a pair of addresses and ports: endpoints, requests, TIME_WAIT rests. It is keyed
 * by SipHash, so that nobody outside can aim at a bucket, and doubles when it is as full as it has buckets; without
 * memory it stays as it is. Who listens is found by port.c, as are conflicts.
 *
 * Initial sequence numbers follow RFC 6528: a secret hash of the pair plus a clock (of 64 ns, as Linux's). Timestamps
 * start at a secret offset for each pair of addresses (RFC 7323 5.4 permits it), so that they stay monotonic for a peer
 * that reuses a pair (RFC 6191), and tell nobody the uptime.
 *
 * An endpoint may die in the middle of what is done with it. It is freed by tcp_reap(), which each entry point calls
 * last.
 */
#include "net/stack/tcp_priv.h"

#include <string.h>

#include "net/stack/siphash.h"
#include "sentry/base/slab.h"

#define BUCKETS_FIRST 256u
#define BUCKETS_MAX (1u << 20)

static struct slab tcp_stack_slab = SLAB_INIT(struct tcp_stack);

static const struct tcp_conf conf_default = {
    .rmem = {4096, 131072, 6291456},
    .wmem = {4096, 16384, 4194304},
    .min_snd_mss = TCP_MSS_MIN,
    .syn_retries = 6,
    .synack_retries = 5,
    .retries1 = 3,
    .retries2 = 15,
    .keepalive_time = 7200,
    .keepalive_interval = 75,
    .keepalive_probes = 9,
    .fin_timeout = 60,
    .max_syn_backlog = 1024,
    .somaxconn = 4096,
    .max_tw_buckets = 16384,
    .max_orphans = 16384,
    .tw_reuse = 2,
    .ecn = 2,
    .fastopen = TCP_FASTOPEN_CLIENT,
    .syncookies = true,
    .timestamps = true,
    .sack = true,
    .window_scaling = true,
    .idle_restart = true,
    .moderate_rcvbuf = true,
    .congestion = "cubic",
};

static struct list *buckets_create(uint32_t count)
{
	struct list *b = kalloc(count * sizeof(*b));

	for (uint32_t i = 0; b && i < count; i++)
		list_init(&b[i]);
	return b;
}

int tcp_stack_init(struct stack *s)
{
	struct tcp_stack *n = slab_alloc(&tcp_stack_slab);

	if (!n)
		return -ENOMEM;
	n->conns = buckets_create(BUCKETS_FIRST);
	if (!n->conns) {
		slab_free(&tcp_stack_slab, n);
		return -ENOMEM;
	}
	n->conn_buckets = BUCKETS_FIRST;
	n->stack = s;
	n->conf = conf_default;
	n->overflow_at = INT64_MIN / 2;
	list_init(&n->listeners);
	list_init(&n->dead);
	s->env.random(s->env.arg, n->key, sizeof(n->key));
	s->env.random(s->env.arg, n->secret, sizeof(n->secret));
	s->env.random(s->env.arg, n->fastopen_key, sizeof(n->fastopen_key));
	s->tcp = n;
	return 0;
}

static void free_ep(struct tcp_ep *ep) REQUIRES(L_NET)
{
	if (ep->kind == TCP_IS_TIMEWAIT) {
		tcp_timewait_free((struct tcp_timewait *)ep);
	} else if (ep->kind == TCP_IS_SOCK) {
		tcp_done(tcp_sock_of(ep), 0);
		tcp_reap(tcp_stack(ep->stack));
	} else {
		tcp_unhash(ep); /* its listener, which has it too, is gone: cannot be */
	}
}

void tcp_stack_fini(struct stack *s)
{
	struct tcp_stack *n = s->tcp;

	tcp_reap(n);
	for (uint32_t i = 0; i < n->conn_buckets; i++)
		while (!list_empty(&n->conns[i]))
			free_ep(list_first(&n->conns[i], struct tcp_ep, hash));
	tcp_reap(n);
	kfree(n->conns, n->conn_buckets * sizeof(*n->conns));
	slab_free(&tcp_stack_slab, n);
	s->tcp = NULL;
}

struct tcp_conf *tcp_conf(struct stack *s)
{
	return &s->tcp->conf;
}

static struct list *bucket_of(const struct tcp_stack *n, const struct tcp_key *key)
{
	_Static_assert(sizeof(*key) == 36, "no padding in what is hashed");
	return &n->conns[siphash(n->key, key, sizeof(*key)) & (n->conn_buckets - 1)];
}

static void grow(struct tcp_stack *n)
{
	uint32_t count = n->conn_buckets;
	struct list *old = n->conns, *more = count < BUCKETS_MAX ? buckets_create(count * 2) : NULL;

	if (!more)
		return;
	n->conns = more;
	n->conn_buckets = count * 2;
	for (uint32_t i = 0; i < count; i++) {
		struct tcp_ep *ep;

		while ((ep = list_first(&old[i], struct tcp_ep, hash))) {
			list_remove(&ep->hash);
			list_append(bucket_of(n, &ep->key), &ep->hash);
		}
	}
	kfree(old, count * sizeof(*old));
}

void tcp_hash(struct tcp_ep *ep)
{
	struct tcp_stack *n = tcp_stack(ep->stack);

	BUG_ON(!list_empty(&ep->hash));
	if (++n->conn_count > n->conn_buckets)
		grow(n);
	list_push(bucket_of(n, &ep->key), &ep->hash);
}

void tcp_unhash(struct tcp_ep *ep)
{
	if (list_empty(&ep->hash))
		return;
	list_remove(&ep->hash);
	if (ep->state != TCP_LISTEN)
		tcp_stack(ep->stack)->conn_count--;
}

struct tcp_ep *tcp_find(struct tcp_stack *n, const struct tcp_key *key, unsigned dev)
{
	struct list *b = bucket_of(n, key);
	struct tcp_ep *ep;

	list_for_each(ep, b, hash)
		if (memcmp(&ep->key, key, sizeof(*key)) == 0 &&
		    (!ep->bind.bound_dev || !dev || ep->bind.bound_dev == dev))
			return ep;
	return NULL;
}

struct tcp_sock *tcp_find_listener(struct tcp_stack *n, const struct tcp_key *key, unsigned dev)
{
	struct port_bind *b = port_lookup(n->stack, PORT_TCP, &key->laddr, key->lport, &key->raddr, key->rport, dev,
					  (uint32_t)siphash(n->key, key, sizeof(*key)));

	return b ? container_of(b, struct tcp_sock, ep.bind) : NULL;
}

uint32_t tcp_initial_seq(struct tcp_stack *n, const struct tcp_key *key)
{
	return (uint32_t)siphash(n->secret, key, sizeof(*key)) + (uint32_t)(stack_now(n->stack) >> 6);
}

uint32_t tcp_ts_offset(struct tcp_stack *n, const struct tcp_key *key)
{
	struct in6_addr pair[2] = {key->laddr, key->raddr};

	return (uint32_t)siphash(n->secret, pair, sizeof(pair));
}

/* Would the connection be the only one of its pair? A TIME_WAIT rest may have to make room. */
static bool pair_free(struct tcp_sock *tp, uint16_t port) REQUIRES(L_NET)
{
	struct tcp_stack *n = tcp_stack(tp->ep.stack);
	struct tcp_key key = tp->ep.key;
	struct tcp_ep *other;
	uint32_t iss;

	key.lport = port;
	other = tcp_find(n, &key, tp->ep.bind.bound_dev);
	if (!other)
		return true;
	if (other->kind != TCP_IS_TIMEWAIT)
		return false;
	if (!tcp_timewait_reusable((struct tcp_timewait *)other, n->conf.timestamps, &iss))
		return false;
	tp->iss = iss;
	tcp_timewait_free((struct tcp_timewait *)other);
	return true;
}

static bool usable(void *arg, uint16_t port) NO_TSA;
static bool usable(void *arg, uint16_t port)
{
	return pair_free(arg, port);
}

int tcp_port_connect(struct tcp_sock *tp)
{
	struct tcp_key *key = &tp->ep.key;
	int err;

	tp->iss = 0;
	if (tp->ep.bind.port) {
		key->lport = tp->ep.bind.port;
		return pair_free(tp, key->lport) ? 0 : -EADDRNOTAVAIL;
	}
	tp->ep.bind.addr = key->laddr;
	err = port_connect(tp->ep.stack, &tp->ep.bind, &key->raddr, key->rport, usable, tp);
	key->lport = tp->ep.bind.port;
	return err;
}

void tcp_reap(struct tcp_stack *n)
{
	struct tcp_sock *tp;

	while ((tp = list_first(&n->dead, struct tcp_sock, dead))) {
		list_remove(&tp->dead);
		tcp_sock_free(tp);
	}
}

void tcp_for_each(struct stack *s, void (*fn)(const struct tcp_ep *ep, void *arg), void *arg)
{
	struct tcp_ep *ep;

	list_for_each(ep, &s->tcp->listeners, hash)
		fn(ep, arg);
	for (uint32_t i = 0; i < s->tcp->conn_buckets; i++)
		list_for_each(ep, &s->tcp->conns[i], hash)
			fn(ep, arg);
}
