/*
 * /proc/net: what it tells about this test's own sockets, which are found by inode among all that there are, with what differs from run to run
 * (ports, inodes, references) checked or left out.
 */
#include "guest.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static char line[512];

static unsigned long inode_of(int fd)
{
	struct stat st;

	MUST(fstat(fd, &st));
	return st.st_ino;
}

/* Word n of the line, from 0. */
static const char *word(int n)
{
	static char text[8][160];
	static unsigned next;
	const char *s = line;
	char *to = text[next++ % COUNT(text)];

	for (;; n--) {
		s += strspn(s, " \t\n");
		if (n == 0)
			break;
		s += strcspn(s, " \t\n");
	}
	snprintf(to, sizeof(text[0]), "%.*s", (int)strcspn(s, " \t\n"), s);
	return to;
}

static int words(void)
{
	int n = 0;

	while (*word(n))
		n++;
	return n;
}

/* Reads the line whose word `column` is the inode of fd. */
static bool find(const char *file, int fd, int column)
{
	FILE *f = fopen(file, "r");
	bool found = false;

	must(f, file);
	while (!found && fgets(line, sizeof(line), f))
		found = strtoul(word(column), NULL, 10) == inode_of(fd);
	fclose(f);
	if (!found)
		line[0] = 0;
	return found;
}

static int port_of(int s, bool peer)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	MUST(peer ? getpeername(s, (struct sockaddr *)&a, &len) : getsockname(s, (struct sockaddr *)&a, &len));
	return ntohs(((struct sockaddr_in *)&a)->sin_port);
}

/* ADDRESS:PORT, the port as whether it is right. */
static const char *end_text(const char *text, int port)
{
	static char out[2][96];
	static unsigned next;
	char *to = out[next++ % 2];
	const char *colon = strchr(text, ':');

	must(colon, "find a port");
	snprintf(to, sizeof(out[0]), "%.*s:%s", (int)(colon - text), text,
		 strlen(colon) == 5 && strtol(colon + 1, NULL, 16) == port ? "port" : colon);
	return to;
}

static bool connected(int s)
{
	struct sockaddr_storage a;

	return getpeername(s, (struct sockaddr *)&a, &(socklen_t){sizeof(a)}) == 0;
}

/* A line of tcp, tcp6, udp or udp6 as far as it is the same everywhere. */
static void inet(const char *what, const char *table, int s)
{
	char file[64];

	snprintf(file, sizeof(file), "/proc/net/%s", table);
	if (!find(file, s, 9)) {
		SAY("%s: not in %s", what, table);
		return;
	}
	SAY("%s: %s %s %s %s %s%s", what, table, end_text(word(1), port_of(s, false)),
	    end_text(word(2), connected(s) ? port_of(s, true) : 0), word(3), word(4),
	    strcmp(word(7), "0") && (uid_t)atol(word(7)) != getuid() ? " WRONG USER" : "");
	HOLDS(strcspn(line, ":") == (table[0] == 't' ? 4 : 5));
	HOLDS((int)strlen(word(11)) == 16);
	SAY("%d words%s%s", words(), strcmp(word(8), "0") ? " timeout" : "",
	    strcmp(word(6), "00000000") ? " retries" : "");
	if (!strchr(table, '6'))
		SAY("%zu bytes", strlen(line));
}

static int listener(int family)
{
	struct sockaddr_storage a = {.ss_family = (sa_family_t)family};
	int l = MUST(socket(family, SOCK_STREAM, 0));

	if (family == AF_INET)
		((struct sockaddr_in *)&a)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	MUST(bind(l, (struct sockaddr *)&a, sizeof(a)));
	inet("bound", family == AF_INET ? "tcp" : "tcp6", l);
	MUST(listen(l, 5));
	return l;
}

static int connect_to(int family, int l)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	int c = MUST(socket(family, SOCK_STREAM, 0));

	MUST(getsockname(l, (struct sockaddr *)&a, &len));
	if (family == AF_INET) {
		a.ss_family = AF_INET;
		((struct sockaddr_in *)&a)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else {
		((struct sockaddr_in6 *)&a)->sin6_addr = in6addr_loopback;
	}
	MUST(connect(c, (struct sockaddr *)&a, sizeof(a)));
	return c;
}

static int tcp_info_state(int s)
{
	struct tcp_info info;

	MUST(getsockopt(s, IPPROTO_TCP, TCP_INFO, &info, &(socklen_t){sizeof(info)}));
	return info.tcpi_state;
}

static void tcp(void)
{
	int l, c, s;

	SAY("%s", strtok(get_file("/proc/net/tcp"), "\n"));
	s = MUST(socket(AF_INET, SOCK_STREAM, 0));
	inet("new", "tcp", s);
	close(s);
	l = listener(AF_INET);
	inet("listens", "tcp", l);
	c = connect_to(AF_INET, l);
	inet("one waits", "tcp", l);
	inet("connected", "tcp", c);
	s = MUST(accept(l, NULL, NULL));
	inet("accepted", "tcp", s);
	MUST(send(c, "hello", 5, 0));
	sleep_ms(100);
	inet("unread", "tcp", s);
	MUST(recv(s, line, 5, 0));
	inet("read", "tcp", s);
	MUST(shutdown(c, SHUT_WR));
	sleep_ms(100);
	inet("has ended", "tcp", c);
	MUST(recv(s, line, 5, 0) == 0 ? 0 : -1);
	inet("sees the end", "tcp", s);
	T(tcp_info_state(c));
	T(tcp_info_state(s));
	T(tcp_info_state(l));
	close(s);
	close(c);
	c = connect_to(AF_INET, l);
	s = MUST(accept(l, NULL, NULL));
	MUST(shutdown(s, SHUT_RD));
	inet("does not read", "tcp", s);
	inet("the other", "tcp", c);
	close(c);
	close(s);
	close(l);
}

static void tcp6(void)
{
	int l = listener(AF_INET6), c, s;

	SAY("%s", strtok(get_file("/proc/net/tcp6"), "\n"));
	inet("listens", "tcp6", l);
	c = connect_to(AF_INET6, l);
	inet("connected", "tcp6", c);
	s = MUST(accept(l, NULL, NULL));
	inet("accepted", "tcp6", s);
	close(s);
	close(c);
	c = connect_to(AF_INET, l);
	s = MUST(accept(l, NULL, NULL));
	inet("connected", "tcp", c);
	inet("accepted", "tcp6", s);
	close(s);
	close(c);
	close(l);
}

static void udp(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int a = MUST(socket(AF_INET, SOCK_DGRAM, 0)), b = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	int six = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
	long drops;

	SAY("%s", strtok(get_file("/proc/net/udp"), "\n"));
	SAY("%s", strtok(get_file("/proc/net/udp6"), "\n"));
	inet("new", "udp", a);
	MUST(bind(a, (struct sockaddr *)&to, sizeof(to)));
	inet("bound", "udp", a);
	to.sin_port = htons((uint16_t)port_of(a, false));
	MUST(connect(b, (struct sockaddr *)&to, sizeof(to)));
	inet("connected", "udp", b);
	MUST(setsockopt(a, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int)));
	for (int i = 0; i < 100; i++)
		MUST(send(b, line, 400, 0));
	find("/proc/net/udp", a, 9);
	HOLDS(strtoul(strchr(word(4), ':') + 1, NULL, 16) > 400);
	drops = atol(word(12));
	HOLDS(drops > 10 && drops < 100);
	MUST(
	    bind(six, (struct sockaddr *)&(struct sockaddr_in6){.sin6_family = AF_INET6}, sizeof(struct sockaddr_in6)));
	inet("bound", "udp6", six);
	close(six);
	close(a);
	close(b);
}

/* A line of unix, without its address, references and inode. */
static void local(const char *what, int s)
{
	char *path;

	if (!find("/proc/net/unix", s, 6)) {
		SAY("%s: not there", what);
		return;
	}
	path = strpbrk(line, "./@");
	line[strcspn(line, "\n")] = 0;
	SAY("%s: %s %s %s %s %s%s", what, word(2), word(3), word(4), word(5), path ? path : "no name",
	    line[16] == ':' && line[26] == ' ' && line[35] == ' ' ? "" : " MISPLACED");
}

static void unix_sockets(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "./named"};
	struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0procnet\0test"};
	int l = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), c = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), s, pair[2];

	SAY("%s", strtok(get_file("/proc/net/unix"), "\n"));
	local("new", l);
	MUST(bind(l, (struct sockaddr *)&name, sizeof(name)));
	local("bound", l);
	MUST(listen(l, 5));
	local("listens", l);
	MUST(connect(c, (struct sockaddr *)&name, sizeof(name)));
	local("connected", c);
	s = MUST(accept(l, NULL, NULL));
	local("accepted", s);
	close(c);
	local("left alone", s);
	unlink(name.sun_path);
	local("listens", l);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	local("pair", pair[0]);
	c = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
	MUST(bind(c, (struct sockaddr *)&abstract, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 13)));
	local("abstract", c);
	close(c);
	close(s);
	close(l);
	close(pair[0]);
	close(pair[1]);
}

static unsigned long lo_bytes(int column)
{
	FILE *f = fopen("/proc/net/dev", "r");
	unsigned long n = 0;

	must(f, "open /proc/net/dev");
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "    lo: ", 8) == 0)
			n = strtoul(word(column), NULL, 10);
	fclose(f);
	return n;
}

static void interface(void)
{
	unsigned long before, packets;
	int l, c, s;
	char *dev = get_file("/proc/net/dev"), *end = strchr(strchr(dev, '\n') + 1, '\n');

	*end = 0;
	SAY("%s", dev);
	*end = '\n';
	HOLDS(strstr(dev, "\n    lo: "));
	l = listener(AF_INET);
	c = connect_to(AF_INET, l);
	s = MUST(accept(l, NULL, NULL));
	before = lo_bytes(9);
	packets = lo_bytes(10);
	MUST(send(c, get_file("/proc/net/dev"), 10000, 0));
	sleep_ms(50);
	HOLDS(lo_bytes(9) - before >= 10000);
	HOLDS(lo_bytes(10) > packets);
	HOLDS(lo_bytes(1) >= 10000);
	close(s);
	close(c);
	close(l);
}

static unsigned long used(void)
{
	unsigned long n = 0;

	sscanf(get_file("/proc/net/sockstat"), "sockets: used %lu\n", &n);
	return n;
}

static void others(void)
{
	static const char *const headed[] = {"arp", "packet", "raw", "raw6", "route"};
	int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
	char path[PATH_MAX];
	ssize_t n;

	for (size_t i = 0; i < COUNT(headed); i++) {
		snprintf(path, sizeof(path), "/proc/net/%s", headed[i]);
		SAY("%s", strtok(get_file(path), "\n"));
	}
	HOLDS(used() >= 1);
	HOLDS(strstr(get_file("/proc/net/sockstat"), "\nTCP: inuse "));
	HOLDS(strstr(get_file("/proc/net/sockstat"), "\nUDP: inuse "));
	HOLDS(strncmp(get_file("/proc/net/sockstat6"), "TCP6: inuse ", 12) == 0);
	HOLDS(strstr(get_file("/proc/net/sockstat6"), "\nUDP6: inuse "));
	close(s);
	n = readlink("/proc/net", path, sizeof(path));
	SAY("%.*s", (int)n, path);
	snprintf(path, sizeof(path), "/proc/self/task/%d/net/tcp", (int)gettid());
	T(access(path, R_OK));
	T(open("/proc/net/nothing", O_RDONLY));
	if (access("/proc/net/if_inet6", R_OK) == 0)
		HOLDS(
		    strstr(get_file("/proc/net/if_inet6"), "00000000000000000000000000000001 01 80 10 80       lo\n"));
	HOLDS(strstr(get_file("/proc/net/ipv6_route"), " 00200200       lo\n"));
}

int main(void)
{
	int six = socket(AF_INET6, SOCK_STREAM, 0);

	if (six < 0 ||
	    bind(six, (struct sockaddr *)&(struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback},
		 sizeof(struct sockaddr_in6)))
		skip("no IPv6 on the loopback interface");
	close(six);
	tcp();
	tcp6();
	udp();
	unix_sockets();
	interface();
	others();
	return 0;
}
