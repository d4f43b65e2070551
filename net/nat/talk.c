/*
 * What a guest says after it has said whom it means: see talk.h.
 *
 * HTTP: each request of a connection has a Host of its own, so that all are looked at; what lies between them, bodies and chunks, goes through by
 * count. A first request for WebSocket ends that if the server says 101, and only then. Other protocols that an Upgrade asks for do not: what follows must
 * be HTTP/1 still (h2c would have hosts that cannot be seen). Behind CONNECT, if the server says 2xx, the guest must say again whom it means.
 *
 * TLS: a server may ask for a second ClientHello (HelloRetryRequest, RFC 8446, 4.1.4), whose name some believe. So until the server has chosen,
 * the guest's handshake records wait, while early data goes on; then they are free, or the second ClientHello is looked at like the first.
 */
#include "net/nat/talk.h"

#include <string.h>

#include "net/nat/tls.h"

enum {
	AT_FIRST,
	AT_REQUEST,      /* of HTTP, another one */
	AT_BODY,         /* its first chunk */
	AT_CHUNK,        /* another one */
	AT_WEBSOCKET,    /* has been asked for */
	AT_CONNECT,      /* the same; everything is allowed behind it */
	AT_CONNECT_LOOK, /* the same; it is looked at */
	AT_HELLO,        /* of TLS; the server has not answered */
	AT_RETRY,        /* there may be another */
};

#define STATUS_SIZE 12u /* HTTP/1.1 101 */

/* Records of TLS that are no handshake: what is encrypted, alerts, ChangeCipherSpec. */
static enum peek peek_record(const struct nat_talk *t, const uint8_t *b, size_t n, struct peeked *ret)
{
	if (b[0] == TLS_HANDSHAKE)
		return t->at == AT_HELLO ? PEEK_MORE : tls_peek(b, n, ret);
	*ret = (struct peeked){.nobody = true, .why = "a malformed TLS record"};
	if (b[0] != TLS_CHANGE_CIPHER && b[0] != TLS_ALERT && b[0] != TLS_DATA)
		return PEEK_BAD;
	if (n < TLS_RECORD_HEAD)
		return PEEK_MORE;
	ret->size = TLS_RECORD_HEAD;
	ret->body = (uint64_t)b[3] << 8 | b[4];
	return b[1] == 3 && ret->body && ret->body <= TLS_RECORD_MAX + 256 ? PEEK_OK : PEEK_BAD;
}

static enum peek peek_request(const struct nat_talk *t, const uint8_t *b, size_t n, struct peeked *ret)
{
	enum peek r = http_peek(b, n, ret);

	if (r == PEEK_OK && ret->connect && (t->at != AT_FIRST || t->tunnel)) {
		ret->why = "HTTP CONNECT that is not the first request";
		return PEEK_BAD;
	}
	return r;
}

/* An empty line in front of a request but the first, which old clients send behind a body; RFC 9112, 2.2. False: there is none. */
static bool peek_empty_line(const uint8_t *b, size_t n, struct peeked *ret, enum peek *verdict)
{
	if (b[0] != '\r' || (n > 1 && b[1] != '\n'))
		return false;
	*ret = (struct peeked){.nobody = true, .size = 2};
	*verdict = n > 1 ? PEEK_OK : PEEK_MORE;
	return true;
}

enum peek talk_peek(const struct nat_talk *t, const uint8_t *b, size_t n, struct peeked *ret)
{
	enum peek r;

	*ret = (struct peeked){.why = NULL};
	switch (t->at) {
	case AT_FIRST:
		return b[0] == TLS_HANDSHAKE ? tls_peek(b, n, ret) : peek_request(t, b, n, ret);
	case AT_REQUEST:
		return peek_empty_line(b, n, ret, &r) ? r : peek_request(t, b, n, ret);
	case AT_BODY:
	case AT_CHUNK:
		r = http_peek_chunk(b, n, t->at == AT_BODY, ret);
		ret->nobody = true;
		return r;
	case AT_HELLO:
	case AT_RETRY:
		return peek_record(t, b, n, ret);
	default:
		return PEEK_MORE; /* than the guest can say */
	}
}

static void listen_as(struct nat_talk *t, uint8_t at)
{
	t->at = at;
	t->listens = true;
	t->heard = 0;
}

static void allow_request(struct nat_talk *t, const struct peeked *seen, bool free)
{
	if (seen->connect) {
		t->port = seen->port;
		listen_as(t, free ? AT_CONNECT : AT_CONNECT_LOOK);
	} else if (seen->websocket && t->at == AT_FIRST) {
		listen_as(t, AT_WEBSOCKET);
	} else {
		t->at = seen->chunked ? AT_BODY : AT_REQUEST;
	}
}

void talk_allow(struct nat_talk *t, const struct peeked *seen, bool free)
{
	t->clear = seen->size + seen->body;
	if (t->at == AT_BODY || t->at == AT_CHUNK)
		t->at = seen->body ? AT_CHUNK : AT_REQUEST;
	else if (seen->hello && t->at == AT_RETRY)
		t->clear = UINT64_MAX;
	else if (seen->hello)
		listen_as(t, AT_HELLO);
	else if (!seen->nobody)
		allow_request(t, seen, free);
}

/* ---- the server ---- */

static void stop_listening(struct nat_talk *t, uint8_t at, bool free)
{
	t->at = at;
	t->listens = false;
	if (free)
		t->clear = UINT64_MAX;
}

static void hear_status(struct nat_talk *t)
{
	bool http = memcmp(t->reply, "HTTP/1.", 7) == 0 && t->reply[8] == ' ', connect = t->at != AT_WEBSOCKET;

	if (!http || (connect ? t->reply[9] != '2' : memcmp(t->reply + 9, "101", 3) != 0)) {
		stop_listening(t, AT_REQUEST, false);
		return;
	}
	t->tunnel = connect;
	stop_listening(t, AT_FIRST, t->at != AT_CONNECT_LOOK);
}

static void hear_hello(struct nat_talk *t)
{
	bool free = tls_is_server_hello(t->reply) && !tls_is_retry(t->reply);

	stop_listening(t, AT_RETRY, free);
}

/* A warning in front of a ServerHello: the name is not known there. */
static bool skip_warning(struct nat_talk *t)
{
	if (t->heard < TLS_ALERT_SIZE || t->reply[0] != TLS_ALERT || t->reply[3] != 0 || t->reply[4] != 2 ||
	    t->reply[5] != 1)
		return false;
	t->heard = (uint8_t)(t->heard - TLS_ALERT_SIZE);
	memmove(t->reply, t->reply + TLS_ALERT_SIZE, t->heard);
	return true;
}

void talk_listen(struct nat_talk *t, const uint8_t *bytes, size_t n)
{
	size_t want = t->at == AT_HELLO ? TLS_CHOICE_SIZE : STATUS_SIZE;

	while (t->listens && n) {
		size_t part = MIN(n, want - t->heard);

		memcpy(t->reply + t->heard, bytes, part);
		t->heard = (uint8_t)(t->heard + part);
		bytes += part;
		n -= part;
		if (t->at == AT_HELLO && skip_warning(t))
			continue;
		if (t->heard < want)
			return;
		if (t->at == AT_HELLO)
			hear_hello(t);
		else
			hear_status(t);
	}
}
