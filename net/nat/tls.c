/*
 * The server name in a ClientHello: RFC 8446 (4.1.2, 5.1), RFC 6066 (3).
 *
 * The message may be cut into any number of records, and these into any number of segments: it is put together first. Then it must be whole and
 * exact. Without a name, with several, or with an extension that comes twice it is refused. So is Encrypted ClientHello: its outer name is not
 * the one that the server answers for, and from a client that only pretends to have it (GREASE) nobody can tell it, which is what it is for.
 */
#include <string.h>

#include "net/nat/peek.h"
#include "net/nat/tls.h"

#define CLIENT_HELLO 1
#define SERVER_HELLO 2
#define EXTENSION_SERVER_NAME 0
#define EXTENSION_ECH 0xfe0d
#define EXTENSION_ESNI 0xffce
#define NAME_HOST 0
#define EXTENSIONS_MAX 128

/* A piece of the message; what is taken beyond its end is nothing, and it is bad from then on. */
struct span {
	const uint8_t *p;
	size_t n;
	bool bad;
};

static struct span take_bytes(struct span *s, size_t n)
{
	struct span r = {s->p, n, false};

	if (n > s->n) {
		s->bad = true;
		s->n = 0;
		return (struct span){s->p, 0, true};
	}
	s->p += n;
	s->n -= n;
	return r;
}

static unsigned take_number(struct span *s, size_t n)
{
	struct span b = take_bytes(s, n);
	unsigned v = 0;

	for (size_t i = 0; i < b.n; i++)
		v = v << 8 | b.p[i];
	return v;
}

/* Bytes behind their length, which has n bytes. */
static struct span take_vector(struct span *s, size_t n)
{
	return take_bytes(s, take_number(s, n));
}

static enum peek bad(struct peeked *ret, const char *why)
{
	ret->why = why;
	return PEEK_BAD;
}

/* PEEK_OK: the ClientHello is whole, in message, and so is its last record, which has nothing else: who read on there might find another. */
static enum peek assemble(struct span in, uint8_t message[PEEK_SIZE], size_t *ret_size, struct peeked *ret)
{
	const uint8_t *bytes = in.p;
	size_t have = 0;

	while (in.n) {
		struct span head = {in.p, in.n, false};
		size_t size, part;

		if (in.p[0] != TLS_HANDSHAKE || (in.n > 1 && in.p[1] != 3))
			return bad(ret, "not a TLS handshake");
		if (in.n < 5)
			return PEEK_MORE;
		take_bytes(&head, 3);
		size = take_number(&head, 2);
		if (size == 0 || size > TLS_RECORD_MAX)
			return bad(ret, "a TLS record of a wrong size");
		part = MIN(size, in.n - 5);
		if (part > PEEK_SIZE - have)
			return bad(ret, "a ClientHello that is too long");
		memcpy(message + have, in.p + 5, part);
		have += part;
		take_bytes(&in, 5 + part);
		if (have && message[0] != CLIENT_HELLO)
			return bad(ret, "a TLS handshake without a ClientHello");
		if (have < 4)
			continue;
		*ret_size = 4 + ((size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3]);
		if (*ret_size > PEEK_SIZE)
			return bad(ret, "a ClientHello that is too long");
		if (have > *ret_size || (have == *ret_size && part < size))
			return bad(ret, "a TLS record with more than a ClientHello");
		ret->size = (size_t)(in.p - bytes);
		if (have == *ret_size)
			return PEEK_OK;
	}
	return PEEK_MORE;
}

static enum peek read_server_name(struct span s, struct peeked *ret)
{
	struct span list = take_vector(&s, 2), name;
	unsigned type = take_number(&list, 1);

	name = take_vector(&list, 2);
	if (s.bad || s.n || list.bad || list.n || type != NAME_HOST)
		return bad(ret, "TLS with a malformed server name, or several");
	if (!name_from_text((const char *)name.p, name.n, ret->name))
		return bad(ret, "TLS with a server name that is not a host's");
	return PEEK_OK;
}

static bool seen_before(uint16_t *seen, unsigned *count, unsigned type)
{
	for (unsigned i = 0; i < *count; i++)
		if (seen[i] == type)
			return true;
	if (*count == EXTENSIONS_MAX)
		return true;
	seen[(*count)++] = (uint16_t)type;
	return false;
}

static enum peek read_extensions(struct span s, struct peeked *ret)
{
	uint16_t seen[EXTENSIONS_MAX];
	enum peek found = bad(ret, "TLS without a server name");
	unsigned count = 0;

	while (s.n) {
		unsigned type = take_number(&s, 2);
		struct span data = take_vector(&s, 2);

		if (s.bad || seen_before(seen, &count, type))
			return bad(ret, "a malformed ClientHello");
		if (type == EXTENSION_ECH || type == EXTENSION_ESNI)
			return bad(ret, "an encrypted ClientHello, which may hide another name");
		if (type != EXTENSION_SERVER_NAME)
			continue;
		found = read_server_name(data, ret);
		if (found != PEEK_OK)
			return found;
	}
	return found;
}

enum peek tls_peek(const uint8_t *bytes, size_t n, struct peeked *ret)
{
	struct span in = {bytes, MIN(n, PEEK_SIZE), false}, s, extensions;
	uint8_t message[PEEK_SIZE];
	size_t size = 0;
	enum peek r;

	*ret = (struct peeked){.hello = true};
	r = assemble(in, message, &size, ret);
	if (r != PEEK_OK)
		return r;
	s = (struct span){message + 4, size - 4, false};
	take_bytes(&s, 2 + 32);
	take_vector(&s, 1); /* session */
	take_vector(&s, 2); /* ciphers */
	take_vector(&s, 1); /* compression */
	if (!s.bad && !s.n)
		return bad(ret, "TLS without a server name");
	extensions = take_vector(&s, 2);
	if (s.bad || s.n)
		return bad(ret, "a malformed ClientHello");
	return read_extensions(extensions, ret);
}

bool tls_is_server_hello(const uint8_t choice[TLS_CHOICE_SIZE])
{
	return choice[0] == TLS_HANDSHAKE && choice[1] == 3 && choice[5] == SERVER_HELLO;
}

/* Its random is SHA-256 of "HelloRetryRequest": RFC 8446, 4.1.3. */
bool tls_is_retry(const uint8_t choice[TLS_CHOICE_SIZE])
{
	static const uint8_t random[32] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c,
					   0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
					   0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

	return memcmp(choice + 11, random, sizeof(random)) == 0;
}
