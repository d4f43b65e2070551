/* AF_NETLINK: what there is of it, see netlink.c. */
#pragma once

#include "net/socket.h"

extern const struct net_family netlink_family;
