/*
 * What a stack needs of the outside (struct stack_env): the host's monotonic clock, the host's random numbers, and a call when its next timer is due,
 * by the sentry's timers. While no connection waits for anything no timer is armed, and nothing runs.
 *
 * Random numbers are taken in batches, because ports and sequence numbers are asked for one by one; what has been given out is wiped. The stack
 * calls us under its lock, which guards the batch. Arming a timer may fail for want of memory: the deadline is kept then, and armed by the next call
 * that enters the stack.
 */
#include "net/netstack.h"

#include <string.h>
#include <sys/random.h>

#include "net/stack/netdev.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"
#include "sentry/base/timer.h"

#define BATCH 256u

struct netstack {
	struct stack *stack;
	struct timer timer;
	int64_t owed;  /* a deadline for which no timer could be armed; 0: none. L_NET */
	uint32_t left; /* L_NET: bytes of the batch */
	uint8_t batch[BATCH];
};

static struct slab netstack_slab = SLAB_INIT(struct netstack);
static struct mutex boot_lock = MUTEX_INIT;
static struct netstack *initial; /* atomic; set under L_SOCKNAME */

static void wake_at(void *arg, int64_t deadline)
{
	struct netstack *n = arg;

	n->owed = timer_arm(&n->timer, deadline) ? deadline : 0;
}

static int64_t now(void *arg)
{
	struct netstack *n = arg;

	if (unlikely(n->owed))
		wake_at(n, n->owed);
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
	struct netstack *n = arg;

	if (size > BATCH / 4) {
		host_random(to, size);
		return;
	}
	if (n->left < size) {
		host_random(n->batch, BATCH);
		n->left = BATCH;
	}
	n->left -= (uint32_t)size;
	memcpy(to, n->batch + n->left, size);
	explicit_bzero(n->batch + n->left, size);
}

static void fire(struct timer *t)
{
	stack_run(container_of(t, struct netstack, timer)->stack);
}

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

static struct netstack *netstack_create(void)
{
	struct netstack *n = slab_alloc(&netstack_slab);
	const struct stack_env env = {.now = now, .random = random_bytes, .wake_at = wake_at, .arg = n};

	if (!n)
		return NULL;
	timer_init(&n->timer, fire);
	n->stack = stack_create(&env);
	if (n->stack && lo_up(n->stack) == 0)
		return n;
	timer_cancel(&n->timer);
	stack_destroy(n->stack);
	slab_free(&netstack_slab, n);
	return NULL;
}

struct stack *netstack_make(void)
{
	struct netstack *n = netstack_create();

	return n ? n->stack : NULL;
}

struct stack *netstack_of(const struct ctx *c __unused)
{
	struct netstack *n = __atomic_load_n(&initial, __ATOMIC_ACQUIRE);

	if (likely(n))
		return n->stack;
	mutex_lock(&boot_lock, L_SOCKNAME);
	n = __atomic_load_n(&initial, __ATOMIC_RELAXED);
	if (!n)
		n = netstack_create();
	__atomic_store_n(&initial, n, __ATOMIC_RELEASE);
	mutex_unlock(&boot_lock, L_SOCKNAME);
	return n ? n->stack : NULL;
}
