/*
 * Rules of --allow-net: see rule.h.
 *
 * What could be meant in two ways is a mistake, not a guess: a network whose host bits are set, a name that looks like an address, a name with
 * letters beyond ASCII (DNS has it as xn--..., which depends on a version of Unicode), a star anywhere but as the first label.
 */
#include "net/nat/rule.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "net/stack/addr.h"

/* A number of up to five digits. */
static bool parse_number(const char *s, size_t n, unsigned max, unsigned *ret)
{
	unsigned v = 0;

	if (n == 0 || n > 5)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (unsigned)(s[i] - '0');
	}
	*ret = v;
	return v <= max;
}

static const char *parse_ports(const char *s, size_t n, struct rule *r)
{
	const char *dash = memchr(s, '-', n);
	size_t first = dash ? (size_t)(dash - s) : n;
	unsigned min, max;

	if (!parse_number(s, first, UINT16_MAX, &min) || min == 0)
		return "a port is a number from 1 to 65535";
	max = min;
	if (dash && (!parse_number(dash + 1, n - first - 1, UINT16_MAX, &max) || max == 0))
		return "a range of ports is FIRST-LAST, with numbers from 1 to 65535";
	if (max < min)
		return "the range of ports ends before it begins";
	r->port_min = (uint16_t)min;
	r->port_max = (uint16_t)max;
	r->port_given = true;
	return NULL;
}

/* Of either family, without its prefix length. */
static bool parse_addr(const char *s, size_t n, struct in6_addr *ret)
{
	char text[INET6_ADDRSTRLEN];
	struct in_addr v4;

	if (n >= sizeof(text))
		return false;
	memcpy(text, s, n);
	text[n] = 0;
	if (inet_pton(AF_INET, text, &v4) == 1) {
		*ret = addr_from_v4(v4.s_addr);
		return true;
	}
	return inet_pton(AF_INET6, text, ret) == 1;
}

/* ADDRESS or ADDRESS/BITS. False: it does not begin with an address. */
static bool parse_net(const char *s, size_t n, struct rule *r, const char **ret_why)
{
	const char *slash = memchr(s, '/', n);
	size_t len = slash ? (size_t)(slash - s) : n;
	unsigned bits, max;
	struct in6_addr masked;

	if (!parse_addr(s, len, &r->addr))
		return false;
	r->kind = RULE_NET;
	max = addr_is_v4(&r->addr) ? 32 : 128;
	bits = max;
	if (slash && !parse_number(slash + 1, n - len - 1, max, &bits)) {
		*ret_why = max == 32 ? "the prefix length must be from 0 to 32"
				     : "the prefix length must be from 0 to 128";
		return true;
	}
	r->bits = bits + 128 - max;
	masked = addr_mask(&r->addr, r->bits);
	*ret_why = addr_eq(&masked, &r->addr) ? NULL
					      : "the address has bits behind its prefix: a network's are 0 there";
	return true;
}

static bool only_numbers(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((s[i] < '0' || s[i] > '9') && s[i] != '.')
			return false;
	return n > 1;
}

static const char *parse_name(const char *s, size_t n, struct rule *r)
{
	r->kind = RULE_HOST;
	for (size_t i = 0; i < n; i++)
		if (s[i] & 0x80)
			return "the name must be in ASCII: as DNS has it, xn--...";
	if (n >= 2 && s[0] == '*' && s[1] == '.') {
		r->kind = RULE_DOMAINS;
		s += 2;
		n -= 2;
	}
	if (memchr(s, '*', n))
		return "a star must be the whole first label: *.example.org";
	if (memchr(s, '/', n))
		return "neither a host nor a network: a network is like 10.0.0.0/8 or 2001:db8::/32";
	if (only_numbers(s, n))
		return "not an IPv4 address, which has four numbers up to 255";
	return name_from_text(s, n, r->name) ? NULL : "neither a host, *.DOMAIN, an address nor a network";
}

static const char *parse_target(const char *s, size_t n, struct rule *r)
{
	const char *why;

	return parse_net(s, n, r, &why) ? why : parse_name(s, n, r);
}

static const char *parse_bracketed(const char *s, size_t n, struct rule *r)
{
	const char *end = memchr(s, ']', n), *why;
	size_t inner = end ? (size_t)(end - s) - 1 : 0;

	if (!end || !memchr(s, ':', n))
		return "brackets are for an IPv6 address or network: [2001:db8::1]:443";
	if (!parse_net(s + 1, inner, r, &why) || addr_is_v4(&r->addr))
		return "there must be an IPv6 address or network between the brackets";
	if (why)
		return why;
	n -= inner + 2;
	if (n == 0)
		return NULL;
	return end[1] == ':' ? parse_ports(end + 2, n - 1, r) : "only :PORT may follow the brackets";
}

const char *rule_parse(const char *text, size_t n, struct rule *ret)
{
	const char *colon = memchr(text, ':', n), *why;
	size_t len = colon ? (size_t)(colon - text) : n;

	*ret = (struct rule){.port_max = UINT16_MAX};
	if (n == 0)
		return "it is empty: everything but what is named here is refused";
	if (text[0] == '[')
		return parse_bracketed(text, n, ret);
	/* More than one colon: an IPv6 address. */
	if (colon && memchr(colon + 1, ':', n - len - 1))
		return parse_net(text, n, ret, &why) ? why : "not an IPv6 address; with a port: [2001:db8::1]:443";
	if (len == 0)
		return "there must be a host, *.DOMAIN, an address or a network in front of the port";
	why = parse_target(text, len, ret);
	return why || !colon ? why : parse_ports(colon + 1, n - len - 1, ret);
}

bool rule_has_port(const struct rule *r, uint16_t port)
{
	return port >= r->port_min && port <= r->port_max;
}

bool rule_has_name(const struct rule *r, const char *name)
{
	if (r->kind == RULE_DOMAINS)
		return name_below(name, r->name);
	return r->kind == RULE_HOST && strcmp(name, r->name) == 0;
}

bool rule_has_addr(const struct rule *r, const struct in6_addr *addr)
{
	return r->kind == RULE_NET && addr_prefix_eq(&r->addr, addr, r->bits) &&
	       (r->bits >= V4_BITS || !addr_is_v4(addr));
}
