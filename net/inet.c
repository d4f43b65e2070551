/*
 * AF_INET and AF_INET6: see inet.h. Making sockets, their addresses, and how their calls sleep.
 *
 * A call tries what it wants under the stack's lock. If that would block it stands on the socket's wait queue, tries once more, and parks only then, so that
 * no wake-up falls in between. It leaves the queue when it returns.
 *
 * Which type goes with which protocol, and the order in which mistakes are found, are Linux's: an unknown type is ESOCKTNOSUPPORT, a protocol
 * that the type does not have is EPROTONOSUPPORT, a raw socket without CAP_NET_RAW is EPERM. Ping sockets are everybody's (net.ipv4.ping_group_range
 * is as container engines set it).
 */
#include "net/inet.h"

#include <linux/capability.h>
#include <string.h>

#include "net/hostinet.h"
#include "net/stack/addr.h"
#include "net/stack/netdev.h"
#include "sentry/base/cred.h"
#include "sentry/base/restart.h"

#define SOCKETS_MAX (1 << 18)
#define PROTOCOL_MAX 263 /* IPPROTO_MAX of Linux 6 */
#define PORT_PRIVILEGED 1024

static _Atomic int socket_count;

bool inet_count(void)
{
	if (__atomic_add_fetch((int *)&socket_count, 1, __ATOMIC_RELAXED) <= SOCKETS_MAX)
		return true;
	inet_uncount();
	return false;
}

void inet_uncount(void)
{
	__atomic_sub_fetch((int *)&socket_count, 1, __ATOMIC_RELAXED);
}

void inet_init(struct inet_sock *i, struct stack *stack, const struct proto_ops *ops, int family, int type,
	       int protocol)
{
	socket_init(&i->s, ops, family, type, protocol);
	i->stack = stack;
	i->mc_addr = addr_from_v4(0);
	inet_values_init(i);
}

void inet_set_maker(struct inet_sock *i, const struct ctx *c)
{
	i->uid = c->cred->fsuid;
	i->maker.pid = c->tgid;
	if (c->comm)
		memcpy(i->maker.comm, c->comm, sizeof(i->maker.comm) - 1);
}

static const struct dgram_kind *const kinds[] = {&udp_kind, &udplite_kind, &ping_kind, &raw_kind};

static const struct dgram_kind *find_kind(int family, int type, int *protocol)
{
	int icmp = family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;

	if (type == SOCK_RAW)
		return *protocol > 0 && *protocol < 256 ? &raw_kind : NULL;
	if (*protocol == 0)
		*protocol = IPPROTO_UDP;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i]->type == type &&
		    *protocol == (kinds[i]->protocol == IPPROTO_ICMP ? icmp : kinds[i]->protocol))
			return kinds[i];
	return NULL;
}

static int inet_create(struct ctx *c, int family, int type, int protocol, struct socket **ret)
{
	struct stack *stack = netstack_of(c);
	const struct dgram_kind *kind = NULL;

	if (protocol < 0 || protocol >= PROTOCOL_MAX)
		return -EINVAL;
	if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_RAW)
		return -ESOCKTNOSUPPORT;
	if (type != SOCK_STREAM)
		kind = find_kind(family, type, &protocol);
	if (type == SOCK_STREAM ? protocol && protocol != IPPROTO_TCP : !kind)
		return -EPROTONOSUPPORT;
	if (type == SOCK_RAW && !cred_capable(c->cred, CAP_NET_RAW))
		return -EPERM;
	if (hostinet_used())
		return hostinet_create(family, type, protocol, ret);
	if (!stack)
		return -ENOMEM;
	if (type == SOCK_STREAM)
		return inet_tcp_create(c, stack, family, ret);
	return inet_dgram_create(c, stack, kind, family, protocol, ret);
}

static int create4(struct ctx *c, int type, int protocol, struct socket **ret)
{
	return inet_create(c, AF_INET, type, protocol, ret);
}

static int create6(struct ctx *c, int type, int protocol, struct socket **ret)
{
	return inet_create(c, AF_INET6, type, protocol, ret);
}

/* ---- addresses ---- */

static int parse4(const struct sockaddr *sa, size_t len, unsigned flags, struct inet_name *ret)
{
	struct sockaddr_in in;

	if (len < sizeof(in))
		return -EINVAL;
	memcpy(&in, sa, sizeof(in));
	if (in.sin_family != AF_INET && !(in.sin_family == AF_UNSPEC && flags & (INET_PARSE_BIND | INET_PARSE_TO) &&
					  (flags & INET_PARSE_TO || in.sin_addr.s_addr == INADDR_ANY)))
		return -EAFNOSUPPORT;
	*ret = (struct inet_name){.addr = addr_from_v4(in.sin_addr.s_addr), .port = ntohs(in.sin_port)};
	return 0;
}

static int parse6(const struct inet_sock *i, const struct sockaddr *sa, size_t len, unsigned flags,
		  struct inet_name *ret)
{
	struct sockaddr_in6 in = {0};

	if (len < offsetof(struct sockaddr_in6, sin6_scope_id))
		return -EINVAL;
	memcpy(&in, sa, MIN(len, sizeof(in)));
	if (in.sin6_family != AF_INET6)
		return -EAFNOSUPPORT;
	*ret = (struct inet_name){.addr = in.sin6_addr, .port = ntohs(in.sin6_port)};
	if (addr_needs_dev(&in.sin6_addr))
		ret->dev = in.sin6_scope_id;
	if (flags & INET_PARSE_TO && IN6_IS_ADDR_UNSPECIFIED(&ret->addr))
		ret->addr = in6addr_loopback;
	return addr_is_v4(&ret->addr) && i->value[INET6_V6ONLY] ? -ENETUNREACH : 0;
}

int inet_parse(const struct inet_sock *i, const struct sockaddr *sa, size_t len, unsigned flags, struct inet_name *ret)
{
	if (i->s.family == AF_INET)
		return parse4(sa, len, flags, ret);
	if (!(flags & INET_PARSE_V4) || len < sizeof(sa->sa_family) || sa->sa_family != AF_INET)
		return parse6(i, sa, len, flags, ret);
	return i->value[INET6_V6ONLY] ? -ENETUNREACH : parse4(sa, len, 0, ret);
}

int inet_format(int family, const struct inet_name *n, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(n->port), .sin6_addr = n->addr};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(n->port), .sin_addr = {addr_v4(&n->addr)}};

	memset(ret, 0, sizeof(*ret));
	if (family == AF_INET) {
		memcpy(ret, &in, sizeof(in));
		return (int)sizeof(in);
	}
	if (addr_is_link_local(&n->addr) && !addr_is_v4(&n->addr))
		in6.sin6_scope_id = n->dev;
	memcpy(ret, &in6, sizeof(in6));
	return (int)sizeof(in6);
}

/* Anything that may be one: unicast of ours, group, broadcast. */
static bool addr_available(struct inet_sock *i, const struct inet_name *n) REQUIRES(L_NET)
{
	struct dgram as = {.v6 = i->s.family == AF_INET6};
	bool v4 = addr_is_v4(&n->addr);

	if (i->value[v4 ? INET_FREEBIND : INET6_FREEBIND] || i->value[v4 ? INET_TRANSPARENT : INET6_TRANSPARENT])
		return true;
	return dgram_check_bind(i->stack, &as, &n->addr, n->dev) == 0;
}

int inet_check_bind(struct ctx *c, struct inet_sock *i, const struct inet_name *n)
{
	bool v6 = i->s.family == AF_INET6;

	if (v6 && addr_is_multicast(&n->addr) && i->s.type == SOCK_STREAM)
		return -EINVAL;
	if (v6 && addr_is_link_local(&n->addr) && !addr_is_v4(&n->addr) && !n->dev && !i->bound_dev)
		return -EINVAL;
	if (n->dev && !netdev_by_index(i->stack, n->dev))
		return -ENODEV;
	if (!v6 && !addr_available(i, n))
		return -EADDRNOTAVAIL;
	if (n->port && n->port < PORT_PRIVILEGED && !cred_capable(c->cred, CAP_NET_BIND_SERVICE))
		return -EACCES;
	return addr_available(i, n) ? 0 : -EADDRNOTAVAIL;
}

/* ---- sleeping ---- */

void inet_wait_end(struct inet_wait *w)
{
	if (w->on)
		wait_entry_remove(&w->entry);
}

int inet_wait(struct inet_wait *w, uint32_t events)
{
	int err;

	if (w->deadline == 0)
		return -EAGAIN;
	if (!w->on) {
		wait_entry_init_ctx(&w->entry, w->c, events);
		wait_queue_add(&w->s->wq, &w->entry);
		w->on = true;
		return 0;
	}
	err = park(w->c, w->deadline);
	if (err == -ETIMEDOUT)
		return -EAGAIN;
	return err == -ERESTARTSYS && w->deadline != TIME_NEVER ? -EINTR : err;
}

const struct net_family inet_family = {.family = AF_INET, .create = create4};
const struct net_family inet6_family = {.family = AF_INET6, .create = create6};
