/* /dev/net/tun: modes, mistakes, packets both ways, persistence, interfaces that go. */
#include "netlink.h"

#include <netinet/ip.h>
#include <netinet/ip_icmp.h>

static int tun_open(void)
{
	return open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

static int set_if(int fd, const char *name, int flags, char *ret)
{
	struct ifreq r = {.ifr_flags = (short)flags};
	int err;

	strcpy(r.ifr_name, name);
	err = ioctl(fd, TUNSETIFF, &r);
	if (ret)
		strcpy(ret, r.ifr_name);
	return err;
}

static int flags_of(int fd)
{
	struct ifreq r = {0};

	return ioctl(fd, TUNGETIFF, &r) ? -1 : (unsigned short)r.ifr_flags & ~0x1000; /* IFF_NOFILTER */
}

static void mistakes(void)
{
	int fd = (int)T0(tun_open()), other = tun_open();
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
	char buf[100] = {0}, name[IFNAMSIZ];
	struct ifreq r = {0};

	SAY("-- mistakes");
	T(read(fd, buf, sizeof(buf)));
	T(write(fd, buf, sizeof(buf)));
	T(poll(&p, 1, 0));
	SAY("%#x", p.revents);
	T(ioctl(fd, TUNGETIFF, &r));
	T(ioctl(fd, TUNSETPERSIST, 1));
	T(set_if(fd, "t0", 0, NULL));
	T(set_if(fd, "lo", IFF_TAP | IFF_NO_PI, NULL));
	T(set_if(fd, "a/b", IFF_TAP | IFF_NO_PI, NULL));
	T(ioctl(fd, TUNSETIFF, BAD));
	T(set_if(fd, "", IFF_TUN | IFF_NO_PI, name));
	SAY("%s", name);
	T(set_if(fd, "t1", IFF_TUN | IFF_NO_PI, NULL));
	T(set_if(other, name, IFF_TUN | IFF_NO_PI, NULL));
	T(set_if(other, name, IFF_TAP | IFF_NO_PI, NULL));
	T(set_if(other, name, IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL, NULL));
	T(set_if(other, "t%d", IFF_TAP | IFF_VNET_HDR, name));
	SAY("%s", name);
	SAY("%#x %#x", flags_of(fd), flags_of(other));
	T(ioctl(fd, TUNSETOFFLOAD, 0));
	T(ioctl(fd, TUNSETOFFLOAD, 0x10000));
	T(ioctl(fd, TUNSETQUEUE, &r));
	T(ioctl(fd, 0x54ff, 0));
	T(write(fd, buf, 0));
	T(write(fd, buf, 20));
	T(read(fd, buf, sizeof(buf)));
	buf[0] = 0x45;
	T(write(fd, buf, 20)); /* it is down */
	SAY("%#x", link_flags("tun0"));
	MUST(link_up("tun0", true));
	SAY("%#x", link_flags("tun0"));
	T(poll(&p, 1, 0));
	HOLDS(p.revents & POLLOUT);
	close(fd);
	HOLDS(!if_nametoindex("tun0"));
	CHILD
	{
		fd = tun_open();
		MUST(setgid(65534));
		MUST(setuid(65534));
		T(set_if(fd, "t7", IFF_TAP, NULL));
	}
	close(other);
}

static uint16_t sum(const void *data, size_t n)
{
	const uint8_t *b = data;
	uint32_t s = 0;

	for (size_t i = 0; i + 1 < n; i += 2)
		s += (uint32_t)(b[i] << 8 | b[i + 1]);
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return htons((uint16_t)~s);
}

struct echo {
	struct iphdr ip;
	struct icmphdr icmp;
	char data[8];
};

static struct echo make_echo(void)
{
	struct echo e = {.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_ICMP}, .data = "hello"};

	e.ip.tot_len = htons(sizeof(e));
	inet_pton(AF_INET, "10.7.0.2", &e.ip.saddr);
	inet_pton(AF_INET, "10.7.0.1", &e.ip.daddr);
	e.ip.check = sum(&e.ip, sizeof(e.ip));
	e.icmp.type = ICMP_ECHO;
	e.icmp.un.echo.id = htons(7);
	e.icmp.checksum = sum(&e.icmp, sizeof(e) - sizeof(e.ip));
	return e;
}

/* The next packet that is an ICMP message, at `skip` bytes; its size. */
static ssize_t next_icmp(int fd, char *buf, size_t room, size_t skip)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	while (poll(&p, 1, 5000) > 0) {
		n = read(fd, buf, room);
		if (n > (ssize_t)(skip + 20) && buf[skip] == 0x45 && buf[skip + 9] == IPPROTO_ICMP)
			return n;
	}
	return -1;
}

static void echo(void)
{
	struct echo e = make_echo();
	char buf[2048], name[IFNAMSIZ];
	int fd = tun_open();
	ssize_t n;

	SAY("-- echo");
	T(set_if(fd, "", IFF_TUN | IFF_NO_PI, name));
	MUST(add_addr(name, "10.7.0.1", 24));
	MUST(link_up(name, true));
	T(write(fd, &e, sizeof(e)));
	n = next_icmp(fd, buf, sizeof(buf), 0);
	SAY("%zd bytes, type %d, %s", n, ((struct echo *)buf)->icmp.type, ((struct echo *)buf)->data);
	HOLDS(sum(buf, 20) == 0 && sum(buf + 20, (size_t)n - 20) == 0);
	/* Less room than there is: the rest is lost. */
	T(write(fd, &e, sizeof(e)));
	T(next_icmp(fd, buf, 24, 0));
	close(fd);
	/* With packet information. */
	fd = tun_open();
	T(set_if(fd, "", IFF_TUN, name));
	MUST(add_addr(name, "10.7.0.1", 24));
	MUST(link_up(name, true));
	memcpy(buf, &(struct tun_pi){0, htons(0x0800)}, 4);
	memcpy(buf + 4, &e, sizeof(e));
	T(write(fd, buf, 3));
	T(write(fd, buf, 4 + sizeof(e)));
	n = next_icmp(fd, buf, sizeof(buf), 4);
	SAY("%zd bytes, protocol %#x", n, ntohs(((struct tun_pi *)buf)->proto));
	/* Less room than for the information: whatever packet is there first. */
	memcpy(buf, &(struct tun_pi){0, htons(0x0800)}, 4);
	memcpy(buf + 4, &e, sizeof(e));
	T(write(fd, buf, 4 + sizeof(e)));
	T(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 5000));
	T(read(fd, buf, 3));
	close(fd);
}

static void tap(void)
{
	static const uint8_t me[6] = {2, 0, 0, 0, 0, 9};
	uint8_t ask[42] = {255, 255, 255, 255, 255, 255, 2, 0,  0, 0, 0, 9, 8, 6, 0, 1, 8, 0,  6, 4, 0,
			   1,   2,   0,   0,   0,   0,   9, 10, 6, 0, 2, 0, 0, 0, 0, 0, 0, 10, 6, 0, 1};
	uint8_t buf[2048] = {0};
	struct ifreq r = {0};
	int fd = tun_open();
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n = 0;

	SAY("-- tap");
	T(set_if(fd, "tap7", IFF_TAP | IFF_NO_PI, NULL));
	memcpy(r.ifr_hwaddr.sa_data, "\2\0\0\0\0\1", 6);
	r.ifr_hwaddr.sa_family = 1;
	T(ioctl(fd, SIOCSIFHWADDR, &r));
	MUST(add_addr("tap7", "10.6.0.1", 24));
	MUST(link_up("tap7", true));
	T(write(fd, ask, 13));
	T(write(fd, ask, sizeof(ask)));
	while (poll(&p, 1, 5000) > 0 && (n = read(fd, buf, sizeof(buf))) > 0)
		if (buf[12] == 8 && buf[13] == 6 && buf[21] == 2)
			break;
	HOLDS(n >= 42 && memcmp(buf, me, 6) == 0 && memcmp(buf + 22, "\2\0\0\0\0\1\12\6\0\1", 10) == 0);
	/* It goes while it is open. */
	T(del_link("tap7"));
	T(read(fd, buf, sizeof(buf)));
	T(write(fd, ask, sizeof(ask)));
	T(poll(&p, 1, 0));
	SAY("%#x", p.revents);
	close(fd);
}

static void persistent(void)
{
	int fd = tun_open();

	SAY("-- persistent");
	T(set_if(fd, "keep", IFF_TAP | IFF_NO_PI, NULL));
	T(ioctl(fd, TUNSETPERSIST, 1));
	T(ioctl(fd, TUNSETOWNER, 65534));
	SAY("%#x", flags_of(fd));
	MUST(link_up("keep", true));
	HOLDS(link_flags("keep") & IFF_RUNNING);
	close(fd);
	HOLDS(if_nametoindex("keep"));
	HOLDS(!(link_flags("keep") & IFF_RUNNING));
	CHILD
	{
		fd = tun_open();
		MUST(setgid(65533));
		MUST(setuid(65533));
		T(set_if(fd, "keep", IFF_TAP | IFF_NO_PI, NULL));
	}
	CHILD
	{
		fd = tun_open();
		MUST(setgid(65534));
		MUST(setuid(65534));
		T(set_if(fd, "keep", IFF_TUN | IFF_NO_PI, NULL));
		T(set_if(fd, "keep", IFF_TAP | IFF_NO_PI, NULL));
		HOLDS(link_flags("keep") & IFF_RUNNING);
		T(ioctl(fd, TUNSETPERSIST, 0));
	}
	HOLDS(!if_nametoindex("keep"));
}

/* What nobody reads is dropped, and nothing grows. */
static void flood(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	int fd = tun_open(), s = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0)), n = 0;
	char buf[2048], name[IFNAMSIZ];

	SAY("-- flood");
	T(set_if(fd, "", IFF_TUN | IFF_NO_PI, name));
	MUST(add_addr(name, "10.5.0.1", 24));
	MUST(link_up(name, true));
	inet_pton(AF_INET, "10.5.0.2", &to.sin_addr);
	for (int i = 0; i < 5000; i++)
		sendto(s, buf, 100, MSG_DONTWAIT, (void *)&to, sizeof(to));
	while (read(fd, buf, sizeof(buf)) > 0)
		n++;
	HOLDS(n > 100 && n < 2000);
	close(fd);
	close(s);
}

int main(void)
{
	if (unshare(CLONE_NEWNET))
		skip("no right to make network namespaces");
	if (access("/dev/net/tun", R_OK | W_OK))
		skip("no /dev/net/tun");
	link_up("lo", true);
	mistakes();
	echo();
	tap();
	persistent();
	flood();
	return 0;
}
