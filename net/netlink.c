/*
 * AF_NETLINK: netlink(7). The sockets: ports, groups, queues; what NETLINK_ROUTE says is in rtnetlink*.c, NETLINK_SOCK_DIAG in sockdiag.c. NETLINK_KOBJECT_UEVENT can be listened to and
 * stays silent.
 *
 * Requests are answered within the send: what answers one request goes into the sender's own queue (net/unix_msg.c), cut at messages' beginnings into datagrams
 * of at most PIECE_MAX bytes, so that readers with usual buffers get them whole. A queue that is full drops them and reports ENOBUFS, as netlink does.
 *
 * Changes of the stack are told to the members of groups. The stack tells us under its lock; the messages are made at once, and queued at the sockets, whose
 * locks come before the stack's, when it wakes who waits for something.
 */
#include "net/netlink.h"

#include <poll.h>

#include "net/filter.h"
#include "net/inet.h"
#include "net/rtnetlink.h"
#include "net/sockdiag.h"
#include "net/unix.h"
#include "sentry/base/slab.h"

#define PIECE_MAX 8192u
#define REQUEST_MAX 32768
#define EVENTS_MAX 1024

struct nl_sock {
	struct unix_sock u;   /* first member */
	uint32_t port;        /* L_SOCKNAME; 0: none yet */
	uint32_t groups;      /* L_SOCKNAME: a bit for each, from RTNLGRP 1 on */
	uint64_t seen;        /* L_SOCKNAME: the last event that was queued here */
	struct nl_sock *next; /* L_SOCKNAME: of those with a port */
};

static struct slab nl_slab = SLAB_INIT(struct nl_sock);
static struct mutex table_lock = MUTEX_INIT;
static struct nl_sock *ports; /* L_SOCKNAME */
static uint32_t last_port;    /* L_SOCKNAME: numbers for those whose pid is taken */
static uint64_t last_event;   /* L_SOCKNAME */
static const struct proto_ops netlink_ops;

static struct nl_sock *nl_of(struct socket *s)
{
	return container_of(unix_of(s), struct nl_sock, u);
}

/* ---- to the reader ---- */

/* One datagram from the kernel into n's queue. */
static void queue_piece(struct nl_sock *n, const char *data, size_t size, unsigned group)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK, .nl_groups = group ? 1u << (group - 1) : 0};
	struct unix_msg *m = unix_msg_create(NULL, size);
	bool taken = false;

	if (m)
		m->source = unix_addr_create(&kernel, sizeof(kernel));
	if (m && m->source) {
		memcpy(m->data, data, size);
		mutex_lock(&n->u.s.lock, L_SOCK);
		taken = !n->u.dead && n->u.qbytes < (size_t)n->u.s.rcvbuf && n->u.qlen < 4096;
		if (taken)
			unix_enqueue(&n->u, m);
		mutex_unlock(&n->u.s.lock, L_SOCK);
	}
	if (!taken) {
		if (m)
			unix_msg_free(m);
		socket_set_error(&n->u.s, ENOBUFS);
	}
	socket_wake(&n->u.s, POLLIN | POLLRDNORM);
}

/* Whole messages from `at` on, as many as a datagram takes. */
static size_t piece_size(const struct nlbuf *b, size_t at)
{
	size_t size = 0;

	while (at + size < b->size) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)(b->data + at + size);
		size_t next = NLMSG_ALIGN(h->nlmsg_len);

		if (size && size + next > PIECE_MAX)
			break;
		size += next;
	}
	return size;
}

static void queue_all(struct nl_sock *n, const struct nlbuf *b, unsigned group)
{
	uint32_t keep;
	size_t size;

	for (size_t at = 0; at < b->size; at += size) {
		size = piece_size(b, at);
		keep = filter_bytes(&n->u.s, b->data + at, (uint32_t)size);
		if (keep)
			queue_piece(n, b->data + at, MIN(size, keep), group);
	}
	if (b->failed) {
		socket_set_error(&n->u.s, ENOBUFS);
		socket_wake(&n->u.s, POLLIN | POLLERR);
	}
}

/* ---- requests ---- */

static void answer(struct ctx *c, struct nl_sock *n, const struct nlmsghdr *h, const char *data)
{
	struct nlreq r = {h, data, h->nlmsg_len - sizeof(*h)};
	struct nlbuf b = {.seq = h->nlmsg_seq, .port = n->port};

	if (h->nlmsg_flags & NLM_F_REQUEST && h->nlmsg_type >= NLMSG_MIN_TYPE && n->u.s.protocol == NETLINK_ROUTE)
		rtnetlink_request(c, &b, &r);
	else if (h->nlmsg_flags & NLM_F_REQUEST && h->nlmsg_type >= NLMSG_MIN_TYPE &&
		 n->u.s.protocol == NETLINK_SOCK_DIAG)
		sockdiag_request(c, &b, &r);
	else if (h->nlmsg_flags & NLM_F_ACK)
		nl_error(&b, h, 0);
	queue_all(n, &b, 0);
	nlbuf_finish(&b);
}

/* The messages of one send. */
static void requests(struct ctx *c, struct nl_sock *n, const char *data, size_t size)
{
	while (size >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr h;

		memcpy(&h, data, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > size)
			break;
		answer(c, n, &h, data + sizeof(h));
		data += MIN(NLMSG_ALIGN(h.nlmsg_len), size);
		size -= MIN(NLMSG_ALIGN(h.nlmsg_len), size);
	}
}

/* ---- events ---- */

struct event {
	struct list link;
	unsigned group;
	struct nlbuf b;
};

/* What the stack has told and nobody has been told yet; all of it L_NET. */
static struct {
	struct wakeup wakeup;
	struct stack *stack; /* NULL: nobody has ever listened */
	struct list events;
	unsigned count;
	bool lost;
} watch;

static struct slab event_slab = SLAB_INIT(struct event);

/* The next member of a group that has not got the event yet: a reference, or NULL. */
static struct nl_sock *next_member(unsigned group, uint64_t serial)
{
	struct nl_sock *n;

	mutex_lock(&table_lock, L_SOCKNAME);
	for (n = ports; n; n = n->next)
		if (n->seen != serial && n->u.s.protocol == NETLINK_ROUTE &&
		    (!group || n->groups & 1u << (group - 1)) && ref_get_unless_zero(&n->u.s.ref))
			break;
	if (n)
		n->seen = serial;
	mutex_unlock(&table_lock, L_SOCKNAME);
	return n;
}

/* To all members of its group; e NULL: those of any group have missed something. */
static void broadcast(const struct event *e)
{
	struct nl_sock *n;
	uint64_t serial;

	mutex_lock(&table_lock, L_SOCKNAME);
	serial = ++last_event;
	mutex_unlock(&table_lock, L_SOCKNAME);
	while ((n = next_member(e ? e->group : 0, serial))) {
		if (e)
			queue_all(n, &e->b, e->group);
		else if (n->groups)
			queue_all(n, &(struct nlbuf){.failed = true}, 0);
		socket_put(&n->u.s);
	}
}

static void deliver_events(struct wakeup *w __unused, uint32_t events __unused)
{
	struct list all = LIST_INIT(all);
	struct event *e;
	bool lost;

	stack_enter(watch.stack);
	list_splice(&all, &watch.events);
	watch.count = 0;
	lost = watch.lost;
	watch.lost = false;
	stack_leave(watch.stack);
	while ((e = list_first(&all, struct event, link))) {
		list_remove(&e->link);
		broadcast(e);
		nlbuf_finish(&e->b);
		slab_free(&event_slab, e);
	}
	if (lost)
		broadcast(NULL);
}

static void hold_events(struct wakeup *w __unused)
{
}

static void stack_changed(void *arg __unused, enum stack_event kind, bool gone, const void *what) REQUIRES(L_NET)
{
	struct event *e = watch.count < EVENTS_MAX ? slab_alloc(&event_slab) : NULL;

	if (e) {
		rtnetlink_event(watch.stack, &e->b, kind, gone, what, &e->group);
		list_append(&watch.events, &e->link);
		watch.count++;
	} else {
		watch.lost = true;
	}
	stack_wake(watch.stack, &watch.wakeup, POLLIN);
}

/* Somebody listens from now on. -ENOMEM. */
static int start_watching(struct ctx *c)
{
	struct stack *s = netstack_of(c);

	if (!s)
		return -ENOMEM;
	stack_enter(s);
	if (!watch.stack) {
		list_init(&watch.events);
		list_init(&watch.wakeup.link);
		watch.wakeup.hold = hold_events;
		watch.wakeup.deliver = deliver_events;
		watch.stack = s;
		stack_watch(s, stack_changed, NULL);
	}
	stack_leave(s);
	return 0;
}

/* ---- ports ---- */

static bool port_taken(uint32_t port)
{
	struct nl_sock *n = ports;

	while (n && n->port != port)
		n = n->next;
	return n;
}

/* The asked-for port, or the caller's pid, or if that has one already some other number. */
static int set_port(struct ctx *c, struct nl_sock *n, uint32_t want)
{
	int err = 0;

	mutex_lock(&table_lock, L_SOCKNAME);
	if (n->port) {
		err = want && want != n->port ? -EINVAL : 0;
	} else if (want && port_taken(want)) {
		err = -EADDRINUSE;
	} else {
		uint32_t port = want ? want : (uint32_t)c->tgid;

		while (port_taken(port))
			port = last_port = last_port ? last_port - 1 : (uint32_t)-4097;
		n->port = port;
		n->next = ports;
		ports = n;
	}
	mutex_unlock(&table_lock, L_SOCKNAME);
	return err;
}

/* Members of groups are told of changes. */
static int set_groups(struct ctx *c, struct nl_sock *n, uint32_t add, uint32_t drop)
{
	int err = add && n->u.s.protocol == NETLINK_ROUTE ? start_watching(c) : 0;

	if (err)
		return err;
	mutex_lock(&table_lock, L_SOCKNAME);
	n->groups = (n->groups & ~drop) | add;
	mutex_unlock(&table_lock, L_SOCKNAME);
	return 0;
}

static int netlink_bind(struct ctx *c, struct socket *s, const struct sockaddr *sa, size_t len)
{
	const struct sockaddr_nl *nl = (const struct sockaddr_nl *)sa;
	int err;

	if (len < sizeof(*nl) || nl->nl_family != AF_NETLINK)
		return -EINVAL;
	err = set_port(c, nl_of(s), nl->nl_pid);
	return err ? err : set_groups(c, nl_of(s), nl->nl_groups, UINT32_MAX);
}

static int netlink_connect(struct ctx *c, struct socket *s, const struct sockaddr *sa, size_t len, int flags __unused)
{
	const struct sockaddr_nl *nl = (const struct sockaddr_nl *)sa;

	if (len >= sizeof(sa->sa_family) && sa->sa_family == AF_UNSPEC)
		return 0;
	if (len < sizeof(*nl) || nl->nl_family != AF_NETLINK)
		return -EINVAL;
	return nl->nl_pid ? -ECONNREFUSED : set_port(c, nl_of(s), 0);
}

static int netlink_getname(struct socket *s, bool peer, struct sockaddr_storage *ret)
{
	struct sockaddr_nl nl = {.nl_family = AF_NETLINK};

	if (!peer) {
		nl.nl_pid = nl_of(s)->port;
		nl.nl_groups = nl_of(s)->groups;
	}
	memcpy(ret, &nl, sizeof(nl));
	return (int)sizeof(nl);
}

/* ---- the socket ---- */

static int check_target(const struct net_msg *m)
{
	const struct sockaddr_nl *nl = (const struct sockaddr_nl *)&m->addr;

	if (!m->addr_len)
		return 0;
	if (m->addr_len < sizeof(*nl) || nl->nl_family != AF_NETLINK)
		return -EINVAL;
	return nl->nl_pid ? -ECONNREFUSED : 0;
}

static ssize_t netlink_send(struct ctx *c, struct socket *s, struct net_msg *m)
{
	size_t size = iobuf_left(m->data);
	char *copy;
	int err = m->flags & MSG_OOB ? -EOPNOTSUPP : check_target(m);

	if (!err)
		err = set_port(c, nl_of(s), 0);
	if (!err && size > REQUEST_MAX)
		err = -EMSGSIZE;
	if (err || !size)
		return err ? err : -ENODATA;
	copy = kalloc(size);
	if (!copy)
		return -ENOBUFS;
	if (iobuf_get(m->data, copy, size) == (ssize_t)size)
		requests(c, nl_of(s), copy, size);
	else
		err = -EFAULT;
	kfree(copy, size);
	return err ? err : (ssize_t)size;
}

static int netlink_setsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, size_t size)
{
	struct nl_sock *n = nl_of(s);
	int v, err;

	if (level != SOL_NETLINK || name < NETLINK_ADD_MEMBERSHIP || name > NETLINK_GET_STRICT_CHK)
		return -ENOPROTOOPT;
	err = sockopt_int(c, value, size, &v);
	if (err || (name != NETLINK_ADD_MEMBERSHIP && name != NETLINK_DROP_MEMBERSHIP))
		return err;
	if (v < 1 || v > (int)RTNLGRP_MAX)
		return -EINVAL;
	if (v > 32)
		return 0; /* nothing is ever told to those */
	err = set_port(c, n, 0);
	if (!err && name == NETLINK_ADD_MEMBERSHIP)
		return set_groups(c, n, 1u << (v - 1), 0);
	return err ? err : set_groups(c, n, 0, 1u << (v - 1));
}

static void netlink_release(struct socket *s)
{
	struct nl_sock **at = &ports, *n = nl_of(s);

	mutex_lock(&table_lock, L_SOCKNAME);
	while (*at && *at != n)
		at = &(*at)->next;
	if (*at)
		*at = n->next;
	mutex_unlock(&table_lock, L_SOCKNAME);
	unix_release(s);
}

static void netlink_destroy(struct socket *s)
{
	unix_sock_fini(unix_of(s));
	slab_free(&nl_slab, nl_of(s));
	inet_uncount();
}

static int netlink_create(struct ctx *c __unused, int type, int protocol, struct socket **ret)
{
	struct nl_sock *n;

	if (type != SOCK_RAW && type != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	if (protocol != NETLINK_ROUTE && protocol != NETLINK_SOCK_DIAG && protocol != NETLINK_KOBJECT_UEVENT)
		return -EPROTONOSUPPORT;
	if (!inet_count())
		return -ENOMEM;
	n = slab_alloc(&nl_slab);
	if (!n) {
		inet_uncount();
		return -ENOMEM;
	}
	unix_sock_init(&n->u, &netlink_ops, AF_NETLINK, type);
	n->u.s.protocol = protocol;
	*ret = &n->u.s;
	return 0;
}

static const struct proto_ops netlink_ops = {
    .bind = netlink_bind,
    .connect = netlink_connect,
    .getname = netlink_getname,
    .sendmsg = netlink_send,
    .recvmsg = unix_dgram_recv,
    .poll = unix_poll,
    .setsockopt = netlink_setsockopt,
    .info = unix_info,
    .release = netlink_release,
    .destroy = netlink_destroy,
};

const struct net_family netlink_family = {.family = AF_NETLINK, .create = netlink_create};
