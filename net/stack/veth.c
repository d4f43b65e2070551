/*
 * A pair of Ethernet interfaces: see veth.h.
 *
 * Each end is guarded by its own stack's lock, and no thread ever holds two of these. What crosses over lies in a queue under the pair's own lock (L_LINK):
 * transmit() appends to it with its stack's lock held and asks for a wake-up, whose deliver(), without any lock, enters the other stack. The answers that
 * this causes come back the same way, by a deliver() inside of ours; it finds us delivering and leaves the frames to us. So the depth is bounded,
 * and what one thread does for others is, too: after DELIVER_MAX frames a timer goes on.
 *
 * An end is up or not, which it says under L_LINK; the other one's carrier follows, at once where its own flags change, by deliver() where ours do.
 *
 * An end that moves to another stack has no interface (dev) in between, and what is sent to it then is lost. Who enters an end's stack takes a
 * reference to it under L_LINK and looks, once inside, whether the end is still there.
 *
 * The pair lives until both ends are gone and nobody delivers; it holds a reference to each stack until then.
 */
#include "net/stack/veth.h"

#include <string.h>

#include "net/stack/core.h"
#include "sentry/base/slab.h"

#define QUEUE_MAX 4096u
#define DELIVER_MAX 8192u
#define MTU_LARGEST 65535u

struct veth;

struct veth_end {
	struct veth *pair;
	struct wakeup wakeup;
	struct net_timer later;
	struct stack *stack; /* L_LINK: a reference */
	struct netdev
	    *dev; /* L_NET of its stack, written with L_LINK too: NULL when it has gone, or is between two stacks */
	unsigned index;    /* L_LINK: of dev */
	bool up;           /* L_LINK */
	struct list queue; /* L_LINK: frames from here to the other end */
	unsigned queued;   /* L_LINK */
	bool delivering;   /* L_LINK */
};

struct veth {
	struct ref ref; /* of each end, and of who delivers */
	struct mutex lock;
	bool ending; /* L_LINK: an end has been destroyed, the other one follows */
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

/* ---- entering an end's stack ---- */

static struct stack *stack_of(struct veth_end *e)
{
	struct stack *s;

	mutex_lock(&e->pair->lock, L_LINK);
	s = stack_get(e->stack);
	mutex_unlock(&e->pair->lock, L_LINK);
	return s;
}

/* With the lock of s, which may not be e's stack any more: e's interface there. */
static struct netdev *dev_in(struct veth_end *e, const struct stack *s)
{
	struct netdev *dev = NULL;

	mutex_lock(&e->pair->lock, L_LINK);
	if (e->stack == s)
		dev = e->dev;
	mutex_unlock(&e->pair->lock, L_LINK);
	return dev;
}

/* ---- delivering ---- */

/* Moves what waits to *batch and counts it; 0: nothing does, and the caller delivers no longer. */
static unsigned take_queued(struct veth_end *e, struct list *batch)
{
	struct veth *v = e->pair;
	unsigned n;

	mutex_lock(&v->lock, L_LINK);
	list_splice(batch, &e->queue);
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
	struct stack *s = stack_of(e);

	mutex_lock(&e->pair->lock, L_LINK);
	e->delivering = false;
	mutex_unlock(&e->pair->lock, L_LINK);
	stack_enter(s);
	if (dev_in(e, s))
		net_timer_arm(s, &e->later, 0);
	stack_leave(s);
	stack_put(s);
}

static void receive(struct veth_end *to, struct list *batch)
{
	struct stack *s = stack_of(to);
	struct netdev *dev;

	stack_enter(s);
	dev = dev_in(to, s);
	if (dev)
		netdev_receive_batch(s, dev, batch);
	stack_leave(s);
	stack_put(s);
	pkt_free_all(batch);
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

/* e's carrier is what the other end says; if the pair ends, so does e. */
static void follow(struct veth_end *e)
{
	struct stack *s = stack_of(e);
	struct netdev *dev;
	bool up, ending;

	stack_enter(s);
	dev = dev_in(e, s);
	mutex_lock(&e->pair->lock, L_LINK);
	up = other(e)->up;
	ending = e->pair->ending;
	mutex_unlock(&e->pair->lock, L_LINK);
	if (dev && ending)
		netdev_destroy(s, dev);
	else if (dev)
		netdev_set_carrier(s, dev, up && dev->flags & IFF_UP);
	stack_leave(s);
	stack_put(s);
}

enum { FRAMES = 1, STATE = 2 };

static void deliver(struct wakeup *w, uint32_t events)
{
	struct veth_end *e = container_of(w, struct veth_end, wakeup);

	if (events & STATE) {
		follow(other(e));
		follow(e); /* it may have moved here while the pair ended */
	}
	if (begin(e))
		deliver_all(e, other(e));
	veth_put(e->pair);
}

static void later(struct stack *s, struct net_timer *t) REQUIRES(L_NET)
{
	stack_wake(s, &container_of(t, struct veth_end, later)->wakeup, FRAMES);
}

/* ---- the interface ---- */

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
	stack_wake(s, &e->wakeup, FRAMES);
	return 0;
}

static void changed(struct stack *s, struct netdev *dev) REQUIRES(L_NET)
{
	struct veth_end *e = dev->priv;
	bool up = dev->flags & IFF_UP, differs, peer;

	mutex_lock(&e->pair->lock, L_LINK);
	differs = e->up != up;
	e->up = up;
	peer = other(e)->up;
	mutex_unlock(&e->pair->lock, L_LINK);
	netdev_set_carrier(s, dev, up && peer);
	if (differs)
		stack_wake(s, &e->wakeup, STATE);
}

static void set_end(struct veth_end *e, struct netdev *dev)
{
	mutex_lock(&e->pair->lock, L_LINK);
	e->dev = dev;
	e->index = dev ? dev->index : 0;
	e->up = false;
	mutex_unlock(&e->pair->lock, L_LINK);
}

static void leave(struct stack *s, struct netdev *dev) REQUIRES(L_NET)
{
	struct veth_end *e = dev->priv;

	net_timer_cancel(s, &e->later);
	set_end(e, NULL);
	dev->carrier = false;
	stack_wake(s, &e->wakeup, STATE);
}

static void join(struct stack *s, struct netdev *dev) REQUIRES(L_NET)
{
	struct veth_end *e = dev->priv;
	struct stack *old;

	mutex_lock(&e->pair->lock, L_LINK);
	old = e->stack;
	e->stack = stack_get(s);
	mutex_unlock(&e->pair->lock, L_LINK);
	stack_put(old);
	set_end(e, dev);
	stack_wake(s, &e->wakeup, STATE);
}

static void destroy(struct stack *s, struct netdev *dev) REQUIRES(L_NET)
{
	struct veth_end *e = dev->priv;

	net_timer_cancel(s, &e->later);
	set_end(e, NULL);
	mutex_lock(&e->pair->lock, L_LINK);
	e->pair->ending = true;
	mutex_unlock(&e->pair->lock, L_LINK);
	stack_wake(s, &e->wakeup, STATE);
	veth_put(e->pair);
}

static unsigned other_end(struct netdev *dev, uint64_t *ret_id)
{
	struct veth_end *e = dev->priv, *to = other(e);
	unsigned index;

	mutex_lock(&e->pair->lock, L_LINK);
	index = to->index;
	*ret_id = stack_id(to->stack);
	mutex_unlock(&e->pair->lock, L_LINK);
	return index;
}

static const struct link_ops ops = {
    .transmit = transmit,
    .changed = changed,
    .destroy = destroy,
    .kind = "veth",
    .leave = leave,
    .join = join,
    .other = other_end,
};

/* ---- making a pair ---- */

static int end_create(struct veth_end *e, const struct netdev_config *c, unsigned *ret_index)
{
	uint8_t mac[MAC_LEN];
	struct netdev_config full = {
	    .name = c->name,
	    .index = c->index,
	    .type = ARPHRD_ETHER,
	    .flags = IFF_BROADCAST | IFF_MULTICAST,
	    .features = NETDEV_ETHER | NETDEV_CHECKSUM | NETDEV_TSO,
	    .mtu = c->mtu,
	    .mtu_max = MTU_LARGEST,
	    .mac = c->mac ? c->mac : mac,
	    .no_carrier = true,
	    .ops = &ops,
	    .priv = e,
	};
	struct netdev *dev;
	int err;

	stack_enter(e->stack);
	if (!c->mac)
		netdev_random_mac(e->stack, mac);
	ref_get(&e->pair->ref);
	err = netdev_create(e->stack, &full, &dev);
	if (!err) {
		dev->mac_set = c->mac;
		set_end(e, dev);
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

/* The first end goes again, unless it has gone by itself. */
static void undo(struct veth_end *e, struct stack *s)
{
	struct netdev *dev;

	stack_enter(s);
	dev = dev_in(e, s);
	if (dev)
		netdev_destroy(s, dev);
	stack_leave(s);
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
	if (!err) {
		err = end_create(&v->end[1], cb, ret_b);
		if (err)
			undo(&v->end[0], a);
		else
			follow(&v->end[1]); /* the first may have gone already */
	}
	veth_put(v);
	return err;
}
