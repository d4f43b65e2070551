/*
 * DNS messages, RFC 1035: what the gateway's resolver must understand of them. Nothing here keeps state or allocates; everything that is read is
 * hostile, from the guest as from the servers.
 */
#pragma once

#include <netinet/in.h>

#include "net/nat/name.h"

#define DNS_PORT 53
#define DNS_HEAD 12u
#define DNS_MESSAGE_MAX 65535u
#define DNS_UDP_MIN 512u /* what every client takes */

enum dns_type {
	DNS_A = 1,
	DNS_NS = 2,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_PTR = 12,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_OPT = 41,
	DNS_SVCB = 64,
	DNS_HTTPS = 65,
	DNS_IXFR = 251,
	DNS_AXFR = 252,
};

enum dns_rcode { DNS_NOERROR, DNS_FORMERR, DNS_SERVFAIL, DNS_NXDOMAIN, DNS_NOTIMP, DNS_REFUSED };

/* As on the wire, uncompressed, with the root's label at the end. */
struct dns_name {
	uint8_t size;
	uint8_t wire[255];
};

struct dns_query {
	uint16_t id, flags; /* as they came */
	struct dns_name name;
	uint16_t type, class;
	bool edns, dnssec_ok;
	uint16_t udp_size; /* the largest answer that the client takes by UDP */
};

/* The name at *at, which moves behind it. False: it is cut off, too long, or its pointers lead in a circle. */
bool __must_check dns_name_read(const uint8_t *msg, size_t n, size_t *at, struct dns_name *ret);
/* Whatever the case of their letters. */
bool dns_name_eq(const struct dns_name *a, const struct dns_name *b);
/* False: it has bytes that the name of a host has not; ret is "". */
bool dns_name_text(const struct dns_name *name, char ret[NAME_MAX_SIZE]);

/* DNS_NOERROR; the rcode to answer with; -1: nothing is to be answered. *ret is as far as it was understood, at least id and flags. */
int __must_check dns_query_parse(const uint8_t *msg, size_t n, struct dns_query *ret);
/* The same question with nothing else in it: what a guest put into a query that is not the question does not go out. Bytes; 0: no room. */
size_t dns_query_build(const struct dns_query *q, uint16_t id, uint8_t *to, size_t room);
/*
 * An answer of our own. addr: NULL, or what the name is, for DNS_A and DNS_AAAA. blocked: it says so to who understands RFC 8914. Bytes; 0: no room.
 */
size_t dns_reply_build(const struct dns_query *q, enum dns_rcode rcode, const struct in6_addr *addr, bool blocked,
		       uint8_t *to, size_t room);
/* Whether msg is the answer to q, which was sent with that id. */
bool dns_is_answer(const struct dns_query *q, uint16_t id, const uint8_t *msg, size_t n);
enum dns_rcode dns_rcode(const uint8_t *msg);
void dns_set_id(uint8_t *msg, uint16_t id);
/* To what a client takes by UDP: the header and the question, with TC set. Bytes. */
size_t dns_truncate(const struct dns_query *q, uint8_t *msg, size_t n);

struct dns_sieve {
	/* An address that the answer gives to the name that was asked for, by CNAMEs or not. False: the record is left out. */
	bool (*address)(void *arg, const struct in6_addr *addr, uint32_t ttl);
	void *arg;
};
/*
 * A copy of an answer to q (dns_is_answer()) with what sieve lets through: addresses of the name that was asked for, and records of other types but
 * SVCB and HTTPS, which say how a name can be hidden. If there is no room it is truncated. Bytes; 0: it is malformed.
 */
size_t dns_filter(const struct dns_query *q, const uint8_t *msg, size_t n, const struct dns_sieve *sieve, uint8_t *to,
		  size_t room);
