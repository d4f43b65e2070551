/*
 * Timers: see timer.h.
 *
 * Armed timers stand in a binary heap by deadline, under one lock; slot 0 stays empty, so that index 0 means "not armed".
 * One thread, made when the first timer is armed, sleeps on a condition variable until the first deadline, without
 * limit if there is none. It takes a due timer off the heap, drops the lock and calls it. `firing` names the timer whose function
 * runs: that is how timer_cancel() waits for it. It is compared only, because the function may free its timer, unless
 * somebody waits in timer_cancel(), who keeps it.
 */
#include "sentry/base/timer.h"

#include <signal.h>
#include <string.h>

#include "sentry/base/clock.h"
#include "sentry/base/lock.h"
#include "sentry/base/log.h"
#include "sentry/base/slab.h"

#define TIMER_STACK (128 << 10)

static struct {
	struct mutex lock;
	pthread_cond_t changed; /* the first deadline moved forward */
	pthread_cond_t fired;   /* `firing` changed */
	struct timer **heap;    /* slots 1..count */
	uint32_t count, capacity;
	struct timer *firing;
	bool firing_canceled; /* timer_cancel() waits for it: it may not stay armed */
	pthread_t thread;
	bool started;
} timers = {.lock = MUTEX_INIT, .fired = PTHREAD_COND_INITIALIZER};

void timer_init(struct timer *t, void (*fire)(struct timer *t))
{
	t->deadline = TIME_NEVER;
	t->heap_index = 0;
	t->fire = fire;
}

static void heap_set(uint32_t i, struct timer *t)
{
	timers.heap[i] = t;
	t->heap_index = i;
}

static void heap_up(uint32_t i, struct timer *t)
{
	for (; i > 1 && timers.heap[i / 2]->deadline > t->deadline; i /= 2)
		heap_set(i, timers.heap[i / 2]);
	heap_set(i, t);
}

static void heap_down(uint32_t i, struct timer *t)
{
	for (uint32_t child = 2 * i; child <= timers.count; i = child, child = 2 * i) {
		if (child < timers.count && timers.heap[child + 1]->deadline < timers.heap[child]->deadline)
			child++;
		if (t->deadline <= timers.heap[child]->deadline)
			break;
		heap_set(i, timers.heap[child]);
	}
	heap_set(i, t);
}

/* Puts t, which belongs at or near slot i, where its deadline wants it. */
static void heap_place(uint32_t i, struct timer *t)
{
	if (i > 1 && timers.heap[i / 2]->deadline > t->deadline)
		heap_up(i, t);
	else
		heap_down(i, t);
}

static int heap_reserve(void)
{
	uint32_t capacity = timers.capacity ? 2 * timers.capacity : 16;
	struct timer **heap;

	if (timers.count + 1 < timers.capacity)
		return 0;
	heap = krealloc(timers.heap, timers.capacity * sizeof(*heap), capacity * sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	timers.heap = heap;
	timers.capacity = capacity;
	return 0;
}

static void heap_remove(struct timer *t)
{
	uint32_t i = t->heap_index;
	struct timer *last = timers.heap[timers.count--];

	t->heap_index = 0;
	if (last != t)
		heap_place(i, last);
}

/* Calls t's function without the lock. */
static void timer_fire(struct timer *t) NO_TSA
{
	heap_remove(t);
	timers.firing = t;
	timers.firing_canceled = false;
	mutex_unlock(&timers.lock, L_TIMER);
	t->fire(t);
	mutex_lock(&timers.lock, L_TIMER);
	if (timers.firing_canceled && t->heap_index)
		heap_remove(t);
	timers.firing = NULL;
	pthread_cond_broadcast(&timers.fired);
}

static void *timer_thread(void *arg) NO_TSA
{
	mutex_lock(&timers.lock, L_TIMER);
	for (;;) {
		struct timer *first = timers.count ? timers.heap[1] : NULL;
		struct timespec ts;

		if (!first) {
			pthread_cond_wait(&timers.changed, &timers.lock.m);
		} else if (first->deadline <= clock_now(CLOCK_MONOTONIC)) {
			timer_fire(first);
		} else {
			ts = ns_to_timespec(first->deadline);
			pthread_cond_timedwait(&timers.changed, &timers.lock.m, &ts);
		}
	}
	return arg;
}

/* All signals stay blocked on the new thread: they are for the sentry's others. */
static int timer_thread_start(void)
{
	pthread_condattr_t attr;
	pthread_attr_t thread_attr;
	sigset_t all, old;
	int err;

	if (timers.started)
		return 0;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&timers.changed, &attr);
	pthread_condattr_destroy(&attr);
	log_thread_mask(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&thread_attr);
	pthread_attr_setstacksize(&thread_attr, TIMER_STACK);
	err = pthread_create(&timers.thread, &thread_attr, timer_thread, NULL);
	pthread_attr_destroy(&thread_attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	timers.started = err == 0;
	return -err;
}

int timers_start(void)
{
	int err;

	mutex_lock(&timers.lock, L_TIMER);
	err = timer_thread_start();
	mutex_unlock(&timers.lock, L_TIMER);
	return err;
}

static int timer_arm_locked(struct timer *t, int64_t deadline)
{
	if (timer_thread_start())
		return -ENOMEM;
	if (!t->heap_index && heap_reserve())
		return -ENOMEM;
	t->deadline = deadline;
	heap_place(t->heap_index ? t->heap_index : ++timers.count, t);
	if (t->heap_index == 1)
		pthread_cond_signal(&timers.changed);
	return 0;
}

int timer_arm(struct timer *t, int64_t deadline)
{
	int err;

	mutex_lock(&timers.lock, L_TIMER);
	err = timer_arm_locked(t, deadline);
	mutex_unlock(&timers.lock, L_TIMER);
	return err;
}

static bool timer_disarm_locked(struct timer *t)
{
	if (!t->heap_index)
		return false;
	heap_remove(t);
	return true;
}

bool timer_disarm(struct timer *t)
{
	bool armed;

	mutex_lock(&timers.lock, L_TIMER);
	armed = timer_disarm_locked(t);
	mutex_unlock(&timers.lock, L_TIMER);
	return armed;
}

/* The function that runs may arm its timer again: then the timer thread, which is first to see it, takes that back. */
bool timer_cancel(struct timer *t)
{
	bool armed;

	mutex_lock(&timers.lock, L_TIMER);
	armed = timer_disarm_locked(t);
	while (timers.firing == t && !pthread_equal(timers.thread, pthread_self())) {
		timers.firing_canceled = true;
		pthread_cond_wait(&timers.fired, &timers.lock.m);
	}
	mutex_unlock(&timers.lock, L_TIMER);
	return armed;
}
