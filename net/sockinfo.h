/*
 * What is told about sockets in general, as /proc/net does: a walk over all of them that gives copies, so that its user holds no lock and may
 * take any time.
 */
#pragma once

#include <netinet/in.h>
#include <sys/un.h>

#include "net/socket.h"

struct sock_info {
	uint16_t family, type;
	int protocol;
	uint8_t
	    state; /* TCP_* of netinet/tcp.h; for other sockets TCP_LISTEN, TCP_ESTABLISHED (connected) or TCP_CLOSE */
	uint64_t ino;     /* 0: it has no descriptor yet, nobody has accepted it */
	uint32_t uid;     /* whose descriptor it is */
	uint32_t refs;    /* references, without this walk's */
	uint32_t unread;  /* bytes that can be read; of a listener: connections to accept */
	uint32_t charged; /* memory that what is unread takes */
	uint32_t unsent;  /* bytes that the peer has not acknowledged */
	uint32_t backlog; /* of a listener of TCP: how many connections may wait */
	uint32_t drops;   /* datagrams that found no room */
	/* TCP: its timer (0 none, 1 retransmission, 2 keep-alive, 3 TIME_WAIT, 4 probe), and what is due when; ns */
	uint8_t timer, retransmits, probes, quick;
	int64_t timer_left, rto, ato;
	uint32_t cwnd;
	int32_t ssthresh;
	/* Internet sockets: IPv4 in its mapped form; ports in host order; of raw ones the local one is the protocol. */
	struct in6_addr local, remote;
	uint16_t local_port, remote_port;
	/* Packet sockets: the interface; the protocol is the local port. */
	unsigned dev;
	bool running;
	/* Unix sockets: the name, of name_len bytes. */
	uint16_t name_len;
	char name[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/* Calls fn for each open socket of that namespace (NULL: any) and family (AF_UNSPEC: all), newest first. No lock is held. */
void socket_for_each(const struct netns *net, int family, void (*fn)(const struct sock_info *i, void *arg), void *arg);
