/*
 * Network namespaces: network_namespaces(7). Each has a TCP/IP stack, which its tasks' sockets, interface ioctls, netlink and /proc/net are about. Tasks,
 * sockets, open namespace files and what a link needs hold references; with the last one its interfaces go, and veth peers with them.
 */
#pragma once

#include "fs/nsfs.h"
#include "net/stack/stack.h"

struct ctx;
struct nl_watch;

struct netns {
	struct ns ns;            /* first member */
	struct stack *stack;     /* the stack, made on first use in the initial namespace, with the others; atomic */
	uint64_t cookie;         /* SO_NETNS_COOKIE: never the same again */
	struct nl_watch *watch;  /* atomic; net/netlink.c: changes for listeners; NULL: nobody has ever listened */
	struct netns *dead_next; /* netns_put()'s own */
};

/*
 * With a stack whose lo is down: -ENOSPC (too many), -ENOMEM. No lock held: those that died are buried first when there are too many.
 */
int __must_check netns_create(struct netns **ret);
/* NULL-safe both: NULL is the initial namespace. */
struct netns *netns_get(struct netns *n);
/* Any lock may be held: what the last reference ends is done by the timer thread. */
void netns_put(struct netns *n);
static inline void netns_put_cleanup(struct netns **n)
{
	netns_put(*n);
}
#define NETNS_REF __cleanup(netns_put_cleanup) struct netns *
/* The caller's, borrowed. c may be NULL: the initial one. Never NULL. */
struct netns *netns_of(const struct ctx *c);
/* Of a process: a reference; NULL: there is none. Set by the sentry, which knows processes, before the first guest runs. */
extern struct netns *(*netns_by_pid)(int32_t pid);
/* Of a descriptor's namespace: a reference. -EINVAL: it is none. */
int __must_check netns_of_file(const struct file *f, struct netns **ret);

/*
 * The stack of the caller's namespace, borrowed for as long as he stays in it. In the initial one it is made on first use, with lo up. NULL: no memory. c may
 * be NULL: the initial one.
 */
struct stack *netstack_of(const struct ctx *c);
/*
 * A stack that is nobody's namespace, as a gateway is, with lo up: the caller's, who ends it by stack_destroy(). NULL: no memory.
 */
struct stack *netstack_make(void);
/* The same of a namespace. */
struct stack *netns_stack(struct netns *n);
