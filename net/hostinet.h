/*
 * `--net host`: AF_INET and AF_INET6 sockets of the guest that are sockets of the host, made by the sentry in the launcher's network namespace. What the files
 * net/hostinet*.c share, and what the boot code needs.
 */
#pragma once

#include "fs/hostfd.h"
#include "net/socket.h"
#include "net/stack/stack.h"

struct hostinet {
	struct socket s; /* first member */
	struct hostfd *h;
	struct sockaddr_in6 accepted; /* the peer of one that was accepted, of either family; constant from then on */
	socklen_t accepted_len;
};

static inline int hostinet_fd(struct socket *s)
{
	return hostfd_fd(container_of(s, struct hostinet, s)->h);
}

/* From now on new sockets are the host's; the guest's stack is a picture of the host's interfaces that nobody can change. Before there are tasks. */
void hostinet_use(void);
bool hostinet_used(void);
/* An interface to be looked at; lo is there already. As netdev_create(). */
int __must_check hostinet_add_netdev(struct stack *s, unsigned index, const char *name, unsigned flags, uint16_t type,
				     uint32_t mtu, const uint8_t *mac) REQUIRES(L_NET);
/* type and protocol are a pair that inet.c knows. -EPERM (raw), or what the host says. */
int __must_check hostinet_create(int family, int type, int protocol, struct socket **ret);

/* ---- for each other ---- */

/* Sleeps until the host says that events are there. 0: look again; -EAGAIN: the deadline has passed (or is 0); -ERESTARTSYS, -EINTR as socket_wait(). */
int __must_check hostinet_wait(struct ctx *c, struct socket *s, uint32_t events, int64_t deadline);
ssize_t hostinet_sendmsg(struct ctx *c, struct socket *s, struct net_msg *m);
ssize_t hostinet_recvmsg(struct ctx *c, struct socket *s, struct net_msg *m);
int hostinet_setsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, size_t size);
int hostinet_getsockopt(struct ctx *c, struct socket *s, int level, int name, void *value, size_t *size);
void hostinet_changed(struct socket *s, int name);
int hostinet_buffer(struct socket *s, bool send);
int hostinet_take_error(struct socket *s);
