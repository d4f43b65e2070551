/*
 * The memory limit: see memlimit.h.
 *
 * The watch looks every 20 ms while a task runs, and sleeps without a deadline when none did since the last look: a task that goes back to the guest wakes it. So an idle
 * sandbox makes no wake-ups. Between two looks a guest can get beyond the limit by what it touches in 20 ms; files in memory are limited by their own size (tmpfs), set by the
 * front end. The victim is the process with the largest resident size, weighted by oom_score_adj as Linux does (-1000: never); one that is dying already is
 * given time to go before another is chosen.
 */
#include "sentry/memlimit.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/platform.h"
#include "sentry/base/clock.h"
#include "sentry/base/log.h"
#include "sentry/base/slab.h"
#include "sentry/task.h"

#define LOOK_NS (20 * NSEC_PER_MSEC)

_Atomic uint32_t memlimit_asleep;

static uint64_t limit;

struct survey {
	uint64_t cpu_ns;             /* used by all, to see whether anything runs */
	bool dying;                  /* somebody is on his way out */
	struct thread_group *victim; /* a reference */
	int64_t victim_score;
	uint64_t victim_bytes;
	uint64_t used; /* private memory of all; pages shared after a fork count for each */
};

static bool survey_group(struct thread_group *tg, void *arg)
{
	struct survey *s = arg;
	uint64_t user = 0, sys = 0, rss = 0, anon = 0;
	int64_t score;

	if (tg->zombie || !tg->leader || !tg->leader->cpu)
		return true;
	if (platform->aspace_time(tg->leader->cpu, &user, &sys) == 0)
		s->cpu_ns += user + sys;
	if (platform->aspace_rss(tg->leader->cpu, &rss, &anon) == 0)
		s->used += anon;
	if (tg->group_exit) {
		s->dying = true;
		return true;
	}
	if (tg->oom_score_adj == -1000)
		return true;
	score = (int64_t)(anon >> PAGE_SHIFT) + (int64_t)(limit >> PAGE_SHIFT) / 1000 * tg->oom_score_adj;
	if (s->victim && score <= s->victim_score)
		return true;
	tg_put(s->victim);
	s->victim = tg_get(tg);
	s->victim_score = score;
	s->victim_bytes = anon;
	return true;
}

static void kill_victim(const struct survey *s, uint64_t kernel)
{
	log_warn("out of memory: %lu KiB are used, %lu of them by the sandbox's kernel, and --memory allows %lu: "
		 "killed process %d, which had %lu",
		 (unsigned long)((s->used + kernel) >> 10), (unsigned long)(kernel >> 10), (unsigned long)(limit >> 10),
		 s->victim->pid, (unsigned long)(s->victim_bytes >> 10));
	signal_send_forced(s->victim, SIGKILL, NULL);
}

/* One look; true if anything ran since the last one. */
static bool look(uint64_t *last_cpu)
{
	uint64_t kernel = arena_bytes();
	struct survey s = {0};
	bool ran;

	mutex_lock(&pidtree_lock, L_PIDTREE);
	tg_for_each(survey_group, &s);
	mutex_unlock(&pidtree_lock, L_PIDTREE);
	if (s.victim && !s.dying && s.used + kernel > limit)
		kill_victim(&s, kernel);
	tg_put(s.victim);
	ran = s.cpu_ns != *last_cpu || s.dying;
	*last_cpu = s.cpu_ns;
	return ran;
}

void memlimit_wake(void)
{
	memlimit_asleep = 0;
	syscall(SYS_futex, &memlimit_asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *watch(void *arg __unused)
{
	struct timespec pause = ns_to_timespec(LOOK_NS);
	uint64_t last_cpu = 0;

	for (;;) {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		if (look(&last_cpu))
			continue;
		/* Whoever starts to run from here on wakes us; who did just before is seen by one more look. */
		memlimit_asleep = 1;
		if (!look(&last_cpu))
			syscall(SYS_futex, &memlimit_asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
		memlimit_asleep = 0;
	}
	return NULL;
}

int memlimit_start(uint64_t bytes)
{
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	limit = bytes;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 << 10);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	err = pthread_create(&thread, &attr, watch, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}
