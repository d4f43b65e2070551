/*
 * AF_NETLINK: netlink(7), rtnetlink(7). NETLINK_ROUTE tells about the one interface there is, lo: links and addresses are listed, the list of
 * routes is empty (the main table of a host without a network), changes are refused with EPERM. NETLINK_KOBJECT_UEVENT can be listened to and stays
 * silent. That is what getifaddrs(), if_nameindex(), Go, Java and Node ask for.
 *
 * Requests are answered within the send: replies of one request go into one datagram at the sender's own queue (net/unix_msg.c), at most REPLY_MAX
 * bytes. A queue that is full drops them and reports ENOBUFS, as netlink does.
 */
#include "net/netlink.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <string.h>

#include "net/unix.h"
#include "sentry/base/slab.h"

#define REPLY_MAX 2048
#define REQUEST_MAX 32768

struct nl_sock {
	struct unix_sock u; /* first member */
	uint32_t port;      /* L_SOCKNAME; 0: none yet */
	uint32_t groups;
	struct nl_sock *next; /* of those with a port */
};

static struct slab nl_slab = SLAB_INIT(struct nl_sock);
static struct mutex table_lock = MUTEX_INIT;
static struct nl_sock *ports; /* L_SOCKNAME */
static uint32_t last_port;    /* L_SOCKNAME: numbers for those whose pid is taken */
static const struct proto_ops netlink_ops;

static struct nl_sock *nl_of(struct socket *s)
{
	return container_of(unix_of(s), struct nl_sock, u);
}

/* ---- replies ---- */

struct reply {
	char data[REPLY_MAX];
	size_t size;
	const struct nlmsghdr *request;
	uint32_t port;
};

/* Begins a message with a fixed part; NULL: no room. */
static struct nlmsghdr *reply_begin(struct reply *r, uint16_t type, uint16_t flags, const void *fixed, size_t size)
{
	struct nlmsghdr *h = (struct nlmsghdr *)(r->data + r->size);

	if (r->size + NLMSG_SPACE(size) > sizeof(r->data))
		return NULL;
	*h = (struct nlmsghdr){(uint32_t)NLMSG_LENGTH(size), type, flags, r->request->nlmsg_seq, r->port};
	memcpy(NLMSG_DATA(h), fixed, size);
	r->size += NLMSG_SPACE(size);
	return h;
}

static void reply_attr(struct reply *r, struct nlmsghdr *h, uint16_t type, const void *data, size_t size)
{
	struct rtattr *a = (struct rtattr *)(r->data + r->size);

	if (!h || r->size + RTA_SPACE(size) > sizeof(r->data))
		return;
	*a = (struct rtattr){(uint16_t)RTA_LENGTH(size), type};
	memcpy(RTA_DATA(a), data, size);
	r->size += RTA_SPACE(size);
	h->nlmsg_len = (uint32_t)(r->data + r->size - (char *)h);
}

static void reply_u32(struct reply *r, struct nlmsghdr *h, uint16_t type, uint32_t v)
{
	reply_attr(r, h, type, &v, sizeof(v));
}

static void reply_error(struct reply *r, int err)
{
	struct nlmsgerr e = {err, *r->request};

	reply_begin(r, NLMSG_ERROR, 0, &e, sizeof(e));
}

static void reply_done(struct reply *r)
{
	int zero = 0;

	reply_begin(r, NLMSG_DONE, NLM_F_MULTI, &zero, sizeof(zero));
}

static void reply_link(struct reply *r, uint16_t flags)
{
	static const char zero[6];
	struct ifinfomsg m = {.ifi_type = ARPHRD_LOOPBACK,
			      .ifi_index = 1,
			      .ifi_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP};
	struct nlmsghdr *h = reply_begin(r, RTM_NEWLINK, flags, &m, sizeof(m));
	uint8_t none = 0;

	reply_attr(r, h, IFLA_IFNAME, "lo", 3);
	reply_u32(r, h, IFLA_TXQLEN, 1000);
	reply_attr(r, h, IFLA_OPERSTATE, &none, 1);
	reply_attr(r, h, IFLA_LINKMODE, &none, 1);
	reply_u32(r, h, IFLA_MTU, 65536);
	reply_u32(r, h, IFLA_GROUP, 0);
	reply_attr(r, h, IFLA_QDISC, "noqueue", 8);
	reply_attr(r, h, IFLA_ADDRESS, zero, sizeof(zero));
	reply_attr(r, h, IFLA_BROADCAST, zero, sizeof(zero));
}

static void reply_addr(struct reply *r, uint8_t family)
{
	static const uint8_t v4[4] = {127, 0, 0, 1}, v6[16] = {[15] = 1};
	struct ifaddrmsg m = {family, family == AF_INET ? 8 : 128, IFA_F_PERMANENT, RT_SCOPE_HOST, 1};
	struct ifa_cacheinfo forever = {UINT32_MAX, UINT32_MAX, 0, 0};
	struct nlmsghdr *h = reply_begin(r, RTM_NEWADDR, NLM_F_MULTI, &m, sizeof(m));

	if (family == AF_INET) {
		reply_attr(r, h, IFA_ADDRESS, v4, sizeof(v4));
		reply_attr(r, h, IFA_LOCAL, v4, sizeof(v4));
		reply_attr(r, h, IFA_LABEL, "lo", 3);
	} else {
		reply_attr(r, h, IFA_ADDRESS, v6, sizeof(v6));
	}
	reply_u32(r, h, IFA_FLAGS, IFA_F_PERMANENT);
	reply_attr(r, h, IFA_CACHEINFO, &forever, sizeof(forever));
}

/* ---- requests ---- */

/* RTM_GETLINK for one link, by index or name. */
static void get_one_link(struct reply *r, const char *data, size_t size)
{
	struct ifinfomsg m;
	bool is_lo;

	if (size < sizeof(m)) {
		reply_error(r, -EINVAL);
		return;
	}
	memcpy(&m, data, sizeof(m));
	is_lo = m.ifi_index == 1;
	for (size_t at = NLMSG_ALIGN(sizeof(m)); !m.ifi_index && size >= at + sizeof(struct rtattr);) {
		struct rtattr a;

		memcpy(&a, data + at, sizeof(a));
		if (a.rta_len < sizeof(a) || a.rta_len > size - at)
			break;
		if (a.rta_type == IFLA_IFNAME && a.rta_len >= RTA_LENGTH(3))
			is_lo = memcmp(data + at + sizeof(a), "lo", 3) == 0;
		at += MIN(RTA_ALIGN(a.rta_len), size - at);
	}
	if (is_lo)
		reply_link(r, 0);
	else
		reply_error(r, -ENODEV);
}

static void get_addrs(struct reply *r, const char *data, size_t size)
{
	uint8_t family = size ? (uint8_t)data[0] : AF_UNSPEC;

	if (family == AF_UNSPEC || family == AF_INET)
		reply_addr(r, AF_INET);
	if (family == AF_UNSPEC || family == AF_INET6)
		reply_addr(r, AF_INET6);
}

/* One message of NETLINK_ROUTE: data is what stands behind the header. */
static void route_request(struct reply *r, const char *data, size_t size)
{
	const struct nlmsghdr *h = r->request;
	bool dump = (h->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	int err = 0;

	if (h->nlmsg_type < RTM_BASE || h->nlmsg_type > RTM_MAX)
		err = -EOPNOTSUPP;
	else if ((h->nlmsg_type & 3) != 2)
		err = -EPERM; /* new, delete, set */
	else if (h->nlmsg_type == RTM_GETLINK && !dump)
		get_one_link(r, data, size);
	else if (!dump)
		err = h->nlmsg_type == RTM_GETROUTE ? -ENETUNREACH : -EOPNOTSUPP;
	else if (h->nlmsg_type == RTM_GETLINK)
		reply_link(r, NLM_F_MULTI);
	else if (h->nlmsg_type == RTM_GETADDR)
		get_addrs(r, data, size);
	if (err)
		reply_error(r, err);
	else if (dump)
		reply_done(r);
	else if (h->nlmsg_flags & NLM_F_ACK)
		reply_error(r, 0);
}

/* Puts a reply into the asker's own queue. */
static void reply_send(struct nl_sock *n, const struct reply *r)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct unix_msg *m = unix_msg_create(NULL, r->size);
	bool taken = false;

	if (m)
		m->source = unix_addr_create(&kernel, sizeof(kernel));
	if (m && m->source) {
		memcpy(m->data, r->data, r->size);
		mutex_lock(&n->u.s.lock, L_SOCK);
		taken = n->u.qbytes < (size_t)n->u.s.rcvbuf && n->u.qlen < 4096;
		if (taken)
			unix_enqueue(&n->u, m);
		mutex_unlock(&n->u.s.lock, L_SOCK);
	}
	if (!taken) {
		if (m)
			unix_msg_free(m);
		socket_set_error(&n->u.s, ENOBUFS);
	}
	socket_wake(&n->u.s, POLLIN | POLLRDNORM);
}

/* The messages of one send. */
static int requests(struct nl_sock *n, const char *data, size_t size)
{
	struct reply *r = kalloc(sizeof(*r));

	if (!r)
		return -ENOBUFS;
	while (size >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr h;

		memcpy(&h, data, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > size)
			break;
		*r = (struct reply){.request = &h, .port = n->port};
		if (h.nlmsg_flags & NLM_F_REQUEST && h.nlmsg_type >= NLMSG_MIN_TYPE && n->u.s.protocol == NETLINK_ROUTE)
			route_request(r, data + sizeof(h), h.nlmsg_len - sizeof(h));
		else if (h.nlmsg_flags & NLM_F_ACK)
			reply_error(r, 0);
		if (r->size)
			reply_send(n, r);
		data += MIN(NLMSG_ALIGN(h.nlmsg_len), size);
		size -= MIN(NLMSG_ALIGN(h.nlmsg_len), size);
	}
	kfree(r, sizeof(*r));
	return 0;
}

/* ---- ports ---- */

static bool port_taken(uint32_t port)
{
	struct nl_sock *n = ports;

	while (n && n->port != port)
		n = n->next;
	return n;
}

/* The asked-for port, or the caller's pid, or if that has one already some other number. */
static int set_port(struct ctx *c, struct nl_sock *n, uint32_t want)
{
	int err = 0;

	mutex_lock(&table_lock, L_SOCKNAME);
	if (n->port) {
		err = want && want != n->port ? -EINVAL : 0;
	} else if (want && port_taken(want)) {
		err = -EADDRINUSE;
	} else {
		uint32_t port = want ? want : (uint32_t)c->tgid;

		while (port_taken(port))
			port = last_port = last_port ? last_port - 1 : (uint32_t)-4097;
		n->port = port;
		n->next = ports;
		ports = n;
	}
	mutex_unlock(&table_lock, L_SOCKNAME);
	return err;
}

static int netlink_bind(struct ctx *c, struct socket *s, const struct sockaddr *sa, size_t len)
{
	const struct sockaddr_nl *nl = (const struct sockaddr_nl *)sa;

	if (len < sizeof(*nl) || nl->nl_family != AF_NETLINK)
		return -EINVAL;
	nl_of(s)->groups = nl->nl_groups;
	return set_port(c, nl_of(s), nl->nl_pid);
}

static int netlink_connect(struct ctx *c, struct socket *s, const struct sockaddr *sa, size_t len, int flags __unused)
{
	const struct sockaddr_nl *nl = (const struct sockaddr_nl *)sa;

	if (len >= sizeof(sa->sa_family) && sa->sa_family == AF_UNSPEC)
		return 0;
	if (len < sizeof(*nl) || nl->nl_family != AF_NETLINK)
		return -EINVAL;
	return nl->nl_pid ? -ECONNREFUSED : set_port(c, nl_of(s), 0);
}

static int netlink_getname(struct socket *s, bool peer, struct sockaddr_storage *ret)
{
	struct sockaddr_nl nl = {.nl_family = AF_NETLINK};

	if (!peer) {
		nl.nl_pid = nl_of(s)->port;
		nl.nl_groups = nl_of(s)->groups;
	}
	memcpy(ret, &nl, sizeof(nl));
	return (int)sizeof(nl);
}

/* ---- the socket ---- */

static int check_target(const struct net_msg *m)
{
	const struct sockaddr_nl *nl = (const struct sockaddr_nl *)&m->addr;

	if (!m->addr_len)
		return 0;
	if (m->addr_len < sizeof(*nl) || nl->nl_family != AF_NETLINK)
		return -EINVAL;
	return nl->nl_pid ? -ECONNREFUSED : 0;
}

static ssize_t netlink_send(struct ctx *c, struct socket *s, struct net_msg *m)
{
	size_t size = iobuf_left(m->data);
	char *copy;
	int err = m->flags & MSG_OOB ? -EOPNOTSUPP : check_target(m);

	if (!err)
		err = set_port(c, nl_of(s), 0);
	if (!err && size > REQUEST_MAX)
		err = -EMSGSIZE;
	if (err || !size)
		return err ? err : -ENODATA;
	copy = kalloc(size);
	if (!copy)
		return -ENOBUFS;
	err = iobuf_get(m->data, copy, size) == (ssize_t)size ? requests(nl_of(s), copy, size) : -EFAULT;
	kfree(copy, size);
	return err ? err : (ssize_t)size;
}

static int netlink_setsockopt(struct ctx *c, struct socket *s __unused, int level, int name, uaddr_t value, size_t size)
{
	int v;

	if (level != SOL_NETLINK || name < NETLINK_ADD_MEMBERSHIP || name > NETLINK_GET_STRICT_CHK)
		return -ENOPROTOOPT;
	return sockopt_int(c, value, size, &v);
}

static void netlink_release(struct socket *s)
{
	struct nl_sock **at = &ports, *n = nl_of(s);

	mutex_lock(&table_lock, L_SOCKNAME);
	while (*at && *at != n)
		at = &(*at)->next;
	if (*at)
		*at = n->next;
	mutex_unlock(&table_lock, L_SOCKNAME);
	unix_release(s);
}

static void netlink_destroy(struct socket *s)
{
	unix_sock_fini(unix_of(s));
	slab_free(&nl_slab, nl_of(s));
}

static int netlink_create(struct ctx *c __unused, int type, int protocol, struct socket **ret)
{
	struct nl_sock *n;

	if (type != SOCK_RAW && type != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	if (protocol != NETLINK_ROUTE && protocol != NETLINK_KOBJECT_UEVENT)
		return -EPROTONOSUPPORT;
	n = slab_alloc(&nl_slab);
	if (!n)
		return -ENOMEM;
	unix_sock_init(&n->u, &netlink_ops, AF_NETLINK, type);
	n->u.s.protocol = protocol;
	*ret = &n->u.s;
	return 0;
}

static const struct proto_ops netlink_ops = {
    .bind = netlink_bind,
    .connect = netlink_connect,
    .getname = netlink_getname,
    .sendmsg = netlink_send,
    .recvmsg = unix_dgram_recv,
    .poll = unix_poll,
    .setsockopt = netlink_setsockopt,
    .info = unix_info,
    .release = netlink_release,
    .destroy = netlink_destroy,
};

const struct net_family netlink_family = {.family = AF_NETLINK, .create = netlink_create};
