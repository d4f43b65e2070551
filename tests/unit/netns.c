/* net/netstack.c: namespaces begin and end, are bounded, and leave nothing behind. */
#include "tests/unit/ipc.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/netstack.h"

/* The timer thread buries them. */
static void wait_for(const char *slab, size_t count)
{
	for (int i = 0; i < 500 && live_in(slab) != count; i++)
		usleep(10000);
	IS(live_in(slab), count);
}

START_TEST(come_and_go)
{
	int64_t home, s;

	init = kernel_boot();
	home = CALL(open, name_at("/proc/self/ns/net"), O_RDONLY, 0);
	ck_assert_int_ge(home, 0);
	for (int i = 0; i < 50; i++)
		IS(CALL(unshare, CLONE_NEWNET), 0);
	wait_for("struct netns", 1);
	s = CALL(socket, AF_INET, SOCK_STREAM, 0);
	ck_assert_int_ge(s, 0);
	IS(CALL(setns, home, CLONE_NEWNET), 0);
	usleep(50000);
	IS(live_in("struct netns"), 1);
	IS(CALL(close, s), 0);
	wait_for("struct netns", 0);
	wait_for("struct netenv", 0);
	IS(CALL(close, home), 0);
}
END_TEST

START_TEST(bounded)
{
	struct rlimit more = {4096, 4096};
	int64_t fd[1100], home;
	int n = 0;

	init = kernel_boot();
	kernel_poke(init, ARG, &more, sizeof(more));
	IS(CALL(setrlimit, RLIMIT_NOFILE, ARG), 0);
	home = CALL(open, name_at("/proc/self/ns/net"), O_RDONLY, 0);
	for (; n < 1100 && CALL(unshare, CLONE_NEWNET) == 0; n++) {
		fd[n] = CALL(open, name_at("/proc/self/ns/net"), O_RDONLY, 0);
		ck_assert_int_ge(fd[n], 0);
	}
	IS(n, 1024);
	IS(CALL(unshare, CLONE_NEWNET), -ENOSPC);
	IS(CALL(setns, home, CLONE_NEWNET), 0);
	for (int i = 0; i < n; i++)
		IS(CALL(close, fd[i]), 0);
	/* At once, though the last ones may not be buried yet. */
	IS(CALL(unshare, CLONE_NEWNET), 0);
	IS(CALL(setns, home, CLONE_NEWNET), 0);
	wait_for("struct netns", 0);
	wait_for("struct stack", 0);
}
END_TEST

static int make_one(void *arg __unused)
{
	int64_t r = CALL(unshare, CLONE_NEWNET);

	return (int)r;
}

START_TEST(no_memory)
{
	init = kernel_boot();
	unit_each_allocation_fails(make_one, NULL);
}
END_TEST

/* A request with one attribute; the answer's errno. */
static int request(int64_t s, int type, int flags, int attr, const void *data, size_t size)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg m;
		char rest[256];
	} rq = {.h = {.nlmsg_type = (uint16_t)type, .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags)}};
	struct rtattr *a = (struct rtattr *)rq.rest;
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
	} answer = {0};

	*a = (struct rtattr){(uint16_t)RTA_LENGTH(size), (uint16_t)attr};
	memcpy(RTA_DATA(a), data, size);
	rq.h.nlmsg_len = (uint32_t)(NLMSG_LENGTH(sizeof(rq.m)) + RTA_ALIGN(a->rta_len));
	kernel_poke(init, BUF, &rq, sizeof(rq));
	IS(CALL(sendto, s, BUF, rq.h.nlmsg_len, 0, 0, 0), rq.h.nlmsg_len);
	ck_assert_int_gt(CALL(recvfrom, s, OUT, 4096, MSG_DONTWAIT, 0, 0), 0);
	kernel_peek(init, OUT, &answer, sizeof(answer));
	IS(answer.h.nlmsg_type, NLMSG_ERROR);
	return answer.e.error;
}

/* IFLA_LINKINFO with a kind. */
static size_t kind_of(char *to, const char *kind)
{
	struct rtattr a = {(uint16_t)RTA_LENGTH(strlen(kind) + 1), IFLA_INFO_KIND};

	memcpy(to, &a, sizeof(a));
	strcpy(to + sizeof(a), kind);
	return RTA_ALIGN(a.rta_len);
}

/* Interfaces, and a namespace full of them that goes; nothing of it stays. */
START_TEST(links_go_along)
{
	char info[64] = "";
	int64_t home, s;
	size_t before;

	init = kernel_boot();
	home = CALL(open, name_at("/proc/self/ns/net"), O_RDONLY, 0);
	IS(CALL(unshare, CLONE_NEWNET), 0);
	s = CALL(socket, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	before = live_in("struct netdev");
	for (int i = 0; i < 20; i++) {
		IS(request(s, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, IFLA_LINKINFO, info, kind_of(info, "veth")), 0);
		IS(request(s, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, IFLA_LINKINFO, info, kind_of(info, "bridge")), 0);
		IS(request(s, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, IFLA_LINKINFO, info, kind_of(info, "dummy")), 0);
	}
	IS(live_in("struct netdev"), before + 80);
	IS(request(s, RTM_DELLINK, 0, IFLA_IFNAME, "veth3", 6), 0);
	IS(live_in("struct netdev"), before + 78);
	/* Attributes that lie about their sizes. */
	for (int size = 0; size < 12; size++)
		(void)request(s, RTM_NEWLINK, NLM_F_CREATE, IFLA_LINKINFO, "\377\377\1\0\10\0\2\0\377\377\1\0",
			      (size_t)size);
	IS(CALL(close, s), 0);
	IS(CALL(setns, home, 0), 0);
	wait_for("struct netns", 0);
	wait_for("struct netdev", before - 1); /* its lo is gone, too */
	wait_for("struct veth", 0);
	wait_for("struct bridge", 0);
}
END_TEST

UNIT_MAIN(come_and_go, bounded, no_memory, links_go_along)
