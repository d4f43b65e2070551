/*
 * NETLINK_ROUTE: making, changing, moving and deleting interfaces: RTM_NEWLINK, RTM_SETLINK, RTM_DELLINK; numbers of namespaces. ip-link(8), ip-netns(8).
 *
 * What a request says is gathered first (struct link_req), with the namespace that it names. An interface that it moves is moved before anything else is
 * changed, and the rest is done where it is then, as on Linux; since that takes the locks of two stacks one after the other, the request is not one step
 * for others, and one that fails in the middle leaves what was done.
 */
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/veth.h>

#include "fs/fdtable.h"
#include "net/rtnetlink.h"
#include "net/stack/bridge.h"
#include "net/stack/veth.h"

#define MTU_DEFAULT 1500
#define KIND_LEN 16

struct link_req {
	struct ifinfomsg m;
	char name[IFNAMSIZ]; /* "": none */
	char kind[KIND_LEN]; /* "": none */
	const uint8_t *mac;  /* NULL: none; bytes of the message, not aligned */
	uint32_t mtu, master;
	bool has_mtu, has_master;
	struct nlreq data;   /* IFLA_INFO_DATA */
	struct netns *where; /* IFLA_NET_NS_*: a reference; NULL: none named */
};

static void link_req_finish(struct link_req *q)
{
	netns_put(q->where);
}
#define LINK_REQ __cleanup(link_req_finish) struct link_req

/* ---- what is asked for ---- */

/* A reference to the namespace that an attribute names. */
static int find_netns(struct ctx *c, const struct nlreq *r, size_t fixed, uint16_t by_fd, uint16_t by_pid,
		      struct netns **ret)
{
	uint32_t n;

	if (nl_find_u32(r, fixed, by_pid, &n)) {
		*ret = netns_by_pid ? netns_by_pid((int32_t)n) : NULL;
		return *ret ? 0 : -ESRCH;
	}
	if (nl_find_u32(r, fixed, by_fd, &n)) {
		FILE_REF f = fd_get(c, (int)n);

		return f ? netns_of_file(f, ret) : -EBADF;
	}
	return 0;
}

/* A nested attribute as a request of its own. */
static struct nlreq nested(const struct nlreq *r, size_t fixed, uint16_t type)
{
	struct nlreq in = {.h = r->h, .net = r->net};

	in.data = nl_find(r, fixed, type, 0, &in.size);
	return in;
}

static void copy_name(const struct nlreq *r, size_t fixed, uint16_t type, char *to, size_t room)
{
	size_t size;
	const char *data = nl_find(r, fixed, type, 1, &size);

	memset(to, 0, room);
	if (data)
		memcpy(to, data, MIN(size, room - 1));
}

static int parse(struct ctx *c, const struct nlreq *r, struct link_req *q)
{
	const size_t fixed = sizeof(q->m);
	struct nlreq info;
	const char *data;
	size_t size;

	if (!nl_fixed(r, &q->m, fixed))
		return -EINVAL;
	copy_name(r, fixed, IFLA_IFNAME, q->name, sizeof(q->name));
	data = nl_find(r, fixed, IFLA_ADDRESS, 0, &size);
	if (data && size < MAC_LEN)
		return -EINVAL;
	q->mac = (const uint8_t *)data;
	if (data && (q->mac[0] & 1 || memcmp(data, "\0\0\0\0\0", MAC_LEN) == 0))
		return -EADDRNOTAVAIL;
	q->has_mtu = nl_find_u32(r, fixed, IFLA_MTU, &q->mtu);
	q->has_master = nl_find_u32(r, fixed, IFLA_MASTER, &q->master);
	info = nested(r, fixed, IFLA_LINKINFO);
	if (info.data) {
		copy_name(&info, 0, IFLA_INFO_KIND, q->kind, sizeof(q->kind));
		q->data = nested(&info, 0, IFLA_INFO_DATA);
	}
	return find_netns(c, r, fixed, IFLA_NET_NS_FD, IFLA_NET_NS_PID, &q->where);
}

static struct netdev *find(struct stack *s, const struct link_req *q) REQUIRES(L_NET)
{
	if (q->m.ifi_index > 0)
		return netdev_by_index(s, (unsigned)q->m.ifi_index);
	return *q->name ? netdev_by_name(s, q->name) : NULL;
}

/* ---- changing one ---- */

static int set_master(struct stack *s, struct netdev *d, uint32_t master) REQUIRES(L_NET)
{
	struct netdev *br = bridge_of(d);

	if (br && br->index == master)
		return 0;
	if (br)
		bridge_port_remove(s, d);
	if (!master)
		return 0;
	br = netdev_by_index(s, master);
	if (!br)
		return -EINVAL;
	return netdev_is_bridge(br) ? bridge_port_add(s, br, d) : -EOPNOTSUPP;
}

static int set_mac(struct stack *s, struct netdev *d, const uint8_t *mac) REQUIRES(L_NET)
{
	if (!(d->features & NETDEV_ETHER))
		return -EOPNOTSUPP;
	netdev_set_mac(s, d, mac);
	return 0;
}

static void set_data(struct netdev *d, const struct link_req *q) REQUIRES(L_NET)
{
	uint32_t ageing;

	if (netdev_is_bridge(d) && q->data.data && nl_find_u32(&q->data, 0, IFLA_BR_AGEING_TIME, &ageing))
		bridge_set_ageing(d, ageing);
}

static int set_name(struct stack *s, struct netdev *d, const char *name) REQUIRES(L_NET)
{
	if (strcmp(name, d->name) == 0)
		return 0;
	return d->flags & IFF_UP ? -EBUSY : netdev_set_name(s, d, name);
}

/* All but the namespace. */
static int apply(struct stack *s, struct netdev *d, const struct link_req *q) REQUIRES(L_NET)
{
	int err = 0;

	if (*q->kind && (!d->ops->kind || strcmp(d->ops->kind, q->kind) != 0))
		return -EOPNOTSUPP;
	set_data(d, q);
	if (q->mac)
		err = set_mac(s, d, q->mac);
	if (!err && q->has_mtu)
		err = netdev_set_mtu(s, d, q->mtu);
	if (!err && *q->name)
		err = set_name(s, d, q->name);
	if (!err && q->has_master)
		err = set_master(s, d, q->master);
	if (!err && (q->m.ifi_change || q->m.ifi_flags))
		err = netdev_set_flags(s, d, q->m.ifi_flags, q->m.ifi_change ? q->m.ifi_change : UINT32_MAX);
	return err;
}

/* One that there is. */
static int change(struct stack *s, unsigned index, const struct link_req *q)
{
	struct stack *to = s;
	struct netdev *d;
	int err = 0;

	if (q->where) {
		to = netns_stack(q->where);
		err = to ? netdev_move(s, to, index, *q->name ? q->name : NULL, &index) : -ENOMEM;
	}
	if (err)
		return err;
	stack_enter(to);
	d = netdev_by_index(to, index);
	err = d ? apply(to, d, q) : -ENODEV;
	stack_leave(to);
	return err;
}

/* ---- making one ---- */

static struct netdev_config config_of(const struct link_req *q, const char *name)
{
	return (struct netdev_config){
	    .name = *q->name ? q->name : name,
	    .index = q->m.ifi_index > 0 ? (unsigned)q->m.ifi_index : 0,
	    .mtu = q->has_mtu ? q->mtu : MTU_DEFAULT,
	    .mac = q->mac,
	};
}

/* What is said of the other end is like what is said of the first one; kind and master aside. */
static int make_veth(struct ctx *c, struct stack *s, const struct link_req *q, unsigned *ret_index)
{
	struct nlreq peer = nested(&q->data, 0, VETH_INFO_PEER);
	struct netdev_config mine = config_of(q, "veth%d"), its = {.name = "veth%d", .mtu = MTU_DEFAULT};
	LINK_REQ p = {.where = NULL};
	struct stack *to = s;
	unsigned index;
	int err = 0;

	if (peer.data) {
		err = parse(c, &peer, &p);
		its = config_of(&p, "veth%d");
	}
	if (!err && p.where)
		to = netns_stack(p.where);
	if (err || !to)
		return err ? err : -ENOMEM;
	/* The peer first, as on Linux: it gets the lower number. */
	err = veth_create(to, &its, s, &mine, &index, ret_index);
	if (!err && peer.data && (p.m.ifi_change || p.m.ifi_flags)) {
		p.has_mtu = false;
		p.mac = NULL;
		*p.name = 0;
		stack_enter(to);
		if (netdev_by_index(to, index))
			err = apply(to, netdev_by_index(to, index), &p);
		stack_leave(to);
	}
	return err;
}

static int make_here(struct stack *s, const struct link_req *q, unsigned *ret_index)
{
	struct netdev_config cfg = config_of(q, strcmp(q->kind, "bridge") == 0 ? "bridge%d" : "dummy%d");
	uint8_t mac[MAC_LEN];
	struct netdev *d;
	int err;

	stack_enter(s);
	netdev_random_mac(s, mac);
	if (!cfg.mac)
		cfg.mac = mac;
	err = strcmp(q->kind, "bridge") == 0 ? bridge_create(s, &cfg, &d) : dummy_create(s, &cfg, &d);
	if (!err) {
		d->mac_set = q->mac;
		*ret_index = d->index;
	}
	stack_leave(s);
	return err;
}

static int make(struct ctx *c, struct stack *s, struct link_req *q)
{
	struct stack *to = q->where ? netns_stack(q->where) : s;
	unsigned index = 0;
	struct netdev *d;
	int err = -EOPNOTSUPP;

	if (!to)
		return -ENOMEM;
	if (strcmp(q->kind, "veth") == 0)
		err = make_veth(c, to, q, &index);
	else if (strcmp(q->kind, "bridge") == 0 || strcmp(q->kind, "dummy") == 0)
		err = make_here(to, q, &index);
	if (err)
		return err;
	q->mac = NULL;
	q->has_mtu = false;
	*q->name = 0;
	stack_enter(to);
	d = netdev_by_index(to, index);
	err = d ? apply(to, d, q) : 0;
	if (err)
		netdev_destroy(to, d);
	stack_leave(to);
	return err;
}

/* ---- the requests ---- */

int rtnetlink_new_link(struct ctx *c, struct stack *s, const struct nlreq *r)
{
	LINK_REQ q = {.where = NULL};
	int flags = r->h->nlmsg_flags, err = parse(c, r, &q);
	struct netdev *d;
	unsigned index;

	if (err)
		return err;
	if (q.m.ifi_index < 0)
		return -EINVAL;
	stack_enter(s);
	d = find(s, &q);
	index = d ? d->index : 0;
	stack_leave(s);
	if (r->h->nlmsg_type == RTM_SETLINK || !(flags & NLM_F_CREATE) || index) {
		if (!index)
			return r->h->nlmsg_type == RTM_NEWLINK || q.m.ifi_index > 0 || *q.name ? -ENODEV : -EINVAL;
		if (r->h->nlmsg_type == RTM_NEWLINK && flags & NLM_F_EXCL)
			return -EEXIST;
		if (r->h->nlmsg_type == RTM_NEWLINK && flags & NLM_F_REPLACE)
			return -EOPNOTSUPP;
		return change(s, index, &q);
	}
	return make(c, s, &q);
}

int rtnetlink_del_link(struct ctx *c, struct stack *s, const struct nlreq *r)
{
	LINK_REQ q = {.where = NULL};
	struct netdev *d;
	int err = parse(c, r, &q);

	if (err)
		return err;
	if (q.m.ifi_index <= 0 && !*q.name)
		return -EINVAL;
	stack_enter(s);
	d = find(s, &q);
	if (!d)
		err = -ENODEV;
	else if (!d->ops->kind)
		err = -EOPNOTSUPP;
	else
		netdev_destroy(s, d);
	stack_leave(s);
	return err;
}

/* ---- namespaces' numbers ---- */

int rtnetlink_get_nsid(struct ctx *c, struct stack *s, struct nlbuf *b, const struct nlreq *r)
{
	struct rtgenmsg m = {.rtgen_family = AF_UNSPEC};
	NETNS_REF net = NULL;
	size_t msg;
	int id, err = find_netns(c, r, sizeof(m), NETNSA_FD, NETNSA_PID, &net);

	if (err)
		return err;
	if (!net)
		return -EINVAL;
	stack_enter(s);
	id = stack_peer_number(s, net->cookie, false);
	stack_leave(s);
	msg = nl_begin(b, RTM_NEWNSID, 0, &m, sizeof(m));
	nl_u32(b, msg, NETNSA_NSID, (uint32_t)id);
	return 0;
}
