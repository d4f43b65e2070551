/* virtio-net headers, as TAP and AF_PACKET put them in front of frames: what is left to do on a packet. VIRTIO 1.2, 5.1.6. */
#pragma once

#include <linux/virtio_net.h>

#include "net/stack/pkt.h"

/* As the first form of struct virtio_net_hdr; in the machine's order. */
struct vnet_head {
	uint8_t flags, gso_type;                             /* VIRTIO_NET_HDR_* */
	uint16_t hdr_len, gso_size, csum_start, csum_offset; /* csum_offset: from csum_start on */
};
_Static_assert(sizeof(struct vnet_head) == sizeof(struct virtio_net_hdr), "");

/* What a packet that goes out leaves to the other side; its head is the Ethernet header. */
void vnet_describe(const struct pkt *p, struct vnet_head *h);
/*
 * Takes a received p, whose head is the Ethernet header, and appends to `to` what h makes of it: p itself, the datagrams that it stands for, or nothing,
 * if the two do not fit together or there is no memory. How many.
 */
unsigned vnet_accept(const struct vnet_head *h, struct pkt *p, struct list *to);
