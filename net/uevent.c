/*
 * NETLINK_KOBJECT_UEVENT: see uevent.h. A message is "ACTION@DEVPATH" and then variables, each ended by a NUL byte, with no netlink header in front, as
 * udev reads it from the kernel. Only network interfaces come and go here.
 */
#include "net/uevent.h"

#include <inttypes.h>
#include <stdio.h>

#include "net/stack/netdev.h"

void uevent_netdev(struct nlbuf *b, bool gone, const struct netdev *d)
{
	static _Atomic uint64_t last;
	const char *action = gone ? "remove" : "add";
	uint64_t seq = __atomic_add_fetch((uint64_t *)&last, 1, __ATOMIC_RELAXED);
	char text[256];
	int n = snprintf(text, sizeof(text),
			 "%s@/devices/virtual/net/%s%cACTION=%s%cDEVPATH=/devices/virtual/net/%s%cSUBSYSTEM=net%c"
			 "INTERFACE=%s%cIFINDEX=%u%cSEQNUM=%" PRIu64,
			 action, d->name, 0, action, 0, d->name, 0, 0, d->name, 0, d->index, 0, seq);

	nl_raw(b, text, (size_t)n + 1);
}
