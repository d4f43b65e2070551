/* The walk over all sockets: what it tells, and that it can go on while sockets come and go. */
#include "tests/unit/ipc.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "net/sockinfo.h"

struct seen {
	unsigned count, listening, connected, unaccepted;
};

static void look(const struct sock_info *i, void *arg)
{
	struct seen *n = arg;

	n->count++;
	n->listening += i->state == TCP_LISTEN;
	n->connected += i->state == TCP_ESTABLISHED;
	n->unaccepted += !i->ino;
}

static struct seen walk(int family)
{
	struct seen n = {0};

	socket_for_each(NULL, family, look, &n);
	return n;
}

static struct sock_info last;

static void keep(const struct sock_info *i, void *arg __unused)
{
	last = *i;
}

static uint64_t at_port(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};

	kernel_poke(init, ARG, &a, sizeof(a));
	return ARG;
}

START_TEST(states)
{
	int64_t l, c, s;

	init = kernel_boot();
	IS(walk(AF_UNSPEC).count, 0);
	l = CALL(socket, AF_INET, SOCK_STREAM, 0);
	IS(CALL(bind, l, at_port(1234), sizeof(struct sockaddr_in)), 0);
	IS(walk(AF_INET).listening, 0);
	IS(CALL(listen, l, 5), 0);
	IS(walk(AF_INET).listening, 1);
	c = CALL(socket, AF_INET, SOCK_STREAM, 0);
	IS(CALL(connect, c, at_port(1234), sizeof(struct sockaddr_in)), 0);
	/* The other end is the stack's until it is accepted. */
	IS(walk(AF_INET).count, 2);
	IS(walk(AF_INET).connected, 1);
	IS(walk(AF_INET).unaccepted, 0);
	socket_for_each(NULL, AF_INET, keep, NULL); /* the oldest comes last */
	IS(last.local_port, 1234);
	IS(last.unread, 1);
	s = CALL(accept, l, 0, 0);
	ck_assert_int_ge(s, 0);
	IS(walk(AF_INET).connected, 2);
	IS(CALL(close, c), 0);
	IS(walk(AF_UNSPEC).count, 2);
	IS(CALL(close, l), 0);
	IS(CALL(close, s), 0);
	IS(walk(AF_UNSPEC).count, 0);
}
END_TEST

START_TEST(unaccepted_go_with_their_listener)
{
	int64_t l, c;

	init = kernel_boot();
	l = CALL(socket, AF_INET, SOCK_STREAM, 0);
	IS(CALL(bind, l, at_port(1234), sizeof(struct sockaddr_in)), 0);
	IS(CALL(listen, l, 5), 0);
	c = CALL(socket, AF_INET, SOCK_STREAM, 0);
	IS(CALL(connect, c, at_port(1234), sizeof(struct sockaddr_in)), 0);
	IS(CALL(close, l), 0);
	IS(walk(AF_INET).count, 1);
	IS(walk(AF_INET).connected, 0);
	IS(CALL(close, c), 0);
	IS(walk(AF_UNSPEC).count, 0);
}
END_TEST

static _Atomic bool over;

static void *walker(void *arg __unused)
{
	while (!over)
		ck_assert_uint_le(walk(AF_UNSPEC).count, 10);
	return NULL;
}

/* One pass of sockets that come, connect and go. */
static void pass(void)
{
	int64_t l = CALL(socket, AF_INET, SOCK_STREAM, 0), c = CALL(socket, AF_INET, SOCK_STREAM, 0);
	int fd[2];

	IS(CALL(bind, l, at_port(1234), sizeof(struct sockaddr_in)), 0);
	IS(CALL(listen, l, 5), 0);
	IS(CALL(connect, c, at_port(1234), sizeof(struct sockaddr_in)), 0);
	pair(CALL(socketpair, AF_UNIX, SOCK_DGRAM, 0, ARG), fd);
	IS(put(fd[0], "text"), 4);
	IS(CALL(close, fd[0]), 0);
	IS(CALL(close, l), 0);
	IS(CALL(close, c), 0);
	IS(CALL(close, fd[1]), 0);
}

START_TEST(while_they_come_and_go)
{
	pthread_t thread[2];

	init = kernel_boot();
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, walker, NULL), 0);
	for (int i = 0; i < 2000; i++)
		pass();
	over = true;
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	IS(walk(AF_UNSPEC).count, 0);
	IS(live_in("struct inet_tcp"), 0);
	IS(live_in("struct unix_sock"), 0);
}
END_TEST

UNIT_MAIN(states, unaccepted_go_with_their_listener, while_they_come_and_go)
