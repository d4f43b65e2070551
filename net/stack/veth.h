/*
 * A pair of Ethernet interfaces in two stacks, or in one: what one sends, the other receives. veth(4); also the cable between a guest's stack and the
 * gateway of `nat`.
 *
 * Frames pass by reference: packets are not segmented, nor checksums completed, on the way. They are delivered by the thread that sent them, when it
 * has left its stack; several threads that send at once leave it to the first of them.
 */
#pragma once

#include "net/stack/netdev.h"

/*
 * Makes both ends, down; of the configurations name, mtu and mac are used. An end that is destroyed takes the other one with it. No lock held.
 * As netdev_create(). *ret_a and *ret_b, which may be NULL, are the indices of the interfaces.
 */
int __must_check veth_create(struct stack *a, const struct netdev_config *ca, struct stack *b,
			     const struct netdev_config *cb, unsigned *ret_a, unsigned *ret_b) EXCLUDES(L_NET);
