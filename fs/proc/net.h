/* Files of /proc/PID/net about interfaces, routes and counters (net_stack.c), and /proc/sys/net/ipv4 (net_sysctl.c). */
#pragma once

#include "fs/proc/proc.h"

struct netns;

/* The namespace of the process whose directory r is in: a reference. NULL: the process has exited. */
struct netns *proc_net_of(const struct pseudo_ref *r);

int proc_net_arp(struct ctx *c, const struct pseudo_ref *r, struct seq *s);
int proc_net_dev(struct ctx *c, const struct pseudo_ref *r, struct seq *s);
int proc_net_dev_mcast(struct ctx *c, const struct pseudo_ref *r, struct seq *s);
int proc_net_igmp(struct ctx *c, const struct pseudo_ref *r, struct seq *s);
int proc_net_igmp6(struct ctx *c, const struct pseudo_ref *r, struct seq *s);
int proc_net_if_inet6(struct ctx *c, const struct pseudo_ref *r, struct seq *s);
int proc_net_ipv6_route(struct ctx *c, const struct pseudo_ref *r, struct seq *s);
int proc_net_netstat(struct ctx *c, const struct pseudo_ref *r, struct seq *s);
int proc_net_route(struct ctx *c, const struct pseudo_ref *r, struct seq *s);
int proc_net_snmp(struct ctx *c, const struct pseudo_ref *r, struct seq *s);
int proc_net_snmp6(struct ctx *c, const struct pseudo_ref *r, struct seq *s);

extern const struct pseudo_node proc_sys_ipv4_nodes[], proc_sys_ipv6_nodes[];
