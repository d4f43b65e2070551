/*
 * DNS by TCP, RFC 7766: a client's connection to the gateway's resolver. Questions may follow each other without waiting for answers, which come back in
 * the order in which they are known. A client that reads no answers, sends none of its question for long, or has nothing to ask any more is left.
 */
#include "net/nat/dns_priv.h"

#include <poll.h>
#include <string.h>

#include "net/stack/addr.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"

#define IDLE_NS (30 * NSEC_PER_SEC)
#define BACKLOG 32
#define LENGTH 2u

struct dns_conn {
	struct ref ref; /* of the resolver, and of who wakes it */
	struct dns *d;
	struct dns_client client;
	struct tcp_sock *tp; /* NULL: closed */
	struct wakeup wakeup;
	struct net_timer idle;
	unsigned pending; /* questions */
	bool ended;       /* the client sends no more */
	bool busy;        /* ask_all() runs */
	size_t have;
	uint8_t in[LENGTH + DNS_QUERY_MAX];
};

static struct slab conn_slab = SLAB_INIT(struct dns_conn);

static void conn_put(struct dns_conn *c)
{
	if (ref_put(&c->ref))
		slab_free(&conn_slab, c);
}

static void conn_close(struct dns_conn *c, bool abort) REQUIRES(L_NET)
{
	if (!c->tp)
		return;
	net_timer_cancel(c->d->stack, &c->idle);
	tcp_close(c->tp, abort);
	tcp_release(take(c->tp));
	dns_forget(c->d, c);
	c->d->conn_count--;
	conn_put(c);
}

static void idle(struct stack *s __unused, struct net_timer *t) REQUIRES(L_NET)
{
	conn_close(container_of(t, struct dns_conn, idle), false);
}

static void touch(struct dns_conn *c) REQUIRES(L_NET)
{
	net_timer_arm(c->d->stack, &c->idle, stack_now(c->d->stack) + IDLE_NS);
}

/* ---- reading ---- */

/* Bytes that came: > 0; 0: the end; -EAGAIN; -errno. */
static ssize_t receive(struct dns_conn *c) REQUIRES(L_NET)
{
	struct slice slices[4];
	unsigned count = ARRAY_SIZE(slices);
	size_t room = sizeof(c->in) - c->have;
	ssize_t n = room ? tcp_recv(c->tp, slices, &count, room, 0, 0) : -EAGAIN;

	for (unsigned i = 0; n > 0 && i < count; i++) {
		memcpy(c->in + c->have, slices[i].buf->data + slices[i].off, slices[i].len);
		c->have += slices[i].len;
		buf_put(slices[i].buf);
	}
	return n;
}

/* The first question, if it is whole. False: there is none, or the connection is closed since it is too long. */
static bool ask_one(struct dns_conn *c) REQUIRES(L_NET)
{
	size_t n = (size_t)c->in[0] << 8 | c->in[1];

	if (c->have < LENGTH || c->pending == DNS_CONN_QUESTIONS_MAX)
		return false;
	if (n > DNS_QUERY_MAX || n < DNS_HEAD) {
		conn_close(c, true);
		return false;
	}
	if (c->have < LENGTH + n)
		return false;
	memcpy(c->d->scratch, c->in + LENGTH, n);
	c->have -= LENGTH + n;
	memmove(c->in, c->in + LENGTH + n, c->have);
	/* A response is no question, and is never answered. */
	if (!(c->d->scratch[2] & 0x80)) {
		c->pending++;
		dns_ask(c->d, &c->client, c->d->scratch, n);
	}
	return true;
}

static void ask_all(struct dns_conn *c) REQUIRES(L_NET)
{
	ssize_t n = -EAGAIN;

	if (c->busy)
		return;
	c->busy = true;
	do {
		while (c->tp && ask_one(c))
			touch(c);
		if (c->tp && !c->ended)
			n = receive(c);
	} while (c->tp && n > 0 && !c->ended);
	c->busy = false;
	if (n == 0)
		c->ended = true;
	if (c->tp && ((n < 0 && n != -EAGAIN) || (c->ended && !c->pending)))
		conn_close(c, n < 0 && n != -EAGAIN);
}

/* ---- answering ---- */

void dns_conn_answer(struct dns_conn *c, const uint8_t *msg, size_t n)
{
	struct buf *b = c->tp && tcp_send_room(c->tp) > 0 ? buf_create((uint32_t)(LENGTH + n)) : NULL;
	struct slice s = {.buf = b, .len = (uint32_t)(LENGTH + n)};

	c->pending--;
	if (!c->tp)
		return;
	if (b) {
		b->data[0] = (uint8_t)(n >> 8);
		b->data[1] = (uint8_t)n;
		memcpy(b->data + LENGTH, msg, n);
		b->used = s.len;
	}
	if (!b || tcp_send(c->tp, &s, 1, 0) < 0) {
		conn_close(c, true);
		return;
	}
	touch(c);
	/* There is room for one more. */
	ref_get(&c->ref);
	ask_all(c);
	conn_put(c);
}

/* ---- accepting ---- */

static struct dns_conn *of_wakeup(struct wakeup *w)
{
	return container_of(w, struct dns_conn, wakeup);
}

static void hold(struct wakeup *w)
{
	ref_get(&of_wakeup(w)->ref);
}

static void deliver(struct wakeup *w, uint32_t events __unused)
{
	struct dns_conn *c = of_wakeup(w);
	struct stack *s = c->d->stack;

	stack_enter(s);
	if (c->tp)
		ask_all(c);
	stack_leave(s);
	conn_put(c);
}

static void conn_create(struct dns_at *at, struct tcp_sock *tp) REQUIRES(L_NET)
{
	struct dns *d = at->d;
	struct dns_conn *c = d->conn_count < DNS_CONNS_MAX ? slab_alloc(&conn_slab) : NULL;

	if (!c) {
		tcp_close(tp, true);
		tcp_release(tp);
		return;
	}
	ref_init(&c->ref);
	c->d = d;
	c->client = (struct dns_client){c, tp->ep.key.raddr, tp->ep.key.rport, (unsigned)(at - d->at)};
	c->tp = tp;
	c->wakeup = (struct wakeup){.hold = hold, .deliver = deliver};
	list_init(&c->wakeup.link);
	net_timer_init(&c->idle, idle);
	tp->owner = c;
	tp->wakeup = &c->wakeup;
	d->conn_count++;
	touch(c);
	/* What came before there was somebody to wake. */
	stack_wake(d->stack, &c->wakeup, POLLIN);
}

static void hold_listener(struct wakeup *w __unused)
{
}

static void accept_all(struct wakeup *w, uint32_t events __unused)
{
	struct dns_at *at = container_of(w, struct dns_at, tcp_wakeup);
	struct tcp_sock *tp;

	stack_enter(at->d->stack);
	while (tcp_accept(at->tcp, &tp) == 0)
		conn_create(at, tp);
	stack_leave(at->d->stack);
}

int dns_listen_stream(struct dns_at *at)
{
	struct tcp_sock *tp = tcp_create(at->d->stack, !addr_is_v4(&at->addr));
	int err;

	if (!tp)
		return -ENOMEM;
	err = tcp_bind(tp, &at->addr, DNS_PORT);
	if (!err)
		err = tcp_listen(tp, BACKLOG);
	if (err) {
		tcp_close(tp, true);
		tcp_release(tp);
		return err;
	}
	at->tcp = tp;
	at->tcp_wakeup = (struct wakeup){.hold = hold_listener, .deliver = accept_all};
	list_init(&at->tcp_wakeup.link);
	tp->owner = at;
	tp->wakeup = &at->tcp_wakeup;
	return 0;
}
