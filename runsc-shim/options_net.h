/* The network options of `sandbox exec`: --net, -p, --dns, --allow-net, --pcap. */
#pragma once

#include "runsc-shim/error.h"
#include "runsc-shim/spec.h"

void options_net_init(struct net_spec *n);
/* One option's argument each; 0, or -1 with *e. Strings are borrowed. */
int options_net_kind(struct net_spec *n, const char *arg, struct error *e);
int options_net_publish(struct net_spec *n, const char *arg, struct error *e);
int options_net_dns(struct net_spec *n, const char *arg, struct error *e);
int options_net_allow(struct net_spec *n, const char *arg, struct error *e);
/* When all options are known: what does not go together is a mistake. */
int options_net_check(const struct net_spec *n, struct error *e);
/* In the launcher, with the caller's rights: binds published ports, reads resolv.conf, opens files. 0, or -1 with *e. */
int options_net_open(struct net_spec *n, struct error *e);
/* When the sentry has gone: an interface that was the guest's gets its addresses back. */
void options_net_finish(struct net_spec *n);
/* The descriptors that the sentry keeps: at most PUBLISH_MAX + 8; how many. */
size_t options_net_fds(const struct net_spec *n, int *fds);
