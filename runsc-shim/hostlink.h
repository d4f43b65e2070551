/* The launcher's half of `--net tap:` and `--net device:`: descriptors that net/link/hostlink.h takes over, and the interface's configuration. */
#pragma once

#include "runsc-shim/spec.h"

struct error;

/* What follows "tap:": NAME[,address=ADDRESS/LENGTH][,gateway=ADDRESS][,mac=MAC][,mtu=MTU]. 0, or -1 with *e; so the others. */
int hostlink_parse_tap(struct net_spec *n, const char *arg, struct error *e);
/* What follows "device:". */
int hostlink_parse_device(struct net_spec *n, const char *arg, struct error *e);
/*
 * Opens the link of n and fills n->host. For a device it takes the addresses off the host's interface and leaves a process behind that puts them back
 * when the launcher has gone, in whatever way.
 */
int hostlink_open(struct net_spec *n, struct error *e);
/* The addresses are back when it returns. By the launcher, when the sentry has gone. */
void hostlink_close(struct net_spec *n);
