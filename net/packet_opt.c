/*
 * Options of packet sockets: see packet.h, packet(7). Flags are in a table. What there is no card for here is ENOPROTOOPT, as in a Linux without it.
 *
 * Memberships are counted for each socket; an interface hears of the first and the last of its promiscuous and all-multicast ones. Single addresses change nothing,
 * since links hand over whatever their wire has.
 */
#include <limits.h>
#include <string.h>

#include "net/packet.h"
#include "sentry/base/slab.h"

#define MEMBERS_MAX 1024

#ifndef PACKET_TX_HAS_OFF
#define PACKET_TX_HAS_OFF 19
#endif
#ifndef PACKET_QDISC_BYPASS
#define PACKET_QDISC_BYPASS 20
#endif
#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

static struct slab member_slab = SLAB_INIT(struct packet_member);

static const struct flag {
	int name;
	size_t offset;
	bool no_ring, raw_only, zero_one;
} flags[] = {
    {.name = PACKET_AUXDATA, .offset = offsetof(struct packet_sock, auxdata)},
    {.name = PACKET_ORIGDEV, .offset = offsetof(struct packet_sock, origdev)},
    {.name = PACKET_LOSS, .offset = offsetof(struct packet_sock, loss), .no_ring = true},
    {.name = PACKET_VNET_HDR, .offset = offsetof(struct packet_sock, vnet), .no_ring = true, .raw_only = true},
    {.name = PACKET_TX_HAS_OFF, .offset = offsetof(struct packet_sock, tx_has_off), .no_ring = true},
    {.name = PACKET_QDISC_BYPASS, .offset = offsetof(struct packet_sock, bypass)},
    {.name = PACKET_IGNORE_OUTGOING, .offset = offsetof(struct packet_sock, ignore_outgoing), .zero_one = true},
};

static const struct flag *find_flag(int name)
{
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (flags[i].name == name)
			return &flags[i];
	return NULL;
}

static bool *flag_of(struct packet_sock *k, const struct flag *f)
{
	return (bool *)((char *)k + f->offset);
}

/* ---- memberships ---- */

static void tell_dev(struct packet_sock *k, const struct packet_member *m, int add) REQUIRES(L_NET)
{
	struct netdev *dev = netdev_by_index(k->stack, m->dev);

	if (!dev)
		return;
	if (m->type == PACKET_MR_PROMISC)
		netdev_promisc(k->stack, dev, add);
	else if (m->type == PACKET_MR_ALLMULTI)
		netdev_allmulti(k->stack, dev, add);
}

static struct packet_member *find_member(struct packet_sock *k, const struct packet_mreq *r) REQUIRES(L_NET)
{
	struct packet_member *m;

	list_for_each(m, &k->members, link)
		if (m->dev == (unsigned)r->mr_ifindex && m->type == r->mr_type && m->size == r->mr_alen &&
		    memcmp(m->addr, r->mr_address, m->size) == 0)
			return m;
	return NULL;
}

static void drop_member(struct packet_sock *k, struct packet_member *m) REQUIRES(L_NET)
{
	tell_dev(k, m, -1);
	list_remove(&m->link);
	k->member_count--;
	slab_free(&member_slab, m);
}

void packet_drop_members(struct packet_sock *k)
{
	struct packet_member *m;

	while ((m = list_first(&k->members, struct packet_member, link)))
		drop_member(k, m);
}

static int add_member(struct packet_sock *k, const struct packet_mreq *r) REQUIRES(L_NET)
{
	struct netdev *dev = netdev_by_index(k->stack, (unsigned)r->mr_ifindex);
	unsigned addr_len;
	struct packet_member *m;

	if (!dev)
		return -ENODEV;
	addr_len = dev->type == ARPHRD_ETHER || dev->type == ARPHRD_LOOPBACK ? MAC_LEN : 0;
	if (r->mr_alen > addr_len)
		return -EINVAL;
	m = find_member(k, r);
	if (m) {
		m->count++;
		return 0;
	}
	if ((r->mr_type == PACKET_MR_MULTICAST || r->mr_type == PACKET_MR_UNICAST) && r->mr_alen != addr_len)
		return -EINVAL;
	if (k->member_count == MEMBERS_MAX)
		return -ENOBUFS;
	m = slab_alloc(&member_slab);
	if (!m)
		return -ENOBUFS;
	m->dev = dev->index;
	m->count = 1;
	m->type = r->mr_type;
	m->size = r->mr_alen;
	memcpy(m->addr, r->mr_address, m->size);
	list_push(&k->members, &m->link);
	k->member_count++;
	tell_dev(k, m, 1);
	return 0;
}

static int remove_member(struct packet_sock *k, const struct packet_mreq *r) REQUIRES(L_NET)
{
	struct packet_member *m = find_member(k, r);

	if (m && --m->count == 0)
		drop_member(k, m);
	return 0; /* also if there was none, says Linux */
}

static int set_member(struct ctx *c, struct packet_sock *k, int name, uaddr_t value, size_t size)
{
	struct packet_mreq r = {0};
	int err;

	if (size < sizeof(r))
		return -EINVAL;
	if (copy_in(c, &r, value, sizeof(r)))
		return -EFAULT;
	if (size < r.mr_alen + offsetof(struct packet_mreq, mr_address))
		return -EINVAL;
	if (r.mr_alen > sizeof(r.mr_address))
		return -EINVAL;
	stack_enter(k->stack);
	err = name == PACKET_ADD_MEMBERSHIP ? add_member(k, &r) : remove_member(k, &r);
	stack_leave(k->stack);
	return err;
}

/* ---- setting ---- */

static int set_flag(struct packet_sock *k, const struct flag *f, int v)
{
	int err = 0;

	if (f->raw_only && k->s.type != SOCK_RAW)
		return -EINVAL;
	if (f->zero_one && (v < 0 || v > 1))
		return -EINVAL;
	stack_enter(k->stack);
	if (f->no_ring && k->memory)
		err = -EBUSY;
	else
		*flag_of(k, f) = v;
	stack_leave(k->stack);
	return err;
}

static int set_number(struct packet_sock *k, int name, int v) REQUIRES(L_NET)
{
	switch (name) {
	case PACKET_VERSION:
		if (v != TPACKET_V1 && v != TPACKET_V2 && v != TPACKET_V3)
			return -EINVAL;
		if (k->memory)
			return -EBUSY;
		k->version = v;
		return 0;
	case PACKET_RESERVE:
		if (v < 0)
			return -EINVAL;
		if (k->memory)
			return -EBUSY;
		k->reserve = (unsigned)v;
		return 0;
	case PACKET_COPY_THRESH:
		k->copy_thresh = v;
		return 0;
	case PACKET_TIMESTAMP:
		k->timestamp = v;
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

static int set_fanout(struct ctx *c, struct packet_sock *k, uaddr_t value, size_t size)
{
	uint32_t args[2] = {0};
	int err;

	if (size != sizeof(args) && size != sizeof(args[0]))
		return -EINVAL;
	if (copy_in(c, args, value, size))
		return -EFAULT;
	stack_enter(k->stack);
	err = packet_fanout_join(k, args[0], args[1]);
	stack_leave(k->stack);
	return err;
}

int packet_setsockopt(struct ctx *c, struct socket *s, int level, int name, uaddr_t value, size_t size)
{
	struct packet_sock *k = packet_of(s);
	const struct flag *f = find_flag(name);
	int v, err;

	if (level != SOL_PACKET)
		return -ENOPROTOOPT;
	switch (name) {
	case PACKET_ADD_MEMBERSHIP:
	case PACKET_DROP_MEMBERSHIP:
		return set_member(c, k, name, value, size);
	case PACKET_RX_RING:
	case PACKET_TX_RING:
		return packet_set_ring(c, k, name == PACKET_TX_RING, value, size);
	case PACKET_FANOUT:
		return set_fanout(c, k, value, size);
	}
	err = f || name == PACKET_VERSION || name == PACKET_RESERVE || name == PACKET_COPY_THRESH ||
		      name == PACKET_TIMESTAMP
		  ? sockopt_int(c, value, size, &v)
		  : -ENOPROTOOPT;
	if (err)
		return err;
	if (f)
		return set_flag(k, f, v);
	stack_enter(k->stack);
	err = set_number(k, name, v);
	stack_leave(k->stack);
	return err;
}

/* ---- reading ---- */

/* They begin anew. */
static void get_statistics(struct packet_sock *k, struct tpacket_stats_v3 *ret, size_t *have) REQUIRES(L_NET)
{
	*ret = (struct tpacket_stats_v3){k->packets + k->drops, k->drops, k->freezes};
	*have = k->version == TPACKET_V3 ? sizeof(*ret) : sizeof(struct tpacket_stats);
	k->packets = k->drops = k->freezes = 0;
}

static int header_size(int version, int *ret)
{
	switch (version) {
	case TPACKET_V1:
		*ret = (int)sizeof(struct tpacket_hdr);
		return 0;
	case TPACKET_V2:
		*ret = (int)sizeof(struct tpacket2_hdr);
		return 0;
	case TPACKET_V3:
		*ret = (int)sizeof(struct tpacket3_hdr);
		return 0;
	default:
		return -EINVAL;
	}
}

static int get_number(struct packet_sock *k, int name, int asked, int *ret) REQUIRES(L_NET)
{
	const struct flag *f = find_flag(name);

	if (f) {
		*ret = *flag_of(k, f);
		return 0;
	}
	switch (name) {
	case PACKET_VERSION:
		*ret = k->version;
		return 0;
	case PACKET_HDRLEN:
		return header_size(asked, ret);
	case PACKET_RESERVE:
		*ret = (int)k->reserve;
		return 0;
	case PACKET_COPY_THRESH:
		*ret = k->copy_thresh;
		return 0;
	case PACKET_TIMESTAMP:
		*ret = k->timestamp;
		return 0;
	case PACKET_FANOUT:
		*ret = (int)packet_fanout_get(k);
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

/* PACKET_HDRLEN is asked with a version, which value has then. */
int packet_getsockopt(struct ctx *c __unused, struct socket *s, int level, int name, void *value, size_t *size)
{
	struct packet_sock *k = packet_of(s);
	struct tpacket_stats_v3 stats;
	size_t have = sizeof(int);
	int v, err = 0;

	if (level != SOL_PACKET)
		return -ENOPROTOOPT;
	if (name == PACKET_HDRLEN && *size < sizeof(v))
		return -EINVAL;
	memcpy(&v, value, sizeof(v));
	stack_enter(k->stack);
	if (name == PACKET_STATISTICS)
		get_statistics(k, &stats, &have);
	else
		err = get_number(k, name, v, &v);
	stack_leave(k->stack);
	if (err)
		return err;
	*size = MIN(*size, have);
	if (name == PACKET_STATISTICS)
		memcpy(value, &stats, *size);
	else
		memcpy(value, &v, *size);
	return 0;
}
