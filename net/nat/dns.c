/*
 * The gateway's resolver: see dns.h.
 *
 * It keeps no cache and changes nothing that it need not: an answer goes back as it came, under the client's identifier. With a policy a question goes
 * out only as name, type and class, so that it carries nothing else, and an answer comes back without what dns_filter() leaves out. A name that is
 * not allowed does not exist: NXDOMAIN is what makes getaddrinfo() fail at once in every libc, while REFUSED is asked for again by glibc and waited out by
 * musl. Records of HTTPS and SVCB are answered with none. localhost is answered here (RFC 6761). Zone transfers are not passed on.
 *
 * Everything is under the gateway's L_NET. What is pending is bounded, as are connections and what they have asked at a time: who asks for more by UDP is
 * told SERVFAIL, by TCP he waits. A question that a client sends again while it is pending is the same one.
 */
#include "net/nat/dns_priv.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "net/nat/egress.h"
#include "net/stack/addr.h"
#include "sentry/base/clock.h"
#include "sentry/base/log.h"
#include "sentry/base/slab.h"

#define COMPLAINT_NS (30 * NSEC_PER_SEC)

static struct slab dns_slab = SLAB_INIT(struct dns);
static struct slab question_slab = SLAB_INIT(struct dns_question);

/* ---- answers to clients ---- */

static void answer_datagram(struct dns *d, const struct dns_client *c, const uint8_t *msg, size_t n) REQUIRES(L_NET)
{
	struct dgram_to to = {.addr = c->addr, .port = c->port, .ttl = -1, .tos = -1};
	struct buf *b = buf_create((uint32_t)n);
	struct pkt *p = b ? pkt_create() : NULL;

	if (p) {
		memcpy(b->data, msg, n);
		b->used = (uint32_t)n;
		if (!pkt_append(p, b, 0, (uint32_t)n))
			pkt_free(take(p));
	}
	/* Lost, as on the way. */
	if (p && udp_send(d->stack, &d->at[c->at].udp, p, &to))
		mib_add(d->stack, MIB_UDP_SNDBUF_ERRORS, 1);
	if (b)
		buf_put(b);
}

static void answer(struct dns *d, const struct dns_client *c, const uint8_t *msg, size_t n) REQUIRES(L_NET)
{
	if (!n)
		return;
	if (c->conn)
		dns_conn_answer(c->conn, msg, n);
	else
		answer_datagram(d, c, msg, n);
}

static void answer_code(struct dns *d, const struct dns_client *c, const struct dns_query *q, enum dns_rcode rcode)
    REQUIRES(L_NET)
{
	answer(d, c, d->out, dns_reply_build(q, rcode, NULL, false, d->out, sizeof(d->out)));
}

static void answer_localhost(struct dns *d, const struct dns_client *c, const struct dns_query *q) REQUIRES(L_NET)
{
	const struct in6_addr v4 = addr_from_v4(htonl(INADDR_LOOPBACK));
	const struct in6_addr *addr = q->type == DNS_A ? &v4 : q->type == DNS_AAAA ? &in6addr_loopback : NULL;

	answer(d, c, d->out, dns_reply_build(q, DNS_NOERROR, addr, false, d->out, sizeof(d->out)));
}

/* ---- questions on their way ---- */

static struct dns_question *question_of(struct dns_exchange *x)
{
	return container_of(x, struct dns_question, x);
}

static void question_free(struct dns_exchange *x)
{
	slab_free(&question_slab, question_of(x));
}

static void question_end(struct dns_question *q) REQUIRES(L_NET)
{
	list_remove(&q->link);
	q->d->count--;
	dns_exchange_put(&q->x);
}

void dns_forget(struct dns *d, const struct dns_conn *conn)
{
	struct dns_question *q, *next;

	list_for_each_safe(q, next, &d->questions, link) {
		if (q->client.conn != conn)
			continue;
		dns_exchange_cancel(&q->x);
		question_end(q);
	}
}

static bool learn(void *arg, const struct in6_addr *addr, uint32_t ttl)
{
	const struct dns_question *q = arg;

	return policy_learn(q->d->policy, q->name, addr, ttl);
}

static void complain(struct dns *d, const struct dns_exchange *x) REQUIRES(L_NET)
{
	char text[256] = "", addr[INET6_ADDRSTRLEN];
	size_t n = 0;

	if (d->complained && stack_now(d->stack) - d->complained < COMPLAINT_NS)
		return;
	d->complained = stack_now(d->stack);
	for (unsigned i = 0; i < d->config.server_count && n < sizeof(text); i++) {
		const struct in6_addr *a = &d->config.servers[i].addr;
		bool v4 = addr_is_v4(a);

		inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a->s6_addr + 12 : a->s6_addr, addr, sizeof(addr));
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s (%s)", n ? ", " : "", addr,
				      x->err[i] ? strerror(-x->err[i]) : "not asked");
	}
	log_warn("no resolver of this machine answers: %s", n ? text : "it has none");
}

static size_t sieve_answer(struct dns_question *q, const uint8_t *msg, size_t n) REQUIRES(L_NET)
{
	struct dns_sieve sieve = {.address = learn, .arg = q};
	size_t room = q->client.conn ? sizeof(q->d->out) : MIN(q->x.q.udp_size, sizeof(q->d->out));

	return dns_filter(&q->x.q, msg, n, &sieve, q->d->out, room);
}

static size_t copy_answer(struct dns_question *q, const uint8_t *msg, size_t n) REQUIRES(L_NET)
{
	uint8_t *out = q->d->out;

	memcpy(out, msg, n);
	dns_set_id(out, q->x.q.id);
	return q->client.conn ? n : dns_truncate(&q->x.q, out, n);
}

static void done(struct dns_exchange *x, const uint8_t *msg, size_t n) REQUIRES(L_NET)
{
	struct dns_question *q = question_of(x);
	struct dns *d = q->d;
	struct dns_client client = q->client;
	struct dns_query query = x->q;

	if (!msg)
		complain(d, x);
	else
		n = d->policy ? sieve_answer(q, msg, n) : copy_answer(q, msg, n);
	question_end(q);
	if (msg && n)
		answer(d, &client, d->out, n);
	else
		answer_code(d, &client, &query, DNS_SERVFAIL);
}

static bool is_pending(const struct dns *d, const struct dns_client *c, uint16_t id) REQUIRES(L_NET)
{
	const struct dns_question *q;

	if (c->conn)
		return false;
	list_for_each(q, &d->questions, link)
		if (!q->client.conn && q->x.q.id == id && q->client.port == c->port &&
		    addr_eq(&q->client.addr, &c->addr))
			return true;
	return false;
}

static struct dns_question *question_create(struct dns *d, const struct dns_client *c, const struct dns_query *query)
    REQUIRES(L_NET)
{
	struct dns_question *q = d->count < DNS_QUESTIONS_MAX ? slab_alloc(&question_slab) : NULL;

	if (!q)
		return NULL;
	q->d = d;
	q->client = *c;
	q->x.stack = d->stack;
	q->x.config = &d->config;
	q->x.q = *query;
	q->x.tcp = c->conn;
	q->x.scratch = d->scratch;
	q->x.done = done;
	q->x.free = question_free;
	list_append(&d->questions, &q->link);
	d->count++;
	return q;
}

static unsigned first_server(struct dns *d) REQUIRES(L_NET)
{
	return d->config.rotate && d->config.server_count ? d->turn++ % d->config.server_count : 0;
}

static void forward(struct dns *d, const struct dns_client *c, const struct dns_query *query, const char *name,
		    const uint8_t *msg, size_t n) REQUIRES(L_NET)
{
	struct dns_question *q;

	if (is_pending(d, c, query->id))
		return;
	q = question_create(d, c, query);
	if (q && d->policy) {
		strcpy(q->name, name);
		n = dns_query_build(query, 0, d->out, sizeof(d->out));
		msg = d->out;
	}
	if (!q || dns_exchange_start(&q->x, first_server(d), msg, n)) {
		if (q)
			question_end(q);
		answer_code(d, c, query, DNS_SERVFAIL);
	}
}

/* ---- questions from clients ---- */

static void refuse(struct dns *d, const struct dns_client *c, const struct dns_query *q, const char *name)
    REQUIRES(L_NET)
{
	struct nat_flow f = {.protocol = c->conn ? IPPROTO_TCP : IPPROTO_UDP,
			     .src = c->addr,
			     .dst = d->at[c->at].addr,
			     .sport = c->port,
			     .dport = DNS_PORT};

	policy_refuse_name(d->policy, &f, *name ? name : "(not a host's)");
	answer(d, c, d->out, dns_reply_build(q, DNS_NXDOMAIN, NULL, true, d->out, sizeof(d->out)));
}

void dns_ask(struct dns *d, const struct dns_client *c, const uint8_t *msg, size_t n)
{
	char name[NAME_MAX_SIZE];
	struct dns_query q;
	int code = dns_query_parse(msg, n, &q);

	if (code < 0)
		return;
	if (code == DNS_NOERROR && (q.type == DNS_AXFR || q.type == DNS_IXFR || (d->policy && q.class != 1)))
		code = DNS_NOTIMP;
	if (code != DNS_NOERROR) {
		answer_code(d, c, &q, (enum dns_rcode)code);
		return;
	}
	if (!dns_name_text(&q.name, name))
		name[0] = 0;
	if (name_is_localhost(name))
		answer_localhost(d, c, &q);
	else if (d->policy && (!*name || !policy_asks(d->policy, name)))
		refuse(d, c, &q, name);
	else if (d->policy && (q.type == DNS_SVCB || q.type == DNS_HTTPS))
		answer_code(d, c, &q, DNS_NOERROR);
	else
		forward(d, c, &q, name, msg, n);
}

static void read_query(struct dns *d, unsigned at, struct pkt *p) REQUIRES(L_NET)
{
	struct dns_client c = {.addr = p->info.src, .port = p->info.sport, .at = at};
	size_t n = p->len;

	if (n <= sizeof(d->scratch) && pkt_copy(p, 0, d->scratch, n))
		dns_ask(d, &c, d->scratch, n);
	pkt_free(p);
}

/* ---- where it listens ---- */

static void hold(struct wakeup *w __unused)
{
}

static void deliver(struct wakeup *w, uint32_t events __unused)
{
	struct dns_at *at = container_of(w, struct dns_at, udp.d.wakeup);
	struct dns *d = at->d;
	struct pkt *p;

	stack_enter(d->stack);
	while ((p = dgram_take(&at->udp.d, false)))
		read_query(d, (unsigned)(at - d->at), p);
	stack_leave(d->stack);
}

int dns_listen(struct dns *d, const struct in6_addr *addr)
{
	struct dns_at *at = &d->at[d->at_count];
	int err;

	if (d->at_count == ARRAY_SIZE(d->at))
		return -ENOSPC;
	at->d = d;
	at->addr = *addr;
	udp_init(&at->udp, !addr_is_v4(addr));
	at->udp.d.rcvbuf = DNS_QUEUE_BYTES;
	at->udp.d.wakeup.hold = hold;
	at->udp.d.wakeup.deliver = deliver;
	err = udp_bind(d->stack, &at->udp, addr, DNS_PORT, 0);
	if (!err)
		err = dns_listen_stream(at);
	if (err)
		udp_close(d->stack, &at->udp);
	else
		d->at_count++;
	return err;
}

struct dns *dns_create(struct stack *gateway, const struct dns_config *config, struct policy *policy)
{
	struct dns *d = slab_alloc(&dns_slab);

	if (!d)
		return NULL;
	d->stack = gateway;
	d->config = *config;
	d->policy = policy;
	list_init(&d->questions);
	return d;
}
