/*
 * Pipes and FIFOs: pipe(7), fifo(7), fcntl(2).
 *
 * A pipe holds chunks, one in a page, in a ring of `slots` (16 by default). A write that fits behind the last chunk is merged into it;
 * a larger one fills new chunks. That is Linux's layout, on purpose: how much a pipe takes before it is full, and that
 * PIPE_BUF bytes go in whole, follow from it. The pages of consecutive chunks are adjacent in `mem`, so that 64 KiB travel in one or
 * two copies to guest memory; `mem` starts with one page and grows when a writer gets ahead, so that an ordinary pipe costs 4 KiB.
 *
 * Each pipe has one mutex (L_FILE) that is held during the copy, and two queues. Readers are woken when an empty pipe got
 * data, writers when a full one got room: once per transition, after the mutex was dropped. A pipe that epoll or poll has seen wakes its
 * pollers at each write, for edge-triggered users. i->fifo and `files` are protected by the inode's lock, so that an open of
 * /proc/PID/fd/N or of a FIFO either finds the pipe alive or makes a new one.
 *
 * splice() takes data in two steps (peek, use, end): `peeking` keeps other readers away meanwhile.
 */
#include "fs/pipe.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#include "fs/anon.h"
#include "fs/fasync.h"
#include "sentry/base/cred.h"
#include "sentry/base/restart.h"
#include "sentry/base/slab.h"

#define SLOTS_DEFAULT 16u
#define SLOTS_POOR 2u                    /* for users above the soft limit */
#define PAGES_SOFT_LIMIT 16384u          /* /proc/sys/fs/pipe-user-pages-soft */
#define SIZE_MAX_UNPRIVILEGED (1u << 20) /* /proc/sys/fs/pipe-max-size */
#define POLL_READ ((uint32_t)(POLLIN | POLLRDNORM))
#define POLL_WRITE ((uint32_t)(POLLOUT | POLLWRNORM))

struct chunk {
	uint16_t off, len;
	bool packet;
};

struct pipe {
	struct mutex lock; /* L_FILE: everything but `files` */
	struct wait_queue rd_wait, wr_wait;
	struct list async;    /* fasync of all ends */
	struct chunk *chunks; /* mem_pages of them */
	char *mem;
	uint32_t mem_pages;  /* a power of two, at most slots; 0: none yet */
	uint32_t slots;      /* a power of two */
	uint32_t head, tail; /* free-running: head - tail chunks are used */
	uint32_t readers, writers;
	uint32_t r_opens, w_opens; /* how often each end was opened: an opener waits for a change */
	bool pollers;              /* has been polled */
	bool peeking;
	uint32_t files; /* open descriptions; the inode's L_INODE */
};

static struct slab pipe_slab = SLAB_INIT(struct pipe);
static _Atomic int64_t pipe_pages;

static bool pipe_empty(const struct pipe *p)
{
	return p->head == p->tail;
}

static bool pipe_full(const struct pipe *p)
{
	return p->head - p->tail >= p->slots;
}

static struct chunk *chunk_at(const struct pipe *p, uint32_t i)
{
	return &p->chunks[i & (p->mem_pages - 1)];
}

static char *page_at(const struct pipe *p, uint32_t i)
{
	return p->mem + (i & (p->mem_pages - 1)) * PAGE_SIZE;
}

static void pipe_free_mem(struct pipe *p)
{
	kfree(p->mem, p->mem_pages * PAGE_SIZE);
	kfree(p->chunks, p->mem_pages * sizeof(struct chunk));
	p->mem = NULL;
	p->chunks = NULL;
	p->mem_pages = 0;
}

/* Replaces the ring's memory by one of `pages` pages, which are enough for what it holds. */
static int pipe_resize_mem(struct pipe *p, uint32_t pages)
{
	struct pipe q = {.mem_pages = pages};

	q.mem = kalloc(pages * PAGE_SIZE);
	q.chunks = kalloc(pages * sizeof(struct chunk));
	if (!q.mem || !q.chunks) {
		kfree(q.mem, pages * PAGE_SIZE);
		kfree(q.chunks, pages * sizeof(struct chunk));
		return -ENOMEM;
	}
	for (uint32_t i = p->tail; i != p->head; i++, q.head++) {
		struct chunk *ch = chunk_at(p, i);

		*chunk_at(&q, q.head) = *ch;
		memcpy(page_at(&q, q.head) + ch->off, page_at(p, i) + ch->off, ch->len);
	}
	pipe_free_mem(p);
	p->mem = q.mem;
	p->chunks = q.chunks;
	p->mem_pages = pages;
	p->tail = 0;
	p->head = q.head;
	return 0;
}

/* Memory for `want` more chunks, or for fewer, but at least one; the pipe is not full. How many. */
static int pipe_reserve(struct pipe *p, uint32_t want)
{
	uint32_t used = p->head - p->tail;
	uint32_t need = MIN(p->slots, used + want);
	uint32_t pages = p->mem_pages ? p->mem_pages : 1;
	int err = 0;

	while (pages < need)
		pages = MIN(pages * 4, p->slots);
	if (pages > p->mem_pages)
		err = pipe_resize_mem(p, pages);
	if (err && p->mem_pages <= used)
		return err;
	return (int)(MIN(p->mem_pages, p->slots) - used);
}

static void pipe_drained(struct pipe *p)
{
	p->head = p->tail = 0; /* the same warm page again */
	if (p->mem_pages > SLOTS_DEFAULT)
		pipe_free_mem(p);
}

static void pipe_destroy(struct pipe *p)
{
	__atomic_fetch_sub((int64_t *)&pipe_pages, p->slots, __ATOMIC_RELAXED);
	pipe_free_mem(p);
	slab_free(&pipe_slab, p);
}

static struct pipe *pipe_alloc(struct ctx *c)
{
	struct pipe *p = slab_alloc(&pipe_slab);

	if (!p)
		return NULL;
	mutex_init(&p->lock);
	wait_queue_init(&p->rd_wait);
	wait_queue_init(&p->wr_wait);
	list_init(&p->async);
	p->slots = SLOTS_DEFAULT;
	if (__atomic_load_n((int64_t *)&pipe_pages, __ATOMIC_RELAXED) + SLOTS_DEFAULT > PAGES_SOFT_LIMIT &&
	    !cred_capable(c->cred, CAP_SYS_RESOURCE))
		p->slots = SLOTS_POOR;
	__atomic_fetch_add((int64_t *)&pipe_pages, p->slots, __ATOMIC_RELAXED);
	return p;
}

/* ---- taking data out ---- */

/* Bytes at the tail that lie in one piece, at most max; a packet is never joined with what follows. */
static size_t tail_run(const struct pipe *p, size_t max)
{
	const struct chunk *ch = chunk_at(p, p->tail);
	size_t size = ch->len;
	uint32_t end = ch->off + ch->len;

	for (uint32_t i = p->tail + 1; i != p->head && size < max && end == PAGE_SIZE; i++) {
		const struct chunk *prev = ch;

		ch = chunk_at(p, i);
		if (ch < prev || ch->off || ch->packet || prev->packet)
			break;
		size += ch->len;
		end = ch->len;
	}
	return MIN(size, max);
}

/* Drops size bytes at the tail; they are there. */
static void pipe_consume(struct pipe *p, size_t size)
{
	while (size) {
		struct chunk *ch = chunk_at(p, p->tail);
		size_t n = MIN(size, ch->len);

		ch->off += (uint16_t)n;
		ch->len -= (uint16_t)n;
		size -= n;
		if (ch->len == 0)
			p->tail++;
	}
	if (pipe_empty(p))
		pipe_drained(p);
}

/* Of size bytes of a run that reached the guest before a fault, those in whole chunks: a chunk that faults stays, as on Linux. */
static size_t whole_chunks(const struct pipe *p, size_t size)
{
	size_t whole = 0;

	for (uint32_t i = p->tail; whole + chunk_at(p, i)->len <= size; i++)
		whole += chunk_at(p, i)->len;
	return whole;
}

/* Reads what is there, up to what b takes; one packet at most. Bytes or -EFAULT. */
static ssize_t pipe_take(struct pipe *p, struct iobuf *b)
{
	ssize_t done = 0;

	while (!pipe_empty(p) && iobuf_left(b)) {
		struct chunk *ch = chunk_at(p, p->tail);
		bool packet = ch->packet;
		size_t run = tail_run(p, iobuf_left(b));
		ssize_t n = iobuf_put(b, page_at(p, p->tail) + ch->off, run);
		bool fault = n < (ssize_t)run;

		if (fault)
			n = n > 0 ? (ssize_t)whole_chunks(p, (size_t)n) : 0;
		if (n)
			pipe_consume(p, packet ? ch->len : (size_t)n);
		done += n;
		if (fault)
			return done ? done : -EFAULT;
		if (packet)
			break;
	}
	return done;
}

static void wake_writers(struct pipe *p, bool room)
{
	if (room)
		wake_up(&p->wr_wait, POLL_WRITE);
}

static void wake_readers(struct pipe *p, bool data)
{
	if (data)
		wake_up(&p->rd_wait, POLL_READ);
}

/* With the lock: 1 if there is data to take, 0 at end of file, or -errno after waiting. */
static int pipe_wait_data(struct ctx *c, struct pipe *p, bool nonblock) REQUIRES(L_FILE)
{
	int err = 0;

	while (!err && p->peeking)
		err = wait_on_killable(c, &p->rd_wait, &p->lock, L_FILE);
	while (!err && pipe_empty(p)) {
		if (!p->writers)
			return 0;
		err = nonblock ? -EAGAIN : wait_on(c, &p->rd_wait, &p->lock, L_FILE);
		while (!err && p->peeking)
			err = wait_on_killable(c, &p->rd_wait, &p->lock, L_FILE);
	}
	return err ? err : 1;
}

ssize_t pipe_read_from(struct ctx *c, struct file *f, struct iobuf *b, bool nonblock)
{
	struct pipe *p = f->priv;
	bool was_full = false;
	ssize_t r;

	if (!iobuf_left(b))
		return 0;
	mutex_lock(&p->lock, L_FILE);
	r = pipe_wait_data(c, p, nonblock);
	if (r > 0) {
		was_full = pipe_full(p);
		r = pipe_take(p, b);
		was_full = was_full && !pipe_full(p);
		if (was_full)
			fasync_notify(&p->async, POLLOUT);
	}
	mutex_unlock(&p->lock, L_FILE);
	wake_writers(p, was_full);
	return r;
}

static ssize_t pipe_read(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	return pipe_read_from(c, f, b, f->flags & O_NONBLOCK);
}

/* ---- putting data in ---- */

/* The odd bytes of a write go behind the last chunk if they fit there whole. 0: nothing merged. */
static ssize_t pipe_merge(struct pipe *p, struct iobuf *b)
{
	size_t odd = iobuf_left(b) & ~PAGE_MASK;
	struct chunk *last;
	ssize_t n;

	if (!odd || pipe_empty(p))
		return 0;
	last = chunk_at(p, p->head - 1);
	if (last->packet || last->off + last->len + odd > PAGE_SIZE)
		return 0;
	n = iobuf_get(b, page_at(p, p->head - 1) + last->off + last->len, odd);
	if (n < (ssize_t)odd)
		return -EFAULT;
	last->len += (uint16_t)n;
	return n;
}

static void push_chunks(struct pipe *p, size_t size, bool packet)
{
	while (size) {
		size_t n = MIN(size, PAGE_SIZE);

		*chunk_at(p, p->head++) = (struct chunk){0, (uint16_t)n, packet};
		size -= n;
	}
}

/* Fills free chunks in one copy up to the end of the ring's memory. A page that faults in the middle is not taken. */
static ssize_t pipe_fill(struct pipe *p, struct iobuf *b, bool packet)
{
	size_t want = MIN(iobuf_left(b), p->slots * PAGE_SIZE);
	int room = pipe_reserve(p, (uint32_t)(PAGE_UP(want) >> PAGE_SHIFT));
	uint32_t to_end;
	ssize_t n;

	if (room < 0)
		return room;
	to_end = p->mem_pages - (p->head & (p->mem_pages - 1));
	want = MIN(want, MIN((uint32_t)room, to_end) * PAGE_SIZE);
	n = iobuf_get(b, page_at(p, p->head), want);
	if (n >= 0 && (size_t)n < want)
		n = (ssize_t)PAGE_DOWN((size_t)n) ? (ssize_t)PAGE_DOWN((size_t)n) : -EFAULT;
	if (n > 0)
		push_chunks(p, (size_t)n, packet);
	return n;
}

/* State of one write over its sleeps. */
struct pipe_writer {
	struct pipe *p;
	ssize_t done;
	bool was_empty; /* readers have not been told of what was put in */
};

/* With the lock: fills until b is used up or the pipe is full. 0 or -errno. */
static int writer_fill(struct pipe_writer *w, struct iobuf *b, bool packet)
{
	while (iobuf_left(b) && !pipe_full(w->p)) {
		ssize_t n = pipe_fill(w->p, b, packet);

		if (n < 0)
			return (int)n;
		w->done += n;
	}
	return 0;
}

/* With the lock, the pipe is full: tells readers, or sleeps. */
static int writer_wait(struct ctx *c, struct pipe_writer *w) REQUIRES(L_FILE)
{
	struct pipe *p = w->p;
	int err = 0;

	if (w->was_empty) {
		mutex_unlock(&p->lock, L_FILE);
		wake_readers(p, true);
		mutex_lock(&p->lock, L_FILE);
		w->was_empty = pipe_empty(p); /* a reader may have drained it and sleep again */
		return 0;
	}
	err = wait_on(c, &p->wr_wait, &p->lock, L_FILE);
	w->was_empty = pipe_empty(p);
	return err;
}

static ssize_t writer_run(struct ctx *c, struct pipe_writer *w, struct iobuf *b, bool nonblock, bool packet)
    REQUIRES(L_FILE)
{
	struct pipe *p = w->p;
	int err = 0;

	if (p->readers) {
		ssize_t n = pipe_merge(p, b);

		if (n < 0)
			return n;
		w->done = n;
	}
	while (!err && iobuf_left(b)) {
		if (!p->readers)
			err = -EPIPE;
		else if (!pipe_full(p))
			err = writer_fill(w, b, packet);
		else if (nonblock)
			err = -EAGAIN;
		else
			err = writer_wait(c, w);
	}
	if (err == -EPIPE)
		c->raise(c, SIGPIPE);
	return w->done ? w->done : err;
}

ssize_t pipe_write_to(struct ctx *c, struct file *f, struct iobuf *b, bool nonblock)
{
	struct pipe *p = f->priv;
	struct pipe_writer w = {.p = p};
	bool wake;
	ssize_t r;

	if (!iobuf_left(b))
		return 0;
	mutex_lock(&p->lock, L_FILE);
	w.was_empty = pipe_empty(p);
	r = writer_run(c, &w, b, nonblock, f->flags & O_DIRECT);
	wake = r > 0 && (w.was_empty || p->pollers);
	if (wake)
		fasync_notify(&p->async, POLLIN);
	mutex_unlock(&p->lock, L_FILE);
	wake_readers(p, wake);
	return r;
}

static ssize_t pipe_write(struct ctx *c, struct file *f, struct iobuf *b, off_t *pos __unused)
{
	return pipe_write_to(c, f, b, f->flags & O_NONBLOCK);
}

/* ---- the rest of an open description ---- */

static uint32_t pipe_poll(struct file *f, struct poll_table *t)
{
	struct pipe *p = f->priv;
	int acc = f->flags & O_ACCMODE;
	uint32_t bits = 0;

	if (acc != O_WRONLY)
		poll_wait(t, &p->rd_wait);
	if (acc != O_RDONLY)
		poll_wait(t, &p->wr_wait);
	mutex_lock(&p->lock, L_FILE);
	p->pollers = true;
	if (acc != O_WRONLY) {
		bits |= pipe_empty(p) ? 0 : POLL_READ;
		/* A FIFO that no writer has opened since this open has not hung up yet. */
		if (!p->writers && (uint32_t)f->pos != p->w_opens)
			bits |= POLLHUP;
	}
	if (acc != O_RDONLY) {
		bits |= pipe_full(p) ? 0 : POLL_WRITE;
		bits |= p->readers ? 0 : POLLERR;
	}
	mutex_unlock(&p->lock, L_FILE);
	return bits;
}

static long pipe_ioctl(struct ctx *c, struct file *f, uint32_t cmd, uint64_t arg)
{
	struct pipe *p = f->priv;
	int size = 0;

	if (cmd != FIONREAD)
		return -ENOTTY;
	mutex_lock(&p->lock, L_FILE);
	for (uint32_t i = p->tail; i != p->head; i++)
		size += chunk_at(p, i)->len;
	mutex_unlock(&p->lock, L_FILE);
	return copy_out(c, UADDR(arg), &size, sizeof(size));
}

static int pipe_set_flags(struct file *f, int flags)
{
	struct pipe *p = f->priv;
	int err;

	mutex_lock(&p->lock, L_FILE);
	err = fasync_set(f, &p->async, flags);
	mutex_unlock(&p->lock, L_FILE);
	return err;
}

static void wake_everybody(struct pipe *p)
{
	wake_up_all(&p->rd_wait, POLL_READ | POLLHUP | POLLERR);
	wake_up_all(&p->wr_wait, POLL_WRITE | POLLHUP | POLLERR);
}

/* Takes f's end off the pipe. */
static void pipe_drop_end(struct pipe *p, struct file *f)
{
	int acc = f->flags & O_ACCMODE;
	bool half;

	mutex_lock(&p->lock, L_FILE);
	fasync_remove(f);
	p->readers -= acc != O_WRONLY;
	p->writers -= acc != O_RDONLY;
	half = !p->readers != !p->writers;
	if (half)
		fasync_notify(&p->async, p->readers ? POLLIN : POLLOUT);
	mutex_unlock(&p->lock, L_FILE);
	if (half)
		wake_everybody(p);
}

/* One open description less; the last one frees the pipe. */
static void pipe_put(struct pipe *p, struct inode *i)
{
	bool last;

	inode_lock(i);
	last = --p->files == 0;
	if (last)
		i->fifo = NULL;
	inode_unlock(i);
	if (last)
		pipe_destroy(p);
}

static void pipe_release(struct file *f)
{
	struct pipe *p = f->priv;

	pipe_drop_end(p, f);
	pipe_put(p, f->inode);
}

static const struct file_ops pipe_ops = {
    .read = pipe_read,
    .write = pipe_write,
    .poll = pipe_poll,
    .ioctl = pipe_ioctl,
    .release = pipe_release,
    .set_flags = pipe_set_flags,
};

struct pipe *pipe_of(struct file *f)
{
	return f->ops == &pipe_ops ? f->priv : NULL;
}

int pipe_create(struct ctx *c, int flags, struct file **ret_read, struct file **ret_write)
{
	struct pipe *p = pipe_alloc(c);
	struct file *r, *w;
	int err;

	if (!p)
		return -ENOMEM;
	flags &= O_NONBLOCK | O_DIRECT;
	p->readers = p->writers = p->files = p->r_opens = p->w_opens = 1;
	err = anon_file_create(c, "pipe:", S_IFIFO | 0600, &pipe_ops, p, O_RDONLY | flags, &r);
	if (err) {
		pipe_destroy(p);
		return err;
	}
	r->inode->fifo = p;
	p->files++;
	w = file_create(&r->path, &pipe_ops, O_WRONLY | flags, c->cred);
	if (!w) {
		p->files--;
		file_put(r);
		return -ENOMEM;
	}
	w->priv = p;
	w->opened = true;
	*ret_read = r;
	*ret_write = w;
	return 0;
}

/* ---- FIFOs ---- */

/* The inode's pipe with one more user; made if nobody has it open. */
static struct pipe *fifo_get(struct ctx *c, struct inode *i)
{
	struct pipe *p;

	inode_lock(i);
	p = i->fifo;
	if (!p)
		p = i->fifo = pipe_alloc(c);
	if (p)
		p->files++;
	inode_unlock(i);
	return p;
}

/* Until the other side has been opened once more than `seen` times. */
static int fifo_wait_partner(struct ctx *c, struct pipe *p, const uint32_t *opens) REQUIRES(L_FILE)
{
	uint32_t seen = *opens;
	int err = 0;

	while (!err && *opens == seen)
		err = wait_on(c, &p->rd_wait, &p->lock, L_FILE);
	return err;
}

/* A pipe that is opened again through /proc/PID/fd (is_pipe) waits for nobody. */
static int fifo_open_end(struct ctx *c, struct pipe *p, struct file *f, bool is_pipe) REQUIRES(L_FILE)
{
	int acc = f->flags & O_ACCMODE;
	bool nonblock = f->flags & O_NONBLOCK;

	if (!is_pipe && acc == O_WRONLY && nonblock && !p->readers)
		return -ENXIO;
	if (acc != O_WRONLY) {
		p->r_opens++;
		p->readers++;
	}
	if (acc != O_RDONLY) {
		p->w_opens++;
		p->writers++;
	}
	/* Wakes the openers that wait for this side; readers and writers look again. */
	wake_up_all(&p->rd_wait, 0);
	f->pos = 0;
	if (is_pipe)
		return 0;
	if (acc == O_RDONLY && !p->writers) {
		if (!nonblock)
			return fifo_wait_partner(c, p, &p->w_opens);
		f->pos = p->w_opens; /* no POLLHUP before the first writer came */
	}
	if (acc == O_WRONLY && !p->readers)
		return fifo_wait_partner(c, p, &p->r_opens);
	return 0;
}

int fifo_open(struct ctx *c, struct inode *i, struct file *f)
{
	struct pipe *p = fifo_get(c, i);
	int err;

	if (!p)
		return -ENOMEM;
	mutex_lock(&p->lock, L_FILE);
	err = fifo_open_end(c, p, f, anon_dentry(f->path.dentry));
	mutex_unlock(&p->lock, L_FILE);
	if (err) {
		if (err != -ENXIO)
			pipe_drop_end(p, f);
		pipe_put(p, i);
		return err;
	}
	f->ops = &pipe_ops;
	f->priv = p;
	f->seekable = false;
	return 0;
}

/* ---- fcntl ---- */

static int64_t round_size(uint64_t arg)
{
	uint64_t size = PAGE_SIZE;

	if (arg > 1ull << 31)
		return -EINVAL;
	while (size < arg)
		size *= 2;
	return (int64_t)size;
}

static long pipe_set_size(struct ctx *c, struct pipe *p, uint64_t arg)
{
	int64_t size = round_size(arg);
	uint32_t slots = (uint32_t)(size >> PAGE_SHIFT);

	if (size < 0)
		return size;
	if (slots > p->slots && size > SIZE_MAX_UNPRIVILEGED && !cred_capable(c->cred, CAP_SYS_RESOURCE))
		return -EPERM;
	if (p->head - p->tail > slots)
		return -EBUSY;
	if (p->mem_pages > slots && pipe_resize_mem(p, slots))
		return -ENOMEM;
	__atomic_fetch_add((int64_t *)&pipe_pages, (int64_t)slots - p->slots, __ATOMIC_RELAXED);
	p->slots = slots;
	return size;
}

long pipe_fcntl(struct ctx *c, struct file *f, int cmd, uint64_t arg)
{
	struct pipe *p = pipe_of(f);
	bool room = false;
	long r;

	if (!p)
		return -EBADF;
	mutex_lock(&p->lock, L_FILE);
	if (cmd == F_SETPIPE_SZ) {
		room = pipe_full(p);
		r = pipe_set_size(c, p, (uint32_t)arg);
		room = room && !pipe_full(p);
	} else {
		r = (long)(p->slots * PAGE_SIZE);
	}
	mutex_unlock(&p->lock, L_FILE);
	wake_writers(p, room);
	return r;
}

/* ---- for splice ---- */

/* With the lock: 0 once a chunk is free, or -errno. */
static int pipe_wait_room(struct ctx *c, struct pipe *p, bool nonblock) REQUIRES(L_FILE)
{
	int err = 0;

	while (!err && p->readers && pipe_full(p))
		err = nonblock ? -EAGAIN : wait_on(c, &p->wr_wait, &p->lock, L_FILE);
	if (!err && !p->readers) {
		c->raise(c, SIGPIPE);
		err = -EPIPE;
	}
	return err;
}

ssize_t pipe_wait_space(struct ctx *c, struct file *f, bool nonblock)
{
	struct pipe *p = f->priv;
	ssize_t r;

	mutex_lock(&p->lock, L_FILE);
	r = pipe_wait_room(c, p, nonblock);
	if (!r)
		r = (ssize_t)((p->slots - (p->head - p->tail)) * PAGE_SIZE);
	mutex_unlock(&p->lock, L_FILE);
	return r;
}

ssize_t pipe_peek_begin(struct ctx *c, struct file *f, void *buf, size_t size, bool nonblock)
{
	struct pipe *p = f->priv;
	size_t done = 0;
	int r;

	mutex_lock(&p->lock, L_FILE);
	r = pipe_wait_data(c, p, nonblock);
	p->peeking = r > 0 ? true : p->peeking;
	for (uint32_t i = p->tail; r > 0 && i != p->head && done < size; i++) {
		struct chunk *ch = chunk_at(p, i);
		size_t n = MIN(size - done, ch->len);

		memcpy((char *)buf + done, page_at(p, i) + ch->off, n);
		done += n;
	}
	mutex_unlock(&p->lock, L_FILE);
	return r > 0 ? (ssize_t)done : r;
}

void pipe_peek_end(struct file *f, size_t used)
{
	struct pipe *p = f->priv;
	bool was_full;

	mutex_lock(&p->lock, L_FILE);
	was_full = pipe_full(p);
	pipe_consume(p, used);
	p->peeking = false;
	was_full = was_full && !pipe_full(p);
	mutex_unlock(&p->lock, L_FILE);
	wake_up(&p->rd_wait, 0);
	wake_writers(p, was_full);
}

/* With both locks: copies chunk by chunk. Bytes, or -ENOMEM. */
static ssize_t pipe_transfer(struct pipe *in, struct pipe *out, size_t size, bool keep)
{
	uint32_t from = in->tail;
	size_t done = 0;

	while (done < size && from != in->head && !pipe_full(out)) {
		struct chunk *ch = chunk_at(in, from++);
		size_t n = MIN(size - done, ch->len);
		int err = pipe_reserve(out, 1);

		if (err < 0)
			return done ? (ssize_t)done : err;
		memcpy(page_at(out, out->head), page_at(in, from - 1) + ch->off, n);
		*chunk_at(out, out->head++) = (struct chunk){0, (uint16_t)n, ch->packet};
		done += n;
	}
	if (!keep)
		pipe_consume(in, done);
	return (ssize_t)done;
}

/* Waits for data in `in` and room in `out`, one after the other, with the locks dropped. 1 to go on, 0 end of file, -errno. */
static ssize_t transfer_ready(struct ctx *c, struct pipe *in, struct pipe *out, bool nonblock)
{
	ssize_t r;

	mutex_lock(&in->lock, L_FILE);
	r = pipe_wait_data(c, in, nonblock);
	mutex_unlock(&in->lock, L_FILE);
	if (r <= 0)
		return r;
	mutex_lock(&out->lock, L_FILE);
	r = pipe_wait_room(c, out, nonblock);
	mutex_unlock(&out->lock, L_FILE);
	return r ? r : 1;
}

ssize_t pipe_to_pipe(struct ctx *c, struct file *fin, struct file *fout, size_t size, bool keep, bool nonblock)
{
	struct pipe *in = fin->priv, *out = fout->priv;
	bool was_full, was_empty;
	ssize_t r;

	if (in == out)
		return -EINVAL;
	do {
		r = transfer_ready(c, in, out, nonblock);
		if (r <= 0)
			return r;
		mutex_lock_two(&in->lock, &out->lock, L_FILE);
		was_full = pipe_full(in);
		was_empty = pipe_empty(out);
		r = in->peeking ? 0 : pipe_transfer(in, out, size, keep);
		was_full = was_full && !pipe_full(in);
		was_empty = r > 0 && (was_empty || out->pollers);
		mutex_unlock_two(&in->lock, &out->lock, L_FILE);
	} while (r == 0); /* another reader or writer was faster */
	wake_writers(in, was_full);
	wake_readers(out, was_empty);
	return r;
}
