/*
 * File locks: fcntl(2) "Advisory record locking" and "Open file description locks", flock(2).
 *
 * An inode that was ever locked has a file_lock_ctx with two lists: byte ranges, sorted by start, and whole-file (flock) locks. The owner of a
 * range is the descriptor table (POSIX) or the open description (OFD); that of a flock lock is the description. Setting a range cuts and
 * joins the owner's own ranges, so that they never overlap.
 *
 * The lists are under a mutex of the inode (L_FLOCK); they are searched from one end to the other, so there may be LOCKS_MAX on an inode. Whoever
 * must wait tries again whenever a lock of that inode was given up. A POSIX request also stands in `blocked`, with the owner that it waits for; if
 * the chain of owners leads back to itself, it is refused with EDEADLK. OFD and flock waits take no part in that, as on Linux. `blocked` and the
 * list of all locks, for /proc/locks, are under one mutex for the sandbox (L_FLOCKS), which is never held for long.
 */
#include "fs/locks.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/sysmacros.h>

#include "fs/seq.h"
#include "sentry/base/slab.h"

#define OFFSET_MAX INT64_MAX
#define LOCKS_MAX (1u << 17)
#define BLOCKED_BUCKETS 256
#define SHOW_BATCH 256
#define CHAIN_MAX 10 /* owners that deadlock detection follows, as Linux's MAX_DEADLK_ITERATIONS */

enum lock_kind { KIND_POSIX, KIND_OFD, KIND_FLOCK };

struct range_lock {
	struct list link; /* in its inode's list; L_FLOCK */
	struct list all;  /* in all_locks; L_FLOCKS, and so are changes of start and end of one that is there */
	const void *owner;
	struct inode *inode; /* borrowed: locks go before inodes do */
	enum lock_kind kind;
	short type;         /* F_RDLCK, F_WRLCK; F_UNLCK in a request */
	int64_t start, end; /* inclusive; OFFSET_MAX: to the end, whatever it is */
	int32_t pid;        /* -1 for OFD */
};

struct file_lock_ctx {
	struct mutex lock; /* L_FLOCK */
	struct list ranges;
	struct list flocks;
	unsigned count;       /* of both */
	struct wait_queue wq; /* woken when a lock is given up */
};

struct blocked {
	struct list link;
	const void *owner, *waits_for;
};

static struct slab lock_slab = SLAB_INIT(struct range_lock);
static struct slab ctx_slab = SLAB_INIT(struct file_lock_ctx);
static struct mutex locks_lock = MUTEX_INIT;         /* L_FLOCKS */
static struct list all_locks = LIST_INIT(all_locks); /* L_FLOCKS */
static struct list blocked[BLOCKED_BUCKETS];         /* L_FLOCKS: by owner */

__attribute__((constructor)) static void locks_init(void)
{
	for (unsigned i = 0; i < BLOCKED_BUCKETS; i++)
		list_init(&blocked[i]);
}

static struct file_lock_ctx *ctx_of(struct inode *i)
{
	return __atomic_load_n(&i->locks, __ATOMIC_ACQUIRE);
}

/* Made on first use. NULL: no memory. */
static struct file_lock_ctx *ctx_make(struct inode *i)
{
	struct file_lock_ctx *lc = ctx_of(i);

	if (lc)
		return lc;
	mutex_lock(&locks_lock, L_FLOCKS);
	lc = ctx_of(i);
	if (!lc && (lc = slab_alloc(&ctx_slab))) {
		mutex_init(&lc->lock);
		list_init(&lc->ranges);
		list_init(&lc->flocks);
		wait_queue_init(&lc->wq);
		__atomic_store_n(&i->locks, lc, __ATOMIC_RELEASE);
	}
	mutex_unlock(&locks_lock, L_FLOCKS);
	return lc;
}

/* l, which stands behind `at` in a list of its inode from now on, is in force. */
static void lock_enter(struct file_lock_ctx *lc, struct list *at, struct range_lock *l) REQUIRES(L_FLOCK)
{
	list_push(at, &l->link);
	lc->count++;
	mutex_lock(&locks_lock, L_FLOCKS);
	list_append(&all_locks, &l->all);
	mutex_unlock(&locks_lock, L_FLOCKS);
}

static void lock_drop(struct file_lock_ctx *lc, struct range_lock *l) REQUIRES(L_FLOCK)
{
	list_remove(&l->link);
	lc->count--;
	mutex_lock(&locks_lock, L_FLOCKS);
	list_remove(&l->all);
	mutex_unlock(&locks_lock, L_FLOCKS);
	slab_free(&lock_slab, l);
}

static void lock_shrink(struct range_lock *l, int64_t start, int64_t end) REQUIRES(L_FLOCK)
{
	mutex_lock(&locks_lock, L_FLOCKS);
	l->start = start;
	l->end = end;
	mutex_unlock(&locks_lock, L_FLOCKS);
}

/* Not in force. */
static struct range_lock *lock_copy(const struct range_lock *from)
{
	struct range_lock *l = slab_alloc(&lock_slab);

	if (!l)
		return NULL;
	*l = *from;
	list_init(&l->link);
	list_init(&l->all);
	return l;
}

static bool conflicts(const struct range_lock *have, const struct range_lock *want)
{
	return have->owner != want->owner && have->start <= want->end && want->start <= have->end &&
	       (have->type == F_WRLCK || want->type == F_WRLCK);
}

static struct range_lock *find_conflict(struct list *locks, const struct range_lock *want)
{
	struct range_lock *l;

	list_for_each(l, locks, link) {
		if (conflicts(l, want))
			return l;
		if (l->start > want->end)
			break;
	}
	return NULL;
}

/* ---- waiting ---- */

static struct list *blocked_bucket(const void *owner)
{
	return &blocked[((uintptr_t)owner >> 6) * 0x9e3779b97f4a7c15ull >> 56];
}

static const struct blocked *blocked_find(const void *owner) REQUIRES(L_FLOCKS)
{
	const struct blocked *b;

	list_for_each(b, blocked_bucket(owner), link)
		if (b->owner == owner)
			return b;
	return NULL;
}

/* Would owner, waiting for `on`, close a circle? */
static bool deadlocks(const void *owner, const void *on) REQUIRES(L_FLOCKS)
{
	const struct blocked *b;

	for (int steps = 0; steps < CHAIN_MAX && on != owner; steps++) {
		b = blocked_find(on);
		if (!b)
			return false;
		on = b->waits_for;
	}
	return on == owner;
}

/* Waits once for a POSIX lock of another owner. */
static int wait_for_owner(struct ctx *c, struct file_lock_ctx *lc, const void *owner, const void *on) REQUIRES(L_FLOCK)
{
	struct blocked b = {.owner = owner, .waits_for = on};
	int err = 0;

	mutex_lock(&locks_lock, L_FLOCKS);
	if (deadlocks(owner, on))
		err = -EDEADLK;
	else
		list_append(blocked_bucket(owner), &b.link);
	mutex_unlock(&locks_lock, L_FLOCKS);
	if (err)
		return err;
	err = wait_on(c, &lc->wq, &lc->lock, L_FLOCK);
	mutex_lock(&locks_lock, L_FLOCKS);
	list_remove(&b.link);
	mutex_unlock(&locks_lock, L_FLOCKS);
	return err;
}

/* Until nothing in `locks` conflicts any more. 0, -EAGAIN, -EDEADLK, -ERESTARTSYS. */
static int wait_for_range(struct ctx *c, struct file_lock_ctx *lc, struct list *locks, const struct range_lock *want,
			  bool wait) REQUIRES(L_FLOCK)
{
	const struct range_lock *in_way;
	int err = 0;

	while (!err && (in_way = find_conflict(locks, want))) {
		if (!wait)
			err = -EAGAIN;
		else if (want->kind == KIND_POSIX)
			err = wait_for_owner(c, lc, want->owner, in_way->owner);
		else
			err = wait_on(c, &lc->wq, &lc->lock, L_FLOCK);
	}
	return err;
}

/* ---- byte ranges ---- */

/* Behind which one a range that begins at `start` comes. */
static struct list *place_of(struct file_lock_ctx *lc, int64_t start) REQUIRES(L_FLOCK)
{
	struct list *at = lc->ranges.prev;

	while (at != &lc->ranges && list_entry(at, struct range_lock, link)->start > start)
		at = at->prev;
	return at;
}

/* Ranges that touch, without overflow at the ends. */
static bool adjacent(const struct range_lock *a, const struct range_lock *b)
{
	return (a->end != OFFSET_MAX && a->end + 1 >= b->start) && (b->end == OFFSET_MAX || b->end + 1 >= a->start);
}

/* n lies within l, and l sticks out on both sides. */
static bool splits(const struct range_lock *l, const struct range_lock *n)
{
	return l->start < n->start && l->end > n->end;
}

/* Takes what `n` covers out of l; `spare` becomes the right part if l is split (then NULL is left). */
static void cut(struct file_lock_ctx *lc, struct range_lock *l, const struct range_lock *n, struct range_lock **spare)
    REQUIRES(L_FLOCK)
{
	if (splits(l, n)) {
		struct range_lock *r = take(*spare);

		r->type = l->type;
		r->pid = l->pid;
		r->start = n->end + 1;
		r->end = l->end;
		lock_shrink(l, l->start, n->start - 1);
		lock_enter(lc, place_of(lc, r->start), r);
	} else if (l->start < n->start) {
		lock_shrink(l, l->start, n->start - 1);
	} else if (l->end > n->end) {
		lock_shrink(l, n->end + 1, l->end);
		list_remove(&l->link);
		list_push(place_of(lc, l->start), &l->link);
	} else {
		lock_drop(lc, l);
	}
}

/* Gives the range to n's owner: n (taken over; F_UNLCK frees it) joins or replaces what the owner has there. */
static void apply_range(struct file_lock_ctx *lc, struct range_lock *n, struct range_lock **spare) REQUIRES(L_FLOCK)
{
	struct range_lock *l, *next;

	list_for_each_safe(l, next, &lc->ranges, link) {
		bool overlaps = l->start <= n->end && n->start <= l->end;

		if (l->start - 1 > n->end)
			break;
		if (l->owner != n->owner)
			continue;
		if (l->type == n->type && (overlaps || adjacent(l, n) || adjacent(n, l))) {
			n->start = MIN(n->start, l->start);
			n->end = MAX(n->end, l->end);
			lock_drop(lc, l);
		} else if (overlaps) {
			cut(lc, l, n, spare);
		}
	}
	if (n->type == F_UNLCK)
		slab_free(&lock_slab, n);
	else
		lock_enter(lc, place_of(lc, n->start), n);
}

/* Whether there would be one too many. */
static bool too_many(const struct file_lock_ctx *lc, const struct range_lock *want) REQUIRES(L_FLOCK)
{
	const struct range_lock *l;

	if (lc->count < LOCKS_MAX)
		return false;
	if (want->type != F_UNLCK)
		return true;
	list_for_each(l, &lc->ranges, link)
		if (l->owner == want->owner && splits(l, want))
			return true;
	return false;
}

static int set_range(struct ctx *c, struct inode *i, const struct range_lock *want, bool wait)
{
	struct range_lock *n = lock_copy(want), *spare = lock_copy(want);
	struct file_lock_ctx *lc = ctx_make(i);
	int err = n && spare && lc ? 0 : -ENOLCK;

	if (!err) {
		mutex_lock(&lc->lock, L_FLOCK);
		if (want->type != F_UNLCK)
			err = wait_for_range(c, lc, &lc->ranges, want, wait);
		if (!err && too_many(lc, want))
			err = -ENOLCK;
		if (!err) {
			apply_range(lc, take(n), &spare);
			wake_up_all(&lc->wq, 0);
		}
		mutex_unlock(&lc->lock, L_FLOCK);
	}
	slab_free(&lock_slab, n);
	slab_free(&lock_slab, spare);
	return err;
}

/* ---- fcntl ---- */

struct k_flock {
	int16_t type, whence;
	int32_t pad;
	int64_t start, len;
	int32_t pid, pad2;
};
_Static_assert(sizeof(struct k_flock) == 32, "ABI");

static int range_base(struct ctx *c, struct file *f, int whence, int64_t *ret)
{
	struct attr a;
	int err;

	switch (whence) {
	case SEEK_SET:
		*ret = 0;
		return 0;
	case SEEK_CUR:
		*ret = f->pos;
		return 0;
	case SEEK_END:
		err = inode_getattr(c, f->inode, &a);
		*ret = err ? 0 : (int64_t)a.size;
		return err;
	default:
		return -EINVAL;
	}
}

/* flock_to_posix_lock(): a negative length reaches backwards, 0 to the end. */
static int range_from_user(struct ctx *c, struct file *f, const struct k_flock *k, struct range_lock *ret)
{
	int64_t start;
	int err = range_base(c, f, k->whence, &start);

	if (err)
		return err;
	if (__builtin_add_overflow(start, k->start, &start))
		return k->start > 0 ? -EOVERFLOW : -EINVAL;
	if (start < 0)
		return -EINVAL;
	ret->start = start;
	ret->end = OFFSET_MAX;
	if (k->len > 0 && __builtin_add_overflow(start, k->len - 1, &ret->end))
		return -EOVERFLOW;
	if (k->len < 0) {
		if (start + k->len < 0)
			return -EINVAL;
		ret->start = start + k->len;
		ret->end = start - 1;
	}
	return 0;
}

static int get_lock(struct ctx *c, struct file *f, const struct range_lock *want, struct k_flock *k, uaddr_t arg)
{
	struct file_lock_ctx *lc = ctx_of(f->inode);
	struct range_lock *l = NULL;

	k->type = F_UNLCK;
	if (lc) {
		mutex_lock(&lc->lock, L_FLOCK);
		l = find_conflict(&lc->ranges, want);
		if (l) {
			k->type = l->type;
			k->whence = SEEK_SET;
			k->start = l->start;
			k->len = l->end == OFFSET_MAX ? 0 : l->end - l->start + 1;
			k->pid = l->pid;
		}
		mutex_unlock(&lc->lock, L_FLOCK);
	}
	return copy_out(c, arg, k, sizeof(*k));
}

static int check_access(const struct file *f, short type)
{
	int acc = f->flags & O_ACCMODE;

	if (type == F_RDLCK)
		return acc == O_WRONLY ? -EBADF : 0;
	if (type == F_WRLCK)
		return acc == O_RDONLY ? -EBADF : 0;
	return type == F_UNLCK ? 0 : -EINVAL;
}

int locks_fcntl(struct ctx *c, struct file *f, int cmd, uaddr_t arg)
{
	bool ofd = cmd == F_OFD_GETLK || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW;
	struct range_lock want = {.kind = ofd ? KIND_OFD : KIND_POSIX, .owner = ofd ? (void *)f : (void *)c->fdt};
	struct k_flock k;
	int err;

	if (copy_in(c, &k, arg, sizeof(k)))
		return -EFAULT;
	if (ofd && k.pid)
		return -EINVAL;
	want.type = k.type;
	want.pid = ofd ? -1 : c->tgid;
	want.inode = f->inode;
	if (cmd == F_GETLK || cmd == F_OFD_GETLK) {
		if (k.type != F_RDLCK && k.type != F_WRLCK)
			return -EINVAL;
		err = range_from_user(c, f, &k, &want);
		return err ? err : get_lock(c, f, &want, &k, arg);
	}
	err = range_from_user(c, f, &k, &want);
	if (!err)
		err = check_access(f, k.type);
	return err ? err : set_range(c, f->inode, &want, cmd == F_SETLKW || cmd == F_OFD_SETLKW);
}

/* ---- flock ---- */

static struct range_lock *find_owned(struct list *locks, const void *owner)
{
	struct range_lock *l;

	list_for_each(l, locks, link)
		if (l->owner == owner)
			return l;
	return NULL;
}

/* A conversion gives the old lock up first, and has neither if the new one must wait and is refused: so says flock(2). */
static int flock_locked(struct ctx *c, struct file_lock_ctx *lc, struct range_lock **n, bool wait) REQUIRES(L_FLOCK)
{
	struct range_lock *old = find_owned(&lc->flocks, (*n)->owner);
	int err = 0;

	if (old && old->type == (*n)->type)
		return 0;
	if (old) {
		lock_drop(lc, old);
		wake_up_all(&lc->wq, 0);
	}
	if ((*n)->type == F_UNLCK)
		return 0;
	err = wait_for_range(c, lc, &lc->flocks, *n, wait);
	if (!err && lc->count >= LOCKS_MAX)
		err = -ENOLCK;
	if (err)
		return err;
	/* Another thread with the same description may have been faster. */
	old = find_owned(&lc->flocks, (*n)->owner);
	if (old)
		lock_drop(lc, old);
	lock_enter(lc, lc->flocks.prev, take(*n));
	return 0;
}

int locks_flock(struct ctx *c, struct file *f, int op)
{
	static const short types[] = {[LOCK_SH] = F_RDLCK, [LOCK_EX] = F_WRLCK, [LOCK_UN] = F_UNLCK};
	int kind = op & ~LOCK_NB;
	struct range_lock *n;
	struct file_lock_ctx *lc;
	int err;

	if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN)
		return -EINVAL;
	lc = ctx_make(f->inode);
	n = lc ? lock_copy(&(struct range_lock){.owner = f,
						.inode = f->inode,
						.kind = KIND_FLOCK,
						.type = types[kind],
						.end = OFFSET_MAX,
						.pid = c->tgid})
	       : NULL;
	if (!n)
		return -ENOLCK;
	mutex_lock(&lc->lock, L_FLOCK);
	err = flock_locked(c, lc, &n, !(op & LOCK_NB));
	mutex_unlock(&lc->lock, L_FLOCK);
	slab_free(&lock_slab, n);
	return err;
}

/* ---- hooks ---- */

static bool drop_owned(struct file_lock_ctx *lc, struct list *locks, const void *owner) REQUIRES(L_FLOCK)
{
	struct range_lock *l, *next;
	bool any = false;

	list_for_each_safe(l, next, locks, link) {
		if (l->owner != owner)
			continue;
		lock_drop(lc, l);
		any = true;
	}
	return any;
}

void locks_remove_posix_slow(struct inode *i, const void *owner)
{
	struct file_lock_ctx *lc = ctx_of(i);

	mutex_lock(&lc->lock, L_FLOCK);
	if (drop_owned(lc, &lc->ranges, owner))
		wake_up_all(&lc->wq, 0);
	mutex_unlock(&lc->lock, L_FLOCK);
}

void locks_remove_file_slow(struct file *f)
{
	struct file_lock_ctx *lc = ctx_of(f->inode);
	bool any;

	mutex_lock(&lc->lock, L_FLOCK);
	any = drop_owned(lc, &lc->ranges, f);
	any |= drop_owned(lc, &lc->flocks, f);
	if (any)
		wake_up_all(&lc->wq, 0);
	mutex_unlock(&lc->lock, L_FLOCK);
}

/* A lock may be left over: one that was granted while another thread closed the descriptor. */
void locks_inode_free(struct inode *i)
{
	struct file_lock_ctx *lc = ctx_of(i);
	struct range_lock *l;

	if (!lc)
		return;
	mutex_lock(&lc->lock, L_FLOCK);
	while ((l = list_first(&lc->ranges, struct range_lock, link)))
		lock_drop(lc, l);
	while ((l = list_first(&lc->flocks, struct range_lock, link)))
		lock_drop(lc, l);
	mutex_unlock(&lc->lock, L_FLOCK);
	i->locks = NULL;
	slab_free(&ctx_slab, lc);
}

static void show(struct seq *s, unsigned n, const struct range_lock *l)
{
	static const char *const kinds[] = {"POSIX ", "OFDLCK", "FLOCK "};
	char end[24] = "EOF";

	if (l->end != OFFSET_MAX)
		snprintf(end, sizeof(end), "%lld", (long long)l->end);
	seq_printf(s, "%u: %s ADVISORY  %s %d %02x:%02x:%llu %lld %s\n", n, kinds[l->kind],
		   l->type == F_WRLCK ? "WRITE" : "READ ", l->pid, major(l->inode->super->dev),
		   minor(l->inode->super->dev), (unsigned long long)l->inode->ino, (long long)l->start, end);
}

/* Some lines from the nth on; whether there may be more. */
static bool show_batch(struct seq *s, unsigned n)
{
	struct range_lock *l;
	unsigned at = 0;

	mutex_lock(&locks_lock, L_FLOCKS);
	list_for_each(l, &all_locks, all) {
		if (at == n + SHOW_BATCH)
			break;
		if (at++ >= n)
			show(s, at, l);
	}
	mutex_unlock(&locks_lock, L_FLOCKS);
	return at == n + SHOW_BATCH;
}

void locks_show(struct seq *s)
{
	for (unsigned n = 0; show_batch(s, n); n += SHOW_BATCH)
		;
}
