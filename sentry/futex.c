/*
 * Futexes without priority inheritance: see futex.h; the rest is in futex_pi.c.
 *
 * Waiters hang in a hashed bucket under its lock (L_FUTEX, a leaf). Guest memory cannot be read under it, so a wait goes in two phases:
 * first the waiter is queued, then the word is read, then it sleeps. Whoever changes the word and then wakes either finds the waiter
 * queued, or changed the word before the waiter read it. If the word differs the waiter leaves; if it was woken before it
 * could, the wake-up counts, and the call succeeds, as if the value had been seen just before it changed.
 *
 * Compare-and-requeue reads the word first and then moves those who were queued before that: a counter of arrivals in the bucket tells whether somebody
 * came in between, and then the word is read again. A wake-operation changes the second word by compare-and-swap and only then looks for waiters.
 *
 * A waiter lives on its task's stack. It is off the queue before its function returns, and whoever takes it off
 * holds the bucket's lock, under which the waiter looks too; so the task is still there when it is given a reference for the
 * wake-up that follows outside the lock.
 *
 * A futex in shared memory is known by its inode and offset, one in private memory by its address space and address.
 */
#include <limits.h>
#include <linux/futex.h>
#include <string.h>

#include "sentry/base/slab.h"
#include "sentry/clocks.h"
#include "sentry/futex_impl.h"

#define BUCKETS 256
#define WAKE_BATCH 16
/* How often a compare-and-requeue looks again when waiters keep coming: then it reports EAGAIN, which callers handle. */
#define REQUEUE_TRIES 64

static struct futex_bucket buckets[BUCKETS];

__attribute__((constructor)) static void futex_init(void)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		mutex_init(&buckets[i].lock);
		list_init(&buckets[i].waiters);
	}
}

unsigned futex_key_hash(const struct futex_key *k)
{
	uint64_t h = ((uint64_t)(uintptr_t)k->object >> 4) * 0x9e3779b97f4a7c15ull ^ (k->offset >> 2);

	h *= 0xd6e8feb86659fd93ull;
	return (unsigned)(h >> 40);
}

struct futex_bucket *futex_bucket_of(const struct futex_key *k)
{
	return &buckets[futex_key_hash(k) % BUCKETS];
}

bool futex_key_equal(const struct futex_key *a, const struct futex_key *b)
{
	return a->object == b->object && a->offset == b->offset;
}

int futex_key_of(struct task *t, uint64_t addr, bool private, struct futex_key *ret)
{
	if (addr & 3)
		return -EINVAL;
	return mm_futex_key(t->mm, addr, private, ret);
}

int futex_read(struct task *t, uint64_t addr, uint32_t *ret)
{
	return copy_in(&t->ctx, ret, UADDR(addr), sizeof(*ret));
}

void futex_waiter_init(struct futex_waiter *w, struct task *t, uint32_t bitset)
{
	*w = (struct futex_waiter){.task = t, .bitset = bitset};
	list_init(&w->link);
	list_init(&w->pi_link);
}

static void bucket_count(struct futex_bucket *b, uint32_t add)
{
	__atomic_fetch_add(&b->count, add, __ATOMIC_SEQ_CST);
}

static void bucket_add(struct futex_bucket *b, struct futex_waiter *w) REQUIRES(L_FUTEX)
{
	w->queued = true;
	__atomic_store_n(&w->bucket, b, __ATOMIC_RELAXED);
	list_append(&b->waiters, &w->link);
	b->enqueued++;
	bucket_count(b, 1);
}

void futex_enqueue(struct futex_waiter *w)
{
	struct futex_bucket *b = futex_bucket_of(&w->key);

	mutex_lock(&b->lock, L_FUTEX);
	bucket_add(b, w);
	mutex_unlock(&b->lock, L_FUTEX);
}

void futex_unlink(struct futex_waiter *w)
{
	list_remove(&w->link);
	w->queued = false;
	bucket_count(w->bucket, (uint32_t)-1);
}

/* A requeue may move w while we wait for the lock. */
static struct futex_bucket *waiter_lock(struct futex_waiter *w) NO_TSA
{
	for (;;) {
		struct futex_bucket *b = __atomic_load_n(&w->bucket, __ATOMIC_RELAXED);

		mutex_lock(&b->lock, L_FUTEX);
		if (b == __atomic_load_n(&w->bucket, __ATOMIC_RELAXED))
			return b;
		mutex_unlock(&b->lock, L_FUTEX);
	}
}

bool futex_dequeue(struct futex_waiter *w) NO_TSA
{
	struct futex_bucket *b = waiter_lock(w);
	bool queued = w->queued;

	if (queued)
		futex_unlink(w);
	mutex_unlock(&b->lock, L_FUTEX);
	return queued;
}

bool futex_queued(struct futex_waiter *w) NO_TSA
{
	struct futex_bucket *b = waiter_lock(w);
	bool queued = w->queued;

	mutex_unlock(&b->lock, L_FUTEX);
	return queued;
}

static int64_t timeout_deadline(const struct futex_timeout *timeout)
{
	if (timeout->clock_id < 0)
		return TIME_NEVER;
	return clock_to_monotonic(timeout->clock_id, timeout->at);
}

/* CLOCK_REALTIME may be set: it is asked again when the time has passed by the other clock. */
static bool timeout_passed(const struct futex_timeout *timeout)
{
	return clock_now(timeout->clock_id) >= timeout->at;
}

int futex_park(struct task *t, const struct futex_timeout *timeout)
{
	int err;

	do
		err = park(&t->ctx, timeout_deadline(timeout));
	while (err == -ETIMEDOUT && !timeout_passed(timeout));
	return err;
}

/* Takes w, which is queued and in b, and remembers whom to wake. */
static struct task *bucket_take(struct futex_waiter *w) REQUIRES(L_FUTEX)
{
	futex_unlink(w);
	return task_get(w->task);
}

static void wake_tasks(struct task **tasks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		unpark(&tasks[i]->ctx.parker);
		task_put(tasks[i]);
	}
}

/* At most WAKE_BATCH of those that wait for key. *err: a waiter for a lock is not woken like this. */
static size_t wake_batch(struct futex_bucket *b, const struct futex_key *key, uint32_t bitset, size_t max,
			 struct task **tasks, int *err)
{
	struct futex_waiter *w, *next;
	size_t n = 0;

	mutex_lock(&b->lock, L_FUTEX);
	list_for_each_safe(w, next, &b->waiters, link) {
		if (!futex_key_equal(&w->key, key))
			continue;
		if (w->wants_pi) {
			*err = -EINVAL;
			break;
		}
		if (!(w->bitset & bitset))
			continue;
		tasks[n++] = bucket_take(w);
		if (n == max)
			break;
	}
	mutex_unlock(&b->lock, L_FUTEX);
	return n;
}

static sysret_t wake_key(const struct futex_key *key, int count, uint32_t bitset)
{
	struct futex_bucket *b = futex_bucket_of(key);
	size_t left = count > 0 ? (size_t)count : 1;
	struct task *tasks[WAKE_BATCH];
	sysret_t done = 0;
	int err = 0;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&b->count, __ATOMIC_SEQ_CST))
		return 0;
	while (left && !err) {
		size_t max = MIN(left, WAKE_BATCH);
		size_t n = wake_batch(b, key, bitset, max, tasks, &err);

		wake_tasks(tasks, n);
		done += (sysret_t)n;
		left -= n;
		if (n < max)
			break;
	}
	return err ? err : done;
}

sysret_t futex_wake(struct task *t, uint64_t addr, bool private, int count, uint32_t bitset)
{
	struct futex_key key;
	sysret_t ret;
	int err;

	if (!bitset)
		return -EINVAL;
	if ((err = futex_key_of(t, addr, private, &key)))
		return err;
	ret = wake_key(&key, count, bitset);
	futex_key_put(&key);
	return ret;
}

void futex_wake_addr(struct task *t, uint64_t addr)
{
	(void)futex_wake(t, addr, false, 1, FUTEX_ANY);
}

/* w is queued: sleeps until it is woken. The result of the call. */
static sysret_t wait_queued(struct task *t, struct futex_waiter *w, const struct futex_timeout *timeout)
{
	int err = 0;

	while (!err && futex_queued(w))
		err = futex_park(t, timeout);
	if (!err)
		return 0;
	return futex_dequeue(w) ? err : 0;
}

sysret_t futex_wait(struct task *t, uint64_t addr, bool private, uint32_t value, uint32_t bitset,
		    const struct futex_timeout *timeout)
{
	struct futex_waiter w;
	sysret_t ret;
	uint32_t word;
	int err;

	if (!bitset)
		return -EINVAL;
	futex_waiter_init(&w, t, bitset);
	if ((err = futex_key_of(t, addr, private, &w.key)))
		return err;
	futex_enqueue(&w);
	err = futex_read(t, addr, &word);
	if (!err && word != value)
		err = -EAGAIN;
	if (err)
		ret = futex_dequeue(&w) ? err : 0;
	else
		ret = wait_queued(t, &w, timeout);
	futex_key_put(&w.key);
	return ret;
}

/* Takes all off; the index of one that had been woken, or -1. */
static int dequeue_many(struct futex_waiter *w, size_t count)
{
	int woken = -1;

	for (size_t i = 0; i < count; i++) {
		if (!futex_dequeue(&w[i]))
			woken = (int)i;
		futex_key_put(&w[i].key);
	}
	return woken;
}

static bool all_queued(struct futex_waiter *w, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!futex_queued(&w[i]))
			return false;
	return true;
}

/* Queues on each and compares; *ret_queued says how many must be taken off again. */
static int enqueue_many(struct task *t, const struct futex_wait_on *on, struct futex_waiter *w, size_t count,
			size_t *ret_queued)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		futex_waiter_init(&w[i], t, FUTEX_ANY);
		err = futex_key_of(t, on[i].addr, on[i].private, &w[i].key);
		if (!err)
			futex_enqueue(&w[(*ret_queued)++]);
	}
	for (size_t i = 0; i < count && !err; i++) {
		uint32_t word;

		err = futex_read(t, on[i].addr, &word);
		if (!err && word != on[i].value)
			err = -EAGAIN;
	}
	return err;
}

sysret_t futex_wait_many(struct task *t, const struct futex_wait_on *on, size_t count,
			 const struct futex_timeout *timeout)
{
	struct futex_waiter *w = kalloc(count * sizeof(*w));
	size_t queued = 0;
	int err, woken;

	if (!w)
		return -ENOMEM;
	err = enqueue_many(t, on, w, count, &queued);
	while (!err && all_queued(w, count))
		err = futex_park(t, timeout);
	woken = dequeue_many(w, queued);
	kfree(w, count * sizeof(*w));
	return woken >= 0 ? woken : err;
}

/* Moves w, queued in `from`, to the other key. */
static void requeue_waiter(struct futex_bucket *to, struct futex_waiter *w, const struct futex_key *key)
    REQUIRES(L_FUTEX)
{
	struct futex_key old = w->key;

	futex_unlink(w);
	w->key = *key;
	if (key->shared)
		inode_get((struct inode *)(uintptr_t)key->object);
	bucket_add(to, w);
	/* The old key's reference is dropped by nobody else; it cannot be the last, the caller has one too. */
	futex_key_put(&old);
}

/* One round under both locks. -EAGAIN: somebody came since `seen`. */
static sysret_t requeue_locked(const struct futex_key *from, const struct futex_key *to, int wake_count,
			       int requeue_count, const uint32_t *seen, struct task **tasks, size_t *ret_tasks)
    REQUIRES(L_FUTEX)
{
	struct futex_bucket *a = futex_bucket_of(from);
	struct futex_bucket *b = futex_bucket_of(to);
	uint64_t total = 0, limit = (uint64_t)wake_count + (uint64_t)requeue_count;
	struct futex_waiter *w, *next;
	struct list moved;

	if (seen && a->enqueued != *seen)
		return -EAGAIN;
	list_init(&moved);
	list_for_each_safe(w, next, &a->waiters, link) {
		if (total >= limit)
			break;
		if (!futex_key_equal(&w->key, from))
			continue;
		if (w->wants_pi)
			return -EINVAL;
		if (total < (uint64_t)wake_count) {
			if (*ret_tasks == WAKE_BATCH)
				break;
			tasks[(*ret_tasks)++] = bucket_take(w);
		} else if (!futex_key_equal(from, to)) {
			requeue_waiter(b, w, to);
		}
		total++;
	}
	return (sysret_t)total;
}

static sysret_t requeue_once(const struct futex_key *from, const struct futex_key *to, int wake_count,
			     int requeue_count, const uint32_t *seen)
{
	struct futex_bucket *a = futex_bucket_of(from);
	struct futex_bucket *b = futex_bucket_of(to);
	struct task *tasks[WAKE_BATCH];
	size_t count = 0;
	sysret_t ret;

	mutex_lock_two(&a->lock, &b->lock, L_FUTEX);
	ret = requeue_locked(from, to, wake_count, requeue_count, seen, tasks, &count);
	mutex_unlock_two(&a->lock, &b->lock, L_FUTEX);
	wake_tasks(tasks, count);
	return ret;
}

static uint32_t arrivals(const struct futex_key *key)
{
	struct futex_bucket *b = futex_bucket_of(key);
	uint32_t n;

	mutex_lock(&b->lock, L_FUTEX);
	n = b->enqueued;
	mutex_unlock(&b->lock, L_FUTEX);
	return n;
}

static sysret_t requeue_keys(struct task *t, uint64_t addr, const struct futex_key *from, const struct futex_key *to,
			     int wake_count, int requeue_count, const uint32_t *expected)
{
	sysret_t ret = -EAGAIN;

	if (wake_count > WAKE_BATCH) {
		/* Nobody wakes so many and moves the others: as two calls. */
		sysret_t more;

		ret = wake_key(from, wake_count, FUTEX_ANY);
		if (ret < 0 || !requeue_count)
			return ret;
		more = requeue_once(from, to, 0, requeue_count, NULL);
		return more < 0 ? ret : ret + more;
	}
	if (!expected)
		return requeue_once(from, to, wake_count, requeue_count, NULL);
	for (int i = 0; i < REQUEUE_TRIES && ret == -EAGAIN; i++) {
		uint32_t seen = arrivals(from);
		uint32_t word;
		int err = futex_read(t, addr, &word);

		if (err || word != *expected)
			return err ? err : -EAGAIN;
		ret = requeue_once(from, to, wake_count, requeue_count, &seen);
	}
	return ret;
}

sysret_t futex_requeue(struct task *t, uint64_t addr, uint64_t addr2, bool private, bool private2, int wake_count,
		       int requeue_count, const uint32_t *expected)
{
	struct futex_key from, to;
	sysret_t ret;
	int err;

	if (wake_count < 0 || requeue_count < 0)
		return -EINVAL;
	if ((err = futex_key_of(t, addr, private, &from)))
		return err;
	err = futex_key_of(t, addr2, private2, &to);
	if (!err) {
		ret = requeue_keys(t, addr, &from, &to, wake_count, requeue_count, expected);
		futex_key_put(&to);
	}
	futex_key_put(&from);
	return err ? err : ret;
}

static int op_apply(unsigned op, uint32_t old, uint32_t arg, uint32_t *ret)
{
	switch (op) {
	case FUTEX_OP_SET:
		*ret = arg;
		return 0;
	case FUTEX_OP_ADD:
		*ret = old + arg;
		return 0;
	case FUTEX_OP_OR:
		*ret = old | arg;
		return 0;
	case FUTEX_OP_ANDN:
		*ret = old & ~arg;
		return 0;
	case FUTEX_OP_XOR:
		*ret = old ^ arg;
		return 0;
	}
	return -ENOSYS;
}

static int op_compare(unsigned cmp, int32_t old, int32_t arg)
{
	switch (cmp) {
	case FUTEX_OP_CMP_EQ:
		return old == arg;
	case FUTEX_OP_CMP_NE:
		return old != arg;
	case FUTEX_OP_CMP_LT:
		return old < arg;
	case FUTEX_OP_CMP_GE:
		return old >= arg;
	case FUTEX_OP_CMP_LE:
		return old <= arg;
	case FUTEX_OP_CMP_GT:
		return old > arg;
	}
	return -ENOSYS;
}

/* Changes the word as the encoded operation says: whether the old value passes its comparison, or -errno. */
static int op_execute(struct task *t, uint64_t addr, uint32_t encoded)
{
	unsigned op = encoded >> 28 & 7, cmp = encoded >> 24 & 15;
	int32_t arg = (int32_t)(encoded << 8) >> 20;
	int32_t cmp_arg = (int32_t)(encoded << 20) >> 20;
	uint32_t old, desired, seen;
	int err;

	if (encoded >> 28 & FUTEX_OP_OPARG_SHIFT)
		arg = (int32_t)(1u << (arg & 31));
	if ((err = futex_read(t, addr, &old)))
		return err;
	for (int i = 0; i < FUTEX_TRIES; i++) {
		if ((err = op_apply(op, old, (uint32_t)arg, &desired)))
			return err;
		seen = old;
		if (platform->cpu_cas32(t->cpu, addr, &seen, desired))
			return -EFAULT;
		if (seen == old)
			return op_compare(cmp, (int32_t)old, cmp_arg);
		old = seen;
	}
	return -ERESTARTNOINTR; /* whoever changes it all the time must not keep the task from being killed */
}

sysret_t futex_wake_op(struct task *t, uint64_t addr, uint64_t addr2, bool private, int count, int count2, uint32_t op)
{
	struct futex_key key, key2;
	sysret_t ret, more = 0;
	int err, passed;

	if ((err = futex_key_of(t, addr, private, &key)))
		return err;
	if ((err = futex_key_of(t, addr2, private, &key2))) {
		futex_key_put(&key);
		return err;
	}
	passed = op_execute(t, addr2, op);
	ret = passed < 0 ? passed : wake_key(&key, count, FUTEX_ANY);
	if (ret >= 0 && passed)
		more = wake_key(&key2, count2, FUTEX_ANY);
	futex_key_put(&key2);
	futex_key_put(&key);
	return more < 0 ? more : ret + more;
}
