/*
 * The thread that waits for the host's sockets on behalf of nat: see watch.h.
 *
 * The host's epoll knows a socket by a number of ours that is never given twice, so that a report about one that has been removed meanwhile, or
 * whose descriptor means something else by now, finds nobody. From number to socket leads a hash table under L_HOSTFD; the thread takes a reference
 * there and calls ready() without the lock.
 *
 * Everything is edge-triggered: what is not read or written yet costs no wake-ups, and an idle sandbox has none. An owner therefore tries until
 * the host says EAGAIN, or goes on by himself.
 */
#include "net/nat/watch.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>

#include "sentry/base/lock.h"
#include "sentry/base/log.h"
#include "sentry/base/slab.h"

#define BUCKETS 4096
#define BATCH 64
#define WATCH_STACK (128 << 10)

static struct {
	struct mutex lock;
	struct watched **buckets; /* L_HOSTFD: made with the thread */
	uint64_t last_id;         /* L_HOSTFD */
	int epoll_fd;             /* constant once the thread runs */
	bool started;             /* L_HOSTFD */
} watch = {.lock = MUTEX_INIT, .epoll_fd = -1};

/* Where the one of that number hangs, or would. */
static struct watched **find(uint64_t id) REQUIRES(L_HOSTFD)
{
	struct watched **p = &watch.buckets[id % BUCKETS];

	while (*p && (*p)->id != id)
		p = &(*p)->next;
	return p;
}

static void report(uint64_t id, uint32_t events)
{
	struct watched *w;

	mutex_lock(&watch.lock, L_HOSTFD);
	w = *find(id);
	if (w)
		w->get(w);
	mutex_unlock(&watch.lock, L_HOSTFD);
	if (!w)
		return;
	w->ready(w, events);
	w->put(w);
}

static void *watch_main(void *arg)
{
	struct epoll_event events[BATCH];

	for (;;) {
		int n = epoll_wait(watch.epoll_fd, events, BATCH, -1);

		for (int i = 0; i < n; i++)
			report(events[i].data.u64, events[i].events);
	}
	return arg;
}

/* All signals stay blocked on the new thread: they are for the sentry's others. */
static int start(void) REQUIRES(L_HOSTFD)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int err;

	if (watch.started)
		return 0;
	if (!watch.buckets)
		watch.buckets = kalloc(BUCKETS * sizeof(*watch.buckets));
	if (!watch.buckets)
		return -ENOMEM;
	if (watch.epoll_fd < 0)
		watch.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (watch.epoll_fd < 0)
		return -errno;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, WATCH_STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	log_thread_mask(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&thread, &attr, watch_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	watch.started = err == 0;
	return -err;
}

static int add(struct watched *w, uint32_t events) REQUIRES(L_HOSTFD)
{
	struct epoll_event e = {.events = events | EPOLLET | EPOLLRDHUP};
	int err = start();

	if (err)
		return err;
	/* In the table first: the thread may hear of it at once. */
	e.data.u64 = w->id = ++watch.last_id;
	w->next = NULL;
	*find(w->id) = w;
	if (epoll_ctl(watch.epoll_fd, EPOLL_CTL_ADD, w->fd, &e) == 0)
		return 0;
	err = -errno;
	*find(w->id) = w->next;
	w->id = 0;
	return err;
}

int watch_add(struct watched *w, uint32_t events)
{
	int err;

	mutex_lock(&watch.lock, L_HOSTFD);
	err = add(w, events);
	mutex_unlock(&watch.lock, L_HOSTFD);
	return err;
}

static void forget(struct watched *w, bool closes)
{
	mutex_lock(&watch.lock, L_HOSTFD);
	if (w->id) {
		if (!closes)
			epoll_ctl(watch.epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
		*find(w->id) = w->next;
		w->id = 0;
	}
	mutex_unlock(&watch.lock, L_HOSTFD);
}

void watch_remove(struct watched *w)
{
	forget(w, false);
}

void watch_forget(struct watched *w)
{
	forget(w, true);
}

void watch_again(struct watched *w, uint32_t events)
{
	struct epoll_event e = {.events = events | EPOLLET | EPOLLRDHUP};

	mutex_lock(&watch.lock, L_HOSTFD);
	e.data.u64 = w->id;
	if (w->id)
		epoll_ctl(watch.epoll_fd, EPOLL_CTL_MOD, w->fd, &e);
	mutex_unlock(&watch.lock, L_HOSTFD);
}
