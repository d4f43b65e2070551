/*
 * What the host has for a flow of datagrams: the datagrams, and the ICMP errors that the guest's have met.
 *
 * A datagram is received into a buffer of 64 KiB, which nat keeps one of. Small ones are copied out of it, so that what lies in a guest's queue keeps
 * no more memory than it is charged for; large ones take the buffer with them.
 */
#include <errno.h>
#include <time.h>

#include <linux/errqueue.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>
#include <sys/epoll.h>

#include "net/nat/flow.h"
#include "net/stack/addr.h"

#define BUFFER_SIZE 65472u
#define COPY_MAX 8192u
#define ROUNDS 64 /* datagrams at a time */
#define ERRORS 16 /* at a time */
#define CONTROL 512

struct buf *datagram_buffer(struct nat *n)
{
	struct buf *b = __atomic_exchange_n((struct buf **)&n->spare, NULL, __ATOMIC_ACQUIRE);

	return b ? b : buf_create(BUFFER_SIZE);
}

void datagram_buffer_return(struct nat *n, struct buf *b)
{
	if (b)
		buf_put(__atomic_exchange_n((struct buf **)&n->spare, b, __ATOMIC_ACQ_REL));
}

struct pkt *datagram_packet(struct nat *n, struct buf **b, size_t size)
{
	struct pkt *p;

	if (size <= COPY_MAX)
		return size ? pkt_from((*b)->data, size) : pkt_create();
	p = pkt_create();
	(*b)->used = (uint32_t)size;
	if (p && !pkt_append(p, *b, 0, (uint32_t)size)) {
		pkt_free(p);
		p = NULL;
	}
	buf_put(*b);
	*b = datagram_buffer(n);
	return p;
}

/* ---- datagrams ---- */

struct received {
	ssize_t size; /* or -errno */
	uint8_t ttl;  /* 0: not known */
};

static uint8_t control_ttl(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		int v;

		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
		    (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT)) {
			memcpy(&v, CMSG_DATA(c), sizeof(v));
			return (uint8_t)v;
		}
	}
	return 0;
}

static struct received receive_one(struct dgram_flow *d, struct buf *b)
{
	char control[CONTROL] __attribute__((aligned(8)));
	struct iovec iov = {b->data, b->size};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct received r = {0};

	if (d->f.id.protocol == IPPROTO_UDP) {
		r.size = recv(d->f.watched.fd, b->data, b->size, MSG_DONTWAIT);
	} else {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		r.size = recvmsg(d->f.watched.fd, &m, MSG_DONTWAIT);
	}
	if (r.size < 0)
		r.size = -errno;
	else if (m.msg_control)
		r.ttl = control_ttl(&m);
	return r;
}

static void deliver(struct dgram_flow *d, struct pkt *p, uint8_t ttl)
{
	struct nat *n = d->f.nat;

	stack_enter(n->s);
	datagram_answered(d);
	if (d->f.id.protocol == IPPROTO_UDP)
		inject_udp(n, &d->f.id, p);
	else
		inject_echo_reply(n, &d->f.id, p, ttl > 1 ? (uint8_t)(ttl - 1) : ttl);
	stack_leave(n->s);
}

void datagram_receive(struct dgram_flow *d)
{
	struct nat *n = d->f.nat;
	struct buf *b = datagram_buffer(n);
	struct received r = {0};
	unsigned rounds = 0;

	while (b && d->f.watched.fd >= 0 && rounds++ < ROUNDS) {
		struct pkt *p;

		r = receive_one(d, b);
		if (r.size == -EAGAIN)
			break;
		if (r.size < 0) {
			datagram_errors(d);
			continue;
		}
		p = datagram_packet(n, &b, (size_t)r.size);
		if (p)
			deliver(d, p, r.ttl);
	}
	datagram_buffer_return(n, b);
	if (r.size != -EAGAIN && d->f.watched.fd >= 0)
		watch_again(&d->f.watched, EPOLLIN);
}

/* ---- errors ---- */

static const struct sock_extended_err *find_error(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
		    (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
			return (const struct sock_extended_err *)CMSG_DATA(c);
	return NULL;
}

/* What the guest is told; false: nothing. */
static bool convert(struct dgram_flow *d, const struct sock_extended_err *ee, struct in6_addr *ret_from,
		    struct icmp_error *ret)
{
	bool v4 = addr_is_v4(&d->f.id.dst);
	struct sockaddr_storage from;
	uint16_t port;

	if (ee->ee_origin != (v4 ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6))
		return false;
	memcpy(&from, SO_EE_OFFENDER(ee), v4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
	if (!host_address_parse(&from, ret_from, &port) || addr_is_v4(ret_from) != v4)
		return false;
	/* Only what a packet in error can draw. */
	if (v4 ? ee->ee_type != ICMP_DEST_UNREACH && ee->ee_type != ICMP_TIME_EXCEEDED &&
		     ee->ee_type != ICMP_PARAMETERPROB
	       : ee->ee_type < ICMP6_DST_UNREACH || ee->ee_type > ICMP6_PARAM_PROB)
		return false;
	*ret = (struct icmp_error){ee->ee_type, ee->ee_code, 0};
	if (v4 ? ee->ee_type == ICMP_DEST_UNREACH && ee->ee_code == ICMP_FRAG_NEEDED
	       : ee->ee_type == ICMP6_PACKET_TOO_BIG || ee->ee_type == ICMP6_PARAM_PROB)
		ret->info = ee->ee_info;
	return true;
}

static void pass_on(struct dgram_flow *d, struct msghdr *m, const void *quoted, size_t size)
{
	const struct sock_extended_err *ee = find_error(m);
	struct nat *n = d->f.nat;
	struct in6_addr from;
	struct icmp_error e;

	if (!ee || !convert(d, ee, &from, &e))
		return;
	stack_enter(n->s);
	inject_error(n, &d->f.id, &from, &e, quoted, size);
	stack_leave(n->s);
}

void datagram_errors(struct dgram_flow *d)
{
	char control[CONTROL] __attribute__((aligned(8))), quoted[512];

	for (int i = 0; i < ERRORS && d->f.watched.fd >= 0; i++) {
		struct iovec iov = {quoted, sizeof(quoted)};
		struct msghdr m = {
		    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(d->f.watched.fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);

		if (n < 0)
			return;
		pass_on(d, &m, quoted, (size_t)n);
	}
}
