/*
 * PACKET_RX_RING: packet(7), Linux's Documentation/networking/packet_mmap.rst; TPACKET_V1, V2 and V3.
 *
 * A ring is a memory file of its own that the sentry has mapped and the guest maps. The guest may write whatever it likes into it, at any time: nothing that lies there is
 * believed. All that says where things are is kept here; of the ring only the status word of the frame or block that comes next is read, once, and it says no
 * more than whether the guest has given that back. The file cannot be made smaller (seals) and has its pages from the start, so that writing to it does not fault.
 *
 * V1 and V2: frames of one size, one after the other. V3: blocks that are filled with frames as they come, and handed over when they are full or when the first frame in
 * them has waited for the time that the guest set; a ring without a free block is frozen. While a block is empty no timer runs.
 *
 * A ring that is mapped stays (EBUSY). One that has been mapped once and goes leaves its descriptor with the socket, empty: an mmap(2) that was on its way
 * might still use the number. All rings of the sandbox together have a bound.
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "net/packet.h"
#include "sentry/base/slab.h"

#define RINGS_MAX (128ul << 20)
#define TIMEOUT_DEFAULT_MS 8
#define BLOCK_HEAD ((uint32_t)((sizeof(struct tpacket_block_desc) + 7) / 8 * 8))
#define ALIGN8(n) (((n) + 7u) / 8 * 8)

struct stamp {
	uint32_t sec, nsec;
};

struct packet_ring {
	struct packet_sock *sock;
	int fd;
	uint8_t *mem;
	size_t size;
	int version;
	bool mapped; /* once */
	uint32_t block_size, block_count, frame_size, frame_count, per_block;
	uint32_t reserve;
	/* V1, V2 */
	uint32_t head; /* the frame that comes next */
	/* V3 */
	uint32_t priv_size; /* rounded up */
	int64_t timeout;    /* ns */
	uint32_t block;     /* the one that is being filled */
	uint32_t used;      /* offset in it of the next frame */
	uint32_t last;      /* of the last one */
	uint32_t packets;   /* in it */
	uint64_t sequence;
	struct stamp opened, latest;
	bool frozen;
	struct net_timer timer;
};

static struct slab ring_slab = SLAB_INIT(struct packet_ring);
static size_t _Atomic rings_total;

static uint32_t header_len(int version)
{
	switch (version) {
	case TPACKET_V1:
		return TPACKET_HDRLEN;
	case TPACKET_V2:
		return TPACKET2_HDRLEN;
	default:
		return TPACKET3_HDRLEN;
	}
}

static uint32_t block_start(const struct packet_ring *r)
{
	return BLOCK_HEAD + r->priv_size;
}

static struct stamp stamp_of(int64_t ns)
{
	struct timespec ts = ns_to_timespec(ns);

	return (struct stamp){(uint32_t)ts.tv_sec, (uint32_t)ts.tv_nsec};
}

/* ---- the guest's words ---- */

static uint8_t *frame_at(const struct packet_ring *r, uint32_t frame)
{
	return r->mem + (size_t)(frame / r->per_block) * r->block_size + (size_t)(frame % r->per_block) * r->frame_size;
}

static uint8_t *block_at(const struct packet_ring *r, uint32_t block)
{
	return r->mem + (size_t)block * r->block_size;
}

static uint32_t *block_status(const struct packet_ring *r, uint32_t block)
{
	return (uint32_t *)(void *)(block_at(r, block) + offsetof(struct tpacket_block_desc, hdr.bh1.block_status));
}

/* The guest has given the frame or block back. */
static bool frame_is_free(const struct packet_ring *r, uint32_t frame)
{
	void *at = frame_at(r, frame);

	if (r->version == TPACKET_V1)
		return __atomic_load_n((unsigned long *)at, __ATOMIC_ACQUIRE) == TP_STATUS_KERNEL;
	return __atomic_load_n((uint32_t *)at, __ATOMIC_ACQUIRE) == TP_STATUS_KERNEL;
}

static bool block_is_free(const struct packet_ring *r, uint32_t block)
{
	return __atomic_load_n(block_status(r, block), __ATOMIC_ACQUIRE) == TP_STATUS_KERNEL;
}

bool packet_ring_ready(const struct packet_ring *r)
{
	if (r->version == TPACKET_V3)
		return !block_is_free(r, (r->block ? r->block : r->block_count) - 1);
	return !frame_is_free(r, (r->head ? r->head : r->frame_count) - 1);
}

/* ---- blocks ---- */

/* The block that is next in turn, if it is free. */
static bool open_block(struct packet_ring *r) REQUIRES(L_NET)
{
	if (!block_is_free(r, r->block)) {
		if (!r->frozen)
			r->sock->freezes++;
		r->frozen = true;
		return false;
	}
	r->frozen = false;
	r->used = block_start(r);
	r->packets = 0;
	r->opened = stamp_of(clock_now(CLOCK_REALTIME));
	return true;
}

/* Hands the block over. */
static void close_block(struct packet_ring *r, uint32_t status) REQUIRES(L_NET)
{
	struct tpacket_block_desc d = {.version = TPACKET_V3, .offset_to_priv = BLOCK_HEAD};
	uint8_t *at = block_at(r, r->block);
	uint32_t none = 0;

	if (r->sock->drops)
		status |= TP_STATUS_LOSING;
	memcpy(at + r->last, &none, sizeof(none));
	d.hdr.bh1.num_pkts = r->packets;
	d.hdr.bh1.offset_to_first_pkt = block_start(r);
	d.hdr.bh1.blk_len = r->used;
	d.hdr.bh1.seq_num = ++r->sequence;
	d.hdr.bh1.ts_first_pkt.ts_sec = r->opened.sec;
	d.hdr.bh1.ts_first_pkt.ts_nsec = r->opened.nsec;
	d.hdr.bh1.ts_last_pkt.ts_sec = r->latest.sec;
	d.hdr.bh1.ts_last_pkt.ts_nsec = r->latest.nsec;
	memcpy(at, &d, offsetof(struct tpacket_block_desc, hdr.bh1.block_status));
	memcpy(at + offsetof(struct tpacket_block_desc, hdr.bh1.num_pkts), &d.hdr.bh1.num_pkts,
	       sizeof(d) - offsetof(struct tpacket_block_desc, hdr.bh1.num_pkts));
	__atomic_store_n(block_status(r, r->block), TP_STATUS_USER | status, __ATOMIC_RELEASE);
	r->block = r->block + 1 == r->block_count ? 0 : r->block + 1;
	r->packets = 0;
	stack_wake(r->sock->stack, &r->sock->wakeup, POLLIN | POLLRDNORM);
}

static void on_timer(struct stack *s __unused, struct net_timer *t) REQUIRES(L_NET)
{
	struct packet_ring *r = container_of(t, struct packet_ring, timer);

	if (r->frozen || !r->packets)
		return;
	close_block(r, TP_STATUS_BLK_TMO);
	(void)open_block(r);
}

/* Room for size bytes: their offset in the block; 0: there is none. */
static uint32_t block_room(struct packet_ring *r, uint32_t size) REQUIRES(L_NET)
{
	uint32_t at, whole = ALIGN8(size);

	if (r->frozen && !open_block(r))
		return 0;
	if (r->used + whole > r->block_size || (r->used + whole == r->block_size && r->packets)) {
		if (r->packets)
			close_block(r, 0);
		if (!open_block(r))
			return 0;
	}
	at = r->used;
	if (r->used + whole > r->block_size)
		return 0;
	r->used += whole;
	r->last = at;
	if (r->packets++ == 0)
		net_timer_arm(r->sock->stack, &r->timer, stack_now(r->sock->stack) + r->timeout);
	return at;
}

/* ---- frames ---- */

struct place {
	uint32_t mac, net, keep, len, status;
	struct stamp stamp;
};

/* Where what is kept lies in a frame; what does not fit is cut off. False: the offsets are beyond what the header can say. */
static bool find_place(const struct packet_sock *k, const struct packet_frame *f, uint32_t start, uint32_t keep,
		       struct place *ret)
{
	const struct packet_ring *r = k->ring;
	uint32_t head = header_len(r->version), most = r->frame_size, link = f->link_len - start;

	if (start) {
		ret->net = TPACKET_ALIGN(head) + 16 + r->reserve;
		ret->mac = ret->net;
	} else {
		ret->net = TPACKET_ALIGN(head + MAX(link, 16u)) + r->reserve;
		if (k->vnet)
			ret->net += sizeof(struct virtio_net_hdr);
		ret->mac = ret->net - link;
	}
	if (r->version == TPACKET_V3)
		most = r->block_size - block_start(r);
	if (ret->net > UINT16_MAX || ret->mac > most)
		return false;
	ret->keep = MIN(keep, most - ret->mac);
	ret->len = f->len - start;
	ret->status = packet_frame_status(f);
	ret->stamp = stamp_of(f->stamp);
	return true;
}

static void put_header(const struct packet_ring *r, uint8_t *at, const struct place *p)
{
	struct tpacket_hdr v1 = {
	    0, p->len, p->keep, (uint16_t)p->mac, (uint16_t)p->net, p->stamp.sec, p->stamp.nsec / 1000};
	struct tpacket2_hdr v2 = {0, p->len, p->keep, (uint16_t)p->mac, (uint16_t)p->net, p->stamp.sec, p->stamp.nsec,
				  0, 0,      {0}};
	struct tpacket3_hdr v3 = {
	    .tp_next_offset = ALIGN8(p->mac + p->keep),
	    .tp_sec = p->stamp.sec,
	    .tp_nsec = p->stamp.nsec,
	    .tp_snaplen = p->keep,
	    .tp_len = p->len,
	    .tp_status = p->status,
	    .tp_mac = (uint16_t)p->mac,
	    .tp_net = (uint16_t)p->net,
	};

	/* The status comes last, with everything else in place. */
	if (r->version == TPACKET_V1)
		memcpy(at + sizeof(v1.tp_status), (char *)&v1 + sizeof(v1.tp_status),
		       sizeof(v1) - sizeof(v1.tp_status));
	else if (r->version == TPACKET_V2)
		memcpy(at + sizeof(v2.tp_status), (char *)&v2 + sizeof(v2.tp_status),
		       sizeof(v2) - sizeof(v2.tp_status));
	else
		memcpy(at, &v3, sizeof(v3));
}

static void put_frame(struct packet_sock *k, const struct packet_frame *f, uint32_t start, uint8_t *at,
		      const struct place *p)
{
	uint32_t head = header_len(k->ring->version);
	struct virtio_net_hdr vnet;
	struct sockaddr_ll from;

	packet_frame_name(f, &from);
	put_header(k->ring, at, p);
	memcpy(at + head - sizeof(from), &from, sizeof(from));
	if (k->vnet && !start) {
		packet_frame_vnet(f, &vnet);
		memcpy(at + p->mac - sizeof(vnet), &vnet, sizeof(vnet));
	}
	packet_frame_copy(f, start, at + p->mac, p->keep);
}

static bool put_in_block(struct packet_sock *k, const struct packet_frame *f, uint32_t start, struct place *p)
    REQUIRES(L_NET)
{
	struct packet_ring *r = k->ring;
	uint32_t at = block_room(r, p->mac + p->keep);

	if (!at)
		return false;
	if (r->packets == 1)
		r->opened = p->stamp;
	r->latest = p->stamp;
	put_frame(k, f, start, block_at(r, r->block) + at, p);
	return true;
}

static bool put_in_frame(struct packet_sock *k, const struct packet_frame *f, uint32_t start, struct place *p)
    REQUIRES(L_NET)
{
	struct packet_ring *r = k->ring;
	uint8_t *at = frame_at(r, r->head);

	if (!frame_is_free(r, r->head))
		return false;
	r->head = r->head + 1 == r->frame_count ? 0 : r->head + 1;
	if (k->drops)
		p->status |= TP_STATUS_LOSING;
	put_frame(k, f, start, at, p);
	if (r->version == TPACKET_V1)
		__atomic_store_n((unsigned long *)(void *)at, p->status, __ATOMIC_RELEASE);
	else
		__atomic_store_n((uint32_t *)(void *)at, p->status, __ATOMIC_RELEASE);
	stack_wake(k->stack, &k->wakeup, POLLIN | POLLRDNORM);
	return true;
}

void packet_ring_put(struct packet_sock *k, const struct packet_frame *f, uint32_t start, uint32_t keep)
{
	struct place p;

	if (find_place(k, f, start, keep, &p) &&
	    (k->ring->version == TPACKET_V3 ? put_in_block(k, f, start, &p) : put_in_frame(k, f, start, &p))) {
		k->packets++;
		return;
	}
	k->drops++;
	k->lost++;
	stack_wake(k->stack, &k->wakeup, POLLIN | POLLRDNORM);
}

/* ---- life ---- */

/* Linux's checks of a request, in its order. */
static int check_request(const struct packet_sock *k, const struct tpacket_req3 *q)
{
	uint64_t least = (uint64_t)header_len(k->version) + k->reserve;
	uint32_t per_block;

	if ((int)q->tp_block_size <= 0 || q->tp_block_size % PAGE_SIZE)
		return -EINVAL;
	if (k->version == TPACKET_V3 && q->tp_block_size < BLOCK_HEAD + ALIGN8((uint64_t)q->tp_sizeof_priv) + least)
		return -EINVAL;
	if (q->tp_frame_size < least || q->tp_frame_size % TPACKET_ALIGNMENT)
		return -EINVAL;
	per_block = q->tp_block_size / q->tp_frame_size;
	if (per_block == 0 || q->tp_block_nr > UINT32_MAX / per_block || per_block * q->tp_block_nr != q->tp_frame_nr)
		return -EINVAL;
	return 0;
}

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

static int map_memory(struct packet_ring *r)
{
	void *mem;

	r->fd = memory_file(r->size);
	if (r->fd < 0)
		return r->fd;
	mem = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (mem == MAP_FAILED)
		return -ENOMEM;
	r->mem = mem;
	return 0;
}

static bool charge(size_t size)
{
	if (__atomic_add_fetch((size_t *)&rings_total, size, __ATOMIC_RELAXED) <= RINGS_MAX)
		return true;
	__atomic_sub_fetch((size_t *)&rings_total, size, __ATOMIC_RELAXED);
	return false;
}

/* The descriptor stays open if it has been mapped: packet_set_ring() has put it aside. */
void packet_ring_free(struct packet_ring *r)
{
	if (!r)
		return;
	if (r->mem)
		munmap(r->mem, r->size);
	if (r->fd >= 0)
		close(r->fd);
	__atomic_sub_fetch((size_t *)&rings_total, r->size, __ATOMIC_RELAXED);
	slab_free(&ring_slab, r);
}

static int ring_create(struct packet_sock *k, const struct tpacket_req3 *q, struct packet_ring **ret)
{
	size_t size = (size_t)q->tp_block_size * q->tp_block_nr;
	struct packet_ring *r = charge(size) ? slab_alloc(&ring_slab) : NULL;
	int err;

	if (!r)
		return -ENOMEM;
	r->sock = k;
	r->size = size;
	r->fd = -1;
	r->version = k->version;
	r->reserve = k->reserve;
	r->block_size = q->tp_block_size;
	r->block_count = q->tp_block_nr;
	r->frame_size = q->tp_frame_size;
	r->frame_count = q->tp_frame_nr;
	r->per_block = q->tp_block_size / q->tp_frame_size;
	net_timer_init(&r->timer, on_timer);
	if (r->version == TPACKET_V3) {
		r->priv_size = ALIGN8(q->tp_sizeof_priv);
		r->timeout = (q->tp_retire_blk_tov ? q->tp_retire_blk_tov : TIMEOUT_DEFAULT_MS) * NSEC_PER_MSEC;
		r->used = block_start(r);
	}
	err = map_memory(r);
	if (err)
		packet_ring_free(r);
	else
		*ret = r;
	return err;
}

struct packet_ring *packet_ring_take(struct packet_sock *k)
{
	struct packet_ring *r = take(k->ring);

	if (r)
		net_timer_cancel(k->stack, &r->timer);
	return r;
}

/* What has been mapped gives its pages back, but keeps its descriptor. */
static int retire(struct packet_sock *k, struct packet_ring *r) REQUIRES(L_NET)
{
	if (!r->mapped)
		return 0;
	if (k->retired_count == ARRAY_SIZE(k->retired))
		return -EBUSY;
	k->retired[k->retired_count++] = r->fd;
	r->fd = -1;
	return 0;
}

/* Puts *r in the place of the socket's ring, and that into *r. version: that *r is for. */
static int swap(struct packet_sock *k, struct packet_ring **r, int version) REQUIRES(L_NET)
{
	struct packet_ring *old = k->ring;
	int err = 0;

	if (k->s.file && file_is_mapped(k->s.file))
		return -EBUSY;
	if (*r && (old || k->version != version))
		return -EBUSY;
	if (old)
		err = retire(k, old);
	if (err)
		return err;
	packet_ring_take(k);
	k->ring = *r;
	packet_drop_queue(k);
	*r = old;
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

int packet_set_ring(struct ctx *c, struct packet_sock *k, uaddr_t value, size_t size)
{
	int version = k->version, retired = -1, err;
	struct packet_ring *r = NULL;
	struct tpacket_req3 q;

	err = copy_request(c, version, value, size, &q);
	if (err)
		return err;
	if (q.tp_block_nr)
		err = k->ring ? -EBUSY : check_request(k, &q);
	else if (q.tp_frame_nr)
		err = -EINVAL;
	if (!err && q.tp_block_nr)
		err = ring_create(k, &q, &r);
	if (err)
		return err;
	stack_enter(k->stack);
	err = swap(k, &r, version);
	if (!err && r && r->fd < 0)
		retired = k->retired[k->retired_count - 1];
	stack_leave(k->stack);
	if (retired >= 0 && fallocate(retired, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)r->size))
		err = 0; /* the pages stay until the socket goes */
	packet_ring_free(r);
	return err;
}

int packet_mmap(struct socket *s, uint64_t off, size_t size, struct file_backing *ret)
{
	struct packet_sock *k = packet_of(s);
	int err = -EINVAL;

	stack_enter(k->stack);
	if (k->ring && off == 0 && size == k->ring->size) {
		k->ring->mapped = true;
		ret->host_fd = k->ring->fd;
		ret->off = 0;
		err = 0;
	}
	stack_leave(k->stack);
	return err;
}
