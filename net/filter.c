/*
 * Filters of sockets: see filter.h. SO_ATTACH_BPF is what it is on a Linux where nobody can load such programs: its descriptor is never one.
 *
 * Offsets below 0 are those of Linux: SKF_NET_OFF from the network header on, SKF_LL_OFF from the link header on, SKF_AD_OFF what is known beside the bytes. What
 * this stack does not know (netlink attributes, hashes, VLAN tags that a card took off, marks of received packets) is 0.
 */
#include "net/filter.h"

#include <linux/capability.h>
#include <netinet/in.h>
#include <string.h>

#include "fs/fdtable.h"
#include "sentry/base/slab.h"

#define K_SO_LOCK_FILTER 44
#define K_SO_ATTACH_BPF 50

static struct mutex filter_lock = MUTEX_INIT;

/* ---- packets ---- */

struct packet_data {
	struct bpf_data data;
	const struct pkt_view *v;
};

uint32_t pkt_view_len(const struct pkt_view *v)
{
	return v->front_len + v->p->len - v->start;
}

struct pkt_view pkt_view_at(const struct pkt *p, uint16_t start, const struct netdev *dev)
{
	uint16_t net = MIN(p->net, start);
	uint16_t from = MIN(net, p->head);

	return (struct pkt_view){.p = p,
				 .front = p->room + from,
				 .front_len = (uint32_t)(p->head - from),
				 .start = (uint32_t)(start - from),
				 .net = (uint32_t)(net - from),
				 .dev = dev,
				 .no_link = true,
				 .type = p->link_type};
}

/* Bytes from the front's beginning on. */
static bool view_copy(const struct pkt_view *v, uint32_t off, uint8_t *to, uint32_t n)
{
	uint32_t part = off < v->front_len ? MIN(n, v->front_len - off) : 0;

	if (part)
		memcpy(to, v->front + off, part);
	off += part;
	return part == n || pkt_copy(v->p, off - v->front_len, to + part, n - part);
}

static bool packet_load(const struct bpf_data *d, int32_t off, unsigned size, uint32_t *ret)
{
	const struct pkt_view *v = container_of(d, const struct packet_data, data)->v;
	int64_t at;
	uint8_t b[4];

	if (off >= 0)
		at = (int64_t)v->start + off;
	else if (off >= SKF_NET_OFF)
		at = (int64_t)v->net + (off - SKF_NET_OFF);
	else
		at = v->no_link ? -1 : (int64_t)off - SKF_LL_OFF;
	if (at < 0 || at > UINT32_MAX / 2 || !view_copy(v, (uint32_t)at, b, size))
		return false;
	*ret = size == 1   ? b[0]
	       : size == 2 ? (uint32_t)b[0] << 8 | b[1]
			   : (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	return true;
}

/* The transport's header behind IPv4's or IPv6's, or 0. */
static uint32_t transport_at(const struct pkt_view *v, uint8_t *ret_protocol)
{
	uint8_t h[20];

	if (!view_copy(v, v->net, h, sizeof(h)))
		return 0;
	if (h[0] >> 4 == 6) {
		*ret_protocol = h[6];
		return v->net + 40;
	}
	*ret_protocol = h[9];
	return h[0] >> 4 == 4 && !(h[6] & 0x1f) && !h[7] ? v->net + (h[0] & 15) * 4u : 0;
}

/* SKF_AD_PAY_OFFSET: where the payload begins, as Linux's skb_get_poff() has it. */
static uint32_t payload_offset(const struct pkt_view *v)
{
	uint8_t protocol = 0, off;
	uint32_t at = transport_at(v, &protocol);

	if (!at)
		return 0;
	if (protocol == IPPROTO_TCP && view_copy(v, at + 12, &off, 1))
		at += MAX((off >> 4) * 4u, 20u);
	else if (protocol == IPPROTO_UDP || protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		at += 8;
	return at > v->start ? at - v->start : 0;
}

static bool packet_ancillary(const struct bpf_data *d, unsigned what, uint32_t a, uint32_t x, uint32_t *ret)
{
	const struct pkt_view *v = container_of(d, const struct packet_data, data)->v;

	*ret = 0;
	switch (what) {
	case SKF_AD_PROTOCOL:
		*ret = v->protocol;
		break;
	case SKF_AD_PKTTYPE:
		*ret = v->type;
		break;
	case SKF_AD_IFINDEX:
		if (!v->dev)
			return false;
		*ret = v->dev->index;
		break;
	case SKF_AD_HATYPE:
		if (!v->dev)
			return false;
		*ret = v->dev->type;
		break;
	case SKF_AD_MARK:
		*ret = v->mark;
		break;
	case SKF_AD_ALU_XOR_X:
		*ret = a ^ x;
		break;
	case SKF_AD_PAY_OFFSET:
		*ret = payload_offset(v);
		break;
	case SKF_AD_RANDOM:
		*ret = v->random;
		break;
	}
	return true;
}

/* ---- the socket's program ---- */

static struct bpf_prog *program_of(struct socket *s)
{
	struct bpf_prog *p;

	if (likely(!__atomic_load_n(&s->filter, __ATOMIC_RELAXED)))
		return NULL;
	mutex_lock(&filter_lock, L_FILTER);
	p = s->filter ? bpf_get(s->filter) : NULL;
	mutex_unlock(&filter_lock, L_FILTER);
	return p;
}

static uint32_t run(struct bpf_prog *p, const struct bpf_data *d)
{
	uint32_t n = bpf_run(p, d);

	bpf_put(p);
	return n;
}

uint32_t filter_packet(struct socket *s, const struct pkt_view *v)
{
	struct packet_data d = {{pkt_view_len(v), packet_load, packet_ancillary}, v};
	struct bpf_prog *p = program_of(s);

	return p ? run(p, &d.data) : UINT32_MAX;
}

uint32_t filter_bytes(struct socket *s, const void *bytes, uint32_t size)
{
	struct bpf_prog *p = program_of(s);
	struct bpf_flat f;

	bpf_flat_init(&f, bytes, size, true);
	return p ? run(p, &f.data) : UINT32_MAX;
}

/* Puts p, a reference or NULL, in the place of the socket's. -EPERM: it is locked. -ENOENT: there is none to be taken away. */
static int replace(struct socket *s, struct bpf_prog *p)
{
	struct bpf_prog *old = p;
	int err = 0;

	mutex_lock(&filter_lock, L_FILTER);
	if (s->filter_locked)
		err = -EPERM;
	else if (!p && !s->filter)
		err = -ENOENT;
	if (!err) {
		old = s->filter;
		__atomic_store_n(&s->filter, p, __ATOMIC_RELAXED);
	}
	mutex_unlock(&filter_lock, L_FILTER);
	bpf_put(old);
	return err;
}

static int attach(struct ctx *c, struct socket *s, uaddr_t value, size_t size)
{
	struct {
		uint16_t count;
		uint8_t pad[6];
		uint64_t at;
	} k;
	struct sock_filter *copy;
	struct bpf_prog *p;
	int err;

	if (size != sizeof(k))
		return -EINVAL;
	if (copy_in(c, &k, value, sizeof(k)))
		return -EFAULT;
	if (s->filter_locked)
		return -EPERM;
	if (!k.at || k.count == 0 || k.count > BPF_MAXINSNS)
		return -EINVAL;
	copy = kalloc(k.count * sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	err = copy_in(c, copy, UADDR(k.at), k.count * sizeof(*copy));
	if (!err)
		err = bpf_create(copy, k.count, &p);
	kfree(copy, k.count * sizeof(*copy));
	return err ? err : replace(s, p);
}

static int attach_extended(struct ctx *c, struct socket *s, uaddr_t value, size_t size)
{
	FILE_REF f = NULL;
	int fd;

	if (size != sizeof(fd))
		return -EINVAL;
	if (copy_in(c, &fd, value, sizeof(fd)))
		return -EFAULT;
	if (s->filter_locked)
		return -EPERM;
	f = fd_get(c, fd);
	return f ? -EINVAL : -EBADF;
}

static int set_lock(struct socket *s, int on)
{
	int err = 0;

	mutex_lock(&filter_lock, L_FILTER);
	if (s->filter_locked && !on)
		err = -EPERM;
	else
		s->filter_locked = on;
	mutex_unlock(&filter_lock, L_FILTER);
	return err;
}

int filter_setsockopt(struct ctx *c, struct socket *s, int name, uaddr_t value, size_t size)
{
	int v, err;

	if (name != SO_ATTACH_FILTER && name != SO_DETACH_FILTER && name != K_SO_LOCK_FILTER && name != K_SO_ATTACH_BPF)
		return -ENOPROTOOPT;
	err = sockopt_int(c, value, size, &v);
	if (err)
		return err;
	switch (name) {
	case SO_ATTACH_FILTER:
		return attach(c, s, value, size);
	case K_SO_ATTACH_BPF:
		return attach_extended(c, s, value, size);
	case SO_DETACH_FILTER:
		return replace(s, NULL);
	default:
		return set_lock(s, v);
	}
}

int filter_get(struct ctx *c, struct socket *s, uaddr_t value, int count)
{
	struct bpf_prog *p = program_of(s);
	int n = p ? (int)p->count : 0;

	if (n && count) {
		if (count < n)
			n = -EINVAL;
		else if (copy_out(c, value, p->at, p->count * sizeof(p->at[0])))
			n = -EFAULT;
	}
	bpf_put(p);
	return n;
}

void filter_inherit(struct socket *to, struct socket *from)
{
	to->filter = program_of(from);
	to->filter_locked = from->filter_locked;
}

void filter_fini(struct socket *s)
{
	bpf_put(s->filter);
}
