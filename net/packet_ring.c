/*
 * PACKET_RX_RING: packet(7), Linux's Documentation/networking/packet_mmap.rst; TPACKET_V1, V2 and V3. How rings are made is in packet_mem.c, what is sent from
 * one in packet_tx.c.
 *
 * A ring is a memory file of its own that the sentry has mapped and the guest maps. The guest may write whatever it likes into it, at any time: nothing that lies there is
 * believed. All that says where things are is kept here; of the ring only the status word of the frame or block that comes next is read, once, and it says no
 * more than whether the guest has given that back.
 *
 * V1 and V2: frames of one size, one after the other. V3: blocks that are filled with frames as they come, and handed over when they are full or when the first frame in
 * them has waited for the time that the guest set; a ring without a free block is frozen. While a block is empty no timer runs.
 */
#include "net/packet_ring.h"

#include <poll.h>
#include <string.h>

uint32_t packet_header_len(int version)
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
	return RING_BLOCK_HEAD + r->priv_size;
}

static struct ring_stamp stamp_of(int64_t ns)
{
	struct timespec ts = ns_to_timespec(ns);

	return (struct ring_stamp){(uint32_t)ts.tv_sec, (uint32_t)ts.tv_nsec};
}

/* ---- the guest's words ---- */

uint8_t *packet_ring_frame(const struct packet_ring *r, uint32_t frame)
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
	void *at = packet_ring_frame(r, frame);

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
	struct tpacket_block_desc d = {.version = TPACKET_V3, .offset_to_priv = RING_BLOCK_HEAD};
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

void packet_ring_timer(struct stack *s __unused, struct net_timer *t) REQUIRES(L_NET)
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
	uint32_t at, whole = RING_ALIGN(size);

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
	struct ring_stamp stamp;
};

/* Where what is kept lies in a frame; what does not fit is cut off. False: the offsets are beyond what the header can say. */
static bool find_place(const struct packet_sock *k, const struct packet_frame *f, uint32_t start, uint32_t keep,
		       struct place *ret)
{
	const struct packet_ring *r = k->ring;
	uint32_t head = packet_header_len(r->version), most = r->frame_size, link = f->link_len - start;

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
	    .tp_next_offset = RING_ALIGN(p->mac + p->keep),
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
	uint32_t head = packet_header_len(k->ring->version);
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

static bool put_in_frame(struct packet_sock *k, const struct packet_frame *f, uint32_t start, uint32_t keep,
			 struct place *p) REQUIRES(L_NET)
{
	struct packet_ring *r = k->ring;
	uint8_t *at = packet_ring_frame(r, r->head);

	if (!frame_is_free(r, r->head))
		return false;
	r->head = r->head + 1 == r->frame_count ? 0 : r->head + 1;
	if (k->drops)
		p->status |= TP_STATUS_LOSING;
	/* PACKET_COPY_THRESH: what is cut off here is whole in the queue. */
	if (p->keep < keep && k->copy_thresh && packet_enqueue(k, f, start, keep))
		p->status |= TP_STATUS_COPY;
	put_frame(k, f, start, at, p);
	if (r->version == TPACKET_V1)
		__atomic_store_n((unsigned long *)(void *)at, p->status, __ATOMIC_RELEASE);
	else
		__atomic_store_n((uint32_t *)(void *)at, p->status, __ATOMIC_RELEASE);
	stack_wake(k->stack, &k->wakeup, POLLIN | POLLRDNORM);
	return true;
}

bool packet_ring_put(struct packet_sock *k, const struct packet_frame *f, uint32_t start, uint32_t keep)
{
	struct place p;

	if (find_place(k, f, start, keep, &p) &&
	    (k->ring->version == TPACKET_V3 ? put_in_block(k, f, start, &p) : put_in_frame(k, f, start, keep, &p)))
		return true;
	stack_wake(k->stack, &k->wakeup, POLLIN | POLLRDNORM);
	return false;
}
