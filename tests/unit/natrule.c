/* Rules of --allow-net, names, and resolv.conf(5). */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "net/nat/rule.h"
#include "net/stack/addr.h"
#include "runsc-shim/resolv.h"
#include "tests/kernel/netbed.h"

static const struct {
	const char *text, *want; /* want: as described() has it; or a piece of what is wrong, after "!" */
} rules[] = {
    {"example.org", "host example.org"},
    {"Example.ORG.", "host example.org"},
    {"example.org:443", "host example.org 443-443"},
    {"example.org.:443", "host example.org 443-443"},
    {"example.org:8000-8999", "host example.org 8000-8999"},
    {"*.example.org", "below example.org"},
    {"*.Example.org:22", "below example.org 22-22"},
    {"xn--bcher-kva.example", "host xn--bcher-kva.example"},
    {"localhost", "host localhost"},
    {"_sip._tcp.example.org", "host _sip._tcp.example.org"},
    {"192.0.2.7", "net 192.0.2.7/32"},
    {"192.0.2.7:80", "net 192.0.2.7/32 80-80"},
    {"192.0.2.0/24", "net 192.0.2.0/24"},
    {"192.0.2.0/24:1-65535", "net 192.0.2.0/24 1-65535"},
    {"0.0.0.0/0", "net 0.0.0.0/0"},
    {"2001:db8::1", "net 2001:db8::1/128"},
    {"2001:db8::/32", "net 2001:db8::/32"},
    {"[2001:db8::1]", "net 2001:db8::1/128"},
    {"[2001:db8::1]:443", "net 2001:db8::1/128 443-443"},
    {"[2001:db8::/32]:1-9", "net 2001:db8::/32 1-9"},
    {"::/0", "net ::/0"},
    {"", "!empty"},
    {":443", "!in front of the port"},
    {"example.org:", "!a port is a number"},
    {"example.org:0", "!a port is a number"},
    {"example.org:65536", "!a port is a number"},
    {"example.org:http", "!a port is a number"},
    {"example.org:443x", "!a port is a number"},
    {"example.org:9-8", "!ends before it begins"},
    {"example.org:1-", "!FIRST-LAST"},
    {"example.org:-1", "!a port is a number"},
    {"example.org:1-2-3", "!FIRST-LAST"},
    {"*", "!whole first label"},
    {"*.", "!neither"},
    {"*example.org", "!whole first label"},
    {"a.*.org", "!whole first label"},
    {"*.*.org", "!whole first label"},
    {"b\xc3\xbc"
     "cher.example",
     "!ASCII"},
    {"a..b", "!neither"},
    {".", "!neither"},
    {".example.org", "!neither"},
    {"exam ple.org", "!neither"},
    {"http://example.org", "!a port is a number"},
    {"example.org/path", "!neither a host nor a network"},
    {"192.0.2.256", "!not an IPv4 address"},
    {"10.0.0", "!not an IPv4 address"},
    {"192.0.2.0/33", "!0 to 32"},
    {"192.0.2.0/", "!0 to 32"},
    {"192.0.2.0/x", "!0 to 32"},
    {"192.0.2.1/24", "!behind its prefix"},
    {"2001:db8::1/32", "!behind its prefix"},
    {"2001:db8::/129", "!0 to 128"},
    {"2001:db8::1:443:x", "!not an IPv6 address"},
    {"[192.0.2.1]:80", "!an IPv6 address or network between"},
    {"[::ffff:192.0.2.1]:80", "!an IPv6 address or network between"},
    {"[2001:db8::1", "!brackets are for"},
    {"[2001:db8::1]443", "!only :PORT"},
    {"[2001:db8::1]:", "!a port is a number"},
    {"[]:1", "!an IPv6 address or network between"},
};

static const char *described(const struct rule *r)
{
	static char text[400];
	char addr[INET6_ADDRSTRLEN];
	bool v4 = addr_is_v4(&r->addr);
	int n;

	if (r->kind == RULE_NET) {
		inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? r->addr.s6_addr + 12 : r->addr.s6_addr, addr, sizeof(addr));
		n = snprintf(text, sizeof(text), "net %s/%u", addr, v4 ? r->bits - V4_BITS : r->bits);
	} else {
		n = snprintf(text, sizeof(text), "%s %s", r->kind == RULE_HOST ? "host" : "below", r->name);
	}
	if (r->port_given)
		snprintf(text + n, sizeof(text) - (size_t)n, " %u-%u", r->port_min, r->port_max);
	return text;
}

START_TEST(parse)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		struct rule r;
		const char *why = rule_parse(rules[i].text, strlen(rules[i].text), &r);

		if (*rules[i].want == '!')
			ck_assert_msg(why && strstr(why, rules[i].want + 1), "%s: %s", rules[i].text,
				      why ? why : described(&r));
		else
			ck_assert_msg(!why && strcmp(described(&r), rules[i].want) == 0, "%s: %s", rules[i].text,
				      why ? why : described(&r));
	}
}
END_TEST

static struct rule rule(const char *text)
{
	struct rule r;

	ck_assert_ptr_null(rule_parse(text, strlen(text), &r));
	return r;
}

START_TEST(names_match)
{
	struct rule host = rule("example.org"), below = rule("*.example.org");

	ck_assert(rule_has_name(&host, "example.org"));
	ck_assert(!rule_has_name(&host, "a.example.org"));
	ck_assert(!rule_has_name(&host, "notexample.org"));
	ck_assert(rule_has_name(&below, "a.example.org"));
	ck_assert(rule_has_name(&below, "a.b.example.org"));
	ck_assert(!rule_has_name(&below, "example.org"));
	ck_assert(!rule_has_name(&below, "notexample.org"));
	ck_assert(!rule_has_name(&below, ""));
}
END_TEST

START_TEST(addresses_match)
{
	struct rule v4 = rule("192.0.2.0/25:80-90"), all4 = rule("0.0.0.0/0"), all6 = rule("::/0");
	struct in6_addr in = netbed_addr("192.0.2.127"), out = netbed_addr("192.0.2.128"),
			six = netbed_addr("2001:db8::1");

	ck_assert(rule_has_addr(&v4, &in) && !rule_has_addr(&v4, &out) && !rule_has_addr(&v4, &six));
	ck_assert(rule_has_port(&v4, 80) && rule_has_port(&v4, 90) && !rule_has_port(&v4, 79) &&
		  !rule_has_port(&v4, 91));
	ck_assert(rule_has_addr(&all4, &out) && !rule_has_addr(&all4, &six));
	ck_assert(rule_has_addr(&all6, &six) && !rule_has_addr(&all6, &out));
	ck_assert(rule_has_port(&all6, 0) && rule_has_port(&all6, 65535));
}
END_TEST

START_TEST(long_names)
{
	char text[300], name[NAME_MAX_SIZE];

	memset(text, 'a', sizeof(text));
	ck_assert(name_from_text(text, 63, name) && !name_from_text(text, 64, name));
	for (size_t i = 63; i < 253; i += 64)
		text[i] = '.';
	ck_assert(name_from_text(text, 253, name) && !name_from_text(text, 254, name));
	ck_assert_uint_eq(strlen(name), 253);
	ck_assert(name_is_localhost("localhost") && name_is_localhost("a.localhost") &&
		  !name_is_localhost("alocalhost"));
}
END_TEST

static struct resolv_spec parsed(const char *text)
{
	struct resolv_spec r = {.fd = -1};

	resolv_parse(text, strlen(text), &r);
	return r;
}

START_TEST(resolv_conf)
{
	struct resolv_spec r =
	    parsed("# nameserver 10.0.0.9\n; x\nnameserver 10.0.0.1\nnameserver\t2001:db8::1 # here\n"
		   " nameserver 10.0.0.8\nnameserver nonsense\nnameserver fe80::1%lo\nnameserver 10.0.0.7\n"
		   "domain first.example\nsearch a.example  b.example\r\nsearch c.example d.example # e\n"
		   "options ndots:2 timeout:3 attempts:4 rotate edns0\noptions trust-ad $(x)\nsortlist 1.2.3.4\nsearch"
		   " last.example");
	struct in6_addr a = netbed_addr("10.0.0.1"), b = netbed_addr("2001:db8::1"), c = netbed_addr("fe80::1");

	ck_assert_uint_eq(r.dns.server_count, 3);
	ck_assert(addr_eq(&r.dns.servers[0].addr, &a) && addr_eq(&r.dns.servers[1].addr, &b));
	ck_assert(addr_eq(&r.dns.servers[2].addr, &c));
	ck_assert_uint_eq(r.dns.servers[2].scope, 1);
	ck_assert_str_eq(r.search, "last.example");
	ck_assert_str_eq(r.options, "ndots:2 edns0 trust-ad");
	ck_assert(r.dns.rotate && r.dns.timeout == 3 && r.dns.attempts == 4);
}
END_TEST

START_TEST(resolv_conf_default)
{
	static const char text[] = "nameserver 10.0.0.1\ndomain x.example y\noptions timeout:999";
	struct in6_addr lo = netbed_addr("127.0.0.1");
	struct resolv_spec r = parsed("");

	ck_assert(r.dns.server_count == 1 && addr_eq(&r.dns.servers[0].addr, &lo));
	ck_assert(r.dns.timeout == 5 && r.dns.attempts == 2 && !r.dns.rotate);
	r = (struct resolv_spec){.given = true, .dns = {.server_count = 1}};
	resolv_parse(text, sizeof(text) - 1, &r);
	ck_assert_uint_eq(r.dns.server_count, 1);
	ck_assert_str_eq(r.search, "x.example");
	ck_assert_uint_eq(r.dns.timeout, 30);
}
END_TEST

START_TEST(resolvers_addresses)
{
	static const char *const bad[] = {
	    "", "1.2.3", "x", "1.2.3.4%lo", "2001:db8::1%lo", "fe80::1%nosuchif", "1.2.3.4:53", "fe80::1%", "[::1]"};
	struct dns_server s;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!resolv_address(bad[i], &s), "%s", bad[i]);
	ck_assert(resolv_address("fe80::1%7", &s) && s.scope == 7);
}
END_TEST

UNIT_MAIN(parse, names_match, addresses_match, long_names, resolv_conf, resolv_conf_default, resolvers_addresses)
