/* The inside of packet sockets' rings: packet_ring.c, packet_tx.c and packet_mem.c. All of it is guarded by L_NET. */
#pragma once

#include "net/packet.h"

#define RING_BLOCK_HEAD ((uint32_t)((sizeof(struct tpacket_block_desc) + 7) / 8 * 8))
#define RING_ALIGN(n) (((n) + 7u) / 8 * 8)

struct ring_stamp {
	uint32_t sec, nsec;
};

struct packet_ring {
	struct packet_sock *sock;
	uint8_t *mem; /* its part of the socket's memory */
	size_t size;
	int version;
	uint32_t block_size, block_count, frame_size, frame_count, per_block;
	uint32_t reserve;
	/* V1, V2, and all that send */
	uint32_t head; /* the frame that comes next */
	/* V3 */
	uint32_t priv_size; /* rounded up */
	int64_t timeout;    /* ns */
	uint32_t block;     /* the one that is being filled */
	uint32_t used;      /* offset in it of the next frame */
	uint32_t last;      /* of the last one */
	uint32_t packets;   /* in it */
	uint64_t sequence;
	struct ring_stamp opened, latest;
	bool frozen;
	struct net_timer timer;
};

/* With the sockaddr_ll behind it. */
uint32_t packet_header_len(int version);
uint8_t *packet_ring_frame(const struct packet_ring *r, uint32_t frame);
void packet_ring_timer(struct stack *s, struct net_timer *t) REQUIRES(L_NET);
