/*
 * NETLINK_ROUTE: rtnetlink(7). Which request is what; the messages themselves are in rtnetlink_link.c and rtnetlink_route.c.
 *
 * A type's last two bits say what it does: 0 new, 1 delete, 2 get, 3 set. Getting is anybody's; the rest needs CAP_NET_ADMIN. A request is answered
 * as a whole under the stack's lock, which its reply's memory bears; but for those about links (rtnetlink_newlink.c). What Linux lists and this stack does not have (queueing disciplines, classes) is an
 * empty list.
 */
#include "net/rtnetlink.h"

#include <linux/capability.h>
#include <linux/net_namespace.h>

#include "net/hostinet.h"
#include "net/stack/addr.h"
#include "net/stack/neigh.h"
#include "net/stack/route.h"
#include "net/stack/rule.h"
#include "sentry/base/cred.h"
#include "sentry/base/ctx.h"

static void dump(struct stack *s, struct nlbuf *b, const struct nlreq *r) REQUIRES(L_NET)
{
	int err = 0;

	switch (r->h->nlmsg_type) {
	case RTM_GETLINK:
		rtnetlink_dump_links(s, b, r);
		break;
	case RTM_GETADDR:
		rtnetlink_dump_addrs(s, b, r);
		break;
	case RTM_GETROUTE:
		err = rtnetlink_dump_routes(s, b, r);
		break;
	case RTM_GETNEIGH:
		rtnetlink_dump_neighs(s, b, r);
		break;
	case RTM_GETRULE:
		err = rtnetlink_dump_rules(s, b, r);
		break;
	}
	nl_done(b, err);
}

/* What takes the lock itself. -ENOSYS: the others. */
static int unlocked(struct ctx *c, struct stack *s, struct nlbuf *b, const struct nlreq *r)
{
	switch (r->h->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_SETLINK:
		return rtnetlink_new_link(c, s, r);
	case RTM_DELLINK:
		return rtnetlink_del_link(c, s, r);
	case RTM_GETNSID:
		return rtnetlink_get_nsid(c, s, b, r);
	default:
		return -ENOSYS;
	}
}

static int get_one(struct stack *s, struct nlbuf *b, const struct nlreq *r) REQUIRES(L_NET)
{
	switch (r->h->nlmsg_type) {
	case RTM_GETLINK:
		return rtnetlink_get_link(s, b, r);
	case RTM_GETROUTE:
		return rtnetlink_get_route(s, b, r);
	default:
		return -EOPNOTSUPP;
	}
}

static int change(struct stack *s, const struct nlreq *r) REQUIRES(L_NET)
{
	switch (r->h->nlmsg_type) {
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return rtnetlink_change_addr(s, r);
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		return rtnetlink_change_route(s, r);
	case RTM_NEWRULE:
	case RTM_DELRULE:
		return rtnetlink_change_rule(s, r);
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		return rtnetlink_change_neigh(s, r);
	default:
		return -EOPNOTSUPP;
	}
}

void rtnetlink_request(struct ctx *c, struct nlbuf *b, const struct nlreq *r)
{
	bool get = (r->h->nlmsg_type & 3) == 2, all = get && (r->h->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	struct stack *s = netns_stack(r->net);
	int err = 0;

	if (r->h->nlmsg_type < RTM_BASE || r->h->nlmsg_type > RTM_MAX)
		err = -EOPNOTSUPP;
	else if (!get && (hostinet_used() || !cred_capable(c->cred, CAP_NET_ADMIN)))
		err = -EPERM;
	else if (!s)
		err = -ENOMEM;
	if (!err && !all)
		err = unlocked(c, s, b, r);
	if (err == -ENOSYS || (!err && all)) {
		err = 0;
		stack_enter(s);
		if (all)
			dump(s, b, r);
		else
			err = get ? get_one(s, b, r) : change(s, r);
		stack_leave(s);
	}
	if (err || (r->h->nlmsg_flags & NLM_F_ACK && !all))
		nl_error(b, r, err);
}

void rtnetlink_event(struct stack *s, struct nlbuf *b, enum stack_event e, bool gone, const void *what,
		     unsigned *ret_group)
{
	bool v4;

	switch (e) {
	case STACK_LINK:
		*ret_group = RTNLGRP_LINK;
		rtnetlink_put_link(s, b, (struct netdev *)what, gone ? RTM_DELLINK : RTM_NEWLINK, 0);
		break;
	case STACK_ADDR:
		v4 = addr_is_v4(&((const struct netdev_addr *)what)->addr);
		*ret_group = v4 ? RTNLGRP_IPV4_IFADDR : RTNLGRP_IPV6_IFADDR;
		rtnetlink_put_addr(b, what, stack_now(s), gone ? RTM_DELADDR : RTM_NEWADDR, 0);
		break;
	case STACK_ROUTE:
		*ret_group = ((const struct route *)what)->c.v6 ? RTNLGRP_IPV6_ROUTE : RTNLGRP_IPV4_ROUTE;
		rtnetlink_put_route(b, what, gone ? RTM_DELROUTE : RTM_NEWROUTE, 0);
		break;
	case STACK_RULE:
		*ret_group = ((const struct fib_rule *)what)->c.v6 ? RTNLGRP_IPV6_RULE : RTNLGRP_IPV4_RULE;
		rtnetlink_put_rule(s, b, what, gone ? RTM_DELRULE : RTM_NEWRULE, 0);
		break;
	case STACK_NEIGH:
		*ret_group = RTNLGRP_NEIGH;
		rtnetlink_put_neigh(b, what, gone ? RTM_DELNEIGH : RTM_NEWNEIGH, 0);
		break;
	case STACK_UEVENT:
		break; /* another protocol's */
	}
}
