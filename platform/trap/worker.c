/*
 * The threads that run cpus.
 *
 * A cpu that is started must get a thread at once, and whoever starts it could not be told that there is none. So a thread is reserved
 * where that can still be told: when a cpu is made, for as long as it is in use, and when a spinner is called. There are at least as many threads
 * as are reserved. One that a started cpu does not find idle is on its way back from another cpu, which has been
 * given back or runs elsewhere by then: the cpu waits for it.
 *
 * A thread has no cpu of its own while it spins, nor while it handles an event that it took as the spinner and the cpu's worker still waits for
 * reports: it keeps the spinner's reservation until that worker leaves (spin.c).
 *
 * Workers never end. Their stacks are small, and only what an upcall touches of them is resident.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/trap/trap.h"

#define WORKER_STACK (256 * 1024)

struct worker {
	uint32_t wake;        /* futex: set when job is */
	struct trap_cpu *job; /* NULL: to spin */
	struct worker *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct worker *idle;        /* lock */
static struct trap_cpu *waiting;   /* lock: started, and no thread was idle */
static bool spinner_waits;         /* lock: likewise */
static unsigned threads, reserved; /* lock */

/* What waits for a thread, if anything does. */
static bool take_job(struct worker *w)
{
	bool spin = !waiting && spinner_waits;

	w->job = waiting;
	if (w->job)
		waiting = w->job->next;
	if (spin)
		spinner_waits = false;
	return w->job || spin;
}

static void next_job(struct worker *self)
{
	bool found;

	pthread_mutex_lock(&lock);
	found = take_job(self);
	if (!found) {
		self->wake = 0;
		self->next = idle;
		idle = self;
	}
	pthread_mutex_unlock(&lock);
	while (!found && !__atomic_load_n(&self->wake, __ATOMIC_ACQUIRE))
		syscall(SYS_futex, &self->wake, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static void *worker_main(void *arg __unused)
{
	struct worker self = {0};

	for (;;) {
		next_job(&self);
		if (self.job)
			take_over(self.job);
		else
			spin_main();
	}
	return NULL;
}

static int worker_create(void)
{
	size_t size = WORKER_STACK + PAGE_SIZE;
	pthread_attr_t attr;
	pthread_t t;
	char *stack;
	int err;

	stack =
	    mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	mprotect(stack, PAGE_SIZE, PROT_NONE);
	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, stack + PAGE_SIZE, WORKER_STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	err = pthread_create(&t, &attr, worker_main, NULL);
	pthread_attr_destroy(&attr);
	if (err)
		munmap(stack, size);
	return -err;
}

int worker_reserve(void)
{
	bool enough;
	int err;

	pthread_mutex_lock(&lock);
	enough = threads > reserved;
	reserved++;
	threads += !enough;
	pthread_mutex_unlock(&lock);
	err = enough ? 0 : worker_create();
	if (err) {
		pthread_mutex_lock(&lock);
		threads--;
		reserved--;
		pthread_mutex_unlock(&lock);
	}
	return err;
}

void worker_release(void)
{
	pthread_mutex_lock(&lock);
	reserved--;
	pthread_mutex_unlock(&lock);
}

void worker_give(struct trap_cpu *c)
{
	struct worker *w;

	pthread_mutex_lock(&lock);
	w = idle;
	if (w) {
		idle = w->next;
	} else if (c) {
		c->next = waiting;
		waiting = c;
	} else {
		spinner_waits = true;
	}
	pthread_mutex_unlock(&lock);
	if (!w)
		return;
	w->job = c;
	__atomic_store_n(&w->wake, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &w->wake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
