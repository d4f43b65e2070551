/*
 * Queues of pending signals: entries in order of arrival, and a set that tells in one word what is there.
 *
 * An entry costs memory that a guest asks for, so RLIMIT_SIGPENDING bounds entries by real user, as in Linux: users share a small table
 * of counters, by number. A signal whose entry could not be made is pending all the same, without its siginfo, unless it is a queued one
 * (sigqueue(3)): then the sender hears EAGAIN. Everything here is under the handlers' lock (L_SIGHAND) of the group that owns the queue.
 */
#include <string.h>

#include "sentry/base/cred.h"
#include "sentry/base/slab.h"
#include "sentry/sigimpl.h"
#include "sentry/task.h"

#define USER_BUCKETS 256

static struct slab entry_slab = SLAB_INIT(struct sigqueue_entry);
static _Atomic uint32_t user_entries[USER_BUCKETS];

void sigpending_init(struct sigpending *p)
{
	list_init(&p->queue);
	p->set = 0;
}

static void entry_free(struct sigqueue_entry *e)
{
	list_remove(&e->link);
	__atomic_fetch_sub((uint32_t *)&user_entries[e->bucket], 1, __ATOMIC_RELAXED);
	slab_free(&entry_slab, e);
}

void sigpending_flush(struct sigpending *p) NO_TSA
{
	sigqueue_flush(p, ~0ull);
}

void sigqueue_flush(struct sigpending *p, k_sigset_t mask)
{
	struct sigqueue_entry *e, *next;

	if (!(p->set & mask))
		return;
	p->set &= ~mask;
	list_for_each_safe(e, next, &p->queue, link)
		if (sig_in(mask, e->info.si_signo))
			entry_free(e);
}

static unsigned user_bucket(struct task *t)
{
	const struct cred *cred = task_get_cred(t);
	unsigned uid = cred ? cred->uid : 0;

	cred_put(cred);
	return uid % USER_BUCKETS;
}

static uint64_t limit_of(struct task *t)
{
	uint64_t limit;

	mutex_lock(&t->tg->lock, L_TASK);
	limit = t->tg->rlimit[RLIMIT_SIGPENDING].rlim_cur;
	mutex_unlock(&t->tg->lock, L_TASK);
	return limit;
}

int sigqueue_add(struct sigpending *p, struct task *limited, const siginfo_t *info, bool override)
{
	unsigned bucket = user_bucket(limited);
	uint32_t count = __atomic_add_fetch((uint32_t *)&user_entries[bucket], 1, __ATOMIC_RELAXED);
	struct sigqueue_entry *e = NULL;

	if (override || count <= limit_of(limited))
		e = slab_alloc(&entry_slab);
	if (!e) {
		__atomic_fetch_sub((uint32_t *)&user_entries[bucket], 1, __ATOMIC_RELAXED);
		return -EAGAIN;
	}
	e->bucket = bucket;
	e->info = *info;
	list_append(&p->queue, &e->link);
	p->set |= SIGBIT(info->si_signo);
	return 0;
}

void sigqueue_take(struct sigpending *p, int signo, siginfo_t *ret)
{
	struct sigqueue_entry *e, *found = NULL;
	bool more = false;

	list_for_each(e, &p->queue, link) {
		if (e->info.si_signo != signo)
			continue;
		more = found;
		if (more)
			break;
		found = e;
	}
	if (!more)
		p->set &= ~SIGBIT(signo);
	memset(ret, 0, sizeof(*ret));
	ret->si_signo = signo;
	if (!found)
		return;
	*ret = found->info;
	entry_free(found);
}

int sigset_first(k_sigset_t set)
{
	if (set & SIG_SYNC_MASK)
		set &= SIG_SYNC_MASK;
	return set ? __builtin_ctzll(set) + 1 : 0;
}
