/*
 * Interface ioctls: netdevice(7). They work on sockets of any family. The one interface is lo. It counts the bytes that sockets send through it;
 * there are no headers, nor packets but in this account.
 */
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>

#include "net/socket.h"

#define LO_MTU 65536

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
		r->ifr_mtu = LO_MTU;
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

long netdev_ioctl(struct ctx *c, uint32_t cmd, uint64_t arg)
{
	if (cmd == SIOCGIFCONF)
		return get_ifconf(c, UADDR(arg));
	return is_lo_command(cmd) ? lo_ioctl(c, cmd, UADDR(arg)) : -ENOTTY;
}
