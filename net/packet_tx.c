/*
 * PACKET_TX_RING: packet(7). The guest fills frames and marks them; sendmsg(2) sends those that are marked, one after the other, and gives them back.
 *
 * Everything in the ring is hostile: of a frame the status, the length and, if the socket has PACKET_TX_HAS_OFF, the offset are read once, checked, and the bytes copied
 * before anything looks at them. One call sends at most as many frames as there are.
 */
#include <string.h>

#include "net/packet_ring.h"

struct tx_frame {
	uint8_t *at;
	uint32_t *status;
	uint32_t len, off;
};

static uint32_t read32(const uint8_t *at)
{
	return __atomic_load_n((const uint32_t *)(const void *)at, __ATOMIC_ACQUIRE);
}

static uint16_t read16(const uint8_t *at)
{
	return __atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_RELAXED);
}

/* The fields' places; of V1's status, which has 64 bits, the lower half. */
static void read_frame(const struct packet_sock *k, struct tx_frame *f) REQUIRES(L_NET)
{
	const struct packet_ring *r = k->tx_ring;
	bool raw = k->s.type == SOCK_RAW;
	size_t len, mac, net, status = 0;

	switch (r->version) {
	case TPACKET_V1:
		len = offsetof(struct tpacket_hdr, tp_len);
		mac = offsetof(struct tpacket_hdr, tp_mac);
		net = offsetof(struct tpacket_hdr, tp_net);
		break;
	case TPACKET_V2:
		len = offsetof(struct tpacket2_hdr, tp_len);
		mac = offsetof(struct tpacket2_hdr, tp_mac);
		net = offsetof(struct tpacket2_hdr, tp_net);
		break;
	default:
		len = offsetof(struct tpacket3_hdr, tp_len);
		mac = offsetof(struct tpacket3_hdr, tp_mac);
		net = offsetof(struct tpacket3_hdr, tp_net);
		status = offsetof(struct tpacket3_hdr, tp_status);
	}
	f->at = packet_ring_frame(r, r->head);
	f->status = (uint32_t *)(void *)(f->at + status);
	f->len = read32(f->at + len);
	f->off = packet_header_len(r->version) - (uint32_t)sizeof(struct sockaddr_ll);
	if (k->tx_has_off)
		f->off = read16(f->at + (raw ? mac : net));
}

/* A packet of a frame's bytes; -EINVAL, -EMSGSIZE: it is not one. */
static int take_frame(const struct packet_sock *k, const struct tx_frame *f, struct pkt **ret) REQUIRES(L_NET)
{
	const struct packet_ring *r = k->tx_ring;
	uint32_t least = packet_header_len(r->version) - (uint32_t)sizeof(struct sockaddr_ll);

	/* Frames of several sizes are not Linux's either. */
	if (r->version == TPACKET_V3 && read32(f->at))
		return -EINVAL;
	if (f->len > r->frame_size - least)
		return -EMSGSIZE;
	if (f->off < least || f->off > r->frame_size - f->len)
		return -EINVAL;
	return packet_fill(f->at + f->off, f->len, ret);
}

/* Sends the next frame: its length; 0: there is none; -errno, and it stays, marked as wrong. */
static int send_next(struct packet_sock *k, const struct packet_target *t) REQUIRES(L_NET)
{
	struct packet_ring *r = k->tx_ring;
	struct tx_frame f;
	struct pkt *p;
	int err;

	read_frame(k, &f);
	if (__atomic_load_n(f.status, __ATOMIC_ACQUIRE) != TP_STATUS_SEND_REQUEST)
		return 0;
	err = take_frame(k, &f, &p);
	err = err ? err : packet_transmit(k, p, t);
	if (err && !k->loss) {
		__atomic_store_n(f.status, TP_STATUS_WRONG_FORMAT, __ATOMIC_RELEASE);
		return err;
	}
	r->head = r->head + 1 == r->frame_count ? 0 : r->head + 1;
	__atomic_store_n(f.status, TP_STATUS_AVAILABLE, __ATOMIC_RELEASE);
	return err ? 1 : (int)MAX(f.len, 1u);
}

ssize_t packet_send_ring(struct packet_sock *k, const struct packet_target *t)
{
	uint32_t most = UINT32_MAX;
	ssize_t sum = 0;
	int n = 1;

	for (uint32_t i = 0; i < most && n > 0; i++) {
		stack_enter(k->stack);
		n = k->tx_ring ? send_next(k, t) : 0;
		most = k->tx_ring ? k->tx_ring->frame_count : 0;
		stack_leave(k->stack);
		sum += MAX(n, 0);
	}
	return n < 0 ? n : sum;
}
