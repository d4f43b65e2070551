/*
 * See hostlink.h.
 *
 * In: a thread sleeps until there are frames, reads up to BATCH_MAX of them, and hands them to the stack together. Each is read into a packet's room,
 * where its headers lie then, and what does not fit there into a buffer of 64 KiB; a small rest is copied to a buffer of its own, a
 * large one keeps the buffer and the next frame gets a new one. While nothing comes in there are no wake-ups.
 *
 * Out: transmit() queues with the stack's lock held, and a wake-up's deliver() writes without any. One thread delivers at a time, those that come
 * meanwhile leave their frames to it. When the host takes no more, or after DELIVER_MAX frames, the receiving thread goes on as soon as the host can.
 *
 * Why not the rings of packet(7): TPACKET_V3 hands over a block when it is full or a timer fires, whole jiffies later, so that each answer of a
 * conversation would wait for that timer, and it would be memory that the host's kernel writes to while we read. Since large packets cross
 * unsegmented, a read or a write moves up to 64 KiB anyway; and the sentry's filter needs no call that it does not have.
 *
 * The queue and the flags are under L_LINK. References: the interface's, the receiving thread's, and that of who delivers.
 */
#include "net/link/hostlink.h"

#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "net/link/vnet.h"
#include "sentry/base/log.h"
#include "sentry/base/slab.h"

#define BATCH_MAX 64u
#define QUEUE_MAX 4096u
#define DELIVER_MAX 1024u
#define HEAD_AT 64u       /* room for what a forwarded packet gets in front of it */
#define HEAD_ROOM 128u    /* Ethernet, IPv6, TCP with options */
#define REST_MAX 65520u   /* with HEAD_ROOM more than the largest frame */
#define REST_KEEPS 32768u /* a rest of that size keeps the buffer that it was read into */
#define STACK_SIZE (128ul << 10)

struct hostlink {
	struct ref ref;
	struct stack *stack; /* a reference */
	int fd, epoll_fd;
	struct wakeup wakeup;
	struct mutex lock;
	struct netdev *dev; /* L_NET, written with L_LINK too: NULL when it has gone */
	struct list queue;  /* L_LINK: frames to be written */
	unsigned queued;    /* L_LINK */
	unsigned lost;      /* L_LINK: that the host did not take, not yet in the interface's counters */
	bool delivering;    /* L_LINK */
	bool stuck;         /* L_LINK: the receiving thread is to go on with them */
	bool dead;          /* L_LINK: the host's end has gone */
	struct buf *rest;   /* the receiving thread's */
};

static struct slab hostlink_slab = SLAB_INIT(struct hostlink);

static void put(struct hostlink *l)
{
	if (!ref_put(&l->ref))
		return;
	pkt_free_all(&l->queue);
	buf_put(l->rest);
	close(l->fd);
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	stack_put(l->stack);
	slab_free(&hostlink_slab, l);
}

static void hold(struct wakeup *w)
{
	ref_get(&container_of(w, struct hostlink, wakeup)->ref);
}

/* What the receiving thread wakes up for. */
static int listen_for(struct hostlink *l, int op, uint32_t events)
{
	struct epoll_event e = {.events = events};

	return epoll_ctl(l->epoll_fd, op, l->fd, &e) < 0 ? -errno : 0;
}

/* ---- out ---- */

/* 0: it is gone, by whatever way; -EAGAIN: it is not. */
static int write_one(struct hostlink *l, const struct pkt *p)
{
	struct vnet_head h;
	struct iovec iov[2 + PKT_SLICES] = {{&h, sizeof(h)},
					    {(void *)(uintptr_t)(p->room + p->head), (size_t)(p->tail - p->head)}};
	ssize_t n;

	vnet_describe(p, &h);
	for (unsigned i = 0; i < p->count; i++)
		iov[2 + i] = (struct iovec){p->slice[i].buf->data + p->slice[i].off, p->slice[i].len};
	n = writev(l->fd, iov, 2 + p->count);
	if (n >= 0)
		return 0;
	if (errno == EAGAIN)
		return -EAGAIN;
	mutex_lock(&l->lock, L_LINK);
	l->lost++;
	mutex_unlock(&l->lock, L_LINK);
	return 0;
}

/* NULL: there is none, and the caller delivers no longer. */
static struct pkt *next_queued(struct hostlink *l)
{
	struct pkt *p;

	mutex_lock(&l->lock, L_LINK);
	p = list_first(&l->queue, struct pkt, link);
	if (p) {
		list_remove(&p->link);
		l->queued--;
	} else {
		l->delivering = false;
	}
	mutex_unlock(&l->lock, L_LINK);
	return p;
}

/* The receiving thread goes on, with p (unless that is NULL) first. */
static void leave_to_thread(struct hostlink *l, struct pkt *p)
{
	bool dead;

	mutex_lock(&l->lock, L_LINK);
	if (p) {
		list_push(&l->queue, &p->link);
		l->queued++;
	}
	l->delivering = false;
	l->stuck = true;
	dead = l->dead;
	mutex_unlock(&l->lock, L_LINK);
	if (!dead && listen_for(l, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT))
		log_warn("a network link does not tell when it can be written to");
}

static void deliver_all(struct hostlink *l)
{
	struct pkt *p;

	for (unsigned n = 0; n < DELIVER_MAX; n++) {
		p = next_queued(l);
		if (!p)
			return;
		if (write_one(l, p)) {
			leave_to_thread(l, p);
			return;
		}
		pkt_free(p);
	}
	leave_to_thread(l, NULL);
}

static bool begin(struct hostlink *l)
{
	bool mine;

	mutex_lock(&l->lock, L_LINK);
	mine = !l->delivering && !l->stuck;
	if (mine)
		l->delivering = true;
	mutex_unlock(&l->lock, L_LINK);
	return mine;
}

static void deliver(struct wakeup *w, uint32_t events __unused)
{
	struct hostlink *l = container_of(w, struct hostlink, wakeup);

	if (begin(l))
		deliver_all(l);
	put(l);
}

/* On the receiving thread. */
static void resume(struct hostlink *l)
{
	mutex_lock(&l->lock, L_LINK);
	l->stuck = false;
	mutex_unlock(&l->lock, L_LINK);
	if (listen_for(l, EPOLL_CTL_MOD, EPOLLIN) == 0 && begin(l))
		deliver_all(l);
}

static int transmit(struct stack *s, struct netdev *dev, struct pkt *p) REQUIRES(L_NET)
{
	struct hostlink *l = dev->priv;
	unsigned lost;
	bool full;

	mutex_lock(&l->lock, L_LINK);
	full = l->queued == QUEUE_MAX || l->dead;
	if (!full) {
		list_append(&l->queue, &p->link);
		l->queued++;
	}
	lost = l->lost;
	l->lost = 0;
	mutex_unlock(&l->lock, L_LINK);
	dev->stats.tx_dropped += lost;
	if (full) {
		pkt_free(p);
		return -ENOBUFS;
	}
	stack_wake(s, &l->wakeup, 1);
	return 0;
}

/* ---- in ---- */

/* What of a frame lies in l->rest becomes p's. */
static bool add_rest(struct hostlink *l, struct pkt *p, uint32_t size)
{
	struct buf *b;
	bool ok;

	if (size >= REST_KEEPS) {
		b = l->rest;
		l->rest = NULL;
	} else {
		b = buf_create(size);
		if (!b)
			return false;
		memcpy(b->data, l->rest->data, size);
	}
	b->used = size;
	ok = pkt_append(p, b, 0, size);
	buf_put(b);
	return ok;
}

/* Makes p of n bytes that were read. False: it is none. */
static bool take_frame(struct hostlink *l, struct pkt *p, size_t n)
{
	uint32_t head = (uint32_t)MIN(n, (size_t)HEAD_ROOM);

	p->head = HEAD_AT;
	p->tail = (uint16_t)(HEAD_AT + head);
	p->len = head;
	if (n == head)
		return n > 0;
	return n < HEAD_ROOM + REST_MAX && add_rest(l, p, (uint32_t)n - head);
}

/* How many packets it has added; -errno: none could be read. */
static int read_one(struct hostlink *l, struct list *batch)
{
	struct pkt *p = pkt_create();
	struct vnet_head h;
	struct iovec iov[] = {{&h, sizeof(h)}, {p ? p->room + HEAD_AT : NULL, HEAD_ROOM}, {NULL, REST_MAX}};
	ssize_t n;

	if (!l->rest)
		l->rest = buf_create(REST_MAX);
	if (!p || !l->rest) {
		/* Without memory the frame is lost. */
		pkt_free(p);
		n = readv(l->fd, iov, 1);
		return n < 0 ? -errno : 0;
	}
	iov[2].iov_base = l->rest->data;
	n = readv(l->fd, iov, ARRAY_SIZE(iov));
	if (n >= (ssize_t)sizeof(h) && take_frame(l, p, (size_t)n - sizeof(h)))
		return (int)vnet_accept(&h, p, batch);
	pkt_free(p);
	return n < 0 ? -errno : 0;
}

static bool is_final(int err)
{
	return err != -EAGAIN && err != -EINTR && err != -ENETDOWN && err != -ENOBUFS && err != -ENOMEM;
}

/* False: nothing will come any more. */
static bool receive(struct hostlink *l)
{
	struct list batch = LIST_INIT(batch);
	unsigned count = 0;
	int n = 0;

	for (unsigned i = 0; i < BATCH_MAX && n >= 0; i++) {
		n = read_one(l, &batch);
		count += (unsigned)MAX(n, 0);
	}
	if (count) {
		stack_enter(l->stack);
		if (l->dev)
			netdev_receive_batch(l->stack, l->dev, &batch);
		stack_leave(l->stack);
		pkt_free_all(&batch);
	}
	return n >= 0 || !is_final(n);
}

static bool gone(struct hostlink *l)
{
	bool r;

	mutex_lock(&l->lock, L_LINK);
	r = !l->dev;
	mutex_unlock(&l->lock, L_LINK);
	return r;
}

static void *receive_main(void *arg)
{
	struct hostlink *l = arg;
	struct epoll_event e;
	bool on = true;

	while (on && !gone(l)) {
		if (epoll_wait(l->epoll_fd, &e, 1, -1) != 1)
			continue;
		if (e.events & EPOLLOUT)
			resume(l);
		if (e.events & ~(uint32_t)EPOLLOUT)
			on = receive(l);
	}
	if (!on)
		log_warn("the host's end of a network interface has gone");
	mutex_lock(&l->lock, L_LINK);
	l->dead = true;
	mutex_unlock(&l->lock, L_LINK);
	put(l);
	return NULL;
}

/* ---- life ---- */

static int start_thread(struct hostlink *l)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int err;

	ref_get(&l->ref);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	log_thread_mask(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&thread, &attr, receive_main, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (err)
		put(l);
	return -err;
}

/* A descriptor that can be written to wakes the thread, which sees that the interface has gone. */
static void destroy(struct stack *s __unused, struct netdev *dev) REQUIRES(L_NET)
{
	struct hostlink *l = dev->priv;

	mutex_lock(&l->lock, L_LINK);
	l->dev = NULL;
	mutex_unlock(&l->lock, L_LINK);
	if (listen_for(l, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT))
		log_debug("the thread of a network link stays until a frame comes");
	put(l);
}

static const struct link_ops ops = {.transmit = transmit, .destroy = destroy};

static int add_netdev(struct hostlink *l, const struct netdev_config *c, unsigned *ret_index)
{
	struct netdev_config full = {
	    .name = c->name,
	    .type = ARPHRD_ETHER,
	    .flags = IFF_BROADCAST | IFF_MULTICAST,
	    .features = c->features | NETDEV_ETHER | NETDEV_CHECKSUM | NETDEV_TSO,
	    .mtu = c->mtu,
	    .mac = c->mac,
	    .ops = &ops,
	    .priv = l,
	};
	struct netdev *dev;
	int err;

	stack_enter(l->stack);
	err = netdev_create(l->stack, &full, &dev);
	if (!err) {
		ref_get(&l->ref);
		mutex_lock(&l->lock, L_LINK);
		l->dev = dev;
		mutex_unlock(&l->lock, L_LINK);
		if (ret_index)
			*ret_index = dev->index;
	}
	stack_leave(l->stack);
	return err;
}

static void remove_netdev(struct hostlink *l)
{
	stack_enter(l->stack);
	if (l->dev)
		netdev_destroy(l->stack, l->dev);
	stack_leave(l->stack);
}

int hostlink_create(struct stack *s, const struct netdev_config *c, int fd, unsigned *ret_index)
{
	struct hostlink *l = slab_alloc(&hostlink_slab);
	int err;

	if (!l) {
		close(fd);
		return -ENOMEM;
	}
	ref_init(&l->ref);
	mutex_init(&l->lock);
	list_init(&l->queue);
	l->wakeup = (struct wakeup){.deliver = deliver, .hold = hold};
	list_init(&l->wakeup.link);
	l->stack = stack_get(s);
	l->fd = fd;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	err = l->epoll_fd < 0 ? -errno : listen_for(l, EPOLL_CTL_ADD, EPOLLIN);
	if (!err)
		err = add_netdev(l, c, ret_index);
	if (!err) {
		err = start_thread(l);
		if (err)
			remove_netdev(l);
	}
	put(l);
	return err;
}
