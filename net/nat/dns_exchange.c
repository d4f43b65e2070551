/*
 * Questions to the host's resolvers: see dns_exchange.h.
 *
 * A socket is the host's, connected, so that the host drops what comes from elsewhere and tells of a port where nobody is. The thread that watches it
 * has a reference while it calls ready(), and finds fd < 0 if the try has ended meanwhile. A resolver that answers that it cannot (SERVFAIL,
 * NOTIMP, REFUSED) is believed when all have been asked. The first round waits two seconds for each at most, since the client is
 * waiting too; later ones wait longer.
 */
#include "net/nat/dns_exchange.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/stack/addr.h"
#include "sentry/base/clock.h"
#include "sentry/base/slab.h"

#define WAIT_FIRST 2u /* s */
#define WAIT_TCP 5u
#define WRONG_MAX 64u /* somebody guesses */
#define LENGTH 2u

static struct dns_exchange *of_watched(struct watched *w)
{
	return container_of(w, struct dns_exchange, w);
}

static void get(struct watched *w)
{
	ref_get(&of_watched(w)->ref);
}

void dns_exchange_put(struct dns_exchange *x)
{
	if (!ref_put(&x->ref))
		return;
	kfree(x->out, x->out_size);
	kfree(x->in, x->in_size);
	x->free(x);
}

static void put(struct watched *w)
{
	dns_exchange_put(of_watched(w));
}

/* ---- one try ---- */

static void end_try(struct dns_exchange *x) REQUIRES(L_NET)
{
	net_timer_cancel(x->stack, &x->timer);
	kfree(x->in, x->in_size);
	x->in = NULL;
	x->in_size = x->have = x->sent = 0;
	x->wrong = 0;
	if (x->w.fd < 0)
		return;
	watch_remove(&x->w);
	close(x->w.fd);
	x->w.fd = -1;
}

static int open_socket(const struct dns_server *to, bool tcp)
{
	bool v4 = addr_is_v4(&to->addr);
	struct sockaddr_in6 sa6 = {
	    .sin6_family = AF_INET6, .sin6_port = htons(to->port), .sin6_addr = to->addr, .sin6_scope_id = to->scope};
	struct sockaddr_in sa = {
	    .sin_family = AF_INET, .sin_port = htons(to->port), .sin_addr = {v4 ? addr_v4(&to->addr) : 0}};
	int type = (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
	int fd = socket(v4 ? AF_INET : AF_INET6, type, 0), err;

	if (fd < 0)
		return -errno;
	if (connect(fd, v4 ? (void *)&sa : (void *)&sa6, v4 ? sizeof(sa) : sizeof(sa6)) == 0 || errno == EINPROGRESS)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* What is left of the question. 0, also if not all has gone; -errno. */
static int send_rest(struct dns_exchange *x) REQUIRES(L_NET)
{
	size_t from = x->tcp ? 0 : LENGTH;

	while (from + x->sent < x->out_size) {
		ssize_t n = sendto(x->w.fd, x->out + from + x->sent, x->out_size - from - x->sent,
				   MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);

		if (n < 0)
			return errno == EAGAIN || errno == ENOTCONN ? 0 : -errno;
		x->sent += (size_t)n;
	}
	return 0;
}

static unsigned seconds(const struct dns_exchange *x)
{
	unsigned round = x->tries / x->config->server_count;

	if (x->tcp)
		return WAIT_TCP;
	return MIN(x->config->timeout, WAIT_FIRST) * (round + 1);
}

static int begin_try(struct dns_exchange *x, const struct dns_server *to) REQUIRES(L_NET)
{
	int err;

	x->id = (uint16_t)stack_random32(x->stack);
	dns_set_id(x->out + LENGTH, x->id);
	x->w.fd = open_socket(to, x->tcp);
	if (x->w.fd < 0)
		return x->w.fd;
	err = watch_add(&x->w, x->tcp ? EPOLLIN | EPOLLOUT : EPOLLIN);
	if (!err && !x->tcp)
		err = send_rest(x);
	net_timer_arm(x->stack, &x->timer, stack_now(x->stack) + seconds(x) * NSEC_PER_SEC);
	return err;
}

static void finish(struct dns_exchange *x, const uint8_t *answer, size_t n) REQUIRES(L_NET)
{
	end_try(x);
	x->done(x, answer, n);
}

/* why: -errno of the try before; 0: there was none. */
static void next_try(struct dns_exchange *x, int why) REQUIRES(L_NET)
{
	unsigned count = x->config->server_count, last = count * MAX(x->config->attempts, 1u), server;

	do {
		end_try(x);
		if (why) {
			x->err[(x->first + x->tries) % count] = why;
			x->tries++;
		}
		if (x->tries >= last) {
			finish(x, NULL, 0);
			return;
		}
		server = (x->first + x->tries) % count;
		why = begin_try(x, &x->config->servers[server]);
	} while (why);
}

static void expire(struct stack *s __unused, struct net_timer *t) REQUIRES(L_NET)
{
	next_try(container_of(t, struct dns_exchange, timer), -ETIMEDOUT);
}

/* ---- answers ---- */

static bool cannot(enum dns_rcode rcode)
{
	return rcode == DNS_SERVFAIL || rcode == DNS_NOTIMP || rcode == DNS_REFUSED;
}

/* True: the try has ended. */
static bool take_answer(struct dns_exchange *x, const uint8_t *msg, size_t n) REQUIRES(L_NET)
{
	if (!dns_is_answer(&x->q, x->id, msg, n))
		return false;
	if (cannot(dns_rcode(msg)) && x->tries + 1 < x->config->server_count)
		next_try(x, -ECONNREFUSED);
	else
		finish(x, msg, n);
	return true;
}

static void read_datagrams(struct dns_exchange *x) REQUIRES(L_NET)
{
	ssize_t n;

	for (;;) {
		n = recvfrom(x->w.fd, x->scratch, DNS_MESSAGE_MAX, MSG_DONTWAIT, NULL, NULL);
		if (n < 0)
			break;
		if (take_answer(x, x->scratch, (size_t)n))
			return;
		if (++x->wrong == WRONG_MAX) {
			next_try(x, -EBADMSG);
			return;
		}
	}
	if (errno != EAGAIN && errno != EINTR)
		next_try(x, -errno);
}

/* Up to `size` bytes at to, of which x->have are there. 1: all; 0: not yet; -errno. */
static int fill(struct dns_exchange *x, uint8_t *to, size_t size) REQUIRES(L_NET)
{
	while (x->have < size) {
		ssize_t n = recvfrom(x->w.fd, to + x->have, size - x->have, MSG_DONTWAIT, NULL, NULL);

		if (n == 0)
			return -ECONNRESET;
		if (n < 0)
			return errno == EAGAIN || errno == ENOTCONN ? 0 : -errno;
		x->have += (size_t)n;
	}
	return 1;
}

static int read_stream(struct dns_exchange *x) REQUIRES(L_NET)
{
	int r;

	if (!x->in) {
		r = fill(x, x->in_head, LENGTH);
		if (r <= 0)
			return r;
		x->in_size = (size_t)x->in_head[0] << 8 | x->in_head[1];
		x->in = x->in_size ? kalloc(x->in_size) : NULL;
		if (!x->in)
			return x->in_size ? -ENOMEM : -EBADMSG;
		x->have = 0;
	}
	return fill(x, x->in, x->in_size);
}

static void go_on_stream(struct dns_exchange *x) REQUIRES(L_NET)
{
	size_t n;
	int r = send_rest(x);

	r = r ? r : read_stream(x);
	if (r < 0) {
		next_try(x, r);
	} else if (r) {
		n = x->in_size;
		memcpy(x->scratch, x->in, n);
		if (!take_answer(x, x->scratch, n))
			next_try(x, -EBADMSG);
	}
}

static void ready(struct watched *w, uint32_t events __unused)
{
	struct dns_exchange *x = of_watched(w);

	stack_enter(x->stack);
	if (w->fd >= 0) {
		if (x->tcp)
			go_on_stream(x);
		else
			read_datagrams(x);
	}
	stack_leave(x->stack);
}

int dns_exchange_start(struct dns_exchange *x, unsigned first, const uint8_t *msg, size_t n)
{
	ref_init(&x->ref);
	x->w = (struct watched){.fd = -1, .ready = ready, .get = get, .put = put};
	net_timer_init(&x->timer, expire);
	x->first = first;
	x->out_size = LENGTH + n;
	x->out = kalloc(x->out_size);
	if (!x->out)
		return -ENOMEM;
	x->out[0] = (uint8_t)(n >> 8);
	x->out[1] = (uint8_t)n;
	memcpy(x->out + LENGTH, msg, n);
	if (x->config->server_count)
		next_try(x, 0);
	else
		finish(x, NULL, 0);
	return 0;
}

void dns_exchange_cancel(struct dns_exchange *x)
{
	end_try(x);
}
