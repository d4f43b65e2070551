/*
 * Which processor a guest thread and its tracer run on.
 *
 * A stop wakes the tracer and a resume wakes the guest: if the host's scheduler spreads the two over processors, each
 * exchange costs two wake-ups of an idle one (measured: 40 us instead of 6). So both are bound to one processor, the
 * cpu's home. A new cpu starts at its parent's home, and what wakes up stays where it was, so that those who wait for each
 * other stay together.
 *
 * The host can no longer balance the load, so this does. A cpu counts as running from its start until its upcall sleeps
 * (park_hook), and again when the upcall returns. When one processor has two running cpus more than another, the
 * balancer is woken: a thread that looks after BALANCE_NS whether a cpu has been running all that time beside another, and moves
 * that one. It sleeps without limit while the counts are level: an idle sandbox makes no wake-ups. Pairs that take turns
 * never run that long, so they are left together.
 *
 * A guest's own choice (sched_setaffinity) limits where its home may be. All of it is under place.lock, a leaf.
 */
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "platform/ptrace/internal.h"
#include "sentry/base/clock.h"
#include "sentry/base/wait.h"

#define BALANCE_NS (1 * NSEC_PER_MSEC)
#define BALANCER_STACK (64 << 10)

static struct {
	pthread_mutex_t lock;
	pthread_cond_t uneven;
	cpu_set_t allowed;
	unsigned count; /* of processors in allowed; 1: nothing to do */
	unsigned running[CPU_SETSIZE];
	struct list cpus; /* pcpu.place_link of those running */
	bool balancer, want;
} place = {.lock = PTHREAD_MUTEX_INITIALIZER, .uneven = PTHREAD_COND_INITIALIZER, .cpus = LIST_INIT(place.cpus)};

static bool may_use(const struct pcpu *c, int processor)
{
	return CPU_ISSET(processor, &place.allowed) && (!c->limited || CPU_ISSET(processor, &c->mask));
}

static void bind_to_home(struct pcpu *c)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(c->home, &one);
	sched_setaffinity(c->tid, sizeof(one), &one);
	sched_setaffinity(c->tracer_tid, sizeof(one), &one);
	c->bound = true;
}

/* The processor with the fewest running cpus among those c may use; -1 if there is none. */
static int emptiest(const struct pcpu *c)
{
	int best = -1;

	for (int i = 0; i < CPU_SETSIZE; i++)
		if (may_use(c, i) && (best < 0 || place.running[i] < place.running[best]))
			best = i;
	return best;
}

/* Whether c should leave its home for *ret. */
static bool better_home(const struct pcpu *c, int *ret)
{
	*ret = emptiest(c);
	return *ret >= 0 && place.running[*ret] + 2 <= place.running[c->home];
}

static void move(struct pcpu *c, int to)
{
	place.running[c->home]--;
	c->home = to;
	place.running[to]++;
	bind_to_home(c);
}

/* Moves what has been running long enough beside others. True if something may still have to move. */
static bool balance(void)
{
	int64_t now = clock_now(CLOCK_MONOTONIC);
	bool again = false;
	struct pcpu *c;
	int to;

	list_for_each(c, &place.cpus, place_link) {
		if (!better_home(c, &to))
			continue;
		if (now - c->running_since >= BALANCE_NS)
			move(c, to);
		else
			again = true;
	}
	return again;
}

static void *balancer_main(void *arg __unused)
{
	struct timespec pause = ns_to_timespec(BALANCE_NS);

	sched_setaffinity(0, sizeof(place.allowed), &place.allowed);
	pthread_mutex_lock(&place.lock);
	for (;;) {
		while (!place.want)
			pthread_cond_wait(&place.uneven, &place.lock);
		pthread_mutex_unlock(&place.lock);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		pthread_mutex_lock(&place.lock);
		place.want = balance();
	}
	return NULL;
}

static void balancer_wake(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	if (place.want)
		return;
	place.want = true;
	pthread_cond_signal(&place.uneven);
	if (place.balancer)
		return;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, BALANCER_STACK);
	place.balancer = pthread_create(&thread, &attr, balancer_main, NULL) == 0;
	pthread_attr_destroy(&attr);
}

/* With more than one running at c's home: is there a reason to look again later? */
static void look_around(const struct pcpu *c)
{
	int to;

	if (place.running[c->home] > 1 && better_home(c, &to))
		balancer_wake();
}

void place_running(struct pcpu *c)
{
	if (place.count < 2 || c->counted)
		return;
	pthread_mutex_lock(&place.lock);
	c->counted = true;
	c->running_since = clock_now(CLOCK_MONOTONIC);
	if (c->home < 0 || !may_use(c, c->home)) {
		c->home = emptiest(c);
		c->bound = false;
	}
	if (c->home >= 0) {
		place.running[c->home]++;
		list_append(&place.cpus, &c->place_link);
		if (!c->bound)
			bind_to_home(c);
		look_around(c);
	}
	pthread_mutex_unlock(&place.lock);
}

void place_idle(struct pcpu *c)
{
	struct pcpu *other;

	if (!c->counted)
		return;
	pthread_mutex_lock(&place.lock);
	c->counted = false;
	if (c->home >= 0) {
		place.running[c->home]--;
		list_remove(&c->place_link);
		if (place.running[c->home] == 0)
			list_for_each(other, &place.cpus, place_link)
				look_around(other);
	}
	pthread_mutex_unlock(&place.lock);
}

int place_limit(struct pcpu *c, const void *mask, size_t size)
{
	cpu_set_t wanted, usable;

	CPU_ZERO(&wanted);
	memcpy(&wanted, mask, MIN(size, sizeof(wanted)));
	CPU_AND(&usable, &wanted, &place.allowed);
	if (CPU_COUNT(&usable) == 0)
		return -EINVAL;
	pthread_mutex_lock(&place.lock);
	c->mask = wanted;
	c->limited = true;
	if (c->home >= 0 && !may_use(c, c->home)) {
		if (c->counted) {
			move(c, emptiest(c));
		} else {
			c->home = emptiest(c);
			c->bound = false;
		}
	}
	pthread_mutex_unlock(&place.lock);
	return 0;
}

void place_inherit(struct pcpu *c, const struct pcpu *parent, bool bound)
{
	c->home = parent ? parent->home : -1;
	c->bound = parent && bound && parent->bound;
	c->limited = parent && parent->limited;
	if (c->limited)
		c->mask = parent->mask;
}

static void on_park(void)
{
	struct pcpu *c = tracer_self();

	if (c)
		place_idle(c);
}

void place_init(void)
{
	if (sched_getaffinity(0, sizeof(place.allowed), &place.allowed) == 0)
		place.count = (unsigned)CPU_COUNT(&place.allowed);
	park_hook = on_park;
}
