/*
 * What is said about refused flows: one line each, "refused: pid 12 (curl) to 192.0.2.1:443 (www.example.com): why". At most one a minute for a
 * destination and a reason, and a few a second altogether; how many were not said is.
 *
 * Whose socket it is is looked up in the guest's stack, which cannot be done under the gateway's lock: what happens there is queued and said by the
 * same thread when it leaves that stack.
 */
#pragma once

#include "net/nat/name.h"
#include "net/nat/policy.h"
#include "net/stack/stack.h"

#define REFUSAL_QUEUE 16u
#define REFUSAL_RECENT 64u

struct refusal {
	struct nat_flow flow;
	char name[NAME_MAX_SIZE]; /* "": not known */
	const char *why;          /* a constant; NULL: nothing to add */
	bool question;            /* the name was asked for; flow is that of the query */
};

struct refusals {
	struct stack *guest, *gateway; /* constant; NULL: none */
	struct wakeup wakeup;
	struct refusal queue[REFUSAL_QUEUE]; /* L_EGRESS, and all below */
	unsigned queued;
	struct {
		uint64_t what;
		int64_t at;
	} recent[REFUSAL_RECENT];
	int64_t tokens_at;
	unsigned tokens, unsaid;
	struct mutex lock;
	uint64_t key[2]; /* constant */
};

void refusals_init(struct refusals *r, struct stack *guest, struct stack *gateway, const uint64_t key[2]);
/* With the gateway's lock: later. Without one if there is no gateway. */
void refusal_queue(struct refusals *r, const struct refusal *what, int64_t now) REQUIRES(L_NET);
/* No lock held. */
void refusal_say(struct refusals *r, const struct refusal *what, int64_t now) EXCLUDES(L_NET);

/* refusal_owner.c: "pid 12 (curl)"; "a process that is not known" if the guest's stack does not know the flow any more. */
void refusal_owner(struct stack *guest, const struct nat_flow *f, char *to, size_t size) EXCLUDES(L_NET);
