/*
 * Packets and the bytes in them.
 *
 * A packet is a linear head, where protocol headers are pushed and pulled, and slices of shared buffers behind it: the
 * payload, which is never copied inside the stack. TCP's send queue, segments on their way, retransmissions and the
 * receiver's queue refer to the same buffers: one copy from the sender's memory, one to the receiver's. What a buffer
 * holds below `used` never changes, so that references may be read without a lock.
 *
 * Everything in a received packet is hostile: pkt_pull() and pkt_copy() are the only ways to read, and they check.
 */
#pragma once

#include <netinet/in.h>

#include "sentry/base/list.h"
#include "sentry/base/ref.h"

#define PKT_HEAD 256   /* virtio-net header, Ethernet, IPv6 with extensions, TCP with options: what we send fits */
#define PKT_SLICES 17  /* 64 KiB of whole pages */
#define PKT_MAX 65535u /* bytes of an IP packet; larger ones (GSO) do not exist */

struct netdev;

struct buf {
	struct ref ref;
	uint32_t size, used; /* used: by its writer only */
	uint8_t data[];
};

/*
 * NULL: no memory. Sizes are rounded up to what the allocator gives. The bytes are whatever was there before: only those
 * below `used`, which somebody has written, may be read.
 */
struct buf *buf_create(uint32_t size);
struct buf *buf_get(struct buf *b);
void buf_put(struct buf *b);

struct slice {
	struct buf *buf; /* a reference */
	uint32_t off, len;
};

/* Of a packet in an endpoint's queue: where it came from. */
struct pkt_info {
	struct in6_addr src, dst;
	uint16_t sport;
	uint8_t ttl, tos;
	unsigned dev;
	int64_t stamp; /* ns, monotonic: when it was queued */
};

struct pkt {
	struct pkt_info info;    /* of datagrams that wait to be read */
	struct list link;        /* the owner's queue */
	struct netdev *dev;      /* received on; borrowed, the stack's lock keeps it */
	uint32_t len;            /* bytes: head and slices */
	uint16_t head, tail;     /* of what is in room[] */
	uint16_t net, transport; /* offsets in room[] of headers that have been pulled or pushed; PKT_HEAD: none yet */
	uint16_t gso_size;       /* 0: one packet; else the payload of each segment that it stands for */
	uint8_t link_type;       /* in: PACKET_HOST, PACKET_BROADCAST... of <linux/if_packet.h> */
	uint8_t count;           /* slices */
	bool checksum_ok : 1;    /* in: verified, or never left this machine */
	bool link_header : 1;    /* the head is an Ethernet header, though dev has none: of lo, by a packet socket */
	bool looped : 1;         /* in: a copy of what this machine sent to a group or to all */
	/* Out: the transport's checksum field holds the pseudo header's sum; whoever puts it on a wire completes it. */
	bool checksum_partial : 1;
	struct slice slice[PKT_SLICES];
	uint8_t room[PKT_HEAD];
};

/* Empty, with all of the room in front of the head. NULL: no memory. */
struct pkt *pkt_create(void);
/* A copy of the head and references to the slices. NULL: no memory. */
struct pkt *pkt_clone(const struct pkt *p);
void pkt_free(struct pkt *p);
/* Room for n bytes in front of the head; NULL if there is none. The bytes are undefined. */
void *__must_check pkt_push(struct pkt *p, size_t n);
/* The next n bytes, made linear, and taken off. NULL: the packet is shorter, or n > PKT_HEAD. */
void *__must_check pkt_pull(struct pkt *p, size_t n);
/* As pkt_pull(), but they stay. */
void *__must_check pkt_peek(struct pkt *p, size_t n);
/* Cuts off from the end (padding), or from the front without reading. */
void pkt_trim(struct pkt *p, uint32_t len);
void pkt_skip(struct pkt *p, uint32_t n);
/* Adds a reference to bytes of b at the end. False: no slice left. */
bool __must_check pkt_append(struct pkt *p, struct buf *b, uint32_t off, uint32_t len);
/*
 * Adds bytes of another packet at the end: references to its slices, a copy of what is in its room. False: no memory,
 * no slice left, or from is shorter; p is as it was.
 */
bool __must_check pkt_append_from(struct pkt *p, const struct pkt *from, uint32_t off, uint32_t len);
/* A packet of its own for bytes from outside, with room in front for a link header. NULL: no memory. */
struct pkt *pkt_from(const void *data, size_t n);
/* Puts back what pkt_pull() took since the offset `at` (p->net, p->transport), if nothing was skipped meanwhile. */
void pkt_unpull(struct pkt *p, uint16_t at);
/* Frees all packets of a queue. */
void pkt_free_all(struct list *queue);
/* Bytes of memory that its slices keep. */
uint32_t pkt_pinned(const struct pkt *p);
/*
 * For a packet that is to wait: if its slices keep far more than they refer to, their bytes move to a buffer of their
 * own. False: no memory, it is as it was.
 */
bool __must_check pkt_compact(struct pkt *p);
/* Copies out of it; false if it is shorter. */
bool __must_check pkt_copy(const struct pkt *p, uint32_t off, void *dst, size_t n);

/*
 * RFC 1071. Sums are 32 bits wide, in network order, folded at the end. sum_fold() is what belongs into a header's
 * field; over data with a right checksum in it, it is 0. ~sum_fold() is the sum itself, as checksum_partial wants it.
 */
uint32_t sum_add(uint32_t sum, const void *data, size_t n, bool odd);
/* From off (from the head on) to the end. */
uint32_t sum_pkt(uint32_t sum, const struct pkt *p, uint32_t off);
/* Of an IPv4 or IPv6 pseudo header; the two addresses are of one family. */
uint32_t sum_pseudo(const struct in6_addr *src, const struct in6_addr *dst, uint8_t protocol, uint32_t len);
uint16_t sum_fold(uint32_t sum);
