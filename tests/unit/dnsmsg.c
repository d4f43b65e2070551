/* DNS messages, made by hand. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "net/nat/dnsmsg.h"
#include "net/stack/addr.h"
#include "tests/kernel/netbed.h"

/* A message that grows. */
static uint8_t m[65536], out[65536];
static size_t n;

static void b8(unsigned v)
{
	m[n++] = (uint8_t)v;
}

static void b16(unsigned v)
{
	b8(v >> 8);
	b8(v & 255);
}

static void b32(uint32_t v)
{
	b16(v >> 16);
	b16(v & 0xffff);
}

static void name(const char *text)
{
	while (*text) {
		size_t len = strcspn(text, ".");

		b8((unsigned)len);
		memcpy(m + n, text, len);
		n += len;
		text += len + (text[len] == '.');
	}
	b8(0);
}

static void head(unsigned flags, unsigned answers, unsigned authorities, unsigned more)
{
	n = 0;
	b16(0x1234);
	b16(flags);
	b16(1);
	b16(answers);
	b16(authorities);
	b16(more);
}

static void question(const char *text, unsigned type)
{
	name(text);
	b16(type);
	b16(1);
}

static void rr(unsigned type, uint32_t ttl, unsigned size)
{
	b16(type);
	b16(1);
	b32(ttl);
	b16(size);
}

static void rr_a(const char *owner, uint32_t ttl, const char *addr)
{
	struct in6_addr a = netbed_addr(addr);

	name(owner);
	rr(DNS_A, ttl, 4);
	memcpy(m + n, a.s6_addr + 12, 4);
	n += 4;
}

static void rr_name(const char *owner, unsigned type, uint32_t ttl, const char *target)
{
	size_t at;

	name(owner);
	rr(type, ttl, 0);
	at = n;
	name(target);
	m[at - 1] = (uint8_t)(n - at);
}

static struct dns_query query(void)
{
	struct dns_query q;

	ck_assert_int_eq(dns_query_parse(m, n, &q), DNS_NOERROR);
	return q;
}

static struct dns_query query_of(const char *text, unsigned type)
{
	head(0x0100, 0, 0, 0);
	question(text, type);
	return query();
}

START_TEST(a_query)
{
	struct dns_query q = query_of("WWW.Example.org", DNS_A);
	char text[NAME_MAX_SIZE];

	ck_assert(q.id == 0x1234 && q.type == DNS_A && q.class == 1 && !q.edns && q.udp_size == 512);
	ck_assert(dns_name_text(&q.name, text));
	ck_assert_str_eq(text, "www.example.org");
	/* Cut off anywhere it is none. */
	for (size_t cut = 0; cut < n; cut++) {
		uint8_t *copy = malloc(cut + 1);
		int want = cut < DNS_HEAD ? -1 : DNS_FORMERR;

		memcpy(copy, m, cut);
		ck_assert_int_eq(dns_query_parse(copy, cut, &q), want);
		free(copy);
	}
}
END_TEST

START_TEST(not_queries)
{
	struct dns_query q;

	query_of("a.org", DNS_A);
	m[2] |= 0x80;
	ck_assert_int_eq(dns_query_parse(m, n, &q), -1);
	query_of("a.org", DNS_A);
	m[2] = 5 << 3; /* an update */
	ck_assert_int_eq(dns_query_parse(m, n, &q), DNS_NOTIMP);
	query_of("a.org", DNS_A);
	m[5] = 2;
	ck_assert_int_eq(dns_query_parse(m, n, &q), DNS_FORMERR);
	m[5] = 0;
	ck_assert_int_eq(dns_query_parse(m, n, &q), DNS_FORMERR);
}
END_TEST

START_TEST(edns)
{
	struct dns_query q, r;

	head(0x0110, 0, 0, 1);
	question("a.org", DNS_AAAA);
	b8(0);
	b16(DNS_OPT);
	b16(4096);
	b32(0x8000);
	b16(8);
	b32(0x00030004);
	b32(0x73656372); /* an option that says something */
	q = query();
	ck_assert(q.edns && q.dnssec_ok && q.udp_size == 4096);
	n = dns_query_build(&q, 0x7777, out, sizeof(out));
	ck_assert_int_eq(dns_query_parse(out, n, &r), DNS_NOERROR);
	ck_assert(r.id == 0x7777 && r.edns && r.dnssec_ok && r.udp_size == 4096 && r.flags == 0x0110);
	ck_assert(dns_name_eq(&q.name, &r.name));
	ck_assert_ptr_null(memmem(out, n, "secr", 4));
	/* Two of them are one too many. */
	head(0, 0, 0, 2);
	question("a.org", DNS_A);
	for (int i = 0; i < 2; i++) {
		b8(0);
		rr(DNS_OPT, 0, 0);
	}
	ck_assert_int_eq(dns_query_parse(m, n, &r), DNS_FORMERR);
}
END_TEST

START_TEST(strange_names)
{
	struct dns_name d;
	char text[NAME_MAX_SIZE];
	size_t at;

	/* A pointer to itself, and one ahead. */
	n = 0;
	b16(0xc000);
	at = 0;
	ck_assert(!dns_name_read(m, n, &at, &d));
	n = 0;
	b16(0xc002);
	name("a.org");
	at = 0;
	ck_assert(!dns_name_read(m, n, &at, &d));
	/* Pointers to pointers, without end. */
	n = 0;
	name("a");
	for (unsigned i = 0; i < 100; i++)
		b16(0xc000 | (i ? 3 + 2 * (i - 1) : 0));
	at = 3 + 2 * 20;
	ck_assert(dns_name_read(m, n, &at, &d) && d.size == 3 && at == 3 + 2 * 21);
	at = 3 + 2 * 90;
	ck_assert(!dns_name_read(m, n, &at, &d));
	/* 255 bytes are a name, 256 are not. */
	n = 0;
	for (int i = 0; i < 127; i++)
		b16(0x0161);
	b8(0);
	at = 0;
	ck_assert(dns_name_read(m, n, &at, &d) && d.size == 255);
	n--;
	b16(0x0161);
	b8(0);
	at = 0;
	ck_assert(!dns_name_read(m, n, &at, &d));
	/* A label of a reserved kind, and a dot inside of one. */
	n = 0;
	b8(0x41);
	at = 0;
	ck_assert(!dns_name_read(m, n, &at, &d));
	n = 0;
	b8(3);
	memcpy(m + n, "a.b", 3);
	n += 3;
	b8(0);
	at = 0;
	ck_assert(dns_name_read(m, n, &at, &d) && !dns_name_text(&d, text) && !*text);
	n = 0;
	b8(0);
	at = 0;
	ck_assert(dns_name_read(m, n, &at, &d) && !dns_name_text(&d, text));
}
END_TEST

START_TEST(own_answers)
{
	struct in6_addr lo = netbed_addr("127.0.0.1");
	struct dns_query q = query_of("localhost", DNS_A);

	n = dns_reply_build(&q, DNS_NOERROR, &lo, false, out, sizeof(out));
	ck_assert(dns_is_answer(&q, 0x1234, out, n));
	ck_assert(out[7] == 1 && memcmp(out + n - 4, "\x7f\0\0\1", 4) == 0);
	n = dns_reply_build(&q, DNS_NXDOMAIN, NULL, true, out, sizeof(out));
	ck_assert(dns_rcode(out) == DNS_NXDOMAIN && out[7] == 0 && out[11] == 0);
	q.edns = true;
	n = dns_reply_build(&q, DNS_NXDOMAIN, NULL, true, out, sizeof(out));
	ck_assert(out[11] == 1 && out[n - 1] == 15 && out[n - 5] == 15);
	for (size_t room = 0; room < n; room++)
		ck_assert_uint_lt(dns_reply_build(&q, DNS_NXDOMAIN, NULL, true, out, room), n);
}
END_TEST

START_TEST(whose_answer)
{
	struct dns_query q = query_of("a.org", DNS_A), other = query_of("b.org", DNS_A);

	head(0x8180, 0, 0, 0);
	question("A.org", DNS_A);
	ck_assert(dns_is_answer(&q, 0x1234, m, n));
	ck_assert(!dns_is_answer(&q, 0x1235, m, n));
	ck_assert(!dns_is_answer(&other, 0x1234, m, n));
	q.type = DNS_AAAA;
	ck_assert(!dns_is_answer(&q, 0x1234, m, n));
	q.type = DNS_A;
	for (size_t cut = 0; cut < n; cut++)
		ck_assert(!dns_is_answer(&q, 0x1234, m, cut));
	m[2] &= 0x7f;
	ck_assert(!dns_is_answer(&q, 0x1234, m, n));
}
END_TEST

/* ---- the sieve ---- */

static char learnt[512];

static bool note(void *arg, const struct in6_addr *addr, uint32_t ttl)
{
	const char *drop = arg;
	char text[INET6_ADDRSTRLEN], line[100];
	bool v4 = addr_is_v4(addr);

	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr->s6_addr + 12 : addr->s6_addr, text, sizeof(text));
	if (drop && strcmp(drop, text) == 0)
		return false;
	snprintf(line, sizeof(line), "%s/%u ", text, ttl);
	strcat(learnt, line);
	return true;
}

static size_t filter(const struct dns_query *q, const char *drop, size_t room)
{
	struct dns_sieve sieve = {.address = note, .arg = (void *)drop};

	learnt[0] = 0;
	return dns_filter(q, m, n, &sieve, out, room);
}

START_TEST(sieve_follows_aliases)
{
	struct dns_query q = query_of("www.example.org", DNS_A);
	size_t size;

	head(0x8180, 6, 0, 0);
	question("www.example.org", DNS_A);
	rr_a("Node.cdn.example", 20, "192.0.2.1"); /* in any order */
	rr_name("www.example.org", DNS_CNAME, 300, "alias.example");
	rr_name("alias.example", DNS_CNAME, 10, "node.cdn.example");
	rr_a("node.cdn.example", 5, "192.0.2.2");
	rr_a("else.example", 60, "192.0.2.3");
	rr_name("x.example", DNS_CNAME, 1, "y.example");
	size = filter(&q, NULL, sizeof(out));
	ck_assert_str_eq(learnt, "192.0.2.1/10 192.0.2.2/5 ");
	ck_assert(out[7] == 5 && dns_is_answer(&q, 0x1234, out, size));
	ck_assert_ptr_null(memmem(out, size, "\xc0\0\2\3", 4));
	/* What comes out goes in again, and is smaller than without compression. */
	ck_assert_uint_lt(size, n);
	memcpy(m, out, size);
	n = size;
	ck_assert_uint_eq(filter(&q, NULL, sizeof(out)), size);
	ck_assert_str_eq(learnt, "192.0.2.1/10 192.0.2.2/5 ");
}
END_TEST

START_TEST(sieve_leaves_out)
{
	struct dns_query q = query_of("www.example.org", DNS_A);
	size_t size;

	head(0x8180, 4, 1, 3);
	question("www.example.org", DNS_A);
	rr_a("www.example.org", 20, "10.0.0.1");
	rr_a("www.example.org", 20, "192.0.2.1");
	name("www.example.org");
	rr(DNS_HTTPS, 60, 7);
	memcpy(m + n, "ech=key", 7);
	n += 7;
	name("www.example.org");
	rr(DNS_TXT, 60, 5);
	memcpy(m + n, "\4text", 5);
	n += 5;
	rr_name("example.org", DNS_NS, 60, "ns.example.org");
	rr_a("ns.example.org", 60, "192.0.2.53");
	b8(0);
	b16(DNS_OPT);
	b16(1232);
	b32(0);
	b16(0);
	name("sig");
	rr(250, 0, 0);
	size = filter(&q, "10.0.0.1", sizeof(out));
	ck_assert_str_eq(learnt, "192.0.2.1/20 ");
	ck_assert(out[7] == 2 && out[9] == 1 && out[11] == 1);
	ck_assert_ptr_null(memmem(out, size, "\12\0\0\1", 4));
	ck_assert_ptr_null(memmem(out, size, "\xc0\0\2\65", 4));
	ck_assert_ptr_null(memmem(out, size, "ech=", 4));
	ck_assert_ptr_nonnull(memmem(out, size, "\4text", 5));
}
END_TEST

START_TEST(sieve_loops)
{
	struct dns_query q = query_of("a.org", DNS_A);

	head(0x8180, 3, 0, 0);
	question("a.org", DNS_A);
	rr_name("a.org", DNS_CNAME, 60, "b.org");
	rr_name("b.org", DNS_CNAME, 60, "a.org");
	rr_a("b.org", 60, "192.0.2.1");
	ck_assert_uint_ne(filter(&q, NULL, sizeof(out)), 0);
	ck_assert_str_eq(learnt, "192.0.2.1/60 ");
}
END_TEST

START_TEST(sieve_room)
{
	struct dns_query q = query_of("a.org", DNS_TXT);
	size_t size;

	head(0x8180, 20, 0, 0);
	question("a.org", DNS_TXT);
	for (int i = 0; i < 20; i++) {
		name("a.org");
		rr(DNS_TXT, 60, 100);
		memset(m + n, 'x', 100);
		n += 100;
	}
	size = filter(&q, NULL, 512);
	ck_assert(size && size <= 512 && out[2] & 2 && out[7] == 0 && out[5] == 1);
	size = filter(&q, NULL, sizeof(out));
	ck_assert(!(out[2] & 2) && out[7] == 20);
	q.udp_size = 600;
	memcpy(out, m, n);
	ck_assert_uint_eq(dns_truncate(&q, out, n), DNS_HEAD + q.name.size + 4u);
	ck_assert(out[2] & 2 && out[7] == 0);
	ck_assert_uint_eq(dns_truncate(&q, m, 600), 600);
}
END_TEST

START_TEST(sieve_malformed)
{
	struct dns_query q = query_of("a.org", DNS_A);
	size_t whole;

	head(0x8180, 2, 0, 0);
	question("a.org", DNS_A);
	rr_name("a.org", DNS_CNAME, 60, "b.org");
	rr_a("b.org", 60, "192.0.2.1");
	whole = n;
	for (n = DNS_HEAD + 11; n < whole; n++) {
		uint8_t *copy = malloc(n);
		struct dns_sieve sieve = {.address = note};

		learnt[0] = 0;
		memcpy(copy, m, n);
		ck_assert_uint_eq(dns_filter(&q, copy, n, &sieve, out, sizeof(out)), 0);
		free(copy);
	}
	/* A name that goes beyond its record's data. */
	head(0x8180, 1, 0, 0);
	question("a.org", DNS_A);
	rr_name("a.org", DNS_CNAME, 60, "b.org");
	m[n - 8]--;
	n--;
	ck_assert_uint_eq(filter(&q, NULL, sizeof(out)), 0);
	/* An address of a wrong size is none. */
	head(0x8180, 1, 0, 0);
	question("a.org", DNS_A);
	name("a.org");
	rr(DNS_A, 60, 3);
	b16(0);
	b8(0);
	ck_assert_uint_ne(filter(&q, NULL, sizeof(out)), 0);
	ck_assert_str_eq(learnt, "");
	ck_assert_uint_eq(out[7], 0);
}
END_TEST

UNIT_MAIN(a_query, not_queries, edns, strange_names, own_answers, whose_answer, sieve_follows_aliases, sieve_leaves_out,
	  sieve_loops, sieve_room, sieve_malformed)
