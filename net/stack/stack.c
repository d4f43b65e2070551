/*
 * The TCP/IP stack of one network namespace: see stack.h.
 *
 * Calls enter, change state, and leave. What they cause beyond the state is kept until they leave: packets to this
 * machine itself are delivered then, in order, so that a receiver's code never runs inside the sender's; wake-ups are
 * made without the lock, some at a time; and env hears of the next deadline if it is earlier than what it knows. A
 * later one is told when stack_run() has been called too early, so that re-arming a retransmission timer for each
 * segment costs nothing.
 */
#include "net/stack/core.h"

#include "net/stack/inet.h"
#include "net/stack/neigh.h"
#include "net/stack/port.h"
#include "net/stack/route.h"
#include "sentry/base/slab.h"

#define WAKE_BATCH 8
#define LOOP_MAX 16384
#define LOOP_RUN 20000 /* packets that one caller delivers at most */

static struct slab stack_slab = SLAB_INIT(struct stack);

static void init_chains(struct list *l, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		list_init(&l[i]);
}

static void init(struct stack *s, const struct stack_env *env)
{
	ref_init(&s->ref);
	mutex_init_brief(&s->lock);
	s->env = *env;
	s->now = env->now(env->arg);
	s->wake_at = INT64_MAX;
	list_init(&s->wakes);
	list_init(&s->loop);
	list_init(&s->netdevs);
	init_chains(s->raws, RAW_CHAINS);
	list_init(&s->taps);
	list_init(&s->pmtu_age);
	list_init(&s->frag_age);
	init_chains(s->pmtus, PMTU_CHAINS);
	init_chains(s->frags, FRAG_CHAINS);
	wheel_init(&s->wheel, s->now);
	neigh_init(s);
	route_init(s);
	rule_init(s);
	s->route_generation = 1;
	s->default_ttl = 64;
	s->port_low = 32768;
	s->port_high = 60999;
}

struct stack *stack_create(const struct stack_env *env)
{
	struct stack *s = slab_alloc(&stack_slab);
	int err;

	if (!s)
		return NULL;
	init(s, env);
	mutex_lock(&s->lock, L_NET);
	stack_random(s, s->key, sizeof(s->key));
	stack_random(s, s->mix, sizeof(s->mix));
	err = loopback_create(s);
	mutex_unlock(&s->lock, L_NET);
	if (!err)
		err = tcp_stack_init(s);
	if (!err)
		return s;
	s->env.release = NULL; /* env stays the caller's */
	if (s->lo)
		stack_destroy(s);
	else
		slab_free(&stack_slab, s);
	return NULL;
}

void stack_destroy(struct stack *s)
{
	struct netdev *dev;

	if (!s)
		return;
	mutex_lock(&s->lock, L_NET);
	if (s->tcp)
		tcp_stack_fini(s);
	while ((dev = list_last(&s->netdevs, struct netdev, link)))
		netdev_destroy(s, dev);
	s->lo = NULL;
	frag_flush_all(s);
	pmtu_flush(s);
	route_fini(s);
	rule_fini(s);
	pkt_free_all(&s->loop);
	s->loop_count = 0;
	for (unsigned i = 0; i < RAW_CHAINS; i++)
		BUG_ON(!list_empty(&s->raws[i]));
	port_fini(s);
	stack_leave(s); /* links that lead elsewhere may have something to deliver */
	stack_put(s);
}

struct stack *stack_get(struct stack *s)
{
	ref_get(&s->ref);
	return s;
}

void stack_put(struct stack *s)
{
	if (!ref_put(&s->ref))
		return;
	if (s->env.release)
		s->env.release(s->env.arg);
	slab_free(&stack_slab, s);
}

bool stack_try_get(struct stack *s)
{
	return ref_get_unless_zero(&s->ref);
}

void *stack_env_arg(struct stack *s)
{
	return s->env.arg;
}

void stack_enter(struct stack *s) ACQUIRE(L_NET)
{
	int64_t now;

	mutex_lock(&s->lock, L_NET);
	now = s->env.now(s->env.arg);
	s->now = MAX(s->now, now);
	wheel_sync(&s->wheel, s->now);
}

/* Delivering makes more to deliver: answers, and answers to those. Not for ever: the timer goes on with what is left. */
static void run_loop(struct stack *s) REQUIRES(L_NET)
{
	struct pkt *p;

	for (unsigned n = 0; n < LOOP_RUN && (p = list_first(&s->loop, struct pkt, link)); n++) {
		list_remove(&p->link);
		s->loop_count--;
		if (p->dev)
			ip_receive(s, p->dev, p);
		else
			netdev_receive(s, s->lo, p);
	}
}

void stack_drop_dev(struct stack *s, struct netdev *dev)
{
	struct pkt *p, *next;

	list_for_each_safe(p, next, &s->loop, link) {
		if (p->dev != dev)
			continue;
		list_remove(&p->link);
		s->loop_count--;
		pkt_free(p);
	}
}

struct due_wakeup {
	struct wakeup *w;
	uint32_t events;
};

static unsigned take_wakes(struct stack *s, struct due_wakeup *due) REQUIRES(L_NET)
{
	struct wakeup *w;
	unsigned n = 0;

	while (n < WAKE_BATCH && (w = list_first(&s->wakes, struct wakeup, link))) {
		list_remove(&w->link);
		due[n++] = (struct due_wakeup){w, w->events};
		w->events = 0;
	}
	return n;
}

static void ask_for_time(struct stack *s) REQUIRES(L_NET)
{
	int64_t next = list_empty(&s->loop) ? wheel_next(&s->wheel) : s->now;

	if (next >= s->wake_at)
		return;
	s->wake_at = next;
	s->env.wake_at(s->env.arg, next);
}

void stack_leave(struct stack *s) RELEASE(L_NET)
{
	struct due_wakeup due[WAKE_BATCH];
	unsigned n;

	run_loop(s);
	ask_for_time(s);
	n = take_wakes(s, due);
	mutex_unlock(&s->lock, L_NET);
	while (n) {
		unsigned full = n == WAKE_BATCH;

		for (unsigned i = 0; i < n; i++)
			due[i].w->deliver(due[i].w, due[i].events);
		n = 0;
		if (full) {
			mutex_lock(&s->lock, L_NET);
			n = take_wakes(s, due);
			mutex_unlock(&s->lock, L_NET);
		}
	}
}

void stack_run(struct stack *s)
{
	stack_enter(s);
	s->wake_at = INT64_MAX;
	wheel_run(s);
	stack_leave(s);
}

int64_t stack_now(const struct stack *s)
{
	return s->now;
}

void stack_set_id(struct stack *s, uint64_t id)
{
	s->id = id;
}

uint64_t stack_id(const struct stack *s)
{
	return s->id;
}

int stack_peer_number(struct stack *s, uint64_t id, bool make)
{
	unsigned i = 0;

	while (i < s->peer_count && s->peers[i] != id)
		i++;
	if (i < s->peer_count)
		return (int)i;
	if (!id || !make || i == PEERS_MAX)
		return -1;
	s->peers[s->peer_count++] = id;
	return (int)i;
}

bool stack_forwarding(const struct stack *s, bool v6)
{
	return v6 ? s->forward6 : s->forward4;
}

void stack_set_forwarding(struct stack *s, bool v6, bool on)
{
	*(v6 ? &s->forward6 : &s->forward4) = on;
	s->route_generation++;
}

uint8_t stack_hash_policy(const struct stack *s, bool v6)
{
	return s->hash_policy[v6];
}

void stack_set_hash_policy(struct stack *s, bool v6, uint8_t policy)
{
	s->hash_policy[v6] = policy;
	s->route_generation++;
}

void stack_random(struct stack *s, void *to, size_t n)
{
	s->env.random(s->env.arg, to, n);
}

uint32_t stack_random32(struct stack *s)
{
	uint32_t v;

	stack_random(s, &v, sizeof(v));
	return v;
}

void stack_loopback(struct stack *s, struct pkt *p)
{
	if (s->loop_count == LOOP_MAX) {
		pkt_free(p);
		return;
	}
	s->loop_count++;
	list_append(&s->loop, &p->link);
}

void stack_wake(struct stack *s, struct wakeup *w, uint32_t events)
{
	w->events |= events;
	if (!list_empty(&w->link))
		return;
	w->hold(w);
	list_append(&s->wakes, &w->link);
}

void stack_watch(struct stack *s, void (*fn)(void *arg, enum stack_event e, bool gone, const void *what), void *arg)
{
	s->watch = fn;
	s->watch_arg = arg;
}

void stack_notify(struct stack *s, enum stack_event e, bool gone, const void *what)
{
	if (s->watch)
		s->watch(s->watch_arg, e, gone, what);
}
