/* NETLINK_SOCK_DIAG: sock_diag(7), for netlink.c. */
#pragma once

#include "net/nlmsg.h"

struct ctx;

/* Answers a request: replies are appended to b. */
void sockdiag_request(struct ctx *c, struct nlbuf *b, const struct nlreq *r);
