/*
 * Interface ioctls: netdevice(7). They work on sockets of any family, and are about the interfaces of the socket's namespace; addresses are those of IPv4. Those that
 * change something need CAP_NET_ADMIN.
 *
 * A request is copied in, answered or carried out under the stack's lock, and copied out. SIOCSIFADDR and SIOCSIFNETMASK replace the first address, with
 * the mask of its class, as Linux does.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>

#include "fs/fdtable.h"
#include "net/hostinet.h"
#include "net/netstack.h"
#include "net/socket.h"
#include "net/stack/addr.h"
#include "net/stack/netdev.h"
#include "sentry/base/cred.h"
#include "sentry/base/slab.h"

#define TX_QUEUE 1000
#define CONF_MAX 4096 /* addresses that SIOCGIFCONF tells of */

static void put_addr(struct ifreq *r, const struct in6_addr *a)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {addr_v4(a)}};

	memset(&r->ifr_ifru, 0, sizeof(r->ifr_ifru));
	memcpy(&r->ifr_addr, &in, sizeof(in));
}

static struct in6_addr mask_of(unsigned plen)
{
	return addr_from_v4(plen > V4_BITS ? htonl(UINT32_MAX << (128 - plen)) : 0);
}

/* The first IPv4 address; NULL: none. */
static struct netdev_addr *first_addr(const struct netdev *d)
{
	struct netdev_addr *a;

	list_for_each(a, &d->addrs, link)
		if (addr_is_v4(&a->addr))
			return a;
	return NULL;
}

/* ---- asking ---- */

struct conf {
	struct ifreq *to;
	unsigned room, count;
};

static void list_addrs(struct stack *s, struct conf *conf) REQUIRES(L_NET)
{
	const struct netdev *d = NULL;
	const struct netdev_addr *a;

	while ((d = netdev_next(s, d ? d->index : 0))) {
		list_for_each(a, &d->addrs, link) {
			if (!addr_is_v4(&a->addr))
				continue;
			if (conf->count < conf->room) {
				memcpy(conf->to[conf->count].ifr_name, d->name, IFNAMSIZ);
				put_addr(&conf->to[conf->count], &a->addr);
			}
			conf->count++;
		}
	}
}

static long get_ifconf(struct ctx *c, struct stack *s, uaddr_t arg)
{
	struct {
		int32_t len, pad;
		uint64_t buf;
	} k;
	struct conf conf = {.count = 0};
	long r = 0;

	if (copy_in(c, &k, arg, sizeof(k)))
		return -EFAULT;
	conf.room = k.buf ? MIN((unsigned)MAX(k.len, 0) / (unsigned)sizeof(struct ifreq), CONF_MAX) : 0;
	conf.to = conf.room ? kalloc(conf.room * sizeof(struct ifreq)) : NULL;
	if (conf.room && !conf.to)
		return -ENOMEM;
	stack_enter(s);
	list_addrs(s, &conf);
	stack_leave(s);
	k.len = (int32_t)((k.buf ? MIN(conf.count, conf.room) : conf.count) * sizeof(struct ifreq));
	if (k.buf && copy_out(c, UADDR(k.buf), conf.to, (size_t)k.len))
		r = -EFAULT;
	kfree(conf.to, conf.room * sizeof(struct ifreq));
	return r ? r : copy_out(c, arg, &k, sizeof(k));
}

/* What is asked of an address. */
static long get_addr(const struct netdev *d, uint32_t cmd, struct ifreq *r)
{
	const struct netdev_addr *a = first_addr(d);
	struct in6_addr mask;

	if (!a)
		return -EADDRNOTAVAIL;
	mask = mask_of(a->plen);
	put_addr(r, cmd == SIOCGIFADDR      ? &a->addr
		    : cmd == SIOCGIFNETMASK ? &mask
		    : cmd == SIOCGIFBRDADDR ? &a->broadcast
					    : &a->peer);
	return 0;
}

static long get_one(const struct netdev *d, uint32_t cmd, struct ifreq *r)
{
	switch (cmd) {
	case SIOCGIFFLAGS:
		r->ifr_flags = (short)d->flags;
		return 0;
	case SIOCGIFADDR:
	case SIOCGIFNETMASK:
	case SIOCGIFBRDADDR:
	case SIOCGIFDSTADDR:
		return get_addr(d, cmd, r);
	case SIOCGIFMTU:
		r->ifr_mtu = (int)d->mtu;
		return 0;
	case SIOCGIFINDEX:
		r->ifr_ifindex = (int)d->index;
		return 0;
	case SIOCGIFMETRIC:
		r->ifr_metric = 0;
		return 0;
	case SIOCGIFTXQLEN:
		r->ifr_qlen = TX_QUEUE;
		return 0;
	case SIOCGIFMAP:
		memset(&r->ifr_map, 0, sizeof(r->ifr_map));
		return 0;
	case SIOCETHTOOL:
		return -EOPNOTSUPP; /* there is no card */
	case SIOCGIFHWADDR:
		memset(&r->ifr_hwaddr, 0, sizeof(r->ifr_hwaddr));
		r->ifr_hwaddr.sa_family = d->type;
		memcpy(r->ifr_hwaddr.sa_data, d->mac, MAC_LEN);
		return 0;
	default:
		return -ENOTTY;
	}
}

/* ---- changing ---- */

/* Replaces the first address. c: what the new one is. */
static long replace_addr(struct stack *s, struct netdev *d, const struct addr_config *c) REQUIRES(L_NET)
{
	const struct netdev_addr *a = first_addr(d);
	struct in6_addr old;

	if (a) {
		old = a->addr;
		if (netdev_del_addr(s, d, &old, a->plen))
			return -EADDRNOTAVAIL;
	}
	return addr_is_any(&c->addr) ? 0 : netdev_add_addr(s, d, c);
}

static struct addr_config config_of(const struct netdev *d, const struct in6_addr *addr, unsigned plen)
{
	struct addr_config c = {.addr = *addr, .peer = *addr, .plen = (uint8_t)plen, .flags = IFA_F_PERMANENT};
	struct in6_addr mask = mask_of(plen);

	c.scope = addr_is_loopback(addr) ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
	c.broadcast = in6addr_any;
	if (d->flags & IFF_BROADCAST && plen < 127)
		c.broadcast = addr_from_v4(addr_v4(addr) | ~addr_v4(&mask));
	c.valid = c.preferred = INT64_MAX;
	return c;
}

/* Of the classes that addresses had once. */
static unsigned class_plen(const struct in6_addr *a)
{
	uint8_t first = a->s6_addr[12];

	return V4_BITS + (first < 128 ? 8 : first < 192 ? 16 : first < 224 ? 24 : 32);
}

static long set_addr(struct stack *s, struct netdev *d, uint32_t cmd, const struct ifreq *r) REQUIRES(L_NET)
{
	const struct netdev_addr *a = first_addr(d);
	struct sockaddr_in in;
	struct addr_config c;
	struct in6_addr to;

	memcpy(&in, &r->ifr_addr, sizeof(in));
	if (in.sin_family != AF_INET)
		return -EINVAL;
	to = addr_from_v4(in.sin_addr.s_addr);
	if (cmd == SIOCSIFADDR) {
		c = config_of(d, &to, class_plen(&to));
		return replace_addr(s, d, &c);
	}
	if (!a)
		return -EADDRNOTAVAIL;
	c = config_of(d, &a->addr, a->plen);
	if (cmd == SIOCSIFBRDADDR)
		c.broadcast = to;
	else if (addr_v4(&to) && ~ntohl(addr_v4(&to)) & (~ntohl(addr_v4(&to)) + 1))
		return -EINVAL; /* a mask with holes */
	else
		c = config_of(d, &a->addr, V4_BITS + (unsigned)__builtin_popcount(addr_v4(&to)));
	return replace_addr(s, d, &c);
}

static long set_name(struct stack *s, struct netdev *d, const struct ifreq *r) REQUIRES(L_NET)
{
	char name[IFNAMSIZ];

	memcpy(name, r->ifr_newname, sizeof(name));
	name[IFNAMSIZ - 1] = 0;
	return d->flags & IFF_UP ? -EBUSY : netdev_set_name(s, d, name);
}

static long set_one(struct stack *s, struct netdev *d, uint32_t cmd, const struct ifreq *r) REQUIRES(L_NET)
{
	switch (cmd) {
	case SIOCSIFFLAGS:
		return netdev_set_flags(s, d, (unsigned)(unsigned short)r->ifr_flags, UINT32_MAX);
	case SIOCSIFADDR:
	case SIOCSIFNETMASK:
	case SIOCSIFBRDADDR:
		return set_addr(s, d, cmd, r);
	case SIOCSIFMTU:
		return r->ifr_mtu < 0 ? -EINVAL : netdev_set_mtu(s, d, (uint32_t)r->ifr_mtu);
	case SIOCSIFNAME:
		return set_name(s, d, r);
	case SIOCSIFHWADDR:
		if (d->flags & IFF_LOOPBACK)
			return -EOPNOTSUPP;
		if (r->ifr_hwaddr.sa_family != d->type)
			return -EINVAL;
		netdev_set_mac(s, d, (const uint8_t *)r->ifr_hwaddr.sa_data);
		return 0;
	case SIOCSIFTXQLEN:
		return r->ifr_qlen < 0 ? -EINVAL : 0;
	default:
		return -EOPNOTSUPP;
	}
}

static bool sets(uint32_t cmd)
{
	switch (cmd) {
	case SIOCSIFFLAGS:
	case SIOCSIFADDR:
	case SIOCSIFNETMASK:
	case SIOCSIFBRDADDR:
	case SIOCSIFMTU:
	case SIOCSIFNAME:
	case SIOCSIFHWADDR:
	case SIOCSIFTXQLEN:
	case SIOCSIFMETRIC:
		return true;
	default:
		return false;
	}
}

static bool gets(uint32_t cmd)
{
	struct netdev none = {.addrs = LIST_INIT(none.addrs)};
	struct ifreq r = {0};

	return cmd == SIOCGIFNAME || get_one(&none, cmd, &r) != -ENOTTY;
}

static long on_interface(struct stack *s, uint32_t cmd, struct ifreq *r)
{
	struct netdev *d;
	long err;

	r->ifr_name[IFNAMSIZ - 1] = 0;
	stack_enter(s);
	d = cmd == SIOCGIFNAME ? netdev_by_index(s, (unsigned)r->ifr_ifindex) : netdev_by_name(s, r->ifr_name);
	if (!d) {
		err = -ENODEV;
	} else if (cmd == SIOCGIFNAME) {
		memcpy(r->ifr_name, d->name, IFNAMSIZ);
		err = 0;
	} else {
		err = sets(cmd) ? set_one(s, d, cmd, r) : get_one(d, cmd, r);
	}
	stack_leave(s);
	return err;
}

/* SIOCGSKNS: a descriptor for the namespace of the socket. */
static long get_namespace(struct ctx *c, struct socket *s)
{
	PATH_REF p = {NULL, NULL};
	FILE_REF f = NULL;
	int err;

	if (!cred_capable(c->cred, CAP_NET_ADMIN))
		return -EPERM;
	err = nsfs_path(s->net ? &s->net->ns : &netns_of(NULL)->ns, &p);
	if (!err)
		err = file_open_path(c, &p, O_RDONLY, &f);
	return err ? err : fd_install(c, take(f), O_CLOEXEC);
}

long netdev_ioctl(struct ctx *c, struct socket *sock, uint32_t cmd, uint64_t arg)
{
	bool set = sets(cmd);
	struct stack *s;
	struct ifreq r;
	long err;

	if (cmd == SIOCGSKNS)
		return get_namespace(c, sock);
	if (cmd != SIOCGIFCONF && !set && !gets(cmd))
		return -ENOTTY;
	if (set && (hostinet_used() || !cred_capable(c->cred, CAP_NET_ADMIN)))
		return -EPERM;
	s = netns_stack(sock->net ? sock->net : netns_of(NULL));
	if (!s)
		return -ENOMEM;
	if (cmd == SIOCGIFCONF)
		return get_ifconf(c, s, UADDR(arg));
	if (copy_in(c, &r, UADDR(arg), sizeof(r)))
		return -EFAULT;
	err = on_interface(s, cmd, &r);
	return err || set ? err : copy_out(c, UADDR(arg), &r, sizeof(r));
}
