/* AF_NETLINK: what there is of it, see netlink.c. */
#pragma once

#include "net/socket.h"

struct netns;

extern const struct net_family netlink_family;
/* The namespace goes: nobody listens to it any more. Before its stack is destroyed. No lock held. */
void netlink_forget(struct netns *net);
