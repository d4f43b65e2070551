/*
 * Descriptor tables. One leaf lock; what leaves the table (close, dup2, exec) is put outside of it, because the last put of a file may do
 * anything. A reserved descriptor has its bit set and no file: it is invisible to everybody until it is filled, and dup2() onto it is
 * -EBUSY as in Linux. The table grows by doubling; the bitmaps grow with it.
 */
#include "fs/fdtable.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "fs/locks.h"
#include "sentry/base/slab.h"

#define WORD 64u
#define INITIAL 64u
#define FD_MAX (1u << 20)

struct fdtable {
	struct ref ref;
	struct mutex lock; /* L_FDTABLE: all below */
	unsigned size;     /* a multiple of WORD */
	unsigned next;     /* no free descriptor below it */
	struct file **files;
	uint64_t *used;
	uint64_t *cloexec;
};

static struct slab fdtable_slab = SLAB_INIT(struct fdtable);

static bool bit(const uint64_t *map, unsigned n)
{
	return map[n / WORD] >> (n % WORD) & 1;
}

static void bit_set(uint64_t *map, unsigned n, bool on)
{
	uint64_t m = 1ull << (n % WORD);

	map[n / WORD] = on ? map[n / WORD] | m : map[n / WORD] & ~m;
}

static void arrays_free(struct fdtable *t)
{
	kfree(t->files, t->size * sizeof(*t->files));
	kfree(t->used, t->size / 8);
	kfree(t->cloexec, t->size / 8);
}

/* Makes room for descriptor fd. */
static int grow(struct fdtable *t, unsigned fd)
{
	struct fdtable n = {.size = MAX(t->size, INITIAL)};

	while (n.size <= fd)
		n.size *= 2;
	if (n.size == t->size)
		return 0;
	n.files = kalloc(n.size * sizeof(*n.files));
	n.used = kalloc(n.size / 8);
	n.cloexec = kalloc(n.size / 8);
	if (!n.files || !n.used || !n.cloexec) {
		arrays_free(&n);
		return -ENOMEM;
	}
	if (t->size) {
		memcpy(n.files, t->files, t->size * sizeof(*n.files));
		memcpy(n.used, t->used, t->size / 8);
		memcpy(n.cloexec, t->cloexec, t->size / 8);
		arrays_free(t);
	}
	t->size = n.size;
	t->files = n.files;
	t->used = n.used;
	t->cloexec = n.cloexec;
	return 0;
}

struct fdtable *fdtable_create(void)
{
	struct fdtable *t = slab_alloc(&fdtable_slab);

	if (!t)
		return NULL;
	ref_init(&t->ref);
	mutex_init(&t->lock);
	if (grow(t, 0)) {
		slab_free(&fdtable_slab, t);
		return NULL;
	}
	return t;
}

static void copy_range(struct fdtable *to, const struct fdtable *from, unsigned max)
{
	for (unsigned fd = 0; fd < max; fd++) {
		if (!from->files[fd])
			continue;
		to->files[fd] = file_get(from->files[fd]);
		bit_set(to->used, fd, true);
		bit_set(to->cloexec, fd, bit(from->cloexec, fd));
	}
}

struct fdtable *fdtable_clone(struct fdtable *t, unsigned max)
{
	struct fdtable *copy = fdtable_create();

	if (!copy)
		return NULL;
	mutex_lock(&t->lock, L_FDTABLE);
	max = MIN(max, t->size);
	while (max && !t->used[(max - 1) / WORD])
		max = (max - 1) / WORD * WORD;
	if (max && grow(copy, max - 1)) {
		mutex_unlock(&t->lock, L_FDTABLE);
		fdtable_put(copy);
		return NULL;
	}
	copy_range(copy, t, max);
	mutex_unlock(&t->lock, L_FDTABLE);
	return copy;
}

struct fdtable *fdtable_get(struct fdtable *t)
{
	ref_get(&t->ref);
	return t;
}

unsigned fd_slots(struct ctx *c)
{
	struct fdtable *t = c->fdt;
	unsigned slots;

	mutex_lock(&t->lock, L_FDTABLE);
	slots = t->size;
	mutex_unlock(&t->lock, L_FDTABLE);
	return slots;
}

bool fdtable_is_shared(const struct fdtable *t)
{
	return ref_count(&t->ref) > 1;
}

/* The last close: without a ctx, so there is nobody to tell a flush error to. */
void fdtable_put(struct fdtable *t)
{
	if (!t || !ref_put(&t->ref))
		return;
	for (unsigned fd = 0; fd < t->size; fd++) {
		if (!t->files[fd])
			continue;
		locks_remove_posix(t->files[fd], t);
		file_put(t->files[fd]);
	}
	arrays_free(t);
	slab_free(&fdtable_slab, t);
}

struct file *fd_get_raw(struct ctx *c, int fd)
{
	struct fdtable *t = c->fdt;
	struct file *f = NULL;

	mutex_lock(&t->lock, L_FDTABLE);
	if (fd >= 0 && (unsigned)fd < t->size && t->files[fd])
		f = file_get(t->files[fd]);
	mutex_unlock(&t->lock, L_FDTABLE);
	return f;
}

struct file *fd_get(struct ctx *c, int fd)
{
	struct file *f = fd_get_raw(c, fd);

	if (f && (f->flags & O_PATH)) {
		file_put(f);
		return NULL;
	}
	return f;
}

static unsigned find_free(const struct fdtable *t, unsigned from)
{
	unsigned fd = from;

	while (fd < t->size) {
		uint64_t used = t->used[fd / WORD] | ((1ull << (fd % WORD)) - 1);

		if (used != UINT64_MAX)
			return fd / WORD * WORD + (unsigned)__builtin_ctzll(~used);
		fd = (fd / WORD + 1) * WORD;
	}
	return fd;
}

static int reserve(struct fdtable *t, unsigned min, unsigned limit)
{
	unsigned fd = find_free(t, MAX(min, t->next));

	if (fd >= limit)
		return -EMFILE;
	if (fd >= t->size && grow(t, fd))
		return -ENOMEM;
	bit_set(t->used, fd, true);
	bit_set(t->cloexec, fd, false);
	if (min <= t->next)
		t->next = fd + 1;
	return (int)fd;
}

int fd_reserve(struct ctx *c, int min)
{
	unsigned limit = (unsigned)MIN(c->rlimit_nofile, (uint64_t)FD_MAX);
	int fd;

	if (min < 0 || (unsigned)min >= limit)
		return min ? -EINVAL : -EMFILE;
	mutex_lock(&c->fdt->lock, L_FDTABLE);
	fd = reserve(c->fdt, (unsigned)min, limit);
	mutex_unlock(&c->fdt->lock, L_FDTABLE);
	return fd;
}

static void release_slot(struct fdtable *t, unsigned fd)
{
	t->files[fd] = NULL;
	bit_set(t->used, fd, false);
	bit_set(t->cloexec, fd, false);
	t->next = MIN(t->next, fd);
}

void fd_unreserve(struct ctx *c, int fd)
{
	mutex_lock(&c->fdt->lock, L_FDTABLE);
	release_slot(c->fdt, (unsigned)fd);
	mutex_unlock(&c->fdt->lock, L_FDTABLE);
}

void fd_fill(struct ctx *c, int fd, struct file *f, int flags)
{
	mutex_lock(&c->fdt->lock, L_FDTABLE);
	c->fdt->files[fd] = f;
	bit_set(c->fdt->cloexec, (unsigned)fd, flags & O_CLOEXEC);
	mutex_unlock(&c->fdt->lock, L_FDTABLE);
}

int fd_install(struct ctx *c, struct file *f, int flags)
{
	int fd = fd_reserve(c, 0);

	if (fd < 0)
		file_put(f);
	else
		fd_fill(c, fd, f, flags);
	return fd;
}

static int close_file(struct ctx *c, struct file *f)
{
	int err = f->ops->flush && !(f->flags & O_PATH) ? f->ops->flush(c, f) : 0;

	if (!(f->flags & O_PATH))
		locks_remove_posix(f, c->fdt);
	file_put(f);
	return err;
}

int fd_replace(struct ctx *c, int fd, struct file *f, int flags)
{
	struct fdtable *t = c->fdt;
	struct file *old = NULL;
	int err = 0;

	if (fd < 0 || (uint64_t)fd >= MIN(c->rlimit_nofile, (uint64_t)FD_MAX)) {
		file_put(f);
		return -EBADF;
	}
	mutex_lock(&t->lock, L_FDTABLE);
	err = grow(t, (unsigned)fd);
	if (!err && bit(t->used, (unsigned)fd) && !t->files[fd])
		err = -EBUSY;
	if (!err) {
		old = t->files[fd];
		t->files[fd] = f;
		bit_set(t->used, (unsigned)fd, true);
		bit_set(t->cloexec, (unsigned)fd, flags & O_CLOEXEC);
	}
	mutex_unlock(&t->lock, L_FDTABLE);
	if (err)
		file_put(f);
	if (old)
		(void)close_file(c, old);
	return err ? err : fd;
}

int fd_close(struct ctx *c, int fd)
{
	struct fdtable *t = c->fdt;
	struct file *f = NULL;

	mutex_lock(&t->lock, L_FDTABLE);
	if (fd >= 0 && (unsigned)fd < t->size && t->files[fd]) {
		f = t->files[fd];
		release_slot(t, (unsigned)fd);
	}
	mutex_unlock(&t->lock, L_FDTABLE);
	return f ? close_file(c, f) : -EBADF;
}

int fd_close_range(struct ctx *c, unsigned first, unsigned last, bool cloexec_only)
{
	struct fdtable *t = c->fdt;

	if (first > last)
		return -EINVAL;
	for (unsigned fd = first; fd <= last; fd++) {
		bool end;

		mutex_lock(&t->lock, L_FDTABLE);
		end = fd >= t->size;
		if (!end && cloexec_only && t->files[fd])
			bit_set(t->cloexec, fd, true);
		mutex_unlock(&t->lock, L_FDTABLE);
		if (end)
			break;
		if (!cloexec_only)
			(void)fd_close(c, (int)fd);
	}
	return 0;
}

int fd_get_cloexec(struct ctx *c, int fd)
{
	struct fdtable *t = c->fdt;
	int r = -EBADF;

	mutex_lock(&t->lock, L_FDTABLE);
	if (fd >= 0 && (unsigned)fd < t->size && t->files[fd])
		r = bit(t->cloexec, (unsigned)fd);
	mutex_unlock(&t->lock, L_FDTABLE);
	return r;
}

int fd_set_cloexec(struct ctx *c, int fd, bool on)
{
	struct fdtable *t = c->fdt;
	int r = -EBADF;

	mutex_lock(&t->lock, L_FDTABLE);
	if (fd >= 0 && (unsigned)fd < t->size && t->files[fd]) {
		bit_set(t->cloexec, (unsigned)fd, on);
		r = 0;
	}
	mutex_unlock(&t->lock, L_FDTABLE);
	return r;
}

void fdtable_exec(struct ctx *c)
{
	struct fdtable *t = c->fdt;

	for (unsigned fd = 0;; fd++) {
		bool end, doomed;

		mutex_lock(&t->lock, L_FDTABLE);
		end = fd >= t->size;
		doomed = !end && t->files[fd] && bit(t->cloexec, fd);
		mutex_unlock(&t->lock, L_FDTABLE);
		if (end)
			break;
		if (doomed)
			(void)fd_close(c, (int)fd);
	}
}

int fdtable_next(struct fdtable *t, int fd, struct file **ret)
{
	int found = -1;

	mutex_lock(&t->lock, L_FDTABLE);
	for (unsigned n = (unsigned)MAX(fd, 0); n < t->size && found < 0; n++) {
		if (!t->files[n])
			continue;
		*ret = file_get(t->files[n]);
		found = (int)n;
	}
	mutex_unlock(&t->lock, L_FDTABLE);
	return found;
}
