/* /dev/net/tun: interfaces whose other end is a process. */
#pragma once

#include "sentry/base/types.h"

struct netdev;

/* Registers the device. */
void tun_init(void);
/* What sysfs tells; L_NET held. */
bool tun_is(const struct netdev *dev);
unsigned tun_flags_of(const struct netdev *dev);
/* -1: nobody's. */
void tun_owner_of(const struct netdev *dev, int64_t *ret_uid, int64_t *ret_gid);
