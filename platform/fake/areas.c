/*
 * An address space as a sorted list of areas over pieces of this process's memory.
 *
 * Every change first splits areas at the borders of its range, so that it then deals with whole areas only. Private
 * backings belong to one aspace and are copied at fork (touched pages only); shared ones are counted. Protections are
 * checked here, byte-exact by page, as the processor would; a file's pages behind its end, which would raise SIGBUS, are
 * left to process_vm_readv/writev on ourselves, which return what could be copied.
 *
 * Errors are those of the host's calls: ENOMEM for a hole in mprotect, madvise, msync and mincore; EFAULT for one in
 * mremap; EACCES for a write protection that a read-only file does not allow.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "platform/fake/internal.h"

static void *zalloc(size_t size)
{
	return calloc(1, size);
}

static void backing_put(struct backing *b)
{
	if (!ref_put(&b->ref))
		return;
	munmap(b->mem, b->size);
	free(b);
}

static struct backing *backing_new(size_t size, int flags, int fd, uint64_t off, int *ret_err)
{
	struct backing *b = zalloc(sizeof(*b));
	int host = (flags & MAP_SHARED ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);

	*ret_err = -ENOMEM;
	if (!b)
		return NULL;
	ref_init(&b->ref);
	b->size = size;
	b->file = fd >= 0;
	b->shared = flags & MAP_SHARED;
	b->writable = true;
	b->mem = mmap(NULL, size, PROT_READ | PROT_WRITE, host, fd, (off_t)off);
	if (b->mem == MAP_FAILED && fd >= 0 && errno == EACCES && b->shared) {
		b->writable = false;
		b->mem = mmap(NULL, size, PROT_READ, host, fd, (off_t)off);
	}
	if (b->mem == MAP_FAILED) {
		*ret_err = -errno;
		free(b);
		return NULL;
	}
	return b;
}

/* A private copy of what has been touched. */
static struct backing *backing_copy(const struct backing *from)
{
	unsigned char here[1];
	int err;
	struct backing *b = backing_new(from->size, MAP_PRIVATE, -1, 0, &err);

	if (!b)
		return NULL;
	b->file = from->file;
	for (size_t at = 0; at < from->size; at += PAGE_SIZE) {
		struct iovec dst = {b->mem + at, PAGE_SIZE};
		struct iovec src = {from->mem + at, PAGE_SIZE};

		if (from->file)
			process_vm_readv(getpid(), &dst, 1, &src, 1, 0);
		else if (mincore(from->mem + at, PAGE_SIZE, here) == 0 && (here[0] & 1))
			memcpy(b->mem + at, from->mem + at, PAGE_SIZE);
	}
	return b;
}

static void area_free(struct area *x)
{
	list_remove(&x->link);
	backing_put(x->b);
	free(x);
}

static struct area *area_new(uint64_t start, uint64_t end, int prot, struct backing *b, size_t offset)
{
	struct area *x = zalloc(sizeof(*x));

	if (!x)
		return NULL;
	list_init(&x->link);
	x->start = start;
	x->end = end;
	x->prot = prot;
	x->b = b;
	x->offset = offset;
	return x;
}

static void area_insert(struct aspace *a, struct area *x)
{
	struct area *y;

	list_for_each(y, &a->areas, link)
		if (y->start > x->start)
			break;
	list_link(&x->link, y->link.prev, &y->link);
}

/* Makes `addr` a border between areas. */
static int split_at(struct aspace *a, uint64_t addr)
{
	struct area *x, *rest;

	list_for_each(x, &a->areas, link) {
		if (addr <= x->start || addr >= x->end)
			continue;
		rest = area_new(addr, x->end, x->prot, x->b, x->offset + (addr - x->start));
		if (!rest)
			return -ENOMEM;
		ref_get(&x->b->ref);
		x->end = addr;
		list_push(&x->link, &rest->link);
		return 0;
	}
	return 0;
}

static int split(struct aspace *a, uint64_t start, uint64_t end)
{
	int err = split_at(a, start);

	return err ? err : split_at(a, end);
}

/* Whether [start, end) has no hole. */
static bool covered(struct aspace *a, uint64_t start, uint64_t end)
{
	struct area *x;

	list_for_each(x, &a->areas, link) {
		if (x->end <= start)
			continue;
		if (x->start > start)
			return false;
		start = x->end;
		if (start >= end)
			return true;
	}
	return start >= end;
}

static bool range_ok(uint64_t addr, size_t size)
{
	return addr >= GUEST_MIN && addr < GUEST_END && size <= GUEST_END - addr && addr % PAGE_SIZE == 0 &&
	       size % PAGE_SIZE == 0;
}

static int unmap_locked(struct aspace *a, uint64_t addr, size_t size)
{
	struct area *x, *next;
	int err = split(a, addr, addr + size);

	if (err)
		return err;
	list_for_each_safe(x, next, &a->areas, link)
		if (x->start >= addr && x->end <= addr + size)
			area_free(x);
	return 0;
}

void areas_free(struct aspace *a)
{
	struct area *x, *next;

	list_for_each_safe(x, next, &a->areas, link)
		area_free(x);
}

static int area_copy(struct aspace *to, const struct area *x)
{
	size_t size = x->end - x->start;
	struct backing *b = x->b;
	struct backing part = *x->b;
	struct area *y;

	if (b->shared) {
		ref_get(&b->ref);
	} else {
		part.mem += x->offset;
		part.size = size;
		b = backing_copy(&part);
	}
	if (!b)
		return -ENOMEM;
	y = area_new(x->start, x->end, x->prot, b, x->b->shared ? x->offset : 0);
	if (!y) {
		backing_put(b);
		return -ENOMEM;
	}
	list_append(&to->areas, &y->link);
	return 0;
}

int areas_copy(struct aspace *to, struct aspace *from)
{
	struct area *x;
	int err = 0;

	mutex_lock(&from->lock, L_ASPACE);
	list_for_each(x, &from->areas, link)
		if ((err = area_copy(to, x)) < 0)
			break;
	mutex_unlock(&from->lock, L_ASPACE);
	return err;
}

int areas_map(struct aspace *a, uint64_t addr, size_t size, int prot, int flags, int fd, uint64_t off)
{
	struct backing *b;
	struct area *x;
	int err;

	if (!range_ok(addr, size) || !size)
		return -EINVAL;
	b = backing_new(size, flags, fd, off, &err);
	if (!b)
		return err;
	x = area_new(addr, addr + size, prot, b, 0);
	err = -EACCES;
	if (!x || (!b->writable && (prot & PROT_WRITE))) {
		backing_put(b);
		free(x);
		return x ? err : -ENOMEM;
	}
	mutex_lock(&a->lock, L_ASPACE);
	err = unmap_locked(a, addr, size);
	if (!err)
		area_insert(a, x);
	mutex_unlock(&a->lock, L_ASPACE);
	if (err)
		area_free(x);
	return err;
}

int areas_unmap(struct aspace *a, uint64_t addr, size_t size)
{
	int err;

	if (!range_ok(addr, size) || !size)
		return -EINVAL;
	mutex_lock(&a->lock, L_ASPACE);
	err = unmap_locked(a, addr, size);
	mutex_unlock(&a->lock, L_ASPACE);
	return err;
}

/* Splits, then calls fn for each area of the range; ENOMEM if there was a hole, after the rest has been done. */
static int each(struct aspace *a, uint64_t addr, size_t size, int (*fn)(struct area *x, int arg), int arg)
{
	struct area *x;
	int err = 0;

	if (!range_ok(addr, size))
		return -EINVAL;
	mutex_lock(&a->lock, L_ASPACE);
	err = split(a, addr, addr + size);
	list_for_each(x, &a->areas, link)
		if (!err && x->start >= addr && x->end <= addr + size)
			err = fn(x, arg);
	if (!err && !covered(a, addr, addr + size))
		err = -ENOMEM;
	mutex_unlock(&a->lock, L_ASPACE);
	return err;
}

static int area_protect(struct area *x, int prot)
{
	if (!x->b->writable && (prot & PROT_WRITE))
		return -EACCES;
	x->prot = prot;
	return 0;
}

int areas_protect(struct aspace *a, uint64_t addr, size_t size, int prot)
{
	return each(a, addr, size, area_protect, prot);
}

static int area_advise(struct area *x, int advice)
{
	return madvise(x->b->mem + x->offset, x->end - x->start, advice) < 0 ? -errno : 0;
}

int areas_advise(struct aspace *a, uint64_t addr, size_t size, int advice)
{
	return each(a, addr, size, area_advise, advice);
}

static int area_sync(struct area *x, int flags)
{
	return msync(x->b->mem + x->offset, x->end - x->start, flags) < 0 ? -errno : 0;
}

int areas_sync(struct aspace *a, uint64_t addr, size_t size, int flags)
{
	return each(a, addr, size, area_sync, flags);
}

/* One area that covers all of [addr, addr + size), after splitting. */
static struct area *exact(struct aspace *a, uint64_t addr, size_t size)
{
	struct area *x;

	list_for_each(x, &a->areas, link)
		if (x->start == addr && x->end == addr + size)
			return x;
	return NULL;
}

static struct area *containing(struct aspace *a, uint64_t addr)
{
	struct area *x;

	list_for_each(x, &a->areas, link)
		if (x->start <= addr && addr < x->end)
			return x;
	return NULL;
}

/* The area for the new place: the old memory, and behind it what the move adds. */
static int move_locked(struct aspace *a, struct area *x, uint64_t to, size_t old_size, size_t size)
{
	size_t keep = MIN(old_size ? old_size : size, size);
	struct area *y = area_new(to, to + keep, x->prot, x->b, x->offset);
	struct backing *more = NULL;
	struct area *z = NULL;
	int err = -ENOMEM;

	if (size > keep && (more = backing_new(size - keep, x->b->shared ? MAP_SHARED : MAP_PRIVATE, -1, 0, &err)))
		z = area_new(to + keep, to + size, x->prot, more, 0);
	if (!y || (size > keep && !z)) {
		if (more)
			backing_put(more);
		free(y);
		free(z);
		return err;
	}
	ref_get(&x->b->ref);
	if (old_size)
		area_free(x);
	area_insert(a, y);
	if (z)
		area_insert(a, z);
	return 0;
}

int areas_move(struct aspace *a, uint64_t old, size_t old_size, uint64_t to, size_t size)
{
	struct area *x;
	int err;

	if (!range_ok(old, old_size) || !range_ok(to, size) || !size || (old < to + size && to < old + old_size))
		return -EINVAL;
	mutex_lock(&a->lock, L_ASPACE);
	err = unmap_locked(a, to, size);
	if (!err && old_size)
		err = split(a, old, old + old_size);
	if (!err) {
		x = old_size ? exact(a, old, old_size) : containing(a, old);
		if (!x)
			err = -EFAULT;
		else if (!old_size && (!x->b->shared || x->offset + size > x->b->size))
			err = -EINVAL;
		else
			err = move_locked(a, x, to, old_size, size);
	}
	mutex_unlock(&a->lock, L_ASPACE);
	return err;
}

int areas_mincore(struct aspace *a, uint64_t addr, size_t size, unsigned char *vec)
{
	struct area *x;
	int err = 0;

	if (!range_ok(addr, size))
		return -EINVAL;
	mutex_lock(&a->lock, L_ASPACE);
	for (uint64_t at = addr; !err && at < addr + size; at += PAGE_SIZE) {
		x = containing(a, at);
		if (!x ||
		    mincore(x->b->mem + x->offset + (at - x->start), PAGE_SIZE, vec + (at - addr) / PAGE_SIZE) < 0)
			err = -ENOMEM;
	}
	mutex_unlock(&a->lock, L_ASPACE);
	return err;
}

uint64_t areas_rss(struct aspace *a)
{
	uint64_t pages = 0;
	unsigned char here;
	struct area *x;

	mutex_lock(&a->lock, L_ASPACE);
	list_for_each(x, &a->areas, link)
		for (uint64_t at = 0; at < x->end - x->start; at += PAGE_SIZE)
			if (mincore(x->b->mem + x->offset + at, PAGE_SIZE, &here) == 0)
				pages += here & 1;
	mutex_unlock(&a->lock, L_ASPACE);
	return pages * PAGE_SIZE;
}

static size_t copy_part(const struct backing *b, char *mem, char *mine, size_t size, bool write)
{
	struct iovec guest = {mem, size};
	struct iovec ours = {mine, size};
	ssize_t n;

	if (!b->file) {
		memcpy(write ? mem : mine, write ? mine : mem, size);
		return size;
	}
	n = write ? process_vm_writev(getpid(), &ours, 1, &guest, 1, 0)
		  : process_vm_readv(getpid(), &ours, 1, &guest, 1, 0);
	return n > 0 ? (size_t)n : 0;
}

static ssize_t transfer(struct aspace *a, uint64_t addr, char *mine, size_t size, bool write)
{
	size_t done = 0;

	mutex_lock(&a->lock, L_ASPACE);
	while (done < size) {
		struct area *x = addr + done < GUEST_END ? containing(a, addr + done) : NULL;
		size_t want, got;

		if (!x || !(x->prot & (write ? PROT_WRITE : PROT_READ)))
			break;
		want = MIN(size - done, x->end - (addr + done));
		got = copy_part(x->b, x->b->mem + x->offset + (addr + done - x->start), mine + done, want, write);
		done += got;
		if (got < want)
			break;
	}
	mutex_unlock(&a->lock, L_ASPACE);
	return done || !size ? (ssize_t)done : -EFAULT;
}

ssize_t areas_read(struct aspace *a, void *dst, uint64_t addr, size_t size)
{
	return transfer(a, addr, dst, size, false);
}

ssize_t areas_write(struct aspace *a, uint64_t addr, const void *src, size_t size)
{
	return transfer(a, addr, (char *)(uintptr_t)src, size, true);
}

int areas_cas32(struct aspace *a, uint64_t addr, uint32_t *expected, uint32_t desired)
{
	struct area *x;
	int err = -EFAULT;

	if (addr % sizeof(uint32_t))
		return err;
	mutex_lock(&a->lock, L_ASPACE);
	x = addr < GUEST_END ? containing(a, addr) : NULL;
	if (x && (x->prot & PROT_WRITE)) {
		char *p = x->b->mem + x->offset + (addr - x->start);

		__atomic_compare_exchange_n((uint32_t *)(void *)p, expected, desired, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
		err = 0;
	}
	mutex_unlock(&a->lock, L_ASPACE);
	return err;
}
