/*
 * The simulator's wire, and what a seed means: see simlinux.c. A frame is lost, or gets a time when it arrives, once or twice; it waits in a heap until then.
 */
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/link/vnet.h"
#include "tests/net/sim.h"

#define FRAME_MAX 66000

struct frame {
	int64_t at;
	uint64_t order;
	bool to_linux;
	size_t size; /* with the virtio-net header */
	uint8_t data[];
};

/* ---- what a seed means ---- */

void draw(uint64_t seed)
{
	static const unsigned mtus[] = {576, 600, 1280, 1400, 1500, 1500, 4000, 9000},
			      bad[] = {0, 0, 0, 5, 20, 50, 100};
	static const int bufs[] = {0, 0, 0, 4096, 16384, 65536};
	struct params *p = &sim.p;

	sim.random = seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
	for (int i = 0; i < 16; i++)
		rnd(0);
	sim.secret = sim.random;
	*p = (struct params){.seed = seed};
	p->v6 = rnd(2);
	p->mtu = mtus[rnd(ARRAY_SIZE(mtus))];
	if (p->v6 && p->mtu < 1280)
		p->mtu = 1280 + (unsigned)rnd(100);
	p->offload = rnd(3) == 0;
	p->loss = bad[rnd(ARRAY_SIZE(bad))];
	p->duplicate = bad[rnd(ARRAY_SIZE(bad))];
	p->reorder = bad[rnd(ARRAY_SIZE(bad))];
	/* What a checksum is put on later cannot be found harmed. */
	p->corrupt = p->offload ? 0 : bad[rnd(ARRAY_SIZE(bad) - 1)];
	p->delay = rnd(2) ? (int64_t)rnd(20) * MS : 0;
	p->jitter = rnd(3) == 0 ? (int64_t)rnd(8) * MS : 0;
	p->reorder_by = 1 + (int64_t)rnd(10) * MS;
	p->rate = rnd(3) == 0 ? 200000 + rnd(4000000) : 0;
	p->queue = (5 + (int64_t)rnd(100)) * MS;
	p->sack = rnd(4);
	p->timestamps = rnd(4);
	p->scaling = rnd(4);
	p->ecn = (int)rnd(3);
	p->cubic = rnd(2);
	p->our_cubic = rnd(2);
	p->flows = 1 + (unsigned)rnd(FLOWS_MAX);
	p->pause = bad[rnd(ARRAY_SIZE(bad))];
	p->linux_sndbuf = bufs[rnd(ARRAY_SIZE(bufs))];
	p->linux_rcvbuf = bufs[rnd(ARRAY_SIZE(bufs))];
	p->our_sndbuf = bufs[rnd(ARRAY_SIZE(bufs))];
	p->our_rcvbuf = bufs[rnd(ARRAY_SIZE(bufs))];
}

/* ---- the wire ---- */

static bool earlier(const struct frame *a, const struct frame *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void swap(size_t i, size_t j)
{
	struct frame *f = sim.heap[i];

	sim.heap[i] = sim.heap[j];
	sim.heap[j] = f;
}

static void heap_add(struct frame *f)
{
	size_t i = sim.heap_count++;

	if (sim.heap_count > sim.heap_room) {
		sim.heap_room = 2 * sim.heap_count;
		sim.heap = realloc(sim.heap, sim.heap_room * sizeof(struct frame *));
	}
	sim.heap[i] = f;
	for (; i && earlier(sim.heap[i], sim.heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(i, (i - 1) / 2);
}

static struct frame *heap_take(void)
{
	struct frame *f = sim.heap[0];

	swap(0, --sim.heap_count);
	for (size_t i = 0, next; (next = 2 * i + 1) < sim.heap_count; i = next) {
		if (next + 1 < sim.heap_count && earlier(sim.heap[next + 1], sim.heap[next]))
			next++;
		if (!earlier(sim.heap[next], sim.heap[i]))
			break;
		swap(i, next);
	}
	return f;
}

static bool is_neighbour_traffic(const uint8_t *frame, size_t n)
{
	unsigned type = n >= 14 ? (unsigned)frame[12] << 8 | frame[13] : 0;

	return type == ETHERTYPE_ARP ||
	       (type == ETHERTYPE_IPV6 && n >= 54 && frame[20] == IPPROTO_ICMPV6 && (n < 55 || frame[54] >= 133));
}

static void put_on_wire(const uint8_t *data, size_t n, bool to_linux, int64_t at)
{
	struct frame *f = malloc(sizeof(*f) + n);

	*f = (struct frame){.at = at, .order = sim.order++, .to_linux = to_linux, .size = n};
	memcpy(f->data, data, n);
	heap_add(f);
}

/* When a frame has left by a wire of that rate; -1: the queue was full. */
static int64_t leaves(size_t n, bool to_linux, int64_t now)
{
	int64_t *busy = &sim.busy[to_linux];

	if (!sim.p.rate)
		return now;
	if (*busy - now > sim.p.queue)
		return -1;
	*busy = MAX(*busy, now) + (int64_t)(n * NSEC_PER_SEC / sim.p.rate);
	return *busy;
}

/* data: a virtio-net header and a frame. */
static void send_frame(uint8_t *data, size_t n, bool to_linux)
{
	size_t head = sizeof(struct vnet_head);
	int64_t now = clock_now(CLOCK_MONOTONIC), at;

	sim.frames++;
	if (is_neighbour_traffic(data + head, n - head)) {
		put_on_wire(data, n, to_linux, now);
		return;
	}
	at = leaves(n, to_linux, now);
	if (at < 0 || chance(sim.p.loss)) {
		sim.lost++;
		return;
	}
	at += sim.p.delay + (sim.p.jitter ? (int64_t)rnd((uint64_t)sim.p.jitter) : 0);
	if (chance(sim.p.reorder))
		at += sim.p.reorder_by;
	if (chance(sim.p.duplicate))
		put_on_wire(data, n, to_linux, at + (int64_t)rnd(3) * MS);
	if (chance(sim.p.corrupt)) {
		sim.harmed++;
		/* Not in the addresses: another MAC is loss, and the same for all seeds. */
		data[head + 12 + rnd(n - head - 12)] ^= (uint8_t)(1u << rnd(8));
	}
	put_on_wire(data, n, to_linux, at);
}

int transmit(struct stack *s __unused, struct netdev *dev __unused, struct pkt *p)
{
	uint8_t data[FRAME_MAX];
	struct vnet_head *h = (struct vnet_head *)data;

	vnet_describe(p, h);
	if (!sim.p.offload && (h->flags || h->gso_type))
		fail("the stack leaves work to a link that does none");
	if (p->len > FRAME_MAX - sizeof(*h) || !pkt_copy(p, 0, data + sizeof(*h), p->len))
		fail("a packet of %u bytes", p->len);
	send_frame(data, sizeof(*h) + p->len, true);
	pkt_free(p);
	return 0;
}

static void receive(const struct frame *f)
{
	struct list batch = LIST_INIT(batch);
	struct vnet_head h;
	struct pkt *p;

	memcpy(&h, f->data, sizeof(h));
	p = pkt_from(f->data + sizeof(h), f->size - sizeof(h));
	if (!p)
		fail("no memory");
	vnet_accept(&h, p, &batch);
	stack_enter(sim.s);
	netdev_receive_batch(sim.s, sim.dev, &batch);
	stack_leave(sim.s);
	pkt_free_all(&batch);
}

/* Frames whose time has come. */
bool deliver_frames(int64_t now)
{
	bool any = false;

	while (sim.heap_count && sim.heap[0]->at <= now) {
		struct frame *f = heap_take();

		if (!f->to_linux)
			receive(f);
		else if (write(sim.tap, f->data, f->size) < 0 && errno != EINVAL && errno != EAGAIN)
			fail("write to the TAP device: %s", strerror(errno));
		free(f);
		any = true;
	}
	return any;
}

bool read_tap(void)
{
	uint8_t data[FRAME_MAX];
	bool any = false;
	ssize_t n;

	for (int i = 0; i < 64 && (n = read(sim.tap, data, sizeof(data))) > 0; i++) {
		send_frame(data, (size_t)n, false);
		any = true;
	}
	return any;
}
int64_t next_frame(void)
{
	return sim.heap_count ? sim.heap[0]->at : INT64_MAX;
}
