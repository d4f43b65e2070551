/*
 * A pair of Ethernet interfaces: see veth.h.
 *
 * Each end is guarded by its own stack's lock, and no thread ever holds two of these. What crosses over lies in a queue under the pair's own lock (L_LINK):
 * transmit() appends to it with its stack's lock held and asks for a wake-up, whose deliver(), without any lock, enters the other stack. The answers that
 * this causes come back the same way, by a deliver() inside of ours; it finds us delivering and leaves the frames to us. So the depth is bounded,
 * and what one thread does for others is, too: after DELIVER_MAX frames a timer goes on.
 *
 * The pair lives until both ends are gone and nobody delivers; it holds a reference to each stack until then.
 */
#include "net/stack/veth.h"

#include <string.h>

#include "net/stack/core.h"
#include "sentry/base/slab.h"

#define QUEUE_MAX 4096u
#define DELIVER_MAX 8192u

struct veth;

struct veth_end {
	struct veth *pair;
	struct stack *stack; /* a reference */
	struct wakeup wakeup;
	struct net_timer later;
	struct netdev *dev; /* L_NET of its stack, written with L_LINK too: NULL when it has gone */
	struct list queue;  /* L_LINK: frames from here to the other end */
	unsigned queued;    /* L_LINK */
	bool delivering;    /* L_LINK */
};

struct veth {
	struct ref ref; /* of each end, and of who delivers */
	struct mutex lock;
	struct veth_end end[2];
};

static struct slab veth_slab = SLAB_INIT(struct veth);

static struct veth_end *other(struct veth_end *e)
{
	return &e->pair->end[e == &e->pair->end[0]];
}

static void veth_put(struct veth *v)
{
	if (!ref_put(&v->ref))
		return;
	for (int i = 0; i < 2; i++) {
		pkt_free_all(&v->end[i].queue);
		stack_put(v->end[i].stack);
	}
	slab_free(&veth_slab, v);
}

static void hold(struct wakeup *w)
{
	ref_get(&container_of(w, struct veth_end, wakeup)->pair->ref);
}

/* Moves what waits to *batch and counts it; 0: nothing does, and the caller delivers no longer. */
static unsigned take_queued(struct veth_end *e, struct list *batch)
{
	struct veth *v = e->pair;
	struct pkt *p;
	unsigned n;

	mutex_lock(&v->lock, L_LINK);
	while ((p = list_first(&e->queue, struct pkt, link))) {
		list_remove(&p->link);
		list_append(batch, &p->link);
	}
	n = e->queued;
	e->queued = 0;
	if (!n)
		e->delivering = false;
	mutex_unlock(&v->lock, L_LINK);
	return n;
}

static bool begin(struct veth_end *e)
{
	bool mine;

	mutex_lock(&e->pair->lock, L_LINK);
	mine = !e->delivering;
	e->delivering = true;
	mutex_unlock(&e->pair->lock, L_LINK);
	return mine;
}

/* Enough for one thread. */
static void go_on_later(struct veth_end *e)
{
	mutex_lock(&e->pair->lock, L_LINK);
	e->delivering = false;
	mutex_unlock(&e->pair->lock, L_LINK);
	stack_enter(e->stack);
	if (e->dev)
		net_timer_arm(e->stack, &e->later, 0);
	stack_leave(e->stack);
}

static void receive(struct veth_end *to, struct list *batch)
{
	struct stack *s = to->stack;

	stack_enter(s);
	if (to->dev)
		netdev_receive_batch(s, to->dev, batch);
	stack_leave(s);
	pkt_free_all(batch);
}

/* The other end goes with this one. */
static void follow(struct veth_end *to)
{
	stack_enter(to->stack);
	if (to->dev)
		netdev_destroy(to->stack, to->dev);
	stack_leave(to->stack);
}

static void deliver_all(struct veth_end *e, struct veth_end *to)
{
	struct list batch = LIST_INIT(batch);
	unsigned count = 0, n;

	do {
		n = take_queued(e, &batch);
		if (n)
			receive(to, &batch);
		count += n;
	} while (n && count < DELIVER_MAX);
	if (n)
		go_on_later(e);
}

static void deliver(struct wakeup *w, uint32_t events __unused)
{
	struct veth_end *e = container_of(w, struct veth_end, wakeup);
	bool gone;

	if (begin(e))
		deliver_all(e, other(e));
	mutex_lock(&e->pair->lock, L_LINK);
	gone = !e->dev;
	mutex_unlock(&e->pair->lock, L_LINK);
	if (gone)
		follow(other(e));
	veth_put(e->pair);
}

static void later(struct stack *s, struct net_timer *t) REQUIRES(L_NET)
{
	stack_wake(s, &container_of(t, struct veth_end, later)->wakeup, 1);
}

static int transmit(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET)
{
	struct veth_end *e = dev->priv;
	struct veth *v = e->pair;
	bool full;

	p->net = p->transport = PKT_HEAD;
	p->dev = NULL;
	p->looped = false;
	p->checksum_ok = p->checksum_partial;
	mutex_lock(&v->lock, L_LINK);
	full = e->queued == QUEUE_MAX || !other(e)->dev;
	if (!full) {
		list_append(&e->queue, &p->link);
		e->queued++;
	}
	mutex_unlock(&v->lock, L_LINK);
	if (full) {
		pkt_free(p);
		return -ENOBUFS;
	}
	stack_wake(s, &e->wakeup, 1);
	return 0;
}

static void destroy(struct stack *s, struct netdev *dev) REQUIRES(L_NET)
{
	struct veth_end *e = dev->priv;

	net_timer_cancel(s, &e->later);
	mutex_lock(&e->pair->lock, L_LINK);
	e->dev = NULL;
	mutex_unlock(&e->pair->lock, L_LINK);
	stack_wake(s, &e->wakeup, 1);
	veth_put(e->pair);
}

static const struct link_ops ops = {.transmit = transmit, .destroy = destroy};

static int end_create(struct veth_end *e, const struct netdev_config *c, unsigned *ret_index)
{
	struct netdev_config full = {
	    .name = c->name,
	    .type = ARPHRD_ETHER,
	    .flags = IFF_BROADCAST | IFF_MULTICAST,
	    .features = NETDEV_ETHER | NETDEV_CHECKSUM | NETDEV_TSO,
	    .mtu = c->mtu,
	    .mac = c->mac,
	    .ops = &ops,
	    .priv = e,
	};
	struct netdev *dev;
	int err;

	stack_enter(e->stack);
	ref_get(&e->pair->ref);
	err = netdev_create(e->stack, &full, &dev);
	if (!err) {
		mutex_lock(&e->pair->lock, L_LINK);
		e->dev = dev;
		mutex_unlock(&e->pair->lock, L_LINK);
		if (ret_index)
			*ret_index = dev->index;
	}
	stack_leave(e->stack);
	if (err)
		veth_put(e->pair);
	return err;
}

static void end_init(struct veth *v, int i, struct stack *s)
{
	struct veth_end *e = &v->end[i];

	e->pair = v;
	e->stack = stack_get(s);
	e->wakeup = (struct wakeup){.deliver = deliver, .hold = hold};
	list_init(&e->wakeup.link);
	list_init(&e->queue);
	net_timer_init(&e->later, later);
}

int veth_create(struct stack *a, const struct netdev_config *ca, struct stack *b, const struct netdev_config *cb,
		unsigned *ret_a, unsigned *ret_b)
{
	struct veth *v = slab_alloc(&veth_slab);
	int err;

	if (!v)
		return -ENOMEM;
	ref_init(&v->ref);
	mutex_init(&v->lock);
	end_init(v, 0, a);
	end_init(v, 1, b);
	err = end_create(&v->end[0], ca, ret_a);
	if (!err)
		err = end_create(&v->end[1], cb, ret_b);
	if (err) {
		stack_enter(a);
		if (v->end[0].dev)
			netdev_destroy(a, v->end[0].dev);
		stack_leave(a);
	}
	veth_put(v);
	return err;
}
