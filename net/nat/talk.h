/*
 * A flow whose guest must say whom it means, from its first bytes to where nothing can be said any more: what is in the guest's next bytes, and how many
 * of them may go. See talk.c.
 */
#pragma once

#include "net/nat/peek.h"
#include "net/nat/policy.h"

/* The guest's next bytes, at least one. PEEK_OK: *ret has whom it wants, or ->nobody; to be judged, and passed to talk_allow(). */
enum peek talk_peek(const struct nat_talk *t, const uint8_t *bytes, size_t n, struct peeked *ret);
/* They are allowed: t->clear of them. free: behind CONNECT everything is. */
void talk_allow(struct nat_talk *t, const struct peeked *seen, bool free);
void talk_listen(struct nat_talk *t, const uint8_t *bytes, size_t n);
