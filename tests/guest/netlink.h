/* For guest tests: requests of rtnetlink, one at a time, each answered by its errno. */
#pragma once

#include "guest.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static struct {
	struct nlmsghdr h;
	char data[1024];
} rq;

static inline void rq_begin(int type, int flags, const void *fixed, size_t size)
{
	memset(&rq, 0, sizeof(rq));
	rq.h.nlmsg_type = (uint16_t)type;
	rq.h.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	rq.h.nlmsg_len = (uint32_t)NLMSG_LENGTH(size);
	memcpy(rq.data, fixed, size);
}

static inline struct rtattr *rq_attr(int type, const void *data, size_t size)
{
	struct rtattr *a = (struct rtattr *)((char *)&rq + NLMSG_ALIGN(rq.h.nlmsg_len));

	*a = (struct rtattr){(uint16_t)RTA_LENGTH(size), (uint16_t)type};
	memcpy(RTA_DATA(a), data, size);
	rq.h.nlmsg_len = (uint32_t)(NLMSG_ALIGN(rq.h.nlmsg_len) + RTA_ALIGN(a->rta_len));
	return a;
}

static inline void rq_u32(int type, uint32_t v)
{
	rq_attr(type, &v, sizeof(v));
}

static inline void rq_text(int type, const char *text)
{
	rq_attr(type, text, strlen(text) + 1);
}

static inline void rq_end(struct rtattr *nest)
{
	nest->rta_len = (uint16_t)((char *)&rq + rq.h.nlmsg_len - (char *)nest);
}

/* 0, or -1 with errno. */
static inline int rq_send(void)
{
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
		char rest[2048];
	} answer = {0};
	int fd = (int)MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));

	MUST(send(fd, &rq, rq.h.nlmsg_len, 0));
	MUST(recv(fd, &answer, sizeof(answer), 0));
	close(fd);
	must(answer.h.nlmsg_type == NLMSG_ERROR, "have an answer");
	errno = -answer.e.error;
	return answer.e.error ? -1 : 0;
}

/* RTM_NEWLINK of a kind; more attributes may follow. */
static inline void rq_new_link(const char *kind, const char *name)
{
	struct ifinfomsg m = {.ifi_family = AF_UNSPEC};
	struct rtattr *info;

	rq_begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));
	if (name)
		rq_text(IFLA_IFNAME, name);
	if (!kind)
		return;
	info = rq_attr(IFLA_LINKINFO, "", 0);
	rq_text(IFLA_INFO_KIND, kind);
	rq_end(info);
}

/* A veth with its peer, which is made in the namespace behind netns, if that is >= 0. */
static inline int new_veth(const char *name, const char *peer, int netns)
{
	struct ifinfomsg m = {.ifi_family = AF_UNSPEC};
	struct rtattr *info, *data, *to;

	rq_begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));
	rq_text(IFLA_IFNAME, name);
	info = rq_attr(IFLA_LINKINFO, "", 0);
	rq_text(IFLA_INFO_KIND, "veth");
	data = rq_attr(IFLA_INFO_DATA, "", 0);
	to = rq_attr(VETH_INFO_PEER, &m, sizeof(m));
	rq_text(IFLA_IFNAME, peer);
	if (netns >= 0)
		rq_u32(IFLA_NET_NS_FD, (uint32_t)netns);
	rq_end(to);
	rq_end(data);
	rq_end(info);
	return rq_send();
}

static inline int new_link(const char *kind, const char *name)
{
	rq_new_link(kind, name);
	return rq_send();
}

/* RTM_SETLINK of one that there is; attributes may follow. */
static inline void rq_set(const char *name)
{
	struct ifinfomsg m = {.ifi_family = AF_UNSPEC, .ifi_index = (int)if_nametoindex(name)};

	rq_begin(RTM_SETLINK, 0, &m, sizeof(m));
	if (!m.ifi_index)
		rq_text(IFLA_IFNAME, name);
}

static inline int set_link(const char *name, int attr, uint32_t v)
{
	rq_set(name);
	rq_u32(attr, v);
	return rq_send();
}

static inline int set_mac(const char *name, const char *mac, size_t size)
{
	rq_set(name);
	rq_attr(IFLA_ADDRESS, mac, size);
	return rq_send();
}

static inline int rename_link(const char *name, const char *to)
{
	rq_set(name);
	rq_text(IFLA_IFNAME, to);
	return rq_send();
}

static inline int link_up(const char *name, bool up)
{
	struct ifinfomsg m = {
	    .ifi_index = (int)if_nametoindex(name), .ifi_flags = up ? IFF_UP : 0, .ifi_change = IFF_UP};

	rq_begin(RTM_SETLINK, 0, &m, sizeof(m));
	return rq_send();
}

static inline int del_link(const char *name)
{
	struct ifinfomsg m = {.ifi_family = AF_UNSPEC};

	rq_begin(RTM_DELLINK, 0, &m, sizeof(m));
	rq_text(IFLA_IFNAME, name);
	return rq_send();
}

static inline int add_addr(const char *name, const char *addr, int plen)
{
	struct ifaddrmsg m = {.ifa_family = AF_INET, .ifa_prefixlen = (uint8_t)plen, .ifa_index = if_nametoindex(name)};
	struct in_addr a;

	inet_pton(AF_INET, addr, &a);
	rq_begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));
	rq_attr(IFA_LOCAL, &a, sizeof(a));
	rq_attr(IFA_ADDRESS, &a, sizeof(a));
	return rq_send();
}

/* IFF_* as RTM_GETLINK has them. */
static inline unsigned link_flags(const char *name)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg m;
		char rest[8192];
	} answer = {0};
	struct ifinfomsg m = {.ifi_index = (int)if_nametoindex(name)};
	int fd = (int)MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));

	rq_begin(RTM_GETLINK, 0, &m, sizeof(m));
	MUST(send(fd, &rq, rq.h.nlmsg_len, 0));
	MUST(recv(fd, &answer, sizeof(answer), 0));
	close(fd);
	return answer.h.nlmsg_type == RTM_NEWLINK ? answer.m.ifi_flags : 0;
}
