/* ClientHellos and HTTP requests, made by hand, and cut anywhere. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "net/nat/peek.h"

/* ---- TLS ---- */

static uint8_t m[40000], wire[40000];
static size_t n, extensions_at;

static void b8(unsigned v)
{
	m[n++] = (uint8_t)v;
}

static void b16(unsigned v)
{
	b8(v >> 8);
	b8(v & 255);
}

static void bytes(const void *p, size_t size)
{
	memcpy(m + n, p, size);
	n += size;
}

/* A ClientHello without extensions. */
static void hello(void)
{
	n = 0;
	b8(1);
	b8(0);
	b16(0);
	b16(0x0303);
	memset(m + n, 0x55, 32);
	n += 32;
	b8(32);
	memset(m + n, 0x66, 32);
	n += 32;
	b16(4);
	b16(0x1301);
	b16(0xc02f);
	b8(1);
	b8(0);
	extensions_at = n;
	b16(0);
}

static void extension(unsigned type, const void *data, size_t size)
{
	b16(type);
	b16((unsigned)size);
	bytes(data, size);
}

static void sni(const char *name)
{
	size_t len = strlen(name);
	uint8_t data[400] = {(uint8_t)((len + 3) >> 8), (uint8_t)(len + 3), 0, (uint8_t)(len >> 8), (uint8_t)len};

	memcpy(data + 5, name, len);
	extension(0, data, len + 5);
}

static void finish(void)
{
	size_t e = n - extensions_at - 2;

	m[extensions_at] = (uint8_t)(e >> 8);
	m[extensions_at + 1] = (uint8_t)e;
	m[1] = (uint8_t)((n - 4) >> 16);
	m[2] = (uint8_t)((n - 4) >> 8);
	m[3] = (uint8_t)(n - 4);
}

/* In records of that many bytes. */
static size_t records(size_t size)
{
	size_t at = 0, w = 0;

	while (at < n) {
		size_t part = MIN(size, n - at);

		wire[w++] = 22;
		wire[w++] = 3;
		wire[w++] = 1;
		wire[w++] = (uint8_t)(part >> 8);
		wire[w++] = (uint8_t)part;
		memcpy(wire + w, m + at, part);
		w += part;
		at += part;
	}
	return w;
}

/* "MORE", "BAD: why" or the name; from memory of just that size. */
static const char *seen(enum peek (*fn)(const uint8_t *, size_t, struct peeked *), const void *p, size_t size)
{
	static char text[NAME_MAX_SIZE + 300];
	uint8_t *copy = malloc(size);
	struct peeked r;
	enum peek v;

	memcpy(copy, p, size);
	v = fn(copy, size, &r);
	free(copy);
	if (v == PEEK_MORE)
		return "MORE";
	if (v == PEEK_BAD)
		snprintf(text, sizeof(text), "BAD: %s", r.why);
	else if (r.connect)
		snprintf(text, sizeof(text), "connect %s %u", r.is_addr ? "address" : r.name, r.port);
	else
		snprintf(text, sizeof(text), "%s", r.is_addr ? "address" : r.name);
	return text;
}

static const char *tls(size_t size)
{
	return seen(tls_peek, wire, size);
}

static void has(const char *got, const char *want)
{
	ck_assert_msg(strstr(got, want), "%s, not %s", got, want);
}

START_TEST(server_name)
{
	size_t size;

	hello();
	extension(10, "\0\2\0\35", 4);
	sni("WWW.Example.org");
	extension(16, "\0\3\2h2", 5);
	finish();
	for (size_t piece = 1; piece < 300; piece += 7) {
		size = records(piece);
		ck_assert_str_eq(tls(size), "www.example.org");
		for (size_t cut = 1; cut < size; cut++)
			ck_assert_str_eq(tls(cut), "MORE");
	}
	/* What follows it is not looked at. */
	size = records(300);
	memset(wire + size, 0xee, 100);
	ck_assert_str_eq(tls(size + 100), "www.example.org");
}
END_TEST

START_TEST(no_server_name)
{
	hello();
	finish();
	has(tls(records(1000)), "without a server name");
	n = extensions_at;
	m[3] = (uint8_t)(n - 4);
	has(tls(records(1000)), "without a server name");
	hello();
	extension(10, "\0\2\0\35", 4);
	finish();
	has(tls(records(1000)), "without a server name");
}
END_TEST

START_TEST(hidden_name)
{
	hello();
	sni("public.example");
	extension(0xfe0d, "\0\0\1\0\1\7", 6);
	finish();
	has(tls(records(1000)), "encrypted");
	hello();
	extension(0xfe0d, "\1", 1);
	sni("public.example");
	finish();
	has(tls(records(1000)), "encrypted");
	hello();
	extension(0xffce, "x", 1);
	finish();
	has(tls(records(1000)), "encrypted");
}
END_TEST

START_TEST(odd_names)
{
	static const uint8_t two[] = {0, 10, 0, 0, 2, 'a', 'b', 0, 0, 2, 'c', 'd'}, other[] = {0, 5, 1, 0, 2, 'a', 'b'},
			     longer[] = {0, 6, 0, 0, 2, 'a', 'b'}, shorter[] = {0, 4, 0, 0, 2, 'a', 'b'},
			     more[] = {0, 5, 0, 0, 2, 'a', 'b', 'x'};
	static const struct {
		const uint8_t *data;
		size_t size;
	} cases[] = {{two, sizeof(two)},         {other, sizeof(other)}, {longer, sizeof(longer)},
		     {shorter, sizeof(shorter)}, {more, sizeof(more)},   {two, 0}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		hello();
		extension(0, cases[i].data, cases[i].size);
		finish();
		has(tls(records(1000)), "malformed server name");
	}
	hello();
	sni("a b");
	finish();
	has(tls(records(1000)), "not a host's");
	hello();
	sni("");
	finish();
	has(tls(records(1000)), "not a host's");
	hello();
	sni("a.example");
	sni("b.example");
	finish();
	has(tls(records(1000)), "malformed ClientHello");
	hello();
	extension(0, "\0\14\0\0\11a.example", 14);
	finish();
	ck_assert_str_eq(tls(records(1000)), "a.example");
	m[n - 3] = 0; /* a NUL inside */
	has(tls(records(1000)), "not a host's");
}
END_TEST

START_TEST(malformed_hello)
{
	size_t size, at;

	hello();
	sni("a.example");
	finish();
	at = n;
	/* Lengths of what lies in it, one after the other, too large and too small. */
	for (size_t i = 4; i < at; i++) {
		uint8_t old = m[i];

		m[i] = 0xff;
		size = records(1000);
		tls(size);
		m[i] = old;
	}
	b8(0);
	m[3]++;
	has(tls(records(1000)), "malformed ClientHello");
	n = at;
	m[3]--;
	m[extensions_at + 1]++;
	has(tls(records(1000)), "malformed ClientHello");
	m[extensions_at + 1] -= 2;
	has(tls(records(1000)), "malformed ClientHello");
}
END_TEST

START_TEST(not_a_hello)
{
	static const char *const cases[] = {"\x16\x02\x01\0\1\1", "\x16\x03\x01\0\0",   "\x16\x03\x01\x40\x01",
					    "\x16\x03\x01\0\1\2", "\x17\x03\x03\0\1\1", "\x80\x2e\1\3\1\0"};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		has(seen(tls_peek, cases[i], 6), "BAD");
	/* Another kind of record in between. */
	hello();
	sni("a.example");
	finish();
	records(20);
	wire[25] = 20;
	has(tls(60), "not a TLS handshake");
}
END_TEST

START_TEST(large_hello)
{
	static uint8_t padding[20000];

	hello();
	sni("a.example");
	extension(21, padding, 15000);
	finish();
	ck_assert_str_eq(tls(records(16384)), "a.example");
	ck_assert_str_eq(tls(records(1000)), "a.example");
	hello();
	sni("a.example");
	extension(21, padding, 17000);
	finish();
	has(tls(records(16384)), "too long");
	has(tls(9), "too long");
	hello();
	for (unsigned i = 0; i < 200; i++)
		extension(1000 + i, "", 0);
	finish();
	has(tls(records(16384)), "malformed ClientHello");
}
END_TEST

/* ---- HTTP ---- */

static const struct {
	const char *request, *want; /* want: the host, or a part of what is wrong */
} requests[] = {
    {"GET / HTTP/1.1\r\nHost: Example.org\r\n\r\n", "example.org"},
    {"GET / HTTP/1.1\r\nHost:example.org:8080\r\nA: b\r\n\r\nbody", "example.org"},
    {"POST /x?y HTTP/1.0\r\nA:\r\nhOsT: \t example.org. \t\r\n\r\n", "example.org"},
    {"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"},
    {"GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"},
    {"GET HTTP://A.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n", "a.example"},
    {"GET http://a.example?q HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"},
    {"GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "address"},
    {"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", "address"},
    {"CONNECT a.example:443 HTTP/1.1\r\nHost: b.example\r\n\r\n", "connect a.example 443"},
    {"CONNECT 192.0.2.1:22 HTTP/1.1\r\n\r\n", "connect address 22"},
    {"CONNECT [2001:db8::1]:22 HTTP/1.1\r\n\r\n", "connect address 22"},
    {"CONNECT a.example HTTP/1.1\r\n\r\n", "BAD: HTTP CONNECT"},
    {"CONNECT / HTTP/1.1\r\n\r\n", "BAD: HTTP CONNECT"},
    {"GET / HTTP/1.1\r\n\r\n", "BAD: HTTP without a Host"},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "BAD: HTTP with a malformed Host"},
    {"GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n", "BAD: HTTP with a malformed Host"},
    {"GET / HTTP/1.1\r\nHost: u@a.example\r\n\r\n", "BAD: HTTP with a malformed Host"},
    {"GET / HTTP/1.1\r\nHost: a.example:x\r\n\r\n", "BAD: HTTP with a malformed Host"},
    {"GET / HTTP/1.1\r\nHost: [2001:db8::1]x\r\n\r\n", "BAD: HTTP with a malformed Host"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n", "BAD: HTTP with two Host"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nhost: b.example\r\n\r\n", "BAD: HTTP with two Host"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\n b.example\r\n\r\n", "BAD: HTTP with a malformed header"},
    {"GET / HTTP/1.1\r\nA: b\r\n\tHost: a.example\r\n\r\n", "BAD: HTTP with a malformed header"},
    {"GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", "BAD: HTTP with a malformed header"},
    {"GET / HTTP/1.1\r\n Host: a.example\r\n\r\n", "BAD: HTTP with a malformed header"},
    {"GET / HTTP/1.1\r\n: a.example\r\n\r\n", "BAD: HTTP with a malformed header"},
    {"GET / HTTP/1.1\r\nA: x\nHost: b.example\r\nHost: a.example\r\n\r\n", "BAD: HTTP with a control"},
    {"GET / HTTP/1.1\r\nA: x\rHost: b.example\r\nHost: a.example\r\n\r\n", "BAD: HTTP with a control"},
    {"GET / HTTP/1.1\nHost: a.example\n\n", "BAD: neither"},
    {"GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "BAD: HTTP whose target and Host differ"},
    {"GET http://u@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "BAD: HTTP whose target and Host differ"},
    {"GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "BAD: HTTP with a malformed target"},
    {"GET a.example HTTP/1.1\r\nHost: a.example\r\n\r\n", "BAD: HTTP with a malformed target"},
    {"GET /a b HTTP/1.1\r\nHost: a.example\r\n\r\n", "BAD: HTTP with a malformed target"},
    {"GET  HTTP/1.1\r\nHost: a.example\r\n\r\n", "BAD: HTTP with a malformed target"},
    {"GET /\r\n\r\n", "BAD: neither"},
    {"GET / HTTP/2.0\r\n\r\n", "BAD: HTTP/2"},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "BAD: HTTP/2"},
    {"GET / HTTP/1.x\r\n\r\n", "BAD: neither"},
    {"GET / HTTP/1.11\r\n\r\n", "BAD: neither"},
    {"\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "BAD: neither"},
    {"SSH-2.0-OpenSSH_9.2\r\n", "BAD: neither"},
    {"EHLO me\r\n", "BAD: neither"},
    {"\x80\x2e", "BAD: neither"},
    {"AVERYLONGMETHODWHICHISNONEOFANYKIND", "BAD: neither"},
    {"GET", "MORE"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\n", "MORE"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\n\r", "MORE"},
};

START_TEST(http)
{
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		const char *got = seen(http_peek, requests[i].request, strlen(requests[i].request));

		ck_assert_msg(strncmp(got, requests[i].want, strlen(requests[i].want)) == 0, "%s: %s",
			      requests[i].request, got);
	}
}
END_TEST

START_TEST(http_cut)
{
	static const char request[] = "GET / HTTP/1.1\r\nA: b\r\nHost: a.example\r\n\r\n";

	for (size_t cut = 1; cut < sizeof(request) - 1; cut++)
		ck_assert_str_eq(seen(http_peek, request, cut), "MORE");
	ck_assert_str_eq(seen(http_peek, "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 29),
			 "BAD: HTTP with a control character in its head");
}
END_TEST

UNIT_MAIN(server_name, no_server_name, hidden_name, odd_names, malformed_hello, not_a_hello, large_hello, http,
	  http_cut)
