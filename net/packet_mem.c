/*
 * The memory of packet sockets' rings: PACKET_RX_RING, PACKET_TX_RING, mmap(2) of the socket.
 *
 * Both rings of a socket lie in one memory file, the receiving one first, which the sentry has mapped and the guest maps. The file cannot be made smaller or larger
 * (seals), and its pages are there from the start, so that writing to it does not fault. A ring that comes or goes makes a new file, into which the other
 * ring's bytes are copied. All rings of the sandbox together have a bound, which is beside --memory.
 *
 * What is mapped stays (EBUSY). A file that has been mapped once and goes leaves its descriptor with the socket, without its pages, but still counted: an mmap(2) that was on
 * its way might still use the number.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "net/packet_ring.h"
#include "sentry/base/slab.h"

#define RINGS_MAX (128ul << 20)
#define TIMEOUT_DEFAULT_MS 8

struct packet_memory {
	int fd;
	uint8_t *at;
	size_t size;
	bool mapped;  /* once */
	bool retired; /* the descriptor is the socket's */
};

static struct slab ring_slab = SLAB_INIT(struct packet_ring);
static struct slab memory_slab = SLAB_INIT(struct packet_memory);
static size_t _Atomic rings_total;

/* ---- the file ---- */

/* A file of size bytes that are there. */
static int memory_file(size_t size)
{
	int fd = memfd_create("packet", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -ENFILE;
	if (ftruncate(fd, (off_t)size) == 0 && fallocate(fd, 0, 0, (off_t)size) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		return fd;
	close(fd);
	return -ENOMEM;
}

static void uncharge(size_t size)
{
	__atomic_sub_fetch((size_t *)&rings_total, size, __ATOMIC_RELAXED);
}

static bool charge(size_t size)
{
	if (size <= RINGS_MAX && __atomic_add_fetch((size_t *)&rings_total, size, __ATOMIC_RELAXED) <= RINGS_MAX)
		return true;
	if (size <= RINGS_MAX)
		uncharge(size);
	return false;
}

/* What has been put aside with its descriptor is still charged. */
static void memory_free(struct packet_memory *m)
{
	if (!m)
		return;
	if (m->at)
		munmap(m->at, m->size);
	if (m->fd >= 0)
		close(m->fd);
	if (!m->retired)
		uncharge(m->size);
	slab_free(&memory_slab, m);
}

static int memory_create(size_t size, struct packet_memory **ret)
{
	struct packet_memory *m;
	void *at;

	if (!charge(size))
		return -ENOMEM;
	m = slab_alloc(&memory_slab);
	if (!m) {
		uncharge(size);
		return -ENOMEM;
	}
	m->size = size;
	m->fd = memory_file(size);
	at = m->fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (at == MAP_FAILED) {
		memory_free(m);
		return -ENOMEM;
	}
	m->at = at;
	*ret = m;
	return 0;
}

/* ---- rings ---- */

/* Linux's checks of a request, in its order. */
static int check_request(const struct tpacket_req3 *q, int version, uint32_t reserve, bool send)
{
	uint64_t least = (uint64_t)packet_header_len(version) + reserve;
	uint32_t per_block;

	if ((int)q->tp_block_size <= 0 || q->tp_block_size % PAGE_SIZE)
		return -EINVAL;
	if (version == TPACKET_V3 &&
	    q->tp_block_size < RING_BLOCK_HEAD + RING_ALIGN((uint64_t)q->tp_sizeof_priv) + least)
		return -EINVAL;
	if (q->tp_frame_size < least || q->tp_frame_size % TPACKET_ALIGNMENT)
		return -EINVAL;
	per_block = q->tp_block_size / q->tp_frame_size;
	if (per_block == 0 || q->tp_block_nr > UINT32_MAX / per_block || per_block * q->tp_block_nr != q->tp_frame_nr)
		return -EINVAL;
	if (send && (q->tp_retire_blk_tov || q->tp_sizeof_priv || q->tp_feature_req_word))
		return -EINVAL;
	return 0;
}

static struct packet_ring *ring_create(struct packet_sock *k, const struct tpacket_req3 *q, int version,
				       uint32_t reserve)
{
	struct packet_ring *r = slab_alloc(&ring_slab);

	if (!r)
		return NULL;
	r->sock = k;
	r->size = (size_t)q->tp_block_size * q->tp_block_nr;
	r->version = version;
	r->reserve = reserve;
	r->block_size = q->tp_block_size;
	r->block_count = q->tp_block_nr;
	r->frame_size = q->tp_frame_size;
	r->frame_count = q->tp_frame_nr;
	r->per_block = q->tp_block_size / q->tp_frame_size;
	net_timer_init(&r->timer, packet_ring_timer);
	if (version == TPACKET_V3) {
		r->priv_size = RING_ALIGN(q->tp_sizeof_priv);
		r->timeout = (q->tp_retire_blk_tov ? q->tp_retire_blk_tov : TIMEOUT_DEFAULT_MS) * NSEC_PER_MSEC;
		r->used = RING_BLOCK_HEAD + r->priv_size;
	}
	return r;
}

static void ring_free(struct packet_ring *r)
{
	slab_free(&ring_slab, r);
}

/* ---- setting them ---- */

/* What a call makes, and what is to be freed when it is done. */
struct change {
	bool send;
	int version;
	uint32_t reserve;
	size_t other; /* the size of the other ring */
	struct packet_ring *ring;
	struct packet_memory *memory;
	int retired; /* a descriptor whose pages are to go; -1 */
};

static struct packet_ring **ring_of(struct packet_sock *k, bool send)
{
	return send ? &k->tx_ring : &k->ring;
}

static size_t size_of(const struct packet_ring *r)
{
	return r ? r->size : 0;
}

/* -EBUSY: something is in the way. */
static int look(struct packet_sock *k, struct change *x, bool more) REQUIRES(L_NET)
{
	if ((k->s.file && file_is_mapped(k->s.file)) || (more && *ring_of(k, x->send)))
		return -EBUSY;
	x->version = k->version;
	x->reserve = k->reserve;
	x->other = size_of(*ring_of(k, !x->send));
	return 0;
}

/* The bytes of a ring at its new place; NULL is fine. */
static void move_ring(struct packet_ring *r, uint8_t *to)
{
	if (!r)
		return;
	if (r->mem)
		memcpy(to, r->mem, r->size);
	r->mem = to;
}

/* The old memory's descriptor is put aside if it has been mapped. */
static int retire(struct packet_sock *k, struct change *x) REQUIRES(L_NET)
{
	struct packet_memory *m = k->memory;

	if (!m || !m->mapped)
		return 0;
	if (k->retired_count == ARRAY_SIZE(k->retired))
		return -EBUSY;
	x->retired = k->retired[k->retired_count++] = m->fd;
	k->retired_size += m->size;
	m->retired = true;
	m->fd = -1;
	return 0;
}

/* Puts what x has in the place of what there is, and that into x. */
static int swap(struct packet_sock *k, struct change *x) REQUIRES(L_NET)
{
	struct packet_ring **at = ring_of(k, x->send), *old = *at;
	struct change now = *x;
	struct packet_memory *m;
	int err = look(k, &now, x->ring);

	/* Somebody else has been at it meanwhile. */
	if (!err && (now.version != x->version || now.reserve != x->reserve || now.other != x->other))
		err = -EBUSY;
	err = err ? err : retire(k, x);
	if (err)
		return err;
	if (old)
		net_timer_cancel(k->stack, &old->timer);
	*at = x->ring;
	x->ring = old;
	m = k->memory;
	k->memory = x->memory;
	x->memory = m;
	if (k->memory) {
		move_ring(k->ring, k->memory->at);
		move_ring(k->tx_ring, k->memory->at + size_of(k->ring));
	}
	if (!x->send)
		packet_drop_queue(k);
	return 0;
}

static int copy_request(struct ctx *c, int version, uaddr_t value, size_t size, struct tpacket_req3 *q)
{
	size_t want = version == TPACKET_V3 ? sizeof(*q) : sizeof(struct tpacket_req);

	if (size < want)
		return -EINVAL;
	memset(q, 0, sizeof(*q));
	return copy_in(c, q, value, want);
}

/* What there is to be made. */
static int prepare(struct packet_sock *k, struct change *x, const struct tpacket_req3 *q)
{
	size_t size = x->other;
	int err = 0;

	if (q->tp_block_nr) {
		err = check_request(q, x->version, x->reserve, x->send);
		if (err)
			return err;
		x->ring = ring_create(k, q, x->version, x->reserve);
		if (!x->ring)
			return -ENOMEM;
		size += MIN(x->ring->size, RINGS_MAX + 1);
	} else if (q->tp_frame_nr) {
		return -EINVAL;
	}
	return size ? memory_create(size, &x->memory) : 0;
}

int packet_set_ring(struct ctx *c, struct packet_sock *k, bool send, uaddr_t value, size_t size)
{
	struct change x = {.send = send, .retired = -1};
	struct tpacket_req3 q;
	int err;

	stack_enter(k->stack);
	x.version = k->version;
	stack_leave(k->stack);
	err = copy_request(c, x.version, value, size, &q);
	if (err)
		return err;
	stack_enter(k->stack);
	err = look(k, &x, q.tp_block_nr);
	stack_leave(k->stack);
	err = err ? err : prepare(k, &x, &q);
	if (!err) {
		stack_enter(k->stack);
		err = swap(k, &x);
		stack_leave(k->stack);
	}
	if (x.retired >= 0 &&
	    fallocate(x.retired, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)x.memory->size))
		x.retired = -1; /* the pages stay until the socket goes */
	ring_free(x.ring);
	memory_free(x.memory);
	return err;
}

int packet_mmap(struct socket *s, uint64_t off, size_t size, struct file_backing *ret)
{
	struct packet_sock *k = packet_of(s);
	int err = -EINVAL;

	stack_enter(k->stack);
	if (k->memory && off == 0 && size == k->memory->size) {
		k->memory->mapped = true;
		ret->host_fd = k->memory->fd;
		ret->off = 0;
		err = 0;
	}
	stack_leave(k->stack);
	return err;
}

void packet_rings_end(struct packet_sock *k)
{
	struct packet_ring *rx, *tx;
	struct packet_memory *m;

	stack_enter(k->stack);
	rx = take(k->ring);
	tx = take(k->tx_ring);
	m = take(k->memory);
	if (rx)
		net_timer_cancel(k->stack, &rx->timer);
	stack_leave(k->stack);
	ring_free(rx);
	ring_free(tx);
	memory_free(m);
	for (unsigned i = 0; i < k->retired_count; i++)
		close(k->retired[i]);
	uncharge(k->retired_size);
	k->retired_count = 0;
	k->retired_size = 0;
}
