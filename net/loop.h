/*
 * AF_INET and AF_INET6 inside the sandbox: TCP and UDP over 127.0.0.0/8 and ::1, and nothing else. What the files net/loop*.c share. They make way
 * for the TCP/IP stack.
 */
#pragma once

#include <netinet/in.h>

#include "net/unix.h"

/* An address and port; IPv4 in its mapped form. */
struct loop_name {
	struct in6_addr addr;
	uint16_t port; /* host order; 0: none */
};

#define LOOP_OPTIONS 40

struct loop_sock {
	struct unix_sock u;      /* first member; u.s.lock guards what is not said otherwise */
	struct loop_name local;  /* port: also L_SOCKNAME */
	struct loop_name remote; /* of a connection, or a datagram socket's default */
	bool has_remote;
	bool v6only;
	bool reset;                  /* the peer is gone and we wrote to it */
	uint32_t drops;              /* datagrams that found no room */
	int options[LOOP_OPTIONS];   /* loop_opt.c */
	struct loop_sock *port_next; /* L_SOCKNAME */
};

static inline struct loop_sock *loop_of(struct socket *s)
{
	return container_of(unix_of(s), struct loop_sock, u);
}

extern const struct net_family loop_family4, loop_family6;

/* loop_info.c */
/* TCP_*: a connection that both ends have ended is TCP_CLOSE at once. No lock held. */
uint8_t loop_tcp_state(struct loop_sock *l);
bool loop_info(struct socket *s, struct sock_info *i);

/* loop_opt.c */
void loop_options_init(struct loop_sock *l);
int loop_setsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, size_t size);
int loop_getsockopt(struct ctx *c, struct socket *s, int level, int name, void *value, size_t *size);
