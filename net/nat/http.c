/*
 * The host in the head of an HTTP/1 request: RFC 9112, RFC 9110 (7.2).
 *
 * The head is read to its end, as there must be exactly one Host in it. Lines end with CR LF and nothing else; folded lines, white space before a
 * colon, control characters and a target whose host is not that of Host are refused, since servers differ in what they make of them. HTTP/2
 * without TLS is refused: its host is compressed.
 *
 * Where a request ends, and another may follow, is just as strict (RFC 9112, 6.3): one Content-Length, or one Transfer-Encoding that says "chunked",
 * without extensions and trailers, or nothing.
 */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "net/nat/peek.h"
#include "net/stack/addr.h"

#define METHOD_MAX 32u
#define SCHEME "http://"

struct text {
	const char *p;
	size_t n;
};

static enum peek bad(struct peeked *ret, const char *why)
{
	ret->why = why;
	return PEEK_BAD;
}

static bool is_token(struct text t)
{
	static const char marks[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < t.n; i++) {
		char c = t.p[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') &&
		    (!c || !strchr(marks, c)))
			return false;
	}
	return t.n > 0;
}

static bool begins(struct text t, const char *with)
{
	return t.n >= strlen(with) && strncasecmp(t.p, with, strlen(with)) == 0;
}

static struct text trim(struct text t)
{
	while (t.n && (*t.p == ' ' || *t.p == '\t')) {
		t.p++;
		t.n--;
	}
	while (t.n && (t.p[t.n - 1] == ' ' || t.p[t.n - 1] == '\t'))
		t.n--;
	return t;
}

/* Moves in behind the next line, which it returns without its end. PEEK_MORE: it is not whole yet. */
static enum peek next_line(struct text *in, struct text *ret)
{
	for (size_t i = 0; i < in->n; i++) {
		unsigned char c = (unsigned char)in->p[i];

		if (c == '\r' && i + 1 == in->n)
			return PEEK_MORE;
		if (c == '\r' && in->p[i + 1] == '\n') {
			*ret = (struct text){in->p, i};
			in->p += i + 2;
			in->n -= i + 2;
			return PEEK_OK;
		}
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return PEEK_BAD;
	}
	return PEEK_MORE;
}

static bool read_port(struct text t, uint16_t *ret)
{
	unsigned v = 0;

	for (size_t i = 0; i < t.n; i++) {
		if (i == 5 || t.p[i] < '0' || t.p[i] > '9')
			return false;
		v = v * 10 + (unsigned)(t.p[i] - '0');
	}
	*ret = (uint16_t)v;
	return v && v <= UINT16_MAX;
}

static bool read_address(struct text t, struct peeked *ret)
{
	char text[INET6_ADDRSTRLEN];
	struct in_addr v4;

	if (t.n >= sizeof(text))
		return false;
	memcpy(text, t.p, t.n);
	text[t.n] = 0;
	if (inet_pton(AF_INET, text, &v4) == 1)
		ret->addr = addr_from_v4(v4.s_addr);
	else if (inet_pton(AF_INET6, text, &ret->addr) != 1)
		return false;
	ret->is_addr = true;
	return true;
}

/* HOST or HOST:PORT, the port is left as it was then. */
static bool read_authority(struct text t, struct peeked *ret)
{
	const char *end = t.n && t.p[0] == '[' ? memchr(t.p, ']', t.n) : memchr(t.p, ':', t.n);
	struct text host = t, port = {NULL, 0};

	if (end && *end == ']') {
		host = (struct text){t.p + 1, (size_t)(end - t.p) - 1};
		end++;
	} else if (end) {
		host.n = (size_t)(end - t.p);
	}
	if (end && end < t.p + t.n) {
		port = (struct text){end + 1, (size_t)(t.p + t.n - end) - 1};
		if (*end != ':' || !read_port(port, &ret->port))
			return false;
	}
	return read_address(host, ret) || name_from_text(host.p, host.n, ret->name);
}

/* The request line; PEEK_OK with *target. */
static enum peek read_request(struct text line, struct text *target, struct peeked *ret)
{
	const char *space = memchr(line.p, ' ', line.n), *last = memrchr(line.p, ' ', line.n);
	struct text version;

	if (!space || last == space)
		return bad(ret, "neither TLS nor HTTP");
	version = (struct text){last + 1, (size_t)(line.p + line.n - last) - 1};
	if (version.n == 8 && memcmp(version.p, "HTTP/2.0", 8) == 0)
		return bad(ret, "HTTP/2 without TLS, whose host cannot be seen");
	if (version.n != 8 || memcmp(version.p, "HTTP/1.", 7) != 0 || version.p[7] < '0' || version.p[7] > '9')
		return bad(ret, "neither TLS nor HTTP");
	*target = (struct text){space + 1, (size_t)(last - space) - 1};
	ret->connect = space - line.p == 7 && memcmp(line.p, "CONNECT", 7) == 0;
	if (target->n == 0 || memchr(target->p, ' ', target->n) || memchr(target->p, '\t', target->n))
		return bad(ret, "HTTP with a malformed target");
	return PEEK_OK;
}

/* The host in the request's target, if it has one, is that of Host. */
static enum peek check_target(struct text target, struct peeked *ret)
{
	struct peeked t = {.port = 0};

	if (ret->connect) {
		*ret = (struct peeked){.connect = true, .size = ret->size};
		if (!read_authority(target, ret) || !ret->port)
			return bad(ret, "HTTP CONNECT with a malformed target");
		return PEEK_OK;
	}
	if (target.p[0] == '/' || (target.n == 1 && target.p[0] == '*'))
		return PEEK_OK;
	if (!begins(target, SCHEME))
		return bad(ret, "HTTP with a malformed target");
	target.p += sizeof(SCHEME) - 1;
	target.n -= sizeof(SCHEME) - 1;
	for (size_t i = 0; i < target.n; i++)
		if (strchr("/?#", target.p[i]))
			target.n = i;
	if (!read_authority(target, &t) || t.is_addr != ret->is_addr || strcmp(t.name, ret->name) != 0)
		return bad(ret, "HTTP whose target and Host differ");
	return PEEK_OK;
}

static bool is(struct text t, const char *word)
{
	return t.n == strlen(word) && begins(t, word);
}

static bool read_length(struct text t, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = 0; i < t.n; i++) {
		if (i == 18 || t.p[i] < '0' || t.p[i] > '9')
			return false;
		v = v * 10 + (unsigned)(t.p[i] - '0');
	}
	*ret = v;
	return t.n > 0;
}

/* A proxy drops the headers that Connection names, so that the server behind it would see other requests. */
static bool names_framing(struct text t)
{
	static const char *const names[] = {"host", "content-length", "transfer-encoding"};

	while (t.n) {
		const char *comma = memchr(t.p, ',', t.n);
		size_t n = comma ? (size_t)(comma - t.p) : t.n;
		struct text one = trim((struct text){t.p, n});

		for (size_t i = 0; i < ARRAY_SIZE(names); i++)
			if (is(one, names[i]))
				return true;
		n += comma != NULL;
		t = (struct text){t.p + n, t.n - n};
	}
	return false;
}

/* Headers that there may be one of. */
struct seen {
	bool host, length, encoding;
};

static enum peek read_value(struct text name, struct text value, struct seen *seen, struct peeked *ret)
{
	if (is(name, "host")) {
		if (seen->host)
			return bad(ret, "HTTP with two Host headers");
		seen->host = true;
		return read_authority(value, ret) ? PEEK_OK : bad(ret, "HTTP with a malformed Host");
	}
	if (is(name, "content-length")) {
		if (seen->length || !read_length(value, &ret->body))
			return bad(ret, "HTTP with a malformed Content-Length, or several");
		seen->length = true;
	} else if (is(name, "transfer-encoding")) {
		if (seen->encoding || !is(value, "chunked"))
			return bad(ret, "HTTP with a Transfer-Encoding other than chunked");
		seen->encoding = ret->chunked = true;
	} else if (is(name, "connection") && names_framing(value)) {
		return bad(ret, "HTTP whose Connection takes away what delimits it");
	} else if (is(name, "upgrade")) {
		ret->websocket = !ret->upgrade && is(value, "websocket");
		ret->upgrade = true;
	}
	return PEEK_OK;
}

static enum peek read_header(struct text line, struct seen *seen, struct peeked *ret)
{
	const char *colon = memchr(line.p, ':', line.n);
	struct text name = {line.p, colon ? (size_t)(colon - line.p) : 0};

	if (!colon || !is_token(name))
		return bad(ret, "HTTP with a malformed header");
	return read_value(name, trim((struct text){colon + 1, line.n - name.n - 1}), seen, ret);
}

/* What has a body has one of a size that everybody understands, and goes on as HTTP. */
static enum peek check_body(const struct seen *seen, bool old, struct peeked *ret)
{
	bool body = ret->body || ret->chunked;

	if (seen->encoding && (seen->length || old))
		return bad(ret, "HTTP whose size could be understood in two ways");
	if (body && (ret->connect || ret->upgrade))
		return bad(ret, "HTTP that asks for another protocol, and has a body");
	return PEEK_OK;
}

static enum peek read_headers(struct text *in, struct seen *seen, struct peeked *ret)
{
	struct text line;
	enum peek r;

	for (;;) {
		r = next_line(in, &line);
		if (r == PEEK_BAD)
			return bad(ret, "HTTP with a control character in its head");
		if (r != PEEK_OK || !line.n)
			return r;
		r = read_header(line, seen, ret);
		if (r != PEEK_OK)
			return r;
	}
}

/* A method that is not whole yet may still be one. */
static bool may_be_method(struct text in)
{
	const char *space = memchr(in.p, ' ', MIN(in.n, METHOD_MAX));
	size_t n = space ? (size_t)(space - in.p) : in.n;

	return n < METHOD_MAX && is_token((struct text){in.p, n});
}

enum peek http_peek(const uint8_t *bytes, size_t n, struct peeked *ret)
{
	struct text in = {(const char *)bytes, MIN(n, PEEK_SIZE)}, line, target;
	struct seen seen = {0};
	enum peek r;

	*ret = (struct peeked){.why = NULL};
	if (!may_be_method(in))
		return bad(ret, "neither TLS nor HTTP");
	r = next_line(&in, &line);
	if (r == PEEK_BAD)
		return bad(ret, "neither TLS nor HTTP");
	r = r == PEEK_OK ? read_request(line, &target, ret) : r;
	r = r == PEEK_OK ? read_headers(&in, &seen, ret) : r;
	if (r != PEEK_OK)
		return r;
	if (!seen.host && !ret->connect)
		return bad(ret, "HTTP without a Host");
	ret->size = (size_t)((const uint8_t *)in.p - bytes);
	r = check_body(&seen, line.p[line.n - 1] == '0', ret);
	return r == PEEK_OK ? check_target(target, ret) : r;
}

static bool read_chunk_size(struct text t, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = 0; i < t.n; i++) {
		char c = (char)(t.p[i] | 0x20);
		bool digit = t.p[i] >= '0' && t.p[i] <= '9';

		if (i == 15 || (!digit && (c < 'a' || c > 'f')))
			return false;
		v = v << 4 | (unsigned)(digit ? c - '0' : c - 'a' + 10);
	}
	*ret = v;
	return t.n > 0;
}

enum peek http_peek_chunk(const uint8_t *bytes, size_t n, bool first, struct peeked *ret)
{
	struct text in = {(const char *)bytes, MIN(n, PEEK_SIZE)}, line = {NULL, 0}, empty = {NULL, 0};
	enum peek r = first ? PEEK_OK : next_line(&in, &empty);

	*ret = (struct peeked){.why = NULL};
	r = r == PEEK_OK && !empty.n ? next_line(&in, &line) : r;
	if (r == PEEK_OK && (empty.n || !read_chunk_size(line, &ret->body)))
		r = PEEK_BAD;
	/* There are no trailers. */
	if (r == PEEK_OK && !ret->body)
		r = next_line(&in, &empty);
	if (r == PEEK_OK && empty.n)
		r = PEEK_BAD;
	ret->size = (size_t)((const uint8_t *)in.p - bytes);
	return r == PEEK_BAD ? bad(ret, "HTTP with a malformed chunk, or with trailers") : r;
}
