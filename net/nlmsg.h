/* Netlink messages: making replies, reading requests. netlink(3), rtnetlink(3). */
#pragma once

#include <linux/netlink.h>
#include <string.h>

#include "sentry/base/types.h"

struct in6_addr;
struct netns;

/* Messages in the making, one behind the other; grows. Zeroed at first. */
struct nlbuf {
	char *data;
	size_t size, room;
	bool raw;    /* one datagram, as it is */
	bool failed; /* no memory, or more than there may be: what is there is whole messages */
	uint32_t seq, port;
	const char *why; /* in words, for who asked for that: of an error, NETLINK_EXT_ACK */
	bool ext_ack;
};

void nlbuf_finish(struct nlbuf *b);
/* Begins a message with its fixed part. Returns where it begins, for nl_attr(). */
size_t nl_begin(struct nlbuf *b, uint16_t type, uint16_t flags, const void *fixed, size_t size);
void nl_attr(struct nlbuf *b, size_t msg, uint16_t type, const void *data, size_t size);
/* An attribute that holds others: what comes until nl_nest_end(), which is told what nl_nest() gave. */
size_t nl_nest(struct nlbuf *b, size_t msg, uint16_t type);
void nl_nest_end(struct nlbuf *b, size_t nest);
/* What is like an attribute without one's head: its first two bytes are its length, for nl_nest_end(). */
size_t nl_bytes(struct nlbuf *b, size_t msg, const void *data, size_t size);
void nl_u32(struct nlbuf *b, size_t msg, uint16_t type, uint32_t v);
void nl_u8(struct nlbuf *b, size_t msg, uint16_t type, uint8_t v);
void nl_string(struct nlbuf *b, size_t msg, uint16_t type, const char *text);
/* As many bytes as its family has. */
void nl_addr(struct nlbuf *b, size_t msg, uint16_t type, const struct in6_addr *a);
struct nlreq;
/* NLMSG_ERROR: err is 0 or -errno; then the whole request comes back, unless the socket wants only its header. */
void nl_error(struct nlbuf *b, const struct nlreq *r, int err);
/* err: why there is no list, or 0. */
void nl_done(struct nlbuf *b, int err);
/* Bytes that are no message: a datagram of their own. */
void nl_raw(struct nlbuf *b, const void *data, size_t size);

/* A request: what stands behind its header. */
struct nlreq {
	const struct nlmsghdr *h; /* a copy */
	const char *data;
	size_t size;
	struct netns *net; /* where the socket is */
	uint32_t uid;      /* who asks */
	bool strict;       /* NETLINK_GET_STRICT_CHK */
	bool capped;       /* NETLINK_CAP_ACK */
};

/* Copies the fixed part; false: it is not there. */
bool __must_check nl_fixed(const struct nlreq *r, void *to, size_t size);
/* An attribute behind a fixed part of that size: its data, of at least `least` bytes; NULL: there is none. */
const char *nl_find(const struct nlreq *r, size_t fixed, uint16_t type, size_t least, size_t *ret_size);
bool nl_find_u32(const struct nlreq *r, size_t fixed, uint16_t type, uint32_t *ret);
/* An address of that family. False: there is none. */
bool nl_find_addr(const struct nlreq *r, size_t fixed, uint16_t type, int family, struct in6_addr *ret);
