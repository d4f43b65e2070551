/*
 * NETLINK_SOCK_DIAG: sock_diag(7): lists of TCP, UDP and raw sockets, as ss(8) asks for them, by what all sockets tell of themselves and what TCP has beside
 * those. One socket by its name, and other families, are ENOENT: their users read /proc/net then.
 */
#include "net/sockdiag.h"

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>

#include "net/netstack.h"
#include "net/sockinfo.h"
#include "net/stack/addr.h"
#include "net/stack/tcp.h"

struct diag {
	struct nlbuf *b;
	struct inet_diag_req_v2 req;
};

static void put_addr(uint32_t to[4], const struct in6_addr *a)
{
	if (addr_is_v4(a))
		to[0] = addr_v4(a);
	else
		memcpy(to, a, sizeof(*a));
}

static void put(struct diag *d, const struct sock_info *i)
{
	struct inet_diag_msg m = {
	    .idiag_family = (uint8_t)i->family,
	    .idiag_state = i->state,
	    .idiag_timer = i->timer,
	    .idiag_retrans = i->retransmits,
	    .id = {.idiag_sport = htons(i->local_port), .idiag_dport = htons(i->remote_port)},
	    .idiag_expires = (uint32_t)(i->timer_left / NSEC_PER_MSEC),
	    .idiag_rqueue = i->unread,
	    .idiag_wqueue = i->state == TCP_LISTEN ? i->backlog : i->unsent,
	    .idiag_uid = i->uid,
	    .idiag_inode = (uint32_t)i->ino,
	};

	if (!(d->req.idiag_states & 1u << i->state))
		return;
	if (i->family == AF_INET6) {
		memcpy(m.id.idiag_src, &i->local, sizeof(i->local));
		memcpy(m.id.idiag_dst, &i->remote, sizeof(i->remote));
	} else {
		put_addr(m.id.idiag_src, &i->local);
		put_addr(m.id.idiag_dst, &i->remote);
	}
	m.id.idiag_cookie[0] = (uint32_t)i->ino;
	nl_begin(d->b, SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, &m, sizeof(m));
}

static void put_socket(const struct sock_info *i, void *arg)
{
	struct diag *d = arg;
	bool raw = d->req.sdiag_protocol == IPPROTO_RAW;

	if (raw ? i->type != SOCK_RAW : i->type == SOCK_RAW || i->protocol != d->req.sdiag_protocol)
		return;
	if (i->type == SOCK_STREAM ? i->state != TCP_CLOSE : i->local_port)
		put(d, i);
}

/* What has no socket. */
static void put_rest(const struct tcp_ep *ep, void *arg) REQUIRES(L_NET)
{
	const struct tcp_sock *tp = container_of(ep, struct tcp_sock, ep);
	int family = addr_is_v4(&ep->key.laddr) ? AF_INET : AF_INET6;
	struct diag *d = arg;
	int64_t deadline = 0;
	struct sock_info i = {.family = (uint16_t)family,
			      .state = ep->state,
			      .uid = ep->bind.uid,
			      .local = ep->key.laddr,
			      .local_port = ep->key.lport,
			      .remote = ep->key.raddr,
			      .remote_port = ep->key.rport};

	if (family != d->req.sdiag_family || (ep->kind == TCP_IS_SOCK && tp->owner))
		return;
	i.timer = (uint8_t)tcp_timer_kind(ep, &deadline);
	i.timer_left = i.timer ? MAX(deadline - stack_now(ep->stack), 0) : 0;
	if (ep->kind == TCP_IS_SOCK)
		i.unread = tcp_inq(tp);
	put(d, &i);
}

void sockdiag_request(struct ctx *c __unused, struct nlbuf *b, const struct nlreq *r)
{
	bool all = (r->h->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	struct stack *s = netns_stack(r->net);
	uint8_t family = r->size ? (uint8_t)r->data[0] : AF_UNSPEC;
	struct diag d = {.b = b};
	int err = s ? 0 : -ENOMEM;

	if (r->h->nlmsg_type != SOCK_DIAG_BY_FAMILY || !all || (family != AF_INET && family != AF_INET6))
		err = -ENOENT;
	else if (!nl_fixed(r, &d.req, sizeof(d.req)))
		err = -EINVAL;
	if (err) {
		nl_error(b, r, err);
		return;
	}
	socket_for_each(r->net, d.req.sdiag_family, put_socket, &d);
	if (d.req.sdiag_protocol == IPPROTO_TCP) {
		stack_enter(s);
		tcp_for_each(s, put_rest, &d);
		stack_leave(s);
	}
	nl_done(b, 0);
}
