/*
 * epoll(7).
 *
 * An instance keeps its interests in a hash by (description, descriptor). Each interest has an entry on the wait queues of its file; the entry's
 * callback puts the interest on the ready list and wakes a sleeper. epoll_wait() takes interests off that list, asks
 * each file for its bits, and puts level-triggered ones back: so the work goes with what happened, not with what is watched.
 *
 * Locks. L_EPOLL, one an instance: its hash and its scans; it is held while files are polled and events are copied, which a guest can make last, so an
 * interest cannot go away under a scan, and a dying file waits for the scan to end. Within it L_EPOLLCTL, one for all instances, which nobody holds
 * for long: which files are watched by whom (file.epoll_items, the loop check). Hashes change under both. L_READY, a leaf, because callbacks run
 * under a wait queue's lock: the ready list. Instances that watch instances form a tree, checked at EPOLL_CTL_ADD: their L_EPOLL and wait queue
 * locks are taken from the watcher down and from the event up respectively.
 *
 * A wake-up of a file takes every path of instances that leads up from it. How many of each length there may be is limited as on Linux.
 *
 * Interests hold no reference to the file: file_put() calls epoll_file_gone().
 */
#include "fs/epoll.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>

#include "sentry/base/clock.h"
#include "sentry/base/restart.h"
#include "sentry/base/slab.h"

#define PRIVATE_BITS ((uint32_t)(EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE))
#define EXCLUSIVE_OK ((uint32_t)(EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE))
#define MAX_NESTS 4
#define MAX_WATCHES (1u << 20) /* of all instances: bounds the memory that a guest can pin */
#define BATCH 32

struct ep_wait {
	struct wait_entry entry;
	struct ep_wait *next;
};

struct ep_item {
	struct epoll *ep;
	struct file *file;
	int fd;
	_Atomic uint32_t events;   /* wanted; written under L_EPOLL, read by callbacks */
	uint64_t data;             /* L_EPOLL */
	struct ep_item *hash_next; /* L_EPOLL */
	struct list in_file;       /* file->epoll_items; L_EPOLLCTL */
	struct list ready;         /* L_READY */
	struct ep_wait first;      /* most files have one queue */
	struct ep_wait *more;
	bool first_used;
};

struct epoll {
	struct ref ref;          /* the file's, and those of dying files for a moment */
	struct mutex lock;       /* L_EPOLL */
	struct mutex ready_lock; /* L_READY */
	struct list ready;       /* L_READY */
	struct wait_queue wq;
	struct ep_item **buckets; /* bucket_count is a power of two; L_EPOLL, changed under L_EPOLLCTL too */
	uint32_t bucket_count, count;
	uint64_t visited; /* L_EPOLLCTL: the loop check that saw it last, and what that found */
	int depth;        /* L_EPOLLCTL */
	struct file *file;
};

static struct slab epoll_slab = SLAB_INIT(struct epoll);
static struct slab item_slab = SLAB_INIT(struct ep_item);
static struct slab wait_slab = SLAB_INIT(struct ep_wait);
static struct mutex ctl_lock = MUTEX_INIT;
static _Atomic uint32_t watch_count;
static const struct file_ops epoll_ops;

static struct epoll *epoll_of(struct file *f)
{
	return f->ops == &epoll_ops ? f->priv : NULL;
}

/* ---- the hash ---- */

static uint32_t item_hash(const struct epoll *ep, const struct file *f, int fd)
{
	uint64_t h = ((uint64_t)f >> 4) * 0x9e3779b97f4a7c15ull + (uint32_t)fd * 0xc2b2ae3d27d4eb4full;

	return (uint32_t)(h >> 32) & (ep->bucket_count - 1);
}

static struct ep_item **item_slot(struct epoll *ep, const struct file *f, int fd)
{
	struct ep_item **at = &ep->buckets[item_hash(ep, f, fd)];

	while (*at && ((*at)->file != f || (*at)->fd != fd))
		at = &(*at)->hash_next;
	return at;
}

static int hash_grow(struct epoll *ep)
{
	uint32_t old_count = ep->bucket_count;
	struct ep_item **old = ep->buckets;
	struct ep_item **table = kalloc(old_count * 2 * sizeof(struct ep_item *));

	if (!table)
		return old_count ? 0 : -ENOMEM;
	ep->buckets = table;
	ep->bucket_count = old_count * 2;
	for (uint32_t i = 0; i < old_count; i++) {
		struct ep_item *it, *next;

		for (it = old[i]; it; it = next) {
			struct ep_item **at = &ep->buckets[item_hash(ep, it->file, it->fd)];

			next = it->hash_next;
			it->hash_next = *at;
			*at = it;
		}
	}
	kfree(old, old_count * sizeof(struct ep_item *));
	return 0;
}

/* ---- readiness ---- */

static bool ep_has_ready(struct epoll *ep)
{
	return __atomic_load_n(&ep->ready.next, __ATOMIC_SEQ_CST) != &ep->ready;
}

/* True if it was not on the list. */
static bool ready_add(struct ep_item *it)
{
	struct epoll *ep = it->ep;
	bool added;

	mutex_lock(&ep->ready_lock, L_READY);
	added = list_empty(&it->ready);
	if (added)
		list_append(&ep->ready, &it->ready);
	mutex_unlock(&ep->ready_lock, L_READY);
	return added;
}

static void ready_remove(struct ep_item *it)
{
	mutex_lock(&it->ep->ready_lock, L_READY);
	list_remove(&it->ready);
	mutex_unlock(&it->ep->ready_lock, L_READY);
}

/* A file's queue was woken; its lock is held. */
static void ep_callback(struct wait_entry *e, uint32_t events)
{
	struct ep_item *it = e->priv;
	uint32_t wanted = __atomic_load_n((uint32_t *)&it->events, __ATOMIC_SEQ_CST);

	if (!(wanted & ~PRIVATE_BITS) || (events && !(events & wanted)))
		return;
	ready_add(it);
	wake_up_nested(&it->ep->wq, POLLIN);
}

struct ep_table {
	struct poll_table t;
	struct ep_item *item;
	bool no_memory;
};

static void ep_table_add(struct poll_table *p, struct wait_queue *q)
{
	struct ep_table *t = container_of(p, struct ep_table, t);
	struct ep_item *it = t->item;
	struct ep_wait *w = &it->first;

	if (it->first_used) {
		w = slab_alloc(&wait_slab);
		if (!w) {
			t->no_memory = true;
			return;
		}
		w->next = it->more;
		it->more = w;
	}
	it->first_used = true;
	wait_entry_init(&w->entry, ep_callback, it, 0);
	w->entry.exclusive = it->events & EPOLLEXCLUSIVE;
	wait_queue_add(q, &w->entry);
}

static uint32_t item_poll(struct ctx *c, struct ep_item *it)
{
	struct poll_table t = {NULL, it->events, c};

	return file_poll(it->file, &t) & it->events & ~PRIVATE_BITS;
}

/* ---- interests come and go ---- */

static void item_unwait(struct ep_item *it)
{
	struct ep_wait *w, *next;

	if (it->first_used)
		wait_entry_remove(&it->first.entry);
	for (w = it->more; w; w = next) {
		next = w->next;
		wait_entry_remove(&w->entry);
		slab_free(&wait_slab, w);
	}
	it->more = NULL;
}

/* Drops the interest that *at refers to. */
static void item_destroy(struct ep_item **at) REQUIRES(L_EPOLL, L_EPOLLCTL)
{
	struct ep_item *it = *at;

	item_unwait(it);
	*at = it->hash_next;
	it->ep->count--;
	list_remove(&it->in_file);
	ready_remove(it);
	__atomic_fetch_sub((uint32_t *)&watch_count, 1, __ATOMIC_RELAXED);
	slab_free(&item_slab, it);
}

static struct ep_item *item_create(struct epoll *ep, struct file *f, int fd, uint32_t events, uint64_t data)
{
	struct ep_item *it;

	if (__atomic_fetch_add((uint32_t *)&watch_count, 1, __ATOMIC_RELAXED) < MAX_WATCHES) {
		it = slab_alloc(&item_slab);
		if (it) {
			it->ep = ep;
			it->file = f;
			it->fd = fd;
			it->events = events;
			it->data = data;
			list_init(&it->in_file);
			list_init(&it->ready);
			return it;
		}
	}
	__atomic_fetch_sub((uint32_t *)&watch_count, 1, __ATOMIC_RELAXED);
	return NULL;
}

/* A new interest, which has yet to be told of anything. */
static int item_enter(struct epoll *ep, struct file *f, int fd, uint32_t events, uint64_t data, struct ep_item **ret)
    REQUIRES(L_EPOLL, L_EPOLLCTL)
{
	struct ep_item **at = item_slot(ep, f, fd);

	if (*at)
		return -EEXIST;
	if (ep->count >= ep->bucket_count && hash_grow(ep) == 0)
		at = item_slot(ep, f, fd);
	*ret = item_create(ep, f, fd, events, data);
	if (!*ret)
		return __atomic_load_n((uint32_t *)&watch_count, __ATOMIC_RELAXED) >= MAX_WATCHES ? -ENOSPC : -ENOMEM;
	*at = *ret;
	ep->count++;
	list_append(&f->epoll_items, &(*ret)->in_file);
	f->epolled = true;
	return 0;
}

static int ep_modify(struct ctx *c, struct epoll *ep, struct file *f, int fd, uint32_t events, uint64_t data)
    REQUIRES(L_EPOLL)
{
	struct ep_item *it = *item_slot(ep, f, fd);

	if (!it)
		return -ENOENT;
	if (it->events & EPOLLEXCLUSIVE)
		return -EINVAL;
	it->data = data;
	__atomic_store_n((uint32_t *)&it->events, events, __ATOMIC_SEQ_CST);
	if (item_poll(c, it))
		ready_add(it);
	return 0;
}

static int ep_delete(struct epoll *ep, struct file *f, int fd) REQUIRES(L_EPOLL)
{
	struct ep_item **at = item_slot(ep, f, fd);

	if (!*at)
		return -ENOENT;
	mutex_lock(&ctl_lock, L_EPOLLCTL);
	item_destroy(at);
	mutex_unlock(&ctl_lock, L_EPOLLCTL);
	return 0;
}

/* ---- nesting ---- */

static uint64_t generation; /* L_EPOLLCTL: counts loop checks */

/*
 * Levels of instances below ep, or more than MAX_NESTS if there are more or `forbidden` is among them. One that is reached by several ways
 * is looked through once, and counts with its depth for each of them.
 */
static int depth_below(struct epoll *ep, const struct epoll *forbidden, int level) REQUIRES(L_EPOLLCTL)
{
	int deepest = 0;

	if (ep == forbidden || level > MAX_NESTS)
		return MAX_NESTS + 1;
	if (ep->visited == generation)
		return ep->depth;
	ep->visited = generation;
	for (uint32_t i = 0; i < ep->bucket_count; i++) {
		for (struct ep_item *it = ep->buckets[i]; it; it = it->hash_next) {
			struct epoll *child = epoll_of(it->file);
			int d = child ? 1 + depth_below(child, forbidden, level + 1) : 0;

			deepest = MAX(deepest, d);
		}
	}
	ep->depth = deepest;
	return deepest;
}

/* Levels of instances that watch f, which is not below what this check has seen so far. */
static int depth_above(struct file *f, int level) REQUIRES(L_EPOLLCTL)
{
	struct epoll *ep = epoll_of(f);
	struct ep_item *it;
	int highest = 0;

	if (level > MAX_NESTS)
		return 0;
	if (ep->visited == generation)
		return ep->depth;
	ep->visited = generation;
	list_for_each(it, &f->epoll_items, in_file)
		highest = MAX(highest, 1 + depth_above(it->ep->file, level + 1));
	ep->depth = highest;
	return highest;
}

static int nest_check(struct file *epf, struct epoll *child) REQUIRES(L_EPOLLCTL)
{
	struct epoll *ep = epf->priv;
	int depth;

	generation++;
	depth = depth_below(child, ep, 0);
	generation++;
	return depth + 1 + depth_above(epf, 0) > MAX_NESTS ? -ELOOP : 0;
}

/* Whether few enough paths lead up from f. count[n]: those that pass n instances on their way to the top. */
static bool few_paths(const struct file *f, unsigned passed, unsigned count[MAX_NESTS + 1]) REQUIRES(L_EPOLLCTL)
{
	static const unsigned limits[MAX_NESTS + 1] = {UINT_MAX, 500, 100, 50, 10};
	struct ep_item *it;

	if (passed > MAX_NESTS)
		return false;
	list_for_each(it, &f->epoll_items, in_file) {
		const struct file *up = it->ep->file;
		bool few = list_empty(&up->epoll_items) ? ++count[passed] <= limits[passed]
							: few_paths(up, passed + 1, count);

		if (!few)
			return false;
	}
	return true;
}

/* The same for f, or for every file below it if it is an instance; each file and instance once in a generation. */
static bool few_paths_below(struct file *f) REQUIRES(L_EPOLLCTL)
{
	struct epoll *ep = epoll_of(f);
	unsigned count[MAX_NESTS + 1] = {0};

	if (f->epoll_checked == generation)
		return true;
	f->epoll_checked = generation;
	if (!ep)
		return few_paths(f, 0, count);
	for (uint32_t i = 0; i < ep->bucket_count; i++)
		for (struct ep_item *it = ep->buckets[i]; it; it = it->hash_next)
			if (!few_paths_below(it->file))
				return false;
	return true;
}

/* ---- epoll_ctl ---- */

static int events_check(int op, const struct file *f, uint32_t events)
{
	if (op == EPOLL_CTL_DEL || !(events & EPOLLEXCLUSIVE))
		return 0;
	if (op == EPOLL_CTL_MOD || f->ops == &epoll_ops || events & ~EXCLUSIVE_OK)
		return -EINVAL;
	return 0;
}

/* Enters an interest that makes no circle and few paths. */
static int item_enter_checked(struct file *epf, struct file *f, int fd, uint32_t events, uint64_t data,
			      struct ep_item **ret) REQUIRES(L_EPOLL, L_EPOLLCTL)
{
	bool nested = epoll_of(f) || !list_empty(&epf->epoll_items);
	int err = epoll_of(f) ? nest_check(epf, epoll_of(f)) : 0;

	if (!err)
		err = item_enter(epf->priv, f, fd, events, data, ret);
	generation++;
	if (err || !nested || few_paths_below(f))
		return err;
	item_destroy(item_slot(epf->priv, f, fd));
	return -EINVAL;
}

static int ep_add(struct ctx *c, struct file *epf, struct file *f, int fd, uint32_t events, uint64_t data)
    REQUIRES(L_EPOLL)
{
	struct ep_table t = {.t = {ep_table_add, events, c}};
	uint32_t bits;
	int err;

	mutex_lock(&ctl_lock, L_EPOLLCTL);
	err = item_enter_checked(epf, f, fd, events, data, &t.item);
	mutex_unlock(&ctl_lock, L_EPOLLCTL);
	if (err)
		return err;
	bits = file_poll(f, &t.t);
	if (t.no_memory) {
		err = ep_delete(epf->priv, f, fd);
		return err ? err : -ENOMEM;
	}
	if (bits & events & ~PRIVATE_BITS)
		ready_add(t.item);
	return 0;
}

int epoll_control(struct ctx *c, struct file *epf, int op, int fd, struct file *f, const struct epoll_event *ev)
{
	struct epoll *ep = epoll_of(epf);
	uint32_t events = (ev->events | EPOLLERR | EPOLLHUP) & ~(uint32_t)EPOLLWAKEUP;
	int err;

	if (!f->ops->poll)
		return -EPERM;
	if (f == epf || !ep || events_check(op, f, events))
		return -EINVAL;
	mutex_lock(&ep->lock, L_EPOLL);
	switch (op) {
	case EPOLL_CTL_ADD:
		err = ep_add(c, epf, f, fd, events, ev->data.u64);
		break;
	case EPOLL_CTL_MOD:
		err = ep_modify(c, ep, f, fd, events, ev->data.u64);
		break;
	case EPOLL_CTL_DEL:
		err = ep_delete(ep, f, fd);
		break;
	default:
		err = -EINVAL;
	}
	mutex_unlock(&ep->lock, L_EPOLL);
	if (!err && op != EPOLL_CTL_DEL && ep_has_ready(ep))
		wake_up(&ep->wq, POLLIN);
	return err;
}

static void epoll_put(struct epoll *ep)
{
	if (!ref_put(&ep->ref))
		return;
	kfree(ep->buckets, ep->bucket_count * sizeof(struct ep_item *));
	slab_free(&epoll_slab, ep);
}

/* An instance that watches f, with a reference; NULL: there is none. */
static struct epoll *watcher_of(struct file *f)
{
	struct ep_item *it;

	mutex_lock(&ctl_lock, L_EPOLLCTL);
	it = list_first(&f->epoll_items, struct ep_item, in_file);
	if (it)
		ref_get(&it->ep->ref);
	mutex_unlock(&ctl_lock, L_EPOLLCTL);
	return it ? it->ep : NULL;
}

void epoll_file_gone_slow(struct file *f)
{
	struct ep_item *it;
	struct epoll *ep;

	while ((ep = watcher_of(f))) {
		mutex_lock(&ep->lock, L_EPOLL);
		mutex_lock(&ctl_lock, L_EPOLLCTL);
		it = list_first(&f->epoll_items, struct ep_item, in_file);
		if (it && it->ep == ep)
			item_destroy(item_slot(ep, f, it->fd));
		mutex_unlock(&ctl_lock, L_EPOLLCTL);
		mutex_unlock(&ep->lock, L_EPOLL);
		epoll_put(ep);
	}
}

/* ---- epoll_wait ---- */

/* The next interest off the taken list that has something to report; its bits in *ret_bits. */
static struct ep_item *next_ready(struct ctx *c, struct epoll *ep, struct list *taken, uint32_t *ret_bits)
    REQUIRES(L_EPOLL)
{
	struct ep_item *it;

	for (;;) {
		mutex_lock(&ep->ready_lock, L_READY);
		it = list_first(taken, struct ep_item, ready);
		if (it)
			list_remove(&it->ready); /* before the poll: what happens from here on enters it again */
		mutex_unlock(&ep->ready_lock, L_READY);
		if (!it)
			return NULL;
		*ret_bits = item_poll(c, it);
		if (*ret_bits)
			return it;
	}
}

static void item_delivered(struct ep_item *it) REQUIRES(L_EPOLL)
{
	if (it->events & EPOLLONESHOT)
		it->events &= PRIVATE_BITS;
	else if (!(it->events & EPOLLET))
		ready_add(it);
}

/* Fills one batch and gives it to the guest. How many, or -EFAULT (the events stay pending). */
static int deliver_batch(struct ctx *c, struct epoll *ep, struct list *taken, uaddr_t to, int max) REQUIRES(L_EPOLL)
{
	struct epoll_event ev[BATCH];
	struct ep_item *items[BATCH];
	uint32_t bits;
	int n = 0, err = 0;

	while (n < MIN(max, BATCH) && (items[n] = next_ready(c, ep, taken, &bits))) {
		ev[n].events = bits;
		ev[n].data.u64 = items[n]->data;
		n++;
	}
	if (n)
		err = copy_out(c, to, ev, (size_t)n * sizeof(ev[0]));
	for (int i = 0; i < n; i++) {
		if (err)
			ready_add(items[i]);
		else
			item_delivered(items[i]);
	}
	return err ? err : n;
}

/* Reports what is ready now. */
static long ep_scan(struct ctx *c, struct epoll *ep, uaddr_t events, int max)
{
	struct list taken = LIST_INIT(taken);
	long done = 0;
	bool more;
	int n;

	if (!ep_has_ready(ep))
		return 0;
	mutex_lock(&ep->lock, L_EPOLL);
	mutex_lock(&ep->ready_lock, L_READY);
	list_splice(&taken, &ep->ready);
	mutex_unlock(&ep->ready_lock, L_READY);
	do {
		n = deliver_batch(c, ep, &taken, uaddr_add(events, (uint64_t)done * sizeof(struct epoll_event)),
				  max - (int)done);
		done += MAX(n, 0);
	} while (n == BATCH && done < max);
	/* What did not fit goes in front of what was put back. */
	mutex_lock(&ep->ready_lock, L_READY);
	list_splice(&taken, &ep->ready);
	list_splice(&ep->ready, &taken);
	more = !list_empty(&ep->ready);
	mutex_unlock(&ep->ready_lock, L_READY);
	mutex_unlock(&ep->lock, L_EPOLL);
	if (more)
		wake_up(&ep->wq, POLLIN);
	return done ? done : n;
}

static int ep_sleep(struct ctx *c, struct epoll *ep, int64_t deadline)
{
	struct wait_entry e;
	int err = 0;

	wait_entry_init_ctx(&e, c, 0);
	e.exclusive = true;
	wait_queue_add(&ep->wq, &e);
	if (!ep_has_ready(ep))
		err = park(c, deadline);
	wait_entry_remove(&e);
	return err;
}

long epoll_wait_events(struct ctx *c, struct file *epf, uaddr_t events, int max, int64_t deadline)
{
	struct epoll *ep = epoll_of(epf);
	int err = deadline ? 0 : -ETIMEDOUT;

	if (!ep || max <= 0 || max > INT32_MAX / (int)sizeof(struct epoll_event))
		return -EINVAL;
	for (;;) {
		long n = ep_scan(c, ep, events, max);

		if (n)
			return n;
		if (err)
			return err == -ETIMEDOUT ? 0 : -EINTR;
		err = ep_sleep(c, ep, deadline);
	}
}

/* ---- the instance's file ---- */

static uint32_t epoll_poll(struct file *f, struct poll_table *p) NO_TSA
{
	struct epoll *ep = f->priv;
	struct list taken = LIST_INIT(taken);
	struct ep_item *it;
	uint32_t bits;

	poll_wait(p, &ep->wq);
	if (!ep_has_ready(ep))
		return 0;
	mutex_lock_nested(&ep->lock, L_EPOLL);
	mutex_lock(&ep->ready_lock, L_READY);
	list_splice(&taken, &ep->ready);
	mutex_unlock(&ep->ready_lock, L_READY);
	it = next_ready(p ? p->c : NULL, ep, &taken, &bits);
	mutex_lock(&ep->ready_lock, L_READY);
	if (it && list_empty(&it->ready))
		list_push(&taken, &it->ready);
	list_splice(&taken, &ep->ready);
	list_splice(&ep->ready, &taken);
	mutex_unlock(&ep->ready_lock, L_READY);
	mutex_unlock_nested(&ep->lock, L_EPOLL);
	return it ? POLLIN | POLLRDNORM : 0;
}

static void epoll_release(struct file *f)
{
	struct epoll *ep = f->priv;

	mutex_lock(&ep->lock, L_EPOLL);
	for (uint32_t i = 0; i < ep->bucket_count; i++) {
		mutex_lock(&ctl_lock, L_EPOLLCTL);
		while (ep->buckets[i])
			item_destroy(&ep->buckets[i]);
		mutex_unlock(&ctl_lock, L_EPOLLCTL);
	}
	mutex_unlock(&ep->lock, L_EPOLL);
	epoll_put(ep);
}

static void epoll_show_fdinfo(struct file *f, char *buf, size_t size)
{
	struct epoll *ep = f->priv;
	size_t at = 0;

	mutex_lock(&ep->lock, L_EPOLL);
	for (uint32_t i = 0; i < ep->bucket_count; i++) {
		for (struct ep_item *it = ep->buckets[i]; it && at < size; it = it->hash_next) {
			int n = snprintf(buf + at, size - at, "tfd: %8d events: %8x data: %16llx  pos:%lld ino:%llx\n",
					 it->fd, it->events, (unsigned long long)it->data, (long long)it->file->pos,
					 (unsigned long long)it->file->inode->ino);

			at += (size_t)n;
		}
	}
	mutex_unlock(&ep->lock, L_EPOLL);
}

static const struct file_ops epoll_ops = {
    .poll = epoll_poll,
    .release = epoll_release,
    .show_fdinfo = epoll_show_fdinfo,
};

int epoll_create_file(struct ctx *c, struct file **ret)
{
	struct epoll *ep = slab_alloc(&epoll_slab);
	int err;

	if (!ep)
		return -ENOMEM;
	ref_init(&ep->ref);
	mutex_init(&ep->lock);
	mutex_init(&ep->ready_lock);
	list_init(&ep->ready);
	wait_queue_init(&ep->wq);
	ep->bucket_count = 8;
	ep->buckets = kalloc(ep->bucket_count * sizeof(struct ep_item *));
	err = ep->buckets ? anon_file_create(c, "[eventpoll]", 0, &epoll_ops, ep, O_RDWR, ret) : -ENOMEM;
	if (err)
		epoll_put(ep);
	else
		ep->file = *ret;
	return err;
}
