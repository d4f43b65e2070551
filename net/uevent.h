/* NETLINK_KOBJECT_UEVENT: what is told of devices that come and go. */
#pragma once

#include "net/nlmsg.h"

struct netdev;

/* The message about an interface; L_NET held. */
void uevent_netdev(struct nlbuf *b, bool gone, const struct netdev *d);
