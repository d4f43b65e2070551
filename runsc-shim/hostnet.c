/*
 * See hostnet.h. Each kind of object is a dump request, whose messages one function reads. A message is the host's kernel's word, but its lengths are checked all
 * the same. (libmnl would do this part, but Debian has no static library of it.)
 *
 * Routes that the kernel makes of addresses come and go with these, so they are left out, and so are cached ones and those to multicast and broadcast. Of
 * a route with several next hops the first one counts.
 */
#include "runsc-shim/hostnet.h"

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUF_SIZE 32768
#define ATTRS_MAX 64

struct attrs {
	const struct rtattr *at[ATTRS_MAX];
};

/* ---- growing lists ---- */

static void *grow(void **list, size_t *count, size_t size)
{
	void *more = *count < HOSTNET_MAX ? realloc(*list, (*count + 1) * size) : NULL;

	if (!more)
		return NULL;
	*list = more;
	memset((char *)more + *count * size, 0, size);
	return (char *)more + (*count)++ * size;
}

struct hostnet_link *hostnet_add_link(struct hostnet *h)
{
	return grow((void **)&h->links, &h->link_count, sizeof(*h->links));
}

struct hostnet_addr *hostnet_add_addr(struct hostnet *h)
{
	return grow((void **)&h->addrs, &h->addr_count, sizeof(*h->addrs));
}

struct hostnet_route *hostnet_add_route(struct hostnet *h)
{
	return grow((void **)&h->routes, &h->route_count, sizeof(*h->routes));
}

static struct hostnet_neigh *add_neigh(struct hostnet *h)
{
	return grow((void **)&h->neighs, &h->neigh_count, sizeof(*h->neighs));
}

void hostnet_free(struct hostnet *h)
{
	for (size_t i = 0; i < h->route_count; i++)
		free(h->routes[i].raw);
	free(h->links);
	free(h->addrs);
	free(h->routes);
	free(h->neighs);
	memset(h, 0, sizeof(*h));
}

/* ---- reading attributes ---- */

static void parse_attrs(const struct nlmsghdr *m, size_t fixed, struct attrs *ret)
{
	const struct rtattr *a = (const void *)((const char *)NLMSG_DATA(m) + NLMSG_ALIGN(fixed));
	int left = (int)m->nlmsg_len - (int)NLMSG_SPACE(fixed);

	memset(ret, 0, sizeof(*ret));
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if ((a->rta_type & NLA_TYPE_MASK) < ATTRS_MAX)
			ret->at[a->rta_type & NLA_TYPE_MASK] = a;
}

static bool get(const struct attrs *a, unsigned type, void *to, size_t size)
{
	const struct rtattr *r = a->at[type];

	if (!r || RTA_PAYLOAD(r) < size)
		return false;
	memcpy(to, RTA_DATA(r), size);
	return true;
}

static void get_string(const struct attrs *a, unsigned type, char *to, size_t room)
{
	const struct rtattr *r = a->at[type];
	size_t n = r ? MIN((size_t)RTA_PAYLOAD(r), room - 1) : 0;

	if (n)
		memcpy(to, RTA_DATA(r), n);
	to[n] = '\0';
}

static struct in6_addr mapped(const void *v4)
{
	struct in6_addr a = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	memcpy(a.s6_addr + 12, v4, 4);
	return a;
}

static bool get_addr(const struct attrs *a, unsigned type, int family, struct in6_addr *ret)
{
	uint8_t v4[4];

	if (family == AF_INET6)
		return get(a, type, ret, sizeof(*ret));
	if (!get(a, type, v4, sizeof(v4)))
		return false;
	*ret = mapped(v4);
	return true;
}

/* ---- one message each: 0 or -ENOMEM ---- */

static int read_link(struct hostnet *h, const struct nlmsghdr *m, unsigned index)
{
	const struct ifinfomsg *i = NLMSG_DATA(m);
	struct hostnet_link *l;
	struct attrs a;

	if (m->nlmsg_type != RTM_NEWLINK || (index && (unsigned)i->ifi_index != index))
		return 0;
	l = hostnet_add_link(h);
	if (!l)
		return -ENOMEM;
	parse_attrs(m, sizeof(*i), &a);
	l->index = (unsigned)i->ifi_index;
	l->flags = i->ifi_flags;
	l->type = i->ifi_type;
	get_string(&a, IFLA_IFNAME, l->name, sizeof(l->name));
	get(&a, IFLA_MTU, &l->mtu, sizeof(l->mtu));
	get(&a, IFLA_ADDRESS, l->mac, sizeof(l->mac));
	return 0;
}

static int read_addr(struct hostnet *h, const struct nlmsghdr *m, unsigned index)
{
	const struct ifaddrmsg *i = NLMSG_DATA(m);
	struct ifa_cacheinfo life;
	struct hostnet_addr *r;
	struct attrs a;

	if (m->nlmsg_type != RTM_NEWADDR || (index && i->ifa_index != index) ||
	    (i->ifa_family != AF_INET && i->ifa_family != AF_INET6))
		return 0;
	r = hostnet_add_addr(h);
	if (!r)
		return -ENOMEM;
	parse_attrs(m, sizeof(*i), &a);
	r->index = i->ifa_index;
	r->scope = i->ifa_scope;
	r->flags = i->ifa_flags;
	r->plen = (uint8_t)(i->ifa_prefixlen + (i->ifa_family == AF_INET ? 96 : 0));
	r->valid = r->preferred = UINT32_MAX;
	/* IFA_ADDRESS is the peer's where there is an IFA_LOCAL. */
	if (get_addr(&a, IFA_LOCAL, i->ifa_family, &r->addr))
		get_addr(&a, IFA_ADDRESS, i->ifa_family, &r->peer);
	else
		get_addr(&a, IFA_ADDRESS, i->ifa_family, &r->addr);
	get_addr(&a, IFA_BROADCAST, i->ifa_family, &r->broadcast);
	get(&a, IFA_FLAGS, &r->flags, sizeof(r->flags));
	get_string(&a, IFA_LABEL, r->label, sizeof(r->label));
	if (get(&a, IFA_CACHEINFO, &life, sizeof(life))) {
		r->valid = life.ifa_valid;
		r->preferred = life.ifa_prefered;
	}
	return 0;
}

static void read_metrics(const struct attrs *a, struct hostnet_route *r)
{
	const struct rtattr *all = a->at[RTA_METRICS], *m = all ? RTA_DATA(all) : NULL;
	int left = all ? (int)RTA_PAYLOAD(all) : 0;

	for (; m && RTA_OK(m, left); m = RTA_NEXT(m, left))
		if (m->rta_type == RTAX_MTU && RTA_PAYLOAD(m) >= sizeof(r->mtu))
			memcpy(&r->mtu, RTA_DATA(m), sizeof(r->mtu));
}

/* The first of several next hops. */
static void read_hops(const struct attrs *a, int family, struct hostnet_route *r)
{
	const struct rtattr *all = a->at[RTA_MULTIPATH];
	const struct rtnexthop *hop = all && RTA_PAYLOAD(all) >= sizeof(*hop) ? RTA_DATA(all) : NULL;
	const struct rtattr *one;
	int left;

	if (!hop || hop->rtnh_len < sizeof(*hop) || hop->rtnh_len > RTA_PAYLOAD(all))
		return;
	r->index = (unsigned)hop->rtnh_ifindex;
	r->flags = hop->rtnh_flags;
	left = hop->rtnh_len - (int)sizeof(*hop);
	for (one = RTNH_DATA(hop); RTA_OK(one, left); one = RTA_NEXT(one, left)) {
		struct attrs only = {{NULL}};

		only.at[RTA_GATEWAY] = one;
		if (one->rta_type == RTA_GATEWAY)
			get_addr(&only, RTA_GATEWAY, family, &r->gateway);
	}
}

static bool follows_from_address(const struct rtmsg *i)
{
	return i->rtm_protocol == RTPROT_KERNEL || i->rtm_type == RTN_LOCAL || i->rtm_type == RTN_BROADCAST ||
	       i->rtm_type == RTN_MULTICAST || i->rtm_type == RTN_ANYCAST || i->rtm_protocol == RTPROT_REDIRECT;
}

static int read_route(struct hostnet *h, const struct nlmsghdr *m, unsigned index)
{
	const struct rtmsg *i = NLMSG_DATA(m);
	bool v4 = i->rtm_family == AF_INET;
	struct hostnet_route r = {.v6 = !v4, .type = i->rtm_type, .protocol = i->rtm_protocol, .scope = i->rtm_scope};
	struct hostnet_route *to;
	struct attrs a;

	if (m->nlmsg_type != RTM_NEWROUTE || (!v4 && i->rtm_family != AF_INET6) || i->rtm_flags & RTM_F_CLONED ||
	    follows_from_address(i))
		return 0;
	parse_attrs(m, sizeof(*i), &a);
	r.plen = (uint8_t)(i->rtm_dst_len + (v4 ? 96 : 0));
	r.dst = v4 ? mapped("\0\0\0\0") : in6addr_any;
	r.table = i->rtm_table;
	r.flags = i->rtm_flags;
	get(&a, RTA_TABLE, &r.table, sizeof(r.table));
	get(&a, RTA_PRIORITY, &r.metric, sizeof(r.metric));
	get(&a, RTA_OIF, &r.index, sizeof(r.index));
	get_addr(&a, RTA_DST, i->rtm_family, &r.dst);
	get_addr(&a, RTA_GATEWAY, i->rtm_family, &r.gateway);
	get_addr(&a, RTA_PREFSRC, i->rtm_family, &r.prefsrc);
	read_metrics(&a, &r);
	read_hops(&a, i->rtm_family, &r);
	if (index && r.index != index)
		return 0;
	to = hostnet_add_route(h);
	if (!to)
		return -ENOMEM;
	*to = r;
	to->raw = malloc(m->nlmsg_len);
	if (!to->raw)
		return -ENOMEM;
	memcpy(to->raw, m, m->nlmsg_len);
	return 0;
}

static int read_neigh(struct hostnet *h, const struct nlmsghdr *m, unsigned index)
{
	const struct ndmsg *i = NLMSG_DATA(m);
	struct hostnet_neigh n = {.index = (unsigned)i->ndm_ifindex, .state = i->ndm_state, .flags = i->ndm_flags};
	struct hostnet_neigh *to;
	struct attrs a;

	if (m->nlmsg_type != RTM_NEWNEIGH || (index && n.index != index) ||
	    (i->ndm_family != AF_INET && i->ndm_family != AF_INET6) ||
	    !(n.state & (NUD_PERMANENT | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE)))
		return 0;
	parse_attrs(m, sizeof(*i), &a);
	if (!get_addr(&a, NDA_DST, i->ndm_family, &n.addr) || !get(&a, NDA_LLADDR, n.mac, sizeof(n.mac)))
		return 0;
	to = add_neigh(h);
	if (!to)
		return -ENOMEM;
	*to = n;
	return 0;
}

/* ---- talking to the host's kernel ---- */

int hostnet_socket(int ns_fd)
{
	int own = -1, fd, err = 0;

	if (ns_fd >= 0) {
		own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		if (own < 0 || setns(ns_fd, CLONE_NEWNET)) {
			err = -errno;
			if (own >= 0)
				close(own);
			return err;
		}
	}
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		err = -errno;
	if (own >= 0) {
		BUG_ON(setns(own, CLONE_NEWNET));
		close(own);
	}
	return err ? err : fd;
}

/* What an answer's end says: 1: there is more. */
static int end_of(const struct nlmsghdr *m)
{
	const struct nlmsgerr *e = NLMSG_DATA(m);

	if (m->nlmsg_type == NLMSG_DONE)
		return 0;
	if (m->nlmsg_type != NLMSG_ERROR)
		return 1;
	return m->nlmsg_len < NLMSG_LENGTH(sizeof(*e)) ? -EIO : MIN(e->error, 0);
}

typedef int reader(struct hostnet *h, const struct nlmsghdr *m, unsigned index);

static int read_messages(int nl, void *buf, reader *fn, struct hostnet *h, unsigned index)
{
	int err = 1;

	while (err > 0) {
		ssize_t n = recv(nl, buf, BUF_SIZE, 0);
		const struct nlmsghdr *m = buf;
		unsigned left = n > 0 ? (unsigned)n : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		for (; err > 0 && NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
			err = end_of(m);
			if (err > 0 && fn && fn(h, m, index))
				return -ENOMEM;
		}
	}
	return err;
}

static int read_answer(int nl, reader *fn, struct hostnet *h, unsigned index)
{
	void *buf = malloc(BUF_SIZE);
	int err = buf ? read_messages(nl, buf, fn, h, index) : -ENOMEM;

	free(buf);
	return err;
}

static int dump(int nl, uint16_t type, reader *fn, struct hostnet *h, unsigned index)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg m; /* as long as any of the others; all zero */
	} r = {{sizeof(r), type, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {0}};

	if (send(nl, &r, sizeof(r), 0) < 0)
		return -errno;
	return read_answer(nl, fn, h, index);
}

static int by_index(const void *a, const void *b)
{
	unsigned x = ((const struct hostnet_link *)a)->index, y = ((const struct hostnet_link *)b)->index;

	return (x > y) - (x < y);
}

int hostnet_read(int nl, unsigned index, struct hostnet *ret)
{
	int err;

	memset(ret, 0, sizeof(*ret));
	if ((err = dump(nl, RTM_GETLINK, read_link, ret, index)) ||
	    (err = dump(nl, RTM_GETADDR, read_addr, ret, index)) ||
	    (err = dump(nl, RTM_GETROUTE, read_route, ret, index)) ||
	    (err = dump(nl, RTM_GETNEIGH, read_neigh, ret, index)))
		return err;
	if (ret->link_count)
		qsort(ret->links, ret->link_count, sizeof(*ret->links), by_index);
	return ret->link_count ? 0 : -ENODEV;
}

/* ---- changing ---- */

struct request {
	uint32_t len;
	_Alignas(4) char room[512]; /* begins with the nlmsghdr */
};

static void *begin(struct request *r, uint16_t type, uint16_t flags, size_t fixed)
{
	struct nlmsghdr *h;

	*r = (struct request){.len = (uint32_t)NLMSG_SPACE(fixed)};
	h = (struct nlmsghdr *)r->room;
	*h = (struct nlmsghdr){.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags, .nlmsg_seq = 1};
	return NLMSG_DATA(h);
}

static void put(struct request *r, uint16_t type, const void *data, size_t size)
{
	struct rtattr *a = (struct rtattr *)(r->room + r->len);

	BUG_ON(r->len + RTA_SPACE(size) > sizeof(r->room));
	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(size);
	memcpy(RTA_DATA(a), data, size);
	r->len += (uint32_t)RTA_SPACE(size);
}

static bool is_any(const struct in6_addr *a)
{
	return IN6_IS_ADDR_UNSPECIFIED(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr32[3] == 0);
}

static void put_addr(struct request *r, uint16_t type, const struct in6_addr *a)
{
	if (is_any(a))
		return;
	if (IN6_IS_ADDR_V4MAPPED(a))
		put(r, type, a->s6_addr + 12, 4);
	else
		put(r, type, a, sizeof(*a));
}

static int ask(int nl, struct request *r)
{
	((struct nlmsghdr *)r->room)->nlmsg_len = r->len;
	if (send(nl, r->room, r->len, 0) < 0)
		return -errno;
	return read_answer(nl, NULL, NULL, 0);
}

static int change_addr(int nl, const struct hostnet_addr *a, uint16_t type, uint16_t flags, uint32_t ifa_flags)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED(&a->addr);
	struct ifa_cacheinfo life = {a->preferred, a->valid, 0, 0};
	struct request r;
	struct ifaddrmsg *m = begin(&r, type, flags, sizeof(*m));

	m->ifa_family = v4 ? AF_INET : AF_INET6;
	m->ifa_prefixlen = (uint8_t)(a->plen - (v4 ? 96 : 0));
	m->ifa_scope = a->scope;
	m->ifa_index = a->index;
	put_addr(&r, IFA_LOCAL, &a->addr);
	put_addr(&r, IFA_ADDRESS, is_any(&a->peer) ? &a->addr : &a->peer);
	if (type == RTM_NEWADDR) {
		put_addr(&r, IFA_BROADCAST, &a->broadcast);
		put(&r, IFA_FLAGS, &ifa_flags, sizeof(ifa_flags));
		put(&r, IFA_CACHEINFO, &life, sizeof(life));
		if (a->label[0])
			put(&r, IFA_LABEL, a->label, strlen(a->label) + 1);
	}
	return ask(nl, &r);
}

/* It was in use until now, so that nobody has to be asked whether he has it (IFA_F_NODAD); but it is not to say so for ever. */
static int restore_addr(int nl, const struct hostnet_addr *a)
{
	uint32_t flags = a->flags & ~(uint32_t)(IFA_F_TENTATIVE | IFA_F_DADFAILED);
	bool v4 = IN6_IS_ADDR_V4MAPPED(&a->addr);
	int err = change_addr(nl, a, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, v4 ? flags : flags | IFA_F_NODAD);

	if (err || v4 || flags & IFA_F_NODAD)
		return err;
	return change_addr(nl, a, RTM_NEWADDR, NLM_F_REPLACE, flags);
}

int hostnet_take_addrs(int nl, const struct hostnet *h)
{
	int first = 0;

	for (size_t i = 0; i < h->addr_count; i++) {
		int err = change_addr(nl, &h->addrs[i], RTM_DELADDR, 0, 0);

		/* With a primary address its secondary ones may have gone. */
		if (err && err != -EADDRNOTAVAIL && !first)
			first = err;
	}
	return first;
}

/* As it was told, with what we do not understand of it. */
static int add_route(int nl, const struct hostnet_route *r)
{
	struct nlmsghdr *m = r->raw;

	if (!m)
		return 0;
	m->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
	m->nlmsg_seq = 1;
	m->nlmsg_pid = 0;
	if (send(nl, m, m->nlmsg_len, 0) < 0)
		return -errno;
	return read_answer(nl, NULL, NULL, 0);
}

static int add_permanent(int nl, const struct hostnet_neigh *n)
{
	struct request r;
	struct ndmsg *m = begin(&r, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*m));

	m->ndm_family = IN6_IS_ADDR_V4MAPPED(&n->addr) ? AF_INET : AF_INET6;
	m->ndm_ifindex = (int)n->index;
	m->ndm_state = NUD_PERMANENT;
	put_addr(&r, NDA_DST, &n->addr);
	put(&r, NDA_LLADDR, n->mac, sizeof(n->mac));
	return ask(nl, &r);
}

static void note(int *first, int err)
{
	if (err && err != -EEXIST && !*first)
		*first = err;
}

int hostnet_restore(int nl, const struct hostnet *h)
{
	int first = 0;

	for (size_t i = 0; i < h->addr_count; i++)
		note(&first, restore_addr(nl, &h->addrs[i]));
	/* What gateways are reached by comes first. */
	for (int gateways = 0; gateways < 2; gateways++)
		for (size_t i = 0; i < h->route_count; i++)
			if (gateways == !is_any(&h->routes[i].gateway))
				note(&first, add_route(nl, &h->routes[i]));
	for (size_t i = 0; i < h->neigh_count; i++)
		if (h->neighs[i].state & NUD_PERMANENT)
			note(&first, add_permanent(nl, &h->neighs[i]));
	return first;
}
