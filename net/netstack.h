/*
 * The TCP/IP stack that a caller's sockets, interface ioctls, netlink and /proc/net are about: that of its network namespace. There is one for all
 * callers; who needs a stack asks here all the same, and keeps what it got.
 */
#pragma once

#include "net/stack/stack.h"

struct ctx;

/* Made on first use, with lo up. Borrowed, for ever; NULL: no memory. c may be NULL: the initial one. */
struct stack *netstack_of(const struct ctx *c);
/* One that is nobody's namespace, as a gateway is, with lo up. The caller's; what its clock is made of stays for ever. NULL: no memory. */
struct stack *netstack_make(void);
