/*
 * The error queue, MSG_ERRQUEUE: ip(7) and ipv6(7), IP_RECVERR. A packet that drew an ICMP error, or was too large to send, comes back with what is known of its
 * payload; its destination is the message's address, and the control message says what happened and who says so.
 */
#include <time.h>

#include <linux/errqueue.h>
#include <string.h>

#include "net/inet.h"
#include "net/stack/addr.h"

struct error4 {
	struct sock_extended_err ee;
	struct sockaddr_in offender;
};

struct error6 {
	struct sock_extended_err ee;
	struct sockaddr_in6 offender;
};

static struct sock_extended_err extended(const struct dgram_error *e)
{
	bool v4 = addr_is_v4(&e->e.dst);

	return (struct sock_extended_err){
	    .ee_errno = (uint32_t)e->e.err,
	    .ee_origin = e->local ? SO_EE_ORIGIN_LOCAL
			 : v4     ? SO_EE_ORIGIN_ICMP
				  : SO_EE_ORIGIN_ICMP6,
	    .ee_type = e->e.type,
	    .ee_code = e->e.code,
	    .ee_info = e->e.mtu,
	};
}

static void put_error(struct ctx *c, const struct inet_dgram *g, struct net_msg *m, const struct dgram_error *e)
{
	struct inet_name from = {.addr = e->e.from};
	struct error4 e4 = {.ee = extended(e)};
	struct error6 e6 = {.ee = extended(e)};
	struct sockaddr_storage sa;

	if (g->i.s.family == AF_INET) {
		if (!e->local && inet_format(AF_INET, &from, &sa))
			memcpy(&e4.offender, &sa, sizeof(e4.offender));
		cmsg_put(c, m, IPPROTO_IP, IP_RECVERR, &e4, sizeof(e4));
	} else {
		if (!e->local && inet_format(AF_INET6, &from, &sa))
			memcpy(&e6.offender, &sa, sizeof(e6.offender));
		cmsg_put(c, m, IPPROTO_IPV6, IPV6_RECVERR, &e6, sizeof(e6));
	}
}

ssize_t inet_err_recv(struct ctx *c, struct inet_dgram *g, struct net_msg *m)
{
	struct dgram_error *e;
	struct inet_name to;
	ssize_t n = 0;

	stack_enter(g->i.stack);
	e = dgram_take_queued_error(&g->d);
	stack_leave(g->i.stack);
	if (!e)
		return -EAGAIN;
	if (e->data) {
		n = inet_put_pkt(m->data, e->data);
		if (n >= 0 && (size_t)n < e->data->len)
			m->out_flags |= MSG_TRUNC;
	}
	if (n >= 0) {
		to = (struct inet_name){.addr = e->e.dst, .port = e->e.dport};
		m->addr_len = (uint32_t)inet_format(g->i.s.family, &to, &m->addr);
		m->out_flags |= MSG_ERRQUEUE;
		put_error(c, g, m, e);
	}
	dgram_error_free(e);
	return n;
}
