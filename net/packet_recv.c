/*
 * Packet sockets receive: see packet.h, packet(7).
 *
 * A socket with ETH_P_ALL sees what comes and what goes; one with another protocol only what comes. lo has no link headers here, but Linux's has, of zeros: they are
 * made for those who want to see them. A packet of which much is kept is referred to, not copied; of what little is kept, or what keeps much more memory than
 * it is long, there is a copy. The queue takes packets until SO_RCVBUF is reached, counted with what they hold in memory.
 *
 * Frames whose checksum is not complete, because they never leave this machine, say so (TP_STATUS_CSUMNOTREADY), as on Linux.
 */
#include "net/packet.h"

#include <net/ethernet.h>
#include <poll.h>
#include <string.h>
#include <sys/time.h>

#include "net/inet.h"
#include "sentry/base/slab.h"

#define COPY_BELOW 224u /* bytes that lie in the packet itself */

static struct slab msg_slab = SLAB_INIT(struct packet_msg);

/* ---- a frame ---- */

static uint16_t ip_protocol(const struct pkt *p)
{
	uint8_t version = 0;

	if (!pkt_copy(p, 0, &version, 1))
		return 0;
	return version >> 4 == 4 ? ETH_P_IP : version >> 4 == 6 ? ETH_P_IPV6 : 0;
}

/* As eth_type_trans() has it. */
static uint16_t ether_protocol(const struct packet_frame *f)
{
	uint16_t type = (uint16_t)(f->link[12] << 8 | f->link[13]);
	uint8_t dsap[2];

	if (type >= ETH_P_802_3_MIN)
		return type;
	return pkt_copy(f->p, ETH_HLEN, dsap, 2) && dsap[0] == 0xff && dsap[1] == 0xff ? ETH_P_802_3 : ETH_P_802_2;
}

static uint8_t ether_type(const struct packet_frame *f)
{
	static const uint8_t all[MAC_LEN] = {255, 255, 255, 255, 255, 255};

	if (memcmp(f->link, f->dev->mac, MAC_LEN) == 0)
		return PACKET_HOST;
	if (!(f->link[0] & 1))
		return PACKET_OTHERHOST;
	return memcmp(f->link, all, MAC_LEN) == 0 ? PACKET_BROADCAST : PACKET_MULTICAST;
}

void packet_frame_init(struct packet_frame *f, struct netdev *dev, const struct pkt *p, bool out)
{
	*f = (struct packet_frame){.p = p, .dev = dev, .out = out, .len = p->len, .stamp = clock_now(CLOCK_REALTIME)};
	if (dev->features & NETDEV_ETHER || p->link_header) {
		f->link_len = (uint8_t)MIN(p->len, (uint32_t)ETH_HLEN);
		if (!pkt_copy(p, 0, f->link, f->link_len))
			f->link_len = 0;
		f->protocol = f->link_len == ETH_HLEN ? ether_protocol(f) : 0;
		f->type = ether_type(f);
	} else {
		f->protocol = ip_protocol(p);
	}
	if (dev->type == ARPHRD_LOOPBACK && !p->link_header) {
		f->made = true;
		f->link_len = ETH_HLEN;
		f->len += ETH_HLEN;
		f->link[12] = (uint8_t)(f->protocol >> 8);
		f->link[13] = (uint8_t)f->protocol;
	}
	if (out)
		f->type = PACKET_OUTGOING;
}

void packet_frame_name(const struct packet_frame *f, struct sockaddr_ll *ret)
{
	*ret = (struct sockaddr_ll){
	    .sll_family = AF_PACKET,
	    .sll_protocol = htons(f->protocol),
	    .sll_ifindex = (int)f->dev->index,
	    .sll_hatype = f->dev->type,
	    .sll_pkttype = f->type,
	    .sll_halen = f->link_len == ETH_HLEN ? MAC_LEN : 0,
	};
	memcpy(ret->sll_addr, f->link + MAC_LEN, ret->sll_halen);
}

uint32_t packet_frame_status(const struct packet_frame *f)
{
	if (f->p->checksum_partial)
		return TP_STATUS_USER | TP_STATUS_CSUMNOTREADY;
	return !f->out && f->p->checksum_ok ? TP_STATUS_USER | TP_STATUS_CSUM_VALID : TP_STATUS_USER;
}

void packet_frame_copy(const struct packet_frame *f, uint32_t off, void *to, uint32_t size)
{
	uint32_t made = f->made ? f->link_len : 0, part = off < made ? MIN(size, made - off) : 0;

	memcpy(to, f->link + off, part);
	if (part < size && !pkt_copy(f->p, off + part - made, (uint8_t *)to + part, size - part))
		memset((uint8_t *)to + part, 0, size - part); /* not reached: it is there */
}

static uint16_t checksum_offset(const struct pkt *p)
{
	bool v4 = p->room[p->net] >> 4 == 4;
	uint8_t protocol = p->room[p->net + (v4 ? 9 : 6)];

	return protocol == IPPROTO_TCP ? 16 : protocol == IPPROTO_UDP ? 6 : 2;
}

void packet_frame_vnet(const struct packet_frame *f, struct virtio_net_hdr *ret)
{
	const struct pkt *p = f->p;
	uint16_t transport = (uint16_t)(p->transport - p->head + (f->made ? f->link_len : 0));

	memset(ret, 0, sizeof(*ret));
	if (!p->checksum_partial) {
		ret->flags = !f->out && p->checksum_ok ? VIRTIO_NET_HDR_F_DATA_VALID : 0;
		return;
	}
	if (p->net < p->head || p->transport <= p->net || p->transport + 20 > p->tail)
		return;
	ret->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	ret->csum_start = transport;
	ret->csum_offset = checksum_offset(p);
	if (!p->gso_size)
		return;
	ret->gso_type = f->protocol == ETH_P_IP ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
	ret->gso_size = p->gso_size;
	ret->hdr_len = (uint16_t)(transport + (p->room[p->transport + 12] >> 4) * 4u);
}

/* ---- the queue ---- */

static void msg_free(struct packet_msg *m)
{
	pkt_free(m->p);
	slab_free(&msg_slab, m);
}

void packet_drop_queue(struct packet_sock *k)
{
	struct packet_msg *m;

	while ((m = list_first(&k->queue, struct packet_msg, link))) {
		list_remove(&m->link);
		msg_free(m);
	}
	k->bytes = 0;
}

uint32_t packet_first_size(const struct packet_sock *k)
{
	const struct packet_msg *m = list_first(&k->queue, struct packet_msg, link);

	return m ? m->front_len + m->p->len : 0;
}

static uint32_t weight_of(const struct pkt *p)
{
	uint32_t sum = (uint32_t)(sizeof(*p) + sizeof(struct packet_msg));

	for (unsigned i = 0; i < p->count; i++)
		sum += p->slice[i].buf->size;
	return sum;
}

/* size bytes of p from off on in memory of their own. */
static struct pkt *copy_of(const struct pkt *p, uint32_t off, uint32_t size)
{
	struct pkt *q = pkt_create();
	struct buf *b = size > COPY_BELOW ? buf_create(size) : NULL;
	bool ok;

	if (!q || (size > COPY_BELOW && !b)) {
		pkt_free(q);
		buf_put(b);
		return NULL;
	}
	if (!b) {
		q->head = 0;
		q->tail = (uint16_t)size;
		q->len = size;
		ok = pkt_copy(p, off, q->room, size);
	} else {
		b->used = size;
		ok = pkt_copy(p, off, b->data, size) && pkt_append(q, b, 0, size);
		buf_put(b);
	}
	if (ok)
		return q;
	pkt_free(q);
	return NULL;
}

static struct pkt *snapshot(const struct pkt *p, uint32_t off, uint32_t size)
{
	struct pkt *q;

	if (size <= COPY_BELOW || weight_of(p) > 2 * size + 4096)
		return copy_of(p, off, size);
	q = pkt_clone(p);
	if (q) {
		pkt_skip(q, off);
		pkt_trim(q, size);
	}
	return q;
}

static struct packet_msg *msg_create(const struct packet_frame *f, uint32_t start, uint32_t keep)
{
	struct packet_msg *m = slab_alloc(&msg_slab);
	uint32_t made = f->made ? f->link_len : 0;

	if (!m)
		return NULL;
	if (start < made) {
		m->front_len = (uint8_t)MIN(keep, made - start);
		memcpy(m->front, f->link + start, m->front_len);
	}
	m->p = snapshot(f->p, MAX(start, made) - made, keep - m->front_len);
	if (!m->p) {
		slab_free(&msg_slab, m);
		return NULL;
	}
	list_init(&m->link);
	m->weight = weight_of(m->p);
	m->len = f->len - start;
	m->net = (uint16_t)(f->link_len - start);
	m->status = packet_frame_status(f);
	m->stamp = f->stamp;
	packet_frame_name(f, &m->from);
	packet_frame_vnet(f, &m->vnet);
	return m;
}

bool packet_enqueue(struct packet_sock *k, const struct packet_frame *f, uint32_t start, uint32_t keep)
{
	struct packet_msg *m = k->bytes < (uint32_t)k->s.rcvbuf ? msg_create(f, start, keep) : NULL;

	if (!m)
		return false;
	k->bytes += m->weight;
	list_append(&k->queue, &m->link);
	stack_wake(k->stack, &k->wakeup, POLLIN | POLLRDNORM);
	return true;
}

/* ---- seeing ---- */

void packet_receive(struct packet_sock *k, const struct packet_frame *f)
{
	uint32_t start = k->s.type == SOCK_DGRAM ? f->link_len : 0, len = f->len - start, keep;
	struct pkt_view v = {
	    .p = f->p,
	    .front = f->link,
	    .front_len = f->made ? f->link_len : 0,
	    .start = start,
	    .net = f->link_len,
	    .dev = f->dev,
	    .protocol = f->protocol,
	    .type = f->type,
	};

	if (k->s.filter)
		v.random = stack_random32(k->stack);
	keep = MIN(filter_packet(&k->s, &v), len);
	if (keep == 0)
		return;
	if (k->ring ? packet_ring_put(k, f, start, keep) : packet_enqueue(k, f, start, keep)) {
		k->packets++;
	} else {
		k->drops++;
		k->lost++;
	}
}

void packet_see(struct stack *s __unused, struct netdev_tap *t, struct netdev *dev, const struct pkt *p, bool out)
{
	struct packet_sock *k = container_of(t, struct packet_sock, tap);
	struct packet_frame f;

	if (!k->running || (out && (k->sending || k->ignore_outgoing || k->protocol != ETH_P_ALL)))
		return;
	packet_frame_init(&f, dev, p, out);
	if (k->protocol != ETH_P_ALL && k->protocol != f.protocol)
		return;
	if (!k->fanout || packet_fanout_mine(k, &f))
		packet_receive(k, &f);
}

/* ---- reading ---- */

/* The first message, or one like it; -EAGAIN. */
static int take_msg(struct packet_sock *k, bool peek, struct packet_msg **ret) REQUIRES(L_NET)
{
	struct packet_msg *m = list_first(&k->queue, struct packet_msg, link), *copy;

	if (!m)
		return -EAGAIN;
	if (!peek) {
		list_remove(&m->link);
		k->bytes -= m->weight;
		/* Who gets it by a control message is not told again. */
		if (!socket_option(&k->s, SOCK_OPT_TIMESTAMP) && !socket_option(&k->s, SOCK_OPT_TIMESTAMPNS))
			k->last_stamp = m->stamp;
		*ret = m;
		return 0;
	}
	copy = slab_alloc(&msg_slab);
	if (!copy)
		return -ENOBUFS;
	*copy = *m;
	list_init(&copy->link);
	copy->p = pkt_clone(m->p);
	*ret = copy;
	if (copy->p)
		return 0;
	slab_free(&msg_slab, copy);
	return -ENOBUFS;
}

static int next_msg(struct ctx *c, struct packet_sock *k, const struct net_msg *nm, struct packet_msg **ret)
{
	INET_WAIT w = {c, &k->s, socket_deadline(k->s.rcvtimeo, nm->flags & MSG_DONTWAIT)};
	int err;

	do {
		err = socket_take_error(&k->s);
		if (err)
			return err;
		stack_enter(k->stack);
		err = take_msg(k, nm->flags & MSG_PEEK, ret);
		stack_leave(k->stack);
	} while (err == -EAGAIN && (err = inet_wait(&w, POLLIN | POLLRDNORM | POLLERR)) == 0);
	return err;
}

static void put_time(struct ctx *c, const struct socket *s, struct net_msg *nm, int64_t stamp)
{
	struct timespec ts = ns_to_timespec(stamp);
	struct timeval tv = {ts.tv_sec, ts.tv_nsec / NSEC_PER_USEC};

	if (socket_option(s, SOCK_OPT_TIMESTAMPNS))
		cmsg_put(c, nm, SOL_SOCKET, SO_TIMESTAMPNS, &ts, sizeof(ts));
	else if (socket_option(s, SOCK_OPT_TIMESTAMP))
		cmsg_put(c, nm, SOL_SOCKET, SO_TIMESTAMP, &tv, sizeof(tv));
}

static void put_control(struct ctx *c, struct packet_sock *k, struct net_msg *nm, const struct packet_msg *m)
{
	uint32_t size = m->front_len + m->p->len, lost = k->lost;
	struct tpacket_auxdata aux = {.tp_status = m->status, .tp_len = m->len, .tp_snaplen = size, .tp_net = m->net};

	put_time(c, &k->s, nm, m->stamp);
	if (socket_option(&k->s, SOCK_OPT_RXQ_OVFL))
		cmsg_put(c, nm, SOL_SOCKET, SO_RXQ_OVFL, &lost, sizeof(lost));
	nm->addr_len = sizeof(m->from);
	memcpy(&nm->addr, &m->from, sizeof(m->from));
	if (k->auxdata)
		cmsg_put(c, nm, SOL_PACKET, PACKET_AUXDATA, &aux, sizeof(aux));
}

static ssize_t put_data(struct packet_sock *k, struct net_msg *nm, const struct packet_msg *m)
{
	size_t front = MIN((size_t)m->front_len, iobuf_left(nm->data)), head = 0;
	ssize_t n;

	if (k->vnet) {
		head = sizeof(m->vnet);
		if (iobuf_left(nm->data) < head)
			return -EINVAL;
		if (iobuf_put(nm->data, &m->vnet, head) != (ssize_t)head)
			return -EFAULT;
		front = MIN(front, iobuf_left(nm->data));
	}
	if (front && iobuf_put(nm->data, m->front, front) != (ssize_t)front)
		return -EFAULT;
	n = inet_put_pkt(nm->data, m->p);
	if (n < 0)
		return n;
	n += (ssize_t)front;
	if ((size_t)n < m->front_len + m->p->len)
		nm->out_flags |= MSG_TRUNC;
	if (nm->flags & MSG_TRUNC)
		n = (ssize_t)(m->front_len + m->p->len);
	return n + (ssize_t)head;
}

ssize_t packet_recvmsg(struct ctx *c, struct socket *s, struct net_msg *nm)
{
	struct packet_sock *k = packet_of(s);
	struct packet_msg *m;
	ssize_t n;

	if (nm->flags & ~(MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_ERRQUEUE | MSG_CMSG_CLOEXEC))
		return -EINVAL;
	if (nm->flags & MSG_ERRQUEUE)
		return -EAGAIN;
	n = next_msg(c, k, nm, &m);
	if (n)
		return n;
	n = put_data(k, nm, m);
	if (n >= 0)
		put_control(c, k, nm, m);
	msg_free(m);
	return n;
}
