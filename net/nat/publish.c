/*
 * Published ports: sockets of the host that the launcher has bound, and what comes there goes to the guest.
 *
 * The guest sees who has sent it: connections and datagrams come from the client's own address and port. Where that cannot be - the client is on the
 * host itself, on the host's link, or has an address of the guest's network - it is the gateway's of IPv4, also for ::1, which resolvers give first for localhost and which
 * many servers do not listen for; and another port if it is taken.
 *
 * A connection is accepted here and then made to the guest (stream.c); when the guest refuses, the client sees it closed by a reset at once. Of
 * datagrams each client is a flow, so that the answers find their way: they leave by the published socket, from the address that the client has asked
 * (IP_PKTINFO), which matters on a host with several.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "net/nat/flow.h"
#include "net/stack/addr.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"

#define ACCEPTS 64 /* at a time; and datagrams */
#define NAME_TRIES 8
#define CONTROL 128

struct published {
	struct list link; /* nat's list; constant */
	struct ref ref;   /* nat's list, its flows, the watcher */
	struct nat *nat;  /* a reference */
	struct watched watched;
	bool udp, v6;
	uint16_t guest_port;
	struct net_timer again; /* L_NET: no descriptor was left */
};

static struct slab published_slab = SLAB_INIT(struct published);

static struct published *of_watched(struct watched *w)
{
	return container_of(w, struct published, watched);
}

static void get(struct watched *w)
{
	ref_get(&of_watched(w)->ref);
}

static void put(struct watched *w)
{
	struct published *p = of_watched(w);
	struct nat *n = p->nat;

	if (!ref_put(&p->ref))
		return;
	slab_free(&published_slab, p);
	nat_put(n);
}

struct published *published_get(struct published *p)
{
	ref_get(&p->ref);
	return p;
}

void published_put(struct published *p)
{
	if (p)
		put(&p->watched);
}

/* ---- connections ---- */

static void accept_again(struct stack *s __unused, struct net_timer *t)
{
	watch_again(&container_of(t, struct published, again)->watched, EPOLLIN);
}

static void accept_later(struct published *p)
{
	struct stack *s = p->nat->s;

	stack_enter(s);
	nat_dropped(p->nat);
	if (!p->nat->stopped)
		net_timer_arm(s, &p->again, stack_now(s) + NSEC_PER_SEC);
	stack_leave(s);
}

static void accept_all(struct published *p)
{
	for (int i = 0; i < ACCEPTS; i++) {
		struct sockaddr_storage sa;
		socklen_t size = sizeof(sa);
		int fd = accept4(p->watched.fd, (struct sockaddr *)&sa, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct in6_addr client;
		uint16_t port;

		if (fd >= 0 && host_address_parse(&sa, &client, &port))
			stream_publish(p->nat, fd, &client, port, p->guest_port);
		else if (fd >= 0)
			close(fd);
		else if (errno == EAGAIN)
			return;
		else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			accept_later(p);
			return;
		}
	}
	watch_again(&p->watched, EPOLLIN);
}

/* ---- datagrams ---- */

struct arrival {
	struct sockaddr_storage client;
	struct in6_addr asked; /* any: not known */
	ssize_t size;          /* or -errno */
};

static struct in6_addr asked_address(struct msghdr *m)
{
	struct in6_addr a = in6addr_any;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo i;

			memcpy(&i, CMSG_DATA(c), sizeof(i));
			a = addr_from_v4(i.ipi_spec_dst.s_addr);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo i;

			memcpy(&i, CMSG_DATA(c), sizeof(i));
			a = i.ipi6_addr;
		}
	}
	/* A datagram to a group is answered by whatever address the route has. */
	return addr_is_multicast(&a) || addr_is_limited_broadcast(&a) ? in6addr_any : a;
}

static void receive(struct published *p, struct buf *b, struct arrival *ret)
{
	char control[CONTROL] __attribute__((aligned(8)));
	struct iovec iov = {b->data, b->size};
	struct msghdr m = {.msg_name = &ret->client,
			   .msg_namelen = sizeof(ret->client),
			   .msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};

	*ret = (struct arrival){0};
	ret->size = recvmsg(p->watched.fd, &m, MSG_DONTWAIT);
	if (ret->size < 0)
		ret->size = -errno;
	else
		ret->asked = asked_address(&m);
}

/* The flow of a client, with a name for it that no other has. NULL: none can be made. */
static struct dgram_flow *flow_of(struct published *p, const struct arrival *a) REQUIRES(L_NET)
{
	struct nat_flow id = {.protocol = IPPROTO_UDP, .sport = p->guest_port};
	struct in6_addr client;
	struct dgram_flow *d;

	if (!host_address_parse(&a->client, &client, &id.dport) || !id.dport)
		return NULL;
	id.dst = nat_source(p->nat, &client);
	id.src = addr_is_v4(&id.dst) ? nat_guest4 : nat_guest6;
	for (int i = 0; i < NAME_TRIES; i++, id.dport = id.dport == UINT16_MAX ? 1024 : id.dport + 1) {
		d = datagram_find(p->nat, &id);
		if (d && d->port == p && memcmp(&d->client, &a->client, sizeof(d->client)) == 0)
			return d;
		if (d)
			continue;
		d = datagram_create(p->nat, &id, p);
		if (d) {
			d->client = a->client;
			d->asked = a->asked;
		}
		return d;
	}
	return NULL;
}

static void deliver(struct published *p, const struct arrival *a, struct pkt *pkt)
{
	struct stack *s = p->nat->s;
	struct dgram_flow *d;

	stack_enter(s);
	d = flow_of(p, a);
	if (d) {
		datagram_answered(d);
		inject_udp(p->nat, &d->f.id, take(pkt));
	}
	stack_leave(s);
	pkt_free(pkt);
}

static void receive_all(struct published *p)
{
	struct buf *b = datagram_buffer(p->nat);
	struct arrival a = {.size = 0};

	for (int i = 0; b && i < ACCEPTS && a.size != -EAGAIN; i++) {
		struct pkt *pkt;

		receive(p, b, &a);
		pkt = a.size < 0 ? NULL : datagram_packet(p->nat, &b, (size_t)a.size);
		if (pkt)
			deliver(p, &a, pkt);
	}
	datagram_buffer_return(p->nat, b);
	if (a.size != -EAGAIN)
		watch_again(&p->watched, EPOLLIN);
}

/* From the address that was asked. */
static void add_source(struct msghdr *m, char *control, bool v6, const struct in6_addr *asked)
{
	struct cmsghdr *c = (struct cmsghdr *)control;
	struct in6_pktinfo i6 = {.ipi6_addr = *asked};
	struct in_pktinfo i4 = {.ipi_spec_dst.s_addr = addr_v4(asked)};
	size_t size = v6 ? sizeof(i6) : sizeof(i4);

	memset(control, 0, CONTROL);
	m->msg_control = control;
	m->msg_controllen = CMSG_SPACE(size);
	c->cmsg_level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
	c->cmsg_type = v6 ? IPV6_PKTINFO : IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), v6 ? (void *)&i6 : (void *)&i4, size);
}

int publish_send(const struct dgram_flow *d, const struct pkt *p)
{
	char control[CONTROL] __attribute__((aligned(8)));
	bool v6 = d->client.ss_family == AF_INET6;
	struct iovec iov[PKT_IOV];
	struct msghdr m = {.msg_name = (void *)&d->client,
			   .msg_namelen = v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in),
			   .msg_iov = iov,
			   .msg_iovlen = pkt_iov(p, iov)};

	if (!addr_is_any(&d->asked))
		add_source(&m, control, v6, &d->asked);
	if (sendmsg(d->port->watched.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	/* Nobody says when this socket takes more: it is as if it were lost on the way. */
	return errno == EAGAIN ? 0 : -errno;
}

/* ---- life ---- */

static void ready(struct watched *w, uint32_t events __unused)
{
	struct published *p = of_watched(w);

	if (p->udp)
		receive_all(p);
	else
		accept_all(p);
}

static int start(struct nat *n, const struct nat_port *port)
{
	struct published *p = slab_alloc(&published_slab);
	struct sockaddr_storage sa;
	socklen_t size = sizeof(sa);
	int err;

	if (!p)
		return -ENOMEM;
	ref_init(&p->ref);
	ref_get(&n->ref);
	p->nat = n;
	p->watched = (struct watched){.fd = port->fd, .ready = ready, .get = get, .put = put};
	p->udp = port->udp;
	p->guest_port = port->guest_port;
	net_timer_init(&p->again, accept_again);
	p->v6 = getsockname(port->fd, (struct sockaddr *)&sa, &size) == 0 && sa.ss_family == AF_INET6;
	if (p->udp && p->v6)
		host_option(port->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	else if (p->udp)
		host_option(port->fd, IPPROTO_IP, IP_PKTINFO, 1);
	list_append(&n->ports, &p->link);
	err = watch_add(&p->watched, EPOLLIN);
	return err;
}

int publish_start(struct nat *n, const struct nat_port *ports, size_t count)
{
	int err = 0;

	for (size_t i = 0; !err && i < count; i++)
		err = start(n, &ports[i]);
	return err;
}

void publish_stop(struct nat *n)
{
	struct published *p;

	while ((p = list_first(&n->ports, struct published, link))) {
		list_remove(&p->link);
		watch_remove(&p->watched);
		stack_enter(n->s);
		net_timer_cancel(n->s, &p->again);
		stack_leave(n->s);
		put(&p->watched);
	}
}
