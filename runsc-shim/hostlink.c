/*
 * See hostlink.h.
 *
 * A device belongs to the guest while the sandbox runs: its packets reach the guest's stack by a packet socket, and since the host's kernel sees them as well,
 * it must have no address there that it would answer for. So the addresses are taken off the interface, and with them the routes go. A process of
 * its own, the keeper, waits for the launcher's end and puts them back: it survives whatever kills the launcher, by being no part of its session. Where
 * the namespace goes with the sandbox, as a container's does, nobody needs that, and it does no harm.
 *
 * Router advertisements would give the host's interface new addresses: it listens to none meanwhile, where the launcher may say so.
 *
 * The packet socket drops what the host's kernel sends by the interface, and frames of VLANs, whose tags have been taken off: they are not this interface's.
 */
#include "runsc-shim/hostlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_addr.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <net/if_arp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runsc-shim/hostnet.h"

#define TAP_FORM "must be tap:NAME[,address=ADDRESS/LENGTH][,gateway=ADDRESS][,mac=MAC][,mtu=MTU]"
#define GUEST_NAME "eth0"
#define RCVBUF (4 << 20)

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

static int usage(struct error *e, const char *arg, const char *why)
{
	return error_set(e, EXIT_SANDBOX, 0, "see sandbox exec --help", "--net '%s': %s", arg, why);
}

static int no_memory(struct error *e)
{
	return error_set(e, EXIT_SANDBOX, ENOMEM, NULL, "cannot read the network's configuration");
}

/* ---- the command line ---- */

static bool parse_ip(const char *text, struct in6_addr *ret)
{
	*ret = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
	return inet_pton(AF_INET, text, ret->s6_addr + 12) == 1 || inet_pton(AF_INET6, text, ret) == 1;
}

static bool parse_number(const char *text, unsigned low, unsigned high, unsigned *ret)
{
	char *end;
	unsigned long n;

	if (*text < '0' || *text > '9')
		return false;
	n = strtoul(text, &end, 10);
	*ret = (unsigned)n;
	return !*end && n >= low && n <= high;
}

static bool add_address(struct hostnet *h, char *text)
{
	struct hostnet_addr *a = hostnet_add_addr(h);
	char *slash = strchr(text, '/');
	unsigned plen;
	bool v4;

	if (!a || !slash)
		return false;
	*slash = '\0';
	if (!parse_ip(text, &a->addr))
		return false;
	v4 = IN6_IS_ADDR_V4MAPPED(&a->addr);
	if (!parse_number(slash + 1, 1, v4 ? 32 : 128, &plen))
		return false;
	a->plen = (uint8_t)(plen + (v4 ? 96 : 0));
	a->valid = a->preferred = UINT32_MAX;
	a->flags = IFA_F_PERMANENT;
	a->scope = IN6_IS_ADDR_LINKLOCAL(&a->addr) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	if (v4 && plen < 31)
		a->broadcast = a->addr;
	if (v4 && plen < 31)
		a->broadcast.s6_addr32[3] |= htonl(UINT32_MAX >> plen);
	return true;
}

static bool add_gateway(struct hostnet *h, const char *text)
{
	struct hostnet_route *r = hostnet_add_route(h);
	bool v4;

	if (!r || !parse_ip(text, &r->gateway))
		return false;
	v4 = IN6_IS_ADDR_V4MAPPED(&r->gateway);
	r->v6 = !v4;
	r->plen = v4 ? 96 : 0;
	if (v4)
		r->dst = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
	r->table = RT_TABLE_MAIN;
	r->type = RTN_UNICAST;
	r->protocol = RTPROT_STATIC;
	r->flags = RTNH_F_ONLINK;
	return true;
}

static bool parse_mac(const char *text, uint8_t *ret)
{
	int n = 0;

	return sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx%n", &ret[0], &ret[1], &ret[2], &ret[3], &ret[4], &ret[5],
		      &n) == 6 &&
	       !text[n] && n == 17 && !(ret[0] & 1);
}

static bool parse_setting(struct hostnet *h, char *setting)
{
	char *value = strchr(setting, '=');
	unsigned mtu;

	if (!value)
		return false;
	*value++ = '\0';
	if (strcmp(setting, "address") == 0)
		return add_address(h, value);
	if (strcmp(setting, "gateway") == 0)
		return add_gateway(h, value);
	if (strcmp(setting, "mac") == 0)
		return parse_mac(value, h->links->mac);
	if (strcmp(setting, "mtu") != 0 || !parse_number(value, 68, 65521, &mtu))
		return false;
	h->links->mtu = mtu;
	return true;
}

static bool take_name(struct net_spec *n, const char *name, size_t len)
{
	if (len == 0 || len >= sizeof(n->link_name) || memchr(name, '/', len))
		return false;
	memcpy(n->link_name, name, len);
	n->link_name[len] = '\0';
	return true;
}

int hostlink_parse_device(struct net_spec *n, const char *arg, struct error *e)
{
	n->kind = NET_DEVICE;
	if (!take_name(n, arg, strlen(arg)))
		return usage(e, arg, "must be device:NAME, with the name of an interface");
	return 0;
}

int hostlink_parse_tap(struct net_spec *n, const char *arg, struct error *e)
{
	size_t len = strcspn(arg, ",");
	char *settings, *rest, *one;
	bool ok = true;

	n->kind = NET_TAP;
	if (!take_name(n, arg, len))
		return usage(e, arg, TAP_FORM);
	n->host = calloc(1, sizeof(*n->host));
	settings = strdup(arg + len);
	if (!n->host || !settings || !hostnet_add_link(n->host))
		return no_memory(e);
	for (one = strtok_r(settings, ",", &rest); one && ok; one = strtok_r(NULL, ",", &rest))
		ok = parse_setting(n->host, one);
	free(settings);
	return ok ? 0 : usage(e, arg, TAP_FORM);
}

/* ---- TAP ---- */

static const char *tap_advice(int err)
{
	switch (err) {
	case EPERM:
	case EACCES:
		return "it must be yours: ip tuntap add NAME mode tap user USER; or run as root";
	case EBUSY:
		return "another program has it open";
	case EINVAL:
		return "it must be a TAP device: ip tuntap add NAME mode tap";
	default:
		return NULL;
	}
}

static int open_tun(struct error *e)
{
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return error_set(e, EXIT_SANDBOX, errno,
				 errno == ENOENT || errno == ENODEV
				     ? "the host has no TUN/TAP: modprobe tun; in a container: --device /dev/net/tun"
				     : "you must be able to read and write it",
				 "cannot open /dev/net/tun");
	return fd;
}

/* Checksums and large packets are left to whoever needs them. */
static int attach_tap(int fd, const char *name)
{
	struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int header = sizeof(struct virtio_net_hdr);

	memcpy(r.ifr_name, name, sizeof(r.ifr_name));
	if (ioctl(fd, TUNSETIFF, &r) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 ||
	    ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN) < 0)
		return -errno;
	return 0;
}

static uint32_t host_mtu(const char *name)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = {.ifr_mtu = 1500};

	memcpy(r.ifr_name, name, sizeof(r.ifr_name));
	if (fd >= 0 && ioctl(fd, SIOCGIFMTU, &r) < 0)
		r.ifr_mtu = 1500;
	if (fd >= 0)
		close(fd);
	return (uint32_t)r.ifr_mtu;
}

static int open_tap(struct net_spec *n, struct error *e)
{
	struct hostnet_link *l = n->host->links;
	static const uint8_t none[sizeof(l->mac)];
	int err;

	n->link_fd = open_tun(e);
	if (n->link_fd < 0)
		return -1;
	if (!if_nametoindex(n->link_name))
		return error_set(e, EXIT_SANDBOX, ENODEV, "ip tuntap add NAME mode tap user USER",
				 "cannot use '%s' of --net tap", n->link_name);
	err = -attach_tap(n->link_fd, n->link_name);
	if (err)
		return error_set(e, EXIT_SANDBOX, err, tap_advice(err), "cannot use '%s' of --net tap", n->link_name);
	strcpy(l->name, GUEST_NAME);
	l->flags = IFF_UP;
	if (!l->mtu)
		l->mtu = host_mtu(n->link_name);
	if (memcmp(l->mac, none, sizeof(none)) == 0) {
		if (getrandom(l->mac, sizeof(l->mac), 0) != sizeof(l->mac))
			return error_set(e, EXIT_SANDBOX, errno, NULL, "cannot make up a MAC address");
		l->mac[0] = (uint8_t)((l->mac[0] & ~1) | 2);
	}
	return 0;
}

/* ---- AF_PACKET ---- */

static int attach_filter(int fd)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 3, 0),
	    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	    BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog prog = {ARRAY_SIZE(code), code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog));
}

/* Bound last: nothing comes in before all is set. The socket is in the namespace of the caller. */
static int open_packet_socket(unsigned index)
{
	uint16_t all = htons(ETH_P_ALL);
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)index};
	struct packet_mreq groups = {.mr_ifindex = (int)index, .mr_type = PACKET_MR_ALLMULTI};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, size = RCVBUF, err;

	if (fd < 0)
		return -errno;
	memcpy(&to.sll_protocol, &all, sizeof(all));
	/* Old kernels have the filter only. */
	setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) || attach_filter(fd) ||
	    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &groups, sizeof(groups)) ||
	    bind(fd, (struct sockaddr *)&to, sizeof(to))) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* net.ipv6.conf.NAME.accept_ra: the number that it was; -1: unknown, or it cannot be set. */
static int set_accept_ra(const char *name, int value)
{
	char path[64 + IFNAMSIZ], text[16] = "";
	int fd, was = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	if (n > 0)
		was = atoi(text);
	n = snprintf(text, sizeof(text), "%d", value);
	if (pwrite(fd, text, (size_t)n, 0) != n)
		was = -1;
	close(fd);
	return was;
}

/* The standard streams too: somebody may wait for their end. */
static void close_all_but(unsigned low, unsigned high)
{
	if (low > 0)
		close_range(0, low - 1, 0);
	if (high > low + 1)
		close_range(low + 1, high - 1, 0);
	close_range(high + 1, ~0u, 0);
}

/* Until the launcher has gone; then it restores, and that is all it does. */
static void keeper_main(int nl, int life, const struct net_spec *s, int accept_ra) __noreturn;
static void keeper_main(int nl, int life, const struct net_spec *s, int accept_ra)
{
	sigset_t all;
	char byte;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setsid();
	close_all_but((unsigned)MIN(nl, life), (unsigned)MAX(nl, life));
	while (read(life, &byte, 1) < 0 && errno == EINTR)
		continue;
	if (accept_ra >= 0)
		set_accept_ra(s->link_name, accept_ra);
	_exit(hostnet_restore(nl, s->host) ? 1 : 0);
}

static int start_keeper(struct net_spec *n, int nl, struct error *e)
{
	int life[2], accept_ra;

	if (pipe2(life, O_CLOEXEC))
		return error_set(e, EXIT_SANDBOX, errno, NULL, "cannot make a pipe");
	accept_ra = set_accept_ra(n->link_name, 0);
	n->keeper = fork();
	if (n->keeper == 0) {
		close(life[1]);
		keeper_main(nl, life[0], n, accept_ra);
	}
	close(life[0]);
	n->keeper_fd = life[1];
	if (n->keeper > 0)
		return 0;
	close(life[1]);
	n->keeper_fd = -1;
	if (accept_ra >= 0)
		set_accept_ra(n->link_name, accept_ra);
	return error_set(e, EXIT_SANDBOX, errno, NULL, "cannot start the process that restores the interface");
}

static const char *device_advice(int err)
{
	switch (err) {
	case EPERM:
		return "it needs CAP_NET_RAW and CAP_NET_ADMIN in the network namespace: run as root, or by unshare -rn";
	case ENODEV:
		return "ip link shows what there is";
	default:
		return NULL;
	}
}

static int device_error(const struct net_spec *n, int err, struct error *e)
{
	return error_set(e, EXIT_SANDBOX, err, device_advice(err), "cannot use '%s' of --net device", n->link_name);
}

static int check_device(const struct net_spec *n, struct error *e)
{
	const struct hostnet_link *l = n->host->links;

	if (l->flags & IFF_LOOPBACK || l->type != ARPHRD_ETHER)
		return error_set(e, EXIT_SANDBOX, 0, "the guest has a loopback interface of its own",
				 "cannot use '%s' of --net device: it is no Ethernet interface", n->link_name);
	return 0;
}

static int open_device(struct net_spec *n, int nl, struct error *e)
{
	unsigned index = if_nametoindex(n->link_name);
	int err;

	n->host = calloc(1, sizeof(*n->host));
	if (!n->host)
		return no_memory(e);
	if (!index)
		return device_error(n, ENODEV, e);
	err = hostnet_read(nl, index, n->host);
	if (err)
		return device_error(n, -err, e);
	if (check_device(n, e))
		return -1;
	n->link_fd = open_packet_socket(index);
	if (n->link_fd < 0)
		return device_error(n, -n->link_fd, e);
	if (start_keeper(n, nl, e))
		return -1;
	err = hostnet_take_addrs(nl, n->host);
	return err ? device_error(n, -err, e) : 0;
}

static int open_snapshot(struct net_spec *n, int nl, struct error *e)
{
	int err;

	n->host = calloc(1, sizeof(*n->host));
	if (!n->host)
		return no_memory(e);
	err = hostnet_read(nl, 0, n->host);
	return err ? error_set(e, EXIT_SANDBOX, -err, NULL, "cannot read the network's configuration") : 0;
}

int hostlink_open(struct net_spec *n, struct error *e)
{
	int nl, r;

	if (n->kind == NET_TAP)
		return open_tap(n, e);
	if (n->kind != NET_DEVICE && n->kind != NET_HOST)
		return 0;
	nl = hostnet_socket(-1);
	if (nl < 0)
		return error_set(e, EXIT_SANDBOX, -nl, NULL, "cannot read the network's configuration");
	r = n->kind == NET_DEVICE ? open_device(n, nl, e) : open_snapshot(n, nl, e);
	close(nl);
	return r;
}

void hostlink_close(struct net_spec *n)
{
	int status;

	if (n->link_fd >= 0)
		close(n->link_fd);
	n->link_fd = -1;
	if (n->keeper_fd >= 0) {
		close(n->keeper_fd);
		while (waitpid(n->keeper, &status, 0) < 0 && errno == EINTR)
			continue;
		n->keeper_fd = -1;
	}
	if (n->host)
		hostnet_free(n->host);
	free(n->host);
	n->host = NULL;
}
