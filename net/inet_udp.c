/* UDP and UDP-Lite sockets: udp(7), udplite(7). What they have of their own among datagram sockets (inet_dgram.c). */
#include "net/inet.h"

static void udp_open(struct inet_dgram *g) REQUIRES(L_NET)
{
	udp_init(&g->udp, g->i.s.family == AF_INET6);
}

static void udplite_open(struct inet_dgram *g) REQUIRES(L_NET)
{
	udplite_init(&g->udp, g->i.s.family == AF_INET6);
}

static void udp_end(struct inet_dgram *g) REQUIRES(L_NET)
{
	udp_close(g->i.stack, &g->udp);
}

static int udp_bind_to(struct inet_dgram *g, const struct inet_name *n) REQUIRES(L_NET)
{
	return udp_bind(g->i.stack, &g->udp, &n->addr, n->port, n->dev);
}

static int udp_connect_to(struct inet_dgram *g, const struct inet_name *n) REQUIRES(L_NET)
{
	return udp_connect(g->i.stack, &g->udp, &n->addr, n->port, n->dev);
}

static void udp_end_connection(struct inet_dgram *g) REQUIRES(L_NET)
{
	udp_disconnect(g->i.stack, &g->udp);
}

static int udp_send_to(struct inet_dgram *g, struct pkt *p, const struct dgram_to *to) REQUIRES(L_NET)
{
	return udp_send(g->i.stack, &g->udp, p, to);
}

static struct port_bind *udp_port(struct inet_dgram *g)
{
	return &g->udp.bind;
}

const struct dgram_kind udp_kind = {
    .type = SOCK_DGRAM,
    .protocol = IPPROTO_UDP,
    .udp = true,
    .size_max = 65507,
    .open = udp_open,
    .close = udp_end,
    .bind = udp_bind_to,
    .connect = udp_connect_to,
    .disconnect = udp_end_connection,
    .send = udp_send_to,
    .port = udp_port,
};

const struct dgram_kind udplite_kind = {
    .type = SOCK_DGRAM,
    .protocol = IPPROTO_UDPLITE,
    .udp = true,
    .size_max = 65507,
    .open = udplite_open,
    .close = udp_end,
    .bind = udp_bind_to,
    .connect = udp_connect_to,
    .disconnect = udp_end_connection,
    .send = udp_send_to,
    .port = udp_port,
};
