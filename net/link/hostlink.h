/*
 * An Ethernet interface over a descriptor of the host that gives and takes one frame for each read and write, with a virtio-net header in front: a
 * TAP device (tun(4), IFF_VNET_HDR), or a packet socket bound to an interface (packet(7), PACKET_VNET_HDR). The launcher opens it (runsc-shim/hostlink.c).
 */
#pragma once

#include "net/stack/netdev.h"

/*
 * Makes the interface, down; of the configuration name, mtu, mac and features are used. fd does not block (O_NONBLOCK); it belongs to the interface
 * from then on, also on failure. No lock held. As netdev_create(), or what a thread or an epoll instance cannot be had for. *ret_index may be NULL.
 */
int __must_check hostlink_create(struct stack *s, const struct netdev_config *c, int fd, unsigned *ret_index)
    EXCLUDES(L_NET);
