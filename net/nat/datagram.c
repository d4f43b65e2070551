/*
 * UDP and ICMP echoes through nat: a connected socket of the host for each pair of addresses and ports, or for each identifier of a ping.
 *
 * A datagram of the guest lies in the flow's queue until its thread has left the gateway's stack, which is at once, and is sent from there. The TTL
 * goes on less one hop, so that a guest's traceroute sees the routers of the host's network behind the gateway, which is the first hop. ICMP errors come back
 * by the host's error queue (datagram_host.c), and errors of the host's own calls as what a router would say.
 *
 * A flow ends after 30 seconds without a datagram, or after 180 if it is a conversation: both sides have sent, the guest more than once (RFC 4787 4.3
 * asks for two minutes; a question and its answer need less, and are most of the flows). When there are too many, the longest unused one makes room:
 * of clients of published ports first, who are not to drive out what the guest does by itself, and exchanges first. While there are flows a timer waits for the oldest; without any, nothing runs.
 *
 * Echoes need the host's leave (net.ipv4.ping_group_range); without, the guest is told that they are prohibited.
 */
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>
#include <sys/epoll.h>

#include "net/nat/flow.h"
#include "net/stack/addr.h"
#include "net/stack/port.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"

#define QUEUE_MAX 64
#define DEFAULT_TTL 64

static struct slab dgram_flow_slab = SLAB_INIT(struct dgram_flow);
static const int64_t age_time[DGRAM_AGES] = {[DGRAM_EXCHANGE] = 30 * NSEC_PER_SEC,
					     [DGRAM_CONVERSATION] = 180 * NSEC_PER_SEC,
					     [DGRAM_CLIENT] = 30 * NSEC_PER_SEC,
					     [DGRAM_CLIENT_CONVERSATION] = 180 * NSEC_PER_SEC};

static struct dgram_flow *dgram_of(struct flow *f)
{
	return container_of(f, struct dgram_flow, f);
}

/* ---- the table ---- */

static struct list *chain_of(struct nat *n, const struct nat_flow *id) REQUIRES(L_NET)
{
	return &n->chains[port_hash(n->s, &id->src, id->sport, &id->dst, id->dport) % NAT_CHAINS];
}

struct dgram_flow *datagram_find(struct nat *n, const struct nat_flow *id)
{
	struct dgram_flow *d;

	list_for_each(d, chain_of(n, id), chain)
		if (d->f.id.protocol == id->protocol && d->f.id.sport == id->sport && d->f.id.dport == id->dport &&
		    addr_eq(&d->f.id.src, &id->src) && addr_eq(&d->f.id.dst, &id->dst))
			return d;
	return NULL;
}

static int age_of(const struct dgram_flow *d)
{
	bool conversation = d->answered && d->sent > 1;

	if (d->port)
		return conversation ? DGRAM_CLIENT_CONVERSATION : DGRAM_CLIENT;
	return conversation ? DGRAM_CONVERSATION : DGRAM_EXCHANGE;
}

static void arm(struct nat *n) REQUIRES(L_NET)
{
	int64_t first = INT64_MAX;

	for (int i = 0; i < DGRAM_AGES; i++) {
		const struct dgram_flow *d = list_first(&n->ages[i], struct dgram_flow, age);

		if (d)
			first = MIN(first, d->last_at + age_time[i]);
	}
	if (first < INT64_MAX)
		net_timer_arm(n->s, &n->age_timer, first);
}

static void touch(struct dgram_flow *d) REQUIRES(L_NET)
{
	struct nat *n = d->f.nat;

	d->last_at = stack_now(n->s);
	list_remove(&d->age);
	list_append(&n->ages[age_of(d)], &d->age);
	if (!net_timer_armed(&n->age_timer))
		arm(n);
}

/* Out of the lists; its runner does the rest. */
static void kill(struct dgram_flow *d) REQUIRES(L_NET)
{
	struct nat *n = d->f.nat;

	if (d->dying)
		return;
	d->dying = true;
	list_remove(&d->chain);
	list_remove(&d->age);
	n->dgram_count--;
	n->dgram_clients -= d->port != NULL;
	stack_wake(n->s, &d->f.wakeup, 1);
}

void datagram_age(struct stack *s, struct net_timer *t)
{
	struct nat *n = container_of(t, struct nat, age_timer);
	struct dgram_flow *d;

	for (int i = 0; i < DGRAM_AGES; i++)
		while ((d = list_first(&n->ages[i], struct dgram_flow, age)) &&
		       d->last_at + age_time[i] <= stack_now(s))
			kill(d);
	arm(n);
}

void datagram_answered(struct dgram_flow *d)
{
	if (d->dying)
		return;
	d->answered = true;
	touch(d);
}

/* ---- guest to host ---- */

static void prepare(struct flow *f, int fd)
{
	bool v4 = addr_is_v4(&f->id.dst);
	int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;

	host_option(fd, level, v4 ? IP_RECVERR : IPV6_RECVERR, 1);
	if (f->id.protocol != IPPROTO_UDP)
		host_option(fd, level, v4 ? IP_RECVTTL : IPV6_RECVHOPLIMIT, 1);
}

static void complain(struct dgram_flow *d, struct pkt *p, int err)
{
	struct stack *s = d->f.nat->s;

	stack_enter(s);
	gateway_complain(s, p, host_error(err));
	stack_leave(s);
}

static void set_ttl(struct dgram_flow *d, const struct pkt *p)
{
	bool v4 = addr_is_v4(&d->f.id.dst);
	uint8_t ttl = p->info.ttl == DEFAULT_TTL ? DEFAULT_TTL : (uint8_t)(p->info.ttl - 1);

	if (ttl == d->ttl)
		return;
	d->ttl = ttl;
	host_option(d->f.watched.fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_UNICAST_HOPS, ttl);
}

unsigned pkt_iov(const struct pkt *p, struct iovec *iov)
{
	unsigned n = 0;

	if (p->tail > p->head)
		iov[n++] = (struct iovec){(void *)(p->room + p->head), p->tail - p->head};
	for (unsigned i = 0; i < p->count; i++)
		iov[n++] = (struct iovec){p->slice[i].buf->data + p->slice[i].off, p->slice[i].len};
	return n;
}

static int send_once(struct dgram_flow *d, const struct pkt *p)
{
	struct iovec iov[PKT_IOV];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = pkt_iov(p, iov)};

	if (d->port)
		return publish_send(d, p);
	return sendmsg(d->f.watched.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* What an earlier datagram has met comes before this one's fate. */
static int send_one(struct dgram_flow *d, const struct pkt *p)
{
	int err;

	if (!d->port)
		set_ttl(d, p);
	err = send_once(d, p);
	if (err && err != -EAGAIN && !d->port) {
		datagram_errors(d);
		err = send_once(d, p);
	}
	return err;
}

/* What has been taken, as long as the host takes it. */
static void send_out(struct dgram_flow *d)
{
	struct pkt *p;

	while ((p = list_first(&d->out, struct pkt, link))) {
		int err = send_one(d, p);

		if (err == -EAGAIN) {
			watch_again(&d->f.watched, EPOLLIN | EPOLLOUT);
			return;
		}
		list_remove(&p->link);
		if (err)
			complain(d, p, err);
		pkt_free(p);
	}
}

static void open_socket(struct dgram_flow *d)
{
	bool udp = d->f.id.protocol == IPPROTO_UDP;
	struct pkt *p;
	int err;

	d->opened = true;
	err = d->port ? 0 : flow_connect(&d->f, SOCK_DGRAM, udp ? 0 : d->f.id.protocol, prepare);
	if (!err && !d->port)
		err = watch_add(&d->f.watched, EPOLLIN);
	if (!err)
		return;
	while ((p = list_first(&d->out, struct pkt, link))) {
		list_remove(&p->link);
		complain(d, p, err);
		pkt_free(p);
	}
	stack_enter(d->f.nat->s);
	if (err == -EMFILE || err == -ENFILE || err == -ENOMEM)
		nat_dropped(d->f.nat);
	kill(d);
	stack_leave(d->f.nat->s);
}

/* False: it is to end. */
static bool take_queue(struct dgram_flow *d)
{
	bool dying;

	stack_enter(d->f.nat->s);
	dying = d->dying;
	list_splice(&d->out, &d->queue);
	d->queued = 0;
	stack_leave(d->f.nat->s);
	return !dying;
}

static void finish(struct dgram_flow *d)
{
	d->over = true;
	pkt_free_all(&d->out);
	flow_close(&d->f, false);
	flow_put(&d->f);
}

static void run(struct flow *f, uint32_t work)
{
	struct dgram_flow *d = dgram_of(f);

	if (d->over)
		return;
	if (!take_queue(d)) {
		finish(d);
		return;
	}
	if (!d->opened)
		open_socket(d);
	if (work & WORK_HOST_END)
		datagram_errors(d);
	if (work & WORK_HOST_IN)
		datagram_receive(d);
	send_out(d);
}

static void destroy(struct flow *f)
{
	struct dgram_flow *d = dgram_of(f);

	pkt_free_all(&d->queue);
	pkt_free_all(&d->out);
	published_put(d->port);
	slab_free(&dgram_flow_slab, d);
}

/* There is one. */
static void evict(struct nat *n) REQUIRES(L_NET)
{
	static const int order[] = {DGRAM_CLIENT, DGRAM_EXCHANGE, DGRAM_CLIENT_CONVERSATION, DGRAM_CONVERSATION};
	unsigned i = 0;

	while (list_empty(&n->ages[order[i]]))
		i++;
	n->counters[NAT_EVICTED_FLOWS]++;
	kill(list_first(&n->ages[order[i]], struct dgram_flow, age));
}

static void evict_client(struct nat *n) REQUIRES(L_NET)
{
	bool none = list_empty(&n->ages[DGRAM_CLIENT]);

	n->counters[NAT_EVICTED_FLOWS]++;
	kill(list_first(&n->ages[none ? DGRAM_CLIENT_CONVERSATION : DGRAM_CLIENT], struct dgram_flow, age));
}

struct dgram_flow *datagram_create(struct nat *n, const struct nat_flow *id, struct published *port)
{
	struct dgram_flow *d;

	if (port && n->dgram_clients && n->dgram_clients >= nat_clients_max(n))
		evict_client(n);
	else if (n->dgram_count >= n->flows_max)
		evict(n);
	d = n->stopped ? NULL : slab_alloc(&dgram_flow_slab);
	if (!d) {
		nat_dropped(n);
		return NULL;
	}
	flow_init(&d->f, n, id, run, destroy);
	list_init(&d->age);
	list_init(&d->queue);
	list_init(&d->out);
	d->ttl = DEFAULT_TTL;
	d->port = port ? published_get(port) : NULL;
	n->dgram_clients += port != NULL;
	list_push(chain_of(n, id), &d->chain);
	n->dgram_count++;
	n->counters[NAT_DATAGRAM_FLOWS]++;
	touch(d);
	return d;
}

/* Takes p. */
static void queue(struct dgram_flow *d, struct pkt *p, uint8_t ttl) REQUIRES(L_NET)
{
	struct nat *n = d->f.nat;

	d->sent++;
	touch(d);
	if (d->queued == QUEUE_MAX) {
		n->counters[NAT_DROPPED_DATAGRAMS]++;
		pkt_free(p);
		return;
	}
	p->info.ttl = ttl;
	list_append(&d->queue, &p->link);
	d->queued++;
	stack_wake(n->s, &d->f.wakeup, 1);
}

/* The first of a flow: takes p. */
static void begin(struct nat *n, const struct nat_flow *id, struct pkt *p, uint8_t ttl) REQUIRES(L_NET)
{
	struct nat_flow asked = *id;
	struct dgram_flow *d;
	bool look;
	int err;

	if (id->protocol != IPPROTO_UDP)
		asked.sport = 0;
	err = nat_permit(n, &asked, &look);
	if (err)
		gateway_complain(n->s, p, err);
	d = err ? NULL : datagram_create(n, id, NULL);
	if (d)
		queue(d, p, ttl);
	else
		pkt_free(p);
}

bool datagram_input(void *arg, struct pkt *p, const struct ip_in *in, uint16_t sport, uint16_t dport)
{
	struct nat_flow id = {IPPROTO_UDP, in->src, in->dst, sport, dport};
	struct nat *n = arg;
	struct dgram_flow *d = datagram_find(n, &id);

	/* What clients of published ports on the host itself are called is an address of the gateway. */
	if (!d && !ip_is_beyond(n->s, &in->dst))
		return false;
	if (d)
		queue(d, p, in->ttl);
	else
		begin(n, &id, p, in->ttl);
	return true;
}

bool echo_input(void *arg, struct pkt *p, const struct ip_in *in)
{
	struct nat_flow id = {in->protocol, in->src, in->dst, 0, 0};
	struct nat *n = arg;
	struct dgram_flow *d;
	uint16_t ident;

	if (!ip_is_beyond(n->s, &in->dst) || !pkt_copy(p, 4, &ident, sizeof(ident)))
		return false;
	id.sport = ntohs(ident);
	d = datagram_find(n, &id);
	if (d)
		queue(d, p, in->ttl);
	else
		begin(n, &id, p, in->ttl);
	return true;
}

void datagrams_stop(struct nat *n)
{
	struct dgram_flow *d;

	stack_enter(n->s);
	for (int i = 0; i < DGRAM_AGES; i++)
		while ((d = list_first(&n->ages[i], struct dgram_flow, age)))
			kill(d);
	net_timer_cancel(n->s, &n->age_timer);
	stack_leave(n->s);
}
