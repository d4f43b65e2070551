/*
 * File locks: fcntl(2) "Advisory record locking" and "Open file description locks", flock(2).
 *
 * An inode that was ever locked has a file_lock_ctx with two lists: byte ranges, sorted by start, and whole-file (flock) locks. The owner of a
 * range is the descriptor table (POSIX) or the open description (OFD); that of a flock lock is the description. Setting a range cuts and
 * joins the owner's own ranges, so that they never overlap.
 *
 * One mutex (L_FLOCK) protects every lock in the sandbox: deadlock detection has to see them all. Whoever must wait stands in `blocked` with the
 * owner it waits for, and tries again whenever a lock of that inode was given up. A POSIX request whose chain of owners leads back to itself is
 * refused with EDEADLK; OFD and flock waits take no part in that, as on Linux.
 */
#include "fs/locks.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/sysmacros.h>

#include "sentry/base/slab.h"

#define OFFSET_MAX INT64_MAX
#define CHAIN_MAX 10 /* owners that deadlock detection follows, as Linux's MAX_DEADLK_ITERATIONS */

enum lock_kind { KIND_POSIX, KIND_OFD, KIND_FLOCK };

struct range_lock {
	struct list link; /* in its inode's list */
	struct list all;  /* in all_locks */
	const void *owner;
	struct inode *inode; /* borrowed: locks go before inodes do */
	enum lock_kind kind;
	short type;         /* F_RDLCK, F_WRLCK; F_UNLCK in a request */
	int64_t start, end; /* inclusive; OFFSET_MAX: to the end, whatever it is */
	int32_t pid;        /* -1 for OFD */
};

struct file_lock_ctx {
	struct list ranges;
	struct list flocks;
	struct wait_queue wq; /* woken when a lock is given up */
};

struct blocked {
	struct list link;
	const void *owner, *waits_for;
};

static struct slab lock_slab = SLAB_INIT(struct range_lock);
static struct slab ctx_slab = SLAB_INIT(struct file_lock_ctx);
static struct mutex locks_lock = MUTEX_INIT;         /* L_FLOCK: everything here */
static struct list all_locks = LIST_INIT(all_locks); /* L_FLOCK */
static struct list blocked_list = LIST_INIT(blocked_list);

static struct file_lock_ctx *ctx_of(struct inode *i)
{
	return __atomic_load_n(&i->locks, __ATOMIC_ACQUIRE);
}

/* Made on first use; L_FLOCK is held. */
static struct file_lock_ctx *ctx_make(struct inode *i)
{
	struct file_lock_ctx *lc = ctx_of(i);

	if (lc)
		return lc;
	lc = slab_alloc(&ctx_slab);
	if (!lc)
		return NULL;
	list_init(&lc->ranges);
	list_init(&lc->flocks);
	wait_queue_init(&lc->wq);
	__atomic_store_n(&i->locks, lc, __ATOMIC_RELEASE);
	return lc;
}

static void lock_free(struct range_lock *l)
{
	if (!l)
		return;
	list_remove(&l->link);
	list_remove(&l->all);
	slab_free(&lock_slab, l);
}

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

	list_for_each(l, locks, link)
		if (conflicts(l, want))
			return l;
	return NULL;
}

/* ---- waiting ---- */

/* Would owner, waiting for `on`, close a circle? */
static bool deadlocks(const void *owner, const void *on)
{
	struct blocked *b;

	for (int steps = 0; steps < CHAIN_MAX; steps++) {
		bool moved = false;

		list_for_each(b, &blocked_list, link) {
			if (b->owner != on)
				continue;
			on = b->waits_for;
			moved = true;
			break;
		}
		if (on == owner)
			return true;
		if (!moved)
			return false;
	}
	return false;
}

/* Until nothing in `locks` conflicts any more. 0, -EAGAIN, -EDEADLK, -ERESTARTSYS. */
static int wait_for_range(struct ctx *c, struct file_lock_ctx *lc, struct list *locks, const struct range_lock *want,
			  bool wait) REQUIRES(L_FLOCK)
{
	const struct range_lock *in_way;
	struct blocked b = {.owner = want->owner};
	int err = 0;

	while (!err && (in_way = find_conflict(locks, want))) {
		if (!wait)
			return -EAGAIN;
		if (want->kind != KIND_POSIX) {
			err = wait_on(c, &lc->wq, &locks_lock, L_FLOCK);
			continue;
		}
		if (deadlocks(want->owner, in_way->owner))
			return -EDEADLK;
		b.waits_for = in_way->owner;
		list_append(&blocked_list, &b.link);
		err = wait_on(c, &lc->wq, &locks_lock, L_FLOCK);
		list_remove(&b.link);
	}
	return err;
}

/* ---- byte ranges ---- */

static void insert_sorted(struct file_lock_ctx *lc, struct range_lock *n)
{
	struct list *before = &lc->ranges;
	struct range_lock *l;

	list_for_each(l, &lc->ranges, link) {
		if (l->start > n->start) {
			before = &l->link;
			break;
		}
	}
	list_append(before, &n->link); /* at the "tail" of a list that starts there: right before it */
	list_append(&all_locks, &n->all);
}

/* Ranges that touch, without overflow at the ends. */
static bool adjacent(const struct range_lock *a, const struct range_lock *b)
{
	return (a->end != OFFSET_MAX && a->end + 1 >= b->start) && (b->end == OFFSET_MAX || b->end + 1 >= a->start);
}

/* Takes what `n` covers out of l; `spare` becomes the right part if l sticks out on both sides (then NULL is left). */
static void cut(struct file_lock_ctx *lc, struct range_lock *l, const struct range_lock *n, struct range_lock **spare)
{
	bool left = l->start<n->start, right = l->end> n->end;

	if (left && right) {
		struct range_lock *r = take(*spare);

		r->owner = l->owner;
		r->inode = l->inode;
		r->kind = l->kind;
		r->type = l->type;
		r->pid = l->pid;
		r->start = n->end + 1;
		r->end = l->end;
		l->end = n->start - 1;
		insert_sorted(lc, r);
	} else if (left) {
		l->end = n->start - 1;
	} else if (right) {
		l->start = n->end + 1;
		list_remove(&l->link);
		list_remove(&l->all);
		insert_sorted(lc, l);
	} else {
		lock_free(l);
	}
}

/* Gives the range to n's owner: n (taken over; F_UNLCK frees it) joins or replaces what the owner has there. */
static void apply_range(struct file_lock_ctx *lc, struct range_lock *n, struct range_lock **spare)
{
	struct range_lock *l, *next;

	list_for_each_safe(l, next, &lc->ranges, link) {
		bool overlaps = l->start <= n->end && n->start <= l->end;

		if (l->owner != n->owner)
			continue;
		if (l->type == n->type && (overlaps || adjacent(l, n) || adjacent(n, l))) {
			n->start = MIN(n->start, l->start);
			n->end = MAX(n->end, l->end);
			lock_free(l);
		} else if (overlaps) {
			cut(lc, l, n, spare);
		}
	}
	if (n->type == F_UNLCK)
		lock_free(n);
	else
		insert_sorted(lc, n);
}

static int set_range(struct ctx *c, struct inode *i, const struct range_lock *want, bool wait)
{
	struct range_lock *n = lock_copy(want), *spare = lock_copy(want);
	struct file_lock_ctx *lc;
	int err = 0;

	mutex_lock(&locks_lock, L_FLOCK);
	lc = ctx_make(i);
	if (!n || !spare || !lc)
		err = -ENOLCK;
	else if (want->type != F_UNLCK)
		err = wait_for_range(c, lc, &lc->ranges, want, wait);
	if (!err) {
		apply_range(lc, take(n), &spare);
		wake_up_all(&lc->wq, 0);
	}
	lock_free(n);
	lock_free(spare);
	mutex_unlock(&locks_lock, L_FLOCK);
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

	mutex_lock(&locks_lock, L_FLOCK);
	if (lc)
		l = find_conflict(&lc->ranges, want);
	if (l) {
		k->type = l->type;
		k->whence = SEEK_SET;
		k->start = l->start;
		k->len = l->end == OFFSET_MAX ? 0 : l->end - l->start + 1;
		k->pid = l->pid;
	} else {
		k->type = F_UNLCK;
	}
	mutex_unlock(&locks_lock, L_FLOCK);
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
		lock_free(old);
		wake_up_all(&lc->wq, 0);
	}
	if ((*n)->type == F_UNLCK)
		return 0;
	err = wait_for_range(c, lc, &lc->flocks, *n, wait);
	if (!err) {
		/* Another thread with the same description may have been faster. */
		lock_free(find_owned(&lc->flocks, (*n)->owner));
		list_append(&lc->flocks, &(*n)->link);
		list_append(&all_locks, &(*n)->all);
		*n = NULL;
	}
	return err;
}

int locks_flock(struct ctx *c, struct file *f, int op)
{
	static const short types[] = {[LOCK_SH] = F_RDLCK, [LOCK_EX] = F_WRLCK, [LOCK_UN] = F_UNLCK};
	int kind = op & ~LOCK_NB;
	struct range_lock *n;
	struct file_lock_ctx *lc;
	int err = -ENOLCK;

	if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN)
		return -EINVAL;
	n = slab_alloc(&lock_slab);
	if (!n)
		return -ENOLCK;
	*n = (struct range_lock){
	    .owner = f, .inode = f->inode, .kind = KIND_FLOCK, .type = types[kind], .end = OFFSET_MAX, .pid = c->tgid};
	list_init(&n->link);
	list_init(&n->all);
	mutex_lock(&locks_lock, L_FLOCK);
	lc = ctx_make(f->inode);
	if (lc)
		err = flock_locked(c, lc, &n, !(op & LOCK_NB));
	lock_free(n);
	mutex_unlock(&locks_lock, L_FLOCK);
	return err;
}

/* ---- hooks ---- */

static bool drop_owned(struct list *locks, const void *owner)
{
	struct range_lock *l, *next;
	bool any = false;

	list_for_each_safe(l, next, locks, link) {
		if (l->owner != owner)
			continue;
		lock_free(l);
		any = true;
	}
	return any;
}

void locks_remove_posix_slow(struct inode *i, const void *owner)
{
	struct file_lock_ctx *lc = ctx_of(i);

	mutex_lock(&locks_lock, L_FLOCK);
	if (drop_owned(&lc->ranges, owner))
		wake_up_all(&lc->wq, 0);
	mutex_unlock(&locks_lock, L_FLOCK);
}

void locks_remove_file_slow(struct file *f)
{
	struct file_lock_ctx *lc = ctx_of(f->inode);
	bool any;

	mutex_lock(&locks_lock, L_FLOCK);
	any = drop_owned(&lc->ranges, f);
	any |= drop_owned(&lc->flocks, f);
	if (any)
		wake_up_all(&lc->wq, 0);
	mutex_unlock(&locks_lock, L_FLOCK);
}

/* A lock may be left over: one that was granted while another thread closed the descriptor. */
void locks_inode_free(struct inode *i)
{
	struct file_lock_ctx *lc = take(i->locks);
	struct range_lock *l;

	if (!lc)
		return;
	mutex_lock(&locks_lock, L_FLOCK);
	while ((l = list_first(&lc->ranges, struct range_lock, link)))
		lock_free(l);
	while ((l = list_first(&lc->flocks, struct range_lock, link)))
		lock_free(l);
	mutex_unlock(&locks_lock, L_FLOCK);
	slab_free(&ctx_slab, lc);
}

bool locks_show(unsigned n, char *buf, size_t size)
{
	static const char *const kinds[] = {"POSIX ", "OFDLCK", "FLOCK "};
	struct range_lock *l, *found = NULL;
	unsigned at = 0;
	char end[24] = "EOF";

	mutex_lock(&locks_lock, L_FLOCK);
	list_for_each(l, &all_locks, all) {
		if (at++ == n) {
			found = l;
			break;
		}
	}
	if (found) {
		if (found->end != OFFSET_MAX)
			snprintf(end, sizeof(end), "%lld", (long long)found->end);
		snprintf(buf, size, "%u: %s ADVISORY  %s %d %02x:%02x:%llu %lld %s\n", n + 1, kinds[found->kind],
			 found->type == F_WRLCK ? "WRITE" : "READ ", found->pid, major(found->inode->super->dev),
			 minor(found->inode->super->dev), (unsigned long long)found->inode->ino,
			 (long long)found->start, end);
	}
	mutex_unlock(&locks_lock, L_FLOCK);
	return found;
}
