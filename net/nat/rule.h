/* What --allow-net allows: one rule, and how it is written. */
#pragma once

#include <netinet/in.h>

#include "net/nat/name.h"

enum rule_kind {
	RULE_NET,     /* addresses */
	RULE_HOST,    /* one name */
	RULE_DOMAINS, /* all names below one, which is not meant itself */
};

struct rule {
	enum rule_kind kind;
	struct in6_addr addr; /* RULE_NET: IPv4 mapped */
	unsigned bits;        /* RULE_NET: of its prefix, out of 128 */
	char name[NAME_MAX_SIZE];
	uint16_t port_min, port_max; /* 0 to 65535, unless: */
	bool port_given;
};

/*
 * HOST, *.DOMAIN, ADDRESS or ADDRESS/BITS, and then perhaps :PORT or :FIRST-LAST; an IPv6 address that a port follows is in brackets. n bytes.
 * NULL, or what is wrong with it, in words.
 */
const char *__must_check rule_parse(const char *text, size_t n, struct rule *ret);
bool rule_has_port(const struct rule *r, uint16_t port);
/* Of RULE_HOST and RULE_DOMAINS; a name in the form of name.h. */
bool rule_has_name(const struct rule *r, const char *name);
bool rule_has_addr(const struct rule *r, const struct in6_addr *addr);
