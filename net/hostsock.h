/*
 * Sockets of the host that the launcher handed over as standard streams: inetd's, systemd's, one end of somebody's socketpair(2).
 */
#pragma once

#include "fs/file.h"

/*
 * A socket's file over host_fd, which is closed if there can be none. -ENOMEM, or why the host does not tell what it is.
 */
int __must_check hostsock_open(struct ctx *c, int host_fd, struct file **ret);
