/* NETLINK_ROUTE: what its messages say and do, for netlink.c. rtnetlink(7). */
#pragma once

#include <linux/rtnetlink.h>

#include "net/netstack.h"
#include "net/nlmsg.h"
#include "net/stack/netdev.h"

struct cred;

/* Answers a request: replies are appended to b. */
void rtnetlink_request(struct ctx *c, struct nlbuf *b, const struct nlreq *r);
/* A change of the stack as a message for the listeners of *ret_group (RTNLGRP_*). */
void rtnetlink_event(struct stack *s, struct nlbuf *b, enum stack_event e, bool gone, const void *what,
		     unsigned *ret_group) REQUIRES(L_NET);

/* rtnetlink_link.c, rtnetlink_route.c, rtnetlink_rule.c: a list of what there is, or one answer; 0 or -errno. */
void rtnetlink_dump_links(struct stack *s, struct nlbuf *b, const struct nlreq *r) REQUIRES(L_NET);
void rtnetlink_dump_addrs(struct stack *s, struct nlbuf *b, const struct nlreq *r) REQUIRES(L_NET);
int rtnetlink_dump_routes(struct stack *s, struct nlbuf *b, const struct nlreq *r) REQUIRES(L_NET);
void rtnetlink_dump_neighs(struct stack *s, struct nlbuf *b, const struct nlreq *r) REQUIRES(L_NET);
int rtnetlink_dump_rules(struct stack *s, struct nlbuf *b, const struct nlreq *r) REQUIRES(L_NET);
int rtnetlink_get_link(struct stack *s, struct nlbuf *b, const struct nlreq *r) REQUIRES(L_NET);
int rtnetlink_get_route(struct stack *s, struct nlbuf *b, const struct nlreq *r) REQUIRES(L_NET);
int rtnetlink_change_addr(struct stack *s, const struct nlreq *r) REQUIRES(L_NET);
int rtnetlink_change_route(struct stack *s, const struct nlreq *r) REQUIRES(L_NET);
int rtnetlink_change_rule(struct stack *s, const struct nlreq *r) REQUIRES(L_NET);
int rtnetlink_change_neigh(struct stack *s, const struct nlreq *r) REQUIRES(L_NET);

/* rtnetlink_newlink.c. No lock held: a link may be about two stacks. */
int rtnetlink_new_link(struct ctx *c, struct stack *s, const struct nlreq *r) EXCLUDES(L_NET);
int rtnetlink_del_link(struct ctx *c, struct stack *s, const struct nlreq *r) EXCLUDES(L_NET);
int rtnetlink_get_nsid(struct ctx *c, struct stack *s, struct nlbuf *b, const struct nlreq *r) EXCLUDES(L_NET);

/* The interface at the other end of d, and its stack; 0: none, or it is in no namespace, as the gateway of nat. */
unsigned rtnetlink_other(struct netdev *d, uint64_t *ret_id) REQUIRES(L_NET);
/* IF_OPER_*: RFC 2863. */
uint8_t rtnetlink_operstate(struct netdev *d);

/* One message each. */
struct netdev_addr;
struct route;
struct neigh;
struct fib_rule;
void rtnetlink_put_rule(struct stack *s, struct nlbuf *b, const struct fib_rule *r, uint16_t type, uint16_t flags)
    REQUIRES(L_NET);
void rtnetlink_put_link(struct stack *s, struct nlbuf *b, struct netdev *d, uint16_t type, uint16_t flags)
    REQUIRES(L_NET);
void rtnetlink_put_addr(struct nlbuf *b, const struct netdev_addr *a, int64_t now, uint16_t type, uint16_t flags);
void rtnetlink_put_route(struct nlbuf *b, const struct route *r, uint16_t type, uint16_t flags);
void rtnetlink_put_neigh(struct nlbuf *b, const struct neigh *n, uint16_t type, uint16_t flags);
