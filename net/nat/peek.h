/*
 * Whom a client wants to talk to, by the first bytes that it sends: the server name in TLS's ClientHello, the Host of an HTTP request. What is
 * unusual is refused: where two readers could understand different names, the server might be the other one.
 */
#pragma once

#include <netinet/in.h>

#include "net/nat/name.h"

#define PEEK_SIZE 16384u /* bytes that a greeting may have */

enum peek {
	PEEK_MORE, /* it goes on */
	PEEK_BAD,  /* see why */
	PEEK_OK,
};

struct peeked {
	const char *why; /* PEEK_BAD: in words */
	char name[NAME_MAX_SIZE];
	/* HTTP's CONNECT: where to, by name or address; and on which port. */
	bool connect, is_addr;
	struct in6_addr addr;
	uint16_t port;
	/* PEEK_OK: bytes until something else begins; behind an HTTP request's head its body of another so many, or in chunks. */
	size_t size;
	uint64_t body;
	bool chunked;
	/* HTTP: it asks for another protocol; that one is WebSocket. */
	bool upgrade, websocket;
	bool hello;  /* it is TLS */
	bool nobody; /* it is within what has been allowed */
};

/* bytes: all so far, at least one. For each *ret is written as far as the result says. */
enum peek tls_peek(const uint8_t *bytes, size_t n, struct peeked *ret);
enum peek http_peek(const uint8_t *bytes, size_t n, struct peeked *ret);
/* A chunk of a body, the first or one behind another's data: size is of what is in front of its data, body of the data; 0: the last one. */
enum peek http_peek_chunk(const uint8_t *bytes, size_t n, bool first, struct peeked *ret);
