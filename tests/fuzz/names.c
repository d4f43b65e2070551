/*
 * Fuzzes what reads names from a guest and from servers: DNS messages, ClientHellos, HTTP requests, rules and resolv.conf.
 *
 *	KIND BYTE...	KIND & 7: 0 a query, 1 an answer through the sieve, 2 TLS, 3 HTTP, 4 a rule, 5 resolv.conf, 6 or 7 an answer as it is
 */
#include <string.h>

#include "net/nat/dnsmsg.h"
#include "net/nat/peek.h"
#include "net/nat/rule.h"
#include "net/nat/talk.h"
#include "runsc-shim/resolv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t out[DNS_MESSAGE_MAX], again[DNS_MESSAGE_MAX];

#define MUST(cond)                                                                                                     \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			__builtin_trap();                                                                              \
	} while (0)

static bool odd_addresses(void *arg __unused, const struct in6_addr *addr, uint32_t ttl __unused)
{
	return addr->s6_addr[15] & 1;
}

static void query(const uint8_t *data, size_t n)
{
	struct dns_query q, r;
	char text[NAME_MAX_SIZE];
	size_t size;

	if (dns_query_parse(data, n, &q) == DNS_NOERROR) {
		MUST(dns_name_text(&q.name, text) == (*text != 0) && strlen(text) <= 253);
		size = dns_query_build(&q, 7, out, sizeof(out));
		MUST(size && dns_query_parse(out, size, &r) == DNS_NOERROR && dns_name_eq(&q.name, &r.name));
		MUST(r.type == q.type && r.class == q.class && r.edns == q.edns && r.udp_size == q.udp_size);
	}
	if (n >= DNS_HEAD)
		MUST(dns_reply_build(&q, DNS_NXDOMAIN, NULL, true, out, sizeof(out)));
}

/* The answer to whatever it says that was asked. */
static bool asked(const uint8_t *data, size_t n, struct dns_query *ret)
{
	size_t at = DNS_HEAD;

	*ret = (struct dns_query){.udp_size = 512};
	if (n < DNS_HEAD || !dns_name_read(data, n, &at, &ret->name) || n - at < 4)
		return false;
	ret->type = (uint16_t)(data[at] << 8 | data[at + 1]);
	ret->class = (uint16_t)(data[at + 2] << 8 | data[at + 3]);
	ret->id = (uint16_t)(data[0] << 8 | data[1]);
	return dns_is_answer(ret, ret->id, data, n);
}

static void sift(const uint8_t *data, size_t n)
{
	const struct dns_sieve sieve = {.address = odd_addresses};
	struct dns_query q;
	size_t size;

	if (!asked(data, n, &q))
		return;
	size = dns_filter(&q, data, n, &sieve, out, sizeof(out));
	/* What it makes is well formed, and stays as it is. */
	if (size) {
		MUST(dns_is_answer(&q, q.id, out, size));
		MUST(dns_filter(&q, out, size, &sieve, again, sizeof(again)) == size);
	}
	size = dns_filter(&q, data, n, &sieve, out, DNS_UDP_MIN);
	MUST(size <= DNS_UDP_MIN);
}

static void truncate_answer(const uint8_t *data, size_t n)
{
	struct dns_query q;

	if (!asked(data, n, &q))
		return;
	memcpy(out, data, n);
	MUST(dns_truncate(&q, out, n) <= n);
}

static enum peek chunk(const uint8_t *data, size_t n, struct peeked *ret)
{
	return http_peek_chunk(data, n, false, ret);
}

/* More bytes make no other name of what was one. */
static void peek(enum peek (*fn)(const uint8_t *, size_t, struct peeked *), const uint8_t *data, size_t n)
{
	struct peeked part, whole;
	enum peek all = n ? fn(data, n, &whole) : PEEK_MORE;

	for (size_t i = 1; i < n && n < 600; i += 1 + n / 16) {
		enum peek some = fn(data, i, &part);

		MUST(some == PEEK_MORE || some == all);
		if (some == PEEK_OK)
			MUST(strcmp(part.name, whole.name) == 0 && part.connect == whole.connect);
	}
	if (all == PEEK_OK)
		MUST(fn == chunk ? whole.size > 0 : whole.is_addr || strlen(whole.name) > 0);
	if (all == PEEK_BAD)
		MUST(whole.why);
}

/* A guest who is always allowed, and a server, by turns. */
static void talk(const uint8_t *data, size_t n)
{
	struct nat_talk t = {.clear = 0};
	struct peeked seen;

	while (n && t.clear != UINT64_MAX) {
		size_t part = MIN(t.clear, n);

		data += part;
		n -= part;
		t.clear -= part;
		if (!n)
			break;
		if (talk_peek(&t, data, n, &seen) == PEEK_OK) {
			talk_allow(&t, &seen, false);
			MUST(t.clear);
		} else if (t.listens) {
			part = MIN(n, 1u + *data % 50);
			talk_listen(&t, data, part);
			data += part;
			n -= part;
		} else {
			break;
		}
	}
}

static void rule(const uint8_t *data, size_t n)
{
	struct rule r;

	if (!rule_parse((const char *)data, n, &r))
		MUST(r.port_min <= r.port_max && r.bits <= 128 && (r.kind == RULE_NET || *r.name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct resolv_spec spec = {.fd = -1};

	if (!size)
		return 0;
	data++;
	size--;
	switch (data[-1] & 7) {
	case 0:
		query(data, size);
		break;
	case 1:
		sift(data, size);
		break;
	case 2:
		peek(tls_peek, data, size);
		break;
	case 3:
		peek(http_peek, data, size);
		break;
	case 4:
		rule(data, size);
		break;
	case 5:
		resolv_parse((const char *)data, size, &spec);
		break;
	case 6:
		peek(chunk, data, size);
		talk(data, size);
		break;
	default:
		truncate_answer(data, size);
	}
	return 0;
}
