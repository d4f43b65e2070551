/* What is allowed by which rules, and by what was learnt. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/nat/egress.h"
#include "net/nat/learnt.h"
#include "sentry/base/clock.h"
#include "sentry/base/log.h"
#include "sentry/base/slab.h"
#include "tests/kernel/netbed.h"

static struct policy *p;
static struct rule rules[16];
static size_t rule_count;
static int64_t now;
static FILE *log_file;

static int64_t clock_of_ours(void)
{
	return now;
}

static void setup(const char *text)
{
	const struct policy_config c = {.rules = rules, .rule_count = 0, .now = clock_of_ours};
	struct policy_config full = c;

	rule_count = 0;
	while (*text) {
		size_t len = strcspn(text, ",");

		ck_assert_ptr_null(rule_parse(text, len, &rules[rule_count++]));
		text += len + (text[len] == ',');
	}
	full.rule_count = rule_count;
	now = 1000 * NSEC_PER_SEC;
	log_file = tmpfile();
	log_init(fileno(log_file), LOG_WARN, false);
	p = policy_create(&full);
	ck_assert_ptr_nonnull(p);
}

static size_t live;

static void add_live(const struct slab *s, void *arg __unused)
{
	live += s->live;
}

static void finish(void)
{
	policy_destroy(p);
	live = 0;
	slab_for_each(add_live, NULL);
	ck_assert_uint_eq(live, 0);
	fclose(log_file);
}

static const char *logged(void)
{
	static char text[8192];
	size_t got;

	fflush(log_file);
	got = (size_t)MAX(pread(fileno(log_file), text, sizeof(text) - 1, 0), 0);
	text[got] = 0;
	ck_assert_int_eq(ftruncate(fileno(log_file), 0), 0);
	lseek(fileno(log_file), 0, SEEK_SET);
	return text;
}

static struct nat_flow flow(uint8_t protocol, const char *dst, uint16_t port)
{
	return (struct nat_flow){protocol, netbed_addr("10.0.2.15"), netbed_addr(dst), 40000, port};
}

static char verdict(uint8_t protocol, const char *dst, uint16_t port) NO_TSA;
static char verdict(uint8_t protocol, const char *dst, uint16_t port)
{
	struct nat_flow f = flow(protocol, dst, port);

	return "ARL"[policy_flow(p, &f)];
}

static char tcp(const char *dst, uint16_t port)
{
	return verdict(IPPROTO_TCP, dst, port);
}

static char udp(const char *dst, uint16_t port)
{
	return verdict(IPPROTO_UDP, dst, port);
}

static bool learn(const char *name, const char *addr, uint32_t ttl)
{
	struct in6_addr a = netbed_addr(addr);

	return policy_learn(p, name, &a, ttl);
}

static char look(const char *dst, uint16_t port, const char *says)
{
	struct nat_flow f = flow(IPPROTO_TCP, dst, port);

	return "MAR"[policy_look(p, &f, &(struct nat_talk){.clear = 0}, says, strlen(says))];
}

static char look_host(const char *dst, uint16_t port, const char *host)
{
	char text[400];

	snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host);
	return look(dst, port, text);
}

/* A ClientHello with that name. */
static char look_tls(const char *dst, uint16_t port, const char *name)
{
	size_t len = strlen(name), n = 5 + 4 + 34 + 1 + 4 + 2 + 2 + 9 + len;
	struct nat_flow f = flow(IPPROTO_TCP, dst, port);
	uint8_t m[400] = {22, 3, 1, 0, (uint8_t)(n - 5), 1, 0, 0, (uint8_t)(n - 9), 3, 3};
	uint8_t *at = m + 9 + 34;
	const uint8_t rest[] = {
	    0, 0, 2,           0x13, 1, 1, 0, 0, (uint8_t)(9 + len), 0, 0, 0, (uint8_t)(5 + len), 0, (uint8_t)(3 + len),
	    0, 0, (uint8_t)len};

	memcpy(at, rest, sizeof(rest));
	memcpy(at + sizeof(rest), name, len);
	return "MAR"[policy_look(p, &f, &(struct nat_talk){.clear = 0}, m, (size_t)(at - m) + sizeof(rest) + len)];
}

START_TEST(no_policy)
{
	struct nat_flow f = flow(IPPROTO_TCP, "192.0.2.1", 22);
	struct nat_talk t = {.clear = 0};

	ck_assert_int_eq(policy_look(NULL, &f, &t, "x", 1), LOOK_ALLOW);
	ck_assert_uint_eq(t.clear, UINT64_MAX);
}
END_TEST

START_TEST(networks)
{
	setup("192.0.2.0/24,198.51.100.7:53,[2001:db8::/32]:80-90");
	ck_assert_int_eq(tcp("192.0.2.9", 1), 'A');
	ck_assert_int_eq(udp("192.0.2.9", 443), 'A');
	ck_assert_int_eq(verdict(IPPROTO_ICMP, "192.0.2.9", 0), 'A');
	ck_assert_int_eq(tcp("192.0.3.9", 1), 'R');
	ck_assert_int_eq(udp("198.51.100.7", 53), 'A');
	ck_assert_int_eq(tcp("198.51.100.7", 54), 'R');
	ck_assert_int_eq(verdict(IPPROTO_ICMP, "198.51.100.7", 0), 'R');
	ck_assert_int_eq(tcp("2001:db8::5", 85), 'A');
	ck_assert_int_eq(tcp("2001:db8::5", 91), 'R');
	ck_assert_int_eq(tcp("2001:db9::5", 85), 'R');
	finish();
}
END_TEST

START_TEST(names)
{
	setup("www.example.org,*.cdn.example");
	ck_assert(policy_asks(p, "www.example.org") && policy_asks(p, "a.cdn.example"));
	ck_assert(!policy_asks(p, "cdn.example") && !policy_asks(p, "example.org") && !policy_asks(p, ""));
	/* An address that nobody asked for. */
	ck_assert_int_eq(tcp("192.0.2.1", 443), 'R');
	ck_assert(learn("www.example.org", "192.0.2.1", 300));
	ck_assert_int_eq(tcp("192.0.2.1", 443), 'L');
	ck_assert_int_eq(tcp("192.0.2.1", 80), 'L');
	ck_assert_int_eq(tcp("192.0.2.1", 22), 'L');
	ck_assert_int_eq(tcp("192.0.2.2", 443), 'R');
	/* Names hide here. */
	ck_assert_int_eq(udp("192.0.2.1", 443), 'R');
	ck_assert_int_eq(udp("192.0.2.1", 1000), 'R');
	ck_assert_int_eq(verdict(IPPROTO_ICMP, "192.0.2.1", 0), 'R');
	/* Resolvers. */
	ck_assert_int_eq(tcp("192.0.2.1", 53), 'R');
	ck_assert_int_eq(tcp("192.0.2.1", 853), 'R');
	ck_assert_int_eq(udp("192.0.2.1", 53), 'R');
	finish();
}
END_TEST

START_TEST(names_with_ports)
{
	setup("git.example:22,mail.example:25-587,web.example:443,time.example:123,quic.example:443,dns.example:53");
	ck_assert(learn("git.example", "192.0.2.1", 60));
	ck_assert(learn("mail.example", "192.0.2.2", 60));
	ck_assert(learn("web.example", "192.0.2.3", 60));
	ck_assert(learn("time.example", "192.0.2.4", 60));
	ck_assert(learn("dns.example", "192.0.2.5", 60));
	ck_assert_int_eq(tcp("192.0.2.1", 22), 'A');
	ck_assert_int_eq(tcp("192.0.2.1", 443), 'R');
	/* The range has the web's ports in it. */
	ck_assert_int_eq(tcp("192.0.2.2", 25), 'A');
	ck_assert_int_eq(tcp("192.0.2.2", 443), 'L');
	ck_assert_int_eq(tcp("192.0.2.2", 80), 'L');
	ck_assert_int_eq(tcp("192.0.2.3", 443), 'L');
	ck_assert_int_eq(tcp("192.0.2.3", 80), 'R');
	ck_assert_int_eq(udp("192.0.2.3", 443), 'R');
	ck_assert_int_eq(udp("192.0.2.4", 123), 'A');
	ck_assert_int_eq(udp("192.0.2.4", 124), 'R');
	ck_assert_int_eq(udp("192.0.2.5", 53), 'R');
	ck_assert_int_eq(tcp("192.0.2.5", 53), 'R');
	finish();
}
END_TEST

START_TEST(what_it_says)
{
	setup("a.example,b.example:443,*.c.example,10.1.0.0/16:7");
	ck_assert(learn("a.example", "192.0.2.1", 60));
	ck_assert(learn("b.example", "192.0.2.1", 60));
	ck_assert(learn("x.c.example", "192.0.2.3", 60));
	ck_assert_int_eq(look_tls("192.0.2.1", 443, "a.example"), 'A');
	ck_assert_int_eq(look_tls("192.0.2.1", 443, "A.Example"), 'A');
	ck_assert_int_eq(look_tls("192.0.2.1", 443, "b.example"), 'A');
	ck_assert_int_eq(look_tls("192.0.2.1", 8443, "a.example"), 'A');
	ck_assert_int_eq(look_tls("192.0.2.1", 8443, "b.example"), 'R');
	/* The same address, another name; an allowed name that is elsewhere. */
	ck_assert_int_eq(look_tls("192.0.2.1", 443, "evil.example"), 'R');
	ck_assert_int_eq(look_tls("192.0.2.1", 443, "x.c.example"), 'R');
	ck_assert_int_eq(look_tls("192.0.2.3", 443, "y.c.example"), 'R');
	ck_assert_int_eq(look_tls("192.0.2.3", 443, "x.c.example"), 'A');
	ck_assert_int_eq(look_host("192.0.2.1", 80, "a.example"), 'A');
	ck_assert_int_eq(look_host("192.0.2.1", 80, "a.example:80"), 'A');
	ck_assert_int_eq(look_host("192.0.2.1", 80, "b.example"), 'R');
	ck_assert_int_eq(look_host("192.0.2.1", 80, "evil.example"), 'R');
	ck_assert_int_eq(look_host("192.0.2.1", 80, "192.0.2.1"), 'R');
	ck_assert_int_eq(look("192.0.2.1", 80, "CONNECT b.example:443 HTTP/1.1\r\n\r\n"), 'A');
	ck_assert_int_eq(look("192.0.2.1", 80, "CONNECT b.example:22 HTTP/1.1\r\n\r\n"), 'R');
	ck_assert_int_eq(look("192.0.2.1", 80, "CONNECT evil.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n"), 'R');
	ck_assert_int_eq(look("192.0.2.1", 80, "CONNECT 10.1.2.3:7 HTTP/1.1\r\n\r\n"), 'A');
	ck_assert_int_eq(look("192.0.2.1", 80, "CONNECT 10.1.2.3:8 HTTP/1.1\r\n\r\n"), 'R');
	ck_assert_int_eq(look("192.0.2.1", 22, "SSH-2.0-x\r\n"), 'R');
	ck_assert_int_eq(look("192.0.2.1", 80, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 'R');
	ck_assert_int_eq(look("192.0.2.1", 80, ""), 'M');
	ck_assert_int_eq(look("192.0.2.1", 80, "GET / HT"), 'M');
	finish();
}
END_TEST

START_TEST(look_has_an_end)
{
	char *much = malloc(NAT_LOOK_MAX + 1);
	struct nat_flow f = flow(IPPROTO_TCP, "192.0.2.1", 80);
	struct nat_talk t = {.clear = 0};

	setup("a.example");
	memset(much, 'a', NAT_LOOK_MAX + 1);
	memcpy(much, "GET /", 5);
	ck_assert_int_eq(policy_look(p, &f, &t, much, NAT_LOOK_MAX - 1), LOOK_MORE);
	ck_assert_int_eq(policy_look(p, &f, &t, much, NAT_LOOK_MAX), LOOK_REFUSE);
	free(much);
	finish();
}
END_TEST

START_TEST(rebinding)
{
	static const char *const never[] = {
	    "10.1.2.3",  "127.0.0.1",       "169.254.169.254", "172.31.0.1",    "192.168.1.1", "100.64.0.1", "0.0.0.0",
	    "224.0.0.1", "255.255.255.255", "198.18.0.1",      "::1",           "::",          "fe80::1",    "fd00::3",
	    "ff02::1",   "::7f00:1",        "64:ff9b::7f00:1", "2002:7f00:1::", "fec0::1"};

	setup("a.example,10.9.0.0/16:80,fd00:1::/32");
	for (size_t i = 0; i < ARRAY_SIZE(never); i++) {
		ck_assert_msg(!learn("a.example", never[i], 60), "%s", never[i]);
		ck_assert_int_eq(tcp(never[i], 443), 'R');
	}
	ck_assert(learn("a.example", "10.9.1.1", 60) && learn("a.example", "fd00:1::1", 60));
	ck_assert(learn("a.example", "172.32.0.1", 60) && learn("a.example", "2600::1", 60));
	ck_assert(learn("a.example", "64:ff9b::c000:0201", 60) && learn("a.example", "2002:c000:201::", 60));
	finish();
}
END_TEST

START_TEST(time_passes)
{
	setup("a.example");
	learn("a.example", "192.0.2.1", 5);
	learn("a.example", "192.0.2.2", 200);
	learn("a.example", "192.0.2.3", UINT32_MAX);
	now += 59 * NSEC_PER_SEC;
	ck_assert_int_eq(tcp("192.0.2.1", 80), 'L'); /* for a minute at least, and a minute more when it is used */
	now += 59 * NSEC_PER_SEC;
	ck_assert_int_eq(tcp("192.0.2.1", 80), 'L');
	now += 61 * NSEC_PER_SEC;
	ck_assert_int_eq(tcp("192.0.2.1", 80), 'R');
	ck_assert_int_eq(look_host("192.0.2.1", 80, "a.example"), 'R');
	ck_assert_int_eq(tcp("192.0.2.2", 80), 'L');
	now += 23 * 3600 * NSEC_PER_SEC;
	ck_assert_int_eq(tcp("192.0.2.2", 80), 'R');
	ck_assert_int_eq(tcp("192.0.2.3", 80), 'L');
	finish();
}
END_TEST

START_TEST(bounded)
{
	char text[64];

	setup("*.example");
	for (unsigned i = 0; i < 3 * LEARNT_MAX; i++) {
		snprintf(text, sizeof(text), "198.51.%u.%u", i >> 8, i & 255);
		ck_assert(learn("a.example", text, 60));
		if (i == 10)
			ck_assert_int_eq(tcp("198.51.0.0", 80), 'L');
	}
	ck_assert_int_eq(tcp("198.51.0.0", 80), 'R');
	ck_assert_int_eq(tcp(text, 80), 'L');
	for (unsigned i = 0; i < 2 * LEARNT_OF_ADDR_MAX; i++) {
		snprintf(text, sizeof(text), "n%u.example", i);
		now += NSEC_PER_SEC;
		ck_assert(learn(text, "203.0.113.1", 60));
	}
	ck_assert_int_eq(look_host("203.0.113.1", 80, text), 'A');
	ck_assert_int_eq(look_host("203.0.113.1", 80, "n0.example"), 'R');
	finish();
}
END_TEST

START_TEST(what_is_said)
{
	setup("a.example:80");
	learn("a.example", "192.0.2.1", 60);
	tcp("192.0.2.1", 443);
	ck_assert_ptr_nonnull(
	    strstr(logged(), "refused: a process that is not known to 192.0.2.1:443 (a.example): no --allow-net"));
	tcp("192.0.2.1", 443);
	ck_assert_str_eq(logged(), "");
	look_host("192.0.2.1", 80, "evil.example");
	ck_assert_ptr_nonnull(strstr(logged(), "to 192.0.2.1:80 (evil.example): no --allow-net has this name"));
	udp("2001:db8::1", 53);
	ck_assert_ptr_nonnull(strstr(logged(), "to [2001:db8::1]:53/udp: no --allow-net has this address"));
	verdict(IPPROTO_ICMP, "192.0.2.7", 0);
	ck_assert_ptr_nonnull(strstr(logged(), "to 192.0.2.7/icmp: "));
	now += 61 * NSEC_PER_SEC;
	tcp("192.0.2.1", 443);
	ck_assert_ptr_nonnull(strstr(logged(), "192.0.2.1:443"));
	finish();
}
END_TEST

static void ask(const char *name) NO_TSA;
static void ask(const char *name)
{
	struct nat_flow f = flow(IPPROTO_UDP, "10.0.2.3", 53);

	policy_refuse_name(p, &f, name);
}

START_TEST(many_refusals)
{
	const char *text;
	unsigned lines = 0;
	char name[32];

	setup("a.example");
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "n%u.evil.example", i);
		ask(name);
	}
	text = logged();
	ck_assert_ptr_nonnull(strstr(text, "asks for the name n0.evil.example"));
	for (; *text; text++)
		lines += *text == '\n';
	ck_assert_uint_gt(lines, 10);
	ck_assert_uint_lt(lines, 50);
	now += 10 * NSEC_PER_SEC;
	ask("last.evil.example");
	text = logged();
	ck_assert_ptr_nonnull(strstr(text, "more, which are not listed"));
	ck_assert_ptr_nonnull(strstr(text, "last.evil.example"));
	finish();
}
END_TEST

UNIT_MAIN(no_policy, networks, names, names_with_ports, what_it_says, look_has_an_end, rebinding, time_passes, bounded,
	  what_is_said, many_refusals)
