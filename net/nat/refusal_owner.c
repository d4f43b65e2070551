/*
 * Whose flow it is: the guest's stack knows the socket by its addresses and ports, and the socket who made it (struct inet_sock). A connection is
 * found by a walk over all of them, for which nobody would notice the difference: lines about refusals are few.
 */
#include <ctype.h>
#include <stdio.h>

#include "net/inet.h"
#include "net/nat/refusal.h"
#include "net/stack/addr.h"

struct search {
	const struct nat_flow *f;
	const struct inet_sock *found;
};

static void match(const struct tcp_ep *ep, void *arg)
{
	const struct tcp_key *k = &ep->key;
	struct search *s = arg;

	if (ep->kind != TCP_IS_SOCK || k->lport != s->f->sport || k->rport != s->f->dport ||
	    !addr_eq(&k->laddr, &s->f->src) || !addr_eq(&k->raddr, &s->f->dst))
		return;
	if (container_of(ep, struct tcp_sock, ep)->owner)
		s->found = &((const struct inet_tcp *)container_of(ep, struct tcp_sock, ep)->owner)->i;
}

static const struct inet_sock *find(struct stack *guest, const struct nat_flow *f) REQUIRES(L_NET)
{
	struct search s = {.f = f};
	struct port_bind *b;

	if (f->protocol == IPPROTO_TCP) {
		tcp_for_each(guest, match, &s);
		return s.found;
	}
	if (f->protocol != IPPROTO_UDP)
		return NULL;
	b = port_lookup(guest, PORT_UDP, &f->src, f->sport, &f->dst, f->dport, 0, 0);
	return b ? &container_of(b, struct inet_dgram, udp.bind)->i : NULL;
}

void refusal_owner(struct stack *guest, const struct nat_flow *f, char *to, size_t size)
{
	const struct inet_sock *i = NULL;
	struct inet_maker m = {.pid = 0};

	if (guest) {
		stack_enter(guest);
		i = find(guest, f);
		if (i)
			m = i->maker;
		stack_leave(guest);
	}
	for (char *c = m.comm; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
	if (m.pid)
		snprintf(to, size, "pid %d (%s)", m.pid, m.comm);
	else
		snprintf(to, size, "a process that is not known");
}
