/* TCP options on the wire: RFC 9293 3.2, 7323, 2018, 7413. */
#pragma once

#include "net/stack/tcp.h"

#define TCP_OPTIONS_MAX 40
#define TCP_SACKS_MAX 4

/* RFC 7413 */
struct tcp_cookie {
	uint8_t size; /* 0: none; else 4 to 16, even */
	uint8_t bytes[16];
};

struct tcp_options {
	uint16_t mss;   /* 0: none */
	uint8_t wscale; /* <= 14 */
	bool wscale_ok, ts_ok, sack_ok;
	bool fastopen; /* the option is there; without a cookie it asks for one */
	struct tcp_cookie cookie;
	uint32_t tsval, tsecr;
	uint8_t sack_count;
	struct tcp_sack_block sacks[TCP_SACKS_MAX];
};

/*
 * n <= 40 bytes from a stranger. What is malformed ends the parse; what came before counts. syn: those of a SYN only.
 */
void tcp_options_parse(struct tcp_options *ret, const uint8_t *p, size_t n, bool syn);
/* Bytes written, a multiple of 4. sack_count is cut to what fits. */
size_t tcp_options_build(const struct tcp_options *o, uint8_t to[TCP_OPTIONS_MAX]);
