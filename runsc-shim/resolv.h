/* The host's resolv.conf(5), and the guest's. */
#pragma once

#include "runsc-shim/error.h"
#include "runsc-shim/spec.h"

/* An address of a resolver as resolv.conf has it, with %INTERFACE if it is a link-local one. */
bool resolv_address(const char *text, struct dns_server *ret);
/* What r does not know yet, from the text of a resolv.conf of n bytes. Resolvers only if !r->given; none there: this machine, as the manual says. */
void resolv_parse(const char *text, size_t n, struct resolv_spec *r);
/* Reads the host's and makes the guest's: r->fd. 0, or -1 with *e. */
int resolv_open(struct resolv_spec *r, struct error *e);
