/*
 * Options of AF_INET and AF_INET6 sockets inside the sandbox.
 *
 * Most options tune what packets look like; here they are kept and given back, so that
 * programs that set them go on.
 */
#include <netinet/tcp.h>
#include <string.h>

#include "net/loop.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

static const struct {
	int level, name, start;
} int_options[] = {
    {IPPROTO_TCP, TCP_NODELAY, 0},
    {IPPROTO_TCP, TCP_CORK, 0},
    {IPPROTO_TCP, TCP_MAXSEG, 65483},
    {IPPROTO_TCP, TCP_KEEPIDLE, 7200},
    {IPPROTO_TCP, TCP_KEEPINTVL, 75},
    {IPPROTO_TCP, TCP_KEEPCNT, 9},
    {IPPROTO_TCP, TCP_SYNCNT, 6},
    {IPPROTO_TCP, TCP_LINGER2, 60},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, 0},
    {IPPROTO_TCP, TCP_QUICKACK, 1},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, 0},
    {IPPROTO_TCP, TCP_FASTOPEN, 0},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0},
    {IPPROTO_IP, IP_TOS, 0},
    {IPPROTO_IP, IP_TTL, 64},
    {IPPROTO_IP, IP_PKTINFO, 0},
    {IPPROTO_IP, IP_RECVERR, 0},
    {IPPROTO_IP, IP_RECVTTL, 0},
    {IPPROTO_IP, IP_RECVTOS, 0},
    {IPPROTO_IP, IP_MTU_DISCOVER, 1},
    {IPPROTO_IP, IP_FREEBIND, 0},
    {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0},
    {IPPROTO_IP, IP_MULTICAST_TTL, 1},
    {IPPROTO_IP, IP_MULTICAST_LOOP, 1},
    {IPPROTO_IPV6, IPV6_V6ONLY, 0},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO, 0},
    {IPPROTO_IPV6, IPV6_RECVERR, 0},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, 64},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1},
    {IPPROTO_IPV6, IPV6_TCLASS, 0},
    {IPPROTO_IPV6, IPV6_RECVTCLASS, 0},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER, 1},
};
_Static_assert(ARRAY_SIZE(int_options) <= LOOP_OPTIONS, "room in struct loop_sock");

static int option_index(int level, int name)
{
	for (size_t i = 0; i < ARRAY_SIZE(int_options); i++)
		if (int_options[i].level == level && int_options[i].name == name)
			return (int)i;
	return -1;
}

void loop_options_init(struct loop_sock *l)
{
	for (size_t i = 0; i < ARRAY_SIZE(int_options); i++)
		l->options[i] = int_options[i].start;
}

/* Options of other protocols than the socket's own. */
static bool level_fits(const struct socket *s, int level)
{
	if (level == IPPROTO_TCP)
		return s->type == SOCK_STREAM;
	return level == IPPROTO_IP || (level == IPPROTO_IPV6 && s->family == AF_INET6);
}

int loop_setsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, size_t size)
{
	struct loop_sock *l = loop_of(s);
	int i = option_index(level, name), v = 0, err;
	unsigned char byte;

	if (level == SOL_SOCKET || !level_fits(s, level))
		return -ENOPROTOOPT;
	if (level == IPPROTO_TCP && name == TCP_CONGESTION)
		return 0;
	if (i < 0)
		return -ENOPROTOOPT;
	if (level == IPPROTO_IP && size >= 1 && size < sizeof(v)) {
		err = copy_in(c, &byte, value, 1);
		v = byte;
	} else {
		err = sockopt_int(c, value, size, &v);
	}
	if (err)
		return err;
	if (name == IPV6_V6ONLY && level == IPPROTO_IPV6) {
		if (l->local.port)
			return -EINVAL;
		l->v6only = v != 0;
	}
	l->options[i] = v;
	return 0;
}

static int get_tcp_info(struct loop_sock *l, void *value, size_t *size)
{
	struct tcp_info info = {.tcpi_state = loop_tcp_state(l)};

	*size = MIN(*size, sizeof(info));
	memcpy(value, &info, *size);
	return 0;
}

int loop_getsockopt(struct ctx *c __unused, struct socket *s, int level, int name, void *value, size_t *size)
{
	struct loop_sock *l = loop_of(s);
	int i = option_index(level, name);

	if (level == SOL_SOCKET && name == SO_ACCEPTCONN) {
		*(int *)value = l->u.state == UNIX_LISTENING;
		*size = MIN(*size, sizeof(int));
		return 0;
	}
	if (level == SOL_SOCKET || !level_fits(s, level))
		return level == SOL_SOCKET ? -ENOPROTOOPT : -EOPNOTSUPP;
	if (level == IPPROTO_TCP && name == TCP_INFO)
		return get_tcp_info(l, value, size);
	if (level == IPPROTO_TCP && name == TCP_CONGESTION) {
		*size = MIN(*size, 16u);
		memcpy(value, "cubic\0\0\0\0\0\0\0\0\0\0", *size);
		return 0;
	}
	if (i < 0)
		return -ENOPROTOOPT;
	*(int *)value = l->options[i];
	*size = MIN(*size, sizeof(int));
	return 0;
}
