/*
 * Network namespaces, and what a stack needs of the outside (struct stack_env): the host's monotonic clock, the host's random numbers, and a call when its
 * next timer is due, by the sentry's timers. While no connection waits for anything no timer is armed, and nothing runs.
 *
 * A namespace and its stack's surroundings (struct netenv) live apart: the stack may outlive the namespace while somebody enters it, as the other end of a
 * veth pair does, and what it calls lives as long as the stack (env.release). After the namespace's end it arms no timer any more.
 *
 * The last reference may be given up anywhere, under any lock, also by a thread that is inside of the stack's own stack_leave(). So a namespace that dies is
 * put on a list, and the timer thread destroys its stack. If no timer can be armed for want of memory it waits for the next one.
 *
 * Random numbers are taken in batches, because ports and sequence numbers are asked for one by one; what has been given out is wiped. The stack
 * calls us under its lock, which guards the batch. Arming a timer may fail for want of memory: the deadline is kept then, and armed by the next call
 * that enters the stack.
 */
#include "net/netstack.h"

#include <linux/sched.h>
#include <string.h>
#include <sys/random.h>

#include "net/netlink.h"
#include "net/stack/netdev.h"
#include "sentry/base/clock.h"
#include "sentry/base/ctx.h"
#include "sentry/base/slab.h"
#include "sentry/base/timer.h"

#define BATCH 256u
#define NETNS_MAX 1024
#define INITIAL_INUM 4026531840u /* Linux's own, usually */

struct netenv {
	struct stack *stack; /* borrowed: it has the last word (release) */
	struct timer timer;
	bool ended;    /* L_NET: arms nothing any more */
	int64_t owed;  /* a deadline for which no timer could be armed; 0: none. L_NET */
	uint32_t left; /* L_NET: bytes of the batch */
	uint8_t batch[BATCH];
};

static const struct ns_ops netns_ops;
static struct slab netenv_slab = SLAB_INIT(struct netenv);
static struct slab netns_slab = SLAB_INIT(struct netns);
static struct mutex boot_lock = MUTEX_INIT; /* L_SOCKNAME: the initial stack is made once */
static struct netns initial = {.ns = {.ref = {1}, .ops = &netns_ops, .inum = INITIAL_INUM}, .cookie = 1};
static _Atomic uint64_t last_cookie = 1;
static _Atomic int netns_count;
struct netns *(*netns_by_pid)(int32_t pid);

/* ---- what a stack calls ---- */

static void wake_at(void *arg, int64_t deadline)
{
	struct netenv *e = arg;

	if (!e->ended)
		e->owed = timer_arm(&e->timer, deadline) ? deadline : 0;
}

static int64_t now(void *arg)
{
	struct netenv *e = arg;

	if (unlikely(e->owed))
		wake_at(e, e->owed);
	return clock_now(CLOCK_MONOTONIC);
}

/* The host's getrandom() does not fail once the host has booted. */
static void host_random(void *to, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t r = getrandom((char *)to + done, MIN(n - done, (size_t)BATCH), 0);

		BUG_ON(r < 0 && errno != EINTR);
		done += (size_t)MAX(r, 0);
	}
}

static void random_bytes(void *arg, void *to, size_t size)
{
	struct netenv *e = arg;

	if (size > BATCH / 4) {
		host_random(to, size);
		return;
	}
	if (e->left < size) {
		host_random(e->batch, BATCH);
		e->left = BATCH;
	}
	e->left -= (uint32_t)size;
	memcpy(to, e->batch + e->left, size);
	explicit_bzero(e->batch + e->left, size);
}

/* The stack's memory is still there: its timer may be firing. */
static void release(void *arg)
{
	struct netenv *e = arg;

	timer_cancel(&e->timer);
	slab_free(&netenv_slab, e);
}

static void fire(struct timer *t)
{
	struct stack *s = container_of(t, struct netenv, timer)->stack;

	if (!s || !stack_try_get(s))
		return;
	stack_run(s);
	stack_put(s);
}

/* ---- stacks ---- */

static int lo_up(struct stack *s)
{
	struct netdev *lo;
	int err;

	stack_enter(s);
	lo = netdev_by_index(s, LO_INDEX);
	err = lo ? netdev_set_flags(s, lo, IFF_UP, IFF_UP) : -ENODEV;
	stack_leave(s);
	return err;
}

static struct stack *make_stack(uint64_t id)
{
	struct netenv *e = slab_alloc(&netenv_slab);
	const struct stack_env env = {now, random_bytes, wake_at, e, release};

	if (!e)
		return NULL;
	timer_init(&e->timer, fire);
	e->stack = stack_create(&env);
	if (e->stack) {
		stack_set_id(e->stack, id);
		return e->stack;
	}
	timer_cancel(&e->timer);
	slab_free(&netenv_slab, e);
	return NULL;
}

static void end_stack(struct stack *s)
{
	struct netenv *e = stack_env_arg(s);

	stack_enter(s);
	e->ended = true;
	e->owed = 0;
	stack_leave(s);
	timer_cancel(&e->timer);
	stack_destroy(s);
}

struct stack *netstack_make(void)
{
	struct stack *s = make_stack(0);

	if (s && lo_up(s)) {
		end_stack(s);
		s = NULL;
	}
	return s;
}

static struct stack *initial_stack(void)
{
	struct stack *s;

	mutex_lock(&boot_lock, L_SOCKNAME);
	s = __atomic_load_n(&initial.stack, __ATOMIC_RELAXED);
	if (!s && (s = make_stack(initial.cookie)) && lo_up(s)) {
		end_stack(s);
		s = NULL;
	}
	__atomic_store_n(&initial.stack, s, __ATOMIC_RELEASE);
	mutex_unlock(&boot_lock, L_SOCKNAME);
	return s;
}

struct stack *netns_stack(struct netns *n)
{
	struct stack *s = __atomic_load_n(&n->stack, __ATOMIC_ACQUIRE);

	return likely(s) ? s : initial_stack();
}

struct stack *netstack_of(const struct ctx *c)
{
	return netns_stack(netns_of(c));
}

/* ---- namespaces ---- */

static struct netns *_Atomic dead; /* a stack of those that have ended */

static void bury(void)
{
	struct netns *n = __atomic_exchange_n((struct netns **)&dead, NULL, __ATOMIC_ACQ_REL), *next;

	for (; n; n = next) {
		next = n->dead_next;
		netlink_forget(n);
		end_stack(n->stack);
		slab_free(&netns_slab, n);
		__atomic_sub_fetch((int *)&netns_count, 1, __ATOMIC_RELAXED);
	}
}

static void bury_fire(struct timer *t __unused)
{
	bury();
}

static struct timer bury_timer = {.fire = bury_fire};

static void netns_destroy(struct ns *ns)
{
	struct netns *n = container_of(ns, struct netns, ns);
	struct netns *head = __atomic_load_n((struct netns **)&dead, __ATOMIC_RELAXED);

	do
		n->dead_next = head;
	while (
	    !__atomic_compare_exchange_n((struct netns **)&dead, &head, n, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	(void)!timer_arm(&bury_timer, 0);
}

static const struct ns_ops netns_ops = {.name = "net", .type = CLONE_NEWNET, .destroy = netns_destroy};

int netns_create(struct netns **ret)
{
	struct netns *n;

	if (__atomic_load_n((int *)&netns_count, __ATOMIC_RELAXED) >= NETNS_MAX)
		bury();
	if (__atomic_add_fetch((int *)&netns_count, 1, __ATOMIC_RELAXED) > NETNS_MAX) {
		__atomic_sub_fetch((int *)&netns_count, 1, __ATOMIC_RELAXED);
		return -ENOSPC;
	}
	n = slab_alloc(&netns_slab);
	if (n)
		n->cookie = __atomic_add_fetch((uint64_t *)&last_cookie, 1, __ATOMIC_RELAXED);
	if (n && !(n->stack = make_stack(n->cookie))) {
		slab_free(&netns_slab, n);
		n = NULL;
	}
	if (!n) {
		__atomic_sub_fetch((int *)&netns_count, 1, __ATOMIC_RELAXED);
		return -ENOMEM;
	}
	ref_init(&n->ns.ref);
	n->ns.ops = &netns_ops;
	n->ns.inum = ns_alloc_inum();
	*ret = n;
	return 0;
}

struct netns *netns_get(struct netns *n)
{
	if (n)
		ns_get(&n->ns);
	return n;
}

void netns_put(struct netns *n)
{
	if (n)
		ns_put(&n->ns);
}

struct netns *netns_of(const struct ctx *c)
{
	return c && c->net ? c->net : &initial;
}

int netns_of_file(const struct file *f, struct netns **ret)
{
	struct ns *ns = nsfs_of(f);

	if (!ns || ns->ops != &netns_ops)
		return -EINVAL;
	*ret = netns_get(container_of(ns, struct netns, ns));
	return 0;
}
