/*
 * poll(2) and select(2).
 *
 * One table per call holds a reference to each file and an entry on each of its wait queues; they are entered in the first
 * pass over the descriptors and stay until the call ends. A wake-up only unparks the caller, who then asks every file again. select() turns its
 * bitmaps into a list for poll and the answers back into bitmaps, so that there is one loop. Entries for a few files lie in the
 * table itself: the usual call allocates nothing.
 */
#include "fs/poll.h"

#include <string.h>

#include "fs/fdtable.h"
#include "sentry/base/clock.h"
#include "sentry/base/restart.h"
#include "sentry/base/slab.h"

#define INLINE_FILES 8
#define INLINE_ENTRIES 12
#define POLL_ALWAYS ((uint32_t)(POLLERR | POLLHUP))

struct poll_entry {
	struct wait_entry entry;
	struct poll_entry *next;
};

struct poll_call {
	struct poll_table table;
	struct ctx *c;
	struct file **files;     /* one for each descriptor; NULL: none */
	struct poll_entry *more; /* from the slab */
	unsigned used;           /* of entries[] */
	bool no_memory;
	struct file *few[INLINE_FILES];
	struct poll_entry entries[INLINE_ENTRIES];
};

static struct slab entry_slab = SLAB_INIT(struct poll_entry);

static void poll_call_add(struct poll_table *t, struct wait_queue *q)
{
	struct poll_call *pc = container_of(t, struct poll_call, table);
	struct poll_entry *e;

	if (pc->used < INLINE_ENTRIES) {
		e = &pc->entries[pc->used++];
	} else {
		e = slab_alloc(&entry_slab);
		if (!e) {
			pc->no_memory = true;
			return;
		}
		e->next = pc->more;
		pc->more = e;
	}
	wait_entry_init_ctx(&e->entry, pc->c, t->events);
	wait_queue_add(q, &e->entry);
}

static void poll_call_init(struct poll_call *pc, struct ctx *c)
{
	pc->table = (struct poll_table){poll_call_add, 0, c};
	pc->c = c;
	pc->files = pc->few;
	pc->more = NULL;
	pc->used = 0;
	pc->no_memory = false;
}

static void poll_call_unwait(struct poll_call *pc)
{
	struct poll_entry *e, *next;

	for (unsigned i = 0; i < pc->used; i++)
		wait_entry_remove(&pc->entries[i].entry);
	for (e = pc->more; e; e = next) {
		next = e->next;
		wait_entry_remove(&e->entry);
		slab_free(&entry_slab, e);
	}
}

/* Bits of one descriptor; the file is entered on its queues if table.add is set. */
static uint32_t poll_one(struct poll_call *pc, const struct pollfd *p, struct file *f)
{
	uint32_t wanted = (uint16_t)p->events | POLL_ALWAYS;

	if (p->fd < 0)
		return 0;
	if (!f)
		return POLLNVAL;
	pc->table.events = wanted;
	return file_poll(f, &pc->table) & wanted;
}

/* One pass. With `first` files are looked up and entries made, until something is ready. */
static long poll_pass(struct poll_call *pc, struct pollfd *fds, size_t count, bool first, bool will_wait)
{
	long ready = 0;

	for (size_t i = 0; i < count; i++) {
		struct pollfd *p = &fds[i];
		uint32_t bits;

		if (first)
			pc->files[i] = p->fd < 0 ? NULL : fd_get(pc->c, p->fd);
		pc->table.add = first && will_wait && !ready ? poll_call_add : NULL;
		bits = poll_one(pc, p, pc->files[i]);
		p->revents = (short)bits;
		ready += bits != 0;
	}
	return ready;
}

static long poll_loop(struct poll_call *pc, struct pollfd *fds, size_t count, int64_t deadline)
{
	long ready = poll_pass(pc, fds, count, true, deadline != 0);
	int err = deadline ? 0 : -ETIMEDOUT;

	while (!ready && !err) {
		if (pc->no_memory)
			return -ENOMEM;
		err = park(pc->c, deadline);
		ready = poll_pass(pc, fds, count, false, false);
	}
	if (ready || err == -ETIMEDOUT)
		return ready;
	return -ERESTARTNOHAND;
}

long poll_fds(struct ctx *c, struct pollfd *fds, size_t count, int64_t deadline)
{
	struct poll_call pc;
	long r;

	poll_call_init(&pc, c);
	if (count > INLINE_FILES) {
		pc.files = kalloc(count * sizeof(struct file *));
		if (!pc.files)
			return -ENOMEM;
	}
	r = poll_loop(&pc, fds, count, deadline);
	poll_call_unwait(&pc);
	for (size_t i = 0; i < count; i++)
		file_put(pc.files[i]);
	if (count > INLINE_FILES)
		kfree(pc.files, count * sizeof(struct file *));
	return r;
}

long poll_file_until(struct ctx *c, struct file *f, uint32_t events, int64_t deadline)
{
	struct poll_call pc;
	uint32_t bits;
	int err = 0;

	poll_call_init(&pc, c);
	events |= POLL_ALWAYS;
	pc.table.events = events;
	bits = file_poll(f, &pc.table) & events;
	pc.table.add = NULL;
	while (!bits && !err) {
		err = pc.no_memory ? -ENOMEM : park(c, deadline);
		bits = file_poll(f, &pc.table) & events;
	}
	poll_call_unwait(&pc);
	if (bits || err == -ETIMEDOUT)
		return bits;
	return err;
}

/* ---- select ---- */

/* What each of the three sets asks for, as Linux's POLLIN_SET and its siblings. */
static const uint32_t set_events[3] = {
    POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR,
    POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR,
    POLLPRI,
};

static bool set_has(const uint64_t *set, int fd)
{
	return set && set[fd / 64] & 1ull << (fd % 64);
}

static size_t select_count(int n, uint64_t *const sets[3])
{
	size_t count = 0;

	for (size_t w = 0; w < SELECT_WORDS(n); w++) {
		uint64_t any = (sets[0] ? sets[0][w] : 0) | (sets[1] ? sets[1][w] : 0) | (sets[2] ? sets[2][w] : 0);

		if ((int)w == n / 64)
			any &= (1ull << (n % 64)) - 1;
		count += (size_t)__builtin_popcountll(any);
	}
	return count;
}

static void select_to_poll(int n, uint64_t *const sets[3], struct pollfd *fds)
{
	for (int fd = 0; fd < n; fd++) {
		uint32_t events = 0;

		for (int s = 0; s < 3; s++)
			events |= set_has(sets[s], fd) ? set_events[s] : 0;
		if (events)
			*fds++ = (struct pollfd){fd, (short)events, 0};
	}
}

/* Answers into the sets; the number of bits. */
static long poll_to_select(int n, uint64_t *const sets[3], const struct pollfd *fds, size_t count)
{
	long bits = 0;

	for (size_t i = 0; i < count; i++) {
		for (int s = 0; s < 3; s++) {
			if (!set_has(sets[s], fds[i].fd))
				continue;
			if ((uint16_t)fds[i].revents & set_events[s])
				bits++;
			else
				sets[s][fds[i].fd / 64] &= ~(1ull << (fds[i].fd % 64));
		}
	}
	for (int s = 0; s < 3; s++)
		if (sets[s] && n % 64)
			sets[s][n / 64] &= (1ull << (n % 64)) - 1;
	return bits;
}

static long select_run(struct ctx *c, int n, uint64_t *const sets[3], struct pollfd *fds, size_t count,
		       int64_t deadline)
{
	long r;

	select_to_poll(n, sets, fds);
	r = poll_fds(c, fds, count, deadline);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++)
		if (fds[i].revents & POLLNVAL)
			return -EBADF;
	return poll_to_select(n, sets, fds, count);
}

long select_fds(struct ctx *c, int n, uint64_t *const sets[3], int64_t deadline)
{
	size_t count = select_count(n, sets);
	struct pollfd few[INLINE_FILES];
	struct pollfd *fds = few;
	long r;

	if (count > INLINE_FILES) {
		fds = kalloc(count * sizeof(*fds));
		if (!fds)
			return -ENOMEM;
	}
	r = select_run(c, n, sets, fds, count, deadline);
	if (count > INLINE_FILES)
		kfree(fds, count * sizeof(*fds));
	return r;
}
