/* virtio-net headers, as TAP and AF_PACKET put them in front of frames: what is left to do on a packet. VIRTIO 1.2, 5.1.6. */
#pragma once

#include <linux/virtio_net.h>

#include "net/stack/pkt.h"

/* What a packet that goes out leaves to the other side; its head is the Ethernet header. */
void vnet_describe(const struct pkt *p, struct virtio_net_hdr *h);
/*
 * Takes a received p, whose head is the Ethernet header, and appends to `to` what h makes of it: p itself, the datagrams that it stands for, or nothing,
 * if the two do not fit together or there is no memory. How many.
 */
unsigned vnet_accept(const struct virtio_net_hdr *h, struct pkt *p, struct list *to);
