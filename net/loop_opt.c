/*
 * Options and interface ioctls of AF_INET and AF_INET6 sockets inside the sandbox.
 *
 * Most options tune what packets look like; here they are kept and given back, so that programs that set them go on. The one interface is lo.
 */
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>

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
	struct tcp_info info = {.tcpi_state = TCP_CLOSE};

	if (l->u.state == UNIX_LISTENING)
		info.tcpi_state = TCP_LISTEN;
	else if (l->u.state == UNIX_CONNECTED)
		info.tcpi_state = l->u.shutdown & UNIX_RCV_SHUTDOWN ? TCP_CLOSE_WAIT : TCP_ESTABLISHED;
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

/* ---- interfaces: netdevice(7) ---- */

static const struct sockaddr_in lo_addr = {.sin_family = AF_INET, .sin_addr = {0x0100007f}};
static const struct sockaddr_in lo_mask = {.sin_family = AF_INET, .sin_addr = {0x000000ff}};

static void lo_ifreq(struct ifreq *r, const struct sockaddr_in *addr)
{
	memset(r, 0, sizeof(*r));
	strcpy(r->ifr_name, "lo");
	memcpy(&r->ifr_addr, addr, sizeof(*addr));
}

static long get_ifconf(struct ctx *c, uaddr_t arg)
{
	struct {
		int32_t len, pad;
		uint64_t buf;
	} conf;
	struct ifreq r;

	if (copy_in(c, &conf, arg, sizeof(conf)))
		return -EFAULT;
	lo_ifreq(&r, &lo_addr);
	if (conf.buf && conf.len < (int)sizeof(r)) {
		conf.len = 0;
	} else {
		conf.len = (int)sizeof(r);
		if (conf.buf && copy_out(c, UADDR(conf.buf), &r, sizeof(r)))
			return -EFAULT;
	}
	return copy_out(c, arg, &conf, sizeof(conf));
}

/* Fills in what is asked of lo; r has its name. */
static long lo_answer(uint32_t cmd, struct ifreq *r)
{
	switch (cmd) {
	case SIOCGIFFLAGS:
		r->ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
		return 0;
	case SIOCGIFADDR:
		memcpy(&r->ifr_addr, &lo_addr, sizeof(lo_addr));
		return 0;
	case SIOCGIFNETMASK:
		memcpy(&r->ifr_netmask, &lo_mask, sizeof(lo_mask));
		return 0;
	case SIOCGIFMTU:
		r->ifr_mtu = 65536;
		return 0;
	case SIOCGIFINDEX:
		r->ifr_ifindex = 1;
		return 0;
	case SIOCGIFMETRIC:
		r->ifr_metric = 0;
		return 0;
	case SIOCGIFTXQLEN:
		r->ifr_qlen = 1000;
		return 0;
	case SIOCGIFHWADDR:
		memset(&r->ifr_hwaddr, 0, sizeof(r->ifr_hwaddr));
		r->ifr_hwaddr.sa_family = ARPHRD_LOOPBACK;
		return 0;
	default:
		return -ENOTTY;
	}
}

static bool is_lo_command(uint32_t cmd)
{
	struct ifreq r = {0};

	return cmd == SIOCGIFNAME || lo_answer(cmd, &r) == 0;
}

static long lo_ioctl(struct ctx *c, uint32_t cmd, uaddr_t arg)
{
	struct ifreq r;

	if (copy_in(c, &r, arg, sizeof(r)))
		return -EFAULT;
	if (cmd == SIOCGIFNAME) {
		if (r.ifr_ifindex != 1)
			return -ENODEV;
		strcpy(r.ifr_name, "lo");
	} else {
		r.ifr_name[IFNAMSIZ - 1] = 0;
		if (strcmp(r.ifr_name, "lo") != 0)
			return -ENODEV;
		lo_answer(cmd, &r);
	}
	return copy_out(c, arg, &r, sizeof(r));
}

long loop_ioctl(struct ctx *c, struct socket *s, uint32_t cmd, uint64_t arg)
{
	if (cmd == SIOCGIFCONF)
		return get_ifconf(c, UADDR(arg));
	if (is_lo_command(cmd))
		return lo_ioctl(c, cmd, UADDR(arg));
	return unix_ioctl(c, s, cmd, arg);
}
