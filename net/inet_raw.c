/* Raw sockets, raw(7), and ping sockets, icmp(7). What they have of their own among datagram sockets (inet_dgram.c). */
#include "net/inet.h"

static void open_raw(struct inet_dgram *g) REQUIRES(L_NET)
{
	raw_open(g->i.stack, &g->raw, g->i.s.family == AF_INET6, (uint8_t)g->i.s.protocol);
}

static void close_raw(struct inet_dgram *g) REQUIRES(L_NET)
{
	raw_close(g->i.stack, &g->raw);
}

static int bind_raw(struct inet_dgram *g, const struct inet_name *n) REQUIRES(L_NET)
{
	return raw_bind(g->i.stack, &g->raw, &n->addr, n->dev);
}

static int connect_raw(struct inet_dgram *g, const struct inet_name *n) REQUIRES(L_NET)
{
	return raw_connect(g->i.stack, &g->raw, &n->addr, n->dev);
}

static void disconnect_raw(struct inet_dgram *g) REQUIRES(L_NET)
{
	raw_disconnect(&g->raw);
}

static int send_raw(struct inet_dgram *g, struct pkt *p, const struct dgram_to *to) REQUIRES(L_NET)
{
	return raw_send(g->i.stack, &g->raw, p, to);
}

static void open_ping(struct inet_dgram *g) REQUIRES(L_NET)
{
	ping_init(&g->ping, g->i.s.family == AF_INET6);
}

static void close_ping(struct inet_dgram *g) REQUIRES(L_NET)
{
	ping_close(g->i.stack, &g->ping);
}

static int bind_ping(struct inet_dgram *g, const struct inet_name *n) REQUIRES(L_NET)
{
	return ping_bind(g->i.stack, &g->ping, &n->addr, n->port, n->dev);
}

static int connect_ping(struct inet_dgram *g, const struct inet_name *n) REQUIRES(L_NET)
{
	return ping_connect(g->i.stack, &g->ping, &n->addr, n->dev);
}

static void disconnect_ping(struct inet_dgram *g) REQUIRES(L_NET)
{
	ping_disconnect(g->i.stack, &g->ping);
}

static int send_ping(struct inet_dgram *g, struct pkt *p, const struct dgram_to *to) REQUIRES(L_NET)
{
	return ping_send(g->i.stack, &g->ping, p, to);
}

static struct port_bind *ping_port(struct inet_dgram *g)
{
	return &g->ping.bind;
}

const struct dgram_kind raw_kind = {
    .type = SOCK_RAW,
    .size_max = 65535,
    .open = open_raw,
    .close = close_raw,
    .bind = bind_raw,
    .connect = connect_raw,
    .disconnect = disconnect_raw,
    .send = send_raw,
};

const struct dgram_kind ping_kind = {
    .type = SOCK_DGRAM,
    .protocol = IPPROTO_ICMP,
    .size_max = 65515,
    .open = open_ping,
    .close = close_ping,
    .bind = bind_ping,
    .connect = connect_ping,
    .disconnect = disconnect_ping,
    .send = send_ping,
    .port = ping_port,
};
