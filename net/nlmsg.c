/*
 * Netlink messages: see nlmsg.h.
 *
 * A reply grows as long as it is made, up to a bound; what does not fit any more is cut off at a message's beginning, and the reply marked as failed. Of
 * requests, nothing is believed: lengths are checked against what is there, values are copied.
 */
#include "net/nlmsg.h"

#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include "net/stack/addr.h"
#include "sentry/base/slab.h"

#define SIZE_MAX_ALL (8ul << 20)
#define SIZE_FIRST 4096ul

void nlbuf_finish(struct nlbuf *b)
{
	kfree(b->data, b->room);
	b->data = NULL;
	b->size = b->room = 0;
}

/* n bytes more, zeroed. NULL: no room. */
static void *add(struct nlbuf *b, size_t n)
{
	size_t room = MAX(b->room, SIZE_FIRST);
	char *data;

	if (b->failed)
		return NULL;
	while (room < b->size + n)
		room *= 2;
	if (room > b->room) {
		data = room <= SIZE_MAX_ALL ? krealloc(b->data, b->room, room) : NULL;
		if (!data) {
			b->failed = true;
			return NULL;
		}
		b->data = data;
		b->room = room;
	}
	data = b->data + b->size;
	memset(data, 0, n);
	b->size += n;
	return data;
}

size_t nl_begin(struct nlbuf *b, uint16_t type, uint16_t flags, const void *fixed, size_t size)
{
	size_t msg = b->size;
	struct nlmsghdr *h = add(b, NLMSG_SPACE(size));

	if (h) {
		*h = (struct nlmsghdr){(uint32_t)NLMSG_LENGTH(size), type, flags, b->seq, b->port};
		memcpy(NLMSG_DATA(h), fixed, size);
	}
	return msg;
}

void nl_attr(struct nlbuf *b, size_t msg, uint16_t type, const void *data, size_t size)
{
	struct rtattr *a = add(b, RTA_SPACE(size));

	if (!a) {
		b->size = MIN(b->size, msg); /* half a message is none */
		return;
	}
	*a = (struct rtattr){(uint16_t)RTA_LENGTH(size), type};
	memcpy(RTA_DATA(a), data, size);
	((struct nlmsghdr *)(b->data + msg))->nlmsg_len = (uint32_t)(b->size - msg);
}

size_t nl_nest(struct nlbuf *b, size_t msg, uint16_t type)
{
	size_t at = b->size;

	nl_attr(b, msg, type, "", 0);
	return at;
}

size_t nl_bytes(struct nlbuf *b, size_t msg, const void *data, size_t size)
{
	size_t at = b->size;
	void *to = add(b, RTA_ALIGN(size));

	if (to) {
		memcpy(to, data, size);
		((struct nlmsghdr *)(b->data + msg))->nlmsg_len = (uint32_t)(b->size - msg);
	} else {
		b->size = MIN(b->size, msg);
	}
	return at;
}

void nl_nest_end(struct nlbuf *b, size_t nest)
{
	if (!b->failed)
		((struct rtattr *)(b->data + nest))->rta_len = (uint16_t)(b->size - nest);
}

void nl_u32(struct nlbuf *b, size_t msg, uint16_t type, uint32_t v)
{
	nl_attr(b, msg, type, &v, sizeof(v));
}

void nl_u8(struct nlbuf *b, size_t msg, uint16_t type, uint8_t v)
{
	nl_attr(b, msg, type, &v, sizeof(v));
}

void nl_string(struct nlbuf *b, size_t msg, uint16_t type, const char *text)
{
	nl_attr(b, msg, type, text, strlen(text) + 1);
}

void nl_addr(struct nlbuf *b, size_t msg, uint16_t type, const struct in6_addr *a)
{
	if (addr_is_v4(a))
		nl_u32(b, msg, type, addr_v4(a));
	else
		nl_attr(b, msg, type, a, sizeof(*a));
}

static uint16_t tlv_flag(const struct nlbuf *b, int err)
{
	return err && b->why && b->ext_ack ? NLM_F_ACK_TLVS : 0;
}

static void put_why(struct nlbuf *b, size_t msg, int err)
{
	if (tlv_flag(b, err))
		nl_string(b, msg, NLMSGERR_ATTR_MSG, b->why);
}

void nl_error(struct nlbuf *b, const struct nlreq *r, int err)
{
	struct nlmsgerr e = {err, *r->h};
	bool whole = err && !r->capped;
	uint16_t flags = (uint16_t)((whole ? 0 : NLM_F_CAPPED) | tlv_flag(b, err));
	size_t msg = nl_begin(b, NLMSG_ERROR, flags, &e, sizeof(e));

	if (whole && r->size)
		nl_bytes(b, msg, r->data, r->size);
	put_why(b, msg, err);
}

void nl_done(struct nlbuf *b, int err)
{
	size_t msg = nl_begin(b, NLMSG_DONE, (uint16_t)(NLM_F_MULTI | tlv_flag(b, err)), &err, sizeof(err));

	put_why(b, msg, err);
}

void nl_raw(struct nlbuf *b, const void *data, size_t size)
{
	char *to = add(b, size);

	b->raw = true;
	if (to)
		memcpy(to, data, size);
}

/* ---- requests ---- */

bool nl_fixed(const struct nlreq *r, void *to, size_t size)
{
	if (r->size < size)
		return false;
	memcpy(to, r->data, size);
	return true;
}

const char *nl_find(const struct nlreq *r, size_t fixed, uint16_t type, size_t least, size_t *ret_size)
{
	size_t at = NLMSG_ALIGN(fixed);

	while (r->size >= at + sizeof(struct rtattr)) {
		struct rtattr a;

		memcpy(&a, r->data + at, sizeof(a));
		if (a.rta_len < sizeof(a) || a.rta_len > r->size - at)
			break;
		if ((a.rta_type & NLA_TYPE_MASK) == type && a.rta_len - sizeof(a) >= least) {
			*ret_size = a.rta_len - sizeof(a);
			return r->data + at + sizeof(a);
		}
		at += MIN(RTA_ALIGN(a.rta_len), r->size - at);
	}
	return NULL;
}

bool nl_find_u32(const struct nlreq *r, size_t fixed, uint16_t type, uint32_t *ret)
{
	size_t size;
	const char *data = nl_find(r, fixed, type, sizeof(*ret), &size);

	if (data)
		memcpy(ret, data, sizeof(*ret));
	return data;
}

bool nl_find_addr(const struct nlreq *r, size_t fixed, uint16_t type, int family, struct in6_addr *ret)
{
	size_t want = family == AF_INET ? 4 : sizeof(*ret), size;
	const char *data = nl_find(r, fixed, type, want, &size);
	uint32_t v4;

	if (!data)
		return false;
	if (family == AF_INET6) {
		memcpy(ret, data, sizeof(*ret));
	} else {
		memcpy(&v4, data, sizeof(v4));
		*ret = addr_from_v4(v4);
	}
	return true;
}
