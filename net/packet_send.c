/*
 * Packet sockets send: see packet.h, packet(7). SOCK_RAW gives the frame with its link header, SOCK_DGRAM what comes behind one, which is made from the address. Onto lo
 * both go with an Ethernet header, as on Linux: what comes back from there is what its header says it is.
 *
 * PACKET_VNET_HDR: a checksum that is to be completed is completed here; a packet that is to be segmented is EINVAL.
 */
#include "net/packet.h"

#include <poll.h>
#include <string.h>

#define INLINE_HEAD 48u /* room in front of a frame, for a header that is made */
#define INLINE_MAX (PKT_HEAD - INLINE_HEAD)
#define LINEAR 128u
#define VLAN_LEN 4u

static bool has_header(const struct netdev *dev)
{
	return dev->features & NETDEV_ETHER || dev->type == ARPHRD_LOOPBACK;
}

/* Where m goes: as its address says, or as the socket is bound. */
static int find_target(const struct packet_sock *k, const struct net_msg *m, struct packet_target *t)
{
	struct sockaddr_ll sa = {0};

	*t = (struct packet_target){.dev = k->dev, .protocol = k->protocol};
	if (!m->addr_len)
		return 0;
	if (m->addr_len < sizeof(sa))
		return -EINVAL;
	memcpy(&sa, &m->addr, sizeof(sa));
	if (m->addr_len < sa.sll_halen + offsetof(struct sockaddr_ll, sll_addr))
		return -EINVAL;
	t->dev = (unsigned)sa.sll_ifindex;
	t->protocol = ntohs(sa.sll_protocol);
	t->has_addr = true;
	memcpy(t->addr, sa.sll_addr, MAC_LEN);
	return 0;
}

/* A packet with all that is left of b. */
static int fill_packet(struct iobuf *b, struct pkt **ret)
{
	size_t size = iobuf_left(b), linear = size > INLINE_MAX ? LINEAR : size, rest = size - linear;
	struct pkt *p = pkt_create();
	struct buf *data = rest ? buf_create((uint32_t)rest) : NULL;
	int err = !p || (rest && !data) ? -ENOBUFS : 0;

	if (!err && ((linear && iobuf_get(b, p->room + INLINE_HEAD, linear) != (ssize_t)linear) ||
		     (rest && iobuf_get(b, data->data, rest) != (ssize_t)rest)))
		err = -EFAULT;
	if (!err) {
		p->head = INLINE_HEAD;
		p->tail = (uint16_t)(INLINE_HEAD + linear);
		p->len = (uint32_t)linear;
		if (data)
			data->used = (uint32_t)rest;
		if (data && !pkt_append(p, data, 0, (uint32_t)rest))
			err = -ENOBUFS; /* not reached: it is the first slice */
	}
	buf_put(data);
	if (err)
		pkt_free(p);
	else
		*ret = p;
	return err;
}

int packet_fill(const void *data, size_t size, struct pkt **ret)
{
	struct iobuf b;

	/* It only reads. */
	iobuf_init_kernel(&b, (void *)(uintptr_t)data, size);
	return fill_packet(&b, ret);
}

/* The virtio header in front of a message. */
static int take_vnet(struct iobuf *b, struct virtio_net_hdr *h)
{
	if (iobuf_left(b) < sizeof(*h))
		return -EINVAL;
	if (iobuf_get(b, h, sizeof(*h)) != sizeof(*h))
		return -EFAULT;
	return h->gso_type == VIRTIO_NET_HDR_GSO_NONE ? 0 : -EINVAL;
}

/* Completes the checksum whose field has what is not in the packet. */
static int complete(struct pkt *p, const struct virtio_net_hdr *h)
{
	uint32_t at = (uint32_t)h->csum_start + h->csum_offset;
	uint16_t sum;
	uint8_t *to;

	if (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return 0;
	if (h->csum_start >= p->len || !(to = pkt_peek(p, at + sizeof(sum))))
		return -EINVAL;
	sum = sum_fold(sum_pkt(0, p, h->csum_start));
	memcpy(to + at, &sum, sizeof(sum));
	return 0;
}

static int push_header(struct pkt *p, const struct netdev *dev, const struct packet_target *t)
{
	uint8_t *h;

	if (!has_header(dev))
		return 0;
	if (!t->has_addr && !(dev->flags & (IFF_LOOPBACK | IFF_NOARP)))
		return -EINVAL;
	h = pkt_push(p, ETH_HLEN);
	if (!h)
		return -ENOBUFS;
	memset(h, 0, ETH_HLEN);
	if (t->has_addr)
		memcpy(h, t->addr, MAC_LEN);
	memcpy(h + MAC_LEN, dev->mac, MAC_LEN);
	h[12] = (uint8_t)(t->protocol >> 8);
	h[13] = (uint8_t)t->protocol;
	return 0;
}

/* One byte more than the MTU is too much, but for a VLAN tag. */
static int check_size(struct pkt *p, const struct netdev *dev, bool raw)
{
	uint32_t link = raw && has_header(dev) ? ETH_HLEN : 0, most = dev->mtu + link;
	const uint8_t *h = link ? pkt_peek(p, ETH_HLEN) : NULL;

	if (h && h[12] == 0x81 && h[13] == 0)
		most += VLAN_LEN;
	if (p->len > most || p->len > PKT_MAX + link)
		return -EMSGSIZE;
	return link && !h ? -EINVAL : 0;
}

static int check_target(const struct packet_sock *k, const struct packet_target *t, struct netdev **ret) REQUIRES(L_NET)
{
	*ret = netdev_by_index(k->stack, t->dev);
	if (!*ret)
		return -ENXIO;
	return (*ret)->flags & IFF_UP ? 0 : -ENETDOWN;
}

int packet_transmit(struct packet_sock *k, struct pkt *p, const struct packet_target *t)
{
	bool raw = k->s.type == SOCK_RAW;
	struct netdev *dev;
	int err = check_target(k, t, &dev);

	err = err ? err : check_size(p, dev, raw);
	if (!err && !raw)
		err = push_header(p, dev, t);
	if (err) {
		pkt_free(p);
		return err;
	}
	p->link_header = dev->type == ARPHRD_LOOPBACK;
	k->sending = true;
	err = netdev_transmit(k->stack, dev, p);
	k->sending = false;
	return err;
}

/* What is wrong before there is a packet. */
static int check_first(struct packet_sock *k, const struct packet_target *t, size_t size)
{
	struct netdev *dev;
	int err;

	stack_enter(k->stack);
	err = check_target(k, t, &dev);
	if (!err && size > dev->mtu + (k->s.type == SOCK_RAW ? ETH_HLEN : 0) + VLAN_LEN)
		err = -EMSGSIZE;
	stack_leave(k->stack);
	return err;
}

ssize_t packet_sendmsg(struct ctx *c __unused, struct socket *s, struct net_msg *m)
{
	struct packet_sock *k = packet_of(s);
	struct virtio_net_hdr vnet = {0};
	size_t size = iobuf_left(m->data);
	struct packet_target t;
	struct pkt *p;
	int err = find_target(k, m, &t);

	if (!err && __atomic_load_n(&k->tx_ring, __ATOMIC_RELAXED)) {
		err = check_first(k, &t, 0);
		return err ? err : packet_send_ring(k, &t);
	}
	if (!err)
		err = check_first(k, &t, k->vnet ? MAX(size, sizeof(vnet)) - sizeof(vnet) : size);
	if (!err && k->vnet)
		err = take_vnet(m->data, &vnet);
	err = err ? err : socket_take_error(s);
	err = err ? err : fill_packet(m->data, &p);
	if (err)
		return err;
	err = complete(p, &vnet);
	if (err) {
		pkt_free(p);
		return err;
	}
	stack_enter(k->stack);
	err = packet_transmit(k, p, &t);
	stack_leave(k->stack);
	return err ? err : (ssize_t)size;
}
