/* Network namespaces and what lives in them: identity, lifetime, veth, bridge, TCP across, faults. */
#include "netlink.h"

#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/un.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#define IFF_LOWER (1u << 16)

static int home; /* the namespace in which the test began */

static int here(void)
{
	return (int)MUST(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

/* A new namespace; the caller is where he was before. */
static int make_ns(void)
{
	int before = here(), fd;

	MUST(unshare(CLONE_NEWNET));
	fd = here();
	link_up("lo", true);
	MUST(setns(before, CLONE_NEWNET));
	close(before);
	return fd;
}

static void go(int ns)
{
	MUST(setns(ns, CLONE_NEWNET));
}

static ino_t ino(int fd)
{
	struct stat st;

	MUST(fstat(fd, &st));
	return st.st_ino;
}

/* ---- what a namespace is ---- */

static ino_t link_ino(const char *path)
{
	char text[64];
	ssize_t n = readlink(path, text, sizeof(text) - 1);
	unsigned long v = 0;

	text[n < 0 ? 0 : n] = 0;
	sscanf(text, "net:[%lu]", &v);
	return v;
}

static void identity(void)
{
	int a = make_ns(), b = make_ns();
	struct stat s1, s2;
	char name[64];

	SAY("-- identity");
	HOLDS(ino(a) != ino(b) && ino(a) != ino(home));
	HOLDS(link_ino("/proc/self/ns/net") == ino(home));
	go(a);
	HOLDS(link_ino("/proc/thread-self/ns/net") == ino(a));
	CHILD
	{
		HOLDS(link_ino("/proc/self/ns/net") == ino(a));
		snprintf(name, sizeof(name), "/proc/%d/ns/net", getppid());
		HOLDS(link_ino(name) == ino(a));
		T(unshare(CLONE_NEWNET));
		HOLDS(link_ino("/proc/self/ns/net") != ino(a));
		HOLDS(link_ino(name) == ino(a));
	}
	HOLDS(link_ino("/proc/self/ns/net") == ino(a));
	stat("/proc/self/ns/net", &s1);
	fstat(a, &s2);
	HOLDS(s1.st_ino == s2.st_ino && s1.st_dev == s2.st_dev);
	SAY("%o", s1.st_mode);
	HOLDS(ioctl(a, NS_GET_NSTYPE) == CLONE_NEWNET);
	T(ioctl(a, NS_GET_PARENT));
	T(ioctl(a, NS_GET_OWNER_UID, &s1));
	T(ioctl(a, FIONREAD, &s1));
	go(home);
	close(a);
	close(b);
}

static void entering(void)
{
	int a = make_ns(), file = open("f", O_RDWR | O_CREAT, 0600), pidfd, pid;
	int in[2], out[2];
	char c;

	SAY("-- entering");
	T(setns(999, CLONE_NEWNET));
	T(setns(file, CLONE_NEWNET));
	T(setns(file, 0));
	T(setns(a, CLONE_NEWUTS));
	T(setns(a, CLONE_NEWNET | CLONE_NEWUTS));
	T(setns(a, 0));
	T(setns(home, 0));
	CHILD
	{
		MUST(setgid(65534));
		MUST(setuid(65534));
		T(setns(a, CLONE_NEWNET));
		T(unshare(CLONE_NEWNET));
		T(syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0));
	}
	MUST(pipe(in));
	MUST(pipe(out));
	pid = (int)MUST(syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0));
	if (pid == 0) {
		MUST(write(out[1], "x", 1));
		read(in[0], &c, 1);
		_exit(link_ino("/proc/self/ns/net") == ino(home));
	}
	read(out[0], &c, 1);
	pidfd = (int)MUST(syscall(SYS_pidfd_open, pid, 0));
	T(setns(pidfd, 0));
	T(setns(pidfd, 1));
	T(setns(pidfd, CLONE_NEWNET));
	HOLDS(link_ino("/proc/self/ns/net") != ino(home));
	T(if_nametoindex("lo"));
	go(home);
	MUST(write(in[1], "x", 1));
	MUST(waitpid(pid, NULL, 0));
	T(setns(pidfd, CLONE_NEWNET));
	close(pidfd);
	close(a);
}

static void *in_thread(void *arg)
{
	(void)arg;
	T(unshare(CLONE_NEWNET));
	HOLDS(link_ino("/proc/thread-self/ns/net") != ino(home));
	HOLDS(link_ino("/proc/self/ns/net") == ino(home));
	return NULL;
}

static void per_thread(void)
{
	pthread_t t;

	SAY("-- a thread alone");
	pthread_create(&t, NULL, in_thread, NULL);
	pthread_join(t, NULL);
}

static int lines(const char *file)
{
	int n = 0;

	for (const char *s = get_file(file); *s; s++)
		n += *s == '\n';
	return n;
}

static void contents(void)
{
	int a, s, s2, fd;
	uint64_t cookie[2] = {0};
	socklen_t len = sizeof(cookie[0]);
	struct ifreq r = {0};

	SAY("-- what is in it");
	s = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(unshare(CLONE_NEWNET));
	a = here();
	T(if_nametoindex("lo"));
	SAY("lines of /proc/net/dev: %d", lines("/proc/net/dev"));
	HOLDS(!(link_flags("lo") & IFF_UP));
	s2 = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	T(getsockopt(s, SOL_SOCKET, SO_NETNS_COOKIE, &cookie[0], &len));
	T(getsockopt(s2, SOL_SOCKET, SO_NETNS_COOKIE, &cookie[1], &len));
	HOLDS(cookie[0] && cookie[1] && cookie[0] != cookie[1]);
	fd = (int)T0(ioctl(s, SIOCGSKNS));
	HOLDS(ino(fd) == ino(home));
	close(fd);
	fd = (int)T0(ioctl(s2, SIOCGSKNS));
	HOLDS(ino(fd) == ino(a));
	close(fd);
	/* A socket's ioctls are about where it was made. */
	strcpy(r.ifr_name, "lo");
	T(ioctl(s2, SIOCGIFFLAGS, &r));
	HOLDS(!(r.ifr_flags & IFF_UP));
	T(ioctl(s2, SIOCSIFFLAGS, (r.ifr_flags = IFF_UP, &r)));
	HOLDS(link_flags("lo") & IFF_UP);
	go(home);
	T(ioctl(s2, SIOCSIFFLAGS, (r.ifr_flags = 0, &r)));
	go(a);
	HOLDS(!(link_flags("lo") & IFF_UP));
	SAY("%s", get_file("/proc/sys/net/ipv4/ip_forward"));
	put_file("/proc/sys/net/ipv4/ip_forward", "1\n");
	SAY("%s", get_file("/proc/sys/net/ipv4/ip_forward"));
	go(home);
	close(s);
	close(s2);
	close(a);
}

static int abstract_socket(const char *name, bool bound)
{
	struct sockaddr_un u = {.sun_family = AF_UNIX};
	int s = (int)MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));

	strcpy(u.sun_path + 1, name);
	if (bound) {
		T(bind(s, (void *)&u, len));
		T(listen(s, 1));
	} else {
		T(connect(s, (void *)&u, len));
	}
	return s;
}

static void names(void)
{
	struct sockaddr_nl nl = {.nl_family = AF_NETLINK, .nl_pid = 777777};
	int a = make_ns(), s, n[4];

	SAY("-- names");
	s = abstract_socket("netns-test", true);
	close(abstract_socket("netns-test", false));
	go(a);
	close(abstract_socket("netns-test", false));
	close(abstract_socket("netns-test", true));
	SAY("lines of /proc/net/unix: %d", lines("/proc/net/unix"));
	n[0] = (int)MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	n[1] = (int)MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	n[2] = (int)MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
	T(bind(n[0], (void *)&nl, sizeof(nl)));
	T(bind(n[1], (void *)&nl, sizeof(nl)));
	T(bind(n[2], (void *)&nl, sizeof(nl)));
	go(home);
	n[3] = (int)MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	T(bind(n[3], (void *)&nl, sizeof(nl)));
	for (unsigned i = 0; i < COUNT(n); i++)
		close(n[i]);
	close(s);
	close(a);
}

static void lifetime(void)
{
	int a = make_ns(), b, s;

	SAY("-- lifetime");
	T(new_veth("va", "vb", a));
	put_file("mnt", "");
	T(mount("/proc/self/fd/999", "mnt", NULL, MS_BIND, NULL));
	go(a);
	T(mount("/proc/self/ns/net", "mnt", NULL, MS_BIND, NULL));
	s = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	go(home);
	close(a);
	HOLDS(if_nametoindex("va"));
	b = (int)T0(open("mnt", O_RDONLY));
	close(s);
	sleep_ms(50);
	HOLDS(if_nametoindex("va"));
	T(setns(b, CLONE_NEWNET));
	HOLDS(if_nametoindex("vb"));
	go(home);
	close(b);
	T(umount("mnt"));
	/* The last one: its end goes, and ours with it. */
	for (int i = 0; i < 100 && if_nametoindex("va"); i++)
		sleep_ms(20);
	HOLDS(!if_nametoindex("va"));
}

/* ---- links ---- */

static void mistakes(void)
{
	static const char multicast[] = "\1\2\3\4\5\6", zero[6], fine[] = "\2\0\0\0\0\7";
	struct ifinfomsg m = {.ifi_index = 4242};
	int a = make_ns();

	SAY("-- mistakes");
	go(a);
	T(new_link(NULL, "x0"));
	T(new_link("nonsense", "x0"));
	T(new_link("tun", "x0"));
	T(new_link("bridge", "lo"));
	T(new_link("bridge", "a/b"));
	T(new_link("bridge", "a b"));
	T(new_link("bridge", "."));
	T(new_link("bridge", "br0"));
	T(new_link("bridge", "br0"));
	T(del_link("nosuch"));
	T(del_link("lo"));
	rq_begin(RTM_DELLINK, 0, &m, sizeof(m));
	T(rq_send());
	m.ifi_index = 0;
	rq_begin(RTM_DELLINK, 0, &m, sizeof(m));
	T(rq_send());
	rq_begin(RTM_NEWLINK, 0, &m, sizeof(m));
	T(rq_send());
	rq_begin(RTM_SETLINK, 0, &m, sizeof(m));
	T(rq_send());
	T(set_link("nosuch", IFLA_MTU, 1400));
	T(new_veth("v0", "v1", -1));
	T(new_veth("v0", "v2", -1));
	T(new_veth("v2", "v1", -1));
	HOLDS(!if_nametoindex("v2"));
	T(new_veth("v3", "v3", -1));
	T(set_link("v0", IFLA_MTU, 67));
	T(set_link("v0", IFLA_MTU, 68));
	T(set_link("v0", IFLA_MTU, 65535));
	T(set_link("v0", IFLA_MTU, 65536));
	T(set_mac("v0", multicast, 6));
	T(set_mac("v0", zero, 6));
	T(set_mac("v0", fine, 6));
	T(set_mac("v0", fine, 5));
	T(rename_link("v0", "v1"));
	T(rename_link("v0", "w0"));
	T(rename_link("w0", "v%d"));
	HOLDS(if_nametoindex("v0"));
	T(set_link("v0", IFLA_NET_NS_FD, 999));
	T(set_link("v0", IFLA_NET_NS_PID, 99999999));
	T(set_link("lo", IFLA_NET_NS_PID, (uint32_t)getpid()));
	T(set_link("v0", IFLA_MASTER, 4242));
	T(set_link("v0", IFLA_MASTER, if_nametoindex("v1")));
	T(set_link("v0", IFLA_MASTER, if_nametoindex("br0")));
	T(set_link("v0", IFLA_MASTER, if_nametoindex("br0")));
	T(set_link("lo", IFLA_MASTER, if_nametoindex("br0")));
	T(new_link("bridge", "br1"));
	T(set_link("br1", IFLA_MASTER, if_nametoindex("br0")));
	T(set_link("v0", IFLA_MASTER, if_nametoindex("br1")));
	T(set_link("v0", IFLA_MASTER, 0));
	T(set_link("v0", IFLA_MASTER, 0));
	CHILD
	{
		MUST(setgid(65534));
		MUST(setuid(65534));
		T(new_link("bridge", "br2"));
		T(del_link("br1"));
	}
	T(del_link("br1"));
	T(del_link("v1"));
	HOLDS(!if_nametoindex("v0"));
	go(home);
	close(a);
}

static void carrier(void)
{
	int a = make_ns(), b = make_ns();

	SAY("-- carrier");
	go(a);
	T(new_veth("v0", "v1", b));
	HOLDS(!if_nametoindex("v1"));
	T(link_up("v0", true));
	SAY("%#x", link_flags("v0"));
	go(b);
	SAY("%#x", link_flags("v1"));
	T(link_up("v1", true));
	SAY("%#x", link_flags("v1"));
	go(a);
	SAY("%#x", link_flags("v0"));
	go(b);
	T(link_up("v1", false));
	go(a);
	HOLDS(!(link_flags("v0") & (IFF_RUNNING | IFF_LOWER)));
	/* It moves, and is down then. */
	go(b);
	T(link_up("v1", true));
	T(add_addr("v1", "10.9.0.1", 24));
	T(set_link("v1", IFLA_NET_NS_FD, (uint32_t)a));
	HOLDS(!if_nametoindex("v1"));
	go(a);
	HOLDS(if_nametoindex("v1"));
	HOLDS(!(link_flags("v1") & IFF_UP));
	HOLDS(!(link_flags("v0") & IFF_RUNNING));
	/* A name that is taken there. */
	go(b);
	T(new_link("bridge", "v1"));
	go(a);
	T(set_link("v1", IFLA_NET_NS_FD, (uint32_t)b));
	HOLDS(if_nametoindex("v1"));
	T(del_link("v0"));
	HOLDS(!if_nametoindex("v1"));
	go(home);
	close(a);
	close(b);
}

/* ---- traffic ---- */

static struct sockaddr_in at(const char *addr, int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	inet_pton(AF_INET, addr, &a.sin_addr);
	return a;
}

/* Two namespaces on one cable: 10.9.0.1 and 10.9.0.2. */
static void cable(int a, int b)
{
	go(a);
	MUST(new_veth("v0", "v1", b));
	MUST(add_addr("v0", "10.9.0.1", 24));
	MUST(link_up("v0", true));
	go(b);
	MUST(add_addr("v1", "10.9.0.2", 24));
	MUST(link_up("v1", true));
}

static int listener(const char *addr, int port)
{
	struct sockaddr_in sin = at(addr, port);
	int s = (int)MUST(socket(AF_INET, SOCK_STREAM, 0)), one = 1;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	MUST(bind(s, (void *)&sin, sizeof(sin)));
	MUST(listen(s, 16));
	return s;
}

static int connected(const char *addr, int port)
{
	struct sockaddr_in sin = at(addr, port);
	int s = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

	T(connect(s, (void *)&sin, sizeof(sin)));
	return s;
}

#define BULK (4 << 20)

struct sender {
	pthread_t thread;
	int fd;
	size_t want, sent;
};

static void *send_bulk(void *arg)
{
	static char data[65536];
	struct sender *s = arg;

	while (s->sent < s->want) {
		ssize_t n = send(s->fd, data, sizeof(data), MSG_NOSIGNAL);

		if (n <= 0)
			break;
		s->sent += (size_t)n;
	}
	return NULL;
}

static size_t receive_bulk(int fd, size_t most)
{
	static char data[65536];
	size_t all = 0;
	ssize_t n;

	while (all < most && (n = recv(fd, data, sizeof(data), 0)) > 0)
		all += (size_t)n;
	return all;
}

static void tcp_across(void)
{
	int a = make_ns(), b = make_ns(), l, c, s;
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	struct sender bulk = {.want = BULK};
	char text[32];

	SAY("-- tcp across");
	cable(a, b);
	l = listener("0.0.0.0", 5000);
	go(a);
	c = connected("10.9.0.2", 5000);
	go(home); /* the sockets stay where they are */
	s = (int)T0(accept(l, (void *)&sin, &len));
	SAY("from %s", inet_ntop(AF_INET, &sin.sin_addr, text, sizeof(text)));
	bulk.fd = c;
	pthread_create(&bulk.thread, NULL, send_bulk, &bulk);
	HOLDS(receive_bulk(s, BULK) == BULK);
	pthread_join(bulk.thread, NULL);
	/* A smaller MTU in the middle. */
	go(b);
	T(set_link("v1", IFLA_MTU, 600));
	go(a);
	T(set_link("v0", IFLA_MTU, 600));
	bulk.sent = 0;
	bulk.fd = s;
	pthread_create(&bulk.thread, NULL, send_bulk, &bulk);
	HOLDS(receive_bulk(c, BULK) == BULK);
	pthread_join(bulk.thread, NULL);
	/* Nobody else sees it. */
	go(home);
	SAY("home: %d", strstr(get_file("/proc/net/tcp"), ":1388 ") != NULL);
	go(b);
	SAY("there: %d", strstr(get_file("/proc/net/tcp"), ":1388 ") != NULL);
	T(shutdown(c, SHUT_WR));
	T(recv(s, text, sizeof(text), 0));
	close(s);
	T(recv(c, text, sizeof(text), 0));
	close(c);
	close(l);
	go(home);
	close(a);
	close(b);
}

static void faults(void)
{
	struct timeval tv = {.tv_usec = 200000};
	int a = make_ns(), b = make_ns(), l, c, s;
	struct sockaddr_in sin = at("10.9.0.2", 5000);
	struct sender bulk = {.want = BULK};
	char text[32];
	size_t got;

	SAY("-- faults");
	cable(a, b);
	l = listener("0.0.0.0", 5000);
	go(a);
	c = connected("10.9.0.2", 5000);
	s = (int)T0(accept(l, NULL, NULL));
	/* The cable is out for a moment: nothing is lost. */
	go(b);
	bulk.fd = c;
	pthread_create(&bulk.thread, NULL, send_bulk, &bulk);
	got = receive_bulk(s, BULK / 4);
	T(link_up("v1", false));
	sleep_ms(100);
	T(link_up("v1", true));
	got += receive_bulk(s, BULK - got);
	pthread_join(bulk.thread, NULL);
	HOLDS(bulk.sent == BULK && got == BULK);
	/* It goes for good, in the middle of the traffic. */
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	bulk.sent = 0;
	bulk.want = 1 << 30;
	pthread_create(&bulk.thread, NULL, send_bulk, &bulk);
	receive_bulk(s, BULK / 4);
	T(del_link("v1"));
	receive_bulk(s, bulk.want);
	pthread_join(bulk.thread, NULL);
	HOLDS(bulk.sent < bulk.want);
	go(a);
	HOLDS(!if_nametoindex("v0"));
	close(c);
	c = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
	T(connect(c, (void *)&sin, sizeof(sin)));
	close(c);
	close(s);
	/* The other end gone: half a connection, which ends by a reset when the cable is back and somebody speaks. */
	cable(a, b);
	go(a);
	c = connected("10.9.0.2", 5000);
	s = (int)T0(accept(l, NULL, NULL));
	T(del_link("v0"));
	setsockopt(s, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	close(s);
	cable(a, b);
	setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 10}, sizeof(struct timeval));
	T(send(c, "x", 1, MSG_NOSIGNAL));
	T(recv(c, text, sizeof(text), 0));
	close(c);
	close(l);
	go(home);
	close(a);
	close(b);
}

static void bridged(void)
{
	int sw = make_ns(), ns[3], l, c, s, u[3];
	char name[8], addr[16], text[32] = "";
	struct sockaddr_in to = at("10.8.0.255", 6000), any = at("0.0.0.0", 6000);
	int one = 1;

	SAY("-- bridge");
	go(sw);
	T(new_link("bridge", "br0"));
	HOLDS(!(link_flags("br0") & IFF_RUNNING));
	T(link_up("br0", true));
	for (unsigned i = 0; i < 3; i++) {
		struct ifaddrmsg m = {.ifa_family = AF_INET, .ifa_prefixlen = 24};
		struct in_addr mine, all;

		ns[i] = make_ns();
		go(sw);
		snprintf(name, sizeof(name), "p%u", i);
		MUST(new_veth(name, "eth0", ns[i]));
		T(set_link(name, IFLA_MASTER, if_nametoindex("br0")));
		MUST(link_up(name, true));
		go(ns[i]);
		snprintf(addr, sizeof(addr), "10.8.0.%u", i + 1);
		inet_pton(AF_INET, addr, &mine);
		all.s_addr = to.sin_addr.s_addr;
		m.ifa_index = if_nametoindex("eth0");
		rq_begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));
		rq_attr(IFA_LOCAL, &mine, sizeof(mine));
		rq_attr(IFA_ADDRESS, &mine, sizeof(mine));
		rq_attr(IFA_BROADCAST, &all, sizeof(all));
		MUST(rq_send());
		MUST(link_up("eth0", true));
		u[i] = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
		MUST(bind(u[i], (void *)&any, sizeof(any)));
		setsockopt(u[i], SOL_SOCKET, SO_BROADCAST, &one, sizeof(one));
		setsockopt(u[i], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 5}, sizeof(struct timeval));
	}
	go(sw);
	HOLDS(link_flags("br0") & IFF_RUNNING);
	T(add_addr("br0", "10.8.0.9", 24));
	SAY("%s", get_file("/proc/net/route") && strstr(get_file("/proc/net/route"), "br0") ? "br0 has a route" : "no");
	go(ns[1]);
	l = listener("10.8.0.2", 5000);
	go(ns[0]);
	c = connected("10.8.0.2", 5000);
	s = (int)T0(accept(l, NULL, NULL));
	T(send(c, "across", 6, 0));
	T(recv(s, text, sizeof(text), 0));
	SAY("%s", text);
	close(c);
	close(s);
	go(sw);
	c = connected("10.8.0.2", 5000);
	close(c);
	close(l);
	/* A broadcast reaches all others. */
	T(sendto(u[0], "all", 3, 0, (void *)&to, sizeof(to)));
	T(recv(u[1], text, sizeof(text), 0));
	T(recv(u[2], text, sizeof(text), 0));
	/* A port that leaves is alone. */
	T(set_link("p1", IFLA_MASTER, 0));
	/* Linux loses one now and then while its ports change. */
	setsockopt(u[2], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_usec = 200000}, sizeof(struct timeval));
	for (int i = 0; i < 20; i++) {
		MUST(sendto(u[0], "two", 3, 0, (void *)&to, sizeof(to)));
		if (recv(u[2], text, sizeof(text), 0) == 3)
			break;
	}
	SAY("%.3s", text);
	T(recv(u[1], text, sizeof(text), MSG_DONTWAIT));
	T(del_link("br0"));
	HOLDS(if_nametoindex("p0"));
	go(home);
	for (unsigned i = 0; i < 3; i++) {
		close(u[i]);
		close(ns[i]);
	}
	close(sw);
}

/* ---- who listens ---- */

static void events(void)
{
	struct sockaddr_nl nl = {.nl_family = AF_NETLINK, .nl_groups = 1};
	int a = make_ns(), n, k;
	char text[8192];
	ssize_t size;

	SAY("-- events");
	go(a);
	n = (int)MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	k = (int)MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
	MUST(bind(n, (void *)&nl, sizeof(nl)));
	MUST(bind(k, (void *)&nl, sizeof(nl)));
	go(home);
	MUST(new_link("bridge", "nsbr9"));
	MUST(del_link("nsbr9"));
	T(recv(n, text, sizeof(text), MSG_DONTWAIT)); /* another namespace's */
	go(a);
	T(new_link("bridge", "br9"));
	size = recv(n, text, sizeof(text), 0);
	HOLDS(size > 0 && ((struct nlmsghdr *)text)->nlmsg_type == RTM_NEWLINK);
	size = recv(k, text, sizeof(text), 0);
	SAY("%s", text);
	T(del_link("br9"));
	do
		size = recv(n, text, sizeof(text), 0);
	while (size > 0 && ((struct nlmsghdr *)text)->nlmsg_type == RTM_NEWLINK);
	HOLDS(((struct nlmsghdr *)text)->nlmsg_type == RTM_DELLINK);
	do
		size = recv(k, text, sizeof(text) - 1, 0);
	while (size > 0 && strcmp(text, "remove@/devices/virtual/net/br9") != 0);
	SAY("%s", text);
	close(n);
	close(k);
	go(home);
	close(a);
}

int main(void)
{
	/* A namespace of our own to begin in, so that nothing is done to that of the machine. */
	if (unshare(CLONE_NEWNET))
		skip("no right to make network namespaces");
	MUST(unshare(CLONE_NEWNS));
	MUST(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	home = here();
	MUST(link_up("lo", true));
	identity();
	entering();
	per_thread();
	contents();
	names();
	lifetime();
	mistakes();
	carrier();
	tcp_across();
	faults();
	bridged();
	events();
	return 0;
}
