/* Unix sockets: stream, datagram, seqpacket; names; descriptors and credentials in messages; options; errors. */
#include "guest.h"

#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
	return a;
}

#define ADDR(path) (struct sockaddr *)&(struct sockaddr_un[]){address(path)}[0], sizeof(struct sockaddr_un)

static void creation(void)
{
	int sv[2];

	T(socket(AF_UNIX, 77, 0));
	T(socket(AF_UNIX, SOCK_STREAM, 5));
	T(socket(77, SOCK_STREAM, 0));
	T(socket(AF_UNIX, SOCK_STREAM | 0x100, 0));
	T(socketpair(AF_UNIX, SOCK_STREAM, 0, BAD));
	T(socketpair(AF_INET, SOCK_STREAM, 0, sv));
	T(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv));
	T(fcntl(sv[0], F_GETFD));
	T(read(sv[0], &(char){0}, 1));
	T(lseek(sv[0], 0, SEEK_SET));
	close(sv[0]);
	close(sv[1]);
	T(bind(0, ADDR("x")));
	T(bind(99, ADDR("x")));
}

static void stream_pair(void)
{
	char buf[64] = "";
	int sv[2], n;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	T(write(sv[0], "one", 3));
	T(send(sv[0], "two", 3, 0));
	T(ioctl(sv[1], FIONREAD, &n));
	SAY("%d", n);
	T(recv(sv[1], buf, 4, MSG_PEEK));
	T(recv(sv[1], buf, sizeof(buf), 0));
	SAY("%s", buf);
	T(recv(sv[1], buf, sizeof(buf), MSG_DONTWAIT));
	T(send(sv[0], BAD, 3, 0));
	T(recv(sv[1], BAD, 0, MSG_DONTWAIT));
	T(send(sv[0], "oob", 3, MSG_OOB) >= -1 ? 0 : 1);
	while (recv(sv[1], buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
	T(shutdown(sv[0], 77));
	T(shutdown(sv[0], SHUT_WR));
	T(send(sv[0], "x", 1, MSG_NOSIGNAL));
	T(recv(sv[1], buf, sizeof(buf), 0));
	T(send(sv[1], "back", 4, 0));
	T(recv(sv[0], buf, sizeof(buf), 0));
	T(poll(&(struct pollfd){sv[1], POLLIN | POLLRDHUP, 0}, 1, 0));
	close(sv[0]);
	T(send(sv[1], "x", 1, MSG_NOSIGNAL));
	T(recv(sv[1], buf, sizeof(buf), 0));
	CHILD
	{
		T(send(sv[1], "x", 1, 0));
	}
	close(sv[1]);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	MUST(write(sv[0], "unread", 6));
	MUST(write(sv[1], "unread", 6));
	close(sv[0]);
	T(read(sv[1], buf, 3));
	T(read(sv[1], buf, 10));
	T(read(sv[1], buf, 10));
	close(sv[1]);
}

static void connections(void)
{
	struct sockaddr_un a;
	socklen_t len = sizeof(a);
	char buf[16] = "";
	int s = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), c, d;

	T(connect(s, ADDR("absent")));
	T(listen(s, 1));
	T(accept(s, NULL, NULL));
	T(bind(s, ADDR("server")));
	T(bind(s, ADDR("server2")));
	c = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	T(bind(c, ADDR("server")));
	T(bind(c, ADDR("absent/x")));
	T(bind(c, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET}, sizeof(struct sockaddr_in)));
	T(bind(c, BAD, 10));
	T(bind(c, (struct sockaddr *)edge(4), 200));
	T(connect(c, ADDR("server")));
	T(listen(s, 5));
	T(connect(c, ADDR("server")));
	T(connect(c, ADDR("server")));
	T(getpeername(c, (struct sockaddr *)&a, &len));
	SAY("%u %s", len, a.sun_path);
	len = sizeof(a);
	T(getsockname(c, (struct sockaddr *)&a, &len));
	SAY("%u", len);
	T(write(c, "early", 5));
	d = MUST(accept4(s, (struct sockaddr *)&a, &len, SOCK_CLOEXEC));
	T(fcntl(d, F_GETFD));
	T(read(d, buf, sizeof(buf)));
	SAY("%s", buf);
	T(accept4(s, NULL, NULL, 0x7));
	T(accept(c, NULL, NULL));
	T(listen(d, 1));
	fcntl(s, F_SETFL, O_NONBLOCK);
	T(accept(s, NULL, NULL));
	T(connect(d, ADDR("server")));
	T(unlink("server"));
	close(c);
	T(read(d, buf, sizeof(buf)));
	close(d);
	c = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	T(connect(c, ADDR("server")));
	put_file("plain", "");
	T(connect(c, ADDR("plain")));
	T(getpeername(c, (struct sockaddr *)&a, &len));
	T(write(c, "x", 1));
	T(read(c, buf, 1));
	close(c);
	close(s);
}

static void abstract_names(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "\0guest-test-name"};
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + 16;
	struct sockaddr_un b;
	socklen_t blen = sizeof(b);
	int s = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), c = MUST(socket(AF_UNIX, SOCK_STREAM, 0));

	T(bind(s, (struct sockaddr *)&a, len));
	T(listen(s, 1));
	T(connect(c, (struct sockaddr *)&a, len));
	T(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, len - 1));
	T(getpeername(c, (struct sockaddr *)&b, &blen));
	SAY("%u %s", blen, b.sun_path + 1);
	close(s);
	close(c);
	s = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
	T(bind(s, (struct sockaddr *)&a, sizeof(sa_family_t)));
	blen = sizeof(b);
	T(getsockname(s, (struct sockaddr *)&b, &blen));
	SAY("%u %d", blen, b.sun_path[0]);
	close(s);
}

static void datagrams(void)
{
	struct sockaddr_un from;
	socklen_t len = sizeof(from);
	char buf[64] = "";
	int a = MUST(socket(AF_UNIX, SOCK_DGRAM, 0)), b = MUST(socket(AF_UNIX, SOCK_DGRAM, 0)), sv[2];

	T(bind(a, ADDR("da")));
	T(bind(b, ADDR("db")));
	T(sendto(a, "hello", 5, 0, ADDR("db")));
	T(sendto(a, "", 0, 0, ADDR("db")));
	T(sendto(a, "third", 5, 0, ADDR("db")));
	T(recvfrom(b, buf, 3, 0, (struct sockaddr *)&from, &len));
	SAY("%s from %s", buf, from.sun_path);
	T(recv(b, buf, sizeof(buf), 0));
	T(recv(b, buf, 2, MSG_TRUNC));
	T(recv(b, buf, sizeof(buf), MSG_DONTWAIT));
	T(sendto(a, "x", 1, 0, ADDR("absent")));
	T(send(a, "x", 1, 0));
	T(connect(a, ADDR("db")));
	T(send(a, "connected", 9, 0));
	T(recv(b, buf, sizeof(buf), 0));
	T(listen(a, 1));
	close(b);
	T(send(a, "x", 1, 0));
	close(a);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv));
	T(write(sv[0], "first", 5));
	T(write(sv[0], "second", 6));
	T(read(sv[1], buf, 3));
	T(read(sv[1], buf, sizeof(buf)));
	SAY("%.6s", buf);
	close(sv[0]);
	T(read(sv[1], buf, sizeof(buf)));
	close(sv[1]);
}

static ssize_t send_fds(int s, const int *fds, size_t count, const char *text)
{
	char control[CMSG_SPACE(sizeof(int) * 300)] = "";
	struct iovec iov = {(void *)text, strlen(text)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = CMSG_SPACE(sizeof(int) * count)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
	return sendmsg(s, &m, 0);
}

static void receive_fds(int s, size_t room, int flags)
{
	char control[256], text[64] = "";
	struct iovec iov = {text, sizeof(text) - 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
	ssize_t n = recvmsg(s, &m, flags);

	SAY("recvmsg %zd '%s' flags %x", n, text, m.msg_flags);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_type == SCM_RIGHTS) {
			int fds[8], count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

			memcpy(fds, CMSG_DATA(c), sizeof(int) * (size_t)count);
			SAY("%d descriptors, cloexec %d", count, fcntl(fds[0], F_GETFD));
			for (int i = 0; i < count; i++) {
				char buf[16] = "";

				pread(fds[i], buf, 15, 0);
				SAY("  %s", buf);
				close(fds[i]);
			}
		} else if (c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred u;

			memcpy(&u, CMSG_DATA(c), sizeof(u));
			SAY("credentials %s %s", u.pid == getpid() ? "mine" : "other",
			    u.uid == getuid() ? "mine" : "other");
		}
	}
}

static void ancillary(void)
{
	struct ucred u;
	socklen_t len = sizeof(u);
	int sv[2], fds[2], many[300];

	put_file("one", "file one");
	put_file("two", "file two");
	fds[0] = MUST(open("one", O_RDONLY));
	fds[1] = MUST(open("two", O_RDONLY));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	T(send_fds(sv[0], fds, 2, "both"));
	T(send_fds(sv[0], fds, 1, "single"));
	receive_fds(sv[1], CMSG_SPACE(8), 0);
	receive_fds(sv[1], CMSG_SPACE(8), MSG_CMSG_CLOEXEC);
	T(send_fds(sv[0], fds, 2, "cut"));
	receive_fds(sv[1], CMSG_SPACE(4), 0);
	T(send_fds(sv[0], fds, 2, "none"));
	receive_fds(sv[1], 0, 0);
	for (int i = 0; i < 300; i++)
		many[i] = fds[0];
	T(send_fds(sv[0], many, 300, "too many"));
	many[0] = 99;
	T(send_fds(sv[0], many, 1, "bad"));
	T(send_fds(sv[0], sv, 2, "itself"));
	close(fds[0]);
	T(setsockopt(sv[1], SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)));
	T(write(sv[0], "with creds", 10));
	receive_fds(sv[1], 256, MSG_DONTWAIT);
	receive_fds(sv[1], 256, MSG_DONTWAIT);
	T(getsockopt(sv[0], SOL_SOCKET, SO_PEERCRED, &u, &len));
	HOLDS(u.pid == getpid() && u.uid == geteuid() && u.gid == getegid());
	close(sv[0]);
	close(sv[1]);
}

static void options(void)
{
	int v = 0, s = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	socklen_t len = sizeof(v);

	T(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, &len));
	SAY("%d %u", v, len);
	T(getsockopt(s, SOL_SOCKET, SO_DOMAIN, &v, &len));
	SAY("%d", v);
	T(getsockopt(s, SOL_SOCKET, SO_ERROR, &v, &len));
	SAY("%d", v);
	T(getsockopt(s, SOL_SOCKET, SO_ACCEPTCONN, &v, &len));
	T(getsockopt(s, SOL_SOCKET, 9999, &v, &len));
	T(getsockopt(s, 9999, SO_TYPE, &v, &len));
	T(getsockopt(s, SOL_SOCKET, SO_TYPE, BAD, &len));
	T(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, BAD));
	T(setsockopt(s, SOL_SOCKET, SO_SNDBUF, &(int){30000}, sizeof(int)));
	T(getsockopt(s, SOL_SOCKET, SO_SNDBUF, &v, &len));
	SAY("%d", v);
	T(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, 1));
	T(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, BAD, 4));
	T(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){0, 20000}, sizeof(struct timeval)));
	close(s);
	int sv[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	MUST(setsockopt(sv[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){0, 20000}, sizeof(struct timeval)));
	T(read(sv[0], &v, 1));
	T(sendto(sv[0], "x", 1, 0, ADDR("x")));
	T(fchmod(sv[0], 0600));
	close(sv[0]);
	close(sv[1]);
}

static void *serve(void *arg)
{
	int c = accept(*(int *)arg, NULL, NULL);
	char buf[4096];
	ssize_t n;
	long total = 0;

	while ((n = read(c, buf, sizeof(buf))) > 0)
		total += n;
	close(c);
	return (void *)total;
}

static void bulk(void)
{
	static char data[200000];
	int s = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), c = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	pthread_t t;
	void *total;

	MUST(bind(s, ADDR("bulk")));
	MUST(listen(s, 1));
	pthread_create(&t, NULL, serve, &s);
	MUST(connect(c, ADDR("bulk")));
	for (int i = 0; i < 20; i++)
		must(send(c, data, sizeof(data), 0) == sizeof(data), "send");
	close(c);
	pthread_join(t, &total);
	SAY("served %ld", (long)total);
}

int main(void)
{
	umask(022);
	creation();
	stream_pair();
	connections();
	abstract_names();
	datagrams();
	ancillary();
	options();
	bulk();
	return 0;
}
