/* What a guest says behind its first request or ClientHello, under rules about names: all of it is looked at that a server could take for another one. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "net/nat/egress.h"
#include "net/nat/talk.h"
#include "net/nat/tls.h"
#include "sentry/base/clock.h"
#include "sentry/base/log.h"
#include "tests/kernel/netbed.h"

#define HEAD " HTTP/1.1\r\nHost: "
#define GET(host) "GET /" HEAD host "\r\n\r\n"

static struct policy *p;
static struct rule rules[3];
static struct nat_talk talk;
static struct nat_flow flow;
static int64_t now;

static int64_t clock_of_ours(void)
{
	return now;
}

static void setup(uint16_t port)
{
	static const char *const texts[] = {"a.example", "b.example", "c.example:22"};
	const struct policy_config c = {.rules = rules, .rule_count = ARRAY_SIZE(rules), .now = clock_of_ours};

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		ck_assert_ptr_null(rule_parse(texts[i], strlen(texts[i]), &rules[i]));
	log_init(fileno(tmpfile()), LOG_WARN, false);
	now = 1000 * NSEC_PER_SEC;
	p = policy_create(&c);
	ck_assert_ptr_nonnull(p);
	flow = (struct nat_flow){.protocol = IPPROTO_TCP, .dst = netbed_addr("192.0.2.1"), .dport = port};
	ck_assert(policy_learn(p, "a.example", &flow.dst, 60));
	talk = (struct nat_talk){.clear = 0};
}

static char look(const void *bytes, size_t n)
{
	uint8_t *copy = malloc(n);
	char c;

	memcpy(copy, bytes, n);
	c = "MAR"[policy_look(p, &flow, &talk, copy, n)];
	free(copy);
	return c;
}

/* All of it, as it is cleared: the last verdict. Cut: as it comes, one byte after the other. */
static char say_bytes(const void *bytes, size_t n, bool cut)
{
	const char *at = bytes;
	size_t have = cut ? 1 : n;
	char c = 'A';

	while (n && c != 'R') {
		size_t part = MIN(talk.clear, MIN(have, n));

		if (talk.clear != UINT64_MAX)
			talk.clear -= part;
		at += part;
		n -= part;
		have -= part;
		if (!n)
			return 'A';
		c = 'M';
		if (have && talk.clear == 0)
			c = look(at, MIN(have, n));
		if (c == 'M' && have >= n)
			return c;
		have += c == 'M';
	}
	return c;
}

static char say(const char *text)
{
	struct nat_talk before = talk;
	char c = say_bytes(text, strlen(text), false), slow;

	talk = before;
	slow = say_bytes(text, strlen(text), true);
	/* A refusal may come before the last byte, never another verdict. */
	ck_assert_msg(c == slow, "%s: %c, %c", text, c, slow);
	return c;
}

static void hear(const char *text)
{
	policy_listen(p, &talk, text, strlen(text));
}

static const struct {
	const char *text;
	char verdict;
} talks[] = {
    {GET("a.example") GET("a.example") GET("A.example."), 'A'},
    {GET("a.example") GET("evil.example"), 'R'},
    {GET("a.example") GET("b.example"), 'R'}, /* that has another address */
    {GET("a.example") "GET http://evil.example/" HEAD "a.example\r\n\r\n", 'R'},
    {GET("a.example") "CONNECT a.example:443 HTTP/1.1\r\n\r\n", 'R'},
    {GET("a.example") "\r\n" GET("a.example"), 'A'},
    {GET("a.example") "\r\n" GET("evil.example"), 'R'},
    {GET("a.example") "\n" GET("a.example"), 'R'},
    {"\r\n" GET("a.example"), 'R'},
    {GET("a.example") "\x16\3\1\0\1\1", 'R'},
    {GET("a.example") "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 'R'},
    {"POST /" HEAD "a.example\r\nContent-Length: 5\r\n\r\n\n\r\1x " GET("a.example"), 'A'},
    {"POST /" HEAD "a.example\r\ncontent-length: 5\r\n\r\nGET /" GET("a.example"), 'A'},
    {"POST /" HEAD "a.example\r\ncontent-length: 5\r\n\r\nGET /" GET("evil.example"), 'R'},
    {"POST /" HEAD "a.example\r\ncontent-length: 0\r\n\r\n" GET("evil.example"), 'R'},
    {"POST /" HEAD "a.example\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 'R'},
    {"POST /" HEAD "a.example\r\nContent-Length: 5, 5\r\n\r\n", 'R'},
    {"POST /" HEAD "a.example\r\nContent-Length: +5\r\n\r\n", 'R'},
    {"POST /" HEAD "a.example\r\nContent-Length: 0x5\r\n\r\n", 'R'},
    {"POST /" HEAD "a.example\r\nContent-Length:\r\n\r\n", 'R'},
    {"POST /" HEAD "a.example\r\nContent-Length: 18446744073709551617\r\n\r\n", 'R'},
    {"POST /" HEAD "a.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 'R'},
    {"POST /" HEAD "a.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 'R'},
    {"POST /" HEAD "a.example\r\nTransfer-Encoding: identity\r\n\r\n", 'R'},
    {"POST /" HEAD "a.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 'R'},
    {"POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n", 'R'},
    {"GET /" HEAD "a.example\r\nConnection: keep-alive, Upgrade,hostile\r\n\r\n" GET("a.example"), 'A'},
    {"GET /" HEAD "a.example\r\nConnection: close, Host\r\n\r\n", 'R'},
    {"GET /" HEAD "a.example\r\nconnection:transfer-encoding ,x\r\n\r\n", 'R'},
    {"GET /" HEAD "a.example\r\nConnection: content-length\r\n\r\n", 'R'},
#define CHUNKED "POST /" HEAD "a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    {CHUNKED "5\r\nGET /\r\n0A\r\n0123456789\r\n0\r\n\r\n" GET("a.example"), 'A'},
    {CHUNKED "5\r\nGET /\r\n0\r\n\r\n" GET("evil.example"), 'R'},
    {CHUNKED "5\r\nGET /" GET("evil.example"), 'R'},
    {CHUNKED "0\r\nHost: evil.example\r\n\r\n", 'R'},
    {CHUNKED "5;a=b\r\nGET /\r\n", 'R'},
    {CHUNKED "5\nGET /\r\n", 'R'},
    {CHUNKED "@\r\n", 'R'},
    {CHUNKED "-1\r\n", 'R'},
    {CHUNKED "\r\n", 'R'},
    {CHUNKED "10000000000000005\r\n", 'R'},
    {"GET /" HEAD "a.example\r\nUpgrade: h2c\r\n\r\n" GET("a.example"), 'A'},
    {"GET /" HEAD "a.example\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\n", 'R'},
    {"GET /" HEAD "a.example\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\n", 'R'},
    {"GET /" HEAD "a.example\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n", 'R'},
    {GET("a.example") "GET /" HEAD "a.example\r\nUpgrade: websocket\r\n\r\n\x82\1x", 'R'},
};

/* _i: of talks. */
START_TEST(http)
{
	setup(80);
	ck_assert_msg(say(talks[_i].text) == talks[_i].verdict, "%s", talks[_i].text);
	policy_destroy(p);
}
END_TEST

/* A connection may outlive what was learnt. */
START_TEST(keeps_alive)
{
	setup(80);
	ck_assert_int_eq(say(GET("a.example")), 'A');
	now += 3600 * NSEC_PER_SEC;
	ck_assert_int_eq(say(GET("a.example")), 'A');
	ck_assert_int_eq(say(GET("b.example")), 'R');
	policy_destroy(p);
}
END_TEST

#define ASK "GET /" HEAD "a.example\r\nUpgrade: WebSocket\r\n\r\n"

START_TEST(websocket)
{
	setup(80);
	ck_assert_int_eq(say(ASK), 'A');
	ck_assert_int_eq(say("\x82\1x"), 'M');
	hear("HTTP/1.1 10");
	ck_assert_int_eq(say("\x82\1x"), 'M');
	hear("1 Switching");
	ck_assert_int_eq(say("\x82\1x"), 'A');
	policy_destroy(p);
	setup(80);
	ck_assert_int_eq(say(ASK), 'A');
	ck_assert_int_eq(say(GET("evil.example")), 'M');
	hear("HTTP/1.1 426 Upgrade Required");
	ck_assert_int_eq(say(GET("evil.example")), 'R');
	ck_assert_int_eq(say(GET("a.example")), 'A');
	policy_destroy(p);
}
END_TEST

START_TEST(tunnel)
{
	setup(80);
	ck_assert_int_eq(say("CONNECT b.example:80 HTTP/1.1\r\n\r\n"), 'A');
	ck_assert_int_eq(say(GET("b.example")), 'M');
	hear("HTTP/1.1 405 no");
	ck_assert_int_eq(say(GET("evil.example")), 'R');
	policy_destroy(p);
	setup(80);
	ck_assert_int_eq(say("CONNECT b.example:80 HTTP/1.1\r\n\r\n"), 'A');
	hear("HTTP/1.1 200 yes");
	ck_assert_int_eq(say(GET("evil.example")), 'R');
	ck_assert_int_eq(say("CONNECT b.example:80 HTTP/1.1\r\n\r\n"), 'R');
	ck_assert_int_eq(say(GET("b.example")), 'A');
	policy_destroy(p);
	setup(80);
	ck_assert_int_eq(say("CONNECT c.example:22 HTTP/1.1\r\n\r\n"), 'A');
	hear("HTTP/1.0 200 yes");
	ck_assert_int_eq(say("SSH-2.0-x\r\n"), 'A');
	policy_destroy(p);
}
END_TEST

/* ---- TLS ---- */

static char hello(const char *name)
{
	size_t len = strlen(name), n = 5 + 4 + 34 + 1 + 4 + 2 + 2 + 9 + len;
	uint8_t m[400] = {22, 3, 1, 0, (uint8_t)(n - 5), 1, 0, 0, (uint8_t)(n - 9), 3, 3};
	const uint8_t rest[] = {
	    0, 0, 2,           0x13, 1, 1, 0, 0, (uint8_t)(9 + len), 0, 0, 0, (uint8_t)(5 + len), 0, (uint8_t)(3 + len),
	    0, 0, (uint8_t)len};

	memcpy(m + 9 + 34, rest, sizeof(rest));
	memcpy(m + 9 + 34 + sizeof(rest), name, len);
	return say_bytes(m, 9 + 34 + sizeof(rest) + len, false);
}

/* In two pieces. */
static void hear_hello(bool retry)
{
	uint8_t m[60] = {22, 3, 3, 0, 55, 2, 0, 0, 51, 3, 3, 1, 2, 3};
	static const uint8_t random[32] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c,
					   0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
					   0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

	if (retry)
		memcpy(m + 11, random, sizeof(random));
	policy_listen(p, &talk, m, 20);
	policy_listen(p, &talk, m + 20, sizeof(m) - 20);
}

START_TEST(tls)
{
	setup(443);
	ck_assert_int_eq(hello("a.example"), 'A');
	/* Early data goes; a handshake waits. */
	ck_assert_int_eq(say("\x17\3\3\1\1"), 'A');
	talk.clear = 0;
	ck_assert_int_eq(say("\x16\3\3\1\1\x10"), 'M');
	policy_listen(p, &talk, "\x15\3\3\0\2\1\x70", 7);
	hear_hello(false);
	ck_assert_int_eq(say("\x16\3\3\1\1\x10"), 'A');
	policy_destroy(p);
	for (unsigned evil = 0; evil < 2; evil++) {
		setup(443);
		ck_assert_int_eq(hello("a.example"), 'A');
		ck_assert_int_eq(hello("evil.example"), 'M');
		hear_hello(true);
		ck_assert_int_eq(say_bytes("\x14\3\3\0\1\1", 6, true), 'A');
		ck_assert_int_eq(hello(evil ? "evil.example" : "a.example"), evil ? 'R' : 'A');
		if (!evil)
			ck_assert_int_eq(say("anything"), 'A');
		policy_destroy(p);
	}
}
END_TEST

/* A server that speaks no TLS, and could take what follows for HTTP. */
START_TEST(no_tls)
{
	setup(443);
	ck_assert_int_eq(hello("a.example"), 'A');
	ck_assert_int_eq(say(GET("evil.example")), 'R');
	hear("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
	ck_assert_int_eq(say(GET("evil.example")), 'R');
	policy_destroy(p);
}
END_TEST

int main(void)
{
	int failed = unit_run(__FILE__, (const TTest *const[]){keeps_alive, websocket, tunnel, tls, no_tls, NULL});

	return failed | unit_run_loop(__FILE__, http, (int)ARRAY_SIZE(talks));
}
