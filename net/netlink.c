/*
 * AF_NETLINK: netlink(7). The sockets: ports, groups, queues; what NETLINK_ROUTE says is in rtnetlink*.c, NETLINK_SOCK_DIAG in sockdiag.c,
 * NETLINK_KOBJECT_UEVENT in uevent.c.
 *
 * Requests are answered within the send: what answers one request goes into the sender's own queue (net/unix_msg.c), cut at messages' beginnings into datagrams
 * of at most PIECE_MAX bytes, so that readers with usual buffers get them whole. A queue that is full drops them and reports ENOBUFS, as netlink does.
 *
 * Changes of a namespace's stack are told to the members of groups in it. The stack tells us under its lock; the messages are made at once, and queued at the sockets, whose
 * locks come before the stack's, when it wakes who waits for something. One thread at a time does that for a namespace, so that events stay in order and
 * nobody gets one twice.
 */
#include "net/netlink.h"

#include <poll.h>

#include "net/filter.h"
#include "net/inet.h"
#include "net/netstack.h"
#include "net/rtnetlink.h"
#include "net/sockdiag.h"
#include "net/uevent.h"
#include "net/unix.h"
#include "sentry/base/cred.h"
#include "sentry/base/ctx.h"
#include "sentry/base/slab.h"

#define PIECE_MAX 8192u
#define REQUEST_MAX 32768
#define EVENTS_MAX 1024

struct nl_sock {
	struct unix_sock u;   /* first member */
	uint32_t port;        /* L_SOCKNAME; 0: none yet */
	uint32_t groups;      /* L_SOCKNAME: a bit for each, from RTNLGRP 1 on */
	uint32_t options;     /* atomic; a bit for each NETLINK_* that is on */
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

	if (b->raw)
		return b->size;
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
	uint32_t options = __atomic_load_n(&n->options, __ATOMIC_RELAXED);
	struct nlreq r = {.h = h,
			  .data = data,
			  .size = h->nlmsg_len - sizeof(*h),
			  .net = n->u.s.net,
			  .uid = c->cred->uid,
			  .strict = options & 1u << NETLINK_GET_STRICT_CHK,
			  .capped = options & 1u << NETLINK_CAP_ACK};
	struct nlbuf b = {.seq = h->nlmsg_seq, .port = n->port, .ext_ack = options & 1u << NETLINK_EXT_ACK};

	if (h->nlmsg_flags & NLM_F_REQUEST && h->nlmsg_type >= NLMSG_MIN_TYPE && n->u.s.protocol == NETLINK_ROUTE)
		rtnetlink_request(c, &b, &r);
	else if (h->nlmsg_flags & NLM_F_REQUEST && h->nlmsg_type >= NLMSG_MIN_TYPE &&
		 n->u.s.protocol == NETLINK_SOCK_DIAG)
		sockdiag_request(c, &b, &r);
	else if (h->nlmsg_flags & NLM_F_ACK)
		nl_error(&b, &r, 0);
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
	int protocol;
	unsigned group;
	struct nlbuf b;
};

/* What a namespace has told and its listeners have not been told yet. */
struct nl_watch {
	struct ref ref;      /* of the namespace, and of who delivers */
	uint64_t cookie;     /* the namespace's */
	struct stack *stack; /* whoever delivers is inside of it */
	struct wakeup wakeup;
	struct list events; /* L_NET, as what follows */
	unsigned count;
	bool lost, busy; /* busy: somebody delivers, in order, and looks again before he stops */
};

static struct slab event_slab = SLAB_INIT(struct event);
static struct slab watch_slab = SLAB_INIT(struct nl_watch);

static void watch_put(struct nl_watch *w)
{
	if (ref_put(&w->ref))
		slab_free(&watch_slab, w);
}

static void free_events(struct list *all)
{
	struct event *e;

	while ((e = list_first(all, struct event, link))) {
		list_remove(&e->link);
		nlbuf_finish(&e->b);
		slab_free(&event_slab, e);
	}
}

static bool wants(const struct nl_sock *n, const struct event *e, uint64_t cookie)
{
	if (n->u.s.net->cookie != cookie)
		return false;
	return e ? n->u.s.protocol == e->protocol && n->groups & 1u << (e->group - 1) : n->groups;
}

/* The next one who wants the event and has not got it yet: a reference, or NULL. */
static struct nl_sock *next_member(const struct event *e, uint64_t cookie, uint64_t serial)
{
	struct nl_sock *n;

	mutex_lock(&table_lock, L_SOCKNAME);
	for (n = ports; n; n = n->next)
		if (n->seen != serial && wants(n, e, cookie) && ref_get_unless_zero(&n->u.s.ref))
			break;
	if (n)
		n->seen = serial;
	mutex_unlock(&table_lock, L_SOCKNAME);
	return n;
}

/* To all members of its group; e NULL: those of any group have missed something. One at a time in a namespace. */
static void broadcast(const struct event *e, uint64_t cookie)
{
	struct nl_sock *n;
	uint64_t serial;

	mutex_lock(&table_lock, L_SOCKNAME);
	serial = ++last_event;
	mutex_unlock(&table_lock, L_SOCKNAME);
	while ((n = next_member(e, cookie, serial))) {
		queue_all(n, e ? &e->b : &(struct nlbuf){.failed = true}, e ? e->group : 0);
		socket_put(&n->u.s);
	}
}

/* Moves what there is to *all; false: nothing, and the caller delivers no longer. */
static bool take_events(struct nl_watch *w, struct list *all, bool *lost)
{
	bool some;

	stack_enter(w->stack);
	some = w->count || w->lost;
	list_splice(all, &w->events);
	w->count = 0;
	*lost = w->lost;
	w->lost = false;
	w->busy = some;
	stack_leave(w->stack);
	return some;
}

static bool begin_delivery(struct nl_watch *w)
{
	bool mine;

	stack_enter(w->stack);
	mine = !w->busy;
	w->busy = true;
	stack_leave(w->stack);
	return mine;
}

static void deliver_events(struct wakeup *wake, uint32_t events __unused)
{
	struct nl_watch *w = container_of(wake, struct nl_watch, wakeup);
	struct list all = LIST_INIT(all);
	struct event *e;
	bool lost;

	if (begin_delivery(w)) {
		while (take_events(w, &all, &lost)) {
			list_for_each(e, &all, link)
				broadcast(e, w->cookie);
			free_events(&all);
			if (lost)
				broadcast(NULL, w->cookie);
		}
	}
	watch_put(w);
}

static void hold_events(struct wakeup *wake)
{
	ref_get(&container_of(wake, struct nl_watch, wakeup)->ref);
}

/* An event in the making; NULL: it is lost. */
static struct event *add_event(struct nl_watch *w, int protocol) REQUIRES(L_NET)
{
	struct event *e = w->count < EVENTS_MAX ? slab_alloc(&event_slab) : NULL;

	if (e) {
		e->protocol = protocol;
		e->group = 1;
		list_append(&w->events, &e->link);
		w->count++;
	} else {
		w->lost = true;
	}
	stack_wake(w->stack, &w->wakeup, POLLIN);
	return e;
}

static void stack_changed(void *arg, enum stack_event kind, bool gone, const void *what) REQUIRES(L_NET)
{
	struct nl_watch *w = arg;
	struct event *e;

	if (kind == STACK_UEVENT) {
		e = add_event(w, NETLINK_KOBJECT_UEVENT);
		if (e)
			uevent_netdev(&e->b, gone, what);
		return;
	}
	e = add_event(w, NETLINK_ROUTE);
	if (e)
		rtnetlink_event(w->stack, &e->b, kind, gone, what, &e->group);
}

/* Somebody listens in this namespace from now on. -ENOMEM. */
static int start_watching(struct netns *net)
{
	struct nl_watch *w = __atomic_load_n(&net->watch, __ATOMIC_ACQUIRE);
	struct stack *s = netns_stack(net);

	if (w)
		return 0;
	w = s ? slab_alloc(&watch_slab) : NULL;
	if (!w)
		return -ENOMEM;
	ref_init(&w->ref);
	list_init(&w->events);
	list_init(&w->wakeup.link);
	w->wakeup.hold = hold_events;
	w->wakeup.deliver = deliver_events;
	w->stack = s;
	w->cookie = net->cookie;
	stack_enter(s);
	if (!net->watch) {
		__atomic_store_n(&net->watch, w, __ATOMIC_RELEASE);
		stack_watch(s, stack_changed, w);
		w = NULL;
	}
	stack_leave(s);
	if (w)
		watch_put(w); /* another was faster */
	return 0;
}

void netlink_forget(struct netns *net)
{
	struct nl_watch *w = take(net->watch);
	struct list all = LIST_INIT(all);
	bool lost;

	if (!w)
		return;
	stack_enter(w->stack);
	stack_watch(w->stack, NULL, NULL);
	stack_leave(w->stack);
	(void)take_events(w, &all, &lost);
	free_events(&all);
	watch_put(w);
}

/* ---- ports ---- */

/* Each protocol has ports of its own in each namespace. */
static bool port_taken(const struct nl_sock *of, uint32_t port)
{
	struct nl_sock *n = ports;

	while (n && (n->port != port || n->u.s.protocol != of->u.s.protocol || n->u.s.net != of->u.s.net))
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
	} else if (want && port_taken(n, want)) {
		err = -EADDRINUSE;
	} else {
		uint32_t port = want ? want : (uint32_t)c->tgid;

		while (port_taken(n, port))
			port = last_port = last_port ? last_port - 1 : (uint32_t)-4097;
		n->port = port;
		n->next = ports;
		ports = n;
	}
	mutex_unlock(&table_lock, L_SOCKNAME);
	return err;
}

/* Members of groups are told of changes. */
static int set_groups(struct nl_sock *n, uint32_t add, uint32_t drop)
{
	int err = add && n->u.s.protocol != NETLINK_SOCK_DIAG ? start_watching(n->u.s.net) : 0;

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
	return err ? err : set_groups(nl_of(s), nl->nl_groups, UINT32_MAX);
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

static int set_option(struct nl_sock *n, int name, bool on)
{
	if (name == NETLINK_LIST_MEMBERSHIPS)
		return -ENOPROTOOPT;
	if (on)
		__atomic_or_fetch(&n->options, 1u << name, __ATOMIC_RELAXED);
	else
		__atomic_and_fetch(&n->options, ~(1u << name), __ATOMIC_RELAXED);
	return 0;
}

/* The groups, as bits; what fits. */
static int list_memberships(struct nl_sock *n, void *value, size_t *size)
{
	uint32_t groups;

	mutex_lock(&table_lock, L_SOCKNAME);
	groups = n->groups;
	mutex_unlock(&table_lock, L_SOCKNAME);
	*size = MIN(*size, sizeof(groups));
	memcpy(value, &groups, *size);
	return 0;
}

static int netlink_getsockopt(struct ctx *c __unused, struct socket *s, int level, int name, void *value, size_t *size)
{
	struct nl_sock *n = nl_of(s);
	int v;

	if (level != SOL_NETLINK)
		return -ENOPROTOOPT;
	switch (name) {
	case NETLINK_LIST_MEMBERSHIPS:
		return list_memberships(n, value, size);
	case NETLINK_PKTINFO:
	case NETLINK_BROADCAST_ERROR:
	case NETLINK_NO_ENOBUFS:
	case NETLINK_CAP_ACK:
	case NETLINK_EXT_ACK:
	case NETLINK_GET_STRICT_CHK:
		if (*size < sizeof(v))
			return -EINVAL;
		v = __atomic_load_n(&n->options, __ATOMIC_RELAXED) >> name & 1;
		memcpy(value, &v, sizeof(v));
		*size = sizeof(v);
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

static int netlink_setsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, size_t size)
{
	struct nl_sock *n = nl_of(s);
	int v, err;

	if (level != SOL_NETLINK || name < NETLINK_ADD_MEMBERSHIP || name > NETLINK_GET_STRICT_CHK)
		return -ENOPROTOOPT;
	err = sockopt_int(c, value, size, &v);
	if (err)
		return err;
	if (name != NETLINK_ADD_MEMBERSHIP && name != NETLINK_DROP_MEMBERSHIP)
		return set_option(n, name, v);
	if (v < 1 || v > (int)RTNLGRP_MAX)
		return -EINVAL;
	if (v > 32)
		return 0; /* nothing is ever told to those */
	err = set_port(c, n, 0);
	if (!err && name == NETLINK_ADD_MEMBERSHIP)
		return set_groups(n, 1u << (v - 1), 0);
	return err ? err : set_groups(n, 0, 1u << (v - 1));
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
    .getsockopt = netlink_getsockopt,
    .info = unix_info,
    .release = netlink_release,
    .destroy = netlink_destroy,
};

const struct net_family netlink_family = {.family = AF_NETLINK, .create = netlink_create};
