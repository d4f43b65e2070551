/*
 * Futexes with priority inheritance: see futex.h and Documentation/locking/pi-futex.
 *
 * The word holds the owner's tid; FUTEX_WAITERS says that the kernel must be asked to unlock it. A lock that somebody waits for has a
 * `pi_lock`: its owner and its waiters, in order of priority, then of arrival. It exists only while there are waiters; then nobody may
 * take the lock by the word alone.
 *
 * Everything about one lock, the changes of its word in guest memory included, happens under the lock of its hash bucket (L_FUTEXPI), which is ordered
 * before L_MM, so that guest memory may be reached while it is held. An unlock hands the lock to the first waiter by writing its tid
 * into the word: the waiter finds itself `granted`. When an owner dies, the first waiter is granted too, and writes the word by itself, because
 * only it knows where the lock lies in its address space.
 *
 * Changing the word is a race with whoever else writes to it. After a number of lost ones the call is started again: another thread could see to
 * it that we always lose, and every task of the sandbox that ends needs the lock.
 *
 * We have one scheduler's priority for everybody: the inheritance itself (boosting the owner) is the order of hand-over only.
 */
#include <linux/futex.h>
#include <string.h>

#include "sentry/base/slab.h"
#include "sentry/futex_impl.h"

#define PI_BUCKETS 64

struct pi_lock {
	struct list link;     /* in its bucket */
	struct futex_key key; /* a reference */
	struct task *owner;   /* a reference */
	struct list waiters;  /* futex_waiter.pi_link */
};

struct pi_bucket {
	struct mutex lock; /* L_FUTEXPI */
	struct list locks; /* L_FUTEXPI */
} __attribute__((aligned(64)));

static struct pi_bucket pi_buckets[PI_BUCKETS];
static uint32_t pi_lock_count; /* atomic: nothing to do at exit while it is 0 */
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

static struct pi_lock *pi_find(struct pi_bucket *b, const struct futex_key *key) REQUIRES(L_FUTEXPI)
{
	struct pi_lock *p;

	list_for_each(p, &b->locks, link)
		if (futex_key_equal(&p->key, key))
			return p;
	return NULL;
}

/* Takes over the reference to owner. */
static struct pi_lock *pi_create(struct pi_bucket *b, const struct futex_key *key, struct task *owner)
    REQUIRES(L_FUTEXPI)
{
	struct pi_lock *p = slab_alloc(&pi_lock_slab);

	if (!p) {
		task_put(owner);
		return NULL;
	}
	p->key = *key;
	if (key->shared)
		inode_get((struct inode *)(uintptr_t)key->object);
	p->owner = owner;
	list_init(&p->waiters);
	list_append(&b->locks, &p->link);
	__atomic_fetch_add(&pi_lock_count, 1, __ATOMIC_SEQ_CST);
	return p;
}

/* Whoever calls holds a reference to the key too: this is never an inode's last. */
static void pi_free_if_idle(struct pi_lock *p) REQUIRES(L_FUTEXPI)
{
	if (!list_empty(&p->waiters))
		return;
	list_remove(&p->link);
	futex_key_put(&p->key);
	task_put(p->owner);
	slab_free(&pi_lock_slab, p);
	__atomic_fetch_sub(&pi_lock_count, 1, __ATOMIC_SEQ_CST);
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

/* w becomes the owner. The lock's structure goes when nobody else waits. */
static void pi_grant(struct pi_lock *p, struct futex_waiter *w, bool owner_died) REQUIRES(L_FUTEXPI)
{
	list_remove(&w->pi_link);
	w->pi = NULL;
	w->granted = true;
	w->owner_died = owner_died;
	task_put(p->owner);
	p->owner = task_get(w->task);
	unpark(&w->task->ctx.parker);
	pi_free_if_idle(p);
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
 * The lock's structure, made for the owner that the word names. -ESRCH: there is no such task any more; whoever ended in the
 * meantime has left its mark in the word, so that it is worth another look.
 */
static int pi_attach(struct pi_bucket *b, const struct futex_key *key, uint32_t word, struct pi_lock **ret)
    REQUIRES(L_FUTEXPI)
{
	struct task *owner = task_find((int32_t)(word & FUTEX_TID_MASK));
	struct pi_lock *p;

	if (!owner)
		return -ESRCH;
	if (!(p = pi_create(b, key, owner)))
		return -ENOMEM;
	/* Only now: either the owner's futex_exit_pi() finds the lock, or we see that it has been there. */
	if (__atomic_load_n((bool *)&owner->futex_exited, __ATOMIC_SEQ_CST)) {
		pi_free_if_idle(p);
		return -ESRCH;
	}
	*ret = p;
	return 0;
}

/* Makes sure that an unlock comes to us. -EAGAIN: the word is another one by now, see *word. */
static int pi_contend(struct task *t, uint64_t addr, const struct futex_key *key, uint32_t *word, struct pi_lock **p)
    REQUIRES(L_FUTEXPI)
{
	uint32_t seen = *word;
	int err = 0;

	if (!*p && !(seen & FUTEX_WAITERS))
		err = word_cas(t, addr, &seen, seen | FUTEX_WAITERS);
	if (err)
		return err;
	if (seen != *word) {
		*word = seen;
		return -EAGAIN;
	}
	if (*p)
		return 0;
	err = pi_attach(pi_bucket_of(key), key, *word, p);
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
static int pi_acquire(struct task *t, uint64_t addr, const struct futex_key *key, struct futex_waiter *w, bool try)
    REQUIRES(L_FUTEXPI)
{
	struct pi_lock *p = pi_find(pi_bucket_of(key), key);
	uint32_t mine = tid_of(w->task);
	uint32_t word;
	int err = futex_read(t, addr, &word);

	for (int i = 0; !err; i++) {
		uint32_t seen = word;

		if (i == FUTEX_TRIES)
			return -ERESTARTNOINTR;
		if ((word & FUTEX_TID_MASK) == mine)
			return -EDEADLK;
		if (!p && !(word & FUTEX_TID_MASK)) {
			err = word_cas(t, addr, &seen, mine | (word & FUTEX_OWNER_DIED));
			if (!err && seen == word)
				return 1;
			word = seen;
			continue;
		}
		if (try)
			return -EAGAIN;
		err = pi_contend(t, addr, key, &word, &p);
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
static sysret_t pi_wait(struct task *t, uint64_t addr, struct pi_bucket *b, struct futex_waiter *w,
			const struct futex_timeout *timeout)
{
	int err = 0;

	for (;;) {
		mutex_lock(&b->lock, L_FUTEXPI);
		if (w->granted || err)
			break;
		mutex_unlock(&b->lock, L_FUTEXPI);
		err = futex_park(t, timeout);
	}
	if (w->granted) {
		err = 0;
		if (w->owner_died)
			mark_owner_died(t, addr);
	} else if (w->pi) {
		struct pi_lock *p = w->pi;

		list_remove(&w->pi_link);
		w->pi = NULL;
		pi_free_if_idle(p);
	} else {
		/* A requeue had taken it and put it back. */
		futex_dequeue(w);
	}
	mutex_unlock(&b->lock, L_FUTEXPI);
	return err == -ERESTARTSYS ? -ERESTARTNOINTR : err;
}

sysret_t futex_lock_pi(struct task *t, uint64_t addr, bool private, bool try, const struct futex_timeout *timeout)
{
	struct futex_waiter w;
	struct futex_key key;
	struct pi_bucket *b;
	sysret_t ret;
	int err;

	futex_waiter_init(&w, t, FUTEX_ANY);
	if ((err = futex_key_of(t, addr, private, &key)))
		return err;
	b = pi_bucket_of(&key);
	mutex_lock(&b->lock, L_FUTEXPI);
	ret = pi_acquire(t, addr, &key, &w, try);
	mutex_unlock(&b->lock, L_FUTEXPI);
	if (ret == 0)
		ret = pi_wait(t, addr, b, &w, timeout);
	futex_key_put(&key);
	return ret > 0 ? 0 : ret;
}

/* Hands the lock on, or frees it. -EAGAIN: the word changed meanwhile. */
static int pi_release(struct task *t, uint64_t addr, const struct futex_key *key, uint32_t word) REQUIRES(L_FUTEXPI)
{
	struct pi_lock *p = pi_find(pi_bucket_of(key), key);
	struct futex_waiter *w = p ? list_first(&p->waiters, struct futex_waiter, pi_link) : NULL;
	uint32_t seen = word;
	int err;

	if (p && p->owner != t)
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
	struct futex_key key;
	struct pi_bucket *b;
	int err, tries = FUTEX_TRIES;
	uint32_t word;

	if ((err = futex_key_of(t, addr, private, &key)))
		return err;
	b = pi_bucket_of(&key);
	mutex_lock(&b->lock, L_FUTEXPI);
	do {
		err = futex_read(t, addr, &word);
		if (!err && (word & FUTEX_TID_MASK) != tid_of(t))
			err = -EPERM;
		if (!err)
			err = pi_release(t, addr, &key, word);
	} while (err == -EAGAIN && --tries);
	mutex_unlock(&b->lock, L_FUTEXPI);
	futex_key_put(&key);
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

sysret_t futex_wait_requeue_pi(struct task *t, uint64_t addr, bool private, uint32_t value, uint32_t bitset,
			       const struct futex_timeout *timeout, uint64_t addr2)
{
	struct futex_waiter w;
	sysret_t ret;
	uint32_t word;
	int err;

	if (addr == addr2 || !bitset)
		return -EINVAL;
	futex_waiter_init(&w, t, bitset);
	w.wants_pi = true;
	if ((err = futex_key_of(t, addr2, private, &w.pi_key)))
		return err;
	if ((err = futex_key_of(t, addr, private, &w.key))) {
		futex_key_put(&w.pi_key);
		return err;
	}
	futex_enqueue(&w);
	err = futex_read(t, addr, &word);
	if (!err && word != value)
		err = -EAGAIN;
	if (err)
		err = futex_dequeue(&w) ? err : 0;
	else
		err = wait_for_move(t, &w, timeout);
	ret = err ? (err == -ERESTARTSYS ? -ERESTARTNOINTR : err)
		  : pi_wait(t, addr2, pi_bucket_of(&w.pi_key), &w, timeout);
	/* Once moved, the word of the first futex has changed: a restart could not wait again. */
	if (!err && ret == -ERESTARTNOINTR)
		ret = -EAGAIN;
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
static sysret_t move_waiters(struct task *t, uint64_t addr2, const struct futex_key *from, const struct futex_key *to,
			     int count) REQUIRES(L_FUTEXPI)
{
	sysret_t moved = 0;

	while (moved < count) {
		struct futex_waiter *w;
		int err = take_waiter(from, to, &w);

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
	struct futex_key from, to;
	struct pi_bucket *b;
	uint32_t word;
	sysret_t ret;
	int err;

	if (wake_count != 1 || requeue_count < 0 || addr == addr2)
		return -EINVAL;
	if ((err = futex_key_of(t, addr, private, &from)))
		return err;
	if ((err = futex_key_of(t, addr2, private, &to))) {
		futex_key_put(&from);
		return err;
	}
	b = pi_bucket_of(&to);
	mutex_lock(&b->lock, L_FUTEXPI);
	ret = futex_read(t, addr, &word);
	if (!ret && word != expected)
		ret = -EAGAIN;
	if (!ret)
		ret = move_waiters(t, addr2, &from, &to, requeue_count == INT32_MAX ? INT32_MAX : requeue_count + 1);
	mutex_unlock(&b->lock, L_FUTEXPI);
	futex_key_put(&to);
	futex_key_put(&from);
	return ret;
}

/* The lock of a dead owner goes to the first waiter. */
static void exit_bucket(struct pi_bucket *b, struct task *t)
{
	struct pi_lock *p, *next;

	mutex_lock(&b->lock, L_FUTEXPI);
	list_for_each_safe(p, next, &b->locks, link)
		if (p->owner == t)
			pi_grant(p, list_first(&p->waiters, struct futex_waiter, pi_link), true);
	mutex_unlock(&b->lock, L_FUTEXPI);
}

void futex_exit_pi(struct task *t)
{
	__atomic_store_n((bool *)&t->futex_exited, true, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&pi_lock_count, __ATOMIC_SEQ_CST))
		return;
	for (unsigned i = 0; i < PI_BUCKETS; i++)
		exit_bucket(&pi_buckets[i], t);
}
