/* What dns.c and dns_conn.c share. Everything is under the gateway's L_NET. */
#pragma once

#include "net/nat/dns.h"
#include "net/stack/dgram.h"
#include "net/stack/tcp.h"

#define DNS_QUESTIONS_MAX 256u /* each has a descriptor */
#define DNS_CONNS_MAX 64u
#define DNS_CONN_QUESTIONS_MAX 16u
#define DNS_QUEUE_BYTES (256u << 10)
#define DNS_QUERY_MAX 4096u /* bytes, by TCP */

struct dns_conn;

/* Who asks. */
struct dns_client {
	struct dns_conn *conn; /* NULL: by UDP */
	struct in6_addr addr;
	uint16_t port;
	unsigned at;
};

struct dns_question {
	struct dns_exchange x;
	struct dns *d;
	struct list link;
	struct dns_client client;
	char name[NAME_MAX_SIZE]; /* with a policy */
};

/* An address where it listens. */
struct dns_at {
	struct dns *d;
	struct in6_addr addr;
	struct udp_sock udp;
	struct tcp_sock *tcp;
	struct wakeup tcp_wakeup;
};

struct dns {
	struct stack *stack;
	struct dns_config config;
	struct policy *policy;
	struct dns_at at[2];
	unsigned at_count, count, conn_count, turn;
	struct list questions;
	int64_t complained;
	uint8_t scratch[DNS_MESSAGE_MAX], out[DNS_MESSAGE_MAX];
};

/* dns.c */
/* One message of a client's, which may lie in d->scratch. */
void dns_ask(struct dns *d, const struct dns_client *c, const uint8_t *msg, size_t n) REQUIRES(L_NET);
/* The connection goes: its questions are not answered. */
void dns_forget(struct dns *d, const struct dns_conn *conn) REQUIRES(L_NET);

/* dns_conn.c */
int __must_check dns_listen_stream(struct dns_at *at) REQUIRES(L_NET);
/* One for each of dns_ask(), unless the connection goes first. */
void dns_conn_answer(struct dns_conn *c, const uint8_t *msg, size_t n) REQUIRES(L_NET);
