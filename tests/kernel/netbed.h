/*
 * A network stack on a bench: time stands still unless it is told to pass, random numbers come from a seed, and the one
 * Ethernet link keeps the frames that are sent. Used by unit tests and by the fuzzer; nothing here needs Check.
 *
 * The stack has 10.0.0.1/24 and 2001:db8::1/64 on "eth0" (02:00:00:00:00:01), a default route by 10.0.0.254 and
 * 2001:db8::fe; the neighbours 10.0.0.2, 10.0.0.254, 2001:db8::2 and 2001:db8::fe are known, all at NETBED_PEER.
 */
#pragma once

#include "net/stack/ip.h"
#include "net/stack/netdev.h"

#define NETBED_FRAME 2048
#define NETBED_SECOND 1000000000ll
extern const uint8_t netbed_mac[6], netbed_peer[6];

struct netbed {
	struct stack *s;
	struct netdev *dev;
	int64_t now, wish; /* ns */
	uint64_t seed;
	struct list sent; /* struct pkt, as the link got them */
	unsigned sent_count;
	bool quiet; /* what is sent is dropped, but counted */
	char line[256];
};

/* False: no memory; what there was is gone. */
bool netbed_init(struct netbed *b);
void netbed_fini(struct netbed *b);
/* A frame comes in. */
void netbed_input(struct netbed *b, const void *frame, size_t n);
/* The first frame that was sent and not yet looked at, in words; "" if there is none. Good until the next call. */
const char *netbed_output(struct netbed *b);
/* The same, as bytes: its length, 0 if there is none. */
size_t netbed_output_bytes(struct netbed *b, uint8_t *to, size_t room);
void netbed_drop_output(struct netbed *b);
void netbed_pass(struct netbed *b, int64_t ns);

/* "10.0.0.1" or "2001:db8::1". */
struct in6_addr netbed_addr(const char *text);

/* A packet to be made; what is 0 is as usual. */
struct netbed_packet {
	const char *src, *dst; /* of one family, which decides */
	uint8_t protocol;      /* 0: none; UDP, TCP and ICMP get headers by what follows */
	uint8_t ttl, tos;
	uint16_t id, frag;     /* as in IPv4's header; IPv6: a fragment header if either is not 0 */
	uint16_t sport, dport; /* UDP, TCP; of an echo its identifier and sequence number */
	uint8_t type, code;    /* ICMP */
	uint32_t rest;         /* ICMP: instead of sport and dport */
	const void *data;      /* NULL: bytes that count up */
	size_t size;
	const uint8_t *options; /* IPv4 options or IPv6 extension headers, as they are */
	size_t options_size;
	uint8_t first_ext;          /* IPv6: what options begin with; their last header must say protocol */
	bool no_sum, bad_sum, bare; /* of UDP; of the transport; without transport header and checksum */
	bool to_all;                /* link broadcast */
	bool no_link;               /* without an Ethernet header */
};
/* The length of the frame. */
size_t netbed_frame(const struct netbed_packet *p, uint8_t *to);
/* netbed_frame() and netbed_input(). */
void netbed_send(struct netbed *b, const struct netbed_packet *p);
size_t netbed_arp(uint8_t *to, uint16_t op, const char *from, const char *target, const uint8_t *mac, bool all);
