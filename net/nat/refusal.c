/* Lines about refused flows: see refusal.h. */
#include "net/nat/refusal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "net/stack/addr.h"
#include "net/stack/siphash.h"
#include "sentry/base/clock.h"
#include "sentry/base/log.h"

#define SILENCE (60 * NSEC_PER_SEC) /* about one destination */
#define TOKENS_MAX 30u
#define TOKEN_NS (NSEC_PER_SEC / 3)

static void format_destination(const struct nat_flow *f, char *to, size_t size)
{
	bool v4 = addr_is_v4(&f->dst), port = f->protocol == IPPROTO_TCP || f->protocol == IPPROTO_UDP;
	char addr[INET6_ADDRSTRLEN];
	const char *protocol = f->protocol == IPPROTO_TCP ? "" : f->protocol == IPPROTO_UDP ? "/udp" : "/icmp";

	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? f->dst.s6_addr + 12 : f->dst.s6_addr, addr, sizeof(addr));
	if (port)
		snprintf(to, size, v4 ? "%s:%u%s" : "[%s]:%u%s", addr, f->dport, protocol);
	else
		snprintf(to, size, "%s%s", addr, protocol);
}

static void say(struct refusals *r, const struct refusal *w, unsigned unsaid)
{
	char owner[64], to[80];

	refusal_owner(r->guest, &w->flow, owner, sizeof(owner));
	format_destination(&w->flow, to, sizeof(to));
	if (unsaid)
		log_warn("refused: %u more, which are not listed", unsaid);
	if (w->question)
		log_warn("refused: %s asks for the name %s, which no --allow-net allows", owner, w->name);
	else
		log_warn("refused: %s to %s%s%s%s%s%s", owner, to, *w->name ? " (" : "", w->name, *w->name ? ")" : "",
			 w->why ? ": " : "", w->why ? w->why : "");
}

static uint64_t digest(const struct refusals *r, const struct refusal *w)
{
	struct {
		struct in6_addr dst;
		uint64_t name, why;
		uint16_t dport;
		uint8_t protocol, question;
		uint32_t zero;
	} of = {.dst = w->flow.dst, .dport = w->flow.dport, .protocol = w->flow.protocol, .question = w->question};

	of.name = siphash(r->key, w->name, strlen(w->name));
	of.why = (uintptr_t)w->why;
	return siphash(r->key, &of, sizeof(of));
}

/* Whether it is said. *ret_unsaid: others that have not been, of which nothing has been said yet. */
static bool admit(struct refusals *r, const struct refusal *w, int64_t now, unsigned *ret_unsaid) REQUIRES(L_EGRESS)
{
	uint64_t what = digest(r, w);
	unsigned i = what % REFUSAL_RECENT;
	int64_t more = (now - r->tokens_at) / TOKEN_NS;

	if (r->recent[i].what == what && now - r->recent[i].at < SILENCE)
		return false;
	r->tokens = (unsigned)MIN((int64_t)r->tokens + more, (int64_t)TOKENS_MAX);
	r->tokens_at += more * TOKEN_NS;
	if (!r->tokens) {
		r->unsaid++;
		return false;
	}
	r->tokens--;
	r->recent[i].what = what;
	r->recent[i].at = now;
	*ret_unsaid = r->unsaid;
	r->unsaid = 0;
	return true;
}

void refusal_say(struct refusals *r, const struct refusal *what, int64_t now)
{
	unsigned unsaid = 0;
	bool admitted;

	mutex_lock(&r->lock, L_EGRESS);
	admitted = admit(r, what, now, &unsaid);
	mutex_unlock(&r->lock, L_EGRESS);
	if (admitted)
		say(r, what, unsaid);
}

static bool next(struct refusals *r, struct refusal *ret, unsigned *ret_unsaid)
{
	bool any;

	mutex_lock(&r->lock, L_EGRESS);
	any = r->queued != 0;
	if (any) {
		*ret = r->queue[0];
		memmove(r->queue, r->queue + 1, --r->queued * sizeof(*ret));
		*ret_unsaid = r->unsaid;
		r->unsaid = 0;
	}
	mutex_unlock(&r->lock, L_EGRESS);
	return any;
}

static void deliver(struct wakeup *w, uint32_t events __unused)
{
	struct refusals *r = container_of(w, struct refusals, wakeup);
	struct refusal what;
	unsigned unsaid;

	while (next(r, &what, &unsaid))
		say(r, &what, unsaid);
}

void refusal_queue(struct refusals *r, const struct refusal *what, int64_t now)
{
	unsigned unsaid = 0;

	mutex_lock(&r->lock, L_EGRESS);
	if (r->queued == REFUSAL_QUEUE)
		r->unsaid++;
	else if (admit(r, what, now, &unsaid)) {
		r->queue[r->queued++] = *what;
		r->unsaid += unsaid;
	}
	mutex_unlock(&r->lock, L_EGRESS);
	if (r->gateway)
		stack_wake(r->gateway, &r->wakeup, 1);
	else
		deliver(&r->wakeup, 1);
}

/* It lives as long as the gateway. */
static void hold(struct wakeup *w __unused)
{
}

void refusals_init(struct refusals *r, struct stack *guest, struct stack *gateway, const uint64_t key[2])
{
	r->guest = guest;
	r->gateway = gateway;
	r->wakeup = (struct wakeup){.deliver = deliver, .hold = hold};
	list_init(&r->wakeup.link);
	mutex_init(&r->lock);
	r->tokens = TOKENS_MAX;
	memcpy(r->key, key, sizeof(r->key));
}
