/*
 * Futexes with priority inheritance: see futex.h and Documentation/locking/pi-futex.
 *
 * The word holds the owner's tid; FUTEX_WAITERS says that the kernel must be asked to unlock it. A lock that a call is about has a
 * `pi_lock`: its waiters, in order of priority, then of arrival, and, while there are any, its owner; then nobody may take the lock by the word
 * alone.
 *
 * Everything about one lock, the changes of its word in guest memory included, happens under its mutex (L_FUTEXPI), which is ordered
 * before L_MM, so that guest memory may be reached while it is held. A guest can make that last: so the mutex is waited for only by those who have
 * to do with this futex; pi_locks are found under the lock of a hash bucket (L_FUTEX). An unlock hands the lock to the first waiter by writing its tid
 * into the word: the waiter finds itself `granted`. When an owner dies, the first waiter is granted too, and writes the word by itself, because
 * only it knows where the lock lies in its address space.
 *
 * Changing the word is a race with whoever else writes to it. After a number of lost ones the call is started again: another thread could see to
 * it that we always lose.
 *
 * We have one scheduler's priority for everybody: the inheritance itself (boosting the owner) is the order of hand-over only.
 */
#include <linux/futex.h>
#include <string.h>

#include "sentry/base/slab.h"
#include "sentry/futex_impl.h"

#define PI_BUCKETS 64

struct pi_lock {
	struct list link;     /* in its bucket, L_FUTEX */
	unsigned users;       /* calls that are about it, L_FUTEX */
	struct futex_key key; /* a reference */
	struct mutex lock;    /* L_FUTEXPI, and: */
	struct task *owner;   /* a reference; NULL: nobody waits. owned_by() looks without the lock */
	struct list waiters;  /* futex_waiter.pi_link */
};

struct pi_bucket {
	struct mutex lock; /* L_FUTEX */
	struct list locks; /* L_FUTEX */
} __attribute__((aligned(64)));

static struct pi_bucket pi_buckets[PI_BUCKETS];
static uint32_t pi_owned; /* how many have an owner; atomic: nothing to do at exit while it is 0 */
static struct slab pi_lock_slab = SLAB_INIT(struct pi_lock);

__attribute__((constructor)) static void futex_pi_init(void)
{
	for (unsigned i = 0; i < PI_BUCKETS; i++) {
		mutex_init(&pi_buckets[i].lock);
		list_init(&pi_buckets[i].locks);
	}
}

static struct pi_bucket *pi_bucket_of(const struct futex_key *k)
{
	return &pi_buckets[futex_key_hash(k) % PI_BUCKETS];
}

static struct pi_lock *pi_find(struct pi_bucket *b, const struct futex_key *key) REQUIRES(L_FUTEX)
{
	struct pi_lock *p;

	list_for_each(p, &b->locks, link)
		if (futex_key_equal(&p->key, key))
			return p;
	return NULL;
}

static struct pi_lock *pi_create(struct pi_bucket *b, const struct futex_key *key) REQUIRES(L_FUTEX)
{
	struct pi_lock *p = slab_alloc(&pi_lock_slab);

	if (!p)
		return NULL;
	p->key = *key;
	if (key->shared)
		inode_get((struct inode *)(uintptr_t)key->object);
	mutex_init(&p->lock);
	list_init(&p->waiters);
	list_append(&b->locks, &p->link);
	return p;
}

/* The lock of that key, for pi_close(). NULL: no memory. */
static struct pi_lock *pi_open(const struct futex_key *key)
{
	struct pi_bucket *b = pi_bucket_of(key);
	struct pi_lock *p;

	mutex_lock(&b->lock, L_FUTEX);
	p = pi_find(b, key);
	if (!p)
		p = pi_create(b, key);
	if (p)
		p->users++;
	mutex_unlock(&b->lock, L_FUTEX);
	return p;
}

static void pi_close(struct pi_lock *p)
{
	struct pi_bucket *b = pi_bucket_of(&p->key);
	bool last;

	mutex_lock(&b->lock, L_FUTEX);
	last = --p->users == 0;
	if (last)
		list_remove(&p->link);
	mutex_unlock(&b->lock, L_FUTEX);
	if (!last)
		return;
	futex_key_put(&p->key);
	slab_free(&pi_lock_slab, p);
}

/* NULL, or a reference that it takes over. */
static void pi_set_owner(struct pi_lock *p, struct task *owner) REQUIRES(L_FUTEXPI)
{
	struct task *old = p->owner;

	__atomic_store_n(&p->owner, owner, __ATOMIC_SEQ_CST);
	if (owner && !old)
		__atomic_fetch_add(&pi_owned, 1, __ATOMIC_SEQ_CST);
	else if (old && !owner)
		__atomic_fetch_sub(&pi_owned, 1, __ATOMIC_SEQ_CST);
	task_put(old);
}

static void pi_add_waiter(struct pi_lock *p, struct futex_waiter *w) REQUIRES(L_FUTEXPI)
{
	struct futex_waiter *other;
	struct list *before = &p->waiters;

	list_for_each(other, &p->waiters, pi_link) {
		if (other->task->sched_priority < w->task->sched_priority) {
			before = &other->pi_link;
			break;
		}
	}
	list_append(before, &w->pi_link);
	w->pi = p;
}

/* w becomes the owner. */
static void pi_grant(struct pi_lock *p, struct futex_waiter *w, bool owner_died) REQUIRES(L_FUTEXPI)
{
	list_remove(&w->pi_link);
	w->pi = NULL;
	w->granted = true;
	w->owner_died = owner_died;
	pi_set_owner(p, list_empty(&p->waiters) ? NULL : task_get(w->task));
	unpark(&w->task->ctx.parker);
}

static int word_cas(struct task *t, uint64_t addr, uint32_t *seen, uint32_t desired)
{
	return platform->cpu_cas32(t->cpu, addr, seen, desired) ? -EFAULT : 0;
}

static uint32_t tid_of(const struct task *t)
{
	return (uint32_t)t->ctx.tid & FUTEX_TID_MASK;
}

/*
 * The task that the word names is the owner. -ESRCH: there is no such task any more; whoever ended in the meantime has left its mark
 * in the word, so that it is worth another look.
 */
static int pi_attach(struct pi_lock *p, uint32_t word) REQUIRES(L_FUTEXPI)
{
	struct task *owner = task_find((int32_t)(word & FUTEX_TID_MASK));

	if (!owner)
		return -ESRCH;
	pi_set_owner(p, owner);
	/* Only now: either the owner's futex_exit_pi() finds the lock, or we see that it has been there. */
	if (__atomic_load_n((bool *)&owner->futex_exited, __ATOMIC_SEQ_CST)) {
		pi_set_owner(p, NULL);
		return -ESRCH;
	}
	return 0;
}

/* Makes sure that an unlock comes to us. -EAGAIN: the word is another one by now, see *word. */
static int pi_contend(struct task *t, uint64_t addr, struct pi_lock *p, uint32_t *word) REQUIRES(L_FUTEXPI)
{
	uint32_t seen = *word;
	int err = 0;

	if (!p->owner && !(seen & FUTEX_WAITERS))
		err = word_cas(t, addr, &seen, seen | FUTEX_WAITERS);
	if (err)
		return err;
	if (seen != *word) {
		*word = seen;
		return -EAGAIN;
	}
	if (p->owner)
		return 0;
	err = pi_attach(p, *word);
	if (err != -ESRCH)
		return err;
	if ((err = futex_read(t, addr, &seen)))
		return err;
	err = seen == (*word | FUTEX_WAITERS) || seen == *word ? -ESRCH : -EAGAIN;
	*word = seen;
	return err;
}

/*
 * Lets `w` have the lock at addr (in t's memory), or puts it on the lock's queue. 1: it owns it now; 0: queued; -errno. try: never queues.
 */
static int pi_acquire(struct task *t, uint64_t addr, struct pi_lock *p, struct futex_waiter *w, bool try)
    REQUIRES(L_FUTEXPI)
{
	uint32_t mine = tid_of(w->task);
	uint32_t word;
	int err = futex_read(t, addr, &word);

	for (int i = 0; !err; i++) {
		uint32_t seen = word;

		if (i == FUTEX_TRIES)
			return -ERESTARTNOINTR;
		if ((word & FUTEX_TID_MASK) == mine)
			return -EDEADLK;
		if (!p->owner && !(word & FUTEX_TID_MASK)) {
			err = word_cas(t, addr, &seen, mine | (word & FUTEX_OWNER_DIED));
			if (!err && seen == word)
				return 1;
			word = seen;
			continue;
		}
		if (try)
			return -EAGAIN;
		err = pi_contend(t, addr, p, &word);
		if (!err)
			break;
		if (err == -EAGAIN)
			err = 0;
	}
	if (!err)
		pi_add_waiter(p, w);
	return err;
}

/* The new owner of a lock whose last one died says so in the word. */
static void mark_owner_died(struct task *t, uint64_t addr)
{
	uint32_t word, seen;

	if (futex_read(t, addr, &word))
		return;
	seen = word;
	for (int i = 0; i < FUTEX_TRIES; i++, word = seen) {
		uint32_t desired = tid_of(t) | FUTEX_OWNER_DIED | FUTEX_WAITERS;

		if (word_cas(t, addr, &seen, desired) || seen == word)
			return;
	}
}

/* Waits until w is granted; err is the first reason to stop. The result of the call. */
static sysret_t pi_wait(struct task *t, uint64_t addr, struct pi_lock *p, struct futex_waiter *w,
			const struct futex_timeout *timeout)
{
	int err = 0;

	for (;;) {
		mutex_lock(&p->lock, L_FUTEXPI);
		if (w->granted || err)
			break;
		mutex_unlock(&p->lock, L_FUTEXPI);
		err = futex_park(t, timeout);
	}
	if (w->granted) {
		err = 0;
		if (w->owner_died)
			mark_owner_died(t, addr);
	} else if (w->pi) {
		list_remove(&w->pi_link);
		w->pi = NULL;
		if (list_empty(&p->waiters))
			pi_set_owner(p, NULL);
	} else {
		/* A requeue had taken it and put it back. */
		futex_dequeue(w);
	}
	mutex_unlock(&p->lock, L_FUTEXPI);
	return err == -ERESTARTSYS ? -ERESTARTNOINTR : err;
}

/* The lock of the futex at addr. */
static int pi_open_at(struct task *t, uint64_t addr, bool private, struct pi_lock **ret)
{
	struct futex_key key;
	int err = futex_key_of(t, addr, private, &key);

	if (err)
		return err;
	*ret = pi_open(&key);
	futex_key_put(&key);
	return *ret ? 0 : -ENOMEM;
}

sysret_t futex_lock_pi(struct task *t, uint64_t addr, bool private, bool try, const struct futex_timeout *timeout)
{
	struct futex_waiter w;
	struct pi_lock *p;
	sysret_t ret = pi_open_at(t, addr, private, &p);

	if (ret)
		return ret;
	futex_waiter_init(&w, t, FUTEX_ANY);
	mutex_lock(&p->lock, L_FUTEXPI);
	ret = pi_acquire(t, addr, p, &w, try);
	mutex_unlock(&p->lock, L_FUTEXPI);
	if (ret == 0)
		ret = pi_wait(t, addr, p, &w, timeout);
	pi_close(p);
	return ret > 0 ? 0 : ret;
}

/* Hands the lock on, or frees it. -EAGAIN: the word changed meanwhile. */
static int pi_release(struct task *t, uint64_t addr, struct pi_lock *p, uint32_t word) REQUIRES(L_FUTEXPI)
{
	struct futex_waiter *w = list_first(&p->waiters, struct futex_waiter, pi_link);
	uint32_t seen = word;
	int err;

	if (w && p->owner != t)
		return -EINVAL;
	err = word_cas(t, addr, &seen, w ? tid_of(w->task) | FUTEX_WAITERS : 0);
	if (err)
		return err;
	if (seen != word)
		return -EAGAIN;
	if (w)
		pi_grant(p, w, false);
	return 0;
}

sysret_t futex_unlock_pi(struct task *t, uint64_t addr, bool private)
{
	struct pi_lock *p;
	int err = pi_open_at(t, addr, private, &p), tries = FUTEX_TRIES;
	uint32_t word;

	if (err)
		return err;
	mutex_lock(&p->lock, L_FUTEXPI);
	do {
		err = futex_read(t, addr, &word);
		if (!err && (word & FUTEX_TID_MASK) != tid_of(t))
			err = -EPERM;
		if (!err)
			err = pi_release(t, addr, p, word);
	} while (err == -EAGAIN && --tries);
	mutex_unlock(&p->lock, L_FUTEXPI);
	pi_close(p);
	return err == -EAGAIN ? -ERESTARTNOINTR : err;
}

/* Sleeps while w waits on the first futex and has not been moved to the lock. 0: moved. */
static int wait_for_move(struct task *t, struct futex_waiter *w, const struct futex_timeout *timeout)
{
	int err = 0;

	while (!err && futex_queued(w))
		err = futex_park(t, timeout);
	return err && futex_dequeue(w) ? err : 0;
}

/* The keys and the lock that w waits for. */
static int requeue_prepare(struct task *t, struct futex_waiter *w, uint64_t addr, uint64_t addr2, bool private,
			   struct pi_lock **ret)
{
	int err = futex_key_of(t, addr2, private, &w->pi_key);

	if (err)
		return err;
	err = futex_key_of(t, addr, private, &w->key);
	if (!err) {
		*ret = pi_open(&w->pi_key);
		if (*ret)
			return 0;
		futex_key_put(&w->key);
		err = -ENOMEM;
	}
	futex_key_put(&w->pi_key);
	return err;
}

sysret_t futex_wait_requeue_pi(struct task *t, uint64_t addr, bool private, uint32_t value, uint32_t bitset,
			       const struct futex_timeout *timeout, uint64_t addr2)
{
	struct futex_waiter w;
	struct pi_lock *p;
	sysret_t ret;
	uint32_t word;
	int err;

	if (addr == addr2 || !bitset)
		return -EINVAL;
	futex_waiter_init(&w, t, bitset);
	w.wants_pi = true;
	if ((err = requeue_prepare(t, &w, addr, addr2, private, &p)))
		return err;
	futex_enqueue(&w);
	err = futex_read(t, addr, &word);
	if (!err && word != value)
		err = -EAGAIN;
	if (err)
		err = futex_dequeue(&w) ? err : 0;
	else
		err = wait_for_move(t, &w, timeout);
	ret = err ? (err == -ERESTARTSYS ? -ERESTARTNOINTR : err) : pi_wait(t, addr2, p, &w, timeout);
	/* Once moved, the word of the first futex has changed: a restart could not wait again. */
	if (!err && ret == -ERESTARTNOINTR)
		ret = -EAGAIN;
	pi_close(p);
	futex_key_put(&w.key);
	futex_key_put(&w.pi_key);
	return ret;
}

/* The next waiter on `from`, taken off its bucket. -EINVAL: it does not wait for this lock. NULL: none. */
static int take_waiter(const struct futex_key *from, const struct futex_key *to, struct futex_waiter **ret)
{
	struct futex_bucket *b = futex_bucket_of(from);
	struct futex_waiter *w, *found = NULL;
	int err = 0;

	mutex_lock(&b->lock, L_FUTEX);
	list_for_each(w, &b->waiters, link) {
		if (!futex_key_equal(&w->key, from))
			continue;
		found = w;
		break;
	}
	if (found && (!found->wants_pi || !futex_key_equal(&found->pi_key, to)))
		err = -EINVAL;
	else if (found)
		futex_unlink(found);
	mutex_unlock(&b->lock, L_FUTEX);
	*ret = found;
	return err;
}

/*
 * From the moment it is off its bucket until L_FUTEXPI is dropped a waiter cannot leave: pi_wait() takes that lock first. A waiter that
 * could not be put on the lock is told to try again by itself.
 */
static sysret_t move_waiters(struct task *t, uint64_t addr2, const struct futex_key *from, struct pi_lock *to,
			     int count) REQUIRES(L_FUTEXPI)
{
	sysret_t moved = 0;

	while (moved < count) {
		struct futex_waiter *w;
		int err = take_waiter(from, &to->key, &w);

		if (err || !w)
			return err && !moved ? err : moved;
		err = pi_acquire(t, addr2, to, w, false);
		if (err < 0) {
			futex_enqueue(w);
			return moved ? moved : err;
		}
		if (err == 1) {
			w->granted = true;
			unpark(&w->task->ctx.parker);
		}
		moved++;
	}
	return moved;
}

sysret_t futex_cmp_requeue_pi(struct task *t, uint64_t addr, uint64_t addr2, bool private, int wake_count,
			      int requeue_count, uint32_t expected)
{
	struct futex_key from;
	struct pi_lock *to;
	uint32_t word;
	sysret_t ret;
	int err;

	if (wake_count != 1 || requeue_count < 0 || addr == addr2)
		return -EINVAL;
	if ((err = futex_key_of(t, addr, private, &from)))
		return err;
	if ((err = pi_open_at(t, addr2, private, &to))) {
		futex_key_put(&from);
		return err;
	}
	mutex_lock(&to->lock, L_FUTEXPI);
	ret = futex_read(t, addr, &word);
	if (!ret && word != expected)
		ret = -EAGAIN;
	if (!ret)
		ret = move_waiters(t, addr2, &from, to, requeue_count == INT32_MAX ? INT32_MAX : requeue_count + 1);
	mutex_unlock(&to->lock, L_FUTEXPI);
	pi_close(to);
	futex_key_put(&from);
	return ret;
}

/* A lock that t owns and others wait for, for pi_close(); or NULL. */
static struct pi_lock *owned_by(struct pi_bucket *b, const struct task *t)
{
	struct pi_lock *p, *found = NULL;

	mutex_lock(&b->lock, L_FUTEX);
	list_for_each(p, &b->locks, link) {
		if (__atomic_load_n(&p->owner, __ATOMIC_SEQ_CST) != t)
			continue;
		found = p;
		p->users++;
		break;
	}
	mutex_unlock(&b->lock, L_FUTEX);
	return found;
}

/* The lock of a dead owner goes to the first waiter. */
static void owner_dies(struct pi_lock *p, const struct task *t)
{
	mutex_lock(&p->lock, L_FUTEXPI);
	if (p->owner == t)
		pi_grant(p, list_first(&p->waiters, struct futex_waiter, pi_link), true);
	mutex_unlock(&p->lock, L_FUTEXPI);
	pi_close(p);
}

void futex_exit_pi(struct task *t)
{
	struct pi_lock *p;

	__atomic_store_n((bool *)&t->futex_exited, true, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&pi_owned, __ATOMIC_SEQ_CST))
		return;
	for (unsigned i = 0; i < PI_BUCKETS; i++)
		while ((p = owned_by(&pi_buckets[i], t)))
			owner_dies(p, t);
}
